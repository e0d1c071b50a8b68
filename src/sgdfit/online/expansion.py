"""Each row's loss to second order: its value, its gradient and its Hessian."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.inference.quadratic import Quadratic, from_sums
from sgdfit.kernel.kernel import Chunk, Kernel, Rows
from sgdfit.online.local import Local

__all__ = ["Expansion", "Totals", "expanded_rows", "folded", "is_sound"]

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

    def totals(self, decay: np.ndarray, weights: np.ndarray) -> Totals:
        """Return the sums over the rows, each of its weight and of what forgetting has left."""
        weight = decay * weights
        mass = float(decay.sum())
        level = float(self.level @ weight)
        return Totals(mass, level, self.gradient @ weight, self.hessian @ weight)


class Totals(NamedTuple):
    """Sums of rows' expansions, d being what forgetting has left of a row's weight.

    Attributes
    ----------
    mass, level : float
        Σ d and Σ d·w·e.
    gradient : float64[p]
        Σ d·w·G
    hessian : float64[p, p]
        Σ d·w·H
    """

    mass: float
    level: float
    gradient: np.ndarray
    hessian: np.ndarray

    def slope(self, theta: np.ndarray) -> np.ndarray:
        """Return the gradient at a point, float64[p]."""
        return np.asarray(self.gradient + self.hessian @ theta)

    def value(self, theta: np.ndarray) -> float:
        """Return the value at a point."""
        return float(self.level + theta @ (self.gradient + self.slope(theta)) / 2)

    def aged(self, left: float) -> Totals:
        """Return the sums once forgetting has left a share of every weight."""
        return Totals(
            self.mass * left, self.level * left, self.gradient * left, self.hessian * left
        )

    def with_others(self, others: Totals) -> Totals:
        """Return the sums over further rows as well."""
        return Totals(
            self.mass + others.mass,
            self.level + others.level,
            self.gradient + others.gradient,
            self.hessian + others.hessian,
        )


def expanded_rows(
    kernel: Kernel, theta: np.ndarray, columns: np.ndarray, reach: np.ndarray | None
) -> Expansion:
    """Expand rows about a point.

    The Hessian is that of central differences over ``reach``, float64[p]: a part of a standard
    error, over which a loss such as Huber's, whose curvature jumps, is to be described. Where they
    leave the domain, or no reach is given, it is that of Gauss and Newton.
    """
    chunk = Chunk(tuple(columns), None)
    rows = kernel.rows(theta, chunk)
    gradient = rows.jacobian * rows.slope
    if reach is None:
        hessian = _gauss_newton(rows, slice(None))
    else:
        hessian = _differences(kernel, theta, chunk, reach)
        lost = ~np.isfinite(hessian).all(axis=(0, 1))
        if lost.any():
            hessian[:, :, lost] = _gauss_newton(rows, lost)
    bent = np.einsum("ijn,j->in", hessian, theta)
    level = rows.loss - theta @ gradient + theta @ bent / 2
    return Expansion(level, gradient - bent, hessian)


def _differences(kernel: Kernel, theta: np.ndarray, chunk: Chunk, reach: np.ndarray) -> np.ndarray:
    hessian = np.empty((len(theta), len(theta), chunk.rows))
    with np.errstate(all="ignore"):
        for j, step in enumerate(np.diag(reach)):
            ahead, behind = (kernel.rows(theta + sign * step, chunk) for sign in (1, -1))
            apart = ahead.jacobian * ahead.slope - behind.jacobian * behind.slope
            hessian[j] = apart / (2 * reach[j])
        return np.asarray((hessian + hessian.transpose(1, 0, 2)) / 2)


def _gauss_newton(rows: Rows, some: slice | np.ndarray) -> np.ndarray:
    jacobian = rows.jacobian[:, some]
    return np.asarray(jacobian[:, None] * jacobian * np.maximum(rows.bend[some], 0.0))


def is_sound(quadratic: Quadratic) -> bool:
    """Whether a curvature is that of a minimum, by a margin above the rounding of differences."""
    values = quadratic.spectrum.values
    return bool(values[0] * WELL_CONDITIONED > values[-1])


def folded(
    kernel: Kernel,
    local: Local,
    theta: np.ndarray,
    columns: np.ndarray,
    weight: np.ndarray,
    reach: np.ndarray,
) -> tuple[Local, Expansion]:
    """Return rows, seen from ``theta``, with the Hessian of their loss where that is a minimum's.

    Gauss and Newton leave out what residuals bend, which noise makes small beside the rest, and
    which tells where estimates go once these rows are not looked at any more.
    """
    rows, q = expanded_rows(kernel, theta, columns, reach), local.quadratic
    found = from_sums(rows.slopes(theta) @ weight, rows.hessian @ weight, q.loss, q.spread)
    if is_sound(found):
        return local._replace(quadratic=found), rows
    return local, expanded_rows(kernel, theta, columns, None)
