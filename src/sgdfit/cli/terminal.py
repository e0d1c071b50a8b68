"""Standard output and error, the progress bar, files that are written, signals that end a run.

Ctrl-C and SIGTERM end a run alike: what is known is written and reported.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from sgdfit.checkpoint.atomic import identity_of_file, replacing
from sgdfit.errors import CacheWarning, CheckpointWarning, DivergenceWarning, UsageError, counted
from sgdfit.result.rounding import duration

if TYPE_CHECKING:
    from sgdfit.data.table import RowGroup, Table
    from sgdfit.fitting.callbacks import Callback, Progress
    from sgdfit.result.result import Result
    from sgdfit.result.trace import Trace

FAILED, INTERRUPTED = 1, 130
# 128 and the signal's number, as a shell says it.
TERMINATED = 143
SIGNALS = (signal.SIGINT, signal.SIGTERM)
TABLES = (".csv", ".tsv", ".parquet")
PREPARING = "reading and preparing"
DEFAULT_STEPS = 1_000
LOOKS = 200
# A look at each step would cost more than a step of few rows; of many rows even this many take
# a while.
STEPS_A_LOOK = 256
BATCHES_A_LOOK, ROWS_A_LOOK = 4096, 1 << 20
SECONDS_A_LOOK = 0.05


def ready_streams() -> None:
    """Let no sign stop the output: one that the terminal cannot show becomes ?.

    A stream that the shell closed, as in ``>&-``, leads nowhere.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def width() -> int:
    """Return the terminal's width, or COLUMNS, or 80 where the output goes elsewhere."""
    return shutil.get_terminal_size((80, 24)).columns


def say(text: str) -> None:
    """Write a message to standard error."""
    sys.stderr.write(f"sgdfit: {printable(text)}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def show_warnings(tell: Callable[[str], None], wanted: bool) -> Iterator[None]:
    """Tell of a learning rate that is too large, or files that cannot be kept, in a sentence."""
    ours = (DivergenceWarning, CheckpointWarning, CacheWarning)
    with warnings.catch_warnings():
        for category in ours:
            warnings.simplefilter("always" if wanted else "ignore", category)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, ours):
                tell(f"warning: {printable(str(message))}")
            else:
                usual(message, category, *where)

        warnings.showwarning = show  # type: ignore[assignment]  # the rest is passed on as it is
        yield


def say_error(text: str) -> None:
    """Write an error to standard error."""
    said = printable(text)
    if not sys.stderr.isatty() and "FORCE_COLOR" not in os.environ:
        sys.stderr.write(f"sgdfit: error: {said}\n")
        return
    from rich.console import Console
    from rich.text import Text

    # a caret stands below its place only where no line is wrapped
    coloured = Text.assemble("sgdfit: ", ("error: ", "bold red"), said)
    Console(stderr=True, highlight=False, emoji=False).print(coloured, soft_wrap=True)


def printable(text: str) -> str:
    """Put � for what would command the terminal; names of files may hold anything."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def print_text(text: str) -> None:
    """Write text to standard output, ended by one line break."""
    sys.stdout.write(text.rstrip("\n") + "\n")


def print_report(result: Result, full: bool = False, derive: Sequence[str] = ()) -> None:
    """Write the report, in colour on a terminal, and what is derived from the fit."""
    from sgdfit.report import as_rich, as_text

    # Rich takes 20 ms to import, which plain text does not need
    if sys.stdout.isatty() or "FORCE_COLOR" in os.environ:
        from rich.console import Console

        console = Console(highlight=False, emoji=False)
        if console.is_terminal:
            console.print(as_rich(result, full))
            _print_derived(result, derive)
            return
    print_text(as_text(result, width(), full))
    _print_derived(result, derive)


def _print_derived(result: Result, derive: Sequence[str]) -> None:
    if derive and result.status.ok:
        from sgdfit.result.derived import derive_quantities

        print_text(f"\n{derive_quantities(result, derive)}")


def print_json(result: Result, derive: Sequence[str] = ()) -> None:
    """Print what `sgdfit.result.saved.summary` holds, and is derived, as one JSON object."""
    from sgdfit.result.saved import summary

    plain = not (sys.stdout.encoding or "ascii").lower().startswith("utf")
    facts = summary(result)
    if derive and result.status.ok:
        from sgdfit.result.derived import derive_quantities

        facts["derived"] = derive_quantities(result, derive).to_dict()
    print_text(json.dumps(facts, allow_nan=False, ensure_ascii=plain))


@contextlib.contextmanager
def printed_rows() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield what prints columns as CSV, numbers so that they read back exactly."""
    from sgdfit.result.table_file import header, separated

    # names of columns are written as they were read, whatever the terminal shows
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8")
    begun = False

    def write(columns: Mapping[str, Any]) -> None:
        nonlocal begun
        if not begun:
            sys.stdout.write(header(columns).decode())
        sys.stdout.write(separated(columns).decode())
        begun = True

    yield write


def print_trace(trace: Trace) -> None:
    """Write every step: for reading on a terminal, else as CSV that reads back exactly."""
    from sgdfit.report import trace_as_text

    if sys.stdout.isatty():
        print_text(trace_as_text(trace, width()))
    else:
        with printed_rows() as write:
            write(trace.columns())


def deliver_text(text: str, path: str | None) -> None:
    """Print a text, or write it to a file; raises `UsageError` when that cannot be done."""
    if path is None:
        print_text(text)
        return
    try:
        with replacing(path) as file:
            file.write((text.rstrip("\n") + "\n").encode())
    except OSError as error:
        raise UsageError(f"cannot write {path!r}: {error.strerror}") from error


class OutputOptions(NamedTuple):
    """What is to be done with a result."""

    as_json: bool  # whether one JSON object is printed rather than a report
    quiet: bool  # whether nothing else is
    full: bool  # whether the report says all
    # files to write
    save: str | None
    trace: str | None
    plot: str | None
    report: str | None = None
    derive: tuple[str, ...] = ()  # what is derived from the parameters

    def deliver(self, result: Result, table: Table | None) -> int:
        """Write the files, show the result, and return the exit status; a plot needs the rows."""
        try:
            if self.save is not None:
                result.save(self.save)
            trace = None if self.trace == "-" else self.trace
            if trace is not None:
                result.trace.write(trace)
            if self.plot not in (None, "-") and table is not None:
                from sgdfit.plot import save as draw

                draw(result, table, self.plot)
            if self.report is not None:
                from sgdfit.document import write_document

                write_document(result, self.report, table, self.derive, ["sgdfit", *sys.argv[1:]])
            files = (
                ("saved fit", self.save),
                ("trace", trace),
                ("plot", self.plot),
                ("report", self.report),
            )
            for what, path in files:
                if path not in (None, "-") and not self.quiet:
                    say(f"the {what} is in {path}")
        finally:  # a full disk must not cost the answer
            self._show(result)
        if self.plot == "-" and table is not None:
            from sgdfit.plot.terminal import text_plot

            print_text(text_plot(result, table, width()))
        if result.status.name == "interrupted":
            return INTERRUPTED
        return 0 if result.status.ok else FAILED

    def _show(self, result: Result) -> None:
        """Print the report or the object; what these do not tell goes to standard error."""
        if self.trace == "-":
            print_trace(result.trace)
        if self.as_json:
            print_json(result, self.derive)
        elif not self.quiet:
            print_report(result, self.full, self.derive)
            return
        for warning in () if self.quiet else result.warnings:
            say(f"warning: {warning}")
        if not result.status.ok:
            advice = f"; {result.status.cure}" if result.status.cure else ""
            say_error(f"{result.status.label}: {result.status.cause.rstrip('.')}{advice}")


def check_destinations(
    destinations: Iterable[tuple[str, str | None, tuple[str, ...]]], sources: Iterable[str] = ()
) -> None:
    """Refuse, before any work is done, files that could not be written when it is.

    Destinations are options, their paths and the endings that these may have, where not any will
    do; sources are files that are read, which none may overwrite.
    """
    read = "the file that is read"
    taken = {identity_of_file(source): read for source in sources if source != "-"}
    for option, path, endings in destinations:
        if path is None:
            continue
        trouble, identity = _trouble(path, endings), identity_of_file(path)
        if trouble is None and identity in taken:
            trouble = f"it is also {taken[identity]}; name another file"
        if trouble is not None:
            raise UsageError(f"cannot write {option} {path!r}: {trouble}")
        if os.path.isfile(path) or not os.path.exists(path):  # two may write to one device
            taken[identity] = f"the file of {option}"


def _trouble(path: str, endings: tuple[str, ...]) -> str | None:
    folder = str(Path(path).parent)
    if path in ("", "-"):
        return "a name is needed"
    if endings and Path(path).suffix.lower() not in endings:
        return f"its ending must be one of {', '.join(endings)}"
    if os.path.isdir(path):
        return "it is a folder; name a file in it"
    if not os.path.isdir(folder):
        return f"there is no folder {folder!r}; make it first"
    if os.path.exists(path):
        return None if os.access(path, os.W_OK) else "the file is protected (permission denied)"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder!r} is protected (permission denied)"
    return None


class StopSignal:
    """Which signal asked for an end, if one did."""

    def __init__(self) -> None:
        self.by: int | None = None
        self.woken: tuple[int, ...] = ()  # what can be read from once a signal came

    def status(self, otherwise: int) -> int:
        """Return the exit status of an interrupted run, or what it would be otherwise."""
        by_sigterm = self.by == signal.SIGTERM and otherwise == INTERRUPTED
        return TERMINATED if by_sigterm else otherwise


def _leave(number: int, frame: FrameType | None) -> None:
    """End the process at once; a bar that it leaves has hidden the cursor."""
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")
    os._exit(128 + number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def stop_on_signal(tell: Callable[[str], None] = say, at_once: bool = True) -> Iterator[StopSignal]:
    """Turn SIGTERM, as Ctrl-C, into `KeyboardInterrupt` while the block runs; a second one kills.

    ``tell`` writes a line to standard error: above a progress bar, where there is one. Not at once,
    and in the middle of an import, which would make another error of it, nothing is raised: what
    this yields is to be asked now and then.
    """
    state = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        state.by = number
        for each in before:
            signal.signal(each, _leave)
        if at_once and not _is_importing(frame):
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    pipe = () if at_once else os.pipe()
    if pipe:
        state.woken = pipe[:1]
        os.set_blocking(pipe[1], False)
        signal.set_wakeup_fd(pipe[1])
    try:
        yield state
    except KeyboardInterrupt:
        # Who has something to report catches it before.
        tell("interrupted before there was anything to report")
        if state.by == signal.SIGTERM:
            raise SystemExit(TERMINATED) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if pipe:
            signal.set_wakeup_fd(-1)
        for end in pipe:
            os.close(end)


def check_signals(state: StopSignal, callback: Callback | None) -> Callback:
    """Return a callback that ends the run where that was asked for and got lost."""

    def check(progress: Progress) -> object:
        if state.by is not None:
            raise KeyboardInterrupt
        return None if callback is None else callback(progress)

    return check


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
def progress_bar(
    wanted: bool = True, doing: str = PREPARING, unit: str = "rows"
) -> Iterator[Listener]:
    """Show a progress bar on the terminal while the block runs; it is gone afterwards.

    ``doing`` says what is done to the rows that are read before the first step of a fit, or to what
    else is counted in ``unit``. Where no bar
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
                bars.update(task, total=total, completed=done, description=progress_text(progress))

        def tell(text: str) -> None:
            # above the bar, which is drawn anew below it
            bars.console.print(f"sgdfit: {text}", markup=False, soft_wrap=True)

        def read(more: int, total: int) -> None:
            nonlocal rows
            rows += more
            if not begun and is_due():
                pace = rows / max(time.perf_counter() - opened, 1e-9)
                known = f" of {_short(total)} {unit}"
                known = known if rows < total else f" {unit}, {_short(pace)} {unit}/s"
                bars.update(task, description=f"{doing}  {_short(rows)}{known}")

        yield Listener(show, tell, read)


def progress_text(progress: Progress) -> str:
    """Say how far a descent, or a pass through all rows, is.

    Examples
    --------
    >>> from sgdfit.fitting.callbacks import Progress
    >>> progress_text(Progress(1500, 10_000, 3, 6.2519913, {"a": 1.0}, 0.5))
    '1,500/10,000  loss 6.25199  3,000 steps/s'
    >>> from sgdfit.fitting.callbacks import Pass
    >>> reading = Pass(250_000, 1_000_000, 0.5)
    >>> progress_text(Progress(5, 2000, 0, 6.2519913, {"a": 1.0}, 0.9, 0.25, reading))
    '25%  500k rows/s  2 s left  loss 6.25199  0.25 s.e. away'
    """
    reading, loss = progress.reading, f"loss {progress.loss:.6g}"
    if reading is None:
        pace = f"{float(f'{progress.step / max(progress.seconds, 1e-9):.2g}'):,.0f} steps/s"
        parts = [f"{progress.step:,}/{progress.steps:,}", loss, pace]
    else:
        speed = reading.rows / max(reading.seconds, 1e-9)
        left = duration(math.ceil((reading.of - reading.rows) / speed))
        pace = f"{_short(speed)} rows/s"
        pace += f" on {counted(reading.workers, 'worker')}" if reading.workers else ""
        parts = [f"{100 * reading.rows // reading.of}%", pace, f"{left} left"]
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
