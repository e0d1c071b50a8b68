"""Ctrl-C and SIGTERM end a run alike: what is known is written and reported."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from sgdfit.cli.outcome import INTERRUPTED
from sgdfit.cli.streams import say

if TYPE_CHECKING:
    from sgdfit.fitting.descent import Callback, Progress

__all__ = ["TERMINATED", "Asked", "Signals", "Stopped", "ending_kindly", "heeding"]

# 128 and the signal's number, as a shell says it.
TERMINATED = 143
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Asked:
    """Which signal asked for an end, if one did."""

    def __init__(self) -> None:
        self.by: int | None = None

    def status(self, otherwise: int) -> int:
        """Return the exit status of an interrupted run, or what it would be otherwise."""
        by_sigterm = self.by == signal.SIGTERM and otherwise == INTERRUPTED
        return TERMINATED if by_sigterm else otherwise


class Stopped(BaseException):  # it is no error, and nobody's to catch but ours
    """A signal came while nothing was being done."""


class Signals:
    """Ctrl-C and SIGTERM wait until the rows that have come are worked in."""

    def __init__(self) -> None:
        self.caught: int = 0
        self.waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        again, self.caught = bool(self.caught), number
        if self.waiting or again:
            self.waiting = False
            raise Stopped

    def check(self) -> None:
        """Stop here if a signal came."""
        if self.caught:
            raise Stopped


@contextlib.contextmanager
def ending_kindly(tell: Callable[[str], None] = say) -> Iterator[Asked]:
    """Turn SIGTERM, as Ctrl-C, into `KeyboardInterrupt` while the block runs; a second one kills.

    ``tell`` writes a line to standard error: above a progress bar, where there is one.

    What it yields is to be asked now and then as well: an exception that arrives while an
    extension module is being imported gets lost there.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.by = number
        for each, handler in before.items():
            signal.signal(each, handler)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield asked
    except KeyboardInterrupt:
        # Who has something to report catches it before.
        tell("interrupted before there was anything to report")
        if asked.by == signal.SIGTERM:
            raise SystemExit(TERMINATED) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def heeding(asked: Asked, callback: Callback | None) -> Callback:
    """Return a callback that ends the run where that was asked for and got lost."""

    def heed(progress: Progress) -> object:
        if asked.by is not None:
            raise KeyboardInterrupt
        return None if callback is None else callback(progress)

    return heed
