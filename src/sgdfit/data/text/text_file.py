"""One delimited text, read in blocks that two threads parse."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sgdfit.data.numeric import shown
from sgdfit.data.scan import BATCH_ROWS
from sgdfit.data.text.block import Block, blocks
from sgdfit.data.text.column_types import Types, columns_of, first_unlike
from sgdfit.data.text.delimited import wrong_row
from sgdfit.data.text.dialect import Dialect, rows
from sgdfit.data.text.places import TextPlace, opened, told
from sgdfit.errors import DataError

__all__ = ["TextFile", "batches", "line_of", "state_of"]

THREADS = 2
# Blocks that are read while others are parsed.
AHEAD = 3


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


class Mark(NamedTuple):
    """Where a block begins, and whether each of its rows is one line."""

    row: int
    line: int
    plain: bool


def batches(file: TextFile, positions: Sequence[int], names: Sequence[str]) -> Iterator[Any]:
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


def line_of(file: TextFile, row: int) -> str:
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


def state_of(place: TextPlace) -> tuple[int, ...]:
    """Return what changes when a text does.

    Raises
    ------
    DataError
        When it is gone.
    """
    with told(place):
        return place.mark()


def _refuse_changed(file: TextFile) -> None:
    if state_of(file.place) != file.state:
        raise DataError(
            f"{file.place.label} has changed since it was opened; fit again, once nothing writes"
            " to it any more"
        )
