"""Lists in pages: ``?limit=`` and ``?offset=``, answered with the number of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from ninja import Schema
from pydantic import Field

T = TypeVar("T")


class Page(Schema, Generic[T]):
    """A part of a list, and how long the whole is."""

    items: list[T]
    total: int = Field(description="How many there are on all pages together")
    limit: int
    offset: int


class Paging(Schema):
    """Which part of the list."""

    limit: int = Field(50, ge=1, le=200, description="How many at most")
    offset: int = Field(0, ge=0, description="How many to leave out at the beginning")


class Listed(Protocol):
    """A query set, as far as a page needs it."""

    def count(self) -> int: ...
    def __getitem__(self, key: slice) -> Iterable[Any]: ...


def page(found: Listed, paging: Paging, show: Callable[[Any], T]) -> dict[str, Any]:
    """The part of ``found`` that was asked for, each entry as ``show`` makes it."""
    part = found[paging.offset : paging.offset + paging.limit]
    return {"items": [show(each) for each in part], "total": found.count(), "limit": paging.limit, "offset": paging.offset}
