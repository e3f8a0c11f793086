"""The domain ai.onnx.ml: categories, scaling, linear models, support vectors, tree ensembles.

Where ONNX's text leaves something open, its reference evaluator decides. Maps (ZipMap, DictVectorizer, CastMap) are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from mlcore.errors import InputError, UnsupportedOperatorError
from mlcore.networks.code import Writer, literal, text_literal
from mlcore.networks.ir import REQUIRED, DType, Node, Size, TensorType, Value, ValueType, product
from mlcore.networks.ops import Facts, Operator, operator
from mlcore.networks.ops._trees import TreeTables, read_ensemble, read_flat_ensemble
from mlcore.networks.ops.text import sorted_texts, text_array

_HEADER = "kernels/nn/ml.hpp"
_DOMAIN = "ai.onnx.ml"
_NUMBERS = (DType.FLOAT32, DType.FLOAT64, DType.INT64, DType.INT32)
_POSTS = {"NONE": "none", "SOFTMAX": "softmax", "LOGISTIC": "logistic", "SOFTMAX_ZERO": "softmax_zero", "PROBIT": "probit"}


def _numbers(node: Node, value: Value) -> None:
    if value.dtype not in _NUMBERS:
        raise InputError(f"{node.where} works on numbers, and is given {value.tensor}", code="network.dtype")


def _rows(node: Node, value: Value) -> tuple[Size, Size]:
    """Rows and features; one axis is one row."""
    _numbers(node, value)
    if value.rank not in (1, 2):
        raise InputError(f"{node.where} needs rows of features, and is given {value.tensor}", code="network.shape")
    return product(value.shape[:-1]), value.shape[-1]


def _post(node: Node) -> str:
    name = node.text("post_transform", "NONE")
    if name not in _POSTS:
        raise InputError(f"{node.where} has the unknown post_transform {name!r}", code="network.attribute")
    return f"nn::Post::{_POSTS[name]}"


def _computed(value: Value) -> tuple[Any, str]:
    """What is computed in: double for doubles, else float."""
    return (np.float64, "double") if value.dtype is DType.FLOAT64 else (np.float32, "float")


def _floats(code: Writer, values: Sequence[float], dtype: Any = np.float32) -> str:
    return code.weights(np.array(values, dtype))


# Categories.


class _Table:
    """Keys and values of a mapping, the keys sorted as C++ sorts them."""

    def __init__(self, keys: Sequence[Any], values: Sequence[Any]) -> None:
        mapping = dict(zip(keys, values, strict=True))
        missing = [key for key in mapping if isinstance(key, float) and np.isnan(key)]
        kept = [key for key in mapping if key not in missing] if missing else list(mapping)
        self.keys: list[Any] = sorted_texts(kept) if kept and isinstance(kept[0], str) else sorted(kept)
        self.values = [mapping[key] for key in self.keys]
        self.nan_place = -1
        if missing:
            self.nan_place = len(self.values)
            self.values.append(mapping[missing[-1]])

    def write(self, code: Writer, dtype: DType) -> str:
        """C++ of an ``nn::Lookup``."""
        array = text_array(self.keys) if dtype is DType.STRING else np.array(self.keys, dtype.numpy)
        pointer = code.weights(array) if self.keys else f"static_cast<const {dtype.cpp}*>(nullptr)"
        return f"nn::Lookup<{dtype.cpp}>{{{pointer}, {len(self.keys)}, {self.nan_place}}}"


def _constants(code: Writer, values: Sequence[Any], dtype: DType) -> str:
    if not values:
        return f"static_cast<const {dtype.cpp}*>(nullptr)"
    return code.weights(text_array(values) if dtype is DType.STRING else np.array(values, dtype.numpy))


def _literal(value: Any, dtype: DType) -> str:
    if dtype is DType.STRING:
        return f"std::string({text_literal(value)}, {len(value.encode('utf-8', 'surrogateescape'))})"
    return literal(value, dtype)


_KINDS = {"strings": DType.STRING, "int64s": DType.INT64, "floats": DType.FLOAT32}
_DEFAULTS = {
    DType.STRING: ("default_string", "_Unused"),
    DType.INT64: ("default_int64", -1),
    DType.FLOAT32: ("default_float", -0.0),
}


@operator("LabelEncoder", since=(1, 2, 4), domain=_DOMAIN)
class LabelEncoder(Operator):
    """The value that stands beside each key, or a default."""

    def _side(self, node: Node, side: str) -> tuple[list[Any], DType]:
        tensor = node.array(f"{side}_tensor")
        lists = {"strings": node.texts, "int64s": node.integers, "floats": node.numbers}
        given = [(list(read(f"{side}_{key}")), _KINDS[key]) for key, read in lists.items() if f"{side}_{key}" in node.attributes]
        if tensor is not None:
            items = tensor.reshape(-1)
            dtype = DType.of(items)
            given.append(([str(item) for item in items] if dtype is DType.STRING else items.tolist(), dtype))
        if len(given) != 1:
            raise InputError(f"{node.where} needs one list of {side}, and has {len(given)}", code="network.attribute")
        return given[0]

    def _mapping(self, node: Node) -> tuple[list[Any], DType, list[Any], DType, Any]:
        """Keys and their type, values and theirs, the default."""
        if node.version == 1:
            classes = node.texts("classes_strings", REQUIRED)
            if node.input(0).dtype is DType.STRING:
                return classes, DType.STRING, list(range(len(classes))), DType.INT64, node.integer("default_int64", -1)
            return list(range(len(classes))), DType.INT64, classes, DType.STRING, node.text("default_string", "_Unused")
        (keys, key_type), (values, value_type) = self._side(node, "keys"), self._side(node, "values")
        if len(keys) != len(values):
            raise InputError(f"{node.where} has {len(keys)} keys and {len(values)} values", code="network.attribute")
        tensor = node.array("default_tensor")
        if tensor is not None and tensor.size == 1:
            default = tensor.reshape(-1)[0] if value_type is DType.STRING else tensor.reshape(-1)[0].item()
        else:
            key, fallback = _DEFAULTS.get(value_type, ("", -0.0 if value_type.is_float else -1))
            default = node.attributes.get(key, fallback)
        return keys, key_type, values, value_type, default

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        _, key_type, _, value_type, _ = self._mapping(node)
        if data.dtype is not key_type:
            raise InputError(f"{node.where} has keys of the type {key_type}, and is given {data.tensor}", code="network.dtype")
        return [TensorType(value_type, data.shape)]

    def write(self, node: Node, code: Writer) -> None:
        _write_lookup(node, code, *self._mapping(node))


def _write_lookup(
    node: Node, code: Writer, keys: Sequence[Any], key_type: DType, values: Sequence[Any], value_type: DType, default: Any
) -> None:
    code.include(_HEADER)
    table, data = _Table(keys, values), node.input(0)
    listed = _constants(code, table.values, value_type)
    code.line(
        f"nn::look_up({table.write(code, key_type)}, {code.ref(data)}, {code.size(data.count)}, {listed}, "
        f"{_literal(default, value_type)}, {code.ref(node.output)});"
    )


@operator("CategoryMapper", since=(1,), domain=_DOMAIN)
class CategoryMapper(Operator):
    """Texts as the numbers beside them, or the other way round."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if data.dtype not in (DType.STRING, DType.INT64):
            raise InputError(f"{node.where} maps texts or int64, and is given {data.tensor}", code="network.dtype")
        if len(node.texts("cats_strings", REQUIRED)) != len(node.integers("cats_int64s", REQUIRED)):
            raise InputError(f"{node.where} has lists of categories of different lengths", code="network.attribute")
        return [TensorType(DType.INT64 if data.dtype is DType.STRING else DType.STRING, data.shape)]

    def write(self, node: Node, code: Writer) -> None:
        texts, numbers = node.texts("cats_strings", REQUIRED), node.integers("cats_int64s", REQUIRED)
        if node.input(0).dtype is DType.STRING:
            _write_lookup(node, code, texts, DType.STRING, numbers, DType.INT64, node.integer("default_int64", -1))
        else:
            _write_lookup(node, code, numbers, DType.INT64, texts, DType.STRING, node.text("default_string", "_Unused"))


@operator("OneHotEncoder", since=(1,), domain=_DOMAIN)
class OneHotEncoder(Operator):
    """A row of zeros with a one at the place of the category."""

    def _categories(self, node: Node) -> list[Any]:
        texts, numbers = node.texts("cats_strings"), node.integers("cats_int64s")
        is_text = node.input(0).dtype is DType.STRING
        found: list[Any] | None = texts if is_text else numbers
        if not found:
            raise InputError(f"{node.where} has no categories of the type {node.input(0).dtype}", code="network.attribute")
        return found

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        if data.dtype is not DType.STRING:
            _numbers(node, data)
        return [TensorType(DType.FLOAT32, (*data.shape, len(self._categories(node))))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, categories = node.input(0), self._categories(node)
        table = _Table(categories, range(len(categories)))
        key_type = DType.STRING if data.dtype is DType.STRING else DType.INT64
        zeros = "true" if node.integer("zeros", 1) else "false"
        columns = code.weights(np.array(table.values, np.int64))
        code.line(
            f"nn::one_hot({table.write(code, key_type)}, {columns}, {len(categories)}, {zeros}, {code.ref(data)}, "
            f"{code.size(data.count)}, {code.ref(node.output)});"
        )


# Features.


@operator("Binarizer", since=(1,), domain=_DOMAIN)
class Binarizer(Operator):
    """One where a number is above a threshold, else zero."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        _numbers(node, node.input(0))
        return [node.input(0).tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data = node.input(0)
        threshold = literal(node.number("threshold", 0.0), DType.FLOAT32)
        code.line(f"nn::binarize({code.ref(data)}, {code.size(data.count)}, {threshold}, {code.ref(node.output)});")


def _per_feature(node: Node, facts: Facts, key: str, values: Sequence[Any] | None, width: Size) -> None:
    """Check an attribute of one number for each feature, or one for all."""
    if values is not None and len(values) != 1:
        facts.same(len(values), width, f"{node.where} has one {key} for each feature")


@operator("Scaler", since=(1,), domain=_DOMAIN)
class Scaler(Operator):
    """Less an offset, times a scale, feature by feature."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        _numbers(node, data)
        for key in ("offset", "scale"):
            _per_feature(node, facts, key, node.numbers(key), data.shape[-1] if data.rank else 1)
        return [TensorType(DType.FLOAT32, data.shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data = node.input(0)
        width: Size = data.shape[-1] if data.rank else 1
        parameters = []
        for key, default in (("offset", 0.0), ("scale", 1.0)):
            values = node.numbers(key, [default])
            parameters.append(f"{{{_floats(code, values)}, {len(values)}}}")
        rows = product(data.shape[:-1])
        code.line(
            f"nn::scale_features({code.ref(data)}, {code.size(rows)}, {code.size(width)}, {', '.join(parameters)}, "
            f"{code.ref(node.output)});"
        )


@operator("Imputer", since=(1,), domain=_DOMAIN)
class Imputer(Operator):
    """A value in place of another that stands for missing ones."""

    def _values(self, node: Node) -> tuple[list[Any], Any]:
        """What is put in, and what it is put in place of."""
        is_float = node.input(0).dtype.is_float
        key, replaced = (
            ("imputed_value_floats", "replaced_value_float") if is_float else ("imputed_value_int64s", "replaced_value_int64")
        )
        values: list[Any] = node.numbers(key) or []
        if not values:
            raise InputError(f"{node.where} has no values of the type {node.input(0).dtype}", code="network.attribute")
        return values, node.attributes.get(replaced, 0)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        data = node.input(0)
        _numbers(node, data)
        _per_feature(node, facts, "value", self._values(node)[0], data.shape[-1] if data.rank else 1)
        return [data.tensor]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, (values, replaced) = node.input(0), self._values(node)
        if not data.dtype.is_float:
            limits = np.iinfo(data.dtype.numpy)
            if not all(limits.min <= item <= limits.max for item in (*values, replaced)):
                raise InputError(f"{node.where} has values beyond {data.dtype}", code="network.attribute")
        rows, width = product(data.shape[:-1]), data.shape[-1] if data.rank else 1
        listed = f"{{{code.weights(np.array(values, data.dtype.numpy))}, {len(values)}}}"
        code.line(
            f"nn::impute<{data.dtype.cpp}>({code.ref(data)}, {code.size(rows)}, {code.size(width)}, "
            f"{literal(replaced, data.dtype)}, {listed}, {code.ref(node.output)});"
        )


@operator("Normalizer", since=(1,), domain=_DOMAIN)
class Normalizer(Operator):
    """Rows divided by their largest magnitude, or by a norm; rows of zeros stay."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        _rows(node, node.input(0))
        if node.text("norm", "MAX") not in ("MAX", "L1", "L2"):
            raise InputError(f"{node.where} has the unknown norm {node.text('norm')!r}", code="network.attribute")
        return [TensorType(DType.FLOAT32, node.input(0).shape)]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        rows, width = map(code.size, _rows(node, node.input(0)))
        norm = node.text("norm", "MAX").lower()
        code.line(f"nn::normalize_rows({code.ref(node.input(0))}, {rows}, {width}, nn::Norm::{norm}, {code.ref(node.output)});")


@operator("FeatureVectorizer", since=(1,), domain=_DOMAIN)
class FeatureVectorizer(Operator):
    """Inputs side by side, each cut off or filled up to a number of columns."""

    def _widths(self, node: Node) -> list[Size]:
        widths = node.integers("inputdimensions") or [value.shape[-1] for value in node.present()]
        if len(widths) != len(node.present()) or any(isinstance(width, int) and width < 0 for width in widths):
            raise InputError(f"{node.where} has inputdimensions {widths}", code="network.attribute")
        return list(widths)

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        rows, _ = _rows(node, node.input(0))
        for value in node.present():
            rows = facts.same(rows, _rows(node, value)[0], f"{node.where} has inputs of equally many rows")
        total: Size = 0
        for width in self._widths(node):
            total = total + width
        return [TensorType(DType.FLOAT32, (rows, total))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        rows, pitch = node.output.shape
        offset: Size = 0
        for value, wanted in zip(node.present(), self._widths(node), strict=True):
            target = f"{code.ref(node.output)} + {code.size(offset)}"
            sizes = ", ".join(map(code.size, (rows, value.shape[-1], wanted)))
            code.line(f"nn::put_features({code.ref(value)}, {sizes}, {target}, {code.size(pitch)});")
            offset = offset + wanted


# Linear models.


class _Classifier(Operator):
    """A class for each row, and scores."""

    integers = "classlabels_ints"

    def labels(self, node: Node) -> tuple[list[Any], DType]:
        """The labels, texts or whole numbers."""
        texts, numbers = node.texts("classlabels_strings"), node.integers(self.integers)
        if bool(texts) == bool(numbers):
            raise InputError(f"{node.where} needs labels of one type", code="network.attribute")
        return (texts, DType.STRING) if texts else (numbers, DType.INT64)

    def columns(self, node: Node) -> int:
        """How many scores a row has in the output."""
        return len(self.labels(node)[0])

    def types(self, node: Node) -> list[TensorType]:
        """Of both outputs."""
        rows, _ = _rows(node, node.input(0))
        return [TensorType(self.labels(node)[1], (rows,)), TensorType(DType.FLOAT32, (rows, self.columns(node)))]

    def results(self, node: Node, code: Writer) -> str:
        """C++ of where the classes and scores go: an output that is left out is computed all the same."""
        names = []
        for i, kind in enumerate(self.types(node)):
            value = node.outputs[i] if i < len(node.outputs) else None
            if value is not None and value.name:
                names.append(code.ref(value))
            elif kind.dtype is DType.STRING:
                names.append(f"{code.object('nn::Strings')}.get({code.size(kind.count)})")
            else:
                names.append(code.scratch(kind.dtype.cpp, kind.count, kind.dtype.bytes))
        return ", ".join(names)

    def input_text(self, node: Node, code: Writer) -> str:
        """C++ of the features, the rows and the width."""
        rows, width = map(code.size, _rows(node, node.input(0)))
        return f"{code.ref(node.input(0))}, {rows}, {width}"

    def label_text(self, node: Node, code: Writer) -> str:
        labels, dtype = self.labels(node)
        return f"{_constants(code, labels, dtype)}, {len(labels)}"


def _coefficients(node: Node, facts: Facts, n: int) -> None:
    """Check that there are as many coefficients as features, for each score."""
    _, width = _rows(node, node.input(0))
    given = node.numbers("coefficients", REQUIRED)
    if n < 1 or len(given) % n:
        raise InputError(f"{node.where} has {len(given)} coefficients for {n} scores", code="network.attribute")
    facts.same(len(given) // n, width, f"{node.where} has one coefficient for each feature")


@operator("LinearClassifier", since=(1,), domain=_DOMAIN)
class LinearClassifier(_Classifier):
    """Classes by products with coefficients."""

    def _n_scores(self, node: Node) -> int:
        intercepts = node.numbers("intercepts")
        if intercepts:
            return len(intercepts)
        _, width = _rows(node, node.input(0))
        n = len(node.numbers("coefficients", REQUIRED))
        return n // width if isinstance(width, int) and width > 0 else len(self.labels(node)[0])

    def columns(self, node: Node) -> int:
        n = self._n_scores(node)
        return 2 if n == 1 and len(self.labels(node)[0]) == 2 else n

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        _coefficients(node, facts, self._n_scores(node))
        if self.columns(node) > len(self.labels(node)[0]):
            raise InputError(f"{node.where} has more scores than labels", code="network.attribute")
        _post(node)
        return self.types(node)

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        dtype, cpp = _computed(node.input(0))
        n = self._n_scores(node)
        weights = _floats(code, node.numbers("coefficients", REQUIRED), dtype)
        intercepts = node.numbers("intercepts")
        constants = f"{weights}, {_floats(code, intercepts, dtype) if intercepts else 'nullptr'}"
        scores = code.scratch(cpp, self.columns(node), np.dtype(dtype).itemsize)
        code.line(
            f"nn::linear_classes<{cpp}>({self.input_text(node, code)}, {constants}, {n}, {_post(node)}, "
            f"{self.label_text(node, code)}, {scores}, {self.results(node, code)});"
        )


@operator("LinearRegressor", since=(1,), domain=_DOMAIN)
class LinearRegressor(Operator):
    """Products with coefficients."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        rows, _ = _rows(node, node.input(0))
        n = node.integer("targets", 1)
        _coefficients(node, facts, n)
        if len(node.numbers("intercepts") or [0] * n) != n:
            raise InputError(f"{node.where} has not one intercept for each of {n} targets", code="network.attribute")
        _post(node)
        return [TensorType(DType.FLOAT32, (rows, n))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, n = node.input(0), node.integer("targets", 1)
        dtype, cpp = _computed(data)
        intercepts = node.numbers("intercepts")
        rows, width = map(code.size, _rows(node, data))
        weights = _floats(code, node.numbers("coefficients", REQUIRED), dtype)
        offsets = _floats(code, intercepts, dtype) if intercepts else "nullptr"
        scores = code.scratch(cpp, n, np.dtype(dtype).itemsize)
        code.line(
            f"nn::linear_regression<{cpp}>({code.ref(data)}, {rows}, {width}, {weights}, {offsets}, {n}, {_post(node)}, "
            f"{scores}, {code.ref(node.output)});"
        )


# Support vectors.


def _kernel(node: Node) -> str:
    """C++ of an ``nn::KernelParameters``."""
    kind = node.text("kernel_type", "LINEAR").lower()
    if kind not in ("linear", "poly", "rbf", "sigmoid"):
        raise InputError(f"{node.where} has the unknown kernel {kind.upper()!r}", code="network.attribute")
    given = node.numbers("kernel_params") or [0.0, 0.0, 0.0]
    if len(given) != 3:
        raise InputError(f"{node.where} has {len(given)} kernel parameters, where 3 are needed", code="network.attribute")
    numbers = ", ".join(literal(item, DType.FLOAT64) for item in given[:2])
    return f"{{nn::Kernel::{kind}, {numbers}, {int(given[2])}}}"


def _vectors(node: Node, facts: Facts, n: int) -> None:
    """Check that support vectors have the features of the input."""
    _, width = _rows(node, node.input(0))
    given = len(node.numbers("support_vectors") or [])
    if n < 1 or given % n:
        raise InputError(f"{node.where} has {given} numbers for {n} support vectors", code="network.attribute")
    facts.same(given // n, width, f"{node.where} has support vectors of as many features as the input")


@operator("SVMRegressor", since=(1,), domain=_DOMAIN)
class SVMRegressor(Operator):
    """A number for each row, or its sign for models of one class."""

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        rows, width = _rows(node, node.input(0))
        n, coefficients = node.integer("n_supports", 0), len(node.numbers("coefficients", REQUIRED))
        if n > 0:
            _vectors(node, facts, n)
            if coefficients != n:
                raise InputError(f"{node.where} has {coefficients} coefficients for {n} vectors", code="network.attribute")
        else:
            facts.same(coefficients, width, f"{node.where} has one coefficient for each feature")
        if not node.numbers("rho", REQUIRED):
            raise InputError(f"{node.where} has no rho", code="network.attribute")
        _kernel(node), _post(node)
        return [TensorType(DType.FLOAT32, (rows, 1))]

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, n = node.input(0), max(0, node.integer("n_supports", 0))
        rows, width = map(code.size, _rows(node, data))
        vectors = _floats(code, node.numbers("support_vectors")) if n else "nullptr"
        coefficients = _floats(code, node.numbers("coefficients", REQUIRED))
        rho = literal(node.numbers("rho", REQUIRED)[0], DType.FLOAT32)
        one_class = "true" if node.integer("one_class", 0) else "false"
        code.line(
            f"nn::svm_regression({_kernel(node)}, {code.ref(data)}, {rows}, {width}, {vectors}, {coefficients}, {n}, {rho}, "
            f"{one_class}, {_post(node)}, {code.ref(node.output)});"
        )


@operator("SVMClassifier", since=(1,), domain=_DOMAIN)
class SVMClassifier(_Classifier):
    """Classes by votes of pairs, with probabilities if the model has them."""

    def _classes(self, node: Node) -> int:
        return len(self.labels(node)[0])

    def _n_scores(self, node: Node) -> int:
        n = self._classes(node)
        return n if not self._per_class(node) or node.numbers("prob_a") else n * (n - 1) // 2

    @staticmethod
    def _per_class(node: Node) -> list[int]:
        """How many support vectors each class has; none for linear models."""
        counts: list[int] = node.integers("vectors_per_class") or []
        return counts if sum(counts) > 0 else []

    def columns(self, node: Node) -> int:
        n = self._n_scores(node)
        second = n == 1 and self._classes(node) == 2 and len(node.numbers("rho", REQUIRED)) == 1
        return 2 if second and node.text("post_transform", "NONE") != "PROBIT" else n

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        n, counts = self._classes(node), self._per_class(node)
        _, width = _rows(node, node.input(0))
        coefficients, pairs = len(node.numbers("coefficients", REQUIRED)), n * (n - 1) // 2
        if counts:
            vectors = sum(counts)
            _vectors(node, facts, vectors)
            fits = len(counts) == n >= 2 and min(counts) >= 0 and coefficients == (n - 1) * vectors
            fits = fits and len(node.numbers("rho", REQUIRED)) == pairs
            fits = fits and all(len(node.numbers(key) or [0] * pairs) == pairs for key in ("prob_a", "prob_b"))
            if not fits or bool(node.numbers("prob_a")) != bool(node.numbers("prob_b")):
                raise InputError(f"{node.where} has numbers that do not fit {n} classes", code="network.attribute")
        else:
            if coefficients % n or not node.numbers("rho", REQUIRED):
                raise InputError(f"{node.where} has {coefficients} coefficients for {n} classes", code="network.attribute")
            facts.same(coefficients // n, width, f"{node.where} has one coefficient for each feature")
        _kernel(node), _post(node)
        return self.types(node)

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        n, counts = self._classes(node), self._per_class(node)
        coefficients, rho = node.numbers("coefficients", REQUIRED), node.numbers("rho", REQUIRED)
        begins = code.weights(np.cumsum([0, *(counts or [0])]).astype(np.int64))
        names = [
            _kernel(node),
            _floats(code, node.numbers("support_vectors")) if counts else "nullptr",
            _floats(code, coefficients),
            begins,
            _floats(code, rho),
        ]
        names += [_floats(code, node.numbers(key)) if counts and node.numbers(key) else "nullptr" for key in ("prob_a", "prob_b")]
        svm = code.fresh("svm")
        code.line(f"const nn::SupportVectors {svm}{{{', '.join(names)}, {n}}};")
        values = code.scratch("double", max(1, sum(counts)), 8)
        work = code.scratch("double", n * (2 * n + 1) + n, 8)
        scores = code.scratch("double", max(self._n_scores(node), 2), 8)
        flags = ", ".join("true" if flag else "false" for flag in (len(rho) == 1, min(coefficients) >= 0))
        code.line(
            f"nn::svm_classes({svm}, {self.input_text(node, code)}, {_post(node)}, {flags}, {self.label_text(node, code)}, "
            f"{self.columns(node)}, {values}, {work}, {scores}, {self.results(node, code)});"
        )


# Trees.


def _tree_types(node: Node, data: Value) -> tuple[Any, str]:
    """What thresholds and sums are: double for doubles on either side, else float."""
    tensors = (value for key, value in node.attributes.items() if key.endswith("_as_tensor") and isinstance(value, np.ndarray))
    if data.dtype is DType.FLOAT64 or any(array.dtype == np.float64 for array in tensors):
        return np.float64, "double"
    return np.float32, "float"


def _base(node: Node, n: int) -> list[float]:
    tensor = node.array("base_values_as_tensor")
    base: list[float] = node.numbers("base_values") or ([] if tensor is None else tensor.reshape(-1).tolist())
    if len(base) == 1 and n == 2:
        base = [base[0], 0.0]
    if base and len(base) != n:
        raise InputError(f"{node.where} has {len(base)} base values for {n} scores", code="network.attribute")
    return base


def _check_features(node: Node, facts: Facts, trees: TreeTables) -> None:
    _, width = _rows_of_any(node)
    facts.nonnegative(width - trees.n_features, f"{node.where} looks at {trees.n_features} features")


def _rows_of_any(node: Node) -> tuple[Size, Size]:
    """As `_rows`, for small floats too."""
    data = node.input(0)
    return (product(data.shape[:-1]), data.shape[-1]) if data.rank in (1, 2) and data.dtype.is_float else _rows(node, data)


@operator("TreeEnsembleClassifier", since=(1, 3), domain=_DOMAIN)
class TreeEnsembleClassifier(_Classifier):
    """Classes by votes of trees.

    Votes for one class of two are a score that stands for both: a share if no weight is negative and nothing is done to scores,
    else a number whose sign decides.
    """

    integers = "classlabels_int64s"

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        n = self.columns(node)
        trees = read_ensemble(node, "class")
        trees.check(node.where, n)
        _check_features(node, facts, trees)
        _post(node), _base(node, n)
        if n == 1 and self.labels(node)[1] is DType.STRING:
            raise InputError(f"{node.where} has one label alone, which is a text", code="network.attribute")
        return self.types(node)

    def _decision(self, node: Node, trees: TreeTables) -> tuple[str, int]:
        n, targets = self.columns(node), trees.targets()
        if n == 1:
            return "alone", 0
        if n != 2 or len(targets) != 1:
            return "largest", 0
        positive = all(weight >= 0 for leaf in trees.leaves for _, weight in leaf)
        plain = node.text("post_transform", "NONE") in ("NONE", "PROBIT")
        return "share" if positive and plain else "sign", next(iter(targets))

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        trees = read_ensemble(node, "class")
        dtype, cpp = _tree_types(node, node.input(0))
        n = self.columns(node)
        base = _base(node, n)
        decision, column = self._decision(node, trees)
        labels = _constants(code, *self.labels(node))
        scores = code.scratch(cpp, n, np.dtype(dtype).itemsize)
        bases = _floats(code, base, dtype) if base else "nullptr"
        code.line(
            f"nn::tree_classes<{cpp}>({trees.write(code, dtype)}, {self.input_text(node, code)}, {bases}, {_post(node)}, "
            f"nn::Decision::{decision}, {column}, {labels}, {n}, {scores}, {self.results(node, code)});"
        )


class _TreeRegressor(Operator):
    """Numbers by leaves of trees."""

    def trees(self, node: Node) -> TreeTables:
        raise TypeError("an operator on trees reads them")

    def aggregate(self, node: Node) -> str:
        raise TypeError("an operator on trees says what becomes of their leaves")

    def n_targets(self, node: Node) -> int:
        n: int = node.integer("n_targets", REQUIRED)
        if not 0 < n < 2**31:
            raise InputError(f"{node.where} has {n} targets", code="network.attribute")
        return n

    def infer(self, node: Node, facts: Facts) -> Sequence[ValueType]:
        rows, _ = _rows_of_any(node)
        trees, n = self.trees(node), self.n_targets(node)
        trees.check(node.where, n)
        _check_features(node, facts, trees)
        if not trees.roots and self.aggregate(node) == "average":
            raise InputError(f"{node.where} has an average of no trees", code="network.trees")
        _base(node, n), self.post(node)
        return [TensorType(self.result(node), (rows, n))]

    def result(self, node: Node) -> DType:
        """The element type of the output."""
        return DType.FLOAT32

    def post(self, node: Node) -> str:
        return _post(node)

    def write(self, node: Node, code: Writer) -> None:
        code.include(_HEADER)
        data, n = node.input(0), self.n_targets(node)
        dtype, cpp = _tree_types(node, data)
        rows, width = map(code.size, _rows_of_any(node))
        base = _base(node, n)
        scores = code.scratch(cpp, n, np.dtype(dtype).itemsize)
        bases = _floats(code, base, dtype) if base else "nullptr"
        code.line(
            f"nn::tree_regression<{cpp}>({self.trees(node).write(code, dtype)}, {code.ref(data)}, {rows}, {width}, "
            f"nn::Aggregate::{self.aggregate(node)}, {bases}, {self.post(node)}, {n}, {scores}, {code.ref(node.output)});"
        )


@operator("TreeEnsembleRegressor", since=(1, 3), domain=_DOMAIN)
class TreeEnsembleRegressor(_TreeRegressor):
    """Leaves summed up, averaged, or the extreme of them."""

    def trees(self, node: Node) -> TreeTables:
        return read_ensemble(node, "target")

    def aggregate(self, node: Node) -> str:
        name = node.text("aggregate_function", "SUM")
        if name not in ("AVERAGE", "SUM", "MIN", "MAX"):
            raise InputError(f"{node.where} has the unknown aggregate_function {name!r}", code="network.attribute")
        return str(name).lower()


@operator("TreeEnsemble", since=(5,), domain=_DOMAIN)
class TreeEnsemble(_TreeRegressor):
    """As TreeEnsembleRegressor, with leaves in tables of their own and sets of members to compare with."""

    def trees(self, node: Node) -> TreeTables:
        return read_flat_ensemble(node)

    def result(self, node: Node) -> DType:
        return node.input(0).dtype

    def aggregate(self, node: Node) -> str:
        return self._named(node, "aggregate_function", 1, ("average", "sum", "min", "max"))

    def post(self, node: Node) -> str:
        return f"nn::Post::{self._named(node, 'post_transform', 0, tuple(_POSTS.values()))}"

    @staticmethod
    def _named(node: Node, key: str, default: int, names: Sequence[str]) -> str:
        number = node.integer(key, default)
        if not 0 <= number < len(names):
            raise InputError(f"{node.where} has {key}={number}", code="network.attribute")
        return str(names[number])


# Maps.


class Maps(Operator):
    """Maps are no values here."""

    refusal = "maps are not supported"
    hint = "Encode the categories before the network is called."

    def infer(self, node: Node, facts: Facts) -> NoReturn:
        raise UnsupportedOperatorError(f"{_DOMAIN}::{self.name}", node.version, node.name, self.refusal, hint=self.hint)

    def write(self, node: Node, code: Writer) -> NoReturn:
        raise TypeError("maps are refused before code is written")


@operator("ZipMap", since=(1,), domain=_DOMAIN)
class ZipMap(Maps):
    """Scores by the names of classes."""

    hint = "Export without it: convert_sklearn(..., options={'zipmap': False}); its input has the scores as a tensor."


@operator("DictVectorizer", since=(1,), domain=_DOMAIN)
@operator("CastMap", since=(1,), domain=_DOMAIN)
class OtherMaps(Maps):
    """A map as a tensor."""
