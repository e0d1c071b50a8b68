"""Datasets and scanners of pyarrow, against the same files."""

from __future__ import annotations

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
TABLE = pa.table(
    {
        "x": RANDOM.uniform(0, 3, ROWS),
        "note": [f"n{k % 7}" for k in range(ROWS)],
        "y": RANDOM.normal(size=ROWS).astype(np.float32),
        "n": np.arange(ROWS),
    }
)


def folder(path, kind="parquet", parts=3):
    """Write a table as files of folders called ``site=…``, the last of them without a value."""
    size = -(-ROWS // parts)
    for k, site in enumerate(["A", "B", "__HIVE_DEFAULT_PARTITION__"][:parts]):
        write(TABLE.slice(k * size, size), path / f"site={site}" / f"part.{kind}", 150)
    return ds.dataset(path, format=kind, partitioning="hive")


def columns(data, names, where=None):
    return open_table(data, where).load(names).columns


@pytest.mark.parametrize("where", [None, "x > 1.5", "site == 'B'", "site is null and note != 'n1'"])
@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc", "csv"])
def test_a_dataset_is_its_files(kind, where, tmp_path):
    data = folder(tmp_path, kind)
    assert open_table(data, where).names == ("x", "note", "y", "n", "site")
    in_pieces = not open_table(data).dataset.slow
    assert in_pieces == (kind != "csv")
    files = columns(tmp_path, ["y", "n", "x"], where)
    for _ in range(2):
        found = columns(data, ["y", "n", "x"], where)
        for name in files:
            np.testing.assert_array_equal(found[name], files[name])


@pytest.mark.parametrize("how", ["files", "filter", "scanner"])
def test_out_of_core_the_bits_are_those_of_memory(how, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "SHARE", 1e-6)
    x = RANDOM.uniform(0, 3, 200_000)
    memory = {"x": x, "y": 3 * np.exp(-1.3 * x) + 0.5 + 0.1 * RANDOM.normal(size=len(x))}
    write(pa.table(memory), tmp_path / "a.parquet", 33_333)
    data = ds.dataset(tmp_path)
    if how != "files":
        data = data.filter(ds.field("x") >= 0) if how == "filter" else data.scanner()
    found, expected = (
        sgdfit.fit("y = a*exp(-b*x) + c", each, kernel="numpy") for each in (data, memory)
    )
    assert found.rows_visited == expected.rows_visited
    for name in "abc":
        one, other = found.estimates[name], expected.estimates[name]
        assert (one.value, one.stderr) == (other.value, other.stderr)


N, SITE = ds.field("n"), ds.field("site")


def some_row_groups(path):
    """Return a dataset of the second and the last row group of a file."""
    whole = folder(path, parts=1)
    (file,) = whole.get_fragments()
    some = [file.subset(row_group_ids=[1, 6])]
    return ds.FileSystemDataset(some, whole.schema, whole.format, whole.filesystem)


# what makes a dataset of files in a folder, or a scanner, and the rows that it has
DATASETS = {
    "filtered": (lambda path: folder(path).filter(N >= 990).filter(N < 995), range(990, 995)),
    "filtered by folders": (
        lambda path: folder(path).filter(SITE.is_null() | (SITE == "A") & (ds.field("y") > 9)),
        range(668, ROWS),
    ),
    "some row groups, filtered": (
        lambda path: some_row_groups(path).filter(N >= 160),
        [*range(160, 300), *range(900, ROWS)],
    ),
    "other types": (
        lambda path: ds.dataset(
            folder(path).files, schema=pa.schema([("n", "int16"), ("new", "float64")])
        ),
        range(ROWS),
    ),
    "a filtered union": (
        lambda path: ds.dataset([folder(path), ds.dataset(TABLE)]).filter(N >= 990),
        [*range(990, ROWS)] * 2,
    ),
    "a union": (lambda path: ds.dataset([folder(path), ds.dataset(TABLE)]), [*range(ROWS)] * 2),
    "memory": (lambda path: ds.dataset(TABLE.slice(5)), range(5, ROWS)),
    "a scanner": (
        lambda path: folder(path).scanner(columns=["n"], filter=N >= 30),
        range(30, ROWS),
    ),
}


@pytest.mark.parametrize("name", DATASETS)
def test_every_kind_of_dataset(name, tmp_path):
    make, rows = DATASETS[name]
    assert columns(make(tmp_path), ["n"])["n"].tolist() == list(rows)
    kept = [n for n in rows if n >= 992]
    assert columns(make(tmp_path), ["n"], "n >= 992")["n"].tolist() == kept


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_that_is_damaged_is_named(kind, tmp_path):
    data = folder(tmp_path, kind)
    path = tmp_path / "site=B" / f"part.{kind}"
    path.write_bytes(path.read_bytes()[:-9] + b"a,b,c,d,e")
    for each in (data, data.filter(N > 3)):
        words = rf"cannot be read as the Dataset says \(.*part\.{kind}"
        with pytest.raises(DataError, match=words) as caught:
            open_table(each).load(["x"])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [N + 1, ds.field("note") > 1, ds.field("other") > 1])
def test_a_filter_that_is_none_is_said_in_a_sentence(wrong, tmp_path):
    with pytest.raises(DataError, match="cannot be read as the Dataset says"):
        open_table(folder(tmp_path).filter(wrong)).load(["x"])


@pytest.mark.parametrize("kind", [pq.ParquetFile, pq.ParquetDataset, pyarrow.orc.ORCFile])
def test_readers_of_one_format_are_to_be_named(kind, tmp_path):
    path = write(TABLE, tmp_path / ("a.orc" if kind is pyarrow.orc.ORCFile else "a.parquet"))
    words = r"cannot be read: name its file, or pass a pyarrow.dataset"
    with pytest.raises(DataError, match=words):
        open_table(kind(str(path)))
    with pytest.raises(DataError, match=words):
        open_table(next(folder(tmp_path / "data").get_fragments()))


@pytest.mark.parametrize("item", [TABLE, ds.dataset(TABLE), {"x": [1.0]}])
def test_a_list_of_tables_is_to_be_iterated(item):
    with pytest.raises(DataError, match=r"cannot be read as a whole: pass iter\(…\) of it"):
        open_table([item, item])
