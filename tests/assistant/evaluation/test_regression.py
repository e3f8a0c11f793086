"""Search by words over the installed ROOT must not get worse: floors a little below what was measured, held-out half included."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.condense import search_query
from assistant.corpus import SourceEntry, source_kind
from assistant.evaluation import Configuration, Golden, evaluate, read_golden, retrieval_options, summarise
from assistant.index import BuildOptions, build
from assistant.retrieval import RetrievalOptions, Retriever
from tests.assistant.evaluation.posts import pasted

pytestmark = pytest.mark.slow
DATA = Path(__file__).parents[2] / "data" / "assistant"
POST = "My analysis ends with this. What am I doing wrong?\n```\nterminate called\n  what():  {message}\n```\n"
HALVES = ("forum_development", "forum_held_out")


@pytest.fixture(scope="module")
def installed_root(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("index")
    build(BuildOptions(folder, (SourceEntry("root", "root"),), dense=False))
    return Retriever.open(folder)


def _printed() -> list[tuple[str, str]]:
    """Error messages of ROOT's headers, as they are printed, and the class that prints each."""
    documents = source_kind("root").documents(SourceEntry("root", "root"))
    return [(text.rpartition(">: ")[2], document.source) for document in documents for text in document.messages]


def _hits(retriever: Retriever, questions: list[Golden], options: str = "dense=0") -> dict[str, float | None]:
    configuration = Configuration("words", retrieval_options(options), retrieval_only=True)
    return dict(summarise(evaluate(questions, retriever, configuration)).values)


@pytest.mark.parametrize("half", HALVES)
def test_forum_questions(installed_root: Retriever, half: str) -> None:
    values = _hits(installed_root, list(read_golden(DATA / f"{half}.jsonl")))
    assert (values["hit@1"] or 0) >= 0.42
    assert (values["hit@5"] or 0) >= 0.82
    assert (values["hit@10"] or 0) >= 0.88
    assert (values["terms.passages"] or 0) >= 0.70


@pytest.mark.parametrize("half", HALVES)
def test_what_the_corpus_does_not_know_tells_foreign_questions_apart(installed_root: Retriever, half: str) -> None:
    """The words that no document has: the half of what abstaining rests on that needs no search by meaning."""
    foreign: dict[bool, list[bool]] = {True: [], False: []}
    for golden in read_golden(DATA / f"{half}.jsonl"):
        found = installed_root.retrieve(search_query(golden.text), 5, options=RetrievalOptions(dense=0))
        foreign[golden.out_of_scope].append(found.unknown > 0.15)
    assert sum(foreign[True]) >= 0.7 * len(foreign[True])
    assert sum(foreign[False]) <= 0.15 * len(foreign[False])


@pytest.mark.parametrize("half", HALVES)
def test_a_pasted_macro_costs_little(installed_root: Retriever, half: str) -> None:
    questions = [golden for golden in read_golden(DATA / f"{half}.jsonl") if not golden.out_of_scope]
    posts = [pasted(golden, number) for number, golden in enumerate(questions)]
    values = _hits(installed_root, posts)
    assert (values["hit@5"] or 0) >= 0.78
    as_it_is = _hits(installed_root, posts, "dense=0,condense=off")
    assert (values["hit@5"] or 0) - (as_it_is["hit@5"] or 0) >= 0.3  # what condensing is for


def test_an_error_message_leads_to_its_class(installed_root: Retriever) -> None:
    posts = [
        Golden(POST.format(message=text.replace("...", "17")), title="It stops here", sources=frozenset({source}))
        for text, source in _printed()
    ]
    assert len(posts) > 80
    found, without = _hits(installed_root, posts), _hits(installed_root, posts, "dense=0,messages=0")
    assert (found["hit@5"] or 0) >= 0.5
    assert (found["hit@1"] or 0) - (without["hit@1"] or 0) >= 0.3  # what the stage is for
