"""Elementary functions without calls and branches, which compilers put into vector registers.

Each is within 2 units in the last place of the true value, and keeps the rules of IEEE 754 for
zeros, infinities and NaN. What is written ``a if c else b`` becomes a selection: both sides are
computed. Sine, cosine and tangent are NaN beyond `LARGEST_ANGLE`, where reducing the angle takes
more than fits here; `sgdfit.kernel.compiled_kernel` has such sums made by the library of C.

No flag allows the compiler to reorder anything in them: most lines would be zero if it did. Sums
kept in two parts follow Dekker, Numerische Mathematik 18 (1971) 224; the reductions are those of
Cody and Waite, Software Manual for the Elementary Functions (1980).
"""

from __future__ import annotations

import math

from sgdfit.kernel.instructions import (
    BIAS,
    ROUND,
    Float,
    bits,
    floor,
    fma,
    from_bits,
    inlined,
    polynomial,
    power_of_two,
    with_sign,
)

LARGEST_ANGLE = 2.0**40
TWO_OVER_PI = 0.6366197723675814
HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
QUARTER_PI, QUARTER_PI_LOW = 0.7853981633974483, 3.061616997868383e-17

INFINITY, NAN = math.inf, math.nan
LOG2_E, LOG10_E = 1.4426950408889634, 0.4342944819032518
# log 2, in 53 bits and the next 53.
LN2, LN2_LOW = 0.6931471805599453, 2.3190468138462996e-17
# In 32 bits, whose product with an exponent is exact, and what is left.
LN2_SHORT, LN2_REST = 0.6931471803691238, 1.9082149292705877e-10
LOG10_2_SHORT, LOG10_2_REST = 0.3010299955494702, 1.1451100898021838e-10
TWO_THIRDS, TWO_THIRDS_LOW = 0.6666666666666666, 3.700743415417188e-17

FRACTION = (1 << 52) - 1
ONE = BIAS << 52
HALF_ROOT = 0x3FE6A09E667F3BCD  # the bits of √½
INTEGER = 0x4330000000000000  # the bits of 2⁵²
TINY = 2.0**-1022

# Polynomials, the highest power first. Those of sine, cosine and the logarithm are fdlibm's (Sun
# Microsystems, 1993). The others are Chebyshev interpolants of the function named, made in 60
# digits; beside each stand the interval and the largest error.
# fmt: off

# (exp(r) - 1 - r)/r², |r| ≤ log(2)/2: 1.4e-18.
EXP = (
    2.0914680780540263e-09, 2.5105208339987698e-08, 2.7557273657975953e-07, 2.7557255421023506e-06,
    2.4801587325536023e-05, 0.00019841269874804214, 0.0013888888888883752, 0.00833333333332614,
    0.04166666666666667, 0.1666666666666667, 0.5,
)
# log((1 + s)/(1 - s))/s - 2 in s², |s| ≤ 0.1716.
LOG = (
    0.14798198605116586, 0.15313837699209373, 0.1818357216161805, 0.22222198432149784,
    0.2857142874366239, 0.3999999999940942, 0.6666666666666735,
)
# (log((1 + s)/(1 - s))/s - 2 - 2 s²/3)/s⁴ in s², s² ≤ 0.0295: 1.9e-18.
LOG_PARTS = (
    0.11725771221811145, 0.11705988156500907, 0.13334813971292003, 0.15384594791762352,
    0.1818181833699257, 0.2222222222164882, 0.2857142857142938, 0.4,
)
# (sin(r)/r - 1)/r² in r², |r| ≤ π/4.
SIN = (
    1.58969099521155e-10, -2.5050760253406863e-08, 2.7557313707070068e-06, -0.0001984126982985795,
    0.00833333333332249, -0.16666666666666632,
)
# (cos(r) - 1 + r²/2)/r⁴ in r², |r| ≤ π/4.
COS = (
    -1.1359647557788195e-11, 2.087572321298175e-09, -2.7557314351390663e-07, 2.480158728947673e-05,
    -0.001388888888887411, 0.0416666666666666,
)
# (atan(u)/u - 1)/u² in u², |u| ≤ tan(π/8): 3.2e-17.
ATAN = (
    -0.019176815538986532, 0.03923159984722041, -0.05085447714773134, 0.05858148526183487,
    -0.06664511402876551, 0.07692183187666538, -0.09090904577987899, 0.11111111015253014,
    -0.142857142846665, 0.1999999999999552, -0.3333333333333333,
)
# erf(x)/x - 1 in x², |x| ≤ 1: 1.3e-19.
ERF = (
    5.957176147748911e-11, -1.1372848856791674e-09, 1.4659775274047436e-08, -1.6350312701054695e-07,
    1.6461000484121368e-06, -1.4925595266831182e-05, 0.0001205533111164271, -0.000854832698083379,
    0.0052239776248180145, -0.026866170645076792, 0.11283791670954879, -0.3761263890318375,
    0.1283791670955126,
)
# exp(x²) erfc(x) in (x - 3)/(x + 3), 1 ≤ x ≤ 6.1: 6e-18.
ERF_TAIL = (
    -8.80135983068889e-09, 1.2580932443721676e-06, 2.0095139924831047e-06, -8.00496842158388e-06,
    -1.2843533148373503e-05, 6.406239031947829e-05, 4.5254012694832e-05, -0.0005970624939433084,
    0.0007077464888533716, 0.004269136358067435, -0.024392499319618205, 0.07166583719742778,
    -0.15011593650076943, 0.24560380171233537, -0.3262335600430373, 0.17900115118138996,
)
# The cube root of x, 0.3535 ≤ x ≤ 2.829: 1e-3, from which two steps lead to all digits.
CBRT = (
    0.007234512839641752, -0.07223636627907384, 0.29194618509950326, -0.6341540486561865,
    0.9775797549098955, 0.43023496393628313,
)
# fmt: on


@inlined
def _without_powers_of_two(x: Float, low: Float) -> tuple[Float, Float, Float]:
    """Return k with `ROUND` added, and x + low - k log 2 in two parts."""
    marked = fma(x, LOG2_E, ROUND)
    k = marked - ROUND
    high = fma(-k, LN2, x)
    rest = fma(-k, LN2_LOW, low)
    r = high + rest
    return marked, r, (high - r) + rest


@inlined
def exp_of_sum(x: Float, low: Float) -> Float:
    """Return exp(x + low), where ``low`` is less than the last place of x, or below 2⁻⁵⁰."""
    x = 720.0 if x > 720.0 else x
    x = -760.0 if x < -760.0 else x
    marked, r, rest = _without_powers_of_two(x, low)
    grown = 1.0 + (r + fma(r * r, polynomial(r, EXP), rest))
    # In two steps, since 2ᵏ alone may be too large or too small.
    k = marked - ROUND
    half = fma(k, 0.5, ROUND)
    return grown * power_of_two(half) * power_of_two((k - (half - ROUND)) + ROUND)


@inlined
def exp(x: Float) -> Float:
    """Return eˣ."""
    return exp_of_sum(x, 0.0)


@inlined
def _quarter_expm1(x: Float) -> tuple[Float, Float]:
    """Return (eˣ - 1)/4 in two parts."""
    x = 710.6 if x > 710.6 else x
    x = -40.0 if x < -40.0 else x
    marked, r, rest = _without_powers_of_two(x, 0.0)
    curved = fma(r * r, polynomial(r, EXP), fma(r, rest, rest))
    scale = power_of_two(marked - 2.0)
    above = scale - 0.25
    grown = scale * r
    total = above + grown
    taken = total - above
    low = (above - (total - taken)) + (grown - taken) + scale * curved
    sum_ = total + low
    return sum_, low - (sum_ - total)


@inlined
def expm1(x: Float) -> Float:
    """Return eˣ - 1."""
    high, low = _quarter_expm1(x)
    return x if abs(x) < 1e-17 else 4.0 * (high + low)


@inlined
def sinh(x: Float) -> Float:
    """Return (eˣ - e⁻ˣ)/2."""
    size = abs(x)
    high, low = _quarter_expm1(size)
    value = 2.0 * (high + (low + high / fma(4.0, high, 1.0)))
    return x if size < 1e-9 else with_sign(value, x)


@inlined
def cosh(x: Float) -> Float:
    """Return (eˣ + e⁻ˣ)/2."""
    high, low = _quarter_expm1(abs(x))
    return 2.0 * (high + (low + 0.25 + 0.25 / fma(4.0, high, 1.0)))


@inlined
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


@inlined
def logistic(x: Float) -> Float:
    """Return 1/(1 + e⁻ˣ)."""
    z = exp_of_sum(-abs(x), 0.0)
    under = 1.0 + z
    low = z - (under - 1.0)
    over = 1.0 if x >= 0.0 else z
    inverse = 1.0 / under
    value = over * inverse
    return fma(fma(-value, under, over) - value * low, inverse, value)


@inlined
def erf(x: Float) -> Float:
    """Return the error function."""
    size = abs(x)
    z = x * x
    near = fma(x, polynomial(z, ERF), x)
    t = (size - 3.0) / (size + 3.0)
    far = 1.0 - exp_of_sum(-z, 0.0) * polynomial(t, ERF_TAIL)
    far = with_sign(1.0 if size > 6.0 else far, x)
    return near if size < 1.0 else far + (x - x if x != x else 0.0)


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


@inlined
def log(x: Float) -> Float:
    """Return the natural logarithm."""
    return _logarithm(x, _log(x))


@inlined
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
def log2(x: Float) -> Float:
    """Return the logarithm to base 2."""
    k, m = _split(x)
    return _logarithm(x, fma(_log(m), LOG2_E, k))


@inlined
def log10(x: Float) -> Float:
    """Return the logarithm to base 10."""
    k, m = _split(x)
    return _logarithm(x, fma(k, LOG10_2_SHORT, fma(k, LOG10_2_REST, _log(m) * LOG10_E)))


@inlined
def power(x: Float, y: Float) -> Float:
    """Return xʸ."""
    size = abs(x)
    k, high, low = _log_parts(size)
    shift = k * LN2_SHORT
    total = shift + high
    low = (shift - total) + high + fma(k, LN2_REST, low)
    high = total + low
    low = (total - high) + low
    high = high if size < INFINITY else size
    high = -INFINITY if size == 0.0 else high
    exponent = y * high
    rest = fma(y, high, -exponent) + y * low
    value = exp_of_sum(exponent, rest if abs(exponent) < 800.0 else 0.0)
    value = 1.0 if size == 1.0 else value
    whole = floor(y) == y
    odd = whole and floor(0.5 * y) != 0.5 * y
    value = -value if odd and bits(x) < 0 else value
    value = value if x >= 0.0 or whole or size == INFINITY else NAN
    value = value if y == y or x == 1.0 else NAN
    value = value if x == x else NAN
    return 1.0 if y == 0.0 or x == 1.0 else value


@inlined
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


@inlined
def logaddexp(x: Float, y: Float) -> Float:
    """Return log(eˣ + eʸ)."""
    larger = x if x > y else y
    apart = 0.0 if x == y else -abs(x - y)
    return larger + log1p(exp_of_sum(apart, 0.0))


@inlined
def xlogy(x: Float, y: Float) -> Float:
    """Return x log(y), and 0 where x is 0."""
    return 0.0 if x == 0.0 else x * log(y)


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
    return r, fma(z * r, polynomial(z, SIN), -tail)


@inlined
def _cosine(r: Float, low: Float) -> tuple[Float, Float]:
    """Return the cosine of an angle within an eighth of a turn, in two parts."""
    z = r * r
    half = 0.5 * z
    near = 1.0 - half
    return near, ((1.0 - near) - half) + fma(z * z, polynomial(z, COS), -r * low)


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


@inlined
def sin(x: Float) -> Float:
    """Return the sine, or NaN beyond `LARGEST_ANGLE`."""
    return x if abs(x) < 1e-9 else _wave(x, 0)


@inlined
def cos(x: Float) -> Float:
    """Return the cosine, or NaN beyond `LARGEST_ANGLE`."""
    return _wave(x, 1)


@inlined
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
