"""Errors of the API: one shape, ``{"error": {"code", "message", "hint", "problems"}}``, whatever went wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from pydantic import Field

from portal.chat.services import ChatRefusedError
from portal.jobs.services import JobRefusedError
from portal.library.services import UploadRefusedError

log = logging.getLogger(__name__)

NAMES = {
    400: "request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method",
    409: "conflict",
    413: "too-large",
}
"""The code of an error that has no better one."""

STATUS = {
    "job.forbidden": 403,
    "job.active": 409,
    "job.key": 409,
    "quota.jobs": 429,
    "quota.disk": 413,
    "chat.busy": 409,
    "chat.started": 409,
    "chat.open": 429,
    "chat.forbidden": 404,
}
"""Status of the refusals whose code says more than 422, “understood, and not acceptable”."""


RETRY_AFTER = {429: "5", 503: "5"}
"""Seconds after which to ask again where too much was asked at a time, or a part is not there yet."""


class Problem(Schema):
    """What went wrong, and what to do about it."""

    code: str = Field(description="A stable name, for programs")
    message: str = Field(description="What is wrong, for people")
    hint: str = Field("", description="What to do about it; may be empty")
    problems: dict[str, str] = Field(default_factory=dict, description="What is wrong with each parameter, by its name")


class Error(Schema):
    """The body of every answer with a status of 400 or above."""

    error: Problem


class ApiError(Exception):
    """An answer other than success.

    Parameters
    ----------
    status
        The HTTP status, 400 or above.
    message, hint, code, problems
        As in `Problem`; the code is the status's usual one by default.
    """

    def __init__(
        self, status: int, message: str, *, hint: str = "", code: str = "", problems: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(
            code=code or NAMES.get(status, "refused"), message=message, hint=hint, problems=dict(problems or {})
        )


EXPECTED: tuple[type[Exception], ...] = (
    ApiError,
    JobRefusedError,
    UploadRefusedError,
    ChatRefusedError,
    ValidationError,
    AuthenticationError,
    HttpError,
    Http404,
    RequestDataTooBig,
    SuspiciousOperation,
)
"""What goes wrong through no defect here."""


def not_found(what: str, hint: str = "") -> ApiError:
    """The answer for what does not exist, and for what belongs to somebody else."""
    return ApiError(404, f"There is no such {what}.", hint=hint)


def refusals(*statuses: int) -> dict[int, type[Error]]:
    """The entries of an operation's ``response`` for the ways it may refuse; any operation may answer 401."""
    return dict.fromkeys((401, *statuses), Error)


def answer(error: ApiError) -> HttpResponse:
    """The response that carries an error."""
    response = JsonResponse({"error": error.problem.model_dump()}, status=error.status)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.status in RETRY_AFTER:
        response.headers["Retry-After"] = RETRY_AFTER[error.status]
    return response


def json_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The view, its 405 in the API's shape too."""

    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if response.status_code != 405:
            return response
        allowed = response.headers["Allow"]
        refused = answer(ApiError(405, f"{request.method} is not possible here.", hint=f"Possible: {allowed}."))
        refused.headers["Allow"] = allowed
        return refused

    wrapped.csrf_exempt = True  # type: ignore[attr-defined]  # requests with a session are checked by `portal.api.auth`
    return wrapped


def install(api: NinjaAPI) -> None:
    """Make the API answer every exception in the one shape."""
    for kind in EXPECTED:
        api.add_exception_handler(kind, _expected)
    api.add_exception_handler(Exception, _unexpected)


def _expected(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(translate(error))


def translate(error: Exception) -> ApiError:
    """The answer to an exception that is not a defect here."""
    match error:
        case ApiError():
            return error
        case JobRefusedError() | UploadRefusedError() | ChatRefusedError():
            return _refused(error)
        case ValidationError():
            return _invalid(error)
        case AuthenticationError():
            hint = "Send “Authorization: Bearer TOKEN”; tokens are made on the account page or by “ml4ep token create”."
            return ApiError(401, "This needs a valid token, or a signed-in session.", hint=hint)
        case HttpError():
            return ApiError(error.status_code, str(error))
        case RequestDataTooBig():
            hint = "Send files by PUT /api/v1/files, and name them by their id."
            return ApiError(413, "The request's body is too large.", hint=hint)
        case Http404():
            return not_found("thing")
        case _:
            return ApiError(400, "The request is malformed.")


def _refused(error: JobRefusedError | UploadRefusedError | ChatRefusedError) -> ApiError:
    status = error.status if isinstance(error, UploadRefusedError) else STATUS.get(error.code, 422)
    problems = error.problems if isinstance(error, JobRefusedError) else {}
    return ApiError(status, error.message, hint=error.hint, code=error.code, problems=problems)


def _invalid(error: ValidationError) -> ApiError:
    """What pydantic says of a request, each part named without the frame's own inner names."""
    problems = {}
    for item in error.errors:
        location = [
            str(part)
            for part in item["loc"]
            if part not in ("body", "query", "path", "submission", "filters", "payload", "place", "target")
        ]
        problems[".".join(location) or "body"] = str(item["msg"]).removeprefix("Value error, ")
    first = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    return ApiError(422, f"The request cannot be used: {first}", code="request", problems=problems)


def _unexpected(request: HttpRequest, error: Any) -> HttpResponse:
    """A defect here: logged with its traceback, answered without."""
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    hint = "The administrator finds the details in the log of the web server."
    return answer(ApiError(500, "Something went wrong in the portal.", hint=hint, code="internal"))
