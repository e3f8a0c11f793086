"""The line under an answer that says which versions it is about."""

from __future__ import annotations

from collections.abc import Sequence

from assistant.corpus.versions import release
from assistant.passages import Passage

_ROOT = "https://root.cern/"
_PAGES_OF_ROOT = frozenset({"class", "namespace", "tutorial", "pythonization", "manual"})


def stated(passages: Sequence[Passage], wanted: str = "") -> str:
    """Which versions `passages` are of, as a sentence; empty where none says.

    Parameters
    ----------
    wanted
        The release of ROOT that the question is about, empty where it names none.
    """
    root = dict.fromkeys(
        p.version for p in passages if p.kind in _PAGES_OF_ROOT and p.url.startswith(_ROOT) and release(p.version)
    )
    others = dict.fromkeys(
        f"{p.source.partition('.')[0]} {p.version}" for p in passages if p.kind == "api" and p.source and release(p.version)
    )
    products = [*(f"ROOT {version}" for version in root), *others]
    if not products:
        return ""
    sentence = f"From the documentation of {_and(products)}."
    if wanted and root and wanted not in {release(version) for version in root}:
        sentence += f" You ask about ROOT {wanted}, where names and defaults may differ."
    return sentence


def _and(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
