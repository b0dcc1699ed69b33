"""Progress as the runner and a reader see it."""

from __future__ import annotations

import os
from pathlib import Path


def progress(total: int, label: str):
    """Return a progress bar: text in a terminal or notebook, under the runner its status file."""
    from tqdm import tqdm

    status = os.environ.get("SRLIB_STATUS")
    stream = Path(status).open("a") if status else None  # noqa: SIM115
    return tqdm(
        total=total, desc=label or "generating", file=stream, mininterval=1 if status else 5,
        leave=False, ncols=80, delay=0 if status else 3,
    )  # fmt: skip
