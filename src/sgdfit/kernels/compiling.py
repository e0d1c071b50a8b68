"""Generated source to a compiled module, kept on disk by its content.

A formula so compiles once per machine. Where the folder cannot be written, or what it holds is
damaged, the module is compiled in memory, for this process alone. ``SGDFIT_CACHE_DIR`` names
another folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba

import sgdfit

__all__ = ["folder", "function", "load"]

# The modules here whose functions become part of the machine code.
INLINED = ("coefficients", "elementary", "instructions", "library", "prefetching")


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
    folder taken away), the files are dropped and the call is made in memory.
    """
    module = load(source)
    chosen = getattr(module, name)

    def call(*arguments: Any) -> Any:
        nonlocal chosen
        try:
            return chosen(*arguments)
        except Exception:
            if not hasattr(module, "__file__") or chosen is not getattr(module, name):
                raise
            _forget(module.__name__)
            chosen = getattr(_in_memory(module.__name__, source), name)
            return chosen(*arguments)

    return call


def load(source: str) -> ModuleType:
    """Return the module that ``source`` makes."""
    name = _name(source)
    try:
        path = _stored(name, source)
    except OSError:
        return _in_memory(name, source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Numba's cached code imports its module by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _name(source: str) -> str:
    """Name a module by all that its machine code depends on."""
    package = Path(sgdfit.__file__).parent
    used = [
        (package / f"{module}.py").read_text(encoding="utf-8")
        for module in ("optimization/updates", *(f"kernels/{name}" for name in INLINED))
    ]
    key = "\n".join([source, *used, sgdfit.__version__, numba.__version__])
    return f"kernel_{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def _stored(name: str, source: str) -> Path:
    """Write ``source`` where it does not stand yet; a reader never sees half a file."""
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and place.stat().st_uid != os.getuid():
        raise PermissionError(f"{place} belongs to someone else, whose code would be run")
    path = place / f"{name}.py"
    if path.exists() and path.read_bytes() == source.encode():
        return path
    handle, temporary = tempfile.mkstemp(dir=place, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(source)
    os.replace(temporary, path)
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
