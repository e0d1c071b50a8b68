"""`sgdfit fit - FORMULA --follow`, fed as a shell feeds it and through its entry point."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

import sgdfit
from sgdfit.cli.app import main
from sgdfit.cli.follow import as_interval
from sgdfit.data.delimited import arriving_rows
from sgdfit.data.floats import Place, as_floats

X = np.linspace(0, 5, 3_000)
Y = 3 * X + 1 + np.sin(7e3 * X)
TEXT = "x,y\n" + "".join(f"{x!r},{y!r}\n" for x, y in zip(X.tolist(), Y.tolist(), strict=True))
LINE = "y = a*x + b"


@pytest.fixture
def feed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def give(data):
        data = data.encode() if isinstance(data, str) else data
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))

    return give


def test_a_line_an_interval_and_the_report_at_the_end(feed, capsys):
    feed(TEXT)
    assert main(["fit", "-", LINE, "--follow", "--every", "1000"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split() == ["rows", "time", "loss", "a", "b"]
    assert [line.split()[0] for line in lines[1:4]] == ["1,000", "2,000", "3,000"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert all(line.count("±") == 2 for line in lines[1:4])
    assert lines[4:6] == ["", LINE]
    assert "3,000 rows of standard input" in printed.out
    assert printed.err == ""


def test_json_lines_agree_with_the_library(feed, capsys):
    feed(TEXT)
    assert main(["fit", "-", LINE, "--follow", "--every", "1500 rows", "--json"]) == 0
    *told, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [line["rows"] for line in told] == [1_500, 3_000]
    half = sgdfit.fit(LINE, {"x": X[:1500], "y": Y[:1500]})
    whole = sgdfit.fit(LINE, {"x": X, "y": Y})
    for line, fit in ((told[0], half), (told[1], whole)):
        assert (line["event"], line["status"]) == ("update", "current")
        for name in ("a", "b"):
            found, expected = line["parameters"][name], fit.estimates[name]
            assert found["value"] == pytest.approx(expected.value, rel=1e-10)
            assert found["stderr"] == pytest.approx(expected.stderr, rel=1e-9)
    assert last["parameters"]["a"]["value"] == pytest.approx(whole.estimates["a"].value, rel=1e-10)
    assert last["rows"] == 3_000


def test_an_arrow_stream_is_followed(feed, capsys):
    sink, table = io.BytesIO(), pa.table({"x": X, "y": Y})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=400)
    feed(sink.getvalue())
    assert main(["fit", "-", LINE, "--follow", "--every", "1000", "--json"]) == 0
    told = [json.loads(line)["rows"] for line in capsys.readouterr().out.splitlines()]
    assert told == [1_000, 2_000, 3_000, 3_000]
    feed(sink.getvalue()[:-3_000])
    assert main(["fit", "-", LINE, "--follow", "--json"]) == 2
    assert "is no whole Arrow stream" in capsys.readouterr().err


def test_forgetting_reaches_the_fit_and_the_result_is_kept(feed, capsys):
    feed(TEXT)
    options = ["--follow", "--forgetting", "half_life=100", "--save", "fit.json", "--quiet"]
    assert main(["fit", "-", LINE, *options]) == 0
    assert capsys.readouterr() == ("", "")
    assert sgdfit.load("fit.json").optimizer == "recursive(forgetting=half_life=100)"


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("7\n", "line 12 of standard input has 1 field where the header has 2: '7'"),
        ("7,8,9\n", "line 12 of standard input has 3 fields where the header has 2"),
        ("abc,9\n", "(line 12) is 'abc', which is no number"),
        ("nan,9\n", "(line 12) is missing (NaN)"),
    ],
)
def test_a_bad_line_ends_it_or_is_counted(feed, capsys, bad, sentence):
    rows = "".join(f"{i},{2 * i + i % 3}\n" for i in range(10))
    feed("x,y\n" + rows + bad + "10,21\n")
    assert main(["fit", "-", LINE, "--follow", "--every", "4", "--json"]) == 2
    printed = capsys.readouterr()
    assert sentence in " ".join(printed.err.split())
    assert [json.loads(line)["rows"] for line in printed.out.splitlines()] == [4, 8, 10, 10]
    feed("x,y\n" + rows + bad + "10,21\n")
    assert main(["fit", "-", LINE, "--follow", "--missing", "drop", "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["rows"], last["rows_dropped"]) == (11, 1)


@pytest.mark.parametrize(
    ("arguments", "text", "sentence"),
    [
        (["data.csv", LINE, "--follow"], "", "tail -n +1 -f data.csv | sgdfit fit"),
        (["-", LINE, "--follow", "--every", "2x"], "", "--every is '2x'; give a number of rows"),
        (["-", LINE, "--follow", "--every", "0"], "", "--every is '0'"),
        (["-", LINE, "--follow", "--forgetting", "2"], "", "forgetting is '2'"),
        (["-", LINE, "--follow", "--loss", "mae"], "", "made of straight pieces"),
        (["-", LINE, "--follow", "--optimizer", "sgd"], "", "--optimizer cannot be had with"),
        (["-", LINE, "--every", "2s"], "", "--every belongs to --follow"),
        (["-", LINE, "--follow"], "", "standard input is empty"),
        (["-", LINE, "--follow"], "x,y\n", "has a header (x, y) and no rows below it"),
        (["-", LINE, "--follow"], "x,y\n1,2\n", "1 row(s) do not determine a, b"),
        (["-", "y = a*t", "--follow"], "x,z\n1,2\n", "'y'"),
    ],
)
def test_what_cannot_be_followed_is_said_in_a_sentence(feed, capsys, arguments, text, sentence):
    feed(text)
    assert main(["fit", *arguments]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("cut", [1, 5, 1000])
@pytest.mark.parametrize(
    ("text", "names", "values"),
    [
        ("x,y\n1,2\n3,4\n", ("x", "y"), [[1, 3], [2, 4]]),
        ("1 2 3\n4  5 6\n", ("c1", "c2", "c3"), [[1, 4], [2, 5], [3, 6]]),
        ("# note\nx;y\n1;2\n1,5;2,5\n", ("x", "y"), [[1, 1.5], [2, 2.5]]),
        ("x\ty\r\n1\t2e3\r\n\r\n2\tNA", ("x", "y"), [[1, 2], [2000, np.nan]]),
        ('t,y\n"1",2\n2,3\n', ("t", "y"), [[1, 2], [2, 3]]),
    ],
)
def test_text_is_read_as_it_arrives_however_it_is_cut(text, names, values, cut):
    parts = [*(text.encode()[i : i + cut] for i in range(0, len(text), cut)), b""]
    tables = [table(0, n) for n, table in arriving_rows(iter(parts).__next__, "standard input")]
    assert {table.names for table in tables} == {names}
    for place, (name, expected) in enumerate(zip(names, values, strict=True)):
        columns = []
        for table in tables:
            where = Place(name, "", table.line, table.decimal)
            columns.extend(as_floats(table.fetch([place])[0], where).tolist())
        np.testing.assert_array_equal(columns, expected)


@pytest.mark.parametrize(
    ("text", "rows", "seconds"),
    [(None, None, 1.0), ("50", 50, None), ("1e3 rows", 1_000, None), ("500ms", None, 0.5)],
)
def test_intervals_are_rows_or_seconds(text, rows, seconds):
    assert as_interval(text) == (rows, seconds)


@pytest.mark.parametrize(("columns", "heads"), [(60, 3), (80, 5), (40, 3), (30, 2)])
def test_lines_fit_the_terminal(feed, capsys, monkeypatch, columns, heads):
    monkeypatch.setenv("COLUMNS", str(columns))
    feed(TEXT)
    assert main(["fit", "-", LINE, "--follow", "--every", "1000"]) == 0
    lines = capsys.readouterr().out.splitlines()[:4]
    assert max(map(len, lines)) <= columns
    assert len(lines[0].split()) >= heads
    assert lines[0].split()[:1] == ["rows"]


def start(*options):
    return subprocess.Popen(
        [sys.executable, "-m", "sgdfit", "fit", "-", LINE, "--follow", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )


def test_lines_come_while_the_input_is_open_and_the_reader_may_leave():
    running = start("--every", "2 rows", "--json")
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(b"x,y\n1,2\n2,4\n3,7\n")
    running.stdin.flush()
    assert json.loads(running.stdout.readline())["rows"] == 2
    running.stdout.close()
    running.stdin.write(b"4,8\n5,9\n6,11\n")
    running.stdin.close()
    assert running.wait(60) == 141
    assert running.stderr is not None
    assert running.stderr.read() == b""
    running.stderr.close()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_the_last_line_and_the_report(number, status):
    running = start("--every", "3 rows")
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(b"1 2\n2 4\n3 7\n")
    running.stdin.flush()
    head, line = running.stdout.readline(), running.stdout.readline()
    assert head.split() == [b"rows", b"time", b"loss", b"a", b"b"]
    assert line.split()[0] == b"3"
    running.stdin.write(b"4 8\n")
    running.stdin.flush()
    time.sleep(1)  # the row is worked in, and no line is due
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == status
    assert out.split()[0] == b"4"
    assert b"4 rows of standard input" in out
    assert err == b""
