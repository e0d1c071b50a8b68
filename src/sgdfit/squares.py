"""Sums of squares of a fitted model, with the weights as they were given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sgdfit.evaluation import evaluate
from sgdfit.task import Task

__all__ = ["Squares", "sum_squares"]

# Rows looked at together, so that memory stays bounded.
STRIDE = 65_536
# Residuals this small beside the variation of the response are what arithmetic leaves.
ROUNDING = 1e-12


class Squares(NamedTuple):
    """Sums over the rows.

    Attributes
    ----------
    residual : float
        Σ w (y − prediction)².
    total : float
        Σ w (y − ȳ)², about the weighted mean.
    log_weights : float
        Σ ln w over the rows of nonzero weight.
    perfect : bool
        Whether the residuals are nothing but rounding.
    """

    residual: float
    total: float
    log_weights: float
    perfect: bool


def sum_squares(task: Task, theta: np.ndarray) -> Squares:
    """Return the sums of squares at the free parameters ``theta``."""
    mean = sum(float(w @ y) for w, y, _ in _parts(task, theta)) / task.source.rows
    residual, total, logs = 0.0, 0.0, 0.0
    for weight, target, prediction in _parts(task, theta):
        with np.errstate(all="ignore"):
            residual += float(weight @ (target - prediction) ** 2)
            total += float(weight @ (target - mean) ** 2)
            logs += float(np.log(weight[weight > 0] * task.mean_weight).sum())
    size = total if total > 0 else mean**2 * task.source.rows
    perfect = residual <= ROUNDING**2 * size
    return Squares(task.mean_weight * residual, task.mean_weight * total, logs, perfect)


def _parts(task: Task, theta: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield weights of mean one, target and prediction of some rows after others."""
    model, chunk = task.model, task.chunk
    parameters = model.values(theta.tolist())
    for first in range(0, chunk.rows, STRIDE):
        some = slice(first, first + STRIDE)
        columns = [column[some].astype(np.float64, copy=False) for column in chunk.columns]
        values: dict[str, Any] = dict(zip(model.columns, columns, strict=True)) | parameters
        rows = len(columns[0])
        weight = np.ones(rows) if chunk.weights is None else chunk.weights[some]
        target = np.broadcast_to(evaluate(model.formula.response, values), rows)
        yield weight, target, np.broadcast_to(evaluate(model.formula.expression, values), rows)
