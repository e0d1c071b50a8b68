"""Writes the source of the compiled form, from templates that read like the programs they make.

Every parameter, gradient and optimizer slot is a local name, so that it lives in a register. In
the templates a line with ``#P`` is written once for each of the P's, ``«p#P»`` writes such a list
within a line, and ``$row`` stands for a text that the caller gives. ``#P`` stands for each
parameter, ``#Q`` for these and for the scale of the residuals where the loss has one, ``#C`` for
each array of columns (the weights are the last), ``#S`` for each slot of the optimizer and ``#H``
for each entry of the curvature.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np
import sympy

from sgdfit.formula.functions import FUNCTIONS
from sgdfit.formula.real import Where, Xlogy
from sgdfit.kernel.emission import Dialect, emit_model, expressions_of
from sgdfit.kernel.instructions import fuses
from sgdfit.kernel.shuffle import BLOCK, BUFFER, PLACES, STRETCH
from sgdfit.kernel.summation import BLOCK_ROWS, PANEL, length
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer

# Functions whose fast form has a limit (`sgdfit.kernel.elementary.LARGEST_ANGLE`), and what may
# hide the NaN that they say beyond it.
ANGLES = tuple(FUNCTIONS[name].symbolic for name in ("sin", "cos", "tan", "cot"))
HIDING = (Where, Xlogy, sympy.Piecewise)

# Up to so many parameters all products of two are written out; of more, rows are taken by tiles,
# whose slopes stay in the cache.
FEW, TILE = 12, 256

# Blocks in a stretch, and in the stretches that are open at a time.
PARTS = STRETCH // BLOCK
OPEN = PLACES * PARTS

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
def terms(«p#Q», «c#C»):
    $row
    return $values, «j#P»


"""

# A loop over rows is in vector registers where all that it calls is. An index that counts from 0
# along a view needs no test for wrapping around, which would keep the loop out of them. What adds
# up the blocks may not be reassociated: its second line would be zero.
SUMS = """\
@njit(**INNER, fastmath=ANY_ORDER)
def sums(«p#Q», «c#C», total):
    total[:] = 0.0
    t0 = 0.0
    t1 = 0.0
    g#P = 0.0
    h#H = 0.0
    for i in range(len(c0)):
        weight, loss, grad, hess, «j#P» = terms(«p#Q», «c#C[i]»)
        t0 += weight
        t1 += loss
        g#P += grad*j#P
        b = $factor
        $products
    $total


"""

# The same where products of pairs are too many to write out: with 61 parameters that took a minute
# to compile.
MANY_SUMS = f"""\
@njit(**INNER, fastmath=ANY_ORDER)
def sums(«p#Q», «c#C», total):
    total[:] = 0.0
    slopes, bent = numpy.empty(($parameters, {TILE})), numpy.empty((2, {TILE}))
    for first in range(0, len(c0), {TILE}):
        v#C = c#C[first:first + {TILE}]
        t0 = 0.0
        t1 = 0.0
        g#P = 0.0
        for i in range(len(v0)):
            weight, loss, grad, hess, «j#P» = terms(«p#Q», «v#C[i]»)
            t0 += weight
            t1 += loss
            g#P += grad*j#P
            slopes[#P, i] = j#P
            bent[0, i] = $factor
        $total
        k = 2 + $parameters
        for one in range($parameters):
            for i in range(len(v0)):
                bent[1, i] = bent[0, i]*slopes[one, i]
            for other in range(one, $parameters):
                h = 0.0
                for i in range(len(v0)):
                    h += bent[1, i]*slopes[other, i]
                total[k] += h
                k += 1


"""

PANEL_SUMS = f"""\
@njit(**INNER, fastmath=False)
def add(high, low, total):
    for k in range(len(total)):
        new = high[k] + total[k]
        taken = new - high[k]
        low[k] += (high[k] - (new - taken)) + (total[k] - taken)
        high[k] = new


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def panel_sums(theta, columns, out):
    c#C = columns[#C]
    p#Q = theta[#Q]
    total = numpy.zeros($size)
    out[:] = 0.0
    for panel in range(len(out)):
        start = panel*{PANEL}
        for first in range(start, min(start + {PANEL}, len(c0)), {BLOCK_ROWS}):
            sums(«p#Q», «c#C[first:first + {BLOCK_ROWS}]», total)
            add(out[panel, 0], out[panel, 1], total)
"""

BATCH = """\
@njit(**INNER, fastmath=ANY_ORDER)
def batch(«p#Q», «c#C», first, last):
    v#C = c#C[first:last]
    t = 0.0
    g#P = 0.0
    for i in range(len(v0)):
        weight, loss, grad, hess, «j#P» = terms(«p#Q», «v#C[i]»)
        t += loss
        g#P += grad*j#P
    return t, «g#P»


"""

# A line of the cache holds eight rows; a block that starts within a line reaches into a ninth.
# Memory gives whole stretches quickest. So while the blocks of 16 stretches are visited, those of
# the next 16 are asked for, one stretch after another (2e7 rows, batches of 64: 1.2 ns a row, 2.2
# without; asking for what is due at once as well: 1.5).
GATHER = f"""\
from sgdfit.kernel.instructions import prefetch


@njit(**INNER, fastmath=False)
def gather(«c#C», «b#C», blocks, places, tail, sequential, at, rows):
    whole = {BLOCK}*len(blocks)
    first = at//{BUFFER}*{BUFFER}
    last = min(first + {BUFFER}, rows)
    if at < whole:
        for k in range(first//{BLOCK}, last//{BLOCK}):
            early = (k//{OPEN} + 1)*{OPEN} + k%{PARTS}*{PLACES} + k%{OPEN}//{PARTS}
            if early < len(blocks):
                for line in range(0, {BLOCK + 8}, 8):
                    prefetch(c#C, blocks[early] + line)
            r = blocks[k]
            to = places[{BLOCK}*k - first:{BLOCK}*(k + 1) - first]
            v#C = c#C[r:r + {BLOCK}]
            for i in range({BLOCK}):
                b#C[to[i]] = v#C[i]
    else:
        for i in range(last - first):
            r = first + i if sequential else tail[first - whole + i]
            b#C[i] = c#C[r]
    return first, last


"""

# A batch of rows, which a buffer has first where they are shuffled.
ROWS = """\
if sequential:
    t, «g#P» = batch(«p#Q», «c#C», position, stop)
else:
    t = 0.0
    g#P = 0.0
    at = position
    while at < stop:
        if at < loaded or at >= end:
            loaded, end = gather(«c#C», «b#C», blocks, places, tail, sequential, at, rows)
        to = min(stop, end)
        q, «q#P» = batch(«p#Q», «b#C», at - loaded, to - loaded)
        t = t + q
        g#P = g#P + q#P
        at = to
share = 1.0/(stop - position)
t = t*share
g#P = g#P*share"""

# A batch of one row. Each step waits for the one before: what counts is the time from the
# parameters to the gradient, and for a single value the library of C is soonest (5.0 ns a row of
# a line, 15 of an exponential; by ROWS 10.7 and 39).
ROW = """\
if position < loaded or position >= end:
    loaded, end = gather(«c#C», «b#C», blocks, places, tail, sequential, position, rows)
_, t, grad, _, «j#P» = terms(«p#Q», «b#C[position - loaded]»)
g#P = grad*j#P"""

SWEEP = f"""\
from sgdfit import optimizers

update = njit(**INNER, fastmath=FUSED)(optimizers.$update)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FUSED)
def sweep(theta, slots, average, averaged, step, position, columns,
          blocks, places, tail, rows, sequential, size, rates, options,
          average_from, ceiling, every, low, high, records):
    c#C = columns[#C]
    p#Q = theta[#Q]
    m#S_#P = slots[#S, #P]
    b#C = numpy.empty({BUFFER})
    loaded, end, taken, recorded, halted = 0, 0, 0, 0, False
    until = -step % every if every > 0 else -1
    while taken < len(rates) and position < rows:
        stop = min(position + size, rows)
        $batch
        rate = rates[taken]
        n#P, («n#S_#P»,) = update(p#P, g#P, («m#S_#P»,), rate, step + 1, ($options,))
        if not (t <= ceiling and math.isfinite($finite)):
            halted = True
            break
        if until == 0:
            record = records[recorded]
            record[0] = step
            record[1] = rate
            record[2] = t
            record[3 + #P] = p#P
            record[$parameters + 3 + #P] = g#P
            recorded += 1
            until = every
        until -= 1
        step += 1
        taken += 1
        position = stop if stop < rows or size < rows else 0
        p#P = $bounded
        m#S_#P = n#S_#P
        if average_from >= 0 and step > average_from:
            averaged += 1
            average[#P] += (p#P - average[#P])/averaged
    theta[#P] = p#P
    slots[#S, #P] = m#S_#P
    return averaged, step, position, recorded, halted
"""

GROUPED = """\
from sgdfit.formula.limits import WIDTHS
from sgdfit.kernel.levenberg import (
    EPS, LEAST_DAMPING, MOST_DAMPING, MOST_STEPS, NEAR, NUDGE, ROUNDING, SINGULAR, SLOW, TOLERANCE,
    assign, cholesky, is_finite, move, off_bounds, place, serial_correlation, solve,
)

LONGEST = WIDTHS[0]


@njit(**INNER, fastmath=FUSED)
def row(«p#P», «c#C»):
    $bare
    return $weight, prediction, target, «j#P»


@njit(**INNER, fastmath=False)
def limit(slope, theta, k, «c#C»):
    # Of a slope whose formula is no number: 0 where the curve stays as it is on either side
    # (`sgdfit.formula.limits`); any other is left for `fit` to find.
    here, at = row(«theta[#P]», «c#C»)[1], theta[k]
    way = LONGEST*(abs(at) if at != 0.0 else 1.0)
    theta[k] = at + way
    above = row(«theta[#P]», «c#C»)[1]
    theta[k] = at - way
    below = row(«theta[#P]», «c#C»)[1]
    theta[k] = at
    return 0.0 if above == here and below == here else slope


@njit(**INNER, fastmath=False, forceinline=True)
def sums_of(theta, columns, first, last, total):
    p#P = theta[#P]
    sums(«p#P», «columns[#C][first:last]», total)


@njit(**INNER, fastmath=False)
def rows_of(theta, columns, first, last):
    p#P = theta[#P]
    c#C = columns[#C][first:last]
    residuals, jacobian = numpy.empty(len(c0)), numpy.empty(($parameters, len(c0)))
    keys = numpy.empty(($variables + 1, len(c0)))
    targets, shares = numpy.empty(len(c0)), numpy.empty(len(c0))
    whole, mean, square = 0.0, 0.0, 0.0
    for i in range(len(c0)):
        weight, prediction, targets[i], «j#P» = row(«p#P», «c#C[i]»)
        shares[i] = math.sqrt(weight)
        residuals[i] = shares[i]*(targets[i] - prediction)
        j#P = j#P if math.isfinite(j#P) else limit(j#P, theta, #P, «c#C[i]»)
        jacobian[#P, i] = shares[i]*j#P
        keys[#V, i] = c#V[i]
        keys[$variables, i] = prediction
        whole += weight
        mean += weight*targets[i]
        square += weight*targets[i]*targets[i]
    apart = shares*(targets - mean/whole)
    # NaN where a slope is no number.
    return residuals, jacobian, keys, (apart*apart).sum() + 0.0*jacobian.sum(), square


@njit(**INNER, fastmath=False, forceinline=True)
def solve_linear(
    theta, columns, first, last, linear, low, high, total, root, scale, step, trial, only_loss
):
    # To where the linear parameters fit best, if they are determined; the loss there. ``total``
    # holds the sums there, unless that is ``only_loss``: it is quadratic in these parameters.
    sums_of(theta, columns, first, last, total)
    if len(linear) and cholesky(total, linear, 0.0, root, scale) > SINGULAR:
        lowest = total[1] - 0.5*solve(total[2:], linear, root, scale, step)
        held = move(theta, linear, step, low, high, trial)
        if only_loss and not held:
            return lowest
        assign(theta, trial)
        sums_of(theta, columns, first, last, total)
    return total[1]


@njit(**INNER, fastmath=False)
def bend(theta, columns, first, last, chosen, nudges, bent, sums, trial):
    # Set the curvature to that of the loss itself, by central differences of its gradient.
    bent[2 + $parameters:] = 0.0
    for i in range(len(chosen)):
        a, trial[:] = chosen[i], theta
        for way in (1.0, -1.0):
            trial[a] = theta[a] + way*nudges[i]
            sums_of(trial, columns, first, last, sums)
            for b in chosen:
                share = way*sums[2 + b]/(4.0*nudges[i])
                bent[place(a, b, $parameters)] += share + share if a == b else share


@njit(**INNER, fastmath=False)
def walk(
    theta, columns, first, last, solved, low, high, total, after, bent, root, scale, step, trial,
    spare,
):
    # From where ``total`` holds the sums to a minimum at which it does so; the distance left.
    # Parameters that are ``solved`` follow every step to where they fit best, which keeps to the
    # floor of a valley.
    rows, damping, distance = last - first, 0.0, math.inf
    everything = numpy.arange(len(theta))
    bounded = numpy.isfinite(low).any() or numpy.isfinite(high).any()
    for _ in range(MOST_STEPS):
        if not is_finite(total):
            return math.inf
        before, chosen, curvature = distance, everything, total
        if bounded:
            chosen = off_bounds(theta, total, low, high)
        distance, count = math.inf, len(chosen)
        if cholesky(total, chosen, 0.0, root, scale) > 0.0:
            square = solve(total[2:], chosen, root, scale, step)
            noise = (2.0*total[1] - square)/max(1, rows - count)
            distance = math.sqrt(square/count/noise) if noise > 0.0 and count else math.inf
            if TOLERANCE < distance < 1.0 and distance > SLOW*before:
                # Gauss' and Newton's curvature leaves out what large residuals do.
                nudges = NUDGE*math.sqrt(noise)/scale
                bend(theta, columns, first, last, chosen, nudges, bent, after, trial)
                if cholesky(bent, chosen, 0.0, root, scale) > 0.0:
                    curvature = bent
                    solve(total[2:], chosen, root, scale, step)
        else:
            damping = max(damping, LEAST_DAMPING)
        if distance <= TOLERANCE:
            return distance
        allowed = total[1]*(1.0 + ROUNDING) if distance < NEAR else total[1]
        while True:
            if damping > 0.0:
                cholesky(curvature, chosen, damping, root, scale)
                solve(total[2:], chosen, root, scale, step)
            move(theta, chosen, step, low, high, trial)
            solve_linear(
                trial, columns, first, last, solved, low, high, after, root, scale, step, spare,
                False,
            )
            if after[1] <= allowed and is_finite(after):
                break
            damping = max(10.0*damping, LEAST_DAMPING)
            if damping > MOST_DAMPING:
                return distance
        damping = 0.1*damping if damping > LEAST_DAMPING else 0.0
        assign(theta, trial)
        assign(total, after)
    return distance


@njit(cache=True, nogil=True, error_model="numpy", fastmath=False)
def fit_groups(
    columns, firsts, lasts, starts, followed, apart, linear, solved, low, high, thetas, covariances,
    facts,
):
    total, after = numpy.zeros($size), numpy.zeros($size)
    bent, kept = numpy.zeros($size), numpy.zeros($size)
    root, scale = numpy.zeros(($parameters, $parameters)), numpy.ones($parameters)
    step, trial = numpy.zeros($parameters), numpy.zeros($parameters)
    point, spare = numpy.zeros($parameters), numpy.zeros($parameters)
    losses = numpy.zeros(starts.shape[1])
    for group in range(len(thetas)):
        some = starts[group if len(starts) > 1 else 0]
        theta, first, last, distance = thetas[group], firsts[group], lasts[group], math.inf
        for k in range(len(some) if len(some) > 1 else 0):
            assign(point, some[k])
            losses[k] = solve_linear(
                point, columns, first, last, linear, low, high, total, root, scale, step, trial,
                True,
            )
            losses[k] = losses[k] if math.isfinite(losses[k]) else math.inf
        for k in range(followed):
            best = losses.argmin()
            losses[best - best % apart : best - best % apart + apart] = math.inf
            assign(point, some[best])
            solve_linear(
                point, columns, first, last, linear if len(some) > 1 else linear[:0], low, high,
                total, root, scale, step, trial, False,
            )
            left = walk(
                point, columns, first, last, solved, low, high, total, after, bent, root, scale,
                step, trial, spare,
            )
            if k == 0 or total[1] < kept[1]:
                assign(theta, point)
                assign(kept, total)
                distance = left
        losses[:] = 0.0
        chosen = off_bounds(theta, kept, low, high)
        pivot = cholesky(kept, chosen, 0.0, root, scale)
        covariances[group] = math.nan
        for i in range(len(chosen)):
            # Of JᵀJ, half the curvature.
            trial[:] = 0.0
            trial[chosen[i]] = -2.0
            solve(trial, chosen, root, scale, step)
            for j in range(len(chosen)):
                covariances[group, chosen[j], chosen[i]] = step[j]
        residuals, jacobian, keys, variation, square = rows_of(theta, columns, first, last)
        # What half a digit of each parameter, and of each number of the response, makes.
        rounding = math.sqrt(square)
        for i in range($parameters):
            square = 0.0
            for r in range(last - first):
                square += jacobian[i, r]*jacobian[i, r]
            rounding += abs(theta[i])*math.sqrt(square)
        if len(chosen) < $parameters:
            jacobian = jacobian[chosen]
        beyond = serial_correlation(residuals, jacobian, keys, root, scale)
        facts[group, 0], facts[group, 1], facts[group, 2] = kept[1], distance, pivot
        facts[group, 3], facts[group, 4], facts[group, 5] = variation, beyond, EPS/2.0*rounding
        facts[group, 6] = len(chosen)
"""


def dialects(model: Model) -> tuple[Dialect, ...]:
    """Return the dialects to compute rows in; the second where the first does not know a value."""
    expressions = (model.prediction, model.formula.response)
    hidden = any(
        part.has(*ANGLES)
        for expression in expressions
        for part in sympy.preorder_traversal(expression)
        if isinstance(part, HIDING) or (part.is_Pow and not part.exp.is_number)
    )
    if hidden or not fuses():
        return ("libm",)
    loss = (model.loss.expression, model.loss_grad, model.loss_hess)
    limited = any(e.has(*ANGLES) for e in (*expressions, *model.gradient, *loss))
    return ("fast", "libm") if limited else ("fast",)


def panel_sums_source(model: Model, weighted: bool, dialect: Dialect, scores: bool = False) -> str:
    """Write ``panel_sums``; with ``scores``, squares of the slopes stand in front of J Jᵀ."""
    texts, repeats = _sums(model, weighted, dialect, "grad*grad" if scores else "hess")
    return render(header(texts["row"]) + TERMS + texts["sums"] + PANEL_SUMS, texts, repeats)


def grouped_source(model: Model, weighted: bool) -> str:
    """Write ``fit_groups``, for a model whose loss is the squared residual."""
    texts, repeats = _sums(model, weighted, dialects(model)[0], "hess")
    # A walk takes slopes that are no numbers for 0; ``limit`` tells at its end whether they are.
    known = [f"j{i} = j{i} if abs(j{i}) < math.inf else 0.0" for i in range(len(model.free))]
    texts |= {
        "bare": texts["row"],
        "row": "\n".join([texts["row"], *known]),
        "weight": "w" if weighted else "1.0",
        "variables": str(len(model.variables)),
    }
    repeats |= {"V": [str(i) for i in range(len(model.variables))]}
    return render(header(texts["row"]) + TERMS + texts["sums"] + GROUPED, texts, repeats)


def _sums(
    model: Model, weighted: bool, dialect: Dialect, factor: str
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return what `TERMS` and `SUMS` are filled with, and what is written for each of."""
    p = len(model.free)
    pairs = list(itertools.combinations_with_replacement(range(p if p <= FEW else 0), 2))
    names = ["t0", "t1", *(f"g{i}" for i in range(p)), *(f"h{i}_{j}" for i, j in pairs)]
    texts = _terms(model, weighted, dialect) | {
        "size": str(length(p)),
        "parameters": str(p),
        "factor": factor,
        "products": "\n".join(f"h{i}_{j} += b*j{i}*j{j}" for i, j in pairs),
        "total": "\n".join(f"total[{k}] += {name}" for k, name in enumerate(names)),
    }
    texts["sums"] = MANY_SUMS if p > FEW else SUMS
    return texts, _repeats(model, weighted) | {"H": [f"{i}_{j}" for i, j in pairs]}


def sweep_source(
    model: Model, weighted: bool, dialect: Dialect, optimizer: Optimizer, *, single: bool
) -> str:
    """Write ``sweep`` for batches of one row, or for those of more, and what it calls."""
    slots = len(optimizer.init(np.zeros(1), optimizer.options))
    bounds = [(model.parameters[name].low, model.parameters[name].high) for name in model.free]
    # Options of 0 and 1 are written out, so that branches fall away.
    options = (
        repr(float(value)) if value in (0, 1) else f"options[{k}]"
        for k, value in enumerate(optimizer.options)
    )
    clipped = "low[#P] if n#P < low[#P] else high[#P] if n#P > high[#P] else n#P"
    texts = _terms(model, weighted, dialect) | {
        "update": optimizer.update.__name__,
        "options": ", ".join(options),
        "finite": " + ".join(f"n{i}" for i in range(len(model.free))),
        "parameters": str(len(model.free)),
        "bounded": clipped if np.isfinite(bounds).any() else "n#P",
        "batch": ROW if single else ROWS,
    }
    repeats = _repeats(model, weighted) | {"S": [str(k) for k in range(slots)]}
    template = header(texts["row"]) + TERMS + ("" if single else BATCH) + GATHER + SWEEP
    return render(template, texts, repeats)


def header(rows: str) -> str:
    """Return what generated source begins with; special functions bring SciPy along."""
    more = ", special" if "special." in rows else ""
    return HEADER.replace("elementary\n", f"elementary{more}\n", 1)


def _terms(model: Model, weighted: bool, dialect: Dialect) -> dict[str, str]:
    """Return what `TERMS` is filled with."""
    names = [*(f"x{i}" for i in range(len(model.columns))), *(["w"] if weighted else [])]
    read = [f"{name} = numpy.float64(c{i})" for i, name in enumerate(names)]
    row, loss = emit_model(expressions_of(model), dialect)
    if model.loss.is_relative:
        share = "/math.sqrt(w)" if weighted else ""
        read.append(f"scale = p{len(model.free)}{share}")
    values = "w, w*loss, w*grad, w*hess" if weighted else "1.0, loss, grad, hess"
    return {"row": "\n".join([*read, *row, *loss]), "values": values}


def _repeats(model: Model, weighted: bool) -> dict[str, list[str]]:
    return {
        "P": [str(i) for i in range(len(model.free))],
        "Q": [str(i) for i in range(len(model.free) + model.loss.is_relative)],
        "C": [str(i) for i in range(len(model.columns) + weighted)],
    }


def render(template: str, texts: Mapping[str, str], repeats: Mapping[str, Sequence[str]]) -> str:
    """Fill in a template: first the texts, each line as far in as the mark, then the repetitions.

    Examples
    --------
    >>> render("y = $first*«x#P»", {"first": "f"}, {"P": "01"}).strip()
    'y = f*x0, x1'
    """

    def text(found: re.Match[str]) -> str:
        return found[1] + texts[found[2]].replace("\n", "\n" + found[1])

    lines = re.sub(r"( *)\$(\w+)", text, template).splitlines()
    return "".join(f"{line}\n" for some in lines for line in _repeated(some, repeats))


def _repeated(line: str, repeats: Mapping[str, Sequence[str]]) -> list[str]:
    """Write a line once for each value of the marks outside its lists, then its lists."""

    def items(found: re.Match[str]) -> str:
        return ", ".join(_repeated(found[1], repeats))

    lines = [line]
    for mark in dict.fromkeys(re.findall(r"#([A-Z])", re.sub(r"«.*?»", "", line))):
        lines = [text.replace(f"#{mark}", value) for text in lines for value in repeats[mark]]
    return [re.sub(r"«(.*?)»", items, text) for text in lines]
