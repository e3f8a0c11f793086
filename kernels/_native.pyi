from mmap import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

class PackedMatrix:
    """Weights of matrix products, float32, shape (k, n), packed once for every target."""

    def __init__(self, weights: npt.NDArray[np.float32]) -> None: ...
    def product(
        self, a: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None = None, target: str = ""
    ) -> npt.NDArray[np.float32]:
        """``a @ weights + bias``: float32, shape (m, n)."""

def map_float32(function: str, x: npt.NDArray[np.float32], target: str = "") -> npt.NDArray[np.float32]:
    """An elementary function of each element, shape (count,): exp, log, tanh, erf, sigmoid, gelu, gelu_tanh."""

def softmax(x: npt.NDArray[np.float32], target: str = "") -> npt.NDArray[np.float32]:
    """Of each row: float32, shape (rows, n)."""

def layer_normalize(
    x: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    epsilon: float = 1e-5,
    target: str = "",
) -> npt.NDArray[np.float32]:
    """Of each row: float32, shape (rows, n)."""

class NativeForest:
    """A forest of decision trees, ready to predict on this CPU."""

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
        vector_leaves: bool,
        link: int,
        link_scale: float,
        divisor: float,
    ) -> NativeForest:
        """Plan a forest from the arrays of `kernels.ForestTables`."""
    @staticmethod
    def from_plan(plan: bytes | memoryview | mmap) -> NativeForest:
        """A forest that runs a plan where it lies: any buffer at an address that is a multiple of 64."""
    def margin(self, x: npt.NDArray[Any], out: npt.NDArray[Any] | None = None, threads: int = 1) -> npt.NDArray[Any]:
        """Sums of the leaves' values, shape (n_rows,) for one output, else (n_rows, n_outputs)."""
    def predict(self, x: npt.NDArray[Any], out: npt.NDArray[Any] | None = None, threads: int = 1) -> npt.NDArray[Any]:
        """Predictions, shape (n_rows,) for one column, else (n_rows, n_predictions)."""
    def leaves(self, x: npt.NDArray[Any], threads: int = 1) -> npt.NDArray[np.int32]:
        """Number of the leaf within each tree, shape (n_rows, n_trees)."""
    def plan(self) -> bytes:
        """The forest as one block of bytes, for `from_plan`."""
    def engines(self) -> dict[str, str]:
        """Which engine serves batches, few rows and single rows, and why."""
    @property
    def n_features(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def n_predictions(self) -> int: ...
    @property
    def n_trees(self) -> int: ...

def active_target() -> str:
    """The CPU target in use: the best that this CPU can run, or the one that KERNELS_FORCE_TARGET names."""

def available_targets() -> list[str]:
    """The CPU targets that this CPU can run, the best first."""

def log_float32(x: float) -> float:
    """The C library's natural logarithm in single precision."""
