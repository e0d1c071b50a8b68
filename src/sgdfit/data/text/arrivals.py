"""Delimited text that has not ended: its complete lines, as they come, as tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdfit.data.floats import MISSING_SPELLINGS
from sgdfit.data.messages import counted
from sgdfit.data.table import Table
from sgdfit.data.text.delimited import refuse_binary
from sgdfit.data.text.dialect import (
    COMMA_NUMBER,
    DATE,
    POINT_NUMBER,
    Dialect,
    find_dialect,
    is_comment,
    split,
)
from sgdfit.errors import DataError

__all__ = ["Lines", "TextArrivals"]

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
