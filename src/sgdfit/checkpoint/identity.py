"""What a run is of, compared with what a checkpoint is of."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["differences"]

_LONGEST = 200
_DIGEST = re.compile(r"(\w+:)?[0-9a-f]{16,}")


def differences(kept: Mapping[str, str], run: Mapping[str, str]) -> list[str]:
    """Name what differs, each as words that follow "the checkpoint is".

    Texts are quoted; of digests, and of texts too long to compare by eye, it is only said that
    they differ.

    Examples
    --------
    >>> differences({"formula": "y = a*x"}, {"formula": "y = a*x + b"})
    ["of the formula 'y = a*x', this run of 'y = a*x + b'"]
    >>> differences({"data": "0123456789abcdef"}, {"data": "fedcba9876543210"})
    ['of other data, or of other rows of them']
    """
    keys = [*run, *(key for key in kept if key not in run)]
    return [
        _words(key, kept.get(key), run.get(key)) for key in keys if kept.get(key) != run.get(key)
    ]


def _words(key: str, kept: str | None, run: str | None) -> str:
    if kept is None:
        return f"of no {key}, this run of {_shown(run, key)}"
    if run is None:
        return f"of {_shown(kept, f'the {key}')}, this run of none"
    if _opaque(kept) or _opaque(run):
        # a condition is part of what tells data from others
        return f"of other {key}" + (", or of other rows of them" if key == "data" else "")
    return f"of the {key} {kept!r}, this run of {run!r}"


def _shown(text: str | None, key: str) -> str:
    """Quote a text after the noun that it belongs to, or give the noun alone."""
    return key if text is None or _opaque(text) else f"{key} {text!r}"


def _opaque(text: str) -> bool:
    return not text or len(text) > _LONGEST or _DIGEST.fullmatch(text) is not None
