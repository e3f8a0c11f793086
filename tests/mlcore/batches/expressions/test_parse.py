"""What is read, what is refused and how that is shown."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcore.batches.expressions import MAX_DEPTH, MAX_LENGTH, parse
from mlcore.batches.expressions.tree import Node, spell
from mlcore.errors import InputError
from tests.mlcore.batches.expressions.trees import trees

SAME = [
    ("a && b", "a and b", "a   and\nb"),
    ("a || b && c", "a or b and c", "a || (b && c)"),
    ("!(a > 1)", "not a > 1", "not (a > 1)"),
    ("(!a) > 1", "!a > 1"),
    ("a & b", "(a) & b"),
    ("a > 1 & b > 2", "(a > 1) & (b > 2)"),
    ("where(c, a, b)", "c ? a : b", "a if c else b", "Where(c, a, b)"),
    ("c ? a : d ? e : f", "c ? a : (d ? e : f)", "a if c else e if d else f"),
    ("-a ** 2", "-(a ** 2)"),
    ("a ** -b ** c", "a ** (-(b ** c))"),
    ("a - b - c", "a-b-c"),
    ("a * b + c", "(a * b) + c"),
    ("abs(x)", "TMath::Abs(x)", "std::abs(x)", "fabs(x)", "np.abs(x)", "+abs(+x)"),
    ("Length(x)", "Length$(x)", "x.size()", "len(x)", "Size(x)", "(x).size()"),
    ("Length(jet.pt)", "jet.pt.size()", "`jet.pt`.size()"),
    ("Length(x[x > 1])", "x[x > 1].size()"),
    ("Max(x)", "Max$(x)", "max(x)", "ROOT::VecOps::Max(x)"),
    ("max(x, 1)", "Max(x, 1)", "TMath::Max(x, 1)", "std::max(x, 1)"),
    ("Sum(x)", "Sum$(x)", "sum(x)"),
    ("Alt(x[0], 1)", "Alt$(x[0], 1)"),
    ("pi()", "TMath::Pi()"),
    ("x in (1, 2)", "x in [1, 2]", "x in (1, 2,)"),
    ("x not in (1)", "x not in (1)"),
    ("not x in (1)", "!(x in (1))"),
    ("16 + 5 + 1000.0 + 20.0 + 0.5", "0x10 + 5L + 1e3 + 20.f + .5"),
    ("true || false", "True or False"),
    ("20 < pt < 50", "20<pt<50"),
    ("a", "`a`", "(a)"),
]


@pytest.mark.parametrize("texts", SAME, ids=lambda texts: texts[0])
def test_spellings_that_mean_the_same(texts: tuple[str, ...]) -> None:
    assert len({parse(text) for text in texts}) == 1
    assert len({parse(text).tree for text in texts}) == 1


DIFFERENT = [
    ("a - b - c", "a - (b - c)"),
    ("(a < b) < c", "a < b < c"),
    ("a ** b ** c", "(a ** b) ** c"),
    ("x[0]", "x[-0.5]"),
    ("a", "`a b`"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_spellings_that_do_not(one: str, other: str) -> None:
    assert parse(one) != parse(other)


def test_a_single_suffix_rounds_as_in_cpp() -> None:
    assert parse("0.1f") == parse("0.10000000149011612")
    assert parse("0.1f") != parse("0.1")


def test_columns_are_those_read_in_order() -> None:
    assert parse("b + a * `odd name` + jet.pt.size() + Sum(b)").columns == ("b", "a", "odd name", "jet.pt")
    assert parse("1 + pi()").columns == ()


WRONG = [
    ("x ^ 2", "^", "** or pow"),
    ("x = 2", "=", "=="),
    ("x << 2", "<<", "shift"),
    ("x[1:2]", ":", "slices"),
    ("x[1, 2]", ",", "x[i][j]"),
    ("a + 'text'", "'", "backquotes"),
    ("a b", "b", "missing"),
    ("sqrt(1, 2)", "sqrt(1, 2)", "sqrt(x)"),
    ("sqroot(x)", "sqroot", "Nearest"),
    ("TMath::Pi + 1", "TMath::Pi", "call"),
    ("Entry$ + 1", "Entry$", "backquotes"),
    ("3pt", "3pt", "letter"),
    ("007", "007", "octal"),
    ("1.5u", "1.5u", "whole"),
    ("1e999", "1e999", "inf()"),
    ("0x1ffffffffffffffff", "0x1ffffffffffffffff", "real"),
    ("a < b in (1)", "in", "parentheses"),
    ("a in (1) < 2", "<", "parentheses"),
    ("a == not b", "not", "parentheses"),
    ("x in ()", "x in ()", ""),
    ("x in 3", "3", ""),
    ("Alt(x, 1)", "x", "Alt(x[0], -1)"),
    ("a)", ")", ""),
    ("``", "``", ""),
    ("`a", "`", "close"),
    ("a ? b", " ", ""),
    ("", " ", ""),
    ("a +", " ", ""),
    ("a if b", " ", ""),
    ("x.length()", "x.length", ""),
    ("x[0].length()", "length", ""),
    ("__import__('os')", "'", "text"),
]


@pytest.mark.parametrize(("text", "marked", "hint"), WRONG, ids=lambda value: repr(value))
def test_a_mistake_is_shown_where_it_is(text: str, marked: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    error = caught.value
    assert error.code == "batches.expression"
    assert hint in error.hint
    _, shown, carets = error.message.split("\n")
    start, stop = carets.index("^"), len(carets)
    assert f"{shown} "[start:stop] == marked


def test_a_mistake_far_into_a_long_text_is_shown_with_its_surroundings() -> None:
    text = " + ".join(["pt"] * 1000) + " ^ 2 + " + " + ".join(["eta"] * 500)
    with pytest.raises(InputError) as caught:
        parse(text)
    _, shown, carets = caught.value.message.split("\n")
    assert shown[carets.index("^")] == "^"
    assert len(shown) < 250


def test_bounds() -> None:
    assert parse("x" * MAX_LENGTH).columns == ("x" * MAX_LENGTH,)
    with pytest.raises(InputError, match="10001 characters"):
        parse("x" * (MAX_LENGTH + 1))
    parse("(" * 60 + "x" + ")" * 60)
    parse(" + ".join(["x"] * 2500))  # long is not deep


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000,
        "-" * 5000 + "x",
        "abs(" * 2000,
        "x[" * 3000,
        "x" + "[0]" * 3000,
        "not " * 2000,
        "a ? " * 2000,
        "a ** " * 2000,
        "a + (" * 1500,
    ],
)
def test_what_is_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="nested"):
        parse(text)


def test_time_is_linear() -> None:
    """The longest texts are read in the time of a blink, whatever stands in them."""
    for piece in ("x+", "x<", "f(", "`", "1 ", "x and ", "x in (1,", "((x)+", "1e", ".", "x::", "\t"):
        text = (piece * MAX_LENGTH)[:MAX_LENGTH]
        start = time.thread_time()
        with contextlib.suppress(InputError):
            parse(text)
        assert time.thread_time() - start < 2


WORDS = "** // && || == != <= and or not in if else x jet_pt jet.pt 1 2.5 0x1F 1e3 20.f 5L Sum sqrt( TMath:: Max$"
WORDS += " Alt$( .size() true (1,2) [0] ünïcode"
PIECES = st.sampled_from([*"()[]+-*/%<>!~&|?:.,^=`'\"$ \n\x00", " in ", *WORDS.split()])


def mistake(text: str) -> InputError | None:
    """What is wrong with a text."""
    try:
        parse(text)
    except InputError as error:
        return error
    return None


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=30).map("".join), st.lists(PIECES, max_size=30).map(" ".join)))
def test_any_text_is_an_expression_or_a_mistake(text: str) -> None:
    error = mistake(text)
    if error is None:
        assert parse(str(parse(text))) == parse(text)
    else:
        assert error.code == "batches.expression"
        assert len(error.message.split("\n")) == 3


PLAIN = st.from_regex(r"[a-z_]{1,3}(\.[a-z]{1,2})?", fullmatch=True)
ODD = st.text(st.characters(exclude_characters="`", exclude_categories=("C", "Z")), min_size=1, max_size=4)
NAMES = st.one_of(PLAIN, ODD, st.sampled_from(["and", "in", "a b"]))


@settings(max_examples=300, deadline=None)
@given(trees(NAMES))
def test_the_canonical_spelling_of_a_tree_is_read_as_the_tree(tree: Node) -> None:
    text = spell(tree)
    read = parse(text)
    assert read.tree == tree
    assert str(read) == text
    # Python takes 1, 1.0 and True for equal; expressions do not.
    assert repr(read.tree) == repr(tree)


STEPS = [
    "not a * ({})",
    "Alt(x[{}], 1)",
    "a ** -({})",
    "c ? ({}) : d",
    "y[{}]",
    "a + b * ({})",
    "abs({})",
    "({}) in (1, 2)",
    "!{}",
]


@pytest.mark.parametrize("step", STEPS)
def test_the_deepest_trees_are_read_from_their_canonical_spelling(step: str) -> None:
    """Canonical spelling may need more brackets than the text had, and stays within the bounds all the same."""
    text = "x"
    for depth in range(MAX_DEPTH):  # noqa: B007
        error = mistake(step.format(text))
        if error is not None:
            break
        text = step.format(text)
        assert parse(str(parse(text))) == parse(text)
    assert "nested" in (error.message if error else "")
    assert depth > 15
