"""Blocks of any length cut into chunks that begin where they should."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["Aligner", "aligned"]

Array = np.ndarray[Any, Any]


class Aligner:
    """Cuts blocks of any length into chunks of one; only what crosses an edge is copied.

    Parameters
    ----------
    size : int
        Rows of a chunk.
    unit : int, optional
        A divisor of ``size``. Where it is given, chunks hold as many units as one block has of
        them, at most ``size`` rows; so less is copied.

    Examples
    --------
    >>> cut = Aligner(2)
    >>> [x.tolist() for (x,) in cut.push((np.arange(5.0),))], [x.tolist() for (x,) in cut.rest()]
    ([[0.0, 1.0], [2.0, 3.0]], [[4.0]])
    """

    def __init__(self, size: int, unit: int | None = None) -> None:
        self.size, self.unit, self.rows = size, unit or size, 0
        self.held: list[tuple[Array, ...]] = []

    def push(self, columns: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
        """Yield the chunks that are complete with this block."""
        begin, length = 0, len(columns[0])
        while (there := self.rows + length - begin) >= self.unit:
            several = self.unit if self.held else min(self.size, there // self.unit * self.unit)
            end = begin + several - self.rows
            whole = [*self.held, tuple(column[begin:end] for column in columns)]
            self.held, self.rows, begin = [], 0, end
            yield _joined(whole)
        if begin < length:
            self.held.append(tuple(column[begin:] for column in columns))
            self.rows += length - begin

    def rest(self) -> Iterator[tuple[Array, ...]]:
        """Yield the last chunk, if one is left."""
        if self.held:
            yield _joined(self.held)


def aligned(
    blocks: Iterator[tuple[Array, ...]], size: int, unit: int | None = None
) -> Iterator[tuple[Array, ...]]:
    """Cut blocks of any length into chunks of ``size`` rows, or of units, as `Aligner` says.

    Examples
    --------
    >>> blocks = iter([(np.arange(3.0),), (np.arange(3.0, 7.0),)])
    >>> [x.tolist() for (x,) in aligned(blocks, 2)]
    [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0]]
    """
    cut = Aligner(size, unit)
    for columns in blocks:
        yield from cut.push(columns)
    yield from cut.rest()


def _joined(parts: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    if len(parts) == 1:
        return parts[0]
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
