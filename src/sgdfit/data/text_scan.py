"""Delimited text of any size, read in blocks; see `sgdfit.data.delimited` for what is read how."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sgdfit.data.arrow import MISSING_SPELLINGS
from sgdfit.data.delimited import HEAD, open_delimited, refuse_binary, with_newlines, wrong_row
from sgdfit.data.dialect import Dialect, find_dialect, rows
from sgdfit.data.numeric import shown
from sgdfit.data.scan import BATCH_ROWS, Piece, Scan
from sgdfit.data.scanned import read_once, scanned_table
from sgdfit.data.table import Table
from sgdfit.data.text_blocks import BLOCK, Block, blocks
from sgdfit.data.text_places import TextPlace, file_place, held, opened, told
from sgdfit.data.text_types import Types, columns_of, first_unlike, settled
from sgdfit.errors import DataError

__all__ = ["SMALL", "TextFile", "scan_text"]

# What is shorter, uncompressed, is read as a whole.
SMALL = 32 << 20
# Separator, header and decimal sign are found from so many bytes at most.
LOOKED_AT = 1 << 22
THREADS = 2
# Blocks that are read while others are parsed.
AHEAD = 3


class Mark(NamedTuple):
    """Where a block begins, and whether each of its rows is one line."""

    row: int
    line: int
    plain: bool


@dataclass(frozen=True, eq=False)
class TextFile:
    """One delimited text.

    Parameters
    ----------
    place : TextPlace
    dialect : Dialect
    types : mapping of int to pyarrow.DataType
        Of its columns, by position, as far as they are known.
    old : bool
        Whether lines end with a carriage return alone.
    state : tuple of int
        What ``place.mark()`` returned when the text was looked at.
    size : int
        How many bytes are parsed at once.
    marks : dict of int to Mark
        Of the blocks read so far, by number: always the same, whoever reads them.
    """

    place: TextPlace
    dialect: Dialect
    types: Types
    old: bool
    state: tuple[int, ...]
    size: int
    marks: dict[int, Mark] = field(default_factory=dict)


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
    >>> from sgdfit.data.text_places import stream_place
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
    return place.compression is None and _state(place)[:1] > (max(small, LOOKED_AT),)


def _label(places: Sequence[TextPlace]) -> str:
    return places[0].label if len(places) == 1 else f"the data ({len(places)} files)"


def _alike(places: Sequence[TextPlace], size: int) -> list[TextFile]:
    """Look at each text; one with other columns than the first is refused."""
    files: list[TextFile] = []
    for each in places:
        place, head, _ = held(each, LOOKED_AT)
        file = _looked_at(place, head, size, files[0].types if files else None)
        if files:
            _refuse_other_columns(file, files[0])
        files.append(file)
    return files


def _looked_at(place: TextPlace, head: bytes, size: int, types: Types | None = None) -> TextFile:
    state = _state(place)
    refuse_binary(head[:HEAD], place.label)
    text = with_newlines(head)
    dialect = find_dialect(text, place.label, MISSING_SPELLINGS)
    if types is None:
        begun = io.BytesIO(text[dialect.start :]).read
        first = next(blocks(begun, dialect.separator, dialect.first_line, place.label, size))
        types = settled(first.text, replace(dialect, start=0))
    return TextFile(
        place,
        dialect,
        types,
        text is not head,
        state,
        size,
    )


def _refuse_other_columns(file: TextFile, first: TextFile) -> None:
    ours, others = file.dialect.names, first.dialect.names
    if ours == others:
        return
    lacks = [name for name in others if name not in ours]
    raise DataError(
        f"{file.place.label} has the columns {_listed(ours)} where {first.place.label} has"
        f" {_listed(others)}; "
        + (f"it lacks {_listed(lacks)}; " if lacks else "")
        + "give files with the same header, in the same order"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:20]) + (", …" if len(names) > 20 else "")


def _scan(files: Sequence[TextFile], label: str) -> Scan:
    comma = any(file.dialect.decimal == "," for file in files)
    decimal = "," if comma else "."
    files = [replace(f, dialect=replace(f.dialect, decimal=decimal)) for f in files]
    pieces = [_piece(file) for file in files]
    of = {piece.read: file for piece, file in zip(pieces, files, strict=True)}

    def line(piece: Piece, row: int) -> str:
        file = of.get(piece.read)
        return _line(file, piece.first + row) if file else ""

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
        return _batches(file, [names.index(name) for name in wanted], wanted)

    label = file.place.label
    return Piece(label, 0, None, read if file.place.again else read_once(label, read))


def _batches(file: TextFile, positions: Sequence[int], names: Sequence[str]) -> Iterator[Any]:
    """Yield record batches, parsed on two threads while the next blocks are read."""
    _refuse_changed(file)
    first = 0
    try:
        for number, block, table in _tables(file, positions):
            mark = Mark(first, block.line, table.num_rows == block.lines)
            file.marks[number] = mark
            first += table.num_rows
            yield from table.rename_columns(list(names)).to_batches(BATCH_ROWS)
    except DataError:
        _refuse_changed(file)
        raise
    _refuse_changed(file)


def _tables(file: TextFile, positions: Sequence[int]) -> Iterator[tuple[int, Block, Any]]:
    types = file.types
    waiting: deque[tuple[int, Block, Future[tuple[Any, Types]]]] = deque()
    with ThreadPoolExecutor(THREADS, "sgdfit-text") as pool:
        try:
            for number, block in enumerate(_blocks(file)):
                waiting.append((number, block, pool.submit(_parsed, file, block, positions, types)))
                while len(waiting) > AHEAD:
                    number, block, job = waiting.popleft()
                    table, types = job.result()
                    yield number, block, table
            while waiting:
                number, block, job = waiting.popleft()
                yield number, block, job.result()[0]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _blocks(file: TextFile) -> Iterator[Block]:
    dialect, label = file.dialect, file.place.label
    with opened(file.place) as take:
        take(dialect.start)
        read = (lambda size: take(size).replace(b"\r", b"\n")) if file.old else take
        yield from blocks(read, dialect.separator, dialect.first_line, label, file.size)


def _parsed(
    file: TextFile, block: Block, positions: Sequence[int], types: Types
) -> tuple[Any, Types]:
    import pyarrow as pa

    dialect = replace(file.dialect, start=0, first_line=block.line)
    if not block.text or block.text.isspace():
        return pa.table({str(place): pa.nulls(0) for place in positions}), types
    try:
        table, widened = columns_of(block.text, dialect, positions, types)
    except pa.ArrowInvalid as error:
        label = file.place.label
        raise DataError(wrong_row(block.text, dialect, label, error)) from error
    for place in positions:
        row = first_unlike(table.column(str(place)), types.get(place))
        if row is not None:
            value = table.column(str(place))[row].as_py()
            raise DataError(_unlike(file, block, place, row, value))
    return table, widened


def _unlike(file: TextFile, block: Block, place: int, row: int, value: Any) -> str:
    dialect = replace(file.dialect, start=0, first_line=block.line)
    line = next((n for k, (n, _) in enumerate(rows(block.text, dialect)) if k == row), block.line)
    return (
        f"column {file.dialect.names[place]!r} of {file.place.label} holds {shown(value)} in line"
        f" {line}, where rows before it hold dates or times; correct it, leave it empty if it is"
        " missing, or leave the column out of the formula"
    )


def _line(file: TextFile, row: int) -> str:
    """Say which line a row is, from the marks of the blocks that have been read."""
    known = sorted(file.marks.items())
    found = [(number, mark) for number, mark in known if mark.row <= row]
    if not found:
        return ""
    number, mark = found[-1]
    if mark.plain:
        return f" (line {mark.line + row - mark.row})"
    if not file.place.again:
        return ""
    block = next(b for k, b in enumerate(_blocks(file)) if k == number)
    dialect = replace(file.dialect, start=0, first_line=block.line)
    walk = enumerate(rows(block.text, dialect), start=mark.row)
    return next((f" (line {line})" for place, (line, _) in walk if place == row), "")


def _state(place: TextPlace) -> tuple[int, ...]:
    with told(place):
        return place.mark()


def _refuse_changed(file: TextFile) -> None:
    if _state(file.place) != file.state:
        raise DataError(
            f"{file.place.label} has changed since it was opened; fit again, once nothing writes"
            " to it any more"
        )
