"""Operators on texts against Python's own, and ONNX's evaluator."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from mlcore.errors import InputError, MLCoreError
from mlcore.networks.compiler import translate
from mlcore.networks.ops._regex import compile_pattern
from tests.mlcore.networks.conftest import Case, drawn, hold, node_model


def texts(*items: Any) -> np.ndarray[Any, Any]:
    result = np.empty(len(items), object)
    result[:] = items
    return result


ODD = texts("", " ", "a", "a b", "  a  b\tc ", "ä-ö", "x\u3000y\u2003z", "a--b-", "-", "\0x", "\n", "line\nline", "日本 語")


# Splitting and joining.


def test_splits_are_pythons() -> None:
    cases = []
    for delimiter in (None, "", "-", " ", "--", "ö"):
        for most in (None, 0, 1, 2):
            attributes = {key: value for key, value in (("delimiter", delimiter), ("maxsplit", most)) if value is not None}
            model = node_model("StringSplit", [ODD], opset=20, outputs=[object, np.int64], dynamic=True, **attributes)

            def expected(x: Any, delimiter: Any = delimiter, most: Any = most) -> list[Any]:
                parts = [text.split(delimiter or None, -1 if most is None else most) for text in x]
                width = max(map(len, parts), default=0)
                padded = np.array([part + [""] * (width - len(part)) for part in parts], object).reshape(len(x), width)
                return [padded, np.array([len(part) for part in parts], np.int64)]

            cases.append(Case(model, ((ODD,), (ODD[:1],), (ODD[:0],)), expected=expected))
    hold(cases)


def test_texts_side_by_side() -> None:
    left, right = ODD[:6].reshape(2, 3), ODD[6:8].reshape(2, 1)
    dynamic = node_model("StringConcat", [left, right], opset=20, outputs=[object])
    hold([Case(dynamic, ((left, right),), expected=lambda a, b: [a + b])])


def test_movement_of_texts() -> None:
    x, z = ODD[:6].reshape(2, 3), ODD[3:9].reshape(2, 3)
    index, shape = np.array([2, 0]), np.array([3, 2])
    cases = [
        Case(node_model("Identity", [x], opset=21, outputs=[object], dynamic=True), ((x,), (x[:1],)), expected=lambda x: [x]),
        Case(
            node_model("Reshape", [x, shape], opset=21, outputs=[object], constants=[1]),
            ((x,),),
            expected=lambda x: [x.reshape(3, 2)],
        ),
        Case(
            node_model("Gather", [x, index], opset=13, outputs=[object], constants=[1], axis=1, dynamic=True),
            ((x,), (x[:1],)),
            expected=lambda x: [x[:, [2, 0]]],
        ),
        Case(
            node_model("Concat", [x, z], opset=13, outputs=[object], axis=0),
            ((x, z),),
            expected=lambda x, z: [np.concatenate([x, z])],
        ),
        Case(
            node_model("Transpose", [x], opset=21, outputs=[object], dynamic=True), ((x,), (x[:, :2],)), expected=lambda x: [x.T]
        ),
        Case(node_model("Equal", [x, z], opset=19, outputs=[np.bool_]), ((x, z), (x, x)), expected=lambda x, z: [x == z]),
        Case(
            node_model("Where", [x == z, x, z], opset=16, outputs=[object]),
            ((np.array([[True, False, True], [False, False, True]]), x, z),),
            expected=lambda c, x, z: [np.where(c, x, z)],
        ),
        Case(
            node_model("Tile", [x, np.array([2, 1])], opset=13, outputs=[object], constants=[1]),
            ((x,),),
            expected=lambda x: [np.tile(x, (2, 1))],
        ),
        Case(
            node_model("Unsqueeze", [x, np.array([0])], opset=21, outputs=[object], constants=[1], dynamic=True),
            ((x,), (x[:1],)),
            expected=lambda x: [x[None]],
        ),
        Case(
            node_model(
                "Slice", [x, np.array([1]), np.array([3]), np.array([1])], opset=13, outputs=[object], constants=[1, 2, 3]
            ),
            ((x,),),
            expected=lambda x: [x[:, 1:3]],
        ),
        Case(
            node_model("Expand", [x[:1], np.array([2, 3])], opset=13, outputs=[object], constants=[1]),
            ((x[:1],),),
            expected=lambda x: [np.broadcast_to(x, (2, 3))],
        ),
    ]
    hold(cases)


# Normalising.


def test_stop_words_and_case() -> None:
    words = texts("Monday", "monday", "ÄRGER", "straße", "", "ΟΔΟΣ", "the", "The end", "ŉ")
    stops = ["MONDAY", "monday", "the", "ärger"]
    cases = []
    for action in ("NONE", "LOWER", "UPPER"):
        for sensitive in (0, 1):
            for row in (False, True):
                data = words[None] if row else words
                model = node_model(
                    "StringNormalizer", [data], opset=10, outputs=[object], dynamic=True, case_change_action=action,
                    is_case_sensitive=sensitive, stopwords=stops,
                )  # fmt: skip

                def expected(x: Any, action: str = action, sensitive: int = sensitive) -> list[Any]:
                    lowered = [stop if sensitive else stop.lower() for stop in stops]
                    kept = [word for word in x.reshape(-1) if (word if sensitive else word.lower()) not in lowered]
                    # Letter by letter: a Greek word's last sigma is no special case.
                    change = {"NONE": str, "LOWER": lambda w: "".join(map(str.lower, w)), "UPPER": str.upper}[action]
                    return [texts(*(map(change, kept) if kept else [""])).reshape(*x.shape[:-1], -1)]

                few = data[..., :2]
                cases.append(Case(model, ((data,), (few,), (few[..., :0],)), expected=expected))
    hold(cases)


# Regular expressions.

ATOMS = ["a", "b", "é", ".", "[ab]", "[^a]", r"\d", r"\W", r"\s", "[a-cé]", "(?i:B)", r"\.", "", "[[:digit:]-]"]
PYTHON = {"[[:digit:]-]": "[0-9-]"}


def patterns() -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from(ATOMS),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "*?"])).map(
                lambda pair: f"({pair[0]}){pair[1]}"
            ),
        ),
        max_leaves=6,
    )


SUBJECTS = texts(
    "",
    "a",
    "b",
    "B",
    "ab",
    "aab",
    "abab",
    "é",
    "aé.",
    "1",
    "a1",
    " ",
    "\n",
    "aaaa",
    "b b",
    "-",
    "1-",
    "c",
    "ba",
    ".",
    "aaab",
    "b\nb",
)


def test_patterns_match_what_pythons_match() -> None:
    cases = []
    for pattern in dict.fromkeys(drawn(patterns(), 150)):
        theirs = pattern
        for mine, python in PYTHON.items():
            theirs = theirs.replace(mine, python)
        compiled = re.compile(theirs, re.ASCII)
        model = node_model("RegexFullMatch", [SUBJECTS], opset=20, outputs=[np.bool_], dynamic=True, pattern=pattern)

        def expected(x: Any, compiled: Any = compiled) -> list[Any]:
            return [np.array([compiled.fullmatch(text) is not None for text in x], bool)]

        cases.append(Case(model, ((SUBJECTS,), (SUBJECTS[:0],)), expected=expected))
    hold(cases)


SYNTAX: list[tuple[str, list[str], list[str]]] = [
    (r"(?i)straße|kelvin", ["STRAßE", "\u212aELVIN", "straẞe"], ["STRASSE", ""]),
    (r"(?s).+", ["\n", "a\nb"], [""]),
    (r".+", ["a"], ["\n"]),
    (r"(?m)^a$\n^b$", ["a\nb"], ["a\n\nb"]),
    (r"^a$|^$", ["a", ""], ["a\n"]),
    (r"\bfoo\b.*", ["foo", "foo bar"], ["foobar"]),
    (r"fo\Bo", ["foo"], []),
    (r"\Qa.b*\Ec", ["a.b*c"], ["axbbc"]),
    (r"\x41\x{1F600}\101\n", ["A\U0001f600A\n"], ["A"]),
    (r"\pL+\p{Nd}\PL", ["éa1-", "ж٣ "], ["1a"]),
    (r"[^\pL]+", ["12"], ["1a"]),
    (r"[]a]+[^]b]", ["]a-", "a-"], ["]b"]),
    (r"a{,2}", ["a{,2}"], ["aa"]),
    (r"(?P<name>a)(?<other>b)(?i)c", ["abC"], ["Abc"]),
    (r"(a+)+", ["a" * 3000], ["a" * 3000 + "!"]),
    (r"(a?){50}a{50}", ["a" * 60], ["a" * 101]),
    (r"((a*)*)*b", ["b", "aab"], ["a" * 5000]),
]


def test_syntax_of_re2() -> None:
    cases = []
    for pattern, yes, no in SYNTAX:
        data = texts(*yes, *no)
        model = node_model("RegexFullMatch", [data], opset=20, outputs=[np.bool_], pattern=pattern)
        wanted = np.array([True] * len(yes) + [False] * len(no))
        cases.append(Case(model, ((data,),), expected=lambda _, wanted=wanted: [wanted]))
    hold(cases)


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "a)", "[a", "*", "a**", "a{2}{3}", "(?=a)", r"(a)\1", r"\p{Greek}", "a{1001}", "(a{1000}){1000}", "[b-a]", r"\y",
     "(" * 200, r"\x{110000}", "(?<!a)b", "[[:nothing:]]", "\\", "(((){1000}){1000}"],
)  # fmt: skip
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(MLCoreError):
        compile_pattern(pattern)


def test_repetitions_of_nothing_end() -> None:
    assert len(compile_pattern("((((){1000}){1000}){1000}){1000}").states) == 1


# N-grams.


def test_ngrams() -> None:
    cases = []
    pool = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 7, 7]
    words = [str(item) for item in pool]
    rng = np.random.default_rng(3)
    plans = [(1, 1, 0), (1, 2, 0), (2, 2, 0), (2, 2, 5), (1, 3, 1), (3, 3, 2), (1, 2, 5)]
    for number, (shortest, longest, skip) in enumerate(plans):
        for mode, weights in (("TF", None), ("IDF", [0.5 * i for i in range(8)]), ("TFIDF", [1.5 - i for i in range(8)])):
            attributes = {
                "min_gram_length": shortest, "max_gram_length": longest, "max_skip_count": skip, "mode": mode,
                "ngram_counts": [0, 3, 9], "ngram_indexes": [0, 2, 1, 3, 4, 6, 7], **({"weights": weights} if weights else {}),
            }  # fmt: skip
            if number % 2:
                data = rng.integers(1, 9, (3, 11)).astype(np.int32)
                model = node_model("TfIdfVectorizer", [data], opset=9, dynamic=True, pool_int64s=pool, **attributes)
                calls = ((data,), (data[:1, :2],))
            else:
                data = rng.integers(1, 9, 12).astype(str).astype(object)
                model = node_model("TfIdfVectorizer", [data], opset=9, dynamic=True, pool_strings=words, **attributes)
                calls = ((data,), (data[:1],))
            # Counts and a product of two small numbers each: one rounding.
            cases.append(Case(model, calls, rtol=1e-6, atol=0))
    hold(cases)


# Errors.

UNIGRAMS = {
    "min_gram_length": 1, "max_gram_length": 1, "max_skip_count": 0, "mode": "TF", "ngram_indexes": [0], "pool_int64s": [1, 2],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "opset", "data", "attributes", "what"),
    [
        ("StringSplit", 20, np.zeros(2, np.float32), {}, "works on texts"),
        ("StringNormalizer", 10, ODD[:4].reshape(2, 2), {}, "one row"),
        ("StringNormalizer", 10, ODD[:4], {"case_change_action": "TITLE"}, "TITLE"),
        ("StringNormalizer", 10, ODD[:4], {"locale": "tr_TR"}, "tr_TR"),
        ("RegexFullMatch", 20, ODD[:4], {"pattern": "a**"}, "repetition of a repetition"),
        ("RegexFullMatch", 20, ODD[:4], {}, "pattern"),
        (
            "TfIdfVectorizer", 9, np.zeros(2, np.int64),
            {**UNIGRAMS, "ngram_counts": [0]}, "without a column",
        ),
        (
            "TfIdfVectorizer", 9, np.zeros(2, np.int64),
            {**UNIGRAMS, "ngram_counts": [5, 0]}, "ngram_counts",
        ),
    ],
)  # fmt: skip
def test_bad_attributes(kind: str, opset: int, data: Any, attributes: dict[str, Any], what: str) -> None:
    outputs = [object, np.int64] if kind == "StringSplit" else [object]
    with pytest.raises(InputError, match=what):
        translate(node_model(kind, [data], opset=opset, outputs=outputs, **attributes), "wrong")
