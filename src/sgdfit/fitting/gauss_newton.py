"""The optimizer ``auto``: curvature-scaled descent on growing batches, which ends on all rows.

On few rows it is a damped Gauss-Newton method, on many a stochastic one: it walks on a random
sample until what is left to go is a fraction of that sample's own standard errors, then goes on
with a larger one. Only the last passes see every row.
"""

from __future__ import annotations

import time

import numpy as np

from sgdfit.fitting.audience import Audience, CalledOff, Now
from sgdfit.fitting.foresight import ILL_CONDITIONED, condition, foreseen, led_to, remaining
from sgdfit.fitting.growth import FEW
from sgdfit.fitting.population import Population
from sgdfit.fitting.problem import Course, Problem, Stand
from sgdfit.fitting.surface import Surface, bending
from sgdfit.fitting.trust_region import Iterate, Point, advance, begin
from sgdfit.inference.quadratic import Quadratic
from sgdfit.inference.steps import step_within
from sgdfit.kernel.kernel import Chunk

__all__ = ["walk"]

# On a sample, steps end at this share of its standard errors.
NEAR = 0.1
# More than this many times the mean loss of a sample on more rows is no chance.
MISLED = 1.5
# Steps that leave more than this share of the way are slow.
SLOWLY = 0.1
# What it may cost, in passes through all rows, to measure what bends beyond Gauss and Newton.
BENDING_COST = 0.5


def walk(problem: Problem, start: np.ndarray, sizes: list[int] | None = None) -> Course:
    """Walk from ``start`` through batches of the given sizes, by default growing ones to all rows.

    Ctrl-C ends the walk; what it reached until then is returned.
    """
    begun = time.perf_counter()
    run = _Run(problem, np.asarray(start, dtype=np.float64), begun)
    try:
        with np.errstate(all="ignore"):
            ending = run.go(sizes or problem.sizes)
        if ending == "lost" and run.quadratic is not None:
            ending = run.again_on_all_rows(start)
    except KeyboardInterrupt:
        ending = run.called_off("interrupted")
    except CalledOff:
        ending = run.called_off("stopped")
    finally:
        run.audience.leave()
    seconds = time.perf_counter() - begun
    problem.visits.append(run.sampled)
    return Course(
        run.theta,
        run.quadratic,
        run.first,
        ending,
        tuple(run.way),
        run.distance,
        seconds,
        run.beyond,
    )


class _Run:
    """The state of one walk, kept apart from the loop so that an interrupt finds it whole."""

    def __init__(self, problem: Problem, start: np.ndarray, begun: float) -> None:
        self.problem, self.theta = problem, problem.box.clip(start)
        self.quadratic: Quadratic | None = None
        self.first: Quadratic | None = None
        self.way: list[Stand] = []
        self.step, self.sampled, self.distance = 0, 0, np.inf
        self.seen_before = problem.population.visited
        self.audience = Audience(problem, begun, self._now)
        self.audience.listen()
        # Of a row, from the last batch whose rows were looked at.
        self.spread: float | None = None
        self.ill_conditioned = False
        self.beyond: np.ndarray | None = None
        # Where it began on each batch.
        self.entries: list[np.ndarray] = []
        # What the curvature of a row has beyond that of Gauss and Newton, once that is asked for.
        self.bending: np.ndarray | None = None
        self.is_slow = False
        self.looks = 0

    @property
    def visited(self) -> int:
        """Rows looked at, each as often as it was."""
        return self.sampled + self.problem.population.visited - self.seen_before

    def go(self, sizes: list[int]) -> str:
        """Walk through the batches; return what ended it."""
        ending = "arrived"
        for k, size in enumerate(sizes):
            if self.is_slow and size == self.problem.rows:
                self._learns_to_bend()
            surface = self._surface(self.problem.population.batch(size, self.problem.seed + k))
            point = self._entered(surface)
            if point is None:
                return "lost"
            self.first = self.first or point.quadratic
            self.entries.append(point.theta)
            iterate = begin(point)
            whole = k == len(sizes) - 1
            iterate, ending = self._through(surface, iterate, whole)
            if ending in ("steps", "stopped") and not whole:
                return self._cut_short(ending)
            if ending in ("steps", "stopped"):
                return ending
            if not whole:
                self._remember(surface, iterate)
        return ending

    def _entered(self, surface: Surface) -> Point | None:
        """Return where to begin on a batch: where the last one led, unless that misled.

        A sample may lack the rows that tell a parameter. Then its minimum lies far off, and where
        the walk entered that sample is the better place. A quadratic's minimum is one step away
        from anywhere.
        """
        point = self._seen(surface, self.theta)
        loss = self.way[-1].loss if self.way else np.inf
        worst = loss + (MISLED - 1) * abs(loss)
        led = point is not None and point.quadratic.loss / surface.batch.rows <= worst
        if led or (point is not None and self.problem.quadratic):
            return point
        for theta in reversed(self.entries):
            other = self._seen(surface, theta)
            if other is not None and (point is None or other.quadratic.loss < point.quadratic.loss):
                point = other
        return point

    def _surface(self, batch: Chunk | Population) -> Surface:
        problem = self.problem
        by_rows = batch.rows <= FEW or self.ill_conditioned or problem.kinked
        alone = batch.rows <= FEW and not problem.quadratic
        linear = problem.linear if alone else problem.linear[:0]
        return Surface(problem.kernel, batch, linear, self.spread, by_rows, self.bending)

    def _seen(self, surface: Surface, theta: np.ndarray) -> Point | None:
        point = surface.evaluate(theta)
        again = point is not None and point.theta is not theta
        if not isinstance(surface.batch, Population):  # which counts itself
            self.sampled += surface.batch.rows * (1 + again)
        return point

    def _remember(self, surface: Surface, iterate: Iterate) -> None:
        quadratic = iterate.point.quadratic
        if surface.by_rows:
            self.ill_conditioned = condition(quadratic) > ILL_CONDITIONED
            if not self.problem.squared:
                self.spread = quadratic.spread / surface.batch.rows

    def _through(self, surface: Surface, iterate: Iterate, whole: bool) -> tuple[Iterate, str]:
        """Step on one batch until it has told what it can."""
        problem, before = self.problem, np.inf
        target = problem.tolerance if whole else NEAR
        while True:
            self._stand(surface, iterate)
            self.is_slow = self.distance > SLOWLY * before
            if self.distance <= target or iterate.rests:
                return iterate, "rests" if self.distance > target else "arrived"
            everything = surface.batch.rows == problem.rows
            self.looks += everything
            if self.step >= problem.steps or self.looks > problem.looks:
                return iterate, "steps"
            if self.audience.stops(self.step):
                return iterate, "stopped"
            ahead = foreseen(problem, iterate.point.quadratic, self.distance, before)
            if ahead is not None and ahead <= target:
                return self._leap(surface, iterate, ahead), "arrived"
            if everything and self.is_slow and self._learns_to_bend():
                surface = self._surface(surface.batch)
                iterate = begin(surface.around(iterate.point))
            before = self.distance
            iterate = self._advanced(surface, iterate)
            self.step += not iterate.rests
            self.beyond = iterate.beyond

    def _advanced(self, surface: Surface, iterate: Iterate) -> Iterate:
        return advance(iterate, lambda theta: self._seen(surface, theta), self.problem.box)

    def _learns_to_bend(self) -> bool:
        """Measure on a sample what the Gauss-Newton curvature lacks, where steps turn out slow.

        With large residuals each step leaves a constant share of the way (Dennis & Schnabel 1983,
        Numerical Methods for Unconstrained Optimization, section 10.2). That share is nearly the
        same in a sample, and known, it takes one step to all but end. Residuals that are noise
        bend nothing on average, so that a sample's would mislead: they leave steps quick.
        """
        problem = self.problem
        dense = self.ill_conditioned or problem.kinked or problem.quadratic
        if dense or self.bending is not None or problem.rows <= FEW:
            return False
        dear = 2 * len(problem.names)
        rows = min([round(BENDING_COST * problem.rows / dear), *problem.sizes[-2:-1]])
        some = problem.population.sample(rows, problem.seed)
        self.bending = bending(problem.kernel, some, self.theta)
        self.sampled += dear * some.rows
        if not np.isfinite(self.bending).all():
            self.bending = np.zeros_like(self.bending)
        return bool(self.bending.any())

    def _stand(self, surface: Surface, iterate: Iterate) -> None:
        """Take down where the walk stands."""
        point, rows = iterate.point, surface.batch.rows
        self.theta, self.quadratic = point.theta, point.quadratic
        self.distance = remaining(point.outlook, point.theta, self.problem.box, rows)
        self._record(rows, iterate.damping)

    def _record(self, rows: int, damping: float) -> None:
        assert self.quadratic is not None  # set before every record
        quadratic = self.quadratic
        self.way.append(
            Stand(
                self.step,
                rows,
                quadratic.loss / rows,
                self.theta,
                quadratic.gradient / rows,
                damping,
                self.distance,
                self.visited,
            )
        )

    def _leap(self, surface: Surface, iterate: Iterate, ahead: float) -> Iterate:
        """Take the last step without looking where it leads."""
        point, box = iterate.point, self.problem.box
        outlook = point.outlook
        free = box.free_on(outlook, point.theta)
        step = step_within(outlook, outlook.norms, free, np.inf)
        theta = box.clip(point.theta + step.move)
        after = outlook.after(step.move)
        clipped = not np.array_equal(theta, point.theta + step.move)
        if clipped or not np.array_equal(free, box.free_on(after, theta)):
            return self._bounded(surface, iterate)
        self.step += 1
        # Standard errors are of Gauss and Newton's curvature, however the steps were found.
        self.theta, self.quadratic = theta, led_to(point.quadratic, after)
        measured = remaining(after, theta, box, surface.batch.rows)
        self.distance = max(ahead, measured)
        self._record(surface.batch.rows, 0.0)
        return iterate._replace(point=Point(theta, after, after, point.linear[:0]))

    def _bounded(self, surface: Surface, iterate: Iterate) -> Iterate:
        """Walk to a minimum on the bounds of a known quadratic."""
        quadratic, origin = iterate.point.outlook, iterate.point.theta

        def known(theta: np.ndarray) -> Point:
            there = quadratic.after(theta - origin)
            return Point(theta, there, there, iterate.point.linear[:0])

        while not iterate.rests and self.step < self.problem.steps:
            iterate = advance(iterate, known, self.problem.box)
            self.step += not iterate.rests
            if not iterate.rests:
                self._stand(surface, iterate)
            if self.distance <= self.problem.tolerance:
                break
        return iterate

    def again_on_all_rows(self, start: np.ndarray) -> str:
        """Begin anew where a sample led to a point at which a row that it lacks has no value."""
        self.theta, self.quadratic = self.problem.box.clip(start), None
        return self.go([self.problem.rows])

    def called_off(self, ending: str) -> str:
        """Say what is known of where the walk was interrupted or stopped."""
        self.audience.leave()
        rows = self.way[-1].rows if self.way else 0
        return ending if rows == self.problem.rows else self._cut_short(ending)

    def _cut_short(self, ending: str) -> str:
        """Look at the rows that the result is to speak of: all, if they are in memory."""
        everything = self.problem.population
        surface = self._surface(everything if everything.whole is not None else everything.some)
        point = self._seen(surface, self.theta)
        if point is None:
            self.quadratic = None
            return "lost"
        # Called off before its first step, a walk has seen no other place.
        self.first = self.first or point.quadratic
        self._stand(surface, begin(point))
        return ending

    def _now(self) -> Now:
        stand = self.way[-1] if self.way else None
        theta = self.theta if stand is None else stand.theta
        distance = np.nan if stand is None else stand.distance
        return Now(self.step, self.visited, stand, theta, distance)
