"""What axe-core asks of pages and the theme leaves out, and moving pictures that stand still."""

import re
from pathlib import Path

from PIL import Image
from sphinx.application import Sphinx

REPLACED = {
    "<pre>": '<pre tabindex="0">',
    "<th></th>": "<td></td>",
    'alt="Light Logo"': 'alt=""',  # the name of the project stands beside it
    'alt="Dark Logo"': 'alt=""',
    '<th class="head"><p></p></th>': '<td class="head"></td>',
    '</noscript>\n\n<div id="search-': '</noscript>\n<h1>Search</h1>\n<div id="search-',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Site">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="Page">',
    '<aside class="toc-drawer no-toc">': '<aside class="toc-drawer no-toc" aria-label="Page">',
}

# Whoever asks for less motion sees the last frame; a button of site.js plays the picture.
MOVING = re.compile(r'<img ([^>]*)src="([^"]+)\.gif"[^>]*>')
STILL = (
    r'<picture class="moving"><source media="(prefers-reduced-motion: reduce)" srcset="\2.png" />'
    r"\g<0></picture>"
)


def complete(app: Sphinx, error: Exception | None) -> None:
    """Put into the pages that were written what is missing."""
    for page in Path(app.outdir).rglob("*.html") if error is None else ():
        text = page.read_text("utf-8")
        for old, new in REPLACED.items():
            text = text.replace(old, new)
        text = MOVING.sub(STILL, text)
        page.write_text(text, "utf-8")
    for path in Path(app.outdir, "_images").glob("*.gif") if error is None else ():
        with Image.open(path) as picture:
            picture.seek(getattr(picture, "n_frames", 1) - 1)
            picture.save(path.with_suffix(".png"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what is done at the end."""
    app.connect("build-finished", complete)
    return {"parallel_read_safe": True}
