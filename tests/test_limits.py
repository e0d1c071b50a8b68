"""Slopes at rows where their formula is no number although the curve is."""

import warnings

import mpmath
import numpy as np
import pytest
from scipy.optimize import curve_fit

import sgdfit
from sgdfit.derivation.gradient_check import check_gradient
from sgdfit.formula.limits import evaluate_slope, slope_limit
from sgdfit.kernel import forms
from sgdfit.kernel.kernel import Chunk, Segment, State
from sgdfit.kernel.shuffle import shuffled
from sgdfit.model.model import build
from sgdfit.optimizers import sgd

X = np.linspace(0.0, 10.0, 41)
ONE = np.ones(1)


@pytest.mark.parametrize(
    ("curve", "at", "limit"),
    [
        (lambda p: 0.0**p, 2.0, 0.0),
        (lambda b: 1 / (1 + 0.0**b), 1.5, 0.0),
        (lambda k: (1 - np.exp(-k * 0.0)) ** 0.5, 0.3, 0.0),
        (lambda k: np.exp(3 * k), 0.5, 3 * np.exp(1.5)),
        (lambda k: np.exp(3e9 * k), 0.5e-9, 3e9 * np.exp(1.5)),
        (lambda k: 1e3 + np.sin(k), 0.0, 1.0),
        # One side is level, the other infinitely steep; near a corner, in units of years.
        (lambda m: np.sqrt(np.maximum(4.0 - m, 0)), 4.0, 0.0),
        (lambda m: np.sqrt(np.maximum(2023.9999 - m, 0)), 2024.0, 0.0),
        (lambda m: np.sqrt(np.maximum(3.2 - m, 0)) + m / 8, 3.20004, 0.125),
        (lambda m: np.maximum(4.0 - m, 0), 4.0, -0.5),
        (lambda m: np.abs(4.0 - m) ** 0.7, 4.0, 0.0),
        (lambda m: np.where(m < 4, np.abs(4.0 - m) ** 1.2, np.nan), 4.0, np.nan),
        (np.sqrt, 0.0, np.nan),
        (lambda b: np.where(b == 0, 0, b * np.log(b)), 0.0, np.nan),
        (lambda p: 0.0 ** (p - 2), 2.0, np.nan),
    ],
)
def test_a_limit_is_found_where_there_is_one(curve, at, limit):
    with np.errstate(all="ignore"):
        found = slope_limit(lambda value: curve(value) * ONE, np.array([at]))
    np.testing.assert_allclose(found, limit, rtol=1e-8, atol=1e-15)


FAMILIES = {
    "a*x**b + c": (3.0, 1.6, 2.0),
    "a*(1 - exp(-k*x))**p": (30.0, 0.4, 2.7),
    "a - d*exp(-k*x**p)": (7.0, 4.0, 0.1, 1.6),
    "v*x**n/(k**n + x**n)": (10.0, 2.0, 2.2),
    "c + (d - c)/(1 + (x/m)**b)": (1.0, 10.0, 3.0, 2.2),
    "c + (d - c)/(1 + exp(b*(log(x) - log(m))))": (1.0, 10.0, 2.2, 3.0),
    "c + (d - c)*exp(-exp(b*(log(x) - log(m))))": (1.0, 10.0, 1.5, 3.0),
    "c + k*maximum(x - m, 0)**p": (1.2, 1.7, 4.03, 1.4),
    "a*abs(x - m)**p": (2.0, 5.0, 1.5),
}


def data_of(formula, rows=X):
    names = build("y = " + formula, ["x", "y"]).free
    truth = dict(zip(names, FAMILIES[formula], strict=True))
    functions = {name: getattr(np, name) for name in ("exp", "log", "maximum", "abs")}
    curve = eval(f"lambda x, {', '.join(names)}: {formula}", functions)
    with np.errstate(all="ignore"):
        y = curve(rows, **truth)
    return curve, truth, y + 0.1 * np.random.default_rng(3).normal(size=len(rows))


@pytest.mark.parametrize("formula", FAMILIES)
def test_what_scipy_fits_is_fitted_with_the_same_errors(formula):
    curve, truth, y = data_of(formula)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        theta, covariance = curve_fit(curve, X, y, list(truth.values()), ftol=1e-14, xtol=1e-14)
        least = float(np.sum((curve(X, *theta) - y) ** 2))
    found = sgdfit.fit("y = " + formula, {"x": X, "y": y}, start=truth)
    errors = [found.estimates[name].stderr for name in truth]
    assert found.status.name == "converged"
    np.testing.assert_allclose([found.estimates[name].value for name in truth], theta, rtol=1e-4)
    np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance)), rtol=1e-2)

    sought = sgdfit.fit("y = " + formula, {"x": X, "y": y})
    assert sought.status.name == "converged"
    assert sought.residual_sum_of_squares <= least * (1 + 1e-6)
    band = sought.predict({"x": X}, interval="confidence")
    assert np.isfinite(np.asarray(band)).all()


def test_both_forms_of_the_kernel_take_limits():
    """In sums over panels, and in textbook steps, of which many meet such a row."""
    formula = "c + (d - c)/(1 + (x/m)**b)"
    rows = np.random.default_rng(0).permutation(np.resize(X, 4000))
    _, truth, y = data_of(formula, rows)
    model = build("y = " + formula, ["x", "y"], start=truth)
    chunk, theta = Chunk((rows, y), None), np.array(model.start)
    compiled, plain = (forms.make(model, sgd(), form) for form in ("compiled", "numpy"))
    for found, known in zip(compiled.sums(theta, chunk), plain.sums(theta, chunk), strict=True):
        np.testing.assert_allclose(found, known, rtol=1e-9)
    bound = np.full(len(theta), np.inf)
    for size in (1, 16):
        rates = np.full(len(rows), 1e-5)
        part = Segment(shuffled(len(rows), 0, 0), size, rates, np.inf, 10, -bound, bound)
        state = State(theta, np.zeros((1, len(theta))), np.zeros(len(theta)), 0, 0, 0)
        one, other = (kernel.sweep(state, chunk, part) for kernel in (compiled, plain))
        assert not one.halted
        assert one.state[3:] == other.state[3:]
        np.testing.assert_allclose(one.state.theta, other.state.theta, rtol=1e-9)
        np.testing.assert_allclose(one.records, other.records, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("formula", "at", "x"),
    [
        ("t*x**h/(k**h + x**h)", {"t": 3.0, "h": 133.0, "k": 200.0}, 205.0),
        ("t*x**h/(k**h + x**h)", {"t": 3.0, "h": 50.0, "k": 0.5}, 1e5),
        ("K*N*exp(r*x)/(K + N*(exp(r*x) - 1))", {"K": 4.0, "N": 1e-3, "r": 20.0}, 20.0),
        ("a*g**2/((x - m)**2 + g**2)", {"a": 4.0, "g": 1e100, "m": 1.0}, 3.0),
        ("(a + b*x)/(1 + c*x + d*x**2)", {"a": 4.0, "b": 1e160, "c": 1.0, "d": 1e160}, 1.0),
        ("a/cosh(k*x)", {"a": 4.0, "k": 12.0}, 30.0),
    ],
)
def test_no_power_of_a_divisor_overflows(formula, at, x):
    """Its inverse would be 0, and the slope that of the other terms."""
    model, rows = build("y = " + formula, ["x", "y"]), {"x": np.array([x]), "y": np.zeros(1)}
    names, chunk = list(model.free), Chunk(tuple(rows[name] for name in model.columns), None)
    curve = eval(f"lambda x, {', '.join(names)}: {formula}", vars(mpmath))
    theta = [at[name] for name in names]
    with mpmath.workdps(400):
        exact = [mpmath.mpf(value) for value in (x, *theta)]
        whole = range(len(exact))
        slopes = [mpmath.diff(curve, exact, tuple(int(i == k) for i in whole)) for k in whole[1:]]
        scales = [abs(curve(*exact) / value) for value in exact[1:]]
    computed = forms.make(model, None, "numpy").rows(np.array(theta), chunk).jacobian[:, 0]
    walked = [
        evaluate_slope(model.prediction, slope, name, rows | at)[0]
        for name, slope in zip(names, model.gradient, strict=True)
    ]
    for k in range(len(names)):
        for found in (computed[k], walked[k]):
            assert abs(found - slopes[k]) <= 1e-5 * abs(slopes[k]) + 1e-8 * scales[k]


@pytest.mark.parametrize("formula", FAMILIES)
def test_the_gradient_check_takes_limits(formula):
    _, truth, y = data_of(formula)
    model = build("y = " + formula, ["x", "y"])
    theta = [1.1 * truth[name] for name in model.free]
    check = check_gradient(model, {"x": X, "y": y}, theta)
    assert check.trouble is None
    assert max(check.differences(check.central)) < 1e-6


def test_where_a_slope_has_no_limit_the_row_is_named():
    x = np.linspace(0.0, 1.0, 20)
    start = {"a": 1.0, "b": 0.0}
    found = sgdfit.fit("y = a + sqrt(b)*x", {"x": x, "y": 1 + x}, start=start, search=False)
    assert found.status.name == "domain_error"
    assert "b = 0" in found.status.cause


@pytest.mark.parametrize(
    ("power", "passed"), [("exp(b*(log(x) - log(m)))", False), ("(x/m)**b", True)]
)
def test_an_exponent_below_0_is_found_or_told_where_a_row_is_at_its_pole(power, passed):
    # At dose 0 both formulas tend to c for b < 0; the second divides by 0 on the way.
    x = np.repeat([0.0, *np.geomspace(0.05, 60, 8)], 3)

    def curve(x, c, d, m, b):
        with np.errstate(all="ignore"):
            return c + (d - c) * np.exp(-((x / m) ** b))

    y = curve(x, 1.0, 9.0, 1.4, -2.4) + 0.1 * np.random.default_rng(1).normal(size=len(x))
    theta, _ = curve_fit(curve, x, y, [1.0, 9.0, 1.4, -2.4])
    formula = f"y = c + (d - c)*exp(-{power})"
    fit = sgdfit.fit(formula, {"x": x, "y": y})
    told = [text for text in fit.warnings if "passed over" in text]
    assert bool(told) == passed
    if passed:
        fit = sgdfit.fit(formula, {"x": x, "y": y}, start=told[0].split("'")[1])
    assert fit.values == pytest.approx(dict(zip("cdmb", theta, strict=True)), rel=1e-5)
