"""One job, GPUs of its own: a command is run with devices that no other job here holds.

    SRLIB_GPUS=0,1 python -m srlib.ops.pin FOLDER 1 COMMAND…      CUDA_VISIBLE_DEVICES=0 COMMAND…

Each device is a file lock in the folder, held while the command runs and let go by the system if
the process dies. Without SRLIB_GPUS (a cluster has given the devices already) nothing is pinned.
The one that starts the jobs sees to it that they ask for no more devices than there are.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

VARIABLE = "SRLIB_GPUS"


def devices() -> list[str]:
    """Return the GPUs of this machine that may be used: those in CUDA_VISIBLE_DEVICES, or all."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [d for d in (s.strip() for s in visible.split(",")) if d and d != "-1"]
    words = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []


def take(folder: Path, wanted: int, names: list[str]) -> list:
    """Lock `wanted` of the named devices, waiting until so many are free at once."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    while True:
        held = []
        for name in names:
            lock = FileLock(folder / f"gpu-{name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            held.append((name, lock))
            if len(held) == wanted:
                return held
        for _, lock in held:
            lock.release()
        time.sleep(0.5)


def main(words: list[str]) -> int:
    folder, wanted, *command = words
    names = [d for d in os.environ.get(VARIABLE, "").split(",") if d]
    environment = {k: v for k, v in os.environ.items() if k != VARIABLE}
    if not names:
        return subprocess.run(command, env=environment).returncode
    held = take(Path(folder), min(int(wanted), len(names)), names) if int(wanted) else []
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(name for name, _ in held)
    return subprocess.run(command, env=environment).returncode  # `held` lives until here


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
