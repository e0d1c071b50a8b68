"""The trace, the statuses and the figures of merit of a result."""

import csv
import math
import re
from dataclasses import fields

import numpy as np
import pyarrow.parquet
import pytest

from example_results import converged
from sgdfit.errors import MissingDependencyError, UsageError
from sgdfit.inference.statistics import goodness
from sgdfit.result.result import Estimate, Result
from sgdfit.result.status import STATUSES, Status, status_of
from sgdfit.result.trace import Trace

LOSS = [4.0, math.inf, 0.1]


def small_trace(names=("a", "b")):
    table = np.arange(6.0).reshape(3, 2) / 3
    return Trace(names, [0, 1, 2], [0, 1, 2], [0.1, 0.1, math.nan], LOSS, table, -table)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("a", "b"), ["a", "b"]),
        (("loss", "step"), ["parameter_loss", "parameter_step"]),
        (("a", "gradient_a"), ["a", "parameter_gradient_a"]),
        (("loss", "parameter_loss"), ["parameter_parameter_loss", "parameter_loss"]),
    ],
)
def test_every_parameter_and_gradient_has_a_column_of_its_own(names, labels):
    trace = small_trace(names)
    columns = trace.columns()
    gradients = [f"gradient_{name}" for name in names]
    assert list(columns) == ["step", "epoch", "learning_rate", "loss", *labels, *gradients]
    np.testing.assert_array_equal(columns["loss"], LOSS)
    np.testing.assert_array_equal(columns[gradients[1]], -trace.parameters[:, 1])


def read_csv(path, separator):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=separator))
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def read_parquet(path, _):
    table = pyarrow.parquet.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


@pytest.mark.parametrize(
    ("name", "read", "separator"),
    [("t.csv", read_csv, ","), ("t.tsv", read_csv, "\t"), ("t.parquet", read_parquet, None)],
)
def test_trace_reads_back_exactly(tmp_path, name, read, separator):
    trace = small_trace()
    trace.write(tmp_path / name)
    back = read(tmp_path / name, separator)
    assert list(back) == list(trace.columns())
    for label, column in trace.columns().items():
        np.testing.assert_array_equal(back[label], column)
        assert read is read_csv or back[label].dtype == column.dtype


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("trace.xlsx", r"its ending must be one of \.csv, \.tsv, \.parquet"),
        ("nowhere/trace.csv", "No such file or directory"),
        ("nowhere/trace.parquet", "No such file or directory"),
    ],
)
def test_trace_refuses_what_it_cannot_write(tmp_path, path, message):
    with pytest.raises(UsageError, match=message):
        small_trace().write(tmp_path / path)


def test_trace_as_pandas(monkeypatch):
    frame = small_trace().to_pandas()
    assert list(frame.columns) == list(small_trace().columns())
    np.testing.assert_array_equal(frame["b"], small_trace().parameters[:, 1])
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pip install pandas"):
        small_trace().to_pandas()


def test_trace_refuses_columns_of_different_lengths():
    with pytest.raises(UsageError, match=r"trace's loss has shape \(2,\), where \(1,\) is needed"):
        Trace(("a",), [0], [0], [0.1], [1.0, 2.0], [[1.0]], [[1.0]])


# By hand: ln 2π = 1.8378770664093453.
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # RSS = n, so ln(RSS/n) = 0 and −2 ln L = n (ln 2π + 1)
        ((10.0, 40.0, 10, 2), (8, 1.25, 0.75, 34.3788, 38.3788, 35.2865)),
        # weights: −Σ ln w = −10 shifts each criterion by as much
        ((10.0, 40.0, 10, 2, 10.0), (8, 1.25, 0.75, 24.3788, 28.3788, 25.2865)),
        # n = k + 1: no AICc; n = p: no χ²
        ((4.0, 8.0, 4, 2), (2, 2.0, 0.5, 17.3515, None, 15.5104)),
        ((3.0, 6.0, 3, 3), (0, None, 0.5, 16.5136, None, 12.9081)),
        # a constant response has no variation to explain
        ((10.0, 0.0, 10, 2), (8, 1.25, None, 34.3788, 38.3788, 35.2865)),
        ((0.0, 40.0, 10, 2), (8, 0.0, 1.0, -math.inf, -math.inf, -math.inf)),
        ((math.nan, 40.0, 10, 2), (8, math.nan, None, None, None, None)),
        # a mean square that underflows: ln(5e-324) = -744.4400719213812
        ((5e-324, 1.0, 10, 2), (8, 0.0, 1.0, -7433.0478, -7429.0478, -7432.1400)),
    ],
)
def test_goodness(arguments, expected):
    found = goodness(*arguments)
    keys = ("degrees_of_freedom", "reduced_chi_square", "r_squared", "aic", "aicc", "bic")
    for key, wanted in zip(keys, expected, strict=True):
        got = getattr(found, key)
        same = wanted is not None and got == pytest.approx(wanted, abs=5e-5, nan_ok=True)
        assert got is None if wanted is None else same


@pytest.mark.parametrize("name", STATUSES)
def test_every_status_has_cause_and_says_whether_the_fit_failed(name):
    status = status_of(name, step=12, steps=34, row=56)
    assert status.cause
    assert "{" not in status.cause
    assert status.ok == (name not in ("diverged", "domain_error"))
    assert status.cure or name in ("converged", "stopped")
    own = status_of(name, cause="0.23 is above 0.2215", cure="use 0.2042")
    assert (own.cause, own.cure) == ("0.23 is above 0.2215", "use 0.2042")


@pytest.mark.parametrize("kind", [Result, Estimate, Status, Trace])
def test_help_tells_what_each_field_holds(kind):
    told = re.findall(r"^    (\w+) : \S", kind.__doc__.partition("----------\n")[2], re.MULTILINE)
    assert told == [field.name for field in fields(kind)]


def test_values_and_words():
    result = converged()
    assert result.values["a"] == pytest.approx(2.07485717, abs=1e-8)
    assert repr(result) == (
        "Result(y = a*x**2 + b*x + c: converged, a = 2.07 ± 0.46, b = 2.64 ± 0.50, c = 5.26 ± 0.91)"
    )
    assert repr(result.trace) == "Trace(201 rows, steps 0 to 200, parameters a, b, c)"
    assert str(Estimate("k", 2.0748e-12, 2.31e-14)) == "k = (2.075 ± 0.023)e-12"
