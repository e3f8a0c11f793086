"""C++ as people write it for ROOT, cut into steps that its interpreter takes: macros, programs and loose snippets.

A macro of functions is loaded and one of them called: the one named as the file, ``main``, or the last that nothing else calls.
Statements outside functions are executed as at ROOT's prompt, in the order of the text, so that a snippet may go on after a
function or a class. The text is cut at brackets and semicolons, with comments, strings and preprocessor lines stepped over; what
it means is for the interpreter to say.

>>> steps("void plot(int n = 3) { }").call
'plot()'
>>> [step.kind for step in steps("#include <vector>\\nint twice(int n) { return 2 * n; }\\nint four = twice(2);").parts]
['declare', 'execute']
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Part", "Steps", "steps"]

MAIN = "main_of_the_snippet"  # C++ forbids calling main()

_TOKEN = re.compile(
    r"""
      (?P<comment>//(?:[^\n\\]|\\.)*|/\*.*?(?:\*/|\Z))
    | (?P<raw>R"(?P<mark>[^()\\\s]{0,16})\(.*?(?:\)(?P=mark)"|\Z))
    | (?P<string>"(?:[^"\\\n]|\\.)*(?:"|$))
    | (?P<char>'(?:[^'\\\n]|\\.)+')
    | (?P<directive>^[ \t]*\#(?:[^\n\\]|\\.)*)
    | (?P<number>\b\d[\w.']*)
    | (?P<bracket>[()\[\]{}])
    | (?P<semicolon>;)
    | (?P<space>\s+)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CONTROL = frozenset({"if", "else", "for", "while", "do", "switch", "try", "catch", "return", "case", "default"})
_TYPES = frozenset({"class", "struct", "union", "enum"})
_DECLARING = frozenset({"using", "typedef", "template", "namespace", "extern", "static_assert", *_TYPES})
_NOT_NAMES = frozenset({"decltype", "noexcept", "alignas", "__attribute__", "throw", "sizeof", "operator", *_CONTROL})
_PARAMETER = re.compile(
    r"\s*(?:const\b|unsigned\b|void\b|bool\b|char\b|int\b|long\b|short\b|float\b|double\b|\w+_t\b|[A-Za-z_][\w: ]*[*&])"
)
_LOADING = re.compile(r"R__(?:LOAD_LIBRARY|ADD_INCLUDE_PATH|ADD_LIBRARY_PATH)\s*\([^)]*\)\s*;?")


@dataclass(frozen=True)
class Part:
    """A piece of the text: declarations to load, or statements to execute. ``line`` is its first line, from 1."""

    kind: Literal["declare", "execute"]
    text: str
    line: int


@dataclass(frozen=True)
class Steps:
    """What to do with a text: its parts in order, then the call, empty where there is none to make."""

    parts: tuple[Part, ...]
    call: str = ""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int


@dataclass(frozen=True)
class _Function:
    name: str
    parameters: str
    body: tuple[str, ...]

    @property
    def callable(self) -> bool:
        """Whether it can be called without arguments."""
        if self.parameters.strip() in ("", "void"):
            return True
        return all("=" in parameter for parameter in _split(self.parameters))


def steps(text: str, name: str = "") -> Steps:
    """Cut a text.

    Parameters
    ----------
    name
        The macro's name without its ending, where it has one: its function of this name is called.
    """
    inner = _unnamed(text)
    if inner is not None:
        return Steps((Part("execute", inner, 1),))
    parts: list[Part] = []
    functions: list[_Function] = []
    for tokens in _chunks(text):
        declared, function = _read(tokens)
        if function is not None:
            functions.append(function)
        kind: Literal["declare", "execute"] = "declare" if declared else "execute"
        piece = "".join(token.text for token in tokens)
        if parts and parts[-1].kind == kind:
            parts[-1] = Part(kind, parts[-1].text + piece, parts[-1].line)
        else:
            parts.append(Part(kind, piece, text.count("\n", 0, tokens[0].start) + 1))
    executes = any(part.kind == "execute" for part in parts)
    chosen = None if executes else _entry(functions, name)
    if chosen is None:
        return Steps(tuple(parts))
    if chosen.name != "main":
        return Steps(tuple(parts), f"{chosen.name}()")
    renamed = tuple(Part(part.kind, re.sub(r"\bmain(\s*\()", rf"{MAIN}\1", part.text), part.line) for part in parts)
    arguments = "0, nullptr" if len(_split(chosen.parameters)) > 1 else ""
    return Steps(renamed, f"{MAIN}({arguments})")


def _unnamed(text: str) -> str | None:
    """What stands in an unnamed macro, a text in one pair of braces, its lines where they were; None for any other text."""
    tokens = [token for token in _tokens(text) if token.kind not in ("space", "comment", "directive")]
    if not tokens or tokens[0].text != "{":
        return None
    depth = 0
    for index, token in enumerate(tokens):
        depth += {"{": 1, "}": -1}.get(token.text, 0) if token.kind == "bracket" else 0
        if not depth:
            if any(other.kind != "semicolon" for other in tokens[index + 1 :]):
                return None
            return f"{text[: tokens[0].start]} {text[tokens[0].start + 1 : token.start]}"
    return None


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        yield _Token("raw" if kind == "mark" else kind, match.group(), match.start())


def _chunks(text: str) -> Iterator[list[_Token]]:
    """Top-level pieces: each a preprocessor line, a declaration or a statement, with the white space and comments before it."""
    chunk: list[_Token] = []
    open_brackets: list[str] = []
    for token in _tokens(text):
        chunk.append(token)
        if token.kind == "directive" and not open_brackets and not _meaning(chunk[:-1]):
            yield chunk
            chunk = []
        elif token.kind == "bracket":
            if token.text in _CLOSING:
                open_brackets.append(_CLOSING[token.text])
            elif token.text in open_brackets:  # closes what was left open inside, too
                while open_brackets.pop() != token.text:
                    pass
                if token.text == "}" and not open_brackets and _ends_with_brace(chunk):
                    yield chunk
                    chunk = []
        elif token.kind == "semicolon" and not open_brackets:
            yield chunk
            chunk = []
    if _meaning(chunk):
        yield chunk


def _meaning(tokens: list[_Token]) -> list[_Token]:
    return [token for token in tokens if token.kind not in ("space", "comment")]


def _head(tokens: list[_Token]) -> list[_Token]:
    """What stands before the first brace outside of other brackets, or before the end."""
    depth = 0
    found: list[_Token] = []
    for token in _meaning(tokens):
        if token.kind == "bracket":
            if token.text == "{" and not depth:
                break
            depth += 1 if token.text in _CLOSING else -1
        found.append(token)
    return found


def _ends_with_brace(chunk: list[_Token]) -> bool:
    """Whether a piece that now ends with a brace is whole: it is no class, no initialiser, no lambda."""
    head = _head(chunk)
    if not head:
        return True  # a block
    first = head[0].text
    if first in _CONTROL:
        return first != "do"
    if first in ("namespace", "extern"):
        return True
    outer = _outer(head)
    if any(token.text in _TYPES for token in outer) and head[-1].text != ")":
        return False
    if any(token.text == "=" for token in outer) and "operator" not in [token.text for token in outer]:
        return False
    return any(token.text == "(" for token in head) and head[-1].text not in ("]", ",")


def _outer(tokens: list[_Token]) -> list[_Token]:
    """The tokens outside of brackets."""
    depth = 0
    found: list[_Token] = []
    for token in tokens:
        if token.kind == "bracket":
            depth += 1 if token.text in _CLOSING else -1
        elif not depth:
            found.append(token)
    return found


def _read(chunk: list[_Token]) -> tuple[bool, _Function | None]:
    """Whether a piece declares rather than does something, and the function that it defines."""
    tokens = _meaning(chunk)
    if not tokens or tokens[0].kind == "directive":
        return True, None
    head = _head(chunk)
    first = head[0].text if head else "{"
    if first in _DECLARING:
        return True, None
    if _announces(head):
        return True, None
    if first in _CONTROL or first == "{" or tokens[-1].text != "}" or not _ends_with_brace(chunk):
        return bool(_LOADING.fullmatch("".join(token.text for token in chunk).strip())), None
    return True, _function(chunk, head)


def _announces(head: list[_Token]) -> bool:
    """Whether a piece only says that there is a function: ``double f(double x, int);``."""
    texts = [token.text for token in head]
    if texts[-2:] != [")", ";"] or texts.count("(") != 1:
        return False
    place = texts.index("(")
    if place < 2 or head[place - 1].kind != "word" or not (head[place - 2].kind == "word" or texts[place - 2] in ("*", "&")):
        return False
    if texts[0] in _NOT_NAMES | {"new", "delete"} or "=" in texts[:place]:
        return False
    parameters = _split(" ".join(texts[place + 1 : -2]))
    return all(_PARAMETER.match(parameter) for parameter in parameters)


def _function(chunk: list[_Token], head: list[_Token]) -> _Function | None:
    text = "".join(token.text for token in chunk)
    for index, token in enumerate(head[:-1]):
        if token.kind != "word" or head[index + 1].text != "(" or token.text in _NOT_NAMES or token.text.startswith("R__"):
            continue
        if index and head[index - 1].text in (":", "~", ".", ">"):
            return None  # a member's definition
        depth, end = 0, len(text)
        begin = head[index + 1].start - chunk[0].start
        for later in chunk:
            place = later.start - chunk[0].start
            if place < begin or later.kind != "bracket" or later.text not in "()":
                continue
            depth += 1 if later.text == "(" else -1
            if not depth:
                end = place
                break
        within = [part for part in chunk if part.kind != "comment" and begin < part.start - chunk[0].start < end]
        plain = "".join('""' if part.kind in ("string", "raw", "char") else part.text for part in within)
        body = tuple(part.text for part in chunk if part.kind == "word" and part.start - chunk[0].start > end)
        return _Function(token.text, plain, body)
    return None


def _split(parameters: str) -> list[str]:
    """Parameters at their commas, those within brackets left alone."""
    found, depth = [""], 0
    for character in parameters:
        depth += {"(": 1, "[": 1, "{": 1, "<": 1, ")": -1, "]": -1, "}": -1, ">": -1}.get(character, 0)
        if character == "," and depth <= 0:
            found.append("")
        else:
            found[-1] += character
    return [one for one in found if one.strip()]


def _entry(functions: list[_Function], name: str) -> _Function | None:
    """The function that the text is about."""
    named = {function.name: function for function in functions}
    if name and name in named and named[name].callable:
        return named[name]
    if "main" in named:
        return named["main"]
    open_ones = [function for function in functions if function.callable]
    called = {word for function in functions for word in function.body if word != function.name}
    uncalled = [function for function in open_ones if function.name not in called]
    left = uncalled or open_ones
    return left[-1] if left else None
