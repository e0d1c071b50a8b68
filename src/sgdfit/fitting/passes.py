"""One pass through all rows: sums added up on every thread, and what else it takes along."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sgdfit.data.stream import release_unused
from sgdfit.fitting.parts import Edges, Part, Torn, in_order, torn
from sgdfit.fitting.survey import Survey, look_through, read_back, written
from sgdfit.kernel.kernel import PANEL, Chunk, Kernel, Sums, combined

if TYPE_CHECKING:
    from sgdfit.fitting.population import Population

__all__ = ["Pass", "Passing", "record_name", "slices"]

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
    >>> from sgdfit.optimizers import sgd
    >>> kernel = make(build("y = a*x", ["x", "y"]), sgd(), "numpy")
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
    def survey(self) -> Survey:
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
        edges = Edges(weighted=everything.weighted)
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

    def _worked(self, part: Part) -> tuple[list[_Added], Torn]:
        whole: list[_Added] = []
        rest = torn(part, lambda first, chunk: whole.append(self._add((first, chunk))))
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
