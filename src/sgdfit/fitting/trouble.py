"""Where and why a model has no finite value: the formula, its slopes and its loss, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.task import Task
from sgdfit.formula.evaluation import evaluate, find_domain_error
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model

__all__ = ["Trouble", "find_trouble"]


class Trouble(NamedTuple):
    """The first place that has no finite value.

    Attributes
    ----------
    part : str
        The part of the formula.
    row : int
        Counted from 0, among the rows used.
    arguments : tuple of float
        What the part was given.
    values : dict of str to float
        The variables in that part, and all free parameters.
    """

    part: str
    row: int
    arguments: tuple[float, ...]
    values: dict[str, float]


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
