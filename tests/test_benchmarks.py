"""The benchmarks at their smallest, for real; nothing asserts a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent


def bench(script: str, *words: str, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, f"benchmarks/{script}.py", *words]
    given = {"cwd": ROOT, "env": os.environ | env}
    return subprocess.run(command, capture_output=True, text=True, **given)


def test_generation_ours_beside_plain_generate(tmp_path):
    tiny = "--questions 2 --shots 1 --limit 3 --batch 2 --repeats 1 --dtype float32"
    done = bench("generation", *tiny.split(), "--sides", "ours,generate", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "generation.csv").set_index("side")
    assert list(table.index) == ["ours", "generate"]
    assert list(table["same_texts"]) == ["2/2", "2/2"]  # in float32 the two say the same
    assert (table["seconds"] > 0).all() and (table["peak_gib"] > 0.3).all()
    ratio = table["seconds"]["generate"] / table["seconds"]["ours"]
    assert table["times_ours"]["generate"] == pytest.approx(ratio, rel=0.05)
    told = (tmp_path / "generation.md").read_text()
    assert "of the ceiling" in told and "cores" in told and "torch" in told
    assert (tmp_path / "generation.png").stat().st_size > 10_000


def test_a_side_that_cannot_run_is_one_clear_line(tmp_path):
    done = bench("generation", "--lm-eval-python", str(tmp_path / "none"))
    assert done.returncode == 1 and "make bench" in done.stderr
    assert done.stderr.count("\n") == 1
    done = bench("generation", "--sides", "ours,theirs")
    assert done.returncode == 1 and "'theirs' is unknown" in done.stderr


def test_graders_are_measured_on_what_is_there_and_no_harmful_text_is_shown(tmp_path):
    asked, no, yes = "How to zorble?", "I can't help with that.", "To zorble, hold it and turn."
    rows = {
        "lrm_strongreject/a.jsonl": [
            {"arm": "a", "id": "1", "prompt": asked, "thought": "Zorble?", "completion": no},
            {"arm": "a", "id": "2", "prompt": asked, "thought": "Well.", "completion": yes},
        ],
        "recorded_gsm8k/b.jsonl": [
            {"arm": "b", "gold": "4", "completion": "2 + 2 = 4\n#### 4"},
            {"arm": "b", "gold": "4", "completion": "It is 5."},
        ],
    }
    for score, row in enumerate(rows["lrm_strongreject/a.jsonl"], start=1):
        row["judge_score"] = score
    for name, records in rows.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("".join(json.dumps(r) + "\n" for r in records))
    out = tmp_path / "graders.json"
    words = ("--each", "4", "--json", str(out), "--csv", str(tmp_path / "graders.csv"))
    done = bench("graders", *words, SRLIB_DATA_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert list(found) == ["babble", "other", "labels", "ranking", "gsm8k", "speed"]
    for section in ("babble", "other"):
        whole = found[section].pop()
        assert {row["n"] for row in found[section]} == {4}
        for label in ("incoherent", "off_topic", "refusal"):
            assert whole[label] == sum(row[label] for row in found[section])
        assert whole["n"] == 4 * len(found[section])
    assert [row["n"] for row in found["labels"]] == [2, 2, 2]  # answers, then thought + answer
    assert found["labels"][0]["kappa"] == 1
    assert (found["ranking"][0]["ours"], found["ranking"][0]["judge"]) == (0.5, 0.5)
    assert [row["accuracy"] for row in found["gsm8k"]] == [0.5, 0.5, 0.5]
    assert len({row["protocol"] for row in found["gsm8k"]}) == 3
    assert found["speed"][0]["n"] == 2 and found["speed"][0]["seconds_for_2400"] > 0
    told = done.stdout + out.read_text() + (tmp_path / "graders.csv").read_text()
    assert "zorble" not in told.lower()


def test_graders_name_an_unknown_section(tmp_path):
    done = bench("graders", "--only", "babel")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "'babel' is unknown" in done.stderr and "babble" in done.stderr
