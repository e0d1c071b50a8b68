"""The table of functions: every form and derivative against mpmath, whole columns against NumPy."""

import math
from functools import cache

import mpmath
import numba
import numpy as np
import pytest

from sgdfit.formula import special
from sgdfit.formula.evaluation import evaluate, find_domain_error
from sgdfit.formula.formula import derivative
from sgdfit.formula.functions import ALIASES, FORMS, FUNCTIONS, OPERATIONS, SLOPES, lookup
from sgdfit.formula.reading import as_formula
from sgdfit.kernel.templates import header

LINE, WAVE = (-3.0, 3.0), (-1.4, 1.4)
UNIT, POSITIVE, ABOVE_ONE = (-0.95, 0.95), (0.05, 5.0), (1.05, 6.0)


def bessel(name):
    return lambda x: getattr(mpmath, f"bessel{name[0]}")(int(name[1]), x)


def voigt(x, sigma, gamma):
    root = abs(sigma) * mpmath.sqrt(2)
    z = (x + 1j * gamma) / root
    return mpmath.re(mpmath.exp(-z * z) * mpmath.erfc(-1j * z)) / (root * mpmath.sqrt(mpmath.pi))


# What each function is, in mpmath's words, and where each argument may lie.
ORACLES = {
    **{name: (getattr(mpmath, name), LINE) for name in (
        "exp", "expm1", "sin", "cos", "atan", "sinh", "cosh", "tanh", "asinh", "erf", "erfc",
        "sign", "floor", "ceil",
    )},
    **{name: (getattr(mpmath, name), POSITIVE) for name in ("log", "log10", "sqrt", "coth")},
    **{name: (getattr(mpmath, name), UNIT) for name in ("log1p", "asin", "acos", "atanh")},
    "log2": (lambda x: mpmath.log(x, 2), POSITIVE),
    "cbrt": (lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), LINE),
    "tan": (mpmath.tan, WAVE),
    "cot": (mpmath.cot, (0.1, 3.0)),
    "atan2": (mpmath.atan2, LINE, LINE),
    "acosh": (mpmath.acosh, ABOVE_ONE),
    "abs": (abs, LINE),
    "minimum": (min, LINE, LINE),
    "maximum": (max, LINE, LINE),
    "hypot": (mpmath.hypot, LINE, LINE),
    "logistic": (lambda x: 1 / (1 + mpmath.exp(-x)), LINE),
    "logaddexp": (lambda x, y: mpmath.log(mpmath.exp(x) + mpmath.exp(y)), LINE, LINE),
    "xlogy": (lambda x, y: x * mpmath.log(y), LINE, POSITIVE),
    "pow": (mpmath.power, POSITIVE, LINE),
    **{name: (getattr(mpmath, name), POSITIVE) for name in ("gamma", "digamma")},
    **{name: (bessel(name), LINE) for name in ("j0", "j1", "i0", "i1")},
    **{name: (bessel(name), POSITIVE) for name in ("y0", "y1", "k0", "k1")},
    "lgamma": (mpmath.loggamma, POSITIVE),
    "beta": (mpmath.beta, POSITIVE, POSITIVE),
    "erfcx": (lambda x: mpmath.exp(x * x) * mpmath.erfc(x), LINE),
    "erfinv": (mpmath.erfinv, UNIT),
    "sinc": (mpmath.sincpi, LINE),
    "voigt": (voigt, LINE, POSITIVE, POSITIVE),
}  # fmt: skip
NAMES = ("u", "v", "w")


SPACE: dict[str, object] = {}
exec(header("special."), SPACE)  # what generated source has at hand


def points(ranges, count=40):
    """Draw arguments, away from the steps of floor and ceil and from ties."""
    generator = np.random.default_rng(7)
    drawn = [generator.uniform(low, high, count) for low, high in ranges]
    return [np.where(np.abs(x - np.round(x)) < 0.01, x + 0.02, x) for x in drawn]


def expression_of(name):
    return as_formula(f"{name}({', '.join(NAMES[: FUNCTIONS[name].arity])})").expression


@cache
def compiled_of(name, orders=()):
    """Compile a function; elementary ones are compiled into their callers alone."""
    source = FORMS[name].compiled.format(*map(float, orders), *NAMES)
    return numba.njit(eval(f"lambda u, v=0, w=0: {source}", SPACE))


def test_every_function_has_an_oracle():
    assert set(ORACLES) | {"where"} == set(FUNCTIONS)


@pytest.mark.parametrize("name", ORACLES)
def test_the_value_is_mpmath_s_in_every_form(name):
    oracle, *ranges = ORACLES[name]
    columns = points(ranges)
    expected = [float(oracle(*map(mpmath.mpf, row))) for row in zip(*columns, strict=True)]
    ours = evaluate(expression_of(name), dict(zip(NAMES, columns, strict=False)))
    np.testing.assert_allclose(ours, expected, rtol=1e-13)
    compiled = compiled_of(name)
    found = [compiled(*map(float, row)) for row in zip(*columns, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("name", ORACLES)
def test_the_derivative_is_mpmath_s(name):
    oracle, *ranges = ORACLES[name]
    columns = points(ranges, 12)
    values = dict(zip(NAMES, columns, strict=False))
    for place in range(len(ranges)):
        slope = derivative(expression_of(name), NAMES[place])
        ours = np.broadcast_to(evaluate(slope, values), columns[0].shape)
        order = tuple(int(i == place) for i in range(len(ranges)))
        with mpmath.workdps(40):
            expected = [
                float(mpmath.diff(oracle, tuple(map(mpmath.mpf, row)), order))
                for row in zip(*columns, strict=True)
            ]
        np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12)


def spread(low, high, negative=False):
    """Return numbers of every size, of both signs if asked."""
    sizes = np.geomspace(low, high, 40) * np.random.default_rng(5).uniform(0.99, 1.01, 40)
    return np.concatenate([-sizes, sizes]) if negative else sizes


def polygamma(x):
    return mpmath.polygamma(1, x)


# Over their whole range, each with what a rounding of its argument changes, times its digits.
FAR = {
    "gamma": (mpmath.gamma, spread(1e-300, 170), spread(1e-3, 90, negative=True)),
    "lgamma": (lambda x: mpmath.log(abs(mpmath.gamma(x))), spread(1e-300, 1e14)),
    "digamma": (mpmath.digamma, spread(1e-300, 1e14), spread(1e-3, 90, negative=True)),
    "trigamma": (polygamma, spread(1e-150, 1e14), spread(1e-3, 90, negative=True)),
    "erfcx": (ORACLES["erfcx"][0], spread(1e-300, 1e9), -spread(1e-300, 26)),
    "erfcx_slope": (
        lambda x: mpmath.diff(ORACLES["erfcx"][0], x), spread(1e-9, 1e3), -spread(1e-9, 26),
    ),
    "erfinv": (mpmath.erfinv, spread(1e-300, 0.99, negative=True), 1 - spread(1e-12, 1e-2)),
    **{n: (bessel(n), spread(1e-150, 1e5, negative=True)) for n in ("j0", "j1")},
    **{n: (bessel(n), spread(1e-150, 1e5)) for n in ("y0", "y1")},
    **{n: (bessel(n), spread(1e-150, 700, negative=True)) for n in ("i0", "i1")},
    **{n: (bessel(n), spread(1e-150, 700)) for n in ("k0", "k1")},
    "sinc": (mpmath.sincpi, spread(1e-300, 1e4, negative=True)),
    "sinc_slope": (lambda x: mpmath.diff(mpmath.sincpi, x), spread(1e-9, 1e4, negative=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", FAR)
def test_special_functions_hold_over_their_whole_range(name):
    oracle, *ranges = FAR[name]
    compiled = compiled_of(name)
    for x in ranges:
        with mpmath.workdps(50):
            exact = [(oracle(u), abs(u * mpmath.diff(oracle, u))) for u in map(mpmath.mpf, x)]
        expected, moved = np.array(exact, dtype=float).T
        allowed = 1e-13 * np.abs(expected) + 4e-16 * moved + 1e-290
        values = evaluate(as_formula(f"{name}(u)").expression, {"u": x})
        assert (np.abs(values - expected) <= allowed).all()
        np.testing.assert_allclose([compiled(u) for u in x], values, rtol=1e-14)


@pytest.mark.parametrize("a", [1e-6, 0.3, 9.7, 40.0, 3e4, 1e8])
@pytest.mark.parametrize("b", [1e-4, 2.5, 12.0, 700.0])
def test_beta_holds_where_logarithms_of_gamma_cancel(a, b):
    with mpmath.workdps(50):
        exact = mpmath.beta(mpmath.mpf(a), mpmath.mpf(b))
        tolerance = 1e-13 * max(1.0, float(abs(mpmath.log(exact))) / 50)
    value = evaluate(expression_of("beta"), {"u": a, "v": b})
    assert value == pytest.approx(float(exact), rel=tolerance, abs=0)
    assert compiled_of("beta")(a, b) == pytest.approx(value, rel=1e-14, abs=0)


def profile_slopes(x, sigma, gamma):
    """Return w, w' and w'' of Faddeeva's function, each by the width that belongs to it."""
    with mpmath.workdps(80):
        root = mpmath.mpf(abs(sigma)) * mpmath.sqrt(2)
        z = (mpmath.mpf(x) + 1j * mpmath.mpf(gamma)) / root
        w = mpmath.exp(-z * z) * mpmath.erfc(-1j * z)
        first = -2 * z * w + 2j / mpmath.sqrt(mpmath.pi)
        widths = [mpmath.sqrt(mpmath.pi) * root ** (k + 1) for k in range(3)]
        slopes = (w, first, -2 * w - 2 * z * first)
        return [complex(v / width) for v, width in zip(slopes, widths, strict=True)]


@pytest.mark.parametrize("sigma", [1e-3, -0.4, 1.0, 30.0])
@pytest.mark.parametrize("gamma", [0.0, 1e-9, 0.02, 1.0, 500.0, -0.01])
def test_voigt_and_its_derivatives_are_faddeevas(sigma, gamma):
    x = np.concatenate([[0.0], spread(1e-4, 20, negative=True)]) * (abs(sigma) + abs(gamma)) / 4
    x = x[np.abs(x) < 25 * abs(sigma)] if gamma < 1e-6 else x
    exact = np.array([profile_slopes(u, sigma, max(gamma, -2 * abs(sigma))) for u in x]).T
    at = {"u": x, "v": sigma, "w": max(gamma, -2 * abs(sigma))}
    value = evaluate(as_formula("voigt(u, v, w)").expression, at)
    np.testing.assert_allclose(value, exact[0].real, rtol=1e-13, atol=1e-300)
    # A derivative of a complex function has its digits as a whole.
    expected = (exact[1].real, sigma * exact[2].real, -exact[1].imag)
    sizes = np.abs([exact[1], sigma * exact[2], exact[1]])
    compiled = [compiled_of("voigt_slope", orders) for orders in ((1, 0), (2, 0), (0, 1))]
    for k, name in enumerate(NAMES):
        slope = derivative(as_formula("voigt(u, v, w)").expression, name)
        found = np.broadcast_to(evaluate(slope, at), x.shape)
        assert (np.abs(found - expected[k]) <= 1e-13 * sizes[k]).all()
        again = [compiled[k](u, at["v"], at["w"]) * (sigma if k == 1 else 1) for u in x]
        assert (np.abs(again - expected[k]) <= 1e-13 * sizes[k]).all()


def test_every_slope_is_of_a_function_and_tested():
    assert set(SLOPES) - set(FAR) == {"jv", "iv", "voigt_slope"}


@pytest.mark.parametrize("peak", ["gaussian", "lorentzian"])
def test_peaks_are_the_limits_of_voigts_profile_and_have_unit_area(peak):
    x = np.linspace(-2e4, 2e4, 2_000_001)
    values = {"x": x, "m": 0.3, "s": 0.7}
    found = evaluate(as_formula(f"{peak}(x, m, s)").expression, values)
    widths = (0.7, 0.0) if peak == "gaussian" else (0.0, 0.7)
    np.testing.assert_allclose(found, special.voigt(x - 0.3, *widths), rtol=1e-12, atol=1e-300)
    np.testing.assert_array_equal(
        found, evaluate(as_formula(f"{peak}(x - m, s)").expression, values)
    )
    assert np.trapezoid(found, x) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "x", "expected"),
    [
        ("abs(x)", 0.0, 0.0),
        ("sqrt(x**2)", -2.0, -1.0),
        ("maximum(x, 0)", 0.0, 0.5),
        ("where(x > 0, log(x), x)", -1.0, 1.0),
        ("logistic(x)", 800.0, 0.0),
        ("logaddexp(0, x)", 800.0, 1.0),
        ("cbrt(x)", -8.0, 1 / 12),
        ("j1(x)", 0.0, 0.5),
        ("i1(x)", 0.0, 0.5),
        ("sinc(x)", 0.0, 0.0),
    ],
)
def test_derivatives_at_corners_and_far_out(text, x, expected):
    slope = derivative(as_formula(text).expression, "x")
    value = np.broadcast_to(evaluate(slope, {"x": np.array([x])}), 1)[0]
    assert value == pytest.approx(expected, abs=1e-15)


def test_the_second_derivative_of_a_squared_absolute_value_holds_at_zero():
    second = derivative(derivative(as_formula("abs(x)**2").expression, "x"), "x")
    assert second == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abs(-3)", 3), ("sign(-0.1)", -1), ("sign(0)", 0), ("minimum(1, 2)", 1),
        ("maximum(1, 2)", 2), ("logistic(0)", 0.5), ("logistic(1000)", 1.0),
        ("logaddexp(1000, 1000)", 1000 + math.log(2)), ("xlogy(0, 0)", 0), ("xlogy(2, 1)", 0),
        ("hypot(3, 4)", 5), ("where(1 < 2, 3, 4)", 3), ("where(1 > 2, 3, 4)", 4),
        ("clip(5, 0, 2)", 2), ("clip(-5, 0, 2)", 0), ("heaviside(0, 0.5)", 0.5),
        ("heaviside(-1, 0.5)", 0), ("heaviside(2, 0.5)", 1), ("square(3)", 9),
        ("reciprocal(4)", 0.25), ("exp2(3)", 8), ("radians(180)", math.pi),
        ("degrees(pi)", 180), ("deg2rad(90)", math.pi / 2), ("rad2deg(pi)", 180),
        ("pi", math.pi),
    ],
)  # fmt: skip
def test_of_numbers(text, expected):
    assert float(as_formula(text).expression) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("name", [*FUNCTIONS, *ALIASES, *OPERATIONS])
def test_every_name_can_be_called(name):
    (arity, *_) = lookup(name)[1]
    first = "u > 0" if name == "where" else "u"
    called = f"{name}({', '.join([first, *NAMES[1:arity]])})"
    assert set(as_formula(called).names) == set(NAMES[:arity])
    table = called.replace(name, ALIASES.get(name, name), 1)
    assert as_formula(called).expression == as_formula(table).expression


X = np.array([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0])
A = 1.5


def test_a_branch_not_taken_sends_no_nan_to_torchs_gradient(torch):
    a = torch.tensor(A, dtype=torch.float64, requires_grad=True)
    formula = as_formula("where(x > 0, sqrt(a*x), a)").expression
    evaluate(formula, {"x": torch.tensor(X), "a": a}, "torch").sum().backward()
    assert float(a.grad) == pytest.approx(3 + np.sqrt(X[X > 0] / A).sum() / 2)


@pytest.mark.parametrize(
    ("formula", "row", "part", "arguments", "kind"),
    [
        ("log(x)", 0, "log(x)", (-2.0,), "nan"),
        ("sqrt(3 - x - a)", 5, "sqrt(3 - a - x)", (-1.5,), "nan"),
        ("1/x", 2, "1/x", (0.0,), "pole"),
        ("x/(x - 1)", 4, "1/(x - 1)", (0.0,), "pole"),
        ("log1p(x + 1)", 0, "log1p(x + 1)", (-1.0,), "pole"),
        ("atanh(x - 2)", 0, "atanh(x - 2)", (-4.0,), "nan"),
        ("lgamma(x)", 0, "lgamma(x)", (-2.0,), "pole"),
        ("y0(x + 1/2)", 0, "y0(x + 1/2)", (-1.5,), "nan"),
        ("k1(x + 2)", 0, "k1(x + 2)", (0.0,), "pole"),
        ("erfinv(x - 2)", 0, "erfinv(x - 2)", (-4.0,), "nan"),
        ("exp(300*x)", 5, "exp(300*x)", (900.0,), "overflow"),
        ("x**a", 0, "x**a", (-2.0, 1.5), "nan"),
        ("xlogy(x, x**2 - 1/8)", 3, "xlogy(x, x**2 - 1/8)", (0.25, -0.0625), "nan"),
        ("where(x > 0, log(x), a)", None, None, None, None),
        ("where(x >= 0, log(x), a)", 2, "log(x)", (0.0,), "pole"),
        ("where(x < 0, where(x > -1, log(x), 1), 1)", 1, "log(x)", (-0.5,), "nan"),
        ("a*x + 1", None, None, None, None),
    ],
)
def test_the_first_row_outside_of_the_domain_is_found(formula, row, part, arguments, kind):
    found = find_domain_error(as_formula(formula).expression, {"x": X, "a": A})
    if row is None:
        assert found is None
        return
    assert (found.row, found.kind) == (row, kind)
    assert found.subexpression == part
    assert found.arguments == pytest.approx(arguments)
    assert all(found.names[name] == value for name, value in (("x", X[row]), ("a", A))
               if name in found.names)  # fmt: skip
    assert found.names


def test_values_that_are_not_finite_themselves_are_no_domain_error():
    expression = as_formula("a*x + log(x)").expression
    assert find_domain_error(expression, {"x": np.array([1.0, np.nan, np.inf]), "a": 1.0}) is None
    assert find_domain_error(expression, {"x": np.array([1.0, 2.0]), "a": np.nan}) is None
