"""The tutorial's twenty points, bit for bit as torch makes them, and what it printed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PRINTED_GRADIENT", "PRINTED_LOSS", "RATE", "START", "STEPS", "points"]

START = {"a": 4.0, "b": 5.0, "c": 7.0}
RATE = 0.23
STEPS = 10

PRINTED_GRADIENT = {"a": 11.2822, "b": 6.9424, "c": 0.0}
PRINTED_LOSS = (
    23.300430297851562,
    12.930697441101074,
    10.261430740356445,
    8.984521865844727,
    8.224483489990234,
    7.7517900466918945,
    7.455584526062012,
    7.269739627838135,
    7.153112888336182,
    7.079920768737793,
)

Array = NDArray[np.float32]


def points(*, constant: bool = True) -> dict[str, Array]:
    """Return the tutorial's data: y = 2x² + 3x + 4 + noise, or without the 4.

    Parameters
    ----------
    constant : bool
        Whether the curve that the points scatter about has its constant term; the figures that
        the tutorial prints come from points without.

    Returns
    -------
    dict of str to ndarray of float32, shape (20,)
        ``x`` from -2 to 2, and ``y`` with noise drawn evenly between -5 and 5.

    Examples
    --------
    >>> data = points()
    >>> data["x"][:2].tolist(), data["y"][:1].tolist()
    ([-2.0, -1.7894736528396606], [9.82269287109375])
    """
    x = _linspace(-2, 2, 20)
    one = np.float32(1)
    curve = 2 * one * x**2 + 3 * one * x
    if constant:
        curve = curve + 4 * one
    return {"x": x, "y": curve + (_rand(42, 20) * 10 * one - 5 * one)}


def _linspace(low: float, high: float, count: int) -> Array:
    """As torch.linspace on any processor with fused multiply-add: from both ends, rounded once."""
    step = float(np.float32(high - low) / np.float32(count - 1))
    i = np.arange(count)
    ends = np.where(i < count // 2, low + step * i, high - step * (count - 1 - i))
    return ends.astype(np.float32)


def _rand(seed: int, count: int) -> Array:
    """As torch.rand on a CPU: 24 bits of each draw of the Mersenne twister."""
    draws = np.random.RandomState(seed).randint(0, 2**32, count, dtype=np.uint32)
    return ((draws & 0xFFFFFF) / 2**24).astype(np.float32)


def write(path: Any) -> None:
    """Write the points to a CSV file, every digit of them."""
    rows = zip(*(column.tolist() for column in points().values()), strict=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write("x,y\n")
        file.writelines(f"{x!r},{y!r}\n" for x, y in rows)
