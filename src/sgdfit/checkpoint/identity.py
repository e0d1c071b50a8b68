"""What a function does, as a text that is the same in the next process and differs where it does.

A function is told by its code and by all that this refers to: constants, defaults, the closure, the
values of global names, other functions and the state of objects among them. What comes with Python
or is installed is told by its name.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

import numpy as np

from sgdfit.errors import UsageError

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), range, np.dtype)
INSTALLED = tuple(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib"))
ALIKE = (tuple, list, dict, MappingProxyType, CodeType)
LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
# What a class has besides what its writer gave it.
MADE = {"__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "_abc_impl"}


def behaviour(function: Any, what: str) -> str:
    """Return a digest of what a function does; ``what`` names it in messages.

    Raises
    ------
    UsageError
        When it uses something, such as an open file, whose state no other process can know.

    Examples
    --------
    >>> rates = [0.1, 0.01]
    >>> def schedule(step, rates=rates):
    ...     return rates[step > 10]
    >>> one = behaviour(schedule, "schedule")
    >>> rates[1] = 0.02
    >>> one == behaviour(schedule, "schedule")
    False
    """
    digest = hashlib.sha256()
    for part in _parts(function, what, {}):
        digest.update(part.encode() + b"\0")
    return f"function:{digest.hexdigest()[:24]}"


def _parts(value: Any, what: str, seen: dict[int, tuple[int, Any]]) -> Iterator[str]:
    """Yield texts that together say what a value is, which may hold itself.

    Functions and objects are told once, lists and the like each time: whether two of these that are
    equal are one, no two processes need agree on.
    """
    if hasattr(value, "detach") and hasattr(value, "numpy") and not isinstance(value, type):
        value = value.detach().cpu().numpy()  # a tensor of torch's
    if type(value) in PLAIN:
        yield f"{type(value).__name__} {value!r}"
    elif id(value) in seen:
        yield f"again {seen[id(value)][0]}"
    elif isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        yield f"array {value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    elif isinstance(value, set | frozenset):
        yield " ".join(["set", *sorted("|".join(_parts(each, what, seen)) for each in value)])
    else:
        try:
            held = _held(value)
        except Exception:
            raise UsageError(
                f"the {what} uses a {type(value).__name__}, whose state no other process can know,"
                " so that a run with a checkpoint could not be resumed; say what the function does"
                f" by a name, as in {what}.name = 'halved every 1,000 steps', or leave out"
                " checkpoint"
            ) from None
        seen[id(value)] = len(seen), value
        yield f"{type(value).__qualname__} {len(held)}"
        for each in held:
            yield from _parts(each, what, seen)
        if isinstance(value, ALIKE):
            del seen[id(value)]


def _held(value: Any) -> list[Any]:
    """Return what a value consists of; raise where that cannot be known."""
    match value:
        case np.ufunc():
            return [value.__name__]
        case tuple() | list():
            return list(value)
        case dict() | MappingProxyType():
            return [*value, *value.values()]
        case CodeType():
            return [value.co_code, value.co_names, value.co_consts]
        case FunctionType():
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            defaults = [value.__defaults__, value.__kwdefaults__]
            if _is_installed(value.__module__):
                return [value.__module__, value.__qualname__, cells, defaults]
            return [value.__code__, cells, defaults, vars(value), *_globals_of(value)]
        case ModuleType():
            return [value.__name__]
        case type() if _is_installed(value.__module__):
            return [value.__module__, value.__qualname__]
        case type():
            parts = {name: part for name, part in vars(value).items() if name not in MADE}
            return [value.__qualname__, value.__bases__, parts]
        case property():
            return [value.fget]
        case classmethod() | staticmethod() | functools._lru_cache_wrapper():
            return [value.__wrapped__]
    reduced = value.__reduce_ex__(2)
    if isinstance(reduced, str):
        if not _is_installed(value.__module__):
            raise TypeError(f"known by the name {reduced} alone")
        return [value.__module__, reduced]
    return [*reduced[:3], *map(list, filter(None, reduced[3:5]))]


def _is_installed(module: str | None) -> bool:
    """Whether a module comes with Python, or is not the user's own."""
    known = sys.modules.get(module or "")
    if known is None or module is None or module == "__main__":
        return False
    if module.partition(".")[0] == "sgdfit":
        return True
    file = getattr(known, "__file__", None)
    return file is None or file.startswith(INSTALLED) or _is_beside_packages(module)


@functools.cache
def _is_beside_packages(module: str) -> bool:
    """Whether a module lies where packages were installed, as with ``pip install --target``."""
    top = Path(sys.modules[module.partition(".")[0]].__file__ or "/").parent
    return any(any(place.glob("*.dist-info")) for place in (top, top.parent))


def _globals_of(function: FunctionType) -> list[Any]:
    """Return the global names in the code and their values, also of functions made within it.

    Of a module of the user's come those of its names that the code has as well.
    """
    codes, found = [function.__code__], dict[str, Any]()
    for code in codes:
        codes += [each for each in code.co_consts if isinstance(each, CodeType)]
        names = [each.argval for each in dis.get_instructions(code) if each.opname in LOADS]
        space = function.__globals__
        known = [(name, space[name]) for name in names if name in space]
        for name, value in known:
            found[name] = value
            if isinstance(value, ModuleType) and not _is_installed(value.__name__):
                held = vars(value)
                known += [(f"{name}.{n}", held[n]) for n in code.co_names if n in held]
    return [part for name in sorted(found) for part in (name, found[name])]
