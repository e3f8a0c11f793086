"""Messages: what is sent arrives, and what is no message is refused before it costs memory."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlcore.networks.frames import Channel, FrameError
from mlcore.networks.ir import DType

Pipes = tuple[Channel, Channel, int]


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    """Two channels that face each other, and the descriptor that the first one writes to."""
    one_reads, two_writes = os.pipe()
    two_reads, one_writes = os.pipe()
    yield Channel(one_reads, one_writes), Channel(two_reads, two_writes), one_writes
    for descriptor in (one_reads, two_writes, two_reads, one_writes):
        try:
            os.close(descriptor)
        except OSError:
            continue  # closed by the test


def through(pipes: Pipes, header: dict[str, Any], values: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    sender = threading.Thread(target=pipes[0].send, args=(header, values))
    sender.start()
    found = pipes[1].receive()
    sender.join()
    return found


numpy_types = [dtype.numpy for dtype in DType if dtype is not DType.STRING and dtype.numpy in map(np.dtype, "fdehilqBHILQ?")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(),
            st.sampled_from(numpy_types).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))),
            hnp.arrays(np.object_, hnp.array_shapes(max_dims=2, min_side=0), elements=st.text(max_size=5), fill=st.nothing()),
        ),
        max_size=4,
    )
)
def test_values_arrive_as_they_were_sent(pipes: Pipes, values: list[Any]) -> None:
    header, found = through(pipes, {"do": "call"}, [*values, values])
    assert header == {"do": "call"}
    assert len(found) == len(values) + 1
    for wanted, got in zip([*values, *values], [*found[:-1], *found[-1]], strict=True):
        if wanted is None:
            assert got is None
        elif wanted.dtype == np.object_:
            assert (got.shape, got.tolist()) == (wanted.shape, wanted.tolist())
        else:
            assert (got.shape, got.dtype, got.tobytes()) == (wanted.shape, wanted.dtype, wanted.tobytes())


def test_types_that_numpy_does_not_know_and_large_arrays_arrive(pipes: Pipes) -> None:
    small = np.array([1.5, -2], ml_dtypes.bfloat16)
    large = np.random.default_rng(3).standard_normal(3_000_000)
    _, found = through(pipes, {}, [small, large, np.asfortranarray(np.arange(6).reshape(2, 3))])
    assert found[0].dtype == small.dtype
    np.testing.assert_array_equal(found[0], small)
    np.testing.assert_array_equal(found[1], large)
    np.testing.assert_array_equal(found[2], [[0, 1, 2], [3, 4, 5]])
    found[1][0] = 0  # it is the receiver's own memory


def raw(values: Any) -> bytes:
    text = json.dumps({"values": values}).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff" * 8, "a header claims"),
        ((2).to_bytes(8, "little") + b"[]", "not well formed"),
        ((4).to_bytes(8, "little") + b"nope", "not well formed"),
        (raw([{"shape": [1]}]), "not well formed"),
        (raw([{"shape": [-1], "dtype": 1}]), "not well formed"),
        (raw([{"shape": [1.5], "dtype": 1}]), "not well formed"),
        (raw([{"shape": [1] * 40, "dtype": 1}]), "not well formed"),
        (raw([{"shape": [1], "dtype": 99}]), "not well formed"),
        (raw([{"shape": [1], "dtype": 8}]), "not well formed"),
        (raw([[[[[[[None]]]]]]]), "not well formed"),
        (raw([{"shape": [10**9, 10**9], "dtype": 1}]), "more than may arrive"),
        (raw([{"shape": [1], "text": 10**18}]), "more than may arrive"),
        (raw([{"shape": [1], "text": 2}]) + (1).to_bytes(8, "little") + b"ab", "other lengths"),
        (raw([{"shape": [2], "text": 2}]) + np.array([-1, 3]).tobytes() + b"ab", "other lengths"),
        (raw([{"shape": [4], "dtype": 1}]) + b"short", "gone"),
        (b"\x01", "gone"),
        (b"", "gone"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(pipes: Pipes, data: bytes, why: str) -> None:
    pipes[1].most_bytes = 2**30
    os.write(pipes[2], data)
    os.close(pipes[2])
    with pytest.raises(FrameError, match=why):
        pipes[1].receive()


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_noise_is_refused(data: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with open(os.devnull, "wb") as nowhere, pytest.raises(FrameError):  # noqa: PTH123 - a descriptor is all that is needed
        Channel(reading, nowhere.fileno()).receive()
    os.close(reading)


def test_nobody_to_write_to_is_told(pipes: Pipes) -> None:
    os.close(pipes[1].reading)
    with pytest.raises(FrameError, match="gone"):
        pipes[0].send({}, [np.zeros(10**6)])


def test_who_waits_is_asked_whether_to_go_on(pipes: Pipes) -> None:
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise TimeoutError

    pipes[1].check = check
    with pytest.raises(TimeoutError):
        pipes[1].receive()
    pipes[0].check = check
    asked.clear()
    with pytest.raises(TimeoutError):
        pipes[0].send({}, [np.zeros(10**6)])  # more than a pipe holds, and nobody reads
