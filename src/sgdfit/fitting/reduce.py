"""What a pass through all rows is made of: parts that threads read, whole panels, and moments.

Each thread reads and adds up parts of the rows while its cache holds them; panels that begin in
one part and end in another are put together, so that the sums are the same, however rows are cut.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from sgdfit.data.rows import Aligner
from sgdfit.formula.evaluation import evaluate
from sgdfit.kernel.kernel import Chunk, chunk_of
from sgdfit.kernel.summation import PANEL, looked_through
from sgdfit.model.model import Model

# More panels than any part has.
ENDLESS = PANEL << 20

T = TypeVar("T")
U = TypeVar("U")


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


class ColumnStats(NamedTuple):
    """What some rows tell of the columns."""

    # float64[c]: the least and the largest value of each of the model's columns.
    low: np.ndarray
    high: np.ndarray
    about: float  # near the response, so that its moments lose no digits
    # Σ w (t − about) and Σ w (t − about)² of the response t.
    first: float
    second: float
    logs: float  # Σ ln w over the rows of nonzero weight


def look(model: Model, chunk: Chunk, about: float, *, compiled: bool = False) -> np.ndarray:
    """Return the fields of `ColumnStats` for each panel of a chunk, float64[k, 2c + 4].

    Parameters
    ----------
    compiled : bool
        Whether there are enough rows for compiled code to be worth loading.
    """
    with np.errstate(all="ignore"):
        target = response_of(model, chunk)
        if compiled:
            ends, moments = looked_through(chunk.columns, target, chunk.weights, about)
            panels = len(moments)
            return np.hstack([ends.reshape(panels, -1), np.full((panels, 1), about), moments])
        parts = [slice(first, first + PANEL) for first in range(0, chunk.rows, PANEL)]
        return np.array([_look(chunk, target, about, part) for part in parts], dtype=np.float64)


def _look(chunk: Chunk, target: np.ndarray, about: float, part: slice) -> list[float]:
    columns, apart = [column[part] for column in chunk.columns], target[part] - about
    weights = None if chunk.weights is None else chunk.weights[part]
    weighed = apart if weights is None else weights * apart
    return [
        *(column.min() for column in columns),
        *(column.max() for column in columns),
        about,
        weighed.sum(),
        np.einsum("i,i->", weighed, apart),
        0.0 if weights is None else np.log(weights).sum(),
    ]


def stats_of(looks: np.ndarray) -> ColumnStats:
    """Return what looks at panels tell of all their rows, in whatever order they come.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*x", ["x", "y"])
    >>> chunk = Chunk((np.array([1.0, 2.0]), np.array([5.0, 7.0])), None)
    >>> found = stats_of(look(model, chunk, 5.0))
    >>> found.low.tolist(), found.about, found.first, found.second
    ([1.0, 5.0], 5.0, 2.0, 4.0)
    """
    columns = (looks.shape[1] - 4) // 2
    ends = looks[:, : 2 * columns]
    low, high = ends[:, :columns].min(axis=0), ends[:, columns:].max(axis=0)
    totals = (
        math.fsum(values) if all(map(math.isfinite, values)) else float(np.sum(values))
        for values in looks[:, -3:].T.tolist()
    )
    return ColumnStats(low, high, float(looks[0, -4]), *totals)


def response_of(model: Model, chunk: Chunk) -> np.ndarray:
    """Return the left side of the formula in each row, float64[n]."""
    held = dict(zip(model.columns, chunk.columns, strict=True))
    needed = {n: held[n].astype(np.float64, copy=False) for n in model.formula.response_names}
    return np.asarray(evaluate(model.formula.response, needed))


class Part(NamedTuple):
    """Consecutive rows that are read by themselves."""

    first: int  # the row at which they begin, counted from 0
    read: Callable[[], Iterator[Chunk]]  # yields them in chunks


def split_at_panels(
    part: Part, add: Callable[[int, Chunk], object]
) -> tuple[list[Chunk], list[Chunk]]:
    """Read a part, hand its whole panels to ``add`` with the row they begin at; return the rest.

    That are rows at its head and at its tail, copied, of panels that begin or end in other parts.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros(3 * PANEL)
    >>> part = Part(PANEL - 1, lambda: iter([Chunk((x,), None)]))
    >>> add = lambda first, chunk: print(first // PANEL, chunk.rows // PANEL)
    >>> head, tail = split_at_panels(part, add)
    1 2
    >>> [chunk.rows for chunk in head], [chunk.rows for chunk in tail]
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
    return head, [_copied(chunk_of(arrays, weighted=weighted)) for arrays in cut.rest()]


def _copied(chunk: Chunk) -> Chunk:
    """Return the rows in memory of their own, lest a view hold all that was read with them."""
    arrays = tuple(array.copy() for array in chunk.arrays)
    return chunk_of(arrays, weighted=chunk.weights is not None)


def in_order(
    work: Callable[[T], U], things: Generator[T, None, None], threads: int
) -> Generator[U, None, None]:
    """Yield what ``work`` makes of each thing, in order, some of them at once.

    Examples
    --------
    >>> list(in_order(abs, (k for k in (-1, -2, -3)), threads=2))
    [1, 2, 3]
    """
    # Closed here: an error that is kept would keep what reads, its thread and its file too.
    with contextlib.closing(things):
        if threads == 1:
            yield from map(work, things)
            return
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
