"""How far a walk still is from the minimum, and what is known of where a step leads unseen."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.fitting.growth import FEW
from sgdfit.fitting.problem import Problem
from sgdfit.fitting.trust_region import Box
from sgdfit.inference.quadratic import Quadratic, from_sums
from sgdfit.inference.steps import step_within

__all__ = ["ILL_CONDITIONED", "condition", "foreseen", "led_to", "remaining"]

# Singular values of the scaled root that differ more lose too many digits in sums of products.
ILL_CONDITIONED = 3e5
# Where so little of the loss would be left, rounding is all that is left.
PERFECT = 1e-20


def remaining(quadratic: Quadratic, theta: np.ndarray, box: Box, rows: int) -> float:
    """Return the distance to the quadratic's minimum in standard errors (Bates & Watts 1981).

    The noise is what would be left at the minimum, or misfit would pass for it from afar.
    """
    count = len(theta)
    if not box.is_everywhere or not quadratic.regular:
        free = box.free_on(quadratic, theta)
        count = int(np.count_nonzero(free))
    if quadratic.regular and count == len(theta):
        left = float(quadratic.offset @ quadratic.offset) / 2
    else:
        step = step_within(quadratic, quadratic.norms, free, np.inf)
        left = max(0.0, -quadratic.change(step.move))
    if left == 0 or not count:
        return 0.0
    noise = max(quadratic.spread - 2 * left, quadratic.blur) / max(1, rows - count)
    return math.sqrt(2 * left / count / noise) if noise > 0 else math.inf


def foreseen(
    problem: Problem, quadratic: Quadratic, distance: float, before: float
) -> float | None:
    """Return the distance after the next step, if it can be told without taking it.

    A quadratic's minimum is one step away. Elsewhere each step shrinks the distance at least
    in the ratio in which the last one did, which many rows can take for granted.
    """
    if problem.quadratic and (np.isfinite(before) or not _asks_for_more(quadratic)):
        return 0.0
    if problem.rows <= FEW or not np.isfinite(before):
        return None
    return distance * min(1.0, distance / before)


def _asks_for_more(quadratic: Quadratic) -> bool:
    """Whether rounding makes a second look worth its while, even at a quadratic."""
    perfect = quadratic.least <= PERFECT * abs(quadratic.loss)
    return perfect or condition(quadratic) > ILL_CONDITIONED


def led_to(known: Quadratic, after: Quadratic) -> Quadratic:
    """Return a quadratic as it looks where a step led that another one foresaw."""
    if after.root is known.root:
        return after
    curvature = known.root.T @ known.root
    return from_sums(after.gradient, curvature, after.loss, known.spread)


def condition(quadratic: Quadratic) -> float:
    """Return the ratio of the singular values of the scaled root."""
    norms = quadratic.norms
    sizes = np.linalg.svd(quadratic.root / np.where(norms > 0, norms, 1.0), compute_uv=False)
    return float(sizes[0] / sizes[-1]) if sizes[-1] > 0 else np.inf
