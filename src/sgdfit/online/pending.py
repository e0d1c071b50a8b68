"""Small batches that wait to be taken in together, since one row costs as much as many."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.fitting.weights import Weighting
from sgdfit.kernel.kernel import Chunk
from sgdfit.online.alarm import Watch, warning_of, watched
from sgdfit.online.batches import Batch, joined
from sgdfit.online.intake import check_domain, taken
from sgdfit.online.known import is_determined
from sgdfit.online.memory import KEPT, Memory, Recursion
from sgdfit.online.recursion import looked
from sgdfit.online.update import Update

__all__ = ["TOGETHER", "Pending"]

# So many rows wait at the most, and of those before them this share.
TOGETHER, SHARE = 64, 8


class Pending:
    """Batches that came one after another, and what is known without them.

    What they tell is worked out when it is asked for, always from where they began to wait, so that
    asking changes nothing.

    Parameters
    ----------
    fixed : Recursion
    memory : Memory
        Without them.
    turn : float
        So many rows are kept when starting values are looked for again.
    """

    def __init__(self, fixed: Recursion, memory: Memory, turn: float) -> None:
        self.fixed, self.memory = fixed, memory
        self.batches: list[Batch] = []
        self.rows, self.dropped, self.used = memory.tally.rows, memory.tally.dropped, 0
        self._room = _room(fixed, memory, turn)
        self._known: tuple[int, Memory, Watch | None] = (0, memory, None)

    def hold(self, batch: Batch) -> bool:
        """Let a batch wait; return whether there was room for it.

        Raises
        ------
        DataError
            When the formula has no finite value on a row.
        """
        size = len(batch.weights)
        if not 0 < size <= self._room - self.used:
            return False
        theta = self.memory.theta
        assert theta is not None  # else there is no room
        check_domain(self.fixed.kernel.rows(theta, Chunk(batch.columns, None)), batch)
        self.batches.append(batch)
        self.used += size
        self.rows += batch.rows
        self.dropped += batch.dropped
        return True

    @property
    def read(self) -> int:
        """How many rows have been read, those included that had no say."""
        return self.rows + self.dropped

    def update(self, weighting: Weighting) -> Update:
        """Return what is known with the batches so far, once it is asked for."""
        count = len(self.batches)

        def warnings() -> tuple[str, ...]:
            found = self.warning(count - 1)
            return () if found is None else (found,)

        counts = self.rows, self.dropped
        return Update(self.fixed, weighting, counts, lambda: self.known(count), warnings)

    def known(self, count: int) -> Memory:
        """Return what is known with the first so many batches."""
        if self._known[0] != count:
            some = self.batches[:count]
            batch, sizes = joined(some), [len(each.weights) for each in some]
            memory, watch = taken(self.fixed, self.memory, batch, sizes)
            self._known = count, memory.with_counts(batch), watch
        return self._known[1]

    def warning(self, number: int) -> str | None:
        """Return what is strange about a batch; None where noise explains it."""
        batch = self.batches[number]
        rows = looked(self.fixed, self.memory, batch)
        watch = watched(self.fixed, self.memory, rows, batch.weights, [len(batch.weights)])
        return self._sentence(watch, 0, batch)

    def last_warning(self) -> str | None:
        """Return what is strange about the last batch that noise does not explain."""
        if not self.batches:
            return None
        self.known(len(self.batches))
        watch = self._known[2]
        if watch is None or not watch.strange.any():
            return None
        last = int(np.flatnonzero(watch.strange)[-1])
        return self._sentence(watch, last, self.batches[last])

    def _sentence(self, watch: Watch | None, place: int, batch: Batch) -> str | None:
        if watch is None or not watch.strange[place]:
            return None
        return warning_of(float(watch.means[place]), watch.usual, batch, self.fixed)


def _room(fixed: Recursion, memory: Memory, turn: float) -> int:
    """Return how many rows may wait: none over which starts are due again, or rows are folded.

    None either while parameters are open, so that rows tell at once when they are not any more.
    """
    if not is_determined(fixed, memory):
        return 0
    room = min(TOGETHER, int(memory.tally.mass) // SHARE)
    if fixed.quadratic:
        return room
    ends = KEPT if memory.past is not None else min(KEPT, turn)
    return min(room, math.ceil(ends) - 1 - memory.kept.filled)
