"""The optimizer ``auto`` from end to end: what it finds, what it calls it, and how it got there."""

import warnings

import numpy as np
import pytest
from scipy.optimize import curve_fit, least_squares
from scipy.stats import linregress

import sgdfit
from oracles import as_function
from sgdfit.kernel import numpy_kernel

X = np.linspace(0, 5, 40)
NOISE = 0.1 * np.random.default_rng(0).normal(size=40)
DECAY = "y = a*exp(-b*x) + c"


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


NOISY = {"x": X, "y": decay(X, 3.0, 1.2, 0.5) + NOISE}


# Perfect data: nothing is left, so that no standard error can scale a distance.


PERFECT = {
    "a line": ("y = a*x + b", {"a": 3.0, "b": -7.0}, np.arange(20.0)),
    "a line through 0": ("y = a*x + b", {"a": 0.3, "b": 0.0}, np.arange(20.0) + 1e4),
    "a line far away": ("y = a*x + b", {"a": 3.0, "b": -7.0}, np.arange(20.0) + 1e6),
    "a parabola": ("y = a*x**2 + b*x + c", {"a": 2.0, "b": -3.0, "c": 4.0}, np.arange(-9.0, 10)),
    "many rows": (DECAY, {"a": 2.0, "b": 0.7, "c": 0.5}, np.linspace(0, 4, 100_000)),
    "an exponential and an offset": (DECAY, {"a": 3.0, "b": 0.5, "c": 1.0}, X),
    "a saturation": ("y = a*x/(b + x)", {"a": 7.0, "b": 2.0}, X),
    "a power": ("y = a*x**b", {"a": 2.0, "b": 1.5}, X + 0.5),
    "a wave": ("y = a*sin(b*x + c)", {"a": 2.0, "b": 1.5, "c": 0.5}, X),
    "a peak": (
        "y = a*exp(-((x - b)/c)**2)", {"a": 2.0, "b": 2.5, "c": 0.7}, X
    ),
}  # fmt: skip


def exact(formula, truth, x):
    y = np.broadcast_to(as_function(formula, ["x"], list(truth))(x, *truth.values()), x.shape)
    return {"x": x, "y": np.array(y, dtype=float)}


@pytest.mark.parametrize("given", [False, True], ids=["no start", "a start"])
@pytest.mark.parametrize(("formula", "truth", "x"), PERFECT.values(), ids=PERFECT)
def test_perfect_data_are_exact(formula, truth, x, given):
    start = {name: 0.8 * value + 0.1 for name, value in truth.items()} if given else None
    fit = sgdfit.fit(formula, exact(formula, truth, x), start=start)
    assert fit.status.name == "converged", fit.status
    scale = max(1.0, float(np.abs(x).max()))
    for name, value in truth.items():
        assert fit.values[name] == pytest.approx(value, rel=1e-9, abs=1e-11 * scale)
        # The last digits of the response leave an error, which is told.
        error = fit.estimates[name].stderr
        assert abs(fit.values[name] - value) <= 5 * error < 1e-10 * scale
        assert value or fit.values[name] == 0
    assert fit.distance < 1e-10
    str(fit)


@pytest.mark.parametrize("scale", [1e-139, 1e9])
@pytest.mark.parametrize(("formula", "truth", "x"), list(PERFECT.values())[:4])
def test_perfect_data_are_exact_from_ones_whatever_their_size(formula, truth, x, scale):
    data = exact(formula, truth, x)
    data["y"] = data["y"] * scale
    fit = sgdfit.fit(formula, data, start=dict.fromkeys(truth, 1.0))
    assert fit.status.name == "converged", fit.status
    assert fit.warnings == ()
    assert fit.residual_sum_of_squares <= 1e-24 * float(data["y"] @ data["y"])


@pytest.mark.parametrize("level", [1e3, 1e12, 1e14, 1e16])
def test_rounding_of_the_response_belongs_to_the_distance(level):
    """Judged by the same rows less the level, which is exact."""
    x = np.linspace(0, 10, 30)
    y = level + 2 * x + 1 + noise(11, 30, 0.1)
    fit, near = (sgdfit.fit("y = a + b*x", {"x": x, "y": y - less}) for less in (0, level))
    off = [fit.values["a"] - level - near.values["a"], fit.values["b"] - near.values["b"]]
    left = np.sqrt(off @ np.linalg.inv(near.covariance) @ off / 2)
    assert left <= max(1.2 * fit.distance, 1e-9)
    if level >= 1e14:
        assert fit.status.name == "stalled"
        assert "fit 'y - 1" in fit.status.cure
    else:
        assert fit.status.name == "converged"
        assert fit.estimates["b"].stderr == pytest.approx(near.estimates["b"].stderr, rel=0.1)


# Few rows, and rows that tell little


@pytest.mark.parametrize("start", [None, {"a": 3.0}])
def test_one_row_is_enough_for_one_parameter(start):
    fit = sgdfit.fit("y = a*x", {"x": [2.0], "y": [5.0]}, start=start)
    assert fit.values["a"] == pytest.approx(2.5, rel=1e-15)
    assert fit.status.ok


UNTOLD = {
    "a sum": ("y = (a + b)*x + c", NOISY["y"], X, ("a", "b")),
    "a product": ("y = a*b*x + c", NOISY["y"], X, ("a", "b")),
    "a factor and an exponent": ("y = a*exp(b - 0.3*x)", NOISY["y"], X, ("a", "b")),
    "a constant x": ("y = a*x + b", NOISY["y"], np.full(40, 2.0), ("a", "b")),
}


@pytest.mark.parametrize("given", [False, True], ids=["no start", "a start"])
@pytest.mark.parametrize(("formula", "y", "x", "blamed"), UNTOLD.values(), ids=UNTOLD)
def test_what_is_not_determined_is_named_and_the_curve_is_best(formula, y, x, blamed, given):
    start = {"a": 1.5, "b": 0.5} | ({"c": 1.0} if "c" in formula else {}) if given else None
    fit = sgdfit.fit(formula, {"x": x, "y": y}, start=start)
    assert fit.status.name == "converged", fit.status
    columns = [np.exp(-0.3 * x)] if "exp" in formula else [x, np.ones(40)]
    A = np.column_stack(columns)
    best = A @ np.linalg.lstsq(A, y, rcond=None)[0]
    np.testing.assert_allclose(fit.predict({"x": x}), best, atol=1e-7)
    assert all(fit.estimates[n].stderr in (None, 0) for n in blamed)
    told = " ".join((*fit.warnings, fit.covariance_method))
    assert all(name in told for name in blamed)


# How a fit ends


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_step_limit_is_named(steps):
    fit = sgdfit.fit(
        DECAY, NOISY, start={"a": 50.0, "b": 9.0, "c": -9.0}, steps=steps, search=False
    )
    assert fit.status.name == "step_limit", fit.status
    assert fit.steps == steps
    assert str(steps) in fit.status.cause


@pytest.mark.parametrize(
    ("formula", "start"),
    [
        ("y = a*log(b + x)", {"a": 1.0, "b": -9.0}),
        ("y = sqrt(a - x)*b", {"a": 1.0, "b": 1.0}),
        ("y = a*exp(b*x)", {"a": 1.0, "b": 900.0}),
        ("y = a/(b*x)", {"a": 1.0, "b": 0.0}),
    ],
)
def test_a_start_outside_the_domain_is_named(formula, start):
    data = {"x": X + 0.5, "y": NOISY["y"]}
    fit = sgdfit.fit(formula, data, start=start, search=False)
    assert fit.status.name in ("domain_error", "diverged"), fit.status
    assert not fit.status.ok
    assert fit.values == start
    assert all(e.stderr is None for e in fit.estimates.values())
    # Unless that is forbidden, a search takes its place.
    found = sgdfit.fit(formula, data, start=start)
    assert found.status.ok
    assert found.loss == pytest.approx(sgdfit.fit(formula, data).loss, rel=1e-6)
    assert any("led to no finite value" in text for text in found.warnings)


@pytest.mark.parametrize("rows", [40, 100_000])
@pytest.mark.parametrize("interrupts", [False, True], ids=["stopped", "interrupted"])
def test_a_callback_ends_a_fit(interrupts, rows):
    def callback(progress):
        if progress.step >= 2:
            if interrupts:
                raise KeyboardInterrupt
            return True
        return False

    x = np.linspace(0, 5, rows)
    y = decay(x, 3.0, 1.2, 0.5) + 0.1 * np.random.default_rng(0).normal(size=rows)
    start = {"a": 9.0, "b": 0.2, "c": -2.0}
    fit = sgdfit.fit(DECAY, {"x": x, "y": y}, start=start, callback=callback)
    assert fit.status.name == ("interrupted" if interrupts else "stopped")
    assert fit.steps == 2
    assert fit.loss == pytest.approx(
        float(np.mean((decay(x, *(fit.values[n] for n in "abc")) - y) ** 2)), rel=1e-9
    )
    # Half way is no place for standard errors, unless the optimum is near.
    assert fit.distance < 1 or all(e.stderr is None for e in fit.estimates.values())


@pytest.mark.parametrize("start", [None, {"a": 9.0, "b": 0.2, "c": -2.0}])
def test_a_callback_is_told_of_every_step(start):
    seen = []
    fit = sgdfit.fit(DECAY, NOISY, start=start, callback=lambda p: seen.append(p) or False)
    assert [p.step for p in seen] == sorted({p.step for p in seen})
    assert all(set(p.parameters) == set("abc") for p in seen)
    few = []
    sgdfit.fit(DECAY, NOISY, start=start, callback=few.append, callback_every=3)
    assert len(few) <= 1 + len(seen) // 3
    assert fit.status.name == "converged"


def test_a_worse_minimum_is_told_with_the_better_one():
    x = np.linspace(0, 10, 60)
    y = 2 * np.sin(3 * x + 0.5) + 0.1 * np.random.default_rng(2).normal(size=60)
    start = {"a": 1.0, "w": 1.0, "p": 0.0}
    fit = sgdfit.fit("y = a*sin(w*x + p)", {"x": x, "y": y}, start=start)
    assert fit.status.name == "local_minimum", fit.status
    assert "start=" in fit.status.cure
    told = fit.status.cure.split("start='")[1].split("'")[0]
    better = sgdfit.fit("y = a*sin(w*x + p)", {"x": x, "y": y}, start=told)
    assert better.status.name == "converged"
    assert better.loss < 0.02 < fit.loss
    assert abs(better.values["w"]) == pytest.approx(3.0, abs=0.02)
    # The given start is used as it is, and leads to a minimum all the same.
    near = least_squares(
        lambda t: t[0] * np.sin(t[1] * x + t[2]) - y, [fit.values[n] for n in "awp"], xtol=1e-15
    )
    assert fit.residual_sum_of_squares == pytest.approx(2 * near.cost, rel=1e-9)
    alone = sgdfit.fit("y = a*sin(w*x + p)", {"x": x, "y": y}, start=start, search=False)
    assert alone.status.name == "converged"


# Moré, Garbow & Hillstrom 1981 (ACM TOMS 7, 17-41): the residuals of each, whose least sum is 0.
FUNCTIONS = {
    "Rosenbrock from afar": (["10*(b - a**2)", "1 - a"], {"a": -120.0, "b": 100.0}),
    "Powell singular": (
        ["a + 10*b", "sqrt(5)*(c - d)", "(b - 2*c)**2", "sqrt(10)*(a - d)**2"],
        {"a": 3.0, "b": -1.0, "c": 0.0, "d": 1.0},
    ),
    "helical valley": (
        ["10*(c - 5*atan2(b, a)/pi)", "10*(hypot(a, b) - 1)", "c"],
        {"a": -1.0, "b": 1e-3, "c": 0.0},
    ),
}


@pytest.mark.parametrize(("residuals", "start"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_curved_valleys_are_followed_to_their_end(residuals, start):
    formula = "y = " + " + ".join(f"({r})*where(i == {k}, 1, 0)" for k, r in enumerate(residuals))
    data = {"i": np.arange(len(residuals)), "y": np.zeros(len(residuals))}
    fit = sgdfit.fit(formula, data, start=start, search=False)
    assert (np.diff(fit.trace.loss) <= 0).all()
    assert fit.residual_sum_of_squares < 1e-20


# The same answer whatever is random, and however the rows stand


ROWS = 200_000
RNG = np.random.default_rng(0)
MANY = {"x": RNG.uniform(0, 4, ROWS)}
MANY["y"] = decay(MANY["x"], 2.0, 0.7, 0.5) + 0.1 * RNG.normal(size=ROWS)
MANY["z"] = RNG.normal(size=ROWS)
MANY["w"] = (RNG.random(ROWS) < 0.7).astype(float)


@pytest.fixture(scope="module")
def usual():
    return sgdfit.fit(DECAY, MANY)


def apart(fit, other):
    """Return by how many standard errors two fits differ at most."""
    return max(abs(fit.values[n] - other.values[n]) / other.estimates[n].stderr for n in other.free)


def test_the_same_seed_gives_the_same_bits(usual):
    again = sgdfit.fit(DECAY, MANY)
    assert again.values == usual.values
    np.testing.assert_array_equal(again.covariance, usual.covariance)
    np.testing.assert_array_equal(again.trace.parameters, usual.trace.parameters)
    np.testing.assert_array_equal(again.trace.distance, usual.trace.distance)


@pytest.mark.parametrize("change", [1, "x", "y", "reversed"])
def test_neither_the_seed_nor_the_order_of_the_rows_matters(usual, change):
    order, seed = np.arange(ROWS)[::-1] if change == "reversed" else np.arange(ROWS), 0
    if change in MANY:
        order = np.argsort(MANY[change])
    if isinstance(change, int):
        seed = change
    fit = sgdfit.fit(DECAY, {name: column[order] for name, column in MANY.items()}, seed=seed)
    assert fit.status.name == "converged"
    # Both say how far they are at most, from one and the same minimum.
    assert apart(fit, usual) < 3 * (fit.distance + usual.distance)
    assert apart(fit, usual) < 1e-3
    for name in "abc":
        assert fit.estimates[name].stderr == pytest.approx(usual.estimates[name].stderr, rel=1e-4)


@pytest.mark.parametrize("rows", [50, ROWS])
@pytest.mark.parametrize("formula", [DECAY, "y = a*x**2 + b*x + c"])
def test_rows_of_weight_zero_are_as_if_absent(formula, rows):
    data = {name: column[:rows] for name, column in MANY.items()}
    held = data["w"] > 0
    wild = data | {"y": np.where(held, data["y"], 1e6)}
    fit = sgdfit.fit(formula, wild, weights="w", tolerance=1e-6)
    kept = {name: column[held] for name, column in data.items()}
    other = sgdfit.fit(formula, kept, tolerance=1e-6)
    assert fit.status.name == other.status.name == "converged"
    assert apart(fit, other) < 1e-5
    for name in "abc":
        assert fit.estimates[name].stderr == pytest.approx(other.estimates[name].stderr, rel=1e-4)


CURVES = {
    "decay": (DECAY, (2.0, 0.7, 0.5)),
    "power": ("y = a*x**b + c", (1.0, 1.5, 2.0)),
    "wave": ("y = a*sin(b*x + c)", (2.0, 3.0, 0.5)),
    "peak": ("y = a*exp(-((x - b)/c)**2)", (2.0, 1.7, 0.5)),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(("formula", "truth"), CURVES.values(), ids=CURVES)
def test_a_hundred_thousand_rows_agree_with_curve_fit(formula, truth, weighted):
    curve = as_function(formula, ["x"], "abc")
    x, w = MANY["x"][:100_000], 0.5 + MANY["w"][:100_000]
    y = curve(x, *truth) + 0.1 * np.random.default_rng(6).normal(size=x.size)
    weights = "w" if weighted else None
    fit = sgdfit.fit(formula, {"x": x, "y": y, "w": w}, weights=weights, tolerance=1e-6)
    quick = sgdfit.fit(formula, {"x": x, "y": y, "w": w}, weights=weights)
    assert quick.distance <= 1e-3
    assert apart(quick, fit) <= 3 * quick.distance + 1e-5
    theta, covariance = curve_fit(
        curve, x, y, truth, 1 / np.sqrt(w) if weighted else None, xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    errors = np.sqrt(np.diag(covariance))
    found = np.array([fit.values[n] for n in "abc"])
    assert fit.status.name == "converged"
    np.testing.assert_allclose((found - theta) / errors, 0, atol=1e-5)
    stated = np.array([fit.estimates[n].stderr for n in "abc"])
    np.testing.assert_allclose(stated, errors, rtol=1e-4)


# How often rows are read


@pytest.fixture(scope="module")
def million():
    rng = np.random.default_rng(3)
    x = rng.uniform(0.1, 4, 1_000_000)
    noise = 0.1 * rng.normal(size=x.size)
    return x, noise


PASSES = {
    "line": ("y = a*x + b", lambda x: 2 * x + 1, 1.01),
    "waves": ("y = a*sin(x) + b*cos(x) + c", lambda x: 2 * np.sin(x) + 1, 1.01),
    "decay": (DECAY, lambda x: decay(x, 2, 0.7, 0.5), 2.3),
}


@pytest.mark.parametrize(("formula", "truth", "passes"), PASSES.values(), ids=PASSES)
def test_few_passes_through_a_million_rows(million, formula, truth, passes):
    x, noise = million
    fit = sgdfit.fit(formula, {"x": x, "y": truth(x) + noise})
    assert fit.status.name == "converged"
    assert fit.rows_visited <= passes * len(x)
    assert fit.distance <= 1e-3


# The trace


def test_the_trace_tells_batches_damping_and_distance(usual):
    columns = usual.trace.columns()
    assert list(columns) == [
        "step", "epoch", "loss", "rows", "damping", "distance",
        "a", "b", "c", "gradient_a", "gradient_b", "gradient_c",
    ]  # fmt: skip
    assert (np.diff(columns["rows"]) >= 0).all()
    assert columns["rows"][-1] == ROWS
    assert (columns["damping"] >= 0).all()
    assert (columns["distance"] >= 0).all()
    assert columns["distance"][-1] == usual.distance
    assert (np.diff(columns["step"]) >= 0).all()
    assert columns["step"][-1] == usual.steps
    last = np.array([columns[n][-1] for n in "abc"])
    np.testing.assert_array_equal(last, [usual.values[n] for n in "abc"])


def test_the_trace_starts_at_the_given_start_and_falls():
    start = {"a": 1.0, "b": 0.3, "c": 2.0}
    fit = sgdfit.fit(DECAY, NOISY, start=start, bounds={"a": (0, None), "c": (None, 10)})
    trace = fit.trace
    np.testing.assert_allclose(trace.parameters[0], [1.0, 0.3, 2.0])
    assert (np.diff(trace.loss) <= 1e-12 * trace.loss[:-1]).all()
    for row in range(len(trace)):
        r = decay(X, *trace.parameters[row]) - NOISY["y"]
        assert trace.loss[row] == pytest.approx(float(np.mean(r**2)), rel=1e-9)
        e = np.exp(-trace.parameters[row, 1] * X)
        J = np.array([e, -trace.parameters[row, 0] * X * e, np.ones(40)])
        np.testing.assert_allclose(trace.gradient[row], 2 * J @ r / 40, rtol=1e-6, atol=1e-9)
        # The relative offset of Bates and Watts 1981.
        along = np.linalg.qr(J.T)[0].T @ r
        offset = np.sqrt(along @ along / 3) / np.sqrt((r @ r - along @ along) / 37)
        assert trace.columns()["distance"][row] == pytest.approx(offset, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("every", [0, 1, 2])
def test_the_trace_is_as_dense_as_was_asked(every):
    start = {"a": 9.0, "b": 0.1, "c": -2.0}
    dense = sgdfit.fit(DECAY, NOISY, start=start)
    fit = sgdfit.fit(DECAY, NOISY, start=start, trace_every=every)
    assert fit.values == dense.values
    expected = {0: 1, 1: len(dense.trace), 2: 1 + (len(dense.trace) - 1 + 1) // 2}[every]
    assert abs(len(fit.trace) - expected) <= (every == 2)


def test_no_warning_escapes_from_extreme_data():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for unit in (1e-100, 1e100):
            fit = sgdfit.fit("y = a*exp(-b*x)", {"x": X, "y": unit * (NOISY["y"] - 0.4)})
            other = sgdfit.fit("y = a*exp(-b*x)", {"x": X, "y": NOISY["y"] - 0.4})
            assert fit.values["a"] == pytest.approx(unit * other.values["a"], rel=1e-7, abs=0)
            assert fit.values["b"] == pytest.approx(other.values["b"], rel=1e-7)


# What samples do not hold


RARE = np.where(np.arange(100_000) == 777, -5.0, MANY["x"][:100_000])


@pytest.mark.parametrize("start", [None, {"a": 1.0, "b": 1.0}], ids=["no start", "a start"])
def test_a_row_without_a_value_is_found_though_no_sample_holds_it(start):
    y = 2 * np.log(MANY["x"][:100_000] + 0.3)
    fit = sgdfit.fit("y = a*log(x + b)", {"x": RARE, "y": y}, start=start)
    assert fit.status.name == "domain_error", fit.status
    assert "row 778" in fit.status.cause
    assert all(e.stderr is None for e in fit.estimates.values())


def test_a_start_within_the_domain_of_all_rows_stays_there():
    y = 2 * np.log(MANY["x"][:100_000] + 0.3)
    fit = sgdfit.fit("y = a*log(x + b)", {"x": RARE, "y": y}, start={"a": 1.0, "b": 6.0})
    assert fit.values["b"] > 5
    residual = fit.values["a"] * np.log(RARE + fit.values["b"]) - y
    assert fit.loss == pytest.approx(float(np.mean(residual**2)), rel=1e-9)


# Minima that are not the ones meant, flat ground, and the fit's own work


WIDE = np.linspace(0.0, 10.0, 100)


def noise(seed, size=100, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=size)


def two_variables():
    rng = np.random.default_rng(0)
    x1, x2 = rng.uniform(0, 10, (2, 200))
    return {"x1": x1, "x2": x2, "y": 2 * x1 + np.sin(3 * x2 + 0.5) + 1 + noise(1, 200, 0.1)}


WRONG = {
    "a wave in the second variable": (
        "y = a*x1 + b*sin(w*x2 + p) + c",
        two_variables(),
        {"a": 1, "b": 0.1, "w": 1.9, "p": 0, "c": 0},
    ),
    "a small peak on a line": (
        "y = a*x + b + h*exp(-((x - m)/s)**2)",
        {"x": WIDE, "y": 2 * WIDE + 1 + np.exp(-(((WIDE - 6) / 0.5) ** 2)) + noise(2, scale=0.25)},
        {"a": 1, "b": 1, "h": 1, "m": 2, "s": 0.5},
    ),
    "a wave faster than residuals show": (
        "y = a*sin(2*pi*f*x + p)",
        {"x": WIDE, "y": np.sin(2 * np.pi * 2.9 * WIDE) + noise(4, scale=0.3)},
        {"a": 1, "f": 2.7, "p": 0},
    ),
}


@pytest.mark.parametrize(("formula", "data", "start"), WRONG.values(), ids=WRONG)
def test_a_start_that_leads_elsewhere_is_never_called_converged(formula, data, start):
    best = sgdfit.fit(formula, data)
    assert best.status.name == "converged"
    given = sgdfit.fit(formula, data, start=start)
    worse = given.loss > best.loss * 1.01
    assert given.status.name == ("local_minimum" if worse else "converged")
    if worse:
        assert f"{best.loss:.4g}"[:4] in given.status.cause
        assert "leave out the start" in given.status.cure


SADDLES = {
    "a square on its bound": ("y = a + b**2*x", {"a": 1.0, "b": 0.7}, {"a": 1, "b": 0}, "b >= 0"),
    "a square within": ("y = a + b**2*x", {"a": 1.0, "b": 0.7}, {"a": 1, "b": 0}, None),
    "a walk that ends there": ("y = a + b**2*x", {"a": 30, "b": 0.7}, {"a": -9, "b": 1}, "b >= 0"),
    "a variance": (
        "y = a*exp(-x**2/(2 + b**2))", {"a": 2.0, "b": 1.3}, {"a": 1, "b": 0}, "b <= 0"
    ),
    "a wave": ("y = a*cos(b*x) + c", {"a": 2, "b": 0.5, "c": 1}, {"a": 1, "b": 0, "c": 0}, None),
    "a product": ("y = a*b*x + c", {"a": 0.5, "b": 2, "c": 1}, {"a": 0, "b": 0, "c": 0}, None),
    "equal rates": (
        "y = a*exp(-b*x) + c*exp(-d*x)",
        {"a": 3.0, "b": 0.2, "c": 3.0, "d": 2.0},
        dict.fromkeys("abcd", 1.0),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("formula", "truth", "start", "bounds"), SADDLES.values(), ids=SADDLES)
@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_a_saddle_is_no_minimum(formula, truth, start, bounds, unit):
    curve = as_function(formula, ["x"], list(truth))
    y = curve(X, *truth.values()) * unit
    y += noise(12, 40, 0.003 * np.std(y))
    scaled = formula.replace("y =", f"{1 / unit:g}*y =")
    fit = sgdfit.fit(scaled, {"x": X, "y": y}, start=start, bounds=bounds, search=False)
    judge = least_squares(
        lambda p: curve(X, *p) - y / unit, list(truth.values()), x_scale="jac", xtol=1e-15
    )
    assert fit.status.name == "converged", fit.status
    assert fit.residual_sum_of_squares <= 2 * judge.cost * (1 + 1e-6)


# Each in parameters in which the edge, where the root of the first row is 0, is a bound.
EDGES = {
    "a threshold": ("y = a*(x - m)**p", lambda s, a, p: (a, X[0] - s, p), [2.0, 0.5]),
    "a hyperbola": (
        "y = a + sqrt(b + c*(x - m)**2)",
        lambda s, a, c, m: (a, s - c * (X[0] - m) ** 2, c, m),
        [-1.0, 0.05, -0.5],
    ),
}


@pytest.mark.parametrize(("formula", "inside", "start"), EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_a_minimum_on_the_edge_of_the_domain_is_reached(formula, inside, start, loss):
    y = 2 * np.sqrt(X) if "**p" in formula else 0.25 * X
    y = y + noise(5, 40, 0.1) - 0.15 * (X == 0)
    away = {"a": -1, "b": 1, "c": 0.05, "m": -0.5, "p": 1}
    away = {name: away[name] for name in away if name in formula.replace("sqrt", "")}
    fit = sgdfit.fit(formula, {"x": X, "y": y}, loss=loss, start=away, search=False)
    curve, n = as_function(formula, ["x"], list(fit.estimates)), len(start)
    judges = [
        least_squares(
            lambda p: curve(X, *inside(*p)) - y, [edge, *start], x_scale="jac",
            bounds=([0, *[-np.inf] * n], np.inf),
            **({} if loss == "mse" else {"loss": "huber", "f_scale": 1.345 * fit.loss_scale}),
        )
        for edge in (1e-9, 0.1)
    ]  # fmt: skip
    assert fit.status.name == "converged", fit.status
    assert 40 * fit.loss <= min(2 * judge.cost for judge in judges) * (1 + 1e-4)
    assert any("edge of the formula's domain" in text for text in fit.warnings)
    if loss == "mse":
        assert (fit.estimates["m"].stderr is None) == ("sqrt" not in formula)


def test_a_start_that_does_not_arrive_is_followed_by_a_search():
    x = np.linspace(0, 30, 60)
    y = 100 / (1 + np.exp(-(x - 15) / 2)) + noise(13, 60, 0.5)
    formula, start = "y = a/(1 + exp(-(x - m)/s))", {"a": 1.0, "m": 1e4, "s": 1.0}
    free, found = (sgdfit.fit(formula, {"x": x, "y": y}, start=given) for given in (None, start))
    assert (free.status.name, found.status.name) == ("converged", "converged")
    assert found.residual_sum_of_squares == pytest.approx(free.residual_sum_of_squares)
    (told,) = found.warnings
    assert "the given start led to" in told
    as_given = sgdfit.fit(formula, {"x": x, "y": y}, start=start, search=False)
    assert as_given.status.name == "stalled"


def test_neighbouring_residuals_that_go_together_are_told():
    missed = sgdfit.fit("y = a*x + b", {"x": WIDE, "y": WIDE**2})
    (told,) = [text for text in missed.warnings if "neighbouring residuals" in text]
    assert "the curve misses something" in told
    swings = (noise(5, len(WIDE)) + 3) * (-1.0) ** np.arange(len(WIDE))
    (told,) = sgdfit.fit("y = a*x + b", {"x": WIDE, "y": WIDE + swings}).warnings
    assert "residuals alternate" in told
    assert "too large" in told
    right = sgdfit.fit("y = a*x + b", {"x": WIDE, "y": WIDE + noise(5)})
    assert right.warnings == ()


def test_flat_ground_has_neither_distance_nor_errors():
    data = {"x": np.array([1.0, 2, 3, 5, 7, 10]), "y": np.array([109.0, 149, 149, 191, 213, 224])}
    fit = sgdfit.fit("y = b1*(1 - exp(-b2*x))", data, start={"b1": 100, "b2": 1e4}, search=False)
    assert fit.status.name == "stalled"
    assert "flat ground" in fit.status.cause
    assert fit.distance is None
    assert fit.covariance is None


@pytest.mark.parametrize(
    ("formula", "start", "status"),
    [
        # A limit in which only a product is determined; usual values overflow in each of these.
        ("y = a/x**5/(exp(14387.77/(x*t)) - 1)", {"a": 1e-25, "t": 1e25}, "stalled"),
        ("y = c*x + a*(exp(-x*s/1.6e-16) - 1)", {"a": 1, "c": 1, "s": 1e-30}, "stalled"),
        ("y = a*k*exp(-x*s/1.6e-16)", {"a": 1, "k": 1, "s": 3e-16}, "converged"),
    ],
)
def test_what_a_limit_leaves_open_is_no_property_of_the_formula(formula, start, status):
    x = np.linspace(0.3, 4.0, 30)
    data = {"x": x, "y": 3 * np.exp(-2.5 * x) + noise(7, 30, 0.01)}
    assert sgdfit.fit(formula, data, start=start, search=False).status.name == status


@pytest.mark.parametrize("scale", [1.0, 1e9, 1e-9])
def test_a_parameter_without_effect_at_the_start_does_not_set_the_first_step(scale):
    x = np.linspace(0, 10, 40)
    data = {"x": x * scale, "y": 3 * np.exp(-0.5 * x) + noise(6, 40, 0.05)}
    fit = sgdfit.fit(
        "y = a*exp(-b*x) + c",
        data,
        start={"a": 0, "b": 1 / scale, "c": 0},
        bounds={"a": (-1e9, 1e9), "c": (-1e9, 1e9)},
        search=False,
    )
    assert fit.status.name == "converged"
    assert fit.values["b"] * scale == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("formula", "y", "open_one"),
    [
        ("y = a*exp(-b*x) + c", np.full(40, 3.0), "b"),
        ("y = a*exp(-b*x) + c + d*x", 2 * np.linspace(0, 10, 40) + 3, "b"),
    ],
)
def test_perfect_data_leave_open_what_has_no_effect(formula, y, open_one):
    fit = sgdfit.fit(formula, {"x": np.linspace(0, 10, 40), "y": y})
    assert fit.estimates[open_one].stderr is None
    assert abs(fit.values["c"] - 3) <= 5 * fit.estimates["c"].stderr < 1e-10


@pytest.mark.parametrize("slope", [0.1, 0.3])
def test_a_bend_before_all_rows_leaves_a_line_that_has_converged(slope):
    x = np.arange(1900.0, 1940.0)
    y = 2 - slope * (x - 1900) + np.sin(x / 6)  # neighbours go together
    fit = sgdfit.fit("y = a + b*maximum(x - t, 0)", {"x": x, "y": y})
    line = linregress(x, y)
    assert fit.status.name == "converged"
    assert fit.undetermined == ("a and t",)
    assert any("neighbouring residuals" in told for told in fit.warnings)
    assert fit.values["b"] == pytest.approx(line.slope, rel=1e-9)
    assert fit.estimates["b"].stderr == pytest.approx(line.stderr, rel=1e-6)


def test_every_row_that_is_visited_is_counted(monkeypatch):
    seen = []
    terms = numpy_kernel.terms_of

    def counted(model):
        source, evaluate = terms(model)

        def counting(theta, chunk):
            seen.append(chunk.rows)
            return evaluate(theta, chunk)

        return source, counting

    monkeypatch.setattr(numpy_kernel, "terms_of", counted)
    x = np.random.default_rng(7).uniform(0, 10, 50_000)
    y = np.sin(2 * np.pi * 0.29 * x) + noise(8, x.size, 0.3)
    start = {"a": 1, "f": 0.2, "p": 0}
    fit = sgdfit.fit("y = a*sin(2*pi*f*x + p)", {"x": x, "y": y}, start=start)
    assert fit.rows_visited <= sum(seen)
    # What is left are samples whose residuals are looked at.
    assert fit.rows_visited >= 0.9 * sum(seen)


def test_a_rival_minimum_is_told_with_its_values():
    """Of two peaks that are nearly as high, one peak fits either."""
    x = np.linspace(0, 10, 101)
    y = np.exp(-((x - 3) ** 2)) + 0.995 * np.exp(-((x - 7) ** 2)) + noise(9, 101, 0.02)
    fit = sgdfit.fit("y = h*exp(-((x - m)**2))", {"x": x, "y": y})
    assert fit.values["m"] == pytest.approx(3, abs=0.2)
    rival = fit.search.rivals[0]
    assert rival.values["m"] == pytest.approx(7, abs=0.2)
    assert fit.search.loss <= rival.loss <= 1.05 * fit.search.loss
    assert "rival minimum" in fit.report(full=True)


def test_a_callback_ends_a_fit_that_is_walked_anew():
    """One peak on two: the first walk looks wrong, and the callback stops the second."""
    x = np.linspace(0.0, 10.0, 120)
    y = 3.0 * np.exp(-((x - 3.0) ** 2)) + 2.0 * np.exp(-((x - 7.0) ** 2)) + 0.01 * np.sin(99.0 * x)
    steps = []

    def stop_anew(progress):
        steps.append(progress.step)
        return len(steps) > 1 and steps[-1] < steps[-2]

    fit = sgdfit.fit(
        "y = a*exp(-(x - m)**2/s**2)",
        {"x": x, "y": y},
        start={"a": 1, "m": 4, "s": 3},
        callback=stop_anew,
        callback_every=1,
    )
    assert steps[-1] == 1 < len(steps)
    assert fit.status.name == "stopped"
