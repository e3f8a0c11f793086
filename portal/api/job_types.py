"""Job types: what the portal can do, and the parameters each takes."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from portal.accounts.models import User
from portal.api.auth import person
from portal.api.errors import not_found, refusals
from portal.jobs import registry
from portal.jobs.registry import JobType

router = Router(tags=["job types"])


class Gives(Schema):
    name: str
    what: str


class JobTypeOut(Schema):
    """A kind of job."""

    slug: str
    title: str
    summary: str = Field(description="What goes in and what comes out")
    duration: str = Field(description="What a typical run takes")
    gives: list[Gives] = Field(description="The artefacts to expect")
    files: dict[str, list[str]] = Field(description="The parameters that are ids of uploaded files, each with the kinds it takes")
    params: dict[str, Any] = Field(description="JSON schema of the parameters")


def show(job_type: JobType[Any]) -> JobTypeOut:
    return JobTypeOut(
        slug=job_type.slug,
        title=job_type.title,
        summary=job_type.summary,
        duration=job_type.duration,
        gives=[Gives(name=name, what=what) for name, what in job_type.gives],
        files={name: list(kinds) for name, kinds in job_type.file_kinds().items()},
        params=job_type.schema(),
    )


def open_to(user: User) -> list[JobType[Any]]:
    """The job types this person may start."""
    return [each for _, each in sorted(registry.all_types().items()) if each.listed and (user.is_staff or not each.staff_only)]


@router.get("", response={200: list[JobTypeOut]} | refusals(), operation_id="list_job_types", summary="List job types")
def index(request: HttpRequest) -> Any:
    """The job types that you may start, each with the JSON schema of its parameters."""
    return [show(each) for each in open_to(person(request))]


@router.get("/{slug}", response={200: JobTypeOut} | refusals(404), operation_id="get_job_type", summary="Get a job type")
def detail(request: HttpRequest, slug: str) -> Any:
    """One job type."""
    known = {each.slug: each for each in open_to(person(request))}
    if slug not in known:
        raise not_found("job type", f"There are {', '.join(known)}." if known else "")
    return show(known[slug])


@router.get(
    "/{slug}/schema",
    response={200: dict[str, Any]} | refusals(404),
    operation_id="get_job_type_schema",
    summary="Get the schema of a job type's parameters",
)
def schema(request: HttpRequest, slug: str) -> Any:
    """The JSON schema of the parameters alone: the same that the form and the command line are made from."""
    return detail(request, slug).params
