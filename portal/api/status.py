"""How the portal is."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from portal.api.errors import refusals
from portal.home import health

router = Router(tags=["portal"])


class Part(Schema):
    """One part of the portal."""

    name: str
    ok: bool
    required: bool = Field(description="Whether the portal cannot serve without it")
    detail: str = Field(description="What works, or why not")


class Status(Schema):
    """How the portal is."""

    serves: bool = Field(description="Whether all parts work that are required")
    parts: list[Part]


@router.get("", response={200: Status} | refusals(), operation_id="get_status", summary="Get the portal's health")
def status(request: HttpRequest) -> Any:
    """Database, broker, workers, index and model: each with what works, or why not."""
    checks = health.checks()
    parts = [{"name": each.name, "ok": each.ok, "required": each.required, "detail": each.detail} for each in checks]
    return {"serves": all(each.ok for each in checks if each.required), "parts": parts}
