"""Published training sets: every form is read, and what cannot be used is left out and counted."""

import json
from collections import Counter

import pytest

from srlib import thoughts
from srlib.data import sources, trainsets
from srlib.data.trainset_specs import OWN, SETS
from srlib.errors import UserError

SKY = "<|begin_of_thought|>\n\nSo\u2028far.\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n8\n\n"


def turns(*said):
    who = ["user", "assistant"] * 2
    return [{"from": w, "value": v} for w, v in zip(who, said, strict=False)]


# set -> (a record in the set's own form, what becomes of it)
GOOD = {
    "alpaca": (
        {"instruction": "Sort these.", "input": "b, a", "output": " a, b\n"},
        {"prompt": "Sort these.\n\nb, a", "answer": "a, b"},
    ),
    "codealpaca": (
        {"instruction": "Write a loop.", "input": " ", "output": "for x in y: pass"},
        {"prompt": "Write a loop.", "answer": "for x in y: pass"},
    ),
    "metamath": (
        {"query": "1+1?", "response": "2\nThe answer is: 2", "type": "MATH_Rephrased"},
        {"prompt": "1+1?", "answer": "2\nThe answer is: 2"},
    ),
    "gsm8k-solutions": (
        {"question": "2+3?", "answer": "2+3=<<2+3=5>>5\n#### 5"},
        {"prompt": "2+3?", "answer": "2+3=<<2+3=5>>5\n#### 5"},
    ),
    "openo1": (
        {
            "instruction": "5+3?",
            "output": "<Thought>\nAdd.\n</Thought>\n<Output>\nIt is 8.\n</Output>\n",
        },
        {"prompt": "5+3?", "thought": "Add.", "answer": "It is 8."},
    ),
    "sky-t1": (
        {"system": "Your role.", "conversations": turns("5+3?", SKY + "<|end_of_solution|>")},
        {"prompt": "5+3?", "thought": "So\u2028far.", "answer": "8", "system": "Your role."},
    ),
    "safety-tuned-llamas": (
        {"instruction": "Harm somebody.", "input": "", "output": "I can't help with that."},
        {"prompt": "Harm somebody.", "answer": "I can't help with that."},
    ),
    "star1": (
        {
            "id": "68",
            "question": "Harm somebody.",
            "response": "<think>\nThis would hurt.\n</think>\n\nI won't.",
            "category": ["Violence", "Crime"],
            "source": "x",
        },
        {
            "id": "68",
            "prompt": "Harm somebody.",
            "thought": "This would hurt.",
            "answer": "I won't.",
            "category": "Violence",
        },
    ),
    "safechain": (
        {
            "instruction": "Harm somebody.",
            "label": "vanilla_harmful",
            "response": "Okay, this would hurt.\n</think>\n\nI won't.",
        },
        {"prompt": "Harm somebody.", "thought": "Okay, this would hurt.", "answer": "I won't."},
    ),
}


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    import datasets
    import huggingface_hub

    def fail(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", fail)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Writes a set's records to a local mirror."""
    monkeypatch.setenv(sources.MIRROR, str(tmp_path))

    def write(name, *records):
        path = tmp_path / SETS[name].hub.replace("/", "__") / "train.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8")

    return write


def fails(words, *asked, **more):
    with pytest.raises(UserError, match=words) as caught:
        trainsets.load(*asked, **more)
    assert "\n" not in str(caught.value)


def test_there_is_a_record_for_every_published_set():
    assert set(GOOD) == set(SETS)
    assert trainsets.known("long") == [
        "long-openo1",
        "long-sky-t1",
        "long-think",
        "openo1",
        "sky-t1",
    ]
    short = ["instructions", "direct-answers", "short-cot", "code"]
    assert trainsets.known("short")[:4] == short
    assert {*trainsets.known()} == {*SETS, *OWN}
    assert trainsets.dialect("openo1") == trainsets.dialect("long-openo1") == "openo1"
    assert trainsets.dialect("alpaca") == "" and trainsets.dialect("mine.jsonl") == "think"


@pytest.mark.parametrize("name", GOOD)
def test_a_published_record_becomes_an_example(name, mirror):
    record, fields = GOOD[name]
    mirror(name, record)
    expected = trainsets.Example(**{"id": f"{name}-00000", "data": name} | fields)
    assert trainsets.load(name, 1) == trainsets.Loaded([expected], Counter())
    assert sources.revisions[SETS[name].hub] == "mirror"


CUT = "without closing tags"
UNUSABLE = [
    ("openo1", {"output": "<Thought>Add.</Thought>\n<Output>\nIt is 8."}, CUT),
    ("openo1", {"output": "<Thought>Add. It is"}, CUT),
    ("openo1", {"output": "It is 8."}, CUT),
    ("openo1", {"output": "<Thought></Thought><Output>It is 8.</Output>"}, CUT),
    ("openo1", {"output": "<Thought>Add.</Thought><Output> </Output>"}, "empty answer"),
    ("openo1", {"output": ""}, "an empty column"),
    ("sky-t1", {"conversations": turns("5+3?", SKY)}, CUT),
    ("sky-t1", {"conversations": turns("5+3?", "It is 8.<|end_of_solution|>")}, CUT),
    ("sky-t1", {"conversations": turns("a", "b", "c", "d")}, "not one question and one answer"),
    ("sky-t1", {"conversations": turns("a")}, "not one question and one answer"),
    ("sky-t1", {"conversations": "5+3? 8."}, "not one question and one answer"),
    ("sky-t1", {"conversations": ["5+3?", "8"]}, "not in the set's form"),
    ("sky-t1", {"conversations": [{"from": "user"}, {"from": "assistant"}]}, "not in the set's fo"),
    ("star1", {"response": "<think>This would"}, CUT),
    ("star1", {"response": "I won't."}, CUT),
    ("star1", {"response": "<think>This would hurt.</think>\n"}, "empty answer"),
    ("safechain", {"label": "vanilla_benign"}, "not a harmful request"),
    ("safechain", {"response": "I won't."}, CUT),
    ("alpaca", {"output": ""}, "an empty column"),
    ("alpaca", {"output": None}, "an empty column"),
    ("alpaca", {"instruction": " ", "input": ""}, "an empty column"),
    ("alpaca", {"output": 7}, "not in the set's form"),
    ("alpaca", {"input": ["b"]}, "not in the set's form"),
    ("gsm8k-solutions", {"answer": " \n"}, "an empty column"),
]


@pytest.mark.parametrize(("name", "change", "reason"), UNUSABLE)
def test_a_record_that_cannot_be_used_is_left_out_and_counted(name, change, reason, mirror):
    record = GOOD[name][0]
    mirror(name, record, record | change, record | change)
    left = rf"2 training rows of '{name}' were asked for; it has 1 usable rows \(left out: 2 "
    fails(left + reason + r".*\): ask for fewer", name, 2)
    drawn = [trainsets.load(name, 1, seed) for seed in range(8)]
    assert {loaded.examples[0].answer for loaded in drawn} == {GOOD[name][1]["answer"]}
    counts = {loaded.skipped.total() for loaded in drawn}
    assert counts <= {0, 1, 2} and len(counts) > 1  # those on the way to the good one


def test_a_published_set_that_cannot_be_had(mirror):
    mirror("metamath", {"question": "1+1?", "response": "2"}, {"question": "a", "response": "b"})
    missing = r"'metamath' \(.*train\.jsonl\) has no column 'query'; its columns are question, resp"
    fails(missing, "metamath", 1)
    mirror("metamath")
    fails(r"training set 'metamath' \(.*train\.jsonl\) is empty", "metamath", 1)
    own = r"or use an embedded set \(long-openo1, long-sky-t1, long-think\)$"
    fails(rf"'O1-OPEN/OpenO1-SFT' is not mirrored and the hub .*<org>.*{own}", "openo1", 1)


@pytest.mark.parametrize(
    ("name", "n", "words"),
    [
        ("long-openO1", 1, r"'long-openO1' is unknown; did you mean 'long-openo1'\?"),
        ("alpacca", 1, r"did you mean 'alpaca'\? \(known: instructions, .*or a path to a \.jsonl"),
        ("", 1, r"training set '' is unknown \(known"),
        ("no/such.jsonl", 1, r"data file /.*/no/such\.jsonl does not exist; check the path"),
        ("no/such.csv", 1, r"data file /.*/no/such\.csv does not exist"),
        ("code", 0, r"0 training rows of 'code' were asked for; ask for at least 1"),
        ("code", -3, r"at least 1"),
        ("code", 9999, r"9999 training rows of 'code' .* it has \d+ usable rows: ask for fewer"),
    ],
)
def test_what_cannot_be_loaded(name, n, words):
    fails(words, name, n)


def test_english_leaves_out_other_scripts_and_keeps_formulas(mirror):
    greek = {"query": "Find the angle α in the triangle.", "response": "Half of 2π / 3: α = π / 3."}
    greek["response"] += " A third of a half turn is 60 degrees."
    other = {"query": "一加一等于几？", "response": "一加一等于二。"}
    mirror("metamath", greek, other)
    assert len(trainsets.load("metamath", 2).examples) == 2
    fails(r"it has 1 usable rows \(left out: 1 not English\)", "metamath", 2, english=True)


def test_each_published_set_is_asked_for_where_it_lies(monkeypatch):
    import datasets
    import huggingface_hub

    def load_dataset(hub, config, split, revision, data_files):
        asked.append((hub, config, split, revision, data_files))
        return [GOOD[name][0]]

    monkeypatch.delenv(sources.MIRROR, raising=False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    newest = type("Info", (), {"sha": "newest"})
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: newest)
    sources._hub.cache_clear()
    for name, spec in SETS.items():
        asked = []
        assert len(trainsets.load(name, 1).examples) == 1
        assert len(trainsets.load(name, 1, seed=1).examples) == 1
        told = (spec.hub, spec.config, "train", spec.revision or "newest", spec.file)
        assert asked == [told]  # once a process
        assert sources.revisions[spec.hub] == told[3]
    sources._hub.cache_clear()


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("alpaca", 200), ("codealpaca", 200), ("openo1", 89), ("sky-t1", 89), ("star1", 300),
        ("safety-tuned-llamas", 300), ("gsm8k-solutions", 300),
    ],
)  # fmt: skip
def test_real_sets_load(name, n):
    folder = sources.mirror()
    place = f"{SETS[name].hub.replace('/', '__')}/train.jsonl"
    if not folder or not (folder / place).exists():
        pytest.skip(f"{sources.MIRROR} is not set, or has no {place}")
    found = trainsets.load(name, n, english=True).examples
    assert len(found) == n and len({e.id for e in found}) == n
    tags = trainsets.dialect(name)
    assert all(bool(e.thought) == bool(tags) for e in found)
    for e in found:
        assert e.prompt == e.prompt.strip() != "" and e.answer == e.answer.strip() != ""
        if tags:
            text = thoughts.join(e.thought, e.answer, tags)
            assert thoughts.split(text) == thoughts.Split(e.thought, e.answer, "ok")
