"""The minimum of a loss with a kink over any number of rows, from sums over them.

Its gradient is a sum over rows like any other. Its curvature is not: rows by themselves do not
bend, only the density of residuals near zero does, which a window about zero counts. With that in
the place of second derivatives, Newton steps on the true gradient lead from a sample's minimum to
that of all rows: what a step leaves is the chance in how many residuals change their sign on the
way, of the order of the square root of the step (stochastic equicontinuity; Pollard 1991,
Econometric Theory 7(2), 186-199). That convolution with a window smooths the loss so little that
errors do not feel it is shown by Fernandes, Guerre & Horta 2021, J. Bus. Econ. Stat. 39(1),
338-357, and He, Pan, Tan & Zhou 2023, J. Econometrics 232(2), 367-388. Here the steps alone use
it, so that nothing is left of its bias: where they end, the gradient of the loss itself tells.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from sgdfit.fitting.growth import FEW, RESERVED_WHOLE, sample
from sgdfit.fitting.kink_walk import Walk, in_numpy, view_from
from sgdfit.fitting.kinks import blur_of, likely_distance, sides_of
from sgdfit.fitting.means import FORGETFUL
from sgdfit.fitting.population import in_memory
from sgdfit.fitting.problem import Course, Problem
from sgdfit.fitting.routes import Found, find_minimum
from sgdfit.fitting.task import Task
from sgdfit.kernel.kernel import Chunk, Kernel
from sgdfit.model.model import Model

__all__ = ["find_from_sums", "gathered", "near_enough", "takes_sums"]

# From the minimum of such a sample the steps begin: 12 standard errors of 10⁷ rows away. Up to so
# many rows they begin from that of a smaller one.
SAMPLE, DIRECTLY = 1 << 16, 1 << 20
# Steps on it end at this share of its standard errors, those on all rows at this one of theirs.
NEAR, ENOUGH = 0.1, 0.008
# So many looks at its rows come near enough, also where steps by rows have slowed down by then.
MOST_LOOKS = 60
# More sample errors than this away from the minimum, the sample was not like the rows.
MISLED = 10.0


def gathered(task: Task, problem: Problem) -> tuple[Task, Problem]:
    """Return the same with all rows in memory, where they are no more than the reserve holds."""
    population = task.population
    if population.whole is not None or population.rows > RESERVED_WHOLE:
        return task, problem
    some = population.some
    inside = in_memory(task.model, some, some, population.threads, population.journal)
    return task._replace(population=inside), problem._replace(population=inside)


def takes_sums(problem: Problem, model: Model) -> bool:
    """Whether there are too many rows to look at each of them in every step."""
    return problem.kinked and problem.rows > RESERVED_WHOLE and sides_of(model) is not None


def near_enough(rows: int, model: Model) -> float:
    """Return how near to the minimum, in its standard errors, the steps are to come."""
    blur = blur_of(rows, model)
    return likely_distance(max(ENOUGH, blur), blur)


def find_from_sums(
    task: Task, problem: Problem, search: bool | None, kernel_of: Callable[[Model], Kernel]
) -> tuple[Found, Problem] | None:
    """Walk to the minimum of all rows; None where residuals are no continuum, so that none leads.

    Parameters
    ----------
    search : bool or None
        As `sgdfit.fitting.routes.find_minimum` takes it.
    kernel_of : function of a model
        Returns the kernel that adds up all rows.

    Returns
    -------
    (Found, Problem)
        The walk, and the problem with a kernel that gives the curvature.
    """
    population, begun = problem.population, time.perf_counter()
    before = population.visited
    while True:
        is_scattered = population.is_scattered
        some = population.sample(SAMPLE, problem.seed)
        found = _on_sample(task, problem, some, search)
        if found is None:
            return None
        course, model = found.course, found.task.model
        if _is_over(course, problem):
            return found, problem
        view = view_from(model, problem, some, course.theta, kernel_of)
        if view is None:
            return None
        astray = math.inf if is_scattered else MISLED * math.sqrt(problem.rows / SAMPLE)
        walked = Walk(problem, view, course, before, begun).go(astray)
        if walked is not None:
            problem = problem._replace(kernel=view.kernel, windowed=True)
            return found._replace(course=walked), problem


def _on_sample(task: Task, problem: Problem, some: Chunk, search: bool | None) -> Found | None:
    """Find the minimum of a sample, by its rows and then by sums; the task returned is the whole.

    None where residuals are no continuum.
    """
    few = sample(some, FEW, problem.seed)
    inside = in_memory(task.model, few, few, task.population.threads, FORGETFUL)
    part = task._replace(population=inside, rows=few.rows, counted=few.rows)
    enough = max(NEAR, problem.tolerance)
    near = problem._replace(population=inside, tolerance=enough, looks=MOST_LOOKS)
    found = find_minimum(part, near, search)
    problem.visits.append(inside.visited)
    whole = found.task._replace(population=task.population, rows=task.rows, counted=task.counted)
    found, course = found._replace(task=whole), found.course
    if _is_over(course, problem) or problem.rows <= DIRECTLY:
        return found
    larger = in_memory(task.model, some, some, task.population.threads, FORGETFUL)
    near = near._replace(population=larger)
    view = view_from(whole.model, near, some, course.theta, in_numpy)
    if view is None:
        return None
    walked = Walk(near, view, course, 0, time.perf_counter()).go()
    problem.visits.append(larger.visited)
    return found if walked is None or walked.quadratic is None else found._replace(course=walked)


def _is_over(course: Course, problem: Problem) -> bool:
    """Whether the run ends on the sample: at once, as the user wished, or where no loss is."""
    if course.quadratic is None or course.ending in ("interrupted", "stopped"):
        return True
    return course.ending == "steps" and course.way[-1].step >= problem.steps
