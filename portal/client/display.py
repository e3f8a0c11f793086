"""What the portal returns, as HTML for notebooks: every text escaped, every plot a picture that can run nothing.

A plot of the portal is SVG coloured by class; here it becomes an ``<img>`` with the colours inside, which no notebook's style
changes and in which no script runs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portal.client.models import Artifact, File, Job, JobType, Passage, Turn

MOST_ROWS = 100
MARGIN = 8  # of plots, in their own units
MARKS = {"ok": ("✓", "#17703f"), "warn": ("!", "#835200"), "bad": ("✗", "#b0261a"), "act": ("→", "#0a58a8")}
STATES = {"PENDING": "waiting", "RUNNING": "running", "SUCCEEDED": "done", "FAILED": "failed", "CANCELLED": "cancelled"}
MUTED = "opacity:.75"
MONO = "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.92em"
BLOCK = f"{MONO};background:rgba(127,127,127,.1);padding:.6em .8em;overflow-x:auto;white-space:pre;line-height:1.4;margin:.5em 0"
BULLET, NUMBER = r"[-*+]", r"\d+[.)]"  # what items of lists begin with

PLOT_STYLE = """
svg{background:#fff;color:#191c1e;--c:#0072b2}
text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:#4d5257;font-variant-numeric:tabular-nums}
.lb{fill:#4d5257}.hd,.val{fill:#191c1e}.hd{font-weight:600}.a-e{text-anchor:end}.a-m{text-anchor:middle}
.ax{stroke:#868b90;stroke-width:1;fill:none}.gr{stroke:#e4e4e0;stroke-width:1;fill:none}
.ref-l{stroke:#4d5257;stroke-width:1;stroke-dasharray:4 3;fill:none}
.ln{stroke:var(--c);stroke-width:1.75;fill:none;stroke-linejoin:round}.eb{stroke:var(--c);stroke-width:1;fill:none}
.pt{fill:var(--c);stroke:#fff;stroke-width:.75}.fl{fill:var(--c)}.tint{fill:var(--c);opacity:.14}.span{fill:var(--c);opacity:.4}
.halo{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}
.q-0{--c:#f7f7f5}.q-f1{--c:#deecf7}.q-f2{--c:#b8d7ee}.q-f3{--c:#8dbfe4}.q-l1{--c:#fdebd2}.q-l2{--c:#fad2a0}.q-l3{--c:#f0ae62}
.m1{--c:#0072b2}.m2{--c:#c85200}.e-own{--c:#0072b2}.e-sofie{--c:#6a4bb0}.e-ort{--c:#c85200}.e-torch{--c:#00805b}.e-tf{--c:#a8467d}
.e-xgb{--c:#8d6400}.e-tree{--c:#2b8aa6}.e-lgbm{--c:#5d7d10}.e-skl{--c:#b0406b}.e-dal{--c:#7d5136}.e-gtil{--c:#5f6a70}
.e-cat{--c:#8f5a8a}.e-llv{--c:#4b5fb5}.truth{--c:#33383c}
.v1{--c:#dcebdc}.v2{--c:#b4d9c8}.v3{--c:#7fc1bd}.v4{--c:#479fb5}.v5{--c:#2175a3}.v6{--c:#1a4a80}.v7{--c:#15244f}
.face{fill:var(--c);stroke:#fff;stroke-width:.35}.shade{fill:#000;opacity:.16}.lite{fill:#fff;opacity:.22}
.face-g.v1{opacity:.4}.face-g.v2{opacity:.6}.face-g.v3{opacity:.85}
.node{fill:#fff;stroke:#868b90;stroke-width:1}.branch{stroke:#cfcfca;fill:none}.leaf{fill:#eeeeea;stroke:none}
.sw1{stroke-width:1.5}.sw2{stroke-width:3}.sw3{stroke-width:4.5}.sw4{stroke-width:6}
.code-t{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:10.5px;fill:#191c1e}
"""
"""The portal's colours on white, class by class as its own pages have them."""


# --- jobs -----------------------------------------------------------------------------------------------------------------------


def job_html(job: Job, base: str = "") -> str:
    """A job: what it is, and what came of it. ``base`` is the portal's address, for links."""
    state = STATES.get(job.state, job.state)
    if job.state == "RUNNING":
        state = f"{state}, {100 * float(job.progress.get('fraction', 0.0)):.0f} %"
    title = link(job.title or job.type, _address(base, job.url))
    ran = f", ran for {seconds(job.run_seconds)}" if job.run_seconds is not None else ""
    parts = [f'<p><b>{title}</b> <span style="{MUTED}">{escape(job.type)}, {escape(state)}{escape(ran)}</span></p>']
    if job.error:
        parts.append(note_html("bad", str(job.error.get("message", "")), str(job.error.get("hint", ""))))
    if job.result:
        parts.append(result_html(job.result))
    if job.artifacts:
        parts.append(artifacts_html(job.artifacts, base))
    return _frame(parts)


def result_html(result: Mapping[str, Any]) -> str:
    """Notes, figures, texts, plots and tables of a job, in this order."""
    parts = [note_html(each["kind"], each["headline"], each["text"]) for each in result.get("notes", ())]
    if figures := result.get("figures"):
        parts.append(figures_html(figures))
    parts += [
        f'<p><b>{escape(each["title"])}</b></p><pre style="{BLOCK}">{escape(each["text"])}</pre>'
        for each in result.get("texts", ())
    ]
    parts += [
        f'<p style="{MUTED}">{escape(each["title"])}: {escape(each["file"])}, shown in space on the job\'s page.</p>'
        for each in result.get("events", ())
    ]
    plots = [*result.get("plots", ()), *(plot for series in result.get("series", ()) for plot in series["plots"])]
    if plots:
        parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(map(plot_html, plots))}</div>')
    parts += [
        table_html(each["columns"], each["rows"], each.get("numeric", ()), each["title"], each.get("note", ""))
        for each in result.get("tables", ())
    ]
    return "".join(parts)


def note_html(kind: str, headline: str, text: str = "") -> str:
    """A message: a bold sentence, and the rest."""
    mark, colour = MARKS.get(kind, ("-", "#4d5257"))
    said = f"<b>{escape(headline)}</b> {escape(text)}"
    return f'<p style="border-left:3px solid {colour};padding-left:.6em"><span style="color:{colour}">{mark}</span> {said}</p>'


def figures_html(figures: Iterable[Mapping[str, Any]]) -> str:
    """The numbers that decide, side by side."""
    boxes = (
        f'<div><div style="{MUTED}">{escape(each["label"])}</div><div style="font-size:1.4em">{escape(str(each["value"]))}</div>'
        f'<div style="{MUTED};font-size:.85em">{escape(each.get("condition", ""))}</div></div>'
        for each in figures
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:.5em 2.5em;margin:.6em 0">{"".join(boxes)}</div>'


def plot_html(plot: Mapping[str, Any]) -> str:
    """A plot as a picture."""
    caption = f'<figcaption style="{MUTED};font-size:.85em">{escape(plot["caption"])}</figcaption>' if plot.get("caption") else ""
    return (
        f'<figure style="margin:0;max-width:46rem;flex:1 1 26rem"><b>{escape(plot["title"])}</b>'
        f'<img style="display:block;width:100%" alt="{escape(plot["title"])}" src="{picture(plot["svg"])}">{caption}</figure>'
    )


def picture(svg: str) -> str:
    """The address of a picture that holds an SVG of the portal, its colours inside."""
    opening = re.match(r"\s*<svg\b([^>]*)>", svg)
    if opening:
        attributes = opening[1] if "xmlns=" in opening[1] else f' xmlns="http://www.w3.org/2000/svg"{opening[1]}'
        attributes = re.sub(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', _roomy, attributes)
        svg = f"<svg{attributes}><style>{PLOT_STYLE}</style>{svg[opening.end() :]}"
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _roomy(found: re.Match[str]) -> str:
    """A view with a margin: on pages what stands over the edge of a plot is seen, in a picture it would be cut off."""
    return f'viewBox="{-MARGIN} {-MARGIN} {float(found[1]) + 2 * MARGIN:g} {float(found[2]) + 2 * MARGIN:g}"'


def table_html(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], numeric: Sequence[int] = (), title: str = "", note: str = ""
) -> str:
    """Rows under a title; cells are escaped."""
    return _table(columns, [[escape(str(cell)) for cell in row] for row in rows], numeric, title, note)


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = (), title: str = "", note: str = ""
) -> str:
    """The same of cells that are HTML already."""

    def cell(kind: str, number: int, content: str) -> str:
        return f'<{kind} style="text-align:{"right" if number in numeric else "left"}">{content}</{kind}>'

    head = "".join(cell("th", number, escape(column)) for number, column in enumerate(columns))
    body = "".join(f"<tr>{''.join(cell('td', number, each) for number, each in enumerate(row))}</tr>" for row in rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        note = f"{len(rows) - MOST_ROWS} more rows are not shown. {note}".rstrip()
    caption = f"<p><b>{escape(title)}</b></p>" if title else ""
    below = f'<p style="{MUTED};font-size:.85em">{escape(note)}</p>' if note else ""
    return f"{caption}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def artifacts_html(artifacts: Sequence[Artifact], base: str = "") -> str:
    """The files that a job made."""
    rows = [
        [link(each.name, _address(base, each.url)), escape(size(each.size)), escape(each.title or each.kind)]
        for each in artifacts
    ]
    return _table(("File", "Size", "What"), rows, numeric=(1,), title="Artefacts")


def job_type_html(kind: JobType) -> str:
    """A kind of job with its parameters."""
    wanted = set(kind.params.get("required", ()))
    rows = []
    for name, each in kind.params.get("properties", {}).items():
        default = "required" if name in wanted else each.get("default", "")
        what = f"{each.get('title', name)}: {each.get('description', '')}".rstrip(": ")
        files = f" File: {', '.join(kind.files[name])}." if name in kind.files else ""
        rows.append((name, default, what + files))
    parts = [
        f'<p><b>{escape(kind.title)}</b> <span style="{MUTED}">{escape(kind.slug)}, {escape(kind.duration)}</span></p>',
        f"<p>{escape(kind.summary)}</p>",
        table_html(("Parameter", "Default", "What"), rows),
    ]
    return _frame(parts)


def file_html(file: File, base: str = "") -> str:
    """A file of the library with what was found in it."""
    about = f"{file.kind_title}, {size(file.size)}"
    name = link(file.name, _address(base, file.url))
    parts = [f'<p><b>{name}</b> <span style="{MUTED}">{escape(about)}</span></p>']
    if file.inspection and file.inspection.get("result"):
        parts.append(result_html(file.inspection["result"]))
    return _frame(parts)


# --- answers --------------------------------------------------------------------------------------------------------------------


def turn_html(turn: Turn, base: str = "") -> str:
    """A question's answer with the passages that it cites."""
    parts = [answer_html(turn.text, turn.passages, base)]
    if turn.error:
        parts.append(note_html("bad", turn.error, turn.hint))
    if turn.passages:
        found = "".join(passage_line(each, base) for each in turn.passages)
        parts.append(f'<details><summary style="{MUTED}">Passages: {len(turn.passages)}</summary>{found}</details>')
    return _frame(parts)


def passage_line(passage: Passage, base: str = "") -> str:
    """One passage in a list of them."""
    title = link(passage.title, _address(base, passage.url))
    return (
        f'<p style="margin:.3em 0">[{int(passage.n)}] {title} <span style="{MUTED}">{escape(passage.source)}</span></p>'
        f'<pre style="{BLOCK};max-height:12em">{escape(passage.text)}</pre>'
    )


def answer_html(text: str, passages: Sequence[Passage] = (), base: str = "") -> str:
    """Markdown of an answer: code, headings, lists, emphasis and citations; anything else is text. Nothing in it is HTML."""
    addresses = {passage.n: _address(base, passage.url) for passage in passages}
    parts: list[str] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        if fence := re.match(r"\s*(```+|~~~+)", line):
            end = next((n for n in range(at + 1, len(lines)) if lines[n].strip().startswith(fence[1])), len(lines))
            code = escape("\n".join(lines[at + 1 : end]))
            parts.append(f'<pre style="{BLOCK}"><code>{code}</code></pre>')
            at = end + 1
        elif heading := re.match(r"(#{1,6})\s+(.*)", line):
            parts.append(f"<p><b>{_inline(heading[2], addresses)}</b></p>")
            at += 1
        elif marker := re.match(rf"\s*(?:({BULLET})|{NUMBER})\s+", line):
            tag, kind = ("ul", BULLET) if marker[1] else ("ol", NUMBER)
            items = []
            while at < len(lines) and (item := re.match(rf"\s*{kind}\s+(.*)", lines[at])):
                items.append(f"<li>{_inline(item[1], addresses)}</li>")
                at += 1
            parts.append(f"<{tag}>{''.join(items)}</{tag}>")
        elif line.strip():
            begin = at
            while (
                at < len(lines)
                and lines[at].strip()
                and (at == begin or not re.match(r"\s*(```|~~~|#{1,6}\s|[-*+]\s)", lines[at]))
            ):
                at += 1
            parts.append(f"<p>{_inline(' '.join(lines[begin:at]), addresses)}</p>")
        else:
            at += 1
    return "".join(parts)


def _inline(text: str, addresses: Mapping[int, str]) -> str:
    """Code, bold text and citations within a line."""
    done = []
    for number, piece in enumerate(re.split(r"(`[^`]+`)", text)):
        if number % 2:
            done.append(f'<code style="{MONO}">{escape(piece[1:-1])}</code>')
            continue
        plain = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", escape(piece))
        done.append(re.sub(r"\[(\d{1,3})\]", lambda found: link(found[0], addresses.get(int(found[1]), "")), plain))
    return "".join(done)


# --- shared ---------------------------------------------------------------------------------------------------------------------


def link(text: str, address: str) -> str:
    """A link that opens beside the notebook; the text alone where there is no address, or one that is not of the web."""
    if not address.startswith(("https://", "http://")):
        return escape(text)
    return f'<a href="{escape(address)}" target="_blank" rel="noopener noreferrer">{escape(text)}</a>'


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


def seconds(count: float) -> str:
    """A time as people read it."""
    return f"{count:.1f} s" if count < 60 else f"{int(count // 60)} min {int(count % 60)} s"


def _address(base: str, path: str) -> str:
    """An address of the portal's own, or of the web, which stays as it is."""
    return f"{base}{path}" if base and path.startswith("/") else path


def _frame(parts: Iterable[str]) -> str:
    return f'<div style="max-width:60rem;line-height:1.5">{"".join(parts)}</div>'
