"""Columns as they come, written to one file: whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from sgdfit.checkpoint.atomic import cure, replacing
from sgdfit.errors import UsageError, require

Array = np.ndarray[Any, Any]
Columns = Mapping[str, Array]

PARQUET = ".parquet"
SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (*SEPARATORS, PARQUET)
# Whole numbers as Arrow writes them, which would read back as integers.
_WHOLE = r"^-?[0-9]+$"


class TableFile:
    r"""A table that grows block by block in a file beside ``path``, and takes its name at the end.

    When the block of ``with`` is left by an exception, or the disk is full, nothing is left of it,
    and a file that stood there before still stands. What is no regular file is written directly.

    ``path`` ends in ``.csv``, ``.tsv`` or ``.parquet``. A `UsageError` says when it does not, or
    when the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "curve.csv"
    ...     with TableFile(path) as file:
    ...         file.write({"x": np.array([1.0, 2.5])})
    ...         file.write({"x": np.array([1e-300])})
    ...         before = path.exists()
    ...     before, path.read_text()
    (False, 'x\n1.0\n2.5\n1e-300\n')
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.shown = repr(os.fspath(path))
        self.target = Path(os.path.realpath(path))
        self.ending = self.target.suffix.lower()
        if self.ending not in ENDINGS:
            raise UsageError(
                f"cannot write {self.shown}: its ending must be one of {', '.join(ENDINGS)}"
            )
        self.stack = contextlib.ExitStack()
        self.file: BinaryIO | None = None
        self.parquet: Any = None

    def __enter__(self) -> TableFile:
        return self

    def write(self, columns: Columns) -> None:
        """Add rows: columns of one length, of the same names and types in each call."""
        try:
            if self.file is None:
                self.file = self.stack.enter_context(replacing(self.target))
                self._begin(self.file, columns)
            if self.parquet is not None:
                self.parquet.write_table(_arrow(columns))
            else:
                self.file.write(separated(columns, SEPARATORS[self.ending]))
        except OSError as error:
            raise self._refusal(error) from error

    def _begin(self, file: BinaryIO, columns: Columns) -> None:
        if self.ending == PARQUET:
            parquet = require("pyarrow.parquet", "writing Parquet")
            # Few numbers of a curve are alike, so that a dictionary of them only costs time.
            schema = _arrow(columns).schema
            self.parquet = parquet.ParquetWriter(file, schema, use_dictionary=False)
        else:
            file.write(header(columns, SEPARATORS[self.ending]))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is not None:
                self.stack.__exit__(kind, error, trace)
                return
            with self.stack:
                if self.parquet is not None:
                    self.parquet.close()
        except OSError as trouble:
            if trouble is not error:
                raise self._refusal(trouble) from trouble
        finally:
            if self.parquet is not None:
                self.parquet.is_open = False  # or it would end the file when it is forgotten

    def _refusal(self, error: OSError) -> UsageError:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        left = "nothing is left; "
        if self.target.exists():
            left = "what stood there is intact; " if self.target.is_file() else ""
        return UsageError(f"cannot write {self.shown}: {reason}; {left}{cure(error)}")


def separated(columns: Columns, separator: str = ",") -> bytes:
    r"""Return rows as text, numbers so that they read back exactly.

    >>> separated({"row": np.array([1]), "x": np.array([0.1])})
    b'1,0.1\n'
    """
    pyarrow = require("pyarrow", "writing tables")
    csv = require("pyarrow.csv", "writing tables")
    texts = {f"c{k}": _texts(column) for k, column in enumerate(columns.values())}
    sink = pyarrow.BufferOutputStream()
    options = csv.WriteOptions(include_header=False, delimiter=separator, quoting_style="none")
    csv.write_csv(pyarrow.table(texts), sink, options)
    return bytes(sink.getvalue())


def header(columns: Columns, separator: str = ",") -> bytes:
    r"""Return the line with their names.

    >>> header({"α": np.ones(1)}).decode()
    'α\n'
    """
    return (separator.join(columns) + "\n").encode()


def _arrow(columns: Columns) -> Any:
    arrays = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    return require("pyarrow", "writing tables").table(arrays)


def _texts(column: Array) -> Any:
    """Return numbers as Arrow's text; whole ones of a column of floats with a point."""
    pyarrow = require("pyarrow", "writing tables")
    compute = require("pyarrow.compute", "writing tables")
    numbers = pyarrow.array(np.ascontiguousarray(column))
    if column.dtype.kind != "f":
        return numbers
    texts = compute.cast(numbers, pyarrow.string())
    with np.errstate(invalid="ignore"):
        if not (column == np.rint(column)).any():
            return texts
    whole = compute.match_substring_regex(texts, _WHOLE)
    return compute.if_else(whole, compute.binary_join_element_wise(texts, ".0", ""), texts)
