"""Batches for NumPy, PyTorch, TensorFlow and JAX; each library is imported when it is asked for."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.batches.forms import Change, Convert, Form, JaggedArray, mapped
from mlcore.batches.selection import Selection
from mlcore.errors import InputError, UnsupportedFeatureError


class Libraries(ABC):
    """What a loader gives its batches to."""

    _selection: Selection
    batch_size: int
    drop_remainder: bool

    @abstractmethod
    def _batches(self, form: Form, *, lasting: bool | None = None) -> Iterator[Any]:
        """The next epoch; unless batches are lasting, they are overwritten by the next one. None is as the user chose."""

    @abstractmethod
    def _changed(self) -> tuple[Change, int | None]:
        """What is done to arrays before they become batches; and the columns of x then, None for as many as there are."""

    def _form(self, convert: Convert = lambda array: array) -> Form:
        return Form(self._selection, convert, self._changed()[0])

    def numpy(self) -> Iterator[Any]:
        """The batches of the next epoch.

        Matrices: x of shape (n_rows, n_features), or a tuple of x, y, w and the mask of x as asked for; y and w have the shape
        (n_rows,), or (n_rows, n_names) where they were given as lists. Dicts: an array of shape (n_rows, ...) for each column and
        each mask, and a `mlcore.batches.JaggedArray` where it has all its values. The arrays are the caller's, nothing is
        written to them later, unless the loader was made with ``copy=False``.
        """
        return self._batches(self._form())

    def torch(self, *, pin_memory: bool = False) -> Iterator[Any]:
        """The same as tensors of PyTorch on the CPU, without a copy.

        Parameters
        ----------
        pin_memory
            Whether they lie in pinned memory, from which they go to a GPU beside other work; ignored where there is no CUDA.
        """
        return self._batches(self._form(tensors(pin_memory)))

    def jax(self) -> Iterator[Any]:
        """The same as arrays of JAX on its default device.

        Raises
        ------
        UnsupportedFeatureError
            JAX is not installed.
        InputError
            There are integers of 64 bits, and JAX has 32: it would change them.
        """
        jax = _imported("jax", "JAX", 'pip install "jax[cpu]", or see https://docs.jax.dev for GPUs')
        jnp = importlib.import_module("jax.numpy")
        wide = [output.name for output in self._selection.outputs if output.dtype.kind in "iu" and output.dtype.itemsize == 8]
        if wide and not jax.config.jax_enable_x64:
            raise InputError(
                f"JAX would cut the 64 bits of {', '.join(map(repr, wide))} to 32",
                hint='Call jax.config.update("jax_enable_x64", True) first, or leave these columns out.',
                code="batches.jax",
            )

        def owned(array: npt.NDArray[Any]) -> Any:
            return jnp.array(array, copy=True)  # asarray would keep all arrays that the batch was cut from

        def jagged(array: JaggedArray) -> JaggedArray:
            offsets = array.offsets if jax.config.jax_enable_x64 else array.offsets.astype(np.int32)
            return JaggedArray(owned(array.values), owned(offsets))

        return (mapped(batch, owned, jagged) for batch in self._batches(self._form(), lasting=True))

    def tensorflow(self) -> Any:
        """The same as a ``tf.data.Dataset``, which gives the next epoch each time it is iterated; jagged columns are ragged.

        Raises
        ------
        UnsupportedFeatureError
            TensorFlow is not installed.
        """
        tf = _imported("tensorflow", "TensorFlow", "pip install tensorflow, or tensorflow-cpu")
        rows = self.batch_size if self.drop_remainder else None
        width = self._changed()[1]
        outputs = self._selection.outputs
        specs: dict[str, Any] = {}
        for output, behind in zip(outputs, [*outputs[1:], None], strict=True):
            dtype = tf.as_dtype(output.dtype)
            if output.counted:
                continue
            if behind is not None and behind.counted:
                specs[output.name] = tf.RaggedTensorSpec((rows, None, *output.shape[1:]), dtype, ragged_rank=1)
                continue
            shape = (width,) if output.name == "x" and width is not None else output.shape
            specs[output.name] = tf.TensorSpec((rows, *shape), tf.float32 if shape != output.shape else dtype)
        arrays = tuple(specs.values())
        signature = specs if self._selection.by_name else arrays[0] if len(arrays) == 1 else arrays

        def ragged(array: JaggedArray) -> Any:
            return tf.RaggedTensor.from_row_splits(array.values, array.offsets, validate=False)

        def batches() -> Iterator[Any]:
            for batch in self._batches(self._form(), lasting=True):  # TensorFlow shares the memory of arrays
                yield mapped(batch, lambda array: array, ragged)

        return tf.data.Dataset.from_generator(batches, output_signature=signature)


def tensors(pin_memory: bool) -> Convert:
    """From arrays to tensors that share their memory."""
    import torch

    if pin_memory and torch.cuda.is_available():
        return lambda array: torch.from_numpy(array).pin_memory()
    return torch.from_numpy


def _imported(module: str, name: str, command: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnsupportedFeatureError(
            f"{name} cannot be imported: {error}", hint=f"Install it: {command}.", code="batches.library"
        ) from error
