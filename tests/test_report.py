"""Reports against golden text; SGDFIT_UPDATE_GOLDEN=1 rewrites the files, to be looked at."""

import io
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from example_results import EXAMPLES, converged, decay, diverged, hostile, step_limit
from sgdfit.report import as_html, as_latex, as_rich, as_text, facts, trace_as_html
from sgdfit.result.result import Estimate

GOLDEN = Path(__file__).parent / "golden"
WIDTHS = (40, 60, 80, 160)


def check_golden(name, text):
    path = GOLDEN / name
    if os.environ.get("SGDFIT_UPDATE_GOLDEN") == "1":
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


def rich_text(result, width, **options):
    # said outright, for variables such as FORCE_COLOR would decide otherwise
    options = {"force_terminal": False, **options}
    console = Console(width=width, file=io.StringIO(), **options)
    console.print(result)
    return console.file.getvalue()


class Page(HTMLParser):
    """Checks that tags close in order, and gathers text, tags and styles."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.styles, self.texts = [], set(), [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        self.styles += [value for name, value in attrs if name == "style"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def said_strings(result):
    said = facts(result)
    first = [*said.estimates, *said.summary, *said.advice]
    more = [((section.title,), *section.lines) for section in said.sections]
    short = [said.formula, said.headline, *said.header, *sum(first, ())]
    return short, [text for section in more for line in section for text in line]


def squeezed(text):
    """Drop white space and the frames of panels, which lines are broken at."""
    return re.sub(r"[\s│╭╮╰╯─]+", "", text)


@pytest.mark.parametrize("name", EXAMPLES)
def test_text_and_rich_report(name):
    result = EXAMPLES[name]()
    assert str(result) == result.report() == as_text(result)
    assert result.report(full=True).startswith(str(result))
    check_golden(f"{name}.txt", result.report(full=True))
    lines = rich_text(as_rich(result, full=True), 80).splitlines()
    assert [line.rstrip() for line in lines] == result.report(full=True).splitlines()


@pytest.mark.parametrize("width", [60, 160])
def test_text_report_at_other_widths(width):
    check_golden(f"decay_{width}.txt", decay().report(full=True, width=width))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("width", WIDTHS)
def test_reports_keep_to_their_width_and_hold_no_commands(name, width):
    result = EXAMPLES[name]()
    lines = result.report(full=True, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_rendering_says_every_fact_and_takes_the_pages_own_colours(name):
    result = EXAMPLES[name]()
    page = Page(result._repr_html_())
    short, more = said_strings(result)
    for text in (*short, *more):
        for rendering in (result.report(full=True, width=60), "".join(page.texts)):
            assert squeezed(text) in squeezed(rendering)
    for text in short:
        assert squeezed(text) in squeezed(rich_text(result, 80))
    assert page.tags <= {"div", "table", "tr", "th", "td", "code", "strong", "details", "summary"}
    for style in page.styles:
        assert not re.search(r"\b(black|white)\b(?!-space)", style)
        assert not re.search(r"((?<!-)color|background(-color)?):\s*(#|rgb)", style)


def test_texts_from_the_user_are_never_markup():
    html = as_html(hostile())
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in html
    assert "<b>" not in html
    for text in (hostile().report(width=160), rich_text(hostile(), 160)):
        assert '<script>alert("x")</script>\N{REPLACEMENT CHARACTER}[31m [red]data[/red]' in text
        assert "[bold]not bold[/bold] <b>nor here</b>" in text


@pytest.mark.parametrize(("make", "colour"), [(converged, 32), (step_limit, 33), (diverged, 31)])
def test_rich_colours_the_status_with_the_terminals_own_palette(make, colour):
    text = rich_text(make(), 80, force_terminal=True, color_system="truecolor")
    codes = {int(code) for run in re.findall(r"\x1b\[([\d;]+)m", text) for code in run.split(";")}
    assert colour in codes
    # reset, bold, red, green, yellow, cyan: no white, black or background
    assert codes <= {0, 1, 31, 32, 33, 36}


ABSOLUTE = {"absolute_sigma": True, "noise_variance": 1.0}
SIGMA = {"sigma": "s", "weights": "1/(s)**2"}
AT_BOUND = {"low": 0.0, "high": 10.0, "at_bound": True}
SIX = {
    "free": tuple("abcdef"),
    "estimates": {name: Estimate(name, 1.0) for name in "abcdef"},
    "correlation": [[1 - 0.01 * abs(i - j) for j in range(6)] for i in range(6)],
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"noise_variance": 9.0}, ["classical (residual variance ×", "(a row scatters by 3)"]),
        ({"weights": "w"}, ["scaled by the residuals (a row of weight 1 scatters by 2.71206)"]),
        ({"degrees_of_freedom": 1}, ["Student's t, 1 degree of freedom"]),
        ({"degrees_of_freedom": 18}, ["(20 rows − 3 free parameters, 1 of them on a bound or not"]),
        ({"degrees_of_freedom": 15, "weights": "w"}, ["free parameters − 2 rows of weight 0)"]),
        ({**ABSOLUTE, **SIGMA}, ["classical (variance of the rows ×", "from sigma s as", "normal"]),
        ({**ABSOLUTE, "weights": "1/s"}, ["absolute: from the weights 1/s as given", "normal"]),
        ({"covariance_method": "sandwich"}, ["sandwich (also right where", "Student's t, 17"]),
        (SIGMA, ["tutorial.csv, with standard deviations s"]),
        ({"data_label": "data in memory where x > 1"}, ["20 rows where x > 1"]),
        ({"weights": "1/s**2"}, ["tutorial.csv, weighted by 1/s**2"]),
        ({"distance": None}, ["the distance to the optimum is not known"]),
        ({"distance": float("nan")}, ["the distance to the optimum is not known"]),
        ({"distance": 0.4216}, ["200 steps in 13.5 ms, 0.42 standard errors from the optimum"]),
        (SIX, ["a and b 0.990", "and 9 more"]),
        ({"estimates": {"a": Estimate("a", 0.0, **AT_BOUND)}}, ["at its lower bound 0"]),
        ({"estimates": {"a": Estimate("a", 10.0, **AT_BOUND)}}, ["at its upper bound 10"]),
    ],
)
def test_what_a_result_holds_is_said(changes, said):
    short, more = said_strings(replace(converged(), **changes))
    told = "\n".join([*short, *more])
    for line in said:
        assert line in told
    assert ("absolute:" in told) == changes.get("absolute_sigma", False)
    assert not ("weighted by" in told and "sigma" in changes)


def test_a_long_name_does_not_break_the_width():
    name = "a_parameter_with_a_name_" * 6
    result = replace(converged(), estimates={name: Estimate(name, 1.0, 0.1, (0.8, 1.2))})
    assert max(map(len, as_text(result, 60).splitlines())) <= 60
    assert "95% interval: 0.80 … 1.20" in as_text(result, 60)


def test_trace_in_a_notebook_shows_both_ends():
    trace = converged().trace
    page = Page(trace._repr_html_())
    assert page.texts[0] == repr(trace)
    assert {"0", "4", "196", "200", "⋮", "41.7522"} <= set(page.texts)
    assert "⋮" not in trace_as_html(step_limit().trace)


def test_latex_holds_the_figures_of_the_report():
    estimates = {
        "k_on": Estimate("k_on", 2.0748e-12, 2.31e-14, (-np.inf, 2.2e-12)),
        "tau": Estimate("tau", 3e9, None, role="tied", tie="2*k_on^2 & <10%"),
    }
    table = as_latex(replace(step_limit(), estimates=estimates)).splitlines()
    assert table[0] == r"\begin{tabular}{lccc}"
    assert table[2] == r"parameter & estimate & 95\% interval & note \\"
    assert table[4] == (
        r"$k_{\mathrm{on}}$ & $(2.075 \pm 0.023) \times 10^{-12}$"
        r" & $(-\infty \ldots 2.200) \times 10^{-12}$ &  \\"
    )
    assert table[5] == (
        r"$\tau $ & $3 \times 10^{9}$ &  & tied: 2*k\_on\textasciicircum{}2 \& $<$10\% \\"
    )
