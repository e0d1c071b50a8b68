"""Delimited text: whole, in blocks and as it is piped, against pandas, Arrow and one another."""

from __future__ import annotations

import bz2
import datetime
import gc
import gzip
import io
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdfit.data import delimited
from sgdfit.data.delimited import open_delimited
from sgdfit.data.dialect import text_options
from sgdfit.data.readers import open_table
from sgdfit.data.table import BATCH_ROWS
from sgdfit.errors import DataError
from texts import scan_text


def write(folder, content, name="data.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def in_blocks(source, size=64, **options):
    return scan_text(source, size=size, small=0, **options)


def whole(content, **options):
    content = content if isinstance(content, bytes) else content.encode()
    return open_delimited(content, "data.csv", text_options(options))


def columns(table, names=None, missing="drop"):
    return table.load(names or table.names, missing=missing).columns


BLANKS = {"sep": r"\s+"}
SEMICOLON = {"sep": ";"}
DECIMAL_COMMA = {"sep": ";", "decimal": ","}
HASH = {"comment": "#"}
# text, options with which pandas reads the same, None where it does not, and options of our own
TEXTS = {
    "comma": ("x,y\n1,2.5\n-3,4e2\n", {}),
    "comma and blanks": ("x, y\n1,  2.5\n-3, 4e2\n", {"skipinitialspace": True}),
    "semicolon": ("x;y\n1.5;2\n3;4\n", SEMICOLON),
    "decimal comma": ("x;y\n1,5;2\n3;4,25\n", DECIMAL_COMMA),
    "decimal comma far down": ("x;y\n" + "1;2\n" * 100 + "3;4,25\n", DECIMAL_COMMA),
    "decimal comma and tab": ("x\ty\n1,5\t2\n3\t4,25\n", {"sep": "\t", "decimal": ","}),
    "decimal comma and blanks": ("x y\n1,5 2,5\n3,5 4,5\n", {"sep": " ", "decimal": ","}),
    "no header": ("1;2,5\n3;4\n", {**DECIMAL_COMMA, "names": ["x", "y"]}),
    "tab and missing": ("x\ty\n1\tNA\n\t4\n5\t6\n", {"sep": "\t"}),
    "blanks": ("  x   y\n 1.0   2.5 \n\t3.0 \t4\n", BLANKS),
    "blanks and quotes": ('"my x" y\n"1.0" 2.5\n3 4\n5 "6"\n', BLANKS),
    "CRLF": ("x,y\r\n1,2.5\r\n3,4\r\n", {}),
    "CR": ("x,y\r1,2.5\r3,4\r", {"lineterminator": "\r"}),
    "byte order mark": ("\ufeffx,y\n1,2.5\n", {}),
    "quoted numbers": ('"x","y"\n"1","2.5"\n"3","4"\n"5","6"\n', {}),
    "quoted here and there": ('x,y,z\n1,"2",3\n"4",5,6\n', {}),
    "comments and blank lines": (
        "# a\n\nx,y\n# c, d\n1,2.5\n\n   \n  # z\n3,4\n\n# end",
        HASH,
        HASH,
    ),
    "comment with quotes": ('x,y\n# "open\n1,2\n# and "more\n3,4\n5,6\n', HASH, HASH),
    "blank lines at the end": ("x,y\n1,2\n3,4\n\n\n   \n", {}),
    "comments above": ("# a, b\n\n# c\nx,y\n1,2\n3,4\n", HASH),
    "comments of COMSOL": (
        "% Model: a\n% x y\n0 1\n1 2\n",
        {**BLANKS, "skiprows": 2, "names": ["x", "y"]},
    ),
    "names of rows, counted": (
        "x y\n1 5 6\n2 7 8.5\n",
        {**BLANKS, "skiprows": 1, "names": ["c1", "x", "y"]},
    ),
    "units": ("t,y\ns,mg/L\n0,1\n1,2.5\n", {"skiprows": [1]}),
    "units in brackets": ("t;y\n[s];[mg]\n0;1,5\n1;2,5\n", {**DECIMAL_COMMA, "skiprows": [1]}),
    "lines above": ("Instrument: X\nBy: A, B and C\n\nt,y\n0,1\n1,2\n", {"skiprows": 3}),
    "lines above, filled up": (
        "Title,,\n,,\nt,y,z\ns,m,g\n0,1,2\n1,2,3\n",
        {"skiprows": [0, 1, 3]},
    ),
    "lines to skip": ("a,b\nc,d\nt,y\n0,1\n1,2\n", {"skiprows": 2}, {"skip_rows": 2}),
    "cp1252": ("température,µ\n1,2\n3,4\n".encode("cp1252"), {"encoding": "cp1252"}),
    "UTF-16": ("température,µ\n1,2\n3,4\n".encode("utf-16"), {"encoding": "utf-16"}),
    "UTF-16 without a mark": ("x,y\n1,2\n3,4\n".encode("utf-16-be"), {"encoding": "utf-16-be"}),
    "UTF-32": ("x;y\n1;2,5\n3;4\n".encode("utf-32"), {**DECIMAL_COMMA, "encoding": "utf-32"}),
    "an encoding": (
        "имя,y\n1,2\n".encode("koi8-r"),
        {"encoding": "koi8-r"},
        {"encoding": "koi8-r"},
    ),
    "thousands": ('x,y\n"1,234,567",1.5\n"2,000",2\n', {"thousands": ","}),
    "thousands by apostrophes": ("x;y\n1'234.5;1\n12'000;2\n", {**SEMICOLON, "thousands": "'"}),
    "thousands by blanks, tabs": (
        "x\ty\n1 234\t5\n-3\t1 000 678\n",
        {"sep": "\t", "thousands": " "},
    ),
    "a comma told": ("x;y\n1,234;1\n2,000;2\n", DECIMAL_COMMA, {"decimal": ","}),
    "a point told": ("x;y\n1,234;1\n2,000;2\n", {**SEMICOLON, "thousands": ","}, {"decimal": "."}),
    "decimal commas in quotes": ('x,y\n"0,125","1,5"\n"2,25",3\n', {"decimal": ","}),
    "missing by name": (
        "x,y\n1,-999\n2,3\n4,n.d.\n5,6\n",
        {"na_values": ["-999", "n.d."]},
        {"na": [-999, "n.d."]},
    ),
    "a delimiter": ("x:y\n1:2\n3:4\n", {"sep": ":"}, {"delimiter": ":"}),
    "names with blanks": ("time (s), y value\n1,2\n", {"skipinitialspace": True}),
    "long rows": (",".join(f"c{i}" for i in range(300)) + "\n" + ",".join(["1.5"] * 300), {}),
    "integers, then floats": ("x,y\n" + "1,2\n" * 20 + "1.5,2\n" * 20 + "1,1e300\n", {}),
    "integers, then long ones": (
        "x,y\n1,2\n3,4\n99999999999999999999,5\n-9223372036854775809,6\n",
        {"dtype": float},
    ),
    "dates": ("x,y\n2020-01-01,1\n2020-01-02,2\n,3\n", None),
    "dates, then times": (
        "x,y\n2020-01-01,1\n2020-01-02T03:04:05,2\n2020-01-02 03:04:05.25,3\n",
        None,
    ),
    "newlines in quotes": ('n,x\n"a\nb",1\n"c\r\n\r\nd",2\nplain,3\n"""q"",\n",4\n"",5\n', None),
    "quotes within fields": ('x,n\n1,5" disk\n2,"a\nb"\n3,3" disk\n4,"c"\n5,6"\n6,""\n', None),
    "comment in quotes": ('x,n\n1,"a\n# b"\n2,c\n3,"# d"\n', None),
    "comments beside quotes": (
        'x,n\n1,"a\n# b"\n# it\'s 5"\n2,"""c\n#"\n3,"# d"\n#\n#\n4,""\n',
        None,
        HASH,
    ),
    "a comment sign in the header": ('x,"y\n# s"\n1,"2"\n# "c\n"3",4\n', HASH, HASH),
    "text beside": ("n,x\nä,1\nö,2\n", None),
    "a header over lines": ('"x\n(s)","y"\n1,2\n3,4\n5,6\n', None),
    "a note of the separator": ("sep=,\nx,y\n1,2\n3,4\n5,6\n", None),
    "errors of a spreadsheet": (
        "x,y\n1,2\n#N/A,3\n#N/A text, a comment\n 4,#N/A\n # b\n5,6\n",
        None,
        HASH,
    ),
}


@pytest.mark.parametrize("name", [name for name in TEXTS if TEXTS[name][1] is not None])
def test_texts_are_read_as_pandas_reads_them(name):
    text, options, *ours = TEXTS[name]
    found = columns(whole(text, **dict(*ours)))
    source = io.BytesIO(text if isinstance(text, bytes) else text.encode())
    expected = pd.read_csv(source, **options).dropna()
    assert len(found) == len(expected.columns)
    for column, wanted in zip(found.values(), expected.columns, strict=True):
        np.testing.assert_array_equal(column, expected[wanted].to_numpy(np.float64))


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("name", TEXTS)
def test_blocks_hold_the_numbers_and_lines_of_the_whole(name, size, tmp_path):
    text, _, *ours = TEXTS[name]
    expected = whole(text, **dict(*ours))
    table = in_blocks(write(tmp_path, text), size, **dict(*ours))
    assert table.names == table.dataset.names == expected.names
    numbers = [n for n in expected.names if n != "n"]
    for _ in range(2):
        found = columns(table, numbers)
        for column, wanted in columns(expected, numbers).items():
            np.testing.assert_array_equal(found[column], wanted)
    (group,) = table.dataset.row_groups
    rows = range(sum(batch.num_rows for batch in group.read(numbers[:1])))
    assert [group.line(row) for row in rows] == [expected.line(row) for row in rows]


@pytest.mark.parametrize(
    ("dates", "options", "pattern"),
    [
        (["13/04/2024", "5/4/2024 9:05", "06/04/2024"], {}, {"dayfirst": True}),
        (["04/13/2024 12:30:05.5", "4/5/2024", "4/6/2024 3:05 PM", "4/6/2024 12:05 AM"], {}, {}),
        (["03/04/2024", "05/04/2024"], {"dates": "mdy"}, {}),
        (["03/04/2024", "05/04/2024"], {"dates": "dmy"}, {"dayfirst": True}),
        (["01.02.2024", "02.03.2024"], {}, {"dayfirst": True}),
        (["2024/02/01", "2024/3/2 7:08"], {}, {}),
        (["2024-02-01 07:08 PM", "2024-3-2 12:08 a.m."], {}, {}),
    ],
)
def test_dates_and_percent(dates, options, pattern):
    for separator in ",;\t":
        rows = [f"{each}{separator}{k}.5 %\n" for k, each in enumerate(dates)]
        table = whole(f"t{separator}y\n" + "".join(rows), **options)
        found = columns(table, ["t", "y"])
        days = pd.Series([pd.to_datetime(each, **pattern) for each in dates])
        np.testing.assert_array_equal(found["t"], (days - pd.Timestamp(0)).dt.total_seconds())
        np.testing.assert_allclose(found["y"], (np.arange(len(dates)) + 0.5) / 100, rtol=1e-15)
        assert "percent taken for hundredths" in table.notes


def test_columns_have_other_names_and_other_words_for_missing(tmp_path):
    frame = pd.DataFrame({"Time (s)": [0.0, 1, -999, 3], "y": [1, -999, 3, 4]})
    frame.to_csv(tmp_path / "data.csv", index=False)
    frame.to_parquet(tmp_path / "data.parquet", row_group_size=2)
    for data in (frame, tmp_path / "data.csv", tmp_path / "data.parquet"):
        table = open_table(data, "t < 3", rename={"t": "Time (s)"}, na=-999)
        assert table.names == ("t", "y")
        source = table.load(["t", "y"], missing="drop")
        assert [source.columns[name].tolist() for name in "ty"] == [[0.0], [1.0]]


FIELD = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["", "NA", " 1.5 ", '"2"', '"3.25"']),
)
NOTE = st.sampled_from(["a", '"b"', '"c\nd"', '"e,""f"""', '5" g', '"\n"', "", "i # j"])
LINE = st.one_of(
    st.tuples(FIELD, FIELD, NOTE).map(",".join),
    st.sampled_from(["", "  ", "# comment", '  # "quoted', '#"']),
)


@settings(max_examples=150)
@given(st.lists(LINE, max_size=15), st.integers(1, 40), st.sampled_from(["\n", "\r\n"]))
def test_any_text_reads_the_same_in_blocks(lines, size, end):
    content = end.join(["x,y,note", "1,2,a", *lines]).encode() + b"\n3,4,b"
    expected = columns(whole(content, **HASH), ["x", "y"])
    found = columns(in_blocks(io.BytesIO(content), size, **HASH), ["x", "y"])
    for name in "xy":
        np.testing.assert_array_equal(found[name], expected[name])


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=20),
    st.sampled_from([",", ";", "\t", "|", " ", "   "]),
    st.booleans(),
)
def test_floats_survive_a_round_trip_through_text(rows, separator, header):
    lines = [f"{x!r}{separator}{y!r}\n" for x, y in rows]
    found = columns(whole("".join([f"x{separator}y\n"] * header + lines)))
    for place, name in enumerate("xy"):
        assert found[name].tobytes() == np.array(rows)[:, place].tobytes()


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("1 2\n3 4\n", ("x", "y"), [1.0, 2.0]),
        ("5\n6\n", ("c1",), [5.0]),
        ("1,2,3\n4,5,6\n", ("c1", "c2", "c3"), [1.0, 2.0, 3.0]),
        ("# t v\n1;2,5\n", ("t", "v"), [1.0, 2.5]),
        ("# by NumPy\n#t [s],y(V)\n1,2\n", ("t", "y"), [1.0, 2.0]),
        ("# a note on all this\n1 2\n", ("x", "y"), [1.0, 2.0]),
        ("# [s] [V]\n1 2\n", ("x", "y"), [1.0, 2.0]),
        ("# t y\n\n1 2\n", ("x", "y"), [1.0, 2.0]),
        ("# 5 y\n1 2\n", ("x", "y"), [1.0, 2.0]),
        ("1970-01-02,NA,3\n1970-01-02,1,3\n", ("c1", "c2", "c3"), [86400.0, 1.0, 3.0]),
        ("a,,b\n1,2,3\n", ("a", "c2", "b"), [1.0, 2.0, 3.0]),
        ("ｘ, µ \n1,2\n", ("x", "μ"), [1.0, 2.0]),
        ("NA,nan\n1,2\n", ("NA", "nan"), [1.0, 2.0]),
        ("0 h,24 h\n1,2\n3,4\n", ("0 h", "24 h"), [1.0, 2.0]),
        ("0 h,1 V\n2 h,3 V\n", ("x", "y"), [0.0, 1.0]),
        ('# a\n"x\r\n(s)","y\n""z"""\r\n1,2\r\n', ("x (s)", 'y "z"'), [1.0, 2.0]),
        ("sep=;\nx;y\n1,5;2\n", ("x", "y"), [1.5, 2.0]),
        ('"SEP=,"\r\n1,2\r\n', ("x", "y"), [1.0, 2.0]),
    ],
)
def test_names_of_columns(text, names, first):
    table = whole(text)
    assert table.names == names
    assert [float(column[0]) for column in columns(table).values()] == first


@pytest.mark.parametrize(
    ("text", "options", "notes"),
    [
        ("1 2\n3 4\n", {}, ["no header: columns named x, y"]),
        ("1 2 3\n", {}, ["no header: columns named c1, c2, c3"]),
        (
            "# a\n# t y\n1 2\n",
            {},
            ["1 line above the table left out", "columns named by the comment above them: t, y"],
        ),
        ("x,y\n1 s,2\n3 s,4\n", {}, ["the unit 's' left out"]),
        (
            "t,y\n1,2\n3,4\n",
            {"skip_rows": 1},
            ["no header: columns named x, y", "line 1, left out, may name them: t, y"],
        ),
        ("1,a,2\n3,b,4\n", {}, ["columns named by line 1, which may be a row: 1, a, 2"]),
        ("x,y\n# a\n1,2\n # b\n3,4\n", HASH, ["2 comment lines within the table left out"]),
        ("x;y\n1,5;2\n", {"delimiter": ";"}, []),
        ("x\n1,5\n2,5\n", {"delimiter": ";"}, []),
    ],
)
def test_what_is_left_out_or_guessed_is_told(text, options, notes, tmp_path):
    for table in (whole(text, **options), in_blocks(write(tmp_path, text), 8, **options)):
        assert list(table.notes) == notes


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("13-Feb-24", "2024-02-13"),
        ("1 March 1969", "1969-03-01"),
        ('"Mon, 03 Mar 2025"', "2025-03-03"),
        ("Tuesday 4 March 2025 10:30", "2025-03-04T10:30"),
        ('"Mar 4, 2025"', "2025-03-04"),
        ("5-sep-2024 08:30", "2024-09-05T08:30"),
        ("5 Feb 2024 07:08 PM", "2024-02-05T19:08"),
        ('"January 5, 2024 12:08:30 a.m."', "2024-01-05T00:08:30"),
        ("1/25/24", "2024-01-25"),
        ("25.1.70", "1970-01-25"),
        ("8:30", "1970-01-01T08:30"),
        ("12:05 AM", "1970-01-01T00:05"),
        ("1:30:00 pm", "1970-01-01T13:30"),
        ("08:30:01.25", "1970-01-01T08:30:01.25"),
        ("39:30:00", "1970-01-02T15:30"),
        ("90:01.5", "1970-01-01T01:30:01.5"),
    ],
)
def test_times_are_read_however_they_are_written(field, expected):
    judge = (np.datetime64(expected) - np.datetime64("1970-01-01")) / np.timedelta64(1, "s")
    found = columns(whole(f"t,y\n{field},1\n,2\n{field},3\n"), missing="drop")
    assert found["t"].tolist() == [judge, judge]


@pytest.mark.parametrize("field", ["−1.5", "-1.5D+00", "−0.15d1"])
def test_numbers_are_read_however_they_are_written(field):
    assert columns(whole(f"x,y\n{field},1\n2.5,2\n"))["x"].tolist() == [-1.5, 2.5]


@pytest.mark.parametrize(
    "field",
    ['"$1,234.5"', "$1234.50", "1234.5 kg", "1234.5kg", "1234.5 °C", "1.2345e3 m/s²", "USD 1234.5"],
)
def test_units_that_a_column_shares_are_left_out(field, tmp_path):
    text = f"x,y,site\n{field},1,3 g\nNA,2,5 l\n{field},3,4 apples\n"
    for table in (whole(text), in_blocks(write(tmp_path, text), 16)):
        assert columns(table, "xy")["x"].tolist() == [1234.5, 1234.5]
    assert whole(text).arrow(["site"])["site"].to_pylist() == ["3 g", "5 l", "4 apples"]


@pytest.mark.parametrize("missing", ["", "#NUM!", "NA", "NaN", "null", "N/A", "nan", "-", " NA "])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spellings_of_missing(missing, separator):
    rows = [("x", "y"), ("1.5", "2.5"), (missing, "3.5"), ("4.5", "5.5")]
    source = whole("".join(separator.join(row) + "\n" for row in rows)).load("xy", missing="drop")
    assert [source.columns[name].tolist() for name in "xy"] == [[1.5, 4.5], [2.5, 5.5]]
    assert source.dropped == 1


def test_a_quote_that_never_closes_is_named(monkeypatch):
    monkeypatch.setattr(delimited, "LONGEST_ROW", 2 << 20)
    text = b"n,x\na,1\n" + b'"b,2\n' + b"c,3\n" * (1 << 20)
    with pytest.raises(DataError, match="the row that begins in line 3 of standard input does not"):
        in_blocks(io.BytesIO(text), 1 << 12).load(["x"])


ROWS = 500_000


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Return a file of many rows and its columns."""
    rng = np.random.default_rng(7)
    data = {"x": rng.normal(size=ROWS), "k": np.arange(ROWS), "y": rng.normal(size=ROWS)}
    path = tmp_path_factory.mktemp("large") / "large.csv"
    arrow_csv.write_csv(pa.table(data), path)
    return path, data


def test_large_files_are_read_in_blocks_of_bounded_memory(large):
    path, data = large
    dataset = scan_text(path, small=0).dataset
    (group,) = dataset.row_groups
    assert (dataset.again, dataset.slow, group.rows) == (True, True, None)
    gc.collect()  # or what others left would be let go meanwhile
    before, most, parts = pa.total_allocated_bytes(), 0, []
    for batch in group.read(["y", "k"]):
        assert batch.num_rows <= BATCH_ROWS
        most = max(most, pa.total_allocated_bytes() - before)
        parts.append([np.array(column) for column in batch.columns])
    assert len(parts) > 5
    assert 0 < most < 24_000_000
    for place, name in enumerate(["y", "k"]):
        np.testing.assert_array_equal(np.concatenate([p[place] for p in parts]), data[name])
    assert group.line(365_432) == " (line 365434)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"1.5,2", "line 400002 of late.csv has 2 fields where the header has 3: '1.5,2'"),
        (b"1,2,3,4", "line 400002 of late.csv has 4 fields where the header has 3: '1,2,3,4'"),
        (b"1,2,oops", "column 'y' of late.csv holds text: row 400001 (line 400002) is 'oops'"),
        (b"1,2,nan", "1 of 500000 rows has no finite number in late.csv: column 'y' row 400001 "
         "(line 400002) is missing"),
        (b"1,2,3;4", "'3;4', which is no number"),
        (b"1,2,\xe9", "holds text: row 400001 (line 400002) is '\\\\xe9'"),
        (b"\n1,2,oops", "holds text: row 400001 (line 400003) is 'oops'"),
    ],
)  # fmt: skip
def test_what_is_wrong_far_down_is_named_with_its_line(text, words, large, tmp_path):
    lines = large[0].read_bytes().split(b"\n")
    lines[400_001] = text
    path = write(tmp_path, b"\n".join(lines), "late.csv")
    with pytest.raises(DataError, match=re.escape(words)):
        scan_text(path, small=0).load(["x", "y"])


COMPRESS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}
MANY = b"x,y\n" + b"".join(b"%d,%d\n" % (k, k * k) for k in range(20_000))


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressed_text_in_blocks(ending, tmp_path):
    content = COMPRESS[ending](MANY)
    table = in_blocks(write(tmp_path, content, f"data.csv.{ending}"), 1000)
    assert table.dataset.again
    for _ in range(2):
        np.testing.assert_array_equal(columns(table)["y"], np.arange(20_000.0) ** 2)
    path = write(tmp_path, content[:-100], f"cut.csv.{ending}")
    words = rf"cut\.csv\.{ending} is cut off, damaged or no .* file .*; copy or write it again"
    for small in (0, 1 << 20):
        with pytest.raises(DataError, match=words):
            scan_text(path, size=1000, small=small).load(["x"])


class Slow(io.RawIOBase):
    """A pipe that hands out a few bytes at a time."""

    def __init__(self, content):
        self.left = io.BytesIO(content)

    def read(self, size=-1):
        return self.left.read(min(size, 1001) if size >= 0 else 1001)


@pytest.mark.parametrize("compress", [bytes, *COMPRESS.values()], ids=["plain", *COMPRESS])
def test_streams_are_read_once(compress):
    dataset = in_blocks(Slow(compress(MANY)), 5000).dataset
    assert (dataset.again, dataset.fingerprint) == (False, "")
    (group,) = dataset.row_groups
    found = pa.Table.from_batches(list(group.read(["x"])))
    np.testing.assert_array_equal(found["x"], np.arange(20_000))
    assert group.line(12_345) == " (line 12347)"
    with pytest.raises(DataError, match="standard input can be read once, and has been; save it"):
        list(group.read(["x"]))


def test_streams_of_characters_and_short_ones():
    table = in_blocks(io.StringIO("α,y\n1,2\n3,4\n"), 1)
    np.testing.assert_array_equal(columns(table)["α"], [1.0, 3.0])
    table = open_table(io.BytesIO(MANY))
    assert table.dataset is None
    for _ in range(2):
        np.testing.assert_array_equal(columns(table)["x"], np.arange(20_000.0))


def test_several_files_are_one_table(tmp_path):
    first = write(tmp_path, "# run 1\nx;y\n1;2\n3;4\n", "a.csv")
    second = write(tmp_path, gzip.compress(b"y;n;x\n6,5;a;5\n"), "b.csv.gz")
    table = scan_text(first, second)
    assert [group.label for group in table.dataset.row_groups] == ["a.csv", "b.csv.gz"]
    np.testing.assert_array_equal(columns(table, ["x", "y"])["y"], [2, 4, 6.5])
    write(tmp_path, gzip.compress(b"x;y\n5;6,5\n7;\n"), "b.csv.gz")
    with pytest.raises(DataError, match=r"row 4 \(row 2, line 3 of b.csv.gz\) is missing"):
        scan_text(first, second).load(["x", "y"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "x,z\n1,2\n",
            "b.csv has no column 'y', which a.csv has; give files with the same columns",
        ),
        ("", "b.csv is empty"),
        ("x,z\n", "b.csv has no column 'y', which a.csv has"),
        ("x,y\n1,2\n3\n", "line 3 of b.csv has 1 field where the header has 2"),
        ("x,y\n1,n.a.\n", "column 'y' of b.csv holds text: row 1 (line 2) is 'n.a.'"),
        (
            "x,y\n1,2020-01-01\n",
            "column 'y' holds numbers (int64) in a.csv and times (date32[day]) in b.csv; write it",
        ),
    ],
)
def test_the_file_that_differs_is_named(content, words, tmp_path):
    first = write(tmp_path, "x,y\n1,2\n", "a.csv")
    with pytest.raises(DataError, match=re.escape(words)):
        columns(scan_text(first, write(tmp_path, content, "b.csv")), ["x", "y"])


@pytest.mark.parametrize("value", ["12.5", "soon", "3"])
def test_a_column_of_dates_takes_no_numbers(value, tmp_path):
    text = "t,y\n" + "2020-01-01,1\n" * 50 + f"{value},1\n" + "2020-01-01,1\n" * 9
    words = f"column 't' of data.csv holds '{value}' in line 52, where rows before it hold dates"
    with pytest.raises(DataError, match=re.escape(words)):
        in_blocks(write(tmp_path, text), 100).load(["t"])


def parquet():
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": np.arange(1000.0)}), sink)
    return sink.getvalue()


def sheet_of(rows, name="Data"):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["a sheet of notes"])
    for row in rows:
        (book[name] if name in book.sheetnames else book.create_sheet(name)).append(row)
    return book


def test_workbooks_are_read_as_pandas_reads_them(tmp_path):
    days = [datetime.datetime(2024, 3, 1 + k, 12) for k in range(9)]
    rows = [[k / 7, k * 10**6, day, "text, quoted"] for k, day in enumerate(days)]
    above = [["Instrument", "X"], [], ["x", "y", "t", "n"], ["[s]", "[mg]", None, None]]
    sheet_of([*above, *rows, [1.5, "<5", days[0], None]]).save(path := tmp_path / "data.xlsx")
    table = open_table(path, sheet="Data")
    assert table.notes == ("1 line above the table left out", "line 4 taken for units")
    found = table.load(["x", "y", "t"], missing="drop").columns
    judge = pd.read_excel(path, sheet_name="Data", skiprows=[0, 1, 3]).iloc[:9]
    np.testing.assert_array_equal(found["x"], judge.x)
    np.testing.assert_array_equal(found["y"], judge.y.astype(float))
    np.testing.assert_array_equal(found["t"], (judge.t - pd.Timestamp(0)).dt.total_seconds())
    with pytest.raises(
        DataError, match=r"has no sheet 'data'; its sheets are Sheet, Data. Did you"
    ):
        open_table(path, sheet="data")
    book = sheet_of([*above, *rows], "Sheet")
    book.create_sheet("Other")
    book.save(path)
    assert open_table(path).notes[0] == "sheet 'Sheet' read, the first of 2; --sheet names another"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"data.xlsx is damaged or no workbook"):
        open_table(path, sheet="Data")


# content, words of the message in their order, and options
BAD = {
    "another delimiter": (
        b"t,y\n1,2\n3,4\n",
        ["delimiter=';' parts 0 of 3 lines of data.csv: line 1 is 't,y'", "--delimiter ,"],
        {"delimiter": ";"},
    ),
    "0 bytes": (b"", ["data.csv is empty (0 bytes)"]),
    "a unit that not all rows have": (
        b"x,y\n1,5 kg\n2,6\n",
        [
            "row 1 (line 2) is '5 kg', which has a unit; write all rows in one",
            "as sed 's|kg||' does",
        ],
    ),
    "hours and minutes, or minutes and seconds": (
        b"t,y\n59:01,1\n60:02,2\n",
        ["column 't' of data.csv holds '59:01', which may be", "write all three, as 59:01:00"],
    ),
    "a zone": (b't,y\n"Mon, 03 Mar 2025 10:00:00 GMT",1\n', ["which looks like a date"]),
    "no UTF-8": (
        "x,größe\n1,2\n".encode("cp1252"),
        ["data.csv is not utf8: byte 5, in line 1, is 0xf6; pass encoding='cp1252'", "or leave"],
        {"encoding": "utf8"},
    ),
    "no UTF-16": (
        b"x,y\n1,2\n",
        ["data.csv is not UTF-16-LE: its first bytes are 78 2c 79 0a", "--encoding utf-8"],
        {"encoding": "UTF-16-LE"},
    ),
    "header without rows": (b"x,y\n\n", ["a header (x, y) and no rows below it"]),
    "text column": (
        b"x,y\n1,2\n\n3,abc\n",
        ["column 'y' of data.csv", "row 2 (line 4) is 'abc'", "no number", "leave the column out"],
    ),
    "a sign of decimals or of thousands": (
        b'x,y\n"1,000",1\n"2,000",2\n',
        ["column 'x'", "row 1 (line 2) is '1,000'", "pass decimal=','", "--decimal ,"],
    ),
    "day or month": (
        b"t,y\n03/04/2024,1\n05/04/2024,2\n",
        ["row 1 (line 2) is '03/04/2024'", "pass dates='dmy'", "--dates dmy", "or dates='mdy'"],
    ),
    "a limit": (b"x,y\n1,2\n3,<5\n", ["row 2 (line 3) is '<5'", "missing='drop'"]),
    "names or what stands above": (
        b"Operator,Bob\nRun,7\nt,y\n0,1\n",
        ["if it is line 3, 't,y', pass skip_rows=2 to sgdfit.open_table (--skip-rows 2)"],
    ),
    "names or a title with a year": (
        b"Survey,\n2024,\n,\nt,y\n0,1\n",
        ["if it is line 4, 't,y', pass skip_rows=3"],
    ),
    "day or month, and noon": (b"t,y\n03/04/2024 1:05 PM,1\n", ["may begin with the day or"]),
    "both orders of dates": (
        b"t,y\n13/02/2024,1\n02/13/2024,2\n",
        ["'13/02/2024', which begins with the day", "other order; write all as in 2024-02-13"],
    ),
    "one date of the other order": (
        b"t,y\n13/02/2024,1\n14/02/2024,2\n02/15/2024,3\n",
        ["row 3 (line 4) is '02/15/2024', which begins with the month"],
    ),
    "no day of any calendar": (
        b"t,y\n28/02/2023,1\n29/02/2023,2\n",
        ["row 2 (line 3) is '29/02/2023', which is a day that no calendar has"],
    ),
    "no time among times": (b"t,y\n8:30,1\nlate,3\n", ["(line 3) is 'late'", "no such time"]),
    "two delimiters": (
        b"x,y\n1,2\n3;4\n",
        ["line 3 of data.csv has 1 field", "'3;4'; ';' parts it, others ',': write one sign"],
    ),
    "a short year": (b"t,y\n01/02/24,1\n", ["may begin with the day or the month", "--dates dmy"]),
    "names and units, or what stands above": (
        b"Instrument;Foo 3000\nRate;12,5\n\nt;y\ns;V\n1;2,0\n2;4,1\n",
        ["if it is line 4, 't;y'", "--skip-rows 3"],
    ),
    "a comment": (
        b"x,y\n1,2\n# and so on\n",
        ["line 3 of data.csv has 1 field", "pass comment='#'", "--comment '#'"],
    ),
    "two decimal signs": (
        b"x;y\n1,5;2,5\n2;3.5\n",
        ["column 'y'", "'3.5'", "(the decimal sign here is the comma)"],
    ),
    "too few fields": (b"x,y\n1,2\n3\n", ["line 3 of data.csv has 1 field where the header has 2"]),
    "too many fields": (b"1;2\n\n3;4;5\n", ["line 3", "has 3 fields where the first row has 2"]),
    "open quote": (b'x,y\n1,2\n"3,4\n5,6\n', ["has 1 field where the header has 2"]),
    "binary": (bytes(range(200, 256)) + b"\n\x00\x01", ["is binary", "byte 58 is 0x00"]),
    "spreadsheet called .csv": (b"PK\x03\x04\x14", ["not delimited text", "spreadsheet"]),
    "Parquet called .csv": (parquet(), ["it starts like Parquet; rename it to .parquet"]),
    "pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", ["fetch the file"]),
    "web page": (b"<!DOCTYPE html>\n<html></html>\n", ["starts like a web page; download"]),
    "JSON lines": (b'{"x": 1}\n{"x": 2}\n', ["starts like JSON; read it with"]),
    "missing in the first column": (
        b"x,y\n1,2\n  #N/A ,3\n4,5\n",
        ["1 of 3 rows", "column 'x' row 2 (line 3) is missing (NaN)"],
    ),
    "a line within quotes": (b'n,x\n"1\n",1\n"2\n\n",two\n', ["row 2 (line 4) is 'two'"]),
    "two columns of a name": (b"x,x\n1,2\n", ["data.csv has 2 columns named 'x'", "rename"]),
    "missing": (
        b"x,y\n1,\n2,3\n4,inf\n",
        ["2 of 3 rows have no finite number in data.csv", "column 'y' row 1 (line 2) is missing"],
    ),
    "integer that loses digits": (
        b"x,y\n1,9007199254740993\n",
        ["column 'y'", "9007199254740993 in row 1 (line 2)", "2**53", "subtract an offset"],
    ),
}


OF_TIMES = ("one date of the other order", "no day of any calendar", "no time among times")


@pytest.mark.parametrize("name", BAD)
def test_bad_text_is_told_alike_whole_and_in_blocks(name, tmp_path):
    content, words, *options = BAD[name]
    options = options[0] if options else {}
    with pytest.raises(DataError) as caught:
        columns(whole(content, **options), missing="error")
    message = str(caught.value)
    assert re.search(".*".join(map(re.escape, words)), message), message
    # Of a file read in blocks a header is enough, for others may have rows; limits are told apart
    # from what is missing once rows are opened for a fit. A block knows of dates of another one.
    for size in (1, 8, 1000) if name not in ("header without rows", "a limit", *OF_TIMES) else ():
        with pytest.raises(DataError) as in_parts:
            columns(in_blocks(write(tmp_path, content), size, **options), missing="error")
        assert str(in_parts.value) == message


PIECES = [*("0", "12", "3.5", "1e5", "NA", "ab", "é", "-", ",", ";", "\t"), " ", "|", '"', "#"]


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([*PIECES, "\n", "\r\n"]), max_size=40).map("".join),
    st.sampled_from(["drop", "error"]),
)
def test_any_text_is_read_or_refused_in_our_own_words(text, missing):
    try:
        table = open_table(io.StringIO(text))
        source = table.load(table.names, missing=missing)
    except DataError as error:
        assert "the data" in str(error)  # noqa: PT017
    else:
        assert source.rows >= 1
        assert all(np.isfinite(column).all() for column in source.columns.values())
