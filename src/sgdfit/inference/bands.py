"""How far a fitted curve, or a new observation, may lie from what is predicted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.inference.intervals import interval

__all__ = ["Band", "around", "curve_variance"]

Array = NDArray[np.float64]


class Band(NamedTuple):
    """A prediction with its interval, row by row.

    Each row's interval has the stated confidence by itself; all of them together have less.

    Attributes
    ----------
    prediction : float64[n]
        In units of the response.
    stderr : float64[n]
        Standard error of the curve, or standard deviation of a new observation about the
        prediction, in units of the response.
    low, high : float64[n]
        Ends of the interval, in units of the response.
    """

    prediction: Array
    stderr: Array
    low: Array
    high: Array


def curve_variance(jacobian: Array, covariance: Array) -> Array:
    """Return the variance of the curve at each row, JᵀCJ: the delta method.

    Bates & Watts 1988, Nonlinear Regression Analysis and Its Applications, section 2.3.2.

    Parameters
    ----------
    jacobian : array, shape (p, n)
        The derivative of the prediction to each parameter.
    covariance : array, shape (p, p)
        Of the parameters. A parameter whose entries are NaN is not known: where the curve
        depends on it the variance is NaN.

    Returns
    -------
    array, shape (n,)
        In squared units of the response; never negative.

    Examples
    --------
    >>> curve_variance(np.array([[1.0, 1.0], [0.0, 2.0]]), np.diag([4.0, 1.0])).tolist()
    [4.0, 8.0]
    """
    known = np.isfinite(np.diag(covariance))
    with np.errstate(all="ignore"):
        root = _root(covariance[np.ix_(known, known)])
        variance = np.square(root.T @ jacobian[known]).sum(axis=0)
    return np.where((jacobian[~known] != 0).any(axis=0), np.nan, variance)


def _root(covariance: Array) -> Array:
    """Return L with LLᵀ the covariance, so that rounding makes no variance negative."""
    size = np.sqrt(np.diag(covariance))
    scale = np.where(size > 0, size, 1.0)
    # scaled, since variances of 1e-300 and 1e300 may stand side by side
    values, vectors = np.linalg.eigh(covariance / scale[:, None] / scale)
    return np.asarray(scale[:, None] * vectors * np.sqrt(np.maximum(values, 0.0)))


def around(prediction: Array, variance: Array, dof: float, level: float = 0.95) -> Band | None:
    """Return the interval of ``level`` around each prediction, by Student's t.

    Parameters
    ----------
    prediction, variance : array, shape (n,)
        In units of the response, and these squared.
    dof : float
        Degrees of freedom; ``inf`` for the normal distribution.
    level : float
        The confidence, between 0 and 1.

    Returns
    -------
    Band or None
        None without degrees of freedom.

    Raises
    ------
    UsageError
        When ``level`` is not between 0 and 1.

    Examples
    --------
    >>> band = around(np.array([2.0]), np.array([1.0]), 10)
    >>> band.low.round(4).tolist(), band.high.round(4).tolist()
    ([-0.2281], [4.2281])
    """
    unit = interval(0.0, 1.0, dof, level)
    if unit is None:
        return None
    stderr = np.sqrt(variance)
    return Band(prediction, stderr, prediction + unit[0] * stderr, prediction + unit[1] * stderr)
