"""Predictions of any number of rows in a file, against the formula written in NumPy."""

import contextlib
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

ROWS = 300_000  # of three blocks, the last not whole
X = np.random.default_rng(3).uniform(-2, 2, ROWS)
BAD = [0, 5, 131_071, 131_072, 250_000]


def line(values, x):
    return values["a"] * x + values["b"]


@pytest.fixture(scope="module")
def fit():
    x = np.linspace(-2, 2, 30)
    noise = np.random.default_rng(0).normal(size=30)
    return sgdfit.fit("y = a*x + b", {"x": x, "y": 2 * x + 1 + noise})


def in_parquet(folder, x, size):
    path = folder / "new.parquet"
    pq.write_table(pa.table({"z": np.zeros(len(x)), "x": x}), path, row_group_size=size)
    return path


def in_two_files(folder, x, size):
    for name, part in (("b1", x[:200_000]), ("b2", x[200_000:])):
        pq.write_table(pa.table({"x": part}), folder / f"{name}.parquet", row_group_size=size)
    return str(folder / "b*.parquet")


def in_csv(folder, x, size):
    path = folder / "new.csv"
    path.write_text("x\n" + "\n".join(map(repr, x.tolist())) + "\n")
    return path


def in_batches(folder, x, size):
    return (pa.record_batch({"x": x[k : k + size]}) for k in range(0, len(x), size))


def in_memory(folder, x, size):
    return {"x": x}


FORMS = [
    (in_memory, 0), (in_parquet, 1_000_000), (in_parquet, 9_999), (in_two_files, 50_000),
    (in_csv, 0), (in_batches, 70_000),
]  # fmt: skip
NAMES = [f"{form.__name__} {size}" for form, size in FORMS]


def read(path):
    table = open_table(path)
    return table.load(table.names).columns


@pytest.mark.parametrize(
    ("form", "size", "ending"),
    [*((*form, ".parquet") for form in FORMS), (in_batches, 70_000, ".csv"), (*FORMS[0], ".tsv")],
)
def test_all_rows_come_in_their_order(fit, tmp_path, form, size, ending):
    path = tmp_path / f"curve{ending}"
    done = fit.write_predictions(form(tmp_path, X, size), path)
    assert (done.path, done.rows, done.dropped.rows) == (str(path), ROWS, 0)
    found = read(path)
    assert list(found) == ["x", "prediction"]
    np.testing.assert_array_equal(found["x"], X)
    np.testing.assert_allclose(found["prediction"], line(fit.values, X), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("form", "size"), FORMS[:4], ids=NAMES[:4])
@pytest.mark.parametrize("interval", ["confidence", "prediction"])
def test_bands_are_those_of_rows_in_memory(fit, tmp_path, form, size, interval):
    fit.write_predictions(form(tmp_path, X, size), tmp_path / "curve.parquet", interval, 0.9)
    found = read(tmp_path / "curve.parquet")
    for name, expected in fit.predict({"x": X}, interval, 0.9)._asdict().items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-13, err_msg=name)


@pytest.mark.parametrize(("form", "size"), FORMS, ids=NAMES)
def test_rows_that_are_left_out_are_told(fit, tmp_path, form, size):
    x = X.copy()
    x[BAD] = np.nan
    done = fit.write_predictions(
        form(tmp_path, x, size), tmp_path / "curve.parquet", missing="drop"
    )
    kept = np.flatnonzero(np.isfinite(x))
    assert done.rows == ROWS - len(BAD)
    assert done.dropped == (len(BAD), tuple(row + 1 for row in BAD))
    found = read(tmp_path / "curve.parquet")
    assert list(found) == ["row", "x", "prediction"]
    np.testing.assert_array_equal(found["row"], kept + 1)
    np.testing.assert_allclose(found["prediction"], line(fit.values, x[kept]), atol=1e-14)


def test_weights_of_new_rows_are_taken_block_by_block(tmp_path):
    x = np.linspace(0, 1, 40)
    s = np.linspace(1, 2, 40)
    y = x + np.random.default_rng(1).normal(size=40) * s
    fit = sgdfit.fit("y = a*x", {"x": x, "y": y, "s": s}, weights="1/s**2")
    new = {"x": X, "s": np.linspace(1, 3, ROWS)}
    fit.write_predictions(new, tmp_path / "curve.parquet", "prediction")
    found = read(tmp_path / "curve.parquet")
    np.testing.assert_allclose(found["stderr"], fit.predict(new, "prediction").stderr, rtol=1e-13)
    new["s"][200_000] = -np.inf
    with pytest.raises(DataError, match=r"column 's' row 200001"):
        fit.write_predictions(new, tmp_path / "curve.parquet", "prediction")


def test_only_the_rows_that_count_are_written(fit, tmp_path):
    path = in_parquet(tmp_path, X, 9_999)
    done = fit.write_predictions(path, tmp_path / "curve.csv", where="x > 1.5")
    chosen = X[X > 1.5]
    assert done.rows == len(chosen)
    np.testing.assert_array_equal(read(tmp_path / "curve.csv")["x"], chosen)


def test_names_that_variables_have_begin_with_fitted(tmp_path):
    data = {"row": [1.0, 2.0, 3.0], "low": [1.0, 3.0, 2.0], "y": [1.0, 2.1, 3.3]}
    fit = sgdfit.fit("y = a*row + b*low", data)
    fit.write_predictions(data, tmp_path / "curve.csv", "confidence", missing="drop")
    assert list(read(tmp_path / "curve.csv")) == [
        "fitted_row", "row", "low", "prediction", "stderr", "fitted_low", "high",
    ]  # fmt: skip


def test_text_reads_back_exactly(tmp_path):
    values = np.array(
        [1.0, -0.0, 1e-5, 1e22, 5e-324, 0.1, 123456789.0, 1.7976931348623157e308, 3e7]
    )
    fit = sgdfit.fit("y = a + 0*x", {"x": [1.0, 2.0, 3.0], "y": [1.0, 1.0, 1.0]})
    fit.write_predictions({"x": values}, tmp_path / "curve.csv")
    lines = (tmp_path / "curve.csv").read_text().splitlines()[1:]
    found = np.array([float(text.split(",")[0]) for text in lines])
    assert found.tobytes() == values.tobytes()
    assert all("." in text or "e" in text for text in lines)


@contextlib.contextmanager
def files_of_at_most(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def nan_in_the_end():
    x = X.copy()
    x[-1] = np.nan
    return x


def fail_in_the_end():
    yield pa.record_batch({"x": X[:BLOCK_ROWS]})
    yield pa.record_batch({"x": X[:BLOCK_ROWS]})
    raise KeyboardInterrupt


FAILURES = {
    "a full disk": (
        lambda folder: in_parquet(folder, X, 9_999), files_of_at_most(1_000_000), UsageError,
        r"cannot write '.*curve.*': File too large; {left}; raise the limit on the size of files",
    ),
    "a missing number": (
        lambda folder: in_parquet(folder, nan_in_the_end(), 9_999), contextlib.nullcontext(),
        DataError, "column 'x' row 300000 of .*new.parquet is missing",
    ),
    "Ctrl-C": (lambda folder: fail_in_the_end(), contextlib.nullcontext(), KeyboardInterrupt, None),
    "no row": (lambda folder: {"x": [np.nan]}, contextlib.nullcontext(), DataError, "no .*row"),
}  # fmt: skip


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
@pytest.mark.parametrize("before", [None, "what stood there"])
@pytest.mark.parametrize("failure", FAILURES)
def test_no_half_file_ever_stands(fit, tmp_path, failure, before, ending):
    data, conditions, kind, sentence = FAILURES[failure]
    if failure == "a full disk":
        conditions = files_of_at_most(1_000_000)
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / f"curve{ending}"
    if before is not None:
        path.write_text(before)
    new = data(tmp_path)
    left = "nothing is left" if before is None else "what stood there is intact"
    match = None if sentence is None else sentence.format(left=left)
    with conditions, pytest.raises(kind, match=match):
        fit.write_predictions(new, path)
    assert {p.name: p.read_text() for p in folder.iterdir()} == (
        {} if before is None else {path.name: before}
    )


def test_a_link_stays_one_and_permissions_stay(fit, tmp_path):
    real = tmp_path / "real.csv"
    real.write_text("")
    real.chmod(0o640)
    (tmp_path / "link.csv").symlink_to(real)
    fit.write_predictions({"x": [1.0]}, tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert real.read_text().startswith("x,prediction\n1.0,")


def test_an_ending_that_is_none(fit, tmp_path):
    with pytest.raises(UsageError, match=r"ending must be one of \.csv, \.tsv, \.parquet"):
        fit.write_predictions({"x": [1.0]}, tmp_path / "curve.txt")


def test_rows_are_read_as_they_are_needed(fit):
    read = []

    def batches():
        for k in range(100):
            read.append(k)
            yield pa.record_batch({"x": X[:BLOCK_ROWS]})

    blocks = predicted(fit, open_table(batches()))
    next(blocks)
    assert len(read) < 10
    assert sum(len(block.columns["x"]) for block in blocks) == 99 * BLOCK_ROWS


def test_the_command_writes_the_same(fit, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = X.copy()
    x[BAD] = np.inf
    in_parquet(tmp_path, x, 9_999)
    fit.save("fit.json")
    options = ["--missing", "drop", "--where", "z == 0", "--memory", "400MB", "--threads", "1"]
    assert main(["predict", "fit.json", "new.parquet", *options, "-o", "curve.csv"]) == 0
    told = "5 rows without finite numbers were left out: row 1, 6, 131072, 131073, 250001"
    assert told in " ".join(capsys.readouterr().err.split())
    fit.write_predictions("new.parquet", "same.csv", missing="drop")
    assert Path("curve.csv").read_bytes() == Path("same.csv").read_bytes()
    assert main(["predict", "fit.json", "new.parquet", *options]) == 0
    assert capsys.readouterr().out == Path("same.csv").read_text()
    assert sorted(os.listdir()) == ["curve.csv", "fit.json", "new.parquet", "same.csv"]
