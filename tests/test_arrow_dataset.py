"""Datasets, fragments and scanners of pyarrow, against the same files and pyarrow itself."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.data.readers import open_table
from sgdfit.errors import DataError
from sgdfit.fitting import options
from table_files import write

ROWS = 1000
RANDOM = np.random.default_rng(8)
X = RANDOM.uniform(0, 3, ROWS)
TABLE = pa.table(
    {
        "x": X,
        "note": [f"n{k % 7}" for k in range(ROWS)],
        "y": (2 * np.exp(-X) + 0.1 * RANDOM.normal(size=ROWS)).astype(np.float32),
        "n": np.arange(ROWS),
    }
)


def folder(path, kind, table=TABLE, parts=3):
    """Write a table as files of folders called ``site=…``, the last of them without a value."""
    size = -(-len(table) // parts)
    for k, site in enumerate(["A", "B", "__HIVE_DEFAULT_PARTITION__"][:parts]):
        write(table.slice(k * size, size), path / f"site={site}" / f"part.{kind}", 150)
    return ds.dataset(path, format=kind, partitioning="hive")


def columns(data, names, where=None):
    return open_table(data, where).load(names).columns


@pytest.mark.parametrize("where", [None, "x > 1.5", "site == 'B'", "site is null and note != 'n1'"])
@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc", "csv"])
def test_a_dataset_is_its_files(kind, where, tmp_path):
    data = folder(tmp_path, kind)
    table = open_table(data, where)
    assert table.names == ("x", "note", "y", "n", "site")
    assert table.dataset.again
    files = columns(tmp_path, ["y", "n", "x"], where)
    for _ in range(2):
        found = columns(data, ["y", "n", "x"], where)
        for name in files:
            np.testing.assert_array_equal(found[name], files[name])


@pytest.mark.parametrize("how", ["files", "filter", "scanner"])
def test_out_of_core_the_bits_are_those_of_memory(how, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "SHARE", 1e-6)
    x = RANDOM.uniform(0, 3, 200_000)
    y = 3 * np.exp(-1.3 * x) + 0.5 + 0.1 * RANDOM.normal(size=len(x))
    memory = {"x": x, "y": y}
    for k in range(2):
        half = pa.table({name: values[k::2] for name, values in memory.items()})
        pq.write_table(half, tmp_path / f"{k}.parquet", row_group_size=33_333)
    whole = {name: np.concatenate([v[::2], v[1::2]]) for name, v in memory.items()}
    data = ds.dataset(tmp_path)
    data = {
        "files": lambda: data,
        "filter": lambda: data.filter(ds.field("x") >= 0),
        "scanner": data.scanner,
    }[how]()
    found, expected = (
        sgdfit.fit("y = a*exp(-b*x) + c", each, kernel="numpy") for each in (data, whole)
    )
    assert found.rows_visited == expected.rows_visited
    for name in "abc":
        one, other = found.estimates[name], expected.estimates[name]
        assert (one.value, one.stderr) == (other.value, other.stderr)


def union(path):
    return [folder(path / "1", "arrow", parts=1), folder(path / "2", "parquet", parts=1)]


def without_names(path):
    for k, name in enumerate("AB"):
        (path / name).mkdir()
        pq.write_table(TABLE.slice(400 * k, [400, 600][k]), path / name / "1.parquet")
    return ds.dataset(path, partitioning=["site"])


N = ds.field("n")
EVERY = range(ROWS)
# what makes a dataset or a fragment of files in a folder, and the rows that it has
DATASETS = {
    "some row groups": (
        lambda path: next(folder(path, "parquet", parts=1).get_fragments()).subset(
            row_group_ids=[1, 3]
        ),
        [*range(150, 300), *range(450, 600)],
    ),
    "a fragment": (
        lambda path: list(folder(path, "parquet", parts=2).get_fragments())[1],
        range(500, 1000),
    ),
    "filtered": (
        lambda path: folder(path, "parquet").filter(N >= 990).filter(N < 995),
        range(990, 995),
    ),
    "a union": (lambda path: ds.dataset(union(path)), [*EVERY, *EVERY]),
    "memory": (lambda path: ds.dataset(TABLE.slice(5)), range(5, ROWS)),
    "memory and files": (
        lambda path: ds.dataset(
            [ds.dataset(TABLE), folder(path, "parquet", parts=1).replace_schema(TABLE.schema)]
        ),
        [*EVERY, *EVERY],
    ),
    "folders without names": (without_names, EVERY),
}


@pytest.mark.parametrize("name", DATASETS)
def test_every_kind_of_dataset(name, tmp_path):
    make, rows = DATASETS[name]
    data = make(tmp_path)
    for _ in range(2):
        assert columns(data, ["n"])["n"].tolist() == list(rows)
    if kept := [n for n in rows if n >= 992]:
        assert columns(data, ["n"], "n >= 992")["n"].tolist() == kept
    else:
        with pytest.raises(DataError, match="no row of the data meets where='n >= 992'"):
            columns(data, ["n"], "n >= 992")
    if name == "folders without names":
        assert columns(data, ["n"], "site == 'B'")["n"].tolist() == list(range(400, ROWS))


def test_scanners_are_read_once(tmp_path):
    scanner = folder(tmp_path, "parquet").scanner(columns=["n", "x"], filter=ds.field("n") < 30)
    table = open_table(scanner)
    assert (table.names, table.dataset.again) == (("n", "x"), False)
    assert table.load(["n"]).columns["n"].tolist() == list(range(30))
    with pytest.raises(DataError, match="the data can be read once, and has been"):
        table.load(["n"])


@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc", "csv"])
def test_a_file_that_changes_between_passes_is_refused(kind, tmp_path):
    data = folder(tmp_path, kind)
    dataset = open_table(data).dataset
    data_filtered = open_table(data.filter(ds.field("n") >= 990)).dataset
    assert sum(b.num_rows for piece in dataset.row_groups for b in piece.read(["x"])) == ROWS
    path = tmp_path / "site=B" / f"part.{kind}"
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=rf"site=B/part\.{kind} has changed since it was opened"):
        [batch for piece in dataset.row_groups for batch in piece.read(["x"])]
    with pytest.raises(DataError, match=rf"site=B/part\.{kind} has changed since it was opened"):
        list(data_filtered.row_groups[0].read(["x"]))


def test_a_file_that_is_damaged_is_named(tmp_path):
    data = folder(tmp_path, "parquet")
    path = tmp_path / "site=B" / "part.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    for each in (data, data.filter(ds.field("n") > 3), list(data.get_fragments())[1]):
        with pytest.raises(DataError, match=r"part\.parquet") as caught:
            open_table(each).load(["x"])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [pq.ParquetFile, pq.ParquetDataset, pyarrow.orc.ORCFile])
def test_readers_of_one_format_are_to_be_named(kind, tmp_path):
    path = write(TABLE, tmp_path / ("a.orc" if kind is pyarrow.orc.ORCFile else "a.parquet"))
    with pytest.raises(
        DataError, match=r"cannot be read: name its file, or pass a pyarrow.dataset"
    ):
        open_table(kind(str(path)))


@pytest.mark.parametrize("item", [TABLE, ds.dataset(TABLE), {"x": [1.0]}])
def test_a_list_of_tables_is_to_be_iterated(item):
    with pytest.raises(DataError, match=r"cannot be read as a whole: pass iter\(…\) of it"):
        open_table([item, item])
