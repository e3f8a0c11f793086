"""The form of a job type, made from the JSON schema of its parameters, and read back into parameters.

One `Field` is one row of the page: title -> label, description -> hint, range -> limits, enum -> select, ``library-file`` -> a
choice of the person's files with an upload beside it. What was typed is kept, whatever is wrong with it.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict

from portal.accounts import services as accounts
from portal.accounts.models import User
from portal.jobs import registry, services
from portal.jobs.models import ACTIVE, Job
from portal.library import services as library
from portal.library.models import LibraryFile

UPLOAD_SUFFIX = "-upload"  # name of the file control beside a choice of library files
TEXT_AREA_LENGTH = 300  # a text that may be longer gets several lines
FILES_OFFERED = 200


@dataclass
class Option:
    """One entry of a select."""

    value: str
    title: str
    name: str = ""
    """Of a file, without its kind."""


@dataclass
class Field:
    """One row of the form."""

    name: str
    label: str
    hint: str
    kind: str
    """``text``, ``lines``, ``number``, ``integer``, ``boolean``, ``select``, ``file``, ``files``, ``list`` or ``json``."""
    required: bool
    schema: Mapping[str, Any]
    default: Any = None
    value: str = ""
    problem: str = ""
    nearest: str = ""
    """A valid value near the one that was typed."""
    options: list[Option] = field(default_factory=list)
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    side_help: str = ""
    accepts: str = ""
    """Kinds of file, in words."""

    @property
    def id(self) -> str:
        """Of the control."""
        return f"f-{self.name}"

    @property
    def problem_lines(self) -> list[str]:
        """A problem that shows where it is, in a line of its own; empty for the others."""
        return self.problem.splitlines() if "\n" in self.problem else []

    @property
    def values(self) -> list[str]:
        """The files that are chosen, by their ids."""
        return [one.strip() for one in self.value.split(",") if one.strip()]

    @property
    def checked(self) -> bool:
        """Whether a boolean is set."""
        return self.value == "true"

    @property
    def range(self) -> str:
        """The allowed range in words."""
        low, high = _grouped(self.minimum), _grouped(self.maximum)
        unit = f" {self.unit}" if self.unit else ""
        if low and high:
            return f"{low} to {high}{unit}"
        return f"at least {low}{unit}" if low else f"at most {high}{unit}" if high else ""

    @property
    def low(self) -> str:
        """The lower limit as a number control wants it."""
        return _plain(self.minimum)

    @property
    def high(self) -> str:
        """The upper limit as a number control wants it."""
        return _plain(self.maximum)

    @property
    def kinds(self) -> str:
        """The kinds of file it takes, as the script compares them."""
        return " ".join(str(kind) for kind in self.schema.get("x-kinds", ()))

    @property
    def step(self) -> str:
        """Of a number control."""
        return "1" if self.kind == "integer" else "any"

    @property
    def short(self) -> bool:
        """Whether the control is narrow."""
        return self.kind in ("number", "integer")

    @property
    def describedby(self) -> str:
        """The elements that explain the control."""
        parts = [f"{self.id}-h" if self.hint or self.range else "", f"{self.id}-e" if self.problem else ""]
        return " ".join(part for part in parts if part)


class JobForm:
    """A form in the state the page shows it in."""

    def __init__(self, job_type: registry.JobType[Any], user: User) -> None:
        self.job_type = job_type
        self.user = user
        self.refused: services.JobRefusedError | None = None
        self.checked = False
        """Whether the parameters were checked, and found good."""
        self._definitions: Mapping[str, Any] = {}
        schema = job_type.schema()
        self._definitions = schema.get("$defs", {})
        required = set(schema.get("required", ()))
        self.fields = [self._field(name, node, name in required) for name, node in schema.get("properties", {}).items()]

    # --- making the rows ---

    def _field(self, name: str, node: Mapping[str, Any], required: bool) -> Field:
        node, optional = self._resolve(node)
        default = node.get("default")
        result = Field(
            name=name,
            label=str(node.get("title", name)),
            hint=str(node.get("description", "")),
            kind=_kind(node),
            required=required and not optional,
            schema=node,
            default=default,
            value=_text(default),
            minimum=node.get("minimum", node.get("exclusiveMinimum")),
            maximum=node.get("maximum", node.get("exclusiveMaximum")),
            unit=str(node.get("x-unit", "")),
            side_help=str(node.get("x-help", "")),
        )
        if result.kind == "select":
            titles = node.get("x-titles", {})
            result.options = [Option(_text(value), str(titles.get(str(value), value))) for value in _choices(node)]
        elif result.kind in ("file", "files"):
            self._offer_files(result)
        return result

    def _resolve(self, node: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """A property's own schema with references followed, and whether it may be left out (``X | None``)."""
        merged = dict(node)
        optional = False
        if "anyOf" in merged:
            choices = [choice for choice in merged.pop("anyOf") if choice.get("type") != "null"]
            optional = True
            merged = {**(choices[0] if choices else {}), **merged}
        for reference in [merged.pop("$ref", ""), *(part.get("$ref", "") for part in merged.pop("allOf", ()))]:
            if reference:
                merged = {**self._definitions.get(str(reference).rsplit("/", 1)[-1], {}), **merged}
        return merged, optional

    def _offer_files(self, row: Field) -> None:
        kinds = [str(kind) for kind in row.schema.get("x-kinds", ())]
        titles: Mapping[str, str] = library.KIND_TITLES
        row.accepts = ", ".join(titles.get(kind, kind) for kind in kinds)
        files = LibraryFile.objects.filter(owner=self.user, kind__in=kinds).values_list("pk", "name", "kind")[:FILES_OFFERED]
        row.options = [Option(str(key), f"{name}, {titles.get(kind, kind)}", name) for key, name, kind in files]

    # --- filling them ---

    def prefill(self, query: Mapping[str, str], source: Job | None = None) -> None:
        """Start from an address's parameters, and from an earlier job's where one is named."""
        known = {**(source.params if source else {}), **query}
        for row in self.fields:
            if row.name in known:
                row.value = _text(known[row.name])

    def take(self, data: Mapping[str, str], files: Mapping[str, Any]) -> None:
        """Read a sent form; files that came with it go into the library first."""
        for row in self.fields:
            if row.kind == "files":
                row.value = ",".join(data.getlist(row.name) if isinstance(data, QueryDict) else [data.get(row.name, "")])
            else:
                row.value = str(data.get(row.name, "false" if row.kind == "boolean" else "")).strip()
            if row.kind in ("file", "files"):
                name = row.name + UPLOAD_SUFFIX
                for upload in files.getlist(name) if isinstance(files, MultiValueDict) else filter(None, [files.get(name)]):
                    self._store(row, upload)

    def _store(self, row: Field, upload: Any) -> None:
        try:
            stored = library.store_upload(self.user, upload.name or "", upload.chunks(), upload.size)
        except library.UploadRefusedError as error:
            row.problem = f"{error.message} {error.hint}".strip()
            return
        key = str(stored.pk)
        row.value = ",".join([*row.values, key]) if row.kind == "files" else key
        if all(option.value != key for option in row.options):
            row.options.insert(0, Option(key, stored.name, stored.name))

    # --- using them ---

    def parameters(self) -> dict[str, Any]:
        """What is filled in, as the job type's parameters; a value that cannot be read is handed on for the schema to refuse."""
        found = {}
        for row in self.fields:
            value = _read(row)
            if value is not None:
                found[row.name] = value
        return found

    def submit(self) -> Job | None:
        """Start the job; None where something has to be mended first."""
        try:
            return services.submit(self.user, self.job_type.slug, self.parameters())
        except services.JobRefusedError as error:
            self._refuse(error)
            return None

    def check(self) -> None:
        """Check the parameters without starting anything."""
        try:
            self.job_type.parse(self.parameters())
            self.checked = True
        except registry.ParamsError as error:
            self._refuse(services.JobRefusedError("", problems=error.problems))

    def _refuse(self, error: services.JobRefusedError) -> None:
        self.refused = error
        for row in self.fields:
            # A problem inside a list or an object is told at its field.
            told = [problem for name, problem in error.problems.items() if name == row.name or name.startswith(f"{row.name}.")]
            if told:
                row.problem, row.nearest = _in_words(row, told[0]), _nearest(row)

    @property
    def problems(self) -> list[Field]:
        """The rows that have to be mended."""
        return [row for row in self.fields if row.problem]

    @property
    def headline(self) -> str:
        """What the summary says first."""
        number = len(self.problems)
        if number:
            return "One thing to fix." if number == 1 else f"{number} things to fix."
        return self.refused.message if self.refused else ""

    @property
    def unplaced(self) -> list[str]:
        """Problems that belong to no row."""
        if self.refused is None:
            return []
        names = {row.name for row in self.fields}
        return [problem for name, problem in self.refused.problems.items() if name.split(".")[0] not in names]

    # --- beside them ---

    @property
    def has_files(self) -> bool:
        """Whether a row is a file."""
        return any(row.kind in ("file", "files") for row in self.fields)

    @property
    def helps(self) -> list[Field]:
        """The rows with more to say than a hint."""
        return [row for row in self.fields if row.side_help]

    @property
    def limits(self) -> Iterator[tuple[str, Any, str]]:
        """What holds for this person and this job: (label, value, how to write it)."""
        quota = accounts.quota(self.user)
        limit = self.job_type.limits
        if self.has_files:
            yield "One file", min(settings.ENV.upload_limit, quota.disk), "size"
        yield "Memory", min(limit.memory_bytes, quota.memory), "size"
        yield "Run time", min(limit.wall_seconds, quota.seconds), "duration"
        yield "Kept for", f"{settings.ENV.retention_days} days", ""
        active = Job.objects.filter(owner=self.user, state__in=ACTIVE, parent=None).count()
        yield "Yours now", f"{active} of {quota.jobs} jobs", ""

    @property
    def command(self) -> str:
        """The same job from a terminal, with what is filled in where it differs from the default."""
        parts = [f"ml4ep run {self.job_type.slug}"]
        for row in self.fields:
            flag = f"--{row.name.replace('_', '-')}"
            if row.kind == "file":
                names = {option.value: option.name for option in row.options}
                if row.required or row.value:
                    parts.append(f"{flag} {shlex.quote(names.get(row.value, 'FILE'))}")
            elif row.kind == "files":
                names = {option.value: option.name for option in row.options}
                parts += [
                    f"{flag} {shlex.quote(names.get(key, 'FILE'))}" for key in row.values or (["?"] if row.required else [])
                ]
            elif row.kind == "boolean":
                if row.value != _text(row.default):
                    parts.append(flag if row.checked else f"--no-{flag[2:]}")
            elif row.value != _text(row.default):
                values = row.value.split(",") if row.kind == "list" else [row.value]
                parts += [f"{flag} {shlex.quote(value.strip())}" for value in values]
        return " \\\n  ".join(parts)


def startable(user: User | AnonymousUser) -> list[registry.JobType[Any]]:
    """The job types that a person may start from the menu."""
    if isinstance(user, AnonymousUser):
        return []
    found = [one for one in registry.all_types().values() if one.listed and (user.is_staff or not one.staff_only)]
    return sorted(found, key=lambda one: (one.staff_only, one.title))


def _kind(node: Mapping[str, Any]) -> str:
    if node.get("format") in registry.FILE_FORMATS:
        return "file" if node["format"] == "library-file" else "files"
    if "enum" in node or "const" in node:
        return "select"
    match node.get("type"):
        case "boolean":
            return "boolean"
        case "integer":
            return "integer"
        case "number":
            return "number"
        case "array" if node.get("items", {}).get("type", "string") in ("string", "integer", "number"):
            return "list"
        case "object" | "array":
            return "json"
        case _:
            return "lines" if node.get("maxLength", 0) > TEXT_AREA_LENGTH or node.get("format") == "lines" else "text"


def _choices(node: Mapping[str, Any]) -> Sequence[Any]:
    return list(node["enum"]) if "enum" in node else [node["const"]]


def _text(value: Any) -> str:
    """A parameter's value as a control shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _plain(value)
    if isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(_text(item) for item in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | tuple) else str(value)


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:.15g}"


def _grouped(number: float | None) -> str:
    """A limit in words, with thin spaces between thousands."""
    return "" if number is None else f"{number:,.0f}".replace(",", "\u202f") if number == int(number) else _plain(number)


def _read(row: Field) -> Any:
    """A control's text as a value; None where it is empty and may be."""
    text = row.value
    if text == "" and row.kind != "boolean":
        return "" if row.required and row.kind in ("text", "lines") else None
    try:
        match row.kind:
            case "boolean":
                return text == "true"
            case "integer":
                return int(text)
            case "number":
                return float(text.replace(",", "."))
            case "list":
                items = row.schema.get("items", {}).get("type", "string")
                parts = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
                return [float(part) if items == "number" else int(part) if items == "integer" else part for part in parts]
            case "files":
                return row.values
            case "json":
                return json.loads(text)
            case "select":
                return next((value for value in _choices(row.schema) if _text(value) == text), text)
    except ValueError:
        return text
    return text


def _in_words(row: Field, problem: str) -> str:
    """The schema's message in the words of the form."""
    if problem == "Field required":
        return "Choose a file, or upload one." if row.kind in ("file", "files") else "Fill this in."
    if row.kind == "files" and problem.startswith("List should have at most"):
        return f"{len(row.values)} files are too many for one job."
    if row.kind in ("number", "integer") and problem.startswith("Input should be a valid"):
        wanted = "a whole number" if row.kind == "integer" else "a number"
        return f"“{row.value}” is not {wanted}" + (f", {row.range}." if row.range else ".")
    if row.kind in ("number", "integer") and problem.startswith("Input should be"):
        return f"{row.value} is outside the range: {row.range}." if row.range else problem
    if row.kind == "select" and problem.startswith("Input should be"):
        return f"“{row.value}” is not one of the choices."
    text = problem.replace("Input should", "This should").replace("String should", "This should").rstrip(".")
    return f"{text}."


def _nearest(row: Field) -> str:
    """A valid value close to what was typed, ``""`` where there is none to name."""
    if row.kind == "select":
        titles = [option.value for option in row.options]
        return next(iter(get_close_matches(row.value, titles, n=1, cutoff=0.3)), titles[0] if titles else "")
    if row.kind not in ("number", "integer"):
        return ""
    try:
        number = float(row.value.replace(",", "."))
    except ValueError:
        return _text(row.default)
    if math.isnan(number):
        return _text(row.default)
    low, high = row.schema.get("minimum"), row.schema.get("maximum")
    above, below = row.schema.get("exclusiveMinimum"), row.schema.get("exclusiveMaximum")
    if row.kind == "integer":
        low = above + 1 if low is None and above is not None else low
        high = below - 1 if high is None and below is not None else high
    elif (above is not None and number <= above) or (below is not None and number >= below):
        return _text(row.default)  # an open range of real numbers has no nearest one
    number = max(number, low) if low is not None else number
    number = min(number, high) if high is not None else number
    if math.isinf(number):
        return _text(row.default)
    nearest = str(round(number)) if row.kind == "integer" else _plain(number)
    return "" if nearest == row.value else nearest
