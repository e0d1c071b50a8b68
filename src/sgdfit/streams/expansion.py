"""Each row's loss to second order: its value, its gradient and its Hessian."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.inference.quadratic import from_sums
from sgdfit.kernels.kernel import Chunk, Kernel
from sgdfit.streams.local import Local

__all__ = ["Expansion", "expanded_rows", "folded"]

# A Hessian whose condition is worse than this has lost too many digits to differences.
WELL_CONDITIONED = 1e8


class Expansion(NamedTuple):
    """½ θᵀHθ + Gᵀθ + e of each row; θ is not counted from where the row was looked at.

    Attributes
    ----------
    level : float64[n]
        e
    gradient : float64[p, n]
        G
    hessian : float64[p, p, n]
        H
    """

    level: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray

    def slopes(self, theta: np.ndarray) -> np.ndarray:
        """Return the gradients at a point, float64[p, n]."""
        return np.asarray(self.gradient + np.einsum("ijn,j->in", self.hessian, theta))

    def values(self, theta: np.ndarray) -> np.ndarray:
        """Return the values at a point, float64[n]."""
        return np.asarray(self.level + theta @ (self.gradient + self.slopes(theta)) / 2)


def expanded_rows(
    kernel: Kernel, theta: np.ndarray, columns: np.ndarray, reach: np.ndarray
) -> Expansion:
    """Expand rows about a point.

    The Hessian is that of central differences over ``reach``, float64[p]: a part of a standard
    error, over which a loss such as Huber's, whose curvature jumps, is to be described. Where they
    leave the domain, it is that of Gauss and Newton.
    """
    chunk = Chunk(tuple(columns), None)
    rows = kernel.rows(theta, chunk)
    gradient = rows.jacobian * rows.slope
    hessian = np.empty((len(theta), *gradient.shape))
    with np.errstate(all="ignore"):
        for j, step in enumerate(np.diag(reach)):
            ahead, behind = (kernel.rows(theta + sign * step, chunk) for sign in (1, -1))
            apart = ahead.jacobian * ahead.slope - behind.jacobian * behind.slope
            hessian[j] = apart / (2 * reach[j])
    hessian = (hessian + hessian.transpose(1, 0, 2)) / 2
    lost = ~np.isfinite(hessian).all(axis=(0, 1))
    if lost.any():
        some = rows.jacobian[:, lost]
        hessian[:, :, lost] = some[:, None] * some * np.maximum(rows.bend[lost], 0.0)
    bent = np.einsum("ijn,j->in", hessian, theta)
    level = rows.loss - theta @ gradient + theta @ bent / 2
    return Expansion(level, gradient - bent, hessian)


def folded(local: Local, rows: Expansion, theta: np.ndarray, weight: np.ndarray) -> Local:
    """Return rows, seen from ``theta``, with the Hessian of their loss where that is a minimum's.

    Gauss and Newton leave out what residuals bend, which noise makes small beside the rest, and
    which tells where estimates go once these rows are not looked at any more.
    """
    curvature = np.einsum("ijn,n->ij", rows.hessian, weight)
    q = local.quadratic
    found = from_sums(rows.slopes(theta) @ weight, curvature, q.loss, q.spread)
    values = found.spectrum.values
    if not values[0] * WELL_CONDITIONED > values[-1]:
        return local
    return local._replace(quadratic=found)
