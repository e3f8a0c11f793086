"""ROOT classes as documents: shared by the installed wheel and a checkout of ROOT's sources."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from assistant.corpus.document import Document, Member
from assistant.corpus.parsing import cpp, doxygen, messages

DOXYGEN = "https://root.cern/doc/master"

_HIDDEN = re.compile(
    r"(?:^|::)(?:Internal|Detail|Details|detail|internal|impl|Impl|nlohmann|CPyCppyy|std|cling|\w*_detail)(?:::|$)"
)
MAX_MESSAGES = 60  # of one class
_COMMON_BASE = 30  # a base of more classes than this (TObject, TNamed ...) tells nothing about one of them


def doxygen_name(name: str) -> str:
    """`name` as Doxygen writes it in the address of a page."""
    return name.replace("_", "__").replace("::", "_1_1").replace(".", "_8")


def reference(version: str) -> str:
    """Where the reference of a release of ROOT is; that of a development version is the newest.

    >>> reference("6.32.04"), reference("6.41.01")
    ('https://root.cern/doc/v632', 'https://root.cern/doc/master')
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    released = numbers and int(numbers[2]) % 2 == 0
    return f"https://root.cern/doc/v{numbers[1]}{numbers[2]}" if numbers and released else DOXYGEN


def class_url(name: str, kind: str = "class") -> str:
    """The reference page of a class, struct or namespace."""
    return f"{DOXYGEN}/{kind}{doxygen_name(name)}.html"


def tutorial_url(file_name: str) -> str:
    """The page of a tutorial."""
    return f"{DOXYGEN}/{doxygen_name(file_name)}.html"


def short_name(name: str) -> str:
    """The last component of a qualified name."""
    return name.rsplit("::", 1)[-1]


def class_documents(
    scopes: Iterable[tuple[str, cpp.CppScope]],
    *,
    version: str,
    public: bool = True,
    reported: Sequence[messages.Reported] = (),
) -> Iterator[Document]:
    """A document for each class and namespace that has something to tell.

    Parameters
    ----------
    scopes
        Pairs of a file's path, relative to the source's root, and a scope read from it; several of a name are merged.
    public
        Whether these are ROOT's own classes, whose reference pages are on the web.
    reported
        Error messages of the same files; filled when all of `scopes` have been taken.
    """
    merged = [(path, scope) for path, scope in cpp.merge(scopes) if not _HIDDEN.search(scope.name)]
    by_name = {scope.name: scope for _path, scope in merged}
    derived = Counter(base for scope in by_name.values() for base in scope.bases)
    printed = _by_class(reported, by_name)
    for path, scope in merged:
        if not (scope.prose or scope.summary or scope.members):
            continue
        if scope.kind == "namespace" and not (scope.prose or any(member.comment for member in scope.members)):
            continue
        inherited = [
            by_name[base]
            for base in scope.bases
            if base in by_name and derived[base] <= _COMMON_BASE and not _is_variant(scope.name, base)
        ]
        yield _document(path, scope, inherited, version, public, printed.get(scope.name, ()))


def _by_class(reported: Sequence[messages.Reported], by_name: Mapping[str, cpp.CppScope]) -> dict[str, tuple[str, ...]]:
    """The messages of each class, once each; a short name that several classes have belongs to none of them."""
    full: dict[str, set[str]] = defaultdict(set)
    for name in by_name:
        full[short_name(name)].add(name)
    printed: dict[str, dict[str, None]] = defaultdict(dict)
    for message in reported:
        candidates = full.get(short_name(message.owner), set())
        owner = message.owner if message.owner in by_name else next(iter(candidates)) if len(candidates) == 1 else ""
        if owner:
            place = f"{owner}::{short_name(message.place)}" if message.place else ""
            printed[owner][f"<{place}>: {message.phrase}" if place else message.phrase] = None
    return {name: tuple(texts)[:MAX_MESSAGES] for name, texts in printed.items()}


def _is_variant(name: str, base: str) -> bool:
    """TH1F is a TH1 with another type of content: what TH1 says need not be said again."""
    return name.startswith(base)


def _document(
    path: str, scope: cpp.CppScope, inherited: list[cpp.CppScope], version: str, public: bool, printed: tuple[str, ...]
) -> Document:
    prose = scope.prose
    lead = scope.summary or doxygen.brief(prose)
    kind = "namespace" if scope.kind == "namespace" else "class"
    lines = [f"{scope.name}: {lead}" if lead else scope.name]
    if path.endswith((".h", ".hxx", ".hpp")) and kind == "class":
        lines.append(f'#include "{_include(path)}"')
    if scope.bases:
        lines.append(f"Inherits from {', '.join(scope.bases)}.")
    if prose:
        lines += ["", prose]
    own = {member.name for member in scope.members} - {short_name(scope.name)}
    if scope.members:
        lines += ["", "Functions:" if kind == "namespace" else "Methods:"]
        lines += [_member_text(member) for member in sorted(scope.members, key=lambda member: not member.comment)]
    if len(own) <= 5:
        for base in inherited:
            names = sorted({member.name for member in base.members} - {short_name(base.name)})
            if names:
                lines += ["", f"From {base.name}: {', '.join(names)}."]
    if printed:
        lines += ["", "Messages:", *(f"- {message}" for message in printed)]
    names = [scope.name]
    if "::" in scope.name:
        names.append(short_name(scope.name))
    return Document(
        id=f"class:{scope.name}",
        title=f"{scope.name}: {lead}" if lead else scope.name,
        source=scope.name,
        kind=kind,
        place=f"{path}:{scope.line}",
        url=class_url(scope.name, "namespace" if kind == "namespace" else scope.kind) if public else "",
        text="\n".join(lines),
        version=version,
        names=tuple(names),
        members=tuple(Member(member.name, member.signature, doxygen.brief(member.comment)) for member in scope.members),
        messages=printed,
    )


def _include(path: str) -> str:
    return path.split("/inc/", 1)[-1] if "/inc/" in path else path.removeprefix("include/")


def _member_text(member: cpp.CppMember) -> str:
    if not member.comment:
        return member.signature
    if "\n" in member.comment:
        return f"\n{member.signature}\n{member.comment}"
    return f"{member.signature}  // {member.comment}"


def tutorial_document(path: str, text: str, *, version: str, public: bool = True) -> Document | None:
    """A tutorial as a document: what its header comment says, then its code; None where there is nothing to read.

    Parameters
    ----------
    path
        Relative to the source's root, ``"tutorials/hist/hist001_TH1_fillrandom.C"``.
    """
    name = path.rsplit("/", 1)[-1]
    python = name.endswith(".py")
    lines = text.splitlines()
    start, end = _header(lines, python)
    about = doxygen.to_text("\n".join(lines[start:end]), python=python) if end > start else ""
    code = "\n".join([*lines[:start], *lines[end:]]).strip()
    if not code and not about:
        return None
    lead = doxygen.brief(about)
    return Document(
        id=f"tutorial:{path}",
        title=f"{name}: {lead}" if lead else name,
        source=name,
        kind="tutorial",
        place=f"{path}:1",
        url=tutorial_url(name) if public else "",
        text=f"{about}\n\n```{'python' if python else 'cpp'}\n{code}\n```".strip(),
        version=version,
        names=(name, name.rsplit(".", 1)[0]),
    )


def _header(lines: list[str], python: bool) -> tuple[int, int]:
    """The lines of the comment that tells what the file is, as a half-open range; empty where there is none."""
    number = 0
    while number < min(len(lines), 60):
        stripped = lines[number].strip()
        end = number + 1
        if not python and stripped.startswith("/*"):
            while end < len(lines) and "*/" not in lines[end - 1]:
                end += 1
        elif stripped.startswith("#" if python else "//"):
            mark = "#" if python else "//"
            while end < len(lines) and lines[end].strip().startswith(mark):
                end += 1
        elif stripped and not python:
            number = end
            continue
        block = lines[number:end]
        documents = stripped.startswith(("///", "//!", "/**", "/*!", "##")) or any("\\file" in line for line in block)
        if documents and not any("All rights reserved" in line for line in block):
            return number, end
        number = end
    return 0, 0
