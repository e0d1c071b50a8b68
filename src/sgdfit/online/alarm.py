"""Whether rows are farther from the curve than noise explains: then something has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sgdfit.kernel.kernel import Rows
from sgdfit.online.batches import Batch
from sgdfit.online.memory import Memory, Recursion, noise_of

__all__ = ["Watch", "warning_of", "watched"]

# Degrees of freedom from which on the noise is known.
KNOWN = 10
# A mean loss this many standard deviations above the usual one is no chance. A single row's loss
# has a long tail; of squared residuals the last is a residual of 5.6 standard deviations.
DEVIATIONS, TAIL = 10.0, 30.0


class Watch(NamedTuple):
    """What batches were away from the curve before the curve knew them.

    Attributes
    ----------
    means, limits : float64[k]
        The mean loss of each batch, and up to where noise explains it.
    usual : float
        The mean loss of the rows before.
    weight, squares : float
        Σ d·w, and Σ d·w·loss² of the rows that noise explains.
    """

    means: np.ndarray
    limits: np.ndarray
    usual: float
    weight: float
    squares: float

    @property
    def strange(self) -> np.ndarray:
        """Which batches noise does not explain, bool[k]."""
        return np.asarray(self.means > self.limits)


def watched(
    fixed: Recursion, memory: Memory, rows: Rows, weights: np.ndarray, sizes: Sequence[int]
) -> Watch | None:
    """Compare batches with the noise; None while that is not known.

    A residual has the variance of the noise and of the prediction, which is larger where rows lie
    beyond those before them.

    Parameters
    ----------
    sizes : sequence of int
        How many of the rows came together, one after another.
    """
    usual, loss = _usual(fixed, memory), _losses(fixed, memory, rows, weights)
    if usual is None or loss is None:
        return None
    deviation = np.sqrt(2.0) * usual
    if memory.tally.watched > 0:
        deviation = max(deviation, np.sqrt(memory.tally.squares / memory.tally.watched))
    counts = np.array(sizes)
    above = np.maximum(DEVIATIONS * deviation / np.sqrt(counts), TAIL * usual / counts)
    means = np.add.reduceat(loss, np.cumsum(counts) - counts) / counts
    calm = np.repeat(means <= usual + above, counts)
    decay = fixed.forgetting.weights(len(loss)) * calm
    squares = float(decay @ (loss - usual) ** 2)
    return Watch(means, usual + above, usual, float(decay.sum()), squares)


def _usual(fixed: Recursion, memory: Memory) -> float | None:
    """Return the mean loss of rows that noise alone keeps from the curve."""
    whole, mass = memory.whole, memory.tally.mass
    if whole is None or memory.theta is None or mass < len(memory.theta) + KNOWN:
        return None
    if fixed.squared:
        usual = noise_of(fixed, whole, mass) / 2
    else:
        usual = whole.quadratic.loss / memory.tally.weight
    return usual if 0 < usual < np.inf else None


def _losses(fixed: Recursion, memory: Memory, rows: Rows, weights: np.ndarray) -> np.ndarray | None:
    """Return the rows' losses, less what the estimates' own errors add to them."""
    if not fixed.squared or memory.whole is None:
        return rows.loss
    try:
        lengths = np.linalg.solve(memory.whole.quadratic.root.T, rows.jacobian)
    except np.linalg.LinAlgError:
        return None
    return np.asarray(rows.loss * weights / (1 + 2 * weights * (lengths**2).sum(axis=0)))


def warning_of(mean: float, usual: float, batch: Batch, fixed: Recursion) -> str:
    """Say that a batch is not like the rows before it."""
    first, last = batch.before, batch.before + batch.read
    rows = f"row {last:,} is" if last - first == 1 else f"rows {first + 1:,} to {last:,} are"
    cure = (
        "old rows are being forgotten"
        if fixed.forgetting.factor < 1
        else "if the process has changed, begin a new fit, or give a forgetting factor"
    )
    return (
        f"{rows} farther from the curve than noise explains: a mean loss of {mean:.3g}"
        f" where {usual:.3g} is usual; look for outliers; {cure}"
    )
