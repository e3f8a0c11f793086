"""Publication: whole generations, one pointer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assistant.errors import AssistantError
from assistant.index import generations


def _publish(index: Path, text: str) -> Path:
    folder = generations.start(index)
    (folder / "data.txt").write_text(text)
    generations.publish(index, folder, {"text": text})
    return folder


def test_nothing_is_current_before_the_first_publication(tmp_path: Path) -> None:
    assert generations.current(tmp_path) is None
    assert generations.stamp(tmp_path) is None
    generations.start(tmp_path)
    assert generations.current(tmp_path) is None


def test_each_publication_is_current_at_once_and_the_one_before_is_kept(tmp_path: Path) -> None:
    first = _publish(tmp_path, "one")
    stamp = generations.stamp(tmp_path)
    second = _publish(tmp_path, "two")
    assert generations.current(tmp_path) == second
    assert generations.stamp(tmp_path) != stamp
    assert first.is_dir()
    third = _publish(tmp_path, "three")
    assert not first.exists()
    assert second.is_dir()
    assert generations.read_state(third) == {"text": "three"}


def test_a_build_that_died_leaves_the_old_generation_and_its_remains_are_removed(tmp_path: Path) -> None:
    old = _publish(tmp_path, "old")
    remains = generations.start(tmp_path)
    (remains / "half").write_text("x")
    assert generations.current(tmp_path) == old
    new = _publish(tmp_path, "new")
    assert not remains.exists()
    assert new.name > remains.name


@pytest.mark.parametrize("pointer", ["", "000099", "../..", "\xff", "000001/../000001x"])
def test_a_damaged_pointer_means_no_index(tmp_path: Path, pointer: str) -> None:
    _publish(tmp_path, "one")
    (tmp_path / "current").write_text(pointer, encoding="utf-8")
    assert generations.current(tmp_path) is None


def test_a_clone_shares_files_and_not_the_state(tmp_path: Path) -> None:
    old = _publish(tmp_path, "one")
    (old / "sub").mkdir()
    (old / "sub" / "deep.txt").write_text("deep")
    new = generations.start(tmp_path)
    generations.clone(old, new, without=frozenset({"data.txt"}))
    assert sorted(path.name for path in new.rglob("*")) == ["deep.txt", "sub"]
    assert (new / "sub" / "deep.txt").samefile(old / "sub" / "deep.txt")


def test_one_build_at_a_time_and_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from assistant.index import generations\n"
        "with generations.lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AssistantError, match="being built already"), generations.lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with generations.lock(tmp_path):
        pass
