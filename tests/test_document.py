"""Reports to share: one file, whole in itself, that says what the report says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import sgdfit
from sgdfit.cli.app import main
from sgdfit.document import reproduce
from sgdfit.errors import UsageError

X = np.linspace(0, 5, 30)
DATA = {"x": X, "y": 3 * np.exp(-X) + 1 + 0.1 * np.sin(17 * X)}
DECAY = "y = a*exp(-k*x) + c"


def curve(x, a, k):
    return a * np.interp(k * x, [0, 20], [1, 0])


class Checked(HTMLParser):
    """What a page shows, and what it asks for."""

    VOID = ("meta", "br", "link", "path", "use")

    def __init__(self, text):
        super().__init__()
        self.open, self.asked, self.texts, self.tags = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.asked += [v for name, v in attrs if name in ("src", "href", "xlink:href") and v]

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.asked += [v for name, v in attrs if name in ("src", "href", "xlink:href") and v]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_a_page_stands_alone_and_says_what_the_report_says(tmp_path):
    fit = sgdfit.fit(DECAY, DATA)
    fit.report(tmp_path / "fit.html", derive=["half_life = log(2)/k"])
    page = Checked((tmp_path / "fit.html").read_text("utf-8"))
    assert page.open == []
    assert {"math", "svg", "table", "details"} <= page.tags
    assert "script" not in page.tags
    # Nothing but parts of its own drawings.
    assert all(place.startswith("#") for place in page.asked)
    shown = " ".join(" ".join(page.texts).split())
    for line in str(fit).splitlines()[2:]:
        for piece in re.split(r"\s{2,}", line.strip()):
            assert piece in shown
    assert "half_life" in shown
    assert "The chain rule" in shown


def test_markup_in_names_is_shown_not_obeyed(tmp_path):
    data = {"<b>x</b>": X, "y": DATA["y"]}
    fit = sgdfit.fit("y = a + b*{<b>x</b>}", data)
    fit.report(tmp_path / "fit.html")
    assert "<b>" not in (tmp_path / "fit.html").read_text("utf-8")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start": "a=2, k=0.5, c=0"},
        {"bounds": "k < 2", "fixed": "c=1"},
        {"tied": "c = a/3"},
        {"loss": "huber(delta=2)"},
        {"sigma": "s", "absolute_sigma": True, "level": 0.9},
        {"weights": "1/s"},
        {"optimizer": "adam", "steps": 200, "seed": 5},
        {"optimizer": "sgd", "steps": 50, "batch_size": 6, "seed": 2},
        {"optimizer": "sgd", "learning_rate": sgdfit.schedules.cosine(0.1, 60), "steps": 60},
        {"where": "x > 1"},
        {"covariance": "sandwich"},
        {"intervals": "bootstrap", "bootstrap": 200},
        {"sigma": np.linspace(0.05, 0.2, len(X))},
        {"weights": np.linspace(1, 2, len(X))},
        {"formula": "y = c", "constant": True},
        {"formula": "y = a*day + c", "time_unit": "h"},
        {"formula": "y = curve(x, a, k)", "function": True, "start": {"a": 2, "k": 1}},
    ],
    ids=lambda options: " ".join(options) or "nothing",
)
def test_the_lines_that_repeat_a_fit_do(options):
    day = np.datetime64("2024-01-01") + np.arange(len(X))
    data = DATA | {"s": np.linspace(0.05, 0.2, len(X)), "day": day}
    options = dict(options)
    formula = options.pop("formula", DECAY)
    if options.pop("function", False):
        formula, options["response"] = curve, "y"
    fit = sgdfit.fit(formula, data, **options)
    space = {"data": data, "sigma": options.get("sigma"), "weights": options.get("weights")}
    sys.modules.setdefault("test_document", sys.modules[__name__])
    exec(reproduce(fit), space)
    again = space["fit"]
    assert again.values == pytest.approx(fit.values, rel=1e-9)
    assert (again.status.name, again.rows) == (fit.status.name, fit.rows)
    for name in fit.free:
        told = fit[name].stderr
        assert again[name].stderr == (told and pytest.approx(told, rel=1e-6))
        interval = fit[name].interval
        assert again[name].interval == (interval and pytest.approx(interval, rel=1e-5))


def test_the_lines_read_the_file_as_it_was_read(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("t;y\n1;2,5\n2;4,5\n3;6,4\n")
    fit = sgdfit.fit("y = a*x + b", sgdfit.open_table(path, rename={"x": "t"}, decimal=","))
    space = {}
    exec(reproduce(fit), space)
    assert space["fit"].values == pytest.approx(fit.values)


def test_of_indexed_parameters_the_formula_is_typeset_and_derived(tmp_path):
    data = {"x": np.tile(X, 2), "site": np.repeat(["A", "B"], len(X)), "y": np.tile(DATA["y"], 2)}
    fit = sgdfit.fit("y = a[site]*exp(-k*x) + c", data)
    for ending in ("html", "tex"):
        fit.report(tmp_path / f"fit.{ending}")
    page = Checked((tmp_path / "fit.html").read_text("utf-8"))
    assert "The chain rule" in " ".join(page.texts)
    assert "a_{\\mathrm{site},i}\\,e^{-k\\,x_{i}}" in (tmp_path / "fit.tex").read_text("utf-8")


def test_markdown_and_latex_hold_the_table(tmp_path):
    fit = sgdfit.fit(DECAY.replace(" + ", "\n+ "), DATA)  # a formula of two lines
    for ending in ("md", "tex"):
        fit.report(tmp_path / f"fit.{ending}")
    words = (tmp_path / "fit.md").read_text("utf-8")
    assert f"| a | {str(fit['a']).partition(' = ')[2]} |" in words
    assert "```python" in words
    latex = (tmp_path / "fit.tex").read_text("utf-8")
    assert latex.count("\\begin{") == latex.count("\\end{") == 2
    assert fit.to_latex() in latex
    assert not re.search(r"^[^%].*fitted by", latex, re.M)
    assert "\n% converged: " in latex


@pytest.mark.parametrize("name", ["fit.doc", "missing/fit.html"])
def test_what_cannot_be_written_is_said(tmp_path, name):
    with pytest.raises(UsageError, match="cannot write"):
        sgdfit.fit(DECAY, DATA).report(tmp_path / name)


def test_a_report_never_takes_the_place_of_the_data(tmp_path):
    path, link = tmp_path / "data.csv", tmp_path / "fit.html"
    link.symlink_to(path)
    rows = [f"{x},{y}" for x, y in zip(DATA["x"], DATA["y"], strict=True)]
    path.write_text("\n".join(["x,y", *rows]))
    before = path.read_text()
    fit = sgdfit.fit(DECAY, path)
    with pytest.raises(UsageError, match="also a file that is read"):
        fit.report(link)
    assert path.read_text() == before


def test_the_command_line_writes_its_command_into_the_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"{x},{y}" for x, y in zip(DATA["x"], DATA["y"], strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["x,y", *rows]))
    monkeypatch.setattr(sys, "argv", ["sgdfit", "fit", "data.csv", DECAY, "--report", "fit.html"])
    assert main() == 0
    assert "the report is in fit.html" in capsys.readouterr().err
    page = (tmp_path / "fit.html").read_text("utf-8")
    assert "sgdfit fit data.csv &#x27;y = a*exp(-k*x) + c&#x27; --report fit.html" in page
    assert "SHA-256" in page


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser: Chromium prints it")
def test_it_prints_on_a4(tmp_path):
    sgdfit.fit(DECAY, DATA, optimizer="sgd", steps=100).report(tmp_path / "fit.html")
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
        "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
        f"--print-to-pdf={tmp_path / 'fit.pdf'}", f"file://{tmp_path / 'fit.html'}",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    content = (tmp_path / "fit.pdf").read_bytes()
    sizes = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)", content)
    # In points: 210 by 297 mm.
    assert 2 <= len(sizes) <= 6
    assert all(abs(float(w) - 595) < 2 and abs(float(h) - 842) < 2 for w, h in sizes)
