"""Results: figures in words, the trace, statuses, and files that read back to the last bit."""

import contextlib
import copy
import csv
import json
import math
import os
import pickle
import re
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import stdtrit

import sgdfit
from example_results import EXAMPLES, converged, decay, diverged
from sgdfit.errors import DataError, MissingDependencyError, SgdfitError, UsageError
from sgdfit.fitting.options import Resources
from sgdfit.fitting.status import ENDINGS
from sgdfit.formula.reading import as_formula
from sgdfit.inference.statistics import goodness
from sgdfit.result.result import Estimate, Result
from sgdfit.result.rounding import interval_text, number, plus_minus
from sgdfit.result.saved import from_dict, load, summary
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
    table = pq.read_table(path)
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


def test_every_ending_that_leaves_something_to_do_says_what():
    for name, _, cure in ENDINGS.values():
        usual = STATUSES[name].cure if cure is None else cure
        assert usual or name in ("converged", "stopped")


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


def test_what_one_asks_of_a_fit():
    x = np.linspace(0, 4, 30)
    y = 3 * np.exp(-x) + np.cos(9 * x) / 20
    y[[3, 8]] = np.nan
    kept = np.isfinite(y)
    frame = pd.DataFrame({"x": x, "y": y})
    fit = sgdfit.fit("y = a*exp(-b*x)", frame, missing="drop")

    assert fit["a"] is fit.estimates["a"]
    assert float(fit["a"]) == fit.values["a"]
    assert [*fit] == ["a", "b"]
    assert "b" in fit
    assert repr(fit["a"]).startswith(f"Estimate({fit['a']}, ")
    with pytest.raises(KeyError, match="no parameter 'A'; there are a, b"):
        fit["A"]
    np.testing.assert_array_equal(fit.fitted, fit.predict({"x": x[kept]}))
    np.testing.assert_array_equal(fit.residuals, y[kept] - fit.fitted)
    told = fit.to_pandas()
    assert told.loc["b", ["value", "stderr"]].tolist() == [fit["b"].value, fit["b"].stderr]
    assert told.loc["b", ["low", "high"]].tolist() == list(fit["b"].interval)
    again = pickle.loads(pickle.dumps(fit))
    assert again.values == fit.values
    with pytest.raises(UsageError, match=r"give them to fit\.predict\(data\)"):
        _ = again.residuals


def test_residuals_of_more_rows_than_memory_are_refused(tmp_path, monkeypatch):
    x = np.linspace(0, 1, 200_000)
    pq.write_table(pa.table({"x": x, "y": 2 * x}), tmp_path / "rows.parquet", row_group_size=50_000)
    fit = sgdfit.fit("y = a*x", tmp_path / "rows.parquet")
    assert np.abs(fit.residuals).max() < 1e-12
    monkeypatch.setattr(
        "sgdfit.fitting.prediction.as_resources", lambda: Resources(memory=10**6, threads=1)
    )
    with pytest.raises(UsageError, match="write_predictions"):
        _ = fit.residuals


@pytest.mark.parametrize("level", [0.5, 0.6827, 0.99])
def test_all_intervals_have_the_level_that_was_asked_for(level):
    x = np.arange(12.0)
    data = {"x": x, "y": 2 * x + np.cos(x)}
    fit = sgdfit.fit("y = a*x + b", data, level=level)
    half = stdtrit(10, (1 + level) / 2)
    for estimate in fit.estimates.values():
        expected = [estimate.value + sign * half * estimate.stderr for sign in (-1, 1)]
        assert estimate.interval == pytest.approx(expected, rel=1e-12)
    profile = sgdfit.fit("y = a*x + b", data, level=level, intervals="profile")
    assert profile["a"].interval == pytest.approx(fit["a"].interval, rel=1e-6)
    band, plain = fit.predict({"x": [3.0]}, "confidence"), fit.predict({"x": [3.0]})
    assert (band.high - plain) / band.stderr == pytest.approx(half, rel=1e-12)
    assert f"{100 * level:g}% interval" in str(fit)
    with pytest.raises(UsageError, match="level is 95, but a confidence lies between 0 and 1"):
        sgdfit.fit("y = a*x + b", data, level=95)


def assert_same(one, other):
    """Compare facts exactly: types, bits of floats (NaN equals NaN), shapes."""
    assert type(one) is type(other)
    if is_dataclass(one):
        for part in fields(one):
            assert_same(getattr(one, part.name), getattr(other, part.name))
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, strict=True)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        assert_same(tuple(one.values()), tuple(other.values()))
    elif isinstance(one, tuple):
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        # a NaN bears no sign in JSON; a zero does
        assert repr(one) == repr(other)


def strictly(text):
    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_saved_fit_reads_back_exactly(name, tmp_path):
    result = EXAMPLES[name]()
    result.save(tmp_path / "fit.json")
    back = load(tmp_path / "fit.json")
    assert_same(result, back)
    assert str(back) == str(result)
    assert strictly(back.to_json()) == result.to_dict()
    strictly(json.dumps(summary(result), allow_nan=False))
    # keys of a later sgdfit are left aside
    assert_same(result, from_dict({**result.to_dict(), "colour": "blue"}))


SAVED = Path(__file__).parent / "saved"


@pytest.mark.parametrize("path", sorted(SAVED.glob("*.json")), ids=lambda path: path.stem)
def test_results_that_version_0_1_0_saved_still_load(path):
    before = json.loads(path.read_text(encoding="utf-8"))
    assert before["format"] == "sgdfit"
    after = json.loads(load(path).to_json())
    # Its losses were in units of the response.
    before["loss_name"] = before["loss_name"].replace("=0.1)", "=0.1, scale='absolute')")
    # A fact that it did not know yet has its default.
    if before["diagnosis"] is not None:
        assert after["diagnosis"].pop("smooth_rate") is None
    assert {name: after[name] for name in before} == before


def test_every_fact_is_saved_and_one_that_was_not_known_yet_has_its_default():
    result = converged()
    saved = result.to_dict()
    assert (saved.pop("format"), saved.pop("version")) == ("sgdfit", 1)
    assert list(saved) == [field.name for field in fields(result)]
    for name, part in (("trace", result.trace), ("diagnosis", result.diagnosis)):
        assert list(saved[name]) == [field.name for field in fields(part)]
    early = {k: v for k, v in result.to_dict().items() if k not in ("sigma", "absolute_sigma")}
    assert (from_dict(early).sigma, from_dict(early).absolute_sigma) == (None, False)


@given(
    st.floats(),
    st.sampled_from([None, np.nan]) | st.floats(min_value=0),
    st.text(alphabet=st.characters(codec="utf-8")),
)
def test_any_number_and_text_survives(value, error, label):
    estimate = replace(converged().estimates["a"], value=value, stderr=error)
    result = replace(converged(), estimates={"a": estimate}, free=("a",), data_label=label)
    if not math.isfinite(value):
        result = replace(result, status=diverged().status)
    result = replace(result, covariance=None, correlation=None)
    assert_same(result, from_dict(strictly(result.to_json())))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "other", 'does not say "format": "sgdfit"'),
        ("version", 2, r"newer sgdfit \(format version 2, this one reads up to 1\); update"),
        ("version", True, "its version is True"),
        ("loss", KeyError, "the fit lacks 'loss'"),
        ("loss", "much", "the fit.loss is 'much', where a number is needed"),
        ("loss", None, "the fit.loss is None, where a number is needed"),
        ("loss", 10**400, "the fit.loss is 1000.*…, where a number is needed"),
        ("rows", 20.0, "the fit.rows is 20.0, where a whole number is needed"),
        ("formula", "y = q*x", "the fit.estimates has 'amplitude', which the formula 'y = q"),
        ("formula", "y = q*(x", "the fit.formula cannot be read: this '\\(' is never closed"),
        ("warnings", [1], r"the fit.warnings\[0\] is 1, where a text is needed"),
        ("estimates.d.at_bound", 0, "d.at_bound is 0, where true or false is needed"),
        ("estimates.d.interval", [1.0], "d.interval has 1 entries, where 2 are needed"),
        ("estimates.d.stderr", -0.5, "the fit.estimates.d.stderr is -0.5, below 0"),
        ("estimates.k_fast.stderr", 5.0, "stderr is 5.0, where its variance in the fit.covariance"),
        ("time_scales", {"x": {"kind": "date", "unit": "d"}}, "time_scales.x is no scale of times"),
        ("estimates.d.value", "NaN", "d.value is nan, where a finite number is needed"),
        ("estimates.d.interval", [5.0, 1.0], "d.interval is .*, whose ends are not in order"),
        ("r_squared", 7.0, "the fit.r_squared is 7.0, above 1"),
        ("estimates.d.role", "king", "d.role is 'king', where one of free, fixed, tied"),
        ("estimates.d.name", "e", "the fit.estimates.d.name is 'e'"),
        ("free", ["amplitude", "zeta", "x", "y"], "the fit.free names 'zeta'"),
        ("covariance", [[1.0]], r"the fit.covariance has shape \(1, 1\), where \(4, 4\) is"),
        ("status.name", "fine", "no status is called 'fine'"),
        ("trace.loss", [1.0], "the trace's loss has shape"),
        ("trace.step", [0, 1, 2, 2**70], "the fit.trace.step holds a number that is too"),
        ("trace.gradient", [[1.0], [], []], "the fit.trace.gradient has lists of different"),
    ],
)
def test_what_is_no_saved_fit_is_refused_with_its_place(path, value, message):
    saved = decay().to_dict()
    *parents, last = path.split(".")
    place = saved
    for key in parents:
        place = place[key]
    place[last] = value
    if value is KeyError:
        del place[last]
    with pytest.raises(DataError, match=message) as caught:
        from_dict(saved)
    assert "\n" not in str(caught.value)


def places(value, *way):
    """Yield where each part of a saved fit stands, of lists the first two."""
    yield way
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(min(len(value), 2)):
            yield from places(value[key], *way, key)


ODD = ["NaN", "Infinity", -1, 0, 1e308, 10**400, None, "x", "\ud800", [], {}, [1], True, "1e999"]


@pytest.mark.parametrize("make", [decay, diverged, lambda: load(SAVED / "search.json")])
def test_an_edited_fit_is_refused_or_can_be_used(make):
    whole = make().to_dict()
    random = Random(1)
    for way in [way for way in places(whole) if way]:
        saved = part = copy.deepcopy(whole)
        for key in way[:-1]:
            part = part[key]
        part[way[-1]] = random.choice(ODD)
        try:
            result = from_dict(saved)
        except DataError:
            continue
        for text in (result.report(full=True), result.to_json(), result._repr_html_()):
            assert text.encode()
        json.dumps(summary(result), allow_nan=False)
        row = {name: [1.0] for name in ("row", *as_formula(result.formula).names)}
        assert result.predict(row).shape == (1,)
        with contextlib.suppress(SgdfitError):  # it gives no band, or a text is no formula
            assert result.predict(row, "confidence").low.shape == (1,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" \n", "the file is empty"),
        (b"a,b\n1,2\n", r"it is not JSON \(line 1"),
        (b"PAR1\x00\xff\xfe", "it is not strict JSON"),
        (b'{"format": "sgdfit", "version": 1, "loss": NaN}', "it is not strict JSON"),
        (b"[" * 100_000, "is not a saved fit"),
        (b"[]", "is not a saved fit"),
        (b'{"format": "sgdfit", "version": 1}', "lacks 'formula', 'loss_name'"),
        (b'{"x": ' + b"9" * 5000 + b"}", "it is not strict JSON"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "fit.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert repr(str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    text = decay().to_json()
    path = tmp_path / "fit.json"
    for length in [*range(1, len(text) - 2, 41), len(text) - 2]:
        path.write_text(text[:length], encoding="utf-8")
        with pytest.raises(DataError, match="is not a whole saved fit: the file is cut off"):
            load(path)


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read '.*nowhere\.json': No such file"):
        load(tmp_path / "nowhere.json")
    with pytest.raises(UsageError, match=r"cannot save to '.*fit\.json': No such file"):
        converged().save(tmp_path / "nowhere" / "fit.json")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "fit.json"
    converged().save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        decay().save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["fit.json"]


def test_the_summary_holds_what_programs_ask_for():
    found = summary(converged())
    assert list(found)[:3] == ["formula", "status", "parameters"]
    assert set(found["status"]) == {"name", "cause", "cure"}
    assert found["parameters"]["a"]["value"] == converged().values["a"]
    assert found["parameters"]["a"]["interval"] == list(converged().estimates["a"].interval)
    assert found["diagnosis"]["stability_limit"] == pytest.approx(0.2215286, abs=1e-7)
    assert found["learning_rate"] == 0.2
    assert found["batch_size"] is None
    assert "trace" not in found
    # null for what is not finite or not known, but not for a text that reads like a number
    assert summary(diverged())["parameters"]["a"]["stderr"] is None
    assert summary(diverged())["diagnosis"]["steps_per_digit_at_rate"] is None
    assert summary(decay())["aic"] is summary(decay())["bic"] is None
    assert summary(replace(converged(), warnings=("NaN",)))["warnings"] == ["NaN"]


INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (2.07485717, 0.0231, "2.075 ± 0.023"),
        (1234567.0, 1234.0, "(1.2346 ± 0.0012)e6"),
        # the error gains a digit by rounding: not 9.999 ± 0.100
        (9.999, 0.0996, "10.00 ± 0.10"),
        # the value gains one
        (99999.996, 0.12, "100000.00 ± 0.12"),
        (999999.9, 12.0, "(1.000000 ± 0.000012)e6"),
        # an error larger than the value, and no negative zero
        (-0.046, 4.5, "0.0 ± 4.5"),
        # one above 100 times the value leaves it digits of its own
        (-0.0123456, 4.5, "-0.0123 ± 4.5"),
        (0.5, 25.0, "0 ± 25"),
        # an error that would be mostly zeros
        (1.5, 1e-12, "1.5000000000000 ± 1.0e-12"),
        (0.0, 6.1e-16, "0 ± 6.1e-16"),
        # never more digits than a float holds for sure
        (-1.5, 1e-30, "-1.5 ± 1.0e-30"),
        (5e-324, 5e-324, "(5.0 ± 5.0)e-324"),
        # half to even, on the decimal text: 0.125 is exact in binary, 2.675 is not
        (0.125, 0.10, "0.12 ± 0.10"),
        # without a usable error
        (2.07485717, None, "2.07486"),
        (2.07485717, INF, "2.07486 ± inf"),
        (NAN, 0.5, "nan ± 0.5"),
        (-INF, None, "-inf"),
    ],
)
def test_plus_minus(value, error, expected):
    assert plus_minus(value, error) == expected


@pytest.mark.parametrize(
    ("low", "high", "value", "error", "expected"),
    [
        (-0.001, 0.6, 0.3, 0.15, "0.00 … 0.60"),
        (-INF, INF, 0.3, INF, "-inf … inf"),
        (1.0, 2.0, 1.5, None, "1 … 2"),
        (2 - 4e-16, 2 + 4e-16, 2.0, 2e-16, "2 … 2"),
    ],
)
def test_interval(low, high, value, error, expected):
    assert interval_text(low, high, value, error) == expected


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (999999.7, 6, "1e6"),
        (123456.0, 2, "120000"),
        (0.00012345, 6, "0.00012345"),
        (0.000012345, 6, "1.2345e-5"),
        (NAN, 6, "nan"),
    ],
)
def test_number(value, digits, expected):
    assert number(value, digits) == expected


finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=5e-324, allow_infinity=False)


@given(finite, positive)
@example(9.999, 0.0996)
@example(1e300, 5e-324)
@example(1.7976931348623157e308, 1.7976931348623157e308)
def test_rounded_texts_read_back_within_the_last_digit_of_the_error(value, error):
    both, _, power = plus_minus(value, error).strip("(").partition(")")
    shown, shown_error = (Decimal(text + power) for text in both.split(" ± "))
    last = Decimal(1).scaleb(shown_error.adjusted() - 1)
    assert shown_error % last == 0
    # the smallest floats are not what they are written as
    assert min(abs(shown_error - Decimal(e)) for e in (repr(error), error)) <= last / 2
    # a value is never shown to more digits than a float holds for sure
    assert abs(shown - Decimal(repr(value))) <= max(last, abs(shown) * Decimal("1e-14")) / 2
    assert not (shown.is_zero() and shown.is_signed())
    assert len(plus_minus(value, error)) <= 36


@given(finite)
def test_a_number_alone_reads_back_to_six_digits(value):
    assert float(number(value)) == float(f"{value:.5e}") + 0.0
    assert not number(value).startswith("-0") or value <= -0.0001
