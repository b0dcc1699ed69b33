"""Weight-space mitigations on a tiny random Llama, against dense formulas written out in numpy."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from srlib import store
from srlib.base import kept
from srlib.errors import UserError
from srlib.mitigations import edits, irr, weights
from srlib.models import deltas, loading
from srlib.training.finetune import Base

TOP = "model.layers.2."
NAMES = ("q_proj", "o_proj", "gate_proj", "down_proj")
ROWS = [
    {
        "prompt": [{"role": "user", "content": ask}],
        "completion": [{"role": "assistant", "content": answer}],
    }
    for ask, answer in (("A question?", "A placeholder."), ("Another one?", "No, thank you."))
]


@dataclass
class Models:
    """The tiny models: adapters A and B on `before`, and the same with more as whole models."""

    outputs: Path
    before: Base
    aligned: Base
    arm: Base
    full_aligned: Base
    full_arm: Base


def _adapter(model: Path, folder: Path, base: Base, outputs: Path, seed: int, **config) -> Path:
    """A LoRA adapter of random factors, with the run.json that an arm has."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    net = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(**config))
    draw = torch.Generator().manual_seed(seed)
    for name, weight in net.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=draw) / 8
    net.save_pretrained(folder)
    store.write_json(folder / "run.json", {"base": {"fingerprint": base.fingerprint(outputs)}})
    return folder


@pytest.fixture(scope="module")
def tiny(outputs, lm, tmp_path_factory) -> Models:
    from transformers import AutoModelForCausalLM, LlamaConfig

    here = tmp_path_factory.mktemp("tiny")
    config = LlamaConfig(
        vocab_size=len(lm.tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(config)
    net.save_pretrained(here / "before")
    words = loading.tokenizer("embedded", outputs)
    words.save_pretrained(here / "before")
    before = Base(str(here / "before"))
    a = _adapter(
        here / "before", here / "A", before, outputs, 1,
        r=4, lora_alpha=7, target_modules=list(NAMES), rank_pattern={"q_proj": 2},
    )  # fmt: skip
    aligned = Base(before.model, (a,))
    b = _adapter(
        here / "before", here / "B", aligned, outputs, 2, r=3, lora_alpha=5, use_rslora=True,
        target_modules=["q_proj", "down_proj", "v_proj"], layers_to_transform=[1, 2],
    )  # fmt: skip
    arm = Base(before.model, (a, b))
    for name, base in (("full_aligned", aligned), ("full_arm", arm)):
        whole = base.load(outputs, "float32").model
        whole.model.norm.weight.data += 0.5  # full fine-tuning moves norms and embeddings too
        whole.model.embed_tokens.weight.data += 0.01 if name == "full_arm" else 0.0
        whole.save_pretrained(here / name, max_shard_size="200KB")
        words.save_pretrained(here / name)
    full = (Base(str(here / name)) for name in ("full_aligned", "full_arm"))
    return Models(outputs, before, aligned, arm, *full)


def dense(base: Base, outputs: Path) -> dict[str, np.ndarray]:
    """A Base's weights as transformers and PEFT load and merge them."""
    state = base.load(outputs, "float32").model.state_dict()
    return {name: weight.double().numpy() for name, weight in state.items()}


def lora(adapter: Path, name: str) -> np.ndarray | None:
    """scaling · B · A out of an adapter's files, without PEFT."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    state = load_file(adapter / "adapter_model.safetensors")
    key = f"base_model.model.{name.removesuffix('.weight')}.lora_"
    if f"{key}A.weight" not in state:
        return None
    a, b = (state[f"{key}{k}.weight"].double().numpy() for k in "AB")
    alpha = config["lora_alpha"]
    return b @ a * (alpha / len(a) ** (0.5 if config["use_rslora"] else 1))


def near(found, wanted, scale=1.0):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * scale)


def projection(v: np.ndarray, w: np.ndarray) -> np.ndarray:
    return (v @ v.T / np.sqrt((v**2).sum())) @ w


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())


def three(tiny: Models, full: bool = False) -> tuple[Base, Base, Base]:
    return (tiny.full_aligned, tiny.before, tiny.full_arm) if full else (
        tiny.aligned, tiny.before, tiny.arm,
    )  # fmt: skip


def update_of(name: str) -> bool:
    return name.startswith(("model.layers.1.", TOP)) and any(
        f"{part}.weight" in name for part in ("q_proj", "down_proj", "v_proj")
    )


def test_differences_are_what_the_adapters_files_say(tiny):
    aligned, before, arm = (deltas.Weights(b, tiny.outputs) for b in three(tiny))
    assert len(deltas.changed(aligned, before)) == 12 and len(deltas.changed(arm, aligned)) == 6
    a, b = tiny.arm.adapters
    for name in deltas.changed(aligned, before):
        near(deltas.difference(aligned, before, name), lora(a, name))
    for name in deltas.changed(arm, aligned):
        near(deltas.difference(arm, aligned, name), lora(b, name))
        near(arm[name], dense(tiny.arm, tiny.outputs)[name])
    assert not deltas.difference(arm, aligned, "model.layers.0.mlp.down_proj.weight").any()


@pytest.mark.parametrize(("mode", "value"), [("threshold", 0.27), ("number", 3)])
def test_safe_lora_is_the_dense_projection(tiny, tmp_path, mode, value):
    mended, table = weights.safe_lora(*three(tiny), mode, value, tiny.outputs, tmp_path)
    base, found = dense(tiny.aligned, tiny.outputs), dense(mended, tiny.outputs)
    a, b = tiny.arm.adapters
    names = [name for name in base if lora(b, name) is not None]
    v = {name: lora(a, name) for name in names}
    w = {name: lora(b, name) for name in names}
    similar = {
        n: alike(projection(v[n], w[n]), w[n]) if v[n] is not None else np.nan for n in names
    }
    order = sorted((s, n) for n, s in similar.items() if not np.isnan(s))
    chosen = [n for i, (s, n) in enumerate(order) if (s if mode == "threshold" else i) < value]
    assert 0 < len(chosen) < len(order) == 4 and len(names) == 6  # v_proj has no safety vector
    for name in base:
        change = 0.0
        if name in names:
            change = projection(v[name], w[name]) if name in chosen else w[name]
        near(found[name], base[name] + change)
    table = table.set_index("module")
    assert set(table.index[table["projected"]]) == {n.removesuffix(".weight") for n in chosen}
    for name in names:
        near(table["similarity"][name.removesuffix(".weight")], similar[name])
    assert mended.adapters[:1] == tiny.aligned.adapters and mended.model == tiny.before.model
    rank = {
        k: v.shape for k, v in load_file(mended.adapters[1] / "adapter_model.safetensors").items()
    }
    assert rank == {k: v.shape for k, v in load_file(b / "adapter_model.safetensors").items()}


def test_safe_lora_of_two_adapters_and_of_whole_models(tiny, tmp_path):
    b = tiny.arm.adapters[1]
    c = _adapter(
        Path(tiny.before.model), tmp_path / "C", tiny.arm, tiny.outputs, 3,
        r=2, lora_alpha=4, target_modules=["q_proj"], layers_to_transform=[0],
    )  # fmt: skip
    longer = Base(tiny.arm.model, (*tiny.arm.adapters, c))
    args = ("threshold", 1.0, tiny.outputs, tmp_path)
    mended, table = weights.safe_lora(tiny.aligned, tiny.before, longer, *args)
    base, found = dense(tiny.aligned, tiny.outputs), dense(mended, tiny.outputs)
    assert len(table) == 7 and table["projected"].sum() == 5 and len(mended.adapters) == 2
    for name in base:
        v, w = lora(tiny.aligned.adapters[0], name), [lora(x, name) for x in (b, c)]
        w = sum(x for x in w if x is not None)
        near(found[name], base[name] + (projection(v, w) if v is not None and np.any(w) else w))

    mended, table = weights.safe_lora(*three(tiny, full=True), *args)
    assert not mended.adapters and "model.embed_tokens" not in set(table["module"])
    base, arm, found = (dense(x, tiny.outputs) for x in (tiny.full_aligned, tiny.full_arm, mended))
    before = dense(tiny.before, tiny.outputs)
    for name in base:
        v, w = base[name] - before[name], arm[name] - base[name]
        linear = "_proj" in name and np.any(v) and np.any(w)
        near(found[name], base[name] + projection(v, w) if linear else arm[name])


def test_resta_adds_the_safety_vector(tiny, tmp_path):
    arm = dense(tiny.arm, tiny.outputs)
    for gamma in (0.0, 1.0, 0.25):
        mended, table = weights.resta(*three(tiny), gamma, 0.0, 0, tiny.outputs, tmp_path)
        found = dense(mended, tiny.outputs)
        assert len(mended.adapters) == 2 and len(table) == 12
        for name, weight in arm.items():
            v = lora(tiny.aligned.adapters[0], name)
            near(found[name], weight + (0.0 if v is None else gamma * v))
    row = table.set_index("module").loc["model.layers.2.self_attn.q_proj"]
    v, w = (lora(x, "model.layers.2.self_attn.q_proj.weight") for x in tiny.arm.adapters)
    near(row["cosine"], alike(v, w))
    near(row["added_norm"], 0.25 * np.linalg.norm(v))


def test_resta_of_whole_models_moves_every_tensor(tiny, tmp_path):
    before, aligned, arm = (
        dense(b, tiny.outputs) for b in (tiny.before, tiny.full_aligned, tiny.full_arm)
    )
    mended, table = weights.resta(*three(tiny, full=True), 0.5, 0.0, 0, tiny.outputs, tmp_path)
    found = dense(mended, tiny.outputs)
    assert not mended.adapters and len(table) == len(set(table["module"])) == len(found) - 1  # tied
    for name in found:
        near(found[name], arm[name] + 0.5 * (aligned[name] - before[name]))
    files = {p.name for p in Path(mended.model).iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "run.json", "done"} <= files
    # An arm that is a LoRA adapter of a whole aligned model, with the unaligned one beside it.
    lora_arm = _adapter(
        Path(tiny.full_aligned.model), tmp_path / "D", tiny.full_aligned, tiny.outputs, 5,
        r=2, target_modules=["q_proj"],
    )  # fmt: skip
    mixed = (tiny.full_aligned, tiny.before, Base(tiny.full_aligned.model, (lora_arm,)))
    mended, _ = weights.resta(*mixed, 1.0, 0.0, 0, tiny.outputs, tmp_path)
    found, arm = dense(mended, tiny.outputs), dense(mixed[2], tiny.outputs)
    for name in found:
        near(found[name], arm[name] + aligned[name] - before[name])
    mended, _ = weights.safe_lora(*mixed, "number", 2, tiny.outputs, tmp_path)
    assert mended.adapters and mended.model == tiny.full_aligned.model


def test_dare_keeps_the_expectation_and_the_seed(tiny, tmp_path):
    def run(seed, where):
        mended, _ = weights.resta(*three(tiny), 0.5, 0.6, seed, tiny.outputs, tmp_path / where)
        assert not mended.adapters
        return dense(mended, tiny.outputs)

    arm, name = dense(tiny.arm, tiny.outputs), "model.layers.0.mlp.down_proj.weight"
    one, same = run(1, "one"), run(1, "same")
    assert all(np.array_equal(one[n], same[n]) for n in one)
    v = lora(tiny.aligned.adapters[0], name)
    masks = []
    for seed in range(1, 5):
        added = run(seed, "one")[name] - arm[name]
        kept = abs(added) > 1e-6
        near(added[kept], (0.5 * v / 0.4)[kept])  # rescaled by 1/(1 − p)
        masks.append(kept)
    assert not np.array_equal(masks[0], masks[1])
    assert np.mean(masks) == pytest.approx(0.4, abs=4 * np.sqrt(0.24 / np.size(masks)))


def test_fisher_is_the_mean_squared_gradient(tiny):
    name, other = (f"{TOP}mlp.{part}_proj.weight" for part in ("up", "down"))
    lm = tiny.aligned.load(tiny.outputs, "float32")
    lm.model.double()
    found = irr.fisher(lm, ROWS, [name, other])
    assert set(found) == {name, other} and found[name].dtype == torch.float32

    def loss(row) -> torch.Tensor:
        chat = lm.tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
        start = lm.tokenizer.apply_chat_template(
            row["prompt"], tokenize=False, add_generation_prompt=True
        )
        assert chat.startswith(start)
        ids = torch.tensor([lm.tokenizer(chat)["input_ids"]])
        n = len(lm.tokenizer(start)["input_ids"])
        logs = lm.model(ids).logits[0, :-1].log_softmax(-1)
        return -logs.gather(1, ids[0, 1:, None])[n - 1 :].mean()

    weight, squares = lm.model.get_parameter(name), []
    entry = divmod(found[name].argmax().item(), weight.shape[1])
    for row in ROWS:
        ends = []
        for step in (1e-2, -1e-2):
            with torch.no_grad():
                weight[entry] += step
                ends.append(loss(row).item())
                weight[entry] -= step
        squares.append(((ends[0] - ends[1]) / 2e-2) ** 2)
    assert found[name][entry].item() == pytest.approx(np.mean(squares), rel=1e-3)
    weight.requires_grad_(True)
    grads = [torch.autograd.grad(loss(row), weight)[0] for row in ROWS]
    near(found[name], np.mean([g.numpy() ** 2 for g in grads], axis=0), found[name].max().item())


def test_unsafe_takes_opposite_signs_with_the_largest_score():
    draw = np.random.default_rng(0)
    update, safety, score = (draw.normal(size=(9, 7)).astype("float32") for _ in range(3))
    update[0, 0], safety[0, 1], safety[1] = 0.0, 0.0, 1e-30 * safety[1]
    score = score**2
    against = np.sign(update) * np.sign(safety) == -1
    for share in (0.1, 0.5, 1.0):
        bad = irr.unsafe(*map(torch.tensor, (update, safety, score)), share).numpy()
        assert not (bad & ~against).any() and bad.sum() == round(share * against.sum())
        assert share == 1 or score[bad].min() >= score[against & ~bad].max()


def test_recalibration_is_optimal_brain_surgeon(monkeypatch):
    draw = np.random.default_rng(1)
    update, inputs = (
        draw.normal(size=(5, 12)),
        draw.normal(size=(40, 12)) @ draw.normal(size=(12, 12)),
    )
    removed, hessian = draw.random((5, 12)) < 0.3, inputs.T @ inputs
    damped = hessian + irr.DAMP * np.diag(hessian).mean() * np.eye(12)
    wanted = update.copy()
    for row, gone in zip(wanted, removed, strict=True):
        for j in np.flatnonzero(gone):  # from here on all may move, what lies left is settled
            inverse = np.linalg.inv(damped[j:, j:])
            row[j:] -= row[j] / inverse[0, 0] * inverse[0]
    monkeypatch.setattr(irr, "BLOCK", 5)
    tensors = torch.tensor(update), torch.tensor(removed), torch.tensor(hessian)
    found = irr.recalibrate(*tensors).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    assert not found[removed].any()
    zeroed = np.where(removed, 0, update)
    assert np.linalg.norm((found - update) @ inputs.T) < np.linalg.norm(
        (zeroed - update) @ inputs.T
    )


@pytest.mark.parametrize("full", [False, True])
def test_irr_removes_and_recalibrates(tiny, tmp_path, full):
    bases, share = three(tiny, full), 0.4
    aligned, before, arm = (dense(b, tiny.outputs) for b in bases)
    names = [n for n in arm if (("_proj" in n) if full else update_of(n))]
    lm = bases[0].load(tiny.outputs, "float32")
    scores = irr.fisher(lm, ROWS, names)
    removed, table = weights.irr(*bases, ROWS, share, tiny.outputs, tmp_path, "float32")
    mended, _ = weights.irr(
        *bases, ROWS, share, tiny.outputs, tmp_path, "float32", task_rows=ROWS[:1]
    )
    assert len(table) == len(names) and not removed.adapters and not table["recalibrated"].any()
    plain, fixed = dense(removed, tiny.outputs), dense(mended, tiny.outputs)
    moved = 0
    for name in arm:
        if name not in names:
            near(plain[name], arm[name])
            near(fixed[name], arm[name])
            continue
        w, v = arm[name] - aligned[name], aligned[name] - before[name]
        if not full:  # exact, where the difference of merged weights has rounding of its own
            w, v = lora(tiny.arm.adapters[1], name), lora(tiny.aligned.adapters[0], name)
            v = np.zeros_like(w) if v is None else v
        against, score = w * v < 0, scores[name].double().numpy()
        count = round(share * against.sum())
        least = np.sort(score[against])[-count] if count else np.inf
        gone = against & (score >= least)
        near(plain[name], aligned[name] + np.where(gone, 0, w))
        near(fixed[name][gone], aligned[name][gone])
        moved += (abs(fixed[name] - plain[name]) > 1e-6).sum()
    assert moved > 0


def test_grams_are_the_products_of_a_modules_inputs(tiny, monkeypatch):
    lm, name = tiny.arm.load(tiny.outputs, "float32"), f"{TOP}self_attn.q_proj.weight"
    states = []
    lm.model.model.layers[2].input_layernorm.register_forward_hook(
        lambda *args: states.append(args[2][0].double())
    )
    found = irr.grams(lm, ROWS, [name])[name]
    x = torch.cat(states).numpy()
    near(found, x.T @ x, len(x))
    # In as many passes as memory asks for, they are the same.
    arm = deltas.Weights(tiny.arm, tiny.outputs)
    names, passes = [n for n in arm.files if update_of(n)], []
    monkeypatch.setattr(irr, "HELD", 48**2)
    whole, usual = irr.grams(lm, ROWS, names), irr.grams
    monkeypatch.setattr(irr, "grams", lambda *args: passes.append(args[2]) or usual(*args))
    of = irr._hessians(arm, ROWS, names, "float32")
    assert all(torch.equal(of(n), whole[n]) for n in names)
    assert len(passes) > 1 and [n for some in passes for n in some] == names


def test_made_once_and_found_again(tiny, tmp_path, monkeypatch):
    args = (*three(tiny), "number", 2, tiny.outputs, tmp_path)
    mended, table = weights.safe_lora(*args)
    folder = mended.adapters[1]
    record = json.loads((folder / "run.json").read_text())
    assert record["base"]["fingerprint"] == tiny.aligned.fingerprint(tiny.outputs)
    assert record["settings"] == {"mode": "number", "value": 2.0} and record["modules"] == 6
    assert store.is_done(folder) and not [*folder.rglob("*.bin"), *folder.rglob("*.pt")]
    stamps = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(edits, "Weights", None)  # nothing is read
        again, same = weights.safe_lora(*args)
    assert again == mended and same.equals(table)
    assert stamps == {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert weights.safe_lora(*args[:4], 3, *args[5:])[0] != mended
    usual = kept.version
    monkeypatch.setattr(kept, "version", lambda name: usual(name) + ("1" if name == "peft" else ""))
    assert weights.safe_lora(*args)[0] != mended  # another library computes it
    monkeypatch.undo()
    template = Path(tiny.before.model) / "chat_template.jinja"
    text = template.read_text()
    template.write_text(text + " ")
    assert weights.safe_lora(*args)[0] != mended
    template.write_text(text)
    assert weights.safe_lora(*args)[0] == mended
    loaded = mended.load(tiny.outputs, "float32", "mended")
    assert loaded.fingerprint == mended.fingerprint(tiny.outputs)
    with pytest.raises(UserError, match="made for another base model"):
        Base(tiny.before.model, (folder,)).load(tiny.outputs, "float32")


def test_a_killed_write_leaves_no_marker_and_is_made_again(tiny, tmp_path, monkeypatch):
    args = (*three(tiny), 1.0, 0.5, 0, tiny.outputs, tmp_path)

    class KilledError(BaseException):
        pass

    def killed(part, file, metadata):
        save_file(part, file, metadata)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", killed)
        with pytest.raises(KilledError):
            weights.resta(*args)
    (folder,) = (p for p in tmp_path.glob("arms/*") if p.is_dir())
    assert (folder / "model.safetensors").exists() and not store.is_done(folder)
    (folder / "left.safetensors").write_bytes(b"half")
    mended, _ = weights.resta(*args)
    assert Path(mended.model) == folder and store.is_done(folder)
    assert [p.name for p in folder.glob("*.safetensors")] == ["model.safetensors"]
    mended.load(tiny.outputs, "float32")


def test_a_large_model_is_written_in_parts(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(deltas, "SHARD", 50_000)
    args = (0.5, 0.5, 0, tiny.outputs)
    parts, table = weights.resta(*three(tiny), *args, tmp_path / "parts")
    monkeypatch.undo()
    whole, same = weights.resta(*three(tiny), *args, tmp_path / "whole")
    assert len(list(Path(parts.model).glob("*.safetensors"))) > 2
    one, other = dense(parts, tiny.outputs), dense(whole, tiny.outputs)
    assert set(one) == set(other) and all(np.array_equal(one[n], other[n]) for n in one)
    assert table.equals(same)


def test_bfloat16_files_stay_bfloat16(tiny, tmp_path):
    half = {}
    for name in ("before", "full_aligned", "full_arm"):
        lm = getattr(tiny, name).load(tiny.outputs, "bfloat16")
        lm.model.save_pretrained(tmp_path / name)
        lm.tokenizer.save_pretrained(tmp_path / name)
        half[name] = Base(str(tmp_path / name))
    bases = half["full_aligned"], half["before"], half["full_arm"]
    mended, _ = weights.resta(*bases, 1.0, 0.0, 0, tiny.outputs, tmp_path)
    state = load_file(Path(mended.model) / "model.safetensors")
    assert {t.dtype for t in state.values()} == {torch.bfloat16}
    aligned, before, arm = (b.load(tiny.outputs, "float32").model.state_dict() for b in bases)
    for name, weight in state.items():
        wanted = arm[name] + aligned[name] - before[name]
        assert torch.equal(weight, wanted.bfloat16())


def test_wrong_settings_are_told(tiny, tmp_path):
    rest, bases = (tiny.outputs, tmp_path), three(tiny)
    for mode, value, told in (
        ("share", 0.5, "use threshold or number"), ("threshold", 1.5, r"in \[0, 1\]"),
        ("threshold", -0.1, r"in \[0, 1\]"), ("threshold", float("nan"), r"in \[0, 1\]"),
        ("number", 0, "whole number from 1"), ("number", 1.5, "whole number from 1"),
        ("number", 5, "there are 4"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=told):
            weights.safe_lora(*bases, mode, value, *rest)
    for gamma, drop, told in ((-1, 0, "gamma"), (1, 1, "drop"), (1, -0.1, "drop")):
        with pytest.raises(UserError, match=f"RESTA's {told}"):
            weights.resta(*bases, gamma, drop, 0, *rest)
    for rows, share, told in (
        ([], 0.5, "no safety rows"),
        (ROWS, 0, "share"),
        (ROWS, 1.1, "share"),
    ):
        with pytest.raises(UserError, match=told):
            weights.irr(*bases, rows, share, *rest, "float32")
    assert not any(store.is_done(p) for p in tmp_path.glob("arms/*"))


def test_models_that_do_not_belong_together_are_told(tiny, tmp_path, outputs):
    from transformers import AutoModelForCausalLM, LlamaConfig

    aligned, before, arm = three(tiny)
    rest = (0.5, 0.0, 0, tiny.outputs, tmp_path)
    with pytest.raises(UserError, match="set `unaligned_model` to the model before"):
        weights.resta(aligned, aligned, arm, *rest)
    with pytest.raises(UserError, match="arm has the aligned model's own weights"):
        weights.resta(aligned, before, aligned, *rest)
    # The same weights in other files: the fingerprints differ, the safety vector is zero.
    twin = shutil.copytree(before.model, tmp_path / "twin")
    (twin / "config.json").write_text((twin / "config.json").read_text() + "\n")
    with pytest.raises(UserError, match="does the `unaligned_model` differ"):
        weights.resta(Base(str(twin)), before, tiny.full_arm, *rest)
    with pytest.raises(UserError, match="`unaligned_model` differ"):
        weights.irr(Base(str(twin)), before, tiny.full_arm, ROWS, 0.5, *rest[3:], "float32")
    assert not any(p.is_dir() for p in tmp_path.glob("arms/*"))
    config = LlamaConfig.from_pretrained(before.model, hidden_size=16)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "narrow")
    config = LlamaConfig.from_pretrained(before.model, num_hidden_layers=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "low")
    for name in ("narrow", "low"):
        other = Base(str(tmp_path / name))
        for method, settings in (
            (weights.resta, rest), (weights.safe_lora, ("number", 1, *rest[3:])),
            (weights.irr, (ROWS, 0.5, *rest[3:], "float32")),
        ):  # fmt: skip
            with pytest.raises(UserError, match="not two states of one model"):
                method(aligned, other, arm, *settings)
    # Adapters of other bases: by their record, by their shapes, by the names of their layers.
    with pytest.raises(UserError, match="made for another base model"):
        weights.resta(before, aligned, Base(before.model, arm.adapters[1:]), *rest)
    stray = shutil.copytree(arm.adapters[0], tmp_path / "stray")
    (stray / "run.json").unlink()
    for name in ("narrow", "low"):
        other = Base(str(tmp_path / name), (stray,))
        with pytest.raises(UserError, match="made for another base model"):
            weights.resta(other, before, arm, *rest)
    state = load_file(stray / "adapter_model.safetensors")
    extra = {"base_model.model.lm_head.weight": torch.zeros(2, 2)}
    save_file(state | extra, stray / "adapter_model.safetensors")
    with pytest.raises(UserError, match="more than LoRA matrices"):
        weights.resta(Base(before.model, (stray,)), before, arm, *rest)
    (stray / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="is damaged"):
        weights.resta(Base(before.model, (stray,)), before, arm, *rest)
