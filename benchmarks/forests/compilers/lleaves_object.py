"""From a LightGBM model to lleaves' object file; runs in lleaves' own environment: ``model object cpu``.

Trees stay in blocks of 34, its default: all trees in one block, its advice for single rows, keep LLVM busy for a quarter of an
hour and more with 500 trees, and would save no more than the ends of fifteen loops a row.
"""

import sys

import lleaves

model, target, cpu = sys.argv[1:]
features = None if cpu == "host" else ""
lleaves.Model(model_file=model).compile(
    cache=target, raw_score=True, target_cpu=None if cpu == "host" else cpu, target_cpu_features=features
)
