"""A loader as PyTorch's `IterableDataset`: for `DataLoader` workers and distributed ranks. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from mlcore.batches.delivery import Share
from mlcore.batches.resuming import VERSION, numbers
from mlcore.errors import InputError

if TYPE_CHECKING:
    from mlcore.batches.loader import BatchLoader

MOST_WORKERS = 1024


class BatchDataset(IterableDataset[Any]):
    """Batches for ``DataLoader(dataset, batch_size=None, num_workers=N)``.

    An epoch's order is cut into one range for each rank, and the batches of a rank go to its workers in turn, so they are the
    same batches in the same order for any number of workers.

    Parameters
    ----------
    loader
        Whose batches they are; its `epoch` is the first one.
    rank, world
        Of the processes that train together; by default those of `torch.distributed` where it is initialised.
    even
        Whether all ranks get equally many rows: the remainder, less than `world` rows and others each epoch, is left out.
    """

    def __init__(self, loader: BatchLoader, *, rank: int | None = None, world: int | None = None, even: bool = True) -> None:
        if (rank is None) != (world is None):
            raise InputError("rank and world belong together", hint="Give both, or none.", code="batches.rank")
        if rank is not None and world is not None and not 0 <= rank < world:
            raise InputError(f"rank {rank} of {world} is none", hint="Give 0 <= rank < world.", code="batches.rank")
        if loader.shard is not None:
            if rank is not None:
                raise InputError("a shard is not divided again", hint="Leave out rank and world, or shard.", code="batches.rank")
            rank, world = 0, 1
        self.loader, self.even = loader, even
        self._rank, self._world = rank, world
        # The first epoch, and how many each worker began: shared, since workers are copies of this object.
        self._epochs = torch.zeros(1 + MOST_WORKERS, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._epochs[0] = loader.epoch
        self._resume: tuple[int, int, int] | None = None
        self._at = (loader.epoch, 0)

    def set_epoch(self, epoch: int) -> None:
        """Make the next epoch this one; else it is the one after the last."""
        self._epochs[1:] = 0
        self._epochs[0] = epoch
        self._resume = None
        self._at = (epoch, 0)

    def __iter__(self) -> Iterator[Any]:
        worker, workers = _worker()
        begun = 1 + worker
        epoch, skip = int(self._epochs[0] + self._epochs[begun]), 0
        if self._resume is not None:
            epoch, skip, before = self._resume
            if before != workers:
                raise InputError(
                    f"the state is of {before} workers, and there are {workers}",
                    hint="Use torchdata's StatefulDataLoader, with as many workers.",
                    code="batches.state",
                )
            self._resume = None
            self._epochs[begun] = epoch - self._epochs[0]
        self._epochs[begun] += 1
        return self._batches(epoch, skip, worker, workers)

    def _batches(self, epoch: int, skip: int, worker: int, workers: int) -> Iterator[Any]:
        size = self.loader.batch_size
        share = self._share()
        share = Share(share.start + skip * workers * size, share.stop, worker, workers)
        self._at = (epoch, skip)
        for number, batch in enumerate(self.loader.part_of_epoch(epoch, share), skip + 1):
            self._at = (epoch, number)
            yield batch
        self._at = (epoch + 1, 0)

    def __len__(self) -> int:
        """The number of batches of this rank; reads the source where a filter decides."""
        share = self._share()
        rows = (share.stop or 0) - share.start
        return rows // self.loader.batch_size if self.loader.drop_remainder else -(-rows // self.loader.batch_size)

    def _share(self) -> Share:
        rank, world = self._ranks()
        return Share.of_rank(self.loader.rows, rank, world, even=self.even)

    def _ranks(self) -> tuple[int, int]:
        if self._rank is None or self._world is None:
            distributed = torch.distributed
            ready = distributed.is_available() and distributed.is_initialized()
            self._rank = distributed.get_rank() if ready else 0
            self._world = distributed.get_world_size() if ready else 1
        return self._rank, self._world

    def state_dict(self) -> dict[str, Any]:
        """Where this worker is, as JSON; asked for in the worker, as torchdata's `StatefulDataLoader` does."""
        (rank, world), (worker, workers) = self._ranks(), _worker()
        epoch, batches = self._at
        return {
            "version": VERSION,
            "order": self.loader.order,
            "seed": self.loader.seed,
            "epoch": epoch,
            "batches": batches,
            "batch_size": self.loader.batch_size,
            "place": [rank, world, worker, workers],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a dataset of the same options was, with the same batches.

        Raises
        ------
        InputError
            The source, the options, or the number of ranks or workers are others.
        """
        seed, epoch, batches, size = numbers(state, self.loader.order, "seed", "epoch", "batches", "batch_size")
        place = [*self._ranks(), *_worker()]
        if state.get("place") != place or size != self.loader.batch_size:
            raise InputError(
                f"the state is of rank, world, worker, workers {state.get('place')} and batches of {size} rows; "
                f"this is {place} and {self.loader.batch_size}",
                hint="Use as many ranks and workers, and the same batch_size.",
                code="batches.state",
            )
        self.loader.reseed(seed)
        self._at, self._resume = (epoch, batches), (epoch, batches, place[3])

    def __getstate__(self) -> dict[str, Any]:
        self._ranks()  # a process that is spawned does not know them
        return vars(self).copy()


def _worker() -> tuple[int, int]:
    info = get_worker_info()
    if info is None:
        return 0, 1
    if info.num_workers > MOST_WORKERS:
        raise InputError(f"{info.num_workers} workers are too many", hint=f"Use {MOST_WORKERS} at most.", code="batches.rank")
    return info.id, info.num_workers
