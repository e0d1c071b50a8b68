"""Generated source to a compiled module, kept on disk by its content.

A formula so compiles once per machine. Where the folder cannot be written, or what it holds is
damaged, the module is compiled in memory, for this process alone, and a `CacheWarning` says so.
``SGDFIT_CACHE_DIR`` names another folder.

Processes may compile the same module at once: each file is put in place whole, and ends with the
digest of the rest, since machine code of which a bit has changed may take the process down. A
module holds one function for one list of types, since Numba's index of several is not safe from
two who add to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
from llvmlite import binding  # type: ignore[import-untyped]
from numba.core.caching import IndexDataCacheFile

import sgdfit
from sgdfit.errors import CacheWarning

# The modules whose functions become part of the machine code.
INLINED = (
    "kernel/elementary",
    "kernel/instructions",
    "kernel/levenberg",
    "kernel/special",
    "formula/special",
    "optimizers/__init__",
)


DIGEST = hashlib.sha256().digest_size


class CheckedFiles(IndexDataCacheFile):  # type: ignore[misc]
    """Numba's files of one function, each with the digest of its bytes, which unpickling skips."""

    def _load_index(self) -> Any:
        self._check(self._index_path)
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        self._check(self._data_path(name))
        return super()._load_data(name)

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        with super()._open_for_write(filepath) as file:
            held = io.BytesIO()
            yield held
            file.write(held.getvalue() + hashlib.sha256(held.getvalue()).digest())

    def _check(self, path: str) -> None:
        """Refuse what is not what was written; what is missing Numba makes anew."""
        with contextlib.suppress(FileNotFoundError):
            content = Path(path).read_bytes()
            if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
                raise ValueError(f"{path} has changed")


def folder() -> Path:
    """Return the folder that compiled kernels are kept in."""
    given = os.environ.get("SGDFIT_CACHE_DIR")
    if given:
        return Path(given)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "sgdfit"


def function(source: str, name: str) -> Callable[..., Any]:
    """Return the function ``name`` of the module that ``source`` makes.

    Numba reads what it kept at the first call. If that fails (a file cut short by a full disk, a
    folder taken away), the files are dropped and the call is made in memory. A `CacheWarning`
    says so once, as it does where nothing can be kept.
    """
    module = load(source)
    chosen = getattr(module, name)

    def call(*arguments: Any) -> Any:
        nonlocal chosen
        try:
            return chosen(*arguments)
        except Exception as error:
            if not hasattr(module, "__file__") or chosen is not getattr(module, name):
                raise
            _forget(module.__name__)
            chosen = getattr(_in_memory(module.__name__, source), name)
            answer = chosen(*arguments)
            # Only now is it known that the fault was not in the call.
            _tell_of_damage(type(error).__name__)
            return answer

    return call


def load(source: str) -> ModuleType:
    """Return the module that ``source`` makes; a `CacheWarning` says once if it cannot be kept."""
    name = _name(source)
    try:
        spec = importlib.util.spec_from_file_location(name, _stored(name, source))
        assert spec is not None
        assert spec.loader is not None
        # Numba's cached code imports its module by name.
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for made in vars(module).values():
            files = getattr(getattr(made, "_cache", None), "_cache_file", None)
            if isinstance(files, IndexDataCacheFile):
                files.__class__ = CheckedFiles
    # Numba raises RuntimeError where it finds no folder to write to.
    except (OSError, RuntimeError) as error:
        sys.modules.pop(name, None)
        reason = getattr(error, "strerror", None) or str(error)
        _tell(
            f"compiled kernels cannot be kept in {folder()} ({reason}), so each process compiles"
            " them anew; set SGDFIT_CACHE_DIR to a folder of yours that can be written"
        )
        return _in_memory(name, source)
    return module


def _tell_of_damage(reason: str) -> None:
    _tell(
        f"a compiled kernel kept in {folder()} was damaged ({reason}) and has been made anew;"
        " nothing else is lost"
    )


@cache
def _tell(sentence: str) -> None:
    """Warn once: no line of source helps here, and without one the warning is a single line."""
    warnings.warn_explicit(sentence, CacheWarning, "sgdfit", 1)


def _name(source: str) -> str:
    """Name a module by all that its machine code depends on."""
    package = Path(sgdfit.__file__).parent
    used = [(package / f"{module}.py").read_text(encoding="utf-8") for module in INLINED]
    key = "\n".join(["checked", source, *used, sgdfit.__version__, numba.__version__, _processor()])
    return f"kernel_{hashlib.sha256(key.encode()).hexdigest()[:24]}"


@cache
def _processor() -> str:
    """Name the processor: a home may be shared by several machines."""
    return f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


def _stored(name: str, source: str) -> Path:
    """Write ``source`` where it does not stand yet; a reader never sees half a file."""
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and place.stat().st_uid != os.getuid():
        raise PermissionError(f"{place} belongs to someone else, whose code would be run")
    path = place / f"{name}.py"
    if path.exists():
        if path.read_bytes() == source.encode():
            return path
        _tell_of_damage("its source had been changed")
    handle, temporary = tempfile.mkstemp(dir=place, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(source)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _forget(name: str) -> None:
    """Drop what Numba kept of a module; a file that is gone or locked does not matter."""
    for path in folder().glob(f"__pycache__/{name}.*"):
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue


def _in_memory(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    text = source.replace("cache=True, ", "")
    exec(compile(text, f"<{name}>", "exec"), module.__dict__)
    return module
