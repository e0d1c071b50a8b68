"""What every test stands on: compiled kernels in a folder of their own, and no window for plots."""

import gc
import os

import hypothesis
import pytest

# How long an example takes depends on what else the machine does; what is tried shall not change.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")
os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(scope="session", autouse=True)
def kernel_folder(tmp_path_factory):
    """Keep compiled kernels away from the user's own, and share them between tests and workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kernels"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SGDFIT_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def torch():
    """Return torch, an oracle that is not needed to run sgdfit; without it the test is skipped."""
    return pytest.importorskip("torch", reason="torch, the oracle here, is not installed")


@pytest.fixture
def little(monkeypatch):
    """Leave so little room for columns that nothing fits."""
    monkeypatch.setattr("sgdfit.fitting.options.SHARE", 1e-6)


def pytest_collection_modifyitems(items):
    """Mark the tests that compare with torch, so that `-m torch` finds them."""
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.torch)


def pytest_collection_finish():
    """Leave out of garbage collections what stays: looking through it took a tenth of the time."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
