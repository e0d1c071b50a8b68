"""What the command line makes of its arguments before the library sees them."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sgdfit.cli.streams import say
from sgdfit.errors import FormulaError, UsageError

if TYPE_CHECKING:
    from sgdfit.data.table import Table

__all__ = ["as_numbers", "as_start", "check_texts", "data_first", "open_data"]

LABEL = "standard input"
HEAD, BLOCK = 64, 1 << 20


def open_data(data: str, where: str | None = None, missing: str = "error") -> Table:
    """Open a file or standard input; the table can be read twice, standard input cannot."""
    from sgdfit.data.readers import open_table

    if data == "-" and sys.stdin.isatty():
        say("reading rows from the terminal; end them with Ctrl-D on a line of its own")
    if where is not None:
        _check_condition(where)
    return open_table(data if data != "-" else _standard_input(missing), where)


def _check_condition(text: str) -> None:
    """Read a condition before any data, and name its option where that cannot be done."""
    from sgdfit.data.conditions.parsing import read_condition

    try:
        read_condition(text)
    except FormulaError as error:
        named = f"--where cannot be read: {error.message}"
        raise FormulaError(named, error.text, error.position) from error


def _standard_input(missing: str) -> Table | str:
    """Return JSON lines as a table that is read once; all else the library knows by itself."""
    from sgdfit.cli.json_lines import JsonLines, is_json

    if not is_json(_first_bytes()):
        return "-"
    from sgdfit.data.one_pass import open_batches

    lines = JsonLines(LABEL, lenient=missing == "drop")

    def tables() -> Iterator[Table]:
        while block := sys.stdin.buffer.read(BLOCK):
            yield from (batch.table() for batch in lines.feed(block))
        yield from (batch.table() for batch in lines.feed(b"", final=True))

    return open_batches(tables(), LABEL, lambda table: table)


def _first_bytes() -> bytes:
    """Return how standard input begins, and leave it there."""
    stream: Any = getattr(sys.stdin, "buffer", None)
    if hasattr(stream, "peek"):
        return bytes(stream.peek(HEAD)[:HEAD])
    if stream is None or not stream.seekable():
        return b""
    place = stream.tell()
    head = stream.read(HEAD)
    stream.seek(place)
    return bytes(head)


def data_first(data: str, formula: str) -> tuple[str, str]:
    """Return data and formula; whichever order they were given in, one of them is the file.

    Examples
    --------
    >>> data_first("y = a*x", "points.csv")
    ('points.csv', 'y = a*x')
    """
    swapped = not _is_input(data) and (
        _is_input(formula) or (_is_equation(data) and not _is_equation(formula))
    )
    data, formula = (formula, data) if swapped else (data, formula)
    # a blank may shield a formula that begins with a minus
    return data.lstrip(" ") if data.startswith(" -") else data, formula.lstrip()


def _is_input(text: str) -> bool:
    return text == "-" or os.path.exists(os.path.expanduser(text)) or _is_pattern(text)


def _is_pattern(text: str) -> bool:
    """Whether a text is a pattern of files or an address, which no formula looks like."""
    if "://" in text:
        return True
    return any(sign in text for sign in "*?[") and bool(glob.glob(os.path.expanduser(text)))


def _is_equation(text: str) -> bool:
    return "=" in text or "~" in text


def as_start(start: list[str] | None) -> list[str] | str | None:
    """Return what `sgdfit.fit` takes; ``random`` and ``search`` stand alone."""
    return start[0] if start in (["random"], ["search"]) else start


def check_texts(bound: list[str] | None, **texts: str | None) -> None:
    """Refuse texts that no column or bound can be, naming their option as the shell does.

    Raises
    ------
    UsageError
        When one is empty, or a bound compares nothing.
    """
    for name, text in texts.items():
        if text is not None and not text.strip():
            kind = "a condition such as 'x > 0'" if name == "where" else "a column"
            raise UsageError(f"--{name} is empty; give {kind}, or leave the option out")
    for text in bound or ():
        if "<" not in text and ">" not in text:
            raise UsageError(f"--bound is {text!r}; write '0 < b < 10' or 'b > 0'")


def as_numbers(**texts: str | None) -> dict[str, Any]:
    """Return the options that are numbers; whether they are in range the library says.

    Raises
    ------
    UsageError
        When one is no number.

    Examples
    --------
    >>> as_numbers(steps="1e3", learning_rate="0.5", epochs=None)
    {'steps': 1000, 'learning_rate': 0.5, 'epochs': None}
    """
    return {name: None if text is None else _number(name, text) for name, text in texts.items()}


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
        return int(text) if text.isdecimal() else int(value) if value.is_integer() else value
    except ValueError:
        option = name.replace("_", "-")
        raise UsageError(f"--{option} is {text!r}; a number is needed") from None
