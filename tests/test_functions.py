"""The table of functions: every form and derivative against mpmath, whole columns against NumPy."""

import math

import mpmath
import numba
import numpy as np
import pytest

from sgdfit.formula.evaluation import evaluate, find_domain_error
from sgdfit.formula.formula import derivative
from sgdfit.formula.functions import ALIASES, FUNCTIONS, OPERATIONS, lookup
from sgdfit.formula.reading import as_formula
from sgdfit.kernel.templates import HEADER

LINE, WAVE = (-3.0, 3.0), (-1.4, 1.4)
UNIT, POSITIVE, ABOVE_ONE = (-0.95, 0.95), (0.05, 5.0), (1.05, 6.0)

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
}  # fmt: skip
NAMES = ("u", "v", "w")


SPACE: dict[str, object] = {}
exec(HEADER, SPACE)  # what generated source has at hand


def points(ranges, count=40):
    """Draw arguments, away from the steps of floor and ceil and from ties."""
    generator = np.random.default_rng(7)
    drawn = [generator.uniform(low, high, count) for low, high in ranges]
    return [np.where(np.abs(x - np.round(x)) < 0.01, x + 0.02, x) for x in drawn]


def expression_of(name):
    return as_formula(f"{name}({', '.join(NAMES[: FUNCTIONS[name].arity])})").expression


def test_every_function_has_an_oracle():
    assert set(ORACLES) | {"where"} == set(FUNCTIONS)


@pytest.mark.parametrize("name", ORACLES)
def test_the_value_is_mpmath_s_in_every_form(name):
    oracle, *ranges = ORACLES[name]
    columns = points(ranges)
    expected = [float(oracle(*map(mpmath.mpf, row))) for row in zip(*columns, strict=True)]
    ours = evaluate(expression_of(name), dict(zip(NAMES, columns, strict=False)))
    np.testing.assert_allclose(ours, expected, rtol=1e-13)
    # Elementary functions are compiled into their callers alone.
    compiled = numba.njit(
        eval(f"lambda u, v=0, w=0: {FUNCTIONS[name].compiled.format(*NAMES)}", SPACE)
    )
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
        ("floor(2.5)", 2), ("floor(-2.5)", -3), ("ceil(2.5)", 3), ("cbrt(-8)", -2),
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
    _, arity = lookup(name)
    first = "u > 0" if name == "where" else "u"
    called = f"{name}({', '.join([first, *NAMES[1:arity]])})"
    assert set(as_formula(called).names) == set(NAMES[:arity])
    assert lookup(name) == lookup(ALIASES.get(name, name))


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
