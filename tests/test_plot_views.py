"""What a result draws of itself: whole figures whose lines are the numbers of the fit."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageSequence

import sgdfit
from sgdfit.cli.app import main
from sgdfit.errors import MissingDependencyError, UsageError
from sgdfit.plot import animation

RANDOM = np.random.default_rng(0)
X = np.linspace(0, 5, 40)
DATA = {"x": X, "y": 3 * np.exp(-X) + 1 + 0.1 * RANDOM.standard_normal(40), "s": np.full(40, 0.1)}
DECAY = "y = a*exp(-k*x) + c"


@pytest.fixture(scope="module")
def decay():
    return sgdfit.fit(DECAY, DATA, optimizer="sgd", steps=120)


def lines(ax):
    return [np.transpose(line.get_data()) for line in ax.get_lines()]


def curve_of(ax):
    return next(line for line in lines(ax) if len(line) > 100).T


def test_the_curve_is_the_prediction_and_residuals_stand_beneath():
    fit = sgdfit.fit(DECAY, DATA, sigma="s")
    curve, left = shown = fit.plot()
    assert shown._repr_png_() == curve._repr_png_()
    assert curve.get_shared_x_axes().joined(curve, left)
    grid, drawn = [line for line in lines(curve) if len(line) > 100][-1].T
    assert drawn == pytest.approx(fit.predict({"x": grid}))
    points = np.asarray(left.collections[0].get_offsets())
    assert points[:, 1] == pytest.approx(fit.residuals)
    # Bars of one standard deviation to either side.
    (bars,) = (c for c in curve.collections if type(c).__name__ == "LineCollection")
    heights = [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()]
    assert heights == pytest.approx([0.2] * 40)


def test_it_draws_onto_axes_that_are_given(decay):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert decay.plot(ax=ax) is ax
    assert ax.get_xlabel() == "x"


@pytest.mark.parametrize(
    ("x", "log", "scales"),
    [
        (np.geomspace(1e-3, 1e3, 30), None, ("log", "linear")),
        (np.linspace(1e-3, 1e3, 30), None, ("linear", "linear")),
        (np.geomspace(1e-3, 1e3, 30), "", ("linear", "linear")),
        (np.linspace(1, 5, 30), "xy", ("log", "log")),
    ],
)
def test_axes_are_logarithmic_where_the_data_or_the_user_ask(x, log, scales):
    fit = sgdfit.fit("y = a + b*log(x)", {"x": x, "y": 20 + 2 * np.log(x)})
    curve, _ = fit.plot(log=log)
    assert (curve.get_xscale(), curve.get_yscale()) == scales


def test_a_logarithmic_axis_says_what_it_cannot_show():
    fit = sgdfit.fit("y = a*x + b", {"x": np.arange(-3.0, 7), "y": np.arange(10.0)})
    curve, _ = fit.plot(log="x")
    told = [text.get_text() for text in curve.get_legend().get_texts()]
    assert told[0] == "10 rows, 4 not shown"
    below = sgdfit.fit("y = a*x + b", {"x": -np.arange(1.0, 9), "y": np.arange(8.0)})
    with pytest.raises(UsageError, match="log='xy' shows only what is above 0"):
        below.plot(log="xy")


def test_several_variables_have_a_curve_each_with_the_others_at_their_medians():
    u, v = RANDOM.uniform(0, 3, (2, 80))
    fit = sgdfit.fit("y = a*exp(-k*u) + b*v", {"u": u, "v": v, "y": 2 * np.exp(-u) + 0.7 * v})
    (first, second), left = fit.plot()
    grid, drawn = curve_of(second)
    others = np.full(len(grid), np.median(u))
    assert drawn == pytest.approx(fit.predict({"u": others, "v": grid}))
    # Points lie about the curve as they do about the fit: here on it.
    points = np.asarray(first.collections[0].get_offsets())
    held = fit.predict({"u": points[:, 0], "v": np.full(len(u), np.median(v))})
    assert points[:, 1] == pytest.approx(held)
    for ax in left:
        assert np.asarray(ax.collections[0].get_offsets())[:, 1] == pytest.approx(fit.residuals)
    assert fit.plot(over="v")[1].get_xlabel() == "v"


SITES = np.repeat([f"s{k}" for k in range(20)], 8)
MANY = {
    "site": SITES,
    "x": np.tile(np.linspace(0, 5, 8), 20),
    "s": np.full(160, 0.1),
}
MANY["y"] = np.repeat(np.linspace(1, 3, 20), 8) * np.exp(-MANY["x"])
MANY["y"] += np.repeat(np.linspace(0.01, 0.2, 20), 8) * RANDOM.standard_normal(160)


def test_groups_stand_side_by_side_on_common_axes():
    fit = sgdfit.fit("y = a[site]*exp(-k*x)", MANY, sigma="s")
    panels = fit.plot()
    figure = panels[0].figure
    assert "16 of 20 groups are shown: the first in the data" in figure.get_suptitle()
    assert [ax.get_title(loc="left") for ax in panels] == [f"site s{k}" for k in range(16)]
    assert len({(*ax.get_xlim(), *ax.get_ylim()) for ax in panels}) == 1
    for k, ax in enumerate(panels):
        grid, drawn = curve_of(ax)
        assert drawn == pytest.approx(fit.predict({"site": [f"s{k}"] * len(grid), "x": grid}))
        points = np.asarray(ax.collections[0].get_offsets())
        assert points[:, 1] == pytest.approx(MANY["y"][8 * k : 8 * k + 8])


def test_of_many_fits_those_asked_for_are_drawn(tmp_path):
    fits = sgdfit.fit_many("y = a*exp(-k*x)", MANY, by="site", sigma="s")
    for panels in (fits.plot("worst"), fits.plot(["s7", "s2"])):
        for ax in panels:
            (a, k) = fits.values[int(ax.get_title(loc="left")[6:])]
            grid, drawn = curve_of(ax)
            assert drawn == pytest.approx(a * np.exp(-k * grid), rel=1e-6)
    assert [ax.get_title(loc="left") for ax in panels] == ["site s7", "site s2"]
    worst = [int(ax.get_title(loc="left")[6:]) for ax in fits.plot("worst")]
    assert worst == np.argsort(-fits.residual_standard_error)[:16].tolist()


def test_a_group_without_a_fit_shows_its_rows_and_says_why():
    rows = np.r_[0:1, 8:24]
    data = {name: column[rows] for name, column in MANY.items()}
    fits = sgdfit.fit_many("y = a*exp(-k*x)", data, by="site")
    first, second, _ = fits.plot()
    assert "no fit: the group has 1 row" in " ".join(first.texts[0].get_text().split())
    assert len(first.collections[0].get_offsets()) == 1
    assert not second.texts


def test_the_command_line_draws_groups(tmp_path):
    rows = [f"{g},{x},{y}" for g, x, y in zip(SITES, MANY["x"], MANY["y"], strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["site,x,y", *rows]))
    command = ["fit", str(tmp_path / "data.csv"), "y = a + b*x", "--by", "site", "--quiet"]
    assert main([*command, "--plot", str(tmp_path / "fits.png")]) == 0
    with Image.open(tmp_path / "fits.png") as picture:
        assert min(picture.size) > 1_000


def test_steps_are_those_of_the_trace(decay):
    loss, way = decay.plot_trace()
    assert lines(loss)[0][:, 1] == pytest.approx(decay.trace.loss)
    assert len(way.get_lines()) == 3
    path = max(lines(decay.plot_path(("a", "k"))), key=len)
    assert path == pytest.approx(decay.trace.parameters[:, :2])
    assert decay.plot_parameters().get_xlabel() == "step"


def test_of_a_linear_model_the_likelihood_region_is_the_ellipse():
    fit = sgdfit.fit("y = a + b*x + c*x^2", DATA)
    axes = fit.plot_pairs(["a", "b", "c"])
    assert axes.shape == (2, 2)
    assert not axes[0, 1].get_visible()
    for ax in (axes[0, 0], axes[1, 0], axes[1, 1]):
        _, ellipse, region = lines(ax)
        around = np.array([np.abs(ellipse - point).max(axis=1).argmin() for point in region])
        assert region == pytest.approx(ellipse[around], abs=2e-3 * np.ptp(ellipse))


def test_of_a_curved_model_the_likelihood_region_has_the_sum_of_squares_that_it_should():
    data = {"x": X[:6], "y": DATA["y"][:6]}
    fit = sgdfit.fit("y = a*exp(-k*x)", data)
    _, _, region = lines(fit.plot_pairs()[0, 0])
    from scipy.stats import f as fisher

    level = fit.reduced_chi_square * 2 * fisher.ppf(0.95, 2, 4)
    for a, k in region[~np.isnan(region[:, 0])]:
        squares = np.sum((data["y"] - a * np.exp(-k * data["x"])) ** 2)
        assert squares - fit.residual_sum_of_squares == pytest.approx(level, rel=3e-3)


def frames_of(path):
    """The pictures of a moving picture, as text or bytes."""
    if path.suffix == ".html":
        page = path.read_text()
        assert not re.search(r"https?:|\?</button>", page)  # it stands alone, its signs known
        return re.findall(r'"data:image/png;base64,([^"]+)"', page.replace("\\\n", ""))
    if path.suffix == ".mp4":
        program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
        command = [program, "-loglevel", "error", "-i", path, "-f", "framemd5", "-"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [line.split(",")[-1] for line in told.splitlines() if line[0] != "#"]
    with Image.open(path) as moving:
        return [each.convert("RGB").tobytes() for each in ImageSequence.Iterator(moving)]


@pytest.mark.parametrize("ending", ["gif", "html", pytest.param("mp4", marks=pytest.mark.video)])
def test_a_descent_moves(decay, tmp_path, ending):
    if ending == "mp4":
        pytest.importorskip("imageio_ffmpeg", reason="ffmpeg, which makes a video, is missing")
    path = tmp_path / f"descent.{ending}"
    decay.animate(path, frames=5)
    pictures = frames_of(path)
    assert (len(pictures), len(set(pictures))) == (5, 5)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.filterwarnings("ignore:learning rate 5:sgdfit.errors.DivergenceWarning")
def test_a_picture_of_a_run_that_diverged_says_so(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(animation, "dress", lambda *given: titles.append(given[2]))
    x = np.linspace(0, 1, 9)
    options = {"optimizer": "sgd", "steps": 200, "start": {"a": 1.0, "b": 0.0}}
    for rate in (5.0, None):
        chosen = {**options, "learning_rate": rate} if rate else {}
        found = sgdfit.fit("y = a*x + b", {"x": x, "y": 2 * x + x**2}, **chosen)
        path = tmp_path / "descent.gif"
        found.animate(path, frames=2)
    said = [title for title in titles if title.startswith("The curve")]
    assert said == ["The curve diverges", "The curve settles"]


@pytest.mark.parametrize(("frames", "loop"), [(2, True), (2, False), (2, None), (15, None)])
def test_a_gif_ends_in_time_unless_it_is_to_go_on(tmp_path, monkeypatch, frames, loop):
    assert animation.SECONDS == 5  # of WCAG 2.2.2
    monkeypatch.setattr(animation, "SECONDS", 1.0)
    x = np.linspace(0, 1, 9)
    slow = {"optimizer": "sgd", "learning_rate": 0.01, "steps": 15, "start": {"a": 5.0, "b": 0.0}}
    found = sgdfit.fit("y = a*x + b", {"x": x, "y": 2 * x}, **slow)
    found.animate(tmp_path / "descent.gif", frames=frames, loop=loop)
    with Image.open(tmp_path / "descent.gif") as moving:
        repeats = moving.info.get("loop")  # after the first time; 0 for ever
        seconds = sum(one.info["duration"] for one in ImageSequence.Iterator(moving)) / 1000
    if loop is not None:
        assert repeats == (0 if loop else None)
    else:
        assert 0.75 < ((repeats or 0) + 1) * seconds <= 1


def test_without_ffmpeg_one_sentence_says_what_to_do(decay, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"\.gif does .* pip install sgdfit.video."):
        decay.animate(tmp_path / "descent.mp4")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda fit: fit.plot(log="z"), "write 'x', 'y', 'xy'"),
        (lambda fit: fit.plot(over="q"), "no variable"),
        (lambda fit: fit.plot_pairs(["a"]), "two or more"),
        (lambda fit: fit.plot_pairs(["a", "q"]), "no free parameter"),
        (lambda fit: fit.plot_path(("a", "a")), "two different"),
        (lambda fit: fit.animate("x.avi"), "ending"),
        (lambda fit: fit.plot(style="pink"), "no style"),
        (lambda fit: sgdfit.fit_many("y = a*x", MANY, by="site").plot(["s99"]), "no group 's99'"),
        (lambda fit: sgdfit.fit_many("y = a*x", MANY, by="site").plot("wrst"), "'worst'"),
    ],
)
def test_what_cannot_be_drawn_is_said(decay, draw, said):
    with pytest.raises(UsageError, match=said):
        draw(decay)


def test_a_fit_from_a_file_asks_for_its_rows(decay, tmp_path):
    decay.save(tmp_path / "fit.json")
    saved = sgdfit.load(tmp_path / "fit.json")
    with pytest.raises(UsageError, match="pass data"):
        saved.plot()
    assert saved.plot(DATA)[1].get_xlabel() == "x"


def test_a_terminal_shows_the_curve_in_characters(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"{x},{y}" for x, y in zip(X, DATA["y"], strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["x,y", *rows]))
    assert main(["fit", "data.csv", DECAY, "--plot", "-"]) == 0
    _, top, drawn = capsys.readouterr().out.partition("┌")
    assert top
    assert "\x1b" not in drawn
    assert drawn.count("o") >= 15
    assert max(map(len, drawn.splitlines())) <= 80
