"""`fit`: from a formula and data to a result. It normalises its arguments and calls the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sgdfit.assessment import distance_to_optimum
from sgdfit.choice import choose, number, whole
from sgdfit.conclusion import conclude
from sgdfit.descent import Callback, Plan, descend
from sgdfit.diagnosis import Diagnosis, diagnose
from sgdfit.errors import DataError, UsageError
from sgdfit.evaluation import evaluate
from sgdfit.formula import Formula
from sgdfit.kernel import Chunk, Kernel, Sums, choose_form, make
from sgdfit.loss import Loss
from sgdfit.model import Model, build
from sgdfit.optimizer import DEFAULT_RATES, OPTIMIZERS, Optimizer
from sgdfit.parameters import Assignments, Bounds
from sgdfit.parsing import parse_expression
from sgdfit.readers import open_table
from sgdfit.result import Result
from sgdfit.schedule import SCHEDULES, AnySchedule, constant
from sgdfit.source import Source

__all__ = ["fit"]

DEFAULT_STEPS = 1_000
TRACE_ROWS = 10_000
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
        See `sgdfit.readers`.
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
        looked at once an epoch.
    callback : callable, optional
        Called with `sgdfit.descent.Progress`; a true answer stops the run.
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
    table = open_table(data)
    model = build(
        formula,
        table.names,
        response=response,
        loss=loss,
        start=start,
        bounds=bounds,
        fixed=fixed,
        tied=tied,
        seed=seed,
    )
    source = table.load([*model.columns, *_weight_columns(weights, table.names)], missing=missing)
    chunk, mean_weight = _chunk(model, source, weights)
    warnings = _checked(model, source)
    options = _Options(
        optimizer=_optimizer(optimizer),
        batch_size=_batch_size(batch_size, source.rows),
        seed=whole(seed, "seed", 0),
        dtype=_dtype(dtype),
    )
    length = _length(steps, epochs, source.rows, options.batch_size)
    form = choose_form(kernel, source.rows, length, options.batch_size, dtype)
    made = make(model, options.optimizer, form, weighted=weights is not None)
    begin = np.array(model.start, dtype=options.dtype)
    first = made.sums(begin.astype(np.float64), chunk)
    rates, diagnosis = _rates(model, options, first, learning_rate, schedule, length)
    plan = Plan(
        kernel=made,
        optimizer=options.optimizer,
        schedule=rates,
        names=model.free,
        start=begin,
        low=np.array([model.parameters[name].low for name in model.free]),
        high=np.array([model.parameters[name].high for name in model.free]),
        batch_size=options.batch_size,
        steps=length,
        shuffle=shuffle and options.batch_size < source.rows,
        seed=options.seed,
        ceiling=_ceiling(model, source, first),
        record_every=_record_every(trace_every, length),
        distance=_distance(model, made, chunk) if tolerance is not None else None,
        tolerance=_tolerance(tolerance),
        callback=callback,
        callback_every=_callback_every(callback_every, source.rows, options.batch_size),
    )
    course = descend(plan, chunk)
    return conclude(
        model, source, chunk, plan, course, diagnosis, first, mean_weight, weights, warnings,
        tolerance,
    )  # fmt: skip


class _Options(NamedTuple):
    optimizer: Optimizer
    batch_size: int
    seed: int
    dtype: np.dtype[Any]


def _optimizer(optimizer: str | Optimizer) -> Optimizer:
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise UsageError(
            f"an optimizer is a name such as 'sgd(momentum=0.9)', not {optimizer!r};"
            f" there are {', '.join(OPTIMIZERS)}"
        )
    return choose(optimizer, OPTIMIZERS, "optimizer")


def _batch_size(batch_size: int | str, rows: int) -> int:
    if batch_size == "full":
        return rows
    if isinstance(batch_size, str):
        if not batch_size.isdecimal():
            raise UsageError(f"batch_size is {batch_size!r}; give a number of rows or 'full'")
        batch_size = int(batch_size)
    return min(whole(batch_size, "batch_size", 1), rows)


def _dtype(dtype: str) -> np.dtype[Any]:
    if dtype not in ("float64", "float32"):
        raise UsageError(f"dtype={dtype!r} is neither 'float64' nor 'float32'")
    return np.dtype(dtype)


def _length(steps: int | None, epochs: int | None, rows: int, batch_size: int) -> int:
    if steps is not None and epochs is not None:
        raise UsageError(f"steps={steps} and epochs={epochs} are two lengths; give one of them")
    if epochs is not None:
        return whole(epochs, "epochs", 1) * -(-rows // batch_size)
    return DEFAULT_STEPS if steps is None else whole(steps, "steps", 1)


def _tolerance(tolerance: float | None) -> float:
    if tolerance is None:
        return 0.0
    value = number(tolerance, "tolerance")
    if value <= 0:
        raise UsageError(f"tolerance is {value:g} standard errors; it must be above 0")
    return value


def _record_every(trace_every: int | None, steps: int) -> int:
    if trace_every is None:
        return -(-steps // TRACE_ROWS)
    return whole(trace_every, "trace_every", 0)


def _callback_every(given: int | None, rows: int, batch_size: int) -> int:
    return -(-rows // batch_size) if given is None else whole(given, "callback_every", 1)


def _weight_columns(weights: str | None, columns: tuple[str, ...]) -> tuple[str, ...]:
    if weights is None:
        return ()
    if not isinstance(weights, str):
        raise UsageError(
            f"weights is {type(weights).__name__}; name a column of the data, or an expression"
            " of columns such as '1/s**2'"
        )
    return parse_expression(weights)[1]


def _chunk(model: Model, source: Source, weights: str | None) -> tuple[Chunk, float]:
    """Return the rows, their weights scaled to a mean of one, and that mean."""
    columns = tuple(source.columns[name] for name in model.columns)
    if weights is None:
        return Chunk(columns, None), 1.0
    values = evaluate(parse_expression(weights)[0], source.columns)
    weight = np.broadcast_to(np.asarray(values, dtype=np.float64), source.rows)
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"the weight '{weights}' is {weight[row]:g} in row {row + 1} of {source.label}"
            f" ({bad.sum():,} such rows); a weight is a finite number, 0 or more"
        )
    mean = float(weight.mean())
    if mean == 0:
        raise DataError(f"every weight '{weights}' of {source.label} is 0; nothing is left to fit")
    return Chunk(columns, weight / mean), mean


def _checked(model: Model, source: Source) -> tuple[str, ...]:
    """Refuse too few rows; warn of columns that do not vary."""
    if source.rows < len(model.free):
        raise DataError(
            f"{source.label} has {source.rows} row(s) for {len(model.free)} free parameters"
            f" ({', '.join(model.free)}); give at least as many rows, or fix some of them"
        )
    return tuple(
        f"the column {name!r} is the same in every row ({source.columns[name][0]:g}), so it"
        " cannot tell parameters apart"
        for name in model.columns
        if source.rows > 1 and np.ptp(source.columns[name]) == 0
    )


def _ceiling(model: Model, source: Source, first: Sums) -> float:
    """Return the batch loss that no noise explains."""
    target = np.asarray(evaluate(model.formula.response, source.columns), dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = float(np.mean(np.square(target)))
        ceiling = DIVERGED * (abs(first.loss) / first.weight + scale)
    return ceiling if np.isfinite(ceiling) and ceiling > 0 else float(np.finfo(np.float64).max)


def _distance(model: Model, kernel: Kernel, chunk: Chunk) -> Callable[[np.ndarray], float]:
    return lambda theta: distance_to_optimum(model, kernel, chunk, theta)


def _rates(
    model: Model,
    options: _Options,
    first: Sums,
    learning_rate: float | AnySchedule | None,
    schedule: str | AnySchedule | None,
    steps: int,
) -> tuple[AnySchedule, Diagnosis]:
    """Return the schedule, and what the curvature at the start says of its first rate."""
    if callable(learning_rate):
        if schedule is not None:
            raise UsageError("learning_rate is a function of the step already; leave out schedule")
        return learning_rate, _diagnosed(model, options, first, _first_rate(learning_rate))
    if callable(schedule):
        if learning_rate is not None:
            raise UsageError(
                f"schedule is a function of the step, which sets the rate; leave out"
                f" learning_rate={learning_rate:g}"
            )
        return schedule, _diagnosed(model, options, first, _first_rate(schedule))
    if learning_rate is None:
        rate = _default_rate(model, options, first)
    else:
        rate = number(learning_rate, "learning_rate")
        if rate <= 0:
            raise UsageError(f"learning_rate is {rate:g}; it must be above 0")
    return _scheduled(rate, schedule, steps), _diagnosed(model, options, first, rate)


def _first_rate(schedule: AnySchedule) -> float:
    from sgdfit.schedule import tabulate

    return float(tabulate(schedule, 0, 1)[0])


def _scheduled(rate: float, schedule: str | None, steps: int) -> AnySchedule:
    """Return the schedule that ``schedule`` names; one that needs a length takes the run's."""
    from functools import partial

    if schedule is None:
        return constant(rate)
    table = {
        **SCHEDULES,
        "cosine": partial(SCHEDULES["cosine"], steps=steps),
        "warm_up": partial(SCHEDULES["warm_up"], steps=max(1, steps // 10)),
    }
    return choose(schedule, table, "schedule", rate=rate)


def _default_rate(model: Model, options: _Options, first: Sums) -> float:
    """Return the rate when none is given.

    For sgd the fastest stable one of the curvature at the start (half of that where the model is
    not linear, since the curvature changes on the way); small batches see single rows, whose
    curvature may be a few times the trace of the mean one.
    """
    usual = DEFAULT_RATES[options.optimizer.name]
    if usual is not None:
        return usual
    found = _diagnosed(model, options, first, None)
    if found.fastest_rate is None or found.stability_limit is None:
        return 0.01
    curvature = first.curvature / first.weight
    largest = 2 / found.stability_limit
    if options.batch_size < first.rows:
        noise = 3 * float(np.trace(curvature)) / options.batch_size
        return 1 / (largest + noise)
    return found.fastest_rate if _exact(model) else found.fastest_rate / 2


def _exact(model: Model) -> bool:
    """Whether the loss is a quadratic of the parameters, so that its curvature is the same all over."""
    return model.is_linear and not model.bend.free_symbols


def _diagnosed(model: Model, options: _Options, first: Sums, rate: float | None) -> Diagnosis:
    chosen = dict(zip(options.optimizer.option_names, options.optimizer.options, strict=True))
    sgd = options.optimizer.name == "sgd"
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
        batch_size=None if options.batch_size >= first.rows else options.batch_size,
        rows=first.rows,
        loss=first.loss / first.weight,
        local=not _exact(model),
    )
