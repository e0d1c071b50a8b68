"""One fit in a process of its own, whose peak of memory is then that of the fit.

Run as ``python speed_child.py JOB`` with a JSON object: ``formula``, ``data`` (a path), ``start``,
``options`` (further ones of `sgdfit.fit`), ``warm`` (a path to fit first with either kernel, not
timed), ``load`` (read the file into arrays before), ``repeat``. The last line that it prints is
JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import sgdfit
from speed_clock import peak_bytes, reset_peak


def loaded(path: str) -> dict[str, Any]:
    """Return the columns of a Parquet file as arrays."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return {name: table.column(name).to_numpy() for name in table.column_names}


class Decoded:
    """Counts the rows that pyarrow decodes from Parquet, whoever asks for them, on any thread."""

    def __init__(self) -> None:
        from pyarrow.parquet import ParquetFile

        self.rows, self._lock = 0, threading.Lock()
        iterate, whole = ParquetFile.iter_batches, ParquetFile.read_row_group

        def iter_batches(file: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
            for batch in iterate(file, *arguments, **options):
                self.add(batch.num_rows)
                yield batch

        def read_row_group(file: Any, *arguments: Any, **options: Any) -> Any:
            table = whole(file, *arguments, **options)
            self.add(table.num_rows)
            return table

        ParquetFile.iter_batches, ParquetFile.read_row_group = iter_batches, read_row_group

    def add(self, rows: int) -> None:
        """Count rows; threads take turns."""
        with self._lock:
            self.rows += rows


def told(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job."""
    options = job.get("options", {}) | ({"start": job["start"]} if job.get("start") else {})
    for kernel in ("auto", "compiled") if job.get("warm") else ():
        sgdfit.fit(job["formula"], job["warm"], **(options | {"kernel": kernel}))
    data = loaded(job["data"]) if job.get("load") else job["data"]
    decoded = Decoded()
    before, seconds = reset_peak(), []
    for _ in range(job.get("repeat", 1)):
        begun = time.perf_counter()
        fit = sgdfit.fit(job["formula"], data, **options)
        seconds.append(time.perf_counter() - begun)
    return {
        "seconds": seconds,
        "before": before,
        "peak": peak_bytes(),
        "values": {name: estimate.value for name, estimate in fit.estimates.items()},
        "errors": {name: estimate.stderr for name, estimate in fit.estimates.items()},
        "rows": fit.rows,
        "visited": fit.rows_visited,
        "decoded": decoded.rows / len(seconds),
        "kernel": fit.kernel,
        "status": fit.status.name,
        "cause": fit.status.cause,
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(told(json.loads(sys.argv[1]))))
