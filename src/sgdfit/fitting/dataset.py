"""The rows that a fit is about, with their weights, and passes that add up over all of them.

Rows are in memory, or read anew for every pass. Each thread reads and adds up a part of them while
its cache holds it; panels that begin in one part and end in another are put together, so that sums
are the same to the last bit, however rows are stored and cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from sgdfit.checkpoint.checkpoint import Checkpoint
from sgdfit.data.rows import Aligner, Arrays, ChunkedRows, Keep, release_unused
from sgdfit.data.table import Columns, RowGroup
from sgdfit.errors import UsageError
from sgdfit.fitting.callbacks import Pass
from sgdfit.fitting.options import Resources
from sgdfit.fitting.sampling import FEW, sample, scattered, subsample_runs
from sgdfit.fitting.weights import (
    Weigher,
    Weighting,
    checked_weights,
    given_weights,
    relative_weights,
)
from sgdfit.formula.evaluation import evaluate
from sgdfit.kernel.kernel import Chunk, Kernel, chunk_of
from sgdfit.kernel.numpy_kernel import whiten
from sgdfit.kernel.summation import PANEL, Sums, column_moments, length, sum_panels
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model

Array = np.ndarray[Any, Any]
T = TypeVar("T")
U = TypeVar("U")

# Fewer rows are added up without other threads.
WORTH_THREADS = 1 << 18
# Rows that one thread adds up before it hands over: so many that handing over costs nothing.
TASK_ROWS = 1 << 20
# Rows that are looked at a second time before the next ones are: 4 MB of two columns.
MOMENT_ROWS = 4 * PANEL
# More panels than any part has.
ALL_PANELS = PANEL << 20
# Rows that textbook descent holds and shuffles at a time.
LEAST_ROWS, BUFFER_ROWS = 1 << 16, 1 << 20
# Sums that are remembered.
REMEMBERED = 8

# Consecutive rows that are read by themselves: where they begin, and what yields them in chunks.
Partition = tuple[int, Callable[[], Iterator[Chunk]]]


class Moments(NamedTuple):
    """Sums over all rows, whatever the parameters."""

    total: float  # of all numbers of all columns: not finite where one of them is not
    # Σ w (t − about) and Σ w (t − about)² of the response t, and Σ ln w.
    first: float
    second: float
    logs: float
    about: float  # near the response, so that these lose no digits


class WeightedStream(NamedTuple):
    """Rows that are read anew for every pass, and what weighs them."""

    rows: ChunkedRows
    places: list[int]  # of the model's columns among those that are read
    weigher: Weigher | None

    def chunk_of(self, columns: Arrays) -> Chunk:
        """Return rows as they are read with their weights."""
        known = self.weigher
        named = None if known is None else dict(zip(self.rows.names, columns, strict=True))
        weights = None if known is None or named is None else known.weights(named)
        return Chunk(tuple(columns[place] for place in self.places), weights)


class Remote(Protocol):
    """Rows that lie elsewhere, and are added up there."""

    @property
    def workers(self) -> int:
        """How many processes read them."""

    def added(self, reduction: Reduction) -> Generator[Added, None, None]:
        """Yield the sums of a pass in order, from the row on that it begins at."""

    def weighed(self, weighting: Weighting) -> tuple[ChunkedRows, Weigher]:
        """Return the rows of a weight above 0, and what weighs them."""

    def shares(self, most: int) -> int:
        """Return in how many shares the rows are stepped through, at most so many."""

    def swept(self, descent: Callable[[int, int], Any], shards: int) -> Iterator[Any]:
        """Yield what an epoch of textbook descent led to on each of so many shares of the rows.

        ``descent`` is told the number of a share and its rows, and says how it is stepped through.
        """

    def extremes(self, places: Sequence[int]) -> tuple[Array, Array]:
        """Return the least and the largest value of some of the columns, float64[c] each."""


class TrainingData:
    """All rows, what is known of them, and passes through them."""

    def __init__(
        self,
        model: Model,
        subsample: Chunk,  # random rows from all over, in order; all of them where they are few
        rows: Chunk | WeightedStream,  # all of them
        threads: int,  # how many add up at once
        checkpoint: Checkpoint,  # remembers passes, also those that an interrupted run made
        *,
        mean_weight: float = 1.0,  # the mean of the weights as they were given
        buffer: int = 0,  # the most bytes of a stream that textbook descent holds and shuffles
        check: Callable[[], object] | None = None,  # raises where a number is not finite
        root: Array | None = None,  # the Cholesky root of the correlations between all rows
    ) -> None:
        self.model, self.subsample = model, subsample
        self.whole = rows if isinstance(rows, Chunk) else None
        self.stream = rows if isinstance(rows, WeightedStream) else None
        self.rows = rows.rows if isinstance(rows, Chunk) else rows.rows.counted
        self.threads = threads if self.rows > WORTH_THREADS else 1
        self.checkpoint, self.mean_weight = checkpoint, mean_weight
        self.weighted = subsample.weights is not None
        # Rows that passes have seen, each as often as they did.
        self.visited = 0
        self.listener: Callable[[Pass], object] | None = None
        self._buffer, self._check = buffer, check
        self.root, self._moments = root, None if root is None else self._whitened_moments(root)
        self._scattered: Chunk | None = None
        held: Any = None if self.stream is None else self.stream.rows
        self.remote: Remote | None = held if hasattr(held, "added") else None
        self._sums: dict[tuple[str, bytes, bool], Sums] = {}

    def _chunks(self, first: int) -> Iterator[Chunk]:
        """Yield the rows from ``first`` on, which begins a panel, as do all chunks."""
        if self.stream is not None:
            yield from map(self.stream.chunk_of, self.stream.rows.chunks(first=first))
        elif self.whole is not None:
            for begin in range(first, self.rows, TASK_ROWS):
                yield self.whole.part(begin, begin + TASK_ROWS)

    def in_memory(self, budget: int) -> TrainingData:
        """Return the same rows in memory, if they take up at most half a budget of bytes."""
        arrays = self.subsample.arrays
        if self.whole is not None or 2 * self.rows * sum(a.itemsize for a in arrays) > budget:
            return self
        parts = zip(*(chunk.arrays for chunk in self.chunks()), strict=True)
        whole = chunk_of(tuple(map(np.concatenate, parts)), weighted=self.weighted)
        known = self.threads, self.checkpoint
        return TrainingData(self.model, self.subsample, whole, *known, mean_weight=self.mean_weight)

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows in order."""
        for chunk in self._chunks(0):
            self.visited += chunk.rows
            yield chunk

    def parts(self, first: int) -> Generator[Partition, None, None]:
        """Yield the rows from ``first`` on, which begins a panel, in parts for threads to read."""
        if self.stream is not None and self.threads > 1 and self.stream.rows.has_parts:
            for at, read in self.stream.rows.parts(first):
                yield at, partial(_read, self.stream, read)
            return
        for chunk in self._chunks(first):
            yield first, partial(iter, [chunk])
            first += chunk.rows

    def buffers(self, size: int, seed: list[int] | None) -> Iterator[Chunk]:
        """Yield all rows, in as many at a time as memory allows: a multiple of ``size``, but last.

        They come in the order of ``seed``; None: as they stand.
        """
        if self.whole is not None:
            yield self.whole
            return
        assert self.stream is not None  # it is read in pieces
        mixed = map(self.stream.chunk_of, self.stream.rows.mixed(seed or [0]))
        chunks = self.chunks() if seed is None else mixed
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
        if rows <= self.scattered_rows and self._scattered is not None:
            return sample(self._scattered, rows, seed)
        return sample(self.subsample, rows, seed)

    @property
    def scattered_rows(self) -> int:
        """How many rows from all over a pass has taken along, where the subsample lacks them."""
        return 0 if self._scattered is None else self._scattered.rows

    def batch(self, rows: int, seed: int) -> Chunk | TrainingData:
        """Return so many random rows, or this where that is all of them, if they are many."""
        if rows < self.rows:
            return self.sample(rows, seed)
        return self.whole if self.whole is not None and rows <= FEW else self

    @cached_property
    def places(self) -> Array:
        """The single rows that the first pass takes along, int64[k]."""
        return scattered(self.rows, 0)

    @cached_property
    def about(self) -> float:
        """A value of the response, about which its moments are taken."""
        return float(response_of(self.model, self.subsample.part(0, 1))[0])

    @property
    def is_unseen(self) -> bool:
        """Whether no pass has looked at all rows yet."""
        return self._moments is None

    @property
    def moments(self) -> Moments:
        """Those of the first pass, if there was one."""
        if self._moments is None:
            found = [panel_moments(self.model, chunk, self.about) for chunk in self._chunks(0)]
            self._take_moments(np.concatenate(found))
        assert self._moments is not None  # they were just taken
        return self._moments

    def _whitened_moments(self, root: Array) -> Moments:
        """Return those of whitened rows, whose best constant leaves what it does of these."""
        rows = self.whole
        assert rows is not None  # they are few
        scale, target = np.sqrt(rows.arrays[-1]), response_of(self.model, rows)
        apart, one = whiten(root, np.stack([target - self.about, np.ones(self.rows)]) * scale)
        first = float(one @ apart) * math.sqrt(self.rows / float(one @ one))
        logs = 2 * float(np.log(scale).sum() - np.log(np.diag(root)).sum())
        return Moments(0.0, first, float(apart @ apart), logs, self.about)

    def _take_moments(self, panels: Array) -> None:
        """Add up the moments of panels, which show any number that is not finite."""
        sums = panels.sum(axis=0)
        if np.isfinite(panels).all():
            # The same in whatever order they come.
            sums = np.array([math.fsum(values) for values in panels.T.tolist()])
        total, first, second, logs = sums.tolist()
        found = Moments(total, first, second, logs, self.about)
        if self._check is not None and not math.isfinite(found.total):
            self._check()
        self._moments = found

    @cached_property
    def sample_extremes(self) -> tuple[Array, Array]:
        """The least and the largest value of each column in the subsample, float64[c] each."""
        return column_extremes([self.subsample])

    def extremes(self) -> tuple[Array, Array]:
        """The same in all rows, by a pass through them where the subsample is not all of them."""
        if self.subsample.rows == self.rows:
            return self.sample_extremes
        if self.remote is not None and self.stream is not None:
            return self.remote.extremes(self.stream.places)
        return column_extremes(self._chunks(0))

    def sums(self, kernel: Kernel, theta: Array) -> Sums:
        """Return the sums over all rows at ``theta``."""
        return self._reduced(kernel, theta, scores=False)

    def scores(self, kernel: Kernel, theta: Array) -> Array:
        """Return Σ w² (∂loss/∂prediction)² J Jᵀ over all rows, float64[p, p]."""
        return self._reduced(kernel, theta, scores=True).curvature

    def _reduced(self, kernel: Kernel, theta: Array, scores: bool) -> Sums:
        key = (kernel.source, theta.tobytes(), scores)
        if key not in self._sums:
            reduction = Reduction(self, kernel, theta, scores)
            found = reduction.sums()
            if reduction.is_first:
                seen = reduction.found
                self._take_moments(seen["moments"])
                columns = tuple(seen[name] for name in seen if name.startswith("column "))
                if len(columns[0]):
                    self._scattered = chunk_of(columns, weighted=self.weighted)
            while len(self._sums) >= REMEMBERED:
                self._sums.pop(next(iter(self._sums)))
            self._sums[key] = found
        return self._sums[key]

    def forget(self, kernel: Kernel, theta: Array) -> None:
        """Drop the sums at ``theta`` from the checkpoint: what they led to is kept there itself."""
        self.checkpoint.forget(_record_name(kernel, theta, scores=False))


def _read(stream: WeightedStream, read: Callable[[], Iterator[Arrays]]) -> Iterator[Chunk]:
    return map(stream.chunk_of, read())


def _record_name(kernel: Kernel, theta: Array, *, scores: bool) -> str:
    """Return the name of a pass in the checkpoint."""
    digest = hashlib.sha256(kernel.source.encode() + theta.tobytes()).hexdigest()[:16]
    return f"{'scores' if scores else 'sums'} {digest}"


# How many rows were added up, and arrays by name: ``partials``, the sums of panels; of the first
# pass also the ``moments`` of panels, and the columns of single rows that are taken along.
Added = tuple[int, dict[str, Array]]


class Reduction:
    """One pass that adds up; what it has so far goes into the checkpoint."""

    def __init__(self, data: TrainingData, kernel: Kernel, theta: Array, scores: bool) -> None:
        self.data, self.kernel, self.theta = data, kernel, theta
        self.scores, self.is_first = scores, data.is_unseen
        self.key = _record_name(kernel, theta, scores=scores)
        self.added: list[dict[str, Array]] = []
        self.rows = 0

    def sums(self) -> Sums:
        """Add up all rows, from where an earlier run was interrupted."""
        begun, data, checkpoint = time.perf_counter(), self.data, self.data.checkpoint
        known = self._resumed()
        if known is not None:
            return known
        goes_on = self.rows > 0
        try:
            with contextlib.closing(self._each()) as each:
                for added in each:
                    self._count(*added)
                    if checkpoint.is_due:
                        checkpoint.keep(self.key, self._state(), now=True)
                    if data.listener is not None:
                        seconds = time.perf_counter() - begun
                        workers = 0 if data.remote is None else data.remote.workers
                        data.listener(Pass(self.rows, data.rows, seconds, workers))
        except BaseException:
            # Written when the checkpoint is closed.
            checkpoint.keep(self.key, self._state())
            raise
        finally:
            if data.stream is not None:
                release_unused()
        sums = sum_panels((found["partials"] for found in self.added), self.rows, len(self.theta))
        if goes_on:
            checkpoint.check(self.key, self._is_possible(sums))
        # The sum of all panels is as good as they are, and much smaller.
        kept = self._state() | {
            "partials": np.empty(0),
            "sums": np.array([sums.weight, sums.loss]),
            "gradient": sums.gradient,
            "curvature": sums.curvature,
        }
        checkpoint.keep(self.key, kept, now=checkpoint.is_due)
        return sums

    def _count(self, rows: int, found: dict[str, Array]) -> None:
        self.added.append(found)
        self.rows += rows
        self.data.visited += rows

    def _each(self) -> Generator[Added, None, None]:
        """Yield the sums of panels, which threads read and add up part by part."""
        data, edges = self.data, Aligner(PANEL)
        if data.remote is not None:
            yield from data.remote.added(self)
            return
        # Compiled here, lest several threads do it at once.
        self.add(0, data.subsample.part(0, 1))
        parts = map_in_order(self._work, data.parts(self.rows), data.threads)
        with contextlib.closing(parts):
            for whole, head, tail in parts:
                yield from self._joined(edges, head)
                yield from whole
                # No panel is complete with these: it ends in another part.
                yield from self._joined(edges, tail)
        for arrays in edges.rest():
            yield self.add(self.rows, chunk_of(arrays, weighted=data.weighted))

    def _joined(self, edges: Aligner, chunks: Iterable[Chunk]) -> Iterator[Added]:
        """Yield the sums of panels that begin in one part and end in another."""
        for chunk in chunks:
            for arrays in edges.push(chunk.arrays):
                yield self.add(self.rows, chunk_of(arrays, weighted=self.data.weighted))

    def _work(self, part: Partition) -> tuple[list[Added], list[Chunk], list[Chunk]]:
        """Read a part and add up its whole panels; return their sums, and the rest.

        That are rows at its head and at its tail, copied, of panels that begin or end in others.
        """
        whole, head = list[Added](), list[Chunk]()
        at, read = part
        cut, weighted, short = Aligner(ALL_PANELS, PANEL), self.data.weighted, -at % PANEL
        for chunk in read():
            taken = min(short, chunk.rows)
            if taken:
                head.append(_copied(chunk.part(0, taken)))
                short, at = short - taken, at + taken
            for arrays in cut.push(chunk.part(taken, chunk.rows).arrays):
                whole.append(self.add(at, chunk_of(arrays, weighted=weighted)))
                at += len(arrays[0])
        return whole, head, [_copied(chunk_of(arrays, weighted=weighted)) for arrays in cut.rest()]

    def add(self, first: int, chunk: Chunk) -> Added:
        """Add up the rows of a chunk that begins at row ``first``, on whichever thread."""
        data, kernel = self.data, self.kernel
        # Far out a formula may overflow.
        with np.errstate(all="ignore"):
            if not self.is_first:
                return chunk.rows, {"partials": kernel.panel_sums(self.theta, chunk, self.scores)}
            sums, moments, compiled = [], [], kernel.form == "compiled"
            # A few panels at a time: the second look finds them in the cache.
            for k in range(0, chunk.rows, MOMENT_ROWS):
                panel = chunk.part(k, k + MOMENT_ROWS)
                sums.append(kernel.panel_sums(self.theta, panel, self.scores))
                moments.append(panel_moments(data.model, panel, data.about, compiled=compiled))
        taken = data.places[slice(*np.searchsorted(data.places, [first, first + chunk.rows]))]
        columns = {f"column {k}": array[taken - first] for k, array in enumerate(chunk.arrays)}
        found = {"partials": np.concatenate(sums), "moments": np.concatenate(moments)}
        return chunk.rows, found | columns

    @property
    def found(self) -> dict[str, Array]:
        """What has been found so far, in order."""
        names = self.added[0] if self.added else {}
        return {name: np.concatenate([found[name] for found in self.added]) for name in names}

    def _state(self) -> dict[str, Array]:
        return {"rows": np.array(self.rows), **self.found}

    def _resumed(self) -> Sums | None:
        """Return the sums of a pass that was done; take over what one half done had found."""
        data, p, checkpoint = self.data, len(self.theta), self.data.checkpoint
        known = checkpoint.recall(self.key, {"rows": ("i", ())})
        if known is None or (self.is_first and "moments" not in known):
            return None
        rows, done = int(known["rows"]), "gradient" in known
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        if rows and not done:
            shapes["partials"] = ("f", (-1, 2, length(p)))
        if done:
            shapes["partials"] = ("f", (0,))
            shapes |= {"sums": ("f", (2,)), "gradient": ("f", (p,)), "curvature": ("f", (p, p))}
        if rows and self.is_first:
            taken = int(np.searchsorted(data.places, rows))
            shapes["moments"] = ("f", (-1, 4))
            arrays = len(data.subsample.arrays)
            shapes |= {f"column {k}": ("f", (taken,)) for k in range(arrays)}
        checkpoint.recall(self.key, shapes)
        if "moments" in shapes:
            with np.errstate(over="ignore"):
                sizes, moments = np.abs(known["moments"]).sum(), known["moments"]
            could_be = not np.isfinite(moments).all() or math.isfinite(sizes)
            checkpoint.check(self.key, could_be and not (moments[:, 2] < 0).any())
        checkpoint.check(self.key, rows == data.rows if done else 0 <= rows <= data.rows)
        if rows:
            others = ("rows", "sums", "gradient", "curvature")
            found = {name: array for name, array in known.items() if name not in others}
            self._count(rows, found if self.is_first else {"partials": known["partials"]})
        if not done:
            return None
        weight, loss = map(float, known["sums"])
        sums = Sums(rows, weight, loss, known["gradient"], known["curvature"])
        checkpoint.check(self.key, self._is_possible(sums))
        return sums

    def _is_possible(self, sums: Sums) -> bool:
        """Whether sums that were read from a checkpoint can be those of any rows.

        Of squared residuals r the gradient is 2 Jᵀr and the curvature 2 JᵀJ, so that by Cauchy and
        Schwarz no entry of the one is above that of the other allows.
        """
        curvature = sums.curvature
        if not (0 < sums.weight < math.inf):
            return False
        if not np.array_equal(curvature, curvature.T, equal_nan=True):
            return False
        if self.scores or self.data.model.loss.name != SQUARED:
            return True
        square = np.diag(curvature)
        if sums.loss < 0 or (square < 0).any():
            return False
        with np.errstate(all="ignore"):
            most = np.sqrt(2 * sums.loss) * np.sqrt(square)
            return not (np.abs(sums.gradient) > most * (1 + 1e-6)).any()


def _copied(chunk: Chunk) -> Chunk:
    """Return the rows in memory of their own, lest a view hold all that was read with them."""
    arrays = tuple(array.copy() for array in chunk.arrays)
    return chunk_of(arrays, weighted=chunk.weights is not None)


def map_in_order(
    work: Callable[[T], U], things: Generator[T, None, None], threads: int
) -> Generator[U, None, None]:
    """Yield what ``work`` makes of each thing, in order, some of them at once."""
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


def panel_moments(model: Model, chunk: Chunk, about: float, *, compiled: bool = False) -> Array:
    """Return `Moments` but ``about`` of each panel of a chunk, float64[k, 4].

    ``compiled`` where there are enough rows for compiled code to be worth loading.
    """
    target, columns, weights = response_of(model, chunk), chunk.columns, chunk.weights
    if compiled:
        return column_moments(columns, target, weights, about)
    found = []
    for first in range(0, chunk.rows, PANEL):
        part = slice(first, first + PANEL)
        with np.errstate(invalid="ignore"):  # what is not finite is told of by its sum
            apart = target[part] - about
            weighed = apart if weights is None else weights[part] * apart
        total = sum(float(column[part].sum(dtype=np.float64)) for column in columns)
        logs = 0.0 if weights is None else float(np.log(weights[part]).sum())
        found.append([total, weighed.sum(), np.einsum("i,i->", weighed, apart), logs])
    return np.array(found, dtype=np.float64)


def column_extremes(chunks: Iterable[Chunk]) -> tuple[Array, Array]:
    """Return the least and the largest value of each column, float64[c] each."""
    ends = [[(c.min(), c.max()) for c in chunk.columns] for chunk in chunks]
    table = np.array(ends, dtype=np.float64)
    return table[..., 0].min(axis=0), table[..., 1].max(axis=0)


def response_of(model: Model, chunk: Chunk) -> Array:
    """Return the left side of the formula in each row, float64[n]."""
    return np.asarray(evaluate(model.formula.response, model.named(chunk.columns)))


def take_in(
    model: Model,
    rows: Columns | ChunkedRows,
    weighting: Weighting,
    resources: Resources,
    checkpoint: Checkpoint,
    seed: int,
) -> TrainingData:
    """Weigh rows so that their weights have a mean of one, and draw the subsample."""
    straight = model.loss.name == SQUARED and model.is_linear
    if isinstance(rows, ChunkedRows):
        known = None
        if weighting.text is not None:
            remote: Any = rows if hasattr(rows, "weighed") else None
            rows, known = remote.weighed(weighting) if remote else _weighed(rows, weighting)
        stream = WeightedStream(rows, [rows.names.index(name) for name in model.columns], known)
        runs = subsample_runs(rows.counted, len(model.columns), seed, straight=straight)
        some = stream.chunk_of(rows.take(*runs))
        mean, buffer = 1.0 if known is None else known.given_mean, resources.budget // 3
        return TrainingData(
            model, some, stream, resources.threads, checkpoint, mean_weight=mean, buffer=buffer
        )
    chunk, mean = Chunk(tuple(rows.columns[name] for name in model.columns), None), 1.0
    if weighting.text is not None:
        weights, mean = relative_weights(weighting, rows)
        chunk = chunk._replace(weights=weights)
        if not weights.all():
            # No sample should hold a row of weight 0.
            kept = np.flatnonzero(weights)
            chunk = chunk_of(tuple(array[kept] for array in chunk.arrays), weighted=True)
    if weighting.root is not None and len(weighting.root) != chunk.rows:
        raise UsageError(
            f"sigma is a matrix of {len(weighting.root):,} rows, and {chunk.rows:,} rows of"
            f" {rows.label} are fitted; give the covariance of these, without where or missing"
        )
    begin, length = subsample_runs(chunk.rows, len(model.columns), seed, straight=straight)
    some = chunk
    if length < chunk.rows:
        places = (begin[:, None] + np.arange(length)).ravel()
        arrays = tuple(array[places] for array in chunk.arrays)
        some = chunk_of(arrays, weighted=chunk.weights is not None)
    if rows.check is not None and not all(np.isfinite(column).all() for column in some.columns):
        rows.check()
    return TrainingData(
        model,
        some,
        chunk,
        resources.threads,
        checkpoint,
        mean_weight=mean,
        check=rows.check,
        root=weighting.root,
    )


def _weighed(stream: ChunkedRows, weighting: Weighting) -> tuple[ChunkedRows, Weigher]:
    """Look at the weights of all rows, of which those of weight 0 are left out."""
    cut, known, first = Aligner(PANEL), Weigher(weighting, stream.label), 0

    def named(columns: Arrays) -> Mapping[str, Array]:
        return dict(zip(stream.names, columns, strict=True))

    def look(panels: Iterable[Arrays]) -> None:
        nonlocal first
        for columns in panels:
            known.look(named(columns), first)
            first += len(columns[0])

    def visit(group: RowGroup, offset: int, columns: Arrays) -> None:
        # Here the file and the row are still known.
        begin = group.first + offset + 1
        checked_weights(weighting, named(columns), group.label, lambda row: begin + row)
        look(cut.push(columns))

    stream = stream.chosen(keep_of(weighting, stream.names), visit)
    look(cut.rest())
    known.settle()
    return stream, known


def keep_of(weighting: Weighting, names: Sequence[str]) -> Keep:
    """Return what tells which rows of a block have a weight above 0; None for all of them."""

    def keep(columns: Arrays) -> Array | None:
        if weighting.sigma is not None:
            return None
        given = given_weights(weighting, dict(zip(names, columns, strict=True)))
        chosen = np.asarray(given > 0)
        return None if chosen.all() else chosen

    return keep
