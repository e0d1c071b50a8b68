"""Delimited text to Arrow columns: one parser, of a whole text, of blocks, of lines that arrive."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.floats import MISSING_SPELLINGS
from sgdfit.data.table import Table
from sgdfit.data.text.dialect import (
    COMMA_NUMBER,
    DATE,
    ERROR_BYTES,
    POINT_NUMBER,
    WORD,
    Dialect,
    find_dialect,
    is_comment,
    rows,
)
from sgdfit.errors import DataError, counted

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
TAB, NEWLINE, RETURN, BLANK, QUOTE, SIGN = b'\t\n\r "#'
# A row that is longer has a quote that is never closed.
LONGEST_ROW = 1 << 26
# So few values are converted sooner by Python than by Arrow.
FEW = 64

Types = Mapping[int, Any]
Array = np.ndarray[Any, Any]


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


def has_old_ends(head: bytes) -> bool:
    """Tell lines that end as on old Macintosh computers, with a carriage return alone."""
    return b"\r" in head and b"\n" not in head


def open_delimited(data: bytes, label: str) -> Table:
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
    data = data.replace(b"\r", b"\n") if has_old_ends(data) else data
    dialect = find_dialect(data, label, MISSING_SPELLINGS)

    def fetch(positions: Sequence[int]) -> list[Any]:
        import pyarrow as pa

        try:
            table = parsed(data[dialect.start :], dialect, positions, threads=True)
        except pa.ArrowInvalid as error:
            raise wrong_row(data, dialect, label, error) from error
        return [table.column(str(position)) for position in positions]

    return Table(
        dialect.names, label, fetch, lambda row: line_of(data, dialect, row), dialect.decimal
    )


def parsed(
    text: bytes,
    dialect: Dialect,
    positions: Sequence[int],
    types: Types | None = None,
    *,
    threads: bool = False,
) -> Any:
    r"""Return the columns at ``positions`` as an Arrow table, whose names are the positions.

    Parameters
    ----------
    text : bytes
        Rows, without a header.
    dialect : Dialect
    positions : sequence of int
    types : mapping of int to pyarrow.DataType, optional
        The types of columns; those of others are found from their values.
    threads : bool
        Whether Arrow parses on several threads.

    Raises
    ------
    pyarrow.ArrowInvalid
        When a row has too few or too many fields, or a value is not of the type that is asked for.

    Examples
    --------
    >>> dialect = find_dialect(b"1,2\n3,4\n", "data.csv", [])
    >>> parsed(b"1,2\n3,4\n", dialect, [1]).to_pydict()
    {'1': [2, 4]}
    """
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    text, separator = _plain_rows(text, dialect)
    # A row has to fit into two of Arrow's blocks.
    size = max(1 << 20, 16 * text.find(b"\n")) if threads else max(1, len(text))
    return arrow_csv.read_csv(
        pa.BufferReader(text),
        arrow_csv.ReadOptions(
            column_names=[str(place) for place in range(len(dialect.names))],
            block_size=size,
            use_threads=threads,
        ),
        arrow_csv.ParseOptions(
            delimiter=separator,
            newlines_in_values=b'"' in text,
            invalid_row_handler=lambda row: "error" if row.text.strip() else "skip",
        ),
        arrow_csv.ConvertOptions(
            include_columns=[str(position) for position in positions] or ["0"],
            column_types={str(position): kind for position, kind in (types or {}).items()},
            null_values=list(MISSING_SPELLINGS),
            strings_can_be_null=True,
            decimal_point=dialect.decimal,
        ),
    )


def _plain_rows(text: bytes, dialect: Dialect) -> tuple[bytes, str]:
    """Return what Arrow can read: no comments, and one blank for each run of them."""
    text = without_comments(text)
    # Arrow would take a line of blanks for a row, where there is one column.
    if dialect.separator != " " and (len(dialect.names) > 1 or b" " not in text):
        return text, dialect.separator
    if dialect.separator != " " or b'"' not in text:
        return _single_blanks(text), dialect.separator
    words = re.compile(WORD.pattern.encode())
    return b"\n".join(b"\t".join(words.findall(line)) for line in text.splitlines()), "\t"


def _single_blanks(text: bytes) -> bytes:
    """Leave one blank of each run, and none at the ends of lines.

    NumPy lets other threads go on meanwhile, which neither `re` nor ``bytes.replace`` does.
    """
    codes = np.frombuffer(text, np.uint8)
    blank = (codes == BLANK) | (codes == TAB)
    if not blank.any():
        return text
    following = np.append(blank[1:], True)
    codes = np.where(blank, BLANK, codes).astype(np.uint8)[~(blank & following)]
    begins = np.append(True, codes[:-1] == NEWLINE)
    ends = np.append(codes[1:] == NEWLINE, True)
    text = codes[~((codes == BLANK) & (begins | ends))].tobytes()
    return text.replace(b" \r\n", b"\r\n")


def without_comments(text: bytes) -> bytes:
    r"""Empty the lines that begin with ``#``.

    Examples
    --------
    >>> without_comments(b"1,2\n # two\n3,#4\n")
    b'1,2\n\n3,#4\n'
    """
    if b"#" not in text:
        return text
    codes = np.frombuffer(text, np.uint8)
    signs = np.flatnonzero(codes == SIGN)
    signs = signs[(signs == 0) | np.isin(codes[np.maximum(signs - 1, 0)], (NEWLINE, BLANK, TAB))]
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


def wrong_row(data: bytes, dialect: Dialect, label: str, error: Exception) -> DataError:
    """Return the error that names the first row with too few or too many fields."""
    for number, fields in rows(data, dialect):
        if len(fields) != len(dialect.names):
            return _wrong_fields(number, fields, dialect, label, "correct that line")
    return DataError(
        f"{label} cannot be read as delimited text ({error}); check its quotes and line ends"
    )


def _wrong_fields(
    number: int, fields: Sequence[str], dialect: Dialect, label: str, advice: str
) -> DataError:
    reference = "the header has" if dialect.header else "the first row has"
    shown = dialect.separator.join(fields)[:60]
    return DataError(
        f"line {number} of {label} has {counted(len(fields), 'field')} where {reference}"
        f" {len(dialect.names)}: {shown!r}; {advice}"
    )


def line_of(data: bytes, dialect: Dialect, row: int) -> str:
    """Say which line a row is, counted from 0 at ``dialect.start``."""
    return next((f" (line {n})" for k, (n, _) in enumerate(rows(data, dialect)) if k == row), "")


def block_columns(
    text: bytes, dialect: Dialect, positions: Sequence[int], types: Types
) -> tuple[Any, Types]:
    r"""Return the columns at ``positions`` as an Arrow table, and the types of columns from now on.

    A column whose values are none of its type has a wider one from here on.

    Raises
    ------
    pyarrow.ArrowInvalid
        When a row has too few or too many fields.

    Examples
    --------
    >>> import pyarrow as pa
    >>> dialect = find_dialect(b"1,2\n3,4\n", "data.csv", [])
    >>> block_columns(b"5.5,6\n", dialect, [0], {0: pa.int64()})[1]
    {0: DataType(double)}
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    def found(table: Any) -> dict[int, Any]:
        return {place: table.schema.field(str(place)).type for place in positions}

    wanted = {place: types[place] for place in positions if place in types}
    try:
        table = parsed(text, dialect, positions, wanted)
    except pa.ArrowInvalid:
        new = found(parsed(text, dialect, positions))
        wanted = {place: _wider(kind, new[place]) for place, kind in wanted.items()}
        table = parsed(text, dialect, positions, wanted)
    known = {place: kind for place, kind in found(table).items() if not kinds.is_null(kind)}
    return table, {**types, **known}


def _wider(kind: Any, found: Any) -> Any:
    """Return a type that holds the values of two; text where there is none."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if kind == found or kinds.is_null(found):
        return kind
    if all(kinds.is_integer(t) or kinds.is_floating(t) for t in (kind, found)):
        return pa.float64()
    if all(kinds.is_date32(t) or (kinds.is_timestamp(t) and t.tz is None) for t in (kind, found)):
        whole = all(kinds.is_date32(t) or t.unit == "s" for t in (kind, found))
        return pa.timestamp("s" if whole else "ns")
    return pa.binary() if kinds.is_binary(kind) or kinds.is_binary(found) else pa.string()


def first_unlike(column: Any, kind: Any) -> int | None:
    """Return the first row of ``column`` that is no time, where ``kind`` is one and it is text.

    Examples
    --------
    >>> import pyarrow as pa
    >>> first_unlike(pa.chunked_array([["2020-01-01", "1.5"]]), pa.date32())
    1
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    if kind is None or not kinds.is_temporal(kind) or not kinds.is_string(column.type):
        return None
    wide = kind if kinds.is_time(kind) else pa.timestamp("ns", getattr(kind, "tz", None))
    for row in range(len(column)):
        try:
            column.slice(row, 1).cast(wide)
        except pa.ArrowInvalid:
            return row
    return None


class Block(NamedTuple):
    """A run of whole rows: its text, the number of its first line from 1, and how many it has."""

    text: bytes
    line: int
    lines: int


def blocks(
    read: Callable[[int], bytes], separator: str, line: int, label: str, size: int
) -> Iterator[Block]:
    r"""Yield all that ``read`` hands out, in blocks of about ``size`` bytes; comments are emptied.

    ``read`` returns so many bytes, and fewer only at the end.

    Raises
    ------
    DataError
        When a row does not end within 64 MB.

    Examples
    --------
    >>> import io
    >>> text = io.BytesIO(b"1,2\n# three\n3,4")
    >>> [block.text for block in blocks(text.read, ",", 1, "data.csv", size=5)]
    [b'1,2\n', b'\n3,4']
    """
    rest, ended = b"", False
    while not ended:
        # What is longer than a block is looked at anew with each one, so these become longer.
        wanted = max(size, len(rest))
        part = read(wanted)
        ended = len(part) < wanted
        end = len(part) if ended else part.rfind(b"\n") + 1
        # A comment that is not whole yet could not be told from a row.
        whole = without_comments(b"".join((rest, memoryview(part)[:end]))) if end or ended else b""
        cut = len(whole) if ended else last_row_end(whole, separator)
        block, rest = whole[:cut], (whole[cut:] if end else rest) + part[end:]
        if block:
            lines = block.count(b"\n") + (not block.endswith(b"\n"))
            yield Block(block, line, lines)
            line += lines
        elif len(rest) > LONGEST_ROW:
            raise DataError(
                f"the row that begins in line {line} of {label} does not end within"
                f" {len(rest) >> 20} MB; check the quotes there"
            )


def last_row_end(text: bytes, separator: str) -> int:
    r"""Return where the last whole row ends, in bytes; a newline in quotes ends none.

    Examples
    --------
    >>> last_row_end(b'1,2\n3,"a\nb', ",")
    4
    """
    end = text.rfind(b"\n") + 1
    if separator == " " or b'"' not in text:
        return end
    spans = _quoted(text, separator)
    while end:
        before = int(np.searchsorted(spans[:, 0], end))
        if not before or spans[before - 1, 1] < end:
            return end
        end = text.rfind(b"\n", 0, int(spans[before - 1, 0])) + 1
    return 0


def _quoted(text: bytes, separator: str) -> Array:
    """Return where quotes begin and end: in pairs, if each first one stands where a field begins.

    Where one stands within a field, as in ``5"``, they are looked for one by one, which is slow.
    """
    codes = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(codes == QUOTE)
    opening = quotes[::2]
    # two quotes in a row are one that is part of the field
    before = codes[np.maximum(opening - 1, 0)]
    if (np.isin(before, [ord(separator), NEWLINE, RETURN, QUOTE]) | (opening == 0)).all():
        closing = np.append(quotes[1::2], [codes.size] * (quotes.size % 2))
        return np.stack([opening, closing], axis=1)
    begins = rb"(?:\A|(?<=[\r\n" + re.escape(separator.encode()) + rb']))"'
    quoted = re.compile(begins + rb'[^"]*(?:""[^"]*)*(?:"|\Z)')
    found = [match.span() for match in quoted.finditer(text)]
    return np.array(found, np.intp).reshape(-1, 2)


# A number with a fraction, which tells the decimal sign.
FRACTION = re.compile(rb'(?m)(?:^|[;\t| "])[+-]?\d*([.,])\d+(?:[eE][+-]?\d+)?(?=[;\t| "\r]|$)')
ADVICE = (
    "correct that line, or pass missing='drop' (--missing drop on the command line) to leave such"
    " lines out"
)


@dataclass(frozen=True)
class Lines:
    """Rows of text that came together: their columns as text, and where they begin in ``text``."""

    columns: Any
    text: bytes
    dialect: Dialect
    label: str
    lenient: bool
    first: int = 0

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def slice(self, first: int, last: int) -> Lines:
        """Return some of the rows."""
        some = self.columns.slice(first, last - first)
        return replace(self, columns=some, first=self.first + first)

    def table(self) -> Table:
        """Return the rows as a table, which converts the columns that are asked for."""
        return Table(
            self.dialect.names,
            self.label,
            lambda positions: [self._column(place) for place in positions],
            lambda row: line_of(self.text, self.dialect, self.first + row),
            self.dialect.decimal,
        )

    def _column(self, place: int) -> Any:
        import pyarrow as pa

        column = self.columns.column(place)
        texts = column.to_pylist()
        if len(texts) <= FEW and self.dialect.decimal == ".":
            # Arrow knows more spellings, and the words for those that are none.
            with contextlib.suppress(ValueError):
                if not any("_" in text for text in texts if text):
                    return np.array([math.nan if text is None else float(text) for text in texts])
        if self.lenient:
            column = pa.array([t if t and self._is_value(t) else None for t in texts], pa.string())
        if texts and DATE.fullmatch((texts[0] or "").strip()):
            try:
                return column.cast(pa.timestamp("us"))
            except pa.ArrowInvalid:
                return column
        return column

    def _is_value(self, text: str) -> bool:
        text, decimal = text.strip(), self.dialect.decimal
        if decimal == "," and "." in text and "-" not in text[1:]:
            return False
        number = POINT_NUMBER.fullmatch(text) or DATE.fullmatch(text)
        return bool(number or (decimal == "," and COMMA_NUMBER.fullmatch(text)))


class TextArrivals:
    r"""Lines, from blocks of bytes that may end anywhere.

    Parameters
    ----------
    label : str
        How messages name the data.
    lenient : bool
        Whether a line with too few or too many fields is a row without numbers, rather than an
        error.

    Examples
    --------
    >>> text = TextArrivals("standard input")
    >>> [batch.columns.to_pydict() for batch in text.feed(b"x,y\n1,2\n3,")]
    [{'0': ['1'], '1': ['2']}]
    >>> [batch.table().line(0) for batch in text.feed(b"4\n")]
    [' (line 3)']
    """

    def __init__(self, label: str, lenient: bool = False) -> None:
        self._label, self._lenient = label, lenient
        self._tail, self._head = b"", b""
        self._dialect: Dialect | None = None
        self._line, self._sure = 1, False

    def feed(self, block: bytes, final: bool = False) -> Iterator[Lines]:
        """Yield the rows that are complete.

        Raises
        ------
        DataError
            When a line is not like the first, after the rows before it; or when the text ends
            without rows, is binary or is not UTF-8.
        """
        text = self._tail + block
        end = len(text) if final else text.rfind(b"\n") + 1
        whole, self._tail = text[:end], text[end:]
        if self._dialect is None:
            whole = self._begun(whole, final)
        if self._dialect is not None and whole:
            dialect = self._signed(whole, replace(self._dialect, start=0, first_line=self._line))
            self._line += whole.count(b"\n")
            yield from self._rows(without_comments(whole), dialect)

    def _begun(self, whole: bytes, final: bool) -> bytes:
        """Learn how the text is written, once a row is there; return what stands below a header."""
        self._head += whole
        if self._head or final:
            refuse_binary(self._head, self._label)
        lines = [line.strip() for line in self._head.decode(errors="replace").splitlines()]
        content = [line for line in lines if line and not is_comment(line)]
        try:
            found = find_dialect(self._head, self._label, MISSING_SPELLINGS)
        except DataError:
            if final or len(content) > 1:
                raise
            return b""
        self._dialect, self._line = found, found.first_line
        below, self._head = self._head[found.start :], b""
        return below

    def _signed(self, whole: bytes, dialect: Dialect) -> Dialect:
        """Learn the decimal sign from the first fraction."""
        if dialect.separator != "," and not self._sure and self._dialect is not None:
            found = FRACTION.search(whole)
            decimal = found[1].decode() if found else dialect.decimal
            self._sure = found is not None
            self._dialect = replace(self._dialect, decimal=decimal)
            return replace(dialect, decimal=decimal)
        return dialect

    def _rows(self, text: bytes, dialect: Dialect) -> Iterator[Lines]:
        import pyarrow as pa

        places, trouble = range(len(dialect.names)), None
        types = dict.fromkeys(places, pa.string())
        try:
            columns = parsed(text, dialect, places, types)
        except pa.ArrowInvalid:
            text, trouble = self._mended(text, dialect)
            columns = parsed(text, dialect, places, types)
        if len(columns):
            yield Lines(columns, text, dialect, self._label, self._lenient)
        if trouble is not None:
            raise trouble

    def _mended(self, text: bytes, dialect: Dialect) -> tuple[bytes, DataError | None]:
        """Return a text without rows that are not like the first, or all of it before one."""
        kept, trouble = [], None
        lines = text.decode(errors="replace").splitlines(keepends=True)
        for number, line in enumerate(lines, dialect.first_line):
            fields = next((f for _, f in rows(line.encode(), replace(dialect, start=0))), None)
            if fields is None or len(fields) == len(dialect.names):
                kept.append(line)
            elif self._lenient:
                kept.append(dialect.separator.join(["NA"] * len(dialect.names)) + "\n")
            else:
                trouble = _wrong_fields(number, fields, dialect, self._label, ADVICE)
                break
        return "".join(kept).encode(), trouble
