"""Every figure of a diagnosis against runs of the update itself, torch's written out."""

import numpy as np
import pytest

from sgdfit.inference.diagnosis import diagnose, explain_divergence, rate_advice
from sgdfit.inference.spectrum import eigen, scaled_spectrum

X = np.linspace(-2, 2, 20)
QUADRATIC = np.stack([X**2, X, np.ones(20)], axis=1)
UPDATES = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.4},
    {"momentum": 0.6, "dampening": -0.5, "weight_decay": 0.2},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.95, "nesterov": True, "weight_decay": 0.3},
]
LABELS = [", ".join(f"{k}={v}" for k, v in update.items()) or "plain" for update in UPDATES]
over_updates = pytest.mark.parametrize("update", UPDATES, ids=LABELS)


def curvature_of(jacobian):
    return 2 / len(jacobian) * jacobian.T @ jacobian


def diagnosed(curvature, names="abcdefgh", **options):
    options = {"rows": 20, "loss": 1.0, "local": False} | options
    return diagnose(curvature, tuple(names[: len(curvature)]), **options)


def descend(
    curvature,
    rate,
    steps,
    momentum=0.0,
    dampening=0.0,
    nesterov=False,
    weight_decay=0.0,
    noise=None,
):
    """torch.optim.SGD on ½θᵀGθ from (1, …, 1); return log10 of |θ| after every step."""
    theta, buffer, logs, scale = np.ones(len(curvature)), None, [], 0.0
    for _ in range(steps):
        g = curvature @ theta + weight_decay * theta
        if momentum:
            buffer = g.copy() if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        theta = theta - rate * g
        size = np.abs(theta).max()
        logs.append(scale + np.log10(size))
        # The run is linear, so it may be rescaled to stay clear of underflow.
        theta, scale = theta / size, scale + np.log10(size)
        buffer = None if buffer is None else buffer / size
    return np.array(logs)


def slope(logs):
    """Digits per step in the long run, through the dips of an oscillation."""
    half = len(logs) // 2
    return np.polyfit(np.arange(half, len(logs)), logs[half:], 1)[0]


# --- the tutorial's own data


# --- limits, rates and growth against the run


@over_updates
def test_limit_growth_and_pace_are_those_of_runs(update):
    G = curvature_of(QUADRATIC)
    plain = diagnosed(G, **update)
    limit = plain.stability_limit
    assert descend(G, 0.999 * limit, 15_000, **update)[-1] < -0.5
    assert descend(G, 1.001 * limit, 15_000, **update)[-1] > 1
    for share in (0.03, 0.4, 0.97, 1.02, 30.0):
        found = diagnosed(G, learning_rate=share * limit, **update)
        digits = slope(descend(G, share * limit, 8000 if share < 1 else 1500, **update))
        if share < 1:
            assert found.growth_factor < 1
            assert 1 / found.steps_per_digit_at_rate == pytest.approx(-digits, rel=0.01)
        else:
            assert found.growth_factor == pytest.approx(10**digits, rel=1e-3)
            assert found.steps_per_digit_at_rate == np.inf
    # No rate is faster than the fastest.
    rates = [*(np.linspace(0.01, 0.999, 40) * limit), plain.fastest_rate]
    steps = [diagnosed(G, learning_rate=r, **update).steps_per_digit_at_rate for r in rates]
    assert steps[-1] == pytest.approx(plain.steps_per_digit, rel=1e-6)
    assert min(steps) >= plain.steps_per_digit * (1 - 1e-9)


@over_updates
def test_below_the_smooth_rate_no_error_oscillates(update):
    """Judge by the roots of the update itself, of an error and its buffer."""
    G = curvature_of(QUADRATIC)
    found = diagnosed(G, **update)
    beta, gain = update.get("momentum", 0.0), 1 - update.get("dampening", 0.0)
    steepest = found.eigenvalues[-1] + update.get("weight_decay", 0.0)
    for share in (0.01, 0.999, 1.001, 1.2):
        buffer = np.array([gain * steepest, beta])
        step = beta * buffer + [steepest, 0] if update.get("nesterov") else buffer
        roots = np.linalg.eigvals([[1, 0] - share * found.smooth_rate * step, buffer])
        assert ((roots.imag == 0) & (roots.real >= -1e-12)).all() == (share < 1)


# --- noise of batches


def test_plain_noise_floor_solves_the_lyapunov_equation():
    G, rate, batch, rows, variance = curvature_of(QUADRATIC), 0.1, 5, 20, 1.7
    S = 2 * variance * G * (1 - batch / rows)
    p = len(G)
    operator = np.kron(G, np.eye(p)) + np.kron(np.eye(p), G) - rate * np.kron(G, G)
    sigma = np.linalg.solve(operator, (rate / batch * S).ravel()).reshape(p, p)
    found = diagnosed(G, learning_rate=rate, batch_size=batch)
    assert found.noise_floor == pytest.approx(0.5 * np.trace(G @ sigma) / variance, rel=1e-9)
    covariance = 2 * variance / rows * np.linalg.inv(G)
    distance = np.sqrt(np.trace(np.linalg.solve(covariance, sigma)) / p)
    assert found.noise_distance == pytest.approx(distance, rel=1e-9)
    assert "15.53% of it, or 1.018 standard errors" in found.notes[0]


# --- what the data do not determine


@pytest.mark.parametrize("scales", [(1, 1, 1, 1), (1e9, 1, 1e-12, 1e5), (1e-7, 1e7, 1, 1e-3)])
@pytest.mark.parametrize(
    ("columns", "undetermined"),
    [
        ([X**2, X, X + 0, X**3], {frozenset("bc")}),
        ([X**2, X, 2 * X**2, -X], {frozenset("ac"), frozenset("bd")}),
        ([X**2, X, X**2 + X, X**3], {frozenset("abc")}),
        ([X**2, 0 * X, X, X**3], {frozenset("b")}),
        ([X**2, X, X**3, X**4], set()),
    ],
)
def test_undetermined_directions_are_found_in_any_units(columns, undetermined, scales):
    J = np.stack(columns, axis=1) * scales
    found = diagnosed(curvature_of(J))
    assert {frozenset(set(text) & set("abcd")) for text in found.undetermined} == undetermined
    assert (found.eigenvalues == 0).sum() == len(undetermined)
    assert np.isinf(found.condition_number) == bool(undetermined)
    null = found.eigenvectors[:, found.eigenvalues == 0]
    # Each null vector leaves every prediction alone, as far as rounding can tell.
    assert np.abs(J @ null).max(initial=0.0) <= 1e-6 * np.abs(J).max()


@pytest.mark.parametrize("scales", [(1e9, 1.0, 1e-12), (1e140, 1.0, 1e-140), (1.0, 1e-150, 1e150)])
def test_eigenvalues_of_badly_scaled_curvatures_are_accurate(scales):
    from mpmath import eigsy, matrix, mp

    G = curvature_of(QUADRATIC) * np.array(scales)[:, None] * np.array(scales)
    values, vectors = eigen(G)
    # Digits enough to hold entries from 1e-300 to 1e+300 in one number.
    with mp.workdps(650):
        exact = sorted(eigsy(matrix(G.tolist()), eigvals_only=True))
        ratio = [float(value / expected) for value, expected in zip(values, exact, strict=True)]
    np.testing.assert_allclose(ratio, 1, rtol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("tiny", [0.0, 1e-30, -1e-30, 1e-300])
@pytest.mark.parametrize("coupling", [1e-100, 1.0, 1e100])
def test_a_small_diagonal_beside_a_large_coupling_hides_nothing(tiny, coupling):
    G = np.array([[tiny, coupling, 0.0], [coupling, 1.0, 0.0], [0.0, 0.0, 1.0]])
    spectrum = scaled_spectrum(G)
    assert not spectrum.undetermined.any()
    signs = np.array([-1.0, 1.0, 1.0])
    # By Sylvester's law of inertia scaling keeps the signs; the determinant tells them.
    determinant = tiny - coupling**2
    assert np.sign(spectrum.values).tolist() == (signs if determinant < 0 else signs**2).tolist()


# --- notes


FAR = np.linspace(2000, 2001, 20)
ONES = np.ones(20)


@pytest.mark.parametrize(
    ("curvature", "options", "words"),
    [
        (curvature_of(QUADRATIC), {"learning_rate": 1e-8}, "is far too small: the error along"),
        (curvature_of(QUADRATIC), {"learning_rate": 0.1, "batch_size": 5}, "average the iterates"),
        (curvature_of(QUADRATIC), {"adaptive": True}, "rescales the gradient"),
        (curvature_of(QUADRATIC), {"local": True}, "not linear in its parameters"),
        (curvature_of(QUADRATIC), {"momentum": 1.0}, "momentum 1 is not below 1"),
        (
            curvature_of(QUADRATIC),
            {"momentum": 0.5, "dampening": 1.0},
            "dampening 1 leaves no descent",
        ),
        (
            curvature_of(QUADRATIC),
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "learning_rate": 0.5},
            "limit 2(1 + β)/((1 + 2β)(λmax + 0.1)) = 0.1487",
        ),
        (
            curvature_of(QUADRATIC),
            {"momentum": 0.9, "dampening": 0.1, "learning_rate": 0.5},
            "limit 2(1 + β)/((1 − 0.1)λmax) = 0.4677",
        ),
        (curvature_of(QUADRATIC * [1e6, 1, 1]), {}, "fit 1e+06·a in place of a (divide"),
        (curvature_of(QUADRATIC * [1, 1, 1e-5]), {"local": True}, "fit 1e-05·c in place of c."),
        (curvature_of(np.stack([FAR, ONES], 1)), {}, "hardly determine −0.0005·a + b"),
        (
            curvature_of(np.stack([X, X, X**2, X * 0], 1)),
            {},
            "do not determine d and a − b: moving along them",
        ),
        (np.diag([-2.0, 1.0, 4.0]), {}, "not convex here: its curvature along a is -2"),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), {}, "along a − b is -1"),
        (np.zeros((2, 2)), {"learning_rate": 0.1}, "this loss has no curvature here"),
        (np.diag([1.0, np.nan]), {}, "the curvature of the loss is not finite for b here"),
        (np.full((2, 2), np.inf), {}, "not finite for a, b here"),
        (np.zeros((0, 0)), {}, "no parameter is free"),
    ],
)
def test_notes_name_the_trouble(curvature, options, words):
    found = diagnosed(curvature, **options)
    assert any(words in note for note in found.notes), found.notes
    assert all(note.endswith(".") for note in found.notes)


# --- divergence


@over_updates
def test_a_diverged_run_is_explained_by_its_own_direction(update):
    G = curvature_of(QUADRATIC)
    rate = 1.3 * diagnosed(G, **update).stability_limit
    found = diagnosed(G, learning_rate=rate, **update)
    values, vectors = np.linalg.eigh(G)
    blown = 1e200 * vectors[:, -1] + vectors[:, 0]
    text = explain_divergence(found, blown)
    assert text.startswith("The run left along 0.92·a + 0.39·c, which makes up 100%")
    assert f"has curvature {values[-1]:.4g}: each step multiplies" in text
    assert f"by {found.growth_factor:.4g}." in text
    assert rate_advice(found).startswith("use a learning rate of at most 0.")


@pytest.mark.parametrize(
    ("curvature", "options", "displacement", "words"),
    [
        (np.diag([-1.0, 2.0]), {"learning_rate": 0.1}, [5.0, 0.1], "not convex there"),
        (
            np.diag([1.0, 2.0]),
            {"learning_rate": 0.1, "local": True},
            [5.0, 0.1],
            "steeper further out. use",
        ),
        (np.diag([1.0, 2.0]), {"learning_rate": 0.1}, [5.0, 0.1], "steps were too long"),
        (np.eye(2), {"learning_rate": 9.0}, [np.nan, 1.0], "before a direction could be told"),
        (np.eye(2), {"learning_rate": 9.0}, [0.0, 0.0], "before a direction could be told"),
        (np.full((2, 2), np.nan), {}, [1.0, 0.0], "use a learning rate ten times smaller"),
        (np.diag([1.0, 2.0]), {"adaptive": True}, [0.0, 1.0], "ten times smaller"),
    ],
)
def test_divergence_that_the_start_did_not_show(curvature, options, displacement, words):
    found = diagnosed(curvature, **options)
    assert words in f"{explain_divergence(found, np.array(displacement))} {rate_advice(found)}"


# --- names of directions


@pytest.mark.parametrize("exact", [0.22152864, 1.23456, 2.5666836e-19, 9.99999, 4e300])
def test_rates_to_use_are_never_rounded_above_the_limit(exact):
    found = diagnosed(np.array([[2 / exact]]), learning_rate=2 * exact)
    words = found.notes[0].rpartition("use at most ")[2]
    assert exact * (1 - 1e-3) < float(words.partition(",")[0]) <= exact * (1 + 1e-9)
