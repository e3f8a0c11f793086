"""A light client of a portal's REST API: httpx and the standard library, nothing else.

Make a token on the portal's account page, or by ``ml4ep token create``, then::

    from portal.client import Portal, Text

    with Portal("https://portal.example.org", token="ml4ep_…") as portal:
        model = portal.files.upload("model.json")
        job = portal.jobs.submit("forest-to-cpp", {"model": model.id})
        job = portal.jobs.wait(job, progress=lambda fraction, text: print(f"{fraction:.0%} {text}"))
        for figure in job.result["figures"]:
            print(figure["label"], figure["value"])
        paths = portal.jobs.download(job, "out")       # checked by sha256; a broken download goes on

        for event in portal.ask("How do I fill a TH1D from an RDataFrame?"):
            if isinstance(event, Text):
                print(event.added, end="")
        for passage in portal.retrieve("RDataFrame Histo1D", k=3):
            print(passage.title, passage.url)

Everything that goes wrong is a `PortalError`: `message` says what, `hint` what to do, `code` is stable, `problems` names each
wrong parameter. Lists are read page by page while they are used.

Public names: `Portal`; what it returns: `Job`, `Artifact`, `File`, `JobType`, `Turn`, `Passage`,
`Conversation`; the events of an answer:
`State`, `Passages`, `Text`, `Done`; the error: `PortalError`.
"""

from __future__ import annotations

from portal.client.assistant import Done, Event, Passages, State, Text
from portal.client.errors import PortalError
from portal.client.models import Artifact, Conversation, File, Job, JobType, Passage, Turn
from portal.client.portal import Portal

__all__ = [
    "Artifact",
    "Conversation",
    "Done",
    "Event",
    "File",
    "Job",
    "JobType",
    "Passage",
    "Passages",
    "Portal",
    "PortalError",
    "State",
    "Text",
    "Turn",
]
