"""Being a user who may not read everything, for a while: root may."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_nobody():
    """Take the rights of nobody, if they are those of root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def reachable(tmp_path):
    """Let others go through the folders that pytest made on the way to its folder."""
    # Processes that test side by side have a folder more each.
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.owner() == tmp_path.owner() and folder != Path(tempfile.gettempdir()):
            folder.chmod(0o755)
