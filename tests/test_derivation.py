"""The derivation: golden texts, well-formed LaTeX and MathML, names that nothing can break.

SGDFIT_UPDATE_GOLDEN=1 rewrites the golden files, to be looked at.
"""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import sgdfit
from sgdfit.derivation.derivation import Paper, derive
from sgdfit.derivation.notation import columns
from sgdfit.derivation.simplification import operations, tidy
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.reading import as_formula
from sgdfit.model.loss import LOSSES, as_loss
from sgdfit.model.model import build

GOLDEN = Path(__file__).parent / "golden"
NASTY = "<script>alert('x')</script> & 50% {of} $it$ \\ ^~#_\"\x1b[31m"
BUMPS = (
    "y = (a1*exp(-(x-m1)^2/(2*s1^2)) + a2*exp(-(x-m2)^2/(2*s2^2)) + a3*logistic((x-m3)/s3))"
    "/(1+abs(p)*x^q*sin(x*p+r))^1.7 + log(1+exp(p*x))"
)
MODELS = {
    "quadratic": lambda: build("y = a*x**2 + b*x + c", ["x", "y"]),
    "decay": lambda: build("y = a*exp(-t/tau) + d", ["t", "y"], loss="huber"),
    "where": lambda: build(
        "y = where(x > x0, a*(x - x0), c*abs(b)) + d*x", ["x", "y"], tied="d = 2*a", fixed="c=3"
    ),
    "clashes": lambda: build(
        "log(mass) = N*i + L*log(w*dose_mg) + theta*logistic(eta*x_1) + k**1.5 + sigma",
        ["mass", "dose_mg", "x_1"],
        loss="quantile(q=0.9)",
    ),
    "bumps": lambda: build(BUMPS, ["x", "y"], loss="cauchy(scale=0.3)"),
    "nasty": lambda: build(
        f"`z{NASTY}` = a*`u{NASTY}` + b*maximum(`u{NASTY}`, c)", [f"z{NASTY}", f"u{NASTY}"]
    ),
    "conditions": lambda: build(
        "y = a*where(x > 1 and not (x < b or x == 3), x, 2) + floor(x)*ceil(c*x) + 1e-9*d",
        ["x", "y"],
        loss="log_cosh",
    ),
}
EVERY = pytest.mark.parametrize("name", MODELS)


@functools.cache
def derived(name):
    return derive(MODELS[name](), weighted=True)


def check_golden(name, drawn):
    path = GOLDEN / f"derivation_{name}"
    if os.environ.get("SGDFIT_UPDATE_GOLDEN") == "1":
        path.write_text(drawn.rstrip("\n") + "\n", encoding="utf-8")
    assert drawn.rstrip("\n") + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["quadratic", "decay", "where", "clashes", "bumps"])
def test_the_text_is_the_golden_one(name):
    check_golden(f"{name}.txt", derive(MODELS[name](), weighted=name == "clashes").text())


def test_latex_and_html_are_the_golden_ones():
    derivation = derive(MODELS["decay"]())
    check_golden("decay.tex", derivation.latex())
    check_golden("decay.html", derivation.html(page=True))


def test_wide_letters_take_two_columns():
    assert columns("ŷᵢ = 質量") == 9


@EVERY
def test_no_line_is_wider_than_the_terminal(name):
    for width in (40, 80, 120):
        lines = derived(name).text(width).splitlines()
        assert max(map(columns, lines)) <= width
        assert lines == [line.rstrip() for line in lines]


ARITY = {"mfrac": 2, "msup": 2, "msub": 2, "msubsup": 3, "munderover": 3, "mover": 2, "mroot": 2}


@EVERY
def test_html_is_well_formed_and_names_nothing_elsewhere(name):
    page = derived(name).html(page=True)
    tree = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    tags = {element.tag for element in tree.iter()}
    # latex2mathml takes `\\text{<b>}` for a tag; what escapes is our LaTeX, so it is held here.
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "a", "b"})
    assert {"math", "munderover", "mfrac", "msub"} <= tags
    for element in tree.iter():
        assert len(element) == ARITY.get(element.tag, len(element)), element.tag
    assert not re.search(r"\b(src|href|url|@import|on\w+=)", re.sub(r">[^<]*<", "><", page))


@EVERY
def test_latex_is_balanced(name):
    text = derived(name).latex()
    bare = re.sub(r"\\[{}\\]", "", text)
    depth = np.cumsum([(c == "{") - (c == "}") for c in bare])
    assert depth.min() == 0
    assert depth[-1] == 0
    assert len(re.findall(r"\\left\b", text)) == len(re.findall(r"\\right\b", text))
    begun, ended = (re.findall(rf"\\{word}{{(\w+\*?)}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)
    assert begun.count("align*") == 6
    assert not re.search(r"<\w", text)  # a notebook would take it for a tag


def test_names_of_users_are_shown_and_not_run():
    derivation = derived("nasty")
    assert "<script>" not in derivation.html()
    # What LaTeX has no plain sign for is written by the nearest one.
    plain = str.maketrans({"\u2227": "^", "\u223c": "~", "\xa0": " "})
    shown = "".join(ElementTree.fromstring(derivation.html()).itertext()).translate(plain)
    assert "z<script>alert('x')</script> & 50% {of} $it$ \\ ^~#_\"\ufffd[31m" in shown
    assert "\x1b" not in derivation.text() + derivation.latex() + derivation.html()


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("a*x^2 + b*x + c", "a·xᵢ² + b·xᵢ + c"),
        ("b*x - a*x", "b·xᵢ − a·xᵢ"),
        ("-x + 1", "1 − xᵢ"),
        ("a*exp(-x/tau)", "a·exp(−xᵢ/τ)"),
        ("alpha*x^beta", "α·xᵢᵝ"),
        ("lambda*x_0 + x0", "λ·x_0 + x0"),  # they would look the same, and keep their spelling
        ("alpha + α + beta", "alpha + α + β"),
        ("a/(2*b)*x", "a·xᵢ/(2b)"),
        ("(a + b)/2*x", "xᵢ·(a + b)/2"),
        ("sin(x)^2 + a", "sin²(xᵢ) + a"),
        ("sqrt(x) + sqrt(a + x) + 1/sqrt(b)", "√xᵢ + √(xᵢ + a) + 1/√b"),
        ("cbrt(a*x)", "∛(a·xᵢ)"),
        ("abs(x - a) + sign(b)", "|xᵢ − a| + sgn(b)"),
        ("floor(x) + ceil(a)", "⌊xᵢ⌋ + ⌈a⌉"),
        ("x + floor(a - x) + abs(a - x)", "xᵢ + ⌊a − xᵢ⌋ + |xᵢ − a|"),
        ("max(a, x)*min(b, 2)", "max(a, xᵢ)·min(b, 2)"),
        ("log(a) + log2(x) + log10(b)", "ln(a) + log₂(xᵢ) + log₁₀(b)"),
        ("log1p(a*x) - expm1(x)", "ln(1 + a·xᵢ) − (exp(xᵢ) − 1)"),
        ("asin(x) + acosh(a)", "arcsin(xᵢ) + arcosh(a)"),
        ("xlogy(a, x) + logaddexp(x, b)", "a·ln(xᵢ) + ln(exp(xᵢ) + exp(b))"),
        ("logistic(a*x)", "σ(a·xᵢ)"),
        ("where(x > a, 1, 0)*b", "b·[xᵢ > a]"),
        ("where(x > 1 and x <= 2, a, b)", "{a if xᵢ > 1 and xᵢ ≤ 2; b otherwise}"),
        ("where(x < 1, a, where(x != 2, b, c))", "{a if xᵢ < 1; b if xᵢ ≠ 2; c otherwise}"),
        ("a^(b/x)", "a^(b/xᵢ)"),
        ("(a*x)^b*3^x", "(a·xᵢ)ᵇ·3^xᵢ"),
        ("1.5e-9*a*x + 2e20", "1.5×10⁻⁹·a·xᵢ + 2×10²⁰"),
        ("pi*a + exp(1)", "π·a + e"),
        ("k_on*x + growth_rate", "kₒₙ·xᵢ + growth_rate"),
        ("erf(b) + atan2(x, a)", "erf(b) + atan2(xᵢ, a)"),
    ],
)
def test_an_expression_is_written_as_on_paper(formula, expected):
    paper = Paper(build(f"y = k0*({formula})", ["x", "y"]))
    assert paper.write(as_formula(formula).expression).line == expected


PAIRS = np.random.default_rng(5).normal(size=(2, 200)) * 3


@pytest.mark.parametrize("loss", [*LOSSES, "huber(delta=1.5)", "soft_l1(scale=3)", "cauchy(0.1)"])
@pytest.mark.parametrize("part", ["loss", "slope"])
def test_tidying_keeps_the_value_and_does_not_lengthen(loss, part):
    model = build("y = a*x", ["x", "y"], loss=loss)
    expression = as_loss(loss).expression if part == "loss" else model.loss_grad
    pairs = np.abs(PAIRS) if loss == "poisson" else PAIRS
    values = {"prediction": pairs[0], "target": pairs[1], "scale": 0.7}
    short = tidy(expression)
    # ln 2 and a fraction count as operations, 0.693… does not.
    assert operations(short) <= operations(expression) + 2 * (loss == "log_cosh")
    np.testing.assert_allclose(
        evaluate(short, values), evaluate(expression, values), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", "2(ŷᵢ − yᵢ)"),
        ("mae", "sgn(ŷᵢ − yᵢ)"),
        ("huber", "{ŷᵢ − yᵢ if |ŷᵢ − yᵢ| ≤ 1.345s; 1.345·sgn(ŷᵢ − yᵢ)·s otherwise}"),
        ("huber(scale=absolute)", "{ŷᵢ − yᵢ if |ŷᵢ − yᵢ| ≤ 1; sgn(ŷᵢ − yᵢ) otherwise}"),
        ("soft_l1(scale=absolute)", "2(ŷᵢ − yᵢ)/√((ŷᵢ − yᵢ)² + 1)"),
        ("cauchy(scale=absolute)", "2(ŷᵢ − yᵢ)/((ŷᵢ − yᵢ)² + 1)"),
        ("log_cosh(scale=absolute)", "tanh(ŷᵢ − yᵢ)"),
        ("quantile", "{−1/2 if yᵢ > ŷᵢ; 0 if yᵢ = ŷᵢ; 1/2 otherwise}"),
        ("poisson", "1 − yᵢ/ŷᵢ"),
        ("(prediction - target)^4", "4(ŷᵢ − yᵢ)³"),
        ("abs(prediction/target - 1)", "sgn(ŷᵢ/yᵢ − 1)/yᵢ"),
    ],
)
def test_the_slope_of_a_loss_is_short(loss, expected):
    paper = Paper(build("y = a*x", ["x", "y"], loss=loss))
    assert paper.write(paper.loss_grad).line == expected


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("-a*x + 0*x", "−2/N ∑ᵢ (ŷᵢ − yᵢ)·xᵢ"),
        ("exp(-a*x)", "−2/N ∑ᵢ (ŷᵢ − yᵢ)·xᵢ·exp(−a·xᵢ)"),
        ("x/a", "−2/(N·a²) ∑ᵢ (ŷᵢ − yᵢ)·xᵢ"),
        ("a", "2/N ∑ᵢ (ŷᵢ − yᵢ)"),
        ("sin(a) + x", "2·cos(a)/N ∑ᵢ (ŷᵢ − yᵢ)"),
        ("floor(a)*x", "0"),
        ("exp(-(x - a)^2)", "4/N ∑ᵢ (ŷᵢ − yᵢ)·exp(−(xᵢ − a)²)·(xᵢ − a)"),
        ("a*prediction", "2/N ∑ᵢ (ŷᵢ − yᵢ)·predictionᵢ"),  # a column of that name
    ],
)
def test_constants_stand_before_the_sum(formula, expected):
    paper = Paper(build(f"y = {formula}", ["x", "prediction", "y"]))
    assert paper.gradient(0).line == expected


@pytest.mark.parametrize(
    ("formula", "most"),
    [(BUMPS, 120), ("y = (x + a + b + c)**100", 29), ("y = (a*x + b)**50/(c*x + 1)**40", 29)],
)
def test_an_ugly_formula_stays_bounded(formula, most):
    paper = Paper(build(formula, ["x", "y"]))
    for raw, shown in zip(paper.model.gradient, paper.slopes, strict=True):
        assert operations(shown) <= min(most, operations(raw))


def test_a_notebook_shows_the_derivation_of_a_model():
    model = MODELS["quadratic"]()
    assert model._repr_html_() == derive(model).html() == derive(model)._repr_html_()
    assert str(derive(model)) == derive(model).text()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
]  # fmt: skip
# What Chromium calls the colour scheme that a page may ask for.
SCHEMES = {"dark": "0", "light": "1"}


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no browser: Chromium draws the page")
@pytest.mark.parametrize("width", [500, 1200])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_browser_draws_the_page(width, scheme, tmp_path):
    from matplotlib.image import imread

    x = np.linspace(-2, 2, 20)
    derivation = sgdfit.explain("y = a*x**2 + b*x + c", {"x": x, "y": 2 * x**2 + 1})
    page, picture = tmp_path / "derivation.html", tmp_path / "page.png"
    page.write_text(derivation.html(page=True), encoding="utf-8")
    subprocess.run(
        [
            CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}",
            f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
            f"--window-size={width},2200", f"--screenshot={picture}", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    light = imread(picture)[..., :3].mean(axis=2)
    ground = np.median(light)
    assert ground > 0.9 if scheme == "light" else ground < 0.2
    ink = np.abs(light - ground) > 0.4
    assert ink.mean() > 0.005, "hardly anything is drawn"
    # Drawn as mathematics a fraction is a bar: a run of ink in one row of pixels.
    runs = [re.findall(rb"\x01{12,}", row.astype(np.uint8).tobytes()) for row in ink]
    assert sum(map(bool, runs)) >= 10
    assert not ink[:, -2:].any(), "something runs over the edge"
