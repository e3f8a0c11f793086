"""The installed ROOT package: tutorials, classes from the headers, release notes, Python interfaces and manual pages.

Its files are found without importing it: importing ROOT starts its interpreter.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from assistant.corpus.document import Document, Log, SourceEntry, ignore
from assistant.corpus.parsing import cpp, doxygen, markdown, messages, python, root_pages
from assistant.corpus.parsing.text import read_text
from assistant.errors import CorpusError

_TUTORIAL_SUFFIXES = frozenset({".C", ".py", ".cxx", ".cpp"})
_HEADER_SUFFIXES = frozenset({".h", ".hxx", ".hpp"})
_FOREIGN = frozenset({"nlohmann", "xrootd", "CPyCppyy", "v5", "libdaos_mock"})
_MIN_WORDS = 25  # shorter docstrings only say that there is a Python version of the method
_PYTHONDOC = re.compile(r"^\s*\\pythondoc\s+([\w:]+)", re.MULTILINE)
_GROUP = re.compile(r"\\defgroup\s+(\w+)\s+([^\n]+)\n((?:(?!\\defgroup).*\n?)*)")


class RootWheel:
    """The files of the installed ROOT, or of the installation that the entry's location points to."""

    name = "root"
    title = "Installed ROOT"

    def check(self, entry: SourceEntry) -> None:
        """ROOT is installed, or the location is a ROOT installation."""
        self.root(entry)

    def version(self, entry: SourceEntry) -> str:
        """ROOT's own version, such as ``"6.40.00"``, else the package's."""
        header = self.root(entry) / "include" / "ROOT" / "RVersion.hxx"
        if header.is_file() and (version := version_of(header)):
            return version
        try:
            return importlib.metadata.version("root")
        except importlib.metadata.PackageNotFoundError:
            return ""

    def documents(self, entry: SourceEntry, log: Log = ignore) -> Iterator[Document]:
        """Tutorials and classes first, then release notes, Python interfaces, manual pages."""
        root, version = self.root(entry), self.version(entry)
        yield from self._tutorials(root, version, log)
        yield from self._classes(root, version, log)
        yield from release_notes(root, log)
        yield from self._pythonizations(root, version, log)
        yield from self._manual_pages(root, version, log)

    def root(self, entry: SourceEntry) -> Path:
        """The folder of the installation."""
        if entry.location:
            root = Path(entry.location)
        else:
            found = importlib.util.find_spec("ROOT")
            folders = list(found.submodule_search_locations or ()) if found else []
            if not folders:
                raise CorpusError(
                    "ROOT is not installed in this environment",
                    hint="Install the `root` package, or add a checkout of ROOT's sources as a `folder` source.",
                    code="corpus.root",
                )
            root = Path(folders[0])
        if not (root / "tutorials").is_dir() and not (root / "include").is_dir():
            raise CorpusError(
                f"{root} is no ROOT installation: it has neither tutorials nor include",
                hint="Give the folder that holds both.",
                code="corpus.root",
            )
        return root

    def _tutorials(self, root: Path, version: str, log: Log) -> Iterator[Document]:
        for path in _files(root / "tutorials", _TUTORIAL_SUFFIXES):
            document = root_pages.tutorial_document(path.relative_to(root).as_posix(), read_text(path, log), version=version)
            if document:
                yield document
        for path in _files(root / "tutorials", frozenset({".md"})):
            place = path.relative_to(root).as_posix()
            for group in _GROUP.finditer(read_text(path, log)):
                name, title, body = group.group(1), group.group(2).strip(), doxygen.markup_to_text(group.group(3).splitlines())
                if len(body.split()) >= 5:
                    url = f"{root_pages.DOXYGEN}/group__{root_pages.doxygen_name(name)}.html"
                    yield Document(
                        f"group:{name}", title, name, "page", f"{place}:1", url, f"{title}\n\n{body}", version, (name,)
                    )

    def _classes(self, root: Path, version: str, log: Log) -> Iterator[Document]:
        reported: list[messages.Reported] = []

        def scopes() -> Iterator[tuple[str, cpp.CppScope]]:
            for place, text in headers(root, log):
                reported.extend(messages.read(text))
                for scope in cpp.read(text):
                    yield place, scope

        yield from root_pages.class_documents(scopes(), version=version, reported=reported)

    def _pythonizations(self, root: Path, version: str, log: Log) -> Iterator[Document]:
        for path in _files(root / "_pythonization", frozenset({".py"})):
            tree = python.parse(read_text(path, log))
            if tree is None:
                log(f"{path.name} is left out: not valid Python")
                continue
            place = path.relative_to(root).as_posix()
            for docstring in python.docstrings(tree):
                named = _PYTHONDOC.search(docstring.text)
                if len(docstring.text.split()) < _MIN_WORDS or (docstring.kind == "function" and not named):
                    continue
                name = named.group(1) if named else docstring.name.replace(".", "::")
                if not name:
                    continue
                text = doxygen.markup_to_text(docstring.text.splitlines())
                yield Document(
                    id=f"python:{path.stem}:{docstring.name or name}",
                    title=f"{name} in Python: {doxygen.brief(text)}",
                    source=name,
                    kind="pythonization",
                    place=f"{place}:{docstring.line}",
                    url=root_pages.class_url(name.split("::")[0] if docstring.kind == "method" else name),
                    text=text,
                    version=version,
                    names=(name, root_pages.short_name(name)) if docstring.kind != "method" else (name,),
                )

    def _manual_pages(self, root: Path, version: str, log: Log) -> Iterator[Document]:
        for path in _files(root / "man", frozenset({".1"})):
            text = _roff_to_text(read_text(path, log))
            if len(text.split()) > 20:
                name = path.stem
                url = "https://root.cern/manual/" if name in {"root", "hadd", "rootcling"} else ""
                place = f"{path.relative_to(root).as_posix()}:1"
                yield Document(f"manual:{name}", f"{name}: manual page", name, "manual", place, url, text, version, (name,))


def headers(root: Path, log: Log) -> Iterator[tuple[str, str]]:
    """The headers of an installation, foreign libraries left out: pairs of path, relative to `root`, and text."""
    for path in _files(root / "include", _HEADER_SUFFIXES):
        place = path.relative_to(root)
        if place.parts[1] not in _FOREIGN:
            yield place.as_posix(), read_text(path, log)


def version_of(header: Path) -> str:
    """The version that ROOT's version header defines, such as ``"6.40.00"``; empty where it defines none."""
    text = read_text(header, ignore)
    numbers = dict(re.findall(r"#define ROOT_VERSION_(MAJOR|MINOR|PATCH)\s+(\d+)", text))
    if len(numbers) == 3:
        return f"{numbers['MAJOR']}.{int(numbers['MINOR']):02d}.{int(numbers['PATCH']):02d}"
    written = re.search(r'#define ROOT_RELEASE\s+"(\d+\.\d+)/(\d+)', text)  # before 6.28
    return f"{written[1]}.{written[2]}" if written else ""


def release_notes(root: Path, log: Log) -> Iterator[Document]:
    """The release notes of an installation or a checkout, by section."""
    for path in _files(root / "README" / "ReleaseNotes", frozenset({".md"})):
        release = path.parent.name  # "v636"
        if not re.fullmatch(r"v\d{3}", release):
            continue
        number = f"{release[1]}.{release[2:]}"
        place = path.relative_to(root).as_posix()
        known: Counter[str] = Counter()
        for section in markdown.sections(read_text(path, log), title=f"ROOT {number} release notes"):
            heading = " › ".join(step for step in section.path if not step.startswith("ROOT Version"))
            slug = re.sub(r"\W+", "-", heading.lower()).strip("-")
            known[slug] += 1
            yield Document(
                # By its heading, which is the same in a checkout of another day.
                id=f"release:{release}:{slug}" + (f"-{known[slug]}" if known[slug] > 1 else ""),
                title=heading if heading.startswith("ROOT") else f"ROOT {number} release notes › {heading}",
                source=f"ROOT {number} release notes",
                kind="release",
                place=f"{place}:{section.line}",
                url=f"https://root.cern/doc/{release}/release-notes.html",
                text=section.text,
                version=number,
            )


def _files(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file())


def _roff_to_text(text: str) -> str:
    """A manual page without its formatting requests."""
    lines = []
    for line in text.splitlines():
        request = re.match(r"^\.(\w+)\s*(.*)$", line)
        if request:
            name, rest = request.groups()
            if name == "SH":
                lines += ["", f"## {rest.strip()}"]
            elif name in {"IP", "TP", "B", "I", "BR"} and rest:
                lines.append(rest.strip())
            continue
        if not line.startswith((".\\", "'\\")):
            lines.append(line)
    return re.sub(r"\\f[BIRP]|\\(?=[-&])", "", "\n".join(lines)).strip()


SOURCE = RootWheel()
