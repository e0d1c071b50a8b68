"""The live view as a widget, in a real JupyterLab."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NOTEBOOK = {
    "nbformat": 4, "nbformat_minor": 5,
    "metadata": {"kernelspec": {"display_name": "Python 3", "name": "python3"}},
    "cells": [{
        "cell_type": "code", "id": "view", "metadata": {}, "execution_count": None, "outputs": [],
        "source": "import sgdfit\nview = sgdfit.explore()\nview",
    }],
}  # fmt: skip

playwright = pytest.importorskip("playwright.sync_api", reason="no browser: playwright drives it")
pytest.importorskip("jupyterlab", reason="no browser test of the widget: JupyterLab is missing")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: Chromium shows the notebook"),
]


@pytest.fixture
def lab(tmp_path):
    (tmp_path / "t.ipynb").write_text(json.dumps(NOTEBOOK))
    command = [
        sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "--ip=127.0.0.1",
        "--port=0", "--ServerApp.token=known",
    ]  # fmt: skip
    places = {name: str(tmp_path) for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    with subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, **places}, stderr=subprocess.PIPE, text=True
    ) as server:
        begun = time.monotonic()
        address = None
        for line in server.stderr:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                address = found[0]
                break
            assert time.monotonic() - begun < 60
        yield f"{address}/lab/tree/t.ipynb?token=known"
        server.terminate()


def test_the_widget_steps(lab):
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=quiet)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        trouble = []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.goto(lab)
        page.wait_for_selector(".jp-Notebook .jp-Cell .cm-content", timeout=60_000)
        page.wait_for_timeout(2_000)
        page.click(".jp-Notebook .jp-Cell .cm-content")
        page.keyboard.press("Shift+Enter")
        step = page.locator(".sgdfit-view .fact b").first
        step.wait_for(timeout=90_000)
        assert step.inner_text() == "0"
        page.locator(".sgdfit-view button", has_text="Step").first.click()
        page.locator(".sgdfit-view .fact b").first.filter(has_text="1").wait_for()
        assert page.locator(".sgdfit-view .chart canvas").count() == 4
        browser.close()
        assert trouble == []
