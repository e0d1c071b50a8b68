"""The steps that a trust region allows on a quadratic, and those of the parameters that follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from typing import NamedTuple

import numpy as np

from sgdfit.inference.directions import EPS
from sgdfit.inference.quadratic import ROUNDINGS, Quadratic

__all__ = ["Step", "solved", "step_within"]

# A step is short enough when it is not longer than the radius by more than this.
SLACK = 1.1


class Step(NamedTuple):
    """A step of the trust region.

    Attributes
    ----------
    move : float64[p]
        δ, zero in the parameters that are held.
    damping : float
        λ of (H + λD²)δ = −g; 0 where the region is wide enough for the whole step.
    length : float
        ‖Dδ‖, at most the radius.
    """

    move: np.ndarray
    damping: float
    length: float


def solved(quadratic: Quadratic, linear: np.ndarray, after: np.ndarray | None = None) -> np.ndarray:
    """Return the step of the linear parameters, float64[k], to where they fit best.

    Parameters
    ----------
    quadratic : Quadratic
        Made by `from_rows` with the same ``linear``.
    linear : int[k]
    after : float64[p], optional
        A step of all parameters that is taken before.

    Examples
    --------
    >>> root = np.array([[2.0, 2.0], [0.0, 3.0]])
    >>> both = Quadratic(1.0, root, np.array([0.5, 0.5]), 1.0, 0.75, True, 0.0)
    >>> solved(both, np.array([0])).tolist()
    [-0.25]
    """
    k = len(linear)
    root, offset = quadratic.root[:k], quadratic.offset[:k]
    if after is not None:
        offset = offset + root @ after
    if quadratic.regular:
        return np.array(_substituted(root, _columns(quadratic)[:k], offset))
    corner = root[:, linear]
    norms = np.abs(corner).max(axis=0, initial=0.0)
    norms = np.where(norms > 0, norms, 1.0)
    step = np.linalg.lstsq(corner / norms, -offset, rcond=ROUNDINGS * k * EPS)[0]
    return np.asarray(step / norms)


def _columns(quadratic: Quadratic) -> Sequence[int]:
    """Return the columns in the order in which a regular root is a triangle."""
    return quadratic.order or range(quadratic.root.shape[1])


def _substituted(root: np.ndarray, columns: Sequence[int], offset: np.ndarray) -> list[float]:
    """Return the step in these columns, whose rows are a triangle, that takes ``offset`` away.

    By back substitution in plain numbers: so few are a tenth of the work of a call to LAPACK.
    """
    rows, left = root.tolist(), offset.tolist()
    step = [0.0] * len(rows)
    for i in range(len(rows) - 1, -1, -1):
        row, rest = rows[i], -left[i]
        for j in range(i + 1, len(rows)):
            rest -= row[columns[j]] * step[j]
        step[i] = rest / row[columns[i]]
    return step


def step_within(quadratic: Quadratic, scales: np.ndarray, free: np.ndarray, radius: float) -> Step:
    """Return the step to the quadratic's minimum within ‖Dδ‖ ≤ radius.

    Moré 1978, The Levenberg-Marquardt algorithm, LNM 630, 105-116; here by singular values, which
    make every further radius cheap.

    Parameters
    ----------
    quadratic : Quadratic
    scales : float64[p]
        D; where it is 0, as for a parameter without effect, any number serves.
    free : bool[p]
        The parameters that may move.
    radius : float
        May be infinite.

    Examples
    --------
    >>> from sgdfit.inference.quadratic import from_sums
    >>> bowl = from_sums(np.array([-4.0]), np.array([[2.0]]), 5.0, 1.0)
    >>> step_within(bowl, np.ones(1), np.array([True]), np.inf).move.round(12).tolist()
    [2.0]
    >>> step_within(bowl, np.ones(1), np.array([True]), 0.5).move.round(12).tolist()
    [0.5]
    """
    if quadratic.regular and np.count_nonzero(free) == len(free) - quadratic.taken:
        # The whole step needs no singular values; nearly always it is short enough.
        whole = _whole(quadratic, scales)
        if whole.length <= radius * SLACK:
            return whole
    scales = np.where(scales > 0, scales, 1.0)
    left, sizes, right = np.linalg.svd(quadratic.root[:, free] / scales[free], full_matrices=False)
    kept = sizes > ROUNDINGS * len(scales) * EPS * sizes[:1].max(initial=0.0)
    # Their squares could leave the range of floating point.
    unit = float(sizes[0]) if kept.any() else 1.0
    sizes, along = sizes[kept] / unit, (left.T @ quadratic.offset)[kept]
    damping = _damping(sizes, along, radius * unit)
    scaled = -right[kept].T @ (along * sizes / (sizes**2 + damping))
    move = np.zeros(len(scales))
    move[free] = scaled / unit / scales[free]
    return Step(move, damping * unit * unit, float(np.linalg.norm(scaled)) / unit)


def _whole(quadratic: Quadratic, scales: np.ndarray) -> Step:
    """Return the step to the minimum of a regular quadratic."""
    columns = _columns(quadratic)[quadratic.taken :]
    found = _substituted(quadratic.root, columns, quadratic.offset)
    move = [0.0] * len(scales)
    for column, size in zip(columns, found, strict=True):
        move[column] = size
    units = [unit if unit > 0 else 1.0 for unit in scales.tolist()]
    return Step(np.array(move), 0.0, math.hypot(*map(mul, units, move)))


def _damping(sizes: np.ndarray, along: np.ndarray, radius: float) -> float:
    """Return λ with ‖δ(λ)‖ = radius, 0 where the whole step is shorter.

    Newton's method on 1/‖δ‖, which is nearly linear in λ (Hebden 1973; Moré 1978, section 5).
    """
    weighted = along * sizes
    length = float(np.linalg.norm(along / sizes)) if len(sizes) else 0.0
    if not length > radius * SLACK:
        return 0.0
    damping = 0.0
    for _ in range(30):
        parts = weighted / (sizes**2 + damping)
        length = float(np.linalg.norm(parts))
        if abs(length - radius) <= 0.1 * radius:
            break
        slope = float(((parts / length) ** 2 / (sizes**2 + damping)).sum())
        damping += (length - radius) / radius / slope
    return damping
