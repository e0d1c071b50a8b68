"""Slopes where their formula is no number although the curve is: limits, by differences.

At t = 0 the slope of ``t**p`` to ``p`` is ``t**p*log(t)``, which floating point makes 0 times
infinity; yet the curve is 0 there for every ``p``, and its slope 0. No list of rewriting rules ends
such forms. Differences of the curve over ever shorter ways do, at the few rows that need them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sgdfit.formula.evaluation import evaluate

Array = np.ndarray[Any, Any]
Expr = Any  # SymPy ships no types

# Of the parameter: powers of two, lest a sum round them. The longest has a rounding error of 2e-13
# of the curve, the shortest is of what the limit lies off 1.5e-5, of which Aitken leaves little.
WIDTHS = (2.0**-10, 2.0**-13, 2.0**-16)
# Changes from one quotient to the next that shrink less than by this share lead to no limit: those
# of a root's slope, h**-0.5, grow 2.8 times, those of a logarithm's not at all.
SHRINKING = 0.9
# Changes as small as that, beside the quotient or what rounding makes of the curve, are none.
STEADY, ROUNDING = 1e-2, 64 * float(np.finfo(float).eps)


@np.errstate(all="ignore")
def slope_limit(curve: Callable[[Array], Array], at: Array) -> Array:
    """Return the limit of a curve's slope to one parameter, NaN where it has none.

    ``curve`` takes the parameter's value in each row and returns the curve there, float64[n] both;
    ``at`` is the value. Of one-sided limits that differ it is the mean, as where torch's maximum
    ties; where one side has none, the other's. Difference quotients are extrapolated as by Aitken
    1926, Proceedings of the Royal Society of Edinburgh 46, 289-305.

    Examples
    --------
    >>> at = np.array([2.0, 0.0])
    >>> slope_limit(lambda p: np.array([0.0, 9.0]) ** p, np.array([2.0, 0.0])).round(6)
    array([0.      , 2.197225])
    """
    here, scale = curve(at), np.where(at == 0, 1.0, np.abs(at))
    rounding = ROUNDING * np.abs(here) / (WIDTHS[-1] * scale)
    sides = []
    for side in (1.0, -1.0):
        ways = [at + side * width * scale for width in WIDTHS]
        first, second, third = ((curve(way) - here) / (way - at) for way in ways)
        before, last = second - first, third - second
        steady = np.abs(last) <= np.maximum(STEADY * np.abs(third), rounding)
        shrinks = np.abs(last) < SHRINKING * np.abs(before)
        limit = np.where(steady, first, np.nan)
        sides.append(np.where(shrinks, third - last**2 / (last - before), limit))
    up, down = (np.where(np.isfinite(side), side, np.nan) for side in sides)
    return np.where(np.isnan(up), down, np.where(np.isnan(down), up, up / 2 + down / 2))


def evaluate_slope(curve: Expr, slope: Expr, name: str, values: Mapping[str, Any]) -> Array:
    """Return the ``slope`` of ``curve`` to ``name`` in each row, or its limit: float64[n].

    ``values`` are those of `evaluate`, in NumPy; what has no limit stays NaN or infinite.
    """
    rows = max(np.size(value) for value in values.values())
    found = np.array(np.broadcast_to(evaluate(slope, values), rows), dtype=np.float64)
    bad = ~np.isfinite(found)
    if bad.any():
        bad &= np.isfinite(np.broadcast_to(evaluate(curve, values), rows))
        some = {n: v[bad] if np.ndim(v) else v for n, v in values.items()}

        def along(value: Array) -> Array:
            return np.broadcast_to(evaluate(curve, {**some, name: value}), value.shape)

        limit = slope_limit(along, np.full(int(bad.sum()), float(values[name])))
        found[bad] = np.where(np.isnan(limit), found[bad], limit)
    return found
