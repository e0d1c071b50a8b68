"""Delimited text in blocks, against the same text read as a whole, pandas and Arrow."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from permissions import as_nobody, reachable
from sgdfit.data.table import BATCH_ROWS
from sgdfit.data.text import delimited as text_blocks
from sgdfit.data.text.delimited import blocks, last_row_end, open_delimited
from sgdfit.errors import DataError
from texts import scan_text

SIZES = [1, 2, 3, 7, 16, 64, 1 << 21]


def write(folder, content, name="data.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def in_blocks(source, size=64):
    return scan_text(source, size=size, small=0)


def columns(table, names=None):
    return table.load(names or table.names, missing="drop").columns


def as_whole(content):
    return open_delimited(content if isinstance(content, bytes) else content.encode(), "data.csv")


NASTY = {
    "comma": "x,y\n1,2.5\n-3,4e2\n",
    "no end of line": "x,y\n1,2.5\n3,4",
    "CRLF": "x,y\r\n1,2.5\r\n3,4\r\n",
    "CR": "x,y\r1,2.5\r3,4\r",
    "byte order mark": "\ufeffx,y\n1,2.5\n",
    "no header": "1;2,5\n3;4\n",
    "decimal comma far down": "x;y\n" + "1;2\n" * 30 + "3;4,25\n",
    "tab and missing": "x\ty\n1\tNA\n\t4\n5\t6\n",
    "blanks": "  x   y\n 1.0   2.5 \n\t3.0 \t4\n",
    "CRLF and blanks": "x y\r\n1  2.5 \r\n3 4\r\n",
    "blanks and quotes": '"my x" y\n"1.0" 2.5\n3 4\n5 "6"\n',
    "comments and blank lines": "# a\n\nx,y\n# c, d\n1,2.5\n\n   \n  # z\n3,4\n\n# end",
    "comment with quotes": 'x,y\n# "open\n1,2\n# and "more\n3,4\n5,6\n',
    "blank lines at the end": "x,y\n1,2\n3,4\n\n\n   \n",
    "one column": "x\n1.5\n2\n  \n3\n# 4\n5\n",
    "integers, then floats": "x,y\n" + "1,2\n" * 20 + "1.5,2\n" * 20 + "1,1e300\n",
    "integers, then long ones": "x,y\n1,2\n3,4\n99999999999999999999,5\n",
    "empty, then numbers": "x,y\n" + ",1\n" * 20 + "2.5,1\n" * 3,
    "truth values": "x,y\ntrue,1\nfalse,0\nTRUE,1\n",
    "dates": "x,y\n2020-01-01,1\n2020-01-02,2\n,3\n",
    "dates, then times": "x,y\n2020-01-01,1\n2020-01-02T03:04:05,2\n2020-01-02 03:04:05.25,3\n",
    "signs and powers": "x,y\n+1.5,-2E-3\n.5,5.\n inf , 7 \n",
    "quoted numbers": '"x","y"\n"1","2.5"\n"3","4"\n"5","6"\n',
    "newlines in quotes": 'n,x\n"a\nb",1\n"c\r\n\r\nd",2\nplain,3\n"""q"",\n",4\n"",5\n',
    "quotes within fields": 'x,n\n1,5" disk\n2,"a\nb"\n3,3" disk\n4,"c"\n5,6"\n6,""\n',
    "quotes after blanks": 'x,n\n1, "a"\n2, "b"\n3,c\n',
    "comment in quotes": 'x,n\n1,"a\n# b"\n2,c\n3,"# d"\n',
    "long rows": ",".join(f"c{i}" for i in range(300))
    + "\n"
    + (",".join(["1.5"] * 300) + "\n") * 3,
    "Greek": "α,µ\n1,2\n",
    "text beside": "n,x\nä,1\nö,2\n",
    "a header over lines": '"x\n(s)","y"\n1,2\n3,4\n5,6\n',
    "a note of the separator": "sep=,\nx,y\n1,2\n3,4\n5,6\n",
    "errors of a spreadsheet": "x,y\n1,2\n#N/A,3\n#N/A text, a comment\n 4,#N/A\n # b\n5,6\n",
    "NaN at the end": "x,y\n1,2\n3,4\nnan,6\n",
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NASTY)
def test_blocks_read_what_the_whole_reads(name, size, tmp_path):
    whole = as_whole(NASTY[name])
    table = in_blocks(write(tmp_path, NASTY[name]), size)
    numbers = [n for n in whole.names if n != "n"]
    assert table.names == whole.names
    assert table.dataset.names == whole.names
    expected = columns(whole, numbers)
    for again in range(2):
        found = columns(table, numbers)
        for column in numbers:
            np.testing.assert_array_equal(found[column], expected[column], err_msg=str(again))


@pytest.mark.parametrize("size", [1, 5, 16])
@pytest.mark.parametrize("name", NASTY)
def test_each_row_knows_its_line(name, size, tmp_path):
    whole = as_whole(NASTY[name])
    scan = in_blocks(write(tmp_path, NASTY[name]), size).dataset
    (piece,) = scan.row_groups
    rows = sum(batch.num_rows for batch in piece.read(scan.names[-1:]))
    assert rows > 0
    assert [piece.line(row) for row in range(rows)] == [whole.line(r) for r in range(rows)]


FIELD = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["", "NA", " 1.5 ", '"2"', '"3.25"']),
)
NOTE = st.one_of(
    st.sampled_from(["a", '"b"', '"c\nd"', '"e,""f"""', '5" g', '"\n"', "", "i # j"]),
)
LINE = st.one_of(
    st.tuples(FIELD, FIELD, NOTE).map(",".join),
    st.sampled_from(["", "  ", "# comment", '  # "quoted', '#"']),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINE, max_size=15), st.integers(1, 40), st.sampled_from(["\n", "\r\n"]))
def test_any_text_reads_the_same_in_blocks(lines, size, end):
    content = end.join(["x,y,note", "1,2,a", *lines]).encode()
    whole = columns(as_whole(content + b"\n3,4,b"), ["x", "y"])
    stream = io.BytesIO(content + b"\n3,4,b")
    found = columns(in_blocks(stream, size), ["x", "y"])
    np.testing.assert_array_equal(found["x"], whole["x"])
    np.testing.assert_array_equal(found["y"], whole["y"])


@pytest.mark.parametrize(
    ("text", "separator", "end"),
    [
        (b"", ",", 0),
        (b"1,2", ",", 0),
        (b"1,2\n3", ",", 4),
        (b'"a\nb', ",", 0),
        (b'1\n"a\n"\n"b\n', ",", 7),
        (b'1\n5",2\n3', ",", 7),
        (b'1\n5","a\nb"\n3', ",", 11),
        (b'1\n5","a\nb\n3', ",", 2),
        (b'"a\nb\n', " ", 5),
        (b'1|"a\n"|\n2', "|", 8),
    ],
)
def test_rows_end_at_newlines_outside_quotes(text, separator, end):
    assert last_row_end(text, separator) == end


def test_blocks_put_together_are_the_text():
    text = b"".join(b'%d,"%d\n%d"\n' % (k, k, k) for k in range(200)) + b"last"
    found = list(blocks(io.BytesIO(text).read, ",", 1, "data.csv", 50))
    assert b"".join(block.text for block in found) == text
    assert len(found) > 20
    lines = np.cumsum([1, *(block.lines for block in found)])
    assert [block.line for block in found] == lines[:-1].tolist()
    assert lines[-1] == 402


def test_a_quote_that_never_closes_is_named(monkeypatch):
    monkeypatch.setattr(text_blocks, "LONGEST_ROW", 2 << 20)
    text = b"n,x\na,1\n" + b'"b,2\n' + b"c,3\n" * (1 << 20)
    table = in_blocks(io.BytesIO(text), 1 << 12)
    with pytest.raises(
        DataError, match=r"the row that begins in line 3 of standard input does not"
    ):
        table.load(["x"])


ROWS = 1_000_000


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Return a file of a million rows and its columns."""
    rng = np.random.default_rng(7)
    data = {"x": rng.normal(size=ROWS), "k": np.arange(ROWS), "y": rng.normal(size=ROWS)}
    path = tmp_path_factory.mktemp("large") / "large.csv"
    arrow_csv.write_csv(pa.table(data), path)
    return path, data


def changed(large, folder, at, text):
    """Return a copy of the large file whose row ``at`` is ``text``; the header is line 1."""
    lines = large[0].read_bytes().split(b"\n")
    lines[at + 1] = text
    return write(folder, b"\n".join(lines), "late.csv")


def test_large_files_are_scanned_and_agree_with_arrow(large):
    path, data = large
    table = scan_text(path)
    scan = table.dataset
    assert scan.again
    assert scan.slow
    assert [piece.rows for piece in scan.row_groups] == [None]
    expected = arrow_csv.read_csv(path)
    batches = list(scan.row_groups[0].read(["y", "k"]))
    assert len(batches) > 5
    assert max(batch.num_rows for batch in batches) <= BATCH_ROWS
    found = pa.Table.from_batches(batches)
    np.testing.assert_array_equal(found["y"], expected["y"])
    np.testing.assert_array_equal(found["k"], expected["k"])
    np.testing.assert_array_equal(found["y"], data["y"])
    assert scan.row_groups[0].line(765_432) == " (line 765434)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"1.5,2", "line 900002 of late.csv has 2 fields where the header has 3: '1.5,2'"),
        (b"1,2,3,4", "line 900002 of late.csv has 4 fields where the header has 3: '1,2,3,4'"),
        (b"1,2,oops", "column 'y' of late.csv holds text: row 900001 (line 900002) is 'oops'"),
        (b"1,2,nan", "1 of 1000000 rows has no finite number in late.csv: column 'y' row 900001 "
         "(line 900002) is missing"),
        (b"1,2,3;4", "'3;4', which is no number"),
        (b"1,2,\xe9", "is not UTF-8: row 900001 (line 900002)"),
    ],
)  # fmt: skip
def test_what_is_wrong_far_down_is_named_with_its_line(text, words, large, tmp_path):
    path = changed(large, tmp_path, 900_000, text)
    with pytest.raises(DataError, match=re.escape(words)):
        scan_text(path).load(["x", "y"])


@pytest.mark.parametrize("late", [b"1,2,", b"\n\n# note\n1,2,3"], ids=["missing", "blank lines"])
def test_late_oddities_that_are_fine(late, large, tmp_path):
    path = changed(large, tmp_path, 900_000, late)
    expected = pd.read_csv(path, comment="#").dropna()
    found = columns(scan_text(path))
    np.testing.assert_array_equal(found["k"], expected["k"])
    np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-15)


def test_memory_does_not_grow_with_the_file(large):
    scan = scan_text(large[0]).dataset
    before = pa.total_allocated_bytes()
    most = 0
    for _ in scan.row_groups[0].read(["x", "y"]):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 24_000_000


COMPRESS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}
MANY = b"x,y\n" + b"".join(b"%d,%d\n" % (k, k * k) for k in range(20_000))


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressed_text_in_blocks(ending, tmp_path):
    path = write(tmp_path, COMPRESS[ending](MANY), f"data.csv.{ending}")
    table = in_blocks(path, 1000)
    assert table.dataset.again
    for _ in range(2):
        np.testing.assert_array_equal(columns(table)["y"], np.arange(20_000.0) ** 2)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("small", [0, 1 << 20])
def test_a_truncated_file_is_said_to_be_cut_off(ending, small, tmp_path, monkeypatch):
    monkeypatch.setattr("sgdfit.data.text.text_files.LOOKED_AT", 1000)
    path = write(tmp_path, COMPRESS[ending](MANY)[:-100], f"data.csv.{ending}")
    words = rf"data\.csv\.{ending} is cut off, damaged or no .* file .*; copy or write it again"
    with pytest.raises(DataError, match=words):
        scan_text(path, size=1000, small=small).load(["x"])


def test_members_of_a_gz_follow_one_another(tmp_path):
    path = write(tmp_path, gzip.compress(MANY[:500]) + gzip.compress(MANY[500:]), "data.csv.gz")
    np.testing.assert_array_equal(columns(in_blocks(path, 777))["x"], np.arange(20_000.0))


@pytest.mark.parametrize("compress", [bytes, *COMPRESS.values()], ids=["plain", *COMPRESS])
def test_streams_are_read_once(compress):
    class Slow(io.RawIOBase):
        """A pipe that hands out a few bytes at a time."""

        def __init__(self, content):
            self.left = io.BytesIO(content)

        def read(self, size=-1):
            return self.left.read(min(size, 1001) if size >= 0 else 1001)

    scan = in_blocks(Slow(compress(MANY)), 5000).dataset
    assert not scan.again
    assert scan.fingerprint == ""
    (piece,) = scan.row_groups
    found = pa.Table.from_batches(list(piece.read(["x"])))
    np.testing.assert_array_equal(found["x"], np.arange(20_000))
    assert piece.line(12_345) == " (line 12347)"
    with pytest.raises(DataError, match="standard input can be read once, and has been; save it"):
        list(piece.read(["x"]))


def test_text_streams_and_small_ones():
    stream = io.StringIO("α,y\n1,2\n3,4\n")
    table = in_blocks(stream, 1)
    np.testing.assert_array_equal(columns(table)["α"], [1.0, 3.0])
    table = scan_text(io.BytesIO(MANY))
    assert table.dataset is None
    for _ in range(2):
        np.testing.assert_array_equal(columns(table)["x"], np.arange(20_000.0))


def test_an_empty_stream_is_refused():
    for small in (0, 100):
        with pytest.raises(DataError, match=r"standard input is empty \(0 bytes\)"):
            scan_text(io.BytesIO(b""), small=small)


@pytest.mark.parametrize(
    "content",
    [b"x,y\n1,2\n3\n", b"x,y\n1,2\n3,4,5\n", b"x,y\n1,abc\n", b"x y\n1 2\n3\n", b"x,y\n", b"#\n",
     b"PAR1", b"x\xe9\n1\n", b"x,y\n1,9007199254740993\n", b"x\n1,5\n"],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 8, 1000])
def test_messages_are_those_of_small_files(content, size, tmp_path):
    with pytest.raises(DataError) as small:
        columns(as_whole(content))
    with pytest.raises(DataError) as large:
        columns(in_blocks(write(tmp_path, content), size))
    assert str(large.value) == str(small.value)


def test_several_files_are_one_table(tmp_path):
    first = write(tmp_path, "# run 1\nx,y\n1,2\n3,4\n", "a.csv")
    second = write(tmp_path, gzip.compress(b"x,y\n5,6.5\n"), "b.csv.gz")
    table = scan_text(first, second)
    assert [piece.label for piece in table.dataset.row_groups] == ["a.csv", "b.csv.gz"]
    np.testing.assert_array_equal(columns(table)["y"], [2, 4, 6.5])
    write(tmp_path, gzip.compress(b"x,y\n5,6.5\n7,\n"), "b.csv.gz")
    words = r"row 4 \(row 2, line 3 of b.csv.gz\) is missing"
    with pytest.raises(DataError, match=words):
        scan_text(first, second).load(["x", "y"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x,z\n1,2\n", "b.csv has the columns 'x', 'z' where a.csv has 'x', 'y'; it lacks 'y';"),
        ("y,x\n1,2\n", "b.csv has the columns 'y', 'x' where a.csv has 'x', 'y'; give files"),
        ("x,y,z\n1,2,3\n", "b.csv has the columns 'x', 'y', 'z'"),
        ("", "b.csv is empty"),
        ("x,z\n", "b.csv has the columns 'x', 'z' where a.csv has 'x', 'y'"),
        ("x,y\n1,2\n3\n", "line 3 of b.csv has 1 field where the header has 2"),
        ("x,y\n1,n.a.\n", "column 'y' of b.csv holds text: row 1 (line 2) is 'n.a.'"),
        ("x,y\n1,2020-01-01\n", "column 'y' of b.csv holds text: row 1 (line 2) is '2020-01-01'"),
    ],
)
def test_the_file_that_differs_is_named(content, words, tmp_path):
    first = write(tmp_path, "x,y\n1,2\n", "a.csv")
    second = write(tmp_path, content, "b.csv")
    with pytest.raises(DataError, match=re.escape(words)):
        columns(scan_text(first, second))


def test_files_of_whole_numbers_take_the_decimal_sign_of_the_others(tmp_path):
    first = write(tmp_path, "x;y\n1;2\n", "a.csv")
    second = write(tmp_path, "x;y\n1,5;2\n", "b.csv")
    np.testing.assert_array_equal(columns(scan_text(first, second))["x"], [1, 1.5])


@pytest.mark.parametrize("value", ["12.5", "soon", "3"])
def test_a_column_of_dates_takes_no_numbers(value, tmp_path):
    text = "t,y\n" + "2020-01-01,1\n" * 50 + f"{value},1\n" + "2020-01-01,1\n" * 9
    words = f"column 't' of data.csv holds '{value}' in line 52, where rows before it hold dates"
    with pytest.raises(DataError, match=re.escape(words)):
        in_blocks(write(tmp_path, text), 100).load(["t"])


def test_a_file_that_changes_is_refused(tmp_path):
    path = write(tmp_path, MANY)
    scan = in_blocks(path, 1000).dataset
    reading = scan.row_groups[0].read(["x"])
    next(reading)
    write(tmp_path, MANY + b"1,2\n")
    with pytest.raises(DataError, match=r"data\.csv has changed since it was opened"):
        list(reading)
    with pytest.raises(DataError, match=r"data\.csv has changed since it was opened"):
        list(scan.row_groups[0].read(["x"]))
    path.unlink()
    with pytest.raises(DataError, match=r"data\.csv was removed while it was being read"):
        list(scan.row_groups[0].read(["x"]))


def test_fingerprints_tell_files_apart(tmp_path):
    first = in_blocks(write(tmp_path, "x\n1\n", "a.csv")).dataset.fingerprint
    assert first == in_blocks(tmp_path / "a.csv").dataset.fingerprint != ""
    os.utime(tmp_path / "a.csv", ns=(1, 1))
    assert first != in_blocks(tmp_path / "a.csv").dataset.fingerprint


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of this system differ")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write(tmp_path, "x\n1\n")
    reachable(tmp_path)
    path.chmod(0)
    with as_nobody(), pytest.raises(DataError, match="permission denied"):
        scan_text(path)


def test_two_passes_at_once(tmp_path):
    scan = in_blocks(write(tmp_path, MANY), 3000).dataset
    pairs = zip(scan.row_groups[0].read(["x"]), scan.row_groups[0].read(["y"]), strict=True)
    for x, y in pairs:
        np.testing.assert_array_equal(np.asarray(x["x"]) ** 2, y["y"])


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path):
    import threading

    scan = in_blocks(write(tmp_path, MANY), 1000).dataset
    before = threading.active_count()
    reading = scan.row_groups[0].read(["x"])
    next(reading)
    reading.close()
    assert threading.active_count() == before
