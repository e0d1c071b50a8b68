"""Levenberg-Marquardt from many points at once.

Marquardt's scaling makes the steps independent of units (D. W. Marquardt, SIAM J. Appl. Math. 11
(1963) 431-441); the damping follows H. B. Nielsen, "Damping parameter in Marquardt's method",
report IMM-REP-1999-05, Technical University of Denmark.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from sgdfit.starts.projection import Local

__all__ = ["EXACT", "Polished", "Problem", "polish", "unsettled"]

# After so many steps so many points go on: the best by then.
CUTS = {5: 32, 10: 20, 20: 12, 40: 8}
FIRST_DAMPING, LAST_DAMPING = 1e-3, 1e-9
# A step that promises to lower the sum of squares by less than this share of it is the last.
SETTLED = 1e-13
# Points that are done and whose sums of squares differ by less than this share are in one minimum.
ARRIVED = 1e-9
# The sum of squares, in units of the response's size, that rounding leaves of a perfect fit.
EXACT = 1e-31


class Problem(Protocol):
    """What is polished: a sum of squares of some parameters between bounds."""

    low: np.ndarray
    high: np.ndarray

    def local(self, points: np.ndarray) -> Local:
        """Return the sum of squares around each point."""


class Polished(NamedTuple):
    """Where the points came to.

    Attributes
    ----------
    followed : int64[k]
        Which of the points those are that were followed to the end.
    points : float64[k, q]
    loss : float64[k]
    """

    followed: np.ndarray
    points: np.ndarray
    loss: np.ndarray


class _Flock(NamedTuple):
    """The points on their way, and what is known of each."""

    which: np.ndarray
    points: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray
    damping: np.ndarray
    growth: np.ndarray
    done: np.ndarray

    def some(self, index: np.ndarray) -> _Flock:
        return _Flock(*(array[index] for array in self))


def polish(problem: Problem, points: np.ndarray, steps: int = 100) -> Polished:
    """Follow each point downhill, and give up those that fall behind."""
    at, ones = problem.local(points), np.ones(len(points))
    lost = ~np.isfinite(at.loss)
    index = np.arange(len(points))
    flock = _Flock(index, points.copy(), *at, FIRST_DAMPING * ones, 2.0 * ones, lost)
    for step in range(1, steps + 1):
        if step in CUTS:
            flock = flock.some(_ahead(flock, CUTS[step]))
        going = np.flatnonzero(~flock.done)
        if not going.size:
            break
        for old, new in zip(flock, _moved(problem, flock.some(going)), strict=True):
            old[going] = new
    flock = flock.some(np.isfinite(flock.loss))
    return Polished(flock.which, flock.points, flock.loss)


def unsettled(problem: Problem, points: np.ndarray) -> np.ndarray:
    """Return by what share of the loss a hardly damped step from each point would lower it."""
    at = problem.local(points)
    _, promise = _steps(problem, points, at, np.full(len(points), LAST_DAMPING))
    return np.asarray(promise / np.maximum(at.loss, EXACT))


def by_loss(losses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the points in the order of their loss; where that is equal but for rounding, of size.

    The size of a point is by how many decades its parameters differ from one, in all.
    """
    sizes = np.abs(points)
    decades = np.abs(np.log10(np.where(sizes > 0, sizes, 1.0))).sum(axis=1)
    with np.errstate(divide="ignore"):
        return np.lexsort((decades, np.round(np.log(losses), 9)))


def _ahead(flock: _Flock, most: int) -> np.ndarray:
    """Return which points are best; of those that have arrived in one minimum, the least extreme.

    Where the data do not determine the parameters, that keeps them from running off.
    """
    order = by_loss(flock.loss, flock.points)
    loss = flock.loss[order]
    apart = np.diff(loss, prepend=-np.inf) > ARRIVED * loss
    return np.asarray(order[apart | ~flock.done[order]][:most])


def _moved(problem: Problem, here: _Flock) -> _Flock:
    """Return the points after a step each, or where they were where it leads uphill."""
    at = Local(here.loss, here.gradient, here.curvature)
    move, promise = _steps(problem, here.points, at, here.damping)
    trial = here.points + move
    there = problem.local(trial)
    better = there.loss < here.loss
    eased = np.clip(1.0 - (2.0 * (here.loss - there.loss) / promise - 1.0) ** 3, 0.2, 2.0)
    damping = np.maximum(here.damping * np.where(better, eased, here.growth), 1e-12)
    growth = np.where(better, 2.0, 2.0 * here.growth)
    loss = np.where(better, there.loss, here.loss)
    done = (np.abs(promise) <= SETTLED * here.loss) | (here.damping > 1e14) | (loss <= EXACT)
    row, block = better[:, None], better[:, None, None]
    return _Flock(
        here.which,
        np.where(row, trial, here.points),
        loss,
        np.where(row, there.gradient, here.gradient),
        np.where(block, there.curvature, here.curvature),
        damping,
        growth,
        done,
    )


def _steps(
    problem: Problem, points: np.ndarray, at: Local, damping: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the damped step from each point, and by how much it promises to lower the loss."""
    gradient, curvature = at.gradient, at.curvature
    stuck = (points <= problem.low) & (gradient < 0) | (points >= problem.high) & (gradient > 0)
    size = np.sqrt(np.einsum("kii->ki", curvature))
    size = np.where(size > 0, size, 1.0)
    free = np.where(stuck, 0.0, 1.0 / size)
    scaled = curvature * free[:, :, None] * free[:, None, :]
    diagonal = np.einsum("kii->ki", scaled)
    diagonal += np.where(stuck | (diagonal == 0), 1.0, damping[:, None])
    step = np.linalg.solve(scaled, (gradient * free)[:, :, None])[:, :, 0] * free
    move = np.clip(points + step, problem.low, problem.high) - points
    bent = np.einsum("ki,kij,kj->k", move, curvature, move)
    return move, 2.0 * np.einsum("ki,ki->k", gradient, move) - bent
