"""Recognises a request for a job in a question, and offers the filled-in form. Needs no model; nothing starts without a click."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from mlcore.filetypes import FOREST_HOLDERS, FORESTS
from portal.accounts.models import User
from portal.jobs import registry
from portal.library.models import LibraryFile
from portal.library.services import KIND_TITLES, holds_forest

FILES_OFFERED = 3
NEWEST_LOOKED_AT = 200
WORD = re.compile(r"[a-z0-9_]+(?:\+\+|#)?")


def words(text: str) -> frozenset[str]:
    """The words of a text in lower case without a plural's s, ``c++`` among them."""
    return frozenset(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in WORD.findall(text.lower()))


def find(owner: User, question: str, attached: Sequence[LibraryFile] = ()) -> dict[str, Any] | None:
    """The job that ``question`` asks for, as stored in `Turn.offer`; None where it asks for none.

    Files that were ``attached`` are filled in before any other, and decide between job types as a named file does.

    A job type matches where all words of one of its phrases occur. Of several, the longest phrase wins; where two have equal
    ones, the file decides that would be filled in: *my model to C++* means a forest or a network.
    """
    asked = words(question)
    best: list[registry.JobType[Any]] = []
    longest = 0
    for job_type in registry.all_types().values():
        if not job_type.listed or (job_type.staff_only and not owner.is_staff):
            continue
        matching = max((len(wanted) for wanted in map(words, job_type.phrases) if wanted <= asked), default=0)
        if matching > longest:
            best, longest = [job_type], matching
        elif matching and matching == longest:
            best.append(job_type)
    if not best:
        return None
    files = frozenset(file.pk for file in attached)
    job_type = best[0] if len(best) == 1 else _meant(owner, question, best, files)
    return _offer(owner, question, job_type, files)


def _meant(
    owner: User, question: str, job_types: list[registry.JobType[Any]], attached: frozenset[UUID]
) -> registry.JobType[Any]:
    """Of job types that a question may mean, the one that takes the file it names, else the newest file that one takes."""
    kinds = {kind for job_type in job_types for fitting in job_type.file_kinds().values() for kind in fitting}
    for file in _ranked(owner, question, tuple(kinds), attached):
        for job_type in job_types:
            if any(_suits(file, fitting) for fitting in job_type.file_kinds().values()):
                return job_type
    return job_types[0]


def _suits(file: LibraryFile, kinds: tuple[str, ...]) -> bool:
    """Whether a job that takes such files is likely meant for one: what may hold a forest is one where it was found in it."""
    if file.kind not in kinds:
        return False
    takes_forests = bool(set(FORESTS) & set(kinds))
    if file.kind not in FOREST_HOLDERS:
        return True
    found = holds_forest(file)
    # ONNX models are networks, and ROOT files events, until a forest is seen in them.
    return bool(found) if takes_forests else not found


def _offer(owner: User, question: str, job_type: registry.JobType[Any], attached: frozenset[UUID]) -> dict[str, Any]:
    form = f"/jobs/new/{job_type.slug}"
    required = job_type.schema().get("required", ())
    # What may be left out is left to the person: a file that fits is not one that is meant.
    kinds = {field: fitting for field, fitting in job_type.file_kinds().items() if field in required}
    choices = {field: _fitting(owner, question, fitting, attached) for field, fitting in kinds.items()}
    first = {field: files[0] for field, files in choices.items() if files}
    others = [(field, file) for field, files in choices.items() for file in files[1:]]
    return {
        "type": job_type.slug,
        "title": job_type.title,
        "summary": job_type.summary,
        "duration": job_type.duration,
        "url": _address(form, first),
        "chosen": [file.name for file in first.values()],
        "files": [{"name": file.name, "url": _address(form, first | {field: file})} for field, file in others],
        "missing": [
            ", ".join(KIND_TITLES.get(kind, kind) for kind in kinds[field]) for field, files in choices.items() if not files
        ],
    }


def _address(form: str, files: dict[str, LibraryFile]) -> str:
    query = urlencode({field: str(file.pk) for field, file in files.items()})
    return f"{form}?{query}" if query else form


def _fitting(owner: User, question: str, kinds: tuple[str, ...], attached: frozenset[UUID]) -> list[LibraryFile]:
    """This person's files of these kinds, the attached ones first, then those that the question names, then the newest.

    A ROOT file or an ONNX model of other contents is left out where it is not named and another file fits.
    """
    ranked = _ranked(owner, question, kinds, attached)
    lowered = question.lower()
    sure = [file for file in ranked if file.pk in attached or _suits(file, kinds) or _named(file.name, lowered)]
    return (sure or ranked)[:FILES_OFFERED]


def _ranked(owner: User, question: str, kinds: tuple[str, ...], attached: frozenset[UUID]) -> list[LibraryFile]:
    files = LibraryFile.objects.filter(owner=owner, kind__in=kinds).select_related("inspection_job")
    newest = [*files.filter(pk__in=attached), *files.exclude(pk__in=attached).order_by("-created_at")[:NEWEST_LOOKED_AT]]
    lowered = question.lower()
    # Stable: among the named and among the others the newest stays first.
    return sorted(newest, key=lambda file: (file.pk not in attached, not _named(file.name, lowered)))


def _named(name: str, question: str) -> bool:
    """Whether the question, in lower case, names the file, with or without its extension."""
    full = name.lower()
    stem = full.rsplit(".", 1)[0]
    candidates = [full] + ([stem] if len(stem) > 3 else [])
    return any(re.search(rf"(?<![\w.-]){re.escape(each)}(?![\w-])", question) for each in candidates)
