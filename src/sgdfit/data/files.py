"""Files: which are meant, what their folders say, where their bytes are, whether they change."""

from __future__ import annotations

import contextlib
import fnmatch
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
PATTERN = re.compile(r"[*?]|\[!?[^]]+\]")


class Stamp(NamedTuple):
    """What changes when a file does: its bytes, and nanoseconds since 1970 if they are known."""

    size: int
    time: int


NO_STAMP = Stamp(0, 0)


class DataFile(NamedTuple):
    """A file, or another source of bytes, that is opened anew for each part that is read."""

    label: str  # how messages name it
    stamp: Stamp  # from when it was found
    look: Callable[[], Stamp]  # returns the stamp of now; OSError where the file is gone
    # Returns a `pyarrow.NativeFile` that is read with ordinary reads: pages of a mapped file would
    # count as memory, and end the process if the file became shorter.
    open: Callable[[], Any]
    constants: tuple[tuple[str, Any], ...] = ()  # columns that folders name, as Arrow scalars
    local: str = ""  # its path, where it is on a disk of this machine
    compression: str | None = None
    again: bool = True  # whether it can be opened more than once


def on_disk(path: str, label: str) -> DataFile:
    """Return a file of this machine; DataError where it may not be looked at."""

    def look() -> Stamp:
        found = os.stat(path)
        return Stamp(found.st_size, found.st_mtime_ns)

    def open_file() -> Any:
        import pyarrow as pa

        return pa.OSFile(path)

    try:
        return DataFile(label, look(), look, open_file, local=path)
    except OSError as error:
        raise DataError(dangling(path, label) or unreadable(label, error)) from error


def data_file(system: Any, path: str, label: str, stamp: Stamp) -> DataFile:
    """Return a file of a `pyarrow.fs.FileSystem`, on a disk of this machine or behind a network."""
    from pyarrow import fs

    if isinstance(system, fs.LocalFileSystem):
        return on_disk(path, label)

    def look() -> Stamp:
        found = system.get_file_info(path)
        if not found.is_file:
            raise FileNotFoundError(path)
        return stamp_of(found)

    return DataFile(label, stamp, look, lambda: system.open_input_file(path))


def stamp_of(info: Any) -> Stamp:
    """Return the stamp of a `pyarrow.fs.FileInfo`."""
    return Stamp(info.size or 0, info.mtime_ns or 0)


def dangling(path: str, label: str) -> str:
    """Say in one sentence that a link leads nowhere; empty for what is no link."""
    if not os.path.islink(path):
        return ""
    return (
        f"{label!r} is a link to {os.readlink(path)!r}, where there is no file; mend or remove it"
    )


def unreadable(label: str, error: BaseException) -> str:
    """Say in one sentence why a file cannot be opened."""
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == 13:
        return f"{label!r} may not be read (permission denied); ask its owner, or chmod u+r it"
    if isinstance(error, FileNotFoundError):
        return f"there is no file {label!r} (any more); check its name and folder"
    reason = getattr(error, "strerror", None) or reason_of(error)
    return f"{label!r} cannot be read ({reason}); check its name, and the disk it is on"


@contextlib.contextmanager
def reaching(label: str) -> Iterator[None]:
    """Say in one sentence why a file or a filesystem does not answer."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(unreadable(label, error)) from error


def opened(origin: DataFile) -> Any:
    """Open a file, or say in one sentence why that is not possible."""
    with reaching(origin.label):
        return origin.open()


@contextlib.contextmanager
def unchanged(origins: Sequence[DataFile]) -> Iterator[None]:
    """Refuse files that have changed since they were found, before and after they are read.

    A change is named also where it was the reason for another error.
    """
    try:
        _compare(origins)
        yield
    except DataError:
        _compare(origins)
        raise
    _compare(origins)


def _compare(origins: Sequence[DataFile]) -> None:
    for origin in origins:
        with reaching(origin.label):
            now = origin.look()
        if now != origin.stamp:
            change = "it was written anew with the same size"
            if now.size != origin.stamp.size:
                change = f"it had {origin.stamp.size:,} bytes and has {now.size:,}"
            raise DataError(
                f"{origin.label} has changed since it was opened ({change});"
                " begin again once nothing writes to it"
            )


def compression_of(head: bytes) -> str | None:
    """Return how a file is compressed that begins with ``head``, of four bytes or more."""
    return next((name for magic, name in BEGINNINGS if head.startswith(magic)), None)


def unpacking(source: Any, compression: str) -> Any:
    """Return a `pyarrow.NativeFile` of what another, or an open binary file, holds compressed."""
    import pyarrow as pa

    file = source if isinstance(source, pa.NativeFile) else pa.PythonFile(source, "r")
    return pa.CompressedInputStream(file, compression)


class Selection(NamedTuple):
    """Files that are one table, in the order of their rows; exact if each was named, not found."""

    label: str
    origins: tuple[DataFile, ...]
    exact: bool


def is_many(text: str) -> bool:
    """Tell what may stand for several files, or for one that is not on a disk.

    >>> [is_many(text) for text in ("data/*.csv", "part-[0-4].csv", "data.csv", "a[.csv")]
    [True, True, False, False]
    """
    return "://" in text or _is_pattern(text) or os.path.isdir(os.path.expanduser(text))


def absolute(data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> str | list[str]:
    """Return paths as another process understands them, whatever folder it works in."""
    if not isinstance(data, str | os.PathLike):
        return [os.fspath(absolute(item)) for item in data]  # type: ignore[arg-type]
    text = os.fspath(data)
    is_address = "://" in text or text == "-"
    return text if is_address else os.path.abspath(os.path.expanduser(text))


def _is_pattern(text: str) -> bool:
    return bool(PATTERN.search(text)) and not os.path.lexists(os.path.expanduser(text))


def select(data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Selection:
    """Find the files that ``data`` names: a path, a pattern, a folder, an address, or several.

    Files in folders and of patterns are sorted by name, numbers in names by their size. Names
    that begin with ``_`` or ``.`` are left out. Folders called ``name=value`` give their files a
    column, as Hive has it.
    """
    if not isinstance(data, str | os.PathLike):
        return _several([select(item) for item in data])
    text = os.fspath(data)
    place = os.path.expanduser(text)
    if not is_many(text):
        return Selection(os.path.basename(text), (on_disk(place, os.path.basename(text)),), True)
    if "://" not in text:
        from pyarrow import fs

        root = os.path.abspath(place).replace(os.sep, "/")
        root, pattern = _cut(root) if _is_pattern(text) else (root, "")
        if not os.path.isdir(root):
            raise DataError(f"no file matches {text!r}, for there is no folder {root!r}")
        return _found(fs.LocalFileSystem(), text, root, pattern)
    bare, mark, query = text.partition("?")
    start, pattern = _cut(bare)
    system, root = filesystem(start + mark + query)
    with reaching(text):
        info = system.get_file_info(root)
    if info.is_file:
        name = os.path.basename(root)
        return Selection(name, (data_file(system, root, name, stamp_of(info)),), True)
    return _found(system, text, root, pattern)


def _several(selections: Sequence[Selection]) -> Selection:
    origins = [origin for selection in selections for origin in selection.origins]
    if not any(origin.constants for origin in origins):
        paths = [origin.local for origin in origins]
        last = [os.path.basename(path) for path in paths]
        shown = last if len(set(last)) == len(set(paths)) else paths
        names = [n or o.label for n, o in zip(shown, origins, strict=True)]
        named = [o._replace(label=n) for o, n in zip(origins, names, strict=True)]
        # Of a path its last part, and the folders right above called ``name=value``.
        ends = [re.search(r"(?:[^/]*=[^/]*/)*[^/]*$", p.replace(os.sep, "/")) for p in paths]
        origins = list(_partitioned(named, [end[0] if end else "" for end in ends]))
    label = origins[0].label if len(origins) == 1 else f"{len(origins)} files"
    return Selection(label, tuple(origins), all(selection.exact for selection in selections))


def filesystem(address: str) -> tuple[Any, str]:
    """Return the pyarrow filesystem of an address, and the path within it."""
    import pyarrow as pa
    from pyarrow import fs

    if re.match("(https?|ftps?)://", address, re.IGNORECASE):
        raise DataError(f"{address!r} is an address, not a file; download it and name the file")
    try:
        found, path = fs.FileSystem.from_uri(address)
    except (pa.ArrowException, OSError, ValueError, ImportError) as error:
        raise DataError(
            f"{address!r} cannot be reached ({reason_of(error)}); give a path, or an address that"
            " begins with s3://, gs://, hdfs://, abfs:// or file://"
        ) from error
    return found, path


def _found(system: Any, text: str, root: str, pattern: str) -> Selection:
    from pyarrow import fs

    selector = fs.FileSelector(root, recursive="/" in pattern or not pattern)
    with reaching(text):
        stamps = {i.path: stamp_of(i) for i in system.get_file_info(selector) if i.is_file}
    if isinstance(system, fs.LocalFileSystem):
        # pyarrow does not list links to nothing: a part of the data would be lost.
        for here, _, names in os.walk(root):
            paths = [os.path.join(here, name).replace(os.sep, "/") for name in names]
            stamps |= {path: NO_STAMP for path in paths if not os.path.exists(path)}
    start = len(root.rstrip("/")) + 1
    # Names that begin so do not count, unless the pattern has them.
    marks = {"_", "."} - {part[:1] for part in pattern.split("/")}
    names = [path[start:] for path in stamps]
    names = [n for n in names if not any(part[:1] in marks for part in n.split("/"))]
    wanted = pattern.strip("/").split("/") if pattern else ["**"]
    chosen = [name for name in names if _meets(name.split("/"), wanted)]
    # A pattern may be one of folders.
    chosen = chosen or [name for name in names if _meets(name.split("/"), [*wanted, "**"])]
    if not chosen and pattern:
        raise DataError(
            f"no file matches {text!r}; check the pattern, with ** for folders of any depth"
        )
    if not chosen:
        raise DataError(
            f"the folder {text!r} holds no files (those whose names begin with _ or . do not"
            " count); name another, or a file"
        )
    chosen.sort(key=natural)
    paths = [root.rstrip("/") + "/" + name for name in chosen]
    origins = [data_file(system, p, n, stamps[p]) for p, n in zip(paths, chosen, strict=True)]
    return Selection(text, _partitioned(origins, chosen), False)


def _meets(parts: list[str], wanted: list[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_meets(parts[k:], wanted[1:]) for k in range(len(parts) + 1))
    return (
        bool(parts) and fnmatch.fnmatchcase(parts[0], wanted[0]) and _meets(parts[1:], wanted[1:])
    )


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts ``part-2`` before ``part-10``.

    >>> sorted(["part-10", "part-2"], key=natural)
    ['part-2', 'part-10']
    """
    pieces = re.split(r"([0-9]+)", name)
    return [(int(p), "") if k % 2 else (0, p) for k, p in enumerate(pieces)] + [(0, name)]


def _cut(path: str) -> tuple[str, str]:
    parts = path.split("/")
    first = next((k for k, part in enumerate(parts) if PATTERN.search(part)), len(parts))
    root = "/".join(parts[:first]) or ("/" if path.startswith("/") else "")
    return root, "/".join(parts[first:])


def _partitioned(origins: Sequence[DataFile], names: Sequence[str]) -> tuple[DataFile, ...]:
    folders = [
        {unquote(key): None if v == NO_VALUE else unquote(v)
         for key, v in re.findall(r"([^/=]+)=([^/]*)/", name)}
        for name in names
    ]  # fmt: skip
    columns: dict[str, list[str]] = {}
    for folder in folders:
        for key, value in folder.items():
            columns.setdefault(key, []).extend([] if value is None else [value])
    read = {key: _reader(values) for key, values in columns.items()}
    return tuple(
        origin._replace(constants=tuple((key, read[key](v)) for key, v in folder.items()))
        for origin, folder in zip(origins, folders, strict=True)
    )


def _reader(values: Iterable[str]) -> Callable[[str | None], Any]:
    import pyarrow as pa

    for spelling, read, kind in ((WHOLE, int, pa.int64()), (DECIMAL, float, pa.float64())):
        if values and all(spelling.fullmatch(value) for value in values):
            return lambda v: scalar_of(None if v is None else read(v), kind)
    return lambda v: scalar_of(v, pa.string())
