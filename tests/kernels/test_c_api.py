"""The C library from programs in C and C++, built here against the installed headers with every warning an error."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernels
from kernels import c_library
from mlcore.forests import load
from mlcore.forests.forest import Forest
from mlcore.forests.ir import Comparison, Link, Missing, Source, Tree, TreeModel

WARNINGS = ["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]

C_PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include "kernels/forest.h"

/* forest, rows as float32, n_rows -> one line a row: margin in order, prediction, score; then the same of all rows at once */
int main(int argc, char** argv) {
  ml4ep_forest* forest = ml4ep_forest_open(argc > 1 ? argv[1] : NULL);
  if (forest == NULL) {
    fprintf(stderr, "%s\n", ml4ep_forest_error());
    return 3;
  }
  size_t n = ml4ep_forest_n_features(forest), k = ml4ep_forest_n_predictions(forest), m = ml4ep_forest_n_outputs(forest);
  size_t n_rows = (size_t)atol(argv[3]), i, j;
  float* x = malloc(n * n_rows * sizeof *x);
  FILE* file = fopen(argv[2], "rb");
  if (x == NULL || file == NULL || fread(x, sizeof *x, n * n_rows, file) != n * n_rows) return 4;
  fclose(file);
  float* all = malloc((m + k) * n_rows * sizeof *all);
  float* one = malloc((m + k) * sizeof *one);
  if (all == NULL || one == NULL || ml4ep_forest_is_double(forest)) return 5;
  if (ml4ep_forest_api_version() != ML4EP_FOREST_API_VERSION) return 5;
  if (ml4ep_forest_margin_f32(forest, x, n_rows, (ptrdiff_t)n, 1, all, 2) != 0) return 6;
  if (ml4ep_forest_predict_f32(forest, x, n_rows, (ptrdiff_t)n, 1, all + m * n_rows, 3) != 0) return 7;
  if (ml4ep_forest_predict_f32(forest, NULL, n_rows, (ptrdiff_t)n, 1, all, 1) != -1) return 8;
  for (i = 0; i < n_rows; ++i) {
    ml4ep_forest_margin_one_in_order_f32(forest, x + i * n, one);
    for (j = 0; j < m; ++j) {
      if (one[j] != all[i * m + j]) return 9;
      printf("%a ", (double)one[j]);
    }
    ml4ep_forest_predict_one_in_order_f32(forest, x + i * n, one);
    for (j = 0; j < k; ++j) {
      if (one[j] != all[m * n_rows + i * k + j]) return 10;
      printf("%a ", (double)one[j]);
    }
    printf("%a\n", ml4ep_forest_score_f32(forest, x + i * n));
  }
  fprintf(stderr, "%s %s", ml4ep_forest_target(forest), ml4ep_forest_error());
  free(one);
  free(all);
  free(x);
  ml4ep_forest_close(forest);
  ml4ep_forest_close(NULL);
  return 0;
}
"""

CPP_PROGRAM = r"""
#include <atomic>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <thread>
#include "kernels/forest_api.hpp"

// Many threads share a forest; each predicts each row alone and all rows at once, from a file and from memory.
int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    const ml4ep::Forest wrong(std::string(argv[1]) + ".missing");
    return 3;
  } catch (const std::runtime_error& error) {
    if (std::string(error.what()).find("No such file") == std::string::npos) return 4;
  }
  std::ifstream file(argv[1], std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const ml4ep::Forest forest(argv[1]);
  const ml4ep::Forest copy(bytes.data(), bytes.size());
  const std::size_t n_rows = 200, n = forest.n_features(), k = forest.n_predictions();
  std::vector<double> x(n_rows * n);
  std::ifstream rows(argv[2], std::ios::binary);
  rows.read(reinterpret_cast<char*>(x.data()), static_cast<std::streamsize>(x.size() * sizeof(double)));
  const std::vector<float> expected = forest.predict<float>(x.data(), n_rows);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      const ml4ep::Forest& mine = t % 2 ? forest : copy;
      for (int repeat = 0; repeat < 5; ++repeat) {
        std::vector<float> one(k);
        for (std::size_t i = 0; i < n_rows; ++i) {
          ml4ep_forest_predict_one_in_order_f64(mine.get(), x.data() + i * n, one.data());
          for (std::size_t j = 0; j < k; ++j) wrong += one[j] != expected[i * k + j];
        }
        if (mine.predict<float>(x.data(), n_rows, 3) != expected) ++wrong;
        if (ml4ep_forest_from_memory("nothing", 7) != nullptr || std::string(ml4ep_forest_error()).empty()) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  try {
    forest.predict<double>(x.data(), n_rows);
    return 5;
  } catch (const std::invalid_argument&) {
  }
  std::printf("%d wrong\n", wrong.load());
  return wrong == 0 ? 0 : 1;
}
"""


def forest(n_outputs: int = 1, depth: int = 5, n_trees: int = 40, link: Link = Link.SIGMOID) -> Forest:
    """Perfect trees of random cuts."""
    rng = np.random.default_rng(1)
    n = 2 ** (depth + 1) - 1
    inner = np.arange(n) < 2**depth - 1
    trees = [
        Tree(
            feature=np.where(inner, rng.integers(0, 7, n), -1).astype(np.int32),
            threshold=np.where(inner, rng.normal(size=n), 0).astype(np.float32),
            left=np.where(inner, 2 * np.arange(n) + 1, -1).astype(np.int32),
            right=np.where(inner, 2 * np.arange(n) + 2, -1).astype(np.int32),
            comparison=np.full(n, Comparison.LESS, np.uint8),
            missing=np.full(n, Missing.NAN, np.uint8),
            default_left=rng.integers(0, 2, n).astype(bool),
            value=np.where(inner, 0, rng.normal(size=n)).astype(np.float32),
            categories={},
            output=i % n_outputs,
        )
        for i in range(n_trees)
    ]
    return Forest(
        TreeModel(
            source=Source("test", "test", "1", "", ""),
            n_features=7,
            n_outputs=n_outputs,
            feature_names=(),
            trees=trees,
            base=np.zeros(n_outputs, np.float32),
            threshold_dtype="float32",
            sum_dtype="float32",
            link=link,
        )
    )


def rows(n_rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    x = np.random.default_rng(2).normal(size=(n_rows, 7)).astype(np.float32)
    x[::4, 2] = np.nan
    return x


def build(folder: Path, source: str, *flags: str) -> Path:
    """The program's path, built as a user would, with the library found at run time."""
    suffix, compiler, standard = (".cpp", "g++", "-std=c++17") if "forest_api.hpp" in source else (".c", "gcc", "-std=c99")
    path = folder / f"program{suffix}"
    path.write_text(source)
    library = c_library.library()
    command = [compiler, standard, *WARNINGS, *flags, f"-I{c_library.include_dir()}", str(path), "-o", str(folder / "program")]
    command += [str(library), f"-Wl,-rpath,{library.parent}", "-pthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder / "program"


def run(program: Path, *arguments: object, target: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KERNELS_FORCE_TARGET": target}
    return subprocess.run([program, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def c_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("c"), C_PROGRAM)


@pytest.mark.parametrize("target", kernels.available_targets())
@pytest.mark.parametrize(("n_outputs", "depth", "link"), [(1, 5, Link.SIGMOID), (3, 4, Link.SOFTMAX), (1, 2, Link.IDENTITY)])
def test_a_c_program_gives_the_same_bits(
    c_program: Path, tmp_path: Path, target: str, n_outputs: int, depth: int, link: Link
) -> None:
    model = forest(n_outputs, depth, link=link)
    model.save(tmp_path / "model.forest")
    x = rows(130)
    x.tofile(tmp_path / "rows")
    done = run(c_program, tmp_path / "model.forest", tmp_path / "rows", len(x), target=target)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"{target} there are no rows, or no room for results"
    numbers = np.array([[float.fromhex(number) for number in line.split()] for line in done.stdout.splitlines()])
    margin, prediction, score = np.split(numbers, [n_outputs, 2 * n_outputs], axis=1)
    expected = np.asarray(load(tmp_path / "model.forest").margin(x)).reshape(len(x), -1)
    np.testing.assert_array_equal(margin, expected)
    # `exp` of another target's code may differ in the last bits.
    np.testing.assert_allclose(prediction, np.asarray(model.predict(x)).reshape(len(x), -1), rtol=4e-7, atol=1e-12)
    if n_outputs == 1:
        np.testing.assert_allclose(score, prediction, rtol=1e-5, atol=1e-5)  # its sums are taken in lanes
    else:
        assert np.isnan(score).all()


def test_threads_of_a_cpp_program_share_a_forest(tmp_path: Path) -> None:
    forest(n_outputs=20, n_trees=60, link=Link.SOFTMAX).save(tmp_path / "model.forest")
    rows(200).astype(np.float64).tofile(tmp_path / "rows")
    done = run(build(tmp_path, CPP_PROGRAM), tmp_path / "model.forest", tmp_path / "rows")
    assert (done.returncode, done.stdout) == (0, "0 wrong\n"), done.stderr


def test_files_that_are_no_forests_are_refused(c_program: Path, tmp_path: Path) -> None:
    forest().save(tmp_path / "good.forest")
    good = (tmp_path / "good.forest").read_bytes()
    flipped = bytearray(good)
    flipped[-100] ^= 1  # within the plan
    newer = bytearray(good)
    newer[8:12] = struct.pack("<I", 9)
    newer[28:32] = struct.pack("<I", zlib.crc32(newer[:28]))
    cases = {
        "empty": (b"", "the file is empty"),
        "text": (b"tree\nversion=v4\n" * 10, "this is no saved forest"),
        "short": (good[:-64], "the saved forest is cut short"),
        "header": (good[:20] + b"\x01" + good[21:], "its header does not have its sum"),
        "metadata": (good[:60] + b"?" + good[61:], "its metadata do not have their sum"),
        "plan": (bytes(flipped), "its plan does not have its sum"),
        "newer": (bytes(newer), "saved in version 9 of the format, this library reads version 1"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        done = run(c_program, tmp_path / name, "", 0)
        assert (done.returncode, name) == (3, name)
        assert message in done.stderr
    for path, message in ((tmp_path / "missing", "No such file"), (tmp_path, "this is no file")):
        assert message in run(c_program, path, "", 0).stderr
    assert "'pentium'; this CPU can run" in run(c_program, tmp_path / "good.forest", "", 0, target="pentium").stderr


def test_a_cmake_project_finds_the_package(tmp_path: Path) -> None:
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert cmake is not None
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(trigger LANGUAGES C)\nfind_package(kernels 1 REQUIRED)\n"
        "add_executable(trigger main.c)\ntarget_link_libraries(trigger PRIVATE kernels::forest)\n"
    )
    (tmp_path / "main.c").write_text(C_PROGRAM)
    configure = [cmake, "-S", tmp_path, "-B", tmp_path / "build", f"-Dkernels_DIR={c_library.cmake_dir()}"]
    for command in (configure, [cmake, "--build", tmp_path / "build"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    forest().save(tmp_path / "model.forest")
    rows(5).tofile(tmp_path / "rows")
    assert run(tmp_path / "build" / "trigger", tmp_path / "model.forest", tmp_path / "rows", 5).returncode == 0


@pytest.mark.slow
def test_memory_is_used_as_allowed(tmp_path: Path) -> None:
    """The program under the address sanitizer, the library as it is installed: leaks, and blocks used after they are freed."""
    forest().save(tmp_path / "model.forest")
    rows(60).tofile(tmp_path / "rows")
    program = build(tmp_path, C_PROGRAM, "-fsanitize=address", "-g")
    done = run(program, tmp_path / "model.forest", tmp_path / "rows", 60)
    assert done.returncode == 0, done.stderr
    assert "AddressSanitizer" not in done.stderr
