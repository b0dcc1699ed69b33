"""The machine at hand: how much it holds, and how fast it multiplies and copies.

Both speeds are measured, in about a second, in the precision that models are loaded in:

    here(outputs, "bfloat16")
    -> Machine(name="2 CPU cores", memory=25e9, disk=81e9, tflops=0.21, bandwidth=11.0)
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UserError
from ..models import loading, memory

GB = 1e9
PER_TFLOP = 5.0  # GB/s assumed per TFLOP/s where only the latter is given (A100: 6.5, H100: 3.4)


@dataclass(frozen=True)
class Machine:
    """`memory`: bytes of the largest GPU, or without one all of the machine's; `disk`: free bytes
    where results go, endless where that is not known; `tflops`: 10¹² operations a second;
    `bandwidth`: 10⁹ bytes read a second; `auto`: the precision that `dtype: auto` means there."""

    name: str
    memory: float
    disk: float
    tflops: float
    bandwidth: float
    gpu: bool = False
    auto: str = "auto"

    def dtype(self, asked: str) -> str:
        """Return the precision that models are loaded in there."""
        return loading.pick_dtype(self.auto if asked == "auto" else asked)


def here(
    outputs: Path, dtype: str, tflops: float = 0.0, bandwidth: float = 0.0, gpu_memory: float = 0.0
) -> Machine:
    """Describe this machine. `tflops` and `bandwidth`, where above 0, are those of another one and
    replace the measurement. With `gpu_memory` (GB), and `tflops`, it is a GPU that is not here,
    which computes in bfloat16. Raises UserError for a number below 0, or no GPU speed."""
    import torch

    if tflops < 0 or bandwidth < 0 or gpu_memory < 0:
        raise UserError("a number is below 0: give TFLOP/s, GB/s and GB of the machine you mean")
    if gpu_memory and not tflops:
        raise UserError("the speed of that GPU is not told: give its --tflops, too")
    gpu, disk = torch.cuda.is_available(), float(shutil.disk_usage(outputs).free)
    if gpu_memory:
        name = f"one GPU of {gpu_memory:g} GB"
        machine = Machine(name, gpu_memory * GB, math.inf, 0.0, 0.0, True, "bfloat16")
    elif gpu:
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        name = f"one of {len(cards)} × {cards[0].name}"
        machine = Machine(name, float(max(c.total_memory for c in cards)), disk, 0.0, 0.0, True)
    else:
        cores = f"{torch.get_num_threads()} CPU cores"
        machine = Machine(cores, float(memory.total("cpu")), disk, 0.0, 0.0)
    if tflops:
        return replace(machine, tflops=tflops, bandwidth=bandwidth or PER_TFLOP * tflops)
    return replace(machine, tflops=_tflops(gpu, dtype), bandwidth=bandwidth or _bandwidth(gpu))


def _tflops(gpu: bool, dtype: str) -> float:
    import torch

    n = 8192 if gpu else 1024
    tensor_options = {"dtype": getattr(torch, dtype), "device": "cuda" if gpu else "cpu"}
    left, right = torch.ones(n, n, **tensor_options), torch.ones(n, n, **tensor_options)
    return 2 * n**3 / _seconds(lambda: left @ right, gpu) / 1e12


def _bandwidth(gpu: bool) -> float:
    import torch

    block = torch.ones(2**30 if gpu else 2**26, dtype=torch.uint8, device="cuda" if gpu else "cpu")
    other = torch.empty_like(block)
    return 2 * block.numel() / _seconds(lambda: other.copy_(block), gpu) / GB  # read and written


def _seconds(act, gpu: bool, least: float = 0.2) -> float:
    """Return the seconds an act, over at least `least` of them, after one that does not count."""
    import torch

    wait = torch.cuda.synchronize if gpu else lambda: None
    act()
    wait()
    began, times = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < least or not times:
        act()
        wait()
        times += 1
        spent = time.perf_counter() - began
    return spent / times
