"""Rows that the benchmarks fit: made up, the same every time, in memory and as Parquet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["CURVES", "Curve", "decode", "linked", "observed", "parquet", "replicate"]

GROUP = 1 << 20
NOISE = 0.1
TRUTH = (2.0, 0.7, 0.5)
FREE_SHARE = 0.1


class Curve(NamedTuple):
    """A curve of x with parameters a, b and c.

    Attributes
    ----------
    name, formula : str
    function : (module, x, a, b, c) -> array
        The curve in NumPy, JAX or torch, whichever module is given.
    jacobian : (x, a, b, c) -> tuple of arrays
        Its derivatives by a, b and c, in NumPy.
    """

    name: str
    formula: str
    function: Callable[..., Any]
    jacobian: Callable[..., tuple[Any, ...]]


CURVES = (
    Curve(
        "exponential",
        "y = a*exp(-b*x) + c",
        lambda m, x, a, b, c: a * m.exp(-b * x) + c,
        lambda x, a, b, c: (e := np.exp(-b * x), -a * x * e, np.ones_like(x)),
    ),
    Curve(
        "linear",
        "y = a*x**2 + b*x + c",
        lambda m, x, a, b, c: a * x * x + b * x + c,
        lambda x, a, b, c: (x * x, x, np.ones_like(x)),
    ),
)


def observed(curve: Curve, rows: int, group: int = 0) -> dict[str, NDArray[np.float64]]:
    """Return rows of a curve with noise; another ``group`` is other rows of the same."""
    random = np.random.default_rng([7, group])
    x = random.uniform(0.0, 4.0, rows)
    y = curve.function(np, x, *TRUTH)
    y += NOISE * random.standard_normal(rows)
    return {"x": x, "y": y}


def parquet(curve: Curve, rows: int, folder: Path) -> Path:
    """Return a Parquet file of ``rows`` rows, written unless it is there (snappy, 2 columns)."""
    sizes = [min(GROUP, rows - first) for first in range(0, rows, GROUP)]
    groups = (observed(curve, size, number) for number, size in enumerate(sizes))
    return _written(folder / f"{curve.name}-{rows}.parquet", groups, 17 * rows)


def replicate(data: Mapping[str, Any], times: int, path: Path) -> Path:
    """Return a Parquet file of the rows of ``data`` in order, ``times`` times over."""
    rows = len(next(iter(data.values())))
    each = max(1, min(times, GROUP // rows))
    block = {name: np.tile(column, each) for name, column in data.items()}
    whole, rest = divmod(times, each)

    def groups() -> Iterator[dict[str, Any]]:
        yield from (block for _ in range(whole))
        if rest:
            yield {name: np.tile(column, rest) for name, column in data.items()}

    # Columns of few distinct values take a byte or two a row as indices into a dictionary.
    return _written(path, groups(), 2 * rows * times * len(data))


def _written(path: Path, groups: Iterator[Any], size: int) -> Path:
    """Write the groups to ``path``; a file that is there is whole, since it was renamed last."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    check_space(path.parent, size)
    partial = path.with_suffix(".partial")
    first = pa.table(next(groups))
    with pq.ParquetWriter(partial, first.schema, compression="snappy") as writer:
        writer.write_table(first, row_group_size=GROUP)
        for group in groups:
            writer.write_table(pa.table(group), row_group_size=GROUP)
    os.replace(partial, path)
    return path


def check_space(folder: Path, size: int) -> None:
    """Refuse to fill the disk.

    Raises
    ------
    OSError
        When less than a tenth of the disk would stay free.
    """
    usage = shutil.disk_usage(folder)
    if usage.free - size < FREE_SHARE * usage.total:
        raise OSError(
            f"{folder} has {usage.free / 1e9:.0f} GB free, and {size / 1e9:.0f} GB more would leave"
            " less than a tenth of the disk; name another --folder, or ask for fewer rows"
        )


def linked(path: Path, times: int) -> Path:
    """Return a folder in which a file stands ``times`` times, each a hard link (or a copy)."""
    folder = path.with_name(f"{path.stem}-times-{times}")
    folder.mkdir(exist_ok=True)
    for number in range(times):
        link = folder / f"part-{number:04}.parquet"
        if link.exists():
            continue
        try:
            os.link(path, link)
        except OSError:
            check_space(folder, path.stat().st_size)
            shutil.copyfile(path, link)
    return folder


def decode(path: Path, threads: int) -> int:
    """Read and decode every row group and do nothing with it; return the rows.

    Each thread takes every so-many-th row group of each file, with a reader of its own.
    """
    import pyarrow.parquet as pq

    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]

    def share(thread: int) -> int:
        rows = number = 0
        for file in files:
            reader = pq.ParquetFile(file)
            for group in range(reader.num_row_groups):
                if number % threads == thread:
                    rows += reader.read_row_group(group, use_threads=False).num_rows
                number += 1
        return rows

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(share, range(threads)))
