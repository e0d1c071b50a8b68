"""Which parameters are linear together, what falls apart, and what each nonlinear one is."""

import numpy as np
import pytest

from sgdfit.formula.formula import symbol
from sgdfit.kernel.numpy_kernel import evaluator
from sgdfit.model.model import build
from sgdfit.model.roles import RESPONSE, roles_of
from sgdfit.model.separation import harmonics, separate

COLUMNS = ["x", "u", "v", "y"]


def prediction_of(text, **options):
    model = build(f"y = {text}", COLUMNS, **options)
    return model.prediction, model.free


SEPARATIONS = [
    # the right side, linear parameters, components of nonlinear ones
    ("a + b*x", "a b", []),
    ("a*exp(-b*x) + c", "a c", ["b"]),
    ("b1*(1 - exp(-b2*x))", "b1", ["b2"]),
    ("a*x**b", "a", ["b"]),
    ("exp(-b1*x)/(b2 + b3*x)", "", ["b1 b2 b3"]),
    ("(p + q*x)/(1 + r*x)", "p q", ["r"]),
    (
        "b1 + b2*cos(x) + b3*sin(x) + b5*cos(x/b4) + b6*sin(x/b4) + b8*cos(x/b7) + b9*sin(x/b7)",
        "b1 b2 b3 b5 b6 b8 b9",
        ["b4", "b7"],
    ),
    (
        "b1*exp(-b2*x) + b3*exp(-(x - b4)**2/b5**2) + b6*exp(-(x - b7)**2/b8**2)",
        "b1 b3 b6",
        ["b2", "b4 b5", "b7 b8"],
    ),
    ("a*exp(-(x - m)**2/s**2) + b*exp(-(x - n)**2/s**2)", "a b", ["m s n"]),
    ("a*b*c", "a", ["b c"]),
    ("(a + b*x)*(c + d*exp(x))", "a b", ["c d"]),
    ("a/b*x + c/b", "a c", ["b"]),
    ("abs(a)*x + b", "b", ["a"]),
    ("sign(a)*x*b + c", "b c", ["a"]),
    ("b**x + a", "a", ["b"]),
    ("a*where(a > x, x, 0)", "", ["a"]),
    ("log(a*x) + floor(b*x) + c", "c", ["a", "b"]),
    ("a*b + b*c + c*d", "a c", ["b d"]),
    ("exp(b*x) + exp(c*u)", "", ["b", "c"]),
    ("a*sin(w*x + p) + c", "a c", ["w p"]),
    ("where(x < k, a, b)", "a b", ["k"]),
    ("floor(a*x) + b", "b", ["a"]),
    ("maximum(a, b*x)", "", ["a b"]),
]


@pytest.mark.parametrize(("text", "linear", "components"), SEPARATIONS)
def test_linear_parameters_and_components_which_add_up(text, linear, components):
    parts = separate(*prediction_of(text))
    known = {frozenset(part.names) for part in parts.components}
    assert parts.linear == build(f"y = {text}", COLUMNS).linear == tuple(linear.split())
    assert known == {frozenset(group.split()) for group in components}
    prediction, free = prediction_of(text)
    total = sum(
        piece.offset + sum(symbol(a) * f for a, f in zip(piece.linear, piece.basis, strict=True))
        for piece in (parts.plain, *parts.components)
    )
    draws = np.random.default_rng(1)
    points = draws.uniform(0.5, 2.0, (20, len(free)))
    rows = tuple(draws.uniform(0.5, 3.0, (4, 7)))
    whole, sums = evaluator((prediction, total), free, tuple(COLUMNS))(points, rows).swapaxes(0, 1)
    assert sums == pytest.approx(whole, rel=1e-9, abs=1e-12)
    given = separate(prediction, parts.linear)
    assert (given.linear, given.nonlinear, given.components) == (parts.linear, (), ())


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("a*exp(-b*x)", {"a": "magnitude", "b": "rate"}),
        ("a*exp(-x/b)", {"b": "length"}),
        ("a*exp(-(x - m)**2/(2*s**2))", {"m": "position", "s": "length"}),
        ("a*exp(-((x - m)**2 + (u - n)**2)/s**2)", {"m": "position", "n": "position"}),
        ("a*sin(w*x + p)", {"w": "frequency", "p": "phase"}),
        ("a*sin(2*pi*x/t)", {"t": "period"}),
        ("a*x**k", {"k": "exponent"}),
        ("a*(x + c)**(-1/k)", {"c": "pole", "k": "exponent"}),
        ("a*x/(b + x) + log(x - c)", {"b": "pole", "c": "pole"}),
        ("a*voigt(x, m, s, g)", {"m": "position", "s": "length", "g": "length"}),
        ("lgamma(x + p) - beta(2, x + q)", {"p": "pole", "q": "pole"}),
        ("a/(1 + exp(b - r*x))", {"b": "intercept", "r": "rate"}),
        ("a/(1 + exp(-r*(x - m)))", {"m": "position", "r": "rate"}),
        ("a*log(x/c)", {"c": "length"}),
        ("a*tanh((x - m)/s) + b", {"m": "position", "s": "length"}),
        ("where(x < k, a, b)", {"k": "position"}),
        ("exp(-b*x)/(c + d*x)", {"b": "rate", "c": "magnitude", "d": "magnitude"}),
        ("a*exp(-(x - 2440000 - m)**2/s**2)", {"m": "position", "s": "length"}),
        ("a/(1 + exp(b*(log(x) - e)))", {"b": "rate", "e": "position"}),
        ("a*exp(-e/(8.314*(x + 273.15)))", {"e": "length"}),
    ],
)
def test_roles(text, kinds):
    roles = roles_of(*prediction_of(text), ("x", "u", "v"))
    assert {name: roles[name].kind for name in kinds} == kinds


@pytest.mark.parametrize(
    ("text", "name", "size"),
    [
        ("a*exp(-x*s/1.6e-16)", "s", 1.6e-16),
        ("a*exp(-e/(1.380649e-23*x))", "e", 1.380649e-23),
        ("a/x**5/(exp(14387.77/(x*t)) - 1)", "t", 14387.77),
        ("a*exp(-x**2/(4e-9*d))", "d", 1 / 4e-9),
        ("a*sin(2*pi*1e9*f*x + p)", "f", 1 / (2e9 * np.pi)),
        ("a*sin(2*pi*(f*x + p))", "p", 1 / (2 * np.pi)),
        ("a*tanh(3e8*(x - m)/(m*s))", "s", 3e8),
        ("a*(1 - exp(-k*1e-6*x/a))", "k", 1e6),
        ("a/(1e-12 + exp(-k*x))", "k", 1.0),
    ],
)
def test_numbers_are_part_of_what_a_parameter_is_measured_in(text, name, size):
    assert roles_of(*prediction_of(text), ("x",))[name].factor == pytest.approx(size, rel=0.01)


CLOSED = [
    "a*exp(-b*x) + c",
    "exp(-b*x)/(c + d*x)",
    "(p + q*x + r*x**2)/(1 + s*x + t*x**2)",
    "a*(x**2 + x*b)/(x**2 + x*c + d)",
    "a*exp(b/(x + c))",
    "a*exp(-(x - m)**2/s**2)",
    "a*sin(w*x + p)",
    "a/(1 + exp(b - c*x))**(1/d)",
    "a*sqrt(x*u)*exp(-b*x*u) + c*abs(x - m) + maximum(d*u, e)",
    "a*cbrt(x + b) + where(u > k, c, d*x)",
]


@pytest.mark.parametrize("text", CLOSED)
def test_parameters_scaled_by_their_powers_leave_the_curve_as_it_is(text):
    prediction, free = prediction_of(text)
    powers = {name: dict(r.powers) for name, r in roles_of(prediction, free, ("x", "u")).items()}
    factors = {"x": 7.0, "u": 0.3, RESPONSE: 11.0}
    draws = np.random.default_rng(3)
    theta = draws.uniform(0.5, 2.0, (5, len(free)))
    scale = [np.prod([factors[c] ** float(n) for c, n in powers[p].items()]) for p in free]
    x, u = draws.uniform(0.5, 3.0, (2, 9))
    evaluate = evaluator((prediction,), free, ("x", "u"))
    before = evaluate(theta, (x, u))
    after = evaluate(theta * np.array(scale), (7.0 * x, 0.3 * u))
    assert after == pytest.approx(11.0 * before, rel=1e-10)
    # A power with a parameter is taken up by what multiplies it.
    roles = roles_of(*prediction_of("a*x**b + c"), ("x",))
    assert (roles["b"].powers, roles["c"].powers) == ((), ((RESPONSE, 1),))
    # A base has the size of what its power tends to, where the exponent tends to 1.
    bases = "n**(1 - exp(-k*x))", "exp(log(n)*(1 - exp(-k*x)))", "n**x"
    powers = [roles_of(*prediction_of(text), ("x",))["n"].powers for text in bases]
    assert powers == [((RESPONSE, 1),), ((RESPONSE, 1),), ()]


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        ("c + a*sin(w*x + p)", ["p"]),
        ("a*exp(-c*x)*cos(2*pi*x/w + p) + b*sin(2*x + 3*q)", ["p", "q"]),
        ("a*cos(2*pi*(x - p)/w) + b*sin(w*x - q)", ["q"]),
        ("a*cos(2*pi*(x - p)/w) + c", ["p"]),
        ("a*sin(w*x + p)**2", []),
        ("a*sin(w*x + p) + b*cos(w*x + p)", []),
        ("a*cosh(x + p)", []),
        ("a*exp(-(x - p)/w)", []),
        ("a*x*sin(p)", []),
        ("a*exp(-(x - p)/b)", []),
        ("a*(x - p)**2 + b*exp(x*p)", []),
    ],
)
def test_phases_are_linear_in_disguise(text, phases):
    expression, names = prediction_of(text)
    written, found = harmonics(expression, names)
    assert sorted(one.phase for one in found if one.phase in phases) == phases
    assert bool(found) == bool(phases)
    at = dict(zip(names, np.random.default_rng(3).uniform(0.5, 2.0, len(names)), strict=True))
    turned = dict(at)
    for one in found:
        rate = float(one.rate.xreplace({symbol(name): value for name, value in at.items()}))
        turned[one.amplitude] = at[one.amplitude] * np.cos(rate * at[one.phase])
        turned[one.phase] = at[one.amplitude] * np.sin(rate * at[one.phase])
    x = np.linspace(0.0, 5.0, 40)
    same = [
        evaluator((side,), names, ("x",))(np.array([[values[n] for n in names]]), [x])
        for side, values in ((expression, at), (written, turned))
    ]
    assert same[1] == pytest.approx(same[0], abs=1e-12)
