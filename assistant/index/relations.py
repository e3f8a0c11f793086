"""What documents have to do with each other: names, uses of classes, and how common a class is."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log1p

from assistant.index.store import CorpusDocument, Name
from assistant.index.tokens import looks_like_identifier

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_VARIANT = re.compile(r"^(T[A-Z]\w*\d)[CSIFDLK]$")
_DEFINING = frozenset({"class", "namespace"})
_EXAMPLES = frozenset({"tutorial"})
ALIAS_WEIGHT = 0.9
# Chunks of a document that are embedded, from its beginning: what comes later is code and lists of methods, which words find better.
EMBEDDED: Mapping[str, int] = {"class": 6, "tutorial": 4, "release": 6, "namespace": 6, "api": 1}


@dataclass(frozen=True, slots=True)
class Relations:
    """Relations between documents, by number.

    Attributes
    ----------
    names
        Every name that denotes a document.
    uses
        For each document the class documents that its text uses, without itself.
    prior
        For each document how common it is, from 0 to 1: for a class the logarithm of the tutorials that use it.
    """

    names: list[Name]
    uses: list[list[int]]
    prior: list[float]


def relate(documents: Sequence[CorpusDocument]) -> Relations:
    """The relations of a corpus."""
    names = _names(documents)
    targets: dict[str, list[int]] = defaultdict(list)
    for name in names:
        kind = documents[name.document].document.kind
        if kind == "class" and "::" not in name.name and looks_like_identifier(name.name):
            targets[name.name].append(name.document)
    # A short name shared by many classes (Iterator, Config) says nothing.
    unique = {name: found for name, found in targets.items() if len(found) <= 2}
    uses: list[list[int]] = []
    users: Counter[int] = Counter()
    for number, item in enumerate(documents):
        if item.document.kind in _DEFINING:
            uses.append([])
            continue
        words = set(_IDENTIFIER.findall(item.document.text))
        used = sorted({target for word in words & unique.keys() for target in unique[word]} - {number})
        uses.append(used)
        if item.document.kind in _EXAMPLES:
            users.update(used)
    most = log1p(max(users.values(), default=1))
    prior = [log1p(users[number]) / most for number in range(len(documents))]
    return Relations(names, uses, prior)


def _names(documents: Sequence[CorpusDocument]) -> list[Name]:
    names: dict[tuple[str, int], Name] = {}
    classes: dict[str, int] = {}
    for number, item in enumerate(documents):
        for name in item.document.names:
            names.setdefault((name, number), Name(name, number, 1.0))
        if item.document.kind == "class":
            classes.setdefault(item.document.source, number)
    for name in list(classes):  # TH1F is documented where TH1 is
        variant = _VARIANT.match(name)
        base = classes.get(variant.group(1)) if variant else None
        if base is not None:
            names.setdefault((name, base), Name(name, base, ALIAS_WEIGHT))
    return list(names.values())


def dense_order(documents: Sequence[CorpusDocument], relations: Relations, chunk_documents: Sequence[int]) -> list[int]:
    """The chunks to embed, most useful first: common classes and the tutorials that use them, and of each the beginning.

    Parameters
    ----------
    chunk_documents
        The document of each chunk, ascending.
    """
    worth: list[float] = []
    for number, item in enumerate(documents):
        used = [relations.prior[target] for target in relations.uses[number]]
        mean = sum(used) / len(used) if used else 0.0
        base = {"class": relations.prior[number], "tutorial": 0.3 + 0.7 * mean, "pythonization": 0.9, "manual": 0.8}
        worth.append(base.get(item.document.kind, 0.4))
    position: Counter[int] = Counter()
    keys: list[tuple[float, int]] = []
    for chunk, document in enumerate(chunk_documents):
        if position[document] < EMBEDDED.get(documents[document].document.kind, len(chunk_documents)):
            keys.append((worth[document] - 0.05 * position[document], -chunk))
        position[document] += 1
    return [-chunk for _worth, chunk in sorted(keys, reverse=True)]
