"""Whether rows are farther from the curve than noise explains: then something has changed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.kernels.kernel import Rows
from sgdfit.streams.recursion import Memory, Recursion, noise_of

__all__ = ["Watch", "watched"]

# Degrees of freedom from which on the noise is known.
KNOWN = 10
# A mean loss this many standard deviations above the usual one is no chance. A single row's loss
# has a long tail; of squared residuals the last is a residual of 5.6 standard deviations.
DEVIATIONS, TAIL = 10.0, 30.0


class Watch(NamedTuple):
    """What a batch was away from the curve before the curve knew it.

    Attributes
    ----------
    mean, usual : float
        Its mean loss, and that of the rows before.
    strange : bool
        Whether that is more than noise explains.
    weight, squares : float
        Σ d·w, and Σ d·w·loss² of the rows.
    """

    mean: float
    usual: float
    strange: bool
    weight: float
    squares: float


def watched(fixed: Recursion, memory: Memory, rows: Rows, weights: np.ndarray) -> Watch | None:
    """Compare a batch with the noise; None while that is not known.

    A residual has the variance of the noise and of the prediction, which is larger where rows lie
    beyond those before them.
    """
    whole, mass = memory.whole, memory.tally.mass
    if whole is None or memory.theta is None or mass < len(memory.theta) + KNOWN:
        return None
    size = noise_of(fixed, whole, mass)
    usual = size / 2 if fixed.squared else whole.quadratic.loss / memory.tally.weight
    if not 0 < usual < np.inf:
        return None
    loss = rows.loss * (weights if fixed.squared else 1.0)
    if fixed.squared:
        try:
            lengths = np.linalg.solve(whole.quadratic.root.T, rows.jacobian)
        except np.linalg.LinAlgError:
            return None
        loss = loss / (1 + 2 * weights * (lengths**2).sum(axis=0))
    decay = fixed.forgetting.weights(len(loss))
    deviation = np.sqrt(2.0) * usual
    if memory.tally.watched > 0:
        deviation = max(deviation, np.sqrt(memory.tally.squares / memory.tally.watched))
    limit = usual + max(DEVIATIONS * deviation / np.sqrt(len(loss)), TAIL * usual / len(loss))
    mean = float(loss.mean())
    return Watch(mean, usual, mean > limit, float(decay.sum()), float(decay @ (loss - usual) ** 2))
