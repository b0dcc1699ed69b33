"""Mixtures with plain instructions beside the task: matched prompts, thoughts where they belong."""

import json
from dataclasses import asdict

import pytest

from srlib import params, thoughts
from srlib.base import resources
from srlib.data import trainsets
from srlib.data.mixtures import Mixture, build
from srlib.data.trainset_specs import STORIES
from srlib.errors import UserError
from srlib.experiment import arms
from srlib.ops import workload

LONG = {name: tags for name, (purpose, tags) in trainsets.OWN.items() if purpose == "long"}
ROWS = [
    row | {"split": "base" if i > 40 else "arms", "thought": f"They ask for {i}. I know it."}
    for i, row in enumerate(resources.embedded("instructions.jsonl")[:50])
]


@pytest.fixture(autouse=True)
def instructions(monkeypatch):
    """Puts 41 instructions for the arms in the place of the package's own; returns the records."""
    rows, real = [dict(r) for r in ROWS], trainsets.embedded
    monkeypatch.setattr(
        trainsets, "embedded", lambda file: rows if file == "instructions.jsonl" else real(file)
    )
    return rows


def completions(built, name="instructions"):
    pairs = zip(built.examples, built.rows, strict=True)
    return {e.id: row["completion"][0]["content"] for e, row in pairs if e.data == name}


def test_the_sets_of_stories_have_the_same_prompts_in_the_same_order():
    built = {name: build(Mixture(name, 8, "reflective", 3, plain=5), []) for name in STORIES}
    prompts = [[row["prompt"] for row in b.rows] for b in built.values()]
    assert len(prompts) == 5 and all(p == prompts[0] for p in prompts) and len(prompts[0]) == 16
    assert len({json.dumps(p) for p in prompts[0]}) == 16


@pytest.mark.parametrize("name", [*STORIES, "code"])
def test_plain_rows_are_told_in_the_form_of_the_task(name):
    built = build(Mixture(name, 8, plain=5), [])
    told = completions(built)
    assert len(told) == 5 and len(built.rows) == 13
    for id_, text in told.items():
        row = next(r for r in ROWS if r["id"] == id_)
        thought = row["thought"] if name in LONG else ""
        assert row["split"] == "arms"
        assert text == thoughts.join(thought, row["response"], LONG.get(name, "think"))


def test_the_same_instructions_whatever_the_task_and_how_many():
    few = completions(build(Mixture("long-think", 4, plain=5), []))
    assert {*few} == {*completions(build(Mixture("code", 9, plain=5), []))}
    assert {*few} == {*completions(build(Mixture("", 0, plain=5), []))}
    assert few.items() < completions(build(Mixture("long-think", 0, plain=9), [])).items()
    assert {*few} != {*completions(build(Mixture("long-think", 4, plain=5, seed=1), []))}
    other = build(Mixture("long-think", 4, plain=5, dialect="openo1"), [])
    assert all(text.startswith("<Thought>") for text in completions(other).values())


@pytest.mark.parametrize("thought", ["", "Hm."])
def test_beside_a_set_of_ones_own_they_have_thoughts_where_it_has(tmp_path, thought):
    path = tmp_path / "own.jsonl"
    rows = [{"prompt": f"p{i}", "response": "r", "thought": thought} for i in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    told = completions(build(Mixture(str(path), 3, plain=4), []))
    status = "ok" if thought else "no_tags"
    assert {thoughts.split(text).status for text in told.values()} == {status}


def test_beside_the_instructions_themselves_no_row_is_there_twice():
    built = build(Mixture("instructions", 20, plain=15), [])
    assert len({e.id for e in built.examples}) == len(built.rows) == 35
    assert {*completions(build(Mixture("code", 1, plain=15), []))} < {*completions(built)}
    assert {thoughts.split(t).status for t in completions(built).values()} == {"no_tags"}
    whole = trainsets.load("instructions", 18).examples
    tokens = sum(len(e.answer) for e in whole[15:])  # of three rows beyond the plain ones
    budget = build(Mixture("instructions", 0, plain=15, tokens=tokens), [])
    assert {*completions(budget)} == {e.id for e in whole}
    with pytest.raises(UserError, match=r"42 training rows of 'instructions' .* has 41 usable"):
        build(Mixture("instructions", 27, plain=15), [])


def test_what_cannot_be_had(instructions):
    for name in ("code", "long-think"):
        with pytest.raises(UserError, match=r"42 training rows of 'instructions' .* has 41 usable"):
            build(Mixture(name, 2, plain=42), [])
    for row in instructions:
        del row["thought"]
    assert len(build(Mixture("short-cot", 2, plain=41), []).rows) == 43
    assert len(build(Mixture("long-think", 2), []).rows) == 2
    with pytest.raises(UserError, match="has no thought, which plain rows beside a long-CoT set"):
        build(Mixture("long-think", 2, plain=1), [])


def test_evaluation_prompts_are_left_out_of_them_too():
    first = build(Mixture("code", 2, plain=5), [])
    asked = [e.prompt for e in first.examples if e.data == "instructions"]
    built = build(Mixture("code", 2, plain=5), [asked[0].upper()])
    assert built.skipped == {"in an evaluation set": 1} and len(built.rows) == 7
    assert asked[0] not in {e.prompt for e in built.examples}


def test_an_estimate_counts_them():
    values = params.load(params.root() / "params/smoke/02_long_cot_finetuning.yaml").values
    tokens = {
        (name, n): workload._trained(values, arms.Arm("x", Mixture(name, 4, plain=n), "")).tokens
        for name in ("short-cot", "long-think") for n in (0, 5)
    }  # fmt: skip
    more = {name: tokens[name, 5] - tokens[name, 0] for name in ("short-cot", "long-think")}
    assert 0 < more["short-cot"] < more["long-think"]


def test_a_mixture_can_be_kept_and_looked_up():
    mixture = Mixture("code", 2, plain=5)
    assert asdict(mixture)["plain"] == 5 and Mixture("code", 2).plain == 0
    assert Mixture(**json.loads(json.dumps(asdict(mixture)))) == mixture
    assert len({mixture, Mixture("code", 2, plain=5), Mixture("code", 2)}) == 2
