"""A bounded sample of the rows that are known by their quadratic alone, to see whether it holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.inference.quadratic import from_sums
from sgdfit.kernels.kernel import Kernel
from sgdfit.streams.expansion import Expansion, expanded_rows, is_sound
from sgdfit.streams.forgetting import Forgetting
from sgdfit.streams.local import Local

__all__ = ["Reservoir", "corrected", "sampled"]

SIZE = 4_096
# A quadratic is renewed where it is off by this share of a standard error, and by more than so
# many times what the sample leaves open.
OFF, SURELY = 0.01, 3.0


class Reservoir(NamedTuple):
    """Rows drawn with probabilities in proportion to what forgetting has left of them.

    Attributes
    ----------
    columns : float64[k, n]
    weights : float64[n]
        The rows' own.
    keys : float64[n]
        The smallest of all rows.
    rows : Expansion
        Each as it was last looked at.
    """

    columns: np.ndarray
    weights: np.ndarray
    keys: np.ndarray
    rows: Expansion

    def chosen(self, some: np.ndarray) -> Reservoir:
        """Return some of the rows."""
        rows = Expansion(*(part[..., some] for part in self.rows))
        return Reservoir(self.columns[:, some], self.weights[some], self.keys[some], rows)


def sampled(
    held: Reservoir | None,
    columns: np.ndarray,
    weights: np.ndarray,
    rows: Expansion,
    before: int,
    forgetting: Forgetting,
    seed: int,
) -> Reservoir:
    """Return the sample once further rows have come.

    Efraimidis & Spirakis 2006, Information Processing Letters 97(5), 181-185: the rows with the
    largest u^(1/weight) are kept; here in logarithms, since weights grow without bound as old ones
    fade beside them.

    Parameters
    ----------
    before : int
        How many rows came before these.
    """
    n = len(weights)
    draws = np.random.default_rng((seed, before)).random(n)
    keys = np.log(-np.log1p(-draws)) + np.arange(before, before + n) * forgetting.log
    fresh = Reservoir(columns, weights, keys, rows)
    fresh = fresh.chosen(np.sort(np.argpartition(keys, min(SIZE, n) - 1)[:SIZE]))
    if held is None:
        return fresh
    both = Reservoir(
        np.concatenate([held.columns, fresh.columns], axis=1),
        np.concatenate([held.weights, fresh.weights]),
        np.concatenate([held.keys, fresh.keys]),
        Expansion(*(np.concatenate(p, axis=-1) for p in zip(held.rows, fresh.rows, strict=True))),
    )
    size = min(SIZE, len(both.keys))
    return both.chosen(np.sort(np.argpartition(both.keys, size - 1)[:size]))


def corrected(
    kernel: Kernel,
    held: Reservoir,
    past: Local,
    theta: np.ndarray,
    reach: np.ndarray,
    mass: float,
    noise: float,
) -> tuple[Reservoir, Local] | None:
    """Return the past's loss as it is near ``theta``, judged by the sample; None where it holds.

    The sample tells the difference between the quadratic and the loss alone, so that what it
    leaves open is a share of that difference (a control variate).

    Parameters
    ----------
    past : Local
        Seen from ``theta``.
    reach : float64[p]
        Of differences.
    mass : float
        How many rows the past stands for.
    noise : float
        The variance of the gradient for a unit of curvature.
    """
    rows = expanded_rows(kernel, theta, held.columns, reach)
    if not np.isfinite(rows.level).all():
        return None
    weight = held.weights * (mass / len(held.keys))
    apart = (rows.slopes(theta) - held.rows.slopes(theta)) * weight
    error, q = apart.sum(axis=1), past.quadratic
    steps, *_ = np.linalg.lstsq(q.root.T, np.column_stack([error, apart]), rcond=None)
    size, doubt = float(np.sum(steps[:, 0] ** 2)), float(np.sum(steps[:, 1:] ** 2))
    if size < len(theta) * noise * OFF**2 or size < SURELY**2 * doubt:
        return None
    curvature = q.root.T @ q.root + (rows.hessian - held.rows.hessian) @ weight
    renewed = from_sums(q.gradient + error, curvature, q.loss, q.spread)
    if not is_sound(renewed):
        # Far from their own minimum rows may bend down; then they steer as Gauss and Newton do.
        rows = expanded_rows(kernel, theta, held.columns, None)
        renewed = from_sums(q.gradient + error, rows.hessian @ weight, q.loss, q.spread)
    higher = float(weight @ (rows.values(theta) - held.rows.values(theta)))
    renewed = renewed._replace(loss=q.loss + higher, least=renewed.least + higher)
    return held._replace(rows=rows), past._replace(quadratic=renewed)
