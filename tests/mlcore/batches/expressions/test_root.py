"""The same text in ROOT's data frames, by the interpreter of the real wheel."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mlcore.batches.blocks import Jagged
from mlcore.batches.expressions import parse
from mlcore.toolchain.sandbox import Limits, run

LIMITS = Limits(cpu_seconds=200, wall_seconds=250, memory_bytes=8 * 1024**3)
N_ROWS, MOST_JETS = 400, 4

EXACT = [
    "pt * 2.",
    "pt > 20.1",
    "pt > 20.1f",
    "pt / 3. + eta * 1e-3",
    "pt * 1. * pt - 0.5 * mass * mass",
    "n + 2 * charge - 7",
    "event + 1",
    "event - n",
    "n / 2.",
    "n * 5L",
    "0x1F + n",
    "pt > 20 && abs(eta) < 1.5 || n == 3",
    "!(n > 1)",
    "!n",
    "!n > 0",
    "(n > 1) + (pt > 20)",
    "n == 2 ? pt : -1.",
    "n == 2 ? pt : n == 3 ? 2. * pt : -1.",
    "-charge",
    "TMath::Abs(eta)",
    "std::abs(charge)",
    "fabs(eta)",
    "std::sqrt(double(pt))",
    "TMath::Pi() * 1.",
    "TMath::Max(pt, mass)",
    "std::floor(double(eta)) + std::ceil(double(eta)) + std::round(2. * eta)",
    "std::fmod(double(phi), 1.)",
    "TMath::Min(n, 2)",
    "n % 3",
    "jet_pt.size()",
    "Sum(jet_pt > 20.)",
    "Sum(jet_pt[jet_pt > 20]) > 60",
    "Any(jet_pt > 50)",
    "All(jet_pt > 10)",
    "n > 0 ? Max(jet_pt) : 0.",
    "n > 0 ? Min(jet_pt) : 0.",
    "n > 0 ? jet_pt[0] : -1.",
    "n > 0 ? ArgMax(jet_pt) : 0",
    "n > 0 ? ArgMin(jet_eta) : 0",
    "n > 1 ? Reverse(Sort(jet_pt))[1] : 0.",
    "event % 7 == 3 && event > 10",
]
"""Which are equal to the last bit."""

CLOSE = [
    "sqrt(pt * 1. * pt + mass * 1. * mass)",
    "exp(-pt / 50.) + log(pt * 1.) + log10(pt * 1.) + log2(pt * 1.)",
    "sin(phi * 1.) + cos(phi * 1.) + tan(phi * 1.) + atan2(eta * 1., phi * 1.)",
    "sinh(eta * 1.) + cosh(eta * 1.) + tanh(eta * 1.) + asinh(eta * 1.)",
    "asin(tanh(eta * 1.)) + acos(tanh(eta * 1.)) + atan(eta * 1.)",
    "pow(pt, 2.5)",
    "pow(pt * 1., -1)",
    "hypot(eta * 1., phi * 1.)",
    "Sum(jet_pt * 1.)",
    "Sum(jet_pt * 1. * pt)",
    "n > 0 ? Mean(jet_pt * 1.) : 0.",
    "n > 1 ? StdDev(jet_pt * 1.) : 0.",
    "n > 1 ? Var(jet_pt * 1.) : 0.",
    "DeltaPhi(phi * 1., 3. * phi)",
    "ROOT::VecOps::DeltaR(eta * 1., eta * 2., phi * 1., phi * 3.)",
    "InvariantMass(jet_pt * 1., jet_eta * 1., jet_phi * 1., 0. * jet_pt + 5.)",
    "Sum(InvariantMasses(jet_pt * 1., jet_eta * 1., jet_phi * 1., 0. * jet_pt + 5., "
    "jet_pt * 2., jet_eta * -0.5, jet_phi * 4., 0. * jet_pt))",
    "Sum(sqrt(jet_pt * 1.) / 3. - jet_eta * 1.)",
]
"""Which round otherwise in their functions or sums: both are within a few units in the last place of the truth."""

SCRIPT = """
import json
import numpy as np
import ROOT

data = dict(np.load("columns.npz"))
frame = ROOT.RDF.FromNumpy({name: np.ascontiguousarray(column) for name, column in data.items()})
for name in ("jet_pt", "jet_eta", "jet_phi"):
    parts = ", ".join(f"{name}_{i}" for i in range(MOST_JETS))
    frame = frame.Define(name, f"ROOT::RVecF v{{{parts}}}; v.resize(n); return v;")
texts = json.load(open("texts.json"))
for at, text in enumerate(texts):
    frame = frame.Define(f"result_{at}", f"using namespace ROOT::VecOps; return double({text});")
np.savez("results.npz", **frame.AsNumpy([f"result_{at}" for at in range(len(texts))]))
import os, sys
sys.stdout.flush()
os._exit(0)
"""


def test_values_are_those_of_a_data_frame(tmp_path: Path) -> None:
    pytest.importorskip("ROOT", reason="the root wheel is for Linux only")
    rng = np.random.default_rng(5)
    columns = {
        "pt": rng.exponential(30, N_ROWS).astype(np.float32),
        "eta": rng.normal(0, 1.5, N_ROWS).astype(np.float32),
        "phi": rng.uniform(-3.1, 3.1, N_ROWS).astype(np.float32),
        "mass": rng.exponential(5, N_ROWS).astype(np.float32),
        "n": rng.integers(0, MOST_JETS + 1, N_ROWS).astype(np.int32),
        "charge": rng.choice(np.array([-1, 1], np.int32), N_ROWS),
        "event": np.arange(N_ROWS, dtype=np.uint64) * 1_000_003 + 5,
    }
    jets = {
        "jet_pt": rng.exponential(30, (N_ROWS, MOST_JETS)).astype(np.float32),
        "jet_eta": rng.normal(0, 1.5, (N_ROWS, MOST_JETS)).astype(np.float32),
        "jet_phi": rng.uniform(-3.1, 3.1, (N_ROWS, MOST_JETS)).astype(np.float32),
    }
    parts = {f"{name}_{at}": values[:, at] for name, values in jets.items() for at in range(MOST_JETS)}
    np.savez(tmp_path / "columns.npz", **columns, **parts)
    texts = EXACT + CLOSE
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    (tmp_path / "script.py").write_text(SCRIPT.replace("MOST_JETS", str(MOST_JETS)))
    outcome = run(
        [sys.executable, tmp_path / "script.py"], cwd=tmp_path, writable=[tmp_path], readable=[Path(sys.prefix)], limits=LIMITS
    )
    assert outcome.returncode == 0, outcome.stderr
    results = np.load(tmp_path / "results.npz")

    offsets = np.concatenate(([0], np.cumsum(columns["n"]))).astype(np.int64)
    filled = np.arange(MOST_JETS) < columns["n"][:, None]
    block = columns | {name: Jagged(values[filled], offsets) for name, values in jets.items()}
    wrong = []
    for at, text in enumerate(texts):
        ours = np.asarray(parse(text).evaluate(block), np.float64)
        theirs = results[f"result_{at}"]
        alike = np.array_equal(ours, theirs) if at < len(EXACT) else np.allclose(ours, theirs, rtol=1e-12, atol=1e-12)
        if not alike:
            worst = int(np.argmax(np.abs(ours - theirs)))
            wrong.append(f"{text}: {ours[worst]!r}, ROOT {theirs[worst]!r}")
    assert not wrong, "\n".join(wrong)
