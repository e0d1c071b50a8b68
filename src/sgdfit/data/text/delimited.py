"""CSV, TSV and other delimited text, read by Arrow."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sgdfit.data.arrow import MISSING_SPELLINGS
from sgdfit.data.table import Table
from sgdfit.data.text.dialect import ERROR_BYTES, WORD, Data, Dialect, find_dialect, rows
from sgdfit.data.wording import counted
from sgdfit.errors import DataError

__all__ = [
    "HEAD",
    "open_delimited",
    "parsed",
    "refuse_binary",
    "with_newlines",
    "without_comments",
    "wrong_row",
]

HEAD = 65_536
LOOKS = (
    (b"PAR1", "Parquet; rename it to .parquet"),
    (b"ARROW1", "Arrow; rename it to .feather"),
    (b"\x1f\x8b", "gzip; rename it to .csv.gz"),
    (b"BZh", "bzip2; rename it to .csv.bz2"),
    (b"\x28\xb5\x2f\xfd", "Zstandard; rename it to .csv.zst"),
    (b"PK\x03\x04", "a spreadsheet or a zip archive; save the sheet as CSV, or unpack it"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself with git lfs pull"),
    (b"<!DOCTYPE", "a web page; download the file itself"),
    (b"<html", "a web page; download the file itself"),
    (b'{"', "JSON; read it with pandas and pass the frame"),
    (b"[{", "JSON; read it with pandas and pass the frame"),
    (b"\xff\xfe", "UTF-16; save it again as UTF-8"),
    (b"\xfe\xff", "UTF-16; save it again as UTF-8"),
)
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
TAB, NEWLINE, BLANK, SIGN = b"\t\n #"


def open_delimited(data: Data, label: str) -> Table:
    r"""Open delimited text; the numbers are read when they are asked for.

    Raises
    ------
    DataError
        When it is empty, binary, has no rows, or a row has too few or too many fields.

    Examples
    --------
    >>> open_delimited(b"# seconds, volts\n0.5, 1\n1.5, 3\n", "data.csv").names
    ('x', 'y')
    """
    refuse_binary(data[:HEAD], label)
    data = with_newlines(data)
    dialect = find_dialect(data, label, MISSING_SPELLINGS)
    line = functools.partial(_line, data, dialect)
    fetch = functools.partial(_fetch, data, dialect, label)
    return Table(dialect.names, label, fetch, line, dialect.decimal)


def refuse_binary(head: bytes, label: str) -> None:
    """Refuse what begins unlike text.

    Raises
    ------
    DataError
        When it is empty, binary, or in a format that has its own reader.
    """
    if not head:
        raise DataError(f"{label} is empty (0 bytes); give a file with rows")
    for magic, words in LOOKS:
        if head.startswith(magic):
            raise DataError(f"{label} is not delimited text: it starts like {words}")
    fewer, more = sorted((head[::2].count(0), head[1::2].count(0)))
    if 4 * more > len(head) > 16 * fewer:
        raise DataError(
            f"{label} is not UTF-8: every other byte is 0, as in UTF-16; save it again as UTF-8"
        )
    found = CONTROL.search(head)
    if found:
        raise DataError(
            f"{label} is binary, not delimited text: byte {found.start() + 1} is"
            f" 0x{found[0][0]:02x}; give a text file, or name it by its true format"
        )


def with_newlines(data: Data) -> Data:
    r"""Bring the line ends of old Macintosh files to today's.

    Examples
    --------
    >>> with_newlines(b"1,2\r3,4\r")
    b'1,2\n3,4\n'
    """
    head = data[:HEAD]
    old = b"\r" in head and data.find(b"\n") < 0
    return bytes(data).replace(b"\r", b"\n") if old else data


def _fetch(data: Data, dialect: Dialect, label: str, positions: Sequence[int]) -> list[Any]:
    import pyarrow as pa

    try:
        table = parsed(data, dialect, positions, size=_block_size(data, dialect))
    except pa.ArrowInvalid as error:
        raise DataError(wrong_row(data, dialect, label, error)) from error
    return [table.column(str(position)) for position in positions]


def parsed(
    data: Data,
    dialect: Dialect,
    positions: Sequence[int],
    types: Mapping[int, Any] | None = None,
    *,
    size: int,
    threads: bool = True,
) -> Any:
    r"""Return the columns at ``positions`` as an Arrow table, whose names are the positions.

    Parameters
    ----------
    data : bytes or mmap
        Text whose rows begin at ``dialect.start``.
    dialect : Dialect
    positions : sequence of int
    types : mapping of int to pyarrow.DataType, optional
        The types of columns; those of others are found from their values.
    size : int
        How many bytes Arrow parses at once; a row must fit into two of them.
    threads : bool
        Whether Arrow parses on several threads.

    Raises
    ------
    pyarrow.ArrowInvalid
        When a row has too few or too many fields, or a value is not of the type that is asked for.

    Examples
    --------
    >>> dialect = find_dialect(b"1,2\n3,4\n", "data.csv", [])
    >>> parsed(b"1,2\n3,4\n", dialect, [1], size=1024).to_pydict()
    {'1': [2, 4]}
    """
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    body, separator = _body(data, dialect)
    names = [str(place) for place in range(len(dialect.names))]
    return arrow_csv.read_csv(
        pa.BufferReader(pa.py_buffer(body)),
        arrow_csv.ReadOptions(column_names=names, block_size=size, use_threads=threads),
        arrow_csv.ParseOptions(
            delimiter=separator,
            newlines_in_values=data.find(b'"') >= 0,
            invalid_row_handler=_skip_blank,
        ),
        arrow_csv.ConvertOptions(
            include_columns=[str(position) for position in positions] or ["0"],
            column_types={str(position): kind for position, kind in (types or {}).items()},
            null_values=list(MISSING_SPELLINGS),
            strings_can_be_null=True,
            decimal_point=dialect.decimal,
        ),
    )


def _block_size(data: Data, dialect: Dialect) -> int:
    """Arrow's own default, or more where rows are long: a row must fit into two blocks."""
    end = data.find(b"\n", dialect.start)
    return max(1 << 20, 16 * (end - dialect.start))


def _skip_blank(row: Any) -> str:
    return "error" if row.text.strip() else "skip"


def _body(data: Data, dialect: Dialect) -> tuple[Any, str]:
    """Return what Arrow can read: no comments, and one blank for each run of them."""
    body: Any = memoryview(data)[dialect.start :]
    if data.find(b"#", dialect.start) >= 0:
        body = without_comments(bytes(body))
    if len(dialect.names) == 1 and data.find(b" ", dialect.start) >= 0:
        # Arrow would take a line of blanks for a row.
        return _single_blanks(bytes(body)), dialect.separator
    if dialect.separator != " ":
        return body, dialect.separator
    if data.find(b'"', dialect.start) < 0:
        return _single_blanks(bytes(body)), " "
    words = re.compile(WORD.pattern.encode())
    return b"\n".join(b"\t".join(words.findall(line)) for line in bytes(body).splitlines()), "\t"


def _single_blanks(text: bytes) -> bytes:
    r"""Leave one blank of each run, and none at the ends of lines.

    NumPy lets other threads go on meanwhile, which neither `re` nor ``bytes.replace`` does.
    """
    codes = np.frombuffer(text, np.uint8)
    blank = (codes == BLANK) | (codes == TAB)
    if not blank.any():
        return text
    following = np.append(blank[1:], True)
    codes = np.where(blank, BLANK, codes).astype(np.uint8)[~(blank & following)]
    blank = codes == BLANK
    begins = np.append(True, codes[:-1] == NEWLINE)
    ends = np.append(codes[1:] == NEWLINE, True)
    text = codes[~(blank & (begins | ends))].tobytes()
    return text.replace(b" \r\n", b"\r\n")


def without_comments(text: bytes) -> bytes:
    r"""Empty the lines that begin with ``#``.

    Examples
    --------
    >>> without_comments(b"1,2\n # two\n3,#4\n")
    b'1,2\n\n3,#4\n'
    """
    codes = np.frombuffer(text, np.uint8)
    signs = np.flatnonzero(codes == SIGN)
    before = codes[np.maximum(signs - 1, 0)]
    signs = signs[(signs == 0) | (before == NEWLINE) | (before == BLANK) | (before == TAB)]
    parts, done = [], 0
    for sign in signs.tolist():
        begin = max(text.rfind(b"\n", 0, sign) + 1, done)
        if sign < done or text[begin:sign].strip(b" \t") or ERROR_BYTES.match(text, sign):
            continue
        parts.append(text[done:begin])
        end = text.find(b"\n", sign)
        end = len(text) if end < 0 else end
        mark = text.find(b"\r", sign, end)
        done = end if mark < 0 else mark
    return b"".join([*parts, text[done:]])


def wrong_row(data: Data, dialect: Dialect, label: str, error: Exception) -> str:
    """Return a sentence that names the first row with too few or too many fields."""
    expected = len(dialect.names)
    reference = "the header has" if dialect.header else "the first row has"
    for number, fields in rows(data, dialect):
        if len(fields) != expected:
            return (
                f"line {number} of {label} has {counted(len(fields), 'field')} where {reference}"
                f" {expected}: {dialect.separator.join(fields)[:60]!r}; correct that line"
            )
    return f"{label} cannot be read as delimited text ({error}); check its quotes and line ends"


def _line(data: Data, dialect: Dialect, row: int) -> str:
    for place, (number, _) in enumerate(rows(data, dialect)):
        if place == row:
            return f" (line {number})"
    return ""
