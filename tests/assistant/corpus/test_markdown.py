"""Pages cut into sections."""

from __future__ import annotations

from assistant.corpus.parsing import markdown

PAGE = """---
title: The page
---
Some words of introduction before the first heading, enough of them.

# Top
A paragraph under the top heading that has more than eight words in it.

```python
# not a heading, however much it looks like one to a careless reader
```

## Inner *part*
Text of the inner part, which is long enough to be worth keeping here.

# Empty
too short
"""


def test_sections_know_their_headings_and_lines() -> None:
    sections = list(markdown.sections(PAGE, title="file"))
    assert [section.path for section in sections] == [("The page",), ("The page", "Top"), ("The page", "Top", "Inner *part*")]
    assert [PAGE.splitlines()[section.line - 1] for section in sections[1:]] == ["# Top", "## Inner *part*"]
    assert "# not a heading" in sections[1].text
    assert sections[2].anchor == "inner-part"


def test_a_page_without_headings_is_one_section() -> None:
    (section,) = markdown.sections("Just a few words, but more than eight of them in all.", title="note")
    assert section.path == ("note",)


def test_restructured_text_headings_are_lines_with_a_rule_below() -> None:
    text = (
        "====\nName\n====\nIntroduction of the page with at least eight words in it.\n\n"
        "Part\n----\nThe part has some text too, also at least eight words.\n"
    )
    sections = list(markdown.rst_sections(text))
    assert [section.path for section in sections] == [("Name",), ("Name", "Part")]
    assert "----" not in sections[1].text
