"""Preference and reward training of a long-CoT arm: DPO and GRPO with LoRA, through TRL.

An arm made here is a base, rows and a Preference. Asking for it returns its folder, as it does in
`srlib.training.finetune`: made once, found again by a digest of what made it, resumed after a kill,
merged by `finetune.tuned(base, folder, finetune.Recipe())`. The reference model is the base itself.

DPO (Rafailov et al. 2023, arXiv 2305.18290) learns from pairs of a chosen and a rejected answer:

    folder = train("dpo", base, rows, Preference(), profile, outputs, "auto")

GRPO (Shao et al. 2024, arXiv 2402.03300) learns from the rewards (`srlib.grading.rewards`) of
several completions that the arm samples to each prompt. The rows are those of
`srlib.training.preference_rows`.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import store
from ..base import kept
from ..errors import UserError
from ..grading import rewards
from ..models import loading, resident
from . import finetune, recipe, trainer
from . import preference_trainers as trainers

COLUMNS = {"dpo": ("prompt", "chosen", "rejected"), "grpo": ("prompt", "kind")}


@dataclass(frozen=True)
class Preference:
    """Hyper-parameters of one DPO or GRPO run. Lengths in tokens, `rate` is the peak learning rate.

    `steps` is the number of optimiser steps, 0: as many as `epochs` need. `batch_size` makes a
    step, `micro_batch` of it at a time (0: all): pairs for DPO; for GRPO completions,
    `num_generations` of them to a prompt. `beta` holds the arm near its base: DPO's β, or GRPO's KL
    coefficient (0.04 in DeepSeekMath, 0 for none). `sft` weighs the chosen answers' own loss beside
    DPO's (Pang et al. 2024, arXiv 2404.19733): DPO alone may make what is rejected less likely, and
    our answers, which are not the arm's own, no likelier. Pairs with a side longer than
    `max_length` are an `error` or dropped (`drop`) and counted, never cut. GRPO's own are
    `max_new_tokens`, `temperature` (of sampling) and `weights` (of the reward). LoRA as in Recipe.
    """

    method: str = "dpo"
    steps: int = 0
    epochs: float = 1.0
    rate: float = 5e-5
    batch_size: int = 8
    micro_batch: int = 0
    schedule: str = "cosine"
    warmup: float = 0.0
    beta: float = 0.1
    sft: float = 0.0
    lora_r: int = 16
    lora_alpha: int = 32
    lora_targets: tuple[str, ...] = ("all-linear",)
    lora_layers: float = 1.0
    max_length: int = 1024
    over_length: str = "error"
    max_new_tokens: int = 256
    num_generations: int = 4
    temperature: float = 1.0
    weights: rewards.Weights = rewards.USUAL
    seed: int = 0
    checkpoint_minutes: float = 5.0  # how often a checkpoint is kept; changes no result

    def __post_init__(self):
        for name, allowed in (("method", [*COLUMNS]), ("over_length", ["error", "drop"])):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"{name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}"
                )
        least = {"num_generations": 2, "steps": 0, "micro_batch": 0, "beta": 0, "sft": 0}
        least |= dict.fromkeys(("batch_size", "lora_r", "max_length", "max_new_tokens"), 1)
        for name, value in least.items():
            if getattr(self, name) < value:
                raise UserError(f"{name} is {getattr(self, name)}; give {value} or more")
        for name in ("rate", "temperature", *(() if self.steps else ("epochs",))):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} is {getattr(self, name)}; give a number above 0")
        if not 0 < self.lora_layers <= 1:
            raise UserError(
                f"lora_layers is {self.lora_layers}; give a share of the layers, above 0, up to 1"
            )
        for name in ("micro_batch", *(["num_generations"] if self.method == "grpo" else [])):
            part = getattr(self, name)
            if part and self.batch_size % part:
                raise UserError(
                    f"batch_size {self.batch_size} is no multiple of {name} {part}; change one of "
                    "the two"
                )


def of(values: dict) -> dict[str, Preference]:
    """The preference and reward training of a notebook's parameters, by method; {} for none.

    A method is on where its `<method>_rows` is above 0; other parameters named `dpo_…` and `grpo_…`
    are fields of Preference; adapter and lengths are those of the arms, the seed that of the arm
    that is trained further, the first: a seed covers the whole line, from the aligned base to what
    is made of an arm. Raises UserError as Preference does.
    """
    shared = {"max_length": "train_max_length", "over_length": "over_length"}
    shared |= {name: name for name in ("lora_r", "lora_alpha", "lora_targets", "lora_layers")}
    found = {}
    for method in COLUMNS:
        if not values.get(f"{method}_rows"):
            continue
        told = {field: values[name] for field, name in shared.items()}
        for field in Preference.__dataclass_fields__:
            told[field] = values.get(f"{method}_{field}", told.get(field))
        told = {field: value for field, value in told.items() if value is not None}
        told |= {"method": method, "lora_targets": tuple(told["lora_targets"])}
        told["seed"] = recipe.seeds(values)[0]
        found[method] = Preference(**told)
    return found


def name(arm: str, method: str) -> str:
    """What an arm is called once it is trained further by a method."""
    return f"{arm}, {method.upper()}"


def train(
    name: str,
    base: finetune.Base,
    rows: list[dict],
    preference: Preference,
    profile: Path,
    outputs: Path,
    dtype: str,
) -> Path:
    """The folder of the adapter, trained on `base` where it is not there yet, under `profile`/arms.

    `rows` are those of `preference_rows.pairs` for DPO, of `questions` for GRPO. run.json holds,
    beside what `finetune.train` tells, a value a step of `preference_trainers.CURVES`: DPO's
    margins (β times how much more likely chosen has become than rejected) or GRPO's rewards, all
    and by kind.
    Raises UserError for rows of another method, too few of them, or longer ones than are allowed.
    """
    check_rows(name, rows, preference)
    dtype = loading.pick_dtype(dtype)
    graders = [kept.code("grading.rewards")] if preference.method == "grpo" else []
    told = {k: v for k, v in asdict(preference).items() if k != "checkpoint_minutes"}
    mark = finetune.made_by(base, rows, told, outputs, dtype, *graders)
    folder = profile / "arms" / f"{store.slug(name)}-{mark}"
    with store.lock(folder):
        if not store.is_done(folder):
            resident.let_go()  # its place in memory is for the training
            with store.full_disk(folder):
                _fit(name, base, rows, preference, folder, outputs, dtype)
            store.mark_done(folder)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return folder


def check_rows(name: str, rows: list[dict], p: Preference) -> None:
    """Raise UserError where rows are of another method, or too few for a batch."""
    if not rows:
        raise UserError(f"arm {name!r} has no training rows")
    lacking = {c for r in rows for c in COLUMNS[p.method] if not r.get(c)}
    if p.method == "grpo":
        lacking |= {"gold" for r in rows if r.get("kind") == "reasoning" and not r.get("gold")}
    if lacking:
        made = {"dpo": "pairs", "grpo": "questions"}[p.method]
        raise UserError(
            f"training rows of arm {name!r} lack {', '.join(sorted(lacking))}, which {p.method} "
            f"needs; give what preference_rows.{made} makes"
        )
    if p.method == "grpo" and len(rows) * p.num_generations < p.batch_size:
        raise UserError(
            f"arm {name!r} has {len(rows)} prompts, and a batch of {p.batch_size} completions "
            f"needs {p.batch_size // p.num_generations}; give more, or lower batch_size"
        )


def _fit(name, base, rows, p: Preference, folder: Path, outputs: Path, dtype: str) -> None:
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback, set_seed

    disable_progress_bars()
    began = time.time()
    set_seed(p.seed)
    lm = base.load(outputs, dtype)
    if lm.device == "cpu":
        lm.model.set_attn_implementation("eager")  # its backward pass is the faster one there
    rows, counts = trainers.within(name, lm, rows, p)
    checkpoint, torn = trainer.last_checkpoint(folder / "checkpoints")
    with trainer.deterministic(), loading.quiet():
        fit = trainers.on(
            lm, p, folder / "checkpoints", train_dataset=Dataset.from_list(rows),
            processing_class=lm.tokenizer, peft_config=finetune.lora(lm.model, p),
            callbacks=[trainer.bar(name), trainer.keeper(p.checkpoint_minutes)],
        )  # fmt: skip
        fit.remove_callback(PrinterCallback)  # it prints every loss
        result = fit.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        fit.model.save_pretrained(folder)  # the adapter alone; always safetensors
    record = {
        "name": name,
        "base": lm.card(),
        "preference": asdict(p),
        **counts,
        "steps": result.global_step,
        **trainers.curves(fit.state.log_history),
        "resumed_at": int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0,
        "torn_checkpoints": torn,
        "train_seconds": round(result.metrics["train_runtime"], 1),  # since the last resume
        "seconds": round(time.time() - began, 1),
        "versions": store.versions(),
    }
    store.write_json(folder / "run.json", record)
