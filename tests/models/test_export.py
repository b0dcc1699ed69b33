"""Arms for a server, trained for real on a tiny random Llama: one adapter, or one folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from srlib import store
from srlib.errors import UserError
from srlib.models import export
from srlib.training import finetune

ROWS = [
    {
        "prompt": [{"role": "user", "content": ask}],
        "completion": [{"role": "assistant", "content": answer}],
    }
    for ask, answer in (("A question?", "A placeholder."), ("Another one?", "No, thank you."))
]


@pytest.fixture(scope="module")
def made(outputs, lm, tmp_path_factory):
    """A profile's folder, and the aligned base, an arm of it, and one fine-tuned in full."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    here = tmp_path_factory.mktemp("export")
    config = LlamaConfig(
        vocab_size=len(lm.tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(config)
    net.generation_config.update(repetition_penalty=1.3, eos_token_id=2, do_sample=True)
    net.save_pretrained(here / "tiny")
    lm.tokenizer.save_pretrained(here / "tiny")
    plain, out = finetune.Base(str(here / "tiny")), here / "out"

    def tuned(name, base, **told):
        recipe = finetune.Recipe(rate=0.05, batch_size=2, lora_alpha=7, **told)
        arm = finetune.train(name, base, ROWS, recipe, out / "p", out, "float32")
        return finetune.tuned(base, arm, recipe)

    aligned = tuned("aligned", plain, lora_r=4)
    arm = tuned("long ×2", aligned, lora_r=3, lora_layers=0.4, lora_targets=("q_proj",))
    return out, plain, aligned, arm, tuned("whole", aligned, method="full")


def says(base, outputs):
    """The logits of a model at every token of a text."""
    lm = base.load(outputs, "float32")
    ids = lm.tokenizer("Twelve apples and seven pears are nineteen.", return_tensors="pt")
    with torch.inference_mode():
        return lm.model(**ids).logits


def test_one_adapter_does_what_two_did(made):
    out, plain, aligned, arm, _ = made
    folder = export.adapter(arm, out, out / "p")
    assert folder == out / "p/served" / arm.adapters[1].name
    one = finetune.Base(plain.model, (folder,))
    assert not torch.equal(says(arm, out), says(aligned, out))
    torch.testing.assert_close(says(one, out), says(arm, out), rtol=0, atol=1e-5)
    # vLLM wants one rank for all modules, in the config and in the tensors
    assert store.read_json(folder / "adapter_config.json")["r"] == 7
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {t.shape[0] for n, t in tensors.items() if "lora_A" in n} == {7}
    assert export.adapter(aligned, out, out / "p") == aligned.adapters[0]
    assert export.adapter(plain, out, out / "p") is None


def test_a_merged_folder_is_the_model_bit_for_bit_and_made_once(made):
    out, _, _, arm, _ = made
    folder = export.merged(arm, out, out / "p", "float32")
    assert torch.equal(says(finetune.Base(str(folder)), out), says(arm, out))
    settings = store.read_json(folder / "generation_config.json")
    assert settings["eos_token_id"] == 2 and "repetition_penalty" not in settings
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert export.merged(arm, out, out / "p", "float32") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    export.merged(arm, out, out / "p", "bfloat16")
    assert load_file(folder / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16
    export.merged(arm, out, out / "p", "float32")


def test_weights_that_a_server_should_not_serve_are_found(made, tmp_path):
    out, plain, aligned, arm, whole = made
    told = (out, out / "p")
    mine = [
        export.adapter(arm, *told),
        export.merged(arm, *told, "float32"),
        tmp_path / "elsewhere",
    ]
    for folder in mine:  # the last is not to be seen from here
        assert not export.others(folder, arm, *told)
    for folder in (export.adapter(aligned, *told), mine[1], export._source(plain.model, out)):
        assert export.others(Path(folder), whole if folder == mine[1] else arm, *told)
    assert not export.others(Path(plain.model), plain, *told)
    assert not export.others(Path(whole.model), whole, *told)


def test_the_command_line_has_every_adapter_and_a_server_for_each_whole_model(made):
    out, plain, aligned, arm, whole = made
    wanted = {"plain": plain, "aligned base": aligned, "long ×2": arm, "whole": whole}
    first, second = export.command(wanted, out, out / "p").split("; ")
    assert first.startswith(f"vllm serve {plain.model} --generation-config vllm --enable-lora")
    assert "--max-lora-rank 8 " in first
    for base in (aligned, arm):
        folder = export.adapter(base, out, out / "p").resolve()
        assert f" {base.adapters[-1].name}={folder}" in first
    assert second.endswith(f"--served-model-name {export.name(whole, out)}")


def test_an_arm_is_found_out_by_its_folder_alone(made, tmp_path):
    _, _, aligned, arm, whole = made
    for base in (aligned, arm):
        assert export.of(base.adapters[-1]) == base
    assert export.of(Path(whole.model)) == whole
    alone = tmp_path / "out/p/arms/alone"
    shutil.copytree(arm.adapters[1], alone)
    with pytest.raises(UserError, match="not beside it any more"):
        export.of(alone)
    with pytest.raises(UserError, match="no folder of a finished arm"):
        export.of(tmp_path)


def test_the_command_exports_a_profiles_arms(made):
    out, _, aligned, arm, whole = made
    folders = sorted(map(str, (out / "p/arms").iterdir()))  # as a shell's * gives them
    command = [sys.executable, "-m", "srlib", "export", *folders]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = yaml.safe_load(done.stdout)["served_as"]
    assert told == {
        "aligned base": str(export.merged(aligned, out, out / "p")),
        "long ×2": str(export.merged(arm, out, out / "p")),
        "whole": whole.model,
    }
    done = subprocess.run([*command[:4], str(out)], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
