"""How well a fit describes the data: reduced χ², R² and the information criteria."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Goodness", "expected_range", "goodness"]


@dataclass(frozen=True)
class Goodness:
    """Figures of merit of a least-squares fit; None where one is not defined.

    Attributes
    ----------
    degrees_of_freedom : int
        Rows less free parameters.
    reduced_chi_square : float or None
        Residual sum of squares per degree of freedom.
    r_squared : float or None
        Share of the response's variation that the fit explains.
    aic, aicc, bic : float or None
        Information criteria of Akaike, Akaike corrected for few rows, and Schwarz.
    """

    degrees_of_freedom: int
    reduced_chi_square: float | None
    r_squared: float | None
    aic: float | None
    aicc: float | None
    bic: float | None


def goodness(
    residual_sum_of_squares: float,
    total_sum_of_squares: float,
    rows: int,
    free: int,
    sum_log_weights: float = 0.0,
    known_variance: bool = False,
) -> Goodness:
    """Compute the figures of merit of a least-squares fit.

    The criteria are those of R's ``AIC`` and ``BIC`` for ``nls``: with n rows, p free parameters
    and k = p + 1 (the variance is estimated too), −2 ln L = n (ln 2π + ln(RSS/n) + 1) − Σ ln w,
    AIC = −2 ln L + 2k, AICc = AIC + 2k(k+1)/(n−k−1), BIC = −2 ln L + k ln n. AICc is that of
    Hurvich and Tsai, Biometrika 76 (1989) 297, eq. 3. Where the variance of each row is known, 1/w,
    k = p and −2 ln L = n ln 2π − Σ ln w + RSS.

    Parameters
    ----------
    residual_sum_of_squares : float
        Σ w (y − prediction)², in squared units of the response.
    total_sum_of_squares : float
        Σ w (y − mean of y)² about the weighted mean, in the same units.
    rows : int
        Rows of nonzero weight.
    free : int
        Free parameters.
    sum_log_weights : float
        Σ ln w over the rows of nonzero weight.
    known_variance : bool
        Whether the weights are the inverse variances themselves.

    Examples
    --------
    >>> fit = goodness(125.0398, 720.6, rows=20, free=3)
    >>> fit.degrees_of_freedom, round(fit.reduced_chi_square, 3), round(fit.aic, 3)
    (17, 7.355, 101.416)
    """
    left = rows - free
    if known_variance:
        exact = rows * math.log(2 * math.pi) - sum_log_weights + residual_sum_of_squares
        deviance = exact if rows > 0 else None
    else:
        deviance = _deviance(residual_sum_of_squares, rows, sum_log_weights)
    k = free if known_variance else free + 1
    return Goodness(
        degrees_of_freedom=left,
        reduced_chi_square=residual_sum_of_squares / left if left > 0 else None,
        r_squared=_r_squared(residual_sum_of_squares, total_sum_of_squares),
        aic=None if deviance is None else deviance + 2 * k,
        aicc=_aicc(deviance, rows, k),
        bic=None if deviance is None else deviance + k * math.log(rows),
    )


def expected_range(degrees_of_freedom: int, share: float = 0.999) -> tuple[float, float]:
    """Return between which ends the reduced χ² lies in this share of data sets, where σ is right.

    Equal tails of the χ² distribution are left out on both sides.

    Examples
    --------
    >>> low, high = expected_range(10)
    >>> round(low, 4), round(high, 4)
    (0.1265, 3.142)
    """
    # scipy.stats has the same quantiles, and takes half a second to import
    from scipy.special import chdtri

    tail = (1 - share) / 2
    low, high = (float(chdtri(degrees_of_freedom, p)) for p in (1 - tail, tail))
    return low / degrees_of_freedom, high / degrees_of_freedom


def _deviance(residual_sum_of_squares: float, rows: int, sum_log_weights: float) -> float | None:
    """Return −2 ln L; minus infinity for a perfect fit, whose likelihood has no bound."""
    if rows < 1 or math.isnan(residual_sum_of_squares):
        return None
    if residual_sum_of_squares <= 0:
        return -math.inf
    # ln RSS − ln n, since RSS/n can underflow
    variance = math.log(residual_sum_of_squares) - math.log(rows)
    return rows * (math.log(2 * math.pi) + variance + 1) - sum_log_weights


def _r_squared(residual: float, total: float) -> float | None:
    defined = math.isfinite(residual) and math.isfinite(total) and total > 0
    return 1 - residual / total if defined else None


def _aicc(deviance: float | None, rows: int, k: int) -> float | None:
    left = rows - k - 1
    if deviance is None or left <= 0:
        return None
    return deviance + 2 * k + 2 * k * (k + 1) / left
