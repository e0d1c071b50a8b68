"""How Sphinx builds the site: `make docs`. Every block of code and every command on it is run."""

import atexit
import logging
import os
import shutil
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import sgdfit

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "_ext")]

from docutils import nodes  # noqa: E402
from logo import draw  # noqa: E402

project = "sgdfit"
author = "The sgdfit authors"
copyright = "The sgdfit authors"
version = release = sgdfit.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_design",
    "accessible",
    "commands",
    "mathml",
    "reference",
]
exclude_patterns = ["images", "speed.md"]
html_theme = "furo"
html_title = "sgdfit"
# The logo and the card for links are drawn anew.
DRAWN = Path(tempfile.mkdtemp(prefix="sgdfit-logo-"))
draw(DRAWN)
html_static_path = ["_static", str(DRAWN)]
html_favicon = str(DRAWN / "logo-light.svg")
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
# Where the site is published, if it is: what shows links wants the whole address of a picture.
html_baseurl = os.environ.get("SGDFIT_SITE", "")
html_copy_source = False
html_theme_options = {
    "light_logo": "logo-light.svg",
    "dark_logo": "logo-dark.svg",
    # No request leaves the machine of whoever reads.
    "light_css_variables": {"color-brand-primary": "#0b62a3", "color-brand-content": "#0b62a3"},
    "dark_css_variables": {"color-brand-primary": "#79b8ff", "color-brand-content": "#79b8ff"},
}
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# MathML, which browsers draw by themselves.
html_math_renderer = "mathml"
numpydoc_show_class_members = False
autodoc_typehints = "none"
nitpicky = False

# All pages run in one folder, which holds the data that they speak of and nothing else.
WORK = Path(tempfile.mkdtemp(prefix="sgdfit-docs-"))
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
shutil.copytree(HERE / "data", WORK, dirs_exist_ok=True)
shutil.copytree(HERE.parent / "examples", WORK / "examples")
startup = WORK / ".ipython" / "profile_default" / "startup"
startup.mkdir(parents=True)
(startup / "00-sgdfit.py").write_text(
    f"import os, sys; os.chdir({str(WORK)!r}); sys.path.append({str(HERE / '_ext')!r})\n"
    "from matplotlib_inline.backend_inline import set_matplotlib_formats\n"
    "set_matplotlib_formats('svg')\n"
)
# Its sockets are on this machine alone, and closed with the page.
(startup.parent / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 'ERROR'\n")
os.environ["IPYTHONDIR"] = str(WORK / ".ipython")
os.environ["COLUMNS"] = "80"
commands_folder = str(WORK)
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
# What a kernel says of its transport is of no use to a reader.
logging.getLogger("traitlets").setLevel(logging.ERROR)


def describe(
    app: Any, name: str, _: str, context: dict[str, Any], page: nodes.document | None
) -> None:
    """Say in the head of a page what it is of, with the card that is shown beside links to it."""
    if page is None:
        return
    first = next(page.findall(nodes.paragraph), nodes.paragraph()).astext().replace("\n", " ")
    about = first if len(first) < 200 else first[:200].rpartition(" ")[0] + " …"
    card = context["pathto"]("_static/card.png", 1)
    own = app.builder.get_target_uri(name)
    said = {
        "og:type": "website",
        "og:site_name": "sgdfit",
        "og:title": context["title"],
        "og:description": about,
        "og:image": urljoin(urljoin(html_baseurl, own), card) if html_baseurl else card,
        "og:image:width": "1280",
        "og:image:height": "640",
        "og:image:alt": "A descent down a parabola; beside it: Write a curve, point at data.",
    }
    if html_baseurl:
        said["og:url"] = urljoin(html_baseurl, own)
    lines = [f'<meta property="{key}" content="{escape(text)}" />' for key, text in said.items()]
    lines += ['<meta name="twitter:card" content="summary_large_image" />']
    lines += [f'<meta name="description" content="{escape(about)}" />']
    context["metatags"] += "\n".join(lines) + "\n"


def setup(app: Any) -> None:
    """Add what the heads of pages say."""
    app.connect("html-page-context", describe)
