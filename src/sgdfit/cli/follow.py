"""`sgdfit fit - FORMULA --follow`: rows that are still arriving, as text or JSON lines."""

from __future__ import annotations

import functools
import inspect
import io
import json
import math
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sgdfit.cli.options import FIT
from sgdfit.cli.terminal import INTERRUPTED, OutputOptions, say, say_error, stop_on_signal
from sgdfit.data.delimited import arriving_rows
from sgdfit.data.dialect import TextOptions, text_options
from sgdfit.data.table import Table, clean_names
from sgdfit.errors import DataError, SgdfitError, UsageError
from sgdfit.result.rounding import number, plus_minus

if TYPE_CHECKING:
    from sgdfit.cli.terminal import StopSignal
    from sgdfit.online.fit import Fit, Update

LABEL = "standard input"
MISUSED = 2
HEAD, BLOCK, READ_BYTES, SHOWN = 64, 1 << 20, 1 << 16, 60
BOM, ARROW = b"\xef\xbb\xbf", b"\xff\xff\xff\xff"
_INTERVAL = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*(|rows?|ms|s|min|h)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}

# Rows that came together: how many, and the table of those from one on before another.
RowBatch = tuple[int, Callable[[int, int], Table]]


def whole_input(missing: str) -> Table | str:
    """Return JSON lines as a table that is read once; all else the library knows by itself."""
    if sys.stdin.isatty():
        say("reading rows from the terminal; end them with Ctrl-D on a line of its own")
    stream: Any = getattr(sys.stdin, "buffer", None)
    if not hasattr(stream, "peek") or not is_json(stream.peek(HEAD)):
        return "-"
    from sgdfit.data.readers import open_batches

    batches = json_lines(lambda: stream.read(BLOCK), missing == "drop")
    return open_batches((table(0, rows) for rows, table in batches), LABEL)


def is_json(head: bytes) -> bool:
    """Tell JSON by how it begins, as neither names nor numbers do."""
    return head.removeprefix(BOM).lstrip()[:1] in (b"{", b"[")


def json_lines(
    read: Callable[[], bytes], lenient: bool = False, numeric: bool = False
) -> Iterator[RowBatch]:
    r"""Yield the objects that are complete with each block of bytes that ``read`` returns.

    Lenient: a line that is no object is a row without numbers, rather than an error, which comes
    after the rows before it. Numeric: text that is no number is missing.

    Examples
    --------
    >>> parts = iter([b'{"x": 1}\n{"x": 2', b"}", b""])
    >>> [(rows, table(0, rows).line(0)) for rows, table in json_lines(parts.__next__)]
    [(1, ' (line 1)'), (1, ' (line 2)')]
    """
    keys: tuple[str, ...] = ()
    tail, part, number = b"", b" ", 0
    while part:
        part = read()
        *lines, tail = (tail + part).split(b"\n")
        rows: list[tuple[int, dict[str, Any]]] = []
        trouble = None
        for line in lines if part else [*lines, tail]:
            number += 1
            text = line.removeprefix(BOM).decode(errors="replace").strip()
            try:
                found = json.loads(text) if text else None
                reason = f"it is of type {type(found).__name__!r}"
            except (ValueError, RecursionError) as error:
                found, reason = None, getattr(error, "msg", "it is nested too deep")
            row = found if isinstance(found, dict) and (found or keys) else None
            if row is None and text and lenient and keys:
                row = {}
            if row is not None:
                keys = keys or tuple(row)  # the first one names the columns
                rows.append((number, row))
            elif text:
                trouble = DataError(
                    f"line {number} of {LABEL} is no JSON object ({reason}): {text[:SHOWN]!r};"
                    ' give one object a line, such as {"x": 1, "y": 2.5}, which jq -c \'.[]\' makes'
                    " of an array, or pass missing='drop' to leave such lines out after the first"
                )
                break
        if rows:
            yield len(rows), functools.partial(_table_of_objects, rows, keys, numeric)
        if trouble is not None:
            raise trouble


def _table_of_objects(
    rows: list[tuple[int, dict[str, Any]]],
    keys: tuple[str, ...],
    numeric: bool,
    first: int,
    last: int,
) -> Table:
    some = rows[first:last]

    def fetch(places: Sequence[int]) -> list[Any]:
        return [_column([row.get(keys[i]) for _, row in some], numeric) for i in places]

    return Table(clean_names(keys), LABEL, fetch, lambda row: f" (line {some[row][0]})")


def _column(values: list[Any], numeric: bool) -> Any:
    """Return numbers, or text where any is text; objects and arrays are text that is no number."""
    import numpy as np
    import pyarrow as pa

    if all(value is None for value in values):
        return pa.nulls(len(values))
    if not numeric and any(isinstance(value, str | dict | list) for value in values):
        texts = (json.dumps(v)[:SHOWN] if isinstance(v, dict | list) else v for v in values)
        return pa.array([None if t is None else str(t) for t in texts], pa.large_string())
    numbers = []
    for value in values:
        try:
            numbers.append(float(value))
        except (TypeError, ValueError):
            numbers.append(math.nan)
    return np.array(numbers)


def follow_options(data: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that `sgdfit.Fit` takes; raise where others were given, or a file."""
    from sgdfit.online.fit import Fit

    if data != "-":
        raise UsageError(
            f"--follow reads standard input, not {data!r}; for a file that grows write:"
            f' tail -n +1 -f {data} | sgdfit fit - "…" --follow'
        )
    taken = inspect.signature(Fit).parameters
    wrong = [
        "--no-shuffle" if option.name == "shuffle" else option.flag
        for panel in FIT.values()
        for option in panel
        if option.name in options
        and option.name not in (*taken, "trace_every")
        and options[option.name] != option.default
    ]
    if wrong:
        raise UsageError(
            f"{' and '.join(wrong)} cannot be had with --follow, which sees each row once; leave"
            " that out, or fit all rows at once without --follow"
        )
    return {name: value for name, value in options.items() if name in taken}


def as_interval(text: str | None) -> tuple[int | None, float | None]:
    """Return the rows or the seconds that a text such as ``1000 rows`` or ``2s`` names."""
    found = _INTERVAL.fullmatch(("1s" if text is None else text).strip())
    value = float(found[1]) if found else 0.0
    if found and found[2] in _SECONDS and value > 0:
        return None, value * _SECONDS[found[2]]
    if found and found[2] not in _SECONDS and value >= 1 and value == int(value):
        return int(value), None
    raise UsageError(
        f"--every is {text!r}; give a number of rows, as in '1000 rows', or a time, as in '2s',"
        " '500ms' or '5min'"
    )


def follow_rows(
    formula: str,
    options: Mapping[str, Any],
    every: str | None,
    output: OutputOptions,
    reading: dict[str, Any],
) -> int:
    """Update a fit with the rows of standard input, print how it stands, return the exit status.

    Until the rows end; Ctrl-C and SIGTERM end it too, after the rows that have come.
    """
    import pyarrow as pa

    from sgdfit.online.fit import Fit

    # Its own, in place of ours while it parses, lost 53 of 400 signals that came then.
    pa.enable_signal_handlers(False)
    fit, trouble, text = Fit(formula, **options), None, text_options(reading)
    with stop_on_signal(at_once=False) as state:
        loop = FollowLoop(fit, every, output, state)
        try:
            source: Any = io.BufferedReader(StandardInput(loop), READ_BYTES)
            for batch in arrivals(source, options["missing"] == "drop", text):
                loop.take(batch)
        except KeyboardInterrupt:
            pass
        except SgdfitError as error:
            trouble = error
    loop.line()
    if loop.has_lines:
        _write("")
    status = 0 if state.by is None else state.status(INTERRUPTED)
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


class FollowLoop:
    """Updates, and the lines that tell of them."""

    def __init__(
        self, fit: Fit, every: str | None, output: OutputOptions, state: StopSignal
    ) -> None:
        self.fit, self.output, self.state = fit, output, state
        self.every, self.seconds = as_interval(every)
        self.begun = self.told = time.monotonic()
        self.last: Update | None = None
        self.pending = self.warned = self.has_lines = False
        self.rows = 0

    def take(self, batch: RowBatch) -> None:
        """Take in a batch, cut where a line is due."""
        (rows, table), first, every = batch, 0, self.every
        while first < rows:
            last = rows if every is None else min(rows, first + every - self.rows % every)
            self._update(table, first, last)
            self.rows += last - first
            if self.patience() == 0 or (every is not None and self.rows % every == 0):
                self.line()
            first = last
            self.check()

    def check(self) -> None:
        """Stop here if a signal came."""
        if self.state.by is not None:
            raise KeyboardInterrupt

    def _update(self, table: Callable[[int, int], Table], first: int, last: int) -> None:
        """Update; of a batch that is refused, take in the rows before the one to blame."""
        try:
            told = self.fit.update(table(first, last))
        except DataError:
            if last - first == 1:
                raise
            middle = (first + last) // 2
            self._update(table, first, middle)
            self._update(table, middle, last)
            return
        self.last, self.pending = told, True
        if told.warnings and not self.warned and not self.output.quiet:
            say(f"warning: {told.warnings[0]}")
        self.warned = bool(told.warnings)

    def patience(self) -> float | None:
        """Return the seconds until a line is due; None where there is nothing to tell."""
        if self.seconds is None or not self.pending:
            return None
        return max(0.0, self.told + self.seconds - time.monotonic())

    def line(self) -> None:
        """Print how the fit stands."""
        if self.last is None or not self.pending:
            return
        self.pending, self.told = False, time.monotonic()
        seconds = self.told - self.begun
        if self.output.as_json:
            _write(json.dumps(_as_json(self.last, seconds), allow_nan=False))
        elif not self.output.quiet:
            cells = [f"{self.last.rows:,} rows".rjust(15)]
            for name, value in self.last.estimates.items():
                cells.append(f"{name} = {plus_minus(value, self.last.errors[name])}".ljust(22))
            known = self.last.loss
            cells.append("waiting for more" if known is None else f"loss {number(known, 4)}")
            _write("  ".join([*cells, f"{seconds:,.1f} s"]))
            self.has_lines = True


def _write(text: str) -> None:
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


class StandardInput(io.RawIOBase):
    """Standard input, as it comes; while there is none, lines that are due are printed."""

    def __init__(self, loop: FollowLoop) -> None:
        self._loop = loop
        stdin: Any = sys.stdin
        self._stream = getattr(stdin, "buffer", stdin)
        try:
            self._file: int | None = self._stream.fileno()
        except (OSError, ValueError, AttributeError):
            self._file = None

    def readable(self) -> bool:
        """Say so to who buffers it."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what is there next; nothing at the end."""
        if self._file is None:
            return int(self._stream.readinto1(buffer))
        while True:
            self._loop.check()
            wanted = [self._file, *self._loop.state.woken]
            if self._file in select.select(wanted, [], [], self._loop.patience())[0]:
                return os.readv(self._file, [buffer])
            self._loop.line()


def arrivals(
    source: io.BufferedReader[Any], lenient: bool, text: TextOptions
) -> Iterator[RowBatch]:
    """Yield the rows of an input, whose format its first bytes tell.

    Lenient: a line that is not like the first is a row without numbers, rather than an error.
    """
    head = source.peek(HEAD)
    if is_json(head):
        yield from json_lines(source.read1, lenient, lenient)
    elif head and ARROW.startswith(head[: len(ARROW)]):
        yield from _arrow(source)
    else:
        yield from arriving_rows(source.read1, LABEL, lenient, text)


def _arrow(source: io.BufferedReader[Any]) -> Iterator[RowBatch]:
    import pyarrow as pa

    from sgdfit.data.readers import open_table

    def table(batch: Any, first: int, last: int) -> Table:
        return replace(open_table(batch.slice(first, last - first)), label=LABEL)

    try:
        with pa.ipc.open_stream(source) as reader:
            for batch in reader:
                yield batch.num_rows, functools.partial(table, batch)
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise DataError(
            f"{LABEL} is no whole Arrow stream ({error}); check what writes it"
        ) from error
