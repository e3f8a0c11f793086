"""An expression for one row in plain Python: slow, and written from the reference page rather than from the code."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any

from mlcore.batches.expressions.tree import Call, Chain, Contained, Index, Literal, Name, Node, Power, Unary

NAN = math.nan
REAL_COLUMNS = {"x", "a", "v"}
ALWAYS_REAL = {"sqrt", "floor", "atan2", "Mean", "Var", "Max", "Min"}
NEVER_REAL = {"isnan", "Length", "Count", "ArgMax", "ArgMin", "Any", "All"}
Row = dict[str, Any]


def true(x: float) -> bool:
    return bool(x) and x == x


def signed(x: float) -> float:
    """What is left of a whole number in 64 bits."""
    if isinstance(x, float):
        return x
    return (int(x) + 2**63) % 2**64 - 2**63


def divided(a: float, b: float) -> float:
    a, b = float(a), float(b)
    if b == 0:
        return NAN if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b


def floored(a: float, b: float) -> float:
    if isinstance(a, float) or isinstance(b, float):
        return divided(a, b) if b == 0 else float(a) // float(b)
    return 0 if b == 0 else a // b


def rest(a: float, b: float) -> float:
    if isinstance(a, float) or isinstance(b, float):
        return NAN if b == 0 or math.isinf(a) else float(a) % float(b)
    return 0 if b == 0 else a % b


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": divided,
    "//": floored,
    "%": rest,
}
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def square_root(x: float) -> float:
    return math.sqrt(x) if x >= 0 else NAN


def chosen(c: Any, a: Any, b: Any) -> Any:
    return a if true(c) else b


def extreme(pick: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: (
        NAN if any(math.isnan(value) for value in values) else pick(map(float, values)) if is_real(values) else pick(values)
    )


def is_real(values: Any) -> bool:
    return any(isinstance(value, float) for value in values)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "sqrt": square_root,
    "floor": lambda x: math.copysign(abs(math.floor(x)), x) if math.isfinite(x) else float(x),
    "isnan": math.isnan,
    "max": extreme(max),
    "min": extreme(min),
    "where": chosen,
    "atan2": math.atan2,
}


def total(values: list[Any]) -> Any:
    """Not `sum`, which starts at 0 and so loses the sign of -0."""
    return reduce(add, values) if values else 0


def mean(values: list[Any]) -> float:
    return total([float(value) for value in values]) / len(values) if values else NAN


def variance(values: list[Any]) -> float:
    return sum((value - mean(values)) ** 2 for value in values) / (len(values) - 1) if len(values) > 1 else NAN


def row_extreme(pick: Callable[..., Any]) -> Callable[[list[Any]], float]:
    return lambda values: float(extreme(pick)(*values)) if values else NAN


def position(pick: Callable[..., Any]) -> Callable[[list[Any]], int]:
    def find(values: list[Any]) -> int:
        lost = [at for at, value in enumerate(values) if math.isnan(value)]
        return lost[0] if lost else values.index(pick(values)) if values else -1

    return find


REDUCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "Length": len,
    "Sum": lambda values: signed(total(values)),
    "Count": lambda values: sum(map(true, values)),
    "Mean": mean,
    "Var": variance,
    "Max": row_extreme(max),
    "Min": row_extreme(min),
    "ArgMax": position(max),
    "ArgMin": position(min),
    "Any": lambda values: any(map(true, values)),
    "All": lambda values: all(map(true, values)),
}
ORDERS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "Sort": lambda values: sorted(values, key=lambda x: (math.isnan(x), x)),
    "Reverse": lambda values: values[::-1],
}


def each(compute: Callable[..., Any], *operands: Any) -> Any:
    """Value by value where one operand has several."""
    lengths = {len(operand) for operand in operands if isinstance(operand, list)}
    if not lengths:
        return compute(*operands)
    (length,) = lengths
    return [compute(*(operand[at] if isinstance(operand, list) else operand for operand in operands)) for at in range(length)]


def power(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except OverflowError:
        return math.inf if x > 0 or y % 2 == 0 else -math.inf
    except ValueError:
        if x != 0:
            return NAN
        return math.copysign(math.inf, x) if y % 2 == 1 else math.inf


def real(node: Node) -> bool:
    """Whether a tree gives reals, whatever its values are."""
    match node:
        case Literal():
            return isinstance(node.value, float)
        case Name():
            return node.name in REAL_COLUMNS
        case Unary():
            return node.operator == "-" and real(node.operand)
        case Chain():
            operators = {operator for operator, _ in node.rest}
            parts = [node.first, *(operand for _, operand in node.rest)]
            return "/" in operators or (operators <= set(ARITHMETIC) and any(map(real, parts)))
        case Power():
            return True
        case Contained():
            return False
        case Index(operand, index, default):
            mask = not (
                isinstance(index, Literal | Name)
                or (isinstance(index, Unary) and index.operator == "-")
                or isinstance(index, Call)
            )
            return real(operand) or (not mask if default is None else real(default))
        case Call():
            arguments = node.arguments[1:] if node.function == "where" else node.arguments
            return node.function in ALWAYS_REAL or (node.function not in NEVER_REAL and any(map(real, arguments)))


def compute(node: Node, row: Row) -> Any:
    """The value of a tree in one row, a number or a list of them."""
    value = part(node, row)
    return each(float, value) if real(node) else value


def part(node: Node, row: Row) -> Any:
    """`compute`, with whole numbers where reals are meant."""
    match node:
        case Literal():
            return node.value
        case Name():
            return row[node.name]
        case Unary("-"):
            return each(lambda x: signed(-x), compute(node.operand, row))
        case Unary():
            return each(lambda x: not true(x), compute(node.operand, row))
        case Chain():
            operands = [compute(node.first, row), *(compute(operand, row) for _, operand in node.rest)]
            operators = [operator for operator, _ in node.rest]
            return each(lambda *values: chain(operators, values), *operands)
        case Power():
            return each(power, compute(node.base, row), compute(node.exponent, row))
        case Contained():
            items = [compute(item, row) for item in node.items]
            return each(lambda x: any(x == item for item in items) != node.negated, compute(node.operand, row))
        case Index():
            return index(node, row)
        case Call():
            arguments = [compute(argument, row) for argument in node.arguments]
            if node.function in REDUCTIONS:
                return REDUCTIONS[node.function](arguments[0])
            return (
                ORDERS[node.function](arguments[0]) if node.function in ORDERS else each(ELEMENTWISE[node.function], *arguments)
            )


def chain(operators: list[str], values: tuple[Any, ...]) -> Any:
    if operators[0] in {"&&", "&"}:
        return all(map(true, values))
    if operators[0] in {"||", "|"}:
        return any(map(true, values))
    if operators[0] in COMPARE:
        return all(COMPARE[operator](*pair) for operator, pair in zip(operators, pairwise(values), strict=True))
    result = values[0]
    for operator, value in zip(operators, values[1:], strict=True):
        result = signed(ARITHMETIC[operator](result, value))
    return result


def index(node: Index, row: Row) -> Any:
    values, at = compute(node.operand, row), compute(node.index, row)
    if isinstance(at, list):
        return [value for value, kept in zip(values, at, strict=True) if kept]
    missing = NAN if node.default is None else compute(node.default, row)
    return values[at] if -len(values) <= at < len(values) else missing
