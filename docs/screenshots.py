"""Pictures of the live view for README and the documentation: `make screenshots`.

It takes Chromium, and playwright, which is not among what the tests install. With a folder it
makes pictures of all states at all widths, to be looked at.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)


def steps(page: Page) -> None:
    """Take four steps at a rate that oscillates."""
    for _ in range(4):
        page.keyboard.press("s")
        page.wait_for_timeout(250)


def compare(page: Page) -> None:
    """Take steps on all rows and, beside them, on single ones."""
    page.get_by_label("compare with").select_option("batch:1")
    page.wait_for_timeout(500)
    for _ in range(2):
        steps(page)


def levels(page: Page) -> None:
    """Fit a parameter with a value for each level of a column."""
    page.get_by_label("sample data").select_option("sites")
    page.wait_for_timeout(1500)
    page.locator("button", has_text="Fit for me").click()
    page.wait_for_selector(".result table")
    page.locator(".result").locator("..").locator("> summary").click()
    page.wait_for_timeout(500)
    page.evaluate("scrollTo(0, 0)")


def density(page: Page) -> None:
    """Take steps on 100,000 rows."""
    page.get_by_label("sample data").select_option("many")
    page.wait_for_timeout(3000)
    page.locator("button", has_text="Run").click()
    page.wait_for_timeout(3000)
    page.locator("button", has_text="Pause").click()


def drag(page: Page) -> None:
    """Drag the top of a peak by the curve."""
    page.get_by_label("sample data").select_option("peak")
    page.wait_for_timeout(2500)
    box = page.locator(".chart.data .u-over").first.bounding_box()
    assert box is not None
    for y in range(round(box["y"]), round(box["y"] + box["height"]), 4):
        page.mouse.move(box["x"] + 0.4 * box["width"], y)
        if page.locator(".handle:not([hidden])").count():
            break
    page.mouse.down()
    page.mouse.move(box["x"] + 0.58 * box["width"], box["y"] + 0.25 * box["height"], steps=30)


def diverge(page: Page) -> None:
    """Run at a rate beyond the limit."""
    page.get_by_label("learning rate", exact=True).fill("0.4")
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    page.locator("button", has_text="Run").click()


def fail(page: Page) -> None:
    """Ask for a formula with a slip."""
    page.get_by_label("formula", exact=True).fill("y = a*exp(-b*x")
    page.keyboard.press("Enter")


def begin(_: Page) -> None:
    """Show the first sight."""


KEPT = {"page": steps, "page-compare": compare}
STATES = {**KEPT, "levels": levels, "density": density, "drag": drag, "diverge": diverge}
STATES |= {"begin": begin, "fail": fail}


def main(folder: Path, states: dict[str, Callable[[Page], None]], widths: Sequence[int]) -> None:
    """Serve the page, bring it into each state, and take its picture in light and dark."""
    command = [sys.executable, "-m", "sgdfit", "page", "--no-open"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    link = re.findall(r"http://\S+", server.stderr.readline())[0]
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=QUIET.split())
        for (name, reach), scheme, width in product(states.items(), ("light", "dark"), widths):
            view = {"width": width, "height": 900}
            context = browser.new_context(color_scheme=scheme, viewport=view)
            page = context.new_page()
            page.goto(link)
            page.wait_for_selector(".fact b")
            page.wait_for_timeout(1000)
            reach(page)
            page.wait_for_timeout(2500)
            of = f"{name}-{scheme}" + (f"-{width}" if len(widths) > 1 else "")
            page.screenshot(path=folder / f"{of}.png", full_page=len(widths) > 1)
            context.close()
        browser.close()
    server.terminate()
    server.wait()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        # To be looked at: all states at all widths.
        main(Path(sys.argv[1]), STATES, (360, 768, 1440, 1920))
    else:
        main(IMAGES, KEPT, (1280,))
