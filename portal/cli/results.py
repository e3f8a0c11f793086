"""A job's result in words: notes, figures, texts and tables. Plots are for pages and the JSON output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portal.cli.console import paragraph, say, table

MARKS = {"ok": "✓", "warn": "!", "bad": "✗", "act": "→"}


def show_result(result: Mapping[str, Any]) -> None:
    """Print what `portal.jobs.results.Result.to_json` gave."""
    for note in result.get("notes", ()):
        paragraph(f"{MARKS.get(note['kind'], '-')} {note['headline']} {note['text']}".rstrip())
    figures = result.get("figures", ())
    wide = max((len(figure["label"]) for figure in figures), default=0)
    values = max((len(figure["value"]) for figure in figures), default=0)
    for figure in figures:
        say(f"  {figure['label'].ljust(wide)}  {figure['value'].ljust(values)}  {figure['condition']}".rstrip())
    for text in result.get("texts", ()):
        say()
        say(text["title"])
        for line in text["text"].rstrip("\n").splitlines():
            say(f"  {line}")
    for each in result.get("tables", ()):
        say()
        say(each["title"])
        table(each["columns"], each["rows"], each["numeric"])
        if each.get("note"):
            paragraph(each["note"])
