"""Frontends: from the files and objects of other libraries to the IR.

All ways lead through ONNX, so that a network is the same graph whichever library it comes from. Public names: `as_onnx` (any
source as an ONNX model), `read` (any source as a graph).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mlcore.errors import InputError
from mlcore.filetypes import refuse
from mlcore.networks.frontends import onnx
from mlcore.networks.frontends.child import converted
from mlcore.networks.frontends.onnx import Shapes
from mlcore.networks.ir import Graph
from mlcore.shapes import without_bounds

CONVERTED = ("pt2", "keras")
"""Kinds of files that become ONNX in a child."""

__all__ = ["Shapes", "as_onnx", "read"]


def as_onnx(source: Path | str | bytes | Any, *, shapes: Shapes | None = None, example: Any = None) -> Any:
    """A source as what `mlcore.networks.frontends.onnx.read` takes: ONNX as it is, everything else converted.

    Parameters
    ----------
    source
        A file (ONNX, ``.pt2`` or ``.keras``; the latter two are read in a limited child), bytes of an ONNX file, an
        ``onnx.ModelProto``, a ``torch.nn.Module``, a ``torch.export.ExportedProgram`` or a ``keras.Model``.
    shapes, example
        What a module needs to be captured; see `mlcore.networks.frontends.pytorch.read`.

    Raises
    ------
    InputError, UnsupportedOperatorError
        It cannot be converted, or is a pickle.
    RunError
        Reading the file took more than it may.
    """
    if shapes is not None:
        shapes, _ = without_bounds(shapes)  # bounds are the business of the code that is written
    if isinstance(source, str):
        source = Path(source)
    if isinstance(source, Path):
        kind = refuse(source).kind
        if kind == "hdf5":
            raise InputError(
                "the file is HDF5, and no network; old Keras files, whose Lambda layers hold code, are among them",
                hint='Read it with the Keras that wrote it, and save it by model.save("model.keras").',
                code="network.h5",
            )
        return source if kind not in CONVERTED else converted(kind, source)
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(source, keras.Model):  # which on its PyTorch backend is a module, too
        from mlcore.networks.frontends.keras import read as read_keras

        return read_keras(source, shapes=shapes)
    torch = sys.modules.get("torch")  # an object of it is there only where it has been imported
    if torch is not None and isinstance(source, torch.nn.Module | torch.export.ExportedProgram):
        from mlcore.networks.frontends import pytorch

        return pytorch.read(source, shapes=shapes, example=example)
    return source


def read(source: Path | str | bytes | Any, *, shapes: Shapes | None = None, example: Any = None) -> Graph:
    """A source as a graph; see `as_onnx`."""
    return onnx.read(as_onnx(source, shapes=shapes, example=example), shapes=shapes)
