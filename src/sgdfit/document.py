"""A fit as one file to share: a page that needs no network, Markdown, or LaTeX for a paper.

The words and figures are those of the report; the page adds the derivation, the plots, the steps,
and what repeats the fit.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import platform
import re
import shlex
from collections.abc import Iterator, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

from sgdfit.checkpoint.atomic import replacing
from sgdfit.data.datasets import fingerprint_of
from sgdfit.data.opening import open_rows
from sgdfit.data.readers import open_table
from sgdfit.data.table import Columns, Table
from sgdfit.derivation.derivation import Derivation, Paper, derive
from sgdfit.derivation.notation import relation
from sgdfit.derivation.pages import mathml
from sgdfit.errors import SgdfitError, UsageError
from sgdfit.fitting.prediction import rebuild
from sgdfit.fitting.sampling import subsample_runs
from sgdfit.formula.reading import as_formula
from sgdfit.model.model import Model
from sgdfit.plot import figure, whole_data
from sgdfit.plot.landscape import PlotData
from sgdfit.report import MARKS, Facts, as_html, as_latex, facts, trace_as_html
from sgdfit.result.derived import Derived, derive_quantities
from sgdfit.result.result import Estimate, Result

ENDINGS = (".html", ".htm", ".md", ".tex")
# Of columns whose fingerprint is told.
MOST_BYTES = 64_000_000
# Parameters whose derivatives are written out.
MOST_DERIVED = 24
# Options of `sgdfit.fit` by the facts that hold them, where they are not what is usual.
STATED = {
    "loss": ("loss_name", "mse"),
    "sigma": ("sigma", None),
    "absolute_sigma": ("absolute_sigma", False),
    "intervals": ("intervals", "wald"),
    "bootstrap": ("bootstrap", None),
    "level": ("level", 0.95),
    "seed": ("seed", 0),
}


def write_document(
    result: Result,
    path: str | os.PathLike[str],
    data: object = None,
    derived: Sequence[str] = (),
    command: Sequence[str] | None = None,
) -> None:
    """Write the report of a fit to a file, as its ending says: .html, .md or .tex.

    Parameters
    ----------
    data : dict of arrays, data frame, path, …, optional
        The rows of the fit, for the plots; by default those that it knows of.
    derived : sequence of str, optional
        Quantities that follow from the estimates, as in ``"half_life = log(2)/k"``.
    command : sequence of str, optional
        The command line that made the fit.

    Raises
    ------
    UsageError
        When the ending is another one, the file cannot be written, or it is one that was fitted.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(
            f"cannot write a report to {str(path)!r}: its ending must be one of"
            f" {', '.join(ENDINGS)}"
        )
    known = result.table if data is None else data
    table = known if known is None or isinstance(known, Table) else open_table(known)
    found = derive_quantities(result, derived) if derived else None
    model = _model_of(result, table)
    if ending == ".tex":
        text = _tex(result, model, found)
    elif ending == ".md":
        text = _markdown(result, model, table, found, command)
    else:
        text = _page(result, model, table, found, command)
    inputs = (*(table.files if table is not None else ()), *result.trace.inputs)
    try:
        with replacing(path, inputs) as file:
            file.write(text.encode())
    except OSError as error:
        raise UsageError(f"cannot write a report to {str(path)!r}: {error.strerror}") from error


def _model_of(result: Result, table: Table | None) -> Model | None:
    """Return the model, by which the gradient is derived; None where it cannot be told."""
    with contextlib.suppress(SgdfitError):
        if table is not None:
            return rebuild(result, table.names)
        read = as_formula(result.formula)
        names = [*read.names, *read.response_names]
        return rebuild(result, [name for name in names if name not in result.estimates])
    return None


def _derivation(model: Model | None) -> Derivation | None:
    if model is None or model.external is not None or len(model.free) > MOST_DERIVED:
        return None
    return derive(model)


def reproduce(result: Result) -> str:
    """Return Python that repeats the fit; what it cannot spell has the name that it was given."""
    given: dict[str, str] = {}
    known, table = result.estimates.values(), result.table
    added, origin = (table.added, table.origin) if table is not None else ((), None)
    label, _, where = result.data_label.partition(" where ")
    data = repr(label) if os.path.exists(label) else "data"
    if origin is not None:
        path = repr(label if os.path.exists(label) else origin["data"])
        reading = "".join(f", {n}={value!r}" for n, value in origin.items() if n != "data")
        data = f"sgdfit.open_table({path}{reading})" if reading else path
    formula, imports = repr(result.formula), "import sgdfit\n"
    if result.function is not None:
        module, _, formula = result.function.rpartition(".")
        imports += f"from {module} import {formula}\n" if module != "__main__" else ""
        given["response"] = repr(result.formula.partition(" = ")[0])
    elif all(name in result.estimates for name in as_formula(result.formula).names):
        given["constant"] = "True"
    for option, chosen in (
        ("start", {e.name: e.start for e in known if e.start_origin == "given"}),
        ("bounds", {e.name: _bounds(e) for e in known if _bounds(e) != (None, None)}),
        ("fixed", {e.name: e.value for e in known if e.role == "fixed"}),
        ("tied", {e.name: e.tie for e in known if e.role == "tied"}),
    ):
        if chosen:
            given[option] = repr(chosen)
    for option, (fact, usual) in STATED.items():
        if (value := getattr(result, fact)) != usual:
            given[option] = option if value in added else repr(value)
    if result.weights and not result.sigma:
        given["weights"] = "weights" if result.weights in added else repr(result.weights)
    method = result.covariance_method.partition(" ")[0].rstrip(":")
    if method == "sandwich" or (method == "classical" and result.loss_name != "mse"):
        given["covariance"] = repr(method)
    if result.rows_dropped:
        given["missing"] = "'drop'"
    if where:
        given["where"] = repr(where)
    if result.time_scales:
        given["time_unit"] = repr(next(iter(result.time_scales.values())).unit)
    if result.optimizer != "auto":
        given |= {"optimizer": repr(result.optimizer), "steps": repr(result.steps)}
        schedule = "" if result.learning_rate[:1] in "-.0123456789" else "sgdfit.schedules."
        given["learning_rate"] = f"{schedule}{result.learning_rate}"
        if result.batch_size is not None:
            given["batch_size"] = repr(result.batch_size)
    options = "".join(f"    {name}={value},\n" for name, value in given.items())
    return f"{imports}\nfit = sgdfit.fit(\n    {formula},\n    {data},\n{options})\n"


def _bounds(estimate: Estimate) -> tuple[float | None, ...]:
    return tuple(end if math.isfinite(end) else None for end in (estimate.low, estimate.high))


def _provenance(
    result: Result, model: Model | None, table: Table | None, command: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """Say where the fit came from, and what made it."""
    yield "data", result.data_label
    if model is not None and table is not None:
        rows = open_rows(table, list(model.columns), missing="drop", budget=MOST_BYTES)
        which = "of the columns used"
        if isinstance(rows, Columns):
            columns = rows.columns
        else:
            runs = subsample_runs(rows.rows, len(rows.names), seed=0)
            columns = dict(zip(rows.names, rows.take(*runs), strict=True))
            taken = len(columns[rows.names[0]])
            which += f", {taken:,} rows that are the same each time, of {rows.rows:,}"
        yield "fingerprint", f"SHA-256 {fingerprint_of(columns)} ({which})"
    if command:
        yield "command", shlex.join(command)
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "sympy"))
    python = platform.python_version()
    yield "made by", f"sgdfit {version('sgdfit')} with Python {python}, {packages}"


def _page(
    result: Result,
    model: Model | None,
    table: Table | None,
    derived: Derived | None,
    command: Sequence[str] | None,
) -> str:
    """Return the page, whose parts all stand in it."""
    title = escape(result.formula)
    parts = [f"<h1>{_typeset(model) or f'<code>{title}</code>'}</h1>", as_html(result)]
    if derived is not None:
        parts += ["<h2>What follows from the estimates</h2>", derived._repr_html_()]
    pictures = _pictures(result, table)
    if pictures:
        parts += ["<h2>Pictures</h2>", pictures]
    shown = _derivation(model)
    if shown is not None:
        parts += ["<h2>The gradient, derived</h2>", shown.html()]
    if len(result.trace):
        steps = trace_as_html(result.trace)
        folded = f"<details><summary>All that is kept</summary>{steps}</details>"
        parts += ["<h2>The steps</h2>", f'<div class="steps">{folded}</div>']
    parts += ["<h2>To repeat it</h2>", f"<pre>{escape(reproduce(result))}</pre><dl>"]
    for name, text in _provenance(result, model, table, command):
        parts.append(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>")
    body = "\n".join([*parts, "</dl>"])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


def _typeset(model: Model | None) -> str:
    """Return the formula as mathematics."""
    if model is None or model.external is not None:
        return ""
    paper = Paper(model)
    return mathml(relation(paper.target, "=", paper.write(model.formula.expression)))


def _pictures(result: Result, table: Table | None) -> str:
    """Return the plots as SVG, in light and dark; nothing where the rows are not at hand."""
    if table is None:
        return ""
    with contextlib.suppress(SgdfitError):
        rows = whole_data(result, table)
        return "".join(
            f'<div class="{style}">{_svg(result, rows, style)}</div>' for style in ("light", "dark")
        )
    return ""


def _svg(result: Result, rows: PlotData, style: str) -> str:
    import matplotlib

    # Names within a drawing must not meet those of another on the same page.
    with matplotlib.rc_context({"svg.hashsalt": style, "svg.fonttype": "path"}):
        drawn = io.BytesIO()
        figure(result, rows, style).savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", text, count=1)
    label = "Data with the fitted curve, residuals, the loss, and the way of the parameters"
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _markdown(
    result: Result,
    model: Model | None,
    table: Table | None,
    derived: Derived | None,
    command: Sequence[str] | None,
) -> str:
    """Return the report in Markdown, as repositories show it."""
    said = facts(result)
    lines = [f"# `{said.formula}`", "", *_table(said.header, said.estimates), ""]
    lines += [f"- {label}: {text}" for label, text in said.summary]
    lines += ["", f"**{MARKS[said.level]} {said.headline}**", ""]
    lines += [f"- {label}: {text}" for label, text in said.advice]
    if derived is not None:
        lines += ["", "## What follows from the estimates", "", "```", str(derived), "```"]
    for section in said.sections:
        lines += ["", f"## {section.title}", ""]
        lines += [f"- {label}: {text}" for label, text in section.lines]
    shown = _derivation(model)
    if shown is not None:
        lines += ["", "## The gradient, derived", "", "```", shown.text().rstrip(), "```"]
    lines += ["", "## To repeat it", "", "```python", reproduce(result).rstrip(), "```", ""]
    lines += [f"- {name}: {text}" for name, text in _provenance(result, model, table, command)]
    return "\n".join([*lines, ""])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _tex(result: Result, model: Model | None, derived: Derived | None) -> str:
    """Return what a paper takes: the formula and the table of estimates."""
    made = f"{result.formula}, fitted by sgdfit {version('sgdfit')} to {result.data_label}"
    lines = _comments(made)
    if model is not None and model.external is None:
        paper = Paper(model)
        shown = relation(paper.target, "=", paper.write(model.formula.expression))
        lines += ["\\begin{equation}", f"  {shown.latex}", "\\end{equation}"]
    lines += [as_latex(result)]
    said: Facts = facts(result)
    summary = [f"{label}: {text}" for label, text in said.summary]
    lines += _comments(*summary, said.headline, "" if derived is None else str(derived))
    return "\n".join([*lines, ""])


def _comments(*texts: str) -> list[str]:
    """Return texts as comments, whose every line is one."""
    return [f"% {line}" for text in texts for line in text.splitlines()]


STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:0;background:Canvas;color:CanvasText}
main{max-width:60em;margin:0 auto;padding:1.2em}
h1{font-size:1.35em;font-weight:600;margin:.2em 0 1em;padding:.3em 0;overflow:auto hidden}
h1 math{margin:0;width:max-content}
h2{font-size:1.1em;margin:2em 0 .6em;
border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent)}
svg{width:100%;height:auto}
.dark{display:none}
th,td{text-align:left;padding:.15em 1.2em .15em 0}
@media (prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}
.light{display:none}.dark{display:block}}
pre{overflow-x:auto;padding:.8em;border-radius:6px;
background:color-mix(in srgb,currentColor 7%,transparent)}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.2em 1.2em}
dt{opacity:.75}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:30em){body{font-size:15px}main{padding:.8em}dl{display:block}}
@media print{
:root{color-scheme:light}body{font-size:9.5pt;background:#fff;color:#000}svg{width:84%}main{max-width:none;padding:0}
.dark{display:none}.light{display:block}
.steps{font-size:6.5pt}
h2,summary{break-after:avoid}svg,pre,section{break-inside:avoid}
details::details-content{content-visibility:visible;block-size:auto}
@page{size:A4;margin:18mm 16mm}
}
"""
