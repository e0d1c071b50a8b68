"""Schedules: functions of the step, counted from 0, that return its learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgdfit.choice import number, spell, whole
from sgdfit.errors import UsageError
from sgdfit.optimizers import rates
from sgdfit.optimizers.rates import AnySchedule, Array, Schedule

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


def constant(rate: float) -> Schedule:
    """Return the schedule of the same rate at each step.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """
    return _schedule("constant", rates.constant, rate=_least_0(rate, "rate", "constant"))


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
    return _schedule("inverse_time", rates.inverse_time, rate=rate, decay=decay)


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
    return _schedule("exponential", rates.exponential, rate=rate, gamma=gamma)


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
    return _schedule("step_decay", rates.step_decay, rate=rate, size=size, gamma=gamma)


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
    return _schedule("cosine", rates.cosine, rate=rate, steps=steps, floor=floor)


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
    return _schedule("warm_up", rates.warm_up, rate=rate, steps=steps, start=share, then=then)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "inverse_time": inverse_time,
    "exponential": exponential,
    "step_decay": step_decay,
    "cosine": cosine,
    "warm_up": warm_up,
}
"""The schedules by name."""


def _schedule(name: str, function: Callable[..., Array], **options: Any) -> Schedule:
    return Schedule(name, tuple(options.items()), function)


def _least_0(value: float, option: str, name: str) -> float:
    result = number(value, f"{option} of {name}")
    if result < 0.0:
        raise UsageError(f"{option} of {name} must be 0 or more, not {value!r}.")
    return result


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
    found = rates.evaluated(schedule, np.arange(first, first + count, dtype=np.float64))
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
    return rates.name_of(schedule)
