"""Lines of source that compute values of one row, in a quick form and in a sure one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import sympy

from sgdfit.formula.functions import FUNCTIONS
from sgdfit.formula.real import Where, Xlogy
from sgdfit.kernel.instructions import fuses

__all__ = ["Lines", "in_both_forms"]

# Functions whose quick form has a limit (`sgdfit.kernel.elementary.LARGEST_ANGLE`), and what may
# hide the NaN that they say beyond it.
ANGLES = ("sin", "cos", "tan", "cot")
HIDING = (Where, Xlogy, sympy.Piecewise)


class Lines(NamedTuple):
    """Lines that compute the same values in two ways.

    Attributes
    ----------
    quick : list of str
        By functions that stay in vector registers.
    sure : list of str
        By the library of C.
    partial : bool
        Whether ``quick`` has rows for which it says NaN though ``sure`` knows the value.
    """

    quick: list[str]
    sure: list[str]
    partial: bool


def in_both_forms(
    lines: list[str], expressions: Iterable[Any], only: Collection[str] | None = None
) -> Lines:
    """Return the lines, which compute ``expressions``, in both forms.

    Parameters
    ----------
    lines : list of str
        Whose functions are those of `sgdfit.kernel.elementary`.
    expressions : iterable of sympy.Expr
    only : collection of str, optional
        The functions that the quick form is to take from there; by default all.
    """
    sure = [line.replace("elementary.", "library.") for line in lines]
    if not (fuses() and all(map(_is_shown, expressions))):
        return Lines(sure, sure, False)
    if only is not None:
        kept = "|".join(only)
        lines = [re.sub(rf"elementary\.(?!({kept})\()", "library.", line) for line in lines]
    limited = any(f"elementary.{name}(" in line for name in ANGLES for line in lines)
    return Lines(lines, sure, limited)


def _is_shown(expression: Any) -> bool:
    """Return whether NaN from a function of `ANGLES` makes the whole expression NaN."""
    for part in sympy.preorder_traversal(expression):
        hides = isinstance(part, HIDING) or (part.is_Pow and not part.exp.is_number)
        if hides and part.has(*(FUNCTIONS[name].symbolic for name in ANGLES)):
            return False
    return True
