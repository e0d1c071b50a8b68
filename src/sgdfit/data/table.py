"""What holds columns: in memory, or as row groups that are read by themselves; missing values."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.floats import Place, as_arrow, as_floats, numbers_of
from sgdfit.data.times import TimeScales
from sgdfit.errors import DataError, UsageError, as_column, did_you_mean, listed

Array = np.ndarray[Any, Any]

POLICIES = ("error", "drop")
OR_DROP = "or pass missing='drop' (--missing drop on the command line) to leave them out"
# The most rows that are kept together where Arrow hands them out.
BATCH_ROWS = 1 << 18
# The most rows to decode at once, and about the most numbers: 8 MB.
DECODED_ROWS, DECODED_NUMBERS = 1 << 19, 1 << 20
# Fewer rows than this are not worth handing out.
LEAST_ROWS = 16_384
# So few are looked through for what is not finite before anything else is done with them.
FEW_ROWS = 1 << 17


def batch_rows(columns: int) -> int:
    """Return how many rows of so many columns to decode at once."""
    return min(DECODED_ROWS, max(LEAST_ROWS, DECODED_NUMBERS // max(1, columns)))


@dataclass(frozen=True, eq=False)
class Columns:
    """Rows in memory."""

    columns: dict[str, Array]  # each of shape (rows,), contiguous, float32 or float64
    label: str  # how messages name the data: ``data.csv``, ``standard input``, ``the data``
    dropped: int = 0  # rows that ``missing="drop"`` left out
    # bool[rows + dropped]: which rows of the data these are, where some were left out
    keep: Array | None = None
    # Raises where a number is not finite, which nobody has looked for yet.
    check: Callable[[], object] | None = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return next((column.size for column in self.columns.values()), 0)

    def chunks(self, names: Sequence[str], size: int) -> Iterator[tuple[Array, ...]]:
        """Yield consecutive views of the columns ``names``, at most ``size`` rows each."""
        chosen = [self.columns[name] for name in names]
        for start in range(0, self.rows, size):
            yield tuple(column[start : start + size] for column in chosen)


def check_policy(missing: str) -> None:
    """Refuse anything but ``"error"`` and ``"drop"``."""
    if missing not in POLICIES:
        hint = did_you_mean(missing, POLICIES) if isinstance(missing, str) else ""
        raise UsageError(
            f"missing={missing!r} is not known; write 'error' to refuse rows without finite"
            f" numbers, or 'drop' to leave them out.{hint}"
        )


def handle_missing(
    columns: dict[str, Array], label: str, missing: str, line: Callable[[int], str]
) -> Columns:
    """Refuse or leave out rows that are not finite, of columns of the same length.

    ``line`` tells of a row, counted from 0, where it stands in a file.
    """
    masks = _masks(columns)
    if not masks:
        return Columns(columns, label)
    keep = np.logical_and.reduce(list(masks.values()))
    bad = int(keep.size - np.count_nonzero(keep))
    if missing == "error":
        firsts = sorted((int(np.argmin(mask)), name) for name, mask in masks.items())
        found = [
            f"column {name!r} row {row + 1}{line(row)} is {_word(columns[name][row])}"
            + (" (first)" if place == 0 and bad > 1 else "")
            for place, (row, name) in enumerate(firsts)
        ]
        has = "has" if bad == 1 else "have"
        raise DataError(
            f"{bad} of {keep.size} rows {has} no finite number in {label}: {', '.join(found)};"
            f" correct them, {OR_DROP}"
        )
    if not keep.any():
        raise DataError(
            f"no row of {label} remains: each of its {keep.size} rows lacks a finite number in"
            f" {listed(masks)}; check these columns"
        )
    kept = {name: column[keep] for name, column in columns.items()}
    return Columns(kept, label, bad, keep)


def finite_rows(columns: dict[str, Array], place: Place, missing: str) -> Array | None:
    """Return which rows of a part of the data to keep, bool[rows], or None for all of them."""
    masks = _masks(columns)
    if not masks:
        return None
    if missing == "drop":
        return np.asarray(np.logical_and.reduce(list(masks.values())))
    row, name = min((int(np.argmin(mask)), name) for name, mask in masks.items())
    raise DataError(
        f"column {name!r} {place.row(row)} of {place.label} is {_word(columns[name][row])}; correct"
        f" such rows, {OR_DROP}"
    )


def _masks(columns: dict[str, Array]) -> dict[str, Array]:
    masks = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for name, column in columns.items():
            # The sum tells first: NaN and infinities survive it, and it needs no memory. A product
            # by BLAS is sooner alone, but takes threads of its own, for which those that read then
            # wait: 30 million rows of Parquet on two busy cores take 0.9 s by sums, 3.9 s by BLAS.
            if not math.isfinite(np.add.reduce(column)):
                masks[name] = np.isfinite(column)
    return {name: mask for name, mask in masks.items() if not mask.all()}


def _word(value: float) -> str:
    return "missing (NaN)" if math.isnan(value) else "infinity" if value > 0 else "-infinity"


class ColumnStatistics(NamedTuple):
    """What is known of the values of a column in some rows, before they are read."""

    extremes: Any  # two values in a pyarrow.Array, with all others between; None if not known
    nulls: bool = True  # whether values may be missing, as null or as NaN
    empty: bool = False  # whether all values are certain to be missing


def _unplaced(row: int) -> str:
    return ""


def _unknown(name: str) -> ColumnStatistics | None:
    return None


class RowGroup(NamedTuple):
    """A part of the data that is read by itself: a row group, a run of batches, a text file."""

    label: str  # the file, as messages name it
    first: int  # the row of that file at which it begins, counted from 0
    rows: int | None  # None where that is known only once they are read
    # Yields columns as Arrow record batches, in order, of at most `DECODED_ROWS` rows; each call
    # begins anew. Different row groups may be read on different threads at once.
    read: Callable[[Sequence[str]], Iterator[Any]]
    # Says of a row of it where the row stands in the file, such as `` (line 12)``.
    line: Callable[[int], str] = _unplaced
    # What the file says of the values of a column, if anything.
    statistics: Callable[[str], ColumnStatistics | None] = _unknown

    def line_after(self, offset: int) -> Callable[[int], str]:
        """Return `line` for rows that are counted from another than the first."""
        return lambda row: self.line(offset + row)


class Dataset(NamedTuple):
    """Row groups of one table."""

    names: tuple[str, ...]  # the columns, as `clean_names` writes them
    label: str  # how messages name the data
    row_groups: tuple[RowGroup, ...]  # in an order that never changes
    again: bool = True  # whether they can be read more than once
    # Tells these data from others, and from what they were before a change; empty if unknown.
    fingerprint: str = ""
    decimal: str = ""  # the decimal sign of a text file
    slow: bool = False  # whether reading takes so long that what has been read is better kept
    notes: tuple[str, ...] = ()  # what was left out or guessed, in words
    scales: TimeScales | None = None  # how times are counted
    times: frozenset[str] = frozenset()  # columns that are known to hold times


@dataclass(frozen=True, eq=False)
class Table:
    """Column names, and how to get the columns."""

    names: tuple[str, ...]  # all in order, as `clean_names` writes them
    label: str  # how messages name the data
    # Positions of columns -> these columns, raw.
    fetch: Callable[[Sequence[int]], Sequence[object]] = field(repr=False)
    # Says of a row, counted from 0, where it stands in a file.
    line: Callable[[int], str] = field(default=_unplaced, repr=False)
    decimal: str = ""  # the decimal sign of a text file
    # The same rows, read in parts; None where they are in memory anyway.
    dataset: Dataset | None = field(default=None, repr=False)
    where: str = ""  # the condition that its rows met, as it was written
    files: Collection[str] = ()  # the paths of local files that it is read from, as known so far
    notes: tuple[str, ...] = ()  # what was left out or guessed, in words
    scales: TimeScales | None = None  # how times are counted
    # What `open_table` was given, but for the condition, so that another process opens it again.
    origin: Mapping[str, Any] | None = field(default=None, repr=False)
    added: tuple[str, ...] = ()  # columns that were given beside the data, as arrays

    def load(
        self, names: Sequence[str], *, missing: str = "error", checked: bool = True
    ) -> Columns:
        """Read the columns ``names``, and no others, as floating-point numbers.

        Columns that are float64 or float32 already are not copied. All arrays are read-only
        views, whatever they came from, so that compiled code sees one type. Unless ``checked``,
        many rows are not looked through for what is not finite: sums tell, at no cost.

        Raises a `DataError` when a column is unknown, named twice, not numeric or of another
        length, or when numbers are not finite and ``missing="error"``.
        """
        check_policy(missing)
        columns = self.floats(names, missing)
        if any(column.size == 0 for column in columns.values()):
            raise DataError(f"{self.label} has no rows; give at least one")
        check = partial(handle_missing, columns, self.label, missing, self.line)
        rows = len(next(iter(columns.values()), ()))
        if checked or missing != "error" or rows <= FEW_ROWS:
            return check()
        return Columns(columns, self.label, check=check)

    def floats(self, names: Sequence[str], missing: str = "error") -> dict[str, Array]:
        """Read the columns ``names`` as `load` does, whatever numbers they hold, if any."""
        wanted = list(dict.fromkeys(names))
        raw = self.fetch(self.positions(wanted))
        drop = missing == "drop"
        arrays = {n: as_floats(v, self._place(n, drop)) for n, v in zip(wanted, raw, strict=True)}
        rows = common_length(
            {name: array.size for name, array in arrays.items() if array.ndim}, self.label
        )
        # A single number stands for every row.
        level = {n: (a if a.ndim else np.full(rows, a)).view() for n, a in arrays.items()}
        for array in level.values():
            array.flags.writeable = False
        return level

    def arrow(self, names: Sequence[str]) -> Any:
        """Read the columns ``names`` as an Arrow table, text as text."""
        raw = self.fetch(self.positions(names))
        arrays = {n: as_arrow(v, self._place(n)) for n, v in zip(names, raw, strict=True)}
        return arrow_table(arrays, self.label)

    def _place(self, name: str, drop: bool = False) -> Place:
        # Row groups come as numbers.
        scales = self.scales if self.dataset is None else None
        known = self.label, self.line, self.decimal, 0, drop, scales
        return Place(name, *known)

    def positions(self, names: Sequence[str]) -> list[int]:
        """Return where columns stand; refuse a name of none of them, or of several."""
        return column_positions(self.names, names, self.label)


def column_positions(
    names: Sequence[str], wanted: Sequence[str], label: str, hint: str = ""
) -> list[int]:
    """Return where columns stand among ``names``; refuse a name of none of them, or of several."""
    clean = clean_names(wanted)
    for name, given in zip(clean, wanted, strict=True):
        count = names.count(name)
        if count > 1:
            raise DataError(
                f"{label} has {count} columns named {given!r}; rename all but one of them"
            )
        if not count:
            raise DataError(
                f"{label} has no column {given!r}; its columns are {listed(names)}."
                f"{did_you_mean(name, names, as_column)}{hint}"
            )
    return [names.index(name) for name in clean]


def arrow_table(arrays: dict[str, Any], label: str) -> Any:
    """Return Arrow arrays, and numbers that stand for every row, as an Arrow table."""
    import pyarrow as pa

    rows = common_length({n: len(a) for n, a in arrays.items() if not np.isscalar(a)}, label)
    wide = [numbers_of(np.full(rows, a)) if np.isscalar(a) else a for a in arrays.values()]
    return pa.table(wide, list(arrays))


def common_length(lengths: dict[str, int], label: str) -> int:
    """Return how long all columns are, 1 if there are none; refuse those that differ."""
    first = next(iter(lengths), "")
    for name, rows in lengths.items():
        if rows != lengths[first]:
            raise DataError(
                f"columns {first!r} and {name!r} of {label} have {lengths[first]} and"
                f" {rows} rows; give all columns the same length"
            )
    return lengths.get(first, 1)


def clean_names(names: Iterable[str]) -> tuple[str, ...]:
    """Strip ``names`` and bring them to NFKC, as Python does with the identifiers it parses."""
    return tuple(unicodedata.normalize("NFKC", name).strip() for name in names)
