"""Bootstrap intervals against scipy.stats.bootstrap, and refits by linear algebra."""

import numpy as np
import pytest
from scipy import optimize, stats

import sgdfit
from sgdfit.cli.commands import execute
from sgdfit.errors import UsageError
from sgdfit.fitting.bootstrap import bca

RNG = np.random.default_rng(2)
N = 25
X = np.linspace(0.0, 4.0, N)
S = 0.1 + 0.1 * X
LINE = {"x": X, "y": 1.0 + 2.0 * X + S * RNG.standard_exponential(N), "s": S}
DECAY = {"x": X, "y": 2.5 * np.exp(-1.3 * X) + 0.5 + 0.05 * RNG.normal(size=N)}


def ends(fit):
    return np.array([fit[name].interval for name in fit.free])


def theirs(data, refit, resamples, seed, level=0.95):
    columns = tuple(data.values())
    found = stats.bootstrap(
        columns, refit, paired=True, vectorized=False, n_resamples=resamples, method="BCa",
        confidence_level=level, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return np.transpose(found.confidence_interval)


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_pairs_of_a_line_are_scipys(level):
    def refit(x, y, s):
        table = np.stack([np.ones(len(x)), x], axis=1) / s[:, None]
        return np.linalg.lstsq(table, y / s)[0]

    fit = sgdfit.fit("y = a + b*x", LINE, sigma="s", bootstrap=300, seed=7, level=level)
    np.testing.assert_allclose(ends(fit), theirs(LINE, refit, 300, 7, level), rtol=1e-9)
    plain = sgdfit.fit("y = a + b*x", LINE, sigma="s")
    assert (fit.intervals, fit.bootstrap, plain.bootstrap) == ("bootstrap", "pairs(300)", None)
    np.testing.assert_array_equal(fit.covariance, plain.covariance)
    assert "95% bootstrap interval" in str(fit) or level != 0.95


def test_pairs_of_a_curve_are_scipys():
    """But for the jackknife, of which the influence of rows is the linear part."""

    def curve(x, a, b, c):
        return a * np.exp(-b * x) + c

    def refit(x, y):
        return optimize.curve_fit(curve, x, y, [2.5, 1.3, 0.5], ftol=1e-13, xtol=1e-13)[0]

    fit = sgdfit.fit("y = a*exp(-b*x) + c", DECAY, intervals="bootstrap", bootstrap=400)
    expected = theirs(DECAY, refit, 400, 0)
    width = expected[:, 1:] - expected[:, :1]
    assert np.abs((ends(fit) - expected) / width).max() < 0.02


def test_residuals_of_a_line_are_refits_by_linear_algebra():
    fit = sgdfit.fit("y = a + b*x", LINE, sigma="s", bootstrap="residuals(400)", seed=3)
    table = np.stack([np.ones(N), X], axis=1) / S[:, None]
    solve = np.linalg.pinv(table)
    residual = (LINE["y"] / S - table @ list(fit.values.values())) / np.sqrt(
        1 - np.diag(table @ solve)
    )
    residual -= residual.mean()
    drawn = np.random.default_rng(3).integers(0, N, (400, N))
    theta = np.array(list(fit.values.values()))
    draws = theta + residual[drawn] @ solve.T
    expected = [
        bca(d, t, i * residual, 0.95) for d, t, i in zip(draws.T, theta, solve, strict=True)
    ]
    np.testing.assert_allclose(ends(fit), expected, rtol=0.02)
    assert fit.bootstrap == "residuals(400)"


def test_refits_that_fail_are_counted():
    """Those to one point alone; two determine a line, though they leave no scatter."""
    data = {"x": [0.0, 1.0, 2.0, 3.0], "y": [0.1, 1.3, 1.8, 3.2]}
    fit = sgdfit.fit("y = a + b*x", data, bootstrap=500)
    drawn = np.random.default_rng(0).integers(0, 4, (500, 4))
    failed = sum(len(set(places)) < 2 for places in drawn.tolist())
    assert fit.warnings[-1].startswith(f"{failed} of 500 refits of the bootstrap found no minimum")
    assert fit.intervals == "bootstrap"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bootstrap": 50}, "level 0.95 the resamples of bootstrap must be a whole number, 200 or"),
        ({"bootstrap": "wild"}, "Unknown bootstrap 'wild'; known are pairs, residuals"),
        ({"bootstrap": 300.5}, "bootstrap must be a whole number, .*not 300.5"),
        ({"bootstrap": 300, "intervals": "profile"}, "are two kinds; give one of them"),
        ({"bootstrap": 300, "sigma": "s", "absolute_sigma": True}, "takes the scatter from the ro"),
        ({"bootstrap": 300, "sigma": np.eye(N) + 0.1}, "rows that are correlated cannot be drawn"),
        ({"bootstrap": 300, "epochs": 3}, "intervals='bootstrap' refits by the optimizer auto, no"),
        (
            {"bootstrap": "residuals", "loss": "huber"},
            "the loss huber.* is of no residual; draw pairs",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        sgdfit.fit("y = a + b*x", LINE, **options)


def test_the_command_line_asks_for_them_and_saves_them(tmp_path, capsys):
    path, saved = tmp_path / "line.csv", tmp_path / "fit.json"
    path.write_text("x,y\n" + "\n".join(f"{x},{y}" for x, y in zip(X, LINE["y"], strict=True)))
    options = ["--bootstrap", "residuals(200)", "--save", str(saved), "--full"]
    assert execute(["fit", str(path), "y = a + b*x", *options]) == 0
    assert "bootstrap, BCa, residuals(200)" in capsys.readouterr().out
    assert sgdfit.load(saved).bootstrap == "residuals(200)"
