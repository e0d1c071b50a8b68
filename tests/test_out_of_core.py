"""Rows that do not fit into memory: the same answer as in memory, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.errors import DataError, UsageError
from sgdfit.fitting import options

ROWS = 300_000
GROUPS = (1 << 16, 77_777, 5_000, ROWS)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave so little room for columns that nothing fits."""
    monkeypatch.setattr(options, "SHARE", 1e-6)


def decay(rows: int = ROWS, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.uniform(0, 3, rows)
    w = random.uniform(0, 2, rows)
    w[random.random(rows) < 0.1] = 0.0
    y = 3 * np.exp(-1.3 * x) + 0.5 + 0.1 * random.standard_normal(rows)
    return {"x": x, "y": y, "w": w, "s": random.uniform(0.5, 2, rows)}


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
    "exponential": ("y = a*exp(-b*x) + c", {}),
    "linear": ("y = a*x**2 + b*x + c", {}),
    "given start": ("y = a*exp(-b*x) + c", {"start": "a=2,b=1,c=0"}),
    "bounds": ("y = a*exp(-b*x) + c", {"bounds": "0 < b < 1"}),
    "weights": ("y = a*exp(-b*x) + c", {"weights": "w"}),
    "sigma": ("y = a*exp(-b*x) + c", {"sigma": "s", "absolute_sigma": True}),
    "sandwich": ("y = a*exp(-b*x) + c", {"covariance": "sandwich"}),
    "huber": ("y = a*exp(-b*x) + c", {"loss": "huber(delta=0.1)"}),
    "mae": ("y = a*exp(-b*x) + c", {"loss": "mae"}),
    "quantile": ("y = a*x + b", {"loss": "quantile(q=0.9)", "weights": "w"}),
    "compiled": ("y = a*exp(-b*x) + c", {"kernel": "compiled"}),
    "full batches": ("y = a*x + b", {"learning_rate": 0.1, "steps": 20}),
    "in order": (
        "y = a*x + b",
        {"learning_rate": 0.01, "batch_size": 256, "epochs": 1, "shuffle": False},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_read_in_pieces_gives_the_bits_of_memory(
    case: str, tmp_path: Path, little: None
) -> None:
    formula, options = CASES[case]
    data = decay()
    pq.write_table(pa.table(data), tmp_path / "data.parquet", row_group_size=77_777)
    expected = facts(sgdfit.fit(formula, data, **options))
    found = facts(sgdfit.fit(formula, tmp_path / "data.parquet", **options))
    assert found == expected


@pytest.mark.parametrize("size", GROUPS)
@pytest.mark.parametrize("threads", [1, 2])
def test_neither_pieces_nor_threads_change_a_bit(
    size: int, threads: int, tmp_path: Path, little: None
) -> None:
    data = decay()
    pq.write_table(pa.table(data), tmp_path / "data.parquet", row_group_size=size)
    formula = "y = a*exp(-b*x) + c"
    expected = facts(sgdfit.fit(formula, data, threads=3 - threads))
    found = facts(sgdfit.fit(formula, tmp_path / "data.parquet", threads=threads))
    assert found == expected


def as_csv(data: dict[str, np.ndarray], folder: Path) -> Path:
    import pandas as pd

    pd.DataFrame(data).to_csv(folder / "data.csv", index=False)
    return folder / "data.csv"


def as_feather(data: dict[str, np.ndarray], folder: Path) -> Path:
    feather.write_feather(pa.table(data), folder / "data.feather", chunksize=50_000)
    return folder / "data.feather"


def as_folder(data: dict[str, np.ndarray], folder: Path) -> Path:
    (folder / "parts").mkdir()
    table = pa.table(data)
    for k, first in enumerate(range(0, ROWS, 70_001)):
        pq.write_table(table.slice(first, 70_001), folder / "parts" / f"part-{k}.parquet")
    return folder / "parts"


def as_batches(data: dict[str, np.ndarray], folder: Path) -> Any:
    return iter(pa.table(data).to_batches(max_chunksize=40_000))


def as_reader(data: dict[str, np.ndarray], folder: Path) -> Any:
    return pa.table(data).to_reader(max_chunksize=33_333)


@pytest.mark.parametrize("form", [as_csv, as_feather, as_folder, as_batches, as_reader])
def test_every_form_gives_the_same_bits(
    form: Callable[[dict[str, np.ndarray], Path], Any], tmp_path: Path, little: None
) -> None:
    data = decay()
    expected = facts(sgdfit.fit("y = a*exp(-b*x) + c", data))
    assert facts(sgdfit.fit("y = a*exp(-b*x) + c", form(data, tmp_path))) == expected


@pytest.mark.parametrize("column", ["x", "y", "drift"])
@pytest.mark.parametrize("formula", ["y = a*exp(-b*x) + c", "y = a*x**2 + b*x + c*drift + d"])
def test_order_does_not_mislead(
    formula: str, column: str, tmp_path: Path, little: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sorted files are sampled from all over: their answer is that of shuffled ones."""
    from sgdfit.fitting import sampling

    # As long runs as of very many rows, of which a sample holds few.
    monkeypatch.setattr(sampling, "MANY", 0)
    monkeypatch.setattr(sampling, "LONG_RUN", 8_192)
    data = decay()
    data["drift"] = np.sort(np.random.default_rng(1).uniform(size=ROWS))
    order = np.argsort(data[column], kind="stable")
    pq.write_table(
        pa.table({name: values[order] for name, values in data.items()}),
        tmp_path / "data.parquet",
        row_group_size=20_000,
    )
    found = sgdfit.fit(formula, tmp_path / "data.parquet")
    expected = sgdfit.fit(formula, data, tolerance=1e-6)
    for name, estimate in expected.estimates.items():
        assert found.status.name == "converged"
        assert found.estimates[name].value == pytest.approx(
            estimate.value, abs=0.01 * float(estimate.stderr or 0)
        )


def test_shuffled_descent_learns_from_a_sorted_file(tmp_path: Path, little: None) -> None:
    data = decay()
    order = np.argsort(data["x"])
    pq.write_table(
        pa.table({name: values[order] for name, values in data.items()}),
        tmp_path / "data.parquet",
        row_group_size=10_000,
    )
    options: dict[str, Any] = {
        "optimizer": "averaged(sgd, start=10000)",
        "batch_size": 64,
        "epochs": 8,
        "learning_rate": 0.02,
    }
    found = sgdfit.fit("y = a*x + b", tmp_path / "data.parquet", **options)
    exact = sgdfit.fit("y = a*x + b", data)
    again = sgdfit.fit("y = a*x + b", tmp_path / "data.parquet", **options)
    other = sgdfit.fit("y = a*x + b", tmp_path / "data.parquet", seed=1, **options)
    assert found.values == again.values
    assert found.values != other.values
    for name in ("a", "b"):
        assert found.values[name] == pytest.approx(exact.values[name], abs=0.05)


@pytest.mark.parametrize("options", [{}, {"learning_rate": 0.1, "steps": 5}])
def test_missing_numbers_are_named_or_left_out(
    options: dict[str, Any], tmp_path: Path, little: None
) -> None:
    data = decay()
    data["y"][ROWS - 5] = np.nan
    data["x"][100] = np.inf
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(data), path, row_group_size=50_000)
    with pytest.raises(DataError, match=r"column 'x' row 101 of data\.parquet is infinity"):
        sgdfit.fit("y = a*x + b", path, **options)
    found = sgdfit.fit("y = a*x + b", path, missing="drop", **options)
    keep = np.isfinite(data["x"]) & np.isfinite(data["y"])
    expected = sgdfit.fit("y = a*x + b", {n: c[keep] for n, c in data.items()}, **options)
    assert (found.rows, found.rows_dropped) == (ROWS - 2, 2)
    assert found.values == expected.values


def test_where_is_a_smaller_table(tmp_path: Path, little: None) -> None:
    data = decay()
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(data), path, row_group_size=50_000)
    found = sgdfit.fit("y = a*exp(-b*x) + c", path, where="x > 0.5 and s < 1.5")
    keep = (data["x"] > 0.5) & (data["s"] < 1.5)
    expected = sgdfit.fit("y = a*exp(-b*x) + c", {n: c[keep] for n, c in data.items()})
    assert facts(found) == facts(expected)


MEMORY = (
    ("lots", "write a number of bytes"),
    ("10 MB", "allow 350 MB or more"),
    (0, "allow 350 MB or more"),
    (-5, "write a number of bytes"),
    (True, "write a number of bytes"),
)


@pytest.mark.parametrize(("memory", "said"), MEMORY)
def test_memory_is_a_number_of_bytes(memory: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sgdfit.fit("y = a*x", {"x": [1.0, 2.0], "y": [1.0, 2.0]}, memory=memory)


def spoilt(column: str, value: float, rows: slice | int = 210_000) -> dict[str, np.ndarray]:
    """Return the data with something amiss late in a column."""
    data = decay()
    data[column][rows] = value
    return data


ALL = slice(None)
DECAY, LOGARITHM = "y = a*exp(-b*x) + c", "y = a*log(x) + b"
BAD_DAYS: dict[str, tuple[str, dict[str, np.ndarray], dict[str, Any], str]] = {
    "weights all zero": (
        DECAY, spoilt("w", 0.0, ALL), {"weights": "w"}, "every weight 'w' of data.parquet is 0",
    ),
    "a negative weight": (
        DECAY, spoilt("w", -1.0), {"weights": "w"}, "weight 'w' is -1 in row 210001",
    ),
    "a sigma of zero": (
        DECAY, spoilt("s", 0.0), {"sigma": "s"}, "sigma 's' is 0 in row 210001",
    ),
    "squares beyond floating point": (
        DECAY, spoilt("y", 1e200), {}, r"column 'y' of data.parquet has values of up to 1e\+200",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_DAYS)
def test_what_is_amiss_in_one_row_group_is_named(what: str, tmp_path: Path, little: None) -> None:
    formula, data, options, said = BAD_DAYS[what]
    pq.write_table(pa.table(data), tmp_path / "data.parquet", row_group_size=50_000)
    with pytest.raises(DataError, match=said):
        sgdfit.fit(formula, tmp_path / "data.parquet", **options)


@pytest.mark.parametrize(
    ("formula", "value", "part"),
    [(DECAY, -1e3, "exp(-b*x)"), (LOGARITHM, -1.0, "log(x)")],
)
@pytest.mark.parametrize("options", [{}, {"learning_rate": 0.01, "batch_size": 64, "epochs": 1}])
def test_a_row_without_a_value_is_named(
    formula: str, value: float, part: str, options: dict[str, Any], tmp_path: Path, little: None
) -> None:
    data = spoilt("x", value)
    pq.write_table(pa.table(data), tmp_path / "data.parquet", row_group_size=50_000)
    found = sgdfit.fit(formula, tmp_path / "data.parquet", **options)
    assert found.status.name == "domain_error"
    assert f"{part} has no finite value on row 210001" in found.status.cause


def test_a_constant_column_is_told(tmp_path: Path, little: None) -> None:
    pq.write_table(pa.table(spoilt("x", 2.0, ALL)), tmp_path / "data.parquet")
    found = sgdfit.fit("y = a*x + b", tmp_path / "data.parquet")
    assert any("'x' is the same in every row (2)" in text for text in found.warnings)
    assert found.undetermined
