"""The loss as a landscape over two parameters, and the way that a descent took over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.errors import UsageError, did_you_mean
from sgdfit.plot.drawing import Style, finite, label, legend, ramp
from sgdfit.plot.observed import Observed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sgdfit.result.result import Result

__all__ = [
    "draw_ends",
    "draw_landscape",
    "draw_loss",
    "draw_path",
    "drawn_parameters",
    "window",
]

Array = np.ndarray[Any, Any]
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
