"""What the command line writes: to standard output and error, and where its files may go."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import shutil
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgdfit.errors import CacheWarning, CheckpointWarning, DivergenceWarning, UsageError

if TYPE_CHECKING:
    import numpy as np

    from sgdfit.result.result import Result

__all__ = [
    "check_destinations",
    "print_report",
    "print_table",
    "print_text",
    "say",
    "say_error",
    "tolerate_any_encoding",
    "warnings_told",
    "width",
    "write_text",
]

# For terminals without Unicode; one sign for one sign, so that formulas keep their columns.
_PLAIN: dict[int, str | int] = {
    **str.maketrans("─━│┃−–—×·✓✗∂ΣΔ∑λησθχ≤≥≈←→", "--||---x.*xdSDSlnstX<>~<>"),
    ord("±"): "+-",
    ord("…"): "..",
}
# Errors of the library name Python's arguments, as in response='y'; here they are options.
_ARGUMENT = re.compile(
    r"(?<!['\w-])(response|missing|intervals?|sigma|weights|covariance|dtype|kernel|steps|epochs"
    r"|learning_rate)=('[\w.+-]+'|[\w.+-]+)"
)
_WHERE = re.compile(r"(?<!['\w-])where=(?=['\"])")
_NAME = re.compile(r"(?<!['\w-])(batch|learning|trace|absolute)_(size|rate|every|sigma)(?![\w'])")
_ASIDE = re.compile(r"missing='drop' \((--missing drop) on the command line\)")


def tolerate_any_encoding() -> None:
    """Let no sign stop the output: one that the terminal cannot show becomes its nearest or ?.

    A stream that the shell closed, as in ``>&-``, leads nowhere.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    codecs.register_error("sgdfit", _nearest)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="sgdfit")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end].translate(_PLAIN)
    plain = (unicodedata.normalize("NFKD", sign) for sign in signs)
    return "".join(sign if sign.isascii() else "?" for sign in plain), error.end


def width() -> int:
    """Return the terminal's width, or COLUMNS, or 80 where the output goes elsewhere."""
    return shutil.get_terminal_size((80, 24)).columns


def say(text: str) -> None:
    """Write a message to standard error."""
    sys.stderr.write(f"sgdfit: {printable(text)}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def warnings_told(tell: Callable[[str], None], wanted: bool) -> Iterator[None]:
    """Tell of a learning rate that is too large, or files that cannot be kept, in a sentence."""
    ours = (DivergenceWarning, CheckpointWarning, CacheWarning)
    with warnings.catch_warnings():
        for category in ours:
            warnings.simplefilter("always" if wanted else "ignore", category)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, ours):
                tell(f"warning: {printable(str(message))}")
            else:
                usual(message, category, *where)

        warnings.showwarning = show  # type: ignore[assignment]  # the rest is passed on as it is
        yield


def say_error(text: str) -> None:
    """Write an error to standard error, in the words of the shell."""
    from rich.console import Console
    from rich.text import Text

    said = Text.assemble("sgdfit: ", ("error: ", "bold red"), printable(_in_shell_words(text)))
    # a caret stands below its place only where no line is wrapped
    Console(stderr=True, highlight=False, emoji=False).print(said, soft_wrap=True)


def _in_shell_words(text: str) -> str:
    """Name options instead of Python's arguments.

    Examples
    --------
    >>> _in_shell_words("steps=2 and epochs=3 are two lengths")
    '--steps 2 and --epochs 3 are two lengths'
    """
    # what follows the first line quotes the user's own text
    sentence, line_break, rest = text.partition("\n")
    sentence = _ASIDE.sub(r"\1", sentence)
    sentence = _ARGUMENT.sub(lambda m: f"--{m[1]} {m[2].strip(chr(39))}", sentence)
    sentence = _WHERE.sub("--where ", sentence)
    sentence = _NAME.sub(r"--\1-\2", sentence).replace("--learning_rate", "--learning-rate")
    return sentence + line_break + rest


def printable(text: str) -> str:
    r"""Put � for what would command the terminal; names of files may hold anything.

    Examples
    --------
    >>> printable("no file 'a\x1b[2J'")
    "no file 'a�[2J'"
    """
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def print_text(text: str) -> None:
    """Write text to standard output, ended by one line break."""
    sys.stdout.write(text.rstrip("\n") + "\n")


def print_report(result: Result) -> None:
    """Write the report: in colour on a terminal, else as plain text."""
    from rich.console import Console

    from sgdfit.report.report import as_rich, as_text

    console = Console(highlight=False, emoji=False)
    if console.is_terminal:
        console.print(as_rich(result))
    else:
        print_text(as_text(result, width()))


def print_table(blocks: Iterable[Mapping[str, np.ndarray[Any, Any]]]) -> None:
    """Write columns to standard output as CSV, numbers so that they read back exactly.

    Parameters
    ----------
    blocks : iterable of mapping of str to array of shape (n,)
        The rows, some at a time; each block has the same columns.
    """
    from sgdfit.result.table_file import header, separated

    # names of columns are written as they were read, whatever the terminal shows
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8")
    for number, columns in enumerate(blocks):
        if number == 0:
            sys.stdout.write(header(columns).decode())
        sys.stdout.write(separated(columns).decode())


def write_text(text: str, path: str) -> None:
    """Write text to a file.

    Raises
    ------
    UsageError
        When it cannot be written.
    """
    try:
        Path(path).write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path!r}: {error.strerror}") from error


def check_destinations(
    destinations: Iterable[tuple[str, str | None, Iterable[str]]], sources: Iterable[str] = ()
) -> None:
    """Refuse, before any work is done, files that could not be written when it is.

    Parameters
    ----------
    destinations : iterable of (option, path or None, endings)
        Where the option wants to write; no endings: any will do.
    sources : iterable of str
        Files that are read, which none may overwrite.

    Raises
    ------
    UsageError
        When an ending is unknown, a folder is missing, a file may not be written, or two are one.
    """
    taken = {_identity(source): "the file that is read" for source in sources if source != "-"}
    for option, path, endings in destinations:
        if path is None:
            continue
        trouble = _trouble(path, tuple(endings))
        if trouble is None and _identity(path) in taken:
            trouble = f"it is also {taken[_identity(path)]}; name another file"
        if trouble is not None:
            raise UsageError(f"cannot write {option} {path!r}: {trouble}")
        if not _is_device(path):
            taken[_identity(path)] = f"the file of {option}"


def _trouble(path: str, endings: tuple[str, ...]) -> str | None:
    place = Path(path)
    folder = str(place.parent)
    if path in ("", "-"):
        return "a name is needed"
    if endings and place.suffix.lower() not in endings:
        return f"its ending must be one of {', '.join(endings)}"
    if os.path.isdir(path):
        return "it is a folder; name a file in it"
    if not os.path.isdir(folder):
        return f"there is no folder {folder!r}; make it first"
    if os.path.exists(path):
        return None if os.access(path, os.W_OK) else "the file is protected (permission denied)"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder!r} is protected (permission denied)"
    return None


def _is_device(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path)


def _identity(path: str) -> tuple[int, int] | str:
    """Return what two names of one file share: by link or hard link, it is one file."""
    path = os.path.realpath(os.path.expanduser(path))
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path
    return status.st_dev, status.st_ino
