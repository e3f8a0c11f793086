"""Rows to predict, read from a file of the user's: NumPy, text with commas, ROOT or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore import filetypes
from mlcore.errors import InputError
from mlcore.forests.ir import TreeModel
from mlcore.root_classes import own_classes

KINDS: tuple[filetypes.Kind, ...] = ("numpy", "text", "root", "parquet")
MOST_ROWS = 200_000

Rows = npt.NDArray[Any]


def read_rows(path: Path, model: TreeModel, *, most: int = MOST_ROWS) -> Rows:
    """Rows for a forest.

    Columns that have names are taken by the names of the model's features where the file has all of them, else in the order of
    the file, of which the model needs exactly as many as it has features.

    Parameters
    ----------
    path
        A NumPy array ``.npy`` or archive ``.npz`` (its first array), text of numbers with commas, semicolons, tabs or spaces and
        perhaps a line of names, a ROOT file (the first tree, its branches of one number an entry) or Parquet.
    model
        Whose features are wanted.
    most
        Rows beyond these are not read, as far as the format allows.

    Returns
    -------
    ndarray
        float32 or float64, shape (n_rows, n_features).

    Raises
    ------
    InputError
        The file cannot be read, or its columns do not fit the model.
    """
    kind = filetypes.refuse(path).kind
    readers = {"numpy": _numpy, "text": _text, "root": _root, "parquet": _parquet}
    if kind not in readers:
        raise InputError(
            f"rows cannot be read from a file of the kind {kind}",
            hint="Give NumPy, text with commas, ROOT or Parquet.",
            code="rows.kind",
        )
    try:
        return readers[kind](path, model, most)
    except InputError:
        raise
    except MemoryError:
        raise InputError("the rows need more memory than there is", hint="Give fewer rows.", code="rows.memory") from None
    except Exception as error:  # a damaged file makes libraries raise nearly anything
        reason = (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
        raise InputError(f"the rows cannot be read: {reason}", hint="Write the file again.", code="rows.damaged") from error


def _numpy(path: Path, model: TreeModel, most: int) -> Rows:
    found = np.load(path, allow_pickle=False, mmap_mode="r")
    if isinstance(found, np.lib.npyio.NpzFile):
        with found:
            if not found.files:
                raise InputError("the archive holds no array", hint="Save one by np.savez.", code="rows.empty")
            found = found[found.files[0]]
    if found.dtype.names:
        return _columns({name: found[name][:most] for name in found.dtype.names}, model)
    if found.ndim != 2 or found.dtype.kind not in "biuf":
        message = f"the array holds {found.dtype} of the shape {found.shape}, not numbers in rows and columns"
        raise InputError(message, hint="Save shape (n_rows, n_features).", code="rows.shape")
    return _numbers(found[:most])


def _text(path: Path, model: TreeModel, most: int) -> Rows:
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline(1 << 20)
        separator = next((mark for mark in ",;\t" if mark in first), None)
        names = [word.strip().strip('"') for word in first.strip().lstrip("#").split(separator)]
        has_names = not all(_is_number(word) for word in names)
        if not has_names:
            file.seek(0)
        rows = np.loadtxt(
            file, np.float64, delimiter=separator, max_rows=most, ndmin=2, converters=_float, encoding="utf-8", comments=None
        )
    if has_names and len(names) == rows.shape[1]:
        return _columns(dict(zip(names, rows.T, strict=True)), model)
    return rows


def _float(word: str) -> float:
    """A number; what is empty is missing."""
    return float(word) if word.strip() else np.nan


def _is_number(word: str) -> bool:
    try:
        _float(word)
    except ValueError:
        return False
    return True


def _root(path: Path, model: TreeModel, most: int) -> Rows:
    import uproot

    with uproot.open(path, custom_classes=own_classes(), object_cache=None, array_cache=None) as file:
        trees = [name for name, kind in file.classnames().items() if kind == "TTree" or kind.endswith("RNTuple")]
        if not trees:
            raise InputError("the ROOT file holds no tree", hint="Give one with a tree of numbers.", code="rows.empty")
        tree = file[trees[0]]
        wanted = [name for name in model.feature_names if name in tree]
        names = wanted if wanted and len(wanted) == model.n_features else list(tree.keys())
        columns = tree.arrays(names, entry_stop=most, library="np")
    flat = {name: column for name, column in columns.items() if column.dtype.kind in "biuf" and column.ndim == 1}
    return _columns(flat, model)


def _parquet(path: Path, model: TreeModel, most: int) -> Rows:
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(path)
    wanted = [name for name in model.feature_names if name in file.schema_arrow.names]
    names = wanted if wanted and len(wanted) == model.n_features else None
    batch = next(file.iter_batches(batch_size=most, columns=names), None)
    if batch is None:
        raise InputError("the file holds no rows", hint="Give one with at least one row.", code="rows.empty")
    columns = {name: batch[name].to_numpy(zero_copy_only=False) for name in batch.schema.names}
    return _columns({name: column for name, column in columns.items() if column.dtype.kind in "biuf"}, model)


def _columns(columns: dict[str, Rows], model: TreeModel) -> Rows:
    """Columns of numbers as rows, in the order of the model's features."""
    named = model.feature_names and all(name in columns for name in model.feature_names)
    names: Sequence[str] = model.feature_names if named else list(columns)
    if len(names) != model.n_features:
        listed = ", ".join(list(columns)[:10]) or "none"
        raise InputError(
            f"the file has {len(columns)} columns of numbers, the model {model.n_features} features",
            hint=f"Name the columns like the features, or give them in their order. Columns found: {listed}.",
            code="rows.columns",
        )
    return _numbers(np.stack([np.asarray(columns[name], np.float64) for name in names], axis=1))


def _numbers(rows: Rows) -> Rows:
    """As float32 where it was that, else as float64."""
    return np.asarray(rows, np.float32 if rows.dtype == np.float32 else np.float64)
