"""What a run will cost: model sizes against published ones, shares, and what does not fit."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from srlib import params
from srlib.data import evalsets, mixtures
from srlib.errors import UserError
from srlib.experiment import arms, preflight
from srlib.models import loading, modelsize
from srlib.ops import estimate, machine, workload
from srlib.training import finetune

ROOT = Path(__file__).parents[2]
GPU = machine.Machine("1 × test", 85e9, 1e12, 312.0, 2039.0, gpu=True)
CORES = machine.Machine("2 CPU cores", 25e9, 1e11, 0.4, 17.0)  # bfloat16, as measured on such


def config(name):
    from transformers import Gemma2Config, LlamaConfig, Qwen2Config

    heads = {"num_attention_heads": 32, "num_key_value_heads": 8}
    return {
        "qwen": lambda: Qwen2Config(
            vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
            num_attention_heads=28, num_key_value_heads=4, tie_word_embeddings=False,
        ),
        "llama": lambda: LlamaConfig(
            vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
            tie_word_embeddings=False, max_position_embeddings=131072, **heads,
        ),
        "gemma": lambda: Gemma2Config(
            vocab_size=256000, hidden_size=3584, intermediate_size=14336, num_hidden_layers=42,
            num_attention_heads=16, num_key_value_heads=8, head_dim=256,
        ),
        "tiny": lambda: LlamaConfig(
            vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
        ),
    }[name]()  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    def make(name):
        place = tmp_path / name
        config(name).save_pretrained(place)
        (place / "model.safetensors").touch()  # no weights are read
        return str(place)

    return make


@pytest.mark.parametrize(
    ("name", "parameters", "cache"),  # as published; keys and values by hand
    [
        ("qwen", 7_615_616_512, 28 * 2 * 4 * 128),
        ("llama", 8_030_261_248, 32 * 2 * 8 * 128),
        ("gemma", 9_241_705_984, 42 * 2 * 8 * 256),
    ],
)
def test_sizes_of_known_models(folder, tmp_path, name, parameters, cache):
    size = modelsize.of(folder(name), tmp_path)
    assert size.parameters == parameters and size.cache == cache
    table = config(name).vocab_size * config(name).hidden_size
    assert size.computed == parameters - (0 if name == "gemma" else table)


def test_a_size_is_that_of_the_real_model():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_config(config("tiny"))
    size = modelsize.measure(net)
    assert size.parameters == sum(p.numel() for p in net.parameters())
    cache = net(torch.tensor([[1, 2, 3, 4, 5]]), use_cache=True).past_key_values
    assert size.cache * 5 == sum(c.keys.numel() + c.values.numel() for c in cache.layers)
    adapted = get_peft_model(net, LoraConfig(r=1, target_modules="all-linear"))
    assert size.linear == adapted.get_nb_trainable_parameters()[0]


def test_the_embedded_model_needs_no_unpacking(tmp_path, monkeypatch):
    monkeypatch.setenv("SRLIB_CACHE_DIR", str(tmp_path / "cache"))
    assert modelsize.of("embedded", tmp_path).parameters == 134_515_008
    assert not any((tmp_path / "cache").glob("*")) and not (tmp_path / "models").exists()


def test_a_config_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match=r"the config of model .* cannot be read"):
        modelsize.of(str(tmp_path), tmp_path)


def job(name, profile="quick", **more):
    file = params.load(ROOT / f"params/{profile}/{name}.yaml")
    known = {k: v for k, v in more.items() if k in file.values}
    values = file.values | known
    return estimate.Job(name, values, preflight.preflight(values))


@pytest.fixture(scope="module")
def quick():
    names = ("00_start_here", "01_cot_prompting", "02_long_cot_finetuning", "04_failure_modes")
    return {name[:2]: job(name) for name in names}


def test_what_the_notebooks_of_a_profile_do(quick):
    done = {name: workload.of(j.values, j.rows) for name, j in quick.items()}
    models_ = {name: len(w.asked) for name, w in done.items()}
    # 01: direct, zero-shot, a grid of 2 × 2 and the placebo; 02: two sets, each at a second amount
    assert models_ == {"00": 2, "01": 2 + 2 * 2 + 1, "02": 1 + 2 * 2, "04": 2 + 2}
    assert all(a.rows == 48 + 48 + 32 for w in done.values() for a in w.asked.values())
    assert len(done["02"].trained) == 1 + 2 * 2 and len(done["01"].trained) == 1
    assert next(iter(done["00"].trained.values())) == next(iter(done["02"].trained.values()))


def test_what_notebooks_share_is_counted_once(quick, outputs):
    rows, notes = estimate.table([quick["02"], quick["04"]], outputs, CORES)
    alone, _ = estimate.table([quick["04"]], outputs, CORES)
    assert rows[1]["models"] == 1 and alone[0]["models"] == 4  # as it comes, before its tuning
    assert rows[1]["trained"] == 0 < alone[0]["trained"] and not notes
    text = estimate.shown(rows, CORES)
    assert "together" in text and text.count("\n") == 4


def test_the_tokens_of_trainings_are_near_those_that_are_read(quick, outputs):
    values, words = quick["02"].values, loading.tokenizer("embedded", outputs)
    told = [t.tokens for t in workload.of(values, quick["02"].rows).trained.values()]
    rows = [mixtures.build(arm.mixture, []).rows for arm in arms.of(values) if arm.share == 1]
    rows.insert(0, 2 * mixtures.aligned_rows(preflight.safety_tuning(values)))  # two epochs
    recipe = arms.recipe(values, 0)
    read = [finetune.within("arm", words, some, recipe)[1]["tokens"] for some in rows]
    assert told == pytest.approx(read, rel=0.25)


def change(job_, **more):
    return job_._replace(values=job_.values | more)


def cost(job_, machine_=GPU):
    (row,), notes = estimate.table([job_], Path.cwd(), machine_)
    return row, notes


def test_more_work_costs_more(quick, folder):
    small = change(quick["02"], model=folder("qwen"), align=False, dtype="bfloat16", dose=[])
    base, _ = cost(small)
    weights = 2 * 7_615_616_512
    assert 1.2 * weights < base["memory"] < 3 * weights  # one model at a time
    for more in ({"long_new_tokens": 4096}, {"train_epochs": 9.0}, {"train_seeds": [0, 1]}):
        assert cost(change(small, **more))[0]["hours"] > 1.2 * base["hours"]
    full, notes = cost(change(small, train_method="full"))
    assert full["memory"] > 16 * 7.6e9 and full["disk"] > 2 * weights  # two arms, both whole
    assert len(notes) == 1 and "GPU memory, this machine has 85 GB" in notes[0]
    _, notes = cost(change(small, train_method="full"), replace(GPU, memory=1e12, disk=1e11))
    assert len(notes) == 1 and "on the disk, 100 GB are free" in notes[0]
    assert cost(small, replace(GPU, tflops=31.2, bandwidth=203.9))[0]["hours"] == pytest.approx(
        10 * base["hours"]
    )


def test_a_config_out_of_reach_leaves_the_rest(quick, tmp_path, monkeypatch):
    def unreachable(*_):
        raise UserError("model 'x/y' cannot be reached")

    monkeypatch.setattr(loading, "resolve", unreachable)
    row, notes = cost(quick["02"])
    assert row["rows"] == 5 * 128 and row["trained"] > 0 and row["memory"] is None
    assert len(notes) == 1 and "not known: model 'x/y' cannot be reached" in notes[0]
    assert "?" in estimate.shown([row], GPU)


def test_judges_here_and_behind_servers(quick, folder):
    asked = change(quick["04"], model=folder("qwen"), align=False, dtype="bfloat16", batch_size=4)
    plain, _ = cost(asked)
    here, _ = cost(change(asked, judges={"rubric": folder("gemma")}))
    assert here["memory"] > plain["memory"] and here["hours"] > plain["hours"]
    judge = 2 * 9_241_705_984
    assert judge < here["disk"] - plain["disk"] < 1.1 * judge  # its weights, and its verdicts
    twice = [change(asked, judges={"rubric": folder("gemma")})] * 2
    rows, _ = estimate.table(twice, Path.cwd(), GPU)
    assert rows[1]["disk"] < rows[0]["disk"] - judge  # fetched once
    served = change(asked, judges={"rubric": "x/y"}, judge_address="http://127.0.0.1:9/v1")
    row, notes = cost(served)
    assert row["hours"] == plain["hours"] and f"{3 * 3 * 48:,} requests" in notes[0]


DPO = {"dpo_rows": 8, "dpo_benign": 2, "dpo_epochs": 1.0, "dpo_batch_size": 2}
DPO |= {"dpo_micro_batch": 0}
GRPO = {"grpo_rows": 4, "grpo_benign": 2, "grpo_reasoning": 4, "grpo_epochs": 1.0}
GRPO |= {"grpo_num_generations": 4, "grpo_max_new_tokens": 64, "grpo_batch_size": 8}
GRPO |= {"grpo_micro_batch": 0}


def test_notebook_05_with_preferences_and_rewards():
    plain = job("05_mitigations", "study", dpo_rows=0, grpo_rows=0)
    before = workload.of(plain.values, plain.rows)
    # base, arm, three forms, prompt in tuning (twice), seven of words, Safe LoRA, RESTA twice, IRR
    assert len(before.asked) == 1 + 1 + 3 + 2 + 7 + 1 + 2 + 1
    after = workload.of(plain.values | DPO | GRPO, plain.rows)
    assert len(after.trained) == len(before.trained) + 2
    assert len(after.asked) == len(before.asked) + 3  # two arms, and GRPO's own completions
    assert max(a.rows for a in before.asked.values()) == 96 + 96 + 64
    assert next(a for a in after.asked.values() if a.rows == 40).room == 64


def test_a_batch_that_memory_decides(quick, folder):
    asked = change(quick["02"], model=folder("llama"), align=False, dtype="bfloat16", batch_size=0)
    large, _ = cost(change(asked, long_new_tokens=8192))
    small, _ = cost(change(asked, long_new_tokens=8192), replace(GPU, memory=45e9))
    assert small["memory"] < 45e9 < large["memory"] < 85e9 and small["hours"] > large["hours"]


def test_this_machine_is_measured(tmp_path):
    found = machine.here(tmp_path, "float32")
    assert found.memory > 1e9 and found.disk > 0 and found.tflops > 0 and found.bandwidth > 0
    other = machine.here(tmp_path, "float32", tflops=100.0)
    assert (other.tflops, other.bandwidth) == (100.0, 500.0) and other.memory == found.memory
    with pytest.raises(UserError, match="below 0"):
        machine.here(tmp_path, "float32", tflops=-1.0)


def test_a_gpu_that_is_not_here(tmp_path, folder):
    card = machine.here(tmp_path, "float32", 312.0, 2039.0, gpu_memory=80.0)
    assert (card.memory, card.gpu, card.name) == (80e9, True, "one GPU of 80 GB")
    assert card.disk == math.inf  # nor is its disk
    assert card.dtype("auto") == "bfloat16" and card.dtype("float32") == "float32"
    assert machine.here(tmp_path, "float32", 1.0).dtype("auto") == loading.pick_dtype("auto")
    with pytest.raises(UserError, match="--tflops"):
        machine.here(tmp_path, "float32", gpu_memory=80.0)
    asked = change(job("00_start_here"), model=folder("qwen"), align=False, dtype="auto")
    whole = cost(change(asked, dtype="float32"), card)[0]["memory"]
    assert cost(asked, card)[0]["memory"] < 0.6 * whole


FAMILIES = {"gpu": ["gpu", "gpu-llama", "gpu-mistral"]}
FAMILIES |= {"paper": ["paper", "paper-qwen", "paper-mistral"]}


@pytest.mark.parametrize("profile", [*FAMILIES["gpu"], *FAMILIES["paper"], "gpu-small"])
def test_a_real_profile_is_whole_and_says_what_it_needs(profile):
    files = [params.load(f) for f in params.profile_files(profile, ROOT)]
    names = {f.notebook.stem for f in files}
    assert {f"0{i}" for i in range(7)} <= {name[:2] for name in names}
    for file in files:
        assert file.values["profile"] == profile
        if file.notebook.stem == "06_verdicts":
            continue
        assert "GPU" in file.header.hardware and "GB disk" in file.header.hardware
        assert file.values["n_reasoning"] == 1319  # GSM8K whole
        kinds = {k: file.values[f"{k}_data"] for k in evalsets.KINDS}
        assert kinds["harmful"] in ("advbench", "strongreject") and kinds["benign"] == "xstest"
        assert file.notebook.stem[:2] != "04" or "rubric" in file.values["judges"]


@pytest.mark.parametrize("kind", [*FAMILIES])
def test_families_are_asked_the_same(kind):
    first, *others = (
        {f.stem: params.load(f).values for f in params.profile_files(name, ROOT)}
        for name in FAMILIES[kind]
    )
    assert len({values["02_long_cot_finetuning"]["model"] for values in (first, *others)}) == 3
    own = ("profile", "model", "unaligned_model", "batch_size", "ptst")
    for other in others:
        for notebook, values in other.items():
            for key in values:
                assert key in own or values[key] == first[notebook][key], (notebook, key)
