"""The data sets: what they hold, and writing them once, by ROOT itself."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

TREE = "events"
TARGET = "label"
ROW = ("row_high", "row_low")
"""The number of a row as two columns, since float32 has whole numbers up to 2**24 only."""
LOW_ROWS = 4096
PADDED = 4
"""Values of a vector that make features."""


@dataclass(frozen=True)
class Data:
    """A file with one tree of float32 columns.

    Attributes
    ----------
    name
        Of the file, without the number of rows.
    rows, numbers
        How many rows, and features with one number a row.
    kind
        ``ttree`` or ``rntuple``.
    compression
        ROOT's name of the algorithm, and the level.
    vectors
        Features with zero to six numbers a row.
    """

    name: str
    rows: int
    numbers: int = 14
    kind: Literal["ttree", "rntuple"] = "ttree"
    compression: tuple[str, int] = ("ZLIB", 1)
    vectors: int = 0

    @property
    def number_names(self) -> list[str]:
        return [f"f{i}" for i in range(self.numbers)]

    @property
    def vector_names(self) -> list[str]:
        return [f"v{i}" for i in range(self.vectors)]

    @property
    def features(self) -> list[str]:
        """The columns of x in order; the row's number comes last."""
        return [*self.number_names, *self.vector_names, *ROW]

    @property
    def columns(self) -> int:
        """With the target."""
        return len(self.features) + 1


@dataclass(frozen=True)
class Task:
    """What a contender is asked for.

    Attributes
    ----------
    path, features, vectors, rows
        Of the data: the file, its columns, those that are vectors, and how many rows it has.
    cuts
        Rows are kept where all of ``(column, comparison, number)`` hold.
    memory
        The budget, in bytes.
    torch
        Whether batches are tensors of PyTorch.
    batch
        Rows of a batch.
    """

    path: str
    features: list[str]
    vectors: list[str]
    rows: int
    cuts: tuple[tuple[str, str, float], ...] = ()
    memory: int = 256_000_000
    torch: bool = False
    batch: int = 1024

    @property
    def filter(self) -> str | None:
        """The cuts as ROOT and this project write them."""
        return " && ".join(f"{column} {comparison} {number}" for column, comparison, number in self.cuts) or None

    def described(self) -> dict[str, Any]:
        return asdict(self)


def task(data: Data, path: Path, **options: Any) -> Task:
    """All of a data set's columns."""
    return Task(str(path), data.features, data.vector_names, data.rows, **options)


def written(cache: Path, data: Data) -> Path:
    """The file of a data set; written at the first call, in a process of its own."""
    folder = cache / "batches"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{data.name}-{data.rows}x{data.columns}.root"
    if not path.exists():
        print(f"  writing {path.name} ...", flush=True)
        program = Path(__file__).with_name("writing.py")
        unfinished = path.with_suffix(".part.root")
        options = [data.rows, data.numbers, data.vectors, data.kind, *data.compression]
        subprocess.run([sys.executable, "-W", "ignore", program, unfinished, *map(str, options)], check=True)
        unfinished.rename(path)
    return path
