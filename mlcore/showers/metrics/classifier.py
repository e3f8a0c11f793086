"""AUC of a network that learns to tell a model's showers from the truth's: 0.5 where it cannot, 1 where it always can.

The network, its training and its split are the CaloChallenge's: two samples in thirds of 60, 20 and 20 %, three hidden layers of
512 with leaky ReLU, Adam at 2e-4, batches of 1000, 50 epochs. The epoch of the best accuracy on the second part is judged by
the third, which it has never seen.

References
----------
C. Krause et al., arXiv:2410.21611, Sec. 4.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mlcore.errors import InputError
from mlcore.showers.metrics.estimate import Estimate
from mlcore.showers.voxels import Showers, checked_energies

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClassifierConfig:
    """The CaloChallenge's; others are for previews."""

    hidden: int = 512
    hidden_layers: int = 3
    learning_rate: float = 2e-4
    batch: int = 1000
    epochs: int = 50
    split: tuple[float, float, float] = (0.6, 0.2, 0.2)
    seed: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.hidden, self.hidden_layers, self.batch, self.epochs) < 1 or not self.learning_rate > 0:
            raise InputError("a classifier needs layers, batches, epochs and a learning rate above 0", hint="Keep the defaults.")
        if min(self.split) <= 0 or abs(sum(self.split) - 1) > 1e-9:
            raise InputError(f"the parts {self.split} do not add up to 1", hint="Give three shares, such as 0.6, 0.2 and 0.2.")


@dataclass(frozen=True)
class ClassifierResult:
    """Of the last part of the split.

    Attributes
    ----------
    auc
        With the error of a bootstrap of that part's showers.
    accuracy
        The share told right.
    divergence
        Jensen-Shannon's, from the cross-entropy: 0 where nothing is told apart, 1 where everything is. Of a network that is not
        calibrated, it may be below 0.
    best_epoch
        From 1 on.
    showers
        Of each sample, in all three parts.
    """

    auc: Estimate
    accuracy: float
    divergence: float
    best_epoch: int
    showers: int


def low_level(incident: npt.ArrayLike, showers: Showers, *, threshold: float = 0.0) -> Array:
    """log10 of the particle's energy (MeV), and every voxel in percent of it: float32, shape (n_showers, 1 + n_voxels)."""
    energies = checked_energies(incident, len(showers))[:, None]
    voxels = showers.reshape(len(showers), -1)
    if threshold > 0:
        voxels = np.where(voxels < threshold, np.float32(0), voxels)
    return np.concatenate([np.log10(energies).astype(np.float32), (100 * voxels / energies).astype(np.float32)], axis=1)


def auc(scores_truth: npt.ArrayLike, scores_model: npt.ArrayLike) -> float:
    """The chance that a shower of the truth has the higher score; equal ones count half.

    Examples
    --------
    >>> auc([1, 2], [0, 0.5]), auc([0, 0], [0, 0])
    (1.0, 0.5)
    """
    first, second = np.asarray(scores_truth), np.sort(np.asarray(scores_model))
    below = np.searchsorted(second, first, "left") + np.searchsorted(second, first, "right")
    return float(below.sum() / (2 * len(first) * len(second)))


def train_classifier(
    truth: npt.NDArray[np.floating],
    model: npt.NDArray[np.floating],
    config: ClassifierConfig | None = None,
    *,
    progress: Callable[[float], None] | None = None,
) -> ClassifierResult:
    """Train on rows of features of the truth and of a model, as many of each.

    Parameters
    ----------
    truth, model
        Shape (n_showers, n_features), as `low_level` and `Features.table` give them. The larger sample is cut to the smaller one.
    progress
        Called with the share of the epochs that is done.

    Raises
    ------
    InputError
        Fewer than 10 showers, other numbers of features, or values that are not finite.
    """
    config = config or ClassifierConfig()
    count = min(len(truth), len(model))
    if count < 10:
        raise InputError(f"{count} showers cannot train a classifier", hint="Give at least 10 of each sample, better 10 000.")
    if truth.shape[1:] != model.shape[1:]:
        raise InputError(
            f"features of shapes {truth.shape} and {model.shape} cannot be told apart", hint="Use the same for both."
        )
    rng = np.random.default_rng(config.seed)
    halves = [torch.from_numpy(np.asarray(rows, np.float32)[rng.permutation(len(rows))[:count]]) for rows in (truth, model)]
    if not all(bool(torch.isfinite(rows).all()) for rows in halves):
        raise InputError("features hold NaN or infinity", hint="Leave such showers out.")
    ends = (np.cumsum(config.split) * count).astype(int)
    edges = [0, ends[0], ends[1], count]
    parts = [[rows[a:b].to(config.device) for rows in halves] for a, b in pairwise(edges)]
    training, choosing, judging = parts
    x = torch.cat(training)
    y = torch.cat([torch.ones(len(training[0])), torch.zeros(len(training[1]))]).to(config.device)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = _network(x.shape[1], config).to(config.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        best, best_epoch, best_state = -1.0, 0, copy.deepcopy(network.state_dict())
        for epoch in range(1, config.epochs + 1):
            order = torch.randperm(len(x)).to(config.device)
            for start in range(0, len(x), config.batch):
                rows = order[start : start + config.batch]
                loss = nn.functional.binary_cross_entropy_with_logits(network(x[rows])[:, 0], y[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            accuracy = _accuracy(*(_scores(network, rows, config) for rows in choosing))
            if accuracy > best:
                best, best_epoch, best_state = accuracy, epoch, copy.deepcopy(network.state_dict())
            if progress:
                progress(epoch / config.epochs)
            if accuracy == 1:
                break
    network.load_state_dict(best_state)
    scores = [_scores(network, rows, config) for rows in judging]
    entropy = float(np.mean(np.logaddexp(0, -scores[0])) + np.mean(np.logaddexp(0, scores[1]))) / 2
    return ClassifierResult(
        auc=_bootstrapped(scores[0], scores[1], config.seed),
        accuracy=_accuracy(*scores),
        divergence=1 - entropy / float(np.log(2)),
        best_epoch=best_epoch,
        showers=count,
    )


def _network(inputs: int, config: ClassifierConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(config.hidden_layers):
        layers += [nn.Linear(inputs, config.hidden), nn.LeakyReLU()]
        inputs = config.hidden
    return nn.Sequential(*layers, nn.Linear(inputs, 1))


def _scores(network: nn.Module, rows: torch.Tensor, config: ClassifierConfig) -> npt.NDArray[np.float64]:
    with torch.no_grad():
        parts = [network(rows[at : at + config.batch])[:, 0].double().cpu() for at in range(0, len(rows), config.batch)]
    scores: npt.NDArray[np.float64] = torch.cat(parts).numpy()
    return scores


def _accuracy(truth: npt.NDArray[np.float64], model: npt.NDArray[np.float64]) -> float:
    return float((truth > 0).mean() + (model <= 0).mean()) / 2


def _bootstrapped(truth: npt.NDArray[np.float64], model: npt.NDArray[np.float64], seed: int, rounds: int = 50) -> Estimate:
    rng = np.random.default_rng(seed)
    values = [auc(rng.choice(truth, len(truth)), rng.choice(model, len(model))) for _ in range(rounds)]
    return Estimate(auc(truth, model), float(np.std(values, ddof=1)))
