"""A component's basis functions at many points: what a pursuit chooses from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sgdfit.kernel.candidates import evaluator
from sgdfit.model.separation import Component
from sgdfit.starts.draws import draw_points
from sgdfit.starts.observations import Observations
from sgdfit.starts.ranges import Range

__all__ = ["Dictionary", "tabulate"]

# Points by the number of nonlinear parameters, and how many values a dictionary may hold (32 MB).
POINTS = (512, 4_096, 8_192, 12_288)
VALUES = 4_000_000
# Rows differ in which side of a break they lie on: so many points to each gap between two.
PER_GAP = 4
# A wave's sum of squares has a minimum a turn: so many points to each.
PER_TURN = 8


class Dictionary(NamedTuple):
    """One component's functions at k points.

    Attributes
    ----------
    points : float64[k, q]
    cube : float64[k, q]
        Where they stand in the unit cube that they were drawn from.
    basis : float64[k, b, n]
        Scaled to length one; 0 where there is no value.
    gram : float64[k, b, b]
        The products of each point's basis functions.
    offset : float64[k, n] or None
        What the component adds without a linear parameter.
    """

    points: np.ndarray
    cube: np.ndarray
    basis: np.ndarray
    gram: np.ndarray
    offset: np.ndarray | None


def tabulate(
    part: Component, ranges: Mapping[str, Range], seen: Observations, seed: int
) -> Dictionary:
    """Return the `Dictionary` of ``part``; points without a finite value are left out."""
    count = _count(part, ranges, seen)
    points, cube = draw_points(part.names, ranges, seen, count, seed)
    evaluate = evaluator((part.offset, *part.basis), part.names, seen.names)
    values = evaluate(points, seen.data) * seen.root
    size = np.sqrt(np.einsum("kbn,kbn->kb", values, values))
    fit = np.isfinite(size).all(axis=1)
    values, size = values[fit], size[fit]
    basis = values[:, 1:] / np.where(size[:, 1:] > 0, size[:, 1:], 1.0)[:, :, None]
    gram = np.matmul(basis, basis.transpose(0, 2, 1))
    offset = values[:, 0] if part.offset != 0 else None
    return Dictionary(points[fit], cube[fit], basis, gram, offset)


def _count(part: Component, ranges: Mapping[str, Range], seen: Observations) -> int:
    count = POINTS[min(len(part.names), len(POINTS)) - 1]
    if len(part.names) == 1 and ranges[part.names[0]].role.kind == "position":
        count = max(count, PER_GAP * seen.rows)
    for name in part.names:
        if ranges[name].role.kind in ("frequency", "period"):
            others = len(part.names) - 1
            count = max(count, int(PER_TURN * ranges[name].knots[-1][1]) * 16**others)
    return max(64, min(count, 4 * POINTS[-1], VALUES // (seen.rows * (1 + len(part.basis)))))
