"""A run that is killed at any moment and resumed ends, bit for bit, as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sgdfit.checkpoint.checkpoint import DamageError, read

# As the command, but written every 20 ms, so that many of the kills hit a write.
COMMAND = """
import sys
from sgdfit.checkpoint.checkpoint import Checkpoint
begin = Checkpoint.__init__
def often(self, contents, path, every, announce):
    begin(self, contents, path, 0.02, announce)
Checkpoint.__init__ = often
from sgdfit.cli.app import main
sys.exit(main())
"""
# As that, but its third write ends in a SIGKILL: after half of the bytes, before they are sent to
# the disk, before the new file takes the place of the old one, or just after that.
DYING = """
import os, signal
import numpy as np
MOMENT, writes = os.environ["MOMENT"], 0
savez, replace, sync = np.savez, os.replace, os.fsync
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def saving(file, **arrays):
    global writes
    writes += 1
    savez(file, **arrays)
    if MOMENT == "half" and writes == 3:
        file.truncate(file.tell() // 2)
        die()
def syncing(file):
    if MOMENT == "before the disk" and writes == 3:
        die()
    sync(file)
def replacing(old, new):
    if MOMENT == "before its name" and writes == 3:
        die()
    replace(old, new)
    if MOMENT == "after its name" and writes == 3:
        die()
np.savez, os.fsync, os.replace = saving, syncing, replacing
"""
MOMENTS = ["half", "before the disk", "before its name", "after its name"]
KILLS = 4  # of each of two cases
PATIENCE = 120.0


class Case(NamedTuple):
    """A run of a few seconds."""

    data: str
    formula: str
    options: tuple[str, ...]


AUTO, SGD = "auto, many rows", "sgd, many epochs"
CASES = {
    AUTO: Case(
        "many.parquet",
        "y = a*exp(-b*x) + c*sin(d*x)",
        (
            *("--loss", "huber(delta=0.1)", "--start", "a=2,b=1,c=1,d=2.8"),
            *("--tolerance", "1e-12", "--kernel", "numpy", "--memory", "450MB"),
        ),
    ),
    SGD: Case(
        "few.parquet",
        "y = a*x + b",
        (
            *("--optimizer", "sgd(momentum=0.9)", "--learning-rate", "0.001", "--batch-size", "8"),
            *("--epochs", "10", "--kernel", "numpy", "--seed", "3"),
        ),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rows that do not fit into the memory given, and twenty thousand that do."""
    folder = tmp_path_factory.mktemp("resume")
    draw = np.random.default_rng(4)
    for name, rows in (("many", 1_500_000), ("few", 20_000)):
        x = draw.uniform(0.0, 4.0, rows)
        noise = draw.normal(0.0, 0.1, rows)
        y = 3 * np.exp(-1.2 * x) + np.sin(3 * x) / 2 if name == "many" else 2 * x - 1
        table = pa.table({"x": x, "y": y + noise})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=250_000)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    """Return what the uninterrupted run of a case found, and in how many seconds."""
    known = {}

    def run(name):
        if name not in known:
            done = finish(start(folder, CASES[name], folder / "whole.json"))
            assert done.code == 0, done.error
            seconds = json.loads((folder / "whole.json").read_text(encoding="utf-8"))["seconds"]
            known[name] = facts(folder / "whole.json"), seconds
        return known[name]

    return run


class Done(NamedTuple):
    """How a process ended."""

    code: int
    output: str
    error: str


def start(folder, case, save, *more, dying=None):
    program = COMMAND if dying is None else DYING + COMMAND
    command = [sys.executable, "-c", program, "fit", str(folder / case.data), case.formula]
    options = [*case.options, "--save", str(save), *map(str, more)]
    return subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MOMENT": dying or ""},
    )


def finish(process):
    output, error = process.communicate(timeout=PATIENCE)
    return Done(process.returncode, output, error)


def until_written(process, checkpoint, key=""):
    """Wait until a record of that kind has been written, or the run is over."""
    begun = time.perf_counter()
    while process.poll() is None:
        if checkpoint.exists() and any(name.startswith(key) for name in held(checkpoint)):
            break
        assert time.perf_counter() - begun < PATIENCE
        time.sleep(0.005)


def facts(path):
    """Return all saved facts but the time that it took, as text: equal texts, equal bits."""
    saved = json.loads(Path(path).read_text(encoding="utf-8"))
    assert saved.pop("seconds") > 0
    return json.dumps(saved, sort_keys=True)


def held(checkpoint):
    """Return the records of a checkpoint; one that is not whole raises."""
    return read(checkpoint).records


def resumed(checkpoint):
    return ("--checkpoint", checkpoint, *(["--resume"] if checkpoint.exists() else []))


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_changes_nothing_and_a_run_that_is_over_is_not_run_again(
    folder, whole, tmp_path, name
):
    checkpoint, save = tmp_path / "run", tmp_path / "fit.json"
    for _ in range(2):
        done = finish(start(folder, CASES[name], save, *resumed(checkpoint)))
        assert done.code == 0, done.error
        assert facts(save) == whole(name)[0]
        assert {entry.name for entry in tmp_path.iterdir()} == {"fit.json", "run"}
        save.unlink()


@pytest.mark.parametrize("name", CASES)
def test_killed_and_resumed_it_ends_the_same(folder, whole, tmp_path, name):
    """Killed again and again, each life going on from the last; begun anew where one ends."""
    case, (known, seconds) = CASES[name], whole(name)
    draw = random.Random(name)
    checkpoint, save = tmp_path / "run", tmp_path / "fit.json"
    kills = resumptions = 0
    while True:
        process = start(folder, case, save, *resumed(checkpoint))
        if kills < KILLS:
            until_written(process, checkpoint)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=draw.uniform(0.0, 0.7 * seconds))
            process.kill()
        done = finish(process)
        if done.code == -signal.SIGKILL:
            kills += 1
            resumptions += checkpoint.exists()
            assert held(checkpoint)  # whole, and not empty
            save.unlink(missing_ok=True)  # killed when all was done
            continue
        assert done.code == 0, done.error
        assert facts(save) == known
        if kills == KILLS:
            break
        checkpoint.unlink()
    assert resumptions >= KILLS // 2  # else it was begun anew rather than resumed
    assert {entry.name for entry in tmp_path.iterdir()} == {"fit.json", "run"}


@pytest.mark.parametrize("name", CASES)
def test_killed_amid_writes_it_ends_the_same(folder, whole, tmp_path, name):
    """Each life dies within its third write, at another moment of it; the next goes on."""
    case, checkpoint, save = CASES[name], tmp_path / "run", tmp_path / "fit.json"
    before = None
    for moment in MOMENTS:
        process = start(folder, case, save, *resumed(checkpoint), dying=moment)
        done = finish(process)
        assert done.code == -signal.SIGKILL, (moment, done.error)
        assert not save.exists()
        partial = list(tmp_path.glob(f".run.{process.pid}.*.partial"))
        # What was being written stands beside the checkpoint, whole or in part, until it is that.
        assert len(partial) == (moment != "after its name")
        if moment == "half":
            with pytest.raises(DamageError):
                read(partial[0])
        elif partial:
            assert held(partial[0])
        assert held(checkpoint)
        assert checkpoint.read_bytes() != before  # it had written twice, and so came nearer
        before = checkpoint.read_bytes()
    done = finish(start(folder, case, save, *resumed(checkpoint)))
    assert done.code == 0, done.error
    assert facts(save) == whole(name)[0]
    assert {entry.name for entry in tmp_path.iterdir()} == {"fit.json", "run"}


@pytest.mark.parametrize(
    ("name", "how", "code"),
    [(AUTO, signal.SIGTERM, 143), (SGD, signal.SIGINT, 130)],
)
def test_asked_to_end_it_writes_and_reports(folder, whole, tmp_path, name, how, code):
    case, checkpoint, save = CASES[name], tmp_path / "run", tmp_path / "fit.json"
    process = start(folder, case, save, "--checkpoint", checkpoint)
    until_written(process, checkpoint, "descent" if name == SGD else "sums")
    process.send_signal(how)
    asked = time.perf_counter()
    done = finish(process)
    assert time.perf_counter() - asked < 10.0
    assert done.code == code, done.error
    assert "interrupted" in done.output  # the report of the best so far
    assert "Traceback" not in done.error
    kept = checkpoint.read_bytes()
    # --resume is forgotten
    anew = finish(start(folder, case, save, "--checkpoint", checkpoint))
    assert anew.code == 2
    assert f"holds an unfinished run of '{case.formula}' (written 20" in anew.error
    assert checkpoint.read_bytes() == kept
    again = finish(start(folder, case, save, *resumed(checkpoint)))
    assert again.code == 0, again.error
    assert facts(save) == whole(name)[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--resume",), "--checkpoint"),
        (("--resume", "--checkpoint", "none"), "no such file"),
        (("--checkpoint", "none/run"), "create its folder first"),
        (("--resume", "--checkpoint", "few.parquet"), "no checkpoint of sgdfit"),
    ],
)
def test_what_cannot_be_resumed_or_written_is_told_in_a_line(folder, tmp_path, options, words):
    case, save = CASES[SGD], tmp_path / "fit.json"
    options = [folder / option if option[0] != "-" else option for option in options]
    done = finish(start(folder, case, save, *options))
    assert (done.code, done.output) == (2, "")
    assert len(done.error.strip().splitlines()) == 1
    assert words in done.error
    assert not save.exists()
