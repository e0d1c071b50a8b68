"""Minima of other losses than squared residuals, against scipy's solvers for each."""

from functools import cache
from typing import NamedTuple

import numpy as np
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
    "huber(delta=0.3)": ("huber", 0.3),
    "soft_l1": ("soft_l1", 1.0),
    "soft_l1(scale=0.3)": ("soft_l1", 0.3),
    "cauchy": ("cauchy", 1.0),
    "cauchy(scale=0.3)": ("cauchy", 0.3),
    "log_cosh": None,
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


@pytest.mark.parametrize("loss", ["huber", "cauchy", "log_cosh"])
def test_weights_count_rows_several_times(loss):
    curve = CURVES["decay"]
    data, times = curve.data(0.15), np.random.default_rng(4).integers(0, 4, ROWS)
    repeated = {name: np.repeat(column, times) for name, column in data.items()}
    options = {"loss": loss, "start": {"a": 8.0, "b": 1.0, "c": 2.0}}
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
    fit = sgdfit.fit("y = a*exp(-b*x) + c", {"x": x, "y": y}, loss="huber(delta=0.3)")
    found = least_squares(
        lambda t: t[0] * np.exp(-t[1] * x) + t[2] - y, [2, 0.7, 0.5], loss="huber", f_scale=0.3,
        x_scale="jac", xtol=1e-12, ftol=1e-12, gtol=1e-12,
    )  # fmt: skip
    assert fit.status.name == "converged"
    assert fit.loss <= found.cost / rows * (1 + 1e-9)
    errors = np.array([fit.estimates[n].stderr for n in "abc"])
    np.testing.assert_allclose((CURVES["decay"].values(fit) - found.x) / errors, 0, atol=1e-3)
