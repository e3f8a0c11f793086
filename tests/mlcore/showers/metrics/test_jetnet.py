"""FPD and KPD against jetnet, in an environment of its own (it needs numpy 1.26): JETNET_PYTHON names its interpreter."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mlcore.showers.metrics.frechet import frechet_distance
from mlcore.showers.metrics.kernel_distance import kernel_distance

SCRIPT = """
import json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from jetnet.evaluation import fpd, kpd
found = np.load(sys.argv[1])
pair = found["truth"], found["model"]
result = [fpd(*pair, min_samples=2000, max_samples=6000, num_batches=4), kpd(*pair, batch_size=1500)]
print(json.dumps([[float(x) for x in figures] for figures in result]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_fpd_and_kpd_are_those_of_jetnet(tmp_path: Path, shift: float) -> None:
    """Values within 1e-5 relative: its root of a matrix is an iteration on matrices that need not be symmetric."""
    python = os.environ.get("JETNET_PYTHON")
    if not python:
        pytest.skip("JETNET_PYTHON names no interpreter that has jetnet and numpy 1.26")
    rng = np.random.default_rng(5)
    mixing = rng.normal(size=(8, 8))
    truth = rng.normal(size=(10_000, 8)) @ mixing + 3
    model = rng.normal(shift, 1 + shift / 2, size=(9_000, 8)) @ mixing + 3
    np.savez(tmp_path / "samples.npz", truth=truth, model=model)
    done = subprocess.run([python, "-c", SCRIPT, str(tmp_path / "samples.npz")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (fpd, fpd_error), (kpd, kpd_error) = json.loads(done.stdout.splitlines()[-1])
    own = frechet_distance(truth, model, least=2_000, most=6_000, batches=4)
    assert own.value == pytest.approx(fpd, rel=1e-5, abs=1e-7)
    assert own.error == pytest.approx(fpd_error, rel=1e-2, abs=1e-7)
    kernel = kernel_distance(truth, model, size=1_500)
    assert kernel.value == pytest.approx(kpd, rel=1e-7, abs=1e-12)
    assert kernel.error == pytest.approx(kpd_error, rel=1e-7, abs=1e-12)
