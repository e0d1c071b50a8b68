"""The exceptions, each one clear sentence, and what their sentences share."""

from __future__ import annotations

import difflib
import importlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType

NAMES_SHOWN = 20


def counted(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def listed(names: Iterable[str], most: int = NAMES_SHOWN) -> str:
    """Return names in quotation marks, at most so many of them."""
    quoted = [repr(name) for name in names]
    more = len(quoted) - most
    return ", ".join(quoted[:most]) + (f" and {more} more" if more > 0 else "")


def enumerated(names: Sequence[str]) -> str:
    """Return names as one says them: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def reason_of(error: BaseException) -> str:
    r"""Return the first line of what an error says, to stand within a sentence.

    Examples
    --------
    >>> reason_of(OSError("Cannot parse footer. \n0: parse.cc")), reason_of(EOFError())
    ('Cannot parse footer', 'EOFError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")


class SgdfitError(Exception):
    """Base of all errors that sgdfit raises on purpose; its text is one clear sentence."""


class UsageError(SgdfitError, ValueError):
    """An argument is not what is allowed."""


class DataError(SgdfitError, ValueError):
    """The data cannot be read, or do not hold what the formula needs."""


class CacheWarning(UserWarning):
    """Compiled kernels cannot be kept on disk, or one that was kept is damaged; the run goes on."""


class ClusterError(SgdfitError, RuntimeError):
    """A cluster cannot be reached, is lost, or its workers cannot do what they are asked."""


class CheckpointError(DataError):
    """A checkpoint cannot be written, is not one that this run can go on from, or is in use."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; the run goes on without."""


class DivergenceWarning(UserWarning):
    """The learning rate of a run that is about to begin is above its stability limit."""


class MissingDependencyError(SgdfitError, ImportError):
    """An optional package is needed and not installed."""


class FormulaError(SgdfitError, ValueError):
    """A formula cannot be read.

    ``message`` says what is wrong and what to write instead, and ``position`` where in the user's
    ``text`` the trouble stands, counted in characters from 0.

    Examples
    --------
    >>> print(FormulaError("'2x' lacks a sign; write 2*x", "y = 2x", 4))
    '2x' lacks a sign; write 2*x
      y = 2x
          ^
    """

    def __init__(self, message: str, text: str | None = None, position: int | None = None) -> None:
        self.message = message
        self.text = text
        self.position = position
        super().__init__(message + _caret(text, position))


def _caret(text: str | None, position: int | None, width: int = 72) -> str:
    """Two lines that show ``text`` with a caret below ``position``, cut to ``width`` around it."""
    if text is None or position is None:
        return ""
    left = max(0, position - width // 2)
    right = min(len(text), left + width)
    head, tail = "…" if left else "", "…" if right < len(text) else ""
    window = "".join(c if c.isprintable() else " " for c in text[left:right])
    return f"\n  {head}{window}{tail}\n  {' ' * (len(head) + position - left)}^"


def with_option(name: str, value: object) -> str:
    """Say how an option of reading is given, in Python and on the command line."""
    flag = f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
    return f"pass {name}={value!r} to sgdfit.open_table ({flag})"


def did_you_mean(name: str, known: Iterable[str], written: Callable[[str], str] = repr) -> str:
    """Return `` Did you mean 'x'?`` for the nearest of ``known``, or an empty string."""
    near = closest_name(name, known)
    return f" Did you mean {written(near)}?" if near else ""


def as_column(name: str) -> str:
    """Write the name of a column so that it can be copied into a formula: ``{Time (s)}``."""
    return repr(name) if name.isidentifier() else f"{{{name}}}"


def closest_name(name: str, known: Iterable[str]) -> str:
    """Return the one of ``known`` that is spelled most like ``name``; empty if none is."""
    # Case tells less than letters do: T is nearer to t than to P.
    folded = {other.casefold(): other for other in reversed(list(known))}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    near = near or [other for other in folded if other.startswith(name.casefold())]
    return folded[near[0]] if len(near) == 1 else ""


def require(module: str, purpose: str, package: str | None = None) -> ModuleType:
    """Import an optional ``module``, or say which package to install for ``purpose``."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = package or module.partition(".")[0]
        raise MissingDependencyError(
            f"{purpose} needs the package {package!r}, which is not installed;"
            f" run: pip install {package}"
        ) from error
