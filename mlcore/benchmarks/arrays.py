"""Arrays by name in a file, whatever they are called: names of tensors are foreign, and may be no names of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays, the list of their names before them."""
    with path.open("wb") as file:
        np.savez(file, np.array(json.dumps([*arrays])), *(np.asarray(array, order="C") for array in arrays.values()))


def load_arrays(path: Path) -> dict[str, Array]:
    """What `save_arrays` wrote, C-contiguous, in its order."""
    with np.load(path, allow_pickle=False) as stored:
        names = json.loads(str(stored["arr_0"]))
        return {name: stored[f"arr_{number + 1}"] for number, name in enumerate(names)}
