"""One process of a launch (`srlib.training.launched`): it trains its share of every batch.

python -m srlib.training.worker arms/…/job.json        as `accelerate launch` starts it
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path

from ..errors import UserError
from . import finetune, launched


def main(job: Path) -> None:
    """One process of a launch."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _work(json.loads(job.read_text("utf-8")))
    except BaseException as error:
        mendable = isinstance(error, UserError)
        told = f"{type(error).__name__}: {error}".strip().rpartition("\n")[2]
        record = {"mendable": mendable, "told": str(error) if mendable else told[:300]}
        with contextlib.suppress(FileExistsError), job.with_name("failed.json").open("x") as file:
            json.dump(record, file)  # the first to fail says why: others fail of its failing
        raise


def _work(job: dict) -> None:
    import torch
    from accelerate import PartialState

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # what "cuda" means from here on
    adapters = tuple(map(Path, job["base"]["adapters"]))
    recipe = job["recipe"] | {"lora_targets": tuple(job["recipe"]["lora_targets"])}
    finetune.fit(
        job["name"], finetune.Base(job["base"]["model"], adapters), job["rows"],
        finetune.Recipe(**recipe), Path(job["folder"]), Path(job["outputs"]), job["dtype"],
        launched.Launch(**job["launch"] | {"config": Path(job["launch"]["config"])}), job["torn"],
    )  # fmt: skip
    PartialState().destroy_process_group()


def _end_with_parent() -> None:
    """The process that launched this one holds the other end of stdin, for as long as it lives."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
