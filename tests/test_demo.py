"""The tutorial: its data against torch, its runs against what was measured, the demo's screen."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sgdfit import demo

FILES = {"tutorial.csv", "listing.csv", "best.csv", "derivation.html"}
FILES |= {f"demo-{style}.png" for style in ("light", "dark")}
SAID = (
    "0.763978, 2.947368, 9.028178",
    "2/λmax = 0.2215286",
    "learning rate 0.23 is above the stability limit 2/λmax = 0.2215",
    "a = 2.07485717",
    "b = 2.64455586",
    "c = 5.26174921",
    "loss 6.251991379811",
    "∂L/∂a = 2/N Σ (ŷᵢ − yᵢ) xᵢ²",
    "= 20.1243",
)
EPS32 = 2.0**-23
EXAMPLES = Path(__file__).parents[1] / "examples"
# As the author measured them with torch in float32.
LISTING_LOSS = {0: 41.752251, 1: 38.6288, 2: 42.7839, 3: 48.4304, 9: 108.1578}


@pytest.fixture(scope="module")
def story():
    return demo.tell()


def told(folder, width):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    assert demo.run(folder, console) == 0
    return console.file.getvalue()


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "made" / "here"
    return folder, told(folder, 100)


@pytest.mark.parametrize("constant", [True, False])
def test_points_are_torch_s_bit_for_bit(torch, constant):
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("without vector instructions torch.linspace rounds twice")
    x = torch.linspace(-2, 2, 20)[:, None]
    torch.manual_seed(42)
    exact = 2 * x**2 + 3 * x + 4 if constant else 2 * x**2 + 3 * x
    y = exact + (torch.rand_like(exact) * 10 - 5)
    made = demo.points(constant=constant)
    for name, column in (("x", x), ("y", y)):
        assert made[name].dtype == np.float32
        np.testing.assert_array_equal(made[name], column[:, 0].numpy())


def test_printed_figures_are_reproduced_to_float32_rounding(story):
    # torch itself, on another processor than the tutorial's, is 3 units of rounding away
    for result, units in ((story.printed, 4), (story.printed_exactly, 5)):
        trace = result.trace
        np.testing.assert_allclose(trace.loss[:-1], demo.PRINTED_LOSS, rtol=units * EPS32)
        printed = [demo.PRINTED_GRADIENT[name] for name in trace.names]
        np.testing.assert_allclose(trace.gradient[0], printed, rtol=0, atol=5e-5)


def test_listing_as_it_stands_diverges(story):
    for result in (story.listing, story.listing_as_printed):
        assert result.status.name == "diverged"
        for step, loss in LISTING_LOSS.items():
            # half a unit of the last digit given, and the rounding of torch's steps in float32
            assert result.trace.loss[step] == pytest.approx(loss, abs=5e-5 + 10 * EPS32 * loss)
        gradient = [20.1243, 6.9424, 9.1506]
        np.testing.assert_allclose(result.trace.gradient[0], gradient, rtol=0, atol=5e-5)
        found = result.diagnosis
        np.testing.assert_allclose(found.eigenvalues, [0.763978, 2.947368, 9.028178], rtol=1e-6)
        assert found.stability_limit == pytest.approx(0.2215286, rel=1e-6)
        assert found.growth_factor == pytest.approx(0.23 * 9.028178 - 1, rel=1e-6)


def test_recommended_rate_reaches_least_squares(story):
    result = story.best
    assert (result.status.name, result.steps < 200) == ("converged", True)
    x, y = story.data.values()
    design = np.stack([x**2, x, np.ones_like(x)], axis=1)
    expected, (squares,), _, _ = np.linalg.lstsq(design, y)
    np.testing.assert_allclose(list(result.values.values()), expected, rtol=1e-8)
    assert result.residual_sum_of_squares == pytest.approx(squares, rel=1e-12)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * squares / 17)
    found = [estimate.stderr for estimate in result.estimates.values()]
    np.testing.assert_allclose(found, errors, rtol=1e-10)


def test_the_story_is_told_on_one_screen(screen, tmp_path):
    text = " ".join(screen[1].split())
    for figure in SAID:
        assert figure in text
    for lines, width, text in ((45, 100, screen[1]), (60, 80, told(tmp_path, 80))):
        assert len(text.splitlines()) <= lines
        assert max(map(len, text.splitlines())) <= width


def test_columns_are_the_runs_and_what_was_printed(screen, story):
    found = re.findall(r"^loss \d +([\d.]+) +([\d.]+) +([\d.]+) +(\S+)", screen[1], re.MULTILINE)
    listing, ours, quoted, away = np.array(found, dtype=float).T
    np.testing.assert_allclose(listing, story.listing_as_printed.trace.loss[:-1], atol=5e-7)
    np.testing.assert_allclose(quoted, demo.PRINTED_LOSS, atol=5e-7)
    np.testing.assert_allclose(ours, quoted, rtol=5e-7)
    assert np.abs(away).max() < 4 * EPS32


def test_files_are_named_and_written(screen, story):
    folder, text = screen
    assert {path.name for path in folder.iterdir()} == FILES
    for name in FILES:
        assert name in text
    for name in ("demo-light.png", "demo-dark.png"):
        data = (folder / name).read_bytes()
        assert (data[:4], len(data) < 150_000) == (b"\x89PNG", True)
    assert "<math" in (folder / "derivation.html").read_text(encoding="utf-8")
    assert (folder / "tutorial.csv").read_bytes() == (EXAMPLES / "tutorial.csv").read_bytes()
    points = np.loadtxt(folder / "tutorial.csv", delimiter=",", skiprows=1, unpack=True)
    np.testing.assert_array_equal(points, list(story.data.values()))
    trace = np.genfromtxt(folder / "listing.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(trace["loss"], story.listing.trace.loss)
    np.testing.assert_array_equal(trace["a"], story.listing.trace.parameters[:, 0])


def test_picture_tells_both_runs(story):
    losses, ways, curve = demo.demo_figure(story).axes
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), story.listing.trace.loss)
    np.testing.assert_array_equal(losses.lines[1].get_ydata(), story.best.trace.loss[:11])
    assert losses.get_yscale() == "log"
    assert (ways.get_xlabel(), ways.get_ylabel(), curve.get_xlabel()) == ("a", "c", "x")
