"""The program, which Ctrl-C ends without a word wherever there is nothing to report yet."""

from __future__ import annotations

import gc
import signal
from collections.abc import Sequence
from contextlib import suppress

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    ``arguments`` are what stands after ``sgdfit``; by default those of this process.
    """
    # Raised in an import, KeyboardInterrupt comes out as some other error. What has something to
    # report catches the signal itself (`sgdfit.cli.terminal.stop_on_signal`).
    if arguments is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # where this is not the main thread
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What is imported stays: to look through it for garbage takes a tenth of a short run.
    gc.set_threshold(200_000, 20, 20)
    try:
        from sgdfit.cli.commands import execute

        return execute(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        gc.freeze()
