"""Files that ROOT writes, once, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROWS = 2500


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `root_writer` fills."""
    folder: Path = tmp_path_factory.mktemp("root")
    writer = Path(__file__).with_name("root_writer.py")
    done = subprocess.run([sys.executable, writer, folder, str(ROWS)], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder
