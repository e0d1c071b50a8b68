"""Predictions written to a file, or by the workers of a cluster to a folder of files."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sgdfit.checkpoint.atomic import cure, refuse_inputs
from sgdfit.data.readers import open_table
from sgdfit.data.rows import dataset_table
from sgdfit.errors import ClusterError, DataError, UsageError
from sgdfit.fitting.cluster import ClusterRows, cluster_for, rows_on_cluster
from sgdfit.fitting.options import as_resources
from sgdfit.fitting.prediction import NAMED, Dropped, as_grid, needed_columns, predicted
from sgdfit.fitting.worker import Source, rows_of
from sgdfit.result.result import Result
from sgdfit.result.saved import from_dict
from sgdfit.result.table_file import writing_table


class Written(NamedTuple):
    """What stands in a file of predictions."""

    path: str
    rows: int  # how many it holds
    dropped: Dropped  # those that ``missing="drop"`` left out


def write_predictions(
    result: Result,
    data: Any,
    path: str | os.PathLike[str],
    interval: str | None = None,
    level: float | None = None,
    *,
    residuals: bool = False,
    missing: str = "error",
    where: str | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
    cluster: object = None,
) -> Written:
    """Predict rows and write them to a file; see `Result.write_predictions`."""
    resources, rows, dropped = as_resources(memory, threads), 0, Dropped()
    table = open_table(as_grid(data, result.scales), where)
    inputs = (*table.files, *result.trace.inputs)
    told: dict[str, Any] = {"missing": missing, "residuals": residuals}
    with cluster_for(cluster, data) as workers:
        if workers is not None:
            needed = needed_columns(result, table, interval, residuals)
            held = rows_on_cluster(workers, table, needed, missing=missing)
            refuse_inputs(path, inputs)
            return _write_on_cluster(result, held, Path(path), interval, level, told)
    with writing_table(path, inputs) as write:
        for some in predicted(result, table, interval, level, **told, resources=resources):
            write(some.columns)
            rows += len(some.fitted[0])
            dropped = dropped.also(some.dropped)
        refuse_inputs(path, table.files)  # a Scanner names them as it reads
    return Written(os.fspath(path), rows, dropped)


def _write_on_cluster(
    result: Result,
    held: ClusterRows,
    path: Path,
    interval: str | None,
    level: float | None,
    told: dict[str, Any],
) -> Written:
    """Let workers write a folder of Parquet files, which takes its name when all are there."""
    if path.suffix:
        raise UsageError(
            f"the workers of a cluster write a folder of Parquet files, not the file {str(path)!r};"
            " name a folder, without an ending"
        )
    if path.exists():
        raise UsageError(f"cannot write the folder {str(path)!r}: it exists; name another")
    path = path.absolute()
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    rows, dropped = 0, Dropped()
    try:
        try:
            beside.mkdir()
        except OSError as error:
            raise UsageError(
                f"cannot write the folder {str(path)!r}: {error.strerror}; {cure(error)}"
            ) from error
        runs = list(held.runs_of_groups(numbered=told["missing"] == "drop"))
        parts = [str(beside / f"part-{k:05}.parquet") for k in range(len(runs))]
        saved = held.cluster.kept(result.to_dict())
        tasks = (
            [held.source, saved, run, first, part, interval, level, told, *held.futures(run)]
            for (run, first), part in zip(runs, parts, strict=True)
        )
        for written, lost in held.cluster.map(predict_groups, tasks):
            rows += written
            dropped = Dropped(dropped.rows + lost.rows, (*dropped.first, *lost.first)[:NAMED])
        there = {str(file) for file in beside.iterdir()}
        if rows and not there:
            raise ClusterError(
                f"the workers wrote {len(parts)} files to {beside}, which this machine does not"
                " see; name a folder on a disk that all of them share"
            )
        for file in there.difference(parts):
            os.unlink(file)  # of a worker that was killed
        beside.rename(path)
    finally:
        with suppress(OSError):
            shutil.rmtree(beside)
    if not rows:
        raise DataError(f"no row of {held.label} remains, so nothing is predicted")
    return Written(str(path), rows, dropped)


def predict_groups(
    source: Source,
    saved: dict[str, Any],
    groups: range,
    first: int,
    path: str,
    interval: str | None,
    level: float | None,
    told: dict[str, Any],
    *parts: Any,
) -> tuple[int, Dropped]:
    """Predict the rows of row groups and write them to a file; return how many, and those lost."""
    rows = rows_of(source, dict(zip(groups, parts, strict=False)))
    some = tuple(rows.dataset.row_groups[k] for k in groups)
    table = dataset_table(rows.dataset._replace(row_groups=some), source.where)
    done, dropped = 0, Dropped()
    with writing_table(path) as write:
        for block in predicted(from_dict(saved), table, interval, level, **told, first=first):
            write(block.columns)
            done += len(block.fitted[0])
            dropped = dropped.also(block.dropped)
    return done, dropped
