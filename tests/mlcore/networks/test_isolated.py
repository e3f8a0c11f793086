"""Compiled networks in a child: the same answers, and clear errors where the code misbehaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from mlcore import networks
from mlcore.errors import DataError, InputError, RunError, ToolchainError
from mlcore.networks.build import QUICK, BuildOptions, build
from mlcore.networks.compiler import translate
from mlcore.networks.emit.cpp import Emitted
from mlcore.networks.isolated import CALL_LIMITS, IsolatedFunction
from mlcore.toolchain.sandbox import Limits
from tests.mlcore.networks.models import mlp, mlp_answer, model

OPTIONS = BuildOptions(flags=QUICK, timed=True)


@pytest.fixture
def network() -> Iterator[networks.Network]:
    made = networks.load(mlp(), isolate=True, options=OPTIONS)
    yield made
    made.close()


def test_answers_are_those_of_the_process_itself(network: networks.Network, rng: np.random.Generator) -> None:
    here = networks.load(mlp(), options=OPTIONS)
    for n in (1, 5, 0, 300):
        x = rng.standard_normal((n, 8)).astype(np.float32)
        there = network.run({"x": x})["y"]
        np.testing.assert_array_equal(there, here.run({"x": x})["y"])  # the same library: the same bits
        assert there.shape == (n, 4)
        np.testing.assert_allclose(there, mlp_answer(mlp(), x), atol=1e-5)  # float32 sums of 16 terms


def test_wrong_inputs_are_told_as_in_the_process_itself(network: networks.Network) -> None:
    with pytest.raises(InputError, match=r"input x: float32\[batch, 8\] is needed"):
        network.run({"x": np.zeros((2, 7), np.float32)})
    with pytest.raises(DataError, match="has no input 'z'"):
        network.run({"z": np.zeros((2, 8), np.float32)})
    assert network.run({"x": np.zeros((2, 8), np.float32)})["y"].shape == (2, 4)  # and it still works


def test_texts_sequences_and_several_outputs_cross_the_border() -> None:
    nodes = [
        helper.make_node("SequenceInsert", ["given", "x"], ["longer"]),
        helper.make_node("Add", ["x", "x"], ["y"]),
        helper.make_node("Identity", ["words"], ["same"]),
    ]
    proto = model(
        nodes,
        {"x": (TensorProto.FLOAT, ["n"]), "words": (TensorProto.STRING, ["k"])},
        {"y": TensorProto.FLOAT, "same": TensorProto.STRING},
    )
    proto.graph.input.append(helper.make_tensor_sequence_value_info("given", TensorProto.FLOAT, None))
    proto.graph.output.append(helper.make_tensor_sequence_value_info("longer", TensorProto.FLOAT, None))
    network = networks.load(proto, isolate=True, options=OPTIONS)
    x, words = np.arange(3, dtype=np.float32), np.array(["a", "", 'ü"\n\0'], object)
    found = network.run({"x": x, "words": words, "given": [np.ones(2, np.float32), np.zeros((0,), np.float32)]})
    network.close()
    np.testing.assert_array_equal(found["y"], 2 * x)
    assert found["same"].tolist() == words.tolist()
    assert [item.tolist() for item in found["longer"]] == [[1.0, 1.0], [], x.tolist()]


def test_a_child_that_died_with_its_thread_is_replaced(network: networks.Network) -> None:
    x = {"x": np.ones((1, 8), np.float32)}
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(network.run(x)["y"]))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(network.run(x)["y"], answers[0])


def misbehaving(body: str, limits: Limits = CALL_LIMITS) -> IsolatedFunction:
    """The small network with other code at the beginning of each call."""
    emitted = translate(mlp(), "network")
    text = emitted.code.replace("  (void)weights, (void)workspace;", f"  (void)weights, (void)workspace;\n  {body}")
    assert text != emitted.code
    changed: Emitted = replace(
        emitted, code=f"#include <cstdio>\n#include <fstream>\n#include <vector>\n#include <unistd.h>\n{text}"
    )
    library, _ = build([changed], BuildOptions(flags=QUICK))
    return IsolatedFunction(library, changed, limits)


ZEROS = [np.zeros((1, 8), np.float32)]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("volatile std::uintptr_t nowhere = 64; *reinterpret_cast<volatile int*>(nowhere) = 1;", "SIGSEGV"),
        ('std::fputs("broken heap", stderr); std::abort();', "SIGABRT; its last words: broken heap"),
        ("::_exit(7);", "ended with status 7"),
    ],
)
def test_a_crash_is_an_error_of_the_call_and_the_next_one_starts_anew(body: str, told: str) -> None:
    function = misbehaving(body)
    for _ in range(2):
        with pytest.raises(RunError, match=told) as error:
            function(ZEROS)
        assert error.value.code == "network.crash"
        assert error.value.hint
    function.close()


def test_a_call_that_does_not_end_is_ended() -> None:
    function = misbehaving("for (volatile int i = 0;; i = i + 1) {}", replace(CALL_LIMITS, wall_seconds=1.5))
    with pytest.raises(RunError, match=r"longer than 1\.5 s") as error:
        function(ZEROS)
    assert error.value.code == "network.timeout"


def test_memory_is_limited() -> None:
    limits = replace(CALL_LIMITS, memory_bytes=300 * 2**20)
    body = "std::vector<std::vector<char>> all; for (;;) { all.emplace_back(1 << 20, 'x'); ::usleep(100); }"
    with pytest.raises(RunError) as error:
        misbehaving(body, limits)(ZEROS)
    assert error.value.code == "network.memory"


def test_what_the_kernel_refuses_is_told_as_memory() -> None:
    with pytest.raises(RunError, match="more memory than there is") as error:
        misbehaving("throw std::bad_alloc();")(ZEROS)
    assert error.value.code == "network.memory"


def test_the_child_reads_no_files_of_others_where_the_sandbox_can_hide_them(tmp_path: Path) -> None:
    from mlcore.toolchain.sandbox import isolation

    if isolation().name != "bubblewrap":
        pytest.skip("without bubblewrap files are not cut off")
    (tmp_path / "secret").write_text("secret")
    body = f'if (std::ifstream("{tmp_path}/secret").good()) throw nn::Error("it was read");'
    misbehaving(body)(ZEROS)


def test_a_library_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    library = tmp_path / "broken.so"
    library.write_bytes(b"no library")
    with pytest.raises(ToolchainError, match="cannot be loaded"):
        IsolatedFunction(library, translate(mlp(), "network"))(ZEROS)


def test_calls_are_timed_in_the_child() -> None:
    emitted = translate(mlp(), "network")
    library, _ = build([emitted], OPTIONS)
    function = IsolatedFunction(library, emitted)
    assert 0 < function.seconds_per_call(ZEROS, seconds=0.02) < 1
    with pytest.raises(InputError, match="float32"):
        function.seconds_per_call([np.zeros((1, 3), np.float32)])
    function.close()
    plain, _ = build([emitted], BuildOptions(flags=QUICK))
    untimed = IsolatedFunction(plain, emitted)
    with pytest.raises(InputError, match="no loop"):
        untimed.seconds_per_call(ZEROS)
    untimed.close()
