"""Stochastic gradient descent: what batches and seeds do, how a run ends, and what it says then."""

import re
import signal
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.optimize import curve_fit

import sgdfit
from example_results import X, Y
from naming import name_of
from sgdfit.errors import DivergenceWarning
from sgdfit.fitting.callbacks import Progress
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.kernel.shuffle import shuffled

TUTORIAL = {"x": X, "y": Y}
QUADRATIC = "y = a*x**2 + b*x + c"
START = {"a": 4, "b": 5, "c": 7}

over_kernels = pytest.mark.parametrize("kernel", ["numpy", "compiled"])
over_batches = pytest.mark.parametrize("size", ["full", 5], ids=["full", "batches"])


def values(fit):
    return np.array([fit.estimates[name].value for name in fit.free])


def fit_line(data=None, **options):
    return sgdfit.fit("y = a*x + b", line() if data is None else data, **options)


def fit_tutorial(**options):
    return sgdfit.fit(QUADRATIC, TUTORIAL, **options)


def line(rows=64, seed=0, noise=0.5):
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    return {"x": x, "y": 2 * x + 1 + noise * random.normal(size=rows)}


def facts(fit):
    """Every number that a run makes, for comparison bit by bit."""
    trace = fit.trace
    return np.concatenate([values(fit), trace.loss, trace.parameters.ravel(), [fit.loss]])


# --- sorted data

ROWS = 50_000


def drifting():
    """A quadratic whose offset drifts with the third column, time, a tenth of the noise."""
    random = np.random.default_rng(3)
    x, t = random.uniform(-2, 2, ROWS), random.permutation(np.linspace(-1, 1, ROWS))
    y = 0.5 * x**2 - x + 2 + 0.8 * t + random.normal(0, 0.5, ROWS)
    return {"x": x, "y": y, "t": t}


DRIFTING = drifting()
FORMULA = "y = a*x**2 + b*x + c"


def least_squares():
    """The optimum and its standard errors."""
    x = DRIFTING["x"]
    J = np.stack([x**2, x, np.ones(ROWS)], axis=1)
    optimum, (left,), _, _ = np.linalg.lstsq(J, DRIFTING["y"])
    return optimum, np.sqrt(np.diag(np.linalg.inv(J.T @ J)) * left / (ROWS - 3))


def sgd_on(data, size, **options):
    rate = {1: 0.002, 16: 0.01, 64: 0.02}[size]
    options |= {"learning_rate": rate, "batch_size": size, "kernel": "compiled"}
    return sgdfit.fit(FORMULA, data, epochs=2, seed=1, trace_every=0, **options)


def noise_of(fit):
    """How far the noise of the batches keeps each parameter from the optimum."""
    return fit.diagnosis.noise_distance * least_squares()[1]


@pytest.mark.parametrize("size", [1, 16, 64])
@pytest.mark.parametrize("by", ["x", "y", "t"])
def test_sorted_data_land_where_shuffled_data_do(by, size):
    order = np.argsort(DRIFTING[by], kind="stable")
    ordered = {name: column[order] for name, column in DRIFTING.items()}
    mixed = sgd_on(DRIFTING, size, shuffle=False)
    fit = sgd_on(ordered, size)
    optimum, _ = least_squares()
    # Both end somewhere in the noise of their batches about the least-squares answer.
    assert np.abs(values(mixed) - optimum).max() < 3 * noise_of(mixed).max()
    assert np.abs(values(fit) - optimum).max() < 3 * noise_of(fit).max()
    # Without shuffling the run follows what stands at the end of the data, far outside of it.
    trapped = sgd_on(ordered, size, shuffle=False)
    assert np.abs(values(trapped) - optimum).max() > 5 * noise_of(trapped).max()


def test_averaging_ends_nearer_than_the_noise_floor_of_batches():
    options = {"batch_size": 16, "learning_rate": 0.02, "epochs": 20, "trace_every": 0}
    plain = [sgdfit.fit(FORMULA, small(seed), seed=seed, **options) for seed in range(8)]
    mean = [
        sgdfit.fit(FORMULA, small(seed), seed=seed, optimizer="averaged(sgd, start=100)", **options)
        for seed in range(8)
    ]
    assert rms([fit.distance for fit in mean]) < 0.5 * rms([fit.distance for fit in plain])


def small(seed):
    random = np.random.default_rng(100 + seed)
    x = random.uniform(-2, 2, 2_000)
    return {"x": x, "y": 0.5 * x**2 - x + 2 + random.normal(0, 0.5, x.size)}


def rms(numbers):
    return float(np.sqrt(np.mean(np.square(numbers))))


@pytest.mark.parametrize(("size", "rate"), [(1, 0.005), (8, 0.02), (64, 0.05)])
def test_shuffled_batches_hover_no_further_than_the_diagnosis_says(size, rate):
    options = {"batch_size": size, "learning_rate": rate, "kernel": "compiled", "trace_every": 0}
    # Ends in the middle of an epoch, where shuffling without replacement helps least.
    steps = 20 * (2_000 // size) + 1_000 // size
    fits = [sgdfit.fit(FORMULA, small(k), steps=steps, seed=k, **options) for k in range(12)]
    told = fits[0].diagnosis.noise_distance
    assert told > 1
    assert 0.1 * told < rms([fit.distance for fit in fits]) < 1.5 * told


# --- same seed, same bits


@over_kernels
@pytest.mark.parametrize(("optimizer", "size"), [("sgd", 1), ("averaged(sgd(momentum=0.5))", 10)])
def test_the_seed_decides_every_bit_and_threads_none(kernel, optimizer, size):
    def run(seed):
        options = {"optimizer": optimizer, "batch_size": size, "learning_rate": 0.02, "epochs": 5}
        return facts(fit_line(line(500), seed=seed, kernel=kernel, **options))

    alone = [run(seed) for seed in (7, 8, 7, 8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, (7, 8, 7, 8)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(alone[0], alone[2])
    assert (alone[0][:2] != alone[1][:2]).all()


# --- batches, steps and epochs


@over_kernels
def test_a_batch_of_all_rows_is_the_full_batch(kernel):
    fits = [
        fit_line(batch_size=size, steps=30, seed=5, kernel=kernel)
        for size in ("full", 64, 65, 10**9, "64")
    ]
    for fit in fits[1:]:
        np.testing.assert_array_equal(facts(fits[0]), facts(fit))
        assert fit.batch_size is None


@over_kernels
def test_steps_and_epochs_are_two_words_for_one_length(kernel):
    options = {"batch_size": 10, "learning_rate": 0.05, "kernel": kernel}
    by_epochs = fit_line(line(64), epochs=3, **options)
    by_steps = fit_line(line(64), steps=21, **options)
    np.testing.assert_array_equal(facts(by_epochs), facts(by_steps))
    assert (by_epochs.steps, by_epochs.epochs) == (21, 3)
    between = fit_line(line(64), steps=20, **options)
    assert (between.steps, between.epochs) == (20, 2)
    assert between.trace.epoch.tolist() == [0] * 7 + [1] * 7 + [2] * 7


@over_kernels
def test_the_last_batch_of_an_epoch_is_the_mean_of_the_rows_that_are_left(kernel):
    data = line(10)
    fit = fit_line(data, batch_size=4, learning_rate=0.05, steps=3, seed=2, kernel=kernel)
    left = shuffled(10, 2, 0).indices()[8:]
    a, b = fit.trace.parameters[2]
    residual = a * data["x"][left] + b - data["y"][left]
    assert left.size == 2
    assert fit.trace.loss[2] == pytest.approx(np.mean(residual**2), rel=1e-13)
    slope = [np.mean(2 * residual * data["x"][left]), np.mean(2 * residual)]
    np.testing.assert_allclose(fit.trace.gradient[2], slope, rtol=1e-12)


@pytest.mark.parametrize(("every", "rows"), [(None, 101), (1, 101), (10, 11), (0, 1), (1000, 2)])
def test_trace_holds_every_so_manyth_step_and_the_end(every, rows):
    fit = fit_line(optimizer="sgd", steps=100, trace_every=every)
    whole = fit_line(optimizer="sgd", steps=100)
    assert len(fit.trace) == rows
    assert fit.trace.step[-1] == 100
    np.testing.assert_array_equal(fit.trace.parameters, whole.trace.parameters[fit.trace.step])
    np.testing.assert_array_equal(values(fit), values(whole))


def test_a_long_trace_is_thinned():
    fit = fit_line(optimizer="sgd", steps=25_000)
    assert len(fit.trace) == 8_335
    assert set(np.diff(fit.trace.step[:-1])) == {3}


# --- stopping early


@over_kernels
@pytest.mark.parametrize("size", ["full", 32])
def test_tolerance_stops_within_it(kernel, size):
    tolerance = 1e-3 if size == "full" else 0.05
    schedule = None if size == "full" else "inverse_time(decay=0.02)"
    options = {"batch_size": size, "kernel": kernel, "schedule": schedule, "learning_rate": 0.1}
    options["start"] = {"a": 50, "b": -9}
    fit = fit_line(line(512), steps=20_000, tolerance=tolerance, **options)
    assert fit.status.name == "converged"
    assert fit.distance <= tolerance
    assert 10 < fit.steps < 15_000
    if size != "full":
        assert fit.steps % 16 == 0, "it is looked at once an epoch"
    # The same run a little earlier is not there yet.
    before = fit_line(line(512), steps=fit.steps - 16, **options)
    assert before.distance > tolerance


@over_kernels
def test_a_truthy_callback_stops_the_run(kernel):
    seen = []

    def third(progress):
        seen.append(progress)
        return len(seen) == 3

    fit = fit_line(learning_rate=0.01, callback=third, kernel=kernel)
    assert fit.status.name == "stopped"
    assert (fit.steps, len(fit.trace), len(seen)) == (3, 4, 3)
    last = seen[-1]
    assert isinstance(last, Progress)
    assert (last.step, last.steps, last.epoch) == (3, 1000, 3)
    assert last.parameters == {name: fit.estimates[name].value for name in "ab"}
    assert last.loss == pytest.approx(fit.trace.loss[3], rel=1e-12)
    assert 0 < last.seconds < 60


@pytest.mark.parametrize(
    ("size", "every", "steps"),
    [("full", None, [1, 2, 3, 4, 5]), ("full", 2, [2, 4]), (32, None, [2, 4]), (32, 3, [3])],
)
@over_kernels
def test_callbacks_come_when_asked(size, every, steps, kernel):
    seen = []
    options = {"batch_size": size, "steps": 5, "callback_every": every, "kernel": kernel}
    fit_line(learning_rate=0.01, callback=lambda progress: seen.append(progress.step), **options)
    assert seen == steps


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": "full"},
        {"batch_size": 10, "optimizer": "averaged(sgd)"},
        {"batch_size": 7, "optimizer": "adam", "learning_rate": 0.1},
    ],
    ids=str,
)
def test_a_callback_and_the_trace_tell_the_loss_at_the_parameters(options):
    seen, data = [], line(50)

    def mean(a, b):
        return float(np.mean((a * data["x"] + b - data["y"]) ** 2))

    fit = fit_line(data, steps=12, start={"a": 9, "b": 9}, callback=seen.append, **options)
    assert seen
    for told in seen:
        assert told.loss == pytest.approx(mean(**told.parameters), rel=1e-9)
    every = fit.trace if options.get("batch_size", "full") == "full" else None
    for theta, loss in [] if every is None else zip(every.parameters, every.loss, strict=True):
        assert loss == pytest.approx(mean(*theta), rel=1e-9)


@over_kernels
def test_listening_does_not_change_a_bit(kernel):
    options = {"batch_size": 10, "epochs": 3, "kernel": kernel}
    quiet = fit_line(**options)
    options |= {"callback": lambda progress: None, "callback_every": 1, "tolerance": 1e-12}
    heard = fit_line(**options)
    np.testing.assert_array_equal(facts(quiet), facts(heard))


def test_errors_of_a_callback_come_through():
    def broken(progress):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fit_line(optimizer="sgd", callback=broken)


# --- Ctrl-C


def interrupting(step):
    """Return a callback that presses Ctrl-C at a step."""

    def callback(progress):
        if progress.step >= step:
            raise KeyboardInterrupt

    return callback


@over_kernels
@pytest.mark.parametrize("size", ["full", 10])
@pytest.mark.parametrize(("after", "near"), [(40, False), (90, True)])
def test_interrupt_returns_the_best_so_far(kernel, size, after, near):
    options = {"learning_rate": 0.05, "batch_size": size, "kernel": kernel}
    fit = fit_line(start={"a": 9, "b": 9}, callback=interrupting(after), **options)
    assert fit.status.name == "interrupted"
    assert fit.status.ok
    assert after <= fit.steps <= after + 6
    assert fit.loss < 0.1 * fit.trace.loss[0]
    assert (0 < fit.distance < 1) == near
    if near:
        assert fit.estimates["a"].stderr > 0
    else:
        assert fit.estimates["a"].stderr is None
        assert fit.covariance is None
        assert fit.covariance_method.startswith("none: the estimates are still ")


def test_interrupt_of_a_run_that_swings_returns_the_lowest_loss_on_the_way():
    options = {"optimizer": "sgd(momentum=0.99)", "learning_rate": 0.1}
    fit = fit_line(callback=interrupting(17), **options)
    whole = fit_line(steps=17, **options)
    best = int(np.argmin(whole.trace.loss))
    assert best < 17, "the case must swing"
    assert fit.loss == pytest.approx(whole.trace.loss[best], rel=1e-12)
    np.testing.assert_array_equal(values(fit), whole.trace.parameters[best])
    assert (fit.steps, fit.trace.step[-1]) == (17, best)


def test_interrupt_of_a_rising_run_returns_its_start():
    with pytest.warns(DivergenceWarning):
        fit = fit_line(learning_rate=1.2, callback=interrupting(30))
    assert fit.status.name == "interrupted"
    assert (fit.estimates["a"].value, fit.estimates["b"].value) == (1, 1)


LONG = """
    import numpy as np, sgdfit, threading, time
    random = np.random.default_rng(0)
    x = random.normal(size={rows})
    def work():
        "Tell of half a second of work, however many share the machine."
        begun = time.process_time()
        while time.process_time() < begun + 0.5:
            time.sleep(0.01)
        print("running", flush=True)
    data = {{"x": x, "y": 2 * x + 1 + random.normal(size=x.size)}}
    fit = sgdfit.fit(
        "y = a*x + b", data, batch_size={size!r}, learning_rate=1e-4, steps=10**12,
        kernel={kernel!r},
        announce=lambda diagnosis: threading.Thread(target=work).start(),
    )
    print(fit.status.name, fit.steps, fit.loss, fit.trace.loss[0], flush=True)
"""


@pytest.mark.parametrize(
    ("kernel", "size", "rows"), [("numpy", "full", 1_000), ("compiled", 1, 100_000)]
)
def test_ctrl_c_ends_a_long_run_with_its_result(kernel, size, rows):
    script = textwrap.dedent(LONG.format(kernel=kernel, size=size, rows=rows))
    # The run's first sweep may have to compile, which is no time to interrupt.
    fit_line(batch_size=1 if size == 1 else 2, steps=2, kernel=kernel)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    name, steps, loss, first = out.split()
    assert name == "interrupted"
    assert int(steps) > 100
    if size == "full":
        assert float(loss) < float(first)


def positive(rows=40, seed=1):
    random = np.random.default_rng(seed)
    x = random.uniform(0.5, 4, rows)
    return {"x": x, "y": 3 * np.log(2 * x) + random.normal(0, 0.1, rows)}


# --- the tutorial's own run


def test_tutorial_diverges_with_figures_that_prove_it():
    with pytest.warns(DivergenceWarning, match="0.23 is above the stability limit 2/λmax = 0.2215"):
        fit = fit_tutorial(start=START, learning_rate=0.23, steps=10)
    assert fit.status.name == "diverged"
    assert not fit.status.ok
    losses = [41.752251, 38.6288, 42.7839, 48.4304]
    np.testing.assert_allclose(fit.trace.loss[:4], losses, atol=5e-5)
    assert fit.trace.loss[9] == pytest.approx(108.1578, abs=5e-5)
    np.testing.assert_allclose(fit.trace.gradient[0], [20.1243, 6.9424, 9.1506], atol=5e-5)
    for words in ("0.92·a + 0.39·c", "100% of", "multiplies the error along it by 1.076"):
        assert words in fit.status.cause
    assert fit.status.cure == "use a learning rate of at most 0.2215, best 0.2042"
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
        fit = fit_tutorial(
            start=START, learning_rate=3.0, batch_size=size, kernel=kernel, steps=5_000
        )
    assert fit.status.name == "diverged"
    assert fit.steps < 200
    assert np.isfinite(values(fit)).all()
    assert np.isfinite([fit.loss, *fit.trace.loss]).all()
    assert np.isfinite(fit.trace.parameters).all()
    assert "use a learning rate of at most 0.2215" in fit.status.cure
    assert fit.distance is None
    predicted = np.polyval(values(fit), X)
    assert fit.residual_sum_of_squares == pytest.approx(np.sum((TUTORIAL["y"] - predicted) ** 2))


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100, 3_000, 25_000])
@over_kernels
def test_divergence_is_told_however_long_the_run(steps, kernel):
    """Slow growth: 0.1% above the limit, from a start off the optimum along that direction."""
    start = "a=2.9949, b=2.6446, c=5.6517"
    with pytest.warns(DivergenceWarning):
        fit = fit_tutorial(start=start, learning_rate=0.22175, steps=steps, kernel=kernel)
    assert fit.status.name == "diverged"
    assert np.isfinite(fit.loss)


def test_overflow_on_the_way_is_divergence():
    x = np.linspace(0, 5, 30)
    data = {"x": x, "y": 2 * np.exp(0.9 * x)}
    fit = sgdfit.fit("y = a*exp(b*x)", data, learning_rate=0.05, start="a=1, b=0.1")
    assert fit.status.name == "diverged"
    assert np.isfinite([*values(fit), fit.loss]).all()
    assert "use a learning rate ten times smaller" in fit.status.cure


# --- the warning before the run


def test_diagnosis_is_announced_before_the_first_step():
    told, options = [], {"callback": lambda progress: told.append(progress.step)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fit_tutorial(learning_rate=0.23, steps=2, announce=told.append, **options)
    diagnosis, *steps = told
    assert isinstance(diagnosis, Diagnosis)
    assert diagnosis is fit.diagnosis
    assert diagnosis.growth_factor == pytest.approx(1.07648, abs=1e-5)
    assert steps == [1, 2]


ABOUT_THE_LIMIT = [
    (False, {"learning_rate": 0.2215}),
    (False, {"learning_rate": 0.4, "optimizer": "sgd(momentum=0.9)"}),
    (False, {"learning_rate": 3.0, "optimizer": "adam"}),
    (False, {"schedule": "warm_up(steps=5)", "learning_rate": 0.2}),
    (False, {}),
    (True, {"learning_rate": 0.5, "optimizer": "sgd(momentum=0.9)"}),
    (True, {"learning_rate": 0.3, "schedule": "warm_up(steps=5)"}),
    (True, {"learning_rate": 0.3, "schedule": "cosine"}),
    (True, {"learning_rate": lambda step: 0.3}),
    (True, {"learning_rate": 0.23, "batch_size": 4}),
    (True, {"learning_rate": 0.2, "optimizer": "sgd(weight_decay=2)"}),
]


@pytest.mark.parametrize(("above", "options"), ABOUT_THE_LIMIT, ids=name_of)
def test_rates_above_the_limit_are_warned_of_and_no_others(above, options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_tutorial(steps=20, **options)
    assert [warning.category for warning in caught] == [DivergenceWarning] * above
    assert all("is above the stability limit" in str(warning.message) for warning in caught)
    assert all(warning.filename == __file__ for warning in caught)


# --- converged and the step limit


@pytest.mark.parametrize("start", [START, {"a": 100, "b": -100, "c": 1000}, None])
@pytest.mark.parametrize(
    ("optimizer", "rate"), [("sgd", 0.01), ("sgd", 0.15), ("sgd", 0.22), ("sgd(momentum=0.5)", 0.1)]
)
def test_step_limit_says_how_many_more_steps_lead_there(start, optimizer, rate):
    options = {"start": start, "optimizer": optimizer, "learning_rate": rate}
    fit = fit_tutorial(steps=4, **options)
    assert fit.status.name == "step_limit"
    assert fit.status.ok
    told = re.match(r"about ([\d,]+) more steps at this rate lead within 0\.01", fit.status.cure)
    more = int(told.group(1).replace(",", ""))
    after_half = fit_tutorial(steps=4 + max(1, more // 2), **options)
    after_twice = fit_tutorial(steps=4 + 2 * more, **options)
    assert after_twice.status.name == "converged"
    assert after_half.status.name == "step_limit"


def test_distance_is_the_relative_offset_of_bates_and_watts():
    fit = fit_tutorial(learning_rate=0.05, steps=30)
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
    (
        {"optimizer": "rmsprop", "batch_size": 2, "learning_rate": 0.05},
        "average the later iterates (averaged(rmsprop, start=…)), or take larger batches",
    ),
]


@pytest.mark.parametrize(("options", "cure"), CURES, ids=lambda o: name_of(o, 40))
def test_unfinished_runs_name_the_cure_that_helps(options, cure):
    fit = fit_tutorial(**({"steps": 2_000} | options))
    assert fit.status.name in ("step_limit", "stalled")
    assert cure in fit.status.cure


# --- the default rate, and what is told of a run that has not arrived

CURVES = {
    "A*exp(-k*x) + c": (5, 0.7, 1),
    "V*x/(K + x)": (10, 2),
    "a*x**b": (2, 1.5),
    "b1*(1 - exp(-b2*x))": (20, 0.5),
    "c + (d - c)/(1 + (x/e)**b)": (1, 9, 3, 3),
}


@pytest.mark.parametrize("optimizer", ["sgd", "sgd(momentum=0.9)", "adam"])
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("seed", [None, 0])
def test_a_default_rate_stays_and_no_distance_is_told_from_afar(curve, optimizer, seed):
    x, random = np.linspace(0.1, 8, 60), np.random.default_rng(seed)
    words = dict.fromkeys(re.findall(r"[A-Za-z]\w*", curve))
    names = [word for word in words if word not in ("x", "exp")]
    function = eval(f"lambda x, {', '.join(names)}: {curve}", {"exp": np.exp})
    truth = dict(zip(names, CURVES[curve], strict=True))
    y = function(x, **truth) + 0.2 * np.random.default_rng(1).normal(size=60)
    start = {name: value * np.exp(random.normal() / 2) for name, value in truth.items()}
    options = {"optimizer": optimizer, "start": None if seed is None else start}
    fit = sgdfit.fit(f"y = {curve}", {"x": x, "y": y}, **options)
    assert fit.status.name not in ("diverged", "domain_error")
    best, covariance = curve_fit(function, x, y, list(truth.values()))
    away = np.array([fit[name].value for name in names]) - best
    far = np.sqrt(away @ np.linalg.solve(covariance, away) / len(away))
    assert fit.distance is None or far / 3 < fit.distance < 3 * far or far < 0.01
    if fit.distance is None:
        assert "the mean loss still changes by" in fit.status.cause
        assert fit.covariance is None
    if seed == 0:
        options |= {"learning_rate": float(fit.learning_rate)}
        stated = sgdfit.fit(f"y = {curve}", {"x": x, "y": y}, **options)
        np.testing.assert_array_equal(facts(fit), facts(stated))


@pytest.mark.parametrize("loss", ["huber", "soft_l1", "cauchy", "log_cosh"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "adagrad"])
def test_a_loss_that_bends_somewhere_is_not_said_to_have_no_curvature(loss, optimizer):
    fit = fit_line(line(noise=0.05), optimizer=optimizer, loss=loss, start="a=90, b=90", steps=9)
    assert "no curvature" not in fit.status.cure + fit.covariance_method
    assert "plateau" not in fit.status.cause
    assert fit.distance is None or fit.distance > 1


# --- stalled


@over_kernels
@over_batches
@pytest.mark.parametrize("trace_every", [None, 0])
def test_steps_too_small_to_move_anything_are_a_standstill(kernel, size, trace_every):
    fit = fit_tutorial(
        start=START, learning_rate=1e-300, batch_size=size, kernel=kernel, trace_every=trace_every
    )
    assert fit.status.name == "stalled"
    assert fit.status.cause == "from step 0 on the estimates no longer moved"
    assert "raise the learning rate" in fit.status.cure
    assert values(fit).tolist() == [4, 5, 7]


def test_a_schedule_that_dies_stalls_where_it_died():
    fit = fit_tutorial(start=START, steps=50, learning_rate=lambda step: 0.1 * (step < 3))
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
    ("y = a*x", "a=-1", "log(prediction)", "a = -1"),
]


@over_batches
@pytest.mark.parametrize(
    ("kernel", "formula", "start", "part", "value"),
    [*(("numpy", *case) for case in AT_START), ("compiled", *AT_START[0])],
    ids=lambda v: name_of(v, 24),
)
def test_start_outside_of_the_domain(formula, start, part, value, kernel, size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = {"learning_rate": 0.01, "batch_size": size, "kernel": kernel}
        if part == "log(prediction)":
            options["loss"] = "poisson"
        fit = sgdfit.fit(formula, positive(), start=start, **options)
    assert fit.status.name == "domain_error"
    assert not fit.status.ok
    assert fit.steps == 0
    assert any(p in fit.status.cause for p in part.split("|")), fit.status.cause
    assert "on row " in fit.status.cause
    assert value in fit.status.cause
    assert "at the start" in fit.status.cause
    assert "choose a start where every row has a finite value" in fit.status.cure


TOO_FAST = {"start": "a=5, b=2", "learning_rate": 0.3, "announce": lambda diagnosis: None}


@over_kernels
@over_batches
def test_overshoot_out_of_the_domain_names_row_and_values(kernel, size):
    data = positive()
    fit = sgdfit.fit("y = a*log(b*x)", data, batch_size=size, kernel=kernel, **TOO_FAST)
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


@pytest.mark.parametrize(
    ("formula", "condition"),
    [
        ("y = a + b*log(x)", "x > 0"),
        ("log(y - 5) = a + b*x", "y - 5 > 0"),
        ("y = a*x**p", "x >= 0"),
        ("y = a + b/(x - 1)**2", "x - 1 != 0"),
        ("y = a + b/sqrt(x)", "x > 0"),
        ("y = a + b*sqrt(1 - x**2/2)", "1 - (x*x)/2 >= 0"),
        ("y = a + b*acosh(`x 2`)", "{x 2} >= 1"),
        ("y = a + b*asin(x/3)", "-1 <= x/3 <= 1"),
        ("y = a + b*exp(500*x)", "500*x < 709"),
        ("y = a + b*log(sin(x))", "not (x == 0.0)"),
        ("y = a + b*log(c*x)", "x > 0"),
        ("y = a*(x/c)**p", "x >= 0"),
        ("y = a + b*log(-exp(c) - x**2)", None),
    ],
)
@pytest.mark.parametrize("optimizer", ["auto", "sgd"])
def test_a_row_that_no_parameter_mends_comes_with_the_condition(formula, condition, optimizer):
    x = np.arange(0.0, 9.0) - (0 if "sin(x" in formula and "asin" not in formula else 2.0)
    data = {"x": x, "x 2": x, "y": 2 + x}
    fit = sgdfit.fit(formula, data, optimizer=optimizer)
    told = re.search(r'--where "(.*)" \(in Python', fit.status.cure)
    assert fit.status.name == "domain_error"
    assert (told and told[1]) == condition
    if condition and "sin(x))" not in formula:  # there row by row
        kept = sgdfit.fit(formula, data, optimizer=optimizer, where=condition)
        assert kept.status.name != "domain_error" or optimizer == "sgd"


def test_row_of_a_domain_error_counts_the_rows_that_were_kept():
    data = {"x": [1.0, np.nan, 2.0, -3.0, 4.0], "y": [1.0, 2, 3, 4, 5]}
    fit = sgdfit.fit("y = a*log(x) + b", data, missing="drop")
    assert "on row 3 of those without missing values" in fit.status.cause


def test_bounds_keep_the_run_inside_of_the_domain():
    """The run of the test above, whose rate is too high, but which cannot leave."""
    fit = sgdfit.fit("y = a*log(b*x)", positive(), bounds="b > 0.3", **TOO_FAST)
    assert fit.status.name == "diverged"
    assert fit.trace.parameters[:, 1].min() == 0.3


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd(momentum=0.9)"])
def test_a_run_that_rises_from_the_optimum_has_not_diverged(name):
    best = dict(zip("abc", (2.07485717, 2.64455586, 5.26174921), strict=True))
    fit = fit_tutorial(start=best, optimizer=name, learning_rate=0.02, steps=5)
    assert fit.status.ok


def test_a_swing_is_no_standstill_and_its_rate_too_high():
    """The curvature grows on the way, from 27 at the start, and the run swings about for good.

    Records of the long run are 2 steps apart and meet it always on the same side.
    """
    x = np.linspace(0, 1, 3)
    data, options = {"x": x, "y": 8 * x + 1}, {"start": "a=1.5", "learning_rate": 0.02}
    long = sgdfit.fit("y = b + x*a**3", data, steps=20_000, **options)
    assert (long.trace.parameters[-100:] == long.trace.parameters[-1]).all()
    assert long.status.name == "step_limit"
    fit = sgdfit.fit("y = b + x*a**3", data, steps=1_001, **options)
    told = r"lower the learning rate: where the run ended, its limit is (\S+)"
    assert 0.01 < float(re.match(told, fit.status.cure).group(1)) < 0.02
