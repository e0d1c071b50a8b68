"""What plots are drawn from: a fit's model and rows, and the loss over its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sgdfit.data.opening import open_rows
from sgdfit.data.readers import open_table
from sgdfit.data.rows import timed
from sgdfit.data.table import Columns, Table
from sgdfit.errors import UsageError, did_you_mean
from sgdfit.fitting.prediction import rebuild
from sgdfit.fitting.sampling import subsample_runs
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import to_text
from sgdfit.formula.parsing import parse_expression
from sgdfit.model.model import Model
from sgdfit.plot.density import Density, Grid
from sgdfit.plot.style import (
    MOST_POINTS,
    Style,
    drawable,
    dress,
    label,
    legend,
    ramp,
    shortened,
    style_of,
)
from sgdfit.result.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray[Any, Any]
Window = tuple[tuple[float, float], ...]

MOST_BYTES = 64_000_000  # of columns that are loaded whole
CONTOUR_GRID = 49
LEVELS = 14
ROWS = 1_500  # that the contours are computed from; more would not change the picture
RUNAWAY = 30.0  # how far beyond its first steps a path is followed
ROWWISE = ("weights", "axis", "target", "predicted")


class PlotData(NamedTuple):
    """A fit's model and n rows."""

    model: Model
    columns: dict[str, Array]  # of the model
    weights: Array  # ones where none were given
    start: dict[str, float]  # the free parameters before the descent
    end: dict[str, float]  # and after
    response: str  # the left side as text
    over: str  # what a curve is drawn over: the one variable, or "row"
    axis: Array  # and its values
    scales: Any  # of times
    target: Array  # the response on every row
    predicted: Array  # and the curve
    # Where columns index parameters: the codes of each group of rows with a curve of its own, and
    # the group of each row.
    groups: tuple[dict[str, float], ...] = ()
    group_of: Array = np.zeros(0, dtype=np.int64)
    held: Mapping[str, float] = MappingProxyType({})  # columns that have one value on the curve
    source: Any = None  # the `ChunkedRows` of which these rows are a sample
    density: Density | None = None  # of all of those

    @property
    def axis_name(self) -> str:
        """What the curve is drawn over, with its unit where it is a time."""
        scale = (self.scales or {}).get(self.over)
        return f"{self.over} in {scale}" if scale else self.over

    @property
    def others(self) -> list[str]:
        """The variables but for those that index parameters or are held."""
        known = {*self.model.formula.levels, *self.held}
        return [name for name in self.model.variables if name not in known]

    @property
    def is_curve(self) -> bool:
        """Whether there is one variable or none, beside columns that index parameters."""
        return len(self.others) <= 1

    def part(self, group: int) -> PlotData:
        """Return the rows of a group."""
        own = self.group_of == group
        rows: dict[str, Any] = {name: getattr(self, name)[own] for name in ROWWISE}
        columns = {name: column[own] for name, column in self.columns.items()}
        return self._replace(
            columns=columns, held=self.groups[group], groups=(), source=None, density=None, **rows
        )

    @property
    def points(self) -> tuple[Array, Array]:
        """What is drawn of rows: the response over the variable, or the prediction over it."""
        return (self.axis, self.target) if self.is_curve else (self.target, self.predicted)

    @property
    def residuals(self) -> tuple[Array, Array]:
        """Over the variable, or over the prediction: observed less predicted."""
        over_axis = self.is_curve and self.over in self.columns
        return (self.axis if over_axis else self.predicted), self.target - self.predicted

    def slice(self, name: str, held: Mapping[str, float] | None = None) -> PlotData:
        """Return the curve over one of several variables, the others held at their medians.

        Columns that index parameters are held at the levels with most rows. Points have what the
        curve leaves of them there: Cook 1993, Technometrics 35(4), 351-362.
        """
        if held is None:
            held = {n: float(np.median(self.columns[n])) for n in self.others if n != name}
            if self.groups:
                held |= self.groups[int(np.bincount(self.group_of).argmax())]
        own = self.columns[name]
        over = self._replace(over=name, axis=own, held=held, groups=())
        predicted = over.curve(own, self.end)
        return over._replace(predicted=predicted, target=predicted + self.target - self.predicted)

    def names(self, held: Mapping[str, float]) -> dict[str, str]:
        """Return what is held as text, by its column."""
        levels = self.model.formula.levels
        return {n: levels[n][int(v)] if n in levels else f"{v:.4g}" for n, v in held.items()}

    def curve(self, grid: Array, at: dict[str, float]) -> Array:
        """Return the curve on ``grid``, for a model of one variable or none."""
        columns = dict.fromkeys(self.others, grid)
        columns |= {name: np.full(len(grid), value) for name, value in self.held.items()}
        return _values(self.model.prediction, {**columns, **at}, len(grid))


def plot_data(result: Result, data: object) -> PlotData:
    """Read the rows of ``data`` that the fit was made of; rows with a missing value are left out.

    Of more rows than memory should hold, random ones from all over are taken, and where all are.
    """
    if isinstance(data, PlotData):
        return data
    table = data if isinstance(data, Table) else open_table(data)
    table = timed(table, result.scales)
    model = rebuild(result, table.names)
    weight, needed = parse_expression(result.weights or "1")
    # That none is missing the fit has seen; to count those that are takes a pass.
    complete = result.table is not None and data is result.table and not result.rows_dropped
    policy, source = "error" if complete else "drop", None
    rows = open_rows(table, [*model.columns, *needed], missing=policy, budget=MOST_BYTES)
    if not isinstance(rows, Columns):
        source = rows
        some = rows.take(*subsample_runs(rows.rows, len(rows.names), seed=0))
        rows = Columns(dict(zip(rows.names, some, strict=True)), rows.label, rows.dropped)
    columns = {name: np.asarray(column, float) for name, column in rows.columns.items()}
    values, n = result.values, rows.rows
    end = {name: values[name] for name in model.free}
    weights = _values(weight, columns, n)
    seen = seen_rows(model, columns, end, weights, result.time_scales)
    return seen._replace(source=source)


def seen_rows(
    model: Model, columns: dict[str, Array], end: dict[str, float], weights: Array, scales: Any
) -> PlotData:
    """Return rows of a model with its free parameters at ``end``; ``scales`` are those of times."""
    n, levels, response = len(weights), [*model.formula.levels], model.formula.response
    others = [name for name in model.variables if name not in levels]
    over = others[0] if others else "row"
    codes, group_of = np.zeros((0, 0)), np.zeros(n, dtype=np.int64)
    if levels:
        told = np.stack([columns[name] for name in levels], axis=1)
        codes, group_of = np.unique(told, axis=0, return_inverse=True)
    return PlotData(
        model,
        columns,
        weights,
        start=dict(zip(model.free, model.start, strict=True)),
        end=end,
        response=to_text(response),
        over=over,
        axis=columns[over] if others else np.arange(1.0, n + 1.0),
        scales=scales,
        target=_values(response, columns, n),
        predicted=_values(model.prediction, {**columns, **end}, n),
        groups=tuple(dict(zip(levels, map(float, each), strict=True)) for each in codes),
        group_of=group_of.ravel(),
    )


def with_densities(slices: Sequence[PlotData], logs: Sequence[str]) -> list[PlotData]:
    """Return each with its density where rows are many; of all rows, which may take one pass."""
    first, source = slices[0], slices[0].source
    if first.density is not None or (source is None and len(first.target) <= MOST_POINTS):
        return list(slices)
    grids = [
        (Grid(*one.points, log), Grid(*one.residuals, log.replace("y", "")))
        for one, log in zip(slices, logs, strict=True)
    ]
    rows, squares = 0, 0.0
    for chunk in [()] if source is None else source.chunks():
        parts = slices if source is None else _slices_of(slices, source.names, chunk)
        for part, (curve, left) in zip(parts, grids, strict=True):
            curve.add(*part.points)
            left.add(*part.residuals)
        rows += len(parts[0].target)
        residual = parts[0].residuals[1]
        squares += float(np.sum(residual[np.isfinite(residual)] ** 2))
    made = [Density(rows, curve, left, squares) for curve, left in grids]
    return [one._replace(density=each) for one, each in zip(slices, made, strict=True)]


def _slices_of(
    slices: Sequence[PlotData], names: Sequence[str], chunk: Sequence[Array]
) -> list[PlotData]:
    """Return the same slices of other rows."""
    columns = {n: np.asarray(column, float) for n, column in zip(names, chunk, strict=True)}
    with np.errstate(all="ignore"):
        one, ones = slices[0], np.ones(len(chunk[0]))
        whole = seen_rows(one.model, columns, one.end, ones, one.scales)
        return [whole.slice(like.over, like.held) if like.held else whole for like in slices]


def _values(expression: Any, values: dict[str, Any], rows: int) -> Array:
    return np.broadcast_to(np.asarray(evaluate(expression, values), dtype=np.float64), rows)


def descent_path(
    result: Result,
    data: object,
    ax: Axes,
    parameters: tuple[str, str] | None = None,
    style: str = "light",
) -> None:
    """Draw the way of two parameters over the contours of the loss, the others at their ends.

    By default the first two that are free.

    Raises
    ------
    UsageError
        When these are not two different free parameters.
    """
    if result.correlations:
        raise UsageError("the loss of rows that are correlated is not drawn; see the fit's trace")
    look, seen = style_of(style), plot_data(result, data)
    names = tuple(result.free[:2] if parameters is None else parameters)
    for name in names:
        if name not in result.free:
            raise UsageError(
                f"{name!r} is no free parameter of '{result.formula}'; there are"
                f" {', '.join(result.free)}.{did_you_mean(name, result.free)}"
            )
    if len(set(names)) != 2 or len(names) != 2:
        raise UsageError(f"a path is drawn over two different parameters, not {names}")
    dress(ax, look, slice_title(seen, names))
    draw_landscape(seen, names, window(result, names), ax, look)
    line = draw_path(result, names, ax, look.main)
    legend(ax, look, [line, *draw_ends(result, names, ax, look)], ["steps", "start", "end"])


def slice_title(seen: PlotData, names: Sequence[str]) -> str:
    """Say at which values of the other parameters the loss is drawn over two."""
    held = [f"{name} = {value:.4g}" for name, value in seen.end.items() if name not in names]
    return shortened(f"The way down the loss{', at ' if held else ''}{', '.join(held)}", 60, 2)


def _path(result: Result, names: Sequence[str]) -> Array:
    """Return the finite part of the way, shape (k, len(names))."""
    columns = [result.trace.names.index(name) for name in names]
    points = drawable(result.trace.parameters[:, columns])
    return points[np.isfinite(points).all(axis=1)]


def window(result: Result, names: Sequence[str]) -> Window:
    """Return for each parameter the extent that shows the way, or how a runaway begins."""
    points = _path(result, names)
    away = np.abs(points - points[:1])
    near = away <= RUNAWAY * away[:4].max(axis=0, initial=0)
    points = points[np.logical_and.accumulate(near.all(axis=1))]
    extents = []
    for low, high in zip(points.min(axis=0).tolist(), points.max(axis=0).tolist(), strict=True):
        margin = 0.18 * (high - low) or 0.5 * abs(high) or 1.0
        extents.append((low - margin, high + margin))
    return tuple(extents)


def draw_landscape(
    seen: PlotData, names: Sequence[str], view: Window, ax: Axes, look: Style
) -> None:
    """Draw contours of the mean loss over two parameters, the others at their end.

    Over rows drawn evenly, always the same.
    """
    x, y = (np.linspace(*extent, CONTOUR_GRID) for extent in view)
    chosen = np.arange(len(seen.weights))
    if len(chosen) > ROWS:
        chosen = np.sort(np.random.default_rng(0).choice(len(chosen), ROWS, replace=False))
    columns = {name: column[chosen] for name, column in seen.columns.items()}
    weights, target, model = seen.weights[chosen], seen.target[chosen], seen.model
    loss = np.empty((CONTOUR_GRID, CONTOUR_GRID))
    with np.errstate(all="ignore"):
        for (i, j), _ in np.ndenumerate(loss):
            at = {**seen.end, names[0]: float(x[j]), names[1]: float(y[i])}
            predicted = _values(model.prediction, {**columns, **at}, len(weights))
            pair = model.loss.values(predicted, target, weights)
            each = _values(model.loss.expression, pair, len(weights))
            loss[i, j] = np.sum(weights * each) / np.sum(weights)
    loss = drawable(loss)
    if np.isfinite(loss).any() and np.nanmax(loss) > (low := np.nanmin(loss)):
        # squared spacing: about evenly spaced ellipses where the loss is a quadratic
        levels = low + (np.nanmax(loss) - low) * np.linspace(0, 1, LEVELS) ** 2
        masked = np.ma.masked_invalid(loss)
        ax.contourf(x, y, masked, levels=levels, cmap=ramp(look.basin))
        ax.contour(x, y, masked, levels=levels, colors=look.faint, linewidths=0.35)
    ax.grid(False)
    ax.set(xlim=view[0], ylim=view[1])
    label(ax, look, *names)


def draw_path(result: Result, names: Sequence[str], ax: Axes, colour: str, **options: Any) -> Any:
    """Draw the way of two parameters: a line with a dot for each step."""
    points = _path(result, names).T
    dots = {"marker": "o", "markersize": 3.2} if points.shape[1] <= 200 else {}
    usual = {"color": colour, "linewidth": 1.4, "zorder": 3}
    (line,) = ax.plot(*points, **{**usual, **dots, **options})
    return line


def draw_ends(result: Result, names: Sequence[str], ax: Axes, look: Style) -> list[Any]:
    """Draw a ring at the start and a cross at the end, and return them."""
    points = _path(result, names)
    shown: dict[str, Any] = {"linestyle": "", "zorder": 5, "markersize": 8, "color": look.ink}
    shown |= {"markeredgewidth": 1.8, "markerfacecolor": look.paper}
    return ax.plot(*points[0], marker="o", **shown) + ax.plot(*points[-1], marker="X", **shown)
