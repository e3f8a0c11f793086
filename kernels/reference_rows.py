"""The oracle of the order of rows in plain NumPy, written to be read rather than to be fast."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 64 bits (Steele, Lea and Flood, OOPSLA 2014, Sec. 5: variant 13 of Stafford's)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def row_keys(ids: npt.NDArray[np.uint64], seed: int, epoch: int) -> npt.NDArray[np.uint64]:
    """The keys that rows are ordered by, uint64, shape (n_rows,)."""
    start, number = np.array([seed], np.uint64), np.array([epoch], np.uint64)
    state = mixed(start + GOLDEN) ^ mixed(mixed(number + GOLDEN) + GOLDEN)
    return mixed(mixed(ids ^ mixed(state + GOLDEN)) + mixed(state + GOLDEN + GOLDEN))


def bucket_of(keys: npt.NDArray[np.uint64], buckets: int) -> npt.NDArray[np.uint64]:
    """The bucket of each key, of `buckets` that divide the keys evenly and in order."""
    return ((keys >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)
