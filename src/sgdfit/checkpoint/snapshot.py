"""The bytes of a checkpoint: one file that says what it is, without pickle.

========== ==========================================================================
bytes      what
========== ==========================================================================
22         `MAGIC`; its line ends are lost where a file is moved as text
2          format version, little-endian
8          length of the header, little-endian
so many    header: JSON in UTF-8, padded with spaces to a multiple of 64
so many    arrays, little-endian, in C order, each from a multiple of 64 after the header
32         SHA-256 of all before it
========== ==========================================================================

The first two rows and the last are the same in all versions, so that an older sgdfit can tell a
newer file from a damaged one.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import sgdfit

__all__ = [
    "MAGIC",
    "VERSION",
    "DamageError",
    "NewerVersionError",
    "Records",
    "Snapshot",
    "decode",
    "encode",
    "frozen",
]

MAGIC = b"\x89sgdfit checkpoint\r\n\x1a\n"
VERSION = 1
_START = struct.Struct("<22sHQ")
_ALIGNMENT = 64
_DIGEST = hashlib.sha256().digest_size
# Numbers of these widths are the same on all machines; a long double is not.
_NUMBERS = ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
_STRIDE = 4 << 20
# What reading a header made by hand may end in.
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)

Arrays = Mapping[str, NDArray[Any]]
Records = Mapping[str, Arrays]


class Snapshot(NamedTuple):
    """All that a checkpoint holds.

    Attributes
    ----------
    identity : mapping of str to str
        What the run is of: formula, data, options.
    records : mapping of str to mapping of str to array
        Arrays by the name of the record and their own.
    finished : bool
        Whether the run is over, so that nobody is to go on with it.
    written : float
        When, in seconds since 1970; NaN where that is not known.
    writer : str
        The version of sgdfit that wrote it.
    """

    identity: Mapping[str, str]
    records: Records
    finished: bool = False
    written: float = math.nan
    writer: str = ""


class DamageError(ValueError):
    """The bytes are not those that were written; the text says how that is seen."""


class NewerVersionError(ValueError):
    """The bytes are whole, in a format that a later sgdfit writes; the text is its version."""


def frozen(array: object) -> NDArray[Any]:
    """Return a copy that does not change: little-endian, in C order, read-only.

    Raises
    ------
    TypeError
        When the values are neither numbers, truth values nor text.

    Examples
    --------
    >>> frozen([1.0, 2.0]).flags.writeable
    False
    """
    given = np.asarray(array)
    if not _portable(given.dtype):
        raise TypeError(f"arrays of {given.dtype} cannot be kept in a checkpoint")
    copy = np.array(given, dtype=given.dtype.newbyteorder("<"), order="C", copy=True, subok=False)
    copy.flags.writeable = False
    return copy


def _portable(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "SU" or dtype.str[1:] in _NUMBERS


def encode(snapshot: Snapshot) -> Iterator[memoryview]:
    """Yield the bytes of a checkpoint, piece by piece; `frozen` arrays are not copied."""
    digest = hashlib.sha256()
    for piece in _body(snapshot):
        for start in range(0, len(piece), _STRIDE):
            # Short strides, so that an interrupt is heard between them.
            part = piece[start : start + _STRIDE]
            digest.update(part)
            yield part
    yield memoryview(digest.digest())


def _body(snapshot: Snapshot) -> Iterator[memoryview]:
    arrays = [array for record in snapshot.records.values() for array in record.values()]
    header = _header(snapshot)
    yield memoryview(_START.pack(MAGIC, VERSION, len(header)) + header)
    for array in arrays:
        if array.nbytes:
            yield array.reshape(-1).view(np.uint8).data
            yield memoryview(bytes(-array.nbytes % _ALIGNMENT))


def _header(snapshot: Snapshot) -> bytes:
    offset = 0
    records: dict[str, dict[str, Any]] = {}
    for key, arrays in snapshot.records.items():
        records[key] = {}
        for name, array in arrays.items():
            fact = {"dtype": array.dtype.str, "shape": list(array.shape), "offset": offset}
            records[key][name] = fact
            offset += array.nbytes + -array.nbytes % _ALIGNMENT
    facts = {
        "sgdfit": sgdfit.__version__,
        "written": time.time(),
        "finished": snapshot.finished,
        "identity": dict(snapshot.identity),
        "records": records,
    }
    text = json.dumps(facts).encode()
    return text + b" " * (-(len(text) + _START.size) % _ALIGNMENT)


def decode(content: NDArray[np.uint8]) -> Snapshot:
    """Return what the bytes of a checkpoint hold; its arrays are views of them, read-only.

    Parameters
    ----------
    content : array of uint8, shape (bytes,)
        The whole file, which begins with `MAGIC`.

    Raises
    ------
    NewerVersionError
        When the bytes are whole, but of a version above `VERSION`.
    DamageError
        When they are not those that were written.
    """
    if len(content) < _START.size + _DIGEST:
        raise DamageError("it is cut off")
    body = content[:-_DIGEST]
    if not _whole(body, content[-_DIGEST:]):
        raise DamageError("its checksum is not that of its content")
    magic, version, length = _START.unpack_from(body.data)
    if magic == MAGIC and version > VERSION:
        raise NewerVersionError(str(version))
    try:
        return _read(body, length)
    except _MALFORMED as error:
        raise DamageError("its header cannot be read") from error


def _whole(body: NDArray[np.uint8], digest: NDArray[np.uint8]) -> bool:
    found = hashlib.sha256()
    for start in range(0, len(body), _STRIDE):
        found.update(body[start : start + _STRIDE].data)
    return found.digest() == digest.tobytes()


def _read(body: NDArray[np.uint8], length: int) -> Snapshot:
    start = _START.size + length
    facts = json.loads(body[_START.size : start].tobytes())
    records = {
        key: {name: _array(body[start:], fact) for name, fact in arrays.items()}
        for key, arrays in facts["records"].items()
    }
    finished = facts.get("finished") is True
    written = float(facts.get("written", math.nan))
    return Snapshot(dict(facts["identity"]), records, finished, written, str(facts["sgdfit"]))


def _array(content: NDArray[np.uint8], fact: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(str(fact["dtype"]))
    if not _portable(dtype):
        raise ValueError(dtype.str)
    shape, offset = tuple(fact["shape"]), fact["offset"]
    size = math.prod(shape)
    if not size or not dtype.itemsize:
        array: NDArray[Any] = np.empty(shape, dtype)
    else:
        end = offset + size * dtype.itemsize
        if not 0 <= offset < end <= len(content):
            raise ValueError(end)
        array = content[offset:end].view(dtype).reshape(shape)
    array.flags.writeable = False
    return array
