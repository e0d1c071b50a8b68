"""The options of the command line: each declared once, by the name that it has in the library."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import typer

from sgdfit.errors import UsageError

DATES = ("dmy", "mdy")


def _as_given(flag: str, value: Any) -> Any:
    return value


class Option(NamedTuple):
    """An option of a command or, without a flag, an argument."""

    flags: tuple[str, ...]
    metavar: str  # what it takes; a switch takes nothing
    help: str
    name: str  # that of the argument of the library, or of the command's function
    default: Any = None
    read: Callable[[str, Any], Any] = _as_given  # (flag, what was given) -> what the library takes
    many: bool = False  # whether it may be repeated
    words: tuple[str, ...] | str = ()  # what it can be, or "module:table", for shells to complete

    @property
    def flag(self) -> str:
        """As it is typed, without a short form."""
        return self.flags[0].partition("/")[0] if self.flags else self.metavar

    def parameter(self, panel: str | None) -> inspect.Parameter:
        """Return the parameter that Typer makes the option from."""
        kind: Any = list[str] if self.many else str if self.metavar else bool
        kind = kind | None if self.default is None else kind
        declared: Any
        if self.flags:
            declared = typer.Option(
                *self.flags,
                metavar=self.metavar,
                help=self.help,
                rich_help_panel=panel,
                show_default=self.default is not False,
                autocompletion=self.complete if self.words else None,
            )
        else:
            declared = typer.Argument(metavar=self.metavar, help=self.help, show_default=False)
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=self.default,
            annotation=Annotated[kind, declared],
        )

    def complete(self, incomplete: str) -> list[str]:
        """Return the words that begin so; a table of names is imported only when a shell asks."""
        known: Any = self.words
        if isinstance(known, str):
            module, _, table = known.partition(":")
            known = getattr(importlib.import_module(f"sgdfit.{module}"), table)
        return [name for name in known if name.startswith(incomplete)]


Panels = Mapping[str | None, tuple[Option, ...]]


def takes(panels: Panels) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a function its options, which it is called with as the library takes them."""
    options = [option for panel in panels.values() for option in panel]
    parameters = [o.parameter(panel) for panel, some in panels.items() for o in some]

    def give(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def command(**given: Any) -> int:
            return function(**{o.name: o.read(o.flag, given[o.name]) for o in options})

        signature = inspect.Signature(parameters, return_annotation=int)
        command.__signature__ = signature  # type: ignore[attr-defined]  # what Typer looks at
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return give


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


def _renamed(flag: str, names: list[str] | None) -> dict[str, str] | None:
    """Return new names of columns, and what they are called now."""
    parts = [part for text in names or () for part in re.split(r",(?=\s*\w+\s*=)", text)]
    for part in parts:
        if "=" not in part:
            raise UsageError(f"{flag} is {part!r}; write 't=Time (s)', the new name first")
    renamed: dict[str, str] = {}
    for new, old in (part.split("=", 1) for part in parts):
        new, old = new.strip(), old.strip(" {}")
        if renamed.setdefault(new, old) != old:
            raise UsageError(
                f"{flag} gives the name {new!r} to both {renamed[new]!r} and {old!r}; give each"
                " column a name of its own"
            )
    return renamed or None


def _start(flag: str, start: list[str] | None) -> list[str] | str | None:
    """Return what `sgdfit.fit` takes; ``random`` and ``search`` stand alone."""
    return start[0] if start in (["random"], ["search"]) else start


def _values(flag: str, start: list[str] | None) -> dict[str, float | None]:
    """Return numbers by name; whether these are parameters the page says."""
    pieces = [piece for text in start or () for piece in re.split(r",(?=[^=]*=)", text)]
    if unread := [piece for piece in pieces if "=" not in piece]:
        raise UsageError(f"{flag} has {unread[0]!r}; write name=value, as in a=4")
    pairs = (piece.rsplit("=", 1) for piece in pieces)
    return {name.strip(): _number(f"{flag} of {name.strip()}", value) for name, value in pairs}


def _formula(flag: str, text: str) -> str:
    """Take away the blank that shields a minus at the beginning."""
    return text.lstrip()


def _option(declared: str, help: str, name: str = "", **more: Any) -> Option:
    """Declare an option by its flags and, but for a switch, what it takes.

    Of words with | between them, the first is the default.
    """
    *words, last = declared.split()
    metavar = "" if last.startswith("-") else last
    flags = tuple(words if metavar else (*words, last))
    name = name or flags[0].partition("/")[0].removeprefix("--").replace("-", "_")
    usual: dict[str, Any] = {"default": None if metavar else False}
    if "|" in metavar:
        choices = tuple(metavar.split("|"))
        metavar, usual = "WORD", {"default": choices[0], "words": choices}
    return Option(flags, metavar, help, name, **usual | more)


_repeated = functools.partial(_option, many=True)
_numeric = functools.partial(_option, read=_number)
_text = functools.partial(_option, read=_filled)


def _argument(metavar: str, help: str, default: Any = inspect.Parameter.empty) -> Option:
    return Option((), metavar, help, metavar.lower(), default)


DATA = _argument(
    "DATA",
    "CSV, TSV, .xlsx, Parquet, Feather, Arrow or ORC file, also .csv.gz and the like; a folder or"
    " a quoted pattern of files; - for standard input, also JSON lines.",
)
FORMULA = _argument(
    "FORMULA",
    '"y = a*x + b", or with ~; names that are columns are variables, the others parameters.',
)._replace(read=_formula)
SAVED = _argument("SAVED", "A file written by fit --save.")
START = _repeated(
    "--start NAME=VALUE,…",
    'Where parameters start: "a=4,b=5", "search" or "random"; unless given, auto searches and'
    " textbook descent begins at 1.",
    read=_start,
)
FIX = _repeated("--fix NAME=VALUE,…", "Hold parameters at a value: c=3. Repeatable.", "fixed")
BOUND = _repeated("--bound TEXT", 'Keep within bounds: "0 < b < 10". Repeatable.', "bounds")
TIE = _repeated("--tie TEXT", 'Let one follow others: "d = 2*a". Repeatable.', "tied")
LOSS = _option(
    "--loss NAME",
    "mse, mae, huber, soft_l1, cauchy, log_cosh, quantile, poisson, with options as in"
    ' "huber(delta=2)" (delta in units of the residuals\' scale), or a formula of prediction and'
    " target.",
    default="mse",
    words="model.loss:LOSSES",
)
RESPONSE = _text("--response COLUMN", "The left side, where the formula has none.")
CONSTANT = _option("--constant", "Take a right side without a column: a constant is meant.")
WEIGHTS = _text(
    "--weights TEXT", 'A column that weighs the rows, or an expression such as "1/s**2".'
)
MISSING = _option("--missing error|drop", "Rows without finite numbers: error, or drop them.")
TIME_UNIT = _option(
    "--time-unit UNIT",
    "In what columns of times are counted, from the first row on: weeks, days (of dates), hours (of"
    " times of day), minutes, seconds, milliseconds.",
)
WHERE = _text(
    "--where TEXT",
    "Which rows count: \"x > 0 and site == 'A'\", or = and <> as in SQL; what is excluded is"
    " not even read.",
)
# How data are read, which `sgdfit.data.readers.open_table` is told.
READING = (
    _repeated(
        "--rename NEW=OLD,…",
        'Call columns otherwise: "t=Time (s),v=Voltage (V)", or write {Time (s)} in the formula.'
        " Repeatable.",
        read=_renamed,
    ),
    _repeated("--na TEXT", "What is missing besides NA and the like: -999. Repeatable."),
    _numeric("--skip-rows LINES", "Lines at the top of a text that do not count."),
    _option("--delimiter SIGN", "What separates fields: ',', ';', '|', tab or space."),
    _option("--decimal SIGN", "The decimal sign, . or ,; the other may separate thousands."),
    _option(
        "--dates ORDER", "dmy or mdy: whether 03/04/2024 is in April or in March.", words=DATES
    ),
    _option("--comment SIGN", "How lines below the header begin that do not count: '#'."),
    _option("--encoding NAME", "Such as cp1252 or utf-16."),
    _option("--sheet NAME", "The sheet of a workbook, the first one unless given."),
)
SEED = _numeric("--seed NUMBER", "Of shuffling, samples and searches.", default="0")
MEMORY = _option(
    "--memory BYTES",
    "What the process may hold, such as 2GB; 500MB unless given. What does not fit is read"
    " anew for each pass.",
)
THREADS = _numeric(
    "--threads NUMBER",
    "How many compute at once; one for each core unless given. They change no bit of the answer.",
)
CLUSTER = _option(
    "--cluster ADDRESS",
    "Read and add up on the workers of a Dask scheduler, tcp://host:8786, or local:4 for four on"
    " this machine. They change no bit of the answer.",
)
JSON = _option("--json", "Print one JSON object and nothing else.", "as_json")

DERIVE = _repeated(
    "--derive QUANTITY",
    'Report also a function of the parameters with its error: "half_life = log(2)/k". Repeatable.',
)

FIT: Panels = {
    # what most fits need
    None: (
        DATA,
        FORMULA,
        START,
        FIX,
        BOUND,
        _text("--sigma TEXT", 'The standard deviation of each row: a column, "0.1*y" or a number.'),
        LOSS,
        WHERE,
        _option(
            "--plot FILE",
            "Draw the fit, or with --by the first groups; .png, .svg or .pdf, - in the terminal.",
        ),
        _option(
            "--report FILE",
            "Write the whole report: .html, a page with the plots and the derivation, .md or .tex.",
        ),
        _option("--save FILE", "Keep all facts as JSON, for predict and show."),
    ),
    "Parameters and loss": (RESPONSE, TIE, CONSTANT),
    "Data and standard errors": (
        _repeated(
            "--by COLUMN",
            "Fit each group of rows by itself, and tell groups apart by this column. Repeatable;"
            " --save then writes a table with a row for each, .csv, .tsv or .parquet.",
        ),
        WEIGHTS,
        _option(
            "--absolute-sigma",
            "Take sigma at its word: standard errors are not scaled by the residuals.",
        ),
        _option(
            "--covariance auto|classical|sandwich",
            "Whence standard errors come: auto, classical, or sandwich, which is right also where"
            " the scatter differs from row to row.",
        ),
        _option(
            "--intervals wald|profile|bootstrap",
            "The intervals of parameters: wald, by Student's t; profile, by refits along"
            " the profile likelihood; or bootstrap, by refits to rows drawn anew.",
        ),
        _option(
            "--bootstrap RESAMPLES",
            'How often rows are drawn anew, with as many refits: 1000, or "residuals(1000)".',
        ),
        _numeric("--level NUMBER", "Confidence of all intervals.", default="0.95"),
        MISSING,
        TIME_UNIT,
    ),
    "Reading text and workbooks": READING,
    "Output": (
        JSON,
        _option(
            "--watch", "Serve a page, to this machine, on which the run is watched as it goes."
        ),
        _option("--full", "Report also how it was found: starts, correlations, curvature."),
        DERIVE,
        _option("--quiet -q", "No progress bar, report or messages, only errors (and --json)."),
        _option("--trace FILE", "Write every step; .csv, .tsv or .parquet by ending, - prints."),
        _numeric(
            "--trace-every STEPS",
            "Steps between two rows of the trace; unless given, so that it has at most 10,000.",
        ),
    ),
    "Textbook descent": (
        _option(
            "--optimizer NAME",
            "auto (the default), which needs neither rate nor starts; or textbook descent: sgd,"
            ' adagrad, rmsprop, adam, adamw, with options as in "sgd(momentum=0.9)" or'
            ' "averaged(adam)".',
            words="optimizers:OPTIMIZERS",
        ),
        _numeric(
            "--learning-rate -r RATE", "For sgd, unless given, from the curvature at the start."
        ),
        _option(
            "--schedule NAME",
            'How the rate changes: constant, cosine, "inverse_time(decay=0.01)", …',
            words="optimizers.schedule:SCHEDULES",
        ),
        _option(
            "--batch-size ROWS",
            "Rows of one step of textbook descent: a number, or full.",
        ),
        _numeric("--steps -n NUMBER", "Steps to take; 1,000 unless given, of auto at most 2,000."),
        _numeric("--epochs NUMBER", "Instead of steps: passes through the data."),
        _option(
            "--shuffle/--no-shuffle", "Visit the rows in a new order each epoch.", default=True
        ),
        SEED,
        _numeric("--tolerance ERRORS", "Stop once this many standard errors from the optimum."),
        _option(
            "--search/--no-search",
            "Search for a better minimum than that of the given starts; unless given, where the"
            " residuals are not like noise.",
            default=None,
        ),
    ),
    "Rows that are still arriving": (
        _option(
            "--follow",
            "Fit the rows of standard input as they arrive, and print a line at intervals, until"
            " they end or Ctrl-C.",
        ),
        _option(
            "--every INTERVAL",
            'Between two lines: "1000 rows" or a time as in 2s or 5min; 1s unless given.',
        ),
        _option(
            "--forgetting FACTOR",
            "Let old rows fade: a factor a row such as 0.999, or half_life=1000 rows.",
        ),
    ),
    "Long runs and speed": (
        MEMORY,
        THREADS,
        CLUSTER,
        _option(
            "--checkpoint FILE",
            "Keep what is found in a file, every few seconds. That of a finished run is written"
            " over, that of an unfinished one needs --resume.",
        ),
        _option("--resume", "Go on from the checkpoint of a run that was interrupted or killed."),
        _option(
            "--kernel auto|numpy|compiled|torch",
            "auto, numpy, compiled or torch; it changes the time, not the answer.",
        ),
        _option("--device cpu|cuda|cuda:1", "Where the kernel torch computes; cuda is a GPU."),
        _option(
            "--dtype float64|float32",
            "Arithmetic of the steps: float64, or of textbook descent float32.",
        ),
    ),
}
PREDICT: Panels = {
    None: (
        SAVED,
        DATA._replace(help=f'"t=0:30:0.5", "t=0,5,10" or "day=2024-03-01", or data: {DATA.help}'),
        _option(
            "--interval confidence|prediction",
            "Add stderr, low and high: confidence, where the curve may lie, or prediction, where"
            " new points may fall.",
            default=None,
        ),
        _option("--residuals", "Add what was observed less the prediction."),
        _numeric("--level NUMBER", "Confidence of the interval; that of the fit unless given."),
        _option("--output -o FILE", "Write to a file instead; .csv, .tsv or .parquet by ending."),
        WHERE,
        MISSING,
        MEMORY,
        THREADS,
        CLUSTER,
    ),
    "Reading text and workbooks": READING,
}
EXPLAIN: Panels = {
    None: (
        FORMULA,
        _argument("DATA", "Data whose numbers are put in, to check the gradient.", None),
        START,
        FIX,
        BOUND,
        LOSS,
        _option("--latex", "As LaTeX."),
        _option("--html", "As a page with MathML, for a browser."),
        _option("--output -o FILE", "Write to a file instead; .tex and .html choose the form."),
        _option("--variables NAME,…", "Without data: which names are columns, as in x,t."),
        RESPONSE,
        CONSTANT,
        TIE,
        WEIGHTS,
        MISSING,
        SEED,
    ),
    "Reading text and workbooks": READING,
}
SHOW: Panels = {
    None: (
        SAVED,
        _option("--full", "All of it: also how the fit was found."),
        _numeric("--level NUMBER", "Confidence of all intervals; that of the fit unless given."),
        DERIVE,
        JSON,
    )
}
DEMO: Panels = {
    None: (
        _option(
            "--output -o FOLDER",
            "The folder for the trace and the plot; made if need be.",
            default="demo",
        ),
    )
}
EXAMPLES: Panels = {
    None: (
        _argument("NAME", "The example to copy; without, all are listed.", None),
        _argument("FOLDER", "Where to; the name of the example unless given.", None),
    )
}
PAGE: Panels = {
    None: (
        _argument("DATA", "Data to fit; without, the tutorial's noisy quadratic.", None),
        _argument(
            "FORMULA", 'Such as "y = a*exp(-k*t) + c"; it can be typed on the page too.', None
        ),
        _numeric("--port NUMBER", "Of the page, on this machine; a free one unless given."),
        _option("--no-open", "Do not open a browser: print the link alone."),
    ),
    "What it begins with, all of which can be changed there": (
        START._replace(help='Where parameters start: "a=4,b=5".', read=_values),
        _option("--optimizer NAME", "As of fit: sgd unless given.", words="optimizers:OPTIMIZERS"),
        _numeric("--learning-rate -r RATE", "From the curvature at the start unless given."),
        _numeric("--batch-size ROWS", "Rows of one step; all unless given."),
        _numeric("--seed NUMBER", "Of shuffling."),
    ),
    "Reading text and workbooks": READING,
}
