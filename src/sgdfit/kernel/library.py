"""The functions of `sgdfit.kernel.elementary` as the library of C has them.

They are right for every argument, and quicker where one value alone is wanted, but no loop that
calls them runs in vector registers.
"""

from __future__ import annotations

import math

import numpy

from sgdfit.kernel import elementary
from sgdfit.kernel.instructions import Float, compiled

# The same names, of which one is no function.
__all__ = [name for name in elementary.__all__ if name != "LARGEST_ANGLE"]


@compiled
def exp(x: Float) -> Float:
    """Return eˣ."""
    return math.exp(x)


@compiled
def expm1(x: Float) -> Float:
    """Return eˣ - 1."""
    return math.expm1(x)


@compiled
def sinh(x: Float) -> Float:
    """Return the hyperbolic sine."""
    return math.sinh(x)


@compiled
def cosh(x: Float) -> Float:
    """Return the hyperbolic cosine."""
    return math.cosh(x)


@compiled
def tanh(x: Float) -> Float:
    """Return the hyperbolic tangent."""
    return math.tanh(x)


@compiled
def log(x: Float) -> Float:
    """Return the natural logarithm."""
    return math.log(x)


@compiled
def log1p(x: Float) -> Float:
    """Return log(1 + x)."""
    return math.log1p(x)


@compiled
def log2(x: Float) -> Float:
    """Return the logarithm to base 2."""
    return math.log2(x)


@compiled
def log10(x: Float) -> Float:
    """Return the logarithm to base 10."""
    return math.log10(x)


@compiled
def sin(x: Float) -> Float:
    """Return the sine."""
    return math.sin(x)


@compiled
def cos(x: Float) -> Float:
    """Return the cosine."""
    return math.cos(x)


@compiled
def asin(x: Float) -> Float:
    """Return the angle whose sine is x."""
    return math.asin(x)


@compiled
def acos(x: Float) -> Float:
    """Return the angle whose cosine is x."""
    return math.acos(x)


@compiled
def tan(x: Float) -> Float:
    """Return the tangent."""
    return math.tan(x)


@compiled
def atan(x: Float) -> Float:
    """Return the angle whose tangent is x."""
    return math.atan(x)


@compiled
def cbrt(x: Float) -> Float:
    """Return the cube root."""
    return numpy.cbrt(x)


@compiled
def erf(x: Float) -> Float:
    """Return the error function."""
    return math.erf(x)


@compiled
def power(x: Float, y: Float) -> Float:
    """Return xʸ."""
    return x**y


@compiled
def logistic(x: Float) -> Float:
    """Return 1/(1 + e⁻ˣ)."""
    z = math.exp(-abs(x))
    return (1.0 if x >= 0.0 else z) / (1.0 + z)


@compiled
def logaddexp(x: Float, y: Float) -> Float:
    """Return log(eˣ + eʸ)."""
    apart = 0.0 if x == y else -abs(x - y)
    return (x if x > y else y) + math.log1p(math.exp(apart))


@compiled
def xlogy(x: Float, y: Float) -> Float:
    """Return x log(y), and 0 where x is 0."""
    return 0.0 if x == 0.0 else x * math.log(y)
