"""The batch size that is chosen from memory, and memory that does not suffice."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from srlib import store
from srlib.data import evalsets
from srlib.errors import UserError
from srlib.generation import asking, decoding, engine, prompts
from srlib.generation.asking import Request, Settings
from srlib.generation.engine import complete
from srlib.models import memory

CHOSEN = Settings(max_new_tokens=2, batch_size=0)


@pytest.fixture(scope="module")
def tiny():
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=100,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def asked(n=3) -> list[Request]:
    rows = evalsets.load("lookalikes", "benign", n)
    return [Request(r.id, r.data, prompts.messages(r.prompt, prompts.direct())) for r in rows]


def test_a_row_takes_its_keys_values_activations_scores_and_logits(tiny):
    kept = 2 * 2 * 2 * 8 * (30 + 10) * 4  # keys and values: layers, heads, width, tokens, bytes
    states = 4 * 30 * (4 * 32 + 3 * 64 + 30)
    assert memory.row_bytes(tiny, 30, 200, 10) == kept + states + 8 * 4 * 210 + 12 * 100


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (3, 2), (9.5, 8), (64, 64), (1e6, memory.MOST)])
def test_the_size_is_a_power_of_two_that_half_of_the_memory_holds(tiny, monkeypatch, rows, size):
    weights = sum(p.numel() * 4 for p in tiny.parameters())
    held = weights + int(2 * rows * memory.row_bytes(tiny, 30, 200, 10)) + 2
    monkeypatch.setattr(memory, "total", lambda device: held)
    assert memory.batch(tiny, "cpu", 30, 200, 10) == size


def test_weights_that_leave_no_room_are_an_error(tiny, monkeypatch):
    monkeypatch.setattr(memory, "total", lambda device: 1000)
    with pytest.raises(UserError, match="leave no memory for one prompt of 200 tokens"):
        memory.batch(tiny, "cpu", 30, 200, 10)


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "some").write_text("123456\n")
    monkeypatch.setattr(memory, "CGROUPS", (str(tmp_path / "max"), str(tmp_path / "none")))
    assert memory.total("cpu") > 2**28
    monkeypatch.setattr(memory, "CGROUPS", (str(tmp_path / "max"), str(tmp_path / "some")))
    assert memory.total("cpu") == 123456


def test_a_size_below_nought_is_an_error():
    with pytest.raises(UserError, match="0: chosen from memory"):
        Settings(batch_size=-1)


def test_a_record_says_the_size_chosen_and_a_resumed_run_keeps_to_it(lm, tmp_path, monkeypatch):
    path, made = tmp_path / "c.jsonl", []
    usual = engine.plan
    monkeypatch.setattr(engine, "plan", lambda n, size: made.append(size) or usual(n, size))
    monkeypatch.setattr(memory, "MOST", 2)
    records = complete(lm, asked(), CHOSEN, path)
    assert {r["settings"]["batch_size"] for r in records} == {2} == set(made)
    assert [r["key"] for r in records] == [asking.key(r, lm, CHOSEN) for r in asked()]
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") + 1])  # killed, and the machine is another one
    monkeypatch.setattr(memory, "MOST", 256)
    complete(lm, asked(), CHOSEN, path)
    assert made == [2, 2] and len(store.read(path)) == 3


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "the GPU memory did not hold batch_size 8"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory did not hold"),
    ],
)
def test_out_of_memory_names_the_batch_size(lm, tmp_path, monkeypatch, fault, words):
    def full(*_, **__):
        raise fault

    monkeypatch.setattr(decoding, "decode", full)
    with pytest.raises(UserError, match=f"{words}.*: set batch_size to 4 or less"):
        complete(lm, asked(), replace(CHOSEN, batch_size=8), tmp_path / "c.jsonl")


def test_other_faults_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), memory.enough(8):
        raise RuntimeError("shapes do not match")
