"""Sums over rows that depend on the rows alone, not on who adds them up, or in which pieces.

Rows are cut into panels of fixed length. Within one, sums of short blocks are added in order, with
what rounding takes away kept beside them (Knuth, The Art of Computer Programming 2, 4.2.2, theorem
B). Panels are then added exactly, in whatever order they come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

# A panel of three float64 columns takes 1.5 MB, which a second-level cache holds.
PANEL = 65_536
# Within a block the compiler may add in any order, which is what vector registers need.
BLOCK_ROWS = 4096

# Sums near the largest float are added at this scale; it is a power of two, so nothing is rounded.
SCALE = 2.0**-64


class Sums(NamedTuple):
    """Sums over rows."""

    rows: int
    weight: float  # sum of the weights
    loss: float  # of the weighted losses
    gradient: np.ndarray  # float64[p]: of the weighted derivatives of the loss
    # float64[p, p]: sum over rows of weight · ∂²loss/∂prediction² · J Jᵀ (generalised
    # Gauss-Newton), where J is the derivative of the prediction.
    curvature: np.ndarray


def length(parameters: int) -> int:
    """Return how many sums there are: weight, loss, gradient, upper triangle of the curvature.

    Examples
    --------
    >>> length(3)
    11
    """
    return 2 + parameters + parameters * (parameters + 1) // 2


def sum_panels(panel_sums: Iterable[np.ndarray], rows: int, parameters: int) -> Sums:
    """Add up the partial sums of any number of panels, exactly, and round once.

    ``panel_sums`` are float64[k, 2, length(parameters)] each, as `Kernel.panel_sums` returns them.
    The result depends neither on the order of the panels nor on how they are grouped; where a part
    is infinite or NaN, so is what it goes into, by the rules of IEEE 754.

    Examples
    --------
    >>> panels = [np.array([[[big, big], [0.0, 0.0]]]) for big in (1e16, 1.0, -1e16)]
    >>> sums = sum_panels(panels, rows=3, parameters=0)
    >>> sums.weight, sums.loss
    (1.0, 1.0)
    """
    parts = list(panel_sums)
    if len(parts) == 1 and len(parts[0]) == 1:
        # A single panel needs no more: the sum of two floats is rounded once.
        total = parts[0][0, 0] + parts[0][0, 1]
        if np.isfinite(total).all():
            return _named(total, rows, parameters)
    parts.append(np.zeros((0, 2, length(parameters))))
    stacked = np.concatenate(parts).reshape(-1, length(parameters))
    total = np.array([_total(entry) for entry in stacked.T])
    return _named(total, rows, parameters)


def _total(entry: np.ndarray) -> float:
    """Return the rounded exact sum; its high parts stand at even, its low ones at odd places."""
    try:
        total = math.fsum(entry.tolist())
    except (OverflowError, ValueError):
        total = math.nan
    if math.isfinite(total):
        return total
    high = entry[0::2]
    if not np.isfinite(high).all():
        with np.errstate(invalid="ignore"):
            return float(high[~np.isfinite(high)].sum())
    finite = np.where(np.isfinite(entry), entry, 0.0) * SCALE
    with np.errstate(over="ignore"):
        return float(np.float64(math.fsum(finite.tolist())) / SCALE)


def condensed(terms: np.ndarray) -> np.ndarray:
    """Return few numbers in the place of many, whose exact sum by column is the same.

    Of ``terms``, float64[k, c], each column becomes its rounded sum, what rounding took away from
    that, and so on to the last bit. What is not finite, or overflows, stays as it is.

    Examples
    --------
    >>> condensed(np.array([[1e16], [1.0], [1.0], [1e-20]])).tolist()
    [[1.0000000000000002e+16], [1e-20]]
    """
    if not np.isfinite(terms).all():
        return terms
    try:
        found = [_expansion(column) for column in terms.T.tolist()]
    except OverflowError:
        return terms
    short = np.zeros((max(map(len, found), default=0), terms.shape[1]))
    for column, parts in zip(short.T, found, strict=True):
        column[: len(parts)] = parts
    return short


def _expansion(values: list[float]) -> list[float]:
    parts: list[float] = []
    while left := math.fsum([*values, *(-part for part in parts)]):
        parts.append(left)
    return parts


def _named(total: np.ndarray, rows: int, parameters: int) -> Sums:
    curvature = np.empty((parameters, parameters))
    upper, across = triangle(parameters)
    curvature[upper, across] = curvature[across, upper] = total[2 + parameters :]
    gradient = total[2 : 2 + parameters].copy()
    return Sums(rows, float(total[0]), float(total[1]), gradient, curvature)


@lru_cache(maxsize=64)
def triangle(parameters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of each entry of the upper triangle, as `numpy.triu_indices` does.

    Examples
    --------
    >>> [indices.tolist() for indices in triangle(2)]
    [[0, 0, 1], [0, 1, 1]]
    """
    rows, columns = np.triu_indices(parameters)
    return rows, columns


Array = np.ndarray[Any, Any]

MOMENTS = f"""\
from numba import njit
from sgdfit.kernel.elementary import log

FAST = {{
    "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
    "fastmath": {{"reassoc", "contract", "nsz"}},
}}


@njit(**FAST)
def total(column):
    found = 0.0
    for i in range(len(column)):
        found += column[i]
    return found


@njit(**FAST)
def moments(target, weights, about):
    first = second = logs = 0.0
    for i in range(len(target)):
        weight = $weight
        apart = target[i] - about
        first += weight*apart
        second += weight*apart*apart
        logs += $log
    return first, second, logs


@njit(cache=True, nogil=True, error_model="numpy")
def column_moments(columns, weights, target, about, sums):
    for panel in range(len(sums)):
        begin, end = {PANEL}*panel, {PANEL}*(panel + 1)
        for k in range(len(columns)):
            sums[panel, 0] += total(columns[k][begin:end])
        first, second, logs = moments(target[begin:end], weights[begin:end], about)
        sums[panel, 1], sums[panel, 2], sums[panel, 3] = first, second, logs
"""


def column_moments(
    columns: tuple[Array, ...], target: Array, weights: Array | None, about: float
) -> Array:
    """Return sums over each panel of `PANEL` rows of columns and a response, float64[k, 4].

    Σ of all numbers of the ``columns``, Σ w (t − about), Σ w (t − about)² and Σ ln w, of
    ``weights`` above 0.

    Examples
    --------
    >>> y = np.array([5.0, 7.0])
    >>> column_moments((np.array([3.0, -2.0]), y), y, None, 5.0).tolist()
    [[13.0, 2.0, 4.0, 0.0]]
    """
    sums = np.zeros((-(-len(target) // PANEL), 4))
    # One type of array, so that it is compiled for once.
    wide = tuple(map(_fixed, columns))
    target = _fixed(target)
    compiled = _column_moments(len(wide), weights is not None)
    compiled(wide, target if weights is None else _fixed(weights), target, about, sums)
    return sums


@cache
def _column_moments(columns: int, weighted: bool) -> Callable[..., Any]:
    """Return a function for so many columns, which makes a module of its own."""
    from sgdfit.kernel.compiling import function

    source = MOMENTS.replace("$weight", "weights[i]" if weighted else "1.0")
    source = source.replace("$log", "log(weight)" if weighted else "0.0")
    return function(f"# Columns: {columns}\n{source}", "column_moments")


def _fixed(column: Array) -> Array:
    view = np.ascontiguousarray(column, dtype=np.float64).view()
    view.flags.writeable = False
    return view
