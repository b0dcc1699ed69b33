"""One arm's fine-tuning, ours beside TRL's defaults: the same rows, batch size, epochs and adapter.

    python benchmarks/finetuning.py --rows 32 --repeats 5

TRL's side is `SFTTrainer` with a plain `SFTConfig` (its attention, its loss, its activation
checkpointing) and a LoRA of rank 16 on all linear layers; ours is `srlib.training.finetune` with
the same adapter, schedule and steps, the rows of a step computed a few at a time. Timed is the
training, loading aside. The two take their rows in another order (ours by length), so losses of a
step do not compare; `held_out_loss` does: the mean loss of a completion's token over the same rows,
which neither trained on, measured the same way in float32. The note under the table has that of the
model before.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import common

from srlib import store
from srlib.data import mixtures
from srlib.models import loading
from srlib.training import finetune

HELD_OUT = 16
MICRO = 2  # rows that ours computes at a time: alike in length, and soon out of memory again
SIDES = ("ours", "trl")


def rows_of(name: str, n: int) -> tuple[list[dict], list[dict]]:
    """`n` rows to train on, and HELD_OUT others."""
    rows = mixtures.build(mixtures.Mixture(name, n + HELD_OUT), []).rows
    return rows[:n], rows[n:]


def ours(rows: list[dict], scratch: Path, rate: float, batch: int, dtype: str):
    """Seconds of training, and the adapter's folder."""
    told = {"schedule": "linear", "warmup": 0.0}  # TRL's
    recipe = finetune.Recipe(epochs=1, batch_size=batch, micro_batch=MICRO, rate=rate, **told)
    base, outputs = finetune.Base(common.MODEL), common.ROOT / "outputs"
    folder = finetune.train("bench", base, rows, recipe, scratch, outputs, dtype)
    return store.read_json(folder / "run.json")["train_seconds"], folder


def trl(rows: list[dict], scratch: Path, rate: float, batch: int, dtype: str):
    """The same with TRL as it comes."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    words = loading.tokenizer(common.MODEL, common.ROOT / "outputs")
    source = loading.resolve(common.MODEL, common.ROOT / "outputs")[0]
    fit = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, dtype)),
        processing_class=words,
        args=SFTConfig(
            output_dir=str(scratch), num_train_epochs=1, learning_rate=rate, logging_steps=1,
            per_device_train_batch_size=batch, report_to="none", save_strategy="no",
            disable_tqdm=True,
            bf16=dtype == "bfloat16",  # its default, ten times slower where a CPU has no bfloat16
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
    )  # fmt: skip
    began = time.perf_counter()
    fit.train()
    took = time.perf_counter() - began
    fit.model.save_pretrained(scratch / "adapter")
    return took, scratch / "adapter"


def held_out(rows: list[dict], adapters: tuple[Path, ...]) -> float:
    """Mean cross-entropy of a completion's token, the end of the turn included."""
    import torch
    from torch.nn.functional import cross_entropy

    lm = loading.load(common.MODEL, common.ROOT / "outputs", "float32", adapters)
    total, count = 0.0, 0
    for row in rows:
        chats = (row["prompt"], row["prompt"] + row["completion"])
        begun = lm.tokenizer.apply_chat_template(
            chats[0], add_generation_prompt=True, tokenize=False
        )
        texts = [begun, lm.tokenizer.apply_chat_template(chats[1], tokenize=False)]
        asked, whole = lm.tokenizer(texts, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([whole], device=lm.device)
        with torch.inference_mode():
            logits = lm.model(ids).logits[0, len(asked) - 1 : -1].float()
        total += float(cross_entropy(logits, ids[0, len(asked) :], reduction="sum"))
        count += len(whole) - len(asked)
    return total / count


def one(side: str, rows: int, data: str, batch: int, rate: float, dtype: str, folder: Path) -> None:
    """Train one side once and tell what it took; its adapter stays in `folder`."""
    train, _ = rows_of(data, rows)
    words = loading.tokenizer(common.MODEL, common.ROOT / "outputs")
    counts = finetune.within("bench", words, train, finetune.Recipe())[1]
    seconds, adapter = {"ours": ours, "trl": trl}[side](train, folder, rate, batch, dtype)
    common.told(seconds=seconds, tokens=counts["tokens"], adapter=str(adapter))


def main(
    rows: int = 32, data: str = "long-openo1", batch: int = 8, rate: float = 1e-3, repeats: int = 5,
    dtype: str = "auto", out: Path = common.OUT, side: str = "", folder: Path | None = None,
):  # fmt: skip
    """Train `rows` rows of the set `data` for one epoch, both sides in turn; write finetuning.csv,
    .md and .png to `out`."""
    dtype = loading.pick_dtype(dtype)
    if side and folder:
        one(side, rows, data, batch, rate, dtype, folder)
        return
    loading.tokenizer(common.MODEL, common.ROOT / "outputs")  # unpacks the weights, once
    _, kept = rows_of(data, rows)

    def measure(name: str) -> dict:
        with tempfile.TemporaryDirectory() as scratch:
            words = ["--rows", rows, "--data", data, "--batch", batch, "--rate", rate]
            words += ["--dtype", dtype, "--side", name, "--folder", scratch]
            result = common.alone(__file__, words, sys.executable)
            if not losses.get(name):  # the same seed every time
                losses[name] = round(held_out(kept, (Path(result["adapter"]),)), 3)
            return result | {"held_out_loss": losses[name]}

    losses: dict[str, float] = {}
    found = common.in_turn(list(SIDES), repeats, measure)
    table = common.table(found, "tokens", ["held_out_loss"])
    tokens = found["ours"][0]["tokens"]
    note = (
        f"{rows} rows of {data} ({tokens} tokens), batch {batch}, one epoch, LoRA of rank 16 on "
        f"all linear layers. Loss over {len(kept)} held-out rows; untrained it is "
        f"{held_out(kept, ()):.3f}."
    )
    common.write(out, "finetuning", table, note, dtype)
    what = f"{rows} rows of {data}, {tokens} tokens, batch {batch}, one epoch, {dtype}"
    common.draw(out, "finetuning", "One arm's fine-tuning", table, what)


if __name__ == "__main__":
    common.run(main)
