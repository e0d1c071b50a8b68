"""Estimates that stay current as rows arrive, against fits of all rows at once."""

import numpy as np
import pytest

import sgdfit
from sgdfit.errors import DataError, FormulaError, UsageError
from sgdfit.online import recursive

RNG = np.random.default_rng(7)
N = 40_000
X = RNG.uniform(0, 5, N)
NOISE = RNG.normal(0, 1, N)
DECAY = 3 * np.exp(-0.7 * X) + 0.5
LINE = 3 * X + 1 + NOISE
EXPONENTIAL = "y = a*exp(-b*x) + c"
PEAK = "y = a*exp(-(x - m)**2/(2*s**2)) + c"


def fed(formula, columns, size, **options):
    fit = sgdfit.Fit(formula, **options)
    told = [
        fit.update({name: column[i : i + size] for name, column in columns.items()})
        for i in range(0, len(columns["x"]), size)
    ]
    return fit, told


def off(result, whole):
    """Return the distance of the estimates in the metric of the fit of all rows, as told."""
    away = np.array([result.estimates[n].value - whole.estimates[n].value for n in whole.free])
    return float(np.sqrt(away @ np.linalg.solve(whole.covariance, away) / len(away)))


@pytest.mark.parametrize("size", [1, 7, 600])
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y = a + b*x + c*x**2 + d*x**3", {}),
        ("y = a*x + b*sin(x)", {"weights": "1/(1 + x)"}),
        ("y = a*x + b + c", {"fixed": "c=2", "sigma": "0.1 + 0.1*x", "absolute_sigma": True}),
        ("y = a*x + b + c*x**2", {"tied": "c = 2*a"}),
        ("y = a*x + b", {"bounds": "b > 1.5"}),
    ],
)
def test_a_linear_fit_is_that_of_all_rows_to_rounding(formula, options, size):
    columns = {"x": X[:600], "y": LINE[:600]}
    fit, told = fed(formula, columns, size, **options)
    found, whole = fit.result(), sgdfit.fit(formula, columns, **options)
    for name, estimate in whole.estimates.items():
        assert found.estimates[name].value == pytest.approx(estimate.value, rel=1e-10)
        assert found.estimates[name].at_bound == estimate.at_bound == (estimate.value == 1.5)
        if estimate.stderr is not None:
            assert found.estimates[name].stderr == pytest.approx(estimate.stderr, rel=1e-9)
        assert told[-1].estimates[name] == pytest.approx(estimate.value, rel=1e-10)
    for fact in ("loss", "residual_sum_of_squares", "reduced_chi_square", "r_squared", "aic"):
        assert getattr(found, fact) == pytest.approx(getattr(whole, fact), rel=1e-9), fact
    assert (found.rows, found.degrees_of_freedom) == (whole.rows, whole.degrees_of_freedom)
    assert (told[-1].status, found.distance) == ("current", 0.0)


def test_columns_far_from_zero_keep_their_digits():
    columns = {"x": 1e6 + X[:2000], "y": 3 * X[:2000] + 2 + 0.1 * NOISE[:2000]}
    fit, _ = fed("y = a*x + b", columns, 100)
    assert off(fit.result(), sgdfit.fit("y = a*x + b", columns)) < 1e-5


@pytest.mark.parametrize(
    ("formula", "y", "options", "size", "kept"),
    [
        (EXPONENTIAL, DECAY + 0.1 * NOISE, {}, 1_500, None),
        (EXPONENTIAL, DECAY + 0.1 * NOISE, {}, 5_000, 4_096),
        (EXPONENTIAL, DECAY + 3 * NOISE, {"start": "a=3, b=1, c=0.5"}, 2_000, None),
        (EXPONENTIAL, DECAY + 0.1 * NOISE, {"weights": "1 + x", "bounds": "0 < b < 2"}, 999, None),
        (PEAK, 2 * np.exp(-((X - 2.5) ** 2) / 0.18) + 1 + 0.5 * NOISE, {}, 2_000, None),
        (EXPONENTIAL, DECAY + 0.1 * NOISE**3, {"loss": "huber(delta=0.2)"}, 2_000, None),
        ("y = a*x + b", 3 * X + 1 + X * NOISE, {"covariance": "sandwich"}, 2_000, None),
    ],
)
def test_any_other_fit_is_within_a_tenth_of_a_standard_error(
    monkeypatch, formula, y, options, size, kept
):
    """Also where rows are folded several times, in memory that does not grow, and in order of x."""
    monkeypatch.setattr(recursive, "WINDOW_ROWS", kept or recursive.WINDOW_ROWS)
    rows = np.argsort(X) if "bounds" in options else slice(None)
    columns = {"x": X[rows], "y": y[rows]}
    fit, told = fed(formula, columns, size, **options)
    found, whole = fit.result(), sgdfit.fit(formula, columns, **options)
    for name in whole.free:
        estimate, expected = found.estimates[name], whole.estimates[name]
        assert abs(estimate.value - expected.value) < 0.1 * expected.stderr
        # what residuals bend is in the curvature of one and not in that of the other
        assert estimate.stderr == pytest.approx(expected.stderr, rel=0.08)
    # a median and its minimum agree at several scales, here 2e-5 apart
    assert found.loss == pytest.approx(whole.loss, rel=1e-4)
    assert off(found, whole) <= found.distance + 0.01 < 0.11
    assert told[-1].distance < 0.1
    assert sum(len(weights) for _, weights in fit._now._stream.window) <= 2 * recursive.WINDOW_ROWS


@pytest.mark.parametrize("forgetting", [0.98, "half_life=34.3"])
def test_forgetting_is_that_of_recursive_least_squares(forgetting):
    factor = 0.98 if forgetting == 0.98 else 0.5 ** (1 / 34.3)
    x, y = X[:400], LINE[:400]
    P, theta = np.eye(2) * 1e12, np.zeros(2)
    for row, target in zip(np.column_stack([x, np.ones(400)]), y, strict=True):
        gain = P @ row / (factor + row @ P @ row)
        theta = theta + gain * (target - row @ theta)
        P = (P - np.outer(gain, row @ P)) / factor
    for size in (1, 9, 400):
        fit, told = fed("y = a*x + b", {"x": x, "y": y}, size, forgetting=forgetting)
        assert list(told[-1].estimates.values()) == pytest.approx(theta.tolist(), rel=1e-7)
        mass = (1 - factor**400) / (1 - factor)
        assert told[-1].effective_rows == pytest.approx(mass, rel=1e-9)
        assert "forgetting" in fit.result().report(full=True)


def test_errors_with_forgetting_are_the_scatter_of_the_estimates():
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = rng.uniform(0, 5, 300)
        columns = {"x": x, "y": 3 * x + 1 + rng.normal(0, 1, 300)}
        found.append(fed("y = a*x + b", columns, 300, forgetting=0.97)[0].result().estimates["a"])
    scatter = np.std([estimate.value for estimate in found])
    assert np.mean([estimate.stderr for estimate in found]) == pytest.approx(scatter, rel=0.12)


@pytest.mark.parametrize("formula", ["y = a*exp(-b*x)", "y = log(a)*x - b"])
def test_a_drifting_parameter_is_tracked_only_by_forgetting(formula):
    rows = 12_000
    x, drift = X[:rows], np.linspace(1.0, 2.0, rows)
    curve = np.exp(-drift * x) if "exp" in formula else np.log(drift) * x - 0.5
    columns = {"x": x, "y": curve + 0.02 * NOISE[:rows]}
    name = "b" if "exp" in formula else "a"
    options = {"start": "a=1, b=1", "bounds": "a > 0"}
    quick, _ = fed(formula, columns, 200, forgetting="half_life=150", **options)
    slow, _ = fed(formula, columns, 200, **options)
    assert quick.result().estimates[name].value == pytest.approx(2.0, abs=0.08)
    assert abs(slow.result().estimates[name].value - 2.0) > 0.25


@pytest.mark.parametrize(("least", "less"), [(0.75, 0.74), ("half_life=2.41", "half_life=2.4")])
def test_forgetting_leaves_more_rows_than_parameters(least, less):
    columns = {"x": X[:99], "y": DECAY[:99]}
    assert sgdfit.Fit(EXPONENTIAL, forgetting=least).update(columns).rows == 99
    told = r"cannot determine 3 parameters \(a, b, c\) .* from 0.75 on, or a half-life of 2.41 rows"
    with pytest.raises(UsageError, match=told):
        sgdfit.Fit(EXPONENTIAL, forgetting=less).update(columns)


@pytest.mark.parametrize(
    ("loss", "rate", "first", "last", "kept"),
    [
        ("mse", 1.1, 24_000, 16_000, None),
        ("mse", 0.75, 20_000, 60_000, None),
        ("huber(delta=0.2)", 1.1, 24_000, 16_000, None),
        *(("mse", rate, 18_000, 22_000, 4_096) for rate in (0.71, 0.75, 1.4)),
    ],
)
def test_estimates_that_moved_far_are_no_farther_from_the_optimum_than_is_told(
    monkeypatch, loss, rate, first, last, kept
):
    """Also where the data were drawn by the seed that the fit has."""
    monkeypatch.setattr(recursive, "WINDOW_ROWS", kept or recursive.WINDOW_ROWS)
    random, rows = np.random.default_rng(0), first + last
    x, noise = random.uniform(0, 5, rows), random.normal(0, 0.1, rows)
    y = 3 * np.exp(-np.where(np.arange(rows) < first, 0.7, rate) * x) + 0.5 + noise
    columns = {"x": x, "y": y}
    fit, told = fed(EXPONENTIAL, columns, 2_000, loss=loss, seed=0)
    found, whole = fit.result(), sgdfit.fit(EXPONENTIAL, columns, loss=loss)
    stalled = bool(kept) and rate >= 0.75
    assert off(found, whole) <= found.distance + 0.01
    assert (found.status.name == "stalled") == (found.distance > 1) == stalled
    moved = [warning for warning in found.warnings if "standard errors from those" in warning]
    assert bool(moved) == (found.distance > 0.1)
    if stalled:
        assert found.covariance is None
        assert "forgetting factor" in found.status.cure
        assert told[-1].errors == dict.fromkeys("abc")


def test_a_change_is_told_and_noise_is_not():
    y = DECAY + 0.1 * NOISE
    changed = np.where(np.arange(N) < 24_000, y, 3 * np.exp(-1.1 * X) + 0.5 + 0.1 * NOISE)
    _, calm = fed(EXPONENTIAL, {"x": X, "y": y}, 2_000)
    assert {told.status for told in calm} == {"current"}
    fit, told = fed(EXPONENTIAL, {"x": X, "y": changed}, 1_000)
    assert [update.status for update in told[:25]] == ["current"] * 24 + ["changed"]
    assert "rows 24,001 to 25,000 are farther from the curve" in told[24].warnings[0]
    assert any("farther from the curve" in warning for warning in fit.result().warnings)
    single, told = fed("y = a*x + b", {"x": X[:500], "y": LINE[:500]}, 1)
    assert {update.status for update in told} == {"waiting", "current"}
    assert "row 501 is" in single.update({"x": [1.0], "y": [24.0]}).warnings[0]


@pytest.mark.parametrize(
    ("formula", "y", "options"),
    [
        ("y = a*x + b", LINE, {"weights": "1 + x"}),
        ("y = a*x + b", LINE, {"forgetting": 0.98}),
        (EXPONENTIAL, DECAY + 0.1 * NOISE, {"loss": "huber(delta=0.2)"}),
    ],
)
def test_asking_changes_nothing_and_single_rows_lead_where_batches_do(formula, y, options):
    columns = {"x": X[:200], "y": y[:200]}
    facts = ("estimates", "loss", "distance", "status", "effective_rows", "rows", "dropped")
    blind, told = fed(formula, columns, 1, **options)
    asking, estimates = sgdfit.Fit(formula, **options), []
    for i in range(200):
        now = asking.update({"x": columns["x"][i : i + 1], "y": columns["y"][i : i + 1]})
        estimates.append([getattr(now, fact) for fact in facts])
    assert blind.result().values == asking.result().values
    assert blind.result().covariance.tolist() == asking.result().covariance.tolist()
    for i in (199, 170, 150, 40, 2):  # asked for late, and out of order
        assert [getattr(told[i], fact) for fact in facts] == estimates[i]
    many = fed(formula, columns, 150, **options)[0].result()
    assert blind.result().values == pytest.approx(many.values, rel=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": [1.0, -5.0], "y": [1.0, 1.0]}, "row 2 of this batch, row 62 since the beginning"),
        ({"x": [1.0]}, "has no column 'y'"),
        ({"x": [1.0, np.nan], "y": [1.0, 2.0]}, "row 2 is missing"),
        ({"x": ["one"], "y": [1.0]}, "'one', which is no number"),
        ({"x": [1.0, 2.0], "y": [1.0]}, "have 2 and 1 rows"),
        (object(), "cannot be read"),
    ],
)
def test_a_batch_that_is_refused_changes_nothing(data, message):
    fit = sgdfit.Fit("y = a*log(x) + b*sqrt(x)")
    before = fit.update({"x": X[:60] + 0.1, "y": X[:60]})
    with pytest.raises(DataError, match=message):
        fit.update(data)
    after = fit.update({"x": [], "y": []})
    assert (after.rows, after.estimates) == (60, before.estimates)
    assert (after.loss, after.errors) == (before.loss, before.errors)


def test_a_curve_without_a_column_is_meant_or_refused():
    rows = {"t": X[:60], "y": NOISE[:60]}
    for take_in in (sgdfit.Fit("y = a*T").update, lambda rows: sgdfit.explain("y = a*T", rows)):
        with pytest.raises(FormulaError, match="Did you mean 't' where 'T' stands"):
            take_in(rows)
    told = sgdfit.Fit("y = a", constant=True, sigma=2).update(rows)
    assert told.estimates["a"] == pytest.approx(NOISE[:60].mean(), rel=1e-12)


def test_rows_are_named_as_the_user_counts_them(tmp_path):
    """Rows left out and rows of weight 0 count too: in the batch and since the beginning."""
    fit = sgdfit.Fit("y = a*log(x) + b", missing="drop", weights="w")
    x, w = X[:50] + 0.1, np.ones(50)
    x[3], w[5] = np.nan, 0.0
    fit.update({"x": x, "y": NOISE[:50], "w": w})
    before = fit.update({"x": [np.nan, 1.0], "y": [0.0, 1e9], "w": [1.0, 0.0]})
    assert (before.rows, before.dropped) == (50, 2)
    with pytest.raises(DataError, match="row 4 of this batch, row 56 since"):
        fit.update({"x": [np.nan, 1.0, 1.0, -1.0], "y": [0.0] * 4, "w": [1.0, 0.0, 1.0, 1.0]})
    (tmp_path / "rows.csv").write_text("x,y,w\n1,2,1\n\n-2,4,1\n")
    with pytest.raises(DataError, match=r"row 2 \(line 4\) of this batch, row 54 since"):
        fit.update(tmp_path / "rows.csv")
    told = fit.update({"x": [np.nan, 1.0, 1.0], "y": [0.0, 5.0, 1e3], "w": [1.0, 0.0, 1.0]})
    assert told.warnings[0].startswith("rows 53 to 55 are farther")
    told = fit.update({"x": [np.nan], "y": [3.0], "w": [1.0]})
    assert (told.rows, told.dropped, fit.result().rows_dropped) == (52, 4, 4)


def test_rows_wait_until_they_determine_the_parameters():
    fit = sgdfit.Fit(EXPONENTIAL)
    first = fit.update({"x": X[:2], "y": DECAY[:2]})
    assert (first.status, first.estimates, first.errors, first.loss) == ("waiting", {}, {}, None)
    with pytest.raises(DataError, match=r"2 row\(s\) do not determine a, b, c"):
        fit.result()
    assert fit.update({"x": X[2:50], "y": DECAY[2:50]}).estimates["b"] == pytest.approx(0.7)
    fit = sgdfit.Fit("y = (a + b)*x + c")
    assert fit.update({"x": X[:100], "y": (3 * X + NOISE)[:100]}).status == "waiting"
    found = fit.result()
    assert (found.undetermined, found.distance) == (("a and b",), None)
    assert [found.estimates[name].stderr is None for name in "abc"] == [True, True, False]
    assert [each.text for each in found.determined] == ["a + b"]
    assert "the data do not determine a and b, only a + b" in found.warnings[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forgetting": 0}, "forgetting is 0;"),
        ({"forgetting": 1.01}, "a factor a row from 0.5 to 1"),
        ({"forgetting": "half_life=0.5"}, "a half-life of 1 row or more"),
        ({"forgetting": "half=3"}, "a half-life of 1 row or more"),
        ({"loss": "mae"}, "made of straight pieces"),
        ({"missing": "keep"}, "missing='keep'"),
        ({"weights": "w", "sigma": "s"}, "give one of them"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(options, message):
    with pytest.raises(UsageError, match=message):
        sgdfit.Fit("y = a*x + b", **options)


def test_the_result_is_saved_and_predicts(tmp_path):
    found = fed("y = a*x + b", {"x": X[:500], "y": LINE[:500]}, 100)[0].result()
    found.save(tmp_path / "fit.json")
    again = sgdfit.load(tmp_path / "fit.json")
    assert (again.values, again.optimizer) == (found.values, "recursive")
    band = again.predict({"x": [1.0, 2.0]}, "prediction")
    assert band.low[0] < band.prediction[0] < band.high[0]
    assert found.trace.step.tolist() == [1, 2, 3, 4, 5]
    assert found.trace.parameters[-1].tolist() == [again.values["a"], again.values["b"]]
    assert "each batch joined" in found.report(full=True)
