"""Conversations with a portal's assistant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from portal.client.connection import PREFIX, Connection
from portal.client.models import Conversation, known


class Conversations:
    """What can be done with conversations. Where a conversation is asked for, its id does as well."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, *, q: str = "") -> Iterator[Conversation]:
        """Your conversations, newest first, read page by page.

        Parameters
        ----------
        q
            Only those that hold all of these words; words in quotation marks stand together.
        """
        return (known(Conversation, each) for each in self._connection.pages("conversations", {"q": q} if q else {}))

    def get(self, conversation: Conversation | str) -> Conversation:
        """A conversation with its questions and answers."""
        return Conversation.read(self._connection.json("GET", f"conversations/{_id(conversation)}"))

    def rename(self, conversation: Conversation | str, title: str) -> Conversation:
        """Give it another title."""
        return known(Conversation, self._connection.json("PATCH", f"conversations/{_id(conversation)}", json={"title": title}))

    def delete(self, conversation: Conversation | str) -> None:
        """Remove it for good."""
        self._connection.json("DELETE", f"conversations/{_id(conversation)}")

    def share(self, conversation: Conversation | str) -> str:
        """The address by which anybody reads the answers that are there now; a later call adds what came since."""
        return str(self._connection.json("PUT", f"conversations/{_id(conversation)}/share")["url"])

    def stop_sharing(self, conversation: Conversation | str) -> None:
        """End its share link."""
        self._connection.json("DELETE", f"conversations/{_id(conversation)}/share")

    def export(self, conversation: Conversation | str, format: Literal["markdown", "notebook"] = "markdown") -> str:  # noqa: A002
        """The conversation as the text of a Markdown file or a notebook."""
        path = f"{PREFIX}conversations/{_id(conversation)}/export"
        with self._connection.stream("GET", path, params={"format": format}) as response:
            response.read()
            return response.text

    def use(self, days: int = 30) -> dict[str, Any]:
        """The assistant's use by all people in some days, for administrators."""
        found: dict[str, Any] = self._connection.json("GET", "use", params={"days": days})
        return found


def _id(conversation: Conversation | str) -> str:
    return conversation.id if isinstance(conversation, Conversation) else conversation
