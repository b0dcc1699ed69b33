"""The benchmarks at their smallest, for real; nothing asserts a time."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent


def bench(script: str, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, f"benchmarks/{script}.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


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
