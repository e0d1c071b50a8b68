"""Checkpoints: arrays come back bit for bit, and no accident leaves half a file."""

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import sgdfit
from permissions import as_nobody, reachable
from sgdfit.checkpoint.checkpoint import open_checkpoint
from sgdfit.errors import CheckpointError, UsageError

IDENTITY = {"formula": "y = a*x", "data": "0f" * 16, "batch size": "64"}
THETA = {"pass": {"theta": np.arange(5.0), "rows": np.array(40)}}


def write(path, records=THETA, identity=IDENTITY, *, finished=True):
    with open_checkpoint(path, identity, resume=False) as checkpoint:
        for key, arrays in records.items():
            checkpoint.keep(key, arrays)
        if finished:
            checkpoint.finish()


def read(path, key="pass", identity=IDENTITY):
    with open_checkpoint(path, identity, resume=True) as checkpoint:
        return checkpoint.recall(key)


def refusal(path, *, resume=True, identity=IDENTITY, **options):
    """Return the one sentence with which a file is refused, which leaves it as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path, identity, resume=resume, **options)
    text = str(caught.value)
    assert repr(str(path)) in text
    assert "\n" not in text
    assert len(text) < 400
    assert before is None or path.read_bytes() == before
    return text


def beside(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def same(kept, found):
    assert list(kept) == list(found)
    for name, array in kept.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


# ---- what is kept comes back

PAYLOADS = np.array([0x7FF8DEADBEEF0001, 0xFFF0000000000001, 0x8000000000000000], dtype="u8")


@pytest.mark.parametrize("dtype", ["?", "i1", "i8", "u8", "f2", "f4", "f8", "c16", "S3", "U5"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0, 3), (2, 3)])
def test_arrays_come_back_bit_for_bit(tmp_path, dtype, shape):
    draw = np.random.default_rng(1).integers(0, 2, shape)
    records = {
        "": {},
        "views": {
            "nan": PAYLOADS.view("f8"),
            "T": np.arange(6.0).reshape(2, 3).T,
            "e": np.arange(9)[::-3],
        },
        "ε/1": {"": np.asarray(draw).astype(dtype)},
    }
    write(tmp_path / "run", records)
    with open_checkpoint(tmp_path / "run", IDENTITY, resume=True) as checkpoint:
        for key, arrays in records.items():
            same(arrays, checkpoint.recall(key))
        assert checkpoint.recall("no such key") is None


def test_records_are_copied_replaced_and_forgotten(tmp_path):
    path, theta = tmp_path / "run", np.zeros(3)
    with open_checkpoint(path, IDENTITY, resume=False) as checkpoint:
        checkpoint.keep("pass", {"theta": theta})
        checkpoint.keep("walk", {"b": 1})
        theta += 1.0
        checkpoint.recall("pass")["theta"][:] = 7.0
        assert checkpoint.recall("pass")["theta"].tolist() == [0.0, 0.0, 0.0]
    with open_checkpoint(path, IDENTITY, resume=True) as checkpoint:
        assert checkpoint.recall("pass")["theta"].tolist() == [0.0, 0.0, 0.0]
        checkpoint.keep("pass", {"c": np.zeros(1)})
        checkpoint.forget("walk")
        checkpoint.forget("never kept")
    assert list(read(path)) == ["c"]
    assert read(path, "walk") is None


def test_it_is_written_when_it_is_time_and_has_changed(tmp_path, monkeypatch):
    clock, path = [100.0], tmp_path / "run"
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with open_checkpoint(path, IDENTITY, resume=False, every=10.0) as checkpoint:
        checkpoint.keep("pass", {"n": 1})
        assert not path.exists()
        for seconds, now, written in ((10.0, False, True), (9.0, False, False), (0.0, True, True)):
            clock[0] += seconds
            before = path.read_bytes() if path.exists() else None
            checkpoint.keep("pass", {"n": clock[0] + now}, now=now)
            assert (path.exists() and path.read_bytes() != before) is written
        checkpoint.keep("pass", {"n": 5})
    before = path.stat()
    assert read(path)["n"] == 5
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert beside(path) == ["run"]


# ---- how it is replaced


def test_permissions_links_and_long_names_are_kept(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    target, link = disk / ("ε" * 127), tmp_path / "run"
    write(target)
    target.chmod(0o640)
    link.symlink_to(target)
    # What killed runs left is removed, and what others have there is not.
    stem = f".{target.name[:50]}"
    others = [".run.x.partial", f"{stem}2.1.0123abcd.partial", "run.1.partial"]
    for name in (f"{stem}.1.0123abcd.partial", f"{stem}.{os.getpid()}.0123abcd.partial", *others):
        (disk / name).write_bytes(b"half")
    write(link, {"pass": {"n": np.array(7)}})
    assert link.is_symlink()
    assert target.stat().st_mode & 0o7777 == 0o640
    assert read(target)["n"] == 7
    assert beside(target) == sorted([target.name, *others])


def failing(error):
    def fail(*_):
        raise error

    return fail


MOMENTS = [(shutil, "copymode", 0), (os, "fsync", 0), (os, "replace", 0), (os, "replace", 1)]


@pytest.mark.parametrize(("module", "name", "after"), MOMENTS, ids=lambda v: str(v)[:9])
def test_killed_at_any_moment_of_a_write_the_old_or_the_new_stands(tmp_path, module, name, after):
    path, call = tmp_path / "run", getattr(module, name)
    write(path)
    child = os.fork()
    if child == 0:

        def killed(*arguments):
            if after:
                call(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, name, killed)
        write(path, {"pass": {"n": np.array(7)}})
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    same({"n": np.array(7)} if after else THETA["pass"], read(path))
    write(path)
    assert beside(path) == ["run"]


WRITER = """
import sys, numpy as np
sys.path.insert(0, sys.argv[3])
from sgdfit.checkpoint.checkpoint import open_checkpoint
size = int(sys.argv[2])
resume = sys.argv[4] == "yes"
with open_checkpoint(sys.argv[1], {"formula": "y = a*x"}, resume=resume) as checkpoint:
    kept = checkpoint.recall("pass")
    n = int(kept["n"]) if kept else 0
    print(n, flush=True)
    while True:
        n += 1
        checkpoint.keep("pass", {"n": n, "theta": np.full(size, float(n))})
        checkpoint.keep("walk", {"n": n}, now=True)
        print(n, flush=True)
"""
WRITERS = {"formula": "y = a*x"}


def writer(path, size, resume):
    source = Path(sgdfit.__file__).parents[1]
    arguments = [str(path), str(size), str(source), "yes" if resume else "no"]
    command = [sys.executable, "-c", WRITER, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_two_runs_on_one_file_the_last_write_stands_whole(tmp_path):
    path = tmp_path / "run"
    runs = [writer(path, 200_000, resume=False)]
    runs[0].stdout.readline()
    runs[0].stdout.readline()
    runs.append(writer(path, 200_000, resume=True))
    for _ in range(10):
        for run in runs:
            run.stdout.readline()
        theta = read(path, identity=WRITERS)["theta"]
        assert len(theta) == 200_000
        assert (theta == theta[0]).all()
    for run in runs:
        run.kill()
        run.communicate()


# ---- a disk that is full, or fails


CURES = {
    errno.ENOSPC: "free some space",
    errno.EIO: "name a file on another disk",
    errno.EROFS: "name a file on a disk that can be written",
    errno.EACCES: "name a file in a folder that you may write",
}


@pytest.mark.parametrize("number", CURES)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_errors_of_the_disk(tmp_path, monkeypatch, step, number):
    path, said = tmp_path / "run", []
    write(path)
    before = path.read_bytes()
    checkpoint = open_checkpoint(path, IDENTITY, resume=True, announce=said.append)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing(OSError(number, os.strerror(number))))
        checkpoint.keep("pass", {"theta": np.ones(9)}, now=True)
        checkpoint.keep("pass", {"theta": np.ones(8)}, now=True)
        assert path.read_bytes() == before
        with pytest.raises(CheckpointError, match=CURES[number]):
            checkpoint.flush()
        patch.setattr(os, step, failing(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            checkpoint.flush()
        assert path.read_bytes() == before
    assert beside(path) == ["run"]
    assert len(said) == 1
    assert os.strerror(number) in said[0]
    assert CURES[number] in said[0]


def test_folders_that_are_not_there_go_away_or_may_not_be_written(tmp_path):
    folder, said = tmp_path / "folder", []
    assert "create its folder first" in refusal(folder / "run", resume=False)
    (tmp_path / "file").write_text("")
    assert "name a file in a folder" in refusal(tmp_path / "file" / "run", resume=False)
    folder.mkdir()
    checkpoint = open_checkpoint(folder / "run", IDENTITY, resume=False, announce=said.append)
    folder.rmdir()
    checkpoint.keep("pass", {"n": 1}, now=True)
    assert "No such file or directory; create its folder first" in said[0]
    folder.mkdir()
    checkpoint.flush()
    assert read(folder / "run")["n"] == 1
    reachable(tmp_path)
    folder.chmod(0o555)
    with as_nobody():
        text = refusal(folder / "other", resume=False)
    assert "Permission denied; name a file in a folder that you may write" in text


# ---- files that are refused


def made_by_hand(path, **changes):
    pickled = changes.pop("pickled", False)
    facts = {"version": 4, "identity": IDENTITY, "finished": False, "records": {}, **changes}
    text, content = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8), io.BytesIO()
    np.savez(content, **{"sgdfit checkpoint": text.astype(object) if pickled else text})
    path.write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())


@pytest.mark.parametrize(
    ("changes", "resume", "words"),
    [
        ({"records": 3}, True, "the file is damaged"),
        ({"records": {"pass": {"theta": "7"}}}, True, "the file is damaged"),
        ({"version": "two"}, True, "the file is damaged"),
        ({"pickled": True}, True, "the file is damaged"),
        ({"version": 7}, True, "another sgdfit (format version 7, this one reads 4); go on with"),
        # It may be of a run of days, and this version cannot tell.
        ({"version": 7}, False, "another sgdfit (format version 7, this one reads 4); go on with"),
        ({"identity": {"formula": "y = " + "a*x + " * 99}}, False, "a*x + a*x …' (written 20"),
    ],
)
def test_a_header_made_by_hand(tmp_path, changes, resume, words):
    made_by_hand(tmp_path / "run", **changes)
    assert words in refusal(tmp_path / "run", resume=resume)


def test_damage_is_refused(tmp_path):
    path = tmp_path / "run"
    write(path)
    content, whole = path.read_bytes(), read(path)
    cut = [content[: len(content) * k // 7] for k in range(1, 7)]
    for other in (*cut, content[:-1], content + b"\0", content + b"\n"):
        path.write_bytes(other)
        assert "the file is damaged" in refusal(path)
    for position in range(60, len(content), 7):
        flipped = bytes([content[position] ^ 0x10])
        path.write_bytes(content[:position] + flipped + content[position + 1 :])
        assert "the file is damaged" in refusal(path)
    path.write_bytes(content[:-9])
    write(path)  # a damaged checkpoint is a checkpoint still
    same(whole, read(path))


def archive():
    content = io.BytesIO()
    np.savez(content, x=np.ones(3))
    return content.getvalue()


@pytest.mark.parametrize("content", [b"x,y\n1,2\n", b"s", archive()])
def test_a_file_of_someone_else_is_left_alone(tmp_path, content):
    path = tmp_path / "data.csv"
    checkpoint = open_checkpoint(path, IDENTITY, resume=False)
    path.write_bytes(content)
    assert refusal(path).endswith("the file is no checkpoint of sgdfit; check its name")
    assert "is not written over" in refusal(path, resume=False)
    checkpoint.keep("pass", {"n": 1})  # one that comes during the run
    with pytest.raises(CheckpointError, match="is not written over"):
        checkpoint.flush()
    assert path.read_bytes() == content
    assert beside(path) == ["data.csv"]


@pytest.mark.parametrize("resume", [True, False])
def test_what_is_no_file_is_refused(tmp_path, resume):
    assert "is a folder" in refusal(tmp_path, resume=resume)
    os.mkfifo(tmp_path / "pipe")
    assert "is no regular file" in refusal(tmp_path / "pipe", resume=resume)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "symbolic links" in refusal(tmp_path / "loop", resume=resume)
    for name in ("", "a\0b"):
        with pytest.raises(UsageError, match="cannot name a checkpoint"):
            open_checkpoint(name, IDENTITY, resume=resume)


def test_there_is_nothing_to_resume(tmp_path):
    (tmp_path / "empty").touch()
    assert "the file is empty" in refusal(tmp_path / "empty")
    write(tmp_path / "empty")
    (tmp_path / "empty").unlink()
    for path in (tmp_path / "run", tmp_path / "none" / "run"):
        text = refusal(path)
        assert "there is no such file; check its name, or begin anew without resume" in text
    assert list(tmp_path.iterdir()) == []
