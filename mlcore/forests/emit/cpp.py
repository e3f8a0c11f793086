"""The C++ emitter: a standalone C++17 header, an example, a self-test, a CMake project and a README.

The header carries what the kernels run: the plan of the forest as data (`mlcore.forests.emit.plan`) and the text of the engines
that run it (`kernels.sources`), for AVX-512, for AVX2 and for every other CPU; the compiler's macros choose. What is
generated beside them are a few constants; the code around stands in ``templates/``. Text from a model reaches the
code in escaped string literals (`literal`) or stripped to harmless characters (`plain`), nothing else.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

import kernels
from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests.emit.engines import engines, sections
from mlcore.forests.emit.literals import literal, plain
from mlcore.forests.emit.nested import real_of
from mlcore.forests.emit.plan import header_plan
from mlcore.forests.ir import Link, TreeModel

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
_LIBRARIES = {"xgboost": "XGBoost", "lightgbm": "LightGBM", "catboost": "CatBoost", "tmva": "TMVA", "onnx": "ONNX"}
_MAX_FEATURES = (1 << 16) - 1

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
        It has too many features.
    """
    if model.n_features > _MAX_FEATURES:
        message = f"the forest has {model.n_features} features; C++ is written for at most {_MAX_FEATURES}"
        raise UnsupportedFeatureError(message, hint="Train on the features that matter.")


def header(model: TreeModel, options: CppOptions) -> str:
    """The standalone header of a verified model."""
    plan = header_plan(kernels.build_forest(model.tables()).plan())
    code = engines(model, plan)
    n_section_bytes, data = sections(plan)
    source = model.source
    provenance = [
        f"Source: {source_name(model)}, {source.booster}, objective {source.objective}, {source.format}",
        f"{len(model.trees)} trees, {model.n_nodes} nodes, depth {model.depth}",
    ]
    names = model.feature_names or tuple(f"f{i}" for i in range(model.n_features))
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
        "real": real_of(model.sum_dtype),
        "threshold_real": real_of(model.threshold_dtype),
        "feature_names": ",\n".join(f"    {literal(name)}" for name in names),
        "includes": "\n".join(f"#include <{name}>" for name in sorted({*code.includes, "limits", "type_traits"})),
        "engines": code.common,
        "engines_avx512": code.avx512,
        "engines_avx2": code.avx2,
        "engines_portable": code.portable,
        "engines_last": code.last,
        "plan_header": plan.header,
        "n_section_bytes": n_section_bytes,
        "sections": data,
        "functions": code.functions,
        "one_row": code.row,
        "run": code.run,
        "prediction": _MEANINGS[model.link],
        "single": single,
    }
    digest = hashlib.sha256()
    for key in sorted(values):
        digest.update(f"{key}\0{values[key]}\0".encode())
    return _fill("header.hpp", fingerprint=f"forest_{digest.hexdigest()[:16]}", **values)


def source_name(model: TreeModel) -> str:
    """The library that a model comes from, and its version where the file tells."""
    source = model.source
    return f"{_LIBRARIES.get(source.library, source.library)} {source.version}".strip()


def project(model: TreeModel, options: CppOptions, references: References) -> dict[str, bytes]:
    """All files of the C++ project by name; equal models and options give equal bytes."""
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
            source=plain(source_name(model)),
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
