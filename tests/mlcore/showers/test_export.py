"""Models as ONNX and C++: the same showers of the same noise, hits where they belong, a model for Geant4 that compiles."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from mlcore import networks
from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions
from mlcore.showers.export import Sampler, save_cpp, save_onnx
from mlcore.showers.geometry import CALORIMETERS
from mlcore.showers.models.distilled import Distilled
from mlcore.showers.models.neural import Batch, NeuralModel
from mlcore.showers.models.transformer import Transformer, TransformerConfig
from mlcore.showers.models.vae import VAE, VAEConfig
from mlcore.showers.voxels import Voxels
from mlcore.toolchain.compiler import find_compiler

GRID = Voxels.regular(layers=4, layer_depth=35, angles=4, rings=2, ring_width=12)
STAND_INS = Path(__file__).parents[2] / "data" / "showers" / "geant4"
TRANSFORMER = TransformerConfig(
    GRID,
    1e3,
    1e5,
    threshold=0.5,
    patch=(2, 2, 2),
    width=16,
    depth=1,
    heads=2,
    layer_width=16,
    layer_depth=1,
    steps=2,
    layer_steps=2,
)


def model(kind: str) -> NeuralModel:
    """With weights by chance, and scales of showers of a hundred MeV a voxel."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if kind == "vae":
            made: NeuralModel = VAE(VAEConfig(GRID, 1e3, 1e5, latent=4, hidden=24, channels=6, threshold=0.5))
        else:
            made = Transformer(TRANSFORMER)
        for parameter in made.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
        energy = torch.exp(torch.empty(64).uniform_(7, 11))
        level = torch.linspace(-1, 1, 64)[:, None]
        showers = torch.rand(64, *GRID.shape) * energy[:, None, None, None] / 16 * (torch.rand(64, *GRID.shape) < 0.7)
        made.prepare(Batch(showers, energy, torch.cat([level, torch.zeros(64, made.config.conditions - 1)], dim=1)))
    if kind == "distilled":
        assert isinstance(made, Transformer)
        made = Distilled.of(made, parts=2)
    return made.eval()


def agree(found: np.ndarray, wanted: np.ndarray) -> None:
    """Within 1e-4 of the largest voxel of a shower, and relative to each voxel that has a thousandth of it."""
    assert found.shape == wanted.shape
    scale = wanted.reshape(len(wanted), -1).max(axis=1)
    assert (scale > 0).all()
    assert (np.abs(found - wanted).reshape(len(wanted), -1).max(axis=1) <= 1e-4 * scale).all()
    large = wanted > 1e-3 * scale[:, None, None, None]
    np.testing.assert_allclose(found[large], wanted[large], rtol=1e-4)


@pytest.mark.parametrize(
    "kind", ["distilled", pytest.param("vae", marks=pytest.mark.slow), pytest.param("transformer", marks=pytest.mark.slow)]
)
def test_generated_code_makes_pytorchs_showers(kind: str, tmp_path: Path) -> None:
    """Of the same noise, by the code that is compiled for C++ and by ONNX Runtime, three showers at once."""
    made = model(kind)
    sampler = Sampler(made)
    example = sampler.example(3)
    with torch.no_grad():
        wanted = sampler(*example)["showers"].numpy()
    feeds = dict(zip(("energy", "conditions", "noise"), (value.numpy() for value in example), strict=True))
    network = networks.load(sampler, example=example, options=BuildOptions(flags=QUICK))
    agree(network.run(feeds)["showers"], wanted)
    save_onnx(made, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(["showers"], feeds)
    agree(found, wanted)
    alone = {key: value[:1] for key, value in feeds.items()}
    agree(session.run(["showers"], alone)[0], wanted[:1])


def test_samples_are_the_exported_function(tmp_path: Path) -> None:
    """`sample` draws noise and calls what is exported."""
    made = model("distilled")
    showers = made.sample([5e3, 5e4], seed=3)
    noise = torch.randn(2, made.noise_size, generator=torch.Generator().manual_seed(3))
    conditions = Sampler(made).example(2)[1]
    conditions[:, 0] = torch.log(torch.tensor([5e3, 5e4]) / 1e4) / np.log(10)
    with torch.no_grad():
        wanted = Sampler(made)(torch.tensor([5e3, 5e4]), conditions, noise)["showers"].numpy()
    np.testing.assert_allclose(showers, wanted, rtol=1e-4, atol=1e-2)


DRIVER = """
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include "FastShowers.hh"
using tiny::Simulation;
int main() {
  tiny::Simulation simulation("tiny.weights");
  std::vector<float> noise(Simulation::noise), voxels(Simulation::voxels);
  std::ifstream("noise.bin", std::ios::binary).read(reinterpret_cast<char*>(noise.data()), 4 * noise.size());
  simulation.shower({12000.0, 1.2, 0.3}, noise.data(), voxels.data());
  std::ofstream("voxels.bin", std::ios::binary).write(reinterpret_cast<char*>(voxels.data()), 4 * voxels.size());
  for (const auto& hit : Simulation::hits(voxels.data(), {{10, 20, 30}, {0, 2, 0}}))
    std::printf("hit %.9g %.9g %.9g %.9g\\n", hit.position.x, hit.position.y, hit.position.z, hit.energy);
  tiny::Random random(5);
  for (const auto& hit : Simulation::hits(voxels.data(), {{0, 0, 0}, {0, 0, 1}, {0, 0, 1}}, &random))
    std::printf("spread %.9g %.9g %.9g\\n", hit.position.x, hit.position.y, hit.position.z);
  std::vector<float> again(Simulation::voxels), other(Simulation::voxels);
  simulation.shower({12000.0}, std::uint64_t{7}, voxels.data());
  simulation.shower({12000.0}, std::uint64_t{7}, again.data());
  simulation.shower({12000.0}, std::uint64_t{8}, other.data());
  std::printf("seeds %d %d\\n", voxels == again, voxels == other);
  for (double energy : {999.0, 1.1e5}) try {
      simulation.shower({energy}, std::uint64_t{1}, voxels.data());
    } catch (const std::invalid_argument& error) {
      std::printf("refused %s\\n", error.what());
    }
  // Geant4, as the stand-ins have it.
  tiny::FastShowers model("tiny", nullptr, "tiny.weights");
  G4ParticleDefinition electron(11), proton(2212);
  G4Track track{&electron, {100, 0, 0}, {1, 0, 0}, 2.0e4};
  const G4FastTrack fast{&track};
  G4FastStep step;
  std::printf("applicable %d %d\\n", model.IsApplicable(electron), model.IsApplicable(proton));
  track.energy = 10;
  const bool low = model.ModelTrigger(fast);
  track.energy = 2.0e4;
  std::printf("trigger %d %d\\n", low, model.ModelTrigger(fast));
  model.DoIt(fast, step);
  double sum = 0, least = 1e9;
  for (const auto& hit : G4FastSimHitMaker::seen()) {
    sum += hit.GetEnergy();
    least = std::min(least, hit.GetPosition().x());
  }
  std::printf("geant4 %d %.9g %.9g %.9g\\n", step.killed, step.deposited, sum, least);
}
"""


def test_the_cpp_entry_and_the_model_for_geant4(tmp_path: Path) -> None:
    """Compiled against stand-ins for Geant4's headers, as its wheel brings none."""
    made = model("vae")
    calorimeter = replace(CALORIMETERS["dataset2"], voxels=GRID, calibration=4.0)
    code = save_cpp(made, tmp_path, name="tiny", calorimeter=calorimeter, flags=QUICK)
    assert code.report.oracle
    assert {path.name for path in code.folder.iterdir()} >= {
        "tiny.hpp",
        "tiny_showers.hpp",
        "tiny.weights",
        "example.cpp",
        "geant4",
    }
    noise = torch.randn(1, made.noise_size, generator=torch.Generator().manual_seed(2))
    noise.numpy().tofile(code.folder / "noise.bin")
    (code.folder / "driver.cpp").write_text(DRIVER)
    find_compiler().build(
        [code.folder / "driver.cpp"], code.folder / "driver", flags=("-std=c++17", "-O1", "-Wall", "-Werror"),
        include=[code.folder, code.folder / "geant4", STAND_INS],
    )  # fmt: skip
    output = subprocess.run([code.folder / "driver"], cwd=code.folder, check=True, capture_output=True, text=True).stdout
    said: dict[str, list[list[str]]] = {}
    for line in output.splitlines():
        word, *rest = line.split()
        said.setdefault(word, []).append(rest)

    found = np.fromfile(code.folder / "voxels.bin", np.float32).reshape(1, *GRID.shape)
    energy = np.array([12e3])
    conditions = made._conditions(energy, np.array([1.2]), np.array([0.3]), np.array([11]), np.array([0]))
    with torch.no_grad():
        wanted = made.from_noise(torch.tensor([12e3]), conditions, noise).numpy()
    agree(found, wanted)
    # Along y from (10, 20, 30), with the beam along z: the voxels' x is z, their y is y x z = x.
    layer, angle, ring = np.nonzero(found[0])
    x, y, _ = GRID.centres
    hits = np.array(said["hit"], float)
    middles = (np.array(GRID.depths)[1:] + np.array(GRID.depths)[:-1]) / 2
    places = np.column_stack([10 + y[angle, ring], 20 + middles[layer], 30 + x[angle, ring]])
    np.testing.assert_allclose(hits[:, :3], places, atol=1e-4)
    np.testing.assert_allclose(hits[:, 3], found[0][found[0] > 0], rtol=1e-5)
    spread = np.array(said["spread"], float)
    radii = np.hypot(spread[:, 0], spread[:, 1])
    np.testing.assert_array_equal(np.searchsorted(GRID.radii, radii) - 1, ring)
    np.testing.assert_array_equal(np.searchsorted(GRID.depths, spread[:, 2]) - 1, layer)
    assert said["seeds"] == [["1", "0"]]
    assert len(said["refused"]) == 2
    assert said["applicable"] == [["1", "0"]]
    assert said["trigger"] == [["0", "1"]]
    killed, deposited, total, least = map(float, said["geant4"][0])
    assert (killed, deposited) == (1, 2e4)
    assert 0 < total < 1e4  # active layers see a quarter of a calibrated shower
    assert least > 100


@pytest.mark.slow
def test_a_student_as_cpp(tmp_path: Path) -> None:
    """With the flags of a user, timed, and its example."""
    code = save_cpp(model("distilled"), tmp_path, name="student", timed=True)
    assert code.report.timings[0].seconds > 0
    find_compiler().build([code.folder / "example.cpp"], code.folder / "example", include=[code.folder])
    output = subprocess.run([code.folder / "example"], cwd=code.folder, check=True, capture_output=True, text=True).stdout
    assert output.count(" ms") == 10


def test_wrong_exports_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="voxels"):
        save_cpp(model("vae"), tmp_path, calorimeter=CALORIMETERS["dataset2"])
    with pytest.raises(InputError, match="no particles"):
        save_cpp(model("vae"), tmp_path, particles=())
    with pytest.raises(InputError, match="name"):
        save_cpp(model("vae"), tmp_path, name="a b")
