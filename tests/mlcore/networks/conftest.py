"""What the tests of operators share: models of one node, many of them compiled in one go, held against an oracle."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from mlcore.networks.conformance import compare

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A model of one node and the inputs of some calls.

    Attributes
    ----------
    calls
        For each call the arrays of the inputs that are no constants.
    expected
        What comes out of a call; by default ONNX's reference evaluator tells.
    """

    model: Any
    calls: tuple[tuple[Array, ...], ...]
    rtol: float = 1e-5
    atol: float = 1e-6
    expected: Callable[..., Sequence[Any]] | None = field(default=None, repr=False)

    def answers(self, call: tuple[Array, ...]) -> list[Any]:
        if self.expected is not None:
            return list(self.expected(*call))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            names = [item.name for item in self.model.graph.input]
            return list(ReferenceEvaluator(self.model).run(None, dict(zip(names, call, strict=True))))


def node_model(
    kind: str,
    inputs: Sequence[Array | None],
    *,
    opset: int,
    outputs: Sequence[Any] = (np.float32,),
    constants: Sequence[int] = (),
    dynamic: bool = False,
    fixed: Sequence[int] = (),
    domain: str = "",
    **attributes: Any,
) -> Any:
    """A model of one node.

    Parameters
    ----------
    inputs
        None for one that is left out.
    outputs
        Their element types; None for one that is left out.
    constants
        Places of inputs that the model holds.
    dynamic
        Whether every size of the others is given with each call.
    fixed
        Places of inputs whose sizes are numbers all the same, as those of a list of axes.
    """
    names = [f"x{i}" if array is not None else "" for i, array in enumerate(inputs)]
    given_names = [f"y{i}" if kind is not None else "" for i, kind in enumerate(outputs)]
    node = helper.make_node(kind, names, given_names, domain=domain, **attributes)
    ports, initial = [], []
    for i, array in enumerate(inputs):
        if array is None:
            continue
        if i in constants:
            initial.append(numpy_helper.from_array(array, f"x{i}"))
        else:
            shape = [f"d{i}_{axis}" for axis in range(array.ndim)] if dynamic and i not in fixed else list(array.shape)
            ports.append(helper.make_tensor_value_info(f"x{i}", helper.np_dtype_to_tensor_dtype(array.dtype), shape))
    results = [
        helper.make_tensor_value_info(f"y{i}", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)
        for i, dtype in enumerate(outputs)
        if dtype is not None
    ]
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(helper.make_graph([node], kind, ports, results, initial), opset_imports=opsets, ir_version=10)


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Some examples of a strategy, the same in every run."""
    examples: list[Any] = []

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def collect(example: Any) -> None:
        examples.append(example)

    collect()
    return examples


def hold(cases: Sequence[Case]) -> None:
    """Compile all models into one library, run every call, compare.

    Raises
    ------
    AssertionError
        Some differ: all of them are named.
    """
    emitted = [translate(case.model, f"case_{i}") for i, case in enumerate(cases)]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    wrong = []
    for case, item in zip(cases, emitted, strict=True):
        function = Function(library, item)
        for call in case.calls:
            try:
                compare(function(list(call)), case.answers(call), case.rtol, case.atol)
            except AssertionError as error:
                shapes = [array.shape for array in call]
                wrong.append(
                    f"{helper.printable_node(case.model.graph.node[0])} of {shapes}: {' '.join(str(error).split())[:300]}"
                )
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Libraries of tests stay out of the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
