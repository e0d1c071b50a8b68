"""Files read in pieces, against pandas, NumPy and pyarrow's own dataset reader."""

from __future__ import annotations

import gzip
import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from sgdfit.data import files as file_names
from sgdfit.data import formats
from sgdfit.data.datasets import fingerprint_of
from sgdfit.data.files import natural
from sgdfit.data.readers import open_table
from sgdfit.data.table import BATCH_ROWS, DECODED_ROWS

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


def ipc(table, path, kind, size, **options):
    options = pa.ipc.IpcWriteOptions(**options)
    with kind(path, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=size)


def categories(table):
    return table.set_column(1, "note", table["note"].dictionary_encode())


# name of the file, how it is written, how many rows its pieces have
WRITERS = {
    "Parquet": (
        "a.parquet",
        lambda t, p: pq.write_table(t, p, row_group_size=300),
        [300] * 3 + [100],
    ),
    "Parquet, version 1": ("a.pq", lambda t, p: pq.write_table(t, p, version="1.0"), [1000]),
    "Parquet, dictionaries": (
        "a.parquet",
        lambda t, p: pq.write_table(categories(t), p, row_group_size=500),
        [500, 500],
    ),
    "Feather": ("a.feather", lambda t, p: pyarrow.feather.write_feather(t, p), [1000]),
    "Arrow": ("a.arrow", lambda t, p: ipc(t, p, pa.ipc.new_file, 300), [1000]),
    "Arrow, packed": (
        "a.ipc",
        lambda t, p: ipc(categories(t), p, pa.ipc.new_file, 300, compression="zstd"),
        [1000],
    ),
    "Arrow stream": ("a.arrows", lambda t, p: ipc(t, p, pa.ipc.new_stream, 300), [None]),
    "Arrow stream, packed": (
        "a.arrows",
        lambda t, p: ipc(categories(t), p, pa.ipc.new_stream, 300, compression="lz4"),
        [None],
    ),
    "ORC": ("a.orc", lambda t, p: pyarrow.orc.write_table(t, p), [1000]),
}


def read(scan, names):
    """Join what the pieces hold, in order."""
    batches = [batch for piece in scan.row_groups for batch in piece.read(names)]
    assert all(batch.schema.names == list(names) for batch in batches)
    assert all(batch.num_rows <= DECODED_ROWS for batch in batches)
    return pa.concat_tables(
        [pa.Table.from_batches([b]) for b in batches], promote_options="default"
    )


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read_in_pieces(name, tmp_path):
    called, write, rows = WRITERS[name]
    path = str(tmp_path / called)
    write(TABLE, path)
    table = open_table(path)
    scan = table.dataset
    assert scan.names == table.names == ("x", "note", "y", "n")
    assert [piece.rows for piece in scan.row_groups] == rows
    assert [piece.first for piece in scan.row_groups] == [sum(rows[:k]) for k in range(len(rows))]
    assert {piece.label for piece in scan.row_groups} == {called}
    for names in (["y", "x"], ["n"], ["note", "n"]):
        for _ in range(2):
            found = read(scan, names)
            for column in names:
                assert found[column].to_pylist() == TABLE[column].to_pylist()
    assert sum(batch.num_rows for piece in scan.row_groups for batch in piece.read([])) == ROWS
    source = table.load(["n", "y"])
    np.testing.assert_array_equal(source.columns["y"], TABLE["y"].to_numpy())
    assert source.columns["y"].dtype == np.float32


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_filtered(name, tmp_path):
    called, write, _ = WRITERS[name]
    write(TABLE, str(tmp_path / called))
    table = open_table(tmp_path / called, "note in ['n1', 'n5'] and x > 0")
    expected = TABLE.to_pandas().query("note in ['n1', 'n5'] and x > 0")["n"]
    assert read(table.dataset, ["n"])["n"].to_pylist() == expected.tolist()
    assert table.load(["n"]).columns["n"].tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["Arrow", "Arrow, packed", "Parquet", "ORC"])
def test_long_batches_are_cut_and_short_ones_joined(kind, tmp_path):
    rows = 2 * BATCH_ROWS + 10
    table = pa.table({"x": np.arange(float(rows)), "y": np.zeros(rows)})
    path = str(tmp_path / WRITERS[kind][0])
    write = {
        "Arrow": lambda: ipc(table, path, pa.ipc.new_file, 100_000),
        "Arrow, packed": lambda: ipc(table, path, pa.ipc.new_file, rows, compression="lz4"),
        "Parquet": lambda: pq.write_table(table, path, row_group_size=rows),
        "ORC": lambda: pyarrow.orc.write_table(table, path),
    }
    write[kind]()
    scan = open_table(path).dataset
    counts = {"Arrow": [200_000, 200_000, 124_298]}.get(kind, [rows])
    assert [piece.rows for piece in scan.row_groups] == counts
    np.testing.assert_array_equal(read(scan, ["x"])["x"], np.arange(float(rows)))


def test_a_batch_too_long_to_be_held_is_read_page_by_page(tmp_path, monkeypatch):
    monkeypatch.setattr("sgdfit.data.formats.MAPPED", 1000)
    rows = BATCH_ROWS + 5
    table = pa.table({"x": np.arange(float(rows)), "y": np.ones(rows)})
    ipc(table, str(tmp_path / "a.arrow"), pa.ipc.new_file, rows)
    before = pa.total_allocated_bytes()
    total = 0.0
    for piece in open_table(tmp_path / "a.arrow").dataset.row_groups:
        for batch in piece.read(["x"]):
            total += batch["x"].to_numpy().sum()
            assert pa.total_allocated_bytes() - before < 1 << 20
    assert total == rows * (rows - 1) / 2


def test_only_a_few_batches_are_held(tmp_path):
    rows = 64 * 20_000
    table = pa.table({"x": RANDOM.normal(size=rows), "y": np.zeros(rows), "z": np.ones(rows)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=20_000, compression="snappy")
    scan = open_table(tmp_path / "a.parquet").dataset
    del table
    before, most = pa.total_allocated_bytes(), 0
    for piece in scan.row_groups:
        for _ in piece.read(["x", "z"]):
            most = max(most, pa.total_allocated_bytes() - before)
    assert len(scan.row_groups) == 64
    assert most < 4 * 20_000 * 16 + (4 << 20)


def parts(folder, count=12, size=50, write=pq.write_table, ending=".parquet"):
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        write(TABLE.slice(k * size, size), str(folder / f"part-{k}{ending}"))
    return TABLE["n"].to_pylist()[: count * size]


def write_csv(table, path):
    table.to_pandas().to_csv(path, index=False)


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


@pytest.mark.parametrize(
    ("ending", "write"),
    [
        (".feather", pyarrow.feather.write_feather),
        (".orc", pyarrow.orc.write_table),
        (".csv", write_csv),
        (".csv.gz", write_csv),
        ("", pq.write_table),
    ],
)
def test_folders_of_other_formats(ending, write, tmp_path):
    expected = parts(tmp_path / "data", 3, 20, write, ending)
    table = open_table(tmp_path / "data")
    assert table.load(["n", "x"]).columns["n"].tolist() == expected
    assert read(table.dataset, ["n"])["n"].to_pylist() == expected


def test_compressed_parquet_in_a_list(tmp_path):
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    path = tmp_path / "a.parquet.gz"
    path.write_bytes(gzip.compress(sink.getvalue()))
    assert open_table([path, path]).load(["n"]).rows == 2 * ROWS


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
    if kind == "parquet" and " x " not in where:
        assert sum(piece.rows for piece in table.dataset.row_groups) == len(expected)


def test_a_list_of_files_in_such_folders(tmp_path):
    partitions(tmp_path / "data")
    paths = sorted((tmp_path / "data").rglob("*.parquet"))
    table = open_table(paths, "site == 'C' and year == 2021")
    assert table.load(["n"]).columns["n"][:2].tolist() == [4, 10]


def test_an_address_is_reached_through_its_filesystem(tmp_path, monkeypatch):
    """A filesystem without paths of this machine stands for s3, gs and hdfs."""
    handler = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    asked = []

    def answer(address):
        asked.append(address)
        return handler, address.partition("?")[0].removeprefix("s3://")

    monkeypatch.setattr(file_names, "filesystem", answer)
    partitions(tmp_path / "bucket" / "data")
    write_csv(TABLE, tmp_path / "bucket" / "a.csv")
    expected = [float(n) for n in range(1, 900, 2)]
    for address in ("s3://bucket/data?region=eu", "s3://bucket/data/**/*.parquet?region=eu"):
        table = open_table(address, "site == 'A b'")
        assert sorted(table.load(["n"]).columns["n"].tolist()) == expected
    assert asked == ["s3://bucket/data?region=eu"] * 2
    assert open_table("s3://bucket/a.csv").load(["n"]).rows == ROWS
    one = open_table("s3://bucket/data/site=C/year=2020/rate=0/part-0.parquet")
    assert one.load(["x"]).rows == 150


def test_numbers_may_be_of_several_types(tmp_path):
    types = {"a-1": pa.int64(), "a-2": pa.float64(), "a-3": pa.float32(), "a-4": pa.null()}
    for name, kind in types.items():
        values = [None, None] if kind == pa.null() else [1, 2]
        pq.write_table(pa.table({"x": pa.array(values, kind)}), tmp_path / f"{name}.parquet")
    source = open_table(tmp_path).load(["x"], missing="drop")
    assert source.columns["x"].tolist() == [1.0, 2.0] * 3
    assert source.columns["x"].dtype == np.float64
    assert source.dropped == 2


def test_columns_that_nothing_needs_may_differ(tmp_path):
    pq.write_table(pa.table({"x": [1.0], "s": ["a"], "only": [1]}), tmp_path / "a-1.parquet")
    pq.write_table(pa.table({"s": [2.0], "x": [2.0]}), tmp_path / "a-2.parquet")
    table = open_table(tmp_path)
    assert table.names == ("x", "s", "only")
    assert table.load(["x"]).columns["x"].tolist() == [1.0, 2.0]


def test_dots_in_names_and_nested_columns(tmp_path):
    table = pa.table({"a": [1.0, 2.0], "a.b": [3.0, 4.0], "s": [{"a": 1}, {"a": 2}]})
    pq.write_table(table, tmp_path / "a.parquet")
    scan = open_table(tmp_path / "a.parquet").dataset
    for name in table.column_names:
        assert read(scan, [name])[name].to_pylist() == table[name].to_pylist()
    assert open_table(tmp_path / "a.parquet", "`a.b` > 3").load(["a"]).columns["a"].tolist() == [
        2.0
    ]


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
    first = fingerprint_of(columns)
    assert fingerprint_of({name: column.copy() for name, column in columns.items()}) == first
    last = columns["x"].copy()
    last[-1] = np.nan
    others = [
        {"x": columns["x"]},
        {**columns, "x": last},
        {**columns, "y": np.zeros(3)},
        {"a": columns["x"], "y": columns["y"]},
        {**columns, "x": columns["x"].reshape(2, -1)},
    ]
    assert len({first, *map(fingerprint_of, others)}) == 1 + len(others)


def test_names_are_sorted_by_their_numbers():
    names = ["b", "a10", "a2", "a02b", "a1/z", "A1", "7", ""]
    assert sorted(names, key=natural) == ["", "7", "A1", "a1/z", "a2", "a02b", "a10", "b"]


def test_what_a_file_says_of_itself_is_not_read_with_each_of_its_row_groups(tmp_path, monkeypatch):
    for name in "abcdef":
        pq.write_table(TABLE.slice(0, 200), tmp_path / f"{name}.parquet", row_group_size=10)
    dataset = open_table(tmp_path).dataset
    known, plain = [], formats._parquet

    def counting(source, origin, metadata=None):
        known.append(metadata is not None)
        return plain(source, origin, metadata)

    monkeypatch.setattr(formats, "_parquet", counting)
    found = [batch["n"].to_numpy() for g in dataset.row_groups for batch in g.read(["n"])]
    np.testing.assert_array_equal(np.concatenate(found), np.tile(np.arange(200), 6))
    assert known.count(True) == 120
    assert known.count(False) <= 6
    assert formats._kept_metadata.cache_info().currsize <= formats.METADATA_KEPT
