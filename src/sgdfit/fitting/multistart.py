"""From where ``auto`` walks, and which of the minima that it finds is the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sgdfit.errors import UsageError
from sgdfit.fitting.callbacks import StopRequested, ending_of
from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.infinity import at_infinity
from sgdfit.fitting.kinks import settle_kinks
from sgdfit.fitting.problem import Misfit, Outcome, Problem, errors_of, merge_runs
from sgdfit.fitting.saddle import has_arrived, off_saddles
from sgdfit.fitting.sampling import FEW, RUN, stratified
from sgdfit.formula.evaluation import evaluate
from sgdfit.inference.quadratic import from_rows
from sgdfit.inference.statistics import lack_of_fit, serial_correlation
from sgdfit.kernel.kernel import Chunk, Rows
from sgdfit.model.identifiability import redundant
from sgdfit.model.model import Model
from sgdfit.model.parameters import Assignments
from sgdfit.model.separation import break_names, separate
from sgdfit.model.symmetry import canonical_theta, equivalents, unusual
from sgdfit.result.status import Rival, StartSearch

if TYPE_CHECKING:
    from sgdfit.starts.search import Candidate, Search

# The word that asks for a search.
SEARCH = "search"
# A minimum is better than another when its loss is lower by more than this share.
BETTER = 1e-6
# One that is called so in the report is lower by more than this.
CLEARLY_BETTER = 1e-3
# Of a few candidates the true loss over more rows decides which to follow.
FOLLOWED = 5
NEARLY = 1.5
# Where a loss has no value, so many points are tried at so many standard errors.
DRAWS, REACHES = 64, (0.3, 1.0, 3.0, 10.0)
# Enough rows to tell minima apart, few enough to look at thousands of points.
ROWS_SEARCHED = 512
# The same for each level of a column that indexes parameters.
ROWS_OF_A_LEVEL = 48
# Minima between which a break can lie are many, and alike.
ROWS_OF_BREAKS = 2_048
# For another loss rows are also searched without those that lie so many times the median deviation
# away from the median of so many neighbours (Hampel 1974, JASA 69(346), 383-393, whose 3 sigma are
# 4.4), so many random halves of them, and those near the best curve, by Hampel's 3 sigma.
NEIGHBOURS, OUTLYING, HALVES, FAR = 7, 6.0, 4, 4.4
# Minima so near to the best are named.
RIVAL = 1.05
# Neighbouring residuals correlate so many standard deviations beyond chance, or the curve leaves so
# much of the variation, that it is worth looking further for a better minimum; that the user is
# told.
DOUBTFUL, UNEXPLAINED = 3.0, 0.5
TOLD, HARDLY = 4.0, 0.9
# What is said of a start that led to no minimum.
ENDED = {
    "arrived": "flat ground",
    "rests": "where no step lowers the loss, which is no minimum",
    "steps": "no minimum within the limit of steps",
    "lost": "no finite value",
}
# Fewer rows tell nothing of the kind.
FEWEST = 10
# An amplitude of fewer standard errors may be that of noise.
FAINT = 4.0


def find_minimum(problem: Problem) -> tuple[Problem, Outcome]:
    """Find starts where none are given, walk from there, and look for something better.

    The problem returned has the starts that were found.
    """
    model, search = problem.model, problem.options.search
    sought = missing(model)
    if problem.quadratic:
        # From anywhere the first step leads to the minimum.
        given = [model.parameters[n].start if n not in sought else 0.0 for n in model.free]
        start = with_starts(model, problem.box.clip(np.array(given)), "solved")
        # The sample's minimum is near enough for all rows, whose sums then lose no digits.
        *few, rows = problem.sizes
        outcome = walk(problem, np.array(start.start), [*few[:1], rows])
        return problem._replace(model=start), outcome
    if sought and search is not False:
        starts = look_for_starts(problem)
        if starts is not None:
            found, outcome = _searched(problem, starts)
            return found, _settled(problem, outcome)
    start_given = np.array(model.start)
    outcome = off_saddles(problem, walk(problem, start_given))
    if problem.squared and outcome.quadratic is not None:
        outcome = outcome._replace(misfit=misfit_of(problem, outcome.theta))
    try:
        doubtful = is_suspicious(problem, outcome)
        if doubtful and len(problem.linear):
            # Solving linear parameters exactly is nearly always the shorter way. But it leaves
            # their starts aside, and so may come down elsewhere.
            plain = problem._replace(linear=problem.linear[:0])
            other = _lower(plain, start_given, outcome)
            if other is not outcome:
                outcome = off_saddles(problem, other)
                doubtful = is_suspicious(problem, outcome)
        outcome = move_to(problem, outcome, closest_equivalent(model, outcome.theta))
        outcome = outcome._replace(abandoned=unusual(model, outcome.theta))
        if search or (search is None and (doubtful or _is_broken(problem))):
            outcome = _compared(problem, outcome)
    except (KeyboardInterrupt, StopRequested) as end:
        outcome = outcome._replace(ending=ending_of(end))
    return problem, _settled(problem, outcome)


def _settled(problem: Problem, outcome: Outcome) -> Outcome:
    """Return the outcome at the best place between rows, or near a limit."""
    outcome = settle_kinks(problem, outcome)
    # Of a maximum of lines one may lie below the others, whatever it is there, and be needed.
    hidden = _is_broken(problem) and is_suspicious(problem, outcome)
    return outcome if hidden else at_infinity(problem, outcome)


def _searched(problem: Problem, starts: Starts) -> tuple[Problem, Outcome]:
    """Follow the search's candidates; look again where these or given starts may have misled."""
    found, outcome = _from_search(problem, starts)
    try:
        # In sorted data a run of rows holds only what lies near it, and a narrow peak may lie in
        # none; a pass has taken rows from all over along, by which candidates are compared. Single
        # rows hide quick waves.
        scattered = bool(problem.data.scattered_rows)
        hidden = scattered or (problem.squared and problem.rows > ROWS_SEARCHED)
        if hidden and is_suspicious(problem, outcome):
            again = look_for_starts(problem, in_runs=not scattered)
            if again is not None and _promises(problem, again, outcome.theta):
                other = _from_search(problem, again)
                if _is_lower(other[1].rank, outcome.rank, BETTER):
                    found, outcome = other
        some_given = len(missing(problem.model)) < len(problem.names)
        if some_given and (
            problem.options.search or _is_broken(problem) or is_suspicious(problem, outcome)
        ):
            compared = _compared(problem, outcome)
            outcome = outcome._replace(better=compared.better)
            outcome = outcome if compared.abandoned is None else compared
    except (KeyboardInterrupt, StopRequested) as end:
        outcome = outcome._replace(ending=ending_of(end))
    return found, outcome


def _lower(problem: Problem, start: np.ndarray, outcome: Outcome) -> Outcome:
    """Return another walk if that leads lower; where rows are many a sample tells whether it does.

    Passes through all rows are dear, and a sample tells minima apart that differ at all.
    """
    *few, rows = problem.sizes
    if few:
        on_sample = (s.loss for s in reversed(outcome.path) if s.rows == few[-1])
        other = _finished(walk(problem, start, few))
        if not _is_lower(other.rank, next(on_sample, math.inf), BETTER):
            return outcome
        start, few = other.theta, few[-1:]
    other = _finished(walk(problem, start, [*few, rows]))
    return other if _is_lower(other.rank, outcome.rank, BETTER) else outcome


def _from_search(problem: Problem, starts: Starts) -> tuple[Problem, Outcome]:
    """Follow the best of the candidates, from where the search drew it if that leads there."""
    model, sizes, sought = problem.model, problem.sizes, missing(problem.model)
    quiet = problem._replace(callback=None)
    k, known = _best_candidate(quiet, starts)
    if not math.isfinite(known):
        starts = _within_domain(quiet, starts)
        k, known = _best_candidate(quiet, starts)
    raw, polished = (problem.box.clip(points[k]) for points in (starts.raw, starts.polished))
    # Both points as they look when the minimum is the canonical one of its equivalents.
    polished, start = canonical_theta(model, np.array([polished, raw]), sought)[0]
    outcome = walk(problem if len(sizes) == 1 else quiet, start, sizes[:1])
    if not outcome.is_called_off:
        fell_short = _is_lower(known, _at_least(outcome), BETTER)
        start = polished if fell_short else start
        if fell_short or len(sizes) > 1:
            outcome = walk(problem, start)
        outcome = off_saddles(problem, outcome)
        outcome = move_to(problem, outcome, canonical_theta(model, outcome.theta, sought)[0])
    told = canonical_theta(model, outcome.theta, sought)[1]
    found = problem._replace(model=with_starts(model, start, "search"))
    return found, outcome._replace(search=replace(starts.facts, symmetries=told))


def _promises(problem: Problem, starts: Starts, theta: np.ndarray) -> bool:
    """Whether a candidate leads lower than ``theta`` on rows from all over, which are at hand."""
    alone = [problem.data.scattered_rows or problem.sizes[0]]
    quiet = problem._replace(callback=None)
    here, *others = (
        _finished(walk(quiet, problem.box.clip(point), alone)).rank
        for point in (theta, *starts.polished[:FOLLOWED])
    )
    return any(_is_lower(loss, here, BETTER) for loss in others)


def _within_domain(problem: Problem, starts: Starts) -> Starts:
    """Return the starts with points in their place at which every row has a finite loss.

    The least squares that starts come from may lead where another loss, such as Poisson's, has no
    value. Points about them are tried, at ever more of their standard errors.
    """
    chunk = problem.data.sample(starts.facts.rows, problem.seed)
    random = np.random.default_rng(problem.seed)
    for theta in (*starts.raw, *starts.polished):
        # A root of the covariance that least squares would give here.
        rows = problem.kernel.rows(theta, chunk)
        residual = rows.prediction - rows.target
        square = float(residual @ residual)
        near = from_rows(rows.jacobian, residual, np.ones(chunk.rows), chunk.weights, square / 2)
        root = np.diag(np.abs(theta))
        if np.isfinite(near.root).all():
            root = np.asarray(np.linalg.pinv(near.root)) * math.sqrt(square / chunk.rows)
        for reach in REACHES:
            draws = random.standard_normal((DRAWS, len(theta)))
            points = [problem.box.clip(theta + reach * root @ draw) for draw in draws]
            losses = [float(problem.kernel.rows(point, chunk).loss.sum()) for point in points]
            best = int(np.nanargmin([*losses, np.inf]))
            if best < len(points) and np.isfinite(losses[best]):
                point = (points[best],)
                return starts._replace(raw=point, polished=point, losses=starts.losses[:1])
    return starts


def _best_candidate(problem: Problem, starts: Starts) -> tuple[int, float]:
    """Return the candidate that leads lowest on the first batch, and its mean loss there."""
    if problem.squared and problem.rows <= starts.facts.rows and problem.data.root is None:
        return 0, starts.losses[0]  # the search looked at all rows
    # More rows change the order of minima that are nearly as good, not of others.
    near = sum(loss <= NEARLY * starts.losses[0] for loss in starts.losses)
    count = min(near, FOLLOWED) if problem.squared else FOLLOWED
    quiet = problem._replace(callback=None)
    losses = [
        _finished(walk(quiet, problem.box.clip(theta), problem.sizes[:1])).rank
        for theta in starts.polished[:count]
    ]
    # Of candidates that lead to the same minimum the first is the nearest to it.
    k = next(i for i, loss in enumerate(losses) if not _is_lower(min(losses), loss, BETTER))
    return k, losses[k]


def _finished(outcome: Outcome) -> Outcome:
    """Return an outcome on which nothing depends but the next one, unless the user ended it."""
    if outcome.is_called_off:
        raise KeyboardInterrupt if outcome.ending == "interrupted" else StopRequested
    return outcome


def _at_least(outcome: Outcome) -> float:
    """Return the loss less what rounding may have added to it."""
    return 2 * outcome.loss - outcome.rank if math.isfinite(outcome.rank) else math.inf


def _is_lower(loss: float, other: float, share: float) -> bool:
    """Whether a loss, which may be negative, is lower than another by a share of its size."""
    return loss < (other - share * abs(other) if math.isfinite(other) else other)


def _compared(problem: Problem, outcome: Outcome) -> Outcome:
    """Look for a better minimum than the given starts led to; where to none, it takes its place."""
    is_lost = outcome.ending == "lost"
    if outcome.is_called_off or (
        not is_lost and problem.is_exact(outcome.theta, outcome.quadratic)
    ):
        return outcome
    starts = look_for_starts(problem, all_free=True)
    if starts is None:
        return outcome
    quiet = problem._replace(callback=None)
    k, _ = _best_candidate(quiet, starts)
    other = outcome
    for points in (starts.polished, starts.raw):
        if other is outcome:
            other = _lower(quiet, problem.box.clip(points[k]), outcome)
    outcome = outcome._replace(search=starts.facts)
    # So many steps and no more were asked for, or the start is to be used as it is.
    is_final = has_arrived(problem, outcome) and not _is_broken(problem)
    is_final |= problem.options.steps is not None
    share = CLEARLY_BETTER if is_final else BETTER
    if not _is_lower(other.rank, _at_least(outcome), share):
        return outcome
    chosen, told = canonical_theta(problem.model, other.theta, problem.names)
    if not is_final:
        ended = ENDED[outcome.ending]
        if has_arrived(problem, outcome):
            ended = "a worse one of the minima between which a break can lie"
        abandoned = (
            f"the given start led to {ended}: these estimates are those of a search for another"
        )
        # A start without a loss is no step of the way.
        way = other if is_lost else merge_runs(outcome, other)
        outcome = move_to(problem, way, chosen)
        facts = replace(starts.facts, symmetries=told)
        return outcome._replace(search=facts, abandoned=abandoned)
    values = dict(zip(problem.names, map(float, chosen), strict=True))
    return outcome._replace(better=Rival(values, other.loss))


class Starts(NamedTuple):
    """What a search found."""

    raw: tuple[np.ndarray, ...]  # of float64[p]: points to descend from, best first
    polished: tuple[np.ndarray, ...]  # the minimum of the squared residuals that each leads to
    losses: tuple[float, ...]  # the mean squared residual there
    facts: StartSearch


def searches(start: Assignments) -> bool:
    """Whether ``start`` is the word that asks for a search."""
    return isinstance(start, str) and start.strip() == SEARCH


def missing(model: Model) -> tuple[str, ...]:
    """Return the free parameters whose start nobody gave."""
    return tuple(n for n in model.free if model.parameters[n].origin not in ("given", "random"))


def look_for_starts(
    problem: Problem, *, all_free: bool = False, in_runs: bool = False
) -> Starts | None:
    """Search for starts; None where no point has a finite value.

    Given starts are held meanwhile, unless ``all_free`` says to search these parameters too. The
    rows searched are single ones from all over, or ``in_runs`` neighbours in the order of the first
    variable.
    """
    from sgdfit.starts.levels import find_level_starts, has_indexed
    from sgdfit.starts.search import find_starts

    model = problem.model
    sought = model.free if all_free else missing(model)
    if all(p.low in (0, -np.inf) and p.high == np.inf for p in model.parameters.values()):
        # What others can make up for is left where it is, lest products be of 1e-13 and 1e13.
        order = sorted(sought, key=lambda name: name not in model.linear)
        rest = (*model.variables, *(name for name in model.free if name not in sought))
        held = redundant(model.prediction, tuple(order), rest)
        sought = tuple(n for n in sought if n not in held or not model.parameters[n].start)
    given = {n: model.parameters[n].start for n in model.free if n not in sought}
    rows = ROWS_OF_BREAKS if _is_broken(problem) else ROWS_SEARCHED
    find = find_level_starts if has_indexed(model, sought) else find_starts
    count = max([len(some) for some in model.formula.levels.values()], default=0)
    chunk = problem.data.sample(max(rows, ROWS_OF_A_LEVEL * count), problem.seed)
    if in_runs:
        some = problem.data.subsample
        begin = stratified(some.rows, rows // RUN, RUN, problem.seed)[:, None]
        chunk = some.taken(some.columns[0].argsort(kind="stable")[begin + np.arange(RUN)].ravel())
    if problem.squared:
        found = find(model, chunk, given, problem.seed)
    else:
        found = _among_outliers(problem, chunk, lambda rows: find(model, rows, given, problem.seed))
    if not found.candidates:
        return None
    best = found.candidates[0].loss
    rivals = tuple(
        Rival(dict(zip(model.free, map(float, c.theta), strict=True)), float(c.loss))
        for c in (*found.passed, *found.candidates[1:])
        if c.loss <= RIVAL * best and problem.squared  # else these are no minima of the loss
    )
    facts = facts_of(found, chunk.rows, rivals)
    return Starts(
        tuple(c.start for c in found.candidates),
        tuple(c.theta for c in found.candidates),
        tuple(float(c.loss) for c in found.candidates),
        facts,
    )


def facts_of(found: Search, rows: int, rivals: tuple[Rival, ...] = ()) -> StartSearch:
    """Return what is told of a search among so many rows, which has found a minimum."""
    return StartSearch(
        points=found.points,
        polished=found.polished,
        minima=len(found.candidates),
        rows=rows,
        ranges=dict(found.ranges),
        solved=found.linear,
        loss=float(found.candidates[0].loss),
        rivals=rivals,
    )


def _among_outliers(problem: Problem, chunk: Chunk, find: Callable[[Chunk], Search]) -> Search:
    """Return the best candidates by the loss of a problem, which is not that of least squares.

    Outliers among the rows mislead the squares by which candidates are found, and which rows these
    are nobody knows. So beside all rows those are searched that agree with their neighbours, random
    subsets (as for estimates of high breakdown: Rousseeuw & Leroy 1987, Robust Regression and
    Outlier Detection, chapter 5), and then the rows near the best curve of all these.
    """
    random = np.random.default_rng(problem.seed)
    searches: list[Search] = []
    known: list[Candidate] = []

    def search(kept: np.ndarray) -> None:
        searches.append(find(chunk.taken(np.sort(kept))))
        known.extend(_judged(problem, chunk, one) for one in searches[-1].candidates)

    search(np.arange(chunk.rows))
    agreeing = _agreeing(problem.model, chunk)
    if len(agreeing) < chunk.rows:
        search(agreeing)
    count = max(chunk.rows // 2, len(problem.names) + 2)
    for _ in range(HALVES if count < chunk.rows else 0):
        search(random.permutation(chunk.rows)[:count])
    best = min(known, key=lambda one: one.loss, default=None)
    if best is not None and best.loss < np.inf:
        size = problem.kernel.rows(best.theta, chunk).sizes(chunk.weights)
        search(np.flatnonzero(size <= FAR * np.median(size)))
    kept: list[Candidate] = []  # of those of the same loss one is enough
    for one in sorted(known, key=lambda one: one.loss):
        if not kept or _is_lower(kept[-1].loss, one.loss, BETTER):
            kept.append(one)
    return searches[0]._replace(
        candidates=tuple(kept),
        passed=(),
        points=sum(one.points for one in searches),
        polished=sum(one.polished for one in searches),
    )


def _agreeing(model: Model, chunk: Chunk) -> np.ndarray:
    """Return the rows whose response agrees with that of their neighbours, if these are known."""
    every = np.arange(chunk.rows)
    if len(model.variables) != 1 or chunk.rows < 2 * NEIGHBOURS:
        return every
    columns = model.named(chunk.columns)
    values = evaluate(model.formula.response, columns)
    order = np.argsort(columns[model.variables[0]], kind="stable")
    target = np.broadcast_to(values, chunk.rows)[order].astype(np.float64)
    ends = np.pad(target, NEIGHBOURS // 2, mode="reflect")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(ends, NEIGHBOURS), axis=1)
    apart = np.abs(target - usual)
    kept = order[apart <= OUTLYING * np.median(apart)]
    # Counts are often equal to their neighbours, which says nothing of the others.
    return kept if len(kept) >= chunk.rows / 2 else every


def _judged(problem: Problem, chunk: Chunk, candidate: Candidate) -> Candidate:
    """Return a candidate with the mean loss that it has over rows, infinite where it has none."""
    losses = problem.kernel.rows(candidate.theta, chunk).loss
    loss = float(np.average(losses, weights=chunk.weights))
    return candidate._replace(loss=loss if math.isfinite(loss) else math.inf)


def with_starts(model: Model, theta: np.ndarray, origin: str) -> Model:
    """Return the model with the starts that nobody gave set to those in ``theta``."""
    sought = missing(model)
    chosen = {
        name: replace(model.parameters[name], start=float(value), origin=origin)
        for name, value in zip(model.free, theta, strict=True)
        if name in sought
    }
    return replace(model, parameters=model.parameters | chosen)


def search_starts(problem: Problem) -> Problem:
    """Return the problem with starts that were searched for, for an optimizer that needs them."""
    found = look_for_starts(problem)
    if found is None:
        raise UsageError(
            f"no starting values of '{problem.model.formula}' were found at which every row has a"
            " finite value; give start"
        )
    return problem._replace(model=with_starts(problem.model, found.raw[0], "search"))


def closest_equivalent(model: Model, theta: np.ndarray) -> np.ndarray:
    """Return the one of the equivalent minima that is most like the given start.

    In sign of the nonlinear parameters first, then in their order, then in distance.
    """
    orbit = equivalents(model, theta)
    if len(orbit) == 1:
        return theta
    start = np.array(model.start)
    nonlinear = np.array([name not in model.linear for name in model.free])
    here = start[nonlinear]

    def unlikeness(theta: np.ndarray) -> tuple[int, int, float]:
        size, there = np.abs(theta) + np.abs(start), theta[nonlinear]
        apart = float((np.abs(theta - start) / np.where(size > 0, size, 1.0)).sum())
        order = np.sign(np.subtract.outer(there, there)) != np.sign(np.subtract.outer(here, here))
        return int((np.sign(there) != np.sign(here)).sum()), int(order.sum()), apart

    return min(orbit, key=unlikeness)


def move_to(problem: Problem, outcome: Outcome, theta: np.ndarray) -> Outcome:
    """Return the outcome, ended at an equivalent minimum."""
    if outcome.quadratic is None or np.array_equal(theta, outcome.theta):
        return outcome
    plain = problem._replace(callback=None, linear=problem.linear[:0])
    again = walk(plain, theta, [problem.rows])
    return merge_runs(outcome, again._replace(path=again.path[1:]))


def is_suspicious(problem: Problem, outcome: Outcome) -> bool:
    """Whether a fit looks like a wrong one: it did not arrive, or its residuals are no noise."""
    if outcome.is_called_off:
        return False
    if outcome.ending == "lost":
        return True
    if problem.is_exact(outcome.theta, outcome.quadratic):
        return False
    if not has_arrived(problem, outcome) or not problem.squared:
        return True
    misfit = outcome.misfit or misfit_of(problem, outcome.theta)
    if max(misfit.beyond, misfit.off_replicates) > DOUBTFUL or misfit.unexplained > UNEXPLAINED:
        return True
    return _is_faint(problem, outcome)


def _is_broken(problem: Problem) -> bool:
    return problem.squared and bool(break_names(problem.model.prediction, problem.names))


def _is_faint(problem: Problem, outcome: Outcome) -> bool:
    """Whether a nonlinear part hardly rises from the noise, and so may well lie elsewhere."""
    parts = separate(problem.model.prediction, problem.names)
    amplitudes = {name for part in parts.components for name in part.linear}
    chosen = [i for i, name in enumerate(problem.names) if name in amplitudes]
    errors = errors_of(problem, outcome) if chosen else None
    return errors is not None and bool(
        (np.abs(outcome.theta[chosen]) < FAINT * errors[chosen]).any()
    )


def misfit_of(problem: Problem, theta: np.ndarray) -> Misfit:
    """Look at the residuals of some of the rows."""
    chunk = problem.data.sample(FEW // 2, problem.seed)
    rows = problem.kernel.rows(theta, chunk)
    found = residual_misfit(rows, chunk.weights, chunk.columns[: len(problem.model.variables)])
    if problem.data.root is None or chunk.weights is None or chunk.rows < problem.rows:
        return found
    return found._replace(unexplained=float(chunk.weights @ rows.loss) / problem.variation)


def residual_misfit(
    rows: Rows, weights: np.ndarray | None, variables: Sequence[np.ndarray]
) -> Misfit:
    """Return what the residuals tell in the order of each variable, and of the prediction."""
    mean = float(np.add.reduce(rows.target)) / len(rows.target)
    mean = mean if weights is None else float(np.average(rows.target, weights=weights))
    residual, apart, slopes = rows.target - rows.prediction, rows.target - mean, rows.jacobian
    root = None
    if weights is not None:
        root = np.sqrt(weights)
        residual, apart, slopes = residual * root, apart * root, slopes * root
    variation = float(apart @ apart)
    unexplained = float(residual @ residual) / variation if variation > 0 else 0.0
    found = serial_correlation(residual, slopes, (*variables, rows.prediction))
    return Misfit(*found, unexplained, lack_of_fit(residual, len(slopes), variables, root))


def misfit_warnings(problem: Problem, outcome: Outcome) -> tuple[str, ...]:
    """Say so where the curve misses what the data hold."""
    if not problem.squared or problem.rows < FEWEST:
        return ()
    found = outcome.misfit or misfit_of(problem, outcome.theta)
    if found.beyond > TOLD:
        if found.correlation > 0:
            how, why = "go together", "the curve misses something that the data hold, and"
            side = "small"
        else:
            how, why, side = "alternate", "rows depend on one another, so", "large as a rule"
        return (
            f"neighbouring residuals {how} (correlation {found.correlation:.2f}): {why} the"
            f" standard errors are too {side}",
        )
    if found.off_replicates > TOLD:
        return (
            "the means of rows that are alike but for their response lie farther off the curve than"
            " their scatter allows: the curve misses something that the data hold, and the standard"
            " errors are too small",
        )
    if found.unexplained > HARDLY and len(problem.names) > 1:
        return (
            f"the curve leaves {100 * found.unexplained:.4g}% of the variation of the response"
            " unexplained: noise, or a minimum that is not the one meant; look at a plot",
        )
    return ()


def rival_warnings(problem: Problem, search: StartSearch | None, loss: float) -> tuple[str, ...]:
    """Say so where the search passed over a minimum that is lower than the mean ``loss``."""
    rivals = search.rivals if search is not None and problem.squared else ()
    least = min(rivals, key=lambda rival: rival.loss, default=None)
    if least is None or not _is_lower(least.loss, loss, CLEARLY_BETTER):
        return ()
    start = ", ".join(f"{name}={value:.6g}" for name, value in least.values.items())
    return (
        f"a minimum whose loss is {100 * (1 - least.loss / loss):.2g}% lower was passed over, since"
        f" the formula divides by zero there on a row: start='{start}' leads to it",
    )
