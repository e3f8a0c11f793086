"""Doxygen comments as plain text with Markdown code fences."""

from __future__ import annotations

import re

_RULE = re.compile(r"^[\s/*#=_~-]*$")
_LINE_MARK = re.compile(r"^\s*(?:///?<?|//!<?|\*(?!/))\s?")
_HASH_MARK = re.compile(r"^\s*##?\s?")
_OPEN = re.compile(r"^\s*/\*[*!]*<?\s?")
_CLOSE = re.compile(r"\s*\*+/\s*$")

# Commands with nothing to tell a reader: dropped with the rest of their line.
_DROPPED = re.compile(
    r"^\s*[\\@](?:file|ingroup|author|authors|date|macro_\w+|notebook|preview|image|anchor|htmlonly|endhtmlonly|addtogroup|defgroup"
    r"|class|struct|namespace|fn|var|enum|name|since|copyright|version|nosubgrouping|pythondoc|pyrootref|tableofcontents|hideinitializer"
    r"|relates|internal|cond|endcond|toc|latexonly|endlatexonly|parblock|endparblock|link|endlink|tutorial)\b.*$"
)
_CODE_OPEN = re.compile(
    r"^\s*(?:[\\@]code(?:\{\.?(\w+)\})?|[\\@]verbatim|~~~+\s*(?:\{?\.?(\w+)\}?)?|Begin_Macro(?:\([^)]*\))?)\s*(.*)$",
    re.IGNORECASE,
)
_CODE_CLOSE = re.compile(r"^(.*?)\s*(?:[\\@]endcode|[\\@]endverbatim|~~~+|End_Macro)\s*$", re.IGNORECASE)
_FENCE = re.compile(r"^\s*```\s*(?:\{?\.?([\w+]+)\}?)?")
_HTML = re.compile(
    r"</?(?:b|i|em|strong|br|p|tt|code|ul|ol|li|pre|center|h[1-6]|table|tr|td|th|a|div|span|img|sup|sub|dl|dt|dd|font|hr)\b[^<>]*>",
    re.IGNORECASE,
)
_REPLACEMENTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[\\@]brief\s+"), ""),
    (re.compile(r"[\\@](?:t?param)(?:\s*\[[^\]]*\])?\s+(\S+)\s*"), r"- \1: "),
    (re.compile(r"[\\@](?:returns?|result|retval)\s+"), "Returns "),
    (re.compile(r"[\\@](?:throws?|exception)\s+"), "Throws "),
    (re.compile(r"[\\@](?:note|remark)\s+"), "Note: "),
    (re.compile(r"[\\@]warning\s+"), "Warning: "),
    (re.compile(r"[\\@]deprecated\b"), "Deprecated:"),
    (re.compile(r"[\\@](?:sa|see)\s+"), "See "),
    (re.compile(r"[\\@]ref\s+(?:[\w:]+\s+)?\"([^\"]+)\""), r"\1"),
    (re.compile(r"[\\@](?:c|p|a|e|em|b|ref|copydoc|subpage)\s+([\w:~.()<>,&*-]+)"), r"\1"),
    (re.compile(r"[\\@](?:sub)*section\s+\S+\s*"), "### "),
    (re.compile(r"[\\@]page\s+\S+\s*"), "# "),
    (re.compile(r"[\\@](?:f\$|f\[|f\])"), "$"),
    (re.compile(r"[\\@](?:n|li|arg|par|details|short|attention|pre|post|todo|bug|remarks)\b\s?"), ""),
    (re.compile(r"\{#[\w-]+\}"), ""),
)


def strip_marks(comment: str, *, python: bool = False) -> list[str]:
    """The lines of a comment without its slashes, stars (or, for Python, hashes) and rules."""
    mark = _HASH_MARK if python else _LINE_MARK
    block = comment.lstrip().startswith("/*")
    lines = comment.splitlines()
    if block:
        lines[0] = _OPEN.sub("", lines[0])
        lines[-1] = _CLOSE.sub("", lines[-1])
        # A star at the start of a line is decoration only where every line has one; else it is a list item.
        inner = [line for line in lines[1:] if line.strip()]
        if not inner or not all(line.lstrip().startswith("*") for line in inner):
            return ["" if len(line.strip()) > 3 and _RULE.match(line) else line.rstrip() for line in lines]
    lines = [mark.sub("", line, count=1) for line in lines]
    return ["" if len(line.strip()) > 3 and _RULE.match(line) and "~~~" not in line else line.rstrip() for line in lines]


def to_text(comment: str, *, python: bool = False) -> str:
    """A Doxygen comment, marks and all, as text: commands resolved, code in Markdown fences."""
    return markup_to_text(strip_marks(comment, python=python))


def markup_to_text(lines: list[str]) -> str:
    """Lines of Doxygen markup, already without comment marks, as text with code in Markdown fences."""
    out: list[str] = []
    in_code = False
    for line in lines:
        if in_code:
            close = _CODE_CLOSE.match(line) or (_FENCE.match(line) and re.match(r"^()", line))
            if close:
                if close.group(1).strip():
                    out.append(close.group(1))
                out.append("```")
                in_code = False
            else:
                out.append(line)
            continue
        fence = _FENCE.match(line)
        if fence and "```" not in line.strip()[3:]:
            out.append(f"```{fence.group(1) or ''}")
            in_code = True
            continue
        opening = _CODE_OPEN.match(line)
        if opening and not _CODE_CLOSE.match(opening.group(3) or " "):
            out.append(f"```{opening.group(1) or opening.group(2) or ''}")
            rest = opening.group(3).strip()
            if rest and not rest.startswith("("):
                out.append(rest)
            in_code = True
            continue
        if _DROPPED.match(line):
            continue
        out.append(_inline(line))
    if in_code:
        out.append("```")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def brief(text: str) -> str:
    """The first sentence of prose in `text`, on one line."""
    words: list[str] = []
    for line in text.splitlines():
        line = line.strip().lstrip("#").strip()
        if not line or line.startswith(("```", "- ")):
            if words:
                break
            continue
        words.append(line)
        if line.endswith("."):
            break
    sentence = " ".join(words)
    end = re.search(r"\.(?:\s|$)", sentence)
    return sentence[: end.start()] if end else sentence


def _inline(line: str) -> str:
    for pattern, replacement in _REPLACEMENTS:
        line = pattern.sub(replacement, line)
    return _HTML.sub("", line)
