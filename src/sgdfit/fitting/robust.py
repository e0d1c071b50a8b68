"""The scale of the residuals that a robust loss is relative to, found together with the estimates.

It is the median absolute residual over 0.6745, which of normal noise is its standard deviation. The
estimates depend on it, and it on them: each is found anew for the other until neither changes
(Huber 1981, Robust Statistics, section 7.8; ``rlm`` of R's MASS), from the estimates of the least
absolute deviations on, which outliers hardly move (Holland & Welsch 1977, Communications in
Statistics A6(9), 813-827). Weights say how much each row scatters (the method ``inv.var`` of rlm):
a residual is large for its row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.infinity import at_infinity
from sgdfit.fitting.kinks import rest_on_rows, settle_kinks
from sgdfit.fitting.multistart import missing, with_starts
from sgdfit.fitting.problem import AUTO_STEPS, Outcome, Problem, merge_runs
from sgdfit.fitting.sampling import FEW
from sgdfit.fitting.steps import minimize_steps
from sgdfit.kernel.summation import PANEL
from sgdfit.model.loss import as_loss
from sgdfit.model.separation import stepped_names
from sgdfit.result.status import StartSearch

Array = np.ndarray[Any, Any]

# The upper quartile of the normal distribution.
QUARTILE = 0.674489750196082
# Residuals of this share of the responses count as rounding errors.
RESIDUAL_ROUNDING = 1e-10
# The first fit ends so near to its minimum, in standard errors of its rows, after so many looks.
NEAR, MOST_LOOKS = 0.1, 60
# The scale is put in until it changes by a smaller share, and at most so often. A count of all rows
# corrects that of a sample, if it is near, but for the square of its error.
SAME, MOST_TIMES, NEARBY = 1e-9, 50, 3e-3
# Textbook descent gets by in its own steps where residuals shrink to this share at most.
SHRUNK = 1e-3
# The share of rows about the scale that tell the density there.
WINDOW = 0.2
COUNTED = "where(abs(prediction - target) <= scale, scale**2, 0)"


def find_with_scale(problem: Problem) -> tuple[Problem, Outcome]:
    """Find the minimum of a loss that is relative to the scale of its residuals, and that scale."""
    problem, theta, search = settle_scale(problem)
    if not problem.steps:
        return problem, walk(problem, theta, problem.sizes[:1])._replace(ending="interrupted")
    stepped = stepped_names(problem.model.prediction).intersection(problem.names)
    searched = search is not None and len(missing(problem.model)) == len(problem.names)
    if (searched or problem.model.formula.levels) and not stepped:
        # Absolute residuals, which need no scale, told minima apart that squares do not.
        problem = problem._replace(model=with_starts(problem.model, theta, "search"))
        outcome = walk(problem, theta, [problem.rows])._replace(search=search)
    else:
        problem, outcome = minimize_steps(problem)
    problem, outcome = _iterated(problem, outcome)
    settled = settle_kinks(problem, outcome)
    if settled is not outcome:
        problem, outcome = _iterated(problem, settled)
        outcome = rest_on_rows(problem, outcome)
    outcome = at_infinity(problem, outcome)
    limit = outcome.limit
    if limit is not None and limit.fitted:
        # The scale is that of the limit's residuals, not of the place before it.
        simpler, found = _iterated(*limit.fitted)
        problem = scaled(problem, simpler.model.loss.scale or 1.0)
        at = walk(problem._replace(callback=None, steps=0), outcome.theta, [problem.rows])
        limit = limit._replace(fitted=(simpler, found))
        outcome = merge_runs(outcome, at)._replace(limit=limit)
    return problem, outcome


def _iterated(problem: Problem, outcome: Outcome) -> tuple[Problem, Outcome]:
    """Find the scale and the minimum in turn, each given the other, until neither changes."""
    for _ in range(MOST_TIMES):
        if outcome.is_called_off or outcome.ending in ("lost", "steps"):
            break
        before, scale = problem.model.loss.scale, _scale_of_all(problem, outcome.theta)
        assert before is not None  # it was settled
        change = abs(scale / before - 1)
        if change <= SAME:
            break
        problem = scaled(problem, scale)
        # So near to the minimum whole steps end nearer to it than those of the nonlinear alone.
        whole = problem._replace(linear=problem.linear[:0])
        outcome = merge_runs(outcome, walk(whole, outcome.theta, [problem.rows]))
        if problem.data.subsample.rows < problem.rows and change <= NEARBY:
            break
    return problem, outcome


def settle_scale(
    problem: Problem, *, far: bool = False
) -> tuple[Problem, np.ndarray, StartSearch | None]:
    """Return the problem with the scale of the rows that samples are drawn from, and its minimum.

    With them comes the search for starts, where these were missing. If Ctrl-C ended that, no step
    is left to take. ``far`` is said of small steps from the start, which would take for ever if the
    residuals there were too large.
    """
    search, data, theta = None, problem.data, problem.box.clip(np.array(problem.model.start))
    least = SHRUNK * scale_at(problem, theta) if far else 0.0
    options = problem.options._replace(optimizer=None)
    if not missing(problem.model):
        options = options._replace(search=False)
    quiet = problem._replace(callback=None, options=options, steps=AUTO_STEPS, looks=MOST_LOOKS)
    try:
        first = quiet.on_rows(data.sample(FEW, problem.seed)).with_loss(as_loss("mae"))
        first = first._replace(kinked=True, tolerance=NEAR, linear=problem.linear[:0])
        outcome = minimize_steps(first)[1]
        theta, search = _finished(outcome), outcome.search
        inner = scaled(quiet.on_rows(data.subsample), scale_at(problem, theta))
        inner, outcome = _iterated(inner, walk(inner, theta, [inner.rows]))
        theta = _finished(outcome)
    except KeyboardInterrupt:
        return scaled(problem, scale_at(problem, theta))._replace(steps=0), theta, search
    return scaled(problem, max(scale_at(inner, theta), least)), theta, search


def _finished(outcome: Outcome) -> np.ndarray:
    if outcome.is_called_off:
        raise KeyboardInterrupt
    return outcome.theta


def scaled(problem: Problem, scale: float) -> Problem:
    """Return the problem with the scale of its residuals."""
    return problem.with_loss(problem.model.loss.scaled(scale))


def scale_at(problem: Problem, theta: np.ndarray) -> float:
    """Return the scale of the residuals of the rows that samples are drawn from."""
    return robust_scale(*_sizes(problem, theta))


def _sizes(problem: Problem, theta: np.ndarray) -> tuple[Array, Array]:
    """Return what `robust_scale` takes, of the rows that samples are drawn from."""
    chunk, sizes, targets = problem.data.subsample, [], []
    for first in range(0, chunk.rows, PANEL):
        part = chunk.part(first, first + PANEL)
        rows = problem.kernel.rows(theta, part)
        sizes.append(rows.sizes(part.weights))
        targets.append(np.broadcast_to(rows.target, part.rows))
    return np.concatenate(sizes), np.concatenate(targets)


def robust_scale(size: Array, target: Array, weights: Array | None = None) -> float:
    """Return the scale of residuals of these sizes; that of the responses without a curve.

    Residuals count by their weights, if there are any. It is above 0, also where all residuals are
    rounding errors.
    """
    scale = median(size, weights) / QUARTILE if np.isfinite(size).all() else math.nan
    if not math.isfinite(scale):
        scale = median(np.abs(target - median(target, weights)), weights) / QUARTILE
    others = np.abs(target[target != 0])
    return max(scale, RESIDUAL_ROUNDING * median(others) if len(others) else 1.0)


def median(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the middle of values, of which each stands for as many as it weighs.

    >>> median(np.array([1.0, 2.0, 9.0]), np.array([1.0, 2.0, 1.0]))
    2.0
    """
    if weights is None:
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    ends = np.searchsorted(share, [0.5 - 1e-12, 0.5 + 1e-12]).clip(0, len(values) - 1)
    return float(values[order[ends]].mean())


def _scale_of_all(problem: Problem, theta: np.ndarray) -> float:
    """Return the scale of the residuals of all rows: of many by a pass that counts the small ones.

    A step of Newton's leads from the share of rows below the scale to one half, with the density
    that a sample has there.
    """
    data, loss = problem.data, problem.model.loss
    if data.subsample.rows == data.rows or loss.scale is None:
        return scale_at(problem, theta)
    size, _ = _sizes(problem, theta)
    reach = QUARTILE * loss.scale
    near = np.abs(size / reach - 1) <= WINDOW
    density = float(near.mean()) / (2 * WINDOW * reach)
    counted = problem.with_loss(as_loss(COUNTED).scaled(reach))
    below = data.sums(counted.kernel, theta).loss / (reach**2 * data.rows)
    found = (reach + (0.5 - below) / density) / QUARTILE if density > 0 else loss.scale
    return found if found > 0 else loss.scale
