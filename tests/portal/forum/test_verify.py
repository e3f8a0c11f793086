"""The code of a draft: run before a person sees it, mended once, labelled in the post, and never taken for what it is not."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.test import Client
from PIL import Image

from assistant.providers.fake import FakeProvider
from mlcore.running import CodeRun, Picture
from mlcore.running.code import root_version
from mlcore.toolchain.sandbox import foreign_isolation
from portal.chat import engine as chat_engine
from portal.forum import compose, engine, services, verify
from portal.forum.models import Draft, Forum, Topic
from tests.portal.forum.conftest import Bot

pytestmark = pytest.mark.django_db

GOOD = 'printf("%d\\n", 42);'
BAD = "h->NoSuchThing();"
TEXT = f"Call `TH1::Fill` for each entry [1].\n\n```cpp\n{BAD}\n```\n\nAnd more.\n"
ERROR = "macro.C:1: error: no `member` named\n 'NoSuchThing' @ada <b>"


class Sandbox:
    """Runs nothing: code with ``NoSuchThing`` fails."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.during: Callable[[], Any] = lambda: None
        self.pictures: tuple[Picture, ...] = ()

    def __call__(self, _language: str, text: str, _stop: Callable[[], bool]) -> CodeRun:
        self.codes.append(text.strip())
        self.during()
        if "NoSuchThing" in text:
            return CodeRun("failed", error=ERROR, messages="line 1", seconds=1.2, root="6.40.00")
        return CodeRun("ran", output="42\n<i>", seconds=1.5, root="6.40.00", pictures=self.pictures)


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """What mends."""
    fake = FakeProvider.saying(f"```cpp\n{GOOD}\n```")
    monkeypatch.setattr(chat_engine, "provider", lambda: fake)
    return fake


def draft(bot: Bot, sandbox: Sandbox, text: str = TEXT) -> Draft:
    bot.assistant.text = text
    bot.assistant.fields = {"written": text}
    number = bot.forum.add_topic("Fill a TH1F", "How?")
    bot.poll()
    engine.draft(Topic.objects.get(number=number).pk, bot.assistant, sandbox)
    return Draft.objects.get(topic__number=number)


def test_code_that_ran_is_labelled_in_the_post(bot: Bot, sandbox: Sandbox) -> None:
    made = draft(bot, sandbox, TEXT.replace(BAD, GOOD))
    assert sandbox.codes == [GOOD]
    assert made.text == TEXT.replace(BAD, GOOD)
    assert made.answer["code"][0]["output"] == "42\n<i>"
    Draft.objects.filter(pk=made.pk).update(state="APPROVED", approved_at=made.made_at, due_at=made.made_at)
    bot.post(made)
    (posted,) = bot.forum.by_bot(made.topic.number)
    assert f"```cpp\n{GOOD}\n```\n\n*This code ran in a sandbox with ROOT 6.40.00.*\n\n" in posted["raw"]
    assert "\n\nAnd more." in posted["raw"]


@pytest.mark.usefixtures("model")
def test_code_that_fails_is_mended_once_in_the_draft(bot: Bot, sandbox: Sandbox, reviewer: Any) -> None:
    made = draft(bot, sandbox)
    assert sandbox.codes == [BAD, GOOD]
    assert made.text == made.made == TEXT.replace(BAD, GOOD)
    (entry,) = made.answer["code"]
    assert (entry["status"], entry["before"].strip(), entry["why"]) == ("ran", BAD, ERROR)
    client = Client()
    client.force_login(reviewer)
    page = client.get(f"/forum/drafts/{made.pk}").text
    assert "ran in 1.5" in page
    assert "42\n&lt;i&gt;" in page
    assert "what it wrote first failed" in page


def test_code_that_stays_broken_says_so_harmlessly_and_is_never_posted_by_rule(
    bot: Bot, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    Forum.objects.update(auto_post=True, auto_confidence=0.5, auto_categories=[1], auto_daily=5)
    monkeypatch.setattr(chat_engine, "provider", lambda: FakeProvider.saying(f"```cpp\n{BAD} // again\n```"))
    made = draft(bot, sandbox)
    assert sandbox.codes == [BAD, f"{BAD} // again"]
    assert (made.text, made.state) == (TEXT, "WAITING")
    post = compose.post(verify.labelled(made.text, made.answer).text, made.passages, automatic=False)
    assert "*This code failed in a sandbox with ROOT 6.40.00: `macro.C:1: error: no member named 'NoSuchThing' @ada <b>`*" in post
    bot.assistant.fields = {}
    assert draft(bot, sandbox, TEXT.replace(BAD, GOOD)).state == "APPROVED"


def test_code_that_a_reviewer_changed_was_not_run(bot: Bot, sandbox: Sandbox, reviewer: Any) -> None:
    made = draft(bot, sandbox, TEXT.replace(BAD, GOOD))
    services.edit(made, reviewer, made.text.replace("42", "43"), made.revision)
    made.refresh_from_db()
    client = Client()
    client.force_login(reviewer)
    page = client.get(f"/forum/drafts/{made.pk}").text
    assert "This code was not run." in page
    assert "ran in 1.5" not in page


def test_quoted_code_and_other_languages_are_not_run(bot: Bot, sandbox: Sandbox) -> None:
    bot.assistant.text = f"```cpp\n{GOOD}\n```\n\n```sh\nls\n```\n\n- ```cpp\n  {GOOD}\n  ```\n"
    number = bot.forum.add_topic()
    bot.poll()
    engine.draft(Topic.objects.get(number=number).pk, bot.assistant, sandbox)
    made = Draft.objects.get()
    assert sandbox.codes == []
    assert verify.labelled(made.text, made.answer).text.count("not run") == 1


def test_nothing_is_run_where_it_is_switched_off(bot: Bot, sandbox: Sandbox, settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"run_code": "asked"})
    made = draft(bot, sandbox, TEXT.replace(BAD, GOOD))
    assert (sandbox.codes, made.answer["code"]) == ([], [])


def test_a_worker_that_stops_while_code_runs_leaves_the_topic_to_the_next(bot: Bot, sandbox: Sandbox) -> None:
    from portal.celery import stopping

    sandbox.during = stopping.set
    bot.assistant.text, bot.assistant.fields = TEXT, {"written": TEXT}
    number = bot.forum.add_topic()
    bot.poll()
    try:
        engine.draft(Topic.objects.get(number=number).pk, bot.assistant, sandbox)
    finally:
        stopping.clear()
    assert Topic.objects.get(number=number).state == "QUEUED"
    assert not Draft.objects.exists()


# --- pictures -----------------------------------------------------------------------------------------------------------------


def picture(name: str, width: int) -> Picture:
    target = BytesIO()
    Image.new("RGB", (width, 5), "white").save(target, "PNG")
    return Picture(name, width, 5, target.getvalue())


@pytest.fixture
def drawing(sandbox: Sandbox) -> Sandbox:
    """Each block that runs draws two pictures."""
    sandbox.pictures = (picture("c1.png", 7), picture("c2.png", 9))
    return sandbox


def approve(bot: Bot, made: Draft, reviewer: Any, text: str | None = None) -> Draft:
    services.approve(made, reviewer, made.revision, text=text)
    return bot.post(made)


def test_pictures_of_code_that_ran_are_posted_below_it(bot: Bot, drawing: Sandbox, reviewer: Any) -> None:
    made = draft(bot, drawing, TEXT.replace(BAD, GOOD))
    client = Client()
    client.force_login(reviewer)
    page = client.get(f"/forum/drafts/{made.pk}").text
    for kept, drawn in zip(made.pictures.all(), drawing.pictures, strict=True):
        address = f"/forum/drafts/{made.pk}/pictures/{kept.pk}"
        assert f'src="{address}"' in page
        assert client.get(address).content == drawn.png
        assert Client().get(address).status_code == 302
    assert bot.forum.uploads == [], "nothing is uploaded before approval"
    approve(bot, made, reviewer)
    assert bot.forum.uploads == [each.png for each in drawing.pictures]
    (posted,) = bot.forum.by_bot(made.topic.number)
    first, second = (each.upload for each in made.pictures.all())
    assert (
        f"ROOT 6.40.00.*\n\n![picture 1 of this code|7x5]({first})\n\n![picture 2 of this code|9x5]({second})\n\n"
        in posted["raw"]
    )
    assert posted["raw"].count("![") == 2


def test_pictures_of_code_that_a_reviewer_changed_are_not_posted(bot: Bot, drawing: Sandbox, reviewer: Any) -> None:
    made = draft(bot, drawing, TEXT.replace(BAD, GOOD))
    approve(bot, made, reviewer, made.text.replace("42", "43") + "\n\n![x](upload://forged.png)")
    assert bot.forum.uploads == []
    (posted,) = bot.forum.by_bot(made.topic.number)
    assert "![" not in posted["raw"]


@pytest.mark.parametrize("fault", ["timeout-done", "502-done", "timeout", "drop", "500", "429"])
def test_pictures_are_uploaded_once_whatever_the_network_does(fault: str, bot: Bot, drawing: Sandbox, reviewer: Any) -> None:
    made = draft(bot, drawing, TEXT.replace(BAD, GOOD))
    calls: list[str] = []

    def second_upload_fails(method: str, path: str) -> str | None:
        calls.extend([path] * (path == "/uploads.json"))
        return fault if path == "/uploads.json" and len(calls) == 2 else None

    bot.forum.faults = second_upload_fails
    assert approve(bot, made, reviewer).state == "APPROVED"
    assert bot.forum.by_bot(made.topic.number) == []
    assert bot.post(made).state == "POSTED"
    assert len(calls) == 3, "the first picture is there already"
    (posted,) = bot.forum.by_bot(made.topic.number)
    assert posted["raw"].count("](upload://") == 2


def test_a_picture_that_the_forum_does_not_take_is_left_out(bot: Bot, drawing: Sandbox, reviewer: Any) -> None:
    made = draft(bot, drawing, TEXT.replace(BAD, GOOD))
    bot.forum.largest_upload = 10
    assert approve(bot, made, reviewer).state == "POSTED"
    (posted,) = bot.forum.by_bot(made.topic.number)
    assert "This code ran" in posted["raw"]
    assert "![" not in posted["raw"]


def test_another_draft_has_its_own_pictures_and_no_more_than_some(bot: Bot, drawing: Sandbox, reviewer: Any) -> None:
    drawing.pictures = tuple(picture(f"c{n}.png", n) for n in range(1, 9))
    made = draft(bot, drawing, TEXT.replace(BAD, GOOD))
    assert [each.width for each in made.pictures.all()] == [1, 2, 3, 4]
    client = Client()
    client.force_login(reviewer)
    assert "It drew 8 pictures; 4 of them not kept." in client.get(f"/forum/drafts/{made.pk}").text
    drawing.pictures = (picture("other.png", 20),)
    services.ask_another(made, reviewer, made.revision)
    engine.draft(made.topic.pk, bot.assistant, drawing)
    assert [each.width for each in made.pictures.all()] == [20]


@pytest.mark.slow
def test_the_real_sandbox_runs_it(bot: Bot) -> None:
    if not foreign_isolation().fenced or not root_version():
        pytest.skip("needs bubblewrap and the root wheel")
    text = TEXT.replace(BAD, 'printf("%d\\n", TH1F("h", "", 42, 0, 1).GetNbinsX());')
    bot.assistant.text, bot.assistant.fields = text, {"written": text}
    made = bot.draft(bot.forum.add_topic())
    (entry,) = made.answer["code"]
    assert (entry["status"], entry["output"], entry["root"]) == ("ran", "42\n", root_version()), entry


@pytest.mark.parametrize("text", ["", "no code", "```cpp\nnever closed", "> ```cpp\n> h->Fill();\n> ```"])
def test_a_text_without_whole_blocks_stays_as_it_is(text: str) -> None:
    assert verify.labelled(text, {"code": []}).text == text
    assert verify.labelled("```cpp\nf();\n```", {}).text == "```cpp\nf();\n```", "a draft of before code was run"


def test_a_mended_block_cannot_end_its_fence() -> None:
    text = "a\n\n```cpp\nf();\n```\nb"
    (fence,) = compose.fences(text)
    made = fence.replaced(text, "g();\n```\n@ada")
    (only,) = compose.fences(made)
    assert only.content == "g();\n```\n@ada\n"
