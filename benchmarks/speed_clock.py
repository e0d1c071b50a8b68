"""Clocks: contenders that take turns, peaks of memory, and fits in processes of their own."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speed_tables import Line

__all__ = [
    "Contender",
    "Timing",
    "fitted_apart",
    "lines",
    "peak_bytes",
    "peer",
    "race",
    "reset_peak",
]

# One as slow as this is timed once.
SLOW = 20.0
CHILD = Path(__file__).with_name("speed_child.py")


class Contender(NamedTuple):
    """Whose turn it is.

    Attributes
    ----------
    name : str
    turn : function or None
        The work; None for a peer that is not there.
    rows : int
        How many rows a turn covers; 0 where the seconds of the turn count.
    note : str
        What the table says of it.
    """

    name: str
    turn: Callable[[], Any] | None
    rows: int = 0
    note: str = ""


class Timing(NamedTuple):
    """What the turns of a contender took, and brought.

    Attributes
    ----------
    contender : Contender
    seconds : tuple of float
        Each turn that counts.
    answer : object
        What the last one returned, or the exception that it raised.
    peak : int or None
        The most memory beyond what was there before the first turn, bytes.
    """

    contender: Contender
    seconds: tuple[float, ...]
    answer: Any = None
    peak: int | None = None

    @property
    def median(self) -> float:
        """Median seconds; NaN without a turn."""
        return statistics.median(self.seconds) if self.seconds else float("nan")

    @property
    def nanoseconds(self) -> float:
        """Median nanoseconds a row."""
        return 1e9 * self.median / max(self.contender.rows, 1)


def peer(name: str, module: str, package: str, make: Callable[[], Contender]) -> Contender:
    """Return what ``make`` does where ``module`` is installed, else a contender without a turn."""
    if importlib.util.find_spec(module) is None:
        return Contender(name, None, note=f"not installed: pip install {package}")
    return make()._replace(name=name)


def race(contenders: Sequence[Contender], repeat: int) -> list[Timing]:
    """Let all take turns, so that whatever else the machine does falls on all of them alike.

    A first turn of each is not counted, since it is where solvers compile; one that takes longer
    than `SLOW` seconds is, and stays the only one.
    """
    timings = [_first(contender) for contender in contenders]
    for _ in range(repeat):
        timings = [timing if timing.seconds[:1] > (SLOW,) else _turn(timing) for timing in timings]
    return timings


def _first(contender: Contender) -> Timing:
    before = reset_peak()
    timing = _turn(Timing(contender, ()))
    after = peak_bytes()
    grown = None if before is None or after is None else after - before
    kept = tuple(seconds for seconds in timing.seconds if seconds > SLOW)
    return timing._replace(seconds=kept, peak=grown)


def _turn(timing: Timing) -> Timing:
    if timing.contender.turn is None or isinstance(timing.answer, Exception):
        return timing
    begun = time.perf_counter()
    try:
        answer = timing.contender.turn()
    except Exception as error:  # A peer that fails says so in its line.
        return timing._replace(answer=error, seconds=())
    return timing._replace(seconds=(*timing.seconds, time.perf_counter() - begun), answer=answer)


def lines(timings: Sequence[Timing], unit: str = "ns") -> list[Line]:
    """Return a line of each, in nanoseconds a row or in seconds."""
    return [
        Line(
            timing.contender.name,
            None if not timing.seconds else timing.nanoseconds if unit == "ns" else timing.median,
            len(timing.seconds),
            _failure(timing) or timing.contender.note,
        )
        for timing in timings
    ]


def _failure(timing: Timing) -> str:
    error = timing.answer
    return f"failed: {type(error).__name__}: {error}"[:100] if isinstance(error, Exception) else ""


def reset_peak() -> int | None:
    """Let the peak of resident memory count from here, and return where it stands in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return peak_bytes()


def peak_bytes() -> int | None:
    """Return the peak of resident memory in bytes, where the system tells it."""
    try:
        told = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    peak = next((line.split()[1] for line in told if line.startswith("VmHWM")), None)
    return None if peak is None else int(peak) * 1024


def fitted_apart(job: dict[str, Any]) -> dict[str, Any]:
    """Return what ``speed_child.py`` tells of a job: a fit in a process of its own.

    Raises
    ------
    RuntimeError
        With its last words, when the process fails.
    """
    done = subprocess.run(
        [sys.executable, str(CHILD), json.dumps(job)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr else "it was killed")
    return dict(json.loads(done.stdout.splitlines()[-1]))
