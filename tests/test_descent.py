"""The loop: sorted data, seeds, threads, batches, stopping early and Ctrl-C."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import sgdfit
from sgdfit.fitting.callbacks import Progress
from sgdfit.fitting.sgd import _Descent
from sgdfit.kernel.shuffle import shuffled

FORMS = ["numpy", "compiled"]
over_forms = pytest.mark.parametrize("kernel", FORMS)


def line(rows=64, seed=0, noise=0.5):
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    return {"x": x, "y": 2 * x + 1 + noise * random.normal(size=rows)}


def values(fit):
    return np.array([fit.estimates[name].value for name in fit.free])


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
    return sgdfit.fit(
        FORMULA,
        data,
        learning_rate=rate,
        batch_size=size,
        epochs=2,
        seed=1,
        trace_every=0,
        kernel="compiled",
        **options,
    )


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
    fits = [
        sgdfit.fit(
            FORMULA,
            small(seed),
            batch_size=size,
            learning_rate=rate,
            # Ends in the middle of an epoch, where shuffling without replacement helps least.
            steps=20 * (2_000 // size) + 1_000 // size,
            seed=seed,
            trace_every=0,
            kernel="compiled",
        )
        for seed in range(12)
    ]
    told = fits[0].diagnosis.noise_distance
    assert told > 1
    assert 0.1 * told < rms([fit.distance for fit in fits]) < 1.5 * told


# --- same seed, same bits


@over_forms
@pytest.mark.parametrize(
    ("optimizer", "size"), [("sgd", 1), ("adam", 10), ("averaged(sgd(momentum=0.5))", 10)]
)
def test_the_seed_decides_every_bit(kernel, optimizer, size):
    def run(seed):
        return facts(
            sgdfit.fit(
                "y = a*x + b",
                line(),
                optimizer=optimizer,
                batch_size=size,
                learning_rate=0.02,
                epochs=5,
                seed=seed,
                kernel=kernel,
            )
        )

    first = run(7)
    np.testing.assert_array_equal(first, run(7))
    assert (first[:2] != run(8)[:2]).all()


@over_forms
def test_threads_do_not_change_a_bit(kernel):
    data = line(5_000)

    def run(seed):
        return facts(
            sgdfit.fit(
                "y = a*tanh(b*x) + c",
                data,
                batch_size=32,
                learning_rate=0.02,
                epochs=2,
                seed=seed,
                kernel=kernel,
            )
        )

    alone = [run(seed) for seed in (1, 2, 1, 2)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, (1, 2, 1, 2)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@over_forms
def test_random_starts_come_from_the_seed(kernel):
    def start(seed):
        fit = sgdfit.fit(
            "y = a*x + b",
            line(),
            optimizer="sgd",
            start="random",
            seed=seed,
            steps=1,
            kernel=kernel,
        )
        assert {e.start_origin for e in fit.estimates.values()} == {"random"}
        return [fit.estimates[name].start for name in "ab"]

    assert start(3) == start(3) == np.random.default_rng(3).standard_normal(2).tolist()
    assert start(3) != start(4)


# --- batches, steps and epochs


@over_forms
def test_a_batch_of_all_rows_is_the_full_batch(kernel):
    fits = [
        sgdfit.fit("y = a*x + b", line(), batch_size=size, steps=30, seed=5, kernel=kernel)
        for size in ("full", 64, 65, 10**9, "64")
    ]
    for fit in fits[1:]:
        np.testing.assert_array_equal(facts(fits[0]), facts(fit))
        assert fit.batch_size is None


@over_forms
def test_steps_and_epochs_are_two_words_for_one_length(kernel):
    options = {"batch_size": 10, "learning_rate": 0.05, "kernel": kernel}
    by_epochs = sgdfit.fit("y = a*x + b", line(64), epochs=3, **options)
    by_steps = sgdfit.fit("y = a*x + b", line(64), steps=21, **options)
    np.testing.assert_array_equal(facts(by_epochs), facts(by_steps))
    assert (by_epochs.steps, by_epochs.epochs) == (21, 3)
    between = sgdfit.fit("y = a*x + b", line(64), steps=20, **options)
    assert (between.steps, between.epochs) == (20, 2)
    assert between.trace.epoch.tolist() == [0] * 7 + [1] * 7 + [2] * 7


@over_forms
def test_the_last_batch_of_an_epoch_is_the_mean_of_the_rows_that_are_left(kernel):
    data = line(10)
    fit = sgdfit.fit(
        "y = a*x + b", data, batch_size=4, learning_rate=0.05, steps=3, seed=2, kernel=kernel
    )
    left = shuffled(10, 2, 0).indices()[8:]
    a, b = fit.trace.parameters[2]
    residual = a * data["x"][left] + b - data["y"][left]
    assert left.size == 2
    assert fit.trace.loss[2] == pytest.approx(np.mean(residual**2), rel=1e-13)
    slope = [np.mean(2 * residual * data["x"][left]), np.mean(2 * residual)]
    np.testing.assert_allclose(fit.trace.gradient[2], slope, rtol=1e-12)


@pytest.mark.parametrize(("every", "rows"), [(None, 101), (1, 101), (10, 11), (0, 1), (1000, 2)])
def test_trace_holds_every_so_manyth_step_and_the_end(every, rows):
    fit = sgdfit.fit("y = a*x + b", line(), optimizer="sgd", steps=100, trace_every=every)
    whole = sgdfit.fit("y = a*x + b", line(), optimizer="sgd", steps=100)
    assert len(fit.trace) == rows
    assert fit.trace.step[-1] == 100
    np.testing.assert_array_equal(fit.trace.parameters, whole.trace.parameters[fit.trace.step])
    np.testing.assert_array_equal(values(fit), values(whole))


def test_a_long_trace_is_thinned():
    fit = sgdfit.fit("y = a*x + b", line(), optimizer="sgd", steps=25_000)
    assert len(fit.trace) == 8_335
    assert set(np.diff(fit.trace.step[:-1])) == {3}


# --- stopping early


@over_forms
@pytest.mark.parametrize("size", ["full", 32])
def test_tolerance_stops_within_it(kernel, size):
    options = {"batch_size": size, "kernel": kernel, "steps": 20_000, "start": {"a": 50, "b": -9}}
    schedule = None if size == "full" else "inverse_time(decay=0.02)"
    tolerance = 1e-3 if size == "full" else 0.05
    fit = sgdfit.fit(
        "y = a*x + b",
        line(512),
        learning_rate=0.1,
        schedule=schedule,
        tolerance=tolerance,
        **options,
    )
    assert fit.status.name == "converged"
    assert fit.distance <= tolerance
    assert 10 < fit.steps < 15_000
    if size != "full":
        assert fit.steps % 16 == 0, "it is looked at once an epoch"
    # The same run a little earlier is not there yet.
    before = sgdfit.fit(
        "y = a*x + b",
        line(512),
        learning_rate=0.1,
        schedule=schedule,
        **(options | {"steps": fit.steps - 16}),
    )
    assert before.distance > tolerance


@over_forms
def test_a_truthy_callback_stops_the_run(kernel):
    seen = []

    def third(progress):
        seen.append(progress)
        return len(seen) == 3

    fit = sgdfit.fit("y = a*x + b", line(), learning_rate=0.01, callback=third, kernel=kernel)
    assert fit.status.name == "stopped"
    assert (fit.steps, len(fit.trace), len(seen)) == (3, 4, 3)
    last = seen[-1]
    assert isinstance(last, Progress)
    assert (last.step, last.steps, last.epoch) == (3, 1000, 3)
    assert last.parameters == {name: fit.estimates[name].value for name in "ab"}
    assert last.loss == fit.trace.loss[2]
    assert 0 < last.seconds < 60


@pytest.mark.parametrize(
    ("size", "every", "steps"),
    [("full", None, [1, 2, 3, 4, 5]), ("full", 2, [2, 4]), (32, None, [2, 4]), (32, 3, [3])],
)
@over_forms
def test_callbacks_come_when_asked(size, every, steps, kernel):
    seen = []
    sgdfit.fit(
        "y = a*x + b",
        line(),
        batch_size=size,
        learning_rate=0.01,
        steps=5,
        callback=lambda progress: seen.append(progress.step),
        callback_every=every,
        kernel=kernel,
    )
    assert seen == steps


@over_forms
def test_listening_does_not_change_a_bit(kernel):
    quiet = sgdfit.fit("y = a*x + b", line(), batch_size=10, epochs=3, kernel=kernel)
    heard = sgdfit.fit(
        "y = a*x + b",
        line(),
        batch_size=10,
        epochs=3,
        kernel=kernel,
        callback=lambda progress: None,
        callback_every=1,
        tolerance=1e-12,
    )
    np.testing.assert_array_equal(facts(quiet), facts(heard))


def test_errors_of_a_callback_come_through():
    def broken(progress):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        sgdfit.fit("y = a*x + b", line(), optimizer="sgd", callback=broken)


# --- Ctrl-C


@over_forms
@pytest.mark.parametrize("size", ["full", 10])
@pytest.mark.parametrize(("after", "near"), [(40, False), (90, True)])
def test_interrupt_returns_the_best_so_far(kernel, size, after, near):
    def impatient(progress):
        if progress.step >= after:
            raise KeyboardInterrupt

    fit = sgdfit.fit(
        "y = a*x + b",
        line(),
        start={"a": 9, "b": 9},
        learning_rate=0.05,
        batch_size=size,
        callback=impatient,
        kernel=kernel,
    )
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


def interrupting(code, line):
    """Return a tracer that presses Ctrl-C once, before a line of a function's sixth call."""
    calls = []

    def tracer(frame, event, _):
        if frame.f_code is not code:
            return None
        calls.append(frame)
        return within if len(calls) == 6 else None

    def within(frame, event, _):
        if event == "line" and frame.f_lineno == line:
            sys.settrace(None)
            frame.f_trace = None
            raise KeyboardInterrupt
        return within

    return tracer


SWEEP = _Descent._sweep.__code__


@pytest.mark.parametrize("line_number", sorted({n for _, _, n in SWEEP.co_lines() if n}))
def test_wherever_ctrl_c_falls_the_trace_holds_every_step_taken(line_number):
    def fitted(**options):
        told = []
        options = {"batch_size": 8, "epochs": 2, "seed": 1, "callback_every": 1} | options
        return sgdfit.fit("y = a*x + b", line(), callback=told.append, trace_every=1, **options)

    whole, before = fitted(), sys.gettrace()
    sys.settrace(interrupting(SWEEP, line_number))
    try:
        fit = fitted()
    finally:
        sys.settrace(before)
    steps = fit.steps
    # The first line is that of the definition; two ways lead to a sweep, and one is not taken.
    assert fit.status.name == "interrupted" or steps == whole.steps
    assert fit.trace.step.tolist() == list(range(steps + 1))
    np.testing.assert_array_equal(fit.trace.parameters, whole.trace.parameters[: steps + 1])


def test_interrupt_of_a_run_that_swings_returns_the_lowest_loss_on_the_way():
    def impatient(progress):
        if progress.step == 17:
            raise KeyboardInterrupt

    fit = sgdfit.fit(
        "y = a*x + b",
        line(),
        optimizer="sgd(momentum=0.99)",
        learning_rate=0.1,
        callback=impatient,
    )
    whole = sgdfit.fit(
        "y = a*x + b", line(), optimizer="sgd(momentum=0.99)", learning_rate=0.1, steps=17
    )
    best = int(np.argmin(whole.trace.loss))
    assert best < 17, "the case must swing"
    assert fit.loss == pytest.approx(whole.trace.loss[best], rel=1e-12)
    np.testing.assert_array_equal(values(fit), whole.trace.parameters[best])
    assert (fit.steps, fit.trace.step[-1]) == (17, best)


def test_interrupt_of_a_rising_run_returns_its_start():
    def impatient(progress):
        if progress.step == 30:
            raise KeyboardInterrupt

    with pytest.warns(sgdfit.errors.DivergenceWarning):
        fit = sgdfit.fit("y = a*x + b", line(), learning_rate=1.2, callback=impatient)
    assert fit.status.name == "interrupted"
    assert (fit.estimates["a"].value, fit.estimates["b"].value) == (1, 1)


LONG = """
    import numpy as np, sgdfit
    random = np.random.default_rng(0)
    x = random.normal(size={rows})
    data = {{"x": x, "y": 2 * x + 1 + random.normal(size=x.size)}}
    fit = sgdfit.fit(
        "y = a*x + b", data, batch_size={size!r}, learning_rate=1e-4, steps=10**12,
        kernel={kernel!r}, {more}
        announce=lambda diagnosis: print("running", flush=True),
    )
    print(fit.status.name, fit.steps, fit.loss, fit.trace.loss[0], fit.seconds, flush=True)
"""


@pytest.mark.parametrize(
    ("kernel", "size", "rows", "listening"),
    [
        ("numpy", "full", 1_000, False),
        ("compiled", "full", 1_000, True),
        ("compiled", 1, 100_000, False),
    ],
)
def test_ctrl_c_ends_a_long_run_with_its_result(kernel, size, rows, listening):
    more = "callback=lambda progress: None," if listening else ""
    script = textwrap.dedent(LONG.format(kernel=kernel, size=size, rows=rows, more=more))
    # The run's first sweep may have to compile, which is no time to interrupt.
    sgdfit.fit("y = a*x + b", line(), batch_size=1 if size == 1 else 2, steps=2, kernel=kernel)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stdout.readline() == "running\n"
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    name, steps, loss, first, seconds = out.split()
    assert name == "interrupted"
    assert int(steps) > 100
    assert float(seconds) < 10
    if size == "full":
        assert float(loss) < float(first)
