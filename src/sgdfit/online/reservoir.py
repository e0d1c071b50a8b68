"""A bounded sample of the rows that are known by their quadratic alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.online.expansion import Expansion, Totals
from sgdfit.online.forgetting import Forgetting

__all__ = ["SIZE", "Reservoir", "Stand", "sampled"]

SIZE = 16_384
# Draws must not be those by which somebody with the same seed made the data.
OWN = 0x5374_7265
# Of the columns that a sample is calibrated by, shares that rounding cannot tell apart.
APART = 1e-10


class Stand(NamedTuple):
    """What each row of a sample stands for.

    Attributes
    ----------
    weights : float64[n]
        Of rows in all of the past; they reproduce its totals.
    shares : float64[n]
        By chance alone, the rows' own weights left aside: what forgetting has left, over the
        probability to be drawn.
    chances : float64[n]
        That probability.
    known : float64[q, n]
        What of each row is known in total, in units of its total size.
    """

    weights: np.ndarray
    shares: np.ndarray
    chances: np.ndarray
    known: np.ndarray

    def doubt(self, values: np.ndarray) -> np.ndarray:
        """Return how far sums of weighted values, [k, n], may be off: their mean square, [k, k].

        What the known columns explain of the values is known in total; the rest is left to chance
        (Särndal, Swensson & Wretman 1992, Model Assisted Survey Sampling, section 6.6).
        """
        shared = self.known * self.shares
        explained = np.linalg.lstsq(shared @ self.known.T, shared @ values.T, rcond=APART)[0]
        rest = (values - explained.T @ self.known) * self.shares
        return np.asarray((rest * (1 - self.chances)) @ rest.T)


class Reservoir(NamedTuple):
    """Rows drawn with probabilities that fall with what forgetting has left of them.

    Attributes
    ----------
    columns : float64[k, n]
    weights : float64[n]
        The rows' own.
    keys : float64[n]
        The smallest of all rows.
    places : int64[n]
        The rows' numbers among all that were used.
    rows : Expansion
        Each as it was folded.
    """

    columns: np.ndarray
    weights: np.ndarray
    keys: np.ndarray
    places: np.ndarray
    rows: Expansion

    def chosen(self, some: np.ndarray) -> Reservoir:
        """Return some of the rows."""
        rows = Expansion(*(part[..., some] for part in self.rows))
        return Reservoir(
            self.columns[:, some], self.weights[some], self.keys[some], self.places[some], rows
        )

    def stand(self, totals: Totals, forgetting: Forgetting, used: int) -> Stand:
        """Return what the rows stand for, once so many have been used in all.

        The weights of chance are changed by as little as makes them give the totals that are known
        (Deville & Särndal 1992, Journal of the American Statistical Association 87, 376-382).
        """
        left = np.exp((used - 1 - self.places) * forgetting.log)
        chances = np.ones(len(left))
        if len(left) == SIZE:
            # Drawn where an exponential variate over `left` is below the largest that was drawn.
            chances = -np.expm1(-np.exp(self.keys.max() - self.places * forgetting.log))
        shares = left / chances
        known, sums = self._known(totals)
        sizes = np.abs(known) @ shares
        units = np.where(sizes > 0, sizes, 1.0)
        known, sums = known / units[:, None], sums / units
        factors = np.linalg.lstsq((known * shares) @ known.T, sums - known @ shares, rcond=APART)[0]
        return Stand(shares * (1 + factors @ known) * self.weights, shares, chances, known)

    def _known(self, totals: Totals) -> tuple[np.ndarray, np.ndarray]:
        """Return what is known of each row, float64[q, n], and of the past in total, float64[q]."""
        pairs = np.triu_indices(len(self.rows.gradient))
        own = np.vstack([self.rows.gradient, self.rows.hessian[pairs]]) * self.weights
        sums = [totals.mass, *totals.gradient, *totals.hessian[pairs]]
        return np.vstack([np.ones(len(self.weights)), own]), np.array(sums)


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
    draws = np.random.default_rng((OWN, seed, before)).random(n)
    places = np.arange(before, before + n)
    keys = np.log(-np.log1p(-draws)) + places * forgetting.log
    fresh = Reservoir(columns, weights, keys, places, rows)
    fresh = fresh.chosen(np.sort(np.argpartition(keys, min(SIZE, n) - 1)[:SIZE]))
    if held is None:
        return fresh
    both = Reservoir(
        np.concatenate([held.columns, fresh.columns], axis=1),
        np.concatenate([held.weights, fresh.weights]),
        np.concatenate([held.keys, fresh.keys]),
        np.concatenate([held.places, fresh.places]),
        Expansion(*(np.concatenate(p, axis=-1) for p in zip(held.rows, fresh.rows, strict=True))),
    )
    size = min(SIZE, len(both.keys))
    return both.chosen(np.sort(np.argpartition(both.keys, size - 1)[:size]))
