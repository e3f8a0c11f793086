"""Keras 3's ``.keras`` files: looked at before Keras sees any of it.

The file is a zip of the configuration (JSON: which objects, made with which arguments) and the weights (HDF5). Keras builds
whatever class or function the configuration names, so each has to be on a list of those that only compute; Lambda layers,
whose code lies in the file, and objects of other libraries are refused in words. What is left is written anew and given to
Keras, in its own safe mode besides. Even then it belongs in a child, as `mlcore.networks.frontends.as_onnx` has it.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import re
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore.errors import InputError, UnsupportedFeatureError

if TYPE_CHECKING:
    from keras import Model

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MOST_CONFIG = 64 * 2**20
MOST_WEIGHTS = 2 * 10**9
MOST_DEPTH = 400
"""Of the configuration: each layer within another takes about six."""

_AGAIN = "Write it with model.save('model.keras'), by a recent Keras 3."
_LAYERS = frozenset({
    "Activation", "ActivityRegularization", "Add", "AdditiveAttention", "AlphaDropout", "Attention", "Average",
    "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "BatchNormalization", "Bidirectional", "CategoryEncoding",
    "CenterCrop", "Concatenate", "Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose",
    "Cropping1D", "Cropping2D", "Cropping3D", "Dense", "DepthwiseConv1D", "DepthwiseConv2D", "Discretization", "Dot", "Dropout",
    "ELU", "EinsumDense", "Embedding", "Flatten", "GRU", "GRUCell", "GaussianDropout", "GaussianNoise", "GlobalAveragePooling1D",
    "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D",
    "GroupNormalization", "GroupQueryAttention", "Identity", "InputLayer", "LSTM", "LSTMCell", "LayerNormalization", "LeakyReLU",
    "Masking", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "Maximum", "Minimum", "MultiHeadAttention", "Multiply",
    "Normalization", "PReLU", "Permute", "RMSNormalization", "RNN", "ReLU", "RepeatVector", "Rescaling", "Reshape", "Resizing",
    "SeparableConv1D", "SeparableConv2D", "SimpleRNN", "SimpleRNNCell", "Softmax", "SpatialDropout1D", "SpatialDropout2D",
    "SpatialDropout3D", "SpectralNormalization", "StackedRNNCells", "Subtract", "TimeDistributed", "UnitNormalization",
    "UpSampling1D", "UpSampling2D", "UpSampling3D", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
})  # fmt: skip
_ACTIVATIONS = frozenset({
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink",
    "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink",
    "threshold",
})  # fmt: skip
_OBJECTS = {
    "keras.layers": _LAYERS,
    "keras.activations": _ACTIVATIONS,
    "keras.initializers": frozenset({
        "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "LecunNormal", "LecunUniform", "Ones",
        "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros",
    }),
    "keras.regularizers": frozenset({"L1", "L2", "L1L2", "OrthogonalRegularizer"}),
    "keras.constraints": frozenset({"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"}),
    "keras.dtype_policies": frozenset({"DTypePolicy"}),
    "keras": frozenset({"DTypePolicy", "Sequential", "Functional", "Model"}),
    "keras.models": frozenset({"Sequential", "Functional", "Model"}),
    "keras.src.models.functional": frozenset({"Functional"}),
    "keras.src.models.sequential": frozenset({"Sequential"}),
}  # fmt: skip
"""What may be named, by the module that the file names with it."""
_OPERATIONS = re.compile(r"keras\.src\.ops\.(core|linalg|math|nn|numpy)")
_WITH_FUNCTIONS = {
    "AssociativeScan", "Cond", "ForiLoop", "JVP", "Map", "Piecewise", "Scan", "Switch", "Vectorize", "VectorizedMap", "WhileLoop",
}  # fmt: skip
"""Operations that take functions."""
_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__"}


def load(path: Path) -> Model:
    """The model in a file; no code of the file is run.

    Raises
    ------
    InputError
        It is no such file, is damaged, or names what is not read (``network.code``): Lambda layers, objects of one's own.
    UnsupportedFeatureError
        Keras is not installed.
    """
    if importlib.util.find_spec("keras") is None:
        raise UnsupportedFeatureError(
            "Keras files are read by Keras, which is not installed",
            hint='Install it: pip install "ml4ep-portal[keras]", or keras alone; or export the model to ONNX.',
            code="network.keras",
        )
    config, metadata, weights = _members(path)
    checked = _checked(config, 0)
    _check_weights(weights)
    with tempfile.TemporaryDirectory(prefix="keras-") as folder:
        copy = Path(folder) / "model.keras"
        with zipfile.ZipFile(copy, "w") as archive:
            archive.writestr(CONFIG, json.dumps(checked))
            archive.writestr(METADATA, metadata)
            archive.writestr(WEIGHTS, weights)
        import keras

        try:
            return keras.saving.load_model(copy, compile=False, safe_mode=True)
        except Exception as error:  # a damaged configuration may break Keras in any way
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"Keras cannot read the file: {type(error).__name__}: {reason}", hint=_AGAIN, code="network.parse"
            ) from error


def _damaged(why: str) -> InputError:
    return InputError(f"the file is no .keras file, or it is damaged: {why}", hint=_AGAIN, code="network.parse")


def _members(path: Path) -> tuple[dict[str, Any], bytes, bytes]:
    """The configuration, the metadata and the weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if len(archive.infolist()) > 10 or not {CONFIG, METADATA} <= set(members):
                raise _damaged("it has other members than Keras writes")
            if strange := sorted(set(members) - {CONFIG, METADATA, WEIGHTS, "assets/"}):
                raise InputError(
                    f"the file holds {strange[0][:80]!r}, which is not read",
                    hint=f"Only {CONFIG}, {METADATA} and {WEIGHTS} are. Vocabularies belong outside of the network.",
                    code="network.parse",
                )
            parts = [_bytes(archive, members, name, most) for name, most in _MOST.items()]
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(str(error)) from error
    try:
        config = json.loads(parts[0])
        json.loads(parts[1])
    except (ValueError, RecursionError) as error:
        raise _damaged(f"{CONFIG} or {METADATA} is no JSON") from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise _damaged(f"{CONFIG} describes no model")
    return config, parts[1], parts[2]


_MOST = {CONFIG: MOST_CONFIG, METADATA: 2**20, WEIGHTS: MOST_WEIGHTS}


def _bytes(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str, most: int) -> bytes:
    member = members.get(name)
    if member is None:
        raise _damaged(f"{name} is missing")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size or member.file_size > most:
        raise _damaged(f"{name} is compressed or too large; Keras stores members as they are")
    return archive.read(member)


# The configuration.


def _refused(what: str, hint: str = "") -> InputError:
    return InputError(
        f"the file names {what}, which is not read: only Keras' own layers, operations, initializers and activations are",
        hint=hint or "Build the model of Keras' own layers, or export it to ONNX where its code is.",
        code="network.code",
    )


def _checked(value: Any, depth: int) -> Any:
    """A configuration in which each object was looked at, without what is for training alone."""
    if depth > MOST_DEPTH:
        raise _damaged("it is nested too deeply")
    if isinstance(value, list):
        return [_checked(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if "class_name" in value:
        _check_object(value)
        value = {key: item for key, item in value.items() if key != "compile_config"}
    return {key: _checked(item, depth + 1) for key, item in value.items()}


def _check_object(value: dict[str, Any]) -> None:
    """Refuse what is no value, no function and no object of Keras' own."""
    name, module, registered = value["class_name"], value.get("module"), value.get("registered_name")
    if not isinstance(name, str):
        raise _damaged("a class has no name")
    if name in _VALUES:
        return
    if name in ("Lambda", "__lambda__"):
        raise _refused(
            "a Lambda layer or function, whose code lies in the file",
            "Write it with Keras' own layers or keras.ops, or export the model to ONNX where you trust its code.",
        )
    if not isinstance(module, str) or "config" not in value:
        raise _refused(f"{name[:80]!r} without its module", f"It may be from before Keras 3, or an object of one's own. {_AGAIN}")
    if name == "function":
        function = value["config"]
        if (
            module not in ("builtins", "keras.activations")
            or function not in _ACTIVATIONS
            or registered not in (None, name, function)
        ):
            raise _refused(f"the function {str(function)[:80]!r} of {module[:80]!r}")
    elif registered not in (None, name):
        raise _refused(f"{str(registered)[:80]!r}, an object of one's own")
    elif _OPERATIONS.fullmatch(module):
        if name in _WITH_FUNCTIONS or not _is_operation(module, name):
            raise _refused(f"the operation {name[:80]!r} of {module}")
    elif name not in _OBJECTS.get(module, ()):
        raise _refused(f"{name[:80]!r} of {module[:80]!r}")


def _is_operation(module: str, name: str) -> bool:
    import keras

    found = vars(importlib.import_module(module)).get(name)
    return isinstance(found, type) and issubclass(found, keras.Operation) and found.__module__ == module


# The weights.


def _check_weights(data: bytes) -> None:
    """Refuse HDF5 that points out of itself, or holds less than it says."""
    import h5py

    size = 0

    def check(name: str | bytes, item: Any) -> None:
        nonlocal size
        if isinstance(item, h5py.Group):
            for key in item:
                if not isinstance(item.get(key, getlink=True), h5py.HardLink):
                    raise _damaged(f"{str(name)[:80]!r} in {WEIGHTS} has links")
        elif isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external or item.dtype.kind not in "biufV" or item.dtype.hasobject:
                raise _damaged(f"{str(name)[:80]!r} in {WEIGHTS} lies in other files, or holds no numbers")
            size += item.nbytes
        else:
            raise _damaged(f"{str(name)[:80]!r} in {WEIGHTS} is neither a group nor numbers")

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            check("/", file)
            file.visititems(check)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(f"{WEIGHTS}: {' '.join(str(error).split())[:200]}") from error
    if size > len(data):
        raise _damaged(f"{WEIGHTS} says to hold {size} bytes, which are more than it has")
