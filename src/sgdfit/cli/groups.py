"""How this command line departs from Typer's: runnable examples, and formulas that begin with -."""

from __future__ import annotations

import os
import re
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from sgdfit.cli.examples import EXAMPLES
from sgdfit.errors import UsageError, did_you_mean

__all__ = ["ParserError", "WithExamples", "WithFormula", "WithHint", "parser_sentence"]

# What Typer raises for a wrong command line; newer versions of it have no public name for it.
ParserError: type[Exception] = typer.BadParameter.__bases__[0]

_NEGATIVE_FORMULA = re.compile(r"-[^-].*[*/+=~^( ]", re.DOTALL)


class WithExamples(TyperCommand):
    """A command whose help ends with examples, unwrapped, so that they can be copied."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, then the examples."""
        super().format_help(ctx, formatter)
        console = Console(highlight=False, emoji=False)
        console.print(Text(" Examples", style="bold"))
        for purpose, line in EXAMPLES[str(self.name)]:
            console.print(Text(f"   # {purpose}", style="dim"), soft_wrap=True)
            console.print(Text(f"   {line}"), soft_wrap=True)
        console.print()


class WithFormula(WithExamples):
    """A command that takes ``-log(y) = a*x`` as a formula, not as a bundle of short options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Shield such a formula with a blank, which no formula minds."""
        shielded = [f" {arg}" if _NEGATIVE_FORMULA.match(arg) else arg for arg in args]
        return super().parse_args(ctx, shielded)


class WithHint(TyperGroup):
    """The commands, and a hint where ``fit`` was left out."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Find the command that the first argument names."""
        first = args[0]
        if first not in self.commands and (first == "-" or os.path.isfile(first)):
            raise UsageError(
                f"{first!r} is no command; to fit a curve to it write:"
                f' sgdfit fit {first} "y = a*x + b"'
            )
        return super().resolve_command(ctx, args)


def parser_sentence(error: Any) -> str:
    """Say in one sentence what is wrong with the command line, and where to look it up."""
    known = getattr(error, "possibilities", None)
    sentence = error.format_message().rstrip(".")
    if known:
        sentence = f"{error.message.rstrip('.')}.{did_you_mean(error.option_name, known)}"
    elif "extra argument" in sentence:
        sentence += '; put the formula in quotes, as in "y = a*x + b"'
    context = getattr(error, "ctx", None)
    where = "sgdfit" if context is None else context.command_path
    end = "" if sentence.endswith(("?", ".")) else ";"
    return f"{sentence[:1].lower()}{sentence[1:]}{end} see {where} --help"
