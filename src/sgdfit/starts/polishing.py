"""Levenberg-Marquardt from many points at once.

Marquardt's scaling makes the steps independent of units (D. W. Marquardt, SIAM J. Appl. Math. 11
(1963) 431-441); the damping follows H. B. Nielsen, "Damping parameter in Marquardt's method",
report IMM-REP-1999-05, Technical University of Denmark.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from sgdfit.starts.projection import Local

__all__ = ["Polished", "Problem", "polish"]

# After so many steps so many points go on: the best by then.
CUTS = {5: 32, 10: 20, 20: 12, 40: 8}
FIRST_DAMPING = 1e-3
# A step that promises to lower the sum of squares by less than this share of it is the last.
SETTLED = 1e-13
# Points that are done and whose sums of squares differ by less than this share are in one minimum.
ARRIVED = 1e-9
# The sum of squares, over that of the response, that rounding leaves of a perfect fit.
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


def polish(problem: Problem, points: np.ndarray, steps: int = 100) -> Polished:
    """Follow each point downhill, and give up those that fall behind."""
    index, points = np.arange(len(points)), points.copy()
    at = problem.local(points)
    damping, growth = np.full(len(points), FIRST_DAMPING), np.full(len(points), 2.0)
    done = ~np.isfinite(at.loss)
    for step in range(1, steps + 1):
        if step in CUTS and len(index) > CUTS[step]:
            kept = _ahead(at.loss, done, CUTS[step])
            index, points, damping, growth, done = (
                array[kept] for array in (index, points, damping, growth, done)
            )
            at = Local(*(array[kept] for array in at))
        go = np.flatnonzero(~done)
        if not go.size:
            break
        here = Local(*(array[go] for array in at))
        move, promise = _moves(problem, points[go], here, damping[go])
        trial = points[go] + move
        there = problem.local(trial)
        ratio = (here.loss - there.loss) / promise
        better = there.loss < here.loss
        moved = go[better]
        points[moved] = trial[better]
        for old, new in zip(at, there, strict=True):
            old[moved] = new[better]
        small = np.abs(promise) <= SETTLED * here.loss
        done[go] = small | (damping[go] > 1e14) | (at.loss[go] <= EXACT * len(points))
        gain = np.where(better, np.clip(1.0 - (2.0 * ratio - 1.0) ** 3, 0.2, 2.0), growth[go])
        damping[go] = np.maximum(damping[go] * gain, 1e-12)
        growth[go] = np.where(better, 2.0, growth[go] * 2.0)
    fit = np.isfinite(at.loss)
    return Polished(index[fit], points[fit], at.loss[fit])


def _ahead(loss: np.ndarray, done: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of the least losses; of points that have arrived at one, the first."""
    order = np.argsort(loss, kind="stable")
    apart = np.diff(loss[order], prepend=-np.inf) > ARRIVED * loss[order]
    return np.asarray(order[apart | ~done[order]][:most])


def _moves(
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
