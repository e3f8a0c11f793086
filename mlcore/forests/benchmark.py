"""How fast a forest predicts here, beside every installed program that can: answers first, then times.

All contenders predict the same rows through Python, in turn, again and again, so that a noisy moment of the machine hits all of
them; medians and quartiles are kept. A contender whose answers differ is named and not timed.

Public names: `benchmark` gives a `Benchmark`; `made_rows` rows from a model's own thresholds.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlcore.errors import InputError, VerificationError
from mlcore.forests.forest import load
from mlcore.forests.frontends import Iterations
from mlcore.forests.ir import TreeModel
from mlcore.forests.peers import PEERS, SOURCES, AbsentError, Peer, Predict, Setting, first_line

OWN = "own"
OWN_TITLE = "ML4EP"
TOLERANCE = 5e-5
"""Relative to ``1 + |prediction|``: peers sum float32 in orders of their own. One wrong leaf is nearly always more."""

CHECKED_ROWS = 4096
SAMPLE_SECONDS = 0.02
LEAST_SAMPLES, MOST_SAMPLES = 5, 31
MOST_CALLS = 100_000
MOST_BATCHES = 64
"""Different batches that are predicted in turn, so that no contender learns one by heart."""

Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Contender:
    """A program that was timed.

    Attributes
    ----------
    key, title, version, note
        As of `mlcore.forests.peers.Peer`; ``"own"`` is this project's predictor.
    open_seconds
        From the model file to the first prediction, conversions and compilers included, the import of the library not.
    identical
        Fraction of the compared numbers that are equal to the reference's bit for bit, once both have its precision.
    largest_difference
        Relative to ``1 + |prediction|``.
    """

    key: str
    title: str
    version: str
    note: str
    open_seconds: float
    identical: float
    largest_difference: float


@dataclass(frozen=True)
class Absence:
    """A program that was not timed, with the reason and, where it is not installed, how to install it."""

    key: str
    title: str
    reason: str
    install: str = ""


@dataclass(frozen=True)
class Timing:
    """One contender at one size of batch, in microseconds per row: the median of the samples, and the quartiles around it."""

    key: str
    batch: int
    median: float
    lower: float
    upper: float
    samples: int


@dataclass(frozen=True)
class Benchmark:
    """What was measured, and under which conditions.

    Attributes
    ----------
    reference
        Key of the contender whose answers and times the others are held against: the library that trained the model
        where it is installed and reads the file, else this project's predictor.
    rows
        Where the rows come from, in words.
    checked
        How many rows were compared before anything was timed.
    """

    library: str
    n_trees: int
    n_nodes: int
    depth: int
    n_features: int
    threads: int
    reference: str
    rows: str
    dtype: str
    checked: int
    contenders: tuple[Contender, ...]
    absences: tuple[Absence, ...]
    timings: tuple[Timing, ...]

    def timing(self, key: str, batch: int) -> Timing | None:
        """The timing of a contender at a size of batch."""
        return next((one for one in self.timings if (one.key, one.batch) == (key, batch)), None)

    def ratio(self, key: str, batch: int) -> float | None:
        """How many times as long as the reference a contender takes: below 1 is faster."""
        mine, reference = self.timing(key, batch), self.timing(self.reference, batch)
        return mine.median / reference.median if mine and reference else None

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({timing.batch for timing in self.timings}))

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``."""
        return asdict(self)


def benchmark(
    path: Path,
    folder: Path,
    *,
    rows: Rows | None = None,
    batches: Sequence[int] = (1, 64, 10_000),
    threads: int = 1,
    missing: float = 0.0,
    seconds: float = 30.0,
    seed: int = 0,
    iterations: Iterations = "auto",
    peers: Mapping[str, Peer] = PEERS,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    log: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Benchmark:
    """Time a model's predictions.

    Parameters
    ----------
    path
        The model file, of any format that `mlcore.forests.load` reads.
    folder
        Where compiled code of peers may lie; nothing in it is needed afterwards.
    rows
        The rows to predict, shape (n_rows, n_features); made from the model's thresholds where not given.
    batches
        Rows in one call, one size after the other. A size above the number of given rows repeats them.
    threads
        How many threads each call may use.
    missing
        Fraction of missing values in rows that are made here.
    seconds
        About how long the timing takes in all, opening and checking apart.
    seed
        Of the rows that are made here.
    iterations
        As of `mlcore.forests.load`; peers that cannot leave rounds out are named.
    peers
        Who else takes part.
    progress, log
        Told how far it is and what was found.
    clock
        In seconds.

    Returns
    -------
    Benchmark
        With the contenders, those that are absent, and all timings.

    Raises
    ------
    InputError
        The model cannot be read, or the rows do not fit it.
    VerificationError
        This project's predictor disagrees with the library that trained the model.
    """
    progress(0.02, "Reading the model")
    start = clock()
    forest = load(path, iterations=iterations)
    model = forest.model
    given = made_rows(model, max(CHECKED_ROWS, min(max(batches), 100_000)), missing=missing, seed=seed) if rows is None else rows
    given = _fitting(given, model)
    forest.predict(given[:1])
    own_seconds = clock() - start
    log(f"{model.source.library} {model.source.version}: {len(model.trees)} trees, {model.n_nodes} nodes")

    setting = Setting(path, forest, threads, folder)
    source = SOURCES.get(model.source.library, "")
    calls: dict[str, Predict] = {OWN: lambda x: forest.predict(x, threads=threads)}
    opened: dict[str, float] = {OWN: own_seconds}
    absences: list[Absence] = []
    for number, peer in enumerate(sorted(peers.values(), key=lambda one: one.key != source)):
        try:
            peer.load()
            progress(0.05 + 0.2 * number / max(len(peers), 1), f"Opening {peer.title}")
            start = clock()
            call = peer.start(setting)
            call(given[:1])
        except AbsentError as reason:
            absences.append(Absence(peer.key, peer.title, reason.reason, reason.install))
            log(f"{peer.title}: {reason.reason}")
            continue
        except Exception as error:  # a library's own failure, which is no failure of the benchmark
            absences.append(Absence(peer.key, peer.title, f"it fails on these rows: {first_line(error)}"))
            log(f"{peer.title} fails: {first_line(error)}")
            continue
        calls[peer.key], opened[peer.key] = call, clock() - start

    progress(0.26, "Comparing the answers")
    reference = source if source in calls else OWN
    checked = given[:CHECKED_ROWS]
    answers = _answers(calls, checked)
    contenders = []
    for key, (answer, failure) in answers.items():
        title, version, note = _named(key, peers)
        agreement = _agreement(answer, answers[reference][0]) if answer is not None else None
        if agreement is None or agreement[1] > TOLERANCE or not np.isfinite(agreement[1]):
            wrong = failure or _disagreement(agreement, len(checked))
            if key in (OWN, reference) and reference != OWN:
                raise VerificationError(
                    f"the predictor and {_named(reference, peers)[0]} disagree: {wrong}",
                    hint="This is a defect of the project, not of the model; please report it with the model.",
                )
            absences.append(Absence(key, title, wrong))
            log(f"{title} is not timed: {wrong}")
            del calls[key]
            continue
        log(f"{title} {version}: {100 * agreement[0]:.4g} % of the answers identical, largest difference {agreement[1]:.2g}")
        contenders.append(Contender(key, title, version, note, opened[key], *agreement[:2]))

    timings: list[Timing] = []
    for number, batch in enumerate(batches):
        low, share = 0.3 + 0.68 * number / len(batches), 0.68 / len(batches)

        def told(fraction: float, low: float = low, share: float = share, batch: int = batch) -> None:
            what = "single rows" if batch == 1 else f"batches of {batch:,} rows".replace(",", "\u2009")
            progress(low + share * fraction, f"Timing {what}")

        timings += _timed(calls, _chunks(given, batch), batch, seconds / len(batches), clock, told)
    progress(1.0, "Done")
    return Benchmark(
        library=" ".join(part for part in (model.source.library, model.source.version) if part),
        n_trees=len(model.trees),
        n_nodes=model.n_nodes,
        depth=model.depth,
        n_features=model.n_features,
        threads=threads,
        reference=reference,
        rows="made from the model's thresholds" if rows is None else "given",
        dtype=str(given.dtype),
        checked=len(checked),
        contenders=tuple(contenders),
        absences=tuple(absences),
        timings=tuple(timings),
    )


def made_rows(model: TreeModel, n_rows: int, *, missing: float = 0.0, seed: int = 0) -> Rows:
    """Random rows that make a forest work: every gap between two neighbouring thresholds of a feature is met alike.

    Parameters
    ----------
    model
        The tree IR.
    n_rows
        How many.
    missing
        Fraction of NaN.
    seed
        Equal seeds give equal rows.

    Returns
    -------
    ndarray
        Of the model's `threshold_dtype`, shape (n_rows, n_features); all finite but for the NaN. Features without thresholds
        are normally distributed, those that are split by sets hold listed categories and the numbers around them.
    """
    rng = np.random.default_rng(seed)
    thresholds, categories = model.thresholds(), _categories(model)
    rows = np.empty((n_rows, model.n_features), model.threshold_dtype)
    for feature in range(model.n_features):
        if feature in categories:
            column = rng.integers(0, categories[feature] + 2, n_rows).astype(np.float64)
        elif (cuts := _finite(thresholds.get(feature))) is not None:
            width = float(cuts[-1] - cuts[0]) or abs(float(cuts[0])) or 1.0
            edges = np.concatenate([[cuts[0] - 0.1 * width], cuts, [cuts[-1] + 0.1 * width]])
            gap = rng.integers(0, len(edges) - 1, n_rows)
            column = edges[gap] + rng.random(n_rows) * (edges[gap + 1] - edges[gap])
        else:
            column = rng.normal(size=n_rows)
        rows[:, feature] = column
    if missing:
        rows[rng.random(rows.shape) < missing] = np.nan
    return rows


def _finite(cuts: Rows | None) -> npt.NDArray[np.float64] | None:
    """Thresholds between which numbers can be drawn, ascending; None where there are none."""
    if cuts is None:
        return None
    limit = float(np.finfo(cuts.dtype).max) / 8
    kept = cuts[np.abs(cuts) < limit].astype(np.float64)
    return kept if len(kept) else None


def _categories(model: TreeModel) -> dict[int, int]:
    """The largest category that the splits of each feature list."""
    trees = model.trees
    largest: dict[int, int] = {}
    words = np.diff(trees.set_start)
    for node, count in zip(trees.set_node.tolist(), words.tolist(), strict=True):
        feature = int(trees.feature[node])
        largest[feature] = max(largest.get(feature, 0), min(32 * count, 1 << 16))
    return largest


def _fitting(rows: Rows, model: TreeModel) -> Rows:
    """The rows in the model's precision, one after the other in memory."""
    if rows.ndim != 2 or rows.shape[1] != model.n_features:
        raise InputError(
            f"the rows have the shape {rows.shape}, the model needs (n_rows, {model.n_features})",
            hint="One row an event, one column a feature, in the order of the training.",
            code="rows.shape",
        )
    if not len(rows):
        raise InputError("there are no rows", hint="Give a file with at least one.", code="rows.empty")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(rows, model.threshold_dtype)


def _answers(calls: Mapping[str, Predict], rows: Rows) -> dict[str, tuple[Rows | None, str]]:
    """Each contender's predictions, shape (n_rows, n), or what went wrong."""
    found: dict[str, tuple[Rows | None, str]] = {}
    for key, call in calls.items():
        try:
            found[key] = np.asarray(call(rows)).reshape(len(rows), -1), ""
        except Exception as error:
            found[key] = None, f"it fails on these rows: {first_line(error)}"
    return found


def _agreement(answer: Rows | None, reference: Rows | None) -> tuple[float, float, int] | None:
    """The fraction of identical numbers, the largest relative difference, and in how many rows it is too large."""
    if answer is None or reference is None or answer.shape != reference.shape:
        return None
    wanted, found = reference.astype(np.float64), answer.astype(np.float64)
    same = (found.astype(reference.dtype) == reference) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(same, 0.0, np.abs(found - wanted) / (1 + np.abs(wanted)))
    difference = np.where(np.isnan(difference), np.inf, difference)
    wrong = int((difference > TOLERANCE).any(axis=1).sum())
    return float(same.mean()), float(difference.max(initial=0.0)), wrong


def _disagreement(agreement: tuple[float, float, int] | None, n_rows: int) -> str:
    if agreement is None:
        return "its answers have another shape"
    return f"its answers differ in {agreement[2]} of {n_rows} rows, by up to {agreement[1]:.2g}"


def _named(key: str, peers: Mapping[str, Peer]) -> tuple[str, str, str]:
    """Title, version and note of a contender."""
    if key == OWN:
        return OWN_TITLE, "", "this project's predictor"
    return peers[key].title, peers[key].version, peers[key].note


def _chunks(rows: Rows, batch: int) -> list[Rows]:
    """Different batches of so many rows; the rows are repeated where there are too few."""
    if batch > len(rows):
        rows = np.resize(rows, (batch, rows.shape[1]))
    count = max(1, min(MOST_BATCHES, len(rows) // batch))
    return [np.ascontiguousarray(rows[batch * number : batch * (number + 1)]) for number in range(count)]


def _timed(
    calls: Mapping[str, Predict],
    chunks: Sequence[Rows],
    batch: int,
    seconds: float,
    clock: Callable[[], float],
    told: Callable[[float], None],
) -> list[Timing]:
    """All contenders in turn, in another order each time."""
    told(0.0)
    repeats = {key: _repeats(call, chunks, clock) for key, call in calls.items()}
    round_seconds = sum(count * spent for count, spent in repeats.values())
    n_samples = int(np.clip(seconds / max(round_seconds, 1e-9), LEAST_SAMPLES, MOST_SAMPLES))
    samples: dict[str, list[float]] = {key: [] for key in calls}
    keys = list(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for sample in range(n_samples):
            for key in keys[sample % len(keys) :] + keys[: sample % len(keys)]:
                samples[key].append(_once(calls[key], chunks, repeats[key][0], clock) / (repeats[key][0] * batch))
            told((sample + 1) / n_samples)
    finally:
        if collecting:
            gc.enable()
    timings = []
    for key, values in samples.items():
        lower, median, upper = (1e6 * value for value in statistics.quantiles(values, n=4, method="inclusive"))
        timings.append(Timing(key, batch, median, lower, upper, len(values)))
    return timings


def _repeats(call: Predict, chunks: Sequence[Rows], clock: Callable[[], float]) -> tuple[int, float]:
    """How many calls make one sample long enough to be timed, and the seconds of one call; warms up on the way."""
    _once(call, chunks, 1, clock)
    count = 1
    while True:
        spent = _once(call, chunks, count, clock)
        if spent >= SAMPLE_SECONDS / 10 or count >= MOST_CALLS:
            one = max(spent / count, SAMPLE_SECONDS / MOST_CALLS)
            return max(1, round(SAMPLE_SECONDS / one)), one
        count *= 4


def _once(call: Predict, chunks: Sequence[Rows], count: int, clock: Callable[[], float]) -> float:
    """The seconds of so many calls."""
    n_chunks = len(chunks)
    start = clock()
    for number in range(count):
        call(chunks[number % n_chunks])
    return clock() - start
