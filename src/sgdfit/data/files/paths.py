"""Paths and standard input -> tables, by the ending of their name or by their first bytes."""

from __future__ import annotations

import contextlib
import io
import itertools
import mmap
import os
import stat
import sys
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sgdfit.data.condition import Condition
from sgdfit.data.files.columnar import reading
from sgdfit.data.files.compressions import COMPRESSIONS, unpacking
from sgdfit.data.files.containers import columns_in_place
from sgdfit.data.files.datasets import open_dataset
from sgdfit.data.files.folders import is_many, select
from sgdfit.data.files.formats import (
    ARROW,
    FORMATS,
    MAGIC,
    TEXT,
    Format,
    format_of,
    format_table,
)
from sgdfit.data.files.origins import Origin, dangling, in_memory, on_disk, unchanged, unreadable
from sgdfit.data.files.record_batches import STREAM
from sgdfit.data.files.selections import open_selection
from sgdfit.data.one_pass import open_arrow_stream
from sgdfit.data.table import Table
from sgdfit.data.text.delimited import open_delimited
from sgdfit.data.text.places import TextPlace, held, opened, stream_place
from sgdfit.data.text.text_scan import SMALL, scan_text
from sgdfit.data.where import filtered
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
        with _opening(text):
            pipe = _pipe(place)
        return _chosen(open_stream(pipe, text), condition)
    compression, kind = format_of(place.name)
    origin = on_disk(str(place), place.name)
    if not origin.stamp.size:
        raise DataError(f"{place.name} is empty (0 bytes); give it rows")
    if kind is TEXT:
        return _chosen(scan_text([place]), condition)
    if compression:
        content = _decompressed(_bytes_of(place, text), compression, place.name)
        return _opened(in_memory(content, place.name), kind, condition)
    if kind is ARROW and condition is None and origin.stamp.size <= MAPPED:
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
    in_place = columns_in_place(content, origin.label)
    if in_place is None:
        return table

    def fetch(positions: Sequence[int]) -> Sequence[object]:
        with unchanged(origin):
            return in_place(positions)

    return replace(table, fetch=fetch)


def open_stream(stream: Any, label: str) -> Table:
    """Open what an open file or pipe holds, known by its first bytes.

    What is short is read to its end. What is longer is read once and in blocks, if it is text or
    Arrow's stream format; other formats have their contents at their end, and are read whole.

    Raises
    ------
    DataError
        When it is empty, damaged, or of no format that can be read.
    """
    place, head, ended = held(stream_place(stream, label), SMALL + 1)
    if not head:
        raise DataError(f"{label} is empty (0 bytes); give it rows")
    for magic, kind in MAGIC:
        if head.startswith(magic):
            if not ended and magic == STREAM:
                return open_arrow_stream(place.open(), label)
            content = head if ended else _whole(place)
            return _mapped(in_memory(content, label), kind, content)
    return open_delimited(head, label) if ended else scan_text([place], label, small=0)


def _whole(place: TextPlace) -> bytes:
    """Read a stream to its end."""
    parts = []
    try:
        with opened(place) as take:
            while part := take(SMALL):
                parts.append(part)
        return b"".join(parts)
    except MemoryError as error:
        raise DataError(
            f"{place.label} does not fit into memory, which its format asks for; save it as a file"
            " and name that, or pipe CSV or Arrow's stream format"
        ) from error


def _pipe(place: Path) -> io.FileIO:
    """Open what may be read long after; it is closed when nothing needs it any more."""
    descriptor = os.open(place, os.O_RDONLY)
    pipe = io.FileIO(descriptor, closefd=False)
    weakref.finalize(pipe, os.close, descriptor)
    return pipe


def _mode(place: Path, text: str) -> int:
    try:
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError(_no_file(place, text)) from error
    except OSError as error:
        raise DataError(unreadable(text, error)) from error
    return mode


def _no_file(place: Path, text: str) -> str:
    if found := dangling(str(place), text):
        return found
    if not os.path.isdir(place.parent):  # a NUL in the name is no error here
        return f"there is no file {text!r}, for there is no folder {str(place.parent)!r}"
    with os.scandir(place.parent) as entries:
        near = [entry.name for entry in itertools.islice(entries, NAMES_LOOKED_AT)]
    hint = did_you_mean(place.name, near)
    return f"there is no file {text!r}; check its name and folder.{hint}"


@contextlib.contextmanager
def _opening(text: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(unreadable(text, error)) from error


def _bytes_of(place: Path, text: str) -> Any:
    """Map the file, so that what is not needed is never copied."""
    with _opening(text), place.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _decompressed(data: Any, compression: str, label: str) -> bytes:
    import pyarrow as pa

    with reading(label, compression):
        return bytes(unpacking(pa.BufferReader(pa.py_buffer(data)), compression).read())
