"""Bad input: each its own sentence, all in one table."""

from __future__ import annotations

import gzip
import io
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permissions import as_nobody, reachable
from sgdfit.data.formats import format_table
from sgdfit.data.readers import KINDS, open_table
from sgdfit.errors import DataError, UsageError


def parquet(rows=1000):
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": np.arange(float(rows))}), sink)
    return sink.getvalue()


def feather():
    sink = io.BytesIO()
    pyarrow.feather.write_feather(pa.table({"x": np.arange(50.0)}), sink)
    return sink.getvalue()


FEATHER = feather()
GZ = gzip.compress(b"x,y\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(5000)))

# (content of data.csv or name and content, words of the message in their order)
FILES = {
    "0 bytes": (b"", ["data.csv is empty (0 bytes)"]),
    "0 bytes, compressed": (("data.csv.gz", gzip.compress(b"")), ["empty (0 bytes)"]),
    "comments only": (b"# nothing\n\n", ["holds no rows, only blank lines or comments"]),
    "header without rows": (b"x,y\n# z\n", ["a header (x, y) and no rows below it"]),
    "text column": (
        b"x,y\n# c\n1,2\n\n3,abc\n",
        ["column 'y' of data.csv", "row 2 (line 5) is 'abc'", "no number", "leave the column out"],
    ),
    "wrong decimal sign": (
        b'x,y\n1,"2,5"\n',
        ["row 1 (line 2) is '2,5'", "the decimal sign here is the point"],
    ),
    "thousands": (
        b'x,y\n"1,000",1\n"2,000",2\n',
        ["column 'x'", "row 1 (line 2) is '1,000'", "take out commas between thousands"],
    ),
    "thousands in each column": (
        b'"a","b"\n"1,000,000.5","2,000"\n',
        ["column 'a'", "is '1,000,000.5'", "take out commas between thousands"],
    ),
    "thousands, decimal comma": (
        b"x;y\n1,5;2,5\n2,5;1.000,5\n",
        ["column 'y'", "is '1.000,5'", "is the comma; take out points between thousands"],
    ),
    "two decimal signs": (
        b"x;y\n1,5;2,5\n2;3.5\n",
        ["column 'y'", "'3.5'", "the decimal sign of this file is the comma"],
    ),
    "too few fields": (b"x,y\n1,2\n3\n", ["line 3 of data.csv has 1 field where the header has 2"]),
    "too many fields": (b"1;2\n\n3;4;5\n", ["line 3", "has 3 fields where the first row has 2"]),
    "too many blanks": (b"x y\n1 2\n3 4 5\n", ["line 3", "has 3 fields", "'3 4 5'"]),
    "open quote": (b'x,y\n1,2\n"3,4\n5,6\n', ["has 1 field where the header has 2"]),
    "binary": (bytes(range(200, 256)) + b"\n\x00\x01", ["is binary", "byte 58 is 0x00"]),
    "spreadsheet called .csv": (b"PK\x03\x04\x14", ["not delimited text", "spreadsheet"]),
    "Parquet called .csv": (parquet(), ["it starts like Parquet; rename it to .parquet"]),
    "UTF-16": ("x,y\n1,2\n".encode("utf-16"), ["UTF-16; save it again as UTF-8"]),
    "UTF-16 without a mark": ("x,y\n1,2\n".encode("utf-16-be"), ["as in UTF-16; save it again"]),
    "pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        ["it starts like a pointer of Git LFS; fetch the file itself"],
    ),
    "web page": (b"<!DOCTYPE html>\n<html></html>\n", ["starts like a web page; download"]),
    "JSON lines": (b'{"x": 1, "y": 2}\n{"x": 2, "y": 3}\n', ["starts like JSON; read it with"]),
    "error of a spreadsheet": (
        b"x,y\n1,2\n#DIV/0!,3\n# a comment\n4,5\n",
        ["column 'x'", "row 2 (line 3) is '#DIV/0!', which is no number"],
    ),
    "missing in the first column": (
        b"x,y\n1,2\n  #N/A ,3\n4,5\n",
        ["1 of 3 rows", "column 'x' row 2 (line 3) is missing (NaN)"],
    ),
    "missing before blanks": (
        b"x y\n1 2\n#N/A 3\n# N/A 3\n4 5\n",
        ["1 of 3 rows", "column 'x' row 2 (line 3) is missing (NaN)"],
    ),
    "a quote in a header": (
        b'x",y\n1,2\n3,4,5\n',
        ["line 3", "has 3 fields where the header has 2"],
    ),
    "a line within quotes": (
        b'n,x\n"1\n",1\n"2\n\n",two\n',
        ["column 'x'", "row 2 (line 4) is 'two'"],
    ),
    "decimal commas in quotes": (
        b'x,y\n"0,125","1,5"\n"2,25",3\n',
        ["is '0,125'", "the decimal sign here is the point: write 0.125"],
    ),
    "Latin-1 header": (
        "x,température\n1,2\n".encode("latin-1"),
        ["not UTF-8", "byte 7 of line 1 is 0xe9", "save the file again as UTF-8"],
    ),
    "Latin-1 rows": (
        "x,y\n1,2\n3,é\n".encode("latin-1"),
        ["column 'y'", "not UTF-8", "row 2 (line 3)", r"\xe9", "UTF-8"],
    ),
    "two columns of a name": (b"x,x\n1,2\n", ["data.csv has 2 columns named 'x'", "rename"]),
    "cut-off gz": (("data.csv.gz", GZ[:-100]), ["data.csv.gz is cut off", "gzip", "copy"]),
    "no gz": (("data.csv.gz", b"x,y\n1,2\n"), ["no gzip file"]),
    "cut-off Parquet": (("data.parquet", parquet()[:-200]), ["cut off", "Parquet"]),
    "cut-off Feather": (("data.feather", b"ARROW1\0\0abc"), ["cut off", "Feather or Arrow"]),
    "old Feather": (("data.feather", b"FEA1abc"), ["version 1", "write it as version 2"]),
    "no rows in Parquet": (("data.parquet", parquet(0)), ["data.parquet has no rows"]),
    "unknown ending": (("data.foo", b"1"), ["the ending '.foo'", "not supported", format_table()]),
    "unknown ending, compressed": (("data.foo.gz", b"1"), ["the ending '.foo'", format_table()]),
    "no ending": (("data", b"1"), ["data has no ending", format_table()]),
    "Excel": (("data.xlsx", b"1"), ["'.xlsx'", "save the sheet as CSV", format_table()]),
    "JSON": (("data.json", b"1"), ["'.json'", "read it with pandas", format_table()]),
    "HDF5": (("data.h5", b"1"), ["'.h5'", "read it with pandas", format_table()]),
    "no ORC": (("data.orc", b"1"), ["data.orc is cut off, damaged or no ORC file"]),
    "missing": (
        b"x,y\n1,\n2,3\n4,inf\n",
        ["2 of 3 rows have no finite number in data.csv", "column 'y' row 1 (line 2) is missing"],
    ),
    "integer that loses digits": (
        b"x,y\n1,9007199254740993\n",
        ["column 'y'", "9007199254740993 in row 1 (line 2)", "2**53", "subtract an offset"],
    ),
}

PIECES = [
    "0",
    "12",
    "3.5",
    "1e5",
    "NA",
    "ab",
    "é",
    "-",
    ",",
    ";",
    "\t",
    " ",
    "|",
    '"',
    "#",
    "\n",
    "\r\n",
]


def outcome(data, missing):
    """Return the source, or the message of a DataError; anything else is a failure."""
    try:
        return load_all(data, missing=missing), ""
    except DataError as error:
        return None, str(error)


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.sampled_from(["drop", "error"])
)
def test_any_text_is_read_or_refused_in_our_own_words(text, missing):
    source, message = outcome(io.StringIO(text), missing)
    if source is None:
        assert "the data" in message
    else:
        assert source.rows >= 1
        assert all(np.isfinite(column).all() for column in source.columns.values())


@settings(max_examples=100)
@given(st.data())
def test_damaged_files_are_read_or_refused_in_our_own_words(data):
    content = bytearray(data.draw(st.sampled_from([parquet(50), GZ, FEATHER])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    source, message = outcome(io.BytesIO(bytes(content)), "drop")
    assert "the data" in message if source is None else source.rows >= 1


NAN = np.nan
MASKED = {"x": np.arange(200.0), "y": np.arange(200.0)}
MASKED["y"][[16, 30]] = NAN, -np.inf
MASKED["x"][[40, 16]] = np.inf, np.inf

OBJECTS = {
    "number": (5, ["type 'int' (5) cannot be read", *[kind.words for kind in KINDS]]),
    "None": (None, ["type 'NoneType'", "mapping of names to arrays"]),
    "list of numbers": ([1, 2], ["columns have no names: write {'x': x, 'y': y}"]),
    "plain array": (np.zeros((3, 2)), ["type 'ndarray'", "columns have no names"]),
    "no columns": ({}, ["the data has no columns"]),
    "empty frame": (pd.DataFrame(), ["the data has no columns"]),
    "no rows": ({"x": [], "y": []}, ["the data has no rows"]),
    "key that is no text": ({1: [2.0]}, ["column named 1, which is no text", "{'x': x"]),
    "frame without names": (pd.DataFrame(np.ones((2, 2))), ["named 0", "frame.columns ="]),
    "lengths": (
        {"x": [1, 2], "y": [1, 2, 3]},
        ["columns 'x' and 'y' of the data have 2 and 3 rows", "the same length"],
    ),
    "complex": ({"x": [1j]}, ["column 'x'", "complex", "real and imaginary parts"]),
    "two-dimensional": ({"x": np.zeros((3, 2))}, ["column 'x'", "shape (3, 2)"]),
    "ragged": ({"x": [[1, 2], [3]]}, ["column 'x'", "one number a row"]),
    "lists": ({"x": pa.array([[1], [2]])}, ["column 'x' of the data holds list<"]),
    "structure": ({"x": np.array([(1, 2)], "f8,f8")}, ["column 'x'", "one number a row"]),
    "period": ({"x": pd.period_range("2020", periods=2, freq="M")}, ["column 'x'"]),
    "months": ({"x": np.array([1], "m8[M]")}, ["column 'x'", "no number of seconds"]),
    "text": ({"x": ["1", "abc"]}, ["column 'x'", "row 2 is 'abc'", "no number"]),
    "text among numbers": ({"x": [1.5, None, "two"]}, ["'two' in row 3", "text and no number"]),
    "long text": ({"x": ["a" * 1000]}, ["row 1 is 'aaa", "…"]),
    "one word": ({"x": "abc"}, ["column 'x'", "'abc'"]),
    "object": ({"x": [object()]}, ["column 'x'", "row 1", "type 'object'"]),
    "generator": ({"x": (i for i in [1])}, ["column 'x'", "type 'generator'"]),
    "categories of text": ({"x": pd.Series(["a"], dtype="category")}, ["row 1 is 'a'"]),
    "int64": ({"x": np.array([1, 2**53 + 1])}, ["9007199254740993 in row 2", "lose digits"]),
    "int64, largest": ({"x": np.array([2**63 - 1])}, ["9223372036854775807", "lose digits"]),
    "uint64": ({"x": np.array([2**64 - 1], np.uint64)}, ["18446744073709551615"]),
    "Int64": ({"x": pd.array([None, 2**53 + 1], "Int64")}, ["9007199254740993 in row 2"]),
    "Python integer": ({"x": [2**70 + 1]}, ["row 1", "no number that float64 can hold"]),
    "not finite": (
        MASKED,
        [
            "3 of 200 rows have no finite number in the data: column 'x' row 17 is infinity"
            " (first), column 'y' row 17 is missing (NaN); correct them, or pass missing='drop'"
            " (--missing drop on the command line) to leave them out"
        ],
    ),
    "one not finite": (
        {"x": [1, 2], "y": [1, -np.inf]},
        ["1 of 2 rows has", "row 2 is -infinity;"],
    ),
    "Arrow stream of numbers": (pa.chunked_array([[1.0]]), ["no table of named columns"]),
}


def assert_says(message, words):
    start = 0
    for word in words:
        assert word in message[start:], f"{word!r} is not (in this order) in: {message}"
        start = message.index(word, start) + len(word)
    assert "pyarrow" not in message


def load_all(data, **options):
    table = open_table(data)
    return table.load(table.names, **options)


@pytest.mark.parametrize("name", FILES)
def test_bad_files(name, tmp_path):
    content, words = FILES[name]
    called, content = content if isinstance(content, tuple) else ("data.csv", content)
    path = tmp_path / called
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_all(path)
    assert_says(str(caught.value), words)


@pytest.mark.parametrize("name", OBJECTS)
def test_bad_objects(name):
    data, words = OBJECTS[name]
    with pytest.raises(DataError) as caught:
        load_all(data)
    assert_says(str(caught.value), words)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("dta.csv", ["there is no file", "dta.csv'", "Did you mean 'data.csv'?"]),
        ("nowhere/data.csv", ["there is no folder", "nowhere'"]),
        ("none", ["the folder", "none' holds no files"]),
        ("data.csv/x", ["there is no file"]),
        ("a\0b.csv", ["there is no file"]),
        ("x" * 300 + ".csv", ["cannot be read"]),
    ],
)
def test_bad_paths(path, words, tmp_path):
    (tmp_path / "data.csv").write_text("x,y\n1,2\n")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError) as caught:
        open_table(os.path.join(tmp_path, path))
    assert_says(str(caught.value), words)


def test_an_address_is_no_path():
    with pytest.raises(DataError, match="an address, not a file; download it"):
        open_table("https://example.org/data.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of this system differ")
def test_no_permission(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("x\n1\n")
    reachable(tmp_path)
    path.chmod(0)
    with as_nobody(), pytest.raises(DataError, match="permission denied"):
        open_table(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tmie", ["the data has no column 'tmie'", "'time', 'dose'.", "Did you mean 'time'?"]),
        ("DOSE", ["Did you mean 'dose'?"]),
        ("z", ["no column 'z'; its columns are 'time', 'dose'."]),
    ],
)
def test_unknown_columns(name, words):
    with pytest.raises(DataError) as caught:
        open_table({"time": [1], "dose": [2]}).load([name])
    assert_says(str(caught.value), words)


def test_a_long_list_of_columns_is_cut():
    with pytest.raises(DataError, match=r"'c19' and 80 more\."):
        open_table({f"c{i}": [1] for i in range(100)}).load(["q"])


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("dorp", ["missing='dorp'", "'error'", "'drop'", "Did you mean 'drop'?"]),
        (None, ["missing=None is not known"]),
    ],
)
def test_unknown_policies(missing, words):
    with pytest.raises(UsageError) as caught:
        open_table({"x": [1.0]}).load(["x"], missing=missing)
    assert_says(str(caught.value), words)


def test_dropping_every_row_is_refused():
    with pytest.raises(DataError, match=r"no row of the data remains.*'x', 'y'"):
        load_all({"x": [NAN, 1], "y": [1, NAN]}, missing="drop")


def test_standard_input_that_is_empty(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(DataError, match="standard input is empty"):
        open_table("-")
