"""A progress bar for a fit, and the rows that are read for it."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sgdfit.cli.terminal import say

if TYPE_CHECKING:
    from sgdfit.data.table import RowGroup, Table
    from sgdfit.fitting.callbacks import Callback, Progress
    from sgdfit.fitting.reduce import Pass

PREPARING = "reading and preparing"
DEFAULT_STEPS = 1_000
LOOKS = 200
# A look at each step would cost more than a step of few rows; of many rows even this many take
# a while.
STEPS_A_LOOK = 256
BATCHES_A_LOOK, ROWS_A_LOOK = 4096, 1 << 20
SECONDS_A_LOOK = 0.05


class Listener(NamedTuple):
    """What hears of a fit.

    Attributes
    ----------
    callback : callable or None
        For `sgdfit.fit`; None where no bar is shown.
    tell : function of a text
        Writes a line to standard error, above the bar.
    read : function of two numbers, or None
        Hears of rows that were read, and of how many there are, where that is known (else 0).
    """

    callback: Callback | None
    tell: Callable[[str], None]
    read: Callable[[int, int], None] | None

    def with_progress(self, table: Table) -> Table:
        """Return a table whose pieces tell of their rows when they are read."""
        read, dataset = self.read, table.dataset
        if read is None or dataset is None:
            return table
        total = sum(piece.rows or 0 for piece in dataset.row_groups)
        total = 0 if any(piece.rows is None for piece in dataset.row_groups) else total

        def counted(piece: RowGroup) -> RowGroup:
            def batches(names: Sequence[str]) -> Iterator[Any]:
                for batch in piece.read(names):
                    read(batch.num_rows, total)
                    yield batch

            return piece._replace(read=batches)

        row_groups = tuple(counted(piece) for piece in dataset.row_groups)
        return replace(table, dataset=dataset._replace(row_groups=row_groups))


@contextlib.contextmanager
def progress_bar(wanted: bool = True, doing: str = PREPARING) -> Iterator[Listener]:
    """Show a progress bar on the terminal while the block runs; it is gone afterwards.

    ``doing`` says what is done to rows that are read before the first step of a fit.

    Where no bar is wanted or standard error is no terminal, none is written to files and pipes.
    """
    on_terminal = sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    if not (wanted and on_terminal):
        yield Listener(None, say, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars

    with Bars(
        SpinnerColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True, highlight=False, emoji=False),
        transient=True,
        expand=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bars:
        task = bars.add_task(doing, total=None)
        shown, begun, rows = -SECONDS_A_LOOK, False, 0
        looked = opened = time.perf_counter()

        def show(progress: Progress) -> None:
            nonlocal shown, begun
            begun = True
            if progress.seconds - shown >= SECONDS_A_LOOK:
                shown = progress.seconds
                text = describe(progress)
                reading = progress.reading
                done, total = (
                    (progress.step, progress.steps)
                    if reading is None
                    else (reading.rows, reading.of)
                )
                bars.update(task, total=total, completed=done, description=text)

        def tell(text: str) -> None:
            # above the bar, which is drawn anew below it
            bars.console.print(f"sgdfit: {text}", markup=False, soft_wrap=True)

        def read(more: int, total: int) -> None:
            nonlocal rows, looked
            rows, now = rows + more, time.perf_counter()
            if not begun and now - looked >= SECONDS_A_LOOK:
                looked = now
                bars.update(task, description=prepared(rows, total, now - opened, doing))

        yield Listener(show, tell, read)


def prepared(rows: int, total: int, seconds: float, doing: str = PREPARING) -> str:
    """Say how many rows have been read, before the first step or where there is none.

    Examples
    --------
    >>> prepared(31_400_000, 0, 2.0), prepared(1_048_576, 100_000_000, 0.5)
    ('reading and preparing  31M rows, 16M rows/s', 'reading and preparing  1M of 100M rows')
    """
    if rows < total:
        return f"{doing}  {_short(rows)} of {_short(total)} rows"
    return f"{doing}  {_short(rows)} rows, {_short(rows / max(seconds, 1e-9))} rows/s"


def describe(progress: Progress) -> str:
    """Say how far a descent is: steps, loss and speed.

    Examples
    --------
    >>> from sgdfit.fitting.callbacks import Progress
    >>> describe(Progress(1500, 10_000, 3, 6.2519913, {"a": 1.0}, 0.5))
    '1,500/10,000  loss 6.25199  3,000 steps/s'
    >>> from sgdfit.fitting.reduce import Pass
    >>> reading = Pass(250_000, 1_000_000, 0.5)
    >>> describe(Progress(5, 2000, 0, 6.2519913, {"a": 1.0}, 0.9, 0.25, reading))
    '25%  500k rows/s  2 s left  loss 6.25199  0.25 s.e. away'
    """
    if progress.reading is not None:
        return _reading(progress, progress.reading)
    parts = [f"{progress.step:,}/{progress.steps:,}"]
    if math.isfinite(progress.loss):
        parts.append(f"loss {progress.loss:.6g}")
    if progress.seconds > 0:
        parts.append(f"{_rounded(progress.step / progress.seconds):,.0f} steps/s")
    return "  ".join(parts)


def _reading(progress: Progress, reading: Pass) -> str:
    """Say how far a pass through all rows is."""
    speed = reading.rows / max(reading.seconds, 1e-9)
    parts = [
        f"{100 * reading.rows // reading.of}%",
        f"{_short(speed)} rows/s",
        f"{_time((reading.of - reading.rows) / speed)} left",
    ]
    if math.isfinite(progress.loss):
        parts.append(f"loss {progress.loss:.6g}")
    if math.isfinite(progress.distance):
        parts.append(f"{progress.distance:.2g} s.e. away")
    return "  ".join(parts)


def _short(number: float) -> str:
    """Write a number to two digits with the letter of its thousands.

    Examples
    --------
    >>> _short(31_412_345.0), _short(950.0)
    ('31M', '950')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{_rounded(number / size):g}{letter}"
    return f"{_rounded(number):g}"


def _time(seconds: float) -> str:
    """Write a time in its largest units.

    Examples
    --------
    >>> _time(1.2), _time(75), _time(7300)
    ('2 s', '1:15 min', '2:01 h')
    """
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def _rounded(speed: float) -> float:
    """Keep two digits: more would only flicker."""
    return float(f"{speed:.2g}")


def steps_between(batch_size: str | None, steps: float | None, epochs: float | None) -> int | None:
    """Return the steps between two looks at a descent; None where the library is to decide.

    Examples
    --------
    >>> steps_between("full", 10_000, None), steps_between("65536", 10_000, None)
    (50, 16)
    """
    if batch_size not in (None, "full"):
        size = int(batch_size) if batch_size.isdecimal() else 0
        # one look an epoch may be minutes apart
        return max(1, min(BATCHES_A_LOOK, ROWS_A_LOOK // size)) if size else None
    length = steps or epochs or DEFAULT_STEPS
    if length != length or length == math.inf:
        return None  # a length that is no number the library refuses in its own words
    return min(max(1, int(max(length, 1)) // LOOKS), STEPS_A_LOOK)
