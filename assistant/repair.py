"""Code that failed, given to a language model once with what it wrote, to be mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from assistant import prompting, prompts
from assistant.code_blocks import Language, code_blocks, language_of
from assistant.errors import ProviderError
from assistant.passages import Passage
from assistant.providers.base import Message, Provider
from assistant.providers.pump import pumped

_ERROR_CHARACTERS = 1500
_TOKENS = 700
_SECONDS = 120.0
_PASSAGES = 2


def repair(
    language: Language,
    code: str,
    error: str,
    *,
    question: str,
    provider: Provider,
    passages: Sequence[Passage] = (),
    cancelled: Callable[[], bool] | None = None,
) -> str:
    """Ask a model once to mend code that failed; empty where it gives no other code.

    Parameters
    ----------
    error
        What the code wrote when it failed.
    passages
        What the answer was written from; the first ones are shown again, as far as there is room.

    Raises
    ------
    ProviderError
        The model did not answer, or not in time.
    """
    prompt = prompts.load("repair")
    room = max(provider.prompt_tokens, 600)
    user = prompt.user.substitute(
        language="C++ for ROOT's interpreter" if language == "cpp" else "Python",
        question=prompting.clip(prompting.as_data(question), room // 8),
        code=prompting.clip(prompting.as_data(code), room // 2),
        error=prompting.clip(prompting.as_data(error[-_ERROR_CHARACTERS:]), room // 5),
        passages="\n".join(prompting.clip(prompting.as_data(one.text), room // 16) for one in passages[:_PASSAGES]),
    )
    messages = (Message("system", prompt.system), Message("user", user))
    stream = pumped(provider.stream(messages, max_tokens=_TOKENS), cancelled=cancelled or _never, seconds=_SECONDS)
    try:
        answer = "".join(chunk.text for chunk in stream)
    finally:
        stream.close()
    if not answer.strip():
        raise ProviderError(f"{provider.name} answered nothing.", hint="Ask again.", code="provider.empty")
    mended = next((text for info, text in code_blocks(answer + "\n") if language_of(info, text) in (language, "")), "")
    return mended.rstrip("\n") if mended.strip() and mended.split() != code.split() else ""


def _never() -> bool:
    return False
