"""compile_model: the project that comes out, and what it is held against."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from mlcore import networks
from mlcore.errors import InputError, VerificationError
from mlcore.networks import conversion
from mlcore.networks.build import QUICK, BuildOptions
from mlcore.networks.compiler import translate
from mlcore.networks.emit.project import project
from mlcore.networks.oracle import Oracle
from tests.mlcore.networks.models import mlp, mlp_answer, model


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> networks.CompileReport:
    return networks.compile_model(mlp(), tmp_path_factory.mktemp("out"), name="tiny", flags=QUICK)


def test_it_is_compared_at_two_sizes(report: networks.CompileReport) -> None:
    assert report.oracle.startswith("onnxruntime")
    assert [agreement.sizes for agreement in report.agreements] == [{"batch": 3}, {"batch": 7}]
    assert all(agreement.holds and agreement.n_values > 0 for agreement in report.agreements)
    assert report.nodes_after < report.nodes_before


def test_the_zip_compiles_and_tests_itself_elsewhere(report: networks.CompileReport, tmp_path: Path) -> None:
    with zipfile.ZipFile(report.archive) as file:
        file.extractall(tmp_path)
    folder = tmp_path / "tiny"
    for command in (
        ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "selftest.cpp", "-o", "selftest"],
        ["./selftest"],
        ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "main.cpp", "-o", "main"],
        ["./main"],
        ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "tiny_c.cpp", "-o", "libtiny.so"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_self_test_with_other_numbers_fails(report: networks.CompileReport, tmp_path: Path) -> None:
    for file in report.files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = np.fromfile(tmp_path / "selftest.bin", np.float32)
    data[-1] += 0.01
    data.tofile(tmp_path / "selftest.bin")
    subprocess.run(["g++", "-std=c++17", "-O1", "selftest.cpp", "-o", "selftest"], cwd=tmp_path, check=True)
    done = subprocess.run(["./selftest"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "WRONG" in done.stdout


def test_weights_of_another_network_are_refused(report: networks.CompileReport, tmp_path: Path) -> None:
    for file in report.files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = bytearray((tmp_path / "tiny.weights").read_bytes())
    weights[8] ^= 1
    (tmp_path / "tiny.weights").write_bytes(bytes(weights))
    subprocess.run(["g++", "-std=c++17", "-O0", "main.cpp", "-o", "main"], cwd=tmp_path, check=True)
    done = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "belong to another network" in done.stderr


def test_two_networks_and_an_embedded_one_share_a_program(tmp_path: Path) -> None:
    for name, seed in (("first", 1), ("second", 2)):
        made = networks.compile_model(mlp(seed=seed), tmp_path, name=name, flags=QUICK)
        for file in made.files:
            if file.name.startswith(name):
                (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "both.cpp").write_text(
        """
#include "first.hpp"
#include "second.hpp"
#include <cstdio>
extern "C" const unsigned char second_weights[];
int main() {
  first::Session one("first.weights");
  auto other = second::Session::in_memory(second_weights);
  float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[4], z[4];
  one.infer(1, x, y);
  other.infer(1, x, z);
  for (float value : y) std::printf("%.9g ", value);
  for (float value : z) std::printf("%.9g ", value);
}
"""
    )
    subprocess.run(["g++", "-std=c++17", "-O1", "both.cpp", "second_weights.cpp", "-o", "both"], cwd=tmp_path, check=True)
    done = subprocess.run(["./both"], cwd=tmp_path, capture_output=True, text=True, check=True)
    x = np.arange(1, 9, dtype=np.float32)[None]
    expected = np.concatenate([mlp_answer(mlp(seed=seed), x)[0] for seed in (1, 2)])
    # Sums of 16 products of float32.
    np.testing.assert_allclose(np.array(done.stdout.split(), float), expected, atol=1e-5)


def test_c_calls_it(report: networks.CompileReport, tmp_path: Path) -> None:
    """From a file and from memory; what is wrong is said."""
    for file in report.files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "use.c").write_text(
        """
#include "tiny.h"
#include <stdio.h>
extern const unsigned char tiny_weights[];
int main(void) {
  char message[100];
  const float x[16] = {1, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5, 4, 3, 2, 1};
  float y[8];
  tiny_session* sessions[2];
  sessions[0] = tiny_load("tiny.weights", message, sizeof message);
  sessions[1] = tiny_load_from(tiny_weights, message, sizeof message);
  for (int i = 0; i < 2; ++i) {
    if (!sessions[i] || tiny_infer(sessions[i], 2, x, y, message, sizeof message)) return 1;
    for (int k = 0; k < 8; ++k) printf("%.9g ", y[k]);
    tiny_free(sessions[i]);
  }
  if (tiny_load("selftest.cpp", message, sizeof message) || tiny_load("nothing", message, 5)) return 2;
  fprintf(stderr, "%s", message);
  return 0;
}
"""
    )
    for command in (
        ["gcc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", "use.c"],
        ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-c", "tiny_c.cpp", "tiny_weights.cpp"],
        ["gcc", "use.o", "tiny_c.o", "tiny_weights.o", "-lstdc++", "-lm", "-o", "use"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./use"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(done.stderr) == 4  # as much of the message as there is room for
    x = np.array([[1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1]], np.float32)
    # Sums of 16 products of float32.
    np.testing.assert_allclose(np.array(done.stdout.split(), float).reshape(2, 2, 4), [mlp_answer(mlp(), x)] * 2, atol=1e-5)


def test_c_sees_shapes_that_only_the_call_tells(tmp_path: Path) -> None:
    """NonZero's places, of float16 beside a name that C has for itself."""
    nodes = [helper.make_node("NonZero", ["restrict"], ["places"]), helper.make_node("Neg", ["restrict"], ["y"])]
    proto = model(nodes, {"restrict": (10, ["n"])}, {"places": 7, "y": 10})
    for name, content in project(translate(proto, "found")).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "use.c").write_text(
        """
#include "found.h"
#include <stdio.h>
int main(void) {
  char message[100];
  const uint16_t x[4] = {0, 0x3c00, 0, 0x4000};
  uint16_t y[4];
  found_view_of_places places;
  found_session* session = found_load("found.weights", message, sizeof message);
  if (!session || found_infer(session, 4, x, &places, y, message, sizeof message)) return 1;
  printf("%d %d: %d %d, %x", (int)places.shape[0], (int)places.shape[1], (int)places.data[0], (int)places.data[1], y[3]);
  found_free(session);
  return 0;
}
"""
    )
    for command in (
        ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-c", "use.c"],
        ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-c", "found_c.cpp"],
        ["gcc", "use.o", "found_c.o", "-lstdc++", "-lm", "-o", "use"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./use"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "1 2: 1 3, c000"


@pytest.mark.parametrize("name", ["2x", "a b", "class", "namespace", 'x"); system("y', "", "a__b", "_x", "é"])
def test_names_that_are_no_namespace_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        networks.compile_model(mlp(), tmp_path, name=name)


def test_what_disagrees_is_not_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: object) -> Oracle:
        return Oracle("a wrong oracle", lambda feeds: [mlp_answer(mlp(), feeds["x"]).astype(np.float32) + np.float32(0.01)])

    monkeypatch.setattr(conversion, "oracle", wrong)
    with pytest.raises(VerificationError, match=r"'y' differs from a wrong oracle's by up to 0\.01"):
        networks.compile_model(mlp(), tmp_path, name="tiny", flags=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_load_verifies_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    options = BuildOptions(flags=QUICK)
    assert networks.load(mlp(), options=options, verify=True).engine == "compiled"
    wrong = Oracle("a wrong oracle", lambda feeds: [mlp_answer(mlp(), feeds["x"]).astype(np.float32) + np.float32(0.01)])
    monkeypatch.setattr(conversion, "oracle", lambda model: wrong)
    with pytest.raises(VerificationError, match="differs from a wrong oracle's"):
        networks.load(mlp(), options=options, verify=True)


def test_sizes_that_the_network_does_not_take_are_not_compared(tmp_path: Path) -> None:
    """Rows by fours, and two inputs of one length that the model calls by two names."""
    nodes = [helper.make_node("Add", ["x", "y"], ["sum"]), helper.make_node("Reshape", ["sum", "shape"], ["z"])]
    ports: dict[str, tuple[int, list[int | str] | None]] = {"x": (1, ["n", 3]), "y": (1, ["m", 3])}
    report = networks.compile_model(model(nodes, ports, {"z": 1}, {"shape": np.array([-1, 4])}), tmp_path, flags=QUICK)
    assert [agreement.sizes for agreement in report.agreements] == [{"n": 4, "m": 4}, {"n": 8, "m": 8}]
    assert report.notes == ()


def test_a_network_that_takes_no_random_inputs_says_so(tmp_path: Path) -> None:
    proto = model(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])], {"x": (1, ["n"])}, {"y": 1}, {"shape": np.array([-1, 97])}
    )
    report = networks.compile_model(proto, tmp_path, name="odd", flags=QUICK)
    assert report.agreements == ()
    (note,) = report.notes
    assert "Not compared on random inputs, as onnxruntime" in note
    assert not (report.folder / "selftest.cpp").exists()
    samples = {"x": np.arange(194, dtype=np.float32)}
    assert networks.compile_model(proto, tmp_path, name="even", flags=QUICK, samples=samples).agreements[0].n_values == 194
    with pytest.raises(InputError, match="the samples cannot be compared, as onnxruntime"):
        networks.compile_model(proto, tmp_path, name="none", flags=QUICK, samples={"x": np.zeros(5, np.float32)})


def test_calls_are_timed_where_that_is_asked_for(report: networks.CompileReport, tmp_path: Path) -> None:
    assert report.timings == ()
    timed = networks.compile_model(mlp(), tmp_path, name="timed", flags=QUICK, timed=True)
    assert [item.sizes for item in timed.timings] == [{"batch": 1}, {"batch": 64}]
    for item in timed.timings:
        assert item.seconds > 0
        assert item.oracle_seconds is not None
        assert item.oracle_seconds > 0
    assert timed.memory.sizes == {"batch": 3}
    assert timed.memory.bytes == 256  # 3 x 16 floats and their slack


def test_fast_arithmetic_is_said_in_the_project(tmp_path: Path) -> None:
    report = networks.compile_model(mlp(), tmp_path, name="tiny", flags=QUICK, math="fast")
    assert "-freciprocal-math" in report.flags
    assert "target_compile_options(tiny INTERFACE -ffp-contract=fast" in (report.folder / "CMakeLists.txt").read_text()
    assert "-freciprocal-math" in (report.folder / "README.md").read_text()


def test_a_bound_fixes_the_memory_of_a_call(tmp_path: Path) -> None:
    report = networks.compile_model(mlp(), tmp_path, name="bound", flags=QUICK, shapes={"x": ("n<=5", 8)})
    assert [agreement.sizes for agreement in report.agreements] == [{"n": 3}, {"n": 5}]
    assert report.workspace_bytes is not None
    assert report.memory.bytes == report.workspace_bytes
    header = (report.folder / "bound.hpp").read_text()
    assert "n (at most 5): sizes that differ" in header
    assert "nn::room(" not in header
    assert "`n` (at most 5)" in (report.folder / "README.md").read_text()


def test_sizes_up_to_the_bound_are_taken_and_no_others() -> None:
    proto = mlp()
    network = networks.load(proto, shapes={"x": ("n<=5", 8)}, options=BuildOptions(flags=QUICK))
    for n in (0, 1, 5):
        x = np.random.default_rng(n).standard_normal((n, 8)).astype(np.float32)
        np.testing.assert_allclose(network.run({"x": x})["y"], mlp_answer(proto, x), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="n is larger than 5, the bound"):
        network.run({"x": np.zeros((6, 8), np.float32)})


@pytest.mark.parametrize("size", ["n<=0", "n<=x", "n<5", "<=5", "n<=5<=6"])
def test_bounds_that_are_none(size: str) -> None:
    with pytest.raises(InputError, match=r"bounds no size|is no size"):
        networks.load(mlp(), shapes={"x": (size, 8)})


def test_two_bounds_of_one_size() -> None:
    with pytest.raises(InputError, match="two bounds"):
        networks.load(mlp(), shapes={"x": ("n<=5", "n<=6")})
