"""Errors of the assistant: each says what is wrong (the message) and what to do about it (the hint)."""

from __future__ import annotations


class AssistantError(Exception):
    """Base of all errors that `assistant` raises on purpose.

    Parameters
    ----------
    message
        What is wrong, naming the thing it is wrong with.
    hint
        What the user can do about it.
    code
        A stable, machine-readable name such as ``"index.missing"``.
    """

    code = "assistant"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class ProviderError(AssistantError, RuntimeError):
    """A language-model server that did not answer as asked.

    Parameters
    ----------
    permanent
        True where trying again cannot help: a wrong key, an unknown model, a prompt too long.
    """

    code = "provider"

    def __init__(self, message: str, *, permanent: bool = False, hint: str = "", code: str | None = None) -> None:
        super().__init__(message, hint=hint, code=code)
        self.permanent = permanent


class BoardError(AssistantError, RuntimeError):
    """A forum or issue tracker that did not answer as asked.

    Parameters
    ----------
    permanent
        True where trying again cannot help: a wrong key, no such topic, a post that is refused.
    uncertain
        True where a post may have been taken although no answer came.
    retry_after
        Seconds that it asks to wait; None where it does not say.
    """

    code = "board"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        permanent: bool = False,
        uncertain: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.permanent = permanent
        self.uncertain = uncertain
        self.retry_after = retry_after

    @property
    def missing(self) -> bool:
        """Whether what was asked for is gone, or not for these eyes."""
        return self.code.endswith(".missing")


class IndexUnavailableError(AssistantError, LookupError):
    """There is no usable index to search in: not built yet, or not readable."""

    code = "index.unavailable"


class CorpusError(AssistantError, ValueError):
    """A corpus source that is unknown, not there, or not readable."""

    code = "corpus"


class ModelStoreError(AssistantError, RuntimeError):
    """A model that is unknown, cannot be fetched, or is not the bytes it should be."""

    code = "models"
