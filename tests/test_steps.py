"""Parameters that act in steps alone, against every gap between their thresholds."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.optimize import least_squares, minimize_scalar

import sgdfit
from sgdfit.fitting import kinks, options

RNG = np.random.default_rng(3)
N = 150
X, Z, NOISE = RNG.uniform(0, 10, N), np.round(RNG.normal(size=N), 1), RNG.normal(size=N)
ONE, NONE = np.ones(N), np.zeros(N)
CLEAR = np.where(X < 3.3, 1.0, 2.5) + 0.4 * NOISE
WEIGHTS = RNG.uniform(0.2, 3.0, N)
MANY = RNG.uniform(0, 10, 5_000)
STAIRS = np.where(MANY < 3, 1.0, np.where(MANY < 7, 1.3, 0.9)) + 0.5 * RNG.normal(size=5_000)


def gaps(values):
    """The gaps between neighbouring values, and those beyond the ends."""
    ends = [-np.inf, *np.unique(values), np.inf]
    return list(itertools.pairwise(ends))


def exhaustive(thresholds, below, above, y, weights=ONE):
    """Return the least sum of squares over all gaps, and the gap."""
    found = []
    for gap in gaps(thresholds):
        basis = np.where((thresholds <= gap[0])[:, None], below, above)
        root = np.sqrt(weights)
        left = y - basis @ np.linalg.lstsq(basis * root[:, None], y * root, rcond=None)[0]
        found.append((float(weights @ left**2), gap))
    return min(found)


SIDES = {"below": np.stack([ONE, NONE], 1), "above": np.stack([NONE, ONE], 1)}
SLOPE = 1 + 0.6 * X * (Z > 0.3) + NOISE
# Formula, response, thresholds, and the basis of rows below and above the break.
SINGLE = {
    "levels": ("y = where(x < b, p, q)", CLEAR, X, *SIDES.values()),
    "noise": ("y = where(x < b, p, q)", NOISE, X, *SIDES.values()),
    "far from zero": ("y = where(x < b, p, q)", 1e7 + 1e-2 * CLEAR, X, *SIDES.values()),
    "no noise": ("y = where(x >= b, p, q)", 1.0 * (X > 5), X, *SIDES.values()),
    "slope": ("y = a + c*x*(z > b)", SLOPE, Z, np.stack([ONE, NONE], 1), np.stack([ONE, X], 1)),
    "sign": ("y = a + c*sign(x - b)", CLEAR, X, np.stack([ONE, -ONE], 1), np.stack([ONE, ONE], 1)),
    "expression": ("y = where(2*x - z < b, p, q)", CLEAR, 2 * X - Z, *SIDES.values()),
    "small units": ("y = where(1e-9*x < b, p, q)", CLEAR, 1e-9 * X, *SIDES.values()),
    "one side": ("y = where(x < b, 0, a*x)", 2 * X, X, 0 * X[:, None], X[:, None]),
}


@pytest.mark.parametrize("start", [None, "b=50"])
@pytest.mark.parametrize("name", SINGLE)
def test_a_step_is_in_the_best_of_all_gaps(name: str, start: str | None) -> None:
    formula, y, thresholds, below, above = SINGLE[name]
    least, (low, high) = exhaustive(thresholds, below, above, y)

    fit = sgdfit.fit(formula, {"x": X, "z": Z, "y": y}, start=start)

    assert fit.status.name == "converged"
    assert fit.residual_sum_of_squares == pytest.approx(least, rel=1e-8, abs=1e-20)
    b = fit.estimates["b"]
    assert low < b.value < high
    assert b.stderr is None
    if np.isfinite([low, high]).all():
        assert b.value == pytest.approx((low + high) / 2, rel=1e-12)
        between = f"b acts in steps: any value between {low:.10g} and {high:.10g}"
        assert any(warning.startswith(between) for warning in fit.warnings)


def test_weights_count() -> None:
    least, _ = exhaustive(X, *SIDES.values(), NOISE, WEIGHTS)
    data = {"x": X, "y": NOISE, "w": WEIGHTS}
    fit = sgdfit.fit("y = where(x < b, p, q)", data, weights="w")
    assert fit.residual_sum_of_squares == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("b", [(-np.inf, np.inf), (5.0, 8.0)])
@pytest.mark.parametrize("p", [(-np.inf, np.inf), (1.6, 1.8)])
def test_bounds_hold(b: tuple[float, float], p: tuple[float, float]) -> None:
    def squares(at):
        levels = np.where(at > X, CLEAR[at > X].mean().clip(*p), CLEAR[at <= X].mean())
        return float(np.sum((CLEAR - levels) ** 2))

    ends = [low / 2 + high / 2 for low, high in gaps(X)[1:-1]]
    judged = min(squares(at) for at in ends if b[0] < at < b[1])
    fit = sgdfit.fit("y = where(x < b, p, q)", {"x": X, "y": CLEAR}, bounds={"b": b, "p": p})

    assert b[0] <= fit.estimates["b"].value <= b[1]
    assert fit.residual_sum_of_squares <= judged * (1 + 1e-9)


@pytest.mark.parametrize(
    "condition",
    [
        "x < exp(b)",
        "x < b**2",
        "1/x > 1/b",
        "x - 1 < 2*b",
        "x < log(b)",
        "sqrt(b + 1) > x",
        "x < b**3",
    ],
)
def test_a_threshold_may_be_a_function_of_its_parameter(condition: str) -> None:
    least, _ = exhaustive(X, *SIDES.values(), CLEAR)
    fit = sgdfit.fit(f"y = where({condition}, p, q)", {"x": X, "y": CLEAR})

    assert fit.residual_sum_of_squares == pytest.approx(least, rel=1e-9)


def test_a_parameter_may_be_compared_for_equality() -> None:
    y = np.where(Z == 0.7, 2.0, 1.0) + 0.3 * NOISE
    judged = [
        sum(float(np.var(y[side]) * side.sum()) for side in (at == Z, at != Z))
        for at in np.unique(Z)
    ]
    fit = sgdfit.fit("y = where(z == b, p, q)", {"z": Z, "y": y})

    assert fit.values["b"] == np.unique(Z)[np.argmin(judged)]
    assert fit.residual_sum_of_squares == pytest.approx(min(judged), rel=1e-9)


# Formula, response, basis of the linear parameters, and values of the others that are tried.
FEW = np.linspace(0.05, 10, 60)
ROUNDED = {
    "rate": ("y = a + c*floor(b*x)", 1 + 2 * np.floor(0.7 * FEW),
             lambda b: [ONE[:60], np.floor(b * FEW)], [np.linspace(0.05, 4, 8_001)]),
    "width and phase": ("y = c*floor(x/w + p)", 1.5 * np.floor(FEW / 2.1 + 0.3),
             lambda w, p: [np.floor(FEW / w + p)],
             [np.linspace(0.5, 6, 301), np.linspace(-1, 1, 81)]),
    "sawtooth": ("y = a + c*(x/w - floor(x/w))", 1 + 3 * (FEW / 2.3 % 1),
             lambda w: [ONE[:60], FEW / w - np.floor(FEW / w)], [np.linspace(0.5, 10, 4_001)]),
    "window": ("y = a + b*(abs(x - m) < w)", 1 + 3 * (abs(FEW - 5.2) < 1.6),
             lambda m, w: [ONE[:60], abs(FEW - m) < w],
             [np.linspace(0, 10, 121), np.linspace(0.1, 6, 71)]),
}  # fmt: skip


@pytest.mark.parametrize("name", ROUNDED)
def test_roundings_and_ends_that_depend_on_one_another(name: str) -> None:
    formula, curve, basis, grids = ROUNDED[name]
    y, judged = curve + 0.3 * NOISE[:60], np.inf
    for at in itertools.product(*grids):
        columns = np.stack(basis(*at), 1).astype(float)
        judged = min(judged, *np.linalg.lstsq(columns, y, rcond=None)[1], np.inf)
    fit = sgdfit.fit(formula, {"x": FEW, "y": y})

    assert fit.status.name == "converged"
    assert fit.residual_sum_of_squares <= judged * (1 + 1e-9)


def test_fine_steps_that_are_fair_do_not_oust_the_best() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 20, 1_500)
    steps = np.floor(x / 1.62 + 0.66)
    y = 1.3 * steps + 0.2 * rng.normal(size=len(x))
    judged = np.linalg.lstsq(steps[:, None], y, rcond=None)[1][0]
    fit = sgdfit.fit("y = c*floor(x/w + p)", {"x": x, "y": y})

    assert fit.residual_sum_of_squares <= judged


def test_what_is_not_settled_exactly_is_told() -> None:
    fit = sgdfit.fit("y = floor(x/b)", {"x": X, "y": CLEAR})

    assert any("b: not all other values could be ruled out" in told for told in fit.warnings)


def test_thresholds_may_depend_on_one_another() -> None:
    y = np.where(0.5 * X + Z > 2, 1.0, 2.0) + 0.3 * NOISE
    judged = min(exhaustive(k * X + Z, *SIDES.values(), y)[0] for k in np.linspace(0.4, 0.6, 21))
    fit = sgdfit.fit("y = where(k*x + z > b, p, q)", {"x": X, "z": Z, "y": y})

    assert fit.residual_sum_of_squares <= judged * (1 + 1e-9)
    assert any("b, k: not all other values could be ruled out" in w for w in fit.warnings)


@pytest.mark.parametrize("seed", range(10, 14))
def test_a_kink_of_several_parameters_may_rest_on_a_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, z = rng.uniform(0, 5, (2, 12))
    y = 1 + 2 * np.maximum(x + 0.4 * z - 3, 0) + 0.3 * rng.normal(size=12)
    fit = sgdfit.fit("y = a + b*maximum(x + k*z - d, 0)", {"x": x, "z": z, "y": y})

    def residual(p: np.ndarray) -> np.ndarray:
        return p[0] + p[1] * np.maximum(x + p[2] * z - p[3], 0) - y

    # No step away from it is better: fits from about it lead no lower.
    best = np.array([fit.values[name] for name in "abkd"])
    starts = best + 0.05 * np.random.default_rng(0).normal(size=(20, 4))
    judge = min(2 * least_squares(residual, start).cost for start in starts)
    assert fit.status.name == "converged", fit.status
    assert fit.residual_sum_of_squares <= judge * (1 + 1e-6)


TWO = {
    "stairs": ("y = where(x < b, p, where(x < c, q, r))", lambda b, c: [b > X, (b <= X) & (c > X),
                                                                     (b <= X) & (c <= X)]),
    "corner": ("y = p + q*(x > b)*(z < c)", lambda b, c: [ONE, (b < X) & (c > Z)]),
}  # fmt: skip


@pytest.mark.parametrize("noise", [0.3, 2.0])
@pytest.mark.parametrize("name", TWO)
def test_two_steps_are_in_the_best_of_all_pairs(name: str, noise: float) -> None:
    formula, basis = TWO[name]
    some = slice(0, 40)
    y = np.array(basis(3.0, 0.5 if name == "corner" else 7.0), dtype=float)
    y = y.T @ np.array([1.0, 2.5, 0.5])[: len(y)] + noise * NOISE
    others = gaps(Z[some] if name == "corner" else X[some])
    inner = [np.nan_to_num(np.mean(gap), posinf=99, neginf=-99) for gap in gaps(X[some])]
    least = np.inf
    for b, gap in itertools.product(inner, others):
        c = np.nan_to_num(np.mean(gap), posinf=99, neginf=-99)
        columns = np.array(basis(b, c), dtype=float).T[some]
        left = y[some] - columns @ np.linalg.lstsq(columns, y[some], rcond=None)[0]
        least = min(least, float(left @ left))

    fit = sgdfit.fit(formula, {"x": X[some], "z": Z[some], "y": y[some]})

    assert fit.residual_sum_of_squares == pytest.approx(least, rel=1e-9)
    assert not any("ruled out" in warning for warning in fit.warnings)


def test_two_steps_among_many_rows() -> None:
    total = np.append(0, np.cumsum(STAIRS[np.argsort(MANY)]))
    n, best = len(MANY), 0.0
    for i in range(1, n - 1):
        j = np.arange(i + 1, n)
        gain = total[i] ** 2 / i + (total[j] - total[i]) ** 2 / (j - i)
        best = max(best, float((gain + (total[-1] - total[j]) ** 2 / (n - j)).max()))

    fit = sgdfit.fit("y = where(x < b, p, where(x < c, q, r))", {"x": MANY, "y": STAIRS})

    assert fit.residual_sum_of_squares == pytest.approx(STAIRS @ STAIRS - best, rel=1e-9)


def test_the_rest_may_be_nonlinear() -> None:
    y = np.where(X < 4.2, 3 * np.exp(-0.5 * X) + 1, 2.0) + 0.3 * NOISE

    def residual(p, below):
        return np.where(below, p[0] * np.exp(-p[1] * X) + p[2], p[3]) - y

    judged = [
        least_squares(residual, (3, 0.5, 1, 2), args=(low >= X,), method="lm").cost
        for low, _ in gaps(X)[20:-20]
    ]
    fit = sgdfit.fit("y = where(x < b, a*exp(-k*x) + c, d)", {"x": X, "y": y})

    assert fit.status.name == "converged"
    assert fit.residual_sum_of_squares <= 2 * min(judged) * (1 + 1e-9)


def test_another_loss_than_squares() -> None:
    y = np.where(X < 4, 1.0, 2.0) + 0.2 * RNG.standard_t(1.5, size=N)
    judged = [
        sum(np.abs(y[side] - np.median(y[side])).sum() for side in (low >= X, low < X))
        for low, _ in gaps(X)[1:-1]
    ]
    fit = sgdfit.fit("y = where(x < b, p, q)", {"x": X, "y": y}, loss="mae")

    assert fit.loss * N == pytest.approx(min(judged), rel=1e-9)
    assert any("b: not all other values could be ruled out" in told for told in fit.warnings)


def test_rows_read_anew_for_each_pass_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, 200_000)
    y = np.where(x < 3.3, 1.0, 1.1) + 0.7 * rng.normal(size=len(x))
    order = np.argsort(x)
    total, k = np.cumsum(y[order]), np.arange(1, len(x))
    gain = total[:-1] ** 2 / k + (total[-1] - total[:-1]) ** 2 / (len(x) - k)
    best = int(np.argmax(gain))
    pq.write_table(pa.table({"x": x, "y": y}), tmp_path / "rows.parquet", row_group_size=30_000)
    whole = sgdfit.fit("y = where(x < b, p, q)", {"x": x, "y": y})
    monkeypatch.setattr(options, "SHARE", 1e-6)
    streamed = sgdfit.fit("y = where(x < b, p, q)", tmp_path / "rows.parquet")

    assert whole.estimates["b"].value == pytest.approx(x[order][best : best + 2].mean(), rel=1e-14)
    assert streamed.values == whole.values


def broken(x, y, hinge, places):
    """Return the least sum of squares of a line and a hinge over a grid of breaks, refined."""

    def squares(at):
        basis = np.stack([np.ones(len(x)), x, hinge(x - at)], axis=1)
        left = y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]
        return float(left @ left)

    best = sorted(places, key=squares)[:8]
    width = float(places[1] - places[0])
    ends = ((at - width, at + width) for at in best)
    return min(
        minimize_scalar(squares, bounds=b, method="bounded", options={"xatol": 1e-11}).fun
        for b in ends
    )


HINGES = {
    "a + b*x + c*maximum(0, x - d)": lambda t: np.maximum(t, 0),
    "a + b*x + c*minimum(x, d)": lambda t: np.minimum(t, 0),
    "a + b*x + c*abs(x - d)": np.abs,
    "a + b*x + where(x > d, c*(x - d), 0)": lambda t: np.where(t > 0, t, 0),
}


@pytest.mark.parametrize("start", [None, "d=2", "d=-50, a=1, b=1, c=1", "d=1e6, a=0, b=0, c=1"])
@pytest.mark.parametrize("formula", HINGES)
def test_a_break_is_found_wherever_it_is_begun(formula: str, start: str | None) -> None:
    y = 1 + 0.5 * X + 1.3 * np.maximum(0, X - 6.2) + NOISE
    least = broken(X, y, HINGES[formula], np.linspace(X.min(), X.max(), 1_000))

    fit = sgdfit.fit(f"y = {formula}", {"x": X, "y": y}, start=start)

    assert fit.status.name == "converged"
    assert fit.residual_sum_of_squares <= least * (1 + 1e-8)


@pytest.mark.parametrize(("count", "noise"), [(1_000, 3.0), (12_000, 1.0)])
@pytest.mark.parametrize("seed", range(2))
def test_a_break_among_more_rows_than_are_searched(count: int, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 10, count)
    y = 1 + 0.5 * x + 0.8 * np.maximum(0, x - 6.2) + noise * rng.normal(size=count)
    fit = sgdfit.fit("y = a + b*x + c*maximum(0, x - d)", {"x": x, "y": y})
    places = np.linspace(0, 10, 1_000)
    if count > 1_000:
        places = fit.values["d"] + fit.estimates["d"].stderr * np.linspace(-1, 1, 80)
    least = broken(x, y, lambda t: np.maximum(t, 0), places)

    # The best break may lie on a row, where the loss has a kink.
    assert fit.status.name == "converged"
    # Of the distance squared in units of the residual variance, at the tolerance.
    near = 1e-8 * least if count == 1_000 else 4e-6 * noise**2
    assert fit.residual_sum_of_squares <= least + near


RAMPS = {
    "y = maximum(0, minimum(c, b*(x - d)))": (
        [4.0, 1.5, 2.0],
        lambda x, c, b, d: np.maximum(0, np.minimum(c, b * (x - d))),
    ),
    "y = minimum(a + b*x, minimum(c, d - g*x))": (
        [1.0, 2.0, 5.0, 20.0, 1.8],
        lambda x, a, b, c, d, g: np.minimum(a + b * x, np.minimum(c, d - g * x)),
    ),
    # No b makes it 0.
    "y = maximum(a*exp(-b*x), 0) + c": (
        [3.0, 0.5, 1.0],
        lambda x, a, b, c: a * np.exp(-b * x) + c,
    ),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("formula", RAMPS)
def test_kinks_that_several_parameters_move(formula: str, seed: int) -> None:
    random, (usual, of) = np.random.default_rng(seed), RAMPS[formula]
    x, truth = np.linspace(0, 12, 90), random.lognormal(np.log(usual), 0.1)

    def curve(at):
        return of(x, *at)

    y = curve(truth) + 0.15 * random.normal(size=len(x))
    starts = truth * random.lognormal(0, 0.05, (20, len(truth)))
    judged = min(least_squares(lambda at: curve(at) - y, start).cost for start in starts)
    fit = sgdfit.fit(formula, {"x": x, "y": y})

    assert fit.status.name == "converged"
    assert fit.residual_sum_of_squares <= 2 * judged * (1 + 1e-5)


def test_gaps_whose_slopes_are_infinite_are_passed_over() -> None:
    """As between a row and the kink of sqrt(abs(x - b)) on it; a slope just not infinite is one."""
    smooth = np.array([[2.0, -1.0], [-1.0, 3.0]])
    steep = np.array([[1e30, 0.0], [0.0, 5.0]])
    products = np.stack([np.full((2, 2), np.inf), smooth, np.full((2, 2), np.nan), steep])
    step, is_end = kinks._least(products, np.array([[-2.0, 0, 1, 2], [0.0, 1, 2, 3]]), 0)
    assert (step.tolist(), is_end) == ([pytest.approx(0.5)], False)
