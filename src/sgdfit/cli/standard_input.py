"""Standard input as it arrives: text, JSON lines or an Arrow stream, batch by batch."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from sgdfit.cli.signals import Signals
from sgdfit.errors import DataError

if TYPE_CHECKING:
    from sgdfit.data.table import Table

__all__ = ["Arrived", "Due", "Input", "batches"]

LABEL = "standard input"
BLOCK = 1 << 16
ARROW = b"\xff\xff\xff\xff"


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
    from sgdfit.cli.json_lines import BOM, is_json

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
    from sgdfit.cli.json_lines import JsonLines

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
