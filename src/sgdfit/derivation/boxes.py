"""Boxes of characters with a base line, set beside and above one another."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Box", "beside", "columns", "enclosed", "over", "raised"]

_BRACKETS = {
    "(": "⎛⎜⎝", ")": "⎞⎟⎠", "[": "⎡⎢⎣", "]": "⎤⎥⎦", "|": "│││",
    "⌊": "││⌊", "⌋": "││⌋", "⌈": "⌈││", "⌉": "⌉││",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Box:
    """Lines of equal width, one of which is the base line."""

    lines: tuple[str, ...]
    base: int = 0

    @property
    def width(self) -> int:
        """Columns of a terminal that it takes."""
        return columns(self.lines[0])

    @property
    def height(self) -> int:
        """Lines that it takes."""
        return len(self.lines)


def columns(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes.

    Examples
    --------
    >>> columns("ŷᵢ = 質量")
    9
    """
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def beside(boxes: Iterable[Box]) -> Box:
    """Set boxes beside one another, base lines aligned."""
    boxes = list(boxes)
    above = max(box.base for box in boxes)
    below = max(box.height - box.base for box in boxes)
    padded = [_padded(box, above - box.base, below - (box.height - box.base)) for box in boxes]
    return Box(tuple(map("".join, zip(*(box.lines for box in padded), strict=True))), above)


def _padded(box: Box, above: int, below: int) -> Box:
    empty = " " * box.width
    return Box(((empty,) * above) + box.lines + ((empty,) * below), box.base + above)


def _centred(lines: Sequence[str], width: int) -> tuple[str, ...]:
    out = []
    for line in lines:
        spare = width - columns(line)
        out.append(" " * (spare // 2) + line + " " * (spare - spare // 2))
    return tuple(out)


def over(top: Box, bottom: Box, rule: str = "─") -> Box:
    """Set one box over another with a rule between them: a fraction."""
    width = max(top.width, bottom.width)
    lines = (*_centred(top.lines, width), rule * width, *_centred(bottom.lines, width))
    return Box(lines, top.height)


def raised(base: Box, exponent: Box) -> Box:
    """Set an exponent to the upper right of ``base``."""
    lifted = Box(exponent.lines, exponent.height + base.base)
    blank = Box((*lifted.lines, *(" " * exponent.width for _ in range(base.base + 1))), lifted.base)
    return beside([base, blank])


def enclosed(box: Box, left: str, right: str) -> Box:
    """Set brackets of the box's height around it; an empty string sets none."""
    parts = [_bracket(left, box), box, _bracket(right, box)]
    return beside(part for part in parts if part is not None)


def _bracket(sign: str, box: Box) -> Box | None:
    if not sign:
        return None
    if box.height == 1:
        return Box((sign,), 0)
    if sign == "{":
        return _brace(box)
    top, middle, bottom = list(_BRACKETS[sign])
    return Box((top, *([middle] * (box.height - 2)), bottom), box.base)


def _brace(box: Box) -> Box:
    lines = ["⎪"] * max(3, box.height)
    lines[0], lines[len(lines) // 2], lines[-1] = "⎧", "⎨", "⎩"
    return Box(tuple(f"{line} " for line in lines), len(lines) // 2)
