"""The options of the command line: each declared once, by the name that it has in the library."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import typer

from sgdfit.errors import UsageError

MODEL, DATA, DESCENT = "Parameters and loss", "Data and standard errors", "Textbook descent"
OUTPUT, FOLLOW, RUN = "Output", "Rows that are still arriving", "Long runs and speed"


class Option(NamedTuple):
    """An argument of a command.

    Attributes
    ----------
    name : str
        That of the argument of the library, or of the command's function.
    flag : str
        As it is typed, without a short form.
    kind : type
        ``str``, ``bool`` or ``list[str]``, without None.
    declaration : object
        Typer's.
    default : object
    read : function of (flag, what was given)
        Returns what the library takes; raises `UsageError`.
    """

    name: str
    flag: str
    kind: Any
    declaration: Any
    default: Any
    read: Callable[[str, Any], Any]

    def parameter(self) -> inspect.Parameter:
        """Return the parameter that Typer makes the option from."""
        kind = self.kind | None if self.default is None else self.kind
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=self.default,
            annotation=Annotated[kind, self.declaration],
        )


def takes(*options: Option) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a function its options, which it is called with as the library takes them."""

    def give(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def command(**given: Any) -> int:
            return function(**{o.name: o.read(o.flag, given[o.name]) for o in options})

        parameters = [option.parameter() for option in options]
        signature = inspect.Signature(parameters, return_annotation=int)
        command.__signature__ = signature  # type: ignore[attr-defined]  # what Typer looks at
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return give


def _as_given(flag: str, value: Any) -> Any:
    return value


def _number(flag: str, text: str | None) -> float | None:
    """Return a number; whether it is in range the library says."""
    if text is None:
        return None
    try:
        value = float(text)
        return int(text) if text.isdecimal() else int(value) if value.is_integer() else value
    except ValueError:
        raise UsageError(f"{flag} is {text!r}; a number is needed") from None


def _filled(flag: str, text: str | None) -> str | None:
    if text is not None and not text.strip():
        kind = "a condition such as 'x > 0'" if flag == "--where" else "a column"
        raise UsageError(f"{flag} is empty; give {kind}, or leave the option out")
    return text


def _bounds(flag: str, bounds: list[str] | None) -> list[str] | None:
    for text in bounds or ():
        if "<" not in text and ">" not in text:
            raise UsageError(f"{flag} is {text!r}; write '0 < b < 10' or 'b > 0'")
    return bounds


def _start(flag: str, start: list[str] | None) -> list[str] | str | None:
    """Return what `sgdfit.fit` takes; ``random`` and ``search`` stand alone."""
    return start[0] if start in (["random"], ["search"]) else start


def _names_of(module: str, table: str) -> Callable[[str], list[str]]:
    """Complete the names of a table, which is imported only when a shell asks."""

    def complete(incomplete: str) -> list[str]:
        known = getattr(importlib.import_module(f"sgdfit.{module}"), table)
        return [name for name in known if name.startswith(incomplete)]

    return complete


def _words(*known: str) -> Callable[[str], list[str]]:
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def _text(
    name: str,
    flags: str,
    help: str,
    panel: str | None = None,
    *,
    default: str | None = None,
    complete: Callable[[str], list[str]] | None = None,
    read: Callable[[str, Any], Any] = _as_given,
    kind: Any = str,
) -> Option:
    """Declare an option that takes a text; those without a panel come first in the help."""
    *names, metavar = flags.split()
    declaration = typer.Option(
        *names, metavar=metavar, help=help, rich_help_panel=panel, autocompletion=complete
    )
    return Option(name, names[0], kind, declaration, default, read)


def _switch(
    name: str, flags: str, help: str, panel: str | None = None, default: bool | None = False
) -> Option:
    """Declare an option that takes nothing."""
    shown = default is True
    declaration = typer.Option(
        *flags.split(), metavar="", help=help, rich_help_panel=panel, show_default=shown
    )
    return Option(name, flags.split()[0].partition("/")[0], bool, declaration, default, _as_given)


def _argument(name: str, metavar: str, help: str, default: Any = inspect.Parameter.empty) -> Option:
    declaration = typer.Argument(metavar=metavar, help=help, show_default=False)
    return Option(name, metavar, str, declaration, default, _as_given)


_data = _argument(
    "data",
    "DATA",
    "CSV, TSV, Parquet, Feather, Arrow or ORC file, also .csv.gz and the like; a folder or"
    " a quoted pattern of files; - for standard input, also JSON lines.",
)
_formula = _argument(
    "formula",
    "FORMULA",
    '"y = a*x + b", or with ~; names that are columns are variables, the others parameters.',
)
_saved = _argument("saved", "SAVED", "A file written by fit --save.")
_response = _text(
    "response",
    "--response COLUMN",
    "The left side, where the formula has none.",
    MODEL,
    read=_filled,
)
_starts = _text(
    "start",
    "--start NAME=VALUE,…",
    'Where parameters start: "a=4,b=5", "search" or "random"; unless given, auto searches and'
    " textbook descent begins at 1.",
    read=_start,
    kind=list[str],
)
_fixed = _text(
    "fixed", "--fix NAME=VALUE,…", "Hold parameters at a value: c=3. Repeatable.", kind=list[str]
)
_bound = _text(
    "bounds",
    "--bound TEXT",
    'Keep within bounds: "0 < b < 10". Repeatable.',
    read=_bounds,
    kind=list[str],
)
_tied = _text(
    "tied", "--tie TEXT", 'Let one follow others: "d = 2*a". Repeatable.', MODEL, kind=list[str]
)
_loss = _text(
    "loss",
    "--loss NAME",
    "mse, mae, huber, soft_l1, cauchy, log_cosh, quantile, poisson, with options as in"
    ' "huber(delta=2)", or a formula of prediction and target.',
    default="mse",
    complete=_names_of("model.loss", "LOSSES"),
)
_weights = _text(
    "weights",
    "--weights TEXT",
    'A column that weighs the rows, or an expression such as "1/s**2".',
    DATA,
    read=_filled,
)
_missing = _text(
    "missing",
    "--missing WORD",
    "Rows without finite numbers: error, or drop them.",
    DATA,
    default="error",
    complete=_words("error", "drop"),
)
_where = _text(
    "where",
    "--where TEXT",
    "Which rows count: \"x > 0 and site == 'A'\", or = and <> as in SQL; what is excluded is"
    " not even read.",
    read=_filled,
)
_seed = _text(
    "seed",
    "--seed NUMBER",
    "Of shuffling, samples and searches.",
    DESCENT,
    default="0",
    read=_number,
)
_memory = _text(
    "memory",
    "--memory BYTES",
    "What the process may hold, such as 2GB; 500MB unless given. What does not fit is read"
    " anew for each pass.",
    RUN,
)
_threads = _text(
    "threads",
    "--threads NUMBER",
    "How many compute at once; one for each core unless given. They change no bit of the answer.",
    RUN,
    read=_number,
)
_as_json = _switch("as_json", "--json", "Print one JSON object and nothing else.", OUTPUT)
_table = _text(
    "output", "--output -o FILE", "Write to a file instead; .csv, .tsv or .parquet by ending."
)

FIT = (
    _data,
    _formula,
    # what most fits need
    _starts,
    _fixed,
    _bound,
    _text(
        "sigma",
        "--sigma TEXT",
        'The standard deviation of each row, a column or "0.1*y".',
        read=_filled,
    ),
    _loss,
    _where,
    _text("plot", "--plot FILE", "Draw the fit; .png, .svg or .pdf by ending."),
    _text("save", "--save FILE", "Keep all facts as JSON, for predict and show."),
    # the rest by subject
    _response,
    _tied,
    _weights,
    _switch(
        "absolute_sigma",
        "--absolute-sigma",
        "Take sigma at its word: standard errors are not scaled by the residuals.",
        DATA,
    ),
    _text(
        "covariance",
        "--covariance WORD",
        "Whence standard errors come: auto, classical, or sandwich, which is right also where the"
        " scatter differs from row to row.",
        DATA,
        default="auto",
        complete=_words("auto", "classical", "sandwich"),
    ),
    _text(
        "intervals",
        "--intervals WORD",
        "The 95% intervals of parameters: wald, by Student's t, or profile, by refits along the"
        " profile likelihood.",
        DATA,
        default="wald",
        complete=_words("wald", "profile"),
    ),
    _missing,
    _as_json,
    _switch(
        "quiet",
        "--quiet -q",
        "No progress bar, report or messages, only errors (and --json).",
        OUTPUT,
    ),
    _text("trace", "--trace FILE", "Write every step; .csv, .tsv or .parquet by ending.", OUTPUT),
    _text(
        "trace_every",
        "--trace-every STEPS",
        "Steps between two rows of the trace; unless given, so that it has at most 10,000.",
        OUTPUT,
        read=_number,
    ),
    _text(
        "optimizer",
        "--optimizer NAME",
        "auto (the default), which needs neither rate nor starts; or textbook descent: sgd,"
        ' adagrad, rmsprop, adam, adamw, with options as in "sgd(momentum=0.9)" or'
        ' "averaged(adam)".',
        DESCENT,
        complete=_names_of("optimizers", "OPTIMIZERS"),
    ),
    _text(
        "learning_rate",
        "--learning-rate -r RATE",
        "For sgd, unless given, from the curvature at the start.",
        DESCENT,
        read=_number,
    ),
    _text(
        "schedule",
        "--schedule NAME",
        'How the rate changes: constant, cosine, "inverse_time(decay=0.01)", …',
        DESCENT,
        complete=_names_of("optimizers.schedule", "SCHEDULES"),
    ),
    _text(
        "batch_size",
        "--batch-size ROWS",
        "Rows of one step of textbook descent: a number, or full.",
        DESCENT,
        complete=_words("full"),
    ),
    _text(
        "steps",
        "--steps -n NUMBER",
        "Steps to take; 1,000 unless given, of auto at most 2,000.",
        DESCENT,
        read=_number,
    ),
    _text(
        "epochs",
        "--epochs NUMBER",
        "Instead of steps: passes through the data.",
        DESCENT,
        read=_number,
    ),
    _switch(
        "shuffle",
        "--shuffle/--no-shuffle",
        "Visit the rows in a new order each epoch.",
        DESCENT,
        default=True,
    ),
    _seed,
    _text(
        "tolerance",
        "--tolerance ERRORS",
        "Stop once this many standard errors from the optimum.",
        DESCENT,
        read=_number,
    ),
    _switch(
        "search",
        "--search/--no-search",
        "Search for a better minimum than that of the given starts; unless given, where the"
        " residuals are not like noise.",
        DESCENT,
        default=None,
    ),
    _switch(
        "follow",
        "--follow",
        "Fit the rows of standard input as they arrive, and print a line at intervals, until they"
        " end or Ctrl-C.",
        FOLLOW,
    ),
    _text(
        "every",
        "--every INTERVAL",
        'Between two lines: "1000 rows" or a time as in 2s or 5min; 1s unless given.',
        FOLLOW,
    ),
    _text(
        "forgetting",
        "--forgetting FACTOR",
        "Let old rows fade: a factor a row such as 0.999, or half_life=1000 rows.",
        FOLLOW,
    ),
    _memory,
    _threads,
    _text(
        "checkpoint",
        "--checkpoint FILE",
        "Keep what is found in a file, every few seconds. That of a finished run is written over,"
        " that of an unfinished one needs --resume.",
        RUN,
    ),
    _switch(
        "resume",
        "--resume",
        "Go on from the checkpoint of a run that was interrupted or killed.",
        RUN,
    ),
    _text(
        "kernel",
        "--kernel FORM",
        "The kernel: auto, numpy or compiled; it changes the time, not the answer.",
        RUN,
        default="auto",
        complete=_words("auto", "numpy", "compiled"),
    ),
    _text(
        "dtype",
        "--dtype TYPE",
        "Arithmetic of the steps: float64, or of textbook descent float32.",
        RUN,
        default="float64",
        complete=_words("float64", "float32"),
    ),
)
PREDICT = (
    _saved,
    _data,
    _text(
        "interval",
        "--interval WORD",
        "Add stderr, low and high: confidence, where the curve may lie, or prediction, where new"
        " points may fall.",
        complete=_words("confidence", "prediction"),
    ),
    _text(
        "level", "--level NUMBER", "Confidence of the interval; 0.95 unless given.", read=_number
    ),
    _table,
    _where,
    _missing,
    _memory,
    _threads,
)
EXPLAIN = (
    _formula,
    _argument("data", "DATA", "Data whose numbers are put in, to check the gradient.", None),
    _starts,
    _fixed,
    _bound,
    _loss,
    _switch("latex", "--latex", "As LaTeX."),
    _switch("html", "--html", "As a page with MathML, for a browser."),
    _text("output", "--output -o FILE", "Write to a file instead; .tex and .html choose the form."),
    _text(
        "variables", "--variables NAME,…", "Without data: which names are columns, as in x,t.", DATA
    ),
    _response,
    _tied,
    _weights,
    _missing,
    _seed,
)
SHOW = (_saved, _as_json)
DEMO = (
    _text(
        "output",
        "--output -o FOLDER",
        "The folder for the trace and the plot; made if need be.",
        default="demo",
    ),
)
