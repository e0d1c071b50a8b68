"""How the rows of a table come to a fit: with their weights, and a reserve of random ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import numpy as np

from sgdfit.checkpoint.journal import Journal
from sgdfit.data.alignment import Aligner
from sgdfit.data.opening import without_weightless
from sgdfit.data.scan import Piece
from sgdfit.data.source import Source
from sgdfit.data.stream import Stream
from sgdfit.fitting.growth import reserved
from sgdfit.fitting.means import Means
from sgdfit.fitting.parts import Part
from sgdfit.fitting.population import Population, in_memory
from sgdfit.fitting.row_weights import (
    Weigher,
    given_weights,
    relative_weights,
    scale_of,
    weigher,
)
from sgdfit.fitting.weighting import Weighting
from sgdfit.kernel.kernel import PANEL, Chunk
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model

__all__ = ["Intake", "take_in"]

Array = np.ndarray[Any, Any]
Columns = tuple[Array, ...]


class Intake(NamedTuple):
    """Rows that were taken in.

    Attributes
    ----------
    population : Population
        The rows that have a say, with weights of mean one.
    mean_weight : float
        The mean of their weights as they were given.
    """

    population: Population
    mean_weight: float


def take_in(
    model: Model,
    rows: Source | Stream,
    weighting: Weighting,
    means: Means,
    journal: Journal,
    seed: int,
) -> Intake:
    """Weigh rows, and draw the reserve that samples are taken from.

    Raises
    ------
    DataError
        When a weight or a standard deviation cannot be one.
    """
    if isinstance(rows, Source):
        return _loaded(model, rows, weighting, means, journal, seed)
    return _streamed(model, rows, weighting, means, journal, seed)


def _loaded(
    model: Model, source: Source, weighting: Weighting, means: Means, journal: Journal, seed: int
) -> Intake:
    """Take in rows that are in memory, but for those of weight 0: no sample should hold one."""
    columns = tuple(source.columns[name] for name in model.columns)
    chunk, mean = Chunk(columns, None), 1.0
    if weighting.text is not None:
        weights, mean = relative_weights(weighting, source)
        chunk = Chunk(columns, weights)
        if not weights.all():
            kept = np.flatnonzero(weights)
            chunk = Chunk(tuple(column[kept] for column in columns), weights[kept])
    return Intake(_population(model, chunk, means.threads, journal, seed), mean)


def _population(
    model: Model, chunk: Chunk, threads: int, journal: Journal, seed: int
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
    read: Callable[[], Iterator[Columns]], chunk_of: Callable[[Columns], Chunk]
) -> Callable[[], Iterator[Chunk]]:
    return lambda: map(chunk_of, read())


def _reserved(model: Model, rows: int, seed: int) -> tuple[Array, int]:
    straight = model.is_linear and model.loss.name == SQUARED
    return reserved(rows, len(model.columns), seed, straight=straight)


def _streamed(
    model: Model, stream: Stream, weighting: Weighting, means: Means, journal: Journal, seed: int
) -> Intake:
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
    return Intake(population, 1.0 if known is None else known.given_mean)


def _weighed(stream: Stream, weighting: Weighting) -> tuple[Stream, Weigher]:
    """Look at the weights of all rows."""
    cut, parts, first = Aligner(PANEL), [], 0

    def look(columns: tuple[Array, ...]) -> None:
        nonlocal first
        named = dict(zip(stream.names, columns, strict=True))
        parts.append(scale_of(weighting, named, stream.label, first))
        first += len(columns[0])

    def visit(piece: Piece, offset: int, columns: tuple[Array, ...]) -> None:
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
