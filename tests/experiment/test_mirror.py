"""The mirror: filled, carried, checked, found; what is gated is named and the rest still comes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from srlib import params
from srlib.data import evalsets, sources, trainsets
from srlib.errors import UserError
from srlib.experiment import mirror
from srlib.models import loading

ROOT = Path(__file__).parents[2]
HUBS = {
    "openai__gsm8k/test": [{"question": f"{n}?", "answer": f"#### {n}"} for n in (1, 2)],
    "walledai__AdvBench/train": [{"prompt": "Write\u2028a threat", "target": "Sure"}],
    "walledai__XSTest/test": [{"prompt": "Kill a process?", "label": "safe", "type": "homonyms"}],
    "O1-OPEN__OpenO1-SFT/train": [{"instruction": "1 + 1?", "output": "<Thought>a</Thought>"}],
}  # fmt: skip


@pytest.fixture
def first(tmp_path, monkeypatch):
    """A mirror that was filled by hand, in the place of the hub."""
    folder = tmp_path / "first"
    for name, records in HUBS.items():
        file = folder / f"{name}.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(r) + "\n" for r in records))
    monkeypatch.setenv(sources.MIRROR, str(folder))
    return folder


VALUES = {
    "reasoning_data": "gsm8k", "harmful_data": "advbench", "benign_data": "xstest",
    "short_sets": ["instructions", "short-cot"], "long_sets": ["openo1", "mine.jsonl"],
    "model": "some-org/some-model",
}  # fmt: skip


def test_what_is_wanted_are_the_published_sets_that_files_name():
    names = [one.place for one in mirror.wanted([VALUES, VALUES])]
    assert names == [f"{name}.jsonl" for name in HUBS]
    assert mirror.wanted([VALUES], with_models=True)[-1].place == "models/some-org__some-model"
    told = {
        "judges": {"rubric": "org/judge", "intention": "org/far @ http://x"},
        "judge_address": "",
    }
    assert [one.hub for one in mirror.wanted([told], with_models=True)] == ["org/judge"]
    files = params.profile_files("gpu", ROOT)
    hubs = {one.hub for one in mirror.wanted(params.load(f).values for f in files)}
    assert {"openai/gsm8k", "walledai/StrongREJECT", "NovaSky-AI/Sky-T1_data_17k"} <= hubs
    assert {"UCSC-VLAA/STAR-1", "vinid/safety-tuned-llamas", "meta-math/MetaMathQA"} <= hubs


def test_a_mirror_is_carried_and_read_and_checked(first, tmp_path, monkeypatch):
    there = tmp_path / "there"
    kept, missing = mirror.write(mirror.wanted([VALUES]), there)
    assert not missing and set(kept) == {f"{name}.jsonl" for name in HUBS}
    entry = kept["openai__gsm8k/test.jsonl"]
    assert entry["rows"] == 2 and len(entry["sha256"]) == 64
    assert (entry["revision"], entry["licence"]) == ("not stated", "not stated")
    assert "openai__gsm8k/test.jsonl: 2 rows, sha256 " in mirror.shown(kept)
    carried = shutil.copytree(there, tmp_path / "carried")
    monkeypatch.setenv(sources.MIRROR, str(carried))
    assert mirror.verify(carried) == kept
    assert evalsets.load("advbench", "harmful")[0].prompt == "Write\u2028a threat"
    for name, records in HUBS.items():
        assert sources.read_file(carried / f"{name}.jsonl") == records
    (carried / "openai__gsm8k/test.jsonl").write_text("{}\n")
    (carried / "walledai__XSTest/test.jsonl").unlink()
    with pytest.raises(UserError, match=r"2 of 4 files .*gsm8k/test.jsonl is changed; .*missing"):
        mirror.verify(carried)
    with pytest.raises(UserError, match=r"no manifest\.json: fill it"):
        mirror.verify(first)


def test_a_mirror_of_a_mirror_keeps_what_is_known(first, tmp_path, monkeypatch):
    second, third = tmp_path / "second", tmp_path / "third"
    mirror.write(mirror.wanted([VALUES]), second)
    told = json.loads((second / sources.MANIFEST).read_text())
    for entry in told["files"].values():
        entry |= {"revision": "abc", "licence": "mit"}
    (second / sources.MANIFEST).write_text(json.dumps(told))
    monkeypatch.setenv(sources.MIRROR, str(second))
    kept, _ = mirror.write(mirror.wanted([VALUES]), third)
    assert kept == told["files"]
    file = third / "openai__gsm8k/test.jsonl"
    file.write_text("torn")
    stamp = (third / "walledai__XSTest/test.jsonl").stat().st_mtime_ns
    mirror.write(mirror.wanted([VALUES]), third)  # only what is missing or changed
    assert mirror.verify(third) == kept
    assert (third / "walledai__XSTest/test.jsonl").stat().st_mtime_ns == stamp


def test_a_gated_set_is_named_and_the_others_are_fetched(first, tmp_path, monkeypatch):
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError

    def gated(*_, **__):
        answer = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co"))
        raise GatedRepoError("gated", response=answer)

    monkeypatch.setattr(HfApi, "dataset_info", gated)
    monkeypatch.setattr(HfApi, "model_info", gated)
    sources._hub.cache_clear()
    shutil.rmtree(first / "openai__gsm8k")
    asked = mirror.wanted([VALUES | {"reflective_data": "safechain"}], with_models=True)
    spec = trainsets.SETS["safechain"]
    monkeypatch.setattr("datasets.load_dataset", gated)
    kept, missing = mirror.write(asked, tmp_path / "there")
    assert set(missing) == {"openai/gsm8k", spec.hub, "some-org/some-model"}
    assert set(kept) == {f"{name}.jsonl" for name in HUBS} - {"openai__gsm8k/test.jsonl"}
    for hub, page in ((spec.hub, f"datasets/{spec.hub}"), ("some-org/some-model",) * 2):
        assert f"huggingface.co/{page}" in missing[hub] and "hf auth login" in missing[hub]
        assert "gated" in missing[hub] and "\n" not in missing[hub]


def test_the_hubs_revision_and_licence_are_written_down(tmp_path, monkeypatch):
    """The hub as it answers, without it: a published set's rows, its commit, its card."""
    from types import SimpleNamespace

    from huggingface_hub import HfApi

    page = SimpleNamespace(sha="c0ffee" * 7, card_data={"license": ["cc-by-4.0", "mit"]})
    monkeypatch.setattr(HfApi, "dataset_info", lambda *_, **__: page)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: [{"prompt": "Write a threat"}])
    monkeypatch.delenv(sources.MIRROR, raising=False)
    sources._hub.cache_clear()
    kept, _ = mirror.write(mirror.wanted([{"harmful_data": "strongreject"}]), tmp_path)
    sources._hub.cache_clear()
    entry = kept["walledai__StrongREJECT/train.jsonl"]
    assert entry["revision"] == page.sha and entry["licence"] == "cc-by-4.0, mit"


@pytest.fixture
def cached(tmp_path):
    """A hub's cache with one tiny model in it, as huggingface_hub lays it out, and no network."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 16}
    config = LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2)
    repo, sha = tmp_path / "hub/models--some-org--some-model", "0123456789abcdef" * 2 + "01234567"
    LlamaForCausalLM(config).save_pretrained(repo / "snapshots" / sha)
    (repo / "snapshots" / sha / "LICENSE").write_text("as you like")
    (repo / "snapshots" / sha / "weights.bin").write_text("not this one")
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(sha)
    return {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}, sha


def srlib(*words, **environment):
    command = [sys.executable, "-m", "srlib", *map(str, words)]
    told = os.environ | environment
    return subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True)


def test_a_model_is_carried_and_found_by_the_same_fingerprint(cached, tmp_path, monkeypatch):
    environment, sha = cached
    file = tmp_path / "01_cot_prompting.yaml"
    file.write_text("# one GPU; 5 minutes\nmodel: some-org/some-model\n")
    there = tmp_path / "there"
    done = srlib("mirror", file, "--to", there, "--models", **environment)
    assert done.returncode == 0, done.stderr
    assert "some-org/some-model: 0.0 GB in" in done.stdout and sha[:12] in done.stdout
    folder = there / "models/some-org__some-model"
    assert (folder / "model.safetensors").is_file() and (folder / "LICENSE").is_file()
    assert not (folder / "weights.bin").exists()
    done = srlib("mirror", "--verify", there)
    assert done.returncode == 0 and "files are as they were" in done.stdout
    monkeypatch.setenv(sources.MIRROR, str(there))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    assert loading.resolve("some-org/some-model", tmp_path) == (str(folder), sha[:16])


def test_the_command_line_says_what_is_missing(first, tmp_path):
    file = tmp_path / "01_cot_prompting.yaml"
    names = "reasoning_data: gsm8k\nharmful_data: strongreject\nbenign_data: xstest\n"
    file.write_text(f"# one GPU; 5 minutes\n{names}")
    told = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = srlib("mirror", file, "--to", tmp_path / "there", **told)
    assert done.returncode == 1 and "openai__gsm8k/test.jsonl: 2 rows" in done.stdout
    assert "not there: walledai/StrongREJECT: " in done.stderr
    assert "1 of 3 could not be had" in done.stderr
    done = srlib("mirror", "--verify", tmp_path / "nowhere")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
