"""Error messages that C++ code can print, each with the class or function that prints it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SPACE = r"\s*"
_LITERALS = r"((?:\"(?:[^\"\\\n]|\\.)*\"\s*(?:[A-Z]\w*64\w*\s*)?)+)"  # neighbours are one string, macros of formats between them
_SCAN = re.compile(
    # A definition outside its class: `Int_t TH1::Fill(`.
    r"^(?![ \t#/*]|return\b|throw\b|else\b)[^\n;{}()=\"]*?"
    r"\b(?P<owner>[A-Za-z_]\w*(?:<[^<>\n]*>)?(?:::[A-Za-z_]\w*)*)::~?[A-Za-z_]\w*\s*\("
    # A class with its body.
    r"|^[ \t]*(?:template\s*<[^\n{;]*>\s*)?(?:class|struct)\s+(?:\w+\s+)?(?P<class>[A-Z]\w*)\s*(?:final\s*)?"
    r"(?::[^:;{][^;{]*)?\{"
    # ROOT's own messages: a place, then the text.
    rf"|\b(?P<kind>Error|SysError|Warning|Fatal){_SPACE}\({_SPACE}(?:\"(?P<place>[^\"\n]*)\"|\w+){_SPACE},{_SPACE}"
    rf"(?:Form{_SPACE}\({_SPACE})?{_LITERALS}"
    rf"|\bR__(?:ERROR|WARNING)_HERE{_SPACE}\({_SPACE}\"[^\"\n]*\"{_SPACE},{_SPACE}{_LITERALS}"
    # Exceptions, and what RNTuple calls a failure.
    rf"|\b(?:throw{_SPACE}[\w:]+|R__FAIL|RException){_SPACE}\({_SPACE}(?:std::string{_SPACE}\({_SPACE})?(?:R__FAIL{_SPACE}\({_SPACE})?{_LITERALS}"
    # The modern log: the text is streamed.
    rf"|\bR__LOG_(?:ERROR|WARNING|FATAL){_SPACE}\([^()\n]*(?:\(\))?\){_SPACE}<<{_SPACE}{_LITERALS}",
    re.MULTILINE,
)
_REPORTS = re.compile(r"\b(?:Error|SysError|Warning|Fatal|R__\w+)\s*\(|\bthrow\b|\bRException\b")
_FORMAT = re.compile(r"%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|j|t|L)?[diouxXeEfgGaAcspn]|%%")
_PIECE = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"")
_ESCAPE = re.compile(r"\\([ntr\"'\\])")
_SHORTEST = 3  # words of a phrase that tells one message from another
LONGEST = 240  # characters of a phrase that are kept


@dataclass(frozen=True, slots=True)
class Reported:
    """A message in the source.

    Attributes
    ----------
    owner
        The class or namespace whose code prints it, as written there: ``"TFile"``, ``"ROOT::RNTuple"``.
    place
        What stands between the angle brackets of ``Error in <...>``: ``"TFile::Open"``; empty for exceptions.
    phrase
        The text, with ``...`` where a value is printed.
    """

    owner: str
    place: str
    phrase: str


def read(text: str) -> Iterator[Reported]:
    """The messages of one C++ file, in their order.

    >>> code = 'int TFile::Open(const char *n)\\n{\\n   Error("Open", "file %s does not exist", n);\\n}\\n'
    >>> next(read(code))
    Reported(owner='TFile', place='TFile::Open', phrase='file ... does not exist')
    """
    if not _REPORTS.search(text):
        return
    owner = ""
    for match in _SCAN.finditer(text):
        if match["owner"]:
            owner = re.sub(r"<[^<>]*>", "", match["owner"])
            continue
        if match["class"]:
            owner = match["class"]
            continue
        literal = next(group for group in reversed(match.groups()) if group)
        said = phrase(literal)
        place = match["place"] or ""
        holder, qualified, _method = place.rpartition("::")
        if qualified:
            reporter = holder
        else:
            reporter, place = owner, f"{owner}::{place}" if owner and place else ""
        if reporter and len(re.findall(r"[A-Za-z]{2,}", said)) >= _SHORTEST:
            yield Reported(reporter, place if match["kind"] else "", said)


def phrase(literals: str) -> str:
    """Neighbouring string literals as one line of text, values left open."""
    text = "".join(_PIECE.findall(literals)) if '"' in literals else literals
    text = _FORMAT.sub(" ... ", _ESCAPE.sub(lambda match: " " if match[1] in "ntr" else match[1], text))
    return " ".join(text.split())[:LONGEST].strip(" .:;,!") if text else ""
