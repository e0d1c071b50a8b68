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

FEWEST = 10_000
# Beyond this the rows of a file are replicated by linking to it.
DISTINCT = 100_000_000
# A fit this long is run once.
LONG = 20.0


# Ink and paper of a page, then the two curves; told apart by mark as well as by hue.
COLOURS = {
    "light": {"ink": "#1f2328", "paper": "#ffffff", "exponential": "#b3470f", "linear": "#1f5fae"},
    "dark": {"ink": "#e6edf3", "paper": "#0d1117", "exponential": "#ff9d5c", "linear": "#79b8ff"},
}
MARKS = {"exponential": "o", "linear": "s"}
FORMULAS = {"exponential": "a·exp(−b·x) + c", "linear": "a·x² + b·x + c"}
LIMIT = 500e6


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


def draw(points: list[Point], theme: str, path: Path) -> None:
    """Draw the points for a ``"light"`` or a ``"dark"`` page, as the ending of ``path`` says."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    colours = COLOURS[theme]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 11}):
        figure = Figure(figsize=(5.2, 6.4), facecolor=colours["paper"], layout="constrained")
        time, memory = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _draw_time(time, points, colours)
        _draw_memory(memory, points, colours)
        for axes in (time, memory):
            _dress(axes, colours)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _by_curve(points: list[Point]) -> dict[str, list[Point]]:
    names = dict.fromkeys(point.curve for point in points)
    return {name: [point for point in points if point.curve == name] for name in names}


def _draw_time(axes: Any, points: list[Point], colours: dict[str, str]) -> None:
    for name, found in _by_curve(points).items():
        axes.loglog(
            [p.rows for p in found], [p.seconds for p in found],
            marker=MARKS[name], color=colours[name], label=FORMULAS[name],
        )  # fmt: skip
    quickest = {r: min(p.scan for p in points if p.rows == r) for r in {p.rows for p in points}}
    scans = sorted(quickest.items())
    axes.loglog(
        *zip(*scans, strict=True),
        linestyle="--",
        color=colours["ink"],
        label="decoding alone, once",
    )
    axes.set_ylabel("seconds")
    axes.set_title("Time of a fit, from Parquet", loc="left", fontsize=12, color=colours["ink"])


def _draw_memory(axes: Any, points: list[Point], colours: dict[str, str]) -> None:
    for name, found in _by_curve(points).items():
        axes.loglog(
            [p.rows for p in found], [p.peak / 1e6 for p in found],
            marker=MARKS[name], color=colours[name],
        )  # fmt: skip
    size = sorted({point.rows: 16 * point.rows / 1e6 for point in points}.items())
    axes.loglog(
        *zip(*size, strict=True), linestyle=":", color=colours["ink"], label="the rows themselves"
    )
    axes.axhline(LIMIT / 1e6, linestyle="-.", linewidth=1, color=colours["ink"], label="500 MB")
    highest = max(
        [LIMIT, *(16 * point.rows for point in points), *(point.peak for point in points)]
    )
    axes.set_ylim(50, 3e-6 * highest)
    axes.set_ylabel("peak memory, MB")
    axes.set_xlabel("rows")
    axes.set_title("Most memory resident at once", loc="left", fontsize=12, color=colours["ink"])


def _dress(axes: Any, colours: dict[str, str]) -> None:
    ink = colours["ink"]
    axes.set_facecolor(colours["paper"])
    axes.tick_params(which="both", colors=ink)
    axes.grid(which="major", color=ink, alpha=0.15)
    for spine in axes.spines.values():
        spine.set_visible(spine.spine_type in ("left", "bottom"))
        spine.set_color(ink)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(ink)
    legend = axes.legend(frameon=False, labelcolor=ink, fontsize=10)
    legend.set_loc("upper left")


if __name__ == "__main__":
    main()
