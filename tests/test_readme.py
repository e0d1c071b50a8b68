"""README: its examples run, its report and its table are what the program says today."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sgdfit.data.files import COMPRESSIONS, FORMATS
from sgdfit.language.functions import CONSTANTS, FUNCTIONS
from sgdfit.models.loss import LOSSES
from sgdfit.optimization.optimizer import OPTIMIZERS
from sgdfit.optimization.schedule import SCHEDULES
from sgdfit.plots import plot
from sgdfit.results import trace

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


def run(command, folder):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_commands_run(folder):
    found = blocks("sh")
    assert len(found) == 3
    for block in found:
        done = run(["bash", "-ec", block], folder)
        assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("exit status 1\n")
    for name in ("fit.json", "trace.csv", "fit.png", "gradient.html"):
        assert (folder / name).stat().st_size > 0


def test_python_runs(folder):
    found = blocks("python")
    assert len(found) == 3
    done = run([sys.executable, "-W", "error", "-c", "\n".join(found)], folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "fit.svg").exists()


def test_python_comments_tell_the_values(folder):
    checks = [
        f"assert str({expression}).startswith({value!r})"
        for expression, value in re.findall(
            r"^(fit\.estimates\S+) +# ([\d.]+)", README, re.MULTILINE
        )
    ]
    assert len(checks) == 2
    first = blocks("python")[0]
    done = run([sys.executable, "-c", "\n".join([first, *checks])], folder)
    assert done.returncode == 0, done.stderr


def test_report_is_today_s(folder):
    (shown,) = blocks("text")
    done = run(["bash", "-ec", blocks("sh")[0]], folder)
    assert settled(done.stdout) == settled(shown)


def settled(report):
    """Leave out what differs from run to run and from one processor to the next."""
    report = re.sub(r"(epochs\) in ).*", r"\1…", report)
    report = re.sub(r"\S+ standard errors", "… standard errors", report)
    report = re.sub(r"is \S+ standard", "is … standard", report)
    return report.strip().splitlines()


def row(name):
    (cells,) = re.findall(rf"^\| {name} \| (.*) \|$", README, re.MULTILINE)
    return re.findall(r"`([^`]+)`", cells)


def with_options(table, skip):
    for name, made in table.items():
        options = list(inspect.signature(made).parameters)[skip:]
        yield f"{name}({', '.join(options)})" if options else name


@pytest.mark.parametrize(
    ("name", "supported"),
    [
        ("functions", FUNCTIONS),
        ("constants", CONSTANTS),
        ("losses", [*with_options(LOSSES, 2), "prediction", "target"]),
        ("optimizers", with_options(OPTIMIZERS, 0)),
        ("schedules", with_options(SCHEDULES, 1)),
        (
            "files read",
            [*(ending for _, endings, _ in FORMATS for ending in endings), *COMPRESSIONS],
        ),
        ("traces written", trace.FORMATS),
        ("plots written", plot.ENDINGS),
    ],
)
def test_table_is_the_code_s(name, supported):
    assert row(name) == list(supported)


def test_make_targets_are_there():
    targets = re.findall(r"^\$ make (\w+)", README, re.MULTILINE)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)|(?:src|srcset)=\"([^\"]+)\"", README)
    paths = [first or second for first, second in links]
    assert len(paths) >= 5
    for path in paths:
        assert (ROOT / path).exists(), path


def test_figures_of_the_story_are_the_demo_s():
    from sgdfit.demos.story import tell

    story = tell()
    found = story.listing.diagnosis
    figures = (
        story.printed.trace.loss[0],
        story.printed.trace.loss[9],
        story.listing.trace.loss[0],
        story.listing.trace.loss[9],
    )
    for figure in (*(f"{value:.2f}" for value in figures), f"{found.stability_limit:.4f}"):
        assert figure in README
    assert f"{found.fastest_rate:.4f}" in README
