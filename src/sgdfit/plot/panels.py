"""The panels of a plot: data with curve and bands, residuals, landscape, loss, parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.data.opening import open_rows
from sgdfit.data.readers import open_table
from sgdfit.data.table import Columns, Table
from sgdfit.errors import UsageError, did_you_mean
from sgdfit.fitting.prediction import band_on, noise_variance, rebuild
from sgdfit.fitting.sampling import reserved
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import to_text
from sgdfit.formula.parsing import parse_expression
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model
from sgdfit.plot.style import DASHES, Style, dress, finite, label, legend, ramp, shortened, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sgdfit.inference.intervals import Band
    from sgdfit.result.result import Result


Array = np.ndarray[Any, Any]

# Of columns that are loaded whole.
MOST_BYTES = 64_000_000


@dataclass(frozen=True)
class Observed:
    """A fit's model and rows.

    Attributes
    ----------
    model : Model
    columns : dict of str to float64[n]
        The model's columns.
    weights : float64[n]
        Of the rows; ones where none were given.
    start, end : dict of str to float
        The free parameters before and after the descent.
    """

    model: Model
    columns: dict[str, Array]
    weights: Array
    start: dict[str, float]
    end: dict[str, float]

    @property
    def variables(self) -> tuple[str, ...]:
        """The columns on the right side."""
        return self.model.variables

    @property
    def response(self) -> str:
        """The left side as text."""
        return to_text(self.model.formula.response)

    @cached_property
    def target(self) -> Array:
        """The response on every row."""
        return self._values(self.model.formula.response, self.columns)

    @cached_property
    def predicted(self) -> Array:
        """The curve on every row."""
        return self._values(self.model.prediction, {**self.columns, **self.end})

    @property
    def axis(self) -> Array:
        """What a curve is drawn over: the one variable, or the number of the row."""
        if self.variables:
            return self.columns[self.variables[0]]
        return np.arange(1.0, 1.0 + len(self.target))

    def curve(self, grid: Array, at: dict[str, float]) -> Array:
        """Return the curve on ``grid``, for a model of one variable or none."""
        columns = dict.fromkeys(self.variables, grid)
        return self._values(self.model.prediction, {**columns, **at}, len(grid))

    def bands(self, grid: Array, curve: Array, result: Result) -> tuple[Band | None, Band | None]:
        """Return the 95% bands of the curve and of new observations, where they are known.

        Where weights tell rows apart, the second is known only if they follow from the variable.
        """
        if result.covariance is None:
            return None, None
        columns = dict.fromkeys(self.variables, grid)
        noise = self._noise(columns, result, len(grid))
        try:
            sure = band_on(self.model, result, curve, columns)
            new = None if noise is None else band_on(self.model, result, curve, columns, noise)
        except UsageError:  # no degree of freedom
            return None, None
        return sure, new

    def _noise(self, columns: dict[str, Array], result: Result, rows: int) -> Array | None:
        """Return the variance of a new observation about the curve, where it is known."""
        unit, (weight, needed) = noise_variance(result), _weight(result)
        if unit is None or not set(needed) <= set(columns):
            return None
        with np.errstate(all="ignore"):
            return unit / self._values(weight, columns, rows)

    def sample(self, rows: int) -> Observed:
        """Return the same with at most ``rows`` rows, drawn evenly and always the same ones."""
        total = len(self.weights)
        if total <= rows:
            return self
        chosen = np.sort(np.random.default_rng(0).choice(total, rows, replace=False))
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return replace(self, columns=columns, weights=self.weights[chosen])

    def loss(self, at: dict[str, float]) -> float:
        """Return the mean loss with the free parameters ``at``."""
        prediction = self._values(self.model.prediction, {**self.columns, **at})
        pair = {PREDICTION: prediction, TARGET: self.target}
        with np.errstate(all="ignore"):
            each = self._values(self.model.loss.expression, pair)
            return float(np.sum(self.weights * each) / np.sum(self.weights))

    def _values(self, expression: Any, values: dict[str, Any], rows: int | None = None) -> Array:
        found = np.asarray(evaluate(expression, values), dtype=np.float64)
        return np.broadcast_to(found, len(self.weights) if rows is None else rows)


def observe(result: Result, data: object) -> Observed:
    """Read the rows of ``data`` that the fit was made of; rows with a missing value are left out.

    Raises
    ------
    DataError
        When the data do not hold the formula's columns.
    """
    if isinstance(data, Observed):
        return data
    table = data if isinstance(data, Table) else open_table(data)
    model = rebuild(result, table.names)
    weight, needed = _weight(result)
    source = _some_rows(table, [*model.columns, *needed])
    columns = {name: np.asarray(column, float) for name, column in source.columns.items()}
    start = dict(zip(model.free, model.start, strict=True))
    end = {name: result.values[name] for name in model.free}
    weights = np.broadcast_to(np.asarray(evaluate(weight, columns), float), source.rows)
    return Observed(model, columns, weights, start, end)


def _some_rows(table: Table, names: list[str]) -> Columns:
    """Return all rows, or random ones from all over where all are too many for memory."""
    opened = open_rows(table, names, missing="drop", budget=MOST_BYTES)
    if isinstance(opened, Columns):
        return opened
    found = opened.take(*reserved(opened.rows, len(opened.names), seed=0))
    return Columns(dict(zip(opened.names, found, strict=True)), opened.label, opened.dropped)


def _weight(result: Result) -> tuple[Any, tuple[str, ...]]:
    """Return the weight of a row as an expression, and the columns that it takes."""
    if result.weights is None:
        return parse_expression("1")
    return parse_expression(result.weights)


Window = tuple[tuple[float, float], ...]

GRID = 49
LEVELS = 14
ROWS = 1_500  # that the contours are computed from; more would not change the picture
RUNAWAY = 30.0  # how far beyond its first steps a path is followed


def drawn_parameters(result: Result, asked: Sequence[str] | None) -> tuple[str, ...]:
    """Return the two parameters of a picture, or the only one.

    Raises
    ------
    UsageError
        When those asked for are not two different free parameters.
    """
    if asked is None:
        return result.free if len(result.free) == 1 else _coupled(result)
    for name in asked:
        if name not in result.free:
            raise UsageError(
                f"{name!r} is no free parameter of '{result.formula}'; there are"
                f" {', '.join(result.free)}.{did_you_mean(name, result.free)}"
            )
    if len(asked) != 2 or asked[0] == asked[1]:
        raise UsageError(f"a path is drawn over two different parameters, not {tuple(asked)}")
    return tuple(asked)


def _coupled(result: Result) -> tuple[str, ...]:
    """Return the two free parameters that the curvature couples most, or the first two."""
    found = result.diagnosis
    if found is None or not np.isfinite(found.eigenvectors).all():
        return result.free[:2]
    with np.errstate(all="ignore"):
        curvature = (found.eigenvectors * found.eigenvalues) @ found.eigenvectors.T
        scale = np.sqrt(np.diag(curvature))
        coupling = np.nan_to_num(np.abs(curvature / np.outer(scale, scale)))
    coupling[np.tril_indices(len(coupling))] = -1
    i, j = np.unravel_index(coupling.argmax(), coupling.shape)
    return result.free[i], result.free[j]


def _path(result: Result, names: Sequence[str]) -> Array:
    """Return the finite part of the way, shape (k, len(names))."""
    columns = [result.trace.names.index(name) for name in names]
    points = finite(result.trace.parameters[:, columns])
    return points[np.isfinite(points).all(axis=1)]


def window(result: Result, names: Sequence[str]) -> Window:
    """Return for each parameter the extent that shows the way, or how a runaway begins."""
    points = _path(result, names)
    away = np.abs(points - points[:1])
    near = away <= RUNAWAY * away[:4].max(axis=0, initial=0)
    points = points[np.logical_and.accumulate(near.all(axis=1))]
    return tuple(_extent(column) for column in points.T)


def _extent(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.18 * (high - low) or 0.5 * abs(high) or 1.0
    return low - margin, high + margin


def draw_landscape(
    seen: Observed, names: Sequence[str], view: Window, ax: Axes, look: Style
) -> None:
    """Draw contours of the mean loss over two parameters, the others at their end."""
    x, y = (np.linspace(*extent, GRID) for extent in view)
    loss = _losses(seen, names, *np.meshgrid(x, y))
    low, high = np.nanmin(loss), np.nanmax(loss)
    if np.isfinite(loss).any() and high > low:
        # squared spacing: about evenly spaced ellipses where the loss is a quadratic
        levels = low + (high - low) * np.linspace(0, 1, LEVELS) ** 2
        masked = np.ma.masked_invalid(loss)
        ax.contourf(x, y, masked, levels=levels, cmap=ramp(look.basin))
        ax.contour(x, y, masked, levels=levels, colors=look.faint, linewidths=0.35)
    ax.grid(False)
    ax.set(xlim=view[0], ylim=view[1])
    label(ax, look, *names)


def _losses(seen: Observed, names: Sequence[str], *values: Array) -> Array:
    """Return the mean loss at each point of a grid."""
    some = seen.sample(ROWS)
    flat = np.empty(values[0].size)
    for i, point in enumerate(zip(*(grid.ravel() for grid in values), strict=True)):
        flat[i] = some.loss({**seen.end, **dict(zip(names, map(float, point), strict=True))})
    return finite(flat).reshape(values[0].shape)


def draw_path(result: Result, names: Sequence[str], ax: Axes, colour: str, **options: Any) -> Any:
    """Draw the way of two parameters: a line with a dot for each step."""
    points = _path(result, names).T
    dots = {"marker": "o", "markersize": 3.2} if points.shape[1] <= 200 else {}
    (line,) = ax.plot(
        *points, **{"color": colour, "linewidth": 1.4, "zorder": 3, **dots, **options}
    )
    return line


def draw_ends(
    result: Result, names: Sequence[str], ax: Axes, look: Style
) -> tuple[list[Any], list[str]]:
    """Draw a ring at the start and a cross at the end; return them and their names."""
    points = _path(result, names)
    at = {"linestyle": "", "zorder": 5, "markeredgewidth": 1.8, "markerfacecolor": look.paper}
    (start,) = ax.plot(*points[0], marker="o", markersize=8, color=look.ink, **at)  # type: ignore[arg-type]
    (end,) = ax.plot(*points[-1], marker="X", markersize=8, color=look.ink, **at)  # type: ignore[arg-type]
    return [start, end], ["start", "end"]


def draw_loss(result: Result, seen: Observed, name: str, ax: Axes, look: Style) -> None:
    """Draw the loss along one parameter, with the way that the descent took down it."""
    points = _path(result, [name])[:, 0]
    (extent,) = window(result, [name])
    grid = np.linspace(*extent, 4 * GRID)
    ax.plot(grid, _losses(seen, [name], grid), color=look.faint, linewidth=1.4)
    inside = points[(points >= extent[0]) & (points <= extent[1])]
    steps = inside if len(inside) <= 400 else inside[:: len(inside) // 400]
    (line,) = ax.plot(
        steps, _losses(seen, [name], steps), color=look.main, marker="o", markersize=3.5, lw=1
    )
    legend(ax, look, [line], ["steps"])
    label(ax, look, name, "mean loss")


BLOCKS = 100  # means that show through the noise of batches
NAMED = 8  # parameters that a legend has room for


def loss_curve(result: Result, ax: Axes, style: str = "light") -> None:
    """Draw the loss against the step, on a log axis where it spans more than two decades.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> import sgdfit
    >>> fit = sgdfit.fit("y = a*x", {"x": [1, 2], "y": [2, 4]}, learning_rate=0.1, steps=5)
    >>> ax = Figure().subplots()
    >>> loss_curve(fit, ax)
    >>> ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()
    ('step', 'loss (mse)', 'log')
    """
    look = style_of(style)
    dress(ax, look, _loss_title(result))
    step, loss = result.trace.step, finite(result.trace.loss)
    if result.batch_size is None or len(loss) <= BLOCKS:
        ax.plot(step, loss, color=look.main, linewidth=1.6, **_dots(loss))
    else:
        _draw_noisy(ax, look, step, loss)
    if _spans(loss):
        ax.set_yscale("log")
    _mark_broken(ax, look, step, loss)
    _label_steps(ax, look, f"loss ({shortened(result.loss_name, 24)})")


def _loss_title(result: Result) -> str:
    found, rates = result.diagnosis, result.trace.learning_rate
    if found is None or found.stability_limit is None or (found.growth_factor or 0) <= 1:
        return "Loss: the run diverged" if result.status.name == "diverged" else "Loss"
    where = "limit at the start" if found.local else "limit 2/λmax"
    return f"Loss: rate {rates[0]:.4g} is above the {where} = {found.stability_limit:.4g}"


def _dots(values: Array) -> dict[str, Any]:
    """Show single steps where there is room for them."""
    return {"marker": "o", "markersize": 3.5} if len(values) <= 60 else {}


def _draw_noisy(ax: Axes, look: Style, step: Array, loss: Array) -> None:
    """Draw the loss of each batch thinly, and above it the mean of each 1% of them."""
    (each,) = ax.plot(step, loss, color=look.main, linewidth=0.6, alpha=0.6)
    blocks = [block[np.isfinite(block)] for block in np.array_split(loss, BLOCKS)]
    middles = [block.mean() for block in np.array_split(step, BLOCKS)]
    means = [block.mean() if len(block) else np.nan for block in blocks]
    (mean,) = ax.plot(middles, means, color=look.other, linewidth=1.8)
    legend(ax, look, [each, mean], ["each batch", "mean of each 1%"])


def _spans(values: Array) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() / known.min() > 100)


def _mark_broken(ax: Axes, look: Style, step: Array, values: Array) -> None:
    """Say where the numbers end."""
    bad = np.flatnonzero(~np.isfinite(values))
    if not len(bad):
        return
    first = step[bad[0]]
    ax.axvline(first, color=look.other, linestyle=DASHES[1], linewidth=1.2)
    ax.annotate(
        f"not finite from step {first:,}", (first, 0.97), xycoords=("data", "axes fraction"),
        xytext=(-4, 0), textcoords="offset points", ha="right", va="top", fontsize=9,
        color=look.other,
    )  # fmt: skip


def _label_steps(ax: Axes, look: Style, y: str) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    label(ax, look, "step", y)


def parameter_paths(result: Result, ax: Axes, style: str = "light") -> None:
    """Draw every free parameter against the step.

    Where one axis would not show how each moves, their distances from their ends are drawn, each
    as a share of its largest.
    """
    look, trace = style_of(style), result.trace
    paths = finite(trace.parameters).T
    alike = _alike(paths)
    dress(ax, look, "Parameters" if alike else "Parameters: distance from their ends")
    lines = []
    for i, path in enumerate(paths if alike else map(_share, paths)):
        colour, dashes = look.cycle[i % len(look.cycle)], DASHES[i % len(DASHES)]
        lines += ax.plot(trace.step, path, color=colour, linestyle=dashes, linewidth=1.5)
    names = list(trace.names[:NAMED])
    if len(trace.names) > NAMED:
        names[-1] += f" … {trace.names[-1]}"
    legend(ax, look, lines[:NAMED], names, ncols=1 if len(names) <= 4 else 2)
    _mark_broken(ax, look, trace.step, paths.sum(axis=0))
    _label_steps(ax, look, "value" if alike else "share of the largest distance")


def _alike(paths: Array) -> bool:
    """Whether one axis shows how each path moves."""
    known = [path[np.isfinite(path)] for path in paths]
    moved = np.array([np.ptp(path) for path in known if len(path)])
    every = np.concatenate(known)
    return bool(np.all((moved > 0.1 * np.ptp(every)) | (moved == 0))) if len(every) else True


def _share(path: Array) -> Array:
    known = path[np.isfinite(path)]
    away = path - known[-1] if len(known) else path
    largest = np.max(np.abs(away[np.isfinite(away)]), initial=0)
    return away / largest if largest > 0 else away
