"""Our tokens are those of plain `generate`, one prompt at a time: 64 prompts, two models."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from srlib.data import evalsets
from srlib.generation import decoding, engine, prompts
from srlib.generation.asking import Request, Settings
from srlib.generation.engine import complete
from srlib.models import loading

SETTINGS = Settings(max_new_tokens=3)
DIRECT = 56  # of 64 prompts; the others have a demonstration


def requests() -> list[Request]:
    """64 prompts of many lengths, those that are asked directly first."""
    kinds = (("wordproblems", "reasoning"), ("harmful", "harmful"), ("lookalikes", "benign"))
    rows = [
        row for some in zip(*(evalsets.load(*k, 22) for k in kinds), strict=True) for row in some
    ]
    styles = [prompts.direct()] * DIRECT + [prompts.few_shot(1)] * (64 - DIRECT)
    pairs = zip(rows, styles, strict=False)
    return [Request(r.id, r.data, prompts.messages(r.prompt, style)) for r, style in pairs]


@pytest.fixture(scope="module", params=["base", "fine-tuned"])
def told(request, lm, outputs, tmp_path_factory):
    """A model, the prompts' token ids, and what plain `generate` says to each of them."""
    net = lm if request.param == "base" else merged(outputs, tmp_path_factory.mktemp("adapter"))
    ids = engine._tokenize(net, requests(), SETTINGS)
    how = {"max_new_tokens": SETTINGS.max_new_tokens, "do_sample": False}
    said = [net.model.generate(torch.tensor([i]), **how)[0, len(i) :].tolist() for i in ids]
    return net, ids, said


def merged(outputs, folder):
    """The embedded model with a LoRA adapter that changes what it says, merged."""
    torch.manual_seed(0)
    fresh = loading.load("embedded", outputs, "float32")
    tuned = get_peft_model(fresh.model, LoraConfig(r=4, target_modules=["v_proj", "down_proj"]))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    tuned.save_pretrained(folder)
    return loading.load("embedded", outputs, "float32", adapters=(folder,))


@pytest.mark.parametrize("shared", [True, False], ids=["prefix shared", "nothing shared"])
def test_the_tokens_are_those_of_plain_generate(told, shared):
    lm, ids, said = told
    found = []
    for group in (ids[:DIRECT], ids[DIRECT:]):
        prefix = decoding.Prefix(lm.model, group if shared else [])
        assert bool(prefix.tokens) == shared
        batches = engine.plan([len(i) for i in group], 24)
        new = {}
        for batch in batches:
            tokens = engine._generate(lm, [group[i] for i in batch], prefix, SETTINGS)
            new |= dict(zip(batch, tokens, strict=True))
        found += [new[i] for i in range(len(group))]
    assert len(ids) == 64 and len({len(i) for i in ids}) > 30
    assert found == said


def test_fine_tuning_changed_what_is_said(told, lm):
    other, ids, said = told
    if other is not lm:
        before = engine._generate(lm, ids[:8], decoding.Prefix(lm.model, []), SETTINGS)
        assert before != said[:8]  # else the second model would test nothing new


def test_in_bfloat16_a_rerun_gives_the_same_bytes(outputs, tmp_path):
    lm, files = loading.load("embedded", outputs, "bfloat16"), [tmp_path / "a", tmp_path / "b"]
    for file in files:
        complete(lm, requests()[::8], Settings(max_new_tokens=6, batch_size=5), file)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("prefix", [0, 40])
def test_parts_of_attention_join_to_a_whole_softmax(monkeypatch, rows, prefix):
    from types import SimpleNamespace

    torch.manual_seed(1)
    batch, heads, kv, steps, own, dim = 5, 6, 2, 4 if prefix else 1, 7, 8
    query = torch.randn(batch, heads, steps, dim)
    key, value = torch.randn(2, batch, kv, own, dim)
    before = torch.randn(2, kv, prefix, dim)
    mask = torch.where(torch.rand(batch, 1, steps, own) < 0.3, torch.finfo().min, 0.0)
    monkeypatch.setattr(decoding, "SCORES", (rows * heads * steps * (own + prefix), 0))
    monkeypatch.setattr(decoding, "_shared", [tuple(before)] if prefix else [])
    seen, _ = decoding.attention(SimpleNamespace(layer_idx=0), query, key, value, mask, 0.3)
    keys, values = (
        torch.cat([shared.expand(batch, -1, -1, -1), mine], 2).repeat_interleave(heads // kv, 1)
        for shared, mine in zip(before, (key, value), strict=True)
    )
    whole = torch.cat([mask.new_zeros(batch, 1, steps, prefix), mask], 3)
    wanted = (query @ keys.transpose(2, 3) * 0.3 + whole).softmax(-1) @ values
    torch.testing.assert_close(seen, wanted.transpose(1, 2))
