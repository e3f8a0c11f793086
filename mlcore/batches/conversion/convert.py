"""Sources as shards: files of shuffled rows, each row once, with a manifest that says what is in them.

Three steps, each of which can run in a process or on a machine of its own and be done again without harm::

    plan     the source's tables are cut into tasks
    scatter  the rows of a task go to a piece file, sorted into buckets by a hash of their numbers
    join     a shard is a range of the sorted rows: the buckets that it covers are taken from all pieces, sorted and written

A hash of the row's number decides its place, so shards are the same whatever was done where and how often. What is complete has a
checksum and is not done again; what is not is written beside its place.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from mlcore.batches.amounts import memory_bytes
from mlcore.batches.conversion.joining import MANIFEST, VERSION, Layout, Manifest, Shard, sha256_of
from mlcore.batches.conversion.pieces import Piece, replacing
from mlcore.batches.conversion.recipe import Recipe, buckets_for
from mlcore.batches.conversion.scattering import BLOCK_ROWS, Task, cut_part, scatter
from mlcore.batches.conversion.shards import Format
from mlcore.batches.filling import Progress
from mlcore.batches.samples import Sample, open_samples, roles
from mlcore.batches.selection import Names, Precision, Selection
from mlcore.batches.skipping import OnError, Skipped, SkippedRowsWarning, skipping
from mlcore.batches.sources import Failures, Source
from mlcore.errors import InputError

WORK = ".pieces"
"""The folder of what is not complete, in that of the shards."""
_ROW_SHARE = 6
"""A thread holds about this many copies of the rows that it works on."""


@dataclass(frozen=True)
class Plan:
    """A conversion that was begun in a folder.

    Attributes
    ----------
    source, recipe
        What is read, and what is made of it.
    directory
        Of the shards.
    tasks
        That are to be scattered.
    threads
        How many work at a time within the memory.
    refused
        Files that could not be opened and are left out, with the reason.
    """

    source: Source
    recipe: Recipe
    directory: Path
    tasks: tuple[Task, ...]
    threads: int
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """The folder of what is not complete."""
        return self.directory / WORK

    def scatter(self, number: int) -> int:
        """Do a task, unless its piece is there; its rows."""
        task = self.tasks[number]
        scatter(self.source.parts[task.part], self.recipe, task, self.work / task.file)
        return task.stop - task.start

    @cached_property
    def layout(self) -> Layout:
        """Of all pieces; they must be there."""
        return Layout((Piece.open(self.work / task.file) for task in self.tasks), self.recipe, self.refused)

    def join(self, number: int) -> Shard:
        """Write a shard, unless it is there with the right checksum."""
        plan = self.layout.shards[number]
        note, path = self.work / f"{plan.name}.json", self.directory / plan.name
        try:
            known = Shard(**json.loads(note.read_bytes()))
            if path.stat().st_size == known.bytes and sha256_of(path) == known.sha256:
                return known
        except (OSError, ValueError, TypeError):
            pass
        shard = self.layout.join(number, self.directory)
        _write_json(note, asdict(shard))
        return shard

    def finish(self, shards: Sequence[Shard]) -> Manifest:
        """Write the manifest, and take away what it was made of."""
        manifest = self.layout.manifest(shards)
        _write_json(self.directory / MANIFEST, manifest.to_json())
        shutil.rmtree(self.work, ignore_errors=True)
        return manifest


def plan(
    source: Any,
    directory: Path | str,
    recipe: Recipe,
    *,
    seed: int | None = None,
    tree: str | None = None,
    friends: Sequence[Any] = (),
    memory: str | int = "512 MB",
    threads: int | None = None,
) -> Plan | Manifest:
    """Begin a conversion, or go on with the one that was begun in the folder; its manifest, where it is complete.

    Parameters
    ----------
    source, tree, friends
        As of `mlcore.batches.BatchLoader`.
    directory
        Of the shards; made where it is missing.
    recipe
        What is made of the source; its columns are filled in where it names none, its buckets always.
    seed
        By default a new one, or that of what was begun.
    memory, threads
        What may be used.

    Raises
    ------
    InputError
        The folder holds something else, or the source changed since the conversion was begun.
    """
    directory = Path(directory)
    skipped = Skipped({}) if recipe.skips else None
    opened = open_samples(source, tree=tree, friends=friends, failures=None if skipped is None else skipped.failures)
    chosen = roles(opened, recipe.target, recipe.weight, recipe.define)
    recipe = replace(recipe, target=_plain(chosen.target), weight=_plain(chosen.weight), define=dict(chosen.define))
    selection = recipe.selection(opened.schema, chosen.hidden, skipped)
    width = recipe.row_bytes(selection)
    wanted = threads or len(os.sched_getaffinity(0))
    room = memory_bytes(memory) // (_ROW_SHARE * width)
    workers = max(1, min(wanted, room // min(recipe.rows_per_shard, max(1, opened.rows))))
    rows = max(BLOCK_ROWS, room // workers)
    recipe = replace(recipe, columns=selection.features, buckets=buckets_for(opened.rows, min(rows, recipe.rows_per_shard)))
    stored = {
        "version": VERSION,
        "recipe": recipe.to_json(),
        "sources": [[part.name, part.fingerprint, part.rows] for part in opened.parts],
    }
    begun = _begun(directory)
    if seed is None:
        seed = begun["recipe"]["seed"] if begun else secrets.randbits(63)
    recipe = replace(recipe, seed=seed)
    if begun:
        # More memory or another machine would cut the source differently: what was begun decides.
        recipe = replace(recipe, buckets=begun["recipe"]["buckets"])
    stored["recipe"] = recipe.to_json()
    if begun and {key: begun.get(key) for key in stored} != stored:
        what = "files" if begun.get("sources") != stored["sources"] else "options"
        raise InputError(
            f"{directory} holds a conversion of other {what}",
            hint="Name another folder, or empty this one to begin anew.",
            code="batches.directory",
        )
    if begun and begun["complete"]:
        return _complete(directory)
    if begun:
        _tidy(directory)
    cut = begun["tasks"] if begun else [asdict(task) for task in _tasks(opened, selection, rows)]
    if not begun:
        if directory.is_dir() and any(directory.iterdir()):
            raise InputError(f"the folder {directory} has files in it", hint="Name an empty folder.", code="batches.directory")
        (directory / WORK).mkdir(parents=True, exist_ok=True)
        _write_json(directory / WORK / "plan.json", {**stored, "tasks": cut})
    refused = {} if skipped is None else skipped.files
    return Plan(opened, recipe, directory, tuple(Task(**task) for task in cut), workers, refused)


def _plain(names: Names) -> Names:
    return names if isinstance(names, str) else tuple(names)


def _begun(directory: Path) -> dict[str, Any] | None:
    for path, complete in ((directory / MANIFEST, True), (directory / WORK / "plan.json", False)):
        try:
            told = json.loads(path.read_bytes())
        except FileNotFoundError:
            continue
        except ValueError as error:
            raise InputError(f"{path} is damaged", hint="Empty the folder to begin anew.", code="batches.directory") from error
        found: dict[str, Any] = {**told, "complete": complete}
        if complete:
            found["sources"] = [list(entry.values()) for entry in told.get("sources", ())]
        return found
    return None


def _tidy(directory: Path) -> None:
    """Remove what a process that was killed had not written to its end."""
    for path in [*directory.glob(".*"), *(directory / WORK).glob(".*")]:
        if path.is_file() and re.fullmatch(r"\..+\.[a-z0-9]+-[^-]{8}", path.name):
            path.unlink(missing_ok=True)


def _complete(directory: Path) -> Manifest:
    manifest = Manifest.read(directory)
    for shard in manifest.shards:
        path = directory / shard.name
        if not path.is_file() or path.stat().st_size != shard.bytes:
            raise InputError(
                f"{path} is missing or damaged, though the conversion is complete",
                hint=f"Remove {MANIFEST} and the shards to make them anew.",
                code="batches.directory",
            )
    return manifest


def _tasks(source: Source, selection: Selection, rows: int) -> Iterator[Task]:
    """Ranges of parts, of about as many rows; cut where little has to be decoded twice."""
    for number, part in enumerate(source.parts):
        yield from cut_part(part, selection, number, rows)


def convert(
    source: Any,
    directory: Path | str,
    *,
    format: Format = "parquet",  # noqa: A002 - the word that users look for
    columns: Sequence[str] | None = None,
    target: Names = (),
    weight: Names = (),
    filter: str | None = None,  # noqa: A002
    define: Mapping[str, str] | None = None,
    pad: Mapping[str, int] | None = None,
    dtype: Precision = "float32",
    rows_per_shard: int = 250_000,
    shuffle: bool = True,
    seed: int | None = None,
    split: Mapping[str, float] | None = None,
    split_by: Names = (),
    split_seed: int = 0,
    on_error: OnError = "raise",
    tree: str | None = None,
    friends: Sequence[Any] = (),
    memory: str | int = "512 MB",
    threads: int | None = None,
    client: Any = None,
    progress: Progress = lambda done, total: None,
) -> Manifest:
    """Write the rows of a source as shards, each row once, in a uniformly random order, with a manifest.

    A conversion that was cut off goes on where it was when it is called again with the same options. Columns keep their types.

    Parameters
    ----------
    source, tree, friends
        As of `mlcore.batches.BatchLoader`: files, arrays, or samples with labels and weights.
    directory
        Where the shards go: an empty folder, a new one, or that of a conversion that was cut off.
    format
        ``"parquet"``, ``"hdf5"``, ``"numpy"`` (``.npz``), ``"tfrecord"`` or ``"webdataset"`` (``.tar``).
    columns, target, weight, filter, define, pad, dtype
        As of `mlcore.batches.BatchLoader`. Parquet and TFRecord hold jagged columns as they are, without `pad`; WebDataset has a
        matrix of `dtype` for x, y and w.
    rows_per_shard, shuffle, seed, split, split_by, split_seed
        As of `mlcore.batches.conversion.recipe.Recipe`.
    on_error
        What happens to rows that cannot be read, and files that cannot be opened: ``"raise"`` an error, or ``"skip"`` them with a
        warning and count them in the manifest's `skipped`.
    memory, threads
        What may be used; one shard has to fit.
    client
        A `dask.distributed.Client` whose workers do the work; they must see the files and the folder under the same names.
    progress
        Called with work done and all of it, in rows that are read, then written.

    Raises
    ------
    InputError, DataError
        The source, the folder or what is asked of it cannot be used.
    DamagedDataError
        Rows cannot be read.
    StorageError
        The disk is full, or fails; what is complete is kept.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> made = convert({"pt": np.arange(5.0), "label": np.ones(5)}, folder, target="label", rows_per_shard=3, seed=1)
    >>> [(shard.name, shard.rows) for shard in made.shards]
    [('shard-00000-of-00002.parquet', 3), ('shard-00001-of-00002.parquet', 2)]
    """
    recipe = Recipe(
        format=format, columns=None if columns is None else tuple(columns), filter=filter, define=dict(define or {}),
        target=_plain(target), weight=_plain(weight),
        pad=dict(pad or {}), dtype=dtype, rows_per_shard=rows_per_shard, shuffle=shuffle, seed=seed or 0, split=dict(split or {}),
        split_by=(split_by,) if isinstance(split_by, str) else tuple(split_by), split_seed=split_seed,
        on_error=on_error,
    )  # fmt: skip
    begun = plan(source, directory, recipe, seed=seed, tree=tree, friends=friends, memory=memory, threads=threads)
    if isinstance(begun, Manifest):
        return begun
    run = _local(begun) if client is None else _on_dask(client, begun, source, tree, friends)
    total = sum(task.stop - task.start for task in begun.tasks)
    done = 0
    for _, rows in run("scatter", range(len(begun.tasks))):
        done += rows
        progress(done, 2 * total)
    shards: dict[int, Shard] = {}
    written = 0
    for number, shard in run("join", range(len(begun.layout.shards))):
        shards[number] = shard
        written += shard.rows
        progress(total + total * written // max(1, begun.layout.rows), 2 * total)
    made = begun.finish([shards[number] for number in sorted(shards)])
    if left_out := made.skipped:
        warnings.warn(skipping(left_out.rows, left_out.files, left_out.messages), SkippedRowsWarning, stacklevel=2)
    return made


_Run = Callable[[str, Iterable[int]], Iterator[tuple[int, Any]]]


def _local(begun: Plan) -> _Run:
    def run(step: str, numbers: Iterable[int]) -> Iterator[tuple[int, Any]]:
        pool = ThreadPoolExecutor(begun.threads, thread_name_prefix="convert")
        try:
            futures = {pool.submit(getattr(begun, step), number): number for number in numbers}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    return run


def _on_dask(client: Any, begun: Plan, source: Any, tree: str | None, friends: Sequence[Any]) -> _Run:
    """The same steps as tasks of a cluster; what is sent is names and numbers."""
    from distributed import as_completed as completed

    spec = {
        "source": _named(source), "tree": tree, "friends": _named(list(friends)), "recipe": begun.recipe.to_json(),
        "directory": str(begun.directory.resolve()), "tasks": [asdict(task) for task in begun.tasks],
        "fingerprint": begun.source.fingerprint,
    }  # fmt: skip
    text = json.dumps(spec)

    def run(step: str, numbers: Iterable[int]) -> Iterator[tuple[int, Any]]:
        # They change files, so no result of an earlier call may stand for one: they are not pure.
        futures = client.map(_remote, [text] * len(list(numbers)), [step] * len(list(numbers)), list(numbers), pure=False)
        try:
            for future in completed(futures):
                yield future.result()
        finally:
            client.cancel(futures)

    return run


def _named(source: Any) -> Any:
    """Paths and URLs, absolute, for another process."""
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        if isinstance(text, str):
            return text if "://" in text else os.path.abspath(text)  # noqa: PTH100 - with a tree's name behind a colon it is no path
    if isinstance(source, list | tuple):
        return [_named(each) for each in source]
    if isinstance(source, Sample):
        return {**vars(source), "source": _named(source.source), "friends": _named(list(source.friends))}
    raise InputError(
        "a cluster reads files: what is in this process's memory cannot be sent there",
        hint="Give paths or URLs, or leave out client.",
        code="batches.source",
    )


def _unnamed(source: Any) -> Any:
    """What `_named` was given."""
    if isinstance(source, list):
        return [_unnamed(each) for each in source]
    return Sample(**source) if isinstance(source, dict) else source


@lru_cache(maxsize=4)
def _opened(text: str) -> Plan:
    spec = json.loads(text)
    recipe = Recipe.from_json(spec["recipe"])
    failures: Failures | None = {} if recipe.skips else None
    source = open_samples(_unnamed(spec["source"]), tree=spec["tree"], friends=spec["friends"], failures=failures)
    if source.fingerprint != spec["fingerprint"]:
        raise InputError(
            "the files that this worker sees are others",
            hint="Give paths that mean the same files everywhere.",
            code="batches.changed",
        )
    tasks_ = tuple(Task(**task) for task in spec["tasks"])
    # The layout that a worker makes is for its shards: the manifest, with what was refused, is written by who began.
    return Plan(source, recipe, Path(spec["directory"]), tasks_, 1)


def _remote(text: str, step: str, number: int) -> tuple[int, Any]:
    return number, getattr(_opened(text), step)(number)


def _write_json(path: Path, data: Any) -> None:
    with replacing(path) as file:
        file.write(json.dumps(data, indent=1).encode() + b"\n")
