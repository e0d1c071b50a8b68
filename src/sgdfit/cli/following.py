"""`sgdfit fit - FORMULA --follow`: a fit of rows that are still arriving, line by line."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sgdfit.cli.interval import Interval
from sgdfit.cli.outcome import INTERRUPTED, Wish, exit_status, keep, show_result
from sgdfit.cli.running import Running
from sgdfit.cli.signals import TERMINATED, Signals, Stopped
from sgdfit.cli.standard_input import Arrived, Input, batches
from sgdfit.cli.streams import say, say_error
from sgdfit.errors import DataError, SgdfitError

if TYPE_CHECKING:
    from sgdfit.online.update import Update
    from sgdfit.online.updating import Fit
    from sgdfit.result.result import Result

__all__ = ["fit_arriving"]

MISUSED = 2


def fit_arriving(formula: str, options: Mapping[str, Any], interval: Interval, wish: Wish) -> int:
    """Update a fit with the rows of standard input until they end, and print how it stands.

    Ctrl-C and SIGTERM end it too, after the rows that have come.

    Parameters
    ----------
    options : mapping
        Of `sgdfit.Fit`, by its names.

    Returns
    -------
    int
        The exit status.
    """
    from sgdfit.online.updating import Fit

    fit = Fit(formula, **options)
    course, lenient = Course(fit, interval, wish), options["missing"] == "drop"
    trouble: SgdfitError | None = None
    with Signals() as signals:
        try:
            course.run(Input(signals, course), lenient, signals)
        except Stopped:
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
    found = fit.result()
    try:
        keep(found, None, wish)
    finally:
        show_result(found, wish)
        sys.stdout.flush()
    return found


class Course:
    """Updates, and the lines that tell of them."""

    def __init__(self, fit: Fit, interval: Interval, wish: Wish) -> None:
        self.fit, self.interval, self.wish = fit, interval, wish
        self.begun = self.told = time.monotonic()
        self.last: Update | None = None
        self.pending, self.warned = False, False
        self.rows = 0
        self.table = Running()

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
        if told.warnings and not self.warned and not self.wish.quiet:
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
