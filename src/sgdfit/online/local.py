"""What rows tell of the loss near a point: a quadratic, and what noise makes of its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.gauss_newton import steering
from sgdfit.inference.quadratic import Quadratic, from_rows, from_sums, joined
from sgdfit.kernel.kernel import Chunk, Kernel, Rows

__all__ = ["Local", "both", "expanded", "looked_at", "of_rows"]

# Rows whose Jacobian is decomposed at once.
BLOCK = 8_192
# A column whose part that no other column has is larger than this share of it has a margin.
REGULAR = 1e-8


class Local(NamedTuple):
    """The loss of some rows near a point.

    Attributes
    ----------
    quadratic : Quadratic
    middle : float64[p, p]
        The covariance of the gradient; for least squares, in units of twice the variance of a row
        of weight 1.
    squares : float
        Σ d·w (y − prediction)².
    """

    quadratic: Quadratic
    middle: np.ndarray
    squares: float

    def aged(self, left: float) -> Local:
        """Return what remains once forgetting has left a share of every weight."""
        if left == 1:
            return self
        q, root = self.quadratic, np.sqrt(left)
        faded = q._replace(
            loss=q.loss * left,
            root=q.root * root,
            offset=q.offset * root,
            spread=q.spread * left,
            least=q.least * left,
            blur=q.blur * left,
        )
        return Local(faded, self.middle * left**2, self.squares * left)

    def moved(self, step: np.ndarray) -> Local:
        """Return the same, seen from where a step leads."""
        return self._replace(quadratic=self.quadratic.after(step))


def both(*parts: Local) -> Local:
    """Return what all rows tell, from what some each tell of one point."""
    if len(parts) == 1:
        return parts[0]
    middle = np.sum([part.middle for part in parts], axis=0)
    squares = sum(part.squares for part in parts)
    return Local(_regular(joined(part.quadratic for part in parts)), middle, squares)


def _regular(quadratic: Quadratic) -> Quadratic:
    """Say whether a triangle has full rank by a margin, so that it can be solved as it is."""
    triangle = quadratic.root
    sizes = np.sqrt((triangle * triangle).sum(axis=0))
    regular = bool((np.abs(triangle.diagonal()) > REGULAR * sizes).all())
    return quadratic._replace(regular=regular and np.isfinite(sizes).all())


def looked_at(
    kernel: Kernel,
    theta: np.ndarray,
    columns: tuple[np.ndarray, ...],
    weights: np.ndarray,
    decay: np.ndarray,
    robust: bool,
) -> Local | None:
    """Return what rows tell; None where the loss is not finite.

    Parameters
    ----------
    weights, decay : float64[n]
        The rows' own, and what forgetting has left of them.
    robust : bool
        Whether the gradient's covariance is that of the rows' own gradients, rather than that of
        rows whose weights are inverse variances.
    """
    parts = []
    for some in _blocks(len(weights)):
        chunk = Chunk(tuple(column[some] for column in columns), None)
        rows = kernel.rows(theta, chunk)
        part = of_rows(rows, weights[some], decay[some], robust)
        if part is None:
            return None
        parts.append(part)
    return both(*parts)


def of_rows(rows: Rows, weights: np.ndarray, decay: np.ndarray, robust: bool) -> Local | None:
    """Return what rows that were evaluated tell; None where the loss is not finite."""
    weight, residual = weights * decay, rows.prediction - rows.target
    loss = float(weight @ rows.loss)
    if not (np.isfinite(loss) and np.isfinite(rows.jacobian.sum())):
        return None
    size = float(np.abs(rows.prediction).max() + np.abs(rows.target).max())
    quadratic = from_rows(rows.jacobian, rows.slope, steering(rows), weight, loss, size=size)
    if not (np.isfinite(quadratic.least) and np.isfinite(quadratic.root).all()):
        return None
    inner = (weight * rows.slope) ** 2 if robust else 2 * weight * decay
    return Local(quadratic, (rows.jacobian * inner) @ rows.jacobian.T, float(weight @ residual**2))


def expanded(
    kernel: Kernel,
    theta: np.ndarray,
    columns: tuple[np.ndarray, ...],
    weight: np.ndarray,
    local: Local,
) -> Local:
    """Return the same rows with the curvature that their loss has, rather than one that steers.

    A robust loss bends less than the quadratic that lies above it, which takes steps well and
    would overstate what rows far from the curve say once they are forgotten.
    """
    sums = kernel.sums(theta, Chunk(columns, weight))
    spread = local.quadratic.spread
    return local._replace(quadratic=from_sums(sums.gradient, sums.curvature, sums.loss, spread))


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(first, first + BLOCK) for first in range(0, rows, BLOCK))
