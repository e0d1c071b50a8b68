"""Passes through all rows: sums added up on every thread, and moments of the columns.

Each thread reads and adds up parts of the rows while its cache holds them; panels that begin in
one part and end in another are put together, so that the sums are the same, however rows are cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from sgdfit.data.rows import Aligner, release_unused
from sgdfit.formula.evaluation import evaluate
from sgdfit.kernel.kernel import PANEL, Chunk, Kernel, Sums, chunk_of, combined
from sgdfit.kernel.summation import looked_through
from sgdfit.model.model import Model

if TYPE_CHECKING:
    from sgdfit.fitting.dataset import Population


class ColumnStats(NamedTuple):
    """What some rows tell; that of two parts adds up to that of both."""

    # float64[c]: the least and the largest value of each of the model's columns.
    low: np.ndarray
    high: np.ndarray
    about: float  # near the response, so that its moments lose no digits
    # Σ w (t − about) and Σ w (t − about)² of the response t.
    first: float
    second: float
    logs: float  # Σ ln w over the rows of nonzero weight


def look_at(model: Model, chunk: Chunk, about: float | None = None) -> ColumnStats:
    """Look at the rows of a chunk.

    Parameters
    ----------
    about : float, optional
        By default the response in the first row.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*x", ["x", "y"])
    >>> found = look_at(model, Chunk((np.array([1.0, 2.0]), np.array([5.0, 7.0])), None))
    >>> found.low.tolist(), found.about, found.first, found.second
    ([1.0, 5.0], 5.0, 2.0, 4.0)
    """
    with np.errstate(all="ignore"):
        target = response_of(model, chunk)
        about = float(target[0]) if about is None else about
        low, high = np.array([(c.min(), c.max()) for c in chunk.columns], dtype=np.float64).T
        apart, weights = target - about, chunk.weights
        weighed = apart if weights is None else weights * apart
        second = float(np.einsum("i,i->", weighed, apart))
        logs = 0.0 if weights is None else float(np.log(weights).sum())
        return ColumnStats(low, high, about, float(weighed.sum()), second, logs)


def look_through(model: Model, chunk: Chunk, about: float, *, compiled: bool) -> np.ndarray:
    """Look at each panel of a chunk; `read_back` makes surveys of the rows of this array.

    Parameters
    ----------
    compiled : bool
        Whether there are enough rows for compiled code to be worth loading.

    Returns
    -------
    numpy.ndarray
        float64[k, 2c + 4], a row a panel.
    """
    if not compiled:
        firsts = range(0, chunk.rows, PANEL)
        return written([look_at(model, chunk.part(k, k + PANEL), about) for k in firsts])
    with np.errstate(all="ignore"):
        target = response_of(model, chunk)
        ends, moments = looked_through(chunk.columns, target, chunk.weights, about)
    panels = len(moments)
    return np.hstack([ends.reshape(panels, -1), np.full((panels, 1), about), moments])


def written(surveys: Iterable[ColumnStats]) -> np.ndarray:
    """Return surveys as rows of numbers, float64[k, 2c + 4]."""
    return np.array([np.concatenate([s.low, s.high, s[2:]]) for s in surveys])


def read_back(rows: np.ndarray) -> ColumnStats:
    """Return the survey of all the rows that such an array tells of.

    Examples
    --------
    >>> survey = ColumnStats(np.array([0.0]), np.array([1.0]), 0.0, 0.1, 1.0, 0.0)
    >>> read_back(written([survey, survey])).first
    0.2
    """
    columns = (rows.shape[1] - 4) // 2
    low, high, about = np.split(rows[:, :-3], [columns, 2 * columns], axis=1)
    totals = (_total(column.tolist()) for column in rows[:, -3:].T)
    return ColumnStats(low.min(axis=0), high.max(axis=0), float(about[0, 0]), *totals)


def response_of(model: Model, chunk: Chunk) -> np.ndarray:
    """Return the left side of the formula in each row, float64[n].

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("log(y) = a*x", ["x", "y"])
    >>> response_of(model, Chunk((np.array([1.0, 2.0]), np.array([1.0, 1.0])), None)).tolist()
    [0.0, 0.0]
    """
    held = dict(zip(model.columns, chunk.columns, strict=True))
    needed = {n: held[n].astype(np.float64, copy=False) for n in model.formula.response_names}
    return np.asarray(evaluate(model.formula.response, needed))


def _total(values: list[float]) -> float:
    """Return the sum, the same in any order."""
    return math.fsum(values) if np.isfinite(values).all() else float(np.sum(values))


T = TypeVar("T")
U = TypeVar("U")

# More panels than any part has.
ENDLESS = PANEL << 20


class Part(NamedTuple):
    """Consecutive rows that are read by themselves."""

    first: int  # the row at which they begin, counted from 0
    read: Callable[[], Iterator[Chunk]]  # yields them in chunks


class Remainder(NamedTuple):
    """What a part holds of panels that begin or end in others, copied."""

    head: list[Chunk]
    tail: list[Chunk]


def split_at_panels(part: Part, add: Callable[[int, Chunk], object]) -> Remainder:
    """Read a part, hand its whole panels to ``add`` with the row they begin at; return the rest.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros(3 * PANEL)
    >>> part = Part(PANEL - 1, lambda: iter([Chunk((x,), None)]))
    >>> add = lambda first, chunk: print(first // PANEL, chunk.rows // PANEL)
    >>> found = split_at_panels(part, add)
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
    return Remainder(head, [_copied(chunk_of(arrays, weighted=weighted)) for arrays in cut.rest()])


class PanelJoiner:
    """What parts hold of panels that begin in one and end in another, in order.

    Examples
    --------
    >>> import numpy as np
    >>> edges, half = PanelJoiner(weighted=False), Chunk((np.zeros(PANEL // 2),), None)
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


# Fewer rows are added up without other threads.
WORTH_THREADS = 1 << 18
# Rows that are looked at a second time before the next ones are: 4 MB of two columns.
LOOKED_AT = 4 * PANEL


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


def record_name(kernel: Kernel, theta: np.ndarray, *, scores: bool) -> str:
    """Return the name of a pass in the journal.

    Examples
    --------
    >>> from sgdfit.kernel.kernel import make
    >>> from sgdfit.model.model import build
    >>> kernel = make(build("y = a*x", ["x", "y"]), None, "numpy")
    >>> record_name(kernel, np.ones(1), scores=False).split()[0]
    'sums'
    """
    digest = hashlib.sha256(kernel.source.encode() + theta.tobytes()).hexdigest()[:16]
    return f"{'scores' if scores else 'sums'} {digest}"


class Passing:
    """One pass that adds up; what it has so far goes into the journal."""

    def __init__(
        self, everything: Population, kernel: Kernel, theta: np.ndarray, scores: bool
    ) -> None:
        self.everything, self.kernel, self.theta, self.scores = everything, kernel, theta, scores
        self.looks = everything.is_unseen
        self.key = record_name(kernel, theta, scores=scores)
        self.added: list[_Added] = []

    @property
    def rows(self) -> int:
        """Rows added up so far."""
        return self.added[-1].until if self.added else 0

    def go(self) -> Sums:
        """Add up all rows, from where an earlier run was interrupted."""
        begun = time.perf_counter()
        everything = self.everything
        visited = everything.visited
        known = self._resumed()
        if known is not None:
            return known
        try:
            with contextlib.closing(self._each()) as each:
                for added in each:
                    self.added.append(added._replace(until=self.rows + added.until))
                    if everything.journal.is_due:
                        everything.journal.keep(self.key, self._state(), now=True)
                    if everything.listener is not None:
                        seconds = time.perf_counter() - begun
                        everything.listener(Pass(self.rows, everything.rows, seconds))
        except BaseException:
            # Rows that were read ahead, but not added up, have told nothing.
            everything.visited = visited + self.rows
            # Written when the journal is closed.
            everything.journal.keep(self.key, self._state())
            raise
        finally:
            if everything.whole is None:
                release_unused()
        sums = combined((a.partials for a in self.added), self.rows, len(self.theta))
        # The sum of all panels is as good as they are, and much smaller.
        everything.journal.keep(self.key, self._kept(sums), now=everything.journal.is_due)
        return sums

    @property
    def survey(self) -> ColumnStats:
        """What the look at all rows tells."""
        return read_back(self._looked())

    @property
    def scattered(self) -> Chunk | None:
        """The single rows that were taken along; None where there are none."""
        return _one([a.scattered for a in self.added])

    def _each(self) -> Generator[_Added, None, None]:
        everything = self.everything
        if everything.threads == 1 or everything.rows <= WORTH_THREADS:
            yield from map(self._add, self._placed())
        elif everything.parts is None:
            yield from in_order(self._add, self._placed(), everything.threads)
        else:
            yield from self._by_parts(everything.parts(self.rows))

    def _by_parts(self, parts: Generator[Part, None, None]) -> Generator[_Added, None, None]:
        """Yield the sums of panels, which threads read and add up part by part."""
        everything, at = self.everything, self.rows
        edges = PanelJoiner(weighted=everything.weighted)
        # Compiled here, lest several threads do it at once.
        self._add((0, everything.some.part(0, 1)))
        for whole, rest in in_order(self._worked, parts, everything.threads):
            before = map(self._add, _numbered(edges.push(rest.head), at))
            for added in itertools.chain(before, whole):
                at += added.until
                everything.visited += added.until
                yield added
            # No panel is complete with these: it ends in another part.
            edges.push(rest.tail)
        for added in map(self._add, _numbered(edges.rest(), at)):
            everything.visited += added.until
            yield added

    def _worked(self, part: Part) -> tuple[list[_Added], Remainder]:
        whole: list[_Added] = []
        rest = split_at_panels(part, lambda first, chunk: whole.append(self._add((first, chunk))))
        return whole, rest

    def _placed(self) -> Generator[tuple[int, Chunk], None, None]:
        """Yield each chunk with the row that it begins at."""
        begin = self.rows
        # No name holds what reads: an error that is kept would keep its thread and its file too.
        for first, chunk in _numbered(self.everything.chunks(begin), begin):
            if first == begin:
                # Compiled here, lest several threads do it at once.
                self._add((first, chunk.part(0, 1)))
            yield first, chunk

    def _add(self, placed: tuple[int, Chunk]) -> _Added:
        first, chunk = placed
        # Far out a formula may overflow, on whichever thread.
        with np.errstate(all="ignore"):
            if not self.looks:
                return _Added(chunk.rows, self._sums(chunk), None, None)
            # A few panels at a time: the second look at them finds them in the cache.
            found = [(self._sums(part), self._seen(part)) for part in slices(chunk, LOOKED_AT)]
        partials, looks = map(np.concatenate, zip(*found, strict=True))
        return _Added(chunk.rows, partials, looks, self._taken_along(first, chunk))

    def _sums(self, chunk: Chunk) -> np.ndarray:
        return self.kernel.partials(self.theta, chunk, self.scores)

    def _seen(self, chunk: Chunk) -> np.ndarray:
        everything, compiled = self.everything, self.kernel.form == "compiled"
        return look_through(everything.model, chunk, everything.about, compiled=compiled)

    def _taken_along(self, first: int, chunk: Chunk) -> Chunk | None:
        """Return the single rows that are to be taken along."""
        places = self.everything.places
        ends = np.searchsorted(places, [first, first + chunk.rows])
        taken = places[ends[0] : ends[1]] - first
        weights = None if chunk.weights is None else chunk.weights[taken]
        return Chunk(tuple(column[taken] for column in chunk.columns), weights)

    def _state(self) -> dict[str, np.ndarray]:
        size = self.added[0].partials.shape[-1] if self.added else 0
        return {
            "rows": np.array(self.rows),
            "partials": np.concatenate([np.empty((0, 2, size)), *(a.partials for a in self.added)]),
            "surveys": self._looked(),
            **_named(self.scattered),
        }

    def _looked(self) -> np.ndarray:
        """Return what looks at panels tell, a row a panel; none where there was no look."""
        found = [a.looks for a in self.added if a.looks is not None]
        return np.concatenate(found) if found else np.empty((0, 0))

    def _kept(self, sums: Sums) -> dict[str, np.ndarray]:
        """Return what is worth keeping of a pass that is done."""
        return {
            "rows": np.array(self.rows),
            "sums": np.array([sums.weight, sums.loss]),
            "gradient": sums.gradient,
            "curvature": sums.curvature,
            "surveys": written([self.survey]) if self.looks else np.empty((0, 0)),
            **_named(self.scattered),
        }

    def _resumed(self) -> Sums | None:
        """Return the sums of a pass that was done; take over what one half done had found."""
        known = self.everything.journal.recall(self.key)
        if known is None:
            return None
        looks = known["surveys"] if len(known["surveys"]) else None
        if looks is None and self.looks:
            return None
        rows = int(known["rows"])
        partials = known.get("partials", np.empty((0, 2, 0)))
        self.added = [_Added(rows, partials, looks, _unnamed(known))] if rows else []
        self.everything.visited += rows
        if "gradient" not in known:
            return None
        weight, loss = map(float, known["sums"])
        return Sums(rows, weight, loss, known["gradient"], known["curvature"])


class _Added(NamedTuple):
    """The sums over some rows, and what looks at them tell; rows are counted until here."""

    until: int
    partials: np.ndarray
    looks: np.ndarray | None
    scattered: Chunk | None


def _one(parts: list[Chunk | None]) -> Chunk | None:
    """Join the rows that were taken along; None where there are none."""
    found = [part for part in parts if part is not None and part.rows]
    if not found:
        return None
    weights = [part.weights for part in found if part.weights is not None]
    columns = zip(*(part.columns for part in found), strict=True)
    return Chunk(
        tuple(np.concatenate(column) for column in columns),
        np.concatenate(weights) if weights else None,
    )


def _named(chunk: Chunk | None) -> dict[str, np.ndarray]:
    """Return the arrays of a chunk by names, for the journal."""
    if chunk is None:
        return {}
    named = {f"column {k}": column for k, column in enumerate(chunk.columns)}
    return named if chunk.weights is None else named | {"weights": chunk.weights}


def _unnamed(arrays: dict[str, np.ndarray]) -> Chunk | None:
    columns = [name for name in arrays if name.startswith("column ")]
    if not columns:
        return None
    return Chunk(tuple(arrays[f"column {k}"] for k in range(len(columns))), arrays.get("weights"))


def _numbered(chunks: Iterable[Chunk], first: int) -> Iterator[tuple[int, Chunk]]:
    """Yield each chunk with the row that it begins at."""
    for chunk in chunks:
        yield first, chunk
        first += chunk.rows


def slices(chunk: Chunk, rows: int = PANEL) -> Iterator[Chunk]:
    """Yield a chunk in parts, which are alike however long it is."""
    for first in range(0, chunk.rows, rows):
        yield chunk.part(first, first + rows)
