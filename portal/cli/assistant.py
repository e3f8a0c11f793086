"""``ml4ep ask`` and ``ml4ep retrieve``: the assistant in the terminal, here without a server or at a portal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli import console
from portal.cli.connection import Remote, Token, portal

if TYPE_CHECKING:
    from assistant.providers import Provider

SNIPPET = 300  # characters of a passage shown


def retrieve(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    k: Annotated[
        int, typer.Option("-k", min=1, max=50, metavar="N", help="How many passages at most; default: 10.", show_default=False)
    ] = 10,
    as_json: console.AsJson = False,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Find passages of the documentation.

    Those that fit the query, best first.

    \b
    Examples:
      ml4ep retrieve "TH1::Fit with a user function" -k 5
      ml4ep retrieve "read an RNTuple in Python" --json
    """
    if remote:
        with portal(remote, token) as there:
            found = [_passage_json(each) for each in there.retrieve(query, k)]
    else:
        found = [_passage_here(each) for each in _retriever().retrieve(query, k=k).passages]
    if as_json:
        console.say_json(found)
        return
    if not found:
        console.note("Nothing fits this query.")
    _show_passages(found, texts=True)


def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know; - reads it from standard input.")],
    as_json: console.AsJson = False,
    k: Annotated[
        int,
        typer.Option(
            "-k", min=0, max=50, metavar="N", help="How many passages to find; default: as many as suit.", show_default=False
        ),
    ] = 0,
    no_model: Annotated[
        bool, typer.Option("--no-model", help="Answer with the best passages, without a language model.")
    ] = False,
    remote: Remote = "",
    token: Token = "",
) -> None:
    """Ask the assistant.

    The answer appears as it is written; [n] names the passage behind a sentence.

    Works without a server: from this machine's index, with the language model of a running portal or of ML4EP_MODEL_URL, and
    without a model by quoting the passages that fit best.

    \b
    Examples:
      ml4ep ask "How do I fit a histogram with two Gaussians?"
      ml4ep ask - --json < question.txt
    """
    if question == "-":
        question = sys.stdin.read()
    events = _ask_there(question, k, no_model, remote, token) if remote else _ask_here(question, k, no_model)
    whole = _follow(events, quiet=as_json)
    if as_json:
        console.say_json(whole)
        return
    console.say()
    cited = set(whole["citations"])
    console.say()
    console.say("Passages" + (" (cited ones are marked)" if cited else ""))
    _show_passages(whole["passages"], cited=cited)
    if whole.get("note"):
        console.note(whole["note"])


def _follow(events: Iterable[tuple[str, Any]], *, quiet: bool) -> dict[str, Any]:
    """Write the text as it comes; returns the whole answer."""
    whole: dict[str, Any] = {}
    for name, data in events:
        if name == "passages" and not quiet:
            console.note(f"{len(data)} passages found")
        elif name == "text" and not quiet:
            print(data, end="", flush=True)
        elif name == "done":
            whole = data
    return whole


def _ask_here(question: str, k: int, no_model: bool) -> Iterator[tuple[str, Any]]:
    from assistant.answer import Finished, Options, PassagesFound, Token, answer

    options = Options(passages=k) if k else Options()
    for event in answer(question, retriever=_retriever(), provider=None if no_model else provider(), options=options):
        match event:
            case PassagesFound():
                yield "passages", event.passages
            case Token():
                yield "text", event.text
            case Finished():
                found = event.answer
                yield (
                    "done",
                    {
                        "question": question,
                        "text": found.text,
                        "citations": list(found.citations),
                        "abstained": found.abstained,
                        "extractive": found.extractive,
                        "provider": found.provider,
                        "note": found.note,
                        "passages": [{"n": n} | _passage_here(each) for n, each in enumerate(found.passages, 1)],
                        "timings": dict(found.timings),
                        "tokens": dict(found.tokens),
                    },
                )


def _ask_there(question: str, k: int, no_model: bool, remote: str, token: str) -> Iterator[tuple[str, Any]]:
    from portal.cli.errors import CommandError
    from portal.client import Done, Passages, Text

    with portal(remote, token) as there:
        for event in there.ask(question, k=k, use_model=not no_model):
            match event:
                case Passages():
                    yield "passages", event.passages
                case Text():
                    yield "text", f"\n\n(corrected)\n\n{event.text}" if event.corrected else event.added
                case Done():
                    turn = event.turn
                    if turn.state == "FAILED":
                        raise CommandError(turn.error or "The assistant could not answer.", hint=turn.hint)
                    kept = ("citations", "abstained", "extractive", "provider", "note", "timings", "tokens")
                    whole = {"question": turn.question, "text": turn.text, "citations": [], "passages": []}
                    whole |= {name: turn.answer[name] for name in kept if name in turn.answer}
                    yield "done", whole | {"passages": [{"n": each.n} | _passage_json(each) for each in turn.passages]}


def _retriever() -> Any:
    from assistant.retrieval import Retriever
    from portal import settings

    return Retriever.open(settings.INDEX_DIR)


def provider(model: str = "") -> Provider | None:
    """The configured model server, else that of this machine's running portal; None where neither answers.

    Parameters
    ----------
    model
        Another model of that server than the configured one.
    """
    from assistant.errors import ProviderError
    from assistant.providers.openai_compatible import OpenAICompatible
    from portal import settings

    environment = settings.ENV
    if environment.model_url:
        key = environment.model_api_key.get_secret_value()
        name = model or environment.model_name
        server = OpenAICompatible(base_url=environment.model_url, model=name, api_key=key, prompt_tokens=3000)
    else:
        try:
            told = json.loads((settings.RUN_DIR / "model.json").read_text())
            server = OpenAICompatible(base_url=told["url"], model=model or told["name"])
        except (OSError, ValueError, KeyError):
            return None
    try:
        server.check()
    except ProviderError as error:
        if environment.model_url or model:
            console.note(f"The model server does not answer: {error.message}")
        return None
    return server


def _passage_json(passage: Any) -> dict[str, Any]:
    """A passage, wherever it comes from."""
    names = ("title", "source", "kind", "place", "url", "score", "text")
    return {name: getattr(passage, name) for name in names}


def _passage_here(passage: Any) -> dict[str, Any]:
    """A passage of this machine's index; where it has no public page, this machine's portal shows it."""
    from urllib.parse import quote

    from portal import settings

    url = passage.url or f"{settings.PUBLIC_URL}/ask/passages/{quote(passage.id)}"
    return _passage_json(passage) | {"url": url}


def _show_passages(passages: list[dict[str, Any]], *, texts: bool = False, cited: Iterable[int] = ()) -> None:
    marked = set(cited)
    for n, passage in enumerate(passages, 1):
        mark = "*" if n in marked else " "
        console.say(f"{mark}[{n}] {passage['title']}")
        console.say(f"      {passage['url'] or passage['place']}")
        if texts:
            text = passage["text"].strip()
            shown = text if len(text) <= SNIPPET else text[:SNIPPET].rsplit(None, 1)[0] + " …"
            console.paragraph(shown, indent="      ")
            console.say()
