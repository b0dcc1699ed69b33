"""Fine-tuning: an arm made once and found again, TRL's own loss."""

import json

import pytest
import torch

from srlib import store
from srlib.data import mixtures
from srlib.data.mixtures import Safety
from srlib.errors import UserError
from srlib.models import loading
from srlib.training import finetune, trainer
from srlib.training.finetune import Base, Recipe

TINY = Recipe(epochs=1, batch_size=4, rate=1e-3, lora_layers=0.2, schedule="constant")


@pytest.fixture(scope="module")
def arm(outputs, tmp_path_factory):
    base = tmp_path_factory.mktemp("profile")
    rows = mixtures.aligned_rows(Safety(8, 4, 4))
    return (
        base,
        rows,
        finetune.train("tiny arm", Base("embedded"), rows, TINY, base, outputs, "float32"),
    )


def test_an_arm_is_made_once_and_found_again(arm, outputs):
    base, rows, folder = arm
    assert store.is_done(folder) and (folder / "adapter_model.safetensors").exists()
    assert not list(folder.rglob("*.bin")) and not list(folder.rglob("*.pt"))
    record = json.loads((folder / "run.json").read_text())
    assert record["rows"] == 16 and record["steps"] == 4 == len(record["loss"])
    stamp = (folder / "adapter_model.safetensors").stat().st_mtime_ns
    again = finetune.train("tiny arm", Base("embedded"), rows, TINY, base, outputs, "float32")
    assert again == folder and stamp == (folder / "adapter_model.safetensors").stat().st_mtime_ns


def test_an_arm_without_its_done_marker_is_made_again_to_the_same_bytes(arm, outputs):
    base, rows, folder = arm
    whole = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "done").unlink()
    (folder / "adapter_model.safetensors").write_bytes(whole[:1000])
    finetune.train("tiny arm", Base("embedded"), rows, TINY, base, outputs, "float32")
    assert store.is_done(folder) and (folder / "adapter_model.safetensors").read_bytes() == whole


def test_the_adapter_is_kept_after_parts_of_its_training(arm):
    _, _, folder = arm
    parts = [finetune.part_folder(folder, share) for share in (*finetune.PARTS, 1.0)]
    kept = [(part / "adapter_model.safetensors").read_bytes() for part in parts]
    assert parts[-1] == folder and len({*kept}) == 3  # of 4 steps, 1/8 and 1/4 are the first
    assert all((part / "adapter_config.json").exists() for part in parts)
    record = json.loads((parts[2] / "run.json").read_text())
    assert (record["name"], record["steps"], len(record["loss"])) == ("tiny arm at 0.5", 2, 2)
    with pytest.raises(UserError, match=r"from after 0\.3 of a training is not there"):
        finetune.part_folder(folder, 0.3)


def test_the_model_has_learnt_something(arm, lm, outputs):
    _, rows, folder = arm
    tuned = loading.load("embedded", outputs, "float32", adapters=(folder,))
    assert tuned.fingerprint != lm.fingerprint

    def loss(model):
        chat = [lm.tokenizer.apply_chat_template(r["prompt"] + r["completion"]) for r in rows]
        ids = [torch.tensor([c["input_ids"]]) for c in chat]
        with torch.inference_mode():
            return sum(model(i, labels=i).loss.item() for i in ids)

    assert loss(tuned.model) < loss(lm.model)


def test_the_loss_on_a_cpu_is_the_one_trl_computes(lm, outputs, tmp_path):
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    rows = mixtures.aligned_rows(Safety(3, 2, 3))

    def first_loss(trainer_class):
        fresh = loading.load("embedded", outputs, "float32")
        fresh.tokenizer.padding_side = "right"
        args = SFTConfig(
            output_dir=str(tmp_path), use_cpu=True, report_to="none", per_device_train_batch_size=8,
            completion_only_loss=True, activation_checkpointing=False,
        )  # fmt: skip
        fit = trainer_class(
            model=fresh.model, args=args, train_dataset=Dataset.from_list(rows),
            processing_class=fresh.tokenizer, peft_config=LoraConfig(target_modules=["q_proj"]),
        )  # fmt: skip
        batch = next(iter(fit.get_train_dataloader()))
        tokens = (batch["labels"] != -100).sum()
        return fit.compute_loss(fit.model, batch, num_items_in_batch=tokens).item()

    ours = trainer.on(lm)
    assert ours is not SFTTrainer
    assert first_loss(ours) == pytest.approx(first_loss(SFTTrainer), rel=1e-4)


def test_an_empty_mixture(outputs, tmp_path):
    with pytest.raises(UserError, match="no training rows"):
        finetune.train("empty", Base("embedded"), [], TINY, tmp_path, outputs, "float32")
