"""The reference of the site: made from the code, so that no name of it is missing."""

import ast
import dataclasses
import inspect
import re
import runpy
import shutil
from pathlib import Path

import pytest

import sgdfit
from sgdfit.cli import options
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
