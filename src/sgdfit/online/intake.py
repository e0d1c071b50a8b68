"""Rows that have arrived taken into what is known: the one step that every update consists of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgdfit.errors import DataError
from sgdfit.kernel.kernel import Rows
from sgdfit.online.alarm import Watch, watched
from sgdfit.online.batches import Batch
from sgdfit.online.memory import Memory, Recursion
from sgdfit.online.recursion import absorbed, looked

__all__ = ["check_domain", "taken"]


def taken(
    fixed: Recursion, memory: Memory, batch: Batch, sizes: Sequence[int]
) -> tuple[Memory, Watch | None]:
    """Return what is known with some rows more, and how far from the curve they were.

    Parameters
    ----------
    sizes : sequence of int
        How many of the rows came together, one after another.

    Raises
    ------
    DataError
        When the formula has no finite value on a row.
    """
    rows = looked(fixed, memory, batch)
    if memory.theta is not None:
        check_domain(rows, batch)
    watch = watched(fixed, memory, rows, batch.weights, sizes)
    found = absorbed(fixed, memory, batch, rows)
    if found is None:
        raise _outside(batch, 0)
    if watch is not None:
        found = found._replace(tally=found.tally.with_losses(watch.weight, watch.squares))
    return found, watch


def check_domain(rows: Rows, batch: Batch) -> None:
    """Refuse rows on which the formula has no finite value, so that nothing is learned from them.

    Raises
    ------
    DataError
        With the row named.
    """
    if np.isfinite(rows.loss.sum() + rows.jacobian.sum()):
        return
    bad = ~(np.isfinite(rows.loss) & np.isfinite(rows.jacobian).all(axis=0))
    if bad.any():
        raise _outside(batch, int(np.argmax(bad)))


def _outside(batch: Batch, row: int) -> DataError:
    return DataError(
        f"the formula or its gradient has no finite value on {batch.called(row)} at the estimates"
        " of the rows before it; correct the row, bound the parameters, or leave the row out"
    )
