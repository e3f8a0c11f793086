"""``python -m benchmarks.showers.train FOLDER``: trains the shipped networks anew, as their cards say.

What is in the folder already is gone on with. It takes about 45 minutes of one core with AVX-512 BF16; the simulation, as long.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Settings
from benchmarks.showers.data import CALORIMETER, training_sample
from mlcore.showers.dataset import Records
from mlcore.showers.models.distilled import Distilled
from mlcore.showers.models.transformer import Transformer, TransformerConfig
from mlcore.showers.models.vae import VAE, VAEConfig
from mlcore.showers.training import TrainingConfig, train

SHOWERS = 6_750
COMMON: dict[str, Any] = {"lowest": 1e3, "highest": 1e5, "geometries": ("dataset2",), "threshold": 0.01515}
STAGES = (
    ("a", 2_750, TrainingConfig(1_500, 64, 1.5e-3, 50, average=0.99, precision="bfloat16")),
    ("b", 4_500, TrainingConfig(2_500, 64, 1e-3, 50, average=0.995, precision="bfloat16")),
    ("c", 6_750, TrainingConfig(4_000, 64, 8e-4, 50, average=0.999, precision="bfloat16")),
)
"""Of the teacher: showers and training of each; a stage begins with the weights of the one before."""
LAYERS = TrainingConfig(5_000, 128, 1e-3, 100, average=0.999)
"""Of the network of the layers' energies alone, after the stages."""
STUDENT_SHOWERS = 5_000
STUDENT = TrainingConfig(3_000, 64, 1e-3, 30, average=0.995, precision="bfloat16")
VARIATIONAL = TrainingConfig(4_000, 128, 1.5e-3, 50, average=0.998)


def main(folder: Path) -> None:
    """Train all three."""
    torch.set_num_threads(1)
    settings = Settings(quick=False, cache=Path(__file__).parents[1] / "out")
    records = training_sample(settings)[:SHOWERS]
    network = teacher(records, folder)
    network.save(folder / "dataset2-teacher.safetensors")
    student = Distilled.of(network)
    train(student, records[:STUDENT_SHOWERS], folder / "student", STUDENT)
    student.save(folder / "dataset2-student.safetensors")
    torch.manual_seed(1)
    variational = VAE(VAEConfig(CALORIMETER.voxels, **COMMON, hidden=256, latent=32))
    train(variational, records, folder / "vae", VARIATIONAL)
    variational.save(folder / "dataset2-vae.safetensors")


def teacher(records: Records, folder: Path) -> Transformer:
    """The transformer in its stages, then its network of the layers' energies alone."""
    torch.manual_seed(1)
    config = TransformerConfig(CALORIMETER.voxels, **COMMON, patch=(3, 8, 9), depth=3, layer_width=128)
    network = Transformer(config)
    for name, count, training in STAGES:
        train(network, records[:count], folder / f"teacher-{name}", training)
    layers = Transformer(replace(config, learns="layers"))
    layers.load_state_dict(network.state_dict())
    train(layers, records, folder / "teacher-d", LAYERS)
    network.load_state_dict(layers.state_dict())
    return network


if __name__ == "__main__":
    main(Path(sys.argv[1]))
