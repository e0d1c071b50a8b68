"""What holds columns: in memory, or as pieces that are read by themselves; missing values."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.floats import Place, as_arrow, as_floats, numbers_of
from sgdfit.errors import DataError, UsageError, did_you_mean, listed

# Three float64 columns of this many rows take 1.5 MB, which stays in a second-level cache.
CHUNK_ROWS = 65_536
# So few are looked through for what is not finite before anything else is done with them.
FEW_ROWS = 1 << 17
FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class Columns:
    """Rows in memory.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray
        Each of shape (rows,), contiguous, float32 or float64 in native byte order.
    label : str
        How messages name the data: ``data.csv``, ``standard input``, ``the data``.
    dropped : int
        Rows that ``missing="drop"`` left out.
    keep : bool[rows + dropped], optional
        Which rows of the data these are, where some were left out and it is known.
    check : function, optional
        Raises where a number is not finite, which nobody has looked for yet.

    Raises
    ------
    UsageError
        When a column has another type, layout or length.

    Examples
    --------
    >>> source = Columns({"x": np.array([1.0, 2.0, 3.0])}, "the data")
    >>> source.rows
    3
    >>> [x.tolist() for (x,) in source.chunks(["x"], size=2)]
    [[1.0, 2.0], [3.0]]
    """

    columns: dict[str, np.ndarray[Any, Any]]
    label: str
    dropped: int = 0
    keep: np.ndarray[Any, Any] | None = None
    check: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        rows = self.rows
        for name, column in self.columns.items():
            if column.dtype not in FLOATS:
                raise UsageError(
                    f"column {name!r} of a Columns is {column.dtype}; it must be float32 or"
                    " float64 in native byte order"
                )
            if column.shape != (rows,) or not column.flags.c_contiguous:
                raise UsageError(
                    f"column {name!r} of a Columns has the shape {column.shape}; it must be"
                    f" one contiguous run of {rows} rows"
                )

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return next((column.size for column in self.columns.values()), 0)

    def chunks(
        self, names: Sequence[str], size: int = CHUNK_ROWS
    ) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
        """Yield consecutive views of the columns ``names``, at most ``size`` rows each.

        Raises
        ------
        UsageError
            When ``size`` is below 1.

        Examples
        --------
        >>> source = Columns({"x": np.arange(3.0), "y": np.ones(3)}, "the data")
        >>> [(x.size, y.size) for x, y in source.chunks(["x", "y"], size=2)]
        [(2, 2), (1, 1)]
        """
        if size < 1:
            raise UsageError(f"a chunk of {size} rows cannot be read; size must be 1 or more")
        chosen = [self.columns[name] for name in names]
        for start in range(0, self.rows, size):
            yield tuple(column[start : start + size] for column in chosen)


Array = np.ndarray[Any, Any]

POLICIES = ("error", "drop")


def check_policy(missing: str) -> None:
    """Refuse anything but ``"error"`` and ``"drop"``.

    Raises
    ------
    UsageError
        For another word.

    Examples
    --------
    >>> check_policy("dorp")
    Traceback (most recent call last):
    sgdfit.errors.UsageError: missing='dorp' is not known; ... Did you mean 'drop'?
    """
    if missing in POLICIES:
        return
    hint = did_you_mean(missing, POLICIES) if isinstance(missing, str) else ""
    raise UsageError(
        f"missing={missing!r} is not known; write 'error' to refuse rows without finite"
        f" numbers, or 'drop' to leave them out.{hint}"
    )


def settle(
    columns: dict[str, Array], label: str, missing: str, line: Callable[[int], str]
) -> Columns:
    """Turn equally long ``columns`` into a `Columns` whose every number is finite.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray
        Each of shape (rows,).
    label : str
        How messages name the data.
    missing : {"error", "drop"}
        What becomes of rows that are not finite.
    line : callable
        Row counted from 0 -> words that say where it stands in a file, or an empty string.

    Raises
    ------
    DataError
        When ``missing="error"`` and a number is not finite, or no row remains.

    Examples
    --------
    >>> source = settle({"x": np.array([1.0, np.nan])}, "the data", "drop", lambda row: "")
    >>> source.rows, source.dropped
    (1, 1)
    """
    masks = _masks(columns)
    if not masks:
        return Columns(columns, label)
    keep = np.logical_and.reduce(list(masks.values()))
    if missing == "error":
        raise DataError(_sentence(columns, masks, keep, label, line))
    if not keep.any():
        raise DataError(
            f"no row of {label} remains: each of its {keep.size} rows lacks a finite number in"
            f" {listed(masks)}; check these columns"
        )
    kept = {name: column[keep] for name, column in columns.items()}
    return Columns(kept, label, int(keep.size - np.count_nonzero(keep)), keep)


def keep_finite(
    columns: dict[str, Array], label: str, missing: str, line: Callable[[int], str], first: int
) -> Array | None:
    """Return which rows of a block to keep, bool[rows], or None for all of them.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray
        Each of shape (rows,).
    label : str
        The file that holds the block.
    missing : {"error", "drop"}
    line : callable
        Row of the block, counted from 0 -> words that say where it stands, or an empty string.
    first : int
        The row of the file at which the block begins, counted from 0.

    Raises
    ------
    DataError
        When ``missing="error"`` and a number is not finite.

    Examples
    --------
    >>> x = np.array([1.0, np.inf])
    >>> keep_finite({"x": x}, "data.parquet", "drop", lambda row: "", 0)
    array([ True, False])
    >>> keep_finite({"x": x}, "data.parquet", "error", lambda row: "", 1000)
    Traceback (most recent call last):
    sgdfit.errors.DataError: column 'x' row 1002 of data.parquet is infinity; correct such rows, ...
    """
    masks = _masks(columns)
    if not masks:
        return None
    keep = np.asarray(np.logical_and.reduce(list(masks.values())))
    if missing == "drop":
        return keep
    row, name = min((int(np.argmin(mask)), name) for name, mask in masks.items())
    raise DataError(
        f"column {name!r} row {first + row + 1}{line(row)} of {label} is"
        f" {_word(columns[name][row])}; correct such rows, or pass missing='drop' (--missing drop"
        " on the command line) to leave them out"
    )


def _masks(columns: dict[str, Array]) -> dict[str, Array]:
    """Return which rows are finite, of the columns where not all are."""
    with np.errstate(over="ignore", invalid="ignore"):
        masks = {name: np.isfinite(c) for name, c in columns.items() if not _all_finite(c)}
    return {name: mask for name, mask in masks.items() if not mask.all()}


def _all_finite(column: Array) -> bool:
    """Look at the sum of squares first: NaN and infinities survive it, and it needs no memory.

    BLAS adds it up at the speed of reading, in a third of the time of a plain sum.
    """
    return math.isfinite(float(np.dot(column, column))) or bool(np.isfinite(column).all())


def _sentence(
    columns: dict[str, Array],
    masks: dict[str, Array],
    keep: Array,
    label: str,
    line: Callable[[int], str],
) -> str:
    bad = int(keep.size - np.count_nonzero(keep))
    firsts = sorted((int(np.argmin(mask)), name) for name, mask in masks.items())
    found = [
        f"column {name!r} row {row + 1}{line(row)} is {_word(columns[name][row])}"
        + (" (first)" if place == 0 and bad > 1 else "")
        for place, (row, name) in enumerate(firsts)
    ]
    has = "has" if bad == 1 else "have"
    return (
        f"{bad} of {keep.size} rows {has} no finite number in {label}: {', '.join(found)}; correct"
        " them, or pass missing='drop' (--missing drop on the command line) to leave them out"
    )


def _word(value: float) -> str:
    return "missing (NaN)" if math.isnan(value) else "infinity" if value > 0 else "-infinity"


# The most rows that are kept together where Arrow hands them out.
BATCH_ROWS = 1 << 18
# The most rows to decode at once, and about the most numbers: 8 MB.
DECODED_ROWS, DECODED_NUMBERS = 1 << 19, 1 << 20
# Fewer rows than this are not worth handing out.
LEAST_ROWS = 16_384


def batch_rows(columns: int) -> int:
    """Return how many rows of so many columns to decode at once.

    Examples
    --------
    >>> batch_rows(2), batch_rows(16)
    (524288, 65536)
    """
    return min(DECODED_ROWS, max(LEAST_ROWS, DECODED_NUMBERS // max(1, columns)))


class ColumnStatistics(NamedTuple):
    """What is known of the values of a column in some rows, before they are read.

    Attributes
    ----------
    extremes : pyarrow.Array or None
        Two values, such that none is below the first or above the second; None if not known.
    nulls : bool
        Whether values may be missing, as null or as NaN.
    empty : bool
        Whether all values are certain to be missing.
    """

    extremes: Any
    nulls: bool = True
    empty: bool = False


def _unplaced(row: int) -> str:
    return ""


def _unknown(name: str) -> ColumnStatistics | None:
    return None


class RowGroup(NamedTuple):
    """A part of the data that is read by itself: a row group, a run of batches, a text file.

    Attributes
    ----------
    label : str
        The file, as messages name it.
    first : int
        The row of that file at which the piece begins, counted from 0.
    rows : int or None
        How many it holds; None where that is known only once they are read.
    read : function of column names
        Yields these columns as Arrow record batches, in order, of at most `DECODED_ROWS` rows;
        each call begins anew. Different row groups may be read on different threads at once.
    line : function of a row of it, counted from 0
        Words that say where the row stands in the file, such as `` (line 12)``.
    statistics : function of a column name
        What the file says of its values, if anything.
    """

    label: str
    first: int
    rows: int | None
    read: Callable[[Sequence[str]], Iterator[Any]]
    line: Callable[[int], str] = _unplaced
    statistics: Callable[[str], ColumnStatistics | None] = _unknown


class Dataset(NamedTuple):
    """Row groups of one table.

    Attributes
    ----------
    names : tuple of str
        The columns, as `sgdfit.data.table.clean_names` writes them.
    label : str
        How messages name the data.
    row_groups : tuple of RowGroup
        In an order that never changes.
    again : bool
        Whether they can be read more than once.
    fingerprint : str
        Tells these data from others, and from what they were before a change; empty if unknown.
    decimal : str
        The decimal sign of numbers that are stored as text.
    slow : bool
        Whether reading takes so long that what has been read is better kept.
    """

    names: tuple[str, ...]
    label: str
    row_groups: tuple[RowGroup, ...]
    again: bool = True
    fingerprint: str = ""
    decimal: str = "."
    slow: bool = False


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
    dataset : Dataset or None
        The same rows, read in pieces; None where they are in memory anyway.
    where : str
        The condition that its rows met, as it was written; empty where there was none.
    """

    names: tuple[str, ...]
    label: str
    fetch: Callable[[Sequence[int]], Sequence[object]] = field(repr=False)
    line: Callable[[int], str] = field(default=_unplaced, repr=False)
    decimal: str = "."
    dataset: Dataset | None = field(default=None, repr=False)
    where: str = ""

    def load(
        self, names: Sequence[str], *, missing: str = "error", checked: bool = True
    ) -> Columns:
        """Read the columns ``names``, and no others, as floating-point numbers.

        Columns that are float64 or float32 already are not copied. All arrays are read-only
        views, whatever they came from, so that compiled code sees one type. Unless ``checked``,
        many rows are not looked through for what is not finite: sums tell, at no cost.

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
        check = partial(settle, columns, self.label, missing, self.line)
        rows = len(next(iter(columns.values()), ()))
        if checked or missing != "error" or rows <= FEW_ROWS:
            return check()
        return Columns(columns, self.label, check=check)

    def arrow(self, positions: Sequence[int]) -> Any:
        """Return columns as an Arrow table, text as text.

        Raises
        ------
        DataError
            When they have different lengths.
        """
        import pyarrow as pa

        names = [self.names[place] for place in positions]
        raw = [
            as_arrow(value, Place(name, self.label, self.line, self.decimal))
            for name, value in zip(names, self.fetch(positions), strict=True)
        ]
        lengths = sorted({len(column) for column in raw if not np.isscalar(column)}) or [1]
        if len(lengths) > 1:
            raise DataError(
                f"the columns {listed(names)} of {self.label} have"
                f" {' and '.join(f'{n:,}' for n in lengths)} rows; give all columns the same length"
            )
        wide = [numbers_of(np.full(lengths[0], c)) if np.isscalar(c) else c for c in raw]
        return pa.table(wide, names)

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
