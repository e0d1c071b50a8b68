"""The options of the command line: each declared once, with its help and its completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

__all__ = ["DATA", "EXAMPLES", "declared"]

PARAMETERS = "Parameters"
DESCENT = "Descent"
DATA = "Data"
OUTPUT = "Output"

# Shown by --help of each command; a test runs every line.
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "fit": (
        (
            "every name that is no column of the data is a parameter; nothing else is needed",
            'sgdfit fit data.csv "y = a*x**2 + b*x + c"',
        ),
        (
            "by textbook descent",
            'sgdfit fit data.csv "y = a*x**2 + b*x + c" --optimizer sgd --learning-rate 0.2'
            " --steps 200",
        ),
        (
            "starts, bounds, fixed and tied parameters",
            'sgdfit fit data.csv "y = a*x**2 + b*x + c + d" --start a=4,b=-5 --bound "0 < a < 10"'
            ' --fix d=0.5 --tie "c = 2*a"',
        ),
        (
            "in batches of 5 rows, outliers damped, the answer as JSON",
            'sgdfit fit data.csv "y = a*x + b" --loss huber --optimizer adam --batch-size 5'
            " --epochs 50 --json",
        ),
        (
            "errors of the measurement that are known",
            'sgdfit fit data.csv "y = a*x + b" --sigma 0.5 --absolute-sigma',
        ),
        (
            "some rows of many files, within 2 GB; killed, it goes on with --resume",
            'sgdfit fit "*.csv" "y = a*x + b" --where "x > 0 and y < 100" --memory 2GB'
            " --checkpoint run.checkpoint",
        ),
        (
            "from standard input, with files to keep",
            'sgdfit fit - "y = a*x + b" --save fit.json --trace trace.csv --plot fit.svg'
            " < data.csv",
        ),
        (
            "rows that are still arriving, old ones forgotten, a line every 1,000 rows",
            'sgdfit fit - "y = a*x + b" --follow --every 1000 --forgetting half_life=5000'
            " < data.csv",
        ),
    ),
    "predict": (
        ("the curve at the rows of a file", "sgdfit predict fit.json data.csv"),
        ("to a file", "sgdfit predict fit.json data.csv --output curve.parquet"),
        (
            "with the 99% band of new points",
            "sgdfit predict fit.json data.csv --interval prediction --level 0.99",
        ),
    ),
    "explain": (
        ("the gradient, derived", 'sgdfit explain "y = a*x**2 + b*x + c"'),
        (
            "with numbers, checked on data",
            'sgdfit explain "y = a*x + b" data.csv --start a=4,b=5',
        ),
        (
            "as a page for a browser",
            'sgdfit explain "S = S0*exp(-k*hours)" --variables hours --output gradient.html',
        ),
    ),
    "show": (("the report of a saved fit", "sgdfit show fit.json"),),
    "demo": (("into a folder of your choice", "sgdfit demo --output story"),),
}


def _names(module: str, table: str) -> Callable[[str], list[str]]:
    """Complete the names of a table, which is imported only when a shell asks."""

    def complete(incomplete: str) -> list[str]:
        import importlib

        known = getattr(importlib.import_module(f"sgdfit.{module}"), table)
        return [name for name in known if name.startswith(incomplete)]

    return complete


def _words(*words: str) -> Callable[[str], list[str]]:
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


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
        autocompletion=_names("models.loss", "LOSSES"),
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
        autocompletion=_words("auto", "classical", "sandwich"),
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
        autocompletion=_words("wald", "profile"),
    ),
]
Missing = Annotated[
    str,
    declared(
        "Rows without finite numbers: error, or drop them.",
        DATA,
        "--missing",
        metavar="WORD",
        autocompletion=_words("error", "drop"),
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

OptimizerName = Annotated[
    str | None,
    declared(
        "auto (the default), which needs neither rate nor starts; or textbook descent: sgd,"
        ' adagrad, rmsprop, adam, adamw, with options as in "sgd(momentum=0.9)" or'
        ' "averaged(adam)".',
        DESCENT,
        "--optimizer",
        metavar="NAME",
        autocompletion=_names("optimization.optimizer", "OPTIMIZERS"),
    ),
]
LearningRate = Annotated[
    str | None,
    declared(
        "For sgd, unless given, from the curvature at the start.",
        DESCENT,
        "--learning-rate",
        "-r",
        metavar="RATE",
    ),
]
ScheduleName = Annotated[
    str | None,
    declared(
        'How the rate changes: constant, cosine, "inverse_time(decay=0.01)", …',
        DESCENT,
        "--schedule",
        metavar="NAME",
        autocompletion=_names("optimization.schedule", "SCHEDULES"),
    ),
]
BatchSize = Annotated[
    str | None,
    declared(
        "Rows of one step of textbook descent: a number, or full.",
        DESCENT,
        "--batch-size",
        metavar="ROWS",
        autocompletion=_words("full"),
    ),
]
Steps = Annotated[
    str | None,
    declared(
        "Steps to take; 1,000 unless given, of auto at most 2,000.",
        DESCENT,
        "--steps",
        "-n",
        metavar="NUMBER",
    ),
]
Epochs = Annotated[
    str | None,
    declared("Instead of steps: passes through the data.", DESCENT, "--epochs", metavar="NUMBER"),
]
Shuffle = Annotated[
    bool, declared("Visit the rows in a new order each epoch.", DESCENT, "--shuffle/--no-shuffle")
]
Seed = Annotated[
    str,
    declared("Of shuffling, samples and searches.", DESCENT, "--seed", metavar="NUMBER"),
]
Tolerance = Annotated[
    str | None,
    declared(
        "Stop once this many standard errors from the optimum.",
        DESCENT,
        "--tolerance",
        metavar="ERRORS",
    ),
]
Search = Annotated[
    bool | None,
    declared(
        "Search for a better minimum than that of the given starts; unless given, where the"
        " residuals are not like noise.",
        DESCENT,
        "--search/--no-search",
        show_default=False,
    ),
]
KernelForm = Annotated[
    str,
    declared(
        "The kernel: auto, numpy or compiled; it changes the time, not the answer.",
        DESCENT,
        "--kernel",
        metavar="FORM",
        autocompletion=_words("auto", "numpy", "compiled"),
    ),
]
Arithmetic = Annotated[
    str,
    declared(
        "Arithmetic of the steps: float64, or of textbook descent float32.",
        DESCENT,
        "--dtype",
        metavar="TYPE",
        autocompletion=_words("float64", "float32"),
    ),
]

AsJson = Annotated[
    bool, declared("Print one JSON object and nothing else.", OUTPUT, "--json", show_default=False)
]
Save = Annotated[
    str | None,
    declared("Keep all facts as JSON, for predict and show.", OUTPUT, "--save", metavar="FILE"),
]
TraceFile = Annotated[
    str | None,
    declared(
        "Write every step; .csv, .tsv or .parquet by ending.", OUTPUT, "--trace", metavar="FILE"
    ),
]
TraceEvery = Annotated[
    str | None,
    declared(
        "Steps between two rows of the trace; unless given, so that it has at most 10,000.",
        OUTPUT,
        "--trace-every",
        metavar="STEPS",
    ),
]
PlotFile = Annotated[
    str | None,
    declared("Draw the fit; .png, .svg or .pdf by ending.", OUTPUT, "--plot", metavar="FILE"),
]
Quiet = Annotated[
    bool,
    declared(
        "No progress bar, report or messages, only errors (and --json).",
        OUTPUT,
        "--quiet",
        "-q",
        show_default=False,
    ),
]
Latex = Annotated[bool, declared("As LaTeX.", OUTPUT, "--latex", show_default=False)]
Html = Annotated[
    bool, declared("As a page with MathML, for a browser.", OUTPUT, "--html", show_default=False)
]
TextOutput = Annotated[
    str | None,
    declared(
        "Write to a file instead; .tex and .html choose the form.",
        OUTPUT,
        "--output",
        "-o",
        metavar="FILE",
    ),
]
Interval = Annotated[
    str | None,
    declared(
        "Add stderr, low and high: confidence, where the curve may lie, or prediction, where new"
        " points may fall.",
        OUTPUT,
        "--interval",
        metavar="WORD",
        autocompletion=_words("confidence", "prediction"),
    ),
]
Level = Annotated[
    str | None,
    declared("Confidence of the interval; 0.95 unless given.", OUTPUT, "--level", metavar="NUMBER"),
]
TableOutput = Annotated[
    str | None,
    declared(
        "Write to a file instead; .csv, .tsv or .parquet by ending.",
        OUTPUT,
        "--output",
        "-o",
        metavar="FILE",
    ),
]
Folder = Annotated[
    str,
    declared(
        "The folder for the trace and the plot; made if need be.",
        OUTPUT,
        "--output",
        "-o",
        metavar="FOLDER",
    ),
]
