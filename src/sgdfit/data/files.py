"""Files and standard input -> tables, by the ending of their name or by their first bytes."""

from __future__ import annotations

import contextlib
import io
import itertools
import mmap
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sgdfit.data.containers import open_arrow_file, open_parquet, reading
from sgdfit.data.delimited import HEAD, open_delimited, refuse_binary
from sgdfit.data.dialect import Data
from sgdfit.data.table import Table
from sgdfit.errors import DataError, did_you_mean

__all__ = ["COMPRESSIONS", "FORMATS", "format_table", "open_path", "open_stream"]

NAMES_LOOKED_AT = 2_000


Opener = Callable[[Data, str], Table]

FORMATS: tuple[tuple[str, tuple[str, ...], Opener], ...] = (
    ("delimited text", (".csv", ".tsv", ".tab", ".txt", ".dat"), open_delimited),
    ("Parquet", (".parquet", ".pq"), open_parquet),
    ("Feather, Arrow", (".feather", ".arrow", ".arrows", ".ipc"), open_arrow_file),
)
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
MAGIC: tuple[tuple[bytes, Opener], ...] = (
    (b"PAR1", open_parquet),
    (b"ARROW1", open_arrow_file),
    (b"FEA1", open_arrow_file),
    (b"\xff\xff\xff\xff", open_arrow_file),
)
COMPRESSED_MAGIC = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\x28\xb5\x2f\xfd", "zstd"))
HINTS = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "read it with pandas and pass the frame"),
    **dict.fromkeys((".orc", ".h5", ".hdf5"), "read it with pandas and pass the frame"),
    **dict.fromkeys((".npz", ".npy", ".mat"), "load its arrays and pass a dict of them"),
    **dict.fromkeys((".zip", ".xz", ".7z"), "unpack it first"),
}


def format_table() -> str:
    """Return the supported formats and endings, one format a line.

    Examples
    --------
    >>> print(format_table())
      delimited text   .csv .tsv .tab .txt .dat
      Parquet          .parquet .pq
      Feather, Arrow   .feather .arrow .arrows .ipc
      compressed       any of these followed by .gz .bz2 .zst
    """
    lines = [f"  {name:<16} {' '.join(endings)}" for name, endings, _ in FORMATS]
    lines.append(f"  {'compressed':<16} any of these followed by {' '.join(COMPRESSIONS)}")
    return "\n".join(lines)


def open_path(path: str | os.PathLike[str]) -> Table:
    """Open the file at ``path``, or standard input for ``-``.

    Raises
    ------
    DataError
        When there is no such file, it may not be read, or its format is not supported.
    """
    text = os.fspath(path)
    if text == "-":
        return open_stream(sys.stdin, "standard input")
    place = Path(os.path.expanduser(text))
    mode = _mode(place, text)
    if not stat.S_ISREG(mode):
        with _opening(text), place.open("rb") as pipe:
            return open_stream(pipe, text)
    compression, opener = _by_ending(place.name)
    data = _bytes_of(place, text)
    _refuse_empty(data, place.name)
    if compression:
        data = _decompressed(data, compression, place.name)
    return opener(data, place.name)


def open_stream(stream: Any, label: str) -> Table:
    """Read ``stream`` to its end, once, and open what it held by its first bytes."""
    data = _read_whole(getattr(stream, "buffer", stream), label)
    _refuse_empty(data, label)
    for magic, compression in COMPRESSED_MAGIC:
        if data.startswith(magic):
            data = _decompressed(data, compression, label)
    for magic, opener in MAGIC:
        if data.startswith(magic):
            return opener(data, label)
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
    if stat.S_ISDIR(mode):
        raise DataError(f"{text!r} is a folder, not a file; name a file in it")
    return mode


def _no_file(place: Path, text: str) -> str:
    if "://" in text:
        return f"{text!r} is an address, not a file; download it and name the file"
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


def _by_ending(name: str) -> tuple[str | None, Opener]:
    path = Path(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    ending = Path(path.stem).suffix if compression else path.suffix
    for _, endings, opener in FORMATS:
        if ending in endings:
            return compression, opener
    hint = HINTS.get(ending, "give the file the ending of its format")
    said = f"the ending {ending!r}, which is not supported" if ending else "no ending"
    raise DataError(f"{name} has {said}; {hint}; supported are\n{format_table()}")


def _bytes_of(place: Path, text: str) -> Data:
    """Map the file, so that what is not needed is never copied."""
    with _opening(text), place.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _refuse_empty(data: Data, label: str) -> None:
    if not len(data):
        raise DataError(f"{label} is empty (0 bytes); give it rows")


def _decompressed(data: Data, compression: str, label: str) -> bytes:
    import pyarrow as pa

    with reading(label, compression):
        stream = pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), compression)
        return bytes(stream.read())
