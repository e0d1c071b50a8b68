"""The command line: reads its arguments, calls the library, prints what that returns.

Exit status: 0 done, 1 the fit failed (it diverged, or the formula left its domain), 2 bad usage
or input, 130 interrupted by Ctrl-C, 143 by SIGTERM, 141 the reader of the output left.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgdfit.cli import arriving, descending, outputs
from sgdfit.cli import options as option
from sgdfit.cli import resources as resource
from sgdfit.cli.derived import columns_of, deliver_text, form_of, rendered
from sgdfit.cli.fitting import fit_all
from sgdfit.cli.following import fit_arriving
from sgdfit.cli.groups import ParserError, WithExamples, WithFormula, WithHint, parser_sentence
from sgdfit.cli.inputs import as_numbers, as_start, check_texts, data_first, open_data
from sgdfit.cli.interval import as_interval, check_follow
from sgdfit.cli.outcome import INTERRUPTED, TABLES, Wish, print_json
from sgdfit.cli.streams import (
    check_destinations,
    print_report,
    print_text,
    say_error,
    tolerate_any_encoding,
)
from sgdfit.errors import SgdfitError, UsageError

if TYPE_CHECKING:
    pass

__all__ = ["app", "execute"]

MISUSED, UNREAD = 2, 141

app = typer.Typer(
    cls=WithHint,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands after ``sgdfit``; by default that of this process.
    """
    tolerate_any_encoding()
    command = typer.main.get_command(app)
    try:
        given = None if arguments is None else list(arguments)
        status = command.main(args=given, prog_name="sgdfit", standalone_mode=False)
        sys.stdout.flush()
    except SgdfitError as error:
        say_error(str(error))
        return MISUSED
    except ParserError as error:
        say_error(parser_sentence(error))
        return MISUSED
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except MemoryError:
        say_error("there is not enough memory; give fewer rows or close other programs")
        return MISUSED
    except BrokenPipeError:
        return _unread()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _unread()
        say_error(f"cannot write to standard output: {error.strerror}")
        return MISUSED
    except SystemExit as leaving:
        # so Typer ends when whoever reads the output has left, as `| head` does
        if isinstance(leaving.__context__, BrokenPipeError):
            return _unread()
        raise
    return int(status or 0)


def _unread() -> int:
    """Send what is still buffered nowhere, so that nothing complains at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return UNREAD


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
    """Fit curves by stochastic gradient descent and see every step.

    Exit status: 0 done, 1 the fit failed, 2 bad usage or input, 130 interrupted by Ctrl-C, 143 by
    SIGTERM.
    """
    if context.invoked_subcommand is None:
        context.get_help()


@app.command(cls=WithFormula)
def fit(
    data: option.DataFile,
    formula: option.FormulaText,
    response: option.Response = None,
    loss: option.Loss = "mse",
    start: option.Start = None,
    fix: option.Fix = None,
    bound: option.Bound = None,
    tie: option.Tie = None,
    weights: option.Weights = None,
    sigma: option.Sigma = None,
    absolute_sigma: option.AbsoluteSigma = False,
    covariance: option.Covariance = "auto",
    intervals: option.Intervals = "wald",
    missing: option.Missing = "error",
    optimizer: descending.OptimizerName = None,
    learning_rate: descending.LearningRate = None,
    schedule: descending.ScheduleName = None,
    batch_size: descending.BatchSize = None,
    steps: descending.Steps = None,
    epochs: descending.Epochs = None,
    shuffle: descending.Shuffle = True,
    seed: descending.Seed = "0",
    tolerance: descending.Tolerance = None,
    search: descending.Search = None,
    kernel: descending.KernelForm = "auto",
    dtype: descending.Arithmetic = "float64",
    where: resource.Where = None,
    memory: resource.Memory = None,
    threads: resource.Threads = None,
    checkpoint: resource.Checkpoint = None,
    resume: resource.Resume = False,
    follow: arriving.Follow = False,
    every: arriving.Every = None,
    forgetting: arriving.Forgetting = None,
    as_json: outputs.AsJson = False,
    save: outputs.Save = None,
    trace: outputs.TraceFile = None,
    trace_every: outputs.TraceEvery = None,
    plot: outputs.PlotFile = None,
    quiet: outputs.Quiet = False,
) -> int:
    """Estimate the parameters of a formula from data."""
    check_texts(bound, response=response, weights=weights, sigma=sigma, where=where)
    data, formula = data_first(data, formula)
    wish = Wish(as_json, quiet, save, trace, plot)
    check_destinations(wish.destinations, [data] if checkpoint is None else [data, checkpoint])
    model = {
        "response": response, "loss": loss, "start": as_start(start), "bounds": bound, "fixed": fix,
        "tied": tie, "weights": weights, "sigma": sigma, "absolute_sigma": absolute_sigma,
        "covariance": covariance, "missing": missing, **as_numbers(seed=seed),
    }  # fmt: skip
    course = {
        "intervals": intervals, "optimizer": optimizer, "schedule": schedule,
        "batch_size": batch_size, "shuffle": shuffle, "search": search, "kernel": kernel,
        "dtype": dtype, "memory": memory, "checkpoint": checkpoint, "resume": resume,
        **as_numbers(
            learning_rate=learning_rate, steps=steps, epochs=epochs, tolerance=tolerance,
            trace_every=trace_every, threads=threads,
        ),
    }  # fmt: skip
    check_follow(follow, data, every, forgetting, {**course, "where": where, "plot": plot})
    if follow:
        return fit_arriving(formula, {**model, "forgetting": forgetting}, as_interval(every), wish)
    return fit_all(data, where, formula, {**model, **course}, wish)


@app.command(cls=WithExamples)
def predict(
    saved: option.SavedFit,
    data: option.DataFile,
    interval: outputs.Interval = None,
    level: outputs.Level = None,
    output: outputs.TableOutput = None,
    missing: option.Missing = "error",
    where: resource.Where = None,
    memory: resource.Memory = None,
    threads: resource.Threads = None,
) -> int:
    """Print the fitted curve at the rows of new data, as CSV."""
    if level is not None and interval is None:
        raise UsageError("--level needs --interval confidence or --interval prediction")
    check_texts(None, where=where)
    check_destinations((("--output", output, TABLES),), [saved, data])
    numbers = as_numbers(level=level or "0.95", threads=threads)
    from sgdfit.cli.predicting import deliver
    from sgdfit.fitting.means import as_means
    from sgdfit.result.saving import read

    result, means = read(saved), as_means(memory, numbers["threads"])
    table = open_data(data, where)
    return deliver(result, table, interval, numbers["level"], missing, means, output)


@app.command(cls=WithFormula)
def explain(
    formula: option.FormulaText,
    data: option.OptionalData = None,
    latex: outputs.Latex = False,
    html: outputs.Html = False,
    variables: option.Variables = None,
    response: option.Response = None,
    loss: option.Loss = "mse",
    start: option.Start = None,
    fix: option.Fix = None,
    bound: option.Bound = None,
    tie: option.Tie = None,
    weights: option.Weights = None,
    missing: option.Missing = "error",
    seed: descending.Seed = "0",
    output: outputs.TextOutput = None,
) -> int:
    """Derive the gradient of the loss as one would by hand, and check it on data."""
    check_texts(bound, response=response, weights=weights)
    form = form_of(latex, html, output)
    data, formula = (None, formula.lstrip()) if data is None else data_first(data, formula)
    check_destinations((("--output", output, ()),), () if data is None else (data,))
    from sgdfit.fitting.explaining import explain as derive

    derivation = derive(
        formula,
        None if data is None else open_data(data),
        variables=None if variables is None else columns_of(variables, formula, response),
        response=response, loss=loss, start=as_start(start), fixed=fix, bounds=bound, tied=tie,
        weights=weights, missing=missing, **as_numbers(seed=seed),
    )  # fmt: skip
    deliver_text(rendered(derivation, form), output)
    return 0


@app.command(cls=WithExamples)
def show(saved: option.SavedFit, as_json: outputs.AsJson = False) -> int:
    """Print the report of a saved fit."""
    from sgdfit.result.saving import read

    result = read(saved)
    if as_json:
        print_json(result)
    else:
        print_report(result)
    return 0


@app.command(cls=WithExamples)
def demo(output: outputs.Folder = "demo") -> int:
    """Tell a tutorial's story: why its run diverges, and the rate that reaches the answer."""
    from rich.console import Console

    from sgdfit.demo.demo import run

    return run(Path(output), Console(highlight=False, emoji=False))
