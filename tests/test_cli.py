"""The command line, run as a shell runs it and through its entry point, and what it refuses."""

from __future__ import annotations

import io
import json
import os
import re
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
from sgdfit.report import as_text

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


def run(*arguments, stdout=subprocess.PIPE, **environment):
    return subprocess.run(
        [sys.executable, "-m", "sgdfit", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
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
        ("y = a*log(b - x)", "--start b=1 --no-search --json", "domain error", []),
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
    rows = [line.split(",") for line in own.out.splitlines()]
    assert "new.csv lacks the columns of '1/s**2': rows are taken to weigh 1" in unit.err
    plain = [line.split(",")[1:] for line in unit.out.splitlines()]
    same = [a[3:] == b for a, b in zip(rows, plain, strict=True)]
    assert same == [True, True, False, True]


def test_show_prints_a_saved_fit(saved, capsys):
    assert main(["show", "fit.json"]) == 0
    assert capsys.readouterr().out == as_text(saved) + "\n"
    assert main(["show", "fit.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == saved.loss


@pytest.mark.parametrize(
    "more", [["--fix", "c=4"], ["--tie", "c = 2*a"], ["--sigma", "0.5", "--absolute-sigma"]]
)
def test_show_gives_intervals_of_the_level_that_is_asked_for(capsys, more):
    fit = ["fit", "data.csv", QUADRATIC, *more]
    assert main([*fit, "--json", "-q", "--level", "0.68"]) == 0
    anew = json.loads(capsys.readouterr().out)
    assert main([*fit, "-q", "--save", "fit.json"]) == 0
    asked = ["show", "fit.json", "--derive", "a/b", "--level"]
    assert main([*asked, "0.68", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["parameters"] == anew["parameters"]
    assert shown["level"] == 0.68
    wanted = sgdfit.load("fit.json").derive("a/b", level=0.68).interval
    assert shown["derived"]["a/b"]["interval"] == list(wanted)
    assert main([*asked, "95"]) == 2
    assert "level is 95, but a confidence lies between 0 and 1" in capsys.readouterr().err


def test_show_has_no_other_level_of_refitted_intervals(capsys):
    main(["fit", "data.csv", QUADRATIC, "-q", "--intervals", "profile", "--save", "fit.json"])
    assert main(["show", "fit.json", "--level", "0.95"]) == 0
    assert main(["show", "fit.json", "--level", "0.68"]) == 2
    assert "come from refits to its rows" in capsys.readouterr().err


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
    rows = Path("data.csv").read_text().splitlines()
    Path("sites.csv").write_text("\n".join(f"{row},site" for row in rows))
    program, *arguments = shlex.split(line)
    monkeypatch.setattr("sgdfit.page.server.serve", lambda *_: None)
    if "<" in arguments:
        feed(monkeypatch, Path(arguments.pop()).read_text())
        assert arguments.pop() == "<"
    assert program == "sgdfit"
    assert main(arguments) == 0
    assert "error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], ""),
        (["--start", "a=4,b=-5", "--start", "c=7"], "#p.a=4&p.b=-5&p.c=7"),
        (["-r", "0.05", "--batch-size", "4", "--seed", "1"], "#rate=0.05&batch=4&seed=1"),
        (["--optimizer", "sgd(momentum=0.3)"], "#optimizer=sgd%28momentum%3D0.3%29"),
    ],
)
def test_the_page_begins_with_what_its_address_says(monkeypatch, capsys, arguments, wanted):
    monkeypatch.setattr("sgdfit.page.server.serve", lambda *given: given[-1]("http://here"))
    assert main(["page", "--no-open", *arguments]) == 0
    assert f" http://here{wanted} " in capsys.readouterr().err


@pytest.mark.parametrize(("start", "told"), [("a", "a=4"), ("a=4,b=five", "--start of b")])
def test_a_start_of_the_page_that_is_no_number_is_told(capsys, start, told):
    assert main(["page", "--no-open", "--start", start]) == 2
    assert told in capsys.readouterr().err


def test_quantities_are_derived_with_a_fit_and_from_a_saved_one(saved, capsys):
    asked = ["--derive", "vertex = -b/(2*a)", "--derive", "a + b"]
    table = str(saved.derive("vertex = -b/(2*a)", "a + b"))
    assert main(["show", "fit.json", *asked]) == 0
    assert capsys.readouterr().out == f"{as_text(saved)}\n\n{table}\n"
    assert main(["fit", "data.csv", QUADRATIC, *RUN, *asked, "--json", "--quiet"]) == 0
    derived = json.loads(capsys.readouterr().out)["derived"]
    assert derived["a + b"]["stderr"] == saved.derive("a + b").stderr
    assert main(["fit", "data.csv", QUADRATIC, "--derive", "a/q"]) == 2
    assert "'q' in 'a/q' is no parameter" in capsys.readouterr().err


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
        ("sgdfit ", 1, ["fit", "predict", "explain", "show", "page", "demo", "examples"]),
        ("sgdfit fit --optimizer ad", 3, ["adagrad", "adam", "adamw"]),
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
    Path("new.csv").write_text("x\n0.5\n-1\n1e3\n")
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


LINE = "y = a*x + b"


@pytest.fixture
def spoiled(folder):
    Path("holes.csv").write_text("x,y\n1,2\n2,\n3,6\n")
    Path("words.csv").write_text("x,y\n1,two\n2,four\n3,six\n")
    Path("cut.json").write_text('{"format": "sgdfit", "version"')
    Path("folder.csv").mkdir()
    Path("locked.csv").write_text("")


# What follows `sgdfit`, and on the lines below it what follows `sgdfit: error:`; ⏎ ends a line.
CASES = r"""
fit data.csv
  missing argument 'FORMULA'; see sgdfit fit --help
fit data.csv y = 'a*x'
  got unexpected extra argument(s) (= a*x); put the formula in quotes, as in "y = a*x + b"; see
  sgdfit fit --help
fit data.csv LINE --lss mae
  no such option: --lss. Did you mean '--loss'? see sgdfit fit --help
fti data.csv LINE
  no such command 'fti'. Did you mean 'fit'? see sgdfit --help
data.csv LINE
  no such command 'data.csv'; see sgdfit --help
fit data.csv LINE --learning-rate fast
  --learning-rate is 'fast'; a number is needed
fit data.csv LINE --steps many
  --steps is 'many'; a number is needed
fit data.csv LINE --steps 5 --epochs 2
  steps=5 and epochs=2 are two lengths; give one of them
fit data.csv LINE --batch-size half
  batch_size is 'half'; give a number of rows or 'full'
fit data.csv LINE --missing dorp
  missing='dorp' is not known; write 'error' to refuse rows without finite numbers, or 'drop'
  to leave them out. Did you mean 'drop'?
fit data.csv LINE --kernel numba
  kernel='numba' is not one of 'auto', 'numpy', 'compiled', 'torch'
fit data.csv LINE --bound a
  the bound 'a' cannot be read; write '0 < b < 10' or 'b > 0'
fit data.csv LINE --rename q=x,q=y
  --rename gives the name 'q' to both 'x' and 'y'; give each column a name of its own
fit data.csv LINE --weights ''
  --weights is empty; give a column, or leave the option out
fit data.csv 'a*x + b'
  the formula 'a*x + b' does not say which column it describes; write 'y = a*x + b' or pass
  response='y' (--response y)
fit data.csv 'y = a*(x + b'
  this '(' is never closed⏎  y = a*(x + b⏎        ^
explain 'y = a*x' --latex --html
  --latex and --html are two forms; give one of them
explain 'S = a*hours' --variables hour
  the variable 'hour' is not in the formula; its names are S, a, hours. Did you mean 'hours'?
fit dat.csv LINE
  there is no file 'dat.csv'; check its name and folder. Did you mean 'data.csv'?
fit holes.csv LINE
  1 of 3 rows has no finite number in holes.csv: column 'y' row 2 (line 3) is missing (NaN);
  correct them, or pass missing='drop' (--missing drop on the command line) to leave them out
fit words.csv LINE
  column 'y' of words.csv holds text: row 1 (line 2) is 'two', which is no number; correct it, or
  pass na='two' to sgdfit.open_table (--na two) and --missing drop if it is missing, or leave the
  column out of the formula
show cut.json
  'cut.json' is not a whole saved fit: the file is cut off
predict none.json data.csv --level 0.9
  --level needs --interval confidence or --interval prediction
fit data.csv LINE --where ' '
  --where is empty; give a condition such as 'x > 0', or leave the option out
fit data.csv LINE --where "z = 'A'"
  data.csv has no column 'z'; its columns are 'x', 'y'. (If 'z' is text in where="z = 'A'",
  write it in quotation marks.)
fit data.csv LINE --trace trace.txt
  cannot write --trace 'trace.txt': its ending must be one of .csv, .tsv, .parquet
fit data.csv LINE --plot fit.gif
  cannot write --plot 'fit.gif': its ending must be one of .png, .svg, .pdf
fit data.csv LINE --save nowhere/fit.json
  cannot write --save 'nowhere/fit.json': there is no folder 'nowhere'; make it first
fit data.csv LINE --trace folder.csv
  cannot write --trace 'folder.csv': it is a folder; name a file in it
fit data.csv LINE --save a.csv --trace ./a.csv
  cannot write --trace './a.csv': it is also the file of --save; name another file
fit data.csv LINE --save -
  cannot write --save '-': a name is needed
demo --output data.csv
  cannot write to the folder 'data.csv': File exists
"""


def cases():
    for case in re.split(r"\n(?! )", CASES.strip()):
        command, *lines = case.split("\n  ")
        arguments = [LINE if word == "LINE" else word for word in shlex.split(command)]
        yield pytest.param(arguments, re.sub(" ?⏎", "\n", " ".join(lines)), id=command)


@pytest.mark.usefixtures("spoiled")
@pytest.mark.parametrize(("arguments", "sentence"), list(cases()))
def test_each_mistake_has_its_sentence(capsys, arguments, sentence):
    before = sorted(os.listdir())
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"sgdfit: error: {sentence}\n"
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("option", [["--json"], ["--quiet"], ["--json", "--quiet"]])
def test_errors_are_told_whatever_is_asked_for(capsys, option):
    assert main(["fit", "dat\x1b[2J.csv", LINE, *option]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    # nothing in a message commands the terminal
    assert printed.err.startswith(r"sgdfit: error: there is no file 'dat\x1b[2J.csv'")


@pytest.mark.usefixtures("spoiled")
@pytest.mark.parametrize(
    ("what", "protected"),
    [
        ("the file is protected (permission denied)", "locked.csv"),
        ("the folder '.' is protected (permission denied)", "new.csv"),
    ],
)
def test_protected_places(capsys, monkeypatch, what, protected):
    # one who may write anywhere, as in many containers, would not notice
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert main(["fit", "data.csv", LINE, "--trace", protected]) == 2
    assert capsys.readouterr().err == f"sgdfit: error: cannot write --trace {protected!r}: {what}\n"


def test_a_file_that_fails_in_the_end_does_not_cost_the_answer(capsys, monkeypatch):
    def refuse(self, path):
        from sgdfit.errors import UsageError

        raise UsageError(f"cannot save to {path!r}: No space left on device")

    monkeypatch.setattr("sgdfit.result.result.Result.save", refuse)
    assert main(["fit", "data.csv", LINE, "--save", "fit.json"]) == 2
    printed = capsys.readouterr()
    assert "converged" in printed.out
    assert printed.err == ("sgdfit: error: cannot save to 'fit.json': No space left on device\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_behind_standard_output():
    with open("/dev/full", "w") as full:
        done = run("fit", "data.csv", LINE, stdout=full)
    assert done.returncode == 2
    assert done.stderr == (
        b"sgdfit: error: cannot write to standard output: No space left on device\n"
    )


@pytest.mark.parametrize(
    ("closed", "arguments", "status"),
    [
        (">&-", f"fit data.csv '{LINE}' --json", 0),
        (">&- 2>&-", "fit data.csv 'y ='", 2),
        ("2>&-", f"fit data.csv '{LINE}' --steps nan", 2),
        ("<&-", f"fit - '{LINE}'", 2),
    ],
)
def test_closed_streams(closed, arguments, status):
    done = subprocess.run(
        ["sh", "-c", f"exec '{sys.executable}' -m sgdfit {arguments} {closed}"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status
    assert b"Traceback" not in done.stderr


def test_control_c_while_the_program_loads_is_quiet(tmp_path):
    Path("typer.py").write_text("raise KeyboardInterrupt")
    done = run("--version", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.parametrize(
    ("error", "words"), [(MemoryError, "there is not enough memory"), (ZeroDivisionError, None)]
)
def test_what_is_no_misuse_keeps_its_traceback(monkeypatch, capsys, error, words):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("sgdfit.fitting.entry.fit", fail)
    if words is None:
        with pytest.raises(error):
            main(["fit", "data.csv", LINE])
    else:
        assert main(["fit", "data.csv", LINE]) == 2
        assert words in capsys.readouterr().err
