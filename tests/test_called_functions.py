"""Functions that cannot be traced: they are called, and fitted as a formula would be."""

import functools
import math

import numpy as np
import pytest
from scipy import integrate
from scipy.optimize import curve_fit

import sgdfit
from sgdfit.errors import FormulaError, UsageError

X = np.linspace(0.0, 5.0, 60)
Y = 3 * np.exp(-0.7 * X) + 0.5 + 0.05 * np.random.default_rng(0).standard_normal(60)
DATA = {"x": X, "y": Y}
START = {"a": 1.0, "b": 1.0, "c": 1.0}


def analytic(x, a, b, c):
    out = np.zeros(len(x), np.result_type(x, a, b, c))
    out[:] = a * np.exp(-b * x) + c
    return out


def real(x, a, b, c):
    return a * np.exp(-b * np.array(x, dtype=float)) + float(c)


def one_row(x, a, b, c):
    return a * math.exp(-b * x) + c


def listed(x, a, b, c):
    return [a * math.exp(-b * value) + c for value in x]


def column(x, a, b, c):
    return analytic(x, a, b, c)[:, None]


class Decay:
    def __init__(self, sign):
        self.sign = sign

    def __call__(self, x, a, b, c):
        return self.method(x, a, b, c)

    def method(self, x, a, b, c):
        return analytic(x, a, -self.sign * b, c)


def with_options(x, a, b, c, *, kind, table=None):
    return {"decay": analytic}[kind](np.asarray(x, dtype=float), a, b, c)


FUNCTIONS = [
    analytic, real, one_row, listed, column, Decay(-1), Decay(-1).method,
    functools.partial(with_options, kind="decay"),
    lambda x, a, b, c: np.where(x > -1, analytic(x, a, b, c), 0),
    np.vectorize(lambda x, a, b, c: a * math.exp(-b * x) + c),
]  # fmt: skip


@pytest.fixture(scope="module")
def traced():
    return sgdfit.fit("y = a*exp(-b*x) + c", DATA, start=START)


@pytest.mark.parametrize("function", FUNCTIONS[:-1])
def test_a_called_function_gives_the_fit_of_its_formula(function, traced):
    fit = sgdfit.fit(function, DATA, response="y", start=START)
    assert fit.status.ok
    assert fit.called.startswith("called")
    for name, known in traced.estimates.items():
        assert fit[name].value == pytest.approx(known.value, rel=1e-8)
        assert fit[name].stderr == pytest.approx(known.stderr, rel=1e-4)


def test_a_saved_fit_says_which_function_it_needs(tmp_path, traced):
    path = tmp_path / "fit.json"
    fit = sgdfit.fit(real, DATA, response="y", start=START)
    fit.save(path)
    with pytest.raises(UsageError, match=r"test_called_functions\.real"):
        sgdfit.load(path).predict({"x": [1.0]})
    again = sgdfit.load(path, function=real)
    band, known = (r.predict({"x": [1.0, 9.0]}, "confidence") for r in (again, traced))
    np.testing.assert_allclose(band.prediction, known.prediction, rtol=1e-8)
    np.testing.assert_allclose(band.stderr, known.stderr, rtol=1e-4)


def test_what_a_function_raises_at_its_start_is_the_cause():
    def failing(x, a):
        raise LookupError("no table")

    with pytest.raises(FormulaError, match=r"LookupError: no table \(at a = 2\)") as told:
        sgdfit.fit(failing, DATA, response="y", start={"a": 2.0})
    assert isinstance(told.value.__cause__, LookupError)


@pytest.mark.parametrize("start", [{"k": 1, "y0": 2}, None])
def test_an_integration_that_begins_at_the_first_row_is_called_on_all_rows(start) -> None:
    def model(t, k, y0):
        return integrate.odeint(lambda y, _: -k * y, y0, t, rtol=1e-10, atol=1e-10)[:, 0]

    t = np.linspace(0, 4, 30)
    y = 3 * np.exp(-0.8 * t) + 0.02 * np.sin(40 * t)
    fit = sgdfit.fit(model, {"t": t, "y": y}, response="y", start=start)
    values, _ = curve_fit(lambda t, k, y0: y0 * np.exp(-k * t), t, y, p0=(1, 2))
    np.testing.assert_allclose([fit["k"].value, fit["y0"].value], values, rtol=1e-6)
    assert "on all rows" in fit.called
    many = {"t": np.linspace(0, 4, 1_000), "y": np.linspace(3, 0, 1_000)}
    with pytest.raises(FormulaError, match="another value"):
        sgdfit.fit(model, many, response="y", start={"k": 1, "y0": 2})


def test_a_solver_that_gives_up_has_no_value_there() -> None:
    def model(x, a, b, c):
        rows = len(x) if b < 10 else 3
        return [a * np.exp(-b * each) + c for each in x][:rows]

    x = np.linspace(0, 4, 30)
    data = {"x": x, "y": 3 * np.exp(-0.8 * x) + 0.5 + 0.02 * np.sin(40 * x)}
    fit = sgdfit.fit(model, data, response="y")
    traced = sgdfit.fit("y = a*exp(-b*x) + c", data)
    assert fit["b"].value == pytest.approx(traced["b"].value, rel=1e-7)
