"""Files and streams of text, opened as the library opens them."""

from __future__ import annotations

import os

from sgdfit.data.files import on_disk
from sgdfit.data.formats import format_of
from sgdfit.data.text_files import open_text, peeked, stream_origin


def scan_text(*sources, **options):
    """Open paths and open streams as one table of text."""
    return open_text([_origin(source) for source in sources], **options)


def _origin(source):
    if hasattr(source, "read"):
        return stream_origin(peeked(source, "standard input"))
    compression, _ = format_of(str(source))
    return on_disk(str(source), os.path.basename(source))._replace(compression=compression)
