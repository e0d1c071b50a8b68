"""What axe-core asks of pages and the theme leaves out."""

from pathlib import Path

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


def complete(app: Sphinx, error: Exception | None) -> None:
    """Put into the pages that were written what is missing."""
    for page in Path(app.outdir).rglob("*.html") if error is None else ():
        text = page.read_text("utf-8")
        for old, new in REPLACED.items():
            text = text.replace(old, new)
        page.write_text(text, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what is done at the end."""
    app.connect("build-finished", complete)
    return {"parallel_read_safe": True}
