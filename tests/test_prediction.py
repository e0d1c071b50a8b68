"""The fitted curve on new rows, against the formula written in NumPy."""

import functools

import numpy as np
import pytest

import sgdfit
from sgdfit.errors import DataError

X = np.linspace(0.1, 3, 30)
NEW = np.array([0.0, 0.5, 7.0])


def fitted(formula, y, **options):
    fit = sgdfit.fit(formula, {"x": X, "y": y, "z": X**2}, steps=3, **options)
    return fit, fit.values


CASES = {
    "line": ("y = a*x + b", {}, lambda v, x: v["a"] * x + v["b"]),
    "decay": ("y = a*exp(-k*x)", {}, lambda v, x: v["a"] * np.exp(-v["k"] * x)),
    "where": (
        "y = where(x < c, a, b)",
        {"fixed": "c=1"},
        lambda v, x: np.where(x < v["c"], v["a"], v["b"]),
    ),
    "tied": ("y = a*x + d", {"tied": "d = 2*a"}, lambda v, x: v["a"] * x + 2 * v["a"]),
    "constant": ("y = m", {}, lambda v, x: np.full(x.shape, v["m"])),
    "log": ("log(y) = a*x + b", {}, lambda v, x: v["a"] * x + v["b"]),
    "function": (
        functools.partial(lambda a, b, x: a * np.cos(b * x), b=2.0),
        {"response": "y"},
        lambda v, x: v["a"] * np.cos(2.0 * x),
    ),
}


@pytest.mark.parametrize(("formula", "options", "curve"), CASES.values(), ids=CASES)
def test_prediction_is_the_curve_at_the_estimates(formula, options, curve):
    fit, values = fitted(formula, np.exp(X), **options)
    np.testing.assert_allclose(fit.predict({"x": NEW}), curve(values, NEW), rtol=1e-14)
    np.testing.assert_allclose(fit.predict({"x": NEW.astype("f4")}), curve(values, NEW), rtol=1e-14)


def test_prediction_takes_whatever_fit_takes(torch, tmp_path):
    fit, values = fitted("y = a*x + b", np.exp(X))
    expected = values["a"] * NEW + values["b"]
    path = tmp_path / "new.csv"
    path.write_text("x\n" + "\n".join(map(repr, NEW.tolist())))
    pandas = pytest.importorskip("pandas")
    forms = [{"x": NEW.tolist()}, {"x": torch.tensor(NEW)}, pandas.DataFrame({"x": NEW}), path]
    for data in forms:
        np.testing.assert_allclose(fit.predict(data), expected, rtol=1e-14)


def test_a_number_is_one_row():
    fit, values = fitted("y = a*x + b*z", np.exp(X))
    expected = values["a"] * 3 + values["b"] * 9
    np.testing.assert_allclose(fit.predict({"x": 3, "z": 9.0}), [expected])
    beside = fit.predict({"x": [3.0, 3.0], "z": 9})
    np.testing.assert_allclose(beside, [expected, expected])


def test_other_columns_need_not_be_there_nor_fit():
    fit, _ = fitted("y = a*x + b", np.exp(X))
    assert fit.predict({"x": NEW, "y": ["?", "?", "?"]}).shape == (3,)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"y": NEW}, "the data has no column 'x'; its columns are 'y'"),
        ({"X": NEW}, "the data has no column 'x'; .* Did you mean 'X'"),
        ({"x": [1.0, np.nan]}, "1 of 2 rows has no finite number"),
        ({"x": ["a"]}, "column 'x'"),
        ({"x": []}, "no rows"),
        ({}, "no columns"),
        (NEW, "write {'x': x, 'y': y}"),
        (None, "cannot be read"),
    ],
)
def test_data_that_cannot_be_predicted_from(data, sentence):
    fit, _ = fitted("y = a*x + b", np.exp(X))
    with pytest.raises(DataError, match=sentence):
        fit.predict(data)


def test_where_the_curve_has_no_value_the_prediction_is_nan():
    fit, _ = fitted("y = a*log(x)", np.log(X))
    found = fit.predict({"x": [-1.0, 1.0]})
    assert np.isnan(found[0])
    assert found[1] == 0


def test_a_saved_fit_predicts_the_same(tmp_path):
    fit, _ = fitted("y = a*x + d", np.exp(X), tied="d = 2*a")
    fit.save(tmp_path / "fit.json")
    again = sgdfit.load(tmp_path / "fit.json")
    np.testing.assert_array_equal(again.predict({"x": NEW}), fit.predict({"x": NEW}))
