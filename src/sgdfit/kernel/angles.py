"""Sine, cosine, tangent, and the angles that they belong to.

Written for registers: see `sgdfit.kernel.elementary`, which holds the rules.
"""

from __future__ import annotations

import math

from sgdfit.kernel.coefficients import ASIN, ATAN, COS, SIN
from sgdfit.kernel.instructions import (
    ROUND,
    Float,
    bits,
    compiled,
    fma,
    inlined,
    pairwise,
    polynomial,
    with_sign,
)

__all__ = [
    "LARGEST_ANGLE",
    "acos",
    "asin",
    "atan",
    "cos",
    "sin",
    "tan",
]

LARGEST_ANGLE = 2.0**40
NAN = math.nan
TWO_OVER_PI = 0.6366197723675814
HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
QUARTER_PI, QUARTER_PI_LOW = 0.7853981633974483, 3.061616997868383e-17


@inlined
def _turned(x: Float) -> tuple[Float, Float, Float]:
    """Return a number that holds the quadrant in its last bits, and the angle in two parts.

    The second is below 2⁻⁴⁰ of the first wherever their square counts.
    """
    marked = fma(x, TWO_OVER_PI, ROUND)
    k = marked - ROUND
    exact = fma(-k, HALF_PI[0], x)
    product = k * HALF_PI[1]
    rest = fma(k, HALF_PI[1], -product)
    r = exact - product
    taken = r - exact
    low = (exact - (r - taken)) - (product + taken)
    return marked, r, low - fma(k, HALF_PI[2], rest)


@inlined
def _sine(r: Float, low: Float) -> tuple[Float, Float]:
    """Return the sine of an angle within an eighth of a turn, in two parts."""
    z = r * r
    tail = fma(z, 0.5 * low, -low)
    return r, fma(z * r, pairwise(z, SIN), -tail)


@inlined
def _cosine(r: Float, low: Float) -> tuple[Float, Float]:
    """Return the cosine of an angle within an eighth of a turn, in two parts."""
    z = r * r
    half = 0.5 * z
    near = 1.0 - half
    return near, ((1.0 - near) - half) + fma(z * z, pairwise(z, COS), -r * low)


@inlined
def _wave(x: Float, shift: int) -> Float:
    """Return the sine of x and ``shift`` quarter turns."""
    marked, r, low = _turned(x)
    quadrant = bits(marked) + shift
    sine, sine_low = _sine(r, low)
    cosine, cosine_low = _cosine(r, low)
    # Known before the values are, unlike what would be done to their bits.
    sign = 1.0 - (quadrant & 2) if abs(x) <= LARGEST_ANGLE else NAN
    return sign * (cosine + cosine_low if quadrant & 1 else sine + sine_low)


@compiled
def sin(x: Float) -> Float:
    """Return the sine, or NaN beyond `LARGEST_ANGLE`."""
    return x if abs(x) < 1e-9 else _wave(x, 0)


@compiled
def cos(x: Float) -> Float:
    """Return the cosine, or NaN beyond `LARGEST_ANGLE`."""
    return _wave(x, 1)


@compiled
def tan(x: Float) -> Float:
    """Return the tangent, or NaN beyond `LARGEST_ANGLE`."""
    marked, r, low = _turned(x)
    sine, sine_low = _sine(r, low)
    cosine, cosine_low = _cosine(r, low)
    s, c = sine + sine_low, cosine + cosine_low
    s_low, c_low = (sine - s) + sine_low, (cosine - c) + cosine_low
    odd = (bits(marked) & 1) == 1
    over, over_low = (-c, -c_low) if odd else (s, s_low)
    under, under_low = (s, s_low) if odd else (c, c_low)
    inverse = 1.0 / under
    value = over * inverse
    rest = fma(-value, under, over) + (over_low - value * under_low)
    value = fma(rest, inverse, value)
    value = value if abs(x) <= LARGEST_ANGLE else NAN
    return x if abs(x) < 1e-9 else value


@inlined
def _arc(x: Float) -> tuple[Float, Float, bool]:
    """Return asin(s) in two parts, where s is |x|, or √((1 - |x|)/2) above a half, and which."""
    size = abs(x)
    far = size > 0.5
    z = 0.5 * (1.0 - size) if far else size * size
    s = math.sqrt(z) if far else size
    return s, s * z * polynomial(z, ASIN), far


@inlined
def _from_quarter(s: Float, bent: Float) -> Float:
    """Return π/2 - (s + bent)."""
    value = HALF_PI[0] - s
    return value + (((HALF_PI[0] - value) - s) - (bent - HALF_PI[1]))


@compiled
def asin(x: Float) -> Float:
    """Return the angle whose sine is x."""
    s, bent, far = _arc(x)
    value = _from_quarter(2.0 * s, 2.0 * bent) if far else s + bent
    return with_sign(value, x) if value == value else NAN


@compiled
def acos(x: Float) -> Float:
    """Return the angle whose cosine is x."""
    s, bent, far = _arc(x)
    near = _from_quarter(with_sign(s, x), with_sign(bent, x))
    past = 2.0 * _from_quarter(s, bent)
    return (past if x < 0.0 else 2.0 * (s + bent)) if far else near


@compiled
def atan(x: Float) -> Float:
    """Return the angle whose tangent is x."""
    size = abs(x)
    far, middle = size > 2.414213562373095, size > 0.41421356237309503
    over = -1.0 if far else size - 1.0 if middle else size
    under = size if far else size + 1.0 if middle else 1.0
    under_low = 0.0 if far else size - (under - 1.0) if middle else 0.0
    turns = 2.0 if far else 1.0 if middle else 0.0
    inverse = 1.0 / under
    u = over * inverse
    rest = (fma(-u, under, over) - u * under_low) * inverse
    rest = rest if size < 1e16 else 0.0
    z = u * u
    low = fma(u * z, polynomial(z, ATAN), fma(turns, QUARTER_PI_LOW, rest))
    return with_sign(turns * QUARTER_PI + (u + low), x)
