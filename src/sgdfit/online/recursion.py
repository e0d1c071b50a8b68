"""One step of the recursion: the estimates with some further rows.

Where the loss is a quadratic of the parameters, its root is all there is to know of the past, and
the recursion is least squares itself (TSQR: Demmel, Grigori, Hoemmen & Langou 2012, SIAM J. Sci.
Comput. 34(1), A206-A239). Else the newest rows are kept as they came, so that their loss is looked
at wherever the estimates go, and those before them are folded into a quadratic (the iterated
extended Kalman filter: Bell & Cathey 1993, IEEE Trans. Automatic Control 38(2), 294-297). By then
the estimates move little; whether the quadratic still holds, a sample of its rows tells.
"""

from __future__ import annotations

import numpy as np

from sgdfit.kernel.kernel import Chunk, Rows
from sgdfit.online.batches import Batch
from sgdfit.online.local import both, of_rows
from sgdfit.online.memory import KEPT, Memory, Recursion
from sgdfit.online.past import MOVED, checked, put_away
from sgdfit.online.walk import minimum, moved, walked

__all__ = ["absorbed", "followed", "looked", "polished"]

# Up to so many are looked at anew at every step.
FEW = 256
# New rows are looked at by themselves, beside the known quadratic of those before, while they are
# no more than this, or this share, and the estimates moved by less than `MOVED` standard errors.
APART, SHARE = 64, 8
# From the minimum, in standard errors, when the result is asked for.
NEAREST = 1e-9


def looked(fixed: Recursion, memory: Memory, batch: Batch) -> Rows:
    """Return the rows of a batch as the estimates before it see them."""
    theta = memory.theta
    if theta is None:
        theta = fixed.box.clip(np.zeros(len(fixed.model.free)))
    return fixed.kernel.rows(theta, Chunk(batch.columns, None))


def absorbed(fixed: Recursion, memory: Memory, batch: Batch, rows: Rows) -> Memory | None:
    """Return what is known with a batch of at most `KEPT` rows more; None where it has no loss.

    Parameters
    ----------
    rows : Rows
        Those of the batch, `looked` at.
    """
    n, forgetting = len(batch.weights), fixed.forgetting
    tally = memory.tally.with_rows(batch.weights, rows.target, forgetting)
    memory = memory.aged(forgetting.after(n))._replace(tally=tally)
    if fixed.quadratic:
        return _accumulated(fixed, memory, batch, rows)
    memory = memory._replace(kept=memory.kept.with_rows(batch.columns, batch.weights))
    return memory if memory.theta is None else followed(fixed, memory)


def _accumulated(fixed: Recursion, memory: Memory, batch: Batch, rows: Rows) -> Memory | None:
    """Add the rows' root to that of the past, and solve."""
    theta = fixed.box.clip(np.zeros(len(fixed.model.free)))
    theta = theta if memory.theta is None else memory.theta
    decay = fixed.forgetting.weights(len(batch.weights))
    local = of_rows(rows, batch.weights, decay, fixed.robust)
    if local is None:
        return None
    whole = local if memory.past is None else both(memory.past, local)
    moved, steps = minimum(fixed, theta, whole.quadratic)
    whole = whole.moved(moved - theta)
    whole = whole._replace(squares=whole.quadratic.loss)
    return memory._replace(
        theta=moved,
        whole=whole,
        past=whole,
        steps=memory.steps + steps,
        visited=memory.visited + len(batch.weights),
    )


def followed(fixed: Recursion, memory: Memory) -> Memory | None:
    """Step to the minimum with the rows that have come, looking anew at as few as need be."""
    fresh = memory.kept.filled - memory.seen
    few = max(APART, memory.seen // SHARE)
    if memory.known is not None and memory.kept.filled > FEW and fresh <= few:
        near = walked(fixed, memory, memory.seen)
        if near is not None and moved(fixed, near) <= MOVED:
            return near
    found = walked(fixed, memory, 0)
    if found is None:
        return None
    found = checked(fixed, found)
    return put_away(fixed, found) if found.kept.filled >= KEPT else found


def polished(fixed: Recursion, memory: Memory) -> Memory:
    """Return the same rows, each of those kept looked at where the estimates are."""
    if fixed.quadratic or memory.theta is None or not memory.kept.filled:
        return memory
    return walked(fixed, memory, 0, NEAREST) or memory
