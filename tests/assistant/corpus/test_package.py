"""The public interface of a Python package, read without importing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.corpus.document import SourceEntry, ignore
from assistant.corpus.parsing import python
from assistant.corpus.parsing.package import Package
from assistant.corpus.python_packages import SOURCE
from assistant.errors import CorpusError


@pytest.fixture
def package(tmp_path: Path) -> Package:
    folder = tmp_path / "thing"
    (folder / "_inner").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "__init__.py").write_text(
        '"""The thing."""\nfrom ._inner.core import area as area, Shape\nfrom .tools import *\nraise RuntimeError\n'
    )
    (folder / "_inner" / "__init__.py").write_text("")
    (folder / "_inner" / "core.py").write_text(
        'def area(r, *, unit="cm", **rest):\n    """The area of a circle."""\n'
        'def hidden():\n    """Nobody reaches this."""\n'
        'class Shape:\n    """A shape."""\n    def __init__(self, n=3): ...\n'
        '    def draw(self, ax=None):\n        """Draw it."""\n    def _no(self):\n        """No."""\n'
    )
    (folder / "tools.py").write_text(
        'from ._inner.core import area\n__all__ = ["turn"]\ndef turn(x):\n    """Turn it."""\ndef other():\n    """Another."""\n'
        'add_newdoc("thing._c", "dot", """Product of two.""")\n'
    )
    (folder / "tests" / "test_it.py").write_text('def f():\n    """Test."""\n')
    (folder / "broken.py").write_text("def (")
    return Package(folder, lambda _name: True, ignore)


def test_names_are_those_that_users_reach(package: Package) -> None:
    names = {name.path: name for name in package.public_names()}
    assert set(names) == {"thing", "thing.area", "thing.Shape", "thing.turn", "thing.tools.other", "thing.dot"}
    assert names["thing.area"].defined == "thing._inner.core.area"
    assert names["thing.area"].docstring.signature == "(r, *, unit='cm', **rest)"
    assert names["thing.Shape"].docstring.signature == "(n=3)"
    assert [method.name for method in names["thing.Shape"].methods] == ["Shape.draw"]


def test_installed_packages_give_documents_with_public_pages() -> None:
    entry = SourceEntry("p", "packages", "numpy, no-such-package")
    log: list[str] = []
    documents = {document.source: document for document in SOURCE.documents(entry, log.append) if document.kind == "api"}
    mean = documents["numpy.mean"]
    assert mean.url == "https://numpy.org/doc/stable/reference/generated/numpy.mean.html"
    assert "np.mean" in mean.names
    assert "arithmetic mean" in mean.text
    assert mean.version
    assert "numpy.array" in documents  # its docstring is attached by a call
    assert log == ["no-such-package is left out: not installed"]


def test_a_package_found_by_its_name_is_not_looked_for_in_all_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: pytest.fail("took half a second"))
    assert SOURCE.version(SourceEntry("p", "packages", "h5py, scikit-learn")).count(".") >= 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Return the mean. More.", "Return the mean"),
        ("Args:\n    x (int): a number\n\nOpens a file and\nreads it. Then more.", "Opens a file and reads it"),
        ("Title\n=====\n\nText.", "Title"),
        ("Parameters\n----------\nx : int", ""),
        ("", ""),
    ],
)
def test_the_summary_is_the_first_sentence_that_describes(text: str, expected: str) -> None:
    assert python.summary(text) == expected


def test_no_installed_package_at_all_is_an_error() -> None:
    with pytest.raises(CorpusError, match="None of the packages"):
        SOURCE.check(SourceEntry("p", "packages", "no-such-package,../etc"))
