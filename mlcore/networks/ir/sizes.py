"""Sizes of tensors: whole numbers, or expressions in symbols such as the number of particles of an event.

An expression is a polynomial with whole coefficients in *atoms*: symbols and calls (floor division, remainder, smaller, larger)
that do not reduce. Equal polynomials are equal objects, so ``n * 2 == n + n`` holds. An expression without symbols is a plain
`int`; arithmetic gives `int` wherever it can.

Examples
--------
>>> n = symbol("n")
>>> (n * 4 + 8) // 4
n + 2
>>> n * 3 - n - n - n
0
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast


@dataclass(frozen=True, order=True)
class Symbol:
    """A size that is not known when the code is written.

    Attributes
    ----------
    name
        A C++ identifier, unique in its graph.
    late
        False where the inputs' shapes give it at the start of a call, True where a node finds it out on the way.
    """

    name: str
    late: bool = False

    def __str__(self) -> str:
        return self.name


Function = Literal["floordiv", "mod", "min", "max"]


@dataclass(frozen=True)
class Call:
    """A function of two sizes that is no polynomial."""

    function: Function
    left: Size
    right: Size

    def __str__(self) -> str:
        return f"{self.function}({self.left}, {self.right})"


Atom = Symbol | Call
Monomial = tuple[Atom, ...]
"""A product of atoms, in the order of their texts."""


@dataclass(frozen=True)
class Expr:
    """A polynomial: coefficients by monomial, sorted, none of them zero, at least one with an atom."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Size) -> Size:
        result = dict(self.terms)
        for monomial, factor in _terms(other):
            result[monomial] = result.get(monomial, 0) + factor
        return _size(result)

    __radd__ = __add__

    def __mul__(self, other: Size) -> Size:
        result: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                monomial = tuple(sorted(left + right, key=str))
                result[monomial] = result.get(monomial, 0) + a * b
        return _size(result)

    __rmul__ = __mul__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + -other

    def __rsub__(self, other: Size) -> Size:
        return -self + other

    def __floordiv__(self, other: Size) -> Size:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Size) -> Size:
        return floordiv(other, self)

    def __mod__(self, other: Size) -> Size:
        return modulo(self, other)

    def __rmod__(self, other: Size) -> Size:
        return modulo(other, self)

    def __repr__(self) -> str:
        parts = []
        for monomial, factor in self.terms:
            product = "*".join(map(str, monomial))
            parts.append(str(factor) if not monomial else product if factor == 1 else f"{factor}*{product}")
        return " + ".join(parts).replace("+ -", "- ")


Size = int | Expr
"""A size, or a whole number computed from sizes, which may be negative."""


def symbol(name: str, *, late: bool = False) -> Expr:
    """The expression that is one symbol."""
    return Expr((((Symbol(name, late),), 1),))


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(size, Expr):
        return size.terms
    return (((), int(size)),) if size else ()


def _size(terms: Mapping[Monomial, int]) -> Size:
    kept = {monomial: factor for monomial, factor in terms.items() if factor}
    if not kept:
        return 0
    if set(kept) == {()}:
        return kept[()]
    # The constant stands last; the rest in the order of their texts.
    return Expr(tuple(sorted(kept.items(), key=lambda item: (not item[0], [str(atom) for atom in item[0]]))))


def _call(function: Function, left: Size, right: Size) -> Expr:
    return Expr((((Call(function, left, right),), 1),))


def _divided(dividend: Size, divisor: Size) -> Size | None:
    """The exact quotient, where each term has the divisor's only term as a factor."""
    terms = _terms(divisor)
    if len(terms) != 1:
        return None
    ((atoms, factor),) = terms
    result: dict[Monomial, int] = {}
    for monomial, coefficient in _terms(dividend):
        rest = list(monomial)
        for atom in atoms:
            if atom not in rest:
                return None
            rest.remove(atom)
        if coefficient % factor:
            return None
        result[tuple(rest)] = coefficient // factor
    return _size(result)


def floordiv(left: Size, right: Size) -> Size:
    """``left // right``, rounded down. Divisors with symbols are taken to be positive."""
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    if left == right:
        return 1
    exact = _divided(left, right)
    if exact is not None:
        return exact
    if isinstance(right, int) and isinstance(left, Expr):
        # What is divisible leaves: (4 n + m + 9) // 4 = n + 2 + (m + 1) // 4.
        whole = {monomial: factor // right for monomial, factor in left.terms if factor % right == 0 or not monomial}
        rest = left - _size(whole) * right
        if any(whole.values()):
            return _size(whole) + floordiv(rest, right)
    return _call("floordiv", left, right)


def modulo(left: Size, right: Size) -> Size:
    """``left % right``, with the divisor's sign."""
    if isinstance(left, int) and isinstance(right, int):
        return left % right
    if left == right or _divided(left, right) is not None:
        return 0
    return _call("mod", left, right)


def smaller(left: Size, right: Size) -> Size:
    """The smaller of two."""
    return _chosen("min", left, right)


def larger(left: Size, right: Size) -> Size:
    """The larger of two."""
    return _chosen("max", left, right)


def _chosen(function: Literal["min", "max"], left: Size, right: Size) -> Size:
    difference = left - right
    if isinstance(difference, int):
        left_is_smaller = difference <= 0
        return left if left_is_smaller == (function == "min") else right
    # Sizes are at least zero, so that min(n, 0) = 0 and max(n, 0) = n for a plain sum of sizes.
    for one, other in ((left, right), (right, left)):
        if isinstance(one, int) and one <= 0 and is_nonnegative(other):
            return one if function == "min" else other
    return _call(function, left, right)


def is_nonnegative(size: Size) -> bool:
    """Whether it cannot be negative, as far as its form tells."""
    return all(
        factor >= 0
        and all(isinstance(atom, Symbol) or (is_nonnegative(atom.left) and is_nonnegative(atom.right)) for atom in monomial)
        for monomial, factor in _terms(size)
    )


def product(sizes: Any) -> Size:
    """The product of some sizes; 1 of none."""
    result: Size = 1
    for size in sizes:
        result = result * size
    return result


def symbols(size: Size) -> Iterator[Symbol]:
    """Every symbol of an expression, some perhaps more than once."""
    for monomial, _ in _terms(size):
        for atom in monomial:
            if isinstance(atom, Symbol):
                yield atom
            else:
                yield from symbols(atom.left)
                yield from symbols(atom.right)


def is_late(size: Size) -> bool:
    """Whether a node has to run before this size is known."""
    return any(atom.late for atom in symbols(size))


def substitute(size: Size, replacement: Callable[[Symbol], Size]) -> Size:
    """The size with other sizes in place of its symbols."""
    result: Size = 0
    for monomial, factor in _terms(size):
        value: Size = factor
        for atom in monomial:
            if isinstance(atom, Symbol):
                value = value * replacement(atom)
            else:
                value = value * apply(atom.function, substitute(atom.left, replacement), substitute(atom.right, replacement))
        result = result + value
    return result


def apply(function: Function, left: Size, right: Size) -> Size:
    """A function by its name."""
    functions: dict[str, Callable[[Size, Size], Size]] = {
        "floordiv": floordiv,
        "mod": modulo,
        "min": smaller,
        "max": larger,
    }
    return functions[function](left, right)


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """The number that an expression is, given its symbols' values by name.

    Raises
    ------
    KeyError
        A symbol has no value.
    """
    return cast("int", substitute(size, lambda item: values[item.name]))


def interval(size: Size, most: Mapping[str, int]) -> tuple[int, int] | None:
    """Numbers that an expression lies between where its symbols are at least 0 and at most what `most` has by their names.

    None where a symbol has no bound, or a division has no positive divisor.
    """
    low = high = 0
    for monomial, factor in _terms(size):
        ends = (factor, factor)
        for atom in monomial:
            other = (0, most[atom.name]) if isinstance(atom, Symbol) and atom.name in most else _call_interval(atom, most)
            if other is None:
                return None
            corners = [a * b for a in ends for b in other]
            ends = (min(corners), max(corners))
        low, high = low + ends[0], high + ends[1]
    return low, high


def _call_interval(atom: Atom, most: Mapping[str, int]) -> tuple[int, int] | None:
    if isinstance(atom, Symbol):
        return None
    left, right = interval(atom.left, most), interval(atom.right, most)
    if left is None or right is None:
        return None
    if atom.function in ("min", "max"):
        choose = min if atom.function == "min" else max
        return choose(left[0], right[0]), choose(left[1], right[1])
    if right[0] <= 0:
        return None
    if atom.function == "mod":
        return 0, right[1] - 1
    corners = [a // b for a in left for b in right]
    return min(corners), max(corners)
