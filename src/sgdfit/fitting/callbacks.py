"""What a callback is told of a run, after steps and during passes, and how it ends the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

# Seconds between two looks at a pass.
SECONDS_A_LOOK = 0.1


class Pass(NamedTuple):
    """How far a pass through the rows is."""

    rows: int  # seen
    of: int  # to see
    seconds: float  # since it began
    workers: int = 0  # of a cluster, that read them


class Progress(NamedTuple):
    """What a callback is told."""

    # Steps taken since the walk began; a fit that looks wrong is walked anew, from 1 and 0 s on.
    step: int
    steps: int  # to take
    epoch: int  # how often all rows have been read, in whole numbers
    # The mean at these parameters, over the rows that `auto` looks at; in textbook descent over all
    # rows where batches are full, else over up to 8,192 of them.
    loss: float
    parameters: dict[str, float]  # the free ones
    seconds: float  # since the walk began
    # To the optimum of the rows that were last looked at, in standard errors; NaN where unknown.
    distance: float = math.nan
    reading: Pass | None = None  # in the middle of a pass through all rows, how far that is


Callback = Callable[[Progress], object]


class StopRequested(Exception):  # noqa: N818  # it tells of a wish, not of an error
    """The callback stopped the run in the middle of a pass."""


def ending_of(end: BaseException) -> str:
    """Return the ending of a run that Ctrl-C or its callback cut short."""
    return "stopped" if isinstance(end, StopRequested) else "interrupted"


class CallbackCaller:
    """Calls a callback with what ``progress`` says, every so many steps and during passes."""

    def __init__(
        self, callback: Callback | None, every: int, progress: Callable[[], Progress]
    ) -> None:
        self.callback, self.every, self.progress = callback, every, progress
        self.next_call, self.told = every, 0.0

    def stops(self, step: int) -> bool:
        """Tell of a step, where it is time to; return whether it shall be the last."""
        if self.callback is None or step < self.next_call:
            return False
        self.next_call = step + self.every
        return bool(self.callback(self.progress()))

    @property
    def listener(self) -> Callable[[Pass], None] | None:
        """What is to be told of passes; None where nobody listens."""
        return None if self.callback is None else self._hear

    def _hear(self, reading: Pass) -> None:
        """Tell of a pass that takes its time."""
        done = reading.rows == reading.of
        if reading.seconds - self.told < SECONDS_A_LOOK and not done:
            return
        self.told = 0.0 if done else reading.seconds
        if self.callback is not None and self.callback(self.progress()._replace(reading=reading)):
            raise StopRequested
