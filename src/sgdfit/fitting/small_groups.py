"""Least squares for many small groups of rows in compiled code, where that answers as `fit` does.

A walk leads from a start (`sgdfit.kernel.levenberg`). Where nothing is suspicious by what `fit`
itself goes by (`sgdfit.fitting.multistart.is_suspicious`) that is its minimum. The others are
searched as `fit` does: from points of the nonlinear parameters' ranges, linear ones solved. What
comes out is left to `fit` where no minimum was reached, or the rows do not determine one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.assessment import HIDDEN
from sgdfit.fitting.infinity import VAGUE
from sgdfit.fitting.multistart import (
    BETTER,
    CLEARLY_BETTER,
    DOUBTFUL,
    FAINT,
    ROWS_SEARCHED,
    UNEXPLAINED,
    closest_equivalent,
)
from sgdfit.fitting.multistart import missing as missing_starts
from sgdfit.fitting.problem import ROUNDINGS, UNSEEN
from sgdfit.inference.spectrum import EPS
from sgdfit.kernel.grouped import GroupFits, make_grouped
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import Model
from sgdfit.model.separation import separate
from sgdfit.model.symmetry import canonical_thetas, has_equivalents
from sgdfit.starts.space import draw_points, observations_of, ranges_of

# In standard errors: where rounding ends a walk before its tolerance.
ARRIVED = 1e-9
# A square of a pivot leaves about this share of the digits of estimates: 1e-16/1e-7.
LEAST_PIVOT = 1e-7
# Others' estimates may lead to a worse minimum where more of the variation is left: of 120 noisy
# peaks to 3.
EXPLAINED = 0.1
# A search looks at so many points by the number of nonlinear parameters; from so many it walks,
# each the best of so many neighbours.
POINTS, FOLLOWED, APART = (0, 128, 512, 2_048, 4_096), 8, 16
# Groups that are searched at a time: their points take 128 KB each at the most.
SEARCHED = 64


class GroupedRows(NamedTuple):
    """Rows of g groups."""

    chunk: Chunk  # those of one after those of another
    offsets: np.ndarray  # int64[g + 1]: where the rows of each begin, and those of the last end

    @property
    def sizes(self) -> np.ndarray:
        """How many rows each has, int64[g]."""
        return np.diff(self.offsets)

    @property
    def sums(self) -> np.ndarray:
        """The weights of each added up, float64[g]."""
        weights, sizes = self.chunk.weights, self.sizes
        if weights is None:
            return sizes.astype(float)
        return np.add.reduceat(np.append(weights, 0.0), self.offsets[:-1]) * (sizes > 0)


class Minima(NamedTuple):
    """What is known of g groups."""

    theta: np.ndarray  # float64[g, p]
    stderr: np.ndarray  # float64[g, p]; NaN on a bound
    loss: np.ndarray  # float64[g]: the weighted sum of squared residuals
    freedom: np.ndarray  # float64[g]: the degrees of freedom
    good: np.ndarray  # bool[g]: whether `fit` would leave these as they are
    blur: np.ndarray  # float64[g]: what rounding may leave of the loss


class SmallGroups:
    """Fits groups of rows of one model, whose loss is the squared residual."""

    def __init__(self, model: Model, *, weighted: bool, absolute: bool, threads: int) -> None:
        self.model, self.absolute, self.threads = model, absolute, threads
        self.walk = make_grouped(model, weighted=weighted)
        self.sought, parts = missing_starts(model), separate(model.prediction, model.free)
        amplitudes = {name for part in parts.components for name in part.linear}
        self.amplitudes = np.array([name in amplitudes for name in model.free])
        self.linear = np.array([name in model.linear for name in model.free])
        bounds = [(model.parameters[name].low, model.parameters[name].high) for name in model.free]
        self.nearest_zero = np.clip(0.0, *np.array(bounds).reshape(-1, 2).T)
        self.nonlinear = np.array([name in parts.nonlinear for name in model.free])
        self.drawn = [n for n in parts.nonlinear if n in (self.sought or model.free)]

    def fit(self, rows: GroupedRows, starts: np.ndarray, search: bool = False) -> Minima:
        """Fit each group from the best of the ``starts``, float64[k, p]; ``search`` in all."""
        every = np.arange(len(rows.sizes))
        found = self._walked(rows, every, starts[None], self.threads, plain=True)
        found = self._moved(rows, every, found, self.sought)
        good, sure = self._judged(rows, found)
        doubtful = ~sure if not search else np.ones(len(every), dtype=bool)
        doubtful &= self._may_be_fitted(rows, found) & (rows.sizes <= ROWS_SEARCHED)
        doubtful &= 0 < len(self.drawn) < len(POINTS)
        if doubtful.any():
            chosen = np.flatnonzero(doubtful)
            if not self.sought:
                # The way along which linear parameters are solved may come down elsewhere.
                twice = np.array([[self.model.start, self.model.start]])
                other = self._walked(rows, chosen, twice, self.threads)
                found = _lower(found, chosen, self._moved(rows, chosen, other))
            ends = self._search(rows, chosen, found.theta)
            # A search takes the place of no minimum, or of one that nobody's start led to.
            lost = np.flatnonzero(_are_lost(found)[chosen] | bool(self.sought))
            names, other = self.sought or self.model.free, GroupFits(*(a[lost] for a in ends))
            other = self._moved(rows, chosen[lost], other, names)
            found = _lower(found, chosen[lost], other)
            good = self._judged(rows, found)[0]
            # Of a start that leads to a worse minimum `fit` says so.
            good[chosen] &= ~(ends.loss < (1 - CLEARLY_BETTER) * found.loss[chosen])
        good &= sure | doubtful
        blur, stderr = (ROUNDINGS * found.rounding) ** 2, self._errors(rows, found)
        return Minima(found.theta, stderr, found.loss, rows.sizes - found.free, good, blur)

    def _walked(
        self,
        rows: GroupedRows,
        chosen: np.ndarray,
        starts: np.ndarray,
        threads: int = 1,
        **how: int,
    ) -> GroupFits:
        """Walk in some of the groups from ``starts``, float64[1 or g, k, p]."""
        ends = rows.offsets[chosen], rows.offsets[chosen + 1]
        return self.walk(rows.chunk.arrays, *ends, starts, threads=threads, **how)

    def _may_be_fitted(self, rows: GroupedRows, found: GroupFits) -> np.ndarray:
        """Return which groups have a response that varies, and rows to spare: bool[g]."""
        return np.asarray((rows.sizes > len(self.model.free)) & (found.variation > 0))

    def _judged(self, rows: GroupedRows, found: GroupFits) -> tuple[np.ndarray, np.ndarray]:
        """Return which groups are at a minimum, and which at none that is suspicious: bool[g]."""
        with np.errstate(all="ignore"):
            errors, exact = self._errors(rows, found), _are_exact(found)
            good = ~_are_lost(found) & (found.pivot >= LEAST_PIVOT)
            good &= self._may_be_fitted(rows, found) & (found.free > 0)
            good &= np.isfinite(found.beyond)
            # `fit` looks at what may as well be at infinity, and at what may be 0 of exact data.
            vague = (errors > VAGUE * np.abs(found.theta)) & self.nonlinear
            hidden = (np.abs(found.theta) <= HIDDEN * errors) & exact[:, None]
            good &= ~(vague | hidden).any(axis=1)
            if self.model.is_linear:
                return good, good
            bright = (np.abs(found.theta) >= FAINT * errors) | ~self.amplitudes
            sure = (found.beyond <= DOUBTFUL) & bright.all(axis=1)
            left = EXPLAINED if self.sought else UNEXPLAINED
            sure &= found.loss <= left * found.variation
        return good, good & (sure | exact)

    def _errors(self, rows: GroupedRows, found: GroupFits) -> np.ndarray:
        """Return the standard errors of each group, float64[g, p]."""
        with np.errstate(all="ignore"):
            variance = np.diagonal(found.covariance, axis1=1, axis2=2)
            if self.absolute:
                return np.asarray(np.sqrt(variance))
            left, more, exact = found.loss.copy(), np.zeros(found.theta.shape), _are_exact(found)
            if exact.any():
                # Rounding is what is left: of the response, and of each parameter.
                left[exact] = np.maximum(found.loss, found.rounding**2 / 3)[exact]
                moved = found.covariance[exact] / variance[exact, None]
                moved *= EPS / 2 * np.abs(found.theta[exact])[:, None]
                more[exact] = np.square(np.nan_to_num(moved)).sum(axis=2) / 3
            noise = left / (rows.sizes - found.free)
            return np.asarray(np.sqrt(variance * noise[:, None] + more))

    def _moved(
        self,
        rows: GroupedRows,
        chosen: np.ndarray,
        found: GroupFits,
        names: tuple[str, ...] = (),
    ) -> GroupFits:
        """Move to that of equivalent minima which `fit` gives, as in the order of two rates.

        Where no ``names`` may be moved at will, that is the one which is most like the start.
        """
        if not has_equivalents(self.model, names or self.model.free):
            return found
        usual, some = found.theta.copy(), np.flatnonzero(found.distance <= ARRIVED)
        if names:
            usual[some] = canonical_thetas(self.model, usual[some], names)
        for k in () if names else some:
            usual[k] = closest_equivalent(self.model, usual[k])
        moved = np.flatnonzero((usual != found.theta).any(axis=1))
        other = self._walked(rows, chosen[moved], usual[moved, None], self.threads)
        return _replaced(found, moved, other)

    def _search(self, rows: GroupedRows, chosen: np.ndarray, theta: np.ndarray) -> GroupFits:
        """Return the lowest minima that a search finds of some of the groups."""

        def block(first: int) -> GroupFits:
            some = chosen[first : first + SEARCHED]
            starts = np.stack([self._points(rows, group, theta[group]) for group in some])
            return self._walked(rows, some, starts, followed=FOLLOWED, apart=APART)

        with ThreadPoolExecutor(self.threads, "sgdfit-search") as pool:
            found = list(pool.map(block, range(0, len(chosen), SEARCHED)))
        return GroupFits(*map(np.concatenate, zip(*found, strict=True)))

    def _points(self, rows: GroupedRows, group: int, theta: np.ndarray) -> np.ndarray:
        """Return points to search a group from, float64[k, p], neighbours one after another."""
        own = rows.chunk.part(int(rows.offsets[group]), int(rows.offsets[group + 1]))
        seen = observations_of(self.model, own, {})
        count = POINTS[len(self.drawn)]
        drawn, cube = draw_points(ranges_of(self.model, self.drawn, seen), count, 0)
        cells = (cube * round((count / APART) ** (1 / len(self.drawn)))).astype(int)
        # A step from elsewhere to where a steep curve needs them would leave them no digit.
        points = np.tile(np.where(self.linear, self.nearest_zero, theta), (count, 1))
        points[:, [self.model.free.index(name) for name in self.drawn]] = drawn
        return points[np.lexsort(cells.T)]


def _are_exact(found: GroupFits) -> np.ndarray:
    """Return where the curve meets the response but for rounding: see `Problem.is_exact`."""
    with np.errstate(all="ignore"):
        small = found.rounding <= UNSEEN * np.sqrt(found.variation)
        return np.asarray((np.sqrt(found.loss) <= ROUNDINGS * found.rounding) & small)


def _are_lost(found: GroupFits) -> np.ndarray:
    """Return where a walk came to no minimum."""
    return np.asarray(~((found.distance <= ARRIVED) | _are_exact(found)))


def _lower(found: GroupFits, chosen: np.ndarray, others: GroupFits) -> GroupFits:
    """Put others in the place of some of the groups, where they are lower."""
    lower = np.isfinite(others.loss) & ~(others.loss >= (1 - BETTER) * found.loss[chosen])
    return _replaced(found, chosen[lower], GroupFits(*(array[lower] for array in others)))


def _replaced(found: GroupFits, chosen: np.ndarray, others: GroupFits) -> GroupFits:
    """Put others in the place of some of the groups."""
    arrays = [array.copy() for array in found]
    for array, other in zip(arrays, others, strict=True):
        array[chosen] = other
    return GroupFits(*arrays)
