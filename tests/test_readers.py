"""What can be read, against pandas and NumPy; and what cannot, each with its own sentence."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import io
import os
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest

from sgdfit.data.formats import format_table
from sgdfit.data.readers import KINDS, open_table
from sgdfit.errors import DataError, UsageError

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

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


class Astropy:
    """What a Table of Astropy shows of itself: rows where it is walked through, and a reader."""

    def __init__(self, columns):
        self.columns = columns

    def __getitem__(self, name):
        return self.columns[name]

    def __iter__(self):
        return zip(*self.columns.values(), strict=True)

    def keys(self):
        return self.columns.keys()

    @classmethod
    def read(cls, path):
        raise ValueError("Format could not be identified")


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
    "Astropy table": lambda: Astropy({"x": X, "y": Y}),
    "Astropy tables": lambda: iter([Astropy({"x": X[k:][:2], "y": Y[k:][:2]}) for k in (0, 2)]),
    "record array": lambda: RECORDS,
    "structured array": lambda: np.asarray(RECORDS).view(np.ndarray),
    "pandas DataFrame": lambda: FRAME,
    "pandas DataFrame of Arrow": lambda: FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "pandas DataFrame, nullable": lambda: FRAME.convert_dtypes(),
    "pandas index": lambda: FRAME.set_index("x"),
    "pandas index and column": lambda: FRAME.set_index("x", drop=False),
    "pandas index of a Series": lambda: FRAME.set_index("x")["y"],
    "pandas MultiIndex": lambda: FRAME.assign(site="A", n=1).set_index(["site", "x", "y"]),
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


CSV = FRAME.to_csv(index=False).encode()
FILES = {
    "data.csv": CSV,
    "data.TXT": CSV,
    "data.tsv": CSV.replace(b",", b"\t"),
    "data.csv.gz": gzip.compress(CSV),
    "two members.csv.gz": gzip.compress(CSV[:20]) + gzip.compress(CSV[20:]),
    "data.csv.bz2": bz2.compress(CSV),
    "data.csv.zst": pa.compress(CSV, "zstd", asbytes=True),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_text_gives_the_same_columns(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    for data in (path, str(path)):
        source = open_table(data).load(["y", "x"])
        np.testing.assert_array_equal(source.columns["x"], X)
        np.testing.assert_array_equal(source.columns["y"], Y)
        assert source.label == name


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "data.csv").write_text("x,y\n1,2\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_table("~/data.csv").names == ("x", "y")


@pytest.mark.parametrize("series", [pd.Series([1.0, 2.0], name="y"), pl.Series("y", [1.0, 2.0])])
def test_a_series_is_a_table_of_one_column(series):
    assert everything(series).columns["y"].tolist() == [1.0, 2.0]


def test_a_scalar_stands_for_every_row():
    source = everything({"dose": 2, "y": Y, "k": np.float32(0.5)})
    np.testing.assert_array_equal(source.columns["dose"], np.full(4, 2.0))
    np.testing.assert_array_equal(source.columns["k"], np.full(4, 0.5))
    assert everything({"x": 1.0, "y": 2.0}).rows == 1


def test_names_are_normalised_as_python_does():
    table = open_table({" ｘ": [1.0], "µ": [2.0]})
    assert table.names == ("x", "μ")
    assert table.load(["µ"]).columns["µ"].tolist() == [2.0]


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
    "Arrow date32": (pa.array([1, None], pa.date32()), [86400.0, np.nan]),
    "Arrow date64": (pa.array([86400000], pa.date64()), [86400.0]),
    "Arrow time32": (pa.array([90, None], pa.time32("s")), [90.0, np.nan]),
    "Arrow time64": (pa.array([1_500_000], pa.time64("us")), [1.5]),
    "Arrow duration": (pa.array([1500, None], pa.duration("ms")), [1.5, np.nan]),
    "Arrow timestamp": (pa.array([1_500_000_000, None], pa.timestamp("ns", "UTC")), [1.5, np.nan]),
    "Arrow text views": (pa.array(["1", None], pa.string_view()), [1.0, np.nan]),
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
    with pytest.raises(ValueError, match=r"'x' of the data .* lies on cuda:0: call \.cpu\(\)"):
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


def test_only_the_columns_needed_are_looked_at():
    data = {"x": X, "text": ["a"] * 4, "short": [1]}
    assert list(open_table(data).load(["x"]).columns) == ["x"]
    for text in (b"x,note\n1,caf\xe9\n2,\n", b"x,a,a\n1,2,3\n2,2,3\n"):
        assert open_table(io.BytesIO(text)).load(["x"]).columns["x"].tolist() == [1.0, 2.0]


def test_a_row_is_dropped_where_any_needed_column_is_not_finite():
    data = {"x": [1, np.nan, 3, 4], "y": [1, 2, np.inf, 4], "z": [None, 2, 3, 4]}
    source = open_table(data).load(["x", "y"], missing="drop")
    assert source.columns["x"].tolist() == [1.0, 4.0]
    assert (source.rows, source.dropped) == (2, 2)


def test_a_sum_that_overflows_is_no_missing_number():
    large = np.full(3, 1.7e308)
    np.testing.assert_array_equal(everything({"x": large}).columns["x"], large)


GZ = gzip.compress(b"x,y\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(5000)))


NAN = np.nan
MASKED = {"x": np.arange(200.0), "y": np.arange(200.0)}
MASKED["y"][[16, 30]] = NAN, -np.inf
MASKED["x"][[40, 16]] = np.inf, np.inf

OBJECTS = {
    "number": (5, ["type 'int' (5) cannot be read", *KINDS]),
    "class": (pd.DataFrame, ["type 'type'", "mapping of names to arrays"]),
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
    "periods": (
        {"x": pd.period_range("2024-01", periods=2, freq="M")},
        ["column 'x' of the data holds periods: pass their starts", "dt.to_timestamp()"],
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


def refusal(data, **options):
    with pytest.raises(DataError) as caught:
        everything(data, **options)
    assert "pyarrow" not in str(caught.value)
    return str(caught.value)


def says(words):
    """Return an expression for words in their order."""
    return "(?s)" + ".*".join(map(re.escape, words))


# name and content of a file, words of the message in their order
BAD_FILES = {
    "0 bytes, compressed": ("data.csv.gz", gzip.compress(b""), ["empty (0 bytes)"]),
    "cut-off gz": ("data.csv.gz", GZ[:-100], ["data.csv.gz is cut off", "gzip", "copy"]),
    "no gz": ("data.csv.gz", b"x,y\n1,2\n", ["no gzip file"]),
    "old Feather": ("data.feather", b"FEA1abc", ["version 1", "write it as version 2"]),
    "unknown ending": ("data.foo", b"1", ["the ending '.foo'", "not supported", format_table()]),
    "unknown, compressed": ("data.foo.gz", b"1", ["the ending '.foo'", format_table()]),
    "compressed as a whole": ("data.pq.gz", b"1", ["Parquet", "unpack it first"]),
    "no ending": ("data", b"1", ["data has no ending", format_table()]),
    "OpenDocument": ("data.ods", b"1", ["'.ods'", "save the sheet as CSV", format_table()]),
    "JSON": ("data.json", b"1", ["'.json'", "read it with pandas", format_table()]),
    "HDF5": ("data.h5", b"1", ["'.h5'", "read it with pandas", format_table()]),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name, tmp_path):
    called, content, words = BAD_FILES[name]
    (tmp_path / called).write_bytes(content)
    assert re.search(says(words), refusal(tmp_path / called))


@pytest.mark.parametrize("name", OBJECTS)
def test_bad_objects(name):
    data, words = OBJECTS[name]
    assert re.search(says(words), refusal(data))


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
    assert re.search(says(words), refusal(os.path.join(tmp_path, path)))


def test_an_address_is_no_path():
    with pytest.raises(DataError, match="an address, not a file; download it"):
        open_table("https://example.org/data.csv")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tmie", ["the data has no column 'tmie'", "'time', 'dose'.", "Did you mean 'time'?"]),
        ("DOSE", ["Did you mean 'dose'?"]),
        ("z", ["no column 'z'; its columns are 'time', 'dose'."]),
    ],
)
def test_unknown_columns(name, words):
    with pytest.raises(DataError, match=says(words)):
        open_table({"time": [1], "dose": [2]}).load([name])


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
    with pytest.raises(UsageError, match=says(words)):
        open_table({"x": [1.0]}).load(["x"], missing=missing)


def test_dropping_every_row_is_refused():
    data = {"x": [NAN, 1], "y": [1, NAN]}
    assert re.search("no row of the data remains.*'x', 'y'", refusal(data, missing="drop"))
