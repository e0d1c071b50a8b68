"""The exponential function, and those that are made of it.

Written for registers: see `sgdfit.kernel.elementary`, which holds the rules.
"""

from __future__ import annotations

from sgdfit.kernel.coefficients import ERF, ERF_TAIL, EXP
from sgdfit.kernel.instructions import (
    ROUND,
    Float,
    compiled,
    fma,
    inlined,
    polynomial,
    power_of_two,
    with_sign,
)

__all__ = [
    "cosh",
    "erf",
    "exp",
    "exp_of_sum",
    "expm1",
    "logistic",
    "sinh",
    "tanh",
]

LOG2_E = 1.4426950408889634
# log 2, in 53 bits and the next 53.
LN2, LN2_LOW = 0.6931471805599453, 2.3190468138462996e-17


@inlined
def _grown(x: Float, low: Float) -> tuple[Float, Float, Float, Float]:
    """Return exp(x + low) as the sum of the first two, times the third, times the fourth.

    ``low`` is less than the last place of x, or below 2⁻⁵⁰.
    """
    x = 720.0 if x > 720.0 else x
    x = -760.0 if x < -760.0 else x
    marked = fma(x, LOG2_E, ROUND)
    k = marked - ROUND
    high = fma(-k, LN2, x)
    rest = fma(-k, LN2_LOW, low)
    r = high + rest
    rest = (high - r) + rest
    above = r + fma(r * r, polynomial(r, EXP), rest)
    grown = 1.0 + above
    # In two steps, since 2ᵏ alone may be too large or too small.
    half = fma(k, 0.5, ROUND)
    others = power_of_two((k - (half - ROUND)) + ROUND)
    return grown, above - (grown - 1.0), power_of_two(half), others


@inlined
def exp_of_sum(x: Float, low: Float) -> Float:
    """Return exp(x + low), where ``low`` is less than the last place of x, or below 2⁻⁵⁰."""
    grown, _, scale, other = _grown(x, low)
    return grown * scale * other


@compiled
def exp(x: Float) -> Float:
    """Return eˣ."""
    return exp_of_sum(x, 0.0)


@inlined
def _quarter_expm1(x: Float) -> tuple[Float, Float]:
    """Return (eˣ - 1)/4 in two parts."""
    x = 710.6 if x > 710.6 else x
    x = -40.0 if x < -40.0 else x
    marked = fma(x, LOG2_E, ROUND)
    k = marked - ROUND
    high = fma(-k, LN2, x)
    rest = -k * LN2_LOW
    r = high + rest
    rest = (high - r) + rest
    curved = fma(r * r, polynomial(r, EXP), fma(r, rest, rest))
    scale = power_of_two(marked - 2.0)
    above = scale - 0.25
    grown = scale * r
    total = above + grown
    taken = total - above
    low = (above - (total - taken)) + (grown - taken) + scale * curved
    sum_ = total + low
    return sum_, low - (sum_ - total)


@compiled
def expm1(x: Float) -> Float:
    """Return eˣ - 1."""
    high, low = _quarter_expm1(x)
    return x if abs(x) < 1e-17 else 4.0 * (high + low)


@compiled
def sinh(x: Float) -> Float:
    """Return (eˣ - e⁻ˣ)/2."""
    size = abs(x)
    high, low = _quarter_expm1(size)
    value = 2.0 * (high + (low + high / fma(4.0, high, 1.0)))
    return x if size < 1e-9 else with_sign(value, x)


@compiled
def cosh(x: Float) -> Float:
    """Return (eˣ + e⁻ˣ)/2."""
    high, low = _quarter_expm1(abs(x))
    return 2.0 * (high + (low + 0.25 + 0.25 / fma(4.0, high, 1.0)))


@compiled
def tanh(x: Float) -> Float:
    """Return sinh(x)/cosh(x)."""
    size = abs(x)
    doubled = 45.0 if size > 22.5 else 2.0 * size
    high, low = _quarter_expm1(doubled)
    under = high + 0.5
    taken = under - 0.5
    under_low = (0.5 - (under - taken)) + (high - taken) + low
    value = high / under
    rest = fma(-value, under, high) + (low - value * under_low)
    value = fma(rest, 2.0 - 2.0 * value, value)
    value = 1.0 if value > 1.0 else value
    return x if size < 1e-9 else with_sign(value, x)


@compiled
def logistic(x: Float) -> Float:
    """Return 1/(1 + e⁻ˣ)."""
    grown, rest, scale, other = _grown(-abs(x), 0.0)
    z, z_low = grown * scale * other, rest * scale * other
    under = 1.0 + z
    under_low = (z - (under - 1.0)) + z_low
    over, over_low = (1.0, 0.0) if x >= 0.0 else (z, z_low)
    inverse = 1.0 / under
    value = over * inverse
    return fma(fma(-value, under, over) + (over_low - value * under_low), inverse, value)


@compiled
def erf(x: Float) -> Float:
    """Return the error function."""
    size = abs(x)
    z = x * x
    near = fma(x, polynomial(z, ERF), x)
    t = (size - 3.0) / (size + 3.0)
    far = 1.0 - exp_of_sum(-z, 0.0) * polynomial(t, ERF_TAIL)
    far = with_sign(1.0 if size > 6.0 else far, x)
    return near if size < 1.0 else far + (x - x if x != x else 0.0)
