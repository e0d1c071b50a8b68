"""Generated source to a compiled module, kept on disk by its content.

A formula so compiles once per machine. Where the folder cannot be written the module is compiled
in memory, for this process alone. ``SGDFIT_CACHE_DIR`` names another folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numba

import sgdfit

__all__ = ["folder", "load"]


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


def load(source: str) -> ModuleType:
    """Return the module that ``source`` makes."""
    updates = Path(sgdfit.__file__).with_name("updates.py").read_text(encoding="utf-8")
    key = "\n".join([source, updates, sgdfit.__version__, numba.__version__])
    name = f"kernel_{hashlib.sha256(key.encode()).hexdigest()[:24]}"
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


def _stored(name: str, source: str) -> Path:
    """Write ``source`` where it does not stand yet; a reader never sees half a file."""
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = place / f"{name}.py"
    if path.exists() and path.read_text(encoding="utf-8") == source:
        return path
    handle, temporary = tempfile.mkstemp(dir=place, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(source)
    os.replace(temporary, path)
    return path


def _in_memory(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    text = source.replace("cache=True, ", "")
    exec(compile(text, f"<{name}>", "exec"), module.__dict__)
    return module
