"""Derivatives of operators, as nodes: what a node hands back to its inputs from the gradients of its outputs.

A rule is given a `Step` and gives a gradient for each input, None for one that has none. It need not care for broadcasting: who
asks sums over the axes along which an input was repeated. An operator without a rule in `RULES` has no derivative here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcore.errors import UnsupportedOperatorError
from mlcore.networks.ir import DType, Node, TensorType, Value, constant, product
from mlcore.networks.ops import Facts, find
from mlcore.networks.ops._inference import infer_node
from mlcore.networks.ops.views import axes_of, late_axes

OPSET = 18
"""Whose definitions the nodes have."""
MOST_CONSTANT = 4096
"""Elements of a tensor of one number that is stored."""


@dataclass(eq=False)
class Tape:
    """Makes nodes, with the types of what they compute.

    Attributes
    ----------
    prefix
        Of the nodes' names.
    nodes
        Those made so far, in order.
    """

    facts: Facts
    prefix: str = ""
    nodes: list[Node] = field(default_factory=list)

    def apply(self, kind: str, *inputs: Value | None, n_outputs: int = 1, **attributes: object) -> list[Value]:
        """The outputs of a new node of ONNX's own domain."""
        operator = find("", kind)
        if operator is None:
            raise KeyError(kind)
        version = max(since for since in operator.since if since <= OPSET)
        name = f"{self.prefix}{kind}"
        outputs = [Value(name, TensorType(DType.FLOAT32)) for _ in range(n_outputs)]
        node = Node(operator, version, list(inputs), outputs, dict(attributes), name)
        infer_node(node, self.facts)
        self.nodes.append(node)
        return outputs

    def term(self, value: Value) -> Term:
        return Term(value, self)

    def integers(self, numbers: Sequence[int]) -> Value:
        return constant("numbers", np.array(numbers, np.int64))

    def shape(self, value: Value) -> Value:
        """The sizes of a tensor as one."""
        if all(isinstance(size, int) for size in value.shape):
            return self.integers([size for size in value.shape if isinstance(size, int)])
        return self.apply("Shape", value)[0]

    def filled(self, like: Value, number: float) -> Term:
        """One number in every element, in the shape and type of a value."""
        if isinstance(like.count, int) and like.count <= MOST_CONSTANT:
            return self.term(constant("filled", np.full(like.shape, number, like.dtype.numpy)))  # type: ignore[arg-type]
        array = np.array([number], like.dtype.numpy)
        return self.term(self.apply("ConstantOfShape", self.shape(like), value=array)[0])

    def summed(self, term: Term, like: Value) -> Term:
        """The sum over the axes along which a value was repeated."""
        extra = len(term.value.shape) - like.rank
        if extra:
            term = term.reduced("ReduceSum", range(extra), keepdims=0)
        pairs = enumerate(zip(term.value.shape, like.shape, strict=True))
        repeated = [axis for axis, (size, own) in pairs if own == 1 and size != 1]
        return term.reduced("ReduceSum", repeated) if repeated else term


@dataclass(frozen=True, eq=False)
class Term:
    """A value that arithmetic makes nodes of."""

    value: Value
    tape: Tape

    def _other(self, item: Term | float) -> Value:
        return item.value if isinstance(item, Term) else constant("number", np.array(item, self.value.dtype.numpy))

    def apply(self, kind: str, *others: Term | float, **attributes: Any) -> Term:
        """The first output of an operator, this being its first input."""
        return self.tape.term(self.tape.apply(kind, self.value, *map(self._other, others), **attributes)[0])

    def __add__(self, other: Term | float) -> Term:
        return self.apply("Add", other)

    def __sub__(self, other: Term | float) -> Term:
        return self.apply("Sub", other)

    def __mul__(self, other: Term | float) -> Term:
        return self.apply("Mul", other)

    def __truediv__(self, other: Term | float) -> Term:
        return self.apply("Div", other)

    def __rsub__(self, other: float) -> Term:
        return self.tape.term(self._other(other)) - self

    def __rtruediv__(self, other: float) -> Term:
        return self.tape.term(self._other(other)) / self

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Term:
        return self.apply("Neg")

    def where(self, left: Term | float, right: Term | float, like: Value) -> Term:
        """The left where this holds, else the right."""
        left, right = (
            item if isinstance(item, Term) else self.tape.term(constant("number", np.array(item, like.dtype.numpy)))
            for item in (left, right)
        )
        return self.apply("Where", left, right)

    def flag(self, kind: str, other: Term | float, like: Value) -> Term:
        """1 where a comparison holds, else 0."""
        return self.apply(kind, other).where(1.0, 0.0, like)

    def cast(self, dtype: DType) -> Term:
        return self if self.value.dtype is dtype else self.apply("Cast", to=dtype.number)

    def reduced(self, kind: str, axes: Sequence[int], keepdims: int = 1) -> Term:
        return self.tape.term(self.tape.apply(kind, self.value, self.tape.integers(list(axes)), keepdims=keepdims)[0])

    def reshaped(self, like: Value) -> Term:
        """The same elements under the shape of a value."""
        if self.value.shape == like.shape:
            return self
        return self.tape.term(self.tape.apply("Reshape", self.value, self.tape.shape(like), allowzero=1)[0])

    def expanded(self, like: Value) -> Term:
        if self.value.shape == like.shape:
            return self
        return self.tape.term(self.tape.apply("Expand", self.value, self.tape.shape(like))[0])

    def transposed(self) -> Term:
        """The last two axes in the other order."""
        rank = self.value.rank
        return self.apply("Transpose", perm=[*range(rank - 2), rank - 1, rank - 2])


@dataclass(frozen=True, eq=False)
class Step:
    """A node whose derivative is asked for.

    Attributes
    ----------
    gradients
        Of its outputs; None for one that nothing depends on. The first has one wherever the node has one output.
    """

    node: Node
    tape: Tape
    gradients: Sequence[Term | None]

    def input(self, index: int) -> Term:
        return self.tape.term(self.node.input(index))

    @property
    def dy(self) -> Term:
        """The gradient of the first output."""
        first = self.gradients[0]
        return first if first is not None else self.tape.filled(self.node.output, 0.0)

    @property
    def x(self) -> Term:
        return self.input(0)

    @property
    def y(self) -> Term:
        return self.tape.term(self.node.output)

    def number(self, key: str, default: float) -> float:
        return float(self.node.number(key, default))


Gradients = Sequence["Term | None"]
Rule = Callable[[Step], Gradients]
RULES: dict[str, Rule] = {}


def _rule(*kinds: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


# Functions of one number: the gradient times a factor.


def _mish(s: Step) -> Term:
    t = s.x.apply("Softplus").apply("Tanh")
    return t + s.x * (1 - t * t) * s.x.apply("Sigmoid")


def _swish(s: Step) -> Term:
    alpha = s.number("alpha", 1.0)
    part = (s.x * alpha).apply("Sigmoid")
    return part + s.y * alpha * (1 - part)


def _gelu(s: Step) -> Term:
    if s.node.text("approximate", "none") != "tanh":
        normal = (s.x * s.x * -0.5).apply("Exp") * (1 / math.sqrt(2 * math.pi))
        return ((s.x * math.sqrt(0.5)).apply("Erf") + 1.0) * 0.5 + s.x * normal
    root = math.sqrt(2 / math.pi)
    t = ((s.x * s.x * s.x * 0.044715 + s.x) * root).apply("Tanh")
    return (t + 1.0) * 0.5 + s.x * (1 - t * t) * (s.x * s.x * (3 * 0.044715) + 1.0) * (0.5 * root)


def _below(s: Step, factor: Term | float, otherwise: float = 1.0) -> Term:
    """A factor for numbers below zero, another for the rest."""
    return s.x.apply("Less", 0.0).where(factor, otherwise, s.node.input(0))


def _between(s: Step, value: Term, low: float, high: float, factor: Term | float) -> Term:
    """A factor for numbers between two, outside zero."""
    like = s.node.input(0)
    return value.flag("Greater", low, like) * value.flag("Less", high, like) * factor


def _hard_swish(s: Step) -> Term:
    return s.x.flag("GreaterOrEqual", 3.0, s.node.input(0)) + _between(s, s.x, -3.0, 3.0, s.x * (1 / 3) + 0.5)


_FACTORS: dict[str, Callable[[Step], Term]] = {
    "Abs": lambda s: s.x.apply("Sign"),
    "Exp": lambda s: s.y,
    "Log": lambda s: 1 / s.x,
    "Sqrt": lambda s: 0.5 / s.y,
    "Reciprocal": lambda s: -(s.y * s.y),
    "Sin": lambda s: s.x.apply("Cos"),
    "Cos": lambda s: -s.x.apply("Sin"),
    "Tan": lambda s: s.y * s.y + 1.0,
    "Asin": lambda s: 1 / (1 - s.x * s.x).apply("Sqrt"),
    "Acos": lambda s: -1 / (1 - s.x * s.x).apply("Sqrt"),
    "Atan": lambda s: 1 / (s.x * s.x + 1.0),
    "Sinh": lambda s: s.x.apply("Cosh"),
    "Cosh": lambda s: s.x.apply("Sinh"),
    "Tanh": lambda s: 1 - s.y * s.y,
    "Asinh": lambda s: 1 / (s.x * s.x + 1.0).apply("Sqrt"),
    "Acosh": lambda s: 1 / (s.x * s.x - 1.0).apply("Sqrt"),
    "Atanh": lambda s: 1 / (1 - s.x * s.x),
    "Erf": lambda s: (-(s.x * s.x)).apply("Exp") * (2 / math.sqrt(math.pi)),
    "Sigmoid": lambda s: s.y * (1 - s.y),
    "Relu": lambda s: s.x.flag("Greater", 0.0, s.node.input(0)),
    "Softplus": lambda s: s.x.apply("Sigmoid"),
    "Softsign": lambda s: (1 / (s.x.apply("Abs") + 1.0)).apply("Pow", 2.0),
    "HardSwish": _hard_swish,
    "Mish": _mish,
    "Swish": _swish,
    "Gelu": _gelu,
    "LeakyRelu": lambda s: _below(s, s.number("alpha", 0.01)),
    "Elu": lambda s: _below(s, s.y + s.number("alpha", 1.0)),
    "Celu": lambda s: _below(s, s.y * (1 / s.number("alpha", 1.0)) + 1.0),
    "Selu": lambda s: _below(
        s, s.y + s.number("alpha", 1.67326319217681884765625) * s.number("gamma", 1.05070102214813232421875),
        s.number("gamma", 1.05070102214813232421875),
    ),
    "HardSigmoid": lambda s: _between(s, s.y, 0.0, 1.0, s.number("alpha", 0.2)),
    "ThresholdedRelu": lambda s: s.x.flag("Greater", s.number("alpha", 1.0), s.node.input(0)),
}  # fmt: skip


def _factor_rule(factor: Callable[[Step], Term]) -> Rule:
    def rule(s: Step) -> Gradients:
        return [s.dy * factor(s)]

    return rule


for _kind, _factor in _FACTORS.items():
    RULES[_kind] = _factor_rule(_factor)


@_rule("Neg")
def _neg(s: Step) -> Gradients:
    return [-s.dy]


@_rule("Floor", "Ceil", "Round", "Sign")
def _steps(s: Step) -> Gradients:
    """Zero wherever there is a derivative."""
    return [None]


@_rule("Clip")
def _clip(s: Step) -> Gradients:
    """Nothing goes back from where a bound holds; the bounds themselves have none."""
    node, result = s.node, s.dy
    for kind, index, key in (("GreaterOrEqual", 1, "min"), ("LessOrEqual", 2, "max")):
        bound: Term | float | None = node.number(key) if node.version < 11 else s.input(index) if node.has(index) else None
        if bound is not None:
            result = result * s.x.flag(kind, bound, node.input(0))
    return [result]


# Functions of two numbers and more.


@_rule("Add", "Sum")
def _add(s: Step) -> Gradients:
    return [s.dy] * len(s.node.inputs)


@_rule("Mean")
def _mean(s: Step) -> Gradients:
    n = len(s.node.inputs)
    return [s.dy * (1 / n)] * n


@_rule("Sub")
def _sub(s: Step) -> Gradients:
    return [s.dy, -s.dy]


@_rule("Mul")
def _mul(s: Step) -> Gradients:
    return [s.dy * s.input(1), s.dy * s.x]


@_rule("Div")
def _div(s: Step) -> Gradients:
    part = s.dy / s.input(1)
    return [part, -(part * s.y)]


@_rule("Pow")
def _pow(s: Step) -> Gradients:
    """A base of zero gives the exponent no gradient, though its logarithm has no number."""
    x = s.x
    power = s.input(1).cast(x.value.dtype)
    logarithm = x.apply("Greater", 0.0).where(x, 1.0, x.value).apply("Log")
    back = (s.dy * s.y * logarithm).cast(s.node.input(1).dtype) if s.node.input(1).dtype.is_float else None
    return [s.dy * power * x.apply("Pow", power - 1.0), back]


@_rule("PRelu")
def _prelu(s: Step) -> Gradients:
    below, like = s.x.apply("Less", 0.0), s.node.input(0)
    return [s.dy * below.where(s.input(1), 1.0, like), s.dy * below.where(s.x, 0.0, like)]


@_rule("Where")
def _where(s: Step) -> Gradients:
    condition, like = s.x, s.node.output
    return [None, condition.where(s.dy, 0.0, like), condition.where(0.0, s.dy, like)]


@_rule("Max", "Min")
def _extreme(s: Step) -> Gradients:
    """To the input that is the extreme; in equal parts to several."""
    flags = [s.input(i).flag("Equal", s.y, s.node.output) for i in range(len(s.node.inputs))]
    total = flags[0]
    for flag in flags[1:]:
        total = total + flag
    share = s.dy / total
    return [share * flag for flag in flags]


@_rule("Cast", "CastLike")
def _cast(s: Step) -> Gradients:
    return [s.dy.cast(s.node.input(0).dtype), None]


# Other shapes.


@_rule("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "fused::View")
def _view(s: Step) -> Gradients:
    return [s.dy.reshaped(s.node.input(0)), None]


@_rule("Expand")
def _expand(s: Step) -> Gradients:
    return [s.dy, None]


@_rule("Transpose")
def _transpose(s: Step) -> Gradients:
    order = s.node.integers("perm") or list(range(s.node.input(0).rank))[::-1]
    return [s.dy.apply("Transpose", perm=[order.index(axis) for axis in range(len(order))])]


@_rule("Concat")
def _concat(s: Step) -> Gradients:
    node, tape = s.node, s.tape
    axis = node.axis(node.integer("axis", 1), node.output.rank)
    sizes = [value.shape[axis] for value in node.present()]
    if all(isinstance(size, int) for size in sizes):
        parts = tape.integers([size for size in sizes if isinstance(size, int)])
    else:
        parts = tape.apply(
            "Concat", *(tape.apply("Shape", value, start=axis, end=axis + 1)[0] for value in node.present()), axis=0
        )[0]
    return [tape.term(value) for value in tape.apply("Split", s.dy.value, parts, n_outputs=len(sizes), axis=axis)]


@_rule("Split")
def _split(s: Step) -> Gradients:
    outputs = zip(s.node.outputs, s.gradients, strict=True)
    parts = [gradient if gradient is not None else s.tape.filled(value, 0.0) for value, gradient in outputs]
    axis = s.node.axis(s.node.integer("axis", 0), s.node.input(0).rank)
    return [s.tape.term(s.tape.apply("Concat", *(part.value for part in parts), axis=axis)[0]), None]


# Reductions.


def _reduced(s: Step) -> list[int]:
    """The axes that are gone or of size 1 in the result.

    Raises
    ------
    UnsupportedOperatorError
        Only running tells which.
    """
    node, rank = s.node, s.node.input(0).rank
    if late_axes(node, 1) and node.input(1).count != 0:
        raise UnsupportedOperatorError(node.kind, node.version, node.name, "its derivative needs axes that the model holds")
    axes = axes_of(node, 1)
    if not axes:
        return [] if node.integer("noop_with_empty_axes", 0) else list(range(rank))
    return [node.axis(axis, rank) for axis in axes]


def _kept(s: Step, term: Term) -> Term:
    """What has the shape of the result, with axes of size 1 in place of those that are gone."""
    axes = _reduced(s)
    if s.node.integer("keepdims", 1) or not axes:
        return term
    return s.tape.term(s.tape.apply("Unsqueeze", term.value, s.tape.integers(sorted(axes)))[0])


def _count(s: Step) -> Term | float:
    """How many elements each of the result is made of."""
    x, y = s.node.input(0), s.node.output
    count = product(x.shape[axis] for axis in _reduced(s))
    if isinstance(count, int):
        return float(count)
    whole, kept = (s.tape.term(s.tape.apply("Size", value)[0]).cast(y.dtype) for value in (x, y))
    return whole / kept


@_rule("ReduceSum")
def _reduce_sum(s: Step) -> Gradients:
    return [_kept(s, s.dy).expanded(s.node.input(0)), None]


@_rule("ReduceMean")
def _reduce_mean(s: Step) -> Gradients:
    return [_kept(s, s.dy / _count(s)).expanded(s.node.input(0)), None]


@_rule("ReduceSumSquare")
def _reduce_sum_square(s: Step) -> Gradients:
    return [_kept(s, s.dy) * s.x * 2.0, None]


@_rule("ReduceL1")
def _reduce_l1(s: Step) -> Gradients:
    return [_kept(s, s.dy) * s.x.apply("Sign"), None]


@_rule("ReduceL2")
def _reduce_l2(s: Step) -> Gradients:
    return [_kept(s, s.dy / s.y) * s.x, None]


@_rule("ReduceLogSumExp")
def _reduce_log_sum_exp(s: Step) -> Gradients:
    return [_kept(s, s.dy) * (s.x - _kept(s, s.y)).apply("Exp"), None]


@_rule("ReduceMax", "ReduceMin")
def _reduce_extreme(s: Step) -> Gradients:
    """To the element that is the extreme; in equal parts to several."""
    flags = s.x.flag("Equal", _kept(s, s.y), s.node.input(0))
    axes = _reduced(s)
    total = flags.reduced("ReduceSum", axes) if axes else flags
    return [_kept(s, s.dy) / total * flags, None]


def _softmax_axis(s: Step) -> list[int]:
    """The axis that is normalised.

    Raises
    ------
    UnsupportedOperatorError
        Several are, as before version 13.
    """
    node, rank = s.node, s.node.input(0).rank
    axis = node.axis(node.integer("axis", -1 if node.version >= 13 else 1), rank)
    if node.version < 13 and axis != rank - 1:
        raise UnsupportedOperatorError(node.kind, node.version, node.name, "the derivative is known of one over one axis")
    return [axis]


@_rule("Softmax")
def _softmax(s: Step) -> Gradients:
    part = s.dy * s.y
    return [part - s.y * part.reduced("ReduceSum", _softmax_axis(s))]


@_rule("LogSoftmax")
def _log_softmax(s: Step) -> Gradients:
    return [s.dy - s.y.apply("Exp") * s.dy.reduced("ReduceSum", _softmax_axis(s))]


# Matrix products.


@_rule("MatMul")
def _matmul(s: Step) -> Gradients:
    """Vectors are matrices of one row or column meanwhile."""
    a, b, dy = s.x, s.input(1), s.dy
    left, right = a.value.rank == 1, b.value.rank == 1
    for axis, is_vector in ((-1, right), (-2, left)):
        if is_vector:
            dy = s.tape.term(s.tape.apply("Unsqueeze", dy.value, s.tape.integers([axis]))[0])
    if left:
        a = s.tape.term(s.tape.apply("Unsqueeze", a.value, s.tape.integers([0]))[0])
    if right:
        b = s.tape.term(s.tape.apply("Unsqueeze", b.value, s.tape.integers([1]))[0])
    da, db = dy.apply("MatMul", b.transposed()), a.transposed().apply("MatMul", dy)
    if left:
        da = s.tape.summed(da, a.value).reshaped(s.node.input(0))
    if right:
        db = s.tape.summed(db, b.value).reshaped(s.node.input(1))
    return [da, db]


@_rule("Gemm")
def _gemm(s: Step) -> Gradients:
    node, a, b = s.node, s.x, s.input(1)
    transposed_a, transposed_b = bool(node.integer("transA", 0)), bool(node.integer("transB", 0))
    dy = s.dy * s.number("alpha", 1.0)
    da = dy.apply("MatMul", b if transposed_b else b.transposed())
    db = (a if transposed_a else a.transposed()).apply("MatMul", dy)
    return [
        da.transposed() if transposed_a else da,
        db.transposed() if transposed_b else db,
        s.dy * s.number("beta", 1.0),
    ]
