"""A model's mean loss on columns in memory, and its derivatives found in three ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.formula.evaluation import DomainError, evaluate, find_domain_error
from sgdfit.model.loss import PREDICTION, TARGET

if TYPE_CHECKING:
    from sgdfit.model.model import Model

__all__ = ["MeanLoss", "central_difference"]

Vector = np.ndarray[Any, np.dtype[np.float64]]

FIRST_STEP = float(np.finfo(float).eps) ** (1 / 9)  # wide, for derivatives that are tiny
SHRINK = 8.0  # from one trial step to the next
TRIALS = 7  # down to about the cube root of eps, for those that are steep


class MeanLoss:
    """The mean loss of a model on data, as a function of the free parameters."""

    def __init__(self, model: Model, data: dict[str, Vector], share: Vector) -> None:
        self.model, self.data, self.share = model, data, share
        response = model.formula.response
        self.target = np.zeros(1) if response is None else evaluate(response, data)

    def _values(self, theta: Sequence[Any] | Vector) -> dict[str, Any]:
        return {**self.data, **dict(zip(self.model.free, theta, strict=True))}

    def _pair(self, theta: Vector) -> dict[str, Any]:
        prediction = evaluate(self.model.prediction, self._values(theta))
        return {PREDICTION: self._spread(prediction), TARGET: self._spread(self.target)}

    def _spread(self, values: Any) -> Vector:
        return np.broadcast_to(np.asarray(values, dtype=float), self.share.shape)

    def losses(self, theta: Vector) -> Vector:
        """Each row's loss."""
        return self._spread(evaluate(self.model.loss.expression, self._pair(theta)))

    def contributions(self, theta: Vector) -> list[Vector]:
        """Each row's part in the derivative to each parameter."""
        slope = self._spread(evaluate(self.model.slope, self._pair(theta)))
        values = self._values(theta)
        return [slope * self._spread(evaluate(e, values)) for e in self.model.gradient]

    def trouble(self, theta: Vector) -> DomainError | None:
        """Return the first place where something is not finite, in the order of computation."""
        values, pair = self._values(theta), self._pair(theta)
        searches = [(self.model.prediction, values), (self.model.loss.expression, pair)]
        searches += [(self.model.slope, pair), *((e, values) for e in self.model.gradient)]
        found = (find_domain_error(expression, known) for expression, known in searches)
        return next((error for error in found if error), None)

    def by_torch(self, theta: Vector) -> tuple[float, ...]:
        """Gradient by torch, which differentiates the model by its own rules."""
        import torch

        leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in theta.tolist()]
        values: dict[str, Any] = {n: torch.tensor(c.copy()) for n, c in self.data.items()}
        values |= dict(zip(self.model.free, leaves, strict=True))
        target = torch.tensor(self._spread(self.target).copy())
        prediction = evaluate(self.model.prediction, values, "torch").expand(target.shape)
        pair = {PREDICTION: prediction, TARGET: target}
        losses = evaluate(self.model.loss.expression, pair, "torch")
        mean = (torch.tensor(self.share) * losses).sum()
        slopes = torch.autograd.grad(mean, leaves, allow_unused=True)
        return tuple(0.0 if slope is None else float(slope) for slope in slopes)


def central_difference(problem: MeanLoss, theta: Vector, k: int) -> float:
    """Return the derivative to parameter ``k`` from values of the loss alone."""
    # A small value may be near zero by chance, or small because its column is large: try both.
    sizes = {max(abs(float(theta[k])), 1.0), abs(float(theta[k])) or 1.0}
    steps = [FIRST_STEP * size / SHRINK**i for size in sorted(sizes) for i in range(TRIALS)]
    with np.errstate(all="ignore"):  # a wide step may leave the domain: a shorter one is taken
        trials = [_richardson(problem, theta, k, step) for step in steps]
    finite = [trial for trial in trials if np.isfinite(trial[0])]
    return min(finite, default=(np.nan, np.nan))[1]


def _richardson(problem: MeanLoss, theta: Vector, k: int, step: float) -> tuple[float, float]:
    """Return an error estimate and the derivative, from differences at ``step`` and half of it."""
    wide, rough = _difference(problem, theta, k, step)
    narrow, rougher = _difference(problem, theta, k, step / 2)
    better = (4 * narrow - wide) / 3
    return abs(better - narrow) + max(rough, rougher), better


def _difference(problem: MeanLoss, theta: Vector, k: int, step: float) -> tuple[float, float]:
    """Central difference over ``step``, and the rounding error that it may bear."""
    up, down = theta.copy(), theta.copy()
    up[k] += step
    down[k] -= step
    distance = up[k] - down[k]  # what the sum left of the step, exactly
    above, below = problem.losses(up), problem.losses(down)
    # Differences first, sum after: rows with large losses do not drown the small changes.
    value = float(problem.share @ (above - below)) / distance
    noise = float(np.finfo(float).eps * (problem.share @ np.abs(above))) / distance
    return value, noise
