"""How rows are weighed, and what standard errors are taken from."""

from __future__ import annotations

import math
from typing import NamedTuple

from sgdfit.errors import UsageError, did_you_mean
from sgdfit.inference.statistics import expected_range
from sgdfit.model.loss import SQUARED, Loss

__all__ = ["CLASSICAL", "COVARIANCES", "SANDWICH", "Weighting", "as_weighting", "surprise"]

CLASSICAL, SANDWICH = "classical", "sandwich"
COVARIANCES = ("auto", CLASSICAL, SANDWICH)


class Weighting(NamedTuple):
    """How rows are weighed, and how sure that makes the estimates.

    Attributes
    ----------
    weights : str or None
        A column, or an expression of columns, proportional to the inverse variance of each row.
    sigma : str or None
        A column, or an expression of columns, that is the standard deviation of each row.
    absolute : bool
        Whether the standard deviations are taken at their word.
    covariance : str
        ``auto``, ``classical`` or ``sandwich``.
    """

    weights: str | None = None
    sigma: str | None = None
    absolute: bool = False
    covariance: str = "auto"

    @property
    def given(self) -> str | None:
        """What was given, be it weights or standard deviations."""
        return self.weights if self.sigma is None else self.sigma

    @property
    def text(self) -> str | None:
        """The weights as an expression of columns, those of ``sigma`` included.

        Examples
        --------
        >>> Weighting(sigma="s").text
        '1/(s)**2'
        """
        return self.weights if self.sigma is None else f"1/({self.sigma})**2"


def as_weighting(
    weights: str | None, sigma: str | None, absolute: bool, covariance: str, loss: Loss
) -> Weighting:
    """Return the `Weighting` of these options of `sgdfit.fit`.

    Raises
    ------
    UsageError
        When they contradict one another or the loss.

    Examples
    --------
    >>> from sgdfit.model.loss import as_loss
    >>> as_weighting(None, "s", True, "auto", as_loss("mse")).text
    '1/(s)**2'
    """
    if sigma is not None and weights is not None:
        raise UsageError(
            f"sigma={sigma!r} and weights={weights!r} both say what a row weighs; give one of them"
            " (weights are 1/sigma**2)"
        )
    if sigma is not None and not isinstance(sigma, str):
        raise UsageError(
            f"sigma is {type(sigma).__name__}; name a column of the data, or an expression of"
            " columns such as '0.1*y'; put an array into the data as a column"
        )
    if not isinstance(absolute, bool):
        raise UsageError(f"absolute_sigma is {absolute!r}; it is True or False")
    if absolute and sigma is None and weights is None:
        raise UsageError(
            "absolute_sigma takes the standard deviations of the rows at their word, but there"
            " are none; give sigma='column', or leave absolute_sigma out"
        )
    _check_covariance(covariance, absolute, loss)
    return Weighting(weights, sigma, absolute, covariance)


def _check_covariance(covariance: str, absolute: bool, loss: Loss) -> None:
    """Refuse a covariance that is not known, or does not go with the loss."""
    if covariance not in COVARIANCES:
        raise UsageError(
            f"covariance is {covariance!r}; it is one of {', '.join(map(repr, COVARIANCES))}."
            + did_you_mean(str(covariance), COVARIANCES)
        )
    squared = loss.name == SQUARED
    if covariance == CLASSICAL and not squared:
        raise UsageError(
            f"covariance='classical' holds for least squares alone, where the loss is mse, not for"
            f" {loss.name}; leave it at 'auto', or ask for 'sandwich'"
        )
    if absolute and (covariance == SANDWICH or not squared):
        why = f"the loss {loss.name}" if not squared else "covariance='sandwich'"
        raise UsageError(
            f"with {why} the standard errors come from the residuals of each row, so"
            " absolute_sigma, which takes them from sigma, cannot be had; leave it out"
        )


def surprise(weighting: Weighting, reduced_chi_square: float | None, dof: int) -> tuple[str, ...]:
    """Return a warning where the residuals contradict standard deviations taken at their word.

    Examples
    --------
    >>> surprise(Weighting(sigma="s", absolute=True), 1.1, 20)
    ()
    >>> len(surprise(Weighting(sigma="s", absolute=True), 4.0, 20))
    1
    """
    if not weighting.absolute or reduced_chi_square is None or dof <= 0:
        return ()
    low, high = expected_range(dof)
    if low <= reduced_chi_square <= high:
        return ()
    by_sigma = weighting.sigma is not None
    said = f"sigma '{weighting.sigma}' says" if by_sigma else f"the weights '{weighting.text}' say"
    blamed = "sigma is" if by_sigma else "the standard deviations that they stand for are"
    usual = f"the reduced χ² is {reduced_chi_square:.3g}, where {low:.3g} to {high:.3g} is usual"
    if reduced_chi_square < low:
        return (
            f"the residuals are smaller than {said}: {usual}; {blamed} too large, and the standard"
            " errors with it, or the formula has too many parameters",
        )
    factor = f"{math.sqrt(reduced_chi_square):.2g}"
    return (
        f"the residuals are larger than {said}: {usual}; {blamed} too small (about {factor} times),"
        " and the standard errors with it, or the curve misses something",
    )
