"""Files by skops: the same trees as of the estimator in memory, and InputError for anything damaged or hostile."""

from __future__ import annotations

import copy
import io
import json
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from mlcore import filetypes
from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests import load
from mlcore.forests.frontends import sklearn_objects, skops
from mlcore.forests.ir import TreeModel, Trees
from mlcore.forests.libraries import oracle
from mlcore.forests.probes import probes
from mlcore.forests.verifier import verify
from tests.mlcore.forests.sklearn_cases import CASES, Array, events, fitted, library_prediction, trying

skops_io = pytest.importorskip("skops.io", reason="skops writes the files that are read here")

Schema = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with threadpool_limits(1, user_api="openmp"):
        yield


def read(data: bytes) -> TreeModel:
    return verify(skops.read(data, iterations="auto"))


def assert_same(found: TreeModel, wanted: TreeModel) -> None:
    """Equal in every field but the format."""
    for field in fields(TreeModel):
        a, b = getattr(found, field.name), getattr(wanted, field.name)
        if field.name == "trees":
            for part in fields(Trees):
                np.testing.assert_array_equal(getattr(a, part.name), getattr(b, part.name))
        elif field.name == "source":
            assert (a.library, a.version, a.objective, a.booster) == (b.library, b.version, b.objective, b.booster)
            assert (a.format, b.format) == ("skops", "scikit-learn")
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", CASES)
def test_reads_the_trees_of_the_estimator(case: str) -> None:
    estimator = fitted(case)
    wanted = sklearn_objects.convert(estimator, iterations="auto")
    assert_same(read(skops_io.dumps(estimator)), wanted)
    assert_same(read(skops_io.dumps(estimator, compression=zipfile.ZIP_DEFLATED, compresslevel=9)), wanted)


@pytest.mark.parametrize("n_trees", [1, 300])
def test_loads_files_whatever_their_name(n_trees: int, tmp_path: Path) -> None:
    from sklearn.ensemble import GradientBoostingRegressor

    x, target = events(200, missing=False)
    estimator = GradientBoostingRegressor(n_estimators=n_trees, max_depth=2).fit(x, target)
    path = tmp_path / "model.zip"
    skops_io.dump(estimator, path)
    assert filetypes.detect(path).kind == "skops"
    forest = load(path)
    assert forest.info.format == "skops"
    np.testing.assert_array_equal(forest.predict(x), estimator.predict(x))


def test_neither_skops_nor_scikit_learn_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops_io.dump(fitted("histograms, classes, categories [1, 3], missing True"), path)
    code = """
        import sys
        from pathlib import Path
        from mlcore.forests import load
        load(Path(sys.argv[1]))
        loaded = {name.partition(".")[0] for name in sys.modules}
        sys.exit(bool(loaded & {"sklearn", "skops", "scipy", "joblib", "pickle5"}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_library_answers_for_the_file(case: str, tmp_path: Path) -> None:
    """The oracle is the estimator on rows that it takes, and agrees with the forest on all others too."""
    path = tmp_path / "model.skops"
    estimator = fitted(case)
    skops_io.dump(estimator, path)
    forest = load(path)
    source = oracle(path, forest.model)
    assert source.library.startswith("scikit-learn")
    rows = trying(estimator, forest.model, "float64", n_rows=300)
    np.testing.assert_array_equal(source.predict(rows), library_prediction(estimator, rows))
    for dtype in ("float32", "float64"):
        rows = probes(forest.model, dtype=dtype, n_rows=500)
        wanted = source.margin(rows)
        np.testing.assert_array_equal(forest.margin(rows).reshape(wanted.shape), wanted)
        prediction = source.predict(rows)
        # exp of NumPy and SciPy differ by some units in the last place, and 1 - p by one of 1.
        np.testing.assert_allclose(forest.predict(rows).reshape(prediction.shape), prediction, rtol=1e-14, atol=3e-16)


# Damaged and hostile files


@pytest.fixture(scope="module")
def forest_file() -> bytes:
    return bytes(skops_io.dumps(fitted("random forest, classes")))


@pytest.fixture(scope="module")
def histogram_file() -> bytes:
    return bytes(skops_io.dumps(fitted("histograms, binary, categories [1, 3], missing True")))


@pytest.fixture(scope="module")
def boosting_file() -> bytes:
    return bytes(skops_io.dumps(fitted("gradient boosting {}, binary")))


def rewritten(data: bytes, change: Callable[[Schema, dict[str, bytes]], object], method: int = zipfile.ZIP_STORED) -> bytes:
    """The archive with its schema and members changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members.pop("schema.json"))
    change(schema, members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("schema.json", json.dumps(schema))
    return out.getvalue()


def attributes(node: Schema) -> Schema:
    found: Schema = node["content"]["content"]
    return found


def first_tree(schema: Schema) -> Schema:
    members = attributes(schema)["estimators_"]["content"]
    member = members[0]["content"][0] if members[0]["__loader__"] == "ListNode" else members[0]
    found: Schema = attributes(member)["tree_"]
    return found


def predictor(schema: Schema) -> Schema:
    found: Schema = attributes(schema)["_predictors"]["content"][0]["content"][0]
    return found


def array_bytes(array: Array) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def edited(find: Callable[[Schema], Schema], key: str, edit: Callable[[Array], Array | None]) -> Callable[..., None]:
    """Change an array of the node that `find` finds."""

    def change(schema: Schema, members: dict[str, bytes]) -> None:
        name = attributes(find(schema))[key]["file"]
        array = np.load(io.BytesIO(members[name]))
        members[name] = array_bytes(edited if (edited := edit(array)) is not None else array)

    return change


def entry(field: str, index: int, value: float) -> Callable[[Array], None]:
    return lambda nodes: nodes[field].__setitem__(index, value)


def scalar(key: str, value: object, find: Callable[[Schema], Schema] = lambda schema: schema) -> Callable[..., None]:
    node = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": json.dumps(value), "is_json": True}
    return lambda schema, members: attributes(find(schema)).__setitem__(key, node)


def nested(depth: int) -> Callable[..., None]:
    def change(schema: Schema, members: dict[str, bytes]) -> None:
        node: Any = {"__loader__": "JsonNode", "content": "1"}
        for _ in range(depth):
            node = {"__loader__": "ListNode", "content": [node]}
        attributes(schema)["estimators_"] = node

    return change


def header(text: str) -> bytes:
    """The beginning of an `.npy` file with this header."""
    padded = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


def member(find: Callable[[Schema], Schema], key: str, content: bytes) -> Callable[..., None]:
    return lambda schema, members: members.__setitem__(attributes(find(schema))[key]["file"], content)


def repeated(schema: Schema, members: dict[str, bytes]) -> None:
    trees = attributes(schema)["estimators_"]["content"]
    trees.extend(trees[:1] * 1000)


def drop(field: str) -> Callable[[Array], Array]:
    def without(nodes: Array) -> Array:
        kept = [name for name in nodes.dtype.names or () if name != field]
        out = np.empty(len(nodes), [(name, nodes.dtype[name]) for name in kept])
        for name in kept:
            out[name] = nodes[name]
        return out

    return without


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exit, (3,))


BAD_FORESTS: dict[str, tuple[Callable[..., Any], str]] = {
    "protocol missing": (lambda s, m: s.pop("protocol"), "protocol of the skops file is 'None'"),
    "protocol of the future": (lambda s, m: s.__setitem__("protocol", 99), "protocol of the skops file is '99'"),
    "another estimator": (lambda s, m: s.__setitem__("__class__", "SVC"), "SVC is no estimator of trees"),
    "not an estimator": (lambda s, m: s.update(__class__="system", __module__="os"), "os.system is no estimator"),
    "not an object": (lambda s, m: s.__setitem__("__loader__", "FunctionNode"), "describes no estimator"),
    "attributes missing": (lambda s, m: s.__setitem__("content", 3), "has no"),
    "attributes no object": (lambda s, m: s["content"].__setitem__("content", []), "has no attributes"),
    "no features": (scalar("n_features_in_", 0), "has 0 features"),
    "features a text": (scalar("n_features_in_", "many"), "n_features_in_ should be a whole number"),
    "features a list": (scalar("n_features_in_", [1]), "n_features_in_ should be a plain value"),
    "too many outputs": (scalar("n_outputs_", 10**9), "has 1000000000 outputs"),
    "no trees": (lambda s, m: attributes(s)["estimators_"].__setitem__("content", []), "has no trees"),
    "trees no list": (lambda s, m: attributes(s)["estimators_"].__setitem__("content", 1), "estimators_ should be a list"),
    "a tree that is none": (lambda s, m: attributes(s)["estimators_"]["content"].append(3), r"estimators_\[12\] should be"),
    "a number for a tree": (
        lambda s, m: attributes(s)["estimators_"]["content"].append({"__loader__": "JsonNode", "content": "3"}),
        r"estimators_\[12\] should be an object",
    ),
    "an unknown node": (lambda s, m: attributes(s)["estimators_"].__setitem__("__loader__", "EvalNode"), "'EvalNode', which"),
    "the tree of another class": (lambda s, m: first_tree(s).__setitem__("__class__", "Bush"), "is a Bush, not a tree"),
    "nested deeply": (nested(200_000 // 1000), "estimators_.* should be an object"),
    "array outside": (
        lambda s, m: attributes(first_tree(s))["nodes"].__setitem__("file", "../../etc/passwd"),
        "nodes is an array that is not in the archive",
    ),
    "array of objects": (
        lambda s, m: m.__setitem__(attributes(s)["classes_"]["file"], array_bytes(np.array([Payload()], object))),
        "classes_ is no array of numbers or texts",
    ),
    "array no array": (member(first_tree, "nodes", b"PK" * 20), "nodes is no NumPy array"),
    "array without end": (
        member(first_tree, "nodes", header("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,)}")),
        "announces 99999999999999 values",
    ),
    "array of negative length": (
        member(first_tree, "nodes", header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}") + bytes(8)),
        "damaged shape",
    ),
    "array of too much of nothing": (
        member(first_tree, "nodes", header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': (0, {10**30})}}")),
        "damaged shape",
    ),
    "array of no length": (
        member(first_tree, "nodes", header("{'descr': '<f8', 'fortran_order': False, 'shape': (0,)}")),
        "should be an array of 1",
    ),
    "array of nothing": (
        member(first_tree, "nodes", header("{'descr': '|V0', 'fortran_order': False, 'shape': (99999999999999,)}")),
        "no array of numbers",
    ),
    "header that computes": (
        member(first_tree, "nodes", header("{'descr': __import__('os'), 'fortran_order': False, 'shape': ()}")),
        "is no NumPy array",
    ),
    "header nested deeply": (member(first_tree, "nodes", header("(" * 5000)), "is no NumPy array|nested too deeply"),
    "nodes no structure": (edited(first_tree, "nodes", lambda nodes: nodes["threshold"].copy()), "should be an array of 1"),
    "nodes without children": (edited(first_tree, "nodes", drop("left_child")), "nodes without 'left_child'"),
    "nodes of old": (edited(first_tree, "nodes", drop("missing_go_to_left")), "older than 1.3"),
    "fewer nodes than values": (edited(first_tree, "nodes", lambda nodes: nodes[:-1]), "nodes and .* values"),
    "values of another shape": (edited(first_tree, "values", lambda v: v[:, :, :2].copy()), r"values of the shape \(1, 2\)"),
    "values single": (edited(first_tree, "values", lambda values: values.astype(np.float32)), "values should be double"),
    "values not finite": (edited(first_tree, "values", lambda values: values * np.nan), "the leaf's value is not finite"),
    "root in a cycle": (edited(first_tree, "nodes", entry("left_child", 1, 0)), "tree 0, node 0: .* cycle"),
    "child beyond": (edited(first_tree, "nodes", entry("left_child", 0, 2**40)), "tree 0, node 0: its child is out of range"),
    "child before": (edited(first_tree, "nodes", entry("right_child", 0, -7)), "tree 0, node 0: its child is out of range"),
    "half a leaf": (edited(first_tree, "nodes", entry("right_child", 0, -1)), "node 0: it has one child"),
    "feature beyond": (edited(first_tree, "nodes", entry("feature", 0, 2**40)), "tree 0, node 0: its feature is out of range"),
    "feature before": (edited(first_tree, "nodes", entry("feature", 0, -2)), "tree 0, node 0: its feature is out of range"),
    "threshold no number": (edited(first_tree, "nodes", entry("threshold", 0, np.nan)), "node 0: its threshold is not a number"),
    "the same tree again and again": (repeated, "again and again"),
    "names of other number": (
        lambda s, m: attributes(s).__setitem__(
            "feature_names_in_",
            {"__loader__": "NdArrayNode", "type": "json", "content": [{"__loader__": "JsonNode", "content": '"pt"'}]},
        ),
        "5 features and 1 names",
    ),
}


@pytest.mark.parametrize("case", BAD_FORESTS)
def test_bad_forests(case: str, forest_file: bytes) -> None:
    change, message = BAD_FORESTS[case]
    with pytest.raises(InputError, match=message) as caught:
        read(rewritten(forest_file, change, zipfile.ZIP_DEFLATED))
    assert caught.value.hint


BAD_HISTOGRAMS: dict[str, tuple[Callable[..., Any], str]] = {
    "child beyond": (edited(predictor, "nodes", entry("left", 0, 2**31)), "tree 0, node 0: its child is out of range"),
    "feature beyond": (edited(predictor, "nodes", entry("feature_idx", 0, 77)), "feature is out of range|set of categories"),
    "set beyond": (
        edited(predictor, "nodes", lambda n: n["bitset_idx"].__setitem__(n["is_categorical"] != 0, 9999)),
        "set of cat",
    ),
    "sets of another width": (
        edited(predictor, "raw_left_cat_bitsets", lambda sets: sets[:, :7].copy()),
        "8 words of 32 bits",
    ),
    "of another class": (lambda s, m: predictor(s).__setitem__("__class__", "Bush"), "is a Bush, not a tree"),
    "no encoder": (scalar("_preprocessor", 1), "_preprocessor should be an object"),
    "of old": (scalar("_preprocessor", None), "older than 1.4"),
    "base of other number": (
        edited(lambda s: s, "_baseline_prediction", lambda b: np.zeros((1, 3))),
        "_baseline_prediction is not",
    ),
    "base not finite": (edited(lambda s: s, "_baseline_prediction", lambda base: base * np.inf), "base score"),
    "outputs of other number": (scalar("n_trees_per_iteration_", 4), "2 classes and 4 trees"),
    "loss unknown": (scalar("loss", '*/ system("x"); /*'), "the loss .* is not known"),
    "categorical flags": (edited(lambda s: s, "is_categorical_", lambda flags: flags[:2]), "one truth value for each of 5"),
}


@pytest.mark.parametrize("case", BAD_HISTOGRAMS)
def test_bad_histograms(case: str, histogram_file: bytes) -> None:
    change, message = BAD_HISTOGRAMS[case]
    with pytest.raises(InputError, match=message) as caught:
        read(rewritten(histogram_file, change))
    assert caught.value.hint


BAD_BOOSTING: dict[str, tuple[Callable[..., Any], str]] = {
    "rate no number": (scalar("learning_rate", None), "learning_rate should be a number"),
    "rate infinite": (scalar("learning_rate", 1e999), "the leaf's value is not finite"),
    "init a text": (scalar("init_", "one"), "init_ should be an object"),
    "init otherwise": (scalar("strategy", "uniform", lambda s: attributes(s)["init_"]), "strategy 'uniform'"),
    "prior of other number": (
        edited(lambda s: attributes(s)["init_"], "class_prior_", lambda prior: prior[:1]),
        "1 numbers for 2 classes",
    ),
    "prior no number": (edited(lambda s: attributes(s)["init_"], "class_prior_", lambda prior: prior * np.nan), "base score"),
    "loss unknown": (scalar("loss", "hinge"), "the loss 'hinge'"),
    "values of classes": (edited(first_tree, "values", lambda values: np.repeat(values, 2, axis=2)), "should hold one number"),
}


@pytest.mark.parametrize("case", BAD_BOOSTING)
def test_bad_boosting(case: str, boosting_file: bytes) -> None:
    change, message = BAD_BOOSTING[case]
    with pytest.raises(InputError, match=message) as caught:
        read(rewritten(boosting_file, change))
    assert caught.value.hint


def archive_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def encrypted(data: bytes) -> bytes:
    """The archive with each member marked as encrypted."""
    out = bytearray(data)
    at = out.find(b"PK\x01\x02")
    while at >= 0:
        out[at + 8] |= 1
        at = out.find(b"PK\x01\x02", at + 4)
    return bytes(out)


BAD_ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "no archive": (lambda: b"PK\x03\x04" + bytes(100), "cannot be opened"),
    "arrays alone": (lambda: archive_of({"a.npy": array_bytes(np.zeros(3))}), "holds no schema.json"),
    "schema no JSON": (lambda: archive_of({"schema.json": b"{"}), "schema.json is no JSON"),
    "schema no text": (lambda: archive_of({"schema.json": b"\xff\xfe\x00"}), "schema.json is no JSON"),
    "schema a list": (lambda: archive_of({"schema.json": b"[1]"}), "schema.json should be an object"),
    "schema nested deeply": (lambda: archive_of({"schema.json": b"[" * 10**6}), "nested too deeply"),
    "schema a huge number": (lambda: archive_of({"schema.json": b"9" * 10**5}), "schema.json is no JSON"),
    "bomb": (lambda: archive_of({"schema.json": b"[" + b" " * 2**25}, zipfile.ZIP_DEFLATED), "claims to unpack to"),
    "another compression": (lambda: archive_of({"schema.json": b"{}"}, zipfile.ZIP_BZIP2), "compressed in an unknown way"),
    "encrypted": (lambda: encrypted(archive_of({"schema.json": b"{}"})), "is encrypted"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_bad_archives(case: str) -> None:
    make, message = BAD_ARCHIVES[case]
    with pytest.raises(InputError, match=message) as caught:
        read(make())
    assert caught.value.hint


def test_what_skops_holds_that_is_no_forest() -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, target = events(100, missing=False)
    pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(x, target)
    with pytest.raises(UnsupportedFeatureError, match="Pipeline") as caught:
        read(skops_io.dumps(pipeline))
    assert "final step" in caught.value.hint
    with pytest.raises(InputError, match="describes no estimator"):
        read(skops_io.dumps([1, 2]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_altered_files_never_crash(data: st.DataObject, forest_file: bytes, histogram_file: bytes) -> None:
    """Bytes changed anywhere, or the end missing: a model or an InputError, nothing else."""
    altered = bytearray(data.draw(st.sampled_from([forest_file, histogram_file])))
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(altered))))
    with suppress(InputError):
        read(bytes(altered[:cut]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_altered_schemas_never_crash(data: st.DataObject, histogram_file: bytes, boosting_file: bytes) -> None:
    """A node anywhere in the schema replaced by another or by something else: a model or an InputError, nothing else."""

    def change(schema: Schema, members: dict[str, bytes]) -> None:
        nodes: list[tuple[Any, Any]] = []
        pending: list[Any] = [schema]
        while pending:
            value = pending.pop()
            keys = value.keys() if isinstance(value, dict) else range(len(value))
            for key in keys:
                nodes.append((value, key))
                if isinstance(value[key], dict | list):
                    pending.append(value[key])
        for _ in range(data.draw(st.integers(1, 3))):
            holder, key = nodes[data.draw(st.integers(0, len(nodes) - 1))]
            other, other_key = nodes[data.draw(st.integers(0, len(nodes) - 1))]
            odd = st.sampled_from([None, True, -1, 10**30, "", "NaN", "1e999", [], {}, [[]], copy.deepcopy(other[other_key])])
            holder[key] = data.draw(odd)

    with suppress(InputError):
        read(rewritten(data.draw(st.sampled_from([histogram_file, boosting_file])), change))


@pytest.mark.parametrize("header", ["-" * 4000 + "1", "-" * 9000 + "1", "1" + "+1" * 4000, "(" * 4000])
def test_headers_of_arrays_that_nest_too_deep_are_refused(header: str) -> None:
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with pytest.raises(InputError, match="is no NumPy array"):
        skops.parse_npy(data, "the array")
