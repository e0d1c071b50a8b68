"""Who hears of the passes that come after a walk, and may call the run off."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

from sgdfit.fits.descent import Progress
from sgdfit.fits.gauss_newton import SECONDS_A_LOOK, CalledOff
from sgdfit.fits.passes import Pass
from sgdfit.fits.problem import Course, Problem

__all__ = ["heard"]


@contextlib.contextmanager
def heard(problem: Problem, course: Course) -> Iterator[None]:
    """Tell the callback of every pass that is made in the block.

    Raises
    ------
    CalledOff
        Where the callback asks for an end.
    """
    callback = problem.callback
    if callback is None:
        yield
        return
    begun, told = time.perf_counter() - course.seconds, 0.0

    def tell(way: Pass) -> None:
        nonlocal told
        done = way.rows == way.of
        if way.seconds - told < SECONDS_A_LOOK and not done:
            return
        told = 0.0 if done else way.seconds
        if callback(_progress(problem, course, time.perf_counter() - begun, way)):
            raise CalledOff

    problem.population.listener = tell
    try:
        yield
    finally:
        problem.population.listener = None


def _progress(problem: Problem, course: Course, seconds: float, way: Pass) -> Progress:
    stand = course.way[-1] if course.way else None
    return Progress(
        0 if stand is None else stand.step,
        problem.steps,
        course.visited // problem.rows,
        math.nan if stand is None else stand.loss,
        dict(zip(problem.names, map(float, course.theta), strict=True)),
        seconds,
        course.distance,
        way,
    )
