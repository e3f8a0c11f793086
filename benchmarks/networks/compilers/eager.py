"""A network of the zoo in PyTorch's eager mode, in a fresh process: ``name batch``; prints what `native/fresh.cpp` prints.

``nothing`` as the name loads NumPy alone: what an empty Python process needs.
"""

import sys
import time
import warnings

import numpy as np

from benchmarks.machine import peak_memory

start = time.perf_counter()
name, batch = sys.argv[1:]
np.zeros(1)
infer = None
if name != "nothing":
    import torch

    from mlcore.benchmarks import zoo

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    model = zoo.get(name)
    module = model.module()
    arguments = model.arguments(model.example(int(batch)))

    def infer() -> None:
        with torch.inference_mode():
            module(*arguments)


load = time.perf_counter() - start
start = time.perf_counter()
if infer is not None:
    infer()
first = time.perf_counter() - start
for _ in range(3):
    if infer is not None:
        infer()
print(f"{load:.9f} {first:.9f} {peak_memory()}")
