"""A run that is killed at any moment and resumed ends, bit for bit, as if nothing had happened.

Its checkpoint is gone on with by the run that wrote it and no other, and is not lost to one.
"""

import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.checkpoint.checkpoint import open_checkpoint, read
from sgdfit.cli.app import main
from sgdfit.errors import CheckpointError, CheckpointWarning, UsageError

# As the command, but written every 20 ms, so that many of the kills hit a write, and with so
# little room for columns that nothing fits.
COMMAND = """
import sys
import sgdfit.fitting.options
sgdfit.fitting.options.SHARE = 1e-6
from sgdfit.checkpoint.checkpoint import Checkpoint
begin = Checkpoint.__init__
def often(self, contents, path, every, announce):
    begin(self, contents, path, 0.02, announce)
Checkpoint.__init__ = often
from sgdfit.cli.app import main
sys.exit(main())
"""
KILLS = 3  # of each of two cases
PATIENCE = 120.0


class Case(NamedTuple):
    """A run of about a second."""

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
            *("--tolerance", "1e-12", "--kernel", "numpy"),
        ),
    ),
    SGD: Case(
        "few.parquet",
        "y = a*x + b",
        (
            *("--optimizer", "sgd(momentum=0.9)", "--learning-rate", "0.001", "--batch-size", "8"),
            *("--epochs", "4", "--kernel", "numpy", "--seed", "3"),
        ),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rows in several pieces, and twenty thousand in one."""
    folder = tmp_path_factory.mktemp("resume")
    draw = np.random.default_rng(4)
    for name, rows in (("many", 500_000), ("few", 20_000)):
        x = draw.uniform(0.0, 4.0, rows)
        noise = draw.normal(0.0, 0.1, rows)
        y = 3 * np.exp(-1.2 * x) + np.sin(3 * x) / 2 if name == "many" else 2 * x - 1
        table = pa.table({"x": x, "y": y + noise})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=100_000)
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


def start(folder, case, save, *more):
    command = [sys.executable, "-c", COMMAND, "fit", str(folder / case.data), case.formula]
    options = [*case.options, "--save", str(save), *map(str, more)]
    return subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
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
    """Return all saved facts but time and places of files, as text: equal texts, equal bits."""
    saved = json.loads(Path(path).read_text(encoding="utf-8"))
    assert saved.pop("files")
    assert saved.pop("seconds") > 0
    return json.dumps(saved, sort_keys=True)


def held(checkpoint):
    """Return the records of a checkpoint; one that is not whole raises."""
    return read(checkpoint).records


def resumed(checkpoint):
    return ("--checkpoint", checkpoint, *(["--resume"] if checkpoint.exists() else []))


@pytest.mark.parametrize("name", CASES)
def test_killed_and_resumed_it_ends_the_same_and_is_not_run_again(folder, whole, tmp_path, name):
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
    save.unlink()
    over = finish(start(folder, case, save, *resumed(checkpoint)))
    assert over.code == 0, over.error
    assert facts(save) == known
    assert {entry.name for entry in tmp_path.iterdir()} == {"fit.json", "run"}


@pytest.mark.parametrize(
    ("name", "how", "code"),
    [(AUTO, signal.SIGTERM, 143), (SGD, signal.SIGINT, 130)],
)
def test_asked_to_end_it_writes_and_reports(folder, whole, tmp_path, capsys, name, how, code):
    case, checkpoint, save = CASES[name], tmp_path / "run", tmp_path / "fit.json"
    process = start(folder, case, save, "--checkpoint", checkpoint)
    until_written(process, checkpoint, "descent" if name == SGD else "sums")
    process.send_signal(how)
    done = finish(process)
    assert done.code == code, done.error
    assert "interrupted" in done.output  # the report of the best so far
    assert "Traceback" not in done.error
    kept = checkpoint.read_bytes()
    # --resume is forgotten
    anew = ["fit", str(folder / case.data), case.formula, *case.options, "--save", str(save)]
    assert main([*anew, "--checkpoint", str(checkpoint)]) == 2
    assert f"holds an unfinished run of '{case.formula}' (written 20" in capsys.readouterr().err
    assert checkpoint.read_bytes() == kept
    again = finish(start(folder, case, save, *resumed(checkpoint)))
    assert again.code == 0, again.error
    assert facts(save) == whole(name)[0]


# ---- textbook descent, stopped within a buffer and in both epochs

# So many that an epoch of rows that do not fit into memory takes several buffers.
DESCENT_ROWS = 200_000
LINE = "y = a*x + b"
DESCENTS = {
    "one row": {"batch_size": 1, "epochs": 2, "kernel": "compiled"},
    "batches in numpy": {"batch_size": 64, "epochs": 2, "kernel": "numpy"},
    "in order": {"batch_size": 100, "epochs": 2, "shuffle": False, "kernel": "compiled"},
    "averaged momentum": {
        "batch_size": 64, "epochs": 2, "kernel": "compiled",
        "optimizer": "averaged(sgd(momentum=0.5), start=1000)",
    },
    "all rows": {"steps": 12, "kernel": "compiled"},
}  # fmt: skip


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory):
    draw = np.random.default_rng(8)
    x = np.sort(draw.uniform(-1.0, 1.0, DESCENT_ROWS))
    table = pa.table({"x": x, "y": 2.0 * x - 1.0 + draw.normal(0.0, 0.1, DESCENT_ROWS)})
    found = tmp_path_factory.mktemp("resumed") / "rows.parquet"
    pq.write_table(table, found, row_group_size=30_000)
    return found


def fitted(rows_file, **options):
    return sgdfit.fit(LINE, rows_file, learning_rate=0.005, seed=5, memory="450MB", **options)


@pytest.mark.parametrize("name", DESCENTS)
def test_stopped_and_resumed_it_ends_with_the_same_bits(name, rows_file, tmp_path, little):
    options = DESCENTS[name]
    whole, checkpoint = fitted(rows_file, **options), tmp_path / "run"
    stops = []
    for share in (0.1, 0.33, 0.37, 0.8):
        moment = int(share * whole.steps)

        def impatient(progress, moment=moment):
            if progress.step >= moment:
                raise KeyboardInterrupt

        fit = fitted(
            rows_file,
            checkpoint=checkpoint,
            resume=bool(stops),
            callback=impatient,
            callback_every=max(1, whole.steps // 50),
            **options,
        )
        assert fit.status.name == "interrupted"
        stops.append(fit.steps)
    assert stops == sorted(set(stops))
    assert stops[-1] < whole.steps
    resumed = fitted(rows_file, checkpoint=checkpoint, resume=True, **options)
    assert resumed.status == whole.status
    resumed.save(tmp_path / "resumed.json")
    whole.save(tmp_path / "whole.json")
    assert facts(tmp_path / "resumed.json") == facts(tmp_path / "whole.json")


@pytest.mark.parametrize("rows", ["memory", "file"])
def test_a_checkpoint_does_not_grow_with_the_steps(rows, rows_file, tmp_path, little):
    """Of full batches: what each step found is dropped once the next one stands on it."""
    table = pq.read_table(rows_file)
    data = rows_file if rows == "file" else {name: table[name].to_numpy() for name in ("x", "y")}
    sizes = []
    for steps in (6, 24):
        checkpoint = tmp_path / f"{steps}"
        options = {"steps": steps, "checkpoint": checkpoint, "kernel": "compiled"}

        def impatient(progress, last=steps - 1):
            if progress.step == last:
                raise KeyboardInterrupt

        fit = fitted(data, trace_every=steps, callback=impatient, callback_every=1, **options)
        assert fit.status.name == "interrupted"
        sizes.append(checkpoint.stat().st_size)
    assert sizes[1] <= sizes[0] + 64


# ---- what is refused

FORMULA = "y = a*exp(-b*x)"
START = {"a": 2.0, "b": 0.6}
FEW_ROWS = 4_000


def table():
    draw = np.random.default_rng(3)
    x = draw.uniform(0.0, 4.0, FEW_ROWS)
    y = 2 * np.exp(-0.7 * x) + draw.normal(0.0, 0.1, FEW_ROWS)
    return {"x": x, "y": y, "s": draw.uniform(0.5, 1.5, FEW_ROWS)}


@pytest.fixture
def data(tmp_path):
    """Return a file of plain values, so that one can be changed where it stands."""
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(table()), path, compression="none", use_dictionary=False)
    return path


def run(data, checkpoint, **options):
    given = {"start": START, **options}
    return sgdfit.fit(given.pop("formula", FORMULA), str(data), checkpoint=checkpoint, **given)


def refusal(data, checkpoint, **options):
    """Return the sentence of a refusal, which leaves the file as it was."""
    before = checkpoint.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        run(data, checkpoint, **options)
    assert checkpoint.read_bytes() == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def begun(data, checkpoint, **options):
    """Run until the first look of a callback, and leave the rest undone."""
    result = run(data, checkpoint, callback=lambda _: True, callback_every=1, **options)
    assert result.status.name == "stopped"
    assert f"resume=True (--resume on the command line), which goes on from {checkpoint}" in (
        result.status.cure
    )
    assert not read(checkpoint).finished


# ---- by another run

TEXTBOOK = {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 50, "epochs": 3}


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ({}, {"formula": "y = a*exp(-b*x) + 1"}, ["formula", FORMULA, "+ 1"]),
        ({}, {"seed": 7}, ["the seed '0', this run of '7'"]),
        ({"loss": "huber"}, {"loss": "huber(delta=2)"}, ["delta=2"]),
        ({}, {"where": "x > 1"}, ["of no where, this run of where 'x > 1'", "other data"]),
        ({}, {"weights": "s"}, ["the weights 'one for each row', this run of 's'"]),
        ({"sigma": "s"}, {"sigma": "s", "absolute_sigma": True}, ["absolute sigma 'False'"]),
        ({}, {"bounds": "0 < b < 1"}, ["parameters", "b = 0.6 in (0.0, 1.0)"]),
        ({}, {"fixed": "b=0.7"}, ["parameters", "b = 0.7 (fixed)"]),
        ({}, {"tolerance": 1e-4}, ["of no tolerance, this run of tolerance '0.0001'"]),
        ({}, {"missing": "drop"}, ["the missing 'error', this run of 'drop'"]),
        ({}, {"covariance": "sandwich"}, ["the covariance 'auto', this run of 'sandwich'"]),
        (TEXTBOOK, {**TEXTBOOK, "learning_rate": 0.02}, ["learning rate '0.01'", "'0.02'"]),
        (TEXTBOOK, {**TEXTBOOK, "epochs": 4}, ["epochs '3', this run of '4'"]),
        (TEXTBOOK, {**TEXTBOOK, "shuffle": False}, ["shuffle 'True', this run of 'False'"]),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, dict) else None,
)
def test_a_run_with_another_option_is_refused(data, tmp_path, first, then, words):
    checkpoint = tmp_path / "run"
    begun(data, checkpoint, **first)
    text = refusal(data, checkpoint, resume=True, **then)
    assert [word for word in words if word not in text] == []
    assert text.endswith("run it with the same, or name another file")
    # It is not refused for itself, and ends as if nothing had happened.
    again = run(data, checkpoint, resume=True, **first)
    assert again.values == run(data, tmp_path / "other", **first).values


HALVED = "def halve(rate, step): return rate/(1 + step)"
FACTOR = f"FACTOR = 1.0\n{HALVED}\ndef rate(step): return halve(FACTOR, step)/500"
CALLED = f"""
import numpy as np
{HALVED}
class Rate:
    rates = {{"a", "b"}}
    def __init__(self, first): self.first, self.table = first, np.array([first, 2*first])
    def __call__(self, step): return halve(self.table[0], step)/500
rate = Rate(1.0)
"""
MADE = "def made(first): return lambda step: first/(1 + step)\nrate = made(0.002)"
BOUND = "import functools\ndef f(first, step): return first/(1 + step)\n"
DECAYS = {
    "a global": (FACTOR, "FACTOR = 1.0", "FACTOR = 1.5"),
    "a helper": (FACTOR, "1 + step", "1.0 + step"),
    "a default": ("def rate(step, *, f=0.002): return f/(1 + step)", "f=0.002", "f=0.003"),
    "a closure": (MADE, "0.002", "0.003"),
    "an object": (CALLED, "Rate(1.0)", "Rate(1.5)"),
    "its method": (CALLED, "self.table[0]", "self.table[1]"),
    "its helper": (CALLED, "1 + step", "2 + step"),
    "what is bound": (f"{BOUND}rate = functools.partial(f, 0.002)", "0.002", "0.003"),
    "within": (
        "F = 0.002\ndef rate(step): return [F/(1 + step) for _ in 'a'][0]",
        "0.002",
        "0.003",
    ),
}


def schedule_of(source):
    space = {"__name__": "somebodys"}
    exec(source, space)
    return space["rate"]


@pytest.mark.parametrize("case", DECAYS)
def test_a_schedule_is_known_by_what_it_does(data, tmp_path, case):
    source, old, new = DECAYS[case]
    checkpoint, options = tmp_path / "run", {**TEXTBOOK, "learning_rate": schedule_of(source)}
    begun(data, checkpoint, **options)
    changed = {**TEXTBOOK, "learning_rate": schedule_of(source.replace(old, new))}
    assert "of other learning rate" in refusal(data, checkpoint, resume=True, **changed)
    moved = {**TEXTBOOK, "learning_rate": schedule_of("\n\n" + source)}
    assert run(data, checkpoint, resume=True, **moved).values


def test_a_schedule_that_no_other_process_can_know_needs_a_name(data, tmp_path):
    lock = threading.Lock()

    def unknown(step):
        with lock:
            return 0.01

    options = {**TEXTBOOK, "learning_rate": unknown}
    with pytest.raises(UsageError, match=r"uses a lock, whose state.*learning_rate.name = '"):
        run(data, tmp_path / "run", **options)
    unknown.name = "one at a time"
    assert run(data, tmp_path / "run", **options).values


class Counted:
    """A schedule that counts its calls, in one of several ways."""

    def __init__(self, way):
        self.way, self.calls, self.random = way, 0, np.random.default_rng(1)
        self.counter, self.rates = itertools.count(), {}

    def __call__(self, step):
        match self.way:
            case "an attribute":
                self.calls += 1
                return 0.01 / self.calls
            case "a counter":
                return 0.01 / (1 + next(self.counter))
            case "random numbers":
                return 0.01 * self.random.random()
        return self.rates.setdefault(step, 0.01 / (1 + step))


@pytest.mark.parametrize("way", ["an attribute", "a counter", "random numbers", "a cache"])
def test_a_schedule_that_changes_as_it_is_called_needs_a_name(data, tmp_path, way):
    options = {**TEXTBOOK, "learning_rate": Counted(way)}
    with pytest.raises(UsageError, match="learning rate Counted changes as it is called"):
        run(data, tmp_path / "run", **options)
    assert run(data, None, **options).values
    options["learning_rate"].name = "inverse time"
    assert run(data, tmp_path / "run", **options).values


# ---- on other data


def one_value(path):
    """Change the last bit of one number in the middle of a file, where it stands."""
    content = bytearray(path.read_bytes())
    y = pq.read_table(path)["y"].to_numpy()[FEW_ROWS // 2]
    content[content.index(struct.pack("<d", y))] ^= 1
    path.write_bytes(content)
    assert pq.read_table(path)["y"].to_numpy()[FEW_ROWS // 2] != y


def appended(path):
    found = pq.read_table(path)
    pq.write_table(pa.concat_tables([found, found.slice(0, 1)]), path)


@pytest.mark.parametrize("change", [one_value, appended])
def test_other_data_are_refused(data, tmp_path, change):
    checkpoint = tmp_path / "run"
    begun(data, checkpoint)
    change(data)
    os.utime(data, ns=(1, 2))  # a clock may be too coarse to tell
    assert "the checkpoint is of other data, or of other rows of them; " in refusal(
        data, checkpoint, resume=True
    )


@pytest.mark.parametrize("options", [{}, {"weights": "s"}, TEXTBOOK], ids=str)
def test_other_values_are_refused_though_size_and_time_are_the_same(data, tmp_path, options):
    checkpoint = tmp_path / "run"
    begun(data, checkpoint, **options)
    before = data.stat()
    one_value(data)
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (data.stat().st_size, data.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    text = refusal(data, checkpoint, resume=True, **options)
    assert "of other data: data.parquet has the name, the size and the time that it had" in text
    one_value(data)
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(data, checkpoint, resume=True, **options).status.name != "stopped"


def test_the_same_data_elsewhere_are_not_refused(data, tmp_path):
    """Also with other memory and other threads, which change no result."""
    checkpoint = tmp_path / "run"
    begun(data, checkpoint)
    (tmp_path / "there").mkdir()
    there = shutil.copy2(data, tmp_path / "there")
    again = run(there, checkpoint, resume=True, memory="2GB", threads=1)
    assert again.values == run(data, tmp_path / "other").values


# ---- by a run that does not resume


EDITS = [
    lambda a: a[None],
    lambda a: a.astype("U9"),
    lambda a: a.astype("c16") if a.dtype.kind != "U" else a,
    lambda a: a.ravel()[:-1],
    lambda a: np.where(np.isfinite(a), np.nan, a) if a.dtype.kind == "f" else a,
    lambda a: a - 9 if a.dtype.kind == "i" else a,
    lambda a: 0 * a if a.dtype.kind == "f" else a,
    lambda a: None,
]


def test_what_this_run_cannot_have_written_is_refused(data, tmp_path):
    path, ends = tmp_path / "run", []
    whole = run(data, path, **TEXTBOOK)
    content, known = path.read_bytes(), read(path)
    for number, (key, name) in enumerate((k, n) for k, r in known.records.items() for n in r):
        for edit in EDITS[number % 3 :: 3]:
            path.write_bytes(content)
            with open_checkpoint(path, known.identity, resume=True) as checkpoint:
                record = checkpoint.recall(key)
                changed = edit(record.pop(name))
                checkpoint.keep(key, record if changed is None else record | {name: changed})
            try:
                fit = run(data, path, resume=True, **TEXTBOOK)
            except CheckpointError as error:
                ends.append(str(error))
            else:
                assert fit.rows == whole.rows
    assert len(ends) > 10
    assert all(re.search("the file was changed|of other data", end) for end in ends)


IMPOSSIBLE = {
    "a loss below 0": ("sums", lambda a: a * [1, -1]),
    "no weight": ("sums", lambda a: a * [0, 1]),
    "a gradient that no rows have": ("gradient", lambda a: np.full_like(a, 1e160)),
    "a curvature below 0": ("curvature", lambda a: -a),
    "moments that overflow": ("moments", lambda a: np.full_like(a, 1e308)),
    "a square below 0": ("moments", lambda a: -abs(a)),
    "long floats": ("gradient", lambda a: a.astype("g")),
    "bytes in the other order": ("gradient", lambda a: a.astype(a.dtype.newbyteorder())),
}


def test_sums_that_no_rows_have_are_refused(data, tmp_path):
    path = tmp_path / "run"
    begun(data, path, **TEXTBOOK)
    content, known = path.read_bytes(), read(path)
    key = next(key for key, record in known.records.items() if "moments" in record)
    for name, edit in IMPOSSIBLE.values():
        path.write_bytes(content)
        with open_checkpoint(path, known.identity, resume=True) as checkpoint:
            record = checkpoint.recall(key)
            checkpoint.keep(key, record | {name: edit(record[name])})
        text = refusal(data, path, resume=True, **TEXTBOOK)
        assert text.endswith("is not what this run writes (the file was changed); begin anew "
                             "without resume")  # fmt: skip


@pytest.mark.parametrize("options", [{}, TEXTBOOK], ids=["auto", "sgd"])
def test_an_unfinished_run_is_not_lost_to_one_that_begins_anew(data, tmp_path, options):
    checkpoint = tmp_path / "run"
    begun(data, checkpoint, **options)
    for other in ({}, {"formula": "y = a + 0*x"}, {"start": {"a": 3.0}}):
        text = refusal(data, checkpoint, **{**options, "start": None, **other})
        assert f"{str(checkpoint)!r} holds an unfinished run of 'y = a*exp(-b*x)' (written" in text
        assert text.endswith("or remove the file or name another")
    run(data, checkpoint, resume=True, **options)
    assert read(checkpoint).finished
    assert run(data, checkpoint, formula="y = a + 0*x", start=None).status.name == "converged"


# ---- on a disk that is full


def test_a_full_disk_costs_no_result(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    whole = run(data, tmp_path / "other")
    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(CheckpointWarning, match="No space left on device; free some space") as told:
        found = run(data, tmp_path / "run")
    assert found.values == whole.values
    assert len(told) == 2  # during the run, and at its end
    assert not (tmp_path / "run").exists()


def test_there_is_no_resuming_without_a_checkpoint(data):
    with pytest.raises(UsageError, match="resume goes on from a checkpoint, but none is named"):
        run(data, None, resume=True)
