"""The loader of batches against ROOT's, uproot and PyTorch's: epochs, memory, training, mixing."""

from __future__ import annotations

from importlib import metadata

from benchmarks.batches import running, shows
from benchmarks.measure import Comparison, Settings

TITLE = "Batches"
IN_BRIEF = True
FACTS = {"ROOT": metadata.version("root"), "uproot": metadata.version("uproot")}


def run(settings: Settings) -> list[Comparison]:
    """All data sets, one after the other; for each, all contenders in turn."""
    folder = settings.cache / "batches"
    folder.mkdir(parents=True, exist_ok=True)
    rounds = running.Rounds(folder / ("quick.jsonl" if settings.quick else "rounds.jsonl"), running.code_hash())
    epochs: list[Comparison] = []
    mixing: list[Comparison] = []
    for number, show in enumerate(shows.shows(quick=settings.quick)):
        print(f"  {show.title} ...", flush=True)
        bench = shows.Bench(show, settings, rounds)
        epochs += bench.epochs()
        if number < 2:  # in memory, and from disk
            mixing += bench.mixing()
    print("  training and memory ...", flush=True)
    found = [*epochs, *mixing, *shows.training(settings, rounds), *shows.memory(settings, rounds)]
    rounds.finished()
    return found
