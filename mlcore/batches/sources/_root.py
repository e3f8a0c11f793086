"""ROOT files through uproot: opened for their metadata, with errors that say what is wrong with the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlcore.batches.sources._places import EXTRA, Place
from mlcore.batches.sources._recovery import recovered
from mlcore.errors import InputError, MLCoreError
from mlcore.root_classes import own_classes

SAVED = ("TTree", "TNtuple", "TNtupleD")
"""What can be found in files that were never closed."""


def open_root(place: Place, *, minimal: bool = True) -> Any:
    """The file, as uproot opens it; to be closed.

    Parameters
    ----------
    place
        Of the file.
    minimal
        Whether to leave out what few need of a TTree, such as its friends.

    Raises
    ------
    InputError
        It cannot be opened; one that is cut short is told.
    """
    import uproot

    options: dict[str, Any] = {
        "custom_classes": own_classes(),
        "array_cache": None,
        "object_cache": None,
        "minimal_ttree_metadata": minimal,
    }
    with explained(place):
        if not place.remote:
            rest = recovered(place.path, SAVED)
            if rest is not None:
                return uproot.open(rest, **options)
            options["handler"] = uproot.source.file.MemmapSource
        # In braces, a path is taken as it is, with its colons.
        return uproot.open({place.path: None}, **options)


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Say of whatever uproot raises what it means for the file.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        yield
    except (MLCoreError, MemoryError):
        raise
    except ImportError as error:
        raise InputError(f"{place.path} needs the package {error.name}", hint=f"{EXTRA}.", code="batches.remote") from error
    except Exception as error:
        # On bytes that are not what they should be uproot raises nearly anything: its own errors, struct.error, AssertionError.
        missing = missing_bytes(place)
        if missing:
            size, expected = missing
            raise InputError(
                f"{place.path} is cut short: {size} of {expected} bytes are there, and its table of contents is not",
                hint="Copy the file again. Trees that ROOT saved on the way, by AutoSave, would have been read; there are none.",
                code="batches.damaged",
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{place.path} cannot be read as a ROOT file: {reason}", hint="Copy the file again.", code="batches.damaged"
        ) from error


def missing_bytes(place: Place) -> tuple[int, int] | None:
    """The size of a ROOT file and the size that its header speaks of, where it is shorter than that; else None."""
    with place.open() as stream:
        head = stream.read(24)
    if len(head) < 24 or not head.startswith(b"root"):
        return None
    version = struct.unpack_from(">i", head, 4)[0]
    (expected,) = struct.unpack_from(">q" if version >= 1_000_000 else ">i", head, 12)
    return (place.size, expected) if place.size < expected else None
