from collections.abc import Callable, Sequence
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
    """An elementary function of each element, shape (count,): exp, log, tanh, erf, sigmoid, gelu, gelu_tanh, expm1, softplus."""

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

class SourceFile:
    """A file, or pieces of one in memory, that readers share between threads."""

def open_file(path: str) -> SourceFile:
    """A file to read from, open as long as the object lives; OSError where it cannot be opened."""

def memory_file(pieces: list[tuple[int, bytes]]) -> SourceFile:
    """Pieces of a file, each with its offset."""

def decompress(data: bytes, raw_bytes: int, addresses: list[int], fallback: Callable[[int, bytes, int], bytes]) -> bytes:
    """What ROOT compressed, of a size that is known."""

class NativeLayout:
    """The fields of a record: column, offset, type, width, pad, value and mask of each."""

    def __init__(self, fields: list[tuple[int, int, int, int, bytes, bytes, int]], record_bytes: int) -> None: ...

class NativeReader:
    """Decodes columns block by block; `kernels.ColumnReader` is made of it."""

    def __init__(
        self,
        files: list[SourceFile],
        streams: list[tuple[int, int, int, int, bool, int, npt.NDArray[np.int64]]],
        columns: list[tuple[int, int]],
        block_rows: int,
        addresses: list[int],
        fallback: Callable[[int, bytes, int], bytes],
        target: str = "",
    ) -> None: ...
    def read(self, start: int, stop: int) -> None:
        """Decode rows of all columns; ascending ranges decompress each page once. The GIL is free meanwhile.

        Raises
        ------
        DecodeError
            A page cannot be decoded. The block is empty then.
        ValueError
            More rows than `block_rows`, or rows that some column does not have.
        OSError
            The file cannot be read.
        """

    def values(self, column: int) -> npt.NDArray[Any]:
        """A read-only view of the block's values, overwritten by the next `read`.

        Shape (n_rows,), or (n_rows, items) where a row has several; of a jagged column (n_values,) or (n_values, items).
        """

    def offsets(self, column: int) -> npt.NDArray[np.int64] | None:
        """A read-only view of where the block's rows begin in the values of a jagged column; else None.

        Shape (n_rows + 1,), from 0, overwritten by the next `read`. None as long as no block was read.
        """

    def _pack(self, layout: NativeLayout, out: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_] | None = None) -> int: ...
    def _pack_range(self, layout: NativeLayout, start: int, stop: int, out: npt.NDArray[np.uint8]) -> int: ...
    @property
    def rows(self) -> int:
        """Of the block."""
    @property
    def block_rows(self) -> int:
        """The most of a block."""

def pack_columns(
    columns: Sequence[tuple[int, npt.NDArray[np.uint8], npt.NDArray[np.int64] | None, int]],
    rows: int,
    layout: NativeLayout,
    out: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.bool_] | None = None,
    target: str = "",
) -> int:
    """Arrays as records; how many rows are kept."""

def row_keys(ids: npt.NDArray[np.uint64], seed: int, epoch: int) -> npt.NDArray[np.uint64]:
    """The keys that rows are ordered by, shape (n_rows,): no two rows of an epoch have the same.

    A key depends on seed, epoch and the row's number alone, so that an order is the same in whatever parts it is computed.
    """

def order_of_ids(ids: npt.NDArray[np.uint64], seed: int, epoch: int) -> npt.NDArray[np.uint32]:
    """The positions of rows in the order of their keys, shape (n_rows,); fewer than 2**32 rows."""

def order_of_range(first: int, count: int, seed: int, epoch: int) -> npt.NDArray[np.uint32]:
    """The same of the rows ``first`` to ``first + count``."""

def order_of_records(
    records: npt.NDArray[np.uint8], id_offset: int, id_bytes: int, seed: int, epoch: int
) -> npt.NDArray[np.uint32]:
    """The same of records, shape (n_rows, record_bytes), that hold their numbers in 4 or 8 bytes from `id_offset` on."""

def order_of_keys(keys: npt.NDArray[np.uint64], buckets: int) -> npt.NDArray[np.uint32]:
    """The same of keys that are there, all of which lie in one of so many buckets that divide them evenly; 1 for any keys."""

def gather_rows(
    records: npt.NDArray[np.uint8], order: npt.NDArray[np.uint32], offsets: Sequence[int], outputs: Sequence[npt.NDArray[Any]]
) -> None:
    """Fill arrays with parts of records, in an order. The GIL is free meanwhile.

    Parameters
    ----------
    records
        Shape (n_records, record_bytes).
    order
        Which records, shape (n_rows,).
    offsets
        Where each output's bytes begin in a record.
    outputs
        Of any type, shape (n_rows, ...), contiguous; a row takes as many bytes of the record as it has.

    Raises
    ------
    IndexError
        The order names a record that is not there.
    ValueError
        The shapes do not fit.
    """

class SpillFile:
    """Records on disk, in buckets: a bucket holds the rows whose keys of one epoch lie in one range.

    The file has no name: it is gone with the process, however that ends. A generation is what is bucketed for one epoch. Rows
    of a bucket that was read and released can be written to the next generation, which takes the blocks that they left.

    Parameters
    ----------
    directory
        Of the file.
    record_bytes, id_offset, id_bytes
        As for `order_of_records`.
    block_bytes
        Of what is written at a time, of each bucket and writer.
    memory_bytes
        So much is held in memory, and what is more than that on disk.

    Raises
    ------
    OSError
        From every method: the disk is full, or fails.
    """

    def __init__(
        self, directory: str, record_bytes: int, id_offset: int, id_bytes: int, block_bytes: int, memory_bytes: int = 0
    ) -> None: ...
    def begin(self, buckets: int, seed: int, epoch: int) -> None:
        """Begin a generation: what is written from now on is bucketed for this epoch."""
    def turn(self) -> None:
        """What was written becomes what is read, once all writers are flushed; what could be read before is gone."""
    def counts(self) -> npt.NDArray[np.int64]:
        """Rows of each bucket that can be read, in the order of the keys, shape (n_buckets,)."""
    def read(self, bucket: int, out: npt.NDArray[np.uint8]) -> int:
        """Read a bucket into the first rows of `out`, shape (capacity, record_bytes), in no order; how many rows it has."""
    def release(self, bucket: int) -> None:
        """Give back the blocks of a bucket that was read."""
    @property
    def bytes_on_disk(self) -> int: ...

class SpillWriter:
    """One thread's buffers in front of a `SpillFile`."""

    def __init__(self, file: SpillFile) -> None: ...
    def add(self, records: npt.NDArray[np.uint8]) -> None:
        """Put records, shape (n_rows, record_bytes), into the buckets of the generation that was begun."""
    def take(self, bucket: int, out: npt.NDArray[np.uint8], keys: npt.NDArray[np.uint64]) -> int:
        """Read, release and add a bucket in one; how many rows it has.

        Parameters
        ----------
        bucket
            Of the generation that is read.
        out
            Takes its records in no order, shape (capacity, record_bytes).
        keys
            Takes the keys of its rows in the epoch that it is bucketed for, shape (capacity,).
        """
    def flush(self) -> None:
        """Write what is buffered."""

class GFlash:
    """Electromagnetic showers by Grindhammer and Peters, hep-ex/0001020, in one medium.

    Showers are numbered: shower i of a seed is the same on every CPU and however many are made at once.

    Parameters
    ----------
    z
        Effective atomic number, above 1.
    radiation_length, moliere_radius
        In mm.
    critical_energy
        In MeV.
    frequency
        Of sampling calorimeters, the radiation length over the thickness of an active and a passive layer; 0 of homogeneous ones.
    e_over_mip, resolution
        Of sampling calorimeters: response to electrons over that to minimum ionising particles, and c of
        ``sigma / E = c / sqrt(E / GeV)``.

    Raises
    ------
    ValueError
        A number out of its range; so in the methods.
    """

    def __init__(
        self,
        *,
        z: float,
        radiation_length: float,
        moliere_radius: float,
        critical_energy: float,
        frequency: float = 0.0,
        e_over_mip: float = 1.0,
        resolution: float = 0.0,
    ) -> None: ...
    def spots(
        self,
        energies: npt.NDArray[np.float64],
        starts: npt.NDArray[np.float64],
        depths: npt.NDArray[np.float64],
        *,
        seed: int,
        first: int = 0,
        fluctuate: bool = True,
        target: str = "",
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Spots of all showers and where each shower's begin. The GIL is free meanwhile.

        Parameters
        ----------
        energies
            Shape (n_showers,), MeV.
        starts
            Where showers begin along their axis, shape (n_showers,), mm.
        depths
            Edges of the layers, ascending, shape (n_layers + 1,), mm.
        first
            The number of the first shower.
        fluctuate
            Whether T, alpha and the sampled energy vary from shower to shower.

        Returns
        -------
        spots, offsets
            x, y, z (mm) and energy (MeV): float32, shape (n_spots, 4); int64, shape (n_showers + 1,).
        """

    def voxels(
        self,
        energies: npt.NDArray[np.float64],
        starts: npt.NDArray[np.float64],
        depths: npt.NDArray[np.float64],
        radii: npt.NDArray[np.float64],
        angles: int,
        *,
        seed: int,
        first: int = 0,
        fluctuate: bool = True,
        target: str = "",
    ) -> npt.NDArray[np.float32]:
        """The same spots in cylindrical voxels: float32, shape (n_showers, n_layers, angles, n_radii), MeV.

        `radii` are the edges of the rings, ascending, mm; angles begin at -pi. Spots outside of all rings are left out.
        """

class StepScorer:
    """Energy of a detector simulation's steps, in layers, angles (from -pi on) and rings around a shower's axis.

    Parameters
    ----------
    depths, radii
        Edges, ascending, mm.
    angles
        Parts of a turn.
    """

    def __init__(self, depths: Sequence[float], angles: int, radii: Sequence[float]) -> None: ...
    def attach(self, detector: int, slot: int) -> None:
        """Be called by a G4VSensitiveDetector, at that address, whose ProcessHits is that virtual function."""

    def detach(self) -> None:
        """Give the detector its own functions back; it must still live."""

    def set_axes(self, axes: Sequence[float]) -> None:
        """Nine numbers: unit vectors of angle 0, of angle pi / 2, and of depth."""

    def clear(self) -> None:
        """Forget all energy and steps."""

    def add(self, energy: float, x: float, y: float, z: float) -> None:
        """One deposit by hand."""

    def energies(self) -> npt.NDArray[np.float64]:
        """Shape (n_layers * n_angles * n_radii,)."""

    @property
    def outside(self) -> float:
        """Energy outside all voxels."""

    @property
    def steps(self) -> int:
        """How many were seen."""
