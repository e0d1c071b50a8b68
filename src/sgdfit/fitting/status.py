"""How a run ended: the facts weighed into one named status, with its cause and its cure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.errors import FormulaError
from sgdfit.fitting.dataset import Population
from sgdfit.fitting.gauss_newton import condition
from sgdfit.fitting.nonsmooth import has_kink
from sgdfit.fitting.problem import Course, Task
from sgdfit.fitting.sampling import RESERVED_WHOLE
from sgdfit.fitting.sgd import DescentOutcome, EndState, Plan, is_finite, momentum_of
from sgdfit.formula.evaluation import evaluate, find_domain_error
from sgdfit.formula.formula import Formula
from sgdfit.formula.tokens import tokenize
from sgdfit.inference.diagnosis import Diagnosis, explain_divergence, rate_advice
from sgdfit.inference.directions import EPS, eigen, root_spectrum
from sgdfit.inference.quadratic import Quadratic
from sgdfit.kernel.kernel import Segment, Sums
from sgdfit.kernel.order import in_order
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model
from sgdfit.model.separation import stepped_names
from sgdfit.optimizers.schedule import Schedule
from sgdfit.result.search import Rival
from sgdfit.result.status import Status, status_of

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


# Within this many times the noise that was foreseen, noise is what keeps a run from the optimum.
NEAR_NOISE = 2.0
# Nobody takes more steps than this; something else is wrong.
TOO_MANY = 1e7


def cure_of(
    plan: Plan,
    course: DescentOutcome,
    landing: EndState,
    diagnosis: Diagnosis,
    distance: float,
    reach: float,
) -> str | None:
    """Say what leads to the optimum; None: nothing better is known than the usual advice."""
    pulled = pulled_by(plan)
    if pulled is not None:
        return pulled
    if not np.isfinite(distance):
        return (
            "this loss has no curvature that would tell the distance to the optimum; let the"
            " learning rate decay (schedule='cosine') and see whether the trace has settled"
        )
    noise = diagnosis.noise_distance or 0.0
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
    return _outlook(plan, course, landing, diagnosis, distance, max(reach, noise))


def pulled_by(plan: Plan) -> str | None:
    """Say what weight decay does, if there is any."""
    options = dict(zip(plan.optimizer.option_names, plan.optimizer.options, strict=True))
    decay = options.get("weight_decay")
    if not decay:
        return None
    return f"set weight_decay=0: {decay:g} pulls the estimates towards 0, away from the optimum"


def _outlook(
    plan: Plan,
    course: DescentOutcome,
    landing: EndState,
    diagnosis: Diagnosis,
    distance: float,
    reach: float,
) -> str | None:
    """Say how many steps lead within ``reach``, if the curvature tells.

    Along each eigenvector of the curvature, here where the run ended, the distance shrinks by its
    own growth factor; the slowest of those that matter decides.
    """
    curvature, vectors = eigen(landing.sums.curvature / landing.sums.weight)
    known = curvature > EPS * curvature.max(initial=0.0)
    update, rate = momentum_of(plan.optimizer)[0], plan.schedule(0)
    logs = update.log_radius(rate * curvature[known])
    if (logs >= 0).any():
        limit = update.limit(float(curvature.max()))
        return f"lower the learning rate: where the run ended, its limit is {limit:.4g}"
    if diagnosis.local and _hovers(plan, course, landing):
        return "halve the learning rate: over the last quarter of the steps the loss did not fall"
    gradient = vectors.T @ (landing.sums.gradient / landing.sums.weight)
    needed = _steps_needed(gradient[known], curvature[known], logs, distance / reach)
    if needed is None:
        return None
    if needed > TOO_MANY:
        condition = float(curvature.max() / curvature[known].min())
        return (
            f"centre and rescale the columns: one learning rate cannot serve curvatures that"
            f" differ {condition:.1e} times"
        )
    rounded = float(f"{max(needed, 1):.1e}")
    more = f"about {rounded:,.0f} more steps at this rate lead within {reach:.2g} standard errors"
    fastest = None if diagnosis.local else diagnosis.fastest_rate
    return more if fastest is None else f"{more}; the fastest rate is {fastest:.4g}"


def _hovers(plan: Plan, course: DescentOutcome, landing: EndState) -> bool:
    """Whether a full batch ends no lower than it stood three quarters of the way."""
    losses = course.records[:, 2]
    after = landing.sums.loss / landing.sums.weight
    full = plan.batch_size >= landing.sums.rows
    return bool(full and len(losses) >= 8 and after >= losses[len(losses) * 3 // 4])


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


# Nearer than this to the optimum, in standard errors, a run has arrived, asked or not.
ARRIVED = 0.01
# A loss this many times that at the start is no noise of the batches.
MUCH = 10
FLAT = (
    "start elsewhere: the gradient is zero here, so no learning rate moves the parameters (a floor,"
    " a sign or a condition has no slope)"
)
# So many records without a move are a standstill.
STILL = 10


def judge(
    task: Task,
    plan: Plan,
    course: DescentOutcome,
    landing: EndState,
    first: Sums,
    diagnosis: Diagnosis,
    distance: float,
    undetermined: tuple[str, ...],
    hidden: bool,
) -> Status:
    """Return how a run ended.

    Parameters
    ----------
    landing : Landing
        Where the estimates are taken.
    first : Sums
        Over all rows, at the start.
    diagnosis : Diagnosis
        Of the curvature at the start.
    distance : float
        From the estimates to the optimum, in standard errors; infinite where not known.
    undetermined : tuple of str
        Combinations of parameters on which the loss does not depend at the estimates.
    hidden : bool
        Whether the rows do determine them, and only the sums over rows cannot tell.
    """
    return _failed(task, plan, course, landing, first, diagnosis) or _short_of_it(
        task, plan, course, landing, first, diagnosis, distance, undetermined, hidden
    )


def _failed(
    task: Task,
    plan: Plan,
    course: DescentOutcome,
    landing: EndState,
    first: Sums,
    diagnosis: Diagnosis,
) -> Status | None:
    """Return how a run failed, or None where it did not."""
    begun = is_finite(first)
    trouble = find_trouble(task, _tried(course), overflow=not begun) if landing.lost else None
    if trouble is not None:
        return _domain_status(task, course, landing, trouble)
    if not begun:
        return status_of("domain_error", cause="the loss over all rows is not finite at the start")
    loss = landing.sums.loss / landing.sums.weight
    if loss < -plan.ceiling:
        return status_of(
            "diverged",
            cause=f"the loss fell to {loss:.6g} and goes on",
            cure="use a loss that has a minimum: this one falls without bound",
        )
    if landing.lost or course.ending == "halted" or _grown(plan, course, landing, first, diagnosis):
        return _diverged(course, plan, landing, first, diagnosis)
    return None


def _short_of_it(
    task: Task,
    plan: Plan,
    course: DescentOutcome,
    landing: EndState,
    first: Sums,
    diagnosis: Diagnosis,
    distance: float,
    undetermined: tuple[str, ...],
    hidden: bool,
) -> Status:
    """Return how near to the optimum a run came that did not fail."""
    if course.ending in ("interrupted", "stopped"):
        return status_of(course.ending, step=course.state.step)
    if hidden:
        return _descent_hidden(task, landing, undetermined)
    plateau = _descent_plateau(plan, landing, first, diagnosis, undetermined)
    if plateau is not None:
        return plateau
    reach = ARRIVED if plan.tolerance is None else plan.tolerance
    if distance <= reach:
        cause = f"nearer than the {reach:g} standard errors that count"
        return status_of("converged", cause=cause)
    still = _still_since(course)
    if still is not None and not _moves(plan, course, task.population):
        flat = None if landing.sums.gradient.any() else FLAT
        return status_of("stalled", step=still, cure=flat or pulled_by(plan))
    cause = f"all {plan.steps:,} steps were taken before the optimum was reached"
    cure = cure_of(plan, course, landing, diagnosis, distance, reach)
    return status_of("step_limit", cause=cause, cure=cure)


def _tried(course: DescentOutcome) -> list[np.ndarray]:
    """Return the states that a run ended in: that of the last step, and what it averaged."""
    last = course.state.theta
    return [last] if course.ending == "halted" else [course.theta, last]


def _descent_hidden(task: Task, landing: EndState, undetermined: tuple[str, ...]) -> Status:
    """Return a stall of arithmetic: columns far from zero hide what their differences tell."""
    centres = ", ".join(
        f"({name} - {float(np.mean(column, dtype=np.float64)):.4g})"
        for name, column in zip(task.model.columns, task.population.some.columns, strict=True)
        if name in task.model.variables
    )
    return status_of(
        "stalled",
        step=landing.step,
        cause=(
            f"sums over the rows cannot tell {', '.join(undetermined)} from rounding at the scale"
            " of these columns, so steps along it lead nowhere"
        ),
        cure=f"centre and rescale the columns: in the formula write {centres} for each",
    )


def _descent_plateau(
    plan: Plan,
    landing: EndState,
    first: Sums,
    diagnosis: Diagnosis,
    undetermined: tuple[str, ...],
) -> Status | None:
    """Return a stall on flat ground, which looks like an optimum from within."""
    before, after = first.loss / first.weight, landing.sums.loss / landing.sums.weight
    lost = bool(undetermined) and not diagnosis.undetermined
    higher = plan.batch_size >= first.rows and after > before * (1 + 1e-9)
    if not lost and not (higher and diagnosis.local):
        return None
    trail = "the steps led to a plateau, not the optimum: "
    flat = f"there the loss no longer depends on {', '.join(undetermined)}" if lost else ""
    above = f"its loss {after:.6g} is above the {before:.6g} at the start" if higher else ""
    return status_of(
        "stalled",
        step=landing.step,
        cause=trail + "; ".join(filter(None, [flat, above])),
        cure="lower the learning rate, which threw the parameters there, or start nearer",
    )


def _domain_status(
    task: Task, course: DescentOutcome, landing: EndState, trouble: Trouble
) -> Status:
    cure = None
    if course.state.step:
        cure = (
            "lower the learning rate, whose step left the formula's domain, or bound the parameters"
        )
    earlier = ""
    if landing.step != course.state.step:
        earlier = f"; the estimates are those of step {landing.step}, the last with a finite loss"
    return out_of_domain(task, trouble, course.state.step, earlier, cure)


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


def _grown(
    plan: Plan, course: DescentOutcome, landing: EndState, first: Sums, diagnosis: Diagnosis
) -> bool:
    """Whether the loss ends far above its start, or above it and rising for good."""
    before, after = first.loss / first.weight, landing.sums.loss / landing.sums.weight
    if after > MUCH * abs(before) > 0:
        return True
    growth = diagnosis.growth_factor
    # Adaptive steps rise at first; where the figures hold all over, they know it better.
    foreseen = growth is not None and (growth > 1 or diagnosis.local)
    if plan.batch_size < first.rows or course.ending == "interrupted" or not foreseen:
        return False
    path = [*course.records[-3:, 2], after]
    return bool(after > before and all(a < b for a, b in itertools.pairwise(path)))


def _diverged(
    course: DescentOutcome, plan: Plan, landing: EndState, first: Sums, diagnosis: Diagnosis
) -> Status:
    before, after = first.loss / first.weight, landing.sums.loss / landing.sums.weight
    end = f"; the run was stopped at step {course.state.step}" if course.ending == "halted" else ""
    rise = f"the loss rose from {before:.6g} to {after:.6g} by step {landing.step}{end}."
    if not after > before:
        rise = f"after step {landing.step} a step left the range of floating point{end}."
    advice = rate_advice(diagnosis)
    told = explain_divergence(diagnosis, _last_move(plan, course, landing)).removesuffix(advice)
    return status_of("diverged", cause=f"{rise} {told.strip()}", cure=advice)


def _last_move(plan: Plan, course: DescentOutcome, landing: EndState) -> np.ndarray:
    """Return the last recorded move: what blew up has outgrown what converged by then."""
    way = course.records[course.records[:, 0] < landing.step, 3 : 3 + len(landing.theta)]
    before = way[-1] if len(way) else np.asarray(plan.start, dtype=np.float64)
    return np.asarray(landing.theta - before)


def _still_since(course: DescentOutcome) -> int | None:
    """Return the step from which on no parameter moved, if that is some records ago."""
    if course.state.averaged:
        return None
    theta = np.asarray(course.state.theta)
    moved = (course.records[:, 3 : 3 + len(theta)] != theta).any(axis=1)
    still = len(moved) if not moved.any() else int(np.argmax(moved[::-1]))
    return int(course.records[len(moved) - still, 0]) if still >= STILL else None


def _moves(plan: Plan, course: DescentOutcome, population: Population) -> bool:
    """Whether one more step moves a parameter: records may meet a swing at equal phases."""
    chunk = population.some if population.whole is None else population.whole
    segment = Segment(
        order=in_order(chunk.rows),
        batch_size=plan.batch_size,
        rates=course.records[-1:, 1],
        ceiling=np.inf,
        record_every=0,
        low=plan.low,
        high=plan.high,
    )
    after = plan.kernel.sweep(course.state._replace(position=0), chunk, segment)
    return bool((after.state.theta != course.state.theta).any())


UNKNOWN = (
    "no step lowers the loss any more; a loss without curvature does not tell what that is in"
    " standard errors"
)
JUMPS = (
    "{:.2g} standard errors away from the minimum no step comes nearer, since the gradient of a"
    " loss with a kink jumps from row to row"
)


def pronounce(
    task: Task,
    course: Course,
    distance: float,
    undetermined: tuple[str, ...],
    downhill: tuple[str, ...],
    better: Rival | None,
    reach: float | None,
) -> Status:
    """Return how a walk ended.

    Parameters
    ----------
    distance : float
        From the estimates to the optimum, in standard errors; infinite where not known.
    undetermined : tuple of str
        Combinations of parameters on which the loss does not depend at the estimates.
    downhill : tuple of str
        Combinations along which it bends down.
    better : Rival or None
        A lower minimum that a search found.
    reach : float or None
        The distance that was asked for.
    """
    if course.quadratic is None or course.first is None:
        return _nowhere(task, course)
    if course.ending in ("interrupted", "stopped"):
        return status_of(course.ending, step=_steps(course))
    if better is not None and course.ending != "steps":
        return _beaten(task.model, course, better)
    if downhill:
        return _no_minimum(course, downhill)
    if undetermined and (could_determine(task) or _is_flat(task.model, undetermined)):
        if far_columns(task):
            return _hidden(task, course, f"rounding hides {', '.join(undetermined)}")
        return _plateau(task, course, undetermined)
    if _digits_left(course.quadratic) < 1 and far_columns(task):
        return _hidden(task, course, "rounding leaves no digit of the parameters")
    enough = ARRIVED if reach is None else reach
    if distance <= enough:
        cause = f"nearer than the {enough:g} standard errors that count"
        return status_of("converged", cause=cause)
    if course.ending == "steps":
        return status_of(
            "step_limit",
            steps=_steps(course),
            cure=f"raise steps, or start nearer{_unseen(task)}",
        )
    return _resting(task, course, distance)


def _unseen(task: Task) -> str:
    """Say what a search among a few of many rows cannot see."""
    searched = any(p.origin == "search" for p in task.model.parameters.values())
    if not searched or task.rows <= RESERVED_WHOLE:
        return ""
    return (
        f": the search for starts looked at 512 of {task.rows:,} rows, and cannot see what is"
        " narrower than the distance between them, such as a narrow peak; give start"
    )


def _is_flat(model: Model, undetermined: tuple[str, ...]) -> bool:
    """Whether a parameter that curves the formula has no effect at all, which is no property of it.

    Two that only act together are; so is one that acts in steps.
    """
    acting = set(model.free) - set(model.linear) - stepped_names(model.prediction)
    return not acting.isdisjoint(undetermined)


def _digits_left(quadratic: Quadratic) -> float:
    """Return how many digits of the parameters the conditioning of the rows leaves."""
    lost = 1.0 if quadratic.regular else condition(quadratic)
    return -math.log10(EPS * lost) if np.isfinite(lost) else 0.0


def _steps(course: Course) -> int:
    return course.way[-1].step if course.way else 0


def _nowhere(task: Task, course: Course) -> Status:
    found = find_trouble(task, [course.theta], overflow=True)
    if found is None:
        return status_of("domain_error", cause="the loss over all rows is not finite at the start")
    if not _response_is_finite(task):
        cure = f"correct row {found.row + 1}, or leave it out: no parameter changes that value"
    else:
        cure = "start where every row has a finite value, or bound the parameters"
        cure += _unsought(task.model)
    return out_of_domain(task, found, _steps(course), cure=cure)


def _response_is_finite(task: Task) -> bool:
    response = task.model.formula.response
    return all(bool(np.isfinite(evaluate(response, known)).all()) for _, known in task.named())


def _unsought(model: Model) -> str:
    """Advise to leave out a start, where one was given."""
    given = any(parameter.origin == "given" for parameter in model.parameters.values())
    return ", or leave out the start so that one is searched" if given else ""


def _beaten(model: Model, course: Course, better: Rival) -> Status:
    assert course.quadratic is not None  # the caller has looked
    start = ", ".join(f"{name}={value:.6g}" for name, value in better.values.items())
    rows = course.way[-1].rows
    return status_of(
        "local_minimum",
        cause=(
            f"the start leads to a mean loss of {course.quadratic.loss / rows:.6g}; a search found"
            f" a minimum of {better.loss:.6g}"
        ),
        cure=f"leave out the start, or start there: start='{start}'",
    )


def _no_minimum(course: Course, downhill: tuple[str, ...]) -> Status:
    return status_of(
        "stalled",
        step=_steps(course),
        cause=(
            f"this is no minimum: along {', '.join(downhill)} the loss bends down, and falls on"
            " either side"
        ),
        cure="use a loss that has a minimum, or start elsewhere",
    )


def _hidden(task: Task, course: Course, what: str) -> Status:
    middles = far_columns(task)
    return status_of(
        "stalled",
        step=_steps(course),
        cause=f"so far from 0 as {', '.join(middles)} lies, {what}, which the data do determine",
        cure=_centre(task),
    )


def _centre(task: Task) -> str | None:
    """Advise the same formula about the middle of its columns, where these lie far from 0."""
    middles = far_columns(task)
    if not middles:
        return None
    return f"centre the columns: fit '{centred(task.model.formula, middles)}'"


def _plateau(task: Task, course: Course, undetermined: tuple[str, ...]) -> Status:
    pairs = zip(task.model.free, course.theta, strict=True)
    moved = [f"{name} = {value:.4g}" for name, value in pairs]
    return status_of(
        "stalled",
        step=_steps(course),
        cause=(
            "the steps ended on flat ground, not at the optimum: here the loss does not depend on"
            f" {', '.join(undetermined)} ({', '.join(moved)})"
        ),
        cure="start nearer, or bound the parameters" + (_unseen(task) or _unsought(task.model)),
    )


def _at_the_edge(task: Task, course: Course, beyond: np.ndarray, left: str) -> Status:
    found = find_trouble(task, [beyond], overflow=True)
    what = "the loss" if found is None else f"{found.part} on row {found.row + 1}"
    return status_of(
        "stalled",
        step=_steps(course),
        cause=(
            f"no step lowers the loss any more, and longer ones leave the formula's domain, where"
            f" {what} has no finite value; what the curvature says is left to go: {left}"
        ),
        cure=_centre(task)
        or "bound the parameters so that every row keeps a value, as in b > 0, or start elsewhere",
    )


def _resting(task: Task, course: Course, distance: float) -> Status:
    assert course.quadratic is not None  # the caller has looked
    if not course.quadratic.offset.any():
        return status_of("stalled", step=_steps(course), cure=FLAT)
    known = np.isfinite(distance)
    if has_kink(task.model):
        cause = JUMPS.format(distance) if known else UNKNOWN
        return status_of("stalled", step=_steps(course), cause=cause, cure="")
    left = f"{distance:.2g} standard errors" if known else "how far is not known"
    if course.beyond is not None:
        return _at_the_edge(task, course, course.beyond, left)
    centre = _centre(task)
    return status_of(
        "stalled",
        step=_steps(course),
        cause=f"rounding hides the rest of the way ({left}): no step lowers the loss any more",
        cure=centre or "rescale the columns so that they are of like size",
    )
