"""What a live view draws, as arrays: points, curves, the way so far, contours of the loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.problem import Problem
from sgdfit.formula.evaluation import evaluate
from sgdfit.inference.intervals import confidence_ellipse, region_size
from sgdfit.kernel.numpy_kernel import evaluator
from sgdfit.model.model import Model
from sgdfit.result.result import Result

Array = np.ndarray[Any, Any]

# Points that are drawn; of more rows random ones, always the same.
MOST_POINTS = 5_000
GRID = 240  # points of a curve
MOST_CURVES = 12  # one of each level
WIDE, UP = 160, 100  # places of the density
# Steps of Newton's that pull the curve to a point, each of at most this share of the data's spread.
PULLS, LONGEST_PULL = 4, 0.5
# Of the loss over two parameters: points along each, rows it is computed from, and levels.
ACROSS, ROWS, LEVELS = 61, 2_000, 16
ELLIPSE = 90  # points


class Points(NamedTuple):
    """Rows that are drawn."""

    columns: dict[str, Array]  # of the model, of the rows drawn
    weights: Array | None
    # float64[n]: over what they are drawn, the one variable or, of several, the prediction
    axis: Array | None
    target: Array
    grid: Array | None  # float64[GRID]: where the curve is drawn; None where there is no one axis
    # A curve each: levels, or pairs of levels of several columns, their codes, and each point's.
    levels: tuple[str, ...] = ()
    codes: tuple[dict[str, float], ...] = ({},)
    level: Array | None = None  # float64[n]


def points_of(problem: Problem) -> Points:
    """Return the rows that are drawn."""
    some = problem.data.sample(min(MOST_POINTS, problem.rows), problem.seed)
    columns = problem.model.named(some.columns)
    target = _spread(evaluate(problem.model.formula.response, columns), some.rows)
    levels = problem.model.formula.levels
    variables = [name for name in problem.model.variables if name not in levels]
    own = [columns[name] for name in levels] or [np.zeros(some.rows)]
    found, level = np.unique(np.array(own), axis=1, return_inverse=True)
    if len(variables) != 1 or found.shape[1] > MOST_CURVES:
        return Points(columns, some.weights, None, target, None)
    axis = columns[variables[0]]
    low, high = float(axis.min()), float(axis.max())
    margin = 0.02 * (high - low) or 1.0
    grid = np.linspace(low - margin, high + margin, GRID)
    points = Points(columns, some.weights, axis, target, grid)
    if not levels:
        return points
    codes = tuple(dict(zip(levels, each, strict=True)) for each in found.T.tolist())
    names = (", ".join(levels[name][int(code)] for name, code in at.items()) for at in codes)
    return points._replace(levels=tuple(names), codes=codes, level=level.ravel().astype(float))


def colours(model: Model) -> dict[str, int]:
    """Return which colour each parameter has: that of its level, if one column has levels."""
    levels, families = model.formula.levels, model.formula.families.values()
    if len(levels) != 1:
        return {name: k for k, name in enumerate(model.parameters)}
    (names,) = levels.values()
    own = {name: k for members in families for k, name in enumerate(members)}
    others = itertools.count(len(names))
    return {name: own[name] if name in own else next(others) for name in model.parameters}


def _spread(values: Any, count: int) -> Array:
    return np.array(np.broadcast_to(np.asarray(values, dtype=np.float64), count))


def predictions(model: Model, points: Points, thetas: Sequence[Array]) -> Array:
    """Return the prediction at the points for each of some parameters, float64[k, n]."""
    columns = [points.columns[name] for name in model.variables]
    return _curves(model, thetas, columns)


def curves(model: Model, points: Points, thetas: Sequence[Array]) -> Array:
    """Return the curve on the grid for each of some parameters, float64[k, levels, GRID]."""
    assert points.grid is not None  # there is one variable
    grid = points.grid
    at = [[np.asarray(codes.get(n, grid)) for n in model.variables] for codes in points.codes]
    return np.stack([_curves(model, thetas, columns) for columns in at], axis=1)


def pulled(
    model: Model, points: Points, theta: Array, x: float, y: float, level: int
) -> tuple[Array, Array]:
    """Return parameters whose curve goes through a point, and by how much each moves the curve.

    Each is counted by what it changes at the points, so that what acts here more than elsewhere
    moves most: the height at a peak's top, the intercept where x is 0.
    """
    theta, codes = theta.copy(), points.codes[level]
    at = [np.array([codes.get(name, x)]) for name in model.variables]
    values = evaluator((model.prediction, *model.gradient), model.free, model.variables)
    rows = values(theta[np.newaxis], [points.columns[name] for name in model.variables])[0]
    effect = np.sqrt(np.mean(np.square(rows[1:]), axis=1))
    longest, begun = LONGEST_PULL * float(np.std(points.target)), theta.copy()
    for _ in range(PULLS):
        value, *slopes = values(theta[np.newaxis], at)[0, :, 0].tolist()
        shares = np.divide(slopes, effect, out=np.zeros(len(theta)), where=effect > 0)
        steepness = float(shares @ shares)
        if not 0 < steepness < math.inf:
            break
        change = shares * ((y - value) / steepness)
        change *= min(1.0, longest / float(np.linalg.norm(change) or 1.0))
        theta += np.divide(change, effect, out=np.zeros(len(theta)), where=effect > 0)
    return theta, np.abs(theta - begun) * effect


class Density(NamedTuple):
    """How many rows there are at each place, of those where the points are."""

    view: tuple[float, float, float, float]  # left, right, bottom, top
    counts: Array  # float32[UP, WIDE]


def density(problem: Problem, points: Points) -> Density | None:
    """Count all rows by place, in one pass; None where each is drawn, or there is no one axis."""
    if points.grid is None or problem.rows <= len(points.target):
        return None
    model, counts = problem.model, np.zeros(UP * WIDE, dtype=np.int64)
    (axis,) = (name for name in model.variables if name not in model.formula.levels)
    low, high = float(points.target.min()), float(points.target.max())
    room = 0.1 * (high - low) or 1.0
    view = float(points.grid[0]), float(points.grid[-1]), low - room, high + room
    for chunk in problem.data.chunks():
        columns = model.named(chunk.columns)
        y = _spread(evaluate(model.formula.response, columns), chunk.rows)
        across = np.floor((columns[axis] - view[0]) * (WIDE / (view[1] - view[0])))
        up = np.floor((y - view[2]) * (UP / (view[3] - view[2])))
        inside = (across >= 0) & (across < WIDE) & (up >= 0) & (up < UP)
        place = (up[inside] * WIDE + across[inside]).astype(np.int64)
        counts += np.bincount(place, minlength=UP * WIDE)
    return Density(view, counts.astype(np.float32))


def _curves(model: Model, thetas: Sequence[Array] | Array, columns: Sequence[Array]) -> Array:
    values = evaluator((model.prediction,), model.free, model.variables)
    return values(np.array(thetas, dtype=np.float64), columns)[:, 0]


class Trace:
    """The loss and the parameters at each step, thinned out where they are many."""

    def __init__(self, most: int) -> None:
        self.most, self.every = most, 1
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.thetas: list[Array] = []

    def add(self, step: int, loss: float, theta: Array) -> None:
        """Take down a step; of many every second one is forgotten."""
        if self.steps and step == self.steps[-1]:
            self.cut(step - 1)  # it was moved there since
        elif self.steps and step - self.steps[-1] < self.every:
            return
        self.steps.append(step)
        self.losses.append(loss)
        self.thetas.append(np.array(theta, dtype=np.float64))
        if len(self.steps) > self.most:
            self.every *= 2
            del self.steps[1::2], self.losses[1::2], self.thetas[1::2]

    def cut(self, step: int) -> None:
        """Forget what came after a step."""
        while self.steps and self.steps[-1] > step:
            del self.steps[-1], self.losses[-1], self.thetas[-1]


class Landscape(NamedTuple):
    """The mean loss over two parameters, the others held."""

    x: str
    y: str
    view: tuple[float, float, float, float]  # left, right, bottom, top
    levels: list[float]
    # One line after another, float64[k, 2], and where each begins, with its level.
    lines: Array
    starts: list[int]
    of: list[int]


def landscape(
    problem: Problem,
    theta: Array,
    names: tuple[str, str],
    view: tuple[float, float, float, float],
) -> Generator[None, None, Landscape]:
    """Return contours of the mean loss over two parameters, from some of the rows.

    It yields between the lines of places that it computes, a few milliseconds each.
    """
    from contourpy import contour_generator

    model = problem.model
    some = problem.data.sample(min(ROWS, problem.rows), problem.seed)
    columns = problem.model.named(some.columns)
    left, right, bottom, top = view
    x, y = np.linspace(left, right, ACROSS), np.linspace(bottom, top, ACROSS)
    thetas = np.tile(np.asarray(theta, dtype=np.float64), (ACROSS, 1))
    thetas[:, model.free.index(names[0])] = x
    values = evaluator((model.prediction,), model.free, model.variables)
    rows = [columns[name] for name in model.variables]
    target = _spread(evaluate(model.formula.response, columns), some.rows)
    weights = np.ones(some.rows) if some.weights is None else some.weights
    targets, many = np.tile(target, ACROSS), np.tile(weights, ACROSS)
    loss: Array = np.empty((ACROSS, ACROSS))
    # A line of places at a time, which the cache holds.
    for k in range(ACROSS):
        thetas[:, model.free.index(names[1])] = y[k]
        with np.errstate(all="ignore"):
            predicted = values(thetas, rows)[:, 0].ravel()
            pair = model.loss.values(predicted, targets, None if some.weights is None else many)
            each = _spread(evaluate(model.loss.expression, pair), len(targets))
            loss[k] = np.average(each.reshape(ACROSS, -1), axis=1, weights=weights)
        yield
    levels = log_levels(loss)
    found: list[Array] = []
    starts, of, begun = [], [], 0
    lines = contour_generator(x, y, np.ma.masked_invalid(loss))
    for k, level in enumerate(levels):
        for line in lines.lines(level):
            found.append(line)
            starts.append(begun)
            of.append(k)
            begun += len(line)
    whole = np.concatenate(found) if found else np.zeros((0, 2))
    return Landscape(*names, view, levels, whole, starts, of)


def log_levels(loss: Array) -> list[float]:
    """Return levels whose distance from the least loss grows by the same factor."""
    known = loss[np.isfinite(loss)]
    if not known.size or not known.max() > known.min():
        return []
    low, span = float(known.min()), float(known.max() - known.min())
    return [low + span * 10 ** (-3 * (1 - k / LEVELS)) for k in range(LEVELS)]


def ellipse(result: Result, names: tuple[str, str]) -> Array | None:
    """Return the confidence region of two parameters, float64[k, 2]; None where not known."""
    if any(name not in result.free for name in names):
        return None
    covariance = result.covariance_of(names)
    if not np.isfinite(covariance).all():
        return None
    dof = math.inf if result.absolute_sigma else float(result.degrees_of_freedom)
    centre = np.array([result.estimates[name].value for name in names])
    return confidence_ellipse(covariance, centre, region_size(2, dof, result.level), ELLIPSE)
