"""What is fitted to what: a model and the rows that it meets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.data.source import Source
from sgdfit.data.table import Table
from sgdfit.errors import DataError, UsageError, did_you_mean
from sgdfit.kernels.kernel import Chunk
from sgdfit.language.evaluation import evaluate
from sgdfit.language.parsing import parse_expression
from sgdfit.models.model import Model

__all__ = ["Task", "counted", "prepare"]


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
    weights : str or None
        What weighs the rows, as it was given.
    warnings : tuple of str
    """

    model: Model
    source: Source
    chunk: Chunk
    mean_weight: float
    weights: str | None
    warnings: tuple[str, ...]


def prepare(model: Model, table: Table, weights: str | None, missing: str) -> Task:
    """Read the rows that ``model`` and ``weights`` need, and check them.

    Raises
    ------
    DataError
        When a column cannot be used, a weight is negative or not finite, or there are fewer rows
        than free parameters.
    UsageError
        When ``weights`` is no text.
    """
    source = table.load([*model.columns, *_weight_columns(weights)], missing=missing)
    chunk, mean_weight = _chunk(model, source, weights)
    _check_rows(model, source, chunk)
    warnings = (*_lookalikes(model, table), *_constant_columns(model, source))
    return Task(model, source, chunk, mean_weight, weights, warnings)


def counted(chunk: Chunk) -> int:
    """Return how many rows have a say, which those of weight 0 do not."""
    return chunk.rows if chunk.weights is None else int(np.count_nonzero(chunk.weights))


def _weight_columns(weights: str | None) -> tuple[str, ...]:
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
    largest = float(weight.max())
    if largest == 0:
        raise DataError(f"every weight '{weights}' of {source.label} is 0; nothing is left to fit")
    # Scaled first, since the sum of large weights could overflow.
    scaled = weight / largest
    mean = float(scaled.mean())
    return Chunk(columns, scaled / mean), largest * mean


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
