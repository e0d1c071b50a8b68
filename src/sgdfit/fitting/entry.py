"""`fit` and `explain`: where a formula and data come in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.checkpoint.atomic import refuse_inputs
from sgdfit.choice import switch
from sgdfit.data.datasets import fingerprint_of
from sgdfit.data.groups import find_levels
from sgdfit.data.readers import open_table
from sgdfit.data.rows import timed
from sgdfit.data.table import Table, check_policy
from sgdfit.data.times import TimeScales, as_time_unit
from sgdfit.errors import CheckpointError, UsageError, did_you_mean
from sgdfit.fitting.arrowhead import common_model, groups_of, minimize_groups, with_groups
from sgdfit.fitting.assessment import assess
from sgdfit.fitting.callbacks import Callback
from sgdfit.fitting.cluster import cluster_for
from sgdfit.fitting.multistart import find_minimum, search_starts, searches
from sgdfit.fitting.nonsmooth import find_from_sums, load_all_rows, takes_sums
from sgdfit.fitting.options import (
    AUTO,
    Resources,
    as_resources,
    check_with_model,
    identity_of,
    settle,
)
from sgdfit.fitting.problem import Outcome, Problem, prepare
from sgdfit.fitting.robust import find_with_scale, scale_at, scaled, settle_scale
from sgdfit.fitting.sgd import descend
from sgdfit.fitting.steps import minimize_steps
from sgdfit.fitting.weights import (
    Weighting,
    as_expression,
    as_weighting,
    columns_of,
    deviations,
    is_array,
    is_matrix,
    with_column,
)
from sgdfit.formula.formula import Formula
from sgdfit.formula.reading import as_formula
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.model.loss import Loss
from sgdfit.model.model import build, with_subscripts
from sgdfit.model.parameters import Assignments, Bounds
from sgdfit.model.separation import stepped_names
from sgdfit.optimizers import Optimizer
from sgdfit.optimizers.schedule import AnySchedule
from sgdfit.result.result import Result

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from sgdfit.derivation.derivation import Derivation

# Statuses of runs that can go on from a checkpoint.
CUT_SHORT = ("interrupted", "stopped")


def fit(
    formula: str | Callable[..., Any] | Formula,
    data: object,
    *others: object,
    start: Assignments = None,
    bounds: Bounds = None,
    fixed: Assignments = None,
    sigma: str | ArrayLike | None = None,
    absolute_sigma: bool = False,
    loss: str | Callable[..., Any] | Loss = "mse",
    where: str | None = None,
    response: str | None = None,
    jacobian: Callable[..., Any] | None = None,
    constant: bool = False,
    tied: Assignments = None,
    weights: str | ArrayLike | None = None,
    covariance: str = "auto",
    intervals: str = "wald",
    bootstrap: int | str | None = None,
    level: float = 0.95,
    missing: str = "error",
    time_unit: str | None = None,
    optimizer: str | Optimizer | None = None,
    learning_rate: float | AnySchedule | None = None,
    schedule: str | AnySchedule | None = None,
    batch_size: int | str | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    tolerance: float | None = None,
    search: bool | None = None,
    announce: Callable[[Diagnosis], object] | None = None,
    callback: Callback | None = None,
    callback_every: int | None = None,
    trace_every: int | None = None,
    kernel: str = "auto",
    device: str = "cpu",
    dtype: str = "float64",
    memory: int | str | None = None,
    threads: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    cluster: object = None,
    tell: Callable[[str], object] | None = None,
) -> Result:
    """Estimate the parameters of a formula by stochastic gradient descent.

    With nothing but a formula and data it finds its own starting values and steps (the optimizer
    ``"auto"``) and ends at the least-squares answer, with standard errors.

    Parameters
    ----------
    formula : str or callable
        ``"y = a*x**2 + b*x + c"`` (or with ``~``), or a function ``def quad(a, b, c, x)``. Every
        name that is a column of the data is a variable, every other one a parameter; ``a[site]``
        is one with a value for each level of the column site, text, categories, truth values or
        whole numbers: ``a[A]``, ``a[B]``, …, in options ``a`` for all of them. A function
        that cannot be followed with symbols (a loop, an integration, a library) is called on whole
        columns, from one thread, with slopes by complex step or by differences.
    data : dict of arrays, data frame, Arrow table, path, …
        See `sgdfit.data.readers`.
    start : mapping, text, "search" or "random"
        Where parameters start: ``{"a": 4}`` or ``"a=4, b=5"``. Starts that are not given,
        ``auto`` finds from the formula and the data, as ``"search"`` does for every optimizer;
        the others begin at 1. ``"random"`` draws standard normals.
    bounds : mapping or text
        ``{"b": (0, 10)}`` or ``"0 < b < 10"``.
    fixed : mapping or text
        Parameters that keep a value: ``{"c": 3}`` or ``"c=3"``.
    sigma, weights : str, number or array, optional
        A column, or an expression of columns such as ``"0.1*y"``, that is the standard deviation of
        each row, in units of the response; or that weighs it, as ``"1/s**2"`` does. A number holds
        for every row; an array, shape (rows,), has a value for each, also for those that ``where``
        or ``missing`` leaves out. As sigma, a matrix of shape (rows, rows) is the covariance of up
        to 8,192 rows (generalized least squares), which ``auto`` and the loss ``mse`` take.
    absolute_sigma : bool
        As in `scipy.optimize.curve_fit`: whether standard errors follow from sigma (or weights) as
        given, with normal intervals, or the residuals set their scale, with Student's t.
    loss : str or callable
        What is averaged over the rows and made small: ``"mse"``, ``"mae"``, ``"huber(delta=2)"``
        (of the residuals' own scale; ``"huber(delta=2, scale=absolute)"`` in units of y),
        …, a formula of ``prediction`` and ``target``, or a function of these two.
    where : str, optional
        Which rows count, such as ``"x > 0 and site == 'A'"``. What it excludes is not even read,
        as far as the files tell.
    response : str, optional
        The left side, where the formula has none.
    jacobian : callable, optional
        Of a function that is called: of the same arguments, the slope to each parameter, in their
        order, of each row: shape (rows, parameters), as for `scipy.optimize.curve_fit`.
    constant : bool
        Whether the right side may hold no column, so that its curve is a constant. Without, that
        is an error: a misnamed column is a parameter.
    tied : mapping or text
        Parameters that follow others: ``{"d": "2*a"}`` or ``"d = 2*a"``.
    covariance : "auto", "classical" or "sandwich"
        Whence standard errors come: σ²(JᵀWJ)⁻¹, for least squares alone, or the form that is right
        also where the scatter differs from row to row in ways that the weights do not know, and for
        other losses (Huber 1967; White 1980). ``"auto"``: the latter for these alone.
    intervals : "wald", "profile" or "bootstrap"
        Of the parameters: the estimate ± Student's t times its standard error, or by profile
        likelihood, in some dozens of refits by ``auto`` (Bates & Watts 1988, section 6.1): how far
        the sum of squares lets each go while the others follow, infinite where it excludes nothing.
    bootstrap : int or str, optional
        Intervals by as many refits from the estimates, by default 2,000, to rows that are drawn
        with replacement: ``1000`` or ``"pairs(1000)"`` draws rows, ``"residuals(1000)"`` residuals.
        They are BCa intervals (Efron & Tibshirani 1993, An Introduction to the Bootstrap, p. 184);
        standard errors, bands and tied parameters keep theirs, and a robust loss its scale.
    level : float
        The confidence of all intervals, between 0 and 1.
    missing : "error" or "drop"
        What to do with rows that hold NaN, infinity or nothing.
    time_unit : "weeks", "days", "hours", "minutes", "seconds" or "milliseconds", optional
        In what columns of times are counted, from the first row on: dates in days unless given,
        times of day in hours, durations in seconds. The report and ``data_label`` say it.
    optimizer : str or Optimizer, optional
        ``"auto"``: damped Gauss-Newton steps on growing random batches, the last of them all rows.
        ``"sgd(momentum=0.9)"``, ``"adam"``, ``"averaged(sgd)"``, …: textbook descent. ``"sgd"`` is
        the default where something is given that ``auto`` decides by itself: a learning rate, a
        schedule, a batch size, epochs, ``shuffle=False`` or ``dtype="float32"``.
    learning_rate : float or callable, optional
        Default: for sgd from the curvature at the start, else the optimizer's own.
    schedule : str or callable, optional
        ``"cosine"``, ``"inverse_time(decay=0.01)"``, or a function step -> rate, from step 0 on.
    batch_size : int or "full", optional
        Rows of one step; default all.
    steps, epochs : int, optional
        How long to run; default 1,000 steps. ``auto`` stops at the optimum, and takes at most
        ``steps``, by default 2,000.
    shuffle : bool
        Visit the rows in a new order each epoch. A full batch is never shuffled.
    seed : int
        Of the shuffling and of random starts. The same seed gives the same run, bit for bit.
    tolerance : float, optional
        Stop once the optimum is nearer than this many standard errors, looked at once an epoch (of
        a full batch every 16); for ``auto`` 1e-11 by default, of many rows 1e-3.
    search : bool, optional
        Whether ``auto`` looks for a better minimum than that which the given starts lead to. By
        default it does where the residuals are not like noise, and for other losses than ``mse``.
    announce : callable, optional
        Called with the `sgdfit.inference.diagnosis.Diagnosis` before the first step, instead of a
        `sgdfit.errors.DivergenceWarning` where the learning rate is above the stability limit.
    callback : callable, optional
        Called with `sgdfit.fitting.callbacks.Progress`; a true answer stops the run.
    callback_every : int, optional
        Steps between two calls; default each step of a full batch, else each epoch.
    trace_every : int, optional
        Steps between two rows of the trace; default so that it has at most 10,000. 0: none.
    kernel : "auto", "numpy", "compiled" or "torch"
        Which form of the kernel steps; the choice changes the time, not the answer.
    device : "cpu", "cuda" or "cuda:1"
        Where torch computes: a formula by the kernel ``"torch"``, a function of tensors as it is.
    dtype : "float64" or "float32"
        The arithmetic of the steps (sums and errors are always float64).
    memory : int or str, optional
        Bytes that the process may hold, such as ``"2GB"``; default 500 MB. Columns of files that
        do not fit into it are read anew for each pass.
    threads : int, optional
        How many compute and read at once; default one for each core. They change no bit of the
        result.
    checkpoint : path, optional
        A file that remembers what a long run has found, written every few seconds. That of an
        unfinished run is not written over.
    resume : bool
        Whether to go on from the checkpoint of a run that was interrupted or killed, to the last
        bit of the uninterrupted run.
    cluster : str or distributed.Client, optional
        Whose workers read the rows and add them up, with the same result to the last bit: the
        address of a Dask scheduler, ``"tcp://host:8786"``, a client, or ``"local"`` and
        ``"local:4"``, which start workers on this machine. The workers open files themselves, under
        the same names. Of Dask's own data by default the client that there is.
    tell : callable, optional
        Called with a sentence on what else goes on, such as data that are kept on a disk.

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
    >>> result = fit("y = a*exp(-b*x)", {"x": x, "y": 3 * np.exp(-x)})
    >>> round(result.estimates["a"].value, 6), result.status.name
    (3.0, 'converged')
    >>> result = fit("y = a*x + b", {"x": x, "y": 3 * x + 1}, learning_rate=0.2, steps=200)
    >>> result.optimizer, round(result.estimates["a"].value, 6)
    ('sgd', 3.0)
    """
    if others:
        raise UsageError(
            "fit takes one object that holds all columns by name; write fit(f, {'x': x, 'y': y},"
            " response='y'), where x is an argument of f, or sgdfit.curve_fit(f, x, y)"
        )
    given = dict(locals())
    with cluster_for(cluster, data) as workers:
        problem, table = _settled(given | {"cluster": workers})
        # One that draws what is fitted has to know it.
        if callback is not None and hasattr(callback, "begin"):
            callback.begin(problem)
        with problem.data.checkpoint as kept:
            if checkpoint is not None:
                _begin(problem, os.fspath(checkpoint))
            problem, outcome = minimize(problem)
            external = problem.model.external
            if outcome.ending == "lost" and external is not None and external.failure is not None:
                raise external.failure
            result = assess(problem, outcome)
            if problem.groups is not None:
                result = with_groups(problem, result)
            if result.status.name not in CUT_SHORT:
                kept.finish()
            elif checkpoint is not None:
                cure = (
                    "run it again with resume=True (--resume on the command line), which goes on"
                    f" from {os.fspath(checkpoint)}"
                )
                object.__setattr__(result, "status", replace(result.status, cure=cure))
    # Beside the declared facts, which are saved.
    object.__setattr__(result, "table", table)
    object.__setattr__(result.trace, "inputs", tuple(map(os.path.abspath, table.files)))
    return result


def _settled(given: dict[str, Any]) -> tuple[Problem, Table]:
    """Return the problem that the arguments of `fit` state, all checked before a row is read.

    With it comes the table of its data.
    """
    if searches(given["start"]):
        given |= {"start": None, "search": True}
    options = settle(given)
    resources = as_resources(
        *(given[name] for name in ("memory", "threads", "checkpoint", "resume", "tell"))
    )._replace(cluster=given["cluster"])
    check_policy(given["missing"])
    scales = TimeScales(unit=as_time_unit(given["time_unit"]))
    arrays = [what for what in ("sigma", "weights") if is_array(given[what])]
    root = None
    if is_matrix(given["sigma"]):
        given["sigma"], root = deviations(given["sigma"])
    # Arrays have a value also for the rows that a condition leaves out.
    table = open_table(given["data"], None if arrays else given["where"])
    if table.notes and given["tell"] is not None:
        given["tell"](f"{table.label}: {'; '.join(table.notes)}")
    read = as_formula(given["formula"], given["response"], given["jacobian"])
    for what in arrays:
        table, given[what] = with_column(table, what, given[what], given["data"], read.names)
    table = timed(open_table(table, given["where"]) if arrays else table, scales)
    names = ("loss", "start", "bounds", "fixed", "tied")
    stated = {name: given[name] for name in names}
    stated["constant"] = switch(given["constant"], "constant")
    if read.subscripts and not read.levels:
        table, stated["levels"] = levels_of(read, table, given, given["missing"], resources)
    model = build(read, table.names, **stated, seed=options.seed)
    if model.external is not None:
        # Few functions expect to be called from several threads.
        resources, model.external.device = resources._replace(threads=1), options.device
    if resources.checkpoint is not None:
        refuse_inputs(resources.checkpoint, table.files)
    covariance, absolute = given["covariance"], given["absolute_sigma"]
    weighting = as_weighting(given["weights"], given["sigma"], absolute, covariance, model.loss)
    weighting = weighting._replace(root=root)
    groups = groups_of(model, options, weighting)
    if groups is not None:
        model = common_model(groups)
    check_with_model(options, model, weighting)
    if resources.checkpoint is not None:
        # Only a file asks what run it is of; to write formulas out takes longer than small fits.
        said = options._asdict() | dict.fromkeys(("announce", "callback", "callback_every"))
        said |= {name: given[name] for name in ("missing", "where", "absolute_sigma", "covariance")}
        said["time_unit"] = scales.unit
        # Memory decides how many rows are shuffled together where they are read in pieces.
        said |= {
            "optimizer": options.optimizer or AUTO,
            "memory": resources.memory if options.optimizer else None,
        }
        resources = resources._replace(identity=identity_of(model, weighting, said))
    missing = given["missing"]
    problem = prepare(model, table, weighting, missing, resources, options, checked=False)
    if groups is not None:
        # The rows of each are needed side by side, those of a cluster too.
        problem = problem._replace(data=problem.data.in_memory(resources.budget))
    return problem._replace(groups=groups), table


def levels_of(
    read: Formula,
    table: Table,
    weighing: Mapping[str, Any],
    missing: str,
    resources: Resources | None = None,
) -> tuple[Table, dict[str, tuple[str, ...]]]:
    """Return the levels of the columns that index parameters, which are codes from then on.

    With them comes the table, which then can be read again.
    """
    read = with_subscripts(read, table.names)
    indices = dict.fromkeys(column for _, column in read.subscripts.values())
    given = [as_expression(weighing[what], what) for what in ("weights", "sigma")]
    weights = [name for some in given for name in columns_of(some)]
    for name in indices.keys() & {*weights}:
        raise UsageError(
            f"{name!r} cannot index a parameter and weigh rows; give the data a second column with"
            " its values"
        )
    others = [*read.names, *read.response_names, *weights]
    used = [name for name in dict.fromkeys(others) if name in table.names]
    resources = as_resources() if resources is None else resources
    return find_levels(table, [*indices], used, missing, resources.budget, resources.announce)


def minimize(problem: Problem) -> tuple[Problem, Outcome]:
    """Return how the run went, and the problem with the starts that were found for it."""
    # Far out a formula may overflow; what is not finite is looked for, not warned of.
    with np.errstate(all="ignore"):
        if problem.groups is not None:
            return minimize_groups(problem)
        if problem.options.optimizer is not None:
            problem = search_starts(problem) if problem.options.search else problem
            if problem.model.loss.is_relative:
                problem, *_ = settle_scale(problem, far=True)
            outcome = descend(problem)
            return problem, outcome if problem.steps else outcome._replace(ending="interrupted")
        if problem.model.loss.is_relative:
            return find_with_scale(problem)
        if problem.kinked:
            problem = load_all_rows(problem)
            found = find_from_sums(problem) if takes_sums(problem) else None
            if found is not None:
                return found
            # Only the rows themselves tell where such a loss has its minimum: refused without them.
            _ = problem.chunk
        if stepped_names(problem.model.prediction).isdisjoint(problem.names):
            return find_minimum(problem)
        return minimize_steps(problem)


def _begin(problem: Problem, checkpoint: str) -> None:
    """Write down what rows these are, so that there is a file to resume from from the first.

    Raises
    ------
    CheckpointError
        When a run that is gone on with had other values.
    """
    data, marks = problem.data, {}
    known = data.checkpoint.recall("begun") or {}
    # They tell values apart in files of the same names, sizes and times; of rows that are not in
    # memory those of the random ones alone.
    for name, chunk in (("subsample", data.subsample), ("whole", data.whole)):
        if chunk is None:
            continue
        marks[name] = fingerprint_of({str(k): array for k, array in enumerate(chunk.arrays)})
        if str(known.get(name, marks[name])) != marks[name]:
            raise CheckpointError(
                f"cannot resume from {checkpoint!r}: the checkpoint is of other data:"
                f" {problem.label} has the name, the size and the time that it had, but other"
                " values; go on with the same ones, or name another file"
            )
    data.checkpoint.keep("begun", {"rows": problem.rows_read, **marks}, now=True)


def explain(
    formula: str | Callable[..., Any] | Formula,
    data: object | None = None,
    *,
    variables: Sequence[str] | None = None,
    response: str | None = None,
    jacobian: Callable[..., Any] | None = None,
    constant: bool = False,
    loss: str | Callable[..., Any] | Loss = "mse",
    start: Assignments = None,
    bounds: Bounds = None,
    fixed: Assignments = None,
    tied: Assignments = None,
    weights: str | float | None = None,
    missing: str = "error",
    seed: int = 0,
) -> Derivation:
    """Derive the gradient of a formula's loss, step by step, as one would by hand.

    Parameters
    ----------
    formula, response, jacobian, constant, loss, start, bounds, fixed, tied, weights, missing, seed
        As in `sgdfit.fit`.
    data : dict of arrays, data frame, path, …, optional
        With data the numbers are substituted, and the symbolic gradient is compared with central
        differences and, where torch is installed, with its autograd.
    variables : sequence of str, optional
        Without data: which names are columns. By default ``x``, ``t``, ``time``, ``x1``, ``t2``…

    Returns
    -------
    Derivation
        ``print`` it, or take its ``.text()``, ``.latex()`` or ``.html()``; a notebook shows it.

    Raises
    ------
    FormulaError, DataError, UsageError
        When the formula, the data or an option cannot be used.

    Examples
    --------
    >>> "∂L/∂b" in str(explain("y = a*x + b"))
    True
    """
    if data is not None and variables is not None:
        raise UsageError("the data say which names are variables; leave out variables")
    # Only here: it takes 20 ms that no fit needs.
    from sgdfit.derivation.derivation import derive

    table = None if data is None else timed(open_table(data), TimeScales())
    read, weights = as_formula(formula, response, jacobian), as_expression(weights, "weights")
    levels = None
    if table is not None and read.subscripts:
        table, levels = levels_of(read, table, {"weights": weights, "sigma": None}, missing)
    columns: Sequence[str] | None = None if table is None else table.names
    if variables is not None:
        columns = [*variables, *read.response_names]
        weighing = () if weights is None else as_formula(weights).names
        known = dict.fromkeys((*read.response_names, *read.names, *weighing))
        for name in variables:
            # What nothing uses is misspelled.
            if name not in known:
                raise UsageError(
                    f"the variable {name!r} is not in the formula; its names are"
                    f" {', '.join(known)}.{did_you_mean(name, known)}"
                )
    stated = {"start": start, "bounds": bounds, "fixed": fixed, "tied": tied, "constant": constant}
    model = build(read, columns, loss=loss, seed=seed, levels=levels, **stated)  # type: ignore[arg-type]
    if table is None:
        return derive(model, weighted=weights is not None)
    problem = prepare(model, table, Weighting(weights), missing)
    chunk = problem.chunk
    if model.loss.is_relative:
        problem = scaled(problem, scale_at(problem, np.array(model.start)))
    held = dict(zip(model.columns, chunk.columns, strict=True))
    return derive(problem.model, held, weights=chunk.weights)
