"""Forests of three sizes, trained here without a download: gradient-boosted trees as analyses and triggers use them.

References
----------
T. Chen, C. Guestrin, "XGBoost: a scalable tree boosting system", arXiv:1603.02754; B. P. Roe et al., "Boosted decision trees as
an alternative to artificial neural networks for particle identification", arXiv:physics/0408124.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcore.errors import DataError

ROWS = 20_000
FEATURES = 28  # as the HIGGS data set has


@dataclass(frozen=True)
class Boosted:
    """A forest of XGBoost: so many trees of a depth."""

    name: str
    trees: int
    depth: int
    paper: str = "Chen, Guestrin, arXiv:1603.02754"

    @property
    def title(self) -> str:
        return f"BDT {self.trees}×{self.depth}"

    def trained(self, folder: Path) -> Path:
        """The model's file in a folder; trained at the first call."""
        import xgboost

        path = folder / f"{self.name}-{xgboost.__version__}.ubj"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng(7)
            rows = rng.standard_normal((ROWS, FEATURES)).astype(np.float32)
            signal = rows[:, 0] * rows[:, 1] + np.sin(2 * rows[:, 2]) + 0.5 * rows[:, 3] ** 2 + 0.3 * rows[:, 4:8].sum(axis=1)
            label = (signal + rng.normal(0, 0.5, ROWS) > 0.5).astype(np.int32)
            options = {"objective": "binary:logistic", "max_depth": self.depth, "eta": 0.1, "tree_method": "hist", "seed": 1}
            booster = xgboost.train({**options, "nthread": 2}, xgboost.DMatrix(rows, label), self.trees)
            with tempfile.TemporaryDirectory(dir=folder) as work:
                booster.save_model(Path(work) / path.name)
                os.replace(Path(work) / path.name, path)  # noqa: PTH105 - atomic over another process's
        return path


_ALL = {each.name: each for each in (Boosted("bdt_100x3", 100, 3), Boosted("bdt_500x6", 500, 6), Boosted("bdt_1000x8", 1000, 8))}


def names() -> tuple[str, ...]:
    """The names of all forests, the smallest first."""
    return tuple(_ALL)


def get(name: str) -> Boosted:
    """A forest by its name.

    Raises
    ------
    DataError
        There is no such forest; the hint has the nearest names.
    """
    if name not in _ALL:
        raise DataError.missing("forest", name, _ALL, where="the list of forests")
    return _ALL[name]
