"""Checkpoints: arrays come back bit for bit, and no accident leaves half a file."""

import errno
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from permissions import reachable
from sgdfit.checkpoint.checkpoint import differences, open_checkpoint
from sgdfit.errors import CheckpointError, UsageError

IDENTITY = {"formula": "y = a*x", "data": "0f" * 16, "batch size": "64"}
DTYPES = ["?", "i1", "i8", "u2", "u8", "f2", "f4", "f8", "c8", "c16", "S3", "U5"]


def write(path, records=None, identity=IDENTITY, *, finished=True):
    with open_checkpoint(path, identity, resume=False) as journal:
        for key, arrays in (records or {"pass": {"theta": np.arange(5.0)}}).items():
            journal.keep(key, arrays)
        if finished:
            journal.finish()


def read(path, key="pass", identity=IDENTITY):
    with open_checkpoint(path, identity, resume=True) as journal:
        return journal.recall(key)


def refusal(path, *, resume=True, identity=IDENTITY):
    """Return the one sentence with which a file is refused."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path, identity, resume=resume)
    text = str(caught.value)
    assert repr(str(path)) in text
    assert "\n" not in text
    assert len(text) < 400
    return text


def beside(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def same(kept, found):
    assert list(kept) == list(found)
    for name, array in kept.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        assert found[name].astype(array.dtype).tobytes() == array.tobytes()


# ---- what is kept comes back

SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays_of.arrays(
        np.dtype(dtype), SHAPES, elements={"allow_subnormal": True} if dtype[0] in "fc" else None
    )
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=8), st.dictionaries(st.text(max_size=8), ARRAYS, max_size=3), max_size=3
    )
)
def test_arrays_come_back_bit_for_bit(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("round") / "run"
    write(path, {"first": {}, **records})
    with open_checkpoint(path, IDENTITY, resume=True) as journal:
        for key, arrays in records.items():
            same(arrays, journal.recall(key))
        assert journal.recall("no such key") is None


PAYLOAD = np.array([0x7FF8DEADBEEF0001, 0xFFF0000000000001, 0x8000000000000000], dtype="u8")


@pytest.mark.parametrize(
    "array",
    [
        PAYLOAD.view("f8"),
        np.array([np.inf, -np.inf, 5e-324]),
        np.float64(2.5),
        np.array(True),
        np.array([2**63 - 1, -(2**63)]),
        np.empty((3, 0, 2)),
        np.arange(12.0).reshape(3, 4).T,
        np.arange(20)[::-3],
        np.array("any text, ε"),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_edges_come_back_bit_for_bit(tmp_path, array):
    write(tmp_path / "run", {"pass": {"it": array}})
    same({"it": np.asarray(array)}, read(tmp_path / "run"))


def test_what_is_kept_and_recalled_is_a_copy(tmp_path):
    theta = np.zeros(3)
    with open_checkpoint(tmp_path / "run", IDENTITY, resume=False) as journal:
        journal.keep("pass", {"theta": theta})
        theta += 1.0
        journal.recall("pass")["theta"][:] = 7.0
        assert journal.recall("pass")["theta"].tolist() == [0.0, 0.0, 0.0]
    assert read(tmp_path / "run")["theta"].tolist() == [0.0, 0.0, 0.0]


def test_a_key_is_replaced_and_forgotten(tmp_path):
    path = tmp_path / "run"
    write(path, {"pass": {"a": np.ones(2)}, "walk": {"b": np.ones(1)}})
    with open_checkpoint(path, IDENTITY, resume=True) as journal:
        journal.keep("pass", {"c": np.zeros(1)})
        journal.forget("walk")
        journal.forget("never kept")
    assert list(read(path)) == ["c"]
    assert read(path, "walk") is None


def test_no_path_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_checkpoint(None, IDENTITY, resume=False) as journal:
        journal.keep("pass", {"theta": np.ones(1)}, now=True)
        journal.flush()
        assert journal.recall("pass") is None
    assert list(tmp_path.iterdir()) == []


# ---- when it is written


def test_it_is_written_when_it_is_time(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    path = tmp_path / "run"
    with open_checkpoint(path, IDENTITY, resume=False, every=10.0) as journal:
        journal.keep("pass", {"n": np.array(1)})
        assert not path.exists()
        clock[0] += 10.0
        journal.keep("pass", {"n": np.array(2)})
        assert path.exists()
        written = path.read_bytes()
        clock[0] += 9.0
        journal.keep("pass", {"n": np.array(3)})
        assert path.read_bytes() == written
        journal.keep("pass", {"n": np.array(4)}, now=True)
        assert path.read_bytes() != written
        journal.keep("pass", {"n": np.array(5)})
    assert read(path)["n"] == 5
    assert beside(path) == ["run"]


def test_a_file_that_has_not_changed_is_not_written_again(tmp_path):
    path = tmp_path / "run"
    write(path)
    before = path.stat().st_ino, path.stat().st_mtime_ns
    read(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before


def test_what_is_known_is_written_when_the_run_is_ended_by_an_error(tmp_path):
    def run():
        with open_checkpoint(tmp_path / "run", IDENTITY, resume=False) as journal:
            journal.keep("pass", {"n": np.array(1)})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert read(tmp_path / "run")["n"] == 1


# ---- how it is replaced


def test_permissions_are_kept(tmp_path):
    path = tmp_path / "run"
    write(path)
    path.chmod(0o640)
    write(path)
    assert path.stat().st_mode & 0o7777 == 0o640


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    link, target = tmp_path / "run", tmp_path / "disk" / "real"
    link.symlink_to(target)
    write(link)
    write(link)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert read(link)["theta"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert beside(target) == ["real"]


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("ε" * 127)
    write(path)
    assert len(read(path)["theta"]) == 5
    assert beside(path) == [path.name]


def test_what_killed_runs_left_is_removed(tmp_path):
    path = tmp_path / "run"
    ours = [f".run.{number}.0123abcd.partial" for number in (1, 999999, os.getpid())]
    others = [".run.x.partial", ".run2.1.0123abcd.partial", "run.1.partial"]
    for name in (*ours, *others):
        (tmp_path / name).write_bytes(b"half")
    write(path)
    assert beside(path) == sorted(["run", *others])


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupt_during_the_write_leaves_what_stood_there(tmp_path, monkeypatch, step, error):
    path = tmp_path / "run"
    write(path)
    before = path.read_bytes()
    journal = open_checkpoint(path, IDENTITY, resume=True)
    with monkeypatch.context() as patch:

        def interrupted(*_):
            raise error

        patch.setattr(os, step, interrupted)
        with pytest.raises(error):
            journal.keep("pass", {"theta": np.ones(9)}, now=True)
        assert path.read_bytes() == before
        assert beside(path) == ["run"]
    journal.flush()
    assert len(read(path)["theta"]) == 9


# ---- killed

WRITER = """
import sys, numpy as np
sys.path.insert(0, sys.argv[3])
from sgdfit.checkpoint.checkpoint import open_checkpoint
size = int(sys.argv[2])
with open_checkpoint(sys.argv[1], {"formula": "y = a*x"}, resume=sys.argv[4] == "yes") as journal:
    kept = journal.recall("pass")
    n = int(kept["n"]) if kept else 0
    print(n, flush=True)
    while True:
        n += 1
        journal.keep("pass", {"n": n, "theta": np.full(size, float(n))})
        journal.keep("walk", {"n": n}, now=True)
        print(n, flush=True)
"""


def source():
    import sgdfit

    return os.path.dirname(os.path.dirname(sgdfit.__file__))


def writer(path, size, resume):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(size), source(), "yes" if resume else "no"],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_run_that_is_killed_leaves_a_whole_file(tmp_path):
    path = tmp_path / "run"
    draw = random.Random(20)
    during, last = 0, 0
    for attempt in range(20):
        # 4 MB: nearly all of the time goes into writing.
        process = writer(path, 500_000, resume=attempt > 0)
        assert int(process.stdout.readline()) >= last
        confirmed = int(process.stdout.readline())
        time.sleep(draw.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        confirmed = max([confirmed, *map(int, rest.split("\n")[:-1])])
        during += any(name.endswith(".partial") for name in beside(path))
        with open_checkpoint(path, {"formula": "y = a*x"}, resume=True) as journal:
            kept, walk = journal.recall("pass"), journal.recall("walk")
        last = int(kept["n"])
        assert last in (confirmed, confirmed + 1)
        assert kept["theta"].shape == (500_000,)
        assert (kept["theta"] == last).all()
        assert walk["n"] == last
        assert beside(path) == ["run"]
    assert during >= 5  # that many were killed amid a write


# ---- a disk that is full, or fails


def limited(body, size):
    """Run a test's body where no file may grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        body()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill(path, said):
    """Keep what has room, then what has not, then what has again."""
    with open_checkpoint(path, IDENTITY, resume=False, announce=said.append) as journal:
        journal.keep("pass", {"theta": np.ones(10)}, now=True)
        assert said == []
        before = path.read_bytes()
        journal.keep("pass", {"theta": np.ones(500_000)}, now=True)
        journal.keep("pass", {"theta": np.ones(500_001)}, now=True)
        assert len(said) == 1
        assert path.read_bytes() == before
        assert beside(path) == ["run"]
        with pytest.raises(CheckpointError, match="the previous one is intact"):
            journal.flush()
        journal.keep("pass", {"theta": np.ones(7)}, now=True)
    assert len(read(path)["theta"]) == 7


def test_a_limit_on_the_size_of_files(tmp_path):
    said = []
    limited(lambda: fill(tmp_path / "run", said), 1_000_000)
    assert "File too large; the previous one is intact; raise the limit" in said[0]
    assert "the run goes on, and writing is tried again" in said[0]


def test_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("a disk of its own can only be mounted by root")
    said = []
    try:
        fill(disk / "run", said)
        assert "No space left on device; the previous one is intact; free some space" in said[0]
        (disk / "much").write_bytes(bytes(1 << 20)[: os.statvfs(disk).f_bavail * 4096])
        assert "No space left on device" in refusal(disk / "new", resume=False)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EIO, "name a file on another disk"),
        (errno.EROFS, "name a file on a disk that can be written"),
        (errno.EACCES, "name a file in a folder that you may write"),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_errors_of_the_disk(tmp_path, monkeypatch, step, number, cure):
    path = tmp_path / "run"
    write(path)
    before = path.read_bytes()
    said = []
    journal = open_checkpoint(path, IDENTITY, resume=True, announce=said.append)

    def failing(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing)
        journal.keep("pass", {"theta": np.ones(9)}, now=True)
        journal.keep("pass", {"theta": np.ones(8)}, now=True)
        assert path.read_bytes() == before
        assert beside(path) == ["run"]
        with pytest.raises(CheckpointError, match=cure):
            journal.flush()
    assert beside(path) == ["run"]
    assert len(said) == 1
    assert os.strerror(number) in said[0]
    assert cure in said[0]


def test_the_last_write_fails_while_an_error_ends_the_run(tmp_path, monkeypatch):
    said = []

    def failing(*_):
        raise OSError(errno.EIO, "Input/output error")

    def run(path):
        with open_checkpoint(path, IDENTITY, resume=False, announce=said.append) as journal:
            monkeypatch.setattr(os, "fsync", failing)
            journal.keep("pass", {"n": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "run")
    assert len(said) == 1
    assert "Input/output error" in said[0]


def test_the_last_write_fails_after_a_run_that_went_well(tmp_path, monkeypatch):
    """Its result is worth more than its checkpoint; without anybody to tell it is an error."""
    said = []

    def failing(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", failing)
    with open_checkpoint(tmp_path / "run", IDENTITY, resume=False, announce=said.append) as journal:
        journal.keep("pass", {"n": 1})
    assert len(said) == 1
    assert "No space left on device; free some space" in said[0]
    with (
        pytest.raises(CheckpointError, match="No space left on device"),
        open_checkpoint(tmp_path / "run", IDENTITY, resume=False) as journal,
    ):
        journal.keep("pass", {"n": 1})
    assert beside(tmp_path / "run") == []


def test_a_folder_that_goes_away(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    said = []
    journal = open_checkpoint(folder / "run", IDENTITY, resume=False, announce=said.append)
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()
    journal.keep("pass", {"n": 1}, now=True)
    assert "No such file or directory; create its folder first" in said[0]
    folder.mkdir()
    journal.keep("pass", {"n": 2}, now=True)
    journal.flush()
    assert read(folder / "run")["n"] == 2


def test_a_folder_that_is_not_there(tmp_path):
    assert "create its folder first" in refusal(tmp_path / "none" / "run", resume=False)
    (tmp_path / "file").write_text("")
    assert "name a file in a folder" in refusal(tmp_path / "file" / "run", resume=False)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permission bits")
def test_a_folder_that_may_not_be_written(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    reachable(tmp_path)
    folder.chmod(0o555)
    script = (
        f"import os, sys; sys.path.insert(0, {source()!r})\n"
        "from sgdfit.checkpoint.checkpoint import open_checkpoint\n"
        "os.geteuid() == 0 and os.setuid(65534)\n"
        "try: open_checkpoint(sys.argv[1], {}, resume=False)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    # Root may write anywhere; the script gives that up.
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder / "run")], capture_output=True, text=True
    )
    assert done.stdout.startswith("CheckpointError")
    assert "Permission denied" in done.stdout
    assert "name a file in a folder that you may write" in done.stdout


# ---- runs that are not finished


STARTED = {"pass": {"theta": np.arange(5.0), "rows": np.array(40)}}


def test_an_unfinished_run_is_not_written_over(tmp_path):
    path = tmp_path / "run"
    write(path, STARTED, finished=False)
    before, stamp = path.read_bytes(), time.strftime("%Y-%m-%d %H:%M")
    said = []
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(
            path, {"formula": "y = b"}, resume=False, how_far=lambda kept: _far(said, kept)
        )
    assert said == [["pass"]]
    text = str(caught.value)
    assert f"{str(path)!r} holds an unfinished run of 'y = a*x' (written {stamp[:10]} " in text
    assert ", 40 rows); go on with that by resume=True (--resume on the command line)" in text
    assert text.endswith("or remove the file or name another")
    assert path.read_bytes() == before
    assert beside(path) == ["run"]
    assert read(path)["rows"] == 40  # which it may be resumed from


def _far(said, kept):
    said.append(list(kept))
    return f"{int(kept['pass']['rows'])} rows"


def test_a_run_is_unfinished_until_it_says_otherwise(tmp_path):
    path = tmp_path / "run"
    journal = open_checkpoint(path, IDENTITY, resume=False)
    journal.keep("pass", {"n": 1}, now=True)
    held = path.read_bytes()
    journal.finish()
    assert path.read_bytes() == held  # it is written with what is kept next, or at the end
    journal.flush()
    write(path, finished=False)
    assert "holds an unfinished run" in refusal(path, resume=False)
    with open_checkpoint(path, IDENTITY, resume=True) as journal:
        journal.finish()
    write(path)


def test_a_finished_run_that_is_resumed_stays_finished(tmp_path):
    path = tmp_path / "run"
    write(path)
    with open_checkpoint(path, IDENTITY, resume=True) as journal:
        journal.keep("more", {"n": 1}, now=True)
    write(path, {"pass": {"n": 2}})
    assert read(path)["n"] == 2


@pytest.mark.parametrize("written", [1e300, float("nan"), float("inf"), -1e18])
def test_a_time_made_by_hand_is_left_out(tmp_path, written):
    identity = {"formula": "y = " + "a*x + " * 99}
    made_by_hand(tmp_path / "run", identity=identity, written=written)
    text = refusal(tmp_path / "run", resume=False)
    assert "holds an unfinished run of 'y = a*x + a*x" in text
    assert "…'; go on with that" in text
    assert "written" not in text


# ---- files that are refused


def test_damage_is_refused(tmp_path):
    path = tmp_path / "run"
    write(path)
    content, whole = path.read_bytes(), read(path)
    for size in [*(len(content) * k // 7 for k in range(1, 7)), len(content) - 1]:
        path.write_bytes(content[:size])
        assert "the file is damaged" in refusal(path)
        assert path.read_bytes() == content[:size]
    refused = 0
    for position in range(60, len(content), 5):
        flipped = bytes([content[position] ^ 0x10])
        path.write_bytes(content[:position] + flipped + content[position + 1 :])
        try:
            found = read(path)
        except CheckpointError as error:
            refused += "the file is damaged" in str(error)
        else:
            same(whole, found)  # what was hit is no part of the content
    assert refused > 100
    path.write_bytes(content[:-9])
    write(path)  # a damaged checkpoint is a checkpoint still
    same(whole, read(path))


def made_by_hand(path, **changes):
    facts = {"version": 2, "identity": IDENTITY, "finished": False, "records": {}, **changes}
    text = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    with open(path, "wb") as file:
        np.savez(file, **{"sgdfit checkpoint": text})


@pytest.mark.parametrize(
    "changes",
    [
        {"records": 3},
        {"records": {"pass": {"theta": "7"}}},
        {"identity": 3},
        {"version": "two"},
        {"written": "today"},
        {"written": 10**400},
    ],
)
def test_a_header_made_by_hand_is_refused(tmp_path, changes):
    made_by_hand(tmp_path / "run", **changes)
    assert "the file is damaged" in refusal(tmp_path / "run")


def test_no_pickle_is_read(tmp_path):
    text = np.array([json.dumps({})], dtype=object)
    with open(tmp_path / "run", "wb") as file:
        np.savez(file, **{"sgdfit checkpoint": text})
    assert "the file is damaged" in refusal(tmp_path / "run")


def test_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "run"
    made_by_hand(path, version=7, records="of another kind")
    before = path.read_bytes()
    text = refusal(path)
    assert "newer sgdfit (format version 7, this one reads up to 2); update sgdfit" in text
    # It may be of a run of days, and this version cannot tell.
    text = refusal(path, resume=False)
    assert "may hold an unfinished run: it was written by a newer sgdfit (format version 7" in text
    assert text.endswith("remove the file or name another")
    assert path.read_bytes() == before
    assert beside(path) == ["run"]


def archive():
    content = io.BytesIO()
    np.savez(content, x=np.ones(3))
    return content.getvalue()


@pytest.mark.parametrize("content", [b"x,y\n1,2\n", b"\x89PNG\r\n\x1a\n", b"{}", b"s", archive()])
@pytest.mark.parametrize("resume", [True, False])
def test_a_file_of_someone_else_is_left_alone(tmp_path, content, resume):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    assert "no checkpoint of sgdfit" in refusal(path, resume=resume)
    assert path.read_bytes() == content
    assert beside(path) == ["data.csv"]


def test_a_file_of_someone_else_that_comes_during_the_run_is_left_alone(tmp_path):
    path = tmp_path / "run"
    journal = open_checkpoint(path, IDENTITY, resume=False)
    path.write_bytes(b"x,y\n")
    journal.keep("pass", {"n": 1})
    with pytest.raises(CheckpointError, match="is not written over"):
        journal.flush()
    assert path.read_bytes() == b"x,y\n"
    assert beside(path) == ["run"]


def test_a_file_of_someone_else_is_not_said_to_be_written_over(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"x,y\n")
    assert refusal(path).endswith("the file is no checkpoint of sgdfit; check its name")


def test_an_empty_file_is_replaced_but_not_resumed(tmp_path):
    path = tmp_path / "run"
    path.touch()
    assert "the file is empty" in refusal(path)
    write(path)
    assert len(read(path)["theta"]) == 5


@pytest.mark.parametrize("resume", [True, False])
def test_what_is_no_file_is_refused(tmp_path, resume):
    assert "is a folder" in refusal(tmp_path, resume=resume)
    os.mkfifo(tmp_path / "pipe")
    assert "is no regular file" in refusal(tmp_path / "pipe", resume=resume)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "symbolic links" in refusal(tmp_path / "loop", resume=resume)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_that_no_file_can_have(name):
    with pytest.raises(UsageError, match="cannot name a checkpoint"):
        open_checkpoint(name, IDENTITY, resume=False)


def test_there_is_nothing_to_resume(tmp_path):
    text = refusal(tmp_path / "run")
    assert "there is no such file; check its name, or begin anew without resume" in text
    assert list(tmp_path.iterdir()) == []
    assert "there is no such file" in refusal(tmp_path / "none" / "run")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"formula": "y = b"}, "is of the formula 'y = a*x', this run of 'y = b'; run it with"),
        ({"data": "1f" * 16}, "is of other data, or of other rows of them; run it with"),
        (
            {"data": "1f" * 16, "batch size": "128"},
            "is of other data, or of other rows of them;"
            " of the batch size '64', this run of '128'; run it with",
        ),
        ({"seed": "3"}, "is of no seed, this run of seed '3'; run it with"),
    ],
)
def test_another_run_is_refused_with_every_difference(tmp_path, change, words):
    path = tmp_path / "run"
    write(path)
    before = path.read_bytes()
    text = refusal(path, identity={**IDENTITY, **change})
    assert f"the checkpoint {words}" in text
    assert text.endswith(" the same, or begin anew without resume")
    assert path.read_bytes() == before
    write(path, identity={**IDENTITY, **change})  # without resume it is replaced
    assert read(path, identity={**IDENTITY, **change}) is not None


def test_another_run_is_not_told_to_begin_where_one_is_unfinished(tmp_path):
    write(tmp_path / "run", finished=False)
    text = refusal(tmp_path / "run", identity={**IDENTITY, "seed": "3"})
    assert text.endswith("run it with the same, or name another file")


@pytest.mark.parametrize(
    ("kept", "run", "words"),
    [
        ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, []),
        ({"seed": "3"}, {}, ["of the seed '3', this run of none"]),
        ({"data": "ab" * 8}, {}, ["of the data, this run of none"]),
        ({}, {"data": "sha256:" + "ab" * 8}, ["of no data, this run of data"]),
        ({"options": "x" * 300}, {"options": "y"}, ["of other options"]),
    ],
)
def test_differences_in_words(kept, run, words):
    assert differences(kept, run) == words


# ---- two runs at once


def test_of_two_runs_on_one_file_the_last_write_stands_whole(tmp_path):
    path = tmp_path / "run"
    runs = [writer(path, 200_000, resume=False)]
    runs[0].stdout.readline()
    runs[0].stdout.readline()
    runs.append(writer(path, 200_000, resume=True))
    for _ in range(20):
        for run in runs:
            run.stdout.readline()
        theta = read(path, identity={"formula": "y = a*x"})["theta"]
        assert len(theta) == 200_000
        assert (theta == theta[0]).all()
    for run in runs:
        run.kill()
        run.communicate()
