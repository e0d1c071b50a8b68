"""Files: which are meant, what their folders say, where their bytes are, whether they change."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from sgdfit.data.floats import scalar_of
from sgdfit.errors import DataError, reason_of

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
BEGINNINGS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\x28\xb5\x2f\xfd", "zstd"))
# What a folder is called whose value is missing, as Hive has it.
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
SIGNS = re.compile(r"(?P<deep>\*\*/)|(?P<all>\*\*)|(?P<any>\*)|(?P<one>\?)|\[(?P<set>!?[^]]+)\]")
EXPRESSIONS = {"deep": "(?:[^/]+/)*", "all": ".*", "any": "[^/]*", "one": "[^/]"}
NOWHERE = ("http", "https", "ftp", "ftps")


class Stamp(NamedTuple):
    """What changes when a file does: its bytes, and nanoseconds since 1970 if they are known."""

    size: int
    time: int


class Origin(NamedTuple):
    """A file that is opened anew for each part that is read.

    Attributes
    ----------
    label : str
        How messages name it.
    stamp : Stamp
        From when it was found.
    look : callable
        Returns the stamp of now; raises OSError where it is gone.
    open : callable
        Returns a `pyarrow.NativeFile` that is read with ordinary reads: pages of a mapped file
        would count as memory, and end the process if the file became shorter.
    constants : tuple of (str, int or float or str or None)
        Columns that its folders name, the same for all its rows.
    local : str
        Its path, where it is on a disk of this machine.
    """

    label: str
    stamp: Stamp
    look: Callable[[], Stamp]
    open: Callable[[], Any]
    constants: tuple[tuple[str, Any], ...] = ()
    local: str = ""


def on_disk(path: str, label: str) -> Origin:
    """Return a file of this machine; DataError where it may not be looked at."""

    def look() -> Stamp:
        found = os.stat(path)
        return Stamp(found.st_size, found.st_mtime_ns)

    def open_file() -> Any:
        import pyarrow as pa

        return pa.OSFile(path)

    try:
        return Origin(label, look(), look, open_file, local=path)
    except FileNotFoundError as error:
        raise DataError(dangling(path, label) or unreadable(label, error)) from error
    except OSError as error:
        raise DataError(unreadable(label, error)) from error


def dangling(path: str, label: str) -> str:
    """Say in one sentence that a link leads nowhere; empty for what is no link."""
    if not os.path.islink(path):
        return ""
    return (
        f"{label!r} is a link to {os.readlink(path)!r}, where there is no file; mend or remove it"
    )


def _remote(filesystem: Any, path: str, label: str, stamp: Stamp) -> Origin:
    """Return a file behind a `pyarrow.fs.FileSystem`."""

    def look() -> Stamp:
        found = filesystem.get_file_info(path)
        if not found.is_file:
            raise FileNotFoundError(path)
        return Stamp(found.size, found.mtime_ns or 0)

    return Origin(label, stamp, look, lambda: filesystem.open_input_file(path))


def in_memory(content: Any, label: str) -> Origin:
    """Return bytes, which nothing changes."""
    stamp = Stamp(len(content), 0)

    def open_buffer() -> Any:
        import pyarrow as pa

        return pa.BufferReader(pa.py_buffer(content))

    return Origin(label, stamp, lambda: stamp, open_buffer)


def unreadable(label: str, error: BaseException) -> str:
    """Say in one sentence why a file cannot be opened."""
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == 13:
        return f"{label!r} may not be read (permission denied); ask its owner, or chmod u+r it"
    if isinstance(error, FileNotFoundError):
        return f"there is no file {label!r} any more; it was there when the data were opened"
    reason = getattr(error, "strerror", None) or reason_of(error)
    return f"{label!r} cannot be read ({reason}); check its name, and the disk it is on"


def opened(origin: Origin) -> Any:
    """Open a file, or say in one sentence why that is not possible."""
    import pyarrow as pa

    try:
        return origin.open()
    except (OSError, pa.ArrowException) as error:
        raise DataError(unreadable(origin.label, error)) from error


@contextlib.contextmanager
def unchanged(origin: Origin) -> Iterator[None]:
    """Refuse a file that has changed since it was found, before and after it is read.

    Raises
    ------
    DataError
        When it was changed or removed, also where that was the reason for another error.
    """
    _compare(origin)
    try:
        yield
    except DataError:
        _compare(origin)
        raise
    _compare(origin)


def _compare(origin: Origin) -> None:
    import pyarrow as pa

    try:
        now = origin.look()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{origin.label} was removed while it was being read; put it back, or leave it out,"
            " and begin again"
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(unreadable(origin.label, error)) from error
    if now != origin.stamp:
        raise DataError(
            f"{origin.label} has changed since it was opened ({_difference(origin.stamp, now)});"
            " begin again once nothing writes to it"
        )


def _difference(before: Stamp, now: Stamp) -> str:
    if before.size != now.size:
        return f"it had {before.size:,} bytes and has {now.size:,}"
    return "it was written anew with the same size"


def compression_of(head: bytes) -> str | None:
    """Return how a file is compressed that begins with ``head``, of four bytes or more."""
    return next((name for magic, name in BEGINNINGS if head.startswith(magic)), None)


def unpacking(source: Any, compression: str) -> Any:
    """Return a `pyarrow.NativeFile` of what another, or an open binary file, holds compressed."""
    import pyarrow as pa

    file = source if isinstance(source, pa.NativeFile) else pa.PythonFile(source, "r")
    return pa.CompressedInputStream(file, compression)


def _partitioned(origins: Sequence[Origin], names: Sequence[str]) -> tuple[Origin, ...]:
    """Give each file the columns that the folders in its name stand for."""
    texts = [_pairs(name) for name in names]
    keys = list(dict.fromkeys(key for pairs in texts for key in pairs))
    types = {key: _type([pairs[key] for pairs in texts if key in pairs]) for key in keys}
    return tuple(
        origin._replace(constants=tuple((key, types[key](value)) for key, value in pairs.items()))
        if pairs
        else origin
        for origin, pairs in zip(origins, texts, strict=True)
    )


def _pairs(name: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for part in name.split("/")[:-1]:
        key, sign, value = part.partition("=")
        if sign and key:
            found[unquote(key)] = None if value == NO_VALUE else unquote(value)
    return found


def _type(values: Sequence[str | None]) -> Any:
    """Return what makes an Arrow scalar of each value: numbers where all are, else text."""
    import pyarrow as pa

    known = [value for value in values if value is not None]
    if known and all(WHOLE.fullmatch(value) for value in known):
        return lambda value: scalar_of(None if value is None else int(value), pa.int64())
    if known and all(DECIMAL.fullmatch(value) for value in known):
        return lambda value: scalar_of(None if value is None else float(value), pa.float64())
    return lambda value: scalar_of(value, pa.string())


def _trailing(path: str) -> str:
    """Keep of a path its last part, and the folders right above called ``name=value``."""
    parts = path.replace(os.sep, "/").split("/")
    start = len(parts) - 1
    while start > 0 and "=" in parts[start - 1]:
        start -= 1
    return "/".join(parts[start:])


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


def _cut(path: str) -> tuple[str, str]:
    """Cut a path before the first part that is a pattern."""
    parts = path.split("/")
    first = next((k for k, part in enumerate(parts) if SIGNS.search(part)), len(parts))
    root = "/".join(parts[:first]) or ("/" if path.startswith("/") else "")
    return root, "/".join(parts[first:])


def _matcher(pattern: str) -> re.Pattern[str]:
    """Write a pattern of the shell as a regular expression for the whole of a name."""
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


class Selection(NamedTuple):
    """Files that are one table.

    Attributes
    ----------
    label : str
        How messages name them all.
    origins : tuple of Origin
        In the order of their rows.
    exact : bool
        Whether each was named, rather than found.
    """

    label: str
    origins: tuple[Origin, ...]
    exact: bool


def is_many(text: str) -> bool:
    """Tell what may stand for several files, or for one that is not on a disk."""
    return "://" in text or is_pattern(text) or os.path.isdir(os.path.expanduser(text))


def select(data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Selection:
    """Find the files that ``data`` names: a path, a pattern, a folder, an address, or several.

    Files in folders and of patterns are sorted by name, numbers in names by their size. Names
    that begin with ``_`` or ``.`` are left out. Folders called ``name=value`` give their files a
    column, as Hive has it.

    Raises
    ------
    DataError
        When there are none, or they may not be looked at.
    """
    if not isinstance(data, str | os.PathLike):
        return _several(data)
    text = os.fspath(data)
    if "://" in text:
        return _behind(text)
    place = os.path.expanduser(text)
    if not is_many(text):
        return Selection(os.path.basename(text), (on_disk(place, os.path.basename(text)),), True)
    from pyarrow import fs

    root = os.path.abspath(place).replace(os.sep, "/")
    root, pattern = _cut(root) if is_pattern(text) else (root, "")
    if not os.path.isdir(root):
        raise DataError(f"no file matches {text!r}, for there is no folder {root!r}")
    return _found(fs.LocalFileSystem(), text, root, pattern)


def _several(data: Iterable[str | os.PathLike[str]]) -> Selection:
    selections = [select(item) for item in data]
    origins = [origin for selection in selections for origin in selection.origins]
    if not origins:
        raise DataError("the list of files is empty; name at least one")
    paths = [origin.local for origin in origins]
    names = short_names(paths)
    plain = not any(origin.constants for origin in origins)
    if plain:
        labelled = [
            origin._replace(label=name or origin.label)
            for origin, name in zip(origins, names, strict=True)
        ]
        origins = list(_partitioned(labelled, [_trailing(path) for path in paths]))
    label = origins[0].label if len(origins) == 1 else f"{len(origins)} files"
    return Selection(label, tuple(origins), all(selection.exact for selection in selections))


def short_names(paths: Sequence[str]) -> list[str]:
    """Name files by their last part, or by as much of the end as tells them apart.

    Examples
    --------
    >>> short_names(["/data/a/1.csv", "/data/a/2.csv"])
    ['1.csv', '2.csv']
    >>> [name.replace(os.sep, "/") for name in short_names(["/data/a/1.csv", "/data/b/1.csv"])]
    ['a/1.csv', 'b/1.csv']
    """
    names = [os.path.basename(path) for path in paths]
    if len(set(names)) == len(set(paths)):
        return names
    absolute = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath(absolute)
    return [os.path.relpath(path, shared) for path in absolute]


def filesystem(address: str) -> tuple[Any, str]:
    """Return the pyarrow filesystem of an address, and the path within it."""
    import pyarrow as pa
    from pyarrow import fs

    scheme = address.partition("://")[0].lower()
    if scheme in NOWHERE:
        raise DataError(f"{address!r} is an address, not a file; download it and name the file")
    try:
        found, path = fs.FileSystem.from_uri(address)
    except (pa.ArrowException, OSError, ValueError, ImportError) as error:
        raise DataError(
            f"{address!r} cannot be reached ({reason_of(error)}); give a path, or an address that"
            " begins with s3://, gs://, hdfs://, abfs:// or file://"
        ) from error
    return found, path


def _behind(address: str) -> Selection:
    bare, mark, query = address.partition("?")
    start, pattern = _cut(bare)
    system, path = filesystem(start + mark + query)
    with _reaching(address):
        info = system.get_file_info(path)
    if not info.is_file:
        return _found(system, address, path, pattern)
    name = os.path.basename(path)
    return Selection(name, (origin_of(system, path, name, _stamp(info)),), True)


def _stamp(info: Any) -> Stamp:
    return Stamp(info.size, info.mtime_ns or 0)


@contextlib.contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Say in one sentence why a filesystem does not answer."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"there is no file {address!r}; check its name and folder") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(unreadable(address, error)) from error


def origin_of(system: Any, path: str, label: str, stamp: Stamp | None) -> Origin:
    """Return a file of a `pyarrow.fs.FileSystem`, on a disk of this machine or behind a network."""
    from pyarrow import fs

    if isinstance(system, fs.LocalFileSystem):
        return on_disk(path, label)
    return _remote(system, path, label, stamp or Stamp(0, 0))


def _found(system: Any, text: str, root: str, pattern: str) -> Selection:
    """Choose the files below a folder, or those that meet a pattern, in natural order."""
    from pyarrow import fs

    selector = fs.FileSelector(root, recursive="/" in pattern or not pattern)
    with _reaching(text):
        found = {i.path: _stamp(i) for i in system.get_file_info(selector) if i.is_file}
        if isinstance(system, fs.LocalFileSystem):
            found |= dict.fromkeys(_broken_links(root), Stamp(0, 0))
    start = len(root.rstrip("/")) + 1
    names = [path[start:] for path in found if not _hidden(path[start:], pattern)]
    chosen = sorted(_matching(names, pattern) if pattern else names, key=natural)
    if not chosen:
        raise DataError(_nothing(text, pattern))
    stamps = {path[start:]: (path, stamp) for path, stamp in found.items()}
    origins = [origin_of(system, stamps[n][0], n, stamps[n][1]) for n in chosen]
    return Selection(text, _partitioned(origins, chosen), False)


def _broken_links(folder: str) -> Iterator[str]:
    """Yield the links to nothing, which pyarrow does not list: a part of the data would be lost."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _broken_links(entry.path)
            elif entry.is_symlink() and not os.path.exists(entry.path):
                yield entry.path.replace(os.sep, "/")


def _hidden(name: str, pattern: str) -> bool:
    wanted = tuple(part[0] for part in pattern.split("/") if part[:1] in ("_", "."))
    return any(part[:1] in ("_", ".") and part[0] not in wanted for part in name.split("/"))


def _matching(names: list[str], pattern: str) -> list[str]:
    """Choose names that meet the pattern; if there are none, those in folders that meet it."""
    for each in (pattern, pattern.rstrip("/") + "/**"):
        if chosen := list(filter(_matcher(each).fullmatch, names)):
            return chosen
    return []


def _nothing(text: str, pattern: str) -> str:
    if pattern:
        return f"no file matches {text!r}; check the pattern, with ** for folders of any depth"
    return (
        f"the folder {text!r} holds no files (those whose names begin with _ or . do not count);"
        " name another, or a file"
    )
