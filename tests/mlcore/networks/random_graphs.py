"""Random networks of what passes rewrite: views, repetitions, transposes, gathers, joins, products, convolutions, reductions.

A network has inputs whose sizes are numbers or symbols; every value is tracked with the text of each size (equal texts are equal
sizes in every call) and its number in each of two calls. Where a node needs a size that is open, it is computed from shapes, as
exporters do. Equal seeds give equal networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
CALLS = ({"b": 2, "n": 5, "m": 3}, {"b": 4, "n": 2, "m": 6})
"""What the symbols are in each call."""

MOST_ELEMENTS = 6000


@dataclass(frozen=True)
class Axis:
    """A size: its text, and its number in each call."""

    text: str
    numbers: tuple[int, ...]

    @property
    def fixed(self) -> int | None:
        return int(self.text) if self.text.isdigit() else None

    def __mul__(self, other: Axis) -> Axis:
        numbers = tuple(a * b for a, b in zip(self.numbers, other.numbers, strict=True))
        if self.fixed is not None and other.fixed is not None:
            return of(numbers[0])
        parts = [part for part in (*self.text.split("*"), *other.text.split("*")) if part != "1"]
        return Axis("*".join(sorted(parts)), numbers)

    def __add__(self, other: Axis | int) -> Axis:
        other = of(other) if isinstance(other, int) else other
        numbers = tuple(a + b for a, b in zip(self.numbers, other.numbers, strict=True))
        fixed = self.fixed is not None and other.text.lstrip("-").isdigit()
        return of(numbers[0]) if fixed else Axis(f"({self.text}+{other.text})", numbers)


def of(number: int) -> Axis:
    return Axis(str(number), (number,) * len(CALLS))


ONE = of(1)


@dataclass(frozen=True)
class Known:
    """A float32 tensor of the network."""

    name: str
    shape: tuple[Axis, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)


class Maker:
    """Makes one network.

    Parameters
    ----------
    open_sizes
        Whether some sizes of inputs are symbols.
    """

    def __init__(self, seed: int, *, open_sizes: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.values: list[Known] = []
        self.read: set[str] = set()
        self.inputs: list[tuple[str, int, tuple[Axis, ...]]] = []
        self.open_sizes = open_sizes

    # Small tools.

    def one_of(self, items: Sequence[Any]) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def constant(self, array: Array, name: str = "c") -> str:
        key = f"{name}{len(self.constants)}"
        self.constants[key] = array
        return key

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        self.read.update(inputs)
        return name

    def add(self, kind: str, inputs: Sequence[Known | str], shape: Sequence[Axis], **attributes: Any) -> Known:
        """A node whose result others may use."""
        names = [item if isinstance(item, str) else item.name for item in inputs]
        value = Known(self.node(kind, names, **attributes), tuple(shape))
        self.values.append(value)
        return value

    def fits(self, shape: Sequence[Axis]) -> bool:
        sizes = [int(np.prod([axis.numbers[call] for axis in shape])) for call in range(len(CALLS))]
        return len(shape) <= 5 and min(sizes) > 0 and max(sizes) <= MOST_ELEMENTS

    def pick(self, accept: Callable[[Known], bool] = lambda value: True) -> Known | None:
        """A value, rather a late or unread one."""
        fitting = [value for value in self.values if accept(value)]
        if not fitting:
            return None
        weights = np.array([(i + 1) * (4 if value.name not in self.read else 1) for i, value in enumerate(fitting)], float)
        return fitting[int(self.rng.choice(len(fitting), p=weights / weights.sum()))]

    def sizes(self, shape: Sequence[Axis]) -> str:
        """A tensor of sizes: a constant where they are numbers, else computed from the shapes of inputs."""
        if all(axis.fixed is not None for axis in shape):
            return self.integers(*(axis.fixed or 0 for axis in shape))
        return self.node("Concat", [self.size(axis) for axis in shape], axis=0)

    def size(self, axis: Axis) -> str:
        """One size as a tensor of one number."""
        if axis.fixed is not None:
            return self.integers(axis.fixed)
        for value in (*(Known(name, shape) for name, _, shape in self.inputs), *self.values):
            if axis in value.shape:
                shape = self.node("Shape", [value.name])
                return self.node("Gather", [shape, self.integers(value.shape.index(axis))], axis=0)
        factors = [
            Axis(text, tuple(call[text] for call in CALLS)) if text in CALLS[0] else of(int(text))
            for text in axis.text.split("*")
        ]
        product = self.size(factors[0])
        for factor in factors[1:]:
            product = self.node("Mul", [product, self.size(factor)])
        return product

    def can_tell(self, axis: Axis) -> bool:
        return axis.fixed is not None or all(part in CALLS[0] or part.isdigit() for part in axis.text.split("*"))

    # Steps: each makes some nodes, or nothing where it finds nothing that fits.

    def unary(self) -> None:
        x = self.pick()
        if x is not None:
            self.add(self.one_of(["Relu", "Tanh", "Neg", "Sigmoid", "Abs", "Erf"]), [x], x.shape)

    def shift(self) -> None:
        """A constant along some of the last axes."""
        x = self.pick()
        if x is None:
            return
        count = int(self.rng.integers(0, x.rank + 1))
        shape = [axis.fixed or 1 if self.chance(0.7) else 1 for axis in x.shape[x.rank - count :]]
        array = self.rng.standard_normal(shape).astype(np.float32)
        inputs: list[Known | str] = [x, self.constant(array)]
        kind = self.one_of(["Add", "Mul", "Sub"])
        self.add(kind, inputs[::-1] if self.chance(0.3) else inputs, x.shape)

    def binary(self) -> None:
        x = self.pick()
        if x is None:
            return
        y = self.pick(lambda other: other is not x and joined(x.shape, other.shape) is not None)
        if y is None:
            return
        shape = joined(x.shape, y.shape)
        if shape is not None and self.fits(shape):
            self.add(self.one_of(["Add", "Sub", "Mul", "Max", "Add"]), [x, y] if self.chance(0.5) else [y, x], shape)

    def transpose(self) -> None:
        x = self.pick(lambda value: value.rank > 1)
        if x is not None:
            order = [int(axis) for axis in self.rng.permutation(x.rank)]
            self.add("Transpose", [x], [x.shape[axis] for axis in order], perm=order)

    def unsqueeze(self) -> None:
        x = self.pick(lambda value: value.rank < 4)
        if x is not None:
            axis = int(self.rng.integers(0, x.rank + 1))
            self.add("Unsqueeze", [x, self.integers(axis)], [*x.shape[:axis], ONE, *x.shape[axis:]])

    def squeeze(self) -> None:
        x = self.pick(lambda value: ONE in value.shape)
        if x is not None:
            axis = self.one_of([i for i, size in enumerate(x.shape) if size == ONE])
            self.add("Squeeze", [x, self.integers(axis)], [*x.shape[:axis], *x.shape[axis + 1 :]])

    def expand(self) -> None:
        x = self.pick(lambda value: ONE in value.shape or value.rank < 3)
        if x is None:
            return
        known = [axis for _, _, shape in self.inputs for axis in shape] + [of(2), of(3)]
        shape = [self.one_of(known) if axis == ONE and self.chance(0.8) else axis for axis in x.shape]
        if x.rank < 4 and self.chance(0.3):
            shape = [self.one_of(known), *shape]
        if not self.fits(shape):
            return
        wanted = [axis if axis != old or (self.can_tell(axis) and self.chance(0.5)) else ONE
                  for axis, old in zip(shape, [*(None,) * (len(shape) - x.rank), *x.shape], strict=True)]  # fmt: skip
        self.add("Expand", [x, self.sizes(wanted)], shape)

    def tile(self) -> None:
        x = self.pick(lambda value: value.rank > 0)
        if x is None:
            return
        repeats = [int(self.rng.choice([1, 1, 2, 3])) for _ in x.shape]
        shape = [axis * of(times) for axis, times in zip(x.shape, repeats, strict=True)]
        if self.fits(shape):
            self.add("Tile", [x, self.integers(*repeats)], shape)

    def merge(self) -> None:
        """Two neighbouring axes as one."""
        x = self.pick(lambda value: value.rank > 1)
        if x is None:
            return
        axis = int(self.rng.integers(0, x.rank - 1))
        shape = [*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]]
        rest = [*x.shape[:axis], *x.shape[axis + 2 :]]
        if all(self.can_tell(item) for item in rest):
            wanted = self.node(
                "Concat", [self.integers(-1) if i == axis else self.size(item) for i, item in enumerate(shape)], axis=0
            )
            self.add("Reshape", [x, wanted], shape)

    def split(self) -> None:
        """An axis as two, one of them a number or a symbol that is a factor."""
        options = [
            (value, axis, factor)
            for value in self.values
            for axis, size in enumerate(value.shape)
            for factor in factors_of(size)
            if all(self.can_tell(item) for item in value.shape)
        ]
        if not options:
            return
        x, axis, (left, right) = self.one_of(options)
        shape = [*x.shape[:axis], left, right, *x.shape[axis + 1 :]]
        if len(shape) <= 5:
            self.add("Reshape", [x, self.sizes(shape)], shape)

    def reinterpret(self) -> None:
        """The elements in an order of sizes that is not their own: neighbours change places without being moved."""
        x = self.pick(lambda value: value.rank > 1 and all(map(self.can_tell, value.shape)))
        if x is not None:
            shape = [x.shape[axis] for axis in self.rng.permutation(x.rank)]
            self.add("Reshape", [x, self.sizes(shape)], shape)

    def flatten(self) -> None:
        x = self.pick(lambda value: value.rank > 1)
        if x is not None:
            axis = int(self.rng.integers(0, x.rank + 1))
            shape = [ONE, ONE]
            for i, size in enumerate(x.shape):
                shape[i >= axis] = shape[i >= axis] * size
            self.add("Flatten", [x], shape, axis=axis)

    def concat(self) -> None:
        x = self.pick(lambda value: value.rank > 0)
        if x is None:
            return
        axis = int(self.rng.integers(0, x.rank))
        parts = [x]
        for _ in range(int(self.rng.integers(1, 3))):
            other = self.pick(lambda value: value.rank == x.rank and all(
                a == b for i, (a, b) in enumerate(zip(value.shape, x.shape, strict=True)) if i != axis))  # fmt: skip
            parts.append(other or x)
        total = parts[0].shape[axis]
        for part in parts[1:]:
            total = total + part.shape[axis]
        shape = [*x.shape[:axis], total, *x.shape[axis + 1 :]]
        if self.fits(shape):
            self.add("Concat", parts, shape, axis=axis - x.rank if self.chance(0.3) else axis)

    def slice(self) -> None:
        x = self.pick(lambda value: any(min(axis.numbers) > 2 for axis in value.shape))
        if x is None:
            return
        axis = self.one_of([i for i, size in enumerate(x.shape) if min(size.numbers) > 2])
        start, end, shape = self.one_of(
            [(1, 2**31, x.shape[axis] + -1), (0, -1, x.shape[axis] + -1), (0, 2, of(2)), (-2, 2**31, of(2))]
        )
        inputs = [x, self.integers(start), self.integers(end), self.integers(axis)]
        self.add("Slice", inputs, [*x.shape[:axis], shape, *x.shape[axis + 1 :]])

    def gather(self) -> None:
        x = self.pick(lambda value: value.rank > 0)
        if x is None:
            return
        axis = int(self.rng.integers(0, x.rank))
        most = min(x.shape[axis].numbers)
        if self.chance(0.5):
            shape: tuple[Axis, ...] = tuple(of(int(size)) for size in self.rng.integers(1, 4, int(self.rng.integers(0, 3))))
            indices = self.constant(self.rng.integers(0, most, [axis.numbers[0] for axis in shape]).astype(np.int64))
        else:
            # Places below two of an input: every axis that is longer has them.
            found = [(name, own) for name, kind, own in self.inputs if kind == TensorProto.INT64]
            if not found or most < 2:
                return
            indices, shape = self.one_of(found)
        result = [*x.shape[:axis], *shape, *x.shape[axis + 1 :]]
        if self.fits(result):
            self.add("Gather", [x, indices], result, axis=axis)

    def weights(self, depth: int, columns: int) -> Array:
        return (self.rng.standard_normal((depth, columns)) / np.sqrt(depth)).astype(np.float32)

    def product(self) -> None:
        """A product with constant weights, perhaps with bias and activation."""
        x = self.pick(lambda value: value.rank > 1 and value.shape[-1].fixed is not None)
        if x is None or x.shape[-1].fixed is None:
            return
        depth, columns = x.shape[-1].fixed, int(self.rng.choice([1, 3, 4, 5, 16, 18, 33]))
        shape = [*x.shape[:-1], of(columns)]
        if not self.fits(shape):
            return
        matrix, bias = self.weights(depth, columns), self.rng.standard_normal(columns).astype(np.float32)
        if x.rank == 2 and self.chance(0.5):
            turned = self.chance(0.5)
            inputs = [x, self.constant(matrix.T.copy() if turned else matrix), self.constant(bias)]
            y = self.add("Gemm", inputs, shape, transB=int(turned))
        else:
            y = self.add("MatMul", [x, self.constant(matrix)], shape)
            if self.chance(0.5):
                y = self.add("Add", [y, self.constant(bias)], shape)
        if self.chance(0.4):
            self.add(self.one_of(["Relu", "Tanh"]), [y], shape)

    def pairing(self) -> None:
        """The product of a value with itself, or another, transposed."""
        x = self.pick(lambda value: value.rank > 1)
        if x is None:
            return
        y = self.pick(
            lambda value: value.rank > 1 and value.shape[-1] == x.shape[-1] and joined(value.shape[:-2], x.shape[:-2]) is not None
        )
        y = y or x
        batch = joined(x.shape[:-2], y.shape[:-2])
        if batch is None or not self.fits([*batch, x.shape[-2], y.shape[-2]]):
            return
        order = [*range(y.rank - 2), y.rank - 1, y.rank - 2]
        turned = self.add("Transpose", [y], [y.shape[axis] for axis in order], perm=order)
        scores = self.add("MatMul", [x, turned], [*batch, x.shape[-2], y.shape[-2]])
        if self.chance(0.5):
            scaled = self.add("Mul", [scores, self.constant(np.array(0.3, np.float32))], scores.shape)
            weights = self.add("Softmax", [scaled], scores.shape, axis=-1)
            if self.fits([*batch, x.shape[-2], y.shape[-1]]):
                self.add("MatMul", [weights, y], [*batch, x.shape[-2], y.shape[-1]])

    def reduce(self) -> None:
        x = self.pick(lambda value: value.rank > 0)
        if x is None:
            return
        axes = sorted(int(axis) for axis in self.rng.choice(x.rank, int(self.rng.integers(1, x.rank + 1)), replace=False))
        keep = self.chance(0.6)
        shape = [ONE if i in axes else size for i, size in enumerate(x.shape) if keep or i not in axes]
        self.add(self.one_of(["ReduceMean", "ReduceMax", "ReduceMin"]), [x], shape, axes=axes, keepdims=int(keep))

    def softmax(self) -> None:
        x = self.pick(lambda value: value.rank > 0)
        if x is not None:
            self.add(self.one_of(["Softmax", "LogSoftmax"]), [x], x.shape, axis=int(self.rng.integers(-x.rank, x.rank)))

    def convolve(self) -> None:
        x = self.pick(lambda value: value.rank in (3, 4) and value.shape[1].fixed is not None)
        if x is None or x.shape[1].fixed is None:
            return
        channels, columns, space = x.shape[1].fixed, int(self.rng.choice([2, 4, 17])), x.rank - 2
        kernel = [int(self.rng.choice([1, 3])) for _ in range(space)]
        shape = [x.shape[0], of(columns), *x.shape[2:]]
        if not self.fits(shape):
            return
        weights = self.rng.standard_normal((columns, channels, *kernel)) / np.sqrt(channels * np.prod(kernel))
        pads = [size // 2 for size in kernel] * 2
        y = self.add("Conv", [x, self.constant(weights.astype(np.float32))], shape, kernel_shape=kernel, pads=pads)
        if self.chance(0.4):
            scales = [self.constant(self.rng.uniform(0.5, 1.5, columns).astype(np.float32)) for _ in range(4)]
            y = self.add("BatchNormalization", [y, *scales], shape)
        if self.chance(0.4):
            self.add("Relu", [y], shape)
        if self.chance(0.3):
            self.add("GlobalAveragePool", [y], [*shape[:2], *(ONE for _ in range(space))])

    def normalise(self) -> None:
        x = self.pick(lambda value: value.rank > 1 and (value.shape[-1].fixed or 0) > 1)
        if x is not None and x.shape[-1].fixed is not None:
            scales = [self.constant(self.rng.uniform(0.5, 1.5, x.shape[-1].fixed).astype(np.float32)) for _ in range(2)]
            self.add("LayerNormalization", [x, *scales], x.shape, axis=-1, epsilon=0.1)

    def edges(self) -> None:
        """An edge network: each row with each other, repeated, joined, perhaps reshaped or transposed, multiplied."""
        x = self.pick(
            lambda value: value.rank == 3 and value.shape[-1].fixed is not None and all(map(self.can_tell, value.shape))
        )
        if x is None:
            return
        batch, points, features = x.shape
        if not self.fits([batch, points, points, features, of(2)]):
            return
        whole = [batch, points, points, features]
        here = self.add("Unsqueeze", [x, self.integers(2)], [batch, points, ONE, features])
        there = self.add("Unsqueeze", [x, self.integers(1)], [batch, ONE, points, features])
        wide = self.sizes(whole)
        left = self.add("Expand", [here, wide], whole) if self.chance(0.8) else here
        right = self.add("Expand", [there, wide], whole) if self.chance(0.8) else there
        parts = [left, right]
        if self.chance(0.5):
            parts.append(self.add("Sub", [right, left], whole))
        if self.chance(0.3):
            mean = self.add("ReduceMean", [x], [batch, ONE, features], axes=[1], keepdims=1)
            around = self.add("Unsqueeze", [mean, self.integers(1)], [batch, ONE, ONE, features])
            parts.append(self.add("Expand", [around, wide], whole))
        parts = [part for part in parts if part.shape == tuple(whole)] or [self.add("Sub", [left, right], whole)]
        if self.chance(0.4):
            flat = [batch, points * points, features]
            wanted = self.node("Concat", [self.size(batch), self.integers(-1), self.size(features)], axis=0)
            parts = [self.add("Reshape", [part, wanted], flat) for part in parts]
            whole = flat
        if self.chance(0.4):
            order = [0, len(whole) - 1, *range(1, len(whole) - 1)]
            turned = [self.add("Transpose", [part], [whole[axis] for axis in order], perm=order) for part in parts]
            total = of((features.fixed or 1) * len(parts))
            y = self.add("Concat", turned, [whole[0], total, *whole[1:-1]], axis=1)
            back = [0, *range(2, len(whole)), 1]
            y = self.add("Transpose", [y], [*whole[:-1], total], perm=back)
        else:
            y = self.add("Concat", parts, [*whole[:-1], of((features.fixed or 1) * len(parts))], axis=-1)
        columns = int(self.rng.choice([4, 5]))
        weights = self.constant(self.weights(y.shape[-1].fixed or 1, columns))
        y = self.add("MatMul", [y, weights], [*y.shape[:-1], of(columns)])
        self.add("Relu", [y], y.shape)

    STEPS: tuple[tuple[str, int], ...] = (
        ("unary", 5), ("shift", 4), ("binary", 7), ("transpose", 6), ("unsqueeze", 3), ("squeeze", 2), ("expand", 5), ("tile", 2),
        ("merge", 4), ("split", 3), ("reinterpret", 2), ("flatten", 1), ("concat", 4), ("slice", 2), ("gather", 4),
        ("product", 7), ("pairing", 2), ("reduce", 3), ("softmax", 1), ("convolve", 3), ("normalise", 1), ("edges", 2),
    )  # fmt: skip

    def make(self) -> None:
        symbols = [Axis(name, tuple(call[name] for call in CALLS)) for name in CALLS[0]]

        def size() -> Axis:
            return self.one_of(symbols) if self.open_sizes and self.chance(0.6) else of(int(self.rng.choice([1, 2, 3, 4, 6])))

        for i in range(int(self.rng.integers(1, 4))):
            rank = int(self.rng.choice([1, 2, 3, 3, 4]))
            shape = tuple(
                of(int(self.rng.choice([3, 4, 6]))) if axis == rank - 1 and self.chance(0.7) else size() for axis in range(rank)
            )
            self.inputs.append((f"x{i}", TensorProto.FLOAT, shape))
            self.values.append(Known(f"x{i}", shape))
        if self.chance(0.5):
            self.inputs.append(("places", TensorProto.INT64, tuple(size() for _ in range(int(self.rng.integers(1, 3))))))
        names = [name for name, count in self.STEPS for _ in range(count)]
        for _ in range(int(self.rng.integers(5, 20))):
            getattr(self, self.one_of(names))()

    def model(self) -> ModelProto:
        """Outputs are what nobody reads, and some of what is read."""
        ends = [value for value in self.values if value.name not in self.read and value.name.startswith("v")]
        inner = [value for value in self.values if value.name in self.read and value.name.startswith("v") and self.chance(0.1)]
        outputs = list({value.name: value for value in (*ends[-5:], *inner[:2])}.values())
        produced = {name for node in self.nodes for name in node.output}
        nodes = list(self.nodes)
        if not outputs:
            nodes.append(helper.make_node("Relu", [self.inputs[0][0]], ["v_only"]))
            outputs = [Known("v_only", self.inputs[0][2])]
        del produced
        graph = helper.make_graph(
            nodes,
            "random",
            [
                helper.make_tensor_value_info(name, kind, [axis.text if axis.fixed is None else axis.fixed for axis in shape])
                for name, kind, shape in self.inputs
            ],
            [helper.make_tensor_value_info(value.name, TensorProto.FLOAT, None) for value in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)

    def feeds(self, call: int) -> dict[str, Array]:
        rng = np.random.default_rng(call)
        return {
            name: rng.integers(0, 2, [axis.numbers[call] for axis in shape]).astype(np.int64)
            if kind == TensorProto.INT64
            else rng.standard_normal([axis.numbers[call] for axis in shape]).astype(np.float32)
            for name, kind, shape in self.inputs
        }


def joined(left: Sequence[Axis], right: Sequence[Axis]) -> list[Axis] | None:
    """The shape that two broadcast to; None where they do not."""
    rank = max(len(left), len(right))
    padded = [(ONE,) * (rank - len(shape)) + tuple(shape) for shape in (left, right)]
    found = []
    for a, b in zip(*padded, strict=True):
        if a != b and ONE not in (a, b):
            return None
        found.append(b if a == ONE else a)
    return found


def factors_of(size: Axis) -> list[tuple[Axis, Axis]]:
    """Ways to write a size as a product of two."""
    if size.fixed is not None:
        return [(of(a), of(size.fixed // a)) for a in (1, 2, 3) if size.fixed % a == 0 and size.fixed > 1]
    parts = size.text.split("*")
    if len(parts) < 2 or not all(part in CALLS[0] or part.isdigit() for part in parts):
        return []
    whole = [Axis(part, tuple(call[part] for call in CALLS)) if part in CALLS[0] else of(int(part)) for part in parts]
    rest = whole[1]
    for part in whole[2:]:
        rest = rest * part
    return [(whole[0], rest), (rest, whole[0])]


def network(seed: int, *, open_sizes: bool) -> tuple[ModelProto, list[dict[str, Array]]]:
    """A network and the inputs of its calls: two where sizes are open, else one."""
    maker = Maker(seed, open_sizes=open_sizes)
    maker.make()
    return maker.model(), [maker.feeds(call) for call in range(len(CALLS) if open_sizes else 1)]
