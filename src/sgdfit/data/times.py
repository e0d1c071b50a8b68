"""Times as numbers: dates and times of day since the first row, in a unit that reports name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdfit.data.levels import Levels
from sgdfit.errors import DataError, UsageError, did_you_mean

# By their short names, which steps of dates have as well: the word, and how many seconds.
TIME_UNITS = {
    "w": ("weeks", 604_800.0),
    "d": ("days", 86_400.0),
    "h": ("hours", 3_600.0),
    "min": ("minutes", 60.0),
    "s": ("seconds", 1.0),
    "ms": ("milliseconds", 1e-3),
}
DATE, ZONED, CLOCK, DURATION = "date", "date with a zone", "time of day", "duration"
USUAL = {DATE: "days", ZONED: "days", CLOCK: "hours", DURATION: "seconds"}


@dataclass(frozen=True)
class TimeScale:
    """How the times of a column are counted.

    Attributes
    ----------
    kind : "date" and "date with a zone", both with or without a time, "time of day" or "duration"
    begin : what counts as 0: seconds since 1970-01-01 00:00 UTC, or since 0:00; of durations 0
    unit : "weeks", "days", "hours", "minutes", "seconds" or "milliseconds"
    """

    kind: str
    begin: int = 0
    unit: str = "seconds"

    @property
    def seconds(self) -> float:
        """How long the unit is."""
        return next(seconds for word, seconds in TIME_UNITS.values() if word == self.unit)

    def __str__(self) -> str:
        """Say it in words.

        Examples
        --------
        >>> print(TimeScale("date", 86_400, "days"), TimeScale("duration"), sep="; ")
        days since 1970-01-02; seconds
        """
        if self.kind == DURATION:
            return self.unit
        day, time = str(np.datetime64(self.begin, "s")).split("T")
        time = time.removesuffix(":00")
        if self.kind == CLOCK:
            return f"{self.unit} since {time}"
        words = f"{self.unit} since {day}" + f" {time}" * (time != "00:00")
        return words + " UTC" * (self.kind == ZONED)


class TimeScales(dict[str, TimeScale]):
    """The scale of each column of times; those of a fit begin at its first time of a kind."""

    def __init__(
        self, known: Mapping[str, TimeScale] | None = None, unit: str | None = None
    ) -> None:
        super().__init__(known or {})
        self.unit, self.learns = unit, known is None
        # By column, a limit such as <5 for which rows were left out.
        self.limits: dict[str, str] = {}
        # By column of times of day, that they pass midnight.
        self.midnights: dict[str, str] = {}
        # By column that indexes parameters.
        self.levels: dict[str, Levels] = {}

    @property
    def warned(self) -> list[str]:
        """What the user should know; with dates beside them times of day may begin anew."""
        dated = any(scale.kind in (DATE, ZONED) for scale in self.values())
        return [] if dated else [*self.midnights.values()]

    def scale(self, kind: str, ticks: Any, a_second: int, place: Any) -> TimeScale:
        """Return the scale of a column, whose ``ticks`` are an Arrow array of integers.

        Raises
        ------
        DataError
            Where a fit that is predicted from took the column for something else, or dates with a
            zone stand beside others without.
        """
        known = self.get(place.column)
        for name, other in self.items():
            if {kind, other.kind} == {DATE, ZONED}:
                raise DataError(
                    f"{place} holds a {kind}, where {name!r} of the fit has a {other.kind}"
                    f" ({other}); give all dates a zone, or none (2024-03-01T12:00Z has one)"
                )
        if known is None and self.learns:
            if ticks.null_count == len(ticks):
                return TimeScale(kind)
            begin = 0 if kind == DURATION else ticks.drop_null()[0].as_py() // a_second
            # One for all columns, whose differences then mean what they say.
            begin = next((other.begin for other in self.values() if other.kind == kind), begin)
            unit = next((other.unit for other in self.values()), self.unit or USUAL[kind])
            known = self[place.column] = TimeScale(kind, begin, unit)
        if known is None or known.kind != kind:
            was = f"a {known.kind} ({known})" if known else "a number"
            raise DataError(f"{place} holds a {kind} where the fit had {was}; give what it had")
        return known


def as_time_unit(given: str | None) -> str | None:
    """Return the word for a unit of time, which may be given as ``d``, ``day`` or ``days``.

    Examples
    --------
    >>> as_time_unit("h"), as_time_unit("minute")
    ('hours', 'minutes')
    """
    if given is None:
        return None
    for short, (word, _) in TIME_UNITS.items():
        if str(given).strip().lower() in (short, word, word[:-1]):
            return word
    words = [word for word, _ in TIME_UNITS.values()]
    raise UsageError(
        f"time_unit={given!r} is not known; write one of {', '.join(words)}, or"
        f" {', '.join(TIME_UNITS)}.{did_you_mean(str(given), words)}"
    )


def said_of_columns(scales: TimeScales | None) -> list[str]:
    """Say in which units times are counted, and from when, and which limits count as missing."""
    if scales is None:
        return []
    limits = [f"{limit} in {name} taken for missing" for name, limit in scales.limits.items()]
    return [f"{name} in {scale}" for name, scale in scales.items()] + limits
