"""The dense store: embeddings of chunks in a FAISS index, searched by inner product of unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.index.store import load_array, save_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INDEX = "dense.faiss"
CHUNKS = "dense_chunks"
FILES = frozenset({INDEX, f"{CHUNKS}.npy"})


class DenseStore:
    """Nearest chunks by cosine; the vectors stay on disk, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)  # a question at a time: milliseconds, and the other cores are for others
        self._index: Any = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_MMAP_IFC)
        self._chunks: NDArray[np.int32] = load_array(folder, CHUNKS)

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return int(self._index.d)

    def search(self, vector: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The `k` chunks nearest to `vector`, nearest first.

        Parameters
        ----------
        vector
            float32, shape (dimension,), of unit length.

        Returns
        -------
        int32 and float32, each of shape (<= k,): chunk numbers and cosines
        """
        cosines, rows = self._index.search(vector[None, :], min(k, self._index.ntotal))
        return self._chunks[rows[0]], cosines[0]

    def vectors(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """All chunk numbers and their vectors, shapes (n,) and (n, dimension)."""
        return self._chunks, self._index.reconstruct_n(0, self._index.ntotal)


def write(folder: Path, chunks: Sequence[int], vectors: NDArray[np.float32]) -> None:
    """Save the store of a generation.

    Parameters
    ----------
    chunks
        The chunk of each vector.
    vectors
        float32, shape (len(chunks), dimension), of unit length.
    """
    import faiss
    import numpy as np

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    faiss.write_index(index, str(folder / INDEX))
    save_array(folder, CHUNKS, np.asarray(chunks, dtype=np.int32))
