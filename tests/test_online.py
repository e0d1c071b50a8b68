"""Estimates that stay current as rows arrive, against fits of all rows at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import sgdfit
from sgdfit.data.delimited import arriving_rows
from sgdfit.errors import DataError, UsageError
from sgdfit.online import recursive
from sgdfit.report.layouts import as_text

RNG = np.random.default_rng(7)
N = 40_000
X = RNG.uniform(0, 5, N)
NOISE = RNG.normal(0, 1, N)
DECAY = 3 * np.exp(-0.7 * X) + 0.5
EXPONENTIAL = "y = a*exp(-b*x) + c"
PEAK = "y = a*exp(-(x - m)**2/(2*s**2)) + c"


def fed(formula, columns, size, **options):
    fit = sgdfit.Fit(formula, **options)
    rows = len(columns["x"])
    told = [
        fit.update({name: column[i : i + size] for name, column in columns.items()})
        for i in range(0, rows, size)
    ]
    return fit, told


def apart(result, whole):
    """Return the largest distance of an estimate, in standard errors of the fit of all rows."""
    return max(
        abs(result.estimates[name].value - whole.estimates[name].value)
        / whole.estimates[name].stderr
        for name in whole.free
    )


def off(result, whole):
    """Return the distance of the estimates in the metric of the fit of all rows, as told."""
    away = np.array([result.estimates[n].value - whole.estimates[n].value for n in whole.free])
    return float(np.sqrt(away @ np.linalg.solve(whole.covariance, away) / len(away)))


@pytest.mark.parametrize("size", [1, 7, 100, 600])
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y = a*x + b", {}),
        ("y = a + b*x + c*x**2 + d*x**3", {}),
        ("y = a*x + b*sin(x)", {"weights": "1/(1 + x)"}),
        ("y = a*x + b + c", {"fixed": "c=2", "sigma": "0.1 + 0.1*x", "absolute_sigma": True}),
        ("y = a*x + b + c*x**2", {"tied": "c = 2*a"}),
    ],
)
def test_a_linear_fit_is_that_of_all_rows_to_rounding(formula, options, size):
    columns = {"x": X[:600], "y": (3 * X + 1 + NOISE)[:600]}
    fit, told = fed(formula, columns, size, **options)
    found, whole = fit.result(), sgdfit.fit(formula, columns, **options)
    for name, estimate in whole.estimates.items():
        assert found.estimates[name].value == pytest.approx(estimate.value, rel=1e-10)
        if estimate.role != "fixed":
            assert found.estimates[name].stderr == pytest.approx(estimate.stderr, rel=1e-9)
        assert told[-1].estimates[name] == pytest.approx(estimate.value, rel=1e-10)
    for fact in ("loss", "residual_sum_of_squares", "reduced_chi_square", "r_squared", "aic"):
        assert getattr(found, fact) == pytest.approx(getattr(whole, fact), rel=1e-9), fact
    assert (found.rows, found.degrees_of_freedom) == (whole.rows, whole.degrees_of_freedom)
    assert told[-1].status == "current"


def test_columns_far_from_zero_keep_their_digits():
    x = 1e6 + X[:2000]
    columns = {"x": x, "y": 3 * x + 2 + 0.1 * NOISE[:2000]}
    fit, _ = fed("y = a*x + b", columns, 100)
    whole = sgdfit.fit("y = a*x + b", columns)
    assert apart(fit.result(), whole) < 1e-5


def test_bounds_hold_a_linear_fit_as_they_hold_that_of_all_rows():
    columns = {"x": X[:900], "y": (3 * X - 1 + NOISE)[:900]}
    fit, _ = fed("y = a*x + b", columns, 50, bounds="b > 0")
    found, whole = fit.result(), sgdfit.fit("y = a*x + b", columns, bounds="b > 0")
    assert found.estimates["b"].value == 0
    assert found.estimates["b"].at_bound
    assert found.estimates["a"].value == pytest.approx(whole.estimates["a"].value, rel=1e-10)
    assert found.estimates["a"].stderr == pytest.approx(whole.estimates["a"].stderr, rel=1e-6)


@pytest.mark.parametrize(
    ("formula", "y", "options", "size", "order"),
    [
        (EXPONENTIAL, DECAY + 0.1 * NOISE, {}, 1_500, None),
        (EXPONENTIAL, DECAY + 0.1 * NOISE, {}, 30_000, None),
        (EXPONENTIAL, DECAY + 3 * NOISE, {"start": "a=3, b=1, c=0.5"}, 2_000, None),
        (EXPONENTIAL, DECAY + 0.1 * NOISE, {"weights": "1 + x"}, 2_000, None),
        (EXPONENTIAL, DECAY + 0.1 * NOISE, {"bounds": "0 < b < 2"}, 2_000, "x"),
        ("y = a*x/(b + x)", 5 * X / (2 + X) + 0.2 * NOISE, {}, 2_000, "x"),
        (PEAK, 2 * np.exp(-((X - 2.5) ** 2) / 0.18) + 1 + 0.5 * NOISE, {}, 2_000, None),
        (EXPONENTIAL, DECAY + 0.1 * NOISE**3, {"loss": "huber(delta=0.2)"}, 2_000, None),
        ("y = a*x + b", 3 * X + 1 + NOISE**3, {"loss": "cauchy"}, 2_000, None),
        ("y = a*x + b", 3 * X + 1 + X * NOISE, {"covariance": "sandwich"}, 2_000, None),
    ],
)
def test_any_other_fit_is_within_a_tenth_of_a_standard_error(formula, y, options, size, order):
    rows = np.argsort(X) if order else slice(None)
    columns = {"x": X[rows], "y": y[rows]}
    fit, told = fed(formula, columns, size, **options)
    found, whole = fit.result(), sgdfit.fit(formula, columns, **options)
    assert apart(found, whole) < 0.1
    for name in whole.free:
        # what residuals bend is in the curvature of one and not in that of the other
        assert found.estimates[name].stderr == pytest.approx(whole.estimates[name].stderr, rel=0.08)
    assert found.loss == pytest.approx(whole.loss, rel=1e-5)
    assert off(found, whole) <= found.distance + 0.01 < 0.11
    assert told[-1].distance < 0.1


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr(recursive, "KEPT", 4_096)
    columns = {"x": X, "y": DECAY + 0.1 * NOISE}
    fit, _ = fed(EXPONENTIAL, columns, 5_000)
    kept = fit._known[1].window
    assert sum(len(weights) for _, weights in kept) <= 2 * 4_096
    found, whole = fit.result(), sgdfit.fit(EXPONENTIAL, columns)
    assert found.rows == N
    assert off(found, whole) <= found.distance + 0.02 < 0.1


@pytest.mark.parametrize("forgetting", [0.98, "half_life=34.3"])
def test_forgetting_is_that_of_recursive_least_squares(forgetting):
    factor = 0.98 if forgetting == 0.98 else 0.5 ** (1 / 34.3)
    x, y = X[:400], (3 * X + 1 + NOISE)[:400]
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
        assert "forgetting" in as_text(fit.result())


def test_errors_with_forgetting_are_the_scatter_of_the_estimates():
    estimates, errors = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = rng.uniform(0, 5, 300)
        columns = {"x": x, "y": 3 * x + 1 + rng.normal(0, 1, 300)}
        fit, _ = fed("y = a*x + b", columns, 300, forgetting=0.97)
        found = fit.result().estimates["a"]
        estimates.append(found.value)
        errors.append(found.stderr)
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.12)


@pytest.mark.parametrize("formula", ["y = a*exp(-b*x)", "y = log(a)*x - b"])
def test_a_drifting_parameter_is_tracked_only_by_forgetting(formula):
    rows = 12_000
    x, drift = X[:rows], np.linspace(1.0, 2.0, rows)
    curve = np.exp(-drift * x) if "exp" in formula else np.log(drift) * x - 0.5
    columns = {"x": x, "y": curve + 0.02 * NOISE[:rows]}
    name, last = ("b", 2.0) if "exp" in formula else ("a", 2.0)
    options = {"start": "a=1, b=1", "bounds": "a > 0"}
    quick, _ = fed(formula, columns, 200, forgetting="half_life=150", **options)
    slow, _ = fed(formula, columns, 200, **options)
    assert quick.result().estimates[name].value == pytest.approx(last, abs=0.08)
    assert abs(slow.result().estimates[name].value - last) > 0.25


@pytest.mark.parametrize(
    ("forgetting", "refused"),
    [(0.5, True), (0.74, True), (0.75, False), ("half_life=2.4", True), ("half_life=2.41", False)],
)
def test_forgetting_leaves_more_rows_than_parameters(forgetting, refused):
    fit, columns = sgdfit.Fit(EXPONENTIAL, forgetting=forgetting), {"x": X[:99], "y": DECAY[:99]}
    if not refused:
        assert fit.update(columns).rows == 99
        return
    with pytest.raises(UsageError, match=r"cannot determine 3 parameters \(a, b, c\)") as caught:
        fit.update(columns)
    assert "a factor from 0.75 on and below 1, or a half-life of 2.41 rows" in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "rate", "first", "last"),
    [
        ("mse", 1.1, 24_000, 16_000),
        ("mse", 0.75, 20_000, 60_000),
        ("huber(delta=0.2)", 1.1, 24_000, 16_000),
    ],
)
def test_estimates_that_moved_far_are_no_farther_from_the_optimum_than_is_told(
    loss, rate, first, last
):
    """Also where the data were drawn by the seed that the fit has."""
    random, rows = np.random.default_rng(0), first + last
    x, noise = random.uniform(0, 5, rows), random.normal(0, 0.1, rows)
    y = 3 * np.exp(-np.where(np.arange(rows) < first, 0.7, rate) * x) + 0.5 + noise
    columns = {"x": x, "y": y}
    fit, _ = fed(EXPONENTIAL, columns, 2_000, loss=loss, seed=0)
    found, whole = fit.result(), sgdfit.fit(EXPONENTIAL, columns, loss=loss)
    assert off(found, whole) - 0.01 <= found.distance < 1
    assert apart(found, whole) < 1
    moved = [warning for warning in found.warnings if "standard errors from those" in warning]
    assert bool(moved) == (found.distance > 0.1)


@pytest.mark.parametrize(
    ("rate", "stalled"), [(0.7, False), (0.71, False), (0.75, True), (1.4, True)]
)
def test_where_the_past_cannot_be_seen_any_more_the_distance_is_told(monkeypatch, rate, stalled):
    monkeypatch.setattr(recursive, "KEPT", 4_096)
    y = 3 * np.exp(-np.where(np.arange(N) < 18_000, 0.7, rate) * X) + 0.5 + 0.1 * NOISE
    fit, told = fed(EXPONENTIAL, {"x": X, "y": y}, 2_000)
    found = fit.result()
    assert off(found, sgdfit.fit(EXPONENTIAL, {"x": X, "y": y})) <= found.distance + 0.01
    assert (found.status.name == "stalled") == (found.distance > 1) == stalled
    if stalled:
        assert found.covariance is None
        assert "forgetting factor" in found.status.cure
        assert told[-1].errors == dict.fromkeys("abc")


def test_a_change_is_told_and_noise_is_not():
    y = DECAY + 0.1 * NOISE
    after = np.arange(N) >= 24_000
    changed = np.where(after, 3 * np.exp(-1.1 * X) + 0.5 + 0.1 * NOISE, y)
    _, calm = fed(EXPONENTIAL, {"x": X, "y": y}, 2_000)
    assert {told.status for told in calm} == {"current"}
    fit, told = fed(EXPONENTIAL, {"x": X, "y": changed}, 1_000)
    strange = [i for i, update in enumerate(told) if update.status == "changed"]
    assert strange[0] == 24
    assert "rows 24,001 to 25,000 are farther from the curve" in told[24].warnings[0]
    assert any("farther from the curve" in warning for warning in fit.result().warnings)
    whole = sgdfit.fit(EXPONENTIAL, {"x": X, "y": changed})
    # estimates move by hundreds of standard errors here
    assert apart(fit.result(), whole) < 0.5


def test_single_rows_are_told_from_outliers():
    columns = {"x": X[:500], "y": (3 * X + 1 + NOISE)[:500]}
    fit, told = fed("y = a*x + b", columns, 1)
    assert {update.status for update in told} == {"waiting", "current"}
    assert fit.update({"x": [1.0], "y": [24.0]}).status == "changed"


SINGLE = [
    ("y = a*x + b", 3 * X + 1 + NOISE, {}),
    ("y = a*x + b", 3 * X + 1 + NOISE, {"weights": "1 + x"}),
    ("y = a*x + b", 3 * X + 1 + NOISE, {"forgetting": 0.98}),
    (EXPONENTIAL, DECAY + 0.1 * NOISE, {}),
    (EXPONENTIAL, DECAY + 0.1 * NOISE, {"loss": "huber(delta=0.2)"}),
]


@pytest.mark.parametrize(("formula", "y", "options"), SINGLE)
def test_asking_after_every_row_changes_nothing(formula, y, options):
    columns = {"x": X[:400], "y": y[:400]}
    blind, told = fed(formula, columns, 1, **options)
    asking, estimates = sgdfit.Fit(formula, **options), []
    for i in range(400):
        now = asking.update({"x": columns["x"][i : i + 1], "y": columns["y"][i : i + 1]})
        estimates.append((now.estimates, now.loss, now.distance, now.status, now.effective_rows))
    assert blind.result().values == asking.result().values
    assert blind.result().covariance.tolist() == asking.result().covariance.tolist()
    for i in (399, 397, 370, 300, 150, 40, 2):  # asked for late, and out of order
        late = told[i]
        assert (late.rows, late.dropped) == (i + 1, 0)
        found = (late.estimates, late.loss, late.distance, late.status, late.effective_rows)
        assert found == estimates[i]


@pytest.mark.parametrize(("formula", "y", "options"), SINGLE)
def test_single_rows_lead_where_batches_do(formula, y, options):
    columns = {"x": X[:900], "y": y[:900]}
    (one, told), (many, _) = (fed(formula, columns, size, **options) for size in (1, 300))
    assert one.result().values == pytest.approx(many.result().values, rel=1e-6)
    whole = many.result().estimates
    for name, value in told[-1].estimates.items():
        assert abs(value - whole[name].value) < 0.01 * whole[name].stderr
    assert told[-1].effective_rows == pytest.approx(many.update({"x": [], "y": []}).effective_rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"x": -1.0, "y": 1.0}, "on row 1 of this batch, row 64 since the beginning"),
        ({"x": np.array([np.nan]), "y": np.array([1.0])}, "is missing"),
        ({"x": np.array([1.0, 2.0]), "y": np.array([1.0])}, "have 2 and 1 rows"),
        ({"y": 1.0}, "has no column 'x'"),
    ],
)
def test_a_row_that_is_refused_among_single_ones_changes_nothing(row, message):
    fit = sgdfit.Fit("y = a*log(x) + b")
    fit.update({"x": X[:60] + 0.1, "y": NOISE[:60]})
    for i in range(3):
        fit.update({"x": float(X[i]) + 0.1, "y": 1.0})
    before = fit.result().values
    with pytest.raises(DataError, match=message):
        fit.update(row)
    assert fit.result().values == before
    assert fit.update({"x": 1.0, "y": 1.0}).rows == 64


@pytest.mark.parametrize("single", [False, True])
def test_rows_are_named_as_the_user_counts_them(single):
    """Rows left out and rows of weight 0 count too: in the batch and since the beginning."""
    fit = sgdfit.Fit("y = a*log(x) + b", missing="drop", weights="w")
    x, w = X[:50] + 0.1, np.ones(50)
    x[3], w[5] = np.nan, 0.0
    fit.update({"x": x, "y": NOISE[:50], "w": w})
    if single:
        fit.update({"x": [np.nan, 1.0], "y": [0.0, 0.0], "w": [1.0, 1.0]})
    first = 52 if single else 50
    with pytest.raises(DataError, match=f"row 4 of this batch, row {first + 4} since"):
        fit.update({"x": [np.nan, 1.0, 1.0, -1.0], "y": [0.0] * 4, "w": [1.0, 0.0, 1.0, 1.0]})
    told = fit.update({"x": [np.nan, 1.0, 1.0], "y": [0.0, 5.0, 1e3], "w": [1.0, 0.0, 1.0]})
    assert told.warnings[0].startswith(f"rows {first + 1} to {first + 3} are farther")
    assert told.warnings[0] in fit.result().warnings


def test_lines_of_a_file_are_named(tmp_path):
    fit = sgdfit.Fit("y = a*log(x) + b")
    fit.update({"x": X[:50] + 0.1, "y": NOISE[:50]})
    (tmp_path / "rows.csv").write_text("x,y\n1,2\n\n-2,4\n")
    with pytest.raises(DataError, match=r"row 2 \(line 4\) of this batch, row 52 since"):
        fit.update(tmp_path / "rows.csv")


def test_rows_wait_until_they_determine_the_parameters():
    fit = sgdfit.Fit(EXPONENTIAL)
    first = fit.update({"x": X[:2], "y": DECAY[:2]})
    assert (first.status, first.estimates, first.errors, first.loss) == ("waiting", {}, {}, None)
    with pytest.raises(DataError, match=r"2 row\(s\) do not determine a, b, c"):
        fit.result()
    assert fit.update({"x": X[2:50], "y": DECAY[2:50]}).estimates["b"] == pytest.approx(0.7)


def test_what_stays_undetermined_is_named():
    fit = sgdfit.Fit("y = (a + b)*x + c")
    columns = {"x": X[:100], "y": (3 * X + NOISE)[:100]}
    assert fit.update(columns).status == "waiting"
    found, whole = fit.result(), sgdfit.fit("y = (a + b)*x + c", columns)
    assert found.undetermined == whole.undetermined == ("a − b",)
    assert found.determined[0].value == pytest.approx(whole.determined[0].value)
    assert found.determined[0].stderr == pytest.approx(whole.determined[0].stderr)


@pytest.mark.parametrize(
    "data",
    [
        pa.record_batch({"x": X[:99], "y": X[:99]}),
        pa.table({"x": X[:99].astype(np.float32), "y": X[:99]}),
        {"x": list(X[:99]), "y": list(X[:99]), "site": ["A"] * 99},
        np.rec.fromarrays([X[:99], X[:99]], names="x, y"),
    ],
)
def test_any_data_are_a_batch(data):
    fit = sgdfit.Fit("y = a*x + b")
    fit.update({"x": [1, 2, 3], "y": [1, 2, 3.5]})
    assert fit.update(data).rows == 102


def test_a_file_is_a_batch(tmp_path):
    (tmp_path / "rows.csv").write_text("x,y\n1,2\n2,4\n3,7\n")
    assert sgdfit.Fit("y = a*x + b").update(tmp_path / "rows.csv").rows == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": [1.0]}, "has no column 'y'"),
        ({"x": [1.0, np.nan], "y": [1.0, 2.0]}, "row 2 is missing"),
        ({"x": ["one"], "y": [1.0]}, "'one', which is no number"),
        ({"x": [1.0, 2.0], "y": [1.0]}, "have 2 and 1 rows"),
        ({"x": [1.0], "y": [1.0], "a": [1.0]}, "a column 'a', which is a parameter"),
        (
            {"x": [1.0, -5.0], "y": [1.0, 1.0]},
            "no finite value on row 2 of this batch, row 62 since the beginning",
        ),
        (object(), "cannot be read"),
    ],
)
def test_a_batch_that_is_refused_changes_nothing(data, message):
    fit = sgdfit.Fit("y = a*log(x) + b*sqrt(x)")
    columns = {"x": X[:60] + 0.1, "y": X[:60]}
    before = fit.update(columns)
    with pytest.raises(DataError, match=message):
        fit.update(data)
    after = fit.update({"x": [], "y": []})
    assert after.estimates == before.estimates
    assert (after.rows, after.loss, after.errors) == (60, before.loss, before.errors)


def test_missing_rows_are_dropped_and_counted():
    fit = sgdfit.Fit("y = a*x + b", missing="drop")
    fit.update({"x": X[:50], "y": X[:50] + NOISE[:50]})
    told = fit.update({"x": [1.0, np.nan], "y": [2.0, 3.0]})
    assert (told.rows, told.dropped) == (51, 1)
    told = fit.update({"x": [np.nan], "y": [3.0]})
    assert (told.rows, told.dropped, fit.result().rows_dropped) == (51, 2, 2)


def test_rows_of_weight_zero_say_nothing():
    columns = {"x": X[:50], "y": X[:50] + NOISE[:50], "w": np.ones(50)}
    fit, before = fed("y = a*x + b", columns, 50, weights="w")
    told = fit.update({"x": [1.0], "y": [1e9], "w": [0.0]})
    assert told.estimates == before[-1].estimates
    assert told.rows == 51


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forgetting": 0}, "forgetting is 0;"),
        ({"forgetting": 1.01}, "a factor a row from 0.5 to 1"),
        ({"forgetting": 1e-300}, "forgetting is 1e-300;"),
        ({"forgetting": "half_life=0.5"}, "a half-life of 1 row or more"),
        ({"forgetting": "half_life=-3"}, "a half-life of 1 row or more"),
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
    fit, _ = fed("y = a*x + b", {"x": X[:500], "y": (3 * X + 1 + NOISE)[:500]}, 100)
    found = fit.result()
    found.save(tmp_path / "fit.json")
    again = sgdfit.load(tmp_path / "fit.json")
    assert again.values == found.values
    assert again.optimizer == "recursive"
    band = again.predict({"x": [1.0, 2.0]}, "prediction")
    assert band.low[0] < band.prediction[0] < band.high[0]
    assert found.trace.step.tolist() == [1, 2, 3, 4, 5]
    assert found.trace.parameters[-1].tolist() == [again.values["a"], again.values["b"]]
    assert "each batch joined" in as_text(found)


def test_a_seed_gives_the_same_run_to_the_last_bit():
    columns = {"x": X, "y": DECAY + 0.1 * NOISE}
    first, second = (fed(EXPONENTIAL, columns, 5_000, seed=3)[0].result() for _ in range(2))
    assert first.values == second.values


@pytest.mark.parametrize("cut", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("text", "names", "values"),
    [
        ("x,y\n1,2\n3,4\n", ("x", "y"), [[1, 3], [2, 4]]),
        ("1 2 3\n4  5 6\n", ("c1", "c2", "c3"), [[1, 4], [2, 5], [3, 6]]),
        ("# note\nx;y\n1;2\n1,5;2,5\n", ("x", "y"), [[1, 1.5], [2, 2.5]]),
        ("x\ty\r\n1\t2e3\r\n\r\n2\tNA", ("x", "y"), [[1, 2], [2000, np.nan]]),
        ('t,y\n"1",2\n2,3\n', ("t", "y"), [[1, 2], [2, 3]]),
    ],
)
def test_text_is_read_as_it_arrives_however_it_is_cut(text, names, values, cut):
    from sgdfit.data.floats import Place, as_floats

    parts = [text.encode()[i : i + cut] for i in range(0, len(text), cut)]
    batches = list(arriving_rows(iter([*parts, b""]).__next__, "standard input"))
    columns = []
    for place, name in enumerate(names):
        parts = []
        for rows, table_of in batches:
            table = table_of(0, rows)
            assert table.names == names
            (raw,) = table.fetch([place])
            parts.append(as_floats(raw, Place(name, "", table.line, table.decimal)))
        columns.append(np.concatenate(parts).tolist())
    np.testing.assert_array_equal(columns, values)
