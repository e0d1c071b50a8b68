"""All the rows that a fit is about, with their weights: in memory, or read anew for every pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from sgdfit.checkpoint.checkpoint import Checkpoint
from sgdfit.data.opening import without_weightless
from sgdfit.data.rows import Aligner, ChunkedRows
from sgdfit.data.table import Columns, RowGroup
from sgdfit.fitting.options import Resources
from sgdfit.fitting.reduce import (
    ColumnStats,
    Part,
    Pass,
    Passing,
    look_at,
    read_back,
    record_name,
    response_of,
    slices,
    written,
)
from sgdfit.fitting.sampling import FEW, reserved, sample, scattered
from sgdfit.fitting.weights import (
    Weigher,
    Weighting,
    given_weights,
    relative_weights,
    scale_of,
    weigher,
)
from sgdfit.kernel.kernel import PANEL, Chunk, Kernel, Sums, chunk_of
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model

# Rows that one thread adds up before it hands over: so many that handing over costs nothing.
TASK_ROWS = 1 << 20
# Rows that textbook descent holds and shuffles at a time.
LEAST_ROWS, BUFFER_ROWS, MOST_BUFFERED = 1 << 16, 1 << 20, 1 << 25
# Rows that tell the size of numbers.
GLANCED = 1 << 14
# Sums that are remembered.
REMEMBERED = 8


class Population:
    """All rows, what is known of them, and passes through them.

    Parameters
    ----------
    model : Model
    rows : int
    chunks : function of a row
        Yields all rows from there on in order, in chunks that begin at multiples of a panel.
    some : Chunk
        Random rows from all over, in order; all of them where they are few.
    whole : Chunk or None
        All rows, where they are in memory.
    threads : int
        How many add up at once.
    journal : Checkpoint
        Remembers passes, also those that an interrupted run made.
    mixed : function of a seed, optional
        Yields all rows in a random order of pieces; needed where they are not in memory.
    buffer : int
        The most bytes of rows that textbook descent may hold and shuffle at a time.
    parts : function of a row, optional
        Yields what ``chunks`` does, in parts that threads may read at once.
    """

    def __init__(
        self,
        model: Model,
        rows: int,
        chunks: Callable[[int], Iterator[Chunk]],
        some: Chunk,
        whole: Chunk | None,
        threads: int,
        journal: Checkpoint,
        mixed: Callable[[list[int]], Iterator[Chunk]] | None = None,
        buffer: int = MOST_BUFFERED,
        parts: Callable[[int], Generator[Part, None, None]] | None = None,
    ) -> None:
        self.model, self.rows, self.some, self.whole = model, rows, some, whole
        self.threads, self.journal, self.parts = threads, journal, parts
        self._chunks, self._mixed, self._buffer = chunks, mixed, buffer
        self._survey: ColumnStats | None = None
        self._scattered: Chunk | None = None
        # Rows that passes have seen, each as often as they did.
        self.visited = 0
        self._sums: dict[tuple[str, bytes, bool], Sums] = {}
        self.listener: Callable[[Pass], object] | None = None

    @property
    def weighted(self) -> bool:
        """Whether rows have weights."""
        return self.some.weights is not None

    def chunks(self, first: int = 0) -> Iterator[Chunk]:
        """Yield all rows from ``first`` on, a multiple of a panel's length."""
        for chunk in self._chunks(first):
            self.visited += chunk.rows
            yield chunk

    def buffers(self, size: int, seed: list[int] | None) -> Iterator[Chunk]:
        """Yield all rows, in as many at a time as memory allows: a multiple of ``size``, but last.

        Parameters
        ----------
        size : int
        seed : list of int or None
            Of the order in which they come; None: as they stand.
        """
        if self.whole is not None:
            yield self.whole
            return
        assert self._mixed is not None  # they are read in pieces
        chunks = self.chunks() if seed is None else self._mixed(seed)
        room = self._buffer // (8 * len(self.model.columns))
        rows = min(BUFFER_ROWS, max(LEAST_ROWS, room))
        cut = Aligner(max(size, rows // size * size))
        whole = (arrays for chunk in chunks for arrays in cut.push(chunk.arrays))
        for arrays in itertools.chain(whole, cut.rest()):
            yield chunk_of(arrays, weighted=self.weighted)

    def sample(self, rows: int, seed: int) -> Chunk:
        """Return random rows, one from each of as many equal stretches where there are so many.

        Up to some ten thousand come from all over, once a pass has taken such rows along.
        """
        if self._scattered is not None and rows <= self._scattered.rows:
            return sample(self._scattered, rows, seed)
        return sample(self.some, rows, seed)

    @property
    def is_scattered(self) -> bool:
        """Whether a pass has taken along rows from all over, which the reserve lacks."""
        return self._scattered is not None

    @property
    def scattered_rows(self) -> int:
        """How many these are."""
        return 0 if self._scattered is None else self._scattered.rows

    def batch(self, rows: int, seed: int) -> Chunk | Population:
        """Return so many random rows, or this where that is all of them, if they are many."""
        if rows < self.rows:
            return self.sample(rows, seed)
        return self.whole if self.whole is not None and rows <= FEW else self

    @property
    def is_unseen(self) -> bool:
        """Whether no pass has looked at all rows yet."""
        return self._survey is None

    @property
    def survey(self) -> ColumnStats:
        """What a look at all rows tells; that of the first pass, if there was one."""
        if self._survey is None:
            self._survey = read_back(written(self._looks()))
        return self._survey

    def _looks(self) -> Iterator[ColumnStats]:
        for chunk in self._chunks(0):
            for part in slices(chunk):
                yield look_at(self.model, part, self.about)

    @property
    def glance(self) -> ColumnStats:
        """What is known without a pass: of many rows what some random ones tell."""
        if self._survey is not None or self.some.rows == self.rows:
            return self.survey
        return look_at(self.model, sample(self.some, GLANCED, 0))

    @cached_property
    def places(self) -> np.ndarray:
        """The single rows that the first pass takes along, int64[k]."""
        return scattered(self.rows, 0)

    @cached_property
    def about(self) -> float:
        """A value of the response, about which its moments are taken."""
        return float(response_of(self.model, self.some.part(0, 1))[0])

    def sums(self, kernel: Kernel, theta: np.ndarray) -> Sums:
        """Return the sums over all rows at ``theta``.

        They are the same to the last bit whatever the number of threads and the chunks.
        """
        return self._known(kernel, theta, scores=False)

    def scores(self, kernel: Kernel, theta: np.ndarray) -> np.ndarray:
        """Return Σ w² (∂loss/∂prediction)² J Jᵀ over all rows, float64[p, p]."""
        return self._known(kernel, theta, scores=True).curvature

    def _known(self, kernel: Kernel, theta: np.ndarray, scores: bool) -> Sums:
        key = (kernel.source, theta.tobytes(), scores)
        if key not in self._sums:
            passing = Passing(self, kernel, theta, scores)
            found = passing.go()
            if passing.looks:
                self._survey, self._scattered = passing.survey, passing.scattered
            while len(self._sums) >= REMEMBERED:
                self._sums.pop(next(iter(self._sums)))
            self._sums[key] = found
        return self._sums[key]

    def forget(self, kernel: Kernel, theta: np.ndarray) -> None:
        """Drop the sums at ``theta`` from the journal: what they led to is kept there itself."""
        self.journal.forget(record_name(kernel, theta, scores=False))


def in_memory(
    model: Model, chunk: Chunk, some: Chunk, threads: int, journal: Checkpoint
) -> Population:
    """Return the population of rows that are in memory.

    Examples
    --------
    >>> from sgdfit.checkpoint.checkpoint import open_checkpoint
    >>> from sgdfit.model.model import build
    >>> chunk = Chunk((np.array([1.0, 2.0]), np.array([5.0, 7.0])), None)
    >>> journal = open_checkpoint(None, {}, resume=False)
    >>> here = in_memory(build("y = a*x", ["x", "y"]), chunk, chunk, 1, journal)
    >>> here.rows, here.survey.high.tolist()
    (2, [2.0, 7.0])
    """

    def chunks(first: int) -> Iterator[Chunk]:
        for begin in range(first, chunk.rows, TASK_ROWS):
            yield chunk.part(begin, begin + TASK_ROWS)

    return Population(model, chunk.rows, chunks, some, chunk, threads, journal)


Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]


class WeighedRows(NamedTuple):
    """Rows that were taken in."""

    population: Population  # the rows that have a say, with weights of mean one
    mean_weight: float  # the mean of their weights as they were given


def take_in(
    model: Model,
    rows: Columns | ChunkedRows,
    weighting: Weighting,
    means: Resources,
    journal: Checkpoint,
    seed: int,
) -> WeighedRows:
    """Weigh rows, and draw the reserve that samples are taken from."""
    if isinstance(rows, Columns):
        return _loaded(model, rows, weighting, means, journal, seed)
    return _streamed(model, rows, weighting, means, journal, seed)


def _loaded(
    model: Model,
    source: Columns,
    weighting: Weighting,
    means: Resources,
    journal: Checkpoint,
    seed: int,
) -> WeighedRows:
    """Take in rows that are in memory, but for those of weight 0: no sample should hold one."""
    columns = tuple(source.columns[name] for name in model.columns)
    chunk, mean = Chunk(columns, None), 1.0
    if weighting.text is not None:
        weights, mean = relative_weights(weighting, source)
        chunk = Chunk(columns, weights)
        if not weights.all():
            kept = np.flatnonzero(weights)
            chunk = Chunk(tuple(column[kept] for column in columns), weights[kept])
    return WeighedRows(_population(model, chunk, means.threads, journal, seed), mean)


def _population(
    model: Model, chunk: Chunk, threads: int, journal: Checkpoint, seed: int
) -> Population:
    """Return the population of rows in memory, with its reserve of random ones."""
    begin, length = _reserved(model, chunk.rows, seed)
    if length == chunk.rows:
        some = chunk
    else:
        parts = [chunk.part(b, b + length) for b in begin.tolist()]
        columns = zip(*(part.columns for part in parts), strict=True)
        weights = None
        if chunk.weights is not None:
            weights = np.concatenate([chunk.weights[b : b + length] for b in begin.tolist()])
        some = Chunk(tuple(np.concatenate(column) for column in columns), weights)
    return in_memory(model, chunk, some, threads, journal)


def _chunked(
    read: Callable[[], Iterator[Arrays]], chunk_of: Callable[[Arrays], Chunk]
) -> Callable[[], Iterator[Chunk]]:
    return lambda: map(chunk_of, read())


def _reserved(model: Model, rows: int, seed: int) -> tuple[Array, int]:
    straight = model.is_linear and model.loss.name == SQUARED
    return reserved(rows, len(model.columns), seed, straight=straight)


def _streamed(
    model: Model,
    stream: ChunkedRows,
    weighting: Weighting,
    means: Resources,
    journal: Checkpoint,
    seed: int,
) -> WeighedRows:
    """Take in rows that are read anew for every pass."""
    known = None
    if weighting.text is not None:
        stream, known = _weighed(stream, weighting)
    places = [stream.names.index(name) for name in model.columns]

    def chunk_of(columns: tuple[Array, ...]) -> Chunk:
        weights = None
        if known is not None:
            weights = known.weights(dict(zip(stream.names, columns, strict=True)))
        return Chunk(tuple(columns[place] for place in places), weights)

    def parts(first: int) -> Generator[Part, None, None]:
        for at, read in stream.parts(first):
            yield Part(at, _chunked(read, chunk_of))

    begin, length = _reserved(model, stream.counted, seed)
    some = chunk_of(stream.take(begin, length))
    population = Population(
        model,
        stream.counted,
        lambda first: map(chunk_of, stream.chunks(first=first)),
        some,
        None,
        means.threads,
        journal,
        lambda order: map(chunk_of, stream.mixed(order)),
        means.budget // 3,
        parts if stream.has_parts else None,
    )
    return WeighedRows(population, 1.0 if known is None else known.given_mean)


def _weighed(stream: ChunkedRows, weighting: Weighting) -> tuple[ChunkedRows, Weigher]:
    """Look at the weights of all rows."""
    cut, parts, first = Aligner(PANEL), [], 0

    def look(columns: tuple[Array, ...]) -> None:
        nonlocal first
        named = dict(zip(stream.names, columns, strict=True))
        parts.append(scale_of(weighting, named, stream.label, first))
        first += len(columns[0])

    def visit(piece: RowGroup, offset: int, columns: tuple[Array, ...]) -> None:
        # Here the file and the row are still known.
        named = dict(zip(stream.names, columns, strict=True))
        scale_of(weighting, named, piece.label, piece.first + offset)
        for chunk in cut.push(columns):
            look(chunk)

    def has_a_say(columns: tuple[Array, ...]) -> Array | None:
        if weighting.sigma is not None:
            return None
        named = dict(zip(stream.names, columns, strict=True))
        chosen = np.asarray(given_weights(weighting, named) > 0)
        return None if chosen.all() else chosen

    stream = without_weightless(stream, has_a_say, visit)
    for chunk in cut.rest():
        look(chunk)
    return stream, weigher(weighting, parts, stream.label)
