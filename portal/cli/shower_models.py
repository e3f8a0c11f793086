"""``ml4ep showers``, models: train, distill, adapt, sample, evaluate, export, on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from portal.cli import console
from portal.cli.errors import CommandError
from portal.cli.showers import Out, Seed, app

__all__ = ["app"]

if TYPE_CHECKING:
    from mlcore.showers.dataset import Records
    from mlcore.showers.training import TrainingConfig, TrainingResult

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="HDF5 files of showers.", show_default=False)]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A saved model, or the name of a shipped network.", show_default=False)
]
Steps = Annotated[int, typer.Option("--steps", metavar="N", help="Batches.")]
BatchSize = Annotated[int, typer.Option("--batch", metavar="N", help="Showers of a batch.")]
Rate = Annotated[float, typer.Option("--rate", metavar="X", help="Largest learning rate.")]
Average = Annotated[float, typer.Option("--average", metavar="X", help="Decay of the weights' running average.")]
Precision = Annotated[Literal["float32", "bfloat16"], typer.Option("--precision", metavar="NAME", help="float32 or bfloat16.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A size of the model, such as width=96. Once for each."),
]


@app.command()
def train(
    model: Annotated[Literal["vae", "transformer"], typer.Argument(metavar="MODEL", help="vae or transformer.")],
    files: Files,
    out: Out,
    steps: Steps = 20_000,
    batch: BatchSize = 128,
    rate: Rate = 1e-3,
    average: Average = 0.999,
    precision: Precision = "float32",
    setting: Settings = None,
    threshold: Annotated[float, typer.Option("--threshold", metavar="MEV", help="Voxels below it are empty.")] = 0.0,
    start: Annotated[str, typer.Option("--start", metavar="MODEL", help="Begin with its weights.")] = "",
    seed: Seed = 1,
    as_json: console.AsJson = False,
) -> None:
    """Train a network on showers.

    The same command goes on where it was interrupted.

    \b
    Examples:
      ml4ep showers train vae train/*.h5 --out vae --threshold 0.01515
      ml4ep showers train transformer train/*.h5 --out teacher --set width=96 --set depth=3
    """
    import torch

    from mlcore.showers.models.neural import NeuralModel
    from mlcore.showers.models.transformer import Transformer, fitting_patch
    from mlcore.showers.models.vae import VAE
    from mlcore.showers.shipped import load_network

    records = _records(files)
    kinds: dict[str, type[NeuralModel]] = {"vae": VAE, "transformer": Transformer}
    config_type: Any = kinds[model].config_type
    sizes = _settings(setting, config_type)
    if model == "transformer":
        sizes.setdefault("patch", fitting_patch(records.voxels.shape))
    config = config_type(records.voxels, *_range(records), geometries=records.geometries, threshold=threshold, **sizes)
    torch.manual_seed(seed)
    network = kinds[model](config)
    if start:
        begun = load_network(start)
        try:
            network.load_state_dict(begun.state_dict())
        except RuntimeError as error:
            raise CommandError(f"the weights of {start} do not fit the model: {error}") from error
    _train(network, records, out, _training(steps, batch, rate, average, precision, seed), as_json)


@app.command()
def distill(
    teacher: Model,
    files: Files,
    out: Out,
    parts: Annotated[int, typer.Option("--parts", metavar="N", help="Evaluations for a shower, 1 to 4.")] = 1,
    noises: Annotated[int, typer.Option("--noises", metavar="N", help="The teacher's showers for each particle.")] = 1,
    steps: Steps = 5_000,
    batch: BatchSize = 128,
    rate: Rate = 5e-4,
    average: Average = 0.999,
    precision: Precision = "float32",
    seed: Seed = 1,
    as_json: console.AsJson = False,
) -> None:
    """Distil a transformer to one to four steps.

    Particles are those of the files; showers are the teacher's.

    \b
    Example:
      ml4ep showers distill teacher/model.safetensors train/*.h5 --out student
    """
    from mlcore.showers.models.distilled import Distilled
    from mlcore.showers.models.transformer import Transformer
    from mlcore.showers.shipped import load_network

    found = load_network(teacher)
    if not isinstance(found, Transformer) or isinstance(found, Distilled):
        raise CommandError(f"{teacher} is a {found.slug}; only a transformer can be distilled")
    student = Distilled.of(found, parts=parts, noises=noises)
    _train(student, _records(files), out, _training(steps, batch, rate, average, precision, seed), as_json)


@app.command()
def adapt(
    model: Model,
    files: Files,
    out: Out,
    method: Annotated[
        Literal["full", "bias", "low-rank"], typer.Option("--method", metavar="NAME", help="full, bias or low-rank.")
    ] = "full",
    rank: Annotated[int, typer.Option("--rank", metavar="N", help="Of low-rank changes.")] = 8,
    curve: Annotated[
        list[Path] | None,
        typer.Option("--curve", metavar="FILE", help="Showers to measure with: compares all methods with training from scratch."),
    ] = None,
    steps: Steps = 2_000,
    batch: BatchSize = 128,
    rate: Rate = 5e-4,
    average: Average = 0.99,
    precision: Precision = "float32",
    seed: Seed = 1,
    as_json: console.AsJson = False,
) -> None:
    """Adapt a network to another calorimeter.

    With --curve, on 100, 300, 1000 and more of its showers, and from scratch on as many; writes curve.json.

    \b
    Examples:
      ml4ep showers adapt teacher/model.safetensors lead/*.h5 --out adapted --method low-rank
      ml4ep showers adapt teacher/model.safetensors lead/*.h5 --curve test.h5 --out curve
    """
    from mlcore.showers import adaptation
    from mlcore.showers.shipped import load_network

    network, records = load_network(model), _records(files)
    config = _training(steps, batch, rate, average, precision, seed)
    if curve:
        with console.Bar() as bar:
            found = adaptation.learning_curve(network, records, _records(curve), out, config, rank=rank, progress=bar)
        (out / "curve.json").write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
        if as_json:
            console.say_json(found.to_json())
            return
        rows = [
            (p.method, f"{p.showers}", f"{1000 * p.fpd:.3g}", f"{1000 * p.fpd_error:.2g}", f"{p.validation_loss:.4g}")
            for p in found.points
        ]
        console.table(("method", "showers", "FPD x 1000", "error", "validation"), rows, numeric=(1, 2, 3, 4))
        return
    with console.Bar() as bar:
        adapted = adaptation.adapt(network, records, out, config, method=method, rank=rank, progress=_shown(bar, config.steps))
    _say_result(adapted.result, out, {"method": method, "numbers trained": adapted.trained}, as_json)


@app.command()
def sample(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="An HDF5 file to write.", show_default=False)],
    showers: Annotated[int, typer.Option("--showers", "-n", metavar="N", help="How many.")] = 1000,
    energy: Annotated[tuple[float, float], typer.Option("--energy", metavar="LOW HIGH", help="GeV, evenly in ln E.")] = (
        1.0,
        100.0,
    ),
    like: Annotated[list[Path] | None, typer.Option("--like", metavar="FILE", help="Particles of these showers.")] = None,
    seed: Seed = 1,
    as_json: console.AsJson = False,
) -> None:
    """Make showers with a model.

    \b
    Examples:
      ml4ep showers sample dataset2-student --showers 1000 --out student.h5
      ml4ep showers sample model.npz --like test.h5 --out model.h5
    """
    import numpy as np

    from mlcore.showers.dataset import Records, write
    from mlcore.showers.models.neural import NeuralModel
    from mlcore.showers.shipped import load_model

    found: Any = load_model(model)
    given = _records(like) if like else None
    if given is not None:
        energies = given.energy
    else:
        energies = 1e3 * energy[0] * (energy[1] / energy[0]) ** np.random.default_rng(seed).random(showers)
    if isinstance(found, NeuralModel):
        conditions: dict[str, Any] = {} if given is None else {"theta": given.theta, "phi": given.phi, "particle": given.particle}
        made = found.sample(energies, seed=seed, **conditions)
        voxels, name = found.config.voxels, found.config.geometries[0]
    else:
        made = found.sample(energies, seed=seed)
        voxels, name = getattr(found, "voxels", None) or found.config.voxels, "unknown"
    write(out, Records.of(made, energies, voxels, geometries=(name,)), metadata={"model": found.slug, "seed": seed})
    response = float((made.sum(axis=(1, 2, 3), dtype=float) / energies).mean()) if len(made) else 0.0
    if as_json:
        console.say_json({"file": out, "showers": len(made), "response": response})
    else:
        console.say(f"{len(made)} showers in {out}; response {response:.4f}")


@app.command()
def evaluate(
    model: Model,
    truth: Annotated[list[Path], typer.Option("--truth", metavar="FILE", help="Showers of the full simulation.")],
    out: Out,
    second: Annotated[list[Path] | None, typer.Option("--second", metavar="FILE", help="More of them, for the floor.")] = None,
    training: Annotated[list[Path] | None, typer.Option("--training", metavar="FILE", help="What it was trained on.")] = None,
    classifiers: Annotated[bool, typer.Option("--classifiers/--no-classifiers", help="Train networks for the AUC.")] = True,
    threshold: Annotated[float, typer.Option("--threshold", metavar="MEV", help="Voxels below it are empty.")] = 0.0,
    seed: Seed = 1,
    as_json: console.AsJson = False,
) -> None:
    """Measure a model against the full simulation.

    Writes report.json and report.pdf.

    \b
    Example:
      ml4ep showers evaluate model.npz --truth test.h5 --second more.h5 --threshold 0.01515 --out report
    """
    from mlcore.showers.metrics.classifier import ClassifierConfig
    from mlcore.showers.metrics.figures import save_pdf
    from mlcore.showers.metrics.report import EvaluationConfig, Sample
    from mlcore.showers.metrics.report import evaluate as measure
    from mlcore.showers.metrics.timing import time_per_shower
    from mlcore.showers.models.neural import NeuralModel
    from mlcore.showers.shipped import load_model

    found: Any = load_model(model)
    records = _records(truth)
    others = [None if not paths else _records(paths) for paths in (second, training)]
    counts = [len(records), *([len(others[0])] if others[0] is not None else [])]
    conditions = {"theta": records.theta, "phi": records.phi, "particle": records.particle}
    made = found.sample(records.energy, seed=seed, **(conditions if isinstance(found, NeuralModel) else {}))
    few = min(counts)
    config = EvaluationConfig(
        threshold=threshold,
        classifiers=classifiers,
        classifier=ClassifierConfig(batch=min(1000, max(few // 10, 10))),
        frechet_least=min(20_000, max(few // 3, 2)),
        frechet_most=min(50_000, few),
        kernel_size=min(5_000, few),
        seed=seed,
    )
    samples = [None if other is None else Sample(other.energy, other.showers) for other in others]
    with console.Bar() as bar:
        report = measure(
            Sample(records.energy, records.showers), Sample(records.energy, made), records.voxels,
            second_truth=samples[0], training=samples[1], config=config,
            parameters=getattr(found, "parameters_count", getattr(found, "parameters", None)),
            timings=time_per_shower(lambda energies: found.sample(energies, seed=seed), records.energy, repeats=5),
            progress=bar,
        )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    report.save(out / "report.json")
    save_pdf(report, out / "report.pdf")
    figures = {"AUC, voxels": report.auc_low, "AUC, features": report.auc_high, "FPD": report.fpd, "KPD": report.kpd}
    if as_json:
        console.say_json(json.loads(report.to_json()))
        return
    rows = []
    for title, value in figures.items():
        if value is not None:
            floor = "" if value.floor is None else f"{value.floor:.4g}"
            rows.append((title, f"{value.value:.4g}", f"{value.error:.2g}", floor))
    rows += [(f"ms a shower, {timing.batch} at once", f"{timing.milliseconds:.3g}", "", "") for timing in report.timings]
    console.table(("measure", "value", "error", "floor"), rows, numeric=(1, 2, 3))


@app.command()
def export(
    model: Model,
    out: Out,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the C++ code.")] = "showers",
    onnx: Annotated[bool, typer.Option("--onnx", help="Write an ONNX file only.")] = False,
    as_json: console.AsJson = False,
) -> None:
    """Turn a network into C++, or ONNX.

    C++ is compared with ONNX Runtime before it is handed out.

    \b
    Example:
      ml4ep showers export dataset2-student --out cpp
    """
    from mlcore.showers.export import save_cpp, save_onnx
    from mlcore.showers.shipped import load_network

    network = load_network(model)
    out.mkdir(parents=True, exist_ok=True)
    if onnx:
        path = out / f"{name}.onnx"
        save_onnx(network, path)
        facts = {"file": str(path)}
    else:
        with console.Bar() as bar:
            code = save_cpp(network, out, name=name, timed=True, progress=bar)
        largest = max((agreement.max_difference for agreement in code.report.agreements), default=0.0)
        facts = {
            "folder": str(code.folder),
            "archive": str(code.archive),
            "compared with": code.report.oracle,
            "largest difference": f"{largest:.3g} MeV",
            "ms a shower": f"{1e3 * code.report.timings[0].seconds:.3g}" if code.report.timings else "",
        }
    if as_json:
        console.say_json(facts)
    else:
        console.pairs(facts)


def _records(files: list[Path]) -> Records:
    from mlcore.showers.dataset import Records, ShowerFile

    return Records.joined(ShowerFile.open(path).read() for path in files)


def _range(records: Records) -> tuple[float, float]:
    """The energies of some records: as they were asked for, where those are round numbers of GeV."""
    low, high = float(records.energy.min()), float(records.energy.max())
    wide = 1e3 * round(low / 1e3), 1e3 * round(high / 1e3)
    lowest = wide[0] if 0 < wide[0] <= low < 1.05 * wide[0] else low
    return lowest, wide[1] if wide[1] / 1.05 < high <= wide[1] else high


def _settings(given: list[str] | None, config_type: Any) -> dict[str, Any]:
    """Sizes of a model from NAME=VALUE; lists are tuples."""
    known = {field.name: field.type for field in fields(config_type)}
    for name in ("voxels", "lowest", "highest", "geometries", "threshold"):
        del known[name]
    found = {}
    for text in given or ():
        name, _, value = text.partition("=")
        if name not in known:
            raise CommandError(f"the model has no size {name!r}; it has {', '.join(sorted(known))}")
        try:
            number = value if known[name] == "str" else json.loads(value)
        except ValueError as error:
            raise CommandError(f"{value!r} is no number; write {name}=4, or {name}=[3,8,9] for several") from error
        found[name] = tuple(number) if isinstance(number, list) else number
    return found


def _training(steps: int, batch: int, rate: float, average: float, precision: str, seed: int) -> TrainingConfig:
    from mlcore.showers.training import TrainingConfig

    return TrainingConfig(
        steps=steps, batch=batch, learning_rate=rate, warmup=min(500, steps // 20), average=average, precision=precision,
        report_every=max(1, min(100, steps // 10)), save_every=max(1, min(1_000, steps // 4)), seed=seed,
    )  # fmt: skip


def _shown(bar: console.Bar, steps: int) -> Callable[[int, dict[str, float]], None]:
    return lambda step, line: bar(step / steps, f"step {step} of {steps}, loss {line['loss']:.4g}")


def _train(network: Any, records: Records, out: Path, config: TrainingConfig, as_json: bool) -> None:
    from mlcore.showers.training import train as run

    with console.Bar() as bar:
        result = run(network, records, out, config, progress=_shown(bar, config.steps))
    _say_result(result, out, {"model": network.slug, "parameters": network.parameters_count, "showers": len(records)}, as_json)


def _say_result(result: TrainingResult, out: Path, more: dict[str, Any], as_json: bool) -> None:
    from mlcore.showers.training import BEST

    facts = {
        **more,
        "steps": result.step,
        "loss": result.loss,
        "validation loss": result.validation_loss,
        "seconds": round(result.seconds, 1),
        "file": str(out / BEST),
    }
    if as_json:
        console.say_json(facts)
    else:
        console.pairs({key: str(value) for key, value in facts.items()})
