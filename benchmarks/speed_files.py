"""Whole fits of Parquet, beside a scan that only decodes, each fit in a process of its own."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from speed_clock import Contender, fitted_apart, lines, race
from speed_data import CURVES, Curve, decode, parquet
from speed_tables import Line, Table, Target, lined

__all__ = ["file_tables", "scan_seconds", "warmed"]

LIMIT, ALONE = "decoding alone, 2 threads", "decoding alone, 1 thread"
OURS = "sgdfit, no start"
WARM_ROWS = 100_000
MOST_MEMORY = 500e6


def file_tables(rows: int, repeat: int, folder: Path) -> list[Table]:
    """Time fits of both curves from files of two columns."""
    return [_table(curve, rows, repeat, folder) for curve in CURVES]


def _table(curve: Curve, rows: int, repeat: int, folder: Path) -> Table:
    path = parquet(curve, rows, folder)
    scans = [
        Contender(LIMIT, lambda: decode(path, 2)),
        Contender(ALONE, lambda: decode(path, 1)),
        Contender("sgdfit's reader alone, 1 thread", _reader(path)),
    ]
    found = lines(race(scans, repeat), "seconds")
    told = fitted_apart(warmed(curve, path, folder) | {"repeat": repeat})
    found.append(_line(OURS, told))
    compiled = warmed(curve, path, folder) | {"repeat": repeat, "options": {"kernel": "compiled"}}
    found.append(_line("sgdfit, kernel='compiled'", fitted_apart(compiled)))
    size = path.stat().st_size / 1e9
    title = (
        f"A whole fit, {curve.formula}, {rows:,} rows of Parquet (snappy, {size:.2f} GB, cached)"
    )
    table = Table(title, "seconds", found, LIMIT, OURS)
    scan = min(lined(table, name) for name in (LIMIT, ALONE))
    scans, seconds = told["decoded"] / told["rows"], lined(table, OURS)
    targets = (
        Target("times the scans that it makes", seconds / (scans * scan), 1.3),
        Target("scans", scans, 1.1 if curve.name == "linear" else 2.3),
        Target("peak of memory, MB", told["peak"] / 1e6, MOST_MEMORY / 1e6),
    )
    return table._replace(targets=targets)


def _line(name: str, told: dict[str, Any]) -> Line:
    note = (
        f"{told['decoded'] / told['rows']:.2f} scans decoded, {told['visited'] / told['rows']:.2f}"
        f" looks a row, peak {told['peak'] / 1e6:,.0f} MB,"
        f" {told['status']}, {told['kernel']}"
    )
    return Line(name, statistics.median(told["seconds"]), len(told["seconds"]), note)


def _reader(path: Path) -> Any:
    """Return a scan by the reader that fits use, from the file to Arrow."""
    from sgdfit.data.readers import open_table

    def scan() -> int:
        found = getattr(open_table(str(path)), "dataset", None)
        if found is None:
            raise NotImplementedError("this version reads files whole")
        return sum(
            batch.num_rows for piece in found.row_groups for batch in piece.read(list(found.names))
        )

    return scan


def warmed(curve: Curve, path: Path, folder: Path) -> dict[str, Any]:
    """Return the job of a fit before which a smaller one has loaded all that is compiled."""
    warm = parquet(curve, WARM_ROWS, folder)
    return {"formula": curve.formula, "data": str(path), "warm": str(warm)}


def scan_seconds(path: Path, repeat: int) -> float:
    """Return the median time of a scan that only decodes."""
    return race([Contender(LIMIT, lambda: decode(path, 2))], repeat)[0].median
