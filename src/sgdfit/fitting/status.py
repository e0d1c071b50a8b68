"""How a run ended: the facts weighed into one named status, with its cause and its cure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.errors import FormulaError
from sgdfit.fitting.gauss_newton import condition
from sgdfit.fitting.nonsmooth import has_kink
from sgdfit.fitting.problem import Task, WalkOutcome
from sgdfit.fitting.sampling import RESERVED_WHOLE
from sgdfit.fitting.sgd import DescentOutcome, EndState, Plan, is_finite, momentum_of
from sgdfit.formula.evaluation import evaluate, find_domain_error
from sgdfit.formula.formula import Formula
from sgdfit.formula.parsing import tokenize
from sgdfit.inference.diagnosis import Diagnosis, explain_divergence, rate_advice
from sgdfit.inference.quadratic import Quadratic
from sgdfit.inference.spectrum import EPS, eigen, root_spectrum
from sgdfit.kernel.kernel import Segment, Sums
from sgdfit.kernel.order import in_order
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model
from sgdfit.model.separation import stepped_names
from sgdfit.optimizers.schedule import Schedule
from sgdfit.result.status import Rival, Status, status_of

# Within this many times the noise that was foreseen, noise is what keeps a run from the optimum.
NEAR_NOISE = 2.0
# Nobody takes more steps than this; something else is wrong.
TOO_MANY = 1e7
# Nearer than this to the optimum, in standard errors, a run has arrived, asked or not.
ARRIVED = 0.01
# A loss this many times that at the start is no noise of the batches.
MUCH = 10
# So many records without a move are a standstill.
STILL = 10
FLAT = (
    "start elsewhere: the gradient is zero here, so no learning rate moves the parameters (a floor,"
    " a sign or a condition has no slope)"
)
UNKNOWN = (
    "no step lowers the loss any more; a loss without curvature does not tell what that is in"
    " standard errors"
)
JUMPS = (
    "{:.2g} standard errors away from the minimum no step comes nearer, since the gradient of a"
    " loss with a kink jumps from row to row"
)


class RunEnd:
    """Where a run ended, with what is known there; `status` weighs it.

    Parameters
    ----------
    task : Task
    ending : str
        What ended the loop.
    step : int
        Steps taken.
    distance : float
        From the estimates to the optimum, in standard errors; infinite where not known.
    undetermined : tuple of str
        Combinations of parameters on which the loss does not depend at the estimates.
    reach : float or None
        The distance that was asked for.
    """

    def __init__(
        self,
        task: Task,
        ending: str,
        step: int,
        distance: float,
        undetermined: tuple[str, ...],
        reach: float | None,
    ) -> None:
        self.task, self.ending, self.step = task, ending, step
        self.distance, self.undetermined = distance, undetermined
        self.reach = ARRIVED if reach is None else reach

    def status(self) -> Status:
        """Return the status of the first of these cases that holds."""
        cases = (
            self.without_value,
            self.diverged,
            self.called_off,
            self.beaten,
            self.no_minimum,
            self.hidden,
            self.plateau,
            self.converged,
            self.out_of_steps,
        )
        found = (case() for case in cases)
        return next((status for status in found if status is not None), None) or self.resting()

    def without_value(self) -> Status | None:
        """The loss is not finite where the run began or ended."""

    def diverged(self) -> Status | None:
        """The loss left for infinity."""

    def called_off(self) -> Status | None:
        """The user ended it."""
        cut = self.ending in ("interrupted", "stopped")
        return status_of(self.ending, step=self.step) if cut else None

    def beaten(self) -> Status | None:
        """A search found a lower minimum."""

    def no_minimum(self) -> Status | None:
        """The loss bends down."""

    def hidden(self) -> Status | None:
        """Rounding hides what the rows determine."""

    def plateau(self) -> Status | None:
        """Flat ground looks like an optimum from within."""

    def converged(self) -> Status | None:
        """It is near enough."""
        if not self.distance <= self.reach:
            return None
        return status_of(
            "converged", cause=f"nearer than the {self.reach:g} standard errors that count"
        )

    def out_of_steps(self) -> Status | None:
        """All steps that were allowed are taken."""

    def resting(self) -> Status:
        """No step leads on."""
        raise NotImplementedError

    def stalled(self, cause: str, cure: str | None) -> Status:
        """Return a stall at the last step."""
        return status_of("stalled", step=self.step, cause=cause, cure=cure)


class DescentEnd(RunEnd):
    """The end of textbook descent.

    Parameters
    ----------
    end : EndState
        Where the estimates are taken.
    first : Sums
        Over all rows, at the start.
    diagnosis : Diagnosis
        Of the curvature at the start.
    is_hidden : bool
        Whether the rows determine what is undetermined, and only sums over rows cannot tell.
    """

    def __init__(
        self,
        task: Task,
        plan: Plan,
        course: DescentOutcome,
        end: EndState,
        first: Sums,
        diagnosis: Diagnosis,
        distance: float,
        undetermined: tuple[str, ...],
        is_hidden: bool,
    ) -> None:
        step = course.state.step
        super().__init__(task, course.ending, step, distance, undetermined, plan.tolerance)
        self.plan, self.course, self.end, self.first = plan, course, end, first
        self.diagnosis, self.is_hidden = diagnosis, is_hidden
        self.before, self.after = first.loss / first.weight, end.sums.loss / end.sums.weight
        self.full = plan.batch_size >= first.rows

    def without_value(self) -> Status | None:
        """The formula has no value on a row."""
        begun, end, last = is_finite(self.first), self.end, self.course.state.theta
        tried = [last] if self.ending == "halted" else [self.course.theta, last]
        trouble = find_trouble(self.task, tried, overflow=not begun) if end.lost else None
        if trouble is None:
            cause = "the loss over all rows is not finite at the start"
            return None if begun else status_of("domain_error", cause=cause)
        cure = (
            "lower the learning rate, whose step left the formula's domain, or bound the parameters"
        )
        earlier = ""
        if end.step != self.step:
            earlier = f"; the estimates are those of step {end.step}, the last with a finite loss"
        return out_of_domain(self.task, trouble, self.step, earlier, cure if self.step else None)

    def diverged(self) -> Status | None:
        """The loss fell without bound, or rose."""
        if self.after < -self.plan.ceiling:
            return status_of(
                "diverged",
                cause=f"the loss fell to {self.after:.6g} and goes on",
                cure="use a loss that has a minimum: this one falls without bound",
            )
        if not (self.end.lost or self.ending == "halted" or self._has_grown()):
            return None
        at = self.end.step
        stop = f"; the run was stopped at step {self.step}" if self.ending == "halted" else ""
        rise = f"the loss rose from {self.before:.6g} to {self.after:.6g} by step {at}{stop}."
        if not self.after > self.before:
            rise = f"after step {at} a step left the range of floating point{stop}."
        advice = rate_advice(self.diagnosis)
        told = explain_divergence(self.diagnosis, self._last_move()).removesuffix(advice)
        return status_of("diverged", cause=f"{rise} {told.strip()}", cure=advice)

    def hidden(self) -> Status | None:
        """Columns far from zero hide what their differences tell."""
        if not self.is_hidden:
            return None
        model, some = self.task.model, self.task.population.some
        centres = ", ".join(
            f"({name} - {float(np.mean(column, dtype=np.float64)):.4g})"
            for name, column in zip(model.columns, some.columns, strict=True)
            if name in model.variables
        )
        return status_of(
            "stalled",
            step=self.end.step,
            cause=(
                f"sums over the rows cannot tell {', '.join(self.undetermined)} from rounding at"
                " the scale of these columns, so steps along it lead nowhere"
            ),
            cure=f"centre and rescale the columns: in the formula write {centres} for each",
        )

    def plateau(self) -> Status | None:
        """Steps threw the parameters to where the loss is flat, or higher than at the start."""
        lost = bool(self.undetermined) and not self.diagnosis.undetermined
        higher = self.full and self.after > self.before * (1 + 1e-9)
        if not lost and not (higher and self.diagnosis.local):
            return None
        what = ", ".join(self.undetermined)
        flat = f"there the loss no longer depends on {what}" if lost else ""
        above = f"its loss {self.after:.6g} is above the {self.before:.6g} at the start"
        told = "; ".join(filter(None, [flat, above if higher else ""]))
        return status_of(
            "stalled",
            step=self.end.step,
            cause=f"the steps led to a plateau, not the optimum: {told}",
            cure="lower the learning rate, which threw the parameters there, or start nearer",
        )

    def out_of_steps(self) -> Status | None:
        """All steps are taken, and they still move."""
        if self._still_since() is not None and not self._moves():
            return None
        cause = f"all {self.plan.steps:,} steps were taken before the optimum was reached"
        return status_of("step_limit", cause=cause, cure=self._cure())

    def resting(self) -> Status:
        """No parameter moves any more."""
        cure = pulled_by(self.plan) if self.end.sums.gradient.any() else FLAT
        return status_of("stalled", step=self._still_since() or 0, cure=cure)

    def _has_grown(self) -> bool:
        """Whether the loss ends far above its start, or above it and rising for good."""
        if self.after > MUCH * abs(self.before) > 0:
            return True
        growth = self.diagnosis.growth_factor
        # Adaptive steps rise at first; where the figures hold all over, they know it better.
        foreseen = growth is not None and (growth > 1 or self.diagnosis.local)
        if not self.full or self.ending == "interrupted" or not foreseen:
            return False
        path = [*self.course.records[-3:, 2], self.after]
        return bool(self.after > self.before and all(a < b for a, b in itertools.pairwise(path)))

    def _last_move(self) -> np.ndarray:
        """Return the last recorded move: what blew up has outgrown what converged by then."""
        records, theta = self.course.records, self.end.theta
        way = records[records[:, 0] < self.end.step, 3 : 3 + len(theta)]
        before = way[-1] if len(way) else np.asarray(self.plan.start, dtype=np.float64)
        return np.asarray(theta - before)

    def _still_since(self) -> int | None:
        """Return the step from which on no parameter moved, if that is some records ago."""
        state, records = self.course.state, self.course.records
        if state.averaged:
            return None
        theta = np.asarray(state.theta)
        moved = (records[:, 3 : 3 + len(theta)] != theta).any(axis=1)
        still = len(moved) if not moved.any() else int(np.argmax(moved[::-1]))
        return int(records[len(moved) - still, 0]) if still >= STILL else None

    def _moves(self) -> bool:
        """Whether one more step moves a parameter: records may meet a swing at equal phases."""
        plan, state, population = self.plan, self.course.state, self.task.population
        chunk = population.some if population.whole is None else population.whole
        segment = Segment(
            order=in_order(chunk.rows),
            batch_size=plan.batch_size,
            rates=self.course.records[-1:, 1],
            ceiling=np.inf,
            record_every=0,
            low=plan.low,
            high=plan.high,
        )
        after = plan.kernel.sweep(state._replace(position=0), chunk, segment)
        return bool((after.state.theta != state.theta).any())

    def _cure(self) -> str | None:
        """Say what leads to the optimum; None: nothing better is known than the usual advice."""
        plan, distance, reach = self.plan, self.distance, self.reach
        pulled = pulled_by(plan)
        if pulled is not None:
            return pulled
        if not np.isfinite(distance):
            return (
                "this loss has no curvature that would tell the distance to the optimum; let the"
                " learning rate decay (schedule='cosine') and see whether the trace has settled"
            )
        noise = self.diagnosis.noise_distance or 0.0
        constant = isinstance(plan.schedule, Schedule) and plan.schedule.name == "constant"
        if plan.optimizer.average_from is not None:
            return "take more steps, or begin averaging later: averaged(…, start=…)"
        if plan.optimizer.name != "sgd" or not constant:
            return None
        if noise > reach and distance <= NEAR_NOISE * noise:
            return (
                "let the learning rate decay (a schedule), average the later iterates"
                " (averaged(sgd, start=…)), or take larger batches: at a constant rate the noise of"
                " the batches keeps it this far"
            )
        return self._more_steps(max(reach, noise))

    def _more_steps(self, reach: float) -> str | None:
        """Say how many steps lead within ``reach``, if the curvature tells.

        Along each eigenvector of the curvature, here where the run ended, the distance shrinks by
        its own growth factor; the slowest of those that matter decides.
        """
        sums, plan, diagnosis = self.end.sums, self.plan, self.diagnosis
        curvature, vectors = eigen(sums.curvature / sums.weight)
        known = curvature > EPS * curvature.max(initial=0.0)
        update, rate = momentum_of(plan.optimizer)[0], plan.schedule(0)
        logs = update.log_radius(rate * curvature[known])
        if (logs >= 0).any():
            limit = update.limit(float(curvature.max()))
            return f"lower the learning rate: where the run ended, its limit is {limit:.4g}"
        losses = self.course.records[:, 2]
        settled = self.full and len(losses) >= 8 and self.after >= losses[len(losses) * 3 // 4]
        if diagnosis.local and settled:
            return (
                "halve the learning rate: over the last quarter of the steps the loss did not fall"
            )
        gradient = vectors.T @ (sums.gradient / sums.weight)
        needed = _steps_needed(gradient[known], curvature[known], logs, self.distance / reach)
        if needed is None:
            return None
        if needed > TOO_MANY:
            ratio = float(curvature.max() / curvature[known].min())
            return (
                "centre and rescale the columns: one learning rate cannot serve curvatures that"
                f" differ {ratio:.1e} times"
            )
        rounded = float(f"{max(needed, 1):.1e}")
        more = (
            f"about {rounded:,.0f} more steps at this rate lead within {reach:.2g} standard errors"
        )
        fastest = None if diagnosis.local else diagnosis.fastest_rate
        return more if fastest is None else f"{more}; the fastest rate is {fastest:.4g}"


def _steps_needed(
    gradient: np.ndarray, curvature: np.ndarray, logs: np.ndarray, factor: float
) -> float | None:
    """Return the steps that make the distance ``factor`` times smaller."""
    # The squared distance is a sum of these shares, λ (gradient/λ)².
    share = gradient**2 / curvature
    some = share > 0
    sizes = factor * np.sqrt(share[some] / share.sum())
    needed = float(np.max(np.log(sizes) / -logs[some], initial=0.0))
    return needed if np.isfinite(needed) else None


def pulled_by(plan: Plan) -> str | None:
    """Say what weight decay does, if there is any."""
    options = dict(zip(plan.optimizer.option_names, plan.optimizer.options, strict=True))
    decay = options.get("weight_decay")
    if not decay:
        return None
    return f"set weight_decay=0: {decay:g} pulls the estimates towards 0, away from the optimum"


def out_of_domain(
    task: Task, trouble: Trouble, step: int, earlier: str = "", cure: str | None = None
) -> Status:
    """Return the status of a formula that has no finite value on a row, at a step."""
    kept = " of those without missing values" if task.dropped else ""
    kept += " of those with a weight above 0" if task.counted < task.rows else ""
    given = ", ".join(f"{value:.6g}" for value in trouble.arguments)
    at = ", ".join(f"{name} = {value:.6g}" for name, value in trouble.values.items())
    return status_of(
        "domain_error",
        cause=(
            f"{trouble.part} has no finite value on row {trouble.row + 1}{kept} at step"
            f" {step}: it was given {given} ({at}){earlier}"
        ),
        cure=cure,
    )


class WalkEnd(RunEnd):
    """The end of a walk of ``auto``.

    Parameters
    ----------
    downhill : tuple of str
        Combinations of parameters along which the loss bends down.
    better : Rival or None
        A lower minimum that a search found.
    """

    def __init__(
        self,
        task: Task,
        course: WalkOutcome,
        distance: float,
        undetermined: tuple[str, ...],
        downhill: tuple[str, ...] = (),
        better: Rival | None = None,
        reach: float | None = None,
    ) -> None:
        step = course.way[-1].step if course.way else 0
        super().__init__(task, course.ending, step, distance, undetermined, reach)
        self.course, self.downhill, self.better = course, downhill, better

    def without_value(self) -> Status | None:
        """No walk could begin."""
        task, course = self.task, self.course
        if course.quadratic is not None and course.first is not None:
            return None
        found = find_trouble(task, [course.theta], overflow=True)
        if found is None:
            cause = "the loss over all rows is not finite at the start"
            return status_of("domain_error", cause=cause)
        response = task.model.formula.response
        if all(np.isfinite(evaluate(response, known)).all() for _, known in task.named()):
            cure = "start where every row has a finite value, or bound the parameters"
            cure += _unsought(task.model)
        else:
            cure = f"correct row {found.row + 1}, or leave it out: no parameter changes that value"
        return out_of_domain(task, found, self.step, cure=cure)

    def beaten(self) -> Status | None:
        """The start leads to a higher minimum than a search found."""
        better, quadratic = self.better, self._quadratic
        if better is None or self.ending == "steps":
            return None
        start = ", ".join(f"{name}={value:.6g}" for name, value in better.values.items())
        loss = quadratic.loss / self.course.way[-1].rows
        return status_of(
            "local_minimum",
            cause=(
                f"the start leads to a mean loss of {loss:.6g}; a search found a minimum of"
                f" {better.loss:.6g}"
            ),
            cure=f"leave out the start, or start there: start='{start}'",
        )

    def no_minimum(self) -> Status | None:
        """The loss bends down."""
        if not self.downhill:
            return None
        return self.stalled(
            f"this is no minimum: along {', '.join(self.downhill)} the loss bends down, and falls"
            " on either side",
            "use a loss that has a minimum, or start elsewhere",
        )

    def hidden(self) -> Status | None:
        """Columns far from zero leave no digit of what the rows do determine."""
        if self._is_flat():
            what = f"rounding hides {', '.join(self.undetermined)}"
        elif _digits_left(self._quadratic) < 1:
            what = "rounding leaves no digit of the parameters"
        else:
            return None
        middles = far_columns(self.task)
        if not middles:
            return None
        cause = f"so far from 0 as {', '.join(middles)} lies, {what}, which the data do determine"
        return self.stalled(cause, _centre(self.task))

    def plateau(self) -> Status | None:
        """The loss does not depend on what it depends on elsewhere."""
        if not self._is_flat():
            return None
        model = self.task.model
        pairs = zip(model.free, self.course.theta, strict=True)
        moved = [f"{name} = {value:.4g}" for name, value in pairs]
        return self.stalled(
            "the steps ended on flat ground, not at the optimum: here the loss does not depend on"
            f" {', '.join(self.undetermined)} ({', '.join(moved)})",
            "start nearer, or bound the parameters" + (_unseen(self.task) or _unsought(model)),
        )

    def out_of_steps(self) -> Status | None:
        """The most steps are taken."""
        if self.ending != "steps":
            return None
        cure = f"raise steps, or start nearer{_unseen(self.task)}"
        return status_of("step_limit", steps=self.step, cure=cure)

    def resting(self) -> Status:
        """No step lowers the loss."""
        if not self._quadratic.offset.any():
            return status_of("stalled", step=self.step, cure=FLAT)
        known, centre = np.isfinite(self.distance), _centre(self.task)
        if has_kink(self.task.model):
            return self.stalled(JUMPS.format(self.distance) if known else UNKNOWN, "")
        left = f"{self.distance:.2g} standard errors" if known else "how far is not known"
        if self.course.beyond is None:
            return self.stalled(
                f"rounding hides the rest of the way ({left}): no step lowers the loss any more",
                centre or "rescale the columns so that they are of like size",
            )
        found = find_trouble(self.task, [self.course.beyond], overflow=True)
        what = "the loss" if found is None else f"{found.part} on row {found.row + 1}"
        return self.stalled(
            "no step lowers the loss any more, and longer ones leave the formula's domain, where"
            f" {what} has no finite value; what the curvature says is left to go: {left}",
            centre
            or "bound the parameters so that every row keeps a value, as in b > 0, or start"
            " elsewhere",
        )

    @property
    def _quadratic(self) -> Quadratic:
        assert self.course.quadratic is not None  # `without_value` has looked
        return self.course.quadratic

    def _is_flat(self) -> bool:
        """Whether what is undetermined here is determined elsewhere.

        A parameter that curves the formula has an effect somewhere. Two that only act together
        need not have one each, nor one that acts in steps.
        """
        if not self.undetermined:
            return False
        model = self.task.model
        acting = set(model.free) - set(model.linear) - stepped_names(model.prediction)
        return could_determine(self.task) or not acting.isdisjoint(self.undetermined)


def _unseen(task: Task) -> str:
    """Say what a search among a few of many rows cannot see."""
    searched = any(p.origin == "search" for p in task.model.parameters.values())
    if not searched or task.rows <= RESERVED_WHOLE:
        return ""
    return (
        f": the search for starts looked at 512 of {task.rows:,} rows, and cannot see what is"
        " narrower than the distance between them, such as a narrow peak; give start"
    )


def _digits_left(quadratic: Quadratic) -> float:
    """Return how many digits of the parameters the conditioning of the rows leaves."""
    lost = 1.0 if quadratic.regular else condition(quadratic)
    return -math.log10(EPS * lost) if np.isfinite(lost) else 0.0


def _unsought(model: Model) -> str:
    """Advise to leave out a start, where one was given."""
    given = any(parameter.origin == "given" for parameter in model.parameters.values())
    return ", or leave out the start so that one is searched" if given else ""


def _centre(task: Task) -> str | None:
    """Advise the same formula about the middle of its columns, where these lie far from 0."""
    middles = far_columns(task)
    if not middles:
        return None
    return f"centre the columns: fit '{centred(task.model.formula, middles)}'"


class Trouble(NamedTuple):
    """The first place that has no finite value."""

    part: str  # the part of the formula
    row: int  # counted from 0, among the rows used
    arguments: tuple[float, ...]  # what the part was given
    values: dict[str, float]  # the variables in that part, and all free parameters


def find_trouble(task: Task, tried: Sequence[np.ndarray], *, overflow: bool) -> Trouble | None:
    """Return where the first of the states ``tried`` that has no finite value fails, and why.

    Without ``overflow`` that is none: after the start it is what divergence looks like from
    within one row.
    """
    for theta in tried:
        values = task.model.values(np.asarray(theta, dtype=np.float64).tolist())
        free = {name: values[name] for name in task.model.free}
        for first, columns in task.named():
            for expression, known in _searches(task.model, columns, values):
                found = find_domain_error(expression, known)
                if found is not None and (overflow or found.kind != "overflow"):
                    at, given = first + found.row, found.arguments
                    return Trouble(found.subexpression, at, given, found.names | free)
    return None


def _searches(
    model: Model, columns: Mapping[str, np.ndarray], values: Mapping[str, float]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield expressions in the order of computation, each with what it is made of."""
    known: dict[str, Any] = {**columns, **values}
    # A slope may have no finite value where the formula has one: sqrt(b) at b = 0.
    for expression in (model.formula.response, model.formula.expression, *model.gradient):
        yield expression, known
    rows = len(next(iter(columns.values())))
    pair = {
        PREDICTION: np.broadcast_to(evaluate(model.formula.expression, known), rows),
        TARGET: np.broadcast_to(evaluate(model.formula.response, known), rows),
    }
    for expression in (model.loss.expression, model.slope):
        yield expression, pair


# A column whose middle lies so many times its spread away from 0.
FAR = 100.0
ROWS_LOOKED_AT = 1_000
# Places in the space of the parameters at which the centred formula is looked at.
DRAWS = 8


def far_columns(task: Task) -> dict[str, float]:
    """Return the variables that lie far from zero for their spread, each with a round middle."""
    middles = {}
    for name in task.model.variables:
        column = task.population.sample(ROWS_LOOKED_AT, 0).columns[task.model.columns.index(name)]
        low, high = float(column.min()), float(column.max())
        if high > low and abs(low / 2 + high / 2) > FAR * (high - low) / 2:
            middles[name] = _round(low, high)
    return middles


def _round(low: float, high: float) -> float:
    """Return the number with the fewest digits near the middle of a range."""
    middle = low / 2 + high / 2
    digits = (float(f"{middle:.{k}g}") for k in range(1, 17))
    return next((d for d in digits if abs(d - middle) <= (high - low) / 2), middle)


def centred(formula: Formula, middles: dict[str, float]) -> str:
    """Return the text of ``formula`` with some variables written about their middle.

    Examples
    --------
    >>> from sgdfit.formula.formula import as_formula
    >>> centred(as_formula("y = a*exp(-b*x)"), {"x": 1e6})
    'y = a*exp(-b*(x - 1000000))'
    """
    text = str(formula)
    left, sign, right = text.rpartition("=")
    pieces, end = [left, sign], 0
    for token in tokenize(right):
        if token.kind in ("name", "quoted") and token.text in middles:
            middle = middles[token.text]
            operator = "-" if middle >= 0 else "+"
            width = len(token.text) + (2 if token.kind == "quoted" else 0)
            name = right[token.position : token.position + width]
            pieces += [right[end : token.position], f"({name} {operator} {abs(middle):.16g})"]
            end = token.position + width
    return "".join([*pieces, right[end:]])


def could_determine(task: Task) -> bool:
    """Whether the formula on centred, scaled columns determines every parameter somewhere.

    Then what the data leave open is no property of formula and data, but of rounding or of the
    place in the space of the parameters.
    """
    model = task.model
    some = task.population.sample(ROWS_LOOKED_AT, 0)
    columns: dict[str, Any] = dict(zip(model.columns, some.columns, strict=True))
    for name in model.variables:
        column = columns[name].astype(np.float64)
        apart = column - (column.min() / 2 + column.max() / 2)
        largest = float(np.abs(apart).max())
        columns[name] = apart / largest if largest > 0 else column
    random = np.random.default_rng(0)
    return any(
        _determines(task, columns, random.normal(size=len(model.free)), some.rows)
        for _ in range(DRAWS)
    )


def _determines(task: Task, columns: dict[str, Any], theta: np.ndarray, rows: int) -> bool:
    model = task.model
    values = columns | dict(zip(model.free, map(float, theta), strict=True))
    try:
        slopes = [np.broadcast_to(evaluate(slope, values), rows) for slope in model.gradient]
    except FormulaError:
        return False
    jacobian = np.array(slopes, dtype=np.float64).T
    return bool(np.isfinite(jacobian).all() and root_spectrum(jacobian).positive.all())
