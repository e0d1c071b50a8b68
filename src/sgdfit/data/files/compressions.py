"""How files are compressed: their endings, their first bytes, and what unpacks them."""

from __future__ import annotations

from typing import Any

__all__ = ["BEGINNINGS", "COMPRESSIONS", "compression_of", "unpacking"]

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
BEGINNINGS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\x28\xb5\x2f\xfd", "zstd"))


def compression_of(head: bytes) -> str | None:
    """Return how a file is compressed that begins with ``head``, of four bytes or more.

    Examples
    --------
    >>> compression_of(b"BZh9"), compression_of(b"x,y ")
    ('bz2', None)
    """
    return next((name for magic, name in BEGINNINGS if head.startswith(magic)), None)


def unpacking(source: Any, compression: str) -> Any:
    """Return a `pyarrow.NativeFile` of what another, or an open binary file, holds compressed.

    Examples
    --------
    >>> import gzip, io
    >>> unpacking(io.BytesIO(gzip.compress(b"x,y")), "gzip").read()
    b'x,y'
    """
    import pyarrow as pa

    file = source if isinstance(source, pa.NativeFile) else pa.PythonFile(source, "r")
    return pa.CompressedInputStream(file, compression)
