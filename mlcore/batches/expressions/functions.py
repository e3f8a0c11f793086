"""The one table of functions: what they are called, what they take, what they give.

To add one, add a line to a list at the end of this file and to `docs/reference/expressions.md`; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from mlcore.batches.blocks import Array
from mlcore.batches.expressions.rows import Rows

BOOL: np.dtype[Any] = np.dtype(np.bool_)
INTEGER: np.dtype[Any] = np.dtype(np.int64)
UNSIGNED: np.dtype[Any] = np.dtype(np.uint64)
REAL: np.dtype[Any] = np.dtype(np.float64)

NAMESPACES = ("TMath::", "std::", "ROOT::VecOps::", "VecOps::", "ROOT::Math::", "Math::", "numpy.", "np.", "math.", "ak.")
"""What may stand before a function's name and says nothing more."""


class Kind(Enum):
    """What a function does with rows."""

    ELEMENTWISE = "value by value"
    REDUCTION = "one value of each row"
    ORDER = "the values of each row in another order"
    FORM = "no function, but written as one"


@dataclass(frozen=True)
class Function:
    """A function of the table.

    Attributes
    ----------
    name
        Its canonical one.
    parameters
        Names of its arguments, as the docs show them.
    summary
        What it gives.
    kind
        What it does with rows.
    compute
        Of an elementwise one from its arguments' arrays; of another from `Rows` and the arguments' values.
    result
        The type it gives, from its arguments'.
    reals
        Whether arguments are widened to float64 first; else they are brought to one type.
    most
        The largest number of arguments where it takes more than it has parameters.
    least
        The smallest number of arguments, where it takes fewer than it has parameters.
    aliases
        Other names.
    needs
        The type all arguments must have, or None.
    """

    name: str
    parameters: tuple[str, ...]
    summary: str
    kind: Kind
    compute: Callable[..., Any]
    result: Callable[[Sequence[np.dtype[Any]]], np.dtype[Any]]
    reals: bool = False
    most: int | None = None
    least: int | None = None
    aliases: tuple[str, ...] = ()
    needs: frozenset[np.dtype[Any]] | None = None

    @property
    def takes(self) -> tuple[int, int]:
        """The smallest and largest number of arguments."""
        given = len(self.parameters)
        return (given if self.least is None else self.least, given if self.most is None else self.most)

    @property
    def signature(self) -> str:
        """As the docs show it, such as ``atan2(y, x)``."""
        return f"{self.name}({', '.join(self.parameters)}{', …' if self.takes[1] > len(self.parameters) else ''})"


def promote(types: Iterable[np.dtype[Any]]) -> np.dtype[Any]:
    """The type in which numbers are computed: as in C++, but truth values stay so only among themselves."""
    kinds = set(types)
    if REAL in kinds:
        return REAL
    if UNSIGNED in kinds:
        return UNSIGNED
    return BOOL if kinds == {BOOL} else INTEGER


def numeric(types: Iterable[np.dtype[Any]]) -> np.dtype[Any]:
    """`promote` for arithmetic, where truth values count as integers."""
    found = promote(types)
    return INTEGER if found == BOOL else found


def truth(values: Array) -> Array:
    """Which values count as true: numbers that are not 0; NaN does not."""
    return values if values.dtype == bool else np.asarray((values != 0) & (values == values))


def power(base: Array, exponent: Array) -> Array:
    """Reals to a power as in C, for zeros and infinities as well."""
    if not exponent.ndim and exponent == 0.5:
        # NumPy takes the square root, which differs at -0 and -inf.
        return np.asarray(np.where(base == -np.inf, np.inf, np.sqrt(base) + 0.0))
    return np.asarray(np.power(base, exponent))


def _always(dtype: np.dtype[Any]) -> Callable[[Sequence[np.dtype[Any]]], np.dtype[Any]]:
    return lambda _types: dtype


def _choice(types: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    return promote(types[1:])


def _where(condition: Array, yes: Array, no: Array) -> Array:
    dtype = promote((yes.dtype, no.dtype))
    return np.asarray(np.where(truth(condition), yes.astype(dtype), no.astype(dtype)))


def _absolute(x: Array) -> Array:
    return np.asarray(np.abs(x) if x.dtype != bool else x.astype(np.int64))


def _sign(x: Array) -> Array:
    return np.asarray(np.sign(x.astype(np.int64) if x.dtype == bool else x))


def _integer(x: Array) -> Array:
    if x.dtype != np.float64:
        return x if x.dtype == np.uint64 else x.astype(np.int64)
    fits = np.abs(x) < 2.0**63  # false for NaN
    return np.asarray(np.where(fits, x, 0)).astype(np.int64)


def _round(x: Array) -> Array:
    # Not floor(x + 0.5): that sum rounds up for the number just below one half.
    whole = np.trunc(x)
    return np.asarray(whole + np.copysign(np.abs(x - whole) >= 0.5, x))


def _fold(ufunc: np.ufunc) -> Callable[..., Array]:
    def compute(*arguments: Array) -> Array:
        dtype = numeric(argument.dtype for argument in arguments)
        result = arguments[0].astype(dtype)
        for argument in arguments[1:]:
            result = ufunc(result, argument.astype(dtype))
        return np.asarray(result)

    return compute


def _clip(x: Array, low: Array, high: Array) -> Array:
    return np.asarray(_fold(np.minimum)(_fold(np.maximum)(x, low), high))


def _bits(ufunc: np.ufunc) -> Callable[..., Array]:
    def compute(x: Array, y: Array) -> Array:
        dtype = numeric((x.dtype, y.dtype))
        return np.asarray(ufunc(x.astype(dtype), y.astype(dtype)))

    return compute


def _bit(x: Array, n: Array) -> Array:
    known = (n >= 0) & (n < 64)
    shift = np.where(known, n, 0).astype(np.uint64)
    return np.asarray(known & ((x.astype(np.uint64) >> shift) & np.uint64(1)).astype(bool))


def _delta_phi(phi1: Array, phi2: Array) -> Array:
    turned = np.fmod(phi2 - phi1, 2 * np.pi)
    return np.asarray(np.where(turned < -np.pi, turned + 2 * np.pi, np.where(turned > np.pi, turned - 2 * np.pi, turned)))


def _delta_r(eta1: Array, eta2: Array, phi1: Array, phi2: Array) -> Array:
    return np.asarray(np.hypot(eta1 - eta2, _delta_phi(phi1, phi2)))


def _momentum(pt: Array, eta: Array, phi: Array, mass: Array) -> tuple[Array, Array, Array, Array]:
    x, y, z = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return x, y, z, np.sqrt(x * x + y * y + z * z + mass * mass)


def _mass(x: Array, y: Array, z: Array, energy: Array) -> Array:
    squared = energy * energy - x * x - y * y - z * z
    return np.asarray(np.sqrt(np.where(squared < 0, 0.0, squared)))  # below 0 by rounding; NaN stays


def _invariant_mass(rows: Rows, *vectors: Array) -> Array:
    x, y, z, energy = (rows.sum(part) for part in _momentum(*vectors))
    return _mass(x, y, z, energy)


def _invariant_masses(*vectors: Array) -> Array:
    parts = zip(_momentum(*vectors[:4]), _momentum(*vectors[4:]), strict=True)
    x, y, z, energy = (np.asarray(a + b) for a, b in parts)
    return _mass(x, y, z, energy)


def _constant(value: float) -> Callable[..., Array]:
    return lambda: np.asarray(value)


def _real(name: str, compute: Callable[..., Any], parameters: str, summary: str, *aliases: str) -> Function:
    """An elementwise function from reals to reals."""
    return Function(name, tuple(parameters.split()), summary, Kind.ELEMENTWISE, compute, _always(REAL), True, aliases=aliases)


def _test(name: str, compute: Callable[..., Any], summary: str, *aliases: str) -> Function:
    return Function(name, ("x",), summary, Kind.ELEMENTWISE, compute, _always(BOOL), True, aliases=aliases)


def _reduce(
    name: str,
    compute: Callable[..., Any],
    result: np.dtype[Any] | Callable[[Sequence[np.dtype[Any]]], np.dtype[Any]],
    summary: str,
    *aliases: str,
) -> Function:
    given = result if callable(result) else _always(result)
    return Function(name, ("x",), summary, Kind.REDUCTION, compute, given, aliases=aliases)


_WHOLE = frozenset({BOOL, INTEGER, UNSIGNED})
_MANY = 1000

_ELEMENTWISE = [
    _real("sqrt", np.sqrt, "x", "square root; NaN below 0", "Sqrt"),
    _real("cbrt", np.cbrt, "x", "cube root"),
    _real("exp", np.exp, "x", "exponential", "Exp"),
    _real("expm1", np.expm1, "x", "exp(x) - 1, exact near 0"),
    _real("log", np.log, "x", "natural logarithm; -inf at 0, NaN below", "Log", "ln"),
    _real("log2", np.log2, "x", "logarithm to base 2", "Log2"),
    _real("log10", np.log10, "x", "logarithm to base 10", "Log10"),
    _real("log1p", np.log1p, "x", "log(1 + x), exact near 0"),
    _real("pow", power, "x y", "x to the power y, always real; the same as x ** y", "Power"),
    _real("hypot", np.hypot, "x y", "sqrt(x² + y²) without overflow", "Hypot"),
    _real("sin", np.sin, "x", "sine", "Sin"),
    _real("cos", np.cos, "x", "cosine", "Cos"),
    _real("tan", np.tan, "x", "tangent", "Tan"),
    _real("asin", np.arcsin, "x", "inverse sine", "ASin", "arcsin"),
    _real("acos", np.arccos, "x", "inverse cosine", "ACos", "arccos"),
    _real("atan", np.arctan, "x", "inverse tangent", "ATan", "arctan"),
    _real("atan2", np.arctan2, "y x", "angle of the point (x, y)", "ATan2", "arctan2"),
    _real("sinh", np.sinh, "x", "hyperbolic sine", "SinH"),
    _real("cosh", np.cosh, "x", "hyperbolic cosine", "CosH"),
    _real("tanh", np.tanh, "x", "hyperbolic tangent", "TanH"),
    _real("asinh", np.arcsinh, "x", "inverse hyperbolic sine", "ASinH", "arcsinh"),
    _real("acosh", np.arccosh, "x", "inverse hyperbolic cosine", "ACosH", "arccosh"),
    _real("atanh", np.arctanh, "x", "inverse hyperbolic tangent", "ATanH", "arctanh"),
    _real("floor", np.floor, "x", "next whole number below", "Floor"),
    _real("ceil", np.ceil, "x", "next whole number above", "Ceil"),
    _real("trunc", np.trunc, "x", "without the fraction"),
    _real("round", _round, "x", "nearest whole number, halves away from 0, as in C++"),
    _real("fmod", np.fmod, "x y", "rest of x / y with the sign of x, as in C"),
    _real("float", np.positive, "x", "as a real", "double", "Float_t", "Double_t"),
    _real("DeltaPhi", _delta_phi, "phi1 phi2", "phi2 - phi1, brought to -π to π"),
    _real("DeltaR", _delta_r, "eta1 eta2 phi1 phi2", "distance in η and φ; mind the order of the arguments"),
    _real(
        "InvariantMasses",
        _invariant_masses,
        "pt1 eta1 phi1 mass1 pt2 eta2 phi2 mass2",
        "mass of each pair of particles",
    ),
    _real("pi", _constant(math.pi), "", "π", "Pi"),
    _real("inf", _constant(math.inf), "", "infinity", "Infinity"),
    _real("nan", _constant(math.nan), "", "no number", "QuietNaN", "NaN"),
    _test("isnan", np.isnan, "whether it is no number", "IsNaN"),
    _test("isinf", np.isinf, "whether it is an infinity"),
    _test("isfinite", np.isfinite, "whether it is neither NaN nor an infinity", "Finite"),
    Function("abs", ("x",), "without its sign", Kind.ELEMENTWISE, _absolute, numeric, aliases=("fabs", "Abs")),
    Function("sign", ("x",), "-1, 0 or 1", Kind.ELEMENTWISE, _sign, numeric, aliases=("Sign",)),
    Function(
        "int",
        ("x",),
        "without its fraction as an integer; 0 for NaN and what does not fit",
        Kind.ELEMENTWISE,
        _integer,
        lambda types: UNSIGNED if types[0] == UNSIGNED else INTEGER,
        aliases=("Int_t", "Long64_t"),
    ),
    Function("min", ("x", "y"), "the smallest; NaN if one is", Kind.ELEMENTWISE, _fold(np.minimum), numeric, most=_MANY),
    Function("max", ("x", "y"), "the largest; NaN if one is", Kind.ELEMENTWISE, _fold(np.maximum), numeric, most=_MANY),
    Function(
        "clip", ("x", "low", "high"), "min(max(x, low), high)", Kind.ELEMENTWISE, _clip, numeric, aliases=("clamp", "Range")
    ),
    Function("where", ("condition", "a", "b"), "a where it holds, else b", Kind.ELEMENTWISE, _where, _choice, aliases=("Where",)),
    Function("bit_and", ("x", "y"), "bits that are set in both", Kind.ELEMENTWISE, _bits(np.bitwise_and), numeric, needs=_WHOLE),
    Function("bit_or", ("x", "y"), "bits set in one or both", Kind.ELEMENTWISE, _bits(np.bitwise_or), numeric, needs=_WHOLE),
    Function("bit_xor", ("x", "y"), "bits that are set in one", Kind.ELEMENTWISE, _bits(np.bitwise_xor), numeric, needs=_WHOLE),
    Function("bit", ("x", "n"), "whether bit n is set, from 0", Kind.ELEMENTWISE, _bit, _always(BOOL), needs=_WHOLE),
]

_REDUCTIONS = [
    _reduce("Length", lambda rows, _values: rows.counts, INTEGER, "how many values", "Length$", "Size", "len", "size"),
    _reduce("Sum", Rows.sum, lambda types: numeric(types), "sum; 0 of none; counts truth values", "Sum$", "sum"),
    _reduce("Count", lambda rows, x: rows.sum(truth(x)), INTEGER, "how many are true, or not 0", "count", "count_nonzero"),
    _reduce("Mean", Rows.mean, REAL, "mean; NaN of none", "mean"),
    _reduce("Var", Rows.variance, REAL, "sample variance; NaN of fewer than two", "var"),
    _reduce("StdDev", lambda rows, x: np.sqrt(rows.variance(x)), REAL, "root of Var", "std"),
    _reduce("Max", lambda rows, x: rows.extreme(np.maximum, x), REAL, "largest as a real; NaN of none", "Max$"),
    _reduce("Min", lambda rows, x: rows.extreme(np.minimum, x), REAL, "smallest as a real; NaN of none", "Min$"),
    _reduce("ArgMax", lambda rows, x: rows.position(np.maximum, x), INTEGER, "where Max is, from 0; -1 of none", "argmax"),
    _reduce("ArgMin", lambda rows, x: rows.position(np.minimum, x), INTEGER, "where Min is, from 0; -1 of none", "argmin"),
    _reduce("Any", lambda rows, x: rows.reduce(np.logical_or, truth(x), False), BOOL, "whether one is true", "any"),
    _reduce(
        "All", lambda rows, x: rows.reduce(np.logical_and, truth(x), True), BOOL, "whether all are true; of none, yes", "all"
    ),
    Function(
        "InvariantMass",
        ("pt", "eta", "phi", "mass"),
        "mass of the sum of all particles of a row",
        Kind.REDUCTION,
        _invariant_mass,
        _always(REAL),
        True,
    ),
]

_ORDERS = [
    Function("Sort", ("x",), "smallest first, NaN last", Kind.ORDER, Rows.sorted, lambda types: types[0], aliases=("sort",)),
    Function("Reverse", ("x",), "last first", Kind.ORDER, Rows.reversed, lambda types: types[0], aliases=("reverse",)),
]

_FORMS = [
    Function("Alt", ("x[i]", "y"), "x[i], or y where a row is too short", Kind.FORM, lambda: None, promote, aliases=("Alt$",)),
]

FUNCTIONS: dict[str, Function] = {one.name: one for one in [*_ELEMENTWISE, *_REDUCTIONS, *_ORDERS, *_FORMS]}
"""All functions by their canonical names."""

_BY_ALIAS = {alias: one for one in FUNCTIONS.values() for alias in (one.name, *one.aliases)}
_EXTREMES = frozenset({"min", "max", "Min", "Max"})


def bare(name: str) -> str:
    """A function's name without a namespace that says nothing more."""
    return next((name[len(space) :] for space in NAMESPACES if name.startswith(space)), name)


def find(name: str, n_arguments: int) -> Function | None:
    """The function of a name as it is written, or None.

    ``Max`` and ``max`` (``Min`` and ``min``) are one name: the largest of a row with one argument, of the arguments with more.
    """
    name = bare(name)
    if name in _EXTREMES:
        name = name.capitalize() if n_arguments == 1 else name.lower()
    return _BY_ALIAS.get(name)


def known() -> list[str]:
    """All names that `find` knows, for hints."""
    return sorted(_BY_ALIAS)
