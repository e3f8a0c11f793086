"""What is done for a question before it is answered: files and jobs are looked into, and a large model calls tools.

Each call is a step of the turn, stored as it begins and as it ends, so that the page shows it. What needs no model, which is
looking into what the person handed in, is always done. Nothing is started: a job that a model prepares is an offer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portal.accounts.models import User
from portal.chat import services
from portal.chat.models import Turn

if TYPE_CHECKING:
    from assistant.condense import Turn as EarlierTurn
    from assistant.passages import Passage, SupportsRetrieve
    from assistant.tools import Ended, Started, Tool

log = logging.getLogger(__name__)


@dataclass
class Findings:
    """What came of the steps.

    Attributes
    ----------
    handed_in
        Passages of what the person attached or named.
    looked_up
        Passages that the model's calls gave.
    note
        Why the model called no tools; empty where it could.
    """

    handed_in: list[Passage] = field(default_factory=list)
    looked_up: list[Passage] = field(default_factory=list)
    note: str = ""


class _Steps:
    """The turn's steps, written with each change."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._rows: dict[int, dict[str, Any]] = {}

    @property
    def count(self) -> int:
        return len(self._rows)

    def take(self, event: Started | Ended) -> None:
        from assistant.tools import Started

        if isinstance(event, Started):
            self._rows[event.number] = {"tool": event.call.name, "title": event.title[:200], "state": "running"}
        else:
            row, outcome = self._rows[event.number], event.outcome
            row |= {"seconds": round(event.seconds, 3), "state": "failed" if outcome is None else "done"}
            row["summary"] = (event.problem if outcome is None else outcome.summary)[:300]
            if outcome is not None:
                row |= {"url": outcome.url} if outcome.url else {}
                row |= {"state": "offered", "offer": dict(outcome.offer)} if outcome.offer else {}
        services.write_steps(self._turn, list(self._rows.values()))


def prepare(
    turn: Turn,
    *,
    retriever: SupportsRetrieve,
    provider: object,
    history: Sequence[EarlierTurn],
    cancelled: Callable[[], bool],
) -> Findings:
    """Do what comes before the answer. ``provider`` is a model that may call tools; None where there is none."""
    from assistant.errors import ProviderError
    from assistant.providers.pump import StoppedError
    from assistant.tools import Ended, SupportsTools, documentation_tools, work
    from portal.chat.tools import own_tools

    owner = turn.owner
    attached = services.files_of(turn)
    tools = (*documentation_tools(retriever), *own_tools(owner, attached))
    steps, found = _Steps(turn), Findings()
    said = _hand_in(turn.question, owner, [str(file.pk) for file in attached], tools, steps, found)
    if not isinstance(provider, SupportsTools) or cancelled():
        return found
    try:
        for event in work(
            turn.question, provider=provider, tools=tools, history=history, notes=said, first=steps.count, cancelled=cancelled
        ):
            steps.take(event)
            if isinstance(event, Ended) and event.outcome is not None:
                found.looked_up += event.outcome.passages
    except StoppedError as error:
        found.note = error.message
    except ProviderError as error:  # the answer says so where the model fails there too
        log.warning("turn %s: no tools: %s", turn.pk, error)
        found.note = error.message
    return found


def _hand_in(question: str, owner: User, files: Sequence[str], tools: Sequence[Tool], steps: _Steps, found: Findings) -> str:
    """Look into attached files and named jobs; returns what is in them, in short."""
    from assistant.tools import Call, Ended, run
    from portal.chat.tools import jobs_named

    by_name = {tool.spec.name: tool for tool in tools}
    calls = [Call("inspect_file", {"file": each}) for each in files]
    calls += [Call("job_status", {"job": str(job.pk)}) for job in jobs_named(owner, question)]
    said = []
    for call in calls:
        for event in run(by_name[call.name], call, steps.count):
            steps.take(event)
            if isinstance(event, Ended) and event.outcome is not None:
                found.handed_in += event.outcome.passages
                said.append(event.outcome.text[:1500])
    return "\n\n".join(said)
