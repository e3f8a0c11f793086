"""From text to a tree, by precedence climbing; nothing of the text is ever run.

Grammar, loosest first (`docs/reference/expressions.md` has it with examples)::

    expression  either ? expression : expression | either if either else expression | either
    either      or, and, not, comparisons and `in`, + -, * / // %, each from left to right
    unary       - + ! ~ before a unary | power
    power       postfix ** unary
    postfix     primary followed by [expression] or .size()
    primary     number | name | function(expression, …) | (expression)
"""

from __future__ import annotations

from mlcore.batches.expressions import functions
from mlcore.batches.expressions.faults import Span, fault, nearest
from mlcore.batches.expressions.tokens import Token, tokens
from mlcore.batches.expressions.tree import (
    COMPARE,
    LEVELS,
    OR,
    POWER,
    Call,
    Chain,
    Contained,
    Index,
    Literal,
    Name,
    Node,
    Power,
    Unary,
    children,
)
from mlcore.errors import InputError

MAX_LENGTH = 10_000
MAX_DEPTH = 50
MAX_NESTING = 2 * MAX_DEPTH
"""Levels of brackets and operands; the canonical spelling of a tree needs at most two for each of the tree's."""

_NESTED = "the expression is nested too deeply"
_DIVIDE = "Define parts of it as columns of their own."

_WORDS = {"and": "&&", "or": "||"}
_TRUTH = {"true": True, "True": True, "false": False, "False": False}
_BRACKETS = {"(": ")", "[": "]"}
_HINTS = {
    "^": "It is a power in TTreeFormula and an exclusive or in C++: write ** or pow for a power, != or bit_xor for the other.",
    "=": "Write == to compare.",
    "<>": "Write != for unequal.",
    "<<": "Write * 2 ** n for a shift, bit_and for bits.",
    ">>": "Write // 2 ** n for a shift, bit(x, n) to ask for one bit.",
    ":": "There are no slices; pick values with a mask, as in x[x > 30].",
    ",": "A comma separates a function's arguments alone.",
}


def parse_tree(source: str) -> Node:
    """The tree of a text.

    Raises
    ------
    InputError
        Code ``batches.expression``: it is no expression, longer than `MAX_LENGTH` or deeper than `MAX_DEPTH`.
    """
    if len(source) > MAX_LENGTH:
        raise fault(
            source,
            (MAX_LENGTH, MAX_LENGTH + 1),
            f"the expression has {len(source)} characters; at most {MAX_LENGTH} are read",
            _DIVIDE,
        )
    tree = _Parser(source).whole()
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise fault(source, node.span, _NESTED, _DIVIDE)
        below = depth + (2 if isinstance(node, Index) and node.default is not None else 1)
        waiting += ((child, below) for child in children(node))
    return tree


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = tokens(source)
        self.at = 0
        self.depth = 0

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    @property
    def operator(self) -> str:
        """The operator or keyword that is next, or ""; ``and`` and ``or`` in C's spelling."""
        token = self.now
        return _WORDS.get(token.text, token.text) if token.kind in {"operator", "name"} else ""

    def take(self) -> Token:
        token = self.now
        self.at += 1
        return token

    def expect(self, text: str, what: str) -> Token:
        if self.operator != text:
            raise self.unexpected(what)
        return self.take()

    def behind(self, start: int) -> Span:
        """From a character to the end of the last token taken."""
        return start, self.tokens[self.at - 1].span[1]

    def unexpected(self, what: str) -> InputError:
        token = self.now
        if token.kind == "end":
            return fault(self.source, token.span, f"the expression ends where {what} should be")
        if token.kind == "operator" and token.text in _HINTS:
            return fault(self.source, token.span, f"{token.text!r} has no meaning here", _HINTS[token.text])
        hint = ""
        if token.kind in {"name", "quoted", "number"}:
            hint = "An operator or a comma is missing before it." if what.startswith("an operator") else ""
        return fault(self.source, token.span, f"{token.text[:40]!r} stands where {what} should be", hint)

    def enter(self) -> None:
        """Go one level deeper; whoever calls it leaves again, unless with an error."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise fault(self.source, self.now.span, _NESTED, _DIVIDE)

    def whole(self) -> Node:
        node = self.expression()
        if self.now.kind != "end":
            if self.now.text in {")", "]"}:
                raise fault(self.source, self.now.span, f"nothing is open that {self.now.text!r} could close")
            raise self.unexpected("an operator or the end")
        return node

    def expression(self) -> Node:
        self.enter()
        start = self.now.span[0]
        node = self.climb(OR)
        if self.operator == "?":
            self.take()
            yes = self.expression()
            self.expect(":", "':' of '?'")
            node = Call("where", (node, yes, self.expression()), self.behind(start))
        elif self.operator == "if":
            self.take()
            condition = self.climb(OR)
            self.expect("else", "'else'")
            node = Call("where", (condition, node, self.expression()), self.behind(start))
        self.depth -= 1
        return node

    def climb(self, least: int) -> Node:
        """Operands joined by operators that bind at least as tight as ``least``."""
        start = self.now.span[0]
        left = self.unary(least)
        while True:
            operator = self.operator
            level = LEVELS.get(operator, 0)
            if operator == "in" or (operator == "not" and self.tokens[self.at + 1].text == "in"):
                if least > COMPARE:
                    break
                left = self.contained(left, start)
            elif level < least or not level:
                break
            else:
                left = self.chain(left, level, start)
        return left

    def chain(self, left: Node, level: int, start: int) -> Node:
        rest = []
        while LEVELS.get(self.operator) == level:
            operator = self.operator
            self.take()
            self.enter()
            rest.append((operator, self.climb(level + 1)))
            self.depth -= 1
        if level == COMPARE and self.operator in {"in", "not"}:
            raise fault(
                self.source, self.now.span, "'in' stands in a chain of comparisons", "Put what belongs to it in parentheses."
            )
        return Chain(left, tuple(rest), self.behind(start))

    def contained(self, left: Node, start: int) -> Node:
        negated = self.take().text == "not"
        if negated:
            self.take()
        close = _BRACKETS.get(self.operator)
        if close is None:
            raise self.unexpected("the list of 'in', such as (1, 2),")
        self.take()
        items = self.listed(close)
        if not items:
            raise fault(self.source, self.behind(start), "the list of 'in' is empty")
        if LEVELS.get(self.operator) == COMPARE or self.operator in {"in", "not"}:
            raise fault(
                self.source, self.now.span, "'in' stands in a chain of comparisons", "Put what belongs to it in parentheses."
            )
        return Contained(left, items, negated, self.behind(start))

    def listed(self, close: str) -> tuple[Node, ...]:
        """Expressions with commas between them, and the closing bracket."""
        items: list[Node] = []
        self.enter()
        while self.operator != close:
            items.append(self.expression())
            if self.operator != ",":
                break
            self.take()
        self.expect(close, f"an operator, a comma or {close!r}")
        self.depth -= 1
        return tuple(items)

    def unary(self, least: int) -> Node:
        token = self.now
        operator = self.operator
        if operator == "not":
            if least > COMPARE:
                raise fault(
                    self.source, token.span, "'not' stands behind an operator that binds tighter", "Put it in parentheses."
                )
            self.take()
            self.enter()
            operand = self.climb(COMPARE)
            self.depth -= 1
            return Unary("!", operand, self.behind(token.span[0]))
        if operator in {"-", "+", "!", "~"}:
            self.take()
            self.enter()
            operand = self.unary(POWER)
            self.depth -= 1
            return operand if operator == "+" else Unary(operator, operand, self.behind(token.span[0]))
        base = self.postfix()
        if self.operator != "**":
            return base
        self.take()
        self.enter()
        exponent = self.unary(POWER)
        self.depth -= 1
        return Power(base, exponent, self.behind(token.span[0]))

    def postfix(self) -> Node:
        start = self.now.span[0]
        entered = self.depth
        node = self.primary()
        while True:
            if self.operator == "[":
                self.take()
                self.enter()
                index = self.expression()
                if self.operator == ",":
                    raise fault(self.source, self.now.span, "an index is one value", "Write x[i][j].")
                self.expect("]", "an operator or ']'")
                node = Index(node, index, None, self.behind(start))
            elif self.operator == ".":
                self.take()
                if self.now.text != "size":
                    raise self.unexpected("size()")
                self.take()
                self.expect("(", "'()'")
                self.expect(")", "')'")
                self.enter()
                node = Call("Length", (node,), self.behind(start))
            else:
                self.depth = entered
                return node

    def primary(self) -> Node:
        token = self.now
        if token.kind == "number":
            return Literal(self.take().value, token.span)
        if token.kind == "quoted":
            return Name(self.take().text, token.span)
        if token.kind == "name" and token.text in _TRUTH:
            self.take()
            return Literal(_TRUTH[token.text], token.span)
        if token.kind == "name" and token.text not in {"and", "or", "not", "in", "if", "else"}:
            self.take()
            return self.call(token) if self.operator == "(" else self.name(token)
        if self.operator == "(":
            self.take()
            node = self.expression()
            self.expect(")", "an operator or ')'")
            return node
        raise self.unexpected("a value")

    def name(self, token: Token) -> Node:
        if "::" in token.text or token.text.endswith("$"):
            hint = f"Write {token.text[:40]}(…) to call a function; a column with such a name stands in `backquotes`."
            raise fault(self.source, token.span, f"{token.text[:40]!r} is no column's name", hint)
        return Name(token.text, token.span)

    def call(self, token: Token) -> Node:
        """What follows a function's name."""
        self.take()
        column, dot, method = token.text.rpartition(".")
        if dot and method == "size" and functions.find(token.text, 1) is None and self.operator == ")":
            self.take()
            stop = token.span[0] + len(column)
            operand = self.name(Token("name", column, (token.span[0], stop)))
            return Call("Length", (operand,), self.behind(token.span[0]))
        arguments = self.listed(")")
        span = self.behind(token.span[0])
        function = functions.find(token.text, len(arguments))
        if function is None:
            hint = nearest(functions.bare(token.text), functions.known())
            raise fault(self.source, token.span, f"there is no function {token.text[:40]!r}", hint)
        least, most = function.takes
        if not least <= len(arguments) <= most:
            count = f"{least}" if least == most else f"{least} or more" if most > least + 1 else f"{least} or {most}"
            message = f"{function.name} takes {count} argument{'s' * (count != '1')}, and here are {len(arguments)}"
            raise fault(self.source, span, message, f"Write {function.signature}: {function.summary}.")
        if function.kind is functions.Kind.FORM:
            return self.alternative(arguments, span)
        return Call(function.name, arguments, span)

    def alternative(self, arguments: tuple[Node, ...], span: Span) -> Node:
        taken, default = arguments
        if not isinstance(taken, Index) or taken.default is not None:
            raise fault(self.source, taken.span, "Alt takes an indexed column first", "Write Alt(x[0], -1).")
        return Index(taken.operand, taken.index, default, span)
