"""Bounds, fixed and tied parameters, weights and sigma under the optimizer ``auto``."""

import numpy as np
import pytest
from scipy.optimize import curve_fit, least_squares, lsq_linear

import sgdfit

N = 50
X = np.linspace(0, 5, N)
BASIS = np.column_stack([X**0, X, np.sin(X), X**2])
LINE = "y = a + b*x + c*sin(x) + d*x**2"
DECAY = "y = a*exp(-b*x) + c"
FAR = (-1e4, 1e4)  # wide enough to be no bound


def noise(seed):
    return 0.1 * np.random.default_rng(seed).normal(size=N)


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


def saturation(x, a, b, c):
    return a * x / (b + x) + c


Y = decay(X, 3.0, 1.2, 0.5) + noise(5)


def linear_case(seed, on):
    """Return y and bounds, of which ``on`` parameters' bite at the minimum."""
    rng = np.random.default_rng(seed)
    y = BASIS @ rng.normal(size=4) + noise(seed)
    best = np.linalg.lstsq(BASIS, y, rcond=None)[0]
    bounds = {}
    for k in rng.permutation(4)[:on]:
        low = rng.random() < 0.5
        gap = rng.uniform(0.05, 0.8)
        bounds["abcd"[k]] = (best[k] + gap, None) if low else (None, best[k] - gap)
    return y, bounds


def check_bounded(fit, least, bounds):
    assert fit.status.name == "converged", fit.status
    assert fit.residual_sum_of_squares == pytest.approx(least, rel=1e-9)
    for name, estimate in fit.estimates.items():
        low, high = bounds.get(name, (None, None))
        assert low is None or low <= estimate.value
        assert high is None or high >= estimate.value
        assert estimate.at_bound == (estimate.value in (low, high))
        assert (estimate.stderr is None) == (estimate.interval is None) == estimate.at_bound
        assert estimate.at_bound or fit.covariance is None or estimate.stderr > 0


@pytest.mark.parametrize("on", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_linear_bounds_against_lsq_linear(seed, on):
    y, bounds = linear_case(seed, on)
    fit = sgdfit.fit(LINE, {"x": X, "y": y}, bounds=bounds)
    sides = [bounds.get(n, (None, None)) for n in "abcd"]
    low = [-np.inf if side is None else side for side, _ in sides]
    high = [np.inf if side is None else side for _, side in sides]
    best = lsq_linear(BASIS, y, (low, high), method="bvls", tol=1e-15)
    check_bounded(fit, 2 * best.cost, bounds)
    np.testing.assert_allclose([fit.values[n] for n in "abcd"], best.x, rtol=1e-7, atol=1e-9)


def test_errors_beside_a_bound_are_those_of_the_others_alone():
    y, bounds = linear_case(3, 2)
    fit = sgdfit.fit(LINE, {"x": X, "y": y}, bounds=bounds)
    on = {n: e.value for n, e in fit.estimates.items() if e.at_bound}
    others = [k for k, n in enumerate("abcd") if n not in on]
    A = BASIS[:, others]
    target = y - sum(value * BASIS[:, "abcd".index(n)] for n, value in on.items())
    theta, left = np.linalg.lstsq(A, target, rcond=None)[:2]
    errors = np.sqrt(np.diag(np.linalg.inv(A.T @ A)) * left[0] / (N - len(others)))
    assert on
    for found in (fit, sgdfit.fit(LINE, {"x": X, "y": y}, fixed=on)):
        # The same degrees of freedom stand behind all that is reported.
        assert found.degrees_of_freedom == N - len(others)
        assert found.reduced_chi_square == pytest.approx(left[0] / (N - len(others)), rel=1e-8)
        assert found.aic == pytest.approx(
            N * (np.log(2 * np.pi * left[0] / N) + 1) + 2 * len(others) + 2, rel=1e-8
        )
        for k, value, error in zip(others, theta, errors, strict=True):
            assert found.values["abcd"[k]] == pytest.approx(value, rel=1e-8)
            assert found.estimates["abcd"[k]].stderr == pytest.approx(error, rel=1e-6)


CURVES = {
    "decay": (DECAY, decay, (3.0, 1.2, 0.5)),
    "saturation": ("y = a*x/(b + x) + c", saturation, (4.0, 1.5, -1.0)),
}
# Shares of the truth by which a bound cuts (below 0: it does not reach there).
CUTS = {
    "none bites": {"a": (-9, 9), "b": (-0.9, 9)},
    "one low": {"b": (0.2, 9)},
    "one high": {"a": (-9, -0.2)},
    "linear and nonlinear": {"a": (0.3, 9), "b": (-0.9, -0.1)},
    "all": {"a": (0.1, 9), "b": (0.2, 9), "c": (-9, -0.3)},
    "a narrow box": {"a": (0.1, 0.2), "b": (-0.2, -0.15)},
}
PLACES = {"no start": None, "inside": 0.4, "on a bound": 0.0, "in the box's other half": 0.95}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize(("formula", "curve", "truth"), CURVES.values(), ids=CURVES)
def test_bounds_against_least_squares(formula, curve, truth, cut, place):
    y = curve(X, *truth) + noise(7)
    known = dict(zip("abc", truth, strict=True))
    bounds = {n: tuple(sorted(known[n] + abs(known[n]) * share for share in cut[n])) for n in cut}
    low, high = (np.array([bounds.get(n, FAR)[side] for n in "abc"]) for side in (0, 1))
    start = None
    if place is not None:
        bounded = np.array([n in bounds for n in "abc"])
        within = np.where(bounded, low + place * (high - low), np.array(truth) * 1.2)
        start = dict(zip("abc", within.tolist(), strict=True))
    fit = sgdfit.fit(formula, {"x": X, "y": y}, bounds=bounds, start=start)
    gap = 1e-9 * (high - low)
    near, best = (
        2 * least_squares(
            lambda t: curve(X, *t) - y, np.clip(theta, low + gap, high - gap), bounds=(low, high),
            jac="3-point", xtol=1e-15, ftol=1e-15, gtol=1e-15, x_scale="jac",
        ).cost
        for theta in ([fit.values[n] for n in "abc"], truth)
    )  # fmt: skip
    # scipy stays a little inside of its bounds, so that its sum may be larger.
    assert fit.residual_sum_of_squares <= near * (1 + 1e-9)
    if fit.status.name == "local_minimum":
        assert place == 0.0
        assert best < near * (1 - 1e-3)
        return
    assert fit.residual_sum_of_squares <= best * (1 + 1e-9)
    check_bounded(fit, fit.residual_sum_of_squares, bounds)


def test_a_bound_through_the_optimum():
    """The unconstrained minimum lies on it: same estimates, and the curve is the same."""
    data = {"x": X, "y": Y}
    plain = sgdfit.fit(DECAY, data)
    for name in "abc":
        for bound in ((plain.values[name], None), (None, plain.values[name])):
            fit = sgdfit.fit(DECAY, data, bounds={name: bound})
            assert fit.status.name == "converged", fit.status
            least = plain.residual_sum_of_squares
            assert fit.residual_sum_of_squares == pytest.approx(least, rel=1e-12)
            assert fit.values == pytest.approx(plain.values, rel=1e-7)


def test_bounds_on_growing_batches():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 4, 100_000)
    y = decay(x, 2.0, 0.7, 0.5) + 0.1 * rng.normal(size=x.size)
    for formula, bounds, held in (
        (DECAY, {"c": (0.52, None)}, lambda x, a, b: decay(x, a, b, 0.52)),
        (DECAY, {"b": (None, 0.69)}, lambda x, a, c: decay(x, a, 0.69, c)),
        ("y = a*x**2 + b*x + c", {"c": (None, 1.0)}, lambda x, a, b: a * x * x + b * x + 1),
    ):
        fit = sgdfit.fit(formula, {"x": x, "y": y}, bounds=bounds, tolerance=1e-6)
        (on,) = bounds
        theta, covariance = curve_fit(held, x, y, (1.0, 1.0), xtol=1e-14, ftol=1e-14)
        others = [n for n in "abc" if n != on]
        assert fit.status.name == "converged", fit.status
        assert fit.estimates[on].at_bound
        assert fit.estimates[on].stderr is None
        for name, value, error in zip(others, theta, np.sqrt(np.diag(covariance)), strict=True):
            assert fit.values[name] == pytest.approx(value, abs=1e-5 * error)
            assert fit.estimates[name].stderr == pytest.approx(error, rel=1e-3)


REDUCED = {
    "fixed": ({"fixed": {"c": 0.45}}, lambda x, a, b: decay(x, a, b, 0.45), "ab"),
    "fixed nonlinear": ({"fixed": {"b": 1.1}}, lambda x, a, c: decay(x, a, 1.1, c), "ac"),
    "tied": ({"tied": {"c": "a/6"}}, lambda x, a, b: decay(x, a, b, a / 6), "ab"),
    "tied to a rate": ({"tied": {"a": "3*b"}}, lambda x, b, c: decay(x, 3 * b, b, c), "bc"),
    "fixed and tied": (
        {"fixed": {"c": 0.5}, "tied": {"b": "a*0.4"}}, lambda x, a: decay(x, a, 0.4 * a, 0.5), "a"
    ),
}  # fmt: skip
SPREAD = np.linspace(0.05, 0.3, N)
WEIGHTS = {
    "plain": ({}, None),
    "weights": ({"weights": "w"}, 1 / np.sqrt(np.linspace(0.2, 3, N))),
    "sigma": ({"sigma": "s"}, SPREAD),
    "absolute": ({"sigma": "s", "absolute_sigma": True}, SPREAD),
}


@pytest.mark.parametrize("given", [False, True], ids=["no start", "start"])
@pytest.mark.parametrize(("weighting", "sigma"), WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize(("options", "curve", "free"), REDUCED.values(), ids=REDUCED)
def test_the_reduced_problem_is_scipys(options, curve, free, weighting, sigma, given):
    data = {"x": X, "y": Y, "w": np.linspace(0.2, 3, N), "s": SPREAD}
    near = {"a": 3.0, "b": 1.2, "c": 0.5}
    start = {n: 0.7 * near[n] for n in free} if given else None
    fit = sgdfit.fit(DECAY, data, start=start, **options, **weighting)
    theta, covariance = curve_fit(
        curve, X, Y, [near[n] for n in free], sigma, "absolute_sigma" in weighting,
        xtol=1e-15, ftol=1e-15, gtol=1e-15,
    )  # fmt: skip
    assert fit.status.name == "converged", fit.status
    for name, value, error in zip(free, theta, np.sqrt(np.diag(covariance)), strict=True):
        assert fit.values[name] == pytest.approx(value, abs=1e-6 * error)
        assert fit.estimates[name].stderr == pytest.approx(error, rel=1e-4)
    assert set(fit.free) == set(free)
    for name, value in options.get("fixed", {}).items():
        assert (fit.values[name], fit.estimates[name].stderr) == (value, None)


@pytest.mark.parametrize("loss", ["mse", "huber(delta=0.01)", "cauchy", "log_cosh"])
def test_all_parameters_on_bounds_have_arrived(loss):
    """Also where every residual is so large that the loss is a straight line there."""
    bounds = {"a": (3.5, 4.0), "b": (0.2, 0.9), "c": (0.9, 2.0)}
    y = decay(X, 3.0, 1.2, 0.5)
    fit = sgdfit.fit(DECAY, {"x": X, "y": y}, bounds=bounds, loss=loss)
    assert all(fit.values[n] in sides for n, sides in bounds.items())
    assert (fit.status.name, fit.distance) == ("converged", 0)
    assert all(e.at_bound and e.stderr is None for e in fit.estimates.values())


@pytest.mark.parametrize(("tie", "value"), [("a**a", 1.0), ("b*a**a", None), ("log(a)", np.nan)])
def test_a_tie_without_a_slope_at_the_bound_has_no_error(tie, value):
    data = {"x": X, "y": 1 - X + noise(7)}
    fit = sgdfit.fit(
        "y = b + a*x + where(x > 9, m, 0)", data, tied={"m": tie}, bounds={"a": (0, None)}
    )
    alone = sgdfit.fit("y = b + 0*x", data)
    assert fit["a"].at_bound
    value = fit["b"].value if value is None else value
    np.testing.assert_equal(fit["m"].value, value)
    assert fit["m"].stderr is None
    assert fit["b"].stderr == pytest.approx(alone["b"].stderr, rel=1e-9)
