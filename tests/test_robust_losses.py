"""Minima of other losses than squared residuals, against scipy's solvers for each."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.optimize import least_squares, minimize

import sgdfit
from sgdfit.formula.evaluation import evaluate
from sgdfit.model.loss import as_loss

ROWS = 80
X = np.linspace(0.1, 5, ROWS)


def outliers(share, seed=0, rows=ROWS, size=8.0):
    """Return noise with a share of outliers, most of them above."""
    rng = np.random.default_rng(seed)
    noise = 0.2 * rng.normal(size=rows)
    struck = rng.random(rows) < share
    sign = rng.choice([-1, 1, 1], struck.sum())
    noise[struck] += size * np.abs(rng.normal(size=struck.sum())) * sign
    return noise


class Curve(NamedTuple):
    """A formula, its function, its truth, and a start that is not too near."""

    formula: str
    function: object
    truth: tuple
    start: tuple

    def data(self, share, seed=0):
        return {"x": X, "y": self.function(X, *self.truth) + outliers(share, seed)}

    def values(self, fit):
        return [fit.values[name] for name in "abc"[: len(self.truth)]]


CURVES = {
    "line": Curve("y = a*x + b", lambda x, a, b: a * x + b, (2.0, -1.0), (0.0, 0.0)),
    "parabola": Curve("y = a*x**2 + b*x + c", lambda x, a, b, c: a * x * x + b * x + c,
                      (1.0, -3.0, 2.0), (0.0, 0.0, 0.0)),
    "decay": Curve("y = a*exp(-b*x) + c", lambda x, a, b, c: a * np.exp(-b * x) + c,
                   (9.0, 1.2, 2.0), (4.0, 0.5, 0.0)),
    "saturation": Curve("y = a*x/(b + x)", lambda x, a, b: a * x / (b + x), (8.0, 1.5), (4.0, 3.0)),
}  # fmt: skip
# scipy's name and f_scale; tests/test_loss.py holds that the losses are scipy's.
SCIPY = {
    "huber(delta=0.3, scale=absolute)": ("huber", 0.3),
    "soft_l1(scale=0.3)": ("soft_l1", 0.3),
    "cauchy(scale=absolute)": ("cauchy", 1.0),
    "log_cosh(scale=absolute)": None,
}


@cache
def least_loss(name, share, loss):
    """Return the lowest mean loss that scipy finds from the truth."""
    curve, expression = CURVES[name], as_loss(loss).expression
    data = curve.data(share)

    def mean(theta):
        at = {"prediction": curve.function(X, *theta), "target": data["y"]}
        return float(np.mean(evaluate(expression, at)))

    theta = curve.truth
    if SCIPY[loss] is not None:
        kind, scale = SCIPY[loss]
        theta = least_squares(
            lambda t: curve.function(X, *t) - data["y"], theta, loss=kind, f_scale=scale,
            x_scale="jac", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=500,
        ).x  # fmt: skip
    return min(mean(theta), minimize(mean, theta, method="BFGS", options={"gtol": 1e-12}).fun)


@pytest.mark.parametrize("given", [False, True], ids=["no start", "a start"])
@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("loss", SCIPY)
def test_the_minimum_is_scipys(loss, name, given):
    curve, share = CURVES[name], 0.2 if given else 0.1
    start = dict(zip("abc", curve.start, strict=False)) if given else None
    fit = sgdfit.fit(curve.formula, curve.data(share), loss=loss, start=start)
    assert fit.loss <= least_loss(name, share, loss) * (1 + 1e-8)
    assert fit.status.name == "converged", fit.status
    assert all(estimate.stderr > 0 for estimate in fit.estimates.values())


# ψ(z)/z of each loss at its default.
REWEIGHTED = {
    "huber": lambda z: 1 / np.maximum(1, np.abs(z) / 1.345),
    "soft_l1": lambda z: 1 / np.sqrt(1 + (z / 1.287) ** 2),
    "cauchy": lambda z: 1 / (1 + (z / 2.385) ** 2),
    "log_cosh": lambda z: np.tanh(np.maximum(np.abs(z), 1e-9) / 1.205)
    * 1.205 / np.maximum(np.abs(z), 1e-9),
}  # fmt: skip


def reweighted(residual, theta, weight, sigma=1.0):
    """Fit by least squares whose weights follow the residuals, as MASS's ``rlm`` does.

    The scale is the median absolute residual over 0.6745; it and the estimates are returned.
    """
    scale = np.nan
    for _ in range(300):
        before, scale = scale, np.median(np.abs(residual(theta) / sigma)) / 0.674489750196082
        root = np.sqrt(weight(residual(theta) / sigma / scale)) / sigma
        theta = least_squares(
            lambda t, root=root: root * residual(t), theta, x_scale="jac", xtol=1e-15, ftol=1e-15,
            gtol=1e-15,
        ).x  # fmt: skip
        if abs(scale - before) <= 1e-12 * scale:
            break
    return theta, scale


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("loss", REWEIGHTED)
def test_the_scale_is_that_of_the_residuals(loss, name):
    curve, data = CURVES[name], CURVES[name].data(0.2, seed=3)
    right, scale = reweighted(
        lambda t: curve.function(X, *t) - data["y"], curve.truth, REWEIGHTED[loss]
    )
    start = dict(zip("abc", curve.start, strict=False))
    ways = [{}, {"start": start}]
    if name == "line":
        ways.append({"start": start, "optimizer": "sgd(momentum=0.9)", "steps": 20_000})
    fits = [sgdfit.fit(curve.formula, data, loss=loss, **way) for way in ways]
    stream = sgdfit.Fit(curve.formula, loss=loss)
    for first in range(0, ROWS, 9):
        stream.update({key: column[first : first + 9] for key, column in data.items()})
    for fit in (*fits, stream.result()):
        errors = [estimate.stderr for estimate in fit.estimates.values()]
        assert fit.loss_scale == pytest.approx(scale, rel=1e-5)
        np.testing.assert_allclose((np.array(curve.values(fit)) - right) / errors, 0, atol=1e-3)
    assert f"residual scale  {scale:.3g} in units of y" in str(fits[0])


@pytest.mark.parametrize("factor", [1e-9, 1e6])
@pytest.mark.parametrize("loss", REWEIGHTED)
def test_units_do_not_matter(loss, factor):
    """The estimates follow the units of y and of x, and their errors with them."""
    data = CURVES["decay"].data(0.2)
    one = sgdfit.fit("y = a*exp(-b*x) + c", data, loss=loss)
    other = sgdfit.fit(
        "y = a*exp(-b*x) + c", {"x": X * 7e-4 / factor, "y": factor * data["y"]}, loss=loss
    )
    units = {"a": factor, "b": factor / 7e-4, "c": factor}
    for name, unit in units.items():
        there, here = other.estimates[name], one.estimates[name]
        assert there.value == pytest.approx(unit * here.value, rel=1e-9, abs=0)
        assert there.stderr == pytest.approx(unit * here.stderr, rel=1e-6, abs=0)
    assert other.loss_scale == pytest.approx(factor * one.loss_scale, rel=1e-9, abs=0)


def test_residuals_count_in_units_of_their_sigma():
    rng = np.random.default_rng(7)
    sigma = 0.05 * np.exp(X / 1.5)
    y = 2 * X - 1 + sigma * rng.standard_t(2, ROWS)
    right, scale = reweighted(
        lambda t: t[0] * X + t[1] - y, (2.0, -1.0), REWEIGHTED["cauchy"], sigma
    )
    data = {"x": X, "y": y, "s": sigma}
    fit = sgdfit.fit("y = a*x + b", data, loss="cauchy", sigma="s")
    assert [fit.values[n] for n in "ab"] == pytest.approx(right, rel=1e-6)
    assert fit.loss_scale == pytest.approx(scale, rel=1e-6)
    other = sgdfit.fit("y = a*x + b", data, loss="cauchy", weights="1/s**2")
    assert [other.values[n] for n in "ab"] == pytest.approx(right, rel=1e-6)
    # Huber 1967: ψ in units of y, of rows of weight 1/σ².
    z = (fit.values["a"] * X + fit.values["b"] - y) / sigma / scale
    slope = REWEIGHTED["cauchy"](z) * z / sigma
    bend = (1 - (z / 2.385) ** 2) / (1 + (z / 2.385) ** 2) ** 2 / sigma**2 / scale
    J = np.stack([X, np.ones(ROWS)])
    inverse = np.linalg.inv((J * bend) @ J.T)
    np.testing.assert_allclose(
        fit.covariance, ROWS / (ROWS - 2) * inverse @ ((J * slope**2) @ J.T) @ inverse, rtol=1e-6
    )


def test_errors_with_a_scale_of_the_residuals_cover():
    """In 120 samples of contaminated noise, about 95% of the intervals hold the truth."""
    inside = []
    for seed in range(120):
        y = 2 * X - 1 + outliers(0.1, seed) * np.random.default_rng(seed).choice([-1, 1], ROWS)
        fit = sgdfit.fit("y = a*x + b", {"x": X, "y": y}, loss="huber")
        low, high = fit.estimates["a"].interval
        inside.append(low <= 2 <= high)
    assert 0.90 <= np.mean(inside) <= 0.98


def test_exact_data_with_outliers_have_the_exact_answer():
    y = 2 * X - 1
    y[::7] += 5
    fit = sgdfit.fit("y = a*x + b", {"x": X, "y": y}, loss="huber")
    assert [fit.values[n] for n in "ab"] == pytest.approx([2, -1], abs=1e-8)


def test_the_scale_of_many_rows_is_theirs(tmp_path):
    """It comes from a sample, and from a count of all rows; a file gives the same bits."""
    rows = 200_000
    x = np.random.default_rng(1).uniform(0, 4, rows)
    y = 2 * np.exp(-0.7 * x) + 0.5 + outliers(0.15, seed=2, rows=rows)
    formula, path = "y = a*exp(-b*x) + c", tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": x, "y": y}), path, row_group_size=30_000)
    fit = sgdfit.fit(formula, {"x": x, "y": y}, loss="huber")
    a, b, c = (fit.values[n] for n in "abc")
    scale = np.median(np.abs(a * np.exp(-b * x) + c - y)) / 0.674489750196082
    assert fit.status.name == "converged"
    assert fit.loss_scale == pytest.approx(scale, rel=1e-4)
    other = sgdfit.fit(formula, path, loss="huber", threads=1, memory="450MB")
    assert (other.values, other.loss_scale) == (fit.values, fit.loss_scale)


@pytest.mark.parametrize("loss", ["huber", "cauchy", "log_cosh"])
def test_weights_multiply_a_loss_in_units_of_the_response(loss):
    curve = CURVES["decay"]
    data, times = curve.data(0.15), np.random.default_rng(4).integers(0, 4, ROWS)
    repeated = {name: np.repeat(column, times) for name, column in data.items()}
    options = {"loss": f"{loss}(scale=absolute)", "start": {"a": 8.0, "b": 1.0, "c": 2.0}}
    one = sgdfit.fit(curve.formula, data | {"k": times}, weights="k", **options)
    other = sgdfit.fit(curve.formula, repeated, **options)
    assert one.status.name == other.status.name == "converged"
    assert curve.values(one) == pytest.approx(curve.values(other), rel=1e-8)


@pytest.mark.parametrize("given", [False, True], ids=["no start", "a start"])
@pytest.mark.parametrize("seed", range(2))
def test_poisson_is_maximum_likelihood(seed, given):
    x = np.linspace(0, 4, 60)
    y = np.random.default_rng(seed).poisson(30 * np.exp(-0.9 * x) + 2.0).astype(float)

    def parts(theta):
        e = np.exp(-theta[1] * x)
        return theta[0] * e + theta[2], np.array([e, -theta[0] * x * e, np.ones(60)])

    def mean(theta):
        rate, _ = parts(theta)
        return float(np.mean(rate - y * np.log(rate))) if (rate > 0).all() else np.inf

    def slope(theta):
        rate, J = parts(theta)
        return J @ (1 - y / rate) / 60

    best = minimize(mean, [30, 0.9, 2.0], jac=slope, method="BFGS", options={"gtol": 1e-11})
    start = {"a": 10.0, "b": 0.3, "c": 5.0} if given else None
    fit = sgdfit.fit("y = a*exp(-b*x) + c", {"x": x, "y": y}, loss="poisson", start=start)
    assert fit.status.name == "converged", fit.status
    assert fit.loss <= best.fun + 1e-8 * abs(best.fun)
    theta = [fit.values[n] for n in "abc"]
    np.testing.assert_allclose(theta, best.x, rtol=1e-4)
    # The inverse of the Fisher information, √n away from a sandwich at most.
    rate, J = parts(theta)
    errors = np.sqrt(np.diag(np.linalg.inv(J / rate @ J.T)))
    stated = np.array([fit.estimates[n].stderr for n in "abc"])
    assert (np.abs(np.log(stated / errors)) < np.log(2)).all()


def test_outliers_do_not_move_a_robust_fit_of_many_rows():
    rows = 100_000
    x = np.random.default_rng(1).uniform(0, 4, rows)
    y = 2 * np.exp(-0.7 * x) + 0.5 + outliers(0.15, seed=2, rows=rows)
    fit = sgdfit.fit(
        "y = a*exp(-b*x) + c", {"x": x, "y": y}, loss="huber(delta=0.3, scale=absolute)"
    )
    found = least_squares(
        lambda t: t[0] * np.exp(-t[1] * x) + t[2] - y, [2, 0.7, 0.5], loss="huber", f_scale=0.3,
        x_scale="jac", xtol=1e-12, ftol=1e-12, gtol=1e-12,
    )  # fmt: skip
    assert fit.status.name == "converged"
    assert fit.loss <= found.cost / rows * (1 + 1e-9)
    errors = np.array([fit.estimates[n].stderr for n in "abc"])
    np.testing.assert_allclose((CURVES["decay"].values(fit) - found.x) / errors, 0, atol=1e-3)


def test_a_loss_below_zero_is_no_trouble() -> None:
    x = np.linspace(0.0, 5.0, 30)
    y = np.random.default_rng(1).poisson(1 + 5 * x**0.7).astype(float)
    fit = sgdfit.fit("y = a*x**b + c", {"x": x, "y": y}, loss="poisson")
    assert fit.loss < 0
    assert fit.status.name == "converged"


@pytest.mark.parametrize(
    ("formula", "curve", "truth", "ends", "seed"),
    [
        ("y = a*exp(-(x - m)**2/(2*s**2)) + c",
         lambda x, a, m, s, c: a * np.exp(-((x - m) ** 2) / (2 * s**2)) + c,
         {"a": 3.0, "m": 0.9, "s": 1.0, "c": -0.3}, (-3, 3), 26),
        ("y = a*sin(w*x + p) + c", lambda x, a, w, p, c: a * np.sin(w * x + p) + c,
         {"a": 1.7, "w": 1.9, "p": 1.6, "c": 0.0}, (0, 5), 14),
        ("y = a/(1 + exp(-k*(x - m))) + c",
         lambda x, a, k, m, c: a / (1 + np.exp(-k * (x - m))) + c,
         {"a": 3.0, "k": 2.5, "m": 0.5, "c": 0.0}, (-3, 3), 14),
    ],
    ids=["peak", "wave", "step"],
)  # fmt: skip
def test_outliers_among_few_rows_lead_no_search_astray(formula, curve, truth, ends, seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(*ends, 14))
    y = curve(x, *truth.values()) + rng.normal(0, 0.06, 14)
    y[rng.choice(14, 2, replace=False)] += rng.uniform(0.5, 2, 2)
    fit = sgdfit.fit(formula, {"x": x, "y": y}, loss="huber")
    theta = np.array([*truth.values()])
    for _ in range(100):  # scipy's minimum and the scale of its residuals, from the truth on
        scale = np.median(np.abs(curve(x, *theta) - y)) / 0.6744897501960817
        theta = least_squares(
            lambda t: curve(x, *t) - y, theta, loss="huber", f_scale=1.345 * scale, xtol=1e-15,
            ftol=1e-15, gtol=1e-15,
        ).x  # fmt: skip
    assert fit.status.ok
    np.testing.assert_allclose([fit.values[name] for name in truth], theta, rtol=1e-4)
