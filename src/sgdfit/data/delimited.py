"""Delimited text to Arrow columns: one parser, of a whole text, of blocks, of lines that arrive."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sgdfit.data.dialect import (
    FOUND_OUT,
    ISO,
    NUMERAL,
    SEPARATORS,
    TOP,
    WORD,
    TextDialect,
    TextOptions,
    find_dialect,
    is_number,
    newlines,
    rows,
    settled_encoding,
    split,
    with_signs,
    without_comments,
)
from sgdfit.data.floats import MISSING_SPELLINGS, kind_of, shown
from sgdfit.data.table import Table
from sgdfit.errors import DataError, counted, with_option

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
)
WORDS = re.compile(WORD.pattern.encode())
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
HEXADECIMAL = re.compile(rb"0[xX][0-9a-fA-F]")
NEWLINE, RETURN, QUOTE = b'\n\r"'
# A row that is longer has a quote that is never closed.
LONGEST_ROW = 1 << 26
DROPPED = (
    "correct that line, or pass missing='drop' (--missing drop on the command line) to leave such"
    " lines out"
)

Types = Mapping[int, Any]
Array = np.ndarray[Any, Any]


def refuse_binary(head: bytes, label: str, encoding: str = "utf-8") -> None:
    """Refuse what is empty, binary, or in a format that has its own reader."""
    if not head:
        raise DataError(f"{label} is empty (0 bytes); give a file with rows")
    for magic, words in LOOKS:
        if head.startswith(magic):
            raise DataError(f"{label} is not delimited text: it starts like {words}")
    found = CONTROL.search(head)
    if found and not encoding.startswith(("utf-16", "utf-32")):
        raise DataError(
            f"{label} is binary, not delimited text: byte {found.start() + 1} is"
            f" 0x{found[0][0]:02x}; give a text file, or name it by its true format"
        )


def has_old_ends(head: bytes) -> bool:
    """Tell lines that end as on old Macintosh computers, with a carriage return alone."""
    return b"\r" in head and b"\n" not in head


def open_delimited(data: bytes, label: str, options: TextOptions = FOUND_OUT) -> Table:
    """Open a whole text; its columns are parsed when they are asked for."""
    encoding = settled_encoding(data, label, options.encoding)
    refuse_binary(data[:HEAD], label, encoding)
    if encoding != "utf-8":
        data = data.decode(encoding, "replace").encode()
    data = data.replace(b"\r", b"\n") if has_old_ends(data) else data
    dialect = find_dialect(data, label, options)
    text, dialect = data[dialect.start :], replace(dialect, start=0)

    def fetch(positions: Sequence[int]) -> list[Any]:
        table, _ = block_columns(text, dialect, positions, {}, label)
        return [table.column(str(position)) for position in positions]

    line = functools.partial(line_of, text, dialect)
    notes = notes_of(dialect, encoding)
    return Table(dialect.names, label, fetch, line, dialect.decimal, notes=notes)


def notes_of(dialect: TextDialect, encoding: str) -> tuple[str, ...]:
    """Return what was left out or guessed in a text, in words."""
    guessed = encoding in ("cp1252", "latin-1") and dialect.options.encoding is None
    return (f"encoding taken for {encoding}: --encoding states another",) * guessed + dialect.notes


def parsed(
    text: bytes, dialect: TextDialect, positions: Sequence[int], types: Types | None = None
) -> Any:
    """Return the columns at ``positions`` of some rows as an Arrow table, named by position.

    Columns whose type is not given get one that holds their values. What does not fit, and rows
    with too few or too many fields, raise a `pyarrow.ArrowInvalid`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as arrow_csv

    text = without_comments(text, dialect.options, dialect.separator)
    text, separator = dialect.plain(_as_utf8(text)), dialect.separator
    if separator == " ":
        words = WORDS.findall if b'"' in text else bytes.split
        text = b"\n".join(b"\t".join(words(line)) for line in text.split(b"\n"))
        separator = "\t"
    elif len(dialect.names) == 1 and b" " in text:
        # Arrow would take a line of blanks for a row.
        text = b"\n".join(line.strip() for line in text.split(b"\n"))
    # A row has to fit into two of Arrow's blocks, and may be of any length where it has quotes.
    quoted = b'"' in text
    size = max(1, len(text)) if quoted else max(1 << 20, 16 * text.find(b"\n"))
    # Arrow's threads have nothing to share in one block, and a process that ends as they begin may
    # be aborted.
    kinds = {str(position): kind for position, kind in (types or {}).items()}
    options = (
        arrow_csv.ReadOptions(
            column_names=[str(place) for place in range(len(dialect.names))],
            block_size=size,
            use_threads=len(text) > size,
        ),
        arrow_csv.ParseOptions(
            delimiter=separator,
            newlines_in_values=quoted,
            invalid_row_handler=lambda row: "error" if row.text.strip() else "skip",
        ),
        arrow_csv.ConvertOptions(
            include_columns=[str(position) for position in positions] or ["0"],
            column_types=kinds,
            null_values=[*MISSING_SPELLINGS, *dialect.options.na],
            strings_can_be_null=True,
            decimal_point=dialect.decimal,
        ),
    )
    table = arrow_csv.read_csv(pa.BufferReader(text), *options)

    def column_as(place: int, kind: Any) -> Any:
        options[2].column_types = kinds | {table.column_names[place]: kind}
        return arrow_csv.read_csv(pa.BufferReader(text), *options).column(place)

    # Whole numbers beyond 2**63, which Arrow takes for floats, such as hashes that tell rows apart.
    for place, column in enumerate(table.columns):
        if column.type != pa.float64() or (pc.max(pc.abs(column)).as_py() or 0) < 2**63:
            continue
        for kind in (pa.uint64(), pa.decimal128(38)):
            with contextlib.suppress(pa.ArrowInvalid):
                whole = column_as(place, kind)
                digits = pc.match_substring_regex(column_as(place, pa.string()), "^[-+ 0-9]*$")
                if pc.all(digits).as_py():
                    table = table.set_column(place, table.column_names[place], whole)
                break
    options[2].column_types = kinds
    if (b"0x" in text or b"0X" in text) and HEXADECIMAL.search(text):
        # Arrow takes these for integers, nobody else does.
        whole = [f.name for f in table.schema if pa.types.is_integer(f.type)]
        options[2].column_types = kinds | dict.fromkeys(whole, pa.binary())
        spelled = arrow_csv.read_csv(pa.BufferReader(text), *options)
        for place, name in enumerate(table.column_names):
            column, pattern = spelled.column(name), HEXADECIMAL.pattern.decode()
            if name in whole and pc.any(pc.match_substring_regex(column, pattern)).as_py():
                table = table.set_column(place, name, column)
    return table


def _as_utf8(text: bytes) -> bytes:
    r"""Write bytes that are no UTF-8 as ``\\xe9``, which Arrow could not show in an error."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            return text.decode(errors="backslashreplace").encode()
    return text


def _wrong_row(
    text: bytes,
    dialect: TextDialect,
    label: str,
    error: Exception | str,
    advice: str = "correct that line",
) -> DataError:
    reference = "the header has" if dialect.header else "the first row has"
    with contextlib.suppress(csv.Error):
        for number, fields in rows(text, dialect):
            if len(fields) != len(dialect.names):
                if fields[0].lstrip().startswith("#") and not dialect.options.comment:
                    advice += f", or {with_option('comment', '#')} if it is one"
                whole = dialect.separator.join(fields)
                for sign in SEPARATORS:
                    parts = split(whole, sign)
                    if len(parts) == len(dialect.names) > 1 and all(map(is_number, parts)):
                        advice = f"{sign!r} parts it, others {dialect.separator!r}: write one sign"
                return DataError(
                    f"line {number} of {label} has {counted(len(fields), 'field')} where"
                    f" {reference} {len(dialect.names)}:"
                    f" {whole[:60]!r}; {advice}"
                )
    return DataError(
        f"{label} cannot be read as delimited text ({' '.join(str(error).split())}); check its"
        " quotes and line ends"
    )


def line_of(text: bytes, dialect: TextDialect, row: int) -> str:
    """Say which line a row is, counted from 0 at ``dialect.start``."""
    # A field that csv refuses ends the walk: the message then does without a line number.
    with contextlib.suppress(csv.Error):
        for number, _ in itertools.islice(rows(text, dialect), row, None):
            return f" (line {number})"
    return ""


def blocks(
    read: Callable[[int], bytes], dialect: TextDialect, label: str, size: int
) -> Iterator[tuple[bytes, TextDialect]]:
    """Yield all that ``read`` hands out in blocks of whole rows, whose comments are emptied.

    The dialect of a block knows its first line. ``read`` returns at most so many bytes, and none
    only at the end. A row that does not end within 64 MB is refused.
    """
    line = dialect.first_line
    rest, ended = b"", False
    while not ended:
        # What is longer than a block is looked at anew with each one, so these become longer.
        part = read(max(size, len(rest)))
        ended = not part
        end = part.rfind(b"\n") + 1
        if not end and not ended:
            # A comment that is not whole yet could not be told from a row.
            rest, block = rest + part, b""
        else:
            joined = b"".join((rest, memoryview(part)[:end]))
            whole = without_comments(joined, dialect.options, dialect.separator)
            cut = len(whole) if ended else last_row_end(whole, dialect.separator)
            block, rest = whole[:cut], whole[cut:] + part[end:]
        if block:
            yield block, replace(dialect, start=0, first_line=line)
            line += newlines(block)
        elif len(rest) > LONGEST_ROW:
            raise DataError(
                f"the row that begins in line {line} of {label} does not end within"
                f" {len(rest) >> 20} MB; check the quotes there"
            )


def last_row_end(text: bytes, separator: str) -> int:
    """Return where the last whole row ends, in bytes; a newline in quotes ends none."""
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


def block_columns(
    text: bytes,
    dialect: TextDialect,
    positions: Sequence[int],
    types: Types,
    label: str,
) -> tuple[Any, Types]:
    """Return columns of a block as an Arrow table, and the first types that columns had.

    Each block has the types that hold its values. Where these are of another kind than before, the
    column is text; times do not mix with anything.
    """
    import pyarrow as pa

    if text.isspace():
        return pa.table({str(place): pa.nulls(0) for place in positions}), types
    as_text = {p: pa.binary() for p in positions if p in types and kind_of(types[p]) == "text"}
    try:
        table = parsed(text, dialect, positions, as_text)
        found = {place: table.schema.field(str(place)).type for place in positions}
        found = {place: kind for place, kind in found.items() if kind_of(kind) != "nothing"}
        unlike = [p for p, kind in found.items() if kind_of(types.get(p, kind)) != kind_of(kind)]
        if unlike:
            as_text |= dict.fromkeys(unlike, pa.binary())
            table = parsed(text, dialect, positions, as_text)
    except pa.ArrowInvalid as error:
        raise _wrong_row(text, dialect, label, error) from error
    for place in unlike:
        kind, column = types[place], table.column(str(place))
        if not pa.types.is_temporal(kind):
            continue
        wide = kind if pa.types.is_time(kind) else pa.timestamp("ns", getattr(kind, "tz", None))
        for row in range(len(column)):
            try:
                column.slice(row, 1).cast(pa.string()).cast(wide)
            except pa.ArrowInvalid as error:
                value = column[row].as_py().decode(errors="replace")
                line = line_of(text, dialect, row).strip(" ()")
                raise DataError(
                    f"column {dialect.names[place]!r} of {label} holds {shown(value)} in {line},"
                    " where rows before it hold dates or times; correct it, leave it empty if it"
                    " is missing, or leave the column out of the formula"
                ) from error
    return table, {**found, **types}


ArrivedRows = tuple[int, Callable[[int, int], Table]]


def arriving_rows(
    read: Callable[[], bytes],
    label: str,
    lenient: bool = False,
    options: TextOptions = FOUND_OUT,
) -> Iterator[ArrivedRows]:
    """Yield the rows that are complete with each block of bytes that ``read`` returns.

    These are how many, and the table of those from one on before another. Lenient: what is no
    number is missing, and a line with too few or too many fields is a row without numbers, rather
    than an error, which comes after the rows before it.
    """
    head, part, dialect = b"", b" ", None
    while part and dialect is None:
        part = read()
        head += part
        if head or not part:
            refuse_binary(head, label)
        whole = head if not part else head[: head.rfind(b"\n") + 1]
        try:
            dialect = find_dialect(whole, label, options)
        except DataError:
            content = [line for line in TOP.sub(b"", whole, count=1).splitlines() if line.strip()]
            if not part or len(content) > 1:
                raise
    assert dialect is not None
    below, sure = head[dialect.start :], False

    def take(size: int) -> bytes:
        nonlocal below
        found, below = below or (read() if part else b""), b""
        return found

    for text, here in blocks(take, dialect, label, 1):
        if not sure:
            dialect, sure = with_signs(dialect, text)
        if not text.isspace():
            here = replace(here, decimal=dialect.decimal, rewrites=dialect.rewrites)
            yield from _arrived(text, here, label, lenient)


def _arrived(text: bytes, dialect: TextDialect, label: str, lenient: bool) -> Iterator[ArrivedRows]:
    """Yield the rows of a block, up to one that is not like the first."""
    import pyarrow as pa

    text, places = dialect.plain(text), range(len(dialect.names))
    columns, trouble = [], None
    with contextlib.suppress(pa.ArrowInvalid):
        columns = parsed(text, dialect, places).columns
    if not columns or (lenient and any(c.type in (pa.string(), pa.binary()) for c in columns)):
        mended = io.StringIO()
        writer = csv.writer(mended, delimiter=dialect.separator, lineterminator="\n")
        try:
            for _, fields in rows(text, dialect):
                if len(fields) != len(places):
                    if not lenient:
                        trouble = _wrong_row(text, dialect, label, "", DROPPED)
                        break
                    fields = ["NA"] * len(places)
                values = (_is_value(field.strip(), dialect.decimal) for field in fields)
                writer.writerow(
                    field if value or not lenient else "NA"
                    for field, value in zip(fields, values, strict=True)
                )
            if mended.tell():
                columns = parsed(mended.getvalue().encode(), dialect, places).columns
        except (pa.ArrowInvalid, csv.Error) as error:
            raise _wrong_row(text, dialect, label, error) from error

    def table(first: int, last: int) -> Table:
        return Table(
            dialect.names,
            label,
            lambda some: [columns[place].slice(first, last - first) for place in some],
            lambda row: line_of(text, dialect, first + row),
            dialect.decimal,
        )

    if columns:
        yield len(columns[0]), table
    if trouble is not None:
        raise trouble


def _is_value(text: str, decimal: str) -> bool:
    number, other = NUMERAL.fullmatch(text), "." if decimal == "," else ","
    plain = number and not number["group"] and not text.endswith("%") and other not in text
    return bool(plain or ISO.fullmatch(text))
