"""Writes the files in `skops`: small estimators of scikit-learn, saved by skops."""

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED

import numpy as np
import skops.io
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.tree import DecisionTreeClassifier

rng = np.random.default_rng(0)
x = rng.normal(size=(300, 3))
y = x[:, 0] + x[:, 1] * x[:, 2] > 0
folder = Path(__file__).parent / "skops"
for name, estimator, target, method in (
    ("decision_tree", DecisionTreeClassifier(max_depth=2, random_state=0), y, ZIP_STORED),
    ("gradient_boosting", GradientBoostingClassifier(n_estimators=2, max_depth=2, random_state=0), y, ZIP_DEFLATED),
    ("histograms", HistGradientBoostingRegressor(max_iter=2, max_leaf_nodes=3), x[:, 0], ZIP_DEFLATED),
):
    skops.io.dump(estimator.fit(x, target), folder / f"{name}.skops", compression=method)
