"""Forests of decision trees against every peer: batches, single events, few events, threads, targets, loading."""

from __future__ import annotations

from benchmarks import native
from benchmarks.forests import forced, models, shows
from benchmarks.measure import Comparison, Settings

TITLE = "Forests of decision trees"
IN_BRIEF = True
FACTS = {"adapters and compiled peers": f"{' '.join(native.FLAGS[1:2])} {native.TARGETS['native']}"}


def run(settings: Settings) -> list[Comparison]:
    """All models, one after the other; for each, all contenders in turn."""
    batches: dict[str, Comparison] = {}
    with_nan: dict[str, Comparison] = {}
    others: list[Comparison] = []
    for model in models.trained(settings.cache, quick=settings.quick):
        print(f"  {model.title} ...", flush=True)
        bench = shows.Bench(model, settings, nan=False)
        batches[model.title] = shows.batch(bench)
        others += shows.single(bench)
        others += shows.sizes(bench)
        if model.first_four:
            others.append(shows.threads(bench))
        if model.key.startswith("xgboost-1000x8") or (settings.quick and model.first_four):
            others += shows.loading(bench, source_goal=50, saved_goal=5)
        if not model.nan_refused:
            with_nan[model.title] = shows.batch(shows.Bench(model, settings, nan=True))
    means = [
        shows.mean_ratio(dict(list(batches.items())[:4]), "The first four models, batches"),
        shows.mean_ratio(dict(list(with_nan.items())[:4]), "The first four models with missing values, batches"),
    ]
    return [*batches.values(), *with_nan.values(), *means, *others, *forced.in_processes(settings)]
