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
from sgdfit.result.rounding import duration

if TYPE_CHECKING:
    from sgdfit.data.table import RowGroup, Table
    from sgdfit.fitting.callbacks import Callback, Progress

PREPARING = "reading and preparing"
DEFAULT_STEPS = 1_000
LOOKS = 200
# A look at each step would cost more than a step of few rows; of many rows even this many take
# a while.
STEPS_A_LOOK = 256
BATCHES_A_LOOK, ROWS_A_LOOK = 4096, 1 << 20
SECONDS_A_LOOK = 0.05


class Listener(NamedTuple):
    """What hears of a fit."""

    callback: Callback | None  # for `sgdfit.fit`; None where no bar is shown
    tell: Callable[[str], None]  # writes a line to standard error, above the bar
    # Hears of rows that were read, and of how many there are, where that is known (else 0).
    read: Callable[[int, int], None] | None

    def with_progress(self, table: Table) -> Table:
        """Return a table whose row groups tell of their rows when they are read."""
        read, dataset = self.read, table.dataset
        if read is None or dataset is None:
            return table
        sizes = [group.rows for group in dataset.row_groups]
        total = 0 if None in sizes else sum(size or 0 for size in sizes)

        def counted(group: RowGroup) -> RowGroup:
            def batches(names: Sequence[str]) -> Iterator[Any]:
                for batch in group.read(names):
                    read(batch.num_rows, total)
                    yield batch

            return group._replace(read=batches)

        row_groups = tuple(counted(group) for group in dataset.row_groups)
        return replace(table, dataset=dataset._replace(row_groups=row_groups))


@contextlib.contextmanager
def progress_bar(wanted: bool = True, doing: str = PREPARING) -> Iterator[Listener]:
    """Show a progress bar on the terminal while the block runs; it is gone afterwards.

    ``doing`` says what is done to rows that are read before the first step of a fit. Where no bar
    is wanted or standard error is no terminal, none is written to files and pipes.
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
        begun, rows = False, 0
        looked = opened = time.perf_counter()

        def is_due() -> bool:
            nonlocal looked
            now = time.perf_counter()
            due = now - looked >= SECONDS_A_LOOK
            looked = now if due else looked
            return due

        def show(progress: Progress) -> None:
            nonlocal begun
            if not begun or is_due():
                begun, done, total = True, progress.step, progress.steps
                if progress.reading is not None:
                    done, total = progress.reading.rows, progress.reading.of
                bars.update(task, total=total, completed=done, description=describe(progress))

        def tell(text: str) -> None:
            # above the bar, which is drawn anew below it
            bars.console.print(f"sgdfit: {text}", markup=False, soft_wrap=True)

        def read(more: int, total: int) -> None:
            nonlocal rows
            rows += more
            if not begun and is_due():
                pace = rows / max(time.perf_counter() - opened, 1e-9)
                known = (
                    f" of {_short(total)} rows" if rows < total else f" rows, {_short(pace)} rows/s"
                )
                bars.update(task, description=f"{doing}  {_short(rows)}{known}")

        yield Listener(show, tell, read)


def describe(progress: Progress) -> str:
    """Say how far a descent, or a pass through all rows, is.

    Examples
    --------
    >>> from sgdfit.fitting.callbacks import Progress
    >>> describe(Progress(1500, 10_000, 3, 6.2519913, {"a": 1.0}, 0.5))
    '1,500/10,000  loss 6.25199  3,000 steps/s'
    >>> from sgdfit.fitting.callbacks import Pass
    >>> reading = Pass(250_000, 1_000_000, 0.5)
    >>> describe(Progress(5, 2000, 0, 6.2519913, {"a": 1.0}, 0.9, 0.25, reading))
    '25%  500k rows/s  2 s left  loss 6.25199  0.25 s.e. away'
    """
    reading, loss = progress.reading, f"loss {progress.loss:.6g}"
    if reading is None:
        pace = f"{float(f'{progress.step / max(progress.seconds, 1e-9):.2g}'):,.0f} steps/s"
        parts = [f"{progress.step:,}/{progress.steps:,}", loss, pace]
    else:
        speed = reading.rows / max(reading.seconds, 1e-9)
        left = duration(math.ceil((reading.of - reading.rows) / speed))
        parts = [f"{100 * reading.rows // reading.of}%", f"{_short(speed)} rows/s", f"{left} left"]
        parts += [loss] + [f"{progress.distance:.2g} s.e. away"] * math.isfinite(progress.distance)
    return "  ".join(part for part in parts if part != loss or math.isfinite(progress.loss))


def _short(number: float) -> str:
    """Write a number to two digits, for more would only flicker, with a letter for thousands."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{float(f'{number / size:.2g}'):g}{letter}"
    return f"{float(f'{number:.2g}'):g}"


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
    if not math.isfinite(length):
        return None  # a length that is no number the library refuses in its own words
    return min(max(1, int(max(length, 1)) // LOOKS), STEPS_A_LOOK)
