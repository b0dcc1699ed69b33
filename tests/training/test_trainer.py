"""Training itself: killed and resumed, torn checkpoints, packing, full fine-tuning, wrong bases."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from srlib import store
from srlib.data import mixtures
from srlib.errors import UserError
from srlib.models import loading
from srlib.training import finetune, trainer
from srlib.training.finetune import Base, Recipe

ROOT = Path(__file__).parents[2]
EMBEDDED = Base("embedded")
TINY = Recipe(epochs=2, batch_size=4, rate=1e-3, lora_layers=0.1, checkpoint_minutes=0)
SCRIPT = """
import sys
from pathlib import Path
from srlib.training import finetune
from tests.training.test_trainer import EMBEDDED, TINY, rows
profile, outputs = map(Path, sys.argv[1:])
finetune.train("killed", EMBEDDED, rows(), TINY, profile, outputs, "float32")
"""


def rows() -> list[dict]:
    return mixtures.aligned_rows(mixtures.Safety(6, 4, 6))


def train(name, profile, outputs, recipe=TINY, base=EMBEDDED, given=None):
    return finetune.train(name, base, given or rows(), recipe, profile, outputs, "float32")


@pytest.fixture(scope="module")
def whole(outputs, tmp_path_factory):
    return train("killed", tmp_path_factory.mktemp("whole"), outputs)


def test_killed_in_training_and_resumed_gives_the_same_bytes(whole, outputs, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(outputs)]
    process = subprocess.Popen(command, cwd=ROOT)
    until = time.time() + 240
    while not list(tmp_path.glob("arms/*/checkpoints/*/done")) and time.time() < until:
        assert process.poll() is None, "ended before a checkpoint was kept"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("arms/*/done"))
    folder = train("killed", tmp_path, outputs)
    record, other = (json.loads((f / "run.json").read_text()) for f in (folder, whole))
    assert 0 < record["resumed_at"] < record["steps"] and other["resumed_at"] == 0
    assert record["loss"] == other["loss"] and len(record["loss"]) == record["steps"] == 8
    adapters = [(f / "adapter_model.safetensors").read_bytes() for f in (folder, whole)]
    assert adapters[0] == adapters[1]
    assert not (folder / "checkpoints").exists()


def test_torn_checkpoints_are_thrown_away_and_counted(whole, outputs, tmp_path, monkeypatch):
    class StoppedError(Exception):
        pass

    def stop_after(step):
        class Stopper(trainer.keeper(0).__class__):
            def on_step_begin(self, args, state, control, **_):
                if state.global_step == step:
                    raise StoppedError

        return lambda minutes: Stopper()

    keeper = trainer.keeper
    for step in (3, 5):  # the second run resumes the first
        monkeypatch.setattr(trainer, "keeper", stop_after(step))
        with pytest.raises(StoppedError):
            train("killed", tmp_path, outputs)
    (kept,) = tmp_path.glob("arms/*/checkpoints/checkpoint-*")
    assert kept.name == "checkpoint-5"
    unmarked, cut = (kept.with_name(f"checkpoint-{n}") for n in (6, 7))
    shutil.copytree(kept, unmarked)
    (unmarked / "done").unlink()
    shutil.copytree(kept, cut)
    blob = (cut / "adapter_model.safetensors").read_bytes()
    (cut / "adapter_model.safetensors").write_bytes(blob[: len(blob) // 2])
    monkeypatch.setattr(trainer, "keeper", keeper)
    folder = train("killed", tmp_path, outputs)
    record = json.loads((folder / "run.json").read_text())
    assert record["torn_checkpoints"] == 2 and record["resumed_at"] == 5
    ours, theirs = ((f / "adapter_model.safetensors").read_bytes() for f in (folder, whole))
    assert ours == theirs


def test_rows_of_a_pack_do_not_see_each_other(outputs, lm):
    from datasets import Dataset
    from trl import SFTConfig

    given = rows()[:6]

    def loss(packing):
        fresh = loading.load("embedded", outputs, "float32")
        fresh.tokenizer.padding_side = "right"
        fresh.model.set_attn_implementation("eager")
        args = SFTConfig(
            output_dir=str(outputs / "none"), use_cpu=True, report_to="none", max_length=2048,
            per_device_train_batch_size=1 if packing else 6, completion_only_loss=True,
            activation_checkpointing=False, packing=packing,
        )  # fmt: skip
        fit = trainer.on(fresh)(
            model=fresh.model, args=args, train_dataset=Dataset.from_list(given),
            processing_class=fresh.tokenizer,
        )  # fmt: skip
        batch = next(iter(fit.get_train_dataloader()))
        tokens = (batch["labels"] != -100).sum()
        with torch.inference_mode():
            found = fit.compute_loss(fit.model, batch, num_items_in_batch=tokens).item()
        return found, int(tokens), batch["input_ids"].shape[0]

    (apart, n, batch), (packed, m, packs) = loss(False), loss(True)
    assert (batch, packs) == (6, 1) and n == m
    assert packed == pytest.approx(apart, rel=1e-4)


def test_packing_trains_an_arm(outputs, tmp_path):
    packing = replace(TINY, packing=True, max_length=256, batch_size=1, epochs=1)
    record = json.loads((train("packed", tmp_path, outputs, packing) / "run.json").read_text())
    assert record["rows"] == 16 and 1 < record["steps"] < 16
    assert record["tokens"] > record["completion_tokens"] > 0


def test_long_rows_are_dropped_and_counted_or_an_error(outputs, tmp_path):
    long = [mixtures.exchange("Hello?", "word " * 300)]
    drop = replace(TINY, max_length=256, over_length="drop", epochs=1)
    folder = train("long", tmp_path, outputs, drop, given=rows() + long)
    record = json.loads((folder / "run.json").read_text())
    assert (record["rows"], record["dropped"]) == (16, 1) and record["longest"] > 300
    for recipe, words in ((replace(drop, over_length="error"), "1 of 17"), (drop, "1 of 1 ")):
        given = long if recipe is drop else rows() + long
        with pytest.raises(UserError, match=f"{words}.*raise max_length"):
            train("long", tmp_path, outputs, recipe, given=given)


def test_full_fine_tuning_gives_a_model_of_its_own(outputs, tmp_path, lm):
    full = replace(TINY, method="full", rate=1e-5, epochs=0.5)
    folder = train("full", tmp_path, outputs, full)
    assert not list(folder.rglob("*.bin")) and not (folder / "adapter_config.json").exists()
    tuned = finetune.tuned(EMBEDDED, folder, full).load(outputs, "float32", "full")
    before, after = (m.model.state_dict() for m in (lm, tuned))
    assert set(before) == set(after) and tuned.fingerprint != lm.fingerprint
    name = "model.layers.0.mlp.up_proj.weight"  # a layer that no adapter of TINY reaches
    assert not torch.equal(before[name], after[name])


def test_arms_upon_arms_and_an_adapter_of_another_base(whole, outputs, tmp_path, lm):
    second = train("second", tmp_path, outputs, base=finetune.tuned(EMBEDDED, whole, TINY))
    both = Base("embedded", (whole, second))
    loaded = both.load(outputs, "float32", "both")
    assert loaded.fingerprint == both.fingerprint(outputs) != lm.fingerprint
    with pytest.raises(UserError, match="made for another base model"):
        Base("embedded", (second,)).load(outputs, "float32")  # its base has `whole` merged
    foreign = shutil.copytree(whole, tmp_path / "foreign")
    (foreign / "run.json").unlink()  # made elsewhere: only its shapes tell
    config = json.loads((foreign / "adapter_config.json").read_text())
    config["target_modules"] = ["no_such_layer"]
    (foreign / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="made for another base model"):
        Base("embedded", (foreign,)).load(outputs, "float32")
    with pytest.raises(UserError, match="holds no adapter_config"):
        Base("embedded", (tmp_path,)).load(outputs, "float32")


def test_a_damaged_adapter_is_named(whole, outputs, tmp_path):
    cut = shutil.copytree(whole, tmp_path / "cut")
    blob = (cut / "adapter_model.safetensors").read_bytes()
    (cut / "adapter_model.safetensors").write_bytes(blob[:5000])
    with pytest.raises(UserError, match="is damaged"):
        Base("embedded", (cut,)).load(outputs, "float32")


def test_a_full_disk_while_training_is_told(outputs, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(finetune, "fit", full)
    with pytest.raises(UserError, match="disk is full"):
        train("full disk", tmp_path, outputs)
    assert not any(store.is_done(f) for f in tmp_path.glob("arms/*"))
