"""The optimizer ``auto``: curvature-scaled descent on growing batches, which ends on all rows.

On few rows it is a damped Gauss-Newton method, on many a stochastic one: it walks on a random
sample until what is left to go is a fraction of that sample's own standard errors, then goes on
with a larger one. Only the last passes see every row.

With g and H the derivatives of the summed loss to the p parameters θ, a step δ solves
(H + λD²)δ = −g; `sgdfit.fitting.trust_region` chooses λ. Where δ leads to the minimum of the
quadratic, that lies −gᵀδ/2 lower, and the distance to it in standard errors is √(δᵀHδ/(ps)), where
s is what a row would leave there, for r² twice the variance (Bates & Watts 1981, Technometrics
23(2), 179-183). A batch of n of N rows has standard errors √(N/n) times those of all rows, so that
to go nearer than a tenth of them tells nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.callbacks import CallbackCaller, Progress, StopRequested, ending_of
from sgdfit.fitting.dataset import TrainingData
from sgdfit.fitting.problem import Outcome, Problem, TraceStep
from sgdfit.fitting.sampling import FEW
from sgdfit.fitting.trust_region import Iterate, Point, advance, begin, relative_offset
from sgdfit.inference.quadratic import (
    Quadratic,
    eliminate,
    from_rows,
    from_sums,
    linear_step,
    step_within,
    sum_quadratics,
)
from sgdfit.inference.spectrum import EPS
from sgdfit.kernel.kernel import Chunk, Kernel, Rows

# On a sample, steps end at this share of its standard errors.
SAMPLE_TOLERANCE = 0.1
# More than this many times the mean loss of a sample on more rows is no chance.
MISLED = 1.5
# Steps that leave more than this share of the way are slow.
SLOWLY = 0.1
# What it may cost, in passes through all rows, to measure what bends beyond Gauss and Newton.
BENDING_COST = 0.5
# Singular values of the scaled root that differ more lose too many digits in sums of products.
ILL_CONDITIONED = 3e5
# Where so little of the loss would be left, rounding is all that is left.
PERFECT = 1e-20
# Residuals this small beside the mean one count as if they were this large.
FLOOR = 1e-6
# A loss that bends less than this share of its slope over the residual hardly does.
HARDLY = 1e-4
# Linear parameters are nearly solved when they leave no more than this share of the loss.
SOLVED = 0.001


def walk(problem: Problem, start: np.ndarray, sizes: list[int] | None = None) -> Outcome:
    """Walk from ``start`` through batches of the given sizes, by default growing ones to all rows.

    Ctrl-C ends the walk; what it reached until then is returned.
    """
    run = _GaussNewton(problem, np.asarray(start, dtype=np.float64))
    try:
        with np.errstate(all="ignore"):
            ending = run.take_steps(sizes or problem.sizes)
            if ending == "lost" and run.quadratic is not None:
                # A sample led to where a row that it lacks has no value.
                run.theta, run.quadratic = problem.box.clip(run.start), None
                ending = run.take_steps([problem.rows])
    except (KeyboardInterrupt, StopRequested) as end:
        problem.data.listener = None
        ending = ending_of(end)
        if not run.path or run.path[-1].rows < problem.rows:
            ending = run.cut_short(ending)
    finally:
        problem.data.listener = None
    problem.visits.append(run.sampled[0])
    return Outcome(
        theta=run.theta,
        ending=ending,
        seconds=time.perf_counter() - run.begun,
        quadratic=run.quadratic,
        first=run.first,
        path=tuple(run.path),
        distance=run.distance,
        beyond=run.beyond,
    )


class _GaussNewton:
    """The state of one walk, kept apart from the loop so that an interrupt finds it whole."""

    def __init__(self, problem: Problem, start: np.ndarray) -> None:
        self.problem, self.start, self.theta = problem, start, problem.box.clip(start)
        self.begun = time.perf_counter()
        self.entered = self.theta  # where it began on the last batch
        self.quadratic: Quadratic | None = None
        self.first: Quadratic | None = None
        self.beyond: np.ndarray | None = None
        self.path: list[TraceStep] = []
        self.step, self.looks, self.distance = 0, 0, np.inf
        self.sampled = [0]  # rows of samples that were looked at, each as often as it was
        self.seen_before = problem.data.visited
        self.caller = CallbackCaller(
            problem.callback, problem.options.callback_every or 1, self._progress
        )
        problem.data.listener = self.caller.listener
        # `Quadratic.noise_sum` of a row, from the last batch whose rows were looked at.
        self.noise_sum: float | None = None
        self.ill_conditioned = self.is_slow = False
        # What the curvature of a row has beyond that of Gauss and Newton, once that is asked for.
        self.second_order: np.ndarray | None = None

    def take_steps(self, sizes: list[int]) -> str:
        """Walk through the batches, on each until it has told what it can; return what ended it."""
        problem, ending = self.problem, "arrived"
        for k, size in enumerate(sizes):
            is_last, is_all = k == len(sizes) - 1, size == problem.rows
            target = (problem.tolerance or 0.0) if is_last else SAMPLE_TOLERANCE
            if self.is_slow and is_all:
                self._measure_second_order()
            objective = self._objective(problem.data.batch(size, problem.seed + k))
            point = self._first_point(objective)
            if point is None:
                return "lost"
            self.first, self.entered = self.first or point.quadratic, point.theta
            iterate, before = begin(point), np.inf
            if problem.quadratic:
                iterate = iterate._replace(radius=np.inf)
            while True:
                self._set_current(objective, iterate)
                self.is_slow = self.distance > SLOWLY * before
                if self.distance <= target or iterate.no_decrease:
                    ending = "arrived" if self.distance <= target else "rests"
                    break
                self.looks += is_all
                if self.step >= problem.steps or self.looks > problem.looks:
                    return "steps" if is_last else self.cut_short("steps")
                if self.caller.stops(self.step):
                    return "stopped" if is_last else self.cut_short("stopped")
                ahead = predicted_offset(problem, iterate.point.quadratic, self.distance, before)
                if ahead <= target and self._take_last_step(objective, iterate, ahead):
                    ending = "arrived"
                    break
                if is_all and self.is_slow and self._measure_second_order():
                    objective, point = self._objective(objective.batch), iterate.point
                    reduced = objective.with_second_order(point.quadratic)
                    iterate = begin(point._replace(reduced=reduced))
                before = self.distance
                iterate = advance(iterate, objective.evaluate, problem.box)
                self.step += not iterate.no_decrease
                self.beyond = iterate.beyond
            if objective.by_rows and not is_last:
                quadratic = iterate.point.quadratic
                self.ill_conditioned = condition(quadratic) > ILL_CONDITIONED
                if not problem.squared:
                    self.noise_sum = quadratic.noise_sum / objective.batch.rows
        return ending

    def _first_point(self, objective: Objective) -> Point | None:
        """Return where to begin on a batch: where the last one led, unless that misled.

        A sample may lack the rows that tell a parameter. Then its minimum lies far off, and where
        the walk entered that sample is the better place. A quadratic's minimum is one step away
        from anywhere.
        """
        point, loss = objective.evaluate(self.theta), self.path[-1].loss if self.path else np.inf
        worst = (loss + (MISLED - 1) * abs(loss)) * objective.batch.rows
        if point is not None and (self.problem.quadratic or point.quadratic.loss <= worst):
            return point
        points = [point, *(objective.evaluate(theta) for theta in (self.entered, self.start))]
        found = [other for other in points if other is not None]
        return min(found, key=lambda other: other.quadratic.loss, default=None)

    def _objective(self, batch: Chunk | TrainingData) -> Objective:
        problem, few = self.problem, batch.rows <= FEW
        by_rows = few or self.ill_conditioned or problem.kinked or problem.groups is not None
        linear = problem.linear if few and not problem.quadratic else problem.linear[:0]
        return Objective(
            problem.kernel, batch, linear, self.noise_sum, by_rows, self.second_order, self.sampled
        )

    def _measure_second_order(self) -> bool:
        """Measure on a sample what the Gauss-Newton curvature lacks, where steps turn out slow.

        With large residuals each step leaves a constant share of the way (Dennis & Schnabel 1983,
        Numerical Methods for Unconstrained Optimization, section 10.2). That share is nearly the
        same in a sample, and known, it takes one step to all but end. Residuals that are noise
        bend nothing on average, so that a sample's would mislead: they leave steps quick.
        """
        problem = self.problem
        dense = self.ill_conditioned or problem.kinked or problem.quadratic
        dense = dense or problem.groups is not None
        if dense or self.second_order is not None or problem.rows <= FEW:
            return False
        dear = 2 * len(problem.names)
        rows = min([round(BENDING_COST * problem.rows / dear), *problem.sizes[-2:-1]])
        some = problem.data.sample(rows, problem.seed)
        found = second_order_term(problem.kernel, some, self.theta)
        self.second_order = found if np.isfinite(found).all() else np.zeros_like(found)
        self.sampled[0] += dear * some.rows
        return bool(self.second_order.any())

    def _set_current(self, objective: Objective, iterate: Iterate) -> None:
        """Take down where the walk stands."""
        point, rows = iterate.point, objective.batch.rows
        self.theta, self.quadratic = point.theta, point.quadratic
        self.distance = relative_offset(point.full, point.theta, self.problem.box, rows)
        self._record(point.quadratic, rows, iterate.damping)

    def _record(self, quadratic: Quadratic, rows: int, damping: float) -> None:
        loss, gradient, visited = quadratic.loss / rows, quadratic.gradient / rows, self._visited()
        at = TraceStep(self.step, rows, loss, self.theta, gradient, damping, self.distance, visited)
        self.path.append(at)

    def _visited(self) -> int:
        return self.sampled[0] + self.problem.data.visited - self.seen_before

    def _take_last_step(self, objective: Objective, iterate: Iterate, ahead: float) -> bool:
        """Take the last step without looking where it leads, unless a bound stands in its way."""
        point, box, rows = iterate.point, self.problem.box, objective.batch.rows
        free = box.free_on(point.full, point.theta)
        step = step_within(point.full, point.full.norms, free, np.inf)
        theta, after = box.clip(point.theta + step.move), point.full.after(step.move)
        clipped = not np.array_equal(theta, point.theta + step.move)
        if clipped or not np.array_equal(free, box.free_on(after, theta)):
            return False
        self.step += 1
        self.theta, self.quadratic = theta, after
        if after.root is not point.quadratic.root:
            # Standard errors are of Gauss and Newton's curvature, however the steps were found.
            root, noise_sum = point.quadratic.root, point.quadratic.noise_sum
            self.quadratic = from_sums(after.gradient, root.T @ root, after.loss, noise_sum)
        self.distance = max(ahead, relative_offset(after, theta, box, rows))
        self._record(self.quadratic, rows, 0.0)
        return True

    def cut_short(self, ending: str) -> str:
        """Look at the rows that the result is to speak of: all, if they are in memory."""
        data = self.problem.data
        objective = self._objective(data if data.whole is not None else data.subsample)
        point = objective.evaluate(self.theta)
        if point is None:
            self.quadratic = None
            return "lost"
        # Called off before its first step, a walk has seen no other place.
        self.first = self.first or point.quadratic
        self._set_current(objective, begin(point))
        return ending

    def _progress(self) -> Progress:
        return progress_of(self.problem, self.path, self.theta, self._visited(), self.begun)


def progress_of(
    problem: Problem, path: Sequence[TraceStep], theta: np.ndarray, visited: int, begun: float
) -> Progress:
    """Return what a callback is told of a walk that began at a time and has visited some rows."""
    last = path[-1] if path else None
    return Progress(
        step=last.step if last else 0,
        steps=problem.steps,
        epoch=visited // problem.rows,
        loss=last.loss if last else math.nan,
        parameters=dict(zip(problem.names, map(float, last.theta if last else theta), strict=True)),
        seconds=time.perf_counter() - begun,
        distance=last.distance if last else math.nan,
    )


def predicted_offset(
    problem: Problem, quadratic: Quadratic, distance: float, before: float
) -> float:
    """Return the distance after the next step, infinite where only that step can tell it.

    A quadratic's minimum is one step away, unless rounding makes a second look worth its while.
    Elsewhere each step shrinks the distance at least in the ratio in which the last one did, which
    many rows can take for granted.
    """
    is_second = bool(np.isfinite(before))
    if problem.quadratic:
        perfect = quadratic.least <= PERFECT * abs(quadratic.loss)
        # Beside a start that is many orders of magnitude too large each step gains 16 digits.
        if not perfect and (is_second or condition(quadratic) <= ILL_CONDITIONED):
            return 0.0
    if problem.rows <= FEW or not is_second:
        return math.inf
    return distance * min(1.0, distance / before)


def condition(quadratic: Quadratic) -> float:
    """Return the ratio of the singular values of the scaled root, less columns of zeros."""
    norms = quadratic.norms
    sizes = np.linalg.svd(
        (quadratic.root / np.where(norms > 0, norms, 1.0))[:, norms > 0], compute_uv=False
    )
    return float(sizes[0] / sizes[-1]) if len(sizes) and sizes[-1] > 0 else np.inf


class Objective(NamedTuple):
    """The loss over a batch of rows."""

    kernel: Kernel
    # Far out its values may overflow: evaluate where NumPy does not warn of that.
    batch: Chunk | TrainingData
    linear: np.ndarray  # int[k]: parameters that are solved exactly at every point; or none
    # `Quadratic.noise_sum` of a row, where the sums alone do not tell: other losses than squared
    # residuals. None: they tell.
    noise_sum: float | None
    by_rows: bool  # whether the rows' Jacobian is decomposed
    # float64[p, p]: what the curvature of a row's loss has beyond that of Gauss and Newton, on
    # average.
    second_order: np.ndarray | None
    # Grows by the rows of samples that are looked at; all rows count themselves.
    sampled: list[int]

    def evaluate(self, theta: np.ndarray) -> Point | None:
        """Return the loss around ``theta``; None where it is not finite.

        Linear parameters are moved to where they fit best, unless they nearly are there: what they
        leave is known exactly, and their next step takes it away.
        """
        quadratic, linear = self.quadratic(theta), self.linear
        if quadratic is None:
            return None
        if not len(linear):
            return Point(theta, quadratic, self.with_second_order(quadratic), linear)
        reduced = eliminate(quadratic, linear)
        if quadratic.loss - reduced.loss > SOLVED * reduced.loss:
            theta = theta.copy()
            theta[linear] += linear_step(quadratic, linear)
            quadratic = self.quadratic(theta)
            if quadratic is None:
                return None
            reduced = eliminate(quadratic, linear)
            # Where terms cancel, rounding hides the way of the linear ones: what is left is real.
            if quadratic.loss - reduced.loss > SOLVED * reduced.loss:
                reduced = reduced._replace(loss=quadratic.loss)
        return Point(theta, quadratic, reduced, linear)

    def quadratic(self, theta: np.ndarray) -> Quadratic | None:
        """Return the quadratic at ``theta``; None where it is not finite."""
        batch = self.batch
        if isinstance(batch, Chunk):
            self.sampled[0] += batch.rows
        if self.by_rows:
            chunks = [batch] if isinstance(batch, Chunk) else batch.chunks()
            blocks = (c.part(k, k + FEW) for c in chunks for k in range(0, c.rows, FEW))
            found = sum_quadratics(self._of_rows(theta, block) for block in blocks)
            finite = found.regular or np.isfinite(found.root).all()
            finite = finite and math.isfinite(found.loss + found.least)
            return found.rounded(theta, batch.rows) if finite else None
        if isinstance(batch, Chunk):
            sums = self.kernel.sums(theta, batch)
        else:
            sums = batch.sums(self.kernel, theta)
        if not np.isfinite(sums.loss + sums.gradient.sum() + sums.curvature.sum()):
            return None
        noise_sum = 2 * sums.loss if self.noise_sum is None else self.noise_sum * sums.rows
        return from_sums(sums.gradient, sums.curvature, sums.loss, noise_sum).rounded(
            theta, batch.rows
        )

    def _of_rows(self, theta: np.ndarray, block: Chunk) -> Quadratic:
        rows, weight = self.kernel.rows(theta, block), block.weights
        loss = float(np.add.reduce(rows.loss if weight is None else weight * rows.loss))
        size = max(np.maximum.reduce(np.abs(v)) for v in (rows.prediction, rows.target))
        # One number for all rows is kept as such.
        same = rows.hess.strides == (0,) and rows.hess[0] > 0
        curvature = float(rows.hess[0]) if same else nonnegative_hess(rows)
        linear = self.linear if self.batch.rows <= FEW else None
        return from_rows(rows.jacobian, rows.grad, curvature, weight, loss, linear, size)

    def with_second_order(self, quadratic: Quadratic) -> Quadratic:
        """Return the quadratic with its whole curvature, if that is known and positive."""
        if self.second_order is None:
            return quadratic
        curvature = quadratic.root.T @ quadratic.root + self.batch.rows * self.second_order
        bent = from_sums(quadratic.gradient, curvature, quadratic.loss, quadratic.noise_sum)
        return bent if bent.spectrum.positive.all() else quadratic


def nonnegative_hess(rows: Rows) -> np.ndarray:
    """Return a curvature of each row's loss that is never negative.

    Far out a robust loss bends down or hardly; there the slope over the residual is taken, whose
    quadratic lies above the loss (iteratively reweighted least squares; Holland & Welsch 1977,
    Communications in Statistics A6(9), 813-827). The minimum of one that hardly bends lies so far
    off that sums with it lose their digits.
    """
    residual = rows.prediction - rows.target
    floor = FLOOR * float(np.abs(residual).mean())
    away = np.where(np.abs(residual) > floor, residual, np.copysign(floor, residual))
    secant = np.divide(rows.grad, away, out=np.zeros(len(away)), where=away != 0)
    return np.where(rows.hess > HARDLY * np.abs(secant), rows.hess, np.maximum(secant, 0.0))


def second_order_term(kernel: Kernel, chunk: Chunk, theta: np.ndarray) -> np.ndarray:
    """Return what the curvature of a row's loss has beyond that of Gauss and Newton, on average.

    By central differences of the gradient, float64[p, p].
    """
    here = kernel.sums(theta, chunk)
    norms = np.sqrt(np.diag(here.curvature))
    sizes = np.maximum(np.abs(theta), np.sqrt(abs(here.loss)) / np.where(norms > 0, norms, 1.0))
    found = np.empty_like(here.curvature)
    for i, width in enumerate(np.cbrt(EPS) * sizes):
        aside = np.zeros(len(theta))
        aside[i] = width
        ahead, back = (kernel.sums(theta + s * aside, chunk).gradient for s in (1, -1))
        found[i] = (ahead - back) / (2 * width)
    return np.asarray(((found + found.T) / 2 - here.curvature) / chunk.rows)
