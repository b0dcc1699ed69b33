"""Arms that share one set of weights say what each would say if it were loaded by itself."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model

from srlib.errors import UserError
from srlib.models import loading, resident

IDS = torch.tensor([[1, 2, 3, 4]])


@pytest.fixture(scope="module")
def adapters(outputs, tmp_path_factory):
    """Three LoRA adapters of the embedded model; the last also brings a norm's own weights."""
    made = []
    for seed, (r, targets, more) in enumerate(
        ((2, ["q_proj"], None), (4, ["q_proj", "down_proj"], None), (2, ["v_proj"], ["norm"]))
    ):
        torch.manual_seed(seed)
        lm = loading.load("embedded", outputs, "float32")
        config = LoraConfig(r=r, target_modules=targets, modules_to_save=more)
        tuned = get_peft_model(lm.model, config)
        for name, weight in tuned.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                torch.nn.init.normal_(weight, std=0.1)
        made.append(tmp_path_factory.mktemp("adapter"))
        tuned.save_pretrained(made[-1])
    return made


@pytest.fixture(autouse=True)
def loads(monkeypatch):
    """How often a model was loaded; nothing is in memory before and after a test."""
    usual, counted = loading.load, []

    def load(*told, **more):
        counted.append(told)
        return usual(*told, **more)

    monkeypatch.setattr(loading, "load", load)
    resident.let_go()
    yield counted
    resident.let_go()


def said(lm):
    with torch.inference_mode():
        return lm.model(IDS).logits


def test_arms_in_any_order_are_those_loaded_alone(adapters, outputs, loads, lm):
    one, two, _ = adapters
    chains = [(), (one,), (two,), (one, two)]
    alone = [loading.load("embedded", outputs, "float32", chain) for chain in chains]
    loads.clear()
    lent = [resident.lend("embedded", outputs, "float32", chain, "x") for chain in chains]
    for i in (3, 0, 2, 1, 3, 1):
        assert torch.equal(said(lent[i]), said(alone[i]))
        assert lent[i].fingerprint == alone[i].fingerprint and lent[i].mark == alone[i].mark
    assert len(loads) == 1 and lent[1].name == "x" and lent[0].window == lm.window
    assert not torch.equal(said(lent[1]), said(lent[2]))


def test_what_cannot_be_taken_out_is_loaded_anew(adapters, outputs, loads):
    one, _, whole = adapters
    lent = [resident.lend("embedded", outputs, "float32", c) for c in ((whole,), (whole, one))]
    assert len(loads) == 1  # the second builds on the first
    base = resident.lend("embedded", outputs, "float32")
    assert len(loads) == 2
    alone = loading.load("embedded", outputs, "float32")
    assert torch.equal(said(base), said(alone))
    assert not torch.equal(said(lent[0]), said(alone))


def test_what_was_let_go_comes_back(adapters, outputs, loads):
    lent = resident.lend("embedded", outputs, "float32", (adapters[0],))
    before = said(lent)
    resident.let_go()
    assert torch.equal(said(lent), before) and len(loads) == 2
    other = resident.lend("embedded", outputs, "bfloat16")
    assert other.model.dtype == torch.bfloat16 and torch.equal(said(lent), before)


def test_an_adapter_that_does_not_fit_is_an_error_at_once(adapters, outputs, tmp_path):
    base = resident.lend("embedded", outputs, "float32")
    before = said(base)
    for file in adapters[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    made_for = {"base": {"fingerprint": "of another"}}
    (tmp_path / "run.json").write_text(json.dumps(made_for))
    with pytest.raises(UserError, match="made for another base model"):
        resident.lend("embedded", outputs, "float32", (tmp_path,))
    (tmp_path / "run.json").unlink()
    (tmp_path / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="is damaged"):
        resident.lend("embedded", outputs, "float32", (tmp_path,))
    assert torch.equal(said(base), before)
