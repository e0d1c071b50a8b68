"""What a live view says: sentences and typeset mathematics, all of them the library's own."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sgdfit.data.table import Table
from sgdfit.errors import enumerated
from sgdfit.inference.diagnosis import Diagnosis, rate_advice
from sgdfit.model.model import Model
from sgdfit.page.legs import Settings
from sgdfit.result.result import Result


def invitation(names: Sequence[str]) -> str:
    """Say what to do first."""
    return f"Drag {', '.join(names)} to lower the loss, then press Step."


def formula_mathml(model: Model) -> str:
    """Return the formula as MathML."""
    from sgdfit.derivation.derivation import Paper
    from sgdfit.derivation.notation import relation
    from sgdfit.derivation.pages import mathml

    paper = Paper(model)
    shown = relation(paper.target, "=", paper.write(model.formula.expression))
    return mathml(shown)


def report_html(result: Result) -> str:
    """Return the report of a fit."""
    return str(result._repr_html_())


def report_page(result: Result, table: Table) -> str:
    """Return the page of `Result.report`."""
    from sgdfit.document import write_document

    with tempfile.TemporaryDirectory(prefix="sgdfit-") as folder:
        path = Path(folder) / "fit.html"
        write_document(result, path, table)
        return path.read_text("utf-8")


# What sentences of the library say of its options, and what does the same here.
CONTROLS = (
    (r"leave out the start, or start there: start='(.*?)'", r"drag the parameters to \1"),
    (r", or leave out the start so that one is searched", ""),
    (r'by --where "(.*?)" \(in Python where=".*?"\)', r"by 'rows where': \1"),
    (r"by fixed='(\w+)=(.*?)' \(--fix on the command line\)", r"by its lock, at \2"),
    (r"where='(.*?)'", r"'rows where': \1"),
    (r"raise steps \(or epochs\)|raise steps", "press Fit for me again"),
    (r"start from these estimates to go on", "press Fit for me to go on"),
    (r"bound the parameters, or choose a start", "drag the parameters to"),
    (r"start (nearer|elsewhere)(?:, or bound the parameters)?", r"drag the parameters \1"),
    (r"bound the parameters(?: so that every row keeps a value, as in b > 0)?, or ", ""),
    (r",? or bound the parameters", ""),
    (r"fix or tie one", "lock one"),
    (r"\bfix (\w+)", r"lock \1"),
    (r",? or (?:pass|give) \w+='[^']*' \(--[^)]*\)(?: to leave them out)?", ""),
    (r",? (?:or )?pass \w+=\S+ to sgdfit\.open_table \(--[^)]*\)", ""),
    (r" \((?:--|sgdfit )[^)]*\)", ""),
)


def on_page(text: str) -> str:
    """Return a sentence of the library with the controls of the view for its options."""
    for option, control in CONTROLS:
        text = re.sub(option, control, text)
    return text


def said_on_page(result: Result) -> Result:
    """Return a fit whose status and warnings name the controls of the view."""
    status = result.status
    status = replace(status, cause=on_page(status.cause), cure=on_page(status.cure))
    return replace(result, status=status, warnings=tuple(map(on_page, result.warnings)))


def as_sentence(note: str) -> str:
    """Return a note with a capital and a full stop."""
    return f"{note[:1].upper()}{on_page(note[1:]).removesuffix('.')}." if note else ""


def verdict(
    diagnosis: Diagnosis | None,
    rate: float | None,
    ended: str,
    unfit: str = "",
    momentum: float = 0.0,
) -> dict[str, Any]:
    """Say how the descent goes here, with the number that proves it."""
    if diagnosis is None:
        cure = unfit or "drag a parameter elsewhere, or press Back"
        text = f"the loss or its slope is not finite here: {cure}"
        return {"level": "bad", "text": as_sentence(text)}
    if ended == "halted":
        text = f"Diverged: {rate_advice(diagnosis)}."
        return {"level": "bad", "text": text, "offer": diagnosis.fastest_rate}
    limit, growth = diagnosis.stability_limit, diagnosis.growth_factor
    smooth = diagnosis.smooth_rate
    if rate is None or limit is None or growth is None or smooth is None:
        note = diagnosis.notes[0] if diagnosis.notes else ""
        level = "good" if growth is None or growth < 1 else "bad"
        return {"level": level, "text": as_sentence(note)}
    where, share = diagnosis.along(-1), rate / limit
    whose = f" with momentum {momentum:g}" if momentum else ""
    lasting = " in the long run" if momentum else ""
    begin = f"The learning rate is {share:.3g} × the limit{whose}: "
    if growth > 1:
        text = f"{begin}{where} oscillates and grows, by {growth:.4g} a step{lasting}."
        return {"level": "bad", "text": text, "offer": diagnosis.fastest_rate}
    steps = diagnosis.steps_per_digit_at_rate
    slow = ""
    if steps is not None:
        form = ",.3g" if steps < 1000 else ",.0f" if steps < 1e7 else ".1g"
        slow = f" {steps:{form}} steps gain"
        slow = f"{slow if steps > 1 else ' A step gains'} a decimal digit."
    if rate <= 1.002 * smooth:  # or above by rounding alone
        return {"level": "good", "text": f"{begin}every direction shrinks smoothly.{slow}"}
    text = f"{begin}{where} oscillates and shrinks, to {growth:.3g} of itself a step{lasting}."
    if momentum and share <= 1 / 2:  # to swing is how momentum gains speed
        return {"level": "good", "text": text + slow}
    return {"level": "caution", "text": text}


def zones(diagnosis: Diagnosis | None, settings: Settings, momentum: float = 0.0) -> dict[str, Any]:
    """Return the learning rates at which descent becomes another, and what holds them back."""
    if diagnosis is None or diagnosis.stability_limit is None:
        told = enumerated([]) if diagnosis is None else next(iter(diagnosis.notes), "")
        return {"limit": None, "note": as_sentence(told)}
    notes = []
    if diagnosis.local:
        notes.append("The model is not linear: the limit holds near here.")
    if settings.batch is not None:
        notes.append("Steps on few rows can need smaller rates than all rows together.")
    if diagnosis.noise_floor is not None:
        over = f"{100 * diagnosis.noise_floor:.2g}%"
        notes.append(f"At this rate they hover above the least loss by roughly {over} of it.")
    if momentum and diagnosis.best_momentum is not None:
        rate, best = diagnosis.best_momentum
        notes.append(f"The fastest momentum here is {best:.2g}, at a rate of {rate:.3g}.")
    return {
        "smooth": diagnosis.smooth_rate,
        "limit": diagnosis.stability_limit,
        "fastest": diagnosis.fastest_rate,
        "note": " ".join(notes),
    }
