"""How steep the loss is, over all rows and in single ones: what a stable rate must stand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sgdfit.formula.evaluation import evaluate
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model

__all__ = ["Steepness", "steepness"]

# Rows looked at together, so that memory stays bounded.
STRIDE = 65_536


class Steepness(NamedTuple):
    """Curvatures of the loss, in units of loss/parameter², taken in the steepest direction.

    Attributes
    ----------
    together : float
        Largest eigenvalue of the mean over all rows.
    alone : float
        The mean of the rows' squared curvatures over the mean of their curvatures. Steps on
        single rows shrink the mean squared error of one parameter below a rate of 2/alone
        (Bottou, Curtis & Nocedal 2018, SIAM Review 60(2), section 4.2).
    """

    together: float
    alone: float


def steepness(model: Model, theta: np.ndarray, chunk: Chunk) -> Steepness:
    """Return how steep the loss is near ``theta``.

    Where a residual is so large that its loss hardly bends, as Huber's, it is the curvature of
    small residuals that is taken: the descent will meet it.
    """
    mean, first, second = np.zeros((len(theta), len(theta))), 0.0, 0.0
    for begin in range(0, chunk.rows, STRIDE):
        some = slice(begin, begin + STRIDE)
        columns = tuple(column[some].astype(np.float64, copy=False) for column in chunk.columns)
        weight = 1.0 if chunk.weights is None else chunk.weights[some]
        jacobian, bend = _rows(model, theta, columns)
        with np.errstate(all="ignore"):
            curvature = weight * bend * (jacobian**2).sum(axis=0)
            mean += (jacobian * (weight * bend)) @ jacobian.T / chunk.rows
            first += float(curvature.sum())
            second += float((curvature**2).sum())
    if not np.isfinite(mean).all() or not first > 0:
        return Steepness(np.nan, np.nan)
    return Steepness(float(np.linalg.eigvalsh(mean)[-1]), second / first)


def _rows(
    model: Model, theta: np.ndarray, columns: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's derivatives of the prediction, [p, n], and the bend of its loss, [n]."""
    rows = len(columns[0])
    values: dict[str, Any] = dict(zip(model.columns, columns, strict=True))
    values |= dict(zip(model.free, map(float, theta), strict=True))
    jacobian = [np.broadcast_to(evaluate(slope, values), rows) for slope in model.gradient]
    prediction = evaluate(model.prediction, values)
    target = evaluate(model.formula.response, values)
    here = evaluate(model.bend, {PREDICTION: prediction, TARGET: target})
    near = evaluate(model.bend, {PREDICTION: target, TARGET: target})
    # A loss may have no value at its minimum, as Poisson's at a count of 0.
    bend = np.fmax(np.where(np.isfinite(near), near, 0.0), here)
    return np.array(jacobian, dtype=np.float64), np.broadcast_to(np.maximum(bend, 0.0), rows)
