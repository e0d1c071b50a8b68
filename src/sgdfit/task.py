"""What is fitted to what: a model and the rows that it meets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.errors import DataError, UsageError
from sgdfit.evaluation import evaluate
from sgdfit.kernel import Chunk
from sgdfit.model import Model
from sgdfit.parsing import parse_expression
from sgdfit.source import Source
from sgdfit.table import Table

__all__ = ["Task", "prepare"]


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
    return Task(model, source, chunk, mean_weight, weights, _checked(model, source))


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
