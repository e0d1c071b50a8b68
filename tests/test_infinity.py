"""Optima at infinity: named as such, with the limit and what it determines, judged by SciPy."""

import re

import numpy as np
import pytest
from scipy.optimize import curve_fit, least_squares

import sgdfit

X = np.arange(1, 21.0)
NOISE, WITHIN, BELOW = (0.03 * np.random.default_rng(k).normal(size=20) for k in (11, 12, 13))
STEP = np.where(X < 7.5, 1.0, 3.0) + np.where(abs(X - 7.5) < 1, 0.1 * np.sign(X - 7.5), NOISE)


def line(x, intercept, slope):
    return intercept + slope * x


# Formula, response, bounds; which parameter runs off whereto, the formula of the limit, its curve,
# and what the parameters of that are of the model's.
CASES = {
    "a logistic curve": (
        "y = a + b/(1 + exp(-k*(x - m)))", STEP, "k > 0", "k → ∞", "y = a + b*where(x < m, 0, 1)",
        lambda x, a, b: np.where(x < 7.5, a, a + b), ("a", "b"),
    ),
    "a tangent": (
        "y = a + b*tanh((x - m)/s)", STEP, "s > 0", "s → 0", "y = a + b*where(x < m, -1, 1)",
        lambda x, a, b: np.where(x < 7.5, a - b, a + b), ("a", "b"),
    ),
    "an exponential": (
        "y = a*exp(d*x) + c", 0.3 + 0.2 * X - 0.003 * X**2 + NOISE, "d > 0", "d → 0",
        "y = a*x + c", line, ("a + c", "a*d"),
    ),
    "a saturation": (
        "y = v*x/(k + x)", 2 * X + 0.05 * X**2 + NOISE, "k > 0", "k → ∞", "y = v*x",
        lambda x, v: v * x, ("v/k",),
    ),
    "a growth": (
        "y = a/(1 + exp(-k*(x - m)))", 2 * np.exp(0.2 * X) * (1 + 0.01 * NOISE), None, "m → ∞",
        "y = a*exp(k*x)", lambda x, a, k: a * np.exp(k * x), ("a*exp(-k*m)", "k"),
    ),
    "a hyperbolic cosine": (
        "y = a*cosh(k*x) + c", 1 - 0.01 * X**2 + 1e-5 * X**4 + 0.1 * NOISE, None, "k → 0",
        "y = a*x**2 + c", lambda x, c, a: c + a * x**2, ("a + c", "a*k**2/2"),
    ),
    "a row on the slope": (
        "y = a + b*x**h/(c**h + x**h)", np.where(X < 8, 1.0, 3.0) + WITHIN, None,
        "h → ∞, any c from 7 to 8", "y = a + b*where(x < c, 0, 1)",
        lambda x, a, b, s: np.where(x < 8, a, np.where(x > 8, a + b, s)), ("a", "b", None),
    ),
    "a row well on the slope": (
        "y = a*(1 - exp(-(x/l)**p))", np.where(X == 8, 1.7, np.where(X < 8, 0.0, 3.0)) + WITHIN,
        None, "p → ∞, l → 8", "", lambda x, a, s: np.where(x > 8, a, np.where(x < 8, 0, s)),
        ("a", None),
    ),
    "a term that vanishes": (
        "y = a*exp(-k*x) + c", np.where(X < 1.5, 3.0, 1.0) + BELOW, None, "k → ∞, a → ∞",
        "y = a*where(x < 1.5, 1, 0) + c", lambda x, a, c: c + np.where(x < 1.5, a, 0),
        ("a*exp(-k)", "c"),
    ),
    "equal rates": (
        "y = a*exp(-k*x) + b*exp(-m*x)", (3 + 2 * X) * np.exp(-0.3 * X) + 0.1 * BELOW, None,
        "k → m", "y = a*x*exp(-m*x) + b*exp(-m*x)",
        lambda x, b, a, m: (b + a * x) * np.exp(-m * x), ("a + b", "-a*(k - m)", "k/2 + m/2"),
    ),
    "equal rates of a Bateman curve": (
        "y = a*k/(k - m)*(exp(-m*x) - exp(-k*x))", X * np.exp(-0.3 * X) + 0.03 * BELOW, None,
        "k → m", "y = a*x*exp(-m*x)", lambda x, a, m: a * x * np.exp(-m * x),
        ("a*(k/2 + m/2)", "k/2 + m/2"),
    ),
    "a Pearson peak": (
        "y = a/(1 + ((x - m)/w)**2)**p",
        2 * np.exp(-((X - 9) ** 2) / 15 - (X - 9) ** 4 / 2e3) + 0.5 * WITHIN, None,
        "w → ∞, p → ∞", "y = a*exp(-p*(x - m)**2)",
        lambda x, a, m, p: a * np.exp(-p * (m - x) ** 2), ("a", "m", "p/w**2"),
    ),
    "a Gaussian with a tail": (
        "y = a*exp(s**2/(2*t**2) - (x - m)/t)*erfc((s/t - (x - m)/s)/sqrt(2))",
        2 * np.exp(-((X - 9) ** 2) / 8) * (1 - ((X - 9) / 8) ** 3) + WITHIN, "s > 0, t > 0",
        "t → 0", "y = a*exp(-(x - m)**2/(2*s**2))",
        lambda x, m, s, a: a * np.exp(-((x - m) ** 2) / (2 * s**2)), ("m", "s"),
    ),
    "a Weibull curve": (
        "y = a*(1 - exp(-(x/l)**p))", 0.3 * X**1.5 + NOISE, None, "l → ∞", "y = a*x**p",
        lambda x, a, p: a * x**p, ("a*(1/l)**p", "p"),
    ),
    "a power": (
        "y = a*x**b + c", np.log(X) - 0.03 * np.log(X) ** 2 + 0.1 * NOISE, "b > 0", "b → 0",
        "y = a*log(x) + c", lambda x, c, a: c + a * np.log(x), ("a + c", "a*b"),
    ),
}  # fmt: skip


UNITS = [(case, unit) for case in ("a logistic curve", "equal rates") for unit in (1e-6, 1e6)]


@pytest.mark.parametrize(("case", "unit"), [*((case, 1.0) for case in CASES), *UNITS])
def test_the_limit_is_named_with_what_it_determines(case, unit):
    formula, y, bounds, runs, simpler, curve, parts = CASES[case]
    fit = sgdfit.fit(formula, {"x": X, "y": y * unit}, bounds=bounds)

    assert fit.status.name == "at_infinity", fit.status
    assert f"the best curve is a limit: {runs}" in fit.status.cause
    assert fit.status.cure == f"fit '{simpler}'" if simpler else "fix" in fit.status.cure
    starts = {"a growth": (1.0, 0.2), "a Pearson peak": (2.0, 9.0, 0.06)}
    start = (starts | {"a Gaussian with a tail": (9.0, 2.0, 2.0)}).get(case)
    best, covariance = curve_fit(curve, X, y, start)
    squares = float(((curve(X, *best) - y) ** 2).sum()) * unit**2
    assert fit.residual_sum_of_squares == pytest.approx(squares, rel=3e-4, abs=0)
    errors = np.sqrt(np.diag(covariance))
    told = {d.text: (d.value, d.stderr) for d in fit.determined}
    told |= {n: (e.value, e.stderr) for n, e in fit.estimates.items() if e.stderr is not None}
    for part, value, error in zip(parts, best, errors, strict=False):
        if part is None:
            continue
        scale = 1.0 if part == "k/2 + m/2" else unit
        assert told[part][0] == pytest.approx(value * scale, abs=0.05 * error * scale)
        assert told[part][1] == pytest.approx(error * scale, rel=0.01)
    assert runs[0] in fit.undetermined
    assert max(map(abs, fit.values.values())) < 1e16 * max(unit, 1)


@pytest.mark.parametrize(
    ("formula", "rate", "ends", "name", "amplitude"),
    [
        ("y = a*(x + b)**p", 0.1, "b → ∞, p → ∞", "p", "a*b**p"),
        ("y = a*(x + b)**p + c", -0.3, "b → ∞, p → −∞", "p", "a*b**p"),
        ("y = a*exp(-b*exp(-c*x))", 0.1, "b → −∞, c → 0", "c", "a*exp(-b)"),
        ("y = a*exp(-(x - m)**2/(2*s**2))", 0.1, "s → ∞, m → ∞", "m", "a*exp(-m**2/(2*s**2))"),
    ],
)
def test_a_limit_that_floating_point_ends_before_is_fitted_by_itself(
    formula, rate, ends, name, amplitude
):
    y = 2 * np.exp(rate * X) + 0.1 * WITHIN
    fit = sgdfit.fit(formula, {"x": X, "y": y})
    assert fit.status.name == "at_infinity", fit.status
    assert f"the best curve is a limit: {ends}; the curve tends to" in fit.status.cause
    offset = " + c" if "c" in formula[-3:] else ""
    assert fit.status.cure == f"fit 'y = a*exp({name}*x){offset}'"

    def curve(x, a, k, c=0.0):
        return a * np.exp(k * x) + c

    best, covariance = curve_fit(curve, X, y, (2.0, rate, 0.0)[: 3 if offset else 2])
    told = {d.text: (d.value, d.stderr) for d in fit.determined}
    (product,) = told.keys() - {amplitude, "c"}
    found = [told[text] for text in (amplitude, product, "c") if text in told]
    expected = list(zip(best, np.sqrt(np.diag(covariance)), strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("loss", ["huber", "cauchy"])
def test_the_scale_of_a_robust_loss_is_that_of_the_limit(loss):
    data = {"x": X, "y": 2 * np.exp(0.1 * X) + 0.1 * WITHIN}
    fit = sgdfit.fit("y = a*(x + b)**p", data, loss=loss)
    assert fit.status.name == "at_infinity", fit.status
    assert fit.status.cure == "fit 'y = a*exp(p*x)'"
    limit = sgdfit.fit("y = a*exp(p*x)", data, loss=loss)
    assert fit.loss_scale == pytest.approx(limit.loss_scale, rel=1e-6)
    told = {d.text: d.value for d in fit.determined}
    found = [told["a*b**p"], told["p/b"]]
    np.testing.assert_allclose(found, [limit["a"].value, limit["p"].value], rtol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "huber"])
@pytest.mark.parametrize("seed", [0, 3, 4])
def test_a_bend_that_a_straight_line_lacks_says_what_is_determined(seed, loss):
    t = np.linspace(0, 10, 40)
    y = 1 + 0.5 * t + 0.05 * np.random.default_rng(1002 + seed).normal(size=40)
    fit = sgdfit.fit("y = a + b*t + d*max(t - c, 0)", {"t": t, "y": y}, loss=loss)
    assert fit.status.name in ("converged", "at_infinity"), fit.status
    how = {"loss": "linear" if loss == "mse" else loss, "f_scale": 1.345 * (fit.loss_scale or 1.0)}

    def cost(bend, start):
        return least_squares(lambda p: bend @ p - y, start, **how).cost

    bends = [np.column_stack([t**0, t, np.maximum(t - c, 0)]) for c in np.linspace(0.3, 9.9, 50)]
    best = min(cost(bend, (1.0, 0.5, 0.0)) for bend in bends)
    a, b, d, c = fit.values.values()
    own = np.column_stack([t**0, t, np.maximum(t - c, 0)])
    assert cost(own, (a, b, d)) <= best * (1 + 1e-6)
    if fit.undetermined and fit.status.name == "converged":
        assert f"only {fit.determined[0].text}" in fit.warnings[-1]


def test_a_power_that_only_the_last_row_feels_is_a_step():
    y = np.where(X < 20, 1.0, 1.2) + WITHIN
    fit = sgdfit.fit("y = a*x**b + c", {"x": X, "y": y}, bounds="b > 0")
    assert fit.status.name == "at_infinity", fit.status
    assert fit.status.cure == "fit 'y = a*where(x < 19.5, 0, 1) + c'"
    ((text, height),) = [(d.text, d.value) for d in fit.determined]
    assert text == "20**b*a"
    assert height == pytest.approx(y[-1] - y[:-1].mean(), rel=1e-6)


MANY = np.random.default_rng(3).uniform(0.0, 20.0, 50_000)
LOGISTIC, DECAY = "y = a + b/(1 + exp(-k*(x - m)))", "y = a + b*exp(-k*x)"


@pytest.mark.parametrize(
    ("formula", "x", "scatter", "options"),
    [
        (LOGISTIC, X, 0.03, {"loss": "huber"}),
        (LOGISTIC, X, 0.03, {"sigma": 0.03}),
        (LOGISTIC, MANY, 0.1, {}),
        (LOGISTIC, MANY.round(), 0.1, {}),
        (LOGISTIC, X, 0.0, {}),
        (DECAY, X, 0.0, {}),
    ],
)
def test_any_rows_and_losses_have_limits(formula, x, scatter, options):
    at = 7.5 if formula == LOGISTIC else 1.5
    y = np.where(x < at, 1.0, 3.0) + scatter * np.random.default_rng(4).normal(size=len(x))
    fit = sgdfit.fit(formula, {"x": x, "y": y}, **options)
    assert fit.status.name == "at_infinity", fit.status
    above = "where(x < m, 0, 1)" if formula == LOGISTIC else "where(x < 1.5, 1, 0)"
    assert fit.status.cure == f"fit 'y = a + b*{above}'"
    if formula == LOGISTIC:
        low, high = x[x < at].max(), x[x > at].min()
        assert f"any m from {low:.10g} to {high:.10g};" in fit.status.cause
        assert fit["m"].stderr is None
    if "loss" not in options and formula == LOGISTIC:
        sides = [y[x < at], y[x > at]]
        assert fit["b"].value == pytest.approx(np.diff([s.mean() for s in sides])[0], abs=0.02)


def test_what_runs_off_to_a_bound_is_on_it():
    fit = sgdfit.fit(LOGISTIC, {"x": X, "y": STEP}, bounds="0 < k < 1000")
    assert fit.status.name == "converged", fit.status
    assert fit["k"].at_bound
    (told,) = fit.warnings
    assert "any value between 7 and 8" in told


@pytest.mark.parametrize("seed", [6, 16, 23])
@pytest.mark.parametrize("dip", [0.0, 1.0])
def test_an_amplitude_on_its_bound_is_there_for_all_places(seed, dip):
    """Its position and width have no effect then; elsewhere it might rise."""
    y = 2 + 0.05 * np.random.default_rng(seed).normal(size=20) - dip * (X > 10)
    formula, bounds = "y = c - d*(x > 10) + a*exp(-((x - m)/s)**2)", "a > 0, 5 < m < 15, 1 < s < 5"
    fit = sgdfit.fit(formula, {"x": X, "y": y}, bounds=bounds)

    def residual(p):
        return p[0] - p[1] * (X > 10) + p[2] * np.exp(-(((X - p[3]) / p[4]) ** 2)) - y

    low, high = [-9, -9, 0, 5, 1], [9, 9, 9, 15, 5]
    starts = [(2, dip, 0.1, m, s) for m in range(6, 15) for s in (1.1, 2, 4)]
    judge = min(2 * least_squares(residual, start, bounds=(low, high)).cost for start in starts)
    assert fit.status.name == "converged", fit.status
    assert fit.residual_sum_of_squares <= judge * (1 + 1e-3)
    assert fit["c"].stderr is not None


@pytest.mark.parametrize(
    ("term", "sign"), [("a*exp(-k*x)", -1), ("a*x/(k + x)", 1), ("a*(1 - exp(-k*x))", 1)]
)
def test_a_term_that_its_bound_holds_at_0_leaves_the_rest_as_without_it(term, sign):
    x = X / 4
    y = 1 + x - sign * 0.5 * x / (2 + x) + NOISE
    bounded = sgdfit.fit(f"y = {term} + b*x", {"x": x, "y": y - 1}, bounds="a >= 0, k > 0")
    alone = sgdfit.fit("y = b*x", {"x": x, "y": y - 1})
    if sign < 0:
        bounded = sgdfit.fit(f"y = {term} + b*x + 1.5", {"x": x, "y": y}, bounds="a >= 0, k > 0")
        alone = sgdfit.fit("y = b*x + 1.5", {"x": x, "y": y})
    assert bounded.status.name == "converged", bounded.status
    assert bounded["a"].value == 0
    assert bounded["b"].stderr == pytest.approx(alone["b"].stderr, rel=1e-6)


# Formula; a curve that it comes near with the other sign of k alone; a start, and one over there.
ACROSS = {
    "y = a*x/(k + x)": (X + 0.02 * X**2, "a=1, k=1", "a=-60, k=-60"),
    "y = a*(1 - exp(-k*x))": (X + 0.02 * X**2, "a=1, k=1", "a=-25, k=-0.04"),
    "y = c + a*exp(x/k)": (X - 0.02 * X**2, "a=1, k=10, c=0", "a=-20, k=-20, c=20"),
}


@pytest.mark.parametrize("formula", ACROSS)
def test_what_lies_across_infinity_is_reached(formula):
    curve, *starts = ACROSS[formula]
    data = {"x": X, "y": curve + NOISE}
    fit, there = (sgdfit.fit(formula, data, start=start, search=False) for start in starts)
    assert fit.status.name == "converged", fit.status
    assert fit.residual_sum_of_squares == pytest.approx(there.residual_sum_of_squares, rel=1e-9)


@pytest.mark.parametrize("start", [0.3, 6.6, -6, 12.5])
def test_a_phase_that_may_be_doubled_is_not_at_infinity(start):
    x = np.linspace(-6, 6, 40)
    fit = sgdfit.fit("y = sin(x + a)", {"x": x, "y": np.sin(x)}, start={"a": start})
    assert fit.status.name == "converged"
    assert abs(fit["a"].value / (2 * np.pi) - round(start / (2 * np.pi))) < 1e-9


def test_what_has_an_optimum_is_not_at_infinity():
    """Wide errors, and curves that start on flat ground, are no limits."""
    y = 0.3 + 0.2 * X + NOISE
    assert sgdfit.fit("y = a*exp(d*x) + c", {"x": X, "y": y}).status.name == "converged"
    data = {"x": X, "y": 2 * X / (9 + X) + NOISE}
    fit = sgdfit.fit("y = v*x/(k + x)", data, start={"v": 1.0, "k": 1e9}, search=False)
    assert fit.status.name != "at_infinity"


@pytest.mark.parametrize(
    ("formula", "curve"),
    [
        ("y = a*t**b", lambda t: 3 * t**-0.7),
        ("y = c + a/t**b", lambda t: 2 + 3 * t**-1.2),
        ("y = a*exp(b/t)", lambda t: 2 * np.exp(1.5 / t)),
        ("y = a*t**p + c", lambda t: 1 + 2 * t**-0.8),  # converges with p = 0.4
    ],
)
def test_a_row_that_keeps_a_parameter_from_its_sign_comes_with_the_condition(formula, curve):
    t = np.arange(25.0)
    data = {"t": t, "y": np.concatenate([[0.0], curve(t[1:])])}
    fit = sgdfit.fit(formula, data)
    assert fit.status.name in ("at_infinity", "converged")
    condition = re.search('--where "(.*)" \\(in Python', fit.status.cure + str(fit.warnings))[1]
    kept = sgdfit.fit(formula, data, where=condition)
    np.testing.assert_allclose(kept.fitted, curve(t[1:]), rtol=1e-6)


def test_a_sum_to_a_large_power_keeps_its_digits():
    """Of 1 + k*x/n rounding is n times as large in the power, and fits the noise."""
    y = 2 * np.exp(0.1 * X) + WITHIN
    fit = sgdfit.fit("y = a*(1 + k*x/n)**n", {"x": X, "y": y})

    def residual(p):
        return p[0] * np.exp(p[2] * np.log1p(p[1] * X / p[2])) - y

    judges = [
        least_squares(residual, (2, 0.1, n), x_scale="jac") for n in (-300, -30, 30, 300, 1e6)
    ]
    best = 2 * min(judge.cost for judge in judges)
    assert fit.status.name in ("converged", "at_infinity")
    assert fit.residual_sum_of_squares == pytest.approx(best, rel=1e-4)


def test_a_negative_sum_to_whole_powers_of_a_column_has_a_value():
    y = 3 * (-0.5) ** X + WITHIN
    fit = sgdfit.fit("y = a*(1 + b)**x", {"x": X, "y": y}, start="a=1, b=-1.3")
    best, _ = curve_fit(lambda x, a, b: a * (1 + b) ** x, X, y, (1, -1.3))
    np.testing.assert_allclose(list(fit.values.values()), best, rtol=1e-5)


@pytest.mark.parametrize("start", ["a=1, m=0, s=1e9", "a=1, m=1e4, s=1"])
def test_flat_ground_is_no_limit(start):
    y = 100 / (1 + np.exp(-(X - 10) / 2)) + NOISE
    formula = "y = a/(1 + exp(-(x - m)/s))"
    fit = sgdfit.fit(formula, {"x": X, "y": y}, start=start, search=False)
    assert fit.status.name in ("stalled", "step_limit", "converged"), fit.status
