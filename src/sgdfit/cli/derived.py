"""The command ``explain``: in which form a derivation is given, and where it goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sgdfit.cli.streams import print_text, width, write_text
from sgdfit.errors import UsageError

if TYPE_CHECKING:
    from sgdfit.derivation.derivation import Derivation

__all__ = ["columns_of", "deliver_text", "form_of", "rendered"]


def columns_of(variables: str, formula: str, response: str | None) -> list[str]:
    """Return the names given, and those on the left side, which can be nothing but columns."""
    from sgdfit.formula.formula import as_formula

    names = [name.strip() for name in variables.split(",")]
    return [*names, *as_formula(formula, response).response_names]


def rendered(derivation: Derivation, form: str) -> str:
    """Return a derivation as text, LaTeX or a page."""
    if form == "latex":
        return derivation.latex()
    return derivation.html(page=True) if form == "html" else derivation.text(width())


def deliver_text(text: str, output: str | None) -> None:
    """Print a text, or write it to a file."""
    if output is None:
        print_text(text)
    else:
        write_text(text, output)


def form_of(latex: bool, html: bool, output: str | None) -> str:
    """Return the form that was asked for: text, latex or html, also by the ending of a file.

    Examples
    --------
    >>> form_of(False, False, "gradient.html"), form_of(True, False, None)
    ('html', 'latex')
    """
    if latex and html:
        raise UsageError("--latex and --html are two forms; give one of them")
    if latex or html:
        return "latex" if latex else "html"
    ending = "" if output is None else Path(output).suffix.lower()
    return {".tex": "latex", ".html": "html", ".htm": "html"}.get(ending, "text")
