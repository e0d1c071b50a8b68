"""How delimited text is written: its separator, decimal sign, header, found from its start."""

from __future__ import annotations

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import TypeAlias

from sgdfit.data.table import clean_names
from sgdfit.errors import DataError

__all__ = ["ERROR_BYTES", "Data", "Dialect", "find_dialect", "is_comment", "lines", "rows"]

Data: TypeAlias = "bytes | mmap"

# In order of preference where two explain the first lines equally well; " " is any whitespace.
SEPARATORS = ("\t", ";", "|", ",", " ")
LINES_LOOKED_AT = 50
BOM = b"\xef\xbb\xbf"

POINT_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
COMMA_NUMBER = re.compile(r"[+-]?(\d+,\d*|,\d+)(e[+-]?\d+)?", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
COMMA_FIELD = re.compile(rb'(?m)(?:^|[;\t| "])[+-]?\d*,\d+(?=[;\t| "\r]|$)')
# A spreadsheet's own note of the separator, in the first line.
SEPARATOR_LINE = re.compile(rb'"?sep=[,;|\t ]"?\s*', re.IGNORECASE)
HEADER_LINES = 20
# quotes hold blanks together only where blanks stand around them, not in "1,000",2
# What a spreadsheet writes for a value that it could not compute; a line may begin with it.
ERRORS = re.compile(
    r"#(?:N/A|DIV/0!|VALUE!|REF!|NUM!|NAME\?|NULL!)(?= *[,;|\t\r\n\"]| *$| +[-+.0-9])"
)
ERROR_BYTES = re.compile(ERRORS.pattern.encode())
WORD = re.compile(r'"[^"]*"(?=\s|$)|\S+')


@dataclass(frozen=True)
class Dialect:
    """How a delimited text is written.

    Parameters
    ----------
    separator : str
        One character; a space stands for any run of spaces and tabs.
    decimal : str
        The decimal sign, ``.`` or ``,``.
    names : tuple of str
        Column names.
    start : int
        Where the first row below the header begins, in bytes.
    first_line : int
        The number of the line at ``start``, counted from 1.
    header : bool
        Whether the names stood in the text.
    """

    separator: str
    decimal: str
    names: tuple[str, ...]
    start: int
    first_line: int
    header: bool


def lines(data: Data, start: int = 0, number: int = 1) -> Iterator[tuple[int, int, bytes]]:
    """Yield (number, offset, line) of each line, without its end."""
    size = len(data)
    while start < size:
        end = data.find(b"\n", start)
        end = size if end < 0 else end
        yield number, start, data[start:end].rstrip(b"\r")
        start, number = end + 1, number + 1


def find_dialect(
    data: Data, label: str, missing: Sequence[str], header_alone: bool = False
) -> Dialect:
    r"""Look at the first lines of ``data``.

    Raises
    ------
    DataError
        When there are no rows, though a ``header_alone`` may do; or the header is not UTF-8.

    Examples
    --------
    >>> found = find_dialect(b"time;dose\n1,5;2\n", "data.csv", [])
    >>> found.separator, found.decimal, found.names
    (';', ',', ('time', 'dose'))
    """
    found = _first_lines(data)
    if not found:
        raise DataError(f"{label} holds no rows, only blank lines or comments; give it rows")
    number, offset, first = found[0]
    top = _decoded_header(first, number, label)
    texts = [top, *(line.decode(errors="replace") for _, _, line in found[1:])]
    separator = _separator(texts)
    fields = split(top, separator)
    header = not _is_row(fields, separator, missing)
    if header and len(found) == 1 and header_alone:
        return Dialect(separator, ".", _named(fields), len(data), number + 1, header)
    if header and len(found) == 1:
        raise DataError(
            f"{label} has a header ({', '.join(fields)[:80]}) and no rows below it; add rows"
        )
    decimal = _decimal(data, texts[1 if header else 0 :], separator)
    names = _named(fields) if header else _numbered(len(fields))
    number, offset, _ = found[1 if header else 0]
    return Dialect(separator, decimal, names, offset, number, header)


def is_comment(line: str) -> bool:
    """Tell a line that begins with ``#``, and not with an error of a spreadsheet such as ``#N/A``.

    Examples
    --------
    >>> is_comment("  # x, y"), is_comment("#N/A,2"), is_comment("#N/A is missing")
    (True, False, True)
    """
    bare = line.lstrip()
    return bare.startswith("#") and not ERRORS.match(bare)


def _first_lines(data: Data) -> list[tuple[int, int, bytes]]:
    start = len(BOM) if data[: len(BOM)] == BOM else 0
    found: list[tuple[int, int, bytes]] = []
    for number, offset, line in lines(data, start):
        if found and number < found[0][0] + found[0][2].count(b"\n") + 1:
            continue
        if line.strip() and not is_comment(line.decode(errors="replace")):
            if not found and SEPARATOR_LINE.fullmatch(line):
                continue
            found.append((number, offset, line if found else _whole_header(data, offset, line)))
        if len(found) == LINES_LOOKED_AT:
            break
    return found


def _whole_header(data: Data, offset: int, line: bytes) -> bytes:
    """Join the lines of a header with line breaks within quotes, as spreadsheets write it."""
    text = line
    for number, _, following in lines(data, offset):
        if number > 1:
            text += b"\n" + following
        if text.count(b'"') % 2 == 0 or number == HEADER_LINES:
            break
    return text if text.count(b'"') % 2 == 0 else line


def _decoded_header(line: bytes, number: int, label: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{label} is not UTF-8: byte {error.start + 1} of line {number} is"
            f" 0x{line[error.start]:02x}; save the file again as UTF-8 (in a spreadsheet:"
            " CSV UTF-8)"
        ) from error


def split(line: str, separator: str) -> list[str]:
    """Split one line into stripped fields, quotes respected."""
    if separator == " ":
        return [word.strip('"') for word in WORD.findall(line)]
    try:
        fields = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        fields = line.split(separator)
    return [field.strip() for field in fields]


def _separator(texts: list[str]) -> str:
    """Return the separator that splits most lines alike and into most numbers."""
    best, chosen = 0.0, ","
    for separator in SEPARATORS:
        score = _score([split(text, separator) for text in texts], separator)
        if score > best:
            best, chosen = score, separator
    return chosen


def _score(rows: list[list[str]], separator: str) -> float:
    counts = Counter(len(row) for row in rows)
    width, alike = max(counts.items(), key=lambda item: (item[1], item[0]))
    if width < 2:
        width, alike = max(((w, n) for w, n in counts.items() if w > 1), default=(1, 0))
    below = rows[1:] or rows
    fields = [field for row in below for field in row]
    numeric = sum(_is_number(field, separator) or not field for field in fields)
    return alike / len(rows) * (0.1 + numeric / max(1, len(fields)))


def _is_number(field: str, separator: str) -> bool:
    comma = separator != "," and COMMA_NUMBER.fullmatch(field) is not None
    return comma or POINT_NUMBER.fullmatch(field) is not None


def _is_row(fields: list[str], separator: str, missing: Sequence[str]) -> bool:
    """Tell a row from a header: all of it is numbers, dates or spellings of missing."""
    numbers = [_is_number(f, separator) or DATE.fullmatch(f) is not None for f in fields]
    known = [bool(field) and field in missing for field in fields]
    return any(numbers) and all(n or k for n, k in zip(numbers, known, strict=True))


def _decimal(data: Data, texts: list[str], separator: str) -> str:
    if separator == ",":
        return "."
    fields = [field for text in texts for field in split(text, separator)]
    commas = sum(COMMA_NUMBER.fullmatch(field) is not None for field in fields)
    points = sum("." in field and POINT_NUMBER.fullmatch(field) is not None for field in fields)
    if commas or points:
        return "," if commas > points else "."
    # The first lines hold integers only, so look further down; find() is quick, the rest rare.
    later = data.find(b",") >= 0 and COMMA_FIELD.search(data) is not None
    return "," if later else "."


def _named(fields: list[str]) -> tuple[str, ...]:
    names = clean_names(" ".join(field.splitlines()) for field in fields)
    return tuple(name or f"c{place}" for place, name in enumerate(names, start=1))


def _numbered(count: int) -> tuple[str, ...]:
    if count == 2:
        return ("x", "y")
    return tuple(f"c{place}" for place in range(1, count + 1))


def rows(data: Data, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of each row, slowly; for messages."""
    found = lines(data, dialect.start, dialect.first_line)
    texts = (line.decode(errors="replace") for _, _, line in found)
    plain = ("" if is_comment(text) else text for text in texts)
    split_rows: Callable[..., Iterator[tuple[int, list[str]]]]
    split_rows = _words if dialect.separator == " " else _fields
    for number, fields in split_rows(plain, dialect):
        if len(fields) > 1 or any(field.strip() for field in fields):
            yield number, fields


def _words(texts: Iterator[str], dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    for number, text in enumerate(texts, start=dialect.first_line):
        yield number, split(text, " ")


def _fields(texts: Iterator[str], dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((text + "\n" for text in texts), delimiter=dialect.separator)
    # A field that csv refuses ends the walk: the message then does without a line number.
    with contextlib.suppress(csv.Error):
        begin = dialect.first_line
        for fields in reader:
            yield begin, fields
            begin = dialect.first_line + reader.line_num
