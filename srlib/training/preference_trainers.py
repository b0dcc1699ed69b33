"""What is ours around TRL's DPOTrainer and GRPOTrainer: their settings, resuming, speed on a CPU.

Always in the notebook's own process and on one device, whatever `train_launch` says: a launch
(`srlib.training.launched`) is for supervised fine-tuning. Used by `srlib.training.preferences`
alone; checkpoints and progress are those of `srlib.training.trainer`:

    fit = on(lm, preference, folder, train_dataset=…, peft_config=…, callbacks=[…])
    fit.train()
"""

from __future__ import annotations

from pathlib import Path

from ..data import evalsets
from ..errors import UserError
from ..generation import engine
from ..grading import rewards
from ..models import loading
from . import trainer


def within(name: str, lm: loading.LM, rows: list[dict], p) -> tuple[list[dict], dict]:
    """The rows that fit, and counts: rows, dropped, longest (tokens of a pair's longer side, or of
    a prompt with `max_new_tokens` after it, which the model must be able to read)."""

    def lengths(chats, **how):
        texts = [lm.tokenizer.apply_chat_template(c, tokenize=False, **how) for c in chats]
        return [len(ids) for ids in lm.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    if p.method == "dpo":
        sides = (lengths([r["prompt"] + r[s] for r in rows]) for s in ("chosen", "rejected"))
        long, limit, todo = [*map(max, *sides)], p.max_length, "raise max_length"
    else:
        asked = lengths([r["prompt"] for r in rows], add_generation_prompt=True)
        long, todo = [n + p.max_new_tokens for n in asked], "lower max_new_tokens"
        limit = getattr(lm.model.config, "max_position_embeddings", None) or max(long)
    kept = [r for r, n in zip(rows, long, strict=True) if n <= limit]
    over = len(rows) - len(kept)
    if over and (p.over_length == "error" or not kept):
        todo += ", or set over_length to drop" if p.over_length == "error" else ""
        raise UserError(
            f"{over} of {len(rows)} training rows of arm {name!r} are longer than {limit} tokens "
            f"(the longest: {max(long)}); {todo}"
        )
    return kept, {"rows": len(kept), "dropped": over, "longest": max(long)}


def on(lm: loading.LM, p, folder: Path, **how):
    """TRL's trainer for a `preferences.Preference`, on rows that fit.

    Nothing is cut: DPO's `max_length` is off, GRPO has no limit for prompts. Without a reference
    model TRL takes the model with its adapter switched off.
    """
    from trl import DPOConfig, DPOTrainer, GRPOConfig

    if p.method == "dpo":
        losses = {"sigmoid": 1.0} | ({"sft": p.sft} if p.sft else {})
        args = DPOConfig(
            **_arguments(lm, p, folder), max_length=None, loss_type=[*losses],
            loss_weights=[*losses.values()],
        )  # fmt: skip
        fit = DPOTrainer(model=lm.model, args=trainer.one_device(args), **how)
    else:
        args = GRPOConfig(
            **_arguments(lm, p, folder), num_generations=p.num_generations,
            max_completion_length=p.max_new_tokens, temperature=p.temperature,
        )  # fmt: skip
        # The text as `generation` records it, thought tags and all, and whether it was cut off.
        score = rewards.for_trl(
            p.weights, lambda ids: engine.text_of(lm, ids), frozenset(engine.ends_of(lm))
        )
        args = trainer.one_device(args)
        fit = _grpo()(model=lm.model, args=args, reward_funcs=score, **how)
    if lm.device == "cpu":
        score_on_cpu(lm.model, p.temperature if p.method == "grpo" else 1.0)
    return fit


def _arguments(lm: loading.LM, p, folder: Path) -> dict:
    """What both trainers are told, where TRL's default is another or might change."""
    micro, on_cpu = p.micro_batch or p.batch_size, lm.device == "cpu"
    return {
        "output_dir": str(folder),
        "max_steps": p.steps or -1,
        "num_train_epochs": p.epochs,
        "learning_rate": p.rate,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": p.batch_size // micro,
        "lr_scheduler_type": p.schedule,
        "warmup_steps": p.warmup,
        "beta": p.beta,
        "disable_dropout": True,  # else the arm and its reference differ before the first step
        "activation_checkpointing": not on_cpu,  # on a CPU it costs time and saves nothing needed
        "bf16": False,  # no autocast: the weights are what they are
        "use_cpu": on_cpu,
        "seed": p.seed,
        "save_strategy": "no",  # `trainer.keeper` says when
        "save_total_limit": 1,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }


# What TRL calls what it logs -> its name in run.json.
CURVES = {
    "loss": "loss",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "reward": "reward",
    "reward_std": "reward_std",
    "kl": "kl",
    "completions/mean_length": "new_tokens",
    "completions/clipped_ratio": "truncated",
} | {f"reward/{kind}": f"reward_{kind}" for kind in evalsets.KINDS}


def curves(history: list[dict]) -> dict[str, list[float | None]]:
    """A value a step of everything of `CURVES` that was logged; None at a step without one."""
    steps = [h for h in history if "loss" in h]
    found = {ours: [h.get(theirs) for h in steps] for theirs, ours in CURVES.items()}
    return {
        name: [None if v is None else round(v, 4) for v in values]
        for name, values in found.items()
        if any(v is not None for v in values)
    }


def _grpo():
    """TRL's GRPOTrainer with an order of prompts that a resumed epoch goes on with."""
    from trl import GRPOTrainer
    from trl.trainer.utils import RepeatSampler

    class Ordered(RepeatSampler):
        """Draws an epoch's order from the seed and the epoch's number alone (TRL's would give a
        resumed run its first epoch's order once more)."""

        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self):
            self.generator.manual_seed(1_000_003 * self.seed + self.epoch)
            return super().__iter__()

    class Resumable(GRPOTrainer):
        def _get_train_sampler(self, *args, **more):
            usual = super()._get_train_sampler(*args, **more)
            names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "seed")
            return Ordered(**{name: getattr(usual, name) for name in names})

    return Resumable


def score_on_cpu(model, temperature: float = 1.0) -> None:
    """Gives a model that TRL has made to score tokens a faster way to do so on a CPU.

    TRL's tiles are made for a GPU and score the prompt, too; torch's own loss, of the completion's
    tokens alone, takes a third of the time. What TRL would log besides (entropy, mean logits) is
    NaN. Models that scale their logits, or add a loss of their own, keep TRL's way.
    """
    from functools import wraps

    from torch.nn.functional import cross_entropy
    from trl.trainer.utils import FusedCausalLMOutput

    config = model.config.get_text_config()
    special = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier")
    special += ("lm_head_multiplier", "router_aux_loss_coef")
    if any(getattr(config, name, None) for name in special):
        return
    usual = model.forward

    @wraps(usual)  # `generate` looks at its signature
    def scored(*args, fused_lm_head=False, labels=None, **inputs):
        if not fused_lm_head:
            return usual(*args, labels=labels, **inputs)
        inputs["use_cache"] = False
        states = model.get_decoder()(*args, **inputs).last_hidden_state[:, :-1]
        labels = labels[:, 1:]
        kept = labels != -100
        logits = model.get_output_embeddings()(states[kept]).float() / temperature
        said = -cross_entropy(logits, labels[kept], reduction="none")
        log_probs = said.new_zeros(kept.shape).masked_scatter(kept, said)
        top = kept.masked_scatter(kept, logits.argmax(-1) == labels[kept])
        unknown = log_probs.detach().new_full(kept.shape, float("nan"))
        return FusedCausalLMOutput(
            log_probs=log_probs, entropy=unknown, mean_logits=unknown, is_top1=top, label_mask=kept
        )

    model.forward = scored
