"""The options of the command line: each declared once, with its help and its completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

__all__ = ["DATA", "declared", "names_of", "words"]

PARAMETERS = "Parameters"
DATA = "Data"


def names_of(module: str, table: str) -> Callable[[str], list[str]]:
    """Complete the names of a table, which is imported only when a shell asks."""

    def complete(incomplete: str) -> list[str]:
        import importlib

        known = getattr(importlib.import_module(f"sgdfit.{module}"), table)
        return [name for name in known if name.startswith(incomplete)]

    return complete


def words(*known: str) -> Callable[[str], list[str]]:
    """Complete a few words."""
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def declared(help: str, panel: str, *names: str, metavar: str = "", **more: Any) -> Any:
    """Declare an option; a switch has no metavar."""
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, **more)


DataFile = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="CSV, TSV, Parquet, Feather, Arrow or ORC file, also .csv.gz and the like; a folder or"
        " a quoted pattern of files; - for standard input, also JSON lines.",
        show_default=False,
    ),
]
OptionalData = Annotated[
    str | None,
    typer.Argument(metavar="DATA", help="Data whose numbers are put in, to check the gradient."),
]
FormulaText = Annotated[
    str,
    typer.Argument(
        metavar="FORMULA",
        help='"y = a*x + b", or with ~; names that are columns are variables, the others'
        " parameters.",
        show_default=False,
    ),
]
SavedFit = Annotated[
    str, typer.Argument(metavar="SAVED", help="A file written by fit --save.", show_default=False)
]

Response = Annotated[
    str | None,
    declared(
        "The left side, where the formula has none.", PARAMETERS, "--response", metavar="COLUMN"
    ),
]
Start = Annotated[
    list[str] | None,
    declared(
        'Where parameters start: "a=4,b=5", "search" or "random"; unless given, auto searches and'
        " textbook descent begins at 1.",
        PARAMETERS,
        "--start",
        metavar="NAME=VALUE,…",
    ),
]
Fix = Annotated[
    list[str] | None,
    declared(
        "Hold parameters at a value: c=3. Repeatable.", PARAMETERS, "--fix", metavar="NAME=VALUE,…"
    ),
]
Bound = Annotated[
    list[str] | None,
    declared(
        'Keep within bounds: "0 < b < 10". Repeatable.', PARAMETERS, "--bound", metavar="TEXT"
    ),
]
Tie = Annotated[
    list[str] | None,
    declared('Let one follow others: "d = 2*a". Repeatable.', PARAMETERS, "--tie", metavar="TEXT"),
]
Loss = Annotated[
    str,
    declared(
        "mse, mae, huber, soft_l1, cauchy, log_cosh, quantile, poisson, with options as in"
        ' "huber(delta=2)", or a formula of prediction and target.',
        PARAMETERS,
        "--loss",
        metavar="NAME",
        autocompletion=names_of("model.loss", "LOSSES"),
    ),
]
Weights = Annotated[
    str | None,
    declared(
        'A column that weighs the rows, or an expression such as "1/s**2".',
        DATA,
        "--weights",
        metavar="TEXT",
    ),
]
Sigma = Annotated[
    str | None,
    declared(
        'Instead of weights: the standard deviation of each row, a column or "0.1*y".',
        DATA,
        "--sigma",
        metavar="TEXT",
    ),
]
AbsoluteSigma = Annotated[
    bool,
    declared(
        "Take sigma at its word: standard errors are not scaled by the residuals.",
        DATA,
        "--absolute-sigma",
        show_default=False,
    ),
]
Covariance = Annotated[
    str,
    declared(
        "Whence standard errors come: auto, classical, or sandwich, which is right also where the"
        " scatter differs from row to row.",
        DATA,
        "--covariance",
        metavar="WORD",
        autocompletion=words("auto", "classical", "sandwich"),
    ),
]
Intervals = Annotated[
    str,
    declared(
        "The 95% intervals of parameters: wald, by Student's t, or profile, by refits along the"
        " profile likelihood.",
        DATA,
        "--intervals",
        metavar="WORD",
        autocompletion=words("wald", "profile"),
    ),
]
Missing = Annotated[
    str,
    declared(
        "Rows without finite numbers: error, or drop them.",
        DATA,
        "--missing",
        metavar="WORD",
        autocompletion=words("error", "drop"),
    ),
]
Variables = Annotated[
    str | None,
    declared(
        "Without data: which names are columns, as in x,t.",
        DATA,
        "--variables",
        metavar="NAME,…",
    ),
]
