"""The options of the command line that say how the optimum is found."""

from __future__ import annotations

from typing import Annotated

from sgdfit.cli.options import declared, names_of, words

__all__ = [
    "Arithmetic",
    "BatchSize",
    "Epochs",
    "KernelForm",
    "LearningRate",
    "OptimizerName",
    "ScheduleName",
    "Search",
    "Seed",
    "Shuffle",
    "Steps",
    "Tolerance",
]

DESCENT = "Descent"

OptimizerName = Annotated[
    str | None,
    declared(
        "auto (the default), which needs neither rate nor starts; or textbook descent: sgd,"
        ' adagrad, rmsprop, adam, adamw, with options as in "sgd(momentum=0.9)" or'
        ' "averaged(adam)".',
        DESCENT,
        "--optimizer",
        metavar="NAME",
        autocompletion=names_of("optimizers", "OPTIMIZERS"),
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
        autocompletion=names_of("optimizers.schedule", "SCHEDULES"),
    ),
]
BatchSize = Annotated[
    str | None,
    declared(
        "Rows of one step of textbook descent: a number, or full.",
        DESCENT,
        "--batch-size",
        metavar="ROWS",
        autocompletion=words("full"),
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
        autocompletion=words("auto", "numpy", "compiled"),
    ),
]
Arithmetic = Annotated[
    str,
    declared(
        "Arithmetic of the steps: float64, or of textbook descent float32.",
        DESCENT,
        "--dtype",
        metavar="TYPE",
        autocompletion=words("float64", "float32"),
    ),
]
