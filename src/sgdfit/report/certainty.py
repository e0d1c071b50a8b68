"""What a report says of how sure the estimates are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sgdfit.result.result import Result
from sgdfit.result.rounding import number, plus_minus

__all__ = ["how_sure"]

STRONG_CORRELATION = 0.9
SHOWN_PAIRS = 6

_COVARIANCE = {
    "classical": "classical (residual variance × inverse curvature)",
    "sandwich": "sandwich (also right where the scatter differs from row to row)",
}


def how_sure(result: Result) -> Iterator[tuple[str, str]]:
    """Say by which method the standard errors came, what sets their scale, what correlates."""
    method, _, reason = result.covariance_method.partition(": ")
    if method == "none":
        yield "standard errors", f"not known: {reason}" if reason else "not known"
    elif method == "classical" and result.absolute_sigma:
        yield "standard errors", "classical (variance of the rows × inverse curvature)"
    else:
        yield "standard errors", _COVARIANCE.get(method, result.covariance_method)
    if result.covariance is not None:
        yield from _sample(result)
        yield from _scale(result, method)
    for combination in result.undetermined:
        yield "not determined", combination
    for known in result.determined:
        yield "determined", f"{known.text} = {plus_minus(known.value, known.stderr)}"
    if result.correlation is not None and len(result.free) > 1:
        yield f"correlations above {STRONG_CORRELATION}", _correlations(result)


def _sample(result: Result) -> Iterator[tuple[str, str]]:
    """Say of which rows the standard errors are, where that is not all of them."""
    if result.drawn_from is None:
        return
    smaller = number(np.sqrt(result.drawn_from / result.rows), 2)
    yield (
        "of a sample",
        f"of {result.rows:,} random rows; those of all {result.drawn_from:,} are about"
        f" {smaller} times smaller",
    )


def _scale(result: Result, method: str) -> Iterator[tuple[str, str]]:
    """Say where the size of the errors, and the width of the intervals, come from."""
    if result.absolute_sigma:
        given = f"sigma {result.sigma}" if result.sigma else f"the weights {result.weights}"
        yield "scale", f"absolute: from {given} as given"
    elif method == "classical":
        yield "scale", f"scaled by the residuals{_scatter(result)}"
    if any(estimate.interval is not None for estimate in result.estimates.values()):
        left = result.degrees_of_freedom
        plural = "degree" if left == 1 else "degrees"
        student = f"Student's t, {left:,} {plural} of freedom"
        usual = "normal" if result.absolute_sigma else student
        profiled = result.intervals == "profile"
        yield "95% intervals", f"profile likelihood, {usual}" if profiled else usual


def _scatter(result: Result) -> str:
    """Say by how much rows scatter about the curve, in units of the response."""
    variance = result.noise_variance
    variance = result.reduced_chi_square if variance is None else variance
    if variance is None:
        return ""
    row = "row" if result.weights is None else "row of weight 1"
    return f" (a {row} scatters by {number(np.sqrt(variance))})"


def _correlations(result: Result) -> str:
    matrix = np.asarray(result.correlation)
    strong = [
        (abs(matrix[i, j]), f"{result.free[i]} and {result.free[j]} {matrix[i, j]:.3f}")
        for i, j in zip(*np.triu_indices(len(result.free), 1), strict=True)
        if abs(matrix[i, j]) > STRONG_CORRELATION
    ]
    texts = [text for _, text in sorted(strong, key=lambda pair: -pair[0])]
    more = f", and {len(texts) - SHOWN_PAIRS} more" if len(texts) > SHOWN_PAIRS else ""
    return ", ".join(texts[:SHOWN_PAIRS]) + more or "none"
