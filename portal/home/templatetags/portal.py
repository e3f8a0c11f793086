"""Filters and tags for the pages, loaded in every template."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portal.home import rendering

register = template.Library()

THIN_SPACE = "\u202f"


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """An icon of the sprite: ``{% icon "ok" %}``."""
    return rendering.icon(name, label)


@register.simple_tag
def code(text: str, language: str = "text", title: str = "") -> SafeString:
    """Highlighted, foldable code with a copy button."""
    return rendering.code_figure(text, language, title)


@register.simple_tag
def result_table(table: Mapping[str, Any]) -> SafeString:
    """A table of a job's result. Made here, not in a template: one may have thousands of cells."""
    return rendering.table(
        table.get("columns", ()), table.get("rows", ()), frozenset(table.get("numeric", ())), str(table.get("title", ""))
    )


@register.simple_tag
def artifact_code(artifact: Any) -> SafeString:
    """The beginning of a text artefact, with its download."""
    return rendering.code_figure(
        artifact.preview["text"],
        artifact.preview["language"],
        artifact.name,
        url=reverse("artifact", args=[artifact.job_id, artifact.pk]),
        cut=bool(artifact.preview.get("cut")),
    )


@register.filter
def markdown(text: str) -> SafeString:
    """Markdown as safe HTML."""
    return rendering.markdown(text)


@register.filter
def svg(source: str) -> SafeString:
    """A drawing that a job made."""
    return rendering.svg(source)


@register.filter
def count(value: int | None) -> str:
    """A whole number with thin spaces between thousands; a dash for none."""
    return "–" if value is None else f"{value:,}".replace(",", THIN_SPACE)


@register.filter
def size(value: float | None) -> str:
    """Bytes in a unit that suits: ``1.92 MB``."""
    if value is None:
        return "–"
    if value < 1000:
        return f"{value:.0f} B"
    if value % 2**30 == 0:
        return f"{value / 2**30:.0f} GiB"  # limits are set in powers of two, and "4.29 GB" hides that
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds in units that suit: ``0.41 s``, ``40 s``, ``3 min 12 s``, ``2 h 5 min``."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 1 or seconds == 0 else f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """When something was: ``4 min ago`` today, ``yesterday``, then the date. The exact time is in the element."""
    if moment is None:
        return "–"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(timespec="seconds"),
        moment.strftime("%d %b %Y, %H:%M:%S %Z"),
        ago_text(moment, timezone.now()),
    )


def ago_text(moment: datetime, now: datetime) -> str:
    """The words of `ago`."""
    seconds = (now - moment).total_seconds()
    if seconds < 5:
        return "just now"
    if seconds < 60:
        return f"{seconds:.0f} s ago"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    days = (now.date() - moment.date()).days
    if days == 0 or seconds < 6 * 3600:
        return f"{seconds // 3600:.0f} h ago"
    if days == 1:
        return "yesterday"
    return f"{moment.day} {moment:%b}" if moment.year == now.year else f"{moment.day} {moment:%b %Y}"


@register.filter
def moment(value: datetime | None) -> SafeString | str:
    """A date with its time: ``15 May 2026, 14:02``."""
    if value is None:
        return "–"
    return format_html('<time datetime="{}">{}</time>', value.isoformat(timespec="seconds"), f"{value.day} {value:%b %Y, %H:%M}")


@register.filter
def day(value: datetime | None) -> str:
    """A date: ``15 May``, with the year where it is another one."""
    if value is None:
        return "–"
    return f"{value.day} {value:%b}" if value.year == timezone.now().year else f"{value.day} {value:%b %Y}"


@register.filter
def get(mapping: Mapping[str, Any], key: str) -> Any:
    """The value at a key that is a variable."""
    return mapping.get(key)


@register.filter
def percent(fraction: float) -> str:
    """0.62 as 62."""
    return f"{100 * fraction:.0f}"
