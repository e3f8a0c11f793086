"""QONNX's operators against their definitions (arXiv:2206.07527, Sec. 5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError
from mlcore.networks.compiler import translate
from mlcore.networks.ops.qonnx import DOMAINS
from tests.mlcore.networks.conftest import Array, Case, hold, node_model

RNG = np.random.default_rng(19)
ROUNDINGS: dict[str, Any] = {
    "ROUND": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}
# Quarters around zero, so that every rounding has ties to decide.
X = (RNG.integers(-60, 60, (3, 8)) / 4).astype(np.float32)


def limits(bits: Any, signed: int, narrow: int) -> tuple[Any, Any]:
    if signed:
        return -(2.0 ** (bits - 1)) + narrow, 2.0 ** (bits - 1) - 1
    return 0 * bits, 2.0**bits - 1 - narrow


def number(value: float) -> Array:
    return np.asarray(value, np.float32)


def test_quantisation_of_any_number_of_bits() -> None:
    cases = []
    for i, (mode, function) in enumerate(ROUNDINGS.items()):
        for signed, narrow, bits, zero in ((1, 0, 4, 0), (1, 1, 3, 1), (0, 0, 3, 2), (0, 1, 4, 0), (1, 0, 1, 0)):
            scale = (2.0 ** RNG.integers(-2, 2, (1, 8))).astype(np.float32)

            def expected(
                x: Array,
                *,
                scale: Array = scale,
                f: Any = function,
                s: int = signed,
                n: int = narrow,
                b: int = bits,
                z: int = zero,
            ) -> list[Array]:
                low, high = limits(b, s, n)
                moved = x / scale + z
                whole = np.where(moved >= 0, 1, -1) if s and b == 1 else f(np.clip(moved, low, high))
                return [((whole - z) * scale).astype(np.float32)]

            model = node_model(
                "Quant", [X, scale, number(zero), number(bits)], opset=17, constants=(1, 2, 3), dynamic=True,
                domain=DOMAINS[i % 3], signed=signed, narrow=narrow, rounding_mode=mode,
            )  # fmt: skip
            cases.append(Case(model, ((X,), (X[:2],)), 0, 0, expected))
    hold(cases)


def test_bits_that_the_call_gives() -> None:
    def expected(x: Array, bits: Array) -> list[Array]:
        low, high = limits(bits, 1, 0)
        return [np.where(bits == 1, np.where(x >= 0, 1, -1), np.rint(np.clip(x, low, high))).astype(np.float32)]

    model = node_model(
        "Quant", [X, number(1), number(0), number(4)], opset=17, constants=(1, 2), domain=DOMAINS[0], signed=1, narrow=0
    )
    hold([Case(model, tuple((X, number(bits)) for bits in (1, 2, 5)), 0, 0, expected)])


def test_signs_and_truncation() -> None:
    scale = np.array([[0.5]], np.float32)
    bipolar = node_model("BipolarQuant", [X, scale], opset=17, constants=(1,), dynamic=True, domain=DOMAINS[1])
    cases = [Case(bipolar, ((X,),), 0, 0, lambda x: [np.where(x >= 0, scale, -scale)])]
    for mode, function in ROUNDINGS.items():

        def first(x: Array, f: Any = function) -> list[Array]:
            return [((f(np.rint(x / 0.25 + 2) / 8) - 2) * 0.25).astype(np.float32)]

        def second(x: Array, f: Any = function) -> list[Array]:
            return [((f(np.clip((np.rint(x / 0.25 + 2)) / 8, -4, 3)) - 0.25) * 2).astype(np.float32)]

        parameters = [number(0.25), number(2), number(8)]
        older = node_model(
            "Trunc", [X, *parameters, number(5)], opset=17, constants=range(1, 5), domain=DOMAINS[0], rounding_mode=mode
        )
        newer = node_model(
            "Trunc", [X, *parameters, number(2), number(3)], opset=17, constants=range(1, 6), domain=DOMAINS[0],
            rounding_mode=mode, signed=1, narrow=0,
        )  # fmt: skip
        cases += [Case(older, ((X,),), 0, 0, first), Case(newer, ((X,),), 0, 0, second)]
    hold(cases)


def test_unknown_roundings_are_told() -> None:
    model = node_model(
        "Quant", [X, number(1), number(0), number(4)], opset=17, constants=(1, 2, 3), domain=DOMAINS[0], rounding_mode="AWAY"
    )
    with pytest.raises(InputError, match="AWAY"):
        translate(model, "wrong")
