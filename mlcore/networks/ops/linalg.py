"""Sums of products by Einstein's convention, and determinants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mlcore.errors import InputError
from mlcore.networks.code import Writer
from mlcore.networks.ir import DType, Node, Size, TensorType, ValueType, product
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._strided import dense
from mlcore.networks.ops.matmul import computed
from mlcore.networks.ops.movement import write_strided


@dataclass(frozen=True)
class Equation:
    """Labels of each operand's axes and of the result's; axes of an ellipsis are ``...0``, ``...1``, counted from the right."""

    operands: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]


def parse(node: Node) -> Equation:
    """The equation of an Einsum node, without ellipses.

    Raises
    ------
    InputError
        It is no equation, or does not fit the inputs.
    """
    text = node.text("equation", "").replace(" ", "")
    left, arrow, right = text.partition("->")
    terms, inputs = left.split(","), node.present()
    if len(terms) != len(inputs):
        raise InputError(f"{node.where} has {len(inputs)} inputs for the {len(terms)} of {text!r}", code="network.attribute")
    operands = tuple(_labels(node, term, value.rank) for term, value in zip(terms, inputs, strict=True))
    used = [label for labels in operands for label in labels]
    # As many axes as the longest ellipsis has; shorter ones broadcast.
    spread = sorted({label for label in used if label.startswith(".")}, key=lambda label: -int(label[3:]))
    if arrow:
        result = _expanded(node, right, spread)
        lost = [label for label in spread if label not in result]
        if lost:
            raise InputError(f"{node.where} loses the axes of its ellipsis: {text!r}", code="network.attribute")
    else:
        result = (*spread, *sorted(label for label in set(used) if used.count(label) == 1 and not label.startswith(".")))
    if len(set(result)) != len(result) or not set(result) <= set(used):
        raise InputError(f"{node.where} has an impossible result in {text!r}", code="network.attribute")
    return Equation(operands, result)


def _expanded(node: Node, term: str, spread: Sequence[str]) -> tuple[str, ...]:
    before, ellipsis, behind = term.partition("...")
    for part in (before, behind):
        if part and not (part.isascii() and part.isalpha()):
            raise InputError(f"{node.where} has the term {term!r}, of other than letters", code="network.attribute")
    return (*before, *(spread if ellipsis else ()), *behind)


def _labels(node: Node, term: str, rank: int) -> tuple[str, ...]:
    named = len(term.replace("...", "", 1))
    spread = [f"...{i}" for i in reversed(range(max(0, rank - named)))]
    labels = _expanded(node, term, spread)
    if len(labels) != rank:
        raise InputError(f"{node.where} has the term {term!r} for a tensor with {rank} axes", code="network.shape")
    return labels


@dataclass(frozen=True)
class _Term:
    """A tensor whose axes have labels: the steps between its elements by label, 0 where it broadcasts."""

    pointer: str
    steps: Mapping[str, Size]

    @property
    def labels(self) -> list[str]:
        return list(self.steps)


@operator("Einsum", since=(12, 28))
class Einsum(Operator):
    """Operands are multiplied two at a time, from the left; labels that nothing else has are summed over on the way."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        dtypes = {value.dtype for value in node.present()}
        if len(dtypes) != 1 or not dtypes.isdisjoint({DType.STRING, DType.BOOL}):
            listed = ", ".join(sorted(map(str, dtypes)))
            raise InputError(
                f"{node.where} multiplies {listed}", hint="Its inputs need one type of numbers.", code="network.dtype"
            )
        equation = parse(node)
        sizes = _sizes(node, equation, facts)
        return [TensorType(node.input(0).dtype, tuple(sizes[label] for label in equation.result))]

    def write(self, node: Node, code: Writer) -> None:
        equation = parse(node)
        writer = _EinsumWriter(node, code, _sizes(node, equation, None))
        terms = []
        for value, labels in zip(node.present(), equation.operands, strict=True):
            steps: dict[str, Size] = {}
            for label, size, step in zip(labels, value.shape, dense(value).strides, strict=True):
                own = 0 if size == 1 and writer.sizes[label] != 1 else step
                steps[label] = steps[label] + own if label in steps else own
            terms.append(_Term(code.ref(value), steps))
        while len(terms) > 1:
            rest = {label for term in terms[2:] for label in term.labels}
            is_last = len(terms) == 2
            terms[:2] = [writer.multiplied(terms[0], terms[1], {*rest, *equation.result}, equation.result if is_last else None)]
        writer.finish(terms[0], equation.result)


def _sizes(node: Node, equation: Equation, facts: Facts | None) -> dict[str, Size]:
    """The size of each label: sizes of 1 broadcast."""
    sizes: dict[str, Size] = {}
    for value, labels in zip(node.present(), equation.operands, strict=True):
        for label, size in zip(labels, value.shape, strict=True):
            found = sizes.get(label, 1)
            if found == 1:
                sizes[label] = size
            elif size != 1:
                same = f"{node.where} has one size for {label.strip('.')!r}"
                sizes[label] = facts.same(found, size, same) if facts else found if isinstance(found, int) else size
    return sizes


class _EinsumWriter:
    """Writes the steps of one node."""

    def __init__(self, node: Node, code: Writer, sizes: Mapping[str, Size]) -> None:
        self.node = node
        self.code = code
        self.sizes = sizes
        self.dtype = node.output.dtype

    def shape(self, labels: Sequence[str]) -> list[Size]:
        return [self.sizes[label] for label in labels]

    def dense(self, pointer: str, labels: Sequence[str]) -> _Term:
        """A tensor that is row-major in the order of its labels."""
        steps: dict[str, Size] = {}
        step: Size = 1
        for label in reversed(labels):
            steps[label] = step
            step = step * self.sizes[label]
        return _Term(pointer, {label: steps[label] for label in labels})

    def is_dense(self, term: _Term, labels: Sequence[str]) -> bool:
        wanted = self.dense(term.pointer, labels).steps
        return all(self.sizes[label] == 1 or term.steps[label] == wanted[label] for label in labels)

    def scratch(self, labels: Sequence[str]) -> str:
        return self.code.scratch(self.dtype.cpp, product(self.shape(labels)), self.dtype.bytes)

    def copied(self, term: _Term, labels: Sequence[str], target: str) -> _Term:
        """The term, row-major in an order of its labels."""
        write_strided(self.code, term.pointer, self.shape(labels), [term.steps[label] for label in labels], target)
        return self.dense(target, labels)

    def summed(self, term: _Term, gone: Sequence[str], target: str | None = None) -> _Term:
        """The term without some labels, summed over."""
        if not gone:
            return term
        kept = [label for label in term.labels if label not in gone]
        order = [*kept, *gone]
        if not self.is_dense(term, order):
            term = self.copied(term, order, self.scratch(order))
        target = target or self.scratch(kept)
        flags = ", ".join(["false"] * len(kept) + ["true"] * len(gone))
        self.code.include("kernels/nn/reduce.hpp")
        self.code.line(
            f"nn::reduce<nn::reduction::Sum, {self.dtype.cpp}>({term.pointer}, {self.code.sizes(self.shape(order))}, "
            f"nn::mask({flags}), {target});"
        )
        return self.dense(target, kept)

    def finish(self, term: _Term, labels: Sequence[str]) -> None:
        """Put a term into the output."""
        target = self.code.ref(self.node.output)
        if term.pointer == target:
            return
        gone = [label for label in term.labels if label not in labels]
        if gone and [label for label in term.labels if label in labels] == list(labels):
            self.summed(term, gone, target)
        else:
            self.copied(self.summed(term, gone), labels, target)

    def multiplied(self, a: _Term, b: _Term, kept: set[str], wanted: Sequence[str] | None) -> _Term:
        """The product of two terms, summed over the labels that nothing else has; in the output where its order comes out."""
        a = self.summed(a, [label for label in a.labels if label not in b.steps and label not in kept])
        b = self.summed(b, [label for label in b.labels if label not in a.steps and label not in kept])
        if wanted is not None and self.order(b, a, kept, wanted) == list(wanted):
            a, b = b, a
        batch = self.batch(a, b, kept, wanted)
        inner = [label for label in b.labels if label in a.steps and label not in kept]
        left = [label for label in a.labels if label not in b.steps]
        right = [label for label in b.labels if label not in a.steps]
        a, b = self.arranged(a, batch, left, inner), self.arranged(b, batch, inner, right)
        labels = [*batch, *left, *right]
        target = self.code.ref(self.node.output) if wanted is not None and labels == list(wanted) else self.scratch(labels)
        result = self.dense(target, labels)
        m, k, n = (product(self.shape(group)) for group in (left, inner, right))
        row_type = computed(self.dtype)
        row = self.code.scratch(row_type.cpp, n, row_type.bytes)
        indices, heads = [], []
        for label in batch:
            name = self.code.fresh("b")
            indices.append(name)
            heads.append(f"for (std::int64_t {name} = 0; {name} < {self.code.size(self.sizes[label])}; ++{name})")
        size = self.code.size
        a_at, b_at, c_at = (self.at(term, batch, indices) for term in (a, b, result))
        self.code.include("kernels/nn/matmul.hpp")
        first = f"{a_at}, {size(self.pitch(a, left))}, {size(self.pitch(a, inner))}"
        second = f"{b_at}, {size(self.pitch(b, inner))}, {size(self.pitch(b, right))}"
        text = f"nn::matmul({size(m)}, {size(k)}, {size(n)}, {first}, {second}, {c_at}, {row});"
        self.code.line(" ".join([*heads, text]))
        return result

    def batch(self, a: _Term, b: _Term, kept: set[str], wanted: Sequence[str] | None) -> list[str]:
        """The labels that both have and that stay, in the order of the result where there is one."""
        both = [label for label in a.labels if label in b.steps and label in kept]
        return [label for label in wanted if label in both] if wanted is not None else both

    def order(self, a: _Term, b: _Term, kept: set[str], wanted: Sequence[str]) -> list[str]:
        left = [label for label in a.labels if label not in b.steps]
        right = [label for label in b.labels if label not in a.steps]
        return [*self.batch(a, b, kept, wanted), *left, *right]

    def arranged(self, term: _Term, batch: Sequence[str], rows: Sequence[str], columns: Sequence[str]) -> _Term:
        """The term as matrices: each of the two groups of labels has to lie as one axis."""
        if self.is_one(term, rows) and self.is_one(term, columns):
            return term
        order = [*batch, *rows, *columns]
        return self.copied(term, order, self.scratch(order))

    def is_one(self, term: _Term, group: Sequence[str]) -> bool:
        taken = [label for label in group if self.sizes[label] != 1]
        return all(term.steps[outer] == term.steps[inner] * self.sizes[inner] for outer, inner in pairwise(taken))

    def pitch(self, term: _Term, group: Sequence[str]) -> Size:
        """The step between the elements of a group that lies as one axis."""
        taken = [label for label in group if self.sizes[label] != 1]
        return term.steps[taken[-1]] if taken else 1

    def at(self, term: _Term, batch: Sequence[str], indices: Sequence[str]) -> str:
        parts = [
            f"{index} * {self.code.size(term.steps[label])}"
            for label, index in zip(batch, indices, strict=True)
            if term.steps[label] != 0
        ]
        return " + ".join([term.pointer, *parts])


@operator("Det", since=(11, 22))
class Det(Operator):
    """Determinants of square matrices."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if data.rank < 2 or not data.dtype.is_float:
            raise InputError(f"{node.where} needs matrices of floating-point numbers, not {data.tensor}", code="network.shape")
        facts.same(data.shape[-1], data.shape[-2], f"{node.where} needs square matrices")
        return [TensorType(data.dtype, data.shape[:-2])]

    def write(self, node: Node, code: Writer) -> None:
        code.include("kernels/nn/linalg.hpp")
        data, size = node.input(0), node.input(0).shape[-1]
        work = code.scratch("double", size * size, 8)
        batch = code.size(product(data.shape[:-2]))
        code.line(f"nn::determinants({code.ref(data)}, {batch}, {code.size(size)}, {work}, {code.ref(node.output)});")
