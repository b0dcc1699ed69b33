"""An arm trained by several processes, one a device: `accelerate launch` called and watched.

The caller keeps the arm's lock and its done-marker (`finetune.train`). The processes read a job,
each does what one process would with its share of every batch, and the first of them writes the
adapter. Which launcher was used changes no arm's name: the global batch is the same. Checkpoints
lie apart for each launcher and number of processes, as their forms differ.

    of("ddp")   ->   Launch(name="ddp", config=Path("…/params/accelerate/ddp.yaml"), processes=4,
                            cpu=False, sharded=False)
    python -m accelerate.commands.launch --config_file … -m srlib.launched arms/…/job.json
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from . import params, store
from .errors import UserError, meant

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
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stdin.close()
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
        "-m", "srlib.launched", str(job),
    ]  # fmt: skip


def _environment(launch: Launch) -> dict[str, str]:
    here = str(Path(__file__).resolve().parent.parent)
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
    lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    told = failed.get("told") or (lines[-1].strip()[:200] if lines else "nothing was said")
    return (
        f"training {arm} on {launch.processes} processes ({launch.name}) failed: {told}; see {log}, "
        "mend it and run again (it goes on from its last checkpoint), or leave train_launch empty"
    )


def rank() -> int:
    """This process's number among those of a launch; 0 where there is one."""
    return int(os.environ.get("RANK", "0"))


def together(decision: bool) -> bool:
    """The first process's decision, in all of them: clocks differ, and a checkpoint takes all."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return decision
    told = [decision]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def wait() -> None:
    """Until all processes are here."""
    together(True)


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

    from . import finetune

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # what "cuda" means from here on
    adapters = tuple(map(Path, job["base"]["adapters"]))
    recipe = job["recipe"] | {"lora_targets": tuple(job["recipe"]["lora_targets"])}
    finetune.fit(
        job["name"], finetune.Base(job["base"]["model"], adapters), job["rows"],
        finetune.Recipe(**recipe), Path(job["folder"]), Path(job["outputs"]), job["dtype"],
        Launch(**job["launch"] | {"config": Path(job["launch"]["config"])}), job["torn"],
    )  # fmt: skip
    PartialState().destroy_process_group()


def _end_with_parent() -> None:
    """The process that launched this one holds the other end of stdin, for as long as it lives."""
    while os.read(0, 1):
        pass
    os._exit(1)


def job(name: str, base, rows: list[dict], recipe, folder, outputs, dtype, launch: Launch, torn) -> dict:
    """The arguments of `finetune.fit` as JSON."""
    made_of = {"model": base.model, "adapters": [str(a) for a in base.adapters]}
    how = asdict(launch) | {"config": str(launch.config)}
    return {
        "name": name, "base": made_of, "rows": rows, "recipe": asdict(recipe),
        "folder": str(folder), "outputs": str(outputs), "dtype": dtype, "launch": how, "torn": torn,
    }  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
