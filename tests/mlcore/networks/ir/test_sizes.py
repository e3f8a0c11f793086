"""Arithmetic of sizes: an expression evaluates to what the numbers would have given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcore.networks.code import cpp_size
from mlcore.networks.ir.sizes import (
    Size,
    evaluate,
    floordiv,
    interval,
    is_late,
    is_nonnegative,
    larger,
    modulo,
    product,
    smaller,
    substitute,
    symbol,
    symbols,
)

NAMES = ("k", "m", "n")
Pair = tuple[Size, Callable[[dict[str, int]], int]]

values = st.fixed_dictionaries({name: st.integers(0, 12) for name in NAMES})


def leaves() -> st.SearchStrategy[Pair]:
    numbers = st.integers(-20, 20).map(lambda number: (number, lambda _: number))
    named = st.sampled_from(NAMES).map(lambda name: (symbol(name), lambda numbers: numbers[name]))
    return st.one_of(numbers, named)


def combined(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    """A pair of an expression and what it has to be: sums, products, quotients by positive numbers, the smaller, the larger."""
    divisors = st.integers(1, 9)
    both = st.tuples(inner, inner)
    return st.one_of(
        both.map(lambda pair: (pair[0][0] + pair[1][0], lambda numbers: pair[0][1](numbers) + pair[1][1](numbers))),
        both.map(lambda pair: (pair[0][0] - pair[1][0], lambda numbers: pair[0][1](numbers) - pair[1][1](numbers))),
        both.map(lambda pair: (pair[0][0] * pair[1][0], lambda numbers: pair[0][1](numbers) * pair[1][1](numbers))),
        both.map(lambda pair: (smaller_of(pair[0][0], pair[1][0]), lambda n: min(square(pair[0][1](n)), square(pair[1][1](n))))),
        both.map(lambda pair: (larger_of(pair[0][0], pair[1][0]), lambda n: max(square(pair[0][1](n)), square(pair[1][1](n))))),
        st.tuples(inner, divisors).map(lambda pair: (floordiv(pair[0][0], pair[1]), lambda n: pair[0][1](n) // pair[1])),
        st.tuples(inner, divisors).map(lambda pair: (modulo(pair[0][0], pair[1]), lambda n: pair[0][1](n) % pair[1])),
    )


def square(number: int) -> int:
    return number * number


def smaller_of(left: Size, right: Size) -> Size:
    """Of squares, since the two functions are for sizes, which are never negative."""
    return smaller(left * left, right * right)


def larger_of(left: Size, right: Size) -> Size:
    return larger(left * left, right * right)


expressions = st.recursive(leaves(), combined, max_leaves=6)


@given(expressions, values)
def test_an_expression_is_what_the_numbers_give(pair: Pair, numbers: dict[str, int]) -> None:
    size, wanted = pair
    assert evaluate(size, numbers) == wanted(numbers)


@given(expressions, values)
def test_substituting_some_symbols_first_changes_nothing(pair: Pair, numbers: dict[str, int]) -> None:
    size, wanted = pair
    part = substitute(size, lambda item: numbers["n"] if item.name == "n" else symbol(item.name))
    assert all(item.name != "n" for item in symbols(part))
    assert evaluate(part, numbers) == wanted(numbers)


@given(expressions, values)
def test_what_cannot_be_negative_is_not(pair: Pair, numbers: dict[str, int]) -> None:
    if is_nonnegative(pair[0]):
        assert pair[1](numbers) >= 0


@given(expressions, expressions)
def test_equal_polynomials_are_equal_objects(left: Pair, right: Pair) -> None:
    a, b = left[0], right[0]
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) * (a + b) == a * a + 2 * a * b + b * b
    assert a - a == 0
    assert hash(a + b) == hash(b + a)


@given(expressions, values)
def test_the_cpp_is_the_same_expression(pair: Pair, numbers: dict[str, int]) -> None:
    size, wanted = pair
    functions: dict[str, Any] = {
        "floor_div": lambda a, b: a // b,
        "floor_mod": lambda a, b: a % b,
        "smaller": min,
        "larger": max,
    }
    text = cpp_size(size).replace("nn::", "").replace("std::int64_t", "int")
    assert eval(text, {"__builtins__": {}, "int": int, **functions}, dict(numbers)) == wanted(numbers)  # noqa: S307 - our own text


def test_division_takes_out_what_divides() -> None:
    n, m = symbol("n"), symbol("m")
    assert (n * 4 + 8) // 4 == n + 2
    assert n * m // m == n
    assert n * 6 % 3 == 0
    assert repr((n * 4 + m + 9) // 4) == "floordiv(m + 1, 4) + n + 2"


@pytest.mark.parametrize(("size", "late"), [(3, False), (symbol("n"), False), (symbol("u", late=True) * 2 + 1, True)])
def test_late_sizes(size: Size, late: bool) -> None:
    assert is_late(size) is late


def test_a_symbol_without_a_value_is_named() -> None:
    with pytest.raises(KeyError, match="n"):
        evaluate(symbol("n") + 1, {})


def test_products() -> None:
    assert product([]) == 1
    assert product([2, symbol("n"), 3]) == symbol("n") * 6


@given(expressions, values)
def test_an_interval_holds_every_number_that_comes_out(pair: Pair, numbers: dict[str, int]) -> None:
    size, wanted = pair
    assert interval(size, {"k": 12}) is None or all(item.name == "k" for item in symbols(size))
    ends = interval(size, dict.fromkeys(NAMES, 12))
    assert ends is not None
    assert ends[0] <= wanted(numbers) <= ends[1]


def test_intervals_of_sizes_without_negative_parts_are_exact() -> None:
    n, m = symbol("n"), symbol("m")
    assert interval(n * m * 4 + floordiv(n, 2) + 3, {"n": 10, "m": 5}) == (3, 208)
    assert interval(floordiv(n, m), {"n": 10, "m": 5}) is None  # m may be zero
