"""The second step of a conversion: a shard is a range of all rows in their order, taken from the pieces that have them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from mlcore.batches.blocks import Values
from mlcore.batches.conversion.pieces import ROW, Blob, Piece, from_arrow, replacing
from mlcore.batches.conversion.recipe import Recipe
from mlcore.batches.conversion.shards import Groups, shard_format
from mlcore.errors import InputError

MANIFEST = "manifest.json"
VERSION = 1


@dataclass(frozen=True)
class Shard:
    """A file that was written.

    Attributes
    ----------
    name, split
        Of the file, and which rows these are.
    rows, bytes, sha256
        Of the file.
    """

    name: str
    split: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class LeftOut:
    """What could not be read and is in no shard.

    Attributes
    ----------
    rows
        Of files that could be opened.
    files
        Those that could not, each with the reason.
    messages
        What is damaged: the file, the column and the basket or page, each once.
    """

    rows: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rows or self.files)


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Attributes
    ----------
    recipe
        How it was made.
    columns
        Of each one: name, dtype, how many values a row has (None where that varies) and role (``x``, ``y`` or ``w``).
    sources
        The tables: name, fingerprint and rows.
    rows_read, rows
        Of the source, and in the shards.
    shards
        In order.
    skipped
        What could not be read; nothing, unless the recipe says that this is no error.
    """

    recipe: Recipe
    columns: tuple[dict[str, Any], ...]
    sources: tuple[dict[str, Any], ...]
    rows_read: int
    rows: int
    shards: tuple[Shard, ...]
    skipped: LeftOut = field(default_factory=LeftOut)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "version": VERSION,
            "made_by": f"ml4ep-portal {_version()}",
            "rows": self.rows,
            "rows_read": self.rows_read,
            "splits": {split: sum(shard.rows for shard in self.shards if shard.split == split) for split in self.recipe.splits},
            "columns": list(self.columns),
            "shards": [asdict(shard) for shard in self.shards],
            "sources": list(self.sources),
            "skipped": asdict(self.skipped),
            "recipe": self.recipe.to_json(),
        }

    @classmethod
    def read(cls, directory: Path | str) -> Manifest:
        """Of a folder.

        Raises
        ------
        InputError
            It has none.
        """
        path = Path(directory) / MANIFEST
        try:
            told = json.loads(path.read_bytes())
            return cls(
                recipe=Recipe.from_json(told["recipe"]),
                columns=tuple(told["columns"]),
                sources=tuple(told["sources"]),
                rows_read=told["rows_read"],
                rows=told["rows"],
                shards=tuple(Shard(**entry) for entry in told["shards"]),
                skipped=LeftOut(**{**told["skipped"], "messages": tuple(told["skipped"]["messages"])}),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is no manifest of shards", hint="Name a folder that a conversion wrote.", code="batches.manifest"
            ) from error


@dataclass(frozen=True)
class _Plan:
    """A shard that is to be written: its rows are from `first` on, of all of its split."""

    name: str
    split: int
    first: int
    rows: int


class Layout:
    """All rows of the pieces of a source, as shards.

    Parameters
    ----------
    pieces
        One for each task, all of one recipe.
    recipe
        That one.
    refused
        Files that could not be opened and have no pieces, with the reason.

    Raises
    ------
    InputError
        Columns differ between files, a piece is missing or there twice, or no row is kept.
    """

    def __init__(self, pieces: Iterable[Piece], recipe: Recipe, refused: Mapping[str, str] = MappingProxyType({})) -> None:
        self.pieces = sorted(pieces, key=lambda piece: (piece.number, piece.start))
        self.recipe = recipe
        self._refused = {**refused, **{piece.name: piece.refused for piece in self.pieces if piece.refused}}
        if not self.pieces:
            raise InputError("there are no pieces to join", hint="Scatter the source first.", code="batches.piece")
        self._first = next((piece for piece in self.pieces if not piece.refused), None) or self.pieces[0]
        self._check()
        self._buckets: list[dict[int, list[tuple[Piece, Blob]]]] = [{} for _ in recipe.splits]
        for piece in self.pieces:
            for blob in piece.blobs:
                self._buckets[blob.split].setdefault(blob.bucket, []).append((piece, blob))
        self.shards: list[_Plan] = []
        for split, name in enumerate(recipe.splits):
            total = sum(blob.rows for entries in self._buckets[split].values() for _, blob in entries)
            count = -(-total // recipe.rows_per_shard)
            suffix = shard_format(recipe.format).suffix
            for number in range(count):
                first = number * recipe.rows_per_shard
                rows = min(recipe.rows_per_shard, total - first)
                self.shards.append(_Plan(f"{name}-{number:05d}-of-{count:05d}{suffix}", split, first, rows))
        if not self.shards:
            raise InputError(
                f"no row of {self._first.name} is kept",
                hint="The filter leaves nothing: look at the numbers that it compares."
                if recipe.filter
                else "The source is empty.",
                code="batches.empty",
            )

    def _check(self) -> None:
        first = self._first
        if first.refused:
            raise InputError(f"no file can be opened: {first.refused}", hint="Copy the files again.", code="batches.damaged")
        for piece in self.pieces:
            if piece.recipe != self.recipe.mark:
                raise InputError(
                    f"{piece.path} is of another conversion", hint="Scatter into an empty folder.", code="batches.piece"
                )
            if not piece.refused and not piece.schema.equals(first.schema):
                names = [column.name for column in {*piece.schema} ^ {*first.schema}]
                name = next((n for n in [*first.schema.names, *piece.schema.names] if n in names), "")
                told = [
                    f"{s.field(name).type if name in s.names else 'not there'} in {p.name}"
                    for p in (first, piece)
                    for s in [p.schema]
                ]
                raise InputError(
                    f"the column {name!r} is {' and '.join(told)}",
                    hint="Choose columns that all files have alike.",
                    code="batches.schema",
                )
        ends: dict[int, int] = {}
        for piece in self.pieces:
            if piece.start != ends.get(piece.number, 0):
                raise InputError(
                    f"rows {ends.get(piece.number, 0)} to {piece.start} of {piece.name} are missing, or there twice",
                    hint="Scatter every task once, and join all of its pieces.",
                    code="batches.piece",
                )
            ends[piece.number] = piece.stop
        if sorted(ends) != list(range(len(ends))):
            raise InputError("pieces of a whole part are missing", hint="Scatter every task.", code="batches.piece")
        self.rows_read = sum(ends.values())

    @property
    def rows(self) -> int:
        """Of all shards."""
        return sum(shard.rows for shard in self.shards)

    @cached_property
    def groups(self) -> Groups:
        """The columns of x, y and w."""
        return self.recipe.groups([name for name in self._first.schema.names if name != ROW])

    @cached_property
    def columns(self) -> tuple[dict[str, Any], ...]:
        """For the manifest."""
        import pyarrow as pa

        roles = {name: role for role, names in reversed(list(self.groups.items())) for name in names}
        found = []
        for column in self._first.schema:
            if column.name != ROW:
                kind: Any = column.type
                values: int | None = 1
                if pa.types.is_fixed_size_list(kind):
                    kind, values = kind.value_type, kind.list_size
                elif pa.types.is_large_list(kind):
                    kind, values = kind.value_type, None
                found.append(
                    {
                        "name": column.name,
                        "dtype": kind.to_pandas_dtype()().dtype.name,
                        "values": values,
                        "role": roles[column.name],
                    }
                )
        return tuple(found)

    def sample(self, most: int) -> dict[str, Values]:
        """Rows from all over, about as many: those of the first buckets, which a hash chose, or the first of the source."""
        import pyarrow as pa

        share = min(1.0, most / self.rows)
        found = []
        for buckets in self._buckets:
            wanted = share * sum(blob.rows for entries in buckets.values() for _, blob in entries)
            have = 0
            for _, entries in sorted(buckets.items()):
                if have >= wanted:
                    break
                for piece, blob in entries:
                    rows = min(blob.rows, math.ceil((wanted - have) * blob.rows / sum(other.rows for _, other in entries)))
                    found.append(piece.read(blob).slice(0, rows))
                have += sum(blob.rows for _, blob in entries)
        table = pa.Table.from_batches(found).drop_columns([ROW])
        return from_arrow(table)

    def join(self, number: int, directory: Path) -> Shard:
        """Write a shard; its rows are those of one place in the order, wherever they were read.

        Raises
        ------
        DamagedPieceError, StorageError
            A piece is damaged, or the shard cannot be written.
        """
        plan = self.shards[number]
        columns = from_arrow(self._table(plan))
        path = directory / plan.name
        with replacing(path) as file:
            shard_format(self.recipe.format).write(file, columns, self.groups, np.dtype(self.recipe.dtype), plan.first)
        return Shard(plan.name, self.recipe.splits[plan.split], plan.rows, path.stat().st_size, sha256_of(path))

    def _table(self, plan: _Plan) -> Any:
        import pyarrow as pa

        start, found = 0, []
        for _, entries in sorted(self._buckets[plan.split].items()):
            rows = sum(blob.rows for _, blob in entries)
            low, high = max(plan.first - start, 0), min(plan.first + plan.rows - start, rows)
            if low < high:
                table = pa.Table.from_batches([piece.read(blob) for piece, blob in entries]).combine_chunks()
                ids = table.column(ROW).to_numpy()
                order = np.lexsort((ids, self.recipe.order(ids)))
                found.append(table.drop_columns([ROW]).take(pa.array(order[low:high])))
            start += rows
        return pa.concat_tables(found)

    def manifest(self, shards: Sequence[Shard]) -> Manifest:
        """Of all shards, once they are written."""
        if [shard.name for shard in shards] != [plan.name for plan in self.shards]:
            raise InputError("shards are missing", hint="Join all of them.", code="batches.shards")
        sources = {  # the last piece of a part ends where the part does
            piece.number: {"name": piece.name, "fingerprint": piece.fingerprint, "rows": piece.stop} for piece in self.pieces
        }
        return Manifest(
            self.recipe, self.columns, tuple(sources.values()), self.rows_read, self.rows, tuple(shards), self.left_out
        )

    @property
    def left_out(self) -> LeftOut:
        """What could not be read."""
        lost = [entry for piece in self.pieces for entry in piece.skipped]
        messages = dict.fromkeys([*self._refused.values(), *(why for _, _, why in lost)])
        return LeftOut(sum(stop - start for start, stop, _ in lost), self._refused, tuple(messages))


def sha256_of(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version() -> str:
    try:
        return metadata.version("ml4ep-portal")
    except metadata.PackageNotFoundError:
        return "of unknown version"
