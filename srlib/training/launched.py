"""An arm trained by several processes, one a device: `accelerate launch` called and watched.

The caller keeps the arm's lock and its done-marker (`finetune.train`). The processes read a job,
each does what one process would with its share of every batch, and the first of them writes the
adapter. Which launcher was used changes no arm's name: the global batch is the same. Checkpoints
lie apart for each launcher and number of processes, as their forms differ.

    of("ddp")   ->   Launch(name="ddp", config=Path("…/params/accelerate/ddp.yaml"), processes=4,
                            cpu=False, sharded=False)
    python -m accelerate.commands.launch --config_file … -m srlib.training.worker arms/…/job.json
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import params, store
from ..errors import UserError, meant

KINDS = {"MULTI_GPU": False, "MULTI_CPU": False, "FSDP": True}  # whether the model is sharded


@dataclass(frozen=True)
class Launch:
    """How processes are started: an accelerate config, their number, on CPUs or on GPUs."""

    name: str
    config: Path
    processes: int
    cpu: bool
    sharded: bool

    def checkpoints(self) -> str:
        return f"checkpoints-{store.slug(self.name)}-{self.processes}"


def of(launch: str) -> Launch | None:
    """What `train_launch` asks for: "" is none, else a name in params/accelerate or a file.

    Raises UserError where the file cannot be used here: no such file, not accelerate's, several
    machines, more GPUs than there are.
    """
    if not launch:
        return None
    from accelerate.commands.config.config_args import load_config_from_file

    path = _file(launch)
    try:
        config = load_config_from_file(str(path))
        kind = config.distributed_type.value
        machines, wanted, cpu = config.num_machines, config.num_processes, config.use_cpu
    except Exception as error:  # of YAML, of missing and unknown keys: many types
        told = " ".join(str(error).split())[:200]
        raise UserError(
            f"train_launch: {path} is no config of accelerate ({told}); make one with "
            "`accelerate config --config_file FILE`"
        ) from None
    if kind not in KINDS or machines > 1:
        raise UserError(
            f"train_launch: {path} asks for {kind} on {machines} machine(s); it can be "
            f"{', '.join(KINDS)} on one"
        )
    if cpu and KINDS[kind]:
        raise UserError(f"train_launch: {path}: accelerate shards a model over GPUs only; use cpu")
    processes = wanted if cpu else _gpus(wanted, config.gpu_ids, path)
    if processes < 1:
        raise UserError(f"train_launch: {path} gives no num_processes; add a line such as 2")
    return Launch(path.stem, path, processes, cpu, KINDS[kind])


def _file(launch: str) -> Path:
    ours = params.root() / "params" / "accelerate"
    path = params.root() / Path(launch).expanduser()
    path = path if path.suffix in (".yaml", ".yml", ".json") else ours / f"{launch}.yaml"
    if path.is_file():
        return path
    known = sorted(p.stem for p in ours.glob("*.yaml"))
    raise UserError(
        f"train_launch {launch!r} is no file of params/accelerate and no other one"
        f"{meant(launch, known)} (known: {', '.join(known)}; leave it empty to train in one "
        "process)"
    )


def _gpus(wanted: int, ids: str | None, path: Path) -> int:
    """How many processes on GPUs: as many as asked for, else one a GPU."""
    import torch

    seen = torch.cuda.device_count()
    named = len(ids.split(",")) if ids and ids != "all" else seen
    if seen == 0 or max(wanted, named) > seen:
        raise UserError(
            f"train_launch: {path} asks for {max(wanted, named, 1)} GPU(s), {seen} can be seen; "
            "set train_launch to cpu, or leave it empty"
        )
    return wanted if wanted > 0 else named


def job(name, base, rows, recipe, folder: Path, outputs, dtype, launch: Launch, torn) -> dict:
    """The arguments of `finetune.fit` as JSON."""
    made_of = {"model": base.model, "adapters": [str(a) for a in base.adapters]}
    how = asdict(launch) | {"config": str(launch.config)}
    return {
        "name": name, "base": made_of, "rows": rows, "recipe": asdict(recipe),
        "folder": str(folder), "outputs": str(outputs), "dtype": dtype, "launch": how, "torn": torn,
    }  # fmt: skip


def train(launch: Launch, folder: Path, job: dict) -> None:
    """Have processes do `job` (the arguments of `finetune.fit`, as JSON) and wait for them.

    Their progress is passed on, and their end: raises UserError where one of them failed, with what
    it said. They end when this process does, however that ends.
    """
    file, failed, log = (folder / name for name in ("job.json", "failed.json", "launch.log"))
    store.write_json(file, job)
    failed.unlink(missing_ok=True)
    status = folder / "status"
    status.write_text("")
    environment = os.environ | _environment(launch)
    ours = "SRLIB_STATUS" in environment  # else a notebook without a runner: passed on here
    environment.setdefault("SRLIB_STATUS", str(status))
    with log.open("w") as told:
        process = subprocess.Popen(
            _command(launch, file), env=environment, stdin=subprocess.PIPE, stdout=told,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            _watch(process, None if ours else status)
        finally:  # a stopped notebook cell, too
            process.stdin.close()  # each process sees it and ends; the launcher then does
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            status.unlink(missing_ok=True)
    if process.returncode:
        raise UserError(_why(launch, folder.name, store.read_json(failed), log))
    for leftover in (file, log):
        leftover.unlink()


def _command(launch: Launch, job: Path) -> list[str]:
    how = [] if launch.sharded else ["--multi_gpu"]  # torchrun, on CPUs too
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(launch.config),
        "--num_processes", str(launch.processes), "--mixed_precision", "no", *how,
        "-m", "srlib.training.worker", str(job),
    ]  # fmt: skip


def _environment(launch: Launch) -> dict[str, str]:
    here = str(Path(__file__).resolve().parents[2])
    found = {"PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])}
    if launch.cpu:
        threads = max(1, (os.cpu_count() or 1) // launch.processes)
        found |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
        found["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(threads))
    return found


def _watch(process: subprocess.Popen, status: Path | None) -> None:
    """Wait for the end, passing on what a status file says."""
    shown = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        if status is not None:
            text = status.read_text("utf-8", errors="replace")
            sys.stderr.write(text[shown:])
            sys.stderr.flush()
            shown = len(text)
        if process.returncode is not None:
            return


def _why(launch: Launch, arm: str, failed: dict, log: Path) -> str:
    if failed.get("mendable"):
        return failed["told"]
    text = log.read_text("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if set(line) - set("=- ")]
    told = failed.get("told") or (lines[-1][:200] if lines else "nothing was said")
    if "SIGKILL" in text:
        told = "one of them was killed from outside, most often for want of memory"
    return (
        f"training {arm} on {launch.processes} processes ({launch.name}) failed: {told}; "
        f"see {log}, mend it and run again (it goes on from its last checkpoint), or leave "
        "train_launch empty"
    )
