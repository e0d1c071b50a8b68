"""Sums of squares of a fitted model, with the weights as they were given."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.task import Task
from sgdfit.inference.directions import EPS
from sgdfit.kernel.kernel import Chunk, Kernel, choose_form, make
from sgdfit.model.loss import SQUARED, as_loss
from sgdfit.optimizers import sgd

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


def sum_squares(task: Task, kernel: Kernel, theta: np.ndarray, loss: float) -> Squares:
    """Return the sums of squares of the estimates, at which the losses add up to ``loss``."""
    seen, rows = task.population.survey, task.counted
    first, second, about = seen.first, seen.second, seen.about
    total = max(0.0, second - first * first / rows) if second > 0 else 0.0
    residual = _residual(task, kernel, theta, loss)
    size = total if total > 0 else rows * about * about
    # Nor can a residual be told that is smaller than the rounding of the response itself.
    unseen = EPS**2 * (second + 2 * about * first + rows * about * about)
    logs = 0.0
    if task.weights is not None:
        logs = seen.logs + task.counted * math.log(task.mean_weight)
    return Squares(
        residual=task.mean_weight * residual,
        total=task.mean_weight * total,
        log_weights=logs,
        perfect=bool(residual <= max(ROUNDING**2 * size, unseen)),
        exact=bool(residual <= max(FEW_ROUNDINGS**2 * size, unseen)),
    )


def _residual(task: Task, kernel: Kernel, theta: np.ndarray, loss: float) -> float:
    rows = task.population.rows
    if task.model.loss.name == SQUARED:
        return loss
    if choose_form("auto", rows, 1, rows, "float64") == "compiled":
        # So many that a pass on all threads is worth a kernel of its own.
        squared = replace(task.model, loss=as_loss(SQUARED))
        own = make(squared, sgd(), "compiled", weighted=task.population.weighted)
        return task.population.sums(own, theta).loss
    return math.fsum(
        _squared(kernel, theta, chunk.part(first, first + STRIDE))
        for chunk in task.population.chunks()
        for first in range(0, chunk.rows, STRIDE)
    )


def _squared(kernel: Kernel, theta: np.ndarray, chunk: Chunk) -> float:
    rows = kernel.rows(theta, chunk)
    with np.errstate(all="ignore"):
        square = (rows.target - rows.prediction) ** 2
        # Infinities of both signs, which fsum refuses to add, no square is.
        return float(square.sum() if chunk.weights is None else (chunk.weights * square).sum())
