"""Least squares over few rows in compiled code: what `sgdfit.kernel.grouped` calls for each group.

A damped Gauss-Newton walk (Levenberg 1944, Quarterly of Applied Mathematics 2, 164-168; Marquardt
1963, SIAM Journal 11, 431-441) on the normal equations, in units in which each column of the
Jacobian has the norm 1. Of weighted residuals r with the Jacobian J the loss Σ r² has the gradient
g = 2Jᵀr and the curvature H = 2JᵀJ. With Cholesky's H = LLᵀ the step to the minimum is
-L⁻ᵀL⁻¹g, it takes |L⁻¹g|²/2 off the loss, and √(|L⁻¹g|²/p / 2s²) is how far the minimum is in
standard errors, where s² is the variance of the residuals (Bates & Watts 1981, Technometrics
23(2), 179-183).

``total`` holds what `sgdfit.kernel.kernel` adds up over rows: weight, loss, gradient, upper
triangle of the curvature row by row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy
from numba import njit

from sgdfit.inference.spectrum import EPS as EPS
from sgdfit.inference.statistics import WINDOWS

Array = numpy.ndarray[Any, Any]
Function = TypeVar("Function", bound=Callable[..., Any])

# As in `sgdfit.fitting`: in standard errors, the distance at which a walk of few rows may end.
TOLERANCE = 1e-11
# From here on rounding decides whether a step lowers the loss, by no more than this share of it.
NEAR, ROUNDING = 1e-4, 1e-13
MOST_STEPS = 100
# Where a step leaves more than this share of the distance, the next takes the loss's own curvature,
# by differences over so many standard errors of one parameter by itself.
SLOW, NUDGE = 0.25, 1e-4
LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e10
# A pivot of the scaled curvature below this leaves linear parameters where they are.
SINGULAR = 1e-12

# Python never calls these, and without the means to they are compiled sooner.
INNER = {
    "error_model": "numpy",
    "nogil": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
compiled: Callable[[Function], Function] = njit(**INNER)
# A call hands on seven words for each array, which takes longer than what these do.
inlined: Callable[[Function], Function] = njit(**INNER, forceinline=True)


@inlined
def assign(values: Array, others: Array) -> None:
    """Copy few numbers, which a loop does sooner than an assignment to a slice."""
    for i in range(len(values)):
        values[i] = others[i]


@inlined
def is_finite(values: Array) -> bool:
    """Return whether the sum of few numbers is finite."""
    total = 0.0
    for i in range(len(values)):
        total += values[i]
    return math.isfinite(total)


@inlined
def place(a: int, b: int, count: int) -> int:
    """Return where the sums hold the curvature between two parameters."""
    i, j = min(a, b), max(a, b)
    return 2 + count + i * (2 * count - i - 1) // 2 + j


@compiled
def cholesky(total: Array, chosen: Array, damping: float, root: Array, scale: Array) -> float:
    """Factor the curvature between the ``chosen`` parameters; return its least pivot.

    The pivot is the square of a diagonal entry, at most 1: 1 less the share of a column of the
    Jacobian that the others span. ``root`` is NaN from where it is not above 0.
    """
    least, count = 1.0, len(root)
    for i in range(len(chosen)):
        a = chosen[i]
        square = total[place(a, a, count)]
        scale[i] = math.sqrt(square) if square > 0.0 else math.nan
        for j in range(i + 1):
            value = total[place(a, chosen[j], count)] / (scale[i] * scale[j])
            if i == j:
                value += damping
            for k in range(j):
                value -= root[i, k] * root[j, k]
            if i == j:
                least = value if not value >= least else least
                root[i, i] = math.sqrt(value) if value > 0.0 else math.nan
            else:
                root[i, j] = value / root[j, j]
    return least


@compiled
def solve(gradient: Array, chosen: Array, root: Array, scale: Array, step: Array) -> float:
    """Set ``step`` to the way to the minimum; return twice what it takes off the loss."""
    square = 0.0
    for i in range(len(chosen)):
        value = -gradient[chosen[i]] / scale[i]
        for k in range(i):
            value -= root[i, k] * step[k]
        step[i] = value / root[i, i]
        square += step[i] * step[i]
    for i in range(len(chosen) - 1, -1, -1):
        value = step[i]
        for k in range(i + 1, len(chosen)):
            value -= root[k, i] * step[k]
        step[i] = value / root[i, i]
    for i in range(len(chosen)):
        step[i] /= scale[i]
    return square


@inlined
def move(theta: Array, chosen: Array, step: Array, low: Array, high: Array, trial: Array) -> bool:
    """Set ``trial`` to where a step of the ``chosen`` parameters leads; whether bounds cut it."""
    assign(trial, theta)
    held = False
    for i in range(len(chosen)):
        a = chosen[i]
        trial[a] = min(max(theta[a] + step[i], low[a]), high[a])
        held |= trial[a] != theta[a] + step[i]
    return held


@compiled
def off_bounds(theta: Array, total: Array, low: Array, high: Array) -> Array:
    """Return which parameters are not pushed against a bound that they stand on."""
    chosen, count = numpy.arange(len(theta)), 0
    for i in range(len(theta)):
        slope = total[2 + i]
        below, above = theta[i] <= low[i] and slope >= 0.0, theta[i] >= high[i] and slope <= 0.0
        if not (below or above):
            chosen[count] = i
            count += 1
    return chosen[:count]


@compiled
def beyond_chance(alike: Array, rows: int) -> float:
    """Return what `sgdfit.inference.statistics.serial_correlation` says of lagged products."""
    count = len(alike)
    if count == 0:
        return 0.0
    squares: float = 0.0
    most = -math.inf
    for k in range(count):
        squares += alike[k] * alike[k] / (rows - k - 1) / count
    for width in WINDOWS:
        value, variance = 0.0, 0.0
        for k in range(min(count, width - 1)):
            share = 1.0 - (k + 1) / width
            value += share * alike[k]
            variance += share * share * (rows - k - 1)
        most = max(most, value / math.sqrt(variance))
    mean, variance = 1.0 - 2.0 / (9.0 * count), 2.0 / (9.0 * count)
    quick: float = (squares ** (1.0 / 3.0) - mean) / math.sqrt(variance)
    return max(most, quick)


@compiled
def add_lagged(values: Array, order: Array, factor: float, alike: Array) -> None:
    """Add the products of values 1, 2, … places apart, times ``factor``."""
    for k in range(len(alike)):
        value = 0.0
        for i in range(len(order) - k - 1):
            value += values[order[i]] * values[order[i + k + 1]]
        alike[k] += factor * value


@compiled
def serial_correlation(
    residuals: Array, jacobian: Array, keys: Array, root: Array, scale: Array
) -> float:
    """Return how far the correlation of neighbouring residuals is beyond chance.

    Along each of the ``keys``, float64[k, rows]; ``root`` and ``scale`` are of the curvature. The
    Jacobian, float64[p, rows], is overwritten by what spans the same, orthonormal.
    """
    count, rows = jacobian.shape
    square = (residuals * residuals).sum()
    if rows <= count or not square > 0.0:
        return 0.0
    for i in range(count):
        for r in range(rows):
            value = math.sqrt(2.0) * jacobian[i, r] / scale[i]
            for k in range(i):
                value -= root[i, k] * jacobian[k, r]
            jacobian[i, r] = value / root[i, i]
    beyond, before = -math.inf, numpy.zeros(rows, numpy.int64)
    for key in keys:
        order = key.argsort(kind="mergesort")
        # A curve that rises or falls has its rows in the order of x: products again the same.
        if (order == before).all() or (order == before[::-1]).all():
            continue
        before = order
        alike = numpy.zeros(min(WINDOWS[-1], rows) - 1)
        add_lagged(residuals, order, (rows - count) / square, alike)
        for i in range(count):
            add_lagged(jacobian[i], order, 1.0, alike)
        beyond = max(beyond, beyond_chance(alike, rows))
    return beyond
