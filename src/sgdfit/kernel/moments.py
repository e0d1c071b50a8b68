"""Extremes and moments of columns, compiled: one reading, at the speed of memory.

NumPy reads a column once for each of them, and writes what it takes the square of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from sgdfit.kernel.summation import PANEL

Array = np.ndarray[Any, Any]

# Compilers keep the least of integers in vector registers, but not that of floats, among which
# NaN has no place. Turned over where they are negative, the bits of floats are integers in the
# same order (Herf 2001, Radix tricks).
SOURCE = f"""\
import numpy
from numba import njit
from sgdfit.kernel.elementary import log

INNER = {{"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}}
ANY_ORDER = {{"reassoc", "contract", "nsz"}}


@njit(**INNER)
def extremes(bits):
    low = high = bits[0] ^ ((bits[0] >> 63) & 0x7FFFFFFFFFFFFFFF)
    for i in range(len(bits)):
        key = bits[i] ^ ((bits[i] >> 63) & 0x7FFFFFFFFFFFFFFF)
        low = min(low, key)
        high = max(high, key)
    return low, high


@njit(**INNER, fastmath=ANY_ORDER)
def moments(target, about):
    first = second = 0.0
    for i in range(len(target)):
        apart = target[i] - about
        first += apart
        second += apart*apart
    return first, second, 0.0


@njit(**INNER, fastmath=ANY_ORDER)
def weighed_moments(target, weights, about):
    first = second = logs = 0.0
    for i in range(len(target)):
        apart = target[i] - about
        first += weights[i]*apart
        second += weights[i]*apart*apart
        logs += log(weights[i])
    return first, second, logs


@njit(cache=True, nogil=True, error_model="numpy")
def look(columns, target, about, ends, sums):
    for panel in range(len(sums)):
        begin, end = {PANEL}*panel, {PANEL}*(panel + 1)
        for k in range(len(columns)):
            low, high = extremes(columns[k][begin:end].view(numpy.int64))
            ends[panel, 0, k] = low
            ends[panel, 1, k] = high
        sums[panel, 0], sums[panel, 1], sums[panel, 2] = moments(target[begin:end], about)


@njit(cache=True, nogil=True, error_model="numpy")
def weighed_look(columns, weights, target, about, ends, sums):
    look(columns, target, about, ends, sums)
    for panel in range(len(sums)):
        begin, end = {PANEL}*panel, {PANEL}*(panel + 1)
        sums[panel, 0], sums[panel, 1], sums[panel, 2] = weighed_moments(
            target[begin:end], weights[begin:end], about
        )
"""
FLIP = np.int64(0x7FFFFFFFFFFFFFFF)


def looked_through(
    columns: tuple[Array, ...], target: Array, weights: Array | None, about: float
) -> tuple[Array, Array]:
    """Return the extremes of columns and the moments of a response, for each panel of `PANEL` rows.

    Parameters
    ----------
    columns : tuple of float64[n] or float32[n]
        At least one.
    target : float64[n]
    weights : float64[n] or None
        All above 0.
    about : float

    Returns
    -------
    extremes : float64[k, 2, c]
        The least and the largest number of each column. NaN counts as beyond infinity, so that
        a panel's rows are finite just where its extremes are: no look for them is needed before.
    moments : float64[k, 3]
        Σ w (t − about), Σ w (t − about)² and Σ ln w.

    Examples
    --------
    >>> y = np.array([5.0, 7.0])
    >>> extremes, moments = looked_through((np.array([3.0, -2.0]), y), y, None, 5.0)
    >>> extremes.tolist(), moments.tolist()
    ([[[-2.0, 5.0], [3.0, 7.0]]], [[2.0, 4.0, 0.0]])
    """
    panels = -(-len(target) // PANEL)
    keys = np.empty((panels, 2, len(columns)), dtype=np.int64)
    moments = np.empty((panels, 3))
    wide = tuple(_fixed(column) for column in columns)
    if weights is None:
        _compiled("look", len(wide))(wide, _fixed(target), about, keys, moments)
    else:
        look = _compiled("weighed_look", len(wide))
        look(wide, _fixed(weights), _fixed(target), about, keys, moments)
    return (keys ^ ((keys >> 63) & FLIP)).view(np.float64), moments


@cache
def _compiled(name: str, columns: int) -> Callable[..., Any]:
    """Return a function for so many columns, which makes a module of its own."""
    from sgdfit.kernel.compiling import function

    return function(f"# Columns: {columns}\n{SOURCE}", name)


def _fixed(column: Array) -> Array:
    """Return a view that cannot be written to: one type, so that it is compiled for once."""
    view = np.ascontiguousarray(column, dtype=np.float64).view()
    view.flags.writeable = False
    return view
