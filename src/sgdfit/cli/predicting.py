"""The command ``predict``: rows go to a file or to standard output as they are predicted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sgdfit.cli.outcome import INTERRUPTED
from sgdfit.cli.progress import progress_bar
from sgdfit.cli.signals import ending_kindly
from sgdfit.cli.streams import print_table, say
from sgdfit.fitting.prediction import PREDICTION, weighs
from sgdfit.fitting.prediction_file import Dropped, predicted
from sgdfit.result.table_file import TableFile

if TYPE_CHECKING:
    from sgdfit.data.table import Table
    from sgdfit.fitting.means import Means
    from sgdfit.result.result import Result

__all__ = ["deliver"]

PREDICTING = "predicting"


def deliver(
    result: Result,
    table: Table,
    interval: str | None,
    level: float,
    missing: str,
    means: Means,
    output: str | None,
) -> int:
    """Predict all rows, write them, and return the exit status."""
    dropped = Dropped()

    def columns() -> Iterator[Any]:
        nonlocal dropped
        for some in predicted(result, heard, interval, level, missing=missing, means=means):
            dropped = dropped.also(some.dropped)
            yield some.columns

    # rows that are printed would run into the bar
    with (
        progress_bar(output is not None, PREDICTING) as listener,
        ending_kindly(listener.tell) as asked,
    ):
        heard = listener.hearing(table)
        try:
            if output is None:
                print_table(columns())
            else:
                _write(columns(), output)
        except KeyboardInterrupt:
            if output is not None:
                listener.tell(f"interrupted; nothing is written to {output}")
            return asked.status(INTERRUPTED)
    if interval == PREDICTION and result.weights and not weighs(result, table):
        say(f"{table.label} lacks the columns of '{result.weights}': rows are taken to weigh 1")
    if dropped.rows:
        say(str(dropped))
    return 0


def _write(blocks: Iterator[Any], output: str) -> None:
    with TableFile(output) as file:
        for columns in blocks:
            file.write(columns)
