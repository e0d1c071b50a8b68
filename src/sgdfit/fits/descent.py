"""The loop: sweep, look, decide, go on. It emits progress and knows nobody who listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sgdfit.kernels.kernel import Chunk, Kernel, Segment, State
from sgdfit.kernels.order import Order, in_order, shuffled
from sgdfit.optimization.optimizer import Optimizer
from sgdfit.optimization.schedule import AnySchedule, tabulate

__all__ = ["Callback", "Course", "Plan", "Progress", "descend"]

# One sweep is short enough that Ctrl-C and a progress bar answer at once, and long enough that
# the loop's own time does not count.
STEPS_A_SWEEP = {"numpy": 256, "compiled": 65_536}
FULL_BATCHES_A_LOOK = 16
ROWS_A_SWEEP = {"numpy": 1 << 20, "compiled": 1 << 24}


class Progress(NamedTuple):
    """What a callback is told.

    Attributes
    ----------
    step, steps : int
        Steps taken, and to take.
    epoch : int
        Passes through the data completed.
    loss : float
        Loss of the last recorded batch, NaN before the first.
    parameters : dict of str to float
        The free parameters.
    seconds : float
        Time since the start.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    parameters: dict[str, float]
    seconds: float


Callback = Callable[[Progress], object]


class Plan(NamedTuple):
    """A descent, fully decided.

    Attributes
    ----------
    kernel : Kernel
    optimizer : Optimizer
    schedule : function of the step
        The learning rate of each.
    names : tuple of str
        The free parameters.
    start, low, high : float[p]
        Where they begin, and their bounds.
    batch_size : int
        Rows of one step; all rows make a full batch.
    steps : int
        How many to take.
    shuffle : bool
        Whether each epoch visits the rows in a new order.
    seed : int
    ceiling : float
        A batch loss beyond this is divergence.
    record_every : int
        Steps between two records.
    keep_trace : bool
        Whether the result shows them.
    distance : function of the parameters
        The remaining distance to the optimum in standard errors.
    tolerance : float or None
        The distance at which to stop; None: it is not looked at.
    callback : callable or None
        Called with `Progress`; a true answer stops the run.
    callback_every : int
        At least this many steps lie between two calls.
    """

    kernel: Kernel
    optimizer: Optimizer
    schedule: AnySchedule
    names: tuple[str, ...]
    start: np.ndarray
    low: np.ndarray
    high: np.ndarray
    batch_size: int
    steps: int
    shuffle: bool
    seed: int
    ceiling: float
    record_every: int
    keep_trace: bool
    distance: Callable[[np.ndarray], float]
    tolerance: float | None
    callback: Callback | None
    callback_every: int


class Course(NamedTuple):
    """How a descent went.

    Attributes
    ----------
    state : State
        Where it ended; after a halt the state whose loss was out of bounds.
    records : float64[k, 3 + 2 p]
        See `sgdfit.kernels.kernel.Outcome`.
    ending : str
        ``steps`` (all taken), ``tolerance``, ``halted`` (by a loss out of bounds), ``stopped`` (by
        the callback) or ``interrupted``.
    seconds : float
    """

    state: State
    records: np.ndarray
    ending: str
    seconds: float

    @property
    def theta(self) -> np.ndarray:
        """The estimates, float64[p]: the average of the iterates where one is kept."""
        kept = self.state.average if self.state.averaged else self.state.theta
        return np.asarray(kept, dtype=np.float64)


def descend(plan: Plan, chunk: Chunk) -> Course:
    """Run ``plan`` over the rows of ``chunk``.

    Ctrl-C ends the run between two sweeps; what it reached until then is returned.
    """
    begun = time.perf_counter()
    run = _Run(plan, chunk)
    try:
        ending = run.go(begun)
    except KeyboardInterrupt:
        ending = "interrupted"
    seconds = time.perf_counter() - begun
    return Course(run.state, np.concatenate(run.records), ending, seconds)


class _Run:
    """The state of one descent, kept apart from the loop so that an interrupt finds it whole."""

    def __init__(self, plan: Plan, chunk: Chunk) -> None:
        self.plan, self.chunk = plan, chunk
        slots = np.stack(plan.optimizer.init(plan.start, plan.optimizer.options))
        self.state = State(plan.start, slots, np.zeros(len(plan.start)), 0, 0, 0)
        self.records = [np.empty((0, 3 + 2 * len(plan.start)))]
        self.per_epoch = -(-chunk.rows // plan.batch_size)
        self.order = in_order(chunk.rows)
        self.next_call = plan.callback_every

    def go(self, begun: float) -> str:
        """Sweep until something ends the run; return what did."""
        while self.state.step < self.plan.steps:
            at_start = self.state.position == 0
            if at_start and self.plan.shuffle:
                self.order = self._shuffled()
            if self._sweep():
                return "halted"
            if self.state.position >= self.chunk.rows:
                self.state = self.state._replace(position=0)
            if self.state.position == 0 and self._near_enough():
                return "tolerance"
            if self._called_off(begun):
                return "stopped"
        return "steps"

    def _epoch(self) -> int:
        return self.state.step // self.per_epoch

    def _shuffled(self) -> Order:
        order = shuffled(self.chunk.rows, self.plan.seed, self._epoch())
        if self.plan.kernel.form == "compiled":
            return order
        # Written out once an epoch, not once a sweep.
        return order._replace(blocks=order.blocks[:0], tail=order.indices())

    def _sweep(self) -> bool:
        """Take some steps; return whether the loss left its bounds."""
        plan, form = self.plan, self.plan.kernel.form
        count = min(
            plan.steps - self.state.step,
            STEPS_A_SWEEP[form],
            max(1, ROWS_A_SWEEP[form] // plan.batch_size),
        )
        if plan.tolerance is not None and self.per_epoch == 1:
            count = min(count, FULL_BATCHES_A_LOOK)
        if plan.callback is not None:
            count = min(count, max(1, self.next_call - self.state.step))
        rates = tabulate(plan.schedule, self.state.step, count)
        segment = Segment(
            self.order, plan.batch_size, rates, plan.ceiling, plan.record_every, plan.low, plan.high
        )
        outcome = plan.kernel.sweep(self.state, self.chunk, segment)
        # An interrupt between these two lines loses a stretch of the trace, no more.
        self.state = outcome.state
        self.records.append(outcome.records)
        return outcome.halted

    def _near_enough(self) -> bool:
        plan = self.plan
        if plan.tolerance is None:
            return False
        kept = self.state.average if self.state.averaged else self.state.theta
        return plan.distance(np.asarray(kept, dtype=np.float64)) <= plan.tolerance

    def _called_off(self, begun: float) -> bool:
        plan, state = self.plan, self.state
        if plan.callback is None or state.step < self.next_call:
            return False
        self.next_call = state.step + plan.callback_every
        last = next((r for r in reversed(self.records) if len(r)), None)
        loss = float("nan") if last is None else float(last[-1, 2])
        parameters = dict(zip(plan.names, map(float, state.theta), strict=True))
        seconds = time.perf_counter() - begun
        told = Progress(state.step, plan.steps, self._epoch(), loss, parameters, seconds)
        return bool(plan.callback(told))
