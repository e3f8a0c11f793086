"""Conversions against the definition of each format, code by code, and against ml_dtypes and Python's own texts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from mlcore.networks.ir import DType
from tests.mlcore.networks.conftest import Case, hold, node_model

NUMBERS = [dtype for dtype in DType if dtype is not DType.STRING]
FLOAT8 = [DType.FLOAT8E4M3FN, DType.FLOAT8E4M3FNUZ, DType.FLOAT8E5M2, DType.FLOAT8E5M2FNUZ]
BITS = {DType.INT4: 4, DType.UINT4: 4, DType.INT2: 2, DType.UINT2: 2}


def casts(source: DType, targets: list[DType], **attributes: Any) -> Any:
    """A model that converts one vector to several types."""
    nodes = [helper.make_node("Cast", ["x"], [f"y{i}"], to=target.number, **attributes) for i, target in enumerate(targets)]
    outputs = [helper.make_tensor_value_info(f"y{i}", target.number, ["n"]) for i, target in enumerate(targets)]
    graph = helper.make_graph(nodes, "casts", [helper.make_tensor_value_info("x", source.number, ["n"])], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=11)


def bounds(dtype: DType) -> tuple[int, int]:
    bits = BITS.get(dtype, 8 * dtype.bytes)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.is_signed else (0, 2**bits - 1)


def converted(value: float, target: DType) -> Any:
    """One number by the rules of ONNX's Cast; None where they leave it open."""
    if target is DType.BOOL:
        return value != 0
    if target.is_integer:
        low, high = bounds(target)
        if not math.isfinite(value) or (isinstance(value, float) and not low <= math.trunc(value) <= high):
            return None
        return (math.trunc(value) - low) % (high - low + 1) + low
    if target is DType.FLOAT8E8M0:
        return None
    number = np.float64(value)
    largest = {DType.FLOAT8E4M3FN: 448, DType.FLOAT8E4M3FNUZ: 240, DType.FLOAT8E5M2: 57344, DType.FLOAT8E5M2FNUZ: 57344}
    if target in largest and not math.isnan(value):
        number = np.clip(number, -largest[target], largest[target])
    if target is DType.FLOAT4E2M1:
        number = np.clip(number, -6, 6)
        if math.isnan(value):
            return None
    with np.errstate(over="ignore", invalid="ignore"):
        return number.astype(np.float32).astype(target.numpy) if target.is_small else number.astype(target.numpy)


SPECIAL = [0.0, -0.0, 0.3, -0.7, 1.0, 1.5, -2.5, 3.0, 7.75, 100.25, -129.0, 255.0, 300.0, 449.0, 70000.0, -3e5, 1e-7, 5e-324,
           math.inf, -math.inf, math.nan]  # fmt: skip


def test_every_type_to_every_other() -> None:
    cases = []
    for source in NUMBERS:
        if source.is_float:
            with np.errstate(over="ignore", invalid="ignore"):
                values = np.array(SPECIAL, np.float64).astype(np.float32).astype(source.numpy)
        elif source is DType.BOOL:
            values = np.array([False, True])
        else:
            low, high = bounds(source)
            middle = [item for item in (-130, -9, -3, -1, 0, 1, 2, 3, 8, 17, 200, 70001) if low <= item <= high]
            values = np.array([low, *middle, high], np.int64 if low else np.uint64).astype(source.numpy)
        if source is DType.FLOAT64:
            values = np.array(SPECIAL, np.float64)
        cases.append((source, values))
    emitted = [translate(casts(source, NUMBERS), f"from_{source}") for source, _ in cases]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    for (source, values), item in zip(cases, emitted, strict=True):
        plain = [bool(x) if source is DType.BOOL else float(x) if source.is_float else int(x) for x in values]
        for target, found in zip(NUMBERS, Function(library, item)([values]), strict=True):
            assert found.dtype == target.numpy
            for number, result in zip(plain, found, strict=True):
                wanted = number if source is target else converted(number, target)
                if wanted is None:
                    continue
                # No tolerance: a conversion is exact or rounded in one defined way.
                np.testing.assert_equal(float(result), float(wanted), err_msg=f"{source} {number!r} to {target}")
                if target.is_float and number == 0 and not target.name.endswith("UZ"):
                    assert math.copysign(1, float(result)) == math.copysign(1, float(wanted)), (source, target)


def test_every_code_of_the_small_formats() -> None:
    small = [dtype for dtype in NUMBERS if dtype.is_small]
    emitted = [translate(casts(dtype, [DType.FLOAT32]), f"decode_{dtype}") for dtype in small]
    encode = translate(casts(DType.FLOAT32, [dtype for dtype in small if dtype is not DType.FLOAT8E8M0]), "encode")
    library, _ = build([*emitted, encode], BuildOptions(flags=QUICK))
    numbers = []
    for dtype, item in zip(small, emitted, strict=True):
        n_codes = 2 ** (4 if dtype is DType.FLOAT4E2M1 else 8 * dtype.bytes)
        codes = np.arange(n_codes).astype(np.uint8 if dtype.bytes == 1 else np.uint16).view(dtype.numpy)
        (found,) = Function(library, item)([codes])
        np.testing.assert_array_equal(found, codes.astype(np.float32), err_msg=str(dtype))
        numbers.append(found[:: max(1, n_codes // 1024)])
    # Every number, what lies halfway to the next, and what lies just beside that.
    grid = np.unique(np.concatenate([item[np.isfinite(item)] for item in numbers]))
    halves = ((grid[1:].astype(np.float64) + grid[:-1]) / 2).astype(np.float32)
    inputs = np.concatenate([grid, halves, np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))])
    for port, found in zip(encode.outputs, Function(library, encode)([inputs]), strict=True):
        wanted = np.array([converted(float(x), port.value.dtype) for x in inputs], np.float32)
        np.testing.assert_array_equal(found.astype(np.float32), wanted, err_msg=str(port.value.dtype))


def test_without_saturation_what_is_too_large_becomes_infinity_or_nan() -> None:
    emitted = translate(casts(DType.FLOAT32, FLOAT8, saturate=0), "beyond")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    values = np.array([1e6, -1e6, math.inf, 448, 465, 57344, 61441], np.float32)
    found = [item.astype(np.float32) for item in Function(library, emitted)([values])]
    nan, inf = math.nan, math.inf
    np.testing.assert_array_equal(found[0], [nan, nan, nan, 448, nan, nan, nan])
    np.testing.assert_array_equal(found[1], [nan, nan, nan, nan, nan, nan, nan])
    np.testing.assert_array_equal(found[2], [inf, -inf, inf, 448, 448, 57344, inf])
    np.testing.assert_array_equal(found[3], [nan, nan, nan, 448, 448, 57344, nan])


@pytest.mark.parametrize(("mode", "wanted"), [("up", [1, 2, 2, 4, 4]), ("down", [1, 1, 2, 2, 2]), ("nearest", [1, 1, 2, 2, 4])])
def test_powers_of_two_are_rounded_as_asked(mode: str, wanted: list[float]) -> None:
    emitted = translate(casts(DType.FLOAT32, [DType.FLOAT8E8M0], round_mode=mode), "powers")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    (found,) = Function(library, emitted)([np.array([1, 1.25, 2, 2.5, 3], np.float32)])
    np.testing.assert_array_equal(found.astype(np.float32), wanted)


def test_texts() -> None:
    numbers = np.array(["1", "-2.5", "1e-5", "1E8", "+INF", "inf", "-INF", "NaN", " 7 ", "0.1"], object)
    doubles = np.array([0.1, -0.0, 1e16, 123456.75, 1e-5, 5e-324, 1e22, math.inf, -math.inf, math.nan, 100, 1e15])
    whole = np.array([0, -1, 2**63 - 1, -(2**63)], np.int64)
    cases = [
        Case(
            node_model("Cast", [numbers], opset=21, outputs=[np.float64], dynamic=True, to=TensorProto.DOUBLE),
            ((numbers,), (numbers[:3],)),
            expected=lambda x: [np.array([float(text) for text in x])],
        ),
        Case(
            node_model("Cast", [doubles], opset=21, outputs=[object], dynamic=True, to=TensorProto.STRING),
            ((doubles,),),
            expected=lambda x: [np.array([str(float(number)) for number in x], object)],
        ),
        Case(
            node_model("Cast", [whole], opset=21, outputs=[object], to=TensorProto.STRING),
            ((whole,),),
            expected=lambda x: [np.array([str(int(number)) for number in x], object)],
        ),
        Case(
            node_model("Cast", [whole.astype(str).astype(object)], opset=21, outputs=[np.int64], to=TensorProto.INT64),
            ((whole.astype(str).astype(object),),),
            expected=lambda x: [np.array([int(text) for text in x], np.int64)],
        ),
        Case(
            node_model("Cast", [whole > 0], opset=21, outputs=[object], to=TensorProto.STRING),
            ((whole > 0,),),
            expected=lambda x: [np.array([str(bool(flag)) for flag in x], object)],
        ),
    ]
    hold(cases)
    emitted = translate(cases[0].model, "texts")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    with pytest.raises(InputError, match="no number"):
        Function(library, emitted)([np.array(["Hello"], object)])


def test_bits_under_another_type() -> None:
    x = np.array([1.0, -2.5, math.inf], np.float32)
    model = node_model("BitCast", [x], opset=26, outputs=[np.int32], dynamic=True, to=TensorProto.INT32)
    hold([Case(model, ((x,), (x[:0],)), expected=lambda x: [x.view(np.int32)])])
    with pytest.raises(InputError, match="another width"):
        translate(node_model("BitCast", [x], opset=26, outputs=[np.int64], to=TensorProto.INT64), "wrong")


def test_bad_attributes() -> None:
    x = np.zeros(2, np.float32)
    with pytest.raises(InputError, match="rounding 'sideways'"):
        translate(casts(DType.FLOAT32, [DType.FLOAT8E8M0], round_mode="sideways"), "wrong")
    with pytest.raises(InputError, match="not supported"):
        translate(node_model("Cast", [x], opset=21, outputs=[np.complex64], to=TensorProto.COMPLEX64), "wrong")
