"""Who makes batches: each has its imports, and `opened`, which gives a function that begins the next epoch.

A batch is ``(x, y)``: x has the shape (n_rows, n_features) with vectors cut or filled up with zeros, y has (n_rows,) or
(n_rows, 1); both are float32.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.batches.data import PADDED, TARGET, TREE, Task

Epoch = Callable[[], Iterator[tuple[Any, Any]]]
Floats = npt.NDArray[np.float32]

COMPARISONS = {">": operator.gt, "<": operator.lt}
CHUNK = "64 MB"
"""What uproot reads at a time; beside it lie the rows, their shuffled copy and the pages of the file."""


class Contender(ABC):
    """One way to get batches; made once its imports are done."""

    @abstractmethod
    def __init__(self, *, torch: bool) -> None:
        """Import all that is needed, which is not measured."""

    @abstractmethod
    def opened(self, task: Task) -> Epoch:
        """Begin; what is done here belongs to the first epoch."""


class Ours(Contender):
    def __init__(self, *, torch: bool) -> None:
        import awkward  # noqa: F401 - opening a file imports these, and what others import is not measured either
        import pyarrow as _arrow  # noqa: F401, ICN001
        import uproot  # noqa: F401

        from mlcore.batches import BatchLoader
        from mlcore.batches.sources import ntuple, root, tree  # noqa: F401

        if torch:
            import torch as _  # noqa: F401
        self._loader = BatchLoader

    def opened(self, task: Task) -> Epoch:
        loader = self._loader(
            f"{task.path}:{TREE}",
            task.features,
            target=TARGET,
            filter=task.filter,
            pad=dict.fromkeys(task.vectors, PADDED),
            batch_size=task.batch,
            memory=task.memory,
        )
        return loader.torch if task.torch else loader.numpy


class RDataLoader(Contender):
    """ROOT's, as its documentation has it: lazy and shuffled, with `batches_in_memory` as it comes."""

    eager = False

    def __init__(self, *, torch: bool) -> None:
        import ROOT

        if torch:
            import torch as _  # noqa: F401
        self._root = ROOT
        self._loader = ROOT.Experimental.ML.RDataLoader

    def opened(self, task: Task) -> Epoch:
        frame = self._root.RDataFrame(TREE, task.path)
        if task.filter:
            frame = frame.Filter(task.filter)
        loader = self._loader(
            frame,
            task.batch,
            columns=[*task.features, TARGET],
            max_vec_sizes=dict.fromkeys(task.vectors, PADDED),
            target=TARGET,
            drop_remainder=False,
            load_eager=self.eager,
        )
        batches = loader.as_torch() if task.torch else loader.as_numpy()
        return lambda: iter(batches)


class EagerRDataLoader(RDataLoader):
    """The whole data set in memory, whatever that takes."""

    eager = True


class Uproot(Contender):
    """Chunks of the file in turn, each shuffled: what a few lines of NumPy do."""

    shuffled = True

    def __init__(self, *, torch: bool) -> None:
        import awkward
        import uproot

        self._uproot, self._awkward = uproot, awkward

    def opened(self, task: Task) -> Epoch:
        return lambda: self._epoch(task)

    def _epoch(self, task: Task) -> Iterator[tuple[Any, Any]]:
        random = np.random.default_rng()
        for x, y in self.chunks(task):
            if self.shuffled:
                order = random.permutation(len(x))
                x, y = x[order], y[order]
            for start in range(0, len(x), task.batch):
                yield x[start : start + task.batch], y[start : start + task.batch]

    def chunks(self, task: Task) -> Iterator[tuple[Floats, Floats]]:
        """The kept rows in the order of the file."""
        names = [*task.features, TARGET]
        library = "ak" if task.vectors else "np"
        for arrays in self._uproot.iterate(f"{task.path}:{TREE}", names, step_size=CHUNK, library=library):
            rows = len(arrays[TARGET])
            parts = [self._padded(arrays[name]) if name in task.vectors else arrays[name] for name in task.features]
            x = np.empty((rows, sum(1 if part.ndim == 1 else part.shape[1] for part in parts)), np.float32)
            at = 0
            for part in parts:
                width = 1 if part.ndim == 1 else part.shape[1]
                x[:, at : at + width] = np.asarray(part).reshape(rows, width)
                at += width
            y = np.asarray(arrays[TARGET], np.float32)
            if task.cuts:
                kept = np.logical_and.reduce([COMPARISONS[sign](arrays[name], number) for name, sign, number in task.cuts])
                x, y = x[kept], y[kept]
            yield x, y

    def _padded(self, vectors: Any) -> Any:
        awkward = self._awkward
        return awkward.to_numpy(awkward.fill_none(awkward.pad_none(vectors, PADDED, clip=True), np.float32(0)))


class InOrder(Uproot):
    """For the truth."""

    shuffled = False


class TorchRows(Uproot):
    """PyTorch's DataLoader over a TensorDataset of what uproot reads, which is how most begin."""

    def __init__(self, *, torch: bool) -> None:
        super().__init__(torch=torch)
        import torch as library
        from torch.utils.data import DataLoader, TensorDataset

        self._torch, self._dataset, self._loader = library, TensorDataset, DataLoader

    def opened(self, task: Task) -> Epoch:
        whole = [np.concatenate(parts) for parts in zip(*self.chunks(task), strict=True)]
        loader = self._over(self._dataset(*map(self._torch.from_numpy, whole)), task.batch)
        return lambda: iter(loader)

    def _over(self, rows: Any, batch: int) -> Any:
        return self._loader(rows, batch_size=batch, shuffle=True)


class TorchBatches(TorchRows):
    """The same with a sampler of batches, so that rows are not collated one by one: the fastest way that PyTorch has."""

    def _over(self, rows: Any, batch: int) -> Any:
        from torch.utils.data import BatchSampler, RandomSampler

        return self._loader(rows, sampler=BatchSampler(RandomSampler(rows), batch, drop_last=False), batch_size=None)


OURS, RDATALOADER, EAGER, UPROOT = "ours", "RDataLoader", "RDataLoader, eager", "uproot, chunks shuffled"
ROWS, BATCHES = "DataLoader(TensorDataset)", "DataLoader, BatchSampler"
CONTENDERS: dict[str, type[Contender]] = {
    OURS: Ours,
    RDATALOADER: RDataLoader,
    EAGER: EagerRDataLoader,
    UPROOT: Uproot,
    ROWS: TorchRows,
    BATCHES: TorchBatches,
}
