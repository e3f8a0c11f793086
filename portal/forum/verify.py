"""The code of a draft, run in the sandbox before a person sees it, and mended once where it fails.

What came of it is kept in the draft's record, found again by the code itself: a block that a reviewer changes is one that was not
run. ``answer["code"]`` holds, for each block that was run::

    {"digest": of the code, "status": as of `mlcore.running.CodeRun`, "error": ..., "output": ..., "messages": ...,
     "seconds": ..., "root": ROOT's version, "pictures": how many it drew (the first of them are kept, `DraftPicture`),
     "before": "" or the code that failed and was mended, "why": its error}
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.urls import reverse

from portal.chat.code import FAULTY, MOST_BLOCKS, ShownPicture, ShownRun, label
from portal.forum import compose
from portal.forum.models import DraftPicture
from portal.forum.services import Drawn

if TYPE_CHECKING:
    from assistant.answer import Answer
    from assistant.code_blocks import Language
    from mlcore.running import CodeRun

log = logging.getLogger(__name__)

TEXT_LIMIT = 8000  # characters of output and of messages that are kept
PICTURES = 4  # of a draft that are kept

Stop = Callable[[], bool]
Runner = Callable[[str, str, Stop], "CodeRun"]
"""Runs code in a language; asks the third argument several times a second whether to stop."""


def run_here(language: str, text: str, stop: Stop) -> CodeRun:
    """Run code in a sandbox of this process's own."""
    from mlcore.running import run_code

    return run_code(language, text, hidden=(settings.DATA_DIR, settings.BASE_DIR / ".env"), cancelled=stop)


@dataclass(frozen=True)
class Checked:
    """A text, mended where that helped, the record of its runs, and what they drew."""

    text: str
    runs: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[Drawn] = field(default_factory=list)


def check(text: str, answer: Answer, question: str, stop: Stop, run: Runner = run_here) -> Checked:
    """Run what the model wrote itself."""
    if settings.ENV.run_code != "answers":
        return Checked(text)
    from assistant.code_blocks import code_blocks, language_of, whole

    own = {_digest(content) for _info, content in code_blocks(answer.written + "\n")}
    runs: list[dict[str, Any]] = []
    drawn: list[list[Drawn]] = []
    for fence in reversed(compose.fences(text)):  # from the end, so that the places of those before stay
        language = language_of(fence.info, fence.content)
        if not language or not whole(language, fence.content) or _digest(fence.content) not in own:
            continue
        if len(runs) >= MOST_BLOCKS or stop():
            break
        found = run(language, fence.content, stop)
        mended = _mend(language, fence.content, found, answer, question, stop) if found.status in FAULTY and not stop() else ""
        again = run(language, mended, stop) if mended else None
        if again is not None and again.ran:
            runs.append(_entry(mended, again, before=fence.content, why=found.error))
            drawn.append(_drawn(mended, again))
            text = fence.replaced(text, mended)
        else:
            runs.append(_entry(fence.content, found))
            drawn.append(_drawn(fence.content, found))
    pictures = [picture for of_block in reversed(drawn) for picture in of_block]
    return Checked(text, runs[::-1], pictures[:PICTURES])


def _mend(language: Language, code: str, found: CodeRun, answer: Answer, question: str, stop: Stop) -> str:
    """What the model makes of code that failed; empty where it has nothing better, or is not there."""
    from assistant.errors import AssistantError
    from assistant.repair import repair
    from portal.chat import engine

    provider = engine.provider()
    if provider is None:
        return ""
    error = "\n".join(part for part in (found.messages.strip(), found.error) if part)
    try:
        return repair(language, code, error, question=question, provider=provider, passages=answer.passages, cancelled=stop)
    except AssistantError as failed:
        log.info("code of a draft was not mended: %s", failed)
        return ""


def _entry(code: str, found: CodeRun, *, before: str = "", why: str = "") -> dict[str, Any]:
    return {
        "digest": _digest(code), "status": found.status, "error": compose.storable(found.error),
        "output": compose.storable(found.output)[:TEXT_LIMIT], "messages": compose.storable(found.messages)[:TEXT_LIMIT],
        "seconds": round(found.seconds, 2), "root": found.root, "pictures": len(found.pictures), "before": before,
        "why": compose.storable(why),
    }  # fmt: skip


def _drawn(code: str, found: CodeRun) -> list[Drawn]:
    return [Drawn(_digest(code), compose.storable(each.name)[:80], each.width, each.height, each.png) for each in found.pictures]


def _digest(code: str) -> str:
    return hashlib.sha256(code.strip("\n").encode("utf-8", "replace")).hexdigest()


# --- for pages and posts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownCode:
    """A block of a draft, as it is now, with what came of it."""

    text: str
    language: str
    run: ShownRun
    pictures: int = 0
    before: str = ""
    why: str = ""

    @property
    def left_out(self) -> int:
        """How many of the pictures were not kept."""
        return self.pictures - len(self.run.pictures)


def shown(text: str, record: Mapping[str, Any], pictures: Iterable[DraftPicture] = ()) -> list[ShownCode]:
    """The blocks of a draft's text that could be run."""
    drawn = _by_code(pictures)
    known = {entry["digest"]: entry for entry in record.get("code", ())}
    found = []
    for fence, language in _runnable(text):
        entry = known.get(_digest(fence.content))
        if entry is None:
            found.append(ShownCode(fence.content.rstrip("\n"), language, ShownRun()))
            continue
        shown_pictures = tuple(
            ShownPicture(reverse("forum-picture", args=[each.draft_id, each.pk]), each.name) for each in drawn[entry["digest"]]
        )
        run = ShownRun(
            entry["status"], entry["error"], entry["output"], entry["messages"], shown_pictures, entry["seconds"], entry["root"]
        )
        found.append(
            ShownCode(fence.content.rstrip("\n"), language, run, entry["pictures"], entry["before"].rstrip("\n"), entry["why"])
        )
    return found


@dataclass(frozen=True)
class Labelled:
    """A text with what came of its code, and the Markdown of the pictures that its marks stand for."""

    text: str
    pictures: Mapping[str, str]


def labelled(text: str, record: Mapping[str, Any], pictures: Iterable[DraftPicture] = ()) -> Labelled:
    """The text with a line under each block of code that says what came of it; as it is where nothing is known of code at all.

    Below the line are marks for those pictures of the block that are on the forum: no text may bring pictures of its own.
    """
    if "code" not in record:
        return Labelled(text, {})
    known = {entry["digest"]: entry for entry in record["code"]}
    drawn = _by_code(each for each in pictures if each.upload)
    marks: dict[str, str] = {}
    for fence, _language in reversed(_runnable(text)):
        lines = [f"*{_label(known.get(_digest(fence.content)))}*"]
        for number, each in enumerate(drawn.pop(_digest(fence.content), ()), 1):
            marks[mark := secrets.token_hex(16)] = f"![picture {number} of this code|{each.width}x{each.height}]({each.upload})"
            lines.append(mark)
        text = fence.followed(text, "\n\n".join(lines))
    return Labelled(text, marks)


def wanted(text: str, pictures: Iterable[DraftPicture]) -> list[DraftPicture]:
    """Those pictures whose code is in the text as it stands."""
    codes = {_digest(fence.content) for fence, _language in _runnable(text)}
    return [each for each in pictures if each.digest in codes]


def _by_code(pictures: Iterable[DraftPicture]) -> defaultdict[str, list[DraftPicture]]:
    found: defaultdict[str, list[DraftPicture]] = defaultdict(list)
    for each in pictures:
        found[each.digest].append(each)
    return found


def _runnable(text: str) -> list[tuple[compose.Fence, str]]:
    from assistant.code_blocks import language_of

    return [(fence, language) for fence in compose.fences(text) if (language := language_of(fence.info, fence.content))]


def _label(entry: Mapping[str, Any] | None) -> str:
    return label(ShownRun() if entry is None else ShownRun(entry["status"], entry["error"], root=entry["root"]))
