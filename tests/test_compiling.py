"""Compiled kernels on disk: used again, healed when damaged, done without when impossible."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.special

from sgdfit.errors import CacheWarning
from sgdfit.kernel import compiled_kernel, compiling
from sgdfit.kernel.compiling import folder, function, load
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.templates import sweep_source
from sgdfit.model.model import build
from sgdfit.optimizers import adam, sgd

SOURCE = """\
from numba import njit


@njit(cache=True, error_model="numpy")
def double(x):
    return 2.0*x
"""
# Prints the answer and how often the compiled code was found on disk and how often it was not.
PROGRAM = """
import sys
from sgdfit.kernel.compiling import load
made = load(sys.stdin.read()).double
answer = made(21.0)
found = made.stats if hasattr(made, "stats") else None
print(answer, sum(found.cache_hits.values()), sum(found.cache_misses.values()))
"""


def start(place):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"SGDFIT_CACHE_DIR": str(place)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Return what the program printed."""
    out, err = process.communicate(SOURCE, timeout=120)
    assert (process.returncode, err) == (0, "")
    return tuple(map(float, out.split()))


def test_what_calls_scipy_is_kept_for_processes_where_it_lies_elsewhere(place):
    source = SOURCE.replace("njit\n", "njit\nfrom sgdfit.kernel import special\n", 1)
    source = source.replace("2.0*x", "special.j0(x)")
    look = "from scipy.special import cython_special as c\nprint(id(c.__pyx_capi__['j0']))"
    done = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM + look],
            env=os.environ | {"SGDFIT_CACHE_DIR": str(place)},
            input=source, capture_output=True, text=True, check=True, timeout=120,
        ).stdout.split()
        for _ in range(2)
    ]  # fmt: skip
    answers, hits, _, places = zip(*done, strict=True)
    assert len(set(places)) > 1
    assert list(map(float, answers)) == pytest.approx([scipy.special.j0(21.0)] * 2, rel=1e-15)
    assert hits == ("0", "1")


@pytest.fixture(autouse=True)
def nothing_told_yet():
    compiling._tell.cache_clear()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SGDFIT_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept"


def doubled():
    """Return 42, and how often the compiled code was found on disk and how often it was not."""
    double = load(SOURCE).double
    answer, found = double(21.0), double.stats
    return answer, sum(found.cache_hits.values()), sum(found.cache_misses.values())


def kept(place, ending):
    return sorted(place.glob(f"__pycache__/*.{ending}"))


def test_processes_find_what_others_compiled_and_do_not_disturb_each_other(place, monkeypatch):
    together = [start(place) for _ in range(3)]
    assert {finish(process)[0] for process in together} == {42.0}
    assert finish(start(place)) == (42.0, 1, 0)
    assert len(kept(place, "nbi")) == len(kept(place, "nbc")) == 1
    assert [path.suffix for path in place.iterdir() if path.is_file()] == [".py"]
    assert place.stat().st_mode & 0o077 == 0
    # Another version, another module; and a mistake in the source is still reported.
    name = load(SOURCE).__name__
    monkeypatch.setattr("sgdfit.__version__", "0.0.other")
    assert load(SOURCE).__name__ != name
    with pytest.raises(Exception, match="nothing"):
        function(SOURCE.replace("2.0*x", "x.nothing"), "double")(21.0)


@pytest.mark.skipif(sys.platform == "win32", reason="the paths of Unix")
def test_where_the_folder_stands_by_default(monkeypatch):
    monkeypatch.delenv("SGDFIT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr(sys, "platform", "linux")
    assert folder() == Path("/somewhere/sgdfit")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert folder() == Path("/home/me/.cache/sgdfit")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert folder() == Path("/home/me/Library/Caches/sgdfit")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert folder() == Path("/local/sgdfit")


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SGDFIT_CACHE_DIR", str(tmp_path / "file"))
    sentence = r"cannot be kept in .*file \(.*\), so .* set SGDFIT_CACHE_DIR to a folder"
    with pytest.warns(CacheWarning, match=sentence) as told:
        doubles = (load(SOURCE).double, function(SOURCE, "double"))
    assert [double(21.0) for double in doubles] == [42.0, 42.0]
    assert len(told) == 1
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners of Unix")
def test_code_of_someone_else_is_not_run(place, monkeypatch):
    place.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: place.stat().st_uid + 1)
    with pytest.warns(CacheWarning, match="belongs to someone else"):
        assert load(SOURCE).double(21.0) == 42.0
    assert list(place.iterdir()) == []


def test_a_damaged_source_is_written_anew(place):
    doubled()
    (path,) = place.glob("*.py")
    path.write_text("raise RuntimeError")
    with pytest.warns(CacheWarning, match="its source had been changed"):
        assert doubled()[0] == 42.0
    assert path.read_text() == SOURCE


@pytest.mark.parametrize(("ending", "share"), [("nbi", 0.5), ("nbc", 0.97), ("nbc", "cut")])
def test_damaged_machine_code_is_compiled_anew(place, ending, share):
    """Cut short, or a bit of it turned, which could take the process down."""
    doubled()
    (path,) = kept(place, ending)
    content = bytearray(path.read_bytes())
    if share == "cut":
        del content[200:]
    else:
        content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    call = function(SOURCE, "double")
    with pytest.warns(
        CacheWarning, match=r"kept in .* was damaged \(\w+\) and has been made"
    ) as told:
        assert [call(21.0), call(1.5)] == [42.0, 3.0]
    assert len(told) == 1
    assert not path.exists()
    assert doubled() == (42.0, 0, 1)
    assert doubled() == (42.0, 1, 0)


def test_a_kernel_sums_the_same_without_a_folder(place, tmp_path, monkeypatch):
    """Once kept on disk and once not; each list of column types is a module of its own."""
    x = np.linspace(0.0, 1.0, 50)
    made = make(build("y = a*exp(x)", ["x", "y"]), sgd(), "compiled")
    chunks = [Chunk((x.astype(t), x.astype(t)), None) for t in (np.float64, np.float32)]
    kept_on_disk = [made.sums(np.ones(1), chunk) for chunk in chunks]
    assert len(list(place.glob("*.py"))) == len(kept(place, "nbi")) == len(kept(place, "nbc")) == 2
    monkeypatch.setenv("SGDFIT_CACHE_DIR", os.devnull)
    compiled_kernel._function.cache_clear()
    with pytest.warns(CacheWarning, match=os.devnull):
        assert [made.sums(np.ones(1), chunk) for chunk in chunks] == kept_on_disk
    compiled_kernel._function.cache_clear()


def test_the_source_of_a_sweep_holds_generated_names_alone():
    """Whatever columns and parameters are called, their names stay out of the text."""
    model = build(
        "`y'); import os #` = `__import__`*exp(-`eval`*`{os}`*`eval(1)`) + `ñandú`*`\N{SNAKE}`",
        ["y'); import os #", "{os}", "eval(1)", "\N{SNAKE}"],
    )
    plain = build("y = a*exp(-b*x*z) + c*w", ["y", "x", "z", "w"])
    words, expected = (
        set(re.findall(r"[^\W\d]\w*", sweep_source(m, True, "libm", adam(), single=True)))
        for m in (model, plain)
    )
    assert words == expected


FULL = OSError(errno.ENOSPC, "No space left on device")
INDEX = "numba.core.caching.IndexDataCacheFile"


@pytest.mark.parametrize(
    ("step", "error", "sentence"),
    [
        ("tempfile.mkstemp", FULL, r"\(No space left on device\), so each process compiles"),
        ("os.replace", FULL, r"\(No space left on device\), so each process compiles"),
        (f"{INDEX}._save_index", FULL, "OSError"),
        (f"{INDEX}._load_index", PermissionError("closed"), "PermissionError"),
    ],
)
def test_what_cannot_be_kept_is_used_all_the_same(place, monkeypatch, step, error, sentence):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(step, fail)
    with pytest.warns(CacheWarning, match=sentence):
        assert [function(SOURCE, "double")(x) for x in (21.0, 1.5)] == [42.0, 3.0]
    assert step.startswith(INDEX) or list(place.iterdir()) == []
