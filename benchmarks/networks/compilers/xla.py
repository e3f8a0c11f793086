"""An ONNX file compiled by XLA, in a fresh process: ``model inputs``; prints what `native/fresh.cpp` prints."""

import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import peak_memory

start = time.perf_counter()
from mlcore.benchmarks.engines.xla import Compiled  # noqa: E402  (its import is part of the time)

model, inputs = sys.argv[1:]
with np.load(inputs) as arrays:
    compiled = Compiled(Path(model), dict(arrays))
load = time.perf_counter() - start
start = time.perf_counter()
compiled.run(1)
first = time.perf_counter() - start
compiled.run(3)
print(f"{load:.9f} {first:.9f} {peak_memory()}")
