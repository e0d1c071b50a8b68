"""Standard input: whole, or as it arrives: text, JSON lines or an Arrow stream, batch by batch."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Protocol

import numpy as np

from sgdfit.cli.terminal import SIGNALS, say
from sgdfit.data.table import Table, clean_names
from sgdfit.errors import DataError

LABEL = "standard input"
BLOCK = 1 << 16
ARROW = b"\xff\xff\xff\xff"
HEAD, LARGE_BLOCK = 64, 1 << 20
EXAMPLE = '{"x": 1, "y": 2.5}'
SHOWN = 60
BOM = b"\xef\xbb\xbf"


def whole_input(missing: str) -> Table | str:
    """Return JSON lines as a table that is read once; all else the library knows by itself."""
    if sys.stdin.isatty():
        say("reading rows from the terminal; end them with Ctrl-D on a line of its own")
    if not is_json(_first_bytes()):
        return "-"
    from sgdfit.data.one_pass import open_batches

    lines = JsonLines(LABEL, lenient=missing == "drop")

    def tables() -> Iterator[Table]:
        while block := sys.stdin.buffer.read(LARGE_BLOCK):
            yield from (batch.table() for batch in lines.feed(block))
        yield from (batch.table() for batch in lines.feed(b"", final=True))

    return open_batches(tables(), LABEL, lambda table: table)


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


class Stopped(BaseException):  # it is no error, and nobody's to catch but ours
    """A signal came while nothing was being done."""


class Signals:
    """Ctrl-C and SIGTERM wait until the rows that have come are worked in."""

    def __init__(self) -> None:
        self.caught: int = 0
        self.waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        again, self.caught = bool(self.caught), number
        if self.waiting or again:
            self.waiting = False
            raise Stopped

    def check(self) -> None:
        """Stop here if a signal came."""
        if self.caught:
            raise Stopped


class Arrived(Protocol):
    """Rows that came together."""

    def __len__(self) -> int: ...

    def slice(self, first: int, last: int) -> Arrived:
        """Return some of the rows."""

    def table(self) -> Table:
        """Return the rows as a table."""


class Due(Protocol):
    """Lines that are to be printed while nothing arrives."""

    def patience(self) -> float | None:
        """Return the seconds until one is due; None where there is none."""

    def line(self) -> None:
        """Print it."""


class Input:
    """Standard input, block by block; while there is none, lines that are due are printed."""

    def __init__(self, signals: Signals, due: Due) -> None:
        self._signals, self._due = signals, due
        stdin: Any = sys.stdin
        self._stream = getattr(stdin, "buffer", stdin)
        self._held = b""
        try:
            self._file: int | None = self._stream.fileno()
        except (OSError, ValueError, AttributeError):
            self._file = None

    def block(self) -> bytes:
        """Return what is there next; nothing at the end."""
        if self._held:
            block, self._held = self._held, b""
            return block
        if self._file is None:
            return bytes(self._stream.read1(BLOCK))
        while not self._ready(self._file):
            self._due.line()
        return os.read(self._file, BLOCK)

    def _ready(self, file: int) -> bool:
        # In this order, so that no signal falls between the two.
        self._signals.waiting = True
        try:
            self._signals.check()
            return bool(select.select([file], [], [], self._due.patience())[0])
        finally:
            self._signals.waiting = False

    def hold(self, block: bytes) -> None:
        """Put back what was read too early."""
        self._held = block + self._held

    # Arrow reads through these.
    closed = False

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer at the end alone."""
        parts: list[bytes] = []
        while size:
            block = self.block()
            if not block:
                break
            if 0 <= size < len(block):
                self.hold(block[size:])
                block = block[:size]
            parts.append(block)
            size -= len(block)
        return b"".join(parts)


def batches(source: Input, lenient: bool) -> Iterator[Arrived]:
    """Yield the rows of an input, whose format its first bytes tell.

    Parameters
    ----------
    lenient : bool
        Whether a line that is not like the first is a row without numbers, rather than an error.

    Raises
    ------
    DataError
        When they are not in that format.
    """
    head = b""
    while more := source.read(1):
        head += more
        begun = head.removeprefix(BOM).strip() and not BOM.startswith(head)
        if begun and (len(head) == len(ARROW) or not ARROW.startswith(head)):
            break
    source.hold(head)
    if head == ARROW:
        return _arrow(source)
    return _json(source, lenient) if is_json(head) else _text(source, lenient)


def _text(source: Input, lenient: bool) -> Iterator[Arrived]:
    from sgdfit.data.text.arrivals import TextArrivals

    text = TextArrivals(LABEL, lenient)
    while block := source.block():
        yield from text.feed(block)
    yield from text.feed(b"", final=True)


def _json(source: Input, lenient: bool) -> Iterator[Arrived]:
    lines = JsonLines(LABEL, lenient, numeric=lenient)
    while block := source.block():
        yield from lines.feed(block)
    yield from lines.feed(b"", final=True)


@dataclass(frozen=True)
class _Record:
    """An Arrow batch, cut and opened as `Lines` are."""

    batch: Any

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def slice(self, first: int, last: int) -> _Record:
        return _Record(self.batch.slice(first, last - first))

    def table(self) -> Any:
        from sgdfit.data.readers import open_table

        return replace(open_table(self.batch), label=LABEL)


def _arrow(source: Input) -> Iterator[Arrived]:
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(pa.PythonFile(source, mode="r")) as reader:
            for batch in reader:
                yield _Record(batch)
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise DataError(
            f"{LABEL} is no whole Arrow stream ({error}); check what writes it"
        ) from error


@dataclass(frozen=True)
class Objects:
    """Rows of JSON that came together.

    Parameters
    ----------
    names : tuple of str
        The keys of the first object of all.
    label : str
    rows : list of dict
    numbers : list of int
        The line of each row, counted from 1.
    numeric : bool
        Whether text that is no number is missing.
    """

    names: tuple[str, ...]
    label: str
    rows: list[dict[str, Any]]
    numbers: list[int]
    numeric: bool

    def __len__(self) -> int:
        return len(self.rows)

    def slice(self, first: int, last: int) -> Objects:
        """Return some of the rows."""
        return replace(self, rows=self.rows[first:last], numbers=self.numbers[first:last])

    def table(self) -> Table:
        """Return the rows as a table, which converts the columns that are asked for."""
        return Table(clean_names(self.names), self.label, self._fetch, self._line)

    def _line(self, row: int) -> str:
        return f" (line {self.numbers[row]})"

    def _fetch(self, positions: Sequence[int]) -> list[Any]:
        return [self._column(self.names[place]) for place in positions]

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
