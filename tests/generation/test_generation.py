"""Completions: kept as they come, resumed to the same bytes (their tokens: `test_equality`)."""

import json
from dataclasses import replace

import pytest
import torch

from srlib.data import evalsets
from srlib.errors import UserError
from srlib.generation import asking, decoding, engine, prompts
from srlib.generation.asking import Request, Settings
from srlib.generation.engine import complete


def requests(style, n=4):
    rows = [
        r for k in ("wordproblems", "harmful", "lookalikes") for r in evalsets.load(k, KIND[k], n)
    ]
    return [Request(r.id, r.data, prompts.messages(r.prompt, style)) for r in rows]


KIND = {"wordproblems": "reasoning", "harmful": "harmful", "lookalikes": "benign"}
SHORT = Settings(max_new_tokens=16, batch_size=5)


def test_a_prefix_is_shared_and_left_again(lm):
    usual = lm.model.config._attn_implementation
    ids = engine._tokenize(lm, requests(prompts.few_shot(2)), SHORT)
    prefix = decoding.Prefix(lm.model, ids)
    assert len(prefix.tokens) > 150 and all(i[: len(prefix.tokens)] == prefix.tokens for i in ids)
    with prefix.active(lm.model):
        assert lm.model.config._attn_implementation == decoding.NAME
    assert lm.model.config._attn_implementation == usual and not decoding._shared


def test_a_model_with_special_attention_shares_nothing(lm):
    ids = engine._tokenize(lm, requests(prompts.few_shot(2)), SHORT)
    lm.model.config.sliding_window = 64
    try:
        assert decoding.Prefix(lm.model, ids).tokens == []
    finally:
        del lm.model.config.sliding_window
    assert decoding.Prefix(lm.model, ids).tokens


def test_common_prefix_leaves_every_prompt_a_token():
    assert decoding.common([[1, 2, 3], [1, 2, 3, 4]]) == 2
    assert decoding.common([[1, 2, 3], [1, 5]]) == 1
    assert decoding.common([[1, 2, 3]]) == 0
    assert decoding.common([[7], [8, 9]]) == 0


def test_batches_hold_everything_once_and_similar_lengths_together():
    lengths = [5, 90, 6, 80, 7, 1]
    batches = engine.plan(lengths, 2)
    assert sorted(i for b in batches for i in b) == list(range(6))
    assert [sorted(lengths[i] for i in b) for b in batches] == [[1, 5], [6, 7], [80, 90]]


def test_nothing_is_generated_twice(lm, tmp_path, monkeypatch):
    asked, path = requests(prompts.direct(), 2), tmp_path / "c.jsonl"
    first = complete(lm, asked, SHORT, path)
    monkeypatch.setattr(decoding, "decode", None)  # would fail if it were called
    assert complete(lm, asked, SHORT, path) == first
    assert complete(lm, asked[1:3], SHORT, path) == first[1:3]


@pytest.mark.parametrize("kept", [0.0, 0.37, 0.8])
def test_a_torn_file_is_completed_to_the_same_bytes(lm, tmp_path, kept):
    asked, whole, torn = requests(prompts.direct()), tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    complete(lm, asked, SHORT, whole)
    blob = whole.read_bytes()
    torn.write_bytes(blob[: int(len(blob) * kept)])
    complete(lm, asked, SHORT, torn)
    assert torn.read_bytes() == blob


def test_a_record_says_what_made_it(lm, tmp_path):
    asked = requests(prompts.direct(), 1)
    records = complete(lm, asked, SHORT, tmp_path / "c.jsonl")
    record = records[0]
    assert record["messages"] == asked[0].messages and record["settings"]["max_new_tokens"] == 16
    assert record["model"] == lm.card() and record["finish"] in ("stop", "length")
    assert all(r["new_tokens"] == 16 for r in records if r["finish"] == "length")
    kept = [json.loads(line) for line in (tmp_path / "c.jsonl").open()]
    by_key = {r["key"]: r for r in records}
    assert len(kept) == len(records) and {r["key"]: r for r in kept} == by_key


def test_other_settings_and_messages_have_other_keys(lm):
    one, two = requests(prompts.direct(), 1)[:2]
    keys = {asking.key(r, lm, s) for r in (one, two) for s in (SHORT, Settings())}
    assert len(keys) == 4


def test_a_stop_string_ends_a_row_at_once(lm, tmp_path):
    asked = [Request("1", "x", [{"role": "user", "content": "Name the capital of France."}])]
    ids = engine._tokenize(lm, asked, SHORT)
    free = Settings(max_new_tokens=16)
    new = engine._generate(lm, ids, decoding.Prefix(lm.model, ids), free)[0]
    needed = next(n for n in range(1, 17) if " Paris" in lm.tokenizer.decode(new[:n]))
    record = complete(lm, asked, replace(free, stop=[" Paris"]), tmp_path / "c.jsonl")[0]
    assert "Paris" not in record["text"] and record["finish"] == "stop"
    assert record["new_tokens"] == needed < 16


def test_sampling_follows_its_seed(lm, tmp_path):
    asked = requests(prompts.direct(), 1)
    texts = []
    for i, seed in enumerate((1, 1, 2)):
        warm = Settings(max_new_tokens=12, temperature=1.0, top_p=0.9, seed=seed)
        records = complete(lm, asked, warm, tmp_path / f"{i}.jsonl")
        texts.append([r["text"] for r in records])
    assert texts[0] == texts[1] != texts[2]


def test_a_prompt_that_does_not_fit_is_an_error_before_anything_is_made(lm, tmp_path):
    long = [Request("1", "x", [{"role": "user", "content": "word " * 9000}])]
    with pytest.raises(UserError, match="fewer demonstrations"):
        complete(lm, long, SHORT, tmp_path / "c.jsonl")
    assert not (tmp_path / "c.jsonl").exists()


def test_the_cache_gives_back_what_was_written():
    groups, more = [torch.randn(2, 2, 3, 4), torch.randn(1, 2, 2, 4)], torch.randn(3, 2, 1, 4)
    layer = decoding.Buffer([(keys, -keys) for keys in groups], 3, 5)
    padded = torch.nn.functional.pad(groups[1], (0, 0, 1, 0))  # on the left
    whole = torch.cat([torch.cat([groups[0], padded]), more, more], 2)
    for _ in range(2):
        keys, values = layer.update(more, -more)
    assert torch.equal(keys, whole) and torch.equal(values, -whole)
    layer.batch_select_indices(torch.tensor([2, 0]))
    assert torch.equal(layer.keys, whole[[2, 0]]) and layer.get_seq_length() == 5


def test_a_template_that_opens_the_thought_is_seen_in_the_record(lm, tmp_path):
    import copy
    from dataclasses import replace

    from srlib import thoughts

    words = copy.deepcopy(lm.tokenizer)
    words.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    opened = replace(lm, tokenizer=words)
    asked = asking.Request("a", "d", [{"role": "user", "content": "Count from 1 to 100."}])
    settings = asking.Settings(max_new_tokens=3)
    (cut,) = engine.complete(opened, [asked], settings, tmp_path / "c.jsonl")
    assert cut["finish"] == "length" and cut["text"].startswith("<think>\n")
    assert thoughts.split(cut["text"]).status == "unclosed_thought"
    begun = replace(asked, prefill="<think>\nHm.")
    assert asking.written(opened, begun).count("<think>") == 1
    (more,) = engine.complete(opened, [begun], settings, tmp_path / "m.jsonl")
    assert more["text"].startswith("<think>\nHm.") and more["text"].count("<think>") == 1
