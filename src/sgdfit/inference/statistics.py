"""How well a fit describes the data: reduced χ², R², the information criteria, lack of fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Neighbours of which a lack of fit is looked for: the width of what is missed is not known.
WINDOWS = (2, 4, 8)
# Fewer standard deviations than this are chance, whatever they are exactly.
CHANCE = 2.0
# A smaller share of the squares within replicates is rounding.
COPIED = 1e-12


@dataclass(frozen=True)
class Goodness:
    """Figures of merit of a least-squares fit; None where one is not defined."""

    degrees_of_freedom: int  # rows less free parameters that are determined, off their bounds
    reduced_chi_square: float | None = None  # residual sum of squares per degree of freedom
    r_squared: float | None = None  # share of the response's variation that the fit explains
    # Information criteria of Akaike, of Akaike corrected for few rows, and of Schwarz.
    aic: float | None = None
    aicc: float | None = None
    bic: float | None = None


def goodness(
    residual_sum_of_squares: float,
    total_sum_of_squares: float,
    rows: int,
    free: int,
    sum_log_weights: float = 0.0,
    known_variance: bool = False,
) -> Goodness:
    """Compute the figures of merit of a least-squares fit.

    The criteria are those of R's ``AIC`` and ``BIC`` for ``nls``: with n rows of nonzero weight, p
    ``free`` parameters, without those on a bound or not determined, and k = p + 1 (the variance is
    estimated too), −2 ln L = n (ln 2π + ln(RSS/n) + 1) − Σ ln w, AIC = −2 ln L + 2k, AICc = AIC +
    2k(k+1)/(n−k−1), BIC = −2 ln L + k ln n. AICc is that of Hurvich and Tsai, Biometrika 76 (1989)
    297, eq. 3. Where the variance of each row is known, 1/w, k = p and −2 ln L = n ln 2π − Σ ln w +
    RSS. The sums of squares are weighted, the total one about the weighted mean, both in squared
    units of the response.
    """
    residual, total, left = residual_sum_of_squares, total_sum_of_squares, rows - free
    k = free if known_variance else free + 1
    aic = aicc = bic = None
    if rows > 0 and (known_variance or not math.isnan(residual)):
        deviance = rows * math.log(2 * math.pi) - sum_log_weights
        if known_variance:
            deviance += residual
        elif residual > 0:
            # ln RSS − ln n, since RSS/n can underflow
            deviance += rows * (math.log(residual) - math.log(rows) + 1)
        else:
            deviance = -math.inf  # the likelihood of a perfect fit has no bound
        aic, bic = deviance + 2 * k, deviance + k * math.log(rows)
        if rows - k - 1 > 0:
            aicc = aic + 2 * k * (k + 1) / (rows - k - 1)
    explained = math.isfinite(residual) and math.isfinite(total) and total > 0
    return Goodness(
        degrees_of_freedom=left,
        reduced_chi_square=residual / left if left > 0 else None,
        r_squared=1 - residual / total if explained else None,
        aic=aic,
        aicc=aicc,
        bic=bic,
    )


def expected_range(degrees_of_freedom: int, share: float = 0.999) -> tuple[float, float]:
    """Return between which ends the reduced χ² lies in this share of data sets, where σ is right.

    Equal tails of the χ² distribution are left out on both sides.
    """
    # scipy.stats has the same quantiles, and takes half a second to import
    from scipy.special import chdtri

    tail = (1 - share) / 2
    low, high = (float(chdtri(degrees_of_freedom, p)) for p in (1 - tail, tail))
    return low / degrees_of_freedom, high / degrees_of_freedom


def serial_correlation(
    residual: np.ndarray, slopes: np.ndarray, columns: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Return the correlation of neighbouring residuals, and how far this is beyond chance.

    Both are the largest along any of the ``columns``, float64[n]; the second is in standard
    deviations of what noise shows. ``residual``, float64[n], and ``slopes`` of the prediction,
    float64[p, n], are weighted. With L the matrix that adds up pairs of neighbours, weighted by how
    many windows of a width hold both, noise rᵀLr has the mean −σ² tr(QᵀLQ) after a fit whose
    slopes Q spans: fitting leaves residuals that alternate (Durbin & Watson 1950, Biometrika 37,
    409-428). Without that, a sum of many terms hides what it misses.
    """
    n, p = len(residual), len(slopes)
    square, count = float(residual @ residual), min(WINDOWS[-1], n) - 1
    if n <= p or not square > 0:
        return 0.0, 0.0
    orders = [column.argsort(kind="stable") for column in columns]
    alike = np.array([_lagged(residual[None, order], count) for order in orders])
    correlation, alike = float(alike[:, 0].max()) / square, alike * ((n - p) / square)
    beyond = _beyond_chance(alike, n)
    # What fitting takes away is at most this, with many rows next to nothing.
    if beyond + p * math.sqrt(count / n) < CHANCE:
        return correlation, beyond
    size = np.sqrt(np.einsum("pn,pn->p", slopes, slopes))
    if not np.isfinite(size).all():
        slopes = np.nan_to_num(slopes, nan=0.0, posinf=0.0, neginf=0.0)
        size = np.sqrt(np.einsum("pn,pn->p", slopes, slopes))
    size[size == 0] = 1.0
    span = np.linalg.qr((slopes / size[:, None]).T)[0].T
    taken = [_lagged(span[:, order], count) for order in orders]
    return correlation, _beyond_chance(alike + taken, n)


def lack_of_fit(
    residual: np.ndarray, count: int, variables: Sequence[np.ndarray], root: np.ndarray | None
) -> float:
    """Return how far the means of replicates lie off a curve, beside their scatter.

    In standard deviations of what noise shows, 0 where no rows have the same ``variables``: the F
    of lack of fit over pure error (Draper & Smith 1998, Applied Regression Analysis, section 2.1),
    made normal by its cube root (Paulson 1942, Annals of Mathematical Statistics 13, 233-235).
    ``residual``, float64[n], is weighted by ``root``; the curve has ``count`` parameters.
    """
    if not variables:
        return 0.0
    order = np.lexsort(variables)
    steps = [np.diff(column[order]) != 0 for column in variables]
    first = np.flatnonzero(np.concatenate([[True], np.logical_or.reduce(steps)]))
    between, within = len(first) - count, len(residual) - len(first)
    if between <= 0 or within <= 0:
        return 0.0
    residual = residual[order]
    weight = np.ones(len(residual)) if root is None else root[order]
    weights = np.add.reduceat(weight * weight, first)
    of_means = np.add.reduceat(weight * residual, first) ** 2 / np.where(weights > 0, weights, 1.0)
    square, off = float(residual @ residual), float(of_means.sum())
    # Rows that were copied are no replicates.
    if not square - off > COPIED * square:
        return 0.0
    ratio: float = (off / between / ((square - off) / within)) ** (1 / 3)
    a, b = 2 / (9 * between), 2 / (9 * within)
    return ((1 - b) * ratio + a - 1) / math.sqrt(b * ratio * ratio + a)


def _lagged(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the sums of products of numbers 1 to ``count`` places apart, over all rows."""
    k, n = rows.shape
    # Zeros keep the rows apart.
    padded = np.zeros((k, n + count))
    padded[:, :n] = rows
    flat = padded.ravel()
    return np.asarray(np.correlate(flat, flat[: len(flat) - count], "valid")[1:])


def _beyond_chance(alike: np.ndarray, n: int) -> float:
    """Return how far sums of products of neighbours, of unit variance, are beyond chance.

    ``alike`` is float64[columns, lags]. Windows of neighbours show what is missed on one side; the
    sum of all squares also what alternates, as a wave does (Box & Pierce 1970, JASA 65, 1509-1526),
    made normal by its cube root (Wilson & Hilferty 1931).
    """
    count = alike.shape[1]
    mean, variance = 1 - 2 / (9 * count), 2 / (9 * count)
    weights, shares = _weights(n, count)
    squares = float(((alike * alike) @ shares).max())
    quick: float = (squares ** (1 / 3) - mean) / math.sqrt(variance)
    return max(float((alike @ weights).max()), quick)


@lru_cache(maxsize=64)
def _weights(n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of so many lags in each window, and in the mean of all squares."""
    lags = np.arange(1, count + 1)
    shares = np.maximum(0.0, 1.0 - lags / np.array(WINDOWS)[:, None])
    return (shares / np.sqrt(shares**2 @ (n - lags))[:, None]).T, 1.0 / (n - lags) / count
