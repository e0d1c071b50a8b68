"""How fast old rows lose their say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.choice import number
from sgdfit.errors import UsageError

__all__ = ["Forgetting", "as_forgetting"]

# Two rows for one parameter; less would follow every row wherever it leads.
LEAST = 0.5
HALF_LIFE = ("half_life", "half-life")


class Forgetting(NamedTuple):
    """A row that arrived n rows ago has the weight factorⁿ.

    Ljung & Söderström 1983, Theory and Practice of Recursive Identification, section 2.6.

    Attributes
    ----------
    factor : float
        From 0.5 to 1; 1 forgets nothing.
    text : str
        As it was given; empty where nothing is forgotten.
    """

    factor: float = 1.0
    text: str = ""

    @property
    def rows(self) -> float:
        """How many rows have a say in the long run, Σ factorⁿ = 1/(1 − factor)."""
        return 1 / (1 - self.factor) if self.factor < 1 else math.inf

    def check(self, parameters: Sequence[str]) -> None:
        """Refuse to forget so fast that what is left cannot determine the parameters.

        Raises
        ------
        UsageError
            When no more rows have a say than there are parameters.
        """
        least = len(parameters) / (len(parameters) + 1)
        if self.factor >= least:
            return
        raise UsageError(
            f"forgetting is {self.text}, so that 1/(1 − factor) = {self.rows:.3g} rows have a say,"
            f" which cannot determine {len(parameters)} parameters ({', '.join(parameters)}) and"
            f" the noise; give a factor from {_up(least)} on and below 1, or a half-life of"
            f" {_up(math.log(2) / -math.log(least))} rows or more, better ten times that"
        )

    @property
    def log(self) -> float:
        """The factor's logarithm."""
        return math.log(self.factor)

    def after(self, rows: int) -> float:
        """Return what is left of a weight after so many further rows."""
        return math.exp(rows * self.log)

    def weights(self, rows: int) -> np.ndarray:
        """Return the weights of the last ``rows`` rows, the newest last, float64[rows].

        Examples
        --------
        >>> Forgetting(0.5).weights(3).tolist()
        [0.25, 0.5, 1.0]
        """
        return np.asarray(np.exp(self.log * np.arange(rows - 1, -1, -1)))


def as_forgetting(given: Any) -> Forgetting:
    """Return how to forget: a factor a row, or a half-life in rows.

    Parameters
    ----------
    given : float, str or None
        ``0.999``, ``"0.999"``, ``"half_life=1000"``; None or 1: forget nothing.

    Raises
    ------
    UsageError
        When it is neither, or out of range.

    Examples
    --------
    >>> round(as_forgetting("half_life=1000").after(1000), 9)
    0.5
    >>> as_forgetting(1.5)
    Traceback (most recent call last):
    sgdfit.errors.UsageError: forgetting is 1.5; it is a factor a row from 0.5 to 1, so that ...
    """
    if given is None:
        return Forgetting()
    factor = _factor(given)
    if not LEAST <= factor <= 1:
        raise UsageError(_sentence(given))
    return Forgetting() if factor == 1 else Forgetting(factor, str(given).strip())


def _factor(given: Any) -> float:
    if not isinstance(given, str):
        return number(given, "forgetting")
    name, sign, value = (part.strip() for part in given.partition("="))
    if sign and name not in HALF_LIFE:
        raise UsageError(_sentence(given))
    try:
        found = float(value if sign else name)
    except ValueError:
        raise UsageError(_sentence(given)) from None
    if not sign:
        return found
    if not 0 < found < math.inf:
        raise UsageError(_sentence(given))
    return math.exp(-math.log(2) / found)


def _sentence(given: Any) -> str:
    return (
        f"forgetting is {given!r}; it is a factor a row from {LEAST} to 1, so that 1/(1 − factor)"
        " rows have a say (1,000 with 0.999), one more than there are parameters at least; or a"
        " half-life of 1 row or more, such as 'half_life=1000'"
    )


def _up(value: float) -> str:
    """Write a number to three digits, none of which is below it."""
    size = 10.0 ** (2 - math.floor(math.log10(value)))
    return f"{math.ceil(round(value * size, 6)) / size:g}"
