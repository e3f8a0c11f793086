"""ONNX files with their constants computed, for engines that do not do so themselves."""

from __future__ import annotations

from importlib import util
from pathlib import Path


def folded(source: Path, target: Path) -> Path:
    """Write an ONNX file again with its constants computed and nothing fused, by ONNX Runtime's basic optimisations.

    ONNX Runtime leaves NonZero of a constant alone, which the Particle Transformer has; that is computed here. Where ONNX Runtime
    is not installed the file stays as it is, and the engine has to take it so.
    """
    if util.find_spec("onnxruntime") is None:
        return source
    import numpy as np
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    def basic(model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    basic(source)
    model = onnx.load(target)
    graph = model.graph
    constants = {initializer.name: initializer for initializer in graph.initializer}
    found = [node for node in graph.node if node.op_type == "NonZero" and node.input[0] in constants]
    for node in found:
        value = np.array(np.nonzero(numpy_helper.to_array(constants[node.input[0]])), np.int64)
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        graph.node.remove(node)
    if found:
        # Shapes that were derived without knowing the constant would now contradict it.
        del graph.value_info[:]
        onnx.save(model, target)
        basic(target)
    return target
