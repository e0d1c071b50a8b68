"""The program, loaded so that Ctrl-C is quiet even while the rest is being imported."""

from __future__ import annotations

from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands after ``sgdfit``; by default that of this process.
    """
    try:
        from sgdfit.cli.commands import execute

        return execute(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
