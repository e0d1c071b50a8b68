"""`sgdfit fit - FORMULA --follow`: rows that are still arriving, as text or JSON lines."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from sgdfit.cli.options import FIT
from sgdfit.cli.terminal import (
    INTERRUPTED,
    SIGNALS,
    TERMINATED,
    OutputOptions,
    say,
    say_error,
    width,
)
from sgdfit.data.table import Table, clean_names
from sgdfit.errors import DataError, SgdfitError, UsageError
from sgdfit.result.rounding import number, plus_minus

if TYPE_CHECKING:
    from sgdfit.data.table import Table
    from sgdfit.online.fit import Fit, Update


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


MISUSED = 2
READ_BYTES = 1 << 16
ARROW = b"\xff\xff\xff\xff"
EVERY = "1s"
# Beside --follow, these change nothing either.
_HARMLESS = {"optimizer": "auto", "kernel": "numpy"}
_INTERVAL = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*(|rows?|ms|s|min|h)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
WIDE = {"rows": 13, "time": 9, "loss": 10, "parameter": 19}
NARROW = {"rows": 9, "time": 8, "loss": 9, "parameter": 15}
FIRST = ("rows", "time", "loss")
GAP = "  "
# On a terminal the heads come again before they have scrolled away.
AGAIN = 20
DIGITS = 4


def follow_options(data: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that `sgdfit.Fit` takes.

    Raises
    ------
    UsageError
        When others were given, or the rows are those of a file.
    """
    from sgdfit.online.fit import Fit

    if data != "-":
        raise UsageError(
            f"--follow reads standard input, not {data!r}; for a file that grows write:"
            f' tail -n +1 -f {data} | sgdfit fit - "…" --follow'
        )
    taken = inspect.signature(Fit).parameters
    wrong = [
        "--no-shuffle" if option.name == "shuffle" else option.flag
        for option in FIT
        if option.name in options
        and option.name not in (*taken, "trace_every")
        and options[option.name] not in (option.default, _HARMLESS.get(option.name))
    ]
    if wrong:
        raise UsageError(
            f"{' and '.join(wrong)} cannot be had with --follow, which sees each row once; leave"
            " that out, or fit all rows at once without --follow"
        )
    return {name: value for name, value in options.items() if name in taken}


def follow_rows(
    formula: str, options: Mapping[str, Any], every: str | None, output: OutputOptions
) -> int:
    """Update a fit with the rows of standard input until they end, and print how it stands.

    Ctrl-C and SIGTERM end it too, after the rows that have come.

    Parameters
    ----------
    options : mapping
        Of `sgdfit.Fit`, by its names.
    every : str, optional
        Between two lines: ``1000 rows`` or ``2s``.

    Returns
    -------
    int
        The exit status.
    """
    from sgdfit.online.fit import Fit

    interval = as_interval(every)
    fit = Fit(formula, **options)
    loop, lenient = FollowLoop(fit, interval, output), options["missing"] == "drop"
    trouble: SgdfitError | None = None
    with Signals() as signals:
        try:
            loop.run(Input(signals, loop), lenient, signals)
        except Stopped:
            pass
        except SgdfitError as error:
            trouble = error
    loop.last_line()
    ended = {int(signal.SIGINT): INTERRUPTED, int(signal.SIGTERM): TERMINATED}
    status: int = ended.get(signals.caught, 0)
    try:
        delivered = output.deliver(fit.result(), None)
        status = status or delivered
    except DataError as error:
        trouble = trouble or error
    if trouble is None:
        return status
    sys.stdout.flush()
    say_error(str(trouble))
    return status or MISUSED


class Interval(NamedTuple):
    """Between two lines: so many rows, or so many seconds."""

    rows: int | None
    seconds: float | None


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


class FollowLoop:
    """Updates, and the lines that tell of them."""

    def __init__(self, fit: Fit, interval: Interval, output: OutputOptions) -> None:
        self.fit, self.interval, self.output = fit, interval, output
        self.begun = self.told = time.monotonic()
        self.last: Update | None = None
        self.pending, self.warned = False, False
        self.rows = 0
        self.table = ProgressTable()

    def run(self, source: Input, lenient: bool, signals: Signals) -> None:
        """Take in rows until they end."""
        for batch in batches(source, lenient):
            self._take(batch, signals)

    def _take(self, batch: RowBatch, signals: Signals) -> None:
        """Take in a batch, cut where a line is due."""
        first, total = 0, len(batch)
        every = self.interval.rows
        while first < total:
            room = total if every is None else every - self.rows % every
            last = min(total, first + room)
            self._update(batch.slice(first, last))
            self.rows += last - first
            if self.patience() == 0 or (every is not None and self.rows % every == 0):
                self.line()
            first = last
            signals.check()

    def _update(self, batch: RowBatch) -> None:
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
        if told.warnings and not self.warned and not self.output.quiet:
            for warning in told.warnings:
                say(f"warning: {warning}")
        self.warned = bool(told.warnings)

    def patience(self) -> float | None:
        """Return the seconds until a line is due; None where there is nothing to tell."""
        seconds = self.interval.seconds
        if seconds is None or not self.pending:
            return None
        return max(0.0, self.told + seconds - time.monotonic())

    def line(self) -> None:
        """Print how the fit stands."""
        if self.last is None or not self.pending:
            return
        self.pending, self.told = False, time.monotonic()
        seconds = self.told - self.begun
        if self.output.as_json:
            self._write(json.dumps(_as_json(self.last, seconds), allow_nan=False))
        elif not self.output.quiet:
            for text in self.table.lines(self.last, seconds):
                self._write(text)

    def last_line(self) -> None:
        """Print the last line, and leave room before what follows."""
        self.line()
        if self.table.begun and not self.output.as_json:
            self._write("")

    def _write(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _as_json(update: Update, seconds: float) -> dict[str, Any]:
    def known(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

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


class Stopped(BaseException):  # it is no error, and nobody's to catch but ours
    """A signal came while nothing was being done."""


class Signals:
    """Ctrl-C and SIGTERM wait until the rows that have come are worked in."""

    def __init__(self) -> None:
        self.caught: int = 0
        self.waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._before = {each: signal.signal(each, self._catch) for each in SIGNALS}
        return self

    def __exit__(self, *raised: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _catch(self, signum: int, frame: FrameType | None) -> None:
        again, self.caught = bool(self.caught), signum
        if self.waiting or again:
            self.waiting = False
            raise Stopped

    def check(self) -> None:
        """Stop here if a signal came."""
        if self.caught:
            raise Stopped


class RowBatch(Protocol):
    """Rows that came together."""

    def __len__(self) -> int: ...

    def slice(self, first: int, last: int) -> RowBatch:
        """Return some of the rows."""

    def table(self) -> Table:
        """Return the rows as a table."""


class Input:
    """Standard input, block by block; while there is none, lines that are due are printed."""

    def __init__(self, signals: Signals, loop: FollowLoop) -> None:
        self._signals, self._loop = signals, loop
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
            return bytes(self._stream.read1(READ_BYTES))
        while not self._ready(self._file):
            self._loop.line()
        return os.read(self._file, READ_BYTES)

    def _ready(self, file: int) -> bool:
        # In this order, so that no signal falls between the two.
        self._signals.waiting = True
        try:
            self._signals.check()
            return bool(select.select([file], [], [], self._loop.patience())[0])
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


def batches(source: Input, lenient: bool) -> Iterator[RowBatch]:
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
    if is_json(head):
        return fed(JsonLines(LABEL, lenient, numeric=lenient), source.block)
    from sgdfit.data.text.delimited import TextArrivals

    return fed(TextArrivals(LABEL, lenient), source.block)


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


def _arrow(source: Input) -> Iterator[RowBatch]:
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


class ProgressTable:
    """Rows, parameters with their errors, loss and time; of these, as many as there is room for."""

    def __init__(self) -> None:
        self.begun = False
        self._columns: dict[str, int] = {}
        self._count = 0
        self._named = False

    def lines(self, update: Update, seconds: float) -> Iterator[str]:
        """Yield the line of an update, the heads before it where they are due."""
        cells = _cells(update, seconds)
        again = sys.stdout.isatty() and self._count % AGAIN == 0
        if not self.begun or again or self._named != bool(update.estimates):
            self._columns = _fitting(cells, _room())
            self._named = bool(update.estimates)
            yield self._heads()
        self.begun, self._count = True, self._count + 1
        yield GAP.join(cells[name].rjust(size) for name, size in self._columns.items()).rstrip()

    def _heads(self) -> str:
        return GAP.join(name.strip().rjust(size) for name, size in self._columns.items())


def _cells(update: Update, seconds: float) -> dict[str, str]:
    """Return every cell by its column; blanks keep parameters apart from the others."""
    cells = {"rows": f"{update.rows:,}"}
    for name, value in update.estimates.items():
        cells[f" {name}"] = plus_minus(value, update.errors[name])
    if not update.estimates:
        cells["status"] = "waiting for more rows"
    if update.loss is not None:
        cells["loss"] = number(update.loss, DIGITS)
    cells["time"] = f"{seconds:,.1f} s"
    return cells


def _fitting(cells: dict[str, str], room: int | None) -> dict[str, int]:
    """Return the columns that there is room for, and their widths; parameters come first."""
    wide = _widths(cells, WIDE)
    if room is None or _length(wide) <= room:
        return wide
    narrow, kept = _widths(cells, NARROW), ["rows"]
    for name in sorted(narrow, key=lambda name: name in ("loss", "time")):
        if name not in kept and _length({n: narrow[n] for n in (*kept, name)}) <= room:
            kept.append(name)
    return {name: size for name, size in narrow.items() if name in kept}


def _widths(cells: dict[str, str], usual: dict[str, int]) -> dict[str, int]:
    order = [name for name in FIRST if name in cells]
    order += [name for name in cells if name not in FIRST]
    least = usual["parameter"]
    return {
        name: max(usual.get(name, least), len(name.strip()), len(cells[name])) for name in order
    }


def _length(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def _room() -> int | None:
    """Return the width of the terminal; None where lines go elsewhere and nobody set one."""
    return width() if sys.stdout.isatty() or "COLUMNS" in os.environ else None
