"""How a run ended: the facts weighed into one named status, with its cause and its cure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.multistart import TOLD, misfit_of
from sgdfit.fitting.problem import ROWS_LOOKED_AT, DescentFacts, Outcome, Problem
from sgdfit.fitting.saddle import is_flat
from sgdfit.fitting.sampling import FEW
from sgdfit.fitting.sgd import MUCH, EndState, is_finite, momentum_of
from sgdfit.formula.evaluation import DomainError, evaluate, find_domain_error, mending_condition
from sgdfit.formula.formula import symbol
from sgdfit.formula.limits import evaluate_slope
from sgdfit.inference.diagnosis import explain_divergence, rate_advice
from sgdfit.inference.spectrum import EPS, eigen, root_spectrum
from sgdfit.kernel.kernel import Segment
from sgdfit.kernel.shuffle import sequential
from sgdfit.model.separation import break_names
from sgdfit.optimizers.schedule import Schedule
from sgdfit.result.status import STATUSES, Status, status_of

# Within this many times the noise that was foreseen, noise is what keeps a run from the optimum.
NEAR_NOISE = 2.0
# So many records without a move are a standstill.
STILL = 10
# A column whose middle lies so many times its spread away from 0.
FAR_FROM_ZERO = 100.0
# More steps than anybody waits for.
MOST_ADVISED_STEPS = 1e7
# How far beside a value, as a share of it, a parameter is tried.
BESIDE = 1e-6

OUTSIDE = (
    "{part} has no finite value on row {row}{kept} at {step}: it was given {given} ({at}){earlier}"
)
# What is said of each ending: its status, cause and cure; None: what the status says by itself.
ENDINGS: dict[str, tuple[str, str | None, str | None]] = {
    "no finite loss": ("domain_error", "the loss over all rows is not finite at the start", None),
    "starts outside": ("domain_error", OUTSIDE, STATUSES["domain_error"].cure + "{unsought}"),
    "bad row": (
        "domain_error",
        OUTSIDE,
        "leave out such rows by {mended}, or correct row {row}",
    ),
    "stepped outside": (
        "domain_error",
        OUTSIDE,
        "lower the learning rate, whose step left the formula's domain, or bound the parameters",
    ),
    "falls": (
        "diverged",
        "the loss fell to {after:.6g} and goes on",
        "use a loss that has a minimum: this one falls without bound",
    ),
    "rises": ("diverged", "{rise}{stop}. {told}", "{advice}"),
    "beaten": (
        "local_minimum",
        "the start leads to a mean loss of {loss:.6g}; a search found a minimum of {better:.6g}",
        "leave out the start, or start there: start='{start}'",
    ),
    "runs off": (
        "at_infinity",
        "the best curve is a limit: {ways}; {tends}",
        "{cure}",
    ),
    "hidden": (
        "stalled",
        "so far from 0 as {columns} lies, rounding hides {what}, which the data do determine",
        "{centre}",
    ),
    "far": (
        "stalled",
        "so far from 0 as {columns} lies, parameters hardly differ in what they do: {steps:,} steps"
        " did not lead to the optimum",
        "{centre}",
    ),
    "flat": (
        "stalled",
        "the steps ended on flat ground, not at the optimum: here the loss does not rise along"
        " {what} ({at})",
        "start nearer, or bound the parameters{unsought}",
    ),
    "plateau": (
        "stalled",
        "the steps led to a plateau, not the optimum: there the loss no longer depends on {what}",
        "lower the learning rate, which threw the parameters there, or start nearer",
    ),
    "near": ("converged", "nearer than the {reach:g} standard errors that count", None),
    "steps used up": ("step_limit", None, "raise steps, or start nearer"),
    "all steps": (
        "step_limit",
        "all {steps:,} steps were taken before the optimum was reached{slope}",
        None,
    ),
    "standstill": ("stalled", None, None),
    "no slope": (
        "stalled",
        None,
        "start elsewhere: the gradient is zero here, so no learning rate moves the parameters (a"
        " floor, a sign or a condition has no slope)",
    ),
    "kink": (
        "stalled",
        "no step comes nearer to the minimum ({left}), since the gradient of a loss with a kink"
        " jumps from row to row",
        "raise tolerance above that, or take a loss without a kink, such as huber",
    ),
    "rounding": (
        "stalled",
        "rounding hides the rest of the way ({left}): no step lowers the loss any more",
        "{centre}",
    ),
    "edge": (
        "stalled",
        "no step lowers the loss any more, and longer ones leave the formula's domain, where"
        " {what} has no finite value; what the curvature says is left to go: {left}",
        "bound the parameters so that every row keeps a value, as in b > 0, or start elsewhere",
    ),
}
# A share of the loss that is not worth telling.
LIKE_IT = 1e-3
# A mean loss that is so many times smaller says that a sign was not meant.
FAR_BETTER = 4.0
# Optimizers whose steps on batches stay as long as the rate makes them.
UNSHRINKING = ("adam", "adamw", "rmsprop")
# What leads a descent to the optimum that has taken all its steps.
CURES = {
    "decay": "set weight_decay=0: {decay:g} pulls the estimates towards 0, away from the optimum",
    "no curvature": "this loss has no curvature that would tell the distance to the optimum; let"
    " the learning rate decay (schedule='cosine') and see whether the trace has settled",
    "average": "take more steps, or begin averaging later: averaged(…, start=…)",
    "noise": "let the learning rate decay (a schedule), average the later iterates"
    " (averaged({name}, start=…)), or take larger batches: at a constant rate the noise of the"
    " batches keeps it this far",
    "as long": "let the learning rate decay (schedule='cosine'): at a constant one the steps of"
    " rmsprop stay as long as it is",
    "fast": "lower the learning rate: where the run ended, its limit is {limit:.4g}",
    "endless": "use the optimizer auto, or start nearer: at this rate it would take some {more:.1g}"
    " steps more",
    "slow": "about {more:,.0f} more steps at this rate lead within {reach:.2g} standard errors",
}


def ended(ending: str, cure: str | None = None, **facts: Any) -> Status:
    """Return the status of an ending in words; a ``cure`` that is known better replaces its own."""
    name, cause, usual = ENDINGS[ending]
    if cure is None and usual is not None:
        cure = usual.format(**facts)
    return status_of(name, cause=(cause or STATUSES[name].cause).format(**facts), cure=cure)


class RunEnd(NamedTuple):
    """Where a run ended, with what is known there."""

    problem: Problem
    outcome: Outcome
    # From the estimates to the optimum, in standard errors; infinite where not known.
    distance: float
    reach: float  # the distance that was asked for
    # Combinations of parameters along which the loss does not rise at the estimates.
    undetermined: tuple[str, ...] = ()
    state: EndState | None = None  # of which a descent's result speaks

    @property
    def descent(self) -> tuple[DescentFacts, EndState] | None:
        """What textbook descent has to tell; None of a walk."""
        facts = self.outcome.descent
        return None if facts is None or self.state is None else (facts, self.state)


def decide_status(end: RunEnd) -> Status:
    """Return the status of the first of these cases that holds."""
    found = (case(end) for case in CASES)
    status = next((status for status in found if status is not None), None) or resting(end)
    small = end.descent is None and end.problem.data.whole is not None
    walled = small and status.name in ("at_infinity", "stalled", "step_limit")
    _, wall = next(_walls(end), (None, "")) if walled else (None, "")
    return replace(status, cure=f"{wall}; or {status.cure}") if wall else status


def wall_warnings(end: RunEnd) -> tuple[str, ...]:
    """Say so where a row keeps a sign with which the curve hardly fits the others."""
    problem, chunk = end.problem, end.problem.data.whole
    if chunk is None or problem.rows > FEW:
        return ()
    for there, wall in _walls(end):
        rows = np.flatnonzero(np.isfinite(problem.kernel.rows(there, chunk).prediction))
        some = problem.on_rows(chunk.taken(rows))._replace(callback=None)
        here = problem.kernel.sums(end.outcome.theta, some.chunk).loss / len(rows)
        beyond = walk(some, there, [len(rows)])
        stays = (beyond.theta * there)[there * end.outcome.theta < 0] > 0
        if stays.all() and beyond.loss < here / FAR_BETTER:
            return (f"{wall}; the other sign fits the other rows far better",)
    return ()


def edge_warnings(end: RunEnd) -> tuple[str, ...]:
    """Say so where the minimum lies on the edge of the formula's domain."""
    outcome = end.outcome
    if outcome.beyond is None or outcome.known_distance is None:
        return ()
    found = find_nonfinite(end.problem, [outcome.beyond], overflow=False)
    what = f"{found.subexpression} on row {found.row + 1}" if found else "the loss"
    return (
        f"the minimum lies on the edge of the formula's domain, beyond which {what} has no value:"
        " what that row alone decides has no error",
    )


def _walls(end: RunEnd) -> Iterator[tuple[np.ndarray, str]]:
    """Say which rows keep a parameter from changing its sign, as one at t = 0 that of p in t**p.

    Each time with a point on the other side.
    """
    problem, theta = end.problem, end.outcome.theta
    for k, name in enumerate(problem.names):
        there = np.where(np.arange(len(theta)) == k, -np.sign(theta[k] or 1.0), theta)
        curved = name not in problem.model.linear and problem.model.external is None
        crossed = curved and problem.box.low[k] < 0 < problem.box.high[k]
        # Quick to see: that there is no such row, as a rule.
        values = problem.kernel.rows(there, problem.chunk).prediction if crossed else 0.0
        crossed = not np.isfinite(values).all()
        found = find_nonfinite(problem, [there], overflow=False) if crossed else None
        mended = mending_condition(found, problem.some_columns) if found else ""
        if found and mended:
            side = "below" if theta[k] < 0 else "above"
            yield (
                there,
                f"row {found.row + 1}, where {found.subexpression} has no finite value"
                f" otherwise, keeps {name} {side} 0: leave out such rows by {_where(mended)}",
            )


def _where(condition: str) -> str:
    return f'--where "{condition}" (in Python where="{condition}")'


def never_begun(end: RunEnd) -> Status | None:
    """A walk has no finite loss to begin at."""
    outcome = end.outcome
    if end.descent or (outcome.quadratic is not None and outcome.first is not None):
        return None
    found = find_nonfinite(end.problem, [outcome.theta], overflow=True)
    if found is None:
        return ended("no finite loss")
    return _outside("starts outside", end, found)


def left_domain(end: RunEnd) -> Status | None:
    """The formula has no value on a row where a descent began, or went."""
    if end.descent is None:
        return None
    (facts, at), step = end.descent, end.outcome.step
    begun, last = is_finite(facts.first), facts.state.theta
    tried = [last] if end.outcome.ending == "halted" else [end.outcome.theta, last]
    found = find_nonfinite(end.problem, tried, overflow=not begun) if at.lost else None
    if found is None:
        return None if begun else ended("no finite loss")
    earlier = ""
    if at.step != step:
        earlier = f"; the estimates are those of step {at.step}, the last with a finite loss"
    return _outside("stepped outside" if step else "starts outside", end, found, earlier)


def diverged(end: RunEnd) -> Status | None:
    """The loss of a descent fell without bound, or rose."""
    if end.descent is None:
        return None
    (facts, at), step = end.descent, end.outcome.step
    before, after = facts.first.loss / facts.first.weight, at.sums.loss / at.sums.weight
    if after < -facts.ceiling:
        return ended("falls", after=after)
    halted = end.outcome.ending == "halted"
    if not (at.lost or halted or _has_grown(end, facts, before, after)):
        return None
    rise = f"the loss rose from {before:.6g} to {after:.6g} by step {at.step}"
    if not after > before:
        rise = f"after step {at.step} a step left the range of floating point"
    # Of the last recorded move: what blew up has outgrown what converged by then.
    way = facts.records[facts.records[:, 0] < at.step, 3 : 3 + len(at.theta)]
    last = way[-1] if len(way) else facts.start.astype(np.float64)
    advice = rate_advice(facts.diagnosis)
    told = explain_divergence(facts.diagnosis, at.theta - last)
    stop = f"; the run was stopped at step {step}" if halted else ""
    return ended("rises", rise=rise, stop=stop, told=told, advice=advice)


def _has_grown(end: RunEnd, facts: DescentFacts, before: float, after: float) -> bool:
    """Whether the loss ends far above its start, or above it and rising for good."""
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
    if better is None or (end.problem.options.steps and outcome.ending == "steps"):
        return None
    start = ", ".join(f"{name}={value:.6g}" for name, value in better.values.items())
    return ended("beaten", loss=outcome.loss, better=better.loss, start=start)


def runs_off(end: RunEnd) -> Status | None:
    """No finite estimate is best."""
    limit = end.outcome.limit
    # Far from 0 columns leave no digit to tell it by.
    if limit is None or far_columns(end.problem):
        return None
    if limit.is_bound:
        return ended("near", reach=end.reach)
    tends = "there the curve hardly changes any more"
    cure = f"fix {limit.name}, or {STATUSES['at_infinity'].cure}"
    if limit.asymptote is not None:
        tends = f"the curve tends to '{limit.asymptote.text}'"
        cure = f"fit '{limit.asymptote.text}'"
    there, here = limit.fitted[1].loss if limit.fitted else math.nan, end.outcome.loss
    if abs(there - here) > LIKE_IT * abs(here):
        tends += f", whose mean loss is {there:.6g}; these estimates reach {here:.6g}"
    gaps = (f"any {name} from {low:.10g} to {high:.10g}" for name, low, high in limit.gaps)
    return ended("runs off", ways=", ".join((*limit.ways, *gaps)), tends=tends, cure=cure)


def flat(end: RunEnd) -> Status | None:
    """Flat ground looks like an optimum from within: the loss depends elsewhere on what it does."""
    problem, what = end.problem, ", ".join(end.undetermined)
    is_flat_here = is_flat(problem, end.undetermined)
    if is_flat_here and (far := far_columns(problem)):
        # Rounding leaves no digit of it.
        return ended("hidden", columns=", ".join(far), what=what, centre=centring(problem))
    if end.descent is not None:
        if not what or end.descent[0].diagnosis.undetermined:
            return None
        # A robust loss may bend nowhere, or downwards, where the curve depends on everything.
        some = problem.data.sample(ROWS_LOOKED_AT, 0)
        jacobian = problem.kernel.rows(end.descent[1].theta, some).jacobian.T
        return None if root_spectrum(jacobian).positive.all() else ended("plateau", what=what)
    if not is_flat_here:
        return None
    # As far as a search tells there is nothing lower, and the residuals miss nothing, or of a break
    # all gaps were looked at: the best curve is the same all along this ground.
    if end.outcome.search is not None and end.distance <= end.reach:
        model, misfit = problem.model, misfit_of(problem, end.outcome.theta)
        curved = set(model.free) - set(model.linear)
        is_sought = len(curved) == 1 and curved <= break_names(model.prediction, model.free)
        if is_sought or max(misfit.beyond, misfit.off_replicates) <= TOLD:
            return None
    pairs = zip(problem.names, end.outcome.theta, strict=True)
    at = ", ".join(f"{name} = {value:.4g}" for name, value in pairs)
    return ended("flat", what=what, at=at, unsought=_unsought(problem))


def converged(end: RunEnd) -> Status | None:
    """It is near enough."""
    return ended("near", reach=end.reach) if end.distance <= end.reach else None


def out_of_steps(end: RunEnd) -> Status | None:
    """All steps that were allowed are taken, and they still move."""
    problem = end.problem
    if end.descent is None:
        if end.outcome.ending != "steps":
            return None
        centre = None if problem.options.steps else centring(problem)
        if centre is not None:
            far, steps = ", ".join(far_columns(problem)) or "the response", end.outcome.step
            return ended("far", columns=far, steps=steps, centre=centre)
        return ended("steps used up", steps=end.outcome.step)
    if _still_since(problem, end.descent[0]) is not None:
        return None
    slope = "" if np.isfinite(end.distance) else _slope_left(problem, *end.descent)
    return ended("all steps", _cure(end, *end.descent), steps=problem.steps, slope=slope)


def _slope_left(problem: Problem, facts: DescentFacts, at: EndState) -> str:
    """Say how steep the loss still is along the parameter whose own size changes it the most."""
    now, first = (s.gradient / s.weight for s in (at.sums, facts.first))
    most = int(np.argmax(np.abs(now) * np.maximum(np.abs(at.theta), np.abs(facts.start))))
    return (
        f": there the mean loss still changes by {now[most]:.3g} for each unit of"
        f" {problem.names[most]}, at the start by {first[most]:.3g}"
    )


def _cure(end: RunEnd, facts: DescentFacts, at: EndState) -> str | None:
    """Return what leads a descent to the optimum; None: nothing better is known than the usual."""
    problem, optimizer = end.problem, facts.optimizer
    noise = facts.diagnosis.noise_distance or 0.0
    if optimizer.chosen.get("weight_decay", 0.0):
        return CURES["decay"].format(decay=optimizer.chosen.get("weight_decay", 0.0))
    if problem.kinked:
        return CURES["no curvature"]
    if optimizer.average_from is not None:
        return CURES["average"]
    if not (isinstance(facts.schedule, Schedule) and facts.schedule.name == "constant"):
        return None
    by_noise = CURES["noise"].format(name=optimizer.name)
    if optimizer.name in UNSHRINKING and np.isfinite(end.distance):
        if facts.batch_size < problem.rows:
            return by_noise
        return CURES["as long"] if optimizer.name == "rmsprop" else None
    if optimizer.name != "sgd":
        return None
    if noise > end.reach and end.distance <= NEAR_NOISE * noise:
        return by_noise
    # Along each eigenvector of the curvature, here where the run ended, the distance shrinks by its
    # own growth factor; the slowest of those that matter decides.
    curvature, vectors = eigen(at.sums.curvature / at.sums.weight)
    known = curvature > EPS * curvature.max(initial=0.0)
    update = momentum_of(optimizer)[0]
    logs = update.log_radius(facts.schedule(0) * curvature[known])
    if (logs >= 0).any():
        return CURES["fast"].format(limit=update.limit(float(curvature.max())))
    if not np.isfinite(end.distance):
        return None
    # The squared distance is a sum of these shares, λ (gradient/λ)².
    gradient = vectors.T @ (at.sums.gradient / at.sums.weight)
    share = gradient[known] ** 2 / curvature[known]
    some, reach = share > 0, max(end.reach, noise)
    sizes = end.distance / reach * np.sqrt(share[some] / share.sum())
    needed = float(np.max(np.log(sizes) / -logs[some], initial=0.0))
    if not np.isfinite(needed):
        return None
    cure = "endless" if needed > MOST_ADVISED_STEPS else "slow"
    return CURES[cure].format(more=float(f"{max(needed, 1):.1e}"), reach=reach)


# In this order.
CASES = (
    never_begun, left_domain, diverged, called_off, beaten, runs_off, flat, converged,
    out_of_steps,
)  # fmt: skip


def resting(end: RunEnd) -> Status:
    """No step leads on."""
    problem, outcome = end.problem, end.outcome
    if end.descent is not None:
        (facts, at), step = end.descent, _still_since(problem, end.descent[0]) or 0
        if not at.sums.gradient.any():
            return ended("no slope", step=step)
        decay = facts.optimizer.chosen.get("weight_decay", 0.0)
        return ended("standstill", CURES["decay"].format(decay=decay) if decay else None, step=step)
    left, is_known = "how far is not known", bool(np.isfinite(end.distance))
    if outcome.quadratic is not None and not outcome.quadratic.offset.any() and not is_known:
        return ended("no slope", step=outcome.step)
    if is_known:
        left = f"{end.distance:.2g} standard errors"
    if problem.kinked:
        return ended("kink", left=left)
    centre = centring(problem)
    if outcome.beyond is None:
        usual = "rescale the columns so that they are of like size"
        return ended("rounding", left=left, centre=centre or usual)
    found = find_nonfinite(problem, [outcome.beyond], overflow=True)
    what = f"{found.subexpression} on row {found.row + 1}" if found else "the loss"
    return ended("edge", centre, what=what, left=left)


def _still_since(problem: Problem, facts: DescentFacts) -> int | None:
    """Return the step from which on no parameter moved, if that is some records ago."""
    records, state, data, box = facts.records, facts.state, problem.data, problem.box
    theta = np.asarray(state.theta)
    moved = (records[:, 3 : 3 + len(theta)] != theta).any(axis=1)
    still = len(moved) if not moved.any() else int(np.argmax(moved[::-1]))
    if state.averaged or still < STILL:
        return None
    # Records may meet a swing at equal phases; one more step tells.
    chunk = data.subsample if data.whole is None else data.whole
    order, rates = sequential(chunk.rows), records[-1:, 1]
    segment = Segment(order, facts.batch_size, rates, np.inf, 0, box.low, box.high)
    after = problem.kernel.sweep(state._replace(position=0), chunk, segment)
    if (after.state.theta != theta).any():
        return None
    return int(records[len(moved) - still, 0])


def _outside(ending: str, end: RunEnd, fault: DomainError, earlier: str = "") -> Status:
    """Return the status of a formula that has no finite value on a row."""
    problem, mended = end.problem, mending_condition(fault, end.problem.some_columns)
    kept = " of those without missing values" if problem.dropped else ""
    kept += " of those with a weight above 0" if problem.rows < problem.rows_read else ""
    return ended(
        "bad row" if mended else ending,
        mended=_where(mended),
        part=fault.subexpression,
        row=fault.row + 1,
        kept=kept,
        step=f"step {end.outcome.step}" if end.outcome.step else "the start",
        given=", ".join(f"{value:.6g}" for value in fault.arguments),
        at=", ".join(f"{name} = {value:.6g}" for name, value in fault.names.items()),
        earlier=earlier,
        unsought=_unsought(problem),
    )


def find_nonfinite(
    problem: Problem, tried: Sequence[np.ndarray], *, overflow: bool
) -> DomainError | None:
    """Return where the first of the states ``tried`` that has no finite value fails.

    Without ``overflow`` that is none: after the start it is what divergence looks like from within
    one row.
    """
    model = problem.model
    # In the order of computation. A slope may have no finite value where the formula has one:
    # sqrt(b) at b = 0.
    sides = (model.formula.response, model.formula.expression)
    for theta in tried:
        values = model.values(np.asarray(theta, dtype=np.float64).tolist())
        for first, columns in problem.named():
            known: dict[str, Any] = {**columns, **values}
            rows = len(next(iter(columns.values())))
            target, prediction = (np.broadcast_to(evaluate(side, known), rows) for side in sides)
            pair = model.loss.values(prediction, target)
            searched: list[tuple[Any, ...]] = [(part, known) for part in sides]
            for name, slope in zip(model.free, model.gradient, strict=True):
                limits = evaluate_slope(model.prediction, slope, name, known)
                if not np.isfinite(limits).all():
                    # (-2)**p has a value at p = 1 alone: beside it, the formula says why.
                    beside = values[name] + BESIDE * max(1.0, abs(values[name]))
                    searched.append((model.formula.expression, known | {name: beside}))
                searched.append((slope, known, limits))
            searched += [(part, pair) for part in (model.loss.expression, model.loss_grad)]
            for search in searched:
                found = find_domain_error(*search)
                if found is not None and (overflow or found.kind != "overflow"):
                    # Of columns alone no parameter changes anything.
                    free = {} if found.names.keys() <= {*model.columns} else values
                    return found._replace(row=first + found.row, names=found.names | free)
    return None


def _unsought(problem: Problem) -> str:
    """Advise to leave out a start, where one was given and would have been searched."""
    given = any(parameter.origin == "given" for parameter in problem.model.parameters.values())
    searched = given and problem.options.optimizer is None
    return ", or leave out the start so that one is searched" if searched else ""


def far_columns(problem: Problem, names: Sequence[str] = ()) -> dict[str, float]:
    """Return which columns lie far from zero for their spread, each with a round middle.

    By default the variables are looked at.
    """
    columns, middles = problem.some_columns, {}
    for name in names or problem.model.variables:
        low, high = float(columns[name].min()), float(columns[name].max())
        middle = low / 2 + high / 2
        if high > low and abs(middle) > FAR_FROM_ZERO * (high - low) / 2:
            # The number with the fewest digits near the middle.
            digits = (float(f"{middle:.{k}g}") for k in range(1, 17))
            near = (d for d in digits if abs(d - middle) <= (high - low) / 2)
            middle = next(near, middle)
            middles[name] = int(middle) if middle.is_integer() else middle
    return middles


def centring(problem: Problem) -> str | None:
    """Advise the same formula about the middle of its columns, where these lie far from 0."""
    model = problem.model
    formula, names = model.formula, list(model.variables)
    if (
        formula.response is not None
        and formula.response.is_Symbol
        and any(model.prediction.diff(symbol(name)) == 1 for name in model.linear)
    ):
        # An intercept takes up what is taken from the response.
        names += formula.response_names
    middles = far_columns(problem, names)
    if not middles:
        return None
    about = {symbol(name): symbol(name) - m for name, m in middles.items()}
    sides = {s: getattr(formula, s).xreplace(about) for s in ("response", "expression")}
    written = replace(formula, text=None, **sides)
    return f"centre the columns: fit '{written}'"
