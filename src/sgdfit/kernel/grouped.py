"""Least squares for many groups of rows, one after another in compiled code.

What each group is told of, and by whom it is decided whether that is an answer, stands in
`sgdfit.fitting.many`; how it is fitted, in `sgdfit.kernel.levenberg`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from sgdfit.kernel.compiled_kernel import unwritable
from sgdfit.kernel.compiling import function
from sgdfit.kernel.templates import grouped_source
from sgdfit.model.model import Model

# Groups that a thread takes at a time.
BLOCK = 512


class GroupFits(NamedTuple):
    """What is known of the fits of g groups."""

    theta: np.ndarray  # float64[g, p]: the free parameters
    covariance: np.ndarray  # float64[g, p, p]: (JᵀWJ)⁻¹, where the variance of a row is 1/weight
    loss: np.ndarray  # float64[g], as those below: the weighted sum of squared residuals
    distance: np.ndarray  # to the minimum, in standard errors
    pivot: np.ndarray  # the least of the scaled curvature: the square of what rounding leaves of it
    variation: np.ndarray  # the weighted sum of squares of the response about its mean
    # How far the correlation of neighbouring residuals is beyond chance, in standard deviations.
    beyond: np.ndarray
    rounding: np.ndarray  # of parameters and response: the norm of what it may move the residuals
    free: np.ndarray  # how many parameters are on no bound


def make_grouped(model: Model, *, weighted: bool) -> Callable[..., GroupFits]:
    """Return what fits groups of rows of a model whose loss is the squared residual.

    It takes the columns and weights, float64[n] each; where the rows of each group begin and end,
    int64[g] each, in any order, also of the same rows; and starts, float64[1, k, p] for all groups
    or float64[g, k, p]. Of several starts linear parameters are solved for, and so many as are to
    be ``followed`` are: the best first, each time without the rest of the stretch of the list, of
    ``apart`` places, that it stands in. The lowest end is returned. A ``plain`` walk does not solve
    for linear parameters at each step, which is quicker, and misses the floors of steep valleys.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> x = np.tile(np.arange(10.0), 2)
    >>> y = np.concatenate([5 * 0.5 ** x[:10], 3 * 0.8 ** x[10:]])
    >>> fit = make_grouped(build("y = a*b**x", ["x", "y"]), weighted=False)
    >>> fit((x, y), [0, 10], [10, 20], [[[4.0, 0.6]]]).theta.round(6).tolist()
    [[5.0, 0.5], [3.0, 0.8]]
    """
    compiled = function(grouped_source(model, weighted), "fit_groups")
    free = [model.parameters[name] for name in model.free]
    low, high = np.array([p.low for p in free]), np.array([p.high for p in free])
    is_linear = np.array([name in model.linear for name in model.free])
    linear, unbounded = np.flatnonzero(is_linear), np.isinf(low) & np.isinf(high)
    floor = np.flatnonzero(is_linear & unbounded)

    def fit(
        arrays: Sequence[np.ndarray],
        firsts: Any,
        lasts: Any,
        starts: Any,
        followed: int = 1,
        apart: int = 1,
        threads: int = 1,
        plain: bool = False,
    ) -> GroupFits:
        columns = tuple(map(unwritable, arrays))
        firsts, lasts, starts = np.asarray(firsts), np.asarray(lasts), np.asarray(starts)
        count, size, solved = len(firsts), len(free), linear[:0] if plain else floor
        theta, covariance = np.empty((count, size)), np.empty((count, size, size))
        facts = np.empty((count, len(GroupFits._fields) - 2))

        def block(first: int) -> None:
            some = slice(first, first + BLOCK)
            own = starts if len(starts) == 1 else starts[some]
            ends, out = (firsts[some], lasts[some]), (theta[some], covariance[some], facts[some])
            compiled(columns, *ends, own, followed, apart, linear, solved, low, high, *out)

        with ThreadPoolExecutor(threads, "sgdfit-groups") as pool:
            list(pool.map(block, range(0, count, BLOCK)))
        return GroupFits(theta, covariance, *facts.T)

    return fit
