"""The compiler: found, run, and its failures told."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

from mlcore.errors import ToolchainError
from mlcore.toolchain.compiler import Compiler, find_compiler
from mlcore.toolchain.sandbox import Limits, isolation

needs_zig = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs the wheel ziglang")


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    return find_compiler()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    file = folder / "main.cpp"
    file.write_text('#include "answer.h"\n#include <cstdio>\nint main() { std::printf("%d", answer()); }\n')
    return file


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    folder = tmp_path / "headers"
    folder.mkdir()
    (folder / "answer.h").write_text("inline int answer() { return 42; }\n")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "answer"


def test_finds_one_that_tells_its_version(compiler: Compiler) -> None:
    assert compiler.path.is_absolute()
    assert any(character.isdigit() for character in compiler.version)


def test_choice_may_have_arguments() -> None:
    chosen = find_compiler("g++ -DONE=1 '-DTWO=a b'")
    assert chosen.path.name == "g++"
    assert chosen.arguments == ("-DONE=1", "-DTWO=a b")


def test_missing_choice_is_told() -> None:
    with pytest.raises(ToolchainError, match="no-such-compiler: not found") as caught:
        find_compiler("no-such-compiler")
    assert "apt install g++" in caught.value.hint


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("no_wheel")
def test_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(
        ToolchainError, match=r"g\+\+: not found; c\+\+: not found; clang\+\+: not found; zig: not found"
    ) as caught:
        find_compiler(path=str(tmp_path))
    assert all(name in caught.value.hint for name in ("g++", "clang++", "ziglang"))


@needs_zig
def test_the_wheel_is_found_where_nothing_else_is(tmp_path: Path) -> None:
    found = find_compiler(path=str(tmp_path), cache=tmp_path / "cache")
    assert (found.path.name, found.arguments, found.cache) == ("zig", ("c++",), tmp_path / "cache")
    assert "clang" in found.version
    assert "Zig" in found.version


@needs_zig
@pytest.mark.slow
def test_zig_compiles_for_any_machine_and_warns(source: Path, headers: Path, target: Path) -> None:
    """Slow where zig has no standard library in its cache yet."""
    zig = find_compiler("zig")
    source.write_text(source.read_text().replace("int main() {", "int main() { int unread = 0;"))
    outcome = zig.build([source], target, flags=("-std=c++17", "-O1", "-march=x86-64-v2", "-Wall"), include=[headers])
    assert "unread" in outcome.stderr
    assert subprocess.run([target], capture_output=True, check=True).stdout == b"42"
    assert list(target.parent.iterdir()) == [target]  # no objects left


@needs_zig
@pytest.mark.parametrize("choice", ["zig", "zig c++", "python -m ziglang c++"])
def test_zig_by_its_names(choice: str, tmp_path: Path) -> None:
    found = find_compiler(choice, cache=tmp_path)
    assert (found.path.name, found.arguments) == ("zig", ("c++",))


@pytest.mark.usefixtures("no_wheel")
def test_broken_one_is_told(tmp_path: Path) -> None:
    fake = tmp_path / "tools" / "bin" / "g++"
    fake.parent.mkdir(parents=True)
    fake.write_text("#!/bin/sh\necho 'licence expired' >&2; exit 1\n")
    fake.chmod(0o755)
    with pytest.raises(ToolchainError, match="licence expired"):
        find_compiler(path=str(fake.parent))


def test_unclosed_quotation() -> None:
    with pytest.raises(ToolchainError, match="CXX"):
        find_compiler("g++ '-DX")


def test_builds_a_program(compiler: Compiler, source: Path, headers: Path, target: Path) -> None:
    outcome = compiler.build([source], target, include=[headers])
    assert outcome.seconds > 0
    assert subprocess.run([target], capture_output=True, check=True).stdout == b"42"


def test_builds_in_the_sources_own_folder(compiler: Compiler, source: Path, headers: Path) -> None:
    target = source.parent / "answer"
    compiler.build([source], target, include=[headers])
    assert target.exists()


def test_error_carries_the_compilers_lines(compiler: Compiler, source: Path, target: Path) -> None:
    source.write_text("int main() { return nonsense; }\n")
    with pytest.raises(ToolchainError, match="nonsense") as caught:
        compiler.build([source], target)
    assert caught.value.code == "toolchain.compile"
    assert compiler.version in caught.value.hint
    assert not target.exists()


def test_error_is_short(compiler: Compiler, source: Path, target: Path) -> None:
    source.write_text("\n".join(f"int f{i}() {{ return missing{i}; }}" for i in range(500)))
    with pytest.raises(ToolchainError) as caught:
        compiler.build([source], target)
    assert len(caught.value.message.splitlines()) <= 21


def test_time_limit(compiler: Compiler, source: Path, target: Path) -> None:
    # A constant that takes the compiler far longer than a second to find.
    source.write_text(
        "constexpr unsigned long f(int n) { return n < 1 ? 1 : f(n - 1) + f(n - 1) + n; }\n"
        "constexpr unsigned long g(int n) { unsigned long s = 0; for (int i = 0; i < n; ++i) s += f(16) + i; return s; }\n"
        "static_assert(g(1000000) != 0); int main() {}\n"
    )
    flags = ("-std=c++17", "-fconstexpr-ops-limit=99999999999", "-fconstexpr-loop-limit=999999999")
    with pytest.raises(ToolchainError, match="took longer than 1 s") as caught:
        compiler.build([source], target, flags=flags, limits=Limits(wall_seconds=1))
    assert caught.value.code == "toolchain.wall"
    assert not target.exists()


def test_missing_source(compiler: Compiler, target: Path) -> None:
    with pytest.raises(ToolchainError, match="no source file"):
        compiler.build([target.parent / "absent.cpp"], target)


def test_missing_output_folder(compiler: Compiler, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="no folder"):
        compiler.build([source], tmp_path / "absent" / "answer")


@pytest.mark.skipif(isolation().name != "bubblewrap", reason=f"needs a working bubblewrap: {isolation().detail}")
def test_source_cannot_include_a_neighbours_file(compiler: Compiler, source: Path, target: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h"
    secret.write_text("hush\n")
    source.write_text(f'#include "{secret}"\nint main() {{}}\n')
    with pytest.raises(ToolchainError) as caught:
        compiler.build([source], target)
    assert "hush" not in caught.value.message
