"""How a run ends: every status, with its cause and its cure, over one table."""

import re
import warnings

import numpy as np
import pytest

import sgdfit
from naming import name_of
from sgdfit.errors import DivergenceWarning
from sgdfit.inference.diagnosis import Diagnosis

X = np.linspace(-2, 2, 20)
DRAWS = (np.random.RandomState(42).randint(0, 2**32, 20, dtype=np.uint32) & 0xFFFFFF) / 2**24
TUTORIAL = {"x": X, "y": 2 * X**2 + 3 * X + 4 + (DRAWS * 10 - 5)}
QUADRATIC = "y = a*x**2 + b*x + c"
START = {"a": 4, "b": 5, "c": 7}

over_kernels = pytest.mark.parametrize("kernel", ["numpy", "compiled"])
over_batches = pytest.mark.parametrize("size", ["full", 5], ids=["full", "batches"])


def positive(rows=40, seed=1):
    random = np.random.default_rng(seed)
    x = random.uniform(0.5, 4, rows)
    return {"x": x, "y": 3 * np.log(2 * x) + random.normal(0, 0.1, rows)}


def values(fit):
    return [fit.estimates[name].value for name in fit.free]


# --- the tutorial's own run


def test_tutorial_diverges_with_figures_that_prove_it():
    with pytest.warns(DivergenceWarning, match="0.23 is above the stability limit 2/λmax = 0.2215"):
        fit = sgdfit.fit(QUADRATIC, TUTORIAL, start=START, learning_rate=0.23, steps=10)
    assert fit.status.name == "diverged"
    assert not fit.status.ok
    losses = [41.752251, 38.6288, 42.7839, 48.4304]
    np.testing.assert_allclose(fit.trace.loss[:4], losses, atol=5e-5)
    assert fit.trace.loss[9] == pytest.approx(108.1578, abs=5e-5)
    np.testing.assert_allclose(fit.trace.gradient[0], [20.1243, 6.9424, 9.1506], atol=5e-5)
    for words in ("0.92·a + 0.39·c", "100% of", "multiplies the error along it by 1.076"):
        assert words in fit.status.cause
    assert fit.status.cure == "Use a learning rate of at most 0.2215, best 0.2042."
    assert fit.distance is None
    assert (fit.steps, len(fit.trace)) == (10, 11)
    assert fit.loss == fit.trace.loss[-1]
    assert fit.covariance is None
    assert fit.estimates["a"].stderr is None
    assert fit.covariance_method == "none: the run ended as diverged"


@over_kernels
@over_batches
def test_divergence_ends_at_the_last_finite_state(kernel, size):
    with pytest.warns(DivergenceWarning):
        fit = sgdfit.fit(
            QUADRATIC,
            TUTORIAL,
            start=START,
            learning_rate=3.0,
            batch_size=size,
            kernel=kernel,
            steps=5_000,
        )
    assert fit.status.name == "diverged"
    assert fit.steps < 200
    assert np.isfinite(values(fit)).all()
    assert np.isfinite(fit.loss)
    assert np.isfinite(fit.trace.loss).all()
    assert np.isfinite(fit.trace.parameters).all()
    assert "Use a learning rate of at most 0.2215" in fit.status.cure
    assert fit.distance is None
    predicted = np.polyval(values(fit), X)
    assert fit.residual_sum_of_squares == pytest.approx(np.sum((TUTORIAL["y"] - predicted) ** 2))


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100, 3_000, 25_000])
@over_kernels
def test_divergence_is_told_however_long_the_run(steps, kernel):
    """Slow growth: 0.1% above the limit, from a start off the optimum along that direction."""
    with pytest.warns(DivergenceWarning):
        fit = sgdfit.fit(
            QUADRATIC,
            TUTORIAL,
            start=[f"{k}={v!r}" for k, v in zip("abc", (2.9949, 2.6446, 5.6517), strict=True)],
            learning_rate=0.22175,
            steps=steps,
            kernel=kernel,
        )
    assert fit.status.name == "diverged"
    assert np.isfinite(fit.loss)


@over_kernels
def test_overflow_on_the_way_is_divergence(kernel):
    x = np.linspace(0, 5, 30)
    fit = sgdfit.fit(
        "y = a*exp(b*x)",
        {"x": x, "y": 2 * np.exp(0.9 * x)},
        start={"a": 1, "b": 0.1},
        learning_rate=0.05,
        kernel=kernel,
    )
    assert fit.status.name == "diverged"
    assert np.isfinite([*values(fit), fit.loss]).all()
    assert "use a learning rate ten times smaller" in fit.status.cure


# --- the warning before the run


def test_diagnosis_is_announced_before_the_first_step():
    told = []

    def announce(diagnosis):
        told.append(diagnosis)

    def step(progress):
        told.append(progress.step)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = sgdfit.fit(
            QUADRATIC, TUTORIAL, learning_rate=0.23, steps=2, announce=announce, callback=step
        )
    diagnosis, *steps = told
    assert isinstance(diagnosis, Diagnosis)
    assert diagnosis is fit.diagnosis
    assert diagnosis.growth_factor == pytest.approx(1.07648, abs=1e-5)
    assert steps == [1, 2]


def test_warning_points_at_the_line_that_called():
    with pytest.warns(DivergenceWarning) as caught:
        sgdfit.fit(QUADRATIC, TUTORIAL, learning_rate=0.23, steps=2)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.2215},
        {"learning_rate": 0.4, "optimizer": "sgd(momentum=0.9)"},
        {"learning_rate": 3.0, "optimizer": "adam"},
        {"schedule": "warm_up(steps=5)", "learning_rate": 0.2},
        {},
    ],
    ids=name_of,
)
def test_no_warning_below_the_limit(options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sgdfit.fit(QUADRATIC, TUTORIAL, steps=20, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.5, "optimizer": "sgd(momentum=0.9)"},
        {"learning_rate": 0.3, "schedule": "warm_up(steps=5)"},
        {"learning_rate": 0.3, "schedule": "cosine"},
        {"learning_rate": lambda step: 0.3},
        {"learning_rate": 0.23, "batch_size": 4},
        {"learning_rate": 0.2, "optimizer": "sgd(weight_decay=2)"},
    ],
    ids=name_of,
)
def test_warning_above_the_limit(options):
    with pytest.warns(DivergenceWarning, match="is above the stability limit"):
        sgdfit.fit(QUADRATIC, TUTORIAL, steps=20, **options)


# --- converged and the step limit


@over_kernels
def test_converged(kernel):
    fit = sgdfit.fit(QUADRATIC, TUTORIAL, learning_rate=0.2, steps=200, kernel=kernel)
    assert fit.status.name == "converged"
    assert fit.status.cause == "nearer than the 0.01 standard errors that count"
    answer = [2.07485717, 2.64455586, 5.26174921]
    np.testing.assert_allclose(values(fit), answer, atol=2e-8)
    assert fit.loss == pytest.approx(6.251991379811, abs=1e-6)


@pytest.mark.parametrize("start", [START, {"a": 100, "b": -100, "c": 1000}, None])
@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [("sgd", 0.01), ("sgd", 0.15), ("sgd", 0.22), ("sgd(momentum=0.5)", 0.1)],
)
@pytest.mark.parametrize("steps", [4, 10])
def test_step_limit_says_how_many_more_steps_lead_there(start, optimizer, rate, steps):
    options = {"start": start, "optimizer": optimizer, "learning_rate": rate}
    fit = sgdfit.fit(QUADRATIC, TUTORIAL, steps=steps, **options)
    assert fit.status.name == "step_limit"
    assert fit.status.ok
    told = re.match(r"about ([\d,]+) more steps at this rate lead within 0\.01", fit.status.cure)
    more = int(told.group(1).replace(",", ""))
    after_half = sgdfit.fit(QUADRATIC, TUTORIAL, steps=steps + max(1, more // 2), **options)
    after_twice = sgdfit.fit(QUADRATIC, TUTORIAL, steps=steps + 2 * more, **options)
    assert after_twice.status.name == "converged"
    assert after_half.status.name == "step_limit"


def test_distance_is_the_relative_offset_of_bates_and_watts():
    fit = sgdfit.fit(QUADRATIC, TUTORIAL, learning_rate=0.05, steps=30)
    J = np.stack([X**2, X, np.ones(20)], axis=1)
    residual = TUTORIAL["y"] - J @ values(fit)
    Q, _ = np.linalg.qr(J, mode="complete")
    by_hand = np.linalg.norm(Q[:, :3].T @ residual) / np.sqrt(3)
    by_hand /= np.linalg.norm(Q[:, 3:].T @ residual) / np.sqrt(20 - 3)
    assert fit.distance == pytest.approx(by_hand, rel=1e-10)
    assert fit.distance > 0.01


CURES = [
    (
        {"optimizer": "sgd(weight_decay=0.5)", "learning_rate": 0.1},
        "set weight_decay=0: 0.5 pulls the estimates towards 0",
    ),
    ({"optimizer": "adamw", "learning_rate": 0.1, "steps": 30}, "set weight_decay=0: 0.01"),
    ({"loss": "mae", "learning_rate": 0.01}, "let the learning rate decay (schedule='cosine')"),
    (
        {"batch_size": 2, "learning_rate": 0.05},
        "let the learning rate decay (a schedule), average the later iterates"
        " (averaged(sgd, start=…)), or take larger batches: at a constant rate the noise",
    ),
    ({"learning_rate": 0.05, "schedule": "exponential(gamma=0.5)", "steps": 9}, "raise steps"),
    ({"optimizer": "adam", "steps": 5}, "raise steps"),
]


@pytest.mark.parametrize(("options", "cure"), CURES, ids=lambda o: name_of(o, 40))
def test_unfinished_runs_name_the_cure_that_helps(options, cure):
    fit = sgdfit.fit(QUADRATIC, TUTORIAL, **({"steps": 2_000} | options))
    assert fit.status.name in ("step_limit", "stalled")
    assert cure in fit.status.cure


# --- stalled


@over_kernels
@over_batches
@pytest.mark.parametrize("trace_every", [None, 0])
def test_steps_too_small_to_move_anything_are_a_standstill(kernel, size, trace_every):
    fit = sgdfit.fit(
        QUADRATIC,
        TUTORIAL,
        start=START,
        learning_rate=1e-300,
        batch_size=size,
        kernel=kernel,
        trace_every=trace_every,
    )
    assert fit.status.name == "stalled"
    assert fit.status.cause == "from step 0 on the estimates no longer moved"
    assert "raise the learning rate" in fit.status.cure
    assert values(fit) == [4, 5, 7]


def test_a_schedule_that_dies_stalls_where_it_died():
    fit = sgdfit.fit(
        QUADRATIC, TUTORIAL, start=START, steps=50, learning_rate=lambda step: 0.1 * (step < 3)
    )
    assert fit.status.cause == "from step 3 on the estimates no longer moved"


def test_a_flat_start_stalls():
    fit = sgdfit.fit("y = a*b*x", TUTORIAL, start="a=0, b=0", learning_rate=0.1, steps=50)
    assert fit.status.name == "stalled"
    assert fit.distance is None


# --- outside of the formula's domain

AT_START = [
    ("y = a*log(b*x)", "b=-2", "log(b*x)", "b = -2"),
    ("y = a*log(b*x)", "b=0", "log(b*x)", "b = 0"),
    ("y = a/b + x", "b=0", "b**(-1)|1/b", "b = 0"),
    ("y = a*sqrt(b - x)", "b=0", "sqrt(b - x)", "b = 0"),
    ("y = x + sqrt(b)", "b=0", "sqrt(b)|b**(-1/2)|b**-0.5|1/sqrt(b)", "b = 0"),
    ("y = a*exp(b*x)", "b=1000", "exp(b*x)", "b = 1000"),
    ("log(y - 50) = a*x + b", "a=1", "log(y - 50)|log(y - 50.0)", "y = "),
]


@over_kernels
@over_batches
@pytest.mark.parametrize(
    ("formula", "start", "part", "value"), AT_START, ids=lambda v: name_of(v, 24)
)
def test_start_outside_of_the_domain(formula, start, part, value, kernel, size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = sgdfit.fit(
            formula, positive(), start=start, learning_rate=0.01, batch_size=size, kernel=kernel
        )
    assert fit.status.name == "domain_error"
    assert not fit.status.ok
    assert fit.steps == 0
    assert any(p in fit.status.cause for p in part.split("|")), fit.status.cause
    assert "on row 1 " in fit.status.cause or "on row " in fit.status.cause
    assert value in fit.status.cause
    assert "at step 0" in fit.status.cause
    assert "choose a start where every row has a finite value" in fit.status.cure


@pytest.mark.parametrize("loss", ["poisson"])
@over_kernels
def test_loss_outside_of_its_domain(loss, kernel):
    fit = sgdfit.fit("y = a*x", positive(), loss=loss, start="a=-1", kernel=kernel)
    assert fit.status.name == "domain_error"
    assert "log(prediction) has no finite value on row 1 at step 0" in fit.status.cause
    assert "a = -1" in fit.status.cause


@over_kernels
@over_batches
def test_overshoot_out_of_the_domain_names_row_and_values(kernel, size):
    data = positive()
    fit = sgdfit.fit(
        "y = a*log(b*x)",
        data,
        start={"a": 5, "b": 2},
        learning_rate=0.3,
        batch_size=size,
        kernel=kernel,
        announce=lambda diagnosis: None,
    )
    assert fit.status.name == "domain_error"
    told = re.search(
        r"log\(b\*x\) .* row (\d+) at step (\d+): .*b = (\S+), x = (\S+?)[,)]", fit.status.cause
    )
    row, step, b, x = (float(number) for number in told.groups())
    assert step == fit.steps > 0
    assert b < 0
    assert data["x"][int(row) - 1] == pytest.approx(x, rel=1e-5)
    # The estimates are the last at which all rows could be computed.
    assert fit.estimates["b"].value > 0
    assert np.isfinite(fit.loss)
    assert np.isfinite(fit.trace.parameters).all()
    assert "bound the parameters" in fit.status.cure


def test_row_of_a_domain_error_counts_the_rows_that_were_kept():
    data = {"x": [1.0, np.nan, 2.0, -3.0, 4.0], "y": [1.0, 2, 3, 4, 5]}
    fit = sgdfit.fit("y = a*log(x) + b", data, missing="drop")
    assert "on row 3 of those without missing values" in fit.status.cause


@over_kernels
def test_bounds_keep_the_run_inside_of_the_domain(kernel):
    """The run of the test above, whose rate is too high, but which cannot leave."""
    fit = sgdfit.fit(
        "y = a*log(b*x)",
        positive(),
        start={"a": 5, "b": 2},
        bounds="b > 0.3",
        learning_rate=0.3,
        kernel=kernel,
        announce=lambda diagnosis: None,
    )
    assert fit.status.name == "diverged"
    assert fit.trace.parameters[:, 1].min() == 0.3


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd(momentum=0.9)"])
def test_a_run_that_rises_from_the_optimum_has_not_diverged(name):
    best = dict(zip("abc", (2.07485717, 2.64455586, 5.26174921), strict=True))
    fit = sgdfit.fit(QUADRATIC, TUTORIAL, start=best, optimizer=name, learning_rate=0.02, steps=5)
    assert fit.status.ok


def test_a_swing_between_two_points_is_no_standstill():
    """Records are 2 steps apart and meet it always on the same side."""
    x = np.linspace(0, 1, 3)
    fit = sgdfit.fit(
        "y = b + x*a**3",
        {"x": x, "y": 8 * x + 1},
        start="a=1.5",
        learning_rate=0.02,
        steps=20_000,
    )
    assert (fit.trace.parameters[-100:] == fit.trace.parameters[-1]).all()
    assert fit.status.name == "step_limit"


def test_a_run_that_ends_where_its_rate_is_too_high_says_so():
    """The curvature grows on the way, from 27 at the start, and the run swings about for good."""
    x = np.linspace(0, 1, 3)
    fit = sgdfit.fit(
        "y = b + x*a**3", {"x": x, "y": 8 * x + 1}, start="a=1.5", learning_rate=0.02, steps=1_001
    )
    limit = re.match(
        r"lower the learning rate: where the run ended, its limit is (\S+)", fit.status.cure
    )
    assert 0.01 < float(limit.group(1)) < 0.02
