"""Data that can be read once, or slowly, made into data that can be read again."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sgdfit.data.alignment import aligned
from sgdfit.data.scan import BATCH_ROWS, Piece, Scan
from sgdfit.data.scanned import float_blocks
from sgdfit.data.spill_file import Keeper, Kept, NoRoomError

__all__ = ["spilled"]


def spilled(
    scan: Scan,
    names: Sequence[str],
    budget: int,
    folder: str | os.PathLike[str] | None = None,
    announce: Callable[[str], object] | None = None,
) -> Scan:
    """Read the columns ``names`` once, and return them as a scan that can be read again.

    Rows stay as they are, those without finite numbers among them, and keep their place: messages
    name the file, the row and the line that they came from. A scan that could be read again anyway
    is returned itself where the disk has no room.

    Parameters
    ----------
    scan : Scan
    names : sequence of str
    budget : int
        How many bytes of columns may stay in memory; the rest goes to a temporary file.
    folder : str or path, optional
        Where the file is made; by default what ``TMPDIR`` names.
    announce : callable, optional
        Told in one line that the data are kept, and how much is written where.

    Raises
    ------
    DataError
        When a column does not hold numbers, or the disk has no room.

    Examples
    --------
    >>> import numpy as np
    >>> from sgdfit.data.readers import open_table
    >>> batches = ({"x": np.arange(2.0) + k} for k in range(2))
    >>> kept = spilled(open_table(batches).scan, ["x"], budget=0)
    >>> [piece.rows for piece in kept.pieces], kept.again
    ([4], True)
    >>> next(kept.pieces[0].read(["x"])).to_pydict()
    {'x': [0.0, 1.0, 1.0, 2.0]}
    """
    names, say = tuple(names), announce or _silent
    if not scan.again:
        say(f"{scan.label} can be read once, so columns that are needed again are kept")
    keeper = Keeper(names, budget, folder, say)
    try:
        found = list(_runs(scan, names, keeper))
        keeper.close()
    except BaseException as error:
        keeper.discard()
        if scan.again and isinstance(error, NoRoomError):
            say(f"{scan.label} is read anew for each pass: {error}")
            return scan
        raise
    return _scan(scan, names, found)


def _silent(text: str) -> None:
    pass


def _runs(
    scan: Scan, names: Sequence[str], keeper: Keeper
) -> Iterator[tuple[Piece, int, int, Kept]]:
    """Yield what is kept: piece, the row of it at which it begins, how many rows, and where."""
    blocks = float_blocks(scan, names)
    for index, group in itertools.groupby(blocks, key=lambda block: block[0]):
        first = 0
        for columns in aligned((block for _, block in group), BATCH_ROWS):
            rows = len(columns[0])
            yield scan.pieces[index], first, rows, keeper.keep(columns)
            first += rows


def _scan(scan: Scan, names: tuple[str, ...], found: list[tuple[Piece, int, int, Kept]]) -> Scan:
    pieces = tuple(
        Piece(source.label, source.first + first, rows, _reader(kept, names))
        for source, first, rows, kept in found
    )
    origins = {piece.read: run[:2] for piece, run in zip(pieces, found, strict=True)}

    def line(piece: Piece, row: int) -> str:
        if piece.read not in origins:
            return ""
        source, first = origins[piece.read]
        return scan.line(source, first + row)

    return Scan(names, scan.label, pieces, fingerprint=scan.fingerprint, line=line)


def _reader(kept: Kept, names: tuple[str, ...]) -> Callable[[Sequence[str]], Iterator[Any]]:
    def read(wanted: Sequence[str]) -> Iterator[Any]:
        yield kept.read([names.index(name) for name in wanted], wanted)

    return read
