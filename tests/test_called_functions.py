"""Functions that cannot be traced: they are called, and fitted as a formula would be."""

import functools
import math
import re
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from scipy import integrate
from scipy.optimize import curve_fit

import sgdfit
from sgdfit import plot
from sgdfit.errors import CheckpointError, FormulaError, UsageError
from sgdfit.formula.external import external_in
from sgdfit.formula.reading import as_formula

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


SCRATCH = np.zeros(60)


def into_one_array(x, a, b, c):
    SCRATCH[: len(x)] = real(x, a, b, c)
    return SCRATCH[: len(x)]


def with_one_odd_row(x, a, b, c):
    return np.where((x > 2.4) & (x < 2.5), np.abs(a), a) * analytic(x, 1, b, 0) + c


def real_near_the_end(x, a, b, c):
    value = analytic(x, a, b, c)
    return value if np.real(b) > 0.9 else value.real + 0j


FUNCTIONS = [
    into_one_array, with_one_odd_row, real_near_the_end, analytic, real, one_row, listed, column,
    Decay(-1), Decay(-1).method,
    functools.partial(with_options, kind="decay"),
    lambda x, a, b, c: np.where(x > -1, analytic(x, a, b, c), 0),
    np.vectorize(lambda x, a, b, c: a * math.exp(-b * x) + c),
]  # fmt: skip


@pytest.fixture(scope="module")
def traced():
    return sgdfit.fit("y = a*exp(-b*x) + c", DATA, start=START)


@pytest.mark.parametrize("function", FUNCTIONS)
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


def sampled(x, a, b, c):
    return one_row(x, a, b, c) + 1e-9 * np.random.default_rng().standard_normal()


NO_CURVE = [
    (lambda x, a: float(np.sum(x)) * a, r"returned the shape \(\) for 60 rows"),
    (lambda x, a: np.exp(1j * x * a), r"complex numbers such as .*; return real ones, as \.real"),
    (lambda x, a: np.ones(3) * a, r"returned the shape \(3,\) for 60 rows"),
    (lambda x, a: print(end=""), "returned NoneType, not one number for each row"),
    (lambda x, a: ["a"] * len(x), "returned list, not one number for each row"),
    (np.vectorize(sampled), "gives other values for the same arguments"),
    (lambda x, a: x[len(x)] * a, r"raised IndexError: .*\(at a = 1\)"),
]


@pytest.mark.parametrize(("function", "sentence"), NO_CURVE)
def test_what_is_no_curve_gets_a_sentence(function, sentence):
    with pytest.raises(FormulaError, match=sentence):
        sgdfit.fit(
            function, DATA, response="y", start="random" if "other" in sentence else {"a": 1}
        )


OPTIONS = [
    {"bounds": "0 < b < 0.6", "start": {"a": 1, "b": 0.5, "c": 1}}, {"fixed": "c = 0.4"},
    {"tied": "c = a/6"}, {"weights": 1 / (1 + X)}, {"sigma": "0.01*y", "absolute_sigma": True},
    {"loss": "huber(delta=1.5)"}, {"loss": "mae"}, {"loss": "poisson"}, {"covariance": "sandwich"},
    {"optimizer": "sgd(momentum=0.9)", "learning_rate": 0.02, "epochs": 30, "batch_size": 7},
    {"optimizer": "adam", "learning_rate": 0.02, "steps": 50}, {"where": "x > 1"}, {"start": None},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_do_to_a_called_function_what_they_do_to_a_formula(options):
    start = {n: v for n, v in START.items() if n != "c" or not {"fixed", "tied"} & options.keys()}
    options = {"start": start} | options
    fit = sgdfit.fit(real, DATA, response="y", **options)
    known = sgdfit.fit("y = a*exp(-b*x) + c", DATA, **options)
    assert fit.status.name == known.status.name
    np.testing.assert_allclose(list(fit.values.values()), list(known.values.values()), rtol=1e-8)
    errors = np.array([[r[name].stderr for name in START] for r in (fit, known)], dtype=float)
    np.testing.assert_allclose(errors[0], errors[1], rtol=1e-4)


def test_profile_intervals_are_those_of_the_formula(traced):
    fit = sgdfit.fit(real, DATA, response="y", start=START, intervals="profile")
    known = sgdfit.fit("y = a*exp(-b*x) + c", DATA, start=START, intervals="profile")
    for name in START:
        np.testing.assert_allclose(fit[name].interval, known[name].interval, rtol=1e-8)


def slopes(x, a, b, c):
    decay = np.exp(-b * x)
    return np.stack([decay, -a * x * decay, np.ones_like(x)], axis=1)


@pytest.mark.parametrize("jacobian", [slopes, lambda x, a, b, c: slopes(x, a, b, c).T])
def test_a_given_jacobian_is_used(jacobian, traced):
    fit = sgdfit.fit(real, DATA, response="y", start=START, jacobian=jacobian)
    assert "slopes from the given jacobian" in fit.called
    np.testing.assert_allclose(fit.covariance, traced.covariance, rtol=1e-7)


def test_a_jacobian_of_another_function_is_warned_of():
    def turned(x, a, b, c):
        return slopes(x, a, b, c) * [1, -1, 1]

    fit = sgdfit.fit(real, DATA, response="y", start=START, jacobian=turned, steps=1)
    assert any("see its slopes to b;" in text for text in fit.warnings)


def test_a_jacobian_of_another_shape_gets_a_sentence():
    with pytest.raises(FormulaError, match=r"the shape \(3, 3\); of 60 rows and 3 parameters"):
        sgdfit.fit(real, DATA, response="y", start=START, jacobian=lambda *v: slopes(*v)[:3])


def test_columns_without_names_get_a_sentence():
    with pytest.raises(UsageError, match=r"write fit\(f, {'x': x, 'y': y}, response='y'\)"):
        sgdfit.fit(real, X, Y)


def test_steps_are_chosen_for_the_function_and_the_parameter():
    """Noise of 1e-7, as a solver leaves, would make usual differences wrong by a tenth."""

    def solved(x, a, b, c):
        curve = real(x, a, b, c)
        return curve + 1e-7 * np.sin(1e9 * curve)

    fit = sgdfit.fit(solved, DATA, response="y", start=START)
    known, covariance = curve_fit(real, X, Y, p0=list(START.values()))
    np.testing.assert_allclose(list(fit.values.values()), known, rtol=1e-4)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-2)


@pytest.mark.parametrize("a", [1e-3, 0.3, 1.0, 20.0])
@pytest.mark.parametrize("given", [np.float64, np.float32, functools.partial(np.round, decimals=9)])
def test_the_stated_error_of_differences_bounds_theirs(given, a):
    def decay(x, a):
        return given(np.exp(-float(a) * x))

    formula = as_formula(decay, "y").with_columns(["x"])
    called = external_in(formula.expression)
    slope, exact = called.values((1,), X, np.float64(a)), -X * np.exp(-a * X)
    error = np.linalg.norm(slope - exact) / np.linalg.norm(exact)
    assert error < called.error < 0.2


@pytest.mark.parametrize("y", [Y, real(X, 3, 0.7, 0.5)])
def test_a_function_is_given_rows_of_the_data_alone(y):
    def looked_up(x, a, b, c):
        assert np.isin(x, X).all()
        return real(x, a, b, c)

    fit = sgdfit.fit(looked_up, {"x": X, "y": y}, response="y")
    assert fit.status.name == "converged"


def test_files_are_read_in_chunks_from_one_thread_and_runs_resume_to_the_bit(tmp_path):
    threads = set()

    def curve(x, a, b, c):
        return analytic(x, a, b, c).real * 1.0

    def watched(x, a, b, c):
        threads.add(threading.get_ident())
        assert len(x) <= 20_000
        return real(x, a, b, c)

    x = np.random.default_rng(1).uniform(0, 5, 60_000)
    y = 3 * np.exp(-0.7 * x) + 0.5 + 0.05 * np.random.default_rng(2).standard_normal(len(x))
    path, kept = tmp_path / "rows.parquet", tmp_path / "run.checkpoint"
    pq.write_table(pa.table({"x": x, "y": y}), path, row_group_size=10_000)
    known = sgdfit.fit("y = a*exp(-b*x) + c", path, start=START)
    fit = sgdfit.fit(watched, path, response="y", start=START)
    np.testing.assert_allclose(list(fit.values.values()), list(known.values.values()), rtol=1e-7)
    assert threads == {threading.get_ident()}
    how = {"response": "y", "start": START, "learning_rate": 0.1, "batch_size": 5_000, "epochs": 3}
    whole = sgdfit.fit(curve, path, **how)
    cut = sgdfit.fit(curve, path, **how, checkpoint=kept, callback=lambda progress: True)
    assert cut.status.name == "stopped"
    resumed = sgdfit.fit(curve, path, **how, checkpoint=kept, resume=True)
    assert resumed.values == whole.values
    with pytest.raises(CheckpointError, match="the checkpoint is of the formula"):
        sgdfit.fit(real, path, **how, checkpoint=kept, resume=True)


@pytest.mark.parametrize("name", ["exp", "Symbol", "Pow", "J0", "gamma", "<lambda>"])
def test_a_function_may_have_any_name(name):
    def function(x, a, b, c):
        return real(x, a, b, c)

    function.__name__ = name
    fit = sgdfit.fit(function, DATA, response="y", start=START)
    shown = name if name.isidentifier() else "f"
    assert fit.formula == f"y = {shown}(x, a, b, c)"
    assert f"{shown} is called, since" in str(sgdfit.explain(function, response="y"))


def test_a_called_function_is_no_kernel_to_compile():
    with pytest.raises(UsageError, match="'real' is called and cannot be compiled"):
        sgdfit.fit(real, DATA, response="y", start=START, kernel="compiled")


def slopes_of(x, a, b, c):
    return np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones_like(x)], axis=1)


@pytest.mark.parametrize(
    ("function", "jacobian", "said"),
    [
        (analytic, None, "slopes by complex step, and"),
        (real, None, r"slopes by .*central differences.*, to \de-\d+ of their size, and"),
        (real, slopes_of, "slopes from the given jacobian, and"),
    ],
)
def test_a_derivation_says_where_slopes_come_from(function, jacobian, said):
    told = " ".join(str(sgdfit.explain(function, DATA, response="y", jacobian=jacobian)).split())
    assert re.search(said, told)
    assert "symbolic" not in told


def test_rows_that_need_the_others_are_drawn_and_resampled_together():
    """A curve through other rows than the data's, as of a fine grid, is another one."""

    def share(x, a, b):
        found = np.exp(-b * (x - x.min()))
        return a * found / found.sum()

    data = {"x": X, "y": share(X, 40.0, 0.9) + 0.02 * np.cos(9 * X)}
    fit = sgdfit.fit(share, data, response="y", start={"a": 20, "b": 1}, bootstrap="pairs(200)")
    assert "gives other rows another curve: draw residuals" in fit.warnings[-1]
    axes = Figure().subplots()
    plot.fitted_curve(fit, data, axes)
    drawn = max(axes.lines, key=lambda line: line.get_linewidth())
    np.testing.assert_allclose(drawn.get_ydata(), fit.fitted, rtol=1e-12)
