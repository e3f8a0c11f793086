"""A task: a network of the zoo at a batch size, as files, inputs and the answers that PyTorch gives."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.environment import UnavailableError
from mlcore.benchmarks.folding import folded as fold
from mlcore.benchmarks.zoo import ZooModel

Array = npt.NDArray[Any]

TOLERANCE = 1e-4
"""Of the largest value of an output: contenders compute in float32, in orders of their own and with their own exponentials; the
deepest of the zoo's networks are off by 1e-5 between any two of them."""


@dataclass(frozen=True)
class Made:
    """A file that was made once, and the seconds that it took."""

    path: Path
    seconds: float


class Task:
    """A network at a batch size.

    Parameters
    ----------
    model
        Of the zoo.
    batch
        Events of each inference.
    cache
        Folder for what is made of it.
    """

    def __init__(self, model: ZooModel, batch: int, cache: Path) -> None:
        self.model, self.batch, self.cache = model, batch, cache
        self.module = model.module()
        self.inputs = model.example(batch)
        self.expected = model.run(self.module, self.inputs)
        self.outputs = {name: value.shape for name, value in self.expected.items()}

    @property
    def title(self) -> str:
        return f"{self.model.title}: batch {self.batch}"

    @cached_property
    def weight_bytes(self) -> int:
        """Of all parameters and buffers."""
        values = [*self.module.parameters(), *self.module.buffers()]
        return sum(value.numel() * value.element_size() for value in values)

    @cached_property
    def onnx(self) -> Path:
        """The network as PyTorch exports it, of this batch size."""

        def export(path: Path) -> None:
            self.model.export_onnx(path, batch=self.batch, module=self.module)

        return self.made("exported.onnx", export, inspect.getsource(type(self.model))).path

    @cached_property
    def folded(self) -> Path:
        """The same with everything computed that does not depend on the inputs, for the peers that do not do so themselves."""
        depends = hashlib.sha256(self.onnx.read_bytes()).hexdigest(), inspect.getsource(fold), metadata.version("onnxruntime")
        return self.made("folded.onnx", lambda path: fold(self.onnx, path), *depends).path

    @cached_property
    def folder(self) -> Path:
        """Where what is made of this task is kept; another source, weight or PyTorch has another."""
        import torch

        digest = hashlib.sha256(f"{torch.__version__} {self.batch} {self.model.opset}".encode())
        for name, value in self.module.state_dict().items():
            digest.update(name.encode() + value.numpy().tobytes())
        # The weights do not tell what is computed with them; the answers do.
        for name, array in {**self.inputs, **self.expected}.items():
            digest.update(name.encode() + array.tobytes())
        folder = self.cache / "networks" / f"{self.model.name}-{self.batch}-{digest.hexdigest()[:10]}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def made(self, name: str, make: Callable[[Path], object], *depends: str) -> Made:
        """A file or folder made by `make`, kept with the seconds that it took; a failure is kept as well.

        Parameters
        ----------
        depends
            What it is made of beside the task, such as sources, options and versions: another text makes it again.

        Raises
        ------
        UnavailableError
            As `make` raised it, now or an earlier time.
        """
        path = self.folder / name
        note = path.with_name(f"{name}.json")
        key = hashlib.sha256("\n".join(depends).encode()).hexdigest()
        content = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
        if content.get("of") != key:
            note.unlink(missing_ok=True)
            start = time.perf_counter()
            failed = ""
            try:
                make(path)
            except UnavailableError as error:
                failed = str(error)
            content = {"of": key, "seconds": time.perf_counter() - start, "failed": failed}
            note.write_text(json.dumps(content), encoding="utf-8")
        if content["failed"]:
            raise UnavailableError(content["failed"])
        return Made(path, float(content["seconds"]))


def check(name: str, answers: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Hold a contender's answers against PyTorch's."""
    for output, value in expected.items():
        error = np.abs(answers[output] - value).max() / np.abs(value).max()
        if answers[output].shape != value.shape or not error <= TOLERANCE:
            raise AssertionError(f"{name} answers otherwise than PyTorch: {output} is off by {error:.2g} of its largest value")
