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
# of the curve, the third is of what the limit lies off 1.5e-5, of which Aitken leaves little; the
# shortest confirms it.
WIDTHS = (2.0**-10, 2.0**-13, 2.0**-16, 2.0**-19)
# Changes from one quotient to the next that shrink less than by this share lead to no limit: those
# of a root's slope, h**-0.5, grow 2.8 times, those of a logarithm's not at all.
SHRINKING = 0.9
# The next change is as such shrinking has it but for this share, or a kink lies between: of
# sqrt(maximum(x - m, 0)) that is so where m is a little above a row.
ALIKE = 0.1
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
    >>> x = np.array([0.0, 2.0])
    >>> slope_limit(lambda p: x**p, np.array([3.0, 3.0])).round(6)
    array([0.      , 5.545178])
    """
    here, scale = curve(at), np.where(at == 0, 1.0, np.abs(at))
    ways = np.multiply.outer(WIDTHS, scale)
    wide = [curve(at + way) for way in (ways[0], -ways[0])]
    if all(np.array_equal(value, here) for value in wide):  # nearly always: 0 to any power is 0
        return np.zeros(len(at))
    up, down = (
        np.array([(curve(at + way) - here) / (at + way - at) for way in side * ways])
        for side in (1.0, -1.0)
    )
    rounding = ROUNDING * np.abs(here) / ways[-1]
    right, left = _extrapolated(up, rounding), _extrapolated(down, rounding)
    # A cusp is infinitely steep on either side, and level between.
    centre = _extrapolated(up / 2 + down / 2, rounding)
    both = np.where(np.isnan(right), left, np.where(np.isnan(left), right, right / 2 + left / 2))
    return np.where(np.isnan(both), centre, both)


def _extrapolated(quotients: Array, rounding: Array) -> Array:
    """Return what four quotients lead to, NaN where that is nowhere."""
    first, _, third, fourth = quotients
    before, last, after = np.diff(quotients, axis=0)
    ratio, near = last / before, np.maximum(STEADY * np.abs(fourth), rounding)
    shrinks = np.abs(ratio) < SHRINKING
    shrinks &= np.abs(after - ratio * last) <= ALIKE * np.abs(ratio * last) + rounding
    steady = np.where(np.abs(before) <= near, first, third)
    steady = np.where(np.abs(after) <= near, steady, np.nan)
    limit = np.where(shrinks, third + last * ratio / (1 - ratio), steady)
    return np.where(np.isfinite(limit), limit, np.nan)


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

        at = np.broadcast_to(np.asarray(values[name], dtype=np.float64), rows)
        limit = slope_limit(along, at[bad])
        found[bad] = np.where(np.isnan(limit), found[bad], limit)
    return found
