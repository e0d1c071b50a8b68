"""ORC files, read one stripe at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sgdfit.data.files.columnar import Contents, Stretch, batches_of, reading
from sgdfit.data.files.origins import Origin, opened

__all__ = ["open_stripes"]


def open_stripes(origin: Origin) -> Contents:
    """Read what an ORC file says of itself; all of its stripes are one stretch.

    Raises
    ------
    DataError
        When it is damaged or no ORC file.
    """
    with opened(origin) as source, reading(origin.label, "ORC"):
        file = _file(source)
        schema, rows, stripes = file.schema, file.nrows, file.nstripes

    def read(names: Sequence[str]) -> Iterator[Any]:
        with opened(origin) as source:
            for stripe in range(stripes):
                with reading(f"stripe {stripe + 1} of {origin.label}", "ORC"):
                    batch = _file(source).read_stripe(stripe, columns=list(names) or None)
                yield from batches_of(batch, names)

    return Contents(origin, schema, (Stretch(0, rows, read),))


def _file(source: Any) -> Any:
    import pyarrow.orc as orc

    return orc.ORCFile(source)
