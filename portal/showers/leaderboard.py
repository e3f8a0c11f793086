"""Models ranked for each dataset that they were measured on, by what evaluations found. Reads only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models.fields.json import KT

from portal.accounts.models import User
from portal.jobs import comparisons, presentation
from portal.jobs.models import Job, JobState
from portal.jobs.plots import number
from portal.jobs.results import Plot

MOST_EVALUATIONS = 300
EVALUATION = "shower-evaluate"


@dataclass(frozen=True)
class Entry:
    """One evaluation of a model."""

    job: Job
    facts: Mapping[str, Any]
    place: int = 0

    @property
    def name(self) -> str:
        """Of the model and its file."""
        return f"{self.facts.get('model', 'a model')}, {self.facts.get('model_file', '')}".rstrip(", ")

    @property
    def at(self) -> datetime | None:
        return self.job.finished_at

    @property
    def milliseconds(self) -> float | None:
        """For a shower, in the faster of the batches that were timed."""
        times = [float(value) for name, value in self.facts.items() if name.startswith("ms_")]
        return min(times, default=None)

    @property
    def faster(self) -> float | None:
        """By how much than the full simulation."""
        simulation, own = self.facts.get("simulation_ms"), self.milliseconds
        return float(simulation) / own if simulation and own else None

    @property
    def rank(self) -> tuple[float, float]:
        """Best first: by the AUC of voxels, then by FPD."""
        return float(self.facts.get("auc_low", math.inf)), float(self.facts.get("fpd", math.inf))

    def cell(self, name: str, scale: float = 1.0) -> str:
        """A figure with its error; empty where it was not measured."""
        value, error = self.facts.get(name), self.facts.get(f"{name}_error")
        if value is None:
            return ""
        told = f"{float(value) * scale:.3g}"
        return told if error is None else f"{told} ± {float(error) * scale:.1g}"

    @property
    def cells(self) -> list[str]:
        """Of the table, after the model's name."""
        own, faster, parameters = self.milliseconds, self.faster, self.facts.get("parameters")
        return [
            self.cell("auc_low"),
            self.cell("auc_high"),
            self.cell("fpd", 1e3),
            self.cell("separation", 1e3),
            "" if own is None else f"{own:.3g}",
            "" if faster is None else f"{number(float(f'{faster:.3g}'))} ×",
            "" if parameters is None else number(float(parameters)),
            number(float(self.facts.get("showers", 0))),
        ]


COLUMNS = (
    "AUC, voxels", "AUC, features", "FPD × 1000", "Separation × 1000", "Time [ms]", "Faster by", "Parameters", "Showers",
)  # fmt: skip


@dataclass
class Board:
    """The models that were measured on one dataset, best first."""

    dataset: str
    calorimeter: str
    entries: list[Entry] = field(default_factory=list)

    @property
    def floor(self) -> list[str]:
        """What the simulation gets in the model's place: of the newest evaluation that has it."""
        newest = sorted(self.entries, key=lambda entry: str(entry.at), reverse=True)
        found = next((entry.facts for entry in newest if "fpd_floor" in entry.facts), None)
        simulation = next((entry.facts["simulation_ms"] for entry in newest if "simulation_ms" in entry.facts), None)
        if found is None and simulation is None:
            return []
        floors = found or {}

        def told(name: str, scale: float = 1.0) -> str:
            return f"{float(floors[name]) * scale:.3g}" if name in floors else ""

        time = "" if simulation is None else f"{float(simulation):.3g}"
        return [told("auc_low_floor"), told("auc_high_floor"), told("fpd_floor", 1e3), "", time, "", "", ""]

    @property
    def plots(self) -> list[Plot]:
        """Quality against time, of the entries that were timed."""
        found = []
        for key, title, scale in (("auc_low", "AUC, voxels", 1.0), ("fpd", "FPD × 1000", 1e3)):
            points = [
                comparisons.Point(
                    entry.place,
                    entry.name,
                    entry.milliseconds,
                    float(entry.facts[key]) * scale,
                    float(entry.facts.get(f"{key}_error", 0.0)) * scale,
                )
                for entry in self.entries
                if entry.milliseconds and key in entry.facts and float(entry.facts[key]) > 0
            ]
            if not points:
                continue
            floors = [float(entry.facts[f"{key}_floor"]) * scale for entry in self.entries if f"{key}_floor" in entry.facts]
            values = [point.y for point in points]
            floor = min(floors, default=None)
            log = key == "fpd" and max(values) > 20 * min(values) and (floor is None or floor > 0)
            svg = comparisons.scatter(
                points, floor=floor, x_title="time for a shower [ms]", y_title=title, log_y=log,
                label=f"{title} against the time for a shower, {len(points)} models of {self.dataset}",
            )  # fmt: skip
            found.append(Plot(f"{title} against time", svg, "Lower and further left is better. Numbers are those of the table."))
        return found


def boards(user: User | AnonymousUser) -> list[Board]:
    """One board for each dataset that this person's evaluations used, those of the newest evaluation first."""
    jobs = (
        presentation.visible(user)
        .filter(type=EVALUATION, state=JobState.SUCCEEDED)
        .order_by("-finished_at")
        .only("title", "finished_at", "owner")
        .annotate(facts_text=KT("result__facts"))[:MOST_EVALUATIONS]
    )
    found: dict[str, Board] = {}
    for job in jobs:
        facts = json.loads(job.facts_text or "{}")
        key = f"{facts.get('dataset_sha256', '')} {facts.get('calorimeter', '')}"
        board = found.setdefault(key, Board(str(facts.get("dataset", "")), str(facts.get("calorimeter", ""))))
        board.entries.append(Entry(job, facts))
    for board in found.values():
        ranked = sorted(board.entries, key=lambda entry: entry.rank)
        board.entries = [Entry(entry.job, entry.facts, place) for place, entry in enumerate(ranked, 1)]
    return list(found.values())
