"""Bootstrap intervals: between which quantiles the estimates of refits to resampled rows lie.

Rows are drawn with replacement as pairs of variables and response, which asks nothing of their
scatter; or residuals are, each over √(1 − h) of its leverage h and about their mean (Efron &
Tibshirani 1993, An Introduction to the Bootstrap, section 9.5, p. 113; Davison & Hinkley 1997,
Bootstrap Methods and their Application, section 6.2.3). Which quantiles the BCa interval takes
(Efron & Tibshirani, section 14.3, pp. 184-188) follows from the share of refits below the estimate,
and from how skewed the influence of the rows on it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sgdfit.fitting.gauss_newton import nonnegative_hess
from sgdfit.fitting.problem import Problem
from sgdfit.fitting.saddle import ARRIVED
from sgdfit.fitting.steps import lowest
from sgdfit.inference.spectrum import column_norms
from sgdfit.kernel.forms import choose_form
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.separation import break_names
from sgdfit.model.symmetry import equivalents, has_equivalents

Array = np.ndarray[Any, Any]
# Resampled rows that are held at a time.
BLOCK_ROWS = 1 << 20
# Measured: a refit to 20 rows takes 0.5 ms in NumPy, 15 µs in compiled code, and to compile that
# 10 s. So a refit counts as so many of the steps by which a form is chosen.
STEPS = 4
# Of walks in compiled code: where rounding ends them, in standard errors, and their least pivot.
CLOSE, LEAST_PIVOT = 1e-9, 1e-7
# A row of more leverage than 1 less this tells of itself alone.
LEAST_LEFT = 1e-6


def bootstrap_intervals(
    problem: Problem, theta: Array, errors: Array
) -> tuple[dict[str, tuple[float, float] | None] | None, tuple[str, ...]]:
    """Return the BCa interval of every free parameter, and what is to be told of them.

    The estimates and their standard errors, NaN where not known, are float64[p] each; such have no
    interval. Where none can be had, they are None.
    """
    external, asked = problem.model.external, problem.options.bootstrap
    assert asked is not None  # whoever asks for these intervals has it
    if external is not None and external.across and asked.kind == "pairs":
        why = f"{external.label} gives other rows another curve: draw residuals"
        return None, (f"intervals are Wald's, since {why}",)
    rows = problem.kernel.rows(theta, problem.chunk)
    weight = 1.0 if problem.chunk.weights is None else problem.chunk.weights
    # Of rows whose curvature is that of the loss, in scaled columns.
    size = np.sqrt(weight * np.maximum(nonnegative_hess(rows), 0.0))
    root = rows.jacobian * size
    scale = np.maximum(column_norms(root.T), np.finfo(float).tiny)[:, None]
    inverse = np.linalg.pinv(root / scale).T
    left = np.maximum(1 - np.sum(inverse * root / scale, axis=0), LEAST_LEFT)
    # How far the parameters move when a row that was left out comes in, in linear approximation
    # (Miller 1974, Annals of Statistics 2(5), 880-891).
    slope = np.divide(weight * rows.grad, size, where=size > 0, out=np.zeros(len(size)))
    influence = -inverse * slope / left / scale
    residual = (rows.target - rows.prediction) * np.sqrt(weight / left)
    count, told = asked.resamples, ""
    try:
        residual -= residual.mean()
        drawn = np.concatenate([*_refits(problem, theta, rows.prediction, residual)])
    except KeyboardInterrupt:
        return None, ("interrupted before all refits of the bootstrap: intervals are Wald's",)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if has_equivalents(problem.model, problem.names):
        unit = np.where(errors > 0, errors, 1.0)
        orbits = (equivalents(problem.model, point) for point in drawn)
        drawn = np.array([min(o, key=lambda e: np.linalg.norm((e - theta) / unit)) for o in orbits])
    if failed := count - len(drawn):
        told = f"{failed:,} of {count:,} refits of the bootstrap found no minimum; intervals are "
        told += "Wald's" if 2 * failed >= count else "of the others"
    if 2 * failed >= count:
        return None, (told,)
    known = zip(problem.names, drawn.T, theta, influence, errors, strict=True)
    level = problem.options.level
    found = {n: bca(d, e, i, level) if s > 0 else None for n, d, e, i, s in known}
    return found, (told,) if told else ()


def bca(
    draws: Array, estimate: float, influence: Array, level: float
) -> tuple[float, float] | None:
    """Return the interval between quantiles of ``draws``; None where all lie on one side.

    ``influence`` is that of each row on the estimate, in any unit.

    Examples
    --------
    >>> np.round(bca(np.arange(101.0), 50.0, np.array([-1.0, 1.0]), 0.9), 9).tolist()
    [5.0, 95.0]
    """
    from scipy.special import ndtr, ndtri

    below = ndtri((np.mean(draws < estimate) + np.mean(draws <= estimate)) / 2)
    apart = influence - influence.mean()
    square = float(apart @ apart)
    acceleration = float(np.sum(apart**3)) / (6 * square**1.5) if square > 0 else 0.0
    tails = below + ndtri([(1 - level) / 2, (1 + level) / 2])
    if not np.isfinite(tails).all():
        return None
    low, high = np.quantile(draws, ndtr(below + tails / (1 - acceleration * tails))).tolist()
    return low, high


def _refits(problem: Problem, theta: Array, curve: Array, residual: Array) -> Iterator[Array]:
    """Yield the estimates of some refits after others, float64[k, p]; NaN where one failed.

    They are of pairs, or of the ``curve`` with a ``residual`` of each row, in units of its weight.
    """
    from sgdfit.kernel.grouped import make_grouped

    asked, model, quiet = problem.options.bootstrap, problem.model, problem._replace(callback=None)
    assert asked is not None  # whoever asks for these intervals has it
    random, rows = np.random.default_rng(problem.seed), problem.rows
    plain = problem.squared and model.external is None
    plain = plain and not break_names(model.prediction, model.free)
    compiled, steps = None, asked.resamples * STEPS
    if plain and choose_form(problem.options.kernel, steps, rows, "float64") == "compiled":
        compiled = make_grouped(model, weighted=problem.data.weighted)
    stride = max(1, BLOCK_ROWS // rows)
    for first in range(0, asked.resamples, stride):
        count = min(stride, asked.resamples - first)
        drawn, begin = random.integers(0, rows, (count, rows)), rows * np.arange(count)
        if asked.kind == "pairs":
            chunk = problem.chunk.taken(drawn.ravel())
        else:
            chunk = _with_response(problem, curve, residual[drawn])
        found, good = np.full((count, len(theta)), np.nan), np.zeros(count, dtype=bool)
        if compiled is not None:
            at, threads = theta[None, None], problem.data.threads
            each = compiled(chunk.arrays, begin, begin + rows, at, threads=threads, plain=True)
            good = (each.distance <= CLOSE) & (each.pivot >= LEAST_PIVOT)
            found[good] = each.theta[good]
        for k in np.flatnonzero(~good).tolist():
            some = quiet.on_rows(chunk.part(begin[k], begin[k] + rows))
            outcome = lowest(some, theta)
            if outcome.ending == "interrupted":
                raise KeyboardInterrupt
            near, there = outcome.quadratic, outcome.theta
            # At a kink rounding ends a walk, and through as many points as parameters there is no
            # scatter: of neither can a distance be told.
            ends = problem.kinked or outcome.distance <= ARRIVED or some.is_exact(there, near)
            if near is not None and ends:
                free = problem.box.free(there, near.gradient)
                found[k] = there if near.spectrum_of(free).positive.all() else np.nan
        yield found


def _with_response(problem: Problem, curve: Array, residuals: Array) -> Chunk:
    """Return all rows once for each row of ``residuals``, float64[k, n], which the response has."""
    chunk, model = problem.chunk, problem.model
    weight = 1.0 if chunk.weights is None else chunk.weights
    whole = chunk.taken(np.tile(np.arange(chunk.rows), len(residuals)))
    columns = list(whole.columns)
    columns[model.columns.index(model.formula.response_names[0])] = (
        curve + residuals / np.sqrt(weight)
    ).ravel()
    return whole._replace(columns=tuple(columns))
