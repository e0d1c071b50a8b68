"""Learning rates of many steps at once: the arithmetic of schedules."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sgdfit.choice import number
from sgdfit.errors import UsageError

__all__ = [
    "AnySchedule",
    "Array",
    "Schedule",
    "constant",
    "cosine",
    "evaluated",
    "exponential",
    "inverse_time",
    "name_of",
    "step_decay",
    "warm_up",
]

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Schedule:
    """A built-in schedule: called with a step it returns the rate, as a user's function does.

    Attributes
    ----------
    name : str
        Its name in `sgdfit.optimizers.schedule.SCHEDULES`.
    options : tuple of (str, value)
        What the factory of that name was given.
    rates : callable
        ``(steps, **options) -> rates``: many steps at once, float64 in and out.
    """

    name: str
    options: tuple[tuple[str, Any], ...]
    rates: Callable[..., Array]

    def __call__(self, step: int) -> float:
        """Return the learning rate of one step, counted from 0."""
        return float(self.rates(np.array([step], dtype=np.float64), **dict(self.options))[0])


AnySchedule: TypeAlias = Callable[[int], float]


def evaluated(schedule: AnySchedule, steps: Array) -> Array:
    """Return the rates of many steps, without a look at their range.

    Raises
    ------
    UsageError
        When a user's function returns no number.
    """
    if isinstance(schedule, Schedule):
        return schedule.rates(steps, **dict(schedule.options))
    return np.array([_called(schedule, int(step)) for step in steps], dtype=np.float64)


def _called(schedule: AnySchedule, step: int) -> float:
    value = schedule(step)
    try:
        return number(value, "a learning rate")
    except UsageError:
        raise UsageError(
            f"The schedule {name_of(schedule)} returns {value!r} at step {step};"
            " it must return a finite number, 0 or more."
        ) from None


def name_of(function: Callable[..., Any]) -> str:
    """Return what a user's function is called."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return getattr(function, "__name__", type(function).__name__)


def constant(steps: Array, rate: float) -> Array:
    """Return the same rate at all of the steps."""
    return np.full(steps.shape, rate)


def inverse_time(steps: Array, rate: float, decay: float) -> Array:
    """Return ``rate / (1 + decay * step)``."""
    return rate / (1.0 + decay * steps)


def exponential(steps: Array, rate: float, gamma: float) -> Array:
    """Return ``rate * gamma**step``."""
    # What overflows is reported by `tabulate`, with its step.
    with np.errstate(over="ignore", invalid="ignore"):
        return rate * np.power(gamma, steps)


def step_decay(steps: Array, rate: float, size: int, gamma: float) -> Array:
    """Return ``rate * gamma**(step // size)``."""
    return exponential(steps // size, rate, gamma)


def cosine(now: Array, rate: float, steps: int, floor: float) -> Array:
    """Return rates along half a cosine, down and up again."""
    # The remainder keeps the angle exact however many periods have passed.
    angle = np.pi * np.mod(now, 2 * steps) / steps
    return floor + (rate - floor) * (1.0 + np.cos(angle)) / 2.0


def warm_up(now: Array, rate: float, steps: int, start: float, then: AnySchedule | None) -> Array:
    """Return rates that rise evenly, then those of another schedule."""
    found = rate * (start + (1.0 - start) * np.minimum(now, steps) / steps)
    later = now >= steps
    if then is not None and later.any():
        found[later] = evaluated(then, now[later] - steps)
    return found
