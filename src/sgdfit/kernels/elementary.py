"""Elementary functions without calls and branches, which compilers put into vector registers.

Each is within 2 units in the last place of the true value, and keeps the rules of IEEE 754 for
zeros, infinities and NaN. What is written ``a if c else b`` becomes a selection: both sides are
computed. Sine and cosine are NaN beyond `LARGEST_ANGLE`, where reducing the angle takes more than
fits here; `sgdfit.kernels.kernel_source` has such rows done again by the library of C.

No flag allows the compiler to reorder anything in here: most lines would be zero if it did. Sums
kept in two parts, ``high`` and ``low``, follow Dekker, Numerische Mathematik 18 (1971) 224; the
reductions are those of Cody and Waite, Software Manual for the Elementary Functions (1980).
"""

from __future__ import annotations

import math
from typing import Any

from sgdfit.kernels.coefficients import (
    ATAN,
    COS,
    ERF,
    ERF_TAIL,
    EXP,
    LOG,
    LOG_PARTS,
    SIN,
)
from sgdfit.kernels.instructions import bits, compiled, floor, fma, from_bits, polynomial

__all__ = [
    "LARGEST_ANGLE",
    "atan",
    "cos",
    "cosh",
    "erf",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logistic",
    "power",
    "sin",
    "sinh",
    "tanh",
    "xlogy",
]

Float = Any  # to Numba a float64
LARGEST_ANGLE = 2.0**40

# Added to a number below 2⁵¹ it leaves the nearest integer in the last bits.
ROUND = 1.5 * 2.0**52
INFINITY, NAN = math.inf, math.nan
LOG2_E = 1.4426950408889634
# log 2, in 53 bits and the next 53; and in 32 bits, whose product with an exponent is exact.
LN2, LN2_LOW = 0.6931471805599453, 2.3190468138462996e-17
LN2_SHORT, LN2_REST = 0.6931471803691238, 1.9082149292705877e-10
LOG10_2_SHORT, LOG10_2_REST = 0.3010299955494702, 1.1451100898021838e-10
LOG10_E, LOG10_E_LOW = 0.4342944819032518, 1.098319650216765e-17
LOG2_E_LOW = 2.0355273740931033e-17
TWO_THIRDS, TWO_THIRDS_LOW = 0.6666666666666666, 3.700743415417188e-17
TWO_OVER_PI = 0.6366197723675814
HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
QUARTER_PI, QUARTER_PI_LOW = 0.7853981633974483, 3.061616997868383e-17

BIAS = 1023
FRACTION = (1 << 52) - 1
ONE = BIAS << 52
HALF_ROOT = 0x3FE6A09E667F3BCD  # the bits of √½
INTEGER = 0x4330000000000000  # the bits of 2⁵²
SIGN = -(1 << 63)
TINY = 2.0**-1022


@compiled
def _signed(size: Float, x: Float) -> Float:
    """Return ``size``, which is not negative, with the sign of x."""
    return from_bits(bits(size) | (bits(x) & SIGN))


@compiled
def _scale(marked: Float) -> Float:
    """Return 2ⁿ of a sum of `ROUND` and n, -1022 ≤ n ≤ 1023."""
    return from_bits((bits(marked) + BIAS) << 52)


@compiled
def _exp(x: Float, low: Float) -> Float:
    """Return exp(x + low), where ``low`` is less than the last place of x, or below 2⁻⁵⁰."""
    x = 720.0 if x > 720.0 else x
    x = -760.0 if x < -760.0 else x
    marked = fma(x, LOG2_E, ROUND)
    k = marked - ROUND
    high = fma(-k, LN2, x)
    rest = fma(-k, LN2_LOW, low)
    r = high + rest
    rest = (high - r) + rest
    grown = 1.0 + (r + fma(r * r, polynomial(r, EXP), rest))
    # In two steps, since 2ᵏ alone may be too large or too small.
    half = fma(k, 0.5, ROUND)
    return grown * _scale(half) * _scale((k - (half - ROUND)) + ROUND)


@compiled
def exp(x: Float) -> Float:
    """Return eˣ."""
    return _exp(x, 0.0)


@compiled
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
    scale = _scale(marked - 2.0)
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
    return x if size < 1e-9 else _signed(value, x)


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
    return x if size < 1e-9 else _signed(value, x)


@compiled
def logistic(x: Float) -> Float:
    """Return 1/(1 + e⁻ˣ)."""
    z = _exp(-abs(x), 0.0)
    return (1.0 if x >= 0.0 else z) / (1.0 + z)


@compiled
def _split(x: Float) -> tuple[Float, Float]:
    """Return k and m of x = 2ᵏ m, where √½ ≤ m < √2; x is positive."""
    small = x < TINY
    number = bits(x * 2.0**54 if small else x) + (ONE - HALF_ROOT)
    k = from_bits((number >> 52) | INTEGER) - (2.0**52 + BIAS)
    return k - 54.0 if small else k, from_bits((number & FRACTION) + HALF_ROOT)


@compiled
def _logarithm(x: Float, value: Float) -> Float:
    """Return ``value``, or what a logarithm is where x is no positive number."""
    value = value if x < INFINITY else x
    value = value if x > 0.0 else NAN
    return -INFINITY if x == 0.0 else value


@compiled
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


@compiled
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


@compiled
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


@compiled
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
    return _exp(exponent, rest if abs(exponent) < 800.0 else 0.0)


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
def _turned(x: Float) -> tuple[Float, Float, Float]:
    """Return a number that holds the quadrant in its last bits, and the angle in two parts."""
    marked = fma(x, TWO_OVER_PI, ROUND)
    k = marked - ROUND
    exact = fma(-k, HALF_PI[0], x)
    product = k * HALF_PI[1]
    rest = fma(k, HALF_PI[1], -product)
    r = exact - product
    taken = r - exact
    low = (exact - (r - taken)) - (product + taken)
    low = low - fma(k, HALF_PI[2], rest)
    high = r + low
    return marked, high, low + (r - high)


@compiled
def _sine(r: Float, low: Float) -> Float:
    z = r * r
    cubed = z * r
    tail = fma(z, 0.5 * low, -low)
    return r + fma(cubed, polynomial(z, SIN), -tail)


@compiled
def _cosine(r: Float, low: Float) -> Float:
    z = r * r
    half = 0.5 * z
    near = 1.0 - half
    return near + (((1.0 - near) - half) + fma(z * z, polynomial(z, COS), -r * low))


@compiled
def _wave(x: Float, shift: int) -> Float:
    """Return the sine of x and ``shift`` quarter turns."""
    marked, r, low = _turned(x)
    quadrant = bits(marked) + shift
    value = _cosine(r, low) if quadrant & 1 else _sine(r, low)
    value = from_bits(bits(value) ^ ((quadrant & 2) << 62))
    return value if abs(x) <= LARGEST_ANGLE else NAN


@compiled
def sin(x: Float) -> Float:
    """Return the sine, or NaN beyond `LARGEST_ANGLE`."""
    return x if abs(x) < 1e-9 else _wave(x, 0)


@compiled
def cos(x: Float) -> Float:
    """Return the cosine, or NaN beyond `LARGEST_ANGLE`."""
    return _wave(x, 1)


@compiled
def atan(x: Float) -> Float:
    """Return the angle whose tangent is x."""
    size = abs(x)
    far, middle = size > 2.414213562373095, size > 0.41421356237309503
    over = -1.0 if far else size - 1.0 if middle else size
    under = size if far else size + 1.0 if middle else 1.0
    turns = 2.0 if far else 1.0 if middle else 0.0
    u = over / under
    z = u * u
    low = fma(u * z, polynomial(z, ATAN), turns * QUARTER_PI_LOW)
    return _signed(turns * QUARTER_PI + (u + low), x)


@compiled
def erf(x: Float) -> Float:
    """Return the error function."""
    size = abs(x)
    z = x * x
    near = fma(x, polynomial(z, ERF), x)
    t = (size - 3.0) / (size + 3.0)
    far = 1.0 - _exp(-z, 0.0) * polynomial(t, ERF_TAIL)
    far = _signed(1.0 if size > 6.0 else far, x)
    return near if size < 1.0 else far + (x - x if x != x else 0.0)


@compiled
def logaddexp(x: Float, y: Float) -> Float:
    """Return log(eˣ + eʸ)."""
    larger = x if x > y else y
    apart = 0.0 if x == y else -abs(x - y)
    return larger + log1p(_exp(apart, 0.0))


@compiled
def xlogy(x: Float, y: Float) -> Float:
    """Return x log(y), and 0 where x is 0."""
    return 0.0 if x == 0.0 else x * log(y)
