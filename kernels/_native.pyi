from typing import overload

import numpy as np
import numpy.typing as npt

class ScalarForest:
    """A forest of decision trees, evaluated one node at a time."""

    @staticmethod
    def build(
        *,
        n_features: int,
        n_outputs: int,
        threshold_dtype: str,
        sum_dtype: str,
        zero_threshold: float,
        tree_start: npt.NDArray[np.int64],
        tree_output: npt.NDArray[np.int32],
        feature: npt.NDArray[np.int32],
        threshold: npt.NDArray[np.float64],
        left: npt.NDArray[np.int32],
        right: npt.NDArray[np.int32],
        comparison: npt.NDArray[np.uint8],
        missing: npt.NDArray[np.uint8],
        default_left: npt.NDArray[np.uint8],
        value: npt.NDArray[np.float64],
        category_start: npt.NDArray[np.int64],
        category_words: npt.NDArray[np.uint32],
        base: npt.NDArray[np.float64],
    ) -> ScalarForest:
        """Build a predictor from the arrays of `kernels.ForestTables`."""
    @overload
    def margin(self, x: npt.NDArray[np.float32], *, threads: int = 1) -> npt.NDArray[np.float32] | npt.NDArray[np.float64]:
        """Sums of the leaves' values, shape (n_rows, n_outputs)."""
    @overload
    def margin(self, x: npt.NDArray[np.float64], *, threads: int = 1) -> npt.NDArray[np.float32] | npt.NDArray[np.float64]: ...
    @overload
    def leaves(self, x: npt.NDArray[np.float32], *, threads: int = 1) -> npt.NDArray[np.int32]:
        """Number of the leaf within each tree, shape (n_rows, n_trees)."""
    @overload
    def leaves(self, x: npt.NDArray[np.float64], *, threads: int = 1) -> npt.NDArray[np.int32]: ...
    @property
    def n_features(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def n_trees(self) -> int: ...

def log_float32(x: float) -> float:
    """The C library's natural logarithm in single precision."""
