"""Reading ahead: while one block is worked on, the next ones are read on other threads."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")

# Blocks that wait for their turn, where one thread reads one piece after another.
WAITING = 1


def ahead(
    reads: Sequence[Callable[[], Iterator[T]]], threads: int, small: bool
) -> Generator[T, None, None]:
    """Yield what all ``reads`` yield, in order, each begun before it is asked for.

    Parameters
    ----------
    reads : sequence of functions that return an iterator
    threads : int
        How many may run at once.
    small : bool
        Whether all that one of them yields may be held at once. If not, a single thread runs them
        one after the other, a few blocks ahead.

    Examples
    --------
    >>> list(ahead([lambda: iter([1, 2]), lambda: iter([3])], threads=2, small=True))
    [1, 2, 3]
    """
    return _in_parallel(reads, threads) if small else _in_turn(reads)


def _in_parallel(
    reads: Sequence[Callable[[], Iterator[T]]], threads: int
) -> Generator[T, None, None]:
    waiting: deque[Future[deque[T | _Failed]]] = deque()
    left = iter(reads)
    pool = ThreadPoolExecutor(threads, "sgdfit-read")
    try:
        for _ in range(threads):
            _submit(pool, left, waiting)
        while waiting:
            found = waiting.popleft().result()
            _submit(pool, left, waiting)
            while found:
                block = found.popleft()
                if isinstance(block, _Failed):
                    raise block.error
                yield block
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(
    pool: ThreadPoolExecutor,
    left: Iterator[Callable[[], Iterator[T]]],
    waiting: deque[Future[deque[T | _Failed]]],
) -> None:
    read = next(left, None)
    if read is not None:
        waiting.append(pool.submit(_all, read))


class _Failed:
    """An exception on its way from the thread that reads."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _all(read: Callable[[], Iterator[T]]) -> deque[T | _Failed]:
    """Return what is read, up to an error: something may be amiss in what came before it."""
    found: deque[T | _Failed] = deque()
    try:
        found.extend(read())
    except BaseException as error:  # handed to the thread that waits for it
        found.append(_Failed(error))
    return found


_END = object()


def _in_turn(reads: Sequence[Callable[[], Iterator[T]]]) -> Generator[T, None, None]:
    blocks: queue.Queue[object] = queue.Queue(WAITING)
    left = threading.Event()
    thread = threading.Thread(target=_fill, args=(reads, blocks, left), daemon=True)
    thread.start()
    try:
        while (block := blocks.get()) is not _END:
            if isinstance(block, _Failed):
                raise block.error
            yield block  # type: ignore[misc]  # T, but for the two markers
    finally:
        left.set()
        while thread.is_alive():
            try:
                blocks.get(timeout=0.01)
            except queue.Empty:
                continue
        thread.join()


def _fill(
    reads: Sequence[Callable[[], Iterator[object]]],
    blocks: queue.Queue[object],
    left: threading.Event,
) -> None:
    try:
        for read in reads:
            for block in read():
                if left.is_set():
                    return
                blocks.put(block)
        blocks.put(_END)
    except BaseException as error:  # handed to the thread that waits for it
        blocks.put(_Failed(error))
