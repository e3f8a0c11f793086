"""From a LightGBM model to lleaves' object file; runs in lleaves' own environment: ``model object trees_in_a_block cpu``."""

import sys

import lleaves

model, target, block, cpu = sys.argv[1:]
forest = lleaves.Model(model_file=model)
features = None if cpu == "host" else ""
forest.compile(
    cache=target,
    raw_score=True,
    fblocksize=int(block) or forest.num_trees(),
    target_cpu=None if cpu == "host" else cpu,
    target_cpu_features=features,
)
