"""Damaged and hostile model files: each ends in an InputError that names the place, never in a crash or a hang."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests import load
from mlcore.forests.frontends import frontends
from mlcore.forests.verifier import verify

Document = dict[str, Any]
Train = Callable[..., Any]


@pytest.fixture(scope="module")
def document(xgboost_booster: Train) -> Document:
    parsed: Document = json.loads(xgboost_booster(objective="binary:logistic", rounds=3).save_raw("json"))
    return parsed


@pytest.fixture(scope="module")
def lightgbm_text(lightgbm_booster: Train) -> str:
    return str(lightgbm_booster(objective="binary", rounds=3).model_to_string())


@pytest.fixture(scope="module")
def ubjson(xgboost_booster: Train) -> bytes:
    return bytes(xgboost_booster(objective="binary:logistic", rounds=3).save_raw("ubj"))


def model_of(document: Document) -> Document:
    model: Document = document["learner"]["gradient_booster"]["model"]
    return model


def change(document: Document, how: Callable[[Document], object]) -> Document:
    changed = copy.deepcopy(document)
    how(changed)
    return changed


def tree(key: str, index: int, value: object) -> Callable[[Document], object]:
    """Set one entry of an array of tree 1."""
    return lambda document: model_of(document)["trees"][1][key].__setitem__(index, value)


def learner(key: str, value: object) -> Callable[[Document], object]:
    return lambda document: document["learner"]["learner_model_param"].__setitem__(key, value)


BAD_JSON: dict[str, tuple[Callable[[Document], object], str]] = {
    "root in a cycle": (tree("left_children", 1, 0), "tree 1, node 0: .* cycle"),
    "node its own child": (tree("left_children", 1, 1), "tree 1, node 1: .* cycle"),
    "shared child": (tree("left_children", 1, 2), "tree 1, node 2: .* child of more than one"),
    "child beyond the tree": (tree("left_children", 0, 10**6), "tree 1, node 0: its child is out of range"),
    "negative child": (tree("right_children", 0, -5), "tree 1, node 0: its child is out of range"),
    "half a split": (tree("right_children", 0, -1), "tree 1, node 0: its child is out of range"),
    "feature beyond the last": (tree("split_indices", 0, 6), "tree 1, node 0: its feature is out of range"),
    "negative feature": (tree("split_indices", 0, -1), r"trees\[1\].split_indices"),
    "huge feature": (tree("split_indices", 0, 2**62), r"trees\[1\].split_indices"),
    "NaN threshold": (tree("split_conditions", 0, float("nan")), r"trees\[1\], node 0: its split condition is nan"),
    "infinite threshold": (tree("split_conditions", 0, float("inf")), r"trees\[1\], node 0: its split condition is inf"),
    "threshold beyond float32": (tree("split_conditions", 0, 1e300), r"trees\[1\], node 0: its split condition is inf"),
    "NaN leaf": (tree("split_conditions", -1, float("nan")), "split condition is nan"),
    "text for a number": (tree("split_conditions", 0, "0.5"), r"trees\[1\].split_conditions"),
    "list for a number": (tree("split_conditions", 0, [1]), r"trees\[1\].split_conditions"),
    "child beyond 64 bits": (tree("left_children", 0, 10**30), r"trees\[1\].left_children"),
    "child a fraction": (tree("left_children", 0, 1.5), r"trees\[1\].left_children"),
    "unknown split type": (tree("split_type", 0, 7), r"trees\[1\].split_type"),
    "categories missing": (tree("split_type", 0, 1), r"trees\[1\], node 0: its categories are missing"),
    "arrays of different length": (lambda d: model_of(d)["trees"][1]["split_indices"].pop(), "different length"),
    "tree without nodes": (
        lambda d: model_of(d)["trees"][1].update(
            {k: [] for k in model_of(d)["trees"][1] if isinstance(model_of(d)["trees"][1][k], list)}
        ),
        "tree 1: the tree has no node",
    ),
    "tree no object": (lambda d: model_of(d)["trees"].__setitem__(1, 5), r"trees\[1\] should be an object"),
    "array missing": (lambda d: model_of(d)["trees"][1].pop("left_children"), r"trees\[1\] has no 'left_children'"),
    "output of no class": (lambda d: model_of(d)["tree_info"].__setitem__(1, 3), "tree 1: it adds to output 3 of 1"),
    "too few outputs": (lambda d: model_of(d)["tree_info"].pop(), "tree_info for 2"),
    "no feature": (learner("num_feature", "0"), "0 features"),
    "features no number": (learner("num_feature", "six"), "num_feature should be a whole number"),
    "too many features": (learner("num_feature", "99999999999"), "99999999999 features"),
    "too many classes": (learner("num_class", "99999999999"), "99999999999 outputs"),
    "base score no number": (learner("base_score", "[half]"), "base_score"),
    "base score NaN": (learner("base_score", "nan"), "base_score"),
    "base score no probability": (learner("base_score", "1.5"), "base_score is 1.5"),
    "base scores of other number": (learner("base_score", "[0.5,0.5]"), "2 numbers for 1 outputs"),
    "names of other number": (lambda d: d["learner"].__setitem__("feature_names", ["a"]), "1 names"),
    "names no texts": (lambda d: d["learner"].__setitem__("feature_names", [1] * 6), "should be texts"),
    "learner missing": (lambda d: d.pop("learner"), "no forest"),
    "unknown objective": (lambda d: d["learner"]["objective"].__setitem__("name", '*/ system("x"); /*'), "objective"),
    "unknown booster": (lambda d: d["learner"]["gradient_booster"].__setitem__("name", "gbmagic"), "no trees"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_xgboost_json(case: str, document: Document, tmp_path: Path) -> None:
    how, message = BAD_JSON[case]
    path = tmp_path / "model.json"
    path.write_text(json.dumps(change(document, how)))
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert caught.value.hint


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no forest"),
    "text": (b"hello\n", "no forest"),
    "deep JSON": (b'{"learner":' + b"[" * 100_000, "nested too deeply|breaks"),
    "same key twice": (b'{"learner": {}, "learner": {}}', "same key twice"),
    "JSON of another kind": (b'{"a": 1}', "no forest"),
    "JSON without a learner": (b'{"learners": 1}', "has no 'learner'"),
    "JSON list": (b"[1]", "text dump"),
    "endless number": (b'{"learner": ' + b"9" * 100_000 + b"}", "no JSON text"),
    "no UTF-8": (b'{"learner\xff": 1}', "no JSON text"),
    "UBJSON with a huge text": (b"{L\x7f\xff\xff\xff\xff\xff\xff\xff", "bytes should follow"),
    "UBJSON with a negative length": (b"{L\xff\xff\xff\xff\xff\xff\xff\xff", "bytes should follow"),
    "UBJSON with a huge array": (b"{U\x01a[$L#L\x0f\xff\xff\xff\xff\xff\xff\xff", "cannot follow"),
    "UBJSON array of nothing": (b"{U\x01a[$Z#L\x00\x00\x00\x00\x00\x00\x00\x02ab", "an array of b'Z'"),
    "deep UBJSON": (b"{U\x01a" + b"[" * 100_000, "nested too deeply"),
    "UBJSON with rubbish behind": (b"{U\x01aTT}}}", "byte"),
    "LightGBM alone": (b"tree\n", "end of trees"),
    "LightGBM without trees a round": (b"tree\nmax_feature_idx=1\nend of trees\n", "num_tree_per_iteration"),
    "LightGBM with endless features": (
        b"tree\nnum_tree_per_iteration=1\nmax_feature_idx=99999999999\nend of trees\n",
        "features",
    ),
    "pickle": (pickle.dumps({"a": 1}), "pickle"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(case: str, tmp_path: Path) -> None:
    data, message = BAD_FILES[case]
    path = tmp_path / "model"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert caught.value.hint


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"nowhere\.json cannot be read"):
        load(Path("nowhere.json"))


def test_an_object_that_is_no_model() -> None:
    with pytest.raises(UnsupportedFeatureError, match="is no model that can be loaded"):
        load(5)


def line(key: str, value: str) -> Callable[[str], str]:
    """Replace the value of a key in tree 1."""

    def replaced(text: str) -> str:
        before, mark, after = text.partition("Tree=1")
        return before + mark + re.sub(rf"(?m)^{key}=.*$", f"{key}={value}", after, count=1)

    return replaced


def first(key: str, value: str) -> Callable[[str], str]:
    """Replace the first number of a key in tree 1."""

    def replaced(text: str) -> str:
        before, mark, after = text.partition("Tree=1")
        return before + mark + re.sub(rf"(?m)^{key}=\S+", f"{key}={value}", after, count=1)

    return replaced


def header(key: str, value: str) -> Callable[[str], str]:
    return lambda text: re.sub(rf"(?m)^{key}=.*$", f"{key}={value}", text, count=1)


BAD_LIGHTGBM: dict[str, tuple[Callable[[str], str], str]] = {
    "cycle": (first("left_child", "0"), "tree 1, node 0: .* cycle"),
    "child beyond the splits": (first("left_child", "99"), "tree 1, node 0: its child is out of range"),
    "leaf beyond the leaves": (first("left_child", "-99"), "tree 1, node 0: its child is out of range"),
    "child beyond 64 bits": (first("left_child", "9" * 30), "tree 1, left_child"),
    "feature": (first("split_feature", "6"), "tree 1, node 0: its feature is out of range"),
    "negative feature": (first("split_feature", "-1"), "tree 1 has a split_feature out of range"),
    "NaN threshold": (first("threshold", "nan"), "tree 1, node 0: its threshold is not a number"),
    "threshold a text": (first("threshold", "x"), "tree 1, threshold holds something"),
    "underscored number": (first("threshold", "1_0"), "tree 1, threshold holds something"),
    "NaN leaf": (first("leaf_value", "nan"), "leaf's value is not finite"),
    "infinite leaf": (first("leaf_value", "1e999"), "leaf's value is not finite"),
    "decision": (first("decision_type", "255"), "tree 1 has an unknown decision_type"),
    "missing bitset": (first("decision_type", "1"), "tree 1 has no cat_boundaries"),
    "too many leaves": (line("num_leaves", "1000000000"), "tree 1 has num_leaves=1000000000"),
    "no leaf": (line("num_leaves", "0"), "tree 1 has num_leaves=0"),
    "short array": (line("threshold", "1 2"), "tree 1 has 2 numbers in threshold"),
    "empty array": (line("threshold", ""), "tree 1, threshold is empty"),
    "tree number": (lambda text: text.replace("Tree=1", "Tree=7"), "tree 1 is numbered '7'"),
    "trees a round": (header("num_tree_per_iteration", "2"), "no multiple of 2"),
    "objective": (header("objective", "*/"), "objective"),
    "sigmoid": (header("objective", "binary sigmoid:x"), "objective holds something"),
    "infinite sigmoid": (header("objective", "binary sigmoid:inf"), "scale"),
    "names": (header("feature_names", "a b"), "2 names"),
    "truncated": (lambda text: text[: text.index("Tree=2")], "end of trees"),
}


@pytest.mark.parametrize("case", BAD_LIGHTGBM)
def test_bad_lightgbm_text(case: str, lightgbm_text: str, tmp_path: Path) -> None:
    how, message = BAD_LIGHTGBM[case]
    changed = how(lightgbm_text)
    assert changed != lightgbm_text
    path = tmp_path / "model.txt"
    path.write_text(changed)
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert caught.value.hint


def read(format_name: str, data: bytes) -> None:
    """Read and verify; only an InputError may come out."""
    try:
        verify(frontends()[format_name].read(data, iterations="auto"))
    except InputError as error:
        assert error.message  # noqa: PT017 - any other exception fails the test


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_truncated_and_altered_ubjson_never_crashes(ubjson: bytes, data: st.DataObject) -> None:
    altered = bytearray(ubjson)
    for _ in range(data.draw(st.integers(0, 4))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    read("xgboost-ubj", bytes(altered[: data.draw(st.integers(0, len(altered)))] if data.draw(st.booleans()) else altered))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_altered_lightgbm_text_never_crashes(lightgbm_text: str, data: st.DataObject) -> None:
    altered = bytearray(lightgbm_text.partition("feature_importances")[0].encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(altered) - 1))
        altered[place] = data.draw(st.sampled_from(b"0123456789-=\n .e\xff"))
    read("lightgbm-text", bytes(altered))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_altered_json_never_crashes(document: Document, data: st.DataObject) -> None:
    """Any value of the document replaced by any other kind of value."""
    changed = copy.deepcopy(document)
    place: Any = changed
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        junk = st.sampled_from([None, True, -1, 0, 2**31, 2**63, 10**30, 1.5, float("nan"), "", "[1,2]", [], [[]], {}, ["x"]])
        place[key] = data.draw(junk)
        break
    read("xgboost-json", json.dumps(changed).encode())


def test_every_truncation_of_ubjson_is_refused(ubjson: bytes) -> None:
    for end in np.unique(np.linspace(1, len(ubjson) - 2, 200).astype(int)).tolist():
        with pytest.raises(InputError):
            frontends()["xgboost-ubj"].read(ubjson[:end], iterations="auto")
