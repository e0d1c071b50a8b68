"""The operations that everything stands on, as records that both forms of a kernel share.

``sums(theta, chunk)`` adds up loss, gradient and curvature over a chunk of rows; it is additive
over chunks. ``sweep(state, …)`` takes textbook mini-batch steps through a chunk. Both exist in a
NumPy form (no compile wait), a compiled form (no Python inside the loop) and in torch (a GPU).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from sgdfit.kernel.shuffle import Order
from sgdfit.kernel.summation import Sums, sum_panels
from sgdfit.model.model import Model

KernelForm = Literal["numpy", "compiled", "torch"]


class Chunk(NamedTuple):
    """Rows in memory: the model's columns in order, and a weight for each row."""

    columns: tuple[np.ndarray, ...]  # float64[n] or float32[n] each
    # float64[n], scaled to a mean of one over all rows, so that a batch's gradient is unbiased.
    weights: np.ndarray | None

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.columns[0])

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The columns, and after them the weights if there are any; `chunk_of` takes them back."""
        return self.columns if self.weights is None else (*self.columns, self.weights)

    def part(self, first: int, last: int) -> Chunk:
        """Return a view of the rows from ``first`` to before ``last``."""
        if first == 0 and last >= self.rows:
            return self
        weights = None if self.weights is None else self.weights[first:last]
        return Chunk(tuple(column[first:last] for column in self.columns), weights)

    def taken(self, rows: np.ndarray) -> Chunk:
        """Return a copy of the rows of these numbers."""
        weights = None if self.weights is None else self.weights[rows]
        return Chunk(tuple(column[rows] for column in self.columns), weights)


def chunk_of(arrays: tuple[np.ndarray, ...], *, weighted: bool) -> Chunk:
    """Return the chunk of such arrays, of which the last may be the weights.

    Examples
    --------
    >>> import numpy as np
    >>> chunk = Chunk((np.zeros(2),), np.ones(2))
    >>> chunk_of(chunk.arrays, weighted=True).weights.tolist()
    [1.0, 1.0]
    """
    return Chunk(arrays[:-1], arrays[-1]) if weighted else Chunk(arrays, None)


class Rows(NamedTuple):
    """What the sums add up, row by row: for few rows, whose Jacobian needs no squaring."""

    prediction: np.ndarray  # float64[n], as are the target and those of the loss
    target: np.ndarray
    loss: np.ndarray  # not weighted
    grad: np.ndarray  # its first derivative to the prediction
    hess: np.ndarray  # its second
    jacobian: np.ndarray  # float64[p, n]: the prediction's derivative to each free parameter

    def sizes(self, weights: np.ndarray | None) -> np.ndarray:
        """Return the absolute residuals, those that a row of weight 1 would have."""
        size = np.abs(self.prediction - self.target)
        return np.asarray(size if weights is None else size * np.sqrt(weights))


class State(NamedTuple):
    """Where a descent stands: goes into `Kernel.sweep` and comes out of it."""

    theta: np.ndarray  # float[p]: the free parameters
    slots: np.ndarray  # float[s, p]: the optimizer's memory (momentum buffers and the like)
    average: np.ndarray  # float64[p]: the mean of the iterates since averaging began
    averaged: int  # how many iterates that mean holds
    step: int  # steps taken
    # Rows visited in this epoch; after a full batch 0, since the next epoch begins at once.
    position: int


class SweepResult(NamedTuple):
    """What a sweep hands back."""

    # After the last step taken; its parameters are finite. When halted, it stands before the batch
    # that halted it, and its parameters are those that the batch failed at.
    state: State
    # Whether a batch's loss was not finite or above the ceiling, or the step from it led to
    # parameters that are not finite.
    halted: bool
    # float64[k, 3 + 2 p], a row each recorded step: step, learning rate, batch loss, parameters,
    # gradient, all before the update.
    records: np.ndarray


class Segment(NamedTuple):
    """How a sweep goes through a chunk."""

    order: Order  # in which it visits the rows
    batch_size: int  # rows of one step; the last batch of an epoch may be smaller
    rates: np.ndarray  # float64[k]: of the next steps; it takes no more than these
    ceiling: float  # a batch loss above this counts as divergence
    record_every: int  # record each step whose number is a multiple of this; 0 records none
    low: np.ndarray  # float64[p]: bounds, onto which each step is projected
    high: np.ndarray


class Kernel(NamedTuple):
    """One form of the operations for one model and optimizer."""

    form: KernelForm
    source: str  # the generated text of the sums
    # Of theta and a chunk, all rows of the chunk at once; the compiled form's are NumPy's.
    rows: Callable[[np.ndarray, Chunk], Rows]
    # Of theta, a chunk and ``scores=False``: float64[k, 2, length(p)], high and low parts of the
    # sums over each panel of `PANEL` rows of the chunk, of which the last may be shorter: weight,
    # loss, gradient, upper triangle of the curvature, row by row. With ``scores``, weight² ·
    # (∂loss/∂prediction)² stands in front of J Jᵀ. A panel's sums are the same bits in whatever
    # chunk it stands; threads may ask for several at once.
    panel_sums: Callable[..., np.ndarray]
    sweep: Callable[[State, Chunk, Segment], SweepResult]
    # What it is of, from which another process makes the same.
    model: Model | None = None

    def sums(self, theta: np.ndarray, chunk: Chunk) -> Sums:
        """Return the sums over all rows of the chunk."""
        return sum_panels([self.panel_sums(theta, chunk)], chunk.rows, len(theta))
