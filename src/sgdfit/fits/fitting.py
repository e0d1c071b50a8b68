"""`fit`: from a formula and data to a result. It normalises its arguments and calls the loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from sgdfit.choice import switch, whole
from sgdfit.data.readers import open_table
from sgdfit.errors import DivergenceWarning
from sgdfit.fits.arguments import (
    as_batch_size,
    as_callable,
    as_dtype,
    as_kernel,
    as_length,
    as_optimizer,
    as_start,
    as_tolerance,
    callback_interval,
    trace_interval,
)
from sgdfit.fits.assessment import distance_to_optimum
from sgdfit.fits.conclusion import conclude
from sgdfit.fits.descent import Callback, Plan, descend
from sgdfit.fits.landing import is_finite
from sgdfit.fits.rate import Rates, decide_rates
from sgdfit.fits.task import Task, prepare
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.kernels.kernel import Sums, choose_form, make
from sgdfit.language.evaluation import evaluate
from sgdfit.language.formula import Formula
from sgdfit.models.loss import Loss
from sgdfit.models.model import build
from sgdfit.models.parameters import Assignments, Bounds
from sgdfit.optimization.optimizer import Optimizer
from sgdfit.optimization.schedule import AnySchedule
from sgdfit.results.result import Result

__all__ = ["fit"]

# A batch loss beyond this many times the loss at the start, or of predicting nothing, is no
# noise: the run has left.
DIVERGED = 1e10


def fit(
    formula: str | Callable[..., Any] | Formula,
    data: object,
    *,
    response: str | None = None,
    loss: str | Callable[..., Any] | Loss = "mse",
    start: Assignments = None,
    bounds: Bounds = None,
    fixed: Assignments = None,
    tied: Assignments = None,
    weights: str | None = None,
    missing: str = "error",
    optimizer: str | Optimizer = "sgd",
    learning_rate: float | AnySchedule | None = None,
    schedule: str | AnySchedule | None = None,
    batch_size: int | str = "full",
    steps: int | None = None,
    epochs: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    tolerance: float | None = None,
    announce: Callable[[Diagnosis], object] | None = None,
    callback: Callback | None = None,
    callback_every: int | None = None,
    trace_every: int | None = None,
    kernel: str = "auto",
    dtype: str = "float64",
) -> Result:
    """Estimate the parameters of a formula by stochastic gradient descent.

    Parameters
    ----------
    formula : str or callable
        ``"y = a*x**2 + b*x + c"`` (or with ``~``), or a function ``def quad(a, b, c, x)``. Every
        name that is a column of the data is a variable, every other one a parameter.
    data : dict of arrays, data frame, Arrow table, path, …
        See `sgdfit.data.readers`.
    response : str, optional
        The left side, where the formula has none.
    loss : str or callable
        What is averaged over the rows and made small: ``"mse"``, ``"mae"``, ``"huber(delta=2)"``,
        …, a formula of ``prediction`` and ``target``, or a function of these two.
    start : mapping, text or "random"
        Where parameters start: ``{"a": 4}`` or ``"a=4, b=5"``; ``"random"`` draws standard
        normals. A parameter without a start begins at 1.
    bounds, fixed, tied : mapping or text
        ``"0 < b < 10"``, ``"c=3"``, ``"d = 2*a"``.
    weights : str, optional
        A column, or an expression of columns such as ``"1/s**2"``, that weighs the rows.
    missing : "error" or "drop"
        What to do with rows that hold NaN, infinity or nothing.
    optimizer : str or Optimizer
        ``"sgd"``, ``"sgd(momentum=0.9)"``, ``"adam"``, ``"averaged(sgd)"``, …
    learning_rate : float or callable, optional
        Default: for sgd from the curvature at the start, else the optimizer's own.
    schedule : str or callable, optional
        How the learning rate changes: ``"cosine"``, ``"inverse_time(decay=0.01)"``, or a function
        step -> learning rate. Steps count from 0.
    batch_size : int or "full"
        Rows of one step.
    steps, epochs : int, optional
        How long to run; default 1,000 steps.
    shuffle : bool
        Visit the rows in a new order each epoch. A full batch is never shuffled.
    seed : int
        Of the shuffling and of random starts. The same seed gives the same run, bit for bit.
    tolerance : float, optional
        Stop once the remaining distance to the optimum is below this many standard errors,
        looked at once an epoch (of a full batch every 16).
    announce : callable, optional
        Called with the `sgdfit.inference.diagnosis.Diagnosis` before the first step. Without it,
        a learning rate above the stability limit raises a `sgdfit.errors.DivergenceWarning`.
    callback : callable, optional
        Called with `sgdfit.fits.descent.Progress`; a true answer stops the run.
    callback_every : int, optional
        Steps between two calls; default each step of a full batch, else each epoch.
    trace_every : int, optional
        Steps between two rows of the trace; default so that it has at most 10,000. 0: none.
    kernel : "auto", "numpy" or "compiled"
        Which form of the kernel steps; the choice changes the time, not the answer.
    dtype : "float64" or "float32"
        The arithmetic of the steps (sums and errors are always float64).

    Returns
    -------
    Result
        ``print`` it for the report.

    Raises
    ------
    FormulaError, DataError, UsageError
        When the formula, the data or an option cannot be used. A hard problem is no error: the
        result's status says what happened and what to do.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(-2, 2, 20)
    >>> result = fit("y = a*x + b", {"x": x, "y": 3 * x + 1}, learning_rate=0.2, steps=200)
    >>> round(result.estimates["a"].value, 6), result.status.name
    (3.0, 'converged')
    """
    seed = whole(seed, "seed", 0)
    table = open_table(data)
    model = build(
        formula, table.names, response=response, loss=loss,
        start=start, bounds=bounds, fixed=fixed, tied=tied, seed=seed,
    )  # fmt: skip
    task = prepare(model, table, weights, missing)
    rows = task.source.rows
    chosen = as_optimizer(optimizer)
    size = as_batch_size(batch_size, rows)
    length = as_length(steps, epochs, rows, size)
    begin = as_start(model.start, as_dtype(dtype), model.free)
    form = choose_form(as_kernel(kernel, chosen), rows, length, size, begin.dtype)
    made = make(model, chosen, form, weighted=weights is not None)
    first = made.sums(begin.astype(np.float64), task.chunk)
    rates = decide_rates(model, chosen, size, task.chunk, first, learning_rate, schedule, length)
    every, keep = trace_interval(trace_every, length)
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
        shuffle=switch(shuffle, "shuffle") and size < rows,
        seed=seed,
        ceiling=_ceiling(task, first),
        record_every=every,
        keep_trace=keep,
        distance=lambda theta: distance_to_optimum(model, made, task.chunk, theta),
        tolerance=as_tolerance(tolerance),
        callback=as_callable(callback, "callback"),
        callback_every=callback_interval(callback_every, rows, size),
    )
    _announce(rates, as_callable(announce, "announce"))
    return conclude(task, plan, descend(plan, task.chunk), first, rates.diagnosis)


def _announce(rates: Rates, announce: Callable[[Diagnosis], object] | None) -> None:
    """Tell of the diagnosis before the run, at least where it foresees divergence."""
    if announce is not None:
        announce(rates.diagnosis)
    elif rates.too_fast:
        # Shown at the line that called `fit`.
        warnings.warn(rates.diagnosis.notes[0], DivergenceWarning, stacklevel=3)


def _ceiling(task: Task, first: Sums) -> float:
    """Return the batch loss that no noise explains."""
    target = evaluate(task.model.formula.response, task.source.columns)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = float(np.mean(np.square(target), dtype=np.float64))
        ceiling = DIVERGED * (abs(first.loss) / first.weight + scale)
    return ceiling if np.isfinite(ceiling) and ceiling > 0 else float(np.finfo(np.float64).max)
