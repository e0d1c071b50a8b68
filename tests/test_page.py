"""The page of a derivation as a browser draws it: no script, no font, light and dark, any width."""

import shutil
import subprocess

import numpy as np
import pytest

import sgdfit

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
]  # fmt: skip
# What Chromium calls the colour scheme that a page may ask for.
SCHEMES = {"dark": "0", "light": "1"}


def luminance(page, width, scheme, folder):
    """Draw ``page`` and return how light each pixel is, from 0 to 1."""
    from matplotlib.image import imread

    picture = folder / "page.png"
    subprocess.run(
        [
            CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
            f"--window-size={width},2200", f"--screenshot={picture}", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return imread(picture)[..., :3].mean(axis=2)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no browser: Chromium draws the page")
@pytest.mark.parametrize("width", [500, 1200])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_derivation_is_drawn(width, scheme, tmp_path):
    x = np.linspace(-2, 2, 20)
    derivation = sgdfit.explain("y = a*x**2 + b*x + c", {"x": x, "y": 2 * x**2 + 1})
    page = tmp_path / "derivation.html"
    page.write_text(derivation.html(page=True), encoding="utf-8")
    light = luminance(page, width, scheme, tmp_path)

    ground = np.median(light)
    assert ground > 0.9 if scheme == "light" else ground < 0.2
    ink = np.abs(light - ground) > 0.4
    assert ink.mean() > 0.005, "hardly anything is drawn"
    # Drawn as mathematics a fraction is a bar: a run of ink in one row of pixels.
    bars = [row for row in ink if longest_run(row) >= 12]
    assert len(bars) >= 10
    assert not ink[:, -2:].any(), "something runs over the edge"


def longest_run(row):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))
