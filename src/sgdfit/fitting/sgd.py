"""Textbook stochastic gradient descent: its loop, the state it ends in, and its learning rate.

Step k takes the mean gradient g = Σ w ∇ℓ(θ) / |B| over the next batch B of rows, and moves to
θ − ηₖ g, or where the optimizer's own update of θ, g and ηₖ leads. Where the mean loss is a
quadratic of curvature H, a full batch makes the error along an eigenvector of eigenvalue λ
(1 − ηλ) times what it was: stable below η = 2/λmax, of which the default rate is a share.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.errors import DivergenceWarning
from sgdfit.fitting.callbacks import CallbackCaller, Progress
from sgdfit.fitting.options import as_start, rates_asked_for, scheduled, trace_interval
from sgdfit.fitting.problem import DescentFacts, Outcome, Problem
from sgdfit.fitting.sampling import FEW, sample
from sgdfit.fitting.trust_region import relative_offset
from sgdfit.fitting.worker import ShareDescent
from sgdfit.formula.evaluation import evaluate
from sgdfit.inference.diagnosis import Descent, Diagnosis, diagnose
from sgdfit.inference.quadratic import from_sums, step_within
from sgdfit.kernel.kernel import Chunk, Segment, State
from sgdfit.kernel.numpy_kernel import run_segment
from sgdfit.kernel.shuffle import Order, sequential, shuffled
from sgdfit.kernel.summation import PANEL, Sums
from sgdfit.model.model import Model
from sgdfit.optimizers import DEFAULT_RATES, Optimizer
from sgdfit.optimizers.schedule import AnySchedule, Schedule, tabulate

# One sweep is short enough that Ctrl-C and a progress bar answer at once, and long enough that
# the loop's own time does not count.
STEPS_A_SWEEP = {"numpy": 256, "torch": 256, "compiled": 65_536}
FULL_BATCHES_A_LOOK = 16
ROWS_A_SWEEP = {"numpy": 1 << 20, "torch": 1 << 22, "compiled": 1 << 24}
# After these a run can go on.
RESUMABLE = ("", "interrupted", "stopped")
OVER = ("halted", "steps", "tolerance")
# A batch loss beyond this many times the loss at the start, or of predicting nothing, is no
# noise: the run has left.
DIVERGED = 1e10
# So many standard errors from the optimum, what rounding leaves need not halve.
ROUNDING_DISTANCE = 0.01
# The most shares of the rows that are stepped through at once: their mean gains less with each.
SHARDS = 16
# A loss of all rows this many times that at the start is no noise of the batches.
MUCH = 10
LOSS_RISE = 1 + 1e-6


def descend(problem: Problem) -> Outcome:
    """Take the steps of the optimizer through all rows, batch by batch.

    Ctrl-C ends the run between two sweeps; what it reached until then is returned.
    """
    run = DescentRun(problem)
    try:
        ending = run.ended or run.take_steps()
    except KeyboardInterrupt:
        ending = "interrupted"
    run.keep(ending)
    return Outcome(
        theta=run._kept(),
        ending=ending,
        seconds=time.perf_counter() - run.begun,
        descent=DescentFacts(
            state=run.state,
            records=run.trace(),
            start=run.start,
            first=run.first,
            optimizer=run.optimizer,
            schedule=run.schedule,
            diagnosis=run.diagnosis,
            batch_size=run.batch_size,
            ceiling=run.ceiling,
            keep_trace=run.keep_trace,
            shards=run.shards,
        ),
    )


class DescentRun:
    """The state of one descent, kept apart from the loop so that an interrupt finds it whole."""

    def __init__(self, problem: Problem) -> None:
        data, options = problem.data, problem.options
        assert options.optimizer is not None  # else auto is asked for
        self.problem, self.data, self.optimizer = problem, data, options.optimizer
        self.start = as_start(problem.model.start, options.dtype, problem.names)
        self.first = data.sums(problem.kernel, self.start.astype(np.float64))
        self.batch_size = options.batch_rows(data.rows)
        self.shuffle = options.shuffle and self.batch_size < data.rows
        self.per_epoch = -(-data.rows // self.batch_size)
        # Sums over all rows are exact whatever the chunks, and use every thread.
        self.by_sums = self.per_epoch == 1 and data.rows > PANEL
        # The workers of a cluster each step through a share of the rows.
        self.shards = None
        if data.remote is not None and not self.by_sums:
            self.shards = data.remote.shares(min(SHARDS, self.per_epoch))
        self.schedule, self.diagnosis = decide_rates(problem, self.batch_size, self.first)
        self.ceiling = _ceiling(problem, self.first)
        # Without a finite gradient there is nowhere to step; the status says why.
        self.steps = problem.steps if is_finite(self.first) else 0
        self.record_every, self.keep_trace = trace_interval(options.trace_every, problem.steps)
        slots = np.stack(self.optimizer.init(self.start, self.optimizer.options))
        self.state = State(self.start, slots, np.zeros(len(self.start)), 0, 0, 0)
        self.records = [np.empty((0, 3 + 2 * len(self.start)))]
        # What ended it in an earlier process, if anything did.
        self.ended = ""
        self._go_on()
        every = options.callback_every or self.per_epoch
        self.caller = CallbackCaller(problem.callback, every, self._progress)
        self.caller.next_call = self.state.step + every
        self.begun = time.perf_counter()

    def _go_on(self) -> None:
        """Take over where an earlier process stood, if one did."""
        checkpoint, p = self.data.checkpoint, len(self.start)
        floats = {"theta": (p,), "slots": self.state.slots.shape, "records": (-1, 3 + 2 * p)}
        shapes = {name: ("f", shape) for name, shape in {**floats, "average": (p,)}.items()}
        shapes |= {"counts": ("i", (2,)), "ending": ("U", ())}
        known = checkpoint.recall("descent", shapes)
        if known is None:
            return
        averaged, step = map(int, known["counts"])
        theta, records, self.ended = known["theta"], known["records"], str(known["ending"])
        is_same = theta.dtype == self.start.dtype and known["slots"].dtype == self.state.slots.dtype
        checkpoint.check("descent", is_same and bool(np.isfinite(theta).all()))
        checkpoint.check("descent", 0 <= averaged <= step <= self.problem.steps)
        checkpoint.check("descent", self.ended in (*RESUMABLE, *OVER))
        taken = records[:, 0]
        checkpoint.check("descent", bool((np.diff(taken) > 0).all() and (taken >= 0).all()))
        self.state = State(theta, known["slots"], known["average"], averaged, step, 0)
        self.records = [records]

    def next_theta(self) -> np.ndarray:
        """Return where the next step leads, without taking it; the rows are in memory."""
        buffer, order = next(self._buffers())
        segment = self._segment(order, tabulate(self.schedule, self.state.step, 1))
        if self.by_sums:
            return run_segment(self._all_rows, self.optimizer, self.state, segment).state.theta
        return self.problem.kernel.sweep(self.state, buffer, segment).state.theta

    def take_steps(self) -> str:
        """Sweep until something ends the run; return what did."""
        if self.shards is not None:
            return self._epochs_on_shards(self.shards)
        if not self.by_sums and self.data.whole is None:
            # Compile while nothing is held that was read: a compiler takes memory too.
            row = self.data.subsample.part(0, 1)
            nothing = self._segment(self._order(row, 0, 0), np.empty(0))
            self.problem.kernel.sweep(self.state, row, nothing)
        while self.state.step < self.steps:
            for buffer, order in self._buffers():
                ending = self._through(buffer, order)
                if ending is not None:
                    return ending
        return "steps"

    def _segment(self, order: Order, rates: np.ndarray) -> Segment:
        low, high = self.problem.box.low, self.problem.box.high
        return Segment(order, self.batch_size, rates, self.ceiling, self.record_every, low, high)

    def _through(self, buffer: Chunk, order: Order) -> str | None:
        """Sweep through a buffer; return what ended the run, if something did."""
        while self.state.step < self.steps:
            rates = tabulate(self.schedule, self.state.step, self._count(buffer.rows))
            segment = self._segment(order, rates)
            if self.by_sums:
                swept = run_segment(self._all_rows, self.optimizer, self.state, segment)
            else:
                swept = self.problem.kernel.sweep(self.state, buffer, segment)
            # The state alone says how far the run is; records beyond are of an interrupt here.
            self.records.append(swept.records)
            self.state = swept.state
            if swept.halted:
                return "halted"
            through = self.state.position >= buffer.rows or self.state.position == 0
            if through:
                self.state = self.state._replace(position=0)
            if self.state.step % self.per_epoch == 0 and self._near_enough():
                return "tolerance"
            if self.caller.stops(self.state.step):
                return "stopped"
            if self.data.checkpoint.is_due:
                self.keep("")
            if through:
                return None
        return None

    def _epochs_on_shards(self, shards: int) -> str:
        """Step through all shares of the rows at once; after each epoch, take the mean of them.

        So Zinkevich, Weimer, Smola & Li (2010, Parallelized stochastic gradient descent, NeurIPS
        23), who take it once, at the end. A step is a batch, on whichever share: the k-th of share
        s has the rate of step k · shards + s.
        """
        data = self.data
        assert data.remote is not None  # see __init__
        low, high = self.problem.box.low, self.problem.box.high
        while self.state.step < self.steps:
            before, weights = self.state, list[int]()
            count = min(self.per_epoch, self.steps - before.step)
            rates, epoch = (
                tabulate(self.schedule, before.step, count),
                before.step // self.per_epoch,
            )
            at = before._replace(step=before.step // shards, average=before.average * 0, averaged=0)

            def descent(
                share: int,
                rows: int,
                at: State = at,
                rates: np.ndarray = rates,
                epoch: int = epoch,
                weights: list[int] = weights,
            ) -> ShareDescent:
                weights.append(rows)
                seed = (self.problem.seed, epoch, share) if self.shuffle else None
                return ShareDescent(
                    model=self.problem.model,
                    form=self.problem.kernel.form,
                    optimizer=self.optimizer,
                    state=at,
                    rates=rates[share::shards][: -(-rows // self.batch_size)],
                    size=self.batch_size,
                    seed=seed,
                    ceiling=self.ceiling,
                    low=low,
                    high=high,
                )

            found = list(data.remote.swept(descent, shards))
            share = np.array(weights) / sum(weights)
            for state, halted, _ in found:
                if halted:
                    self.state = state._replace(step=before.step)
                    return "halted"
            theta, slots = (
                np.tensordot(share, np.stack(each), axes=1).astype(before.theta.dtype)
                for each in ([f[0].theta for f in found], [f[0].slots for f in found])
            )
            record = np.mean([first[0] for _, _, first in found if len(first)], axis=0)
            averaged = sum(state.averaged for state, _, _ in found)
            total = before.average * before.averaged
            total = total + sum(state.average * state.averaged for state, _, _ in found)
            self.state = State(
                theta,
                slots,
                total / max(1, averaged + before.averaged),
                averaged + before.averaged,
                before.step + count,
                0,
            )
            record[:2] = before.step, rates[0]
            self.records.append(record[None])
            if self._near_enough():
                return "tolerance"
            if self.caller.stops(self.state.step):
                return "stopped"
            if data.checkpoint.is_due:
                self.keep("")
        return "steps"

    def _buffers(self) -> Iterator[tuple[Chunk, Order]]:
        """Yield what is left of the epoch, and the order to visit it in."""
        epoch, size = self.state.step // self.per_epoch, self.batch_size
        if self.by_sums:
            yield self.data.subsample, sequential(self.data.rows)
            return
        left = self.state.step % self.per_epoch * size
        seed = [self.problem.seed, epoch] if self.shuffle else None
        for part, buffer in enumerate(self.data.buffers(size, seed)):
            if left < buffer.rows:
                self.state = self.state._replace(position=left)
                yield buffer, self._order(buffer, epoch, part)
            left = max(0, left - buffer.rows)

    def _order(self, buffer: Chunk, epoch: int, part: int) -> Order:
        if not self.shuffle:
            return sequential(buffer.rows)
        alone = buffer.rows == self.data.rows
        order = shuffled(buffer.rows, self.problem.seed, epoch, None if alone else part)
        if self.problem.kernel.form == "compiled":
            return order
        # Written out once an epoch, not once a sweep.
        return order._replace(blocks=order.blocks[:0], tail=order.indices())

    def trace(self) -> np.ndarray:
        """Return the records of all steps taken."""
        records = np.concatenate(self.records)
        return records[records[:, 0] < self.state.step]

    def _all_rows(self, theta: np.ndarray, taken: object) -> tuple[float, np.ndarray]:
        """Return the mean loss and gradient of all rows."""
        at, kernel = np.asarray(theta, dtype=np.float64), self.problem.kernel
        sums = self.data.sums(kernel, at)
        if self.state.step:  # those at the start are asked for once more
            self.data.forget(kernel, at)
        return sums.loss / sums.rows, (sums.gradient / sums.rows).astype(theta.dtype)

    def _count(self, rows: int) -> int:
        """Return how many steps to take through a buffer before the next look."""
        form, step = self.problem.kernel.form, self.state.step
        if self.by_sums:
            return 1
        count = min(self.steps - step, STEPS_A_SWEEP[form])
        count = min(count, max(1, ROWS_A_SWEEP[form] // self.batch_size))
        if self.problem.tolerance is not None and self.per_epoch == 1:
            count = min(count, FULL_BATCHES_A_LOOK)
        if self.per_epoch > 1:
            # The last rows of an epoch may be a batch, which must not be taken again and again.
            count = min(count, -(-(rows - self.state.position) // self.batch_size))
        if self.problem.callback is not None:
            count = min(count, max(1, self.caller.next_call - step))
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
        self.data.checkpoint.keep("descent", arrays, now=True)

    def _near_enough(self) -> bool:
        if self.problem.tolerance is None:
            return False
        return distance_to_optimum(self.problem, self._kept()) <= self.problem.tolerance

    def _kept(self) -> np.ndarray:
        """Return the estimates: where the steps stand, or the mean of where they stood."""
        state = self.state
        return np.asarray(state.average if state.averaged else state.theta, dtype=np.float64)

    def _progress(self) -> Progress:
        theta, data, kernel = self._kept(), self.data, self.problem.kernel
        if self.by_sums:  # the next step asks for the same
            sums = data.sums(kernel, theta)
        else:
            rows = data.rows if self.per_epoch == 1 else FEW
            with np.errstate(all="ignore"):
                sums = kernel.sums(theta, data.sample(rows, self.problem.seed))
        return Progress(
            step=self.state.step,
            steps=self.steps,
            epoch=self.state.step // self.per_epoch,
            loss=sums.loss / sums.weight,
            parameters=dict(zip(self.problem.names, map(float, theta), strict=True)),
            seconds=time.perf_counter() - self.begun,
        )


def _ceiling(problem: Problem, first: Sums) -> float:
    """Return the batch loss that no noise explains."""
    seen, rows = problem.data.moments, problem.rows
    with np.errstate(over="ignore", invalid="ignore"):
        scale = (seen.second + 2 * seen.about * seen.first) / rows + seen.about**2
        ceiling = DIVERGED * (abs(first.loss) / first.weight + scale)
    return ceiling if np.isfinite(ceiling) and ceiling > 0 else float(np.finfo(np.float64).max)


def distance_to_optimum(problem: Problem, theta: np.ndarray) -> float:
    """Return how far all rows say that the optimum is, in standard errors.

    Infinite where the loss has no curvature, so that its standard errors are not known; and after
    a descent, which may have ended anywhere, where the step to the optimum does not halve what is
    left: there the curvature tells neither.
    """
    distance, there = _measured(problem, theta)
    if problem.options.optimizer is None or problem.quadratic or not np.isfinite(distance):
        return distance
    left, _ = _measured(problem, there)
    return distance if left <= max(distance / 2, ROUNDING_DISTANCE) else np.inf


def _measured(problem: Problem, theta: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the distance by the quadratic at a point alone, and where its minimum lies."""
    data, kernel, box = problem.data, problem.kernel, problem.box
    sums = data.sums(kernel, theta)
    if not (is_finite(sums) and np.isfinite(sums.curvature).all()):
        return np.inf, theta
    quadratic = from_sums(sums.gradient, sums.curvature, sums.loss, 2 * sums.loss)
    free = box.free_on(quadratic, theta)
    if free.any() and not quadratic.root.any():
        return np.inf, theta
    scores = None if problem.squared else data.scores(kernel, theta)
    distance = relative_offset(quadratic, theta, box, problem.rows, scores)
    move = step_within(quadratic, quadratic.norms, free, np.inf).move if free.any() else 0.0
    return distance, box.clip(theta + move)


class EndState(NamedTuple):
    """The state of which a run's result speaks."""

    theta: np.ndarray  # float64[p]: the estimates
    sums: Sums  # over all rows, there
    step: int  # steps taken until there
    lost: bool  # whether the run went on to where loss or gradient are not finite


def end_state(problem: Problem, outcome: Outcome) -> EndState:
    """Return the end of a run; its last finite state where it has left; the best if interrupted.

    States on the way are known as far as they were recorded.
    """
    descent, box = outcome.descent, problem.box
    assert descent is not None  # the caller has looked
    dtype, records = descent.start.dtype, descent.records
    theta = outcome.theta
    # A bound rounded to float32 is still the bound.
    low, high = box.low.astype(dtype), box.high.astype(dtype)
    theta = np.where(theta == low, box.low, np.where(theta == high, box.high, theta))

    def state(theta: np.ndarray, step: int, lost: bool) -> EndState:
        return EndState(theta, problem.data.sums(problem.kernel, theta), step, lost)

    def recorded(at: int, lost: bool) -> EndState:
        p = len(descent.start)
        return state(np.array(records[at, 3 : 3 + p]), int(records[at, 0]), lost)

    end, at, back = state(theta, descent.state.step, False), len(records), 1
    if not is_finite(end.sums):
        # Back, ever faster, to where all rows have a finite loss and gradient.
        while not is_finite(end.sums) and at > 0:
            at, back = max(0, at - back), 2 * back
            end = recorded(at, True)
        return end._replace(lost=True)
    full = descent.batch_size >= problem.rows
    if outcome.ending == "interrupted" and full and not descent.state.averaged and len(records):
        best = int(np.argmin(records[:, 2]))
        if records[best, 2] < end.sums.loss / end.sums.weight:
            return recorded(best, False)
    return end


def is_finite(sums: Sums) -> bool:
    """Whether descent can go on from there: loss and gradient are finite."""
    return bool(np.isfinite(sums.loss) and np.isfinite(sums.gradient).all())


MOST_HALVINGS, MOST_DECAY = 100, 0.1
# Where the loss has no curvature to go by.
BLIND_RATE = 0.01
# Steps of a rehearsal, and how many roundings a loss may be off by there.
REHEARSED, BLURRED = 1_000, 512
LOWERED = (
    "the loss is steeper on the way than at the start, which would allow a learning rate of"
    " {usual:.4g}: steps on a sample of the rows overshot down to the rate of {rate:.4g} that is"
    " used."
)
# Nearer to the limit the steepest direction hardly shrinks, which the others gain little from.
BELOW_LIMIT = 0.9
# Enough to find the largest rate of a schedule, whose built-in forms are smooth or fall.
RATES_LOOKED_AT = 1_000


def decide_rates(problem: Problem, batch_size: int, first: Sums) -> tuple[AnySchedule, Diagnosis]:
    """Return the schedule, and what the curvature at the start says of it, which is told."""
    options, steps = problem.options, problem.steps
    rates = rates_asked_for(options.learning_rate, options.schedule, steps)
    lowered = ""
    if rates is None:
        usual, share = _default_rate(problem, batch_size, first)
        rate = _rehearsed(problem, usual, share) if is_finite(first) else usual
        rates = scheduled(rate, options.schedule, steps)
        if rate < usual:
            lowered = LOWERED.format(usual=usual, rate=rate)
    diagnosis = diagnose_at(problem, batch_size, first, _largest(rates, steps))
    if lowered:
        diagnosis = replace(diagnosis, notes=(lowered, *diagnosis.notes))
    limit = diagnosis.stability_limit
    if options.announce is not None:
        options.announce(diagnosis)
    elif limit is not None and _largest(rates, steps) > limit:
        # Shown at the line that called `fit`.
        warnings.warn(diagnosis.notes[0], DivergenceWarning, stacklevel=6)
    return rates, diagnosis


def _largest(rates: AnySchedule, steps: int) -> float:
    """Return the largest rate of the run; of a user's function, which may be slow, the first."""
    first = float(tabulate(rates, 0, 1)[0])
    if not isinstance(rates, Schedule):
        return first
    looked_at = np.floor(np.linspace(0, steps - 1, min(steps, RATES_LOOKED_AT)))
    return max(first, float(np.nanmax(rates.rates(looked_at))))


def _default_rate(problem: Problem, batch_size: int, first: Sums) -> tuple[float, float | None]:
    """Return the rate that the curvature at the start allows, and what `_rehearsed` holds it to.

    A full batch of a quadratic loss takes the fastest rate of all, or nine tenths of its limit.
    Few rows may be steeper than all together: half of the limit there; half of that again where
    the model is not linear, so that batches lead to where the curvature is another.
    """
    model, optimizer = problem.model, problem.options.optimizer
    assert optimizer is not None  # else auto is asked for
    usual = DEFAULT_RATES[optimizer.name]
    if usual is not None:
        return _rate_of_signs(problem, optimizer, first) or usual, None
    full = batch_size >= first.rows
    if full and _exact(model):
        found = diagnose_at(problem, batch_size, first, None)
        if found.fastest_rate is None or found.stability_limit is None:
            return BLIND_RATE, None
        return min(found.fastest_rate, BELOW_LIMIT * found.stability_limit), None
    update, decay = momentum_of(optimizer)
    mean, alone = steepness(problem)
    together = float(np.linalg.eigvalsh(mean)[-1]) if np.isfinite(mean).all() else np.nan
    if not update.converges or not together + decay > 0:
        return BLIND_RATE, None
    single = 0.0 if full else alone * update.gain / (1 - update.momentum) / batch_size
    rate = 1 / (2 / update.limit(together + decay) + single)
    return rate if model.is_linear or full else rate / 2, update.limit(1.0) / 2


def _rehearsed(problem: Problem, rate: float, share: float | None) -> float:
    """Return the rate, halved until a rehearsal on a sample of the rows neither leaves nor leaps.

    Steps leave where they reach a loss that is not finite, or far above that of the start. They
    leap, on full batches, where they meet a curvature above ``share/rate``. That along a step d
    from gradient g is twice what the loss changes by more than gᵀd, over ‖d‖²; a rate of at most
    its inverse lowers the loss at every plain step (Nesterov 2004, Introductory Lectures on Convex
    Optimization, section 1.2.3).
    """
    options, most = problem.options, min(problem.steps, REHEARSED)
    some = problem.on_rows(sample(problem.data.subsample, FEW, problem.seed))
    some = some._replace(steps=most, tolerance=None, callback=None)
    sizes = {options.batch_rows(some.rows), *((some.rows,) if share else ())}
    rounding = BLURRED * float(np.finfo(options.dtype).eps)

    def fails(size: int) -> bool:
        rates = scheduled(rate, options.schedule, problem.steps)
        tried = options._replace(learning_rate=rates, schedule=None, batch_size=size, trace_every=1)
        run = DescentRun(some._replace(options=tried._replace(announce=lambda _: None)))
        # Few rows may lose more than all together, but no more than so many times that.
        run.ceiling *= some.rows / size / DIVERGED
        if run.take_steps() == "halted" or _has_grown(run):
            return True
        return bool(share and size == some.rows and _leaps(run.trace(), share / rate, rounding))

    for _ in range(MOST_HALVINGS):
        if not any(map(fails, sizes)):
            break
        rate /= 2
    return rate


def _has_grown(run: DescentRun) -> bool:
    """Whether a run ended above its start; of batches, whose noise may do that, far above it."""
    after = run.data.sums(run.problem.kernel, run.state.theta.astype(np.float64)).loss
    most = LOSS_RISE if run.per_epoch == 1 else MUCH
    return not after <= run.first.loss + (most - 1) * abs(run.first.loss)


def _leaps(path: np.ndarray, most: float, rounding: float) -> bool:
    """Whether a step between records met a curvature above ``most``, not by a share of rounding."""
    p, loss = (path.shape[1] - 3) // 2, path[:, 2]
    with np.errstate(all="ignore"):
        step = np.diff(path[:, 3 : 3 + p], axis=0)
        bent = np.diff(loss) - (path[:-1, 3 + p :] * step).sum(axis=1)
        slack = rounding * np.abs(loss).max(initial=0.0)
        return bool((bent > most / 2 * (step**2).sum(axis=1) + slack).any())


def _rate_of_signs(problem: Problem, optimizer: Optimizer, first: Sums) -> float:
    """Return the rate of an optimizer that rescales gradients; 0 where the curvature tells none.

    Its first step is the rate times the signs s of the gradient g, and lowers the loss the most at
    Σ|gᵢ| / sᵀHs (steepest descent in the largest parameter; Boyd & Vandenberghe 2004, Convex
    Optimization, section 9.4.2). A share of that allows for what its momentum adds to a step, and
    for how much longer the first steps of a running mean are.
    """
    curvature, _ = steepness(problem)
    with np.errstate(all="ignore"):
        gradient = first.gradient / first.weight
        signs = np.sign(gradient)
        rate = float(np.abs(gradient).sum() / (signs @ curvature @ signs))
    chosen = optimizer.chosen
    share = 1 - chosen.get("beta1", chosen.get("momentum", 0.0))
    rate *= float(share * np.sqrt(1 - chosen.get("alpha", 0.0)))
    if chosen.get("decoupled") and chosen["weight_decay"]:
        # It shrinks the parameters by this product a step.
        rate = min(rate, MOST_DECAY / chosen["weight_decay"])
    return rate if 0 < rate < np.inf else 0.0


def _exact(model: Model) -> bool:
    """Whether the loss is a quadratic of the parameters: its curvature is the same all over."""
    return model.is_linear and not model.loss_hess.free_symbols


def momentum_of(optimizer: Optimizer) -> tuple[Descent, float]:
    """Return the recursion that sgd's momentum makes, and its weight decay."""
    chosen = optimizer.chosen
    momentum, dampening = chosen["momentum"], chosen["dampening"]
    update = Descent(momentum, 1 - dampening if momentum else 1.0, bool(chosen["nesterov"]))
    return update, chosen["weight_decay"]


def diagnose_at(problem: Problem, batch_size: int, first: Sums, rate: float | None) -> Diagnosis:
    """Return what the curvature says of a learning rate, from sums over all rows at one place."""
    optimizer = problem.options.optimizer
    assert optimizer is not None  # else auto is asked for
    chosen = optimizer.chosen if optimizer.name == "sgd" else {}
    with np.errstate(all="ignore"):
        curvature = first.curvature / first.weight
    return diagnose(
        curvature,
        problem.names,
        momentum=chosen.get("momentum", 0.0),
        dampening=chosen.get("dampening", 0.0),
        nesterov=bool(chosen.get("nesterov", False)),
        weight_decay=chosen.get("weight_decay", 0.0),
        adaptive=optimizer.name != "sgd",
        learning_rate=rate,
        batch_size=None if batch_size >= first.rows else batch_size,
        rows=first.rows,
        loss=first.loss / first.weight,
        local=not _exact(problem.model),
    )


def steepness(problem: Problem) -> tuple[np.ndarray, float]:
    """Return curvatures of the loss near the start, loss/parameter².

    Their mean over all rows, float64[p, p]; and the mean of the rows' squared curvatures over the
    mean of their curvatures: steps on single rows shrink the mean squared error of one parameter
    below a rate of two over that (Bottou, Curtis & Nocedal 2018, SIAM Review 60(2), section 4.2).
    Where a residual is so large that its loss hardly bends, as Huber's, the curvature
    of small residuals is taken: the descent will meet it.
    """
    model, some = problem.model, sample(problem.data.subsample, FEW, problem.seed)
    rows = problem.kernel.rows(np.array(model.start), some)
    jacobian, weight = rows.jacobian, 1.0 if some.weights is None else some.weights
    with np.errstate(all="ignore"):
        near = evaluate(model.loss_hess, model.loss.values(rows.target, rows.target, some.weights))
        # A loss may have no value at its minimum, as Poisson's at a count of 0.
        hess = np.fmax(np.where(np.isfinite(near), near, 0.0), rows.hess)
        weight = weight * np.maximum(hess, 0.0)
        curvature = weight * (jacobian**2).sum(axis=0)
        mean = (jacobian * weight) @ jacobian.T / some.rows
        first, second = float(curvature.sum()), float((curvature**2).sum())
    if not np.isfinite(mean).all() or not first > 0:
        return np.full_like(mean, np.nan), np.nan
    return mean, second / first
