"""Pictures against golden ones; SGDFIT_UPDATE_GOLDEN=1 rewrites these, to be looked at.

They are without text and legends, which every version of matplotlib shapes a little differently,
and axes stand where they do without regard to text; what is written there has tests of its own.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.legend import Legend
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text
from PIL import Image

import sgdfit
from sgdfit import plot

GOLDEN = Path(__file__).parent / "golden_images"
# Without a line pictures are 2 to 7 away from the golden ones, without a band 0.8 to 4.
DPI, SMALLER, TOLERANCE = 90, 3, 0.6
X = np.linspace(0, 5, 40)
NOISE = np.sin(37 * np.arange(40.0) ** 1.3)
DATA = {"x": X, "y": 3 * np.exp(-X) + 1 + 0.1 * NOISE, "s": np.full(40, 0.1)}
DECAY = "y = a*exp(-k*x) + c"
SITES = {"site": np.repeat([*"ABCDEF"], 10), "x": np.tile(np.linspace(0, 5, 10), 6)}
SITES["y"] = np.repeat(np.arange(2.0, 8), 10) * np.exp(-0.7 * SITES["x"])
SITES["y"] += 0.2 * np.sin(29 * np.arange(60.0) ** 1.3)


@cache
def textbook():
    return sgdfit.fit(DECAY, DATA, optimizer="sgd", steps=120)


def dose():
    x = np.geomspace(1e-2, 1e3, 40)
    data = {"x": x, "y": 1 + 9 / (1 + (3 / x) ** 1.2) + 0.3 * NOISE}
    return sgdfit.fit("y = lo + (hi - lo)/(1 + (m/x)^n)", data)


def several():
    u, v = 3 * np.modf(np.arange(80.0) * 0.618)[0], 3 * np.modf(np.arange(80.0) * 0.755)[0]
    y = 2 * np.exp(-u) + 0.7 * v + 0.1 * np.sin(37 * np.arange(80.0) ** 1.3)
    return sgdfit.fit("y = a*exp(-k*u) + b*v", {"u": u, "v": v, "y": y})


def density():
    k = np.arange(20_000.0)
    x = 5 * np.modf(k * 0.618)[0]
    y = 3 * np.exp(-x) + 1 + 0.2 * np.sin(k**1.3) + 0.2 * np.cos(k**1.7)
    return sgdfit.fit(DECAY, {"x": x, "y": y})


def overview():
    at_once = replace(textbook(), seconds=0.001)  # the title tells how long it took
    return plot.figure(at_once, DATA)


KINDS = {
    "fit": lambda: sgdfit.fit(DECAY, DATA, sigma="s").plot(),
    "logarithmic": lambda: dose().plot(),
    "several": lambda: several().plot(),
    "density": lambda: density().plot(),
    "groups": lambda: sgdfit.fit("y = a[site]*exp(-k*x)", SITES).plot(groups=[*"ABF"]),
    "fits": lambda: sgdfit.fit_many("y = a*exp(-k*x)", SITES, by="site").plot(),
    "trace": lambda: textbook().plot_trace(),
    "parameters": lambda: textbook().plot_parameters(),
    "path": lambda: textbook().plot_path(("a", "k")),
    "pairs": lambda: sgdfit.fit(DECAY, {n: c[:14] for n, c in DATA.items()}).plot_pairs(),
    "overview": overview,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_plot_looks_as_it_did(kind, tmp_path):
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        drawn = KINDS[kind]()
        made = drawn if hasattr(drawn, "savefig") else np.ravel(drawn)[0].figure
        made.set_layout_engine("none")
        made.set_size_inches(np.round(made.get_size_inches()))  # of whole pixels
        made.canvas.draw()  # which makes the labels of ticks
        for part in made.findobj(lambda part: isinstance(part, Text | Legend)):
            part.set_visible(False)
        made.savefig(tmp_path / "large.png", dpi=DPI)
    with Image.open(tmp_path / "large.png") as large:
        small = large.convert("RGB").reduce(SMALLER)
    small.save(tmp_path / "small.png", optimize=True)
    golden = GOLDEN / f"{kind}.png"
    if os.environ.get("SGDFIT_UPDATE_GOLDEN") == "1":
        small.save(golden, optimize=True)
    told = compare_images(str(golden), str(tmp_path / "small.png"), TOLERANCE)
    assert told is None, told
