"""The benchmarks' own logic: tables, the race, replicated rows and what is certified of them."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nist_at_scale
import sgdfit
import speed_data
from nist_files import read_folder, shipped_folder
from speed import put
from speed_clock import Contender, fitted_apart, lines, peer, race
from speed_data import CURVES, decode, linked, observed, parquet, replicate
from speed_fits import minimum
from speed_tables import Line, Table, Target, as_dict, lined, short, written


def test_a_table_gives_ratios_and_names_the_absent():
    found = [Line("reading", 0.5, 5), Line("sgdfit", 1.0, 5), Line("peer", 30.0, 1, "3 digits")]
    found.append(Line("missing", None, 0, "not installed: pip install it"))
    targets = (Target("ratio", 2.0, 1.3), Target("speed", 0.5, 0.4, at_least=True))
    table = Table("Work", "ns", found, "reading", "sgdfit", targets, ("  a note",))
    rows = [line.split() for line in written(table)]
    assert rows[2] == ["ns", "/", "limit", "/", "sgdfit", "runs"]
    assert rows[5] == ["peer", "30.0", "60.0", "30.0", "1", "3", "digits"]
    assert rows[6] == ["missing", "–", "–", "–", "not", "installed:", "pip", "install", "it"]
    assert rows[7] == ["MISSED:", "ratio:", "2.00", "(aim", "≤", "1.30)"]
    assert rows[8] == ["reached:", "speed:", "0.5", "(aim", "≥", "0.4)"]
    assert lined(table, "peer") == 30.0
    assert math.isnan(lined(table, "missing"))
    assert [target["holds"] for target in json.loads(json.dumps(as_dict(table)))["targets"]] == [
        False,
        True,
    ]
    assert not Target("speed", math.nan, 1.0).holds
    numbers = (0.000497, 0, 9.999, 472_000.4, math.nan, None)
    assert list(map(short, numbers)) == ["0.000497", "0.00", "10.00", "472,000", "–", "–"]


def test_a_page_holds_the_latest_table_of_each_section(tmp_path):
    page, lines = tmp_path / "speed.md", [Line("reading", 0.5, 5), Line("a|b", 1.0, 5, "so")]
    page.write_text("# How fast\n\nas it is\n")
    for title in ("old", "new"):
        put(page, "sums", [Table(title, "ns", lines, "reading", "", (), ("  noted",))], "do it")
    put(page, "files", [Table("other", "s", lines[:1])], "do that")
    text = page.read_text()
    assert text.startswith("# How fast\n\nas it is\n\n<!-- sums -->\n")
    assert "old" not in text
    assert "**new**\n\n|  | ns | / limit | runs |  |\n|---|" in text
    assert "| a\\|b | 1.00 | 2.00 | 5 | so |\n\nnoted\n" in text
    assert text.index("`do it`") < text.index("<!-- end of sums -->") < text.index("`do that`")


def test_a_race_counts_all_but_the_first_turn_and_says_what_is_absent():
    def fail():
        raise ValueError("no good")

    turns = []
    absent = peer("other", "no_such_module_here", "other-package", lambda: pytest.fail("was made"))
    entrants = [Contender("one", lambda: turns.append(1), rows=10), Contender("bad", fail), absent]
    timings = race(entrants, 3)
    assert len(turns) == 4
    assert [len(timing.seconds) for timing in timings] == [3, 0, 0]
    nanoseconds, seconds = (lines(timings, *unit)[0].value for unit in ((), ("seconds",)))
    assert nanoseconds == pytest.approx(1e8 * seconds)
    _, bad, missing = lines(timings)
    assert (bad.value, bad.note) == (None, "failed: ValueError: no good")
    assert (missing.value, missing.note) == (None, "not installed: pip install other-package")


@pytest.mark.parametrize(("rows", "times"), [(3, 1), (3, 7), (4, 1000), (700, 4000)])
def test_replicated_rows_stand_in_order(rows, times, tmp_path, monkeypatch):
    monkeypatch.setattr(speed_data, "GROUP", 1 << 14)
    data = {"x": np.arange(rows, dtype=float), "y": np.arange(rows) ** 2.0}
    path = replicate(data, times, tmp_path / "many.parquet")
    table = pq.read_table(path)
    assert table.num_rows == rows * times
    for name, column in data.items():
        assert np.array_equal(table.column(name).to_numpy(), np.tile(column, times))
    assert [file.name for file in tmp_path.iterdir()] == ["many.parquet"]


def test_parquet_and_links_hold_the_rows_that_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(speed_data, "GROUP", 1000)
    path = parquet(CURVES[0], 2500, tmp_path)
    file = pq.ParquetFile(path)
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sizes == [1000, 1000, 500]
    first, second = (file.read_row_group(i).column("x").to_numpy() for i in (0, 1))
    assert not np.array_equal(first, second)
    folder = linked(path, 4)
    assert decode(path, 1) == decode(path, 2) == 2500
    assert (
        decode(folder, 1) == decode(folder, 2) == pa.dataset.dataset(folder).count_rows() == 10_000
    )
    assert len({link.stat().st_ino for link in folder.iterdir()}) == 1


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_the_minimum_is_where_scipy_finds_it(curve):
    from scipy.optimize import curve_fit

    data = observed(curve, 5000)
    values, errors = minimum(curve, **data)

    def function(x, a, b, c):
        return curve.function(np, x, a, b, c)

    expected, covariance = curve_fit(function, data["x"], data["y"], xtol=1e-15, ftol=1e-15)
    assert values == pytest.approx(expected, rel=1e-7)
    assert errors == pytest.approx(np.sqrt(np.diag(covariance)), rel=1e-5)


def test_certified_errors_shrink_as_least_squares_has_it():
    standard = next(s for s in read_folder(shipped_folder()) if s.name == "Misra1a")
    many = {name: np.tile(column, 50) for name, column in standard.data.items()}
    fit = sgdfit.fit(standard.formula, many, start=standard.starts[1])
    shrunk = nist_at_scale.replicated(standard, 50)
    for name, estimate in fit.estimates.items():
        assert estimate.stderr == pytest.approx(shrunk.standard_deviations[name], rel=1e-5)
    once = nist_at_scale.replicated(standard, 1)
    assert once.standard_deviations == standard.standard_deviations


def test_a_fit_apart_tells_what_it_took(tmp_path):
    path = parquet(CURVES[1], 1000, tmp_path)
    job = {"formula": CURVES[1].formula, "data": str(path), "repeat": 2}
    told, arrays = fitted_apart(job), fitted_apart(job | {"load": True})
    assert told["status"] == "converged"
    assert told["rows"] == 1000
    assert len(told["seconds"]) == 2
    assert told["values"] == arrays["values"]
    assert told["decoded"] >= 1000
    assert arrays["decoded"] == 0
    assert told["values"]["a"] == pytest.approx(2.0, abs=0.1)
    with pytest.raises(RuntimeError, match="absent"):
        fitted_apart({"formula": "y = a*x", "data": str(tmp_path / "absent.parquet")})
