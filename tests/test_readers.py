"""What can be read, against pandas and plain NumPy as oracles."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import io
import os
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sgdfit.data.readers import open_table
from sgdfit.data.table import Columns

X = np.array([0.5, -1.25, 3.0, 1e-300])
Y = np.array([2.0, 4.0, -8.0, 1e300])
FRAME = pd.DataFrame({"x": X, "y": Y, "note": ["a", "b", "c", "d"]})
ARROW = pa.table({"x": X, "y": Y, "note": ["a", "b", "c", "d"]})
RECORDS = np.rec.fromarrays([X, Y], names="x,y")


class Stream:
    """Nothing but the Arrow C stream interface."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class OnDevice:
    """What a tensor on a graphics card shows of itself."""

    device = "cuda:0"

    def __dlpack_device__(self):
        return (2, 0)


@pytest.fixture
def write(tmp_path):
    def written(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def everything(data, **options):
    table = open_table(data)
    return table.load(table.names, **options)


WHOLE = {
    "dict of arrays": lambda: {"x": X, "y": Y},
    "dict of lists": lambda: {"x": X.tolist(), "y": tuple(Y)},
    "dict of column vectors": lambda: {"x": X[:, None], "y": Y[:, None].tolist()},
    "dict of pandas Series": lambda: {"x": FRAME["x"], "y": FRAME["y"]},
    "dict of a pandas column": lambda: {"x": FRAME[["x"]], "y": FRAME.y.array},
    "dict of Polars Series": lambda: {"x": pl.Series(X), "y": pl.Series(Y)},
    "dict of Arrow arrays": lambda: {"x": pa.array(X), "y": pa.chunked_array([Y[:1], Y[1:]])},
    "dict of strided arrays": lambda: {"x": np.repeat(X, 3)[::3], "y": Y[::-1][::-1]},
    "dict of big-endian arrays": lambda: {"x": X.astype(">f8"), "y": Y.astype(">f8")},
    "record array": lambda: RECORDS,
    "structured array": lambda: np.asarray(RECORDS).view(np.ndarray),
    "pandas DataFrame": lambda: FRAME,
    "pandas DataFrame of Arrow": lambda: FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "pandas DataFrame, nullable": lambda: FRAME.convert_dtypes(),
    "Polars DataFrame": lambda: pl.DataFrame(FRAME.to_dict("list")),
    "Polars LazyFrame": lambda: pl.LazyFrame(FRAME.to_dict("list")),
    "Arrow Table": lambda: ARROW,
    "Arrow Table in pieces": lambda: pa.concat_tables([ARROW.slice(0, 1), ARROW.slice(1)]),
    "Arrow RecordBatch": lambda: ARROW.to_batches()[0],
    "Arrow RecordBatchReader": lambda: ARROW.to_reader(max_chunksize=2),
    "Arrow C stream": lambda: Stream(ARROW),
    "open file": lambda: io.BytesIO(FRAME.to_csv(index=False).encode()),
    "open text file": lambda: io.StringIO(FRAME.to_csv(index=False)),
    "table that is open": lambda: open_table({"x": X, "y": Y}),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_every_kind_of_data_gives_the_same_columns(kind):
    source = open_table(WHOLE[kind]()).load(["y", "x"])
    assert list(source.columns) == ["y", "x"]
    np.testing.assert_array_equal(source.columns["x"], X)
    np.testing.assert_array_equal(source.columns["y"], Y)
    assert (source.rows, source.dropped) == (4, 0)
    assert all(column.dtype == np.float64 for column in source.columns.values())


def to_bytes(write):
    sink = io.BytesIO()
    write(sink)
    return sink.getvalue()


def in_ipc(sink, kind=pa.ipc.new_file):
    with kind(sink, ARROW.schema) as writer:
        writer.write_table(ARROW, max_chunksize=2)


CSV = FRAME.to_csv(index=False).encode()
PARQUET = to_bytes(lambda sink: pq.write_table(ARROW, sink))
FEATHER = to_bytes(lambda sink: pyarrow.feather.write_feather(ARROW, sink))
ARROWS = to_bytes(lambda sink: in_ipc(sink, pa.ipc.new_stream))
FILES = {
    "data.csv": CSV,
    "data.TXT": CSV,
    "data.tsv": CSV.replace(b",", b"\t"),
    "data.csv.gz": gzip.compress(CSV),
    "two members.csv.gz": gzip.compress(CSV[:20]) + gzip.compress(CSV[20:]),
    "data.csv.bz2": bz2.compress(CSV),
    "data.csv.zst": pa.compress(CSV, "zstd", asbytes=True),
    "data.parquet": PARQUET,
    "data.pq.gz": gzip.compress(PARQUET),
    "data.feather": FEATHER,
    "data.arrow": to_bytes(in_ipc),
    "data.arrows": ARROWS,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("as_type", [str, lambda path: path], ids=["text", "Path"])
def test_every_format_gives_the_same_columns(name, as_type, write):
    source = open_table(as_type(write(FILES[name], name))).load(["y", "x"])
    np.testing.assert_array_equal(source.columns["x"], X)
    np.testing.assert_array_equal(source.columns["y"], Y)
    assert source.label == name


@pytest.mark.parametrize(
    "content",
    [CSV, gzip.compress(CSV), bz2.compress(CSV), PARQUET, FEATHER, ARROWS],
    ids=["csv", "gz", "bz2", "parquet", "feather", "arrow stream"],
)
def test_standard_input_is_read_once_and_known_by_its_first_bytes(content, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    table = open_table("-")
    assert table.names == ("x", "y", "note")
    for _ in range(2):
        source = table.load(["x", "y"])
        np.testing.assert_array_equal(source.columns["y"], Y)
    assert source.label == "standard input"


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="no /dev/fd here")
def test_a_pipe_with_a_name_is_read_once_like_standard_input():
    reading, writing = os.pipe()
    os.write(writing, CSV)
    os.close(writing)
    source = open_table(f"/dev/fd/{reading}").load(["x", "y"])
    os.close(reading)
    np.testing.assert_array_equal(source.columns["y"], Y)


def test_a_tilde_is_the_home_folder(write, monkeypatch):
    path = write("x,y\n1,2\n")
    monkeypatch.setenv("HOME", str(path.parent))
    assert open_table("~/data.csv").names == ("x", "y")


@pytest.mark.parametrize("series", [pd.Series([1.0, 2.0], name="y"), pl.Series("y", [1.0, 2.0])])
def test_a_series_is_a_table_of_one_column(series):
    assert everything(series).columns["y"].tolist() == [1.0, 2.0]


def test_a_scalar_stands_for_every_row():
    source = everything({"dose": 2, "y": Y, "k": np.float32(0.5)})
    np.testing.assert_array_equal(source.columns["dose"], np.full(4, 2.0))
    np.testing.assert_array_equal(source.columns["k"], np.full(4, 0.5))
    assert everything({"x": 1.0, "y": 2.0}).rows == 1


# (text, options that make pandas read the same)
DIALECTS = {
    "comma": ("x,y\n1,2.5\n-3,4e2\n", {}),
    "comma and blanks": ("x, y\n1,  2.5\n-3, 4e2\n", {"skipinitialspace": True}),
    "semicolon": ("x;y\n1.5;2\n3;4\n", {"sep": ";"}),
    "decimal comma": ("x;y\n1,5;2\n3;4,25\n", {"sep": ";", "decimal": ","}),
    "decimal comma far down": (
        "x;y\n" + "1;2\n" * 100 + "3;4,25\n",
        {"sep": ";", "decimal": ","},
    ),
    "decimal comma and tab": ("x\ty\n1,5\t2\n3\t4,25\n", {"sep": "\t", "decimal": ","}),
    "decimal comma and blanks": ("x y\n1,5 2,5\n3,5 4,5\n", {"sep": " ", "decimal": ","}),
    "tab": ("x\ty\n1\t2.5\n3\t4\n", {"sep": "\t"}),
    "bar": ("x|y\n1|2.5\n3|4\n", {"sep": "|"}),
    "blanks": ("  x   y\n 1.0   2.5 \n\t3.0 \t4\n", {"sep": r"\s+"}),
    "blanks and quotes": ('"my x" y\n"1.0" 2.5\n', {"sep": r"\s+"}),
    "CRLF": ("x,y\r\n1,2.5\r\n3,4\r\n", {}),
    "CRLF and blanks": ("x y\r\n1  2.5 \r\n3 4\r\n", {"sep": r"\s+"}),
    "CR": ("x,y\r1,2.5\r3,4\r", {"lineterminator": "\r"}),
    "no end of line": ("x,y\n1,2.5\n3,4", {}),
    "byte order mark": ("\ufeffx,y\n1,2.5\n", {}),
    "quoted": ('"x","y"\n"1","2.5"\n', {}),
    "comments and blank lines": (
        "# by hand\n\nx,y\n# c, d\n1,2.5\n\n   \n  # z\n3,4\n",
        {"comment": "#", "skip_blank_lines": True},
    ),
    "one column": ("x\n1.5\n2\n  \n3\n", {"skip_blank_lines": True}),
    "signs and powers": ("x,y\n+1.5,-2E-3\n.5,5.\n", {}),
    "Greek": ("α,µ\n1,2\n", {}),
    "booleans": ("x,y\nTrue,false\nFalse,true\n", {}),
    "names with blanks": ("time (s), y value\n1,2\n", {"skipinitialspace": True}),
    "note in quotes": ('x,y,z\n1,"2",3\n"4",5,6\n', {}),
    "long rows": (",".join(f"c{i}" for i in range(9000)) + "\n" + ",".join(["1.5"] * 9000), {}),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects_are_read_as_pandas_reads_them(name, write):
    text, options = DIALECTS[name]
    source = everything(write(text))
    expected = pd.read_csv(io.StringIO(text), **options).dropna()
    assert len(source.columns) == len(expected.columns)
    for column, wanted in zip(source.columns.values(), expected.columns, strict=True):
        np.testing.assert_array_equal(column, expected[wanted].to_numpy(np.float64))


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("1 2\n3 4\n", ("x", "y"), [1.0, 2.0]),
        ("5\n6\n", ("c1",), [5.0]),
        ("1,2,3\n4,5,6\n", ("c1", "c2", "c3"), [1.0, 2.0, 3.0]),
        ("# t v\n1;2,5\n", ("x", "y"), [1.0, 2.5]),
        ("1970-01-02,NA,3\n1970-01-02,1,3\n", ("c1", "c2", "c3"), [86400.0, 1.0, 3.0]),
        ("a,,b\n1,2,3\n", ("a", "c2", "b"), [1.0, 2.0, 3.0]),
        ("ｘ, µ \n1,2\n", ("x", "μ"), [1.0, 2.0]),
        ("NA,nan\n1,2\n", ("NA", "nan"), [1.0, 2.0]),
        ('# a\n"x\r\n(s)","y\n""z"""\r\n1,2\r\n', ("x (s)", 'y "z"'), [1.0, 2.0]),
        ("sep=;\nx;y\n1,5;2\n", ("x", "y"), [1.5, 2.0]),
        ('"SEP=,"\r\n1,2\r\n', ("x", "y"), [1.0, 2.0]),
    ],
)
def test_names_of_columns(text, names, first, write):
    table = open_table(write(text))
    assert table.names == names
    source = table.load(names, missing="drop")
    assert [float(source.columns[name][0]) for name in names] == first


def test_names_are_normalised_as_python_does():
    table = open_table({" ｘ": [1.0], "µ": [2.0]})
    assert table.names == ("x", "μ")
    assert table.load(["µ"]).columns["µ"].tolist() == [2.0]


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=20),
    separator=st.sampled_from([",", ";", "\t", "|", " ", "   "]),
    header=st.booleans(),
)
def test_floats_survive_a_round_trip_through_text(rows, separator, header):
    text = (f"x{separator}y\n" if header else "") + "".join(
        f"{x!r}{separator}{y!r}\n" for x, y in rows
    )
    source = everything(io.StringIO(text))
    expected = np.array(rows)
    for place, name in enumerate("xy"):
        assert source.columns[name].tobytes() == expected[:, place].tobytes()


# (column, what it becomes)
TYPES = {
    "float32": (np.array([1.5, 2.5], np.float32), np.array([1.5, 2.5], np.float32)),
    "float16": (np.array([1.5, 2.5], np.float16), np.array([1.5, 2.5], np.float32)),
    "longdouble": (np.array([1.5, 2.5], np.longdouble), [1.5, 2.5]),
    "int8": (np.array([-3, 4], np.int8), [-3.0, 4.0]),
    "int64, exact": (np.array([2**53, -(2**63), 2**60]), [2.0**53, -(2.0**63), 2.0**60]),
    "uint64, exact": (np.array([2**63, 1], np.uint64), [2.0**63, 1.0]),
    "bool": ([True, False], [1.0, 0.0]),
    "Python integers beyond 64 bits": ([2**70, 1], [2.0**70, 1.0]),
    "None among numbers": ([1, None, 2.5], [1.0, np.nan, 2.5]),
    "None among bools": ([True, None], [1.0, np.nan]),
    "decimals": ([decimal.Decimal("1.25"), None], [1.25, np.nan]),
    "text that is numbers": (["1.5", " +2 ", "NA", "-1e3", "inf"], [1.5, 2, np.nan, -1e3, np.inf]),
    "bytes that are numbers": (np.array([b"1.5", b"2"]), [1.5, 2.0]),
    "masked": (np.ma.array([1, 2, 3], mask=[0, 1, 0]), [1.0, np.nan, 3.0]),
    "datetime64[ns]": (np.array(["1970-01-01T00:00:01.5", "NaT"], "M8[ns]"), [1.5, np.nan]),
    "datetime64[h]": (np.array(["1970-01-01T02"], "M8[h]"), [7200.0]),
    "datetime64[Y]": (np.array(["1971"], "M8[Y]"), [365 * 86400.0]),
    "timedelta64[ms]": (np.array([1500], "m8[ms]"), [1.5]),
    "datetime": ([datetime.datetime(1970, 1, 2)], [86400.0]),
    "date": ([datetime.date(1970, 1, 2), None], [86400.0, np.nan]),
    "timedelta": ([datetime.timedelta(minutes=1)], [60.0]),
    "pandas Int64": (pd.array([1, None], "Int64"), [1.0, np.nan]),
    "pandas Float32": (pd.array([1.5, None], "Float32"), np.array([1.5, np.nan], np.float32)),
    "pandas boolean": (pd.Series([True, None], dtype="boolean"), [1.0, np.nan]),
    "pandas categorical": (pd.Series([3, 5, 3], dtype="category"), [3.0, 5.0, 3.0]),
    "pandas with zone": (pd.Series(pd.to_datetime(["1970-01-01T01:00+01:00"])), [0.0]),
    "pandas strings": (pd.Series(["1", "2.5"]), [1.0, 2.5]),
    "pandas index": (pd.RangeIndex(3), [0.0, 1.0, 2.0]),
    "Polars categorical": (pl.Series(["1", "2", "1"], dtype=pl.Categorical), [1.0, 2.0, 1.0]),
    "Polars with nulls": (pl.Series([1, None, 3]), [1.0, np.nan, 3.0]),
    "Arrow float32 with nulls": (
        pa.array([1.5, None], pa.float32()),
        np.array([1.5, np.nan], np.float32),
    ),
    "Arrow float16": (pa.array(np.array([1.5], np.float16)), np.array([1.5], np.float32)),
    "Arrow bool": (pa.array([True, None, False]), [1.0, np.nan, 0.0]),
    "Arrow decimal256": (pa.array([decimal.Decimal("0.5")], pa.decimal256(50, 3)), [0.5]),
    "Arrow null": (pa.nulls(2), [np.nan, np.nan]),
    "Arrow dictionary": (pa.array([1.5, None, 1.5]).dictionary_encode(), [1.5, np.nan, 1.5]),
    "Arrow run-end": (pa.RunEndEncodedArray.from_arrays([2, 3], [1.5, 2.5]), [1.5, 1.5, 2.5]),
    "Arrow date32": (pa.array([1, None], pa.date32()), [86400.0, np.nan]),
    "Arrow date64": (pa.array([86400000], pa.date64()), [86400.0]),
    "Arrow time32": (pa.array([90, None], pa.time32("s")), [90.0, np.nan]),
    "Arrow time64": (pa.array([1_500_000], pa.time64("us")), [1.5]),
    "Arrow duration": (pa.array([1500, None], pa.duration("ms")), [1.5, np.nan]),
    "Arrow timestamp": (pa.array([1_500_000_000, None], pa.timestamp("ns", "UTC")), [1.5, np.nan]),
    "Arrow text views": (pa.array(["1", None], pa.string_view()), [1.0, np.nan]),
    "Arrow bool8 extension": (
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())),
        [1.0, 0.0],
    ),
}


@pytest.mark.parametrize("name", TYPES)
def test_types_of_columns(name):
    column, expected = TYPES[name]
    expected = np.asarray(expected)
    expected = expected if expected.dtype == np.float32 else expected.astype(np.float64)
    keep = np.isfinite(expected)
    index = np.arange(len(expected))
    if not keep.any():
        with pytest.raises(ValueError, match="no row of the data remains"):
            everything({"x": column}, missing="drop")
        return
    source = everything({"x": column, "row": index}, missing="drop")
    np.testing.assert_array_equal(source.columns["row"], index[keep])
    np.testing.assert_array_equal(source.columns["x"], expected[keep])
    assert source.columns["x"].dtype == expected.dtype
    assert source.dropped == np.count_nonzero(~keep)


def test_torch_tensors(torch):
    x = torch.arange(4, dtype=torch.float64)
    source = everything(
        {
            "x": x,
            "grad": torch.ones(4, dtype=torch.float64, requires_grad=True),
            "half": torch.tensor([0.5] * 4, dtype=torch.bfloat16)[:, None],
            "n": torch.arange(4),
        }
    )
    assert np.shares_memory(source.columns["x"], x.numpy())
    assert source.columns["grad"].tolist() == [1.0] * 4
    assert source.columns["half"].tolist() == [0.5] * 4
    assert source.columns["n"].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_tensor_elsewhere_is_to_be_fetched_first():
    with pytest.raises(ValueError, match=r"'x' of the data lies on cuda:0.*call \.cpu\(\)"):
        everything({"x": OnDevice()})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda a: {"x": a},
        lambda a: {"x": a[:, None]},
        lambda a: pd.DataFrame({"x": a}, copy=False),
        lambda a: {"x": pd.Series(a, copy=False)},
        lambda a: pa.table({"x": pa.array(a)}),
        lambda a: Stream(pa.table({"x": pa.array(a)})),
        lambda a: {"x": pl.Series(pa.array(a))},
    ],
    ids=["dict", "(n, 1)", "pandas", "Series", "Arrow", "C stream", "Polars"],
)
def test_floats_are_not_copied_and_cannot_be_written(dtype, wrap):
    array = np.arange(100, dtype=dtype)
    column = everything(wrap(array)).columns["x"]
    assert np.shares_memory(column, array)
    assert column.dtype == dtype
    assert not column.flags.writeable
    assert array.flags.writeable


def test_only_the_columns_needed_are_looked_at(write):
    data = {"x": X, "text": ["a"] * 4, "short": [1], 7: X}
    del data[7]
    assert list(open_table(data).load(["x"]).columns) == ["x"]
    path = write(b"x,note\n1,caf\xe9\n2,\n")
    assert open_table(path).load(["x"]).columns["x"].tolist() == [1.0, 2.0]
    twice = write("x,a,a\n1,2,3\n")
    assert open_table(twice).load(["x"]).columns["x"].tolist() == [1.0]


SPELLINGS = ["", "NA", "NaN", "null", "N/A", "n/a", "nan", "-", " NA "]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spellings_of_missing(spelling, separator, write):
    rows = [("x", "y"), ("1.5", "2.5"), (spelling, "3.5"), ("4.5", "5.5")]
    path = write("".join(separator.join(row) + "\n" for row in rows))
    source = everything(path, missing="drop")
    assert source.columns["x"].tolist() == [1.5, 4.5]
    assert source.columns["y"].tolist() == [2.5, 5.5]
    assert source.dropped == 1


def test_a_row_is_dropped_where_any_needed_column_is_not_finite():
    data = {"x": [1, np.nan, 3, 4], "y": [1, 2, np.inf, 4], "z": [None, 2, 3, 4]}
    source = open_table(data).load(["x", "y"], missing="drop")
    assert source.columns["x"].tolist() == [1.0, 4.0]
    assert (source.rows, source.dropped) == (2, 2)


def test_a_sum_that_overflows_is_no_missing_number():
    large = np.full(3, 1.7e308)
    np.testing.assert_array_equal(everything({"x": large}).columns["x"], large)


def test_chunks_are_consecutive_views():
    source = Columns({"x": np.arange(10.0), "y": np.arange(10.0) * 2}, "the data")
    chunks = list(source.chunks(["y", "x"], size=4))
    assert [x.size for _, x in chunks] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([y for y, _ in chunks]), source.columns["y"])
    assert all(np.shares_memory(x, source.columns["x"]) for _, x in chunks)


@pytest.mark.parametrize("longest", ["9223372036854775808", "-9223372036854775809", "1" * 25])
def test_integers_too_long_for_int64_are_read_as_floats(write, longest):
    (column,) = open_table(write(f"x\n{longest}\n3\n")).load(["x"]).columns.values()
    assert column.tolist() == [float(longest), 3.0]
