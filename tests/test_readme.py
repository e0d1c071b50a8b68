"""README and the pages in docs: what they show runs, and their figures are today's."""

import inspect
import io
import re
import runpy
import shlex
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import sgdfit
from sgdfit import demo, plot
from sgdfit.cli.app import main
from sgdfit.data.formats import COMPRESSIONS, FORMATS
from sgdfit.formula.functions import CONSTANTS, FUNCTIONS
from sgdfit.model.loss import LOSSES
from sgdfit.optimizers import OPTIMIZERS
from sgdfit.optimizers.schedule import SCHEDULES
from sgdfit.result import table_file
from sgdfit.result.status import STATUSES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHOOSING = (ROOT / "docs/choosing.md").read_text(encoding="utf-8")
LARGE = (ROOT / "docs/large-data.md").read_text(encoding="utf-8")
SUPPORTED = (ROOT / "docs/supported.md").read_text(encoding="utf-8")
DOCS = {page.name for page in (ROOT / "docs").glob("*.md")}
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "CONTRIBUTING.md", *(f"docs/{n}" for n in sorted(DOCS)))
}


def blocks(language, page=README):
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def shell(folder, monkeypatch, capsys):
    """Run lines as a shell would, as far as the pages need one, and return what they print."""

    def run(lines):
        for line in lines.splitlines():
            command, _, otherwise = line.partition(" || ")
            program, *arguments = shlex.split(command)
            assert program == "sgdfit"
            if "<" in arguments:
                data = io.BytesIO(Path(arguments.pop()).read_bytes())
                monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(data)))
                assert arguments.pop() == "<"
            assert main(arguments) == (otherwise != ""), line
            assert otherwise in ("", 'echo "exit status $?"')
        return capsys.readouterr().out

    return run


def execute(code):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(code, {"__name__": "__main__"})


def test_commands_run(folder, shell):
    found = blocks("sh")
    assert len(found) == 4
    printed = [shell(block) for block in found]
    (report,) = blocks("text")
    assert settled(printed[0]) == settled(report)
    for name in ("fit.json", "trace.csv", "fit.png", "gradient.html"):
        assert (folder / name).stat().st_size > 0


def settled(report):
    """Leave out what differs from run to run and from one processor to the next."""
    return re.sub(r" in [0-9.]+ (µs|ms|s)\b", " in …", report).strip("\n").splitlines()


def test_commands_of_the_guide_print_what_it_shows(shell):
    shown = re.findall(
        r"^```sh\n(.*?)^```\n\n```text\n(.*?)^```", CHOOSING, re.MULTILINE | re.DOTALL
    )
    assert len(shown) == len(blocks("sh", CHOOSING)) >= 3
    for command, expected in shown:
        printed = settled(shell(command))
        for line in settled(expected):
            assert line in printed, f"{command}: {line!r} is not in {printed}"


def test_commands_about_large_data_run(shell):
    execute(blocks("python", LARGE)[0])
    resumed, followed = blocks("sh", LARGE)
    reports = re.findall(r"^  ([abc] +\d.* ± .*)", shell(resumed), re.MULTILINE)
    assert len(reports) == 6
    assert reports[:3] == reports[3:]
    lines = shell(followed).splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["5", "10", "15", "20"]


# An expression, and after it the value that it is said to have: a number cut short, or a literal.
NUMBER = re.compile(r"^((?:fit|now)[.[][^#\n]+?) +# (-?[\d.]+)…$", re.MULTILINE)
LITERAL = re.compile(r"^((?:fit|now)[.[][^#\n]+?) +# (['\"(].*|True)$", re.MULTILINE)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("page", "parts", "count"), [(README, 4, 3), (CHOOSING, 2, 7), (LARGE, 2, 2)]
)
def test_python_runs_and_its_comments_tell_the_values(page, parts, count):
    found = blocks("python", page)
    assert len(found) == parts
    text, numbers = NUMBER.subn(r"assert str(\1).startswith('\2'), \1", "\n".join(found))
    text, literals = LITERAL.subn(r"assert (\1) == \2, \1", text)
    assert numbers + literals == count
    execute(text)


def test_curve_fit_ends_where_the_page_says():
    from scipy.optimize import OptimizeWarning, curve_fit

    x, y = np.loadtxt(ROOT / "examples/boxbod.csv", delimiter=",", skiprows=1, unpack=True)
    with pytest.warns(OptimizeWarning, match="could not be estimated"):
        found, _ = curve_fit(lambda x, b1, b2: b1 * (1 - np.exp(-b2 * x)), x, y)
    told = re.search(r"`curve_fit` ends at b1 = ([\d.]+),\s+b2 = (\d+)", README)
    assert told.groups() == (f"{found[0]:.1f}", f"{found[1]:.0f}")


def test_certified_values_are_met_and_intervals_are_those_named():
    kinds = [
        sgdfit.fit("y = b1*(1 - exp(-b2*x))", ROOT / "examples/boxbod.csv", intervals=kind)
        for kind in ("profile", "wald")
    ]
    certified = re.findall(r"(b[12]) = ([\d.]+) ± ([\d.]+)", README)
    assert len(certified) == 2
    for fit in kinds:
        for name, value, error in certified:
            estimate = fit.estimates[name]
            assert float(f"{estimate.value:.11g}") == float(value)
            assert float(f"{estimate.stderr:.11g}") == float(error)
        low, high = fit.estimates["b2"].interval
        assert f"{low:.2f} … {high:.2f}" in README


def test_readme_is_short():
    assert len(README.splitlines()) <= 200


def test_every_status_is_explained():
    named = set(re.findall(r"^\| (`[^|]+`) \|", CHOOSING, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", " ".join(named))) >= set(STATUSES)


def test_bands_are_drawn(folder, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bands.py", "."])
    runpy.run_path("examples/bands.py", run_name="__main__")
    for name in ("bands-light.png", "bands-dark.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def row(name):
    (cells,) = re.findall(rf"^\| {name} \| (.*) \|$", SUPPORTED, re.MULTILINE)
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
        ("optimizers", ["auto", *with_options(OPTIMIZERS, 0)]),
        ("schedules", with_options(SCHEDULES, 1)),
        (
            "files read",
            [*(ending for kind in FORMATS for ending in kind.endings), *COMPRESSIONS],
        ),
        ("traces written", table_file.ENDINGS),
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


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)]+)\)|(?:src|srcset)=\"([^\"]+)\"", PAGES[name])
    for link in (first or second for first, second in links):
        path, _, part = link.partition("#")
        if "://" in path:
            continue
        target = (ROOT / name).parent / path if path else ROOT / name
        if target.parent == ROOT / "docs/reference":  # made by the build, which looks itself
            continue
        assert target.exists(), link
        titles = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE) if part else []
        assert not part or part in {title.lower().replace(" ", "-") for title in titles}, link


def test_figures_of_the_story_are_the_demo_s():
    story = demo.tell()
    found = story.listing.diagnosis
    traces = (story.printed.trace, story.listing.trace)
    figures = [trace.loss[step] for trace in traces for step in (0, 9)]
    for figure in (*(f"{value:.2f}" for value in figures), f"{found.stability_limit:.4f}"):
        assert figure in README
    assert f"{found.fastest_rate:.4f}" in README
