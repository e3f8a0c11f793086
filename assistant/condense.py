"""From a question, perhaps the follow-up of another one or a whole post with code and errors, to what is searched for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assistant.index.tokens import looks_like_identifier, mentions, tokenize

_POINTS_BACK = re.compile(
    r"\b(?:it|its|that|this|those|these|them|they|one|same|above|previous(?:ly)?|instead|also|again"
    r"|what about|how about|and (?:in|with|for|how|what|if))\b",
    re.IGNORECASE,
)
_FENCE_MARK = re.compile(r"^[ \t>]*(```+|~~~+)")
_MESSAGE_LINE = re.compile(
    r"^\s*(?:(?:Error|Warning|Fatal|SysError) in <|Traceback\b|\w*(?:Error|Exception)\b:|terminate called)"
    r"|\b(?:fatal )?error:|\bwhat\(\):|undefined (?:reference|symbol)|segmentation violation|<FATAL>"
)
_TRACE_LINE = re.compile(r"^\s*(?:#\d+\s+(?:0x)?|={5,}|File \".*\", line \d+)")
# What a forum's form and good manners add to a question.
_COURTESY = re.compile(
    r"^[\W_]*(?:(?:(?:root|os|compiler|gcc|python) )?(?:version|platform|compiler|operating system)\b[\s_*]*[:=].{0,60}"
    r"|(?:hi|hello|dear|good (?:morning|afternoon|evening))\b[^.?:]{0,40}"
    r"|(?:many |best |kind |with )?(?:thanks?|thank you|cheers|regards)\b[^?]{0,50})$",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"!?\[([^\[\]\n]{0,200})\]\([^()\s]{0,300}\)|(?:https?|upload)://\S+")
# What a word is worth, by the part of the post that it stands in: the title says what it is about, code is mostly the way there.
_TITLE, _PROSE, _MESSAGE, _CODE = 1.5, 1.0, 0.7, 0.4
_SHARE = 0.3  # of the title's and the prose's weight that all of the code may have: whole macros are pasted
_LONGEST_TITLE = 160  # characters of a first line that is taken for a title

_SPAN = re.compile(r"`([^`\n]{12,300})`|\"([^\"\n]{12,300})\"|“([^”\n]{12,300})”")
_QUOTES = 6  # messages that are looked up; what follows the first ones is their consequence
_SHORT = 6  # words with a meaning, below which a question without a name of its own leans on the one before
_CARRIED = 4  # names taken over from the earlier question


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question of the same conversation and the text of its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Post:
    """A question cut into its parts.

    Attributes
    ----------
    title
        The first line, where more follow.
    prose
        What is said, without greetings, the version table of a forum's form, and addresses.
    messages
        Lines that report an error.
    code
        Blocks between fences, and what else a program printed there.
    """

    title: str = ""
    prose: str = ""
    messages: str = ""
    code: str = ""

    @classmethod
    def read(cls, text: str) -> Post:
        """Cut `text`."""
        first, newline, rest = text.strip().partition("\n")
        has_title = newline and len(first) <= _LONGEST_TITLE and not _FENCE_MARK.match(first)
        prose: list[str] = []
        messages: list[str] = []
        code: list[str] = []
        fence = ""
        for line in (rest if has_title else text).splitlines():
            mark = _FENCE_MARK.match(line)
            if mark and (not fence or mark.group(1).startswith(fence)):
                fence = "" if fence else mark.group(1)
            elif _MESSAGE_LINE.search(line):
                messages.append(line)
            elif _TRACE_LINE.match(line):
                continue
            elif fence:
                code.append(line)
            elif not _COURTESY.match(line):
                prose.append(_ADDRESS.sub(r"\1", line))
        parts = ("\n".join(lines).strip() for lines in (prose, messages, code))
        return cls(first.strip() if has_title else "", *parts)


@dataclass(frozen=True, slots=True)
class Query:
    """What the stages of a search look for.

    Attributes
    ----------
    words
        Tokens with their weights, in the order of the text.
    names
        Identifiers as written, whole, with their weights.
    meaning
        The text that is embedded.
    quoted
        What may be an error message: lines that report one, the title, and what the prose has between quotation marks.
    """

    words: Mapping[str, float]
    names: Mapping[str, float]
    meaning: str
    quoted: tuple[str, ...] = ()


def plain(text: str) -> Query:
    """`text` as it is: all words weigh the same."""
    return Query(dict.fromkeys(tokenize(text), 1.0), dict.fromkeys(mentions(text), 1.0), text, tuple(text.splitlines()[:_QUOTES]))


def condense(text: str) -> Query:
    """The query of a post: the title counts most, then the prose, error messages and code; code is not embedded.

    >>> condense("Rebin\\nHow do I make wider bins?\\n```cpp\\nh->Rebin(2);\\n```").meaning
    'Rebin How do I make wider bins?'
    """
    post = Post.read(text)
    said = [(post.title, _TITLE), (post.prose, _PROSE)]
    if not (post.title or post.prose):
        return plain(text)
    words: dict[str, float] = {}
    names: dict[str, float] = {}

    def take(part: str, weight: float, share: float | None = None) -> None:
        tokens = [token for token in dict.fromkeys(tokenize(part)) if token not in words]
        if share is not None and tokens:
            weight = min(weight, share * sum(words.values()) / len(tokens))
        words.update(dict.fromkeys(tokens, weight))
        for name in mentions(part):
            names.setdefault(name, weight)

    for part, weight in said:
        take(part, weight)
    take(post.messages, _MESSAGE, _SHARE)
    take(post.code, _CODE, _SHARE)
    return Query(words, names, " ".join(f"{post.title} {post.prose}".split()), _quoted(post))


def _quoted(post: Post) -> tuple[str, ...]:
    lines = [line.strip() for line in post.messages.splitlines()]
    spans = [next(filter(None, match.groups())) for match in _SPAN.finditer(post.prose)]
    return tuple(dict.fromkeys([*lines, *spans, *filter(None, [post.title])]))[:_QUOTES]


def search_query(question: str, history: Sequence[Turn] = ()) -> str:
    """What to search for: the question, and where it leans on the one before, the names (or else the words) of that one.

    >>> search_query("And in Python?", [Turn("How do I fill a TH1F?", "...")])
    'And in Python? TH1F'
    """
    question = question.strip()
    if not history or not leans_back(question):
        return question
    known = question.lower()
    earlier = [name for turn in reversed(history) for name in _names(turn.question)]
    # Without a name in any earlier question, its answer's first names say what it was about.
    earlier = earlier or _names(history[-1].answer)[:2] or tokenize(history[-1].question)
    carried = [name for name in dict.fromkeys(earlier) if name.lower() not in known]
    # Behind a post of several lines they get a line of their own: the last one may close a block of code.
    return ("\n" if "\n" in question else " ").join([question, " ".join(carried[:_CARRIED])]).strip()


def _names(text: str) -> list[str]:
    return [name for name in mentions(text) if looks_like_identifier(name)]


def leans_back(question: str) -> bool:
    """Whether a question cannot be understood without the one before it."""
    if _POINTS_BACK.search(question):
        return True
    return len(tokenize(question)) < _SHORT and not _names(question)
