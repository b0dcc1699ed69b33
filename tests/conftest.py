"""What several tests share: one output folder with the embedded model, loaded once in float32."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    # Each its own cores, and what it starts, too: torch's threads wait for each other by spinning.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.fixture(scope="session")
def outputs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="session")
def lm(outputs):
    from srlib.models import loading

    return loading.load("embedded", outputs, "float32")


@pytest.fixture(scope="module")
def without_mirror():
    """Hide the folder of published sets: notebook 00 would grade every labelled set in it, minutes
    of work that `test_agreement` does on a few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SRLIB_DATA_DIR", raising=False)
        yield
