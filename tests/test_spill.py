"""Columns that are kept for further passes, in memory and in a temporary file."""

from __future__ import annotations

import errno
import gc
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from sgdfit.data.opening import materialize
from sgdfit.data.readers import open_table
from sgdfit.data.rows import dataset_table, float_batches
from sgdfit.data.table import BATCH_ROWS, Dataset, RowGroup
from sgdfit.errors import DataError
from texts import scan_text

ROWS = 2 * BATCH_ROWS + 1000
RNG = np.random.default_rng(3)
DATA = {
    "x": RNG.normal(size=ROWS),
    "y": RNG.normal(size=ROWS).astype(np.float32),
    "k": np.arange(ROWS),
}
DATA["x"][[5, -1]] = np.nan


def once(step=100_000):
    """Return a scan that can be read once."""
    return open_table(
        {name: column[k : k + step] for name, column in DATA.items()} for k in range(0, ROWS, step)
    ).dataset


def whole(scan, names):
    parts = [b.columns for group in scan.row_groups for b in float_batches(scan, group, names)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


BATCH = BATCH_ROWS * 20


@pytest.mark.parametrize("budget", [0, BATCH, 10**9], ids=["disk", "both", "memory"])
@pytest.mark.parametrize("step", [1000, 100_000, ROWS])
def test_what_is_read_again_is_what_was_read_once(budget, step, tmp_path):
    kept = materialize(once(step), ["k", "x", "y"], budget, tmp_path)
    assert kept.again
    assert kept.names == ("k", "x", "y")
    assert [piece.rows for piece in kept.row_groups] == [BATCH_ROWS, BATCH_ROWS, 1000]
    assert [piece.first for piece in kept.row_groups] == [0, BATCH_ROWS, 2 * BATCH_ROWS]
    assert bool(list(tmp_path.rglob("*.arrow"))) == (budget < 10**9)
    for names in (["k", "x", "y"], ["y", "k"], ["x"]):
        with ThreadPoolExecutor(3) as pool:
            for columns in pool.map(whole, [kept] * 3, [names] * 3):
                for name, found in zip(names, columns, strict=True):
                    np.testing.assert_array_equal(found, DATA[name])
    assert whole(kept, ["y"])[0].dtype == np.float32
    assert whole(kept, ["k"])[0].dtype == np.float64


def test_numbers_that_become_longer_lose_nothing(tmp_path):
    fine = 1 / 3
    batches = [np.float32([0.5]), np.float64([fine]), np.float32([0.25])]
    pieces = tuple(
        RowGroup("data", k, 1, lambda names, b=b: iter([pa.record_batch([pa.array(b)], ["x"])]))
        for k, b in enumerate(batches)
    )
    kept = materialize(Dataset(("x",), "data", pieces), ["x"], 0, tmp_path)
    assert whole(kept, ["x"])[0].tolist() == [0.5, fine, 0.25]
    assert len(list(tmp_path.rglob("*.arrow"))) == 3


def test_the_folder_goes_with_the_last_row_group(tmp_path):
    group = materialize(once(), ["x"], 0, tmp_path).row_groups[-1]
    gc.collect()
    assert len(list(tmp_path.iterdir())) == 1
    assert next(group.read(["x"])).num_rows == 1000
    del group
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded(tmp_path):
    before = pa.total_allocated_bytes()
    kept = materialize(once(), ["x", "k"], 0, tmp_path)
    assert pa.total_allocated_bytes() - before < 1_000_000
    for piece in kept.row_groups:
        for batch in piece.read(["x"]):
            assert pa.total_allocated_bytes() - before < 20 * BATCH_ROWS
            del batch


TEXT = b"# t\nx,y\n" + b"".join(b"%d,%d\n" % (k, -k) for k in range(9)) + b"\n# c\n9,nan\n10,5\n"


@pytest.mark.parametrize("budget", [0, 10**6])
@pytest.mark.parametrize("size", [7, 1000])
def test_rows_files_and_lines_are_those_of_the_source(budget, size, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_bytes(TEXT)
    dataset = scan_text(tmp_path / "a.csv", tmp_path / "b.csv", size=size, small=0).dataset
    kept = materialize(dataset, ["y"], budget, tmp_path)
    assert kept.fingerprint == dataset.fingerprint
    assert {g.label for g in kept.row_groups} == {"a.csv", "b.csv"}
    with pytest.raises(
        DataError, match=r"column 'y' row 10 \(row 10, line 14 of a\.csv\) is missing"
    ):
        dataset_table(kept).load(["y"])


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("nan", r"column 'x' row 5001 \(line 5002\) is missing"),
        ("soon", r"column 'x' of standard input holds text: row 5001 \(line 5002\) is 'soon'"),
    ],
)
def test_lines_of_a_stream_are_known(word, words, tmp_path):
    text = b"x\n" + b"1\n" * 5000 + word.encode() + b"\n" + b"1\n" * 5000
    dataset = scan_text(io.BytesIO(text), size=100, small=0).dataset
    with pytest.raises(DataError, match=words):
        dataset_table(materialize(dataset, ["x"], 0, tmp_path)).load(["x"])
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_it_is_announced(tmp_path):
    said = []
    kept = materialize(once(), ["x"], 0, tmp_path, said.append)
    (folder,) = tmp_path.iterdir()
    assert said == [
        "the data can be read once, so columns that are needed again are kept",
        f"what does not fit into memory is kept in {folder} until the end",
        f"{8 * ROWS:,} bytes of columns were written to {folder}",
    ]
    said.clear()
    materialize(kept, ["x"], 10**9, tmp_path, said.append)
    assert said == []


def test_nothing_to_keep():
    empty = open_table(iter([pa.table({"x": pa.array([], pa.float64())})])).dataset
    assert materialize(empty, ["x"], 0).row_groups == ()


Disk = namedtuple("Disk", "total used free")


@pytest.mark.parametrize(
    ("total", "free", "reserve"),
    [(10**12, 200_000_000, 200_000_000), (10**8, 6_000_000, 5_000_000)],
    ids=["200 MB", "5%"],
)
def test_a_disk_that_is_nearly_full_is_left_alone(total, free, reserve, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(total, total - free, free))
    needed = 8 * BATCH_ROWS + reserve
    words = (
        f"{re.escape(str(tmp_path))}/sgdfit-.* has {free:,} bytes free where at least {needed:,}"
        r" are needed, beside the 0 that were written; set TMPDIR to a folder with more room,"
        " use fewer columns, or convert the data to Parquet"
    )
    with pytest.raises(DataError, match=words):
        materialize(once(), ["x"], 0, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile(tmp_path, monkeypatch):
    class Full:
        """A writer on a full disk."""

        def __init__(self, path, schema):
            self.file = open(path, "wb")  # noqa: SIM115
            self.file.write(b"0" * 10)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.close()

        def write_batch(self, batch):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            self.file.close()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_file", Full)
    with pytest.raises(DataError, match=r"bytes free where at least .* are needed"):
        materialize(once(), ["x"], 0, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_can_be_read_again_is_where_the_disk_is_full(tmp_path, monkeypatch):
    (tmp_path / "data.csv").write_bytes(TEXT)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**12, 10**12, 0))
    scan = scan_text(tmp_path / "data.csv", small=0).dataset
    said = []
    assert materialize(scan, ["x"], 0, tmp_path, said.append) is scan
    assert said[-1].startswith("data.csv is read anew for each pass: the temporary folder")
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_a_file_that_someone_clears(tmp_path):
    kept = materialize(once(), ["x"], 0, tmp_path)
    for path in tmp_path.rglob("*.arrow"):
        path.unlink()
    with pytest.raises(DataError, match=r"the temporary file .* cannot be read any more"):
        list(kept.row_groups[0].read(["x"]))
    with pytest.raises(DataError, match=r"no temporary folder can be made in .*; set TMPDIR"):
        materialize(once(), ["x"], 0, tmp_path / "nowhere")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConnectionError])
def test_nothing_is_left_where_reading_stops(error, tmp_path):
    def stopping():
        yield {"x": np.arange(float(BATCH_ROWS + 1))}
        raise error

    with pytest.raises(error):
        materialize(open_table(stopping()).dataset, ["x"], 0, tmp_path)
    assert list(tmp_path.iterdir()) == []


PROGRAM = """
import signal, sys, numpy as np
from sgdfit.data.readers import open_table
from sgdfit.data.opening import materialize
def stop(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
def endless():
    yield {"x": np.arange(300_000.0)}
    print("ready", flush=True)
    while sys.argv[1] == "wait":
        yield {"x": np.arange(10.0)}
kept = materialize(open_table(endless()).dataset, ["x"], 0)
print(sum(piece.rows for piece in kept.row_groups))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
@pytest.mark.parametrize("how", ["end", "wait"])
def test_nothing_is_left_when_the_program_ends_or_is_told_to(how, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        if how == "wait":
            assert len(list(tmp_path.iterdir())) == 1
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert (process.returncode == 0) == (how == "end")
    assert list(tmp_path.iterdir()) == []
