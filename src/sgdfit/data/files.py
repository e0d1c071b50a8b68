"""Paths and standard input -> tables, by the ending of their name or by their first bytes."""

from __future__ import annotations

import contextlib
import io
import itertools
import mmap
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sgdfit.data.columnar import reading
from sgdfit.data.conditions import Condition
from sgdfit.data.containers import columns_in_place
from sgdfit.data.datasets import open_dataset
from sgdfit.data.delimited import HEAD, open_delimited, refuse_binary
from sgdfit.data.filtering import filtered
from sgdfit.data.folders import is_many, select
from sgdfit.data.formats import (
    COMPRESSED_MAGIC,
    COMPRESSIONS,
    FORMATS,
    MAGIC,
    TEXT,
    Format,
    format_of,
    format_table,
)
from sgdfit.data.origins import Origin, in_memory, on_disk
from sgdfit.data.selections import open_selection
from sgdfit.data.table import Table
from sgdfit.data.text_scan import scan_text
from sgdfit.errors import DataError, did_you_mean

__all__ = ["COMPRESSIONS", "FORMATS", "format_table", "open_files", "open_path", "open_stream"]

NAMES_LOOKED_AT = 2_000
# Pages of a mapped file count as memory, so only what is small is mapped.
MAPPED = 1 << 26


def open_files(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    condition: Condition | None = None,
) -> Table:
    """Open a path, a pattern, a folder, an address, or a list of them; ``-`` is standard input.

    Raises
    ------
    DataError
        When there is no such file, it may not be read, or its format is not supported.
    """
    if not isinstance(data, str | os.PathLike):
        return open_selection(select(data), condition)
    text = os.fspath(data)
    if is_many(text):
        return open_selection(select(text), condition)
    return open_path(text, condition)


def open_path(path: str | os.PathLike[str], condition: Condition | None = None) -> Table:
    """Open the file at ``path``, or standard input for ``-``.

    Raises
    ------
    DataError
        When there is no such file, it may not be read, or its format is not supported.
    """
    text = os.fspath(path)
    if text == "-":
        return _chosen(open_stream(sys.stdin, "standard input"), condition)
    place = Path(os.path.expanduser(text))
    mode = _mode(place, text)
    if not stat.S_ISREG(mode):
        with _opening(text), place.open("rb") as pipe:
            return _chosen(open_stream(pipe, text), condition)
    compression, kind = format_of(place.name)
    origin = on_disk(str(place), place.name)
    if not origin.stamp.size:
        raise DataError(f"{place.name} is empty (0 bytes); give it rows")
    if kind is TEXT:
        return _chosen(scan_text([place]), condition)
    with _opening(text):
        place.open("rb").close()
    if compression:
        content = _decompressed(_bytes_of(place, text), compression, place.name)
        return _opened(in_memory(content, place.name), kind, condition)
    if condition is None and origin.stamp.size <= MAPPED:
        return _mapped(origin, kind, _bytes_of(place, text))
    return _opened(origin, kind, condition)


def _chosen(table: Table, condition: Condition | None) -> Table:
    return table if condition is None else filtered(table, condition)


def _opened(origin: Origin, kind: Format, condition: Condition | None = None) -> Table:
    if kind.open is None:
        raise DataError(f"{origin.label} is text; give it the ending .csv")
    return open_dataset([origin], kind.open, origin.label, condition)


def _mapped(origin: Origin, kind: Format, content: Any) -> Table:
    """Open a small file; where it is as in memory, its columns are not copied."""
    table = _opened(origin, kind)
    fetch = columns_in_place(content, origin.label)
    return table if fetch is None else replace(table, fetch=fetch)


def open_stream(stream: Any, label: str) -> Table:
    """Read ``stream`` to its end, once, and open what it held by its first bytes."""
    data = _read_whole(getattr(stream, "buffer", stream), label)
    for magic, compression in COMPRESSED_MAGIC:
        if data.startswith(magic):
            data = _decompressed(data, compression, label)
    if not data:
        raise DataError(f"{label} is empty (0 bytes); give it rows")
    for magic, kind in MAGIC:
        if data.startswith(magic):
            return _mapped(in_memory(data, label), kind, data)
    return open_delimited(data, label)


def _read_whole(stream: Any, label: str) -> bytes:
    """Read to the end, unless the first block is of no format: a device may have no end."""
    try:
        head = _as_bytes(stream.read(HEAD))
        known = (magic for magic, _ in (*MAGIC, *COMPRESSED_MAGIC))
        if head and not head.startswith(tuple(known)):
            refuse_binary(head, label)
        # a terminal would have to be told twice that it is at its end
        ended = isinstance(stream, io.BufferedIOBase | io.TextIOBase) and len(head) < HEAD
        return head if ended else head + _as_bytes(stream.read())
    except MemoryError as error:
        raise DataError(f"{label} does not fit into memory; give fewer rows") from error


def _as_bytes(block: Any) -> bytes:
    return block.encode() if isinstance(block, str) else bytes(block)


def _mode(place: Path, text: str) -> int:
    try:
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError(_no_file(place, text)) from error
    except OSError as error:
        raise DataError(_unreadable(text, error)) from error
    return mode


def _no_file(place: Path, text: str) -> str:
    if not os.path.isdir(place.parent):  # a NUL in the name is no error here
        return f"there is no file {text!r}, for there is no folder {str(place.parent)!r}"
    with os.scandir(place.parent) as entries:
        near = [entry.name for entry in itertools.islice(entries, NAMES_LOOKED_AT)]
    hint = did_you_mean(place.name, near)
    return f"there is no file {text!r}; check its name and folder.{hint}"


def _unreadable(text: str, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{text!r} may not be read (permission denied); ask its owner, or chmod u+r it"
    return f"{text!r} cannot be read ({error.strerror or error}); check its name"


@contextlib.contextmanager
def _opening(text: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(_unreadable(text, error)) from error


def _bytes_of(place: Path, text: str) -> Any:
    """Map the file, so that what is not needed is never copied."""
    with _opening(text), place.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _decompressed(data: Any, compression: str, label: str) -> bytes:
    import pyarrow as pa

    with reading(label, compression):
        stream = pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), compression)
        return bytes(stream.read())
