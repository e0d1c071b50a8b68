"""Losses with a kink, medians and quantiles, in memory and from sums, against linear programs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.optimize import linprog

import sgdfit
from sgdfit.errors import UsageError
from sgdfit.fitting import nonsmooth, sampling

FEW, MANY = 12_000, 160_000
LINE = "y = a*x + b*z + c"


def rows(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return rows whose scatter grows with x and has long tails."""
    random = np.random.default_rng(seed)
    x, z = random.uniform(0, 3, count), random.normal(size=count)
    noise = (0.2 + 0.1 * x) * random.standard_t(3, size=count)
    w = random.uniform(0, 2, count)
    w[::7] = 0.0
    return {"x": x, "z": z, "w": w, "y": 2 * x - z + 1 + noise}


def in_parquet(folder: Path, data: dict[str, np.ndarray], size: int = 33_333) -> Path:
    pq.write_table(pa.table(data), folder / "data.parquet", row_group_size=size)
    return folder / "data.parquet"


def programmed(data: dict[str, np.ndarray], q: float, w: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the regression quantile and its loss from the dual linear program (Koenker 2005, 6.1).

    Maximise yᵀd over 0 ≤ d ≤ w where Jᵀd = (1 − q) Jᵀw; its multipliers are the estimates.
    """
    J = np.stack([data["x"], data["z"], np.ones(len(data["x"]))], axis=1)
    bounds = np.stack([np.zeros(len(w)), w], axis=1)
    found = linprog(-data["y"], A_eq=J.T, b_eq=(1 - q) * (w @ J), bounds=bounds, method="highs")
    theta = -found.eqlin.marginals
    residual = data["y"] - J @ theta
    return theta, float(w @ np.maximum(q * residual, (q - 1) * residual))


CASES = {
    "mae": ("mae", 0.5, 2.0, {}),
    "upper": ("quantile(q=0.9)", 0.9, 1.0, {}),
    "lower": ("quantile(q=0.05)", 0.05, 1.0, {}),
    "a formula": ("abs(prediction - target)", 0.5, 2.0, {}),
    "weights": ("quantile(q=0.8)", 0.8, 1.0, {"weights": "w"}),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_minimum_of_the_linear_program(
    case: str, tmp_path: Path, little: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, q, factor, options = CASES[case]
    data = rows(FEW)
    monkeypatch.setattr(nonsmooth, "SUBSAMPLE_ALL", 4_096)
    monkeypatch.setattr(nonsmooth, "FEW", 2_048)
    fit = sgdfit.fit(LINE, in_parquet(tmp_path, data), loss=loss, **options)
    w = data["w"] if options else np.ones(FEW)
    theta, least = programmed(data, q, w)
    values = np.array([fit.values[name] for name in "abc"])
    assert fit.status.name == "converged"
    assert fit.distance is not None
    assert fit.covariance is not None
    # What is said of the distance holds, as the root of the mean square over the directions.
    away = values - theta
    assert math.sqrt(away @ np.linalg.solve(fit.covariance, away) / 3) < 2 * fit.distance < 0.3
    np.testing.assert_array_equal(fit.trace.parameters[-1], values)
    # The loss is the true one.
    counted = np.count_nonzero(w)
    expected = factor * least / (w.sum() if options else counted)
    assert fit.loss == pytest.approx(expected, rel=1e-5)
    assert fit.loss >= expected * (1 - 1e-12)


@pytest.mark.parametrize("count", [6, 12, 20, 50])
def test_any_value_between_the_middle_two_is_a_median(count: int) -> None:
    y = np.random.default_rng(count).normal(size=count)
    fit = sgdfit.fit("y = a + 0*x", {"x": np.arange(count), "y": y}, loss="mae")

    assert fit.status.name == "converged"
    assert fit.loss == pytest.approx(np.abs(y - np.median(y)).mean(), rel=1e-12)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("loss", ["mae", "quantile(q=0.9)", "quantile(q=0.1)"])
def test_few_rows_come_near_the_linear_program(loss: str, seed: int) -> None:
    """A corner has no curvature to tell a distance by; the loss still is near the least."""
    q, factor = (0.5, 2.0) if loss == "mae" else (float(loss[11:-1]), 1.0)
    random, x = np.random.default_rng(seed), np.linspace(0.1, 5, 80)
    noise = 0.2 * random.normal(size=80)
    struck = random.random(80) < 0.15
    sign = random.choice([-1, 1, 1], struck.sum())
    noise[struck] += 8 * np.abs(random.normal(size=struck.sum())) * sign
    data = {"x": x, "z": x**2, "y": x**2 - 3 * x + 2 + noise}
    fit = sgdfit.fit(LINE, data, loss=loss)
    least = factor * programmed(data, q, np.ones(80))[1] / 80
    assert fit.status.name in ("converged", "stalled"), fit.status
    # A corner is rounded off to a millionth of the mean residual.
    assert fit.loss <= least * (1 + (1e-6 if fit.status.name == "converged" else 1e-3))


@pytest.mark.parametrize("count", [8_192, 8_193, 30_000])
@pytest.mark.parametrize(("loss", "q"), [("mae", 0.5), ("quantile(q=0.8)", 0.8)])
def test_curves_arrive_on_either_side_of_many_rows(count: int, loss: str, q: float) -> None:
    random = np.random.default_rng(count)
    x = random.uniform(0, 4, count)
    y = 3 * np.exp(-x) + 0.5 + random.normal(0, 0.1, count)
    fit = sgdfit.fit("y = a*exp(-b*x) + c", {"x": x, "y": y}, loss=loss)
    assert fit.status.name == "converged"
    assert fit.distance is not None
    assert fit.distance <= 0.01
    shift = {0.5: 0.0, 0.8: 0.0841621}[q]  # the quantile of the noise
    for name, truth in (("a", 3.0), ("b", 1.0), ("c", 0.5 + shift)):
        error = fit.estimates[name].stderr
        assert error is not None
        assert abs(fit.values[name] - truth) < 4 * error
    share = float(np.mean(y < fit.predict({"x": x})))
    assert share == pytest.approx(q, abs=3 / count)


def test_intervals_of_the_absolute_loss_hold() -> None:
    """In 200 data sets the 95% interval holds the truth as often as chance allows."""
    x, held = np.linspace(0, 10, 60), 0
    for seed in range(200):
        noise = 0.5 * np.random.default_rng(seed).normal(size=60)
        fit = sgdfit.fit("y = a*x + b", {"x": x, "y": 2 * x + 1 + noise}, loss="mae")
        low, high = fit.estimates["a"].interval or (np.nan, np.nan)
        held += low <= 2 <= high
    # 190 with a standard deviation of 3
    assert 176 <= held <= 200


@pytest.mark.parametrize("loss", ["mae", "quantile(q=0.9)"])
def test_errors_are_those_of_rows_in_memory(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(20_000, seed=1)
    expected = sgdfit.fit(LINE, data, loss=loss)
    monkeypatch.setattr(nonsmooth, "SUBSAMPLE_ALL", 4_096)
    monkeypatch.setattr(nonsmooth, "FEW", 4_096)
    found = sgdfit.fit(LINE, data, loss=loss)
    assert found.covariance_method == expected.covariance_method == "sandwich"
    assert found.covariance is not None
    assert expected.covariance is not None
    np.testing.assert_allclose(np.diag(found.covariance), np.diag(expected.covariance), rtol=0.15)


@pytest.mark.parametrize(("count", "passes"), [(20_000, 3000), (MANY, 40)])
@pytest.mark.parametrize("options", [{"loss": "mae"}, {"loss": "quantile(q=0.9)", "weights": "w"}])
def test_files_give_the_bits_of_memory(
    count: int, passes: int, options: dict[str, Any], tmp_path: Path, little: None
) -> None:
    data = rows(count)
    expected = sgdfit.fit(LINE, data, threads=1, **options)
    for size, threads in ((50_000, 2), (count, 1)):
        found = sgdfit.fit(LINE, in_parquet(tmp_path, data, size), threads=threads, **options)
        assert found.values == expected.values
        assert (found.loss, found.distance) == (expected.loss, expected.distance)
        np.testing.assert_array_equal(found.covariance, expected.covariance)
        assert found.rows_visited == expected.rows_visited <= passes * count


def test_curves_bounds_and_given_starts(little: None, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    x = random.uniform(0, 3, MANY)
    y = 3 * np.exp(-1.3 * x) + 0.5 + 0.1 * random.standard_t(3, size=MANY)
    path = in_parquet(tmp_path, {"x": x, "y": y})
    curve = "y = a*exp(-b*x) + c"
    fit = sgdfit.fit(curve, path, loss="mae")
    given = sgdfit.fit(curve, path, loss="mae", start="a=1,b=2,c=0")
    bound = sgdfit.fit(curve, path, loss="mae", bounds="0 < b < 1.2")
    for name, true in (("a", 3.0), ("b", 1.3), ("c", 0.5)):
        error = fit.estimates[name].stderr
        assert error is not None
        assert abs(fit.values[name] - true) < 4 * error
        assert abs(fit.values[name] - given.values[name]) < 0.05 * error
    assert bound.values["b"] == 1.2
    assert bound.estimates["b"].at_bound
    assert bound.status.name == "converged"


def test_sorted_rows_do_not_mislead(
    tmp_path: Path, little: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = rows(300_000)
    expected = sgdfit.fit(LINE, data, loss="quantile(q=0.9)")
    order = np.argsort(data["y"])
    path = in_parquet(tmp_path, {name: column[order] for name, column in data.items()})
    # Few long runs are drawn, as of many rows.
    monkeypatch.setattr(sampling, "MANY", 1 << 17)
    found = sgdfit.fit(LINE, path, loss="quantile(q=0.9)")
    assert found.status.name == "converged"
    for name, estimate in expected.estimates.items():
        assert abs(found.values[name] - estimate.value) < 0.05 * (estimate.stderr or 0.0)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path, little: None) -> None:
    path, kept = in_parquet(tmp_path, rows(MANY)), tmp_path / "kept"
    expected = sgdfit.fit(LINE, path, loss="mae")
    passes = []

    def interrupt(progress: Any) -> None:
        if progress.reading is not None and progress.reading.of == MANY:
            passes.append(progress.reading.rows)
            if passes.count(MANY) == 2:
                raise KeyboardInterrupt

    cut = sgdfit.fit(LINE, path, loss="mae", checkpoint=kept, callback=interrupt)
    assert cut.status.name == "interrupted"
    resumed = sgdfit.fit(LINE, path, loss="mae", checkpoint=kept, resume=True)
    assert resumed.values == expected.values
    assert resumed.distance == expected.distance
    np.testing.assert_array_equal(resumed.covariance, expected.covariance)


def test_a_tolerance_that_jumps_hide_is_told() -> None:
    fit = sgdfit.fit(LINE, rows(MANY), loss="mae", tolerance=1e-5)
    assert fit.status.name == "stalled"
    assert "the gradient of a loss with a kink jumps from row to row" in fit.status.cause
    assert fit.distance is not None
    assert 1e-5 < fit.distance < 0.1
    np.testing.assert_array_equal(fit.trace.parameters[-1], list(fit.values.values()))


def test_a_callback_stops_a_pass(little: None, tmp_path: Path) -> None:
    path = in_parquet(tmp_path, rows(MANY))
    seen = []

    def stop(progress: Any) -> bool:
        seen.append(progress.reading)
        return progress.reading is not None and progress.reading.of == MANY

    fit = sgdfit.fit(LINE, path, loss="mae", callback=stop)
    assert fit.status.name == "stopped"
    assert seen[-1].rows <= MANY


@pytest.mark.parametrize(
    ("formula", "loss"),
    [
        ("y = a + 0*x", "mae"),  # the response is rounded, so that hundreds lie on the curve
        ("y = a*x + b", "maximum(abs(prediction - target) - 0.1, 0)"),  # two kinks
    ],
)
def test_what_sums_do_not_tell_needs_all_rows(
    formula: str, loss: str, tmp_path: Path, little: None
) -> None:
    data = rows(MANY)
    path = in_parquet(tmp_path, {"x": data["x"], "y": np.round(data["y"], 1)})
    with pytest.raises(UsageError, match=r"needs all rows of data\.parquet in memory"):
        sgdfit.fit(formula, path, loss=loss)
