"""`sgdfit fit - FORMULA --follow`: a fit of rows that are still arriving, line by line."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from sgdfit.cli.outcome import INTERRUPTED, exit_status, keep, show_result
from sgdfit.cli.running import Running
from sgdfit.cli.signals import TERMINATED
from sgdfit.cli.streams import say, say_error
from sgdfit.errors import DataError, SgdfitError, UsageError

if TYPE_CHECKING:
    from sgdfit.data.text.arrivals import Lines
    from sgdfit.results.result import Result
    from sgdfit.streams.update import Update
    from sgdfit.streams.updating import Fit

__all__ = ["Interval", "Wish", "as_interval", "check_wish", "follow"]

MISUSED = 2
LABEL = "standard input"
BLOCK = 1 << 16
ARROW = b"\xff\xff\xff\xff"
EVERY = "1s"
_INTERVAL = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*(|rows?|ms|s|min|h)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


class Interval(NamedTuple):
    """Between two lines: so many rows, or so many seconds."""

    rows: int | None
    seconds: float | None


class Wish(NamedTuple):
    """What is to be done with the answer."""

    interval: Interval
    as_json: bool
    quiet: bool
    save: str | None
    trace: str | None


def as_interval(text: str | None) -> Interval:
    """Return the interval that a text such as ``1000 rows`` or ``2s`` names.

    Raises
    ------
    UsageError
        When it names none.

    Examples
    --------
    >>> as_interval("1000 rows"), as_interval("2s")
    (Interval(rows=1000, seconds=None), Interval(rows=None, seconds=2.0))
    """
    found = _INTERVAL.fullmatch((EVERY if text is None else text).strip())
    value = float(found[1]) if found else 0.0
    if found and found[2] in _SECONDS and value > 0:
        return Interval(None, value * _SECONDS[found[2]])
    if found and found[2] not in _SECONDS and value >= 1 and value == int(value):
        return Interval(int(value), None)
    raise UsageError(
        f"--every is {text!r}; give a number of rows, as in '1000 rows', or a time, as in '2s',"
        " '500ms' or '5min'"
    )


def check_wish(
    follow: bool, data: str, every: str | None, forgetting: str | None, others: Mapping[str, bool]
) -> None:
    """Refuse options that do not go together.

    Parameters
    ----------
    others : mapping of str to bool
        Options of a fit of all rows at once, and whether they were given.

    Raises
    ------
    UsageError
    """
    if not follow:
        for name, given in (("every", every), ("forgetting", forgetting)):
            if given is not None:
                raise UsageError(f"--{name} belongs to --follow, which fits rows as they arrive")
        return
    if data != "-":
        raise UsageError(
            f"--follow reads standard input, not {data!r}; for a file that grows write:"
            f' tail -n +1 -f {data} | sgdfit fit - "…" --follow'
        )
    wrong = [f"--{name}" for name, given in others.items() if given]
    if wrong:
        raise UsageError(
            f"{' and '.join(wrong)} cannot be had with --follow, which sees each row once; leave"
            " that out, or fit all rows at once without --follow"
        )


def follow(fit: Fit, missing: str, wish: Wish) -> int:
    """Update a fit with the rows of standard input until they end, and print how it stands.

    Ctrl-C and SIGTERM end it too, after the rows that have come.
    """
    course = _Course(fit, wish)
    trouble: SgdfitError | None = None
    with _Signals() as signals:
        try:
            course.run(_Input(signals, course), missing == "drop", signals)
        except _Stopped:
            pass
        except SgdfitError as error:
            trouble = error
    course.last_line()
    ended = {int(signal.SIGINT): INTERRUPTED, int(signal.SIGTERM): TERMINATED}
    status: int = ended.get(signals.caught, 0)
    try:
        found = _finished(fit, wish)
        status = status or exit_status(found)
    except DataError as error:
        trouble = trouble or error
    if trouble is None:
        return status
    say_error(str(trouble))
    return status or MISUSED


def _finished(fit: Fit, wish: Wish) -> Result:
    from sgdfit.data.readers import open_table

    found = fit.result()
    try:
        # No plot is drawn, so that the rows are not needed.
        keep(found, open_table({"x": [0.0]}), wish.save, wish.trace, None, wish.quiet)
    finally:
        show_result(found, wish.as_json, wish.quiet)
        sys.stdout.flush()
    return found


class _Stopped(BaseException):  # it is no error, and nobody's to catch but ours
    """A signal came while nothing was being done."""


class _Signals:
    """Ctrl-C and SIGTERM wait until the rows that have come are worked in."""

    def __init__(self) -> None:
        self.caught: int = 0
        self.waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        again, self.caught = bool(self.caught), number
        if self.waiting or again:
            self.waiting = False
            raise _Stopped

    def check(self) -> None:
        """Stop here if a signal came."""
        if self.caught:
            raise _Stopped


class _Input:
    """Standard input, block by block; while there is none, lines that are due are printed."""

    def __init__(self, signals: _Signals, course: _Course) -> None:
        self._signals, self._course = signals, course
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
            self._course.line()
        return os.read(self._file, BLOCK)

    def _ready(self, file: int) -> bool:
        # In this order, so that no signal falls between the two.
        self._signals.waiting = True
        try:
            self._signals.check()
            return bool(select.select([file], [], [], self._course.patience())[0])
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


class _Course:
    """Updates, and the lines that tell of them."""

    def __init__(self, fit: Fit, wish: Wish) -> None:
        self.fit, self.wish = fit, wish
        self.begun = self.told = time.monotonic()
        self.last: Update | None = None
        self.pending, self.warned = False, False
        self.rows = 0
        self.table = Running()

    def run(self, source: _Input, lenient: bool, signals: _Signals) -> None:
        """Take in rows until they end."""
        head = source.read(1)
        while head and len(head) < len(ARROW) and ARROW.startswith(head):
            more = source.read(1)
            head += more
            if not more:
                break
        source.hold(head)
        batches = _arrow(source) if head == ARROW else _text(source, lenient)
        for batch in batches:
            self._take(batch, signals)

    def _take(self, batch: Any, signals: _Signals) -> None:
        """Take in a batch, cut where a line is due."""
        first, total = 0, len(batch)
        every = self.wish.interval.rows
        while first < total:
            room = total if every is None else every - self.rows % every
            last = min(total, first + room)
            self._update(batch.slice(first, last))
            self.rows += last - first
            if self.patience() == 0 or (every is not None and self.rows % every == 0):
                self.line()
            first = last
            signals.check()

    def _update(self, batch: Any) -> None:
        """Update; of a batch that is refused, take in the rows before the one to blame."""
        try:
            told = self.fit.update(batch.table())
        except DataError:
            if len(batch) == 1:
                raise
            middle = len(batch) // 2
            self._update(batch.slice(0, middle))
            self._update(batch.slice(middle, len(batch)))
            return
        self.last, self.pending = told, True
        if told.warnings and not self.warned and not self.wish.quiet:
            for warning in told.warnings:
                say(f"warning: {warning}")
        self.warned = bool(told.warnings)

    def patience(self) -> float | None:
        """Return the seconds until a line is due; None where there is nothing to tell."""
        seconds = self.wish.interval.seconds
        if seconds is None or not self.pending:
            return None
        return max(0.0, self.told + seconds - time.monotonic())

    def line(self) -> None:
        """Print how the fit stands."""
        if self.last is None or not self.pending:
            return
        self.pending, self.told = False, time.monotonic()
        seconds = self.told - self.begun
        if self.wish.as_json:
            self._write(json.dumps(_as_json(self.last, seconds), allow_nan=False))
        elif not self.wish.quiet:
            for text in self.table.lines(self.last, seconds):
                self._write(text)

    def last_line(self) -> None:
        """Print the last line, and leave room before what follows."""
        self.line()
        if self.table.begun and not self.wish.as_json:
            self._write("")

    def _write(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _text(source: _Input, lenient: bool) -> Iterator[Lines]:
    from sgdfit.data.text.arrivals import TextArrivals

    text = TextArrivals(LABEL, lenient)
    while block := source.block():
        yield from text.feed(block)
    yield from text.feed(b"", final=True)


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


def _arrow(source: _Input) -> Iterator[_Record]:
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


def _as_json(update: Update, seconds: float) -> dict[str, Any]:
    from math import isfinite

    def known(value: float | None) -> float | None:
        return value if value is not None and isfinite(value) else None

    return {
        "event": "update",
        "rows": update.rows,
        "rows_dropped": update.dropped,
        "effective_rows": update.effective_rows,
        "seconds": round(seconds, 3),
        "loss": known(update.loss),
        "status": update.status,
        "distance": known(update.distance),
        "parameters": {
            name: {"value": value, "stderr": update.errors[name]}
            for name, value in update.estimates.items()
        },
        "warnings": list(update.warnings),
    }
