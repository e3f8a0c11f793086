"""Search in the documentation: what is found for questions with known answers, how fast, and how long an index takes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from assistant.corpus.document import SourceEntry
from assistant.index import BuildOptions, build, generations
from assistant.retrieval import RetrievalOptions, Retriever
from benchmarks.measure import Comparison, Measured, Settings, summary

TITLE = "Search in the documentation of the installed ROOT and scientific packages"

# The half of the forum's questions that nothing was tuned on.
QUESTIONS = Path(__file__).parents[2] / "tests" / "data" / "assistant" / "forum_held_out.jsonl"
GOALS = {1: 55.0, 5: 85.0, 10: 90.0}  # % of questions with a gold source among the first so many
SLOWEST = 300.0  # ms, 95 % of the questions
OURS, WORDS = "ours, by words and meaning", "ours, by words"
TIMES = "times.json"
K = 10

Search = Callable[[str], list[str]]
"""From a question to the names of the best `K` sources, best first."""


def run(settings: Settings) -> list[Comparison]:
    """Quality and latency against plain BM25 over the same passages; the index is built once and kept in the cache."""
    folder, times = index(settings)
    retriever = Retriever.open(folder)
    plain, peer, passages = _plain_bm25(folder)
    searches: dict[str, Search] = {WORDS: _search(retriever, RetrievalOptions(dense=0)), peer: plain}
    ours = WORDS if settings.quick else OURS
    if not settings.quick:
        searches = {OURS: _search(retriever, RetrievalOptions()), **searches}
    questions = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    answerable = [question for question in questions if not question["out_of_scope"]]
    texts = [f"{question['title']}\n{question['question']}" for question in answerable]
    found = {name: [search(text) for text in texts] for name, search in searches.items()}
    for name, lists in found.items():
        assert all(len(sources) == K for sources in lists), f"{name} did not find {K} sources for each question"
    facts = {"passages": f"{passages:,}", "questions": str(len(texts))}
    comparisons = [
        Comparison(
            task=f"a source that answers the question among the first {depth}",
            goal=f"at least {goal:.0f} %, and better than plain BM25 over the same passages",
            unit="% of questions",
            ours=ours,
            measured={name: _exactly(_hits(lists, answerable, depth)) for name, lists in found.items()},
            least_ratio=1.0,
            bound=goal,
            peers=(peer,),
            lower_is_better=False,
            facts=facts,
        )
        for depth, goal in GOALS.items()
    ]
    return [*comparisons, *_latency(searches, texts, settings, ours, facts), *_building(times)]


def _latency(
    searches: dict[str, Search], texts: list[str], settings: Settings, ours: str, facts: dict[str, str]
) -> list[Comparison]:
    """Seconds of each question, the contenders in turn; median and 95th percentile of each round."""
    rounds = 2 if settings.quick else 10
    middle: dict[str, list[float]] = {name: [] for name in searches}
    slow: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(rounds):
        samples: dict[str, list[float]] = {name: [] for name in searches}
        for text in texts:
            for name, search in searches.items():
                start = time.perf_counter()
                search(text)
                samples[name].append(1e3 * (time.perf_counter() - start))
        for name, values in samples.items():
            values.sort()
            middle[name].append(values[len(values) // 2])
            slow[name].append(values[int(0.95 * len(values))])
    return [
        Comparison(
            task=f"time of a question, {title}",
            goal=f"95 % within {SLOWEST:.0f} ms",
            unit="ms",
            ours=ours,
            measured={name: summary(values) for name, values in rounds_of.items()},
            bound=SLOWEST,
            peers=(),
            facts=facts | {"ours": "with the passages' text, cut to the best lines"},
        )
        for title, rounds_of in (("half of them within", middle), ("95 % of them within", slow))
    ]


def _building(times: dict[str, float]) -> list[Comparison]:
    goals = {"words": ("search by words within 30 s", 30.0), "meaning": ("search by meaning within 3 min", 180.0)}
    return [
        Comparison(
            task=f"from nothing to search by {stage}",
            goal=goals[stage][0],
            unit="s",
            ours="index build",
            measured={"index build": _exactly(seconds)},
            bound=goals[stage][1],
            peers=(),
            facts={"processes": "2 that embed", "measured": "once", "load of the machine before": f"{times['load']:.1f}"},
        )
        for stage, seconds in times.items()
        if stage in goals
    ]


def index(settings: Settings) -> tuple[Path, dict[str, float]]:
    """The folder of the index, built unless it is there, and the seconds of each stage."""
    quick = settings.quick
    folder = settings.cache / ("index-quick" if quick else "index")
    kept = folder / TIMES
    if kept.exists():
        stored: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
        return folder, stored
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted build left would shorten this one
    times = {"load": os.getloadavg()[0]}
    began = time.perf_counter()

    def log(text: str) -> None:
        print(f"  {text}", flush=True)
        for stage in ("words", "meaning"):
            if text.startswith(f"Search by {stage} is ready"):
                times[stage] = time.perf_counter() - began

    sources = (SourceEntry("root", "root"),) if quick else None
    status = build(BuildOptions(folder, sources, dense=not quick), log=log)
    assert status.lexical, "nothing was indexed"
    assert quick or status.dense == 1.0, "not every passage was embedded"
    kept.write_text(json.dumps(times), encoding="utf-8")
    return folder, times


def _search(retriever: Retriever, options: RetrievalOptions) -> Search:
    return lambda text: [passage.source for passage in retriever.retrieve(text, K, options=options).passages]


def _plain_bm25(folder: Path) -> tuple[Search, str, int]:
    """BM25 over the same passages with bm25s as it comes: its own tokens and weights, a source ranked by its best passage."""
    from importlib import metadata

    import bm25s

    generation = generations.current(folder)
    assert generation is not None
    with closing(sqlite3.connect(generation / "documents.sqlite")) as connection:
        rows = connection.execute(
            'SELECT source, title, substr(text, start + 1, "end" - start) FROM chunks '
            "JOIN documents ON documents.number = chunks.document ORDER BY chunks.number"
        ).fetchall()
    store = bm25s.BM25()
    store.index(bm25s.tokenize([f"{title}\n{text}" for _, title, text in rows], show_progress=False), show_progress=False)
    depth = 40 * K  # enough passages for `K` different sources

    def search(text: str) -> list[str]:
        numbers, _ = store.retrieve(bm25s.tokenize(text, show_progress=False), k=depth, show_progress=False)
        return list(dict.fromkeys(rows[number][0] for number in numbers[0]))[:K]

    return search, f"bm25s {metadata.version('bm25s')}", len(rows)


def _hits(lists: list[list[str]], questions: list[dict[str, Any]], depth: int) -> float:
    hits = [
        bool(set(sources[:depth]) & set(question["gold_sources"])) for sources, question in zip(lists, questions, strict=True)
    ]
    return 100 * sum(hits) / len(hits)


def _exactly(value: float) -> Measured:
    return Measured(value, value, value)
