"""Delimited text to columns: whole, or in blocks that are parsed by themselves."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    Data,
    Dialect,
    find_dialect,
    is_comment,
    rows,
    split,
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


Types = Mapping[int, Any]


def settled(text: bytes, dialect: Dialect) -> Types:
    r"""Return the types of all columns of some whole rows, by position.

    Rows that cannot be read settle nothing: what is wrong with them is said once they are needed.

    Examples
    --------
    >>> from sgdfit.data.text.dialect import find_dialect
    >>> text = b"1,2.5\n3,4\n"
    >>> settled(text, find_dialect(text, "data.csv", []))
    {0: DataType(int64), 1: DataType(double)}
    """
    import pyarrow as pa

    places = range(len(dialect.names))
    try:
        table = parsed(text, dialect, places, size=len(text))
    except pa.ArrowInvalid:
        return {}
    return _known(dict(zip(places, table.schema.types, strict=True)))


def columns_of(
    text: bytes, dialect: Dialect, positions: Sequence[int], types: Types
) -> tuple[Any, Types]:
    """Return the columns at ``positions`` as an Arrow table, and their types from now on.

    Raises
    ------
    pyarrow.ArrowInvalid
        When a row has too few or too many fields.
    """
    import pyarrow as pa

    wanted = {place: types[place] for place in positions if place in types}
    try:
        table = parsed(text, dialect, positions, wanted, size=len(text), threads=False)
    except pa.ArrowInvalid:
        found = parsed(text, dialect, positions, size=len(text), threads=False)
        wanted = _wider(wanted, _named(found, positions))
        table = parsed(text, dialect, positions, wanted, size=len(text), threads=False)
    return table, {**types, **_known(_named(table, positions))}


def _named(table: Any, positions: Sequence[int]) -> dict[int, Any]:
    return {place: table.schema.field(str(place)).type for place in positions}


def _known(types: dict[int, Any]) -> dict[int, Any]:
    """Leave out columns that are empty so far."""
    import pyarrow.types as kinds

    return {place: kind for place, kind in types.items() if not kinds.is_null(kind)}


def _wider(types: Types, found: Types) -> dict[int, Any]:
    wide = {place: _both(types.get(place), kind) for place, kind in found.items()}
    return _known(wide)


def _both(kind: Any, found: Any) -> Any:
    """Return a type that holds the values of two; text where there is none."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if kind is None or kind == found or kinds.is_null(found):
        return found if kind is None else kind
    for test, wide in (
        (kinds.is_binary, pa.binary()),
        (lambda t: kinds.is_integer(t) or kinds.is_floating(t), pa.float64()),
        (lambda t: kinds.is_date32(t) or t == pa.timestamp("s"), pa.timestamp("s")),
        (lambda t: kinds.is_date32(t) or _is_local(t), pa.timestamp("ns")),
    ):
        either = any if wide == pa.binary() else all
        if either(test(t) for t in (kind, found)):
            return wide
    return pa.string()


def _is_local(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_timestamp(kind)) and kind.tz is None


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
    low, high = 0, len(column)
    while low < high:
        middle = (low + high) // 2
        if _casts(column.slice(0, middle + 1), wide):
            low = middle + 1
        else:
            high = middle
    return low if low < len(column) else None


def _casts(column: Any, kind: Any) -> bool:
    import pyarrow as pa

    try:
        column.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


# A quarter of a common last-level cache; larger blocks are not read faster.
BLOCK = 1 << 21
# A row that is longer has a quote that is never closed.
LONGEST_ROW = 1 << 26
QUOTE, RETURN = 34, 13


class Block(NamedTuple):
    """A run of whole rows.

    Attributes
    ----------
    text : bytes
        The rows; comments are blank lines.
    line : int
        The number of its first line, counted from 1.
    lines : int
        How many lines it has, the last of the file included if it has no end.
    """

    text: bytes
    line: int
    lines: int


def blocks(
    take: Callable[[int], bytes], separator: str, line: int, label: str, size: int = BLOCK
) -> Iterator[Block]:
    r"""Yield all that ``take`` hands out, in blocks of about ``size`` bytes.

    Parameters
    ----------
    take : callable
        Returns so many bytes, and fewer only at the end.
    separator : str
        A blank stands for any run of blanks; quotes then end with their line.
    line : int
        The number of the first line.
    label : str
        How messages name the text.
    size : int

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
    rest, wanted = b"", size
    while True:
        part = take(wanted)
        if len(part) < wanted:
            text = rest + part
            if text:
                yield _block(without_comments(text) if b"#" in text else text, line)
            return
        whole, begun = _whole_lines(rest, part)
        end = last_row_end(whole, separator)
        rest, wanted = whole[end:] + begun, size if end else 2 * wanted
        if end:
            block = _block(whole[:end] if end < len(whole) else whole, line)
            line += block.lines
            yield block
        elif len(rest) > LONGEST_ROW:
            raise DataError(
                f"the row that begins in line {line} of {label} does not end within"
                f" {len(rest) >> 20} MB; check the quotes there"
            )


def _block(text: bytes, line: int) -> Block:
    ends = int(np.count_nonzero(np.frombuffer(text, np.uint8) == NEWLINE))
    return Block(text, line, ends + (not text.endswith(b"\n")))


def _whole_lines(rest: bytes, part: bytes) -> tuple[bytes, bytes]:
    """Return the lines that have an end, without comments, and the beginning of the next."""
    end = part.rfind(b"\n") + 1
    if not end:
        rest, part = b"", rest + part
        end = part.rfind(b"\n") + 1
    whole = b"".join((rest, memoryview(part)[:end]))
    return (without_comments(whole) if b"#" in whole else whole), part[end:]


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
    codes = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(codes == QUOTE)
    spans = _pairs(codes, quotes, separator)
    if spans is None:
        spans = _spans(text, separator)
    while end:
        before = int(np.searchsorted(spans[:, 0], end))
        if not before or spans[before - 1, 1] < end:
            return end
        end = text.rfind(b"\n", 0, int(spans[before - 1, 0])) + 1
    return 0


def _pairs(
    codes: np.ndarray[tuple[int], np.dtype[np.uint8]],
    quotes: np.ndarray[tuple[int], np.dtype[np.intp]],
    separator: str,
) -> np.ndarray[tuple[int, int], np.dtype[np.intp]] | None:
    """Return where quotes begin and end; None where one stands within a field, as in ``5"``."""
    opening = quotes[::2]
    before = codes[np.maximum(opening - 1, 0)]
    # two quotes in a row are one that is part of the field
    begins = np.isin(before, [ord(separator), NEWLINE, RETURN, QUOTE]) | (opening == 0)
    if not begins.all():
        return None
    closing = np.full(opening.size, codes.size)
    closing[: quotes.size // 2] = quotes[1::2]
    return np.stack([opening, closing], axis=1)


def _spans(text: bytes, separator: str) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """Return the same for any text, slowly: a quote opens only at the beginning of a field."""
    begins = rb"(?:\A|(?<=[\r\n" + re.escape(separator.encode()) + rb']))"'
    quoted = re.compile(begins + rb'[^"]*(?:""[^"]*)*(?:"|\Z)')
    found = [match.span() for match in quoted.finditer(text)]
    return np.array(found, np.intp).reshape(-1, 2)


# So few values are converted sooner by Python than by Arrow.
FEW = 64
FRACTION = re.compile(r"[+-]?\d*([.,])\d+(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Lines:
    """Rows of text that came together.

    Parameters
    ----------
    names : tuple of str
    decimal : str
    label : str
    rows : list of lists of str
        The fields.
    numbers : list of int
        The line of each row, counted from 1.
    lenient : bool
        Whether a field that is no number is missing, rather than an error.
    """

    names: tuple[str, ...]
    decimal: str
    label: str
    rows: list[list[str]]
    numbers: list[int]
    lenient: bool

    def __len__(self) -> int:
        return len(self.rows)

    def slice(self, first: int, last: int) -> Lines:
        """Return some of the rows."""
        some = slice(first, last)
        return Lines(
            self.names, self.decimal, self.label, self.rows[some], self.numbers[some], self.lenient
        )

    def table(self) -> Table:
        """Return the rows as a table, which converts the columns that are asked for."""
        return Table(self.names, self.label, self._fetch, self._line, self.decimal)

    def _line(self, row: int) -> str:
        return f" (line {self.numbers[row]})"

    def _fetch(self, positions: Sequence[int]) -> list[Any]:
        return [self._column([row[place] for row in self.rows]) for place in positions]

    def _column(self, texts: list[str]) -> Any:
        if len(texts) <= FEW and self.decimal == ".":
            try:
                if not any("_" in text for text in texts):
                    return np.array([float(text) for text in texts])
            except ValueError:
                pass  # Arrow knows more spellings, and the words for those that are none
        import pyarrow as pa

        if self.lenient:
            pattern = POINT_NUMBER if self.decimal == "." else COMMA_NUMBER
            texts = [t if self._is_value(t.strip(), pattern) else "" for t in texts]
        column = pa.array(texts, pa.large_string())
        if texts and DATE.fullmatch(texts[0].strip()):
            try:
                return column.cast(pa.timestamp("us"))
            except pa.ArrowInvalid:
                return column
        return column

    def _is_value(self, text: str, pattern: re.Pattern[str]) -> bool:
        numeric = pattern.fullmatch(text) or POINT_NUMBER.fullmatch(text) or DATE.fullmatch(text)
        return bool(numeric) and not (self.decimal == "," and "." in text and "-" not in text[1:])


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
    >>> [batch.rows for batch in text.feed(b"x,y\n1,2\n3,")]
    [[['1', '2']]]
    >>> [batch.numbers for batch in text.feed(b"4\n")]
    [[3]]
    """

    def __init__(self, label: str, lenient: bool = False) -> None:
        self._label, self._lenient = label, lenient
        self._tail, self._head = b"", b""
        self._dialect: Dialect | None = None
        self._decimal: str | None = None
        self._number = 0

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
            yield from self._rows(whole, self._dialect)

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
        self._dialect, self._number = found, found.first_line - 1
        below, self._head = self._head[found.start :], b""
        return below

    def _rows(self, whole: bytes, dialect: Dialect) -> Iterator[Lines]:
        rows: list[list[str]] = []
        numbers: list[int] = []
        count, trouble = len(dialect.names), None
        plain = dialect.separator != " " and b'"' not in whole
        for line in whole.decode(errors="replace").removesuffix("\n").split("\n"):
            self._number += 1
            if not line.strip() or is_comment(line):
                continue
            fields = line.split(dialect.separator) if plain else split(line, dialect.separator)
            if len(fields) != count:
                if not self._lenient:
                    trouble = self._wrong(line.strip(), len(fields), dialect)
                    break
                fields = [""] * count
            rows.append(fields)
            numbers.append(self._number)
        if rows:
            decimal = self._sign(rows, dialect)
            yield Lines(dialect.names, decimal, self._label, rows, numbers, self._lenient)
        if trouble is not None:
            raise trouble

    def _sign(self, rows: list[list[str]], dialect: Dialect) -> str:
        """Return the decimal sign, which the first fraction tells where no row before had one."""
        if dialect.separator == "," or self._decimal is not None:
            return self._decimal or "."
        for row in rows:
            for field in row:
                found = FRACTION.fullmatch(field.strip())
                if found:
                    self._decimal = found[1]
                    return self._decimal
        return dialect.decimal

    def _wrong(self, line: str, fields: int, dialect: Dialect) -> DataError:
        reference = "the header has" if dialect.header else "the first row has"
        return DataError(
            f"line {self._number} of {self._label} has {counted(fields, 'field')} where {reference}"
            f" {len(dialect.names)}: {line[:60]!r}; correct that line, or pass missing='drop'"
            " (--missing drop on the command line) to leave such lines out"
        )
