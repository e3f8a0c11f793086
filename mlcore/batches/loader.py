"""`BatchLoader`: a source as batches, epoch after epoch."""

from __future__ import annotations

import copy
import os
import queue
import re
import secrets
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from mlcore.batches.balancing import DRAW_BYTES, Balance, Draw
from mlcore.batches.filling import Packer, Progress, tasks
from mlcore.batches.measuring import measure
from mlcore.batches.samples import open_samples, roles, titles
from mlcore.batches.schema import Schema
from mlcore.batches.selection import Names, Precision, Selection
from mlcore.batches.skipping import Skipped
from mlcore.batches.splitting import RowChoice, check_columns, folds, shares
from mlcore.batches.statistics import Statistics
from mlcore.batches.stores import ORDER_BYTES, MemoryStore, SpillStore, StorageError, Store, StreamStore, gathered
from mlcore.errors import InputError

T = TypeVar("T")
OnError = Literal["raise", "skip"]
Batch = npt.NDArray[np.floating] | tuple[npt.NDArray[np.floating], ...]

GROUP_ROWS = 8192
"""About as many rows are gathered at a time; batches are parts of them."""
AHEAD = 2
"""Groups that are made ready while others are used."""

_MEMORY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)(i?)B?\s*", re.IGNORECASE)


class BatchLoader:
    """Batches of a source: every kept row exactly once an epoch, in a uniformly random order.

    The order of an epoch is that of a hash of seed, epoch and row, so it is the same whatever the number of threads is, and
    whether the rows fit the memory or are kept on disk. The first epoch reads the source; the later ones do not.

    Parameters
    ----------
    source, tree, friends
        What is read: see `mlcore.batches.sources.open_source`; or one or several `mlcore.batches.Sample`s.
    columns, target, weight, filter, define, pad, dtype
        What batches are made of: see `mlcore.batches.selection.Selection` (whose `keep` is the filter).
    batch_size
        Rows of a batch.
    shuffle
        Whether the order is random, a new one each epoch; else it is that of the source.
    seed
        Of the order; by default a new one, which the attribute tells.
    drop_remainder
        Whether the last rows are left out where they do not fill a batch.
    memory
        What the rows may take, such as ``"256 MB"`` or a number of bytes; beyond it they are kept on disk, or, without
        shuffling, read anew each epoch.
    spill_directory
        Where that is; the folder for temporary files by default.
    threads
        That read the source; by default as many as there are processors for this process.
    on_error
        What happens to rows that cannot be read, and files that cannot be opened: ``"raise"`` an error, or ``"skip"`` them with a
        warning and count them in `skipped`.
    balance
        How often rows of each class come; by default each row once. See `mlcore.batches.Balance`.
    progress
        Called with the rows that are read and all rows while the source is read.

    Attributes
    ----------
    schema
        What the source holds.
    feature_names
        A name for each column of x.
    seed
        Of the order.
    epoch
        The number of the next epoch, from 0.

    Raises
    ------
    InputError, DataError
        The source or what is asked of it cannot be used.
    DamagedDataError
        While iterating: rows cannot be read.
    StorageError
        While iterating: the disk is full, or fails.

    Examples
    --------
    >>> import numpy as np
    >>> loader = BatchLoader({"pt": np.arange(5.0), "label": np.ones(5)}, target="label", batch_size=2, shuffle=False)
    >>> [x[:, 0].tolist() for x, y in loader.numpy()]
    [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """

    def __init__(
        self,
        source: Any,
        columns: Sequence[str] | None = None,
        *,
        target: Names = (),
        weight: Names = (),
        filter: str | None = None,  # noqa: A002 - the word that users look for
        define: Mapping[str, str] | None = None,
        pad: Mapping[str, int] | None = None,
        dtype: Precision = "float32",
        batch_size: int = 1024,
        shuffle: bool = True,
        seed: int | None = None,
        drop_remainder: bool = False,
        memory: str | int = "256 MB",
        spill_directory: Path | str | None = None,
        threads: int | None = None,
        tree: str | None = None,
        friends: Sequence[Any] = (),
        on_error: OnError = "raise",
        balance: Balance | None = None,
        progress: Progress = lambda done, total: None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"a batch of {batch_size} rows is none", hint="Give 1 or more.", code="batches.batch_size")
        if seed is not None and not 0 <= seed < 2**64:
            raise InputError(f"{seed} is no seed", hint="Give a whole number from 0 to 2**64 - 1.", code="batches.seed")
        if on_error not in ("raise", "skip"):
            raise InputError(f"on_error={on_error!r} is unknown", hint='Choose "raise" or "skip".', code="batches.on_error")
        skipped = Skipped({}) if on_error == "skip" else None
        self._source = open_samples(source, tree=tree, friends=friends, failures=None if skipped is None else skipped.failures)
        chosen = roles(self._source, target, weight, define)
        self._selection = Selection(
            self._source.schema,
            columns=columns,
            target=chosen.target,
            weight=chosen.weight,
            keep=filter,
            define=chosen.define,
            pad=pad,
            dtype=dtype,
            hidden=chosen.hidden,
            gaps=any(part.keep is not None for part in self._source.parts),
            skipped=skipped,
        )
        self.feature_names = self._selection.feature_names
        self.batch_size, self.shuffle, self.drop_remainder = batch_size, shuffle, drop_remainder
        self.seed = secrets.randbits(63) if seed is None else seed
        self.epoch = 0
        self._budget = memory_bytes(memory)
        self._balance = balance
        if balance is not None:
            if not shuffle:
                raise InputError("rows are drawn in a random order", hint="Leave out balance or shuffle.", code="batches.balance")
            Draw(balance, self._selection, 0, self.seed)  # says what is wrong
        self._directory = None if spill_directory is None else Path(spill_directory)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._progress = progress
        self._store: Store | None = None

    @property
    def schema(self) -> Schema:
        return self._source.schema

    @property
    def skipped(self) -> Skipped:
        """What was left out so far because it is damaged; nothing of rows before the source is read, nor with ``"raise"``."""
        return Skipped({}) if self._selection.skipped is None else self._selection.skipped

    def _warn(self) -> None:
        if self._selection.skipped is not None:
            self._selection.skipped.warn()

    @property
    def mode(self) -> str:
        """Where rows lie between epochs, ``memory``, ``spill`` or ``stream`` (nowhere); reads the source if need be."""
        return self._filled().mode

    @property
    def rows(self) -> int:
        """The rows of an epoch; reads the source where that was not done and some are left out."""
        return self._source.rows if self._selection.keeps_all and self._balance is None else self._filled().rows

    def __len__(self) -> int:
        """The number of batches of an epoch; reads the source where that was not done and some rows are left out."""
        return self.rows // self.batch_size if self.drop_remainder else -(-self.rows // self.batch_size)

    def statistics(self, *, weighted: bool = False, bins: int = 50) -> Statistics:
        """Of every column of x, y and w, of each class where the target has few values, and correlations; reads the source once.

        Parameters
        ----------
        weighted
            Whether rows count by the first column of w.
        bins
            Of histograms.

        Raises
        ------
        InputError
            There are no weights, or no bins.
        DamagedDataError
            Rows cannot be read.
        """
        self._source.check_unchanged()
        found = measure(
            self._selection,
            tasks(self._source, self._selection),
            self._threads,
            self._progress,
            budget=self._budget,
            weighted=weighted,
            bins=bins,
            titles=titles(self._source),
        )
        self._warn()
        return found

    def split(self, *, by: Names = (), seed: int = 0, **fractions: float) -> dict[str, BatchLoader]:
        """Loaders of disjoint rows, each with all options of this one.

        Which one has a row is decided by a hash of it, so rows stay where they are when files are added or columns change.

        Parameters
        ----------
        by
            Columns whose hash decides, such as the event's number: rows that are equal in them stay together. By default it is
            the file's name and the number of the row in it.
        seed
            Of the hash, not of the order.
        **fractions
            Names and shares, such as ``train=0.7, validation=0.2, test=0.1``; by default ``train=0.8, validation=0.2``.

        Raises
        ------
        InputError, DataError
            The shares are more than everything, or there is no such column, or it has not one number each row.
        """
        columns = self._split_columns(by)
        chosen = shares(fractions or {"train": 0.8, "validation": 0.2}, columns, seed, len(self._selection.choices))
        return {name: self._restricted(choice) for name, choice in chosen.items()}

    def folds(self, count: int, *, by: Names = (), seed: int = 0) -> list[tuple[BatchLoader, BatchLoader]]:
        """For k-fold cross-validation, pairs of loaders for training and validation; each row is in one of the latter.

        Raises
        ------
        InputError, DataError
            As of `split`, or there are less than two folds.
        """
        pairs = folds(count, self._split_columns(by), seed, len(self._selection.choices))
        return [(self._restricted(rest), self._restricted(part)) for rest, part in pairs]

    def _split_columns(self, by: Names) -> tuple[str, ...]:
        columns = (by,) if isinstance(by, str) else tuple(by)
        check_columns(columns, self._selection.known)
        return columns

    def _restricted(self, choice: RowChoice) -> BatchLoader:
        other = copy.copy(self)
        other._selection = self._selection.restricted(choice)
        other._store, other.epoch = None, 0
        return other

    def numpy(self) -> Iterator[Batch]:
        """The batches of the next epoch: x, or a tuple of x, y and w as asked for.

        x has the shape (n_rows, n_features); y and w have (n_rows,), or (n_rows, n_names) where they were given as lists. The
        arrays are the caller's: nothing is written to them later.
        """
        for arrays in self._groups():
            for start in self._starts(len(arrays[0])):
                batch = tuple(array[start : start + self.batch_size] for array in arrays)
                yield batch[0] if len(batch) == 1 else batch

    def torch(self) -> Iterator[Any]:
        """The same as tensors of PyTorch on the CPU, without a copy."""
        import torch

        for arrays in self._groups():
            tensors = tuple(torch.from_numpy(array) for array in arrays)
            for start in self._starts(len(arrays[0])):
                batch = tuple(tensor[start : start + self.batch_size] for tensor in tensors)
                yield batch[0] if len(batch) == 1 else batch

    def _starts(self, rows: int) -> range:
        return range(0, rows - rows % self.batch_size if self.drop_remainder else rows, self.batch_size)

    def _groups(self) -> Iterator[tuple[npt.NDArray[np.floating], ...]]:
        """Arrays of several batches; made ready by a thread of its own."""
        store, epoch = self._filled(), self.epoch
        self.epoch += 1
        rows = max(1, GROUP_ROWS // self.batch_size) * self.batch_size
        try:
            with closing(_ahead(gathered(store.pieces(epoch), self._selection, rows), AHEAD)) as groups:
                yield from groups
            self._warn()
        except StorageError:
            self._store = None  # it may have lost rows: the next epoch reads the source again
            raise

    def _filled(self) -> Store:
        if self._store is None:
            self._source.check_unchanged()
            selection, work = self._selection, tasks(self._source, self._selection)
            width = Packer(selection, with_id=selection.numbered).layout.record_bytes + ORDER_BYTES
            rows, draw = self._source.rows, None
            if self._balance is not None:
                draw = Draw(self._balance, selection, rows, self.seed)
                width += DRAW_BYTES * (2 if self._balance.how == "over" else 1)
            if rows * width <= self._budget:
                seed = self.seed if self.shuffle else None
                self._store = MemoryStore(selection, work, seed, self._threads, self._progress, draw)
            elif not self.shuffle:
                self._store = StreamStore(selection, work)
            else:
                self._store = SpillStore(
                    selection, work, self.seed, self._threads, self._progress,
                    budget=self._budget, directory=self._directory, epoch=self.epoch, draw=draw,
                )  # fmt: skip
            self._warn()
        return self._store


def memory_bytes(memory: str | int) -> int:
    """A number of bytes, from a text such as ``256 MB`` (millions) or ``1 GiB``.

    Raises
    ------
    InputError
        It is none, or less than a megabyte.
    """
    if isinstance(memory, str):
        found = _MEMORY.fullmatch(memory)
        if found is None:
            raise InputError(f"{memory!r} is no amount of memory", hint='Write it as "256 MB" or "2 GB".', code="batches.memory")
        base = 1024 if found[3] else 1000
        memory = int(float(found[1]) * base ** " KMGT".index(found[2].upper() or " "))
    if memory < 1_000_000:
        raise InputError(f"{memory} bytes are too little", hint="Give a megabyte or more.", code="batches.memory")
    return memory


def _ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items, made by a thread that is up to `depth` of them ahead; closing this ends the thread."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def offer(kind: str, value: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer("item", item):
                    break
            offer("end", None)
        except BaseException as error:  # it is raised where the items are used
            offer("error", error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="batches-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()
        thread.join()
