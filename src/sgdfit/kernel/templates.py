"""Writes the source of the compiled form, from templates that read like the programs they make.

Every parameter, gradient and optimizer slot is a local name, so that it lives in a register. In
the templates a line with ``#P`` is written once for each of the P's, ``«p#P»`` writes such a list
within a line, and ``$row`` stands for lines or a word that the caller gives. ``#P`` stands for each
parameter, ``#C`` for each array of columns (the weights are the last), ``#S`` for each slot of the
optimizer and ``#H`` for each entry of the curvature.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from sgdfit.formula.functions import FUNCTIONS
from sgdfit.formula.real import Where, Xlogy
from sgdfit.kernel.emission import Dialect, emitted
from sgdfit.kernel.instructions import fuses
from sgdfit.kernel.order import BLOCK, BUFFER, PLACES, STRETCH
from sgdfit.kernel.summation import BLOCK_ROWS, PANEL
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer

Parts = list[tuple[str, dict[str, list[str]]]]

# Functions whose fast form has a limit (`sgdfit.kernel.elementary.LARGEST_ANGLE`), and what may
# hide the NaN that they say beyond it.
ANGLES = ("sin", "cos", "tan", "cot")
HIDING = (Where, Xlogy, sympy.Piecewise)

# Blocks in a stretch, and in the stretches that are open at a time.
PARTS = STRETCH // BLOCK
OPEN = PLACES * PARTS

IMPORTS = """\
from sgdfit.kernel.instructions import prefetch, prefetch_early
from sgdfit import optimizers
"""
HEADER = """\
import math
import numpy
from numba import njit
from sgdfit.kernel import elementary

# Products and sums may be fused, and sums over rows added up in any order. Nothing else: x - x
# would be 0 where x is NaN, which is how a domain error shows.
FUSED = {"contract"}
ANY_ORDER = {"contract", "reassoc", "nsz"}
# What Python never calls is compiled without the means to.
INNER = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


"""

TERMS = """\
@njit(**INNER, fastmath=FUSED, forceinline=True)
def $TERMS(«p#P», «c#C»):
    $row
    return $VALUES, «j#P»


"""

# A loop over rows is in vector registers where all that it calls is. Where that does not know the
# value of every row (see `_dialects`), sums that are not finite are made again by the library of C.
# An index that counts from 0 along a view needs no test for wrapping around, which would keep the
# loop out of vector registers. What adds up the blocks may not be reassociated: its second line
# would be zero.
SUMS = """\
@njit(**INNER, fastmath=ANY_ORDER)
def $SUMS(«p#P», «c#C», total):
    t0 = 0.0
    t1 = 0.0
    g#P = 0.0
    h#H = 0.0
    for i in range(len(c0)):
        weight, loss, slope, bend, «j#P» = $TERMS(«p#P», «c#C[i]»)
        t0 += weight
        t1 += loss
        g#P += slope*j#P
        b = $FACTOR
        $products
    $total


"""
SUMS_AGAIN = """\
@njit(**INNER, fastmath=False)
def sums(«p#P», «c#C», total):
    fast_sums(«p#P», «c#C», total)
    if not math.isfinite(total.sum()):
        libm_sums(«p#P», «c#C», total)


"""

PARTIALS = f"""\
@njit(**INNER, fastmath=False)
def add(high, low, total):
    for k in range(len(total)):
        new = high[k] + total[k]
        taken = new - high[k]
        low[k] += (high[k] - (new - taken)) + (total[k] - taken)
        high[k] = new


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def partials(theta, columns, out):
    c#C = columns[#C]
    p#P = theta[#P]
    total = numpy.zeros($SIZE)
    out[:] = 0.0
    for panel in range(len(out)):
        start = panel*{PANEL}
        for first in range(start, min(start + {PANEL}, len(c0)), {BLOCK_ROWS}):
            sums(«p#P», «c#C[first:first + {BLOCK_ROWS}]», total)
            add(out[panel, 0], out[panel, 1], total)
"""

BATCH = """\
@njit(**INNER, fastmath=ANY_ORDER)
def $BATCH(«p#P», «c#C», first, last):
    v#C = c#C[first:last]
    t = 0.0
    g#P = 0.0
    for i in range(len(v0)):
        weight, loss, slope, bend, «j#P» = $TERMS(«p#P», «v#C[i]»)
        t += loss
        g#P += slope*j#P
    return t, «g#P»


"""
BATCH_AGAIN = """\
@njit(**INNER, fastmath=False)
def batch(«p#P», «c#C», first, last):
    t, «g#P» = fast_batch(«p#P», «c#C», first, last)
    if not math.isfinite($GRADIENT):
        t, «g#P» = libm_batch(«p#P», «c#C», first, last)
    return t, «g#P»


"""

# A line of the cache holds eight rows; a block that starts within a line reaches into a ninth.
# Memory gives whole stretches quickest. So while the blocks of 16 stretches are visited, those of
# the next 16 are asked for, one stretch after another; what is due soon goes on to the first cache.
ORDER = f"""\
@njit(**INNER, fastmath=False)
def request(«c#C», blocks, k, soon):
    early = (k//{OPEN} + 1)*{OPEN} + k%{PARTS}*{PLACES} + k%{OPEN}//{PARTS}
    if early < len(blocks):
        for line in range(0, {BLOCK + 8}, 8):
            prefetch_early(c#C, blocks[early] + line)
    if k + soon < len(blocks):
        for line in range(0, {BLOCK + 8}, 8):
            prefetch(c#C, blocks[k + soon] + line)


@njit(**INNER, fastmath=False)
def gather(«c#C», «b#C», blocks, places, tail, at, rows):
    whole = {BLOCK}*len(blocks)
    if at < whole:
        first = at//{BUFFER}*{BUFFER}
        for k in range({PLACES}):
            request(«c#C», blocks, first//{BLOCK} + k, 2)
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

# A batch of rows, which a buffer has first where they are shuffled.
ROWS = """\
if sequential:
    t, «g#P» = batch(«p#P», «c#C», position, stop)
else:
    t = 0.0
    g#P = 0.0
    at = position
    while at < stop:
        if at < loaded or at >= end:
            loaded, end = gather(«c#C», «b#C», blocks, places, tail, at, rows)
        to = min(stop, end)
        q, «q#P» = batch(«p#P», «b#C», at - loaded, to - loaded)
        t = t + q
        g#P = g#P + q#P
        at = to
share = 1.0/(stop - position)
t = t*share
g#P = g#P*share
"""

# A batch of one row. Each step waits for the one before: what counts is the time from the
# parameters to the gradient, and for a single value the library of C is soonest.
COPY = """\
@njit(**INNER, fastmath=False)
def copy(column, out):
    for i in range(len(column)):
        out[i] = column[i]


"""
ROW = f"""\
if position < loaded or position >= end:
    if sequential:
        loaded = position//{BUFFER}*{BUFFER}
        end = min(loaded + {BUFFER}, rows)
        copy(c#C[loaded:end], b#C)
    else:
        loaded, end = gather(«c#C», «b#C», blocks, places, tail, position, rows)
_, t, slope, _, «j#P» = libm_terms(«p#P», «b#C[position - loaded]»)
g#P = slope*j#P
"""

SWEEP = f"""\
update = njit(**INNER, fastmath=FUSED)(optimizers.$UPDATE)


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
    loaded, end, taken, recorded, halted = 0, 0, 0, 0, False
    until = -step % every if every > 0 else -1
    while taken < len(rates) and position < rows:
        stop = min(position + size, rows)
        $rows
        rate = rates[taken]
        n#P, («n#S_#P»,) = update(p#P, g#P, («m#S_#P»,), rate, step + 1, ($OPTIONS,))
        if not (t <= ceiling and math.isfinite($FINITE)):
            halted = True
            break
        if until == 0:
            record = records[recorded]
            record[0] = step
            record[1] = rate
            record[2] = t
            record[3 + #P] = p#P
            record[$PARAMETERS + 3 + #P] = g#P
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
    texts = {
        "SIZE": [str(len(names))],
        "FACTOR": ["slope*slope" if scores else "bend"],
        "products": [f"h{i}_{j} += b*j{i}*j{j}" for i, j in pairs],
        "total": [f"total[{k}] = {name}" for k, name in enumerate(names)],
    }
    repeats = _repeats(model, weighted) | {"H": [f"{i}_{j}" for i, j in pairs]}
    loops = _loops(model, weighted, "sums", SUMS, SUMS_AGAIN)
    return HEADER + _written([*loops, (PARTIALS, {})], texts, repeats)


def sweep_source(model: Model, weighted: bool, optimizer: Optimizer, *, single: bool) -> str:
    """Write ``sweep`` for batches of one row, or for those of more, and what it calls."""
    if single:
        parts: Parts = [_terms(model, weighted, "libm"), (COPY, {})]
    else:
        parts = _loops(model, weighted, "batch", BATCH, BATCH_AGAIN)
    slots = len(optimizer.init(np.zeros(1), optimizer.options))
    bounded = "low[#P] if n#P < low[#P] else high[#P] if n#P > high[#P] else n#P"
    texts = {
        "GRADIENT": [" + ".join(["t", *(f"g{i}" for i in range(len(model.free)))])],
        "UPDATE": [optimizer.update.__name__],
        "OPTIONS": [_settled(optimizer)],
        "FINITE": [" + ".join(f"n{i}" for i in range(len(model.free)))],
        "PARAMETERS": [str(len(model.free))],
        "BOUNDED": [bounded if _has_bounds(model) else "n#P"],
        "rows": (ROW if single else ROWS).splitlines(),
    }
    repeats = _repeats(model, weighted) | {"S": [str(k) for k in range(slots)]}
    header = HEADER.replace("import njit\n", f"import njit\n{IMPORTS}")
    return header + _written([(ORDER, {}), *parts, (SWEEP, {})], texts, repeats)


def _loops(model: Model, weighted: bool, name: str, template: str, again: str) -> Parts:
    """Return the parts that make the loop ``name``, each with what it is filled with."""
    parts: Parts = []
    dialects = _dialects(model)
    for dialect in dialects:
        called = name if len(dialects) == 1 else f"{dialect}_{name}"
        loop = {name.upper(): [called], "TERMS": [f"{dialect}_terms"]}
        parts += [_terms(model, weighted, dialect), (template, loop)]
    return parts if len(dialects) == 1 else [*parts, (again, {})]


def _terms(model: Model, weighted: bool, dialect: Dialect) -> tuple[str, dict[str, list[str]]]:
    """Return the part that computes the terms of one row."""
    names = [*(f"x{i}" for i in range(len(model.columns))), *(["w"] if weighted else [])]
    read = [f"{name} = numpy.float64(c{i})" for i, name in enumerate(names)]
    row, loss = emitted(model, dialect)
    values = "w, w*loss, w*slope, w*bend" if weighted else "1.0, loss, slope, bend"
    return TERMS, {"TERMS": [f"{dialect}_terms"], "row": [*read, *row, *loss], "VALUES": [values]}


def _dialects(model: Model) -> tuple[Dialect, ...]:
    """Return the dialects to compute rows in; the second where the first does not know a value."""
    expressions = [model.prediction, model.formula.response]
    if not (fuses() and all(map(_is_shown, expressions))):
        return ("libm",)
    row, loss = emitted(model, "fast")
    limited = any(f"elementary.{name}(" in line for name in ANGLES for line in [*row, *loss])
    return ("fast", "libm") if limited else ("fast",)


def _is_shown(expression: Any) -> bool:
    """Return whether NaN from a function of `ANGLES` makes the whole expression NaN."""
    for part in sympy.preorder_traversal(expression):
        hides = isinstance(part, HIDING) or (part.is_Pow and not part.exp.is_number)
        if hides and part.has(*(FUNCTIONS[name].symbolic for name in ANGLES)):
            return False
    return True


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
    parts: Parts, texts: dict[str, list[str]], repeats: Mapping[str, Sequence[str]]
) -> str:
    return "".join(filled(template, texts | own, repeats) for template, own in parts)


def filled(
    template: str, texts: Mapping[str, list[str]], repeats: Mapping[str, Sequence[str]]
) -> str:
    """Fill in a template: first the texts, then the repetitions.

    Parameters
    ----------
    template : str
    texts : mapping of str to list of str
        What stands for each ``$`` name: lines where it stands alone, else the first of them.
    repeats : mapping of str to sequence of str
        What stands for each letter after ``#``.

    Examples
    --------
    >>> filled("y = $first*«x#P»", {"first": ["f"]}, {"P": "01"}).strip()
    'y = f*x0, x1'
    """
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
