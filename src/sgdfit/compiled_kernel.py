"""The compiled form of the kernel: generated source, one row at a time, no Python in the loop.

The source of a model is written out with every parameter, gradient and optimizer slot as a local
name, so that they live in registers, and compiled by Numba. Sums are kept in blocks of rows and
may be reassociated within one, which lets the compiler use vector registers; the result for
given inputs is the same every time. NaN and infinity keep their meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from sgdfit.kernel import Chunk, Kernel, Outcome, Segment, State, Sums, emitted, held
from sgdfit.model import Model
from sgdfit.optimizer import Optimizer
from sgdfit.order import BLOCK, BUFFER, PLACES

__all__ = ["make_compiled"]

HEADER = """\
import math
import numpy
from numba import njit
from sgdfit import updates

# Sums may be reassociated; NaN and infinity are honoured, since they are how a domain error shows.
FAST = {"reassoc", "contract", "nsz"}
update = njit(fastmath={"contract"}, error_model="numpy")(updates.UPDATE)


@njit(cache=True, error_model="numpy")
def _logistic(x):
    z = math.exp(-abs(x))
    return 1.0/(1.0 + z) if x >= 0.0 else z/(1.0 + z)


@njit(cache=True, error_model="numpy")
def _logaddexp(x, y):
    return x + math.log(2.0) if x == y else max(x, y) + math.log1p(math.exp(-abs(x - y)))


@njit(cache=True, error_model="numpy")
def _xlogy(x, y):
    return 0.0 if x == 0.0 else x*math.log(y)


"""
JIT = '@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)\n'


def make_compiled(model: Model, optimizer: Optimizer, *, weighted: bool) -> Kernel:
    """Return the compiled form of the kernel; compiling waits for the first call of each part."""
    writer = _Writer(model, weighted)
    slots = len(optimizer.init(np.zeros(1), optimizer.options))
    source = writer.sweep(optimizer, slots)

    def sums(theta: np.ndarray, chunk: Chunk) -> Sums:
        total = _function(writer.sums("w*bend"), "sums")(theta, chunk.columns, chunk.weights)
        return _unpacked(total, chunk.rows, len(theta))

    def scores(theta: np.ndarray, chunk: Chunk) -> np.ndarray:
        weight = "w*slope*w*slope"
        total = _function(writer.sums(weight), "sums")(theta, chunk.columns, chunk.weights)
        return _unpacked(total, chunk.rows, len(theta)).curvature

    def sweep(state: State, chunk: Chunk, segment: Segment) -> Outcome:
        return _swept(_function(source, "sweep"), optimizer, state, chunk, segment)

    return Kernel("compiled", source, sums, scores, sweep)


@cache
def _function(source: str, name: str) -> Any:
    from sgdfit.compiling import load

    return getattr(load(source), name)


def _unpacked(total: np.ndarray, rows: int, parameters: int) -> Sums:
    """Name the parts of the flat array that the generated ``sums`` returns."""
    curvature = np.zeros((parameters, parameters))
    upper = np.triu_indices(parameters)
    curvature[upper] = total[2 + parameters :]
    curvature.T[upper] = total[2 + parameters :]
    return Sums(rows, float(total[0]), float(total[1]), total[2 : 2 + parameters], curvature)


def _swept(
    function: Any, optimizer: Optimizer, state: State, chunk: Chunk, segment: Segment
) -> Outcome:
    every = segment.record_every
    room = len(segment.rates) // every + 1 if every else 0
    records = np.empty((room, 3 + 2 * len(state.theta)))
    theta, slots, average = state.theta.copy(), state.slots.copy(), state.average.copy()
    options = tuple(map(float, optimizer.options))
    start = optimizer.average_from
    averaged, step, position, recorded, halted = function(
        theta, slots, average, state.averaged, state.step, state.position,
        chunk.columns, chunk.weights, *segment.order, segment.batch_size, segment.rates,
        options, -1 if start is None else start, segment.ceiling, every,
        segment.low, segment.high, records,
    )  # fmt: skip
    after = State(theta, slots, average, averaged, step, position)
    return Outcome(after, bool(halted), records[:recorded])


def _settled(optimizer: Optimizer) -> str:
    """Write the options as a tuple; those that are 0 or 1 literally, so that branches fall away."""
    options = [
        repr(float(value)) if value in (0, 1) else f"options[{k}]"
        for k, value in enumerate(optimizer.options)
    ]
    return f"({', '.join(options)},)"


def _indented(lines: Iterable[str], depth: int) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for line in lines)


class _Writer:
    """Writes the source of one model's functions."""

    def __init__(self, model: Model, weighted: bool) -> None:
        self.weighted = weighted
        self.row, self.loss = emitted(model, "compiled", held(model))
        self.p = [f"p{i}" for i in range(len(model.free))]
        self.g = [f"g{i}" for i in range(len(model.free))]
        self.columns = len(model.columns)
        self.bounded = any(
            np.isfinite([model.parameters[n].low, model.parameters[n].high]).any()
            for n in model.free
        )

    def _body(self, arrays: str, index: str = "[i]") -> list[str]:
        """Write one row's loss, slope, bend and Jacobian, read from ``arrays``."""
        read = [f"x{i} = float({arrays}{i}{index})" for i in range(self.columns)]
        weight = [f"w = {arrays}w{index}"] if self.weighted else []
        return [*read, *weight, *self.row, *self.loss]

    def sums(self, curvature: str) -> str:
        """Write ``sums``; ``curvature`` is the factor of J Jᵀ of one row."""
        curvature = curvature if self.weighted else curvature.replace("w*", "")
        one = "w" if self.weighted else "1.0"
        pairs = [(i, j) for i in range(len(self.p)) for j in range(i, len(self.p))]
        slots = ["t0", "t1", *self.g, *(f"h{i}_{j}" for i, j in pairs)]
        rows = [
            *self._body("v"),
            f"t0 += {one}",
            "t1 += w*loss" if self.weighted else "t1 += loss",
            "d = w*slope" if self.weighted else "d = slope",
            f"b = {curvature}",
            *(f"g{i} += d*j{i}" for i in range(len(self.p))),
            *(f"h{i}_{j} += b*j{i}*j{j}" for i, j in pairs),
        ]
        source = HEADER.replace("update = njit", "# update = njit") + JIT
        source += "def sums(theta, columns, weights):\n"
        source += _indented([*self._arrays("c"), *self._thetas()], 1)
        source += _indented([f"total = numpy.zeros({len(slots)})"], 1)
        source += _indented(["for first in range(0, len(c0), 4096):"], 1)
        source += _indented([f"{slot} = 0.0" for slot in slots], 2)
        # An index that counts from 0 along a view needs no test for wrapping around, which
        # would keep the loop out of vector registers.
        source += _indented([f"v{c[1:]} = {c}[first:first + 4096]" for c in self._names("c")], 2)
        source += _indented(["for i in range(len(v0)):"], 2)
        source += _indented(rows, 3)
        source += _indented([f"total[{k}] += {slot}" for k, slot in enumerate(slots)], 2)
        return source + _indented(["return total"], 1)

    def _arrays(self, name: str) -> list[str]:
        lines = [f"{name}{i} = columns[{i}]" for i in range(self.columns)]
        return [*lines, f"{name}w = weights"] if self.weighted else lines

    def _thetas(self) -> list[str]:
        return [f"p{i} = theta[{i}]" for i in range(len(self.p))]

    def sweep(self, optimizer: Optimizer, slots: int) -> str:
        """Write ``batch``, which adds up one batch's gradient, and ``sweep``, which steps."""
        source = HEADER.replace("UPDATE", optimizer.update.__name__)
        source += self._batch() + self._gather()
        source += JIT + (
            "def sweep(theta, slots, average, averaged, step, position, columns, weights,\n"
            "          blocks, within, tail, rows, sequential, size, rates, options,\n"
            "          average_from, ceiling, every, low, high, records):\n"
        )
        arrays = self._names("b")
        opening = [
            *self._arrays("c"),
            *self._thetas(),
            *(f"m{k}_{i} = slots[{k}, {i}]" for k in range(slots) for i in range(len(self.p))),
            *(f"{name} = numpy.empty({BUFFER})" for name in arrays),
            "loaded, end, taken, recorded, halted = 0, 0, 0, 0, False",
            "until = -1 if every == 0 else (every - step % every) % every",
            "while taken < len(rates) and position < rows:",
        ]
        source += _indented(opening, 1)
        source += _indented(self._step(slots, _settled(optimizer)), 2)
        closing = [
            *(f"theta[{i}] = {p}" for i, p in enumerate(self.p)),
            *(f"slots[{k}, {i}] = m{k}_{i}" for k in range(slots) for i in range(len(self.p))),
            "return averaged, step, position, recorded, halted",
        ]
        return source + _indented(closing, 1)

    def _names(self, prefix: str) -> list[str]:
        names = [f"{prefix}{i}" for i in range(self.columns)]
        return [*names, f"{prefix}w"] if self.weighted else names

    def _batch(self) -> str:
        """Write ``row``, the loss and gradient of one row, and ``batch``, their sums."""
        names = self._names("c")
        totals = ["t1", *self.g]
        part = ", ".join(f"q{i}" for i in range(len(totals)))
        weight = "w*" if self.weighted else ""
        gradient = "".join(f", d*j{i}" for i in range(len(self.p)))
        row = [*self._body("c", ""), f"d = {weight}slope", f"return {weight}loss{gradient}"]
        source = JIT + f"def row({', '.join([*self.p, *names])}):\n" + _indented(row, 1) + "\n\n"
        here = ", ".join([*self.p, *(f"{name}[i]" for name in names)])
        source += JIT + f"def batch({', '.join([*self.p, *names])}):\n"
        source += _indented([f"{total} = 0.0" for total in totals], 1)
        source += _indented(["for i in range(len(c0)):", f"    {part} = row({here})"], 1)
        source += _indented([f"{total} += q{i}" for i, total in enumerate(totals)], 2)
        return source + _indented([f"return {', '.join(totals)}"], 1) + "\n\n"

    def _gather(self) -> str:
        """Write ``gather``, which copies a buffer of rows into the order of their visit."""
        wide, buffers = ", ".join(self._names("c")), ", ".join(self._names("b"))
        names = [name[1:] for name in self._names("c")]
        head = f"def gather({wide}, {buffers}, blocks, within, tail, at, rows):\n"
        lines = [
            f"whole = {BLOCK}*len(blocks)",
            "if at < whole:",
            f"    first = at//{BUFFER}*{BUFFER}",
            f"    for j in range({PLACES}):",
            f"        r = blocks[first//{BLOCK} + j]",
            f"        to = within[{BLOCK}*j:{BLOCK}*(j + 1)]",
            *(f"        v{k} = c{k}[r:r + {BLOCK}]" for k in names),
            f"        for i in range({BLOCK}):",
            *(f"            b{k}[to[i]] = v{k}[i]" for k in names),
            f"    return first, first + {BUFFER}",
            f"first = whole + (at - whole)//{BUFFER}*{BUFFER}",
            f"last = min(first + {BUFFER}, rows)",
            "for i in range(last - first):",
            "    r = tail[first - whole + i]",
            *(f"    b{k}[i] = c{k}[r]" for k in names),
            "return first, last",
        ]
        return JIT + head + _indented(lines, 1) + "\n\n"

    def _step(self, slots: int, options: str) -> list[str]:
        """Write the body of the loop over steps."""
        p = ", ".join(self.p)
        part = ", ".join(f"q{i}" for i in range(len(self.p) + 1))
        totals = ["t1", *self.g]
        ahead = ", ".join(f"{name}[position:stop]" for name in self._names("c"))
        here = ", ".join(f"{name}[at - loaded:until_here - loaded]" for name in self._names("b"))
        wide, buffers = ", ".join(self._names("c")), ", ".join(self._names("b"))
        add = [f"{total} = {total} + q{i}" for i, total in enumerate(totals)]
        same = [f"{total} = q{i}" for i, total in enumerate(totals)]
        load = f"loaded, end = gather({wide}, {buffers}, blocks, within, tail, at, rows)"
        lines = [
            "stop = min(position + size, rows)",
            "if sequential and size == 1:",
            f"    {part} = row({p}, {', '.join(f'{name}[position]' for name in self._names('c'))})",
            *(f"    {line}" for line in same),
            "elif sequential:",
            f"    {part} = batch({p}, {ahead})",
            *(f"    {line}" for line in same),
            "elif size == 1:",
            "    at = position",
            "    if at < loaded or at >= end:",
            f"        {load}",
            "    at -= loaded",
            f"    {part} = row({p}, {', '.join(f'{name}[at]' for name in self._names('b'))})",
            *(f"    {line}" for line in same),
            "else:",
            *(f"    {total} = 0.0" for total in totals),
            "    at = position",
            "    while at < stop:",
            "        if at < loaded or at >= end:",
            f"            {load}",
            "        until_here = min(stop, end)",
            f"        {part} = batch({p}, {here})",
            *(f"        {line}" for line in add),
            "        at = until_here",
            "if size > 1:",
            "    scale = 1.0/(stop - position)",
            *(f"    {total} = {total}*scale" for total in totals),
            f"if not (t1 <= ceiling and math.isfinite({' + '.join(self.g)})):",
            "    halted = True",
            "    break",
            "rate = rates[taken]",
            "if until == 0:",
            "    records[recorded, 0] = step",
            "    records[recorded, 1] = rate",
            "    records[recorded, 2] = t1",
            *(f"    records[recorded, {3 + i}] = {name}" for i, name in enumerate(self.p + self.g)),
            "    recorded += 1",
            "    until = every",
            "until -= 1",
            "step += 1",
            "taken += 1",
        ]
        for i, (theta, gradient) in enumerate(zip(self.p, self.g, strict=True)):
            state = "(" + "".join(f"m{k}_{i}, " for k in range(slots)) + ")"
            lines.append(
                f"{theta}, {state} = update({theta}, {gradient}, {state}, rate, step, {options})"
            )
            if self.bounded:
                lines.append(f"{theta} = min(max({theta}, low[{i}]), high[{i}])")
        averaging = [f"average[{i}] += ({p} - average[{i}])/averaged" for i, p in enumerate(self.p)]
        lines += [
            "if average_from >= 0 and step > average_from:",
            "    averaged += 1",
            *(f"    {line}" for line in averaging),
            "position = stop if stop < rows or size < rows else 0",
        ]
        return lines
