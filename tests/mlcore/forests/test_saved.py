"""The project's own format: everything survives, a changed byte is found, opening reads next to nothing."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore import filetypes
from mlcore.errors import InputError
from mlcore.forests import Forest, load, saved
from mlcore.forests.frontends import frontends
from mlcore.forests.ir import Link, TreeModel
from mlcore.forests.probes import probes
from tests.mlcore.forests.conftest import train_lightgbm, train_xgboost
from tests.mlcore.forests.test_ir import model as small_model
from tests.mlcore.forests.test_ir import tree

FORESTS: dict[str, Callable[[], Any]] = {
    "binary": lambda: train_xgboost(objective="binary:logistic"),
    "classes": lambda: train_xgboost(objective="multi:softprob"),
    "XGBoost's categories": lambda: train_xgboost(categorical=True, max_cat_to_onehot=1),
    "LightGBM": lambda: train_lightgbm(objective="binary"),
    "LightGBM's categories": lambda: train_lightgbm(objective="binary", categorical=True, min_data_per_group=10),
    "random forest": lambda: train_lightgbm(objective="binary", boosting="rf", bagging_freq=1, bagging_fraction=0.5),
    "no round": lambda: train_xgboost(rounds=0),
}


def same(a: TreeModel, b: TreeModel) -> bool:
    def equal(one: Any, other: Any) -> bool:
        if isinstance(one, np.ndarray):
            return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
        return bool(one == other)

    plain = [f.name for f in fields(a) if f.name != "trees"]
    flat = [f.name for f in fields(a.trees)]
    return all(equal(getattr(a, name), getattr(b, name)) for name in plain) and all(
        equal(getattr(a.trees, name), getattr(b.trees, name)) for name in flat
    )


@pytest.mark.parametrize("case", FORESTS)
def test_everything_survives(case: str, tmp_path: Path) -> None:
    forest = load(FORESTS[case]())
    path = forest.save(tmp_path / "model.forest")
    assert path == tmp_path / "model.forest"
    assert filetypes.detect(path).kind == saved.FORMAT
    again = load(path)
    rows = probes(forest.model, dtype="float64", n_rows=500)
    np.testing.assert_array_equal(again.margin(rows), forest.margin(rows))
    np.testing.assert_array_equal(again.predict(rows.tolist()), forest.predict(rows))
    np.testing.assert_array_equal(again.leaves(rows), forest.leaves(rows))
    assert same(again.model, forest.model)
    assert again.info == forest.info
    assert same(frontends()[saved.FORMAT].read(path.read_bytes(), iterations="auto"), forest.model)


def odd_model() -> TreeModel:
    """Vector leaves, sets, and every field of a model in use."""
    made = small_model([tree(5, seed=i, width=3, sets=True) for i in range(4)], 3)
    return replace(
        made,
        feature_names=("pt", 'η "jet"\n', "\ud800", ""),
        classes=("signal", "*/", "\0"),
        link=Link.SOFTMAX,
        link_scale=0.1,
        divisor=3.0,
        zero_threshold=1e-35,
        best_iteration=3,
        n_rounds=4,
    )


def test_every_field_survives(tmp_path: Path) -> None:
    forest = Forest.__new__(Forest)  # vector leaves need no predictor to be saved
    forest._model = odd_model()
    forest.__dict__["_native"] = NoPlan()
    assert same(load(forest.save(tmp_path / "a.forest")).model, odd_model())


class NoPlan:
    """A predictor that keeps nothing."""

    def plan(self) -> bytes:
        return b""


@pytest.fixture(scope="module")
def forest() -> Forest:
    return load(train_lightgbm(objective="multiclass", categorical=True, min_data_per_group=10, rounds=4))


@pytest.fixture(scope="module")
def data(forest: Forest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return forest.save(tmp_path_factory.mktemp("saved") / "model.forest").read_bytes()


def test_saving_twice_gives_equal_bytes(forest: Forest, data: bytes, tmp_path: Path) -> None:
    first = forest.save(tmp_path / "a.forest")
    assert first.read_bytes() == data
    assert load(first).save(tmp_path / "b.forest").read_bytes() == data


def test_sections_are_aligned(data: bytes) -> None:
    sections = metadata(data)["sections"]
    assert all(section["offset"] % 64 == 0 for section in sections)
    assert sections[-1]["offset"] + sections[-1]["size"] == len(data)


def metadata(data: bytes) -> Any:
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[32 : 32 + length])


def with_header(data: bytes, **changes: Any) -> bytes:
    """The file with other fields in its header, and the sums that belong to them."""
    (length,) = struct.unpack_from("<I", data, 12)
    found = {"magic": data[:8], "version": 1, "length": length, "size": len(data)} | changes
    text = found.get("metadata", data[32 : 32 + length])
    header = struct.pack("<8sIIQI", found["magic"], found["version"], found["length"], found["size"], zlib.crc32(text))
    return header + struct.pack("<I", zlib.crc32(header)) + text + data[32 + len(text) :]


def with_metadata(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        facts = metadata(data)
        change(facts)
        (length,) = struct.unpack_from("<I", data, 12)
        text = json.dumps(facts, separators=(",", ":")).encode()
        assert len(text) <= length, "the sections must not move"
        return with_header(data, metadata=text.ljust(length))

    return changed


def section(name: str, facts: Any) -> Any:
    return next(section for section in facts["sections"] if section["name"] == name)


def with_number(name: str, kind: str, index: int, value: float) -> Callable[[bytes], bytes]:
    """The file with one number of a section changed, and the sum that belongs to it."""

    def changed(data: bytes) -> bytes:
        found = section(name, metadata(data))
        altered = bytearray(data)
        struct.pack_into(kind, altered, found["offset"] + index * struct.calcsize(kind), value)
        body = bytes(altered[found["offset"] : found["offset"] + found["size"]])
        return with_metadata(lambda facts: section(name, facts).update(crc32=zlib.crc32(body)))(bytes(altered))

    return changed


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "no forest in a known format"),
    "magic alone": (lambda data: data[:8], "byte 8: the header is cut short"),
    "header alone": (lambda data: data[:32], "byte 32: the file ends here"),
    "cut in the metadata": (lambda data: data[:100], "byte 100: the file ends here"),
    "cut at the end": (lambda data: data[:-1], "the file ends here"),
    "longer": (lambda data: data + b"\0", "the file ends here"),
    "version": (lambda data: with_header(data, version=2), "version 2 of the format"),
    "no sum of the header": (lambda data: data[:20] + b"\1" + data[21:], "byte 0: the header does not have its sum"),
    "no sum of the metadata": (lambda data: data[:40] + b"?" + data[41:], "byte 32: the metadata do not have their sum"),
    "length": (lambda data: with_header(data, length=1 << 31), "byte 12: 2147483648 bytes of metadata"),
    "size": (lambda data: with_header(data, size=1 << 60), "the file ends here"),
    "no JSON": (lambda data: with_header(data, metadata=b"[" * len(json.dumps(metadata(data)))), "byte|no JSON"),
    "list": (with_metadata(lambda facts: facts["sections"].__setitem__(0, [])), r"sections\[0\] should be an object"),
    "section twice": (
        with_metadata(lambda facts: facts["sections"][1].update(name=facts["sections"][0]["name"])),
        r"sections\[1\]: has 'start' twice",
    ),
    "sections overlap": (with_metadata(lambda facts: facts["sections"][1].update(offset=0)), r"sections\[1\]: .* not possible"),
    "section moved": (
        with_metadata(lambda facts: facts["sections"][1].update(offset=facts["sections"][1]["offset"] + 1)),
        r"sections\[1\]: .* not possible",
    ),
    "section beyond": (with_metadata(lambda facts: section("base", facts).update(size=10**9)), "not possible"),
    "negative size": (with_metadata(lambda facts: section("base", facts).update(size=-8)), "not possible"),
    "section unknown": (with_metadata(lambda facts: section("base", facts).update(name="bass")), "metadata.sections"),
    "odd size": (with_metadata(lambda facts: section("base", facts).update(size=23)), "section base: has 23 bytes"),
    "short base": (with_metadata(lambda facts: section("base", facts).update(size=16)), "section base: holds 2 numbers"),
    "features": (with_metadata(lambda facts: facts.update(n_features=0)), "0 features"),
    "outputs": (with_metadata(lambda facts: facts.update(n_outputs=99999)), "99999 outputs"),
    "names": (with_metadata(lambda facts: facts.update(feature_names=["a"])), "1 names for 6 features"),
    "classes": (with_metadata(lambda facts: facts.update(classes=[1])), "metadata.classes"),
    "link": (with_metadata(lambda facts: facts.update(link="x")), "metadata.link: is 'x'"),
    "precision": (with_metadata(lambda facts: facts.update(sum_dtype="float16")), "metadata.sum_dtype: is 'float16'"),
    "scale": (with_metadata(lambda facts: facts.update(divisor="1")), "metadata.divisor: should be a finite number"),
    "vectors": (with_metadata(lambda facts: facts.update(vector_leaves=True)), "section value: should hold 3 numbers a node"),
    "child": (with_number("left", "<i", 0, 10**6), "tree 0, node 0: its child is out of range"),
    "cycle": (with_number("left", "<i", 1, 0), "cycle|child of more than one"),
    "feature": (with_number("feature", "<i", 0, 6), "tree 0, node 0: its feature is out of range"),
    "start": (with_number("start", "<q", 1, 10**9), "do not follow one another"),
    "negative start": (with_number("start", "<q", 1, -5), "do not follow one another"),
    "flag": (with_number("default_left", "<B", 0, 2), "section default_left: holds 2"),
    "set": (with_number("set_start", "<q", 1, 10**9), "sets of categories do not fit"),
    "set of no node": (with_number("set_node", "<q", 0, -1), "sets of categories do not fit"),
    "base": (with_number("base", "<d", 0, np.inf), "base score"),
}


@pytest.mark.parametrize("case", BAD)
def test_damage_is_named(case: str, data: bytes, tmp_path: Path) -> None:
    change, message = BAD[case]
    path = tmp_path / "model.forest"
    path.write_bytes(change(data))
    with pytest.raises(InputError, match=message) as caught:
        load(path).info  # noqa: B018 - which looks at every tree
    assert caught.value.hint


def test_every_changed_byte_is_found(data: bytes) -> None:
    """Unless it is a byte between two sections, which nobody reads."""
    used = np.zeros(len(data), bool)
    used[: 32 + struct.unpack_from("<I", data, 12)[0]] = True
    for part in metadata(data)["sections"]:
        used[part["offset"] : part["offset"] + part["size"]] = True
    rng = np.random.default_rng(0)
    for place in rng.choice(np.flatnonzero(used), 400, replace=False).tolist():
        altered = bytearray(data)
        altered[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(InputError):
            saved.read(bytes(altered))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_altered_sections_with_right_sums_never_crash(data: bytes, tmp_path: Path, draw: st.DataObject) -> None:
    facts = metadata(data)
    part = draw.draw(st.sampled_from([part for part in facts["sections"] if part["size"]]))
    altered = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        altered[part["offset"] + draw.draw(st.integers(0, part["size"] - 1))] = draw.draw(st.integers(0, 255))
    body = bytes(altered[part["offset"] : part["offset"] + part["size"]])
    changed = with_metadata(lambda facts: section(part["name"], facts).update(crc32=zlib.crc32(body)))(bytes(altered))
    try:
        path = tmp_path / "altered.forest"
        path.write_bytes(changed)
        load(path).margin(np.zeros((3, 6)))  # runs the plan, whatever it says
        Forest(saved.read(changed)).margin(np.zeros((3, 6)))
    except InputError as error:
        assert error.message  # noqa: PT017 - any other exception fails the test


def test_what_cannot_be_overwritten(forest: Forest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file"):
        forest.save(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is no file"):
        forest.save(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot be written"):
        forest.save(tmp_path / "nowhere" / "a.forest")


def test_a_failed_save_leaves_the_old_file(forest: Forest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.forest"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        forest.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_open_forest_survives_its_replacement(forest: Forest, tmp_path: Path) -> None:
    path = forest.save(tmp_path / "a.forest")
    opened = load(path)
    load(train_xgboost()).save(path)
    x = np.zeros((2, 6))
    np.testing.assert_array_equal(opened.margin(x), forest.margin(x))
    assert load(path).info.library == "xgboost"


def test_the_best_rounds_can_no_longer_be_chosen(forest: Forest, tmp_path: Path) -> None:
    early = Forest(replace(forest.model, best_iteration=1))
    path = early.save(tmp_path / "a.forest")
    with pytest.raises(InputError, match="saved with all rounds"):
        load(path, iterations="best")
    assert load(path, iterations="all").info.best_iteration == 1
    load(Forest(replace(forest.model, best_iteration=1, n_rounds=2)).save(path), iterations="best")


def test_opening_looks_at_no_tree(forest: Forest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = forest.save(tmp_path / "a.forest")

    def never(_: object) -> None:
        raise AssertionError("the trees were verified")

    monkeypatch.setattr(saved, "verify", never)
    assert load(path)._model.n_features == 6
