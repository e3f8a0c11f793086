"""Values over blocks: against a row-by-row oracle, and what the reference page promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mlcore.batches.blocks import Block, Jagged, Values
from mlcore.batches.expressions import parse
from mlcore.batches.expressions.tree import Node, spell
from mlcore.batches.schema import Column, Schema
from mlcore.errors import InputError
from tests.mlcore.batches.expressions import oracle
from tests.mlcore.batches.expressions.trees import trees

REALS = st.floats(-1e3, 1e3, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5])
INTEGERS = st.integers(-5, 5)


def lists(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, max_size=4)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows with flat, fixed and jagged columns; `a` and `b` have as many values in each row."""
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        a = draw(lists(REALS))
        b = draw(st.lists(INTEGERS, min_size=len(a), max_size=len(a)))
        v = draw(st.lists(REALS, min_size=3, max_size=3))
        rows.append({"x": draw(REALS), "n": draw(INTEGERS), "ok": draw(st.booleans()), "a": a, "b": b, "v": v})
    return rows


def block_of(rows: list[dict[str, Any]]) -> Block:
    def jagged(name: str, dtype: str) -> Jagged:
        counts = [len(row[name]) for row in rows]
        return Jagged(
            np.array([value for row in rows for value in row[name]], dtype),
            np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        )

    flat = {"x": np.float32, "n": np.int16, "ok": np.bool_, "v": np.float64}
    return {name: np.array([row[name] for row in rows], dtype) for name, dtype in flat.items()} | {
        "a": jagged("a", "f4"),
        "b": jagged("b", "i4"),
    }


def texts() -> st.SearchStrategy[str]:
    """Expressions that fit together: one value each row, or several in the layout of `a`, or of `v`."""
    numbers = st.sampled_from(["0", "1", "2", "-3", "0.5", "1e3", "true"])

    def grown(depth: int, leaf: list[str]) -> st.SearchStrategy[str]:
        leaves = numbers | st.sampled_from(leaf)
        if depth == 0:
            return leaves
        below = grown(depth - 1, leaf)
        joined = st.sampled_from(["+", "-", "*", "/", "//", "%", "<", "<=", ">", ">=", "==", "!=", "&&", "||", "and", "or"])
        ways = [
            st.tuples(below, joined, below).map(lambda part: f"({part[0]}) {part[1]} ({part[2]})"),
            st.tuples(below, joined, below, joined, below).map(
                lambda part: f"({part[0]}) {part[1]} ({part[2]}) {part[3]} ({part[4]})"
            ),
            st.tuples(below, below, below).map(lambda part: f"({part[0]}) < ({part[1]}) <= ({part[2]})"),
            st.tuples(st.sampled_from(["-", "!", "abs", "sqrt", "isnan", "floor"]), below).map(
                lambda part: f"{part[0]}({part[1]})"
            ),
            st.tuples(below, st.sampled_from(["2", "0.5", "-1"])).map(lambda part: f"({part[0]}) ** {part[1]}"),
            st.tuples(st.sampled_from(["max", "min", "atan2"]), below, below).map(
                lambda part: f"{part[0]}({part[1]}, {part[2]})"
            ),
            st.tuples(below, below, below).map(lambda part: f"({part[0]}) ? ({part[1]}) : ({part[2]})"),
            st.tuples(below, st.sampled_from(["in", "not in"])).map(lambda part: f"({part[0]}) {part[1]} (1, -2, 0.5, true)"),
        ]
        if leaf == FLAT:
            several = grown(depth - 1, JAGGED) | grown(depth - 1, FIXED)
            reductions = st.sampled_from(sorted(oracle.REDUCTIONS))
            anchored = st.tuples(reductions, several, st.sampled_from(["a", "v"]))
            ways += [
                anchored.map(lambda part: f"{part[0]}({part[2]}[({part[2]}) > 0])"),
                st.tuples(reductions, grown(depth - 1, JAGGED)).map(lambda part: f"{part[0]}(({part[1]}) + a * 0)"),
                st.tuples(reductions, grown(depth - 1, FIXED)).map(lambda part: f"{part[0]}(Sort(({part[1]}) + v))"),
                st.tuples(grown(depth - 1, JAGGED), st.sampled_from(["0", "1", "-1", "n", "ArgMax(b)"])).map(
                    lambda part: f"Reverse(({part[0]}) * b)[{part[1]}]"
                ),
                st.tuples(st.sampled_from(["0", "2", "-3", "n"]), below).map(
                    lambda part: f"Alt(b[{part[0]}], {part[1]}) + v[1] + v[n]"
                ),
            ]
        return leaves | st.one_of(ways)

    return grown(2, FLAT) | grown(2, JAGGED) | grown(2, FIXED)


FLAT, JAGGED, FIXED = ["x", "n", "ok"], ["x", "n", "a", "b", "a"], ["x", "ok", "v"]


# The same examples each time: whether 0 or -0 is the larger is open, and a division by it shows that once in many thousands.
@settings(max_examples=600, deadline=None, derandomize=True)
@given(texts(), tables())
def test_values_are_those_of_the_oracle(text: str, rows: list[dict[str, Any]]) -> None:
    expression = parse(text)
    block = block_of(rows)
    result = expression.evaluate(block)
    expected = [oracle.compute(expression.tree, row) for row in rows]
    kind = expression.check(schema_of(block))
    if isinstance(result, Jagged):
        assert kind.jagged
        assert result.counts.tolist() == [len(values) for values in expected]
        expected = [value for values in expected for value in values]
        result = result.values
    assert result.dtype == kind.dtype
    # Sums and functions may round otherwise than Python's: a few units in the last place, more where large terms cancel.
    assert_allclose(result, np.array(expected, float).reshape(result.shape), rtol=1e-9, atol=1e-9)


def schema_of(block: Block) -> Schema:
    columns = []
    for name, values in block.items():
        array = values.values if isinstance(values, Jagged) else values
        columns.append(Column(name, array.dtype, array.shape[1:], isinstance(values, Jagged)))
    return Schema(columns, where="a block")


BLOCK: Block = {
    "pt": np.array([10.1, 30.0, 60.0], np.float32),
    "n": np.array([0, 2, 1], np.int32),
    "event": np.array([2**63 + 1, 1, 7], np.uint64),
    "flags": np.array([5, 2, 8], np.uint8),
    "ok": np.array([True, False, True]),
    "jet_pt": Jagged(np.array([1.0, 50.0, 30.0], np.float32), np.array([0, 0, 2, 3])),
    "jet_id": Jagged(np.array([7, 8, 9], np.int16), np.array([0, 0, 2, 3])),
    "jet_ok": Jagged(np.array([True, False, True]), np.array([0, 0, 2, 3])),
    "other": Jagged(np.array([1.0, 2.0]), np.array([0, 1, 2, 2])),
    "v": np.arange(6, dtype=np.float32).reshape(3, 2),
    "m": np.arange(12).reshape(3, 2, 2),
    "odd name": np.array([1, 2, 3]),
}
NAN = np.nan

CASES: list[tuple[str, Any, str]] = [
    ("pt == 10.1", [False] * 3, "bool"),  # as in C++: the float is widened, and 10.1f is not 10.1
    ("pt == 10.1f", [True, False, False], "bool"),
    ("20 < pt < 50", [False, True, False], "bool"),
    ("n / 2", [0.0, 1.0, 0.5], "float64"),
    ("n // 2", [0, 1, 0], "int64"),
    ("-7 // 2 + n * 0", [-4] * 3, "int64"),
    ("-7 % 3 + n * 0", [2] * 3, "int64"),
    ("1 / 0", [np.inf] * 3, "float64"),
    ("5 // 0 + 5 % 0", [0] * 3, "int64"),
    ("event", [2**63 + 1, 1, 7], "uint64"),
    ("event == 9223372036854775809", [True, False, False], "bool"),
    ("event > -1", [True] * 3, "bool"),
    ("event - 1", [2**63, 0, 6], "uint64"),
    ("event - 8", [2**63 - 7, 2**64 - 7, 2**64 - 1], "uint64"),
    ("-event", [2**63 - 1, -1, -7], "int64"),
    ("-9223372036854775808", [-(2**63)] * 3, "int64"),
    ("event % 2 == 1", [True, True, True], "bool"),
    ("ok + ok", [2, 0, 2], "int64"),
    ("ok & !ok", [False] * 3, "bool"),
    ("~ok", [False, True, False], "bool"),
    ("bit_and(flags, 4) != 0", [True, False, False], "bool"),
    ("bit(flags, 3)", [False, False, True], "bool"),
    ("bit(flags, 64) || bit(flags, -1)", [False] * 3, "bool"),
    ("jet_pt[0]", [NAN, 1.0, 30.0], "float64"),
    ("jet_pt[-1]", [NAN, 50.0, 30.0], "float64"),
    ("jet_pt[n - 1]", [NAN, 50.0, 30.0], "float64"),
    ("jet_pt[event]", [NAN, 50.0, NAN], "float64"),
    ("jet_id[0]", [NAN, 7.0, 9.0], "float64"),
    ("jet_pt[0] > 0", [False, True, True], "bool"),
    ("!(jet_pt[0] > 0)", [True, False, False], "bool"),
    ("Alt$(jet_id[1], -1)", [-1, 8, -1], "int64"),
    ("Alt$(jet_id[0], pt)", [np.float32(10.1), 7.0, 9.0], "float64"),
    ("v[1]", [1.0, 3.0, 5.0], "float64"),
    ("v[n]", [0.0, NAN, 5.0], "float64"),
    ("m[1][0]", [2, 6, 10], "int64"),
    ("m[-1][-1]", [3, 7, 11], "int64"),
    ("Sum(m)", [6, 22, 38], "int64"),
    ("Sum(v)", [1.0, 5.0, 9.0], "float64"),
    ("Max(v * pt)", [np.float32(10.1), 90.0, 300.0], "float64"),
    ("Sum(jet_ok)", [0, 1, 1], "int64"),
    ("Count(jet_pt > 20)", [0, 1, 1], "int64"),
    ("Max(jet_id)", [NAN, 8.0, 9.0], "float64"),
    ("Mean(jet_pt)", [NAN, 25.5, 30.0], "float64"),
    ("StdDev(jet_id)", [NAN, np.sqrt(0.5), NAN], "float64"),
    ("Any(jet_pt > 20)", [False, True, True], "bool"),
    ("All(jet_pt > 20)", [True, False, True], "bool"),
    ("ArgMax(jet_pt)", [-1, 1, 0], "int64"),
    ("jet_id[ArgMax(jet_pt)]", [NAN, 8.0, 9.0], "float64"),
    ("Length(jet_pt[jet_pt > 20 && jet_id < 9])", [0, 1, 0], "int64"),
    ("Sum(jet_pt[jet_ok])", [0.0, 1.0, 30.0], "float64"),
    ("v[v > 2].size()", [0, 1, 2], "int64"),
    ("`odd name` * 2", [2, 4, 6], "int64"),
    ("n in (1, 2)", [False, True, True], "bool"),
    (f"event in ({', '.join(map(str, range(40)))}, 9223372036854775809)", [True] * 3, "bool"),
    ("n not in (1,)", [True, True, False], "bool"),
    ("n ? pt : -1", [-1.0, 30.0, 60.0], "float64"),
    ("true", [True] * 3, "bool"),
    ("round(2.5) + round(-2.5) * 10 + round(0.49999999999999994)", [-27.0] * 3, "float64"),
    ("int(-2.7) + int(nan()) + int(1e300)", [-2] * 3, "int64"),
    ("fmod(-7, 3) + n", [-1.0, 1.0, 0.0], "float64"),
    ("clip(n, 1, 1.5)", [1.0, 1.5, 1.0], "float64"),
    ("sign(-pt) + sign(n)", [-1.0, 0.0, 0.0], "float64"),
    ("DeltaPhi(3, -3) + n", [2 * np.pi - 6, 2 * np.pi - 4, 2 * np.pi - 5], "float64"),
    ("DeltaR(0, 3, 0, 4 - 4) + n", [3.0, 5.0, 4.0], "float64"),
    ("InvariantMass(jet_pt, 0, jet_pt * 0, 0)", [0.0, 0.0, 0.0], "float64"),
    ("InvariantMasses(1, 0, 0, 0, 1, 0, pi(), 0)", [2.0] * 3, "float64"),
]


@pytest.mark.parametrize(("text", "expected", "dtype"), CASES, ids=[case[0][:40] for case in CASES])
def test_what_the_reference_page_promises(text: str, expected: Any, dtype: str) -> None:
    expression = parse(text)
    result = expression.evaluate(BLOCK)
    assert isinstance(result, np.ndarray)
    assert result.dtype == dtype
    assert expression.check(schema_of(BLOCK)).dtype == dtype
    if result.dtype.kind == "f":
        assert_allclose(result, np.array(expected, float), rtol=1e-12, atol=1e-6 if "Mass(" in text else 0)
    else:
        assert_array_equal(result, np.array(expected, dtype), strict=True)


def outcome(text: str) -> Values | InputError:
    try:
        return parse(text).evaluate(BLOCK)
    except InputError as error:
        return error


@settings(max_examples=300, deadline=None)
@given(trees(st.sampled_from([name for name in BLOCK if name != "other"])))
def test_any_tree_has_a_value_of_its_type_or_a_mistake(tree: Node) -> None:
    text = spell(tree)
    result = outcome(text)
    if isinstance(result, InputError):
        assert result.code == "batches.expression"
        assert len(result.message.split("\n")) == 3
        return
    kind = parse(text).check(schema_of(BLOCK))
    values = result.values if isinstance(result, Jagged) else result
    assert len(result) == 3
    assert (values.dtype, isinstance(result, Jagged), values.shape[1:]) == (kind.dtype, kind.jagged, kind.shape)


def test_jagged_results_keep_their_rows() -> None:
    kept = parse("jet_pt[jet_pt > 20]").evaluate(BLOCK)
    assert isinstance(kept, Jagged)
    assert kept.values.tolist() == [50.0, 30.0]
    assert kept.offsets.tolist() == [0, 0, 1, 2]
    assert kept.offsets.dtype == np.int64
    ordered = parse("Reverse(Sort(jet_pt))").evaluate(BLOCK)
    assert isinstance(ordered, Jagged)
    assert ordered.values.tolist() == [50.0, 1.0, 30.0]


WRONG = [
    ("q_1 > 3", "q_1", "There are"),
    ("jet_pr", "jet_pr", "jet_pt"),
    ("pt[0]", "pt[0]", ""),
    ("v[2]", "2", "[1]"),
    ("v[-3]", "-3", "[1]"),
    ("jet_pt[1.5]", "1.5", "int(x)"),
    ("jet_pt[ok]", "ok", "filter"),
    ("jet_pt[jet_id]", "jet_id", "mask"),
    ("Sum(pt)", "Sum(pt)", ""),
    ("Max(pt)", "Max(pt)", "max(x, y)"),
    ("pt & n", "pt", "&&"),
    ("ok & n & ok", "n", "bit_and"),
    ("~n", "~n", "bit_xor"),
    ("bit_and(pt, 1)", "pt", "int(x)"),
    ("m + v", "m + v", "x[i]"),
    ("m + jet_pt", "m + jet_pt", ""),
    ("m[m > 1]", "m[m > 1]", "x[i]"),
    ("Sort(m)", "Sort(m)", "x[i]"),
    ("n in (1, pt)", "pt", "x == y"),
    ("Alt(jet_pt[jet_ok], 1)", "Alt(jet_pt[jet_ok], 1)", ""),
    ("Alt(jet_pt[0], jet_pt)", "Alt(jet_pt[0], jet_pt)", ""),
    ("jet_pt + 1 * other", "jet_pt + 1 * other", "mask"),
    ("5[0]", "5[0]", ""),
]


@pytest.mark.parametrize(("text", "marked", "hint"), WRONG)
def test_parts_that_do_not_fit_are_shown(text: str, marked: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text).evaluate(BLOCK)
    assert caught.value.code == "batches.expression"
    assert hint in caught.value.hint
    _, shown, carets = caught.value.message.split("\n")
    assert shown[carets.index("^") : len(carets)] == marked


def test_columns_that_are_no_numbers_say_why() -> None:
    schema = Schema(
        [
            Column("name", None, typename="std::string", why_not="text is no feature"),
            Column("z", np.dtype("c16")),
            Column("tracks", np.dtype("f4"), (3,), jagged=True),
        ],
        where="a file",
    )
    for name, why in (("name", "text is no feature"), ("z", "complex128"), ("tracks", "arrays of shape")):
        with pytest.raises(InputError, match=why):
            parse(f"{name} > 1").check(schema)


def test_filters_keep_what_is_true_and_numbers_other_than_0() -> None:
    assert parse("n").keep(BLOCK).tolist() == [False, True, True]
    assert parse("jet_pt[0]").keep(BLOCK).tolist() == [False, True, True]  # NaN keeps no row
    assert parse("1").keep(BLOCK).tolist() == [True] * 3
    for text in ("jet_pt > 20", "v > 2"):
        with pytest.raises(InputError, match="one value each row") as caught:
            parse(text).keep(BLOCK)
        assert "Any" in caught.value.hint
        with pytest.raises(InputError, match="one value each row"):
            parse(text).check_filter(schema_of(BLOCK))
    parse("pt > 20").check_filter(schema_of(BLOCK))


def test_constants_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore.batches.expressions import functions

    calls = []
    counted = functions.FUNCTIONS["hypot"]
    changed = type(counted)(**{**counted.__dict__, "compute": lambda x, y: calls.append(1) or np.hypot(x, y)})
    monkeypatch.setitem(functions.FUNCTIONS, "hypot", changed)
    expression = parse("pt + hypot(3, 4) * 2")
    for _ in range(3):
        assert_array_equal(expression.evaluate(BLOCK), BLOCK["pt"].astype(float) + 10)  # type: ignore[union-attr]
    assert calls == [1]


def test_a_block_s_own_values_are_left_alone() -> None:
    column = np.array([1.0, 2.0])
    block: Block = {"x": column, "j": Jagged(np.array([2.0, 1.0, 9.0]), np.array([0, 2, 2]))}  # a value behind the last row
    for text in ("x + 1", "-x", "max(x, 5, 6)", "Sort(j)", "x ? x : 0", "Alt(j[0], x)"):
        parse(text).evaluate(block)
    assert column.tolist() == [1.0, 2.0]
    result = parse("Sort(j)").evaluate(block)
    assert isinstance(result, Jagged)
    assert result.values.tolist() == [1.0, 2.0]


def test_blocks_without_rows_and_without_columns() -> None:
    empty: Block = {"x": np.zeros(0, np.float32), "j": Jagged(np.zeros(0), np.zeros(1, np.int64)), "v": np.zeros((0, 2))}
    for text in ("x + 1", "Sum(j)", "Max(j)", "ArgMax(j)", "j[0]", "v[1]", "Mean(v)", "Any(j > 1)", "1 + 1", "Var(j)"):
        assert len(parse(text).evaluate(empty)) == 0
    assert len(parse("Sort(j[j > 1])").evaluate(empty)) == 0
    with pytest.raises(InputError, match="without columns"):
        parse("1").evaluate({})
