"""The notebooks of the docs, not run: whoever opens one anywhere can begin. `tests/live/test_notebooks.py` runs them."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parents[3] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
COMES_WITH_ROOT = {"ROOT"}


def cells(path: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def python_of(path: Path) -> ast.Module:
    """The code without magics."""
    code = (text for text in cells(path, "code") if not text.startswith("%%"))
    return ast.parse("\n".join(line for text in code for line in text.splitlines() if not line.startswith("%")))


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(python_of(path)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_there_are_some() -> None:
    assert {path.name for path in NOTEBOOKS} >= {"bdt-to-cpp.ipynb", "root-to-cpp.ipynb"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestEach:
    def test_it_is_a_notebook_without_outputs(self, path: Path) -> None:
        book: Any = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        for cell in book.cells:
            if cell.cell_type == "code":
                assert (cell.outputs, cell.execution_count) == ([], None)

    def test_it_names_no_place_of_one_machine(self, path: Path) -> None:
        text = "\n".join(cells(path, "code") + cells(path, "markdown"))
        assert not re.search(r"""["'\s=@](/(home|root|tmp|work|eos|afs|usr|opt|Users)\b|[A-Z]:\\)""", text)
        assert not re.search(r"ml4ep_\w", text.replace("ml4ep_client", "")), "no token"

    def test_what_it_imports_is_in_the_requirements(self, path: Path) -> None:
        lines = (FOLDER / "requirements.txt").read_text().splitlines()
        wanted = {re.split(r"[<>=\[;@ ]", line)[0] for line in lines if line and not line.startswith(("#", "."))}
        missing = imported(path) - wanted - set(sys.stdlib_module_names) - COMES_WITH_ROOT
        assert missing == set()
        assert any(line.startswith("../../portal/client[notebook]") for line in lines)

    def test_it_explains_itself(self, path: Path) -> None:
        words = cells(path, "markdown")
        assert words[0].startswith("# ")
        assert len(words) * 2 >= len(cells(path, "code")), "about as many texts as cells of code"
        assert "token" in "".join(words)
