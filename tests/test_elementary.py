"""The vectorised elementary functions: within 2 units in the last place, by 200 bits of mpmath."""

import math
from functools import cache

import mpmath
import numpy as np
import pytest
from numba import njit
from scipy import special

from sgdfit.kernel import elementary
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.templates import dialects
from sgdfit.model.model import build

LIMIT = elementary.LARGEST_ANGLE
LARGEST = np.finfo(float).max
SUBNORMAL = 5e-324
# What the loops of kernels allow; the functions must not be reordered all the same.
ANY_ORDER = {"contract", "reassoc", "nsz"}
EVERYWHERE = (-np.inf, np.inf)

# Each function's oracle, and the open interval on which the two are compared.
ORACLES = {
    "exp": (mpmath.exp, EVERYWHERE),
    "expm1": (mpmath.expm1, EVERYWHERE),
    "sinh": (mpmath.sinh, EVERYWHERE),
    "cosh": (mpmath.cosh, EVERYWHERE),
    "tanh": (mpmath.tanh, EVERYWHERE),
    "logistic": (lambda x: 1 / (1 + mpmath.exp(-x)), EVERYWHERE),
    "log": (mpmath.log, (0.0, np.inf)),
    "log2": (lambda x: mpmath.log(x, 2), (0.0, np.inf)),
    "log10": (mpmath.log10, (0.0, np.inf)),
    "log1p": (mpmath.log1p, (-1.0, np.inf)),
    "sin": (mpmath.sin, (-LIMIT, LIMIT)),
    "cos": (mpmath.cos, (-LIMIT, LIMIT)),
    "tan": (mpmath.tan, (-LIMIT, LIMIT)),
    "atan": (mpmath.atan, EVERYWHERE),
    "cbrt": (lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), EVERYWHERE),
    "erf": (mpmath.erf, EVERYWHERE),
}
# Those that know no value there, or that C calls an error.
LIMITED = ("sin", "cos", "tan")
# Beyond these arguments a function has reached its limit; mpmath would take long to say so.
CEASE = {"exp": 800.0, "expm1": 800.0, "sinh": 800.0, "cosh": 800.0, "tanh": 50.0,
         "logistic": 800.0, "erf": 30.0}  # fmt: skip


@cache
def looped(name):
    """Return the function over an array, in a loop such as those of kernels."""
    function = getattr(elementary, name)

    @njit(error_model="numpy", fastmath=ANY_ORDER)
    def one(x, out):
        for i in range(len(x)):
            out[i] = function(x[i])

    @njit(error_model="numpy", fastmath=ANY_ORDER)
    def two(x, y, out):
        for i in range(len(x)):
            out[i] = function(x[i], y[i])

    def call(*arguments):
        out = np.empty(len(arguments[0]))
        (one if len(arguments) == 1 else two)(*map(np.ascontiguousarray, arguments), out)
        return out

    return call


def points(low, high):
    """Return arguments of every magnitude, near 0, 1, and multiples of π/2, and at the edges."""
    random = np.random.default_rng(1)
    sign = random.choice([-1.0, 1.0], 400)
    turns = [*range(-60, 61), *random.integers(1, 2**39, 100).tolist()]
    with mpmath.workprec(200):
        quarters = np.array([float(k * mpmath.pi / 2) for k in turns])
    edges = [709.782712893384, 709.7827128933841, 710.4758600739439, 710.475860073944]
    edges += [745.1332191019411, 745.1332191019412, 708.3964185322641, 1.0, 6.0, 0.4142135623730951]
    edges += [SUBNORMAL, 2.0**-1022, LARGEST, 1e-8, 1e-9, 1e-17, 36.7, 19.1]
    found = np.concatenate([
        sign * 10.0 ** random.uniform(-323, 308, 400),
        sign * 10.0 ** random.uniform(-4, 3, 400),
        1.0 + sign * 10.0 ** random.uniform(-16, -0.4, 400),
        random.uniform(-45.0, 45.0, 600),
        *(f(quarters) for f in (np.array, lambda q: np.nextafter(q, np.inf))),
        *(s * f(edges) for s in (1, -1) for f in (np.array, lambda e: np.nextafter(e, 0.0))),
    ])  # fmt: skip
    return found[(found > low) & (found < high)]


def true(name, x):
    """Return the value at x, to 200 bits."""
    limit = CEASE.get(name, np.inf)
    return ORACLES[name][0](mpmath.mpf(min(max(float(x), -limit), limit)))


def units(found, expected):
    """Return how many units in the last place lie between a float and the true value."""
    nearest = float(expected)
    if math.isinf(nearest) or math.isinf(found):
        # The largest float and infinity are neighbours to whoever rounds.
        same = found == nearest or {abs(found), abs(nearest)} == {np.inf, LARGEST}
        return 0.0 if same else np.inf
    return float(abs(mpmath.mpf(found) - expected) / max(math.ulp(nearest), SUBNORMAL))


@pytest.mark.parametrize("name", ORACLES)
def test_it_is_within_two_units_in_the_last_place(name):
    x = points(*ORACLES[name][1])
    assert len(x) > 500
    with mpmath.workprec(200):
        errors = [units(float(y), true(name, a)) for a, y in zip(x, looped(name)(x), strict=True)]
    assert max(errors) <= 2.0, (name, x[int(np.argmax(errors))])


@pytest.mark.parametrize("name", ORACLES)
def test_zeros_infinities_and_nan_are_as_in_numpy(name):
    inside = (0.0, -0.0, np.nan)
    x = np.array(inside if name in LIMITED else (*inside, np.inf, -np.inf, -1.0, -2.0))
    other = {"logistic": special.expit, "erf": special.erf}.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        found, expected = looped(name)(x), other(x)
    np.testing.assert_allclose(found, expected, rtol=5e-16)
    assert (np.signbit(found) == np.signbit(expected))[~np.isnan(found)].all()


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", -746.0, 0.0), ("exp", 710.0, np.inf), ("exp", -745.0, SUBNORMAL),
        ("log", 0.0, -np.inf), ("log", -1.0, np.nan), ("log1p", -1.0, -np.inf),
        ("log1p", -1.5, np.nan), ("tanh", 1e300, 1.0), ("erf", -1e300, -1.0),
        ("sinh", -711.0, -np.inf), ("cosh", 711.0, np.inf), ("expm1", -1e300, -1.0),
        ("sin", 2.0 * LIMIT, np.nan), ("cos", np.inf, np.nan), ("log2", 2.0**-1074, -1074.0),
        ("log10", 1e22, 22.0), ("tan", 1e13, np.nan), ("cbrt", -27.0, -3.0),
        ("logistic", -800.0, 0.0), ("exp", 1.0, np.e),
    ],
)  # fmt: skip
def test_the_edges_are_exact(name, x, expected):
    np.testing.assert_array_equal(looped(name)(np.full(9, x)), np.full(9, expected))


def test_powers_are_within_two_units_in_the_last_place():
    random = np.random.default_rng(3)
    x = np.concatenate([
        10.0 ** random.uniform(-300, 300, 500),
        random.uniform(0.5, 2.0, 500),
        SUBNORMAL * random.integers(1, 1000, 200),
        -random.uniform(0.1, 50.0, 200),
        random.uniform(0.1, 10.0, 600),
    ])  # fmt: skip
    y = np.concatenate([
        random.uniform(-1, 1, 500) * 10.0 ** random.uniform(-2, 2.5, 500),
        random.uniform(-1020.0, 1020.0, 500),
        random.uniform(-1.0, 1.0, 200),
        random.integers(-60, 60, 200),
        random.uniform(-330.0, 330.0, 600),
    ])  # fmt: skip
    out = looped("power")(x, y)
    with mpmath.workprec(200):
        expected = [mpmath.power(mpmath.mpf(a), mpmath.mpf(b)) for a, b in zip(x, y, strict=True)]
        errors = [units(float(p), mpmath.re(e)) for p, e in zip(out, expected, strict=True)]
    assert max(errors) <= 2.0, (x[int(np.argmax(errors))], y[int(np.argmax(errors))])


def test_powers_keep_the_rules_of_ieee():
    odd = [0.0, 1.0, 0.5, 2.0, 3.0, 2.5, SUBNORMAL, 1e308, 2.0**53 + 1, np.inf, np.nan]
    x, y = (np.ravel(a).copy() for a in np.meshgrid(*[odd + [-v for v in odd]] * 2))
    out = looped("power")(x, y)
    with np.errstate(all="ignore"):
        expected = np.power(x, y)
    np.testing.assert_allclose(out, expected, rtol=1e-15)
    assert (np.signbit(out) == np.signbit(expected))[~np.isnan(expected)].all()


@pytest.mark.parametrize(
    ("x", "y"), [(1.0, 2.0), (-3.0, -3.0), (np.inf, np.inf), (-np.inf, -np.inf), (-np.inf, 5.0),
                 (800.0, -800.0), (np.nan, 1.0), (1.0, np.nan), (0.0, np.inf), (1e-3, 1e3)]
)  # fmt: skip
def test_functions_of_two_arguments_agree_with_numpy_and_scipy(x, y):
    pairs = (("logaddexp", np.logaddexp), ("xlogy", special.xlogy), ("power", np.power))
    for name, other in pairs:
        with np.errstate(all="ignore"):
            expected = other(x, y)
        np.testing.assert_allclose(looped(name)(np.array([x]), np.array([y])), expected, rtol=4e-16)


def partials(formula, x, theta):
    model = build(formula, ["x", "y"])
    chunk = Chunk((x, np.zeros(len(x))), None)
    forms = ("numpy", "compiled")
    return [make(model, None, form).sums(np.array(theta), chunk) for form in forms]


@pytest.mark.parametrize(
    ("formula", "again"),
    [
        ("y = a*sin(x)", True),
        ("y = a*exp(-x**2)", False),
        ("y = a*where(sin(x) > 0, 1, 2)", False),
        ("y = abs(x)**a*1e-90 + sin(x)", True),
    ],
)
def test_huge_angles_are_left_to_the_library_of_c(formula, again):
    """Rows beyond the limit in one block of three, and no NaN that a condition would hide."""
    assert (dialects(build(formula, ["x", "y"])) == ("fast", "libm")) == again
    x = np.random.default_rng(7).uniform(0.0, 10.0, 10_000)
    x[5000:5010] = 10.0 ** np.linspace(13, 30, 10)
    if "**2" in formula:
        x[5000:5010] = 50.0
    one, two = partials(formula, x, [1.3])
    assert np.isfinite(one.loss)
    assert two.loss == pytest.approx(one.loss, rel=1e-12)
    np.testing.assert_allclose(two.gradient, one.gradient, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(two.curvature, one.curvature, rtol=1e-12)
