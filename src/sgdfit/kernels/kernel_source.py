"""Writes the source of the compiled form.

Every parameter, gradient and optimizer slot is a local name, so that it lives in a register. The
templates below read like the programs that they make, with three signs of their own: a line with
``#P`` is written once for each parameter, ``#C`` for each array of columns (the weights are the
last), ``#S`` for each slot of the optimizer; ``«p#P»`` writes a list within a line; ``$row`` stands
for lines or a word that the caller fills in.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np

from sgdfit.kernels.kernel import emitted, held
from sgdfit.kernels.order import BLOCK, BUFFER, PLACES
from sgdfit.kernels.summation import BLOCK_ROWS, PANEL
from sgdfit.models.model import Model
from sgdfit.optimization.optimizer import Optimizer

__all__ = ["partials_source", "sweep_source"]

IMPORTS = """\
from sgdfit.kernels.prefetching import prefetch
from sgdfit.optimization import updates
"""
HEADER = """\
import math
import numpy
from numba import njit

# Products and sums may be fused, and sums over rows added up in any order. Nothing else: x - x
# would be 0 where x is NaN, which is how a domain error shows.
FUSED = {"contract"}
ANY_ORDER = {"contract", "reassoc", "nsz"}


@njit(error_model="numpy")
def _logistic(x):
    z = math.exp(-abs(x))
    return 1.0/(1.0 + z) if x >= 0.0 else z/(1.0 + z)


@njit(error_model="numpy")
def _logaddexp(x, y):
    return x + math.log(2.0) if x == y else max(x, y) + math.log1p(math.exp(-abs(x - y)))


@njit(error_model="numpy")
def _xlogy(x, y):
    return 0.0 if x == 0.0 else x*math.log(y)


"""

TERMS = """\
@njit(error_model="numpy", fastmath=FUSED)
def terms(«p#P», «c#C»):
    $row
    return $TERMS, «j#P»


"""

# An index that counts from 0 along a view needs no test for wrapping around, which would keep the
# loop out of vector registers. What adds up the blocks may not be reassociated: its second line
# would be zero.
SUMS = f"""\
@njit(nogil=True, error_model="numpy", fastmath=ANY_ORDER)
def block(«p#P», «c#C», total):
    t0 = 0.0
    t1 = 0.0
    g#P = 0.0
    h#H = 0.0
    for i in range(len(c0)):
        weight, loss, slope, bend, «j#P» = terms(«p#P», «c#C[i]»)
        t0 += weight
        t1 += loss
        g#P += slope*j#P
        b = $FACTOR
        $products
    $total


@njit(nogil=True, error_model="numpy")
def add(high, low, total):
    for k in range(len(total)):
        new = high[k] + total[k]
        taken = new - high[k]
        low[k] += (high[k] - (new - taken)) + (total[k] - taken)
        high[k] = new


@njit(cache=True, nogil=True, error_model="numpy")
def partials(theta, columns, out):
    c#C = columns[#C]
    p#P = theta[#P]
    total = numpy.zeros($SIZE)
    out[:] = 0.0
    for panel in range(len(out)):
        start = panel*{PANEL}
        for first in range(start, min(start + {PANEL}, len(c0)), {BLOCK_ROWS}):
            block(«p#P», «c#C[first:first + {BLOCK_ROWS}]», total)
            add(out[panel, 0], out[panel, 1], total)
"""

BATCH = """\
update = njit(error_model="numpy", fastmath=FUSED)(updates.$UPDATE)


@njit(nogil=True, error_model="numpy", fastmath=ANY_ORDER)
def batch(«p#P», «c#C»):
    t = 0.0
    g#P = 0.0
    for i in range(len(c0)):
        weight, loss, slope, bend, «j#P» = terms(«p#P», «c#C[i]»)
        t += loss
        g#P += slope*j#P
    return t, «g#P»


"""

# A line of the cache holds eight rows; a block that starts within a line reaches into a ninth.
# Four blocks ahead of a copy, and a whole buffer ahead of single rows, memory has answered in time.
ORDER = f"""\
@njit(nogil=True, error_model="numpy")
def request(«c#C», blocks, k):
    if k < len(blocks):
        for line in range(0, {BLOCK + 8}, 8):
            prefetch(c#C, blocks[k] + line)


@njit(nogil=True, error_model="numpy")
def gather(«c#C», «b#C», blocks, places, tail, at, rows):
    whole = {BLOCK}*len(blocks)
    if at < whole:
        first = at//{BUFFER}*{BUFFER}
        for k in range({PLACES}):
            request(«c#C», blocks, first//{BLOCK} + k + 4)
            r = blocks[first//{BLOCK} + k]
            to = places[{BLOCK}*k:{BLOCK}*(k + 1)]
            v#C = c#C[r:r + {BLOCK}]
            for i in range({BLOCK}):
                b#C[to[i]] = v#C[i]
        return first, first + {BUFFER}
    first = whole + (at - whole)//{BUFFER}*{BUFFER}
    last = min(first + {BUFFER}, rows)
    for i in range(last - first):
        r = tail[first - whole + i]
        b#C[i] = c#C[r]
    return first, last


"""

SWEEP = f"""\
@njit(cache=True, nogil=True, error_model="numpy", fastmath=FUSED)
def sweep(theta, slots, average, averaged, step, position, columns,
          blocks, within, tail, rows, sequential, size, rates, options,
          average_from, ceiling, every, low, high, records):
    c#C = columns[#C]
    p#P = theta[#P]
    m#S_#P = slots[#S, #P]
    b#C = numpy.empty({BUFFER})
    places = numpy.empty_like(within)
    for i in range(len(within)):
        places[within[i]] = i
    whole = {BLOCK}*len(blocks)
    loaded, end, taken, recorded, halted = 0, 0, 0, 0, False
    until = -step % every if every > 0 else -1
    while taken < len(rates) and position < rows:
        stop = min(position + size, rows)
        if size == 1:
            r = position
            if not sequential and r >= whole:
                r = tail[r - whole]
            elif not sequential:
                if r % {BLOCK} == 0:
                    request(«c#C», blocks, r//{BLOCK} + {PLACES})
                k = within[r % {BUFFER}]
                r = blocks[r//{BUFFER}*{PLACES} + k//{BLOCK}] + k % {BLOCK}
            weight, t, slope, bend, «j#P» = terms(«p#P», «c#C[r]»)
            g#P = slope*j#P
        elif sequential:
            t, «g#P» = batch(«p#P», «c#C[position:stop]»)
        else:
            t = 0.0
            g#P = 0.0
            at = position
            while at < stop:
                if at < loaded or at >= end:
                    loaded, end = gather(«c#C», «b#C», blocks, places, tail, at, rows)
                to = min(stop, end)
                q, «q#P» = batch(«p#P», «b#C[at - loaded:to - loaded]»)
                t = t + q
                g#P = g#P + q#P
                at = to
        if size > 1:
            share = 1.0/(stop - position)
            t = t*share
            g#P = g#P*share
        rate = rates[taken]
        n#P, («n#S_#P»,) = update(p#P, g#P, («m#S_#P»,), rate, step + 1, ($OPTIONS,))
        if not (t <= ceiling and math.isfinite($FINITE)):
            halted = True
            break
        if until == 0:
            records[recorded, 0] = step
            records[recorded, 1] = rate
            records[recorded, 2] = t
            records[recorded, 3 + #P] = p#P
            records[recorded, $PARAMETERS + 3 + #P] = g#P
            recorded += 1
            until = every
        until -= 1
        step += 1
        taken += 1
        position = stop if stop < rows or size < rows else 0
        p#P = $BOUNDED
        m#S_#P = n#S_#P
        if average_from >= 0 and step > average_from:
            averaged += 1
            average[#P] += (p#P - average[#P])/averaged
    theta[#P] = p#P
    slots[#S, #P] = m#S_#P
    return averaged, step, position, recorded, halted
"""


def partials_source(model: Model, weighted: bool, scores: bool = False) -> str:
    """Write ``partials``; with ``scores``, squares of the slopes stand in front of J Jᵀ."""
    pairs = list(itertools.combinations_with_replacement(range(len(model.free)), 2))
    names = ["t0", "t1", *(f"g{i}" for i in range(len(model.free)))]
    names += [f"h{i}_{j}" for i, j in pairs]
    texts = _row(model, weighted) | {
        "SIZE": [str(len(names))],
        "FACTOR": ["slope*slope" if scores else "bend"],
        "products": [f"h{i}_{j} += b*j{i}*j{j}" for i, j in pairs],
        "total": [f"total[{k}] = {name}" for k, name in enumerate(names)],
    }
    repeats = _repeats(model, weighted) | {"H": [f"{i}_{j}" for i, j in pairs]}
    return HEADER + _written(TERMS + SUMS, texts, repeats)


def sweep_source(model: Model, weighted: bool, optimizer: Optimizer) -> str:
    """Write ``sweep`` and what it calls."""
    slots = len(optimizer.init(np.zeros(1), optimizer.options))
    repeats = _repeats(model, weighted) | {"S": [str(k) for k in range(slots)]}
    bounded = "low[#P] if n#P < low[#P] else high[#P] if n#P > high[#P] else n#P"
    texts = _row(model, weighted) | {
        "UPDATE": [optimizer.update.__name__],
        "OPTIONS": [_settled(optimizer)],
        "FINITE": [" + ".join(f"n{i}" for i in range(len(model.free)))],
        "PARAMETERS": [str(len(model.free))],
        "BOUNDED": [bounded if _has_bounds(model) else "n#P"],
    }
    header = HEADER.replace("import njit\n", f"import njit\n{IMPORTS}")
    return header + _written(TERMS + BATCH + ORDER + SWEEP, texts, repeats)


def _row(model: Model, weighted: bool) -> dict[str, list[str]]:
    """Return the lines that compute the terms of one row, and the terms, weighted."""
    row, loss = emitted(model, "compiled", held(model))
    read = [f"x{i} = float(c{i})" for i in range(len(model.columns))]
    weight = [f"w = float(c{len(read)})"] if weighted else []
    terms = "w, w*loss, w*slope, w*bend" if weighted else "1.0, loss, slope, bend"
    return {"row": [*read, *weight, *row, *loss], "TERMS": [terms]}


def _repeats(model: Model, weighted: bool) -> dict[str, list[str]]:
    return {
        "P": [str(i) for i in range(len(model.free))],
        "C": [str(i) for i in range(len(model.columns) + weighted)],
    }


def _has_bounds(model: Model) -> bool:
    bounds = [(model.parameters[name].low, model.parameters[name].high) for name in model.free]
    return bool(np.isfinite(bounds).any())


def _settled(optimizer: Optimizer) -> str:
    """Write the options; those that are 0 or 1 literally, so that branches fall away."""
    return ", ".join(
        repr(float(value)) if value in (0, 1) else f"options[{k}]"
        for k, value in enumerate(optimizer.options)
    )


def _written(
    template: str, texts: Mapping[str, list[str]], repeats: Mapping[str, Sequence[str]]
) -> str:
    """Fill in a template: first the texts, then the repetitions."""
    lines: list[str] = []
    for line in template.splitlines():
        stem = line.lstrip()
        if stem.startswith("$"):
            lines += [line[: -len(stem)] + text for text in texts[stem[1:]]]
        else:
            lines.append(re.sub(r"\$(\w+)", lambda found: texts[found[1]][0], line))
    return "".join(f"{text}\n" for line in lines for text in _repeated(line, repeats))


def _repeated(line: str, repeats: Mapping[str, Sequence[str]]) -> list[str]:
    """Write a line once for each value of the marks outside its lists, then its lists."""
    marks = dict.fromkeys(re.findall(r"#([A-Z])", re.sub(r"«.*?»", "", line)))
    lines = [line]
    for mark in marks:
        lines = [text.replace(f"#{mark}", value) for text in lines for value in repeats[mark]]
    return [re.sub(r"«(.*?)»", lambda found: _list(found[1], repeats), text) for text in lines]


def _list(item: str, repeats: Mapping[str, Sequence[str]]) -> str:
    (mark,) = dict.fromkeys(re.findall(r"#([A-Z])", item))
    return ", ".join(item.replace(f"#{mark}", value) for value in repeats[mark])
