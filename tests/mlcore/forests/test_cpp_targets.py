"""The engines in generated C++: every compile target that this CPU runs gives the library's own sums, bit for bit."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernels
from kernels import sources
from mlcore.forests import CppOptions, Forest, conversion
from mlcore.forests.emit import cpp
from mlcore.forests.emit.plan import header_plan, literal_lines, structure
from mlcore.forests.ir import FloatName, Link, TreeModel
from mlcore.forests.probes import probes
from mlcore.toolchain.compiler import find_compiler
from mlcore.toolchain.sandbox import Limits, run
from tests.mlcore.forests.cpp_models import perfect_model, random_model, shaped_models

N_ROWS = 601  # a wide block, and what is left over
AVX2 = "-mavx2 -mbmi2"
AVX512 = f"{AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi -mavx512vbmi2 -mgfni"
PRECISIONS: list[tuple[FloatName, FloatName]] = [
    ("float32", "float32"),
    ("float64", "float64"),
    ("float32", "float64"),
    ("float64", "float32"),
]

RUNNER = """
template <class Real, class X>
using One = void (*)(const X*, Real*);
template <class Real, class X>
using Batch = void (*)(const X*, std::size_t, Real*);

template <class Real, class X>
void run(const std::string& name, std::size_t n_features, std::size_t n_outputs, std::size_t n_predictions, One<Real, X> margin,
         One<Real, X> predict, Batch<Real, X> margins, Batch<Real, X> predicts) {
  const std::size_t n_rows = N_ROWS;
  std::vector<X> rows(n_rows * n_features);
  std::FILE* in = std::fopen((name + ".in").c_str(), "rb");
  if (in == nullptr || std::fread(rows.data(), sizeof(X), rows.size(), in) != rows.size()) std::abort();
  std::fclose(in);
  std::vector<Real> a(n_rows * n_outputs), b(a.size()), c(n_rows * n_predictions), d(c.size());
  for (std::size_t i = 0; i < n_rows; ++i) margin(rows.data() + i * n_features, a.data() + i * n_outputs);
  for (std::size_t i = 0; i < n_rows; ++i) predict(rows.data() + i * n_features, c.data() + i * n_predictions);
  margins(rows.data(), n_rows, b.data());
  predicts(rows.data(), n_rows, d.data());
  std::FILE* out = std::fopen((name + ".out").c_str(), "wb");
  if (out == nullptr) std::abort();
  for (const std::vector<Real>& v : {a, b, c, d}) std::fwrite(v.data(), sizeof(Real), v.size(), out);
  std::fclose(out);
}

int main() {
"""


def runs_here(flags: str) -> bool:
    """Whether this CPU has what code of these flags uses."""
    targets = kernels.available_targets()
    return "avx512" in targets if "avx512" in flags else "avx2" in targets if "avx2" in flags else True


def check(models: dict[str, TreeModel], flags: tuple[str, ...], folder: Path) -> None:
    """All models in one program: one row and batches, float and double rows, margins and predictions."""
    program = ["#include <cstdio>", "#include <cstdlib>", "#include <string>", "#include <vector>"]
    body = []
    for name, model in models.items():
        (folder / f"{name}.hpp").write_text(cpp.header(model, CppOptions(name)))
        program.append(f'#include "{name}.hpp"')
        for dtype, real in (("float32", "float"), ("float64", "double")):
            rows = probes(model, dtype=dtype, n_rows=N_ROWS, seed=1)  # type: ignore[arg-type]
            rows.tofile(folder / f"{name}.{dtype}.in")
            batches = ", ".join(
                f"[](const {real}* rows, std::size_t n, {name}::real* out) {{ {name}::{what}_batch(rows, n, out); }}"
                for what in ("margin", "predict")
            )
            body.append(
                f'  run<{name}::real, {real}>("{name}.{dtype}", {name}::n_features, {name}::n_outputs, {name}::n_predictions, '
                f"{name}::margin<{real}>, {name}::predict<{real}>, {batches});"
            )
    program.append(RUNNER.replace("N_ROWS", str(N_ROWS)) + "\n".join(body) + "\n  return 0;\n}\n")
    source = folder / "all.cpp"
    source.write_text("\n".join(program))
    find_compiler().build([source], folder / "all", flags=("-std=c++17", *conversion.FLAGS[2:], *flags), include=[folder])
    outcome = run([folder / "all"], cwd=folder, writable=[folder], limits=Limits(cpu_seconds=120))
    assert outcome.returncode == 0, outcome.stderr
    for name, model in models.items():
        forest = Forest(model)
        for dtype in ("float32", "float64"):
            rows = np.fromfile(folder / f"{name}.{dtype}.in", dtype).reshape(-1, model.n_features)
            values = np.fromfile(folder / f"{name}.{dtype}.out", model.sum_dtype)
            n = len(rows)
            sizes = np.cumsum([n * model.n_outputs, n * model.n_outputs, n * model.n_predictions])
            one, batch, one_prediction, batch_prediction = np.split(values, sizes)
            margin = forest.margin(rows).reshape(-1)
            np.testing.assert_array_equal(one, margin, err_msg=f"{name}, {dtype}, one row")
            np.testing.assert_array_equal(batch, margin, err_msg=f"{name}, {dtype}, batch")
            np.testing.assert_array_equal(one_prediction, batch_prediction, err_msg=name)
            tolerance = 1e-5 if model.sum_dtype == "float32" else 1e-13  # exp's last bits, scaled by its argument
            np.testing.assert_allclose(one_prediction, forest.predict(rows).reshape(-1), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "flags",
    [
        "-O1",
        pytest.param(f"-O1 {AVX512}", id="avx512", marks=pytest.mark.slow),
        pytest.param(f"-O1 {AVX2}", id="avx2", marks=pytest.mark.slow),
        pytest.param("-O1 -mavx2", id="avx2 without bmi2", marks=pytest.mark.slow),
        pytest.param("-O3 -march=native", marks=pytest.mark.slow),
        pytest.param("-O3", marks=pytest.mark.slow),
        pytest.param("-O0", marks=pytest.mark.slow),
        pytest.param(f"-O0 {AVX512}", id="avx512 -O0", marks=pytest.mark.slow),
        pytest.param(f"-O2 -ffinite-math-only {AVX2}", id="avx2 -ffinite-math-only", marks=pytest.mark.slow),
    ],
)
def test_every_shape_on_every_target(flags: str, tmp_path: Path) -> None:
    if not runs_here(flags):
        pytest.skip(f"this CPU does not run {flags}")
    check(shaped_models(), tuple(flags.split()), tmp_path)


def test_the_machine_s_own_target(tmp_path: Path) -> None:
    """Some shapes on the widest target that runs here; the slow test above has all of both."""
    models = shaped_models()
    check({name: models[name] for name in ("classes", "categories", "wide", "wide_classes")}, ("-O1", "-march=native"), tmp_path)


@pytest.mark.parametrize("option", ["-O1", "-ffinite-math-only", pytest.param("-O3", marks=pytest.mark.slow)])
def test_random_forests_with_every_link(option: str, tmp_path: Path) -> None:
    """All comparisons, kinds of missing values, links and precisions; those that mix them take the walk."""
    first = 0 if option == "-O1" else 3 * len(Link)
    seeds = range(first, first + 3 * len(Link), 3) if option != "-O3" else range(24)
    models = {
        f"m{i}": random_model(
            seed, link=link, precision=PRECISIONS[i % 4], n_outputs=1 if link.name.endswith("PAIR") else 1 + 2 * (i % 2)
        )
        for i, (seed, link) in enumerate(zip(seeds, list(Link) * 2, strict=False))
    }
    assert {model.link for model in models.values()} == set(Link)
    check(models, ("-O1", option), tmp_path)


def test_the_shapes_take_the_ways_that_they_are_meant_to() -> None:
    plans = {name: header_plan(kernels.build_forest(model.tables()).plan()) for name, model in shaped_models().items()}
    assert all(plan.is_sliced for plan in plans.values())
    assert plans["deep"].row_walks
    assert not plans["wide"].row_walks
    mixed = random_model(3, link=Link.IDENTITY, precision=PRECISIONS[0])
    assert not header_plan(kernels.build_forest(mixed.tables()).plan()).is_sliced
    assert plans["wide"].n_bytes_of_planes > 256
    assert {name for name, plan in plans.items() if plan.in_lanes} == {"wide", "wide_classes"}
    texts = {name: cpp.header(model, CppOptions("x")) for name, model in shaped_models().items() if name in ("small", "cuts")}
    assert "nested_margins(row, out)" in texts["small"]
    assert "nested_margins(row, out)" not in texts["cuts"]


@given(st.binary(max_size=300))
def test_bytes_come_back_from_their_literal(content: bytes) -> None:
    """Python reads escapes in bytes as C++ does."""
    lines = literal_lines(content)
    assert lines.isascii()
    assert "?" not in lines
    assert ast.literal_eval("(" + "\n".join(f"b{line}" for line in lines.splitlines()) + ")") == content


def test_long_literals_are_split_between_escapes() -> None:
    content = bytes(range(256)) * 40
    assert ast.literal_eval("(" + "\n".join(f"b{line}" for line in literal_lines(content).splitlines()) + ")") == content
    assert len(literal_lines(content).splitlines()) == 3


def test_the_layout_of_a_plan_is_read_from_its_header() -> None:
    """A plan that the kernels wrote says the same in the layout's fields as the forest does."""
    model = shaped_models()["classes"]
    plan = kernels.build_forest(model.tables()).plan()
    fields = structure("kernels/plan.hpp", "PlanHeader").from_buffer_copy(plan)
    assert (fields.n_features, fields.n_outputs, fields.n_trees, fields.size) == (9, 3, 63, len(plan))
    assert fields.base.count == 3
    with pytest.raises(LookupError, match="no structure Nothing"):
        structure("kernels/plan.hpp", "Nothing")


def test_headers_are_joined_once_and_in_order() -> None:
    joined = sources.joined("batch.hpp", without=("kernels/plan.hpp",))
    assert "kernels/plan.hpp" not in joined.names
    assert "#include" not in joined.text
    assert "#pragma once" not in joined.text
    assert joined.text.index("struct BitSliced") < joined.text.index("workspace_of")
    assert "cstdint" in joined.system
    with pytest.raises(FileNotFoundError, match=r"no header 'nothing\.hpp'"):
        sources.header("nothing.hpp")


@pytest.mark.slow
def test_a_large_forest_compiles_in_seconds(tmp_path: Path) -> None:
    """1000 trees of depth 8: under 10 s of the compiler's time and 500 MB on every target."""
    model = perfect_model(np.random.default_rng(0), n_trees=1000, depth=8, n_features=28, n_cuts=255)
    (tmp_path / "forest.hpp").write_text(cpp.header(model, CppOptions("forest")))
    (tmp_path / "use.cpp").write_text(
        '#include "forest.hpp"\nfloat use(const float* x, std::size_t n, float* out) {\n'
        "  forest::predict_batch(x, n, out);\n  return forest::predict(x);\n}\n"
    )
    assert (tmp_path / "forest.hpp").stat().st_size < 16e6
    limits = Limits(memory_bytes=500 * 10**6, cpu_seconds=10, wall_seconds=120)
    for flags in ("", AVX2, AVX512):
        find_compiler().build(
            [tmp_path / "use.cpp"], tmp_path / "use.o", flags=("-std=c++17", "-O2", "-c", *flags.split()), limits=limits
        )


def test_threads_and_given_workspaces_agree(tmp_path: Path) -> None:
    """Two threads at once, each with its own static workspace, and one batch in memory of the caller."""
    model = shaped_models()["small"]
    rows = probes(model, dtype="float32", n_rows=N_ROWS, seed=2)
    rows.tofile(tmp_path / "rows.in")
    (tmp_path / "small.hpp").write_text(cpp.header(model, CppOptions("small")))
    source = tmp_path / "threads.cpp"
    source.write_text(THREADS.replace("N_ROWS", str(N_ROWS)))
    flags = ("-std=c++17", "-O1", "-pthread", *conversion.FLAGS[2:])
    find_compiler().build([source], tmp_path / "threads", flags=flags, include=[tmp_path])
    outcome = run([tmp_path / "threads"], cwd=tmp_path, writable=[tmp_path], limits=Limits(cpu_seconds=60))
    assert outcome.returncode == 0, outcome.stderr
    found = np.fromfile(tmp_path / "rows.out", np.float32).reshape(3, N_ROWS)
    np.testing.assert_array_equal(found, np.tile(Forest(model).margin(rows), (3, 1)))


THREADS = """
#include "small.hpp"

#include <cstdio>
#include <thread>
#include <vector>

int main() {
  std::vector<float> rows(N_ROWS * small::n_features), out(3 * N_ROWS);
  std::FILE* in = std::fopen("rows.in", "rb");
  if (in == nullptr || std::fread(rows.data(), sizeof(float), rows.size(), in) != rows.size()) return 1;
  std::fclose(in);
  const auto work = [&](float* to) {
    for (int i = 0; i < 200; ++i) small::margin_batch(rows.data(), N_ROWS, to);
  };
  std::thread first(work, out.data()), second(work, out.data() + N_ROWS);
  first.join();
  second.join();
  alignas(64) static unsigned char workspace[small::workspace_bytes];
  small::margin_batch(rows.data(), N_ROWS, out.data() + 2 * N_ROWS, workspace);
  std::FILE* to = std::fopen("rows.out", "wb");
  return to != nullptr && std::fwrite(out.data(), sizeof(float), out.size(), to) == out.size() && std::fclose(to) == 0 ? 0 : 2;
}
"""
