"""Arrays by name from files, and into them: inputs to compare or to run on, outputs to keep."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mlcore.errors import InputError
from mlcore.networks.ir import Array

HINT = 'Save arrays by the names of the inputs: numpy.savez("samples.npz", x=x, mask=mask).'


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """Arrays for inputs.

    Parameters
    ----------
    path
        A ``.npz`` with an array for each name, or a ``.npy`` where there is one name.
    names
        Of the inputs.

    Raises
    ------
    InputError
        It is no such file, holds Python objects, or has too few or other arrays.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        found = {str(key): loaded[key] for key in loaded.files} if isinstance(loaded, np.lib.npyio.NpzFile) else None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
        reason = "it holds Python objects" if "allow_pickle" in str(error) else str(error) or type(error).__name__
        raise InputError(f"{path.name!r} cannot be read as arrays: {reason}", hint=HINT, code="network.arrays") from error
    if found is None:
        if len(names) != 1:
            raise InputError(
                f"{path.name!r} is one array, and the network has the inputs {', '.join(names)}", hint=HINT, code="network.arrays"
            )
        return {names[0]: loaded}
    if isinstance(loaded, np.lib.npyio.NpzFile):
        loaded.close()
    missing = [name for name in names if name not in found]
    if missing:
        held = ", ".join(found) or "nothing"
        raise InputError(
            f"{path.name!r} has no array for the input {missing[0]!r}; it holds {held}", hint=HINT, code="network.arrays"
        )
    return {name: found[name] for name in names}


def write_arrays(path: Path, arrays: Mapping[str, object]) -> None:
    """Write arrays by name into a ``.npz``, or one of them into a ``.npy``.

    Raises
    ------
    InputError
        Something is no array of numbers, or there are several for a ``.npy``.
    """
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype == np.object_:
            raise InputError(f"the output {name!r} is no array of numbers, and cannot be saved", code="network.arrays")
    if path.suffix == ".npy":
        if len(arrays) != 1:
            raise InputError(f"{len(arrays)} outputs do not fit into {path.name!r}", hint="Use .npz.", code="network.arrays")
        np.save(path, next(iter(arrays.values())))  # type: ignore[arg-type]  # arrays, as was just found
        return
    # Names with a slash would be folders within the archive, and others may be arguments of savez.
    with zipfile.ZipFile(path, "w") as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
