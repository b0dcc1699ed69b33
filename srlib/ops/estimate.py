"""What runs will cost, before they are begun: rows, tokens, memory, disk, device-hours.

Computed from `srlib.ops.workload` and the model's config; nothing is loaded. What several notebooks
of a profile share is counted at the first. A row of `table`:

    {"notebook": "02_long_cot_finetuning", "models": 10, "rows": 8320, "read": 0.9e6, "written":
     9.1e6, "trained": 4.6e7, "memory": 54e9, "disk": 3.0e9, "hours": 13.2}

Assumed: in every batch one row fills the room for new tokens, and the machine reaches 40 % of its
speeds. Operations: 2 a weight and token forwards, and 4 for gradients; with LoRA 2, as the base's
weights have none; 2 more where activations are computed again (on a GPU). Attention's own, less
than a tenth below some 8,000 tokens, is left out, and so are starting and drawing: a minute a
notebook.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..models import modelsize
from ..models.modelsize import Size
from . import workload
from .machine import GB, Machine
from .workload import Asked, Trained, Work

REACHED = 0.4  # share of the measured speeds that is reached
SPARE, PROCESS = 1.1, 1.5 * GB  # for fragments; Python, torch and its kernels
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
RECORD = 800  # bytes of a completion's record and grade beside its texts
MOST = 256  # prompts at a time, where memory decides
JUDGED_AT_ONCE = 16  # as `srlib.grading.judges` does


class Job(NamedTuple):
    """One run to be estimated: the notebook's name, its parameters, its evaluation rows."""

    notebook: str
    values: dict
    rows: dict[str, list]


@dataclass(frozen=True)
class Cost:
    """Bytes of memory, bytes on the disk, hours of one device."""

    memory: float = 0.0
    disk: float = 0.0
    hours: float = 0.0


def table(jobs: Sequence[Job], outputs: Path, machine: Machine) -> tuple[list[dict], list[str]]:
    """Return a row a run, and notes on them: configs that could not be read (memory, disk and hours
    are None then), judges behind servers, and what the machine cannot hold."""
    seen: set[tuple] = set()
    fetched: set[str] = set()
    rows, notes = [], []
    for job in jobs:
        work = workload.of(job.values, job.rows)
        fresh = work.without(seen)
        seen |= {*work.asked, *work.trained}
        asked = fresh.asked.values()
        row = {"notebook": job.notebook, "models": len(asked), "rows": sum(a.rows for a in asked)}
        row |= {name: sum(getattr(a, name) for a in asked) for name in ("read", "written")}
        row |= {"trained": sum(t.tokens for t in fresh.trained.values())}
        try:
            cost = _cost(job.values, fresh, outputs, machine, fetched) if work.asked else Cost()
        except UserError as error:
            cost = Cost(None, None, None)
            notes.append(f"{job.notebook}: memory, disk and hours are not known: {error}")
        fetched |= {*_models(job.values, work)}
        if work.calls:
            notes.append(f"{job.notebook}: {work.calls:,} requests to judges behind servers")
        rows.append(row | vars(cost))
    return rows, notes + _too_much(rows, machine)


def _models(values: dict, work: Work) -> list[str]:
    """Return every model whose weights are fetched; first the one that is asked."""
    named = [values.get("model"), values.get("unaligned_model"), *work.judged]
    return [*dict.fromkeys(filter(None, named))]


def _cost(values: dict, work: Work, outputs: Path, machine: Machine, fetched: set[str]) -> Cost:
    """Return peak memory; disk and hours of all, with the weights of models not yet `fetched`."""
    sizes = {name: modelsize.of(name, outputs) for name in _models(values, work)}
    size, width = sizes[values["model"]], BYTES[machine.dtype(values["dtype"])]
    weights = size.parameters * width
    answering = [ask(a, size, values, machine, width) for a in work.asked.values()]
    shards = max(1, values.get("devices", 1)) if _full(values) else 1
    if values.get("backend", "local") != "local":  # a server answers
        answering = [Cost(0, c.disk, 0) for c in answering]
    training = [train(t, size, machine, width) for t in work.trained.values()]
    # One model at a time (`resident`), and outside of a GPU a copy of what adapters touched.
    alone = (1 + bool(work.trained and not machine.gpu)) * weights
    peaks = [weights] + [alone + c.memory for c in answering]
    peaks += [c.memory / shards for c in training]
    costs = [*answering, *training]
    for judge, a in work.judged.items():
        costs.append(ask(a, sizes[judge], {"batch_size": JUDGED_AT_ONCE}, machine, width))
        peaks.append(sizes[judge].parameters * width + costs[-1].memory)
    disk = sum(c.disk for c in costs) + work.saved * weights
    disk += sum(s.parameters * width for name, s in sizes.items() if name not in fetched)
    disk += max((checkpoints(t, size) for t in work.trained.values()), default=0)
    return Cost(SPARE * max(peaks) + PROCESS, disk, sum(c.hours for c in costs))


def _full(values: dict) -> bool:
    return values.get("train_method") == "full"


def ask(a: Asked, size: Size, values: dict, machine: Machine, width: int) -> Cost:
    """Return a condition's cost: memory beside the model's weights, completions on the disk."""
    speed, flow = REACHED * machine.tflops * 1e12, REACHED * machine.bandwidth * GB
    tokens = min(a.longest + a.room, size.window)
    # of a row: its keys and values; the prompt within a layer; its logits
    row = (tokens * size.cache + 16 * a.longest * size.hidden) * width + 8 * size.vocabulary
    fits = max(1, int((machine.memory / 2 - size.parameters * width) / row))
    batch = min(values["batch_size"] or min(fits, MOST), a.rows)  # 0: as many as memory holds
    steps = math.ceil(a.rows / batch) * a.room
    context = a.shared + a.read / a.rows + a.written / a.rows / 2
    moved = steps * size.computed * width + a.written * context * size.cache * width
    decoding = max(2 * size.computed * a.written / speed, moved / flow)
    reading = 2 * size.computed * (a.read + a.shared) / speed
    memory = batch * row + a.shared * size.cache * width
    disk = workload.CHARS * (a.read + a.written + a.rows * a.shared) + RECORD * a.rows
    return Cost(memory, disk, (reading + decoding) / 3600)


def train(t: Trained, size: Size, machine: Machine, width: int) -> Cost:
    """Return a fine-tuning's cost: memory with its own weights, the arm's folder on the disk."""
    gpu, adapter = machine.gpu, t.rank * size.linear * t.share
    tokens = t.micro * t.longest
    layer = 34 * tokens * size.hidden * width  # Korthikanti et al. 2022 (arXiv 2205.05198)
    if gpu:  # computed again, layer by layer; the loss in tiles
        activations = size.layers * tokens * size.hidden * width + layer + 32e3 * size.vocabulary
    else:
        scores = 2 * t.micro * size.heads * t.longest**2 * width
        activations = size.layers * (layer + scores) + 8 * tokens * size.vocabulary
    if t.rank:  # float32 adapters with gradient and two moments; the base as it was loaded
        memory, disk = size.parameters * width + 16 * adapter, 4 * adapter
    else:  # float32 weights, likewise
        memory, disk = 16 * size.parameters, width * size.parameters
    operations = 2 + (2 if gpu else 0) + (2 * t.share if t.rank else 4)
    hours = operations * size.computed * t.tokens / (REACHED * machine.tflops * 1e12) / 3600
    return Cost(memory + activations, disk, hours)


def checkpoints(t: Trained, size: Size) -> float:
    """Return bytes on the disk during training: two checkpoints, weights and moments in float32."""
    return 2 * 12 * (t.rank * size.linear * t.share if t.rank else size.parameters)


def _too_much(rows: list[dict], machine: Machine) -> list[str]:
    """Return lines on what this machine cannot hold."""
    known = [row for row in rows if row["memory"] is not None]
    lines, owner = [], "this machine" if machine.auto == "auto" else "that GPU"
    for row in known:
        if row["memory"] > machine.memory:
            lines.append(
                f"{row['notebook']} needs about {row['memory'] / GB:.0f} GB of "
                f"{'GPU ' if machine.gpu else ''}memory, {owner} has "
                f"{machine.memory / GB:.0f} GB: use a smaller batch_size, train_micro_batch, "
                "train_max_length, model or judge, train_method lora, or another machine"
            )
    disk = sum(row["disk"] for row in known)
    if disk > machine.disk:
        lines.append(
            f"all together need about {disk / GB:.0f} GB on the disk, {machine.disk / GB:.0f} GB "
            "are free: free some, or set `outputs` to another disk"
        )
    return lines


def shown(rows: list[dict], machine: Machine) -> str:
    """Return the table as text, its last row for all together: most memory, the others summed."""
    names = ("models", "rows", "read", "written", "trained", "disk", "hours")
    total = {n: sum(row[n] or 0 for row in rows) for n in names} | {"notebook": "together"}
    total["memory"] = max((row["memory"] or 0 for row in rows), default=0)
    lines = [f"{'estimate':28}{'models':>7}{'rows':>9}{'tokens read':>13}{'written':>9}"]
    lines[0] += f"{'trained':>9}{'memory':>10}{'disk':>10}{'hours':>8}"
    for row in [*rows, total]:
        line = f"{row['notebook'][:27]:28}{row['models']:>7}{row['rows']:>9,}"
        line += f"{_count(row['read']):>13}{_count(row['written']):>9}{_count(row['trained']):>9}"
        known = row["memory"] is not None
        for n in ("memory", "disk"):
            line += f"{row[n] / GB:>7.1f} GB" if known else f"{'?':>10}"
        lines.append(line + (f"{row['hours']:>8.2f}" if known else f"{'?':>8}"))
    lines.append(
        f"on {machine.name}: {machine.tflops:.3g} TFLOP/s and "
        f"{machine.bandwidth:.4g} GB/s, of which {REACHED:.0%} are taken to be reached; "
        "an estimate, which may be wrong by a factor of three"
    )
    return "\n".join(lines)


def _count(tokens: float) -> str:
    return f"{tokens / 1e6:.1f} M" if tokens >= 1e5 else f"{tokens:,.0f}"
