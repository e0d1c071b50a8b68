"""Columns as they come, written to one file: whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sgdfit.checkpoint.atomic import cure, replacing
from sgdfit.errors import UsageError, require

Array = np.ndarray[Any, Any]
# NumPy or Arrow arrays.
ColumnMapping = Mapping[str, Any]

PARQUET = ".parquet"
SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (*SEPARATORS, PARQUET)
# Whole numbers as Arrow writes them, which would read back as integers.
_WHOLE = r"^-?[0-9]+$"


@contextlib.contextmanager
def writing_table(
    path: str | os.PathLike[str], inputs: Iterable[str] = ()
) -> Iterator[Callable[[ColumnMapping], None]]:
    r"""Yield what adds rows to a file beside ``path``, which takes its name at the end.

    The rows of each call are columns of the same names and types. When the block of ``with`` is
    left by an exception, or the disk is full, nothing is left of them, and a file that stood there
    before still stands. What is no regular file is written directly. A `UsageError` says when
    ``path`` does not end in ``.csv``, ``.tsv`` or ``.parquet``, is one of the ``inputs``, or cannot
    be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "curve.csv"
    ...     with writing_table(path) as write:
    ...         write({"x": np.array([1.0, 2.5])})
    ...         write({"x": np.array([1e-300])})
    ...         before = path.exists()
    ...     before, path.read_text()
    (False, 'x\n1.0\n2.5\n1e-300\n')
    """
    shown, target = repr(os.fspath(path)), Path(os.path.realpath(path))
    ending = target.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"cannot write {shown}: its ending must be one of {', '.join(ENDINGS)}")
    parquet: Any = None
    begun = False
    raised: BaseException | None = None

    def refusal(error: OSError) -> UsageError:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        left = "nothing is left; "
        if target.exists():
            left = "what stood there is intact; " if target.is_file() else ""
        return UsageError(f"cannot write {shown}: {reason}; {left}{cure(error)}")

    try:
        with replacing(target, inputs) as file:

            def write(columns: ColumnMapping) -> None:
                nonlocal parquet, begun
                try:
                    if ending != PARQUET:
                        if not begun:
                            file.write(header(columns, SEPARATORS[ending]))
                        file.write(separated(columns, SEPARATORS[ending]))
                    else:
                        table = _arrow(columns)
                        if parquet is not None:
                            table = table.cast(parquet.schema)
                        if parquet is None:
                            pq = require("pyarrow.parquet", "writing Parquet")
                            # Few numbers of a curve are alike: a dictionary would only cost time.
                            parquet = pq.ParquetWriter(file, table.schema, use_dictionary=False)
                        parquet.write_table(table)
                    begun = True
                except OSError as error:
                    raise refusal(error) from error

            try:
                yield write
            except BaseException as error:
                raised = error
                raise
            if parquet is not None:
                parquet.close()
    except OSError as error:
        if error is raised:
            raise
        raise refusal(error) from error
    finally:
        if parquet is not None:
            parquet.is_open = False  # or it would end the file when it is forgotten


def separated(columns: ColumnMapping, separator: str = ",") -> bytes:
    r"""Return rows as text, numbers so that they read back exactly.

    >>> separated({"x": np.array([1.0, 2.5]), "site": np.array(["a", 'b,c'])})
    b'1.0,a\n2.5,"b,c"\n'
    """
    pa = require("pyarrow", "writing tables")
    join = require("pyarrow.compute", "writing tables").binary_join_element_wise
    texts = [_texts(column, separator) for column in columns.values()]
    joined = join(*texts, separator, null_handling="replace", null_replacement="")
    lines = join(joined, "\n", "")
    parts = lines.chunks if isinstance(lines, pa.ChunkedArray) else [lines]
    # Arrow keeps the lines of an array one after another.
    return b"".join(part.buffers()[2].to_pybytes() for part in parts if len(part))


def header(columns: ColumnMapping, separator: str = ",") -> bytes:
    """Return the line with their names."""
    names = require("pyarrow", "writing tables").array(list(columns), "string")
    return (separator.join(_quoted(names, separator).to_pylist()) + "\n").encode()


def _arrow(columns: ColumnMapping) -> Any:
    arrays = {
        name: np.ascontiguousarray(column) if isinstance(column, np.ndarray) else column
        for name, column in columns.items()
    }
    return require("pyarrow", "writing tables").table(arrays)


def _texts(column: Any, separator: str) -> Any:
    """Return a column as Arrow's text; whole numbers of a column of floats with a point."""
    pa = require("pyarrow", "writing tables")
    compute = require("pyarrow.compute", "writing tables")
    if isinstance(column, np.ndarray):
        column = pa.array(np.ascontiguousarray(column))
    try:
        texts = compute.cast(column, pa.string())
    except pa.ArrowException:  # lists and the like
        texts = pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
    if pa.types.is_integer(column.type):
        return texts
    if not pa.types.is_floating(column.type):
        return _quoted(texts, separator)
    whole = compute.match_substring_regex(texts, _WHOLE)
    if not compute.any(whole).as_py():
        return texts
    return compute.if_else(whole, compute.binary_join_element_wise(texts, ".0", ""), texts)


def _quoted(texts: Any, separator: str) -> Any:
    """Put in quotes what would be read as several fields, or as none."""
    compute = require("pyarrow.compute", "writing tables")
    doubled = compute.replace_substring(texts, '"', '""')
    quoted = compute.binary_join_element_wise('"', doubled, '"', "")
    special = compute.match_substring_regex(texts, f'[{separator}"\\r\\n]|^ | $|^$')
    return compute.if_else(special, quoted, texts)
