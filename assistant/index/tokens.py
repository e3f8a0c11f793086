"""Words and identifiers of prose and code, as tokens of the lexical index.

``TTree::SetBranchAddress`` gives itself, ``ttree``, ``setbranchaddress`` and the words of both, so that a question finds it by
whichever of them it uses.
"""

from __future__ import annotations

import re
from functools import lru_cache

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*(?:::~?[A-Za-z_]\w*)*|\d+(?:\.\d+)?")
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:(?:::|\.)~?[A-Za-z_]\w*)*")
_PREFIX = re.compile(r"^(?:Roo|[TR])(?=[A-Z][a-z]+)")
_STOP_WORDS = """
a about also am an and any anyone are as at be been but by can could dear did do does for from get had has have hello
help hi how i if in into is it its just know like me my need no not of on one or our please root so some such than
thanks that the their them then there these they this those to too trying use used using want was way we were what when
where which while who why will with would you your
"""
_STOP = frozenset(_STOP_WORDS.split())


def tokenize(text: str) -> list[str]:
    """The tokens of `text` in order, lower-cased; stop words and single letters are left out.

    >>> tokenize("Fill a TH1F")
    ['fill', 'th1f', 'th']
    >>> tokenize("TTree::SetBranchAddress")
    ['ttree::setbranchaddress', 'ttree', 'tree', 'setbranchaddress', 'set', 'branch', 'address']
    """
    return [token for identifier in identifiers(text) for token in expand(identifier)]


def identifiers(text: str) -> list[str]:
    """The words and identifiers of `text` as written: `expand` makes tokens of each."""
    return _IDENTIFIER.findall(text)


@lru_cache(maxsize=200_000)
def expand(identifier: str) -> tuple[str, ...]:
    """The tokens of one word or identifier: itself, its components, their words."""
    tokens: list[str] = []
    if "::" in identifier:
        tokens.append(identifier.lower())
    for component in identifier.split("::"):
        whole = component.strip("_~")
        lower = whole.lower()
        if not lower or lower in _STOP:
            continue
        parts = [part for piece in whole.split("_") for part in _WORD.findall(piece)]
        if len(parts) <= 1:
            if len(lower) > 1:
                tokens.append(_stem(lower))
            continue
        tokens.append(lower)
        bare = _PREFIX.sub("", whole)
        if bare != whole and len(_WORD.findall(bare)) > 1:  # RDataFrame is also called a dataframe
            tokens.append(bare.lower())
        tokens += [_stem(part.lower()) for part in parts if len(part) > 1 and part.lower() not in _STOP]
    return tuple(tokens)


def mentions(query: str) -> list[str]:
    """Identifiers in a question as written, longest form first: ``uproot.open`` before ``open``.

    A plain word counts only where it could not be prose: with a second capital, a digit, an underscore, ``::`` or a dot in it.
    Lower-case words are kept too, last: ``ttree`` may be a known name.
    """
    found: dict[str, None] = {}
    plain: dict[str, None] = {}
    for match in _DOTTED.finditer(query):
        word = match.group()
        pieces = re.split(r"::|\.", word)
        for start in range(len(pieces)):
            for end in range(len(pieces), start, -1):
                separator = "::" if "::" in word else "."
                name = separator.join(pieces[start:end])
                target = found if looks_like_identifier(name) else plain
                target.setdefault(name)
    return [*found, *(word for word in plain if len(word) > 3)]


def looks_like_identifier(word: str) -> bool:
    """Whether `word` could hardly be prose."""
    return bool(re.search(r"::|\.|_|[a-z0-9][A-Z]|[A-Z]{2}|[A-Za-z]\d", word)) and not re.fullmatch(
        r"[A-Z]{2,5}s?|v?\d[\d.]*", word
    )


def _stem(word: str) -> str:
    """`word` without the endings of plural, participle and gerund: enough to match "histograms" with "histogram"."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if len(word) > len(ending) + 3 and word.endswith(ending):
            base = word[: -len(ending)]
            return base[:-1] if base[-1] == base[-2] and base[-1] not in "ls" else base
    return word[:-1] if len(word) > 4 and word.endswith("e") else word
