"""Data that a view sends: kept in a folder of the session, never under a name of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgdfit.data.readers import open_table
from sgdfit.errors import UsageError

MOST_BYTES = 50_000_000
# As files of these kinds begin.
MAGIC = {b"PAR1": ".parquet", b"PK\x03\x04": ".xlsx"}


def uploaded(message: Mapping[str, Any]) -> object:
    """Return the table that a message holds as text or as the bytes of a file.

    Raises
    ------
    UsageError
        When there is nothing, or too much.
    DataError
        When it cannot be read.
    """
    content = message.get("content", message.get("text", ""))
    raw = content.encode() if isinstance(content, str) else bytes(content)
    if not raw.strip():
        raise UsageError("there are no data; paste a table with a header, or drop a file")
    if len(raw) > MOST_BYTES:
        raise UsageError(
            f"the data have {len(raw):,} bytes, and the view takes at most {MOST_BYTES:,}; fit"
            " larger files on the command line"
        )
    ending = next((end for magic, end in MAGIC.items() if raw.startswith(magic)), ".csv")
    with tempfile.TemporaryDirectory(prefix="sgdfit-") as folder:
        path = Path(folder) / f"data{ending}"
        path.write_bytes(raw)
        table = open_table(path)
        return table.arrow(table.names)
