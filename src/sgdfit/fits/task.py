"""What is fitted to what: a model and the rows that it meets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sgdfit.checkpoints.journal import open_journal
from sgdfit.data.opening import open_rows
from sgdfit.data.opening import weighty as weighty_rows
from sgdfit.data.source import Source
from sgdfit.data.stream import CHUNK_ROWS, Aligner, Stream
from sgdfit.data.table import Table
from sgdfit.errors import DataError, UsageError, did_you_mean
from sgdfit.fits.growth import reserved
from sgdfit.fits.means import Means, as_means
from sgdfit.fits.population import Population, in_memory
from sgdfit.fits.row_weights import (
    Weigher,
    columns_of,
    given_weights,
    relative_weights,
    scale_of,
    weigher,
)
from sgdfit.fits.weighting import Weighting
from sgdfit.kernels.kernel import Chunk
from sgdfit.models.model import Model

__all__ = ["Task", "examined", "prepare", "weighty"]

Array = np.ndarray[Any, Any]

# Squares of what is larger or smaller, summed over many rows, overflow or vanish.
SMALLEST, LARGEST = 1e-140, 1e140


class Task(NamedTuple):
    """A model and the rows it meets.

    Attributes
    ----------
    model : Model
    label : str
        How messages name the data.
    population : Population
        The rows, with weights of mean one.
    rows, counted, dropped : int
        How many there are, how many of them have a say, which those of weight 0 do not, and how
        many others were left out for their missing numbers.
    mean_weight : float
        The mean of the weights as they were given.
    weighting : Weighting
        What weighs the rows, as it was given.
    warnings : tuple of str
    """

    model: Model
    label: str
    population: Population
    rows: int
    counted: int
    dropped: int
    mean_weight: float
    weighting: Weighting
    warnings: tuple[str, ...]

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
        """All rows, where they are in memory.

        Raises
        ------
        UsageError
            When they are not.
        """
        whole = self.population.whole
        if whole is None:
            size = self.rows * len(self.model.columns) * 8 / 1e9
            raise UsageError(
                f"this needs all rows of {self.label} in memory, {size:.2g} GB; allow more by"
                f" memory='{2 * size + 1:.0f}GB' (--memory on the command line), or fit a part of"
                " them"
            )
        return whole

    def of_sample(self) -> Task:
        """Return the task of fitting the reserve of random rows alone."""
        population = self.population
        some = population.some
        part = in_memory(
            self.model, some, some, population.threads, open_journal(None, {}, resume=False)
        )
        told = (
            f"these are the estimates from {some.rows:,} random rows of {self.rows:,}: the run"
            " ended before it had seen all of them"
        )
        return self._replace(
            population=part, rows=some.rows, counted=some.rows, warnings=(*self.warnings, told)
        )


def prepare(
    model: Model,
    table: Table,
    weighting: Weighting,
    missing: str,
    means: Means | None = None,
    seed: int = 0,
) -> Task:
    """Open the rows that ``model`` and its weights need, and check them.

    Raises
    ------
    DataError
        When a column cannot be used, a weight or standard deviation cannot be one, or there are
        fewer rows than free parameters.
    UsageError
        When the weights are no text.
    """
    means = as_means() if means is None else means
    names = [*model.columns, *columns_of(weighting.given)]
    opened = open_rows(
        table,
        names,
        missing=missing,
        budget=means.budget,
        threads=means.threads,
        announce=means.announce,
    )
    if isinstance(opened, Source):
        task = _loaded(model, opened, weighting, means, seed)
    else:
        task = _streamed(model, opened, weighting, means, seed)
    _check_rows(task)
    task = task._replace(warnings=_lookalikes(model, table))
    if task.population.rows == task.population.some.rows:
        return examined(task)
    _check_magnitudes(task)
    return task


def examined(task: Task) -> Task:
    """Return the task with what its columns tell of themselves, once all rows have been seen.

    Raises
    ------
    DataError
        When the squares of a column leave the range of floating point.
    """
    _check_magnitudes(task)
    return task._replace(warnings=(*task.warnings, *_constant_columns(task)))


def _loaded(model: Model, source: Source, weighting: Weighting, means: Means, seed: int) -> Task:
    """Return the task of rows in memory, their weights scaled to a mean of one."""
    columns = tuple(source.columns[name] for name in model.columns)
    chunk, mean = Chunk(columns, None), 1.0
    if weighting.text is not None:
        weights, mean = relative_weights(weighting, source)
        chunk = Chunk(columns, weights)
    counted = chunk.rows if chunk.weights is None else int(np.count_nonzero(chunk.weights))
    population = _remembered(model, chunk, means, seed)
    return Task(
        model, source.label, population, chunk.rows, counted, source.dropped, mean, weighting, ()
    )


def _remembered(model: Model, chunk: Chunk, means: Means, seed: int) -> Population:
    begin, length = reserved(chunk.rows, len(model.columns), seed)
    if length == chunk.rows:
        some = chunk
    else:
        parts = [chunk.part(b, b + length) for b in begin.tolist()]
        columns = zip(*(part.columns for part in parts), strict=True)
        weights = None
        if chunk.weights is not None:
            weights = np.concatenate([chunk.weights[b : b + length] for b in begin.tolist()])
        some = Chunk(tuple(np.concatenate(column) for column in columns), weights)
    return in_memory(model, chunk, some, means.threads, means.journal)


def weighty(task: Task, seed: int) -> Task:
    """Return the task without the rows of weight 0: a sample should hold none of them."""
    chunk = task.population.whole
    if chunk is None or chunk.weights is None or task.counted == chunk.rows:
        return task
    kept = np.flatnonzero(chunk.weights)
    chosen = Chunk(tuple(column[kept] for column in chunk.columns), chunk.weights[kept])
    means = Means(0, task.population.threads, task.population.journal)
    return task._replace(population=_remembered(task.model, chosen, means, seed))


def _streamed(model: Model, stream: Stream, weighting: Weighting, means: Means, seed: int) -> Task:
    """Return the task of rows that are read anew for every pass."""
    known = None
    if weighting.text is not None:
        stream, known = _weighed(stream, weighting)
    places = [stream.names.index(name) for name in model.columns]

    def chunk_of(columns: tuple[Array, ...]) -> Chunk:
        weights = None
        if known is not None:
            weights = known.weights(dict(zip(stream.names, columns, strict=True)))
        return Chunk(tuple(columns[place] for place in places), weights)

    begin, length = reserved(stream.counted, len(model.columns), seed)
    some = chunk_of(stream.take(begin, length))
    population = Population(
        model,
        stream.counted,
        lambda first: map(chunk_of, stream.chunks(first=first)),
        some,
        None,
        means.threads,
        means.journal,
        lambda order: map(chunk_of, stream.mixed(order)),
    )
    mean = 1.0 if known is None else known.given_mean
    return Task(
        model, stream.label, population, stream.rows, stream.counted, stream.dropped, mean,
        weighting, (),
    )  # fmt: skip


def _weighed(stream: Stream, weighting: Weighting) -> tuple[Stream, Weigher]:
    """Look at the weights of all rows."""
    cut, parts, first = Aligner(CHUNK_ROWS), [], 0

    def look(columns: tuple[Array, ...]) -> None:
        nonlocal first
        named = dict(zip(stream.names, columns, strict=True))
        parts.append(scale_of(weighting, named, stream.label, first))
        first += len(columns[0])

    def visit(columns: tuple[Array, ...]) -> None:
        for chunk in cut.push(columns):
            look(chunk)

    def has_a_say(columns: tuple[Array, ...]) -> Array | None:
        if weighting.sigma is not None:
            return None
        named = dict(zip(stream.names, columns, strict=True))
        chosen = np.asarray(given_weights(weighting, named) > 0)
        return None if chosen.all() else chosen

    stream = weighty_rows(stream, has_a_say, visit)
    for chunk in cut.rest():
        look(chunk)
    return stream, weigher(weighting, parts, stream.label)


def _check_magnitudes(task: Task) -> None:
    """Refuse columns whose squares leave the range of floating point: sums of them mean nothing."""
    seen = task.population.glance
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


def _constant_columns(task: Task) -> tuple[str, ...]:
    """Say of columns that do not vary what that means."""
    model, seen = task.model, task.population.glance
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
