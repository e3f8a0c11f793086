"""Topics of a Discourse forum, from the mirror that is kept on this disk (`assistant.forum_mirror`); nothing is fetched here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from assistant.corpus.document import Document, Log, SourceEntry, ignore
from assistant.errors import CorpusError
from assistant.forum_mirror import Mirror

_FEWEST_LETTERS = 80  # a topic with less says nothing


class DiscourseTopics:
    """The topics in the mirror that the entry's location names; its url is the forum's address."""

    name = "discourse"
    title = "Topics of a Discourse forum"

    def check(self, entry: SourceEntry) -> None:
        """The mirror is there."""
        self._path(entry)

    def version(self, entry: SourceEntry) -> str:
        """Topics have none."""
        self._path(entry)
        return ""

    def documents(self, entry: SourceEntry, log: Log = ignore) -> Iterator[Document]:
        """Each topic that has an answer; solved ones first."""
        for topic in Mirror(self._path(entry)).topics():
            if len(topic.text) < _FEWEST_LETTERS or not (topic.solved or "## Reply" in topic.text):
                continue
            url = f"{entry.url.rstrip('/')}/t/{topic.number}" if entry.url else ""
            yield Document(
                id=f"topic:{topic.number}",
                title=f"{topic.title} (solved)" if topic.solved else topic.title,
                source=f"forum topic {topic.number}",
                kind="topic",
                place=f"topic {topic.number}",
                url=f"{url}/{topic.accepted}" if url and topic.accepted else url,
                text=topic.text,
            )

    def _path(self, entry: SourceEntry) -> Path:
        path = Path(entry.location) if entry.location else None
        if path is None or not path.is_file():
            raise CorpusError(
                f"There is no mirror of a forum at {entry.location or 'an empty path'}",
                hint="Switch “mirror” on in the rules of the forum bot: the portal then makes it, and adds this source itself.",
                code="corpus.discourse",
            )
        return path


SOURCE = DiscourseTopics()
