"""Conversations as a whole: searched, shared, exported, deleted for good."""

from __future__ import annotations

import json
import re
from typing import Any

import nbformat
import pytest
from django.test import Client
from django.utils import timezone

from portal.chat import engine, services
from portal.chat.export import addresses, export, linked, notebook, pieces, turns_of
from portal.chat.models import Conversation, Feedback, Share, Turn, TurnState, Usage
from portal.chat.redact import redacted
from portal.chat.search import hits, search, terms
from portal.jobs.models import Job, JobState

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client: Client, person: Any) -> Client:
    client.force_login(person)
    return client


def page(response: Any) -> str:
    assert response.status_code == 200, response
    return str(response.content.decode())


def said(owner: Any, question: str, text: str, *, title: str = "", **turn: Any) -> Turn:
    """A conversation of one answered question."""
    now = timezone.now()
    conversation = Conversation.objects.create(owner=owner, title=title or services.title_of(question))
    values: dict[str, Any] = {"state": TurnState.DONE, "passages": [], "finished_at": now} | turn
    return Turn.objects.create(
        owner=owner, conversation=conversation, question=question, text=text, asked_at=now, queued_at=now, **values
    )


# --- search -------------------------------------------------------------------------------------------------------------------


def found(owner: Any, query: str) -> list[str]:
    return [each.title for each in search(owner, query)]


def test_all_words_must_occur_somewhere_in_the_conversation(person: Any, other_person: Any) -> None:
    said(person, "How do I fit a TH1?", "Call `TH1::Fit`.", title="Fits")
    said(person, "And RooFit?", "Use fitTo with a TH1.", title="Other")
    said(other_person, "How do I fit a TH1?", "Call it.", title="Theirs")
    assert found(person, "fit") == ["Fits", "Other"], "the title comes first"
    assert found(person, "TH1 ROOFIT") == ["Other"], "in any case, in question and answer"
    assert found(person, "th1 lunch") == []
    assert found(person, '"fit a th1"') == ["Fits"]
    assert found(person, '"a fit th1"') == []
    assert found(person, "") == ["Other", "Fits"], "the newest first"


def test_a_word_in_a_later_turn_counts_for_its_conversation(person: Any) -> None:
    first = said(person, "What is a TTree?", "A table.")
    now = timezone.now()
    Turn.objects.create(
        owner=person, conversation=first.conversation, question="And an RNTuple?", text="Newer.", asked_at=now, queued_at=now,
        state=TurnState.DONE,
    )  # fmt: skip
    assert found(person, "ttree rntuple newer") == ["What is a TTree?"]
    hit = hits(list(search(person, "rntuple")), "rntuple")[0]
    assert hit.turn is not None
    assert hit.turn.question == "And an RNTuple?"
    assert ("RNTuple", True) in hit.pieces


@pytest.mark.parametrize("query", ["100%", "a_b", "'; DROP TABLE", "\\", "(", "[a-z]+", '"', '""', "\x01"])
def test_signs_of_patterns_are_only_signs(person: Any, query: str) -> None:
    said(person, "x", "nothing of it")
    assert found(person, query) == ([] if terms(query) else ["x"])
    target = said(person, f"before {query} after", "", title="target")
    if terms(query):
        assert found(person, query) == ["target"]
        assert hits([target.conversation], query)[0].turn == target


def test_letters_beyond_ascii_are_found_in_any_case(person: Any) -> None:
    said(person, "ΜΥΟΝ Größe", "x", title="t")
    for query in ("μυον", "Größe", "GRÖßE", "größe", "ΜΥΟΝ"):
        assert found(person, query) == ["t"], query


def test_a_long_query_is_cut(person: Any) -> None:
    assert len(terms("a b c d e f g h i j k l m")) == 10
    assert terms("x" * 500) == ("x" * 200,)


def test_the_excerpt_is_about_the_word(person: Any) -> None:
    said(person, "q", "word " * 100 + "needle " + "word " * 100)
    pieces_of = hits(list(search(person, "needle")), "needle")[0].pieces
    text = "".join(piece for piece, _ in pieces_of)
    assert text.startswith("… ")
    assert text.endswith(" …")
    assert len(text) < 220
    assert [piece for piece, marked in pieces_of if marked] == ["needle"]


def test_the_page_of_conversations(browser: Client, person: Any, other_person: Any) -> None:
    turn = said(person, "How <b>bold</b>?", "The answer has a <b>needle</b>.")
    said(other_person, "needle", "needle", title="Theirs")
    shown = page(browser.get("/ask/conversations", {"q": "NEEDLE"}))
    assert "&lt;b&gt;<mark>needle</mark>&lt;/b&gt;" in shown
    assert f"/ask/{turn.conversation_id}#turn-{turn.anchor}" in shown
    assert "Theirs" not in shown
    assert "Nothing found" in page(browser.get("/ask/conversations", {"q": "absent"}))
    assert "How &lt;b&gt;" in page(browser.get("/ask/conversations"))
    assert "No conversation yet" in page_of(other_client(other_person, delete=True), "/ask/conversations")


def other_client(user: Any, *, delete: bool = False) -> Client:
    if delete:
        Conversation.objects.filter(owner=user).delete()
    client = Client()
    client.force_login(user)
    return client


def page_of(client: Client, address: str) -> str:
    return page(client.get(address))


def test_many_conversations_are_paged_and_cost_few_queries(
    browser: Client, person: Any, django_assert_max_num_queries: Any
) -> None:
    for number in range(35):
        said(person, f"question {number}", "same text")
    with django_assert_max_num_queries(12):
        first = page(browser.get("/ask/conversations", {"q": "same"}))
    assert "Page 1 of 2" in first
    assert "35 found" in first
    assert "Page 2 of 2" in page(browser.get("/ask/conversations", {"q": "same", "page": "2"}))


# --- share --------------------------------------------------------------------------------------------------------------------


def test_a_share_link_shows_the_answers_and_nothing_of_the_owner(browser: Client, answered: Any) -> None:
    answered.offer = {"type": "x", "title": "Forest to C++", "chosen": ["secret-model.json"], "files": [], "missing": []}
    answered.save()
    services.give_feedback(answered, False, "reason of mine")
    browser.post(f"/ask/{answered.conversation_id}/share")
    share = Share.objects.get()
    assert len(share.token) >= 43, "256 bits"
    assert f"/ask/shared/{share.token}" in page(browser.get(f"/ask/{answered.conversation_id}"))
    response = Client().get(f"/ask/shared/{share.token}")
    shown = page(response)
    assert "How do I fit a TH1" in shown
    assert f'href="#{answered.anchor}-p1"' in shown, "citations lead to the passages"
    assert "https://root.cern/doc/master/classTH1.html" in shown
    for hidden in ("secret-model", "reason of mine", answered.owner.username, str(answered.pk), str(answered.conversation_id)):
        assert hidden not in shown
    # A passage without a public page keeps its title alone.
    assert "Simple fitting example" in shown
    assert "new TH1F" not in shown
    assert "tutorials/fit/fit1.C" not in shown
    assert "<form" not in shown
    assert 'name="robots" content="noindex' in shown
    assert response["X-Robots-Tag"].startswith("noindex")
    assert response["Referrer-Policy"] == "no-referrer"
    assert response["Cache-Control"] == "private, no-store"
    assert not response.cookies


def test_what_is_asked_after_sharing_is_not_shared_until_it_is(browser: Client, answered: Any, model: Any) -> None:
    address = f"/ask/{answered.conversation_id}/share"
    browser.post(address)
    share = Share.objects.get()
    model.replies += ["More of it [1].", "Anew [1]."]
    second = services.ask(answered.owner, "And the rest?", answered.conversation)
    engine.execute(str(second.pk))
    link = f"/ask/shared/{share.token}"
    assert "And the rest?" not in page(Client().get(link))
    browser.post(address)
    assert Share.objects.get().token == share.token
    assert "And the rest?" in page(Client().get(link))
    # An answer that was replaced afterwards is not shown in its new words either.
    services.regenerate(answered)
    engine.execute(str(answered.pk))
    shown = page(Client().get(link))
    assert "Anew" not in shown
    assert "And the rest?" in shown


def test_a_link_ends_and_another_one_is_another(browser: Client, answered: Any) -> None:
    address = f"/ask/{answered.conversation_id}/share"
    browser.post(address)
    first = Share.objects.get().token
    browser.post(address, {"end": "yes"})
    assert Client().get(f"/ask/shared/{first}").status_code == 404
    browser.post(address)
    second = Share.objects.get().token
    assert second != first
    browser.post(f"/ask/{answered.conversation_id}/delete")
    assert Client().get(f"/ask/shared/{second}").status_code == 404
    assert not Share.objects.exists()


def test_links_of_closed_accounts_and_guessed_ones_lead_nowhere(answered: Any) -> None:
    share = services.share(answered.conversation)
    for token in ("x", share.token[:-1], share.token.swapcase(), str(answered.conversation_id)):
        assert Client().get(f"/ask/shared/{token}").status_code == 404
    answered.owner.is_active = False
    answered.owner.save()
    assert Client().get(f"/ask/shared/{share.token}").status_code == 404


def test_only_the_owner_shares_and_only_answers(browser: Client, person: Any, other_person: Any, answered: Any) -> None:
    stranger = other_client(other_person)
    for name in ("share", "export.md"):
        address = f"/ask/{answered.conversation_id}/{name}"
        assert (stranger.post(address) if name == "share" else stranger.get(address)).status_code == 404
    waiting = services.ask(person, "x")
    shown = page(browser.post(f"/ask/{waiting.conversation_id}/share", follow=True))
    assert "no answer to share" in shown
    assert not Share.objects.exists()
    assert browser.get(f"/ask/{answered.conversation_id}/share").status_code == 405


@pytest.mark.parametrize(
    "secret",
    [
        "ml4ep_0123456789abcdefghij",
        "sk-proj-abcdefghijklmnop1234",
        "ghp_abcdefghijklmnopqrst1234",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_123",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----",
        "hunter2hunter2",
    ],
)
def test_keys_are_taken_out_of_what_others_read(person: Any, secret: str) -> None:
    given = f"password = '{secret}'" if secret.startswith("hunter") else secret
    turn = said(person, f"Why does this fail? {given}", f"Because `{given}` is wrong.", answer={"abstained": True})
    assert secret not in page(Client().get(f"/ask/shared/{services.share(turn.conversation).token}"))
    assert "(removed)" in redacted(given)


def test_what_is_no_key_stays() -> None:
    text = 'TH1::Fit returns a TFitResultPtr; https://root.cern/doc@v6 token: 5, h->SetName("sk-1"); password'
    assert redacted(text) == text
    assert redacted("root://ada:secret@eos.example.org//f.root") == "root://(removed)@eos.example.org//f.root"


# --- export -------------------------------------------------------------------------------------------------------------------

ANSWER = """Fill it with `h->Fill(x)` [1], a `std::vector<int> [1]` or std::vector<int> [1, 2] and [7].

```cpp
#include <TH1D.h>
void fit() {
  TH1D h("h", "[1]", 10, 0, 1);
}
```

Then run it:

```cpp
fit();
```

```python
import ROOT
```

```bash
root -l fit.C
```

```
not code: [1]
```

1. In a list

   ```python
   nested = True
   ```
"""
PASSAGES: list[dict[str, Any]] = [
    {
        "n": 1,
        "id": "a",
        "title": "TH1 *class*",
        "source": "TH1",
        "kind": "class",
        "place": "TH1.h:1",
        "text": "Fits.",
        "score": 0.9,
    }
    | {"url": "https://example.org/TH1_(x)"},
    {"n": 2, "id": "b", "title": "Own", "source": "own", "kind": "page", "place": "own.md:1", "text": "x", "score": 0.5}
    | {"url": "/ask/passages/b"},
]


@pytest.fixture
def exported(person: Any) -> Turn:
    return said(
        person, "How do I fit?\nTH1 *h;\n```", ANSWER, title="Fit *it* <b>", passages=PASSAGES,
        answer={"citations": [1, 2], "provider": "qwen"},
    )  # fmt: skip


def test_markdown(exported: Turn) -> None:
    text = export(exported.conversation, turns_of(exported.conversation), "markdown")
    assert text.startswith("# Fit \\*it\\* \\<b\\>\n")
    assert "## How do I fit?\n\n````text\nHow do I fit?\nTH1 *h;\n```\n````" in text, "a fence longer than any in the question"
    link = "[\\[1\\]](<https://example.org/TH1_(x)>)"
    assert f"`h->Fill(x)` {link}, a `std::vector<int> [1]`" in text, "code stays as it is"
    assert f"std::vector&lt;int> {link}[\\[2\\]](<" in text
    assert "and [7]." in text, "no passage, no link"
    assert '"[1]", 10' in text
    assert "- \\[1\\] [TH1 \\*class\\*](<https://example.org/TH1_(x)>), `TH1.h:1`" in text
    assert "*Written by qwen.*" in text
    assert "nested = True" in text


def test_a_notebook_is_valid_and_its_code_blocks_are_cells(exported: Turn) -> None:
    text = export(exported.conversation, turns_of(exported.conversation), "notebook")
    made = nbformat.reads(text, as_version=4)
    nbformat.validate(made)
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])
    code = [cell["source"] for cell in made["cells"] if cell["cell_type"] == "code"]
    assert code[0].startswith("import ROOT")
    assert code[1].startswith("%%cpp -d\n#include <TH1D.h>\nvoid fit() {")
    assert code[2] == "%%cpp\nfit();"
    assert code[3] == "import ROOT"
    assert code[4] == "%%bash\nroot -l fit.C"
    assert len(code) == 5
    prose = "\n".join(cell["source"] for cell in made["cells"] if cell["cell_type"] == "markdown")
    assert "not code: [1]" in prose
    assert "nested = True" in prose
    assert "std::vector&lt;int>" in prose
    assert text == notebook(exported.conversation, turns_of(exported.conversation)), "the same each time"


def test_python_alone_needs_no_root(person: Any) -> None:
    turn = said(person, "q", "```python\nx = 1\n```")
    cells = json.loads(notebook(turn.conversation, [turn]))["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "markdown", "code", "markdown"]
    assert "".join(cells[2]["source"]) == "x = 1"
    assert cells[2]["outputs"] == []


def ran(person: Any, code: str, status: str, error: str = "") -> Job:
    facts = {"status": status, "error": error, "seconds": 1.2, "root": "6.40.00"}
    return Job.objects.create(
        owner=person, type="run-root-code", params={"language": "python", "code": code}, state=JobState.SUCCEEDED,
        queued_at=timezone.now(), result={"facts": facts, "texts": []},
    )  # fmt: skip


def test_what_came_of_code_is_said_below_it(person: Any) -> None:
    text = (
        "1. In a list\n\n   ```python\n   x\n   ```\n\n```python\ngood\n```\n```python\nbad\n```\nEnd.\n\n```cpp\nlost();\n```\n"
    )
    good, bad, mended = (ran(person, "x", *end) for end in (("ran",), ("failed", "no `h`\n at [1]"), ("ran",)))
    blocks = [
        {"n": 2, "auto": True, "job": str(good.pk)},
        {"n": 3, "auto": True, "job": str(bad.pk), "repair": {"state": "done", "text": "better", "job": str(mended.pk)}},
    ]
    record = {"state": "done", "chain": "", "at": 0, "blocks": blocks}
    turn = said(person, "q", text, answer={"citations": [], "code": record}, passages=PASSAGES)
    runs = "*This code ran in a sandbox with ROOT 6.40.00.*"
    failed = "*This code failed in a sandbox with ROOT 6.40.00: `no h at [1]`*"
    better = f"Mended by the model:\n\n```python\nbetter\n```\n\n{runs}"
    written = export(turn.conversation, [turn], "markdown")
    assert f"```python\ngood\n```\n\n{runs}\n\n```python\nbad\n```\n\n{failed}\n\n{better}\n\nEnd.\n" in written
    assert "```cpp\nlost();\n```\n\n*This code was not run.*" in written
    assert written.count("not run") == 1, "a block in a list stays as it is"
    cells = json.loads(notebook(turn.conversation, [turn]))["cells"][2:]
    kinds = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    assert ("code", "good") in kinds
    assert kinds[kinds.index(("code", "good")) + 1] == ("markdown", runs)
    assert kinds[kinds.index(("code", "bad")) + 1] == ("markdown", f"{failed}\n\n{better}\n\nEnd.")
    assert kinds[-1] == ("markdown", "*This code was not run.*")


def test_a_block_that_is_never_closed_stays_as_it_is(person: Any) -> None:
    cut = said(person, "c", "Text\n\n```python\nx = (", state=TurnState.STOPPED)
    assert "not run" not in export(cut.conversation, [cut], "markdown")


def test_answers_that_ended_otherwise_say_so(person: Any) -> None:
    stopped = said(person, "a", "Half ```cpp\nint", state=TurnState.STOPPED)
    failed = said(person, "b", "", state=TurnState.FAILED, error="No model.")
    text = export(stopped.conversation, [stopped, failed], "markdown")
    assert "The answer was stopped before its end." in text
    assert "It was not answered: No model." in text
    cut = said(person, "c", "Text\n\n```cpp\nint main() {", state=TurnState.STOPPED)
    assert [piece.language for piece in pieces(cut.text)] == [None, "cpp"]
    nbformat.validate(nbformat.reads(notebook(cut.conversation, [cut]), as_version=4))


def test_addresses_that_are_no_links_are_none(person: Any, settings: Any) -> None:
    settings.PUBLIC_URL = "https://portal.example.org"
    bad = [PASSAGES[0] | {"url": "javascript:alert(1)"}, PASSAGES[1]]
    links = addresses(said(person, "q", "t", passages=bad))
    assert links == {1: "", 2: "https://portal.example.org/ask/passages/b"}
    assert linked("see [1] and [2]", links) == "see \\[1\\] and [\\[2\\]](<https://portal.example.org/ask/passages/b>)"


def test_files_have_names_of_the_title(browser: Client, exported: Turn) -> None:
    response = browser.get(f"/ask/{exported.conversation_id}/export.ipynb")
    assert response["Content-Disposition"] == 'attachment; filename="fit-it-b.ipynb"'
    assert response["Content-Type"].startswith("application/x-ipynb+json")
    assert browser.get(f"/ask/{exported.conversation_id}/export.md")["Content-Disposition"].endswith('"fit-it-b.md"')
    assert browser.get(f"/ask/{exported.conversation_id}/export.exe").status_code == 404
    Conversation.objects.update(title="…/../")
    assert 'filename="conversation.md"' in browser.get(f"/ask/{exported.conversation_id}/export.md")["Content-Disposition"]


# --- for good -----------------------------------------------------------------------------------------------------------------


def test_a_deleted_conversation_leaves_no_word_in_the_database(browser: Client, answered: Any) -> None:
    from django.apps import apps

    services.give_feedback(answered, False, "needle in the feedback")
    services.share(answered.conversation)
    Turn.objects.filter(pk=answered.pk).update(question="needle in the question", text="needle in the text")
    browser.post(f"/ask/{answered.conversation_id}/delete")
    assert not Conversation.objects.exists()
    assert not Feedback.objects.exists()
    assert Usage.objects.count() == 1, "what it took stays, without words"
    for kind in apps.get_models():
        if kind._meta.label_lower != "sessions.session":
            assert not re.search("needle", repr(list(kind.objects.values()))), kind
