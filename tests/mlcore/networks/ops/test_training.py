"""Steps of optimisers against their formulas in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from mlcore.errors import InputError
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, hold

DOMAIN = "ai.onnx.preview.training"


def model(kind: str, dtype: Any, n_states: int, n: int, **attributes: Any) -> Any:
    """A step for parameters of shapes (m, 2) and, if there are two, (3,); the rate is a double."""
    shapes = [["m", 2], [3]][:n]
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs = [helper.make_tensor_value_info("r", 11, []), helper.make_tensor_value_info("t", 7, [])]
    for group in range(2 + n_states):
        inputs += [helper.make_tensor_value_info(f"x{group}_{i}", number, shape) for i, shape in enumerate(shapes)]
    outputs = [
        helper.make_tensor_value_info(f"y{group}_{i}", number, shape)
        for group in range(1 + n_states)
        for i, shape in enumerate(shapes)
    ]
    node = helper.make_node(kind, [item.name for item in inputs], [item.name for item in outputs], domain=DOMAIN, **attributes)
    graph = helper.make_graph([node], kind, inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)], ir_version=8)


def adagrad(r: float, t: int, x: Array, g: Array, h: Array) -> tuple[Array, Array]:
    g = 0.1 * x + g
    h = h + g**2
    return x - r / (1 + t * 0.05) * g / (np.sqrt(h) + 1e-3), h


def adam(r: float, t: int, x: Array, g: Array, v: Array, h: Array) -> tuple[Array, Array, Array]:
    g = 0.1 * x + g
    v, h = 0.8 * v + 0.2 * g, 0.95 * h + 0.05 * g**2
    rate = r * np.sqrt(1 - 0.95**t) / (1 - 0.8**t) if t else r
    return 0.99 * (x - rate * v / (np.sqrt(h) + 1e-3)), v, h


def momentum(r: float, t: int, x: Array, g: Array, v: Array) -> tuple[Array, Array]:
    g = 0.1 * x + g
    v = 0.8 * v + (0.7 if t else 1) * g
    return x - r * v, v


def nesterov(r: float, t: int, x: Array, g: Array, v: Array) -> tuple[Array, Array]:
    ahead = 0.1 * x + g
    _, v = momentum(r, t, x, g, v)
    return x - r * (ahead + 0.8 * v), v


STEPS: list[tuple[str, Any, int, dict[str, Any]]] = [
    ("Adagrad", adagrad, 1, {"norm_coefficient": 0.1, "decay_factor": 0.05, "epsilon": 1e-3}),
    ("Adam", adam, 2, {"norm_coefficient": 0.1, "norm_coefficient_post": 0.01, "alpha": 0.8, "beta": 0.95, "epsilon": 1e-3}),
    ("Momentum", momentum, 1, {"norm_coefficient": 0.1, "alpha": 0.8, "beta": 0.7, "mode": "standard"}),
    ("Momentum", nesterov, 1, {"norm_coefficient": 0.1, "alpha": 0.8, "beta": 0.7, "mode": "nesterov"}),
]


def test_steps() -> None:
    rng = np.random.default_rng(2)
    cases = []
    for kind, formula, n_states, attributes in STEPS:
        for dtype in (np.float32, np.float64):
            for n in (1, 2):
                calls = []
                for m, t in ((4, 0), (2, 3), (0, 100)):
                    shapes = [(m, 2), (3,)][:n]
                    tensors = [rng.standard_normal(shape).astype(dtype) for _ in range(2 + n_states) for shape in shapes]
                    tensors[-n:] = [np.abs(item) for item in tensors[-n:]]
                    calls.append((np.array(0.1), np.array(t), *tensors))

                def expected(r: Array, t: Array, *rest: Array, formula: Any = formula, n: int = n) -> list[Array]:
                    found = [formula(float(r), int(t), *(item.astype(np.float64) for item in rest[i::n])) for i in range(n)]
                    return [item.astype(rest[0].dtype) for group in zip(*found, strict=True) for item in group]

                # Attributes are float32 numbers; a step is a handful of operations on numbers of order one.
                cases.append(Case(model(kind, dtype, n_states, n, **attributes), tuple(calls), 1e-5, 1e-6, expected))
    hold(cases)


def test_bad_steps() -> None:
    good = STEPS[2][3]
    with pytest.raises(InputError, match="unknown mode"):
        translate(model("Momentum", np.float32, 1, 1, **good | {"mode": "odd"}), "wrong")
    with pytest.raises(InputError, match="'alpha'"):
        translate(model("Momentum", np.float32, 1, 1, mode="standard"), "wrong")
    with pytest.raises(InputError, match="parameters of the type int32"):
        translate(model("Adagrad", np.int32, 1, 1), "wrong")
    with pytest.raises(InputError, match="groups of 4"):
        translate(model("Adam", np.float32, 1, 1), "wrong")
