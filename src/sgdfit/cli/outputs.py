"""The options of the command line that say what becomes of the answer."""

from __future__ import annotations

from typing import Annotated

from sgdfit.cli.options import declared, words

__all__ = [
    "AsJson",
    "Folder",
    "Html",
    "Interval",
    "Latex",
    "Level",
    "PlotFile",
    "Quiet",
    "Save",
    "TableOutput",
    "TextOutput",
    "TraceEvery",
    "TraceFile",
]

OUTPUT = "Output"

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
        autocompletion=words("confidence", "prediction"),
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
