"""Quasi-random points, stretched over the ranges of the nonlinear parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sgdfit.kernel.candidates import evaluator
from sgdfit.starts.observations import Observations
from sgdfit.starts.ranges import Range

__all__ = ["draw_points", "low_discrepancy"]

Expr = Any  # SymPy ships no types

# Multiples of a share that fall as evenly as the share itself, and independently of it.
SECOND, THIRD = 7_919.0, 104_729.0
# The share of intercepts that make their sum 0 at a row, and of positions among the data.
CENTRED, AMONG = 0.7, 0.75


def low_discrepancy(count: int, dimension: int, seed: int) -> np.ndarray:
    """Return ``count`` points that fill the unit cube evenly: float64[count, dimension].

    The additive recurrence of the generalised golden ratio (M. Roberts, "The unreasonable
    effectiveness of quasirandom sequences", 2018), begun at a place that ``seed`` draws.

    Examples
    --------
    >>> points = low_discrepancy(64, 2, seed=0)
    >>> counts, *_ = np.histogram2d(*points.T, bins=4, range=((0, 1), (0, 1)))
    >>> int(counts.min()), int(counts.max())
    (3, 5)
    """
    ratio = 2.0
    for _ in range(64):
        ratio = (1.0 + ratio) ** (1.0 / (dimension + 1))
    steps = ratio ** -np.arange(1.0, dimension + 1)
    shift = np.random.default_rng(seed).random(dimension)
    return (shift + np.arange(1, count + 1)[:, None] * steps) % 1.0


def draw_points(
    names: Sequence[str], ranges: Mapping[str, Range], seen: Observations, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and where they stand in the unit cube, both float64[count, len(names)]."""
    cube = low_discrepancy(count, len(names), seed)
    spans = [ranges[name] for name in names]
    columns = zip(spans, cube.T, strict=True)
    points = np.stack([_inside(at, _stretched(at, share), share) for at, share in columns], axis=1)
    for i, at in enumerate(spans):
        if at.role.kind in ("position", "intercept"):
            values = _centred(at.role.zero, names, points, i, cube[:, i], seen)
            points[:, i] = _inside(at, values, cube[:, i])
    return points, cube


def _stretched(at: Range, share: np.ndarray) -> np.ndarray:
    """Map shares of the points onto values."""
    minus = share < at.negative
    within = (share - at.negative) / (1.0 - at.negative)
    if at.negative:
        within = np.where(minus, share / at.negative, within)
    places = np.interp(within, *np.array(at.knots).T)
    if at.role.kind == "period":
        places = 1.0 / places
    elif at.role.kind not in ("position", "phase", "frequency"):
        places = 10.0**places
    return np.asarray(np.where(minus, -at.unit, at.unit) * places)


def _centred(
    zero: Expr,
    names: Sequence[str],
    points: np.ndarray,
    own: int,
    share: np.ndarray,
    seen: Observations,
) -> np.ndarray:
    """Take most values so that the sum that they stand in is 0 somewhere among the rows."""
    within = {str(name) for name in zero.free_symbols}
    drawn = [i for i, name in enumerate(names) if name in within]
    if not within <= {*names, *seen.names}:
        return np.asarray(points[:, own])
    evaluate = evaluator((zero,), tuple(names[i] for i in drawn), seen.names)
    if not drawn:
        zeros = evaluate(points[:1, drawn], seen.data)[0, 0]
        return _among(zeros[np.isfinite(zeros)], share)
    zeros = evaluate(points[:, drawn], seen.data)[:, 0]
    row = (share * SECOND % 1.0 * zeros.shape[1]).astype(np.int64)
    taken = zeros[np.arange(len(row)), row]
    return np.asarray(np.where(share * THIRD % 1.0 < CENTRED, taken, points[:, own]))


def _among(zeros: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Spread most values evenly over the range of the zeros, and the rest beyond its ends."""
    low, high = zeros.min(initial=np.inf), zeros.max(initial=-np.inf)
    width = (high - low) or abs(high) or 1.0
    far = width * 10.0 ** np.interp(share, (AMONG, 1.0), (-2.0, 2.0))
    outside = np.where(share * THIRD % 1.0 < 0.5, low - far, high + far)
    return np.asarray(np.where(share < AMONG, low + (high - low) * share / AMONG, outside))


def _inside(at: Range, values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mirror what lies beyond a bound; between two bounds, spread what is still outside."""
    values = np.where(values < at.low, 2.0 * at.low - values, values)
    values = np.where(values > at.high, 2.0 * at.high - values, values)
    out = ~((values >= at.low) & (values <= at.high))
    if not out.any():
        return values
    if not (math.isfinite(at.low) and math.isfinite(at.high)):
        return np.asarray(np.clip(values, at.low, at.high))
    even = at.low + (at.high - at.low) * share
    if at.low > 0 and at.high > 100 * at.low:
        even = at.low * (at.high / at.low) ** share
    return np.asarray(np.where(out, even, values))
