"""What is found in the data, against NumPy on all of it at once."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcore.batches.transforms import Clip, Impute, Log, MinMax, OneHot, Pipeline, Quantile, Standardize, Step
from mlcore.batches.transforms.fitting import Sample, Statistics, hashed
from mlcore.errors import DataError, InputError

RNG = np.random.default_rng(11)


def blocks_of(n_rows: int = 1000, block_rows: int = 64, **columns: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{name: values[at : at + block_rows] for name, values in columns.items()} for at in range(0, n_rows, block_rows)]


def fitted(
    step: Step | list[Step], values: np.ndarray, *, weights: np.ndarray | None = None, block_rows: int = 64
) -> tuple[Step, ...]:
    columns = {"x": values} if weights is None else {"x": values, "w": weights}
    pipeline = Pipeline({"x": step}).fit(blocks_of(len(values), block_rows, **columns), weight=None if weights is None else "w")
    return pipeline.steps["x"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 10)), min_size=1, max_size=60),
    st.integers(1, 20),
    st.sampled_from([0.0, 1e9]),
)
def test_moments_are_those_of_all_rows_at_once(rows: list[tuple[float, float]], block_rows: int, offset: float) -> None:
    values, weights = np.array(rows).T
    values = values + offset
    if weights.sum() < 1e-3:
        weights = weights + 1
    for given_weights in (None, weights):
        (step,) = fitted(Standardize(), values, weights=given_weights, block_rows=block_rows)
        assert isinstance(step, Standardize)
        mean = np.average(values.astype(np.longdouble), weights=given_weights)
        std = float(np.sqrt(np.average((values.astype(np.longdouble) - mean) ** 2, weights=given_weights)))
        # Relative to how large the values are: their own rounding moves mean and width by that much.
        assert step.mean == pytest.approx(float(mean), rel=1e-13, abs=1e-9)
        assert step.std == pytest.approx(std if std > 1e-7 else step.std, rel=1e-9, abs=3e-7 if offset else 1e-9)


def test_a_narrow_peak_far_from_zero_keeps_its_width() -> None:
    """Sums of squares would lose all digits here: the naive variance of these values is 0 or below."""
    values = 1e9 + RNG.normal(0, 1e-3, 20_000)
    (step,) = fitted(Standardize(), values)
    assert isinstance(step, Standardize)
    assert step.std == pytest.approx(np.std(values - 1e9), rel=1e-12)


def test_what_is_not_finite_does_not_count() -> None:
    values = np.array([1.0, np.nan, 3.0, np.inf, -np.inf, 5.0])
    assert fitted(Standardize(), values)[0] == Standardize(3.0, np.sqrt(8 / 3))
    assert fitted(MinMax(), values)[0] == MinMax(1.0, 5.0)
    assert fitted(Impute("mean"), values)[0] == Impute("mean", 3.0)
    assert fitted(Impute("median"), values)[0] == Impute("median", 3.0)
    assert fitted(OneHot(), values)[0] == OneHot((1.0, 3.0, 5.0))


def test_what_is_imputed_does_not_count_either() -> None:
    values = np.array([np.nan, 1.0, 3.0, np.nan])
    steps = fitted([Impute("mean"), Standardize()], values)
    assert steps == (Impute("mean", 2.0), Standardize(2.0, 1.0))
    assert fitted([Impute(-100.0), Standardize()], values)[1] == Standardize(2.0, 1.0)


def test_a_step_sees_what_those_before_it_give() -> None:
    values = RNG.exponential(10, 500)
    steps = fitted([Impute("mean"), Log(1.0), Clip(high=3.0), MinMax(), Clip(0.1, 0.9)], values)
    given = np.minimum(np.log1p(values + 1), 3)
    assert isinstance(steps[0], Impute)
    assert steps[0].found == pytest.approx(values.mean())
    assert steps[3] == MinMax(given.min(), given.max())


def test_weights_move_means_and_quantiles() -> None:
    values = np.repeat([0.0, 1.0, 2.0], 100)
    weights = np.repeat([0.0, 1.0, 3.0], 100)
    (step,) = fitted(Standardize(), values, weights=weights)
    assert isinstance(step, Standardize)
    assert (step.mean, step.std) == (1.75, pytest.approx(np.sqrt(3) / 4))
    assert fitted(Impute("median"), values, weights=weights)[0] == Impute("median", 2.0)


@pytest.mark.parametrize("block_rows", [1, 7, 100, 5000])
def test_the_sample_is_the_same_however_rows_are_cut(block_rows: int) -> None:
    values = RNG.permutation(5000).astype(float)
    sample = Sample(100)
    for at in range(0, len(values), block_rows):
        sample.add(values[at : at + block_rows], None)
    expected = np.sort(values[np.argsort(hashed(np.arange(5000, dtype=np.uint64)))[:100]])
    found, middles = sample.sorted("x")
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(middles, (np.arange(100) + 0.5) / 100)


def test_the_sample_is_uniform() -> None:
    """Over places and over the values of a column that rises with the row; a fixed hash, so this cannot fail by chance."""
    sample = Sample(10_000)
    for at in range(0, 200_000, 8192):
        sample.add(np.arange(at, min(at + 8192, 200_000), dtype=float), None)
    counts = np.histogram(sample.sorted("x")[0], bins=50, range=(0, 200_000))[0]
    expected = 10_000 / 50
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert 20 < chi_squared < 90  # 49 degrees of freedom


def test_quantiles_of_few_rows_are_exact() -> None:
    values = RNG.normal(size=999)
    found = Statistics("x", "sample")
    found.add(values, None)
    shares = np.linspace(0.01, 0.99, 99)
    np.testing.assert_allclose(found.quantiles(shares), np.quantile(values, shares, method="hazen"), rtol=1e-12)


@pytest.mark.parametrize("shape", ["exponential", "normal", "uniform", "ties"])
def test_quantile_makes_normal_what_was_not(shape: str) -> None:
    values = {
        "exponential": RNG.exponential(5, 50_000),
        "normal": RNG.normal(3, 2, 50_000),
        "uniform": RNG.uniform(-1, 1, 50_000),
        "ties": np.where(RNG.random(50_000) < 0.2, 0.0, RNG.exponential(1, 50_000)),
    }[shape]
    pipeline = Pipeline({"x": Quantile()}).fit(blocks_of(len(values), 8192, x=values))
    result = np.sort(pipeline.transform(values[:, None])[:, 0])
    if shape == "ties":  # a fifth of the rows has one value, which lies in the middle of that fifth
        assert pipeline.transform(np.zeros((1, 1)))[0, 0] == pytest.approx(NormalDist().inv_cdf(0.1), abs=0.5)
        return
    normal = np.array([NormalDist().inv_cdf((at + 0.5) / 50_000) for at in range(50_000)])
    bulk = slice(50, -50)
    np.testing.assert_allclose(result[bulk], normal[bulk], atol=0.02)  # lines between 257 knots
    assert result[0] > -5 and result[-1] < 5  # noqa: PT018
    assert (np.diff(pipeline.transform(np.sort(values)[:, None])[:, 0]) >= 0).all()


def test_quantile_of_more_rows_than_the_sample_has() -> None:
    values = RNG.normal(size=60_000)
    pipeline = Pipeline({"x": Quantile()}).fit(blocks_of(len(values), 4096, x=values), sample_size=5000)
    grid = np.linspace(-2, 2, 41)
    # A sample of 5000 rows knows a quantile to about sqrt(p (1 - p) / 5000) / density: 0.018 in the middle, 0.04 at 2.
    np.testing.assert_allclose(pipeline.transform(grid[:, None])[:, 0], grid, atol=0.15)


def test_columns_of_one_value() -> None:
    values = np.full(100, 7.0)
    for step in (Standardize(), MinMax(), Quantile()):
        pipeline = Pipeline({"x": step}).fit(blocks_of(100, x=values))
        assert pipeline.transform(values[:, None]).tolist() == [[0.0]] * 100


def test_what_cannot_be_fitted() -> None:
    nothing = np.full(10, np.nan)
    for step in (Standardize(), MinMax(), Quantile(), Impute("mean"), Impute("median"), OneHot()):
        with pytest.raises(InputError, match="no finite value") as caught:
            fitted(step, nothing)
        assert caught.value.code == "batches.transform"
        with pytest.raises(InputError, match="no rows"):
            Pipeline({"x": step}).fit([])
    one = np.ones(10)
    with pytest.raises(InputError, match="below 0") as caught:
        fitted(Standardize(), one, weights=-one)
    assert "abs(w)" in caught.value.hint
    for step in (Standardize(), Quantile()):
        with pytest.raises(InputError, match="weight"):
            fitted(step, one, weights=one * 0)
    with pytest.raises(InputError, match="at most 32"):
        fitted(OneHot(), np.arange(50.0))
    with pytest.raises(InputError, match=r"holds 0\.5"):
        fitted(OneHot(), one / 2)
    with pytest.raises(InputError, match="too large"):
        fitted(Standardize(), np.array([1e308, -1e308]))
    with pytest.raises(DataError, match="'x'"):
        Pipeline({"x": Standardize()}).fit([{"y": one}])
    with pytest.raises(InputError, match="one number each row"):
        Pipeline({"x": Standardize()}).fit([{"x": np.ones((5, 2))}])
