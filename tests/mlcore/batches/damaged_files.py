"""ROOT files with damage in a page that is known."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import uproot

from mlcore.batches.sources import open_source

EDGES = [0, 20_000, 37_000, 60_000]
ROWS = EDGES[-1]


def write(path: Path, kind: str, tables: dict[str, np.ndarray]) -> Path:
    """Three clusters, compressed, so that damage is noticed."""
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        for start, stop in itertools.pairwise(EDGES):
            chunk = {name: values[start:stop] for name, values in tables.items()}
            if start:
                file["Events"].extend(chunk)
            elif kind == "tree":
                file.mktree("Events", chunk)
            else:
                file.mkrntuple("Events", chunk)
    return path


def damage(path: Path, column: str, first: int) -> tuple[int, int]:
    """Damage the first page of a column that begins at or behind a row; its rows, as far as the plan says."""
    (part,) = open_source(path).parts
    plan = part.plan(column)  # type: ignore[attr-defined]
    page = plan.pages[plan.pages[:, 3] >= first][0].tolist()
    data = bytearray(path.read_bytes())
    for at in range(page[1] + page[2] // 2, page[1] + page[2] // 2 + 12):
        data[at] ^= 0xFF
    path.write_bytes(data)
    return page[3], page[3] + page[4]
