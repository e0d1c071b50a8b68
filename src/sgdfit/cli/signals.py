"""SIGTERM ends a run as Ctrl-C does: what is known is written and reported."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["TERMINATED", "ending_kindly"]

# 128 and the signal's number, as a shell says it.
TERMINATED = 143


@contextlib.contextmanager
def ending_kindly() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM into `KeyboardInterrupt` while the block runs.

    Yields a function that tells whether it came. A second one ends the process as ever.
    """
    came = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGTERM, before)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGTERM, before)
