"""Levels: the values of a column that index parameters, as codes 0, 1, … in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgdfit.errors import DataError, did_you_mean, listed

# More are no groups, but a number by mistake.
MOST_LEVELS = 100_000
# Whole numbers that text may spell with a point, as files of mixed columns do.
WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0*")
FRACTION = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?")


class Levels:
    """The levels of one column, and the code of each; without any given they are learned.

    Others are refused or, where rows ``drop``, missing.
    """

    def __init__(self, names: Sequence[str] | None = None, *, drop: bool = False) -> None:
        self.codes = {name: code for code, name in enumerate(names or ())}
        self.learns, self.drop = names is None, drop

    def encode(self, values: Sequence[Any], rows: np.ndarray, place: Any) -> np.ndarray:
        """Return the code, float64, of each of the ``values``, NaN for what is missing.

        ``rows`` tells which of them each row holds, for messages.
        """
        codes = np.full(len(values), np.nan)
        for k, value in enumerate(values):
            if value is None or value != value:
                continue
            if isinstance(value, float) and not value.is_integer():
                raise DataError(
                    f"{place} holds {value!r} in {place.row(int(np.argmax(rows == k)))}; what"
                    " indexes a parameter is text or a whole number, so round the column or write"
                    " its values as words"
                )
            codes[k] = self._code(label(value), rows, k, place)
        return codes

    def _code(self, name: str, rows: np.ndarray, k: int, place: Any) -> float:
        known = self.codes.get(name)
        if known is None and self.learns:
            known = self.codes[name] = len(self.codes)
            if known >= MOST_LEVELS:
                raise DataError(
                    f"{place} has more than {MOST_LEVELS:,} levels; a parameter is indexed by a"
                    " column that tells groups apart"
                )
        if known is None and self.drop:
            return np.nan
        if known is None:
            names = [*self.codes]
            raise DataError(
                f"{place} holds {name!r} in {place.row(int(np.argmax(rows == k)))}, a level"
                f" that the fit has not seen; it knows {listed(names)}. Leave such rows out by"
                f" where, or fit them too.{did_you_mean(name, names)}"
            )
        return known


def label(value: object) -> str:
    """Return the name of a level: text as it stands, whole numbers without a point.

    Examples
    --------
    >>> label(" A1"), label(3.0), label("3.0"), label(True)
    ('A1', '3', '3', 'True')
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = " ".join(str(value).split())
    found = WHOLE.fullmatch(text)
    return found[1] if found else text.removesuffix(" 00:00:00")


def check_levels(names: Sequence[str], column: str, label: str) -> None:
    """Refuse levels that are measurements, or a single one."""
    fractions = [name for name in names if FRACTION.fullmatch(name)]
    if fractions and all(re.fullmatch(r"[+-]?[\d.eE+-]+", name) for name in names):
        raise DataError(
            f"column {column!r} of {label} holds {fractions[0]}; what indexes a parameter is text"
            " or a whole number, so round the column"
        )
    if len(names) < 2:
        only = f"the one level {names[0]!r}" if names else "no level"
        raise DataError(
            f"column {column!r} of {label} has {only}, so it tells no groups apart; write the"
            " parameter without brackets"
        )
