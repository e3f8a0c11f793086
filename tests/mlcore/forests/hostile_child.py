"""Tries damaged files one after the other, with limits on memory and time; run as a process of its own by `test_hostile_files`.

Arguments: a folder of samples called ``FORMAT.NUMBER``, seconds for each format, a seed. Prints as JSON how many files of each
format were read and refused. What is tried is noted in ``last`` before, so that a crash tells its cause.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mlcore.errors import InputError
from mlcore.forests import load
from mlcore.forests.forest import Forest
from mlcore.forests.frontends import frontends
from tests.mlcore.forests.mutations import KINDS, damaged, damaged_inside

HEADROOM = 768 << 20
"""Bytes of address space beyond what the imports take; of a damaged file of some kilobytes none needs that."""

SECONDS = 20
"""For one file; it takes milliseconds, and the machine may be busy."""

MOST_FEATURES, MOST_SET_WORDS = 100_000, 1 << 20
"""Of the forests that predict here: rows of more features, and the kernels' tables of sets of categories, grow with these
numbers, which a file can choose as it likes up to the verifier's bounds."""


def main(folder: Path, seconds: float, seed: int) -> dict[str, dict[str, int]]:
    warnings.simplefilter("error")
    signal.signal(signal.SIGALRM, _late)
    chosen = {name: [path.read_bytes() for path in sorted(folder.glob(f"{name}.*"))] for name in frontends()}
    for name, files in chosen.items():
        for data in files:
            _attempt(name, data, folder / "model")  # whatever is imported only when needed is there before the limit
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + HEADROOM, in_use + HEADROOM))
    tried = {}
    for name, files in chosen.items():
        draw = random.Random(f"{name} {seed}")
        counts = {"read": 0, "refused": 0}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            number = draw.randrange(len(files))
            edits = [(draw.choice(list(KINDS)), draw.random(), draw.randrange(2**16)) for _ in range(draw.randint(1, 4))]
            inside, by_path = draw.random() < 0.5, draw.random() < 0.25
            (folder / "last").write_text(f"{name}, sample {number}, {edits}, {inside=}, {by_path=}")
            data = damaged_inside(name, files[number], edits) if inside else damaged(files[number], edits)
            signal.alarm(SECONDS)
            counts["read" if _attempt(name, data, folder / "model" if by_path else None) else "refused"] += 1
            signal.alarm(0)
        tried[name] = counts
    return tried


def _attempt(name: str, data: bytes, path: Path | None = None) -> bool:
    """Whether it is a forest, read as this format or from a file as any; then it also predicts."""
    try:
        if path is None:
            forest = Forest(frontends()[name].read(data, iterations="auto"))
        else:
            path.unlink(missing_ok=True)  # never changed in place: a forest may be mapped from it
            path.write_bytes(data)
            forest = load(path)
        n_features = forest.model.n_features
        if n_features <= MOST_FEATURES and len(forest.model.trees.set_words) <= MOST_SET_WORDS:
            for value in (0.0, np.nan, np.inf, -1e300):
                forest.predict(np.full((3, n_features), value))
    except InputError as error:
        if not (error.message.strip() and error.hint.strip()):
            raise RuntimeError("an error without a message or a hint") from error
        return False
    return True


def _late(*_: Any) -> NoReturn:
    raise TimeoutError(f"one file took more than {SECONDS} seconds")


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
