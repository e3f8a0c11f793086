"""What an agent can do: functions whose names, annotations and docstrings are what it reads of them.

Each acts as the person whose token the request carried, with that person's limits, and answers JSON.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any, Literal

from django.core.files.storage import default_storage
from django.core.serializers.json import DjangoJSONEncoder
from pydantic import Field

from portal.accounts.models import User
from portal.api import ask as questions
from portal.api import files, job_types, jobs, symbols
from portal.api.errors import ApiError, not_found
from portal.api.turn_events import passages
from portal.chat import code as code_runs
from portal.chat import services as chat
from portal.chat.models import Turn, TurnState
from portal.jobs import presentation, registry
from portal.jobs import services as job_services
from portal.jobs.models import Artifact, Job
from portal.library.models import LibraryFile

PERSON: ContextVar[User] = ContextVar("PERSON")
"""Whose request is answered."""

RUNNER = "run-root-code"
"""The job type that runs code."""

ANSWER_SECONDS = 180.0
RUNS_SECONDS = 45.0  # for which an answer waits for its code to be run
CODE_SECONDS = 150.0
TEXT_LIMIT = 60_000  # characters of an artefact or a log that an agent is shown
LOOK_SECONDS = 0.1


def search_docs(
    query: Annotated[str, Field(description="What to look for: a question, or names of classes and methods")],
    k: Annotated[int, Field(ge=1, le=20, description="How many passages at most")] = 6,
) -> dict[str, Any]:
    """Search ROOT's and the portal's documentation: passages, best first, each with its source and address."""
    return {"query": query, "passages": questions.search(PERSON.get(), query, k)["passages"]}


def lookup_symbol(
    name: Annotated[
        str, Field(min_length=1, max_length=200, description="A class, method or function: TH1, TTree::Draw, RooRealVar")
    ],
    k: Annotated[int, Field(ge=1, le=10, description="How many passages at most")] = 4,
) -> dict[str, Any]:
    """What the documentation says of one class, method or function, by its exact name. `known`: whether any names it."""
    return symbols.look_up(PERSON.get(), name, k)


def ask(
    question: Annotated[str, Field(description="One question, with the code and the error message that matter")],
) -> dict[str, Any]:
    """Ask the assistant for ROOT: an answer with checked citations, or the best passages; `code`: what came of each of
    its blocks of code. Takes up to a minute."""
    turn = chat.ask(PERSON.get(), question)
    turn = code_runs.settled(_answered(turn, ANSWER_SECONDS), RUNS_SECONDS)
    cited = set(turn.answer.get("citations", ()))
    return {
        "answer": turn.text,
        "abstained": bool(turn.answer.get("abstained")),
        "code": list(code_runs.labels(turn).values()),
        "citations": [passage for passage in passages(turn) or () if passage["n"] in cited],
        "conversation": turn.conversation_id,
        "offer": turn.offer,
    }


def run_root_code(
    code: Annotated[str, Field(description="A whole macro, or a program")],
    language: Annotated[Literal["cpp", "python"], Field(description="C++ for ROOT's interpreter, or Python with PyROOT")] = "cpp",
) -> dict[str, Any]:
    """Run code with the real ROOT in a sandbox without network: what it writes, its error, the pictures that it draws."""
    if RUNNER not in registry.all_types():
        return {"status": "not_run", "hint": "This portal has no sandbox for ROOT code; nothing was run."}
    job = job_services.submit(PERSON.get(), RUNNER, {"code": code, "language": language})
    until = time.monotonic() + CODE_SECONDS
    while job.active and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        job.refresh_from_db()
    found = _job(job)
    status = ((job.result or {}).get("facts") or {}).get("status") or ("not_run" if job.active else "failed")
    hint = "It has not ended yet; follow it with job_status." if job.active else ""
    return {"status": status, "hint": hint, **found}


def inspect_file(
    file: Annotated[str, Field(description="The id or the name of a file in the library")],
) -> dict[str, Any]:
    """What is in a file of the library (ROOT, ONNX, forests, HDF5): trees, branches, inputs, operators."""
    own = LibraryFile.objects.select_related("content", "inspection_job").filter(owner=PERSON.get())
    found = own.filter(pk=key).first() if (key := _uuid(file)) else own.filter(name=file).order_by("-created_at").first()
    if found is None:
        names = ", ".join(own.order_by("-created_at").values_list("name", flat=True)[:10])
        raise not_found(
            "file", f"The newest in the library: {names}." if names else "The library is empty; upload by PUT /api/v1/files."
        )
    return files.detail(found)


def list_job_types() -> dict[str, Any]:
    """The kinds of job that `submit_job` takes, each with the JSON schema of its parameters."""
    return {"types": [job_types.show(each).model_dump() for each in job_types.open_to(PERSON.get())]}


def submit_job(
    type: Annotated[str, Field(description="A slug from list_job_types")],  # noqa: A002  (the API's name for it)
    params: Annotated[dict[str, Any], Field(description="The type's parameters; files by their ids")],
    title: Annotated[str, Field(max_length=200, description="A name for it")] = "",
) -> dict[str, Any]:
    """Start a job. Follow it with job_status; a person can cancel it on its page."""
    return jobs.summary(job_services.submit(PERSON.get(), type, params, title=title))


def job_status(job: Annotated[str, Field(description="The job's id")]) -> dict[str, Any]:
    """A job's state, progress, result, artefacts and the end of its log."""
    return _job(_find(job))


def get_artifact(
    job: Annotated[str, Field(description="The job's id")],
    name: Annotated[str, Field(description="The artefact's name, as job_status lists it")],
) -> dict[str, Any]:
    """A file that a job made: its text where it is text (the first 60 000 characters), else its size and where to download it."""
    found = _find(job)
    artifact = Artifact.objects.filter(job=found, name=name).first()
    if artifact is None:
        names = ", ".join(Artifact.objects.filter(job=found).values_list("name", flat=True))
        raise not_found("artefact", f"This job has {names}." if names else "This job has none.")
    with default_storage.open(artifact.path, "rb") as file:
        start = file.read(4 * TEXT_LIMIT)
    try:
        text = start.decode("utf-8", errors="strict" if artifact.size <= len(start) else "ignore")
    except UnicodeDecodeError:
        text = "\0"
    shown = {} if "\0" in text else {"text": text[:TEXT_LIMIT], "cut": len(text) > TEXT_LIMIT or artifact.size > len(start)}
    return jobs.show_artifact(artifact) | shown


TOOLS: tuple[Callable[..., dict[str, Any]], ...] = (
    search_docs,
    lookup_symbol,
    ask,
    run_root_code,
    inspect_file,
    list_job_types,
    submit_job,
    job_status,
    get_artifact,
)
READ_ONLY = {search_docs, lookup_symbol, inspect_file, list_job_types, job_status, get_artifact}


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """A tool's result in JSON's own types."""
    made: dict[str, Any] = json.loads(json.dumps(found, cls=DjangoJSONEncoder))
    return made


def _answered(turn: Turn, seconds: float) -> Turn:
    turn = chat.wait(turn, seconds)
    if turn.state == TurnState.FAILED:
        raise ApiError(503, turn.error, hint=turn.hint)
    if turn.open:
        chat.stop(turn)
        raise ApiError(
            503, f"The assistant gave no answer within {seconds:g} s.", hint="It may be starting; try again in a moment."
        )
    return turn


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _find(job: str) -> Job:
    key = _uuid(job)
    found = presentation.visible(PERSON.get()).select_related("owner").filter(pk=key).first() if key else None
    if found is None:
        raise not_found("job", "Ids are as submit_job gave them.")
    return found


def _job(job: Job) -> dict[str, Any]:
    newest = list(job.log_chunks.order_by("-pk").values_list("text", flat=True)[:20])
    log = "".join(reversed(newest))
    return jobs.detail(job) | {"log": log[-TEXT_LIMIT // 10 :]}
