"""The command line on a real (pseudo) terminal."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from pyarrow import parquet as pq

import sgdfit
from sgdfit.cli.terminal import Listener
from sgdfit.data.readers import open_table
from sgdfit.errors import DataError

pty = pytest.importorskip("pty", reason="a pseudo terminal is needed")

# Batches of one row take long enough to be watched.
LONG = ["--batch-size", "1", "--kernel", "numpy", "--steps", "1000000000", "-r", "0.01"]
SHORT = ["-r", "0.2", "--steps", "200"]
LIMIT = 60  # seconds
PATIENCE = 15  # seconds


@pytest.fixture
def data(tmp_path):
    x = np.linspace(-2, 2, 20)
    table = np.column_stack([x, 2 * x + 1 + np.sin(9 * x)])
    np.savetxt(tmp_path / "data.csv", table, delimiter=",", header="x,y", comments="")
    return tmp_path


def on_terminal(folder, arguments, columns=80, interrupt_at=None, **environment):
    """Run on a terminal; return what it was sent and the exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        # the width is told by a variable, for the size of the terminal comes after the start
        os.environ.update(TERM="xterm-256color", COLUMNS=str(columns), **environment)
        os.execv(sys.executable, [sys.executable, "-m", "sgdfit", *arguments])
    written, began, pressed = b"", time.monotonic(), None
    while time.monotonic() - began < LIMIT:
        if not select.select([terminal], [], [], 0.1)[0]:
            # A signal between Python's last look and a blocking read is seen after the read: a
            # person would press again.
            if pressed is not None and time.monotonic() - pressed > PATIENCE:
                os.write(terminal, b"\x03")
                pressed = time.monotonic()
            continue
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # how Linux says that the other side has ended
            piece = b""
        if not piece:
            break
        written += piece
        if interrupt_at is not None and interrupt_at in written:
            os.write(terminal, b"\x03")
            interrupt_at, pressed = None, time.monotonic()
    else:
        os.kill(pid, 9)
    os.close(terminal)
    return written.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n")


def test_a_bar_shows_loss_and_speed_and_goes_away(data):
    written, status = on_terminal(data, ["fit", "data.csv", "y = a*x + b", *SHORT])
    assert status == 0
    assert re.search(r"/200  loss [0-9.]+  [0-9,]+ steps/s", plain(written))
    after = written[written.rindex("steps/s") :]
    assert "\x1b[2K" in after  # the line of the bar is erased
    assert "converged" in after
    assert "\x1b[1;32m" in after  # in green
    assert "\x1b[?25h" in after  # the cursor is back


@pytest.mark.parametrize(("name", "known"), [("rows.parquet", True), ("rows.csv", False)])
def test_rows_are_told_of_while_they_are_read(tmp_path, name, known):
    table = pa.table({"x": np.arange(3000.0), "y": np.arange(3000.0) % 7})
    if known:
        pq.write_table(table, tmp_path / name, row_group_size=1000)
    else:
        csv.write_csv(table, tmp_path / name)
    paths = [tmp_path / name, tmp_path / f"more_{name}"]
    paths[1].write_bytes(paths[0].read_bytes())
    heard = []
    listener = Listener(None, print, lambda rows, total: heard.append((rows, total)))
    told = listener.with_progress(open_table(paths))
    assert told.dataset is not None
    parts = [batch for piece in told.dataset.row_groups for batch in piece.read(["y", "x"])]
    read = pa.Table.from_batches(parts).select(["x", "y"])
    assert read.to_pydict() == pa.concat_tables([table, table]).to_pydict()
    assert {total for _, total in heard} == {6000 if known else 0}
    assert sum(rows for rows, _ in heard) == 6000
    assert sgdfit.fit("y = a*x + b", told).values == sgdfit.fit("y = a*x + b", paths).values


@pytest.mark.parametrize(
    ("where", "place"),
    [(None, r"row 3 \(line 4\) of "), ("x > 1", r"row 2 \(row 3 of all, line 4\) of ")],
)
def test_a_row_is_found_also_where_rows_are_told_of(tmp_path, where, place):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x,y\n1,2\n2,4\n3,\n4,8\n")
    told = Listener(None, print, lambda rows, total: None).with_progress(open_table(tmp_path))
    with pytest.raises(DataError, match=place + r"a\.csv is missing"):
        sgdfit.fit("y = a*x + b", told, where=where)


def test_how_much_is_read_stands_beside_the_bar(data):
    pieces = "".join(f"{i},{i % 9}\n" for i in range(100_000))
    for number in range(4):
        (data / f"long{number}.csv").write_text("x,y\n" + pieces * 5)
    written, status = on_terminal(data, ["fit", "long*.csv", "y = a*x + b"])
    assert status == 0
    told = re.findall(r"reading and preparing  ([0-9.]+)(k|M) rows, [0-9.]+[kM]? rows/s", written)
    assert told


def test_steps_on_batches_are_told_within_an_epoch(data):
    rows = 250_000
    table = pa.table({"x": np.arange(rows) % 97 / 97, "y": np.arange(rows) % 7 * 1.0})
    pq.write_table(table, data / "long.parquet")
    textbook = ["--optimizer", "sgd(momentum=0.5)", "--batch-size", "8", "--epochs", "1"]
    written, status = on_terminal(data, ["fit", "long.parquet", "y = a*x + b", *textbook])
    assert status == 0
    told = {int(step.replace(",", "")) for step in re.findall(r"([0-9,]+)/31,250", plain(written))}
    assert any(0 < step < rows // 8 for step in told)


def test_how_much_is_predicted_stands_beside_the_bar(data):
    rows = 2_000_000  # some tenths of a second, in which the bar is drawn several times
    table = pa.table({"x": np.arange(float(rows)), "y": np.arange(float(rows)) % 7})
    pq.write_table(table, data / "long.parquet", row_group_size=50_000)
    sgdfit.fit("y = a*x + b", table).save(data / "fit.json")
    arguments = ["predict", "fit.json", "long.parquet", "--interval", "confidence"]
    written, status = on_terminal(data, [*arguments, "--output", "curve.parquet"])
    assert status == 0
    assert pq.read_metadata(data / "curve.parquet").num_rows == rows
    assert re.search(r"predicting  [0-9.]+[kM] of 2(\.0+)?M rows", plain(written))
    assert "predicting" not in written[written.rindex("\x1b[2K") :]  # the bar is erased


def test_no_bar_when_piped_or_quiet(data):
    arguments = ["fit", "data.csv", "y = a*x + b", *SHORT]
    piped = subprocess.run(
        [sys.executable, "-m", "sgdfit", *arguments],
        cwd=data,
        capture_output=True,
        check=True,
        timeout=LIMIT,
        env={**os.environ, "FORCE_COLOR": "1"},
    )
    assert piped.stderr == b""
    assert on_terminal(data, [*arguments, "--quiet"]) == ("", 0)


def test_control_c_prints_the_best_so_far(data):
    written, status = on_terminal(
        data, ["fit", "data.csv", "y = a*x + b", *LONG], interrupt_at=b"steps/s"
    )
    assert status == 130
    assert "interrupted by the user at step" in plain(written)
    assert "Traceback" not in written


def test_control_c_before_the_first_step_is_quiet(data):
    written, status = on_terminal(
        data, ["fit", "-", "y = a*x + b"], interrupt_at=b"reading rows from the terminal"
    )
    assert status == 130
    assert "Traceback" not in written


def test_the_report_keeps_to_the_width_and_to_no_color(data):
    columns = 60
    written, _ = on_terminal(
        data, ["fit", "data.csv", "y = a*x + b", "--full", *SHORT], columns, NO_COLOR="1"
    )
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", written)
    report = plain(written[written.index("y = a*x + b") :])
    assert max(map(len, report.splitlines())) <= columns
    assert "2/λmax" in report
