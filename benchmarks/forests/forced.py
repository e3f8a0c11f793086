"""Forced targets: ``python -m benchmarks.forests.forced TARGET RESULT [--quick]``, where the kernels were told the target.

The kernels read KERNELS_FORCE_TARGET when they are loaded and oneDAL keeps one instruction set a process, so each target has a
process of its own, in which all contenders take turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import kernels
from benchmarks.forests import models, ours
from benchmarks.forests.ours import OURS
from benchmarks.forests.peers import PEERS
from benchmarks.forests.shows import Bench
from benchmarks.measure import Comparison, Settings
from benchmarks.report import comparison

TARGETS = ("avx2", "portable")


def measure(target: str, settings: Settings) -> list[Comparison]:
    """The first four models at a target."""
    if kernels.active_target() != target:
        raise RuntimeError(f"the kernels run on {kernels.active_target()}, not on {target}")
    return [
        _batch(Bench(model, settings, nan=False, target=target), target)
        for model in models.trained(settings.cache, quick=settings.quick)
        if model.first_four
    ]


def _batch(bench: Bench, target: str) -> Comparison:
    rows = bench.rows[: 2_000 if bench.settings.quick else 20_000]
    contenders = {OURS: ours.margin_call(bench.forest, rows)}
    contenders |= {name: contender.call(rows) for name, contender in bench.opened.contenders.items()}
    forced = {peer.name: peer.forced for peer in PEERS if peer.name in contenders}
    return Comparison(
        task=f"{bench.title}: a batch of {len(rows):,} events, {target} only",
        goal="ahead of every peer kept to the same instructions",
        unit="µs/event",
        ours=OURS,
        measured=bench.measured(contenders, len(rows), patience=1.0),
        least_ratio=1.0,
        facts=bench.facts(**forced),
    )


def in_processes(settings: Settings) -> list[Comparison]:
    """Both targets, each in its process."""
    comparisons: list[Comparison] = []
    for target in TARGETS:
        result = settings.cache / f"forced-{target}.json"
        result.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.forests.forced", target, str(result), *["--quick"] * settings.quick]
        environment = {**os.environ, "KERNELS_FORCE_TARGET": target}
        subprocess.run(command, env=environment, check=True, cwd=Path(__file__).parents[2])
        comparisons += map(comparison, json.loads(result.read_text(encoding="utf-8")))
    return comparisons


def main(target: str, result: str, *flags: str) -> None:
    """Measure in this process and leave the result in a file."""
    path = Path(result)
    settings = Settings(quick="--quick" in flags, cache=path.parent)
    path.write_text(json.dumps([asdict(each) for each in measure(target, settings)]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
