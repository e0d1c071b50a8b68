"""Whole results to render and save: real descents on the tutorial's data, and awkward ones."""

from dataclasses import replace

import numpy as np

from sgdfit.inference.diagnosis import Diagnosis, diagnose
from sgdfit.inference.statistics import goodness
from sgdfit.result.result import Estimate, Result
from sgdfit.result.status import status_of
from sgdfit.result.trace import Trace

NAMES = ("a", "b", "c")
START = np.array([4.0, 5.0, 7.0])
X = np.linspace(-2, 2, 20)
DRAWS = (np.random.RandomState(42).randint(0, 2**32, 20, dtype=np.uint32) & 0xFFFFFF) / 2**24
Y = 2 * X**2 + 3 * X + 4 + (DRAWS * 10 - 5)
JACOBIAN = np.stack([X**2, X, np.ones_like(X)], axis=1)


def descend(rate: float, steps: int) -> Trace:
    theta, rows = START, []
    for _ in range(steps + 1):
        residual = JACOBIAN @ theta - Y
        gradient = 2 / len(X) * JACOBIAN.T @ residual
        rows.append((np.mean(residual**2), theta, gradient))
        theta = theta - rate * gradient
    count = np.arange(steps + 1)
    rates = np.where(count < steps, rate, np.nan)
    return Trace(NAMES, count, count, rates, *map(np.array, zip(*rows, strict=True)))


def tutorial(rate: float, steps: int, **changes: object) -> Result:
    """The tutorial's fit, with what the curvature at the start says of it."""
    trace = descend(rate, steps)
    values, loss = trace.parameters[-1], float(trace.loss[-1])
    merit = goodness(20 * loss, float(np.sum((Y - Y.mean()) ** 2)), rows=20, free=3)
    hessian = 2 / len(X) * JACOBIAN.T @ JACOBIAN
    covariance = np.linalg.inv(JACOBIAN.T @ JACOBIAN) * merit.reduced_chi_square
    errors = np.sqrt(np.diag(covariance))
    estimates = {
        n: Estimate(n, float(v), float(e), (float(v - 2.11 * e), float(v + 2.11 * e)), s, "given")
        for n, v, e, s in zip(NAMES, values, errors, START.tolist(), strict=True)
    }
    found = diagnose(
        hessian, NAMES, learning_rate=rate, rows=20, loss=float(trace.loss[0]), local=False
    )
    base = Result(
        formula="y = a*x**2 + b*x + c",
        loss_name="mse",
        optimizer="sgd",
        learning_rate=str(rate),
        batch_size=None,
        seed=0,
        kernel="numpy",
        dtype="float64",
        estimates=estimates,
        free=NAMES,
        covariance=covariance,
        correlation=covariance / np.outer(errors, errors),
        covariance_method="classical",
        loss=loss,
        residual_sum_of_squares=20 * loss,
        rows=20,
        rows_dropped=0,
        **vars(merit),
        steps=steps,
        epochs=steps,
        seconds=0.0135,
        status=status_of("converged"),
        distance=3.1e-9,
        # its sentences have tests of their own
        diagnosis=replace(found, notes=()),
        trace=trace,
        data_label="tutorial.csv",
    )
    return replace(base, **changes)


def converged() -> Result:
    return tutorial(0.2, 200)


def step_limit() -> Result:
    return tutorial(0.2, 10, status=status_of("step_limit", steps=10), distance=0.4216)


def diverged() -> Result:
    result = tutorial(0.23, 200)
    bare = {n: replace(e, stderr=None, interval=None) for n, e in result.estimates.items()}
    return replace(
        result,
        status=status_of(
            "diverged",
            cause="the learning rate 0.23 is above the stability limit 2/λmax = 0.2215",
            cure="use a learning rate of at most 0.2215, best 0.2042",
        ),
        estimates=bare,
        covariance_method="none: the run diverged, so that the curvature at its end says nothing",
        **dict.fromkeys(("distance", "covariance", "correlation", "reduced_chi_square")),
        **dict.fromkeys(("r_squared", "aic", "aicc", "bic")),
        warnings=(
            "learning rate 0.23 is above the stability limit 2/λmax = 0.2215: each step multiplies"
            " the error along 0.92·a + 0.39·c by 1.076, so the run diverges",
        ),
    )


def decay() -> Result:
    """Parameters of every role, tiny and huge numbers, strong correlation, batches, weights."""
    estimates = {
        e.name: e
        for e in (
            Estimate("amplitude", 2.0748e-12, 2.31e-14, (2.03e-12, 2.12e-12), -0.4312, "random"),
            Estimate("k_fast", 1234567.0, 1234.0, (1232148.0, 1236986.0), 1.0, "default 1.0"),
            Estimate("τ", 0.0, None, None, 0.5, "given", "free", 0.0, 10.0, None, True),
            Estimate("background", 1.5, 1e-12, (1.5 - 2e-12, 1.5 + 2e-12), 1.0, "default 1.0"),
            Estimate("T0", 293.15, start=293.15, start_origin="fixed", role="fixed"),
            Estimate("d", 4.1496e-12, 4.6e-14, None, 2.0, "tied", "tied", tie="2*amplitude"),
        )
    }
    correlation = np.array(
        [[1, 0.98765, -0.92, 0.1], [0.98765, 1, -0.95, 0], [-0.92, -0.95, 1, 0], [0.1, 0, 0, 1]],
        dtype=float,
    )
    free, errors = ("amplitude", "k_fast", "τ", "background"), [2.31e-14, 1234.0, 1.0, 1e-12]
    diagnosis = Diagnosis(
        names=free,
        eigenvalues=np.array([1e-3, 2.0, 5.0, 80.0]),
        eigenvectors=np.eye(4),
        condition_number=8e4,
        stability_limit=0.0475,
        fastest_rate=0.0474994,
        steps_per_digit=4826.0,
        growth_factor=0.948683,
        steps_per_digit_at_rate=2.302e5,
        best_momentum=(0.0496483, 0.985957),
        noise_floor=0.006932,
        noise_distance=41.63,
        undetermined=("0.71·amplitude − 0.71·τ", "background"),
        local=True,
        notes=(
            "learning rate 0.001 is far too small: the error along amplitude needs 2.302e+05"
            " steps for each decimal digit; the best rate, 0.0475, needs 4826.",
            "17 rows with a missing value were dropped, as asked",
        ),
    )
    return tutorial(
        0.2,
        3,
        formula="log(signal) = amplitude*exp(-k_fast*t/τ) + background + d*(temperature - T0)",
        loss_name="huber(delta=1.5)",
        loss_scale=0.0314159,
        optimizer="sgd(momentum=0.9)",
        learning_rate="cosine(rate=0.001, steps=1000)",
        batch_size=64,
        seed=7,
        kernel="compiled",
        estimates=estimates,
        free=free,
        covariance=correlation * np.outer(errors, errors),
        correlation=correlation,
        covariance_method="sandwich",
        rows=1_000_000,
        degrees_of_freedom=999_997,
        rows_dropped=17,
        aic=-np.inf,
        aicc=None,
        bic=np.nan,
        status=status_of("interrupted", step=46_876),
        distance=12.3456,
        diagnosis=diagnosis,
        seconds=125.4,
        warnings=(
            "the parameter τ stands on its bound, where a standard error has no meaning",
            "17 rows with a missing value were dropped, as asked",
        ),
        weights="w",
    )


def hostile() -> Result:
    """Texts that would break a page or a terminal if they were taken at their word."""
    return tutorial(
        0.2,
        1,
        data_label='<script>alert("x")</script>\x1b[31m\n[red]data[/red] & more.csv',
        warnings=("[bold]not bold[/bold] <b>nor here</b>",),
        diagnosis=None,
    )


def bare() -> Result:
    """No free parameter, one row, nothing known."""
    return tutorial(
        0.2,
        0,
        estimates={"a": Estimate("a", 2.0, start=2.0, start_origin="fixed", role="fixed")},
        free=(),
        covariance=np.zeros((0, 0)),
        correlation=np.zeros((0, 0)),
        covariance_method="none: no parameter is free",
        loss=float("nan"),
        distance=None,
        diagnosis=None,
        rows=1,
        degrees_of_freedom=1,
        trace=Trace((), [0], [0], [np.nan], [np.nan], np.zeros((1, 0)), np.zeros((1, 0))),
    )


EXAMPLES = {make.__name__: make for make in (converged, step_limit, diverged, decay, hostile, bare)}
