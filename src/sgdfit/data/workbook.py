"""A sheet of a workbook as delimited text, a row a line, to be read as any other text is."""

from __future__ import annotations

import csv
import datetime
import functools
import io
from typing import Any

from sgdfit.data.files import DataFile, opened
from sgdfit.errors import DataError, did_you_mean, reason_of, require

# Of more text than this, XML of some kilobytes may be made.
MOST = 1 << 30


def sheet_as_text(origin: DataFile, sheet: str | None) -> DataFile:
    """Return a file that holds as text what a sheet of a workbook does; the first one by default.

    Raises
    ------
    MissingDependencyError
        Where openpyxl is not installed.
    DataError
        When it is opened: where it is no workbook, or has no such sheet.
    """
    load = require("openpyxl", "reading a workbook", "sgdfit[excel]").load_workbook

    @functools.cache
    def text() -> bytes:
        with opened(origin) as source:
            content = io.BytesIO(source.read())
        try:
            book = load(content, read_only=True, data_only=True)
            names = book.sheetnames
            if sheet is None or sheet in names:
                return _text_of(book[names[0] if sheet is None else sheet], origin.label)
        except DataError:
            raise
        except Exception as error:  # of zip, XML and openpyxl
            reason = f"{type(error).__name__}: {reason_of(error)}"
            raise DataError(
                f"{origin.label} is damaged or no workbook ({reason}); save it again"
            ) from error
        raise DataError(
            f"{origin.label} has no sheet {sheet!r}; its sheets are {', '.join(names)}."
            f"{did_you_mean(sheet, names)}"
        )

    def open_it() -> Any:
        import pyarrow as pa

        return pa.BufferReader(text())

    return origin._replace(open=open_it)


def _text_of(sheet: Any, label: str) -> bytes:
    sheet.reset_dimensions()  # which some programs write wrong
    rows, size = [], 0
    for cells in sheet.iter_rows(values_only=True):
        rows.append([_written(cell) for cell in cells])
        size += sum(map(len, rows[-1])) + 1
        if size > MOST:
            raise DataError(f"{label} holds more than {MOST >> 20} MB of text; save it as CSV")
    filled = [place for row in rows for place, field in enumerate(row) if field]
    begin, end = min(filled, default=0), max(filled, default=0) + 1
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    for row in rows:
        writer.writerow((row + [""] * end)[begin:end] if any(row) else [])
    return made.getvalue().encode(errors="replace")


def _written(cell: Any) -> str:
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, datetime.timedelta):
        return repr(cell.total_seconds())
    return "" if cell is None else " ".join(str(cell).split())
