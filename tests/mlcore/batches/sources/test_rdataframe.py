"""ROOT's RDataFrame as a source, in a process of its own: ROOT takes long to load and stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
import numpy as np
import ROOT
from mlcore.batches.blocks import Jagged
from mlcore.batches.sources import open_source, rdataframe
from mlcore.errors import DataError

rdataframe.STEP = 64
frame = ROOT.RDataFrame(1000).Define("x", "float(rdfentry_)").Define("k", "(short)(rdfentry_ % 7)").Define("flag", "k > 3")
frame = frame.Define("v", "ROOT::RVec<double>(k, x)").Define("w", "std::vector<int>(k % 2, 5)").Define("text", 'std::string("a")')
frame = frame.Define("u", "(unsigned char)(k)").Define("d", "x / 3.0").Define("l", "(long long)(rdfentry_)")
entry = np.arange(1000)
exact = {
    "x": entry.astype(np.float32), "k": (entry % 7).astype(np.int16), "flag": entry % 7 > 3, "u": (entry % 7).astype(np.uint8),
    "d": entry.astype(np.float32) / 3.0, "l": entry.astype(np.int64),
}
exact["d"] = exact["x"].astype(np.float64) / 3.0
counts = {"v": entry % 7, "w": entry % 7 % 2}


def check(frame, rows):
    source = open_source(frame)
    (part,) = source.parts
    assert part.rows == len(rows)
    assert source.schema["text"].why_not
    names = [*exact, "v", "w"]
    assert all(not source.schema[name].why_not for name in names)
    start = row = 5
    with part.reader(names, 50) as reader:
        for block in reader.blocks(start, part.rows - 3):
            chosen = rows[row : min(row + 50, part.rows - 3)]
            for name, column in exact.items():
                assert block[name].dtype == column.dtype, name
                np.testing.assert_array_equal(block[name], column[chosen], err_msg=name)
            for name in ("v", "w"):
                assert isinstance(block[name], Jagged)
                np.testing.assert_array_equal(block[name].counts, counts[name][chosen])
            np.testing.assert_array_equal(block["v"].values, np.repeat(chosen.astype(float), counts["v"][chosen]))
            row += len(chosen)
    assert row == part.rows - 3
    return part


check(frame, entry)
part = check(frame.Filter("k != 2 && x > 100"), entry[(entry % 7 != 2) & (entry > 100)])
assert part.boundaries(["x"]).tolist()[:3] == [0, 64, 128]
check(frame.Filter("k != 2", "named"), entry[entry % 7 != 2])
assert open_source([frame, {"x": exact["x"]}]).rows == 2000
ROOT.gErrorIgnoreLevel = ROOT.kError
from_file = ROOT.RDataFrame("extra", sys.argv[1])
ROOT.EnableImplicitMT(2)
threads = ROOT.RDataFrame("extra", sys.argv[1])
(part,) = open_source(threads).parts
with part.reader(["score", "f"]) as reader:
    block = next(reader.blocks(0, part.rows))
    # In some order, with both columns in the same.
    np.testing.assert_array_equal(np.sort(block["score"]), np.arange(part.rows) * 0.25)
    np.testing.assert_array_equal(block["f"], -block["score"] * 4)
with part.reader(["score"]) as reader:
    np.testing.assert_array_equal(next(reader.blocks(0, part.rows))["score"], block["score"])
print("all is well")
"""


def test_frames(written: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, written / "friend.root"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("all is well")
