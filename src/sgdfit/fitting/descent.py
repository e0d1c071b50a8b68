"""The loop: sweep, look, decide, go on. It emits progress and knows nobody who listens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.course import Course
from sgdfit.fitting.passes import Pass
from sgdfit.fitting.population import Population
from sgdfit.kernel.kernel import PANEL, Chunk, Kernel, Segment, State
from sgdfit.kernel.numpy_kernel import stepped
from sgdfit.kernel.order import Order, in_order, shuffled
from sgdfit.optimizers import Optimizer
from sgdfit.optimizers.schedule import AnySchedule, tabulate

__all__ = ["Callback", "Plan", "Progress", "descend"]

# One sweep is short enough that Ctrl-C and a progress bar answer at once, and long enough that
# the loop's own time does not count.
STEPS_A_SWEEP = {"numpy": 256, "compiled": 65_536}
FULL_BATCHES_A_LOOK = 16
ROWS_A_SWEEP = {"numpy": 1 << 20, "compiled": 1 << 24}
# After these a run can go on.
RESUMABLE = ("", "interrupted", "stopped")


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
    distance : float
        To the optimum of the rows that were last looked at, in standard errors; NaN where unknown.
    reading : Pass or None
        In the middle of a pass through all rows, how far that is.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    parameters: dict[str, float]
    seconds: float
    distance: float = math.nan
    reading: Pass | None = None


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


def descend(plan: Plan, population: Population) -> Course:
    """Run ``plan`` over all rows.

    Ctrl-C ends the run between two sweeps; what it reached until then is returned.
    """
    begun = time.perf_counter()
    run = _Run(plan, population)
    try:
        ending = run.ended or run.go(begun)
    except KeyboardInterrupt:
        ending = "interrupted"
    run.keep(ending)
    seconds = time.perf_counter() - begun
    return Course(run.state, run.trace(), ending, seconds)


class _Run:
    """The state of one descent, kept apart from the loop so that an interrupt finds it whole."""

    def __init__(self, plan: Plan, population: Population) -> None:
        self.plan, self.population = plan, population
        slots = np.stack(plan.optimizer.init(plan.start, plan.optimizer.options))
        self.state = State(plan.start, slots, np.zeros(len(plan.start)), 0, 0, 0)
        self.records = [np.empty((0, 3 + 2 * len(plan.start)))]
        self.per_epoch = -(-population.rows // plan.batch_size)
        # Sums over all rows are exact whatever the chunks, and use every thread.
        self.by_sums = self.per_epoch == 1 and population.rows > PANEL
        # What ended it in an earlier process, if anything did.
        self.ended = ""
        self._resume()
        self.next_call = self.state.step + plan.callback_every

    def go(self, begun: float) -> str:
        """Sweep until something ends the run; return what did."""
        self._prepare()
        while self.state.step < self.plan.steps:
            for buffer, order in self._buffers():
                ending = self._through(buffer, order, begun)
                if ending is not None:
                    return ending
        return "steps"

    def _prepare(self) -> None:
        """Compile while nothing is held that was read: a compiler takes memory too."""
        plan, row = self.plan, self.population.some.part(0, 1)
        if not self.by_sums and self.population.whole is None:
            nothing = Segment(
                self._order(row, 0, 0), plan.batch_size, np.empty(0), plan.ceiling, 0, plan.low,
                plan.high,
            )  # fmt: skip
            plan.kernel.sweep(self.state, row, nothing)

    def _through(self, buffer: Chunk, order: Order, begun: float) -> str | None:
        """Sweep through a buffer; return what ended the run, if something did."""
        while self.state.step < self.plan.steps:
            if self._sweep(buffer, order):
                return "halted"
            through = self.state.position >= buffer.rows or self.state.position == 0
            if through:
                self.state = self.state._replace(position=0)
            if self.state.step % self.per_epoch == 0 and self._near_enough():
                return "tolerance"
            if self._called_off(begun):
                return "stopped"
            if self.population.journal.is_due:
                self.keep("")
            if through:
                return None
        return None

    def _buffers(self) -> Iterator[tuple[Chunk, Order]]:
        """Yield what is left of the epoch, and the order to visit it in."""
        plan, epoch = self.plan, self._epoch()
        if self.by_sums:
            yield self.population.some, in_order(self.population.rows)
            return
        left = self.state.step % self.per_epoch * plan.batch_size
        seed = [plan.seed, epoch] if plan.shuffle else None
        for part, buffer in enumerate(self.population.buffers(plan.batch_size, seed)):
            if left < buffer.rows:
                self.state = self.state._replace(position=left)
                yield buffer, self._order(buffer, epoch, part)
            left = max(0, left - buffer.rows)

    def _epoch(self) -> int:
        return self.state.step // self.per_epoch

    def _order(self, buffer: Chunk, epoch: int, part: int) -> Order:
        plan = self.plan
        if not plan.shuffle:
            return in_order(buffer.rows)
        alone = buffer.rows == self.population.rows
        order = shuffled(buffer.rows, plan.seed, epoch, None if alone else part)
        if plan.kernel.form == "compiled":
            return order
        # Written out once an epoch, not once a sweep.
        return order._replace(blocks=order.blocks[:0], tail=order.indices())

    def _sweep(self, buffer: Chunk, order: Order) -> bool:
        """Take some steps; return whether the loss left its bounds."""
        plan = self.plan
        rates = tabulate(plan.schedule, self.state.step, self._count(buffer.rows))
        segment = Segment(
            order, plan.batch_size, rates, plan.ceiling, plan.record_every, plan.low, plan.high
        )
        if self.by_sums:
            outcome = stepped(self._all_rows, plan.optimizer, self.state, segment)
        else:
            outcome = plan.kernel.sweep(self.state, buffer, segment)
        # The state alone says how far the run is; records beyond it are those of an interrupt here.
        self.records.append(outcome.records)
        self.state = outcome.state
        return outcome.halted

    def trace(self) -> np.ndarray:
        """Return the records of all steps taken."""
        records = np.concatenate(self.records)
        return records[records[:, 0] < self.state.step]

    def _all_rows(self, theta: np.ndarray, taken: object) -> tuple[float, np.ndarray]:
        """Return the mean loss and gradient of all rows."""
        at = np.asarray(theta, dtype=np.float64)
        sums = self.population.sums(self.plan.kernel, at)
        if self.state.step:  # those at the start are asked for once more
            self.population.forget(self.plan.kernel, at)
        return sums.loss / sums.rows, (sums.gradient / sums.rows).astype(theta.dtype)

    def _count(self, rows: int) -> int:
        """Return how many steps to take through a buffer before the next look."""
        plan, form = self.plan, self.plan.kernel.form
        if self.by_sums:
            return 1
        count = min(
            plan.steps - self.state.step,
            STEPS_A_SWEEP[form],
            max(1, ROWS_A_SWEEP[form] // plan.batch_size),
        )
        if plan.tolerance is not None and self.per_epoch == 1:
            count = min(count, FULL_BATCHES_A_LOOK)
        if self.per_epoch > 1:
            # The last rows of an epoch may be a batch, which must not be taken again and again.
            count = min(count, -(-(rows - self.state.position) // plan.batch_size))
        if plan.callback is not None:
            count = min(count, max(1, self.next_call - self.state.step))
        return count

    def keep(self, ending: str) -> None:
        """Write down where the run stands, and what ended it for good."""
        self.records = [self.trace()]
        state = self.state
        arrays = {
            "theta": state.theta,
            "slots": state.slots,
            "average": state.average,
            "counts": np.array([state.averaged, state.step]),
            "records": self.records[0],
            "ending": np.array("" if ending in RESUMABLE else ending),
        }
        self.population.journal.keep("descent", arrays, now=True)

    def _resume(self) -> None:
        known = self.population.journal.recall("descent")
        if known is not None:
            averaged, step = map(int, known["counts"])
            held = known["theta"], known["slots"], known["average"]
            self.state = State(*held, averaged, step, 0)
            self.records = [known["records"]]
            self.ended = str(known["ending"])

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
