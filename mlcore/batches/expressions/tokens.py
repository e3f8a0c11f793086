"""The tokens of an expression: names, numbers and operators, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from mlcore.batches.expressions.faults import Span, fault

_WORD = r"[^\W\d]\w*"
_NUMBER = r"0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_OPERATORS = r"\*\*|//|&&|\|\||<<|>>|<=|>=|==|!=|<>|[-+*/%<>!~&|?:()\[\],.^=]"
_TOKEN = re.compile(
    rf"(?P<space>\s+)|(?P<number>(?:{_NUMBER})\w*)|`(?P<quoted>[^`]*)`|(?P<name>{_WORD}(?:(?:\.|::){_WORD})*\$?)|(?P<operator>{_OPERATORS})"
)
_PARTS = re.compile(rf"(?P<digits>{_NUMBER})(?P<suffix>\w*)")

_MOST_DIGITS = 400
_UNSIGNED_END = 1 << 64

_ODD = {
    "'": "There is no text in expressions; a column's name stands in `backquotes`.",
    '"': "There is no text in expressions; a column's name stands in `backquotes`.",
    "`": "A backquote opens a name, and another one must close it.",
    ";": "An expression is one value, without a semicolon.",
    "@": "Write Length(x) for the number of values of a row.",
    "{": "Write the values of `in` in parentheses.",
}


@dataclass(frozen=True)
class Token:
    """A piece of the text.

    Attributes
    ----------
    kind
        ``"name"``, ``"quoted"``, ``"number"``, ``"operator"`` or ``"end"``.
    text
        As written; of a quoted name what is between the quotes.
    span
        Where.
    value
        Of a number.
    """

    kind: str
    text: str
    span: Span
    value: int | float = 0


def tokens(source: str) -> list[Token]:
    """All tokens of a text and one for its end.

    Raises
    ------
    InputError
        There is something that no expression has.
    """
    found = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise fault(source, (at, at + 1), f"{source[at]!r} has no place in an expression", _ODD.get(source[at], ""))
        kind = match.lastgroup or ""
        text, span = match[kind], match.span()
        at = match.end()
        if kind == "number":
            found.append(Token(kind, text, span, _number(source, text, span)))
        elif kind == "quoted" and (not text or not text.isprintable()):
            raise fault(source, span, "there is no such name", "A name has a character, and none that cannot be shown.")
        elif kind != "space":
            found.append(Token(kind, text, span))
    return [*found, Token("end", "", (len(source), len(source)))]


def _number(source: str, text: str, span: Span) -> int | float:
    match = _PARTS.fullmatch(text)
    digits, suffix = (match["digits"], match["suffix"].lower()) if match else (text, "?")
    if suffix not in {"", "f", "l", "u", "ul", "lu", "ll", "ull", "llu"}:
        raise fault(source, span, f"{text[:40]!r} is no number", "A name starts with a letter or stands in `backquotes`.")
    if len(digits) > _MOST_DIGITS:
        raise fault(source, span, "the number has too many digits")
    if digits[:2] in {"0x", "0X"}:
        value: int | float = int(digits, 16)
    elif digits.isdigit() and suffix != "f":
        if len(digits) > 1 and digits[0] == "0":
            raise fault(source, span, "a whole number starts with 0", "C would read it as octal; leave out the zero.")
        value = int(digits)
    else:
        if "u" in suffix:
            raise fault(source, span, f"{text[:40]!r} is no number", "The suffix u is for whole numbers.")
        value = float(digits)
        if suffix == "f":
            with np.errstate(over="ignore"):
                value = float(np.float32(value))
        if value == float("inf"):
            raise fault(source, span, "the number is too large", "Write inf() for infinity.")
    if isinstance(value, int) and value >= _UNSIGNED_END:
        raise fault(source, span, "the number needs more than 64 bits", "Write it as a real, such as 1e20.")
    return value
