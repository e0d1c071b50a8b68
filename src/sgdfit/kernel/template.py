"""Templates of source text, which read like the programs that they make.

Three signs are their own: a line with ``#P`` is written once for each of the P's, ``«p#P»`` writes
such a list within a line, and ``$row`` stands for lines or a word that the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["filled"]


def filled(
    template: str, texts: Mapping[str, list[str]], repeats: Mapping[str, Sequence[str]]
) -> str:
    """Fill in a template: first the texts, then the repetitions.

    Parameters
    ----------
    template : str
    texts : mapping of str to list of str
        What stands for each ``$`` name: lines where it stands alone, else the first of them.
    repeats : mapping of str to sequence of str
        What stands for each letter after ``#``.

    Examples
    --------
    >>> filled("y = $first*«x#P»", {"first": ["f"]}, {"P": "01"}).strip()
    'y = f*x0, x1'
    """
    lines: list[str] = []
    for line in template.splitlines():
        stem = line.lstrip()
        if stem.startswith("$"):
            lines += [line[: -len(stem)] + text for text in texts[stem[1:]]]
        else:
            lines.append(re.sub(r"\$(\w+)", lambda found: texts[found[1]][0], line))
    return "".join(f"{text}\n" for line in lines for text in _repeated(line, repeats))


def _repeated(line: str, repeats: Mapping[str, Sequence[str]]) -> list[str]:
    """Write a line once for each value of the marks outside its lists, then its lists."""
    marks = dict.fromkeys(re.findall(r"#([A-Z])", re.sub(r"«.*?»", "", line)))
    lines = [line]
    for mark in marks:
        lines = [text.replace(f"#{mark}", value) for text in lines for value in repeats[mark]]
    return [re.sub(r"«(.*?)»", lambda found: _list(found[1], repeats), text) for text in lines]


def _list(item: str, repeats: Mapping[str, Sequence[str]]) -> str:
    (mark,) = dict.fromkeys(re.findall(r"#([A-Z])", item))
    return ", ".join(item.replace(f"#{mark}", value) for value in repeats[mark])
