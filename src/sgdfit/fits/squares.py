"""Sums of squares of a fitted model, with the weights as they were given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fits.assessment import SQUARED
from sgdfit.fits.task import Task
from sgdfit.inference.directions import EPS
from sgdfit.language.evaluation import evaluate

__all__ = ["Squares", "sum_squares"]

# Rows looked at together, so that memory stays bounded.
STRIDE = 16_384
# Residuals this small beside the variation of the response are what the steps of a long descent
# leave, and these what a single evaluation does.
ROUNDING, FEW_ROUNDINGS = 1e-12, 32 * EPS


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
        Whether the residuals are nothing but the rounding of many steps.
    exact : bool
        Whether they are nothing but that of one evaluation.
    """

    residual: float
    total: float
    log_weights: float
    perfect: bool
    exact: bool


def sum_squares(task: Task, theta: np.ndarray, loss: float) -> Squares:
    """Return the sums of squares of the estimates, at which the losses add up to ``loss``."""
    shift, first, second, logs = math.nan, 0.0, 0.0, 0.0
    for weight, target in _targets(task):
        # About one of its values, so that a large mean does not drown the variation.
        shift = float(target[0]) if math.isnan(shift) else shift
        with np.errstate(all="ignore"):
            apart = target - shift
            first += float((weight * apart).sum())
            second += float((weight * apart * apart).sum())
            if task.weights is not None:
                logs += float(np.log(weight[weight > 0] * task.mean_weight).sum())
    rows = task.source.rows
    total = max(0.0, second - first**2 / rows) if second > 0 else 0.0
    residual = _residual(task, theta, loss)
    size = total if total > 0 else rows * shift * shift
    # Nor can a residual be told that is smaller than the rounding of the response itself.
    unseen = EPS**2 * (second + 2 * shift * first + rows * shift * shift)
    return Squares(
        residual=task.mean_weight * residual,
        total=task.mean_weight * total,
        log_weights=logs,
        perfect=bool(residual <= max(ROUNDING**2 * size, unseen)),
        exact=bool(residual <= max(FEW_ROUNDINGS**2 * size, unseen)),
    )


def _targets(task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weights of mean one and targets, of some rows after others."""
    formula = task.model.formula
    for weight, values in _rows(task, formula.response_names):
        yield weight, evaluate(formula.response, values)


def _residual(task: Task, theta: np.ndarray, loss: float) -> float:
    if task.model.loss.name == SQUARED:
        return loss
    parameters = task.model.values(theta.tolist())
    total = 0.0
    for weight, values in _rows(task, task.model.columns):
        prediction = evaluate(task.model.formula.expression, values | parameters)
        target = evaluate(task.model.formula.response, values)
        with np.errstate(all="ignore"):
            total += float((weight * (target - prediction) ** 2).sum())
    return total


def _rows(task: Task, names: Sequence[str]) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Yield weights and the columns ``names``, of some rows after others."""
    chunk = task.chunk
    held = dict(zip(task.model.columns, chunk.columns, strict=True))
    for first in range(0, chunk.rows, STRIDE):
        some = slice(first, first + STRIDE)
        columns = {name: held[name][some].astype(np.float64, copy=False) for name in names}
        rows = min(STRIDE, chunk.rows - first)
        weight = np.ones(rows) if chunk.weights is None else chunk.weights[some]
        yield weight, columns
