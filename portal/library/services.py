"""The only writers of the library: uploads are streamed to disk, refused by content, stored once and queued for inspection."""

from __future__ import annotations

import hashlib
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import transaction

from mlcore import filetypes
from mlcore.errors import InputError
from portal.accounts import services as accounts
from portal.accounts.models import User
from portal.jobs import registry
from portal.jobs import services as jobs
from portal.jobs.models import Artifact, Job
from portal.library.models import Content, LibraryFile

UPLOADS = "uploads"  # folder beneath WORK_DIR of uploads in progress
EARLY_CHECK_BYTES = 1 << 20
TREES_DRAWN = 16  # by one job
KIND_TITLES: dict[str, str] = {
    known.kind: known.title
    for known in (
        filetypes.ROOT, filetypes.ONNX, filetypes.PT2, filetypes.KERAS, filetypes.XGBOOST_JSON, filetypes.XGBOOST_UBJ,
        filetypes.LIGHTGBM, filetypes.SKOPS, filetypes.TMVA_XML, filetypes.CATBOOST_JSON, filetypes.TREELITE_JSON,
        filetypes.FOREST, filetypes.HDF5, filetypes.PARQUET, filetypes.TEXT, filetypes.JSON, filetypes.ZIP, filetypes.NUMPY,
        filetypes.SHOWER_MODEL, filetypes.UNKNOWN,
    )
}  # fmt: skip
KIND_OF_ARTIFACT = {"showers": "hdf5", "shower-model": "shower-model", "model": "onnx"}
"""The kinds of file that the kinds of artefact are which other jobs take."""
INSPECTABLE = ("root", "onnx", *filetypes.FORESTS, "hdf5", "parquet")


class UploadRefusedError(Exception):
    """An upload that is not stored: why, and what to do."""

    def __init__(self, message: str, *, hint: str = "", code: str = "upload", status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.status = status


def store_upload(owner: User, name: str, chunks: Iterable[bytes], size_hint: int | None = None) -> LibraryFile:
    """Store an upload and queue its inspection.

    Parameters
    ----------
    owner
        Who uploads.
    name
        The file's name as given; folders and control characters are dropped.
    chunks
        The bytes, never held in memory together.
    size_hint
        How many bytes are announced, to refuse at once what will not fit.

    Raises
    ------
    UploadRefusedError
        The file is empty, too large, over the quota, or of a kind that is never loaded; nothing of it is left behind.
    """
    name = clean_name(name)
    room = _room(owner, size_hint)
    temporary = _uploads() / uuid.uuid4().hex
    try:
        sha256, size = _receive(chunks, temporary, name, room)
        kind = _check_kind(temporary, name)
        return _keep(owner, name, kind, temporary, sha256, size)
    finally:
        temporary.unlink(missing_ok=True)


def clean_name(name: str) -> str:
    """The last part of a file name, free of control and direction-changing characters, at most 200 characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    visible = "".join(character for character in last if unicodedata.category(character)[0] != "C").strip()
    return visible[-200:] or "unnamed"


def _uploads() -> Path:
    folder: Path = settings.WORK_DIR / UPLOADS
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _room(owner: User, size_hint: int | None) -> int:
    """Bytes that this upload may have."""
    limit = accounts.quota(owner).disk
    free = limit - jobs.disk_used(owner)
    if free <= 0 or (size_hint or 0) > free:
        raise UploadRefusedError(
            f"Your files and artefacts may take {limit / 1e9:.1f} GB; {max(free, 0) / 1e9:.2f} GB are left.",
            hint="Delete files in the library or old jobs.",
            code="quota.disk",
            status=413,
        )
    if (size_hint or 0) > settings.ENV.upload_limit:
        raise _too_large()
    return min(free, int(settings.ENV.upload_limit))


def _too_large() -> UploadRefusedError:
    return UploadRefusedError(
        f"The file is larger than {settings.ENV.upload_limit / 1e9:.1f} GB, the most that is taken.",
        hint="Split the file, or ask the administrator for a larger limit.",
        code="upload.size",
        status=413,
    )


def _receive(chunks: Iterable[bytes], target: Path, name: str, room: int) -> tuple[str, int]:
    """Write the bytes to ``target``, looking at the first ones early; returns their sha256 and number."""
    digest = hashlib.sha256()
    size = 0
    checked = False
    with target.open("wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > room:
                raise _too_large()
            digest.update(chunk)
            file.write(chunk)
            if not checked and size >= EARLY_CHECK_BYTES:
                # A pickle of gigabytes is refused after its first megabyte.
                file.flush()
                _refuse(target, name)
                checked = True
    if not size:
        raise UploadRefusedError("The file is empty.", hint="Check that it was written completely.", code="upload.empty")
    return digest.hexdigest(), size


def _refuse(path: Path, name: str) -> None:
    try:
        filetypes.refuse(path)
    except InputError as error:
        raise UploadRefusedError(f"{name}: {error.message}", hint=error.hint, code=error.code, status=415) from error


def _check_kind(path: Path, name: str) -> str:
    _refuse(path, name)
    return filetypes.detect(path).kind


def _keep(owner: User, name: str, kind: str, temporary: Path, sha256: str, size: int) -> LibraryFile:
    """Put the content into the storage, unless it is there, and make the file."""
    with transaction.atomic():
        content, new = Content.objects.select_for_update().get_or_create(
            sha256=sha256, defaults={"size": size, "path": f"library/{sha256[:2]}/{sha256}"}
        )
        if new or not default_storage.exists(content.path):
            content.path = _store(temporary, content.path)
            content.save(update_fields=["path"])
        file, made = LibraryFile.objects.get_or_create(
            owner=owner, content=content, name=name, defaults={"kind": kind, "size": size}
        )
        if made and kind in INSPECTABLE:
            inspect(file)
    return file


def _store(temporary: Path, path: str) -> str:
    """Move a local file into the storage; a rename where that is a local folder."""
    if isinstance(default_storage._wrapped, FileSystemStorage):  # type: ignore[attr-defined]
        target = Path(default_storage.path(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
        return path
    with temporary.open("rb") as file:
        return default_storage.save(path, File(file))


def holds_forest(file: LibraryFile) -> bool | None:
    """Whether a file is a forest or holds one; None where it may, and no inspection has told yet."""
    if file.kind not in filetypes.FOREST_HOLDERS:
        return file.kind in filetypes.FORESTS
    job = file.inspection_job
    return bool(job.result.get("series")) if job is not None and job.result is not None else None


def inspect(file: LibraryFile) -> Job:
    """Queue an inspection of the file."""
    job = jobs.submit(file.owner, "inspect-file", {"file": str(file.pk)}, title=f"Inspect {file.name}")
    LibraryFile.objects.filter(pk=file.pk).update(inspection_job=job)
    file.inspection_job = job
    return job


def histogram(file: LibraryFile, tree: str, branch: str) -> Job:
    """A job that draws a histogram of a branch: the one made before, where it did not fail, else a new one."""
    params = {"file": str(file.pk), "tree": tree, "branch": branch}
    known = Job.objects.filter(owner=file.owner, type="branch-histogram", params__file=str(file.pk)).exclude(
        state__in=["FAILED", "CANCELLED"]
    )
    for job in known:
        if job.params.get("tree") == tree and job.params.get("branch") == branch and job.expired_at is None:
            return job
    return jobs.submit(file.owner, "branch-histogram", params, title=f"{branch} of {file.name}")


def trees(file: LibraryFile, number: int) -> Job:
    """A job that draws this tree and its neighbours: the one made before, where it did not fail, else a new one."""
    first = number - number % TREES_DRAWN
    known = Job.objects.filter(owner=file.owner, type="forest-trees", params__file=str(file.pk)).exclude(
        state__in=["FAILED", "CANCELLED"]
    )
    for job in known:
        if job.params.get("first") == first:
            return job
    params = {"file": str(file.pk), "first": first}
    return jobs.submit(file.owner, "forest-trees", params, title=f"Trees of {file.name} from {first}")


@dataclass(frozen=True)
class Use:
    """A job type that takes a file of some kind, as the value of ``field``, whose title is ``role``."""

    slug: str
    field: str
    title: str
    role: str
    summary: str
    duration: str


def uses_of_artifact(artifact: Artifact) -> list[Use]:
    """The job types that take a file which a job made, by what the job says of it and by its name."""
    kind = KIND_OF_ARTIFACT.get(artifact.kind)
    return [
        Use(slug, field, job_type.title, str(job_type.Params.model_fields[field].title), job_type.summary, job_type.duration)
        for slug, job_type in registry.all_types().items()
        if job_type.listed
        for field, kinds in job_type.file_kinds().items()
        if kind in kinds
    ]


def keep_artifact(owner: User, artifact: Artifact) -> LibraryFile:
    """Put a file that a job made into its owner's library, where jobs can take it and where it outlives the job.

    Raises
    ------
    UploadRefusedError
        As of `store_upload`.
    """
    with default_storage.open(artifact.path, "rb") as file:
        return store_upload(owner, artifact.name, iter(lambda: file.read(1 << 20), b""), artifact.size)


def delete(file: LibraryFile) -> None:
    """Remove a file, and its content where no other file has it."""
    with transaction.atomic():
        content = Content.objects.select_for_update().get(pk=file.content_id)
        file.delete()
        if not content.files.exists():
            default_storage.delete(content.path)
            content.delete()


def open_file(file: LibraryFile) -> IO[Any]:
    """The stored bytes, for a download."""
    return default_storage.open(file.path, "rb")
