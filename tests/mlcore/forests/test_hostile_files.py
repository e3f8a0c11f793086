"""Damage to the files of every format ends in a forest that works or an error that says what is wrong; never in anything else.

The formats come from the registry of frontends, so a new one is tried as soon as it has `samples`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.forests.frontends import frontends
from mlcore.forests.verifier import verify
from tests.mlcore.forests import hostile_child
from tests.mlcore.forests.mutations import KINDS, cuts, damaged, damaged_inside
from tests.mlcore.forests.samples import samples

FORMATS = sorted(frontends())


@pytest.fixture(params=FORMATS)
def format_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def attempt(format_name: str, data: bytes) -> None:
    """Read and verify; anything but a model or an error with a message and a hint fails the test."""
    try:
        verify(frontends()[format_name].read(data, iterations="auto"))
    except InputError as error:
        assert error.message.strip(), "an error says what is wrong"  # noqa: PT017 - any other exception fails the test
        assert error.hint.strip(), f"an error says what to do: {error.message}"  # noqa: PT017


def test_every_format_has_samples_that_are_read(format_name: str) -> None:
    assert samples(format_name), f"tests/mlcore/forests/samples.py has none of {format_name}"
    for data in samples(format_name):
        verify(frontends()[format_name].read(data, iterations="auto"))


def test_truncated_at_every_mark_of_structure(format_name: str) -> None:
    for data in samples(format_name):
        for place in cuts(data):
            attempt(format_name, data[:place])


EDITS = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.floats(0, 1), st.integers(0, 2**16)), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_damage(format_name: str, data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(samples(format_name)))
    edits = data.draw(EDITS)
    attempt(format_name, damaged_inside(format_name, sample, edits) if data.draw(st.booleans()) else damaged(sample, edits))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_bytes_of_another_kind(format_name: str, data: bytes) -> None:
    attempt(format_name, data)


@pytest.mark.parametrize("other", FORMATS)
def test_files_of_other_formats(format_name: str, other: str) -> None:
    if other != format_name:
        for data in samples(other):
            attempt(format_name, data)


def hostile_run(tmp_path: Path, *, seconds: float, seed: int) -> None:
    """Damage files in a process of its own with little memory and time, and predict with what is still a forest."""
    for format_name in FORMATS:
        for number, data in enumerate(samples(format_name)):
            (tmp_path / f"{format_name}.{number}").write_bytes(data)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", hostile_child.__name__, str(tmp_path), str(seconds), str(seed)],
        capture_output=True,
        text=True,
        timeout=60 + 3 * seconds * len(FORMATS),
        cwd=Path(__file__).parents[3],
        env=environment,
    )
    last = tmp_path / "last"
    assert done.returncode == 0, f"{last.read_text() if last.exists() else ''}\n{done.stderr[-3000:]}"
    tried = json.loads(done.stdout)
    assert set(tried) == set(FORMATS)
    assert all(counts["refused"] > 0 for counts in tried.values()), tried


def test_little_memory_and_time_are_enough(tmp_path: Path) -> None:
    hostile_run(tmp_path, seconds=1.5, seed=1)


@pytest.mark.slow
def test_a_minute_of_damage_for_each_format(tmp_path: Path) -> None:
    hostile_run(tmp_path, seconds=60, seed=2)


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("atheris"), reason="atheris is no dependency; install it beside the project")
def test_damage_guided_by_coverage(format_name: str, tmp_path: Path) -> None:
    limits = [
        f"-max_total_time={max(6, 60 // len(FORMATS))}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={tmp_path}/",
    ]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.forests", format_name, str(corpus), *limits],
        capture_output=True,
        text=True,
        timeout=250,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not [path.name for path in tmp_path.iterdir() if path != corpus]
