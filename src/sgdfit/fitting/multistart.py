"""From where ``auto`` walks, and which of the minima that it finds is the answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.errors import UsageError
from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.problem import Misfit, Problem, Task, WalkOutcome
from sgdfit.fitting.sampling import FEW
from sgdfit.formula.evaluation import evaluate
from sgdfit.inference.quadratic import from_rows
from sgdfit.inference.spectrum import column_norms
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model
from sgdfit.model.parameters import Assignments
from sgdfit.model.separation import separate
from sgdfit.model.symmetry import canonical, equivalents
from sgdfit.result.status import Rival, StartSearch

# A minimum is better than another when its loss is lower by more than this share.
BETTER = 1e-6
# One that is called so in the report is lower by more than this.
CLEARLY_BETTER = 1e-3
# Of a few candidates the true loss over more rows decides which to follow.
FOLLOWED = 5
NEARLY = 1.5
# Where a loss has no value, so many points are tried at so many standard errors.
DRAWS, REACHES = 64, (0.3, 1.0, 3.0, 10.0)


class Found(NamedTuple):
    """A walk, and how its start was found."""

    task: Task
    course: WalkOutcome
    search: StartSearch | None
    better: Rival | None  # A lower minimum than that of the course
    # To the optimum of all rows, where the task is to speak of some of them alone.
    distance: float | None = None


def find_minimum(task: Task, problem: Problem, search: bool | None) -> Found:
    """Find starts where none are given, walk from there, and look for something better.

    Parameters
    ----------
    search : bool or None
        Whether to search for starts that are not given, and for a better minimum than that of
        those that are; None: for the latter where the residuals are no noise.
    """
    model = task.model
    sought = missing(model)
    if problem.quadratic:
        # From anywhere the first step leads to the minimum.
        task = task._replace(model=with_starts(model, _origin(problem, model), "solved"))
        sizes = problem.sizes
        # The sample's minimum is near enough for all rows, whose sums then lose no digits.
        few = sizes[:1] if len(sizes) > 1 else []
        course = walk(problem, np.array(task.model.start), [*few, sizes[-1]])
        return Found(task, course, None, None)
    if sought and search is not False:
        starts = look_for_starts(task, problem.seed)
        if starts is not None:
            found = _from_search(task, problem, starts)
            try:
                found = _looked_over(task, problem, found)
                if len(sought) < len(model.free):
                    found = found._replace(better=_better(task, problem, found.course, search)[0])
            except KeyboardInterrupt:
                found = _interrupted(found)
            return found
    course, doubtful = _from_given(task, problem, np.array(model.start))
    if search is None and not doubtful:
        return Found(task, course, None, None)
    try:
        better, facts = _better(task, problem, course, search)
    except KeyboardInterrupt:
        return _interrupted(Found(task, course, None, None))
    return Found(task, course, facts, better)


def _interrupted(found: Found) -> Found:
    """Return what was found until Ctrl-C ended the look for something better."""
    return found._replace(course=found.course._replace(ending="interrupted"))


def _from_given(task: Task, problem: Problem, start: np.ndarray) -> tuple[WalkOutcome, bool]:
    """Walk from the given start, where need be by two ways, and keep the one that leads lower.

    Solving linear parameters exactly is nearly always the shorter way. But it leaves their starts
    aside, and so may come down elsewhere. Whether the fit looks like a wrong one is told as well.
    """
    course = with_misfit(task, problem, walk(problem, start))
    doubtful = is_suspicious(task, problem, course)
    if doubtful and len(problem.linear):
        plain = problem._replace(linear=problem.linear[:0])
        try:
            other = _lower(plain, start, course)
        except KeyboardInterrupt:
            return course._replace(ending="interrupted"), False
        if other is not course:
            course, doubtful = other, is_suspicious(task, problem, other)
    return settled_on(problem, course, nearest(task.model, course)), doubtful


def _lower(problem: Problem, start: np.ndarray, course: WalkOutcome) -> WalkOutcome:
    """Return another walk if that leads lower; where rows are many a sample tells whether it does.

    Passes through all rows are dear, and a sample tells minima apart that differ at all.
    """
    *few, rows = problem.sizes
    if few:
        other = _finished(walk(problem, start, few))
        if not _is_lower(_loss(other), _loss_on(course, few[-1]), BETTER):
            return course
        start, few = other.theta, few[-1:]
    other = _finished(walk(problem, start, [*few, rows]))
    return other if _is_lower(_loss(other), _loss(course), BETTER) else course


def _loss_on(course: WalkOutcome, rows: int) -> float:
    """Return the mean loss at which a course left the batch of so many rows."""
    return next((s.loss for s in reversed(course.way) if s.rows == rows), math.inf)


def _origin(problem: Problem, model: Model) -> np.ndarray:
    given = [model.parameters[n].start if n not in missing(model) else 0.0 for n in model.free]
    return problem.box.clip(np.array(given))


def _from_search(task: Task, problem: Problem, starts: Starts) -> Found:
    """Follow the best of the candidates, from where the search drew it if that leads there."""
    model, sizes = task.model, problem.sizes
    quiet = problem._replace(callback=None)
    k, known = _best_candidate(quiet, starts)
    if not math.isfinite(known):
        starts = _within_domain(quiet, starts)
        k, known = _best_candidate(quiet, starts)
    raw, polished = (problem.box.clip(points[k]) for points in (starts.raw, starts.polished))
    start, polished, told = represented(model, raw, polished)
    course = walk(problem if len(sizes) == 1 else quiet, start, sizes[:1])
    ended = course.ending in ("interrupted", "stopped")
    fell_short = not ended and _is_lower(known, _loss(course), BETTER)
    if fell_short:
        start = polished
    if fell_short or (len(sizes) > 1 and not ended):
        course = walk(problem, start)
    if not ended:
        theta = canonical(model, course.theta, missing(model))[0]
        course = settled_on(problem, course, theta)
    task = task._replace(model=with_starts(model, start, "search"))
    return Found(task, course, replace(starts.facts, symmetries=told), None)


def _looked_over(task: Task, problem: Problem, found: Found) -> Found:
    """Search anew among rows from all over, where those of a few long runs may have misled.

    In sorted data a run holds only what lies near it, and a narrow peak may lie in none.
    """
    if not (problem.population.is_scattered and is_suspicious(task, problem, found.course)):
        return found
    starts = look_for_starts(task, problem.seed)
    if starts is None or not _promises(problem, starts, found.course.theta):
        return found
    other = _from_search(task, problem, starts)
    return other if _is_lower(_loss(other.course), _loss(found.course), BETTER) else found


def _promises(problem: Problem, starts: Starts, theta: np.ndarray) -> bool:
    """Whether a candidate leads lower than ``theta`` on rows from all over, which are at hand."""
    alone, quiet = [problem.population.scattered_rows], problem._replace(callback=None)
    here, *others = (
        _loss(_finished(walk(quiet, problem.box.clip(point), alone)))
        for point in (theta, *starts.polished[:FOLLOWED])
    )
    return any(_is_lower(loss, here, BETTER) for loss in others)


def _within_domain(problem: Problem, starts: Starts) -> Starts:
    """Return the starts with points in their place at which every row has a finite loss.

    The least squares that starts come from may lead where another loss, such as Poisson's, has no
    value. Points about them are tried, at ever more of their standard errors.
    """
    chunk = problem.population.sample(starts.facts.rows, problem.seed)
    random = np.random.default_rng(problem.seed)
    for theta in (*starts.raw, *starts.polished):
        root = _scatter(problem, chunk, theta)
        for reach in REACHES:
            draws = random.standard_normal((DRAWS, len(theta)))
            points = [problem.box.clip(theta + reach * root @ draw) for draw in draws]
            losses = [float(problem.kernel.rows(point, chunk).loss.sum()) for point in points]
            best = int(np.nanargmin([*losses, np.inf]))
            if best < len(points) and np.isfinite(losses[best]):
                point = (points[best],)
                return starts._replace(raw=point, polished=point, losses=starts.losses[:1])
    return starts


def _scatter(problem: Problem, chunk: Chunk, theta: np.ndarray) -> np.ndarray:
    """Return a root of the covariance that least squares would give at ``theta``."""
    rows = problem.kernel.rows(theta, chunk)
    residual = rows.prediction - rows.target
    square = float(residual @ residual)
    near = from_rows(rows.jacobian, residual, np.ones(chunk.rows), chunk.weights, square / 2)
    if not np.isfinite(near.root).all():
        return np.diag(np.abs(theta))
    return np.asarray(np.linalg.pinv(near.root)) * math.sqrt(square / chunk.rows)


def _best_candidate(problem: Problem, starts: Starts) -> tuple[int, float]:
    """Return the candidate that leads lowest on the first batch, and its mean loss there."""
    trusted = problem.squared and problem.rows <= starts.facts.rows
    # More rows change the order of minima that are nearly as good, not of others.
    near = sum(loss <= NEARLY * starts.losses[0] for loss in starts.losses)
    count = 1 if trusted else min(near, FOLLOWED) if problem.squared else FOLLOWED
    steps = 0 if trusted else problem.steps
    first = problem.sizes[:1]
    walks = (
        walk(problem._replace(callback=None, steps=steps), problem.box.clip(theta), first)
        for theta in starts.polished[:count]
    )
    losses = [_loss(_finished(course)) for course in walks]
    # Of candidates that lead to the same minimum the first is the nearest to it.
    k = next(i for i, loss in enumerate(losses) if not _is_lower(min(losses), loss, BETTER))
    return k, losses[k]


def _finished(course: WalkOutcome) -> WalkOutcome:
    """Return a course on which nothing depends but the next one, unless Ctrl-C ended it."""
    if course.ending == "interrupted":
        raise KeyboardInterrupt
    return course


def _is_lower(loss: float, other: float, share: float) -> bool:
    """Whether a loss, which may be negative, is lower than another by a share of its size."""
    return loss < (other - share * abs(other) if math.isfinite(other) else other)


def _loss(course: WalkOutcome) -> float:
    """Return the mean loss over the last batch; infinite where there is none."""
    if course.quadratic is None or not course.way:
        return math.inf
    return course.quadratic.loss / course.way[-1].rows


def _better(
    task: Task, problem: Problem, course: WalkOutcome, search: bool | None
) -> tuple[Rival | None, StartSearch | None]:
    """Look for a better minimum than the given starts led to, where there is reason to."""
    if search is False or course.ending in ENDED:
        return None, None
    if search is None and not is_suspicious(task, problem, course):
        return None, None
    starts = look_for_starts(task, problem.seed, all_free=True)
    if starts is None:
        return None, None
    quiet = problem._replace(callback=None)
    k, _ = _best_candidate(quiet, starts)
    other = _lower(quiet, problem.box.clip(starts.polished[k]), course)
    blur = 0.0 if course.quadratic is None else course.quadratic.blur / course.way[-1].rows
    if not _is_lower(_loss(other), _loss(course) - blur, CLEARLY_BETTER):
        return None, starts.facts
    chosen, _ = canonical(task.model, other.theta, task.model.free)
    values = dict(zip(task.model.free, map(float, chosen), strict=True))
    return Rival(values, _loss(other)), starts.facts


# The word that asks for a search.
SEARCH = "search"
# Enough rows to tell minima apart, few enough to look at thousands of points.
ROWS_SEARCHED = 512
# For a robust loss rows are passed over that lie so many times the median deviation away from the
# median of so many neighbours (Hampel 1974, JASA 69(346), 383-393, whose 3 sigma are 4.4).
NEIGHBOURS, OUTLYING = 7, 6.0
# Minima so near to the best are named.
RIVAL = 1.05


class Starts(NamedTuple):
    """What a search found."""

    raw: tuple[np.ndarray, ...]  # tuple of float64[p]: points to descend from, best first
    # tuple of float64[p]: the minimum of the squared residuals that each leads to.
    polished: tuple[np.ndarray, ...]
    losses: tuple[float, ...]  # the mean squared residual there
    facts: StartSearch


def searches(start: Assignments) -> bool:
    """Whether ``start`` is the word that asks for a search."""
    return isinstance(start, str) and start.strip() == SEARCH


def missing(model: Model) -> tuple[str, ...]:
    """Return the free parameters whose start nobody gave."""
    return tuple(n for n in model.free if model.parameters[n].origin not in ("given", "random"))


def look_for_starts(task: Task, seed: int, *, all_free: bool = False) -> Starts | None:
    """Search for starts; None where no point has a finite value.

    Given starts are held meanwhile, unless ``all_free`` says to search these parameters too.
    """
    from sgdfit.starts.search import find_starts

    model = task.model
    sought = model.free if all_free else missing(model)
    given = {n: model.parameters[n].start for n in model.free if n not in sought}
    chunk = task.population.sample(ROWS_SEARCHED, seed)
    if model.loss.name != SQUARED:
        chunk = _agreeing(model, chunk)
    found = find_starts(model, chunk, given, seed)
    if not found.candidates:
        return None
    best = found.candidates[0].loss
    rivals = tuple(
        Rival(dict(zip(model.free, map(float, c.theta), strict=True)), float(c.loss))
        for c in found.candidates[1:]
        if c.loss <= RIVAL * best
    )
    facts = StartSearch(
        points=found.points,
        polished=found.polished,
        minima=len(found.candidates),
        rows=chunk.rows,
        ranges=dict(found.ranges),
        solved=found.linear,
        loss=float(best),
        rivals=rivals,
    )
    return Starts(
        tuple(c.start for c in found.candidates),
        tuple(c.theta for c in found.candidates),
        tuple(float(c.loss) for c in found.candidates),
        facts,
    )


def _agreeing(model: Model, chunk: Chunk) -> Chunk:
    """Return the rows whose response agrees with that of their neighbours, if these are known.

    A search by least squares chases outliers, which the loss was chosen to pass over.
    """
    if len(model.variables) != 1 or chunk.rows < 2 * NEIGHBOURS:
        return chunk
    columns = dict(zip(model.columns, chunk.columns, strict=True))
    values = evaluate(model.formula.response, columns)
    order = np.argsort(columns[model.variables[0]], kind="stable")
    target = np.broadcast_to(values, chunk.rows)[order].astype(np.float64)
    ends = np.pad(target, NEIGHBOURS // 2, mode="reflect")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(ends, NEIGHBOURS), axis=1)
    apart = np.abs(target - usual)
    kept = np.sort(order[apart <= OUTLYING * np.median(apart)])
    # Counts are often equal to their neighbours, which says nothing of the others.
    if len(kept) < chunk.rows / 2:
        return chunk
    weights = None if chunk.weights is None else chunk.weights[kept]
    return Chunk(tuple(column[kept] for column in chunk.columns), weights)


def with_starts(model: Model, theta: np.ndarray, origin: str) -> Model:
    """Return the model with the starts that nobody gave set to those in ``theta``."""
    sought = missing(model)
    chosen = {
        name: replace(model.parameters[name], start=float(value), origin=origin)
        for name, value in zip(model.free, theta, strict=True)
        if name in sought
    }
    return replace(model, parameters=model.parameters | chosen)


def started(task: Task, seed: int) -> Task:
    """Return the task with starts that were searched for, for an optimizer that needs them."""
    found = look_for_starts(task, seed)
    if found is None:
        raise UsageError(
            f"no starting values of '{task.model.formula}' were found at which every row has a"
            " finite value; give start"
        )
    return task._replace(model=with_starts(task.model, found.raw[0], "search"))


def represented(
    model: Model, raw: np.ndarray, polished: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return both points as they look when the minimum is the canonical one of its equivalents."""
    (there, start), told = canonical(model, np.array([polished, raw]), missing(model))
    return start, there, told


def nearest(model: Model, course: WalkOutcome) -> np.ndarray:
    """Return the one of the equivalent minima that is most like the given start."""
    orbit = equivalents(model, course.theta)
    if len(orbit) == 1:
        return course.theta
    start = np.array(model.start)
    nonlinear = np.array([name not in model.linear for name in model.free])
    return min(orbit, key=lambda theta: _unlikeness(theta, start, nonlinear))


def settled_on(problem: Problem, course: WalkOutcome, theta: np.ndarray) -> WalkOutcome:
    """Return the course, ended at an equivalent minimum."""
    if course.quadratic is None or np.array_equal(theta, course.theta):
        return course
    sizes = [problem.rows]
    again = walk(problem._replace(callback=None, linear=problem.linear[:0]), theta, sizes)
    taken, seen = course.way[-1].step, course.visited
    way = tuple(s._replace(step=s.step + taken, visited=s.visited + seen) for s in again.way[1:])
    return again._replace(
        way=(*course.way, *way), first=course.first, seconds=course.seconds + again.seconds
    )


def _unlikeness(theta: np.ndarray, start: np.ndarray, nonlinear: np.ndarray) -> tuple[int, float]:
    """Return how unlike a start an equivalent minimum is: in order and sign, then in distance."""
    size = np.abs(theta) + np.abs(start)
    apart = float((np.abs(theta - start) / np.where(size > 0, size, 1.0)).sum())
    there, here = theta[nonlinear], start[nonlinear]
    turned = np.sign(np.subtract.outer(there, there)) != np.sign(np.subtract.outer(here, here))
    return int(turned.sum()) + int((np.sign(there) != np.sign(here)).sum()), apart


# An amplitude of fewer standard errors may be that of noise.
FAINT = 4.0
ENDED = ("interrupted", "stopped", "lost")


def is_suspicious(task: Task, problem: Problem, course: WalkOutcome) -> bool:
    """Whether a fit looks like a wrong one: it did not arrive, or its residuals are no noise."""
    if course.ending in ENDED:
        return False
    if not course.distance <= 1.0 or not problem.squared:
        return True
    misfit = course.misfit or misfit_of(task, problem, course.theta)
    if misfit.is_doubtful:
        return True
    return _is_faint(task.model, problem, course)


def _is_faint(model: Model, problem: Problem, course: WalkOutcome) -> bool:
    """Whether a nonlinear part hardly rises from the noise, and so may well lie elsewhere."""
    quadratic, parts = course.quadratic, separate(model.prediction, model.free)
    amplitudes = {name for part in parts.components for name in part.linear}
    chosen = [i for i, name in enumerate(model.free) if name in amplitudes]
    inverse = None if quadratic is None or not chosen else quadratic.inverse
    if quadratic is None or inverse is None:
        return False
    noise = quadratic.spread / max(1, problem.rows - len(model.free))
    errors = column_norms(inverse[chosen].T) * math.sqrt(noise)
    return bool((np.abs(course.theta[chosen]) < FAINT * errors).any())


# Neighbouring residuals correlate so many standard deviations beyond chance, or the curve leaves so
# much of the variation, that the user is told.
TOLD, HARDLY = 4.0, 0.9
# Fewer rows tell nothing of the kind.
FEWEST = 10


def misfit_of(task: Task, problem: Problem, theta: np.ndarray) -> Misfit:
    """Look at the residuals of some of the rows."""
    chunk = problem.population.sample(FEW // 2, problem.seed)
    rows = problem.kernel.rows(theta, chunk)
    residual, apart = rows.target - rows.prediction, rows.target - _mean(rows.target, chunk.weights)
    if chunk.weights is not None:
        root = np.sqrt(chunk.weights)
        residual, apart = residual * root, apart * root
    total = float(residual @ residual)
    variation = float(apart @ apart)
    along = (*chunk.columns[: len(task.model.variables)], rows.prediction)
    correlation = max(_neighbours(residual, column) for column in along) / (total or 1.0)
    unexplained = total / variation if variation > 0 else 0.0
    return Misfit(correlation, correlation * math.sqrt(len(residual)), unexplained)


def with_misfit(task: Task, problem: Problem, course: WalkOutcome) -> WalkOutcome:
    """Return the course with what its residuals tell, where the loss is their square."""
    if not problem.squared or course.quadratic is None:
        return course
    return course._replace(misfit=misfit_of(task, problem, course.theta))


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    if weights is not None:
        return float(np.average(values, weights=weights))
    return float(np.add.reduce(values)) / len(values)


def _neighbours(residual: np.ndarray, along: np.ndarray) -> float:
    """Return the sum of products of neighbours in the order of a column."""
    ordered = residual[along.argsort(kind="stable")]
    return float(ordered[1:] @ ordered[:-1])


def misfit_warnings(task: Task, problem: Problem, course: WalkOutcome) -> tuple[str, ...]:
    """Say so where the curve misses what the data hold."""
    if not problem.squared or problem.rows < FEWEST:
        return ()
    found = course.misfit or misfit_of(task, problem, course.theta)
    if found.beyond > TOLD:
        return (
            f"neighbouring residuals go together (correlation {found.correlation:.2f}): the curve"
            " misses something that the data hold, and the standard errors are too small",
        )
    if found.unexplained > HARDLY and len(task.model.free) > 1:
        return (
            f"the curve leaves {100 * found.unexplained:.4g}% of the variation of the response"
            " unexplained: noise, or a minimum that is not the one meant; look at a plot",
        )
    return ()
