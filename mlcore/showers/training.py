"""The training of every neural model of showers: one loop, which a kill does not hurt.

Batches and noise are a function of seed and step, so a training that was interrupted goes on to the very weights that it would
have had. A checkpoint holds weights, their running average, the optimiser's state and both configurations, as safetensors.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from mlcore.errors import InputError, MLCoreError
from mlcore.showers.dataset import Records
from mlcore.showers.models.neural import Batch, NeuralModel, read_tensors

CHECKPOINT, CURVES, BEST = "checkpoint.safetensors", "curves.csv", "model.safetensors"
Model = TypeVar("Model", bound=NeuralModel)


class TrainingError(MLCoreError, RuntimeError):
    """A training that cannot go on; the message says what was seen, the hint what to change."""

    code = "showers.training"


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Attributes
    ----------
    steps, batch
        How many batches, and of how many showers.
    learning_rate, warmup, weight_decay
        AdamW's; the rate rises over `warmup` steps and falls as a cosine to 1 % of its height.
    clip
        Largest norm of the gradient.
    average
        Decay of the running average of the weights, which is the model that results.
    validation
        Share of the showers that is kept for the validation loss, from the sample's end.
    report_every, save_every
        Steps between lines of the curves, and between checkpoints.
    device
        ``"auto"`` takes a GPU where there is one.
    precision
        ``"float32"``, or ``"bfloat16"`` for mixed precision.
    """

    steps: int = 20_000
    batch: int = 128
    learning_rate: float = 1e-3
    warmup: int = 500
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999
    validation: float = 0.05
    report_every: int = 100
    save_every: int = 1_000
    seed: int = 1
    device: str = "auto"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.report_every, self.save_every) < 1 or self.warmup < 0:
            raise InputError("a training needs steps, batches and reports of at least 1", hint="Keep the defaults.")
        if not (
            self.learning_rate > 0
            and self.clip > 0
            and self.weight_decay >= 0
            and 0 <= self.average < 1
            and 0 <= self.validation < 1
        ):
            raise InputError("a rate, share or limit of the training is out of its range", hint="Keep the defaults.")
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"there is no precision {self.precision!r}", hint="Choose float32 or bfloat16.")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to.

    Attributes
    ----------
    finished
        False where it was cancelled; the same call goes on with it.
    step
        Steps that are done.
    loss, validation_loss
        The last reported ones.
    seconds
        Of this call.
    """

    finished: bool
    step: int
    loss: float
    validation_loss: float | None
    seconds: float


def train(
    model: Model,
    records: Records,
    folder: Path,
    config: TrainingConfig | None = None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> TrainingResult:
    """Train a model in place, or go on with the training in `folder`.

    The folder gets `checkpoint.safetensors`, `curves.csv` (and TensorBoard's events where that is installed) and, whenever a
    checkpoint is written, `model.safetensors`: the averaged weights, which the model has in the end as well.

    Parameters
    ----------
    cancelled
        Asked before each step.
    progress
        Called with the number of steps that are done and a line of the curves.

    Raises
    ------
    InputError
        Showers that do not fit the model, or a folder with another training.
    TrainingError
        The loss is not finite.
    """
    config = config or TrainingConfig()
    started = time.monotonic()
    device = _device(config.device)
    data = model.training_batch(model.batch(records))
    held = int(len(data) * config.validation)
    training, validation = data[: len(data) - held], data[len(data) - held :]
    if not len(training):
        raise InputError("there are no showers to train on", hint="Give more showers.", code="showers.few")
    model.to(device).train()
    if not (folder / CHECKPOINT).exists():
        model.prepare(training)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
    )
    folder.mkdir(parents=True, exist_ok=True)
    step = _resume(folder, model, average, optimizer, config)
    loss, validation_loss = math.nan, None

    with ExitStack() as stack:
        curves = stack.enter_context(_Curves(folder, step))
        while step < config.steps:
            if cancelled():
                _save(folder, model, average, optimizer, config, step)
                return TrainingResult(False, step, loss, validation_loss, time.monotonic() - started)
            batch = training[_rows(config, step, len(training))].to(device)
            for group in optimizer.param_groups:
                group["lr"] = config.rate(step)
            with _precision(config, device):
                parts = model.loss(batch, _generator(config, step, device))
            total = torch.stack(list(parts.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            total, parts = total.detach(), {name: part.detach() for name, part in parts.items()}
            if not (math.isfinite(float(total)) and math.isfinite(float(norm))):
                raise _diagnosis(step, parts, float(norm), batch, model, config)
            optimizer.step()
            _update(average, model, min(config.average, (step + 1) / (step + 10)))
            step += 1
            if step % config.report_every == 0 or step == config.steps:
                loss = float(total)
                line = {
                    "loss": loss,
                    **{name: float(part) for name, part in parts.items()},
                    "gradient": float(norm),
                    "rate": config.rate(step - 1),
                }
                if held:
                    validation_loss = _validate(model, average, validation, config, device)
                    line["validation"] = validation_loss
                curves.add(step, line)
                if progress:
                    progress(step, line)
            if step % config.save_every == 0 or step == config.steps:
                _save(folder, model, average, optimizer, config, step)
    model.load_state_dict(average)
    model.eval()
    return TrainingResult(True, step, loss, validation_loss, time.monotonic() - started)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"the device {name!r} cannot be used: {error}", hint="Choose auto or cpu.") from error
    return device


def _precision(config: TrainingConfig, device: torch.device) -> Any:
    return torch.autocast(device.type, torch.bfloat16) if config.precision == "bfloat16" else nullcontext()


def _rows(config: TrainingConfig, step: int, count: int) -> Tensor:
    """The showers of a step: each epoch an order of its own, of which the last, incomplete batch is left out."""
    size = min(config.batch, count)
    epoch, number = divmod(step, count // size)
    order = np.random.default_rng((config.seed, 0, epoch)).permutation(count)
    return torch.from_numpy(order[number * size : (number + 1) * size])


def _generator(config: TrainingConfig, step: int, device: torch.device) -> torch.Generator:
    seed = int(np.random.SeedSequence((config.seed, 1, step)).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device).manual_seed(seed)


@torch.no_grad()
def _update(average: dict[str, Tensor], model: NeuralModel, decay: float) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


@torch.no_grad()
def _validate(model: NeuralModel, average: dict[str, Tensor], data: Batch, config: TrainingConfig, device: torch.device) -> float:
    """The averaged weights' loss of the showers that were kept, with the same noise each time."""
    own = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average)
    model.eval()
    total = 0.0
    for at in range(0, len(data), config.batch):
        part = data[at : at + config.batch].to(device)
        parts = model.loss(part, _generator(config, -1 % 2**32 - at, device))
        total += float(torch.stack(list(parts.values())).sum()) * len(part)
    model.load_state_dict(own)
    model.train()
    return total / len(data)


def _diagnosis(
    step: int, parts: dict[str, Tensor], norm: float, batch: Batch, model: NeuralModel, config: TrainingConfig
) -> TrainingError:
    """What is not finite, and what is likely to be the reason."""
    wrong = [name for name, part in parts.items() if not math.isfinite(float(part))]
    weights = [name for name, value in model.named_parameters() if not bool(torch.isfinite(value).all())]
    gradients = [
        name for name, value in model.named_parameters() if value.grad is not None and not bool(torch.isfinite(value.grad).all())
    ]
    seen = f"step {step}: "
    if weights:
        seen += f"weights are not finite, first {weights[0]}"
    elif wrong:
        seen += f"the loss is not finite in {', '.join(wrong)}"
    else:
        seen += f"the gradient is not finite, first in {gradients[0] if gradients else 'none of the weights'}"
    largest = float((batch.showers.flatten(1).sum(dim=1) / batch.energy).max())
    seen += f"; learning rate {config.rate(step):.3g}, gradient {norm:.3g}"
    seen += f", largest energy of a shower over its particle's {largest:.3g}"
    if largest > 100:
        hint = "Showers hold far more energy than their particles: check the units, MeV, of both."
    elif config.precision != "float32":
        hint = "Train with float32, or lower the learning rate."
    else:
        hint = "Lower the learning rate or lengthen the warm-up; the last checkpoint is kept, and a new folder starts anew."
    return TrainingError(seen, hint=hint)


def _save(
    folder: Path,
    model: NeuralModel,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    step: int,
) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
    own = {"model": model.slug, "config": json.dumps(asdict(model.config))}
    description = {**own, "training": json.dumps(asdict(config)), "step": str(step)}
    _replace(folder / CHECKPOINT, tensors, description)
    _replace(folder / BEST, average, own)


def _replace(path: Path, tensors: dict[str, Tensor], description: dict[str, str]) -> None:
    """Write a file that is whole or not there."""
    unfinished = path.with_suffix(".unfinished")
    save_file(
        {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, unfinished, metadata=description
    )
    unfinished.replace(path)


def _resume(
    folder: Path, model: NeuralModel, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, config: TrainingConfig
) -> int:
    """The step that the folder's training has come to; 0 where there is none."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    tensors, description = read_tensors(path)
    same = (
        description.get("model") == model.slug
        and json.loads(description.get("config", "null")) == json.loads(json.dumps(asdict(model.config)))
        and json.loads(description.get("training", "null")) == json.loads(json.dumps(asdict(config)))
    )
    if not same:
        raise InputError(
            f"{folder} holds a training of another model or with other options",
            hint="Choose another folder, or the options that it was begun with.",
            code="showers.resume",
        )
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        parts[kind][rest] = value
    model.load_state_dict(parts["model"])
    for name, value in parts["average"].items():
        average[name].copy_(value)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimizer"].items():
        number, _, kind = name.partition(".")
        state.setdefault(int(number), {})[kind] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return int(description["step"])


class _Curves:
    """Lines of a CSV file and, where it is installed, of TensorBoard; lines after the step that is gone on from are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        self.path, self.folder, self.step = folder / CURVES, folder, step
        self.writer: Any = None

    def __enter__(self) -> _Curves:
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            kept = [row for row in rows if int(row["step"]) <= self.step]
            self.path.unlink()
            for row in kept:
                self._append(row)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return self
        self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step + 1)
        return self

    def add(self, step: int, line: dict[str, float]) -> None:
        self._append({"step": step, **line})
        if self.writer is not None:
            for name, value in line.items():
                self.writer.add_scalar(name, value, step)

    def _append(self, row: dict[str, Any]) -> None:
        fresh = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()
