"""Samples: sources with a label and a weight each, such as signal and background, read as one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Block
from mlcore.batches.expressions import Expression, parse
from mlcore.batches.schema import Column, Schema
from mlcore.batches.sources import BlockReader, Failures, Part, Source, open_source, source_of
from mlcore.errors import InputError

Names: TypeAlias = str | Sequence[str]

LABEL = "sample_label"
WEIGHT = "sample_weight"
"""What the columns of a sample's label and weight are called."""


@dataclass(frozen=True)
class Sample:
    """Rows that have a label and a weight in common.

    Attributes
    ----------
    source, tree, friends
        What is read: see `mlcore.batches.sources.open_source`.
    label
        What y is for its rows; None where y comes from a column alone.
    weight
        What w is for its rows, or what multiplies a column of weights; 1 where other samples have one and this has none.
    filter
        Which of its rows are kept, beside the loader's own filter; an expression of the source's columns.
    name
        For messages; by default that of its first table.
    """

    source: Any
    label: float | None = None
    weight: float | None = None
    filter: str | None = None
    name: str = ""
    tree: str | None = None
    friends: Sequence[Any] = ()


@dataclass(frozen=True)
class Roles:
    """What columns are for, with those of samples.

    Attributes
    ----------
    target, weight, define
        As of `mlcore.batches.selection.Selection`.
    hidden
        Columns that are no features unless they are named.
    """

    target: Names
    weight: Names
    define: Mapping[str, str]
    hidden: frozenset[str] = field(default=frozenset())


class SamplePart(Part):
    """A part with the label and the weight of its sample as columns.

    Parameters
    ----------
    inner
        The part itself.
    constants
        The new columns with their values.
    keep
        The sample's filter.
    title
        The sample's name.
    """

    def __init__(self, inner: Part, constants: Mapping[str, float], keep: Expression | None, title: str) -> None:
        self.inner, self.title = inner, title
        self.name, self.table, self.rows = inner.name, inner.table, inner.rows
        self.lasting = inner.lasting
        self.constants = dict(constants)
        self.keep = keep
        columns = [
            Column(name, np.dtype(np.int64 if isinstance(value, int) else np.float64)) for name, value in constants.items()
        ]
        for column in columns:
            if column.name in inner.schema:
                raise InputError(
                    f"{inner.name} has a column {column.name!r}, as that of a sample is called",
                    hint="Leave out the labels and weights of samples, or rename the column.",
                    code="batches.samples",
                )
        self.schema = Schema([*inner.schema.values(), *columns], where=inner.schema.where)

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """With label, weight and filter."""
        return f"{self.inner.fingerprint} {self.constants} {self.keep}"

    @property
    def identity(self) -> str:
        return self.inner.identity

    def boundaries(self, columns: Sequence[str]) -> npt.NDArray[np.int64]:
        needed = self._needed(columns)
        return self.inner.boundaries(needed) if needed else np.unique(np.array([0, self.rows], np.int64))

    def reader_bytes(self, columns: Sequence[str]) -> int:
        return self.inner.reader_bytes(self._needed(columns))

    def reader(self, columns: Sequence[str], block_rows: int = 8192) -> BlockReader:
        needed = self._needed(columns)
        inner = self.inner.reader(needed, block_rows) if needed else None
        constants = {name: self.constants[name] for name in columns if name in self.constants}
        if inner is not None and not constants and self.keep is None:
            return inner
        return _SampleReader(inner, constants, block_rows)

    def _needed(self, columns: Sequence[str]) -> list[str]:
        """What has to be read of the part itself."""
        of_filter = () if self.keep is None else self.keep.columns
        return [name for name in dict.fromkeys((*columns, *of_filter)) if name not in self.constants]

    def check_unchanged(self) -> None:
        self.inner.check_unchanged()


class _SampleReader(BlockReader):
    """Blocks with constants; and with the columns that the sample's filter reads."""

    def __init__(self, inner: BlockReader | None, constants: Mapping[str, float], block_rows: int) -> None:
        self.inner, self.constants, self.block_rows = inner, constants, block_rows

    def read(self, start: int, stop: int) -> Block:
        block = {} if self.inner is None else self.inner.read(start, stop)
        return {**block, **{name: np.full(stop - start, value) for name, value in self.constants.items()}}

    def close(self) -> None:
        if self.inner is not None:
            self.inner.close()


def open_samples(
    source: Any, *, tree: str | None = None, friends: Sequence[Any] = (), failures: Failures | None = None
) -> Source:
    """What `open_source` opens, or one or several samples as one source, with columns for their labels and weights.

    Raises
    ------
    InputError
        The samples do not fit together, or one cannot be read.
    DataError
        A file has no such table, or a filter asks for a column that is not there.
    """
    samples = _samples(source)
    if not samples:
        return open_source(source, tree=tree, friends=friends, failures=failures)
    if friends:
        raise InputError("each sample has friends of its own", hint="Write Sample(..., friends=[...]).", code="batches.samples")
    parts = list(_parts(samples, tree, failures))
    if not parts and failures:
        raise next(iter(failures.values()))
    return source_of(parts)


def _samples(source: Any) -> list[Sample]:
    """The samples that are meant; none where it is a source of another kind."""
    if isinstance(source, Sample):
        return [source]
    if not isinstance(source, list | tuple) or not any(isinstance(each, Sample) for each in source):
        return []
    for each in source:
        if not isinstance(each, Sample):
            raise InputError(
                f"a list of samples holds a {type(each).__name__}",
                hint="Write Sample(source, label=...) for each.",
                code="batches.samples",
            )
    return list(source)


def _parts(samples: Sequence[Sample], tree: str | None, failures: Failures | None) -> Iterator[Part]:
    labels = _numbers([sample.label for sample in samples], "label")
    if any(label is None for label in labels) and any(label is not None for label in labels):
        without = next(number for number, label in enumerate(labels) if label is None)
        raise InputError(
            f"sample {samples[without].name or without} has no label, and others have",
            hint="Give each one.",
            code="batches.samples",
        )
    weights = _numbers([sample.weight for sample in samples], "weight")
    weighted = any(weight is not None for weight in weights)
    for sample, label, weight in zip(samples, labels, weights, strict=True):
        constants = {} if label is None else {LABEL: label}
        if weighted:
            constants[WEIGHT] = 1.0 if weight is None else float(weight)
        found = open_source(sample.source, tree=sample.tree or tree, friends=sample.friends, failures=failures, may_be_empty=True)
        keep = None if sample.filter is None else parse(sample.filter)
        for part in found.parts:
            if keep is not None:
                keep.check_filter(part.schema)
            yield SamplePart(part, constants, keep, sample.name)


def _numbers(values: Sequence[float | None], what: str) -> list[float | None]:
    """The same, all of one type."""
    for value in values:
        if value is not None and not (isinstance(value, int | float | np.number) and math.isfinite(value)):
            raise InputError(f"{value!r} is no {what} of a sample", hint="Give a number.", code="batches.samples")
    whole = all(value is None or isinstance(value, int | np.integer) for value in values)
    return [None if value is None else int(value) if whole else float(value) for value in values]


def titles(source: Source) -> dict[float, str]:
    """What the samples with each label are called."""
    found: dict[float, dict[str, None]] = {}
    for part in source.parts:
        if isinstance(part, SamplePart) and LABEL in part.constants:
            found.setdefault(part.constants[LABEL], {})[part.title] = None
    return {label: ", ".join(filter(None, names)) for label, names in found.items()}


def roles(source: Source, target: Names, weight: Names, define: Mapping[str, str] | None) -> Roles:
    """What columns are for: the label of samples is a target, their weight is w or multiplies it.

    Raises
    ------
    InputError
        A column of weights cannot be multiplied.
    """
    found = dict(define or {})
    constants = source.parts[0].constants
    hidden = set(constants)
    if LABEL in constants and LABEL not in ((target,) if isinstance(target, str) else target):
        target = LABEL if not target else [target, LABEL] if isinstance(target, str) else [*target, LABEL]
    if WEIGHT in constants and not weight:
        weight = WEIGHT
    elif WEIGHT in constants:
        names = (weight,) if isinstance(weight, str) else tuple(weight)
        products = {name: f"{WEIGHT} * {name}" for name in names if name != WEIGHT}
        for name, product in products.items():
            found[product] = f"`{name}` * {WEIGHT}"
            hidden.add(name)
        weights = [products.get(name, name) for name in names]
        weight = weights[0] if isinstance(weight, str) else weights
    return Roles(target, weight, found, frozenset(hidden))
