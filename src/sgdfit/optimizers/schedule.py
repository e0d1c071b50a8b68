"""Schedules: functions of the step, counted from 0, that return its learning rate.

Each stands as its options, which are a `UsageError` outside their range, and its formula for many
steps at once.
"""

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
    """A built-in schedule: called with a step it returns the rate, as a user's function does."""

    name: str  # in SCHEDULES
    options: tuple[tuple[str, Any], ...]  # what the factory of that name was given
    rates: Callable[[Array], Array] = field(compare=False, repr=False)  # of many steps

    def __call__(self, step: int) -> float:
        """Return the learning rate of one step, counted from 0."""
        return float(self.rates(np.array([step], dtype=np.float64))[0])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what makes it, since its rates are a function within another."""
        return functools.partial(SCHEDULES[self.name], **dict(self.options)), ()


def constant(rate: float) -> Schedule:
    """Return the schedule of the same rate, 0 or more, at each step.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """
    return _schedule("constant", lambda step, rate: np.full(step.shape, rate), **locals())


def inverse_time(rate: float, decay: float) -> Schedule:
    """Return ``rate / (1 + decay * step)`` (Robbins and Monro 1951, Ann. Math. Stat. 22, 400).

    ``rate`` is that of the first step, 0 or more; after ``1 / decay`` steps it has halved.

    Examples
    --------
    >>> inverse_time(0.2, decay=0.01)(100)
    0.1
    """
    return _schedule(
        "inverse_time", lambda step, rate, decay: rate / (1.0 + decay * step), **locals()
    )


def exponential(rate: float, gamma: float) -> Schedule:
    """Return ``rate * gamma**step``, as torch's ExponentialLR; both are 0 or more.

    Examples
    --------
    >>> exponential(0.2, gamma=0.5)(2)
    0.05
    """
    return _schedule("exponential", _decayed, **locals())


def step_decay(rate: float, size: int, gamma: float = 0.1) -> Schedule:
    """Return ``rate * gamma**(step // size)``, as torch's StepLR.

    ``rate`` and ``gamma`` are 0 or more; each rate lasts ``size`` steps, 1 or more.

    Examples
    --------
    >>> tabulate(step_decay(0.2, size=2, gamma=0.5), 0, 5)
    array([0.2 , 0.2 , 0.1 , 0.1 , 0.05])
    """
    return _schedule(
        "step_decay",
        lambda step, rate, size, gamma: _decayed(step // size, rate, gamma),
        **locals(),
    )


def cosine(rate: float, steps: int, floor: float = 0.0) -> Schedule:
    """Fall from ``rate`` to ``floor`` along half a cosine, as torch's CosineAnnealingLR.

    ``floor``, 0 or more, is reached after ``steps``, 1 or more; then the rate rises again, and so
    forth, as torch's does; Loshchilov and Hutter 2017, ICLR, equation 5, without restarts.

    Examples
    --------
    >>> tabulate(cosine(0.2, steps=2), 0, 5).round(3)
    array([0.2, 0.1, 0. , 0.1, 0.2])
    """

    def rates(step: Array, rate: float, steps: int, floor: float) -> Array:
        # The remainder keeps the angle exact however many periods have passed.
        angle = np.pi * np.mod(step, 2 * steps) / steps
        return floor + (rate - floor) * (1.0 + np.cos(angle)) / 2.0

    return _schedule("cosine", rates, rate=rate, steps=steps, floor=floor)


def warm_up(
    rate: float, steps: int, start: float = 1 / 3, then: AnySchedule | None = None
) -> Schedule:
    """Rise evenly from ``start * rate`` to ``rate``, then stay or follow another schedule.

    As torch's LinearLR, followed by ``then`` as in SequentialLR: a schedule whose step is counted
    from 0 again. The rise takes ``steps``, 1 or more; ``start`` is above 0, at most 1.

    Examples
    --------
    >>> tabulate(warm_up(0.4, steps=2, start=0.5, then=exponential(0.4, gamma=0.5)), 0, 4)
    array([0.2, 0.3, 0.4, 0.2])
    """

    def rates(
        step: Array, rate: float, steps: int, start: float, then: AnySchedule | None
    ) -> Array:
        found: Array = rate * (start + (1.0 - start) * np.minimum(step, steps) / steps)
        later = step >= steps
        if then is not None and later.any():
            found[later] = _evaluated(then, step[later] - steps)
        return found

    return _schedule("warm_up", rates, rate=rate, steps=steps, start=start, then=then)


_ALL = (constant, inverse_time, exponential, step_decay, cosine, warm_up)
SCHEDULES: dict[str, Callable[..., Schedule]] = {make.__name__: make for make in _ALL}
"""The schedules by name."""


def _schedule(name: str, rates: Callable[..., Array], **options: Any) -> Schedule:
    """Return the schedule of the formula ``rates``, a function of the steps and the options."""
    checked = {option: _option(value, option, name) for option, value in options.items()}
    return Schedule(name, tuple(checked.items()), functools.partial(rates, **checked))


def _option(value: Any, option: str, name: str) -> Any:
    what = f"{option} of {name}"
    if option in ("size", "steps"):
        return whole(value, what, 1)
    if option == "then":
        if value is not None and not callable(value):
            raise UsageError(
                f"{what} must be a schedule such as cosine(0.1, 100), or a function"
                f" step -> rate, not {value!r}."
            )
        return value
    result = number(value, what)
    if option == "start" and not 0.0 < result <= 1.0:
        raise UsageError(f"{what} must be above 0 and at most 1, not {value!r}.")
    if result < 0.0:
        raise UsageError(f"{what} must be 0 or more, not {value!r}.")
    return result


def _decayed(step: Array, rate: float, gamma: float) -> Array:
    # What overflows is reported by `tabulate`, with its step.
    with np.errstate(over="ignore", invalid="ignore"):
        return rate * np.power(gamma, step)


def tabulate(schedule: AnySchedule, first: int, count: int) -> Array:
    """Return the learning rates of the steps ``first`` to ``first + count - 1``, float64[count].

    The built-in schedules are evaluated at once; any other function is called once a step, with
    a Python int.

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
    """
    if isinstance(schedule, Schedule):
        shown = {k: describe(v) if callable(v) else v for k, v in schedule.options}
        return spell(schedule.name, SCHEDULES[schedule.name], shown)
    while isinstance(schedule, functools.partial):
        schedule = schedule.func
    return str(getattr(schedule, "__name__", type(schedule).__name__))


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
            f"The schedule {describe(schedule)} returns {value!r} at step {step};"
            " it must return a finite number, 0 or more."
        ) from None
