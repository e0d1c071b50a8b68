"""Losses with a kink and no curvature, such as mae: their minimum, and how sure it is.

Their slope jumps where the residual changes its sign, so a sum over rows bends only through the
density of residuals near zero. Of few rows `auto` looks at each. Over many, |r| becomes
√(r² + h²), with h shrinking as the cube root of their number, and the ordinary steps lead to the
minimum: so narrow a smoothing shifts estimates by a small share of their errors (Fernandes, Guerre
& Horta 2021, J. Bus. Econ. Stat. 39(1), 338-357; He, Pan, Tan & Zhou 2023, J. Econometrics 232(2),
367-388). Where they end the gradient of the loss itself tells how far from its minimum that is.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.dataset import TrainingData
from sgdfit.fitting.gauss_newton import walk
from sgdfit.fitting.kinks import breaks_of
from sgdfit.fitting.problem import Outcome, Problem, merge_runs
from sgdfit.fitting.sampling import FEW, SUBSAMPLE_ALL
from sgdfit.fitting.steps import alternate, minimize_steps
from sgdfit.formula.evaluation import evaluate
from sgdfit.kernel.kernel import Chunk, Kernel, Rows
from sgdfit.model.loss import PREDICTION, TARGET, Loss, as_loss, with_window
from sgdfit.model.model import Model

# Rows whose residual is below this share of the typical one lie on the curve.
ON_CURVE = 1e-4
# Where more than this share of many rows does, the response is rounded, or counts.
MOST_ON_CURVE = 0.005
LEVEL = 0.95
# h as a share of the window that standard errors count residuals in.
NARROWER = 1 / 16
# What smoothing may shift estimates by, and how near to its own minimum steps lead: in standard
# errors.
SHIFT, ENOUGH = 0.1, 0.01
# Steps on a sample end at this share of its standard errors, and after so many looks.
NEAR, MOST_LOOKS = 0.1, 60
# From farther away than so many errors of a sample, it was not like all rows; so many looks tell.
MISLED, FIRST_LOOKS = 10.0, 3


class Kink(NamedTuple):
    """The rows near a minimum, and the slopes of the loss on both sides of a residual of zero."""

    rows: Rows
    weight: np.ndarray
    residual: np.ndarray
    below: float
    above: float


def sides_of(model: Model) -> tuple[float, float] | None:
    """Return the slopes of a loss below and above a residual of 0; None where it has other kinks.

    >>> from sgdfit.model.model import build
    >>> sides_of(build("y = a*x", ["x", "y"], loss="mae"))
    (-1.0, 1.0)
    """
    reach = np.logspace(-30, 30, 241)
    residual = np.concatenate([-reach, reach])
    found = []
    for target in (0.0, 1.0, -1e3):
        at = {PREDICTION: residual + target, TARGET: target}
        slope = np.broadcast_to(evaluate(model.loss_grad, at), len(residual))
        # What the target swallows is no residual.
        found.append(np.where(at[PREDICTION] == target, np.nan, slope).reshape(2, -1))
    slopes = np.concatenate(found, axis=1)
    low, high = np.nanmin(slopes, axis=1), np.nanmax(slopes, axis=1)
    if not np.array_equal(low, high) or not low[0] < 0 < low[1]:
        return None
    return float(low[0]), float(low[1])


def resolution_of(rows: int, model: Model) -> float:
    """Return how near to the minimum a gradient over so many rows can tell it, in standard errors.

    So far away from it, the rows whose residuals change their sign on the way are as many as make
    their chance as large as the gradient: sqrt(p / (n q (1 - q))) for the quantile q.

    >>> from sgdfit.model.model import build
    >>> model = build("y = a*x + b", ["x", "y"], loss="quantile(q=0.9)")
    >>> round(resolution_of(200_000, model), 6)
    0.010541
    """
    below, above = sides_of(model) or (math.nan, math.nan)
    jump = (above - below) ** 2 / (-below * above)
    return math.sqrt(jump * len(model.free) / rows)


def likely_distance(measured: float, resolution: float) -> float:
    """Return the distance d to the minimum where the gradient says ``measured``: d² = m² + d·r.

    The chance in the gradient at a distance d has the standard deviation sqrt(d·r), so that a
    small gradient alone does not say that the minimum is as near.
    """
    return (resolution + math.hypot(resolution, 2 * measured)) / 2


def kink_at(model: Model, kernel: Kernel, chunk: Chunk, theta: np.ndarray) -> Kink:
    """Look at the rows at ``theta``."""
    rows = kernel.rows(theta, chunk)
    residual = rows.prediction - rows.target
    step = ON_CURVE * float(np.abs(residual).mean())
    below, above = (
        float(evaluate(model.loss_grad, {PREDICTION: side, TARGET: 0.0})) for side in (-step, step)
    )
    weight = np.ones(chunk.rows) if chunk.weights is None else chunk.weights
    return Kink(rows, weight, residual, below, above)


def is_continuous(kink: Kink) -> bool:
    """Whether residuals are spread like a continuum, of which hardly any are alike near zero."""
    size = np.abs(kink.residual)
    share = float((size - size.min() <= ON_CURVE * size.mean()).mean())
    return kink.above > kink.below and share <= MOST_ON_CURVE


def least_gradient(kink: Kink, free: np.ndarray) -> np.ndarray | None:
    """Return the smallest gradient that the loss has here in the free parameters, float64[q].

    Rows on the curve may take any slope between those of both sides; at the minimum some choice of
    these makes the gradient zero (Koenker & Bassett 1978, Econometrica 46(1), theorem 3.3). None
    where the loss has no kink at zero.
    """
    size = np.abs(kink.residual)
    on = size <= ON_CURVE * float(size.mean())
    jacobian = kink.rows.jacobian[free]
    scales = np.linalg.norm(jacobian, axis=1)
    # A parameter that acts in steps has no slope.
    scales[scales == 0] = 1.0
    if not (np.isfinite(scales).all() and kink.above > kink.below):
        return None
    jacobian, slopes = jacobian / scales[:, None], kink.weight * kink.rows.grad
    middle, half = (kink.above + kink.below) / 2, (kink.above - kink.below) / 2
    columns = jacobian[:, on] * (kink.weight[on] * half)
    fixed = jacobian[:, ~on] @ slopes[~on] + columns.sum(axis=1) * (middle / half)
    shares = np.linalg.lstsq(columns, -fixed, rcond=1e-10)[0]
    return np.asarray((fixed + columns @ np.clip(shares, -1, 1)) * scales)


def smoothed_curvature(kink: Kink) -> np.ndarray | None:
    """Return the curvature of the expected loss, float64[p, p], from the residuals near zero.

    Powell's estimate (Koenker 2005, Quantile Regression, section 3.4.2) with the bandwidth of Hall
    and Sheather (1988, J. R. Stat. Soc. B 50(3), 381-391). None where no scatter is left.
    """
    width = bandwidth(kink, len(kink.residual)) if kink.above > kink.below else 0.0
    if not width > 0:
        return None
    near = np.abs(kink.residual) <= width
    jacobian = kink.rows.jacobian[:, near]
    jump = (kink.above - kink.below) / (2 * width)
    return np.asarray((jacobian * (kink.weight[near] * jump)) @ jacobian.T)


def bandwidth(kink: Kink, count: int) -> float:
    """Return half the width of the window that counts the residuals of so many rows near zero."""
    from scipy.special import ndtri

    residual = kink.residual
    share = min(max(-kink.below / (kink.above - kink.below), 0.01), 0.99)
    at, tail = float(ndtri(share)), float(ndtri((1 + LEVEL) / 2))
    density = math.exp(-at * at / 2) / math.sqrt(2 * math.pi)
    reach = count ** (-1 / 3) * tail ** (2 / 3) * (1.5 * density**2 / (2 * at**2 + 1)) ** (1 / 3)
    reach = min(reach, 0.9 * share, 0.9 * (1 - share))
    quarters = np.quantile(residual, [0.25, 0.75])
    spread = min(float(residual.std()), float(quarters[1] - quarters[0]) / 1.34)
    return spread * float(ndtri(share + reach) - ndtri(share - reach)) / 2


def takes_sums(problem: Problem) -> bool:
    """Whether there are too many rows to look at each of them in every step."""
    many = problem.rows > SUBSAMPLE_ALL
    return problem.kinked and many and sides_of(problem.model) is not None


def load_all_rows(problem: Problem) -> Problem:
    """Return the problem with all rows in memory, if all are in the subsample."""
    data = problem.data
    if data.whole is not None or data.rows > SUBSAMPLE_ALL:
        return problem
    some = data.subsample
    inside = TrainingData(problem.model, some, some, data.threads, data.checkpoint)
    return problem._replace(data=inside)


def smoothed(loss: Loss, below: float, above: float, width: float) -> Loss:
    """Return a loss with a kink as it looks with √(r² + h²) in the place of |r|."""
    middle, half = (above + below) / 2, (above - below) / 2
    residual = f"({PREDICTION} - {TARGET})"
    text = f"{middle!r}*{residual} + {half!r}*sqrt({residual}**2 + {width * width!r})"
    return replace(as_loss(text), name=loss.name)


def find_from_sums(problem: Problem) -> tuple[Problem, Outcome] | None:
    """Walk to the minimum of all rows; None where residuals are no continuum, so that none leads.

    From the minimum of a sample, whose residuals tell how much to smooth.
    """
    data = problem.data
    was_scattered = bool(data.scattered_rows)
    some = data.sample(FEW, problem.seed)
    near = problem.on_rows(some)._replace(tolerance=NEAR, looks=MOST_LOOKS)
    found, before = minimize_steps(near)
    ended = before.ending == "steps" and before.step >= problem.steps
    found = problem._replace(model=found.model, warnings=found.warnings)
    if before.quadratic is None or before.is_called_off or ended:
        return found, before
    kink = kink_at(problem.model, problem.kernel, some, before.theta)
    width = bandwidth(kink, problem.rows) if is_continuous(kink) else 0.0
    if not (width > 0 and math.isfinite(width)):
        return None
    # Rounded to a power of the root of 2, so that a compiled kernel serves many fits.
    width = 2.0 ** (round(2 * math.log2(width)) / 2)
    below, above = sides_of(problem.model) or (math.nan, math.nan)
    loss = smoothed(problem.model.loss, below, above, NARROWER * width)
    smooth = problem.with_loss(loss)._replace(kinked=False, tolerance=ENOUGH)
    # Errors and distance are of the loss itself, whose bend a window about zero counts.
    loss = with_window(problem.model.loss, width, (above - below) / (2 * width))
    found = found._replace(kernel=problem.with_loss(loss).kernel)
    looks = problem.looks if was_scattered else min(FIRST_LOOKS, problem.looks)
    outcome = walk(smooth._replace(looks=looks), before.theta)
    if not outcome.is_called_off and data.scattered_rows and not was_scattered:
        of_all = [step.distance for step in outcome.path if step.rows == problem.rows]
        if not of_all or of_all[0] > MISLED * math.sqrt(problem.rows / some.rows):
            return find_from_sums(problem)
    if outcome.ending == "steps" and looks < problem.looks:
        outcome = merge_runs(outcome, walk(smooth, outcome.theta, [problem.rows]))
    breaks = breaks_of(problem.model)
    if breaks and not outcome.is_called_off:
        outcome, _ = alternate(smooth, breaks, outcome.theta, outcome)
    return found, merge_runs(before, outcome)
