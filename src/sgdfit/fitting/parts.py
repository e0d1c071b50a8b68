"""Parts of the rows, each of which one thread reads and adds up while its cache holds them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from sgdfit.data.alignment import Aligner
from sgdfit.kernel.kernel import PANEL, Chunk, chunk_of

__all__ = ["Edges", "Part", "Torn", "in_order", "torn"]

T = TypeVar("T")
U = TypeVar("U")

# More panels than any part has.
ENDLESS = PANEL << 20


class Part(NamedTuple):
    """Consecutive rows that are read by themselves.

    Attributes
    ----------
    first : int
        The row at which they begin, counted from 0.
    read : function
        Yields them in chunks.
    """

    first: int
    read: Callable[[], Iterator[Chunk]]


class Torn(NamedTuple):
    """What a part holds of panels that begin or end in others, copied."""

    head: list[Chunk]
    tail: list[Chunk]


def torn(part: Part, add: Callable[[int, Chunk], object]) -> Torn:
    """Read a part, hand its whole panels to ``add`` with the row they begin at; return the rest.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros(3 * PANEL)
    >>> part = Part(PANEL - 1, lambda: iter([Chunk((x,), None)]))
    >>> found = torn(part, lambda first, chunk: print(first // PANEL, chunk.rows // PANEL))
    1 2
    >>> [chunk.rows for chunk in found.head], [chunk.rows for chunk in found.tail]
    ([1], [65535])
    """
    at, head, cut, weighted = part.first, list[Chunk](), Aligner(ENDLESS, PANEL), False
    short = -at % PANEL
    for chunk in part.read():
        weighted, taken = chunk.weights is not None, min(short, chunk.rows)
        if taken:
            head.append(_copied(chunk.part(0, taken)))
            short, at = short - taken, at + taken
        for arrays in cut.push(chunk.part(taken, chunk.rows).arrays):
            whole = chunk_of(arrays, weighted=weighted)
            add(at, whole)
            at += whole.rows
    return Torn(head, [_copied(chunk_of(arrays, weighted=weighted)) for arrays in cut.rest()])


class Edges:
    """What parts hold of panels that begin in one and end in another, in order.

    Examples
    --------
    >>> import numpy as np
    >>> edges, half = Edges(weighted=False), Chunk((np.zeros(PANEL // 2),), None)
    >>> len(edges.push([half])), len(edges.push([half]))
    (0, 1)
    """

    def __init__(self, *, weighted: bool) -> None:
        self.weighted, self.cut = weighted, Aligner(PANEL)

    def push(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Return the panels that are complete with these rows."""
        found = [arrays for chunk in chunks for arrays in self.cut.push(chunk.arrays)]
        return [chunk_of(arrays, weighted=self.weighted) for arrays in found]

    def rest(self) -> Iterator[Chunk]:
        """Yield the last panel, if it is shorter."""
        return (chunk_of(arrays, weighted=self.weighted) for arrays in self.cut.rest())


def in_order(
    work: Callable[[T], U], things: Generator[T, None, None], threads: int
) -> Generator[U, None, None]:
    """Yield what ``work`` makes of each thing, in order, some of them at once.

    Examples
    --------
    >>> list(in_order(abs, (k for k in (-1, -2, -3)), threads=2))
    [1, 2, 3]
    """
    waiting: deque[Future[U]] = deque()
    pool = ThreadPoolExecutor(threads, "sgdfit-sums")
    try:
        for thing in things:
            waiting.append(pool.submit(work, thing))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        things.close()


def _copied(chunk: Chunk) -> Chunk:
    """Return the rows in memory of their own, lest a view hold all that was read with them."""
    arrays = tuple(array.copy() for array in chunk.arrays)
    return chunk_of(arrays, weighted=chunk.weights is not None)
