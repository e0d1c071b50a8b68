"""What a fit may use: memory, threads, a file that remembers."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sgdfit.checkpoint.journal import Journal, open_journal
from sgdfit.choice import whole
from sgdfit.errors import CheckpointWarning, UsageError
from sgdfit.fitting.identity import how_far

__all__ = ["BASE", "DEFAULT_MEMORY", "FORGETFUL", "Means", "as_means", "as_memory", "as_threads"]

UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30}
# Resident without a row of data: Python, NumPy, SymPy, Arrow and the compiler.
BASE = 300_000_000
DEFAULT_MEMORY = 500_000_000
# Below this nothing is left for rows.
LEAST_MEMORY = 350_000_000
# Of what is left, so much may hold columns for good; the rest is for reading and converting.
SHARE = 0.3


class Means(NamedTuple):
    """What a fit may use.

    Attributes
    ----------
    memory : int
        Bytes that the process may hold.
    threads : int
        How many may compute at once.
    checkpoint : str or None
        The file that remembers what a long run found.
    resume : bool
        Whether to go on from it.
    identity : mapping of str to str
        What the run is of, but for the data: see `sgdfit.checkpoint.journal.open_journal`.
    announce : callable or None
        Called with a sentence on what goes on.
    """

    memory: int
    threads: int
    checkpoint: str | None = None
    resume: bool = False
    identity: Mapping[str, str] = MappingProxyType({})
    announce: Callable[[str], object] | None = None

    @property
    def budget(self) -> int:
        """Bytes that columns may hold."""
        return int((self.memory - BASE) * SHARE)

    def journal(self, fingerprint: str, label: str) -> Journal:
        """Open the journal of a run on the data of this ``fingerprint``.

        Raises
        ------
        CheckpointError
            See `sgdfit.checkpoint.journal.open_journal`.
        UsageError
            When the data cannot be told from others.
        """
        if self.checkpoint is None:
            return FORGETFUL
        if not fingerprint:
            raise UsageError(
                f"{label} cannot be told from other data, so a run on it cannot be resumed; save it"
                " as a file first, or leave out checkpoint"
            )
        identity = {**self.identity, "data": fingerprint}
        return open_journal(
            self.checkpoint,
            identity,
            resume=self.resume,
            announce=self.announce or _warn,
            how_far=how_far,
        )


# Remembers nothing.
FORGETFUL = open_journal(None, {}, resume=False)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, CheckpointWarning, stacklevel=2)


def as_means(
    memory: int | str | None = None,
    threads: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    announce: Callable[[str], object] | None = None,
) -> Means:
    """Return the `Means` of these options of `sgdfit.fit`.

    Raises
    ------
    UsageError
        When one of them cannot be used, or there is nothing to resume from.

    Examples
    --------
    >>> as_means("1GB", threads=1).memory
    1000000000
    """
    if not isinstance(resume, bool):
        raise UsageError(f"resume is {resume!r}; it is True or False")
    if resume and checkpoint is None:
        raise UsageError(
            "resume goes on from a checkpoint, but none is named; give checkpoint (on the command"
            " line --checkpoint FILE)"
        )
    path = None if checkpoint is None else os.fspath(checkpoint)
    return Means(as_memory(memory), as_threads(threads), path, resume, announce=announce)


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
    """Return how many threads to use: one for each core that this process may use, or fewer.

    Raises
    ------
    UsageError
        When it is no whole number from 1.

    Examples
    --------
    >>> as_threads(1)
    1
    """
    asked = None if threads is None else whole(threads, "threads", 1)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    # More would hold more memory, and compute nothing sooner.
    return cores if asked is None else min(asked, cores)
