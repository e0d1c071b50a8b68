"""Textbook stochastic gradient descent: its loop, the state it ends in, and its learning rate.

Step k takes the mean gradient g = Σ w ∇ℓ(θ) / |B| over the next batch B of rows, and moves to
θ − ηₖ g, or where the optimizer's own update of θ, g and ηₖ leads. Where the mean loss is a
quadratic of curvature H, a full batch makes the error along an eigenvector of eigenvalue λ
(1 − ηλ) times what it was: stable below η = 2/λmax, of which the default rate is a share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.callbacks import Callback, Progress
from sgdfit.fitting.dataset import Population
from sgdfit.fitting.options import rates_asked_for, scheduled
from sgdfit.formula.evaluation import evaluate
from sgdfit.inference.diagnosis import Descent, Diagnosis, diagnose
from sgdfit.kernel.kernel import PANEL, Chunk, Kernel, Segment, State, Sums
from sgdfit.kernel.numpy_kernel import stepped
from sgdfit.kernel.order import Order, in_order, shuffled
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model
from sgdfit.optimizers import DEFAULT_RATES, Optimizer
from sgdfit.optimizers.schedule import AnySchedule, Schedule, tabulate


class DescentOutcome(NamedTuple):
    """How a descent went."""

    state: State  # where it ended; after a halt the state whose loss was out of bounds
    records: np.ndarray  # float64[k, 3 + 2 p]: see `sgdfit.kernel.kernel.Outcome`
    # ``steps`` (all taken), ``tolerance``, ``halted`` (by a loss out of bounds), ``stopped`` (by
    # the callback) or ``interrupted``.
    ending: str
    seconds: float

    @property
    def theta(self) -> np.ndarray:
        """The estimates, float64[p]: the average of the iterates where one is kept."""
        kept = self.state.average if self.state.averaged else self.state.theta
        return np.asarray(kept, dtype=np.float64)


# One sweep is short enough that Ctrl-C and a progress bar answer at once, and long enough that
# the loop's own time does not count.
STEPS_A_SWEEP = {"numpy": 256, "compiled": 65_536}
FULL_BATCHES_A_LOOK = 16
ROWS_A_SWEEP = {"numpy": 1 << 20, "compiled": 1 << 24}
# After these a run can go on.
RESUMABLE = ("", "interrupted", "stopped")


class Plan(NamedTuple):
    """A descent, fully decided."""

    kernel: Kernel
    optimizer: Optimizer
    schedule: AnySchedule  # the learning rate of each
    names: tuple[str, ...]  # the free parameters
    # float[p]: where they begin, and their bounds.
    start: np.ndarray
    low: np.ndarray
    high: np.ndarray
    batch_size: int  # rows of one step; all rows make a full batch
    steps: int  # how many to take
    shuffle: bool  # whether each epoch visits the rows in a new order
    seed: int
    ceiling: float  # A batch loss beyond this is divergence
    record_every: int  # steps between two records
    keep_trace: bool  # whether the result shows them
    # The remaining distance to the optimum in standard errors.
    distance: Callable[[np.ndarray], float]
    tolerance: float | None  # the distance at which to stop; None: it is not looked at
    callback: Callback | None  # called with `Progress`; a true answer stops the run
    callback_every: int  # at least this many steps lie between two calls


def descend(plan: Plan, population: Population) -> DescentOutcome:
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
    return DescentOutcome(run.state, run.trace(), ending, seconds)


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


class EndState(NamedTuple):
    """The state of which a run's result speaks."""

    theta: np.ndarray  # float64[p]: the estimates
    sums: Sums  # over all rows, there
    step: int  # steps taken until there
    lost: bool  # whether the run went on to where loss or gradient are not finite


def end_state(plan: Plan, course: DescentOutcome, population: Population) -> EndState:
    """Return the end of a run; its last finite state where it has left; the best if interrupted.

    States on the way are known as far as they were recorded.
    """
    low, high = (np.asarray(bound, dtype=plan.start.dtype) for bound in (plan.low, plan.high))
    theta = np.asarray(course.theta, dtype=np.float64)
    # A bound rounded to float32 is still the bound.
    theta = np.where(theta == low, plan.low, np.where(theta == high, plan.high, theta))
    end = EndState(theta, population.sums(plan.kernel, theta), course.state.step, False)
    if not is_finite(end.sums):
        return _last_finite(plan, course, population, end)
    full = plan.batch_size >= population.rows
    if course.ending == "interrupted" and full and not course.state.averaged:
        return _best(plan, course, population, end)
    return end


def _last_finite(
    plan: Plan, course: DescentOutcome, population: Population, end: EndState
) -> EndState:
    """Walk back, ever faster, to where all rows have a finite loss and gradient."""
    at, back = len(course.records), 1
    while not is_finite(end.sums) and at > 0:
        at, back = max(0, at - back), 2 * back
        end = _recorded(plan, course, population, at)._replace(lost=True)
    return end._replace(lost=True)


def _best(plan: Plan, course: DescentOutcome, population: Population, end: EndState) -> EndState:
    if not len(course.records):
        return end
    best = int(np.argmin(course.records[:, 2]))
    lowest = course.records[best, 2]
    better = lowest < end.sums.loss / end.sums.weight
    return _recorded(plan, course, population, best) if better else end


def _recorded(plan: Plan, course: DescentOutcome, population: Population, at: int) -> EndState:
    theta = np.array(course.records[at, 3 : 3 + len(plan.start)])
    return EndState(theta, population.sums(plan.kernel, theta), int(course.records[at, 0]), False)


def is_finite(sums: Sums) -> bool:
    """Whether descent can go on from there: loss and gradient are finite."""
    return bool(np.isfinite(sums.loss) and np.isfinite(sums.gradient).all())


# Where the loss has no curvature to go by.
BLIND_RATE = 0.01
# Nearer to the limit the steepest direction hardly shrinks, which the others gain little from.
BELOW_LIMIT = 0.9
# Enough to find the largest rate of a schedule, whose built-in forms are smooth or fall.
RATES_LOOKED_AT = 1_000


class Rates(NamedTuple):
    """The learning rates of a run."""

    schedule: AnySchedule
    diagnosis: Diagnosis  # of the curvature at the start, at the largest of the rates
    too_fast: bool  # whether that rate is above the stability limit


def decide_rates(
    model: Model,
    optimizer: Optimizer,
    batch_size: int,
    population: Population,
    first: Sums,
    learning_rate: float | AnySchedule | None,
    schedule: str | AnySchedule | None,
    steps: int,
) -> Rates:
    """Return the schedule, and what the curvature at the start says of it."""
    rates = rates_asked_for(learning_rate, schedule, steps)
    if rates is None:
        rate = _default_rate(model, optimizer, batch_size, population, first)
        rates = scheduled(rate, schedule, steps)
    largest = _largest(rates, steps)
    diagnosis = _diagnosed(model, optimizer, batch_size, first, largest)
    limit = diagnosis.stability_limit
    return Rates(rates, diagnosis, limit is not None and largest > limit)


def _largest(rates: AnySchedule, steps: int) -> float:
    """Return the largest rate of the run; of a user's function, which may be slow, the first."""
    first = float(tabulate(rates, 0, 1)[0])
    if not isinstance(rates, Schedule):
        return first
    looked_at = np.floor(np.linspace(0, steps - 1, min(steps, RATES_LOOKED_AT)))
    return max(first, float(np.nanmax(rates.rates(looked_at))))


def _default_rate(
    model: Model, optimizer: Optimizer, batch_size: int, population: Population, first: Sums
) -> float:
    """Return the rate when none is given: the optimizer's own, or what the curvature allows.

    A full batch of a quadratic loss takes the fastest rate of all, or nine tenths of its limit.
    Few rows may be steeper than all together: half of the limit there. Where the model is not
    linear its curvature changes on the way, the more so the more a batch leads astray: half of
    that again, or a quarter.
    """
    usual = DEFAULT_RATES[optimizer.name]
    if usual is not None:
        return usual
    full = batch_size >= first.rows
    if full and _exact(model):
        found = _diagnosed(model, optimizer, batch_size, first, None)
        if found.fastest_rate is None or found.stability_limit is None:
            return BLIND_RATE
        return min(found.fastest_rate, BELOW_LIMIT * found.stability_limit)
    update, decay = momentum_of(optimizer)
    start = np.array(model.start)
    together, alone = steepness(
        model, start, population.some if population.whole is None else population.whole
    )
    if not update.converges or not together + decay > 0:
        return BLIND_RATE
    single = 0.0 if full else alone * update.gain / (1 - update.momentum) / batch_size
    rate = 1 / (2 / update.limit(together + decay) + single)
    return rate if model.is_linear else rate / 2 if full else rate / 4


def _exact(model: Model) -> bool:
    """Whether the loss is a quadratic of the parameters: its curvature is the same all over."""
    return model.is_linear and not model.bend.free_symbols


def momentum_of(optimizer: Optimizer) -> tuple[Descent, float]:
    """Return the recursion that sgd's momentum and the like make, and its weight decay."""
    chosen = dict(zip(optimizer.option_names, optimizer.options, strict=True))
    momentum, dampening = chosen["momentum"], chosen["dampening"]
    update = Descent(momentum, 1 - dampening if momentum else 1.0, bool(chosen["nesterov"]))
    return update, chosen["weight_decay"]


def _diagnosed(
    model: Model,
    optimizer: Optimizer,
    batch_size: int,
    first: Sums,
    rate: float | None,
) -> Diagnosis:
    chosen = dict(zip(optimizer.option_names, optimizer.options, strict=True))
    sgd = optimizer.name == "sgd"
    with np.errstate(all="ignore"):
        curvature = first.curvature / first.weight
    return diagnose(
        curvature,
        model.free,
        momentum=chosen["momentum"] if sgd else 0.0,
        dampening=chosen["dampening"] if sgd else 0.0,
        nesterov=bool(chosen["nesterov"]) if sgd else False,
        weight_decay=chosen["weight_decay"] if sgd else 0.0,
        adaptive=not sgd,
        learning_rate=rate,
        batch_size=None if batch_size >= first.rows else batch_size,
        rows=first.rows,
        loss=first.loss / first.weight,
        local=not _exact(model),
    )


# Rows looked at together, so that memory stays bounded.
STRIDE = 65_536


class Steepness(NamedTuple):
    """Curvatures of the loss, in units of loss/parameter², taken in the steepest direction."""

    together: float  # largest eigenvalue of the mean over all rows
    # The mean of the rows' squared curvatures over the mean of their curvatures. Steps on single
    # rows shrink the mean squared error of one parameter below a rate of 2/alone (Bottou, Curtis &
    # Nocedal 2018, SIAM Review 60(2), section 4.2).
    alone: float


def steepness(model: Model, theta: np.ndarray, chunk: Chunk) -> Steepness:
    """Return how steep the loss is near ``theta``.

    Where a residual is so large that its loss hardly bends, as Huber's, it is the curvature of
    small residuals that is taken: the descent will meet it.
    """
    mean, first, second = np.zeros((len(theta), len(theta))), 0.0, 0.0
    for begin in range(0, chunk.rows, STRIDE):
        some = slice(begin, begin + STRIDE)
        columns = tuple(column[some].astype(np.float64, copy=False) for column in chunk.columns)
        weight = 1.0 if chunk.weights is None else chunk.weights[some]
        jacobian, bend = _rows(model, theta, columns)
        with np.errstate(all="ignore"):
            curvature = weight * bend * (jacobian**2).sum(axis=0)
            mean += (jacobian * (weight * bend)) @ jacobian.T / chunk.rows
            first += float(curvature.sum())
            second += float((curvature**2).sum())
    if not np.isfinite(mean).all() or not first > 0:
        return Steepness(np.nan, np.nan)
    return Steepness(float(np.linalg.eigvalsh(mean)[-1]), second / first)


def _rows(
    model: Model, theta: np.ndarray, columns: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's derivatives of the prediction, [p, n], and the bend of its loss, [n]."""
    rows = len(columns[0])
    values: dict[str, Any] = dict(zip(model.columns, columns, strict=True))
    values |= dict(zip(model.free, map(float, theta), strict=True))
    jacobian = [np.broadcast_to(evaluate(slope, values), rows) for slope in model.gradient]
    prediction = evaluate(model.prediction, values)
    target = evaluate(model.formula.response, values)
    here = evaluate(model.bend, {PREDICTION: prediction, TARGET: target})
    near = evaluate(model.bend, {PREDICTION: target, TARGET: target})
    # A loss may have no value at its minimum, as Poisson's at a count of 0.
    bend = np.fmax(np.where(np.isfinite(near), near, 0.0), here)
    return np.array(jacobian, dtype=np.float64), np.broadcast_to(np.maximum(bend, 0.0), rows)
