"""ONNX's own backend tests: its machinery on a few, and a tenth of all through the faster runner, every operator among them."""

from __future__ import annotations

import unittest
import warnings
import zlib
from pathlib import Path

import numpy as np
import onnx.backend.test
import pytest
from onnx import TensorProto, helper

from mlcore.networks import conformance, onnx_backend
from mlcore.networks.support_table import known_failures

KNOWN = Path(__file__).parents[2] / "data" / "networks" / "known_failures.txt"
TENTH = 10


def chosen() -> list[str]:
    """Names of tests: a tenth of all, by a hash of the name, and the first of each operator that is not among those."""
    names, missing = [], dict[tuple[str, str], str]()
    seen: set[tuple[str, str]] = set()
    for case in conformance.cases():
        operators = {(node.domain, node.op_type) for node in case.model.graph.node}
        if zlib.crc32(case.name.encode()) % TENTH == 0:
            names.append(case.name)
            seen |= operators
        for operator in operators:
            missing.setdefault(operator, case.name)
    return [*names, *(name for operator, name in missing.items() if operator not in seen)]


def test_a_tenth_of_onnxs_tests_with_every_operator() -> None:
    known = known_failures(KNOWN)
    names = {*chosen(), *known}
    outcomes = conformance.run(match=f"^({'|'.join(sorted(names))})$", jobs=2)
    assert {outcome.name for outcome in outcomes} == names
    wrong = [f"{item.name}: {item.stage}: {item.reason}" for item in outcomes if not item.passed and item.name not in known]
    assert not wrong, "\n".join(wrong)
    better = [item.name for item in outcomes if item.passed and item.name in known]
    assert not better, f"these pass now, and stand in {KNOWN.name} all the same: {', '.join(better)}"


def test_onnxs_machinery_runs_it() -> None:
    names = ("relu", "add_bcast", "lstm_defaults", "sequence_insert_at_back", "string_split_basic", "loop11")
    with warnings.catch_warnings():
        # ONNX computes what its tests expect, overflows among it, when they are loaded.
        warnings.simplefilter("ignore")
        machinery = onnx.backend.test.BackendTest(onnx_backend, __name__)
        for name in names:
            machinery.include(f"^test_{name}_cpu$")
        kinds = machinery.test_cases.values()
        suite = unittest.TestSuite(case for kind in kinds for case in unittest.defaultTestLoader.loadTestsFromTestCase(kind))
        result = unittest.TestResult()
        suite.run(result)
    assert result.wasSuccessful(), [text for _, text in (*result.failures, *result.errors)]
    assert result.testsRun - len(result.skipped) == len(names)


def test_devices() -> None:
    assert onnx_backend.supports_device("CPU")
    assert not onnx_backend.supports_device("CUDA")
    node = helper.make_node("Relu", ["x"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    with pytest.raises(ValueError, match="no device 'CUDA'"):
        onnx_backend.prepare(model, "CUDA")
    (found,) = onnx_backend.run_model(model, [np.array([-1, 2], np.float32)])
    np.testing.assert_array_equal(found, [0, 2])
    (found,) = onnx_backend.prepare(model).run({"x": np.array([3, -4], np.float32)})
    np.testing.assert_array_equal(found, [3, 0])


def test_one_node() -> None:
    node = helper.make_node("Concat", ["a", "b"], ["y"], axis=0)
    a, b = np.array([[1, 2]], np.int64), np.array([[3, 4], [5, 6]], np.int64)
    (found,) = onnx_backend.run_node(node, [a, b])
    np.testing.assert_array_equal(found, np.concatenate([a, b]))
