"""What a question lacks: decided by its structure, before any model is asked.

Asking back costs the asker a turn, so it is done only where nothing else can help: something fails, and neither a message, nor
code, nor the name of anything is there to search with; or the question leans on an earlier one that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.condense import Post, Turn, leans_back
from assistant.index.tokens import looks_like_identifier, mentions, tokenize

_TROUBLE = re.compile(
    r"\b(?:(?:an?|the|this|that|some|strange|weird|following) errors?(?! bars?\b)|error messages?|errors? (?:when|while|if|from)"
    r"|crash(?:es|ed|ing)?|segfaults?|segmentation (?:fault|violation)|exceptions?|fail(?:s|ed|ing|ure)?|hangs?|freezes?|broken"
    r"|(?:does|do|did|is|are|was|will|can)(?:n['’]?t| not) (?:\w+ )?(?:work|compile|run|open|load|start|build|link)\w*"
    r"|(?:not|stops?|stopped) working|goes wrong|went wrong|wrong (?:results?|output|plots?|values?))\b",
    re.IGNORECASE,
)
# "How do I handle errors", "fit fails to converge": about trouble as such, not a report of it.
_HOW = re.compile(
    r"\b(?:how (?:do|can|could|should|would|to)|what (?:is|are|does)|is there|(?<!what )can (?:i|one)|which|where"
    r"|difference between)\b",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"\b(?:code|status|errno|error)\s*[:=#]?\s*-?\d+\b", re.IGNORECASE)
_LONG = 60  # words, after which somebody has told enough to search with

MESSAGE = "the **error message**, whole, as it was printed"
CODE = "the **lines of code** that lead there, as short as they can be and still fail"
VERSION = "the **version of ROOT** (`root-config --version`) and the system"
SUBJECT = "**what it is about**: the class, function or task; I see no earlier question in this conversation"


@dataclass(frozen=True, slots=True)
class Lack:
    """What is missing, as the items of a list; and whether it makes an answer impossible."""

    items: tuple[str, ...] = ()
    hopeless: bool = False

    def __bool__(self) -> bool:
        return bool(self.items)


def lacking(question: str, history: Sequence[Turn] = ()) -> Lack:
    """What `question` lacks to be answered; nothing for most questions.

    >>> lacking("My macro crashes, what can I do?").hopeless
    True
    >>> bool(lacking("How do I fill a TH1F?"))
    False
    """
    post = Post.read(question)
    prose = f"{post.title} {post.prose}"
    if post.code or post.messages or _NUMBERED.search(prose):
        return Lack()
    names = [name for name in mentions(prose) if looks_like_identifier(name)]
    words = tokenize(prose)
    if _TROUBLE.search(prose) and not _HOW.search(prose) and len(prose.split()) <= _LONG:
        items = (MESSAGE, CODE, VERSION)
        earlier = any(Post.read(turn.question).code or Post.read(turn.question).messages for turn in history)
        return Lack() if earlier else Lack(items, hopeless=not names and not history)
    if not history and not names and len(words) <= 1 and leans_back(question):
        return Lack((SUBJECT,), hopeless=True)
    return Lack()
