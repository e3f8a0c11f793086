"""Amounts of memory and disk, as people write them."""

from __future__ import annotations

import re

from mlcore.errors import InputError

_MEMORY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)(i?)B?\s*", re.IGNORECASE)


def memory_bytes(memory: str | int) -> int:
    """A number of bytes, from a text such as ``256 MB`` (millions) or ``1 GiB``.

    Raises
    ------
    InputError
        It is none, or less than a megabyte.
    """
    if isinstance(memory, str):
        found = _MEMORY.fullmatch(memory)
        if found is None:
            raise InputError(f"{memory!r} is no amount of memory", hint='Write it as "256 MB" or "2 GB".', code="batches.memory")
        base = 1024 if found[3] else 1000
        memory = int(float(found[1]) * base ** " KMGT".index(found[2].upper() or " "))
    if memory < 1_000_000:
        raise InputError(f"{memory} bytes are too little", hint="Give a megabyte or more.", code="batches.memory")
    return memory
