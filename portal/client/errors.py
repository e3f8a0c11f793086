"""The errors of the client: each a `PortalError`, its class saying what kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portal.client.models import Job


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
        self.retry_after: float | None = None
        """Seconds after which the portal wants to be asked again, where it said so."""
        self.sent = True
        """Whether the request may have reached the portal."""

    def __str__(self) -> str:
        named = [f"{name}: {problem}" for name, problem in self.problems.items() if problem not in self.message]
        return " ".join(filter(None, [self.message, *named, self.hint]))


class AddressError(PortalError, ValueError):
    """The address is not one of a portal."""


class UnreachableError(PortalError, ConnectionError):
    """No answer came."""


class TimedOutError(PortalError, TimeoutError):
    """An answer, an inspection or a job took longer than it may."""


class NotAPortalError(PortalError):
    """Something answered that is no portal, such as a proxy that wants a sign-in."""


class AuthenticationError(PortalError):
    """401: there is no token, or it is not valid."""


class ForbiddenError(PortalError):
    """403: not for you."""


class NotFoundError(PortalError, LookupError):
    """404: not there, or somebody else's."""


class ConflictError(PortalError):
    """409: not in this state, for example a job that has ended already."""


class TooLargeError(PortalError):
    """413: too large for the request, the upload limit or your quota."""


class InvalidError(PortalError, ValueError):
    """400, 415 or 422: the request, its parameters or the kind of file cannot be used; ``problems`` names each."""


class BusyError(PortalError):
    """429 or 503: too much at a time, or not there yet; ``retry_after`` where the portal said when."""


class ServerError(PortalError):
    """500 and above: a defect of the portal or of what is in front of it."""


class JobError(PortalError):
    """A job did not succeed; ``job`` is the job as it ended."""

    def __init__(self, message: str, job: Job, *, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint=hint, code=code)
        self.job = job


class JobFailedError(JobError):
    """The job failed."""


class JobCancelledError(JobError):
    """The job was cancelled."""


class DownloadError(PortalError):
    """A download did not arrive as the portal has it, or has no usable name."""


class StreamError(PortalError):
    """An answer broke off."""


BY_STATUS: dict[int, type[PortalError]] = {
    400: InvalidError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    415: InvalidError,
    422: InvalidError,
    429: BusyError,
    503: BusyError,
}


def kind_of(status: int) -> type[PortalError]:
    """The class of the error that a status stands for."""
    return BY_STATUS.get(status, ServerError if status >= 500 else PortalError)
