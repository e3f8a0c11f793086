"""What is inside a file, without running any of it: one module per format.

Public names: `inspect` gives an `Inspection` of facts, tables, charts and perhaps drawings; `histogram` one of a branch of a
ROOT file; `drawings` further trees of a forest. All read files in this process, with large libraries in C and C++: for files
from strangers, call them in a child of `mlcore.toolchain.sandbox`, as the portal's jobs do.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from mlcore.errors import InputError, MLCoreError, UnsupportedFeatureError
from mlcore.filetypes import FOREST_HOLDERS, FORESTS, Kind, refuse
from mlcore.inspection.report import Bars, Distribution, Drawing, Histogram, Inspection, Table, clean

__all__ = [
    "FORMATS", "Bars", "Distribution", "Drawing", "Histogram", "Inspection", "Table", "drawings", "histogram", "inspect",
]  # fmt: skip

T = TypeVar("T")

FORMATS: dict[str, str] = {
    "root": "root",
    "onnx": "onnx",
    **dict.fromkeys(FORESTS, "forest"),
    "hdf5": "hdf5",
    "parquet": "parquet",
}


def inspect(path: Path, kind: Kind | None = None) -> Inspection:
    """Say what a file contains.

    Parameters
    ----------
    path
        The file.
    kind
        Its kind, as from `mlcore.filetypes.detect`; found out when not given.

    Raises
    ------
    InputError
        The file is damaged, cut short, or not of that kind; or it is a pickle.
    UnsupportedFeatureError
        There is no inspector for that kind.
    """
    found = refuse(path)
    kind = found.kind if kind is None else kind
    module = FORMATS.get(kind)
    if module is None:
        raise UnsupportedFeatureError(
            f"there is no inspector for this type of file: {found.title}",
            hint=f"Those that have one: {', '.join(sorted(FORMATS))}.",
            code="inspection.kind",
        )
    read: Callable[[Path], Inspection] = import_module(f"mlcore.inspection.{module}").inspect
    inspection = _guarded(lambda: read(path))
    if kind in FOREST_HOLDERS:
        from mlcore.inspection.forest import inside

        return _guarded(lambda: inside(path, inspection))
    return inspection


def histogram(path: Path, tree: str, branch: str, bins: int = 60, max_entries: int = 1_000_000) -> Histogram:
    """The histogram of a branch of a ROOT file; see `mlcore.inspection.root.histogram`."""
    from mlcore.inspection.root import histogram as read

    return _guarded(lambda: read(path, tree, branch, bins, max_entries))


def drawings(path: Path, first: int, count: int) -> tuple[Drawing, ...]:
    """Drawings of the trees of a forest, from the number `first` on; see `mlcore.inspection.forest.drawings`."""
    from mlcore.forests import load
    from mlcore.inspection.forest import drawings as draw

    refuse(path)
    return _guarded(lambda: draw(load(path), first, count))


def _guarded(read: Callable[[], T]) -> T:
    """Call a reader; what a library throws at a damaged file becomes one clear error."""
    try:
        return read()
    except MLCoreError:
        raise
    except MemoryError:
        message = "the file needs more memory to be read than there is"
        raise InputError(
            message, hint="It may be damaged, or claim sizes that it does not have.", code="inspection.memory"
        ) from None
    except Exception as error:  # a damaged file makes libraries raise nearly anything
        reason = clean(str(error).strip().partition("\n")[0] or type(error).__name__, 200)
        raise InputError(
            f"the file is damaged or incomplete: {reason}",
            hint="Upload it again; if that does not help, write it anew with its library.",
            code="inspection.damaged",
        ) from error
