"""Documents cut into passages."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from assistant.index.chunks import chunks, estimate_pieces


@given(st.text(alphabet="ab cd.;(\n", max_size=2000), st.integers(5, 50))
def test_chunks_hold_all_text_once_in_order_within_the_limit(text: str, limit: int) -> None:
    pieces = list(chunks(text, limit))
    assert [(c.start, c.end) for c in pieces] == sorted((c.start, c.end) for c in pieces)
    covered = "".join(text[c.start : c.end] for c in pieces)
    assert "".join(covered.split()) == "".join(text.split())
    for before, after in pairwise(pieces):
        assert before.end <= after.start
    longest_word = max((estimate_pieces(word) for word in text.split()), default=0)
    assert all(estimate_pieces(text[c.start : c.end]) <= max(limit, longest_word) for c in pieces)


def test_a_blank_line_is_preferred_to_the_middle_of_a_paragraph() -> None:
    text = "one two three\n\nfour five six\nseven eight nine\n"
    first, second = chunks(text, 7)
    assert text[first.start : first.end] == "one two three\n\n"
    assert text[second.start : second.end] == "four five six\nseven eight nine\n"


def test_a_very_long_line_is_cut() -> None:
    text = "x" * 100_000 + " " + "y " * 5000
    assert all(c.end - c.start <= 3000 for c in chunks(text))
