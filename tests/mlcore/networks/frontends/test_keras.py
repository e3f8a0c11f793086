"""Keras models and ``.keras`` files, held against Keras itself; and what is done to files that would run code."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported

import h5py
import keras
import numpy as np
import onnx
import pytest
from keras import layers as L  # noqa: N812 - as Keras' own documentation has it

from mlcore import networks
from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.filetypes import detect
from mlcore.networks.build import QUICK, BuildOptions
from mlcore.networks.compiler import translate
from mlcore.networks.frontends import as_onnx, keras_file

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # inside Keras

CLOSE = {"rtol": 2e-5, "atol": 5e-6}
"""Sums of a few hundred float32 of size one in another order, and functions that differ in the last places."""


def random(rng: np.random.Generator, model: keras.Model, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Inputs by name; sizes of axes that are open by ``batch`` or ``name_axis``."""
    found = {}
    for tensor in model.inputs:
        shape = [
            size if size is not None else sizes["batch" if axis == 0 else f"{tensor.name}_{axis}"]
            for axis, size in enumerate(tensor.shape)
        ]
        floats = tensor.dtype == "float32"
        found[tensor.name] = rng.standard_normal(shape, np.float32) if floats else rng.integers(0, 5, shape).astype(tensor.dtype)
    return found


def trained(model: keras.Model, rng: np.random.Generator) -> keras.Model:
    """A model with weights whose zeros and ones do not hide what is mixed up."""
    for variable in model.variables:
        if variable.dtype == "float32":
            low = 0.5 if "variance" in variable.path else -0.7
            variable.assign(rng.uniform(low, low + 1.4, variable.shape).astype(np.float32))
    return model


def agrees(
    model: keras.Model, rng: np.random.Generator, *all_sizes: Mapping[str, int], file: Path | None = None
) -> networks.Network:
    """Compile, and compare all outputs at all sizes with `model.predict`."""
    network = networks.load(file or model, options=BuildOptions(flags=QUICK))
    for sizes in all_sizes:
        inputs = random(rng, model, sizes)
        feed = inputs if len(inputs) > 1 else next(iter(inputs.values()))
        expected = keras.tree.flatten(model.predict(feed, verbose=0))
        outputs = network.run(inputs)
        assert len(outputs) == len(expected)
        for (name, output), wanted in zip(outputs.items(), expected, strict=True):
            assert output.dtype == wanted.dtype
            np.testing.assert_allclose(output, wanted, err_msg=name, **CLOSE)
    return network


@pytest.fixture(scope="module")
def mlp() -> keras.Model:
    model = keras.Sequential([
        keras.Input((4,), name="x"), L.Dense(8, "relu", kernel_regularizer="l2"), L.BatchNormalization(), L.Dropout(0.5),
        L.Dense(2, "softmax", name="scores"),
    ])  # fmt: skip
    return trained(model, np.random.default_rng(1))


@pytest.fixture(scope="module")
def file(mlp: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "mlp.keras"
    mlp.compile("adam", "mse")
    mlp.save(path)
    return path


def test_a_file_is_its_model(mlp: keras.Model, file: Path, rng: np.random.Generator) -> None:
    assert detect(file).kind == "keras"
    network = agrees(mlp, rng, {"batch": 1}, {"batch": 7}, file=file)
    assert [(port.name, port.shape) for port in network.inputs] == [("x", ("batch", 4))]
    assert [(port.name, port.shape) for port in network.outputs] == [("scores", ("batch", 2))]


Heads = Callable[[Any], list[Any]]


def heads(shape: tuple[int | None, ...], outputs: Heads, dtype: str = "float32") -> keras.Model:
    """A model with one input, and an output for each of several layers."""
    x = keras.Input(shape, name="x", dtype=dtype)
    return keras.Model(x, outputs(x))


GROUPS: dict[str, tuple[tuple[int | None, ...], Heads]] = {
    "activations": ((6,), lambda x: [
        *(L.Activation(name)(x) for name in (
            "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "linear", "log_sigmoid",
            "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "tanh",
        )),
        L.LeakyReLU(0.1)(x), L.PReLU()(x), L.ELU(0.5)(x), L.ReLU(3.0, 0.1, 0.5)(x), L.Softmax()(x),
    ]),
    "dense": ((5, 6), lambda x: [
        L.Dense(3, "tanh")(x), L.Dense(4, use_bias=False)(x), L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")(x),
        L.Flatten()(x), L.Reshape((3, 10))(x), L.Permute((2, 1))(x), L.RepeatVector(3)(L.Flatten()(x)), L.Rescaling(0.5, 1.0)(x),
        L.GaussianNoise(0.3)(x), L.SpatialDropout1D(0.3)(x), L.Cropping1D(1)(x), L.ZeroPadding1D(2)(x), L.UpSampling1D(2)(x),
        L.TimeDistributed(L.Dense(2))(x),
    ]),
    "conv1d": ((None, 4), lambda x: [
        L.Conv1D(3, 3)(x), L.Conv1D(3, 3, strides=2, padding="same")(x), L.Conv1D(3, 2, padding="same", dilation_rate=2)(x),
        L.Conv1D(3, 3, padding="causal")(x), L.Conv1D(4, 3, groups=2, activation="relu")(x),
        L.SeparableConv1D(3, 3, padding="same")(x), L.DepthwiseConv1D(3, depth_multiplier=2)(x),
        L.MaxPooling1D(2)(x), L.MaxPooling1D(2, padding="same")(x), L.MaxPooling1D(4, 3, padding="same")(x),
        L.Conv1D(3, 2, strides=2, padding="same")(x), L.Conv1D(3, 1, strides=3, padding="same")(x),
        L.GlobalMaxPooling1D()(x), L.GlobalAveragePooling1D()(x), L.Conv1DTranspose(3, 3, strides=2)(x),
    ]),
    "conv2d": ((9, 8, 3), lambda x: [
        L.Conv2D(4, 3)(x), L.Conv2D(4, 3, strides=2, padding="same")(x), L.Conv2D(4, (2, 3), padding="same", dilation_rate=2)(x),
        L.Conv2D(3, 3, groups=3)(x), L.DepthwiseConv2D(3, padding="same", strides=2)(x),
        L.SeparableConv2D(4, 3, depth_multiplier=2)(x), L.Conv2DTranspose(2, 3, strides=2, padding="same")(x),
        L.ZeroPadding2D(1)(x), L.Cropping2D(1)(x), L.UpSampling2D(2)(x), L.UpSampling2D(2, interpolation="bilinear")(x),
    ]),
    "pooling": ((9, 8, 3), lambda x: [
        L.MaxPooling2D()(x), L.MaxPooling2D(3, 2, padding="same")(x), L.AveragePooling2D(2)(x),
        L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D(keepdims=True)(x),
    ]),
    "channels first": ((3, 9, 8), lambda x: [
        L.Conv2D(4, 3, data_format="channels_first", padding="same")(x), L.MaxPooling2D(data_format="channels_first")(x),
        L.BatchNormalization(axis=1)(x),
    ]),
    "conv3d": ((5, 6, 4, 2), lambda x: [L.Conv3D(2, 3, padding="same")(x), L.MaxPooling3D()(x), L.GlobalAveragePooling3D()(x)]),
    "normalization": ((5, 6), lambda x: [
        L.BatchNormalization()(x), L.BatchNormalization(scale=False, epsilon=0.1)(x), L.LayerNormalization()(x),
        L.LayerNormalization(axis=(1, 2))(x), L.GroupNormalization(2)(x), L.UnitNormalization()(x), L.RMSNormalization()(x),
        L.Normalization(mean=1.0, variance=4.0)(x),
    ]),
    "attention": ((None, 8), lambda x: [
        L.MultiHeadAttention(2, 4)(x, x), L.MultiHeadAttention(2, 3, value_dim=5, output_shape=6)(x, x[:, :2]),
        L.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True), L.Attention()([x, x]), L.AdditiveAttention()([x, x]),
        *L.MultiHeadAttention(1, 4)(x, x, return_attention_scores=True),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_layers(group: str, rng: np.random.Generator) -> None:
    agrees(trained(heads(*GROUPS[group]), rng), rng, {"batch": 1, "x_1": 5}, {"batch": 4, "x_1": 11})


def test_averages_count_what_is_there_alone(rng: np.random.Generator) -> None:
    """As on Keras' other backends; PyTorch's repeats the edges where the padding is uneven, so that it is no oracle."""
    model = heads((None, None, 2), lambda x: [
        L.AveragePooling2D(3, 2, padding="same")(x), L.AveragePooling2D((2, 4), (2, 3), padding="same")(x),
    ])  # fmt: skip
    network = networks.load(model, options=BuildOptions(flags=QUICK))
    for shape in ((1, 5, 6, 2), (2, 8, 7, 2)):
        x = rng.standard_normal(shape, np.float32)
        for found, kernel, stride in zip(network.run({"x": x}).values(), ((3, 3), (2, 4)), ((2, 2), (2, 3)), strict=True):
            np.testing.assert_allclose(found, averages(x, kernel, stride), rtol=1e-5, atol=1e-6)  # sums of up to nine


def averages(x: Any, kernel: tuple[int, int], stride: tuple[int, int]) -> Any:
    """Averages over windows with TensorFlow's padding."""
    out = [-(-x.shape[axis + 1] // stride[axis]) for axis in (0, 1)]
    before = [max(0, (out[a] - 1) * stride[a] + kernel[a] - x.shape[a + 1]) // 2 for a in (0, 1)]
    result = np.empty((len(x), *out, x.shape[3]), np.float64)
    for row in range(out[0]):
        for column in range(out[1]):
            top, left = row * stride[0] - before[0], column * stride[1] - before[1]
            window = x[:, max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1]]
            result[:, row, column] = window.mean((1, 2), dtype=np.float64)
    return result


@pytest.mark.parametrize("kind", [L.LSTM, L.GRU, L.SimpleRNN])
def test_recurrent_layers_take_any_length(kind: Any, rng: np.random.Generator) -> None:
    def outputs(x: Any) -> list[Any]:
        found = [
            kind(5)(x), kind(3, return_sequences=True, activation="relu")(x),
            kind(4, go_backwards=True, return_sequences=True)(x), kind(4, use_bias=False, activation="hard_sigmoid")(x),
            *kind(3, return_state=True)(x), L.Bidirectional(kind(3, return_sequences=True))(x),
            L.Bidirectional(kind(3), merge_mode="sum")(x), kind(2)(kind(3, return_sequences=True, activation="softsign")(x)),
            kind(5)(x, initial_state=[x[:, 0]] * n_states),
        ]  # fmt: skip
        return [*found, L.GRU(4, reset_after=False)(x)] if kind is L.GRU else found

    n_states = 2 if kind is L.LSTM else 1
    model = trained(heads((None, 5), outputs), rng)
    agrees(model, rng, {"batch": 2, "x_1": 7}, {"batch": 5, "x_1": 3}, {"batch": 1, "x_1": 1})


def test_cells_and_masks_need_a_length(rng: np.random.Generator) -> None:
    def outputs(x: Any) -> list[Any]:
        return [
            L.RNN([L.LSTMCell(3), L.GRUCell(2)])(x), L.LSTM(3, activation="gelu")(x), L.LSTM(3)(L.Masking()(x)),
            L.GlobalAveragePooling1D()(L.Masking()(x)),
        ]  # fmt: skip

    agrees(trained(heads((3, 5), outputs), rng), rng, {"batch": 2}, {"batch": 5})
    with pytest.raises(InputError, match="cannot stay open"):
        as_onnx(heads((None, 5), lambda x: [L.LSTM(3)(L.Masking()(x))]))


def test_several_inputs_and_outputs(rng: np.random.Generator) -> None:
    ids, x = keras.Input((None,), name="ids", dtype="int32"), keras.Input((None, 4), name="x")
    weight = keras.Input((1,), name="weight")
    words = L.Embedding(5, 4)(ids)
    both = L.Multiply()([L.Add()([words, x]), L.Subtract()([words, x])])  # as long as each other
    pooled = L.GlobalMaxPooling1D()(L.Concatenate()([both, L.Average()([words, x]), L.Maximum()([words, x])]))
    inner = keras.Sequential([keras.Input((12,)), L.Dense(5, "relu"), L.Dense(2)])
    scores = inner(pooled)
    total = keras.ops.sum(keras.ops.tanh(scores) * 2.0 + 1.0, axis=-1, keepdims=True) / (1.0 + weight**2)
    outputs = {"scores": scores, "again": inner(pooled + 1.0), "total": L.Dot(1)([L.Concatenate()([total, weight]), scores])}
    model = trained(keras.Model({"ids": ids, "x": x, "weight": weight}, outputs), rng)
    inputs = {"ids": rng.integers(0, 5, (3, 6)).astype(np.int32), "x": rng.standard_normal((3, 6, 4), np.float32)}
    inputs["weight"] = rng.standard_normal((3, 1), np.float32)
    network = networks.load(model, options=BuildOptions(flags=QUICK))
    for n in (6, 2):
        some = inputs | {"ids": inputs["ids"][:n, :n], "x": inputs["x"][:n, :n], "weight": inputs["weight"][:n]}
        expected, found = model.predict(some, verbose=0), network.run(some)
        assert set(found) == set(expected)
        for name, wanted in expected.items():
            np.testing.assert_allclose(found[name], wanted, err_msg=name, **CLOSE)


def test_a_layer_of_ones_own_is_taken_from_the_process_and_refused_in_a_file(tmp_path: Path, rng: np.random.Generator) -> None:
    class Twice(L.Layer):
        def call(self, x: Any) -> Any:
            return 2.0 * x

    model = trained(heads((3,), lambda x: [Twice()(L.Dense(2)(x))]), rng)
    agrees(model, rng, {"batch": 3})
    model.save(tmp_path / "own.keras")
    with pytest.raises(InputError, match="'Twice'") as raised:
        as_onnx(tmp_path / "own.keras")
    assert raised.value.code == "network.code"


def test_shapes_may_be_given(rng: np.random.Generator) -> None:
    model = heads((None, 4), lambda x: [L.LSTM(3)(L.Masking()(x))])
    found = as_onnx(model, shapes={"x": ("n", 5, 4)})
    assert [dim.dim_param or dim.dim_value for dim in found.graph.input[0].type.tensor_type.shape.dim] == ["n", 5, 4]
    with pytest.raises(InputError, match="has 3 axes"):
        as_onnx(model, shapes={"x": ("n", 4)})


def test_a_subclass_says_nothing_of_its_inputs() -> None:
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(InputError, match="nothing about its inputs"):
        as_onnx(Own())


# Files that are damaged, or would run code.


def rewritten(
    file: Path, target: Path, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED
) -> Path:
    """A copy of an archive, each member as `change` gives it."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


def with_config(change: Callable[[dict[str, Any]], Any]) -> Callable[[str, bytes], bytes]:
    def changed(name: str, data: bytes) -> bytes:
        if name != "config.json":
            return data
        config = json.loads(data)
        change(config)
        return json.dumps(config).encode()

    return changed


def lambda_layer(config: dict[str, Any]) -> None:
    code = {"class_name": "__lambda__", "config": {"value": ["4wEA", None, None]}}
    config["config"]["layers"][1] = {
        "module": "keras.layers", "class_name": "Lambda", "config": {"function": code}, "registered_name": None,
    }  # fmt: skip


def lambda_inside(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["activation"] = {
        "class_name": "__lambda__",
        "config": {"value": ["4wEA", None, None]},
    }


def function_of(module: str, name: str) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1]["config"]["activation"] = {
            "module": module, "class_name": "function", "config": name, "registered_name": "function",
        }  # fmt: skip

    return change


def layer_of(module: str | None, name: str, registered: str | None = None, **arguments: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        layer = {"module": module, "class_name": name, "config": arguments, "registered_name": registered}
        config["config"]["layers"][1] = layer if module else {key: layer[key] for key in ("class_name", "config")}

    return change


def in_build_config(config: dict[str, Any]) -> None:
    config["build_config"] = {"input_shape": {"module": "os", "class_name": "system", "config": {}, "registered_name": None}}


HOSTILE = {
    "Lambda": (lambda_layer, "Lambda"),
    "lambda function": (lambda_inside, "Lambda"),
    "function of another module": (function_of("os", "system"), "'system' of 'os'"),
    "function of Keras that is no activation": (function_of("keras.utils", "get_file"), "'get_file'"),
    "built-in function": (function_of("builtins", "eval"), "'eval'"),
    "registered object": (layer_of("builtins", "Mine", "mine>Mine"), "'mine>Mine'"),
    "class of another module": (layer_of("subprocess", "Popen", args=["touch", "x"]), "'Popen' of 'subprocess'"),
    "class of Keras' inside": (layer_of("keras.src.utils.file_utils", "File"), "'File'"),
    "TorchModuleWrapper, which unpickles": (
        layer_of("keras.layers", "TorchModuleWrapper", output_shape=[3]),
        "TorchModuleWrapper",
    ),
    "TFSMLayer, which reads a folder": (layer_of("keras.layers", "TFSMLayer", filepath="/"), "TFSMLayer"),
    "StringLookup, which reads a file": (layer_of("keras.layers", "StringLookup", vocabulary="/etc/passwd"), "StringLookup"),
    "layer without a module": (layer_of(None, "Lambda_"), "without its module"),
    "operation that takes a function": (layer_of("keras.src.ops.core", "Map"), "'Map'"),
    "what an operation's module imports": (layer_of("keras.src.ops.numpy", "KerasTensor"), "'KerasTensor'"),
    "object in another place": (in_build_config, "'system'"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_not_keras_own_is_refused(file: Path, tmp_path: Path, what: str) -> None:
    change, match = HOSTILE[what]
    with pytest.raises(InputError, match=match) as raised:
        keras_file.load(rewritten(file, tmp_path / "evil.keras", with_config(change)))
    assert raised.value.code == "network.code"


def test_a_real_lambda_layer_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), L.Lambda(lambda x: x * 2.0)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(InputError, match="a Lambda layer") as raised:
        as_onnx(tmp_path / "lambda.keras")  # through the child
    assert raised.value.code == "network.code"
    assert raised.value.hint


def test_what_is_for_training_is_not_built(file: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["compile_config"] = {
            "loss": {"module": "os", "class_name": "function", "config": "abort", "registered_name": None}
        }

    assert not keras_file.load(rewritten(file, tmp_path / "compiled.keras", with_config(change))).compiled


def test_deep_nesting_is_refused(file: Path, tmp_path: Path) -> None:
    deep = b'{"class_name": "Sequential", "module": "keras", "config": ' + b"[" * 900 + b"]" * 900 + b"}"
    with pytest.raises(InputError, match=r"nested too deeply|no JSON"):
        keras_file.load(rewritten(file, tmp_path / "deep.keras", lambda name, data: deep if name == "config.json" else data))


def test_damaged_files_have_a_clear_error(file: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "bad.keras", file.read_bytes()
    for share in (0.3, 0.7, 0.99):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(InputError, match="damaged"):
            keras_file.load(path)
    for missing in ("config.json", "metadata.json", "model.weights.h5"):
        with pytest.raises(InputError, match="damaged"):
            keras_file.load(rewritten(file, path, lambda name, data, missing=missing: None if name == missing else data))
    for change in (lambda config: config["config"].pop("layers"), layer_of("keras.layers", "Dense", units=-3)):
        with pytest.raises(InputError) as raised:
            keras_file.load(rewritten(file, path, with_config(change)))
        assert raised.value.code == "network.parse"


def test_compressed_and_foreign_members_are_refused(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.keras"
    with pytest.raises(InputError, match="compressed"):
        keras_file.load(rewritten(file, path, lambda name, data: data, zipfile.ZIP_DEFLATED))
    for name in ("../../etc/x", "assets/vocabulary.txt", "model.weights.npz"):
        rewritten(file, path, lambda name, data: data)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"x")
        with pytest.raises(InputError, match="is not read"):
            keras_file.load(path)


def external_link(group: h5py.Group) -> None:
    group["0"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(group: h5py.Group) -> None:
    group["0"] = h5py.SoftLink("/layers")


def external_storage(group: h5py.Group) -> None:
    group.create_dataset("0", (4, 8), "f4", external=[("/etc/passwd", 0, 128)])


def virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((4, 8), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4, 8))
    group.create_virtual_dataset("0", layout)


def objects(group: h5py.Group) -> None:
    group.create_dataset("0", data=np.array(["x"] * 3, object), dtype=h5py.string_dtype())


def more_than_there_is(group: h5py.Group) -> None:
    group.create_dataset("0", (10**6, 10**6), "f4", chunks=(1000, 1000))


@pytest.mark.parametrize("change", [external_link, soft_link, external_storage, virtual, objects, more_than_there_is])
def test_weights_that_lie_elsewhere_are_refused(file: Path, tmp_path: Path, change: Callable[[h5py.Group], None]) -> None:
    def changed(name: str, data: bytes) -> bytes:
        if name != "model.weights.h5":
            return data
        buffer = io.BytesIO(data)
        with h5py.File(buffer, "r+") as weights:
            group = weights["layers/dense/vars"]
            del group["0"]
            change(group)
        return buffer.getvalue()

    with pytest.raises(InputError, match=r"model\.weights\.h5") as raised:
        keras_file.load(rewritten(file, tmp_path / "evil.keras", changed))
    assert raised.value.code == "network.parse"


def test_old_files_are_refused_with_a_way_out(mlp: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as old:
        old.attrs["model_config"] = "{}"
    with pytest.raises(InputError) as raised:
        as_onnx(path)
    assert raised.value.code == "network.h5"
    assert "model.keras" in raised.value.hint


def test_without_keras_the_way_to_install_it_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedFeatureError) as raised:
        keras_file.load(file)
    assert "[keras]" in raised.value.hint


def test_another_backend_goes_by_way_of_a_file(mlp: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    names = [node.op_type for node in onnx.ModelProto.FromString(as_onnx(mlp).SerializeToString()).graph.node]
    assert names.count("Softmax") == 1


def test_the_code_is_that_of_the_same_network_in_pytorch(rng: np.random.Generator) -> None:
    """The same layers with the same weights: the same code but for comments and names, and the same file of weights."""
    import torch
    from torch import nn

    inputs = keras.Input((8,), name="x")
    model = keras.Model(inputs, L.Dense(4, activation="sigmoid", name="output")(L.Dense(16, activation="relu")(inputs)))
    trained(model, rng)
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), nn.Sigmoid()).eval()
    with torch.no_grad():
        for layer, dense in zip((module[0], module[2]), model.layers[1:], strict=True):
            kernel, bias = (torch.from_numpy(np.array(value)) for value in dense.get_weights())
            layer.weight.copy_(kernel.T)
            layer.bias.copy_(bias)
    ours = translate(model, "mlp")
    theirs = translate(module, "mlp", shapes={"input": ("batch", 8)})

    def bare(code: str) -> str:
        return re.sub(r"//.*", "", code).replace("x_batch", "batch")

    names = {ours.inputs[0].name: "in", theirs.inputs[0].name: "in", ours.outputs[0].name: "out", theirs.outputs[0].name: "out"}
    first, second = (
        re.sub(r"\b(" + "|".join(names) + r")\b", lambda found: names[found[1]], bare(emitted.code)) for emitted in (ours, theirs)
    )
    assert first == second
    assert ours.weights == theirs.weights
