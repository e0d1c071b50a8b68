"""What a sample of rows tells of the loss of all of them, where the estimates have moved."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.inference.quadratic import Quadratic, from_sums
from sgdfit.kernel.kernel import Kernel
from sgdfit.online.expansion import Totals, expanded_rows, is_sound
from sgdfit.online.local import Local
from sgdfit.online.reservoir import Reservoir, Stand

__all__ = ["Correction", "corrected", "in_errors"]

# A quadratic is renewed where its gradient is off by this share of a standard error.
OFF = 0.01


class Correction(NamedTuple):
    """How the past looks from where the estimates are.

    Attributes
    ----------
    past : Local
    doubt : float64[p, p]
        The mean square of what may be wrong with its gradient.
    is_new : bool
        Whether the quadratic that was known did not hold.
    """

    past: Local
    doubt: np.ndarray
    is_new: bool


def in_errors(whole: Quadratic, noise: float, square: np.ndarray) -> float:
    """Return how far a gradient that may be wrong takes the estimates, in standard errors.

    Parameters
    ----------
    whole : Quadratic
        Of all rows.
    noise : float
        The variance of the gradient for a unit of curvature.
    square : float64[p, p]
        The mean square of what may be wrong.
    """
    if not noise > 0:
        return 0.0 if not square.any() else np.inf
    half = np.linalg.lstsq(whole.root.T, square, rcond=None)[0]
    moves = np.linalg.lstsq(whole.root.T, half.T, rcond=None)[0]
    return float(np.sqrt(max(0.0, np.trace(moves)) / len(square) / noise))


def corrected(
    kernel: Kernel,
    held: Reservoir,
    stand: Stand,
    past: Local,
    totals: Totals,
    theta: np.ndarray,
    reach: np.ndarray,
    whole: Quadratic,
    noise: float,
) -> Correction | None:
    """Return the past's loss near ``theta``, judged by the sample; None outside its domain.

    The sample tells no more than how rows differ from what was known of them when they were folded,
    so that what it leaves open is a share of that difference (a control variate).

    Parameters
    ----------
    stand : Stand
        What the rows of the sample stand for.
    past : Local
        Seen from ``theta``.
    totals : Totals
        Of all rows as they were folded.
    reach : float64[p]
        Of differences.
    whole : Quadratic
        Of all rows, those that are kept included.
    noise : float
        The variance of the gradient for a unit of curvature.
    """
    rows, q = expanded_rows(kernel, theta, held.columns, reach), past.quadratic
    if not np.isfinite(rows.level).all():
        return None
    before = held.rows
    apart = rows.slopes(theta) - before.slopes(theta)
    gradient = totals.slope(theta) + apart @ stand.weights
    doubt, error = stand.doubt(apart * held.weights), gradient - q.gradient
    off, left = np.outer(error, error), in_errors(whole, noise, doubt)
    if in_errors(whole, noise, off) < max(OFF, left):
        return Correction(past, doubt + off, False)
    curvature = totals.hessian + (rows.hessian - before.hessian) @ stand.weights
    loss = totals.value(theta) + stand.weights @ (rows.values(theta) - before.values(theta))
    renewed = from_sums(gradient, curvature, float(loss), q.spread)
    if not is_sound(renewed):
        # Far from their own minimum rows may bend down; then they steer as Gauss and Newton do.
        steering = expanded_rows(kernel, theta, held.columns, None).hessian @ stand.weights
        renewed = from_sums(gradient, steering, float(loss), q.spread)
    return Correction(past._replace(quadratic=renewed), doubt, True)
