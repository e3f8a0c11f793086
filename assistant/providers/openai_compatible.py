"""Any server that speaks the OpenAI chat API: the embedded one, vLLM, Ollama, a laboratory's own, OpenAI itself."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from assistant.errors import ProviderError
from assistant.providers.base import Chunk, Message, Usage

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage, BaseMessageChunk
    from langchain_openai import ChatOpenAI

    from assistant.tools.base import Call, ToolSpec

_CONNECT_SECONDS = 5.0


class OpenAICompatible:
    """A language model behind an OpenAI-compatible HTTP API.

    Parameters
    ----------
    base_url
        The API's address up to and with its version, for example ``"http://127.0.0.1:8088/v1"``.
    model
        The model's name there.
    api_key
        The key, where the server wants one.
    timeout
        Seconds to wait for the next piece of the answer; the first one takes long on a slow machine or a busy server.
    prompt_tokens
        The longest prompt worth giving to the model; about 600 for models below 3B parameters.
    temperature
        Randomness of the answer; 0 gives the same answer each time.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str = "",
        timeout: float = 120.0,
        prompt_tokens: int = 600,
        temperature: float = 0.0,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.name = model
        self.prompt_tokens = prompt_tokens
        self._api_key = api_key
        self._timeout = timeout
        self._temperature = temperature
        self._client: ChatOpenAI | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"OpenAICompatible(base_url={self.base_url!r}, model={self.name!r})"

    def stream(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[Chunk]:
        """Ask, and yield the answer as it is written; closing the iterator ends the request on the server too.

        Raises
        ------
        ProviderError
            While iterating: server out of reach, wrong key, unknown model, prompt too long, rate limit, timeout, an answer cut
            off or not understood.
        """
        finished = False
        try:
            pieces = self._model().stream([_langchain_message(message) for message in messages], **self._limit(max_tokens))
            for piece in pieces:
                chunk = _chunk(piece)
                finished = finished or bool(chunk.finish)
                yield chunk
        except ProviderError:
            raise
        except Exception as error:  # langchain-openai lets through what openai, its HTTP library and the JSON parser raise
            raise self._translate(error) from error
        if not finished:
            raise ProviderError(
                f"{self.name} at {self.base_url} stopped in the middle of its answer.",
                hint="Ask again; if it goes on, see the model server's log.",
                code="provider.cut-off",
            )

    def choose(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], done: Sequence[tuple[Call, str]] = (), *, max_tokens: int
    ) -> list[Call]:
        """Ask which tools to call next; none where the model wants none.

        Raises
        ------
        ProviderError
            As `stream`; permanent also where the server knows no tools.
        """
        from langchain_core.messages import AIMessage, ToolMessage

        from assistant.tools.base import Call

        talk = [_langchain_message(message) for message in messages]
        for number, (call, said) in enumerate(done):
            name = call.id or f"call_{number}"
            made = {"name": call.name, "args": dict(call.arguments), "id": name, "type": "tool_call"}
            talk += [AIMessage(content="", tool_calls=[made]), ToolMessage(content=said, tool_call_id=name)]
        specs = [
            {
                "type": "function",
                "function": {"name": each.name, "description": each.description, "parameters": dict(each.parameters)},
            }
            for each in tools
        ]
        try:
            answer = self._model().bind_tools(specs).invoke(talk, **self._limit(max_tokens))
        except ProviderError:
            raise
        except Exception as error:
            raise self._translate(error) from error
        return [Call(str(each["name"]), each["args"], str(each["id"] or "")) for each in getattr(answer, "tool_calls", ())]

    def check(self, timeout: float = 2.0) -> None:
        """See whether the server answers and knows the model, without asking it anything.

        Raises
        ------
        ProviderError
            Saying what is wrong.
        """
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        try:
            with httpx.Client(timeout=timeout, trust_env=not self._is_local()) as client:
                response = client.get(f"{self.base_url}/models", headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(str(error)) from error
        if response.status_code != 200:
            raise self._by_status(response.status_code, _detail(response), None)
        try:
            names = [entry["id"] for entry in response.json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise self._garbage() from error
        if self.name not in names:
            raise self._by_status(404, f"it serves {', '.join(names[:10]) or 'none'}", None)

    def close(self) -> None:
        """Close the connections kept for the next request; the provider can still be used."""
        with self._lock:
            if self._client is not None and self._client.http_client is not None:
                self._client.http_client.close()
            self._client = None

    def _model(self) -> ChatOpenAI:
        with self._lock:
            if self._client is None:
                import openai
                from langchain_openai import ChatOpenAI
                from pydantic import SecretStr

                timeout = openai.Timeout(self._timeout, connect=_CONNECT_SECONDS)
                self._client = ChatOpenAI(
                    base_url=self.base_url,
                    model=self.name,
                    api_key=SecretStr(self._api_key or "none"),  # the library insists on one; servers without keys ignore it
                    temperature=self._temperature,
                    timeout=timeout,
                    max_retries=0,  # the caller falls back to an extractive answer sooner than a retry would help
                    stream_usage=True,
                    # A proxy of the environment is for the world, not for a server on this machine.
                    http_client=openai.DefaultHttpxClient(timeout=timeout, trust_env=not self._is_local()),
                )
            return self._client

    def _limit(self, max_tokens: int) -> dict[str, Any]:
        # Self-hosted servers all know max_tokens; OpenAI's own newer models refuse it.
        if (urlsplit(self.base_url).hostname or "").endswith("openai.com"):
            return {"max_completion_tokens": max_tokens}
        return {"extra_body": {"max_tokens": max_tokens}}

    def _is_local(self) -> bool:
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def _translate(self, error: Exception) -> ProviderError:
        import openai

        kinds = {kind.__name__ for kind in type(error).__mro__}
        if kinds & {"APITimeoutError", "TimeoutException"}:
            return ProviderError(
                f"{self.name} at {self.base_url} did not answer within {self._timeout:g} s.",
                hint="The server is busy or slow: try again, or give it a longer timeout.",
                code="provider.timeout",
            )
        if isinstance(error, openai.APIStatusError):
            body = error.body if isinstance(error.body, dict) else {}
            return self._by_status(error.status_code, str(body.get("message") or error.message), error.code)
        if kinds & {"APIConnectionError", "ConnectError", "InvalidURL", "UnsupportedProtocol"}:
            return self._unreachable(str(error.__cause__ or error))
        if kinds & {"TransportError"}:
            return ProviderError(
                f"The connection to {self.base_url} was lost in the middle of an answer: {error}",
                hint="Ask again; if it goes on, see the model server's log.",
                code="provider.cut-off",
            )
        if isinstance(error, openai.APIError):  # an error that arrives as a piece of the stream
            return ProviderError(
                f"{self.name} at {self.base_url} failed: {error.message}", hint="Ask again.", code="provider.failed"
            )
        return self._garbage()

    def _by_status(self, status: int, detail: str, reason: str | None) -> ProviderError:
        where = f"{self.name} at {self.base_url}"
        said = f" ({status}: {' '.join(detail.split())[:300]})"
        if status in (401, 403):
            return ProviderError(
                f"The key for {where} was refused{said}", permanent=True, hint="Check the API key.", code="provider.key"
            )
        if status == 404:
            return ProviderError(
                f"There is no model {where}{said}",
                permanent=True,
                hint="Check the model's name and that the address ends in the API's version, such as /v1.",
                code="provider.model",
            )
        if status == 429 and reason == "insufficient_quota":
            return ProviderError(
                f"The quota for {where} is used up{said}", permanent=True, hint="Raise the quota.", code="provider.quota"
            )
        if status == 429:
            return ProviderError(f"{where} is asked too often{said}", hint="Wait a little and ask again.", code="provider.busy")
        if status in (400, 413, 422) and "context" in detail.lower():
            return ProviderError(
                f"The prompt is too long for {where}{said}",
                permanent=True,
                hint="Lower the prompt's token budget, or give the server a larger context.",
                code="provider.too-long",
            )
        if status == 503:
            return ProviderError(
                f"{where} is not ready{said}", hint="It is loading or overloaded: try again.", code="provider.busy"
            )
        return ProviderError(
            f"{where} failed{said}",
            permanent=400 <= status < 500,
            hint="See the model server's log.",
            code="provider.failed",
        )

    def _unreachable(self, detail: str) -> ProviderError:
        return ProviderError(
            f"There is no answer from a model server at {self.base_url}: {detail}",
            hint="Check that the server runs and that its address is right.",
            code="provider.unreachable",
        )

    def _garbage(self) -> ProviderError:
        return ProviderError(
            f"What {self.base_url} answered is not the OpenAI chat API.",
            hint="Check the address: it usually ends in /v1.",
            code="provider.garbage",
        )


def _langchain_message(message: Message) -> BaseMessage:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    kinds: dict[str, type[BaseMessage]] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return kinds[message.role](content=message.content)


def _chunk(piece: BaseMessage | BaseMessageChunk) -> Chunk:
    counted = getattr(piece, "usage_metadata", None)
    usage = Usage(counted["input_tokens"], counted["output_tokens"]) if counted else None
    text = piece.content if isinstance(piece.content, str) else "".join(_texts(piece.content))
    return Chunk(text, usage, piece.response_metadata.get("finish_reason") or "")


def _texts(blocks: Sequence[str | dict[Any, Any]]) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, str):
            yield block
        elif block.get("type") == "text":
            yield str(block.get("text", ""))


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:300]
