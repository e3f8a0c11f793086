"""The registry of job types: one file each in `portal/jobs/types/`, found by itself, feeding page, API, command line and chat.

Free of Django and of heavy libraries, because the child process that runs a job starts from here too.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from mlcore.toolchain.sandbox import Limits
from portal.jobs.context import JobContext
from portal.jobs.results import Result

FILE_FORMATS = ("library-file", "library-files")
"""The formats of parameters that are a file, or a list of files."""


class Params(BaseModel):
    """Base of every job type's parameters. The JSON schema of the class is the form on every door."""

    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P", bound=Params)


def file_field(*, title: str, description: str, kinds: tuple[str, ...], side_help: str = "", optional: bool = False) -> Any:
    """A parameter that is an uploaded file: its value is the file's id in the library, or a path on the command line.

    ``kinds`` are names of `mlcore.filetypes`; a file of another kind is refused before the job is made. An ``optional`` one is
    declared as ``str | None`` and is None where no file is given.
    """
    extra: dict[str, JsonValue] = {"format": "library-file", "x-kinds": list(kinds)}
    if side_help:
        extra["x-help"] = side_help
    if optional:
        return Field(None, title=title, description=description, json_schema_extra=extra)
    return Field(title=title, description=description, json_schema_extra=extra)


def files_field(
    *, title: str, description: str, kinds: tuple[str, ...], side_help: str = "", most: int = 100, optional: bool = False
) -> Any:
    """A parameter of one or several uploaded files, declared as ``list[str]``: as of `file_field`, for each of them."""
    extra: dict[str, JsonValue] = {"format": "library-files", "x-kinds": list(kinds)}
    if side_help:
        extra["x-help"] = side_help
    if optional:
        return Field(default_factory=list, title=title, description=description, max_length=most, json_schema_extra=extra)
    return Field(title=title, description=description, min_length=1, max_length=most, json_schema_extra=extra)


class JobType(ABC, Generic[P]):
    """A kind of job. Subclasses live alone in a module of `portal.jobs.types` and are used through one shared instance."""

    slug: ClassVar[str]
    """Name in addresses and on the command line, for example ``forest-to-cpp``."""
    title: ClassVar[str]
    summary: ClassVar[str]
    """One sentence: what goes in and what comes out."""
    duration: ClassVar[str]
    """What a typical run takes, for example ``about 20 s``."""
    gives: ClassVar[tuple[tuple[str, str], ...]] = ()
    """The artefacts to expect: (name, what it is)."""
    phrases: ClassVar[tuple[str, ...]] = ()
    """Words of a chat request that ask for this job; each entry is a set of words that must all occur."""
    versions: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions go into the manifest."""
    queue: ClassVar[str] = "cpu"
    limits: ClassVar[Limits] = Limits()
    writable: ClassVar[tuple[str, ...]] = ()
    """Folders of the deployment that the run may write, of ``index`` and ``models``; everything else stays out of its reach."""
    foreign_code: ClassVar[bool] = False
    """Whether it runs code of strangers: its process sees programs and libraries alone, and writes no file of the machine."""
    events: ClassVar[bool] = False
    """Whether its result may hold `portal.jobs.results.Events`, for which the page loads a script."""
    page: ClassVar[tuple[str, str]] = ("", "")
    """A page of its own for the result, beside the job's: the name of its address, which takes the job's id, and its title."""
    staff_only: ClassVar[bool] = False
    listed: ClassVar[bool] = True
    """Whether people start it from the menu; the portal starts the others itself."""
    preview_type: ClassVar[str] = ""
    """The job type of what the form shows while it is filled in; its parameters have the names of the form's."""
    part_type: ClassVar[str] = ""
    """The job type of its parts, where `parts` gives some."""
    Params: ClassVar[type[Params]]

    @abstractmethod
    def run(self, context: JobContext, params: P) -> Result:
        """Do the work in the child process. Heavy libraries are imported here, not at the top of the module."""

    def network(self, params: Mapping[str, Any], places: Mapping[str, Path]) -> bool:
        """Whether a run with these stored parameters has the network; ``places`` are the folders of `JobContext.place`."""
        return self.limits.network

    def name_run(self, params: P, files: Mapping[str, str]) -> str:
        """The title of a job with these parameters; ``files`` maps file ids to names."""
        return next(iter(files.values()), self.title)

    def parts(self, params: P, sizes: Mapping[str, int]) -> Sequence[Mapping[str, Any]]:
        """Parameters of jobs of type `part_type` that run before this one, on as many workers as there are.

        Their artefacts are handed to `run` in `JobContext.parts`. ``sizes`` maps file ids to bytes. Without a server there are no
        parts: `run` then does all of it.
        """
        return ()

    def file_kinds(self) -> dict[str, tuple[str, ...]]:
        """The parameters that are files, each with the kinds of file it takes."""
        extras = {name: field.json_schema_extra for name, field in self.Params.model_fields.items()}
        return {
            name: tuple(str(kind) for kind in kinds)
            for name, extra in extras.items()
            if isinstance(extra, dict) and extra.get("format") in FILE_FORMATS and isinstance(kinds := extra["x-kinds"], list)
        }

    def files_of(self, params: Mapping[str, Any]) -> dict[str, list[str]]:
        """The files that parameters name, by parameter; those that are left out have none."""
        found: dict[str, list[str]] = {}
        for name in self.file_kinds():
            value = params.get(name)
            found[name] = [str(one) for one in value if one] if isinstance(value, list | tuple) else [str(value)] if value else []
        return found

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the parameters."""
        return self.Params.model_json_schema()

    def parse(self, raw: Mapping[str, Any]) -> P:
        """The checked parameters; raises `ParamsError` that names each field that is wrong."""
        try:
            return self.Params.model_validate(dict(raw))  # type: ignore[return-value]  # a ClassVar cannot be generic
        except ValidationError as error:
            raise ParamsError(_problems(error)) from error


class ParamsError(ValueError):
    """Parameters that a job type refuses: one message for each field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in problems.items()))
        self.problems = dict(problems)


def _problems(error: ValidationError) -> dict[str, str]:
    def where(location: tuple[int | str, ...]) -> str:
        return ".".join(str(part) for part in location) or "form"

    return {where(item["loc"]): item["msg"].removeprefix("Value error, ") for item in error.errors()}


class UnknownJobTypeError(LookupError):
    """No job type has this slug."""


@cache
def all_types() -> Mapping[str, JobType[Any]]:
    """Every job type by slug. A slug used twice is an error of the project and raises at once."""
    from portal.jobs import types

    found: dict[str, JobType[Any]] = {}
    for module_info in sorted(pkgutil.iter_modules(types.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{types.__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, JobType) and value.__module__ == module.__name__:
                if value.slug in found:
                    raise RuntimeError(f"two job types are called {value.slug!r}")
                found[value.slug] = value()
    return found


def get(slug: str) -> JobType[Any]:
    """The job type with this slug."""
    try:
        return all_types()[slug]
    except KeyError:
        raise UnknownJobTypeError(f"no job type is called {slug!r}; there are {', '.join(sorted(all_types()))}") from None
