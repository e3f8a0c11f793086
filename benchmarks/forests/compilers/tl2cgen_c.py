"""From a model to tl2cgen's C code; runs in tl2cgen's own environment: ``library model folder units``."""

import sys

import numpy as np
import tl2cgen
import treelite
from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation


def from_arrays(path: str) -> treelite.Model:
    """A forest of scikit-learn, which has no file that Treelite reads, node by node."""
    flat = np.load(path)
    n_trees, n_outputs = len(flat["output"]), int(flat["n_outputs"])
    task = "kRegressor" if n_outputs == 1 else "kMultiClf"
    builder = ModelBuilder(
        threshold_type="float64",
        leaf_output_type="float64",
        metadata=Metadata(int(flat["n_features"]), task, False, 1, [n_outputs], (1, 1)),
        tree_annotation=TreeAnnotation(n_trees, [0] * n_trees, flat["output"].tolist()),
        postprocessor=PostProcessorFunc("identity"),
        base_scores=flat["base"].tolist(),
    )
    for first, end in zip(flat["start"], flat["start"][1:], strict=False):
        builder.start_tree()
        for node, i in enumerate(range(first, end)):
            builder.start_node(node)
            if flat["feature"][i] < 0:
                builder.leaf(float(flat["value"][i]))
            else:
                builder.numerical_test(
                    feature_id=int(flat["feature"][i]),
                    threshold=float(flat["threshold"][i]),
                    default_left=bool(flat["default_left"][i]),
                    opname="<=" if flat["less_equal"] else "<",
                    left_child_key=int(flat["left"][i]),
                    right_child_key=int(flat["right"][i]),
                )
            builder.end_node()
        builder.end_tree()
    return builder.commit()


READERS = {
    "xgboost": treelite.frontend.load_xgboost_model,
    "lightgbm": treelite.frontend.load_lightgbm_model,
    "scikit-learn": from_arrays,
}

library, model, folder, units = sys.argv[1:]
tl2cgen.generate_c_code(READERS[library](model), folder, {"parallel_comp": int(units)})
