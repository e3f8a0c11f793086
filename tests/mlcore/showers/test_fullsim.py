"""Geant4 itself: the native scorer against Python's, theory, resuming, errors. Each simulation runs in a process of its own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kernels import StepScorer
from mlcore.errors import InputError
from mlcore.showers import dataset, fullsim
from mlcore.showers.fullsim import Plan, produce
from mlcore.showers.fullsim.validation import point, summed_up
from mlcore.showers.geometry import CALORIMETERS, MATERIALS, Calorimeter, Slab
from mlcore.showers.voxels import Voxels

ROOT = Path(__file__).resolve().parents[3]
CRYSTAL = Calorimeter(
    "small",
    "A small crystal",
    ((Slab(MATERIALS["PbWO4"], 8.9, sensitive=True),),) * 24,
    Voxels.regular(layers=24, layer_depth=8.9, angles=8, rings=10, ring_width=6),
)
PLAN = Plan(CRYSTAL, 6, energy=(100.0, 1000.0), shard=3, seed=5)


def in_child(code: str, **values: Any) -> Any:
    """What code leaves as `result`, run where Geant4 is not yet loaded."""
    program = f"""
import json, os, sys, tempfile
from pathlib import Path
values, scratch = json.loads(sys.argv[1]), Path(tempfile.mkdtemp())
real = os.dup(1)
os.dup2(2, 1)  # where Geant4 speaks
{code}
os.write(real, json.dumps(result).encode())
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(values)], capture_output=True, text=True, cwd=ROOT, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


RUN = """
from mlcore.showers.fullsim.engine import Engine
from mlcore.showers.fullsim.plan import Plan
plan = Plan.from_json(values["plan"])
engine = Engine(plan, None, scratch, native=values["native"])
made = [engine.run(plan.conditions(shard)) for shard in values["shards"]]
result = [[m.showers.ravel().tolist(), m.outside.tolist(), m.steps.tolist()] for m in made]
"""


def test_the_native_scorer_sees_what_python_sees() -> None:
    plan = replace(PLAN, energy=(200.0, 200.0), theta=(1.2, 1.4)).to_json()
    native = in_child(RUN, plan=plan, native=True, shards=[0])[0]
    python = in_child(RUN, plan=plan, native=False, shards=[0])[0]
    assert native[2] == python[2]
    assert min(native[2]) > 50
    np.testing.assert_allclose(native[0], python[0], rtol=1e-6, atol=1e-9)  # the middle of a step may be rounded otherwise
    np.testing.assert_allclose(native[1], python[1], rtol=1e-6, atol=1e-9)


def test_a_shard_does_not_depend_on_those_before() -> None:
    both = in_child(RUN, plan=PLAN.to_json(), native=True, shards=[0, 1])
    alone = in_child(RUN, plan=PLAN.to_json(), native=True, shards=[1])
    assert both[1] == alone[0]
    assert both[0] != both[1]


def test_materials_are_geant4s_too() -> None:
    found = in_child(
        """
from mlcore.showers.fullsim.engine import _material, load
from mlcore.showers.geometry import MATERIALS
g4 = load(None, scratch)
result = {}
for name, material in MATERIALS.items():
    made = _material(g4, material)
    result[name] = [made.GetDensity() / (g4.g / g4.cm3), made.GetRadlen()]
"""
    )
    for name, material in MATERIALS.items():
        density, length = found[name]
        assert density == pytest.approx(material.density, rel=5e-3), name
        assert length == pytest.approx(material.radiation_length, rel=0.015), name  # Geant4 has its own form of Tsai's formula


def test_a_production_goes_on_where_it_ended(tmp_path: Path) -> None:
    told: list[float] = []
    first = produce(PLAN, tmp_path / "a", progress=lambda part, _: told.append(part))
    assert first.made == 6
    assert told == [0.5, 1.0]
    assert [path.name for path in first.paths] == ["shard-00000.h5", "shard-00001.h5"]
    before = dataset.read(first.paths)
    assert ((before.energy >= 100) & (before.energy <= 1000)).all()
    assert (before.particle == 11).all()
    assert before.geometries == ("small",)
    metadata = dataset.ShowerFile.open(first.paths[0]).metadata
    assert metadata["physics"].startswith("data-free electromagnetic")
    assert metadata["simulation"].startswith("Geant4 11.4.1")
    # A shard that was lost, one that was cut short, and more showers than before.
    first.paths[0].unlink()
    with h5py.File(first.paths[1], "r+") as file:
        file["showers"].resize(2, axis=0)
    again = produce(replace(PLAN, showers=9), tmp_path / "a", processes=2)
    assert again.made == 9
    after = dataset.read(again.paths)
    np.testing.assert_array_equal(after.showers[:6], before.showers)
    assert produce(replace(PLAN, showers=9), tmp_path / "a").made == 0


def test_a_cancelled_production_keeps_finished_shards(tmp_path: Path) -> None:
    seen: list[float] = []
    made = produce(
        replace(PLAN, showers=3000), tmp_path, progress=lambda part, _: seen.append(part), cancelled=lambda: len(seen) > 0
    )
    assert 1 <= len(made.paths) < 1000
    assert all(dataset.ShowerFile.open(path).count == 3 for path in made.paths)


def test_two_productions_do_not_share_a_folder(tmp_path: Path) -> None:
    def meanwhile() -> bool:
        with pytest.raises(InputError, match="another production"):
            produce(PLAN, tmp_path)
        return True

    assert produce(PLAN, tmp_path, cancelled=meanwhile).made == 0


def test_energy_is_conserved_and_the_maximum_is_where_theory_has_it(tmp_path: Path) -> None:
    points = []
    for energy in (1000.0, 4000.0):
        plan = replace(PLAN, energy=(energy, energy), showers=30, shard=30)
        made = produce(plan, tmp_path / f"{energy}")
        points.append(point(dataset.read(made.paths), dataset.ShowerFile.open(made.paths[0]).column("outside"), CRYSTAL))
    found = summed_up(points, PLAN, "data-free")
    # A crystal sees all but what leaves it: backwards, and the particle's mass is not lost.
    assert all(0.97 < entry.response <= 1.0006 for entry in points)
    assert found.nonlinearity < 0.01
    assert found.depth_difference < 1  # X0; a bin is one
    assert points[1].depth - points[0].depth == pytest.approx(math.log(4), abs=0.8)
    assert all(0.8 < entry.radius < 1.25 for entry in points)  # nine tenths in one Moliere radius
    found.draw(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 5000
    json.dumps(found.to_json())


def test_photons_convert_later_and_angles_are_followed(tmp_path: Path) -> None:
    plan = replace(
        PLAN, particle="gamma", energy=(2000.0, 2000.0), theta=(math.radians(40), math.radians(140)), showers=20, shard=20
    )
    made = produce(plan, tmp_path)
    records = dataset.read(made.paths)
    assert (records.particle == 22).all()
    assert np.ptp(records.theta) > 0.5
    # The voxels follow the shower, so that its centre stays on the axis: on the middle of opposite angles.
    x, y, _ = CRYSTAL.voxels.centres
    layers = records.showers.sum(axis=1)
    for centre in (x, y):
        assert abs(float((layers * centre).sum() / layers.sum())) < 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dataset2", "par04-scipb", "odd", "cld", "hgcal", "pwo", "w-oriented"])
def test_shipped_calorimeters_agree_with_theory(name: str, tmp_path: Path) -> None:
    plan = Plan(CALORIMETERS[name], 60, shard=60)
    found = fullsim.validate(plan, tmp_path, energies=(1, 8))
    assert found.nonlinearity < 0.04  # 60 showers with 15 % each are known to 2 %
    # Steel after 26 X0 of lead makes an average of all layers meaningless for the HGCal.
    assert found.depth_difference < (1 if name != "hgcal" else 3)
    assert all(entry.containment > 0.9 for entry in found.points)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"energy": (0.0, 10.0)}, "energies from 0 to 10"),
        ({"energy": (10.0, 5.0)}, "energies from 10 to 5"),
        ({"energy": (math.nan, 5.0)}, "energies from nan"),
        ({"theta": (0.0, 1.0)}, "theta from 0"),
        ({"particle": "muon"}, "particle 'muon' is not known"),
        ({"spectrum": "power"}, "spectrum 'power'"),
        ({"physics": "QBBC"}, "physics list 'QBBC'"),
        ({"showers": 0}, "0 showers"),
        ({"seed": -1}, "seed -1"),
        ({"cut": 0.0}, "range cut of 0"),
    ],
)
def test_bad_plans_are_told_apart(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(PLAN, **change)


def test_hadrons_and_standard_lists_need_data_sets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pi-") as caught:
        produce(replace(PLAN, particle="pi-"), tmp_path / "a")
    assert "data sets" in caught.value.hint
    with pytest.raises(InputError, match="FTFP_BERT needs"):
        produce(replace(PLAN, physics="FTFP_BERT"), tmp_path / "b")
    with pytest.raises(InputError, match="holds no data sets"):
        produce(PLAN, tmp_path / "c", data=tmp_path)


def test_a_folder_of_another_plan_is_refused(tmp_path: Path) -> None:
    PLAN.settle(tmp_path)
    replace(PLAN, showers=100).settle(tmp_path)
    with pytest.raises(InputError, match="differs in energy, seed"):
        replace(PLAN, seed=6, energy=(1.0, 2.0)).settle(tmp_path)


def test_conditions_fill_their_ranges() -> None:
    plan = replace(PLAN, showers=4000, shard=4000, energy=(1e3, 1e5), theta=(1.0, 2.0), phi=(0.0, 6.0))
    drawn = plan.conditions(0)
    logs = np.log(drawn.energy / 1e3) / math.log(100)
    assert logs.mean() == pytest.approx(0.5, abs=0.02)  # 4 standard errors
    assert logs.std() == pytest.approx(1 / math.sqrt(12), abs=0.01)
    assert replace(plan, spectrum="flat").conditions(0).energy.mean() == pytest.approx(50.5e3, abs=1900)
    assert (drawn.theta >= 1).all()
    assert (drawn.phi <= 6).all()
    assert not np.array_equal(plan.conditions(0).energy, replace(plan, seed=6).conditions(0).energy)
    assert len(PLAN.conditions(1).energy) == 3
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_the_scorer_sorts_points_into_voxels() -> None:
    depths, radii = (0.0, 1.0, 3.0, 4.0), (0.0, 2.0, 4.0)
    scorer = StepScorer(depths, 8, radii)
    random = np.random.default_rng(4)
    points, energies = random.uniform(-5, 5, (2000, 3)), random.exponential(1, 2000)
    for energy, place in zip(energies, points, strict=True):
        scorer.add(energy, *place)
    turn = np.arctan2(points[:, 1], points[:, 0])
    sample = np.stack([points[:, 2], turn, np.hypot(points[:, 0], points[:, 1])], axis=1)
    expected, _ = np.histogramdd(sample, bins=(depths, np.linspace(-np.pi, np.pi, 9), radii), weights=energies)
    np.testing.assert_allclose(scorer.energies().reshape(3, 8, 2), expected, rtol=1e-12)
    assert scorer.outside == pytest.approx(energies.sum() - expected.sum())
    assert scorer.steps == 2000
    scorer.clear()
    assert (scorer.energies().sum(), scorer.outside, scorer.steps) == (0, 0, 0)
    # Turned: x is the depth, z the angle 0.
    scorer.set_axes((0, 0, 1, 0, 1, 0, 1, 0, 0))
    scorer.add(2.0, 0.5, 0.1, 1.0)
    assert scorer.energies().reshape(3, 8, 2)[0, 4, 0] == 2
    with pytest.raises(ValueError, match="ascend"):
        StepScorer((0.0, 0.0), 8, radii)
