"""Regular expressions of RE2's syntax as nondeterministic automata over code points.

The automaton is that of K. Thompson, "Regular Expression Search Algorithm", Commun. ACM 11 (1968) 419: code that walks all of its
states at once takes time proportional to the text for any pattern. See https://github.com/google/re2/wiki/Syntax for the syntax;
what makes no difference to whether a whole text matches (captures, laziness) is read and dropped.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from mlcore.errors import InputError, UnsupportedFeatureError

Range = tuple[int, int]

LAST = sys.maxunicode
MOST_REPEATS = 1000
MOST_STATES = 10_000
MOST_DEPTH = 100

SET, SPLIT, ASSERT, MATCH = range(4)
"""Kinds of instructions: one code point of a set, two ways on, a condition on the place, the end."""

TEXT_BEGIN, TEXT_END, LINE_BEGIN, LINE_END, WORD_BOUNDARY, NO_WORD_BOUNDARY = range(6)
"""Conditions."""

_DIGITS = ((48, 57),)
_WORD = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE = ((9, 10), (12, 13), (32, 32))
_POSIX = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": _DIGITS,
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": _WORD,
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}
_ESCAPES = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_CLASSES = {"d": _DIGITS, "s": _SPACE, "w": _WORD}


# The pattern as a tree.


@dataclass(frozen=True)
class _Set:
    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class _Assert:
    kind: int


@dataclass(frozen=True)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True)
class _Choice:
    parts: tuple[_Node, ...]


@dataclass(frozen=True)
class _Repeat:
    part: _Node
    least: int
    most: int | None


_Node = _Set | _Assert | _Sequence | _Choice | _Repeat


@dataclass(frozen=True)
class Automaton:
    """States and the sets of code points that they ask for.

    Attributes
    ----------
    states
        Triples: kind, argument (number of a set, of a condition, or a state), next state. The first is where it begins.
    sets
        Ranges of code points, both ends included, sorted.
    """

    states: tuple[tuple[int, int, int], ...]
    sets: tuple[tuple[Range, ...], ...]


def compile_pattern(pattern: str) -> Automaton:
    """The automaton of a pattern.

    Raises
    ------
    InputError
        It is no regular expression, or a very large one.
    UnsupportedFeatureError
        It uses a script's name or a single byte.
    """
    return _Builder().build(_Parser(pattern).parse())


def normalised(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """Sorted, without overlaps or neighbours."""
    result: list[Range] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], high))
        else:
            result.append((low, high))
    return tuple(result)


def complement(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """Every code point that is in none of the ranges."""
    result, start = [], 0
    for low, high in normalised(ranges):
        if low > start:
            result.append((start, low - 1))
        start = high + 1
    return (*result, (start, LAST)) if start <= LAST else tuple(result)


@cache
def _category(name: str) -> tuple[Range, ...]:
    """Code points of a general category of Unicode, such as L or Lu."""
    chosen = [code for code in range(LAST + 1) if unicodedata.category(chr(code)).startswith(name)]
    return normalised([(code, code) for code in chosen])


@cache
def _orbits() -> dict[int, tuple[int, ...]]:
    """Code points that are the same but for their case, by each of them; only those with more than one."""
    groups: dict[str, list[int]] = {}
    for code in range(LAST + 1):
        char = chr(code)
        folded = char.casefold()
        if len(folded) != 1:
            folded = char.lower() if len(char.lower()) == 1 else char
        if folded != char or char.upper() != char:
            groups.setdefault(folded, []).append(code)
    return {code: tuple(group) for group in groups.values() if len(group) > 1 for code in group}


def _any_case(ranges: Sequence[Range]) -> tuple[Range, ...]:
    found = list(ranges)
    for code, group in _orbits().items():
        if any(low <= code <= high for low, high in ranges):
            found += [(other, other) for other in group]
    return normalised(found)


@dataclass
class _Flags:
    ignore_case: bool = False
    multi_line: bool = False
    dot_newline: bool = False


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0
        self.flags = _Flags()
        self.depth = 0

    def fail(self, why: str) -> InputError:
        shown = self.text if len(self.text) <= 80 else f"{self.text[:80]}..."
        return InputError(
            f"the pattern {shown!r} is no regular expression: {why} at character {self.at}",
            hint="The syntax is RE2's: there are no look-arounds and no back-references.",
            code="network.pattern",
        )

    def unsupported(self, what: str) -> UnsupportedFeatureError:
        return UnsupportedFeatureError(f"{what} in regular expressions is not supported", hint="Name the characters in a class.")

    def parse(self) -> _Node:
        node = self.choice()
        if self.at < len(self.text):
            raise self.fail("an unexpected ')'")
        return node

    # Reading.

    def peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def take(self, text: str) -> bool:
        if self.peek(text):
            self.at += len(text)
            return True
        return False

    def next(self) -> str:
        if self.at >= len(self.text):
            raise self.fail("an unexpected end")
        self.at += 1
        return self.text[self.at - 1]

    # Structure.

    def choice(self) -> _Node:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise self.fail(f"groups nested deeper than {MOST_DEPTH}")
        outer = _Flags(**vars(self.flags))
        parts = [self.sequence()]
        while self.take("|"):
            parts.append(self.sequence())
        self.flags = outer
        self.depth -= 1
        return parts[0] if len(parts) == 1 else _Choice(tuple(parts))

    def sequence(self) -> _Node:
        parts: list[_Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            atom = self.atom()
            if atom is not None:
                parts.append(self.repeated(atom))
        return parts[0] if len(parts) == 1 else _Sequence(tuple(parts))

    def repeated(self, atom: _Node) -> _Node:
        count = self.count()
        if count is None:
            return atom
        self.take("?")
        if self.count() is not None:
            raise self.fail("a repetition of a repetition")
        least, most = count
        return _Repeat(atom, least, most)

    def count(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.take(sign):
                return bounds
        if not self.peek("{"):
            return None
        end = self.text.find("}", self.at)
        first, comma, second = self.text[self.at + 1 : end].partition(",") if end > 0 else ("", "", "")
        # Anything else in braces stands for itself.
        if not _is_number(first) or (second and not _is_number(second)):
            return None
        least = int(first)
        most = least if not comma else int(second) if second else None
        self.at = end + 1
        if least > MOST_REPEATS or (most is not None and (most > MOST_REPEATS or most < least)):
            raise self.fail(f"a repetition of {least} to {most} times, where {MOST_REPEATS} are the most")
        return least, most

    def atom(self) -> _Node | None:
        char = self.next()
        match char:
            case "(":
                return self.group()
            case "[":
                return _Set(self.char_class())
            case ".":
                return _Set(((0, LAST),) if self.flags.dot_newline else complement([(10, 10)]))
            case "^":
                return _Assert(LINE_BEGIN if self.flags.multi_line else TEXT_BEGIN)
            case "$":
                return _Assert(LINE_END if self.flags.multi_line else TEXT_END)
            case "*" | "+" | "?":
                raise self.fail("a repetition of nothing")
            case "\\":
                return self.escape()
        return self.literal(ord(char))

    def literal(self, code: int) -> _Set:
        group = _orbits().get(code, (code,)) if self.flags.ignore_case else (code,)
        return _Set(normalised([(item, item) for item in group]))

    def group(self) -> _Node | None:
        if not self.take("?"):
            return self.closed()
        if self.take("P<") or (self.peek("<") and not self.peek("<=") and not self.peek("<!") and self.take("<")):
            name = ""
            while not self.take(">"):
                name += self.next()
            if not name.replace("_", "a").isalnum():
                raise self.fail(f"the group name {name!r}")
            return self.closed()
        flags, value = _Flags(**vars(self.flags)), True
        names = {"i": "ignore_case", "m": "multi_line", "s": "dot_newline"}
        while True:
            char = self.next()
            if char == "-" and value:
                value = False
            elif char in names:
                setattr(flags, names[char], value)
            elif char == ")":
                self.flags = flags
                return None
            elif char == ":":
                outer, self.flags = self.flags, flags
                node = self.closed()
                self.flags = outer
                return node
            elif char != "U":
                raise self.fail(f"the group (?{char}")

    def closed(self) -> _Node:
        node = self.choice()
        if not self.take(")"):
            raise self.fail("a missing ')'")
        return node

    # Characters.

    def escape(self) -> _Node:
        if self.take("Q"):
            end = self.text.find("\\E", self.at)
            quoted = self.text[self.at : end if end >= 0 else len(self.text)]
            self.at += len(quoted) + (2 if end >= 0 else 0)
            return _Sequence(tuple(self.literal(ord(char)) for char in quoted))
        for letter, kind in (("A", TEXT_BEGIN), ("z", TEXT_END), ("b", WORD_BOUNDARY), ("B", NO_WORD_BOUNDARY)):
            if self.take(letter):
                return _Assert(kind)
        if self.peek("C"):
            raise self.unsupported("a single byte (\\C)")
        ranges = self.class_escape()
        return self.literal(self.code_escape()) if ranges is None else _Set(ranges)

    def class_escape(self) -> tuple[Range, ...] | None:
        r"""Behind a backslash: \d, \S, \pL, \P{Lu} and the like."""
        letter = self.text[self.at : self.at + 1]
        ranges: tuple[Range, ...]
        if letter and letter.lower() in _CLASSES:
            self.at += 1
            ranges = _CLASSES[letter.lower()]
            return ranges if letter.islower() else complement(ranges)
        if letter not in ("p", "P"):
            return None
        self.at += 1
        name = self.next()
        if name == "{":
            end = self.text.find("}", self.at)
            if end < 0:
                raise self.fail("a missing '}'")
            name, self.at = self.text[self.at : end], end + 1
        negative = (letter == "P") != name.startswith("^")
        name = name.removeprefix("^")
        if name == "Any":
            ranges = ((0, LAST),)
        elif 1 <= len(name) <= 2 and name[0] in "CLMNPSZ":
            ranges = _category(name)
        else:
            raise self.unsupported(f"the script {name!r}")
        if self.flags.ignore_case:
            ranges = _any_case(ranges)
        return complement(ranges) if negative else ranges

    def code_escape(self) -> int:
        """Behind a backslash: one code point."""
        char = self.next()
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char == "x":
            if self.take("{"):
                digits = ""
                while not self.take("}"):
                    digits += self.next()
            else:
                digits = self.next() + self.next()
            if not digits or any(digit not in "0123456789abcdefABCDEF" for digit in digits) or int(digits, 16) > LAST:
                raise self.fail(f"the code {digits!r}")
            return int(digits, 16)
        if char in "01234567":
            digits = char
            while len(digits) < 3 and self.text[self.at : self.at + 1] in tuple("01234567"):
                digits += self.next()
            if char != "0" and len(digits) == 1:
                raise self.fail(f"the back-reference \\{char}")
            return int(digits, 8)
        if char.isascii() and not char.isalnum():
            return ord(char)
        raise self.fail(f"the escape \\{char}")

    def char_class(self) -> tuple[Range, ...]:
        negative = self.take("^")
        ranges: list[Range] = []
        first = True
        while first or not self.peek("]"):
            first = False
            if self.peek("[:") and self.text.find(":]", self.at) > 0:
                end = self.text.find(":]", self.at)
                name, self.at = self.text[self.at + 2 : end], end + 2
                known = _POSIX.get(name.removeprefix("^"))
                if known is None:
                    raise self.fail(f"the class {name!r}")
                ranges += complement(known) if name.startswith("^") else known
                continue
            if self.peek("\\"):
                self.at += 1
                found = self.class_escape()
                if found is not None:
                    ranges += found
                    continue
                low = self.code_escape()
            else:
                low = ord(self.next())
            high = low
            if self.peek("-") and not self.peek("-]"):
                self.at += 1
                high = self.code_escape() if self.take("\\") else ord(self.next())
                if high < low:
                    raise self.fail("a range that runs backwards")
            ranges.append((low, high))
        self.at += 1
        result = normalised(ranges)
        if self.flags.ignore_case:
            result = _any_case(result)
        return complement(result) if negative else result


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


@dataclass
class _Builder:
    """States, made from the end of the pattern to its beginning."""

    states: list[list[int]] = field(default_factory=list)
    sets: dict[tuple[Range, ...], int] = field(default_factory=dict)

    def build(self, node: _Node) -> Automaton:
        end = self.state(MATCH, 0, 0)
        begin = self.node(node, end)
        # The state where it begins changes places with the first.
        order = {begin: 0, 0: begin}
        renamed = [
            (kind, order.get(argument, argument) if kind == SPLIT else argument, order.get(following, following))
            for kind, argument, following in self.states
        ]
        renamed[0], renamed[begin] = renamed[begin], renamed[0]
        return Automaton(tuple(renamed), tuple(self.sets))

    def state(self, kind: int, argument: int, following: int) -> int:
        if len(self.states) >= MOST_STATES:
            raise InputError(
                f"a regular expression has more than {MOST_STATES} states",
                hint="Repeat shorter parts, or less often.",
                code="network.pattern",
            )
        self.states.append([kind, argument, following])
        return len(self.states) - 1

    def node(self, node: _Node, following: int) -> int:
        match node:
            case _Set(ranges):
                return self.state(SET, self.sets.setdefault(ranges, len(self.sets)), following)
            case _Assert(kind):
                return self.state(ASSERT, kind, following)
            case _Sequence(parts):
                for part in reversed(parts):
                    following = self.node(part, following)
                return following
            case _Choice(parts):
                begin = self.node(parts[-1], following)
                for part in reversed(parts[:-1]):
                    begin = self.state(SPLIT, self.node(part, following), begin)
                return begin
        return self.repeat(node, following)

    def repeat(self, node: _Repeat, following: int) -> int:
        if node.most is None:
            loop = self.state(SPLIT, 0, following)
            self.states[loop][1] = self.node(node.part, loop)
            begin = loop
        else:
            begin = following
            for _ in range(node.most - node.least):
                begin = self.state(SPLIT, self.node(node.part, begin), following)
        for _ in range(node.least):
            longer = self.node(node.part, begin)
            if longer == begin:
                break  # Nothing, however often it is repeated.
            begin = longer
        return begin
