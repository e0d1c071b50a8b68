"""How delimited text is written: its separator, decimal sign, header, found from its start."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sgdfit.data.floats import MISSING_SPELLINGS
from sgdfit.data.table import clean_names
from sgdfit.errors import DataError

# In order of preference where two explain the first lines equally well; " " is any whitespace.
SEPARATORS = ("\t", ";", "|", ",", " ")
LINES_LOOKED_AT = 50
BOM = b"\xef\xbb\xbf"

POINT_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
COMMA_NUMBER = re.compile(r"[+-]?(\d+,\d*|,\d+)(e[+-]?\d+)?", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
# A number with a fraction, which tells the decimal sign.
FRACTION = re.compile(rb'(?m)(?:^|[;\t| "])[+-]?\d*([.,])\d+(?:[eE][+-]?\d+)?(?=[;\t| "\r]|$)')
# A spreadsheet's own note of the separator, in the first line.
SEPARATOR_LINE = re.compile(rb'"?sep=[,;|\t ]"?\s*', re.IGNORECASE)
HEADER_LINES = 20
# What a spreadsheet writes for a value that it could not compute; a line may begin with it.
ERRORS = r"#(?:N/A|DIV/0!|VALUE!|REF!|NUM!|NAME\?|NULL!)(?= *[,;|\t\r\n\"]| *$| +[-+.0-9])"
COMMENT = re.compile(rf"\s*(?!{ERRORS})#")
COMMENTS = re.compile(rf"\n[ \t]*(?!{ERRORS})#[^\r\n]*".encode())
# Quotes hold blanks together only where blanks stand around them, not in "1,000",2
WORD = re.compile(r'"[^"]*"(?=\s|$)|\S+')


@dataclass(frozen=True)
class Dialect:
    """How a delimited text is written."""

    separator: str  # one character; a space stands for any run of spaces and tabs
    decimal: str  # the decimal sign, ``.`` or ``,``
    names: tuple[str, ...]
    start: int  # where the first row below the header begins, in bytes
    first_line: int  # the number of the line at ``start``, counted from 1
    header: bool  # whether the names stood in the text


def find_dialect(data: bytes, label: str, header_alone: bool = False) -> Dialect:
    r"""Look at the first lines of ``data``; a ``header_alone`` without rows may do.

    >>> found = find_dialect(b"time;dose\n1,5;2\n", "data.csv")
    >>> found.separator, found.decimal, found.names
    (';', ',', ('time', 'dose'))
    """
    found = _first_lines(data)
    if not found:
        raise DataError(f"{label} holds no rows, only blank lines or comments; give it rows")
    number, offset, first = found[0]
    try:
        top = first.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{label} is not UTF-8: byte {error.start + 1} of line {number} is"
            f" 0x{first[error.start]:02x}; save the file again as UTF-8 (in a spreadsheet:"
            " CSV UTF-8)"
        ) from error
    texts = [top, *(line.decode(errors="replace") for _, _, line in found[1:])]
    separator = max(SEPARATORS, key=lambda sign: _score([split(t, sign) for t in texts], sign))
    if not any(len(split(text, separator)) > 1 for text in texts):
        separator = ","
    fields = split(top, separator)
    numbers = [_is_number(f, separator) or DATE.fullmatch(f) is not None for f in fields]
    missing = [bool(field) and field in MISSING_SPELLINGS for field in fields]
    # A row, and no header, is numbers, dates and spellings of missing alone.
    if any(numbers) and all(n or m for n, m in zip(numbers, missing, strict=True)):
        names = ("x", "y") if len(fields) == 2 else tuple(f"c{k + 1}" for k in range(len(fields)))
        return Dialect(separator, _decimal(data, texts, separator), names, offset, number, False)
    clean = clean_names(" ".join(field.splitlines()) for field in fields)
    names = tuple(name or f"c{place}" for place, name in enumerate(clean, start=1))
    if len(found) > 1:
        number, offset, _ = found[1]
        decimal = _decimal(data, texts[1:], separator)
        return Dialect(separator, decimal, names, offset, number, True)
    if header_alone:
        return Dialect(separator, ".", names, len(data), number + 1, True)
    raise DataError(
        f"{label} has a header ({', '.join(fields)[:80]}) and no rows below it; add rows"
    )


def without_comments(text: bytes) -> bytes:
    """Empty the lines that begin with ``#``, and not with an error such as ``#N/A``."""
    return COMMENTS.sub(b"\n", b"\n" + text)[1:] if b"#" in text else text


def _lines(data: bytes, start: int, number: int = 1) -> Iterator[tuple[int, int, bytes]]:
    """Yield (number, offset, line) of each line, without its end."""
    size = len(data)
    while start < size:
        end = data.find(b"\n", start)
        end = size if end < 0 else end
        yield number, start, data[start:end].rstrip(b"\r")
        start, number = end + 1, number + 1


def _first_lines(data: bytes) -> list[tuple[int, int, bytes]]:
    found: list[tuple[int, int, bytes]] = []
    below = 0
    for number, offset, line in _lines(data, len(BOM) if data.startswith(BOM) else 0):
        if number <= below or not line.strip() or COMMENT.match(line.decode(errors="replace")):
            continue
        if not found and SEPARATOR_LINE.fullmatch(line):
            continue
        if not found and line.count(b'"') % 2:
            # A header with line breaks within quotes, as spreadsheets write it.
            following = (
                text for _, _, text in itertools.islice(_lines(data, offset), HEADER_LINES)
            )
            for whole in itertools.accumulate(following, lambda one, other: one + b"\n" + other):
                if whole.count(b'"') % 2 == 0:
                    line, below = whole, number + whole.count(b"\n")
                    break
        found.append((number, offset, line))
        if len(found) == LINES_LOOKED_AT:
            break
    return found


def split(line: str, separator: str) -> list[str]:
    """Split one line into stripped fields, quotes respected."""
    if separator == " ":
        return [word.strip('"') for word in WORD.findall(line)]
    try:
        fields = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        fields = line.split(separator)
    return [field.strip() for field in fields]


def _score(rows: list[list[str]], separator: str) -> float:
    """Rate a separator that splits most lines alike and into most numbers highest."""
    counts = Counter(len(row) for row in rows)
    width, alike = max(counts.items(), key=lambda item: (item[1], item[0]))
    if width < 2:
        width, alike = max(((w, n) for w, n in counts.items() if w > 1), default=(1, 0))
    fields = [field for row in rows[1:] or rows for field in row]
    numeric = sum(_is_number(field, separator) or not field for field in fields)
    return alike / len(rows) * (0.1 + numeric / max(1, len(fields)))


def _is_number(field: str, separator: str) -> bool:
    comma = separator != "," and COMMA_NUMBER.fullmatch(field) is not None
    return comma or POINT_NUMBER.fullmatch(field) is not None


def _decimal(data: bytes, texts: list[str], separator: str) -> str:
    if separator == ",":
        return "."
    fields = [field for text in texts for field in split(text, separator)]
    commas = sum(COMMA_NUMBER.fullmatch(field) is not None for field in fields)
    points = sum("." in field and POINT_NUMBER.fullmatch(field) is not None for field in fields)
    if commas or points:
        return "," if commas > points else "."
    # The first lines hold integers only, so look further down; finding a comma is quick.
    later = b"," in data and any(m[1] == b"," for m in FRACTION.finditer(data))
    return "," if later else "."


def rows(text: bytes, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of each row from ``dialect.start`` on, slowly.

    A field that csv refuses is a `csv.Error`.
    """
    begin = dialect.first_line
    found = (line.decode(errors="replace") for _, _, line in _lines(text, dialect.start))
    plain = ("" if COMMENT.match(line) else line for line in found)
    if dialect.separator == " ":
        yield from ((n, split(t, " ")) for n, t in enumerate(plain, begin) if t.strip())
        return
    reader = csv.reader((line + "\n" for line in plain), delimiter=dialect.separator)
    for fields in reader:
        if any(field.strip() for field in fields) or len(fields) > 1:
            yield begin, fields
        begin = dialect.first_line + reader.line_num
