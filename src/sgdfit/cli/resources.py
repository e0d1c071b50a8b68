"""The options of the command line that say which rows to read, and by what means."""

from __future__ import annotations

from typing import Annotated

from sgdfit.cli.options import DATA, declared

__all__ = ["Checkpoint", "Memory", "Resume", "Threads", "Where"]

RUN = "Long runs"

Where = Annotated[
    str | None,
    declared(
        "Which rows count: \"x > 0 and site == 'A'\", or = and <> as in SQL; what is excluded is"
        " not even read.",
        DATA,
        "--where",
        metavar="TEXT",
    ),
]
Memory = Annotated[
    str | None,
    declared(
        "What the process may hold, such as 2GB; 500MB unless given. What does not fit is read"
        " anew for each pass.",
        RUN,
        "--memory",
        metavar="BYTES",
    ),
]
Threads = Annotated[
    str | None,
    declared(
        "How many compute at once; one for each core unless given. They change no bit of the"
        " answer.",
        RUN,
        "--threads",
        metavar="NUMBER",
    ),
]
Checkpoint = Annotated[
    str | None,
    declared(
        "Keep what is found in a file, every few seconds. That of a finished run is written over,"
        " that of an unfinished one needs --resume.",
        RUN,
        "--checkpoint",
        metavar="FILE",
    ),
]
Resume = Annotated[
    bool,
    declared(
        "Go on from the checkpoint of a run that was interrupted or killed.",
        RUN,
        "--resume",
        show_default=False,
    ),
]
