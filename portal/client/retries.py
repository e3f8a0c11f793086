"""When a request is sent again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from portal.client.errors import PortalError, TimedOutError, UnreachableError

IN_BETWEEN = (502, 504)
"""What a proxy answers that got nothing from the portal; the portal may have done what it was asked all the same."""


@dataclass(frozen=True)
class Retries:
    """How often a request is sent again.

    What may be done twice is: reading, storing a file under its hash, deleting; and submitting a job, which carries an
    ``Idempotency-Key`` by which the portal knows the same submission again. What may not, such as a question, is sent again only
    where it surely was not taken: nobody could be connected to, or the portal refused it (429, or 503 with ``Retry-After``).

    Attributes
    ----------
    attempts
        How often a request is sent at most; 1: never again.
    pause
        Seconds before the second attempt, twice as many before each further one, a little more or less by chance. A
        ``Retry-After`` of the portal is kept to instead.
    patience
        Seconds after which a request is not sent again; a ``Retry-After`` beyond them is an error at once.
    """

    attempts: int = 4
    pause: float = 0.5
    patience: float = 120.0

    def after(self, error: PortalError, attempt: int, elapsed: float, *, repeatable: bool) -> float | None:
        """Seconds to wait before a request is sent again; None where it is not.

        Parameters
        ----------
        attempt
            Which attempt failed, from 1.
        elapsed
            Seconds since the first one began.
        repeatable
            Whether doing it twice is the same as doing it once.
        """
        if attempt >= self.attempts or not _passes(error, repeatable):
            return None
        pause = error.retry_after
        if pause is None:
            pause = self.pause * 2.0 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        return pause if elapsed + pause <= self.patience else None


NEVER = Retries(attempts=1)


def _passes(error: PortalError, repeatable: bool) -> bool:
    """Whether the next attempt may go better, and does no harm."""
    if isinstance(error, UnreachableError | TimedOutError):
        return repeatable or not error.sent
    if error.status == 429:
        return True
    if error.status == 503:
        return repeatable or error.retry_after is not None
    return repeatable and error.status in IN_BETWEEN


def retry_after(header: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number or a date (RFC 9110, section 10.2.3); None for neither."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)
