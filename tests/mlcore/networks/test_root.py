"""Generated code inside ROOT: the interpreter of the real wheel takes the header, a data frame runs it on several threads."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mlcore import networks
from mlcore.networks.build import QUICK
from mlcore.toolchain.sandbox import Limits, run
from tests.mlcore.networks.models import mlp, mlp_answer

SCRIPT = """
import os, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import ROOT

ROOT.EnableImplicitMT(2)
ROOT.gInterpreter.Declare('#include "tiny.hpp"')
ROOT.gInterpreter.Declare('tiny::Functor<ROOT::RVec<float>> score("tiny.weights", 64);')
fill = "ROOT::RVec<float> v; for (int i = 0; i < 8; ++i) v.push_back(i - 0.003f * rdfentry_); return v;"
frame = ROOT.RDataFrame(2000).Define("x", fill)
scored = frame.DefineSlot("y", ROOT.score, ["x"])
found = scored.AsNumpy(["rdfentry_", "y"])
order = np.argsort(found["rdfentry_"])
np.stack([np.asarray(row) for row in found["y"]])[order].astype(np.float32).tofile("found.bin")
sys.stdout.flush()
os._exit(0)
"""


def test_a_data_frame_runs_it(tmp_path: Path) -> None:
    pytest.importorskip("ROOT", reason="the root wheel is for Linux only")
    report = networks.compile_model(mlp(), tmp_path, name="tiny", flags=QUICK)
    (report.folder / "frame.py").write_text(SCRIPT)
    limits = Limits(cpu_seconds=200, wall_seconds=250, memory_bytes=8 * 1024**3)
    outcome = run(
        [sys.executable, report.folder / "frame.py"],
        cwd=report.folder,
        writable=[report.folder],
        readable=[Path(sys.prefix)],
        limits=limits,
        env={"CPATH": str(report.folder)},
    )
    assert outcome.returncode == 0, outcome.stderr
    found = np.fromfile(report.folder / "found.bin", np.float32).reshape(2000, 4)
    entries = np.arange(2000, dtype=np.float32)
    x = np.arange(8, dtype=np.float32) - np.float32(0.003) * entries[:, None]
    # The interpreter may compute the columns with another rounding: an ulp of x of 6, times sums of 16 weights.
    np.testing.assert_allclose(found, mlp_answer(mlp(), x), atol=2e-5)
