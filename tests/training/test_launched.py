"""Training by several processes: two of them on this machine's CPU, over loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from srlib import params, store
from srlib.data import mixtures
from srlib.errors import UserError
from srlib.experiment import evaluate
from srlib.models import loading
from srlib.training import finetune, launched, trainer
from srlib.training.finetune import Base, Recipe

ROOT = Path(__file__).parents[2]
TINY = Recipe(
    epochs=3, batch_size=4, rate=1e-2, lora_r=4, checkpoint_minutes=0, schedule="constant"
)
SHIPPED = sorted((ROOT / "params/accelerate").glob("*.yaml"))


def rows() -> list[dict]:
    return mixtures.aligned_rows(mixtures.Safety(6, 4, 6))


@pytest.fixture(scope="module")
def base(outputs, tmp_path_factory) -> Base:
    """A random Llama of two small layers, with the embedded model's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder, words = tmp_path_factory.mktemp("tiny"), loading.tokenizer("embedded", outputs)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, tie_word_embeddings=True, pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return Base(str(folder))


def train(base, profile, outputs, recipe=TINY, launch="", name="arm") -> Path:
    return finetune.train(name, base, rows(), recipe, profile, outputs, "float32", launch)


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def same_weights(one: Path, other: Path, file="adapter_model.safetensors") -> None:
    ours, theirs = load_file(one / file), load_file(other / file)
    assert set(ours) == set(theirs)
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], atol=1e-4), name


@pytest.fixture(scope="module")
def alone(base, outputs, tmp_path_factory) -> Path:
    return train(base, tmp_path_factory.mktemp("alone"), outputs)


PARENT = """
import json, sys
from pathlib import Path
from srlib.training import launched
launched.train(launched.of("cpu"), Path(sys.argv[1]), json.loads(sys.stdin.read()))
"""


def ranks(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "srlib.training.worker" in words and str(folder / "job.json") in words:
            found.append(process)
    return found


def until(true, seconds: float) -> bool:
    end = time.time() + seconds
    while not true() and time.time() < end:
        time.sleep(0.02)
    return true()


def test_two_processes_killed_and_resumed_train_what_one_does(
    alone, base, outputs, tmp_path, monkeypatch
):
    made_by = base, rows(), TINY.settings(), outputs, "float32", 2, False, True
    folder = tmp_path / "arms" / f"arm-{finetune.made_by(*made_by)}"
    folder.mkdir(parents=True)
    told = ("arm", base, rows(), TINY, folder, outputs, "float32")
    job = json.dumps(launched.job(*told, launched.of("cpu"), 0))
    parent = subprocess.Popen([sys.executable, "-c", PARENT, folder], cwd=ROOT, stdin=-1, text=True)
    parent.stdin.write(job)
    parent.stdin.close()
    assert until(lambda: list(folder.glob("checkpoints-cpu-2/*/done")), 240)
    assert len(ranks(folder)) >= 2 and parent.poll() is None
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert until(lambda: not ranks(folder), 30), "processes outlived the one that launched them"
    assert not store.is_done(folder) and not (folder / "run.json").exists()

    assert train(base, tmp_path, outputs, launch="cpu") == folder
    ours, theirs = record(folder), record(alone)
    assert (ours["processes"], ours["launcher"]) == (2, "cpu")
    assert (theirs["processes"], theirs["launcher"]) == (1, "")
    assert 0 < ours["resumed_at"] < ours["steps"] == theirs["steps"] == 12
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=2e-4)
    assert len(set(theirs["loss"])) > 6  # a curve, not a line
    same_weights(folder, alone)
    kept = {"adapter_config.json", "adapter_model.safetensors", "done", "run.json", "README.md"}
    assert {f.name for f in folder.iterdir()} == kept
    for share in finetune.PARTS:  # the adapter as it was on the way
        same_weights(finetune.part_folder(folder, share), finetune.part_folder(alone, share))

    monkeypatch.setattr(finetune, "fit", None)
    monkeypatch.setattr(launched, "train", None)
    assert train(base, tmp_path, outputs, launch="cpu") == folder  # found again
    with pytest.raises(TypeError):  # by one process it is another, and would be trained
        train(base, tmp_path, outputs)


def test_a_failing_process_is_told_in_one_line(base, outputs, tmp_path, capfd):
    wrong = replace(TINY, lora_targets=("no_such_layer",))
    with pytest.raises(UserError) as told:
        train(base, tmp_path, outputs, wrong, "cpu")
    text = str(told.value)
    assert "on 2 processes (cpu) failed: " in text and "no_such_layer" in text
    assert "run again" in text and "\n" not in text
    (log,) = tmp_path.glob("arms/*/launch.log")
    assert str(log) in text and "Traceback" in log.read_text()
    assert not list(tmp_path.glob("arms/*/done"))
    assert "Traceback" not in capfd.readouterr().err


# accelerate shards over GPUs only. This makes its processes look like a GPU's, on a CPU with gloo,
# so that what shards, trains, gathers and keeps is the real FSDP2.
SHIM = """
import os
if "LOCAL_RANK" in os.environ:
    import torch.distributed as dist
    from accelerate import state
    def gloo(self, *_args, **_more):
        if not dist.is_initialized():
            dist.init_process_group("gloo")
        return "gloo", state.DistributedType.MULTI_GPU
    state.PartialState._prepare_backend = gloo
"""


def test_an_adapter_trained_on_a_model_shared_out_is_the_same(
    alone, base, outputs, tmp_path, monkeypatch
):
    (tmp_path / "sitecustomize.py").write_text(SHIM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cpu")
    config = yaml.safe_load((ROOT / "params/accelerate/fsdp2.yaml").read_text())
    file, folder = tmp_path / "own.yaml", tmp_path / "arm"
    file.write_text(yaml.safe_dump(config | {"use_cpu": True, "num_processes": 2}))
    launch = launched.Launch("own", file, processes=2, cpu=True, sharded=True)
    told = ("arm", base, rows(), TINY, folder, outputs, "float32", launch, 0)
    launched.train(launch, folder, launched.job(*told))
    kept = [c for c in folder.glob("checkpoints-own-2/*") if store.is_done(c)]
    assert kept and all(list(c.glob("optimizer_0/*.distcp")) for c in kept)
    assert record(folder)["loss"] == pytest.approx(record(alone)["loss"], abs=2e-4)
    same_weights(folder, alone)


def test_what_failed_is_named_by_its_cause(tmp_path):
    launch, log = launched.Launch("cpu", tmp_path, 2, True, False), tmp_path / "launch.log"
    log.write_text("…\nexitcode  : -9\ntraceback : Signal 9 (SIGKILL) received by PID 7\n=====\n")
    assert "killed from outside" in launched._why(launch, "arm", {"told": "closed by peer"}, log)
    log.write_text("Traceback\nImportError: no such thing\n=====\n")
    assert "failed: ImportError: no such thing; see" in launched._why(launch, "arm", {}, log)
    mendable = {"mendable": True, "told": "rows are too long; raise max_length"}
    assert launched._why(launch, "arm", mendable, log) == mendable["told"]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda f: f.stem)
def test_the_configs_are_accelerates_own(file, monkeypatch):
    from accelerate.commands import launch as accelerates

    assert file.read_text().startswith("# ")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    found = launched.of(file.stem)
    assert found.processes == (2 if found.cpu else 4) and found.config == file
    assert found.cpu == (file.stem == "cpu") and found.sharded == (file.stem == "fsdp2")
    command = launched._command(found, Path("job.json"))[3:]
    args, _, _ = accelerates._validate_launch_command(
        accelerates.launch_command_parser().parse_args(command)
    )
    assert args.num_processes == found.processes and args.training_script == "srlib.training.worker"
    assert args.use_fsdp == found.sharded and args.multi_gpu != found.sharded
    if found.sharded:
        assert str(args.fsdp_version) == "2"


def test_what_cannot_be_launched_here_is_told_before_anything_starts(tmp_path, monkeypatch):
    assert launched.of("") is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    plain = yaml.safe_load((ROOT / "params/accelerate/cpu.yaml").read_text())
    for change, words in (
        ({"distributed_type": "DEEPSPEED"}, "asks for DEEPSPEED on 1 machine"),
        ({"num_machines": 2}, "on 2 machine"),
        ({"distributed_type": "FSDP"}, "over GPUs only; use cpu"),
        ({"num_processes": -1}, "gives no num_processes"),
        ({"use_cpu": False}, "asks for 2 GPU.*, 0 can be seen"),
        ({"colour": "red"}, "no config of accelerate.*colour"),
    ):
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(plain | change))
        with pytest.raises(UserError, match=words):
            launched.of(str(file))
    for name, words in (("dpp", "did you mean 'ddp'"), ("ddp", "0 can be seen; set train_launch")):
        with pytest.raises(UserError, match=words):
            launched.of(name)
    known = params.signature("02_long_cot_finetuning")
    told = {"outputs": str(tmp_path), "n_train": 8, "n_plain": 8, "train_launch": "cpu"}
    told |= {"train_batch": 4, "tune_batch": 4}
    values = params.check(told, known, "t")
    evaluate.preflight(values)
    for change in ({"train_batch": 3}, {"tune_batch": 5}):
        with pytest.raises(UserError, match="no multiple of 2 processes"):
            evaluate.preflight(values | change)


def test_a_batch_is_split_evenly():
    assert Recipe(batch_size=8).split(1) == (8, 1) and Recipe(batch_size=8).split(2) == (4, 1)
    assert Recipe(batch_size=32, micro_batch=2).split(4) == (2, 4)
    assert Recipe(batch_size=8, micro_batch=8).split(4) == (2, 1)  # a smaller share needs no more
    for recipe, processes in ((Recipe(batch_size=8), 3), (Recipe(batch_size=12, micro_batch=4), 2)):
        with pytest.raises(UserError, match="no multiple"):
            recipe.split(processes)


def test_the_folder_of_configs_is_no_profile():
    with pytest.raises(UserError, match="no profile") as told:
        params.profile_files("accelerate", ROOT)
    assert "accelerate" not in str(told.value).partition("known:")[2]


def test_one_process_that_sees_several_gpus_trains_on_the_first(
    base, outputs, tmp_path, monkeypatch
):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    lm = base.load(outputs, "float32")
    lm.device = "cuda"
    data = Dataset.from_list(rows())
    plain = SFTConfig(output_dir=str(tmp_path), report_to="none", bf16=False)
    assert plain.n_gpu == 4
    with pytest.raises(ValueError, match="DataParallel"):  # what is got round
        SFTTrainer(lm.model, plain, train_dataset=data, processing_class=lm.tokenizer)
    args = finetune._arguments(lm, TINY, tmp_path, "float32")
    assert args.n_gpu == 1 and args.train_batch_size == TINY.batch_size
    trainer.on(lm)(lm.model, args, train_dataset=data, processing_class=lm.tokenizer)
