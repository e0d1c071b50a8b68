"""What a callback is told of a run, after steps and during passes, and how it ends the run."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sgdfit.fitting.reduce import Pass

if TYPE_CHECKING:
    from sgdfit.fitting.problem import Problem, TraceStep, WalkOutcome


class Progress(NamedTuple):
    """What a callback is told.

    Attributes
    ----------
    step, steps : int
        Steps taken, and to take.
    epoch : int
        Passes through the data completed.
    loss : float
        Loss of the last recorded batch, NaN before the first.
    parameters : dict of str to float
        The free parameters.
    seconds : float
        Time since the start.
    distance : float
        To the optimum of the rows that were last looked at, in standard errors; NaN where unknown.
    reading : Pass or None
        In the middle of a pass through all rows, how far that is.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    parameters: dict[str, float]
    seconds: float
    distance: float = math.nan
    reading: Pass | None = None


Callback = Callable[[Progress], object]


# Seconds between two looks at a pass.
SECONDS_A_LOOK = 0.1


class StopRequested(Exception):  # noqa: N818  # it tells of a wish, not of an error
    """The callback stopped the walk in the middle of a pass."""


class RunState(NamedTuple):
    """Where a run stands."""

    # Steps taken, and rows visited.
    step: int
    visited: int
    stand: TraceStep | None  # the last one, if there is any
    theta: np.ndarray  # float64[p]
    distance: float  # to the optimum, in standard errors


class CallbackCaller:
    """The callback of a run; without one, nobody.

    Parameters
    ----------
    problem : Problem
    begun : float
        When the run began, by `time.perf_counter`.
    now : function
        Tells where the run stands.
    """

    def __init__(self, problem: Problem, begun: float, now: Callable[[], RunState]) -> None:
        self.problem, self.begun, self.now = problem, begun, now
        self.next_call, self.told = problem.callback_every, 0.0

    def listen(self) -> None:
        """Hear of the passes through all rows from here on."""
        population, wanted = self.problem.population, self.problem.callback is not None
        population.listener = self._hear if wanted else None

    def leave(self) -> None:
        """Hear of no further pass."""
        self.problem.population.listener = None

    def stops(self, step: int) -> bool:
        """Tell of a step, where it is time to; return whether it shall be the last."""
        if self.problem.callback is None or step < self.next_call:
            return False
        self.next_call = step + self.problem.callback_every
        return self._tell(None)

    def _hear(self, way: Pass) -> None:
        """Tell of a pass that takes its time."""
        done = way.rows == way.of
        if way.seconds - self.told < SECONDS_A_LOOK and not done:
            return
        self.told = 0.0 if done else way.seconds
        if self._tell(way):
            raise StopRequested

    def _tell(self, way: Pass | None) -> bool:
        problem, now = self.problem, self.now()
        if problem.callback is None:
            return False
        told = Progress(
            now.step,
            problem.steps,
            now.visited // problem.rows,
            math.nan if now.stand is None else now.stand.loss,
            dict(zip(problem.names, map(float, now.theta), strict=True)),
            time.perf_counter() - self.begun,
            now.distance,
            way,
        )
        return bool(problem.callback(told))


@contextlib.contextmanager
def telling_of_passes(problem: Problem, course: WalkOutcome) -> Iterator[None]:
    """Tell the callback of every pass that is made in the block, after a walk."""
    stand = course.way[-1] if course.way else None
    step = 0 if stand is None else stand.step
    now = RunState(step, course.visited, stand, course.theta, course.distance)
    audience = CallbackCaller(problem, time.perf_counter() - course.seconds, lambda: now)
    audience.listen()
    try:
        yield
    finally:
        audience.leave()
