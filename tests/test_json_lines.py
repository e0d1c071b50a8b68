"""JSON lines on standard input: an object a row, all at once and as they arrive."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

import sgdfit
from sgdfit.cli.app import main
from sgdfit.cli.follow import json_lines
from sgdfit.errors import DataError

LINE = "y = a*x + b"
X = np.linspace(0, 5, 200)
Y = 3 * X + 1 + np.sin(7e3 * X)
TEXT = "".join(json.dumps({"x": x, "y": y}) + "\n" for x, y in zip(X, Y, strict=True))
# A plain fit reads all rows at once; --follow as they arrive.
WAYS = [[], ["--follow"]]
pytestmark = pytest.mark.parametrize("way", WAYS, ids=["at once", "as they arrive"])


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, way):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def told(text, *options):
        data = io.BufferedReader(io.BytesIO(text.encode()))
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))
        status = main(["fit", "-", LINE, *options, *way])
        printed = capsys.readouterr()
        found = json.loads(printed.out.splitlines()[-1]) if "--json" in options else None
        return status, found, " ".join(printed.err.split())

    return told


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
def test_json_lines_are_rows(run, text):
    status, found, _ = run(text, "--json")
    whole = sgdfit.fit(LINE, {"x": X, "y": Y})
    assert (status, found["rows"]) == (0, 200)
    for name in ("a", "b"):
        assert found["parameters"][name]["value"] == pytest.approx(whole.values[name], rel=1e-9)


def test_missing_values_are_dropped_and_text_selects_rows(run, way):
    rows = [{"x": i, "y": 2 * i + i % 3, "site": "AB"[i % 2]} for i in range(40)]
    rows[4]["y"] = None
    del rows[6]["y"]
    where = [] if way else ["--where", "site == 'A'"]
    lines = [*map(json.dumps, rows), "oops"] + ['{"x": 9, "y": "n/b"}'] * len(way)
    status, found, _ = run("\n".join(lines), *where, "--missing", "drop", "--json")
    expected = (38, 4) if way else (18, 2)
    assert (status, found["rows"], found["rows_dropped"]) == (0, *expected)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ('{"x": 3, "y"', "line 3 of standard input is no JSON object (Expecting ':' delimiter)"),
        ("7", "is no JSON object (it is of type 'int'): '7'; give one object a line, such as"),
        ('{"x": 3, "y": [1, 2]}', "is '[1, 2]', which is no number"),
        ('{"x": {"v": 1}, "y": 1}', "is '{\"v\": 1}', which is no number"),
        ('{"x": 3, "y": "n/b"}', "is 'n/b', which is no number"),
        ('{"x": 3}', "is missing (NaN)"),
        ('{"x": 3, "y": Infinity}', "is infinity"),
    ],
)
def test_a_bad_line_is_named(run, bad, sentence):
    lines = [json.dumps({"x": i, "y": 2 * i + i % 3}) for i in range(9)]
    status, _, err = run("\n".join([*lines[:2], bad, *lines[2:]]))
    assert status == 2
    assert sentence in err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[{"x": 1, "y": 2}]', 'begins with \'[{"x": 1, "y": 2}]\', a JSON array; give one object'),
        ("{}", "line 1 of standard input is no JSON object"),
        ('{"x": 1, "z": 2}', "uses 'y', which is no column of the data; its columns are x, z"),
        ('{"x": ' + "[" * 100_000 + "\n", "is no JSON object (it is nested too deep)"),
    ],
)
def test_what_is_no_row_is_said_at_once(run, text, sentence):
    status, _, err = run(text)
    assert status == 2
    assert sentence in err


def test_lines_may_be_cut_anywhere_and_names_are_normalized(way):
    data, cut = '{"µ": 1}\n{"µ": 2e3}\n\n{"µ": null, "x": 0}'.encode(), 3 if way else 1
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
