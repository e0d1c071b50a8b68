"""What a live view says: sentences and typeset mathematics, all of them the library's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

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
    diagnosis: Diagnosis | None, rate: float | None, ended: str, unfit: str = ""
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
    if rate is None or limit is None or growth is None:
        note = diagnosis.notes[0] if diagnosis.notes else ""
        return {"level": "good", "text": as_sentence(note)}
    where, share = diagnosis.along(-1), rate / limit
    if growth > 1:
        text = (
            f"The learning rate is {share:.3g} × the limit: {where} oscillates and grows, by"
            f" {growth:.4g} a step."
        )
        return {"level": "bad", "text": text, "offer": diagnosis.fastest_rate}
    if share > 0.501:  # at one half by rounding alone
        return {
            "level": "caution",
            "text": f"The learning rate is {share:.3g} × the limit: {where} oscillates and shrinks,"
            f" to {growth:.3g} of itself a step.",
        }
    steps = diagnosis.steps_per_digit_at_rate
    slow = ""
    if steps is not None:
        form = ",.3g" if steps < 1000 else ",.0f" if steps < 1e7 else ".1g"
        slow = f" {steps:{form}} steps gain"
        slow = f"{slow if steps > 1 else ' A step gains'} a decimal digit."
    return {
        "level": "good",
        "text": f"The learning rate is {share:.3g} × the limit: every direction shrinks smoothly."
        + slow,
    }


def zones(diagnosis: Diagnosis | None, settings: Settings) -> dict[str, Any]:
    """Return the learning rates at which descent becomes another, and what holds them back."""
    if diagnosis is None or diagnosis.stability_limit is None:
        told = enumerated([]) if diagnosis is None else next(iter(diagnosis.notes), "")
        return {"limit": None, "note": as_sentence(told)}
    notes = []
    if diagnosis.local:
        notes.append("The model is not linear: the limit holds near here.")
    if settings.batch is not None:
        notes.append("Steps on few rows can need smaller rates than all rows together.")
    if "momentum" in settings.optimizer:
        notes.append("With momentum the steepest direction may swing below the limit.")
    return {
        "smooth": diagnosis.stability_limit / 2,
        "limit": diagnosis.stability_limit,
        "fastest": diagnosis.fastest_rate,
        "note": " ".join(notes),
    }
