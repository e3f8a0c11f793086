"""Language-model providers: one file each, behind one protocol.

`openai_compatible` talks to any OpenAI-compatible server, `embedded` is such a server of our own, `fake` is for tests. Nothing
here imports a heavy library before a provider is asked something.
"""

from __future__ import annotations

from assistant.providers.base import Chunk, Message, Provider, Usage

__all__ = ["Chunk", "Message", "Provider", "Usage"]
