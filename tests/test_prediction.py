"""The fitted curve on new rows, in memory and in files, against the formula written in NumPy."""

import contextlib
import functools
import os
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.cli.app import main
from sgdfit.data.readers import open_table
from sgdfit.errors import DataError, UsageError
from sgdfit.fitting.prediction import BLOCK_ROWS, predicted

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
    "constant": ("y = m", {}, lambda v, x: np.full(x.shape, v["m"])),
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


def test_where_the_curve_has_no_value_the_prediction_is_nan():
    fit, _ = fitted("y = a*log(x)", np.log(X))
    np.testing.assert_array_equal(fit.predict({"x": [-1.0, 1.0]}), [np.nan, 0])


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
    assert list(found) == ["x", *expected]
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
    assert list(found) == ["row", "x", "prediction"]
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
        "fitted_row", "row", "low", "prediction", "fitted_prediction", "stderr", "fitted_low",
        "high",
    ]  # fmt: skip


def test_text_reads_back_exactly(tmp_path):
    values = np.array([1.0, -0.0, 1e-5, 1e22, 5e-324, 0.1, 123456789.0, np.finfo(float).max, 3e7])
    fit = sgdfit.fit("y = a + 0*x", {"x": [1.0, 2.0, 3.0], "y": [1.0, 1.0, 1.0]})
    fit.write_predictions({"x": values}, tmp_path / "curve.csv")
    lines = (tmp_path / "curve.csv").read_text().splitlines()[1:]
    assert np.array([float(text.split(",")[0]) for text in lines]).tobytes() == values.tobytes()
    assert all("." in text or "e" in text for text in lines)


@contextlib.contextmanager
def files_of_at_most(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fail_in_the_end():
    yield pa.record_batch({"x": MANY[:BLOCK_ROWS]})
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
            yield pa.record_batch({"x": MANY[:BLOCK_ROWS]})

    blocks = predicted(fit, open_table(batches()))
    next(blocks)
    assert len(read) < 10
    assert sum(len(block.columns["x"]) for block in blocks) == 99 * BLOCK_ROWS


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
