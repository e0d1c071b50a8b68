"""The compiled form of the kernel: generated source, one row at a time, no Python in the loop.

Sums are kept in blocks of rows and may be reassociated within one, which lets the compiler use
vector registers; the result for given inputs is the same every time. NaN and infinity keep their
meaning. Vector registers do not know the sine of a huge angle: where that may be why a sum is not
finite, the panel, or the steps, are done again by the library of C.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from sgdfit import optimizers
from sgdfit.errors import UsageError
from sgdfit.kernel.emission import Dialect
from sgdfit.kernel.kernel import Chunk, Kernel, Segment, State, SweepResult
from sgdfit.kernel.numpy_kernel import kernel_source, make_numpy, with_limits
from sgdfit.kernel.summation import PANEL, length
from sgdfit.kernel.templates import dialects, panel_sums_source, sweep_source
from sgdfit.model.loss import Loss
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
    known = dialects(model)
    first, *others = known
    by_limits = make_numpy(model, optimizer)

    @cache
    def summing(dialect: Dialect, scores: bool) -> str:
        return panel_sums_source(model, weighted, dialect, scores)

    @cache
    def stepping(dialect: Dialect, single: bool) -> str:
        assert optimizer is not None, "a kernel without an optimizer takes no steps"
        return sweep_source(model, weighted, dialect, optimizer, single=single)

    def panel_sums(theta: np.ndarray, chunk: Chunk, scores: bool = False) -> np.ndarray:
        out = _panel_sums(summing(first, scores), model.loss, theta, chunk)
        for dialect in others:
            for k in np.flatnonzero(~np.isfinite(out).all(axis=(1, 2))).tolist():
                panel = chunk.part(k * PANEL, (k + 1) * PANEL)
                out[k] = _panel_sums(summing(dialect, scores), model.loss, theta, panel)[0]
        return with_limits(out, by_limits, theta, chunk, scores)

    def sweep(state: State, chunk: Chunk, segment: Segment) -> SweepResult:
        single = segment.batch_size == 1
        begin, *again = ("libm",) if single else known
        given = model.loss, optimizer, state, chunk, segment
        outcome = _sweep(stepping(begin, single), *given)
        for dialect in again:
            if outcome.halted:
                outcome = _sweep(stepping(dialect, single), *given)
        last: Dialect = "libm" if single else known[-1]
        records, rates = [outcome.records], segment.rates
        while outcome.halted:
            # One step by limits, which may be all that is lacking.
            state, rates = outcome.state, rates[outcome.state.step - state.step :]
            segment = segment._replace(order=segment.order.spelled_out(), rates=rates[:1])
            outcome = by_limits.sweep(state, chunk, segment)
            records.append(outcome.records)
            if outcome.halted:
                break
            state, rates = outcome.state, rates[1:]
            segment = segment._replace(rates=rates)
            outcome = _sweep(stepping(last, single), *given[:2], state, chunk, segment)
            records.append(outcome.records)
        return outcome._replace(records=np.concatenate(records))

    source = kernel_source(summing(first, False), model.loss)
    return Kernel("compiled", source, by_limits.rows, panel_sums, sweep)


@cache
def _function(source: str, name: str, types: tuple[str, ...]) -> Callable[..., Any]:
    """Return a function for columns of these ``types``, which make a module of its own."""
    from sgdfit.kernel.compiling import function

    return function(f"# Columns: {', '.join(types)}\n{source}", name)


def _called(source: str, name: str, chunk: Chunk) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return the function for the columns and weights, and these as it takes them."""
    arrays = tuple(map(unwritable, chunk.arrays))
    # What Numba tells arrays by, besides.
    types = tuple(a.dtype.name + ("" if a.flags.c_contiguous else " strided") for a in arrays)
    return _function(source, name, types), arrays


def unwritable(array: np.ndarray) -> np.ndarray:
    """Return one kind of array, which is compiled for once."""
    view = array.view()
    view.flags.writeable = False
    return view


def _with_scale(theta: np.ndarray, loss: Loss) -> np.ndarray:
    """Return the parameters, and after them the scale of the residuals where the loss has one."""
    more = [loss.scale] if loss.is_relative else []
    return np.array([*theta, *more], dtype=np.float64)


def _panel_sums(source: str, loss: Loss, theta: np.ndarray, chunk: Chunk) -> np.ndarray:
    out = np.empty((-(-chunk.rows // PANEL), 2, length(len(theta))))
    function, arrays = _called(source, "panel_sums", chunk)
    function(_with_scale(theta, loss), arrays, out)
    return out


def _sweep(
    source: str,
    loss: Loss,
    optimizer: Optimizer | None,
    state: State,
    chunk: Chunk,
    segment: Segment,
) -> SweepResult:
    assert optimizer is not None, "a kernel without an optimizer takes no steps"
    function, arrays = _called(source, "sweep", chunk)
    every, order = int(segment.record_every), segment.order
    room = len(segment.rates) // every + 1 if every else 0
    records = np.empty((room, 3 + 2 * len(state.theta)))
    # Copies, which the compiled code writes into; every type is settled, lest it compile anew.
    slots, average, rates, low, high = (
        np.array(a, dtype=np.float64)
        for a in (*state[1:3], segment.rates, segment.low, segment.high)
    )
    theta = _with_scale(state.theta, loss)
    start = optimizer.average_from
    averaged, step, position, recorded, halted = function(
        theta, slots, average, int(state.averaged), int(state.step), int(state.position),
        arrays, order.blocks, np.argsort(order.within), order.tail, order.rows, order.sequential,
        int(segment.batch_size), rates, tuple(map(float, optimizer.options)),
        -1 if start is None else start, float(segment.ceiling), every, low, high, records,
    )  # fmt: skip
    after = State(theta[: len(state.theta)], slots, average, averaged, step, position)
    return SweepResult(after, bool(halted), records[:recorded])
