"""Special functions as numbers: SciPy's, and what it lacks or does not do to 13 digits.

Each of ours is written once, for whole columns in NumPy and for one row in compiled code
(`sgdfit.kernel.special`): what differs between the two is `choose` alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

Array = Any  # an array of NumPy, or to Numba a number

# SciPy's.
gamma, lgamma, digamma = special.gamma, special.gammaln, special.digamma
expit, xlogy = special.expit, special.xlogy
erf, erfc, erfcx, erfinv = special.erf, special.erfc, special.erfcx, special.erfinv
i0, i1, k0, k1, iv = special.i0, special.i1, special.k0, special.k1, special.iv
j0, j1, y0, y1, jv = special.j0, special.j1, special.y0, special.y1, special.jv

# Of Weideman, "Computation of the complex error function", SIAM J. Numer. Anal. 31 (1994)
# 1497-1518: the rational approximation's width, and the coefficients of its polynomial, the highest
# power first, made in 60 digits. So many keep w, w' and w'' within 5e-15 of their size.
WIDTH = 5.577875793902916  # (44/√2)^½
# fmt: off
COEFFICIENTS = (
    6.027924241970681e-17, 1.077331418353169e-17, -3.5742644729321527e-16, -1.047758407495495e-16,
    2.162453644601993e-15, 1.198468859672555e-15, -1.3193049920888374e-14, -1.3084033439725573e-14,
    7.903383127638282e-14, 1.3269000763148774e-13, -4.392337665346003e-13, -1.2500363072171091e-12,
    1.9378715555010744e-12, 1.0805074831371246e-11, -1.8142963348946811e-12, -8.198435637343862e-11,
    -1.0087186538334606e-10, 4.759575827179154e-10, 1.608381020234525e-09, -8.26314287935274e-10,
    -1.5056804513236484e-08, -2.7121305791924914e-08, 6.460518746109449e-08, 4.217019366840134e-07,
    6.594943517975805e-07, -1.9068964862117496e-06, -1.3480715025378243e-05,
    -3.3593097997528964e-05, -4.3287593335725347e-07, 0.00037855337026215243, 0.0020206345843436268,
    0.007201511984731027, 0.020658312224274698, 0.05086885085979244, 0.11097504581962547,
    0.21849925739569082, 0.39294771171733545, 0.6508499582038785, 0.998806958379019,
    1.4264265694149585, 1.90199135050052, 2.3736300103074233, 2.7772980722462686, 3.050354987351804,
)
# fmt: on
ROOT_PI = float(np.sqrt(np.pi))
# x times what Stirling's formula for log(gamma(x)) lacks, in 1/x²; and trigamma(x) - 1/x - 1/(2x²)
# times x³, in the same.
STIRLING = (-3617 / 122400, 1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12)
TRIGAMMA = (-3617 / 510, 7 / 6, -691 / 2730, 5 / 66, -1 / 30, 1 / 42, -1 / 30, 1 / 6)


def choose(condition: Array, yes: Array, no: Array) -> Array:
    """Return ``yes`` where the condition holds, and ``no`` elsewhere; both are computed."""
    return np.where(condition, yes, no)


def faddeeva(z: Array) -> tuple[Array, Array, Array]:
    """Return w(z) = exp(-z²) erfc(-iz) and its first two derivatives, where z is not below 0."""
    d = 1.0 / (WIDTH - 1j * z)
    u = (WIDTH + 1j * z) * d
    p = p1 = p2 = 0.0 * u
    for coefficient in COEFFICIENTS:
        p2 = p2 * u + 2.0 * p1
        p1 = p1 * u + p
        p = p * u + coefficient
    p, p1, p2 = p * d, p1 * (WIDTH * d * d), p2 * (WIDTH * WIDTH * d * d * d)
    first = 1j * d * d * (1.0 / ROOT_PI + 4.0 * (p + p1))
    second = -2.0 * d * d * d * (1.0 / ROOT_PI + 6.0 * p + 12.0 * p1 + 4.0 * p2)
    return d * (1.0 / ROOT_PI + 2.0 * p), first, second


def voigt(x: Array, sigma: Array, gamma: Array) -> Array:
    """Return Voigt's profile, of unit area; it is continued to negative ``gamma``."""
    return special.voigt_profile(x, np.abs(sigma), gamma)


def voigt_slope(n: Array, m: Array, x: Array, sigma: Array, gamma: Array) -> Array:
    """Return its derivative, ``n`` times to x and ``m`` (0 or 1) times to gamma."""
    scale = np.sqrt(2.0) * np.abs(sigma)
    z = (x + 1j * gamma) / scale
    below = choose(gamma < 0.0, 1.0, 0.0)
    side = 1.0 - 2.0 * below
    w, first, second = faddeeva(side * z)
    # w(z) = 2 exp(-z²) - w(-z)
    square = z * z
    mirrored = 2.0 * below * np.exp(-below * square)
    w, slope = mirrored + side * w, first - 2.0 * z * mirrored
    bend = (4.0 * square - 2.0) * mirrored + side * second
    order = int(n + m)
    for k in range(order):
        w, slope, bend = slope, bend, -2.0 * z * bend - 2.0 * (k + 2.0) * slope
    return (w.real if m == 0.0 else -w.imag) / (ROOT_PI * scale ** (order + 1))


def erfcx_slope(x: Array) -> Array:
    """Return the derivative 2x erfcx(x) - 2/√π, whose terms cancel one another far out."""
    mirrored = choose(x < 0.0, 4.0 * x, 0.0) * np.exp(choose(x < 0.0, x * x, 0.0))
    return mirrored - faddeeva(1j * np.abs(x))[1].imag


def sinc(x: Array) -> Array:
    """Return sin(πx)/(πx)."""
    angle = np.pi * choose(x == 0.0, 1e-20, x)
    return np.sin(angle) / angle


def sinc_slope(x: Array) -> Array:
    """Return the derivative (cos(πx) - sinc(x))/x, by its series where these cancel."""
    near = np.abs(x) < 0.5
    angle = np.pi * choose(near, 0.5, x)
    far = (np.cos(angle) - np.sin(angle) / angle) / angle
    angle = np.pi * choose(near, x, 0.0)
    total = 0.0 * angle
    for k in range(10, -1, -1):
        total = 1.0 - total * angle * angle / ((2.0 * k + 2.0) * (2.0 * k + 5.0))
    return np.pi * choose(near, -angle / 3.0 * total, far)


def _series(x: Array, coefficients: tuple[float, ...]) -> Array:
    total = 0.0 * x
    for coefficient in coefficients:
        total = total / (x * x) + coefficient
    return total


def trigamma(x: Array) -> Array:
    """Return the derivative of digamma, by ten steps up and its series there."""
    from_zero = choose(x < 0.5, 1.0 - x, x)
    total = 0.0 * x
    for k in range(10):
        total = total + 1.0 / ((from_zero + k) * (from_zero + k))
    far = from_zero + 10.0
    total = total + 1.0 / far + (0.5 + _series(far, TRIGAMMA) / far) / (far * far)
    sine = np.sin(np.pi * (x - np.floor(x + 0.5)))
    return choose(x < 0.5, (np.pi / sine) * (np.pi / sine) - total, total)


def beta_of(a: Array, b: Array, value: Array, small: Array) -> Array:
    """Return B(a, b), which is ``value``, but for arguments of 10 and more.

    There logarithms of gamma functions cancel (as in SciPy, which keeps 10 digits of B(1e5, 0.01)),
    and Stirling's formula is exact. ``small`` is gamma of the smaller argument.
    """
    known = (np.maximum(a, b) >= 10.0) & (np.minimum(a, b) > 0.0)
    low, high = choose(known, np.minimum(a, b), 1.0), choose(known, np.maximum(a, b), 10.0)
    total = low + high
    exponent = (0.5 - high) * np.log1p(low / high) + _series(high, STIRLING) / high
    exponent = exponent - _series(total, STIRLING) / total
    near = small * np.exp(exponent - low * (np.log(total) - 1.0))
    both = (low - 0.5) * np.log(low / total) - 0.5 * np.log(total) + _series(low, STIRLING) / low
    far = np.sqrt(2.0 * np.pi) * np.exp(exponent + both)
    return choose(known, choose(low < 10.0, near, far), value)


def beta(a: Array, b: Array) -> Array:
    """Return the beta function."""
    return beta_of(a, b, special.beta(a, b), gamma(np.minimum(a, b)))
