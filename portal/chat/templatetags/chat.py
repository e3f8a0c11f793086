"""Code of an answer on its page."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from portal.chat.code import ShownBlock, ShownRun
from portal.home import rendering

register = template.Library()


@register.simple_tag(takes_context=True)
def code_with_run(context: Any, text: str, language: str, run: ShownRun, block: ShownBlock, which: str = "") -> SafeString:
    """A framed piece of code with its badge, its buttons, and below it what it wrote and drew."""
    lines, rest, more = rendering.code_parts(text, language)
    title = rendering.LANGUAGE_TITLES.get(language, language)
    values = {
        "lines": lines, "rest": rest, "more": more, "title": title, "run": run, "block": block, "which": which,
        "csrf_token": context.get("csrf_token", ""),
    }  # fmt: skip
    return render_to_string("chat/_code_figure.html", values)
