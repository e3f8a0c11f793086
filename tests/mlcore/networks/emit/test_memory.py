"""The memory plan: no two tensors that are alive together overlap, in either way of placing them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcore.networks.code import Storage
from mlcore.networks.emit import memory
from mlcore.networks.ir.sizes import Size, evaluate, symbol

SIZES: list[Size] = [symbol("n") * 4, symbol("n") * symbol("m"), symbol("m") + 3]


def storage(number: int, first: int, length: int, count: Size, element: int = 4, kind: str = "planned") -> Storage:
    return Storage(f"t{number}", kind, "float", count, element, first, first + length)


lifetimes = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(0, 3000)), max_size=40)


def check(offsets: dict[Storage, int], end: int) -> None:
    items = list(offsets.items())
    for number, (one, start) in enumerate(items):
        assert start % memory.ALIGNMENT == 0
        size = one.count * one.element_bytes
        assert isinstance(size, int)
        assert start + size + memory.SLACK <= end
        for other, place in items[:number]:
            together = one.first <= other.last and other.first <= one.last
            other_size = other.count * other.element_bytes
            assert isinstance(other_size, int)
            apart = start + size + memory.SLACK <= place or place + other_size + memory.SLACK <= start
            assert not together or apart, (one, other)


@given(lifetimes)
def test_nothing_alive_overlaps(drawn: list[tuple[int, int, int]]) -> None:
    plan = memory.plan([storage(i, *item) for i, item in enumerate(drawn)])
    assert len(plan.offsets) == len(drawn)
    check(plan.offsets, plan.static_bytes)


@given(lifetimes)
def test_nothing_alive_overlaps_where_very_many_are_alive(drawn: list[tuple[int, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "MOST_PAIRS", -1)
        plan = memory.plan([storage(i, *item) for i, item in enumerate(drawn)])
    assert len(plan.offsets) == len(drawn)
    check(plan.offsets, plan.static_bytes)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30), st.sampled_from(SIZES)), max_size=40))
def test_slots_hold_values_of_one_size_one_after_the_other(drawn: list[tuple[int, int, Size]]) -> None:
    storages = [storage(i, *item) for i, item in enumerate(drawn)]
    plan = memory.plan(storages)
    assert sorted(item.name for slot in plan.slots for item in slot.storages) == sorted(item.name for item in storages)
    for slot in plan.slots:
        assert {item.count * item.element_bytes for item in slot.storages} == {slot.bytes}
        for before, after in zip(slot.storages, slot.storages[1:], strict=False):
            assert before.last < after.first
    # As few slots of a size as are alive at once.
    for size in {slot.bytes for slot in plan.slots}:
        alive = max(
            sum(item.first <= step <= item.last for item in storages if item.count * item.element_bytes == size)
            for step in range(100)
        )
        assert sum(slot.bytes == size for slot in plan.slots) == alive


def test_a_chain_needs_two_places() -> None:
    plan = memory.plan([storage(i, i, 1, 1000) for i in range(50)])
    assert plan.static_bytes == 2 * memory.aligned(4000)


def test_what_is_not_planned_gets_no_place() -> None:
    plan = memory.plan([storage(0, 0, 1, symbol("u", late=True), kind="late"), storage(1, 0, 1, 8, kind="constant")])
    assert (plan.offsets, plan.slots, plan.static_bytes, plan.n_growing) == ({}, (), 0, 1)


@pytest.mark.parametrize("together", [1, 3000])
def test_very_many_tensors_are_placed(together: int) -> None:
    """Both ways of placing, at a number of pairs that a quadratic plan would not end with."""
    storages = [storage(i, i, together, 100 + i % 7) for i in range(30_000)]
    plan = memory.plan(storages)
    assert len(plan.offsets) == len(storages)
    most = memory.aligned(4 * 106)
    assert (together + 1) * memory.aligned(400) <= plan.static_bytes <= 1.1 * (together + 1) * most
    check(dict(list(plan.offsets.items())[:400]), plan.static_bytes)


@given(st.integers(0, 10_000))
def test_room_is_a_multiple_with_slack(n_bytes: int) -> None:
    assert memory.aligned(n_bytes) % memory.ALIGNMENT == 0
    assert n_bytes + memory.SLACK <= memory.aligned(n_bytes) < n_bytes + memory.SLACK + memory.ALIGNMENT
    assert evaluate(symbol("n") + 1, {"n": n_bytes}) == n_bytes + 1


@given(lifetimes, st.data())
def test_bounded_sizes_have_places_for_their_largest_numbers(drawn: list[tuple[int, int, int]], data: st.DataObject) -> None:
    bounds = {"n": 9, "m": 5}
    sizes = [data.draw(st.sampled_from(SIZES)) for _ in drawn]
    storages = [storage(i, first, length, size) for i, ((first, length, _), size) in enumerate(zip(drawn, sizes, strict=True))]
    plan = memory.plan(storages, bounds)
    assert not plan.slots
    largest = {
        storage(i, one.first, one.last - one.first, evaluate(one.count, bounds)): plan.offsets[one]
        for i, one in enumerate(storages)
    }
    check(largest, plan.static_bytes)


def test_sizes_without_a_bound_keep_their_slots() -> None:
    plan = memory.plan([storage(0, 0, 1, symbol("n") * 4), storage(1, 0, 1, symbol("free"))], {"n": 8})
    assert len(plan.offsets) == len(plan.slots) == 1
    assert plan.static_bytes == memory.aligned(8 * 4 * 4)
