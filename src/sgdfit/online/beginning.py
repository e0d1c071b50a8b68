"""Where the recursion begins: at the fit of the first rows, once they determine the parameters."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from sgdfit.errors import DataError
from sgdfit.fitting import entry
from sgdfit.online.memory import KEPT, Memory, Recursion
from sgdfit.online.recursion import followed
from sgdfit.result.result import Result

__all__ = ["begun", "searched"]

# A minimum whose loss is lower by less is the same.
SAME = 1e-6
WEIGHT = "weight_of_row"
# Starting values are looked for when so many times the rows have come than were last looked at:
# at first until they are found, then in case more rows tell of a better minimum.
AGAIN, BETTER = 1.5, 4.0


def searched(
    fixed: Recursion, memory: Memory, turn: float, options: Mapping[str, Any]
) -> tuple[Memory, float]:
    """Look for starting values when it is their turn; return when it will be again.

    Parameters
    ----------
    turn : float
        So many rows are kept when it is.
    options : mapping
        Of `sgdfit.fit`, as in `begun`.
    """
    p, rows = len(fixed.model.free), memory.kept.filled
    if fixed.quadratic or memory.past is not None or rows < max(turn, p + 1):
        return memory, turn
    if memory.theta is not None and not _may_search(fixed):
        return memory, np.inf
    started = begun(fixed, memory, options)
    return started, rows * (AGAIN if started.theta is None else BETTER)


def _may_search(fixed: Recursion) -> bool:
    """Whether starts are the library's to choose."""
    starts = (fixed.model.parameters[name] for name in fixed.model.free)
    return any(parameter.origin.startswith("default") for parameter in starts)


def begun(fixed: Recursion, memory: Memory, options: Mapping[str, Any]) -> Memory:
    """Return the memory with estimates, or with better ones, where a fit of its rows finds them.

    Parameters
    ----------
    memory : Memory
        None of whose rows are folded.
    options : mapping
        Of `sgdfit.fit`: start, bounds, fixed, tied and seed.

    Raises
    ------
    DataError
        When so many rows as can be kept lead to no fit.
    """
    full = memory.kept.filled >= KEPT
    found = _fit(fixed, memory, options, full)
    if found is None or not (full or memory.theta is not None or _is_sure(found)):
        return memory
    theta = np.array([found.estimates[name].value for name in fixed.model.free])
    fresh = memory._replace(theta=theta, start=theta, known=None, seen=0, anchor=None, past=None)
    other = followed(fixed, fresh)
    if other is None or other.whole is None:
        return memory
    if memory.whole is not None:
        here, there = memory.whole.quadratic.loss, other.whole.quadratic.loss
        if not there < here - SAME * abs(here):
            return memory
    return other


def _fit(fixed: Recursion, memory: Memory, options: Mapping[str, Any], full: bool) -> Result | None:
    columns, weights = memory.kept.rows()
    data = dict(zip(fixed.model.columns, columns, strict=True))
    uneven = bool((weights != weights[0]).any())
    name = WEIGHT
    while name in fixed.model.formula.names or name in data:
        name += "_"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = entry.fit(
                fixed.model.formula,
                {**data, name: weights} if uneven else data,
                loss=fixed.model.loss,
                weights=name if uneven else None,
                **options,
            )
    except DataError:
        if full:
            raise
        return None
    if full and not found.status.ok:
        raise DataError(
            f"the first {memory.kept.filled:,} rows lead to no fit: {found.status.cause}; "
            f"{found.status.cure or 'give starting values or bounds'}"
        )
    return found if found.status.ok else None


def _is_sure(found: Result) -> bool:
    """Whether rows determine every parameter, and leave something to tell the noise by."""
    known = found.covariance is not None and not found.undetermined
    return known and found.status.name in ("converged", "local_minimum")
