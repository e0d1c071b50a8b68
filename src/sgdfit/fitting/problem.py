"""One fit as a record: the model, its rows and options go in, how the run went comes out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.datasets import fingerprint_of
from sgdfit.data.opening import open_rows
from sgdfit.data.rows import ChunkedRows
from sgdfit.data.table import Columns, Table
from sgdfit.data.times import TimeScale, said_of_columns
from sgdfit.errors import DataError, UsageError, counted, listed, with_option
from sgdfit.fitting.callbacks import Callback
from sgdfit.fitting.cluster import open_on_cluster
from sgdfit.fitting.dataset import TrainingData, take_in
from sgdfit.fitting.options import FORGETFUL, Options, Resources, as_resources
from sgdfit.fitting.sampling import FEW, SUBSAMPLE_ALL, batch_sizes
from sgdfit.fitting.trust_region import Box, box_of
from sgdfit.fitting.weights import Weighting, columns_of
from sgdfit.formula.external import External
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.inference.quadratic import LARGEST, Quadratic
from sgdfit.inference.spectrum import EPS, column_norms
from sgdfit.kernel.forms import choose_form, make
from sgdfit.kernel.kernel import Chunk, Kernel, State
from sgdfit.kernel.numpy_kernel import make_numpy
from sgdfit.kernel.summation import Sums
from sgdfit.model.asymptotes import Asymptote
from sgdfit.model.loss import SQUARED, Loss
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer
from sgdfit.optimizers.schedule import AnySchedule
from sgdfit.result.status import Rival, StartSearch

Array = np.ndarray[Any, Any]

# From which year to which dates are told from other numbers, as in 20240213.
DATES = 19000000, 21000000
# What stands for nothing in many files, netCDF's among them, and below 0 also the latter ones.
NINES = (99.0, 99.9, 99.99, 999.0, 999.9, 999.99, 9999.0, 9999.9, 99999.0, 999999.0, 1e20, 1e30)
FILLS = {*NINES, 9.969209968386869e36, *(-n for n in NINES), -1.0, -9.0, -32768.0}

# Squares of what is smaller, summed over many rows, vanish.
SMALLEST = 1 / LARGEST
AUTO_STEPS = 2_000
# Where rows are many two or three steps that look at all of them are enough; with so many it is no
# question of steps.
MOST_LOOKS = 40
# In standard errors: of few rows not far above rounding, of many far below what matters. There the
# distance is foreseen rather than looked at, which saves a pass and errs on the far side.
FINE, FINE_OF_MANY = 1e-11, 1e-3
# As many tell what a status says of columns.
ROWS_LOOKED_AT = 1_000
# Rows on which a function that is called is looked at.
EXAMINED = 512
# Compiling is worth while for about this many passes through the rows.
PASSES = 4
# A residual that is no larger than so many roundings of its terms may be rounding alone; it is so
# called where these are this small beside the variation of the response.
ROUNDINGS, UNSEEN = 64, 1e-6


class Minimum(NamedTuple):
    """The groups at their minimum, for some values of the common parameters."""

    theta: Array  # float64[p]
    values: Array  # float64[g, q]
    losses: Array  # float64[g]
    inverse: Array  # H_gg⁻¹, float64[g, q, q]; 0 in what is held, on a bound or not determined
    coupling: Array  # C_g, float64[g, q, p]
    open: Array  # bool[g, q]: which the rows of the group do not determine
    fitted: int  # how many of them the rows determine

    @property
    def loss(self) -> float:
        """Of all rows."""
        return float(self.losses.sum())


class Groups(NamedTuple):
    """Parameters that each of g groups has of its own, where they are eliminated."""

    model: Model  # of all parameters
    names: tuple[str, ...]  # the q parameters of a group, as in `Model.base`
    column: str  # which holds the number of each row's group
    values: Array  # float64[g, q]: where they start
    low: Array  # float64[g, q]: bounds
    high: Array
    held: Array  # bool[g, q]: which stay where they are
    minimum: Minimum | None = None  # where they end


class Problem(NamedTuple):
    """What is minimized: the loss of a model over rows, and how."""

    model: Model
    label: str  # how messages name the data
    data: TrainingData  # the rows that have a say, with weights of mean one
    rows_read: int  # how many there are, those of weight 0 included
    dropped: int  # how many others were left out for their missing numbers
    mean_weight: float  # the mean of the weights as they were given
    weighting: Weighting  # what weighs the rows, as it was given
    options: Options
    kernel: Kernel
    box: Box  # the bounds
    linear: np.ndarray  # int[k]: parameters that are solved exactly at every step
    # Whether the loss is the squared residual; a quadratic of all parameters, whose minimum is one
    # step away; or made of straight pieces, as that of mae.
    squared: bool
    quadratic: bool
    kinked: bool
    scales: dict[str, TimeScale]  # how times are counted
    steps: int  # the most to take
    looks: int  # the most steps of ``auto`` that look at all rows
    # The distance, in standard errors, at which to stop; None: textbook descent does not look.
    tolerance: float | None
    callback: Callback | None  # called with `Progress`; a true answer stops the run
    # Grows by the rows of samples that each run visits, each as often as it does.
    visits: list[int]
    warnings: tuple[str, ...] = ()
    drawn_from: int | None = None  # how many rows these were drawn from, where they are a sample
    groups: Groups | None = None  # with parameters beside the free ones

    @property
    def names(self) -> tuple[str, ...]:
        """The free parameters."""
        return self.model.free

    @property
    def rows(self) -> int:
        """How many rows have a say."""
        return self.data.rows

    @property
    def eliminated(self) -> int:
        """How many parameters of groups the rows determine, beside the free ones."""
        minimum = None if self.groups is None else self.groups.minimum
        return 0 if minimum is None else minimum.fitted

    @property
    def calls_for_many(self) -> bool:
        """Whether a function is called that has many parameters."""
        return self.model.external is not None and len(self.names) > MOST_CALLED

    @property
    def seed(self) -> int:
        """Of samples, searches and orders."""
        return self.options.seed

    @property
    def sizes(self) -> list[int]:
        """How many rows to step on, one batch after another."""
        return batch_sizes(self.rows, len(self.names), self.data.subsample.rows)

    @property
    def chunk(self) -> Chunk:
        """All rows, where they are in memory."""
        whole = self.data.whole
        if whole is None:
            size = self.rows * len(self.model.columns) * 8 / 1e9
            raise UsageError(
                f"this needs all rows of {self.label} in memory; allow for that by"
                f" memory='{2 * size + 1:.0f}GB' (--memory on the command line), or fit fewer"
            )
        return whole

    def named(self) -> Iterator[tuple[int, dict[str, Array]]]:
        """Yield the first row of some rows after others, and their columns by name, float64."""
        first = 0
        for chunk in self.data.chunks():
            yield first, self.model.named(chunk.columns)
            first += chunk.rows

    def rounding(self, theta: np.ndarray, norms: np.ndarray) -> tuple[float, float]:
        """Return how far rounding alone may move all rows' curve, and leave it from the response.

        Each is the norm of a column of rows. A parameter rounded to the nearest number moves its
        part of the curve, of which ``norms``, float64[p], are those of its column of the Jacobian,
        by the same share everywhere; response and prediction are rounded row by row.
        """
        seen, half = self.data.moments, EPS / 2
        square = seen.second + 2 * seen.about * seen.first + self.rows * seen.about * seen.about
        moved = half * float(np.abs(theta) @ norms)
        return moved, moved + half * math.sqrt(max(0.0, square))

    @property
    def variation(self) -> float:
        """The weighted sum of squares of the response about its mean; about 0 where that is 0."""
        seen = self.data.moments
        total = seen.second - seen.first * seen.first / self.rows
        return total if total > 0 else self.rows * seen.about**2

    def is_exact(self, theta: np.ndarray, quadratic: Quadratic | None) -> bool:
        """Whether the curve of a least-squares fit meets the response but for rounding."""
        if quadratic is None or not self.squared or (self.data.is_unseen and self.rows > FEW):
            return False
        size, residual = math.sqrt(self.variation), math.sqrt(max(0.0, quadratic.loss))
        if residual > ROUNDINGS * UNSEEN * size:
            return False
        # The loss is r², whose curvature is twice JᵀJ.
        rounding = self.rounding(theta, quadratic.norms / math.sqrt(2))[1]
        return residual <= ROUNDINGS * rounding and rounding <= UNSEEN * size

    @property
    def some_columns(self) -> dict[str, Array]:
        """Some rows' columns by their names, float64."""
        return self.model.named(self.data.sample(ROWS_LOOKED_AT, 0).columns)

    def holding(self, places: Sequence[int]) -> Problem:
        """Return the problem of the other parameters, which may all be linear."""
        held = self.box.held | np.isin(np.arange(len(self.names)), places)
        linear = self.linear[~held[self.linear]]
        are_all = len(linear) == np.count_nonzero(~held)
        return self._replace(
            box=replace(self.box, held=held),
            linear=linear if self.squared or not are_all else linear[:0],
            quadratic=self.quadratic or (self.squared and are_all),
        )

    def with_loss(self, loss: Loss) -> Problem:
        """Return the problem with another loss of the same kind."""
        model = replace(self.model, loss=loss)
        return self._replace(model=model, kernel=kernel_of(model, self.data, self.options))

    def with_model(self, model: Model) -> Problem:
        """Return the problem of another formula for the same columns, with the same loss."""
        linear = [self.squared and name in model.linear for name in model.free]
        return self._replace(
            model=model,
            kernel=kernel_of(model, self.data, self.options),
            box=box_of(model),
            linear=np.flatnonzero(linear),
            quadratic=self.squared and model.is_linear,
        )

    def on_rows(self, chunk: Chunk) -> Problem:
        """Return the problem on other rows, which are in memory."""
        inside = TrainingData(self.model, chunk, chunk, self.data.threads, FORGETFUL)
        return self._replace(data=inside, rows_read=chunk.rows)

    def on_subsample(self, what: str) -> Problem:
        """Return the problem on the subsample of random rows alone, and a warning that says so.

        It begins with ``what`` is then known of these rows alone.
        """
        some, seen = self.data.subsample, self.data.visited / self.rows
        reached = f"after {seen:.2f} passes through them"
        if seen < 1:
            share = f"{int(100 * seen)}%" if seen >= 0.01 else "less than 1%"
            reached = f"{share} into its first pass through them"
            reached = reached if seen else "before its first pass through them"
        told = (
            f"{what} are those of {some.rows:,} random rows of {self.rows_read:,}, not of all: the"
            f" run ended {reached}"
        )
        return self.on_rows(some)._replace(
            label=f"{self.label}, drawn from its {self.rows_read:,}",
            warnings=(*self.warnings, told),
            drawn_from=self.rows,
        )


class TraceStep(NamedTuple):
    """One state on the way of ``auto``."""

    step: int  # steps taken
    rows: int  # rows of the batch
    loss: float  # its mean
    # float64[p]: the parameters, and the derivative of the mean loss to each.
    theta: np.ndarray
    gradient: np.ndarray
    damping: float  # λ of the step that led here, relative to the curvature in scaled units
    distance: float  # from the batch's own minimum, in its standard errors
    visited: int  # rows visited until here, each as often as it was


class Misfit(NamedTuple):
    """What residuals tell."""

    # Of neighbours, in the order of a variable or of the prediction: the largest.
    correlation: float
    # How far that is beyond chance, in standard deviations: see `statistics.serial_correlation`.
    beyond: float
    unexplained: float  # the share of the response's variation about its mean that is left
    # How far the means of replicates are off beyond chance: see `statistics.lack_of_fit`.
    off_replicates: float


class DescentFacts(NamedTuple):
    """What only textbook descent has to tell."""

    state: State  # where it ended; after a halt the state whose loss was out of bounds
    records: np.ndarray  # float64[k, 3 + 2 p]: see `sgdfit.kernel.kernel.SweepResult`
    start: np.ndarray  # float[p], of the type that it steps in
    first: Sums  # over all rows, there
    optimizer: Optimizer
    schedule: AnySchedule  # the learning rate of each step
    diagnosis: Diagnosis  # of the curvature at the start, at the largest of the rates
    batch_size: int  # rows of one step; all rows make a full batch
    ceiling: float  # a batch loss beyond this is divergence
    keep_trace: bool  # whether the result shows the records
    shards: int | None = None  # on how many shares of the rows the steps of an epoch were taken


class Limit(NamedTuple):
    """What the curve tends to as a parameter goes on for ever."""

    name: str  # the parameter
    ways: tuple[str, ...]  # whereto it goes, and others with it, in words
    asymptote: Asymptote | None  # the curve, where it has a simple form
    # bool[p]: which parameters have an error of their own; which are held, or without effect.
    known: np.ndarray
    idle: np.ndarray
    # Parameters that may lie anywhere between two values of a column.
    gaps: tuple[tuple[str, float, float], ...] = ()
    is_bound: bool = False  # whether the way ends on a bound, which then is the estimate
    # The fit of the curve's own formula, where floating point keeps the estimates from it.
    fitted: tuple[Problem, Outcome] | None = None


class Outcome(NamedTuple):
    """How a run went."""

    theta: np.ndarray  # float64[p]: the estimates
    # ``arrived``, ``rests`` (rounding hides the rest), ``lost`` (no finite loss at the start),
    # ``steps``, ``stopped`` (by the callback), ``interrupted``; of a descent also ``tolerance`` and
    # ``halted`` (by a loss out of bounds).
    ending: str
    seconds: float
    # Of all rows, at the end; None where the loss is not finite at the start.
    quadratic: Quadratic | None = None
    first: Quadratic | None = None  # of the first batch, at the start
    path: tuple[TraceStep, ...] = ()
    distance: float = np.inf  # remaining, in standard errors of all rows
    # That of all rows, where the run speaks of some of them alone.
    known_distance: float | None = None
    # float64[p] or None: where the run rests at the edge of the formula's domain, a point beyond
    # it.
    beyond: np.ndarray | None = None
    # Parameters that this edge alone decides, as a bound would.
    on_edge: tuple[str, ...] = ()
    misfit: Misfit | None = None  # what the residuals tell, where they have been looked at
    search: StartSearch | None = None  # how the start was found
    better: Rival | None = None  # a lower minimum than this one
    # What became of a given start, where a search took its place, or its minimum is unusual.
    abandoned: str | None = None
    limit: Limit | None = None  # of which the estimates are near, where the optimum is at infinity
    # Parameters that act in steps, each with the neighbouring thresholds that it lies between.
    gaps: tuple[tuple[str, float, float], ...] = ()
    descent: DescentFacts | None = None  # None: of ``auto``

    @property
    def step(self) -> int:
        """Steps taken."""
        if self.descent is not None:
            return self.descent.state.step
        return self.path[-1].step if self.path else 0

    @property
    def visited(self) -> int:
        """Rows visited, each as often as it was."""
        return self.path[-1].visited if self.path else 0

    @property
    def loss(self) -> float:
        """The mean over the last batch; infinite where there is none."""
        if self.quadratic is None or not self.path:
            return np.inf
        return self.quadratic.loss / self.path[-1].rows

    @property
    def rank(self) -> float:
        """By which minima are compared: the loss, with what rounding may change it by."""
        if self.quadratic is None or not self.path:
            return np.inf
        return (self.quadratic.loss + self.quadratic.rounding) / self.path[-1].rows

    @property
    def is_called_off(self) -> bool:
        """Whether the user ended it."""
        return self.ending in ("interrupted", "stopped")


def merge_runs(before: Outcome, outcome: Outcome) -> Outcome:
    """Return one run after another as one."""
    path = tuple(
        s._replace(step=s.step + before.step, visited=s.visited + before.visited)
        for s in outcome.path
    )
    return outcome._replace(
        path=(*before.path, *path),
        first=before.first,
        seconds=before.seconds + outcome.seconds,
        search=before.search,
        better=before.better if before.better and before.better.loss < outcome.loss else None,
        abandoned=before.abandoned,
        gaps=outcome.gaps or before.gaps,
    )


def errors_of(problem: Problem, outcome: Outcome) -> np.ndarray | None:
    """Return the standard errors, float64[p], where every parameter is determined."""
    quadratic = outcome.quadratic
    inverse = None if quadratic is None else quadratic.inverse
    if quadratic is None or inverse is None:
        return None
    # Not from the loss itself, which as that of counts may be negative.
    noise = quadratic.noise_sum / max(1, problem.rows - len(problem.names))
    return column_norms(inverse.T) * math.sqrt(noise)


def prepare(
    model: Model,
    table: Table,
    weighting: Weighting,
    missing: str,
    resources: Resources | None = None,
    options: Options | None = None,
    *,
    checked: bool = True,
) -> Problem:
    """Open the rows that ``model`` and its weights need, check them, and state the problem.

    Unless ``checked``, what is not finite among many rows is left to the first pass to find.
    """
    resources = as_resources() if resources is None else resources
    options = Options() if options is None else options
    # Whether a checkpoint can be used is better said before the data are read.
    mark = "" if table.dataset is None else table.dataset.fingerprint
    checkpoint = None if table.dataset is None else resources.open_checkpoint(mark, table.label)
    read = [*model.columns, *columns_of(weighting.given)]
    opened: Columns | ChunkedRows
    if resources.cluster is not None:
        opened = open_on_cluster(
            resources.cluster, table, read, missing=missing, budget=resources.budget
        )
    else:
        opened = open_rows(
            table,
            read,
            missing=missing,
            budget=resources.budget,
            threads=resources.threads,
            announce=resources.announce,
            checked=checked or weighting.given is not None or model.loss.name != SQUARED,
        )
    if checkpoint is None:
        assert isinstance(opened, Columns)  # what is no dataset is in memory
        mark = fingerprint_of(opened.columns) if resources.checkpoint else ""
        checkpoint = resources.open_checkpoint(mark, table.label)
    data = take_in(model, opened, weighting, resources, checkpoint, options.seed)
    rows, names, box = data.rows, model.free, box_of(model)
    squared, kinked = model.loss.name == SQUARED, bool(model.loss_hess == 0)
    solved = squared or (model.loss.is_relative and not model.is_linear)
    linear = [name in model.linear and solved for name in names]
    steps, tolerance = options.length(rows), options.tolerance
    if options.optimizer is None:
        steps = options.steps or AUTO_STEPS
        tolerance = tolerance or (FINE if rows <= FEW or kinked else FINE_OF_MANY)
    label = f"{opened.label} where {table.where}" if table.where else opened.label
    notes = [*table.notes, *said_of_columns(table.scales)]
    label += f" ({'; '.join(notes)})" if notes else ""
    if rows < len(names):
        weighty = "" if rows == opened.rows else " of a weight above 0"
        raise DataError(too_few(label, rows, names, weighty))
    problem = Problem(
        model=model,
        label=label,
        data=data,
        rows_read=opened.rows,
        dropped=opened.dropped,
        mean_weight=data.mean_weight,
        weighting=weighting,
        options=options,
        kernel=kernel_of(model, data, options),
        box=box,
        linear=np.flatnonzero(linear & np.isinf(box.low) & np.isinf(box.high)),
        squared=squared,
        quadratic=squared and model.is_linear,
        kinked=kinked,
        scales=dict(table.scales or {}),
        steps=steps,
        looks=options.steps or (MOST_LOOKS if rows > SUBSAMPLE_ALL else AUTO_STEPS),
        tolerance=tolerance,
        callback=options.callback,
        visits=[],
        warnings=(
            *_lookalikes(model, table, columns_of(weighting.given)),
            *(table.scales.warned if table.scales is not None else ()),
            *_odd_columns(model.columns, data),
        ),
    )
    _check_magnitudes(problem, *data.sample_extremes)
    return problem if model.external is None else _with_called(problem, model.external)


def too_few(label: str, rows: int, names: Sequence[str], weighty: str = "") -> str:
    """Say that there are fewer rows than parameters."""
    return (
        f"{label} has {counted(rows, 'row')}{weighty} for {len(names):,} free parameters"
        f" ({listed(names)}); give at least as many rows, or fix some of them"
    )


# Of a function that is called with more parameters, as a network of torch's, no other starts are
# looked for unasked, nor limits at infinity: either takes dozens of fits for each.
MOST_CALLED = 12


def _with_called(problem: Problem, external: External) -> Problem:
    """Look at a function that is called, at the start; ask for no more digits than it has."""
    model, options = problem.model, problem.options
    searched = options.search or (options.optimizer is None and options.search is None)
    is_start = not (searched and any(p.origin == "default 1.0" for p in model.parameters.values()))
    some = problem.data.subsample.part(0, EXAMINED)
    known = dict(zip(model.columns, some.columns, strict=True)) | model.values(model.start)
    given = [np.float64(known[name]) for name in model.formula.names]
    in_pieces = problem.rows > EXAMINED or options.batch_rows(problem.rows) < problem.rows
    external.examine(given, is_start=is_start, in_pieces=in_pieces)
    with np.errstate(all="ignore"):
        problem.kernel.rows(np.array(model.start), some)  # settles how slopes are found
    if external.failure is not None and is_start:
        raise external.failure
    if options.device != "cpu" and not external.in_torch:
        raise UsageError(
            f"device={options.device!r} is where tensors are, and the function {external.label!r}"
            " takes none; leave out device"
        )
    tolerance = problem.tolerance
    if tolerance is not None:
        tolerance = max(tolerance, min(external.error * math.sqrt(problem.rows), FINE_OF_MANY))
    warnings = (*problem.warnings, *external.doubts)
    if problem.calls_for_many and is_start:
        options = options._replace(search=bool(options.search))
    return problem._replace(tolerance=tolerance, warnings=warnings, options=options)


def kernel_of(model: Model, data: TrainingData, options: Options) -> Kernel:
    """Return the kernel of a model in the form that finishes sooner."""
    rows, passes, size = data.rows, PASSES, data.rows
    if options.optimizer is not None:
        passes, size = options.length(rows), options.batch_rows(rows)
    form = choose_form(options.kernel, passes, size, options.dtype, options.device)
    if data.root is not None:
        return make_numpy(model, options.optimizer, data.root)
    form = form if model.external is None else "numpy"
    weighted, device = data.weighted, options.device
    return make(model, options.optimizer, form, weighted=weighted, device=device)


def inspect_columns(problem: Problem) -> Problem:
    """Return the problem with what its columns tell of themselves, by a look at all rows."""
    data, model, told = problem.data, problem.model, list(problem.warnings)
    # Only what looks alike, or too large, takes a look at each number.
    if np.all(np.not_equal(*data.sample_extremes)) and abs(data.moments.total) <= LARGEST:
        return problem
    lows, highs = data.extremes()
    _check_magnitudes(problem, lows, highs)
    constant = {}
    if problem.rows_read > 1:
        ends = zip(model.columns, lows, highs, strict=True)
        constant = {name: low for name, low, high in ends if low == high}
    told += [
        f"the column {name!r} is the same in every row ({constant[name]:g}), so it cannot tell"
        " parameters apart"
        for name in model.variables
        if name in constant
    ]
    response = model.formula.response_names
    if all(name in constant for name in response):
        told.append(f"the response '{', '.join(response)}' is the same in every row")
    return problem._replace(warnings=tuple(told))


def _check_magnitudes(problem: Problem, lows: Array, highs: Array) -> None:
    """Refuse columns whose squares leave the range of floating point: sums of them mean nothing."""
    for name, low, high in zip(problem.model.columns, lows, highs, strict=True):
        largest = max(abs(high), abs(low))
        if largest and not SMALLEST <= largest <= LARGEST:
            raise DataError(
                f"the column {name!r} of {problem.label} has values of up to {largest:.3g}, whose"
                f" squares floating point cannot hold; rescale it to between {SMALLEST:.0e} and"
                f" {LARGEST:.0e}, as in another unit"
            )


def _odd_columns(names: Sequence[str], data: TrainingData) -> Iterator[str]:
    """Name numbers that stand for nothing by custom, far beyond all others, and those for dates."""
    lows, highs = (ends.tolist() for ends in data.sample_extremes)
    for name, column, low, high in zip(names, data.subsample.columns, lows, highs, strict=True):
        left, ends = column, {low, high}
        while found := ends & FILLS:
            value = max(found, key=abs)
            others = left[left != value]
            if left.size < others.size + 2 or not others.size:
                break
            spread, apart = np.ptp(others), np.abs(others - value).min()
            # Below 0 where no other is, a number stands out sooner; -1 and 1 may be two levels.
            sooner = value < 0 <= others.min()
            if apart <= (1 if sooner else 3) * spread or spread == 0 > abs(value) - 10:
                break
            left, ends, times = others, {others.min(), others.max()}, left.size - others.size
            yield (
                f"the column {name!r} is {value:g} in {counted(times, 'row')}, far from all others;"
                f" if that stands for nothing, {with_option('na', f'{value:g}')} and missing='drop'"
            )
        # Of days alone, or with hours and minutes, and seconds.
        for scale in (1.0, 1e4, 1e6) if low < high and low >= DATES[0] else ():
            months, days = column // scale // 100 % 100, column // scale % 100
            possible = (months >= 1) & (months <= 12) & (days >= 1) & (days <= 31)
            if DATES[0] <= low / scale and high / scale < DATES[1] and possible.all():
                yield (
                    f"the column {name!r} looks like dates that are written as {low:.0f}, which are"
                    " no measure of time; write them as in 2024-02-13"
                )


def _lookalikes(model: Model, table: Table, weights: Sequence[str]) -> tuple[str, ...]:
    """Ask whether parameters are columns that were meant: a slip makes a fit of nonsense."""
    unnamed = [p.name for p in model.parameters.values() if not p.is_named]
    if not unnamed:
        return ()
    used = (*model.columns, *weights)
    near = {s: name for name in table.names if name not in used for s in _spellings(name)}
    # T beside t is often meant, Temp beside temp is not.
    same = {name.casefold(): name for name in model.variables if len(name) > 1}
    told = []
    for name in unnamed:
        found = same.get(name.casefold()) or next(filter(None, map(near.get, _spellings(name))), "")
        if found:
            told.append(
                f"{name!r} is no column of the data, so it is a parameter. Did you mean {found!r}?"
                " If not, give it a start, which says so"
            )
    return tuple(told)


def _spellings(name: str) -> list[str]:
    """Return texts of which names share one that differ by case, signs, their number or a letter.

    Those of ``x_1`` are x1 and x#, those of ``Temp`` temp, emp, tmp, tep and tem.
    """
    plain = re.sub(r"[(\[].*|[\W_]", "", name.casefold())
    stem = plain.rstrip("0123456789")
    number = plain[len(stem) :]
    # x0 is a usual parameter beside x1; of three letters one is much.
    numbered = [stem + "#" * len(number)] if number.strip("0") else []
    letters = range(len(stem) if len(stem) > 3 else 0)
    return [plain, *numbered, *(stem[:k] + stem[k + 1 :] + number for k in letters)]
