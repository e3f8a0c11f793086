"""Measures of showers against closed forms: normal distributions, histograms and showers whose figures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mlcore.errors import InputError
from mlcore.showers.metrics.classifier import ClassifierConfig, auc, low_level, train_classifier
from mlcore.showers.metrics.estimate import bootstrap
from mlcore.showers.metrics.features import features
from mlcore.showers.metrics.frechet import frechet_distance, gaussian_distance
from mlcore.showers.metrics.kernel_distance import discrepancy, kernel_distance
from mlcore.showers.metrics.memorisation import memorisation
from mlcore.showers.metrics.neighbours import neighbour_measures
from mlcore.showers.metrics.separation import compare, triangular_discrimination
from mlcore.showers.metrics.timing import time_per_shower
from mlcore.showers.voxels import Voxels

GRID = Voxels((0.0, 1.0, 2.0), 4, (0.0, 2.0, 4.0))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_features_of_showers_by_hand() -> None:
    """Two voxels of equal energy opposite each other: centre 0, width their radius; angles begin at -pi."""
    showers = np.zeros((2, 2, 4, 2))
    showers[0, 0, 0, 1] = showers[0, 0, 2, 1] = 5.0
    showers[1, 1, 1, 0] = 3.0
    found = features([100.0, 200.0], showers, GRID)
    np.testing.assert_allclose(found.layer_energies, [[10, 0], [0, 3]])
    np.testing.assert_allclose(found.total, [10, 3])
    np.testing.assert_allclose(found.sparsity, [[6 / 8, 1], [1, 7 / 8]])
    np.testing.assert_allclose(found.centre_x[0], 0, atol=1e-12)
    diagonal = 3 / math.sqrt(2)
    np.testing.assert_allclose([found.width_x[0, 0], found.width_y[0, 0]], diagonal, rtol=1e-12)
    np.testing.assert_allclose([found.centre_x[1, 1], found.centre_y[1, 1]], [math.cos(-math.pi / 4), math.sin(-math.pi / 4)])
    np.testing.assert_allclose(found.width_x[1], 0, atol=1e-7)
    np.testing.assert_allclose([found.centre_r[0, 0], found.width_r[0, 0]], [3, 0], atol=1e-7)
    table = found.table()
    assert table.shape == (2, 11)
    np.testing.assert_allclose(table[0, :3], [2, 1, -8])
    np.testing.assert_allclose(table[0, 7:9], [diagonal / 100, 0])


def test_a_threshold_empties_voxels() -> None:
    showers = np.full((1, 2, 4, 2), 0.5)
    showers[0, 0, 0, 0] = 2
    found = features([100.0], showers, GRID, threshold=1.0)
    np.testing.assert_allclose(found.layer_energies, [[2, 0]])
    np.testing.assert_allclose(found.sparsity, [[7 / 8, 1]])


@pytest.mark.parametrize(
    ("p", "q", "expected"), [([1, 1], [3, 3], 0), ([1, 0], [0, 9], 1), ([1, 1], [2, 0], 1 / 3), ([2, 1, 1], [1, 1, 2], 1 / 12)]
)
def test_triangular_discrimination_by_hand(p: list[int], q: list[int], expected: float) -> None:
    """Of p, q = (1/2, 1/2), (1, 0): 0.5 (0.25 / 1.5 + 0.25 / 0.5) = 1/3; of the last, 0.5 * 2 * (1/16) / (3/4) = 1/12."""
    assert triangular_discrimination(p, q) == pytest.approx(expected, abs=1e-15)


def test_separation_of_two_samples_of_one_distribution_is_that_of_chance(rng: np.random.Generator) -> None:
    """``E = (k - 1) / 4 (1/n + 1/m)`` for k full bins, to first order; within a quarter for 100 bins. The floor agrees."""
    samples = [rng.random(20_000) for _ in range(3)]
    found = compare("x", "", np.linspace(0, 1, 101), *samples)
    expected = 99 / 4 * (2 / 20_000)
    assert found.separation.value == pytest.approx(expected, rel=0.4)
    assert found.separation.floor == pytest.approx(expected, rel=0.4)
    assert 0 < found.separation.error < expected
    assert found.truth.sum() == found.model.sum() == 20_000


def test_values_outside_of_the_bins_are_counted_at_their_ends() -> None:
    found = compare("x", "", np.array([0.0, 1.0, 2.0]), np.array([-5.0, 0.5]), np.array([7.0, 1.5]))
    np.testing.assert_array_equal(found.truth, [2, 0])
    np.testing.assert_array_equal(found.model, [0, 2])
    assert found.separation.value == 1


def test_the_distance_of_gaussians_is_the_closed_form() -> None:
    """Commuting covariances: ``sum((sqrt a - sqrt b)^2)``. Others: the same in rotated axes. 1e-12 of rounding."""
    a, b, shift = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 9.0]), np.array([1.0, 0.0, -2.0])
    expected = float(shift @ shift) + 2.0
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for r in (np.eye(3), turn):
        found = gaussian_distance(r @ shift, r @ np.diag(a) @ r.T, np.zeros(3), r @ np.diag(b) @ r.T)
        assert found == pytest.approx(expected, rel=1e-12)
    # Of one dimension less than the covariances' size: no root of a negative number
    assert gaussian_distance(np.zeros(2), np.ones((2, 2)), np.zeros(2), np.ones((2, 2))) == pytest.approx(0, abs=1e-7)


def test_fpd_finds_the_distance_of_the_distributions(rng: np.random.Generator) -> None:
    """Shift of 0.3 and width of 1.2 in one of two features, in units of the largest value; within five errors and 2 %."""
    truth, model = rng.normal(size=(60_000, 2)), rng.normal(size=(60_000, 2))
    model[:, 0] = 1.2 * model[:, 0] + 0.3
    largest = np.abs(truth).max(axis=0)
    expected = (0.3**2 + 0.2**2) / largest[0] ** 2
    found = frechet_distance(truth, model, batches=5)
    assert abs(found.value - expected) < 5 * found.error + 0.02 * expected
    # Of the same distribution: nothing but the chance of these finite samples, of order n_features / n.
    assert frechet_distance(truth, rng.normal(size=(60_000, 2)), batches=5).value < 5 * 4 / 60_000


def test_kpd_is_the_closed_form_of_normal_distributions(rng: np.random.Generator) -> None:
    """One feature: E (x y + 1)^4 from the moments of both; the mean of 200 estimates within five standard errors."""
    shift = 0.5

    def mean_kernel(p: tuple[float, ...], q: tuple[float, ...]) -> float:
        return sum(math.comb(4, i) * p[i] * q[i] for i in range(5))

    normal = (1.0, 0.0, 1.0, 0.0, 3.0)
    moved = (1.0, shift, 1 + shift**2, 3 * shift + shift**3, 3 + 6 * shift**2 + shift**4)
    expected = mean_kernel(normal, normal) + mean_kernel(moved, moved) - 2 * mean_kernel(normal, moved)
    values = [discrepancy(rng.normal(size=(100, 1)), rng.normal(shift, size=(120, 1))) for _ in range(200)]
    assert abs(np.mean(values) - expected) < 5 * np.std(values) / np.sqrt(200)


def test_kpd_tells_a_model_from_the_truth(rng: np.random.Generator) -> None:
    truth, same, moved = rng.normal(size=(4_000, 3)), rng.normal(size=(4_000, 3)), rng.normal(0.3, size=(4_000, 3))
    assert abs(kernel_distance(truth, same, size=500).value) < kernel_distance(truth, moved, size=500).value / 5


def test_neighbour_measures_of_one_distribution_and_of_parts_of_it(rng: np.random.Generator) -> None:
    """Density 1 and coverage ``1 - (n - 1)...(n - k) / ((2n - 1)...(2n - k))`` of equal samples (Naeem et al., Eq. 5)."""
    truth, same = rng.normal(size=(2_000, 4)), rng.normal(size=(2_000, 4))
    found = neighbour_measures(truth, same)
    assert found.density.value == pytest.approx(1, abs=0.05)
    n, k = 2_000, 5
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert found.coverage.value == pytest.approx(expected, abs=0.02)
    half = neighbour_measures(truth, same[same[:, 0] > 0])  # a mode is lost
    assert half.recall.value < 0.75 < found.recall.value
    assert half.precision.value == pytest.approx(found.precision.value, abs=0.05)
    far = neighbour_measures(truth, same + 100)
    assert (far.precision.value, far.recall.value, far.density.value, far.coverage.value) == (0, 0, 0, 0)


def test_copies_are_found(rng: np.random.Generator) -> None:
    training, unseen, honest = (rng.normal(size=(2_000, 5)) for _ in range(3))
    assert abs(memorisation(training, unseen, honest).score) < 4
    assert memorisation(training, unseen, honest).copied == pytest.approx(0.01, abs=0.02)
    copier = memorisation(training, unseen, training[:1_000] + 1e-3 * rng.normal(size=(1_000, 5)))
    assert copier.score < -20
    assert copier.copied == 1
    assert memorisation(training, unseen, honest * 3).score > 3


def test_auc_is_the_closed_form_of_normal_distributions(rng: np.random.Generator) -> None:
    """``Phi(d / sqrt 2)`` for a shift of d, within five standard errors of about sqrt(1 / 12 n)."""
    n = 20_000
    found = auc(rng.normal(1, size=n), rng.normal(size=n))
    assert found == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=5 * math.sqrt(1 / (6 * n)))
    assert auc([1, 1], [1]) == 0.5


def test_a_classifier_comes_near_the_best_possible_auc(rng: np.random.Generator) -> None:
    """Two normal distributions 1 apart in one of two features: the best is Phi(1 / sqrt 2) = 0.760."""
    truth, model = rng.normal(size=(3_000, 2)), rng.normal(size=(3_000, 2))
    truth[:, 1] += 1
    before = torch.random.get_rng_state()
    seen: list[float] = []
    config = ClassifierConfig(hidden=16, epochs=8, learning_rate=5e-3, batch=200)
    found = train_classifier(truth, model, config, progress=seen.append)
    assert torch.equal(before, torch.random.get_rng_state())
    best = 0.5 * (1 + math.erf(0.5))
    assert abs(found.auc.value - best) < 5 * found.auc.error
    assert seen[-1] == 1
    assert found.auc.value == train_classifier(truth, model, config).auc.value
    same = train_classifier(truth, rng.normal([0, 1], size=(3_000, 2)), config)
    assert abs(same.auc.value - 0.5) < 5 * same.auc.error
    assert abs(same.divergence) < 0.02
    apart = train_classifier(truth[:200], model[:200] + 20, config)
    assert apart.auc.value == 1
    assert apart.accuracy > 0.95  # of 80 showers; training ends once all of the part that chooses are told right


def test_low_level_features_are_the_challenges() -> None:
    found = low_level([1_000.0], np.full((1, 1, 2, 2), 5.0, np.float32), threshold=1)
    np.testing.assert_allclose(found, [[3, 0.5, 0.5, 0.5, 0.5]])
    assert (low_level([1_000.0], np.full((1, 1, 2, 2), 0.5, np.float32), threshold=1)[0, 1:] == 0).all()


def test_a_bootstrap_gives_the_error_of_a_mean(rng: np.random.Generator) -> None:
    """``sqrt(1/n + 1/m)`` of two means, within 40 % for 100 rounds."""
    found = bootstrap(lambda a, b: float(a.mean() - b.mean()), rng.normal(size=500), rng.normal(size=1_000), rounds=100)
    assert found.error == pytest.approx(math.sqrt(1 / 500 + 1 / 1_000), rel=0.4)
    assert found.floor is None


def test_times_are_those_of_the_batches() -> None:
    sizes: list[int] = []
    found = time_per_shower(lambda energies: sizes.append(len(energies)), [1.0, 2.0], batches=(1, 7), repeats=3)
    assert sizes == [1] * 4 + [7] * 4
    assert [timing.batch for timing in found] == [1, 7]
    assert all(timing.milliseconds >= 0 for timing in found)


def test_wrong_input_is_refused(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(50, 3))
    broken = rows.copy()
    broken[3, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        frechet_distance(rows, broken)
    with pytest.raises(InputError, match="shapes"):
        kernel_distance(rows, rows[:, :2])
    with pytest.raises(InputError, match="no showers"):
        frechet_distance(rows, rows[:0])
    with pytest.raises(InputError, match="NaN"):
        train_classifier(rows, broken)
    with pytest.raises(InputError, match="9 showers"):
        train_classifier(rows, rows[:9])
    with pytest.raises(InputError, match="neighbours"):
        neighbour_measures(rows, rows[:5])
    with pytest.raises(InputError, match="bins"):
        triangular_discrimination([1], [1, 2])
    with pytest.raises(InputError, match="empty"):
        triangular_discrimination([0, 0], [1, 2])
    with pytest.raises(InputError, match="3 incident energies for 2"):
        features([1.0, 2.0, 3.0], np.ones((2, 16)), GRID)
    with pytest.raises(InputError, match="add up"):
        ClassifierConfig(split=(0.5, 0.2, 0.2))
