"""The reference of the site: made from the code, so that no name of it is missing."""

import ast
import dataclasses
import inspect
import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest

import sgdfit
from sgdfit.cli import options
from sgdfit.cli.app import main
from sgdfit.data.formats import FORMATS
from sgdfit.formula.functions import FUNCTIONS
from sgdfit.model.loss import LOSSES
from sgdfit.optimizers import OPTIMIZERS
from sgdfit.optimizers.schedule import SCHEDULES
from sgdfit.result.status import STATUSES

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def reference():
    return runpy.run_path(str(DOCS / "_ext" / "reference.py"))


@pytest.fixture(scope="module")
def pages(reference):
    return reference["pages"]()


def missing(names, page):
    return [name for name in names if f"`{name}`" not in page and f"## {name}\n" not in page]


def test_every_public_name_is_on_a_page(pages):
    names = [n for n in sgdfit.__all__ if not inspect.ismodule(getattr(sgdfit, n))]
    assert missing(set(names) - {"__version__"}, pages["python"]) == []
    assert missing({"plot"}, pages["python"]) == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("losses", LOSSES),
        ("optimizers", OPTIMIZERS),
        ("schedules", SCHEDULES),
        ("statuses", STATUSES),
        ("functions", FUNCTIONS),
        ("formats", [ending for kind in FORMATS for ending in kind.endings]),
    ],
)
def test_every_choice_is_on_its_page(pages, page, names):
    assert missing(names, pages[page]) == []


def test_every_option_of_the_command_line_is_named(pages):
    panels = [value for name, value in vars(options).items() if name.isupper()]
    declared = [
        option
        for some in panels
        if isinstance(some, dict)
        for panel in some.values()
        for option in panel
    ]
    assert len(declared) > 60
    flags = {flag for option in declared for flag in option.flags}
    assert [flag for flag in flags if flag not in pages["command-line"]] == []


@pytest.mark.parametrize("kind", [sgdfit.Result, sgdfit.Fits], ids=lambda kind: kind.__name__)
def test_every_field_of_a_result_is_explained(reference, kind):
    words = reference["described"](kind)
    fields = [f.name for f in dataclasses.fields(kind) if not f.name.startswith("_")]
    assert [name for name in fields if name not in words] == []


def test_every_page_is_code_that_python_reads():
    """A page whose cells do not parse would end the build; here it takes no kernel to know."""
    pages = list(DOCS.rglob("*.md"))
    assert len(pages) > 10
    for path in pages:
        text = path.read_text(encoding="utf-8")
        for cell in text.split("```{code-cell}")[1:]:
            # Without the options of a cell, in either form.
            code = re.sub(
                r"\A\n---\n.*?\n---\n|^[:%][^\n]*$", "", cell.partition("```")[0], flags=re.M | re.S
            )
            ast.parse(code, str(path))


@pytest.mark.parametrize(
    "line",
    re.findall(r"^\$ (sgdfit page .*--.*)$", (DOCS / "tutorial.md").read_text("utf-8"), re.M),
)
def test_the_live_view_opens_with_a_descent_of_the_tutorial(line, monkeypatch, capsys):
    monkeypatch.setattr("sgdfit.page.server.serve", lambda *given: given[-1]("http://here"))
    monkeypatch.chdir(DOCS.parent)
    assert main([*shlex.split(line)[1:], "--no-open"]) == 0
    assert re.search(r" http://here#.*rate=0\.\d+", capsys.readouterr().err)


# Options whose values mean the same whatever the formula.
OF_ANY_FORMULA = {
    "batch_size", "covariance", "epochs", "intervals", "learning_rate", "loss", "missing",
    "optimizer", "schedule", "seed",
}  # fmt: skip


@pytest.mark.parametrize(
    "page", sorted((DOCS / "coming-from").glob("[!i]*.md")), ids=lambda p: p.stem
)
def test_what_is_written_here_instead_can_be_written(page):
    """The right column of "you write, here you write": options and attributes that there are."""
    known = set(inspect.signature(sgdfit.fit).parameters) | {"by"}
    attributes = set(dir(sgdfit.Result)) | set(sgdfit.Result.__dataclass_fields__)
    for line in re.findall(r"^\|.*\|$", page.read_text(encoding="utf-8"), re.M):
        for text in re.findall(r"`([^`]+)`", re.split(r"(?<!\\)\|", line)[-2]):
            named = re.findall(r"^(?:result|fit|model\.result_|)\.([a-z_]\w*)", text)
            assert set(named) - {"update"} <= attributes | set(sgdfit.__all__), text
            if " = " in text.partition('"')[0]:  # a formula
                continue
            try:
                call = ast.parse(f"f({text.replace('…', '...')})", mode="eval").body
            except SyntaxError:
                continue
            given = {word.arg: word.value for word in call.keywords}
            assert set(given) <= known, text
            if given and OF_ANY_FORMULA.issuperset(given):
                options = {name: ast.literal_eval(value) for name, value in given.items()}
                data = {"x": [0.0, 1, 2, 3, 4], "y": [1.0, 3, 2, 5, 4]}
                assert sgdfit.fit("y = a*x + b", data, **options).rows == 5


@pytest.mark.torch
@pytest.mark.parametrize("page", ["coming-from/pytorch", "howto/torch-module"])
def test_blocks_that_take_torch_run_as_they_stand(torch, tmp_path, monkeypatch, page):
    """The build of the site does without torch, so these pages are not run by it."""
    shutil.copytree(DOCS / "data", tmp_path, dirs_exist_ok=True)
    shutil.copytree(DOCS.parent / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {"__name__": page}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert "fit" in names


def test_the_citation_is_of_this_version():
    text = (DOCS.parent / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {sgdfit.__version__}\n" in text
