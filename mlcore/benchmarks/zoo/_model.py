"""What a model of the zoo is: how to build it, what goes in and out, and how it becomes an ONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError, UnsupportedFeatureError

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[Any]
Kind = Literal["normal", "mask", "momentum", "edges"]

BATCH, PARTICLES, NODES, EDGES = "batch", "particles", "nodes", "edges"
"""Symbolic dimensions. A graph model has one graph an event: its nodes are the particles of all events, one after the other."""

NEIGHBOURS = 8
"""Edges into each node of the graph models' examples, from other nodes of the same event; fewer where it has fewer others."""

PION_MASS = 0.13957


@dataclass(frozen=True)
class TensorSpec:
    """An input or output.

    Attributes
    ----------
    shape
        Numbers, and the names of dimensions that depend on the call: `BATCH`, `PARTICLES`, `NODES`, `EDGES`.
    kind
        What the examples hold: ``normal``: float32 from the normal distribution; ``mask``: float32, 1 for the real particles,
        which come first and are at least half of all, 0 for the padded ones, whose features are 0; ``momentum``: float32,
        (px, py, pz, E) in GeV of charged pions along the first axis behind the batch, padded ones included, since ONNX has no
        atan2 and the angle of a zero momentum becomes NaN in exported files; ``edges``: int64, source and target nodes.
    """

    name: str
    shape: tuple[int | str, ...]
    kind: Kind = "normal"

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """The axes whose size depends on the call, with the name of their dimension."""
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}

    def sizes(self, dimensions: Mapping[str, int]) -> tuple[int, ...]:
        """The shape in numbers."""
        return tuple(dimensions[size] if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True)
class ZooModel:
    """A network of the zoo.

    Attributes
    ----------
    name
        The module's name.
    title
        For people.
    paper
        Where the architecture comes from: authors, title, number in arXiv or DOI.
    build
        Makes the network with fresh weights; `module` seeds it.
    inputs, outputs
        In the order of the network's arguments and results.
    particles
        The usual number of particles, tracks or tokens; None where the network has a fixed shape beside the batch.
    batches
        The batch sizes that it is compared at.
    opset
        Of the ONNX file.
    traced
        Whether PyTorch's tracing exporter writes the file; else the one on `torch.export`, which needs onnxscript.
    packages
        Modules that `build` needs and the ML core does not depend on, with the command that installs them.
    """

    name: str
    title: str
    paper: str
    build: Callable[[], nn.Module]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    particles: int | None = None
    batches: tuple[int, ...] = (1, 64)
    opset: int = 17
    traced: bool = True
    packages: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def input_names(self) -> list[str]:
        return [spec.name for spec in self.inputs]

    @property
    def output_names(self) -> list[str]:
        return [spec.name for spec in self.outputs]

    @property
    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """The axes whose size depends on the call, by tensor, as `torch.onnx.export` takes them."""
        return {spec.name: axes for spec in (*self.inputs, *self.outputs) if (axes := spec.dynamic_axes)}

    def module(self, *, seed: int = 1) -> nn.Module:
        """The network in float32, ready for inference; equal seeds give equal weights.

        Weights are drawn so that signals keep their size from layer to layer (K. He et al., arXiv:1502.01852, equation (10)), and
        statistics and scales of the normalisations so that they are neither zero nor one: a wrong conversion shows in the answer.

        Raises
        ------
        UnsupportedFeatureError
            A package that it is made of is not installed.
        """
        import torch

        self.check_packages()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = self.build().float()
            _draw_weights(module)
        return module.eval().requires_grad_(requires_grad=False)

    def check_packages(self) -> None:
        """Raise `UnsupportedFeatureError` where a package that it is made of is not installed."""
        for package, command in self.packages.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what a package says about its own use of PyTorch
                    import_module(package)
            except ImportError as error:
                raise UnsupportedFeatureError(
                    f"{self.title} is made of {package}, which cannot be imported: {error}",
                    hint=f"Install it: {command}.",
                    code="zoo.package",
                ) from error

    def dimensions(self, batch: int = 1, particles: int | None = None) -> dict[str, int]:
        """Sizes of the symbolic dimensions.

        Raises
        ------
        InputError
            Sizes below one, or a number of particles for a network that has none.
        """
        if particles is not None and self.particles is None:
            raise InputError(f"{self.title} has no number of particles", hint="Leave `particles` out.")
        particles = particles or self.particles or 1
        if batch < 1 or particles < 1:
            raise InputError(f"{batch} events of {particles} particles", hint="Both are at least 1.")
        nodes = batch * particles
        return {BATCH: batch, PARTICLES: particles, NODES: nodes, EDGES: nodes * min(NEIGHBOURS, max(particles - 1, 1))}

    def example(self, batch: int = 1, particles: int | None = None, *, seed: int = 2) -> dict[str, Array]:
        """Inputs by name, C-contiguous; equal arguments give equal inputs.

        Parameters
        ----------
        batch
            Number of events.
        particles
            Particles of each event; by default the usual number.
        """
        dimensions = self.dimensions(batch, particles)
        rng = np.random.default_rng(seed)
        real = _real_particles(rng, dimensions[BATCH], dimensions[PARTICLES])
        masked = any(spec.kind == "mask" for spec in self.inputs)
        return {spec.name: _draw(spec, dimensions, rng, real if masked else None) for spec in self.inputs}

    def export_onnx(
        self, path: Path, *, batch: int = 1, particles: int | None = None, dynamic: bool = False, module: nn.Module | None = None
    ) -> Path:
        """Write the network as ONNX and return the path.

        Parameters
        ----------
        batch, particles
            The sizes that it is traced with, and that the file has unless it is dynamic.
        dynamic
            Leave the sizes in `dynamic_axes` to the call.
        module
            What `module` returned; by default a fresh one with the usual seed.
        """
        import torch

        arguments = self.arguments(self.example(batch, particles))
        module = module if module is not None else self.module()
        names: dict[str, Any] = {"input_names": self.input_names, "output_names": self.output_names, "opset_version": self.opset}
        with warnings.catch_warnings(), torch.no_grad():
            # The tracing exporter calls itself deprecated, and warns of each shape that becomes a constant; files without
            # `dynamic` are meant to have such, and those with it are tested with other shapes.
            warnings.simplefilter("ignore")
            if self.traced:
                torch.onnx.export(
                    module, arguments, str(path), dynamo=False, dynamic_axes=self.dynamic_axes if dynamic else None, **names
                )
            else:
                free = {size: torch.export.Dim(size, min=2) for axes in self.dynamic_axes.values() for size in axes.values()}
                shapes = tuple({axis: free[size] for axis, size in spec.dynamic_axes.items()} for spec in self.inputs)
                torch.onnx.export(
                    module,
                    arguments,
                    str(path),
                    dynamic_shapes=shapes if dynamic else None,
                    external_data=False,
                    verbose=False,
                    **names,
                )
        return path

    def arguments(self, inputs: Mapping[str, Array]) -> tuple[Any, ...]:
        """The inputs as the tensors that the module is called with; they share memory with the arrays."""
        import torch

        return tuple(torch.from_numpy(inputs[name]) for name in self.input_names)

    def run(self, module: nn.Module, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The module's outputs by name, as arrays."""
        import torch

        with torch.inference_mode():
            answer = module(*self.arguments(inputs))
        answers: Sequence[Any] = answer if isinstance(answer, tuple) else (answer,)
        return {name: tensor.numpy() for name, tensor in zip(self.output_names, answers, strict=True)}


def _draw_weights(module: nn.Module) -> None:
    """Draw what a training would have changed and a fresh network has too small, zero or one."""
    import torch
    from torch import nn

    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.modules.conv._ConvNd):
                nn.init.kaiming_uniform_(part.weight, nonlinearity="relu")
            elif isinstance(part, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
                drawn: list[tuple[torch.Tensor | None, float, float]] = [(part.weight, 0.5, 1.5), (part.bias, -0.2, 0.2)]
                if not isinstance(part, nn.LayerNorm):
                    drawn += [(part.running_mean, -0.2, 0.2), (part.running_var, 0.5, 2.0)]
                for values, low, high in drawn:
                    if values is not None:
                        values.uniform_(low, high)


def _real_particles(rng: np.random.Generator, batch: int, particles: int) -> Array:
    """Which particles are real: bool, shape (batch, particles); the first ones of each event."""
    n_real = rng.integers((particles + 1) // 2, particles + 1, size=batch)
    real: Array = np.arange(particles) < n_real[:, None]
    return real


def _draw(spec: TensorSpec, dimensions: Mapping[str, int], rng: np.random.Generator, real: Array | None) -> Array:
    """One input of an example; `real`: which particles are real, where the network has a mask."""
    sizes = spec.sizes(dimensions)
    if spec.kind == "edges":
        return _edges(rng, dimensions)
    if spec.kind == "momentum":
        return _momenta(rng, sizes)
    values = rng.standard_normal(sizes, np.float32)
    if real is not None and BATCH in spec.shape and PARTICLES in spec.shape:
        axes = {spec.shape.index(BATCH), spec.shape.index(PARTICLES)}
        shown = real.reshape([size if axis in axes else 1 for axis, size in enumerate(sizes)])
        values = np.where(shown, np.float32(1) if spec.kind == "mask" else values, np.float32(0))
    return np.ascontiguousarray(values)


def _momenta(rng: np.random.Generator, sizes: tuple[int, ...]) -> Array:
    """Four-momenta in GeV, float32, shape (batch, 4, particles): a collimated spray of charged pions around x."""
    batch, four, particles = sizes
    if four != 4:
        raise ValueError(f"a momentum has four components, not {four}")
    pt = rng.exponential(5.0, (batch, particles)) + 0.5
    eta, phi = rng.normal(0.0, 0.3, (2, batch, particles))
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(px**2 + py**2 + pz**2 + PION_MASS**2)
    return np.stack([px, py, pz, energy], axis=1).astype(np.float32)


def _edges(rng: np.random.Generator, dimensions: Mapping[str, int]) -> Array:
    """Edges from other particles of the same event, int64, shape (2, edges): sources, targets."""
    batch, particles = dimensions[BATCH], dimensions[PARTICLES]
    neighbours = dimensions[EDGES] // dimensions[NODES]
    target = np.repeat(np.arange(batch * particles), neighbours).reshape(-1, neighbours)
    order = np.argsort(rng.random((batch * particles, max(particles - 1, 1))), axis=1)[:, :neighbours]
    steps = order + 1 if particles > 1 else np.zeros_like(order)
    source = target // particles * particles + (target + steps) % particles
    return np.stack([source.ravel(), target.ravel()]).astype(np.int64)
