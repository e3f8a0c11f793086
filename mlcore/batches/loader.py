"""`BatchLoader`: a source as batches, epoch after epoch."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache as cache_of
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mlcore.batches.amounts import memory_bytes
from mlcore.batches.balancing import Balance, Draw
from mlcore.batches.cache import Cache
from mlcore.batches.clusters import Shard, check_shard
from mlcore.batches.delivery import Share, ahead, strided
from mlcore.batches.filling import Progress, Task, tasks
from mlcore.batches.fitted import Fitted
from mlcore.batches.forms import Change, Form
from mlcore.batches.keeping import Keeping, Shuffle
from mlcore.batches.libraries import Libraries, tensors
from mlcore.batches.measuring import measure
from mlcore.batches.padding import Pad, longest_rows
from mlcore.batches.resuming import VERSION, Position, numbers, order_fingerprint
from mlcore.batches.samples import open_samples, roles, titles
from mlcore.batches.saving import Savable
from mlcore.batches.schema import Schema
from mlcore.batches.selection import Form as Layout
from mlcore.batches.selection import JaggedForm, Names, Precision, Selection
from mlcore.batches.skipping import OnError, Skipped, check_on_error
from mlcore.batches.splitting import RowChoice, check_columns, folds, shares
from mlcore.batches.statistics import Statistics
from mlcore.batches.stores import StorageError, Store, gathered
from mlcore.errors import InputError

if TYPE_CHECKING:
    from mlcore.batches.torch_dataset import BatchDataset
    from mlcore.batches.transforms import Pipeline, Step

GROUP_ROWS = 8192
"""About as many rows are gathered at a time; batches are parts of them."""
GROUP_BYTES = 8_000_000
"""Fewer rows are, where they would take more than this, unless a batch does."""
AHEAD = 2
"""Groups that are made ready while others are used."""


class BatchLoader(Libraries, Savable):
    """Batches of a source: every kept row exactly once an epoch, in a uniformly random order.

    The order of an epoch is that of a hash of seed, epoch and row, so it is the same whatever the number of threads is, and
    whether the rows fit the memory or are kept on disk. The first epoch reads the source; the later ones do not.

    Parameters
    ----------
    source, tree, friends
        What is read: see `mlcore.batches.sources.open_source`; or one or several `mlcore.batches.Sample`s.
    columns, target, weight, filter, define, pad, dtype, layout, jagged
        What batches are made of: see `mlcore.batches.selection.Selection` (whose `keep` is the filter, and `form` the layout).
    batch_size
        Rows of a batch.
    shuffle
        Whether the order is random, a new one each epoch; else it is that of the source. ``"buffer"`` keeps nothing: it reads
        the source anew each epoch, its clusters in a random order, through a buffer from which rows are drawn; the order is
        not uniformly random then.
    seed
        Of the order; by default a new one, which the attribute tells.
    drop_remainder
        Whether the last rows are left out where they do not fill a batch.
    memory
        What the rows may take, such as ``"256 MB"`` or a number of bytes; beyond it they are kept on disk, or, without
        shuffling, read anew each epoch.
    spill_directory
        Where that is; the folder for temporary files by default.
    cache
        A folder for the records, or a `mlcore.batches.Cache`: later loaders of the same rows and columns do not read the source.
    shard
        ``(rank, world)``: one of `world` disjoint parts of the source, by files and clusters, of about equal size.
    threads
        That read the source; by default as many as there are processors for this process.
    on_error
        What happens to rows that cannot be read, and files that cannot be opened: ``"raise"`` an error, or ``"skip"`` them with a
        warning and count them in `skipped`.
    balance
        How often rows of each class come; by default each row once. See `mlcore.batches.Balance`.
    transforms
        Of x, by the names of features: a `mlcore.batches.transforms.Pipeline`, or its steps. Where numbers are left out they are
        fitted when they are first needed: to the rows of this loader, or to those of the training part of a split.
    copy
        Whether batches are the caller's; else each one of NumPy and PyTorch is overwritten once another was asked for.
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

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        loader = super().__new__(cls)
        loader._arguments = arguments, {name: value for name, value in named.items() if name != "progress"}
        return loader

    def __init__(
        self,
        source: Any,
        columns: Sequence[str] | None = None,
        *,
        target: Names = (),
        weight: Names = (),
        filter: str | None = None,  # noqa: A002 - the word that users look for
        define: Mapping[str, str] | None = None,
        pad: Mapping[str, int | Pad] | None = None,
        dtype: Precision = "float32",
        layout: Layout = "matrix",
        jagged: JaggedForm = "pad",
        batch_size: int = 1024,
        shuffle: Shuffle = True,
        seed: int | None = None,
        drop_remainder: bool = False,
        memory: str | int = "256 MB",
        spill_directory: Path | str | None = None,
        cache: Cache | Path | str | None = None,
        shard: Shard | None = None,
        threads: int | None = None,
        tree: str | None = None,
        friends: Sequence[Any] = (),
        on_error: OnError = "raise",
        balance: Balance | None = None,
        transforms: Pipeline | Mapping[str, Step | Sequence[Step]] | None = None,
        copy: bool = True,
        progress: Progress = lambda done, total: None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"a batch of {batch_size} rows is none", hint="Give 1 or more.", code="batches.batch_size")
        if seed is not None and not 0 <= seed < 2**64:
            raise InputError(f"{seed} is no seed", hint="Give a whole number from 0 to 2**64 - 1.", code="batches.seed")
        check_on_error(on_error)
        if not isinstance(shuffle, bool) and shuffle != "buffer":
            raise InputError(f"shuffle={shuffle!r} is unknown", hint='Give True, False or "buffer".', code="batches.shuffle")
        if shard is not None:
            check_shard(shard)
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
            form=layout,
            jagged=jagged,
            hidden=chosen.hidden,
            gaps=shard is not None or any(part.keep is not None for part in self._source.parts),
            skipped=skipped,
        )
        self._threads = threads or len(os.sched_getaffinity(0))
        self._selection.longest = cache_of(partial(longest_rows, self._source, self._selection, self._threads))
        self.feature_names = self._selection.feature_names
        self.batch_size, self.shuffle, self.drop_remainder = batch_size, shuffle, drop_remainder
        self.seed = secrets.randbits(63) if seed is None else seed
        self.epoch = 0
        self._budget = memory_bytes(memory)
        self._balance = balance
        if balance is not None:
            if shuffle is not True:
                raise InputError("rows are drawn in a random order", hint="Leave out balance or shuffle.", code="batches.balance")
            Draw(balance, self._selection, 0, self.seed)  # says what is wrong
        self._directory = None if spill_directory is None else Path(spill_directory)
        self.shard = shard
        self._cache = cache if cache is None or isinstance(cache, Cache) else Cache(cache)
        if self._cache is not None and shuffle == "buffer":
            raise InputError("a buffer keeps nothing, and a cache does", hint="Leave out one of them.", code="batches.cache")
        if self._cache is not None and not all(part.lasting for part in self._source.parts):
            raise InputError(
                f"{self.schema.where} cannot be known again by a later run",
                hint="Leave out the cache, or read the files themselves.",
                code="batches.cache",
            )
        self._progress, self._copy = progress, copy
        self._fitted = None if transforms is None else Fitted(transforms, self._selection, self._fit_rows)
        self._store: Store | None = None
        self._process = os.getpid()
        self._position: Position | None = None
        self._resume: Position | None = None

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
        """Where rows lie between epochs: ``memory``, ``spill``, or nowhere (``stream``, ``buffer``); reads the source."""
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
        parts = {name: self._restricted(choice) for name, choice in chosen.items()}
        train = parts.get("train", next(iter(parts.values())))
        for part in parts.values():
            part._fitted = train._fitted
        return parts

    def folds(self, count: int, *, by: Names = (), seed: int = 0) -> list[tuple[BatchLoader, BatchLoader]]:
        """For k-fold cross-validation, pairs of loaders for training and validation; each row is in one of the latter.

        Raises
        ------
        InputError, DataError
            As of `split`, or there are less than two folds.
        """
        pairs = folds(count, self._split_columns(by), seed, len(self._selection.choices))
        loaders = [(self._restricted(rest), self._restricted(part)) for rest, part in pairs]
        for rest, part in loaders:
            part._fitted = rest._fitted
        return loaders

    def _fit_rows(self) -> tuple[Selection, list[Task]]:
        self._source.check_unchanged()
        return self._selection, self._keeping(0).work()

    @property
    def transforms(self) -> Pipeline | None:
        """Of x, fitted, which reads the source where that was not done; None where there are none."""
        return None if self._fitted is None else self._fitted.pipeline

    def _split_columns(self, by: Names) -> tuple[str, ...]:
        columns = (by,) if isinstance(by, str) else tuple(by)
        check_columns(columns, self._selection.known)
        return columns

    def _restricted(self, choice: RowChoice) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other._selection = self._selection.restricted(choice)
        other._store, other.epoch = None, 0
        other._position = other._resume = None
        other._fitted = None if self._fitted is None else self._fitted.to(other._fit_rows)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """Options alone: where it arrives, the source is opened anew."""
        kept = {name: getattr(self, name) for name in ("seed", "epoch", "batch_size", "drop_remainder")}
        positional, named = self._arguments
        if self._fitted is not None:
            named = {**named, "transforms": self.transforms}
        return _reopened, ((positional, named), kept, self._selection.choices, self._source.fingerprint)

    def dataset(self, *, rank: int | None = None, world: int | None = None, even: bool = True) -> BatchDataset:
        """For PyTorch's `DataLoader`, with any number of workers and ranks: see `mlcore.batches.torch_dataset.BatchDataset`.

        Rows that fit the memory are read here, since workers that are forked share them; so is the source where there is a
        cache, which all processes share.
        """
        from mlcore.batches.torch_dataset import BatchDataset

        found = BatchDataset(self, rank=rank, world=world, even=even)
        self._changed()  # fits the transforms before there are workers
        if self._store is None and (self._cache is not None or self._keeping(self.epoch).fits):
            self._filled()
        return found

    def part_of_epoch(self, epoch: int, share: Share) -> Iterator[Any]:
        """Some batches of an epoch as tensors, which `DataLoader` keeps for a while; the loader's own epochs are not touched."""
        for _, batch in self._delivered(epoch, share, self._form(tensors(False)), lasting=True):
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the epochs are, as JSON: the rows of the last one begun that were delivered, and what order they were in."""
        at = Position(self.epoch)
        if self._resume is not None and self._resume.epoch == self.epoch:
            at = self._resume
        elif self._position is not None and self._position.epoch + 1 == self.epoch:
            at = self._position
        return {"version": VERSION, "order": self.order, "seed": self.seed, "epoch": at.epoch, "rows": at.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a loader of the same source and options was: the next epoch is the rest of the one it was in.

        Raises
        ------
        InputError
            It is no state, or the source, the selection or the order are others.
        """
        seed, epoch, rows = numbers(state, self.order, "seed", "epoch", "rows")
        self.reseed(seed)
        self.epoch, self._resume, self._position = epoch, Position(epoch, rows), None

    def reseed(self, seed: int) -> None:
        """Change the seed; reads the source again."""
        if seed != self.seed:
            self.seed, self._store = seed, None

    @property
    def order(self) -> str:
        """A fingerprint of the source, the selection and the kind of order: with the same and one seed, epochs are the same."""
        buffer = {"memory": self._budget} if self.shuffle == "buffer" else {}
        return order_fingerprint(
            {
                "source": self._source.fingerprint,
                "selection": self._selection.described(),
                "shard": self.shard,
                "shuffle": self.shuffle,
                "balance": repr(self._balance),
                **buffer,
            }
        )

    def _changed(self) -> tuple[Change, int | None]:
        fitted = self._fitted
        return (lambda arrays: arrays, None) if fitted is None else (fitted.change, len(fitted.pipeline.names))

    def _batches(self, form: Form, *, lasting: bool | None = None) -> Iterator[Any]:
        """The next epoch, or what is left of it."""
        at = Position(self.epoch)
        if self._resume is not None and self._resume.epoch == self.epoch:
            at = self._resume
        self._filled(at.epoch)  # an error here costs no epoch
        self._position, self._resume = at, None
        self.epoch += 1
        for rows, batch in self._delivered(at.epoch, Share(at.rows), form, lasting=self._copy if lasting is None else lasting):
            at.rows += rows
            yield batch
        at.epoch, at.rows = at.epoch + 1, 0

    def _delivered(self, epoch: int, share: Share, form: Form, *, lasting: bool) -> Iterator[tuple[int, Any]]:
        """Batches and their rows, cut from arrays of several that are made ready by a thread of its own."""
        size = self.batch_size
        pieces = self._filled(epoch).pieces(epoch, share.start, share.stop)
        if share.workers > 1:
            pieces = strided(pieces, size, share)
        # While one group is made, AHEAD wait, and one is used.
        buffers = 0 if lasting else AHEAD + 2
        most = max(1, min(GROUP_ROWS, GROUP_BYTES // self._selection.id_offset) // size) * size
        groups = map(form.group, gathered(pieces, self._selection, most, buffers=buffers))
        try:
            with closing(ahead(groups, AHEAD)) as ready:
                for rows, group in ready:
                    for start in range(0, rows - rows % size if self.drop_remainder else rows, size):
                        stop = min(start + size, rows)
                        yield stop - start, form.batch(group, start, stop)
            self._warn()
        except StorageError:
            self._store = None  # it may have lost rows: the next epoch reads the source again
            raise

    def _keeping(self, epoch: int) -> Keeping:
        return Keeping(
            source=self._source,
            selection=self._selection,
            shard=self.shard,
            shuffle=self.shuffle,
            seed=self.seed,
            epoch=epoch,
            balance=self._balance,
            budget=self._budget,
            directory=self._directory,
            cache=self._cache,
            threads=self._threads,
            progress=self._progress,
        )

    def _filled(self, epoch: int | None = None) -> Store:
        """The store; where it has to be filled, ready for an epoch, by default the next one."""
        if self._process != os.getpid():  # a process that was forked shares the memory, but must not use the file of another
            self._process = os.getpid()
            if self._store is not None and self._store.mode == "spill":
                self._store = None
        if self._store is None:
            self._source.check_unchanged()
            self._store = self._keeping(self.epoch if epoch is None else epoch).store()
            self._warn()
        return self._store


def _reopened(
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
    kept: Mapping[str, Any],
    choices: Sequence[RowChoice],
    fingerprint: str,
) -> BatchLoader:
    """The same loader in another process."""
    positional, named = arguments
    loader = BatchLoader(*positional, **named)
    for choice in choices:
        loader = loader._restricted(choice)
    for name, value in kept.items():
        setattr(loader, name, value)
    if loader._source.fingerprint != fingerprint:
        raise InputError(
            f"{loader.schema.where} changed since it was opened", hint="Make the loader anew.", code="batches.changed"
        )
    return loader
