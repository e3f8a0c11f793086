"""Forms made from schemas: every kind of control, what is read back, what is told when it is wrong."""

from __future__ import annotations

import uuid
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import Field

from portal.jobs import forms, registry
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params, file_field
from portal.jobs.results import Result

pytestmark = pytest.mark.django_db


class Shape(Enum):
    ROUND = "round"
    FLAT = "flat"


class EveryParams(Params):
    """One of each kind."""

    model: str = file_field(title="Model", description="A model", kinds=("onnx", "xgboost-json"), side_help="Export **it**.")
    name: str = Field("thing", title="Name", description="Of the result", pattern=r"^[a-z]+$", max_length=20)
    rows: int = Field(100, ge=10, le=1000, title="Rows", json_schema_extra={"x-unit": "rows"})
    share: float = Field(0.5, gt=0, lt=1, title="Share")
    mode: Literal["fast", "exact"] = Field("fast", title="Mode")
    shape: Shape = Field(Shape.ROUND, title="Shape")
    quick: bool = Field(False, title="Quick")
    columns: list[str] = Field(default_factory=list, title="Columns")
    limit: int | None = Field(None, ge=0, title="Limit")
    notes: str = Field("", max_length=2000, title="Notes")
    extra: dict[str, int] = Field(default_factory=dict, title="Extra")


class Every(JobType[EveryParams]):
    slug = "every-kind"
    title = "Every kind"
    summary = "A form with one field of each kind"
    duration = "no time"
    gives = (("a.txt", "text"),)
    Params = EveryParams

    def run(self, context: JobContext, params: EveryParams) -> Result:
        return Result()


@pytest.fixture
def every(monkeypatch: pytest.MonkeyPatch) -> Every:
    job_type = Every()
    known = {**registry.all_types(), job_type.slug: job_type}
    monkeypatch.setattr(registry, "all_types", lambda: known)
    return job_type


def row(form: forms.JobForm, name: str) -> forms.Field:
    return next(one for one in form.fields if one.name == name)


def test_each_property_gets_its_control(every: Every, person: Any) -> None:
    form = forms.JobForm(every, person)
    assert {one.name: one.kind for one in form.fields} == {
        "model": "file", "name": "text", "rows": "integer", "share": "number", "mode": "select", "shape": "select",
        "quick": "boolean", "columns": "list", "limit": "integer", "notes": "lines", "extra": "json",
    }  # fmt: skip
    assert [one.name for one in form.fields if one.required] == ["model"]
    assert row(form, "rows").range == "10 to 1\u202f000 rows"
    assert row(form, "name").value == "thing"
    assert [option.value for option in row(form, "shape").options] == ["round", "flat"]
    assert row(form, "model").side_help == "Export **it**."


def test_what_is_filled_in_becomes_parameters(every: Every, person: Any) -> None:
    form = forms.JobForm(every, person)
    key = str(uuid.uuid4())
    form.take(
        {
            "model": key, "name": " abc ", "rows": "20", "share": "0,25", "mode": "exact", "shape": "flat", "quick": "true",
            "columns": "a, b\nc", "limit": "", "notes": "", "extra": '{"x": 1}',
        },
        {},
    )  # fmt: skip
    assert form.parameters() == {
        "model": key, "name": "abc", "rows": 20, "share": 0.25, "mode": "exact", "shape": "flat", "quick": True,
        "columns": ["a", "b", "c"], "extra": {"x": 1},
    }  # fmt: skip
    form.check()
    assert form.checked


@pytest.mark.parametrize(
    ("name", "typed", "told", "nearest"),
    [
        ("rows", "5", "5 is outside the range: 10 to 1\u202f000 rows.", "10"),
        ("rows", "99999", "99999 is outside the range: 10 to 1\u202f000 rows.", "1000"),
        ("rows", "12.7", "“12.7” is not a whole number, 10 to 1\u202f000 rows.", "13"),
        ("rows", "many", "“many” is not a whole number, 10 to 1\u202f000 rows.", "100"),
        ("rows", "nan", "“nan” is not a whole number, 10 to 1\u202f000 rows.", "100"),
        ("share", "1", "1 is outside the range: 0 to 1.", "0.5"),
        ("mode", "exakt", "“exakt” is not one of the choices.", "exact"),
        ("limit", "-3", "-3 is outside the range: at least 0.", "0"),
        ("name", "ABC", "This should match pattern '^[a-z]+$'.", ""),
        ("extra", "{x", "This should be a valid dictionary.", ""),
        ("extra", '{"x": "y"}', "This should be a valid integer, unable to parse string as an integer.", ""),
    ],
)
def test_a_wrong_value_is_kept_and_told_with_the_nearest_right_one(
    every: Every, person: Any, name: str, typed: str, told: str, nearest: str
) -> None:
    form = forms.JobForm(every, person)
    form.take({"model": "x", "name": "a", "rows": "20", "share": "0.5", "mode": "fast", "shape": "round"} | {name: typed}, {})
    form.check()
    assert not form.checked
    assert [one.name for one in form.problems] == [name]
    assert row(form, name).value == typed
    assert row(form, name).problem == told
    assert row(form, name).nearest == nearest


def test_a_missing_file_is_asked_for(every: Every, person: Any) -> None:
    form = forms.JobForm(every, person)
    form.take({}, {})
    form.check()
    assert row(form, "model").problem == "Choose a file, or upload one."


def test_the_same_job_from_a_terminal(every: Every, person: Any) -> None:
    form = forms.JobForm(every, person)
    assert form.command == "ml4ep run every-kind \\\n  --model FILE"
    form.take(
        {"name": "it's", "rows": "100", "quick": "true", "columns": "a, b", "share": "0.5", "mode": "fast", "shape": "round"}, {}
    )
    assert form.command.split(" \\\n  ") == [
        "ml4ep run every-kind", "--model FILE", """--name 'it'"'"'s'""", "--quick", "--columns a", "--columns b",
    ]  # fmt: skip


def test_the_address_and_an_earlier_job_prefill(every: Every, person: Any) -> None:
    from portal.jobs.models import Job

    form = forms.JobForm(every, person)
    form.prefill({"rows": "77"}, Job(params={"rows": 50, "quick": True, "columns": ["a", "b"], "gone": 1}))
    assert row(form, "rows").value == "77"
    assert row(form, "quick").checked
    assert row(form, "columns").value == "a, b"
