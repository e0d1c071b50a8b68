"""How delimited text is written, found from its start: encoding, separator, signs, dates, header.

What has one reading is read so, and said in a note; of what has two, the user is asked.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import datetime
import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.choice import one_of
from sgdfit.data.floats import (
    DAY_NAME,
    DOUBTFUL,
    LIMITS,
    MISSING_SPELLINGS,
    MONTHS,
    NAMED,
    VALUE,
    unit_around,
)
from sgdfit.data.table import clean_names
from sgdfit.errors import DataError, UsageError, counted, with_option

# In order of preference where two explain the first lines equally well; " " is any whitespace.
SEPARATORS = ("\t", ";", "|", ",", " ")
SPELLED = {"tab": "\t", "\\t": "\t", "space": " ", "blank": " ", "\\s+": " "}
DATES = ("dmy", "mdy")
LINES_LOOKED_AT, FIELDS_LOOKED_AT = 50, 1_000
# All is found from so many bytes at most.
LOOKED_AT = 1 << 22
# So many numbers with a comma, and dates, are looked at for one that has a single reading.
NUMBERS_LOOKED_AT, DATES_LOOKED_AT = 500, 100_000
BOM = b"\xef\xbb\xbf"
BOMS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
# Bytes that stand for nothing in cp1252.
OPEN_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")

# What may separate groups of three digits.
GROUPS = (".", ",", "'", "’", " ", "\u00a0", "\u202f")
NUMERAL = re.compile(
    rf"[+−-]?(?:(?P<plain>(?:\d+[.,]?\d*|[.,]\d+)(?P<power>[ed][+−-]?\d+)?)"
    rf"|(?P<grouped>\d{{1,3}}(?P<group>{'|'.join(map(re.escape, GROUPS))})\d{{3}}"
    r"(?:(?P=group)\d{3})*(?:[.,]\d*)?)|inf(?:inity)?)\s*%?",
    re.IGNORECASE,
)
# Year, month and day, or two numbers and the year; then a time.
DATE = (
    r"(?:(?P<y>\d{4})(?P<i>[-/.])(?P<m>\d\d?)(?P=i)(?P<d>\d\d?)"
    r"|(?P<one>\d\d?)(?P<sign>[-/.])(?P<other>\d\d?)(?P=sign)(?P<year>\d{4}|\d\d))"
    r"(?:[T ]+(?P<hour>\d\d?)(?P<rest>:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\b\.?)?)?"
)
NAMED_DATE = (
    rf"(?:{DAY_NAME},? )?(?:(\d\d?)[-/. ]?({NAMED})[a-z]*\.?[-/. ]?(\d{{4}}|\d\d)"
    rf"|({NAMED})[a-z]*\.? (\d\d?),? (\d{{4}}))"
)
TIME, ISO = re.compile(DATE), re.compile(r"\d{4}-\d\d-\d\d(?:[T ]+\d\d:.*)?")
UNIT = re.compile(r"\[.*\]|\(.*\)")
UNIT_BEHIND = re.compile(r"\s*(?:\[[^]]*\]|\([^)]*\))")
MINUS, FORTRAN = "−".encode(), re.compile(r"[+−-]?[\d.,]+[dD][+−-]?\d+")
COMMA_NUMBER = re.compile(rb'(?m)(?:^|[;\t| "])[ \t]*([+-]?[\d.]*,\d[\d.,]*)(?=[;\t| "\r%]|$)')
QUOTED_NUMBER = re.compile(rb'(?m)(?:^|,)[ \t]*"[ \t]*([+-]?[\d.]*,\d[\d.,]*)[ \t%]*"')
# A spreadsheet's own note of the separator, in the first line.
SEPARATOR_LINE = re.compile(rb'"?sep=[,;|\t ]"?\s*', re.IGNORECASE)
HEADER_LINES = 20
# What a spreadsheet writes for a value that it could not compute; a line may begin with it.
ERRORS = r"#(?:N/A|DIV/0!|VALUE!|REF!|NUM!|NAME\?|NULL!)(?= *[,;|\t\r\n\"]| *$| +[-+.0-9])"
COMMENT = re.compile(rf"\s*(?!{ERRORS})#")
# Blank lines and comments at the top, of which there may be millions.
TOP = re.compile(rf"(?:[ \t]*+(?:(?!{ERRORS})#[^\n]*+)?\r?\n)*+".encode())
# Quotes hold blanks together only where blanks stand around them, not in "1,000",2
WORD = re.compile(r'"[^"]*"(?=\s|$)|\S+')


# A sign, a pattern, and what stands instead of its matches in texts that hold the sign.
Rewrite = tuple[bytes, bytes, Callable[[re.Match[bytes]], bytes] | bytes]


class TextOptions(NamedTuple):
    """How text and sheets are written, as far as the user says; the rest is found out."""

    skip_rows: int = 0  # lines at the top that do not count
    encoding: str | None = None
    delimiter: str | None = None  # one character; a space stands for any run of spaces and tabs
    decimal: str | None = None  # a point or a comma; the other one may separate thousands
    dates: str | None = None  # "dmy" or "mdy"
    comment: str | None = None  # how lines begin that do not count
    sheet: str | None = None  # of a workbook; its first one unless given
    na: tuple[str, ...] = ()  # what else is missing

    def given(self) -> dict[str, Any]:
        """Return those that are not left open."""
        return {n: v for n, v in self._asdict().items() if v != getattr(FOUND_OUT, n)}


# Nothing is said.
FOUND_OUT = TextOptions()


def text_options(given: dict[str, Any]) -> TextOptions:
    """Return options that are checked; None stands for what is found out."""
    found = TextOptions(**{name: value for name, value in given.items() if value is not None})
    skipped, delimiter = found.skip_rows, found.delimiter
    if isinstance(skipped, bool) or not isinstance(skipped, int) or skipped < 0:
        raise UsageError(f"skip_rows={skipped!r} is no number of lines; write 3, say")
    delimiter = SPELLED.get(delimiter or "", delimiter)
    if delimiter is not None and (
        len(delimiter) != 1 or delimiter in '"\n\r.' or not delimiter.isascii()
    ):
        raise UsageError(
            f"delimiter={found.delimiter!r} is no single character; write ',', ';', '|', 'tab' or"
            " 'space', which stands for any run of blanks"
        )
    for name, words in (("decimal", (".", ",")), ("dates", DATES)):
        if getattr(found, name) is not None:
            one_of(getattr(found, name), name, words)
    if found.comment is not None and not found.comment.strip():
        raise UsageError("comment is empty; write '#', say")
    try:
        b"x".decode(found.encoding or "utf-8", "replace")
    except (LookupError, UnicodeError):
        raise UsageError(
            f"encoding={found.encoding!r} is not known; write 'cp1252', 'utf-16' or another of"
            " Python's names"
        ) from None
    na = (found.na,) if isinstance(found.na, str | int | float) else found.na
    return found._replace(delimiter=delimiter, na=tuple(str(value).strip() for value in na))


@dataclass(frozen=True)
class TextDialect:
    """How a delimited text is written."""

    separator: str  # one character; a space stands for any run of spaces and tabs
    decimal: str  # the decimal sign, ``.`` or ``,``
    names: tuple[str, ...]
    start: int  # where the first row below the header begins, in bytes
    first_line: int  # the number of the line at ``start``, counted from 1
    header: bool  # whether the names stood in the text
    options: TextOptions = FOUND_OUT
    rewrites: tuple[Rewrite, ...] = ()
    notes: tuple[str, ...] = ()  # what was left out or guessed, in words

    def plain(self, text: bytes) -> bytes:
        """Write numbers without signs between thousands or for percent, and dates as ISO 8601."""
        for sign, pattern, plain in self.rewrites:
            if sign in text:
                text = re.sub(pattern, plain, text)
        return text


def encoding_of(head: bytes) -> str:
    """Return how a text that begins with ``head`` is encoded; what is no UTF-8 is cp1252.

    A file that is mostly UTF-8 is left at that: its columns of numbers are the same anyhow.
    """
    for mark, name in BOMS:
        if head.startswith(mark):
            return name
    even, odd = head[::2].count(0), head[1::2].count(0)
    if 4 * max(even, odd) > len(head) > 16 * min(even, odd):
        return "utf-16-be" if even > odd else "utf-16-le"
    if head.isascii():
        return "utf-8"
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
    bad = text.count("\ufffd")
    if 2 * bad <= len(text) - len(text.encode("ascii", "ignore")):
        return "utf-8"
    return "latin-1" if OPEN_1252.search(head) else "cp1252"


def settled_encoding(head: bytes, label: str, given: str | None) -> str:
    """Return how a text that begins with ``head`` is encoded; refuse what is given and is wrong."""
    found, wide = encoding_of(head[:LOOKED_AT]), ("utf-16", "utf-32")
    if given is None:
        return found
    known = codecs.lookup(given).name
    reason = f"its first bytes are {head[:4].hex(' ')}"
    try:
        codecs.getincrementaldecoder(given)().decode(head)
        right = b"\0" in head if known.startswith(wide) else not found.startswith(wide)
    except UnicodeError as error:
        at, right = getattr(error, "start", 0), False
        line = head.count(b"\n", 0, at) + 1
        reason = f"byte {at + 1:,}, in line {line}, is 0x{head[at]:02x}"
    if right:
        return given
    cure = f"{with_option('encoding', found)}, which reads it, or " * (found != known)
    raise DataError(f"{label} is not {given}: {reason}; {cure}leave the option out")


def find_dialect(
    data: bytes, label: str, options: TextOptions = FOUND_OUT, header_alone: bool = False
) -> TextDialect:
    r"""Look at the first lines of ``data``; a ``header_alone`` without rows may do.

    >>> found = find_dialect(b"time;dose\n1,5;2\n", "data.csv")
    >>> found.separator, found.decimal, found.names
    (';', ',', ('time', 'dose'))
    """
    begin, found = _first_lines(data, options)
    if not found:
        some, cure = "", "give it rows"
        if len(data) >= LOOKED_AT:
            some, cure = f" in its first {len(data) >> 20} MB", "cut these off, as tail -n does"
        raise DataError(f"{label} holds no rows{some}, only blank lines or comments; {cure}")
    texts = [line.decode(errors="replace") for _, _, line in found]
    everything = "\n".join(texts)
    present = [sign for sign in SEPARATORS if sign in everything]
    separator = options.delimiter or max(present, key=lambda sign: _score(texts, sign), default=",")
    if options.delimiter:
        _refuse_delimiter(found[0], texts, label, options)
    if not any(len(split(text, separator)) > 1 for text in texts):
        separator = ","
    if options.comment is None and texts[1:] and all(text[:1] == "%" for text in texts[:2]):
        return find_dialect(data, label, options._replace(comment="%"), header_alone)
    rows = [split(text, separator) for text in texts]
    # R's write.table gives the column of row names, in quotes or counted, no name.
    if separator in " \t" and {len(row) - 1 for row in rows[1:]} == {len(rows[0])}:
        counted_up = [row[0] for row in rows[1:]] == [str(k) for k in range(1, len(rows))]
        rows[0][:0] = [""] * (counted_up or all(text[:1] == '"' for text in texts[1:]))
    top, units = _header(rows, found, label, options.na)
    number, offset, _ = found[max(top, 0)]
    body = [row[:FIELDS_LOOKED_AT] for row in rows[top + 1 + units :]]
    head = data[offset : offset + LOOKED_AT]
    decimal, rewrites, notes = _rewrites(head, body, separator, options)
    if units:
        notes.insert(0, f"line {found[top + 1][0]} taken for units")
    fields = rows[max(top, 0)]
    left_out = data[begin:offset].split(b"\n")
    names = _commented_names(left_out, len(fields), options) if top < 0 else ()
    if above := sum(bool(line.strip()) for line in left_out) - bool(names):
        notes.insert(0, f"{counted(above, 'line')} above the table left out")
    if skipped := _comments_in(head, options.comment, separator):
        some = f" in the first {LOOKED_AT >> 20} MB" if len(head) >= LOOKED_AT else ""
        notes.append(f"{counted(skipped, 'comment line')} within the table left out{some}")
    if names:
        notes.append(f"columns named by the comment above them: {_some(names)}")
    elif top < 0:
        names = ("x", "y") if len(fields) == 2 else tuple(f"c{k + 1}" for k in range(len(fields)))
        notes.append(f"no header: {'columns' if names[1:] else 'column'} named {_some(names)}")
    elif any(map(NUMERAL.fullmatch, fields)):
        notes.append(f"columns named by line {number}, which may be a row: {_some(fields)}")
    skipped_lines = data[:begin].decode(errors="replace").splitlines()[: options.skip_rows]
    for k, words in enumerate(map(split, skipped_lines, itertools.repeat(separator)), start=1):
        if top < 0 and len(words) == len(fields) and not any(map(is_number, words)):
            notes.append(f"line {k}, left out, may name them: {_some(words)}")
    known = (options, tuple(rewrites), tuple(notes))
    if top < 0:
        return TextDialect(separator, decimal, names, offset, number, False, *known)
    clean = clean_names(" ".join(field.splitlines()) for field in fields)
    names = tuple(name or f"c{place}" for place, name in enumerate(clean, start=1))
    number, start, last = found[top + units]
    for _ in range(last.count(b"\n") + 1):
        number, start = number + 1, data.find(b"\n", start) + 1 or len(data)
    if len(found) > top + 1 + units or data[start:].strip():
        return TextDialect(separator, decimal, names, start, number, True, *known)
    if header_alone:
        return TextDialect(separator, ".", names, len(data), number, True, *known)
    said = " ".join(", ".join(fields).split())[:80]
    raise DataError(f"{label} has a header ({said}) and no rows below it; add rows")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) < 6 else [*names[:2], "…", names[-1]])


def _refuse_delimiter(
    first: tuple[int, int, bytes], texts: list[str], label: str, options: TextOptions
) -> None:
    """Refuse a delimiter that parts few lines where another one parts most; a column needs none."""
    best = max(SEPARATORS, key=lambda sign: _score(texts, sign))
    # A number with a decimal comma is one field, unless a header says otherwise.
    named = not is_number(texts[0].strip()) and len(split(texts[0], best)) > 1
    several = [text for text in texts if named or not is_number(text.strip())]
    parted = sum(len(split(text, best)) > 1 for text in several)
    own = sum(len(split(text, options.delimiter or ",")) > 1 for text in several)
    if 2 * parted <= len(texts) or 2 * own >= parted:
        return
    written = {"\t": "tab", " ": "space"}.get(best, best)
    raise DataError(
        f"delimiter={options.delimiter!r} parts {own} of {counted(len(texts), 'line')} of"
        f" {label}: line {first[0]} is {first[2].decode(errors='replace')[:60]!r};"
        f" {with_option('delimiter', written)}"
    )


def _commented_names(above: list[bytes], width: int, options: TextOptions) -> tuple[str, ...]:
    """Return the names in the comment right above the first row, as NumPy's savetxt writes them.

    Each is one word, so that few sentences are taken for names; units in brackets are left out.
    """
    line = above[-2].decode(errors="replace").strip() if len(above) > 1 else ""
    sign = options.comment or "#"
    if not line.startswith(sign) and not COMMENT.match(line):
        return ()
    text = UNIT_BEHIND.sub("", line.removeprefix(sign).lstrip("#: "))
    for separator in (options.delimiter or ",", *SEPARATORS):
        names = tuple(clean_names(split(text, separator)))
        if len(names) == len(set(names)) == width and all(map(str.isidentifier, names)):
            return () if {*names} & {*MISSING_SPELLINGS} else names
    return ()


def _comments_in(text: bytes, comment: str | None, separator: str) -> int:
    if not comment or comment.encode() not in text:
        return 0
    found = _comment_lines(comment, separator, text).finditer(b"\n" + text)
    return sum(match[0].count(b"\n") for match in found if not match["quoted"])


def _first_lines(data: bytes, options: TextOptions) -> tuple[int, list[tuple[int, int, bytes]]]:
    """Return where lines begin that count, and the first of these: number, offset and text.

    What begins with ``#`` may be a row, but tells nothing.
    """
    found: list[tuple[int, int, bytes]] = []
    begin, number = len(BOM) if data.startswith(BOM) else 0, 1
    for _ in range(options.skip_rows):
        begin = data.find(b"\n", begin) + 1 or len(data)
        number += 1
    first = data[begin : data.find(b"\n", begin) + 1]
    if SEPARATOR_LINE.fullmatch(first):
        begin, number = begin + len(first), number + 1
    top = TOP.match(data, begin)
    start = top.end() if top else begin
    below = 0
    comment = (options.comment or "\n").encode()
    for line_number, offset, line in _lines(data, start, number + newlines(data[begin:start])):
        if offset > start + LOOKED_AT:
            break
        if line_number <= below or not line.strip():
            continue
        if line.lstrip().startswith(comment) or COMMENT.match(line.decode(errors="replace")):
            continue
        if not found and line.count(b'"') % 2:
            # A header with line breaks within quotes, as spreadsheets write it.
            following = (
                text for _, _, text in itertools.islice(_lines(data, offset), HEADER_LINES)
            )
            for whole in itertools.accumulate(following, lambda one, other: one + b"\n" + other):
                if whole.count(b'"') % 2 == 0:
                    line, below = whole, line_number + whole.count(b"\n")
                    break
        found.append((line_number, offset, line))
        if len(found) == LINES_LOOKED_AT:
            break
    return begin, found


def _header(
    rows: list[list[str]], found: list[tuple[int, int, bytes]], label: str, na: Sequence[str]
) -> tuple[int, int]:
    """Return which row names the columns, -1 for none, and how many below it hold units.

    Rows of words alone above columns of numbers are names, units, or what a file begins with: that
    stands above a blank line or comment, has another number of fields, or fields that are empty or
    alike.
    """
    counts = Counter(map(len, rows))
    width = max(counts, key=lambda fields: (counts[fields], fields))

    def missing(field: str) -> bool:
        return field in MISSING_SPELLINGS or field in na

    def value(field: str) -> bool:
        return missing(field) or field[0] in LIMITS or is_number(field)

    table = [row for row in rows if len(row) == width]
    lower = [row for row in table[len(table) // 2 :] if any(map(is_number, row))]
    # Most values are numbers: a few may be wrong.
    numeric = [
        j
        for j in range(min(width, FIELDS_LOOKED_AT))
        if 2 * sum(value(row[j]) for row in lower) > len(lower)
        and any(is_number(row[j]) for row in lower)
    ]

    with_units = {j for j in numeric if any(any(unit_around(row[j])) for row in lower)}

    def words(k: int) -> bool:
        fields = [rows[k][j] for j in numeric] if len(rows[k]) == width else []
        return not all(map(missing, fields)) and not any(
            # Names may be numbers with a unit, as 0 h and 24 h, where rows below have none.
            (is_number(field) and (j in with_units or not any(unit_around(field))))
            or field[:1] in (*LIMITS, "#")
            for j, field in zip(numeric, fields, strict=False)
        )

    def clean(k: int) -> bool:
        return len(rows[k]) != width or all(value(rows[k][j]) for j in numeric)

    whole = len(rows)
    ends = (k for k in range(whole) if len(rows[k]) == width and any(rows[k]) and not words(k))
    above = [k for k in range(next(ends, whole)) if words(k)] if numeric else []
    gaps = (k for k in above[1:] if k - 1 not in above or found[k][0] - found[k - 1][0] > 1)
    above = above[above.index(max(gaps, default=above[0])) :] if above else []
    named = [k for k in above if all(rows[k]) and len(set(rows[k])) == width]
    first = next(k for k in range(whole) if len(rows[k]) == width)
    first = 0 if all(map(value, rows[first])) else first
    top, last = ((named or above)[0], above[-1]) if above else (first, first)
    later = max((k for k in range(top + 1, whole) if numeric and words(k)), default=top)
    # Lines that are neither names nor rows, then names: all these may be what the file begins with.
    mixed = later > last and len(numeric) > 1 and not (clean(last + 1) and all(rows[last + 1]))
    if last - top > 1 or (mixed and all(map(clean, range(later + 1, whole)))):
        # Of two rows of words next to each other, the second one holds units.
        after = later > 1 and words(later - 1) and not words(later - 2)
        after = after and found[later][0] - found[later - 1][0] == 1
        number, _, text = found[later - after]
        raise DataError(
            f"several lines of {label} may name its columns; if it is line {number},"
            f" {text.decode(errors='replace')[:60]!r}, {with_option('skip_rows', number - 1)}"
        )
    if not above:
        return -1 if all(map(value, rows[0])) and any(map(is_number, rows[0])) else first, 0
    others = [field for j, field in enumerate(rows[last]) if j not in numeric]
    marked = all(UNIT.fullmatch(rows[last][j]) for j in numeric)
    alone = all(missing(field) or UNIT.fullmatch(field) for field in others)
    return top, int(last > top and (marked or (alone and width > 1)))


def with_signs(dialect: TextDialect, text: bytes) -> tuple[TextDialect, bool]:
    """Return a dialect with the signs of numbers in ``text``, and whether there were any."""
    some = itertools.islice(rows(text, replace(dialect, start=0)), LINES_LOOKED_AT)
    body: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        body += [[field.strip() for field in row[:FIELDS_LOOKED_AT]] for _, row in some]
    decimal, rewrites, _ = _rewrites(text, body, dialect.separator, dialect.options)
    fields = itertools.chain.from_iterable(body)
    found = any(NUMERAL.fullmatch(field) and not field.isdigit() for field in fields)
    return replace(dialect, decimal=decimal, rewrites=tuple(rewrites)), found


def _signs(fields: Sequence[str], decimal: str | None) -> tuple[str, list[str]]:
    """Return the decimal sign, and the signs that separate thousands.

    A sign before three digits, as in 1,234, may be either: another number tells which, or the user.
    """
    other = {",": ".", ".": ","}
    sure: Counter[str] = Counter()
    doubtful, groups = set(), set()
    for match in filter(None, map(NUMERAL.fullmatch, fields)):
        plain, group = match["plain"] or "", match["group"]
        digits = match["grouped"].replace(group, "") if group else plain
        sign = next((character for character in digits if character in other), "")
        if group:
            groups.add(group)
            sure[sign or other.get(group, "")] += 1
        elif DOUBTFUL.fullmatch(plain):
            doubtful.add(sign)
        else:
            sure[sign] += 1
    found = decimal or ("," if sure[","] > sure["."] else ".")
    if decimal or sure["."] or sure[","]:
        groups |= doubtful
    return found, sorted((groups | {other[decimal]} if decimal else groups) - {found})


def _rewrites(
    head: bytes, body: list[list[str]], separator: str, options: TextOptions
) -> tuple[str, list[Rewrite], list[str]]:
    """Return the decimal sign, what makes numbers and dates plain, and what was found, in words."""
    between = " \t" if separator == " " else re.escape(separator)
    begin, end = rf'(?<![^{between}"\r\n])[ \t]*', rf'[ \t]*(?:[{between}"\r\n]|\Z)'
    rewrites, notes = _without_units(body, begin, end)
    for _, unit, alone in rewrites:
        head = re.sub(unit, alone, head)
        body = [[re.sub(unit, alone, f.encode()).decode() for f in row] for row in body]
    fields = [field for row in body for field in row]
    # Of numbers other than 0, all of a column or none.
    columns = [
        [f for f in c if f and f != "0" and is_number(f)] for c in itertools.zip_longest(*body)
    ]
    percent = [{field.endswith("%") for field in column} for column in columns]
    notes += ["percent taken for hundredths"] * ({True} in percent)
    if b"," in head and (separator != "," or b'"' in head):
        commas = QUOTED_NUMBER if separator == "," else COMMA_NUMBER
        further = itertools.islice(commas.finditer(head), NUMBERS_LOOKED_AT)
        fields = [*fields, *(match[1].decode(errors="replace") for match in further)]
    decimal, groups = _signs(fields, options.decimal)
    sign = re.escape(decimal)
    rewrites.insert(0, (MINUS, MINUS + rb"(?=[\d.,])", b"-"))
    if any(FORTRAN.fullmatch(field) for field in fields):
        power = rf"{begin}([+-]?(?:\d+{sign}?\d*|{sign}\d+))[dD](?=[+-]?\d+{end})"
        rewrites.append((b"", power.encode(), rb"\1e"))
    for group in groups:
        # Outside of quotes, a comma that separates fields separates no thousands.
        first, last = ('(?<=")[ \t]*', '[ \t]*"') if group == separator else (begin, end)
        digits = rf"[+-]?\d{{1,3}}(?:{re.escape(group)}\d{{3}})+"
        pattern = rf"{first}{digits}(?=(?:{sign}\d*)?[ \t]*%?{last})"
        joined = functools.partial(_joined, group.encode())
        rewrites.append((group.encode(), pattern.encode(), joined))
    number = rf"([+-]?(?:\d+{sign}?\d*|{sign}\d+)(?:[eE][+-]?\d+)?)"
    if {True, False} not in percent:
        rewrites.append((b"%", rf"{begin}{number}[ \t]*%(?={end})".encode(), _hundredths))
    if options.decimal is None:
        notes += [f"{group!r} taken for the sign of thousands" for group in groups]
    spans = begin, end, " " * (separator != " ")
    dated, order = _date_rewrites(head, fields, options.dates, *spans)
    if order and not options.dates:
        notes.append(f"dates taken for {'day/month' if order == 'dmy' else 'month/day'}/year")
    return decimal, rewrites + dated, notes


def _without_units(body: list[list[str]], begin: str, end: str) -> tuple[list[Rewrite], list[str]]:
    """Return what leaves out units that all numbers of a column share."""
    shared, rewrites, notes = set[tuple[str, str]](), list[Rewrite](), list[str]()
    for column in itertools.zip_longest(*body):
        cells = [f for f in column if f and f not in MISSING_SPELLINGS and f[0] not in LIMITS]
        if len(cells) > 1 and any(unit_around(cells[0])):
            found = set(map(unit_around, cells))
            shared |= found if len(found) == 1 else set()
    for around in sorted(shared):
        value, unit = VALUE.format(*map(re.escape, around)), "".join(around).strip()
        rewrites.append((unit.encode(), f"{begin}{value}(?={end})".encode(), rb"\1\2"))
        notes.append(f"the unit {unit!r} left out")
    return rewrites, notes


def _date_rewrites(
    head: bytes, fields: list[str], order: str | None, begin: str, end: str, blank: str
) -> tuple[list[Rewrite], str | None]:
    """Return what makes dates plain, and their order where one is given or certain.

    They stand between ``begin`` and ``end``; a ``blank`` may be part of them.
    """
    dates = [match for match in map(TIME.fullmatch, fields) if match]
    plain = rf"{begin}{DATE}(?={end})".encode()
    if not order and any(match["one"] for match in dates):
        order = _order(re.finditer(plain, head))
    rewrites: list[Rewrite] = []
    written = {m["sign"] or m["i"] for m in dates if m["half"] or not ISO.fullmatch(m[0])}
    if any(re.match(NAMED_DATE, field, re.IGNORECASE) for field in fields):
        time = rf"[ T]\d[\d:.]*(?: ?[AP]\.?M\.?)?{end}"
        named = rf"(?i){begin}{NAMED_DATE.replace(' ', blank)}(?={end}|{time})"
        rewrites.append((b"", named.encode(), _named_as_iso))
        written |= {"-"}
    for each in sorted(written):
        if order:  # most dates have two digits a part, which needs no call for each
            time = rf"(?=(?:[ T]\d\d:[\d:.]*)?{end})"
            parts = ["(0[1-9]|1[0-9]|2[0-8])", "(0[1-9]|1[0-2])"][:: 1 if order == "dmy" else -1]
            padded = rf"{begin}{parts[0]}[{each}]{parts[1]}[{each}](\d{{4}}){time}"
            template = rb"\3-\2-\1" if order == "dmy" else rb"\3-\1-\2"
            rewrites.append((each.encode(), padded.encode(), template))
        rewrites.append((each.encode(), plain, functools.partial(_as_iso, order)))
    return rewrites, order


def _joined(group: bytes, match: re.Match[bytes]) -> bytes:
    return match[0].replace(group, b"")


def _hundredths(match: re.Match[bytes]) -> bytes:
    digits, _, power = match[1].lower().partition(b"e")
    return b"%se%d" % (digits, int(power or 0) - 2)


def _order(dates: Iterable[re.Match[bytes]]) -> str | None:
    """Return the order of most dates that have one alone; the others are left as they stand."""
    found: Counter[str] = Counter()
    for match in itertools.islice(dates, DATES_LOOKED_AT):
        if match["one"]:
            # 24/01/25 may begin with the year.
            short = len(match["year"]) < 4 and match["sign"] != b"."
            first = int(match["one"]) > 12 or match["sign"] == b"."
            found["dmy"] += first and not short
            found["mdy"] += not first and int(match["other"]) > 12
    return max(found, key=found.__getitem__) if found["dmy"] != found["mdy"] else None


def _as_iso(order: str | None, match: re.Match[bytes]) -> bytes:
    year, month, day = match["y"], match["m"], match["d"]
    if year is None:
        if order is None:
            return match[0]
        day, month = match["one"], match["other"]
        year, (day, month) = match["year"], (day, month) if order == "dmy" else (month, day)
    iso = _iso_date(year, int(month), day)
    if iso is None:  # of the other order, or no date
        return match[0]
    hour, half = int(match["hour"] or 0), match["half"]
    hour = hour % 12 + 12 * (half in b"pP") if half else hour
    time = b" %02d%s" % (hour, match["rest"]) if match["hour"] else b""
    return iso + time


def _named_as_iso(match: re.Match[bytes]) -> bytes:
    day, month, year = (match[k] or match[other] for k, other in ((1, 5), (2, 4), (3, 6)))
    return _iso_date(year, MONTHS.index(month.decode().lower()) + 1, day) or match[0]


def _iso_date(year: bytes, month: int, day: bytes) -> bytes | None:
    """Return a day as ISO 8601 has it, if there is one; the year 69 is 1969, as in POSIX."""
    century = 0 if len(year) > 2 else 2000 if year < b"69" else 1900
    with contextlib.suppress(ValueError):
        return datetime.date(century + int(year), month, int(day)).isoformat().encode()
    return None


def without_comments(text: bytes, options: TextOptions, separator: str) -> bytes:
    """Empty the lines that begin with a comment sign, and not with an error such as ``#N/A``."""
    if not options.comment or options.comment.encode() not in text:
        return text
    lines = _comment_lines(options.comment, separator, text)
    ends = lambda found: found["quoted"] or b"\n" * found[0].count(b"\n")  # noqa: E731
    return lines.sub(ends, b"\n" + text)[1:]


def _comment_lines(comment: str, separator: str, text: bytes) -> re.Pattern[bytes]:
    """Return what finds comments, and the fields in quotes, whose lines are none."""
    line = rf"(?:\n[ \t]*(?!{ERRORS}){re.escape(comment)}[^\r\n]*+)++"
    begins, goes_on = rf"(?<=[\n{re.escape(separator)}])", r'"[^"]*(?:""[^"]*)*(?:"|\Z)'
    has_quotes = separator != " " and b'"' in text
    quoted = f"{begins}(?P<quoted>{goes_on})" if has_quotes else "(?P<quoted>(?!))"
    return re.compile(f"{line}|{quoted}".encode())


def newlines(text: bytes) -> int:
    """Count newlines, which NumPy does in a ninth of the time of ``bytes.count``."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))


def _lines(data: bytes, start: int, number: int = 1) -> Iterator[tuple[int, int, bytes]]:
    size = len(data)
    while start < size:
        end = data.find(b"\n", start)
        end = size if end < 0 else end
        yield number, start, data[start:end].rstrip(b"\r")
        start, number = end + 1, number + 1


def split(line: str, separator: str) -> list[str]:
    """Split one line into stripped fields, quotes respected."""
    if separator == " ":
        return [word.strip('"') for word in WORD.findall(line)]
    try:
        fields = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        fields = line.split(separator)
    return [field.strip() for field in fields]


def _score(texts: list[str], separator: str) -> float:
    rows = [split(text, separator) for text in texts]
    counts = Counter(len(row) for row in rows)
    width, alike = max(counts.items(), key=lambda item: (item[1], item[0]))
    if width < 2:
        width, alike = max(((w, n) for w, n in counts.items() if w > 1), default=(1, 0))
    fields = [field for row in rows[1:] or rows for field in row[:FIELDS_LOOKED_AT]]
    # A blank within a number may separate fields itself, where commas would.
    blanks = separator in "\t;|"
    numeric = sum(
        not f or (is_number(f) and (blanks or " " not in f or ":" in f or any(unit_around(f))))
        for f in fields
    )
    return alike / len(rows) * (0.1 + numeric / max(1, len(fields)))


def is_number(field: str) -> bool:
    """Whether a field is a number, with whatever signs, or a date."""
    return bool(NUMERAL.fullmatch(field) or TIME.fullmatch(field)) or any(unit_around(field))


def rows(text: bytes, dialect: TextDialect) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of each row from ``dialect.start`` on, slowly.

    A field that csv refuses is a `csv.Error`.
    """
    begin = dialect.first_line
    text = without_comments(text[dialect.start :], dialect.options, dialect.separator)
    found = (line.decode(errors="backslashreplace") for _, _, line in _lines(text, 0))
    if dialect.separator == " ":
        yield from ((n, split(t, " ")) for n, t in enumerate(found, begin) if t.strip())
        return
    reader = csv.reader((line + "\n" for line in found), delimiter=dialect.separator)
    for fields in reader:
        if any(field.strip() for field in fields) or len(fields) > 1:
            yield begin, fields
        begin = dialect.first_line + reader.line_num
