"""The demo's screen and files: every figure against another way of getting it."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from sgdfit import demo
from sgdfit.errors import UsageError

LINES = {100: 45, 80: 60}
FILES = {
    "tutorial.csv",
    "listing.csv",
    "best.csv",
    "derivation.html",
    "demo-light.png",
    "demo-dark.png",
}
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


def test_screen_holds_the_story(screen):
    text = " ".join(screen[1].split())
    for figure in SAID:
        assert figure in text


def test_screen_is_one_screen(screen, tmp_path):
    for width, lines in LINES.items():
        text = screen[1] if width == 100 else told(tmp_path, width)
        assert len(text.splitlines()) <= lines
        assert max(map(len, text.splitlines())) <= width


def test_columns_are_the_runs_and_what_was_printed(screen):
    found = re.findall(r"^loss \d +([\d.]+) +([\d.]+) +([\d.]+) +(\S+)", screen[1], re.MULTILINE)
    listing, ours, quoted, away = np.array(found, dtype=float).T
    x, y = demo.points().values()
    design = np.stack([x**2, x, np.ones_like(x)], axis=1).astype(float)
    theta = np.array([4.0, 5.0, 7.0])
    for loss in listing:
        residual = design @ theta - y
        assert loss == pytest.approx(np.mean(residual**2), rel=1e-6)
        theta = theta - 0.23 * 2 / 20 * design.T @ residual
    np.testing.assert_allclose(quoted, demo.PRINTED_LOSS, atol=5e-7)
    np.testing.assert_allclose(ours, quoted, rtol=5e-7)
    assert np.abs(away).max() < 4 * 2.0**-23


def test_files_are_named_and_written(screen):
    folder, text = screen
    assert {path.name for path in folder.iterdir()} == FILES
    for name in FILES:
        assert name in text
    for name in ("demo-light.png", "demo-dark.png"):
        data = (folder / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) < 150_000
    assert "<math" in (folder / "derivation.html").read_text(encoding="utf-8")


def test_trace_file_reads_back_exactly(screen, story):
    made = np.genfromtxt(screen[0] / "listing.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(made["loss"], story.listing.trace.loss)
    np.testing.assert_array_equal(made["a"], story.listing.trace.parameters[:, 0])
    assert len(made) == demo.STEPS + 1


def test_story_ends_where_numpy_does(story):
    found = list(story.best.values.values())
    x, y = story.data.values()
    solution = np.linalg.lstsq(np.stack([x**2, x, np.ones_like(x)], axis=1), y)[0]
    np.testing.assert_allclose(found, solution, rtol=1e-8)


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match=r"cannot write to the folder '.*taken'"):
        demo.run(tmp_path / "taken", Console(file=io.StringIO()))


def test_picture_tells_both_runs(story, tmp_path):
    losses, ways, curve = demo.figure(story).axes
    drawn = [line.get_ydata() for line in losses.lines[:2]]
    np.testing.assert_array_equal(drawn[0], story.listing.trace.loss)
    np.testing.assert_array_equal(drawn[1], story.best.trace.loss[:11])
    assert losses.get_yscale() == "log"
    assert (ways.get_xlabel(), ways.get_ylabel()) == ("a", "c")
    assert curve.get_xlabel() == "x"
    demo.picture(tmp_path / "story.svg", "dark", story)
    assert "<svg" in (tmp_path / "story.svg").read_text(encoding="utf-8")
