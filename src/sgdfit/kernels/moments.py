"""Extremes and moments of columns, compiled: one reading each, at the speed of memory.

NumPy reads a column once for each of them, and writes what it takes the square of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

__all__ = ["extremes", "moments_of"]

Array = np.ndarray[Any, Any]

# Compilers keep the least of integers in vector registers, but not that of floats, among which
# NaN has no place. Turned over where they are negative, the bits of floats are integers in the
# same order (Herf 2001, Radix tricks).
SOURCE = """\
from numba import njit
from sgdfit.kernels.elementary import log

ANY_ORDER = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True)
def extremes64(bits):
    low = high = bits[0] ^ ((bits[0] >> 63) & 0x7FFFFFFFFFFFFFFF)
    for i in range(len(bits)):
        key = bits[i] ^ ((bits[i] >> 63) & 0x7FFFFFFFFFFFFFFF)
        low = min(low, key)
        high = max(high, key)
    return low, high


@njit(cache=True, nogil=True, error_model="numpy", fastmath=ANY_ORDER)
def moments(target, about):
    first = second = 0.0
    for i in range(len(target)):
        apart = target[i] - about
        first += apart
        second += apart*apart
    return first, second


@njit(cache=True, nogil=True, error_model="numpy", fastmath=ANY_ORDER)
def weighed_moments(target, weights, about):
    first = second = logs = 0.0
    for i in range(len(target)):
        apart = target[i] - about
        first += weights[i]*apart
        second += weights[i]*apart*apart
        logs += log(weights[i])
    return first, second, logs
"""
FLIP = np.int64(0x7FFFFFFFFFFFFFFF)


def extremes(column: Array) -> tuple[float, float]:
    """Return the least and the largest of finite numbers.

    Parameters
    ----------
    column : float64[n] or float32[n]
        At least one number, one beside the other.

    Examples
    --------
    >>> extremes(np.array([3.0, -2.0, 7.0])), extremes(np.array([-1.5, -2.5], dtype=np.float32))
    ((-2.0, 7.0), (-2.5, -1.5))
    """
    wide = _fixed(column.astype(np.float64, copy=False))
    keys = np.array(_compiled("extremes64")(wide.view(np.int64)))
    low, high = (keys ^ ((keys >> 63) & FLIP)).view(np.float64).tolist()
    return low, high


def moments_of(target: Array, weights: Array | None, about: float) -> tuple[float, float, float]:
    """Return Σ w (t − about), Σ w (t − about)² and Σ ln w.

    Parameters
    ----------
    target : float64[n]
    weights : float64[n] or None
        All above 0.
    about : float

    Examples
    --------
    >>> moments_of(np.array([5.0, 7.0]), None, 5.0), moments_of(np.ones(2), np.ones(2), 0.0)
    ((2.0, 4.0, 0.0), (2.0, 2.0, 0.0))
    """
    if weights is None:
        return (*_compiled("moments")(_fixed(target), about), 0.0)
    found: tuple[float, float, float]
    found = _compiled("weighed_moments")(_fixed(target), _fixed(weights), about)
    return found


@cache
def _compiled(name: str) -> Callable[..., Any]:
    from sgdfit.kernels.compiling import function

    return function(SOURCE, name)


def _fixed(column: Array) -> Array:
    """Return a view that cannot be written to: one type, so that it is compiled for once."""
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view
