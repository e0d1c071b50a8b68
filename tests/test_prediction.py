"""The fitted curve on new rows and its bands, in memory and in files, against closed forms."""

import functools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
from scipy.special import stdtrit
from scipy.stats import norm

import sgdfit
from permissions import files_of_at_most
from sgdfit.cli.app import main
from sgdfit.data.readers import open_table
from sgdfit.errors import DataError, UsageError
from sgdfit.fitting.prediction import PREDICTION_ROWS, predicted
from sgdfit.inference.intervals import around, curve_variance
from sgdfit.result.saved import from_dict

X = np.linspace(0.1, 3, 30)
NEW = np.array([0.0, 0.5, 7.0])
ROWS = 300_000  # of three blocks, the last not whole
MANY = np.random.default_rng(3).uniform(-2, 2, ROWS)
BAD = [0, 5, 131_071, 131_072, 250_000]


def fitted(formula, y, **options):
    fit = sgdfit.fit(formula, {"x": X, "y": y, "z": X**2}, steps=3, **options)
    return fit, fit.values


CASES = {
    "decay": ("y = a*exp(-k*x)", {}, lambda v, x: v["a"] * np.exp(-v["k"] * x)),
    "where": (
        "y = where(x < c, a, b)",
        {"fixed": "c=1"},
        lambda v, x: np.where(x < v["c"], v["a"], v["b"]),
    ),
    "tied": ("y = a*x + d", {"tied": "d = 2*a"}, lambda v, x: v["a"] * x + 2 * v["a"]),
    "constant": ("y = m", {"constant": True}, lambda v, x: np.full(x.shape, v["m"])),
    "log": ("log(y) = a*x + b", {}, lambda v, x: v["a"] * x + v["b"]),
    "function": (
        functools.partial(lambda a, b, x: a * np.cos(b * x), b=2.0),
        {"response": "y"},
        lambda v, x: v["a"] * np.cos(2.0 * x),
    ),
}


@pytest.mark.parametrize(("formula", "options", "curve"), CASES.values(), ids=CASES)
def test_prediction_is_the_curve_at_the_estimates(formula, options, curve, tmp_path):
    fit, values = fitted(formula, np.exp(X), **options)
    np.testing.assert_allclose(fit.predict({"x": NEW}), curve(values, NEW), rtol=1e-14)
    np.testing.assert_allclose(fit.predict({"x": NEW.astype("f4")}), curve(values, NEW), rtol=1e-14)
    fit.save(tmp_path / "fit.json")
    again = sgdfit.load(tmp_path / "fit.json")
    np.testing.assert_array_equal(again.predict({"x": NEW}), fit.predict({"x": NEW}))


def test_a_number_is_one_row_and_other_columns_need_not_fit():
    fit, values = fitted("y = a*x + b*z", np.exp(X))
    expected = values["a"] * 3 + values["b"] * 9
    np.testing.assert_allclose(fit.predict({"x": 3, "z": 9.0}), [expected])
    beside = fit.predict({"x": [3.0, 3.0], "z": 9, "y": ["?", "?"]})
    np.testing.assert_allclose(beside, [expected, expected])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"X": NEW}, "the data has no column 'x'; its columns are 'X'.* Did you mean 'X'"),
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


# --- any number of rows, and files


@pytest.fixture(scope="module")
def fit():
    x = np.linspace(-2, 2, 30)
    noise = np.random.default_rng(0).normal(size=30)
    return sgdfit.fit("y = a*x + b", {"x": x, "y": 2 * x + 1 + noise})


def in_parquet(folder, x, size=9_999):
    path = folder / "new.parquet"
    pq.write_table(pa.table({"z": np.zeros(len(x)), "x": x}), path, row_group_size=size)
    return path


def in_two_files(folder, x):
    for name, part in (("b1", x[:200_000]), ("b2", x[200_000:])):
        pq.write_table(pa.table({"x": part}), folder / f"{name}.parquet", row_group_size=50_000)
    return str(folder / "b*.parquet")


def in_csv(folder, x):
    path = folder / "new.csv"
    path.write_text("x\n" + "\n".join(map(repr, x.tolist())) + "\n")
    return path


def in_batches(folder, x):
    return (pa.record_batch({"x": x[k : k + 70_000]}) for k in range(0, len(x), 70_000))


def in_memory(folder, x):
    return {"x": x}


FORMS = [in_memory, in_parquet, in_two_files, in_csv, in_batches]


def read(path):
    table = open_table(path)
    return table.load(table.names).columns


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("interval", [None, "confidence", "prediction"])
def test_files_hold_what_is_predicted_in_memory(fit, tmp_path, form, interval):
    path = tmp_path / "curve.parquet"
    done = fit.write_predictions(form(tmp_path, MANY), path, interval, 0.9)
    assert (done.path, done.rows, done.dropped.rows) == (str(path), ROWS, 0)
    found, known = read(path), fit.predict({"x": MANY}, interval, 0.9)
    expected = {"prediction": known} if interval is None else known._asdict()
    assert [name for name in found if name != "z"] == ["x", *expected]
    for name, column in {"x": MANY, **expected}.items():
        np.testing.assert_array_equal(found[name], column, err_msg=name)
    np.testing.assert_allclose(
        found["prediction"], fit.values["a"] * MANY + fit.values["b"], rtol=1e-14, atol=1e-14
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["parquet", "tsv"])
def test_rows_that_are_left_out_are_told(fit, tmp_path, form, ending):
    x = MANY.copy()
    x[BAD] = np.nan
    path = tmp_path / f"curve.{ending}"
    done = fit.write_predictions(form(tmp_path, x), path, missing="drop")
    kept = np.flatnonzero(np.isfinite(x))
    assert done.rows == ROWS - len(BAD)
    assert done.dropped == (len(BAD), tuple(row + 1 for row in BAD))
    found = read(path)
    assert [name for name in found if name != "z"] == ["row", "x", "prediction"]
    np.testing.assert_array_equal(found["row"], kept + 1)
    np.testing.assert_array_equal(found["x"], x[kept])


def test_weights_of_new_rows_are_taken_block_by_block(tmp_path):
    x, s = np.linspace(0, 1, 40), np.linspace(1, 2, 40)
    y = x + np.random.default_rng(1).normal(size=40) * s
    fit = sgdfit.fit("y = a*x", {"x": x, "y": y, "s": s}, weights="s")
    new = {"x": MANY, "s": np.linspace(1, 3, ROWS)}
    fit.write_predictions(new, tmp_path / "curve.parquet", "prediction")
    curve = fit.predict({"x": MANY}, "confidence").stderr
    expected = np.sqrt(curve**2 + fit.noise_variance / new["s"])
    np.testing.assert_allclose(read(tmp_path / "curve.parquet")["stderr"], expected, rtol=1e-13)
    for bad, sentence in ((np.inf, "column 's' row 200001"), (-1.0, "-1 in row 200001 of the")):
        new["s"][200_000] = bad
        with pytest.raises(DataError, match=sentence):
            fit.write_predictions(new, tmp_path / "curve.parquet", "prediction")


def test_names_that_variables_have_begin_with_fitted(tmp_path):
    data = {"row": [1.0, 2.0, 3.0, 4.0], "low": [1.0, 3.0, 2.0, 2.5], "y": [1.0, 2.1, 3.3, 4.0]}
    data["prediction"] = [1.0, 0.5, 2.0, 4.0]
    fit = sgdfit.fit("y = a*row + b*low + c*prediction", data)
    fit.write_predictions(data, tmp_path / "curve.csv", "confidence", missing="drop")
    assert list(read(tmp_path / "curve.csv")) == [
        "fitted_row", "row", "low", "y", "prediction", "fitted_prediction", "stderr", "fitted_low",
        "high",
    ]  # fmt: skip


WORDS = [f'{k % 7}, "{k}"' if k % 3 else None for k in range(ROWS)]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("missing", ["error", "drop"])
def test_columns_stay_as_they_came_beside_the_residuals(fit, tmp_path, ending, missing):
    x = MANY.copy()
    if missing == "drop":
        x[BAD] = np.nan
    table = pa.table({"site, name": WORDS, "x": x, "n": np.arange(ROWS), "y": 3 * MANY})
    pq.write_table(table, tmp_path / "new.parquet", row_group_size=70_001)
    path = tmp_path / f"curve.{ending}"
    for data in (tmp_path / "new.parquet", table):
        fit.write_predictions(data, path, residuals=True, missing=missing)
        found = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
        kept = table.to_pandas()[np.isfinite(x)].reset_index(drop=True)
        pd.testing.assert_frame_equal(found[table.column_names], kept, check_dtype=ending != "csv")
        np.testing.assert_array_equal(found["residual"], kept["y"] - found["prediction"])


def test_rows_may_be_stated_as_text(fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tenths = fit.predict({"x": np.arange(11) / 10})
    np.testing.assert_array_equal(fit.predict("x=0:1:0.1"), tenths)
    assert fit.predict("{x}=0:1:0.3").shape == (4,)
    np.testing.assert_array_equal(fit.predict("x = 5, -1"), fit.predict({"x": [5.0, -1.0]}))
    assert fit.predict("x=1:0:-0.25").shape == (5,)
    for text in (
        "x=0:1:0",
        "x=",
        "=1",
        "x=0:1",
        "x=a",
        "x=0:1:-1",
        "x=1,inf",
        "x=1;",
        "x=2024-03-01",
    ):
        with pytest.raises(DataError, match="states no rows"):
            fit.predict(text)
    with pytest.raises(DataError, match=r"write .x=1:0:-0\.5., which ends with a step"):
        fit.predict("x=1:0:0.5")
    with pytest.raises(DataError, match="more than 10,000,000 rows"):
        fit.predict("x=0:1:1e-9")
    Path("x=1.csv").write_text("x\n7\n8\n")
    np.testing.assert_array_equal(fit.predict("x=1.csv"), fit.predict({"x": [7.0, 8.0]}))


def test_a_band_that_the_data_leave_open_is_refused():
    fit = sgdfit.fit("y = (a + b)*x + c", {"x": X, "y": 2 * X + np.cos(9 * X)})
    with pytest.raises(UsageError, match=r"leave open .*; fix or tie one of these parameters"):
        fit.predict({"x": [1.0]}, "confidence")


def test_text_reads_back_exactly(tmp_path):
    values = np.array([1.0, -0.0, 1e-5, 1e22, 5e-324, 0.1, 123456789.0, np.finfo(float).max, 3e7])
    fit = sgdfit.fit("y = a + 0*x", {"x": [1.0, 2.0, 3.0], "y": [1.0, 1.0, 1.0]})
    fit.write_predictions({"x": values}, tmp_path / "curve.csv")
    lines = (tmp_path / "curve.csv").read_text().splitlines()[1:]
    assert np.array([float(text.split(",")[0]) for text in lines]).tobytes() == values.tobytes()
    assert all("." in text or "e" in text for text in lines)


def fail_in_the_end():
    yield pa.record_batch({"x": MANY[:PREDICTION_ROWS]})
    raise KeyboardInterrupt


FAILURES = {
    "a full disk": (
        lambda folder: in_parquet(folder, MANY), 1_000_000, UsageError,
        r"cannot write '.*curve.*': File too large; {left}; raise the limit on the size of files",
    ),
    "a missing number": (
        lambda folder: in_parquet(folder, np.append(MANY, np.nan)), 10**9, DataError,
        "column 'x' row 300001 of .*new.parquet is missing",
    ),
    "Ctrl-C": (lambda folder: fail_in_the_end(), 10**9, KeyboardInterrupt, None),
    "no row": (lambda folder: {"x": [np.nan]}, 10**9, DataError, "no .*row"),
}  # fmt: skip


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
@pytest.mark.parametrize("before", [None, "what stood there"])
@pytest.mark.parametrize(("data", "room", "kind", "sentence"), FAILURES.values(), ids=FAILURES)
def test_no_half_file_ever_stands(fit, tmp_path, data, room, kind, sentence, before, ending):
    path = tmp_path / "out" / f"curve{ending}"
    path.parent.mkdir()
    if before is not None:
        path.write_text(before)
    new = data(tmp_path)
    left = "nothing is left" if before is None else "what stood there is intact"
    match = None if sentence is None else sentence.format(left=left)
    with files_of_at_most(room), pytest.raises(kind, match=match):
        fit.write_predictions(new, path)
    held = {p.name: p.read_text() for p in path.parent.iterdir()}
    assert held == ({} if before is None else {path.name: before})


def test_rows_are_read_as_they_are_needed(fit):
    read = []

    def batches():
        for k in range(100):
            read.append(k)
            yield pa.record_batch({"x": MANY[:PREDICTION_ROWS]})

    blocks = predicted(fit, open_table(batches()))
    next(blocks)
    assert len(read) < 10
    assert sum(len(block.columns["x"]) for block in blocks) == 99 * PREDICTION_ROWS


def test_the_command_writes_the_same(fit, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = MANY.copy()
    x[BAD] = np.inf
    in_parquet(tmp_path, x)
    fit.save("fit.json")
    options = ["--missing", "drop", "--where", "x > -1", "--memory", "450MB", "--threads", "1"]
    assert main(["predict", "fit.json", "new.parquet", *options, "-o", "curve.csv"]) == 0
    told = f"{len(BAD)} rows without finite numbers were left out: row 1, "
    assert told in " ".join(capsys.readouterr().err.split())
    done = fit.write_predictions("new.parquet", "same.csv", missing="drop", where="x > -1")
    assert done.rows == np.count_nonzero(np.isfinite(x) & (x > -1))
    assert Path("curve.csv").read_bytes() == Path("same.csv").read_bytes()
    assert main(["predict", "fit.json", "new.parquet", *options]) == 0
    assert capsys.readouterr().out == Path("same.csv").read_text()
    assert sorted(os.listdir()) == ["curve.csv", "fit.json", "new.parquet", "same.csv"]


# --- bands, against closed forms and derivatives by differences

RANDOM = np.random.default_rng(7)
COUNT = 40
AT = np.linspace(0.2, 4, COUNT)
SPREAD = np.linspace(0.5, 2, COUNT)
NOISE = RANDOM.normal(0, 0.1, COUNT)
BEYOND = np.array([-0.5, 0.0, 1.3, 2.1, 9.0])


def line(**options):
    return sgdfit.fit("y = a*x + b", {"x": AT, "y": 2 * AT + 1 + NOISE, "s": SPREAD}, **options)


def textbook_line(fit, new, extra=0.0, level=0.95):
    """Draper & Smith, Applied Regression Analysis, section 3.2: s²(1/n + (x − x̄)²/Sxx)."""
    v = fit.values
    s2 = np.sum((2 * AT + 1 + NOISE - v["a"] * AT - v["b"]) ** 2) / (COUNT - 2)
    middle = AT.mean()
    stderr = np.sqrt(s2 * (extra + 1 / COUNT + (new - middle) ** 2 / np.sum((AT - middle) ** 2)))
    half = stdtrit(COUNT - 2, (1 + level) / 2) * stderr
    curve = v["a"] * new + v["b"]
    return curve, stderr, curve - half, curve + half


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("interval", "extra"), [("confidence", 0.0), ("prediction", 1.0)])
def test_a_straight_line_has_the_textbooks_bands(interval, extra, level):
    fit, new = line(), np.append(BEYOND, np.linspace(-5, 5, 40_001))  # of several strides
    band = fit.predict({"x": new}, interval=interval, level=level)
    for found, known in zip(band, textbook_line(fit, new, extra, level), strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, known, rtol=1e-9, atol=1e-12)


def decay(a, k, c):
    return a * np.exp(-k * BEYOND) + c


def offset_first(x, c, a, k):
    return a * np.exp(-k * x) + c


CURVES = {
    "of a function whose text has another order": (
        offset_first, {"response": "y"}, "cak", lambda c, a, k: decay(a, k, c)
    ),
    "decay": ("y = a*exp(-k*x) + c", {}, "akc", decay),
    "tied": ("y = a*exp(-k*x) + d", {"tied": "d = a*k"}, "ak", lambda a, k: decay(a, k, a * k)),
    "fixed": ("y = a*exp(-k*x) + c", {"fixed": "c=0.5"}, "ak", lambda a, k: decay(a, k, 0.5)),
    "without a variable": ("y = m", {"constant": True}, "m", lambda m: np.full(len(BEYOND), m)),
    "robust": ("y = a*exp(-k*x)", {"loss": "huber(delta=0.1)"}, "ak", lambda a, k: decay(a, k, 0)),
    "of an expression": ("log(y) = a*x + b", {}, "ab", lambda a, b: a * BEYOND + b),
}  # fmt: skip


@pytest.mark.parametrize(("formula", "options", "names", "curve"), CURVES.values(), ids=CURVES)
def test_a_curves_error_is_what_differences_give(formula, options, names, curve):
    data = {"x": AT, "y": 2 * np.exp(-0.7 * AT) + 0.5 + 0.3 * NOISE}
    start = {"a": 1.8, "k": 0.6} if "k" in names else None
    fit = sgdfit.fit(formula, data, start=start, **options)
    assert "".join(fit.free) == names
    theta = np.array([fit.values[name] for name in names])
    steps = 1e-6 * np.maximum(np.abs(theta), 1) * np.eye(len(theta))
    jacobian = np.stack(
        [(curve(*(theta + h)) - curve(*(theta - h))) / (2 * h.max()) for h in steps]
    )
    stderr = np.sqrt(np.diag(jacobian.T @ fit.covariance @ jacobian))
    band = fit.predict({"x": BEYOND}, interval="confidence")
    half = stdtrit(fit.degrees_of_freedom, 0.975) * stderr
    expected = (curve(*theta), stderr, curve(*theta) - half, curve(*theta) + half)
    np.testing.assert_allclose(band, expected, rtol=1e-6, atol=1e-12)


def test_a_new_observation_has_the_noise_of_its_own_weight():
    fit = line(weights="1/s**2")
    own = np.array([0.1, 1.0, 3.0])
    at = {"x": BEYOND[:3], "s": own}
    curve = fit.predict(at, interval="confidence").stderr
    residual = 2 * AT + 1 + NOISE - fit.values["a"] * AT - fit.values["b"]
    unit = np.sum((residual / SPREAD) ** 2) / (COUNT - 2)
    found = fit.predict(at, interval="prediction").stderr
    np.testing.assert_allclose(found, np.sqrt(curve**2 + unit * own**2), rtol=1e-9)
    # where the column is not there, a row of weight one is meant
    found = fit.predict({"x": BEYOND[:3]}, interval="prediction").stderr
    np.testing.assert_allclose(found, np.sqrt(curve**2 + unit), rtol=1e-9)
    # a row of weight 0 says nothing
    nothing = replace(fit, weights="s").predict({"x": [1.0], "s": [0.0]}, interval="prediction")
    assert nothing.stderr.tolist() == [np.inf]
    with pytest.raises(DataError, match="weight 's' is -1 in row 1"):
        replace(fit, weights="s").predict({"x": [1.0], "s": [-1.0]}, interval="prediction")


def test_absolute_errors_give_normal_intervals():
    fit = line(sigma="s", absolute_sigma=True)
    new = {"x": BEYOND, "s": np.linspace(0.1, 2, len(BEYOND))}
    band = fit.predict(new, interval="prediction", level=0.9)
    curve = fit.predict(new, interval="confidence")
    np.testing.assert_allclose(band.stderr, np.sqrt(curve.stderr**2 + new["s"] ** 2))
    np.testing.assert_allclose(band.high, band.prediction + norm.ppf(0.95) * band.stderr)


def test_parameters_without_a_variance():
    data = {"x": AT, "y": 2 * AT + 1 + NOISE}
    bounded = sgdfit.fit("y = a*x + b", data, bounds="b < 0.5", optimizer="sgd", steps=2_000)
    assert bounded.estimates["b"].at_bound
    assert np.isnan(bounded.covariance[1, 1])
    # one on its bound counts as fixed
    band = bounded.predict({"x": BEYOND}, interval="confidence")
    np.testing.assert_allclose(
        band.stderr, np.abs(BEYOND) * bounded.estimates["a"].stderr, rtol=1e-9
    )
    # of one that is not determined nothing is known
    fit = line()
    covariance = fit.covariance.copy()
    covariance[0] = covariance[:, 0] = np.nan
    band = replace(fit, covariance=covariance).predict({"x": BEYOND}, interval="confidence")
    assert np.isnan(band.stderr).tolist() == (BEYOND != 0).tolist()
    np.testing.assert_allclose(band.stderr[BEYOND == 0], fit.estimates["b"].stderr)


def test_where_the_curve_has_no_value_the_band_has_none():
    fit = sgdfit.fit("y = a*log(x) + b", {"x": AT, "y": np.log(AT) + NOISE})
    for part in fit.predict({"x": [-1.0, 1.0]}, interval="confidence"):
        assert np.isnan(part).tolist() == [True, False]


@pytest.mark.parametrize(
    ("changed", "interval", "sentence"),
    [
        ({}, "predicton", "interval is 'predicton'; .* Did you mean 'prediction'"),
        (
            {"covariance": None, "covariance_method": "none: 2 rows are few"},
            "confidence",
            r"no band, since it has no covariance \(none: 2 rows are few\)",
        ),
        (
            {"loss_name": "huber(delta=1)"},
            "prediction",
            "loss huber.* does not take the noise for normal",
        ),
        (
            {"degrees_of_freedom": 0, "noise_variance": None},
            "prediction",
            "does not know how much its rows scatter",
        ),
        ({"degrees_of_freedom": 0}, "confidence", "no band, since its rows leave no degree of fre"),
    ],
)
def test_a_band_that_cannot_be_is_refused_with_the_reason(changed, interval, sentence):
    with pytest.raises(UsageError, match=sentence):
        replace(line(), **changed).predict({"x": BEYOND}, interval)
    with pytest.raises(UsageError, match="level is 95, but a confidence lies"):
        line().predict({"x": BEYOND}, "confidence", 95)


def test_a_fit_saved_before_there_was_a_noise_variance_gives_the_same_bands():
    fit = line()
    saved = fit.to_dict()
    for name in ("noise_variance", "sigma", "absolute_sigma"):
        del saved[name]
    old = from_dict(saved)
    assert (old.noise_variance, old.sigma, old.absolute_sigma) == (None, None, False)
    bands = (one.predict({"x": BEYOND}, interval="prediction") for one in (old, fit))
    np.testing.assert_allclose(*bands, rtol=1e-12)


def test_rounding_makes_no_variance_negative():
    # a + b is known to rounding, a − b not at all well
    covariance = np.array([[1.0, -1.0], [-1.0, 1.0 - 1e-16]])
    found = curve_variance(np.array([[1.0, 1.0], [1.0, 0.5]]), covariance)
    assert found[0] >= 0
    np.testing.assert_allclose(found, [0, 0.25], atol=1e-15)
    assert curve_variance(np.ones((2, 1)), np.zeros((2, 2))).tolist() == [0]
    assert around(np.zeros(1), np.ones(1), 0) is None


@pytest.mark.parametrize("shift", [0.0, 1e8, 1.7e9, 1e10, 1e12])
def test_errors_of_columns_far_from_0_are_right_or_not_given(shift):
    near = np.arange(50.0)
    x, y = near + shift, 2 * near + 3 + np.random.default_rng(0).normal(size=50)
    slopes = np.stack([near - 24.5, np.ones(50)], axis=1)
    squares = np.linalg.lstsq(slopes, y)[1][0]
    at_mean = (squares / 48 / 50) ** 0.5
    middle = {"m": f"a*{shift + 24.5!r} + b"}
    fit = sgdfit.fit("y = a*x + b + where(x < 0, m, 0)", {"x": x, "y": y}, tied=middle)
    if shift < 1e9:
        assert fit.estimates["m"].stderr == pytest.approx(at_mean, rel=0.05)
        band = fit.predict({"x": [shift + 24.5]}, "confidence")
        assert band.stderr[0] == pytest.approx(at_mean, rel=0.05)
    else:
        assert fit.estimates["m"].stderr is None
        with pytest.raises(UsageError, match="this fit gives no band: so far from 0 as its col"):
            fit.predict({"x": [shift + 24.5]}, "confidence")


def test_a_frame_is_answered_with_its_index():
    fit, values = fitted("y = a*x + b", 2 * X + np.sin(9 * X))
    index = pd.MultiIndex.from_product([["p", "q"], [5, 3]], names=["site", "day"])
    frame = pd.DataFrame({"x": [0.0, 2, 1, 7]}, index=index)
    found = fit.predict(frame)
    pd.testing.assert_series_equal(found, (values["a"] * frame["x"] + values["b"]).rename("y"))
    band = fit.predict(frame["x"], interval="confidence")
    assert band.low.index.equals(index)
    np.testing.assert_array_equal(
        band.low, fit.predict({"x": frame["x"]}, interval="confidence").low
    )


GRID = xr.Dataset(
    {"depth": (("site", "t"), np.arange(6.0).reshape(2, 3)), "noise": ("t", [np.nan, 1, 2])},
    coords={"t": [0.0, 1, 4], "site": ["p", "q"], "height": ("site", [10.0, 20])},
)


@pytest.mark.parametrize(
    "data", [GRID, GRID.transpose("t", "site"), GRID["depth"], GRID["depth"].T]
)
def test_a_grid_is_answered_with_its_coordinates(data):
    held = GRID["depth"] * 3 - GRID["t"] + GRID["height"]
    fit = sgdfit.fit("y = a*depth + b*t + c*height", held.to_dataset(name="y").merge(GRID["depth"]))
    found = fit.predict(data)
    xr.testing.assert_allclose(found, held.transpose(*data.sizes))
    assert found.name == "y"
    band = fit.predict(data, interval="prediction")
    xr.testing.assert_allclose(band.prediction, found)


def test_a_grid_without_coordinates_or_name_is_read():
    held = xr.DataArray([[1.0, 3], [5, 7]], dims=("i", "j"))
    table = open_table(held)
    assert table.names == ("c1", "i", "j")
    assert table.load(["c1", "j"]).columns["c1"].tolist() == [1.0, 3, 5, 7]


def test_a_grid_of_no_dimension_is_refused():
    with pytest.raises(DataError, match="have no dimension"):
        open_table(xr.Dataset({"y": 3.0}))
