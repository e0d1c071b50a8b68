"""Files read in row groups, against pandas, NumPy and pyarrow; bad days name file and row."""

from __future__ import annotations

import datetime
import decimal
import os
import re

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

import sgdfit
from sgdfit.data import files as file_names
from sgdfit.data import formats, readers
from sgdfit.data.datasets import fingerprint_of
from sgdfit.data.opening import open_rows
from sgdfit.data.readers import open_table
from sgdfit.data.table import BATCH_ROWS, DECODED_ROWS
from sgdfit.errors import DataError
from table_files import KINDS, write

ROWS = 1000
RANDOM = np.random.default_rng(3)
TABLE = pa.table(
    {
        "x": RANDOM.normal(size=ROWS),
        "note": [f"n{k % 7}" for k in range(ROWS)],
        "y": RANDOM.normal(size=ROWS).astype(np.float32),
        "n": np.arange(ROWS),
    }
)


# the ending of a file, and how many rows its pieces have, where those of a table have 300
PIECES = {
    "parquet": [300] * 3 + [100],
    "feather": [ROWS],
    "arrow": [ROWS],
    "arrows": [None],
    "orc": [ROWS],
}
# ORC has no categories.
CATEGORIES = ("parquet", "feather", "arrow", "arrows")


def read(scan, names):
    """Join what the pieces hold, in order."""
    batches = [batch for piece in scan.row_groups for batch in piece.read(names)]
    assert all(batch.schema.names == list(names) for batch in batches)
    assert all(batch.num_rows <= DECODED_ROWS for batch in batches)
    return pa.concat_tables(
        [pa.Table.from_batches([b]) for b in batches], promote_options="default"
    )


@pytest.mark.parametrize(
    ("kind", "categories"), [*((k, False) for k in PIECES), *((k, True) for k in CATEGORIES)]
)
def test_every_format_is_read_in_row_groups_and_filtered(kind, categories, tmp_path):
    called, rows = f"a.{kind}", PIECES[kind]
    encoded = TABLE.set_column(1, "note", TABLE["note"].dictionary_encode())
    path = write(encoded if categories else TABLE, tmp_path / called, 300)
    table = open_table(path)
    groups = table.dataset.row_groups
    assert table.dataset.names == table.names == ("x", "note", "y", "n")
    assert [group.rows for group in groups] == rows
    assert [group.first for group in groups] == np.cumsum([0, *rows[:-1]]).tolist()
    assert {group.label for group in groups} == {called}
    for names in (["y", "x"], ["n"], ["note", "n"]):
        for _ in range(2):
            found = read(table.dataset, names)
            for column in names:
                assert found[column].to_pylist() == TABLE[column].to_pylist()
    assert sum(batch.num_rows for group in groups for batch in group.read([])) == ROWS
    column = table.load(["n", "y"]).columns["y"]
    np.testing.assert_array_equal(column, TABLE["y"].to_numpy())
    assert column.dtype == np.float32
    some = open_table(path, "note in ['n1', 'n5'] and x > 0")
    expected = TABLE.to_pandas().query("note in ['n1', 'n5'] and x > 0")["n"].tolist()
    assert read(some.dataset, ["n"])["n"].to_pylist() == expected
    assert some.load(["n"]).columns["n"].tolist() == expected


def test_only_needed_columns_and_row_groups_are_read(tmp_path, monkeypatch):
    asked = []
    plain = pq.ParquetFile.iter_batches

    def noted(self, *args, **kwargs):
        asked.append((kwargs["row_groups"], kwargs["columns"]))
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    path = write(TABLE, tmp_path / "a.parquet", 150)
    assert open_table(path, "n >= 700").load(["x"]).rows == 300
    assert sorted(asked) == [([k], ["x", "n"]) for k in (4, 5, 6)]


@pytest.mark.parametrize(
    ("kind", "size", "counts"),
    [
        ("feather", 100_000, [200_000, 200_000, 2 * BATCH_ROWS - 399_990]),
        ("arrow", 2 * BATCH_ROWS + 10, [2 * BATCH_ROWS + 10]),
        ("parquet", 2 * BATCH_ROWS + 10, [2 * BATCH_ROWS + 10]),
        ("orc", 0, [2 * BATCH_ROWS + 10]),
    ],
)
def test_long_batches_are_cut_and_short_ones_joined(kind, size, counts, tmp_path):
    rows = 2 * BATCH_ROWS + 10
    table = pa.table({"x": np.arange(float(rows)), "y": np.zeros(rows)})
    scan = open_table(write(table, tmp_path / f"a.{kind}", size)).dataset
    assert [piece.rows for piece in scan.row_groups] == counts
    np.testing.assert_array_equal(read(scan, ["x"])["x"], np.arange(float(rows)))


@pytest.mark.parametrize(
    ("kind", "packing"), [("arrow", None), ("arrows", "lz4"), ("stream", "zstd")]
)
def test_one_long_record_batch_is_not_held_whole(kind, packing, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "AT_ONCE", 1 << 20)
    monkeypatch.setattr(readers, "SMALL", 1 << 10)
    rows = 6 * BATCH_ROWS + 10
    few = pa.array([f"w{k}" if k < 900_000 else None for k in range(rows)], pa.large_string())
    odd = pa.array(np.arange(rows) % 3 > 1, mask=np.arange(rows) % 7 == 0)
    coded = pa.DictionaryArray.from_arrays(pa.array(np.arange(rows) % 3), ["a", "b", None])
    beside = pa.array(["a", None, "a long text, to be kept elsewhere"] * (rows // 3 + 1))[:rows]
    numbers = {"x": np.sqrt(np.arange(rows)), "y": np.ones(rows)}
    nested = pa.StructArray.from_arrays([pa.array(numbers["x"]), coded], ["x", "c"])
    columns = {"s": nested, "n": pa.nulls(rows), "v": beside.cast(pa.string_view())}
    whole = pa.table({**columns, "w": few, "odd": odd, **numbers, "c": coded})
    path, options = tmp_path / f"a.{kind}", pa.ipc.IpcWriteOptions(compression=packing)
    make = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
    with make(str(path), whole.schema, options=options) as writer:
        writer.write_table(whole)
    for names in (["y", "x"], ["odd", "w"], ["c", "x"]):
        expected, first, held, most = whole.select(names), 0, pa.total_allocated_bytes(), 0
        with open(path, "rb") as stream:
            table = open_table(stream if kind == "stream" else path)
            for batch in table.dataset.row_groups[0].read(names):
                most = max(most, pa.total_allocated_bytes() - held)
                part = expected.slice(first, batch.num_rows)
                assert pa.Table.from_batches([batch]).equals(part)
                first += batch.num_rows
        assert first == rows
        assert most < 0.7 * expected.nbytes


@pytest.mark.parametrize("deltas", [False, True])
def test_dictionaries_that_change_within_a_stream(deltas, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "AT_ONCE", 0)
    parts = [pa.array(["a", None, "b"]), pa.array(["b", "c", "a", "c"]), pa.array(["z"])]
    if deltas:
        parts = [pa.array(["a", "b"]), pa.array(["a", "b", "c"]), pa.array(["a", "b", "c", "d"])]
    coded = pa.chunked_array([part.dictionary_encode() for part in parts])
    table = pa.table({"one": coded, "x": np.arange(float(len(coded))), "other": coded})
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=deltas, compression="zstd")
    with pa.ipc.new_stream(str(tmp_path / "a.arrows"), table.schema, options=options) as writer:
        writer.write_table(table)
    found = read(open_table(tmp_path / "a.arrows").dataset, ["other", "x"])
    assert found["other"].to_pylist() == coded.to_pylist()
    assert found["x"].to_pylist() == table["x"].to_pylist()


def test_files_of_polars_whose_parts_do_not_follow_one_another_at_once(tmp_path):
    path = tmp_path / "a.arrow"
    pl.DataFrame({"note": ["a", "b"], "x": [1.0, 2.0]}).write_ipc(path, compression="lz4")
    assert open_table(path, "note == 'b'").load(["x"]).columns["x"].tolist() == [2.0]


def parts(folder, count=12, size=50):
    for k in range(count):
        write(TABLE.slice(k * size, size), folder / f"part-{k}.parquet", size)
    return TABLE["n"].to_pylist()[: count * size]


def test_folders_patterns_and_lists_are_read_in_natural_order(tmp_path, monkeypatch):
    expected = parts(tmp_path / "data")
    (tmp_path / "data" / "_SUCCESS").write_text("")
    (tmp_path / "data" / ".part-0.parquet.crc").write_text("x")
    (tmp_path / "data" / "_temporary").mkdir()
    pq.write_table(TABLE, tmp_path / "data" / "_temporary" / "part-99.parquet")
    (tmp_path / "data" / "README.md").write_text("words")
    monkeypatch.chdir(tmp_path)
    paths = sorted((tmp_path / "data").glob("*.parquet"), key=lambda p: int(p.stem[5:]))
    for data in (
        tmp_path / "data",
        "data",
        "data/",
        "data/*.parquet",
        str(tmp_path / "**" / "part-*.parquet"),
        "da[!x]a/part-*",
        paths,
        tuple(map(str, paths)),
        f"file://{tmp_path}/data",
        f"file://{tmp_path}/data/*.parquet",
        [tmp_path / "data"],
    ):
        table = open_table(data)
        assert table.load(["n"]).columns["n"].tolist() == expected, data
        assert [piece.label for piece in table.dataset.row_groups][:3] == [
            os.path.join(*["data"] * ("**" in str(data) or "da[" in str(data)), f"part-{k}.parquet")
            for k in range(3)
        ]


def partitions(folder, **options):
    frame = TABLE.to_pandas().assign(
        site=lambda f: np.where(f.n % 2, "A b", "C"),
        year=lambda f: 2020 + f.n % 3,
        rate=lambda f: 0.5 * (f.n % 2),
    )
    frame.loc[frame.n >= 900, "site"] = None
    ds.write_dataset(
        pa.Table.from_pandas(frame, preserve_index=False),
        folder,
        format=options.get("format", "parquet"),
        partitioning=ds.partitioning(
            pa.schema([("site", pa.string()), ("year", pa.int64()), ("rate", pa.float64())]),
            flavor="hive",
        ),
    )
    return frame


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv"])
def test_folders_with_values_are_columns(kind, tmp_path):
    frame = partitions(tmp_path / "data", format=kind)
    table = open_table(tmp_path / "data")
    assert set(table.names) == {"x", "note", "y", "n", "site", "year", "rate"}
    columns = table.load(["n", "year", "rate"]).columns
    order = np.argsort(columns["n"])
    np.testing.assert_array_equal(columns["year"][order], frame["year"])
    np.testing.assert_array_equal(columns["rate"][order], frame["rate"])
    found = read(table.dataset, ["site", "n"]).to_pandas().sort_values("n")
    assert found["site"].fillna("").tolist() == frame["site"].fillna("").tolist()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("where", "files"),
    [
        ("site == 'A b'", 3),
        ("site is null and year > 2020", 4),
        ("year in [2020, 2022] and x < 9", 8),
        ("rate < 0.25 or year == 2021", 8),
        ("site != 'C' and rate > 0", 3),
    ],
)
def test_folders_without_such_rows_are_not_opened(kind, where, files, tmp_path):
    frame = partitions(tmp_path / "data", format=kind)
    expected = frame.query(where.replace("site is null", "site.isna()"), engine="python")
    if "!=" in where:
        expected = expected[expected.site.notna()]
    table = open_table(tmp_path / "data", where)
    assert sorted(table.load(["n"]).columns["n"].tolist()) == expected["n"].tolist()
    assert len(table.dataset.row_groups) == files


def test_an_address_is_reached_through_its_filesystem(tmp_path, monkeypatch):
    """A filesystem without paths of this machine stands for s3, gs and hdfs."""
    handler = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    asked = []

    def answer(address):
        asked.append(address)
        return handler, address.partition("?")[0].removeprefix("s3://")

    monkeypatch.setattr(file_names, "filesystem", answer)
    partitions(tmp_path / "bucket" / "data")
    write(TABLE, tmp_path / "bucket" / "a.csv")
    expected = [float(n) for n in range(1, 900, 2)]
    for address in ("s3://bucket/data?region=eu", "s3://bucket/data/**/*.parquet?region=eu"):
        table = open_table(address, "site == 'A b'")
        assert sorted(table.load(["n"]).columns["n"].tolist()) == expected
    assert asked == ["s3://bucket/data?region=eu"] * 2
    assert open_table("s3://bucket/a.csv").load(["n"]).rows == ROWS
    one = open_table("s3://bucket/data/site=C/year=2020/rate=0/part-0.parquet")
    assert one.load(["x"]).rows == 150


def test_files_may_differ_in_kinds_of_numbers_and_in_columns_that_nothing_needs(tmp_path):
    types = {"a-1": pa.int64(), "a-2": pa.float64(), "a-3": pa.float32(), "a-4": pa.null()}
    for name, kind in types.items():
        values = pa.array([None, None] if kind == pa.null() else [1, 2], kind)
        table = pa.table({"x": values, name: [1, 2], "a.b": [3, 4], "s": [{"x": 1}, {"x": 2}]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    table = open_table(tmp_path, "`a.b` > 0")
    assert table.names == ("x", "a-1", "a.b", "s", "a-2", "a-3", "a-4")
    source = table.load(["x", "a.b"], missing="drop")
    assert source.columns["x"].tolist() == [1.0, 2.0] * 3
    assert source.columns["x"].dtype == np.float64
    assert source.dropped == 2
    assert read(open_table(tmp_path).dataset, ["s"])["s"].to_pylist() == [{"x": 1}, {"x": 2}] * 4


def test_fingerprints_tell_data_apart(tmp_path):
    parts(tmp_path / "data", 3)
    first = open_table(tmp_path / "data").dataset.fingerprint
    assert len(first) == 64
    assert open_table(tmp_path / "data").dataset.fingerprint == first
    assert open_table(tmp_path / "data", "x > 0").dataset.fingerprint != first
    os.utime(tmp_path / "data" / "part-1.parquet", (1, 1))
    touched = open_table(tmp_path / "data").dataset.fingerprint
    assert touched != first
    (tmp_path / "data" / "part-2.parquet").unlink()
    assert open_table(tmp_path / "data").dataset.fingerprint not in (first, touched)


def test_fingerprints_of_arrays():
    columns = {"x": np.arange(1e5), "y": np.zeros(3, np.float32)}
    last = columns["x"].copy()
    last[-1] = np.nan
    others = [
        {"x": columns["x"]},
        {**columns, "x": last},
        {**columns, "y": np.zeros(3)},
        {"a": columns["x"], "y": columns["y"]},
        {**columns, "x": columns["x"].reshape(2, -1)},
    ]
    same = {name: column.copy() for name, column in columns.items()}
    assert len({fingerprint_of(each) for each in (columns, same, *others)}) == 6


# Bad days, each in every format: the right numbers, or one sentence that names file and row.
COUNT = 100
X = np.round(np.linspace(0.01, 3, COUNT), 2)
Y = 2 * X + 1
# Floats hold every second integer here.
LONG = 2**53
DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(days=k) for k in range(COUNT)]
SECONDS = [datetime.datetime(2024, 1, 1) + datetime.timedelta(seconds=k) for k in range(COUNT)]
NEW_YEAR = 1704067200.0


TEXT = ("csv", "csv.gz")
every_format = pytest.mark.parametrize("kind", KINDS)


def table(x=X, y=Y):
    return pa.table({"x": x, "y": y})


# What ORC has no type for.
BEYOND_ORC = {
    "text in a dictionary",
    "numbers in a dictionary",
    "unsigned integers",
    "halves",
    "nulls of no type",
}


# Of text the decimal sign is found out, or asked for.
COMMAS = {"decimal commas", "commas that may be either"}
NOT_IN = {"orc": BEYOND_ORC, "csv": COMMAS, "csv.gz": COMMAS}


def each_format_with(columns):
    """Return each format with the name of each column that it can hold."""
    return [(k, n) for k in KINDS for n in columns if n not in NOT_IN.get(k, ())]


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
    places = np.arange(COUNT)
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
    "long integers": (pa.array(LONG + 2 * np.arange(COUNT)), LONG + 2.0 * np.arange(COUNT)),
    "unsigned integers": (
        pa.array(np.arange(COUNT, dtype=np.uint64) * 2**12 + 2**63),
        2.0**63 + 2.0**12 * np.arange(COUNT),
    ),
    "truth values": (pa.array(np.arange(COUNT) % 2 == 0), 1.0 - np.arange(COUNT) % 2),
    "dates": (DAYS, NEW_YEAR + 86400.0 * np.arange(COUNT)),
    "times": (SECONDS, NEW_YEAR + np.arange(COUNT)),
    "times with a zone": (
        pa.array(SECONDS, pa.timestamp("us", "Europe/Berlin")),
        NEW_YEAR + np.arange(COUNT),
    ),
    "halves": (pa.array(X.astype(np.float16)), X.astype(np.float16).astype(float)),
}


@both_ways
@pytest.mark.parametrize(("kind", "name"), each_format_with(FINE))
def test_columns_that_are_numbers_after_all(name, kind, read, tmp_path):
    column, expected = FINE[name]
    path = write(table(column), tmp_path / f"a.{kind}")
    np.testing.assert_array_equal(np.asarray(read(path), float), expected)


# what stands in the column, which row is named, and what is said of it
BAD = {
    "NaN late": (late(np.nan), 96, "is missing (NaN)"),
    "infinity late": (late(np.inf), 96, "is infinity"),
    "a row group of nulls": (masked(30, 60), 31, "is missing (NaN)"),
    "nulls only": (pa.nulls(COUNT, pa.float64()), 1, "is missing (NaN)"),
    "nulls of no type": (pa.nulls(COUNT), 1, "is missing (NaN)"),
    "a word late": ([*map(str, X[:-1]), "soon"], 100, "is 'soon', which is no number"),
    "decimal commas": (
        [f"{v:.2f}".replace(".", ",") for v in X],
        1,
        "is '0,01', which is no number (the decimal sign here is the point)",
    ),
    "commas that may be either": (
        ["1,500"] * COUNT,
        1,
        "(the decimal sign here is the point)",
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
    path = write(table(column), tmp_path / f"bad.{kind}")
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
@pytest.mark.parametrize(("column", "dropped"), [(late(np.nan), 1), (masked(0, 99), 99)])
def test_missing_rows_are_left_out_and_counted(column, dropped, kind, read, tmp_path):
    path = write(table(column), tmp_path / f"a.{kind}")
    kept = np.asarray(pa.array(column).drop_null())
    np.testing.assert_array_equal(read(path, missing="drop"), kept[~np.isnan(kept)])
    fit = sgdfit.fit("y = a*x", path, missing="drop", kernel="numpy")
    assert (fit.rows, fit.rows_dropped) == (COUNT - dropped, dropped)


@every_format
@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_files_that_are_cut_off(share, kind, tmp_path):
    whole = write(table(), tmp_path / f"a.{kind}").read_bytes()
    # in the middle of a row, where the rest is text
    end = whole.index(b",", int(share * len(whole))) if kind == "csv" else int(share * len(whole))
    (tmp_path / f"a.{kind}").write_bytes(whole[:end])
    said = "is empty|no rows|is cut off, damaged or no|damaged in|has 1 field where the header"
    with pytest.raises(DataError, match=said) as caught:
        loaded(tmp_path / f"a.{kind}")
    assert f"a.{kind}" in str(caught.value)


@every_format
def test_a_table_without_rows(kind, tmp_path):
    path = write(table().slice(0, 0), tmp_path / f"a.{kind}")
    with pytest.raises(DataError, match=rf"a\.{kind} has (no rows|a header \(x, y\) and no rows)"):
        loaded(path)


@every_format
def test_two_columns_of_a_name(kind, tmp_path):
    twice = pa.table([X, Y, X], names=["x", "y", "x"])
    path = write(twice, tmp_path / f"a.{kind}")
    with pytest.raises(DataError, match="has 2 columns named 'x'; rename all but one of them"):
        loaded(path)


@every_format
@pytest.mark.parametrize("name", ['an "x"', "a`b", "Größe (mm)"])
def test_columns_of_any_name_are_compared(name, kind, tmp_path):
    path = write(table().append_column(name, pa.array(X)), tmp_path / f"a.{kind}")
    quoted = name.replace("`", "``")
    np.testing.assert_array_equal(loaded(path, f"`{quoted}` > 1.5"), X[X > 1.5])


FIRST, SECOND = table().slice(0, 50), table().slice(50)
# the two files of a folder, and what is said of them; of a word in text, where it stands
FOLDERS = {
    "text among numbers": (
        (FIRST, table(["a"] * COUNT)),
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
        write(content, tmp_path / f"{called}.{kind}")
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
        write(part, tmp_path / f"{name}.{kind}")
    np.testing.assert_array_equal(read(tmp_path), X)
    (tmp_path / f"d.{kind}").write_bytes(b"")
    with pytest.raises(DataError, match=rf"d\.{kind} is empty \(0 bytes\)"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
@both_ways
@every_format
def test_links_to_files_are_followed_and_must_lead_somewhere(kind, read, tmp_path):
    whole = write(table(), tmp_path / f"whole.{kind}")
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
    write(FIRST, tmp_path / "n=007" / f"a.{kind}")
    write(SECOND, tmp_path / nothing / f"a.{kind}")
    np.testing.assert_array_equal(read(tmp_path, "n == 7"), X[:50])
    np.testing.assert_array_equal(read(tmp_path, "n is null"), X[50:])
    opened = open_table(tmp_path)
    assert opened.load(["n", "x"], missing="drop").columns["n"].tolist() == [7.0] * 50
    with pytest.raises(DataError, match=rf"column 'n' row .* of {nothing}/a\.{kind}.* is missing"):
        opened.load(["n", "x"])
    with pytest.raises(DataError, match=r"column 'n', which holds numbers, with '007'; compare it"):
        read(tmp_path, "n == '007'")
