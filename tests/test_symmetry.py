"""Equivalent optima: the size of each orbit, its canonical point, and what is no symmetry."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import curve_fit

import sgdfit
from sgdfit.formula.evaluation import evaluate
from sgdfit.model.model import build
from sgdfit.model.symmetry import canonical_theta, canonical_thetas, equivalents

PI = math.pi


class Case(NamedTuple):
    """A formula, how many equivalent points there are, and one of them with its canonical one."""

    formula: str
    size: int
    point: tuple[float, ...]
    canonical: tuple[float, ...]
    said: tuple[str, ...] = ()


GAUSS = "b1*exp(-b2*x) + b3*exp(-(x - b4)**2/b5**2) + b6*exp(-(x - b7)**2/b8**2)"
ENSO = (
    "b1 + b2*cos(2*pi*x/12) + b3*sin(2*pi*x/12) + b5*cos(2*pi*x/b4) + b6*sin(2*pi*x/b4)"
    " + b8*cos(2*pi*x/b7) + b9*sin(2*pi*x/b7)"
)
LANCZOS = "b1*exp(-b2*x) + b3*exp(-b4*x) + b5*exp(-b6*x)"
POLES = "c/((x - p)*(x - q)) + d/((x - r)*(x - s))"

# Points stand in the order of the formula's names.
CASES = [
    Case(GAUSS, 8, (9, 0.1, 5, 3, -2, 4, 1, 0.5), (9, 0.1, 4, 1, 0.5, 5, 3, 2),
         ("b3, b4, b5 and b6, b7, b8 can be exchanged: the smaller of b4 and b7 comes first",
          "the signs of b5 and b8 do not matter: the positive ones are given")),
    Case(ENSO, 8, (10, 3, 0.5, 1, -44, 2, 3, 26, 4), (10, 3, 0.5, 3, 26, 4, 1, 44, -2),
         ("b5, b4, b6 and b8, b7, b9 can be exchanged: the smaller of b4 and b7 comes first",
          "b4 and b6 can change sign together: the positive b4 is given",
          "b7 and b9 can change sign together: the positive b7 is given")),
    Case(LANCZOS, 6, (1, 5, 2, 3, 3, 1), (3, 1, 2, 3, 1, 5),
         ("b1, b2 and b3, b4 and b5, b6 can be exchanged: b2, b4 and b6 come in ascending order",)),
    Case("expm1(a*x) + expm1(b*x) + c", 2, (3, 2, 1), (2, 3, 1),
         ("a and b can be exchanged: the smaller of a and b comes first",)),
    Case("1/((x - p)*(x - q))", 2, (3, -2), (-2, 3)),
    Case(POLES, 8, (7, 4, 1, 9, 3, 0), (9, 0, 3, 7, 1, 4),
         ("p and q can be exchanged: the smaller of p and q comes first",
          "c, p, q and d, r, s can be exchanged: the smaller of p and r comes first",
          "r and s can be exchanged: the smaller of r and s comes first")),
    Case("a*exp(-(x - m)**2/s) + b*exp(-(x - n)**2/s)", 2, (1, 3, 2, 4, 0), (4, 0, 2, 1, 3),
         ("a, m and b, n can be exchanged: the smaller of m and n comes first",)),
    Case("a*(exp(-b*x) - exp(-c*x))", 2, (1, 3, 2), (-1, 2, 3),
         ("b and c can be exchanged while a changes sign: the smaller of b and c comes first",)),
    Case("a*tanh(b*x) + c", 2, (1, -2, -3), (-1, 2, -3),
         ("a and b can change sign together: the positive b is given",)),
    Case("a*exp(k*x) + b*exp(-k*x)", 2, (1, -2, 3), (3, 2, 1),
         ("k can change sign while a and b change along: the positive k is given; a = 1, k = -2"
          " and b = 3 fit as well",)),
    Case("a*logistic((x - b)/c) + d", 2, (1, 2, -3, 4), (-1, 2, 3, 5),
         ("c can change sign while d and a change along: the positive c is given; a = 1,"
          " c = -3 and d = 4 fit as well",)),
    Case("c + (d - c)/(1 + exp(b*(x - e)))", 2, (1, 3, -2, 1), (3, 1, 2, 1),
         ("b can change sign while c and d change along: the positive b is given; c = 1, d = 3 and"
          " b = -2 fit as well",)),
    Case("F*ka/(ka - ke)*(exp(-ke*x) - exp(-ka*x))", 2, (2, 0.25, 1.25), (0.4, 1.25, 0.25),
         ("ka and ke can be exchanged while F changes along: the larger of them is ka; F = 2,"
          " ka = 0.25 and ke = 1.25 fit as well",)),
    Case("9*ka/(V*(ka - ke))*(exp(-ke*x) - exp(-ka*x))", 2, (0.25, 2, 1.25), (1.25, 10, 0.25),
         ("ka and ke can be exchanged while V changes along: the larger of them is ka; ka = 0.25,"
          " V = 2 and ke = 1.25 fit as well",)),
    Case("ka*ke/(CL*(ka - ke))*(exp(-ke*x) - exp(-ka*x))", 2, (0.25, 1.25, 2), (1.25, 0.25, 2),
         ("ka and ke can be exchanged: the larger of them is ka; ka = 0.25 and ke = 1.25 fit as"
          " well",)),
    Case("9*ka/(V*(ka - CL/V))*(exp(-CL/V*x) - exp(-ka*x))", 2, (0.25, 2, 2.5), (1.25, 10, 2.5),
         ("ka and CL/V can be exchanged while V changes along: the larger of them is ka; ka = 0.25"
          " and V = 2 fit as well",)),
    Case("where(x < t, 0, 9*k/(V*k - C)*(exp(-C*(x - t)/V) - exp(-k*(x - t))))", 2,
         (0.5, 0.25, 2, 2.5), (0.5, 1.25, 10, 2.5)),
    Case("D*ka*(exp(-C*maximum(x - t, 0)/8) - exp(-ka*maximum(x - t, 0)))/(ka - C/8)", 2,
         (2, 0.25, 10, -1), (0.4, 1.25, 2, -1)),
    Case("3*exp(lka - lV)*(exp(-exp(lC - lV)*x) - exp(-exp(lka)*x))/(exp(lka) - exp(lC - lV))", 2,
         (-1, 2, 3), (1, 4, 3)),
    Case("a*(exp(-m*x) - exp(-(k + m)*x))", 2, (1, 3, -2), (-1, 1, 2)),
    Case("a*exp(-alpha*x) + b*exp(-beta*x)", 2, (1, 2, 3, 4), (3, 4, 1, 2),
         ("a, alpha and b, beta can be exchanged: the larger of alpha and beta comes first",)),
    Case("a*exp(-x/t_slow) + b*exp(-x/t_fast) + c", 2, (1, 2, 3, 4, 5), (3, 4, 1, 2, 5)),
    Case("a*(exp(-x/s) - exp(-x/t))", 2, (-1, 2, 3), (1, 3, 2)),
    Case("a*(exp(-alpha*x) - exp(-beta*x))", 2, (-1, 4, 2), (1, 2, 4)),
    Case("a*(f*exp(-k*x) + (1 - f)*exp(-l*x))", 2, (3, 0.25, 2, 1), (3, 0.75, 1, 2),
         ("l and k can be exchanged while f changes along: the larger of them is l;"
          " f = 0.25, k = 2 and l = 1 fit as well",)),
    Case("(1 - f)*exp(-kf*x) + f*exp(-ks*x)", 2, (0.25, 1, 2), (0.75, 2, 1)),
    Case("a*(1 - f/100*exp(-x/s) - (100 - f)/100*exp(-x/t))", 2, (3, 25, 2, 1), (3, 75, 1, 2)),
    Case("b*(f*x/(k + x) + (1 - f)*x/(l + x))", 2, (3, 0.25, 2, 1), (3, 0.75, 1, 2)),
    Case("w*exp(-(x - m)**2*s) + (1 - w)*exp(-(x - n)**2*u)", 2, (0.25, 2, 3, 1, 4),
         (0.75, 1, 4, 2, 3)),
    Case("f*exp(-k*x) + g*exp(-l*x) + (1 - f - g)*exp(-m*x)", 6, (0.5, 1, 0.25, 2, 3),
         (0.5, 1, 0.25, 2, 3)),
    Case("a/(s - t)*(exp(-x/s) - exp(-x/t))", 2, (1, 4, 2), (1, 2, 4)),
    Case("a*sin(b*x)", 2, (1, -2), (-1, 2)),
    Case("a*sin(b*x)*sin(c*x)", 8, (1, -2, 1.5), (-1, 1.5, 2)),
    Case("a*erf(b*(x - m))", 2, (1, -2, 3), (-1, 2, 3)),
    Case("a*abs(b*x - c)", 2, (-1, -2, 3), (-1, 2, -3)),
    Case("a**2*x", 2, (-3,), (3,),
         ("the sign of a does not matter: the positive one is given",)),
    Case("a*exp(-(x - m)**2/(2*s**2))/(s*sqrt(2*pi))", 2, (1, -2, -3), (-1, -2, 3)),
    Case("a/(1 + ((x - b)/c)**2) + d", 2, (1, 2, -3, -4), (1, 2, 3, -4)),
    Case("a*x/(b**2 + x**2)", 2, (-1, -2), (-1, 2)),
    Case("a*(b*x + c)**2", 2, (1, -2, 3), (1, 2, -3)),
    Case("a/(b*x + c)**3", 2, (1, -2, 3), (-1, 2, -3)),
    Case("a*sin(b*x + c)", 4, (-1, -2, 7), (1, 2, 2*PI - 7),
         ("b and c can change sign together while c moves by half a period:"
          " the positive b is given",
          "a can change sign while c moves by half a period: the positive a is given",
          "c is a phase: it is given within (−π, π]")),
    Case("a*cos(b*x + c) + d", 4, (-1, 2, 1, 5), (1, 2, 1 - PI, 5)),
    Case("a*cos(2*pi*(x/b - c))", 4, (1, 2, 1.75), (1, 2, -0.25)),
    Case("exp(a)*sin(b*x + 2*c)", 2, (1, -2, 4), (1, 2, 3*PI/2 - 4)),
    Case("a*sin(x + c)**2", 1, (-1, 4), (-1, 4 - PI),
         ("c is a phase: it is given within (−1.5708, 1.5708]",)),
    Case("a*tan(x/9 + c)", 1, (-1, -2), (-1, PI - 2)),
]  # fmt: skip

# No two points predict the same, or not by an exchange or a change of sign alone.
NONE = [
    "a*x + b*x**2",
    "a*exp(-b*x) + c*exp(-2*d*x)",
    "a*exp(-b*x) + 2*c*exp(-d*x) + a",
    "c*exp(a)*exp(b*x)",
    "a*exp(-(x - m)**2/s)",
    "F*ka/(ka - ke)*(exp(-ke*x) - exp(-ka*x)) + F/9",
    "f*exp(-k*x) + (1 - f)*exp(-l*x) + f*x",
    "a**2*x + 1e-20*a",
    "where(x > 1e6, b, b**2) + a*x",
    "a*erf(1000*b*x + c) + b",
    "a*tanh(1e7*b**2*x + b)",
    "a*x*sin(c*x) + cos(c*x) + c",
    "(b1 + b2*x + b3*x**2)/(1 + b4*x + b5*x**2)",
]


def model(formula, **options):
    return build(f"y = {formula}", ["x", "y"], **options)


def prediction(fitted, theta, x):
    values = {"x": x} | dict(zip(fitted.free, theta.tolist(), strict=True))
    return np.broadcast_to(evaluate(fitted.prediction, values), len(x))


X = np.array([-2.3, -1.1, -0.31, 0.17, 0.83, 1.9, 2.7])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.formula)
def test_all_equivalent_points_predict_the_same_and_have_one_canonical_point(case):
    fitted = model(case.formula)
    orbit = equivalents(fitted, np.array(case.point, dtype=float))
    assert len(orbit) == case.size
    assert orbit[0].tolist() == list(case.point)
    expected = prediction(fitted, orbit[0], X)
    for theta in orbit:
        found = prediction(fitted, theta, X)
        size = np.abs(expected[np.isfinite(expected)]).max()
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * size)
        point, said = canonical_theta(fitted, theta, fitted.free)
        np.testing.assert_allclose(point, case.canonical, rtol=1e-13, atol=1e-15)
        if case.said:
            assert said == case.said
    points = canonical_thetas(fitted, np.array(orbit), fitted.free)
    np.testing.assert_allclose(points, [case.canonical] * case.size, rtol=1e-13, atol=1e-15)
    assert not len(canonical_thetas(fitted, points[:0], fitted.free))


@pytest.mark.parametrize("formula", NONE)
def test_near_misses_are_no_symmetries(formula):
    fitted = model(formula)
    theta = np.linspace(-1.5, 2.0, len(fitted.free))[::-1]
    assert len(equivalents(fitted, theta)) == 1
    point, said = canonical_theta(fitted, theta, fitted.free)
    assert point.tolist() == theta.tolist()
    assert said == ()


PEAKS = "a*exp(-(x - m)**2/s**2) + b*exp(-(x - n)**2/t**2)"


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 8),
        ({"fixed": "m=1"}, 4),
        ({"fixed": "t=1"}, 2),
        ({"tied": "t=s"}, 4),
        ({"tied": "b=2*a"}, 4),
        ({"tied": "b=2*a", "fixed": "s=1, t=2"}, 1),
        ({"bounds": "0 < s < 5"}, 2),
        ({"bounds": "s > 0, t > 0"}, 2),
        ({"bounds": "m < 3"}, 4),
        ({"bounds": "m < 3, n < 3"}, 8),
        ({"bounds": "-5 < s < 5, -5 < t < 5"}, 8),
    ],
)
def test_what_is_fixed_tied_or_bounded_breaks_symmetries(options, size):
    fitted = model(PEAKS, **options)
    values = {"a": 1.0, "b": 2.0, "m": 2.5, "n": 0.5, "s": 1.5, "t": 3.0}
    theta = np.array([values[name] for name in fitted.free])
    orbit = equivalents(fitted, theta)
    assert len(orbit) == size
    for image in orbit:
        np.testing.assert_allclose(
            prediction(fitted, image, X), prediction(fitted, theta, X), rtol=1e-12
        )
        for name, value in zip(fitted.free, image.tolist(), strict=True):
            assert fitted.parameters[name].low <= value <= fitted.parameters[name].high


@pytest.mark.parametrize(
    ("formula", "point", "names", "expected", "kinds"),
    [
        (PEAKS, (1, 4, -1, 2, 3, -2), "", (1, 4, -1, 2, 3, -2), 0),
        (PEAKS, (1, 4, -1, 2, 3, -2), "s", (1, 4, 1, 2, 3, -2), 1),
        (PEAKS, (1, 4, -1, 2, 3, -2), "st", (1, 4, 1, 2, 3, 2), 1),
        (PEAKS, (1, 4, -1, 2, 3, -2), "ambn", (1, 4, -1, 2, 3, -2), 0),
        (PEAKS, (1, 4, -1, 2, 3, -2), "ambnst", (2, 3, 2, 1, 4, 1), 2),
        ("a*sin(b*x + c)", (-1, -2, 0.5), "bc", (-1, 2, PI - 0.5), 2),
    ],
)
def test_only_the_named_parameters_move(formula, point, names, expected, kinds):
    found, said = canonical_theta(model(formula), np.array(point, dtype=float), list(names))
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert len(said) == kinds
    bounded = model("a*sin(x + c)", bounds="6 < c < 9")
    point, said = canonical_theta(bounded, np.array([-1.0, 7.0]), bounded.free)
    assert (point.tolist(), said) == ([-1.0, 7.0], ())
    # The twin lies at V = 2, beyond its bound, or would move what is given.
    formula = "9*ka/(V*(ka - CL/V))*(exp(-CL/V*x) - exp(-ka*x))"
    theta = np.array([1.25, 10, 2.5])
    for options, moving in (({"bounds": "V > 3"}, ["ka", "V", "CL"]), ({}, ["V", "CL"])):
        point, said = canonical_theta(model(formula, **options), theta, moving)
        assert (point.tolist(), said) == (theta.tolist(), ())


def test_from_a_given_start_the_usual_order_of_rates_is_told():
    t = np.array([0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 24])

    def curve(t, ka, V, CL):
        return 320 * ka / (V * (ka - CL / V)) * (np.exp(-CL / V * t) - np.exp(-ka * t))

    y = curve(t, 1.5, 32, 2.8) * (1 + 0.02 * np.random.default_rng(1).normal(size=10))
    data, usual = {"t": t, "y": y}, curve_fit(curve, t, y, (1, 30, 3))[0]
    formula = "y = 320*ka/(V*(ka - CL/V))*(exp(-CL/V*t) - exp(-ka*t))"
    found, near = sgdfit.fit(formula, data), sgdfit.fit(formula, data, start="ka=1, V=30, CL=3")
    for fit in (found, near):
        assert (*fit.values.values(),) == pytest.approx(usual, rel=1e-5)
        assert fit.warnings == ()
    far = sgdfit.fit(formula, data, start="ka=0.1, V=2, CL=3")
    told = f"as with ka = {usual[0]:.6g} and V = {usual[1]:.6g}, which fit as well"
    assert told in far.warnings[0]
    assert far.values["ka"] < far.values["CL"] / far.values["V"]


def test_signs_of_a_start_count_before_its_order() -> None:
    x = np.geomspace(0.03, 30, 14)
    data = {"x": x, "y": 0.5 + 7 * x**1.4 / (1 + x**1.4) + 0.1 * np.sin(97 * np.arange(14))}
    # With h for -h and b for t the fit is as good, and h < k as in the start.
    formula, start = "y = b + (t - b)*x**h/(k**h + x**h)", "b=0.5, t=7.5, k=1.75, h=1.65"
    assert sgdfit.fit(formula, data, start=start).estimates["h"].value > 0
