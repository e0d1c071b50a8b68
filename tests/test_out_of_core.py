"""Rows that do not fit into memory: the same answer as in memory, to the last bit."""

from __future__ import annotations

import functools
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.errors import DataError, UsageError
from sgdfit.fitting import dataset, sampling

pytestmark = pytest.mark.usefixtures("little")

ROWS = 150_000
DECAY, LOGARITHM = "y = a*exp(-b*x) + c", "y = a*log(x) + b"


@functools.cache
def rows() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.uniform(0, 3, ROWS)
    w = random.uniform(0, 2, ROWS)
    w[random.random(ROWS) < 0.1] = 0.0
    y = 3 * np.exp(-1.3 * x) + 0.5 + 0.1 * random.standard_normal(ROWS)
    return {"x": x, "y": y, "w": w, "s": random.uniform(0.5, 2, ROWS)}


def parquet(data: dict[str, np.ndarray], folder: Path, size: int = 50_000) -> Path:
    pq.write_table(pa.table(data), folder / "data.parquet", row_group_size=size)
    return folder / "data.parquet"


def facts(result: sgdfit.Result) -> dict[str, Any]:
    """Return all numbers of a fit but how long it took."""
    found = {n: (e.value.hex(), e.stderr, e.interval) for n, e in result.estimates.items()}
    return found | {
        "loss": result.loss.hex(),
        "r²": result.r_squared,
        "rows": result.rows,
        "visited": result.rows_visited,
        "warnings": result.warnings,
        "distance": result.distance,
        "trace": [float(v).hex() for v in result.trace.parameters.ravel()],
    }


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("y = a*x**2 + b*x + c", {}),
    "given start": (DECAY, {"start": "a=2,b=1,c=0"}),
    "bounds": (DECAY, {"bounds": "0 < b < 1"}),
    "weights": (DECAY, {"weights": "w"}),
    "sigma": (DECAY, {"sigma": "s", "absolute_sigma": True}),
    "sandwich": (DECAY, {"covariance": "sandwich"}),
    "huber": (DECAY, {"loss": "huber(delta=0.1)"}),
    "mae": (DECAY, {"loss": "mae"}),
    "quantile": ("y = a*x + b", {"loss": "quantile(q=0.9)", "weights": "w"}),
    "compiled": (DECAY, {"kernel": "compiled"}),
    "full batches": ("y = a*x + b", {"learning_rate": 0.1, "steps": 20}),
    "in order": (
        "y = a*x + b",
        {"learning_rate": 0.01, "batch_size": 256, "epochs": 1, "shuffle": False},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_read_in_pieces_gives_the_bits_of_memory(case: str, tmp_path: Path) -> None:
    formula, options = CASES[case]
    expected = facts(sgdfit.fit(formula, rows(), **options))
    assert facts(sgdfit.fit(formula, parquet(rows(), tmp_path, 33_333), **options)) == expected


@functools.cache
def decay() -> dict[str, Any]:
    return facts(sgdfit.fit(DECAY, rows()))


@pytest.mark.parametrize(
    ("size", "threads"),
    [(65_536, 1), (65_537, 1), (150, 1), (77_777, 2), (5_000, 2), (65_535, 3), (150, 3), (ROWS, 3)],
)
def test_neither_pieces_nor_threads_change_a_bit(
    size: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "WORTH_THREADS", 0)  # so few rows are else added up by one
    assert facts(sgdfit.fit(DECAY, parquet(rows(), tmp_path, size), threads=threads)) == decay()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_first_error_in_order_is_raised_though_a_later_one_is_sooner(threads: int) -> None:
    def work(k: int) -> int:
        if k >= 2:
            time.sleep(0.02 if k == 2 else 0)
            raise ValueError(k)
        return k

    found: list[int] = []
    things = (k for k in range(10))
    each = dataset.map_in_order(work, things, threads)
    with pytest.raises(ValueError, match=r"^2$"):
        found.extend(each)
    assert found == [0, 1]
    assert next(things, None) is None
    assert not [t for t in threading.enumerate() if t.name.startswith("sgdfit-sums")]


@pytest.mark.parametrize("form", ["csv", "feather", "folder", "batches", "reader"])
def test_every_form_gives_the_same_bits(form: str, tmp_path: Path) -> None:
    table = pa.table(rows())
    data: Any = tmp_path / f"data.{form}"
    if form == "csv":
        pa.csv.write_csv(table, data)
    elif form == "feather":
        feather.write_feather(table, data, chunksize=50_000)
    elif form == "folder":
        data.mkdir()
        for k, first in enumerate(range(0, ROWS, 70_001)):
            pq.write_table(table.slice(first, 70_001), data / f"part-{k}.parquet")
    elif form == "batches":
        data = iter(table.to_batches(max_chunksize=40_000))
    else:
        data = table.to_reader(max_chunksize=33_333)
    assert facts(sgdfit.fit(DECAY, data)) == decay()


@pytest.mark.parametrize("column", ["x", "y", "drift"])
@pytest.mark.parametrize("formula", [DECAY, "y = a*x**2 + b*x + c*drift + d"])
def test_order_does_not_mislead(
    formula: str, column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sorted files are sampled from all over: their answer is that of shuffled ones."""
    # As long runs as of very many rows, of which a sample holds few.
    monkeypatch.setattr(sampling, "MANY", 0)
    monkeypatch.setattr(sampling, "LONG_RUN", 8_192)
    data = {**rows(), "drift": np.sort(np.random.default_rng(1).uniform(size=ROWS))}
    order = np.argsort(data[column], kind="stable")
    path = parquet({name: values[order] for name, values in data.items()}, tmp_path, 20_000)
    found = sgdfit.fit(formula, path)
    expected = sgdfit.fit(formula, data, tolerance=1e-6)
    assert found.status.name == expected.status.name == "converged"
    for name, estimate in expected.estimates.items():
        assert found.estimates[name].value == pytest.approx(
            estimate.value, abs=0.01 * float(estimate.stderr or 0)
        )


def test_shuffled_descent_learns_from_a_sorted_file(tmp_path: Path) -> None:
    order = np.argsort(rows()["x"])
    path = parquet({name: values[order] for name, values in rows().items()}, tmp_path, 10_000)
    options: dict[str, Any] = {
        "optimizer": "averaged(sgd, start=10000)",
        "batch_size": 64,
        "epochs": 8,
        "learning_rate": 0.02,
    }
    found, again = (sgdfit.fit("y = a*x + b", path, **options).values for _ in range(2))
    assert found == again != sgdfit.fit("y = a*x + b", path, seed=1, **options).values
    assert found == pytest.approx(sgdfit.fit("y = a*x + b", rows()).values, abs=0.05)


@pytest.mark.parametrize("options", [{}, {"learning_rate": 0.1, "steps": 5}])
def test_missing_numbers_are_named_or_left_out(options: dict[str, Any], tmp_path: Path) -> None:
    data = {name: column.copy() for name, column in rows().items()}
    data["y"][ROWS - 5], data["x"][100] = np.nan, np.inf
    path = parquet(data, tmp_path)
    with pytest.raises(DataError, match=r"column 'x' row 101 of data\.parquet is infinity"):
        sgdfit.fit("y = a*x + b", path, **options)
    found = sgdfit.fit("y = a*x + b", path, missing="drop", **options)
    keep = np.isfinite(data["x"]) & np.isfinite(data["y"])
    expected = sgdfit.fit("y = a*x + b", {n: c[keep] for n, c in data.items()}, **options)
    assert (found.rows, found.rows_dropped) == (ROWS - 2, 2)
    assert found.values == expected.values


def test_where_is_a_smaller_table(tmp_path: Path) -> None:
    found = sgdfit.fit(DECAY, parquet(rows(), tmp_path), where="x > 0.5 and s < 1.5")
    keep = (rows()["x"] > 0.5) & (rows()["s"] < 1.5)
    assert facts(found) == facts(sgdfit.fit(DECAY, {n: c[keep] for n, c in rows().items()}))


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        ("lots", "write a number of bytes"),
        ("10 MB", "allow 450 MB or more"),
        (0, "allow 450 MB or more"),
        (-5, "write a number of bytes"),
        (True, "write a number of bytes"),
    ],
)
def test_memory_is_a_number_of_bytes(memory: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sgdfit.fit("y = a*x", {"x": [1.0, 2.0], "y": [1.0, 2.0]}, memory=memory)


ALL, LATE = slice(None), 110_000


def spoilt(column: str, value: float, places: slice | int = LATE) -> dict[str, np.ndarray]:
    """Return the data with something amiss late in a column."""
    data = {**rows(), column: rows()[column].copy()}
    data[column][places] = value
    return data


@pytest.mark.parametrize(
    ("column", "value", "places", "options", "said"),
    [
        ("w", 0.0, ALL, {"weights": "w"}, "every weight 'w' of data.parquet is 0"),
        ("w", -1.0, LATE, {"weights": "w"}, "weight 'w' is -1 in row 110001"),
        ("s", 0.0, LATE, {"sigma": "s"}, "sigma 's' is 0 in row 110001"),
        ("y", 1e200, LATE, {}, r"column 'y' of data.parquet has values of up to 1e\+200"),
    ],
)
def test_what_is_amiss_in_one_row_group_is_named(
    column: str,
    value: float,
    places: slice | int,
    options: dict[str, Any],
    said: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=said):
        sgdfit.fit(DECAY, parquet(spoilt(column, value, places), tmp_path), **options)


@pytest.mark.parametrize(
    ("formula", "value", "part"), [(DECAY, -1e3, "exp(-b*x)"), (LOGARITHM, -1.0, "log(x)")]
)
@pytest.mark.parametrize("options", [{}, {"learning_rate": 0.01, "batch_size": 64, "epochs": 1}])
def test_a_row_without_a_value_is_named(
    formula: str, value: float, part: str, options: dict[str, Any], tmp_path: Path
) -> None:
    found = sgdfit.fit(formula, parquet(spoilt("x", value), tmp_path), **options)
    assert found.status.name == "domain_error"
    assert f"{part} has no finite value on row 110001" in found.status.cause


def test_a_constant_column_is_told(tmp_path: Path) -> None:
    found = sgdfit.fit("y = a*x + b", parquet(spoilt("x", 2.0, ALL), tmp_path))
    assert any("'x' is the same in every row (2)" in text for text in found.warnings)
    assert found.undetermined
