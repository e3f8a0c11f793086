"""Which topics are the bot's business: pure functions of a topic and the rules, each with its reason in words."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assistant.discourse import Post, Topic, TopicSummary

REGULAR = 1  # `assistant.discourse.REGULAR`, which pages do without


@dataclass(frozen=True)
class Rules:
    """What `Forum` says, and who the bot is.

    Attributes
    ----------
    readable
        The categories that everybody may read; what is in no other is never read.
    """

    me: str
    categories: frozenset[int]
    readable: frozenset[int]
    tags: frozenset[str] = frozenset()
    excluded_tags: frozenset[str] = frozenset()
    bots: frozenset[str] = frozenset()
    max_age: timedelta = timedelta(days=2)

    def is_bot(self, post: Post) -> bool:
        """Whether a post is this bot's, another one's, or the forum's own (whose numbers are below 1)."""
        return self.is_mine(post) or post.user_id < 1 or post.username.lower() in self.bots

    def is_mine(self, post: Post) -> bool:
        """Whether this bot wrote a post."""
        return post.username.lower() == self.me.lower()


def out_of_scope(topic: TopicSummary, rules: Rules) -> str:
    """Why a topic is none of the bot's business, as far as a list shows it; empty where it is."""
    if topic.private:
        return "It is a private message."
    if topic.category_id not in rules.categories:
        return "Its category is not one that the bot reads."
    if topic.category_id not in rules.readable:
        return "Its category is private."
    tags = {tag.lower() for tag in topic.tags}
    if rules.tags and not tags & rules.tags:
        return "It has none of the tags that the bot looks for."
    if excluded := tags & rules.excluded_tags:
        return f"It has the tag {min(excluded)}."
    if topic.closed or topic.archived or not topic.visible:
        return "It is closed, archived or hidden."
    return ""


def too_old(topic: TopicSummary, rules: Rules, now: datetime) -> bool:
    """Whether a topic that is seen for the first time is too old for an answer."""
    return now - topic.created_at > rules.max_age


def refuse(topic: Topic, rules: Rules) -> str:
    """Why a topic that was read gets no answer of the bot; empty where it gets one."""
    if topic.deleted or topic.question is None:
        return "It was deleted."
    if reason := out_of_scope(topic, rules):
        return reason
    if rules.is_bot(topic.question):
        return "A bot started it."
    if mine(topic, rules):
        return "The bot has written in it."
    if not topic.question.raw.strip():
        return "Its first post is empty."
    return answered(topic, rules)


def answered(topic: Topic, rules: Rules) -> str:
    """Who has answered already, in words; empty where nobody has. The person who asked does not count."""
    if topic.solved:
        return "It is solved."
    asked = topic.question.user_id if topic.question else 0
    for post in topic.posts:
        if post.number > 1 and post.kind == REGULAR and not post.deleted and post.user_id != asked and not rules.is_bot(post):
            return "A person has answered."
    return ""


def mine(topic: Topic, rules: Rules) -> Post | None:
    """The bot's first post in a topic, whispers included, deleted ones too: a person took it away for a reason."""
    return next((post for post in topic.posts if post.number > 1 and rules.is_mine(post)), None)


def names(values: Collection[object]) -> frozenset[str]:
    """Names in small letters."""
    return frozenset(str(value).strip().lower() for value in values)
