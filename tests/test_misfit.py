"""What a fit says of minima that are not the ones meant, of flat ground, and of its own work."""

import numpy as np
import pytest

import sgdfit
from sgdfit.kernel import numpy_kernel

X = np.linspace(0.0, 10.0, 100)


def noise(seed, size=100, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=size)


def two_variables():
    rng = np.random.default_rng(0)
    x1, x2 = rng.uniform(0, 10, (2, 200))
    return {"x1": x1, "x2": x2, "y": 2 * x1 + np.sin(3 * x2 + 0.5) + 1 + noise(1, 200, 0.1)}


WRONG = {
    "a wave in the second variable": (
        "y = a*x1 + b*sin(w*x2 + p) + c",
        two_variables(),
        {"a": 1, "b": 0.1, "w": 1.9, "p": 0, "c": 0},
    ),
    "a small peak on a line": (
        "y = a*x + b + h*exp(-((x - m)/s)**2)",
        {"x": X, "y": 2 * X + 1 + np.exp(-(((X - 6) / 0.5) ** 2)) + noise(2, scale=0.25)},
        {"a": 1, "b": 1, "h": 1, "m": 2, "s": 0.5},
    ),
    "a small wave on a line": (
        "y = a*x + b + h*sin(w*x + p)",
        {"x": X, "y": 2 * X + 1 + 0.6 * np.sin(4.1 * X) + noise(3, scale=0.4)},
        {"a": 1, "b": 1, "h": 1, "w": 1, "p": 0},
    ),
    "a wave faster than residuals show": (
        "y = a*sin(2*pi*f*x + p)",
        {"x": X, "y": np.sin(2 * np.pi * 2.9 * X) + noise(4, scale=0.3)},
        {"a": 1, "f": 2.7, "p": 0},
    ),
}


@pytest.mark.parametrize(("formula", "data", "start"), WRONG.values(), ids=WRONG)
def test_a_start_that_leads_elsewhere_is_never_called_converged(formula, data, start):
    best = sgdfit.fit(formula, data)
    assert best.status.name == "converged"
    given = sgdfit.fit(formula, data, start=start)
    worse = given.loss > best.loss * 1.01
    assert given.status.name == ("local_minimum" if worse else "converged")
    if worse:
        assert f"{best.loss:.4g}"[:4] in given.status.cause
        assert "leave out the start" in given.status.cure


def test_neighbouring_residuals_that_go_together_are_told():
    missed = sgdfit.fit("y = a*x + b", {"x": X, "y": X**2})
    (told,) = [text for text in missed.warnings if "neighbouring residuals" in text]
    assert "the curve misses something" in told
    right = sgdfit.fit("y = a*x + b", {"x": X, "y": X + noise(5)})
    assert right.warnings == ()


def test_flat_ground_has_neither_distance_nor_errors():
    data = {"x": np.array([1.0, 2, 3, 5, 7, 10]), "y": np.array([109.0, 149, 149, 191, 213, 224])}
    fit = sgdfit.fit("y = b1*(1 - exp(-b2*x))", data, start={"b1": 100, "b2": 1e4}, search=False)
    assert fit.status.name == "stalled"
    assert "flat ground" in fit.status.cause
    assert fit.distance is None
    assert fit.covariance is None


@pytest.mark.parametrize("scale", [1.0, 1e9, 1e-9])
def test_a_parameter_without_effect_at_the_start_does_not_set_the_first_step(scale):
    x = np.linspace(0, 10, 40)
    data = {"x": x * scale, "y": 3 * np.exp(-0.5 * x) + noise(6, 40, 0.05)}
    fit = sgdfit.fit(
        "y = a*exp(-b*x) + c",
        data,
        start={"a": 0, "b": 1 / scale, "c": 0},
        bounds={"a": (-1e9, 1e9), "c": (-1e9, 1e9)},
        search=False,
    )
    assert fit.status.name == "converged"
    assert fit.values["b"] * scale == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("formula", "y", "open_one"),
    [
        ("y = a*exp(-b*x) + c", np.full(40, 3.0), "b"),
        ("y = a*exp(-b*x) + c + d*x", 2 * np.linspace(0, 10, 40) + 3, "b"),
    ],
)
def test_perfect_data_leave_open_what_has_no_effect(formula, y, open_one):
    fit = sgdfit.fit(formula, {"x": np.linspace(0, 10, 40), "y": y})
    assert fit.estimates[open_one].stderr is None
    assert fit.estimates["c"].stderr == 0
    assert fit.estimates["c"].value == pytest.approx(3, rel=1e-9)


def test_every_row_that_is_visited_is_counted(monkeypatch):
    seen = []
    evaluate = numpy_kernel._evaluate

    def counting(terms, theta, columns):
        seen.append(len(columns[0]))
        return evaluate(terms, theta, columns)

    monkeypatch.setattr(numpy_kernel, "_evaluate", counting)
    x = np.random.default_rng(7).uniform(0, 10, 50_000)
    y = np.sin(2 * np.pi * 0.29 * x) + noise(8, x.size, 0.3)
    start = {"a": 1, "f": 0.2, "p": 0}
    fit = sgdfit.fit("y = a*sin(2*pi*f*x + p)", {"x": x, "y": y}, start=start)
    assert fit.rows_visited <= sum(seen)
    # What is left are samples whose residuals are looked at.
    assert fit.rows_visited >= 0.9 * sum(seen)


@pytest.mark.parametrize("rows", [8_192, 8_193, 30_000])
@pytest.mark.parametrize("loss", ["mae", "quantile(q=0.8)"])
def test_losses_with_a_kink_arrive_on_many_rows(rows, loss):
    rng = np.random.default_rng(rows)
    x = rng.uniform(0, 4, rows)
    y = 3 * np.exp(-x) + 0.5 + rng.normal(0, 0.1, rows)
    fit = sgdfit.fit("y = a*exp(-b*x) + c", {"x": x, "y": y}, loss=loss)
    assert fit.status.name == "converged"
    assert fit.distance <= 0.01
    shift = 0.0 if loss == "mae" else 0.0841621  # the 0.8 quantile of the noise
    for name, truth in (("a", 3.0), ("b", 1.0), ("c", 0.5 + shift)):
        estimate = fit.estimates[name]
        assert abs(estimate.value - truth) < 4 * estimate.stderr
    share = float(np.mean(y < fit.predict({"x": x})))
    assert share == pytest.approx(0.5 if loss == "mae" else 0.8, abs=3 / rows)


def test_intervals_of_the_absolute_loss_hold():
    """In 200 data sets the 95% interval holds the truth as often as chance allows."""
    x = np.linspace(0, 10, 60)
    held = 0
    for seed in range(200):
        data = {"x": x, "y": 2 * x + 1 + noise(seed, 60, 0.5)}
        low, high = sgdfit.fit("y = a*x + b", data, loss="mae").estimates["a"].interval
        held += low <= 2 <= high
    # 190 with a standard deviation of 3
    assert 176 <= held <= 200


def test_a_rival_minimum_is_told_with_its_values():
    """Of two peaks that are nearly as high, one peak fits either."""
    x = np.linspace(0, 10, 101)
    y = np.exp(-((x - 3) ** 2)) + 0.995 * np.exp(-((x - 7) ** 2)) + noise(9, 101, 0.02)
    fit = sgdfit.fit("y = h*exp(-((x - m)**2))", {"x": x, "y": y})
    assert fit.values["m"] == pytest.approx(3, abs=0.2)
    rival = fit.search.rivals[0]
    assert rival.values["m"] == pytest.approx(7, abs=0.2)
    assert fit.search.loss <= rival.loss <= 1.05 * fit.search.loss
    assert "rival minimum" in str(fit)
