"""Events in any of the usual containers as rows of numbers for the kernels, copied only where the container forces it.

Libraries are told by the names of their types, never imported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError

Rows = npt.NDArray[Any]

_GENERIC = re.compile(r"(f|x|Column_|feature_)[0-9]+")
"""Names that libraries make up where the training gave none."""

_IN_ORDER = "Pass one row an event and one column a feature, in the order of the training."


def rows(x: Any, n_features: int, feature_names: Sequence[str] = ()) -> Rows:
    """The rows of `x`.

    Parameters
    ----------
    x
        Shape (n_rows, n_features): a NumPy array with any strides, a torch tensor on the CPU, a data frame, an awkward
        array of regular rows, or a structured or awkward array of records whose fields are the features. What is
        missing in a masked or awkward array is NaN.
    n_features, feature_names
        Of the forest. Fields of records are found by these names; columns of a data frame must have them, in this order.

    Returns
    -------
    ndarray
        float32 or float64, shape (n_rows, n_features); other numbers are converted to float64.

    Raises
    ------
    InputError
        It is no such thing, or has another shape or other names; the message says which.
    """
    names = known_names(feature_names)
    values = _numbers(_array(x, names))
    if values.ndim == 1 and len(values) == n_features:
        hint = "Pass one event as a row: X[None, :], or X.reshape(1, -1)."
        raise InputError(f"X is one-dimensional, shape {values.shape}; a forest takes rows", hint=hint, code="forest.shape")
    if values.ndim != 2 or values.shape[1] != n_features:
        message = f"X has the shape {values.shape}, the forest needs (n_rows, {n_features})"
        raise InputError(message, hint=_IN_ORDER, code="forest.shape")
    return values


def known_names(feature_names: Sequence[str]) -> tuple[str, ...]:
    """The names of the features where the training gave any, else nothing.

    >>> known_names(["f0", "f1"]), known_names(["pt", "f1"])
    ((), ('pt', 'f1'))
    """
    return () if all(_GENERIC.fullmatch(name) for name in feature_names) else tuple(feature_names)


def _array(x: Any, names: tuple[str, ...]) -> npt.NDArray[Any]:
    home = type(x).__module__.partition(".")[0]
    if isinstance(x, np.ma.MaskedArray):
        return np.ma.filled(x.astype(np.float64) if x.dtype.kind != "f" else x, np.nan)
    if isinstance(x, np.ndarray) and x.dtype.names is not None:
        return _of_fields({name: x[name] for name in x.dtype.names}, names)
    if home == "torch":
        return _of_tensor(x)
    if home == "awkward":
        return _of_awkward(x, names)
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):
        _check_columns([*x.columns], names)
        return np.asarray(x.to_numpy())
    try:
        return np.asarray(x)
    except (ValueError, TypeError) as error:
        raise InputError(f"X is no array: {error}", hint=_IN_ORDER, code="forest.rows") from None


def _numbers(values: npt.NDArray[Any]) -> Rows:
    """Native float32 or float64 of the same numbers."""
    if values.dtype == np.float32 or values.dtype == np.float64:
        return values
    if values.dtype.kind == "O":  # columns of several kinds, among them missing values that are None
        try:
            return np.asarray(values, np.float64)
        except (TypeError, ValueError):
            pass
    if values.dtype.kind not in "biuf":
        raise InputError(f"X holds {values.dtype}, not numbers", hint="Pass float32 or float64.", code="forest.rows")
    return values.astype(np.float64)


def _of_tensor(tensor: Any) -> npt.NDArray[Any]:
    if tensor.device.type != "cpu":
        message = f"X lies on the device {tensor.device}"
        raise InputError(message, hint="Forests run on the CPU: pass X.cpu().", code="forest.rows")
    tensor = tensor.detach()
    if str(tensor.dtype) == "torch.bfloat16":  # which NumPy does not know; every one is a float32
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


def _of_awkward(array: Any, names: tuple[str, ...]) -> npt.NDArray[Any]:
    import awkward

    try:
        if awkward.fields(array):
            return _of_fields({name: awkward.to_numpy(array[name]) for name in awkward.fields(array)}, names)
        return _filled(awkward.to_numpy(array))
    except ValueError as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"X is ragged: {first}", hint="Every event needs one number a feature.", code="forest.rows") from None


def _of_fields(fields: dict[str, npt.NDArray[Any]], names: tuple[str, ...]) -> npt.NDArray[Any]:
    """Columns side by side, in the order of the training where it gave names."""
    missing = [name for name in names if name not in fields]
    if missing:
        message = f"X has no field {missing[0]!r}, which the forest was trained on"
        raise InputError(message, hint=f"Its fields: {_listed(list(fields))}.", code="forest.names")
    columns = [_filled(fields[name]) for name in names or fields]
    wrong = next((column for column in columns if column.ndim != 1), None)
    if wrong is not None or not columns:
        message = "the fields of X are no plain numbers"
        raise InputError(message, hint="Every event needs one number a feature.", code="forest.rows")
    return np.stack(columns, axis=1)


def _filled(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """NaN where a masked array is masked."""
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(np.float64) if values.dtype.kind != "f" else values, np.nan)
    return values


def _check_columns(columns: list[Any], names: tuple[str, ...]) -> None:
    """Refuse a data frame whose columns are called otherwise, or stand otherwise, than at the training."""
    if not names or not all(isinstance(column, str) for column in columns):
        return
    given = [_squashed(column) for column in columns]
    trained = [_squashed(name) for name in names]
    if given == trained:
        return
    if sorted(given) == sorted(trained):
        first = next(i for i in range(len(given)) if given[i] != trained[i])
        message = f"the columns of X stand in another order than at the training: {columns[first]!r} for {names[first]!r}"
        raise InputError(message, hint="Pass X[list(forest.info.feature_names)].", code="forest.names")
    missing = [name for name, short in zip(names, trained, strict=True) if short not in given]
    message = f"X has no column {missing[0]!r}" if missing else f"X has columns that the forest does not know: {_listed(columns)}"
    raise InputError(message, hint=f"The forest was trained on {_listed(names)}.", code="forest.names")


def _squashed(name: str) -> str:
    """Names as LightGBM keeps them: without blanks."""
    return re.sub(r"\s", "_", name)


def _listed(names: Sequence[Any]) -> str:
    shown = ", ".join(str(name)[:40] for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
