"""The learning rate: the one asked for, or the one that the curvature at the start allows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from sgdfit.choice import choose, number
from sgdfit.diagnosis import Diagnosis, diagnose
from sgdfit.errors import UsageError
from sgdfit.kernel import Sums
from sgdfit.model import Model
from sgdfit.optimizer import DEFAULT_RATES, Optimizer
from sgdfit.schedule import SCHEDULES, AnySchedule, constant, tabulate

__all__ = ["decide_rates"]

# Where the loss has no curvature to go by.
BLIND_RATE = 0.01


def decide_rates(
    model: Model,
    optimizer: Optimizer,
    batch_size: int,
    first: Sums,
    learning_rate: float | AnySchedule | None,
    schedule: str | AnySchedule | None,
    steps: int,
) -> tuple[AnySchedule, Diagnosis]:
    """Return the schedule, and what the curvature at the start says of its first rate.

    Raises
    ------
    UsageError
        When the rate is not above 0, or both arguments set it.
    """
    rates = _asked_for(learning_rate, schedule, steps)
    if rates is None:
        blind = _diagnosed(model, optimizer, batch_size, first, None)
        rate = _default_rate(model, optimizer, batch_size, first, blind)
        rates = _scheduled(rate, schedule if isinstance(schedule, str) else None, steps)
    beginning = float(tabulate(rates, 0, 1)[0])
    return rates, _diagnosed(model, optimizer, batch_size, first, beginning)


def _asked_for(
    learning_rate: float | AnySchedule | None, schedule: str | AnySchedule | None, steps: int
) -> AnySchedule | None:
    """Return the schedule that the arguments set; None where the rate is left to us."""
    if callable(learning_rate):
        if schedule is not None:
            raise UsageError("learning_rate is a function of the step already; leave out schedule")
        return learning_rate
    if callable(schedule):
        if learning_rate is not None:
            raise UsageError(
                "schedule is a function of the step, which sets the rate; leave out"
                f" learning_rate={learning_rate!r}"
            )
        return schedule
    if learning_rate is None:
        return None
    rate = number(learning_rate, "learning_rate")
    if rate <= 0:
        raise UsageError(f"learning_rate is {rate:g}; it must be above 0")
    return _scheduled(rate, schedule, steps)


def _scheduled(rate: float, schedule: str | None, steps: int) -> AnySchedule:
    """Return the schedule that ``schedule`` names; one that needs a length takes the run's."""
    if schedule is None:
        return constant(rate)
    table: dict[str, Callable[..., AnySchedule]] = {
        **SCHEDULES,
        "cosine": partial(SCHEDULES["cosine"], steps=steps),
        "warm_up": partial(SCHEDULES["warm_up"], steps=max(1, steps // 10)),
    }
    return choose(schedule, table, "schedule", rate=rate)


def _default_rate(
    model: Model, optimizer: Optimizer, batch_size: int, first: Sums, found: Diagnosis
) -> float:
    """Return the rate when none is given.

    For sgd the fastest stable one of the curvature at the start (half of that where the model is
    not linear, since the curvature changes on the way); small batches see single rows, whose
    curvature may be a few times the trace of the mean one.
    """
    usual = DEFAULT_RATES[optimizer.name]
    if usual is not None:
        return usual
    if found.fastest_rate is None or found.stability_limit is None:
        return BLIND_RATE
    if batch_size < first.rows:
        noise = 3 * float(np.trace(first.curvature)) / first.weight / batch_size
        return 1 / (2 / found.stability_limit + noise)
    return found.fastest_rate if _exact(model) else found.fastest_rate / 2


def _exact(model: Model) -> bool:
    """Whether the loss is a quadratic of the parameters: its curvature is the same all over."""
    return model.is_linear and not model.bend.free_symbols


def _diagnosed(
    model: Model, optimizer: Optimizer, batch_size: int, first: Sums, rate: float | None
) -> Diagnosis:
    chosen = dict(zip(optimizer.option_names, optimizer.options, strict=True))
    sgd = optimizer.name == "sgd"
    with np.errstate(all="ignore"):
        curvature = first.curvature / first.weight
    return diagnose(
        curvature,
        model.free,
        momentum=chosen["momentum"] if sgd else 0.0,
        dampening=chosen["dampening"] if sgd else 0.0,
        nesterov=bool(chosen["nesterov"]) if sgd else False,
        weight_decay=chosen["weight_decay"] if sgd else 0.0,
        adaptive=not sgd,
        learning_rate=rate,
        batch_size=None if batch_size >= first.rows else batch_size,
        rows=first.rows,
        loss=first.loss / first.weight,
        local=not _exact(model),
    )
