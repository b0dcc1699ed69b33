"""One arm's supervised fine-tuning: TRL's SFTTrainer with a PEFT LoRA adapter, or in full.

An arm is a base, training rows (`srlib.data.mixtures`), a Recipe and a seed. Asking for it returns
its folder; it is trained if it is not there. The folder is named by a digest of what made it, holds
safetensors and `run.json` (rows, tokens, steps, loss, times), and counts as made once its
done-marker is written. A killed training goes on from its last whole checkpoint.

A training row is one exchange in TRL's conversational prompt–completion form, so that the loss is
on the completion only:

    {"prompt": [{"role": "user", "content": "…"}],
     "completion": [{"role": "assistant", "content": "I can't help with that."}]}
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

from .. import store
from ..base import kept
from ..errors import UserError
from ..models import loading, resident
from ..models.bases import Base
from . import collectives, launched, templates, trainer
from .recipe import Recipe

PARTS = (0.125, 0.25, 0.5)  # shares of a LoRA training after which the adapter is kept, too


def part_folder(arm: Path, share: float) -> Path:
    """Give where an arm's adapter is as it was after a share of its training: one of PARTS, in a
    folder beside the arm's, or 1.0 for the whole. Raises UserError for a part that was not kept."""
    folder = _beside(arm, share) if share < 1 else arm
    if not store.is_done(folder):
        raise UserError(
            f"the adapter from after {share:g} of a training is not there any more ({folder}); "
            f"remove {arm} to train the arm anew"
        )
    return folder


def _beside(arm: Path, share: float) -> Path:
    return arm.with_name(f"{arm.name}-at-{share:g}")


def _parts(recipe: Recipe) -> tuple[float, ...]:
    """Shares of a training after which its adapter is one of a training on fewer rows."""
    return PARTS if recipe.method == "lora" and recipe.schedule.startswith("constant") else ()


def tuned(base: Base, arm: Path, recipe: Recipe) -> Base:
    """What `train` made of `base`, to be loaded or fine-tuned further."""
    if recipe.method == "full":
        return Base(str(arm))
    return replace(base, adapters=(*base.adapters, arm))


def train(
    name: str,
    base: Base,
    rows: list[dict],
    recipe: Recipe,
    profile: Path,
    outputs: Path,
    dtype: str,
    launch: str = "",
) -> Path:
    """The folder of the arm, trained where it is not there yet, under `profile`/arms; by several
    processes where `launch` names how (`launched.of`).

    Raises UserError for an empty mixture, and where rows are longer than `recipe.max_length` tokens
    and are not to be dropped, or all of them are.
    """
    if not rows:
        raise UserError(f"arm {name!r} has no training rows")
    dtype, how = loading.pick_dtype(dtype), launched.of(launch)
    ways = [how.processes, how.sharded, how.cpu] if how else []
    mark = made_by(base, rows, recipe.settings(), outputs, dtype, *ways)
    folder = profile / "arms" / f"{store.slug(name)}-{mark}"
    with store.lock(folder):
        if not store.is_done(folder):
            resident.let_go()  # its place in memory is for the training
            with store.full_disk(folder):
                told = (name, base, rows, recipe, folder, outputs, dtype)
                if how is None:
                    fit(*told)
                else:
                    recipe.split(how.processes)
                    _, torn = trainer.last_checkpoint(folder / how.checkpoints())
                    launched.train(how, folder, launched.job(*told, how, torn))
            for share in _parts(recipe):
                store.mark_done(_beside(folder, share))
            store.mark_done(folder)
            for left in folder.glob("checkpoints*"):
                shutil.rmtree(left, ignore_errors=True)
    return folder


def made_by(base: Base, rows: list[dict], settings: dict, outputs: Path, dtype: str, *more) -> str:
    """What an arm is found by: the base's weights and words, the rows, the settings, precision,
    device and libraries, and what else there is to say."""
    made_of = (
        base.fingerprint(outputs),
        base.words(outputs),
        rows,
        settings,
        dtype,
        loading.device(),
    )
    return kept.mark(*made_of, *more, by=kept.TRAINING, length=12)


def within(
    name: str, tokenizer, rows: list[dict], recipe: Recipe
) -> tuple[list[dict], dict[str, int]]:
    """The rows that fit into `recipe.max_length`, and counts: rows, dropped, tokens and completion
    tokens (of one epoch), longest (tokens of the longest row, dropped ones too).

    Raises UserError as `templates.check` does.
    """
    templates.check(name, tokenizer, rows)

    def lengths(chats, **how):
        texts = [tokenizer.apply_chat_template(c, tokenize=False, **how) for c in chats]
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    whole = lengths([r["prompt"] + r["completion"] for r in rows])
    asked = lengths([r["prompt"] for r in rows], add_generation_prompt=True)
    fits = [n <= recipe.max_length for n in whole]
    over, fitting = fits.count(False), [r for r, f in zip(rows, fits, strict=True) if f]
    if over and (recipe.over_length == "error" or not fitting):
        todo = "raise max_length"
        todo += ", or set over_length to drop" if recipe.over_length == "error" else ""
        raise UserError(
            f"{over} of {len(rows)} training rows of arm {name!r} are longer than max_length "
            f"{recipe.max_length} (the longest: {max(whole)}); {todo}"
        )
    total = sum(w for w, f in zip(whole, fits, strict=True) if f)
    prompts = sum(a for a, f in zip(asked, fits, strict=True) if f)
    return fitting, {
        "rows": len(fitting),
        "dropped": over,
        "tokens": total,
        "completion_tokens": total - prompts,
        "longest": max(whole),
    }


def fit(
    name: str, base: Base, rows, recipe: Recipe, folder: Path, outputs: Path, dtype: str,
    launch: launched.Launch | None = None, torn: int = 0,
) -> None:  # fmt: skip
    """Train, and leave the weights and run.json in `folder`. Every process of a launch calls it."""
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback, set_seed

    disable_progress_bars()
    began = time.time()
    set_seed(recipe.seed)
    # Full fine-tuning keeps float32 weights, as steps of 1e-5 are lost in bfloat16's eight bits.
    weights = "float32" if recipe.method == "full" else dtype
    sharded = launch is not None and launch.sharded
    lm = base.load(outputs, weights, place=not sharded)
    if recipe.method == "full":
        lm.model.requires_grad_(True)  # an adapter that was merged left the weights frozen
    lm.tokenizer.padding_side = "right"
    if lm.device == "cpu":
        lm.model.set_attn_implementation("eager")  # its backward pass is the faster one there
    rows, counts = within(name, lm.tokenizer, rows, recipe)
    place = folder / (launch.checkpoints() if launch else "checkpoints")
    checkpoint, found = trainer.last_checkpoint(place)
    with trainer.deterministic(), loading.quiet():
        fit = trainer.on(lm)(
            model=lm.model, args=_arguments(lm, recipe, place, dtype, launch),
            train_dataset=Dataset.from_list(rows), processing_class=lm.tokenizer,
            peft_config=lora(lm.model, recipe),
            callbacks=[trainer.bar(name), trainer.keeper(recipe.checkpoint_minutes)],
        )  # fmt: skip
        fit.remove_callback(PrinterCallback)  # it prints every loss
        parts = {share: _beside(folder, share) for share in _parts(recipe)}
        fit.add_callback(trainer.parts(fit, parts, sharded))
        result = fit.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        trainer.save(fit, folder, dtype if recipe.method == "full" else "", sharded)
    if collectives.rank() == 0:
        told = {"name": name, "base": lm.card(), "recipe": asdict(recipe), **counts}
        told |= {"resumed_at": int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0}
        told |= {"torn_checkpoints": torn + found, "seconds": round(time.time() - began, 1)}
        told |= _record(fit, result, launch)
        store.write_json(folder / "run.json", told)
        for share, part in parts.items():
            steps = trainer.steps_of(share, told["steps"])
            seen = {"name": f"{name} at {share:g}", "steps": steps, "loss": told["loss"][:steps]}
            store.write_json(part / "run.json", told | seen)


def _record(fit, result, launch: launched.Launch | None) -> dict:
    """What a training was, for run.json."""
    import torch

    return {
        "steps": result.global_step,
        "loss": [round(h["loss"], 4) for h in fit.state.log_history if "loss" in h],
        "train_seconds": round(result.metrics["train_runtime"], 1),  # since the last resume
        "processes": launch.processes if launch else 1,
        "launcher": launch.name if launch else "",
        "repeated_rows": trainer.repeated(fit),
        "devices_seen": torch.cuda.device_count(),  # without a launcher only the first is used
        "versions": store.versions(),
    }


def _arguments(lm: loading.LM, recipe: Recipe, folder: Path, dtype: str, launch=None):
    from trl import SFTConfig

    micro, times = recipe.split(launch.processes if launch else 1)
    on_cpu = lm.device == "cpu"
    args = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.rate,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=times,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        max_length=recipe.max_length,
        packing=recipe.packing,
        completion_only_loss=True,
        activation_checkpointing=not on_cpu,  # on a CPU it costs time and saves nothing needed
        train_sampling_strategy="random" if recipe.packing else "group_by_length",
        bf16=recipe.method == "full" and dtype == "bfloat16",  # else the weights are what they are
        use_cpu=on_cpu,
        seed=recipe.seed,
        save_strategy="no",  # `trainer.keeper` says when
        save_total_limit=1,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,  # all that is trained has a gradient at every step
    )
    return trainer.one_device(args)


def lora(model, recipe: Recipe):
    from peft import LoraConfig

    if recipe.method == "full":
        return None
    every = recipe.lora_targets == ("all-linear",)
    return LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        target_modules=_linear(model) if every else list(recipe.lora_targets),
        layers_to_transform=_layers(model, recipe.lora_layers),
        task_type="CAUSAL_LM",
    )


def _linear(model) -> list[str]:
    """What PEFT calls all-linear, as names: with layers chosen, it takes no shorthand."""
    import torch

    head = model.get_output_embeddings()
    linear = [
        n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head
    ]
    return sorted({name.rpartition(".")[2] for name in linear})


def _layers(model, share: float) -> list[int] | None:
    depth = model.config.get_text_config().num_hidden_layers
    return list(range(depth - round(share * depth), depth)) if share < 1 else None
