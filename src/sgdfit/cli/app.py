"""The program, loaded so that Ctrl-C is quiet even while the rest is being imported."""

from __future__ import annotations

import gc
from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    ``arguments`` are what stands after ``sgdfit``; by default those of this process.
    """
    # What is imported stays: to look through it for garbage takes a tenth of a short run.
    gc.set_threshold(200_000, 20, 20)
    try:
        from sgdfit.cli.commands import execute

        return execute(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        gc.freeze()
