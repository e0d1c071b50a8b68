"""`sgdfit fit - FORMULA --follow`: a fit of rows that are still arriving, line by line."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sgdfit.cli.options import FIT
from sgdfit.cli.standard_input import Arrived, Input, Signals, Stopped, batches
from sgdfit.cli.terminal import INTERRUPTED, TERMINATED, OutputOptions, say, say_error, width
from sgdfit.errors import DataError, SgdfitError, UsageError
from sgdfit.result.rounding import number, plus_minus

if TYPE_CHECKING:
    from sgdfit.online.update import Update
    from sgdfit.online.updating import Fit

MISUSED = 2
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
    from sgdfit.online.updating import Fit

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
    from sgdfit.online.updating import Fit

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

    def _take(self, batch: Arrived, signals: Signals) -> None:
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

    def _update(self, batch: Arrived) -> None:
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
        return GAP.join(_bare(name).rjust(size) for name, size in self._columns.items())


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


def _bare(name: str) -> str:
    return name.strip()


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
    return {name: max(usual.get(name, least), len(_bare(name)), len(cells[name])) for name in order}


def _length(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def _room() -> int | None:
    """Return the width of the terminal; None where lines go elsewhere and nobody set one."""
    return width() if sys.stdout.isatty() or "COLUMNS" in os.environ else None
