"""JSON lines on standard input: an object a row, all at once or as they come, as tables."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sgdfit.cli.terminal import say
from sgdfit.data.table import Table, clean_names
from sgdfit.errors import DataError

LABEL = "standard input"
EXAMPLE = '{"x": 1, "y": 2.5}'
HEAD, BLOCK, SHOWN = 64, 1 << 20, 60
BOM = b"\xef\xbb\xbf"


def whole_input(missing: str) -> Table | str:
    """Return JSON lines as a table that is read once; all else the library knows by itself."""
    if sys.stdin.isatty():
        say("reading rows from the terminal; end them with Ctrl-D on a line of its own")
    if not is_json(_first_bytes()):
        return "-"
    from sgdfit.data.one_pass import open_batches

    lines = JsonLines(LABEL, lenient=missing == "drop")

    batches = fed(lines, lambda: sys.stdin.buffer.read(BLOCK))
    return open_batches((batch.table() for batch in batches), LABEL, lambda table: table)


def _first_bytes() -> bytes:
    """Return how standard input begins, and leave it there."""
    stream: Any = getattr(sys.stdin, "buffer", None)
    if hasattr(stream, "peek"):
        return bytes(stream.peek(HEAD)[:HEAD])
    if stream is None or not stream.seekable():
        return b""
    place = stream.tell()
    head = stream.read(HEAD)
    stream.seek(place)
    return bytes(head)


def fed(lines: Any, read: Callable[[], bytes]) -> Iterator[Any]:
    """Yield what lines of JSON or text make of blocks of bytes, until there are none."""
    while block := read():
        yield from lines.feed(block)
    yield from lines.feed(b"", final=True)


@dataclass(frozen=True)
class Objects:
    """Rows of JSON that came together."""

    names: tuple[str, ...]  # the keys of the first object of all
    label: str
    rows: list[dict[str, Any]]
    numbers: list[int]  # the line of each row, counted from 1
    numeric: bool  # whether text that is no number is missing

    def __len__(self) -> int:
        return len(self.rows)

    def slice(self, first: int, last: int) -> Objects:
        """Return some of the rows."""
        return replace(self, rows=self.rows[first:last], numbers=self.numbers[first:last])

    def table(self) -> Table:
        """Return the rows as a table, which converts the columns that are asked for."""
        return Table(
            clean_names(self.names),
            self.label,
            lambda positions: [self._column(self.names[place]) for place in positions],
            lambda row: f" (line {self.numbers[row]})",
        )

    def _column(self, name: str) -> Any:
        values = [row.get(name) for row in self.rows]
        for row, value in enumerate(values):
            if isinstance(value, dict | list):
                kind = "an object" if isinstance(value, dict) else "an array"
                raise DataError(
                    f"{name!r} is {kind} on line {self.numbers[row]} of {self.label}:"
                    f" {json.dumps(value)[:SHOWN]}; give one number or text a row, as in {EXAMPLE}"
                )
        if any(isinstance(value, str) for value in values):
            return self._text(values)
        return np.array([math.nan if value is None else float(value) for value in values])

    def _text(self, values: list[Any]) -> Any:
        import pyarrow as pa

        texts = [None if value is None else str(value) for value in values]
        if self.numeric:
            texts = [text if text is not None and _is_number(text) else None for text in texts]
        return pa.array(texts, pa.large_string())


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def is_json(head: bytes) -> bool:
    """Tell JSON by its first bytes: neither names nor numbers begin like that.

    Examples
    --------
    >>> is_json(b' {"x": 1}'), is_json(b"x,y")
    (True, False)
    """
    return head.removeprefix(BOM).lstrip()[:1] in (b"{", b"[")


class JsonLines:
    r"""Objects, from blocks of bytes that may end anywhere.

    Parameters
    ----------
    label : str
        How messages name the data.
    lenient : bool
        Whether a line that is no object is a row without numbers, rather than an error.
    numeric : bool
        Whether text that is no number is missing: where no column can be anything else.

    Examples
    --------
    >>> lines = JsonLines("standard input")
    >>> [batch.rows for batch in lines.feed(b'{"x": 1}\n{"x": 2')]
    [[{'x': 1}]]
    >>> [batch.numbers for batch in lines.feed(b'}', final=True)]
    [[2]]
    """

    def __init__(self, label: str, lenient: bool = False, numeric: bool = False) -> None:
        self._label, self._lenient, self._numeric = label, lenient, numeric
        self._names: tuple[str, ...] = ()
        self._tail, self._number = b"", 0

    def feed(self, block: bytes, final: bool = False) -> Iterator[Objects]:
        """Yield the rows that are complete.

        Raises
        ------
        DataError
            When a line is no object, after the rows before it.
        """
        text = self._tail + block
        end = len(text) if final else text.rfind(b"\n") + 1
        whole, self._tail = text[:end], text[end:]
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        trouble = None
        for line in whole.removesuffix(b"\n").split(b"\n") if whole else ():
            self._number += 1
            if not line.strip():
                continue
            try:
                rows.append(self._read(line))
            except DataError as error:
                trouble = error
                break
            numbers.append(self._number)
        if rows:
            yield Objects(self._names, self._label, rows, numbers, self._numeric)
        if trouble is not None:
            raise trouble

    def _read(self, line: bytes) -> dict[str, Any]:
        text = line.removeprefix(BOM).decode(errors="replace").strip()
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            found, reason = None, getattr(error, "msg", "it is nested too deep")
        else:
            reason = f"it is of type {type(found).__name__!r}"
        if isinstance(found, dict) and (found or self._names):
            self._names = self._names or tuple(found)
            return found
        if self._lenient and self._names:
            return {}
        if text.startswith("[") and not self._names:
            raise DataError(
                f"{self._label} begins with {text[:SHOWN]!r}, a JSON array; give one object a line,"
                f" such as {EXAMPLE}, which jq -c '.[]' makes of an array"
            )
        raise DataError(
            f"line {self._number} of {self._label} is no JSON object ({reason}): {text[:SHOWN]!r};"
            f" give one object a line, such as {EXAMPLE}"
            + (
                ", or pass missing='drop' (--missing drop on the command line) to leave such lines"
                " out"
                if self._names
                else ""
            )
        )
