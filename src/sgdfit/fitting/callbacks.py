"""What a callback is told of a run, after steps and during passes, and how it ends the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

# Seconds between two looks at a pass.
SECONDS_A_LOOK = 0.1


class Pass(NamedTuple):
    """How far a pass through the rows is.

    Attributes
    ----------
    rows, of : int
        Rows seen, and to see.
    seconds : float
        Since it began.
    """

    rows: int
    of: int
    seconds: float


class Progress(NamedTuple):
    """What a callback is told.

    Attributes
    ----------
    step, steps : int
        Steps taken, and to take.
    epoch : int
        Passes through the data completed.
    loss : float
        Loss of the last recorded batch, NaN before the first.
    parameters : dict of str to float
        The free parameters.
    seconds : float
        Time since the start.
    distance : float
        To the optimum of the rows that were last looked at, in standard errors; NaN where unknown.
    reading : Pass or None
        In the middle of a pass through all rows, how far that is.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    parameters: dict[str, float]
    seconds: float
    distance: float = math.nan
    reading: Pass | None = None


Callback = Callable[[Progress], object]


class StopRequested(Exception):  # noqa: N818  # it tells of a wish, not of an error
    """The callback stopped the run in the middle of a pass."""


class CallbackCaller:
    """Calls a callback after steps and during passes; without one, nobody.

    Parameters
    ----------
    callback : function of a `Progress`, or None
    every : int
        Steps between two calls.
    progress : function
        Returns what the callback is to be told now.
    """

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
