"""The messages for a language model: within a token budget, with everything retrieved quoted as data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assistant import prompts
from assistant.condense import Turn
from assistant.excerpts import excerpts
from assistant.index.tokens import tokenize
from assistant.passages import Passage
from assistant.providers.base import Message

# Pieces of which tokenizers of language models make one token, rather fewer: some letters, two capitals, one digit, one sign.
_PIECE = re.compile(
    r"[A-Z]{1,2}(?![a-z])|[A-Za-z][a-z]{0,4}|\d|[^\S\n]{0,16}\n[^\S\n]{0,16}|[^\S\n]{2,16}|[^\S\n](?=\d)|[^\s\w]|_|[^\W\d_]"
)
_LONGEST_PIECE = 40  # characters; single blanks, which belong to the word behind them, included
_DOTS = 3  # tokens of what stands for the rest
_TEMPLATE_TOKENS = 16  # what a chat template puts around a system message and a user's
_QUESTION_TOKENS = 160
_HISTORY_SHARE = 0.15
_FEWEST_TOKENS = 40  # a shorter piece of a passage is not worth its place
_LONGEST_PASSAGE = 260  # tokens
_LONGEST_EXCERPT = 140  # tokens of a passage of which only the fitting lines are shown
# What a chat template, or our own quotation marks, would read as structure.
_CONTROL = re.compile(
    r"<(?=\s*[/|｜]?\s*(?:[|｜]|passages?\b|im_|(?:start|end|begin)_of_|/?s>|eot|bos>|eos>|think>|tool_|(?-i:system|user|assistant)>))",
    re.IGNORECASE,
)
_INSTRUCTION_TAGS = re.compile(r"\[(/?(?:INST|SYS)[^\]]*)\]|<<(/?SYS)>>", re.IGNORECASE)
_LOOSE_CITATION = re.compile(r"(?<![\w\])])\[(\^?[\d,;\s–-]+)\]")


@dataclass(frozen=True, slots=True)
class BuiltPrompt:
    """Messages and what they hold.

    Attributes
    ----------
    shown
        The numbers of the passages that the model gets to read, from 1.
    tokens
        Their estimated length.
    """

    messages: tuple[Message, ...]
    shown: tuple[int, ...]
    tokens: int
    version: str


def build(
    question: str, passages: Sequence[Passage], history: Sequence[Turn], *, tokens: int, name: str = "answer"
) -> BuiltPrompt:
    """Make the messages for a question.

    Parameters
    ----------
    passages
        Numbered from 1; the best come first and are shown as far as the budget goes.
    tokens
        The budget of the whole prompt.
    """
    prompt = prompts.load(name)
    asked = clip(as_data(question), min(_QUESTION_TOKENS, tokens // 4))
    earlier = _history(history, int(tokens * _HISTORY_SHARE))
    frame = prompt.system + prompt.user.substitute(history=earlier, passages="", question=asked)
    quoted, shown = _passages(question, passages, tokens - _TEMPLATE_TOKENS - estimate_tokens(frame))
    user = prompt.user.substitute(history=earlier, passages=quoted, question=asked)
    messages = (Message("system", prompt.system), Message("user", user))
    length = _TEMPLATE_TOKENS + sum(estimate_tokens(message.content) for message in messages)
    return BuiltPrompt(messages, shown, length, prompt.version)


def as_data(text: str) -> str:
    """`text` with all that could end its quotation, speak for another role, or look like one of our citations made harmless."""
    harmless = _CONTROL.sub("‹", text)
    harmless = _INSTRUCTION_TAGS.sub(lambda match: f"({match.group(1) or match.group(2)})", harmless)
    return _LOOSE_CITATION.sub(r"(\1)", harmless)


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` takes; rather too many than too few, for prose, code and numbers alike."""
    return sum(cost for _, cost in _costs(text))


def _costs(text: str) -> Iterator[tuple[int, int]]:
    """The ends of the pieces of `text`, and the tokens that each takes: what is no ASCII may take one for each byte."""
    for piece in _PIECE.finditer(text):
        found = piece.group()
        yield piece.end(), 1 if found.isascii() else len(found.encode("utf-8", "replace"))


def clip(text: str, tokens: int) -> str:
    """The beginning of `text` that fits into `tokens`, cut at the end of a line or word."""
    text = text.strip()
    start = text[: max(tokens, 0) * _LONGEST_PIECE]  # megabytes are not looked through to their end
    taken = room = 0
    for end, cost in _costs(start):
        taken += cost
        if taken <= tokens - _DOTS:
            room = end
        elif taken > tokens:
            break
    else:
        if len(start) == len(text):
            return text
    cut = text[:room]
    for separator in ("\n", " "):
        head, found, _ = cut.rpartition(separator)
        if found and len(head) > room // 2:
            cut = head
            break
    return cut.rstrip() + " ..."


def _passages(question: str, passages: Sequence[Passage], tokens: int) -> tuple[str, tuple[int, ...]]:
    """The passages, quoted: whole where all fit into the budget, else their lines that fit the question."""
    parts: list[str] = []
    shown: list[int] = []
    left = tokens
    whole = sum(min(estimate_tokens(passage.text), _LONGEST_PASSAGE) + _FEWEST_TOKENS for passage in passages) <= tokens
    texts = [passage.text for passage in passages] if whole else _focused(question, passages)
    for number, (passage, text) in enumerate(zip(passages, texts, strict=True), 1):
        title = re.sub(r'["\s]+', " ", as_data(passage.title)).strip()[:80]
        opening, closing = f'<passage n="{number}" title="{title}">\n', "\n</passage>\n"
        room = min(left - estimate_tokens(opening + closing), _LONGEST_PASSAGE if whole else _LONGEST_EXCERPT)
        if room < _FEWEST_TOKENS:
            break
        if text:
            part = opening + clip(as_data(text), room) + closing
            parts.append(part)
            shown.append(number)
            left -= estimate_tokens(part)
    return "".join(parts), tuple(shown)


def _focused(question: str, passages: Sequence[Passage]) -> list[str]:
    """Of each passage the pieces that have a word of the question, the most telling first; all of it where none has any."""
    wanted = set(tokenize(question))
    texts: list[str] = []
    for passage in passages:
        telling = sorted((part for part in excerpts(passage, wanted) if part.fit), key=lambda part: -part.fit)
        texts.append("\n".join(line for part in telling for line in part.lines))
    return texts if any(texts) else [passage.text for passage in passages]


def _history(history: Sequence[Turn], tokens: int) -> str:
    """The last turn, its answer without code: enough to know what a follow-up is about."""
    if not history:
        return ""
    last = history[-1]
    answer = re.sub(r"```.*?(?:```|$)", "", last.answer, flags=re.DOTALL)
    asked, said = clip(as_data(last.question), tokens // 3), clip(as_data(" ".join(answer.split())), tokens - tokens // 3)
    return f"Earlier question: {asked}\nEarlier answer: {said}\n\n"
