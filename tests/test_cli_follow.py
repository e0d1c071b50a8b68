"""`sgdfit fit - FORMULA --follow`, and rows as JSON lines, which are read at once or so."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

import sgdfit
from sgdfit.cli.app import main
from sgdfit.cli.follow import as_interval, json_lines
from sgdfit.data.delimited import arriving_rows
from sgdfit.data.floats import Place, as_floats
from sgdfit.errors import DataError

X = np.linspace(0, 5, 3_000)
Y = 3 * X + 1 + np.sin(7e3 * X)
LINE = "y = a*x + b"
CSV = "x,y\n" + "".join(f"{x!r},{y!r}\n" for x, y in zip(X.tolist(), Y.tolist(), strict=True))
JSON = "".join(json.dumps({"x": x, "y": y}) + "\n" for x, y in zip(X, Y, strict=True))
SHORT = "".join(JSON.splitlines(keepends=True)[:200])
GOOD = [json.dumps({"x": i, "y": 2 * i + i % 3}) for i in range(9)]
SINK = io.BytesIO()
with pa.ipc.new_stream(SINK, pa.schema({"x": pa.float64(), "y": pa.float64()})) as writer:
    writer.write_table(pa.table({"x": X, "y": Y}), max_chunksize=400)
ARROW = SINK.getvalue()

both_ways = pytest.mark.parametrize("way", [[], ["--follow"]], ids=["at once", "as they arrive"])


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Fit what standard input holds; return the status, what was printed and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def told(text, *options, data="-"):
        stream = io.BytesIO(text.encode() if isinstance(text, str) else text)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(stream)))
        status = main(["fit", data, LINE, *options])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), " ".join(printed.err.split())

    return told


def test_a_line_an_interval_and_the_report_at_the_end(run):
    status, lines, err = run(CSV, "--follow", "--every", "1000")
    assert (status, err) == (0, "")
    for i, line in enumerate(lines[:3], 1):
        assert re.fullmatch(rf" +{i},000 rows  a = .* ± .*  b = .* ± .*  loss 0\.\d+  .* s", line)
        assert line.index("b =") == lines[0].index("b =")
    assert lines[3:5] == ["", LINE]
    assert any("3,000 rows of standard input" in line for line in lines)


@pytest.mark.parametrize("text", [CSV, JSON, ARROW], ids=["csv", "json", "arrow"])
def test_json_lines_agree_with_the_library(run, text):
    status, lines, _ = run(text, "--follow", "--every", "1500 rows", "--json")
    *told, last = map(json.loads, lines)
    assert status == 0
    assert [line["rows"] for line in (*told, last)] == [1_500, 3_000, 3_000]
    for rows, line in ((1_500, told[0]), (3_000, told[1])):
        fit = sgdfit.fit(LINE, {"x": X[:rows], "y": Y[:rows]})
        assert (line["event"], line["status"]) == ("update", "current")
        for name in ("a", "b"):
            found, expected = line["parameters"][name], fit.estimates[name]
            assert found["value"] == pytest.approx(expected.value, rel=1e-10)
            assert found["stderr"] == pytest.approx(expected.stderr, rel=1e-9)
    assert last["parameters"]["a"]["value"] == pytest.approx(fit.values["a"], rel=1e-10)


def test_forgetting_reaches_the_fit_and_the_result_is_kept(run):
    options = ["--follow", "--forgetting", "half_life=100", "--save", "fit.json", "--quiet"]
    assert run(CSV, *options) == (0, [], "")
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
def test_a_bad_line_ends_it_or_is_counted(run, bad, sentence):
    text = "x,y\n" + "".join(f"{i},{2 * i + i % 3}\n" for i in range(10)) + bad + "10,21\n"
    status, lines, err = run(text, "--follow", "--every", "4", "--json")
    assert status == 2
    assert sentence in err
    assert [json.loads(line)["rows"] for line in lines] == [4, 8, 10, 10]
    status, lines, _ = run(text, "--follow", "--missing", "drop", "--json")
    last = json.loads(lines[-1])
    assert (status, last["rows"], last["rows_dropped"]) == (0, 11, 1)


@pytest.mark.parametrize(
    ("arguments", "text", "sentence"),
    [
        ("data.csv --follow", "", "tail -n +1 -f data.csv | sgdfit fit"),
        ("- --follow --every 2x", "", "--every is '2x'; give a number of rows"),
        ("- --follow --every 0", "", "--every is '0'"),
        ("- --follow --forgetting 2", "", "forgetting is '2'"),
        ("- --follow --loss mae", "", "made of straight pieces"),
        ("- --follow --optimizer sgd", "", "--optimizer cannot be had with"),
        ("- --every 2s", "", "--every belongs to --follow"),
        ("- --follow", "", "standard input is empty"),
        ("- --follow", "x,y\n", "has a header (x, y) and no rows below it"),
        ("- --follow", "x,y\n1,2\n", "1 row(s) do not determine a, b"),
        ("- --follow", "x,z\n1,2\n", "'y'"),
        ("- --follow", ARROW[:-3_000], "is no whole Arrow stream"),
    ],
)
def test_what_cannot_be_followed_is_said_in_a_sentence(run, arguments, text, sentence):
    data, *options = arguments.split()
    status, _, err = run(text, *options, data=data)
    assert status == 2
    assert sentence in err


def test_intervals_are_rows_or_seconds():
    told = [as_interval(text) for text in (None, "50", "1e3 rows", "500ms", "5 min")]
    assert told == [(None, 1.0), (50, None), (1_000, None), (None, 0.5), (None, 300.0)]


@pytest.mark.parametrize("cut", [1, 5, 1000])
@pytest.mark.parametrize(
    ("text", "names", "values"),
    [
        ("x,y\n1,2\n3,4\n", ("x", "y"), [[1, 3], [2, 4]]),
        ("1 2 3\n4  5 6\n", ("c1", "c2", "c3"), [[1, 4], [2, 5], [3, 6]]),
        ("# note\nx;y\n1;2\n1,5;2,5\n", ("x", "y"), [[1, 1.5], [2, 2.5]]),
        ('x\ty\r\n"1"\t2e3\r\n\r\n2\tNA', ("x", "y"), [[1, 2], [2000, np.nan]]),
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


def start(text, *options):
    """Begin to follow an input that stays open."""
    command = [sys.executable, "-m", "sgdfit", "fit", "-", LINE, "--follow", *options]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    running = subprocess.Popen(command, **pipes, env={**os.environ, "PYTHONUNBUFFERED": ""})
    running.stdin.write(text)
    running.stdin.flush()
    return running


def test_lines_come_while_the_input_is_open_and_the_reader_may_leave():
    with start(b"x,y\n1,2\n2,4\n3,7\n", "--every", "2 rows", "--json") as running:
        assert json.loads(running.stdout.readline())["rows"] == 2
        running.stdout.close()
        running.stdin.write(b"4,8\n5,9\n6,11\n")
        running.stdin.close()
        assert running.wait(60) == 141
        assert running.stderr.read() == b""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_the_last_line_and_the_report(number, status):
    fcntl, termios = map(pytest.importorskip, ("fcntl", "termios"))
    with start(b"1 2\n2 4\n3 7\n", "--every", "3 rows") as running:
        assert running.stdout.readline().split()[:2] == [b"3", b"rows"]
        running.stdin.write(b"4 8\n")
        running.stdin.flush()
        while fcntl.ioctl(running.stdin, termios.FIONREAD, bytes(4)) != bytes(4):
            time.sleep(0.01)  # the row is worked in before a signal is, and no line is due
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
        assert (running.returncode, out.split()[0], err) == (status, b"4", b"")
        assert b"4 rows of standard input" in out


@both_ways
@pytest.mark.parametrize(
    "text",
    [
        "\n  \n" + SHORT.replace("\n", "\r\n\n"),
        "\ufeff" + SHORT.rstrip(),
        SHORT.replace("}", ', "site": "A", "more": {"deep": [1]}}'),
        SHORT.replace('"x": ', '"x": "').replace(', "y"', '", "y"'),
    ],
)
def test_json_lines_are_rows(run, text, way):
    status, lines, _ = run(text, "--json", *way)
    found, whole = json.loads(lines[-1]), sgdfit.fit(LINE, {"x": X[:200], "y": Y[:200]})
    assert (status, found["rows"]) == (0, 200)
    for name in ("a", "b"):
        assert found["parameters"][name]["value"] == pytest.approx(whole.values[name], rel=1e-9)


@both_ways
def test_missing_values_are_dropped_and_text_selects_rows(run, way):
    rows = [{"x": i, "y": 2 * i + i % 3, "site": "AB"[i % 2]} for i in range(40)]
    rows[4]["y"] = None
    del rows[6]["y"]
    where = [] if way else ["--where", "site == 'A'"]
    text = "\n".join([*map(json.dumps, rows), "oops"] + ['{"x": 9, "y": "n/b"}'] * len(way))
    status, lines, _ = run(text, *where, "--missing", "drop", "--json", *way)
    found = json.loads(lines[-1])
    expected = (38, 4) if way else (18, 2)
    assert (status, found["rows"], found["rows_dropped"]) == (0, *expected)


@both_ways
@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ('{"x": 3, "y"', "line 3 of standard input is no JSON object (Expecting ':' delimiter)"),
        ('{"x": 3, "y": [1, 2]}', "is '[1, 2]', which is no number"),
        ('{"x": 3, "y": "n/b"}', "is 'n/b', which is no number"),
        ('{"x": 3}', "is missing (NaN)"),
        ('{"x": 3, "y": Infinity}', "is infinity"),
        (
            ['[{"x": 1, "y": 2}]'],
            "(it is of type 'list'): '[{\"x\": 1, \"y\": 2}]'; give one object",
        ),
        (["{}"], "line 1 of standard input is no JSON object"),
        (['{"x": 1, "z": 2}'], "'y', which is no column of the data; its columns are 'x', 'z'"),
        (['{"x": ' + "[" * 100_000, ""], "is no JSON object (it is nested too deep)"),
    ],
)
def test_a_bad_line_is_named(run, bad, sentence, way):
    lines = bad if isinstance(bad, list) else [*GOOD[:2], bad, *GOOD[2:]]
    status, _, err = run("\n".join(lines), *way)
    assert status == 2
    assert sentence in err


@pytest.mark.parametrize("cut", [1, 3])
def test_lines_may_be_cut_anywhere_and_names_are_normalized(cut):
    data = '{"µ": 1}\n{"µ": 2e3}\n\n{"µ": null, "x": 0}'.encode()
    parts = iter([*(data[i : i + cut] for i in range(0, len(data), cut)), b""])
    found = list(json_lines(parts.__next__))
    tables = [table(0, rows) for rows, table in found]
    assert {table.names for table in tables} == {("μ",)}
    values = np.array([v for t in tables for v in t.fetch([0])[0].tolist()], dtype=float)
    np.testing.assert_array_equal(values, [1, 2e3, np.nan])
    lines = [t.line(i) for t, (n, _) in zip(tables, found, strict=True) for i in range(n)]
    assert lines == [" (line 1)", " (line 2)", " (line 4)"]
    with pytest.raises(DataError, match="line 2"):
        list(json_lines(iter([b'{"x": 1}\nx', b""]).__next__))
