"""Conversations with a portal's assistant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

from portal.client.blocking import blocking, blocking_iterator
from portal.client.connection import Connection
from portal.client.models import Conversation, known


class AsyncConversations:
    """What can be done with conversations. Where a conversation is asked for, its id does as well."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self, *, q: str = "") -> AsyncIterator[Conversation]:
        """Your conversations, newest first, read page by page.

        Parameters
        ----------
        q
            Only those that hold all of these words; words in quotation marks stand together.
        """
        async for each in self._connection.pages("conversations", {"q": q} if q else {}):
            yield known(Conversation, each)

    async def get(self, conversation: Conversation | str) -> Conversation:
        """A conversation with its questions and answers."""
        return Conversation.read(await self._connection.json("GET", f"conversations/{_id(conversation)}"))

    async def rename(self, conversation: Conversation | str, title: str) -> Conversation:
        """Give it another title."""
        return known(
            Conversation, await self._connection.json("PATCH", f"conversations/{_id(conversation)}", json={"title": title})
        )

    async def delete(self, conversation: Conversation | str) -> None:
        """Remove it for good."""
        await self._connection.json("DELETE", f"conversations/{_id(conversation)}")

    async def share(self, conversation: Conversation | str) -> str:
        """The address by which anybody reads the answers that are there now; a later call adds what came since."""
        return str((await self._connection.json("PUT", f"conversations/{_id(conversation)}/share"))["url"])

    async def stop_sharing(self, conversation: Conversation | str) -> None:
        """End its share link."""
        await self._connection.json("DELETE", f"conversations/{_id(conversation)}/share")

    async def export(self, conversation: Conversation | str, format: Literal["markdown", "notebook"] = "markdown") -> str:  # noqa: A002
        """The conversation as the text of a Markdown file or a notebook."""
        return await self._connection.text(f"conversations/{_id(conversation)}/export", params={"format": format})

    async def use(self, days: int = 30) -> dict[str, Any]:
        """The assistant's use by all people in some days, for administrators."""
        found: dict[str, Any] = await self._connection.json("GET", "use", params={"days": days})
        return found


class Conversations:
    """What can be done with conversations; `AsyncConversations` without ``await``."""

    def __init__(self, twin: AsyncConversations) -> None:
        self.twin = twin

    get = blocking(AsyncConversations.get)
    rename = blocking(AsyncConversations.rename)
    delete = blocking(AsyncConversations.delete)
    share = blocking(AsyncConversations.share)
    stop_sharing = blocking(AsyncConversations.stop_sharing)
    export = blocking(AsyncConversations.export)
    use = blocking(AsyncConversations.use)
    list = blocking_iterator(AsyncConversations.list)


def _id(conversation: Conversation | str) -> str:
    return conversation.id if isinstance(conversation, Conversation) else conversation
