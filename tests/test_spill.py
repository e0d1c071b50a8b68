"""Columns that are kept for further passes, in memory or in a temporary file."""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pytest

from sgdfit.data.opening import open_rows
from sgdfit.data.readers import open_table
from sgdfit.data.rows import dataset_table, read_ahead
from sgdfit.data.table import BATCH_ROWS, Columns, Dataset, RowGroup
from sgdfit.errors import DataError
from texts import scan_text

ROWS = 2 * BATCH_ROWS + 1000
RNG = np.random.default_rng(3)
DATA = {
    "x": RNG.normal(size=ROWS),
    "y": RNG.normal(size=ROWS).astype(np.float32),
    "k": np.arange(ROWS),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Return the folder of temporary files."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def once(step=100_000, data=DATA):
    """Return a table that can be read once."""
    parts = ({name: c[k : k + step] for name, c in data.items()} for k in range(0, ROWS, step))
    return open_table(parts)


def keep(table, names, budget=0, missing="error", **options):
    return open_rows(table, names, missing=missing, budget=budget, **options)


@pytest.mark.parametrize("budget", [0, BATCH_ROWS * 20, 10**9], ids=["disk", "half", "memory"])
@pytest.mark.parametrize("step", [1000, 100_000, ROWS])
def test_what_is_read_again_is_what_was_read_once(budget, step, folder):
    kept = keep(once(step), ["k", "x", "y"], budget)
    files = list(folder.rglob("*.arrow"))
    if budget == 10**9:
        assert isinstance(kept, Columns)
        assert files == []
        for name, column in kept.columns.items():
            np.testing.assert_array_equal(column, DATA[name])
            assert not column.flags.writeable
        return
    groups = kept.dataset.row_groups
    assert len(files) == 3
    assert [group.rows for group in groups] == [BATCH_ROWS, BATCH_ROWS, 1000]
    assert [group.first for group in groups] == [0, BATCH_ROWS, 2 * BATCH_ROWS]
    for names in (["k", "x", "y"], ["y", "k"], ["x"]):
        found = dataset_table(kept.dataset).load(names).columns
        for name in names:
            np.testing.assert_array_equal(found[name], DATA[name])
            assert found[name].dtype == (np.float32 if name == "y" else np.float64)
    # all of it at once, and some of it on several threads
    parts = read_ahead([lambda g=g: g.read(["x"]) for g in groups] * 3, threads=3, whole=True)
    assert sum(batch.num_rows for batch in parts) == 3 * ROWS


@pytest.mark.parametrize("budget", [0, 10**9])
def test_rows_that_are_not_finite_are_dropped_or_named(budget):
    data = {**DATA, "x": DATA["x"].copy()}
    data["x"][[5, BATCH_ROWS, -1]] = np.nan
    kept = keep(once(data=data), ["x", "k"], budget, missing="drop")
    assert (kept.rows, kept.dropped) == (ROWS - 3, 3)
    k = np.concatenate([k for _, k in (kept.chunks() if budget == 0 else [kept.columns.values()])])
    np.testing.assert_array_equal(k, np.delete(data["k"], [5, BATCH_ROWS, -1]))
    with pytest.raises(DataError, match="column 'x' row 6 of the data is missing"):
        keep(once(data=data), ["x", "k"], budget)


def test_numbers_that_become_longer_lose_nothing():
    fine = 1 / 3
    batches = [np.float32([0.5]), np.float64([fine]), np.float32([0.25])]
    pieces = tuple(
        RowGroup("data", k, None, lambda names, b=b: iter([pa.record_batch([pa.array(b)], ["x"])]))
        for k, b in enumerate(batches)
    )
    for budget in (0, 10**9):
        kept = keep(dataset_table(Dataset(("x",), "data", pieces, slow=True)), ["x"], budget)
        kept = kept if budget else dataset_table(kept.dataset).load(["x"])
        assert kept.columns["x"].tolist() == [0.5, fine, 0.25]


def test_the_folder_goes_with_the_last_row_group(folder):
    group = keep(once(), ["x"]).dataset.row_groups[-1]
    gc.collect()
    assert len(list(folder.iterdir())) == 1
    assert next(group.read(["x"])).num_rows == 1000
    del group
    gc.collect()
    assert list(folder.iterdir()) == []


def test_memory_is_bounded():
    before = pa.total_allocated_bytes()
    kept = keep(once(), ["x", "k"])
    assert pa.total_allocated_bytes() - before < 1_000_000
    for group in kept.dataset.row_groups:
        for batch in group.read(["x"]):
            assert pa.total_allocated_bytes() - before < 20 * BATCH_ROWS
            del batch


TEXT = b"# t\nx,y\n" + b"".join(b"%d,%d\n" % (k, -k) for k in range(9)) + b"\n\n9,nan\n10,5\n"


@pytest.mark.parametrize("size", [7, 1000])
def test_rows_files_and_lines_are_those_of_the_source(size, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_bytes(TEXT)
    table = scan_text(tmp_path / "a.csv", tmp_path / "b.csv", size=size, small=0)
    kept = keep(table, ["y"], missing="drop").dataset
    assert kept.fingerprint == table.dataset.fingerprint
    assert {g.label for g in kept.row_groups} == {"a.csv", "b.csv"}
    with pytest.raises(
        DataError, match=r"column 'y' row 10 \(row 10, line 14 of a\.csv\) is missing"
    ):
        dataset_table(kept).load(["y"])


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("nan", r"column 'x' row 5001 \(line 5002\) of standard input is missing"),
        ("soon", r"column 'x' of standard input holds text: row 5001 \(line 5002\) is 'soon'"),
    ],
)
def test_lines_of_a_stream_are_known(word, words, folder):
    text = b"x\n" + b"1\n" * 5000 + word.encode() + b"\n" + b"1\n" * 5000
    with pytest.raises(DataError, match=words):
        keep(scan_text(io.BytesIO(text), size=100, small=0), ["x"])
    gc.collect()
    assert list(folder.iterdir()) == []


def test_it_is_announced(folder):
    said = []
    kept = keep(once(), ["x"], announce=said.append)
    (path,) = folder.iterdir()
    assert said == [
        "the data can be read once, so columns that are needed again are kept",
        f"the data does not fit into memory and is kept in {path} until the end",
        f"{8 * ROWS:,} bytes of columns were written to {path}",
    ]
    said.clear()
    assert keep(dataset_table(kept.dataset), ["x"], 10**9, announce=said.append).rows == ROWS
    assert said == []


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_nothing_to_keep(missing):
    with pytest.raises(DataError, match=r"no row of the data is left|the data has no rows"):
        keep(open_table(iter([pa.table({"x": pa.array([], pa.float64())})])), ["x"], 9, missing)
    with pytest.raises(
        DataError, match=r"each of its 2 rows lacks a finite number|row 1 .*missing"
    ):
        keep(open_table(iter([{"x": [np.nan]}, {"x": [np.inf]}])), ["x"], 0, missing)


def test_a_disk_that_fills_up_meanwhile(folder, monkeypatch):
    def full(path, schema):
        with open(path, "wb") as file:
            file.write(b"0" * 10)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_file", full)
    with pytest.raises(
        DataError, match=r"sgdfit-.* takes no more than the 0 bytes .*No space left.*; set TMPDIR"
    ):
        keep(once(), ["x"])
    assert list(folder.iterdir()) == []


def test_a_file_that_someone_clears(tmp_path, folder, monkeypatch):
    kept = keep(once(), ["x"])
    for path in folder.rglob("*.arrow"):
        path.unlink()
    with pytest.raises(DataError, match=r"the temporary file .* cannot be read any more"):
        list(kept.chunks())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"no temporary folder can be made in .*; set TMPDIR"):
        keep(once(), ["x"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConnectionError])
def test_nothing_is_left_where_reading_stops(error, folder):
    def stopping():
        yield {"x": np.arange(float(BATCH_ROWS + 1))}
        raise error

    with pytest.raises(error):
        keep(open_table(stopping()), ["x"])
    assert list(folder.iterdir()) == []


PROGRAM = """
import signal, sys, numpy as np
from sgdfit.data.readers import open_table
from sgdfit.data.opening import open_rows
def stop(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
def endless():
    yield {"x": np.arange(300_000.0)}
    yield {"x": np.arange(300_000.0)}
    print("ready", flush=True)
    while sys.argv[1] != "end":
        yield {"x": np.arange(10.0)}
print(open_rows(open_table(endless()), ["x"], missing="error", budget=0).rows)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
@pytest.mark.parametrize("how", ["end", "stop", "kill"])
def test_nothing_is_left_when_the_program_ends_or_is_told_to(how, folder):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        if how != "end":
            assert len(list(folder.iterdir())) == 1
            process.send_signal(signal.SIGTERM if how == "stop" else signal.SIGKILL)
        process.communicate(timeout=60)
    assert (process.returncode == 0) == (how == "end")
    left = list(folder.iterdir())
    assert len(left) == (how == "kill")
    kept = keep(once(), ["x"])  # removes what a killed run has left, and not what is needed
    again = keep(once(), ["x"])
    assert len(list(folder.iterdir())) == 2
    assert not set(left) & set(folder.iterdir())
    assert kept.rows == again.rows == ROWS
