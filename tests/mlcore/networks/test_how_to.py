"""The how-to about networks: every block of code in it is written to the file that its first line names, or run as a command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "network-to-cpp.md"
NAMED = re.compile(r"(?:#|//) ([\w.]+)\n")


def steps() -> Iterator[tuple[str, str, str]]:
    """The blocks in the page's order: language, the file's name, content."""
    for language, content in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        named = NAMED.match(content)
        assert named or language == "sh", f"this block names no file: {content[:60]}"
        yield language, named[1] if named else "", content


@pytest.mark.slow
def test_every_step_works(tmp_path: Path) -> None:
    pytest.importorskip("ROOT", reason="the root wheel is for Linux only")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    said = {}
    for language, name, content in steps():
        if name:
            (tmp_path / name).write_text(content)
        command = {"sh": ["bash", "-euc", content], "python": [sys.executable, name]}.get(language)
        if command is not None:
            done = subprocess.run(
                command, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False, timeout=250
            )
            assert done.returncode == 0, f"{content}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            said[name or content] = done.stdout
    text = "\n".join(said.values())
    for told in ("This network can be compiled", "agrees with onnxruntime", "100% tests passed", "40 particles: 0."):
        assert told in text
    # The mean of the frame is one score of three; of equal particles it does not depend on their number.
    alone = float(re.search(r"40 particles: \S+ \S+ (\S+)", text)[1])  # type: ignore[index]
    assert float(said["frame.py"].split()[-1]) == pytest.approx(alone, abs=1e-4)  # printed with four digits
