"""What error messages share."""

from __future__ import annotations

from collections.abc import Iterable

NAMES_SHOWN = 20


def counted(count: int, noun: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> counted(1, "field"), counted(2000, "row")
    ('1 field', '2,000 rows')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def listed(names: Iterable[str], most: int = NAMES_SHOWN) -> str:
    """Return names in quotation marks, at most so many of them.

    Examples
    --------
    >>> listed(["x", "y", "z"]), listed(["x", "y", "z"], most=1)
    ("'x', 'y', 'z'", "'x' and 2 more")
    """
    quoted = [repr(name) for name in names]
    more = len(quoted) - most
    return ", ".join(quoted[:most]) + (f" and {more} more" if more > 0 else "")


def reason_of(error: BaseException) -> str:
    r"""Return the first line of what an error says, to stand within a sentence.

    Examples
    --------
    >>> reason_of(OSError("Cannot parse footer. \n0: parse.cc")), reason_of(EOFError())
    ('Cannot parse footer', 'EOFError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
