"""What each row weighs, computed from its columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sgdfit.data.source import Source
from sgdfit.errors import DataError, UsageError
from sgdfit.fits.weighting import Weighting
from sgdfit.language.evaluation import evaluate
from sgdfit.language.parsing import parse_expression

__all__ = ["columns_of", "relative_weights", "weights_of"]


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
    weight = _spread(weights, source)
    _refuse(~(np.isfinite(weight) & (weight >= 0)), "weight", weights, weight, source)
    return weight


def relative_weights(weighting: Weighting, source: Source) -> tuple[NDArray[np.float64], float]:
    """Return the weights of the rows at a mean of one, shape (rows,), and the mean that they had.

    Raises
    ------
    DataError
        When a weight is negative or not finite, all are 0, or a standard deviation is not
        positive and finite.

    Examples
    --------
    >>> source = Source({"s": np.array([1.0, 0.5])}, "the data")
    >>> weights, mean = relative_weights(Weighting(sigma="s"), source)
    >>> weights.tolist(), mean
    ([0.4, 1.6], 2.5)
    """
    scaled, largest = _scaled(weighting, source)
    mean = float(scaled.mean())
    if not 0 < largest * mean < np.inf:
        said = f"sigma '{weighting.sigma}'" if weighting.sigma else f"weights '{weighting.weights}'"
        raise DataError(
            f"the {said} of {source.label} gives rows a weight of {largest * mean:g}, out of the"
            " range of floating point; rescale the response and it together"
        )
    return scaled / mean, largest * mean


def _scaled(weighting: Weighting, source: Source) -> tuple[NDArray[np.float64], float]:
    """Return weights of which the largest is one, since the sum of large ones could overflow."""
    if weighting.sigma is not None:
        sigma = _spread(weighting.sigma, source)
        _refuse(~(np.isfinite(sigma) & (sigma > 0)), "sigma", weighting.sigma, sigma, source)
        least = float(sigma.min())
        # squared last: the square of a tiny sigma could vanish
        with np.errstate(over="ignore", divide="ignore"):
            return np.square(least / sigma), float(np.square(1 / np.float64(least)))
    assert weighting.weights is not None
    weight = weights_of(weighting.weights, source)
    largest = float(weight.max())
    if largest == 0:
        raise DataError(
            f"every weight '{weighting.weights}' of {source.label} is 0; nothing is left to fit"
        )
    return weight / largest, largest


def _spread(text: str, source: Source) -> NDArray[np.float64]:
    values = evaluate(parse_expression(text)[0], source.columns)
    return np.broadcast_to(np.asarray(values, dtype=np.float64), source.rows)


_ALLOWED = {
    "weight": "a weight is a finite number, 0 or more",
    "sigma": "a standard deviation is a finite number above 0",
}


def _refuse(
    bad: NDArray[np.bool_], what: str, text: str, values: NDArray[np.float64], source: Source
) -> None:
    """Say which row has a value that cannot be."""
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"the {what} '{text}' is {values[row]:g} in row {row + 1} of {source.label}"
            f" ({bad.sum():,} such rows); {_ALLOWED[what]}"
        )
