"""Textbook stochastic gradient descent: a run fully decided by what the user asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sgdfit.choice import switch
from sgdfit.errors import DivergenceWarning
from sgdfit.fitting.arguments import (
    as_batch_size,
    as_callable,
    as_dtype,
    as_kernel,
    as_length,
    as_start,
    as_tolerance,
    callback_interval,
    trace_interval,
)
from sgdfit.fitting.assessment import distance_to_optimum
from sgdfit.fitting.conclusion import conclude
from sgdfit.fitting.descent import Callback, Plan, descend
from sgdfit.fitting.landing import is_finite
from sgdfit.fitting.rate import Rates, decide_rates
from sgdfit.fitting.task import Task, examined
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.kernel.kernel import Sums, choose_form, make
from sgdfit.optimizers import Optimizer
from sgdfit.optimizers.schedule import AnySchedule
from sgdfit.result.result import Result

__all__ = ["Options", "run_textbook"]

# A batch loss beyond this many times the loss at the start, or of predicting nothing, is no
# noise: the run has left.
DIVERGED = 1e10


class Options(NamedTuple):
    """The options of `sgdfit.fit` that textbook descent has, as the user wrote them."""

    optimizer: Optimizer
    learning_rate: float | AnySchedule | None
    schedule: str | AnySchedule | None
    batch_size: int | str | None
    steps: int | None
    epochs: int | None
    shuffle: bool
    seed: int
    tolerance: float | None
    announce: Callable[[Diagnosis], object] | None
    callback: Callback | None
    callback_every: int | None
    trace_every: int | None
    kernel: str
    dtype: str


def run_textbook(task: Task, asked: Options) -> Result:
    """Settle the options, run the loop, and say what came of it."""
    model, rows, chosen = task.model, task.population.rows, asked.optimizer
    size = as_batch_size("full" if asked.batch_size is None else asked.batch_size, rows)
    length = as_length(asked.steps, asked.epochs, rows, size)
    begin = as_start(model.start, as_dtype(asked.dtype), model.free)
    form = choose_form(as_kernel(asked.kernel, chosen), rows, length, size, begin.dtype)
    made = make(model, chosen, form, weighted=task.population.weighted)
    first = task.population.sums(made, begin.astype(np.float64))
    task = examined(task)
    rates = decide_rates(
        model, chosen, size, task.population, first, asked.learning_rate, asked.schedule, length
    )
    every, keep = trace_interval(asked.trace_every, length)
    plan = Plan(
        kernel=made,
        optimizer=chosen,
        schedule=rates.schedule,
        names=model.free,
        start=begin,
        low=np.array([model.parameters[name].low for name in model.free]),
        high=np.array([model.parameters[name].high for name in model.free]),
        batch_size=size,
        # Without a finite gradient there is nowhere to step; the conclusion says why.
        steps=length if is_finite(first) else 0,
        shuffle=switch(asked.shuffle, "shuffle") and size < rows,
        seed=asked.seed,
        ceiling=_ceiling(task, first),
        record_every=every,
        keep_trace=keep,
        distance=lambda theta: distance_to_optimum(task, made, theta),
        tolerance=as_tolerance(asked.tolerance),
        callback=as_callable(asked.callback, "callback"),
        callback_every=callback_interval(asked.callback_every, rows, size),
    )
    _announce(rates, as_callable(asked.announce, "announce"))
    course = descend(plan, task.population)
    try:
        return conclude(task, plan, course, first, rates.diagnosis)
    except KeyboardInterrupt:
        if task.population.whole is None:
            task = task.of_sample("the loss, the distance and the standard errors")
        course = course._replace(ending="interrupted")
        return conclude(task, plan, course, first, rates.diagnosis)


def _announce(rates: Rates, announce: Callable[[Diagnosis], object] | None) -> None:
    """Tell of the diagnosis before the run, at least where it foresees divergence."""
    if announce is not None:
        announce(rates.diagnosis)
    elif rates.too_fast:
        # Shown at the line that called `fit`.
        warnings.warn(rates.diagnosis.notes[0], DivergenceWarning, stacklevel=4)


def _ceiling(task: Task, first: Sums) -> float:
    """Return the batch loss that no noise explains."""
    seen, rows = task.population.survey, task.population.rows
    with np.errstate(over="ignore", invalid="ignore"):
        scale = (seen.second + 2 * seen.about * seen.first) / rows + seen.about**2
        ceiling = DIVERGED * (abs(first.loss) / first.weight + scale)
    return ceiling if np.isfinite(ceiling) and ceiling > 0 else float(np.finfo(np.float64).max)
