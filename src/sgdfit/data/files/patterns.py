"""Patterns such as ``data/**/part-*.parquet``, and the order of file names."""

from __future__ import annotations

import os
import re

__all__ = ["cut", "is_pattern", "matcher", "natural"]

SIGNS = re.compile(r"(?P<deep>\*\*/)|(?P<all>\*\*)|(?P<any>\*)|(?P<one>\?)|\[(?P<set>!?[^]]+)\]")
EXPRESSIONS = {"deep": "(?:[^/]+/)*", "all": ".*", "any": "[^/]*", "one": "[^/]"}


def is_pattern(text: str) -> bool:
    """Tell a pattern such as ``data/*.parquet`` from a path.

    Examples
    --------
    >>> [is_pattern(text) for text in ("data/*.parquet", "part-[0-4].csv", "data.csv", "a[.csv")]
    [True, True, False, False]
    """
    return bool(SIGNS.search(text)) and not os.path.lexists(os.path.expanduser(text))


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts ``part-2`` before ``part-10``.

    Examples
    --------
    >>> sorted(["part-10", "part-2"], key=natural)
    ['part-2', 'part-10']
    """
    pieces = re.split(r"([0-9]+)", name)
    return [(int(p), "") if k % 2 else (0, p) for k, p in enumerate(pieces)] + [(0, name)]


def cut(path: str) -> tuple[str, str]:
    """Cut a path before the first part that is a pattern.

    Examples
    --------
    >>> cut("/data/year=*/part-?.parquet"), cut("/data")
    (('/data', 'year=*/part-?.parquet'), ('/data', ''))
    """
    parts = path.split("/")
    first = next((k for k, part in enumerate(parts) if SIGNS.search(part)), len(parts))
    root = "/".join(parts[:first]) or ("/" if path.startswith("/") else "")
    return root, "/".join(parts[first:])


def matcher(pattern: str) -> re.Pattern[str]:
    """Write a pattern of the shell as a regular expression for the whole of a name.

    Examples
    --------
    >>> [bool(matcher("**/p-[!0]*.csv").fullmatch(name)) for name in ("p-1.csv", "a/b/p-0.csv")]
    [True, False]
    """
    done = 0
    written = []
    for match in SIGNS.finditer(pattern):
        written.append(re.escape(pattern[done : match.start()]))
        done = match.end()
        written.append(EXPRESSIONS.get(str(match.lastgroup)) or _set(match.group("set")))
    return re.compile("".join(written) + re.escape(pattern[done:]))


def _set(inside: str) -> str:
    inside = inside.replace("\\", r"\\").replace("^", r"\^")
    return f"[^/{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
