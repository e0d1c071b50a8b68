"""Folders and files on bad days: each its own sentence."""

from __future__ import annotations

import gzip
import io
import os
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permissions import as_nobody, reachable
from sgdfit.data import files
from sgdfit.data.readers import open_table
from sgdfit.errors import DataError
from table_files import KINDS, write

TABLE = pa.table({"x": np.arange(100.0), "y": np.ones(100)})


def content(kind, table=TABLE):
    with tempfile.TemporaryDirectory() as folder:
        return write(table, f"{folder}/a.{kind}").read_bytes()


WHOLE = content("parquet")
# content of files in a folder, columns asked for, words of the message in their order
FOLDERS = {
    "no files": ({}, ["the folder", "data' holds no files", "begin with _ or ."]),
    "hidden files only": ({"_SUCCESS": b"", ".a.parquet": WHOLE}, ["holds no files"]),
    "no data files": (
        {"a.md": b"words", "b.json": b"{}"},
        ["holds no file of a format that can be read, only 'a.md', 'b.json'; supported are"],
    ),
    "two formats": (
        {"a.parquet": WHOLE, "b.csv": b"x,y\n1,2\n"},
        ["holds both Parquet (a.parquet) and delimited text (b.csv)", "/*.parquet'"],
    ),
    "two columns of a name in a later file": (
        {
            "a.parquet": WHOLE,
            "b.parquet": content(
                "parquet", pa.table([[1.0], [2.0], [3.0]], names=["x", "y", " y"])
            ),
        },
        ["b.parquet has several columns named 'y'; rename"],
    ),
    "folders of several kinds": (
        {"y=1/a.csv": b"x\n1\n", "z=1/b.csv": b"x\n1\n"},
        ["z=1/b.csv has no column 'y', which y=1/a.csv has"],
    ),
}


def assert_says(message, words):
    start = 0
    for word in words:
        assert word in message[start:], f"{word!r} is not (in this order) in: {message}"
        start = message.index(word, start) + len(word)


@pytest.mark.parametrize("name", FOLDERS)
def test_bad_folders(name, tmp_path):
    files, words = FOLDERS[name]
    (tmp_path / "data").mkdir()
    for called, content in files.items():
        (tmp_path / "data" / called).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / called).write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_table(tmp_path / "data").load(["x", "y"])
    assert_says(str(caught.value), words)
    assert "\n" not in str(caught.value).partition("supported are")[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("*.parquet", ["no file matches", "*.parquet'; check the pattern"]),
        ("none/*.parquet", ["no file matches", "there is no folder", "none'"]),
        ("a[.csv", ["there is no file 'a[.csv'; check its name"]),
        (["a.csv"], ["there is no file 'a.csv'"]),
        ("https://example.org/*.parquet", ["is an address, not a file; download it"]),
        ("nowhere://bucket/data", ["'nowhere://bucket/data' cannot be reached (", "s3://"]),
        ("file:///no/such/folder", ["there is no file 'file:///no/such/folder'"]),
        ("file:///no/such/*.parquet", ["there is no file 'file:///no/such/*.parquet'"]),
    ],
)
def test_bad_selections(data, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        open_table(data)
    assert_says(str(caught.value), words)


def test_a_filesystem_that_refuses_is_told_in_one_sentence(tmp_path, monkeypatch):
    class Refusing:
        def get_file_info(self, path):
            raise OSError("When getting information for key 'a': AWS Error ACCESS_DENIED\ntrace")

    monkeypatch.setattr(files, "filesystem", lambda address: (Refusing(), "bucket"))
    with pytest.raises(DataError) as caught:
        open_table("s3://bucket/data")
    assert_says(str(caught.value), ["'s3://bucket/data' cannot be read", "ACCESS_DENIED)"])
    assert "\n" not in str(caught.value)


def damaged(path, rows=400, group=100):
    """Write a file of row groups, the third of which is damaged."""
    table = pa.table({"x": np.random.default_rng(0).normal(size=rows)})
    options = {"use_dictionary": False, "write_page_checksum": True}
    pq.write_table(table, path, row_group_size=group, **options)
    column = pq.ParquetFile(path).metadata.row_group(2).column(0)
    middle = column.data_page_offset + column.total_compressed_size // 2
    with path.open("r+b") as file:
        file.seek(middle)
        file.write(b"\x55" * 40)


def test_a_row_group_that_is_damaged_is_named(tmp_path):
    damaged(tmp_path / "a.parquet")
    scan = open_table(tmp_path / "a.parquet").dataset
    assert sum(b.num_rows for k in (0, 1, 3) for b in scan.row_groups[k].read(["x"])) == 300
    with pytest.raises(DataError) as caught:
        list(scan.row_groups[2].read(["x"]))
    assert_says(str(caught.value), ["a.parquet is damaged in row group 3 (rows 201 to 300): "])


def appended(path):
    with path.open("ab") as file:
        file.write(b"more")


def rewritten(path):
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))


def replaced(path):
    write(TABLE.slice(0, 50), path.with_name("new"))
    os.replace(path.with_name("new"), path)


CHANGES = {
    "removed": (os.remove, "' (any more); check its name and folder"),
    "appended": (appended, "has changed since it was opened (it had"),
    "rewritten": (rewritten, "(it was written anew with the same size); begin again"),
    "replaced": (replaced, "has changed since it was opened (it had"),
    "cut": (
        lambda path: os.truncate(path, 20),
        "bytes and has 20); begin again once nothing writes to it",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS[:5])
def test_a_file_that_changes_between_passes_is_refused(kind, change, tmp_path):
    name = f"a.{kind}"
    scan = open_table(write(TABLE, tmp_path / name)).dataset
    assert sum(b.num_rows for piece in scan.row_groups for b in piece.read(["x"])) == 100
    CHANGES[change][0](tmp_path / name)
    with pytest.raises(DataError) as caught:
        list(scan.row_groups[-1].read(["x"]))
    assert_says(str(caught.value), [name, CHANGES[change][1]])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("where", [None, "x >= 0 and y > 0"])
def test_a_file_that_changes_while_it_is_read_is_refused(change, where, tmp_path):
    rows = 600_000
    table = pa.table({"x": np.arange(float(rows)), "y": np.ones(rows)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=rows)
    (piece,) = open_table(tmp_path / "a.parquet", where).dataset.row_groups
    batches = piece.read(["x"])
    assert next(batches).num_rows > 0
    CHANGES[change][0](tmp_path / "a.parquet")
    with pytest.raises(DataError) as caught:
        list(batches)
    assert_says(str(caught.value), ["a.parquet", CHANGES[change][1]])


def test_a_remote_file_that_changes_is_refused(tmp_path, monkeypatch):
    from pyarrow import fs

    system = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(files, "filesystem", lambda address: (system, "a.parquet"))
    write(TABLE, tmp_path / "a.parquet")
    scan = open_table("s3://bucket/a.parquet").dataset
    assert sum(b.num_rows for piece in scan.row_groups for b in piece.read(["x"])) == 100
    rewritten(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="written anew with the same size"):
        list(scan.row_groups[0].read(["x"]))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(DataError, match="there is no file"):
        list(scan.row_groups[0].read(["x"]))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of this system differ")
@pytest.mark.parametrize("kind", KINDS)
def test_files_and_folders_that_may_not_be_read(kind, tmp_path):
    folder, name = tmp_path / "data", f"a.{kind}"
    path = write(TABLE, folder / name)
    (folder / f"b.{kind}").write_bytes(path.read_bytes())
    reachable(tmp_path)
    table = open_table(folder)
    path.chmod(0)
    for data in (path, folder, [path, path]):
        with as_nobody(), pytest.raises(DataError, match=rf"{name}' may not be read \(permission"):
            open_table(data).load(["x"])
    with as_nobody(), pytest.raises(DataError, match="may not be read"):
        table.load(["x"])
    folder.chmod(0)
    for data in (folder, str(folder / "*.csv"), f"file://{folder}"):
        with as_nobody(), pytest.raises(DataError, match=r"may not be read \(permission denied\)"):
            open_table(data)


FILES = {
    "gzip": gzip.compress(b"x,y\n" + b"".join(b"%d,%d\n" % (k, k * k) for k in range(90))),
    "Arrow": content("feather"),
    "stream": content("arrows"),
    "Parquet": WHOLE,
}


@settings(max_examples=200)
@given(st.data(), st.sampled_from(sorted(FILES)), st.sampled_from([None, "x > 3 or y == 1"]))
def test_damaged_files_are_read_in_pieces_or_refused(data, kind, where):
    content = bytearray(FILES[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    rows, message = outcome(bytes(content), where)
    assert rows <= 100
    assert message is None or "the data" in message


def outcome(content, where):
    """Return how many rows are read, or the message of a DataError; anything else is a failure."""
    try:
        return open_table(io.BytesIO(content), where).load(["y", "x"], missing="drop").rows, None
    except DataError as error:
        return 0, str(error)
