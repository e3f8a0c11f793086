"""A source of several clusters whose rows name themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import uproot

from tests.mlcore.batches.numbered_rows import NAMES, ROWS


@pytest.fixture(scope="session")
def numbered() -> dict[str, npt.NDArray[Any]]:
    """The number of the row, and five features."""
    rng = np.random.default_rng(12)
    features = {name: rng.standard_normal(ROWS).astype(np.float32) for name in NAMES}
    return {"row": np.arange(ROWS, dtype=np.int32), **features}


@pytest.fixture(scope="session")
def numbered_tree(numbered: dict[str, npt.NDArray[Any]], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as a TTree of 12 clusters."""
    path = tmp_path_factory.mktemp("order") / "events.root"
    with uproot.recreate(path) as root:
        branches = root.mktree("Events", {name: array.dtype for name, array in numbered.items()})
        for start in range(0, ROWS, 5000):
            branches.extend({name: array[start : start + 5000] for name, array in numbered.items()})
    return f"{path}:Events"
