"""Newton steps on sums over all rows, for a loss whose kink is counted in a window."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.audience import CalledOff, heard
from sgdfit.fitting.kinks import bandwidth, blur_of, is_continuous, kink_at, likely_distance
from sgdfit.fitting.problem import Course, Problem, Stand
from sgdfit.inference.covariance import relative_offset
from sgdfit.inference.quadratic import Quadratic, from_sums
from sgdfit.inference.steps import step_within
from sgdfit.kernel.kernel import Chunk, Kernel, make
from sgdfit.model.loss import with_window
from sgdfit.model.model import Model
from sgdfit.optimizers import sgd

__all__ = ["View", "Walk", "in_numpy", "view_from"]

# Two or three steps are the rule. Shorter ones than this share of a whole one are lost in jumps.
MOST_PASSES, SHORTEST = 12, 1 / 16
# Points whose distances differ by less than this factor are as near as one another.
SIMILAR = 4.0


class View(NamedTuple):
    """How all rows are looked at.

    Attributes
    ----------
    kernel : Kernel
        Its second derivative of the loss is the jump of the slope over a window about zero.
    scores : float64[p, p]
        Those of all rows, as a sample has them.
    blur : float
        See `sgdfit.fitting.kinks.blur_of`.
    """

    kernel: Kernel
    scores: np.ndarray
    blur: float


def view_from(
    model: Model,
    problem: Problem,
    some: Chunk,
    theta: np.ndarray,
    kernel_of: Callable[[Model], Kernel],
) -> View | None:
    """Return how to look at all rows, as a sample has them; None where no window could count them.

    Parameters
    ----------
    model : Model
    problem : Problem
        Of all rows.
    some : Chunk
        The sample.
    theta : float64[p]
        Where its residuals are looked at.
    kernel_of : function of a model
        Returns the kernel that adds up all rows.
    """
    kink = kink_at(model, problem.kernel, some, theta)
    if not is_continuous(kink):
        return None
    width = bandwidth(kink, problem.rows)
    if not (width > 0 and math.isfinite(width)):
        return None
    # Rounded to a power of the root of 2, so that a compiled kernel serves many fits.
    width = 2.0 ** (round(2 * math.log2(width)) / 2)
    curvature = (kink.above - kink.below) / (2 * width)
    kernel = kernel_of(replace(model, loss=with_window(model.loss, width, curvature)))
    scores = in_numpy(model).scores(theta, some) * (problem.rows / some.rows)
    return View(kernel, scores, blur_of(problem.rows, model))


def in_numpy(model: Model) -> Kernel:
    """Return the kernel that needs no compiling."""
    return make(model, sgd(), "numpy")


class _Lead(NamedTuple):
    """A point that all rows have seen, Newton's step from there, and its distance."""

    theta: np.ndarray
    move: np.ndarray
    distance: float


class Walk:
    """Newton steps on all rows, kept apart from the loop so that an interrupt finds them whole."""

    def __init__(
        self, problem: Problem, view: View, course: Course, before: int, begun: float
    ) -> None:
        self.problem, self.view, self.begun, self.before = problem, view, begun, before
        self.start = course
        self.way = list(course.way)
        self.best: tuple[Stand, Quadratic] | None = None
        self.leads: list[_Lead] = []

    def go(self, astray: float = math.inf) -> Course | None:
        """Walk to the minimum.

        Parameters
        ----------
        astray : float
            From farther away, in standard errors, another sample is the better start.

        Returns
        -------
        Course or None
            None where that is so, and the first pass has taken rows from all over along.
        """
        theta, share = self.start.theta, 1.0
        for _ in range(MOST_PASSES):
            try:
                with heard(self.problem, self._course("")):
                    here = self._look(theta)
            except KeyboardInterrupt:
                return self._course("interrupted")
            except CalledOff:
                return self._course("stopped")
            if self._is_misled(here, astray):
                return None
            is_nearest = self._is_nearest(here)
            if self.best is None:
                return self._course("lost")
            stand, _ = self.best
            if stand.distance <= self.problem.tolerance:
                return self._course("arrived")
            is_near = here is not None and here[0].distance <= SIMILAR * stand.distance
            share = 1.0 if is_nearest or is_near else share / 2
            if share < SHORTEST or not math.isfinite(stand.distance):
                break
            if self.way[-1].step >= self.problem.steps:
                return self._course("steps")
            theta = self._ahead(share)
        return self._course("rests")

    def _look(self, theta: np.ndarray) -> tuple[Stand, Quadratic] | None:
        """Return how all rows see a point; None where the loss is not finite."""
        problem, view = self.problem, self.view
        sums = problem.population.sums(view.kernel, theta)
        if not (math.isfinite(sums.loss) and np.isfinite(sums.gradient).all()):
            return None
        free = problem.box.free(theta, sums.gradient)
        chosen = np.ix_(free, free)
        distance = 0.0
        if free.any():
            curvature, scores = sums.curvature[chosen], view.scores[chosen]
            gradient = sums.gradient[free]
            measured = relative_offset(gradient, curvature, theta[free], 1.0, scores)
            distance = likely_distance(measured, view.blur)
        stand = Stand(
            step=self.way[-1].step + 1 if self.way else 0,
            rows=problem.rows,
            loss=sums.loss / problem.rows,
            theta=theta,
            gradient=sums.gradient / problem.rows,
            damping=0.0,
            distance=distance,
            visited=self.start.visited + problem.population.visited - self.before,
        )
        self.way.append(stand)
        quadratic = from_sums(sums.gradient, sums.curvature, sums.loss, 2 * sums.loss)
        step = step_within(quadratic, quadratic.norms, free, math.inf)
        self.leads.append(_Lead(theta, step.move, distance))
        return stand, quadratic

    def _is_misled(self, here: tuple[Stand, Quadratic] | None, astray: float) -> bool:
        """Whether a sample of few long runs led astray, where rows from all over are known now."""
        if not (self.problem.population.is_scattered and math.isfinite(astray)):
            return False
        return here is None or here[0].distance > astray

    def _is_nearest(self, here: tuple[Stand, Quadratic] | None) -> bool:
        if here is None or (self.best is not None and here[0].distance >= self.best[0].distance):
            return False
        self.best = here
        return True

    def _ahead(self, share: float) -> np.ndarray:
        """Return the next point: where Newton's step leads, or a share of it.

        Near the minimum the chance in the rows between leads each step astray; the mean of where
        steps from several points lead is better than any of them.
        """
        assert self.best is not None  # the caller has looked
        least = self.best[0].distance
        near = [lead for lead in self.leads if lead.distance <= SIMILAR * least]
        if share < 1:
            near = [lead for lead in near if lead.distance == least]
        weights = np.array([1 / lead.distance for lead in near])
        moved = [lead.theta + share * lead.move for lead in near]
        return self.problem.box.clip(np.average(moved, axis=0, weights=weights))

    def _course(self, ending: str) -> Course:
        """Return how the walk went until here."""
        start = self.start
        theta, quadratic, distance = start.theta, start.quadratic, start.distance
        way = tuple(self.way)
        if self.best is not None:
            stand, quadratic = self.best
            theta, distance = stand.theta, stand.distance
            if ending and way[-1].theta is not theta:
                # The last row of a trace is where the run ended.
                way = (*way, stand._replace(step=way[-1].step, visited=way[-1].visited))
        elif ending == "lost":
            quadratic = None
        seconds = time.perf_counter() - self.begun
        return start._replace(
            theta=theta, quadratic=quadratic, distance=distance, ending=ending, way=way,
            seconds=seconds, beyond=None,
        )  # fmt: skip
