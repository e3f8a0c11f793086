"""Generated C++ inside ROOT: the interpreter of the real wheel takes the header, and data frames evaluate forests with it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mlcore.forests import CppOptions, Forest
from mlcore.forests.emit import cpp
from mlcore.forests.ir import Link, TreeModel
from mlcore.forests.probes import probes
from mlcore.toolchain.sandbox import Limits, run
from tests.mlcore.forests.cpp_models import perfect_model, random_model, shaped_models

LIMITS = Limits(cpu_seconds=200, wall_seconds=250, memory_bytes=8 * 1024**3)
LEAVE = "import os, sys; sys.stdout.flush(); os._exit(0)\n"  # the interpreter's own clean-up is not what is tested

# Columns of a data frame from rows on disk; `call` is the body of a column's expression.
FRAME = """
import numpy as np
import ROOT

def frame(name, dtype, n_features):
    rows = np.fromfile(f"{name}.in", dtype).reshape(-1, n_features)
    return ROOT.RDF.FromNumpy({f"{name}_{i}": np.ascontiguousarray(rows[:, i]) for i in range(n_features)})

def row(name, real, n_features):
    return f"{real} row[] = {{{', '.join(f'{name}_{i}' for i in range(n_features))}}}; "
"""


def interpret(script: str, folder: Path) -> str:
    """Run a script with ROOT in a process of its own; what it prints."""
    pytest.importorskip("ROOT", reason="the root wheel is for Linux only")
    path = folder / "interpret.py"
    path.write_text(script + LEAVE)
    outcome = run(
        [sys.executable, path],
        cwd=folder,
        writable=[folder],
        readable=[Path(sys.prefix)],
        limits=LIMITS,
        env={"CPATH": str(folder)},
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def written(folder: Path, **models: TreeModel) -> None:
    """Headers of some models, and rows for each."""
    for name, model in models.items():
        (folder / f"{name}.hpp").write_text(cpp.header(model, CppOptions(name)))
        probes(model, dtype=model.threshold_dtype, n_rows=500, seed=3).tofile(folder / f"{name}.in")


def expected(folder: Path, name: str, model: TreeModel) -> np.ndarray:
    rows = np.fromfile(folder / f"{name}.in", model.threshold_dtype).reshape(-1, model.n_features)
    return np.asarray(Forest(model).predict(rows))


def test_a_header_passes_clang_s_warnings_in_the_interpreter(tmp_path: Path) -> None:
    """Cling, the interpreter, is a Clang: it takes headers of both kinds with all warnings as errors, and batches run in it."""
    models = {"walks": random_model(0, link=Link.SOFTMAX, precision=("float64", "float64"), n_outputs=3)}
    models["sliced"] = shaped_models()["classes"]
    written(tmp_path, **models)
    warnings = "".join(f'#pragma clang diagnostic error "-W{name}"\\n' for name in ("all", "extra", "pedantic"))
    includes = "".join(f'#include "{name}.hpp"\\n' for name in models)
    printed = interpret(
        "import ROOT, numpy\n"
        f"code = '#pragma clang diagnostic push\\n{warnings}{includes}#pragma clang diagnostic pop\\n'\n"
        "assert ROOT.gInterpreter.Declare(code)\n"
        "for name in ('walks', 'sliced'):\n"
        "    rows, forest = numpy.fromfile(f'{name}.in'), getattr(ROOT, name)\n"
        "    n = len(rows) // forest.n_features\n"
        "    out = numpy.zeros(3 * n)\n"
        "    forest.margin_batch['double'](rows, n, out)\n"
        "    out.tofile(f'{name}.out')\n"
        "    print(forest.n_trees)\n",
        tmp_path,
    )
    assert printed.split() == [str(len(model.trees)) for model in models.values()]
    for name, model in models.items():
        rows = np.fromfile(tmp_path / f"{name}.in").reshape(-1, model.n_features)
        np.testing.assert_array_equal(np.fromfile(tmp_path / f"{name}.out").reshape(-1, 3), Forest(model).margin(rows))


def test_data_frames_define_columns_with_two_forests(tmp_path: Path) -> None:
    """One output as a text for the interpreter, classes as a vector, both in one frame and on several threads."""
    models = {"small": shaped_models()["small"], "classes": shaped_models()["classes"]}
    written(tmp_path, **models)
    interpret(
        FRAME
        + """
ROOT.EnableImplicitMT(2)
ROOT.gInterpreter.Declare('#include "small.hpp"\\n#include "classes.hpp"')
small = frame("small", "float32", 5).Define("score", row("small", "float", 5) + "return small::predict(row);")
np.asarray(small.AsNumpy(["score"])["score"]).tofile("small.out")
classes = frame("classes", "float64", 9).Define(
    "p", row("classes", "double", 9) + "std::array<double, 3> out; classes::predict(row, out.data()); return out;"
)
for k in range(3):
    classes = classes.Define(f"p{k}", f"p[{k}]")
classes = classes.Define("both0", "float first[] = {1, 2, 3, 4, 5}; return p0 + small::predict(first);")
columns = classes.AsNumpy([f"p{k}" for k in range(3)] + ["both0"])
np.stack([columns[f"p{k}"] for k in range(3)], axis=1).tofile("classes.out")
np.asarray(columns["both0"]).tofile("both.out")
""",
        tmp_path,
    )
    # Frames hand out rows in their order where one thread takes few entries; sorted they are the same in any order.
    single = np.sort(np.fromfile(tmp_path / "small.out", np.float32))
    np.testing.assert_allclose(single, np.sort(expected(tmp_path, "small", models["small"])), rtol=1e-6)
    three = np.fromfile(tmp_path / "classes.out").reshape(-1, 3)
    wanted = expected(tmp_path, "classes", models["classes"])
    np.testing.assert_allclose(np.sort(three, axis=0), np.sort(wanted, axis=0), rtol=1e-13)
    offset = Forest(models["small"]).predict(np.array([[1, 2, 3, 4, 5]], np.float32))[0]
    np.testing.assert_allclose(np.fromfile(tmp_path / "both.out"), three[:, 0] + float(offset), rtol=1e-13)


@pytest.mark.slow
def test_the_interpreter_loads_a_large_forest_in_seconds(tmp_path: Path) -> None:
    """1000 trees of depth 8, header and first event."""
    model = perfect_model(np.random.default_rng(0), n_trees=1000, depth=8, n_features=28, n_cuts=255)
    written(tmp_path, large=model)
    printed = interpret(
        "import time, ROOT, numpy\n"
        "ROOT.gInterpreter.Declare('int warm = 0;')\n"
        "start = time.process_time()\n"
        "assert ROOT.gInterpreter.Declare('#include \"large.hpp\"')\n"
        "rows = numpy.fromfile('large.in', 'float32').reshape(-1, 28)\n"
        "found = numpy.zeros(50, 'float32')\n"
        "for i in range(50):\n"
        "    ROOT.large.predict['float'](rows[i], found[i:])\n"
        "print(time.process_time() - start, *map(repr, map(float, found)))\n",
        tmp_path,
    ).split()
    assert float(printed[0]) < 10
    np.testing.assert_array_equal(np.array(printed[1:], float).astype(np.float32), expected(tmp_path, "large", model)[:50])
