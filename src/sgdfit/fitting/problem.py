"""What is fitted to what: the model, its rows, what ``auto`` is to solve, and how its walk went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sgdfit.checkpoint.checkpoint import Checkpoint
from sgdfit.data.datasets import fingerprint_of
from sgdfit.data.opening import open_rows
from sgdfit.data.rows import ChunkedRows
from sgdfit.data.table import Columns, Table
from sgdfit.errors import DataError, UsageError, did_you_mean
from sgdfit.fitting.callbacks import Callback
from sgdfit.fitting.dataset import Population, in_memory, take_in
from sgdfit.fitting.options import FORGETFUL, Resources, as_means
from sgdfit.fitting.reduce import ColumnStats
from sgdfit.fitting.sampling import batch_sizes
from sgdfit.fitting.trust_region import Box
from sgdfit.fitting.weights import Weighting, columns_of
from sgdfit.inference.quadratic import Quadratic
from sgdfit.kernel.kernel import Chunk, Kernel
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model

Array = np.ndarray[Any, Any]

# Squares of what is larger or smaller, summed over many rows, overflow or vanish.
SMALLEST, LARGEST = 1e-140, 1e140


class Task(NamedTuple):
    """A model and the rows it meets."""

    model: Model
    label: str  # how messages name the data
    population: Population  # the rows, with weights of mean one
    # How many there are, how many of them have a say, which those of weight 0 do not, and how many
    # others were left out for their missing numbers.
    rows: int
    counted: int
    dropped: int
    mean_weight: float  # the mean of the weights as they were given
    weighting: Weighting  # what weighs the rows, as it was given
    warnings: tuple[str, ...]
    drawn_from: int | None = None  # how many rows these were drawn from, where they are a sample

    @property
    def weights(self) -> str | None:
        """The weights as an expression of columns."""
        return self.weighting.text

    def named(self) -> Iterator[tuple[int, dict[str, Array]]]:
        """Yield the columns of some rows after others, by name, float64, and their first row."""
        first = 0
        for chunk in self.population.chunks():
            columns = zip(self.model.columns, chunk.columns, strict=True)
            yield first, {name: c.astype(np.float64, copy=False) for name, c in columns}
            first += chunk.rows

    @property
    def chunk(self) -> Chunk:
        """All rows, where they are in memory."""
        whole = self.population.whole
        if whole is None:
            size = self.rows * len(self.model.columns) * 8 / 1e9
            raise UsageError(
                f"this needs all rows of {self.label} in memory, {size:.2g} GB; allow more by"
                f" memory='{2 * size + 1:.0f}GB' (--memory on the command line), or fit a part of"
                " them"
            )
        return whole

    def of_sample(self, what: str) -> Task:
        """Return the task of fitting the reserve of random rows alone.

        Parameters
        ----------
        what : str
            What is then known of these rows alone, as the plural that a sentence begins with.
        """
        population = self.population
        some = population.some
        part = in_memory(self.model, some, some, population.threads, FORGETFUL)
        told = (
            f"{what} are those of {some.rows:,} random rows of {self.rows:,}, not of all: the run"
            f" ended {_reached(population)}"
        )
        return self._replace(
            label=f"{self.label}, drawn from its {self.rows:,}",
            population=part,
            rows=some.rows,
            counted=some.rows,
            warnings=(*self.warnings, told),
            drawn_from=population.rows,
        )


def _reached(population: Population) -> str:
    """Say how far passes through all rows had come."""
    share = population.visited / population.rows
    if not share:
        return "before its first pass through them"
    if share < 1:
        return f"{_percent(share)} into its first pass through them"
    return f"after {share:.2f} passes through them"


def _percent(share: float) -> str:
    """Round a share that is neither none nor all to one that looks so, too.

    Examples
    --------
    >>> _percent(0.0003), _percent(0.48), _percent(0.9999)
    ('less than 1%', '48%', '99%')
    """
    return f"{int(100 * share)}%" if share >= 0.01 else "less than 1%"


def prepare(
    model: Model,
    table: Table,
    weighting: Weighting,
    missing: str,
    means: Resources | None = None,
    seed: int = 0,
    checked: bool = True,
) -> Task:
    """Open the rows that ``model`` and its weights need, and check them.

    Unless ``checked``, what is not finite among many rows is left to the first pass to find.
    """
    means = as_means() if means is None else means
    # Whether a checkpoint can be used is better said before the data are read.
    journal = (
        None if table.dataset is None else means.journal(table.dataset.fingerprint, table.label)
    )
    opened = open_rows(
        table,
        [*model.columns, *columns_of(weighting.given)],
        missing=missing,
        budget=means.budget,
        threads=means.threads,
        announce=means.announce,
        checked=checked or weighting.given is not None or model.loss.name != SQUARED,
    )
    if journal is None:
        assert isinstance(opened, Columns)  # what is no dataset is in memory
        mark = fingerprint_of(opened.columns) if means.checkpoint else ""
        journal = means.journal(mark, table.label)
    return _task(model, table, opened, weighting, means, journal, seed)


def _task(
    model: Model,
    table: Table,
    opened: Columns | ChunkedRows,
    weighting: Weighting,
    means: Resources,
    journal: Checkpoint,
    seed: int,
) -> Task:
    intake = take_in(model, opened, weighting, means, journal, seed)
    task = Task(
        model,
        f"{opened.label} where {table.where}" if table.where else opened.label,
        intake.population,
        opened.rows,
        intake.population.rows,
        opened.dropped,
        intake.mean_weight,
        weighting,
        _lookalikes(model, table),
    )
    _check_rows(task)
    _check_magnitudes(task, task.population.glance)
    return task


def examined(task: Task) -> Task:
    """Return the task with what its columns tell of themselves, by a look at all rows."""
    seen = task.population.survey
    _check_magnitudes(task, seen)
    return task._replace(warnings=(*task.warnings, *_constant_columns(task, seen)))


def _check_magnitudes(task: Task, seen: ColumnStats) -> None:
    """Refuse columns whose squares leave the range of floating point: sums of them mean nothing."""
    for name, low, high in zip(task.model.columns, seen.low, seen.high, strict=True):
        largest = max(abs(high), abs(low))
        if largest and not SMALLEST <= largest <= LARGEST:
            raise DataError(
                f"the column {name!r} of {task.label} has values of up to {largest:.3g}, whose"
                f" squares floating point cannot hold; rescale it to between {SMALLEST:.0e} and"
                f" {LARGEST:.0e}, as in another unit"
            )


def _check_rows(task: Task) -> None:
    """Refuse fewer rows than free parameters."""
    model, rows = task.model, task.counted
    if rows < len(model.free):
        weighty = "" if rows == task.rows else " of a weight above 0"
        raise DataError(
            f"{task.label} has {rows} row(s){weighty} for {len(model.free)} free parameters"
            f" ({', '.join(model.free)}); give at least as many rows, or fix some of them"
        )


def _lookalikes(model: Model, table: Table) -> tuple[str, ...]:
    """Say which parameters look like columns that were meant: a slip makes a fit of nonsense."""
    unused = [name for name in table.names if name not in model.columns]
    stems = {name.rstrip("0123456789") for name in (*unused, *model.variables)}
    told = []
    unstarted = [p.name for p in model.parameters.values() if p.origin.startswith("default")]
    for name in unstarted:
        stem = name.rstrip("0123456789")
        near = (
            did_you_mean(name, unused) if len(name) > 2 or (stem in stems and stem != name) else ""
        )
        if near:
            told.append(f"{name!r} is no column of the data, so it is a parameter.{near}")
    if not model.variables:
        others = f"; the data also hold {', '.join(map(repr, unused[:10]))}" if unused else ""
        told.append(f"no column stands on the right side, so the curve is a constant{others}")
    return tuple(told)


def _constant_columns(task: Task, seen: ColumnStats) -> tuple[str, ...]:
    """Say of columns that do not vary what that means."""
    model = task.model
    ends = zip(model.columns, seen.low, seen.high, strict=True)
    constant = {name: low for name, low, high in ends if task.rows > 1 and low == high}
    variables = tuple(
        f"the column {name!r} is the same in every row ({constant[name]:g}), so it cannot tell"
        " parameters apart"
        for name in model.variables
        if name in constant
    )
    response = model.formula.response_names
    if not all(name in constant for name in response):
        return variables
    return (*variables, f"the response '{', '.join(response)}' is the same in every row")


# Neighbouring residuals correlate so many standard deviations beyond chance, or the curve leaves so
# much of the variation, that it is worth looking further for a better minimum.
DOUBTFUL, UNEXPLAINED = 3.0, 0.5


class Problem(NamedTuple):
    """What ``auto`` is to solve."""

    kernel: Kernel
    names: tuple[str, ...]  # the free parameters
    population: Population  # all rows that have a say
    box: Box  # the bounds
    linear: np.ndarray  # int[k]: parameters that are solved exactly at every step
    # Whether the loss is a quadratic of all parameters, so that one step leads to its minimum.
    quadratic: bool
    squared: bool  # whether the loss is the squared residual
    # Whether it is made of straight pieces, which only rows, not sums, tell anything of.
    kinked: bool
    seed: int  # of the samples
    steps: int  # the most to take
    looks: int  # the most steps that look at all rows
    tolerance: float  # the distance, in standard errors, at which to stop
    # Called with `sgdfit.fitting.callbacks.Progress`; a true answer stops the run.
    callback: Callback | None
    callback_every: int  # steps between two calls
    # Grows by the rows of samples that each walk visits, each as often as it does.
    visits: list[int]
    # Whether the kernel's curvature of a loss with a kink counts residuals in a window about zero,
    # so that sums tell it.
    windowed: bool = False

    @property
    def rows(self) -> int:
        """How many rows have a say."""
        return self.population.rows

    @property
    def sizes(self) -> list[int]:
        """How many rows to step on, one batch after another."""
        return batch_sizes(self.rows, len(self.names), self.population.some.rows)


class TraceStep(NamedTuple):
    """One state on the way."""

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
    beyond: float  # the same in standard deviations of what noise has, 1/sqrt(n)
    unexplained: float  # the share of the response's variation about its mean that is left

    @property
    def is_doubtful(self) -> bool:
        """Whether another minimum may well be better."""
        return self.beyond > DOUBTFUL or self.unexplained > UNEXPLAINED


class WalkOutcome(NamedTuple):
    """How a walk went."""

    theta: np.ndarray  # float64[p]: the estimates
    # Of all rows, there; None where the loss is not finite at the start.
    quadratic: Quadratic | None
    first: Quadratic | None  # of the first batch, at the start
    # ``arrived``, ``rests`` (rounding hides the rest), ``steps``, ``stopped``, ``interrupted`` or
    # ``lost`` (no finite loss at the start).
    ending: str
    way: tuple[TraceStep, ...]
    distance: float  # remaining, in standard errors of all rows
    seconds: float
    # float64[p] or None: where the walk rests at the edge of the formula's domain, a point beyond
    # it.
    beyond: np.ndarray | None = None
    misfit: Misfit | None = None  # what the residuals tell, where they have been looked at

    @property
    def visited(self) -> int:
        """Rows visited, each as often as it was."""
        return self.way[-1].visited if self.way else 0
