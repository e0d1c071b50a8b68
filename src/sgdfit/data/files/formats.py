"""The formats of files: their endings, their first bytes, and what opens them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sgdfit.data.files.columnar import Contents
from sgdfit.data.files.compressions import COMPRESSIONS
from sgdfit.data.files.origins import Origin
from sgdfit.data.files.record_batches import FILE, STREAM, open_record_batches
from sgdfit.data.files.row_groups import open_row_groups
from sgdfit.data.files.stripes import open_stripes
from sgdfit.errors import DataError

__all__ = [
    "ARROW",
    "FORMATS",
    "MAGIC",
    "TEXT",
    "Format",
    "format_of",
    "format_table",
]


class Format(NamedTuple):
    """A format, the endings of its files, and what opens one; None for text."""

    name: str
    endings: tuple[str, ...]
    open: Callable[[Origin], Contents] | None


TEXT = Format("delimited text", (".csv", ".tsv", ".tab", ".txt", ".dat"), None)
PARQUET = Format("Parquet", (".parquet", ".pq"), open_row_groups)
ARROW = Format("Feather, Arrow", (".feather", ".arrow", ".arrows", ".ipc"), open_record_batches)
ORC = Format("ORC", (".orc",), open_stripes)

FORMATS = (TEXT, PARQUET, ARROW, ORC)
MAGIC = (
    (b"PAR1", PARQUET),
    (FILE, ARROW),
    (b"FEA1", ARROW),
    (STREAM, ARROW),
    (b"ORC", ORC),
)
HINTS = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "read it with pandas and pass the frame"),
    **dict.fromkeys((".h5", ".hdf5"), "read it with pandas and pass the frame"),
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
      ORC              .orc
      compressed       any of these followed by .gz .bz2 .zst
    """
    lines = [f"  {name:<16} {' '.join(endings)}" for name, endings, _ in FORMATS]
    lines.append(f"  {'compressed':<16} any of these followed by {' '.join(COMPRESSIONS)}")
    return "\n".join(lines)


def format_of(name: str) -> tuple[str | None, Format]:
    """Return the compression and the format that the ending of ``name`` stands for.

    Raises
    ------
    DataError
        When it stands for none; the message lists those that do.

    Examples
    --------
    >>> compression, kind = format_of("runs/dose.CSV.gz")
    >>> compression, kind.name
    ('gzip', 'delimited text')
    """
    path = Path(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    ending = Path(path.stem).suffix if compression else path.suffix
    for kind in FORMATS:
        if ending in kind.endings:
            return compression, kind
    hint = HINTS.get(ending, "give the file the ending of its format")
    said = f"the ending {ending!r}, which is not supported" if ending else "no ending"
    raise DataError(f"{name} has {said}; {hint}; supported are\n{format_table()}")
