"""How a run ended: the facts weighed into one named status, with its cause and its cure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.gauss_newton import condition
from sgdfit.fitting.problem import DescentFacts, Outcome, Problem
from sgdfit.fitting.sampling import SUBSAMPLE_ALL
from sgdfit.fitting.sgd import EndState, is_finite, momentum_of
from sgdfit.formula.evaluation import evaluate, find_domain_error
from sgdfit.formula.formula import Formula
from sgdfit.formula.parsing import tokenize
from sgdfit.inference.diagnosis import explain_divergence, rate_advice
from sgdfit.inference.quadratic import Quadratic
from sgdfit.inference.spectrum import EPS, eigen, root_spectrum
from sgdfit.kernel.kernel import Chunk, Segment
from sgdfit.kernel.shuffle import in_order
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model
from sgdfit.model.separation import stepped_names
from sgdfit.optimizers.schedule import Schedule
from sgdfit.result.status import Status, status_of

# Within this many times the noise that was foreseen, noise is what keeps a run from the optimum.
NEAR_NOISE = 2.0
# Nobody takes more steps than this; something else is wrong.
TOO_MANY = 1e7
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


class RunEnd(NamedTuple):
    """Where a run ended, with what is known there."""

    problem: Problem
    outcome: Outcome
    # From the estimates to the optimum, in standard errors; infinite where not known.
    distance: float
    reach: float  # the distance that was asked for
    # Combinations of parameters on which the loss does not depend at the estimates, and along which
    # it bends down.
    undetermined: tuple[str, ...] = ()
    downhill: tuple[str, ...] = ()
    state: EndState | None = None  # of which a descent's result speaks
    # Whether the rows determine what is undetermined, and only sums over rows cannot tell.
    is_hidden: bool = False

    @property
    def descent(self) -> tuple[DescentFacts, EndState] | None:
        """What textbook descent has to tell; None of a walk."""
        facts = self.outcome.descent
        return None if facts is None or self.state is None else (facts, self.state)

    @property
    def quadratic(self) -> Quadratic:
        """The loss of all rows near the end of a walk."""
        assert self.outcome.quadratic is not None  # `never_begun` has looked
        return self.outcome.quadratic


def decide_status(end: RunEnd) -> Status:
    """Return the status of the first of these cases that holds."""
    cases: tuple[Callable[[RunEnd], Status | None], ...] = (
        never_begun,
        left_domain,
        diverged,
        called_off,
        beaten,
        no_minimum,
        hidden,
        plateau,
        converged,
        out_of_steps,
    )
    found = (case(end) for case in cases)
    return next((status for status in found if status is not None), None) or resting(end)


def never_begun(end: RunEnd) -> Status | None:
    """A walk has no finite loss to begin at."""
    problem, outcome = end.problem, end.outcome
    if end.descent or (outcome.quadratic is not None and outcome.first is not None):
        return None
    found = find_trouble(problem, [outcome.theta], overflow=True)
    if found is None:
        cause = "the loss over all rows is not finite at the start"
        return status_of("domain_error", cause=cause)
    response = problem.model.formula.response
    if all(np.isfinite(evaluate(response, known)).all() for _, known in problem.named()):
        cure = "start where every row has a finite value, or bound the parameters"
        cure += _unsought(problem.model)
    else:
        cure = f"correct row {found.row + 1}, or leave it out: no parameter changes that value"
    return out_of_domain(problem, found, outcome.step, cure=cure)


def left_domain(end: RunEnd) -> Status | None:
    """The formula has no value on a row where a descent began, or went."""
    if end.descent is None:
        return None
    (facts, at), problem, step = end.descent, end.problem, end.outcome.step
    begun, last = is_finite(facts.first), facts.state.theta
    tried = [last] if end.outcome.ending == "halted" else [end.outcome.theta, last]
    trouble = find_trouble(problem, tried, overflow=not begun) if at.lost else None
    if trouble is None:
        cause = "the loss over all rows is not finite at the start"
        return None if begun else status_of("domain_error", cause=cause)
    cure = "lower the learning rate, whose step left the formula's domain, or bound the parameters"
    earlier = ""
    if at.step != step:
        earlier = f"; the estimates are those of step {at.step}, the last with a finite loss"
    return out_of_domain(problem, trouble, step, earlier, cure if step else None)


def diverged(end: RunEnd) -> Status | None:
    """The loss of a descent fell without bound, or rose."""
    if end.descent is None:
        return None
    (facts, at), step = end.descent, end.outcome.step
    before, after = facts.first.loss / facts.first.weight, at.sums.loss / at.sums.weight
    if after < -facts.ceiling:
        return status_of(
            "diverged",
            cause=f"the loss fell to {after:.6g} and goes on",
            cure="use a loss that has a minimum: this one falls without bound",
        )
    halted = end.outcome.ending == "halted"
    if not (at.lost or halted or _has_grown(end, before, after)):
        return None
    stop = f"; the run was stopped at step {step}" if halted else ""
    rise = f"the loss rose from {before:.6g} to {after:.6g} by step {at.step}{stop}."
    if not after > before:
        rise = f"after step {at.step} a step left the range of floating point{stop}."
    # Of the last recorded move: what blew up has outgrown what converged by then.
    way = facts.records[facts.records[:, 0] < at.step, 3 : 3 + len(at.theta)]
    last = way[-1] if len(way) else facts.start.astype(np.float64)
    advice = rate_advice(facts.diagnosis)
    told = explain_divergence(facts.diagnosis, at.theta - last)
    return status_of("diverged", cause=f"{rise} {told}", cure=advice)


def _has_grown(end: RunEnd, before: float, after: float) -> bool:
    """Whether the loss ends far above its start, or above it and rising for good."""
    assert end.descent is not None  # the caller has looked
    facts, _ = end.descent
    if after > MUCH * abs(before) > 0:
        return True
    growth, local = facts.diagnosis.growth_factor, facts.diagnosis.local
    # Adaptive steps rise at first; where the figures hold all over, they know it better.
    foreseen = growth is not None and (growth > 1 or local)
    full = facts.batch_size >= end.problem.rows
    if not full or end.outcome.ending == "interrupted" or not foreseen:
        return False
    path = [*facts.records[-3:, 2], after]
    return bool(after > before and all(a < b for a, b in itertools.pairwise(path)))


def called_off(end: RunEnd) -> Status | None:
    """The user ended it."""
    outcome = end.outcome
    return status_of(outcome.ending, step=outcome.step) if outcome.is_called_off else None


def beaten(end: RunEnd) -> Status | None:
    """The start leads to a higher minimum than a search found."""
    better, outcome = end.outcome.better, end.outcome
    if better is None or outcome.ending == "steps":
        return None
    start = ", ".join(f"{name}={value:.6g}" for name, value in better.values.items())
    return status_of(
        "local_minimum",
        cause=(
            f"the start leads to a mean loss of {outcome.loss:.6g}; a search found a minimum of"
            f" {better.loss:.6g}"
        ),
        cure=f"leave out the start, or start there: start='{start}'",
    )


def no_minimum(end: RunEnd) -> Status | None:
    """The loss bends down."""
    if not end.downhill:
        return None
    return _stalled(
        end,
        f"this is no minimum: along {', '.join(end.downhill)} the loss bends down, and falls on"
        " either side",
        "use a loss that has a minimum, or start elsewhere",
    )


def hidden(end: RunEnd) -> Status | None:
    """Rounding hides what the rows determine: columns far from zero leave no digit of it."""
    problem = end.problem
    if end.descent is not None:
        if not end.is_hidden:
            return None
        centres = ", ".join(
            f"({name} - {float(np.mean(column, dtype=np.float64)):.4g})"
            for name, column in zip(
                problem.model.columns, problem.data.subsample.columns, strict=True
            )
            if name in problem.model.variables
        )
        return status_of(
            "stalled",
            step=end.descent[1].step,
            cause=(
                f"sums over the rows cannot tell {', '.join(end.undetermined)} from rounding at"
                " the scale of these columns, so steps along it lead nowhere"
            ),
            cure=f"centre and rescale the columns: in the formula write {centres} for each",
        )
    # The digits of the parameters that the conditioning of the rows leaves.
    lost = 1.0 if end.quadratic.regular else condition(end.quadratic)
    digits = -math.log10(EPS * lost) if np.isfinite(lost) else 0.0
    if _is_flat(end):
        what = f"rounding hides {', '.join(end.undetermined)}"
    elif digits < 1:
        what = "rounding leaves no digit of the parameters"
    else:
        return None
    middles = far_columns(problem)
    if not middles:
        return None
    cause = f"so far from 0 as {', '.join(middles)} lies, {what}, which the data do determine"
    return _stalled(end, cause, _centre(problem))


def plateau(end: RunEnd) -> Status | None:
    """Flat ground looks like an optimum from within: the loss depends elsewhere on what it does."""
    if end.descent is not None:
        return _descent_plateau(end)
    if not _is_flat(end):
        return None
    problem = end.problem
    pairs = zip(problem.names, end.outcome.theta, strict=True)
    moved = [f"{name} = {value:.4g}" for name, value in pairs]
    return _stalled(
        end,
        "the steps ended on flat ground, not at the optimum: here the loss does not depend on"
        f" {', '.join(end.undetermined)} ({', '.join(moved)})",
        "start nearer, or bound the parameters" + (_unseen(problem) or _unsought(problem.model)),
    )


def _descent_plateau(end: RunEnd) -> Status | None:
    """Steps threw the parameters to where the loss is flat, or higher than at the start."""
    assert end.descent is not None  # the caller has looked
    facts, at = end.descent
    before, after = facts.first.loss / facts.first.weight, at.sums.loss / at.sums.weight
    lost = bool(end.undetermined) and not facts.diagnosis.undetermined
    higher = facts.batch_size >= end.problem.rows and after > before * (1 + 1e-9)
    if not lost and not (higher and facts.diagnosis.local):
        return None
    what = ", ".join(end.undetermined)
    flat = f"there the loss no longer depends on {what}" if lost else ""
    above = f"its loss {after:.6g} is above the {before:.6g} at the start"
    told = "; ".join(filter(None, [flat, above if higher else ""]))
    return status_of(
        "stalled",
        step=at.step,
        cause=f"the steps led to a plateau, not the optimum: {told}",
        cure="lower the learning rate, which threw the parameters there, or start nearer",
    )


def converged(end: RunEnd) -> Status | None:
    """It is near enough."""
    if not end.distance <= end.reach:
        return None
    cause = f"nearer than the {end.reach:g} standard errors that count"
    return status_of("converged", cause=cause)


def out_of_steps(end: RunEnd) -> Status | None:
    """All steps that were allowed are taken, and they still move."""
    problem = end.problem
    if end.descent is not None:
        if _still_since(end) is not None and not _moves(end):
            return None
        cause = f"all {problem.steps:,} steps were taken before the optimum was reached"
        return status_of("step_limit", cause=cause, cure=_cure(end))
    if end.outcome.ending != "steps":
        return None
    cure = f"raise steps, or start nearer{_unseen(problem)}"
    return status_of("step_limit", steps=end.outcome.step, cure=cure)


def resting(end: RunEnd) -> Status:
    """No step leads on."""
    problem, outcome = end.problem, end.outcome
    if end.descent is not None:
        cure = pulled_by(problem) if end.descent[1].sums.gradient.any() else FLAT
        return status_of("stalled", step=_still_since(end) or 0, cure=cure)
    if not end.quadratic.offset.any():
        return status_of("stalled", step=outcome.step, cure=FLAT)
    known, centre = np.isfinite(end.distance), _centre(problem)
    if problem.kinked:
        return _stalled(end, JUMPS.format(end.distance) if known else UNKNOWN, "")
    left = f"{end.distance:.2g} standard errors" if known else "how far is not known"
    if outcome.beyond is None:
        return _stalled(
            end,
            f"rounding hides the rest of the way ({left}): no step lowers the loss any more",
            centre or "rescale the columns so that they are of like size",
        )
    found = find_trouble(problem, [outcome.beyond], overflow=True)
    what = "the loss" if found is None else f"{found.part} on row {found.row + 1}"
    return _stalled(
        end,
        "no step lowers the loss any more, and longer ones leave the formula's domain, where"
        f" {what} has no finite value; what the curvature says is left to go: {left}",
        centre
        or "bound the parameters so that every row keeps a value, as in b > 0, or start elsewhere",
    )


def _stalled(end: RunEnd, cause: str, cure: str | None) -> Status:
    return status_of("stalled", step=end.outcome.step, cause=cause, cure=cure)


def _is_flat(end: RunEnd) -> bool:
    """Whether what is undetermined here is determined elsewhere.

    A parameter that curves the formula has an effect somewhere. Two that only act together need not
    have one each, nor one that acts in steps.
    """
    if not end.undetermined:
        return False
    model = end.problem.model
    acting = set(model.free) - set(model.linear) - stepped_names(model.prediction)
    return could_determine(end.problem) or not acting.isdisjoint(end.undetermined)


def _still_since(end: RunEnd) -> int | None:
    """Return the step from which on no parameter moved, if that is some records ago."""
    assert end.descent is not None  # the caller has looked
    state, records = end.descent[0].state, end.descent[0].records
    if state.averaged:
        return None
    theta = np.asarray(state.theta)
    moved = (records[:, 3 : 3 + len(theta)] != theta).any(axis=1)
    still = len(moved) if not moved.any() else int(np.argmax(moved[::-1]))
    return int(records[len(moved) - still, 0]) if still >= STILL else None


def _moves(end: RunEnd) -> bool:
    """Whether one more step moves a parameter: records may meet a swing at equal phases."""
    assert end.descent is not None  # the caller has looked
    problem, facts = end.problem, end.descent[0]
    state, data = facts.state, problem.data
    chunk = data.subsample if data.whole is None else data.whole
    segment = Segment(
        order=in_order(chunk.rows),
        batch_size=facts.batch_size,
        rates=facts.records[-1:, 1],
        ceiling=np.inf,
        record_every=0,
        low=problem.box.low,
        high=problem.box.high,
    )
    after = problem.kernel.sweep(state._replace(position=0), chunk, segment)
    return bool((after.state.theta != state.theta).any())


def _cure(end: RunEnd) -> str | None:
    """Say what leads to the optimum; None: nothing better is known than the usual advice."""
    assert end.descent is not None  # the caller has looked
    facts, optimizer = end.descent[0], end.problem.options.optimizer
    assert optimizer is not None  # of a descent
    pulled = pulled_by(end.problem)
    if pulled is not None:
        return pulled
    if not np.isfinite(end.distance):
        return (
            "this loss has no curvature that would tell the distance to the optimum; let the"
            " learning rate decay (schedule='cosine') and see whether the trace has settled"
        )
    noise = facts.diagnosis.noise_distance or 0.0
    constant = isinstance(facts.schedule, Schedule) and facts.schedule.name == "constant"
    if optimizer.average_from is not None:
        return "take more steps, or begin averaging later: averaged(…, start=…)"
    if optimizer.name != "sgd" or not constant:
        return None
    if noise > end.reach and end.distance <= NEAR_NOISE * noise:
        return (
            "let the learning rate decay (a schedule), average the later iterates"
            " (averaged(sgd, start=…)), or take larger batches: at a constant rate the noise of"
            " the batches keeps it this far"
        )
    return _more_steps(end, max(end.reach, noise))


def _more_steps(end: RunEnd, reach: float) -> str | None:
    """Say how many steps lead within ``reach``, if the curvature tells.

    Along each eigenvector of the curvature, here where the run ended, the distance shrinks by its
    own growth factor; the slowest of those that matter decides.
    """
    optimizer = end.problem.options.optimizer
    assert end.descent is not None  # the caller has looked
    assert optimizer is not None
    (facts, at), diagnosis = end.descent, end.descent[0].diagnosis
    curvature, vectors = eigen(at.sums.curvature / at.sums.weight)
    known = curvature > EPS * curvature.max(initial=0.0)
    update, rate = momentum_of(optimizer)[0], facts.schedule(0)
    logs = update.log_radius(rate * curvature[known])
    if (logs >= 0).any():
        limit = update.limit(float(curvature.max()))
        return f"lower the learning rate: where the run ended, its limit is {limit:.4g}"
    losses, after = facts.records[:, 2], at.sums.loss / at.sums.weight
    full = facts.batch_size >= end.problem.rows
    settled = full and len(losses) >= 8 and after >= losses[len(losses) * 3 // 4]
    if diagnosis.local and settled:
        return "halve the learning rate: over the last quarter of the steps the loss did not fall"
    # The squared distance is a sum of these shares, λ (gradient/λ)².
    gradient = vectors.T @ (at.sums.gradient / at.sums.weight)
    share = gradient[known] ** 2 / curvature[known]
    some = share > 0
    sizes = end.distance / reach * np.sqrt(share[some] / share.sum())
    needed = float(np.max(np.log(sizes) / -logs[some], initial=0.0))
    if not np.isfinite(needed):
        return None
    if needed > TOO_MANY:
        ratio = float(curvature.max() / curvature[known].min())
        return (
            "centre and rescale the columns: one learning rate cannot serve curvatures that"
            f" differ {ratio:.1e} times"
        )
    rounded = float(f"{max(needed, 1):.1e}")
    more = f"about {rounded:,.0f} more steps at this rate lead within {reach:.2g} standard errors"
    fastest = None if diagnosis.local else diagnosis.fastest_rate
    return more if fastest is None else f"{more}; the fastest rate is {fastest:.4g}"


def pulled_by(problem: Problem) -> str | None:
    """Say what weight decay does, if there is any."""
    optimizer = problem.options.optimizer
    assert optimizer is not None  # of a descent
    decay = dict(zip(optimizer.option_names, optimizer.options, strict=True)).get("weight_decay")
    if not decay:
        return None
    return f"set weight_decay=0: {decay:g} pulls the estimates towards 0, away from the optimum"


def out_of_domain(
    problem: Problem, trouble: Trouble, step: int, earlier: str = "", cure: str | None = None
) -> Status:
    """Return the status of a formula that has no finite value on a row, at a step."""
    kept = " of those without missing values" if problem.dropped else ""
    kept += " of those with a weight above 0" if problem.rows < problem.rows_read else ""
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


def _unseen(problem: Problem) -> str:
    """Say what a search among a few of many rows cannot see."""
    searched = any(p.origin == "search" for p in problem.model.parameters.values())
    if not searched or problem.rows_read <= SUBSAMPLE_ALL:
        return ""
    return (
        f": the search for starts looked at 512 of {problem.rows_read:,} rows, and cannot see what"
        " is narrower than the distance between them, such as a narrow peak; give start"
    )


def _unsought(model: Model) -> str:
    """Advise to leave out a start, where one was given."""
    given = any(parameter.origin == "given" for parameter in model.parameters.values())
    return ", or leave out the start so that one is searched" if given else ""


def _centre(problem: Problem) -> str | None:
    """Advise the same formula about the middle of its columns, where these lie far from 0."""
    middles = far_columns(problem)
    if not middles:
        return None
    return f"centre the columns: fit '{centred(problem.model.formula, middles)}'"


class Trouble(NamedTuple):
    """The first place that has no finite value."""

    part: str  # the part of the formula
    row: int  # counted from 0, among the rows used
    arguments: tuple[float, ...]  # what the part was given
    values: dict[str, float]  # the variables in that part, and all free parameters


def find_trouble(
    problem: Problem, tried: Sequence[np.ndarray], *, overflow: bool
) -> Trouble | None:
    """Return where the first of the states ``tried`` that has no finite value fails, and why.

    Without ``overflow`` that is none: after the start it is what divergence looks like from
    within one row.
    """
    for theta in tried:
        values = problem.model.values(np.asarray(theta, dtype=np.float64).tolist())
        free = {name: values[name] for name in problem.model.free}
        for first, columns in problem.named():
            for expression, known in _searches(problem.model, columns, values):
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


def far_columns(problem: Problem) -> dict[str, float]:
    """Return the variables that lie far from zero for their spread, each with a round middle."""
    middles = {}
    for name in problem.model.variables:
        column = problem.data.sample(ROWS_LOOKED_AT, 0).columns[problem.model.columns.index(name)]
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
    >>> from sgdfit.formula.reading import as_formula
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


def could_determine(problem: Problem) -> bool:
    """Whether the formula on centred, scaled columns determines every parameter somewhere.

    Then what the data leave open is no property of formula and data, but of rounding or of the
    place in the space of the parameters.
    """
    model, random = problem.model, np.random.default_rng(0)
    some = problem.data.sample(ROWS_LOOKED_AT, 0)
    columns = list(some.columns)
    for i, name in enumerate(model.columns):
        if name in model.variables:
            column = columns[i].astype(np.float64)
            apart = column - (column.min() / 2 + column.max() / 2)
            largest = float(np.abs(apart).max())
            columns[i] = apart / largest if largest > 0 else column
    chunk = Chunk(tuple(columns), None)
    for _ in range(DRAWS):
        jacobian = problem.kernel.rows(random.normal(size=len(model.free)), chunk).jacobian.T
        if np.isfinite(jacobian).all() and root_spectrum(jacobian).positive.all():
            return True
    return False
