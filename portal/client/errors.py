"""The one error of the client."""

from __future__ import annotations

from collections.abc import Mapping


class PortalError(Exception):
    """The portal refused, failed, or could not be reached.

    Parameters
    ----------
    message
        What is wrong.
    hint
        What to do about it; may be empty.
    code
        A stable name such as ``"quota.jobs"``; ``"unreachable"`` where no answer came.
    status
        The HTTP status; 0 where no answer came.
    problems
        What is wrong with each parameter, by its name.
    """

    def __init__(
        self, message: str, *, hint: str = "", code: str = "", status: int = 0, problems: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.status = status
        self.problems = dict(problems or {})
