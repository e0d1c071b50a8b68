"""The options of the command line for rows that are still arriving."""

from __future__ import annotations

from typing import Annotated

from sgdfit.cli.options import declared

__all__ = ["Every", "Follow", "Forgetting"]

FOLLOW = "Rows that are still arriving"

Follow = Annotated[
    bool,
    declared(
        "Fit the rows of standard input as they arrive, and print a line at intervals, until they"
        " end or Ctrl-C.",
        FOLLOW,
        "--follow",
        show_default=False,
    ),
]
Every = Annotated[
    str | None,
    declared(
        'Between two lines: "1000 rows" or a time as in 2s or 5min; 1s unless given.',
        FOLLOW,
        "--every",
        metavar="INTERVAL",
    ),
]
Forgetting = Annotated[
    str | None,
    declared(
        "Let old rows fade: a factor a row such as 0.999, or half_life=1000 rows.",
        FOLLOW,
        "--forgetting",
        metavar="FACTOR",
    ),
]
