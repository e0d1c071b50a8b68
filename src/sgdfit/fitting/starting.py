"""Starting values: those that were given, and those that the formula and the data tell."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.errors import UsageError
from sgdfit.fitting.task import Task
from sgdfit.formula.evaluation import evaluate
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model
from sgdfit.model.parameters import Assignments
from sgdfit.result.search import Rival, StartSearch

__all__ = ["Starts", "look_for_starts", "missing", "searches", "started", "with_starts"]

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
    """What a search found.

    Attributes
    ----------
    raw : tuple of float64[p]
        Points to descend from, best first.
    polished : tuple of float64[p]
        The minimum of the squared residuals that each leads to.
    losses : tuple of float
        The mean squared residual there.
    facts : StartSearch
    """

    raw: tuple[np.ndarray, ...]
    polished: tuple[np.ndarray, ...]
    losses: tuple[float, ...]
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
    """Return the task with starts that were searched for, for an optimizer that needs them.

    Raises
    ------
    UsageError
        When no point has a finite value.
    """
    found = look_for_starts(task, seed)
    if found is None:
        raise UsageError(
            f"no starting values of '{task.model.formula}' were found at which every row has a"
            " finite value; give start"
        )
    return task._replace(model=with_starts(task.model, found.raw[0], "search"))
