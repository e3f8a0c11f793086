"""Releases of ROOT in versions and in what people write."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RELEASE = re.compile(r"(\d+)\.(\d{1,2})(?!\d)")
# "ROOT 6.32", "ROOT version: 6.32.04", "v6-32-02", "6.32/04"; a bare 6.28 may be two pi.
_WRITTEN = re.compile(
    r"(?:\b(?:root|version|release)\b[^\w\n]{0,6}(?:version[^\w\n]{0,6})?v?|\bv)([5-9])[.-](\d\d)(?!\d)|(?<![\d.])([5-9])\.(\d\d)/\d\d\b",
    re.IGNORECASE,
)


def release(version: str) -> str:
    """Major and minor number of a version; empty for what has none, such as a commit.

    >>> release("6.32.04"), release("0123abc")
    ('6.32', '')
    """
    numbers = _RELEASE.match(version)
    return f"{numbers[1]}.{numbers[2]}" if numbers else ""


def named(text: str) -> str:
    """The release of ROOT that a question says it is about, the first where it names several; empty where it names none.

    >>> named("Fill a TH1 in ROOT 6.32"), named("_ROOT Version:_ 6.30/02"), named("a circle of 6.28")
    ('6.32', '6.30', '')
    """
    written = _WRITTEN.search(text)
    if not written:
        return ""
    major, minor = (group for group in written.groups() if group)
    return f"{major}.{minor}"


def preferred(versions: Sequence[str], wanted: str) -> int:
    """The position of the version to show: of the release `wanted`, else the newest.

    >>> preferred(["6.32.04", "6.40.00"], "6.32"), preferred(["6.32.04", "6.40.00"], "")
    (0, 1)
    """

    def key(position: int) -> tuple[bool, list[int]]:
        version = versions[position]
        return bool(wanted) and release(version) == wanted, [int(number) for number in re.findall(r"\d+", version)]

    return max(range(len(versions)), key=key)
