"""What the methods of a result draw: whole figures, or onto axes that are given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.errors import UsageError, did_you_mean
from sgdfit.fitting.entry import fit
from sgdfit.fitting.prediction import formula_of
from sgdfit.fitting.problem import Problem
from sgdfit.fitting.profile import REFIT_TOLERANCE
from sgdfit.fitting.steps import lowest
from sgdfit.inference.intervals import confidence_ellipse, region_size
from sgdfit.plot import (
    chosen_log,
    descent_path,
    figure_class,
    fitted_curve,
    loss_curve,
    parameter_paths,
    residuals,
)
from sgdfit.plot.landscape import plot_data, with_densities
from sgdfit.plot.multiples import plot_groups
from sgdfit.plot.style import dress, label, legend, plain, shortened, style_of
from sgdfit.report import percent
from sgdfit.result.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray[Any, Any]

# Of several variables, how many a curve is drawn over.
MOST_SLICES = 4
# Parameters that are drawn in pairs, and rows that are refitted for that.
MOST_PAIRED, MOST_REFITTED = 6, 2_000
# Of a likelihood region: directions, refits along each at most, how near to its edge is on it, and
# how many times farther than the ellipse is nowhere.
DIRECTIONS, MOST_TRIES, NEAR, FARTHEST = 60, 30, 1e-3, 10.0


def rows_of(result: Result, data: object) -> object:
    """Return the rows to draw: those given, or those of the fit.

    Raises
    ------
    UsageError
        When the fit came from a file and no data are given.
    """
    found = result.table if data is None else data
    if found is None:
        raise UsageError(
            "this fit does not know its rows, since it came from a file or a stream; pass data"
        )
    return found


def plot_fit(
    result: Result,
    data: object = None,
    ax: Axes | None = None,
    *,
    log: str | None = None,
    over: str | None = None,
    groups: str | Sequence[Any] = "first",
    style: str = "light",
) -> Any:
    """Draw data and curve, with bands, and the residuals beneath; see `Result.plot`."""
    look, seen = style_of(style), plot_data(result, rows_of(result, data))
    if log is not None and not set(log) <= {"x", "y"}:
        raise UsageError(f"log is {log!r}; write 'x', 'y', 'xy' or '' for none")
    variables = seen.others
    if over is not None and over not in variables:
        raise UsageError(
            f"{over!r} is no variable of '{result.formula}'; there are {', '.join(variables)}."
            f"{did_you_mean(over, variables)}"
        )
    if over is not None and len(variables) > 1:
        seen = seen.slice(over)
    if ax is not None:
        fitted_curve(result, seen, ax, style, log)
        return ax
    if seen.groups and seen.is_curve:
        return plot_groups(result, seen, groups, log, style)
    slices = [seen] if seen.is_curve else [seen.slice(name) for name in variables[:MOST_SLICES]]
    slices = with_densities(slices, [chosen_log(one, log) for one in slices])
    heading = shortened(result.formula, 80, 2)
    if len(slices) < len(seen.others):
        heading += f"\nover {len(slices)} of {len(variables)} variables; over=… names another"
    size = (3.4 * len(slices) + 3.0, 6.2)
    made = figure_class()(figsize=size, layout="constrained", facecolor=look.paper)
    plain(made.suptitle(heading, x=0.01, ha="left", fontsize=11, color=look.ink))
    drawn = made.subplots(
        2, len(slices), sharex="col", sharey="row", height_ratios=(3, 1), squeeze=False
    )
    extents = []
    for k, (one, curve, left) in enumerate(zip(slices, *drawn, strict=True)):
        fitted_curve(result, one, curve, style, log)
        residuals(result, one, left, style)
        extents.append(curve.get_ylim())
        label(curve, look, "", "" if k else one.response)
        label(left, look, one.axis_name, "" if k else "residual")
        if k:
            left.set_title("", loc="left")
            curve.get_legend().remove()
    curve.set_ylim(np.min(extents), np.max(extents))
    return drawn if len(slices) > 1 else drawn[:, 0]


def plot_trace(result: Result, ax: Axes | None = None, *, style: str = "light") -> Any:
    """Draw the loss and the parameters by steps; see `Result.plot_trace`."""
    if ax is not None:
        loss_curve(result, ax, style)
        return ax
    look = style_of(style)
    made = figure_class()(figsize=(9.6, 3.8), layout="constrained", facecolor=look.paper)
    axes = made.subplots(1, 2)
    loss_curve(result, axes[0], style)
    parameter_paths(result, axes[1], style)
    return axes


def _alone(ax: Axes | None, style: str) -> Axes:
    if ax is not None:
        return ax
    look = style_of(style)
    made: Axes = figure_class()(
        figsize=(6.2, 4.6), layout="constrained", facecolor=look.paper
    ).subplots()
    return made


def plot_path(
    result: Result,
    parameters: tuple[str, str] | None = None,
    data: object = None,
    ax: Axes | None = None,
    *,
    style: str = "light",
) -> Axes:
    """Draw the way of two parameters over contours of the loss; see `Result.plot_path`."""
    drawn = _alone(ax, style)
    descent_path(result, rows_of(result, data), drawn, parameters, style)
    return drawn


def plot_parameters(result: Result, ax: Axes | None = None, *, style: str = "light") -> Axes:
    """Draw every free parameter by steps; see `Result.plot_parameters`."""
    drawn = _alone(ax, style)
    parameter_paths(result, drawn, style)
    return drawn


def plot_pairs(
    result: Result,
    parameters: Sequence[str] | None = None,
    data: object = None,
    *,
    style: str = "light",
) -> Any:
    """Draw confidence regions of pairs of parameters; see `Result.plot_pairs`."""
    names = [*result.free[:MOST_PAIRED]] if parameters is None else list(parameters)
    for name in names:
        if name not in result.free:
            raise UsageError(
                f"{name!r} is no free parameter of '{result.formula}'; there are"
                f" {', '.join(result.free)}.{did_you_mean(name, result.free)}"
            )
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError("regions are drawn of two or more different parameters")
    if not result.has_covariance:
        raise UsageError(
            f"this fit gives no region, since it has no covariance ({result.covariance_method})"
        )
    look, count = style_of(style), len(names)
    size = 2.6 * (count - 1) + 1.0
    made = figure_class()(figsize=(size, size), layout="constrained", facecolor=look.paper)
    axes = made.subplots(count - 1, count - 1, squeeze=False)
    table, problem = result.table if data is None else data, None
    few = result.rows <= MOST_REFITTED and result.loss_name == "mse" and not result.correlations
    if table is not None and few:
        problem = _problem_of(result, table)
    told: list[tuple[Any, str]] = []
    for ax in axes.ravel():
        ax.set_visible(False)
    for (i, x), (j, y) in itertools.combinations(enumerate(names), 2):
        ax = axes[j - 1, i]
        ax.set_visible(True)
        dress(ax, look, "", x if j == count - 1 else "", y if i == 0 else "")
        told = _draw_region(result, (x, y), ax, style, problem) or told
    if told:
        free = {"loc": "upper right"} if count > 2 else {}  # above the diagonal there is room
        handles, words = zip(*told, strict=True)
        legend(made if free else axes[0, 0], look, handles, words, **free)
    return axes


def _draw_region(
    result: Result, names: tuple[str, str], ax: Axes, style: str, problem: Problem | None
) -> list[tuple[Any, str]]:
    """Draw where two parameters lie together, and return what a legend shows of it."""
    look, covariance = style_of(style), result.covariance_of(names)
    ax.plot(*([result[name].value] for name in names), marker="+", color=look.ink, markersize=9)
    if not np.isfinite(covariance).all():
        return []
    dof = np.inf if result.absolute_sigma else result.degrees_of_freedom
    size = region_size(2, dof, result.level)
    centre = np.array([result[name].value for name in names])
    around = confidence_ellipse(covariance, centre, size)
    (line,) = ax.plot(*around.T, color=look.main, linewidth=1.8)
    handles = [(line, f"{percent(result.level)}: ellipse")]
    if problem is not None:
        region = _likelihood_region(result, names, around, size, problem)
        (other,) = ax.plot(*region.T, color=look.other, linewidth=1.6, linestyle="--")
        handles.append((other, "likelihood"))
    return handles


def _likelihood_region(
    result: Result, names: tuple[str, str], around: Array, size: float, problem: Problem
) -> Array:
    """Return where the sum of squares is what the ellipse stands for, float64[k, 2].

    Along the way to each point of the ellipse and beyond, the root of what the sum of squares is
    above its least, the others fitted anew, grows nearly evenly: Bates & Watts 1988, Nonlinear
    Regression Analysis and Its Applications, section 6.1. NaN where the data exclude no value.
    """
    noise = 1.0 if result.absolute_sigma else (result.reduced_chi_square or np.nan)
    unit = result.residual_sum_of_squares / (noise * size)
    best = np.array([result[name].value for name in problem.names])
    places = [problem.names.index(name) for name in names]
    held, centre, near = problem.holding(places), best[places], best
    least = _sum_of_squares(held, best)[0]
    region = np.full((DIRECTIONS + 1, 2), np.nan)
    chosen = np.linspace(0, len(around) - 1, DIRECTIONS + 1).astype(int)
    for k, towards in enumerate(around[chosen] - centre):
        (low, below), (high, above), share = (0.0, 0.0), (math.inf, math.inf), 1.0
        for attempt in range(MOST_TRIES):
            theta = near.copy()
            theta[places] = centre + share * towards
            squares, reached = _sum_of_squares(held, theta)
            root = math.sqrt(max(squares / least - 1, 0.0) * unit)
            if abs(root - 1) < NEAR:
                region[k], near = centre + share * towards, reached
                break
            if root < 1:
                low, below, near = share, root, reached
            else:
                high, above = share, root
            if low > FARTHEST:
                near = best
                break
            if high == math.inf:
                share /= max(root, 0.5)
            elif above == math.inf or attempt % 3 == 2:
                share = (low + high) / 2
            else:
                share = low + (1 - below) / (above - below) * (high - low)
    return region


def _sum_of_squares(held: Problem, theta: Array) -> tuple[float, Array]:
    """Return the least sum of squares, in some unit, with what is held, and where that is."""
    with np.errstate(all="ignore"):
        outcome = lowest(held, theta)
    return (math.inf if outcome.quadratic is None else outcome.quadratic.loss), outcome.theta


def _problem_of(result: Result, table: object) -> Problem | None:
    """Return what the fit minimized, of which the sum of squares can be asked anywhere."""
    seen = plot_data(result, table)
    if seen.groups or not result.residual_sum_of_squares:
        return None

    class Asked:
        problem: Problem | None = None

        def begin(self, problem: Problem) -> None:
            self.problem = problem._replace(callback=None, tolerance=REFIT_TOLERANCE)

        def __call__(self, progress: object) -> bool:
            return True

    known, asked = result.estimates.values(), Asked()
    fit(
        formula_of(result), seen.columns, start={name: result[name].value for name in result.free},
        fixed={e.name: e.value for e in known if e.role == "fixed"},
        tied={e.name: e.tie for e in known if e.role == "tied"},
        weights=seen.weights, search=False, trace_every=0, callback=asked,
    )  # fmt: skip
    return asked.problem
