"""The loss around a point, from few rows through their Jacobian, from many through their sums."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.growth import FEW
from sgdfit.fitting.population import Population
from sgdfit.fitting.trust_region import Point
from sgdfit.inference.directions import EPS
from sgdfit.inference.quadratic import Quadratic, from_rows, from_sums, joined, projected
from sgdfit.inference.steps import solved
from sgdfit.kernel.kernel import Chunk, Kernel, Rows, Sums

__all__ = ["Surface", "bending", "steering"]

# Residuals this small beside the mean one count as if they were this large.
FLOOR = 1e-6
# Linear parameters are nearly solved when they leave no more than this share of the loss.
SOLVED = 0.001
# A solution smaller than this share of the step that led to it has lost too many digits.
KEPT = 1e-6


class Surface(NamedTuple):
    """A loss over a batch of rows.

    Attributes
    ----------
    kernel : Kernel
    batch : Chunk or Population
        Far out its values may overflow: evaluate where NumPy does not warn of that.
    linear : int[k]
        Free parameters that are solved exactly at every point; none where that is not asked for.
    spread : float or None
        `Quadratic.spread` of a row, where the sums alone do not tell: other losses than squared
        residuals. None: they tell.
    by_rows : bool
        Whether the rows' Jacobian is decomposed.
    bending : float64[p, p], optional
        What the curvature of a row's loss has beyond that of Gauss and Newton, on average.
    """

    kernel: Kernel
    batch: Chunk | Population
    linear: np.ndarray
    spread: float | None
    by_rows: bool
    bending: np.ndarray | None = None

    def evaluate(self, theta: np.ndarray) -> Point | None:
        """Return the loss around ``theta``; None where it is not finite.

        Linear parameters are moved to where they fit best, unless they nearly are there: what they
        leave is known exactly, and their next step takes it away.
        """
        quadratic, linear = self.quadratic(theta), self.linear
        if quadratic is None:
            return None
        if not len(linear):
            return Point(theta, quadratic, self._bent(quadratic), linear)
        reduced = projected(quadratic, linear)
        if quadratic.loss - reduced.loss <= SOLVED * reduced.loss:
            return Point(theta, quadratic, reduced, linear)
        moved = self._solved(theta, quadratic)
        quadratic = None if moved is None else self.quadratic(moved)
        if moved is None or quadratic is None:
            return None
        return Point(moved, quadratic, projected(quadratic, linear), linear)

    def around(self, point: Point) -> Point:
        """Return a point that has been looked at, as it looks with what is known by now."""
        return point._replace(reduced=self._bent(point.quadratic))

    def _solved(self, theta: np.ndarray, quadratic: Quadratic) -> np.ndarray | None:
        """Return the point with its linear parameters where they fit best."""
        linear, moved = self.linear, theta.copy()
        step = solved(quadratic, linear)
        moved[linear] = reached = theta[linear] + step
        pairs = zip(reached.tolist(), step.tolist(), strict=True)
        if all(abs(there) >= KEPT * abs(gone) for there, gone in pairs):
            return moved
        # From so far away the difference holds no digits of what is wanted; from 0 it is that.
        moved[linear] = 0.0
        bare = self.quadratic(moved)
        if bare is None:
            return None
        moved[linear] = solved(bare, linear)
        return moved

    def quadratic(self, theta: np.ndarray) -> Quadratic | None:
        """Return the quadratic at ``theta``; None where it is not finite."""
        return self._by_rows(theta) if self.by_rows else self._by_sums(theta)

    def _by_rows(self, theta: np.ndarray) -> Quadratic | None:
        few = self.batch.rows <= FEW
        linear = self.linear if few else None
        if few and isinstance(self.batch, Chunk):
            found = _of_rows(self.kernel, theta, self.batch, linear)
            return found if _is_finite(found) else None
        parts = [_of_rows(self.kernel, theta, block, linear) for block in _blocks(self.batch)]
        return joined(parts) if all(map(_is_finite, parts)) else None

    def _by_sums(self, theta: np.ndarray) -> Quadratic | None:
        sums = self._sums(theta)
        finite = np.isfinite(sums.loss + sums.gradient.sum())
        if not finite or not np.isfinite(sums.curvature).all():
            return None
        spread = 2 * sums.loss if self.spread is None else self.spread * sums.rows
        return from_sums(sums.gradient, sums.curvature, sums.loss, spread)

    def _bent(self, quadratic: Quadratic) -> Quadratic:
        """Return the quadratic with its whole curvature, if that is known and positive."""
        if self.bending is None:
            return quadratic
        curvature = quadratic.root.T @ quadratic.root + self.batch.rows * self.bending
        bent = from_sums(quadratic.gradient, curvature, quadratic.loss, quadratic.spread)
        return bent if bent.spectrum.positive.all() else quadratic

    def _sums(self, theta: np.ndarray) -> Sums:
        if isinstance(self.batch, Population):
            return self.batch.sums(self.kernel, theta)
        return self.kernel.sums(theta, self.batch)


def steering(rows: Rows) -> np.ndarray:
    """Return a curvature of each row's loss that is never negative.

    Far out a robust loss bends down or not at all; there the slope over the residual is taken,
    whose quadratic lies above the loss (iteratively reweighted least squares; Holland & Welsch
    1977, Communications in Statistics A6(9), 813-827).
    """
    bend = rows.bend
    if bend.size and bend.min() > 0:
        return bend
    residual = rows.prediction - rows.target
    floor = FLOOR * float(np.abs(residual).mean())
    away = np.where(np.abs(residual) > floor, residual, np.copysign(floor, residual))
    secant = np.divide(rows.slope, away, out=np.zeros(len(away)), where=away != 0)
    return np.where(bend > 0, bend, np.maximum(secant, 0.0))


def bending(kernel: Kernel, chunk: Chunk, theta: np.ndarray) -> np.ndarray:
    """Return what the curvature of a row's loss has beyond that of Gauss and Newton, on average.

    By central differences of the gradient, float64[p, p].
    """
    here = kernel.sums(theta, chunk)
    norms = np.sqrt(np.diag(here.curvature))
    sizes = np.maximum(np.abs(theta), np.sqrt(abs(here.loss)) / np.where(norms > 0, norms, 1.0))
    found = np.empty_like(here.curvature)
    for i, width in enumerate(np.cbrt(EPS) * sizes):
        aside = np.zeros(len(theta))
        aside[i] = width
        ahead, back = (kernel.sums(theta + s * aside, chunk).gradient for s in (1, -1))
        found[i] = (ahead - back) / (2 * width)
    return np.asarray(((found + found.T) / 2 - here.curvature) / chunk.rows)


def _blocks(batch: Chunk | Population) -> Iterator[Chunk]:
    chunks = batch.chunks() if isinstance(batch, Population) else (batch,)
    for chunk in chunks:
        if chunk.rows <= FEW:
            yield chunk
            continue
        for first in range(0, chunk.rows, FEW):
            yield chunk.part(first, first + FEW)


def _of_rows(
    kernel: Kernel, theta: np.ndarray, chunk: Chunk, linear: np.ndarray | None
) -> Quadratic:
    rows, weight = kernel.rows(theta, chunk), chunk.weights
    loss = float(np.add.reduce(rows.loss if weight is None else weight * rows.loss))
    size = max(_magnitude(rows.prediction), _magnitude(rows.target))
    # One number for all rows is kept as such.
    same = rows.bend.strides == (0,) and rows.bend[0] > 0
    curvature = float(rows.bend[0]) if same else steering(rows)
    return from_rows(rows.jacobian, rows.slope, curvature, weight, loss, linear, size)


def _is_finite(quadratic: Quadratic) -> bool:
    finite = quadratic.regular or bool(np.isfinite(quadratic.root).all())
    return finite and math.isfinite(quadratic.loss + quadratic.least)


def _magnitude(values: np.ndarray) -> float:
    return float(np.maximum.reduce(np.abs(values)))
