"""What every test stands on: compiled kernels in a folder of their own, and no window for plots."""

import os

import pytest

os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(scope="session", autouse=True)
def kernel_folder(tmp_path_factory):
    """Keep compiled kernels away from the user's own, and share them between the tests."""
    folder = tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SGDFIT_CACHE_DIR", str(folder))
        yield folder
