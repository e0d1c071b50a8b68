"""JSON lines on standard input: an object a row, all at once and as they arrive."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

import sgdfit
from sgdfit.cli.app import main
from sgdfit.cli.follow import JsonLines
from sgdfit.errors import DataError

LINE = "y = a*x + b"
X = np.linspace(0, 5, 200)
Y = 3 * X + 1 + np.sin(7e3 * X)
TEXT = "".join(json.dumps({"x": x, "y": y}) + "\n" for x, y in zip(X, Y, strict=True))
# A plain fit reads all rows at once; --follow as they arrive.
WAYS = [[], ["--follow"]]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def told(text, *options):
        monkeypatch.setattr(
            "sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode())))
        )
        status = main(["fit", "-", *options])
        printed = capsys.readouterr()
        return status, printed.out, " ".join(printed.err.split())

    return told


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "\n  \n" + TEXT.replace("\n", "\r\n\n"),
        "\ufeff" + TEXT.rstrip(),
        TEXT.replace("}", ', "site": "A", "more": {"deep": [1]}}'),
        TEXT.replace('"x": ', '"x": "').replace(', "y"', '", "y"'),
    ],
)
def test_json_lines_are_rows(run, way, text):
    status, out, _ = run(text, LINE, "--json", *way)
    found, whole = json.loads(out.splitlines()[-1]), sgdfit.fit(LINE, {"x": X, "y": Y})
    assert status == 0
    for name in ("a", "b"):
        assert found["parameters"][name]["value"] == pytest.approx(whole.values[name], rel=1e-9)
    assert found["rows"] == 200


def test_where_and_missing_values(run):
    rows = [{"x": i, "y": 2 * i + i % 3, "site": "AB"[i % 2]} for i in range(40)]
    rows[4]["y"] = None
    del rows[6]["y"]
    text = "\n".join(map(json.dumps, rows))
    status, out, _ = run(text, LINE, "--where", "site == 'A'", "--missing", "drop", "--json")
    found = json.loads(out)
    assert (status, found["rows"], found["rows_dropped"]) == (0, 18, 2)
    status, out, _ = run(text, LINE, "--follow", "--missing", "drop", "--json")
    found = json.loads(out.splitlines()[-1])
    assert (status, found["rows"], found["rows_dropped"]) == (0, 38, 2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ('{"x": 3, "y"', "line 3 of standard input is no JSON object (Expecting ':' delimiter)"),
        ("7,8", "line 3 of standard input is no JSON object"),
        ("7", "is no JSON object (it is of type 'int'): '7'; give one object a line, such as"),
        ('{"x": 3, "y": [1, 2]}', "is '[1, 2]', which is no number"),
        ('{"x": {"v": 1}, "y": 1}', "is '{\"v\": 1}', which is no number"),
        ('{"x": 3, "y": "n/b"}', "is 'n/b', which is no number"),
        ('{"x": 3}', "is missing (NaN)"),
        ('{"x": 3, "y": Infinity}', "is infinity"),
    ],
)
def test_a_bad_line_is_named(run, way, bad, sentence):
    lines = [json.dumps({"x": i, "y": 2 * i + i % 3}) for i in range(9)]
    text = "\n".join([*lines[:2], bad, *lines[2:]])
    status, _, err = run(text, LINE, *way)
    assert status == 2
    assert sentence in err


def test_bad_lines_are_counted_where_they_may_be_dropped(run):
    lines = [json.dumps({"x": i, "y": 2 * i + i % 3}) for i in range(9)]
    for way, extra in zip(WAYS, ([], ['{"x": 9, "y": "n/b"}']), strict=True):
        text = "\n".join([*lines[:2], "oops", *lines[2:], *extra])
        status, out, _ = run(text, LINE, "--missing", "drop", "--json", *way)
        found = json.loads(out.splitlines()[-1])
        assert (status, found["rows"], found["rows_dropped"]) == (0, 9, 1 + len(extra))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[{"x": 1, "y": 2}]', 'begins with \'[{"x": 1, "y": 2}]\', a JSON array; give one object'),
        ("{}", "line 1 of standard input is no JSON object"),
        ('{"x": 1, "z": 2}', "uses 'y', which is no column of the data; its columns are x, z"),
        ("{" + '"a":[' * 9 + "\n", "line 1 of standard input is no JSON object"),
    ],
)
def test_what_is_no_row_is_said_at_once(run, way, text, sentence):
    status, _, err = run(text, LINE, *way)
    assert status == 2
    assert sentence in err


@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_lines_may_be_cut_anywhere(cut):
    data = '{"µ": 1}\n{"µ": 2e3}\n\n{"µ": null, "x": 0}'.encode()
    lines = JsonLines("standard input")
    found = [b for i in range(0, len(data), cut) for b in lines.feed(data[i : i + cut])]
    found += lines.feed(b"", final=True)
    tables = [batch.table(0, batch.rows) for batch in found]
    assert {table.names for table in tables} == {("μ",)}
    values = np.concatenate([table.fetch([0])[0] for table in tables])
    np.testing.assert_array_equal(values, [1, 2e3, np.nan])
    lines = [t.line(i) for t, b in zip(tables, found, strict=True) for i in range(b.rows)]
    assert lines == [" (line 1)", " (line 2)", " (line 4)"]


def test_nesting_beyond_all_bounds_is_an_error_of_the_data():
    with pytest.raises(DataError, match="it is nested too deep"):
        list(JsonLines("standard input").feed(b'{"x": ' + b"[" * 100_000 + b"\n"))
