"""Tables written as files of each format, in pieces of so many rows."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq

# As which all tables of numbers, texts and times can be written.
KINDS = ("parquet", "feather", "arrow", "arrows", "orc", "csv", "csv.gz")


def write(table, path, rows=30):
    """Write a table in the format that the ending of ``path`` names, and return the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = path.suffix
    if ending in (".parquet", ""):
        pq.write_table(table, path, row_group_size=rows)
    elif ending in (".feather", ".arrow"):
        packing = "uncompressed" if ending == ".feather" else "lz4"
        pyarrow.feather.write_feather(table, str(path), chunksize=rows, compression=packing)
    elif ending == ".arrows":
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    elif ending == ".orc":
        pyarrow.orc.write_table(table, str(path))
    else:
        text = io.BytesIO()
        pyarrow.csv.write_csv(table, text)
        content = text.getvalue()
        path.write_bytes(gzip.compress(content) if ending == ".gz" else content)
    return path
