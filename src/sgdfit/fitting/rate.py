"""The learning rate: the one asked for, or the one that the curvature at the start allows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from sgdfit.choice import choose, number
from sgdfit.errors import UsageError
from sgdfit.fitting.curvature import steepness
from sgdfit.fitting.population import Population
from sgdfit.inference.diagnosis import Diagnosis, diagnose
from sgdfit.inference.stability import Descent
from sgdfit.kernel.kernel import Sums
from sgdfit.model.model import Model
from sgdfit.optimizers import DEFAULT_RATES, Optimizer
from sgdfit.optimizers.schedule import SCHEDULES, AnySchedule, Schedule, constant, tabulate

__all__ = ["Rates", "decide_rates", "momentum_of"]

# Where the loss has no curvature to go by.
BLIND_RATE = 0.01
# Nearer to the limit the steepest direction hardly shrinks, which the others gain little from.
BELOW_LIMIT = 0.9
# Enough to find the largest rate of a schedule, whose built-in forms are smooth or fall.
RATES_LOOKED_AT = 1_000


class Rates(NamedTuple):
    """The learning rates of a run.

    Attributes
    ----------
    schedule : function of the step
    diagnosis : Diagnosis
        Of the curvature at the start, at the largest of the rates.
    too_fast : bool
        Whether that rate is above the stability limit.
    """

    schedule: AnySchedule
    diagnosis: Diagnosis
    too_fast: bool


def decide_rates(
    model: Model,
    optimizer: Optimizer,
    batch_size: int,
    population: Population,
    first: Sums,
    learning_rate: float | AnySchedule | None,
    schedule: str | AnySchedule | None,
    steps: int,
) -> Rates:
    """Return the schedule, and what the curvature at the start says of it.

    Raises
    ------
    UsageError
        When the rate is not above 0, or both arguments set it.
    """
    rates = _asked_for(learning_rate, schedule, steps)
    if rates is None:
        rate = _default_rate(model, optimizer, batch_size, population, first)
        rates = _scheduled(rate, schedule, steps)
    largest = _largest(rates, steps)
    diagnosis = _diagnosed(model, optimizer, batch_size, first, largest)
    limit = diagnosis.stability_limit
    return Rates(rates, diagnosis, limit is not None and largest > limit)


def _asked_for(
    learning_rate: float | AnySchedule | None,
    schedule: str | AnySchedule | None,
    steps: int,
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


def _scheduled(rate: float, schedule: str | AnySchedule | None, steps: int) -> AnySchedule:
    """Return the schedule that ``schedule`` names; one that needs a length takes the run's."""
    if schedule is None:
        return constant(rate)
    table: dict[str, Callable[..., AnySchedule]] = {
        **SCHEDULES,
        "cosine": partial(SCHEDULES["cosine"], steps=steps),
        "warm_up": partial(SCHEDULES["warm_up"], steps=max(1, steps // 10)),
    }
    return choose(schedule, table, "schedule", rate=rate)  # type: ignore[arg-type]


def _largest(rates: AnySchedule, steps: int) -> float:
    """Return the largest rate of the run; of a user's function, which may be slow, the first."""
    first = float(tabulate(rates, 0, 1)[0])
    if not isinstance(rates, Schedule):
        return first
    looked_at = np.floor(np.linspace(0, steps - 1, min(steps, RATES_LOOKED_AT)))
    return max(first, float(np.nanmax(rates.rates(looked_at, **dict(rates.options)))))


def _default_rate(
    model: Model, optimizer: Optimizer, batch_size: int, population: Population, first: Sums
) -> float:
    """Return the rate when none is given: the optimizer's own, or what the curvature allows.

    A full batch of a quadratic loss takes the fastest rate of all, or nine tenths of its limit.
    Few rows may be steeper than all together: half of the limit there. Where the model is not
    linear its curvature changes on the way, the more so the more a batch leads astray: half of
    that again, or a quarter.
    """
    if optimizer.name not in DEFAULT_RATES:
        raise UsageError(f"the optimizer {optimizer.name!r} has no default; give learning_rate")
    usual = DEFAULT_RATES[optimizer.name]
    if usual is not None:
        return usual
    full = batch_size >= first.rows
    if full and _exact(model):
        found = _diagnosed(model, optimizer, batch_size, first, None)
        if found.fastest_rate is None or found.stability_limit is None:
            return BLIND_RATE
        return min(found.fastest_rate, BELOW_LIMIT * found.stability_limit)
    update, decay = momentum_of(optimizer)
    start = np.array(model.start)
    together, alone = steepness(
        model, start, population.some if population.whole is None else population.whole
    )
    if not update.converges or not together + decay > 0:
        return BLIND_RATE
    single = 0.0 if full else alone * update.gain / (1 - update.momentum) / batch_size
    rate = 1 / (2 / update.limit(together + decay) + single)
    return rate if model.is_linear else rate / 2 if full else rate / 4


def _exact(model: Model) -> bool:
    """Whether the loss is a quadratic of the parameters: its curvature is the same all over."""
    return model.is_linear and not model.bend.free_symbols


def momentum_of(optimizer: Optimizer) -> tuple[Descent, float]:
    """Return the recursion that sgd's momentum and the like make, and its weight decay."""
    chosen = dict(zip(optimizer.option_names, optimizer.options, strict=True))
    momentum, dampening = chosen["momentum"], chosen["dampening"]
    update = Descent(momentum, 1 - dampening if momentum else 1.0, bool(chosen["nesterov"]))
    return update, chosen["weight_decay"]


def _diagnosed(
    model: Model,
    optimizer: Optimizer,
    batch_size: int,
    first: Sums,
    rate: float | None,
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
