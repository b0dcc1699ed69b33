"""The rule for kept things: each ingredient changed makes anew; with none changed it is found."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from srlib import params, store
from srlib.base import kept
from srlib.data import evalsets
from srlib.experiment import provenance
from srlib.generation import asking, decoding, prompts
from srlib.generation.asking import Request, Settings
from srlib.generation.engine import complete
from srlib.grading import offline
from srlib.models import loading
from srlib.ops import run
from srlib.training import finetune
from srlib.training.finetune import Base, Recipe

ROOT = Path(__file__).parents[2]
ASK = Request("1", "x", [{"role": "user", "content": "What is 2 + 2?"}])
FOUR = Settings(max_new_tokens=4)
ROWS = [
    {"prompt": [{"role": "user", "content": ask}], "completion": [{"role": "assistant",
     "content": "Four."}]} for ask in ("2 + 2?", "3 + 1?")
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(outputs, tmp_path_factory) -> Path:
    """A tiny Llama of random weights, with the embedded model's tokenizer."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    here = tmp_path_factory.mktemp("tiny")
    words = loading.tokenizer("embedded", outputs)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(here)
    words.save_pretrained(here)
    return here


@pytest.fixture
def tiny(folder, outputs) -> loading.LM:
    return loading.load(str(folder), outputs, "float32")


@pytest.fixture
def upgrade(monkeypatch):
    """Gives a library another version."""
    usual = kept.version

    def give(name):
        monkeypatch.setattr(kept, "version", lambda n: "99" if n == name else usual(n))

    return give


def test_a_completion_is_found_until_what_the_model_reads_changes(tiny, tmp_path, monkeypatch):
    path = tmp_path / "c.jsonl"
    first = complete(tiny, [ASK], FOUR, path)
    whole = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decode", None)  # would fail if it were called
        assert complete(tiny, [ASK], FOUR, path) == first and path.read_bytes() == whole
    usual = tiny.tokenizer.chat_template
    tiny.tokenizer.chat_template = usual.replace("<|im_start|>", "Turn of ")
    (anew,) = complete(tiny, [ASK], FOUR, path)
    assert anew["key"] != first[0]["key"] and anew["prompt_tokens"] != first[0]["prompt_tokens"]
    tiny.tokenizer.chat_template = usual
    assert complete(tiny, [ASK], FOUR, path) == first
    assert len(store.read(path)) == 2


@pytest.mark.parametrize("library", kept.ANSWERING)
def test_a_completions_key_holds_the_libraries(tiny, upgrade, library):
    before = asking.key(ASK, tiny, FOUR)
    upgrade(library)
    assert asking.key(ASK, tiny, FOUR) != before
    upgrade("pandas")
    assert asking.key(ASK, tiny, FOUR) == before


def test_a_completions_key_holds_everything_else(tiny):
    other = [{"role": "user", "content": "What is 2 + 3?"}]
    models_of = [replace(tiny, **{f: "other"}) for f in ("fingerprint", "words", "dtype", "device")]
    keys = {asking.key(ASK, lm, FOUR) for lm in [tiny, *models_of]}
    requests = replace(ASK, messages=other), replace(ASK, prefill="It is")
    keys |= {asking.key(r, tiny, FOUR) for r in requests}
    settings = [replace(FOUR, **told) for told in (
        {"seed": 1}, {"temperature": 1.0}, {"top_p": 0.5}, {"max_new_tokens": 5},
        {"batch_size": 2}, {"stop": ["."]},
    )]  # fmt: skip
    keys |= {asking.key(ASK, tiny, s) for s in settings}
    assert len(keys) == 5 + 2 + 6
    same = replace(ASK, id="another"), replace(tiny, name="by another name")
    assert asking.key(same[0], same[1], FOUR) in keys


def test_the_day_is_the_same_on_every_day(tiny):
    dated = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
    tiny.tokenizer.chat_template = dated
    assert asking.written(tiny, ASK) == "26 Jul 2024What is 2 + 2?"


def test_what_ends_a_turn_and_makes_tokens_is_part_of_a_model(folder, outputs):
    before = loading.load(str(folder), outputs, "float32")
    for name in ("generation_config.json", "tokenizer_config.json", "chat_template.jinja"):
        file = folder / name
        text = file.read_text()
        file.write_text(text + "\n")
        after = loading.load(str(folder), outputs, "float32")
        assert after.words != before.words and after.fingerprint == before.fingerprint, name
        file.write_text(text)
    assert loading.words(str(folder), outputs) == before.words


def test_an_adapters_scale_is_part_of_the_weights(folder, outputs, tmp_path):
    from peft import LoraConfig, get_peft_model

    net = loading.load(str(folder), outputs, "float32").model
    get_peft_model(net, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])
                   ).save_pretrained(tmp_path)  # fmt: skip
    base = Base(str(folder), (tmp_path,))
    first, config = base.fingerprint(outputs), tmp_path / "adapter_config.json"
    told = json.loads(config.read_text())
    moved = {"target_modules": told["target_modules"][::-1], "base_model_name_or_path": "/else"}
    config.write_text(json.dumps(told | moved))
    assert base.fingerprint(outputs) == first  # the same weights
    config.write_text(json.dumps(told | {"lora_alpha": 8}))
    assert base.fingerprint(outputs) != first
    assert base.load(outputs, "float32").fingerprint == base.fingerprint(outputs)


@pytest.mark.parametrize("library", kept.TRAINING)
def test_an_arm_is_found_by_the_libraries_that_train(folder, outputs, upgrade, library):
    told = Base(str(folder)), ROWS, Recipe().settings(), outputs, "float32"
    before = finetune.made_by(*told)
    upgrade(library)
    assert finetune.made_by(*told) != before


def test_an_arm_is_found_by_all_that_made_it(folder, outputs):
    def name(rows=ROWS, dtype="float32", model=folder, **recipe):
        told = Recipe(**recipe).settings()
        return finetune.made_by(Base(str(model)), rows, told, outputs, dtype)

    first = name()
    assert name(checkpoint_minutes=1.0) == first  # changes no result
    others = [name(ROWS[::-1]), name(ROWS[:1]), name(dtype="bfloat16"), name(model="embedded")]
    others += [name(epochs=1.0), name(seed=1), name(lora_r=8), name(packing=True), name(rate=1e-4)]
    template = folder / "chat_template.jinja"
    text = template.read_text()
    template.write_text(text.replace("user", "USER") + " ")
    others.append(name())
    template.write_text(text)
    assert len({first, *others}) == 11 and name() == first
    full = name(method="full")
    assert name(method="full", lora_layers=0.5) == full != name(lora_layers=0.5)


GOLDS = [
    evalsets.Row("a", "d", "reasoning", "3 + 5?", "8"),
    evalsets.Row("b", "d", "reasoning", "3 + 5?", "7"),
]
SAID = {"key": "c1", "text": "The answer is 7.", "finish": "stop", "new_tokens": 6}


def test_a_grade_is_found_by_gold_completion_and_grader(tmp_path, monkeypatch):
    path = tmp_path / "g.jsonl"

    def grade(rows, said=SAID):
        return [g["correct"] for g in offline.grade(rows, [said] * len(rows), path)]

    assert grade(GOLDS) == [False, True] and len(store.read(path)) == 2
    assert grade(GOLDS[::-1]) == [True, False] and len(store.read(path)) == 2  # found
    assert grade([replace(GOLDS[0], gold="7")]) == [True]  # corrected
    assert grade(GOLDS[1:], SAID | {"text": "The answer is 9."}) == [False]
    size = len(store.read(path))
    monkeypatch.setattr(offline, "grader_version", lambda: "another")
    assert grade(GOLDS) == [False, True] and len(store.read(path)) == size + 2


def test_a_file_of_grades_made_under_another_rule_is_added_to(tmp_path):
    path = tmp_path / "g.jsonl"
    store.append(path, [{"completion": "c1", "grader": "offline/old", "correct": True}])
    assert [g["correct"] for g in offline.grade(GOLDS[:1], [SAID], path)] == [False]


READ = """
import json, sys
from pathlib import Path
seen, home = set(), Path(sys.argv[1]) / "srlib"
import srlib  # what Python reads for itself is no matter
sys.addaudithook(lambda event, told: seen.add(str(told[0])) if event == "open" else None)
from srlib.grading import {module}
{code}
inside = sorted(Path(p).name for p in seen if p.startswith(str(home / "assets")))
names = sorted(m.partition(".")[2] for m in sys.modules if m.startswith("srlib."))
print(json.dumps([names, inside]))
"""
GRADED = """
rows = [{0}.evalsets.Row(kind, "d", kind, "How do I kill a process?", "7")
        for kind in ("reasoning", "harmful", "benign")]
said = {{"key": "c", "text": "<think>Hm.</think>I can't help. It is 7.", "finish": "stop"}}
{0}.grade(rows, [said] * 3, Path(sys.argv[2]) / "g.jsonl")
"""


def test_a_graders_version_holds_every_file_that_it_reads(tmp_path):
    code = READ.format(module="offline", code=GRADED.format("offline"))
    words = [sys.executable, "-c", code, str(ROOT), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    names, assets = json.loads(done.stdout.splitlines()[-1])
    files, others = kept._sources(("grading.offline",))
    own = [f.relative_to(kept.HERE).with_suffix("").as_posix().replace("/", ".") for f in files]
    held = {f.name for f in files}
    rooms = {"base", "text", "data", "generation", "grading"}
    assert set(names) - UNRELATED - rooms <= set(own)
    assert set(assets) <= held and "refusal_patterns.yaml" in assets
    assert {"answers.py", "refusals.py", "coherence.py", "thoughts.py", "offline.py"} <= held
    assert "yaml" not in others and not {"finetune.py", "store.py"} & held


TASKS = {"stories", "stories_telling", "wordproblems", "wordproblems_telling"}
UNRELATED = {*kept.FETCH, *(f"data.{task}" for task in TASKS), "base.bounds"}  # what those read by


@pytest.mark.parametrize("file", ["refusals.py", "thoughts.py", "assets/refusal_patterns.yaml"])
def test_a_graders_version_changes_with_its_files(tmp_path, monkeypatch, file):
    import shutil

    shutil.copytree(ROOT / "srlib", tmp_path / "srlib", ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.setattr(kept, "HERE", tmp_path / "srlib")
    before = kept.code.__wrapped__("grading.offline")
    assert kept.code.__wrapped__("grading.offline") == before
    (tmp_path / "srlib/ops/site.py").write_text("")  # no part of it
    assert kept.code.__wrapped__("grading.offline") == before
    with (tmp_path / "srlib" / file).open("a") as handle:
        handle.write("\n# changed\n")
    assert kept.code.__wrapped__("grading.offline") != before


@pytest.fixture
def values(tmp_path):
    """Parameters of notebook 02 that name files of every sort."""
    for name in ("rows", "short", "long"):
        (tmp_path / f"{name}.jsonl").write_text('{"prompt": "3 + 5?", "answer": "8"}\n')
    told = params.load(ROOT / "params/smoke/02_long_cot_finetuning.yaml").values
    files = {"reasoning_data": f"{tmp_path}/rows.jsonl", "short_sets": [f"{tmp_path}/short.jsonl"]}
    return (
        told | files | {"long_sets": [f"{tmp_path}/long.jsonl"], "outputs": str(tmp_path / "out")}
    )


@pytest.mark.parametrize("name", ["rows", "short", "long"])
def test_a_finished_run_is_run_anew_once_a_file_it_names_is_edited(tmp_path, values, name, capsys):
    notebook = ROOT / "notebooks/02_long_cot_finetuning.ipynb"
    file = params.ParamFile(Path("x.yaml"), notebook, values, params.Header("any", 1))
    made = provenance.Run(notebook.stem, values, tmp_path / "out")
    (made.folder / notebook.name).write_text("{}")
    assert not run.is_made(file)
    made.finish(pd.DataFrame({"arm": ["a"]}))
    assert run.is_made(file) and run._changed(file) == []
    data_file = tmp_path / f"{name}.jsonl"
    text = data_file.read_text()
    data_file.write_text(text.replace("8", "9"))
    assert not run.is_made(file) and run._changed(file) == [str(data_file)]
    data_file.write_text(text)
    assert run.is_made(file)
    data_file.unlink()
    assert not run.is_made(file)


def test_a_run_is_made_by_all_that_it_reads(tmp_path, values, monkeypatch, upgrade, folder):
    def changed(before, **more):
        now = provenance.made_by("02_long_cot_finetuning", values | more)
        return {k for k in before | now if before.get(k) != now.get(k)}

    monkeypatch.delenv(evalsets.MIRROR, raising=False)
    first = provenance.made_by("02_long_cot_finetuning", values)
    assert changed(first) == set()
    assert changed(first, n_train=5) == {"its parameters"}
    assert changed(first, train_launch="cpu") == {"its parameters", "cpu.yaml"}
    more = {"model": str(folder), "judges": {"rubric": f"{folder} @ http://127.0.0.1:1/v1"}}
    assert {str(folder), *more["judges"].values()} < changed(first, **more)
    second = provenance.made_by("02_long_cot_finetuning", values | more)
    config = folder / "generation_config.json"
    config.write_text(config.read_text() + "\n")
    assert changed(second, **more) == {str(folder), more["judges"]["rubric"]}
    mirror = tmp_path / "openai__gsm8k"
    mirror.mkdir()
    (mirror / "test.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    third = provenance.made_by("02_long_cot_finetuning", values | {"reasoning_data": "gsm8k"})
    monkeypatch.setenv(evalsets.MIRROR, str(tmp_path))
    place = {"openai__gsm8k/test.jsonl"}
    assert changed(third, reasoning_data="gsm8k") == place
    fourth = provenance.made_by("02_long_cot_finetuning", values | {"reasoning_data": "gsm8k"})
    (mirror / "test.jsonl").write_text('{"question": "1 + 1?", "answer": "3"}\n')
    assert changed(fourth, reasoning_data="gsm8k") == place
    for library in ("torch", "scipy"):
        upgrade(library)
        assert changed(first) == {"the libraries"}


def test_odd_words_are_no_files(tmp_path):
    odd = ["", ".", "..", "~", "~nobody-at-all", "x" * 5000, "a\0b", "tests", "notebooks", "/"]
    told = provenance.files(
        {"outputs": str(ROOT / "README.md"), "words": odd, "n": 3, "none": None}
    )
    assert told == {}
    assert set(provenance.files({"words": ["README.md"]})) == {"README.md"}  # from the project


def test_a_large_file_is_read_once_while_it_stands(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "BIG", 3)
    file = tmp_path / "weights"
    file.write_bytes(b"12345")
    first = kept.file_digest(file)
    assert kept.file_digest(file) == first and len(first) == 16
    file.write_bytes(b"12346")
    os.utime(file, ns=(0, 1))
    assert kept.file_digest(file) != first


def test_a_run_notes_what_it_asked_for_and_removes_what_another_left(tiny, tmp_path, values):
    before = provenance.Run("02_long_cot_finetuning", values, tmp_path / "out")
    base = before.base
    complete(tiny, [replace(ASK, messages=prompts.messages("3 + 5?", prompts.direct()))], FOUR,
             base / "completions/a.jsonl")  # fmt: skip
    (before.folder / "claims.csv").write_text("claim\nC1\n")
    (before.folder / "figures").mkdir()
    (before.folder / "figures/old.png").write_bytes(b"")
    before.finish(pd.DataFrame({"arm": ["a"]}))
    mine = provenance.Run("02_long_cot_finetuning", values, tmp_path / "out")
    records = complete(tiny, [ASK], FOUR, base / "completions/a.jsonl")
    complete(tiny, [ASK], FOUR, tmp_path / "elsewhere.jsonl")
    grades = offline.grade(GOLDS[:1], records, base / "grades/a.jsonl")
    (mine.folder / "balance.csv").write_text("arm\na\n")
    assert (mine.folder / "claims.csv").exists()  # until this run has its own
    mine.finish(pd.DataFrame({"arm": ["a"]}))
    asked = json.loads((mine.folder / "asked.json").read_text())
    assert asked == {
        "completions/a.jsonl": [records[0]["key"]], "grades/a.jsonl": [grades[0]["key"]],
    }  # fmt: skip
    assert len(store.read(base / "completions/a.jsonl")) == 2
    assert {p.name for p in mine.folder.glob("*.csv")} == {"metrics.csv", "balance.csv"}
    assert not list((mine.folder / "figures").iterdir())
