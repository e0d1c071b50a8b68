"""Files and streams of text, opened as the library opens them."""

from __future__ import annotations

import functools
import os

from sgdfit.data.datasets import open_dataset
from sgdfit.data.dialect import text_options
from sgdfit.data.files import on_disk
from sgdfit.data.formats import format_of
from sgdfit.data.text_files import (
    READ_BYTES,
    SMALL,
    open_small_text,
    open_text,
    open_text_stream,
    peeked,
)


def scan_text(*sources, size=READ_BYTES, small=SMALL, **options):
    """Open paths as one table of text, or an open stream; blocks have so many bytes."""
    if hasattr(sources[0], "read"):
        return open_text_stream(peeked(sources[0], "standard input"), size, text_options(options))
    origins = [
        on_disk(str(path), os.path.basename(path))._replace(compression=format_of(str(path))[0])
        for path in sources
    ]
    options = text_options(options)
    table = open_small_text(origins[0], small, options) if len(origins) == 1 and small else None
    opener = functools.partial(open_text, size=size, options=options)
    return table or open_dataset([(origin, opener) for origin in origins], origins[0].label)
