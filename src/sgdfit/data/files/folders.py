"""Which files are meant: by a list, a pattern, a folder, or an address of a filesystem."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sgdfit.data.files.origins import Origin, Stamp, on_disk, remote, unreadable
from sgdfit.data.files.partitions import partitioned, trailing
from sgdfit.data.files.patterns import cut, is_pattern, matcher, natural
from sgdfit.data.wording import reason_of
from sgdfit.errors import DataError

__all__ = ["Selection", "is_many", "origin_of", "select", "short_names"]

NOWHERE = ("http", "https", "ftp", "ftps")


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


class _Found(NamedTuple):
    """A file that was found: where, and by which name below where the search began."""

    path: str
    name: str
    stamp: Stamp | None = None


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
    if is_pattern(text) or os.path.isdir(place):
        return _below(text, os.path.abspath(place).replace(os.sep, "/"))
    return Selection(os.path.basename(text), (on_disk(place, os.path.basename(text)),), True)


def _below(text: str, place: str) -> Selection:
    import pyarrow as pa
    from pyarrow import fs

    root, pattern = cut(place) if is_pattern(text) else (place, "")
    if not os.path.isdir(root):
        raise DataError(f"no file matches {text!r}, for there is no folder {root!r}")
    try:
        found = _listed(fs.LocalFileSystem(), text, root, pattern)
    except (OSError, pa.ArrowException) as error:
        raise DataError(unreadable(text, error)) from error
    origins = [on_disk(file.path, file.name) for file in found]
    return Selection(text, partitioned(origins, [file.name for file in found]), False)


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
        origins = list(partitioned(labelled, [trailing(path) for path in paths]))
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
    """Return the pyarrow filesystem of an address, and the path within it.

    Raises
    ------
    DataError
        When there is none, or it does not answer.
    """
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
    import pyarrow as pa

    bare, mark, query = address.partition("?")
    start, pattern = cut(bare)
    system, path = filesystem(start + mark + query)
    try:
        info = system.get_file_info(path)
        if info.is_file:
            name = os.path.basename(path)
            stamp = Stamp(info.size, info.mtime_ns or 0)
            return Selection(name, (origin_of(system, path, name, stamp),), True)
        found = _listed(system, address, path, pattern)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {address!r}; check its name and folder") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(unreadable(address, error)) from error
    origins = [origin_of(system, file.path, file.name, file.stamp) for file in found]
    return Selection(address, partitioned(origins, [file.name for file in found]), False)


def origin_of(system: Any, path: str, label: str, stamp: Stamp | None) -> Origin:
    """Return a file of a `pyarrow.fs.FileSystem`, on a disk of this machine or behind a network.

    Raises
    ------
    DataError
        When it is on a disk, and is not there or may not be looked at.
    """
    from pyarrow import fs

    if isinstance(system, fs.LocalFileSystem):
        return on_disk(path, label)
    return remote(system, path, label, stamp or Stamp(0, 0))


def _listed(system: Any, text: str, root: str, pattern: str) -> list[_Found]:
    """List the files below a folder, or those that meet a pattern, in natural order."""
    from pyarrow import fs

    infos = system.get_file_info(fs.FileSelector(root, recursive="/" in pattern or not pattern))
    local = isinstance(system, fs.LocalFileSystem)
    found = []
    for info in infos:
        name = info.path[len(root.rstrip("/")) + 1 :]
        if info.is_file and not _hidden(name, pattern):
            stamp = None if local else Stamp(info.size, info.mtime_ns or 0)
            found.append(_Found(info.path, name, stamp))
    if local:
        names = [(path, path[len(root.rstrip("/")) + 1 :]) for path in _broken_links(root)]
        found += [_Found(path, name) for path, name in names if not _hidden(name, pattern)]
    chosen = _matching(found, pattern) if pattern else found
    if not chosen:
        raise DataError(_nothing(text, pattern))
    return sorted(chosen, key=lambda file: natural(file.name))


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


def _matching(found: list[_Found], pattern: str) -> list[_Found]:
    """Choose files that meet the pattern; if there are none, those in folders that meet it."""
    meets = matcher(pattern).fullmatch
    files = [file for file in found if meets(file.name)]
    if files:
        return files
    below = matcher(pattern.rstrip("/") + "/**").fullmatch
    return [file for file in found if below(file.name)]


def _nothing(text: str, pattern: str) -> str:
    if pattern:
        return f"no file matches {text!r}; check the pattern, with ** for folders of any depth"
    return (
        f"the folder {text!r} holds no files (those whose names begin with _ or . do not count);"
        " name another, or a file"
    )
