"""A table that is open: its column names are known, its numbers are not yet read."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgdfit.data.columns import as_floats
from sgdfit.data.missing import check_policy, settle
from sgdfit.data.numeric import Place
from sgdfit.data.scan import Scan
from sgdfit.data.source import Source
from sgdfit.data.wording import listed
from sgdfit.errors import DataError, did_you_mean

__all__ = ["Table", "clean_names", "levelled"]

Array = np.ndarray[Any, Any]


def _nowhere(row: int) -> str:
    return ""


@dataclass(frozen=True, eq=False)
class Table:
    """Column names, and how to get the columns.

    Parameters
    ----------
    names : tuple of str
        All column names in order, stripped, in Unicode's form NFKC.
    label : str
        How messages name the data.
    fetch : callable
        Positions of columns -> these columns, raw.
    line : callable
        Row counted from 0 -> words that say where it stands in a file, or an empty string.
    decimal : str
        The decimal sign of numbers that are stored as text.
    scan : Scan or None
        The same rows, read in pieces; None where they are in memory anyway.
    where : str
        The condition that its rows met, as it was written; empty where there was none.
    """

    names: tuple[str, ...]
    label: str
    fetch: Callable[[Sequence[int]], Sequence[object]] = field(repr=False)
    line: Callable[[int], str] = field(default=_nowhere, repr=False)
    decimal: str = "."
    scan: Scan | None = field(default=None, repr=False)
    where: str = ""

    def load(self, names: Sequence[str], *, missing: str = "error") -> Source:
        """Read the columns ``names``, and no others, as floating-point numbers.

        Columns that are float64 or float32 already are not copied. All arrays are read-only
        views, whatever they came from, so that compiled code sees one type.

        Raises
        ------
        DataError
            When a column is unknown, named twice, not numeric or of another length, or when
            numbers are not finite and ``missing="error"``.
        UsageError
            When ``missing`` is neither ``"error"`` nor ``"drop"``.

        Examples
        --------
        >>> from sgdfit.data.readers import open_table
        >>> open_table({"x": [1, 2, None], "y": [0.5, 1.5, 2.5]}).load(["x"], missing="drop").rows
        2
        """
        check_policy(missing)
        wanted = list(dict.fromkeys(names))
        raw = self.fetch([self._position(name) for name in wanted])
        arrays = {
            name: as_floats(value, Place(name, self.label, self.line, self.decimal))
            for name, value in zip(wanted, raw, strict=True)
        }
        columns = self._level(arrays)
        return settle(columns, self.label, missing, self.line)

    def check(self, names: Sequence[str]) -> None:
        """Refuse names that are none of a column, or of several.

        Raises
        ------
        DataError
            When there is one; the message lists the columns.
        """
        for name in names:
            self._position(name)

    def _position(self, name: str) -> int:
        (clean,) = clean_names([name])
        count = self.names.count(clean)
        if count == 1:
            return self.names.index(clean)
        if count:
            raise DataError(
                f"{self.label} has {count} columns named {name!r}; rename all but one of them"
            )
        raise DataError(
            f"{self.label} has no column {name!r}; its columns are {listed(self.names)}."
            f"{did_you_mean(clean, self.names)}"
        )

    def _level(self, arrays: dict[str, Array]) -> dict[str, Array]:
        level = levelled(arrays, self.label)
        if any(array.size == 0 for array in level.values()):
            raise DataError(f"{self.label} has no rows; give at least one")
        return {name: _read_only(array) for name, array in level.items()}


def levelled(arrays: dict[str, Array], label: str) -> dict[str, Array]:
    """Spread single numbers over the rows, and check that lengths agree.

    Raises
    ------
    DataError
        When two columns of the data called ``label`` have different lengths.

    Examples
    --------
    >>> {name: a.tolist() for name, a in levelled({"x": np.ones(2), "y": np.array(3)}, "d").items()}
    {'x': [1.0, 1.0], 'y': [3, 3]}
    """
    first = next((name for name, array in arrays.items() if array.ndim), None)
    rows = 1 if first is None else arrays[first].size
    for name, array in arrays.items():
        if array.ndim and array.size != rows:
            raise DataError(
                f"columns {first!r} and {name!r} of {label} have {rows} and"
                f" {array.size} rows; give all columns the same length"
            )
    return {n: a if a.ndim else np.full(rows, a) for n, a in arrays.items()}


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def clean_names(names: Iterable[str]) -> tuple[str, ...]:
    """Strip ``names`` and bring them to NFKC, as Python does with the identifiers it parses.

    Examples
    --------
    >>> clean_names([" x ", "µ"]) == ("x", "μ")
    True
    """
    return tuple(unicodedata.normalize("NFKC", name).strip() for name in names)
