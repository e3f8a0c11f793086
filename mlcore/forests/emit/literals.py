"""Texts and numbers as C++ literals: the only way in which what a model holds reaches generated code."""

from __future__ import annotations

import re

import numpy as np

_HARMLESS = re.compile(rb"[A-Za-z0-9 _.,:;<>=()\[\]{}+\-*/^|&!#@~%$']")


def literal(text: str) -> str:
    """Any text as a C++ string literal: all but harmless ASCII becomes octal escapes of its UTF-8 bytes."""
    raw = text.encode("utf-8", "surrogatepass")
    escaped = [chr(byte) if _HARMLESS.match(bytes([byte])) else f"\\{byte:03o}" for byte in raw]
    return f'"{"".join(escaped)}"'


def plain(text: str) -> str:
    """A text reduced to characters that mean nothing in a comment, a string or Markdown."""
    return re.sub(r"[^A-Za-z0-9 .,:+\-]", "_", text)[:200]


def number(value: float, real: str) -> str:
    """A number as a C++ literal that gives exactly that number in its precision."""
    if np.isinf(value):
        return f"{'-' if value < 0 else ''}std::numeric_limits<{real}>::infinity()"
    if abs(value) < 2.3e-308 if real == "double" else abs(value) < 1.2e-38:
        return float(value).hex() + ("f" if real == "float" else "")  # subnormal: decimals would draw warnings
    return repr(value) if real == "double" else str(np.float32(value)) + "f"
