"""Delimited text of any length, cut into blocks of whole rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sgdfit.data.text.delimited import without_comments
from sgdfit.errors import DataError

__all__ = ["BLOCK", "Block", "blocks", "last_row_end"]

# A quarter of a common last-level cache; larger blocks are not read faster.
BLOCK = 1 << 21
# A row that is longer has a quote that is never closed.
LONGEST_ROW = 1 << 26
QUOTE, NEWLINE, RETURN = 34, 10, 13


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
