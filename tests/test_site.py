"""The site that `make docs` has built: its links, what it asks the network for, and axe-core."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SITE = ROOT / "site"
AXE = ROOT / "frontend/node_modules/axe-core/axe.min.js"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# What fetches when a page is opened; a link (`a`) fetches when it is followed.
FETCHED = {"script", "link", "img", "source", "iframe", "video", "audio", "object", "embed"}

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(not PAGES, reason="no site: make docs builds it"),
]


class Read(HTMLParser):
    """The anchors of a page, and its links as (tag, address)."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links = {"", "top"}, []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        found = [given.get(name) for name in ("href", "src", "data", "poster")]
        found += [
            part.split()[0] for part in (given.get("srcset") or "").split(",") if part.strip()
        ]
        self.links += [(tag, address) for address in found if address]


@pytest.fixture(scope="module")
def read():
    return {name: Read(SITE / name) for name in PAGES}


def test_every_link_within_the_site_leads_somewhere(read):
    broken = []
    for name, page in read.items():
        for _, address in page.links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (SITE / name).parent / unquote(parts.path) if parts.path else SITE / name
            there = target.resolve()
            known = read.get(there.relative_to(SITE.resolve()).as_posix())
            if not there.is_file() or (
                known is not None and unquote(parts.fragment) not in known.anchors
            ):
                broken.append(f"{name}: {address}")
    assert len(read) > 10
    assert broken == []


def test_no_page_asks_the_network_for_anything(read):
    foreign = [
        f"{name}: {address}"
        for name, page in read.items()
        for tag, address in page.links
        if tag in FETCHED
        and (urlsplit(address).netloc or urlsplit(address).scheme not in ("", "data"))
    ]
    for path in SITE.rglob("*.css"):
        text = path.read_text("utf-8")
        foreign += [
            f"{path}: {u}"
            for u in re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")]+)", text)
        ]
    assert foreign == []


def test_pictures_are_told_in_words_and_come_to_rest(read):
    """WCAG 2.2, 1.1.1 and 2.2.2: what moves by itself ends within five seconds."""
    untold = [n for n in PAGES if re.search(r'alt="[^"]*_images/', (SITE / n).read_text("utf-8"))]
    assert untold == []
    shown = {SITE / name for page in read.values() for _, name in page.links if ".gif" in name}
    assert shown
    for path in shown:
        with Image.open(path) as picture:
            frames = range(picture.n_frames)
            took = [picture.seek(frame) or picture.info["duration"] for frame in frames]
            assert sum(took) <= 5000
            assert "loop" not in picture.info
        assert path.with_suffix(".png").is_file()


def is_foreign(address):
    return urlsplit(address).scheme not in ("file", "data", "blob", "")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no browser: playwright drives it"
    )
    if CHROMIUM is None:
        pytest.skip("no browser: Chromium shows the page")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.mark.browser
def test_code_is_copied_without_its_prompts_and_pictures_play_again(browser):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    shown = context.new_page()
    shown.goto((SITE / "tutorial.html").as_uri())
    shown.locator(".highlight-console button.copy").first.click(force=True)
    copied = shown.evaluate("navigator.clipboard.readText()")
    assert copied == "sgdfit page --start a=4,b=5,c=7 --learning-rate 0.1"
    before = shown.locator("picture.moving img").first.get_attribute("src")
    shown.locator("button.play").first.click()
    assert shown.locator("picture.moving img").first.get_attribute("src") != before
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_nothing_and_nothing_sticks_out(browser, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    shown, found = context.new_page(), []
    shown.on("request", lambda asked: found.append(asked.url) if is_foreign(asked.url) else None)
    shown.on("pageerror", lambda error: found.append(str(error)))
    for name in PAGES:
        shown.goto((SITE / name).as_uri())
        wide = shown.evaluate("document.documentElement.scrollWidth")
        found += [f"{name} is {wide} wide"] if wide > width else []
        shown.add_script_tag(path=AXE)
        for rule, node in shown.evaluate(
            "axe.run().then(r => r.violations.map(v => [v.id, v.nodes[0].html]))"
        ):
            found.append(f"{name}: {rule}: {node[:200]}")
    context.close()
    assert found == []
