"""The logarithm, and powers, which are made of it.

Written for registers: see `sgdfit.kernel.elementary`, which holds the rules.
"""

from __future__ import annotations

import math

from sgdfit.kernel.coefficients import CBRT, LOG, LOG_PARTS
from sgdfit.kernel.exponentials import exp_of_sum
from sgdfit.kernel.instructions import (
    BIAS,
    ROUND,
    Float,
    bits,
    compiled,
    floor,
    fma,
    from_bits,
    inlined,
    polynomial,
    power_of_two,
    with_sign,
)

__all__ = [
    "cbrt",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "power",
    "xlogy",
]

INFINITY, NAN = math.inf, math.nan
LOG2_E, LOG2_E_LOW = 1.4426950408889634, 2.0355273740931033e-17
LOG10_E, LOG10_E_LOW = 0.4342944819032518, 1.098319650216765e-17
# In 32 bits, whose product with an exponent is exact, and what is left.
LN2_SHORT, LN2_REST = 0.6931471803691238, 1.9082149292705877e-10
LOG10_2_SHORT, LOG10_2_REST = 0.3010299955494702, 1.1451100898021838e-10
TWO_THIRDS, TWO_THIRDS_LOW = 0.6666666666666666, 3.700743415417188e-17

FRACTION = (1 << 52) - 1
ONE = BIAS << 52
HALF_ROOT = 0x3FE6A09E667F3BCD  # the bits of √½
INTEGER = 0x4330000000000000  # the bits of 2⁵²
TINY = 2.0**-1022


@inlined
def _split(x: Float) -> tuple[Float, Float]:
    """Return k and m of x = 2ᵏ m, where √½ ≤ m < √2; x is positive."""
    small = x < TINY
    number = bits(x * 2.0**54 if small else x) + (ONE - HALF_ROOT)
    k = from_bits((number >> 52) | INTEGER) - (2.0**52 + BIAS)
    return k - 54.0 if small else k, from_bits((number & FRACTION) + HALF_ROOT)


@inlined
def _logarithm(x: Float, value: Float) -> Float:
    """Return ``value``, or what a logarithm is where x is no positive number."""
    value = value if x < INFINITY else x
    value = value if x > 0.0 else NAN
    return -INFINITY if x == 0.0 else value


@inlined
def _log(x: Float) -> Float:
    """Return log(x) of a positive number."""
    k, m = _split(x)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    half = 0.5 * f * f
    tail = fma(s, fma(z, polynomial(z, LOG), half), k * LN2_REST)
    return fma(k, LN2_SHORT, f - (half - tail))


@compiled
def log(x: Float) -> Float:
    """Return the natural logarithm."""
    return _logarithm(x, _log(x))


@compiled
def log1p(x: Float) -> Float:
    """Return log(1 + x)."""
    u = 1.0 + x
    taken = u - 1.0
    low = (1.0 - (u - taken)) + (x - taken)
    value = _logarithm(u, _log(u) + (low / u if abs(x) < 1e17 else 0.0))
    return x if abs(x) < 1e-17 else value


@inlined
def _log_parts(x: Float) -> tuple[Float, Float, Float]:
    """Return k, and log(m) in two parts, of x = 2ᵏ m."""
    k, m = _split(x)
    f = m - 1.0
    over = m + 1.0
    over_low = m - (over - 1.0)
    inverse = 1.0 / over
    s = f * inverse
    s_low = (fma(-s, over, f) - s * over_low) * inverse
    z = s * s
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    grown = z * polynomial(z, LOG_PARTS)
    a = TWO_THIRDS + grown
    a_low = (TWO_THIRDS - a) + grown + TWO_THIRDS_LOW
    w = s * z
    w_low = fma(s, z, -w) + (s * z_low + s_low * z)
    v = w * a
    v_low = fma(w, a, -v) + (w * a_low + w_low * a)
    high = 2.0 * s + v
    return k, high, (2.0 * s - high) + v + (2.0 * s_low + v_low)


@inlined
def _scaled_log(x: Float, unit: Float, rest: Float, factor: Float, low: Float) -> Float:
    """Return log(x) in another base, given that of 2 and that of e in two parts each."""
    k, high, tail = _log_parts(x)
    product = high * factor
    tail = fma(high, factor, -product) + fma(high, low, tail * factor)
    whole = k * unit
    total = whole + product
    taken = total - whole
    return total + ((whole - (total - taken)) + (product - taken) + fma(k, rest, tail))


@compiled
def log2(x: Float) -> Float:
    """Return the logarithm to base 2."""
    return _logarithm(x, _scaled_log(x, 1.0, 0.0, LOG2_E, LOG2_E_LOW))


@compiled
def log10(x: Float) -> Float:
    """Return the logarithm to base 10."""
    return _logarithm(x, _scaled_log(x, LOG10_2_SHORT, LOG10_2_REST, LOG10_E, LOG10_E_LOW))


@inlined
def _positive_power(x: Float, y: Float) -> Float:
    """Return xʸ for x ≥ 0, other than 1, and y other than 0."""
    k, high, low = _log_parts(x)
    whole = k * LN2_SHORT
    total = whole + high
    low = (whole - total) + high + fma(k, LN2_REST, low)
    high = total + low
    low = (total - high) + low
    high = high if x < INFINITY else x
    high = -INFINITY if x == 0.0 else high
    exponent = y * high
    rest = fma(y, high, -exponent) + y * low
    return exp_of_sum(exponent, rest if abs(exponent) < 800.0 else 0.0)


@compiled
def power(x: Float, y: Float) -> Float:
    """Return xʸ."""
    size = abs(x)
    value = _positive_power(size, y)
    value = 1.0 if size == 1.0 else value
    whole = floor(y) == y
    odd = whole and floor(0.5 * y) != 0.5 * y
    value = -value if odd and bits(x) < 0 else value
    value = value if x >= 0.0 or whole or size == INFINITY else NAN
    value = value if y == y or x == 1.0 else NAN
    value = value if x == x else NAN
    return 1.0 if y == 0.0 or x == 1.0 else value


@compiled
def cbrt(x: Float) -> Float:
    """Return the cube root."""
    k, m = _split(abs(x))
    marked = fma(k, 1.0 / 3.0, ROUND)
    third = marked - ROUND
    v = m * power_of_two(fma(-3.0, third, k) + ROUND)
    t = polynomial(v, CBRT)
    cube = t * t * t
    t = t - t * ((cube - v) / (2.0 * cube + v))
    square = t * t
    t = t - t * (fma(square, t, -v) / fma(2.0 * square, t, v))
    value = with_sign(t * power_of_two(marked), x)
    return value if 0.0 < abs(x) < INFINITY else x


@compiled
def logaddexp(x: Float, y: Float) -> Float:
    """Return log(eˣ + eʸ)."""
    larger = x if x > y else y
    apart = 0.0 if x == y else -abs(x - y)
    return larger + log1p(exp_of_sum(apart, 0.0))


@compiled
def xlogy(x: Float, y: Float) -> Float:
    """Return x log(y), and 0 where x is 0."""
    return 0.0 if x == 0.0 else x * log(y)
