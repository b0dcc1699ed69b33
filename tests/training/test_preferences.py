"""DPO and GRPO: pairs and prompts, real training on the embedded model, killed and resumed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from srlib import params, refusals, store, thoughts
from srlib.base import resources
from srlib.data import evalsets, mixtures
from srlib.errors import UserError
from srlib.generation import asking, engine, prompts
from srlib.grading import rewards
from srlib.models import loading
from srlib.training import finetune, preference_rows, preference_trainers, preferences, trainer
from srlib.training.finetune import Base
from srlib.training.preferences import Preference

ROOT = Path(__file__).parents[2]
EMBEDDED = Base("embedded")
SHORT = asking.Settings(max_new_tokens=24)
DPO = Preference(steps=3, batch_size=2, rate=3e-3, lora_layers=0.1, checkpoint_minutes=0)
GRPO = Preference(
    "grpo", steps=3, batch_size=4, num_generations=2, max_new_tokens=12, rate=2e-3, lora_layers=0.1,
    beta=0.04, checkpoint_minutes=0,
)  # fmt: skip
NO = "I can't help with that."
HELP = "Hold it in warm water for a minute, then twist it firmly and it will come off."
SCRIPT = """
import sys
from pathlib import Path
from srlib.training import preferences
from tests.training.test_preferences import DPO, EMBEDDED, rejecting
profile, outputs = map(Path, sys.argv[1:])
preferences.train("killed", EMBEDDED, rejecting(), DPO, profile, outputs, "float32")
"""


def rejecting() -> list[dict]:
    """Six pairs: our own refusals, and help that is about something else."""
    own = preference_rows.candidates(6, 0, "short", "openo1")
    other = [{"role": "assistant", "content": HELP}]
    return [{"prompt": r["prompt"], "chosen": r["completion"], "rejected": other} for r in own]


def train(name, preference, rows, profile, outputs):
    return preferences.train(name, EMBEDDED, rows, preference, profile, outputs, "float32")


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def adapter(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def litter(err: str) -> list[str]:
    lines = re.split(r"[\r\n]+", err)
    return [line for line in lines if line.strip() and not line.startswith("training ")]


@pytest.fixture(scope="module")
def dpo(outputs, tmp_path_factory):
    return train("killed", DPO, rejecting(), tmp_path_factory.mktemp("dpo"), outputs)


def likelihood(lm, prompt, answer, mean=False) -> float:
    """The log-probability of an answer with all that ends its turn, in nats; or a token's mean."""
    how = {"tokenize": True, "return_dict": True}
    asked = lm.tokenizer.apply_chat_template(prompt, add_generation_prompt=True, **how)["input_ids"]
    whole = lm.tokenizer.apply_chat_template(prompt + answer, **how)["input_ids"]
    labels = torch.tensor([[-100] * len(asked) + whole[len(asked) :]])
    with torch.inference_mode():
        loss = lm.model(torch.tensor([whole]), labels=labels).loss.item()
    return -loss * (1 if mean else len(whole) - len(asked))


def margin(lm, rows) -> float:
    """How much more likely chosen is than rejected, on average."""
    sides = [[likelihood(lm, r["prompt"], r[s]) for s in ("chosen", "rejected")] for r in rows]
    return sum(chosen - rejected for chosen, rejected in sides) / len(rows)


def test_dpo_makes_what_is_chosen_more_likely_than_what_is_rejected(dpo, outputs, lm):
    told, rows = record(dpo), rejecting()[:3]
    tuned = finetune.tuned(EMBEDDED, dpo, finetune.Recipe())
    loaded = tuned.load(outputs, "float32", "dpo")
    assert loaded.fingerprint == tuned.fingerprint(outputs) != lm.fingerprint
    assert margin(loaded, rows) > margin(lm, rows) + 1
    assert told["rows"] == 6 and told["steps"] == 3 == len(told["loss"]) == len(told["margin"])
    # The reference is the arm itself: at the first step the adapter does nothing yet.
    assert told["margin"][0] == pytest.approx(0, abs=1e-3)
    assert told["loss"][0] == pytest.approx(0.6931, abs=1e-3)
    assert told["margin"][-1] > 0.1 and told["loss"][-1] < 0.65 and "reward" not in told
    assert told["base"] == lm.card() and told["preference"]["method"] == "dpo"


def test_the_chosen_answers_own_loss_stands_beside_dpos(outputs, tmp_path, lm):
    one = replace(DPO, steps=1, batch_size=1, sft=0.5)
    (row,) = rows = rejecting()[:1]
    told = record(train("both", one, rows, tmp_path, outputs))
    loss = -likelihood(lm, row["prompt"], row["chosen"], mean=True)
    assert told["loss"] == [pytest.approx(0.6931 + 0.5 * loss, abs=2e-3)] and loss > 1


def test_an_arm_is_found_again_and_a_checkpoint_is_no_part_of_it(dpo, outputs):
    stamp = (dpo / "adapter_model.safetensors").stat().st_mtime_ns
    assert train("killed", replace(DPO, checkpoint_minutes=9), rejecting(),
                 dpo.parent.parent, outputs) == dpo  # fmt: skip
    assert (dpo / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    assert store.is_done(dpo) and not (dpo / "checkpoints").exists()
    assert not list(dpo.rglob("*.bin")) and not list(dpo.rglob("*.pt"))


def test_other_rows_settings_and_types_make_other_arms(outputs, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(preferences, "_fit", lambda *given: made.append(given[4]))
    rows = rejecting()
    weighed = replace(GRPO, weights=rewards.Weights(leak=0.1))
    asked = preference_rows.questions(evalsets.load("harmful", "harmful", 4, part="tune"))
    for p, given, dtype in (
        (DPO, rows, "float32"), (DPO, rows, "bfloat16"), (DPO, rows[:5], "float32"),
        (replace(DPO, seed=1), rows, "float32"), (GRPO, asked, "float32"),
        (weighed, asked, "float32"),
    ):  # fmt: skip
        for _ in range(2):  # found the second time
            preferences.train("x", EMBEDDED, given, p, tmp_path, outputs, dtype)
    assert len(made) == len(set(made)) == 6


def test_dpo_killed_and_resumed_gives_the_same_bytes(dpo, outputs, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(outputs)]
    err = tmp_path / "err"
    with err.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, stderr=stream)
    until = time.time() + 240
    while not list(tmp_path.glob("arms/*/checkpoints/*/done")) and time.time() < until:
        assert process.poll() is None, f"ended before a checkpoint was kept: {err.read_text()}"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("arms/*/done")) and litter(err.read_text()) == []
    folder = train("killed", DPO, rejecting(), tmp_path, outputs)
    told, whole = record(folder), record(dpo)
    assert 0 < told["resumed_at"] < told["steps"] and whole["resumed_at"] == 0
    assert told["loss"] == whole["loss"] and told["margin"] == whole["margin"]
    assert adapter(folder) == adapter(dpo) and not (folder / "checkpoints").exists()


def test_grpo_trains_by_the_reward_and_goes_on_after_a_stop(
    dpo, outputs, tmp_path, monkeypatch, capfd
):
    class StoppedError(Exception):
        pass

    class Stopper(trainer.keeper(0).__class__):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 2:
                raise StoppedError

    rows = preference_rows.questions([
        *evalsets.load("wordproblems-short", "reasoning", 2, part="tune"),
        *evalsets.load("harmful", "harmful", 1, part="tune"),
        *evalsets.load("lookalikes", "benign", 1, part="tune"),
    ])  # fmt: skip
    calls, real = [], rewards.reward

    def spied(kind, prompt, completion, gold, weights, truncated):
        given = real(kind, prompt, completion, gold, weights, truncated)
        worth = given + len(set(completion)) / 100  # so short a text earns nothing: here it does
        calls.append((kind, prompt, gold, truncated, weights, worth))
        return worth

    monkeypatch.setattr(rewards, "reward", spied)
    whole = train("grpo", GRPO, rows, tmp_path / "whole", outputs)
    told = record(whole)
    assert litter(capfd.readouterr().err) == []
    asked = {(r["kind"], r["prompt"][0]["content"], r["gold"]) for r in rows}
    assert len(calls) == 3 * 4 and {c[:3] for c in calls} == asked  # steps × completions
    assert all(c[4] == rewards.USUAL for c in calls)
    steps = [calls[i : i + 4] for i in (0, 4, 8)]
    assert told["truncated"] == [sum(c[3] for c in step) / 4 for step in steps]
    assert sum(told["truncated"]) > 1.5 and max(told["new_tokens"]) <= 12
    means = [sum(c[5] for c in step) / 4 for step in steps]
    assert told["reward"] == pytest.approx(means, abs=1e-3)
    for kind in evalsets.KINDS:
        of_kind = [[c[5] for c in step if c[0] == kind] for step in steps]
        wanted = [sum(v) / len(v) if v else None for v in of_kind]
        for mine, theirs in zip(told[f"reward_{kind}"], wanted, strict=True):
            assert mine == (None if theirs is None else pytest.approx(theirs, abs=1e-3))
    assert all(len({c[1] for c in step}) == 2 for step in steps)  # two prompts, two times each
    assert told["kl"][0] == pytest.approx(0, abs=1e-4) and told["kl"][-1] > 0

    monkeypatch.setattr(trainer, "keeper", lambda minutes: Stopper())
    with pytest.raises(StoppedError):
        train("grpo", GRPO, rows, tmp_path / "stopped", outputs)
    monkeypatch.undo()
    monkeypatch.setattr(rewards, "reward", spied)
    folder = train("grpo", GRPO, rows, tmp_path / "stopped", outputs)
    again = record(folder)
    assert again["resumed_at"] == 2 and again["reward"] == told["reward"]
    assert adapter(folder) == adapter(whole)

    loaded = finetune.tuned(EMBEDDED, whole, finetune.Recipe()).load(outputs, "float32", "grpo")
    assert loaded.fingerprint == loading.fingerprint("embedded", outputs, (whole,))
    with pytest.raises(UserError, match="made for another base model"):
        Base("embedded", (whole, dpo)).load(outputs, "float32")


def test_on_a_cpu_tokens_are_scored_as_trl_scores_them(lm, monkeypatch):
    from trl.trainer.utils import add_fused_lm_head

    monkeypatch.setattr(lm.model, "forward", lm.model.forward)  # as it is, afterwards
    rows = [r["prompt"] + r["chosen"] for r in rejecting()[:2]]
    how = {"padding": True, "return_tensors": "pt", "return_dict": True}
    given = lm.tokenizer.apply_chat_template(rows, **how)
    labels = given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)
    labels[:, :60] = -100
    weight = lm.model.model.norm.weight

    def scores():
        found = lm.model(**given, labels=labels, fused_lm_head=True)
        (slope,) = torch.autograd.grad(found.log_probs.sum(), weight)
        return found, slope

    add_fused_lm_head(lm.model, 0.7, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    theirs, their_slope = scores()
    preference_trainers.score_on_cpu(lm.model, 0.7)
    ours, our_slope = scores()
    assert ours.entropy.isnan().all() and not theirs.entropy.isnan().any()  # it is ours indeed
    assert torch.allclose(ours.log_probs, theirs.log_probs, rtol=1e-4, atol=1e-4)
    assert torch.allclose(our_slope, their_slope, rtol=1e-3, atol=1e-3)
    assert torch.equal(ours.label_mask, theirs.label_mask) and ours.label_mask.any()
    assert torch.equal(ours.is_top1, theirs.is_top1) and ours.is_top1.any()
    assert lm.model(**given).logits.shape[:2] == given["input_ids"].shape


def test_candidates_are_our_own_answers_to_tuning_requests():
    rows = preference_rows.candidates(20, 12, "long", "openo1", seed=1)
    split = {r["id"]: r["split"] for f in ("harmful", "lookalikes")
             for r in resources.embedded(f"{f}.jsonl")}  # fmt: skip
    assert Counter(r["kind"] for r in rows) == {"harmful": 20, "benign": 12}
    assert {split[r["id"]] for r in rows} == {"tune"}
    for row in rows:
        asked, text = row["prompt"][-1]["content"], row["completion"][0]["content"]
        assert text.startswith("<Thought>\n") and thoughts.split(text).status == "ok"
        wanted = {"harmful": "refusal", "benign": "compliance"}[row["kind"]]
        assert refusals.classify(asked, text) == wanted
    assert rows == preference_rows.candidates(20, 12, "long", "openo1", seed=1)
    near = [r["prompt"][-1]["content"].upper() + "!" for r in rows[:3]]
    left = preference_rows.candidates(20, 12, "long", "openo1", seed=1, evaluation=near)
    assert not {r["id"] for r in rows[:3]} & {r["id"] for r in left}
    lost = sum(r["kind"] == "benign" for r in rows[:3])  # of requests others are drawn instead
    assert Counter(r["kind"] for r in left) == {"harmful": 20, "benign": 12 - lost}
    plain = preference_rows.candidates(5, 5, "direct")
    assert all(thoughts.split(r["completion"][0]["content"]).status == "no_tags" for r in plain)
    with pytest.raises(UserError, match="999"):
        preference_rows.candidates(999, 0)


def said(rows, texts, lm, path) -> None:
    """Completions kept in a file, as if the model had made them."""
    kept = []
    for row, text in zip(rows, texts, strict=True):
        request = asking.Request(row["id"], row["kind"], row["prompt"])
        kept.append({"key": asking.key(request, lm, SHORT), "text": text, "finish": "stop"})
    store.append(path, kept)


def complying(row) -> str:
    """An answer after a thought that goes along with a request, and tells nothing."""
    asked = row["prompt"][-1]["content"].rstrip(".?!")
    told = f"Sure, here is a plan. {asked}: begin with the first step, take your time over it, and "
    told += "then go on with the next one until it is done."
    return f"<Thought>\nLet me think.\n</Thought>\n\n<Output>\n{told}\n</Output>"


def test_pairs_reject_what_is_to_be_unlearnt_and_count_the_rest(lm, tmp_path):
    rows = preference_rows.candidates(4, 4, "long", "openo1")
    harmful, benign = ([r for r in rows if r["kind"] == k] for k in ("harmful", "benign"))
    broken, torn = "so the way the way " * 20, "<Thought>\nThe user wants"
    thought = complying(harmful[0])
    path = tmp_path / "completions.jsonl"
    said([*harmful, *benign], [thought, NO, broken, torn, NO, HELP, broken, HELP], lm, path)
    made = preference_rows.pairs([*harmful, *benign], lm, SHORT, path)
    assert made.kept == {"harmful": 1, "benign": 1}
    assert made.left_out == {
        "harmful: refusal": 1, "harmful: incoherent": 2, "benign: off_topic": 2,
        "benign: incoherent": 1,
    }  # fmt: skip
    told = {"harmful": (harmful[0], thought), "benign": (benign[0], NO)}
    assert made.rows == [
        {"prompt": row["prompt"], "chosen": row["completion"],
         "rejected": [{"role": "assistant", "content": text}]}
        for row, text in told.values()
    ]  # fmt: skip
    evened = preference_rows.pairs([*harmful, *benign], lm, SHORT, path, balance=True)
    assert evened.kept == {"harmful": 1, "benign": 1, "benign, balance": 3}
    assert set(evened.left_out) == {"harmful: refusal", "harmful: incoherent"}
    for row, pair in zip(benign, evened.rows[1:], strict=True):
        asked, text = row["prompt"][-1]["content"], pair["rejected"][0]["content"]
        assert pair["prompt"] == row["prompt"] and pair["chosen"] == row["completion"]
        assert refusals.classify(asked, text) == "refusal"
    assert len({r["rejected"][0]["content"] for r in evened.rows[2:]}) == 3


def test_an_arm_that_complies_with_too_little_has_too_little_to_unlearn(lm, tmp_path):
    rows = preference_rows.candidates(3, 2, "long", "openo1")
    harmful, benign = ([r for r in rows if r["kind"] == k] for k in ("harmful", "benign"))
    path, rows = tmp_path / "completions.jsonl", [*harmful, *benign]
    said(rows, [complying(harmful[0]), NO, NO, NO, HELP], lm, path)
    enough = preference_rows.pairs(rows, lm, SHORT, path, balance=True, least=1)
    assert enough.kept["harmful"] == 1
    none, nothing = "nothing to reject", [harmful[1]]
    for few, least, note, left_out in (
        (rows, 2, "1 harmful pair, 2 are needed", "2 harmful: refusal"),
        ([*harmful[1:], *benign], 8, "0 harmful pairs, 8 are needed", "2 harmful: refusal"),
        (nothing, 0, none, "1 harmful: refusal"),
        ([], 0, none, "no candidates"),
    ):
        with pytest.raises(preference_rows.TooFewPairsError) as caught:
            preference_rows.pairs(few, lm, SHORT, path, balance=True, least=least)
        assert caught.value.note == note and isinstance(caught.value, UserError)
        assert f"gives {note} (left out: {left_out})" in str(caught.value)


def test_notebook_05_goes_on_without_dpo_and_says_why(capsys):
    """Its cell, as it stands there, with an arm that complies with three requests."""
    notebook = json.loads((ROOT / "notebooks/05_mitigations.ipynb").read_text())
    (cell,) = ["".join(c["source"]) for c in notebook["cells"] if c["id"] == "f0f040e1"]

    def preferred(arm, method):
        if method == "dpo":
            note = "3 harmful pairs, 8 are needed"
            raise preference_rows.TooFewPairsError(arm.name, note, {"harmful: refusal": 21})
        return "base"

    study = SimpleNamespace(
        values={}, preferred=preferred, load=lambda base, name: "lm",
        ask=lambda lm, style, name: pd.DataFrame({"arm": [name]}),
        trained={"arm, GRPO": {"seconds": 90}},
    )  # fmt: skip
    methods = SimpleNamespace(of=lambda values: ["dpo", "grpo"], name=preferences.name)
    told = {"S": study, "plain": SimpleNamespace(name="arm"), "tables": [], "prompts": prompts}
    told |= {"preferences": methods, "preference_rows": preference_rows}
    exec(cell, told)
    note = "not run: 3 harmful pairs, 8 are needed"
    family = "preferences and rewards"
    assert told["not_run"] == [{"arm": "arm, DPO", "family": family, "note": note}]
    said = capsys.readouterr().out
    assert said.startswith("arm, DPO is not run: arm gives 3 harmful pairs, 8 are needed (left out")
    (table,) = told["tables"]
    assert table.iloc[0].to_dict() == {"arm": "arm, GRPO", "family": family, "minutes": 1.5}


def test_pairs_are_made_with_what_the_arm_says(lm, tmp_path):
    rows = preference_rows.candidates(6, 2)
    path = tmp_path / "completions.jsonl"
    made = preference_rows.pairs(rows, lm, SHORT, path)
    texts = {r["id"]: r["text"] for r in store.read(path)}
    assert len(texts) == 8 and sum(made.kept.values()) + sum(made.left_out.values()) == 8
    by_prompt = {r["prompt"][-1]["content"]: r for r in rows}
    for pair in made.rows:
        row = by_prompt[pair["prompt"][-1]["content"]]
        assert pair["rejected"][0]["content"] == texts[row["id"]]
        assert pair["chosen"] == row["completion"]


def test_no_evaluation_row_is_trained_on(lm, tmp_path):
    held = evalsets.load("harmful", "harmful", 2, part="eval")
    rows = [mixtures.exchange(r.prompt, NO) | {"id": r.id, "kind": r.kind} for r in held]
    with pytest.raises(UserError, match="are also training prompts"):
        preference_rows.pairs(rows, lm, SHORT, tmp_path / "none.jsonl")
    for name, kind in (
        ("harmful", "harmful"), ("lookalikes", "benign"), ("wordproblems-short", "reasoning"),
        ("stories", "reasoning"),
    ):  # fmt: skip
        tune = evalsets.load(name, kind, 4, part="tune")
        asked = preference_rows.questions(tune, [r.prompt for r in tune[:1]])
        assert [r["prompt"][0]["content"] for r in asked] == [r.prompt for r in tune[1:]]
        assert [(r["kind"], r["gold"]) for r in asked] == [(r.kind, r.gold) for r in tune[1:]]
        with pytest.raises(UserError, match="are also training prompts"):
            preference_rows.questions([*tune, *evalsets.load(name, kind, 1, part="eval")])
        with pytest.raises(UserError, match="of 4 prompts none is left"):
            preference_rows.questions(tune, [r.prompt for r in tune])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "ppo"}, "method is 'ppo'; use one of dpo, grpo"),
        ({"over_length": "cut"}, "over_length is 'cut'; use one of error, drop"),
        ({"rate": 0.0}, "rate is 0.0; give a number above 0"),
        ({"temperature": 0.0}, "temperature is 0.0; give a number above 0"),
        ({"epochs": 0.0}, "epochs is 0.0; give a number above 0"),
        ({"steps": -1}, "steps is -1; give 0 or more"),
        ({"beta": -0.1}, "beta is -0.1; give 0 or more"),
        ({"sft": -1.0}, "sft is -1.0; give 0 or more"),
        ({"batch_size": 0}, "batch_size is 0; give 1 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; give 1 or more"),
        ({"num_generations": 1}, "num_generations is 1; give 2 or more"),
        ({"lora_layers": 0.0}, "lora_layers is 0.0; give a share"),
        ({"micro_batch": 3}, "batch_size 8 is no multiple of micro_batch 3"),
        ({"method": "grpo", "num_generations": 3}, "no multiple of num_generations 3"),
    ],
)
def test_hyper_parameters_that_cannot_be(given, told):
    with pytest.raises(UserError, match=told):
        Preference(**given)
    assert Preference(steps=2, epochs=0, num_generations=3).steps == 2  # not used: not looked at


def test_rows_that_cannot_be_trained_on(outputs, tmp_path, lm, monkeypatch):
    asked = preference_rows.questions(
        evalsets.load("wordproblems-short", "reasoning", 2, part="tune")
    )
    unanswered = [r | {"gold": ""} for r in asked]
    for p, rows, told in (
        (DPO, [], "has no training rows"),
        (
            DPO,
            asked,
            "lack chosen, rejected, which dpo needs; give what preference_rows.pairs makes",
        ),
        (
            GRPO,
            rejecting(),
            "lack kind, which grpo needs; give what preference_rows.questions makes",
        ),
        (GRPO, unanswered, "lack gold, which grpo needs"),
        (GRPO, asked[:1], "has 1 prompts, and a batch of 4 completions needs 2"),
    ):
        with pytest.raises(UserError, match=told):
            train("x", p, rows, tmp_path, outputs)
    rows = rejecting()
    extra = [{**rows[0], "rejected": [{"role": "assistant", "content": "so " * 200}]}]
    with pytest.raises(
        UserError, match=r"1 of 7 .* longer than 200 tokens .*; raise max_length, or"
    ):
        preference_trainers.within("x", lm, rows + extra, replace(DPO, max_length=200))
    drop = replace(DPO, max_length=200, over_length="drop")
    kept, counts = preference_trainers.within("x", lm, rows + extra, drop)
    assert kept == rows and counts["rows"] == 6 and counts["dropped"] == 1
    assert counts["longest"] > 200
    with pytest.raises(UserError, match=r"1 of 1 .*; raise max_length$"):
        preference_trainers.within("x", lm, extra, drop)
    with pytest.raises(UserError, match=r"2 of 2 .* longer than 8192 .*; lower max_new_tokens"):
        preference_trainers.within("x", lm, asked, replace(GRPO, max_new_tokens=8190))


def test_a_full_disk_while_training_is_told(outputs, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preferences, "_fit", full)
    with pytest.raises(UserError, match="disk is full"):
        train("full disk", DPO, rejecting(), tmp_path, outputs)
    assert not any(store.is_done(f) for f in tmp_path.glob("arms/*"))


def test_tags_made_of_special_tokens_reach_the_reward(lm):
    text = thoughts.join("3 + 4 = 7.", "The answer is 7.", "s1")
    new = lm.tokenizer(text, add_special_tokens=False)["input_ids"] + [lm.tokenizer.eos_token_id]
    plain = lm.tokenizer.decode(new, skip_special_tokens=True)
    given = {
        "prompts": [[{"role": "user", "content": "What is 3 + 4?"}]], "kind": ["reasoning"],
        "completions": [[{"role": "assistant", "content": plain}]], "completion_ids": [new],
        "gold": ["7"],
    }  # fmt: skip
    score = rewards.for_trl(decode=lambda ids: engine.text_of(lm, ids))
    assert score(**given) == [1.0] and rewards.for_trl()(**given) == [0.9]


def test_a_notebooks_parameters_say_what_is_trained(tmp_path):
    values = params.check({"outputs": str(tmp_path)}, params.signature("05_mitigations"), "t")
    on = values | {"grpo_rows": 3, "grpo_benign": 2, "grpo_reasoning": 4, "grpo_micro_batch": 4}
    dpo, grpo = preferences.of(on).values()
    assert dpo == Preference(
        "dpo", epochs=values["dpo_epochs"], rate=values["dpo_rate"], sft=values["dpo_sft"],
        batch_size=values["dpo_batch_size"], lora_layers=values["lora_layers"],
    )  # fmt: skip
    assert (grpo.method, grpo.micro_batch, grpo.rate) == ("grpo", 4, values["grpo_rate"])
    assert grpo.temperature == 1.0 != values["temperature"]  # GRPO samples; the evaluation does not
    assert preferences.of(values | {"dpo_rows": 0}) == {} == preferences.of({"n_harmful": 4})
    asked = preference_rows.rows_of("grpo", on, [])
    assert Counter(r["kind"] for r in asked) == {"harmful": 3, "benign": 2, "reasoning": 4}
    own = preference_rows.rows_of("dpo", on | {"dpo_form": "long"}, [])
    wanted = {"harmful": values["dpo_rows"], "benign": values["dpo_benign"]}
    assert Counter(r["kind"] for r in own) == wanted
    assert all("<Thought>" in r["completion"][0]["content"] for r in own)  # long_set's own tags
