"""Files and jobs that go with a question, tools that a large model calls, and jobs that only a click starts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from assistant.errors import ProviderError
from assistant.tools import Call, ToolError
from portal.chat import engine, services, tools
from portal.chat.models import Turn
from portal.jobs.models import Job
from portal.library import services as library
from portal.library.models import LibraryFile

pytestmark = pytest.mark.django_db

MACRO = b"""// loops by hand
void fill() {
  TFile f("events.root");
  TTree *t = (TTree*)f.Get("Events");
  for (int i = 0; i < t->GetEntries(); ++i) t->GetEntry(i);
}
"""


@pytest.fixture
def macro(person: Any) -> LibraryFile:
    return library.store_upload(person, "fill.C", [MACRO])


@pytest.fixture
def large(settings: Any) -> None:
    """A deployment with a model server of its own."""
    settings.ENV = settings.ENV.model_copy(update={"model_url": "https://models.example.org/v1", "model_name": "big"})


@pytest.fixture
def browser(client: Client, person: Any) -> Client:
    client.force_login(person)
    return client


def answer(turn: Turn) -> Turn:
    engine.execute(str(turn.pk))
    return Turn.objects.get(pk=turn.pk)


# --- without a large model ----------------------------------------------------------------------------------------------------


def test_an_attached_file_is_looked_into_and_cited(person: Any, macro: LibraryFile, retriever: Any, no_model: None) -> None:
    turn = services.ask(person, "Port this macro to RDataFrame: fill TTree entries", files=[str(macro.pk)])
    assert turn.attached == [{"id": str(macro.pk), "name": "fill.C", "kind": "text"}]
    turn = answer(turn)
    (step,) = turn.steps
    assert (step["tool"], step["title"], step["state"], step["summary"]) == (
        "inspect_file",
        "Look into fill.C",
        "done",
        "Text, 7 lines",
    )
    assert turn.passages is not None
    assert turn.passages[0]["source"] == "fill.C"
    assert "GetEntry" in turn.passages[0]["text"]
    assert turn.passages[0]["url"] == f"/library/{macro.pk}"
    assert {each["source"] for each in turn.passages} >= {"fill.C", "TH1"}, "the documentation is searched all the same"


def test_a_question_about_a_file_alone_is_no_reason_to_abstain(
    person: Any, macro: LibraryFile, retriever: Any, model: Any
) -> None:
    retriever.confidence = 0.05
    turn = answer(services.ask(person, "What does this do?", files=[str(macro.pk)]))
    assert not turn.answer["abstained"]
    assert "I need to know more" not in turn.text, "the file is what the question is about"
    assert "GetEntry" in model.requests[0][1].content


def test_this_error_means_the_job_whose_address_is_there(person: Any, other_person: Any, retriever: Any, no_model: None) -> None:
    job = Job.objects.create(
        type="forest-to-cpp", title="My model", owner=person, queue="cpu", queued_at="2026-01-01T00:00Z", state="FAILED",
        error_code="forest.missing", error_message="The file holds no forest.", error_hint="Save it again.",
    )  # fmt: skip
    theirs = Job.objects.create(
        type="forest-to-cpp", title="Secret", owner=other_person, queue="cpu", queued_at="2026-01-01T00:00Z", state="FAILED",
        error_message="Secret error",
    )  # fmt: skip
    turn = answer(services.ask(person, f"Explain this error: https://portal/jobs/{job.pk} and /jobs/{theirs.pk}"))
    (step,) = turn.steps
    assert (step["tool"], step["summary"], step["url"]) == ("job_status", "failed", f"/jobs/{job.pk}")
    assert turn.passages is not None
    assert "The file holds no forest. Save it again." in turn.passages[0]["text"]
    assert "Secret" not in json.dumps([turn.passages, turn.steps])


def test_files_of_others_cannot_be_attached(person: Any, other_person: Any, macro: LibraryFile) -> None:
    with pytest.raises(services.ChatRefusedError, match="no such file"):
        services.ask(other_person, "x", files=[str(macro.pk)])
    with pytest.raises(services.ChatRefusedError, match="no such file"):
        services.ask(person, "x", files=["../etc/passwd"])
    with pytest.raises(services.ChatRefusedError, match="5 files"):
        services.ask(person, "x", files=[f"{n}" for n in range(6)])
    assert not Turn.objects.exists()


def test_a_file_that_is_gone_is_left_out(person: Any, macro: LibraryFile, retriever: Any, no_model: None) -> None:
    turn = services.ask(person, "How do I fit a TH1?", files=[str(macro.pk)])
    library.delete(macro)
    turn = answer(turn)
    assert turn.state == "DONE"
    assert turn.steps == []


def test_the_attached_file_fills_the_offered_form(person: Any) -> None:
    def model_file(name: str, mark: int) -> LibraryFile:
        text = json.dumps(
            {"learner": {"gradient_booster": {"name": "gbtree"}, "objective": {}, "mark": mark}, "version": [3, 0, 0]}
        )
        return library.store_upload(person, name, [text.encode()])

    first, newer = model_file("first.json", 1), model_file("newer.json", 2)
    assert first.kind == "xgboost-json"
    offer = services.ask(person, "Turn this model into C++ and compare with onnxruntime", files=[str(first.pk)]).offer
    assert offer is not None
    assert (offer["type"], offer["chosen"]) == ("forest-to-cpp", ["first.json"])
    plain = services.ask(person, "Turn my model into C++").offer
    assert plain is not None
    assert plain["chosen"] == [newer.name]


def test_the_embedded_model_is_never_asked_for_tools(person: Any, macro: LibraryFile, retriever: Any, model: Any) -> None:
    answer(services.ask(person, "What is in this file about TH1?", files=[str(macro.pk)]))
    assert model.offered == []
    assert len(model.requests) == 1


# --- with a large model -------------------------------------------------------------------------------------------------------


def test_a_large_model_calls_tools_and_cites_what_they_gave(
    person: Any, macro: LibraryFile, retriever: Any, model: Any, large: None
) -> None:
    model.choices.extend(
        [[Call("list_files")], [Call("inspect_file", {"file": "FILL.c"}), Call("lookup_symbol", {"name": "TH1::Fit"})]]
    )
    turn = answer(services.ask(person, "How do I fit a TH1 in my macro?"))
    assert [(step["tool"], step["state"]) for step in turn.steps] == [
        ("list_files", "done"), ("inspect_file", "done"), ("lookup_symbol", "done"),
    ]  # fmt: skip
    assert turn.passages is not None
    assert turn.passages[0]["source"] == "fill.C"
    assert "fill.C: Text" in model.offered[1][2][0][1]
    assert turn.text


def test_a_job_that_a_model_prepares_waits_for_a_click(
    browser: Client, person: Any, macro: LibraryFile, retriever: Any, model: Any, large: None
) -> None:
    root = LibraryFile.objects.create(owner=person, name="events.root", kind="root", content=macro.content, size=1)
    model.choices.append([Call("offer_job", {"type": "profile-file", "params": {"file": "events.root"}})])
    turn = answer(services.ask(person, "Profile my TH1 file"))
    (step,) = turn.steps
    assert step["state"] == "offered", step
    assert step["offer"]["params"] == {"file": str(root.pk)}
    assert not Job.objects.filter(type="profile-file").exists(), "nothing starts by itself"
    shown = browser.get(f"/ask/{turn.conversation_id}").content.decode()
    assert "Start this job" in shown
    address = f"/ask/turns/{turn.pk}/steps/0/start"
    assert browser.get(address).status_code == 405
    other = Client()
    assert other.post(address).status_code == 302
    assert not Job.objects.filter(type="profile-file").exists()
    browser.post(address)
    job = Job.objects.get(type="profile-file")
    assert job.owner == person
    again = browser.post(address, headers={"HX-Request": "true"}).content.decode()
    assert "was started before" in again
    assert Job.objects.filter(type="profile-file").count() == 1
    assert f'href="/jobs/{job.pk}"' in again
    assert f'hx-get="/ask/turns/{turn.pk}/steps"' in again, "the page follows the job"
    Job.objects.filter(pk=job.pk).update(state="SUCCEEDED")
    done = browser.get(f"/ask/turns/{turn.pk}/steps").content.decode()
    assert "Done" in done
    assert "hx-get" not in done
    job.delete()
    assert "was deleted" in browser.get(f"/ask/turns/{turn.pk}/steps").content.decode()


def test_a_step_that_is_no_offer_starts_nothing(
    browser: Client, person: Any, macro: LibraryFile, retriever: Any, no_model: None
) -> None:
    turn = answer(services.ask(person, "How do I fit a TH1?", files=[str(macro.pk)]))
    before = Job.objects.count()
    for number in (0, 1, 99):
        with pytest.raises(services.ChatRefusedError):
            services.start_step(turn, number)
    assert Job.objects.count() == before


def test_an_offer_of_somebody_else_cannot_be_started(other_person: Any, person: Any, answered: Any) -> None:
    Turn.objects.filter(pk=answered.pk).update(
        steps=[
            {"tool": "offer_job", "title": "x", "state": "offered", "offer": {"type": "worker-check", "title": "x", "params": {}}}
        ]
    )
    stranger = Client()
    stranger.force_login(other_person)
    assert stranger.post(f"/ask/turns/{answered.pk}/steps/0/start").status_code == 404
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"type": "format-disk"}, "no job type"),
        ({"type": "corpus-ingest"}, "no job type"),
        ({"type": "profile-file", "params": []}, "must be an object"),
        ({"type": "profile-file", "params": {"file": "absent.root"}}, "no file 'absent.root'"),
        ({"type": "profile-file", "params": {"file": "fill.C"}}, "takes no Text"),
        ({"type": "profile-file", "params": {}}, "do not fit"),
        ({"type": 7}, "must be a text"),
    ],
)
def test_wrong_offers_are_said_to_the_model(person: Any, macro: LibraryFile, arguments: dict[str, Any], problem: str) -> None:
    offer = next(tool for tool in tools.own_tools(person) if tool.spec.name == "offer_job")
    with pytest.raises(ToolError, match=problem):
        offer.run(arguments)


def test_every_job_type_is_described_to_the_model(person: Any) -> None:
    spec = next(tool.spec for tool in tools.own_tools(person) if tool.spec.name == "offer_job")
    for slug, job_type in tools.offered(person).items():
        assert f"{slug}: {job_type.summary}" in spec.description
    assert "worker-check" not in spec.parameters["properties"]["type"]["enum"]


def test_tools_see_nothing_of_others(other_person: Any, person: Any, macro: LibraryFile) -> None:
    job = Job.objects.create(type="x", title="Secret", owner=person, queue="cpu", queued_at="2026-01-01T00:00Z")
    by_name = {tool.spec.name: tool for tool in tools.own_tools(other_person)}
    for call in ({"file": "fill.C"}, {"file": str(macro.pk)}):
        with pytest.raises(ToolError):
            by_name["inspect_file"].run(call)
    for name in (str(job.pk), str(job.pk)[:8], f"/jobs/{job.pk}"):
        with pytest.raises(ToolError):
            by_name["job_status"].run({"job": name})
    assert "fill.C" not in by_name["list_files"].run({}).text


def test_a_server_that_knows_no_tools_still_answers(person: Any, retriever: Any, model: Any, large: None) -> None:
    model.choices.append(ProviderError("no tools", permanent=True, hint=""))
    turn = answer(services.ask(person, "How do I fit a TH1?"))
    assert turn.state == "DONE"
    assert turn.text
    assert turn.steps == []


def test_steps_show_while_they_run(
    browser: Client, person: Any, macro: LibraryFile, retriever: Any, model: Any, large: None
) -> None:
    from portal.chat.stream import Reader

    seen: list[list[tuple[str, str]]] = []
    turn = services.ask(person, "How do I fit a TH1?")
    reader = Reader(turn.pk, person.pk, "token")
    retriever.before = lambda: seen.append(reader.read())
    model.choices.append([Call("search_docs", {"query": "fit"})])
    answer(turn)
    steps = [html for events in seen for name, html in events if name == "steps"]
    assert "Search the documentation for “fit”" in steps[0]
    assert "i-run" in steps[0]


def test_answering_again_begins_anew(person: Any, macro: LibraryFile, retriever: Any, model: Any) -> None:
    turn = answer(services.ask(person, "What is this TH1?", files=[str(macro.pk)]))
    assert len(turn.steps) == 1
    again = services.regenerate(turn)
    assert again.steps == []
    assert again.attached == turn.attached
    model.replies.append("Again [1].")
    assert len(answer(again).steps) == 1


def test_the_form_attaches_files(browser: Client, other_person: Any, macro: LibraryFile) -> None:
    library.store_upload(other_person, "theirs.C", [MACRO])
    shown = browser.get("/ask/", {"file": str(macro.pk)}).content.decode()
    assert f'<option value="{macro.pk}" selected>fill.C</option>' in shown
    assert "theirs.C" not in shown
    browser.post("/ask/", {"question": "What is this?", "file": str(macro.pk)})
    turn = Turn.objects.get()
    assert turn.attached[0]["name"] == "fill.C"
    assert f'href="/library/{macro.pk}"' in browser.get(f"/ask/{turn.conversation_id}").content.decode()


def test_a_shared_conversation_shows_neither_files_nor_steps(
    person: Any, macro: LibraryFile, retriever: Any, no_model: None
) -> None:
    turn = answer(services.ask(person, "How do I fit a TH1?", files=[str(macro.pk)]))
    shown = Client().get(f"/ask/shared/{services.share(turn.conversation).token}").content.decode()
    for hidden in (str(macro.pk), "Look into", "Attached"):
        assert hidden not in shown
    assert "fill.C" not in shown
    assert "A file or job of the person who asked" in shown
