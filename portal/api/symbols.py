"""Classes, methods and functions by their exact names: what the documentation says of one."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from portal.accounts.models import User
from portal.api import ask
from portal.api.auth import person
from portal.api.errors import refusals

router = Router(tags=["ask"])

LOOKED_THROUGH = 20


class SymbolQuery(Schema):
    name: str = Field(min_length=1, max_length=200, description="A class, method or function: TH1, TTree::Draw, RooRealVar")
    k: int = Field(4, ge=1, le=10, description="How many passages at most")


class Symbol(Schema):
    """What the documentation says of a name."""

    name: str
    known: bool = Field(description="Whether any passage names it")
    passages: list[ask.PassageOut]


def look_up(owner: User, name: str, k: int) -> dict[str, Any]:
    """The fields of `Symbol`: passages that have the whole name, those of its own page first.

    Raises
    ------
    ApiError
        There is no index, or no assistant to search it.
    """
    name = name.strip()
    holder, _, member = name.rpartition("::")
    whole = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(member or name)}(?![A-Za-z0-9_])")

    def rank(passage: dict[str, Any]) -> tuple[bool, bool]:
        titled = bool({passage["source"], passage["title"]} & {name, holder})
        return not titled, not passage["text"].lstrip().startswith(name)

    searched = ask.search(owner, name, LOOKED_THROUGH)["passages"]
    found = [each for each in searched if whole.search(f"{each['title']} {each['source']} {each['text']}")]
    return {"name": name, "known": bool(found), "passages": sorted(found, key=rank)[:k]}


@router.get("", response={200: Symbol} | refusals(422, 429, 503), operation_id="look_up_symbol", summary="Look a name up")
def symbol(request: HttpRequest, query: Query[SymbolQuery]) -> Any:
    """What the documentation says of one class, method or function, by its exact name."""
    return look_up(person(request), query.name, query.k)
