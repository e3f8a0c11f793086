"""How a job's state is written on a page."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portal.home import rendering
from portal.jobs import presentation, registry
from portal.jobs.models import Job

register = template.Library()


@register.simple_tag
def job_state(job: Job) -> SafeString:
    """A job's state as icon and word."""
    name, icon, words = presentation.state_parts(job)
    return format_html('<span class="st {}">{}{}</span>', name, rendering.icon(icon), words)


@register.filter
def type_title(slug: str) -> str:
    """The title of a job type."""
    return presentation.type_title(slug)


@register.filter
def has_events(slug: str) -> bool:
    """Whether jobs of this type show showers in space."""
    found = registry.all_types().get(slug)
    return found is not None and found.events


@register.filter
def run_time(job: Job) -> float | None:
    """Seconds a job has run, or None before it started."""
    return presentation.elapsed(job)
