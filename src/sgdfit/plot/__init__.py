"""Figures of a result: pure functions that draw onto the axes they are given.

They need no window and leave pyplot and its settings alone. Data are whatever `sgdfit.fit`
takes.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.errors import UsageError
from sgdfit.plot.panels import (
    Observed,
    draw_ends,
    draw_landscape,
    draw_loss,
    draw_path,
    drawn_parameters,
    loss_curve,
    observe,
    parameter_paths,
    window,
)
from sgdfit.plot.style import (
    DASHES,
    FEW,
    Style,
    cased,
    dress,
    finite,
    label,
    legend,
    plain,
    scatter,
    shortened,
    style_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sgdfit.inference.intervals import Band
    from sgdfit.result.result import Result

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


def fitted_curve(result: Result, data: object, ax: Axes, style: str = "light") -> None:
    """Draw the curve over the data, its start dashed, with its 95% band and that of new points.

    The first, darker, says where the curve may lie; the second where a new observation may fall.
    With several variables the prediction is drawn against what was observed; without one, against
    the row.

    Raises
    ------
    DataError
        When the data do not hold the formula's columns.
    """
    look, seen = style_of(style), observe(result, data)
    if len(seen.variables) > 1:
        _draw_predicted(seen, ax, look)
    else:
        _draw_curve(result, seen, ax, look)


def _draw_predicted(seen: Observed, ax: Axes, look: Style) -> None:
    dress(ax, look, "Predicted against observed")
    points = scatter(ax, look, seen.target, seen.predicted)
    ends = [
        min(seen.target.min(), seen.predicted.min()),
        max(seen.target.max(), seen.predicted.max()),
    ]
    (line,) = ax.plot(ends, ends, color=look.main, linewidth=1.2, zorder=1.5)
    legend(ax, look, [points, line], [_rows(seen), "predicted = observed"])
    label(ax, look, f"observed {seen.response}", f"predicted {seen.response}")


def _draw_curve(result: Result, seen: Observed, ax: Axes, look: Style) -> None:
    dress(ax, look, "The fitted curve")
    x = seen.axis
    points = scatter(ax, look, x, seen.target)
    grid = np.linspace(x.min(), x.max(), GRID)
    curve, start = (finite(seen.curve(grid, at)) for at in (seen.end, seen.start))
    dense = len(x) > FEW
    # blue would be lost on the blue of a density
    shown = {"color": look.other, **cased(look)} if dense else {"color": look.main}
    bands = seen.bands(grid, curve, result)
    shades = _draw_bands(ax, look, grid, bands, dense)
    before = ax.plot(grid, start, color=look.ink, linewidth=1.1, linestyle=DASHES[1], zorder=3)
    (line,) = ax.plot(grid, curve, linewidth=2, zorder=4, **shown)
    names = [_rows(seen), "fit", *shades, "start"]
    legend(ax, look, [points, line, *shades.values(), *before], names)
    _frame(ax, seen.target, curve, *(edge for band in bands if band for edge in band[2:]))
    label(ax, look, seen.variables[0] if seen.variables else "row", seen.response)


def _draw_bands(
    ax: Axes, look: Style, grid: Array, bands: tuple[Band | None, Band | None], dense: bool
) -> dict[str, Any]:
    """Draw the bands that are known; return what stands for each in a legend, by its name."""
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch

    colour = look.other if dense else look.main
    sure, new = bands
    drawn: dict[str, Any] = {}
    if sure is not None:
        drawn["95% band: curve"] = ax.fill_between(
            grid, finite(sure.low), finite(sure.high), color=colour, alpha=0.3, lw=0,
            zorder=2.6 if dense else 1.5,
        )  # fmt: skip
    if new is not None:
        # over a density only the edges show
        fill, edge = to_rgba(colour, 0.0 if dense else 0.09), to_rgba(colour, 0.9 if dense else 0.5)
        low, high = finite(new.low), finite(new.high)
        ax.fill_between(grid, low, high, color=fill, lw=0, zorder=1.2)
        ax.plot(grid, np.stack([low, high], axis=1), color=edge, lw=0.9, zorder=2.5)
        drawn["95% band: new points"] = Patch(facecolor=fill, edgecolor=edge, linewidth=0.9)
    return drawn


def _frame(ax: Axes, *values: Array) -> None:
    """Show these values, however far the start or a band lies."""
    # a curve that ran away must not press the data flat
    low, high = values[0].min(), values[0].max()
    reach = max(high - low, abs(high) * 1e-9, 1e-300)
    known = np.concatenate([v[np.isfinite(v)] for v in values])
    known = np.clip(known, low - reach, high + reach)
    margin = 0.08 * max(known.max() - known.min(), abs(high) * 1e-9, 1e-300)
    ax.set_ylim(known.min() - margin, known.max() + margin)


def _rows(seen: Observed) -> str:
    return f"{len(seen.target):,} rows" if len(seen.target) > 1 else "1 row"


def residuals(result: Result, data: object, ax: Axes, style: str = "light") -> None:
    """Draw what the curve leaves unexplained, observed less predicted.

    Against the variable where there is one, else against the prediction; a band of their root
    mean square is shaded.

    Raises
    ------
    DataError
        When the data do not hold the formula's columns.
    """
    look, seen = style_of(style), observe(result, data)
    dress(ax, look, "Residuals, and their root mean square")
    left = finite(seen.target - seen.predicted)
    x = seen.axis if len(seen.variables) == 1 else seen.predicted
    name = seen.variables[0] if len(seen.variables) == 1 else f"predicted {seen.response}"
    known = np.isfinite(left) & np.isfinite(x)
    if known.any():
        scatter(ax, look, x[known], left[known])
        spread = float(np.sqrt(np.mean(left[known] ** 2)))
        ax.axhspan(-spread, spread, color=look.main, alpha=0.12, linewidth=0, zorder=0)
        for edge in (-spread, spread):
            ax.axhline(edge, color=look.ink, linewidth=1, linestyle=DASHES[1], zorder=3)
    ax.axhline(0, color=look.ink, linewidth=1.4, zorder=3)
    label(ax, look, name, f"observed − predicted {seen.response}")


def descent_path(
    result: Result,
    data: object,
    ax: Axes,
    parameters: tuple[str, str] | None = None,
    style: str = "light",
) -> None:
    """Draw the way of two parameters over the contours of the loss, the others at their ends.

    Parameters
    ----------
    result, data
        As elsewhere in this module.
    ax : Axes
    parameters : pair of str, optional
        Two free parameters; default the two that the curvature couples most. With one free
        parameter the loss is drawn along it.
    style : str
        ``"light"`` or ``"dark"``.

    Raises
    ------
    UsageError
        When a name is no free parameter.
    DataError
        When the data do not hold the formula's columns.
    """
    look, seen = style_of(style), observe(result, data)
    names = drawn_parameters(result, parameters)
    others = "" if len(result.free) <= 2 else ", other parameters at their end"
    dress(ax, look, f"The way down the loss{others}")
    if len(names) == 1:
        draw_loss(result, seen, names[0], ax, look)
        return
    draw_landscape(seen, names, window(result, names), ax, look)
    line = draw_path(result, names, ax, look.main)
    ends, titles = draw_ends(result, names, ax, look)
    legend(ax, look, [line, *ends], ["steps", *titles])


def figure(result: Result, data: object, style: str = "light") -> Figure:
    """Return curve, residuals, loss and the way of the parameters as one figure.

    Raises
    ------
    DataError
        When the data do not hold the formula's columns.
    UsageError
        When no style is called that.
    """
    from matplotlib.figure import Figure

    from sgdfit.report.contents import facts

    look, seen = style_of(style), observe(result, data)
    made = Figure(figsize=(10, 7.6), layout="constrained", facecolor=look.paper)
    (curve, left), (loss, way) = made.subplots(2, 2)
    fitted_curve(result, seen, curve, style)
    residuals(result, seen, left, style)
    loss_curve(result, loss, style)
    if len(result.free) <= 2:
        descent_path(result, seen, way, style=style)
    else:
        parameter_paths(result, way, style)
    title = f"{shortened(result.formula, 88, 3)}\n{shortened(facts(result).headline, 88)}"
    plain(made.suptitle(title, x=0.01, ha="left", fontsize=12, color=look.ink))
    return made


def save(result: Result, data: object, path: str | os.PathLike[str], style: str = "light") -> None:
    """Write `figure` to a file, as its ending says: ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    UsageError
        When the ending is another one, or the file cannot be written.
    DataError
        When the data do not hold the formula's columns.
    """
    path = checked(path)
    write(figure(result, data, style), path)


def checked(path: str | os.PathLike[str]) -> Path:
    """Return the path of a figure, or say which endings there are."""
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"cannot write a plot to {str(path)!r}: its ending must be one of {', '.join(ENDINGS)}"
        )
    return path


def write(made: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure; letters that the font lacks are drawn as boxes, without a warning."""
    # a date would make equal figures unequal files
    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            made.savefig(path, dpi=dpi, metadata=dated.get(path.suffix.lower()))
    except OSError as error:
        raise UsageError(f"cannot write a plot to {str(path)!r}: {error.strerror}") from error
