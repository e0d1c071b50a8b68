"""Profile-likelihood intervals: how far each parameter can go while the others follow it.

The end of an interval is where τ(θ) = sign(θ − θ̂) √((S̃(θ) − S(θ̂))/s²) is the quantile of Student's
t; S̃(θ) is the least sum of squares with the parameter held at θ (Bates & Watts 1988, Nonlinear
Regression Analysis and Its Applications, section 6.1; Venzon & Moolgavkar 1988, Applied Statistics
37(1), 87-94). For a linear model that is the t interval; for another it need not be symmetric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.kinks import settle_kinks
from sgdfit.fitting.multistart import ROWS_OF_BREAKS, missing, move_to
from sgdfit.fitting.problem import Outcome, Problem
from sgdfit.fitting.steps import lowest
from sgdfit.inference.intervals import confidence_interval
from sgdfit.inference.quadratic import step_within
from sgdfit.inference.spectrum import EPS
from sgdfit.model.separation import break_names
from sgdfit.model.symmetry import canonical_theta, equivalents

# The refits' distance to their minima, in standard errors.
REFIT_TOLERANCE = 1e-4
# The ends of intervals, as a share of their distance to the estimate.
PRECISE = 1e-8
# A bracket so narrow around a jump of the profile tells where its end is.
NARROW = 1e-7
# Of τ², by which a refit has to lie below the minimum to be a lower one.
LOWER = 1e-4
# A refit that is farther from its minimum, in standard errors, tells too large a τ.
SETTLED = 0.01
# The next step outwards is at most so many times the last one.
STEP_GROWTH = 2.0
# So often in a row the threshold was too high for what there is still to climb.
MOST_FAILURES = 4
# From here on tangents are not believed.
MANY_REFITS, MOST_REFITS = 20, 80
# How often ends are compared with what refits of the other sides have shown.
MOST_ROUNDS = 5


class Refit(NamedTuple):
    """A point of the profile: how far out, where the others are, τ and its slope there."""

    distance: float
    theta: np.ndarray
    tau: float
    slope: float

    def crossing(self, quantile: float) -> float:
        """Return the distance at which the tangent of τ comes to the threshold."""
        return self.distance + (quantile - self.tau) / self.slope if self.slope > 0 else math.inf

    def hits(self, quantile: float) -> bool:
        """Whether that is close by."""
        return abs(self.crossing(quantile) - self.distance) <= PRECISE * self.distance


class End(NamedTuple):
    """Where a side ends: ``crossed``, ``open``, ``bound`` or ``domain``."""

    distance: float
    why: str
    last: Refit


class LowerMinimumError(Exception):
    """A refit lies below the minimum of the fit; its argument is where, float64[p]."""


class Side:
    """One direction in which one parameter is moved, and the facts that all its refits need."""

    def __init__(
        self,
        problem: Problem,
        which: int,  # the parameter's place
        sign: float,  # 1.0 above the estimate, −1.0 below
        theta: np.ndarray,  # float64[p]: the estimates
        covariance: np.ndarray,  # theirs, float64[p, p]
        noise: float,  # s², the variance of a row of weight one
        least: float,  # S(θ̂), the sum of squares at the optimum
        quantile: float,  # the threshold of |τ|
        within: list[np.ndarray],  # takes in refits of all sides that the data do not exclude
    ) -> None:
        self.which, self.sign, self.theta, self.noise = which, sign, theta, noise
        self.least, self.quantile, self.name = least, quantile, problem.names[which]
        self.within = within
        self.is_settled = True  # whether each refit reached its minimum
        # Then refits have many minima, and a start leads to one near by.
        self.is_broken = bool(break_names(problem.model.prediction, problem.names))
        self.error = math.sqrt(covariance[which, which])
        # How the others go along, where they stand on no bound.
        column = covariance[:, which]
        self.along = np.where(np.isfinite(column), column, 0.0) / column[which]
        # Where the parameter ends at the latest, and how far that is.
        self.bound = float((problem.box.high if sign > 0 else problem.box.low)[which])
        self.limit = abs(self.bound - float(theta[which]))
        # The problem of the other parameters, which may all be linear.
        self.problem = problem.holding([which])

    def value(self, distance: float) -> float:
        """Return the parameter at a distance from its estimate."""
        if distance == self.limit:
            return self.bound
        return float(self.theta[self.which] + self.sign * distance)


def profile_intervals(
    problem: Problem, theta: np.ndarray, covariance: np.ndarray, noise: float, dof: float
) -> tuple[dict[str, tuple[float, float] | None], tuple[str, ...], Outcome | None]:
    """Return the profile-t interval of every free parameter that does not stand on a bound.

    It is infinite on a side where the data exclude no value. With the intervals come sentences on
    which sides are open or cut, and why; where a refit led to a lower minimum than the fit's, that
    comes in their place. The problem is of squared residuals; its minimum, what is known of that,
    and the variance of a row of weight one with its degrees of freedom are given.
    """
    span = confidence_interval(0.0, 1.0, dof, problem.options.level)
    quiet = problem._replace(callback=None, tolerance=REFIT_TOLERANCE)
    found: dict[str, tuple[float, float] | None] = dict.fromkeys(problem.names)
    determined = np.flatnonzero(np.diag(covariance) > 0).tolist()
    if span is None or not noise > 0 or not determined:
        return found, (), None
    told, ends, within = list[str](), dict[Side, End](), list[np.ndarray]()
    try:
        # Estimates may miss the minimum by their tolerance.
        least = _loss(_walked(quiet, theta))
        for i, sign in product(determined, (-1.0, 1.0)):
            side = Side(quiet, i, sign, theta, covariance, noise, least, span[1], within)
            ends[side] = follow(side, Refit(0.0, theta, 0.0, 1 / side.error))
            while side.is_broken and (end := _farther(side, ends[side], _searched)):
                ends[side] = end
        for _ in range(MOST_ROUNDS):
            # What one side shows of the others may be new.
            farther = {side: end for side in ends if (end := _farther(side, ends[side], _beyond))}
            ends |= farther
            if not farther:
                break
    except LowerMinimumError as lower:
        return found, (), _settled(problem._replace(callback=None), *lower.args)
    except KeyboardInterrupt:
        left = [problem.names[i] for i in determined if sum(s.which == i for s in ends) < 2]
        told.append(f"interrupted before the profile intervals of {', '.join(left)} were found")
    for below, above in pairwise(ends):
        if below.which == above.which:
            low, high = (side.value(ends[side].distance) for side in (below, above))
            found[below.name] = low, high
            told += _remarks(below, ends[below]) + _remarks(above, ends[above])
    return found, tuple(told), None


def _farther(side: Side, end: End, find: Callable[[Side, End], list[np.ndarray]]) -> End | None:
    """Return where a side ends if refits from other starts are lower there; None: they are not."""
    if end.why != "crossed" or not (starts := find(side, end)):
        return None
    lower = _refit(side, end.distance, starts[0], end.last, starts[1:])
    if lower is None or lower.tau > (1 - LOWER) * side.quantile:
        return None
    found = follow(side, lower)
    # At a jump of the profile refits differ by where they come from.
    return None if found.distance <= (1 + NARROW) * end.distance else found


def _beyond(side: Side, end: End) -> list[np.ndarray]:
    """Return the nearest refit beyond an end that the data do not exclude.

    Another parameter's profile may lead there, or that of a part which can be exchanged with this.
    """
    if not side.within:
        return []
    far = side.sign * (np.array(side.within)[:, side.which] - side.theta[side.which])
    far = np.where(far > (1 + NARROW) * end.distance, far, np.inf)
    nearest = int(np.argmin(far))
    return [side.within[nearest]] if np.isfinite(far[nearest]) else []


def _walked(problem: Problem, start: np.ndarray) -> Outcome:
    """Walk to the minimum over all rows."""
    outcome = lowest(problem, start)
    if outcome.ending == "interrupted":
        raise KeyboardInterrupt
    return outcome


def _settled(problem: Problem, theta: np.ndarray) -> Outcome:
    """Go on with the fit from a refit that is lower, to the minimum that is given."""
    outcome = _walked(problem, theta)
    chosen, _ = canonical_theta(problem.model, outcome.theta, missing(problem.model))
    return settle_kinks(problem, move_to(problem, outcome, chosen))


def _loss(outcome: Outcome) -> float:
    return math.nan if outcome.quadratic is None else outcome.quadratic.loss


def _remarks(side: Side, end: End) -> list[str]:
    """Say where an interval ends for another reason than that the fit gets worse."""
    name, above, value = side.name, "above" if side.sign > 0 else "below", side.value(end.distance)
    cut = f"the interval of {name} is cut at"
    told = {
        "open": f"the interval of {name} is open {above}: refits with {name} as far as"
        f" {side.value(end.last.distance):.4g} describe the data about as well",
        "bound": f"{cut} its bound {value:.6g}, which the data do not exclude",
        "domain": f"{cut} {value:.6g}: refits beyond have no finite loss",
    }
    remarks = [told[end.why]] if end.why in told else []
    if not side.is_settled:
        remarks.append(
            f"not every refit on the profile of {name} reached its minimum, so that the"
            f" interval of {name} may be too narrow {above}"
        )
    return remarks


def follow(side: Side, near: Refit) -> End:
    """Step outwards along the profile until it crosses the threshold, or never will."""
    before = None
    pace, level = side.quantile * side.error / 2, 0
    for count in range(MOST_REFITS):
        distance = min(near.distance + pace, side.limit)
        far = _refit(side, distance, _ahead(side, before, near, distance), near)
        if far is None:
            # No finite loss lies further out, or not this far.
            if level:
                break
            if pace <= NARROW * max(near.distance, side.error):
                return End(near.distance, "domain", near)
            pace /= 4
            continue
        if far.hits(side.quantile):
            return End(far.distance, "crossed", far)
        if far.tau > side.quantile:
            return _between(side, near, far)
        if distance >= side.limit:
            return End(distance, "bound", far)
        # A τ that climbs as c − d/θ or slower will not come up to the threshold.
        gain = far.slope * far.distance
        levels_off = gain > -1e-6 * side.quantile and far.tau + 3 * gain < side.quantile
        level = level + 1 if levels_off else 0
        if level >= MOST_FAILURES:
            break
        pace = STEP_GROWTH * (distance - near.distance)
        if count < MANY_REFITS:
            pace = min(far.crossing(side.quantile) - far.distance, pace)
        before, near = near, far
    return End(math.inf, "open", near)


def _between(side: Side, near: Refit, far: Refit) -> End:
    """Find the crossing in a bracket: Newton's steps on τ, which is nearly straight, or halves."""
    halve = False
    for _ in range(MOST_REFITS):
        width = far.distance - near.distance
        if width <= NARROW * far.distance:
            break
        closer = min(near, far, key=lambda end: abs(end.tau - side.quantile))
        distance = closer.crossing(side.quantile)
        if halve or not near.distance < distance < far.distance:
            distance = near.distance + width / 2
        share = (distance - near.distance) / width
        middle = _refit(side, distance, near.theta + share * (far.theta - near.theta), near)
        if middle is None:
            return End(near.distance, "domain", near)
        if middle.hits(side.quantile):
            return End(middle.crossing(side.quantile), "crossed", middle)
        near, far = (middle, far) if middle.tau < side.quantile else (near, middle)
        halve = far.distance - near.distance > width / 2
    return End(near.distance, "crossed", near)


def _ahead(side: Side, before: Refit | None, near: Refit, distance: float) -> np.ndarray:
    """Return where the other parameters will be if they go on as they went."""
    if before is not None:
        share = (distance - near.distance) / (near.distance - before.distance)
        return np.asarray(near.theta + share * (near.theta - before.theta))
    return np.asarray(near.theta + side.sign * (distance - near.distance) * side.along)


def _searched(side: Side, end: End) -> list[np.ndarray]:
    """Search for starts of the other parameters: another break may fit better at an end."""
    from sgdfit.starts.search import find_starts

    problem, held = side.problem, {side.name: side.value(end.distance)}
    chunk = problem.data.sample(ROWS_OF_BREAKS, problem.seed)
    found = find_starts(problem.model, chunk, held, problem.seed).candidates
    return [problem.box.clip(each.theta) for each in found]


def _refit(
    side: Side,
    distance: float,
    start: np.ndarray,
    near: Refit,
    others: Sequence[np.ndarray] = (),
) -> Refit | None:
    """Fit the other parameters; None where no finite loss is found."""
    problem, noise, found = side.problem, side.noise, list[Outcome]()
    for there in (start, near.theta, side.theta, *others):
        theta = there.copy()
        theta[side.which] = side.value(distance)
        outcome = _walked(problem, theta)
        if outcome.quadratic is not None:
            found.append(outcome)
            # What came down on flat ground may do better from elsewhere.
            if outcome.distance <= SETTLED and not side.is_broken:
                break
    if not found:
        return None
    outcome = min(found, key=_loss)
    # S̃ and its derivative are taken as if the others had arrived at their minimum: where
    # parameters are strongly correlated, what is left of the others' gradient would drown that of
    # the held one.
    quadratic = outcome.quadratic
    assert quadratic is not None  # of those that have one
    free, norms = problem.box.free(outcome.theta, quadratic.gradient), quadratic.norms
    move = step_within(quadratic, np.where(norms > 0, norms, 1.0), free, np.inf).move
    # A break that rests on a row is at its minimum, whatever the slopes on one side of it say.
    on_row = side.is_broken and outcome.ending == "rests"
    settled = on_row or outcome.distance <= SETTLED
    # Nor does a quadratic far from its minimum tell how low that is.
    move = move if settled and not on_row else 0.0 * move
    squares = quadratic.loss + quadratic.change(move)
    rise = float(quadratic.root[:, side.which] @ (quadratic.offset + quadratic.root @ move))
    excess = (squares - side.least) / noise
    below = LOWER + 64 * EPS * side.least / noise
    if excess < -below:
        raise LowerMinimumError(outcome.theta)
    tau = math.sqrt(max(excess, 0.0))
    slope = side.sign * rise / (2 * noise * tau) if tau > 0 else 1 / side.error
    side.is_settled &= settled
    if settled and tau < side.quantile:
        side.within.extend(equivalents(problem.model, outcome.theta))
    return Refit(distance, outcome.theta, tau, slope)
