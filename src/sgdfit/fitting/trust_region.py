"""Damped Gauss-Newton steps within a trust region, on whatever rows the caller evaluates.

Each step solves (H + λD²)δ = −g with the curvature H of the rows, D from the norms of its columns
and λ such that ‖Dδ‖ stays within a radius Δ, which grows and shrinks by the ratio of the actual to
the predicted decrease (Moré 1978, The Levenberg-Marquardt algorithm, LNM 630, 105-116). Bounds are
kept by projection: a parameter that stands on its bound and is pushed against it is held.

H leaves out the bending of the curve times the residuals, so that near a minimum each whole step is
a constant share of the one before. Where that share has settled and is small, the next is
extrapolated from two of them (Anderson 1965, Journal of the ACM 12, 547-560, with one step
remembered; for one parameter it is the secant method).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sgdfit.inference.covariance import sandwich_offset
from sgdfit.inference.quadratic import (
    LARGEST,
    STEEPEST,
    Quadratic,
    Step,
    linear_step,
    step_within,
)
from sgdfit.inference.spectrum import EPS
from sgdfit.model.model import Model

# Where rounding hides a decrease, a step is taken when the gradient shrinks to this share.
SHRINKS = 0.99
# Nearer to a bound than this share of it is on it.
SNAP = 8 * EPS
# A step is taken when the loss falls by at least this share of what was predicted.
ACCEPTED = 1e-4
# Whole steps shrink evenly when their ratio falls by no more than this from one to the next, and
# they are extrapolated as long as it is no larger than that. Corners of mae shrink them unevenly.
EVENLY, FAST = 0.5, 0.3
# A loss of this share of what blurs it is that of parameters rounded to the nearest number.
EXACT_LOSS = 1 / 16
# A radius so many times shorter than the parameters are long moves none of them.
SHRINKAGES = 200


class Point(NamedTuple):
    """A point and the loss around it."""

    # float64[p]: where linear parameters are solved exactly, not quite the point asked for.
    theta: np.ndarray
    quadratic: Quadratic  # of all parameters
    # Of those that steps are taken in: the same, or without the linear ones, or with a curvature
    # that knows more than that of Gauss and Newton.
    reduced: Quadratic
    linear: np.ndarray  # int[k]: the parameters that are solved exactly

    @property
    def full(self) -> Quadratic:
        """What tells best how the loss goes on in all parameters."""
        return self.quadratic if len(self.linear) else self.reduced

    def followed(self, theta: np.ndarray) -> np.ndarray:
        """Return a point near by, its linear parameters where they should fit best."""
        if not len(self.linear):
            return theta
        theta = theta.copy()
        theta[self.linear] += linear_step(self.quadratic, self.linear, theta - self.theta)
        return theta


@dataclass(frozen=True, eq=False)
class Box:
    """Where the parameters may be."""

    # float64[p]: infinite where there is no bound.
    low: np.ndarray
    high: np.ndarray
    held: np.ndarray  # bool[p]: which parameters stay where they are

    @cached_property
    def is_everywhere(self) -> bool:
        """Whether nothing is held or bounded, as in most fits: then there is nothing to ask."""
        return bool(((self.low == -np.inf) & (self.high == np.inf) & ~self.held).all())

    def clip(self, theta: np.ndarray) -> np.ndarray:
        """Return the nearest point within; what is at a bound but for rounding is set on it."""
        if self.is_everywhere:
            return theta
        room = SNAP * np.abs(theta)
        theta = np.where(theta - room <= self.low, self.low, theta)
        return np.asarray(np.where(theta + room >= self.high, self.high, theta))

    def free(self, theta: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return which parameters may move: those not held, nor pushed against their bound."""
        low = (theta <= self.low) & (gradient >= 0)
        high = (theta >= self.high) & (gradient <= 0)
        return np.asarray(~(self.held | low | high))

    def free_on(self, quadratic: Quadratic, theta: np.ndarray) -> np.ndarray:
        """Return the same where the loss near ``theta`` is known."""
        if self.is_everywhere:
            return np.ones(len(theta), dtype=bool)
        return self.free(theta, quadratic.gradient)


def box_of(model: Model) -> Box:
    """Return the bounds of the free parameters."""
    free = [model.parameters[name] for name in model.free]
    low, high = np.array([p.low for p in free]), np.array([p.high for p in free])
    return Box(low, high, np.zeros(len(free), dtype=bool))


class WholeStep(NamedTuple):
    """A step to the minimum of the quadratic."""

    move: np.ndarray  # δ, float64[p]
    taken: np.ndarray  # float64[p]: the same, or beyond it by what later steps would add
    length: float  # ‖R δ‖
    ratio: float = np.inf  # of that to the last one's; infinite where there was none
    is_even: bool = False  # whether steps have settled on a constant ratio


class Iterate(NamedTuple):
    """Where the steps stand."""

    point: Point
    scales: np.ndarray  # D, float64[p]: the largest norms that the columns of the root have had
    radius: float  # Δ, in units of ‖Dδ‖
    damping: float  # λ of the step that led here, relative to the curvature in scaled units
    no_decrease: bool  # whether no step from here lowers the loss: rounding hides the rest
    # float64[p] or None: the last point tried from here at which the loss was not finite.
    beyond: np.ndarray | None = None
    last: WholeStep | None = None  # the step that led here; None where that was no whole one


def begin(point: Point) -> Iterate:
    """Return the first iterate.

    Δ is as long as the scaled start (Moré 1978, section 4); his factor of 100 throws parameters far
    beyond where the formula means anything.
    """
    scales = point.reduced.norms
    size = math.hypot(*(scales * point.theta).tolist())
    radius = size or math.hypot(*point.reduced.offset.tolist()) or 1.0
    return Iterate(point, scales, radius, 0.0, False)


def advance(iterate: Iterate, evaluate: Callable[[np.ndarray], Point | None], box: Box) -> Iterate:
    """Take one step that lowers the loss, after as many shorter tries as it needs.

    ``evaluate`` returns None where loss or gradient are not finite.
    """
    here, radius, beyond, last = iterate.point, iterate.radius, None, iterate.last
    if 0 <= here.quadratic.loss <= EXACT_LOSS * here.quadratic.rounding:
        return iterate._replace(no_decrease=True)
    free = box.free_on(here.reduced, here.theta)
    free[here.linear] = False  # these follow the others
    for _ in range(SHRINKAGES if np.count_nonzero(free) or len(here.linear) else 0):
        if not radius > 0:
            break
        step = _inwards(iterate, box, free, radius)
        whole = _extrapolated(here.reduced, step, last)
        theta = here.followed(box.clip(here.theta + whole.taken))
        move = theta - here.theta
        if not np.count_nonzero(move):
            break
        predicted = -here.reduced.change(move)
        # Where the others rest on their bounds, the linear ones may still have a way to go.
        if not (predicted > 0 or here.full.change(move) < 0):
            # Cut at a bound, a step may lead upwards; a short enough one does not.
            radius = min(radius, step.length) / 4
            continue
        there = evaluate(theta)
        if there is not None and not _is_in_range(there):
            radius = min(radius, step.length) / 4
            continue
        length = math.hypot(*(iterate.scales * move).tolist())
        if there is not None and _is_lower(here, there, predicted):
            ratio = (here.reduced.loss - there.reduced.loss) / predicted if predicted > 0 else 1.0
            # Moré 1978, section 4.
            if ratio < 0.25:
                radius = length / 4
            elif step.damping == 0:
                radius = max(radius, 2 * length)
            elif ratio > 0.75:
                radius = 2 * length
            scales = np.maximum(iterate.scales, there.reduced.norms)
            settled = whole if step.damping == 0 else None
            return Iterate(there, scales, radius, step.damping, False, last=settled)
        if whole.taken is not step.move:
            last = None
            continue
        beyond = theta if there is None else beyond
        if predicted <= here.reduced.rounding:
            break
        radius = min(radius, length) * (0.25 if there is not None else 0.1)
    return iterate._replace(no_decrease=True, radius=radius, beyond=beyond)


def _is_in_range(point: Point) -> bool:
    """Whether squares of the parameters, and sums of squares of their slopes, are."""
    is_steep = not (point.quadratic.regular or point.quadratic.norms.max() <= STEEPEST)
    return bool(np.abs(point.theta).max() <= LARGEST) and not is_steep


def _extrapolated(quadratic: Quadratic, step: Step, last: WholeStep | None) -> WholeStep:
    """Return how far to go: the step, or beyond it by what those after it would add."""
    move = step.move
    seen = quadratic.root @ move
    length = math.sqrt(float(seen @ seen))
    if last is None or step.damping > 0 or not last.length > 0:
        return WholeStep(move, move, length)
    ratio = length / last.length
    is_even = last.is_even or EVENLY * last.ratio <= ratio <= FAST
    apart = move - last.move
    change = quadratic.root @ apart
    square = float(change @ change)
    if not is_even or ratio > FAST or not square > 0:
        return WholeStep(move, move, length, ratio, is_even)
    share = float(seen @ change) / square
    return WholeStep(move, move - share * (last.taken + apart), length, ratio, True)


def _inwards(iterate: Iterate, box: Box, free: np.ndarray, radius: float) -> Step:
    """Return the step that takes no parameter from its bound outwards."""
    here, theta = iterate.point.reduced, iterate.point.theta
    while np.count_nonzero(free):
        step = step_within(here, iterate.scales, free, radius)
        if box.is_everywhere:
            return step
        low = (theta <= box.low) & (step.move < 0)
        high = (theta >= box.high) & (step.move > 0)
        if not (low | high).any():
            return step
        free = free & ~(low | high)
    return Step(np.zeros(len(theta)), 0.0, 0.0)


def _is_lower(here: Point, there: Point, predicted: float) -> bool:
    """Whether a try is better: by its loss or, where rounding hides that, by its gradient.

    Losses are compared with linear parameters solved; the gradient is that of all parameters.
    """
    before, rounding = here.reduced.loss, here.reduced.rounding
    # A loss that rounding blurs more than it blurs this one is no lower for that.
    after = there.reduced.loss + max(0.0, there.reduced.rounding - rounding)
    if predicted > rounding:
        return before - after >= ACCEPTED * predicted
    if after > before + rounding:
        return False
    # The others may rest on their bounds, where the linear ones still have a way to go.
    if here.quadratic.loss - there.quadratic.loss > here.quadratic.rounding:
        return True
    steep, flat = (math.hypot(*p.quadratic.offset.tolist()) for p in (here, there))
    return flat < SHRINKS * steep


def relative_offset(
    quadratic: Quadratic, theta: np.ndarray, box: Box, rows: int, scores: np.ndarray | None = None
) -> float:
    """Return how far the minimum of a quadratic of so many rows is, in standard errors.

    √(δᵀC⁻¹δ/p) of the step δ there, with the covariance C of the estimates: Bates & Watts 1981,
    Technometrics 23(2), 179-183. Parameters on a bound that holds them back are left out. For
    losses that are no likelihood C is the sandwich H⁻¹SH⁻¹ of the ``scores`` S = Σ w² (∂loss/
    ∂prediction)² J Jᵀ; else it comes from what would be left at the minimum, or misfit would pass
    for noise from afar.
    """
    count, free = len(theta), np.ones(len(theta), dtype=bool)
    if not box.is_everywhere or not quadratic.regular:
        free = box.free_on(quadratic, theta)
        count = int(np.count_nonzero(free))
    if not count:
        return 0.0
    if scores is not None:
        chosen = np.ix_(free, free)
        curvature = (quadratic.root.T @ quadratic.root)[chosen]
        return sandwich_offset(quadratic.gradient[free], curvature, theta[free], scores[chosen])
    if quadratic.regular and count == len(theta):
        left = float(quadratic.offset @ quadratic.offset) / 2
    else:
        step = step_within(quadratic, quadratic.norms, free, np.inf)
        left = max(0.0, -quadratic.change(step.move))
    if left == 0:
        return 0.0
    noise = max(quadratic.noise_sum - 2 * left, quadratic.rounding) / max(1, rows - count)
    return math.sqrt(2 * left / count / noise) if noise > 0 else math.inf
