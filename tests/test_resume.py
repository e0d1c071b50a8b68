"""A run that is killed at any moment and resumed ends, bit for bit, as if nothing had happened."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
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
KILLS = 10  # of each of two cases
PATIENCE = 120.0


class Case(NamedTuple):
    """A run of a few seconds."""

    data: str
    formula: str
    options: tuple[str, ...]


CASES = {
    "auto, many rows": Case(
        "many.parquet",
        "y = a*exp(-b*x) + c*sin(d*x)",
        (
            *("--loss", "huber(delta=0.1)", "--start", "a=2,b=1,c=1,d=2.8"),
            *("--tolerance", "1e-12", "--kernel", "numpy", "--memory", "350MB"),
        ),
    ),
    "sgd, many epochs": Case(
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


class Whole(NamedTuple):
    """What the uninterrupted run found, and in how many seconds after its start."""

    facts: str
    seconds: float


@pytest.fixture(scope="module")
def whole(folder):
    """Return the uninterrupted run of a case; the first of two only compiles."""
    known = {}

    def run(name):
        if name not in known:
            for _ in range(2):
                done = finish(start(folder, CASES[name], folder / "whole.json"))
                assert done.code == 0, done.error
            found = json.loads((folder / "whole.json").read_text(encoding="utf-8"))
            known[name] = Whole(facts(folder / "whole.json"), found["seconds"])
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


def stop(process, checkpoint, seconds, how):
    """Send a signal some seconds after the checkpoint was first written, unless the run is over."""
    before, until = stamp(checkpoint), time.perf_counter() + PATIENCE
    while process.poll() is None and stamp(checkpoint) == before:
        assert time.perf_counter() < until
        time.sleep(0.005)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(how)
    return finish(process)


def stamp(checkpoint):
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None


def facts(path):
    """Return all saved facts but the time that it took, as text: equal texts, equal bits."""
    saved = json.loads(Path(path).read_text(encoding="utf-8"))
    assert saved.pop("seconds") > 0
    return json.dumps(saved, sort_keys=True)


def holds(checkpoint, key):
    """Whether a record of that kind has been written."""
    return checkpoint.exists() and any(name.startswith(key) for name in held(checkpoint))


def held(checkpoint):
    """Return the records of a checkpoint; one that is not whole raises."""
    return read(checkpoint).records


def resumed(checkpoint):
    return ("--checkpoint", checkpoint, *(["--resume"] if checkpoint.exists() else []))


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_changes_nothing(folder, whole, tmp_path, name):
    case = CASES[name]
    done = finish(start(folder, case, tmp_path / "fit.json", "--checkpoint", tmp_path / "run"))
    assert done.code == 0, done.error
    assert facts(tmp_path / "fit.json") == whole(name).facts
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left <= {"fit.json", "run"}  # no half a file


@pytest.mark.parametrize("name", CASES)
def test_killed_and_resumed_it_ends_the_same(folder, whole, tmp_path, name):
    """Killed again and again, each life going on from the last; begun anew where one ends."""
    case, known = CASES[name], whole(name)
    draw = random.Random(name)
    checkpoint, save = tmp_path / "run", tmp_path / "fit.json"
    kills = resumptions = ends = 0
    over = False
    while not over:
        arguments = resumed(checkpoint)
        process = start(folder, case, save, *arguments)
        if kills < KILLS:
            moment = draw.uniform(0.0, known.seconds)
            done = stop(process, checkpoint, moment, signal.SIGKILL)
        else:
            done = finish(process)
        if done.code == -signal.SIGKILL:
            kills += 1
            if save.exists():  # killed when all was done
                assert facts(save) == known.facts
                save.unlink()
            if checkpoint.exists():
                assert held(checkpoint)  # whole, and not empty
                resumptions += 1
            continue
        assert done.code == 0, done.error
        assert facts(save) == known.facts
        ends += "--resume" in arguments
        over = kills == KILLS
        save.unlink()
        checkpoint.unlink(missing_ok=True)
    assert ends >= 1
    assert resumptions >= KILLS // 2  # else it was begun anew rather than resumed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", CASES)
def test_killed_amid_writes_it_ends_the_same(folder, whole, tmp_path, name):
    """Each life dies within its third write, at another moment of it; the next goes on."""
    case, known = CASES[name], whole(name)
    checkpoint, save = tmp_path / "run", tmp_path / "fit.json"
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
    assert facts(save) == known.facts
    assert {entry.name for entry in tmp_path.iterdir()} == {"fit.json", "run"}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", CASES)
def test_asked_to_end_it_writes_and_reports(folder, whole, tmp_path, name, how):
    case, known = CASES[name], whole(name)
    checkpoint, save = tmp_path / "run", tmp_path / "fit.json"
    process = start(folder, case, save, "--checkpoint", checkpoint)
    begun = time.perf_counter()
    key = "descent" if name.startswith("sgd") else "sums"
    while not holds(checkpoint, key) and process.poll() is None:
        assert time.perf_counter() - begun < PATIENCE
        time.sleep(0.01)
    process.send_signal(how)
    asked = time.perf_counter()
    done = finish(process)
    assert time.perf_counter() - asked < 10.0
    assert done.code == (130 if how == signal.SIGINT else 143), done.error
    assert "interrupted" in done.output  # the report of the best so far
    assert "Traceback" not in done.error
    kept = checkpoint.read_bytes()
    assert held(checkpoint)
    if how == signal.SIGINT:  # --resume is forgotten
        anew = finish(start(folder, case, save, "--checkpoint", checkpoint))
        assert anew.code == 2
        assert f"holds an unfinished run of '{case.formula}' (written 20" in anew.error
        assert re.search(", at step [0-9,]+[)];|[0-9] pass|% of a", anew.error)
        assert len(anew.error.strip().splitlines()) == 1
        assert checkpoint.read_bytes() == kept
    again = finish(start(folder, case, save, "--checkpoint", checkpoint, "--resume"))
    assert again.code == 0, again.error
    assert facts(save) == known.facts


def test_a_run_that_is_over_is_not_run_again(folder, whole, tmp_path):
    name = "sgd, many epochs"
    checkpoint, save = tmp_path / "run", tmp_path / "fit.json"
    finish(start(folder, CASES[name], save, "--checkpoint", checkpoint))
    assert checkpoint.exists()
    save.unlink()
    done = finish(start(folder, CASES[name], save, "--checkpoint", checkpoint, "--resume"))
    assert done.code == 0, done.error
    assert facts(save) == whole(name).facts


@pytest.fixture(scope="module")
def begun(folder):
    """Return the bytes of the checkpoint of a short run, for others to be refused with."""
    path = folder / "begun"
    case = short(CASES["sgd, many epochs"])
    done = finish(start(folder, case, folder / "begun.json", "--checkpoint", path))
    assert done.code == 0, done.error
    return path.read_bytes()


def short(case, **changes):
    options = list(case.options)
    options[options.index("--epochs") + 1] = "2"
    for option, value in changes.items():
        options[options.index(f"--{option.replace('_', '-')}") + 1] = value
    return case._replace(options=tuple(options))


def refused(folder, case, tmp_path, checkpoint):
    """Return the one line with which a resumption is refused."""
    done = finish(
        start(folder, case, tmp_path / "fit.json", "--checkpoint", checkpoint, "--resume")
    )
    assert done.code == 2, done.error
    assert done.output == ""
    assert len(done.error.strip().splitlines()) == 1
    assert not (tmp_path / "fit.json").exists()
    return done.error


FEW = CASES["sgd, many epochs"]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (short(FEW)._replace(formula="y = a*x"), ["'y = a*x + b'", "'y = a*x'"]),
        (short(FEW, seed="4"), ["seed", "3", "4"]),
        (short(FEW, batch_size="16"), ["batch", "8", "16"]),
        (short(FEW, learning_rate="0.002"), ["rate", "0.001", "0.002"]),
    ],
)
def test_another_run_is_refused(folder, begun, tmp_path, case, words):
    (tmp_path / "run").write_bytes(begun)
    error = refused(folder, case, tmp_path, tmp_path / "run")
    assert [word for word in words if word not in error] == []
    assert (tmp_path / "run").read_bytes() == begun


def test_other_data_are_refused(folder, begun, tmp_path):
    (tmp_path / "run").write_bytes(begun)
    table = pq.read_table(folder / "few.parquet")
    y = table["y"].to_numpy().copy()
    y[12_345] += 1e-9
    pq.write_table(table.set_column(1, "y", pa.array(y)), tmp_path / "few.parquet")
    assert "other data" in refused(tmp_path, short(FEW), tmp_path, tmp_path / "run")


def test_a_damaged_checkpoint_is_refused(folder, begun, tmp_path):
    (tmp_path / "run").write_bytes(begun[: len(begun) // 2])
    assert "damaged" in refused(folder, short(FEW), tmp_path, tmp_path / "run")


def test_there_is_nothing_to_resume(folder, tmp_path):
    assert "no such file" in refused(folder, short(FEW), tmp_path, tmp_path / "run")


def test_resume_needs_a_checkpoint(folder, tmp_path):
    done = finish(start(folder, short(FEW), tmp_path / "fit.json", "--resume"))
    assert done.code == 2
    assert "--checkpoint" in done.error


def test_a_checkpoint_that_cannot_be_written_is_told_before_the_run(folder, tmp_path):
    where = tmp_path / "none" / "run"
    done = finish(start(folder, short(FEW), tmp_path / "fit.json", "--checkpoint", where))
    assert done.code == 2
    assert "create its folder first" in done.error
