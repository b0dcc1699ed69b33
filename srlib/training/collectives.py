"""How the processes of one launch (`srlib.training.launched`) keep step.

    together(due)   ->   True        what the first process decided, in each of them

Where there is one process only, it is the first, and decides for itself.
"""

from __future__ import annotations

import os


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
