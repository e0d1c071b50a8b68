"""Data that can be read once: streams, readers and iterators of batches."""

from __future__ import annotations

import gc
import gzip
import io
import itertools
import os
import re
import sys
import tempfile
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sgdfit.data.readers import open_table
from sgdfit.data.table import BATCH_ROWS
from sgdfit.errors import DataError

N = 7
X = np.linspace(-1.0, 1.0, N)
K = np.arange(N)
TABLE = pa.table({"x": X, "k": K, "note": ["ä"] * N})


class Stream:
    """Nothing but the Arrow C stream interface, as DuckDB's relations and ADBC's readers have."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        whole = isinstance(self.table, pa.Table)
        source = self.table.to_reader(max_chunksize=3) if whole else self.table
        return source.__arrow_c_stream__(requested_schema)


def everything(data):
    table = open_table(data)
    return table.load(table.names)


def parts(convert):
    """Yield the table in parts of three rows."""
    for start in range(0, N, 3):
        yield convert(TABLE.slice(start, 3))


SOURCES = {
    "reader": lambda: TABLE.to_reader(max_chunksize=3),
    "C stream": lambda: Stream(TABLE),
    "Arrow tables": lambda: parts(lambda part: part),
    "record batches": lambda: parts(lambda part: part.to_batches()[0]),
    "an iterator of a list": lambda: iter(TABLE.to_batches(max_chunksize=2)),
    "pandas": lambda: parts(lambda part: part.to_pandas()),
    "nullable pandas": lambda: parts(lambda part: part.to_pandas().convert_dtypes()),
    "Polars": lambda: parts(pl.from_arrow),
    "a query of Polars": lambda: pl.from_arrow(TABLE).lazy(),
    "dicts of arrays": lambda: parts(
        lambda part: {name: part[name].to_numpy() for name in part.column_names}
    ),
    "dicts of lists": lambda: parts(lambda part: part.to_pydict()),
    "rows": lambda: iter(TABLE.to_pylist()),
    "structured arrays": lambda: (
        np.rec.fromarrays([X[k : k + 1], K[k : k + 1], ["ä"]], names="x,k,note") for k in range(N)
    ),
    "C streams": lambda: parts(Stream),
    "empty ones among them": lambda: iter([TABLE.slice(0, 0), TABLE, TABLE.slice(0, 0)]),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_gives_the_same_rows_once(kind):
    check_rows_once(open_table(SOURCES[kind]()))
    source = open_table(SOURCES[kind]()).load(["k", "x"])
    np.testing.assert_array_equal(source.columns["x"], X)
    np.testing.assert_array_equal(source.columns["k"], K)


def check_rows_once(table):
    scan = table.dataset
    assert table.names == scan.names == ("x", "k", "note")
    assert not scan.again
    (piece,) = scan.row_groups
    assert (piece.label, piece.first, piece.rows) == ("the data", 0, None)
    batches = list(piece.read(["k", "x"]))
    assert all(isinstance(batch, pa.RecordBatch) for batch in batches)
    assert all(batch.schema.names == ["k", "x"] for batch in batches)
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in batches]), X)
    np.testing.assert_array_equal(np.concatenate([b["k"] for b in batches]), K)
    with pytest.raises(DataError, match="the data can be read once, and has been; save it"):
        list(piece.read(["x"]))


def test_what_is_in_memory_stays_there():
    columns = {"x": X, "k": K}
    for data in (TABLE, TABLE.to_batches()[0], TABLE.to_pandas(), pl.from_arrow(TABLE), columns):
        table = open_table(data)
        assert table.dataset is None
        assert [table.load(["x"]).rows for _ in range(2)] == [N, N]


def test_batches_are_cut_to_size_and_read_as_they_are_asked_for():
    taken = []

    def numbers():
        for k in range(5):
            taken.append(k)
            rows = 2 * BATCH_ROWS + 5 if k == 1 else 1
            yield {"x": np.full(rows, float(k)), "site": ["A"] * rows, "z": [object()] * rows}

    reading = open_table(numbers()).dataset.row_groups[0].read(["x", "site"])
    assert taken == [0]
    batches = list(itertools.islice(reading, 4))
    assert taken == [0, 1]
    assert [batch.num_rows for batch in batches] == [1, BATCH_ROWS, BATCH_ROWS, 5]
    assert batches[0]["site"].to_pylist() == ["A"]


def test_what_an_iterator_raises_is_passed_on():
    def broken():
        yield {"x": [1.0, 2.0]}
        raise ConnectionError("the line is down")

    with pytest.raises(ConnectionError, match="the line is down") as caught:
        open_table(broken()).load(["x"])
    assert caught.value.__notes__ == ["(raised by the iterator that yields the data, after 2 rows)"]

    def at_once():
        raise KeyError("no such table")
        yield

    with pytest.raises(KeyError, match="no such table"):
        open_table(at_once())


def test_a_reader_that_breaks_says_after_how_many_rows():
    def broken():
        yield from TABLE.to_batches(max_chunksize=2)[:2]
        raise OSError("connection reset")

    reader = pa.RecordBatchReader.from_batches(TABLE.schema, broken())
    words = r"the data broke off after 4 rows \(.*connection reset.*\); see to what they come from"
    with pytest.raises(DataError, match=words):
        open_table(reader).load(["x"])


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "the data end before the first batch, so they have no columns"),
        ([TABLE.slice(0, 0)], "the data has no rows; give at least one"),
        ([{}], "the data has no columns"),
        ([{"x": [1.0]}, {"z": [1.0]}], "batch 2 of the data has the columns 'z' where the first "
         "has 'x'; yield batches with the same columns"),
        ([{"x": [1.0]}, {"x": ["a"]}], "column 'x' of the data holds text in batch 2, where batches"
         " before it hold numbers; give all of them the same type"),
        ([{"x": [None]}, {"x": [1.0]}, {"x": np.array(["2020-01-01"], "M8[s]")}],
         "column 'x' of the data holds times in batch 3"),
        ([{"x": [1.0]}, {"x": [1.0, np.nan]}], "1 of 3 rows has no finite number in the data:"
         " column 'x' row 3 is missing (NaN)"),
        ([{"x": [1.0]}, {"x": [True]}], "holds truth values in batch 2"),
        ([{"x": ["1"]}, {"x": ["2", "b"]}], "column 'x' of the data holds text: row 3 is 'b'"),
        ([{"x": [1.0]}, {"x": np.array([1j])}], "holds complex numbers"),
        ([{"x": [1], "y": [1.0, 2.0]}], "columns 'x' and 'y' of batch 1 of the data have 1 and 2"),
        ([3.5], "data of type 'float'"),
        (["a.csv"], "batch 1 of the data is 'a.csv', which is no table; yield Arrow batches"),
        ([{"x": [1.0]}, iter([])], "batch 2 of the data is <list_iterator"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_batches_is_said(batches, words):
    with pytest.raises(DataError, match=re.escape(words)):
        everything(iter(batches))


def test_whole_numbers_and_fractions_mix():
    source = open_table(iter([{"x": [1, 2]}, {"x": [0.5]}, {"x": [None]}])).load(
        ["x"], missing="drop"
    )
    assert source.columns["x"].tolist() == [1.0, 2.0, 0.5]


def test_a_stream_without_named_columns():
    with pytest.raises(DataError, match="is no table of named columns"):
        open_table(Stream(pa.chunked_array([[1.0]])))


def as_stream(table, **options):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
def test_an_arrow_stream_that_is_cut_off(share, monkeypatch):
    monkeypatch.setattr("sgdfit.data.readers.SMALL", 10)
    content = as_stream(TABLE)
    with pytest.raises(
        DataError, match=r"the data is (cut off, damaged or no|damaged in record b)"
    ):
        open_table(io.BytesIO(content[: int(share * len(content))])).load(["x"])


def test_pandas_hands_out_chunks():
    with pd.read_csv(io.StringIO("x,k\n1,2\n3,4\n5,6\n"), chunksize=2) as chunks:
        assert everything(chunks).columns["k"].tolist() == [2.0, 4.0, 6.0]


CSV = b"x,k\n" + b"".join(b"%.17g,%d\n" % (x, k) for x, k in zip(X, K, strict=True))


def as_parquet(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


INPUTS = {
    "text": CSV,
    "compressed text": gzip.compress(CSV),
    "Arrow stream": as_stream(TABLE),
    "packed Arrow stream": as_stream(TABLE, options=pa.ipc.IpcWriteOptions(compression="zstd")),
    "compressed Arrow stream": gzip.compress(as_stream(TABLE)),
    "Parquet": as_parquet(TABLE),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("small", [10, 1 << 20], ids=["long", "short"])
def test_standard_input_is_known_by_its_first_bytes_and_read_once(
    kind, small, monkeypatch, tmp_path
):
    monkeypatch.setattr("sgdfit.data.readers.SMALL", small)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(INPUTS[kind])))
    table = open_table("-")
    assert table.label == "standard input"
    np.testing.assert_array_equal(table.load(["x", "k"]).columns["x"], X)
    columns = "text" not in kind
    assert len(list(tmp_path.iterdir())) == (columns and small == 10)  # where it is copied
    if columns or small > 10:  # what is short is kept
        np.testing.assert_array_equal(table.load(["x", "k"]).columns["k"], K)
        del table
        gc.collect()
        assert not list(tmp_path.iterdir())
        return
    assert not table.dataset.again
    with pytest.raises(DataError, match="standard input can be read once, and has been"):
        table.load(["x", "k"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_stays_open_as_long_as_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr("sgdfit.data.readers.SMALL", 10)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(CSV,))
    writer.start()
    before = len(os.listdir("/dev/fd"))
    table = open_table(tmp_path / "pipe")
    np.testing.assert_array_equal(table.load(["k"]).columns["k"], K)
    writer.join()
    del table
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before


def test_an_empty_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(DataError, match=r"standard input is empty \(0 bytes\); give it rows"):
        open_table("-")
