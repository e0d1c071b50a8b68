"""What the command line does with a result: show it, keep it, answer for it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NamedTuple

from sgdfit.cli.streams import print_report, print_text, say, say_error

if TYPE_CHECKING:
    from sgdfit.data.table import Table
    from sgdfit.result.result import Result

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "TABLES",
    "Wish",
    "exit_status",
    "keep",
    "print_json",
    "show_result",
]

FAILED, INTERRUPTED = 1, 130
TABLES = (".csv", ".tsv", ".parquet")
PLOTS = (".png", ".svg", ".pdf")


class Wish(NamedTuple):
    """What is to be done with the answer.

    Attributes
    ----------
    as_json, quiet : bool
        Whether one JSON object is printed rather than a report; whether nothing else is.
    save, trace, plot : str or None
        Files to write.
    """

    as_json: bool
    quiet: bool
    save: str | None
    trace: str | None
    plot: str | None

    @property
    def destinations(self) -> tuple[tuple[str, str | None, tuple[str, ...]], ...]:
        """The options that write files, where to, and the endings these may have."""
        return (
            ("--save", self.save, ()),
            ("--trace", self.trace, TABLES),
            ("--plot", self.plot, PLOTS),
        )


def keep(result: Result, table: Table | None, wish: Wish) -> None:
    """Write the files that were asked for, and say so; a plot needs the rows."""
    if wish.save is not None:
        result.save(wish.save)
    if wish.trace is not None:
        result.trace.write(wish.trace)
    if wish.plot is not None and table is not None:
        from sgdfit.plot import save as draw

        draw(result, table, wish.plot)
    for what, path in (("saved fit", wish.save), ("trace", wish.trace), ("plot", wish.plot)):
        if path is not None and not wish.quiet:
            say(f"the {what} is in {path}")


def show_result(result: Result, wish: Wish) -> None:
    """Print the report or the object; what these do not tell goes to standard error."""
    if wish.as_json:
        print_json(result)
    elif not wish.quiet:
        print_report(result)
        return
    for warning in () if wish.quiet else result.warnings:
        say(f"warning: {warning}")
    if not result.status.ok:
        advice = f"; {result.status.cure}" if result.status.cure else ""
        say_error(f"{result.status.label}: {result.status.cause.rstrip('.')}{advice}")


def print_json(result: Result) -> None:
    """Print what `sgdfit.result.saving.summary` holds as one JSON object."""
    from sgdfit.result.saving import summary

    encoding = (sys.stdout.encoding or "ascii").lower()
    plain = not encoding.startswith("utf")
    print_text(json.dumps(summary(result), allow_nan=False, ensure_ascii=plain))


def exit_status(result: Result) -> int:
    """Return 0 for a fit that can be used, 130 for one interrupted, 1 for one that failed."""
    if result.status.name == "interrupted":
        return INTERRUPTED
    return 0 if result.status.ok else FAILED
