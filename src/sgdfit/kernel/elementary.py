"""Elementary functions without calls and branches, which compilers put into vector registers.

Each is within 2 units in the last place of the true value, and keeps the rules of IEEE 754 for
zeros, infinities and NaN. What is written ``a if c else b`` becomes a selection: both sides are
computed. Sine, cosine and tangent are NaN beyond `LARGEST_ANGLE`, where reducing the angle takes
more than fits here; `sgdfit.kernel.kernel_source` has such rows done again by the library of C.

No flag allows the compiler to reorder anything in them: most lines would be zero if it did. Sums
kept in two parts follow Dekker, Numerische Mathematik 18 (1971) 224; the reductions are those of
Cody and Waite, Software Manual for the Elementary Functions (1980).
"""

from sgdfit.kernel.angles import LARGEST_ANGLE, acos, asin, atan, cos, sin, tan
from sgdfit.kernel.exponentials import cosh, erf, exp, expm1, logistic, sinh, tanh
from sgdfit.kernel.logarithms import cbrt, log, log1p, log2, log10, logaddexp, power, xlogy

__all__ = [
    "LARGEST_ANGLE",
    "acos",
    "asin",
    "atan",
    "cbrt",
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
    "tan",
    "tanh",
    "xlogy",
]
