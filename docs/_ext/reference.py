"""The reference: pages made from the tables in the code, so that nothing can be missing."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import sgdfit
from sgdfit.cli import options
from sgdfit.data.formats import COMPRESSIONS, FORMATS
from sgdfit.data.readers import KINDS
from sgdfit.formula.functions import ALIASES, CONSTANTS, FORMS, OPERATIONS
from sgdfit.model.loss import LOSSES
from sgdfit.optimizers import OPTIMIZERS
from sgdfit.optimizers.schedule import SCHEDULES
from sgdfit.result.status import STATUSES

FOLDER = Path(__file__).parents[1] / "reference"
# Public names that are modules, each a page of functions.
TABLES = {"losses": LOSSES, "optimizers": OPTIMIZERS, "schedules": SCHEDULES}
COMMANDS = ("fit", "predict", "show", "explain", "page", "demo", "examples")


def pages() -> dict[str, str]:
    """Return the pages by name, in Markdown."""
    return {
        "index": _index(),
        "python": _python(),
        "command-line": _command_line(),
        "results": _results(),
        "statuses": _statuses(),
        "functions": _functions(),
        "losses": _choices("losses", "Losses", "What is averaged over the rows and made small."),
        "optimizers": _choices(
            "optimizers", "Optimizers", "How a gradient changes the parameters, as in torch."
        ),
        "schedules": _choices("schedules", "Schedules", "The learning rate of each step."),
        "formats": _formats(),
    }


def _index() -> str:
    names = (
        "python", "command-line", "results", "statuses", "functions", "losses", "optimizers",
        "schedules", "formats",
    )  # fmt: skip
    return "# Reference\n\nMade from the code by the build.\n\n```{toctree}\n:maxdepth: 1\n\n" + (
        "\n".join(names) + "\n```\n"
    )


def _directive(name: str, argument: str, *lines: str) -> str:
    return "\n".join([f"```{{{name}}} {argument}", *lines, "```\n"])


def functions() -> list[str]:
    """Return the public functions and classes of the package, but for those of other pages."""
    names = [name for name in sgdfit.__all__ if name != "__version__"]
    return [name for name in names if not inspect.ismodule(getattr(sgdfit, name))]


def _python() -> str:
    parts = ["# Python\n"]
    for name in functions():
        found = getattr(sgdfit, name)
        kind = "autoclass" if inspect.isclass(found) else "autofunction"
        members = [":members:"] if inspect.isclass(found) else []
        where = f"{found.__module__}.{found.__qualname__}"
        parts += [f"## {name}\n", _directive(kind, where, *members)]
    parts += ["## plot\n", _directive("automodule", "sgdfit.plot", ":members:")]
    parts += ["## sklearn\n", _directive("autoclass", "sgdfit.sklearn.FormulaRegressor")]
    parts += ["## Errors\n", _directive("automodule", "sgdfit.errors", ":members:", ":no-index:")]
    return "\n".join(parts)


def _panels(command: str) -> Any:
    return getattr(options, command.upper(), {})


def _command_line() -> str:
    parts = ["# Command line\n"]
    for command in COMMANDS:
        found = getattr(importlib.import_module("sgdfit.cli.commands"), command)
        text = inspect.cleandoc(found.__doc__ or "")
        parts += [f"## sgdfit {command}\n", text.replace("\n\n", "\n\n") + "\n"]
        for panel, some in _panels(command).items():
            if panel:
                parts.append(f"**{panel}**\n")
            for option in some:
                named = ", ".join(option.flags) or option.metavar
                taken = f" {option.metavar}" if option.flags and option.metavar else ""
                parts.append(f"`{named}{taken}`\n: {_plain(option.help)}\n")
    return "\n".join(parts)


def _plain(text: str) -> str:
    """Return a help text with its quoted examples as code."""
    return re.sub(r"(?<!\w)'([^']+)'|\"([^\"]+)\"", lambda m: f"`{m[1] or m[2]}`", text)


def described(kind: type) -> dict[str, str]:
    """Return what a docstring says of each field of a record."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes\n----------\n")[2]
    found: dict[str, str] = {}
    for line in text.partition("\n\n")[0].splitlines():
        name, colon, words = line.partition(" : ")
        if colon and not line.startswith(" "):
            for each in name.split(", "):
                found[each] = words
            last = name.split(", ")
        elif line.strip():
            for each in last:
                found[each] += " " + line.strip()
    return found


def _results() -> str:
    parts = ["# Results\n", "What `sgdfit.fit` returns; saved and loaded by these declarations.\n"]
    kinds = [sgdfit.Result, importlib.import_module("sgdfit.result.result").Estimate]
    kinds.append(importlib.import_module("sgdfit.result.trace").Trace)
    for kind in [*kinds, sgdfit.Fits]:
        words = described(kind)
        parts.append(f"## {kind.__name__}\n")
        summary = inspect.cleandoc(kind.__doc__ or "").splitlines()[0]
        parts.append(summary + "\n")
        for field in dataclasses.fields(kind):
            if not field.name.startswith("_"):
                parts.append(f"`{field.name}`\n: {words.get(field.name, '…')}\n")
    return "\n".join(parts)


def _statuses() -> str:
    rows = [
        [f"`{name}`", status.cause, status.cure, "yes" if status.ok else "no"]
        for name, status in STATUSES.items()
    ]
    return "# Statuses\n\nHow a run can end, what caused it, and what to do about it.\n\n" + (
        _table(["status", "cause", "cure", "can the estimates be used?"], rows)
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [[*head], ["---"] * len([*head]), *map(list, rows)]
    return "".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |\n" for line in lines
    )


def _functions() -> str:
    named: dict[str, list[str]] = {}
    for alias, name in ALIASES.items():
        named.setdefault(name, []).append(alias)
    rows = [
        [f"`{name}`", str(form.arity), ", ".join(f"`{a}`" for a in named.get(name, []))]
        for name, form in FORMS.items()
    ]
    others = ", ".join(f"`{name}`" for name in OPERATIONS)
    constants = ", ".join(f"`{name}`" for name in CONSTANTS)
    return (
        "# Functions of formulas\n\nEach has its derivative and a compiled form.\n\n"
        + _table(["function", "arguments", "also called"], rows)
        + f"\nMade of these: {others}.\n\nConstants: {constants}.\n"
    )


def _choices(module: str, title: str, summary: str) -> str:
    table: dict[str, Callable[..., Any]] = TABLES[module]
    parts = [f"# {title}\n", summary + "\n"]
    for name, make in table.items():
        where = f"{make.__module__}.{make.__qualname__}"
        parts += [f"## {name}\n", _directive("autofunction", where)]
    return "\n".join(parts)


def _formats() -> str:
    rows = [[f.name, " ".join(f"`{e}`" for e in f.endings)] for f in FORMATS]
    packed = " ".join(f"`{ending}`" for ending in COMPRESSIONS)
    kinds = "\n".join(f"- {kind}" for kind in KINDS)
    return (
        "# Data and files\n\n## Files that are read\n\n"
        + _table(["format", "endings"], rows)
        + f"\nText also packed: {packed}.\n\n## Data in memory\n\n{kinds}\n"
    )


def write(*_: object) -> None:
    """Write the pages; one that is as it was keeps its time, so that no more is built anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = FOLDER / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Write the pages before Sphinx looks for sources."""
    write()
    return {"parallel_read_safe": True}
