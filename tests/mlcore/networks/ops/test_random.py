"""Random numbers: known answers of the generator, and distributions by statistics whose false alarms are next to impossible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from scipy import stats

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from mlcore.networks.conversion import compile_model
from tests.mlcore.networks.conftest import Array, node_model

COUNT = 200_000
LEAST_P = 1e-6
"""Numbers are the same in every run: a test either always holds or never does."""


def functions(*models: Any) -> list[Function]:
    emitted = [translate(model, f"f{i}") for i, model in enumerate(models)]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    return [Function(library, item) for item in emitted]


def shaped(kind: str, dtype: Any = np.float32, **attributes: Any) -> Any:
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return node_model(kind, [], opset=22, outputs=[dtype], dtype=number, **attributes)


def philox(counter: list[int], key: list[int]) -> list[int]:
    """The generator as its paper has it (Salmon et al., SC11, Sec. 3.3)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def test_the_oracle_knows_the_published_answers() -> None:
    ones = 0xFFFFFFFF
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox([ones] * 4, [ones] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def test_numbers_are_the_generators() -> None:
    seed = 3.5
    (found,) = functions(shaped("RandomUniform", np.float64, shape=[7], seed=seed))[0]([])
    wanted = []
    for block in range(4):
        words = philox([block, 0, 0, 0], [int(np.float32(seed).view(np.uint32)), 0])
        wanted += [(((words[i] << 32 | words[i + 1]) >> 12) + 0.5) * 2.0**-52 for i in (0, 2)]
    np.testing.assert_array_equal(found, wanted[:7])


def test_equal_seeds_give_equal_numbers() -> None:
    models = [shaped("RandomNormal", shape=[50], seed=seed) for seed in (1.0, 1.0, 2.0, 1.0000001)]
    run = functions(*models, shaped("RandomNormal", shape=[50]), shaped("RandomNormal", shape=[50]))
    first, same, other, near, free, fresh = ([function([])[0] for _ in range(2)] for function in run)
    np.testing.assert_array_equal(first, same)
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.any(first[0] == other[0])
    assert not np.any(first[0] == near[0])
    # Without a seed each call draws anew, and a fresh workspace begins the same way.
    assert not np.any(free[0] == free[1])
    np.testing.assert_array_equal(free, fresh)


def test_nodes_without_a_seed_draw_apart() -> None:
    nodes = [helper.make_node("RandomUniformLike", ["x"], [f"y{i}"]) for i in range(2)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    outputs = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, ["n"]) for i in range(2)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], outputs), opset_imports=[helper.make_opsetid("", 22)], ir_version=10
    )
    (function,) = functions(model)
    for n in (5, 3, 0):
        left, right = function([np.zeros(n, np.float32)])
        assert left.shape == right.shape == (n,)
        assert not np.any(left == right)


def test_distributions() -> None:
    run = functions(
        shaped("RandomUniform", np.float32, shape=[COUNT], low=-2.0, high=3.0, seed=1.0),
        shaped("RandomUniform", np.float64, shape=[COUNT], seed=2.0),
        shaped("RandomNormal", np.float32, shape=[COUNT], mean=1.0, scale=2.0, seed=3.0),
        shaped("RandomNormal", np.float64, shape=[COUNT], seed=4.0),
        shaped("RandomNormal", np.float16, shape=[COUNT], seed=5.0),
    )
    uniform, unit, normal, standard, small = (function([])[0] for function in run)
    assert uniform.dtype == np.float32
    assert small.dtype == np.float16
    assert uniform.min() >= -2
    assert uniform.max() <= 3
    for found, distribution in (
        (uniform, stats.uniform(-2, 5)),
        (unit, stats.uniform),
        (normal, stats.norm(1, 2)),
        (standard, stats.norm),
    ):
        assert stats.kstest(found.astype(np.float64), distribution.cdf).pvalue > LEAST_P
    # Rounded to float16 they lie on too few places for a test of the whole distribution.
    assert abs(float(small.astype(np.float64).mean())) < 6 / np.sqrt(COUNT)
    assert abs(float(small.astype(np.float64).var()) - 1) < 6 * np.sqrt(2 / COUNT)
    for found in (unit - 0.5, standard):
        # Neighbours are independent, those of one pair too.
        for step in (1, 2):
            correlation = np.corrcoef(found[:-step], found[step:])[0, 1]
            assert abs(correlation) < 6 / np.sqrt(COUNT)


def test_bernoulli() -> None:
    p = np.repeat(np.array([0, 0.25, 0.5, 0.9, 1], np.float32), COUNT // 5)
    models = [
        node_model(
            "Bernoulli",
            [p],
            opset=22,
            outputs=[dtype],
            dynamic=True,
            seed=1.0,
            dtype=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)),
        )
        for dtype in (np.float32, np.int64, np.bool_)
    ]
    run = functions(*models)
    found = [function([p])[0] for function in run]
    for item in found[1:]:
        np.testing.assert_array_equal(item.astype(np.float32), found[0])
    rates = found[0].reshape(5, -1).mean(1)
    wanted = np.array([0, 0.25, 0.5, 0.9, 1])
    assert np.all(np.abs(rates - wanted) <= 6 * np.sqrt(wanted * (1 - wanted) / (COUNT // 5)))
    for bad in (-0.1, 1.5, np.nan):
        with pytest.raises(InputError, match="outside 0 to 1"):
            run[0]([np.array([bad], np.float32)])


def test_multinomial() -> None:
    weights = np.array([[1, 2, 3, 4], [0, 1, 0, 1]], np.float64)
    with np.errstate(divide="ignore"):
        logarithms = np.log(weights) + np.array([[700.0], [-900.0]])
    model = node_model(
        "Multinomial",
        [logarithms],
        opset=22,
        outputs=[np.int64],
        dynamic=True,
        seed=1.0,
        sample_size=COUNT,
        dtype=TensorProto.INT64,
    )
    default = node_model("Multinomial", [logarithms.astype(np.float32)], opset=7, outputs=[np.int32])
    run, plain = functions(model, default)
    (found,) = run([logarithms])
    assert found.shape == (2, COUNT)
    for row, drawn in zip(weights, found, strict=True):
        counts = np.bincount(drawn, minlength=4)
        assert np.all(counts[row == 0] == 0)
        expected = COUNT * row[row > 0] / row.sum()
        assert stats.chisquare(counts[row > 0], expected).pvalue > LEAST_P
    (one,) = plain([logarithms.astype(np.float32)])
    assert one.shape == (2, 1)
    assert one.dtype == np.int32
    for bad in (np.full((1, 3), -np.inf), np.array([[0, np.nan]]), np.array([[np.inf, 0]])):
        with pytest.raises(InputError, match="no probabilities"):
            run([bad])
    with pytest.raises(InputError, match="no classes"):
        run([np.zeros((1, 0))])
    assert run([np.zeros((0, 3))])[0].shape == (0, COUNT)


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (shaped("RandomNormal", np.int32, shape=[2]), "elements of the type int32"),
        (shaped("RandomNormal"), "shape"),
        (shaped("RandomUniform", shape=[-1]), "shape"),
        (node_model("RandomNormalLike", [np.zeros(2, np.int32)], opset=22, outputs=[np.int32]), "elements of the type int32"),
        (node_model("Bernoulli", [np.zeros(2, np.int32)], opset=22, outputs=[np.int32]), "probabilities"),
        (node_model("Multinomial", [np.zeros(2, np.float32)], opset=22, outputs=[np.int32]), "row of weights"),
    ],
)
def test_bad_requests(model: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        translate(model, "wrong")


def test_networks_that_draw_are_handed_out_without_a_comparison(tmp_path: Path) -> None:
    report = compile_model(
        node_model("RandomNormalLike", [np.zeros(3, np.float32)], opset=22), tmp_path, name="noise", flags=QUICK
    )
    assert report.agreements == ()
    assert "random numbers" in report.notes[0]
    assert "nn::Random random;" in (tmp_path / "noise" / "noise.hpp").read_text()


def test_an_input_may_be_called_as_the_generator_is() -> None:
    x: Array = np.zeros(3, np.float32)
    model = node_model("RandomNormalLike", [x], opset=22)
    model.graph.input[0].name = model.graph.node[0].input[0] = "random"
    (found,) = functions(model)[0]([x])
    assert found.shape == (3,)
