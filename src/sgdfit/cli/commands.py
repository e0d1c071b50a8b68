"""The commands: each reads its arguments, calls the library, and prints what that returns."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer
from typer.core import TyperCommand, TyperGroup

from sgdfit.cli import options as option
from sgdfit.cli.terminal import (
    INTERRUPTED,
    TABLES,
    OutputOptions,
    check_destinations,
    check_signals,
    deliver_text,
    print_json,
    print_report,
    print_text,
    printed_rows,
    progress_bar,
    progress_text,
    ready_streams,
    say,
    say_error,
    show_warnings,
    steps_between,
    stop_on_signal,
    width,
)
from sgdfit.errors import FormulaError, SgdfitError, UsageError, did_you_mean, require

if TYPE_CHECKING:
    from sgdfit.data.table import Table
    from sgdfit.page.watch import Watch

EXAMPLES = {
    "fit": """
# every name that is no column of the data is a parameter; nothing else is needed
sgdfit fit data.csv "y = a*x**2 + b*x + c"
# by textbook descent
sgdfit fit data.csv "y = a*x**2 + b*x + c" --optimizer sgd --learning-rate 0.2 --steps 200
# starts, bounds and fixed parameters
sgdfit fit data.csv "y = a*x**2 + b*x + c" --start a=4,b=-5 --bound "0 < a < 10" --fix c=4
# in batches of 5 rows, outliers damped, the answer as JSON
sgdfit fit data.csv "y = a*x + b" --loss huber --optimizer adam --batch-size 5 --epochs 50 --json
# errors of the measurement that are known, and a parameter that follows another
sgdfit fit data.csv "y = a*x**2 + b*x + c" --sigma 0.5 --absolute-sigma --tie "c = 2*a"
# some rows of many files, within 2 GB; killed, it goes on with --resume
sgdfit fit "*.csv" "y = a*x + b" --where "x > 0 and y < 100" --memory 2GB --checkpoint run.check
# with a quantity that follows from the parameters, and its error
sgdfit fit data.csv "y = a*x**2 + b*x + c" --derive "vertex = -b/(2*a)"
# the curve of each group of rows by itself, in a table
sgdfit fit sites.csv "y = a*x + b" --by site --save fits.csv
# from standard input, with files to keep
sgdfit fit - "y = a*x + b" --save fit.json --trace trace.csv --plot fit.svg < data.csv
# rows that are still arriving, old ones forgotten, a line every 1,000 rows
sgdfit fit - "y = a*x + b" --follow --every 1000 --forgetting half_life=5000 < data.csv
""",
    "predict": """
# the curve at the rows of a file
sgdfit predict fit.json data.csv
# at values of your choice; times as "clock=08:30" or "day=2024-03-01:2024-12-31:7d"
sgdfit predict fit.json "x=0:30:0.5"
# to a file, with the residuals
sgdfit predict fit.json data.csv --residuals --output curve.parquet
# with the 99% band of new points
sgdfit predict fit.json data.csv --interval prediction --level 0.99
""",
    "explain": """
# the gradient, derived
sgdfit explain "y = a*x**2 + b*x + c"
# with numbers, checked on data
sgdfit explain "y = a*x + b" data.csv --start a=4,b=5
# as a page for a browser
sgdfit explain "S = S0*exp(-k*hours)" --variables hours --output gradient.html
""",
    "show": "\n# the report of a saved fit\nsgdfit show fit.json\n",
    "page": """
# a file and a formula
sgdfit page data.csv "y = a*exp(-k*x) + c"
# the tutorial's points, at a rate that diverges; S takes a step
sgdfit page --start a=4,b=5,c=7 --learning-rate 0.23
""",
    "examples": """
# what there is
sgdfit examples
# a script and its data, into a folder of your choice
sgdfit examples decay decay-example
""",
    "demo": "\n# into a folder of your choice\nsgdfit demo --output story\n",
}
MISUSED, UNREAD = 2, 141
SCRIPTS = Path(__file__).parents[1] / "examples"
PLOTS, DOCUMENTS = (".png", ".svg", ".pdf"), (".html", ".htm", ".md", ".tex")

# What Typer raises for a wrong command line; newer versions of it have no public name for it.
_ParserError: type[Exception] = typer.BadParameter.__bases__[0]
_NEGATIVE_FORMULA = re.compile(r"-[^-].*[*/+=~^( ]", re.DOTALL)


def _as_typed(parameters: list[Any]) -> list[Any]:
    """Let text remain text: to turn it into text, Typer would import pydantic, 60 ms."""
    for parameter in parameters:
        if "process_value" not in vars(parameter):
            usual = parameter.process_value
            parameter.process_value = functools.partial(_process, parameter, usual)
    return parameters


def _process(parameter: Any, usual: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    if (value is None and parameter.required) or (value and parameter.callback):
        return usual(ctx, value)
    return () if value is None and parameter.multiple else value


class Command(TyperCommand):
    """A command whose help ends with examples, unwrapped, so that they can be copied."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return what the command takes."""
        return _as_typed(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Shield ``-log(y) = a*x`` with a blank, or it is taken for a bundle of short options."""
        shielded = [f" {arg}" if _NEGATIVE_FORMULA.match(arg) else arg for arg in args]
        return super().parse_args(ctx, shielded)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, then the examples."""
        from rich.console import Console
        from rich.text import Text

        super().format_help(ctx, formatter)
        console = Console(highlight=False, emoji=False)
        console.print(Text(" Examples", style="bold"))
        for line in EXAMPLES[str(self.name)].strip().splitlines():
            style = "dim" if line.startswith("#") else ""
            console.print(Text(f"   {line}", style=style), soft_wrap=True)
        console.print()


class Commands(TyperGroup):
    """The commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return what the command takes."""
        return _as_typed(super().get_params(ctx))


app = typer.Typer(
    cls=Commands,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 done, 1 the fit failed (it diverged, or the formula left its domain), 2 bad usage or input,
    130 interrupted by Ctrl-C, 143 by SIGTERM, 141 the reader of the output left.
    """
    ready_streams()
    command = typer.main.get_command(app)
    try:
        given = None if arguments is None else list(arguments)
        status = command.main(args=given, prog_name="sgdfit", standalone_mode=False)
        sys.stdout.flush()
    except SgdfitError as error:
        return _misused(str(error))
    except _ParserError as error:
        return _misused(_parser_sentence(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except MemoryError:
        return _misused("there is not enough memory; give fewer rows or close other programs")
    except BrokenPipeError:
        return _unread()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _unread()
        return _misused(f"cannot write to standard output: {error.strerror}")
    except SystemExit as leaving:
        # so Typer ends when whoever reads the output has left, as `| head` does
        if isinstance(leaving.__context__, BrokenPipeError):
            return _unread()
        raise
    return int(status or 0)


def _misused(sentence: str) -> int:
    say_error(sentence)
    return MISUSED


def _unread() -> int:
    """Send what is still buffered nowhere, so that nothing complains at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return UNREAD


def _parser_sentence(error: Any) -> str:
    """Say in one sentence what is wrong with the command line, and where to look it up."""
    known, sentence = getattr(error, "possibilities", None), error.format_message().rstrip(".")
    if known:
        sentence = f"{error.message.rstrip('.')}.{did_you_mean(error.option_name, known)}"
    elif re.search(r"extra argument.*\(\w+=", sentence):
        sentence += "; give the option before it once more, or put a comma between, without blanks"
    elif "extra argument" in sentence:
        sentence += '; put the formula in quotes, as in "y = a*x + b"'
    context = getattr(error, "ctx", None)
    where = "sgdfit" if context is None else context.command_path
    end = "" if sentence.endswith(("?", ".")) else ";"
    return f"{sentence[:1].lower()}{sentence[1:]}{end} see {where} --help"


def _print_version(wanted: bool) -> None:
    if wanted:
        from sgdfit import __version__

        print_text(f"sgdfit {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def sgdfit(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Fit curves to data: write a formula, name a file, and get parameters with their errors.

    sgdfit fit data.csv "y = a*exp(-k*t) + c" needs no starting values. The
    answer is that of least squares, for twenty rows or billions, found by
    stochastic gradient descent (SGD), every step of which can be read.

    Exit status: 0 done, 1 the fit failed, 2 bad usage or input, 130
    interrupted by Ctrl-C, 143 by SIGTERM.
    """
    if context.invoked_subcommand is None:
        context.get_help()


@app.command(cls=Command)
@option.takes(option.FIT)
def fit(
    data: str,
    formula: str,
    where: str | None,
    by: list[str] | None,
    follow: bool,
    every: str | None,
    forgetting: str | None,
    as_json: bool,
    quiet: bool,
    full: bool,
    save: str | None,
    trace: str | None,
    plot: str | None,
    report: str | None,
    watch: bool,
    derive: list[str] | None,
    **options: Any,
) -> int:
    """Estimate the parameters of a formula from data, with standard errors.

    Names in the formula that are columns of the data are variables, all
    others parameters, fitted by least squares unless --loss says otherwise.
    Starting values are searched. What is printed: the estimates, how sure
    they are, how good the fit is, and how it ended.
    """
    output = OutputOptions(as_json, quiet, full, save, trace, plot, report, tuple(derive or ()))
    if derive:
        from sgdfit.formula.reading import as_formula
        from sgdfit.result.derived import read_quantities

        read_quantities(derive, as_formula(formula).names)
    if by:
        single = {
            "--follow": follow,
            "--full": full,
            "--trace": trace,
            "--plot -": plot == "-",
            "--report": report,
            "--watch": watch,
        }
        single |= {"--derive": bool(derive)}
        single |= {f"--{name}": options[name] for name in ("checkpoint", "resume", "bootstrap")}
        single["--intervals"] = options["intervals"] != "wald"
        if wrong := [flag for flag, value in single.items() if value]:
            raise UsageError(f"{wrong[0]} is for a single fit, not for those of --by; leave it out")
    if trace == "-":
        if as_json:
            raise UsageError("--trace - and --json both print; name a file for one of them")
        trace = None
    drawn = None if plot == "-" else plot
    if plot == "-":
        if as_json:
            raise UsageError("--plot - and --json both print; name a file for one of them")
        require("plotext", "a plot in the terminal", "sgdfit[terminal]")
    if "=" in data and not os.path.exists(data) and os.path.exists(formula):
        raise UsageError(f"the data come first: sgdfit fit {formula} {data!r}")
    reading = _reading(options)
    sources = [path for path in (data, options["checkpoint"]) if path is not None]
    check_destinations(
        (
            ("--save", save, TABLES if by else ()),
            ("--trace", trace, TABLES),
            ("--plot", drawn, PLOTS),
            ("--report", report, DOCUMENTS),
        ),
        sources,
    )
    if by:
        return _fit_groups(data, formula, by, where, reading, options, output)
    if follow:
        from sgdfit.cli.follow import follow_options, follow_rows

        refused = {name: reading.pop(name) for name in ("rename", "sheet", "encoding")}
        options = follow_options(
            data, {**options, **refused, "where": where, "plot": plot, "watch": watch}
        )
        options |= {"forgetting": forgetting}
        return follow_rows(formula, options, every, output, reading)
    for flag, given in (("--every", every), ("--forgetting", forgetting)):
        if given is not None:
            raise UsageError(f"{flag} belongs to --follow, which fits rows as they arrive")
    looks = steps_between(options["batch_size"], options["steps"], options["epochs"])
    from sgdfit.fitting.entry import fit

    with _watched(formula) if watch else contextlib.nullcontext() as views:
        with (
            progress_bar(not quiet) as listener,
            show_warnings(listener.tell, not quiet),
            stop_on_signal(listener.tell) as state,
        ):
            table = _open(
                data,
                reading,
                where,
                options["missing"],
                writes=(save, trace, None if plot == "-" else plot, report),
            )
            callback = check_signals(state, listener.callback)
            if views is not None:
                callback = views.before(callback)
            result = fit(
                formula,
                listener.with_progress(table),
                **options,
                tell=None if quiet else listener.tell,
                callback=callback,
                callback_every=looks,
            )
        if views is not None:
            views.end(result)
        return state.status(output.deliver(result, table))


def _watched(formula: str) -> contextlib.AbstractContextManager[Watch]:
    """Serve the page on which a run is watched."""
    _require_page()
    from sgdfit.page.watch import watched

    return watched(formula, progress_text, lambda link: say(f"watch it at {link}"))


def _fit_groups(
    data: str,
    formula: str,
    by: list[str],
    where: str | None,
    reading: dict[str, Any],
    options: dict[str, Any],
    output: OutputOptions,
) -> int:
    """Fit each group of rows, show the head of the table, and write it."""
    from sgdfit.fitting.many import SINGLE, fit_many

    single = {name: options[name] for name in options if name not in SINGLE}
    before = 0

    def count(done: int, total: int) -> None:
        nonlocal before
        if listener.read is not None:
            listener.read(done - before, total)
        before = done

    with (
        progress_bar(not output.quiet, "fitting", "groups") as listener,
        stop_on_signal(listener.tell),
    ):
        files = (output.save, output.plot)
        table = _open(data, reading, where, options["missing"], listener.tell, files)
        fits = fit_many(formula, table, by, progress=count, **single)
        if output.save is not None:
            fits.write(output.save)
            if not output.quiet:
                say(f"the table is in {output.save}")
        if output.plot is not None:
            from sgdfit.plot import write

            write(fits.plot()[0].figure, Path(output.plot), inputs=fits.inputs)
            if not output.quiet:
                say(f"the plot is in {output.plot}")
    if output.as_json:
        print_text(fits.to_json())
    elif not output.quiet:
        print_text(str(fits))
    return 0


@app.command(cls=Command)
@option.takes(option.PREDICT)
def predict(
    saved: str,
    data: str,
    interval: str | None,
    level: float | None,
    residuals: bool,
    output: str | None,
    missing: str,
    where: str | None,
    memory: str | None,
    threads: int | None,
    cluster: str | None,
    **reading: Any,
) -> int:
    """Print the fitted curve at the rows of new data, as CSV."""
    if level is not None and interval is None:
        raise UsageError("--level needs --interval confidence or --interval prediction")
    if cluster is not None and output is None:
        raise UsageError("--cluster writes a folder of Parquet files; name it by --output")
    endings = () if cluster is not None else TABLES
    check_destinations((("--output", output, endings),), [saved, data])
    from sgdfit.fitting.options import as_resources
    from sgdfit.fitting.prediction import (
        PREDICTION,
        Dropped,
        as_grid,
        predicted,
        weighs,
    )
    from sgdfit.result.saved import load
    from sgdfit.result.table_file import writing_table

    result = load(saved)
    if cluster is not None and output is not None:
        table = _open(data, reading, where, missing, say)
        written = result.write_predictions(
            table, output, interval, level, residuals=residuals, missing=missing, cluster=cluster
        )
        if written.dropped.rows:
            say(str(written.dropped))
        return 0
    table = _open(as_grid(data, result.scales), reading, where, missing, say)
    # rows that are printed would run into the bar
    with (
        progress_bar(output is not None, "predicting") as listener,
        stop_on_signal(listener.tell) as state,
    ):
        heard, dropped = listener.with_progress(table), Dropped()
        told: dict[str, Any] = {"missing": missing, "residuals": residuals}
        told["resources"] = as_resources(memory, threads)
        read_too = (*table.files, *result.trace.inputs)
        file = printed_rows() if output is None else writing_table(output, read_too)
        try:
            with file as write:
                for some in predicted(result, heard, interval, level, **told):
                    dropped = dropped.also(some.dropped)
                    write(some.columns)
        except KeyboardInterrupt:
            if output is not None:
                listener.tell(f"interrupted; nothing is written to {output}")
            return state.status(INTERRUPTED)
    if interval == PREDICTION and result.weights and not weighs(result, table):
        say(f"{table.label} lacks the columns of '{result.weights}': rows are taken to weigh 1")
    if dropped.rows:
        say(str(dropped))
    return 0


@app.command(cls=Command)
@option.takes(option.EXPLAIN)
def explain(
    formula: str,
    data: str | None,
    latex: bool,
    html: bool,
    output: str | None,
    variables: str | None,
    **options: Any,
) -> int:
    """Derive the gradient of the loss as one would by hand, and check it on data."""
    if latex and html:
        raise UsageError("--latex and --html are two forms; give one of them")
    ending = "" if output is None else Path(output).suffix.lower()
    check_destinations((("--output", output, ()),), () if data is None else (data,))
    from sgdfit.fitting.entry import explain as derive
    from sgdfit.formula.reading import as_formula

    columns = None
    if variables is not None:
        # what stands on the left side can be nothing but columns
        left = as_formula(formula, options["response"]).response_names
        columns = [*(name.strip() for name in variables.split(",")), *left]
    reading = _reading(options)
    table = None
    if data is not None:
        table = _open(data, reading, None, options["missing"], say, (output,))
    derivation = derive(formula, table, variables=columns, **options)
    if latex or (ending == ".tex" and not html):
        text = derivation.latex()
    elif html or ending in (".html", ".htm"):
        text = derivation.html(page=True)
    else:
        text = derivation.text(width())
    deliver_text(text, output)
    return 0


@app.command(cls=Command)
@option.takes(option.SHOW)
def show(
    saved: str, full: bool, level: float | None, derive: list[str] | None, as_json: bool
) -> int:
    """Print the report of a saved fit."""
    from sgdfit.result.saved import load

    result = load(saved)
    if level is not None:
        from sgdfit.result.derived import at_level

        result = at_level(result, level)
    if as_json:
        print_json(result, derive or ())
    else:
        print_report(result, full, derive or ())
    return 0


@app.command(cls=Command)
@option.takes(option.PAGE)
def page(
    data: str | None,
    formula: str | None,
    port: int | None,
    no_open: bool,
    start: dict[str, float | None],
    optimizer: str | None,
    learning_rate: float | None,
    batch_size: int | None,
    seed: int | None,
    **options: Any,
) -> int:
    """Watch and steer a fit on a page in your browser, served by this machine to itself."""
    _require_page()
    from sgdfit.page.server import Page, serve
    from sgdfit.page.session import Session

    table = None if data is None else _open(data, _reading(options), None, "drop", say)
    # As frontend/src/address.ts reads it.
    settings = {"optimizer": optimizer, "rate": learning_rate, "batch": batch_size, "seed": seed}
    said: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    said |= {f"p.{name}": value for name, value in start.items()}

    def begun(link: str) -> None:
        link += f"#{urlencode(said)}" if said else ""
        say(f"open {link} (Ctrl-C ends it)")
        if not no_open:
            import webbrowser

            webbrowser.open(link)

    # Ctrl-C is how it ends.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        serve(Page(lambda emit: Session(emit, table, formula)), "127.0.0.1", port or 0, begun)
    return 0


def _require_page() -> None:
    for package in ("starlette", "uvicorn", "websockets"):
        require(package, "the page", "sgdfit[page]")


@app.command(cls=Command)
@option.takes(option.DEMO)
def demo(output: str) -> int:
    """Tell a tutorial's story: why its run diverges, and the rate that reaches the answer."""
    from rich.console import Console

    from sgdfit.demo import run

    return run(Path(output), Console(highlight=False, emoji=False))


@app.command(cls=Command)
@option.takes(option.EXAMPLES)
def examples(name: str | None, folder: str | None) -> int:
    """List runnable examples, or copy one: a script and its data."""
    known = sorted(path.name for path in SCRIPTS.iterdir() if any(path.glob("*.py")))
    if name is None:
        for each in known:
            print_text(f"{each:<18}  {_shown(each)}")
        print_text("\nsgdfit examples NAME copies one into a folder.")
        return 0
    if name not in known:
        there = f"there are {', '.join(known)}.{did_you_mean(name, known)}"
        raise UsageError(f"there is no example {name!r}; {there}")
    return _copy_example(name, Path(folder or name))


def _shown(name: str) -> str:
    """Return what an example shows: the first line of its script."""
    (script,) = (SCRIPTS / name).glob("*.py")
    return script.read_text(encoding="utf-8").partition("\n")[0].strip('"')


def _copy_example(name: str, folder: Path) -> int:
    """Copy its files, none over one that is there, and say what to run."""
    files = sorted(path for path in (SCRIPTS / name).iterdir() if path.is_file())
    for path in files:
        if os.path.lexists(target := folder / path.name):
            raise UsageError(f"{str(target)!r} is there already; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in files:
            with open(folder / path.name, "xb") as file:
                file.write(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot write to {str(folder)!r}: {error.strerror}") from error
    (script,) = (path.name for path in files if path.suffix == ".py")
    print_text(f"{', '.join(path.name for path in files)}: copied into {folder}")
    print_text(f"run it: {shlex.join(['python', str(folder / script)])}")
    return 0


def _reading(options: dict[str, Any]) -> dict[str, Any]:
    """Take out of the options those for `sgdfit.data.readers.open_table`."""
    return {each.name: options.pop(each.name) for each in option.READING}


def _open(
    data: Any,
    reading: dict[str, Any],
    where: str | None,
    missing: str,
    tell: Callable[[str], object] | None = None,
    writes: Sequence[str | None] = (),
) -> Table:
    """Open a file or standard input; the table can be read twice, standard input cannot.

    What is to be written must not be one of its files.
    """
    from sgdfit.checkpoint.atomic import refuse_inputs
    from sgdfit.data.readers import open_table

    source: object = data
    if data == "-":
        from sgdfit.cli.follow import whole_input

        source = whole_input(missing)
    try:
        table = open_table(source, where, **reading)
    except FormulaError as error:
        named = f"--where cannot be read: {error.message}"
        raise FormulaError(named, error.text, error.position) from error
    if tell is not None and table.notes:
        tell(f"{table.label}: {'; '.join(table.notes)}")
    for path in writes:
        if path is not None:
            refuse_inputs(path, table.files)
    return table
