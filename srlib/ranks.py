"""One process of a launch (`srlib.launched`): what it does, and how it keeps step with the others.

    python -m srlib.ranks arms/…/job.json        as `accelerate launch` starts it
    together(due)   ->   True                    what the first process decided, in each of them

Where there is one process only, it is the first, and decides for itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path

from .errors import UserError


def rank() -> int:
    """This process's number among those of a launch; 0 where there is one."""
    return int(os.environ.get("RANK", "0"))


def together(decision: bool) -> bool:
    """The first process's decision, in all of them: clocks differ, and a checkpoint takes all."""
    import torch.distributed as dist

    told = [decision]
    if _several():
        dist.broadcast_object_list(told, src=0)
    return told[0]


def wait() -> None:
    """Until all processes are here."""
    import torch.distributed as dist

    if _several():
        dist.barrier()


def _several() -> bool:
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


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

    from . import finetune, launched

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
