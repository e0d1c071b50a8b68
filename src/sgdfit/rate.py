"""The learning rate: the one asked for, or the one that the curvature at the start allows."""

from __future__ import annotations

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
    """Return the schedule, and what the curvature at the start says of its first rate."""
    if callable(learning_rate):
        if schedule is not None:
            raise UsageError("learning_rate is a function of the step already; leave out schedule")
        return learning_rate, _diagnosed(
            model, optimizer, batch_size, first, _first_rate(learning_rate)
        )
    if callable(schedule):
        if learning_rate is not None:
            raise UsageError(
                f"schedule is a function of the step, which sets the rate; leave out"
                f" learning_rate={learning_rate:g}"
            )
        return schedule, _diagnosed(model, optimizer, batch_size, first, _first_rate(schedule))
    if learning_rate is None:
        rate = _default_rate(model, optimizer, batch_size, first)
    else:
        rate = number(learning_rate, "learning_rate")
        if rate <= 0:
            raise UsageError(f"learning_rate is {rate:g}; it must be above 0")
    return _scheduled(rate, schedule, steps), _diagnosed(model, optimizer, batch_size, first, rate)


def _first_rate(schedule: AnySchedule) -> float:
    return float(tabulate(schedule, 0, 1)[0])


def _scheduled(rate: float, schedule: str | None, steps: int) -> AnySchedule:
    """Return the schedule that ``schedule`` names; one that needs a length takes the run's."""
    if schedule is None:
        return constant(rate)
    table = {
        **SCHEDULES,
        "cosine": partial(SCHEDULES["cosine"], steps=steps),
        "warm_up": partial(SCHEDULES["warm_up"], steps=max(1, steps // 10)),
    }
    return choose(schedule, table, "schedule", rate=rate)


def _default_rate(model: Model, optimizer: Optimizer, batch_size: int, first: Sums) -> float:
    """Return the rate when none is given.

    For sgd the fastest stable one of the curvature at the start (half of that where the model is
    not linear, since the curvature changes on the way); small batches see single rows, whose
    curvature may be a few times the trace of the mean one.
    """
    usual = DEFAULT_RATES[optimizer.name]
    if usual is not None:
        return usual
    found = _diagnosed(model, optimizer, batch_size, first, None)
    if found.fastest_rate is None or found.stability_limit is None:
        return BLIND_RATE
    curvature = first.curvature / first.weight
    largest = 2 / found.stability_limit
    if batch_size < first.rows:
        noise = 3 * float(np.trace(curvature)) / batch_size
        return 1 / (largest + noise)
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
