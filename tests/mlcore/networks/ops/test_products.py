"""What passes make of matrix products and attention, on every target, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import kernels
from mlcore import networks
from mlcore.networks.build import QUICK
from tests.mlcore.networks.models import model

RNG = np.random.default_rng(3)
TARGETS = {
    "native": ("-march=native",),
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
    "avx2": ("-mavx2", "-mfma"),
    "portable": (),
}
SIZES = [(1, depth, columns) for depth in (1, 6, 33) for columns in (1, 4, 5, 9, 16, 18, 23, 130)]
SIZES += [(3, 6, 5), (2, 6, 1), (21, 33, 50), (12, 5, 4), (40, 7, 64)]
Port = tuple[int, list[int | str] | None]


def options(target: str) -> networks.BuildOptions:
    if target.startswith("avx") and target not in kernels.available_targets():
        pytest.skip(f"this processor has no {target.upper()}")
    return networks.BuildOptions(flags=(*QUICK, *TARGETS[target]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target", TARGETS)
def test_products_of_any_size(target: str, dtype: Any) -> None:
    """Of one row and of several; the first product's result lies in the arena, the second's is the caller's."""
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes: list[Any] = []
    ports: dict[str, Port] = {}
    constants: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for rows, depth, columns in SIZES:
        name = f"{rows}_{depth}_{columns}"
        x, w, v = (RNG.standard_normal(shape).astype(dtype) for shape in ((rows, depth), (depth, columns), (columns, columns)))
        bias = RNG.standard_normal(columns).astype(dtype)
        ports[f"x{name}"], arrays[f"x{name}"] = (number, [rows, depth]), x
        constants |= {f"w{name}": w, f"v{name}": v, f"b{name}": bias}
        nodes += [
            helper.make_node("Gemm", [f"x{name}", f"w{name}", f"b{name}"], [f"h{name}"]),
            helper.make_node("Relu", [f"h{name}"], [f"r{name}"]),
            helper.make_node("MatMul", [f"r{name}", f"v{name}"], [f"y{name}"]),
        ]
        wanted[f"y{name}"] = np.maximum(x.astype(np.float64) @ w + bias, 0) @ v
    proto = model(nodes, ports, dict.fromkeys(wanted, number), constants)
    found = networks.load(proto, options=options(target)).run(arrays)
    # Sums of 130 products of numbers about one, in one order or another.
    tolerance = 200 * np.finfo(dtype).eps
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=tolerance, atol=10 * tolerance, err_msg=name)


@pytest.mark.parametrize("mask", [None, (1, 1, 1, 0), (1, 1, 0, 1), (0, 0, 0, 0)])
@pytest.mark.parametrize("target", TARGETS)
def test_attention_of_any_size(target: str, mask: tuple[int, ...] | None) -> None:
    """Zeros in `mask` are the axes along which something is added."""
    nodes: list[Any] = []
    ports: dict[str, Port] = {}
    wanted: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for tokens, keys, depth in [(1, 1, 1), (7, 5, 3), (33, 40, 16), (70, 33, 20)]:
        name = f"{tokens}_{keys}_{depth}"
        sizes = (2, 3, tokens, keys)
        shapes: dict[str, tuple[int, ...]] = {"q": (2, 3, tokens, depth), "k": (2, 3, keys, depth), "v": (2, 3, keys, depth + 1)}
        if mask is not None:
            shapes["m"] = tuple(1 if one else size for one, size in zip(mask, sizes, strict=True))
        for key, shape in shapes.items():
            ports[f"{key}{name}"], arrays[f"{key}{name}"] = (
                (TensorProto.FLOAT, list(shape)),
                RNG.standard_normal(shape).astype(np.float32),
            )
        q, k, v = (arrays[f"{key}{name}"].astype(np.float64) for key in "qkv")
        scores = q @ k.swapaxes(2, 3)
        nodes += [
            helper.make_node("Transpose", [f"k{name}"], [f"t{name}"], perm=[0, 1, 3, 2]),
            helper.make_node("MatMul", [f"q{name}", f"t{name}"], [f"s{name}"]),
        ]
        last = f"s{name}"
        if mask is not None:
            arrays[f"m{name}"][..., :1] -= 50.0
            scores = scores + arrays[f"m{name}"]
            nodes.append(helper.make_node("Add", [last, f"m{name}"], [f"a{name}"]))
            last = f"a{name}"
        nodes += [
            helper.make_node("Softmax", [last], [f"p{name}"], axis=-1),
            helper.make_node("MatMul", [f"p{name}", f"v{name}"], [f"y{name}"]),
        ]
        e = np.exp(scores - scores.max(-1, keepdims=True))
        wanted[f"y{name}"] = e / e.sum(-1, keepdims=True) @ v
    proto = model(nodes, ports, dict.fromkeys(wanted, TensorProto.FLOAT))
    found = networks.load(proto, options=options(target)).run(arrays)
    for name, values in wanted.items():
        # Scores of twenty products, whose rounding the exponential multiplies.
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=2e-5, err_msg=name)
