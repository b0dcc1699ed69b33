"""Training sets of one's own and the package's: read, repeatable, and right in what they teach."""

import csv
import json
import re

import pytest

from srlib import answers, refusals, thoughts
from srlib.base import resources
from srlib.data import evalsets, stories, trainsets
from srlib.data.trainset_specs import OWN, STORIES
from srlib.errors import UserError


def fails(words, *asked, **more):
    with pytest.raises(UserError, match=words) as caught:
        trainsets.load(*asked, **more)
    assert "\n" not in str(caught.value)


def test_what_is_to_be_avoided_is_counted():
    prompts = [e.prompt for e in trainsets.load("code", 5).examples]
    loaded = trainsets.load("code", 5, avoid={prompts[1], prompts[3]}.__contains__)
    assert loaded.skipped == {"in an evaluation set": 2}
    assert [e.prompt for e in loaded.examples[:3]] == [prompts[0], prompts[2], prompts[4]]
    assert not {e.prompt for e in loaded.examples} & {prompts[1], prompts[3]}


def test_own_jsonl_file(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [
        {"id": "a", "prompt": "p", "response": "<think>t</think> r", "system": "S"},
        {"prompt": "p", "response": "<Thought>t</Thought><Output>r</Output>", "category": "c"},
        {"prompt": "p", "response": "r", "thought": "t"},
        {"prompt": "p", "response": "r", "thought": None},
        {"prompt": "p", "response": "<think>never closed"},
        {"prompt": "p", "response": "<think>t</think>"},
        {"prompt": "p", "response": ""},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = sorted(trainsets.load(str(path), 4, seed=1).examples, key=lambda e: e.id)
    assert {(e.data, e.prompt, e.answer) for e in found} == {("mine", "p", "r")}
    told = [(e.id, e.thought, e.system, e.category) for e in found]
    assert told == [
        ("a", "t", "S", ""), ("mine-00001", "t", "", "c"),
        ("mine-00002", "t", "", ""), ("mine-00003", "", "", ""),
    ]  # fmt: skip
    fails("4 usable rows .*1 without closing tags", str(path), 5)
    fails("1 empty answer.*4 usable|4 usable.*1 empty answer", str(path), 5)
    path.write_text(json.dumps({"prompt": "p", "answer": "r"}))
    fails("'mine' .* has no column 'response'; its columns are prompt, answer", str(path), 1)


def test_numbers_in_an_own_file_are_text(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [{"id": i, "prompt": f"q{i}", "response": 7.0, "category": i % 2} for i in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)))
    loaded = trainsets.load(str(path), 4)
    assert {(e.id, e.answer, e.category) for e in loaded.examples} == {
        ("0", "7", "0"), ("1", "7", "1"), ("2", "7", "0"), ("3", "7", "1"),
    }  # fmt: skip
    assert not loaded.skipped
    path.write_text("\n".join(map(json.dumps, rows[:2] + rows[1:])))
    fails("'mine' .*: rows 2 and 3 both have the id '1'", str(path), 1)


ASKED, SAID = {"role": "user", "content": "3+4?"}, {"role": "assistant", "content": "7"}
FORMS = [
    {"conversations": [{"from": "human", "value": "3+4?"}, {"from": "gpt", "value": "7"}]},
    {"messages": [ASKED, SAID]},
    {"messages": [ASKED | {"content": [{"type": "text", "text": "3+4?"}]}, SAID]},
    {"prompt": [ASKED], "completion": [SAID]},
    {"prompt": "3+4?", "completion": "7"},
    {"instruction": "3+4?", "input": "", "output": 7},
]


@pytest.mark.parametrize("record", FORMS, ids=lambda record: "-".join(record))
def test_forms_in_which_others_keep_such_rows(tmp_path, record):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([record]))
    (found,) = trainsets.load(str(path), 1).examples
    assert (found.prompt, found.answer, found.thought, found.system) == ("3+4?", "7", "", "")


def test_conversations_with_a_system_prompt_a_thought_or_several_exchanges(tmp_path):
    path, system = tmp_path / "mine.jsonl", {"role": "system", "content": "Be brief."}
    thoughtful = SAID | {"content": "<think>three, four</think>7"}
    rows = [[system, ASKED, thoughtful], [ASKED, SAID | {"reasoning_content": "three, four"}]]
    unusable = [[ASKED, SAID, ASKED, SAID], [ASKED], [SAID, ASKED], [], ["odd"]]
    pictured = [ASKED | {"content": [{"type": "image_url"}]}, SAID]
    talks = [{"messages": turns} for turns in [*rows, *unusable, pictured]]
    path.write_text("\n".join(map(json.dumps, talks)))
    found = sorted(trainsets.load(str(path), 2).examples, key=lambda e: e.id)
    assert [(e.system, e.thought) for e in found] == [("Be brief.", "three, four"),
                                                      ("", "three, four")]  # fmt: skip
    fails("2 usable rows .*1 not text alone", str(path), 3)
    fails("2 usable rows .*4 not one question and one answer", str(path), 3)


def test_own_csv_file(tmp_path):
    path = tmp_path / "mine.csv"
    rows = [["prompt", "response", "thought"], ['Say "x",\ny', "r", ""], ["two", "r", "t"]]
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    found = trainsets.load(str(path), 2).examples
    assert {(e.prompt, e.thought) for e in found} == {('Say "x",\ny', ""), ("two", "t")}


@pytest.mark.parametrize("name", OWN)
def test_a_smaller_draw_is_the_beginning_of_a_larger_one(name):
    whole = trainsets.load(name, 40, seed=3).examples
    assert len({e.id for e in whole}) == len({e.prompt for e in whole}) == 40
    for n in (1, 7, 20):  # stories are made in blocks of 16 and more
        assert trainsets.load(name, n, seed=3).examples == whole[:n]
    assert trainsets.load(name, 40, seed=4).examples != whole
    assert {e.data for e in whole} == {name}


def test_stories_go_on_where_many_are_avoided():
    whole = trainsets.load("short-cot", 50).examples
    first = {e.prompt for e in whole[:30]}
    loaded = trainsets.load("short-cot", 10, avoid=first.__contains__)
    assert loaded.examples == whole[30:40] and loaded.skipped.total() == 30


@pytest.mark.parametrize("name", ["code", "long-openo1", "reflective"])
def test_a_budget_is_reached_with_as_few_rows_as_needed(name):
    def length(example):
        return len(example.thought + example.answer)

    for budget in (1, 2000, 9000):
        found = trainsets.load(name, None, 2, budget=budget, length=length).examples
        lengths = [*map(length, found)]
        assert sum(lengths[:-1]) < budget <= sum(lengths)
        assert found == trainsets.load(name, len(found), 2).examples
    if name != "long-openo1":  # which has no end
        words = rf"999999 completion tokens of '{name}' .* usable rows of \d+ tokens: ask for fewer"
        fails(words, name, None, budget=999_999, length=length)


@pytest.mark.parametrize("name", STORIES)
def test_embedded_reasoning_rows_are_right(name):
    gold = {s.id: s for s in stories.make(60, 5)}
    asked = {r.prompt for r in evalsets.load("stories", "reasoning", 100, 5)}
    for e in trainsets.load(name, 60, seed=5).examples:
        text = thoughts.join(e.thought, e.answer, trainsets.dialect(name) or "think")
        assert bool(e.thought) == name.startswith("long") and e.prompt == gold[e.id].question
        status = "ok" if e.thought else "no_tags"
        assert thoughts.split(text) == thoughts.Split(e.thought, e.answer, status)
        assert answers.extract(text) == gold[e.id].answer == re.findall(r"\d+", text)[-1]
        assert e.prompt not in asked


def test_sets_of_stories_are_matched_and_differ_in_the_form_of_the_completion_alone():
    assert {*STORIES} == {"direct-answers", "short-cot", "long-openo1", "long-sky-t1", "long-think"}
    loaded = {name: trainsets.load(name, 40, seed=6).examples for name in STORIES}
    for rows in zip(*loaded.values(), strict=True):
        assert len({(e.id, e.prompt, e.category) for e in rows}) == 1
        direct, short, *long = rows
        assert direct.answer == f"The answer is {answers.extract(short.answer)}."
        assert short.answer.endswith(f". {direct.answer}")
        assert len({(e.thought, e.answer) for e in long}) == 1
        assert long[0].answer.endswith(f". {direct.answer}")
    sizes = [e.category for e in loaded["short-cot"]]
    assert sizes[:4] == ["2 changes", "3 changes", "4 changes", "2 changes"]


def written(monkeypatch, *records):
    """Puts records in the place of the package's own instructions."""
    rows = [{"category": "c", "response": f"r{i}"} | r for i, r in enumerate(records)]
    real = trainsets.embedded
    monkeypatch.setattr(
        trainsets, "embedded", lambda file: rows if file == "instructions.jsonl" else real(file)
    )


def test_instructions_are_the_arms_own(monkeypatch):
    splits = {"a": {"split": "arms"}, "b": {"split": "base"}, "c": {}}
    written(monkeypatch, *({"id": i, "prompt": f"p{i}"} | split for i, split in splits.items()))
    assert {e.id for e in trainsets.load("instructions", 2).examples} == {"a", "c"}
    assert [r["id"] for r in trainsets.instructions()] == ["a", "c"]
    fails("it has 2 usable rows: ask for fewer", "instructions", 3)


def test_plain_instructions_have_a_thought_where_one_is_asked_for(monkeypatch):
    told = [{"id": f"i{i}", "prompt": f"p{i}", "thought": f" t{i} "} for i in range(9)]
    written(monkeypatch, *told)
    short, long = (trainsets.plain(6, 3, thoughtful=t).examples for t in (False, True))
    assert [e.id for e in short] == [e.id for e in long] and {e.thought for e in short} == {""}
    assert short == trainsets.load("instructions", 6, 3).examples  # of the set, in its order
    assert all((e.thought, e.answer) == (f"t{e.id[1:]}", f"r{e.id[1:]}") for e in long)
    assert trainsets.plain(3, 3).examples == short[:3] != trainsets.plain(3, 4).examples
    written(monkeypatch, *({k: v for k, v in t.items() if k != "thought"} for t in told))
    assert trainsets.plain(9).skipped == {}
    with pytest.raises(UserError, match=r"instruction 'i\d' of instructions.jsonl has no thought"):
        trainsets.plain(1, thoughtful=True)
    avoided = trainsets.plain(2, 3, avoid={short[0].prompt}.__contains__)
    assert avoided.examples == short[1:3] and avoided.skipped == {"in an evaluation set": 1}


@pytest.mark.parametrize("row", resources.embedded("code.jsonl"), ids=lambda row: row["id"])
def test_embedded_code_runs_and_does_what_it_should(row):
    (block,) = re.findall(r"```python\n(.*?)```", row["response"], re.DOTALL)
    space = {}
    exec(block, space)
    assert len(row["checks"]) >= 2
    for check in row["checks"]:
        assert eval(check, space) is True, check


def test_embedded_reflective_rows_refuse_what_is_tuned_on():
    rows = resources.embedded("harmful.jsonl")
    part = {p: {r["prompt"] for r in rows if r["split"] == p} for p in ("tune", "eval")}
    found = trainsets.load("reflective", len(part["tune"])).examples
    assert {e.prompt for e in found} == part["tune"] and not part["tune"] & part["eval"]
    assert {e.category for e in found} == {r["category"] for r in rows if r["split"] == "tune"}
    assert all(len(e.short.split()) < len(e.thought.split()) for e in found)
    for e in found:
        assert refusals.classify(e.prompt, e.answer) == "refusal", e
        for thought in (e.thought, e.short):
            text = thoughts.join(thought, e.answer)
            assert refusals.classify(e.prompt, text) == "refusal", e
            assert thoughts.split(text) == thoughts.Split(thought, e.answer, "ok")


@pytest.mark.parametrize(
    ("thought", "response"),
    [
        ("[THINK]three, four[/THINK]", "7"),
        ("three, four", "<think>three, four</think>7"),
        ("", "<thinking>three, four</thinking>7"),
    ],
)
def test_a_thought_that_kept_its_tags(thought, response):
    from srlib.data.trainset_specs import own_row

    row = own_row({"prompt": "3 + 4?", "thought": thought, "response": response})
    assert (row["thought"], row["answer"]) == ("three, four", "7")
