"""What a fit may use: memory, threads, a file that remembers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from sgdfit.checkpoints.journal import Journal, open_journal
from sgdfit.choice import whole
from sgdfit.errors import UsageError

__all__ = ["BASE", "DEFAULT_MEMORY", "Means", "as_means", "as_memory", "as_threads"]

UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30}
# Resident without a row of data: Python, NumPy, SymPy, Arrow and the compiler.
BASE = 300_000_000
DEFAULT_MEMORY = 500_000_000
# Below this nothing is left for rows.
LEAST_MEMORY = 350_000_000
# Of what is left, so much may hold columns for good; the rest is for reading and converting.
SHARE = 0.4


class Means(NamedTuple):
    """What a fit may use.

    Attributes
    ----------
    memory : int
        Bytes that the process may hold.
    threads : int
        How many may compute at once.
    journal : Journal
        Remembers what a long run found.
    announce : callable or None
        Called with a sentence on what goes on.
    """

    memory: int
    threads: int
    journal: Journal
    announce: Callable[[str], object] | None = None

    @property
    def budget(self) -> int:
        """Bytes that columns may hold."""
        return int((self.memory - BASE) * SHARE)


def as_means(
    memory: int | str | None = None,
    threads: int | None = None,
    announce: Callable[[str], object] | None = None,
) -> Means:
    """Return the `Means` of these options of `sgdfit.fit`, without a checkpoint.

    Examples
    --------
    >>> as_means("1GB", threads=1).memory
    1000000000
    """
    return Means(
        as_memory(memory), as_threads(threads), open_journal(None, {}, resume=False), announce
    )


def as_memory(memory: Any) -> int:
    """Return a number of bytes, which may be written as ``"2GB"`` or ``"800 MiB"``.

    Raises
    ------
    UsageError
        When it is no number of bytes, or less than the program itself takes.

    Examples
    --------
    >>> as_memory("1.5 GB"), as_memory(None)
    (1500000000, 500000000)
    """
    if memory is None:
        return DEFAULT_MEMORY
    text = str(memory).strip().lower().removesuffix("bytes").rstrip()
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)(e\d+)?\s*([kmgt]i?)?b?", text)
    if isinstance(memory, bool) or found is None:
        raise UsageError(f"memory is {memory!r}; write a number of bytes, such as '800MB' or '4GB'")
    number = float(found[1] + (found[2] or "")) * UNITS.get(found[3] or "", 1)
    if not LEAST_MEMORY <= number < 2**60:
        raise UsageError(
            f"memory is {memory!r}, and the program itself takes about {BASE // 10**6} MB; allow"
            f" {LEAST_MEMORY // 10**6} MB or more"
        )
    return int(number)


def as_threads(threads: int | None) -> int:
    """Return how many threads to use: by default one for each core that this process may use.

    Raises
    ------
    UsageError
        When it is no whole number from 1.

    Examples
    --------
    >>> as_threads(2)
    2
    """
    if threads is not None:
        return whole(threads, "threads", 1)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
