"""Figures of a result: pure functions that draw onto the axes they are given.

They need no window and leave pyplot and its settings alone. Data are whatever `sgdfit.fit`
takes, and a `DataError` where they do not hold the formula's columns; the style is ``"light"`` or
``"dark"``, and a `UsageError` where it is another.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sgdfit.checkpoint.atomic import replacing
from sgdfit.data.readers import open_table
from sgdfit.data.table import Table
from sgdfit.errors import UsageError, counted
from sgdfit.formula.external import ON_ALL_ROWS
from sgdfit.formula.parsing import parse_expression
from sgdfit.plot.landscape import PlotData, plot_data, with_densities
from sgdfit.plot.landscape import descent_path as descent_path
from sgdfit.plot.style import (
    DASHES,
    MOST_POINTS,
    Style,
    drawable,
    dress,
    legend,
    plain,
    scatter,
    shortened,
    style_of,
)
from sgdfit.report import facts, percent
from sgdfit.result.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ENDINGS",
    "descent_path",
    "figure",
    "fitted_curve",
    "loss_curve",
    "parameter_paths",
    "residuals",
    "save",
]

ENDINGS = (".png", ".svg", ".pdf")
Array = np.ndarray[Any, Any]

GRID = 400  # points of a drawn curve
BLOCKS = 100  # means that show through the noise of batches
NAMED = 8  # parameters or groups that a legend has room for
MOST_CURVES = 60  # of groups, on the same axes
MOST_BANDED = 1_000  # parameters; of 3,000 each band takes half a second
MOST_BARS = 300
# Of the largest over the least value of a variable that is drawn by its decades.
LEAST_SPAN = 300.0
FEW_DECADES = 1e3


def figure(result: Result, data: object, style: str = "light") -> Figure:
    """Return curve, residuals, loss and the way of the parameters as one figure.

    A notebook shows it where it is the last thing in a cell.
    """
    look, seen = style_of(style), whole_data(result, data)
    made = figure_class()(figsize=(10, 7.6), layout="constrained", facecolor=look.paper)
    (curve, left), (loss, way) = made.subplots(2, 2)
    fitted_curve(result, seen, curve, style)
    residuals(result, seen, left, style)
    loss_curve(result, loss, style)
    if len(result.free) == 2 and not result.correlations:
        descent_path(result, seen, way, style=style)
    else:
        parameter_paths(result, way, style)
    title = f"{shortened(result.formula, 88, 3)}\n{shortened(facts(result).headline, 88)}"
    plain(made.suptitle(title, x=0.01, ha="left", fontsize=12, color=look.ink))
    return made


def whole_data(result: Result, data: object, log: str | None = None) -> PlotData:
    """Return rows to draw, and where memory does not hold all of them how densely these lie."""
    seen = plot_data(result, data)
    return with_densities([seen], [chosen_log(seen, log)])[0]


@cache
def figure_class() -> type[Figure]:
    """Return a `Figure` that a notebook shows, and for its axes, though pyplot is not loaded."""
    import matplotlib.figure

    class AxesArray(np.ndarray):
        def _repr_png_(self) -> bytes:
            return bytes(self.flat[0].figure._repr_png_())

    class Figure(matplotlib.figure.Figure):
        def subplots(self, *args: Any, **options: Any) -> Any:
            axes = super().subplots(*args, **options)
            for ax in np.ravel(axes):
                ax._repr_png_ = self._repr_png_
            return axes.view(AxesArray) if isinstance(axes, np.ndarray) else axes

        def _repr_png_(self) -> bytes:
            shown = io.BytesIO()
            self.savefig(shown, format="png", dpi=110)
            return shown.getvalue()

    return Figure


def save(result: Result, data: object, path: str | os.PathLike[str], style: str = "light") -> None:
    """Write `figure` to a file, as its ending says: ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    UsageError
        When the ending is another one, or the file cannot be written or is one of ``data``.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"cannot write a plot to {str(path)!r}: its ending must be one of {', '.join(ENDINGS)}"
        )
    table = data if isinstance(data, Table) else open_table(data)
    write(figure(result, table, style), path, inputs=(*table.files, *result.trace.inputs))


def write(made: Figure, path: Path, dpi: int = 150, inputs: Iterable[str] = ()) -> None:
    """Write a figure; letters that the font lacks are drawn as boxes, without a warning."""
    # a date would make equal figures unequal files
    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    try:
        with warnings.catch_warnings(), replacing(path, inputs) as file:
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            ending = path.suffix.lower()
            made.savefig(file, format=ending[1:], dpi=dpi, metadata=dated.get(ending))
    except OSError as error:
        raise UsageError(f"cannot write a plot to {str(path)!r}: {error.strerror}") from error


def fitted_curve(
    result: Result, data: object, ax: Axes, style: str = "light", log: str | None = None
) -> None:
    """Draw the curve over the data, with its band and that of new points.

    The first, darker, says where the curve may lie; the second where a new observation may fall. A
    start that was given, or that of textbook descent, is dashed. With several variables the
    prediction is drawn against what was observed; without one, against the row. Groups of a column
    that indexes parameters have a curve each, in their colour. Where sigma was given, few points
    have their bars. ``log`` is "x", "y", "xy" or "" for none; by default "x" where the data are
    spread over its decades.
    """
    look, seen = style_of(style), whole_data(result, data, log)
    title = "The fitted curve" if seen.is_curve else "Predicted against observed"
    if seen.held:
        title = "At " + ", ".join(f"{n} = {text}" for n, text in seen.names(seen.held).items())
    dress(ax, look, shortened(title, 44, 2), *axis_names(seen))
    if seen.is_curve and seen.groups:
        _draw_groups(result, seen, ax, look)
        return
    drawn = draw_curve(result, seen, ax, look, log)
    legend(ax, look, [*drawn.handles.values()], [*drawn.handles])
    ax.set_ylim(*drawn.limits)


def axis_names(seen: PlotData) -> tuple[str, str]:
    """Return what the axes of `fitted_curve` are called."""
    if seen.is_curve:
        return seen.axis_name, seen.response
    return f"observed {seen.response}", f"predicted {seen.response}"


class Drawn(NamedTuple):
    """What was drawn: handles for a legend by their names, and the extent that shows it."""

    handles: dict[str, Any]
    limits: tuple[float, float]


def draw_curve(
    result: Result, seen: PlotData, ax: Axes, look: Style, log: str | None = None
) -> Drawn:
    """Draw what `fitted_curve` does of rows that have a single curve."""
    grid = seen.density.curve if seen.density else None
    rows = counted(seen.density.rows if seen.density else len(seen.target), "row")
    points = scatter(ax, look, *seen.points, grid=grid)
    if not seen.is_curve:
        both = np.concatenate([seen.target, seen.predicted])
        ends = [both.min(), both.max()]
        (line,) = ax.plot(ends, ends, color=look.main, linewidth=1.2, zorder=1.5)
        return Drawn({rows: points, "predicted = observed": line}, _limits(seen, []))
    if result.sigma and len(seen.axis) <= MOST_BARS:
        bars = 1 / np.sqrt(seen.weights)
        ax.errorbar(
            seen.axis, seen.target, bars, fmt="none", ecolor=look.faint, elinewidth=1, zorder=1.9
        )
    log = chosen_log(seen, log)
    logged = [v for name, v in zip("xy", seen.points, strict=True) if name in log]
    shown = np.logical_and.reduce([v > 0 for v in logged]) if logged else np.isfinite(seen.axis)
    if not shown.any():
        raise UsageError(f"log={log!r} shows only what is above 0, of which there is nothing")
    whole = seen.density
    left_out = whole.rows - whole.curve.counts.sum() if whole else np.count_nonzero(~shown)
    if left_out:
        rows += f", {left_out:,} not shown"
    spaced = np.geomspace if "x" in log else np.linspace
    x = spaced(seen.axis[shown].min(), seen.axis[shown].max(), GRID)
    if ON_ALL_ROWS in (result.called or ""):
        x = np.sort(seen.axis)  # at other rows it is another curve
    curve = drawable(seen.curve(x, seen.end))
    shades, edges = _draw_bands(result, seen, x, ax, look)
    (line,) = ax.plot(x, curve, color=look.main, linewidth=2, zorder=4)
    limits = _limits(seen, [curve, *edges])
    if "x" in log:
        ax.set_xscale("log")
        _name_decades(ax.xaxis, seen.axis)
    if "y" in log:
        ax.set_yscale("log")
        _name_decades(ax.yaxis, seen.target)
        above = np.concatenate([seen.target, curve])
        above = above[above > 0]
        limits = (above.min() / 1.5, 1.5 * above.max()) if len(above) else ax.get_ylim()
    handles = {rows: points, "fit": line, **shades}
    given = any(e.start_origin == "given" for e in result.estimates.values())
    # One that was searched is the search's affair.
    if seen.start != seen.end and (given or result.optimizer != "auto"):
        start = drawable(seen.curve(x, seen.start))
        dashed = {"color": look.ink, "linewidth": 1.1, "linestyle": DASHES[1], "zorder": 3}
        (handles["start"],) = ax.plot(x, start, **dashed)
    return Drawn(handles, limits)


def _name_decades(axis: Any, values: Array) -> None:
    """Label 1, 3, 10, … of few decades, and of more these alone: others would overlap."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = values[values > 0]
    if len(positive) and 10 < positive.max() / positive.min() < FEW_DECADES:
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def chosen_log(seen: PlotData, log: str | None = None) -> str:
    """Return ``log``, or if none is given "x" where data are spread over the variable's decades."""
    x = seen.axis
    if log is not None:
        return log
    if (
        seen.over not in seen.columns
        or not seen.is_curve
        or seen.groups
        or not x.min() > 0
        or x.max() / x.min() < LEAST_SPAN
    ):
        return ""
    # Where in its range the middle row lies: about half on the axis that suits.
    plain, powers = (abs((np.median(v) - v.min()) / np.ptp(v) - 0.5) for v in (x, np.log(x)))
    return "x" if powers < plain - 0.2 else ""


def _limits(seen: PlotData, drawn: list[Array]) -> tuple[float, float]:
    """Leave room for data and curves; one that runs away must not press the data flat."""
    target = seen.density.curve.shown()[1] if seen.density else seen.target
    low, high = target.min(), target.max()
    least = max(abs(high) * 1e-9, 1e-300)
    reach = max(high - low, least)
    known = np.concatenate([v[np.isfinite(v)] for v in (target, *drawn)])
    known = np.clip(known, low - reach, high + reach)
    margin = 0.08 * max(known.max() - known.min(), least)
    return float(known.min() - margin), float(known.max() + margin)


def _draw_groups(result: Result, seen: PlotData, ax: Axes, look: Style) -> None:
    """Draw rows and curve of each group, with its band where there are few groups."""
    lines, drawn = [], list[Array]()
    few = len(seen.target) <= MOST_POINTS
    if not few:
        scatter(ax, look, *seen.points, grid=seen.density.curve if seen.density else None)
    for k in range(min(MOST_CURVES, len(seen.groups))):
        own = seen.part(k)
        colour, dashes = look.of(k)
        if few:
            scatter(ax, look, own.axis, own.target, colour)
        grid = np.linspace(own.axis.min(), own.axis.max(), GRID)
        curve = drawable(own.curve(grid, own.end))
        width = 2.0 if len(seen.groups) <= NAMED else 0.9
        lines += ax.plot(grid, curve, color=colour, linestyle=dashes, linewidth=width, zorder=4)
        drawn.append(curve)
        with contextlib.suppress(UsageError):  # the fit tells no band
            if len(seen.groups) <= NAMED and result.has_covariance:
                band = result.predict(_columns_on(own, grid), "confidence")
                low, high = drawable(band.low), drawable(band.high)
                ax.fill_between(grid, low, high, color=colour, alpha=0.25, lw=0, zorder=1.5)
                drawn += [low, high]
    names = [group_name(seen, k) for k in range(len(lines))]
    if len(lines) > NAMED:
        names[NAMED - 1] += f" … {names[-1]}"
    if len(lines) < len(seen.groups):
        ax.set_title(f"The fitted curves, {len(lines)} of {len(seen.groups):,}", loc="left")
    shown = min(NAMED, len(lines))
    legend(ax, look, lines[:shown], names[:shown], ncols=1 if shown <= 4 else 2)
    ax.set_ylim(*_limits(seen, drawn))


def group_name(seen: PlotData, group: int) -> str:
    """Return the levels of a group as text."""
    levels = seen.names(seen.groups[group])
    return ", ".join(f"{name} {level}" for name, level in levels.items())


def _columns_on(seen: PlotData, grid: Array) -> dict[str, Any]:
    """Return the columns from which a curve is predicted on a grid."""
    columns: dict[str, Any] = dict.fromkeys(seen.others or ("row",), grid)
    for name, level in seen.names(seen.held).items():
        is_level = name in seen.model.formula.levels
        columns[name] = np.full(len(grid), level if is_level else seen.held[name])
    return columns


def _draw_bands(
    result: Result, seen: PlotData, grid: Array, ax: Axes, look: Style
) -> tuple[dict[str, Any], list[Array]]:
    """Draw the bands that are known; return a legend's handles by their names, and the edges.

    Where weights tell rows apart, that of new points is known only if they follow from the
    variable.
    """
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch

    fill, edge = to_rgba(look.main, 0.09), to_rgba(look.main, 0.5)
    columns = _columns_on(seen, grid)
    level = percent(result.level)
    weighed_by = parse_expression(result.weights or "1")[1]
    drawn: dict[str, Any] = {}
    edges: list[Array] = []
    if not result.has_covariance:
        return drawn, edges
    with contextlib.suppress(UsageError):  # the fit tells no band
        band = result.predict(columns, "confidence")
        low, high = drawable(band.low), drawable(band.high)
        edges += [low, high]
        drawn[f"{level} band: curve"] = ax.fill_between(
            grid, low, high, color=look.main, alpha=0.3, lw=0, zorder=1.5
        )
        if set(weighed_by) <= set(columns):
            band = result.predict(columns, "prediction")
            low, high = drawable(band.low), drawable(band.high)
            ax.fill_between(grid, low, high, color=fill, lw=0, zorder=1.2)
            ax.plot(grid, np.stack([low, high], axis=1), color=edge, lw=0.9, zorder=2.5)
            drawn[f"{level} band: new points"] = Patch(
                facecolor=fill, edgecolor=edge, linewidth=0.9
            )
            edges += [low, high]
    return drawn, edges


def residuals(result: Result, data: object, ax: Axes, style: str = "light") -> None:
    """Draw what the curve leaves unexplained, observed less predicted.

    Against the variable where there is one, else against the prediction; a band of their root
    mean square is shaded.
    """
    look, seen = style_of(style), whole_data(result, data)
    x, left = map(drawable, seen.residuals)
    over_axis = seen.is_curve and seen.over in seen.columns
    name = seen.axis_name if over_axis else f"predicted {seen.response}"
    y = f"observed − predicted {seen.response}"
    dress(ax, look, "Residuals, and their root mean square", name, y)
    known = np.isfinite(left) & np.isfinite(x)
    if known.any():
        coloured = seen.is_curve and len(left) <= MOST_POINTS
        for k in range(len(seen.groups)) if coloured else ():
            some = known & (seen.group_of == k)
            scatter(ax, look, x[some], left[some], look.of(k)[0])
        whole = seen.density
        if not (seen.groups and coloured):
            scatter(ax, look, x[known], left[known], grid=whole.residual if whole else None)
        squares = whole.squares / whole.rows if whole else np.mean(left[known] ** 2)
        spread = math.sqrt(squares)
        ax.axhspan(-spread, spread, color=look.main, alpha=0.12, linewidth=0, zorder=0)
        for edge in (-spread, spread):
            ax.axhline(edge, color=look.ink, linewidth=1, linestyle=DASHES[1], zorder=3)
    ax.axhline(0, color=look.ink, linewidth=1.4, zorder=3)


def loss_curve(result: Result, ax: Axes, style: str = "light") -> None:
    """Draw the loss against the step, on a log axis where it spans more than two decades.

    >>> from matplotlib.figure import Figure
    >>> import sgdfit
    >>> fit = sgdfit.fit("y = a*x", {"x": [1, 2], "y": [2, 4]}, learning_rate=0.1, steps=5)
    >>> ax = Figure().subplots()
    >>> loss_curve(fit, ax)
    >>> ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()
    ('step', 'loss (mse)', 'log')
    """
    look, found = style_of(style), result.diagnosis
    step, loss = result.trace.step, drawable(result.trace.loss)
    title = "Loss: the run diverged" if result.status.name == "diverged" else "Loss"
    if found and found.stability_limit is not None and (found.growth_factor or 0) > 1:
        where = "limit at the start" if found.local else "limit 2/λmax"
        rate = f"{result.trace.learning_rate[0]:.4g}"
        title = f"Loss: rate {rate} is above the {where} = {found.stability_limit:.4g}"
    dress(ax, look, title, "step", f"loss ({shortened(result.loss_name, 24)})")
    if result.batch_size is None or len(loss) <= BLOCKS:
        # single steps are shown where there is room for them
        dots: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(loss) <= 60 else {}
        ax.plot(step, loss, color=look.main, linewidth=1.6, **dots)
    else:
        (each,) = ax.plot(step, loss, color=look.main, linewidth=0.6, alpha=0.6)
        blocks = [block[np.isfinite(block)] for block in np.array_split(loss, BLOCKS)]
        middles = [block.mean() for block in np.array_split(step, BLOCKS)]
        means = [block.mean() if len(block) else np.nan for block in blocks]
        (mean,) = ax.plot(middles, means, color=look.other, linewidth=1.8)
        legend(ax, look, [each, mean], ["each batch", "mean of each 1%"])
    known = loss[np.isfinite(loss)]
    if len(known) and known.min() > 0 and known.max() / known.min() > 100:
        ax.set_yscale("log")
    _mark_steps(ax, look, step, loss)


def _mark_steps(ax: Axes, look: Style, step: Array, values: Array) -> None:
    """Mark whole steps, and say where the numbers end."""
    from matplotlib.ticker import MaxNLocator

    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        first = step[bad[0]]
        ax.axvline(first, color=look.other, linestyle=DASHES[1], linewidth=1.2)
        ax.annotate(
            f"not finite from step {first:,}", (first, 0.97), xycoords=("data", "axes fraction"),
            xytext=(-4, 0), textcoords="offset points", ha="right", va="top", fontsize=9,
            color=look.other,
        )  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def parameter_paths(result: Result, ax: Axes, style: str = "light") -> None:
    """Draw every free parameter against the step.

    Where one axis would not show how each moves, their distances from their ends are drawn, each
    as a share of its largest.
    """
    look, trace = style_of(style), result.trace
    paths = drawable(trace.parameters).T
    known = [path[np.isfinite(path)] for path in paths]
    moved = np.array([np.ptp(path) if len(path) else 0.0 for path in known])
    every = np.concatenate(known)
    alike = not len(every) or bool(np.all((moved > 0.1 * np.ptp(every)) | (moved == 0)))
    title, y = "Parameters: distance from their ends", "share of the largest distance"
    dress(ax, look, "Parameters" if alike else title, "step", "value" if alike else y)
    lines = []
    for i, path in enumerate(paths):
        if not alike and len(known[i]):
            path = path - known[i][-1]
            path = path / (np.nanmax(np.abs(path)) or 1.0)
        colour, dashes = look.of(i)
        lines += ax.plot(trace.step, path, color=colour, linestyle=dashes, linewidth=1.5)
    names = list(trace.names[:NAMED])
    if len(trace.names) > NAMED:
        names[-1] += f" … {trace.names[-1]}"
    legend(ax, look, lines[:NAMED], names, ncols=1 if len(names) <= 4 else 2)
    _mark_steps(ax, look, trace.step, paths.sum(axis=0))
