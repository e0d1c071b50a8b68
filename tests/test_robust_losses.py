"""Minima of other losses than squared residuals, against scipy's solvers for each."""

from functools import cache

import numpy as np
import pytest
from scipy.optimize import least_squares, linprog, minimize

import sgdfit

ROWS = 80


def outliers(share, seed=0, rows=ROWS, size=8.0):
    """Return noise with a share of outliers, most of them above."""
    rng = np.random.default_rng(seed)
    noise = 0.2 * rng.normal(size=rows)
    struck = rng.random(rows) < share
    sign = rng.choice([-1, 1, 1], struck.sum())
    noise[struck] += size * np.abs(rng.normal(size=struck.sum())) * sign
    return noise


X = np.linspace(0.1, 5, ROWS)


class Curve:
    """A formula, its function, its truth, and a start that is not too near."""

    def __init__(self, formula, function, truth, start):
        self.formula, self.function = formula, function
        self.truth, self.start = np.array(truth), np.array(start)

    @property
    def names(self):
        return "abcd"[: len(self.truth)]

    def data(self, share, seed=0):
        return {"x": X, "y": self.function(X, *self.truth) + outliers(share, seed)}


CURVES = {
    "line": Curve("y = a*x + b", lambda x, a, b: a * x + b, (2.0, -1.0), (0.0, 0.0)),
    "parabola": Curve(
        "y = a*x**2 + b*x + c",
        lambda x, a, b, c: a * x * x + b * x + c,
        (1.0, -3.0, 2.0),
        (0.0, 0.0, 0.0),
    ),
    "decay": Curve(
        "y = a*exp(-b*x) + c",
        lambda x, a, b, c: a * np.exp(-b * x) + c,
        (9.0, 1.2, 2.0),
        (4.0, 0.5, 0.0),
    ),
    "saturation": Curve("y = a*x/(b + x)", lambda x, a, b: a * x / (b + x), (8.0, 1.5), (4.0, 3.0)),
}


def rho(loss):
    """Return the loss of a residual, written out from its source."""
    return {
        "huber": lambda r: np.where(np.abs(r) <= 1, r**2 / 2, np.abs(r) - 0.5),
        "huber(delta=0.3)": lambda r: np.where(
            np.abs(r) <= 0.3, r**2 / 2, 0.3 * (np.abs(r) - 0.15)
        ),
        "soft_l1": lambda r: 2 * (np.sqrt(1 + r**2) - 1),
        "soft_l1(scale=0.3)": lambda r: 2 * 0.09 * (np.sqrt(1 + (r / 0.3) ** 2) - 1),
        "cauchy": lambda r: np.log1p(r**2),
        "cauchy(scale=0.3)": lambda r: 0.09 * np.log1p((r / 0.3) ** 2),
        "log_cosh": lambda r: np.logaddexp(r, -r) - np.log(2),
    }[loss]


# scipy's name and f_scale.
SCIPY = {
    "huber": ("huber", 1.0),
    "huber(delta=0.3)": ("huber", 0.3),
    "soft_l1": ("soft_l1", 1.0),
    "soft_l1(scale=0.3)": ("soft_l1", 0.3),
    "cauchy": ("cauchy", 1.0),
    "cauchy(scale=0.3)": ("cauchy", 0.3),
}


@cache
def least_loss(name, share, loss):
    """Return the lowest mean loss that scipy finds from the truth."""
    curve = CURVES[name]
    data = curve.data(share)

    def mean(theta):
        return float(np.mean(rho(loss)(curve.function(X, *theta) - data["y"])))

    theta = curve.truth
    if loss in SCIPY:
        kind, scale = SCIPY[loss]
        theta = least_squares(
            lambda t: curve.function(X, *t) - data["y"], theta, loss=kind, f_scale=scale,
            x_scale="jac", xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=500,
        ).x  # fmt: skip
    return min(mean(theta), minimize(mean, theta, method="BFGS", options={"gtol": 1e-12}).fun)


@pytest.mark.parametrize("given", [False, True], ids=["no start", "a start"])
@pytest.mark.parametrize("share", [0.1, 0.2])
@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("loss", [*SCIPY, "log_cosh"])
def test_the_minimum_is_scipys(loss, name, share, given):
    curve = CURVES[name]
    data = curve.data(share)
    start = dict(zip(curve.names, curve.start.tolist(), strict=True)) if given else None
    fit = sgdfit.fit(curve.formula, data, loss=loss, start=start)
    found = [fit.values[name] for name in curve.names]
    r = curve.function(X, *found) - data["y"]
    assert fit.loss == pytest.approx(float(np.mean(rho(loss)(r))), rel=1e-12)
    assert fit.loss <= least_loss(name, share, loss) * (1 + 1e-8)
    assert fit.status.name == "converged", fit.status
    assert all(fit.estimates[name].stderr > 0 for name in curve.names)


@pytest.mark.parametrize("loss", ["huber", "cauchy", "log_cosh"])
def test_weights_count_rows_several_times(loss):
    data = CURVES["decay"].data(0.15)
    times = np.random.default_rng(4).integers(0, 4, ROWS)
    repeated = {name: np.repeat(column, times) for name, column in data.items()}
    formula = CURVES["decay"].formula
    start = {"a": 8.0, "b": 1.0, "c": 2.0}
    one = sgdfit.fit(formula, data | {"k": times}, loss=loss, weights="k", start=start)
    other = sgdfit.fit(formula, repeated, loss=loss, start=start)
    assert one.status.name == other.status.name == "converged"
    for name in "abc":
        assert one.values[name] == pytest.approx(other.values[name], rel=1e-8)


@pytest.mark.parametrize("given", [False, True], ids=["no start", "a start"])
@pytest.mark.parametrize("seed", range(4))
def test_poisson_is_maximum_likelihood(seed, given):
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 4, 60)
    y = rng.poisson(30 * np.exp(-0.9 * x) + 2.0).astype(float)

    def mean(theta):
        rate = theta[0] * np.exp(-theta[1] * x) + theta[2]
        return float(np.mean(rate - y * np.log(rate))) if (rate > 0).all() else np.inf

    def slope(theta):
        e = np.exp(-theta[1] * x)
        rate = theta[0] * e + theta[2]
        return np.array([e, -theta[0] * x * e, np.ones(60)]) @ (1 - y / rate) / 60

    best = minimize(mean, [30, 0.9, 2.0], jac=slope, method="BFGS", options={"gtol": 1e-11})
    start = {"a": 10.0, "b": 0.3, "c": 5.0} if given else None
    fit = sgdfit.fit("y = a*exp(-b*x) + c", {"x": x, "y": y}, loss="poisson", start=start)
    assert fit.status.name == "converged", fit.status
    assert fit.loss <= best.fun + 1e-8 * abs(best.fun)
    np.testing.assert_allclose([fit.values[n] for n in "abc"], best.x, rtol=1e-4)
    # The inverse of the Fisher information, √n away from a sandwich at most.
    theta = np.array([fit.values[n] for n in "abc"])
    e = np.exp(-theta[1] * x)
    J = np.array([e, -theta[0] * x * e, np.ones(60)])
    errors = np.sqrt(np.diag(np.linalg.inv(J / (theta[0] * e + theta[2]) @ J.T)))
    stated = np.array([fit.estimates[n].stderr for n in "abc"])
    assert (np.abs(np.log(stated / errors)) < np.log(2)).all()


def least_pinball(A, y, q):
    """Return the least mean pinball loss of a linear model, by linear programming."""
    n, p = A.shape
    cost = np.concatenate([np.zeros(p), np.full(n, q), np.full(n, 1 - q)]) / n
    equal = np.hstack([A, np.eye(n), -np.eye(n)])
    limits = [(None, None)] * p + [(0, None)] * (2 * n)
    return linprog(cost, A_eq=equal, b_eq=y, bounds=limits, method="highs").fun


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["line", "parabola"])
@pytest.mark.parametrize("loss", ["mae", "quantile(q=0.5)", "quantile(q=0.9)", "quantile(q=0.1)"])
def test_kinked_losses_come_near_the_linear_program(loss, name, seed):
    """A corner has no curvature to tell a distance by; the loss still is near the least."""
    curve = CURVES[name]
    data = curve.data(0.15, seed)
    fit = sgdfit.fit(curve.formula, data, loss=loss)
    q = float(loss[11:-1]) if "q=" in loss else 0.5
    factor = 2.0 if loss == "mae" else 1.0
    best = factor * least_pinball(np.vander(X, len(curve.truth)), data["y"], q)
    assert fit.loss <= best * (1 + 1e-3)
    assert fit.status.name in ("converged", "stalled"), fit.status
    if fit.status.name == "converged":
        # A corner is rounded off to a millionth of the mean residual.
        assert fit.loss <= best * (1 + 1e-6)


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
    apart = (np.array([fit.values[n] for n in "abc"]) - found.x) / errors
    np.testing.assert_allclose(apart, 0, atol=1e-3)
