"""Filters for the library's pages."""

from __future__ import annotations

from django import template

from portal.library import services

register = template.Library()


@register.filter
def kind_title(kind: str) -> str:
    """The words for a kind of file: ``root`` -> ROOT file."""
    return services.KIND_TITLES.get(kind, kind)


@register.filter
def percent(fraction: float) -> int:
    """0.62 -> 62."""
    return round(100 * fraction)
