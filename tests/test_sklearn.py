"""FormulaRegressor: scikit-learn's own checks, and its figures beside its judges'."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import sgdfit
from sgdfit.errors import FormulaError, UsageError
from sgdfit.sklearn import FormulaRegressor

RNG = np.random.default_rng(5)
X = RNG.uniform(0, 2, (40, 2))
Y = 3 * np.exp(-1.5 * X[:, 0]) + 0.5 * X[:, 1] + RNG.normal(0, 0.05, 40)
DECAY = "a*exp(-b*x0) + c*x1"
PLANE = "a + b*x0 + c*x1"
LINEAR = LinearRegression().fit(X, Y)


@parametrize_with_checks([FormulaRegressor()])
def test_scikit_learns_checks(estimator, check, monkeypatch):
    # Without, the checks of arrays of other libraries are skipped.
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


def test_estimates_are_those_of_fit():
    weights = RNG.uniform(0.5, 2, 40)
    data = {"x0": X[:, 0], "x1": X[:, 1], "y": Y}
    for given in (None, weights):
        model = FormulaRegressor(DECAY).fit(X, Y, sample_weight=given)
        direct = sgdfit.fit(f"y = {DECAY}", data, weights=given)
        assert model.result_.values == direct.values
        assert_allclose(model.predict(X[:3]), direct.predict(data)[:3])


def test_weights_are_scikit_learns():
    weights = np.repeat([0.0, 1.0, 2.0, 3.0], 10)
    judge = LinearRegression().fit(X, Y, sample_weight=weights)
    model = FormulaRegressor(PLANE).fit(X, Y, sample_weight=weights)
    assert_allclose(model.predict(X), judge.predict(X), rtol=1e-10)


def test_without_a_formula_a_line_over_the_best_column():
    model = FormulaRegressor().fit(np.column_stack((X[:, 1], np.ones(40), X[:, 0])), Y)
    assert model.result_.formula == "y = intercept + slope*x2"
    frame = pd.DataFrame(X, columns=["pi", "intercept"])
    assert FormulaRegressor().fit(frame, Y).result_.formula == "y = intercept_ + slope*{pi}"
    assert_allclose(
        model.predict(X[:, [1, 1, 0]]), LinearRegression().fit(X[:, :1], Y).predict(X[:, :1])
    )


@pytest.mark.parametrize(
    ("names", "formula"),
    [
        (["t", "u"], "a + b*t + c*u"),
        (["t", "u"], "growth = a + b*t + c*u"),
        (["Time (s)", "y"], "a + b*{Time (s)} + c*y"),
        (["t", "weight"], "a + b*t + c*weight"),
        (["t", "u"], "weight + y*t + c*u"),
        (["t", "u"], lambda a, b, c, t, u: a + b * t + c * u),
    ],
)
def test_columns_of_frames_go_by_name(names, formula):
    frame = pd.DataFrame(X, columns=names)
    model = FormulaRegressor(formula).fit(frame, Y, sample_weight=np.ones(40))
    assert list(model.feature_names_in_) == names
    assert_allclose(model.predict(frame), LINEAR.predict(X), rtol=1e-9)


def test_in_a_pipeline():
    scaled = make_pipeline(FunctionTransformer(lambda X: X / 10), FormulaRegressor(DECAY))
    plain = FormulaRegressor(DECAY).fit(X, Y)
    assert_allclose(scaled.fit(X, Y).predict(X), plain.predict(X), rtol=1e-6)


def test_a_search_finds_the_formula():
    search = GridSearchCV(FormulaRegressor(), {"formula": [None, PLANE, DECAY]}, cv=4)
    assert search.fit(X, Y).best_params_ == {"formula": DECAY}
    assert search.best_score_ > 0.99


def test_scores_are_scikit_learns():
    mine, theirs = (cross_val_score(m, X, Y, cv=4) for m in (FormulaRegressor(PLANE), LINEAR))
    assert_allclose(mine, theirs, rtol=1e-8)


def called(a, b, x0):
    return np.array([a * x + b for x in x0])


@pytest.mark.parametrize("formula", [DECAY, called])
@pytest.mark.parametrize("copied", [lambda model: pickle.loads(pickle.dumps(model)), clone])
def test_copies_predict_alike(copied, formula):
    model = FormulaRegressor(formula, bounds={"b": (-5, 5)}).fit(X, Y)
    other = copied(model)
    other = other if hasattr(other, "result_") else other.fit(X, Y)
    assert_allclose(other.predict(X), model.predict(X), rtol=0)


def test_a_stream_ends_where_all_rows_at_once_do():
    model = FormulaRegressor(PLANE)
    for some in np.split(np.arange(40), 8):
        model.partial_fit(X[some], Y[some])
    assert_allclose(model.predict(X), LINEAR.predict(X), rtol=1e-10)
    assert model.n_iter_ == 8


def test_a_stream_goes_on_after_pickling():
    model = FormulaRegressor(PLANE).partial_fit(X[:20], Y[:20])
    model = pickle.loads(pickle.dumps(model)).partial_fit(X[20:], Y[20:])
    assert_allclose(model.predict(X), LINEAR.predict(X), rtol=1e-10)


def test_few_rows_of_a_stream_are_no_fit_yet():
    model = FormulaRegressor(PLANE).partial_fit(X[:2], Y[:2])
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert_allclose(model.partial_fit(X[2:], Y[2:]).predict(X), LINEAR.predict(X), rtol=1e-10)


def test_a_stream_after_fit_begins_anew():
    model = FormulaRegressor(PLANE).fit(X, 5 * Y).partial_fit(X, Y)
    assert_allclose(model.predict(X), LINEAR.predict(X), rtol=1e-10)


def test_a_run_that_ends_early_warns():
    with pytest.warns(ConvergenceWarning, match="step limit: all 2 steps .*; raise steps"):
        FormulaRegressor(DECAY, learning_rate=0.01, steps=2).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "method", "error", "sentence"),
    [
        ({"formula": "log(y) = a + b*x0"}, "fit", FormulaError, "TransformedTargetRegressor"),
        ({"formula": "x1 = a + b*x0"}, "fit", FormulaError, "'x1 = .* is not y alone"),
        ({"formula": "a*x2 + b*x0"}, "fit", FormulaError, "'x2': X has .* 'x0', 'x1' alone"),
        ({"formula": "a + b*z"}, "fit", FormulaError, "no column .* right side"),
        ({"formula": PLANE, "steps": 3}, "partial_fit", UsageError, "'steps': only for fit"),
        ({"formula": PLANE, "learning_rate": 9.0}, "fit", UsageError, "diverged: .* at most"),
    ],
)
@pytest.mark.filterwarnings("ignore::sgdfit.errors.DivergenceWarning")
def test_what_cannot_be_is_said(options, method, error, sentence):
    with pytest.raises(error, match=sentence):
        getattr(FormulaRegressor(**options), method)(X, Y)
