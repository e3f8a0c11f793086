"""Kernels of networks on every CPU target, against the NumPy oracle in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernels
from kernels import reference

TARGETS = kernels.available_targets()


@pytest.mark.parametrize("target", TARGETS)
@given(m=st.integers(0, 40), k=st.integers(1, 70), n=st.integers(1, 70), seed=st.integers(0, 2**32 - 1), with_bias=st.booleans())
def test_products(target: str, m: int, k: int, n: int, seed: int, with_bias: bool) -> None:
    """Tolerance: k roundings of terms of size 1."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))
    bias = rng.standard_normal(n).astype(np.float32) if with_bias else None
    exact = a.astype(np.float64) @ b + (0 if bias is None else bias)
    found = kernels.PackedMatrix(b).product(a, bias, target=target)
    bound = np.abs(a).astype(np.float64) @ np.abs(b) + 4
    assert (np.abs(found - exact) <= k * 1.2e-7 * bound + 1e-6).all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("function", ["exp", "log", "tanh", "erf", "sigmoid", "gelu", "gelu_tanh", "expm1", "softplus"])
def test_functions(target: str, function: str) -> None:
    """Tolerance: a few units in the last place; GELU cancels for large negative numbers, where it is next to nothing."""
    x = np.random.default_rng(1).uniform(-8, 8, 1001).astype(np.float32)
    x = np.abs(x) if function == "log" else x
    np.testing.assert_allclose(
        kernels.map_float32(function, x, target=target), reference.map_float32(function, x), rtol=1e-6, atol=3e-6
    )


@pytest.mark.parametrize("target", TARGETS)
def test_differences_from_one_keep_their_digits(target: str) -> None:
    """Tolerance: four units in the last place, also where the result is next to nothing; and what is no ordinary number."""
    rng = np.random.default_rng(2)
    x = (rng.choice([-1.0, 1.0], 4000) * 10 ** rng.uniform(-9, 1.9, 4000)).astype(np.float32)
    for function in ("expm1", "softplus"):
        exact = reference.map_float32(function, x)
        normal = np.abs(exact) > 1.2e-38
        found = kernels.map_float32(function, x, target=target)
        np.testing.assert_allclose(found[normal], exact[normal], rtol=4.8e-7, atol=0, err_msg=function)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    np.testing.assert_array_equal(kernels.map_float32("expm1", odd, target=target), [np.nan, np.inf, -1.0, 0.0])
    np.testing.assert_allclose(kernels.map_float32("softplus", odd, target=target), [np.nan, np.inf, 0.0, np.log(2)], rtol=2e-7)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("n", [1, 7, 16, 33, 200])
def test_rows(target: str, n: int) -> None:
    """Tolerance: roundings of sums of n terms."""
    rng = np.random.default_rng(n)
    x = rng.normal(2, 3, (5, n)).astype(np.float32)
    scale, bias = (rng.standard_normal(n).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(kernels.softmax(x, target=target), reference.softmax(x), rtol=3e-6, atol=1e-7)
    exact = reference.layer_normalize(x, scale, bias)
    np.testing.assert_allclose(kernels.layer_normalize(x, scale, bias, target=target), exact, rtol=2e-4, atol=2e-5)


def test_what_does_not_fit_is_refused() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="has 3 columns, the weights have 2 rows"):
        kernels.PackedMatrix(np.ones((2, 2), np.float32)).product(x)
    with pytest.raises(ValueError, match="a number for each column"):
        kernels.PackedMatrix(np.ones((3, 2), np.float32)).product(x, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="no function 'cosine'"):
        kernels.map_float32("cosine", np.ones(3, np.float32))
    with pytest.raises(ValueError, match="cannot run the target 'pentium'"):
        kernels.softmax(x, target="pentium")
