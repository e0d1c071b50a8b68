"""Time and memory against rows, on logarithmic axes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from growth import Point

__all__ = ["COLOURS", "draw"]

# Ink and paper of a page, then the two curves; told apart by mark as well as by hue.
COLOURS = {
    "light": {"ink": "#1f2328", "paper": "#ffffff", "exponential": "#b3470f", "linear": "#1f5fae"},
    "dark": {"ink": "#e6edf3", "paper": "#0d1117", "exponential": "#ff9d5c", "linear": "#79b8ff"},
}
MARKS = {"exponential": "o", "linear": "s"}
FORMULAS = {"exponential": "a·exp(−b·x) + c", "linear": "a·x² + b·x + c"}
LIMIT = 500e6


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
