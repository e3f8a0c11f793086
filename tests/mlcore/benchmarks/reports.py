"""Made-up reports: figures that nobody measured, for what is made of figures."""

from __future__ import annotations

from collections.abc import Mapping

from mlcore.benchmarks.cells import Cell, Key, Memory, Samples
from mlcore.benchmarks.report import EngineFacts, ModelFacts, Report

STEPS = (0.990, 0.994, 0.997, 0.999, 1.0, 1.001, 1.003, 1.006, 1.01)


def measured(
    model: str,
    engine: str,
    microseconds: float,
    *,
    batch: int = 1,
    threads: int = 1,
    megabytes: float = 5,
    notes: tuple[str, ...] = (),
) -> Cell:
    samples = Samples(tuple(microseconds * 1e-6 * step for step in STEPS))
    return Cell(
        Key(model, engine, batch, threads),
        "measured",
        wall=samples,
        cpu=samples,
        first=1e-3,
        load=0.01,
        convert=2.5,
        memory=Memory(int(megabytes * 1e6), 0.0, 128, 2),
        artefact=90_000,
        notes=notes,
    )  # fmt: skip


def report(cells: list[Cell], machine: Mapping[str, str] | None = None, absent: tuple[str, ...] = ()) -> Report:
    models = dict.fromkeys(cell.key.model for cell in cells)
    engines = dict.fromkeys(cell.key.engine for cell in cells)
    return Report(
        "2026-01-02T03:04:05+00:00",
        machine or {"processor": "One", "cores": "2"},
        {"repetitions": 9},
        tuple(ModelFacts(name, name.upper(), "network", "arXiv:0", 40_000, "PyTorch 2") for name in models),
        tuple(
            EngineFacts(name, name.capitalize(), "" if name in absent else "1.0", "native", "inside", f"pip install {name}",
                        "not installed" if name in absent else "")
            for name in engines
        ),
        tuple(cells),
    )  # fmt: skip


def small() -> Report:
    """Two models, three engines, two batches; one engine is not here, one answers wrongly."""
    cells = [
        measured("mlp", "own", 0.3, megabytes=0.2),
        measured("mlp", "own", 6.4, batch=64, megabytes=0.4),
        measured("mlp", "onnxruntime_c", 3.9, megabytes=27),
        measured("mlp", "onnxruntime_c", 12.8, batch=64, megabytes=28),
        Cell(Key("mlp", "xla", 1, 1), "absent", "not installed: pip install jax"),
        Cell(Key("mlp", "xla", 64, 1), "absent", "not installed: pip install jax"),
        measured("cnn", "own", 50, megabytes=1),
        measured("cnn", "own", 6400, batch=64, megabytes=3, notes=("spread",)),
        Cell(Key("cnn", "onnxruntime_c", 1, 1), "wrong", "it answers otherwise than PyTorch 2: the output y is off by 0.1"),
        measured("cnn", "onnxruntime_c", 2560, batch=64, megabytes=30),
        Cell(Key("cnn", "xla", 1, 1), "absent", "not installed: pip install jax"),
        Cell(Key("cnn", "xla", 64, 1), "absent", "not installed: pip install jax"),
    ]
    return report(cells, absent=("xla",))
