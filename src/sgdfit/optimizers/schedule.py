"""Schedules: functions of the step, counted from 0, that return its learning rate."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sgdfit.choice import number, spell, whole
from sgdfit.errors import UsageError

__all__ = [
    "SCHEDULES",
    "AnySchedule",
    "Schedule",
    "constant",
    "cosine",
    "describe",
    "exponential",
    "inverse_time",
    "step_decay",
    "tabulate",
    "warm_up",
]

Array: TypeAlias = NDArray[np.float64]
AnySchedule: TypeAlias = Callable[[int], float]


@dataclass(frozen=True)
class Schedule:
    """A built-in schedule: called with a step it returns the rate, as a user's function does.

    Attributes
    ----------
    name : str
        Its name in `SCHEDULES`.
    options : tuple of (str, value)
        What the factory of that name was given.
    rates : callable
        Many steps at once, float64 in and out.
    """

    name: str
    options: tuple[tuple[str, Any], ...]
    rates: Callable[[Array], Array] = field(compare=False, repr=False)

    def __call__(self, step: int) -> float:
        """Return the learning rate of one step, counted from 0."""
        return float(self.rates(np.array([step], dtype=np.float64))[0])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what makes it, since its rates are a function within another."""
        return functools.partial(SCHEDULES[self.name], **dict(self.options)), ()


def constant(rate: float) -> Schedule:
    """Return the schedule of the same rate at each step.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """
    rate = _least_0(rate, "rate", "constant")
    return Schedule("constant", (("rate", rate),), lambda step: np.full(step.shape, rate))


def inverse_time(rate: float, decay: float) -> Schedule:
    """Return ``rate / (1 + decay * step)`` (Robbins and Monro 1951, Ann. Math. Stat. 22, 400).

    Parameters
    ----------
    rate : float
        The rate of the first step, 0 or more.
    decay : float
        Per step, 0 or more: after ``1 / decay`` steps the rate has halved.

    Raises
    ------
    UsageError
        When an option is outside its range.

    Examples
    --------
    >>> inverse_time(0.2, decay=0.01)(100)
    0.1
    """
    rate = _least_0(rate, "rate", "inverse_time")
    decay = _least_0(decay, "decay", "inverse_time")
    options = (("rate", rate), ("decay", decay))
    return Schedule("inverse_time", options, lambda step: rate / (1.0 + decay * step))


def exponential(rate: float, gamma: float) -> Schedule:
    """Return ``rate * gamma**step``, as torch's ExponentialLR.

    Parameters
    ----------
    rate : float
        The rate of the first step, 0 or more.
    gamma : float
        The factor from one step to the next, 0 or more.

    Raises
    ------
    UsageError
        When an option is outside its range.

    Examples
    --------
    >>> exponential(0.2, gamma=0.5)(2)
    0.05
    """
    rate = _least_0(rate, "rate", "exponential")
    gamma = _least_0(gamma, "gamma", "exponential")
    options = (("rate", rate), ("gamma", gamma))
    return Schedule("exponential", options, lambda step: _decayed(rate, gamma, step))


def step_decay(rate: float, size: int, gamma: float = 0.1) -> Schedule:
    """Return ``rate * gamma**(step // size)``, as torch's StepLR.

    Parameters
    ----------
    rate : float
        The rate of the first ``size`` steps, 0 or more.
    size : int
        How many steps each rate lasts, 1 or more.
    gamma : float
        The factor from one rate to the next, 0 or more.

    Raises
    ------
    UsageError
        When an option is outside its range.

    Examples
    --------
    >>> tabulate(step_decay(0.2, size=2, gamma=0.5), 0, 5)
    array([0.2 , 0.2 , 0.1 , 0.1 , 0.05])
    """
    rate = _least_0(rate, "rate", "step_decay")
    size = whole(size, "size of step_decay", 1)
    gamma = _least_0(gamma, "gamma", "step_decay")
    options = (("rate", rate), ("size", size), ("gamma", gamma))
    return Schedule("step_decay", options, lambda step: _decayed(rate, gamma, step // size))


def cosine(rate: float, steps: int, floor: float = 0.0) -> Schedule:
    """Fall from ``rate`` to ``floor`` along half a cosine, as torch's CosineAnnealingLR.

    After ``steps`` it rises again, and so forth, as torch's does; Loshchilov and Hutter 2017,
    ICLR, equation 5, without restarts.

    Parameters
    ----------
    rate : float
        The rate of the first step, 0 or more.
    steps : int
        After how many steps ``floor`` is reached, 1 or more.
    floor : float
        The lowest rate, 0 or more.

    Raises
    ------
    UsageError
        When an option is outside its range.

    Examples
    --------
    >>> tabulate(cosine(0.2, steps=2), 0, 5).round(3)
    array([0.2, 0.1, 0. , 0.1, 0.2])
    """
    rate = _least_0(rate, "rate", "cosine")
    steps = whole(steps, "steps of cosine", 1)
    floor = _least_0(floor, "floor", "cosine")

    def rates(step: Array) -> Array:
        # The remainder keeps the angle exact however many periods have passed.
        angle = np.pi * np.mod(step, 2 * steps) / steps
        return floor + (rate - floor) * (1.0 + np.cos(angle)) / 2.0

    return Schedule("cosine", (("rate", rate), ("steps", steps), ("floor", floor)), rates)


def warm_up(
    rate: float, steps: int, start: float = 1 / 3, then: AnySchedule | None = None
) -> Schedule:
    """Rise evenly from ``start * rate`` to ``rate``, then stay or follow another schedule.

    As torch's LinearLR, followed by ``then`` as in SequentialLR.

    Parameters
    ----------
    rate : float
        The rate after the warm-up, 0 or more.
    steps : int
        How many steps the warm-up lasts, 1 or more.
    start : float
        The share of ``rate`` at the first step, above 0, at most 1.
    then : callable, optional
        The schedule that follows, its step counted from 0 again; by default constant.

    Raises
    ------
    UsageError
        When an option is outside its range.

    Examples
    --------
    >>> tabulate(warm_up(0.4, steps=2, start=0.5, then=exponential(0.4, gamma=0.5)), 0, 4)
    array([0.2, 0.3, 0.4, 0.2])
    """
    rate = _least_0(rate, "rate", "warm_up")
    steps = whole(steps, "steps of warm_up", 1)
    share = number(start, "start of warm_up")
    if not 0.0 < share <= 1.0:
        raise UsageError(f"start of warm_up must be above 0 and at most 1, not {start!r}.")
    if then is not None and not callable(then):
        raise UsageError(
            "then of warm_up must be a schedule such as cosine(0.1, 100), or a function"
            f" step -> rate, not {then!r}."
        )

    def rates(step: Array) -> Array:
        found: Array = rate * (share + (1.0 - share) * np.minimum(step, steps) / steps)
        later = step >= steps
        if then is not None and later.any():
            found[later] = _evaluated(then, step[later] - steps)
        return found

    options = (("rate", rate), ("steps", steps), ("start", share), ("then", then))
    return Schedule("warm_up", options, rates)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "inverse_time": inverse_time,
    "exponential": exponential,
    "step_decay": step_decay,
    "cosine": cosine,
    "warm_up": warm_up,
}
"""The schedules by name."""


def _least_0(value: float, option: str, name: str) -> float:
    result = number(value, f"{option} of {name}")
    if result < 0.0:
        raise UsageError(f"{option} of {name} must be 0 or more, not {value!r}.")
    return result


def _decayed(rate: float, gamma: float, step: Array) -> Array:
    # What overflows is reported by `tabulate`, with its step.
    with np.errstate(over="ignore", invalid="ignore"):
        return rate * np.power(gamma, step)


def tabulate(schedule: AnySchedule, first: int, count: int) -> Array:
    """Return the learning rates of the steps ``first`` to ``first + count - 1``.

    The built-in schedules are evaluated at once; any other function is called once a step, with
    a Python int.

    Parameters
    ----------
    schedule : callable
        Step, counted from 0 -> learning rate.
    first : int
        The first step, 0 or more.
    count : int
        How many steps.

    Returns
    -------
    float64[count]
        The rates.

    Raises
    ------
    UsageError
        When a rate is not a number, not finite, or negative; the message names its step.

    Examples
    --------
    >>> tabulate(lambda step: 0.1 if step < 2 else 0.01, 0, 4)
    array([0.1 , 0.1 , 0.01, 0.01])
    """
    if not callable(schedule):
        raise UsageError(
            f"A schedule must be a function step -> rate, not {schedule!r};"
            f" known are {', '.join(SCHEDULES)}."
        )
    found = _evaluated(schedule, np.arange(first, first + count, dtype=np.float64))
    wrong = ~(np.isfinite(found) & (found >= 0.0))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise UsageError(
            f"The schedule {describe(schedule)} gives the learning rate {float(found[at])!r} at"
            f" step {first + at}; rates must be finite and 0 or more."
        )
    return found


def describe(schedule: AnySchedule) -> str:
    """Return a built-in schedule as text that `sgdfit.choice.choose` reads, others by name.

    Examples
    --------
    >>> describe(warm_up(0.2, 10, then=cosine(0.2, 90)))
    'warm_up(rate=0.2, steps=10, then=cosine(rate=0.2, steps=90))'
    >>> def halving(step): return 0.5**step
    >>> describe(halving)
    'halving'
    """
    if isinstance(schedule, Schedule):
        shown = {
            option: describe(value) if callable(value) else value
            for option, value in schedule.options
        }
        return spell(schedule.name, SCHEDULES[schedule.name], shown)
    return _name_of(schedule)


def _evaluated(schedule: AnySchedule, steps: Array) -> Array:
    """Return the rates of many steps, without a look at their range."""
    if isinstance(schedule, Schedule):
        return schedule.rates(steps)
    return np.array([_called(schedule, int(step)) for step in steps], dtype=np.float64)


def _called(schedule: AnySchedule, step: int) -> float:
    value = schedule(step)
    try:
        return number(value, "a learning rate")
    except UsageError:
        raise UsageError(
            f"The schedule {_name_of(schedule)} returns {value!r} at step {step};"
            " it must return a finite number, 0 or more."
        ) from None


def _name_of(function: Callable[..., Any]) -> str:
    if isinstance(function, functools.partial):
        return _name_of(function.func)
    return getattr(function, "__name__", type(function).__name__)
