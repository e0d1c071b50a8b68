"""The same rows in any form give the same fit, bit for bit."""

from datetime import time

import numpy as np
import pytest

import sgdfit
from sgdfit.errors import DataError, UsageError

RANDOM = np.random.default_rng(21)
X = RANDOM.normal(size=40)
COLUMNS = {"x": X, "y": 1.5 * X - 2 + RANDOM.normal(0, 0.3, 40), "s": RANDOM.uniform(0.1, 1, 40)}
FORMULA = "y = a*x + b"
OPTIONS = {"batch_size": 8, "epochs": 5, "learning_rate": 0.05, "weights": "1/s**2", "seed": 3}


def csv(tmp_path):
    path = tmp_path / "data.csv"
    rows = [",".join(map(repr, map(float, row))) for row in zip(*COLUMNS.values(), strict=True)]
    path.write_text("\n".join([",".join(COLUMNS), *rows]))
    return str(path)


def frame(tmp_path):
    return pytest.importorskip("pandas").DataFrame(COLUMNS).convert_dtypes()


FORMS = {
    "lists": lambda path: {name: column.tolist() for name, column in COLUMNS.items()},
    "reversed views": lambda path: {n: c[::-1].copy()[::-1] for n, c in COLUMNS.items()},
    "structured, big endian": lambda path: np.array(
        list(zip(*COLUMNS.values(), strict=True)), [(name, ">f8") for name in COLUMNS]
    ),
    "nullable pandas": frame,
    "lazy polars": lambda path: pytest.importorskip("polars").LazyFrame(COLUMNS),
    "csv": csv,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kernel", ["numpy", "compiled"])
def test_every_form_gives_the_same_bits(form, kernel, tmp_path):
    check_same_bits(FORMS[form](tmp_path), kernel)


DAYS = np.datetime64("2024-03-01T12", "ms") + 36_000 * np.arange(40) * np.timedelta64(1, "s")
DECAY = 5 * np.exp(-np.arange(40) / 9) + 0.01 * RANDOM.normal(size=40)


def timed_forms(tmp_path):
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"t": DAYS, "y": DECAY})
    frame.to_csv(tmp_path / "days.csv", index=False)
    frame.assign(t=frame.t.dt.strftime("%d/%m/%Y %H:%M")).to_csv(tmp_path / "dmy.csv", index=False)
    frame.to_parquet(tmp_path / "days.parquet", row_group_size=7)
    yield from ({"t": DAYS, "y": DECAY}, frame, pa.table(frame).to_reader())
    yield from (tmp_path / name for name in ("days.csv", "dmy.csv", "days.parquet"))
    yield iter([frame.iloc[:7], frame.iloc[7:]])


def test_times_are_counted_from_the_first_row(tmp_path):
    days = (DAYS - DAYS[0]).astype("m8[s]").astype(float) / 86_400
    judge = sgdfit.fit("y = a*exp(-k*t)", {"t": days, "y": DECAY})
    for data in timed_forms(tmp_path):
        result = sgdfit.fit("y = a*exp(-k*t)", data)
        assert result.values == judge.values
        assert "t in days since 2024-03-01 12:00" in result.data_label
        result.save(tmp_path / "fit.json")
        again = sgdfit.load(tmp_path / "fit.json")
        expected = judge.predict({"t": days[5:]})
        np.testing.assert_array_equal(again.predict({"t": DAYS[5:]}), expected)
        stated = again.predict("t=2024-03-03T14:00:2024-03-17T18:00:10h")
        np.testing.assert_array_equal(stated, expected)
        for text in (
            *("t=2024-03-03:2024-03-05:1", "t=2024-13-03", "t=2024-03-05:2024-03-03:1d"),
            "t=2024-03-03T15:00+01:00",
        ):
            with pytest.raises(DataError, match="write 't=2024-03-01', or"):
                again.predict(text)
    online = sgdfit.Fit("y = a + b*t", time_unit="h")
    for some in (slice(0, 5), slice(5, 40)):
        online.update({"t": DAYS[some], "y": DECAY[some]})
    line = sgdfit.fit("y = a + b*t", {"t": 24 * days, "y": DECAY}).values
    assert online.result().values == pytest.approx(line, rel=1e-9)
    assert "t in hours since 2024-03-01 12:00" in online.result().data_label


SINCE_NOON = DAYS[:12] - DAYS[0]
CLOCKS = [time(8 + k // 6, 10 * (k % 6)) for k in range(12)]


@pytest.mark.parametrize(
    ("column", "unit", "numbers", "said"),
    [
        (CLOCKS, None, np.arange(12) / 6, "t in hours since 08:00"),
        (CLOCKS, "min", 10.0 * np.arange(12), "t in minutes since 08:00"),
        (SINCE_NOON, None, 36_000.0 * np.arange(12), "t in seconds"),
        (SINCE_NOON, "hour", 10.0 * np.arange(12), "t in hours"),
        (DAYS[:12], "weeks", np.arange(12) * 10 / 168, "t in weeks since 2024-03-01 12:00"),
    ],
)
def test_times_have_a_unit(column, unit, numbers, said, tmp_path):
    data = {"t": column, "y": DECAY[:12]}
    fit = sgdfit.fit("y = a + b*t", data, time_unit=unit)
    judge = sgdfit.fit("y = a + b*t", {"t": numbers, "y": DECAY[:12]})
    assert fit.values == pytest.approx(judge.values, rel=1e-12)
    assert fit.data_label == f"the data ({said})"
    fit.save(tmp_path / "fit.json")
    again = sgdfit.load(tmp_path / "fit.json")
    for rows in ({"t": column}, {"t": numbers}):
        np.testing.assert_allclose(again.predict(rows), judge.predict({"t": numbers}), rtol=1e-12)


def test_predictions_at_times_of_day():
    fit = sgdfit.fit("y = a + b*t", {"t": CLOCKS, "y": DECAY[:12]})
    expected = fit.predict({"t": [0.0, 0.5, 1.0]})
    for stated in ("t=08:00,8:30,09:00:00", "t=8:00:09:00:30min", "t=0:1:0.5"):
        np.testing.assert_allclose(fit.predict(stated), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("fitted", "later", "message"),
    [
        (CLOCKS, DAYS[:12], r"holds a date where the fit had a time of day \(hours since 08:00\)"),
        (DAYS[:12], SINCE_NOON, "holds a duration where the fit had a date"),
        (np.arange(12.0), DAYS[:12], "holds a date where the fit had a number"),
        (CLOCKS, "t=25:00", "write 't=08:30', or 't=08:00:18:00:15min'"),
        (np.arange(12.0), "t=08:30", "numbers: no column of this fit holds times"),
    ],
)
def test_other_times_than_those_of_the_fit_are_refused(fitted, later, message):
    fit = sgdfit.fit("y = a + b*t", {"t": fitted, "y": DECAY[:12]})
    with pytest.raises(DataError, match=message):
        fit.predict(later if isinstance(later, str) else {"t": later})


@pytest.mark.parametrize("unit", ["fortnight", 3])
def test_an_unknown_unit_of_time_is_refused(unit):
    with pytest.raises(UsageError, match="is not known; write one of weeks, days, hours"):
        sgdfit.fit("y = a + b*t", {"t": CLOCKS, "y": DECAY[:12]}, time_unit=unit)


def warnings_of(**columns):
    return " ".join(sgdfit.fit("y = a + b*t", columns, missing="drop").warnings)


def test_a_clock_that_passes_midnight_is_warned_of():
    over = [time((22 + k) % 24) for k in range(12)]
    assert "go back, as at midnight (row 3), where each day" in warnings_of(t=over, y=DECAY[:12])
    for clocks in (CLOCKS, CLOCKS[::-1], CLOCKS[6:] + CLOCKS[:6]):
        assert "midnight" not in warnings_of(t=clocks, y=DECAY[:12])

    dated = {"d": DAYS[:12], "t": over, "y": DECAY[:12]}
    assert "midnight" not in " ".join(sgdfit.fit("y = a + b*(d + t)", dated).warnings)


@pytest.mark.parametrize(
    ("form", "first"), [("%Y%m%d", "20240301"), ("%Y%m%d%H%M", "202403011200")]
)
def test_dates_as_whole_numbers_are_asked_about(form, first):
    numbers = np.array([float(day.strftime(form)) for day in DAYS.tolist()])
    assert f"looks like dates that are written as {first}" in warnings_of(t=numbers, y=DECAY)
    assert "looks like dates" not in warnings_of(t=3 * numbers, y=DECAY)


def test_numbers_that_stand_for_nothing_are_asked_about():
    t, holes = np.arange(40.0), np.arange(40) % 7 == 3
    assert "'y' is -999 in 6 rows" in warnings_of(t=t, y=np.where(holes, -999.0, DECAY))
    told = warnings_of(t=np.where(holes, 9999.0, t), y=np.where(t % 9 == 3, -9.0, DECAY))
    assert "'t' is 9999 in 6 rows" in told
    assert "'y' is -9 in 5 rows" in told
    assert "pass na='9999' to sgdfit.open_table (--na 9999)" in told
    both = np.where(holes, -99.0, np.where(t % 7 == 4, -999.0, DECAY))
    assert "'y' is -99 in 6 rows" in warnings_of(t=t, y=both)
    assert "'y' is -999 in 6 rows" in warnings_of(t=t, y=both)
    lone = np.where(t == 3, -999.0, DECAY)
    for y in (-999.0 * t, lone, np.where(holes, 99.0, 100 + DECAY), np.where(holes, -1.0, 1.0)):
        assert "far from all others" not in warnings_of(t=t, y=y)


@pytest.mark.parametrize("zone", ["", "Z", "+00:00"])
def test_dates_as_text_in_arrays_are_read(zone):
    texts = [f"{day}{zone}" for day in np.datetime_as_string(DAYS, "s")]
    fit = sgdfit.fit("y = a + b*t", {"t": texts, "y": DECAY})
    assert fit.values == sgdfit.fit("y = a + b*t", {"t": DAYS, "y": DECAY}).values
    assert fit.predict({"t": texts[:1]}) == fit.predict(f"t={texts[0]}")
    assert ("UTC" in fit.data_label) == bool(zone)


@pytest.mark.parametrize("zone", ["", "Z"])
def test_dates_with_a_zone_and_without_are_not_mixed(zone):
    texts = [f"{day}{zone}" for day in np.datetime_as_string(DAYS, "s")]
    other = [str(day) for day in DAYS] if zone else [f"{day}+01:00" for day in DAYS]
    fit = sgdfit.fit("y = a + b*t", {"t": texts, "y": DECAY})
    with pytest.raises(DataError, match="give all dates a zone, or none"):
        fit.predict({"t": other[:1]})
    with pytest.raises(DataError, match=f"write 't=2024-03-01{'T00:00Z' * bool(zone)}'"):
        fit.predict(f"t={other[0]}")
    with pytest.raises(DataError, match="give all dates a zone, or none"):
        sgdfit.fit("y = a*(u - t)", {"t": texts, "u": other, "y": DECAY})
    with pytest.raises(DataError, match="have no zone"):
        sgdfit.fit("y = a + b*t", {"t": DAYS, "y": DECAY}, where="t > '2024-03-04T00:00Z'")


def test_an_index_of_dates_without_a_name_is_called_index():
    pd = pytest.importorskip("pandas")
    series = pd.Series(DECAY, index=pd.DatetimeIndex(DAYS), name="y")
    assert (
        sgdfit.fit("y = a + b*index", series).data_label
        == "the data (index in days since 2024-03-01 12:00)"
    )
    with pytest.raises(sgdfit.errors.FormulaError, match="Did you mean 'index' where 't' stands"):
        sgdfit.fit("y = a + b*t", series)


def test_differences_of_dates_are_of_one_origin():
    length = 3.0 + np.arange(40) ** 2 / 100
    end = DAYS + (length * 86_400_000).astype("m8[ms]")
    fit = sgdfit.fit("y = a*(end - start)", {"start": DAYS, "end": end, "y": 2 * length})
    assert fit.values == pytest.approx({"a": 2.0}, rel=1e-9)


@pytest.mark.parametrize("kernel", ["numpy", "compiled"])
def test_tensors_give_the_same_bits(torch, kernel):
    check_same_bits({name: torch.tensor(column) for name, column in COLUMNS.items()}, kernel)


def check_same_bits(data, kernel):
    plain = sgdfit.fit(FORMULA, COLUMNS, kernel=kernel, **OPTIONS)
    other = sgdfit.fit(FORMULA, data, kernel=kernel, **OPTIONS)
    np.testing.assert_array_equal(other.trace.parameters, plain.trace.parameters)
    np.testing.assert_array_equal(other.trace.loss, plain.trace.loss)
    np.testing.assert_array_equal(other.covariance, plain.covariance)
    assert other.values == plain.values
    assert other.residual_sum_of_squares == plain.residual_sum_of_squares


@pytest.mark.parametrize("kernel", ["numpy", "compiled"])
def test_float32_columns_are_the_numbers_they_hold(kernel):
    narrow = {name: column.astype(np.float32) for name, column in COLUMNS.items()}
    wide = {name: column.astype(np.float64) for name, column in narrow.items()}
    one = sgdfit.fit(FORMULA, narrow, kernel=kernel, **OPTIONS)
    other = sgdfit.fit(FORMULA, wide, kernel=kernel, **OPTIONS)
    np.testing.assert_allclose(one.trace.parameters, other.trace.parameters, rtol=1e-12)
    assert one.residual_sum_of_squares == pytest.approx(other.residual_sum_of_squares, rel=1e-13)
    assert one.r_squared == pytest.approx(other.r_squared, rel=1e-13)
    np.testing.assert_allclose(
        one.predict({"x": narrow["x"]}), other.predict({"x": wide["x"]}), rtol=1e-12
    )


def test_rows_with_missing_values_are_counted():
    spoiled = {name: column.copy() for name, column in COLUMNS.items()}
    spoiled["x"][3] = np.nan
    spoiled["s"][7] = np.inf
    with pytest.raises(DataError, match="2 of 40 rows have no finite number"):
        sgdfit.fit(FORMULA, spoiled, **OPTIONS)
    fit = sgdfit.fit(FORMULA, spoiled, missing="drop", **OPTIONS)
    assert (fit.rows, fit.rows_dropped) == (38, 2)
    kept = {name: np.delete(column, [3, 7]) for name, column in COLUMNS.items()}
    assert fit.values == sgdfit.fit(FORMULA, kept, **OPTIONS).values


def test_columns_that_no_formula_names_are_not_read_and_data_are_left_as_they_are():
    before = {name: column.copy() for name, column in COLUMNS.items()}
    data = COLUMNS | {"text": ["?"] * 40, "holes": np.full(40, np.nan)}
    assert (
        sgdfit.fit(FORMULA, data, **OPTIONS).values
        == sgdfit.fit(FORMULA, COLUMNS, **OPTIONS).values
    )
    for name, column in COLUMNS.items():
        np.testing.assert_array_equal(column, before[name])


def test_a_file_is_named_in_the_result(tmp_path):
    assert "data.csv" in sgdfit.fit(FORMULA, csv(tmp_path), **OPTIONS).data_label


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("formula", ["y = a*x + b", "y = where(x > 2, a, b*x)", "y = a/x"])
@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "steps": 1}, {"kernel": "numpy"}])
def test_what_is_not_finite_among_many_rows_is_found_by_the_first_pass(formula, options, bad):
    x = np.linspace(1, 3, 200_000)
    y = 2 * x
    x[150_000] = bad
    with pytest.raises(DataError, match=r"1 of 200000 rows .* column 'x' row 150001 is"):
        sgdfit.fit(formula, {"x": x, "y": y}, **options)
