"""The table of formulas: every function, power and condition that a formula may hold.

Each case stands inside its domain and predicts positive values, so that every loss is defined on
it (that of Poisson counts wants a positive prediction and a target of at least 0).
"""

from typing import NamedTuple

import numpy as np

from sgdfit.model.loss import as_loss
from sgdfit.model.model import Model, build

# Of the residuals, for the losses that are relative to it.
SCALE = 0.7

__all__ = ["FORMULAS", "SCALE", "Case", "data", "model_of", "theta_of"]


class Case(NamedTuple):
    """A formula, the range of each column on its right side, and where its parameters stand."""

    name: str
    formula: str
    columns: dict[str, tuple[float, float]]
    values: dict[str, float]
    options: dict[str, object] = {}  # noqa: RUF012 (never changed)


X = {"x": (-2.0, 2.0)}
POSITIVE = {"x": (0.2, 3.0)}
TWO = {"x": (0.2, 3.0), "z": (-1.0, 2.0)}
FIVE = {"u": (0.1, 1.0), "v": (0.5, 2.0), "w": (-1.0, 1.0), "x": (0.2, 3.0), "z": (1.0, 2.0)}
AB = {"a": 1.3, "b": 0.7}
ABC = AB | {"c": 6.0}
THIRTEEN = {f"k{i}": 0.1 * i + 0.2 for i in range(1, 14)}

FORMULAS = [
    Case("line", "y = a*x + b", POSITIVE, AB),
    Case("quadratic", "y = a*x**2 + b*x + c", X, ABC),
    Case("plane", "y = a*x + b*z + c", TWO, ABC),
    Case("five variables", "y = a*u + b*v*w + c*z + d*x/v", FIVE, ABC | {"d": 0.4}),
    Case(
        "thirteen parameters",
        "y = 9 + " + " + ".join(f"k{i}*sin({i}*x/3)" for i in range(1, 14)),
        X,
        THIRTEEN,
    ),
    Case("decay", "y = a*exp(-b*x) + c", POSITIVE, ABC),
    Case("two decays", "y = a*exp(-b*x) + c*exp(-d*x)", POSITIVE, ABC | {"d": 2.1}),
    Case("growth", "y = a*expm1(b*x) + c", POSITIVE, ABC),
    Case("log", "y = a*log(x + b) + c", POSITIVE, ABC),
    Case("log2 and log10", "y = a*log2(b*x) + log10(x + a) + c", POSITIVE, ABC),
    Case("log1p", "y = a*log1p(b*x) + c", POSITIVE, ABC),
    Case("roots", "y = a*sqrt(x + b) + c/sqrt(x)", POSITIVE, ABC),
    Case("cube root", "y = a*cbrt(x - b) + c", X, ABC),
    Case("waves", "y = a*sin(b*x) + a*cos(2*x + b) + c", X, ABC),
    Case("tangent", "y = a*tan(b*x/3) + c", X, ABC),
    Case("cotangent", "y = a/cot(b*x + 0.2) + cot(x/2) + c", {"x": (0.3, 1.2)}, ABC),
    Case("inverse waves", "y = a*asin(b*x/3) + acos(x/3*b) + a*atan(b*x) + c", X, ABC),
    Case("angle", "y = a*atan2(x, b*z) + c", {"x": (-2.0, 2.0), "z": (0.5, 2.0)}, ABC),
    Case("hyperbolic", "y = a*sinh(b*x) + cosh(a*x) + b*tanh(x*a) + c", X, ABC),
    Case("coth", "y = b/coth(a*x) + a*coth(b*x)", POSITIVE, AB),
    Case("inverse hyperbolic", "y = a*asinh(b*x) + acosh(x + a + 3) + c", X, ABC),
    Case("atanh", "y = a*atanh(b*x/3) + c", X, ABC),
    Case("error function", "y = a*erf(b*x) + b*erfc(a*x) + c", X, ABC),
    Case("absolute", "y = a*abs(x - b) + c", X, ABC),
    Case("steps", "y = a*sign(x - b) + b*floor(x) + ceil(x*2)*a + c", X, ABC | {"c": 12.0}),
    Case("extremes", "y = maximum(a*x, b) + minimum(x, a*b) + c", X, ABC),
    Case("clip", "y = clip(a*x, -b, b) + heaviside(x, 0.5)*a + c", X, ABC),
    Case("hypotenuse", "y = a*hypot(x, b*z)", TWO, AB),
    Case("logistic", "y = c*logistic((x - a)/b)", X, ABC),
    Case("logistic written out", "y = c/(1 + exp(-a*(x - b)))", X, ABC),
    Case("soft plus", "y = a*logaddexp(b*x, 0.3) + logaddexp(x, c)", X, ABC),
    Case("entropy", "y = c + xlogy(a*x, b + x)", POSITIVE, ABC),
    Case("where", "y = where(x > b, a*x, b*exp(-x)) + c", X, ABC),
    Case("hidden branch", "y = where(x > 0, sqrt(x)*a, -b*x) + c", X, ABC),
    Case("chain", "y = where(-1 < x <= b, a*x**2, b*x) + c", X, ABC),
    Case("and or not", "y = where(x < -1 or x > b and not z > 1, a, b*z) + c", TWO | X, ABC),
    Case("nested where", "y = where(x > 1, a, where(x > -1, b*x, a*b)) + c", X, ABC),
    Case("square and cube", "y = a*x**2 - b*x**3 + c", X, ABC | {"c": 9.0}),
    Case("high powers", "y = a*x**7 + b*x**16 + x**17*a*b + x**20", {"x": (0.2, 1.2)}, AB),
    Case("negative powers", "y = a*x**-1 + b*x**-2 + x**-5", POSITIVE, AB),
    Case("half powers", "y = a*x**0.5 + b*x**1.5 + x**-0.5", POSITIVE, AB),
    Case("fractions", "y = a*x**(1/3) + b*x**2.7", POSITIVE, AB),
    Case("power of a power", "y = (a*x + b)**4/(1 + (x - b)**2)**3", POSITIVE, AB),
    Case("power law", "y = a*x**b + c", POSITIVE, ABC),
    Case("symbolic base", "y = a*b**x + 2**(a*x)", X, AB),
    Case("pow", "y = pow(x, a) + power(b, x)", POSITIVE, AB),
    Case("gauss", "y = a*exp(-(x - b)**2/(2*s**2)) + c", X, ABC | {"s": 0.8}),
    Case("lorentz", "y = a/(1 + ((x - b)/c)**2)", X, ABC),
    Case("michaelis menten", "y = a*x/(b + x)", POSITIVE, AB),
    Case("hill", "y = c*x**a/(b**a + x**a)", POSITIVE, ABC),
    Case("ratio of cubics", "y = (a + b*x + x**2)/(1 + c*x + d*x**2)", POSITIVE, ABC | {"d": 0.3}),
    Case("circle constant", "y = a*sin(2*pi*x/b) + c", X, ABC),
    Case("one constant", "y = a + b*0.5", X, AB),
    Case("large numbers", "y = 1e6*a + 1e-3*b*x", X, {"a": 6e-6, "b": 700.0}),
    Case("left side log", "log(y) = a*x + b", {"x": (0.2, 2.0)}, AB),
    Case("left side ratio", "sqrt(y)/z = a*x + b", {"x": (0.2, 2.0), "z": (0.5, 1.0)}, AB),
    Case("fixed", "y = a*x**n + c", POSITIVE, {"a": 1.3, "c": 6.0}, {"fixed": {"n": 3}}),
    Case("tied", "y = a*x + d*x**2 + c", X, {"a": 0.6, "c": 8.0}, {"tied": {"d": "2*a"}}),
    Case("gamma functions", "y = a*gamma(x) + b*lgamma(a*x) + c + digamma(b*x)", POSITIVE, ABC),
    Case("beta function", "y = c*beta(x, a) + beta(b, a*x)", POSITIVE, ABC),
    Case("error functions", "y = c*erfcx(a*x) + a*erfinv(b*x/3) + erfcx(-b)", X, ABC),
    Case("Bessel", "y = a*j0(b*x) + b*j1(a*x) + c + i0(b*x) + a*i1(b*x/2)", X, ABC),
    Case("Bessel of the second kind", "y = c - y0(a*x) - b*y1(a*x) + k0(b*x) + k1(a*x)", POSITIVE,
         ABC),
    Case("sinc", "y = c + a*sinc(b*x)", X, ABC),
    Case("peaks", "y = a*voigt(x, b, s, g) + c*lorentzian(x, g) + gaussian(x - b, s)", X,
         ABC | {"s": 0.8, "g": 0.4}),
    Case("awkward names", "`lambda` = s_0*t0 + p0*x0", {"t0": (0.5, 1.0), "x0": (0.2, 1.0)},
         {"s_0": 1.2, "p0": 0.7}),
]  # fmt: skip


def model_of(case: Case, loss: str = "mse", **options) -> Model:
    """Return the model of a case, with residuals that scatter by `SCALE`."""
    known = as_loss(loss).scaled(SCALE)
    return build(case.formula, (*case.columns, *_left(case)), loss=known, **case.options, **options)


def theta_of(case: Case, model: Model) -> np.ndarray:
    """Return where the free parameters stand."""
    return np.array([case.values[name] for name in model.free])


def data(case: Case, rows: int = 257, seed: int = 3, dtype: str = "float64") -> list[np.ndarray]:
    """Return the columns in the order of the model's: variables, then a positive response."""
    random = np.random.default_rng(seed)
    model = model_of(case)
    response = {name: random.uniform(3.0, 9.0, rows) for name in _left(case)}
    known = {name: random.uniform(*limits, rows) for name, limits in case.columns.items()}
    return [(known | response)[name].astype(dtype) for name in model.columns]


def _left(case: Case) -> tuple[str, ...]:
    return ("lambda",) if case.formula.startswith("`") else ("y",)
