"""All the rows that a fit is about, with their weights: in memory, or read anew for every pass."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np

from sgdfit.checkpoint.checkpoint import Checkpoint
from sgdfit.data.rows import Aligner, ChunkedRows, release_unused
from sgdfit.data.table import Columns, RowGroup
from sgdfit.fitting.options import Resources
from sgdfit.fitting.reduce import (
    ColumnStats,
    Part,
    Pass,
    in_order,
    look,
    response_of,
    split_at_panels,
    stats_of,
)
from sgdfit.fitting.sampling import FEW, sample, scattered, subsample_runs
from sgdfit.fitting.weights import (
    Weigher,
    Weighting,
    given_weights,
    relative_weights,
    scale_of,
    weigher,
)
from sgdfit.kernel.kernel import Chunk, Kernel, chunk_of
from sgdfit.kernel.summation import PANEL, Sums, combined
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model

Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]

# Fewer rows are added up without other threads.
WORTH_THREADS = 1 << 18
# Rows that one thread adds up before it hands over: so many that handing over costs nothing.
TASK_ROWS = 1 << 20
# Rows that are looked at a second time before the next ones are: 4 MB of two columns.
LOOKED_AT = 4 * PANEL
# Rows that textbook descent holds and shuffles at a time.
LEAST_ROWS, BUFFER_ROWS, MOST_BUFFERED = 1 << 16, 1 << 20, 1 << 25
# Rows that tell the size of numbers.
PREVIEWED = 1 << 14
# Sums that are remembered.
REMEMBERED = 8


class TrainingData:
    """All rows, what is known of them, and passes through them."""

    def __init__(
        self,
        model: Model,
        rows: int,
        # Yields all rows from a row on in order, in chunks that begin at multiples of a panel.
        chunks: Callable[[int], Iterator[Chunk]],
        subsample: Chunk,  # random rows from all over, in order; all of them where they are few
        whole: Chunk | None,  # all rows, where they are in memory
        threads: int,  # how many add up at once
        journal: Checkpoint,  # remembers passes, also those that an interrupted run made
        # Yields all rows in a random order of row groups, by a seed; where they are not in memory.
        mixed: Callable[[list[int]], Iterator[Chunk]] | None = None,
        buffer: int = MOST_BUFFERED,  # the most bytes that textbook descent may hold and shuffle
        # Yields what ``chunks`` does, in parts that threads may read at once.
        parts: Callable[[int], Iterator[Part]] | None = None,
        mean_weight: float = 1.0,  # the mean of the weights as they were given
    ) -> None:
        self.model, self.rows, self.subsample, self.whole = model, rows, subsample, whole
        self.threads = threads if rows > WORTH_THREADS else 1
        self.journal, self.mean_weight = journal, mean_weight
        # Raises where a number is not finite, which nobody has looked for yet.
        self.check: Callable[[], object] | None = None
        self._chunks, self._mixed, self._buffer, self._parts = chunks, mixed, buffer, parts
        self._stats: ColumnStats | None = None
        self._scattered: Chunk | None = None
        # Rows that passes have seen, each as often as they did.
        self.visited = 0
        self._sums: dict[tuple[str, bytes, bool], Sums] = {}
        self.listener: Callable[[Pass], object] | None = None

    @property
    def weighted(self) -> bool:
        """Whether rows have weights."""
        return self.subsample.weights is not None

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows in order."""
        for chunk in self._chunks(0):
            self.visited += chunk.rows
            yield chunk

    def parts(self, first: int) -> Generator[Part, None, None]:
        """Yield all rows from ``first`` on, a multiple of a panel's length."""
        if self._parts is not None and self.threads > 1:
            yield from self._parts(first)
            return
        for chunk in self._chunks(first):
            yield Part(first, partial(iter, [chunk]))
            first += chunk.rows

    def buffers(self, size: int, seed: list[int] | None) -> Iterator[Chunk]:
        """Yield all rows, in as many at a time as memory allows: a multiple of ``size``, but last.

        They come in the order of ``seed``; None: as they stand.
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

    @property
    def is_unseen(self) -> bool:
        """Whether no pass has looked at all rows yet."""
        return self._stats is None

    @property
    def stats(self) -> ColumnStats:
        """What a look at all rows tells; that of the first pass, if there was one."""
        if self._stats is None:
            looks = [look(self.model, chunk, self.about) for chunk in self._chunks(0)]
            self._looked(np.concatenate(looks))
        assert self._stats is not None  # it has been looked
        return self._stats

    def _looked(self, looks: np.ndarray) -> None:
        """Remember what looks at all rows tell; extremes show any number that is not finite."""
        seen = stats_of(looks)
        if self.check is not None and not np.isfinite([seen.low, seen.high]).all():
            self.check()
        self._stats = seen

    @property
    def sample_stats(self) -> ColumnStats:
        """What is known without a pass: of many rows what some random ones tell."""
        if self._stats is not None or self.subsample.rows == self.rows:
            return self.stats
        return stats_of(look(self.model, sample(self.subsample, PREVIEWED, 0), self.about))

    @cached_property
    def places(self) -> np.ndarray:
        """The single rows that the first pass takes along, int64[k]."""
        return scattered(self.rows, 0)

    @cached_property
    def about(self) -> float:
        """A value of the response, about which its moments are taken."""
        return float(response_of(self.model, self.subsample.part(0, 1))[0])

    def sums(self, kernel: Kernel, theta: np.ndarray) -> Sums:
        """Return the sums over all rows at ``theta``.

        They are the same to the last bit whatever the number of threads and the chunks.
        """
        return self._summed(kernel, theta, scores=False)

    def scores(self, kernel: Kernel, theta: np.ndarray) -> np.ndarray:
        """Return Σ w² (∂loss/∂prediction)² J Jᵀ over all rows, float64[p, p]."""
        return self._summed(kernel, theta, scores=True).curvature

    def _summed(self, kernel: Kernel, theta: np.ndarray, scores: bool) -> Sums:
        key = (kernel.source, theta.tobytes(), scores)
        if key not in self._sums:
            reduction = Reduction(self, kernel, theta, scores)
            found = reduction.go()
            if reduction.looks:
                seen = reduction.found
                self._looked(seen["looks"])
                columns = tuple(seen[name] for name in seen if name.startswith("column "))
                if len(columns[0]):
                    self._scattered = chunk_of(columns, weighted=self.weighted)
            while len(self._sums) >= REMEMBERED:
                self._sums.pop(next(iter(self._sums)))
            self._sums[key] = found
        return self._sums[key]

    def forget(self, kernel: Kernel, theta: np.ndarray) -> None:
        """Drop the sums at ``theta`` from the journal: what they led to is kept there itself."""
        self.journal.forget(_record_name(kernel, theta, scores=False))


def _record_name(kernel: Kernel, theta: np.ndarray, *, scores: bool) -> str:
    """Return the name of a pass in the journal."""
    digest = hashlib.sha256(kernel.source.encode() + theta.tobytes()).hexdigest()[:16]
    return f"{'scores' if scores else 'sums'} {digest}"


# How many rows were added up, and arrays by name: ``partials``, the sums of panels; where rows are
# looked at too, ``looks``, and the columns of single rows that are taken along.
_Added = tuple[int, dict[str, Array]]


class Reduction:
    """One pass that adds up; what it has so far goes into the journal."""

    def __init__(self, data: TrainingData, kernel: Kernel, theta: np.ndarray, scores: bool) -> None:
        self.data, self.kernel, self.theta = data, kernel, theta
        self.scores, self.looks = scores, data.is_unseen
        self.key = _record_name(kernel, theta, scores=scores)
        self.added: list[dict[str, Array]] = []
        self.rows = 0

    def go(self) -> Sums:
        """Add up all rows, from where an earlier run was interrupted."""
        begun, data, journal = time.perf_counter(), self.data, self.data.journal
        known = self._resumed()
        if known is not None:
            return known
        try:
            with contextlib.closing(self._each()) as each:
                for added in each:
                    self._count(*added)
                    if journal.is_due:
                        journal.keep(self.key, self._state(), now=True)
                    if data.listener is not None:
                        seconds = time.perf_counter() - begun
                        data.listener(Pass(self.rows, data.rows, seconds))
        except BaseException:
            # Written when the journal is closed.
            journal.keep(self.key, self._state())
            raise
        finally:
            if data.whole is None:
                release_unused()
        sums = combined((found["partials"] for found in self.added), self.rows, len(self.theta))
        # The sum of all panels is as good as they are, and much smaller.
        kept = self._state() | {
            "partials": np.empty(0),
            "sums": np.array([sums.weight, sums.loss]),
            "gradient": sums.gradient,
            "curvature": sums.curvature,
        }
        journal.keep(self.key, kept, now=journal.is_due)
        return sums

    def _count(self, rows: int, found: dict[str, Array]) -> None:
        self.added.append(found)
        self.rows += rows
        self.data.visited += rows

    def _each(self) -> Generator[_Added, None, None]:
        """Yield the sums of panels, which threads read and add up part by part."""
        data, edges = self.data, Aligner(PANEL)
        # Compiled here, lest several threads do it at once.
        self._add(0, data.subsample.part(0, 1))
        parts = in_order(self._work, data.parts(self.rows), data.threads)
        with contextlib.closing(parts):
            for whole, head, tail in parts:
                yield from self._joined(edges, head)
                yield from whole
                # No panel is complete with these: it ends in another part.
                yield from self._joined(edges, tail)
        for arrays in edges.rest():
            yield self._add(self.rows, chunk_of(arrays, weighted=data.weighted))

    def _joined(self, edges: Aligner, chunks: Iterable[Chunk]) -> Iterator[_Added]:
        """Yield the sums of panels that begin in one part and end in another."""
        for chunk in chunks:
            for arrays in edges.push(chunk.arrays):
                yield self._add(self.rows, chunk_of(arrays, weighted=self.data.weighted))

    def _work(self, part: Part) -> tuple[list[_Added], list[Chunk], list[Chunk]]:
        whole: list[_Added] = []
        ends = split_at_panels(part, lambda first, chunk: whole.append(self._add(first, chunk)))
        return whole, *ends

    def _add(self, first: int, chunk: Chunk) -> _Added:
        """Add up the rows of a chunk that begins at row ``first``, on whichever thread."""
        data, compiled = self.data, self.kernel.form == "compiled"
        # Far out a formula may overflow.
        with np.errstate(all="ignore"):
            if not self.looks:
                return chunk.rows, {
                    "partials": self.kernel.partials(self.theta, chunk, self.scores)
                }
            partials, looks = [], []
            # A few panels at a time: the second look at them finds them in the cache.
            for k in range(0, chunk.rows, LOOKED_AT):
                some = chunk.part(k, k + LOOKED_AT)
                partials.append(self.kernel.partials(self.theta, some, self.scores))
                looks.append(look(data.model, some, data.about, compiled=compiled))
        ends = np.searchsorted(data.places, [first, first + chunk.rows])
        taken = data.places[slice(*ends)] - first
        columns = {f"column {k}": array[taken] for k, array in enumerate(chunk.arrays)}
        return chunk.rows, {
            "partials": np.concatenate(partials),
            "looks": np.concatenate(looks),
            **columns,
        }

    @property
    def found(self) -> dict[str, Array]:
        """What has been found so far, in order."""
        names = self.added[0] if self.added else {}
        return {name: np.concatenate([found[name] for found in self.added]) for name in names}

    def _state(self) -> dict[str, Array]:
        return {"rows": np.array(self.rows), **self.found}

    def _resumed(self) -> Sums | None:
        """Return the sums of a pass that was done; take over what one half done had found."""
        known = self.data.journal.recall(self.key)
        if known is None or (self.looks and "looks" not in known):
            return None
        rows = int(known["rows"])
        if rows:
            others = ("rows", "sums", "gradient", "curvature")
            found = {name: array for name, array in known.items() if name not in others}
            self._count(rows, found if self.looks else {"partials": known["partials"]})
        if "gradient" not in known:
            return None
        weight, loss = map(float, known["sums"])
        return Sums(rows, weight, loss, known["gradient"], known["curvature"])


def in_memory(
    model: Model,
    chunk: Chunk,
    some: Chunk,
    threads: int,
    journal: Checkpoint,
) -> TrainingData:
    """Return the data of rows that are in memory."""

    def chunks(first: int) -> Iterator[Chunk]:
        for begin in range(first, chunk.rows, TASK_ROWS):
            yield chunk.part(begin, begin + TASK_ROWS)

    return TrainingData(model, chunk.rows, chunks, some, chunk, threads, journal)


def take_in(
    model: Model,
    rows: Columns | ChunkedRows,
    weighting: Weighting,
    resources: Resources,
    journal: Checkpoint,
    seed: int,
) -> TrainingData:
    """Weigh rows so that their weights have a mean of one, and draw the subsample of samples."""
    if isinstance(rows, ChunkedRows):
        return _streamed(model, rows, weighting, resources, journal, seed)
    columns = tuple(rows.columns[name] for name in model.columns)
    chunk, mean = Chunk(columns, None), 1.0
    if weighting.text is not None:
        weights, mean = relative_weights(weighting, rows)
        chunk = Chunk(columns, weights)
        if not weights.all():
            # No sample should hold a row of weight 0.
            kept = np.flatnonzero(weights)
            chunk = Chunk(tuple(column[kept] for column in columns), weights[kept])
    begin, length = _subsample_runs(model, chunk.rows, seed)
    some = chunk
    if length < chunk.rows:
        places = (begin[:, None] + np.arange(length)).ravel()
        arrays = tuple(array[places] for array in chunk.arrays)
        some = chunk_of(arrays, weighted=chunk.weights is not None)
    if rows.check is not None and not all(np.isfinite(column).all() for column in some.columns):
        rows.check()
    data = in_memory(model, chunk, some, resources.threads, journal)
    data.check, data.mean_weight = rows.check, mean
    return data


def _subsample_runs(model: Model, rows: int, seed: int) -> tuple[Array, int]:
    straight = model.loss.name == SQUARED and model.is_linear
    return subsample_runs(rows, len(model.columns), seed, straight=straight)


def _streamed(
    model: Model,
    stream: ChunkedRows,
    weighting: Weighting,
    resources: Resources,
    journal: Checkpoint,
    seed: int,
) -> TrainingData:
    """Take in rows that are read anew for every pass."""
    known = None
    if weighting.text is not None:
        stream, known = _weighed(stream, weighting)
    places = [stream.names.index(name) for name in model.columns]

    def chunk_of(columns: Arrays) -> Chunk:
        weights = None
        if known is not None:
            weights = known.weights(dict(zip(stream.names, columns, strict=True)))
        return Chunk(tuple(columns[place] for place in places), weights)

    def parts(first: int) -> Iterator[Part]:
        for at, read in stream.parts(first):
            yield Part(at, lambda read=read: map(chunk_of, read()))  # type: ignore[misc]

    begin, length = _subsample_runs(model, stream.counted, seed)
    return TrainingData(
        model,
        stream.counted,
        lambda first: map(chunk_of, stream.chunks(first=first)),
        chunk_of(stream.take(begin, length)),
        None,
        resources.threads,
        journal,
        lambda order: map(chunk_of, stream.mixed(order)),
        resources.budget // 3,
        parts if stream.has_parts else None,
        1.0 if known is None else known.given_mean,
    )


def _weighed(stream: ChunkedRows, weighting: Weighting) -> tuple[ChunkedRows, Weigher]:
    """Look at the weights of all rows."""
    cut, scales, first = Aligner(PANEL), [], 0

    def named(columns: Arrays) -> dict[str, Array]:
        return dict(zip(stream.names, columns, strict=True))

    def scale(panels: Iterable[Arrays]) -> None:
        nonlocal first
        for columns in panels:
            scales.append(scale_of(weighting, named(columns), stream.label, first))
            first += len(columns[0])

    def visit(group: RowGroup, offset: int, columns: Arrays) -> None:
        # Here the file and the row are still known.
        scale_of(weighting, named(columns), group.label, group.first + offset)
        scale(cut.push(columns))

    def has_a_say(columns: Arrays) -> Array | None:
        if weighting.sigma is not None:
            return None
        chosen = np.asarray(given_weights(weighting, named(columns)) > 0)
        return None if chosen.all() else chosen

    stream = stream.chosen(has_a_say, visit)
    scale(cut.rest())
    return stream, weigher(weighting, scales, stream.label)
