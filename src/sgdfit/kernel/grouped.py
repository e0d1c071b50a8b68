"""Least squares for many groups of rows, one after another in compiled code.

What each group is told of, and by whom it is decided whether that is an answer, stands in
`sgdfit.fitting.many`; how it is fitted, in `sgdfit.kernel.levenberg`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sgdfit.kernel.compiled_kernel import unwritable
from sgdfit.kernel.compiling import function
from sgdfit.kernel.templates import grouped_source
from sgdfit.model.model import Model


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
    steps: np.ndarray


def make_grouped(model: Model, *, weighted: bool) -> Callable[..., GroupFits]:
    """Return what fits groups of rows of a model whose loss is the squared residual.

    It takes the columns and weights, float64[n] each; where the rows of each group begin and end,
    int64[g] each; starts, float64[1, k, p] for all groups or float64[g, k, p], of which each goes
    on with the best; which parameters are linear, int64[]; and the bounds, float64[p] each.
    """
    compiled = function(grouped_source(model, weighted), "fit_groups")

    def fit(
        arrays: tuple[np.ndarray, ...],
        firsts: np.ndarray,
        lasts: np.ndarray,
        starts: np.ndarray,
        linear: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
    ) -> GroupFits:
        count, size = len(firsts), len(model.free)
        theta, covariance = np.empty((count, size)), np.empty((count, size, size))
        facts = np.empty((count, len(GroupFits._fields) - 2))
        arrays = tuple(map(unwritable, arrays))
        compiled(arrays, firsts, lasts, starts, linear, low, high, theta, covariance, facts)
        return GroupFits(theta, covariance, *facts.T)

    return fit
