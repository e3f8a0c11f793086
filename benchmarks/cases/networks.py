"""The networks of the zoo against every peer: one inference, loading, memory, sizes."""

from __future__ import annotations

from benchmarks import native
from benchmarks.environment import UnavailableError
from benchmarks.measure import Comparison, Settings
from benchmarks.networks import peers, shows
from benchmarks.networks.tasks import Task
from mlcore.benchmarks import zoo

TITLE = "Networks"
IN_BRIEF = True
FACTS = {"adapters and generated code": f"-O3 {native.TARGETS['native']}"}
TWO_THREADS = ("mlp_5x200", "transformer", "particlenet")
QUICK = ("mlp_5x50", "cnn", "transformer", "lstm")


def run(settings: Settings) -> list[Comparison]:
    """All networks and batch sizes, one after the other; for each, all contenders in turn."""
    inferences: list[Comparison] = []
    costs: list[Comparison] = []
    refused: dict[str, str] = {}
    empty = peers.empty(settings.cache)
    for name in QUICK if settings.quick else zoo.names():
        model = zoo.get(name)
        for batch in model.batches:
            print(f"  {model.title}, batch {batch} ...", flush=True)
            try:
                bench = shows.Bench(Task(model, batch, settings.cache), settings)
            except UnavailableError as reason:
                refused[model.title] = str(reason)
                continue
            inferences.append(bench.inference())
            if batch == model.batches[0]:
                costs += bench.costs(empty)
                if name in TWO_THREADS:
                    costs.append(bench.two_threads())
    return [*inferences, *shows.closest(inferences), shows.refusals(refused), *costs]
