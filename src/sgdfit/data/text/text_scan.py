"""Delimited text of any size, in blocks; see `sgdfit.data.text.delimited` for what is read how."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sgdfit.data.arrow import MISSING_SPELLINGS
from sgdfit.data.scan import Piece, Scan
from sgdfit.data.scanned import read_once, scanned_table
from sgdfit.data.table import Table
from sgdfit.data.text.block import BLOCK, blocks
from sgdfit.data.text.column_types import Types, settled
from sgdfit.data.text.delimited import HEAD, open_delimited, refuse_binary, with_newlines
from sgdfit.data.text.dialect import find_dialect
from sgdfit.data.text.places import TextPlace, file_place, held
from sgdfit.data.text.text_file import TextFile, batches, line_of, state_of
from sgdfit.data.wording import listed
from sgdfit.errors import DataError

__all__ = ["SMALL", "scan_text"]

# What is shorter, uncompressed, is read as a whole.
SMALL = 32 << 20
# Separator, header and decimal sign are found from so many bytes at most.
LOOKED_AT = 1 << 22


def scan_text(
    places: Sequence[TextPlace | str | os.PathLike[str]],
    label: str = "",
    *,
    size: int = BLOCK,
    small: int = SMALL,
) -> Table:
    r"""Open delimited texts that are alike; the numbers are read when they are asked for.

    A single text of up to ``small`` bytes is read as a whole. Others are read in blocks, with
    a few times ``size`` bytes in memory, and their columns are known as `Table.scan`.

    Parameters
    ----------
    places : sequence of TextPlace, str or path
    label : str, optional
        How messages name all of them; by default the name of the only one, or how many there are.
    size : int
        How many bytes are parsed at once.
    small : int

    Raises
    ------
    DataError
        When one is empty, binary, has no rows, or has other columns than the first.

    Examples
    --------
    >>> from sgdfit.data.text.places import stream_place
    >>> import io
    >>> text = io.BytesIO(b"x,y\n1,2\n3,4\n")
    >>> table = scan_text([stream_place(text, "standard input")], small=0)
    >>> table.names, table.scan.again
    (('x', 'y'), False)
    """
    found = [p if isinstance(p, TextPlace) else file_place(p) for p in places]
    if len(found) == 1:
        looked_at = LOOKED_AT if _is_large(found[0], small) else max(small + 1, LOOKED_AT)
        place, head, ended = held(found[0], looked_at)
        if ended and len(head) <= small:
            return open_delimited(head, label or place.label)
        files = [_looked_at(place, head[:LOOKED_AT], size)]
    else:
        files = _alike(found, size)
    return scanned_table(_scan(files, label or _label(found)))


def _is_large(place: TextPlace, small: int) -> bool:
    """Tell a large file by its size, so that no more of it is read than has to be looked at."""
    return place.compression is None and state_of(place)[:1] > (max(small, LOOKED_AT),)


def _label(places: Sequence[TextPlace]) -> str:
    return places[0].label if len(places) == 1 else f"the data ({len(places)} files)"


def _alike(places: Sequence[TextPlace], size: int) -> list[TextFile]:
    """Look at each text; one with other columns than the first is refused."""
    files: list[TextFile] = []
    rows = False
    for number, each in enumerate(places, 1):
        place, head, ended = held(each, LOOKED_AT)
        types = next((file.types for file in files if file.types), None)
        # Some writers leave a header where they had no row; one file with rows will do.
        file = _looked_at(place, head, size, types, ended and (rows or number < len(places)))
        rows = rows or file.dialect.start < len(head)
        if files:
            _refuse_other_columns(file, files[0])
        files.append(file)
    return files


def _looked_at(
    place: TextPlace,
    head: bytes,
    size: int,
    types: Types | None = None,
    header_alone: bool = False,
) -> TextFile:
    state = state_of(place)
    refuse_binary(head[:HEAD], place.label)
    text = with_newlines(head)
    dialect = find_dialect(text, place.label, MISSING_SPELLINGS, header_alone)
    if types is None:
        begun = io.BytesIO(text[dialect.start :]).read
        found = blocks(begun, dialect.separator, dialect.first_line, place.label, size)
        first = next(found, None)
        types = settled(first.text, replace(dialect, start=0)) if first else {}
    return TextFile(place, dialect, types, text is not head, state, size)


def _refuse_other_columns(file: TextFile, first: TextFile) -> None:
    ours, others = file.dialect.names, first.dialect.names
    if ours == others:
        return
    lacks = [name for name in others if name not in ours]
    raise DataError(
        f"{file.place.label} has the columns {listed(ours)} where {first.place.label} has"
        f" {listed(others)}; "
        + (f"it lacks {listed(lacks)}; " if lacks else "")
        + "give files with the same header, in the same order"
    )


def _scan(files: Sequence[TextFile], label: str) -> Scan:
    comma = any(file.dialect.decimal == "," for file in files)
    decimal = "," if comma else "."
    files = [replace(f, dialect=replace(f.dialect, decimal=decimal)) for f in files]
    pieces = [_piece(file) for file in files]
    of = {piece.read: file for piece, file in zip(pieces, files, strict=True)}

    def line(piece: Piece, row: int) -> str:
        file = of.get(piece.read)
        return line_of(file, piece.first + row) if file else ""

    again = all(file.place.again for file in files)
    known = again and all(file.state for file in files)
    marks = [f"{file.place.label} {' '.join(map(str, file.state))}" for file in files]
    fingerprint = "\n".join(marks) if known else ""
    return Scan(
        files[0].dialect.names, label, tuple(pieces), again, fingerprint, decimal, line, slow=True
    )


def _piece(file: TextFile) -> Piece:
    names = file.dialect.names

    def read(wanted: Sequence[str]) -> Iterator[Any]:
        return batches(file, [names.index(name) for name in wanted], wanted)

    label = file.place.label
    return Piece(label, 0, None, read if file.place.again else read_once(label, read))
