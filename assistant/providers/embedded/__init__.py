"""The embedded language-model server: a process of its own that serves one GGUF file over an OpenAI-compatible HTTP API.

``python -m assistant.providers.embedded --model FILE --port N`` starts it; `openai_compatible.OpenAICompatible` talks to it.
"""

from __future__ import annotations
