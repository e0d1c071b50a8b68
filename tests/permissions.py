"""Being a user who may not read everything, or has little room, for a while."""

import os
import resource
import signal
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


@contextmanager
def files_of_at_most(size):
    """Let no file grow beyond so many bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
