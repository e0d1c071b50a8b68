"""`sgdfit examples`: what it lists and copies, and that each script runs."""

import ast
import runpy
from pathlib import Path

import pytest

from sgdfit.cli.app import main
from sgdfit.cli.commands import SCRIPTS

NAMES = sorted(path.name for path in SCRIPTS.iterdir())
# What each prints that is known from elsewhere: NIST's certified values, SciPy's `curve_fit`.
KNOWN = {
    "descent": ("stability limit 0.2215: diverged", "2.07 ± 0.46"),
    # 1.59674 ± 0.21790, 0.239663 ± 0.027600
    "decay": ("1.60 ± 0.22", "0.240 ± 0.028"),
    # certified: 0.0109945 ± 0.00013350, 107.0300 ± 0.15006, 153.2701 ± 0.19473
    "peaks": ("0.01099 ± 0.00013", "107.03 ± 0.15", "153.27 ± 0.19"),
    # 0.48141 ± 0.20951, 7.79296 ± 0.18973, 3.05796 ± 0.18583, 2.98222 ± 0.45842
    "dose-response": ("0.48 ± 0.21", "7.79 ± 0.19", "3.06 ± 0.19", "2.98 ± 0.46"),
    # 208.630 ± 5.804, 166.604 ± 5.807, 0.0579716 ± 0.00591
    "groups": ("208.6 ± 5.8", "166.6 ± 5.8", "0.0580 ± 0.0059"),
    "many-curves": ("14 groups, 84 rows; 14 converged",),
    "outliers": ("huber", "cauchy"),
    "larger-than-memory": ("20,000 rows of decay.csv", "converged"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.filterwarnings("ignore:learning rate 0.23:sgdfit.errors.DivergenceWarning")
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_where_it_is_copied(capsys, monkeypatch, name):
    assert main(["examples", name, "copied"]) == 0
    (script,) = Path("copied").glob("*.py")
    assert f"python {script}" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [str(script), "20000"])
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    assert [text for text in KNOWN[name] if text not in printed] == []


def test_all_are_listed_on_a_line_each(capsys):
    assert main(["examples"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(NAMES)]] == NAMES
    for name, line in zip(NAMES, lines, strict=False):
        (script,) = (SCRIPTS / name).glob("*.py")
        summary = ast.get_docstring(ast.parse(script.read_text("utf-8"))).splitlines()[0]
        assert line.endswith(summary)


def test_nothing_is_written_over(capsys):
    Path("mine").mkdir()
    Path("mine/indometh.csv").write_text("my own")
    assert main(["examples", "decay", "mine"]) == 2
    assert "'mine/indometh.csv' is there already" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["indometh.csv"]
    assert Path("mine/indometh.csv").read_text() == "my own"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["decoy"], "no example 'decoy'; there are decay, "),
        (["decay", "file/below"], "cannot write to 'file/below': Not a directory"),
        (["../page"], "no example '../page'"),
    ],
)
def test_what_cannot_be_copied_is_said(capsys, arguments, said):
    Path("file").write_text("")
    assert main(["examples", *arguments]) == 2
    assert said in capsys.readouterr().err
