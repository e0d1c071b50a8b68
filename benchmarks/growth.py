"""How time and memory of a fit grow with its rows, measured and drawn.

Run it as ``python benchmarks/growth.py FOLDER`` (or ``python benchmarks/speed.py --growth``). Each
fit is a process of its own, from Parquet; up to 10⁸ rows are different ones, 10⁹ are ten links to
that file. The figures go to ``growth.json`` in the folder, the plots beside them; ``--draw`` draws
anew from such figures.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from speed_clock import fitted_apart
from speed_data import CURVES, Curve, linked, parquet
from speed_files import scan_seconds, warmed
from speed_tables import Line, Table, Target, short, written

__all__ = ["Point", "draw_all", "exponent", "measure"]

FEWEST = 10_000
# Beyond this the rows of a file are replicated by linking to it.
DISTINCT = 100_000_000
# A fit this long is run once.
LONG = 20.0


class Point(NamedTuple):
    """One fit.

    Attributes
    ----------
    curve : str
    rows : int
    seconds, scan : float
        Of the fit, and of decoding the rows once on two threads.
    scans : float
        How often the fit decoded each row.
    peak : int
        Most resident memory of the process, bytes.
    runs : int
        How many the seconds are the median of.
    """

    curve: str
    rows: int
    seconds: float
    scan: float
    scans: float
    peak: int
    runs: int


def measure(folder: Path, most: int, repeat: int) -> None:
    """Fit 10⁴ rows, ten times as many, and so on; print, keep and draw what it took."""
    sizes = [10**k for k in range(round(math.log10(FEWEST)), int(math.log10(most)) + 1)]
    points = []
    for curve in CURVES:
        for rows in sizes:
            try:
                points.append(_point(curve, rows, folder, repeat))
            except (OSError, RuntimeError) as error:
                print(f"{curve.name}, {rows:,} rows: {error}")
                break
            print(*_told(points[-1]), flush=True)
    target = folder / "growth.json"
    target.write_text(json.dumps([point._asdict() for point in points], indent=1))
    for curve in CURVES:
        print(*written(_table([point for point in points if point.curve == curve.name])), sep="\n")
    print(*draw_all(points, folder), sep="\n")


def _point(curve: Curve, rows: int, folder: Path, repeat: int) -> Point:
    path = parquet(curve, min(rows, DISTINCT), folder)
    if rows > DISTINCT:
        path = linked(path, rows // DISTINCT)
    scan = scan_seconds(path, 1 if rows > DISTINCT else repeat)
    job = warmed(curve, path, folder)
    told = fitted_apart(job)
    if told["seconds"][0] < LONG and repeat > 1:
        told = fitted_apart(job | {"repeat": repeat})
    seconds = told["seconds"]
    if told["status"] != "converged":
        raise SystemExit(f"{curve.formula}, {rows:,} rows: {told['status']}: {told['cause']}")
    scans = told["decoded"] / told["rows"]
    return Point(
        curve.name, rows, statistics.median(seconds), scan, scans, told["peak"], len(seconds)
    )


def _told(point: Point) -> list[str]:
    return [
        f"{point.curve:12}{point.rows:>14,} rows {short(point.seconds):>8} s,",
        f"one scan {short(point.scan)} s, {point.scans:.2f} scans, {point.peak / 1e6:,.0f} MB",
    ]


def _table(points: list[Point]) -> Table:
    found = [
        Line(
            f"{point.rows:,} rows",
            point.seconds,
            point.runs,
            f"{point.seconds / point.scan:.2f} × one scan, {point.scans:.2f} scans,"
            f" {point.peak / 1e6:,.0f} MB",
        )
        for point in points
    ]
    many = [point for point in points if point.rows >= 10**6]
    targets = [Target("most memory, MB", max(point.peak for point in points) / 1e6, 500)]
    if len(many) > 1:
        power = exponent(many)
        targets.append(Target("time grows as the rows, from 10⁶ on, to the power of", power, 1.05))
    return Table(f"Growth, {points[0].curve}", "seconds", found, targets=targets)


def exponent(points: list[Point]) -> float:
    """Return the slope of log time against log rows from the first to the last point.

    Examples
    --------
    >>> exponent([Point("", 10, 1.0, 0, 0, 0, 1), Point("", 1000, 100.0, 0, 0, 0, 1)])
    1.0
    """
    first, last = points[0], points[-1]
    return math.log(last.seconds / first.seconds) / math.log(last.rows / first.rows)


def draw_all(points: list[Point], folder: Path) -> list[Path]:
    """Write the plot as PNG and SVG, for light and for dark pages; return the paths."""
    from growth_plot import COLOURS, draw

    paths = []
    for theme in COLOURS:
        for ending in ("png", "svg"):
            path = folder / f"growth-{theme}.{ending}"
            draw(points, theme, path)
            paths.append(path)
    return paths


def options() -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--most", type=float, default=1e9, help="rows that it ends at")
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median is given")
    parser.add_argument("--draw", type=Path, help="figures that were measured before, as JSON")
    return parser.parse_args()


def main() -> None:
    asked = options()
    os.makedirs(asked.folder, exist_ok=True)
    if asked.draw:
        points = [Point(**point) for point in json.loads(asked.draw.read_text())]
        print(*draw_all(points, asked.folder), sep="\n")
    else:
        measure(asked.folder, int(asked.most), asked.repeat)


if __name__ == "__main__":
    main()
