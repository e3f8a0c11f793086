"""Tools that read the documentation: search it, and look a class or function up by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assistant.citations import identifiers
from assistant.passages import Passage, SupportsRetrieve
from assistant.tools.base import Outcome, Tool, ToolSpec, text_argument

FOUND = 4
LOOKED_THROUGH = 12

_TEXT = {"type": "object", "additionalProperties": False}


def documentation_tools(retriever: SupportsRetrieve) -> tuple[Tool, ...]:
    """The tools that need the index alone."""

    def search(arguments: Mapping[str, Any]) -> Outcome:
        return _found(retriever.retrieve(text_argument(arguments, "query"), FOUND).passages)

    def look_up(arguments: Mapping[str, Any]) -> Outcome:
        name = text_argument(arguments, "name", 200)
        wanted = identifiers(name) or {name}
        # Pages that are about the name, or at least have it, before those that are only near in meaning.
        passages = retriever.retrieve(name, LOOKED_THROUGH).passages
        about = [each for each in passages if wanted & identifiers(f"{each.source} {each.title}")]
        having = [each for each in passages if each not in about and name.rsplit("::", 1)[-1] in each.text]
        return _found([*about, *having][:FOUND])

    return (
        Tool(
            ToolSpec(
                "search_docs",
                "Search the documentation of ROOT, of the scientific Python packages and of this portal. Use words as the "
                "documentation would.",
                _TEXT | {"properties": {"query": {"type": "string", "description": "What to search for"}}, "required": ["query"]},
            ),
            search,
            lambda arguments: f"Search the documentation for “{str(arguments.get('query', ''))[:80]}”",
        ),
        Tool(
            ToolSpec(
                "lookup_symbol",
                "Look up a class, method or function by its name, for example TH1::Fit or uproot.open.",
                _TEXT | {"properties": {"name": {"type": "string", "description": "Its name"}}, "required": ["name"]},
            ),
            look_up,
            lambda arguments: f"Look up {str(arguments.get('name', ''))[:80]}",
        ),
    )


def _found(passages: Sequence[Passage]) -> Outcome:
    if not passages:
        return Outcome("Nothing was found.", "nothing found")
    text = "\n\n".join(f"{each.title}\n{each.text}" for each in passages)
    names = ", ".join(dict.fromkeys(each.source for each in passages))
    return Outcome(text, f"found {names}", tuple(passages))
