"""A light C++ reader: the classes, methods and documentation comments of headers and sources.

It follows scopes, statements and comments with one regular expression and a stack, and expands no macro. That is enough to
tell which comment documents what; anything it cannot follow it leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from assistant.corpus.parsing import doxygen

_TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//(?:[^\n\\]|\\.)*)
      |(?P<directive>(?:^|(?<=\n))[ \t]*\#(?:[^\n\\]|\\\n|\\.)*)
      |(?P<string>R"(?P<delimiter>[^\s()\\]{0,16})\(.*?\)(?P=delimiter)"|"(?:[^"\\\n]|\\.)*"|(?<![0-9A-Fa-f])'(?:[^'\\\n]|\\.)*')
      |(?P<open>\{)|(?P<close>\})|(?P<end>;)
      |(?P<newline>\n)
      |(?P<text>[^/"'{};\#\n]+|[/"'\#])""",
    re.DOTALL | re.VERBOSE,
)
_ACCESS = re.compile(r"\s*(public|protected|private)\s*(?:Q_SLOTS|slots)?\s*:(?!:)")
_NAMESPACE = re.compile(r"(?:inline\s+)?namespace\s+([\w:]*)\s*(?:inline\s+)?([\w:]*)[^()=]*$")
_TEMPLATE = re.compile(r"^template\s*<")
_CLASS = re.compile(
    r"^(?:typedef\s+)?(class|struct)\s+(?:\[\[.*?\]\]\s*)?(?:alignas\s*\([^)]*\)\s*)?(?:[A-Z_0-9]+(?:\([^)]*\))?\s+)?"
    r"([A-Za-z_][\w:]*)\s*(<[^{]*?>)?\s*(?:final\b)?\s*(?::(?!:)\s*(.*))?$",
    re.DOTALL,
)
_FUNCTION = re.compile(r"(~?[A-Za-z_]\w*|operator\s*(?:\(\)|\[\]|[^\s\w(]{1,3}|[\w:<>*& ]+?))\s*\(")
_QUALIFIED = re.compile(r"((?:[A-Za-z_]\w*(?:<[^()<>]*>)?::)+)(~?[A-Za-z_]\w*)\s*\(")
_CLASS_COMMAND = re.compile(r"[\\@](class|struct|namespace)\s+([\w:]+)")
_CLASSDEF = re.compile(r"^\s*ClassDef(?:Override|Inline|InlineOverride|NV|T)?\s*\(")
_KEYWORDS_AND_MACROS = """
if for while switch return sizeof decltype alignof static_assert catch throw defined noexcept requires explicit
R__LOAD_LIBRARY ClassDef ClassDefOverride ClassDefNV ClassDefInline ClassDefInlineOverride ClassImp templateClassImp
R__DEPRECATED TODEPRECATED __attribute__ alignas R__ALWAYS_INLINE R__CINT__ using
"""
_NOT_FUNCTIONS = frozenset(_KEYWORDS_AND_MACROS.split())
_ENUM = re.compile(r"^enum\s+(?:class\s+|struct\s+)?(\w+)")
_ENUMERATOR = re.compile(r"^\s*(\w+)\s*(?:=\s*([^,/]+?))?\s*,?\s*(?:///?!?<?|/\*\*?!?<?)\s*(.*?)\s*(?:\*/)?\s*$")
_MENU = re.compile(r"^//\s*\*(?:MENU|TOGGLE|SUBMENU|GETTER|ARGS)")


@dataclass(slots=True)
class CppMember:
    """A method or function: its name, its declaration on one line, and what its comment says."""

    name: str
    signature: str
    comment: str
    line: int


@dataclass(slots=True)
class CppScope:
    """A class, struct or namespace with what is documented in it."""

    name: str
    kind: str
    line: int
    prose: str = ""
    summary: str = ""
    bases: tuple[str, ...] = ()
    members: list[CppMember] = field(default_factory=list)
    defined: bool = False


@dataclass(slots=True)
class _Level:
    kind: str  # "namespace", "class" or "skip"
    scope: CppScope | None
    public: bool = True


def read(text: str) -> list[CppScope]:
    """The classes and namespaces of one C++ file, each with its comment and members.

    A definition outside its class (``void TH1::Fill(...)``) is a member of a scope of that name with ``defined`` False, so that
    the prose of a source file can be merged with the declaration in its header.
    """
    return _Reader(text).run()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.scopes: dict[str, CppScope] = {}
        self.stack: list[_Level] = []
        self.comment: list[str] = []
        self.statement: list[str] = []
        self.statement_line = 1
        self.last: CppMember | None = None  # what a comment to the right of the code belongs to
        self.summary_of: CppScope | None = None  # the class whose ClassDef was read: the comment beside it sums the class up
        self.last_line = 0
        self.line = 1

    def run(self) -> list[CppScope]:
        depth_to_skip = skipped_from = 0
        parentheses = 0
        for token in _TOKEN.finditer(self.text):
            kind, value = token.lastgroup, token.group()
            if kind == "delimiter":
                kind = "string"
            if kind == "newline":
                self.line += 1
                if self.statement:
                    self.statement.append(" ")
                continue
            start_line = self.line
            self.line += value.count("\n")
            if depth_to_skip:
                depth_to_skip += (kind == "open") - (kind == "close")
                if not depth_to_skip:
                    if self.last is not None and self.last.signature.startswith("enum"):
                        self.last.comment = _enumerators(self.last.comment, self.text[skipped_from : token.start()])
                    self.statement.clear()
                    self.last_line = self.line
                continue
            if kind == "comment":
                self._comment(value, start_line)
            elif kind == "directive":
                continue
            elif kind == "open":
                if parentheses > 0:  # a default argument such as `= {}`, or a lambda
                    self.statement.append("{")
                    parentheses += 1
                elif not self._open():
                    depth_to_skip, skipped_from = 1, token.end()
            elif kind == "close":
                if parentheses > 0:
                    self.statement.append("}")
                    parentheses -= 1
                else:
                    self._close()
            elif kind == "end":
                if parentheses > 0 and len(self.statement) < 400:
                    self.statement.append(";")
                    continue
                parentheses = 0
                self._statement()
            else:
                if not self.statement:
                    if not value.strip():
                        continue
                    self.statement_line = start_line
                self.statement.append(value)
                if kind == "text":
                    parentheses = max(0, parentheses + value.count("(") - value.count(")"))
                    access = _ACCESS.match("".join(self.statement))
                    if access and self.stack:
                        self.stack[-1].public = access.group(1) == "public"
                        rest = "".join(self.statement)[access.end() :]
                        self.statement = [rest] if rest.strip() else []
                        self.comment.clear()
        return list(self.scopes.values())

    # -- what the tokens mean ---------------------------------------------------------------------------------------------

    def _comment(self, value: str, line: int) -> None:
        if value.startswith(("///<", "//!<", "/**<", "/*!<")):
            self._comment_right(value.replace("<", "", 1))
            return
        if value.startswith("/*") and "All rights reserved" in value:  # a licence, whatever its first line looks like
            return
        if value.startswith(("/**", "/*!", "///", "//!")) and not self.statement:
            command = _CLASS_COMMAND.search(value)
            if command and value.startswith("/*"):
                self._class_block(command, value, line)
                return
            if value.startswith("/*"):
                self.comment.clear()
            self.comment.append(value)
            return
        if self.statement and self.stack and _CLASSDEF.match("".join(self.statement)):  # most ClassDefs have no semicolon
            self._statement()
        if value.startswith("//") and line == self.last_line and not _MENU.match(value):
            self._comment_right(value)

    def _comment_right(self, value: str) -> None:
        text = value.lstrip("/!* ").rstrip("*/ ").strip()
        if self.summary_of is not None:
            self.summary_of.summary = self.summary_of.summary or text
        elif self.last is not None and text:
            self.last.comment = f"{self.last.comment} {text}".strip()

    def _class_block(self, command: re.Match[str], value: str, line: int) -> None:
        kind = "namespace" if command.group(1) == "namespace" else "class"
        scope = self._scope(self._qualify(command.group(2).rstrip(":")), kind, line)
        prose = doxygen.to_text(value)
        if len(prose) > len(scope.prose):
            scope.prose, scope.line = prose, line

    def _take_comment(self) -> str:
        text = ""
        if self.comment:
            pieces = self.comment
            text = doxygen.to_text("\n".join(pieces)) if pieces[0].startswith("//") else doxygen.to_text(pieces[-1])
            command = next((m for piece in pieces if (m := _CLASS_COMMAND.search(piece))), None)
            self.comment = []
            if command and text:
                kind = "namespace" if command.group(1) == "namespace" else "class"
                scope = self._scope(self._qualify(command.group(2)), kind, self.statement_line)
                scope.prose = max(scope.prose, text, key=len)
                return ""
        return text

    def _head(self) -> str:
        head = " ".join("".join(self.statement).split())
        self.statement = []
        return _strip_template(head)

    def _open(self) -> bool:
        """Enter a scope; False where the braces hold a body to skip."""
        head = self._head()
        if re.match(r"extern\s*(?:\"C(?:\+\+)?\")?\s*$", head):
            self.stack.append(_Level("namespace", None))
            return True
        namespace = _NAMESPACE.match(head)
        if namespace:
            name = next((name for name in reversed(namespace.groups()) if name), "")
            comment = self._take_comment()
            scope = None
            if name:
                scope = self._scope(self._qualify(name), "namespace", self.statement_line)
                scope.defined = True
                scope.prose = max(scope.prose, comment, key=len)
            self.stack.append(_Level("namespace", scope))
            return True
        declaration = _CLASS.match(head)
        if declaration and not re.match(r"\s*enum\b", head):
            comment = self._take_comment()
            scope = self._scope(self._qualify(declaration.group(2)), "class", self.statement_line)
            if declaration.group(3):  # a specialisation adds nothing to read
                self.stack.append(_Level("class", None))
                return True
            scope.defined, scope.line = True, scope.line if scope.prose else self.statement_line
            scope.kind = declaration.group(1)
            scope.prose = max(scope.prose, comment, key=len)
            scope.bases = _bases(declaration.group(4) or "")
            self.stack.append(_Level("class", scope, public=declaration.group(1) == "struct"))
            self.last = None
            return True
        self._member(head)
        return False

    def _close(self) -> None:
        if self.stack:
            self.stack.pop()
        self.statement.clear()
        self.comment.clear()
        self.last = self.summary_of = None

    def _statement(self) -> None:
        head = self._head()
        if head:
            self._member(head)
        else:
            self.comment.clear()

    def _member(self, head: str) -> None:
        """Record the function that `head` declares, if it declares one worth recording."""
        comment = self._take_comment()
        level = self.stack[-1] if self.stack else _Level("namespace", None)
        self.last, self.summary_of, self.last_line = None, None, self.line
        if _CLASSDEF.match(head):
            if level.scope is not None:
                self.summary_of = level.scope
            return
        enumeration = _ENUM.match(head)
        if enumeration and level.scope is not None and level.public:
            self._record(level.scope, enumeration.group(1), head, comment)
            return
        if re.match(r"(?:friend|using|typedef|enum|extern template|static_assert|return)\b", head) or "(" not in head:
            return
        if level.kind == "namespace":
            qualified = _QUALIFIED.search(head)
            if qualified and not re.search(r"[=(]", head[: qualified.start()]):
                owner = re.sub(r"<[^<>]*>", "", qualified.group(1)).rstrip(":")
                if comment:
                    scope = self._scope(self._qualify(owner), "class", self.statement_line)
                    self._record(scope, qualified.group(2), head, comment)
                return
            if not comment:
                return
        function = next((m for m in _FUNCTION.finditer(head) if m.group(1) not in _NOT_FUNCTIONS), None)
        if function is None or level.scope is None or not (level.public or comment):
            return
        name = function.group(1).strip()
        if name.startswith(("~", "_")) or re.fullmatch(r"[A-Z0-9_]{6,}", name):
            return
        self._record(level.scope, name, head, comment)

    def _record(self, scope: CppScope, name: str, head: str, comment: str) -> None:
        signature = re.sub(r"\s*\)\s*:\s*[A-Za-z_].*$", ")", head)
        signature = re.sub(r"^(?:virtual|inline|static inline|constexpr|explicit)\s+", "", signature)
        signature = re.sub(r"\s+(?:override|final)\b", "", signature).strip()
        member = CppMember(name, signature[:300], comment, self.statement_line)
        scope.members.append(member)
        self.last = member

    # -- names ------------------------------------------------------------------------------------------------------------

    def _scope(self, name: str, kind: str, line: int) -> CppScope:
        return self.scopes.setdefault(name, CppScope(name, kind, line))

    def _qualify(self, name: str) -> str:
        inner = next((level.scope.name for level in reversed(self.stack) if level.scope is not None), "")
        if not inner or name.startswith(inner + "::"):
            return name
        first = name.split("::", 1)[0]
        enclosing = inner.split("::")
        if "::" in name and first in enclosing:  # `\class ROOT::RNTuple` written inside namespace ROOT
            return "::".join([*enclosing[: enclosing.index(first)], name])
        return f"{inner}::{name}"


def _strip_template(head: str) -> str:
    """`head` without leading ``template <...>`` clauses, nested angle brackets included."""
    while _TEMPLATE.match(head):
        depth = 0
        for position, character in enumerate(head):
            depth += (character == "<") - (character == ">" and head[position - 1] != "-")
            if character == ">" and depth == 0:
                head = head[position + 1 :].lstrip()
                break
        else:
            return ""
        head = re.sub(r"^requires\s*\([^)]*\)\s*", "", head)
    return head


def _enumerators(comment: str, body: str) -> str:
    """The comment of an enumeration with a line for each value that has a comment beside it."""
    values = (match for line in body.splitlines() if (match := _ENUMERATOR.match(line)))
    return "\n".join([comment, *(f"- {value.group(1)}: {value.group(3)}" for value in values)]).strip()


def _bases(clause: str) -> tuple[str, ...]:
    plain = clause
    while "<" in plain and plain != (plain := re.sub(r"<[^<>]*>", "", plain)):
        pass
    names = (re.sub(r"\b(?:public|protected|private|virtual)\b", "", base).strip() for base in plain.split(","))
    return tuple(name for name in names if re.fullmatch(r"[\w:]+", name))


def merge(scopes: Iterable[tuple[str, CppScope]]) -> Iterator[tuple[str, CppScope]]:
    """One scope a name from all files' scopes; the file is that of the prose, else of the definition.

    Parameters
    ----------
    scopes
        Pairs of a file's path and a scope read from it.
    """
    merged: dict[str, tuple[str, CppScope]] = {}
    for path, scope in scopes:
        if scope.name not in merged:
            merged[scope.name] = (path, scope)
            continue
        old_path, old = merged[scope.name]
        better = len(scope.prose) > len(old.prose) or (scope.defined and not old.defined and not old.prose)
        base_path, base, other = (path, scope, old) if better else (old_path, old, scope)
        base.summary = base.summary or other.summary
        base.bases = base.bases or other.bases
        base.defined = base.defined or other.defined
        base.kind = base.kind if base.defined and base.kind != "class" else other.kind if other.defined else base.kind
        base.members = _merge_members(old.members, scope.members)
        merged[scope.name] = (base_path, base)
    yield from merged.values()


def _merge_members(first: list[CppMember], second: list[CppMember]) -> list[CppMember]:
    """Declarations once each: a documented definition gives its comment to the declaration of the same arguments."""
    result: dict[tuple[str, int], CppMember] = {}
    for member in (*first, *second):
        key = (member.name, member.signature.count(","))
        known = result.get(key)
        if known is None:
            result[key] = member
        elif len(member.comment) > len(known.comment):
            known.comment = member.comment
        elif member.signature != known.signature and not member.comment and not known.comment:
            result[(member.name, 100 + len(result))] = member
    return list(result.values())
