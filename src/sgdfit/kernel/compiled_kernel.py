"""The compiled form of the kernel: generated source, one row at a time, no Python in the loop.

Sums are kept in blocks of rows and may be reassociated within one, which lets the compiler use
vector registers; the result for given inputs is the same every time. NaN and infinity keep their
meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from sgdfit import optimizers
from sgdfit.errors import UsageError
from sgdfit.kernel.kernel import Chunk, Kernel, Outcome, Rows, Segment, State
from sgdfit.kernel.numpy_kernel import load_terms, rows_of
from sgdfit.kernel.summation import PANEL, length
from sgdfit.kernel.templates import partials_source, sweep_source
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer


def make_compiled(model: Model, optimizer: Optimizer | None, *, weighted: bool) -> Kernel:
    """Return the compiled form of the kernel; compiling waits for the first call of each part.

    Raises
    ------
    UsageError
        When the optimizer's update is none of `sgdfit.optimizers`.
    """
    if optimizer and getattr(optimizers, optimizer.update.__name__, None) is not optimizer.update:
        raise UsageError(
            f"the compiled kernel does not know the optimizer {optimizer.name!r};"
            " use kernel='numpy' for one of your own"
        )

    def rows(theta: np.ndarray, chunk: Chunk) -> Rows:
        return rows_of(load_terms(model)[1], theta, chunk)

    @cache
    def summing(scores: bool) -> str:
        return partials_source(model, weighted, scores)

    def partials(theta: np.ndarray, chunk: Chunk, scores: bool = False) -> np.ndarray:
        return _partials(summing(scores), theta, chunk)

    @cache
    def stepping(single: bool) -> str:
        assert optimizer is not None, "a kernel without an optimizer takes no steps"
        return sweep_source(model, weighted, optimizer, single=single)

    def sweep(state: State, chunk: Chunk, segment: Segment) -> Outcome:
        assert optimizer is not None, "a kernel without an optimizer takes no steps"
        arrays = _arrays(chunk)
        called = _function(stepping(segment.batch_size == 1), "sweep", _types(arrays))
        return _swept(called, optimizer, state, arrays, segment)

    return Kernel("compiled", summing(False), rows, partials, sweep)


@cache
def _function(source: str, name: str, types: tuple[str, ...]) -> Callable[..., Any]:
    """Return a function for columns of these ``types``, which make a module of its own."""
    from sgdfit.kernel.compiling import function

    return function(f"# Columns: {', '.join(types)}\n{source}", name)


def _types(arrays: tuple[np.ndarray, ...]) -> tuple[str, ...]:
    """Name what Numba tells arrays by."""
    return tuple(
        a.dtype.name
        + ("" if a.flags.writeable else " read-only")
        + ("" if a.flags.c_contiguous else " strided")
        for a in arrays
    )


def _arrays(chunk: Chunk) -> tuple[np.ndarray, ...]:
    """Return the columns and weights as one kind of array, which is compiled for once."""
    return tuple(map(_unwritable, chunk.arrays))


def _partials(source: str, theta: np.ndarray, chunk: Chunk) -> np.ndarray:
    theta = np.ascontiguousarray(theta, dtype=np.float64)
    out = np.empty((-(-chunk.rows // PANEL), 2, length(len(theta))))
    arrays = _arrays(chunk)
    _function(source, "partials", _types(arrays))(theta, arrays, out)
    return out


def _unwritable(array: np.ndarray) -> np.ndarray:
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def _swept(
    function: Callable[..., Any],
    optimizer: Optimizer,
    state: State,
    arrays: tuple[np.ndarray, ...],
    segment: Segment,
) -> Outcome:
    every = segment.record_every
    room = len(segment.rates) // every + 1 if every else 0
    records = np.empty((room, 3 + 2 * len(state.theta)))
    # Copies, which the compiled code writes into; every type is settled, lest it compile anew.
    theta, slots, average = (
        np.array(a, dtype=np.float64) for a in (state.theta, state.slots, state.average)
    )
    rates, low, high = (
        np.ascontiguousarray(a, dtype=np.float64)
        for a in (segment.rates, segment.low, segment.high)
    )
    start = optimizer.average_from
    averaged, step, position, recorded, halted = function(
        theta, slots, average, int(state.averaged), int(state.step), int(state.position),
        arrays, *segment.order, int(segment.batch_size), rates,
        tuple(map(float, optimizer.options)), -1 if start is None else start,
        float(segment.ceiling), int(every), low, high, records,
    )  # fmt: skip
    after = State(theta, slots, average, averaged, step, position)
    return Outcome(after, bool(halted), records[:recorded])
