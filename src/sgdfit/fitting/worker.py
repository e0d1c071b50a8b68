"""What the workers of a cluster do: each task opens rows, adds up some of them, and forgets them.

A task holds no more than how rows are opened, a model and its parameters; what it returns is some
hundred bytes, however many rows it is of. Files stay open between tasks, and kernels compiled.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from sgdfit import __version__
from sgdfit.data.partitions import partitions_table
from sgdfit.data.readers import open_table
from sgdfit.data.rows import (
    Aligner,
    Arrays,
    ChunkedRows,
    RowCounts,
    aligned,
    count_rows,
    float_batches,
    timed,
)
from sgdfit.data.table import Table
from sgdfit.data.times import TimeScales
from sgdfit.errors import ClusterError
from sgdfit.fitting.dataset import (
    Added,
    Reduction,
    TrainingData,
    WeightedStream,
    column_extremes,
    keep_of,
)
from sgdfit.fitting.options import FORGETFUL
from sgdfit.fitting.weights import Weigher, Weighting
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk, Kernel, KernelForm, Segment, State
from sgdfit.kernel.shuffle import sequential, shuffled
from sgdfit.kernel.summation import PANEL, condensed
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer

Array = np.ndarray[Any, Any]
# Bytes that a task may read ahead.
AHEAD = 1 << 26
# Rows that descent shuffles at a time, and more of such buffers than any share has.
SHUFFLED, MOST_BUFFERS = 1 << 20, 1 << 32
# Compiling, and opening files, is done by one task at a time.
LOCK = Lock()


class Source(NamedTuple):
    """Rows as every worker opens them."""

    version: str  # of sgdfit
    # What `open_table` takes, ``data`` with its options; without ``data``, tasks bring partitions.
    origin: Mapping[str, Any]
    where: str
    scales: TimeScales | None
    mark: str  # the fingerprint of the data that are meant
    label: str
    columns: tuple[str, ...]  # of the data
    names: tuple[str, ...]  # those that are read
    missing: str
    kept: tuple[int, ...]  # rows of each row group
    weigher: Weigher | None = None


class Task(NamedTuple):
    """What is added up over rows, and where."""

    model: Model  # of the data's columns and response
    kernel: Model  # what the kernel is of
    form: KernelForm
    device: str
    first: Chunk  # the first row, about which moments are taken
    theta: Array
    scores: bool
    is_first: bool


class Piece(NamedTuple):
    """Rows that begin at a panel and end at one, and the row groups that hold them."""

    first: int
    last: int
    groups: range  # all of them, or as far as ``tail`` holds the rest


def rows_of(source: Source, parts: Mapping[int, Any]) -> ChunkedRows:
    """Return the rows, of which only ``parts`` can be read where they are partitions."""
    if source.version != __version__:
        raise ClusterError(
            f"a worker has sgdfit {__version__}, and the client {source.version}; install the same"
            " on both"
        )
    table = _given(source, parts) if "data" not in source.origin else _opened(source)
    dataset, keep = table.dataset, None
    assert dataset is not None  # only such rows are sent out
    if source.weigher is not None:
        keep = keep_of(source.weigher.weighting, source.names)
    counts = RowCounts(source.kept, 0, sum(source.kept))
    return ChunkedRows(dataset, source.names, counts, source.missing, 1, AHEAD, keep)


def _given(source: Source, parts: Mapping[int, Any]) -> Table:
    count = source.origin["count"]
    found = partitions_table(source.columns, count, parts.__getitem__, open_table)
    return timed(open_table(found, source.where or None), source.scales)


def _opened(source: Source) -> Table:
    """Open files, which stay open for the tasks to come."""
    known = (repr(sorted(source.origin.items())), source.where, source.mark)
    with LOCK:
        table = _OPENED.get(known)
        if table is None:
            try:
                table = open_table(**source.origin, where=source.where or None)
            except (OSError, ValueError) as error:
                raise ClusterError(
                    f"a worker cannot open {source.label}: {error}. Workers read files themselves;"
                    " put them where all of them see them under the same name"
                ) from error
            if table.dataset is None or table.dataset.fingerprint != source.mark:
                raise ClusterError(
                    f"a worker finds other data as {source.label} than the client, by their names,"
                    " sizes or times; let all of them see the same files"
                )
            while len(_OPENED) >= MOST_OPENED:
                _OPENED.pop(next(iter(_OPENED)))
            _OPENED[known] = table
    return timed(table, source.scales)


_OPENED: dict[tuple[str, str, str], Table] = {}
MOST_OPENED = 4


def count_groups(source: Source, groups: Sequence[int], *parts: Any) -> list[tuple[int, int, int]]:
    """Return how many rows of row groups are kept, left out, and there without those left out."""
    rows = rows_of(source, dict(zip(groups, parts, strict=False)))
    found = []
    for k in groups:
        group = rows.dataset.row_groups[k]
        batches = ((0, b) for b in float_batches(rows.dataset, group, rows.names, rows.missing))
        one = count_rows(rows.dataset._replace(row_groups=(group,)), batches, rows.keep)
        found.append((one.kept[0], one.dropped, one.rows))
    return found


def read_rows(source: Source, number: int, *part: Any) -> int:
    """Return how many rows a row group has, also those that lack a number."""
    group = rows_of(source, dict(zip([number], part, strict=False))).dataset.row_groups[number]
    return sum(batch.num_rows for batch in group.read(source.names[:1]))


def same(value: Any) -> Any:
    """Return what is given: a task whose result the workers hold."""
    return value


def first_rows(source: Source, number: int, count: int, part: Any) -> Arrays:
    """Return the first rows of a partition, which complete the last panel of those before it."""
    rows = rows_of(source, {number: part})
    group, found, held = rows.dataset.row_groups[number], [], 0
    for columns in rows.blocks(group):
        found.append(tuple(column[: count - held].copy() for column in columns))
        held += len(found[-1][0])
        if held >= count:
            break
    return tuple(map(np.concatenate, zip(*found, strict=True)))


def take_runs(source: Source, number: int, runs: list[tuple[int, int]], *part: Any) -> list[Arrays]:
    """Return runs of rows of a row group, counted from its first."""
    rows = rows_of(source, dict(zip([number], part, strict=False)))
    return list(rows.runs(rows.dataset.row_groups[number], runs))


def add_up(source: Source, task: Task, piece: Piece, tails: int, *parts: Any) -> Added:
    """Add up the rows of a piece. The first of ``parts`` are ``tails``, the others partitions."""
    data, kernel = _prepared(source, task, parts[tails:], piece)
    reduction = Reduction(data, kernel, task.theta, task.scores)
    reduction.is_first = task.is_first
    stream = data.stream
    assert stream is not None  # see _prepared
    found, at = list[dict[str, Array]](), piece.first
    for columns in _blocks(stream.rows, piece, parts[:tails]):
        rows, sums = reduction.add(at, stream.chunk_of(columns))
        found.append(sums)
        at += rows
    if at != piece.last:
        raise ClusterError(
            f"rows {piece.first + 1:,} to {piece.last:,} of {source.label} have become"
            f" {at - piece.first:,} rows while they were read; begin again on data that stay"
        )
    joined = {name: np.concatenate([sums[name] for sums in found]) for name in found[0]}
    width = joined["partials"].shape[2]
    few = condensed(joined["partials"].reshape(-1, width))
    pair = np.zeros((len(few) + len(few) % 2, width))
    pair[: len(few)] = few
    joined["partials"] = pair.reshape(-1, 2, width)
    if task.is_first:
        joined["moments"] = condensed(joined["moments"])
    return piece.last - piece.first, joined


def _prepared(
    source: Source, task: Task, parts: Sequence[Any], piece: Piece
) -> tuple[TrainingData, Kernel]:
    rows = rows_of(source, dict(zip(piece.groups, parts, strict=False)))
    places = [rows.names.index(name) for name in task.model.columns]
    stream = WeightedStream(rows, places, source.weigher)
    data = TrainingData(task.model, task.first, stream, 1, FORGETFUL)
    data.remote = None
    with LOCK, np.errstate(all="ignore"):
        kernel = _kernel(task.kernel, task.form, source.weigher is not None, task.device)
        # Compiled here, lest several threads do it at once.
        Reduction(data, kernel, task.theta, task.scores).add(0, task.first)
    return data, kernel


def _kernel(
    model: Model, form: KernelForm, weighted: bool, device: str, optimizer: Optimizer | None = None
) -> Kernel:
    """Return a kernel, which stays compiled for the tasks to come."""
    return _kernel_of(pickle.dumps((model, optimizer)), form, weighted, device)


@lru_cache(maxsize=16)
def _kernel_of(made_of: bytes, form: KernelForm, weighted: bool, device: str) -> Kernel:
    model, optimizer = pickle.loads(made_of)
    return make(model, optimizer, form, weighted=weighted, device=device)


def _blocks(rows: ChunkedRows, piece: Piece, tails: Sequence[Arrays]) -> Iterator[Arrays]:
    """Yield the rows of a piece in chunks that begin at panels."""
    edges = np.concatenate([[0], np.cumsum(rows.counts.kept)])
    left = piece.last - piece.first

    def blocks() -> Iterator[Arrays]:
        for k in piece.groups:
            skipped = max(piece.first - int(edges[k]), 0)
            yield from rows.blocks(rows.dataset.row_groups[k], skipped)
        yield from tails

    def cut() -> Iterator[Arrays]:
        nonlocal left
        for columns in blocks():
            taken = min(left, len(columns[0]))
            yield tuple(column[:taken] for column in columns)
            left -= taken
            if not left:
                return

    return aligned(cut(), rows.chunk_rows, PANEL)


def extremes_of(
    source: Source, places: Sequence[int], piece: Piece, tails: int, *parts: Any
) -> Array:
    """Return the least and the largest value of columns in the row groups of a piece, [2, c]."""
    rows = rows_of(source, dict(zip(piece.groups, parts[tails:], strict=False)))
    blocks = itertools.chain.from_iterable(
        rows.blocks(rows.dataset.row_groups[k]) for k in piece.groups
    )
    chunks = (Chunk(tuple(c[p] for p in places), None) for c in blocks if len(c[0]))
    return np.array(column_extremes(chunks))


def weigh(
    source: Source, weighting: Weighting, unit: float, piece: Piece, tails: int, *parts: Any
) -> tuple[list[float], int]:
    """Return sums of the weights of each panel of a piece, and how many of them are not 0."""
    rows = rows_of(source, dict(zip(piece.groups, parts[tails:], strict=False)))
    known, at = Weigher(weighting, rows.label), piece.first
    known.unit = unit
    for columns in _blocks(rows, piece, parts[:tails]):
        for begin in range(0, len(columns[0]), PANEL):
            part = tuple(column[begin : begin + PANEL] for column in columns)
            known.look(dict(zip(rows.names, part, strict=True)), at)
            at += len(part[0])
    return known.sums, known.counted


class ShareDescent(NamedTuple):
    """An epoch of textbook descent on a share of the rows, from where all of them begin."""

    model: Model
    form: KernelForm
    optimizer: Optimizer
    state: State
    rates: Array  # of its steps
    size: int  # rows of a batch
    seed: tuple[int, int, int] | None  # of the shuffling, the epoch and the share; None: as stored
    ceiling: float
    low: Array
    high: Array


def sweep(
    source: Source, descent: ShareDescent, piece: Piece, tails: int, *parts: Any
) -> tuple[State, bool, Array]:
    """Step through a piece; return where that led, whether it halted, and its first record."""
    rows = rows_of(source, dict(zip(piece.groups, parts[tails:], strict=False)))
    places = [rows.names.index(name) for name in descent.model.columns]
    stream, weighted = WeightedStream(rows, places, source.weigher), source.weigher is not None
    kernel = _kernel(descent.model, descent.form, weighted, "cpu", descent.optimizer)
    state, first, size = descent.state, np.empty((0, 3 + 2 * len(descent.low))), descent.size
    taken = 0
    cut = Aligner(max(size, SHUFFLED // size * size))
    blocks = (cut.push(columns) for columns in _blocks(rows, piece, parts[:tails]))
    buffers = itertools.chain(itertools.chain.from_iterable(blocks), cut.rest())
    for number, columns in enumerate(buffers):
        chunk = stream.chunk_of(columns)
        order = sequential(chunk.rows)
        if descent.seed is not None:
            seed, epoch, share = descent.seed
            order = shuffled(chunk.rows, seed, epoch, share * MOST_BUFFERS + number)
        rates = descent.rates[taken : taken + -(-chunk.rows // size)]
        if not len(rates):
            break
        segment = Segment(
            order, size, rates, descent.ceiling, int(not len(first)), descent.low, descent.high
        )
        swept = kernel.sweep(state._replace(position=0), chunk, segment)
        first = first if len(first) else swept.records[:1]
        taken += len(rates)
        state = swept.state
        if swept.halted:
            return state, True, first
    return state, False, first
