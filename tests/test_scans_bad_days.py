"""Bad days, each in every format: the right numbers, or one sentence that names file and row."""

from __future__ import annotations

import datetime
import decimal
import gzip
import io
import os
import re

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.data.opening import open_rows
from sgdfit.data.readers import open_table
from sgdfit.errors import DataError

ROWS = 100
X = np.round(np.linspace(0.01, 3, ROWS), 2)
Y = 2 * X + 1
# Floats hold every second integer here.
LONG = 2**53
DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(days=k) for k in range(ROWS)]
SECONDS = [datetime.datetime(2024, 1, 1) + datetime.timedelta(seconds=k) for k in range(ROWS)]
NEW_YEAR = 1704067200.0


def parquet(table, path):
    pq.write_table(table, path, row_group_size=30)


def feather(table, path):
    pyarrow.feather.write_feather(table, path, chunksize=30, compression="uncompressed")


def packed(table, path):
    pyarrow.feather.write_feather(table, path, chunksize=30)


def stream(table, path):
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=30)


def compressed_text(table, path):
    content = io.BytesIO()
    pyarrow.csv.write_csv(table, content)
    with open(path, "wb") as file:
        file.write(gzip.compress(content.getvalue()))


WRITERS = {
    "parquet": parquet,
    "feather": feather,
    "arrow": packed,
    "arrows": stream,
    "orc": pyarrow.orc.write_table,
    "csv": pyarrow.csv.write_csv,
    "csv.gz": compressed_text,
}
TEXT = ("csv", "csv.gz")
every_format = pytest.mark.parametrize("kind", WRITERS)


def table(x=X, y=Y):
    return pa.table({"x": x, "y": y})


def written(path, kind, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[kind](content, str(path))
    return path


# What ORC has no type for.
BEYOND_ORC = {
    "text in a dictionary",
    "numbers in a dictionary",
    "unsigned integers",
    "halves",
    "nulls of no type",
}


def each_format_with(columns):
    """Return each format with the name of each column that it can hold."""
    return [(k, name) for k in WRITERS for name in columns if k != "orc" or name not in BEYOND_ORC]


def loaded(data, where=None, **options):
    return open_table(data, where).load(["x", "y"], **{"missing": "error", **options}).columns["x"]


def streamed(data, where=None, **options):
    """Read as where nothing fits into memory, on two threads."""
    opened = open_table(data, where)
    options = {"missing": "error", **options}
    rows = open_rows(opened, ["x", "y"], budget=0, threads=2, **options)
    if not hasattr(rows, "dataset"):  # small texts are in memory anyway
        return rows.columns["x"]
    return np.concatenate([chunk[0] for chunk in rows.chunks()])


both_ways = pytest.mark.parametrize("read", [loaded, streamed])


def masked(first, last):
    places = np.arange(ROWS)
    return pa.array(X, mask=(places >= first) & (places < last))


def late(value):
    x = X.copy()
    x[95] = value
    return x


# what stands in the column, and which numbers it holds
FINE = {
    "text of numbers": ([f"{value:.2f}" for value in X], X),
    "text in a dictionary": (pa.array([f"{value:.2f}" for value in X]).dictionary_encode(), X),
    "numbers in a dictionary": (pa.array(X).dictionary_encode(), X),
    "decimals": (pa.array([decimal.Decimal(f"{v:.2f}") for v in X], pa.decimal128(20, 5)), X),
    "long integers": (pa.array(LONG + 2 * np.arange(ROWS)), LONG + 2.0 * np.arange(ROWS)),
    "unsigned integers": (
        pa.array(np.arange(ROWS, dtype=np.uint64) * 2**12 + 2**63),
        2.0**63 + 2.0**12 * np.arange(ROWS),
    ),
    "truth values": (pa.array(np.arange(ROWS) % 2 == 0), 1.0 - np.arange(ROWS) % 2),
    "dates": (DAYS, NEW_YEAR + 86400.0 * np.arange(ROWS)),
    "times": (SECONDS, NEW_YEAR + np.arange(ROWS)),
    "times with a zone": (
        pa.array(SECONDS, pa.timestamp("us", "Europe/Berlin")),
        NEW_YEAR + np.arange(ROWS),
    ),
    "halves": (pa.array(X.astype(np.float16)), X.astype(np.float16).astype(float)),
}


@both_ways
@pytest.mark.parametrize(("kind", "name"), each_format_with(FINE))
def test_columns_that_are_numbers_after_all(name, kind, read, tmp_path):
    column, expected = FINE[name]
    path = written(tmp_path / f"a.{kind}", kind, table(column))
    np.testing.assert_array_equal(np.asarray(read(path), float), expected)


# what stands in the column, which row is named, and what is said of it
BAD = {
    "NaN late": (late(np.nan), 96, "is missing (NaN)"),
    "infinity late": (late(np.inf), 96, "is infinity"),
    "a row group of nulls": (masked(30, 60), 31, "is missing (NaN)"),
    "nulls only": (pa.nulls(ROWS, pa.float64()), 1, "is missing (NaN)"),
    "nulls of no type": (pa.nulls(ROWS), 1, "is missing (NaN)"),
    "a word late": ([*map(str, X[:-1]), "soon"], 100, "is 'soon', which is no number"),
    "decimal commas": (
        [f"{v:.2f}".replace(".", ",") for v in X],
        1,
        "is '0,01', which is no number (the decimal sign here is the point: write 0.01)",
    ),
    "commas that may be either": (
        ["1,500"] * ROWS,
        1,
        "take out commas between thousands, or put a point where they are decimal signs)",
    ),
    "an integer too long": (pa.array([1] * 99 + [LONG + 1]), 100, "float64 would lose digits"),
}


@pytest.mark.parametrize(
    ("kind", "digits", "exponents"),
    [
        (pa.decimal128(38, 5), 15, 5),
        (pa.decimal128(38, 20), 30, 15),
        (pa.decimal128(38, 0), 38, 0),
        (pa.decimal256(70, 30), 60, 30),
        (pa.decimal32(9, 2), 9, 2),
        (pa.decimal64(18, 7), 18, 7),
        (pa.decimal128(20, -3), 12, -3),
    ],
    ids=str,
)
def test_decimals_become_the_nearest_floats(kind, digits, exponents):
    random = np.random.default_rng(digits)
    spelled = [
        f"{'-' * int(sign)}{''.join(map(str, numbers[: int(length)]))}e{-exponents}"
        for sign, length, numbers in zip(
            random.integers(0, 2, 300),
            random.integers(1, digits + 1, 300),
            random.integers(0, 10, (300, digits)),
            strict=True,
        )
    ]
    context = decimal.Context(prec=80)
    values = [context.create_decimal(text) for text in spelled]
    column = pa.array([None, *values, None], kind)
    for array in (column, column.slice(7), pa.chunked_array([column[:99], column[99:]])):
        expected = [np.nan if v is None else float(v) for v in array.to_pylist()]
        found = open_table({"x": array}).load(["x"], missing="drop").columns["x"]
        assert found.tolist() == [value for value in expected if not np.isnan(value)]
    some = open_table({"x": column}, f"x == {float(values[9])!r}").load(["x"]).columns["x"]
    assert some.size
    assert set(some) == {float(values[9])}


@both_ways
@pytest.mark.parametrize(("kind", "name"), each_format_with(BAD))
def test_rows_that_are_no_numbers_are_named(name, kind, read, tmp_path):
    column, row, words = BAD[name]
    path = written(tmp_path / f"bad.{kind}", kind, table(column))
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    line = f" (line {row + 1})" if kind in TEXT else ""
    assert re.search(rf"\brow {row}{re.escape(line)}\W", message), message
    assert words in message
    assert f"bad.{kind}" in message
    assert "\n" not in message


@both_ways
@every_format
@pytest.mark.parametrize(
    ("column", "dropped"), [(late(np.nan), 1), (masked(30, 60), 30), (masked(0, 99), 99)]
)
def test_missing_rows_are_left_out_and_counted(column, dropped, kind, read, tmp_path):
    path = written(tmp_path / f"a.{kind}", kind, table(column))
    kept = np.asarray(pa.array(column).drop_null())
    np.testing.assert_array_equal(read(path, missing="drop"), kept[~np.isnan(kept)])
    fit = sgdfit.fit("y = a*x", path, missing="drop", kernel="numpy")
    assert (fit.rows, fit.rows_dropped) == (ROWS - dropped, dropped)


@every_format
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.98])
def test_files_that_are_cut_off(share, kind, tmp_path):
    whole = written(tmp_path / f"a.{kind}", kind, table()).read_bytes()
    # in the middle of a row, where the rest is text
    end = whole.index(b",", int(share * len(whole))) if kind == "csv" else int(share * len(whole))
    (tmp_path / f"a.{kind}").write_bytes(whole[:end])
    said = "is empty|no rows|is cut off, damaged or no|has 1 field where the header has 2"
    with pytest.raises(DataError, match=said) as caught:
        loaded(tmp_path / f"a.{kind}")
    assert f"a.{kind}" in str(caught.value)


@every_format
def test_a_table_without_rows(kind, tmp_path):
    path = written(tmp_path / f"a.{kind}", kind, table().slice(0, 0))
    with pytest.raises(DataError, match=rf"a\.{kind} has (no rows|a header \(x, y\) and no rows)"):
        loaded(path)


@every_format
def test_two_columns_of_a_name(kind, tmp_path):
    twice = pa.table([X, Y, X], names=["x", "y", "x"])
    path = written(tmp_path / f"a.{kind}", kind, twice)
    with pytest.raises(DataError, match="has 2 columns named 'x'; rename all but one of them"):
        loaded(path)


@every_format
@pytest.mark.parametrize("name", ["a b", 'an "x"', "it's", "a`b", "x>0", "Größe (mm)"])
def test_columns_of_any_name_are_compared(name, kind, tmp_path):
    path = written(tmp_path / f"a.{kind}", kind, table().append_column(name, pa.array(X)))
    quoted = name.replace("`", "``")
    np.testing.assert_array_equal(loaded(path, f"`{quoted}` > 1.5"), X[X > 1.5])


FIRST, SECOND = table().slice(0, 50), table().slice(50)
# the two files of a folder, and what is said of them; of a word in text, where it stands
FOLDERS = {
    "text among numbers": (
        (FIRST, table(["a"] * ROWS)),
        r"column 'x' holds numbers \(double\) in a\.\S+ and text \(string\) in b\.|"
        r"column 'x' of b\.\S+ holds text: row 1 \(line 2\) is 'a', which is no number",
    ),
    "times among numbers": (
        (FIRST, table(DAYS)),
        r"column 'x' holds numbers \(double\) in a\.\S+ and times \(date32\[day\]\) in b\.",
    ),
    "numbers among times": (
        (table(DAYS), FIRST),
        r"column 'x' holds times \(date32\[day\]\) in a\.\S+ and numbers \(double\) in b\.",
    ),
    "a column that is lacking": (
        (FIRST, SECOND.select(["x"])),
        r"b\.\S+ has no column 'y', which a\.\S+ has",
    ),
    "NaN in the second": ((FIRST, table(late(np.nan)).slice(50)), r"row 46\b.* of b\."),
}


@both_ways
@pytest.mark.parametrize(("kind", "name"), each_format_with(FOLDERS))
def test_files_that_do_not_go_together_are_named(name, kind, read, tmp_path):
    files, words = FOLDERS[name]
    for called, content in zip("ab", files, strict=True):
        written(tmp_path / f"{called}.{kind}", kind, content)
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


@both_ways
@every_format
@pytest.mark.parametrize("empty", ["a", "b", "c"])
def test_files_without_rows_among_others(empty, kind, read, tmp_path):
    parts = iter((FIRST, SECOND))
    for name in "abc":
        part = table().slice(0, 0) if name == empty else next(parts)
        written(tmp_path / f"{name}.{kind}", kind, part)
    np.testing.assert_array_equal(read(tmp_path), X)
    (tmp_path / f"d.{kind}").write_bytes(b"")
    with pytest.raises(DataError, match=rf"d\.{kind} is empty \(0 bytes\)"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
@both_ways
@every_format
def test_links_to_files_are_followed_and_must_lead_somewhere(kind, read, tmp_path):
    whole = written(tmp_path / f"whole.{kind}", kind, table())
    folder = tmp_path / "data" / "deeper"
    folder.mkdir(parents=True)
    os.symlink(whole, folder / f"a.{kind}")
    np.testing.assert_array_equal(read(tmp_path / "data"), X)
    os.symlink(tmp_path / "nowhere", folder / f"b.{kind}")
    for data in (tmp_path / "data", folder / f"b.{kind}", str(tmp_path / "data" / "*" / "b*")):
        with pytest.raises(
            DataError, match=rf"b\.{kind}' is a link to '.*nowhere', where there is"
        ):
            read(data)


@both_ways
@every_format
def test_folders_without_a_value_and_with_leading_zeros(kind, read, tmp_path):
    nothing = "n=__HIVE_DEFAULT_PARTITION__"
    written(tmp_path / "n=007" / f"a.{kind}", kind, FIRST)
    written(tmp_path / nothing / f"a.{kind}", kind, SECOND)
    np.testing.assert_array_equal(read(tmp_path, "n == 7"), X[:50])
    np.testing.assert_array_equal(read(tmp_path, "n is null"), X[50:])
    opened = open_table(tmp_path)
    assert opened.load(["n", "x"], missing="drop").columns["n"].tolist() == [7.0] * 50
    with pytest.raises(DataError, match=rf"column 'n' row .* of {nothing}/a\.{kind}.* is missing"):
        opened.load(["n", "x"])
    with pytest.raises(DataError, match=r"column 'n', which holds numbers, with '007'; compare it"):
        read(tmp_path, "n == '007'")


def test_files_of_two_formats_in_a_list(tmp_path):
    names = [written(tmp_path / f"a.{kind}", kind, table()) for kind in ("parquet", "csv")]
    with pytest.raises(DataError, match=r"holds both .*; give files of one format$"):
        loaded(names)
