"""Many fits at once: each group as `sgdfit.fit` fits it alone, and what its table tells."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.cli.app import main
from sgdfit.errors import DataError, SgdfitError, UsageError
from sgdfit.fitting import bootstrap, many, options, processes

EXPONENTIAL = "y = a*exp(-b*x) + c"
# The slopes to h and k are limits at x = 0.
HILL = "y = c + a*x**h/(k**h + x**h)"


def curves(groups: int, rows: int = 15, noise: float = 0.03, seed: int = 0) -> dict[str, Any]:
    """Return decays of as many groups, in an order in which they are mixed."""
    random = np.random.default_rng(seed)
    a, b, c = random.uniform((1, 0.3, -1), (10, 2, 1), (groups, 3)).T[:, :, None]
    x = np.broadcast_to(np.linspace(0, 5, rows), (groups, rows))
    s = random.uniform(0.5, 2, x.shape)
    y = a * np.exp(-b * x) + c + noise * s * random.standard_normal(x.shape)
    order = random.permutation(x.size)
    site = np.repeat([f"s{k}" for k in range(groups)], rows)
    columns = {"site": site, "x": x.ravel(), "y": y.ravel(), "s": s.ravel()}
    return {name: column[order] for name, column in columns.items()}


def single(fits: sgdfit.Fits, data: dict[str, Any], formula: str, group: int, **given: Any) -> None:
    """Assert that a group is what `fit` says of its rows alone."""
    chosen = data["site"] == fits.groups["site"][group].as_py()
    alone = sgdfit.fit(formula, {name: column[chosen] for name, column in data.items()}, **given)
    estimates = [alone.estimates[name] for name in fits.names]
    errors = [np.nan if e.stderr is None else e.stderr for e in estimates]
    expected = [e.value for e in estimates], errors
    # Near a bound, and beside large residuals, `fit` may rest before the last digits.
    apart, allowed = np.abs(fits.values[group] - expected[0]), 1e-6 * np.nan_to_num(errors)
    assert (apart <= np.maximum(allowed, 1e-8 * np.abs(expected[0]) + 1e-10)).all()
    np.testing.assert_allclose(fits.stderr[group], expected[1], rtol=1e-7)
    assert fits.status[group] == alone.status.name
    assert fits.loss[group] == pytest.approx(alone.loss, rel=1e-9)
    assert fits.rows[group] == alone.rows


@pytest.mark.parametrize(
    ("formula", "given"),
    [
        (EXPONENTIAL, {}),
        (EXPONENTIAL, {"start": "a=5, b=1, c=0", "sigma": "s", "absolute_sigma": True}),
        # on a bound some groups are left to `fit`
        (EXPONENTIAL, {"bounds": "c > 0", "weights": "1/s**2"}),
        # rates in ascending order, whichever way a walk went
        ("y = a*exp(-b*x) + c*exp(-d*x)", {"bounds": "0 < b < 20, 0 < d < 20"}),
        ("y = a*x**2 + b*x + c", {}),
        (HILL, {"start": "a=-5, c=5, h=1, k=1"}),
    ],
)
def test_compiled_groups_are_as_each_alone(
    formula: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "FEWEST_GROUPS", 1)
    data = curves(60)
    if "d" in formula:
        data["y"] = data["y"] + 4 * np.exp(-6 * data["x"])
    fits = sgdfit.fit_many(formula, data, by="site", **given)
    for group in range(0, 60, 5):
        single(fits, data, formula, group, **given)


@pytest.mark.parametrize(
    ("formula", "given"),
    [
        (EXPONENTIAL, {"start": "a=5, b=1, c=0"}),
        (EXPONENTIAL, {"loss": "huber", "start": "a=5, b=1, c=0"}),
        (EXPONENTIAL, {"tied": "c = a/10", "covariance": "sandwich"}),
        (lambda a, b, x: a * np.exp(-b * x), {"response": "y"}),
        ("y = where(x < t, a, b)", {}),
    ],
)
def test_few_groups_are_as_each_alone(formula: Any, given: dict[str, Any]) -> None:
    data = curves(4)
    fits = sgdfit.fit_many(formula, data, by="site", **given)
    for group in range(4):
        single(fits, data, formula, group, **given)


def test_rows_whose_slopes_are_limits_stay_in_compiled_code(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "fit_group", lambda *args: pytest.fail("given to fit"))
    x = np.array([0.0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100])
    h, k = np.random.default_rng(0).uniform(0.8, 2, (2, 1_000, 1))
    y = 0.2 + 5 * x**h / (k**h + x**h) + 0.05 * np.sin(97 * np.arange(10))
    fits = sgdfit.fit_many(HILL, {"x": x, "y": y}, start="a=4, c=0, h=1, k=1")
    assert set(fits.status) == {"converged"}


def test_options_at_their_defaults_leave_groups_to_compiled_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "fit_group", lambda *args: pytest.fail("given to fit"))
    monkeypatch.setattr(many, "FEWEST_GROUPS", 1)
    pa.csv.write_csv(pa.table(curves(12)), tmp_path / "data.csv")
    command = ["fit", str(tmp_path / "data.csv"), "y = a*x**2 + b*x + c", "--by", "site"]
    assert main([*command, "--quiet"]) == 0


def test_threads_change_no_bit() -> None:
    data = curves(5_000, rows=6)
    one, two = (
        sgdfit.fit_many(EXPONENTIAL, data, by="site", start="a=5, b=1, c=0", threads=n)
        for n in (1, 2)
    )
    assert np.array_equal(one.values, two.values, equal_nan=True)
    assert np.array_equal(one.stderr, two.stderr, equal_nan=True)


# A worker that warns in each group.
WARNS = processes.WORKER.replace(
    "from sgdfit.fitting.processes import serve;",
    "import warnings; from sgdfit.fitting import processes; from sgdfit.fitting.processes import *;"
    " processes.fit_group = lambda *a: (warnings.warn('odd', RuntimeWarning), fit_group(*a))[1];"
    " serve = processes.serve;",
)


@pytest.mark.parametrize("worker", [WARNS, "import sys; sys.stdin.buffer.read(1) # {}"])
def test_groups_that_fit_takes_are_shared_among_processes(
    worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, calls, fit_group = curves(5), list[Any](), processes.fit_group
    given = {"by": "site", "loss": "huber", "start": "a=5, b=1, c=0"}
    alone = sgdfit.fit_many(EXPONENTIAL, data, threads=1, **given)

    def counted(*task: Any) -> processes.GroupFit:
        calls.append(task)
        return fit_group(*task)

    class Prompt(processes.Worker):
        def __init__(self, setup: bytes, work: processes.Work, several: int) -> None:
            super().__init__(setup, work, several)
            while work.left and self.thread.is_alive():
                time.sleep(0.001)  # until it has taken what is left

    monkeypatch.setattr(processes, "fit_group", counted)
    monkeypatch.setattr(processes, "Worker", Prompt)
    monkeypatch.setattr(processes, "WORTH", 0)
    monkeypatch.setattr(processes, "TOLD", 0)
    monkeypatch.setattr(processes, "SHARE", 1e9)
    monkeypatch.setattr(processes, "WORKER", worker)
    told = list[int]()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        fits = sgdfit.fit_many(
            EXPONENTIAL, data, threads=2, progress=lambda done, _: told.append(done), **given
        )
    # What it warns of is said once, here.
    assert [str(one.message) for one in heard] == ["odd"] * (worker is WARNS)
    # One that dies leaves its groups to this process.
    assert len(calls) in ((5,) if "read(1)" in worker else (1, 2))
    assert told == list(range(1, 6))
    for name in ("values", "stderr", "loss", "residual_standard_error", "status", "cause"):
        np.testing.assert_array_equal(getattr(fits, name), getattr(alone, name))


def test_groups_of_data_beyond_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, path = pa.table(curves(300, rows=8)), tmp_path / "data.parquet"
    pq.write_table(table, path, 500)
    here = sgdfit.fit_many("y = a*x + b", table, by="site")
    monkeypatch.setattr(options, "SHARE", 1e-6)
    # However few groups a part of them has.
    monkeypatch.setattr(processes, "fit_group", lambda *args: pytest.fail("given to fit"))
    there = sgdfit.fit_many("y = a*x + b", path, by="site")
    assert there.groups.equals(here.groups)
    np.testing.assert_allclose(there.values, here.values, rtol=1e-9, atol=1e-12)
    assert there.first.tolist() == here.first.tolist()


def test_keys_of_several_columns_in_the_order_of_the_data() -> None:
    data = {
        "day": [2, 1, 2, 1, 2, 1] * 2,
        "site": ["b"] * 6 + ["a"] * 6,
        "x": np.arange(12.0),
        "y": np.arange(12.0) ** 2,
    }
    fits = sgdfit.fit_many("y = a*x + b", data, by=["site", "day"])
    assert fits.groups.to_pydict() == {"site": ["b", "b", "a", "a"], "day": [2, 1, 2, 1]}
    assert fits.rows.tolist() == [3, 3, 3, 3]
    expected = [np.polyfit(np.arange(k, k + 6, 2), np.arange(k, k + 6, 2) ** 2, 1) for k in (0, 1)]
    np.testing.assert_allclose(fits.values[:2], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("key", "groups"),
    [
        (np.repeat([0.0, 0.5, -0.0], 4), [0.0, 0.5]),
        (np.repeat([True, False], 6), [True, False]),
        (pa.array(["ü\n", "", "日本"] * 4).dictionary_encode(), ["ü\n", "", "日本"]),
    ],
)
def test_keys_of_many_kinds(key: Any, groups: list[Any]) -> None:
    data = {"x": np.arange(12.0), "y": np.arange(12.0) ** 2, "key": key}
    fits = sgdfit.fit_many("y = a*x", data, by="key")
    assert fits.groups["key"].to_pylist() == groups
    assert len(str(fits).splitlines()) == 3 + len(groups)


def test_groups_of_no_weight_are_rows_with_an_error() -> None:
    data = {"site": list("aabb"), "x": np.arange(4.0), "y": np.arange(4.0), "w": [1, 1, 0, 0]}
    fits = sgdfit.fit_many("y = a*x", data, by="site", weights="w")
    assert fits.status.tolist() == ["converged", "error"]
    assert fits.first.tolist() == [0, 2]


def test_a_stack_of_curves_with_common_columns() -> None:
    x = np.linspace(0, 5, 12)
    y = np.stack([k * np.exp(-x) + 0.01 * np.sin(9 * x) for k in (1, 2, 3)])
    fits = sgdfit.fit_many("y = a*exp(-b*x)", {"x": x, "y": y})
    assert fits.groups.to_pydict() == {"group": [0, 1, 2]}
    sigma = np.full_like(y, 2.0)
    weighted = sgdfit.fit_many("y = a*exp(-b*x)", {"x": x, "y": y}, sigma=sigma)
    np.testing.assert_allclose(weighted.values, fits.values, rtol=1e-8)
    for k in range(3):
        alone = sgdfit.fit("y = a*exp(-b*x)", {"x": x, "y": y[k]})
        np.testing.assert_allclose(fits.values[k], list(alone.values.values()), rtol=1e-8)


def test_pixels_of_a_series_of_images() -> None:
    x, true = np.linspace(0, 5, 12), np.arange(1.0, 7.0).reshape(2, 3)
    y = true[:, :, None] * np.exp(-x) + 0.01 * np.sin(9 * x)
    masked = np.ma.masked_array(y, np.zeros(y.shape, bool))
    masked[0, 1], masked[1, 2, :4] = np.ma.masked, np.ma.masked
    fits = sgdfit.fit_many(
        "y = a*exp(-b*x)", {"x": x, "y": masked}, missing="drop", sigma=np.ones((2, 3, 1))
    )
    assert fits.image("rows").tolist() == [[12, 0, 12], [12, 12, 8]]
    assert fits.image("status")[0, 1] == "error"
    known = fits.image("rows") > 0
    np.testing.assert_allclose(fits.image("a")[known], true[known], atol=0.1)
    with pytest.raises(UsageError, match="no column 'A'"):
        fits.image("A")


@pytest.mark.parametrize("given", [{}, {"start": "a=2, b=1, c=0"}, {"bounds": "c > 0"}])
def test_noisy_groups_are_as_good_as_each_alone(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(8)
    x, (a, b) = np.linspace(0, 5, 12), random.uniform((0, 0.3), (3, 2), (1_000, 2)).T[:, :, None]
    data = {"x": x, "y": a * np.exp(-b * x) + 0.3 * random.standard_normal((1_000, 12))}
    calls, one = list[Any](), processes.fit_group

    def fit_group(*task: Any) -> processes.GroupFit:
        calls.append(task)
        if len(calls) <= many.REFERENCES:
            return one(*task)
        nothing = [np.nan] * 3  # the others are what `fit` says
        return processes.GroupFit(nothing, nothing, np.nan, np.nan, "left", "")

    monkeypatch.setattr(processes, "fit_group", fit_group)
    fits = sgdfit.fit_many(EXPONENTIAL, data, threads=1, **given)
    assert len(calls) < 200
    vague = fits.stderr[:, 1] / np.abs(fits.values[:, 1])
    vague[fits.status != "converged"] = -1
    for group in np.argsort(vague)[-25:]:
        alone = sgdfit.fit(EXPONENTIAL, {"x": x, "y": data["y"][group]}, **given)
        assert fits.loss[group] <= alone.loss * (1 + 1e-6)


def test_a_group_that_cannot_be_fitted_is_a_row() -> None:
    data = {"site": ["a"] * 5 + ["b"] * 2, "x": np.arange(7.0), "y": np.arange(7.0) ** 2}
    fits = sgdfit.fit_many("y = a*x**2 + b*x + c", data, by="site")
    assert fits.status.tolist() == ["converged", "error"]
    assert np.isnan(fits.values[1]).all()
    assert "2 rows for 3 free parameters" in fits.cause[1]


def test_a_group_of_which_no_row_is_left_is_a_row(tmp_path: Path) -> None:
    data = {"site": list("aabb"), "x": np.arange(4.0), "y": [np.nan, np.nan, 2, 3]}
    pq.write_table(pa.table(data), tmp_path / "data.parquet", 1)
    for source in (data, tmp_path / "data.parquet"):
        fits = sgdfit.fit_many("y = a*x", source, by="site", missing="drop")
        assert fits.status.tolist() == ["error", "converged"]
        assert (fits.rows.tolist(), fits.first.tolist()) == ([0, 2], [0, 2])


def test_rows_without_numbers_or_groups_are_refused_or_left_out() -> None:
    data = {"site": ["a", "a", "a", None, "b", "b"], "x": [1.0, 2, 3, 4, 5, 6]}
    data["y"] = [1.0, np.nan, 3, 4, 5, 7]
    with pytest.raises(DataError, match="'y' row 2"):
        sgdfit.fit_many("y = a*x", data, by="site")
    with pytest.raises(DataError, match=r"'site' row 4 of the data names no group"):
        sgdfit.fit_many("y = a*x", data | {"y": [1.0] * 6}, by="site")
    fits = sgdfit.fit_many("y = a*x", data, by="site", missing="drop")
    assert fits.rows.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("data", "given", "sentence"),
    [
        ({}, {"by": "plot"}, "has no column 'plot'"),
        ({}, {"by": None}, "by is None; it names the columns"),
        ({}, {"by": []}, r"by is \[\]; it names the columns"),
        ({"site": ["a"]}, {}, "have 1 and 6 rows"),
        ({"site": pa.array([[1]] * 6)}, {}, "holds list<item: int64>"),
        ({"y": np.ones((2, 3))}, {"by": "site"}, "is a group already"),
        ({"y": np.ones((2, 3))}, {"by": None}, r"'site' has the shape \(6,\)"),
        ({}, {"checkpoint": "c"}, "for a single fit"),
        ({}, {"strat": "a=1"}, "Did you mean 'start'"),
        ({}, {"steps": 0}, "steps"),
        ({}, {"start": "k=1"}, "k"),
        ({}, {"jacobian": np.ones}, "leave it out"),
        ({}, {"sigma": "x - 1"}, "in row 1 of the data"),
    ],
)
def test_what_holds_for_no_group_is_refused(data: Any, given: dict[str, Any], sentence: str):
    whole = {"site": list("aaabbb"), "x": np.arange(6.0) + 1, "y": np.arange(6.0)} | data
    with pytest.raises(SgdfitError, match=sentence):
        sgdfit.fit_many("y = a*x + b", whole, **{"by": "site", **given})


def test_the_table(tmp_path: Path) -> None:
    data = curves(10)
    fits = sgdfit.fit_many("y = a*x + b", data, by="site")
    columns = ["site", "rows", "status", "a", "a_stderr", "b", "b_stderr"]
    columns += ["residual_standard_error", "loss", "cause"]
    frame = fits.to_pandas()
    assert list(frame) == columns
    assert frame["b"].tolist() == fits.values[:, 1].tolist()
    fits.write(tmp_path / "fits.parquet")
    assert pq.read_table(tmp_path / "fits.parquet").to_pandas().equals(frame)
    fits.write(tmp_path / "fits.csv")
    assert pa.csv.read_csv(tmp_path / "fits.csv")["a"].to_pylist() == fits.values[:, 0].tolist()
    assert json.loads(fits.to_json())["groups"][3]["a"] == fits.values[3, 0]
    assert "10 groups, 150 rows; 10 converged" in str(fits)
    assert "2 more" in str(fits)
    assert fits._repr_html_().count("<tr>") == 9


def test_no_input_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    pa.csv.write_csv(pa.table(curves(3)), path)
    with pytest.raises(UsageError, match="cannot write"):
        sgdfit.fit_many("y = a*x + b", path, by="site").write(path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "data.csv", tmp_path / "fits.csv"
    pa.csv.write_csv(pa.table(curves(12)), path)
    command = ["fit", str(path), "y = a*x + b", "--by", "site"]
    assert main([*command, "--save", str(out)]) == 0
    assert "12 groups, 180 rows; 12 converged" in capsys.readouterr().out
    assert pa.csv.read_csv(out).num_rows == 12
    assert main([*command, "--json", "--quiet"]) == 0
    assert len(json.loads(capsys.readouterr().out)["groups"]) == 12


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--plot", "-"], "--plot - is for a single fit"),
        (["--save", "f.json"], "must be one of .csv, .tsv, .parquet"),
        (["--by", "plot"], "has no column 'plot'"),
        (["--bootstrap", "300"], "--bootstrap is for a single fit, not for those of --by"),
        (["--intervals", "profile"], "--intervals is for a single fit"),
    ],
)
def test_the_command_refuses(more: list[str], sentence: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "data.csv"
    pa.csv.write_csv(pa.table(curves(3)), path)
    assert main(["fit", str(path), "y = a*x + b", "--by", "site", *more]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("sigma", [None, "s"])
def test_refits_of_a_bootstrap_are_many_fits(sigma, monkeypatch):
    """Its intervals are those of refits one by one."""
    data, given = curves(1), {"bootstrap": 300, "sigma": sigma}
    alone = sgdfit.fit(EXPONENTIAL, data, **given)
    monkeypatch.setattr(bootstrap, "STEPS", 10_000)
    together = sgdfit.fit(EXPONENTIAL, data, **given)
    for name in alone.free:
        np.testing.assert_allclose(together[name].interval, alone[name].interval, rtol=1e-8)
    assert alone.bootstrap == together.bootstrap == "pairs(300)"
