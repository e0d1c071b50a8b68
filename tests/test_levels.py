"""Parameters with a value for each level of a column: y = a[site]*exp(-b*x) + c."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from scipy.optimize import least_squares

import sgdfit
from sgdfit import plot
from sgdfit.errors import DataError, SgdfitError, UsageError
from sgdfit.model.model import build

SITES = ("north", "S 2", "3")


def rows(count=3, seed=0):
    """Return sites, the first ones in order, a column x, and noise."""
    rng = np.random.default_rng(seed)
    site = np.append(np.arange(count), rng.integers(0, count, 30 * count))
    return site, rng.uniform(0, 5, site.size), 0.02 * rng.standard_normal(site.size)


# The formula, the curve of a level k with theta laid out by parameter, and what made the data.
# fmt: off
CURVES = {
    "amplitude": ("y = a[site]*exp(-b*x) + c",
        lambda t, k, x: t[k]*np.exp(-t[3]*x) + t[4], np.array([3., 1., 2., .7, .5])),
    "peak": ("y = a[site]*exp(-((x - m[site])/s)**2) + c",
        lambda t, k, x: t[k]*np.exp(-((x - t[3 + k])/t[6])**2) + t[7],
        np.array([3., 1., 2., 1., 2.5, 4., .3, .2])),
    "own and common peak": ("y = a[site]*exp(-(x - m[site])**2*9) + b*exp(-(x - k)**2*9)",
        lambda t, k, x: t[k]*np.exp(-(x - t[3 + k])**2*9) + t[6]*np.exp(-(x - t[7])**2*9),
        np.array([3., 1., 2., 1., 2.5, 4., 2., 1.8])),
    "wave": ("y = a*sin(w*x + p[site]) + c[site]",
        lambda t, k, x: t[0]*np.sin(t[1]*x + t[2 + k]) + t[5 + k],
        np.array([2., 4.3, 0., 1., -1., .5, 1., 0.])),
}
# fmt: on


@pytest.mark.parametrize("name", CURVES)
def test_estimates_and_errors_are_those_of_dummy_coded_parameters(name):
    formula, curve, truth = CURVES[name]
    site, x, noise = rows()
    y = curve(truth, site, x) + noise
    fit = sgdfit.fit(formula, {"site": np.array(SITES)[site], "x": x, "y": y})
    close = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "x_scale": "jac", "jac": "3-point"}
    judge = least_squares(lambda t: curve(t, site, x) - y, truth, **close)
    inverse = np.linalg.inv(judge.jac.T @ judge.jac)
    errors = np.sqrt(np.diag(inverse) * 2 * judge.cost / (len(y) - len(truth)))
    assert fit.status.name == "converged"
    np.testing.assert_allclose([fit[n].value for n in fit.free], judge.x, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose([fit[n].stderr for n in fit.free], errors, rtol=1e-6)


# The rate of an enzyme treated with Puromycin and not (Treloar 1974; Bates & Watts 1988, Nonlinear
# Regression Analysis and Its Applications, appendix 1), and R's nls, from its help.
CONC = [0.02, 0.02, 0.06, 0.06, 0.11, 0.11, 0.22, 0.22, 0.56, 0.56, 1.10, 1.10]
TREATED = [76, 47, 97, 107, 123, 139, 159, 152, 191, 201, 207, 200]
UNTREATED = [67, 51, 84, 86, 98, 115, 131, 124, 144, 158, 160]
PUROMYCIN = {
    "conc": CONC + CONC[:11],
    "rate": TREATED + UNTREATED,
    "state": ["treated"] * 12 + ["untreated"] * 11,
}


def test_puromycin_is_as_in_the_textbook():
    fit = sgdfit.fit("rate = V[state]*conc/(K + conc)", PUROMYCIN)
    found = [fit["V[untreated]"], fit.derive("V[treated] - V[untreated]"), fit["K"]]
    assert [f"{e.value:.4g} {e.stderr:.4g}" for e in found] == [
        "166.6 5.807", "42.03 6.272", "0.05797 0.00591",
    ]  # fmt: skip


def test_where_all_parameters_are_indexed_each_level_is_as_fitted_by_itself():
    fit = sgdfit.fit("rate = V[state]*conc/(K[state] + conc)", PUROMYCIN)
    alone = sgdfit.fit_many("rate = V*conc/(K + conc)", PUROMYCIN, by="state")
    found = np.reshape([fit[name].value for name in fit.free], (2, 2)).T
    np.testing.assert_allclose(found, alone.values, rtol=1e-8)


DUMMIES = "y = (north*n + south*s)*exp(-b*x) + c"
START = {"b": 1, "c": 0.3}
WAYS = {
    "huber": {"loss": "huber(delta=2)"},
    "sandwich": {"covariance": "sandwich"},
    "profile": {"intervals": "profile"},
    "bounds": {"bounds": "c < 0.45"},
    "compiled": {"kernel": "compiled"},
    "descent": {"optimizer": "sgd(momentum=0.9)", "batch_size": 9, "epochs": 3},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_leads_where_it_does_for_dummy_variables(way):
    site, x, noise = rows(2)
    y = np.array([3.0, 1.0])[site] * np.exp(-0.7 * x) + 0.5 + noise
    data = {"site": np.array(["north", "south"])[site], "n": 1.0 - site, "s": 1.0 * site, "x": x}
    fits = [
        sgdfit.fit(formula, data | {"y": y}, start=start | START, **WAYS[way])
        for formula, start in (
            ("y = a[site]*exp(-b*x) + c", {"a": 2, "a[south]": 1.5}),
            (DUMMIES, {"north": 2, "south": 1.5}),
        )
    ]
    for one, two in zip(*(fit.estimates.values() for fit in fits), strict=True):
        np.testing.assert_allclose(one.value, two.value, rtol=1e-8)
        if two.stderr is not None:
            ends = [(e.stderr, *e.interval) for e in (one, two)]
            np.testing.assert_allclose(*ends, rtol=1e-6)


@pytest.mark.parametrize(
    ("column", "levels"),
    [
        (pa.array(["b", "a", "b"]).dictionary_encode(), ["b", "a"]),
        ([3, -1, 3], ["3", "-1"]),
        ([3.0, 0.0, 3.0], ["3", "0"]),
        ([True, False, True], ["True", "False"]),
    ],
)
def test_levels_come_as_they_first_appear(column, levels):
    data = {"site": column, "y": [1.0, 2.0, 1.5]}
    fit = sgdfit.fit("y = a[site]", data)
    assert fit.levels == {"site": tuple(levels)}
    assert fit.free == tuple(f"a[{level}]" for level in levels)
    assert fit.predict({"site": column}).tolist() == pytest.approx([1.25, 2.0, 1.25])


def test_rows_come_from_anywhere(tmp_path):
    site, x, noise = rows()
    names = np.array([*SITES, "gone"], dtype=object)[np.where(np.arange(93) == 4, 3, site)]
    y = np.array([3.0, 1.0, 2.0])[site] * np.exp(-0.7 * x) + 0.5 + noise
    y[4], names[7] = np.nan, None
    table = pa.table({"site": pa.array(names), "x": x, "y": y})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=20)
    pd.DataFrame({"site": names, "x": x, "y": y}).to_csv(tmp_path / "rows.csv", index=False)
    fits = [
        sgdfit.fit("y = a[site]*exp(-b*x) + c", data, missing="drop", where="x > 0.5")
        for data in (
            table,
            tmp_path / "rows.parquet",
            tmp_path / "rows.csv",
            table.to_reader(max_chunksize=11),
            iter([table.slice(0, 30), table.slice(30)]),
        )
    ]
    # The level of a row that is left out is none.
    seen = dict.fromkeys(names[np.isfinite(y) & (x > 0.5) & (names != None)])  # noqa: E711
    for fit in fits:
        assert fit.levels == {"site": tuple(seen)}
        assert fit.values == fits[0].values
        assert fit.rows_dropped == 2
        np.testing.assert_array_equal(fit.residuals, fits[0].residuals)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"start": "a=3, a[B]=4"}, {"a[A]": 3, "a[B]": 4, "a[C d]": 3}),
        ({"start": {"a[site]": 3, "a[C d]": 5}}, {"a[A]": 3, "a[B]": 3, "a[C d]": 5}),
        ({"bounds": "a > 2, 0 < a[B] < 1"}, {"a[A]": 3, "a[B]": 0.5}),
        ({"fixed": "a=2"}, {"a[A]": 2, "a[B]": 2}),
        ({"tied": "a[B] = 2*a[A]", "start": "a=3"}, {"a[B]": 6}),
        ({"tied": "a = 2*b + 1", "start": {"b": 3, "b[B]": 4}}, {"a[A]": 7, "a[B]": 9}),
    ],
)
def test_options_name_one_level_or_all(options, expected):
    levels = {"site": ["A", "B", "C d"]}
    model = build("y = a[site] + b[site]*x", ["x", "y", "site"], levels=levels, **options)
    values = model.values(model.start)
    assert {name: values[name] for name in expected} == expected


@pytest.fixture(scope="module")
def fitted():
    site, x, noise = rows()
    y = np.array([3.0, 1.0, 2.0])[site] * np.exp(-0.7 * x) + 0.5 + noise
    data = {"site": np.array(SITES)[site], "x": x, "y": y}
    return data, sgdfit.fit("y = a[site]*exp(-b*x) + c", data)


def test_a_saved_fit_predicts_new_rows_by_their_levels(fitted, tmp_path):
    _, fit = fitted
    fit.save(tmp_path / "fit.json")
    loaded = sgdfit.load(tmp_path / "fit.json")
    new = {"site": ["3", "north"], "x": [0.0, 1.0]}
    band, again = (f.predict(new, interval="confidence") for f in (fit, loaded))
    v = fit.values
    curve = [v["a[3]"] + v["c"], v["a[north]"] * np.exp(-v["b"]) + v["c"]]
    np.testing.assert_allclose(band.prediction, curve, rtol=1e-14)
    at_zero = fit.derive("a[3] + c")
    np.testing.assert_allclose(band.stderr[0], at_zero.stderr, rtol=1e-12)
    np.testing.assert_array_equal(again, band)
    told = loaded.predict("site=3, north; x=0")
    np.testing.assert_array_equal(told, loaded.predict({"site": ["3", "north"], "x": 0.0}))
    with pytest.raises(DataError, match=r"'soth' in row 2, a level .* 'north', 'S 2', '3'"):
        loaded.predict({"site": ["north", "soth"], "x": [0.0, 0.0]})


def test_plots_have_a_curve_for_each_level_in_its_colour(fitted):
    data, fit = fitted
    ax = Figure().subplots()
    plot.fitted_curve(fit, data, ax, "dark")
    levels, lines = fit.levels["site"], ax.lines
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert named == [f"site {level}" for level in levels]
    assert len({line.get_color() for line in lines}) == len(lines) == len(levels)
    for line, level in zip(lines, levels, strict=True):
        x = line.get_xdata()
        curve = fit.predict({"site": np.full(len(x), level), "x": x})
        np.testing.assert_allclose(line.get_ydata(), curve)


def test_a_derivation_names_levels(fitted):
    data, _ = fitted
    text = str(sgdfit.explain("y = a[site]*exp(-b*x) + c", data))
    assert "∂a[north]" in text
    assert "exp(−b·xᵢ)·[siteᵢ = north]" in text


BAD = {"site": ["A", "B"] * 4, "one": ["A"] * 8, "x": np.arange(8) / 2, "y": np.arange(8.0)}


@pytest.mark.parametrize(
    ("formula", "options", "words"),
    [
        ("y = a[site]*x + a", {}, "'a' stands without these brackets as well"),
        ("y = a[site]*x + a[one]", {}, "give each a name of its own"),
        ("y = a[site, one]*x", {}, "no column .site, one.* a third one that joins"),
        ("y = a[sit]*x", {}, "no column 'sit'.* Did you mean 'site'"),
        ("y = x[site]*b", {}, "'x' is a column of the data"),
        ("y = exp[site]*x", {}, "'exp' is a function"),
        ("y = a[x]*x", {}, "'x' cannot index a parameter and be a number"),
        ("y = a[site]*x", {"weights": "x + site"}, "'site' cannot index .* and weigh rows"),
        ("y = a[one]*x", {}, "has the one level 'A', .* without brackets"),
        ("y = a[x]", {}, "column 'x' of the data holds 0.5 in row 2; .* whole number"),
        ("y = (a + b)[site]*x", {}, r"write a\[site\] for a parameter with a value for each level"),
        ("y = a[site]*x", {"start": "a[C]=1"}, r"its parameters are a\[A\], a\[B\]"),
        ("y = a[site]*x", {"start": "a=1, a[site]=2"}, "names 'a' twice"),
        ("y = a[site]*x + b", {"tied": "b = a"}, r"'a', .* name one of them, such as a\[A\]"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(formula, options, words):
    with pytest.raises(SgdfitError, match=words):
        sgdfit.fit(formula, BAD, **options)


def test_missing_levels_are_missing_values():
    data = BAD | {"site": np.array(["A", None, "", "B", "A", "NA", "B", "A"], dtype=object)}
    with pytest.raises(DataError, match=r"3 of 8 rows .*column 'site' row 2 is missing"):
        sgdfit.fit("y = a[site]*x", data)
    assert sgdfit.fit("y = a[site]*x", data, missing="drop").rows_dropped == 3


DECAYS = "y = a[site]*exp(-k[site]*x) + c + d*x"


def decays(groups, rows, seed=0):
    """Return decays to a common line, with the standard deviation of each row."""
    random = np.random.default_rng(seed)
    x = np.tile(np.linspace(0, 4, rows), groups)
    site = np.repeat(np.arange(groups), rows)
    a, k = random.uniform(1, 10, groups), random.uniform(0.4, 1.2, groups)
    sd = random.uniform(0.05, 0.2, groups * rows)
    noise = sd * random.standard_normal(groups * rows)
    y = a[site] * np.exp(-k[site] * x) + 0.5 + 0.1 * x + noise
    return {"x": x, "y": y, "site": site, "sd": sd}


def values_of(fit, groups, what="value"):
    names = [f"{own}[{g}]" for own in "ak" for g in range(groups)] + ["c", "d"]
    return np.array([getattr(fit[name], what) for name in names], dtype=float)


@pytest.mark.parametrize("bounds", [None, "c < 0.2", "k > 0.6"])
@pytest.mark.parametrize("sigma", [None, "sd"])
def test_many_groups_are_fitted_as_all_parameters_together(bounds, sigma):
    groups, data = 20, decays(20, 15)
    fit = sgdfit.fit(
        DECAYS, data, start="a=3, k=0.7, c=0, d=0", bounds=bounds, sigma=sigma,
        absolute_sigma=sigma is not None,
    )  # fmt: skip
    found, weight = values_of(fit, groups), 1 / data["sd"] if sigma else 1.0
    names = [f"{own}[{g}]" for own in "ak" for g in range(groups)] + ["c", "d"]
    free = np.array([not fit[name].at_bound for name in names])

    def residuals(some):
        theta = found.copy()
        theta[free] = some
        a, k = theta[:groups], theta[groups : 2 * groups]
        curve = a[data["site"]] * np.exp(-k[data["site"]] * data["x"])
        return weight * (curve + theta[-2] + theta[-1] * data["x"] - data["y"])

    judge = least_squares(residuals, 1.01 * found[free], method="lm", xtol=1e-15, ftol=1e-15)
    rows = len(data["y"])
    left = rows - int(free.sum())
    variance = 1.0 if sigma else 2 * judge.cost / left
    covariance = variance * np.linalg.inv(judge.jac.T @ judge.jac)
    errors = np.sqrt(np.diag(covariance))
    assert fit.degrees_of_freedom == left
    assert (free.sum() < len(found)) == (bounds is not None)
    np.testing.assert_allclose(found[free], judge.x, atol=1e-6 * errors.max())
    np.testing.assert_allclose(values_of(fit, groups, "stderr")[free], errors, rtol=1e-5)
    places = [fit.free.index(name) for name, is_free in zip(names, free, strict=True) if is_free]
    np.testing.assert_allclose(
        fit.covariance[np.ix_(places, places)], covariance, atol=1e-5 * covariance.max()
    )


@pytest.mark.parametrize(("loss", "delta"), [("huber", 1.345), ("soft_l1", 1.287)])
def test_outliers_lead_no_level_astray(loss, delta):
    data = decays(15, 25, seed=3)
    random = np.random.default_rng(3)
    bad = random.random(len(data["y"])) < 0.08
    data["y"][bad] += random.uniform(0, 5, int(bad.sum()))
    fit = sgdfit.fit(DECAYS, data, loss=loss)
    theta = values_of(fit, 15)

    def residuals(theta):
        a, k = theta[:15], theta[15:30]
        curve = a[data["site"]] * np.exp(-k[data["site"]] * data["x"])
        return curve + theta[-2] + theta[-1] * data["x"] - data["y"]

    start = np.concatenate([np.full(15, 5.0), np.full(15, 0.8), [0.5, 0.1]])
    options = {"loss": loss, "f_scale": delta * fit.loss_scale, "xtol": 1e-15, "ftol": 1e-15}
    judge = least_squares(residuals, start, **options, gtol=1e-12)
    assert fit.status.name == "converged"
    errors = values_of(fit, 15, "stderr")
    np.testing.assert_allclose((theta - judge.x) / errors, 0.0, atol=1e-3)


def test_thousands_of_groups_take_one_fit():
    random, groups = np.random.default_rng(1), 3_000
    a, x = random.uniform(1, 10, groups), np.tile(np.linspace(0, 4, 8), groups)
    site = np.repeat(np.arange(groups), 8)
    y = a[site] * np.exp(-0.7 * x) + 0.5 + 0.1 * random.standard_normal(len(x))
    data = {"x": x, "y": y, "site": np.char.add("s", site.astype(str))}
    fit = sgdfit.fit("y = a[site]*exp(-b*x) + c", data)
    assert fit.status.name == "converged"
    assert len(fit.free) == groups + 2
    # Amplitudes at these b and c are those of a line through the origin.
    curve = np.exp(-fit["b"].value * x)
    left = y - fit["c"].value
    usual = np.bincount(site, curve * left) / np.bincount(site, curve * curve)
    found = np.array([fit[f"a[s{g}]"].value for g in range(groups)])
    np.testing.assert_allclose(found, usual, rtol=1e-9)
    pulls = (found - a) / np.array([fit[f"a[s{g}]"].stderr for g in range(groups)])
    assert 0.94 < np.sqrt(np.mean(pulls**2)) < 1.06
    assert abs(fit["b"].value - 0.7) < 4 * fit["b"].stderr


def test_a_covariance_in_factors_tells_what_the_matrix_does(tmp_path, monkeypatch):
    data = decays(20, 15)
    keep = (data["site"] != 7) | (data["x"] == 0)  # whose k is then not determined
    data = {name: column[keep] for name, column in data.items()}
    options = {"start": "a=3, k=0.7, k[3]=2, c=0, d=0", "bounds": "c < 0.3, k[3] > 1.3"}
    whole = sgdfit.fit(DECAYS, data, **options)
    monkeypatch.setattr("sgdfit.fitting.arrowhead.MOST_DENSE", 10)
    sgdfit.fit(DECAYS, data, **options).save(tmp_path / "fit.json")
    fit = sgdfit.load(tmp_path / "fit.json")
    assert fit.covariance is None
    assert whole["c"].at_bound
    assert whole["k[3]"].at_bound
    np.testing.assert_allclose(fit.covariance_of(fit.free), whole.covariance, rtol=1e-12)
    for interval in ("confidence", "prediction"):
        bands = [np.array(f.predict(data, interval)) for f in (fit, whole)]
        np.testing.assert_allclose(*bands, rtol=1e-9)
    band = fit.predict({"site": [7, 7], "x": [0.0, 1.0]}, "confidence")
    assert np.isnan(band.stderr).tolist() == [False, True]
    told = [f.derive("a[2]/k[2]", "k[3] - k[4]", "a[5]*exp(-k[5]) + d") for f in (fit, whole)]
    np.testing.assert_allclose(*(some.covariance for some in told), rtol=1e-9)
    with pytest.raises(UsageError, match=r"tells no error of k\[7\] \("):
        fit.sample(9)


def test_draws_of_a_covariance_in_factors_have_it(monkeypatch):
    monkeypatch.setattr("sgdfit.fitting.arrowhead.MOST_DENSE", 10)
    fit = sgdfit.fit(DECAYS, decays(20, 15), start="a=3, k=0.7, c=0, d=0")
    drawn = np.array([*fit.sample(20_000, seed=1).values()])
    found, known = np.cov(drawn), fit.covariance_of([*fit.estimates])
    size = np.sqrt(np.diag(known))
    np.testing.assert_allclose(
        found / size / size[:, None], known / size / size[:, None], atol=0.05
    )


def test_a_common_parameter_may_be_fixed():
    data = decays(20, 15)
    formula, start = "y = d*x + a[site]*exp(-k[site]*x) + c", "a=3, k=0.7, c=0"
    fit = sgdfit.fit(formula, data, start=start, fixed="d=0.1")
    data = data | {"y": data["y"] - 0.1 * data["x"]}
    other = sgdfit.fit(formula.replace("d*x + ", ""), data, start=start)
    for name in other.free:
        assert fit[name].value == pytest.approx(other[name].value, rel=1e-9)
        assert fit[name].stderr == pytest.approx(other[name].stderr, rel=1e-7)


def test_a_group_whose_rows_do_not_tell_its_parameters_is_named():
    data = decays(20, 15)
    keep = (data["site"] != 7) | (data["x"] == 0)
    data = {name: column[keep] for name, column in data.items()}
    fit = sgdfit.fit(DECAYS, data, start="a=3, k=0.7, c=0, d=0")
    assert fit["k[7]"].stderr is None
    assert fit["k[8]"].stderr > 0
    assert any("k[7]" in warning for warning in fit.warnings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "sgd"}, "auto has to step"),
        ({"loss": "huber"}, "loss has to be mse"),
        ({"intervals": "profile"}, "'wald'"),
        ({"tied": "a[3] = 2*a[4]"}, "none may be tied"),
    ],
)
def test_of_very_many_parameters_it_is_said_what_they_take(options, said):
    with pytest.raises(UsageError, match=said):
        sgdfit.fit(DECAYS, decays(60, 8), start="a=3, k=0.7, c=0, d=0", **options)


def test_peaks_of_many_groups_are_found_without_a_start():
    random, groups = np.random.default_rng(2), 300
    x, site = np.tile(np.linspace(0, 6, 15), groups), np.repeat(np.arange(groups), 15)
    height, centre = random.uniform(1, 10, groups), random.uniform(1, 5, groups)
    y = height[site] * np.exp(-(((x - centre[site]) / 0.5) ** 2))
    y += 0.05 * random.standard_normal(len(x))
    fit = sgdfit.fit(
        "y = h[site]*exp(-((x - m[site])/w)^2)", {"x": x, "y": y, "site": site}, seed=1
    )
    assert fit.status.name == "converged"
    assert abs(fit["w"].value - 0.5) < 4 * fit["w"].stderr
    pulls = [(fit[f"m[{g}]"].value - centre[g]) / fit[f"m[{g}]"].stderr for g in range(groups)]
    assert np.abs(pulls).max() < 4.5
