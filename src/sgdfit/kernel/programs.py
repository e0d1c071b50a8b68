"""The templates that the compiled form is written from.

`sgdfit.kernel.template` explains their signs. ``#P`` stands for each parameter, ``#C`` for each
array of columns (the weights are the last), ``#S`` for each slot of the optimizer and ``#H`` for
each entry of the curvature.
"""

from sgdfit.kernel.order import BLOCK, BUFFER, PLACES, STRETCH
from sgdfit.kernel.summation import BLOCK_ROWS, PANEL

__all__ = [
    "BATCH",
    "BATCH_AGAIN",
    "HEADER",
    "IMPORTS",
    "ORDER",
    "PARTIALS",
    "ROWS",
    "SUMS",
    "SUMS_AGAIN",
    "SWEEP",
    "TERMS",
]

# Blocks in a stretch, and in the stretches that are open at a time.
PARTS = STRETCH // BLOCK
OPEN = PLACES * PARTS

IMPORTS = """\
from sgdfit.kernel.prefetching import prefetch, prefetch_early
from sgdfit.optimizers import updates
"""
HEADER = """\
import math
import numpy
from numba import njit
from sgdfit.kernel import elementary, library

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

# A loop over rows is in vector registers where all that it calls is. Where that is not sure to be
# right for every row (see `_Lines`), sums that are not finite are made again, by surer terms.
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
    quick_sums(«p#P», «c#C», total)
    if not math.isfinite(total.sum()):
        sure_sums(«p#P», «c#C», total)


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
    t, «g#P» = quick_batch(«p#P», «c#C», first, last)
    if not math.isfinite($GRADIENT):
        t, «g#P» = sure_batch(«p#P», «c#C», first, last)
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

SWEEP = f"""\
update = njit(**INNER, fastmath=FUSED)(updates.$UPDATE)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FUSED)
def sweep(theta, slots, average, averaged, step, position, columns,
          blocks, within, tail, rows, sequential, size, rates, options,
          average_from, ceiling, every, low, high, records):
    c#C = columns[#C]
    p#P = theta[#P]
    m#S_#P = slots[#S, #P]
    b#C = numpy.empty({BUFFER})
    e#E = numpy.empty({BUFFER})
    places = numpy.empty_like(within)
    for i in range(len(within)):
        places[within[i]] = i
    loaded, end, taken, recorded, halted = 0, 0, 0, 0, False
    until = -step % every if every > 0 else -1
    while taken < len(rates) and position < rows:
        stop = min(position + size, rows)
        $rows
        rate = rates[taken]
        n#P, («n#S_#P»,) = update(p#P, $DIRECTION, («m#S_#P»,), $RATE, step + 1, ($OPTIONS,))
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
