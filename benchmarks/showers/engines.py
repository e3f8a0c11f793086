"""One shower of a network by generated C++ and by ONNX Runtime's C API, both with their tensors in place."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks import native
from benchmarks.measure import Loop, Measured, Settings, interleaved
from benchmarks.networks.native import SOURCES, Native, adapter
from mlcore.networks.build import FAST
from mlcore.showers.export import Sampler, save_cpp, save_onnx
from mlcore.showers.models.neural import NeuralModel
from mlcore.toolchain.compiler import find_compiler

OURS = "generated C++"
TOLERANCE = 1e-4
"""Of the largest voxel of a shower."""


def times(model: NeuralModel, settings: Settings) -> dict[str, Measured]:
    """Milliseconds of a shower, after both have given PyTorch's shower of the same noise."""
    folder = settings.cache / "showers-engines" / model.slug
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sampler = Sampler(model)
    example = sampler.example()
    with torch.no_grad():
        wanted = sampler(*example)["showers"].numpy()
    inputs = {
        name: np.ascontiguousarray(value.numpy()) for name, value in zip(("energy", "conditions", "noise"), example, strict=True)
    }
    outputs = {"showers": wanted.shape}
    save_onnx(model, folder / "model.onnx", at_once=1)
    code = save_cpp(model, folder, name="network")
    library = folder / "network.so"
    definitions = (f'-DHEADER="{code.folder / "network.hpp"}"', "-DN_TENSORS=4")
    flags = (*FAST, "-fPIC", "-shared", f"-I{native.HEADERS}", f"-I{SOURCES}", *definitions)
    native.run([find_compiler().path, *flags, SOURCES / "ours.cpp", "-o", library, "-ldl"])
    runtime = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    opened = {
        OURS: Native(library, [code.folder / "network.weights"], inputs, outputs),
        f"onnxruntime {metadata.version('onnxruntime')}, C API": Native(
            adapter(settings.cache, "onnxruntime"), [runtime, folder / "model.onnx"], inputs, outputs
        ),
    }
    for name, engine in opened.items():
        difference = float(np.abs(engine.answers()["showers"] - wanted).max()) / float(wanted.max())
        if not difference <= TOLERANCE:
            raise RuntimeError(f"{model.slug}: {name} is off by {difference:.2g} of the largest voxel")
    loops = {name: Loop(engine.run) for name, engine in opened.items()}
    return interleaved(loops, settings, items=1, scale=1e3, patience=20)
