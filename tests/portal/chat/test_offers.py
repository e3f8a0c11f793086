"""A question that asks for a job is offered the filled-in form."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from portal.chat import offers, services
from portal.jobs import registry
from portal.library.models import Content, LibraryFile

pytestmark = pytest.mark.django_db

ASK = "Turn my model into C++"
FORM = "/jobs/new/forest-to-cpp"


@pytest.fixture
def add_file(person: Any) -> Any:
    """Puts a file into somebody's library; the later ones are newer."""
    made: list[LibraryFile] = []

    def add(name: str, kind: str = "xgboost-json", owner: Any = None) -> LibraryFile:
        file = _file(owner or person, name, kind, len(made))
        made.append(file)
        return file

    return add


def _file(owner: Any, name: str, kind: str, number: int) -> LibraryFile:
    content = Content.objects.create(sha256=f"{number:064x}", size=1, path=f"files/{number}")
    file = LibraryFile.objects.create(owner=owner, name=name, kind=kind, content=content, size=1)
    LibraryFile.objects.filter(pk=file.pk).update(created_at=timezone.now() + timedelta(seconds=number))
    return file


def field() -> str:
    (name,) = registry.get("forest-to-cpp").file_kinds()
    return name


def test_the_newest_fitting_file_is_filled_in_and_others_are_at_hand(person: Any, other_person: Any, add_file: Any) -> None:
    old = add_file("old.json")
    new = add_file("new.ubj", "xgboost-ubj")
    add_file("events.root", "root")
    add_file("theirs.json", owner=other_person)
    offer = services.ask(person, ASK).offer
    assert offer is not None
    assert (offer["type"], offer["chosen"], offer["missing"]) == ("forest-to-cpp", ["new.ubj"], [])
    assert offer["url"] == f"{FORM}?{field()}={new.pk}"
    assert offer["files"] == [{"name": "old.json", "url": f"{FORM}?{field()}={old.pk}"}]


@pytest.mark.parametrize(
    "question", ["Turn my model higgs.json into C++", "compile the Higgs model to c++", "model HIGGS.JSON, c++!"]
)
def test_a_file_that_the_question_names_comes_first(person: Any, add_file: Any, question: str) -> None:
    add_file("higgs.json")
    add_file("newest.json")
    offer = offers.find(person, question)
    assert offer is not None
    assert offer["chosen"] == ["higgs.json"]
    assert [file["name"] for file in offer["files"]] == ["newest.json"]


def test_a_name_within_another_word_is_not_named(person: Any, add_file: Any) -> None:
    add_file("trees.json")
    add_file("newest.json")
    offer = offers.find(person, "Turn the model my-trees.json.bak_trees into C++")
    assert offer is not None
    assert offer["chosen"] == ["newest.json"]


def test_only_a_few_files_are_listed(person: Any, add_file: Any) -> None:
    for number in range(6):
        add_file(f"{number}.json")
    offer = offers.find(person, ASK)
    assert offer is not None
    assert offer["chosen"] == ["5.json"]
    assert [file["name"] for file in offer["files"]] == ["4.json", "3.json"]


def test_without_a_file_the_offer_says_what_it_takes(person: Any) -> None:
    offer = offers.find(person, ASK)
    assert offer is not None
    assert offer["url"] == FORM
    assert "XGBoost" in offer["missing"][0]


@pytest.mark.parametrize("question", ["How do I fit a TH1?", "What is a forest?", "model of C", "", "Explain C++ references"])
def test_other_questions_are_offered_nothing(person: Any, question: str) -> None:
    assert offers.find(person, question) is None


def test_the_longest_phrase_wins_and_jobs_for_administrators_are_theirs(
    person: Any, administrator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = type(registry.get("forest-to-cpp"))

    class Close(base):  # type: ignore[misc,valid-type]
        slug = "close"
        phrases = ("fast model c++",)

    class Secret(base):  # type: ignore[misc,valid-type]
        slug = "secret"
        phrases = ("very fast model c++",)
        staff_only = True

    class Unlisted(base):  # type: ignore[misc,valid-type]
        slug = "unlisted"
        phrases = ("very very fast model c++ now",)
        listed = False

    types = [registry.get("forest-to-cpp"), Close(), Secret(), Unlisted()]
    monkeypatch.setattr(registry, "all_types", lambda: {each.slug: each for each in types})
    question = "A very very fast model in C++ now"
    assert offers.find(person, question)["type"] == "close"  # type: ignore[index]
    assert offers.find(administrator, question)["type"] == "secret"  # type: ignore[index]


def test_words() -> None:
    assert offers.words("Turn my Models into C++, C# or c?") == {"turn", "my", "model", "into", "c++", "c#", "or", "c"}


def test_a_search_is_offered_nothing(person: Any) -> None:
    assert services.ask(person, ASK, options={"retrieve_only": True}).offer is None


def test_the_card_leads_to_the_form_and_submits_nothing(client: Any, person: Any, add_file: Any) -> None:
    from portal.jobs.models import Job

    file = add_file("<b>evil</b>.json")
    client.force_login(person)
    response = client.post("/ask/", {"question": ASK}, follow=True)
    page = response.content.decode()
    assert f'href="{FORM}?{field()}={file.pk}"' in page
    assert "&lt;b&gt;evil&lt;/b&gt;.json" in page
    assert not Job.objects.exists()
    form = client.get(f"{FORM}?{field()}={file.pk}")
    assert form.status_code == 200
    assert str(file.pk) in form.content.decode()
