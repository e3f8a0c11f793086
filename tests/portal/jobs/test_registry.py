"""The registry: what each job type must declare, and how its parameters are checked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from portal.jobs import registry
from portal.jobs.types.worker_check import WorkerCheck

ALL = sorted(registry.all_types())


@pytest.mark.parametrize("slug", ALL)
def test_every_type_declares_what_the_doors_need(slug: str) -> None:
    job_type = registry.get(slug)
    assert job_type.title
    assert job_type.summary
    assert job_type.duration
    assert slug == slug.lower()
    for name, field in job_type.Params.model_fields.items():
        assert field.title, f"{slug}.{name} has no title for its label"
        assert field.description, f"{slug}.{name} has no description for its hint"
    assert job_type.schema()["type"] == "object"


def test_an_unknown_type_names_the_known_ones() -> None:
    with pytest.raises(registry.UnknownJobTypeError, match="worker-check"):
        registry.get("nothing")


def test_parameters_are_refused_field_by_field() -> None:
    with pytest.raises(registry.ParamsError) as refused:
        WorkerCheck().parse({"seconds": -1, "ending": "somehow", "colour": "red"})
    assert set(refused.value.problems) == {"seconds", "ending", "colour"}


def test_a_slug_used_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.jobs.types import worker_check

    class Twin(WorkerCheck):
        pass

    Twin.__module__ = worker_check.__name__
    monkeypatch.setattr(worker_check, "Twin", Twin, raising=False)
    registry.all_types.cache_clear()
    try:
        with pytest.raises(RuntimeError, match="worker-check"):
            registry.all_types()
    finally:
        monkeypatch.undo()
        registry.all_types.cache_clear()


def test_the_registry_imports_neither_django_nor_heavy_libraries() -> None:
    code = (
        "import sys; from portal.jobs import registry; registry.all_types();"
        "heavy = {'django', 'celery', 'torch', 'onnx', 'numpy', 'uproot', 'xgboost', 'lightgbm', 'faiss'} & set(sys.modules);"
        "print(*sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
