"""Starting values: from formula and data alone to the minimum that the truth leads to."""

import warnings

import mpmath
import numpy as np
import pytest
import sympy
from scipy.optimize import least_squares

import sgdfit
from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.numpy_kernel import evaluator
from sgdfit.model.model import build
from sgdfit.starts.search import find_starts

DRAWS = np.random.default_rng(5)
EVEN = np.linspace(0.0, 10.0, 120)
YEARS = np.linspace(1790.0, 2020.0, 24)
FIVE = {f"x{i}": DRAWS.uniform(0.0, 4.0, 400) for i in range(1, 6)}


def gauss(i):
    return f"a{i}*exp(-(x - m{i})**2/s{i}**2)"


# Beside the families of benchmarks/recovery.py and NIST's sets, which are searched as well:
# formula, columns, truth, standard deviation of the noise.
CASES = {
    "far exponential": (
        "b1*exp(b2/(x + b3))",
        {"x": np.linspace(50, 125, 16)},
        {"b1": 0.0056, "b2": 6181, "b3": 345},
        3.0,
    ),
    "two cycles": (
        "c + a*cos(2*pi*x/p) + b*sin(2*pi*x/p) + d*cos(2*pi*x/q) + e*sin(2*pi*x/q)",
        {"x": np.arange(1.0, 169.0)},
        {"c": 10.5, "a": -1.6, "b": 0.5, "p": 44.3, "d": 0.2, "e": 1.5, "q": 26.9},
        1.5,
    ),
    "blended peaks": (
        f"b1*exp(-b2*x) + {gauss(1)} + {gauss(2)}",
        {"x": np.arange(1.0, 251.0)},
        {"b1": 99, "b2": 0.011, "a1": 101, "m1": 111.6, "s1": 23.3, "a2": 74, "m2": 147.8}
        | {"s2": 19.7},
        2.3,
    ),
    "four peaks": (
        " + ".join(map(gauss, range(1, 5))),
        {"x": np.linspace(0, 100, 300)},
        {"a1": 3, "m1": 20, "s1": 2, "a2": 2, "m2": 26, "s2": 3, "a3": 5, "m3": 60, "s3": 1}
        | {"a4": 1, "m4": 75, "s4": 9},
        0.05,
    ),
    "peaks on a decay": (
        f"b*exp(-k*x) + {gauss(1)} + {gauss(2)} + {gauss(3)}",
        {"x": EVEN},
        {"b": 6.6, "k": 0.82, "a1": 3.4, "m1": 3.8, "s1": 0.87, "a2": 6, "m2": 8, "s2": 0.54}
        | {"a3": 5.3, "m3": 9.2, "s3": 0.97},
        0.1,
    ),
    "waves from a place": (
        "a*sin(2*pi*(x - o)/p) + b*cos(w*x + q) + c",
        {"x": 2000 + EVEN},
        {"a": 2, "o": 2003, "p": 2.2, "b": 1, "w": 7, "q": 2, "c": 5},
        0.1,
    ),
    "logistic in years": (
        "K/(1 + exp(a - r*x))",
        {"x": YEARS},
        {"K": 330, "r": 0.028, "a": 54.04},
        3.0,
    ),
    "high frequency": (
        "a*sin(2*pi*f*x + p)",
        {"x": np.sort(DRAWS.uniform(0, 4, 200))},
        {"a": 2, "f": 19.2, "p": -2},
        0.5,
    ),
    "break": ("where(x < k, a, b)*x + c", {"x": EVEN}, {"k": 6.31, "a": 1, "b": 2, "c": 3}, 0.1),
    "surface": (
        "a*exp(-((x - m)**2 + (u - n)**2)/s**2) + c",
        {"x": DRAWS.uniform(0, 10, 300), "u": DRAWS.uniform(0, 20, 300)},
        {"a": 5, "m": 3, "n": 14, "s": 1.5, "c": 1},
        0.1,
    ),
    "Voigt's profiles": (
        "c + a*voigt(x, m, s, g) + b*voigt(x, n, s, g)",
        {"x": EVEN},
        {"c": 1, "a": 3, "m": 4, "s": 0.3, "g": 0.2, "b": 2, "n": 6.5},
        0.05,
    ),
    "logarithms of gamma": (
        "lgamma(x + p) - lgamma(x + q)",
        {"x": EVEN},
        {"p": 2.5, "q": 1.0},
        0.01,
    ),
    "spherical wave": ("a*sinc(w*(x - m)) + c", {"x": EVEN}, {"a": 3, "w": 1, "m": 6, "c": 1}, 0.1),
    "added shift": (
        "a*tanh((x + m)/s) + c",
        {"x": EVEN},
        {"a": 3, "m": -6, "s": 0.5, "c": 1},
        0.05,
    ),
    "widths in nanometres": (
        "a*exp(-(x - m)**2/(2*(s*1e-9)**2)) + c",
        {"x": np.linspace(4e-7, 7e-7, 120)},
        {"a": 5, "m": 5.3e-7, "s": 12, "c": 0.5},
        0.05,
    ),
    "magnitudes": (
        "-2.5*log10(f*exp(-(x - 2451545)/t) + b)",
        {"x": np.linspace(2451545, 2451625, 60)},
        {"f": 1e-8, "t": 9, "b": 1e-10},
        0.05,
    ),
    "vapour pressure": (
        "10**(a - b/(x + 273.15 - c))",
        {"x": np.linspace(10, 120, 30)},
        {"a": 9, "b": 1900, "c": 45},
        1e3,
    ),
    "five variables": (
        "a*exp(-b*x1) + c*x2**d + e*x3 + f*tanh(g*x4) + h*sin(w*x5)",
        FIVE,
        {"a": 2, "b": 0.8, "c": 1.5, "d": 1.7, "e": -1, "f": 2, "g": 1.4, "h": 0.7, "w": 3.1},
        0.1,
    ),
}


def modelled(text, columns, **options):
    return build(f"y = {text}", [*columns, "y"], **options)


def predicted(model, columns, theta):
    rows = [np.asarray(columns[name], dtype=float) for name in model.variables]
    evaluate = evaluator((model.prediction,), model.free, model.variables)
    with np.errstate(all="ignore"):
        return evaluate(np.atleast_2d(theta), rows)[0, 0]


def observed(name):
    """Return a case's model, its rows with noise, and the truth."""
    text, columns, truth, noise = CASES[name]
    model = modelled(text, columns)
    theta = np.array([truth[p] for p in model.free], dtype=float)
    clean = predicted(model, columns, theta)
    y = clean + noise * np.random.default_rng(1).normal(size=len(clean))
    return model, {**columns, "y": y}, theta


def chunk_of(model, rows, weights=None):
    return Chunk(tuple(np.asarray(rows[name], dtype=float) for name in model.columns), weights)


def reference(model, rows, theta, root=1.0, **options):
    """Return the mean squared residual of the minimum that scipy finds from ``theta``."""
    options = {"method": "lm", "x_scale": np.abs(theta), "xtol": 1e-14, "ftol": 1e-14} | options

    def residual(at):
        return root * (rows["y"] - predicted(model, rows, at))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return 2.0 * least_squares(residual, theta, **options).cost / len(rows["y"])


@pytest.mark.parametrize("name", CASES)
def test_the_first_candidate_is_the_minimum_at_the_truth(name):
    model, rows, theta = observed(name)
    found = find_starts(model, chunk_of(model, rows), {}, 0)
    best = found.candidates[0]
    assert best.loss <= reference(model, rows, theta) * (1 + 1e-6)
    assert set(found.linear) | set(found.ranges) == set(model.free)
    # Candidates are distinct minima, best first, each led to from its start.
    losses = [candidate.loss for candidate in found.candidates]
    assert losses == sorted(losses)
    assert found.points > 0
    assert 1 <= len(losses) <= found.polished
    curves = [predicted(model, rows, candidate.theta) for candidate in found.candidates]
    for i, (curve, candidate) in enumerate(zip(curves, found.candidates, strict=True)):
        # Of a very slow wave, whose amplitude is huge, rounding leaves fewer digits.
        assert candidate.loss == pytest.approx(np.mean((rows["y"] - curve) ** 2), rel=1e-6)
        start = np.mean((rows["y"] - predicted(model, rows, candidate.start)) ** 2)
        assert not start < candidate.loss * (1 - 1e-12)
        for other in curves[:i]:
            assert np.mean((curve - other) ** 2) > 1e-7 * losses[i]


# Those of which a change of units is one of the parameters.
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"logarithms of gamma", "magnitudes"}))
def test_other_units_and_another_seed_lead_to_the_same_minimum(name):
    model, rows, theta = observed(name)
    scaled = {c: values * (1e-12 if c == "y" else 1e9) for c, values in rows.items()}
    found = find_starts(model, chunk_of(model, scaled), {}, 1).candidates[0]
    assert found.loss <= 1e-24 * reference(model, rows, theta) * (1 + 1e-5)


@pytest.mark.parametrize("name", ["two cycles", "Voigt's profiles", "break"])
def test_the_seed_decides_every_bit_of_a_search(name):
    model, rows, _ = observed(name)
    once, again = (find_starts(model, chunk_of(model, rows), {}, 1) for _ in range(2))
    one, other = ([c.theta.tobytes() for c in found.candidates] for found in (once, again))
    assert one == other


DECAY = "a*exp(-b*x) + c"


def decay(**options):
    model = modelled(DECAY, {"x": EVEN}, **options)
    noise = 0.01 * np.random.default_rng(0).normal(size=len(EVEN))
    return model, {"x": EVEN, "y": 3.0 * np.exp(-0.7 * EVEN) + 1.0 + noise}


@pytest.mark.parametrize(
    "bounds",
    [
        {"b": (1.0, 2.0)},
        {"b": (0.0, None), "a": (0.0, None)},
        {"a": (0.0, 2.0), "c": (None, 0.5)},
        {"a": (4.0, 5.0), "b": (1e-6, 10.0), "c": (1.2, 1.3)},
        {"b": (0.69, 0.6901)},
    ],
)
def test_every_value_lies_inside_its_bounds(bounds):
    model, rows = decay(bounds=bounds)
    found = find_starts(model, chunk_of(model, rows), {}, 0)
    low = np.array([model.parameters[name].low for name in model.free])
    high = np.array([model.parameters[name].high for name in model.free])
    for candidate in found.candidates:
        for values in (candidate.start, candidate.theta):
            assert ((low <= values) & (values <= high)).all()
    middle = np.clip(found.candidates[0].theta, low + 1e-9, high - 1e-9)
    best = reference(model, rows, middle, method="trf", bounds=(low, high))
    assert found.candidates[0].loss <= best * (1 + 1e-6)


@pytest.mark.parametrize("given", [{"b": 0.5}, {"a": 2.0, "c": 1.1}])
def test_given_values_are_held(given):
    model, rows = decay()
    found = find_starts(model, chunk_of(model, rows), given, 0)
    at = dict(zip(model.free, found.candidates[0].theta, strict=True))
    assert {name: at[name] for name in given} == given
    assert not {*found.linear, *found.ranges} & set(given)
    held = modelled(DECAY, {"x": EVEN}, fixed=given)
    expected = reference(held, rows, np.array([at[name] for name in held.free]))
    assert found.candidates[0].loss == pytest.approx(expected, rel=1e-9)


def test_weights_count():
    model, rows = decay()
    weights = np.where(EVEN < 1.0, 5.0, 0.1)
    found = find_starts(model, chunk_of(model, rows, weights), {}, 0)
    best = reference(model, rows, np.array([3.0, 0.7, 1.0]), root=np.sqrt(weights))
    assert found.candidates[0].loss == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "curve", "truth"),
    [
        ("a*sqrt(x - b)", lambda x: 2.0 * np.sqrt(x - 0.3), {"a": 2.0, "b": 0.3}),
        ("a*asin(x*b)", lambda x: 2.0 * np.arcsin(0.09 * x), {"a": 2.0, "b": 0.09}),
        ("a*b**x", lambda x: 2.0 * 0.5**x, {"a": 2.0, "b": 0.5}),
        ("a*abs(x - m)**p", lambda x: 2.0 * np.abs(x - 3.0) ** 1.3, {"a": 2, "m": 3, "p": 1.3}),
    ],
)
def test_regions_without_a_value_are_passed_over(text, curve, truth):
    x = np.linspace(1.0, 10.0, 60)
    model = modelled(text, {"x": x})
    best = find_starts(model, chunk_of(model, {"x": x, "y": curve(x)}), {}, 0).candidates[0]
    assert dict(zip(model.free, best.theta, strict=True)) == pytest.approx(truth, rel=1e-6)


def test_nowhere_a_value_is_no_candidate():
    model = modelled("a*log(-x**2 - b**2)", {"x": EVEN})
    found = find_starts(model, chunk_of(model, {"x": EVEN + 1.0, "y": EVEN}), {}, 0)
    assert found.candidates == ()


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_fewer_rows_than_parameters(rows):
    model, full = decay()
    few = {name: values[:rows] for name, values in full.items()}
    found = find_starts(model, chunk_of(model, few), {}, 0)
    assert [candidate.loss < 1e-20 for candidate in found.candidates] == [True] * bool(rows)


@pytest.mark.parametrize(
    ("x", "y", "loss"),
    [
        (EVEN, 0.0 * EVEN, 0.0),
        (EVEN, 0.0 * EVEN + 3.0, 0.0),
        (0.0 * EVEN + 2.0, EVEN, np.var(EVEN)),
        (EVEN, np.where(EVEN > 9.0, np.nan, 3.0 * np.exp(-0.7 * EVEN) + 1.0), 0.0),
    ],
)
def test_columns_without_spread_and_rows_without_value(x, y, loss):
    model, _ = decay()
    found = find_starts(model, chunk_of(model, {"x": x, "y": y}), {}, 0)
    assert found.candidates[0].loss == pytest.approx(loss, rel=1e-9, abs=1e-20)


DECAYS = "a*exp(-k*x) + b*exp(-m*x) + c*exp(-n*x)"


@pytest.mark.parametrize(
    ("text", "y"),
    [
        # Their least sums of squares lie at infinity, where terms cancel or a pole is on a row.
        (DECAYS, np.where(EVEN > 4.0, 2.0, 0.0) + 0.01 * DRAWS.normal(size=120)),
        (DECAYS, np.sin(EVEN / 4.0)),
        ("a*exp(-(x - m)**2/(2*s**2)) + c", (EVEN - 9.0) ** 2 + 0.1 * DRAWS.normal(size=120)),
        ("v*x/(k + x + x**2/i)", np.where(np.arange(120) == 40, 1.0, 0.0)),
        ("(a + b*x)/(1 + c*x + d*x**2)", np.where(np.arange(120) == 40, 1.0, 0.0)),
    ],
)
def test_no_loss_is_low_by_rounding_alone(text, y):
    fit = sgdfit.fit(f"y = {text}", {"x": EVEN, "y": y})
    with mpmath.workdps(60):
        at = {name: mpmath.mpf(value) for name, value in fit.values.items()}
        curve = sympy.lambdify(["x", *at], sympy.sympify(text), "mpmath")
        left = [
            curve(mpmath.mpf(u), *at.values()) - v for u, v in zip(EVEN, y.tolist(), strict=True)
        ]
        squares = float(sum(r * r for r in left))
    assert squares - fit.residual_sum_of_squares <= 1e-6 * squares + 1e-12


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("blended peaks", {"b2": "rate", "m1": "position in 1 … 250", "s1": "length"}),
        ("two cycles", {"p": "period of a frequency up to the sampling limit, 83.5 turns"}),
        ("logistic in years", {"a": "intercept", "r": "rate, ±1e-4"}),
        ("five variables", {"d": "exponent"}),
    ],
)
def test_ranges_are_told_in_words(name, words):
    model, rows, _ = observed(name)
    ranges = find_starts(model, chunk_of(model, rows), {}, 0).ranges
    assert {at: ranges[at][: len(text)] for at, text in words.items()} == words


@pytest.mark.parametrize("bounds", ["0 < p < 6.2832", "-3.1416 < p < 3.1416, a > 0", "p > 20"])
@pytest.mark.parametrize("phase", [0.02, 3.0, 6.2])
def test_any_phase_is_found_within_bounds_of_a_whole_turn(bounds, phase):
    noise = 0.2 * np.random.default_rng(4).normal(size=len(EVEN))
    rows = {"x": EVEN, "y": 2.0 * np.sin(3.0 * EVEN + phase) + np.cos(5.3 * EVEN + 1.0) + noise}
    fit = sgdfit.fit("y = a*sin(w*x + p) + b*cos(v*x + q)", rows, bounds=bounds)
    model = modelled("a*sin(w*x + p) + b*cos(v*x + q)", rows)
    best = reference(model, rows, np.array([2.0, 3.0, phase, 1.0, 5.3, 1.0]))
    assert fit.status.ok
    assert fit.residual_sum_of_squares == pytest.approx(best * len(EVEN), rel=1e-6)


@pytest.mark.parametrize("shuffled", [False, True])
def test_waves_too_quick_for_a_sample_of_rows_are_found(shuffled):
    x = np.linspace(0.0, 10.0, 1500)
    x = np.random.default_rng(7).permutation(x) if shuffled else x
    truth = {"a": 2.0, "w": 260.0, "p": 0.5, "b": 1.0, "v": 410.0, "q": 1.0}
    text = "a*sin(w*x + p) + b*sin(v*x + q)"
    noise = 0.3 * np.random.default_rng(8).normal(size=len(x))
    model, theta = modelled(text, {"x": x}), np.array(list(truth.values()))
    rows = {"x": x, "y": predicted(model, {"x": x}, theta) + noise}
    fit = sgdfit.fit(f"y = {text}", rows)
    best = reference(model, rows, theta) * len(x)
    assert fit.residual_sum_of_squares == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_another_loss_begins_where_it_has_a_value(seed):
    """Least squares leads to where means are negative, of which Poisson's loss has none."""
    rng, x = np.random.default_rng(seed), np.linspace(0, 10, 60)
    mean = rng.uniform(2, 30) * np.exp(-((x - 4) ** 2) / 1.5) + 0.1
    data = {"x": x, "y": rng.poisson(mean).astype(float)}
    fit = sgdfit.fit("y = a*exp(-(x - m)**2/(2*s**2)) + c", data, loss="poisson")
    assert fit.loss <= (mean - data["y"] * np.log(mean)).mean()


@pytest.mark.parametrize("seed", range(5))
def test_a_faint_part_may_lie_elsewhere(seed):
    """A lower minimum than that of the start, whose residuals look like noise, is named."""
    rng, x = np.random.default_rng(seed), np.linspace(0, 10, 60)
    y = 5 * np.exp(-2 * (x - 3) ** 2) + 0.8 * np.exp(-5 * (x - rng.uniform(4, 9)) ** 2)
    data = {"x": x, "y": y + 0.3 * rng.normal(size=60)}
    formula = "y = a*exp(-(x - m)**2/(2*s**2)) + b*exp(-(x - n)**2/(2*t**2)) + c"
    fit = sgdfit.fit(formula, data, start="a=4, m=2.8, s=0.7, b=1, n=6, t=0.5, c=0")
    best = sgdfit.fit(formula, data).residual_sum_of_squares
    assert fit.status.name == "local_minimum" or fit.residual_sum_of_squares <= 1.01 * best
