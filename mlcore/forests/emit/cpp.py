"""The C++ emitter: a standalone C++17 header, an example, a self-test, a CMake project and a README.

The header holds all trees in one table. A node is a threshold, the number of its left child, which the right one follows,
and a word of feature and flags; a leaf keeps its value in the threshold's place and itself as its child, so that
eight walks, over rows or over trees, go on in step without a branch and hide each other's waiting for memory::

    inline constexpr Node nodes[] = {
    {0.25f,1u,0x2000003u},   // x[3] < 0.25 goes to node 1, else to node 2; NaN goes left
    {-1.5f,1u,0x1000000u},   // a leaf
    ...

Only tables, a few constants and the link are generated; the code around them is the same for every forest and stands in
``templates/``. Text from a model reaches the code in escaped string literals (`literal`) or stripped to harmless characters
(`plain`), nothing else.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels import Comparison, Missing
from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests.ir import Link, Tree, TreeModel, bits

LEAF = 1 << 24
DEFAULT_LEFT = 1 << 25
ZERO_IS_MISSING = 1 << 26
LESS_EQUAL = 1 << 27
CATEGORICAL = 1 << 28
LISTED_LEFT = 1 << 29

_WORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t char8_t class co_await
co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete do double
dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable namespace new noexcept
not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires return short signed sizeof
static static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename union
unsigned using virtual void volatile wchar_t while xor xor_eq
std main detail selftest selftest_data linux unix
"""
_RESERVED = frozenset(_WORDS.split())
_LIBRARIES = {"xgboost": "XGBoost", "lightgbm": "LightGBM"}
_MAX_FEATURES = (1 << 16) - 1
_MAX_SETS = 1 << 24  # a set's number must be exact in a float

_LINKS = {
    Link.IDENTITY: "  for (std::size_t i = 0; i < n_outputs; ++i) out[i] = term(sums, i);",
    Link.SIGMOID: """\
  for (std::size_t i = 0; i < n_outputs; ++i) out[i] = real(1) / (real(1) + std::exp(${scale} * term(sums, i)));""",
    Link.EXP: "  for (std::size_t i = 0; i < n_outputs; ++i) out[i] = std::exp(term(sums, i));",
    Link.SOFTMAX: """\
  real largest = term(sums, 0);
  for (std::size_t i = 1; i < n_outputs; ++i) largest = term(sums, i) > largest ? term(sums, i) : largest;
  double total = 0;
  for (std::size_t i = 0; i < n_outputs; ++i) {
    out[i] = std::exp(term(sums, i) - largest);
    total += static_cast<double>(out[i]);
  }
  for (std::size_t i = 0; i < n_outputs; ++i) out[i] /= static_cast<real>(total);""",
    Link.ARGMAX: """\
  std::size_t best = 0;
  for (std::size_t i = 1; i < n_outputs; ++i) best = term(sums, i) > term(sums, best) ? i : best;
  out[0] = static_cast<real>(best);""",
    Link.STEP: "  for (std::size_t i = 0; i < n_outputs; ++i) out[i] = term(sums, i) > real(0) ? real(1) : real(0);",
    Link.LOG1P_EXP: "  for (std::size_t i = 0; i < n_outputs; ++i) out[i] = std::log1p(std::exp(term(sums, i)));",
    Link.SIGNED_SQUARE: "  for (std::size_t i = 0; i < n_outputs; ++i) out[i] = term(sums, i) * std::fabs(term(sums, i));",
    Link.SIGMOID_PAIR: """\
  const real p = real(1) / (real(1) + std::exp(${scale} * term(sums, 0)));
  out[0] = real(1) - p;
  out[1] = p;""",
    Link.TANH_HALF: """\
  for (std::size_t i = 0; i < n_outputs; ++i) out[i] = real(2) / (real(1) + std::exp(real(-2) * term(sums, i))) - real(1);""",
    Link.COMPLEMENT_PAIR: """\
  out[0] = real(1) - term(sums, 0);
  out[1] = term(sums, 0);""",
    Link.EXP2: "  for (std::size_t i = 0; i < n_outputs; ++i) out[i] = std::exp2(${scale} * term(sums, i));",
}
_MEANINGS = {
    Link.IDENTITY: "",
    Link.SIGMOID: ": the sigmoid of its sum",
    Link.EXP: ": the exponential of its sum",
    Link.SOFTMAX: ": the softmax of its sums",
    Link.ARGMAX: ": the number of the class with the largest sum",
    Link.STEP: ": 1 where the sum is positive, else 0",
    Link.LOG1P_EXP: ": log(1 + exp(sum))",
    Link.SIGNED_SQUARE: ": the square of its sum, with the sum's sign",
    Link.SIGMOID_PAIR: ": 1 - p and p, the sigmoid of its sum",
    Link.TANH_HALF: ": 2 / (1 + exp(-2 sum)) - 1",
    Link.COMPLEMENT_PAIR: ": 1 - p and p, where p is its sum",
    Link.EXP2: ": two to the power of its scaled, negative sum",
}


@dataclass(frozen=True)
class CppOptions:
    """How the C++ is to look.

    Attributes
    ----------
    name
        Name of the header and of the project: a C++ identifier.
    namespace
        Namespace of the code, nested ones joined by ``::``; by default the name.
    """

    name: str = "forest"
    namespace: str = ""

    def __post_init__(self) -> None:
        for what, identifier in [("name", self.name), *(("namespace", part) for part in self.scope.split("::"))]:
            _check_identifier(what, identifier)

    @property
    def scope(self) -> str:
        """The namespace that the code stands in."""
        return self.namespace or self.name


@dataclass(frozen=True, eq=False)
class References:
    """What the source library computed for some rows, for the self-test.

    Attributes
    ----------
    rows
        Of the model's threshold dtype, shape (n_rows, n_features).
    margins, predictions
        Of the model's sum dtype, shapes (n_rows, n_outputs) and (n_rows, n_predictions).
    margin_tolerance, prediction_tolerance
        0 for bit for bit, else relative to ``1 + abs(x)``.
    library
        Name and version of the library.
    """

    rows: npt.NDArray[Any]
    margins: npt.NDArray[Any]
    predictions: npt.NDArray[Any]
    margin_tolerance: float
    prediction_tolerance: float
    library: str


def check_size(model: TreeModel) -> None:
    """Refuse a forest that a header cannot hold.

    Raises
    ------
    UnsupportedFeatureError
        It has too many features, or leaves that are vectors.
    """
    if model.trees.vector_leaves:
        hint = "Train one output a tree; for XGBoost with multi_strategy='one_output_per_tree'."
        raise UnsupportedFeatureError("C++ is not written for trees whose leaves are vectors", hint=hint)
    if model.n_features > _MAX_FEATURES:
        message = f"the forest has {model.n_features} features; C++ is written for at most {_MAX_FEATURES}"
        raise UnsupportedFeatureError(message, hint="Train on the features that matter.")


def header(model: TreeModel, options: CppOptions) -> str:
    """The standalone header of a verified model."""
    nodes = _Nodes(model)
    source = model.source
    library = _LIBRARIES.get(source.library, source.library)
    provenance = [
        f"Source: {library} {source.version}, {source.booster}, objective {source.objective}, {source.format}",
        f"{len(model.trees)} trees, {model.n_nodes} nodes, depth {model.depth}",
    ]
    names = model.feature_names or tuple(f"f{i}" for i in range(model.n_features))
    real = _real(model.sum_dtype)
    single = "" if model.n_predictions > 1 else _SINGLE_PREDICTION
    if model.n_outputs == 1:
        single += _SINGLE_MARGIN
    values = {
        "name": options.name,
        "namespace": options.scope,
        "provenance": "\n".join(f"// {plain(line)}" for line in provenance),
        "n_features": model.n_features,
        "n_outputs": model.n_outputs,
        "n_predictions": model.n_predictions,
        "n_trees": len(model.trees),
        "real": real,
        "threshold_real": _real(model.threshold_dtype),
        "value_real": "double" if "float64" in (model.sum_dtype, model.threshold_dtype) else "float",
        "feature_names": ",\n".join(f"    {literal(name)}" for name in names),
        "any_zero_is_missing": _bool(nodes.used & ZERO_IS_MISSING),
        "any_categorical": _bool(nodes.used & CATEGORICAL),
        "any_less": _bool(nodes.any_less),
        "any_less_equal": _bool(nodes.used & LESS_EQUAL),
        "any_default_left": _bool(nodes.used & DEFAULT_LEFT),
        "zero_threshold": number(model.zero_threshold, "double"),
        "nodes": "\n".join(nodes.lines),
        "roots": _wrapped(f"{root}u" for root in nodes.roots or [0]),
        "outputs": _wrapped(str(tree.output) for tree in model.trees) or "0",
        "output_integer": "unsigned char" if model.n_outputs <= 256 else "std::uint32_t",
        "base": ", ".join(number(value, real) for value in model.base.tolist()),
        "sets": _wrapped(f"{{{first}u, {size}u}}" for first, size in nodes.sets) or "{0u, 0u}",
        "category_words": _wrapped(f"{word:#x}u" for word in nodes.words) or "0u",
        "link": Template(_LINKS[model.link]).substitute(scale=number(-model.link_scale, real)),
        "division": "" if model.divisor == 1 else f" / {number(model.divisor, real)}",
        "block_rows": min(256, max(1, 8192 // model.n_outputs)),
        "prediction": _MEANINGS[model.link],
        "single": single,
    }
    fingerprint = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]
    return _fill("header.hpp", fingerprint=f"forest_{fingerprint}", **values)


def project(model: TreeModel, options: CppOptions, references: References) -> dict[str, bytes]:
    """All files of the C++ project by name; equal models and options give equal bytes.

    Raises
    ------
    UnsupportedFeatureError
        Too many categorical splits for the table's layout.
    """
    common = {"name": options.name, "namespace": options.scope, "library": plain(references.library)}
    shape = {"n_features": model.n_features, "n_trees": len(model.trees)}
    integer = {np.dtype(np.float32): "std::uint32_t", np.dtype(np.float64): "std::uint64_t"}
    exact = references.margin_tolerance == 0
    agreement = (
        "The margins of the self-test are compared bit for bit, the predictions within a few last bits of `exp`."
        if exact
        else "The self-test compares within the tolerances that `selftest_data.hpp` states."
    )
    single = model.threshold_dtype == "float32"
    texts = {
        f"{options.name}.hpp": header(model, options),
        "main.cpp": _fill("main.cpp", **common, **shape),
        "selftest.cpp": _fill("selftest.cpp", **common),
        "selftest_data.hpp": _fill(
            "selftest_data.hpp",
            library=common["library"],
            n_rows=len(references.rows),
            margin_tolerance=repr(references.margin_tolerance),
            prediction_tolerance=repr(references.prediction_tolerance),
            input_integer=integer[references.rows.dtype],
            output_integer=integer[references.margins.dtype],
            input_bits=_bit_patterns(references.rows),
            margin_bits=_bit_patterns(references.margins),
            prediction_bits=_bit_patterns(references.predictions),
        ),
        "CMakeLists.txt": _fill("CMakeLists.txt", name=options.name),
        "README.md": _fill(
            "README.md",
            **common,
            **shape,
            objective=plain(model.source.objective),
            conversion="; double is rounded to float first, as the library does" if single else "",
            agreement=agreement,
        ),
    }
    return {name: text.encode() for name, text in texts.items()}


def verification_program(options: CppOptions) -> str:
    """A program that runs the header on raw rows from a file, for the comparison with the source library."""
    return _fill("verify.cpp", name=options.name, namespace=options.scope)


def archive(contents: dict[str, bytes], folder: str) -> bytes:
    """A zip of some files in one folder; equal contents give equal bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as bundle:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(f"{folder}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, contents[name])
    return buffer.getvalue()


def literal(text: str) -> str:
    """Any text as a C++ string literal: all but harmless ASCII becomes octal escapes of its UTF-8 bytes."""
    harmless = re.compile(rb"[A-Za-z0-9 _.,:;<>=()\[\]{}+\-*/^|&!#@~%$']")
    raw = text.encode("utf-8", "surrogatepass")
    escaped = [chr(byte) if harmless.match(bytes([byte])) else f"\\{byte:03o}" for byte in raw]
    return f'"{"".join(escaped)}"'


def plain(text: str) -> str:
    """A text reduced to characters that mean nothing in a comment, a string or Markdown."""
    return re.sub(r"[^A-Za-z0-9 .,:+\-]", "_", text)[:200]


def number(value: float, real: str) -> str:
    """A number as a C++ literal that gives exactly that number in its precision."""
    if np.isinf(value):
        return f"{'-' if value < 0 else ''}std::numeric_limits<{real}>::infinity()"
    if abs(value) < 2.3e-308 if real == "double" else abs(value) < 1.2e-38:
        return float(value).hex() + ("f" if real == "float" else "")  # subnormal: decimals would draw warnings
    return repr(value) if real == "double" else str(np.float32(value)) + "f"


_SINGLE_PREDICTION = """
// The prediction of one row.
template <class X>
inline real predict(const X* row) {
  real out;
  predict(row, &out);
  return out;
}
"""
_SINGLE_MARGIN = """
// The sum of one row.
template <class X>
inline real margin(const X* row) {
  real out;
  margin(row, &out);
  return out;
}
"""


class _Nodes:
    """The table of all nodes, siblings side by side, as lines of C++."""

    def __init__(self, model: TreeModel) -> None:
        self.lines: list[str] = []
        self.roots: list[int] = []
        self.sets: list[tuple[int, int]] = []
        self.words: list[int] = []
        self.used = 0  # all flags that occur
        self.any_less = False
        self._real = "double" if "float64" in (model.sum_dtype, model.threshold_dtype) else "float"
        self._zero = model.zero_threshold
        for tree in model.trees:
            self._add(tree)
        if not self.lines:
            self.lines.append(f"{{{number(0.0, self._real)},0u,{LEAF:#x}u}}")

    def _add(self, tree: Tree) -> None:
        offset = len(self.lines)
        self.roots.append(offset)
        order = _breadth_first(tree)
        place = np.empty(tree.n_nodes, np.int64)
        place[order] = np.arange(tree.n_nodes)
        leaf = tree.is_leaf
        following = np.where(leaf, place, place[np.where(leaf, 0, tree.left)]) + offset
        value = np.where(leaf, tree.value, tree.threshold)
        for node, set_number in self._add_sets(tree).items():
            value[node] = set_number
        info = self._info(tree)
        self.used |= int(np.bitwise_or.reduce(info))
        self.any_less = self.any_less or bool((~leaf & (tree.comparison == Comparison.LESS)).any())
        texts = _numbers(value[order], self._real)
        self.lines += [
            f"{{{text},{after}u,{word:#x}u}},"
            for text, after, word in zip(texts, following[order].tolist(), info[order].tolist(), strict=True)
        ]

    def _add_sets(self, tree: Tree) -> dict[int, int]:
        """Store the sets of categories; the number of each by node."""
        numbers = {}
        for node in np.flatnonzero(~tree.is_leaf & (tree.comparison >= Comparison.IN_SET)).tolist():
            words = bits(tree.categories.get(node, ())).tolist()
            numbers[node] = len(self.sets)
            self.sets.append((len(self.words), len(words)))
            self.words += words
        if len(self.sets) > _MAX_SETS or len(self.words) >= 1 << 32:
            raise UnsupportedFeatureError("the forest has too many categorical splits for C++", hint="Train fewer trees.")
        return numbers

    def _info(self, tree: Tree) -> npt.NDArray[np.int64]:
        """Feature and flags of each node; NaN's way where nothing is missing is that of zero."""
        inner = ~tree.is_leaf
        in_set = inner & (tree.comparison == Comparison.IN_SET)
        less_equal = inner & (tree.comparison == Comparison.LESS_EQUAL)
        categorical = inner & (tree.comparison >= Comparison.IN_SET)
        none = inner & (tree.missing == Missing.NONE)
        zero_left = np.where(less_equal, tree.threshold >= 0, tree.threshold > 0)
        for node in np.flatnonzero(none & categorical).tolist():
            zero_left[node] = (0 in tree.categories.get(node, ())) == bool(in_set[node])
        default_left = inner & np.where(none, zero_left, tree.default_left)
        info = np.where(inner, tree.feature, LEAF).astype(np.int64)
        info |= default_left * DEFAULT_LEFT
        info |= (inner & (tree.missing == Missing.ZERO)) * ZERO_IS_MISSING
        info |= less_equal * LESS_EQUAL
        info |= categorical * CATEGORICAL
        info |= in_set * LISTED_LEFT
        return info


def _breadth_first(tree: Tree) -> npt.NDArray[np.int64]:
    """The nodes level by level, siblings side by side."""
    levels = [np.zeros(1, np.int64)]
    while True:
        inner = levels[-1][tree.feature[levels[-1]] >= 0]
        if not len(inner):
            return np.concatenate(levels)
        levels.append(np.stack([tree.left[inner], tree.right[inner]], axis=1).ravel().astype(np.int64))


def _numbers(values: npt.NDArray[Any], real: str) -> Iterator[str]:
    """As `number`, of many."""
    smallest = 2.3e-308 if real == "double" else 1.2e-38
    unusual = (np.abs(values) < smallest) | np.isinf(values)
    if real == "double":
        texts: Iterable[str] = map(repr, values.astype(np.float64).tolist())
    else:
        texts = (f"{text}f" for text in map(str, values.astype(np.float32)))
    for text, value, special in zip(texts, values.tolist(), unusual.tolist(), strict=True):
        yield number(value, real) if special else text


def _real(dtype: str) -> str:
    return "double" if dtype == "float64" else "float"


def _bool(value: object) -> str:
    return "true" if value else "false"


def _wrapped(items: Iterable[str], per_line: int = 16) -> str:
    texts = list(items)
    return ",\n".join(", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line))


def _bit_patterns(values: npt.NDArray[Any]) -> str:
    patterns = np.ascontiguousarray(values).view(np.uint32 if values.dtype == np.float32 else np.uint64)
    suffix = "u" if values.dtype == np.float32 else "ull"
    return _wrapped((f"{pattern:#x}{suffix}" for pattern in patterns.ravel().tolist()), 8)


def _check_identifier(what: str, text: str) -> None:
    valid = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", text) is not None and "__" not in text
    if not valid or text in _RESERVED:
        raise InputError(
            f"the {what} {text[:80]!r} is no C++ identifier that can be used",
            hint="Use letters, digits and single underscores, beginning with a letter; no word that C++ reserves.",
            code="forest.identifier",
        )


def _fill(template: str, **values: object) -> str:
    text = (files("mlcore.forests.emit") / "templates" / f"{template}.in").read_text(encoding="utf-8")
    return Template(text).substitute(values)
