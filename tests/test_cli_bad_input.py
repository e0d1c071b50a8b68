"""What the command line says of bad input: the whole sentence, nothing on standard output."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sgdfit.cli.app import main

LINE = "y = a*x + b"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("x,y\n1,2\n2,4.5\n3,6\n4,8.5\n")
    Path("holes.csv").write_text("x,y\n1,2\n2,\n3,6\n")
    Path("words.csv").write_text("x,y\n1,two\n2,four\n3,six\n")
    Path("cut.json").write_text('{"format": "sgdfit", "version"')
    Path("folder.csv").mkdir()
    Path("locked.csv").write_text("")
    Path("hard.csv").hardlink_to("data.csv")
    return tmp_path


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
fit data.csv LINE -r -0.1
  learning_rate is -0.1; it must be above 0
fit data.csv LINE --steps many
  --steps is 'many'; a number is needed
fit data.csv LINE --steps 2.5
  steps must be a whole number, 1 or more, not 2.5.
fit data.csv LINE --steps 5 --epochs 2
  steps=5 and epochs=2 are two lengths; give one of them
fit data.csv LINE --batch-size half
  batch_size is 'half'; give a number of rows or 'full'
fit data.csv LINE --tolerance 0
  tolerance is 0 standard errors; it must be above 0
fit data.csv LINE --missing dorp
  missing='dorp' is not known; write 'error' to refuse rows without finite numbers, or 'drop'
  to leave them out. Did you mean 'drop'?
fit data.csv LINE --kernel numba
  kernel='numba' is not one of 'auto', 'numpy', 'compiled'
fit data.csv LINE --bound a
  --bound is 'a'; write '0 < b < 10' or 'b > 0'
explain LINE --bound a=1
  --bound is 'a=1'; write '0 < b < 10' or 'b > 0'
fit data.csv LINE --weights ''
  --weights is empty; give a column, or leave the option out
explain 'a*x' --response ' '
  --response is empty; give a column, or leave the option out
fit data.csv 'a*x + b'
  the formula 'a*x + b' does not say which column it describes; write 'y = a*x + b' or pass
  response='y' (--response y)
fit data.csv 'y = a*(x + b'
  this '(' is never closed⏎  y = a*(x + b⏎        ^
explain 'y = a*sni(x)'
  there is no function 'sni'. Did you mean 'sin'?⏎  y = a*sni(x)⏎        ^
explain 'y = a*x' --latex --html
  --latex and --html are two forms; give one of them
explain 'S = a*hours' --variables hour
  the variable 'hour' is not in the formula; its names are S, a, hours. Did you mean 'hours'?
fit /dev/zero LINE
  /dev/zero is binary, not delimited text: byte 1 is 0x00; give a text file, or name it by its
  true format
fit dat.csv LINE
  there is no file 'dat.csv'; check its name and folder. Did you mean 'data.csv'?
fit holes.csv LINE
  1 of 3 rows has no finite number in holes.csv: column 'y' row 2 (line 3) is missing (NaN);
  correct them, or pass missing='drop' (--missing drop on the command line) to leave them out
fit words.csv LINE
  column 'y' of words.csv holds text: row 1 (line 2) is 'two', which is no number; correct it,
  leave it empty if it is missing, or leave the column out of the formula
predict none.json data.csv
  cannot read 'none.json': No such file or directory
show cut.json
  'cut.json' is not a whole saved fit: the file is cut off
predict none.json data.csv --level 0.9
  --level needs --interval confidence or --interval prediction
fit data.csv LINE --sigma x --weights y
  sigma='x' and weights='y' both say what a row weighs; give one of them (weights are
  1/sigma**2)
fit data.csv LINE --absolute-sigma
  absolute_sigma takes the standard deviations of the rows at their word, but there are none;
  give sigma='column', or leave absolute_sigma out
fit data.csv LINE --where ' '
  --where is empty; give a condition such as 'x > 0', or leave the option out
fit data.csv LINE --where 'x >'
  --where cannot be read: the condition ends where a column, a number or a text should follow
  ⏎  x >⏎     ^
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
fit data.csv LINE --trace hard.csv
  cannot write --trace 'hard.csv': it is also the file that is read; name another file
fit data.csv LINE --save a.csv --trace ./a.csv
  cannot write --trace './a.csv': it is also the file of --save; name another file
fit data.csv LINE --save -
  cannot write --save '-': a name is needed
predict cut.json data.csv --output curve
  cannot write --output 'curve': its ending must be one of .csv, .tsv, .parquet
demo --output data.csv
  cannot write to the folder 'data.csv': File exists
"""


def cases():
    for case in re.split(r"\n(?! )", CASES.strip()):
        command, *lines = case.split("\n  ")
        arguments = [LINE if word == "LINE" else word for word in shlex.split(command)]
        yield pytest.param(arguments, re.sub(" ?⏎", "\n", " ".join(lines)), id=command)


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
        done = subprocess.run(
            [sys.executable, "-m", "sgdfit", "fit", "data.csv", LINE],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        b"sgdfit: error: cannot write to standard output: No space left on device\n"
    )


@pytest.mark.parametrize(
    ("closed", "arguments", "status"),
    [
        (">&-", f"fit data.csv '{LINE}' --json", 0),
        (">&-", f"fit data.csv '{LINE}'", 0),
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
    done = subprocess.run(
        [sys.executable, "-m", "sgdfit", "--version"],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
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
