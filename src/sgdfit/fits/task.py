"""What is fitted to what: a model and the rows that it meets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.data.source import Source
from sgdfit.data.table import Table
from sgdfit.errors import DataError, did_you_mean
from sgdfit.fits.row_weights import columns_of, relative_weights
from sgdfit.fits.weighting import Weighting
from sgdfit.kernels.kernel import Chunk
from sgdfit.models.model import Model

__all__ = ["Task", "counted", "prepare"]

# Squares of what is larger or smaller, summed over many rows, overflow or vanish.
SMALLEST, LARGEST = 1e-140, 1e140


class Task(NamedTuple):
    """A model and the rows it meets.

    Attributes
    ----------
    model : Model
    source : Source
        The columns by name.
    chunk : Chunk
        The model's columns in order, and weights of mean one.
    mean_weight : float
        The mean of the weights as they were given.
    weighting : Weighting
        What weighs the rows, as it was given.
    warnings : tuple of str
    """

    model: Model
    source: Source
    chunk: Chunk
    mean_weight: float
    weighting: Weighting
    warnings: tuple[str, ...]

    @property
    def weights(self) -> str | None:
        """The weights as an expression of columns."""
        return self.weighting.text


def prepare(model: Model, table: Table, weighting: Weighting, missing: str) -> Task:
    """Read the rows that ``model`` and its weights need, and check them.

    Raises
    ------
    DataError
        When a column cannot be used, a weight or standard deviation cannot be one, or there are
        fewer rows than free parameters.
    UsageError
        When the weights are no text.
    """
    source = table.load([*model.columns, *columns_of(weighting.given)], missing=missing)
    chunk, mean_weight = _chunk(model, source, weighting)
    _check_rows(model, source, chunk)
    _check_magnitudes(model, source)
    warnings = (*_lookalikes(model, table), *_constant_columns(model, source))
    return Task(model, source, chunk, mean_weight, weighting, warnings)


def counted(chunk: Chunk) -> int:
    """Return how many rows have a say, which those of weight 0 do not."""
    return chunk.rows if chunk.weights is None else int(np.count_nonzero(chunk.weights))


def _chunk(model: Model, source: Source, weighting: Weighting) -> tuple[Chunk, float]:
    """Return the rows, their weights scaled to a mean of one, and that mean."""
    columns = tuple(source.columns[name] for name in model.columns)
    if weighting.text is None:
        return Chunk(columns, None), 1.0
    weights, mean = relative_weights(weighting, source)
    return Chunk(columns, weights), mean


def _check_magnitudes(model: Model, source: Source) -> None:
    """Refuse columns whose squares leave the range of floating point: sums of them mean nothing."""
    for name in model.columns:
        column = source.columns[name]
        largest = max(abs(float(column.max())), abs(float(column.min())))
        if largest and not SMALLEST <= largest <= LARGEST:
            raise DataError(
                f"the column {name!r} of {source.label} has values of up to {largest:.3g}, whose"
                f" squares floating point cannot hold; rescale it to between {SMALLEST:.0e} and"
                f" {LARGEST:.0e}, as in another unit"
            )


def _check_rows(model: Model, source: Source, chunk: Chunk) -> None:
    """Refuse fewer rows than free parameters."""
    rows = counted(chunk)
    if rows < len(model.free):
        weighty = "" if rows == source.rows else " of a weight above 0"
        raise DataError(
            f"{source.label} has {rows} row(s){weighty} for {len(model.free)} free parameters"
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


def _constant_columns(model: Model, source: Source) -> tuple[str, ...]:
    """Say of columns that do not vary what that means."""
    constant = {
        name: column[0]
        for name, column in source.columns.items()
        if source.rows > 1 and column[0] == column[-1] and column.min() == column.max()
    }
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
