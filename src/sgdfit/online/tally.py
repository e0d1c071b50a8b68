"""Sums over all rows so far, none of which depends on the estimates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.online.forgetting import Forgetting

__all__ = ["Tally"]


class Tally(NamedTuple):
    """What has arrived; d stands for what forgetting has left of a row's weight.

    Attributes
    ----------
    rows, dropped : int
        Rows that could be used, and rows left out.
    used : int
        Rows whose own weight is not 0.
    mass, weight : float
        Σ d and Σ d·w over them.
    logs : float
        Σ ln w; without forgetting alone.
    mean, variation : float
        Of the response: the weighted mean ȳ, and Σ d·w (y − ȳ)².
    watched, squares : float
        Σ d·w and Σ d·w·(w·loss)² of rows that were as far from the curve as noise explains, before
        it knew them.
    """

    rows: int = 0
    dropped: int = 0
    used: int = 0
    mass: float = 0.0
    weight: float = 0.0
    logs: float = 0.0
    mean: float = 0.0
    variation: float = 0.0
    watched: float = 0.0
    squares: float = 0.0

    def with_rows(self, weights: np.ndarray, target: np.ndarray, forgetting: Forgetting) -> Tally:
        """Return the sums with further rows, the newest last.

        Chan, Golub & LeVeque 1983, The American Statistician 37(3), 242-247: means and variations
        of two samples give those of both without cancellation.
        """
        if not len(weights):
            return self
        left = forgetting.after(len(weights))
        decay = forgetting.weights(len(weights))
        aged = weights * decay
        here = float(aged.sum())
        mean = float(aged @ target) / here
        variation = float(aged @ (target - mean) ** 2)
        before = self.weight * left
        share = here / (before + here)
        apart = mean - self.mean
        return self._replace(
            used=self.used + len(weights),
            mass=self.mass * left + float(decay.sum()),
            weight=before + here,
            logs=self.logs + float(np.log(weights).sum()),
            mean=self.mean + share * apart if before else mean,
            variation=self.variation * left + variation + (before * share * apart**2),
            watched=self.watched * left,
            squares=self.squares * left,
        )

    def with_losses(self, weight: float, squares: float) -> Tally:
        """Return the sums with what further rows were away from the curve."""
        return self._replace(watched=self.watched + weight, squares=self.squares + squares)
