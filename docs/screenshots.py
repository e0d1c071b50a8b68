"""Pictures of the live view for README and the documentation: `make screenshots`.

It takes Chromium, and playwright, which is not among what the tests install.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
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


STATES = {"page": steps}


def main() -> None:
    """Serve the page, bring it into each state, and take its picture in light and dark."""
    command = [sys.executable, "-m", "sgdfit", "page", "--no-open"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    link = re.findall(r"http://\S+", server.stderr.readline())[0]
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=QUIET.split())
        for scheme in ("light", "dark"):
            for name, reach in STATES.items():
                view = {"width": 1280, "height": 760}
                context = browser.new_context(color_scheme=scheme, viewport=view)
                page = context.new_page()
                page.goto(link)
                page.wait_for_selector(".fact b")
                page.wait_for_timeout(1000)
                reach(page)
                page.screenshot(path=IMAGES / f"{name}-{scheme}.png")
                context.close()
        browser.close()
    server.terminate()
    server.wait()


if __name__ == "__main__":
    main()
