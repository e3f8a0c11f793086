"""Errors of the ML core: each says what is wrong (the message) and what to do about it (the hint)."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class MLCoreError(Exception):
    """Base of all errors that `mlcore` raises on purpose.

    Parameters
    ----------
    message
        What is wrong, naming the thing it is wrong with.
    hint
        What the user can do about it.
    code
        A stable, machine-readable name such as ``"forest.cycle"``.
    """

    code = "mlcore"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class InputError(MLCoreError, ValueError):
    """A file, array or option from the user that cannot be used as it is."""

    code = "input"


class UnsupportedFeatureError(InputError):
    """A valid model that uses something not supported."""

    code = "unsupported"


class UnsupportedOperatorError(UnsupportedFeatureError):
    """A network uses an operator, or a version or form of one, that is not supported.

    Parameters
    ----------
    operator
        Its name, with its domain where that is not ONNX's own.
    opset
        The model's opset of that domain; 0 where the model names none.
    node
        The node's name, or "".
    why
        What is not supported about it.
    """

    code = "network.operator"

    def __init__(self, operator: str, opset: int, node: str, why: str, *, hint: str = "") -> None:
        named = f" {node!r}" if node else ""
        super().__init__(f"{operator} (opset {opset or 'unknown'}), node{named}: {why}", hint=hint)
        self.operator = operator
        self.opset = opset
        self.node = node
        self.why = why


class DataError(MLCoreError, LookupError):
    """Something asked for is not in the data, for example a branch; the hint lists the nearest names."""

    code = "data"

    @classmethod
    def missing(cls, what: str, name: str, available: Iterable[str], *, where: str) -> DataError:
        """An error for a name that is not there, with the nearest names that are."""
        names = list(available)
        nearest = get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"Nearest: {', '.join(nearest)}." if nearest else f"Available: {', '.join(names[:10])}."
        return cls(f"{where} has no {what} {name!r}", hint=hint)


class ToolchainError(MLCoreError, RuntimeError):
    """No usable compiler, or a compile that failed for a reason of the machine."""

    code = "toolchain"


class VerificationError(MLCoreError, RuntimeError):
    """Generated code disagrees with its source library: a defect here, never the user's fault."""

    code = "verification"


class RunError(MLCoreError, RuntimeError):
    """Compiled code that came to no end of its own: it took too long, too much memory, or crashed."""

    code = "run"
