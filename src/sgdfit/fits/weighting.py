"""What each row weighs: a column, or an expression of columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sgdfit.data.source import Source
from sgdfit.errors import DataError, UsageError
from sgdfit.language.evaluation import evaluate
from sgdfit.language.parsing import parse_expression

__all__ = ["checked_weights", "columns_of", "weights_of"]


def columns_of(weights: str | None) -> tuple[str, ...]:
    """Return the columns that an expression of weights needs.

    Raises
    ------
    UsageError
        When ``weights`` is no text.

    Examples
    --------
    >>> columns_of("1/s**2")
    ('s',)
    """
    if weights is None:
        return ()
    if not isinstance(weights, str):
        raise UsageError(
            f"weights is {type(weights).__name__}; name a column of the data, or an expression"
            " of columns such as '1/s**2'"
        )
    return parse_expression(weights)[1]


def weights_of(weights: str, source: Source) -> NDArray[np.float64]:
    """Return the weight of every row as it is given, shape (rows,).

    Raises
    ------
    DataError
        When a weight is negative or not finite.

    Examples
    --------
    >>> weights_of("1/s**2", Source({"s": np.array([1.0, 2.0])}, "the data")).tolist()
    [1.0, 0.25]
    """
    values = evaluate(parse_expression(weights)[0], source.columns)
    return checked_weights(weights, np.asarray(values, dtype=np.float64), source)


def checked_weights(
    weights: str, values: NDArray[np.float64], source: Source
) -> NDArray[np.float64]:
    """Return weights spread over the rows, or say which of them cannot be one."""
    weight = np.broadcast_to(values, source.rows)
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"the weight '{weights}' is {weight[row]:g} in row {row + 1} of {source.label}"
            f" ({bad.sum():,} such rows); a weight is a finite number, 0 or more"
        )
    return weight
