"""A light client of a portal's REST API: httpx and the standard library, nothing else.

Make a token on the portal's account page, or by ``ml4ep token create``, then::

    from pathlib import Path

    from portal.client import Portal, Text

    with Portal("https://portal.example.org", token="ml4ep_…") as portal:
        job = portal.submit("forest-to-cpp", model=Path("model.json"), name="higgs")
        job.wait()                                    # with a bar in a notebook and on a terminal
        print(job.figures)
        paths = job.download("out")                   # checked by sha256; a broken download goes on
        same = portal.job(job.id)                     # by its id, today or tomorrow

        for event in portal.ask("How do I fill a TH1D from an RDataFrame?"):
            if isinstance(event, Text):
                print(event.added, end="")
        for passage in portal.retrieve("RDataFrame Histo1D", k=3):
            print(passage.title, passage.url)

In a notebook ``%load_ext portal.client`` adds the magics ``%%ml4ep ask`` and ``%%ml4ep submit TYPE``, and what the portal returns
is shown as HTML.

`AsyncPortal` is the same with ``await``. ``portal.jobs``, ``.files``, ``.assistant`` and ``.conversations`` have all operations.

Everything that goes wrong is a `PortalError`: `message` says what, `hint` what to do, `code` is stable, `problems` names each
wrong parameter; its class says what kind. Requests are sent again where that may help and cannot do anything twice (`Retries`).
Lists are read page by page while they are used.

Public names: `Portal`, `AsyncPortal`, `Retries`; what they return: `JobHandle`, `AsyncJobHandle`, `Answer`, `AsyncAnswer`,
`Job`, `Artifact`, `File`, `JobType`, `Turn`, `Passage`, `Conversation`; the events: `State`, `Passages`, `Text`, `Done`; the
errors: `PortalError` and, of it, `AddressError`, `AuthenticationError`, `BusyError`, `ConflictError`, `DownloadError`,
`ForbiddenError`, `InvalidError`, `JobError` (`JobFailedError`, `JobCancelledError`), `NotAPortalError`, `NotFoundError`,
`ServerError`, `StreamError`, `TimedOutError`, `TooLargeError`, `UnreachableError`.
"""

from __future__ import annotations

from typing import Any

from portal.client.answers import Answer, AsyncAnswer
from portal.client.assistant import Done, Event, Passages, State, Text
from portal.client.errors import (
    AddressError,
    AuthenticationError,
    BusyError,
    ConflictError,
    DownloadError,
    ForbiddenError,
    InvalidError,
    JobCancelledError,
    JobError,
    JobFailedError,
    NotAPortalError,
    NotFoundError,
    PortalError,
    ServerError,
    StreamError,
    TimedOutError,
    TooLargeError,
    UnreachableError,
)
from portal.client.handles import AsyncJobHandle, JobHandle
from portal.client.models import Artifact, Conversation, File, Job, JobType, Passage, Turn
from portal.client.portal import AsyncPortal, Portal
from portal.client.retries import Retries


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext portal.client`` does: add the magics ``%ml4ep`` and ``%%ml4ep``."""
    from portal.client.magics import PortalMagics

    shell.register_magics(PortalMagics)


__all__ = [
    "AddressError",
    "Answer",
    "Artifact",
    "AsyncAnswer",
    "AsyncJobHandle",
    "AsyncPortal",
    "AuthenticationError",
    "BusyError",
    "ConflictError",
    "Conversation",
    "Done",
    "DownloadError",
    "Event",
    "File",
    "ForbiddenError",
    "InvalidError",
    "Job",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobHandle",
    "JobType",
    "NotAPortalError",
    "NotFoundError",
    "Passage",
    "Passages",
    "Portal",
    "PortalError",
    "Retries",
    "ServerError",
    "State",
    "StreamError",
    "Text",
    "TimedOutError",
    "TooLargeError",
    "Turn",
    "UnreachableError",
]
