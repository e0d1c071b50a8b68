"""NumPy arrays of numbers and times -> float32 or float64; and how messages name their place."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdfit.errors import DataError

__all__ = ["SECONDS", "Place", "flat", "floats_from_integers", "floats_from_times", "shown"]

Array = np.ndarray[Any, Any]

# Ticks a second.
SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(frozen=True)
class Place:
    """Where a column, or the part of it from row ``first``, stands: what messages name."""

    column: str
    label: str
    line: Callable[[int], str]
    decimal: str = "."
    first: int = 0

    def __str__(self) -> str:
        return f"column {self.column!r} of {self.label}"

    def row(self, index: int) -> str:
        """Name the row with ``index``, counted from 0 at ``first``."""
        return f"row {self.first + index + 1}{self.line(index)}"


def flat(array: Array, place: Place) -> Array:
    """Return ``array`` with shape (rows,) or (), where each row has one number.

    Raises
    ------
    DataError
        When rows have more than one.
    """
    if array.ndim < 2:
        return array
    if array.size == array.shape[0]:
        return array.reshape(-1)
    raise DataError(
        f"{place} has the shape {array.shape}; a column has one number a row, so give each"
        f" of its columns a name of its own (or pass {place.column}.ravel())"
    )


def floats_from_integers(array: Array, place: Place) -> Array:
    """Convert integers to float64.

    Raises
    ------
    DataError
        When an integer beyond 2**53 would lose digits.

    Examples
    --------
    >>> floats_from_integers(np.array([1, 2**60]), Place("x", "the data", lambda row: ""))
    array([1.0000000e+00, 1.1529215e+18])
    """
    floats = array.astype(np.float64)
    if array.dtype.itemsize < 8 or not array.size or np.abs(floats).max() < 2.0**53:
        return floats
    fits = floats < float(2**63 if array.dtype.kind == "i" else 2**64)
    exact = fits & (np.where(fits, floats, 0).astype(array.dtype) == array)
    if not exact.all():
        row = int(np.argmin(exact))
        raise DataError(
            f"{place} holds the integer {array.flat[row]} in {place.row(row)}, of which float64"
            " would lose digits (it is above 2**53); subtract an offset from the column, or"
            " convert it to float64 first"
        )
    return floats


def floats_from_times(array: Array, place: Place) -> Array:
    """Convert times to seconds since 1970-01-01 00:00 UTC, and durations to seconds.

    Raises
    ------
    DataError
        When a duration is in months, years or no unit, which are no number of seconds.

    Examples
    --------
    >>> minute = np.array(["1970-01-01T00:01", "NaT"], "datetime64[m]")
    >>> floats_from_times(minute, Place("t", "the data", lambda row: ""))
    array([60., nan])
    """
    unit = np.datetime_data(array.dtype)[0]
    if array.dtype.kind == "m" and unit in ("Y", "M", "generic"):
        raise DataError(f"{place} holds {array.dtype}, which is no number of seconds; convert it")
    if unit not in SECONDS:
        unit = "s" if unit in "YMWDhm" else "ns"
    kind = "datetime64" if array.dtype.kind == "M" else "timedelta64"
    ticks = array.astype(f"{kind}[{unit}]")
    return np.where(np.isnat(ticks), np.nan, ticks.astype(np.int64) / SECONDS[unit])


def shown(value: object, width: int = 40) -> str:
    """Return ``value`` as a message shows it, cut to ``width`` characters.

    Examples
    --------
    >>> shown("a" * 50, width=10)
    "'aa…aaa'"
    """
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = width
    short.fillvalue = "…"
    return " ".join(short.repr(value).split())
