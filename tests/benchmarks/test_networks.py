"""The networks' benchmark: what peers are given is the network, wrong answers are noticed, and loops do what they count."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import native as compiling
from benchmarks.environment import UnavailableError
from benchmarks.machine import peak_memory
from benchmarks.measure import Comparison, Loop, Measured, Settings, interleaved
from benchmarks.networks import ours, peers, shows
from benchmarks.networks.native import Native, adapter, aligned, fresh_python
from benchmarks.networks.tasks import TOLERANCE, Task, check, fold
from mlcore import networks
from mlcore.benchmarks import zoo
from mlcore.benchmarks.native import SOURCES, write_tensors
from mlcore.errors import UnsupportedFeatureError

COUNTER = """
#include "contender.hpp"
namespace {
// Writes, for every number, the sum of all inputs there, and counts in the second output.
struct Counter {
  explicit Counter(const Arguments& arguments) : all(arguments) {
    if (arguments.texts.size() > 1) throw std::runtime_error("refused: " + arguments[1]);
  }
  void infer() {
    float* y = static_cast<float*>(all.outputs[0].data);
    for (std::size_t i = 0; i < all.outputs[0].size(); ++i) {
      y[i] = 0;
      for (const Tensor& input : all.inputs) {
        y[i] += input.element == element_float ? static_cast<float*>(input.data)[i] : static_cast<std::int64_t*>(input.data)[i];
      }
    }
    if (y[0] < 0) throw std::runtime_error("negative");
    static_cast<float*>(all.outputs[1].data)[0] = ++count;
  }
  Arguments all;
  float count = 0;
};
}  // namespace
CONTENDER(Counter)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def counter(cache: Path) -> Path:
    """An adapter with an answer that is known."""
    source = cache / "counter.cpp"
    source.write_text(COUNTER, encoding="utf-8")
    headers = SOURCES
    return compiling.adapter(cache, source, include=[headers], depends=[headers / "contender.hpp"])


def inputs() -> dict[str, Any]:
    return {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.arange(10, 16, dtype=np.int64).reshape(2, 3)}


def test_a_contender_gets_its_tensors_and_repeats_natively(counter: Path) -> None:
    opened = Native(counter, ["one"], inputs(), {"y": (2, 3), "count": (1,)})
    answers = opened.answers()
    assert np.array_equal(answers["y"], np.arange(10, 21, 2, dtype=np.float32).reshape(2, 3))
    opened.run(40)
    assert opened.answers()["count"] == 42
    opened.inputs["x"][:] = 100  # in place: the contender reads the caller's memory
    assert opened.answers()["y"][0, 0] == 110
    opened.inputs["x"][:] = -100
    with pytest.raises(RuntimeError, match="negative"):
        opened.run(1)


def test_a_contender_that_refuses_says_why(counter: Path) -> None:
    with pytest.raises(UnavailableError, match="refused: bad"):
        Native(counter, ["one", "bad"], inputs(), {"y": (2, 3), "count": (1,)})
    with pytest.raises(ValueError, match="float32 or int64"):
        Native(counter, ["one"], {"x": np.zeros(3)}, {"y": (3,), "count": (1,)})
    with pytest.raises(ValueError, match="one value after the other"):
        Native(counter, ["one"], {"x": np.zeros((4, 4), np.float32).T[:2]}, {"y": (3,), "count": (1,)})


def test_a_fresh_process_tells_times_and_memory(counter: Path, cache: Path) -> None:
    opened = Native(counter, ["one"], inputs(), {"y": (2, 3), "count": (1,)})
    small = opened.fresh(cache)
    assert small.load > 0
    assert small.first > 0
    room = 32 << 20
    large = Native(
        counter, ["one"], {"x": np.ones(room // 4, np.float32), "n": np.ones(8, np.int64)}, {"y": (1,), "count": (1,)}
    ).fresh(cache)
    # All of the input is read from its file, and a fresh process has a few more pages one time than another.
    assert large.peak - small.peak == pytest.approx(room, rel=0.05)
    # This process is far above 100 MB; what it has must not count for its child.
    assert peak_memory() * 1024 > 100e6
    assert small.peak < 50e6
    failing = Native(counter, ["one"], {**inputs(), "x": np.full((2, 3), -100, np.float32)}, {"y": (2, 3), "count": (1,)})
    with pytest.raises(UnavailableError, match="in a process of its own: negative"):
        failing.fresh(cache)


def test_a_fresh_python_process_tells_its_own_memory(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom benchmarks.machine import peak_memory\nroom = bytearray(int(sys.argv[1]))\n"
        "room[::4096] = b'x' * len(room[::4096])\nprint(0.5, 0.25, peak_memory())\n",
        encoding="utf-8",
    )
    small, large = (fresh_python(program, size) for size in (1 << 20, 65 << 20))
    assert (small.load, small.first) == (0.5, 0.25)
    assert large.peak - small.peak == pytest.approx(64 << 20, rel=0.05)
    with pytest.raises(UnavailableError, match="ValueError"):
        fresh_python(program, "nothing")


def test_the_file_of_tensors_has_all_that_describes_them(tmp_path: Path) -> None:
    write_tensors(tmp_path / "tensors", inputs(), {"y": np.zeros((4, 1), np.float32)})
    text, _, data = (tmp_path / "tensors").read_bytes().partition(b" y\n")
    assert text.decode().splitlines() == ["3", "1 1 2 2 3 x", "1 7 2 2 3 n", "0 1 2 4 1"]
    assert data == b"".join(array.tobytes() for array in inputs().values())


@pytest.mark.parametrize("shape", [(1,), (3, 5), (64, 7)])
def test_outputs_are_aligned(shape: tuple[int, ...]) -> None:
    array = aligned(shape)
    assert array.shape == shape
    assert array.ctypes.data % 64 == 0


def test_a_loop_counts_its_calls(tmp_path: Path) -> None:
    now, called = 0.0, list[int]()

    def run(times: int) -> None:
        nonlocal now
        called.append(times)
        now += 0.001 * times

    measured = interleaved({"loop": Loop(run)}, Settings(True, tmp_path), items=1, scale=1.0, clock=lambda: now)
    assert measured["loop"].median == pytest.approx(0.001)
    assert called[-1] == 5  # 5 ms, in quick runs


@pytest.mark.parametrize("name", ["mlp_5x50", "gn2", "particlenet", "edgeconv"])
def test_a_folded_file_answers_as_the_network(name: str, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    task = Task(zoo.get(name), 2, tmp_path)
    session = onnxruntime.InferenceSession(task.folded, providers=["CPUExecutionProvider"])
    check("folded", dict(zip(task.model.output_names, session.run(None, task.inputs), strict=True)), task.expected)
    operators = {node.op_type for node in onnx.load(task.folded).graph.node}
    assert not operators & {"Shape", "Constant", "ConstantOfShape", "NonZero", "Range"}
    assert {node.domain for node in onnx.load(task.folded).graph.node} <= {"", "ai.onnx"}


def test_the_place_of_constants_is_computed_when_folding(tmp_path: Path) -> None:
    import onnx
    from onnx import parser

    text = """<ir_version: 8, opset_import: ["" : 17]> graph (float[4] x) => (float[n] y)
    <float[4] mask = {1, 0, 0, 1}> { found = NonZero(mask) row = Squeeze(found) y = Gather(x, row) }"""
    onnx.save(parser.parse_model(text), tmp_path / "model.onnx")
    fold(tmp_path / "model.onnx", tmp_path / "folded.onnx")
    folded = onnx.load(tmp_path / "folded.onnx").graph
    assert [node.op_type for node in folded.node] == ["Gather"]


def test_what_was_made_is_kept_with_its_time_and_its_failure(tmp_path: Path) -> None:
    task = Task(zoo.get("mlp_5x50"), 1, tmp_path)
    calls = list[str]()

    def make(path: Path) -> None:
        calls.append("made")
        path.write_text("x")

    def fail(_path: Path) -> None:
        calls.append("failed")
        raise UnavailableError("it cannot")

    first, second = task.made("thing", make), task.made("thing", make)
    assert first == second
    assert first.seconds > 0
    for _ in range(2):
        with pytest.raises(UnavailableError, match="it cannot"):
            task.made("other", fail)
    assert calls == ["made", "failed"]
    task.made("thing", make, "another source")
    task.made("thing", make, "another source")
    assert calls == ["made", "failed", "made"]
    assert Task(zoo.get("mlp_5x50"), 1, tmp_path).folder == task.folder
    assert Task(zoo.get("mlp_5x50"), 2, tmp_path).folder != task.folder


def test_wrong_answers_are_noticed() -> None:
    expected = {"y": np.array([[1.0, -3.0]], np.float32)}
    check("peer", {"y": expected["y"] + np.float32(0.5 * TOLERANCE)}, expected)
    for wrong in (expected["y"] + 4 * np.float32(TOLERANCE), expected["y"][:, ::-1], expected["y"] * np.nan, expected["y"][0]):
        with pytest.raises(AssertionError, match="peer answers otherwise than PyTorch: y"):
            check("peer", {"y": wrong}, expected)


def test_onnxruntime_through_its_c_api_answers_as_pytorch(cache: Path) -> None:
    """With the C library of the package that the tests have; the benchmark makes an environment with the same version."""
    found = importlib.util.find_spec("onnxruntime")
    assert found is not None
    assert found.origin is not None
    library = next((Path(found.origin).parent / "capi").glob("libonnxruntime.so.*"), None)
    if library is None:
        pytest.skip("this build of onnxruntime has no C library of its own")
    for name in ("functional", "edgeconv"):
        task = Task(zoo.get(name), 3, cache)
        opened = Native(adapter(cache, "onnxruntime"), [library, task.onnx], task.inputs, task.outputs)
        check("onnxruntime", opened.answers(), task.expected)
    with pytest.raises(UnavailableError, match=r"none\.onnx"):
        Native(adapter(cache, "onnxruntime"), [library, cache / "none.onnx"], task.inputs, task.outputs)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Traceback\n  File x\nRuntimeError: no operator Foo", "RuntimeError: no operator Foo"),
        ("/a/b/net.hxx:3:1: error: no match\nnote: in\n1 error generated", "net.hxx:3:1: error: no match"),
        ("", ""),
    ],
)
def test_a_reason_is_one_line(text: str, line: str) -> None:
    assert peers.reason(text) == line


def _inference(**measured: float) -> Comparison:
    values = {name: Measured(value, value, value) for name, value in measured.items()}
    return Comparison(task=f"task {len(measured)}", goal="", unit="µs", ours="ours", measured=values)


def test_the_closest_task_of_each_peer_decides() -> None:
    both, one = _inference(ours=1.0, quick=2.0, slow=9.0), _inference(ours=4.0, quick=3.0)
    quick, slow = shows.closest([both, one])
    assert quick.measured["the least"].median == pytest.approx(0.75)
    assert (quick.within, slow.within) == (False, True)
    assert "task 2" in slow.task or list(slow.measured) == ["task 3", "the least"]


def test_a_network_that_ours_refuses_misses_the_goal() -> None:
    assert shows.refusals({}).within
    assert not shows.refusals({"LSTM": "no LSTM"}).within
    assert shows.refusals({"LSTM": "no LSTM"}).facts == {"LSTM": "no LSTM"}


def test_goals_are_of_models_that_there_are() -> None:
    assert set(shows.GOALS) <= set(zoo.names())
    assert all(len(goals) == len(zoo.get(name).batches) for name, goals in shows.GOALS.items())


def test_an_operator_without_a_conversion_is_named() -> None:
    from onnx import parser

    from mlcore.benchmarks import onnx_jax

    model = parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> graph (float[4] x) => (float[4] y) { y = HardSwish(x) }')
    with pytest.raises(onnx_jax.UnsupportedOperatorError, match="no HardSwish"):
        onnx_jax.function(model, ["y"])


def test_every_operator_of_the_zoo_has_a_conversion_to_jax(cache: Path) -> None:
    import onnx

    from mlcore.benchmarks import onnx_jax

    for name in zoo.names():
        if name not in {"vae_decoder", "resnet"}:  # large, and of operators that others have too
            onnx_jax.function(onnx.load(Task(zoo.get(name), 1, cache).folded), zoo.get(name).output_names)


def test_the_generated_project_answers_as_pytorch(cache: Path) -> None:
    task = Task(zoo.get("mlp_5x50"), 3, cache)
    contender = ours.open_task(task)
    check(ours.OURS, contender.answers(), task.expected)
    assert {path.name for path in contender.artefact} == {"network.so", "network.weights"}
    assert all(path.stat().st_size > 0 for path in contender.artefact)
    assert contender.fresh().peak < 50e6


def test_a_network_that_the_compiler_refuses_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise UnsupportedFeatureError("no LSTM")

    monkeypatch.setattr(networks, "compile_model", refuse)
    with pytest.raises(UnavailableError, match="no LSTM"):
        ours.open_task(Task(zoo.get("mlp_5x50"), 1, cache))


def test_openblas_chooses_by_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    peers._free_openblas()
    assert not [name for name in os.environ if name.startswith("OPENBLAS_")]


@pytest.mark.slow  # installs the peers' packages
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["mlp_5x50", "functional", "transformer"])
def test_every_peer_that_opens_answers_as_pytorch(name: str, cache: Path) -> None:
    task = Task(zoo.get(name), 2, cache)
    opened = 0
    for peer in peers.PEERS:
        if "inductor" in peer.name and name != "mlp_5x50":
            continue  # tunes its kernels for half a minute and more
        try:
            contender = peer.open(task)
        except UnavailableError:
            continue
        opened += 1
        check(peer.name, contender.answers(), task.expected)
        assert contender.fresh().first > 0
    assert opened >= 2  # PyTorch itself and at least one that is installed here
