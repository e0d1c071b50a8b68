"""Plots: what is drawn is what was found, and nothing a user has makes one fail."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image
from pyarrow import parquet

import sgdfit
from sgdfit import demo, plot
from sgdfit.data.rows import ChunkedRows
from sgdfit.errors import UsageError
from sgdfit.plot import landscape

QUADRATIC = "y = a*x**2 + b*x + c"
POINTS = {name: column.astype(float) for name, column in demo.points().items()}


def quadratic(rate=0.2042, steps=150, **options):
    options = {"learning_rate": rate, "steps": steps, "announce": str, **options}
    return sgdfit.fit(QUADRATIC, POINTS, start=demo.START, **options)


def fitted(formula, data=POINTS, **options):
    return sgdfit.fit(formula, data, **{"steps": 30, **options}), data


def decay(rows=5_000, **options):
    rng = np.random.default_rng(1)
    x = rng.uniform(-3, 3, rows)
    data = {"x": x, "y": 2 * np.exp(-0.5 * x) + rng.normal(0, 1, rows)}
    start = {"a": 1, "k": 0.2}
    return sgdfit.fit("y = a*exp(-k*x)", data, start=start, learning_rate=0.01, **options), data


def many_parameters():
    rng = np.random.default_rng(2)
    data = {f"x_{i}": rng.uniform(size=200) for i in range(10)}
    data["y"] = 1_000 * data["x_0"] + data["x_1"] + rng.normal(size=200)
    return fitted("y = " + " + ".join(f"a_rather_long_name_{i}*x_{i}" for i in range(10)), data)


def with_trace(result, **columns):
    return replace(result, trace=replace(result.trace, **columns))


def broken():
    result = quadratic()
    loss, parameters = result.trace.loss.copy(), result.trace.parameters.copy()
    loss[29], loss[30:], parameters[29:] = np.inf, np.nan, np.inf
    return with_trace(result, loss=loss, parameters=parameters), POINTS


def weighted(**options):
    data = {**POINTS, "s": np.linspace(1, 2, 20)}
    return fitted(QUADRATIC, data, weights="1/s**2", **options)


CASES = {
    "diverged": lambda: (quadratic(0.23, 10), POINTS),
    "blown up": lambda: (quadratic(1.5, 1_000), POINTS),
    "no trace": lambda: (quadratic(trace_every=0), POINTS),
    "batches": lambda: decay(batch_size=50, epochs=3),
    "ten parameters": many_parameters,
    "not finite": broken,
    "constant data": lambda: fitted("y = c + 0*x", {"x": np.zeros(5), "y": np.full(5, 3.0)}),
    "weights, a fixed and a tied parameter": lambda: weighted(fixed="c=3", tied="b = 2*a"),
    "names of markup": lambda: fitted("_y = _a*_x + _b_", {"_x": POINTS["x"], "_y": POINTS["y"]}),
    "letters that the font lacks": lambda: fitted(
        "温度 = 甲*x + b", {"x": POINTS["x"], "温度": POINTS["y"]}
    ),
    "a loss of large negative values": lambda: fitted(
        "y = a", {"y": [90.0, 110.0]}, loss="poisson", start="a=50", constant=True
    ),
    "an expression on the left": lambda: fitted("log(y + 1) = a*x + b"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_case_is_drawn(case, tmp_path):
    made = plot.figure(*CASES[case]())
    plot.write(made, tmp_path / "light.png", dpi=40)
    with Image.open(tmp_path / "light.png") as picture:
        assert len(picture.getcolors(10**6)) > 100  # an empty one has few


@pytest.mark.parametrize(
    ("ending", "head"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")]
)
def test_file_is_what_its_ending_says(ending, head, tmp_path):
    plot.save(quadratic(), POINTS, tmp_path / f"light{ending}")
    assert (tmp_path / f"light{ending}").read_bytes().startswith(head)


def test_a_figure_shows_itself_in_a_notebook():
    assert plot.figure(quadratic(), POINTS)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("fit.jpg",), r"'.*fit\.jpg': its ending must be one of \.png, \.svg, \.pdf"),
        (("no/such/folder/fit.png",), "No such file or directory"),
        (("fit.png", "drak"), "no style is called 'drak'; there are light, dark. Did you mean"),
    ],
)
def test_bad_arguments_are_named(arguments, sentence, tmp_path):
    name, *style = arguments
    with pytest.raises(UsageError, match=sentence):
        plot.save(quadratic(), POINTS, tmp_path / name, *style)


@pytest.fixture
def ax():
    return Figure().subplots()


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_loss_curve_draws_the_trace_and_marks_divergence(ax):
    result = quadratic(0.23, 10)
    plot.loss_curve(result, ax)
    np.testing.assert_array_equal(ax.lines[0].get_xydata().T, [range(11), result.trace.loss])
    assert ax.get_title(loc="left") == "Loss: rate 0.23 is above the limit 2/λmax = 0.2215"
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("step", "loss (mse)", "linear")


def test_loss_curve_is_logarithmic_beyond_two_decades_and_says_where_numbers_end(ax):
    plot.loss_curve(with_trace(quadratic(), loss=np.geomspace(150, 1, 151)), ax)
    assert ax.get_yscale() == "log"
    ax.clear()
    plot.loss_curve(broken()[0], ax)
    assert ax.get_yscale() == "linear"
    assert [text.get_text() for text in ax.texts] == ["not finite from step 29"]
    assert np.isfinite(ax.lines[0].get_ydata()).sum() == 29


def test_batches_get_their_mean_drawn(ax):
    result, _ = decay(batch_size=50, epochs=3)
    plot.loss_curve(result, ax)
    each, mean = (line.get_ydata() for line in ax.lines)
    np.testing.assert_array_equal(each, result.trace.loss)
    assert mean[-1] == pytest.approx(np.mean(np.array_split(each, len(mean))[-1]))


def test_parameter_paths_draw_values_or_shares_of_the_largest_distance(ax):
    result = quadratic()
    plot.parameter_paths(result, ax)
    drawn = np.array([line.get_ydata() for line in ax.lines])
    np.testing.assert_array_equal(drawn, result.trace.parameters.T)
    assert legend_of(ax) == ["a", "b", "c"]
    ax.clear()
    plot.parameter_paths(with_trace(result, parameters=result.trace.parameters * [1, 1, 1e6]), ax)
    drawn = np.array([line.get_ydata() for line in ax.lines])
    np.testing.assert_allclose(np.abs(drawn).max(axis=1), 1)
    assert ax.get_ylabel() == "share of the largest distance"


def band_edges(ax, place):
    """What a shaded band spans, as the polygon's low and high ends at each x."""
    shades = [c for c in ax.collections if isinstance(c, PolyCollection)]
    found = [c for c in shades if c.get_array() is None]  # a density has values
    corners = found[place].get_paths()[0].vertices
    x = np.unique(corners[:, 0])
    spans = [corners[corners[:, 0] == at, 1] for at in x]
    return x, np.array([s.min() for s in spans]), np.array([s.max() for s in spans])


@pytest.mark.parametrize(
    "made",
    [
        lambda: (quadratic(), POINTS),
        lambda: decay(steps=300, optimizer="sgd(momentum=0.9)"),  # a density
        # weights that follow from the variable
        lambda: fitted(
            "y = a*x + b", {**POINTS, "x": POINTS["x"] + 3}, weights="1/x**2", steps=None
        ),
    ],
)
def test_bands_of_the_curve_and_of_new_points(made, ax):
    result, data = made()
    plot.fitted_curve(result, data, ax)
    for place, interval in enumerate(["confidence", "prediction"]):
        x, low, high = band_edges(ax, place)
        band = result.predict({"x": x}, interval=interval)
        np.testing.assert_allclose(low, band.low, rtol=1e-9)
        np.testing.assert_allclose(high, band.high, rtol=1e-9)
    bottom, top = ax.get_ylim()
    assert bottom < low.min()
    assert top > high.max()
    assert legend_of(ax)[1:4] == ["fit", "95% band: curve", "95% band: new points"]


@pytest.mark.parametrize(
    ("made", "known"),
    [
        (lambda: (quadratic(0.23, 10), POINTS), []),
        (lambda: (replace(quadratic(), degrees_of_freedom=0), POINTS), []),
        (
            lambda: (quadratic(rate=0.4, loss="huber(delta=20)", steps=300), POINTS),
            ["95% band: curve"],
        ),
        # how much a row of another column's weight scatters is not known on the curve
        (lambda: weighted(steps=None), ["95% band: curve"]),
    ],
)
def test_bands_that_are_not_known_are_not_drawn(made, known, ax):
    plot.fitted_curve(*made(), ax)
    assert [name for name in legend_of(ax)[1:] if name != "start"] == ["fit", *known]


def test_fitted_curve_its_start_and_residuals(ax):
    result = quadratic()
    plot.fitted_curve(result, POINTS, ax)
    *_, fit, before = ax.lines
    grid, curve = fit.get_xydata().T
    np.testing.assert_allclose(curve, result.predict({"x": grid}), rtol=1e-12)
    np.testing.assert_allclose(before.get_ydata(), 4 * grid**2 + 5 * grid + 7, rtol=1e-12)
    ax.clear()
    plot.residuals(result, POINTS, ax)
    left = POINTS["y"] - result.predict(POINTS)
    drawn = ax.collections[0].get_offsets()
    np.testing.assert_allclose(drawn, np.stack([POINTS["x"], left], 1), rtol=1e-12)


def test_several_variables_are_drawn_as_predicted_against_observed(ax):
    result, data = many_parameters()
    plot.fitted_curve(result, data, ax)
    drawn = ax.collections[0].get_offsets()
    predicted = result.predict(data)
    np.testing.assert_allclose(drawn, np.stack([data["y"], predicted], 1), rtol=1e-12)
    ax.clear()
    plot.residuals(result, data, ax)
    drawn = ax.collections[0].get_offsets()
    left = data["y"] - predicted
    np.testing.assert_allclose(drawn, np.stack([predicted, left], 1), rtol=1e-12)


def test_many_rows_are_drawn_as_their_density(ax):
    plot.fitted_curve(*decay(rows=100_000, steps=3), ax)
    density = ax.collections[0].get_array()
    assert (density.sum(), density.size < 15_000) == (100_000, True)


def test_rows_that_exceed_memory_are_all_counted_in_one_pass(tmp_path, monkeypatch):
    n, random = 300_000, np.random.default_rng(3)
    x, z = 10 ** random.uniform(-2, 3, n), random.uniform(0, 1, n)
    y = 2 + np.log(x) + z + 0.1 * random.normal(size=n)
    y[123_457] = 90.0  # far beyond the sample from which the extent is guessed
    parquet.write_table(pyarrow.table({"x": x, "y": y, "z": z}), tmp_path / "rows.parquet")
    monkeypatch.setattr(landscape, "MOST_BYTES", 1_000_000)
    passes, chunks = [], ChunkedRows.chunks

    def counted(self, first=0):
        passes.append(first)
        return chunks(self, first)

    monkeypatch.setattr(ChunkedRows, "chunks", counted)
    fit = sgdfit.fit("y = a + b*log(x) + c*z", tmp_path / "rows.parquet")
    passes.clear()
    curves, left = fit.plot()
    assert passes == [0]
    assert curves[0].get_xscale() == "log"
    for ax in (*curves, *left):
        assert ax.collections[0].get_array().sum() == n
    edge = left[0].lines[0].get_ydata()[0]
    assert abs(edge) == pytest.approx(np.sqrt(fit.loss), rel=1e-3)
    # The cells that hold a row's place count it: by numpy's histogram.
    drawn = left[1].collections[0]
    across, up = drawn.get_coordinates()[0, :, 0], drawn.get_coordinates()[:, 0, 1]
    residual = y - fit.predict({"x": x, "z": z})
    judged = np.histogram2d(z, residual, bins=[across, up])[0].T
    assert np.abs(drawn.get_array().filled(0) - judged).sum() <= 2e-4 * n


def test_descent_path_lies_over_the_loss(ax):
    result = quadratic()
    plot.descent_path(result, POINTS, ax, ("a", "c"))
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), result.trace.parameters[:, [0, 2]])
    # the least loss on the grid is that of the estimates, but for the grid's coarseness
    assert result.loss <= min(ax.collections[0].levels) < result.loss + 0.2
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "c")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("a", "d"), "'d' is no free parameter of 'y = .*'; there are a, b, c"),
        (("a", "a"), "two different parameters"),
        (("a",), "two different parameters"),
    ],
)
def test_unusable_parameters_are_named(asked, sentence, ax):
    with pytest.raises(UsageError, match=sentence):
        plot.descent_path(quadratic(), POINTS, ax, asked)


def test_names_are_shown_as_they_stand():
    names = ("_a_", "$b$", "x_{2}")
    made = plot.figure(with_trace(quadratic(), names=names), POINTS)
    assert legend_of(made.axes[3]) == list(names)
    assert not any(text.get_parse_math() for text in made.axes[3].get_legend().get_texts())


def test_pyplot_is_left_alone():
    code = (
        "import sys, matplotlib, sgdfit; from sgdfit import plot;"
        "before = dict(matplotlib.rcParams); data = {'x': [0, 1, 2], 'y': [1, 3, 5]};"
        "plot.figure(sgdfit.fit('y = a*x + b', data, steps=9), data).canvas.draw();"
        "assert 'matplotlib.pyplot' not in sys.modules; assert before == dict(matplotlib.rcParams)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_an_axis_of_times_names_their_unit():
    data = {"day": np.datetime64("2024-03-01") + np.arange(9), "y": np.arange(9) ** 1.5}
    drawn = plot.figure(sgdfit.fit("y = a*day + b", data), data)
    assert {ax.get_xlabel() for ax in drawn.axes[:2]} == {"day in days since 2024-03-01"}
