"""Einsum and determinants against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, drawn, hold, node_model

RNG = np.random.default_rng(17)

EQUATIONS = [
    "ij,jk->ik", "ij,jk", "bhqd,bhkd->bhqk", "bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd", "ij->ji", "ij->", "ij->j", "ij",
    "ji", "ii->i", "ii", "bii->b", "bii->bi", "i,i->", "i,i", "i,j->ij", "i,j->ji", "ij,ij->ij", "ij,ij->",
    "ij,k->ikj", "i,->i", ",->", "->", "a,ab,bc->c", "abc,cd,d->ba", "ab,bc,cd,de->ea", "aab,bcc->ca",
    "...ij,...jk->...ik", "...ij,...jk", "...->...", "...i->i...", "i...->...i", "...,...->...", "b...d,dc->b...c",
    "...ii->...i", "ij,kj->ki", "xY,Yx->", "bij,bkj->bik", "abcd,dbe->ace", "ab,ac->bc", "ab,cb,db->acd",
    "i j , j k -> i k",
]  # fmt: skip
SIZES = {letter: 1 + i % 4 for i, letter in enumerate("abcdehijkqxY")}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12, np.float16: 5e-3}
"""Sums of at most some hundreds of products; float16 is rounded once for each product of two operands."""


def operands(equation: str, dtype: Any, more: int = 0, spread: tuple[int, ...] = (2, 3)) -> list[Array]:
    found = []
    for i, term in enumerate(equation.replace(" ", "").partition("->")[0].split(",")):
        before, ellipsis, behind = term.partition("...")
        # The second operand has a shorter ellipsis, of a size that broadcasts.
        middle = () if not ellipsis else spread if i == 0 else (1,)
        shape = (*(SIZES[c] + more for c in before), *middle, *(SIZES[c] + more for c in behind))
        numbers = RNG.standard_normal(shape) if np.issubdtype(dtype, np.floating) else RNG.integers(-5, 6, shape)
        found.append(np.asarray(numbers, dtype))
    return found


def case(equation: str, dtype: Any, dynamic: bool) -> Case:
    calls = [operands(equation, dtype)]
    if dynamic:
        calls.append(operands(equation, dtype, 1, (3, 2)))
    model = node_model("Einsum", calls[0], opset=12, outputs=[dtype], dynamic=dynamic, equation=equation)
    if dynamic and "..." in equation:
        # What broadcasts is 1 in every call.
        for port, array in zip(model.graph.input, calls[0], strict=True):
            for dim, one, other in zip(
                port.type.tensor_type.shape.dim, array.shape, calls[1][int(port.name[1:])].shape, strict=True
            ):
                if one == other == 1:
                    dim.dim_value = 1
    wide = np.float64 if np.issubdtype(dtype, np.floating) else np.int64
    tolerance = TOLERANCE.get(dtype, 0)
    return Case(
        model, tuple(map(tuple, calls)), rtol=tolerance, atol=tolerance,
        expected=lambda *x: [np.asarray(np.einsum(equation, *(item.astype(wide) for item in x))).astype(dtype)],
    )  # fmt: skip


def test_equations() -> None:
    cases = []
    for i, equation in enumerate(EQUATIONS):
        cases.append(case(equation, [np.float32, np.float64, np.int32][i % 3], False))
        cases.append(case(equation, np.float32, True))
    cases += [case(equation, np.float16, False) for equation in EQUATIONS[:6]]
    hold(cases)


@st.composite
def equations(draw: st.DrawFn) -> str:
    """Up to three operands of up to four labels, and any of these in the result."""
    letters = "abcde"
    terms = [draw(st.text(letters, max_size=4)) for _ in range(draw(st.integers(1, 3)))]
    used = sorted(set("".join(terms)))
    result = draw(st.permutations(used))[: draw(st.integers(0, len(used)))] if used else []
    return f"{','.join(terms)}->{''.join(result)}"


def test_any_equation() -> None:
    # Whole numbers are never lowered to matrix products (`mlcore.networks.passes.lower_einsum`).
    found = dict.fromkeys(drawn(equations(), 45))
    hold([case(equation, [np.float64, np.int64][i % 3 == 0], i % 2 == 1) for i, equation in enumerate(found)])


def test_labels_of_size_one_broadcast_and_empty_ones_sum_to_zero() -> None:
    cases = []
    for equation, shapes in (
        ("ij,jk->ik", [(2, 1), (3, 4)]),
        ("ij,ij->j", [(1, 3), (4, 3)]),
        ("ij,jk->ik", [(2, 0), (0, 3)]),
        ("ij->i", [(3, 0)]),
        ("bij,bjk->bik", [(0, 2, 3), (0, 3, 2)]),
    ):
        x = [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]
        model = node_model("Einsum", x, opset=12, equation=equation)
        cases.append(Case(model, (tuple(x),), expected=lambda *x, equation=equation: [np.einsum(equation, *x)]))
    hold(cases)


def test_determinants() -> None:
    cases = []
    for dtype in (np.float32, np.float64, np.float16):
        for shape in ((1, 1), (2, 2), (3, 4, 4), (2, 1, 5, 5), (0, 3, 3)):
            x = RNG.standard_normal(shape).astype(dtype)
            model = node_model("Det", [x], opset=22, outputs=[dtype], dynamic=len(shape) == 3)
            # Elimination in double precision, rounded once.
            tolerance = {np.float32: 1e-6, np.float64: 1e-10, np.float16: 2e-3}[dtype]
            cases.append(
                Case(
                    model,
                    ((x,),),
                    tolerance,
                    tolerance,
                    lambda x: [np.asarray(np.linalg.det(x.astype(np.float64))).astype(x.dtype)],
                )
            )
    special = np.array([[[0, 1], [1, 0]], [[1, 2], [2, 4]], [[0, 0], [0, 0]]], np.float32)
    cases.append(Case(node_model("Det", [special], opset=11), ((special,),), 0, 0, lambda _: [np.array([-1, 0, 0], np.float32)]))
    hold(cases)


X = np.zeros((2, 3), np.float32)
REFUSED: list[tuple[Any, str]] = [
    (node_model("Einsum", [X], opset=12, equation="ij,jk->ik"), "1 inputs"),
    (node_model("Einsum", [X], opset=12, equation="i->i"), "2 axes"),
    (node_model("Einsum", [X], opset=12, equation="ij->k"), "impossible"),
    (node_model("Einsum", [X], opset=12, equation="ij->ii"), "impossible"),
    (node_model("Einsum", [X], opset=12, equation="i1->i"), "other than letters"),
    (node_model("Einsum", [X], opset=12, equation="......ij->i"), "other than letters"),
    (node_model("Einsum", [X], opset=12, equation="...j->j"), "loses"),
    (node_model("Einsum", [X, X], opset=12, equation="ij,jk->ik"), "differ"),
    (node_model("Einsum", [X, X.astype(np.float64)], opset=12, equation="ij,ij->"), "float32, float64"),
    (node_model("Einsum", [X > 0], opset=12, outputs=[np.bool_], equation="ij->"), "bool"),
    (node_model("Det", [X], opset=11), "differ"),
    (node_model("Det", [X[0]], opset=11), "matrices"),
]


@pytest.mark.parametrize(("model", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_contradictions_are_refused_when_the_model_is_read(model: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        translate(model, "refused")
