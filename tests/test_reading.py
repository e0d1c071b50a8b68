"""Python functions to formulas: what is followed, and the sentence for what cannot be."""

import functools
import math
import re

import numpy as np
import pytest
from scipy import special

from sgdfit.errors import FormulaError
from sgdfit.formula.external import external_in
from sgdfit.formula.reading import as_formula

ARRAY, HALF = np.array([1.0, 2.0]), np.float32(0.5)


def in_place(a, x):
    x += 1
    x *= a
    x **= 2
    x -= a
    x /= 3
    return x


def with_flag(a, x, square=True, label="none", power=None):
    return a * x**2 if square else a * x


class Curve:
    def method(self, a, x):
        return a * x


FOLLOWED = [
    (lambda a, x: a * x + 1 - x / a, "a*x - x/a + 1"),
    (lambda a, x: a**x + 2**x + x**2.0, "2**x + a**x + x**2"),
    (in_place, "(a*(x + 1))**2/3 - a/3"),
    (lambda a, b, /, x: a * x + b, "a*x + b"),
    (with_flag, "a*x**2"),
    (Curve().method, "a*x"),
    (abs, "abs(x)"),
    (lambda a, x: np.arctan2(a, x) + np.arcsinh(x), "atan2(a, x) + asinh(x)"),
    (lambda a, x: np.abs(x) + np.absolute(a) + np.fabs(x) + np.sign(x),
     "2*abs(x) + abs(a) + sign(x)"),
    (lambda a, x: np.where(np.greater_equal(x, a) & ~(x < 1), a, x),
     "where(x >= a and x >= 1, a, x)"),
    (lambda a, x: np.where(np.logical_or(x < a, x != 2), 1, x), "where(x < a or x != 2, 1, x)"),
    (lambda a, x: (x > 0) * a + 1, "a*where(x > 0, 1, 0) + 1"),
    (lambda a, x: np.clip(x, a_min=0, a_max=None) + a, "maximum(x, 0) + a"),
    (lambda a, x: np.heaviside(x, 0.5) * a, "a*where(x < 0, 0, where(x > 0, 1, 0.5))"),
    (lambda a, x: special.erf(a * x) + special.erfc(x), "erf(a*x) + erfc(x)"),
    (lambda a, x: special.psi(a * x) * special.gammaln(x), "digamma(a*x)*lgamma(x)"),
    (lambda a, x: special.j0(a * x) + np.sinc(x) + np.i0(a), "j0(a*x) + sinc(x) + i0(a)"),
    (lambda a, x: special.voigt_profile(x - 1, a, 2), "voigt(x, 1, a, 2)"),
    (lambda a, x: np.float64(2) * x + np.float32(0.5) * a, "2.0*x + 0.5*a"),
    (lambda a, x: x * np.array(2) ** a, "2**a*x"),
    (lambda a, x: np.pi * a + math.e * x, f"{math.pi!r}*a + {math.e!r}*x"),
    (lambda: 3, "3"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "text"), FOLLOWED, ids=[text for _, text in FOLLOWED])
def test_what_is_followed(function, text):
    assert as_formula(function).expression == as_formula(text).expression


def three(a, b, c, x):
    return a * x**2 + b * x + c


PARTIALS = [
    (three, {}, {}),
    (lambda a, x, b=3, c=HALF: a * x + b + c, {}, {"b": 3.0, "c": 0.5}),
    (lambda a, *, b=2, x: a * x + b, {}, {"b": 2.0}),
    (functools.partial(three, 3, c=np.int64(1)), {"a": 3.0, "c": 1.0}, {}),
    (functools.partial(functools.partial(three, b=2), b=5), {"b": 5.0}, {}),
    (functools.partial(with_flag, 2, square=False), {"a": 2.0}, {}),
    (functools.partial(Curve().method, 4), {"a": 4.0}, {}),
]


@pytest.mark.parametrize(("function", "fixed", "start"), PARTIALS)
def test_bound_arguments_are_fixed_and_defaults_are_starts(function, fixed, start):
    formula = as_formula(function)
    assert dict(formula.fixed) == fixed
    assert dict(formula.start) == start
    assert "x" in formula.names
    assert not set(formula.names) & {"square", "label", "power", "self"}


def test_argument_names_decide_whatever_their_order():
    other = as_formula(lambda x, c, b, a: a * x**2 + b * x + c)
    assert other.expression == as_formula(three).expression
    assert other.names == ("x", "c", "b", "a")


def recurses(a, x):
    return recurses(a, x)


def fills(a, x):
    out = np.empty(3)
    out[0] = x
    return out * a


NOT_FOLLOWED = [
    (lambda a, x: a if x > 0 else x, r"np\.where\(condition, a, b\)"),
    (lambda a, x: max(a, x), r"np\.minimum or np\.maximum"),
    (lambda a, x: sum(value * a for value in x), "loops over or indexes the rows"),
    (lambda a, x: math.exp(a * x), r"write np\.exp\(x\) instead of math\.exp\(x\)"),
    (lambda a, x: np.sum(a * x), "sum works across rows"),
    (lambda a, x: np.add.reduce(x), r"add\.reduce works across rows"),
    (lambda a, x: np.spacing(x), "'spacing', which has no symbolic form; supported are"),
    (lambda a, x: np.polyval([a, 1], x), r"np\.polyval; write the polynomial out, as in \(a\*x"),
    (lambda a, x: np.piecewise(x, [x < a], [0, 1]), r"np\.piecewise; write np\.where\(condition"),
    (lambda a, x: x % a, r"np\.remainder; write x - m\*np\.floor\(x/m\)"),
    (lambda a, x: np.interp(x, [0, 1], [a, 1]), r"np\.interp; a table of values is no formula"),
    (lambda a, x: np.add(a, x, dtype=float), "named argument 'dtype'"),
    (lambda a, x: ARRAY * x, "array of 2 values from outside"),
    (lambda a, x: x + None, "None, which is no number"),
    (fills, "raised|plain number|loops"),
    (recurses, "raised RecursionError"),
    (lambda a, x: functools.reduce(lambda s, _: np.sin(s), range(3_000), x), "RecursionError"),
    (lambda a, x: None, "returned NoneType"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "reason"), NOT_FOLLOWED)
def test_what_is_not_followed_is_called_and_says_why(function, reason):
    called = external_in(as_formula(function).expression)
    assert called.function is function
    assert re.search(reason, called.reason)


REFUSED = [
    (lambda a, *rest: a, r"'\*rest'"),
    (max, "have no names"),
    (functools.partial(three, 1, 2, 3, 4, 5), "do not fit 'three': too many"),
    (lambda a, x: x / 0, "no finite real value"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "sentence"), REFUSED)
def test_what_has_no_arguments_or_no_value_gets_a_sentence(function, sentence):
    with pytest.raises(FormulaError, match=sentence):
        as_formula(function)


torch_cases = [
    (lambda t, a, x: t.exp(-a * x), "exp(-a*x)"),
    (lambda t, a, x: t.where(x > a, x, a), "where(x > a, x, a)"),
    (lambda t, a, x: t.sigmoid(a * x), "logistic(a*x)"),
    (lambda t, a, x: t.tensor(2.0) ** x + a, "2.0**x + a"),
    (lambda t, a, x: t.clamp(x, min=0) * a, "maximum(x, 0)*a"),
    (lambda t, a, x: (a * x).exp() + x.clamp(min=0).square(), "exp(a*x) + maximum(x, 0)**2"),
    (lambda t, a, x: t.square(x) + t.log1p(a) + t.erf(x), "x**2 + log1p(a) + erf(x)"),
]


@pytest.mark.parametrize(("function", "text"), torch_cases, ids=[text for _, text in torch_cases])
def test_torch_functions_are_followed(torch, function, text):
    formula = as_formula(lambda a, x: function(torch, a, x))
    assert formula.expression == as_formula(text).expression


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda t, a, x: t.add(a, x, alpha=2), "named argument 'alpha'"),
        (lambda t, a, x: t.sum(x), "sum works across rows"),
        (lambda t, a, x: t.tensor([1.0, 2.0]) * x, "array of 2 values"),
        (lambda t, a, x: t.nn.functional.softplus(x), "'softplus', which has no symbolic form"),
    ],
)
def test_what_is_not_followed_in_torch(torch, function, reason):
    called = external_in(as_formula(lambda a, x: function(torch, a, x)).expression)
    assert re.search(reason, called.reason)


def test_tracing_calls_the_function_once_and_leaves_it_alone():
    calls = []
    counted = lambda a, x: calls.append(1) or a * x  # noqa: E731
    as_formula(counted)
    assert len(calls) == 1
    assert counted(2.0, 3.0) == 6.0
