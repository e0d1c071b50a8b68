"""A sheet of a workbook as delimited text, a row a line, to be read as any other text is."""

from __future__ import annotations

import csv
import datetime
import functools
import io
import tempfile
from typing import Any

from sgdfit.data.files import DataFile, opened
from sgdfit.errors import DataError, did_you_mean, reason_of, require

# Of more text and rows than these, XML of some kilobytes may be made; a sheet has no more rows.
MOST, ROWS = 1 << 28, 1 << 20


def sheet_as_text(origin: DataFile, sheet: str | None, notes: dict[str, None]) -> DataFile:
    """Return a file that holds as text what a sheet of a workbook does; the first one by default.

    Once it is opened, ``notes`` tells which one that is, where there are several.

    Raises
    ------
    MissingDependencyError
        Where openpyxl is not installed.
    DataError
        When it is opened: where it is no workbook, or has no such sheet.
    """
    load = require("openpyxl", "reading a workbook", "sgdfit[excel]").load_workbook

    @functools.cache
    def text() -> Any:
        with opened(origin) as source:
            content = io.BytesIO(source.read())
        try:
            book = load(content, read_only=True, data_only=True)
            names = book.sheetnames
            if sheet is None and len(names) > 1:
                first = f"sheet {names[0]!r} read, the first of {len(names)}"
                notes[f"{first}; --sheet names another"] = None
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

        return pa.OSFile(text().name)

    return origin._replace(open=open_it)


def _text_of(sheet: Any, label: str) -> Any:
    """Write the cells of a sheet to a temporary file, without empty columns at either side."""
    sheet.reset_dimensions()  # which some programs write wrong
    begin, end, size = MOST, 0, 0
    options: Any = {"mode": "w+", "encoding": "utf-8", "errors": "replace", "newline": ""}
    with tempfile.TemporaryFile(**options) as whole:
        writer = csv.writer(whole, lineterminator="\n")
        for number, cells in enumerate(sheet.iter_rows(values_only=True)):
            row = [_written(cell) for cell in cells]
            filled = [place for place, field in enumerate(row) if field]
            begin, end = min([begin, *filled[:1]]), max([end, *(k + 1 for k in filled[-1:])])
            size += sum(map(len, row)) + 1
            if size > MOST or number >= ROWS:
                raise DataError(
                    f"{label} holds more than {MOST >> 20} MB of text, or {ROWS:,} rows; save it as"
                    " CSV"
                )
            writer.writerow(row)
        whole.seek(0)
        made = tempfile.NamedTemporaryFile(**options)  # noqa: SIM115  # goes with what reads it
        writer = csv.writer(made, lineterminator="\n")
        for row in csv.reader(whole):
            writer.writerow((row + [""] * end)[begin:end] if any(row) else [])
    made.flush()
    return made


def _written(cell: Any) -> str:
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, datetime.timedelta):
        return repr(cell.total_seconds())
    return "" if cell is None else " ".join(str(cell).split())
