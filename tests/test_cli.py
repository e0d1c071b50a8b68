"""The command line, run as a shell runs it and through its entry point."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sgdfit
from sgdfit.cli.app import main
from sgdfit.cli.commands import EXAMPLES
from sgdfit.data.readers import open_table
from sgdfit.report.layouts import as_text

X = np.linspace(-2, 2, 20)
Y = 2 * X**2 + 3 * X + 4 + np.sin(7 * np.arange(20))
QUADRATIC = "y = a*x**2 + b*x + c"
RUN = ["--optimizer", "sgd", "--learning-rate", "0.2", "--steps", "200"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    rows = (f"{x!r},{y!r}\n" for x, y in zip(X.tolist(), Y.tolist(), strict=True))
    Path("data.csv").write_text("x,y\n" + "".join(rows))


@pytest.fixture
def saved(capsys):
    assert main(["fit", "data.csv", QUADRATIC, *RUN, "--save", "fit.json", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    return sgdfit.load("fit.json")


def feed(monkeypatch, text):
    data = io.BufferedReader(io.BytesIO(text.encode()))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "sgdfit", *arguments],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def test_the_report_on_a_pipe_is_the_librarys_plain_text(saved, capsys):
    assert main(["fit", "data.csv", QUADRATIC, *RUN]) == 0
    printed = capsys.readouterr()
    timed = (line for line in as_text(saved).splitlines() if " in " not in line)
    assert [line for line in printed.out.splitlines() if " in " not in line] == list(timed)
    assert printed.err == ""


OPTIONS = {
    "": {},
    "-r 0.2 --steps 200": {"learning_rate": 0.2, "steps": 200},
    "--loss 'huber(delta=0.5)'": {"loss": "huber(delta=0.5)"},
    "--start a=-4,b=5 --start c=7": {"start": "a=-4, b=5, c=7"},
    "--start random --seed 3": {"start": "random", "seed": 3},
    "--fix c=3": {"fixed": "c=3"},
    "--bound '0 < b < 2' --bound 'a > 2.5'": {"bounds": "0 < b < 2, a > 2.5"},
    "--tie 'c = 2*a'": {"tied": "c = 2*a"},
    "--optimizer 'sgd(momentum=0.9)'": {"optimizer": "sgd(momentum=0.9)"},
    "-r 0.05 --schedule cosine": {"learning_rate": 0.05, "schedule": "cosine"},
    "--batch-size 4 --epochs 7": {"batch_size": 4, "epochs": 7, "steps": None},
    "--batch-size 4 --no-shuffle": {"batch_size": 4, "shuffle": False},
    "--tolerance 0.5 -n 1e3": {"tolerance": 0.5, "steps": 1000},
    "--kernel numpy --dtype float32": {"kernel": "numpy", "dtype": "float32"},
    "--missing drop": {"missing": "drop"},
    "--sigma 2 --absolute-sigma": {"sigma": "2", "absolute_sigma": True},
    "--weights '1/(1 + x**2)'": {"weights": "1/(1 + x**2)"},
    "--covariance sandwich": {"covariance": "sandwich"},
    "--where 'x <> -2 and x <= 1'": {"where": "x != -2 and x <= 1"},
}


@pytest.mark.parametrize("given", OPTIONS)
def test_json_is_one_strict_object_and_each_option_is_the_librarys(capsys, given):
    options = {"steps": 30, **OPTIONS[given]}
    short = [] if {"steps", "epochs"} & set(OPTIONS[given]) else ["--steps", "30"]
    main(["fit", "data.csv", QUADRATIC, "--json", *short, *shlex.split(given)])
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    told = json.loads(printed.out, parse_constant=pytest.fail)
    fit = sgdfit.fit(QUADRATIC, {"x": X, "y": Y}, **options)
    assert {name: p["value"] for name, p in told["parameters"].items()} == fit.values
    for name, estimate in fit.estimates.items():
        expected = None if estimate.stderr is None else pytest.approx(estimate.stderr, rel=1e-9)
        assert told["parameters"][name]["stderr"] == expected
    for fact in ("steps", "optimizer", "covariance_method", "sigma", "absolute_sigma", "rows"):
        assert told[fact] == getattr(fit, fact)
    assert told["status"]["name"] == fit.status.name


@pytest.mark.parametrize(
    "arguments",
    [
        ["data.csv", "y = a*x + b"],
        ["data.csv", "y ~ a*x + b"],
        ["data.csv", "a*x + b", "--response", "y"],
        ["data.csv", "-y = -a*x - b"],
        ["-", "y = a*x + b"],
    ],
    ids=" ".join,
)
def test_a_formula_in_each_form(capsys, arguments, monkeypatch):
    feed(monkeypatch, Path("data.csv").read_text())
    assert main(["fit", *arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["parameters"]
    slope, intercept = np.polyfit(X, Y, 1)
    assert told["a"]["value"] == pytest.approx(slope, rel=1e-6)
    assert told["b"]["value"] == pytest.approx(intercept, rel=1e-6)


ABOVE = "sgdfit: warning: learning rate 0.23 is above the stability limit 2/λmax = 0.2215"


@pytest.mark.parametrize(
    ("formula", "options", "name", "before"),
    [
        (QUADRATIC, "-r 0.23 --steps 1000 --json", "diverged", [ABOVE]),
        (QUADRATIC, "-r 0.23 --steps 1000 --quiet", "diverged", []),
        ("y = a*log(b - x)", "--start b=1 --json", "domain error", []),
    ],
)
def test_a_fit_that_fails_says_so(capsys, formula, options, name, before):
    assert main(["fit", "data.csv", formula, *options.split()]) == 1
    printed = capsys.readouterr()
    *told, last = printed.err.splitlines()
    assert last.startswith(f"sgdfit: error: {name}: ")
    assert [line[: len(ABOVE)] for line in told] == before
    found = json.loads(printed.out)["status"]["name"] if printed.out else "told on the error alone"
    assert found == ("told on the error alone" if "--quiet" in options else name.replace(" ", "_"))


def test_rows_without_the_columns_of_their_weights_are_taken_to_weigh_1(capsys):
    Path("odd.csv").write_text("x,y,s\n1,2.1,1\n2,3.9,2\n3,6.2,1\n")
    Path("new.csv").write_text("x\n1\n2\n3\n")
    main(["fit", "odd.csv", "y = a*x", "--weights", "1/s**2", "-q", "--save", "odd.json"])
    told = []
    for name in ("odd.csv", "new.csv"):
        assert main(["predict", "odd.json", name, "--interval", "prediction"]) == 0
        told.append(capsys.readouterr())
    own, unit = told
    assert own.err == ""
    assert "new.csv lacks the columns of '1/s**2': rows are taken to weigh 1" in unit.err
    same = [a == b for a, b in zip(own.out.splitlines(), unit.out.splitlines(), strict=True)]
    assert same == [True, True, False, True]


def test_show_prints_a_saved_fit(saved, capsys):
    assert main(["show", "fit.json"]) == 0
    assert capsys.readouterr().out == as_text(saved) + "\n"
    assert main(["show", "fit.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == saved.loss


def test_explain_takes_data_starts_and_variables(capsys):
    options = ["--start", "a=4,b=5", "--fix", "c=7", "--loss", "huber"]
    assert main(["explain", QUADRATIC, "data.csv", *options]) == 0
    given = {"start": "a=4,b=5", "fixed": "c=7", "loss": "huber"}
    derivation = sgdfit.explain(QUADRATIC, {"x": X, "y": Y}, **given)
    assert capsys.readouterr().out.rstrip() == derivation.text(80).rstrip()
    assert main(["explain", "S = k*hours*days", "--variables", "hours, days"]) == 0
    wanted = sgdfit.explain("S = k*hours*days", variables=["hours", "days", "S"]).text(80)
    assert capsys.readouterr().out.rstrip() == wanted.rstrip()


LINES = [line for text in EXAMPLES.values() for line in text.splitlines() if line[:1] == "s"]


@pytest.mark.parametrize("line", LINES)
def test_every_example_of_the_help_runs(capsys, monkeypatch, line):
    main(["fit", "data.csv", QUADRATIC, *RUN, "-q", "--save", "fit.json"])
    program, *arguments = shlex.split(line)
    if "<" in arguments:
        feed(monkeypatch, Path(arguments.pop()).read_text())
        assert arguments.pop() == "<"
    assert program == "sgdfit"
    assert main(arguments) == 0
    assert "error" not in capsys.readouterr().err


def test_the_help_shows_each_example_on_one_line(capsys):
    for command, text in EXAMPLES.items():
        assert main([command, "--help"]) == 0
        shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
        wanted = [line for line in text.splitlines() if line.startswith("sgdfit ")]
        assert [line for line in shown if line.startswith("sgdfit ")] == wanted
    assert main([]) == 0
    assert "predict" in capsys.readouterr().out


def test_the_program_starts_without_what_is_heavy():
    assert run("--version").stdout.decode() == f"sgdfit {sgdfit.__version__}\n"
    listing = "import sys; from sgdfit.cli.app import main; main({}); print(sorted(sys.modules))"
    for arguments, absent in (
        (["--help"], ["numpy", "numba", "sympy", "matplotlib", "pyarrow", "scipy", "pydantic"]),
        (["fit", "data.csv", "y = a*x", "-q"], ["numba", "matplotlib", "pydantic", "pandas"]),
    ):
        done = subprocess.run(
            [sys.executable, "-c", listing.format(arguments)], capture_output=True, check=True
        )
        assert [name for name in absent if f"'{name}'".encode() in done.stdout] == []


def test_a_terminal_without_unicode_is_no_obstacle():
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    done = run("fit", "data.csv", "y = α*x + β", **ascii_only)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"converged" in done.stdout
    assert done.stdout.isascii()
    done = run("fit", "data.csv", "y = α*x + β", "--json", **ascii_only)
    assert set(json.loads(done.stdout.decode("ascii"))["parameters"]) == {"α", "β"}


def test_a_reader_that_leaves_is_no_error(saved):
    Path("long.csv").write_text("x\n" + "".join(f"{i}\n" for i in range(100_000)))
    with subprocess.Popen(
        [sys.executable, "-m", "sgdfit", "predict", "fit.json", "long.csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"x,prediction\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.parametrize(
    ("words", "count", "expected"),
    [
        ("sgdfit ", 1, ["fit", "predict", "explain", "show", "demo"]),
        ("sgdfit fit --learn", 2, ["--learning-rate"]),
        ("sgdfit fit --optimizer ad", 3, ["adagrad", "adam", "adamw"]),
        ("sgdfit fit --loss h", 3, ["huber"]),
        ("sgdfit fit --kernel n", 3, ["numpy"]),
    ],
)
def test_shells_complete(words, count, expected):
    asked = {"_SGDFIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    assert run(**asked).stdout.decode().split() == expected


@pytest.mark.parametrize(
    ("ending", "start"), [("csv", b"<?xml"), ("tsv", b"\x89PNG"), ("parquet", b"%PDF")]
)
def test_files_are_written_and_named(saved, capsys, monkeypatch, ending, start):
    feed(monkeypatch, Path("data.csv").read_text())
    trace, plot = f"t.{ending}", {"csv": "p.svg", "tsv": "p.png", "parquet": "p.pdf"}[ending]
    files = ["--save", "fit.json", "--trace", trace, "--trace-every", "50", "--plot", plot]
    assert main(["fit", "-", QUADRATIC, *RUN, *files]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "sgdfit: the saved fit is in fit.json",
        f"sgdfit: the trace is in {trace}",
        f"sgdfit: the plot is in {plot}",
    ]
    assert sgdfit.load("fit.json").steps == 200
    assert open_table(trace).load(["step"]).columns["step"].tolist() == [0, 50, 100, 150, 200]
    assert Path(plot).read_bytes().startswith(start)
    feed(monkeypatch, Path("data.csv").read_text())
    assert main(["predict", "fit.json", "-", "--output", f"curve.{ending}"]) == 0
    assert capsys.readouterr().out == ""
    read = open_table(f"curve.{ending}").load(["x", "prediction"]).columns
    assert read["prediction"].tolist() == saved.predict({"x": X}).tolist()


@pytest.mark.parametrize("band", [(), ("confidence", 0.95), ("prediction", 0.5)])
def test_predictions_are_the_librarys(saved, capsys, band):
    Path("new.csv").write_text("x,low\n0.5,1\n-1,2\n1e3,3\n")
    options = ["--interval", band[0], "--level", str(band[1])] if band else []
    options = options[:2] if 0.95 in band else options
    assert main(["predict", "fit.json", "new.csv", *options]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "x,prediction" + (",stderr,low,high" if band else "")
    table = np.array([list(map(float, row.split(","))) for row in rows])
    expected = np.atleast_2d(saved.predict({"x": [0.5, -1, 1e3]}, *band))
    np.testing.assert_array_equal(table.T, [[0.5, -1.0, 1000.0], *expected])


def test_explain_prints_the_derivation_in_the_form_asked_for(capsys):
    derivation = sgdfit.explain(QUADRATIC)
    for option, ending, text in (
        ([], ".txt", derivation.text(80)),
        (["--latex"], ".tex", derivation.latex()),
        (["--html"], ".html", derivation.html(page=True)),
    ):
        wanted = text.rstrip("\n") + "\n"
        assert main(["explain", QUADRATIC, *option]) == 0
        assert capsys.readouterr().out == wanted
        assert main(["explain", QUADRATIC, "--output", f"gradient{ending}"]) == 0
        assert capsys.readouterr().out == ""
        assert Path(f"gradient{ending}").read_text() == wanted
