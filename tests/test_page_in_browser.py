"""The live view as people use it, in Chromium: see, drag, step, run, diverge, load, take along."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[1] / "frontend/node_modules/axe-core/axe.min.js"
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)

playwright = pytest.importorskip("playwright.sync_api", reason="no browser: playwright drives it")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: Chromium shows the page"),
]


class Served:
    """`sgdfit page`, or a fit that is watched, in a process of its own."""

    def __init__(self, *arguments, port=0, command="page", out=None):
        usual = ["--no-open", "--port", str(port)] if command == "page" else []
        command = [sys.executable, "-m", "sgdfit", command, *usual, *arguments]
        self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
        self.link = re.search(r"http://\S+", self.process.stderr.readline())[0]
        self.port = int(re.search(r":(\d+)/", self.link)[1])

    def end(self, how=signal.SIGINT):
        self.process.send_signal(how)
        self.process.wait(timeout=60)
        self.process.stderr.close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield made
        made.close()


@pytest.fixture(scope="module")
def served():
    server = Served()
    yield server
    server.end()


@pytest.fixture
def page(browser, served):
    with opened(browser, served) as shown:
        yield shown


@contextlib.contextmanager
def opened(browser, served, **context):
    # Waiting for a condition takes an eval, which the page's policy forbids.
    usual = {"viewport": {"width": 1440, "height": 900}, "bypass_csp": True}
    made = browser.new_context(**{**usual, **context})
    page = made.new_page()
    trouble = []
    page.on("console", lambda said: trouble.append(said.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda asked: trouble.append(asked.url) if is_foreign(asked.url) else None)
    page.goto(served.link)
    page.wait_for_selector(".fact b")
    try:
        yield page
    finally:
        made.close()
    assert trouble == []


def is_foreign(url):
    return not re.match(r"(http|ws)://127\.0\.0\.1:|data:|blob:", url)


def fact(page, name):
    shown = page.locator(".fact", has_text=name).locator("b").inner_text()
    return float(shown.replace("−", "-").replace(",", ""))


def until(page, condition):
    page.wait_for_function(condition, timeout=60_000)


def loss_below(page, most):
    until(page, f"parseFloat(document.querySelectorAll('.fact b')[1].innerText) < {most}")


def test_the_first_sight(page):
    assert "Drag a, b, c" in page.locator(".invitation").inner_text()
    page.wait_for_selector(".echo math")
    assert fact(page, "step") == 0
    # Charts are drawn: some of their pixels are not the ground.
    drawn = page.evaluate(
        "[...document.querySelectorAll('.chart canvas')].map(c => new Set(c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data).size)"
    )
    assert min(drawn) > 5


def test_its_policy_does_not_hold_the_page_back(browser, served):
    with opened(browser, served, bypass_csp=False) as page:
        page.keyboard.press("s")
        page.locator(".fact b").first.filter(has_text="1").wait_for()
        assert page.locator(".chart canvas").count() == 4
        # Nor do styles of the report and the derivation, which are set by script.
        page.locator("button", has_text="Fit for me").click()
        page.wait_for_selector(".result [style]")
        page.locator("summary", has_text="Show the work").click()
        box = page.locator(".work .formulas").first
        box.wait_for()
        assert box.evaluate("e => getComputedStyle(e).borderLeftWidth") == "2px"


def test_the_page_is_there_soon(browser):
    psutil = pytest.importorskip("psutil")
    server = Served()
    try:
        with opened(browser, server):
            # Seconds of its own, of which a warm installation takes one.
            assert sum(psutil.Process(server.process.pid).cpu_times()[:2]) < 4
    finally:
        server.end()


def test_it_begins_where_the_command_says(browser):
    """The tutorial's descent without c, whose first loss is published as 23.30."""
    data = Path(__file__).parents[1] / "examples/tutorial.csv"
    x, y = np.loadtxt(data, delimiter=",", skiprows=1, unpack=True)
    columns = np.stack([x**2, x])
    slope = 2 * columns @ (np.array([4, 5]) @ columns + 4 - y) / len(x)
    second = np.mean((([4, 5] - 0.23 * slope) @ columns + 4 - y) ** 2)
    begin = ("--start", "a=4,b=5", "--learning-rate", "0.23")
    server = Served(str(data), "y - 4 = a*x**2 + b*x", *begin)
    try:
        with opened(browser, server) as page:
            assert fact(page, "loss") == pytest.approx(23.30, abs=0.005)
            page.keyboard.press("s")
            loss_below(page, 22)
            assert fact(page, "loss") == pytest.approx(second, abs=0.005)
    finally:
        server.end()


def test_dragging_a_slider_moves_the_curve_and_the_loss(page):
    before = fact(page, "loss")
    slider = page.get_by_label("a, slider")
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2, steps=10)
    page.mouse.up()
    until(page, f"document.querySelectorAll('.fact b')[1].innerText !== '{before:g}'")
    assert fact(page, "loss") < before


def test_the_curve_is_dragged_by_itself(page):
    box = page.locator(".chart.data .u-over").first.bounding_box()
    middle, foot = box["x"] + box["width"] / 2, box["y"] + box["height"]
    for y in range(round(box["y"]), round(foot), 5):
        page.mouse.move(middle, y)
        if page.locator(".handle:not([hidden])").count():
            break
    page.mouse.down()
    page.mouse.move(middle, foot - 20, steps=10)
    page.wait_for_selector(".pulled:has([aria-label='value of c'])")
    page.mouse.up()
    assert page.locator(".pulled").count() == 1
    until(page, "parseFloat(document.querySelector('[aria-label=\"value of c\"]').value) < 6")
    page.locator("button", has_text="Back").click()
    until(page, "document.querySelector('[aria-label=\"value of c\"]').value === '9'")


def test_the_keys_step_run_and_reset(page):
    begun = fact(page, "loss")
    page.keyboard.press("s")
    until(page, "document.querySelectorAll('.fact b')[0].innerText === '1'")
    assert fact(page, "loss") < begun
    page.keyboard.press(" ")
    loss_below(page, 6.2521)
    page.keyboard.press(" ")
    until(page, "!document.querySelector('button.on')")
    page.keyboard.press("r")
    until(page, "document.querySelectorAll('.fact b')[0].innerText === '0'")
    assert fact(page, "loss") == pytest.approx(begun)


def test_two_descents_go_side_by_side(page):
    page.get_by_label("compare with").select_option("batch:1")
    page.wait_for_selector(".beside canvas")
    page.keyboard.press("s")
    until(page, "document.querySelectorAll('.fact b')[0].innerText === '1'")
    one, other = page.locator(".side").all()
    assert one.bounding_box()["y"] == other.bounding_box()["y"]
    page.set_viewport_size({"width": 360, "height": 800})
    assert one.bounding_box()["y"] < other.bounding_box()["y"]
    page.get_by_label("compare with").select_option("nothing")
    page.wait_for_selector(".beside", state="hidden")


def test_keys_do_nothing_while_one_types(page):
    page.get_by_label("formula", exact=True).click()
    page.keyboard.type(" sr ")
    page.wait_for_timeout(300)
    assert fact(page, "step") == 0


def test_a_run_diverges_and_recovers_by_the_rate_that_is_offered(page):
    page.get_by_label("learning rate", exact=True).fill("0.4")
    page.keyboard.press("Enter")
    until(page, "/× the limit/.test(document.querySelector('.verdict').innerText)")
    page.locator("button", has_text="Run").click()
    until(page, "/Diverged/.test(document.querySelector('.verdict').innerText)")
    page.keyboard.press("Escape")
    page.locator("button", has_text="Reset").click()
    page.locator(".verdict button").click()
    page.locator("button", has_text="Run").click()
    loss_below(page, 6.253)


def test_fit_for_me_shows_the_report_and_the_work(page):
    page.locator("button", has_text="Fit for me").click()
    page.wait_for_selector(".result table")
    assert "2.07" in page.locator(".result").inner_text()
    page.locator("summary", has_text="Show the work").click()
    page.wait_for_selector(".work math")
    assert "chain rule" in page.locator(".work").inner_text()
    page.locator("button", has_text="Copy as TeX").click()
    page.locator("button", has_text=re.compile("Copied|no access")).wait_for()


def test_a_formula_with_a_slip_is_told_where(page):
    box = page.get_by_label("formula", exact=True)
    box.fill("y = a*exp(-b*x")
    box.press("Enter")
    page.wait_for_selector(".trouble:not([hidden])")
    assert "^" in page.locator(".trouble").inner_text()
    box.fill("y = a*exp(-b*x)")
    box.press("Enter")
    until(page, "document.querySelectorAll('.parameter').length === 2")
    assert page.locator(".trouble").is_hidden()


@pytest.mark.parametrize(
    ("text", "columns"),
    [("t;v\n0;1,5\n1;2,5\n2;3,6\n3;4,4\n", 2), ("", None), ("x,y\na,b\n", None)],
)
def test_files_are_taken_or_it_is_said_why_not(page, text, columns, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    page.locator("summary", has_text="use your own").click()
    page.get_by_label("file with data").set_input_files(path)
    if columns is None:
        page.wait_for_selector(".trouble:not([hidden])")
        assert fact(page, "step") == 0
    else:
        until(page, "document.querySelector('.formula').value === 'v = a*t + b'")


def test_a_run_is_taken_along_as_python(page, tmp_path):
    for _ in range(2):
        page.keyboard.press("s")
    until(page, "document.querySelectorAll('.fact b')[0].innerText === '2'")
    with page.expect_download() as waiting:
        page.locator("button", has_text="Python").click()
    text = Path(waiting.value.path()).read_text()
    assert text.count("sgdfit.fit(") == 1
    assert "steps=2" in text


def test_the_address_leads_to_the_same_view(browser, served):
    with opened(browser, served) as page:
        page.get_by_label("value of a").fill("1.25")
        page.keyboard.press("Enter")
        page.get_by_label("largest a of the slider").fill("7")
        page.keyboard.press("Enter")
        page.get_by_label("compare with").select_option("optimizer:adam")
        page.get_by_label("parameter of the contours, up").select_option("c")
        page.get_by_label("rows where").fill("x > -1")
        page.keyboard.press("Enter")
        said = ("p.a=1.25", "r.a=-2.3%2C7", "compare=optimizer%3Aadam", "over=a%2Cc", "where=x")
        until(page, f"{list(said)!r}.every(one => location.hash.includes(one))")
        fragment = page.evaluate("location.hash")
    with opened(browser, served) as page:
        page.get_by_label("batch size").fill("8")
        page.keyboard.press("Enter")
        until(page, "location.hash.includes('batch=8')")
        # In the same tab, and as a page that is loaded.
        page.evaluate(f"location.hash = {fragment!r}")
        for again in (lambda: None, page.reload):
            again()
            until(page, "document.querySelector('[aria-label^=\"largest a\"]')?.value === '7'")
            shown = [
                page.get_by_label(name).input_value()
                for name in ("value of a", "compare with", "up", "rows where", "batch size")
            ]
            assert shown == ["1.25", "optimizer:adam", "c", "x > -1", ""]
            page.wait_for_timeout(600)
            assert page.evaluate("location.hash") == fragment


def test_the_momentum_is_chosen_and_stands_in_the_address(page):
    box = page.get_by_label("momentum", exact=True)
    box.fill("0.5")
    box.press("Enter")
    until(page, "/with momentum 0.5/.test(document.querySelector('.verdict').innerText)")
    assert page.get_by_label("optimizer", exact=True).input_value() == "sgd(momentum=0.5)"
    until(page, "decodeURIComponent(location.hash).includes('optimizer=sgd(momentum=0.5)')")
    page.get_by_label("optimizer", exact=True).select_option("adam")
    box.wait_for(state="hidden")


def test_two_tabs_are_two_fits(browser, served):
    with opened(browser, served) as first, opened(browser, served) as second:
        first.keyboard.press("s")
        until(first, "document.querySelectorAll('.fact b')[0].innerText === '1'")
        assert fact(second, "step") == 0


def test_the_view_comes_back_with_its_server(browser):
    server = Served()
    made = browser.new_context(bypass_csp=True)
    page = made.new_page()
    page.goto(server.link)
    page.wait_for_selector(".fact b")
    server.end(signal.SIGKILL)
    page.locator(".lost", has_text="does not answer").wait_for()
    again = Served(port=server.port)
    # Another knows another token; the old tab is told, and goes on with the new one's cookie.
    page.locator(".lost", has_text="open the link that it printed").wait_for()
    other = made.new_page()
    other.goto(again.link)
    other.wait_for_selector(".fact b")
    page.locator(".lost").wait_for(state="hidden")
    made.close()
    again.end()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440, 1920])
def test_nothing_sticks_out_and_axe_finds_nothing(browser, served, width, scheme):
    view = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with opened(browser, served, **view) as page:
        looked_through(page, width)
        if (width, scheme) not in ((360, "light"), (1440, "dark")):
            return
        page.get_by_label("compare with").select_option("batch:1")
        page.wait_for_selector(".beside canvas")
        looked_through(page, width)
        page.get_by_label("sample data").select_option("sites")
        until(page, "document.querySelectorAll('.parameter').length === 5")
        page.locator("button", has_text="Fit for me").click()
        page.wait_for_selector(".result table")
        page.locator("summary", has_text="Show the work").click()
        page.wait_for_selector(".work math")
        looked_through(page, width)


def looked_through(page, width):
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes[0].html]))")
    assert found == []


def test_a_hundred_thousand_rows_move_smoothly(page):
    page.get_by_label("sample data").select_option("many")
    until(page, "/100,000 rows/.test(document.body.innerText)")
    page.locator("button", has_text="Run").click()
    until(page, "parseFloat(document.querySelector('.fact b').innerText) > 1")
    page.evaluate(
        "window.frames_seen = 0; new MutationObserver(() => window.frames_seen++).observe("
        "document.querySelector('.facts'), {childList: true})"
    )
    until(page, "window.frames_seen > 30")  # a second, on a machine that does nothing else
    page.locator("button", has_text="Pause").click()


def test_an_interrupted_server_ends(served):
    server = Served()
    server.end()
    assert server.process.returncode in (0, 130)
    assert not os.path.exists(f"/proc/{server.process.pid}")


def test_a_run_is_watched_until_it_ends(browser, tmp_path):
    data = tmp_path / "d.csv"
    data.write_text("x,y\n" + "".join(f"{x},{3 * x + 1 + x % 3}\n" for x in range(300)))
    options = ["--optimizer", "adam", "--steps", "100000000", "--watch"]
    run = Served(str(data), "y = a*x + b", *options, command="fit", out=subprocess.PIPE)
    with opened(browser, run) as page:
        until(page, "parseFloat(document.querySelector('.fact b').innerText) > 0")
        assert "Nothing here steers it" in page.locator(".invitation").inner_text()
        assert page.locator("button:visible").all_inner_texts() == ["Picture (PNG)"]
        page.keyboard.press("r")
        run.process.send_signal(signal.SIGINT)
        page.locator(".result").filter(has_text="interrupted").wait_for()
        assert page.locator(".lost").is_hidden()
    assert "interrupted" in run.process.communicate(timeout=60)[0]
    assert run.process.returncode == 130
