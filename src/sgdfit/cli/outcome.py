"""What the command line does with a result: show it, keep it, answer for it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from sgdfit.cli.streams import print_report, print_text, say, say_error

if TYPE_CHECKING:
    from sgdfit.data.table import Table
    from sgdfit.results.result import Result

__all__ = ["FAILED", "INTERRUPTED", "exit_status", "keep", "print_json", "show_result"]

FAILED, INTERRUPTED = 1, 130


def keep(
    result: Result,
    table: Table,
    save: str | None,
    trace: str | None,
    plot: str | None,
    quiet: bool,
) -> None:
    """Write the files that were asked for, and say so."""
    if save is not None:
        result.save(save)
    if trace is not None:
        result.trace.write(trace)
    if plot is not None:
        from sgdfit.plots.plot import save as draw

        draw(result, table, plot)
    for what, path in (("saved fit", save), ("trace", trace), ("plot", plot)):
        if path is not None and not quiet:
            say(f"the {what} is in {path}")


def show_result(result: Result, as_json: bool, quiet: bool) -> None:
    """Print the report or the object; what these do not tell goes to standard error."""
    if as_json:
        print_json(result)
    elif not quiet:
        print_report(result)
        return
    for warning in () if quiet else result.warnings:
        say(f"warning: {warning}")
    if not result.status.ok:
        advice = f"; {result.status.cure}" if result.status.cure else ""
        say_error(f"{result.status.label}: {result.status.cause.rstrip('.')}{advice}")


def print_json(result: Result) -> None:
    """Print what `sgdfit.results.saving.summary` holds as one JSON object."""
    from sgdfit.results.saving import summary

    encoding = (sys.stdout.encoding or "ascii").lower()
    plain = not encoding.startswith("utf")
    print_text(json.dumps(summary(result), allow_nan=False, ensure_ascii=plain))


def exit_status(result: Result) -> int:
    """Return 0 for a fit that can be used, 130 for one interrupted, 1 for one that failed."""
    if result.status.name == "interrupted":
        return INTERRUPTED
    return 0 if result.status.ok else FAILED
