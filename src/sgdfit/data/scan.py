"""Data that are read in pieces, since they need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

__all__ = ["BATCH_ROWS", "DECODED_ROWS", "Piece", "Scan", "batch_rows"]

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


def _nowhere(piece: Piece, row: int) -> str:
    return ""


class Piece(NamedTuple):
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
        each call begins anew. Different pieces may be read on different threads at once.
    """

    label: str
    first: int
    rows: int | None
    read: Callable[[Sequence[str]], Iterator[Any]]


class Scan(NamedTuple):
    """Pieces of one table.

    Attributes
    ----------
    names : tuple of str
        The columns, as `sgdfit.data.table.clean_names` writes them.
    label : str
        How messages name the data.
    pieces : tuple of Piece
        In an order that never changes.
    again : bool
        Whether they can be read more than once.
    fingerprint : str
        Tells these data from others, and from what they were before a change; empty if unknown.
    decimal : str
        The decimal sign of numbers that are stored as text.
    line : function of a piece and a row of it, counted from 0
        Words that say where the row stands in a file, such as `` (line 12)``.
    slow : bool
        Whether reading takes so long that what has been read is better kept.
    """

    names: tuple[str, ...]
    label: str
    pieces: tuple[Piece, ...]
    again: bool = True
    fingerprint: str = ""
    decimal: str = "."
    line: Callable[[Piece, int], str] = _nowhere
    slow: bool = False
