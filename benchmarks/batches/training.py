"""What the loader adds to training: a small network on its batches, and on one constant batch as often."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import repeat
from typing import Any

from benchmarks.batches.data import Task

HIDDEN = 128


def trained(name: str, asked: dict[str, Any], epochs: int) -> list[dict[str, float]]:
    """Seconds of CPU and by the wall of training epochs on the loader's batches, each beside as many steps on a constant batch.

    The network is a perceptron with two hidden layers of `HIDDEN`, optimised by Adam in one thread; the loader runs as it comes.
    """
    import torch

    from benchmarks.batches.child import prepared

    torch.set_num_threads(1)
    task = Task(**asked)
    width = len(task.features)
    network = torch.nn.Sequential(
        torch.nn.Linear(width, HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN, HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN, 1),
    )
    optimiser = torch.optim.Adam(network.parameters())
    loss = torch.nn.BCEWithLogitsLoss()
    constant = torch.randn(task.batch, width), torch.randint(2, (task.batch,)).float()

    def train(batches: Iterable[tuple[Any, Any]]) -> tuple[int, float, float]:
        steps, cpu, wall = 0, time.process_time(), time.perf_counter()
        for x, y in batches:
            optimiser.zero_grad()
            loss(network(x).squeeze(1), y).backward()
            optimiser.step()
            steps += 1
        return steps, time.process_time() - cpu, time.perf_counter() - wall

    train(repeat(constant, 100))
    begin = prepared(name, torch=True).opened(task)
    found = []
    for _ in range(epochs):
        steps, cpu, wall = train(begin())
        _, constant_cpu, constant_wall = train(repeat(constant, steps))
        found.append({"cpu": cpu, "wall": wall, "constant cpu": constant_cpu, "constant wall": constant_wall, "steps": steps})
    return found
