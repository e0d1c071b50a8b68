"""The two operations that everything stands on, and the choice of the form that runs them.

``sums(theta, chunk)`` adds up loss, gradient and curvature over a chunk of rows; it is additive
over chunks. ``sweep(state, …)`` takes textbook mini-batch steps through a chunk. Both exist in a
NumPy form (no compile wait) and a compiled form (no Python inside the loop).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from sgdfit.errors import UsageError
from sgdfit.kernel.shuffle import Order
from sgdfit.kernel.summation import PANEL as PANEL
from sgdfit.kernel.summation import Sums as Sums
from sgdfit.kernel.summation import combined as combined
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer

Form = Literal["numpy", "compiled"]
FORMS = ("auto", "numpy", "compiled")

# Measured on this class of machine: a NumPy step costs about 40 µs and 20 ns a row, compiling
# about 1.5 s the first time and half a second from the disk. Past this estimate of NumPy's own
# time, compiling pays.
COMPILE_SECONDS = 1.5
NUMPY_STEP_SECONDS = 40e-6
NUMPY_ROW_SECONDS = 20e-9


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
        weights = None if self.weights is None else self.weights[first:last]
        return Chunk(tuple(column[first:last] for column in self.columns), weights)


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
    slope: np.ndarray  # its first derivative to the prediction
    bend: np.ndarray  # its second
    jacobian: np.ndarray  # float64[p, n]: the prediction's derivative to each free parameter


class State(NamedTuple):
    """Where a descent stands: goes into `Kernel.sweep` and comes out of it."""

    theta: np.ndarray  # float[p]: the free parameters
    slots: np.ndarray  # float[s, p]: the optimizer's memory (momentum buffers and the like)
    average: np.ndarray  # float64[p]: the mean of the iterates since averaging began
    averaged: int  # how many iterates that mean holds
    step: int  # steps taken
    # Rows visited in this epoch; after a full batch 0, since the next epoch begins at once.
    position: int


class Outcome(NamedTuple):
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

    form: Form
    source: str  # the generated text of the sums
    # Of theta and a chunk: always in NumPy, all rows of the chunk at once.
    rows: Callable[[np.ndarray, Chunk], Rows]
    # Of theta, a chunk and ``scores=False``: float64[k, 2, length(p)], high and low parts of the
    # sums over each panel of `PANEL` rows of the chunk, of which the last may be shorter: weight,
    # loss, gradient, upper triangle of the curvature, row by row. With ``scores``, weight² ·
    # (∂loss/∂prediction)² stands in front of J Jᵀ. A panel's sums are the same bits in whatever
    # chunk it stands; threads may ask for several at once.
    partials: Callable[..., np.ndarray]
    sweep: Callable[[State, Chunk, Segment], Outcome]

    def sums(self, theta: np.ndarray, chunk: Chunk) -> Sums:
        """Return the sums over all rows of the chunk."""
        return combined([self.partials(theta, chunk)], chunk.rows, len(theta))


def make(
    model: Model, optimizer: Optimizer | None, form: Form, *, weighted: bool = False
) -> Kernel:
    """Return the kernel of ``model`` in ``form``, which takes steps where there is an optimizer.

    Examples
    --------
    >>> import numpy as np
    >>> from sgdfit.model.model import build
    >>> kernel = make(build("y = a*x", ["x", "y"]), None, "numpy")
    >>> chunk = Chunk((np.array([1.0, 2.0]), np.array([2.0, 4.0])), None)
    >>> kernel.sums(np.array([1.0]), chunk)
    Sums(rows=2, weight=2.0, loss=5.0, gradient=array([-10.]), curvature=array([[10.]]))
    """
    if form == "numpy":
        from sgdfit.kernel.numpy_kernel import make_numpy

        return make_numpy(model, optimizer)
    from sgdfit.kernel.compiled_kernel import make_compiled

    return make_compiled(model, optimizer, weighted=weighted)


def choose_form(kernel: str, steps: int, batch_size: int, dtype: Any) -> Form:
    """Return the form that finishes sooner, or the one that was asked for.

    Raises
    ------
    UsageError
        When ``kernel`` names none, or asks for compiled steps in float32.

    Examples
    --------
    >>> choose_form("auto", steps=1000, batch_size=20, dtype="float64")
    'numpy'
    >>> choose_form("auto", steps=10**7, batch_size=1, dtype="float64")
    'compiled'
    """
    if kernel not in FORMS:
        raise UsageError(f"kernel={kernel!r} is not one of {', '.join(map(repr, FORMS))}")
    single = np.dtype(dtype) == np.float32
    if kernel == "compiled" and single:
        raise UsageError("the compiled kernel steps in float64; use kernel='numpy' for float32")
    if kernel != "auto":
        return kernel  # type: ignore[return-value]
    seconds = steps * (NUMPY_STEP_SECONDS + batch_size * NUMPY_ROW_SECONDS)
    return "compiled" if seconds > COMPILE_SECONDS and not single else "numpy"
