"""Fits of many groups of rows by `fit`, shared out among processes: threads would take turns.

A worker process is started with nothing but this module, since `multiprocessing` would run a script
again that does not guard its main part, or fork beside threads. Pickles go through its pipes.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from sgdfit.errors import DivergenceWarning, SgdfitError
from sgdfit.fitting.entry import fit

Columns = dict[str, np.ndarray[Any, Any]]

# Seconds: of work that is left when workers are started, which takes one; after which that is
# told; of the groups that a worker is given at a time.
WORTH, TOLD, SHARE = 4.0, 0.5, 0.25
WORKER = "import sys; sys.path[:] = {}; from sgdfit.fitting.processes import serve; serve()"


class GroupFit(NamedTuple):
    """What comes of one group."""

    values: list[float]  # of each parameter
    stderr: list[float]
    loss: float
    residual_standard_error: float
    status: str
    cause: str


class Warned(NamedTuple):
    """A warning that a worker gave, as `warnings.warn_explicit` takes it."""

    message: str
    category: type[Warning]
    filename: str
    lineno: int


class Work(NamedTuple):
    """Groups that this process and its workers share."""

    left: deque[int]
    columns: Callable[[int], Columns]
    done: SimpleQueue[Any]  # groups with what came of them, and warnings; None: a worker ends

    def taken(self, several: int) -> list[int]:
        """Take so many groups, or as many as others have left."""
        some = list[int]()
        with contextlib.suppress(IndexError):
            while len(some) < several:
                some.append(self.left.popleft())
        return some


def fit_group(columns: Columns, options: dict[str, Any], names: Sequence[str]) -> GroupFit:
    """Fit a group of rows; ``names`` are the parameters that are estimated."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            result = fit(data=columns, **options)
    except SgdfitError as error:
        unknown = [math.nan] * len(names)
        return GroupFit(unknown, unknown, math.nan, math.nan, "error", str(error))
    if result.status.name == "interrupted":
        raise KeyboardInterrupt
    estimates = [result.estimates[name] for name in names]
    errors = [math.nan if e.stderr is None else e.stderr for e in estimates]
    square = result.reduced_chi_square
    residual = math.nan if square is None else math.sqrt(square)
    status, cause = result.status.name, result.status.cause
    cause = "" if status == "converged" else cause
    return GroupFit([e.value for e in estimates], errors, result.loss, residual, status, cause)


def fit_groups(
    groups: Sequence[int],
    columns: Callable[[int], Columns],
    options: dict[str, Any],
    names: Sequence[str],
    threads: int,
) -> Generator[tuple[int, GroupFit], None, None]:
    """Yield groups and what comes of them, as they are done; on several cores where it pays.

    This process fits groups too, also those of a worker that died. What cannot be pickled, as a
    function that is called, stays here. What workers warn of is said here, once each.
    """
    begun, fitted, running, workers = time.monotonic(), 0, 0, list[Worker]()
    said = set[Warned]()
    work = Work(deque(groups), columns, SimpleQueue())
    left, done = work.left, work.done
    try:
        while left or running:
            for group in work.taken(1):
                yield group, fit_group(columns(group), options, names)
                # The first imports and warms up what the others use.
                begun, fitted = (begun, fitted + 1) if fitted else (time.monotonic(), 1)
            while running and not (left and done.empty()):
                found = done.get()
                running -= found is None
                answers, warned = found or ((), set())
                for one in warned - said:
                    said.add(one)
                    warnings.warn_explicit(*one)
                yield from answers
            spent = time.monotonic() - begun
            if threads > 1 and spent > TOLD:
                if (each := spent / max(1, fitted - 1)) * len(left) > WORTH:
                    several, count = max(1, int(SHARE / each)), min(threads - 1, len(left))
                    workers = _started((options, names), work, several, count)
                running, threads = len(workers), 1
    finally:
        for worker in workers:
            worker.end()


def _started(setup: tuple[Any, ...], work: Work, several: int, count: int) -> list[Worker]:
    """Return workers, if there can be any; where this is no interpreter there are none."""
    workers, known = list[Worker](), pickled(setup)
    if known is not None and sys.executable and not hasattr(sys, "frozen"):
        with contextlib.suppress(OSError):
            for _ in range(count):
                workers.append(Worker(known, work, several))
    return workers


def pickled(value: object) -> bytes | None:
    """Return what other processes can be told of a value, None where that is nothing."""
    with contextlib.suppress(pickle.PicklingError, AttributeError, TypeError):
        return pickle.dumps(value)
    return None


class Worker:
    """A process that fits groups, and the thread that hands them to it."""

    def __init__(self, setup: bytes, work: Work, several: int) -> None:
        # In a session of its own it hears nothing of Ctrl-C, and is ended from here.
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER.format(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        arguments = (setup, work, several)
        self.thread = threading.Thread(target=self._hand_out, args=arguments, daemon=True)
        self.thread.start()

    def _hand_out(self, setup: bytes, work: Work, several: int) -> None:
        to, back, taken = self.process.stdin, self.process.stdout, list[int]()
        assert to is not None
        assert back is not None
        try:
            # An end of the process is seen by its pipes; its groups are fitted elsewhere.
            with contextlib.suppress(OSError, EOFError, ValueError, pickle.UnpicklingError):
                to.write(setup)
                while taken := work.taken(several):
                    pickle.dump([work.columns(group) for group in taken], to)
                    to.flush()
                    answers, warned = pickle.load(back)
                    work.done.put((list(zip(taken, answers, strict=True)), warned))
        finally:
            work.left.extend(taken)
            work.done.put(None)

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()


def serve() -> None:
    """Fit what comes from standard input, until it ends."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what else is printed would be taken for answers
    with contextlib.suppress(EOFError, BrokenPipeError):
        options, names = pickle.load(source)
        while True:
            with warnings.catch_warnings(record=True) as heard:
                answers = [fit_group(columns, options, names) for columns in pickle.load(source)]
            warned = {Warned(str(w.message), w.category, w.filename, w.lineno) for w in heard}
            pickle.dump((answers, warned), sink)
            sink.flush()
