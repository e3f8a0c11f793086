"""What a ROOT file may say of the classes in it, and to whom: to the reader of this file alone."""

from __future__ import annotations

from typing import Any


def own_classes() -> dict[str, Any]:
    """uproot's classes, of which the file may change its own copies.

    uproot makes classes of the descriptions in a file, and where an object does not fit the known class, it puts these in its
    place for all files to come. One file with damaged descriptions would then make sound ones unreadable. Give these to
    `uproot.open` as ``custom_classes``, anew for each file.
    """
    import uproot

    dispatching = uproot.model.DispatchByVersion
    return {
        name: type(kind.__name__, (kind,), {"known_versions": dict(kind.known_versions)})
        if issubclass(kind, dispatching)
        else kind
        for name, kind in uproot.classes.items()
    }
