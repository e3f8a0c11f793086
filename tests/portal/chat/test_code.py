"""Code of answers: which blocks are run by themselves, what a page shows of them, the one repair round, buttons and refusals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone

from assistant.providers.fake import FakeProvider
from portal.chat import code, engine, services, tasks
from portal.chat.models import Turn, TurnState
from portal.jobs.models import Artifact, Job, JobState

pytestmark = pytest.mark.django_db

QUESTION = "How do I fit a TH1 with a Gaussian?"
GOOD = "print('fitted')"
BAD = "h.NoSuchThing()"
ANSWER = f"Call `TH1::Fit` [1].\n\n```python\n{BAD}\n```\n"
MENDED = f"Here it is.\n\n```python\n{GOOD}\n```\n"


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The messages of chains, instead of the broker."""
    messages: list[tuple[str, str]] = []
    monkeypatch.setattr(tasks.check_code, "apply_async", lambda arguments, **_: messages.append(arguments))
    return messages


def ask(person: Any, *replies: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Turn, FakeProvider]:
    model = FakeProvider.saying(*replies)
    model.prompt_tokens = 2000
    monkeypatch.setattr(engine, "provider", lambda: model)
    turn = services.ask(person, QUESTION)
    engine.execute(str(turn.pk))
    turn.refresh_from_db()
    assert turn.state == TurnState.DONE, turn.error
    return turn, model


def end(job: Job, status: str, *, error: str = "", output: str = "", messages: str = "") -> None:
    """The end of a run, as the worker writes it."""
    texts = [{"title": "Output", "text": output}, {"title": "Messages", "text": messages}]
    Job.objects.filter(pk=job.pk).update(
        state=JobState.SUCCEEDED,
        finished_at=timezone.now(),
        result={"facts": {"status": status, "error": error, "seconds": 1.2, "root": "6.40.00"}, "texts": texts},
    )


def go_on(turn: Turn, sent: list[tuple[str, str]]) -> None:
    """Deliver the newest message."""
    code.advance(*sent.pop())
    turn.refresh_from_db()


def picture(job: Job, name: str = "1-canvas-1.png") -> Artifact:
    path = default_storage.save(f"artifacts/{job.pk}/{name}", ContentFile(b"\x89PNG"))
    return Artifact.objects.create(job=job, name=name, kind="picture", size=4, sha256="0" * 64, path=path)


@pytest.mark.usefixtures("retriever")
class TestAutomatic:
    def test_code_that_runs(self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
        turn, _ = ask(person, MENDED, monkeypatch=monkeypatch)
        job = Job.objects.get(type="run-root-code")
        assert (job.owner, job.params["code"], job.params["language"]) == (person, GOOD, "python")
        assert turn.answer["code"]["state"] == "open"
        client.force_login(person)
        page = client.get(f"/ask/{turn.conversation_id}").text
        assert "waits" in page
        assert 'hx-trigger="load delay:1s"' in page
        end(job, "ran", output="<b>fitted</b>\n")
        drawn = picture(job)
        go_on(turn, sent)
        assert turn.answer["code"]["state"] == "done"
        assert sent == []
        page = client.get(f"/ask/{turn.conversation_id}").text
        assert "ran in 1.2" in page
        assert "&lt;b&gt;fitted&lt;/b&gt;" in page
        assert f'<img src="/jobs/{job.pk}/artifacts/{drawn.pk}"' in page
        assert "ROOT 6.40.00" in page
        assert "load delay" not in page

    def test_code_that_ran_with_errors_says_so_and_is_mended(
        self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, client: Any
    ) -> None:
        turn, model = ask(person, ANSWER, MENDED, monkeypatch=monkeypatch)
        first = Job.objects.get()
        reported = "Error in <TH1::Fit>: Unknown function: gauss"
        end(first, "ran_with_errors", error=reported, output="went on", messages=reported)
        go_on(turn, sent)
        assert reported in "\n".join(message.content for message in model.requests[-1])
        end(Job.objects.exclude(pk=first.pk).get(), "ran")
        go_on(turn, sent)
        client.force_login(person)
        page = client.get(f"/ask/{turn.conversation_id}").text
        assert "ran with errors in 1.2" in page
        assert "Error in &lt;TH1::Fit&gt;" in page
        assert "First error" in page

    def test_failing_code_is_mended_once(
        self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, client: Any
    ) -> None:
        turn, model = ask(person, ANSWER, MENDED, monkeypatch=monkeypatch)
        first = Job.objects.get()
        end(first, "failed", error="NameError: name 'h' is not defined", messages="line 1, in <module>")
        go_on(turn, sent)
        request = "\n".join(message.content for message in model.requests[-1])
        assert BAD in request
        assert "NameError: name 'h' is not defined" in request
        assert QUESTION in request
        second = Job.objects.exclude(pk=first.pk).get()
        assert second.params["code"] == GOOD
        end(second, "failed", error="still wrong")
        go_on(turn, sent)
        assert turn.answer["code"]["state"] == "done"
        assert Job.objects.count() == 2, "one round, no more"
        assert len(model.requests) == 2
        client.force_login(person)
        page = client.get(f"/ask/{turn.conversation_id}").text
        assert "name &#x27;h&#x27; is not defined" in page
        assert "Mended by the model" in page
        assert "still wrong" in page
        assert page.count(">failed") == 2

    def test_a_model_without_a_better_idea(
        self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, client: Any
    ) -> None:
        turn, _ = ask(person, ANSWER, f"```python\n{BAD}\n```", monkeypatch=monkeypatch)
        end(Job.objects.get(), "failed", error="wrong")
        go_on(turn, sent)
        assert Job.objects.count() == 1
        client.force_login(person)
        assert "Not mended: The model had nothing better." in client.get(f"/ask/{turn.conversation_id}").text

    def test_a_model_that_fails_ends_the_round(
        self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turn, _ = ask(person, ANSWER, monkeypatch=monkeypatch)  # it has no second reply
        end(Job.objects.get(), "failed", error="wrong")
        go_on(turn, sent)
        repair = turn.answer["code"]["blocks"][0]["repair"]
        assert repair == {"state": "done", "text": "", "note": "The language model gave no whole answer."}
        assert turn.answer["code"]["state"] == "done"

    def test_what_could_not_be_run_is_not_mended(
        self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, client: Any
    ) -> None:
        turn, model = ask(person, ANSWER, monkeypatch=monkeypatch)
        end(Job.objects.get(), "not_run", error="There is no sandbox for it.")
        go_on(turn, sent)
        assert len(model.requests) == 1
        client.force_login(person)
        page = client.get(f"/ask/{turn.conversation_id}").text
        assert "not run" in page
        assert "There is no sandbox for it." in page

    def test_quotations_and_fragments_are_left_alone(self, person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine, "provider", lambda: None)
        turn = services.ask(person, QUESTION)
        engine.execute(str(turn.pk))
        turn.refresh_from_db()
        assert "```" in turn.text, "the passage's own code is quoted"
        ask(person, "Use it [1].\n\n```python\nh.Fit()\n...\nh.Draw()\n```\n\n```sh\nls\n```\n", monkeypatch=monkeypatch)
        assert not Job.objects.exists()

    def test_only_the_first_blocks(self, person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        ask(person, "Use it [1].\n\n" + "".join(f"```python\nprint({n})\n```\n\n" for n in range(5)), monkeypatch=monkeypatch)
        assert Job.objects.count() == code.MOST_BLOCKS

    @pytest.mark.parametrize("setting", ["asked", "never"])
    def test_it_can_be_switched_off(
        self, person: Any, monkeypatch: pytest.MonkeyPatch, settings: Any, client: Any, setting: str
    ) -> None:
        settings.ENV = settings.ENV.model_copy(update={"run_code": setting})
        turn, _ = ask(person, MENDED, monkeypatch=monkeypatch)
        assert not Job.objects.exists()
        client.force_login(person)
        page = client.get(f"/ask/{turn.conversation_id}").text
        assert "not run" in page
        assert ("</svg>Run</button>" in page) == (setting == "asked")
        response = client.post(f"/ask/turns/{turn.pk}/code/1", HTTP_HX_REQUEST="true")
        assert Job.objects.exists() == (setting == "asked")
        assert ("switched it off" in response.text) == (setting == "never")

    def test_a_used_up_quota_is_said(
        self, person: Any, monkeypatch: pytest.MonkeyPatch, client: Any, sent: list[tuple[str, str]]
    ) -> None:
        person.quota_jobs = 1
        person.save()
        other = code.submit(person, "python", "print(1)")
        turn, _ = ask(person, MENDED, monkeypatch=monkeypatch)
        assert Job.objects.get() == other
        client.force_login(person)
        assert "1 are allowed at a time" in client.get(f"/ask/{turn.conversation_id}").text


@pytest.mark.usefixtures("retriever")
class TestChains:
    def test_an_old_chain_does_nothing(self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
        turn, _ = ask(person, MENDED, monkeypatch=monkeypatch)
        code.advance(str(turn.pk), "another")
        assert len(sent) == 1

    def test_a_lost_chain_is_taken_up_again(
        self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turn, _ = ask(person, MENDED, monkeypatch=monkeypatch)
        lost = sent.pop()
        assert code.heal() == 0
        later = timezone.now() + timedelta(seconds=code.LOST_SECONDS + 1)
        assert code.heal(later) == 1
        (fresh,) = sent
        assert fresh[0] == str(turn.pk)
        code.advance(*lost)
        assert len(sent) == 1
        end(Job.objects.get(), "ran")
        go_on(turn, sent)
        assert turn.answer["code"]["state"] == "done"

    def test_an_answer_written_anew_forgets_its_code(
        self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turn, _ = ask(person, MENDED, monkeypatch=monkeypatch)
        services.regenerate(turn)
        code.advance(*sent.pop())
        assert sent == []
        turn.refresh_from_db()
        assert turn.answer == {}


@pytest.mark.usefixtures("retriever")
def test_a_deleted_conversation_takes_its_runs_along(
    person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = code.submit(person, "python", "print('by itself')")
    turn, _ = ask(person, ANSWER, MENDED, MENDED, monkeypatch=monkeypatch)
    end(Job.objects.exclude(pk=other.pk).get(), "failed", error="wrong")
    go_on(turn, sent)
    services.regenerate(turn)
    engine.execute(str(turn.pk))
    assert Job.objects.count() == 4
    turn.refresh_from_db()
    services.delete(turn.conversation)  # type: ignore[arg-type]
    assert Job.objects.get() == other


@pytest.mark.usefixtures("retriever")
class TestButtons:
    def test_a_block_is_run_again(
        self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, client: Any
    ) -> None:
        turn, _ = ask(person, MENDED, monkeypatch=monkeypatch)
        end(Job.objects.get(), "ran")
        go_on(turn, sent)
        client.force_login(person)
        response = client.post(f"/ask/turns/{turn.pk}/code/1", HTTP_HX_REQUEST="true")
        assert response.status_code == 200
        assert "waits" in response.text
        assert Job.objects.count() == 2
        newest = Job.objects.order_by("-created_at").first()
        end(newest, "ran", output="again")
        assert "again" in client.get(f"/ask/turns/{turn.pk}/code/1", HTTP_HX_REQUEST="true").text

    def test_without_the_script_it_is_a_form(
        self, person: Any, monkeypatch: pytest.MonkeyPatch, client: Any, settings: Any
    ) -> None:
        settings.ENV = settings.ENV.model_copy(update={"run_code": "asked"})
        turn, _ = ask(person, MENDED, monkeypatch=monkeypatch)
        client.force_login(person)
        response = client.post(f"/ask/turns/{turn.pk}/code/1")
        assert response.headers["Location"] == f"/ask/{turn.conversation_id}#turn-{turn.anchor}"
        assert Job.objects.count() == 1

    def test_blocks_are_their_owners_alone(
        self, person: Any, other_person: Any, monkeypatch: pytest.MonkeyPatch, client: Any
    ) -> None:
        turn, _ = ask(person, MENDED, monkeypatch=monkeypatch)
        client.force_login(other_person)
        assert client.post(f"/ask/turns/{turn.pk}/code/1").status_code == 404
        assert client.get(f"/ask/turns/{turn.pk}/code/1").status_code == 404
        client.force_login(person)
        assert client.get(f"/ask/turns/{turn.pk}/code/7", HTTP_HX_REQUEST="true").status_code == 404
        assert client.post(f"/ask/turns/{turn.pk}/code/7", HTTP_HX_REQUEST="true").status_code == 404

    def test_a_tutorial(self, person: Any, client: Any) -> None:
        client.force_login(person)
        address = "/ask/tutorials/run?place=tutorials/hist/hist001.C"
        assert "not run" in client.get(address, HTTP_HX_REQUEST="true").text
        response = client.post(address, HTTP_HX_REQUEST="true")
        assert "waits" in response.text
        job = Job.objects.get()
        assert job.params["tutorial"] == "tutorials/hist/hist001.C"
        end(job, "ran", output="done")
        assert "done" in client.get(address, HTTP_HX_REQUEST="true").text
        back = client.post(address, {"document": "root:tutorial/hist001.C"})
        assert back.headers["Location"] == "/ask/passages/root:tutorial/hist001.C"
        for wrong in ("tutorials/../x.C", "include/TH1.h", "", "tutorials/a b.C"):
            assert client.get("/ask/tutorials/run", {"place": wrong}).status_code == 404


def test_one_piece_for_callers_that_wait(person: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(_seconds: float) -> None:
        end(Job.objects.get(), "ran", output="42\n")
        picture(Job.objects.get())

    monkeypatch.setattr(code.time, "sleep", sleep)
    found = code.run_now(person, "python", "print(42)")
    assert (found["state"], found["output"], found["root"]) == ("ran", "42\n", "6.40.00")
    assert [each["title"] for each in found["pictures"]] == ["1-canvas-1.png"]
    monkeypatch.setattr(code.time, "sleep", lambda _seconds: None)
    assert code.run_now(person, "python", "print(43)", seconds=0.05)["state"] == "wait"


@pytest.mark.usefixtures("retriever")
class TestShared:
    """Whoever has a share link sees what came of the code, as far as it had run by then, and nothing of its jobs."""

    def visit(self, share: Any, rest: str = "") -> Any:
        return Client().get(f"/ask/shared/{share.token}{rest}")

    def test_badges_output_and_pictures(self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
        turn, _ = ask(person, ANSWER, MENDED, monkeypatch=monkeypatch)
        share = services.share(turn.conversation)
        shown = self.visit(share).text
        assert "not run" in shown
        first = Job.objects.get()
        end(first, "failed", error="NameError: token = ml4ep_aaaaaaaaaaaaaaaa")
        go_on(turn, sent)
        second = Job.objects.exclude(pk=first.pk).get()
        end(second, "ran", output="fitted\n")
        drawn = picture(second)
        go_on(turn, sent)
        shown = self.visit(share).text
        assert "failed after" not in shown, "it ended after the conversation was shared"
        assert self.visit(share, f"/pictures/{drawn.pk}").status_code == 404

        share = services.share(turn.conversation)
        shown = self.visit(share).text
        assert "failed after 1.2" in shown
        assert "ran in 1.2" in shown
        assert "fitted" in shown
        assert "ml4ep_aaaa" not in shown
        assert f'<img src="/ask/shared/{share.token}/pictures/{drawn.pk}"' in shown
        for hidden in (str(first.pk), str(second.pk), str(turn.pk), "<form", "Run again", "Edit and run", "hx-get"):
            assert hidden not in shown
        got = self.visit(share, f"/pictures/{drawn.pk}")
        assert b"".join(got.streaming_content) == b"\x89PNG"
        assert got["Cache-Control"] == "private, no-store"

    def test_other_files_are_not_to_be_had(
        self, person: Any, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turn, _ = ask(person, MENDED, monkeypatch=monkeypatch)
        job = Job.objects.get()
        end(job, "ran")
        drawn, own = picture(job), picture(job, "notes.txt")
        Artifact.objects.filter(pk=own.pk).update(kind="file")
        now = timezone.now()
        elsewhere = Job.objects.create(
            type="run-root-code", owner=person, title="Mine", state=JobState.SUCCEEDED, queued_at=now, finished_at=now
        )
        go_on(turn, sent)
        share = services.share(turn.conversation)
        assert self.visit(share, f"/pictures/{drawn.pk}").status_code == 200
        for other in (own, picture(elsewhere)):
            assert self.visit(share, f"/pictures/{other.pk}").status_code == 404
        services.stop_sharing(turn.conversation)
        assert self.visit(share, f"/pictures/{drawn.pk}").status_code == 404
