"""What the assistant can do with a person's own things: look into files, read jobs, offer a job. It starts none.

Each tool works for one person and sees nothing of others. A file or a job that was looked into becomes passages, so that the
answer cites it like the documentation.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.urls import reverse

from assistant.passages import Passage
from assistant.tools.base import Outcome, Tool, ToolError, ToolSpec, text_argument
from portal.accounts.models import User
from portal.jobs import registry
from portal.jobs import services as jobs
from portal.jobs.models import ACTIVE, Job, JobState, LogChunk
from portal.library import services as library
from portal.library.models import LibraryFile

LISTED = 20
TEXT_BYTES = 64_000  # of a text file that are read
PIECE = 900  # characters of a passage
PIECES = 8  # passages of one file
LOG_LETTERS = 1500
INSPECTION_SECONDS = 5.0  # for which an inspection in progress is waited for
ROWS = 40
TEXTS = ("text", "json")

_OBJECT = {"type": "object", "additionalProperties": False}


def own_tools(owner: User, attached: Sequence[LibraryFile] = ()) -> tuple[Tool, ...]:
    """The tools that work with this person's files and jobs; names of ``attached`` files win over others of the same name."""

    def find(name: str) -> LibraryFile:
        lowered = name.lower()
        known = next((file for file in attached if name == str(file.pk) or file.name.lower() == lowered), None)
        known = known or jobs.find_file(owner, name)
        known = known or LibraryFile.objects.filter(owner=owner, name__iexact=name).order_by("-created_at").first()
        if known is None:
            names = LibraryFile.objects.filter(owner=owner).order_by("-created_at").values_list("name", flat=True)[:LISTED]
            raise ToolError(f"There is no file {name!r}. The newest are: {', '.join(names) or 'none'}.")
        return known

    def inspect(arguments: Mapping[str, Any]) -> Outcome:
        return look_into(find(text_argument(arguments, "file")))

    def status(arguments: Mapping[str, Any]) -> Outcome:
        return read_job(find_job(owner, text_argument(arguments, "job")))

    def offer(arguments: Mapping[str, Any]) -> Outcome:
        given = arguments.get("params")
        if given is not None and not isinstance(given, Mapping):
            raise ToolError("“params” must be an object.")
        return offer_job(owner, text_argument(arguments, "type"), given or {}, find)

    return (
        Tool(
            ToolSpec("list_files", "List the person's newest files in the library.", _OBJECT | {"properties": {}}),
            lambda _arguments: list_files(owner),
            lambda _arguments: "List the files of the library",
        ),
        Tool(
            ToolSpec(
                "inspect_file",
                "Look into a file of the person's library: trees and branches of a ROOT file, operators of a network, trees of a "
                "forest, the text of a macro.",
                _OBJECT | {"properties": {"file": {"type": "string", "description": "Its name or id"}}, "required": ["file"]},
            ),
            inspect,
            lambda arguments: f"Look into {_name(arguments.get('file'), attached)}",
        ),
        Tool(
            ToolSpec(
                "job_status",
                "Read a job of the person: its state, its error and log, its result.",
                _OBJECT | {"properties": {"job": {"type": "string", "description": "Its id or address"}}, "required": ["job"]},
            ),
            status,
            lambda _arguments: "Read the job",
        ),
        Tool(
            ToolSpec("offer_job", _offer_description(owner), _offer_schema(owner)),
            offer,
            lambda arguments: f"Prepare the job “{_title(arguments.get('type'))}”",
        ),
    )


def _name(given: object, attached: Sequence[LibraryFile]) -> str:
    """A file as the person calls it."""
    return next((file.name for file in attached if str(file.pk) == given), str(given)[:80])


# --- files --------------------------------------------------------------------------------------------------------------------


def list_files(owner: User) -> Outcome:
    """The newest files by name."""
    files = list(LibraryFile.objects.filter(owner=owner).order_by("-created_at")[:LISTED])
    rows = [f"{file.name}: {library.KIND_TITLES.get(file.kind, file.kind)}, {file.size} bytes" for file in files]
    return Outcome("\n".join(rows) or "The library is empty.", f"{len(files)} files", url=reverse("library"))


def look_into(file: LibraryFile) -> Outcome:
    """What is known of a file: the text of a text, what the inspection found in any other."""
    url = reverse("library-file", args=[file.pk])
    kind = library.KIND_TITLES.get(file.kind, file.kind)
    if file.kind in TEXTS:
        with library.open_file(file) as stored:
            text = stored.read(TEXT_BYTES).decode("utf-8", "replace").replace("\x00", "")
        language = (
            "cpp" if re.search(r"\.(C|cxx|cpp|cc|h|hxx|hpp)$", file.name) else "python" if file.name.endswith(".py") else ""
        )
        lines = text.count("\n") + 1
        return Outcome(
            text,
            f"{kind}, {lines} line{'s' if lines > 1 else ''}",
            tuple(_passages("file", file.pk, file.name, url, text, language)),
            url,
        )
    job = _inspection(file)
    if job is None or job.result is None:
        told = f"{file.name} is a {kind} of {file.size} bytes."
        if job is not None and job.error_message:
            told += f" It could not be read: {job.error_message} {job.error_hint}".rstrip()
        elif job is not None:
            told += " It is still being inspected."
        return Outcome(told, told, tuple(_passages("file", file.pk, file.name, url, told)), url)
    text = f"{file.name} is a {kind} of {file.size} bytes.\n{result_text(job.result)}"
    return Outcome(text, kind, tuple(_passages("file", file.pk, file.name, url, text)), url)


def _inspection(file: LibraryFile) -> Job | None:
    """The file's inspection, waited for a little where it is in progress."""
    until = time.monotonic() + INSPECTION_SECONDS
    while True:
        job = Job.objects.filter(pk=file.inspection_job_id).first() if file.inspection_job_id else None
        if job is None or job.state not in ACTIVE or time.monotonic() >= until:
            return job
        time.sleep(0.25)


def result_text(result: Mapping[str, Any]) -> str:
    """A job's result as lines of text."""
    lines = [f"{note['headline']} {note['text']}".strip() for note in result.get("notes", ())]
    for figure in result.get("figures", ()):
        condition = f" ({figure['condition']})" if figure.get("condition") else ""
        lines.append(f"{figure['label']}: {figure['value']}{condition}")
    for table in result.get("tables", ()):
        lines += ["", f"{table['title']}: {', '.join(map(str, table['columns']))}"]
        lines += [", ".join(str(cell) for cell in row) for row in table["rows"][:ROWS]]
        if len(table["rows"]) > ROWS:
            lines.append(f"and {len(table['rows']) - ROWS} more rows")
    return "\n".join(lines)


def _passages(kind: str, number: object, name: str, url: str, text: str, language: str = "") -> Iterator[Passage]:
    """A text cut into passages between its lines; the first ones where it is long."""
    pieces: list[str] = [""]
    for line in text.splitlines():
        if pieces[-1] and len(pieces[-1]) + len(line) > PIECE:
            pieces.append("")
        pieces[-1] += line[:PIECE] + "\n"
    many = len(pieces) > 1
    for part, piece in enumerate(pieces[:PIECES], 1):
        title = f"{name}, part {part} of {len(pieces)}" if many else name
        body = f"```{language}\n{piece.rstrip()}\n```" if language else piece.rstrip()
        yield Passage(
            f"{kind}:{number}:{part}", title, name, kind, "your library" if kind == "file" else "your jobs", url, 1.0, body
        )


# --- jobs ---------------------------------------------------------------------------------------------------------------------

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def jobs_named(owner: User, text: str) -> list[Job]:
    """The person's jobs whose id or address stands in a text, at most two."""
    found = dict.fromkeys(each.lower() for each in _ID.findall(text))
    known = {str(job.pk): job for job in Job.objects.filter(owner=owner, pk__in=list(found)[:10])}
    return [known[each] for each in found if each in known][:2]


def find_job(owner: User, name: str) -> Job:
    """A job of the person by its id, its address, or its id's first characters.

    Raises
    ------
    ToolError
        There is none.
    """
    if named := jobs_named(owner, name):
        return named[0]
    short = name.rsplit("/", 1)[-1].lower()
    if re.fullmatch(r"[0-9a-f-]{6,36}", short):
        for job in Job.objects.filter(owner=owner, parent=None).order_by("-created_at")[:200]:
            if str(job.pk).startswith(short):
                return job
    raise ToolError(f"The person has no job {name!r}.")


def read_job(job: Job) -> Outcome:
    """A job's state, its error with the end of its log, or its result."""
    url = reverse("job", args=[job.pk])
    lines = [f"The job “{job.title}” ({job.type}) is {job.get_state_display().lower()}."]
    if job.state == JobState.RUNNING:
        lines.append(f"{job.progress:.0%} done: {job.progress_text}")
    if job.error_message:
        lines.append(f"Error {job.error_code}: {job.error_message} {job.error_hint}".rstrip())
        log = "".join(LogChunk.objects.filter(job=job).values_list("text", flat=True))
        if log.strip():
            lines.append(f"The end of its log:\n{log[-LOG_LETTERS:].strip()}")
    if job.result:
        lines.append(result_text(job.result))
    text = "\n".join(lines)
    return Outcome(text, job.get_state_display().lower(), tuple(_passages("job", job.pk, job.title, url, text)), url)


def offered(owner: User) -> dict[str, registry.JobType[Any]]:
    """The job types that this person may start, by slug."""
    return {slug: each for slug, each in registry.all_types().items() if each.listed and (owner.is_staff or not each.staff_only)}


def offer_job(owner: User, slug: str, params: Mapping[str, Any], find: Any) -> Outcome:
    """Check a job's parameters, and hand it back for a click; files may be given by name.

    Raises
    ------
    ToolError
        The type or a parameter is wrong; the message says what would be right.
    """
    types = offered(owner)
    job_type = types.get(slug)
    if job_type is None:
        raise ToolError(f"There is no job type {slug!r}. There are: {', '.join(types)}.")
    given = dict(params)
    names: list[str] = []
    for field in job_type.file_kinds():
        value = given.get(field)
        if not value:
            continue
        several = isinstance(value, list | tuple)
        files = [find(str(each)) for each in (value if several else [value])]
        names += [file.name for file in files]
        wrong = next((file for file in files if file.kind not in job_type.file_kinds()[field]), None)
        if wrong is not None:
            kinds = ", ".join(library.KIND_TITLES.get(kind, kind) for kind in job_type.file_kinds()[field])
            raise ToolError(f"“{field}” takes no {library.KIND_TITLES.get(wrong.kind, wrong.kind)}. It takes: {kinds}.")
        given[field] = [str(file.pk) for file in files] if several else str(files[0].pk)
    try:
        job_type.parse(given)
    except registry.ParamsError as error:
        raise ToolError(f"The parameters do not fit: {error}. Their schema: {json.dumps(_brief(job_type))[:1500]}") from error
    title = f"{job_type.title}{': ' + ', '.join(names) if names else ''}"
    offer = {"type": slug, "title": title, "params": given, "duration": job_type.duration}
    return Outcome(
        f"“{title}” is ready. The person was shown it, with a button that starts it; it has not started.",
        f"{job_type.summary} ({job_type.duration})",
        offer=offer,
    )


def _title(slug: object) -> str:
    found = registry.all_types().get(str(slug))
    return found.title if found else str(slug)[:60]


def _brief(job_type: registry.JobType[Any]) -> dict[str, Any]:
    """The parameters as a model needs them: type, choices, limits, in few words."""
    kept = ("type", "enum", "default", "minimum", "maximum", "description", "items", "anyOf")
    properties = job_type.schema().get("properties", {})
    return {
        "required": job_type.schema().get("required", []),
        "properties": {name: {key: each[key] for key in kept if key in each} for name, each in properties.items()},
    }


def _offer_description(owner: User) -> str:
    rows = [f"{slug}: {each.summary}. Parameters: {', '.join(each.Params.model_fields)}" for slug, each in offered(owner).items()]
    return (
        "Prepare a job and show it to the person, who starts it with a click. Files are given by name. Parameters left out "
        "have their defaults; where one does not fit, the answer has the schema. Job types:\n" + "\n".join(rows)
    )


def _offer_schema(owner: User) -> dict[str, Any]:
    return _OBJECT | {
        "properties": {
            "type": {"type": "string", "enum": list(offered(owner))},
            "params": {"type": "object", "description": "The job's parameters by name"},
        },
        "required": ["type"],
    }
