"""Sweeps: jobs out of a grid, GPUs one job each, and a real one in which a job fails once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from srlib import params
from srlib.errors import UserError
from srlib.ops import pin, sweep

pytestmark = pytest.mark.usefixtures("without_mirror")
ROOT = Path(__file__).parents[2]
SNAKEMAKE = ROOT / ".venv-sweep" / "bin" / "snakemake"
needs_snakemake = pytest.mark.skipif(not SNAKEMAKE.exists(), reason="`make sweep` installs it")


@pytest.fixture
def write(tmp_path):
    def make(**told):
        path = tmp_path / "tiny.yaml"
        told.setdefault("set", {}).setdefault("outputs", str(tmp_path / "out"))
        path.write_text(yaml.safe_dump({"base": "smoke", **told}, sort_keys=False))
        return path

    return make


def test_a_grid_becomes_complete_parameter_files(write, tmp_path):
    grid = {
        "seed": [0, 1],
        "model": {"small": {"model": "org/a", "n_harmful": 5}, "large": {"model": "org/b"}},
    }
    notebooks = ["02_long_cot_finetuning", "04_failure_modes"]
    found = sweep.plan(write(grid=grid, notebooks=notebooks))
    assert len(found.jobs) == 2 * 2 * 2 + 1 and found.folder == tmp_path / "out/tiny/sweep"
    files = {job.name: params.load(job.file) for job in found.jobs}
    one = files["seed-1--small/02_long_cot_finetuning"]
    assert one.values["profile"] == "tiny/seed-1--small" and one.values["n_train"] == 4
    assert (one.values["seed"], one.values["model"], one.values["n_harmful"]) == (1, "org/a", 5)
    assert files["seed-0--large/04_failure_modes"].values["n_harmful"] == 6
    raw = yaml.safe_load(Path(one.path).read_text())
    assert set(raw) == set(params.signature("02_long_cot_finetuning"))  # complete in itself
    needs = {job.name: job.needs for job in found.jobs}
    assert needs["seed-0--large/04_failure_modes"] == ["seed-0--large/02_long_cot_finetuning"]
    assert len(needs["tiny/06_verdicts"]) == 8
    pooled = files["tiny/06_verdicts"].values
    assert len(pooled["profiles"]) == 4 and pooled["outputs"] == str(tmp_path / "out")
    assert {state for _, state, _ in sweep.states(found)} == {"waiting"}


def test_gpus_come_from_the_first_line_or_the_sweep(write):
    jobs = sweep.plan(write(base="gpu", notebooks=["00_start_here"])).jobs
    assert [job.gpus for job in jobs] == [1, 0]
    assert sweep.plan(write(notebooks=["00_start_here"])).jobs[0].gpus == 0
    assert sweep.plan(write(notebooks=["00_start_here"], gpus=2)).jobs[0].gpus == 2


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"base": "smok"}, 'no profile "smok"; did you mean "smoke"'),
        ({"gird": {}}, "unknown key 'gird'; did you mean 'grid'"),
        ({"notebooks": ["00_start"]}, "no 00_start; did you mean '00_start_here'"),
        ({"grid": {"sead": [1]}}, "parameter 'sead'; did you mean 'seed'"),
        ({"grid": {"seed": 1}}, "'seed' needs a list"),
        ({"grid": {"a": {"b": 1}}}, "give `parameter: value` pairs"),
        ({"grid": {"seed": ["many"]}}, 'seed is "many", expected int'),
        ({"grid": {"outputs": ["a", "b"]}}, "the same for all jobs"),
        ({"grid": {"a": {"x y": {"seed": 1}, "x_y": {"seed": 2}}}}, "called 'x_y'"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_said_before_anything_starts(write, told, words):
    with pytest.raises(UserError) as caught:
        sweep.plan(write(**told))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_sweep_that_is_not_there():
    with pytest.raises(UserError, match=r"did you mean '.*three-seeds\.yaml'"):
        sweep.plan(ROOT / "params/sweeps/three-seed.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "params/sweeps").glob("*.yaml")), ids=str)
def test_the_projects_own_sweeps_are_sound(path, tmp_path):
    told = yaml.safe_load(path.read_text()) | {"set": {"outputs": str(tmp_path / "out")}}
    copy = tmp_path / path.name
    copy.write_text(yaml.safe_dump(told))
    assert len(sweep.plan(copy).jobs) > 6


def test_jobs_hold_devices_of_their_own(tmp_path):
    """Four jobs, three fake devices, one of the jobs asks for two: no device is held twice."""
    script = "import os, sys, time; b = time.time(); time.sleep(0.6); "
    script += "print(os.environ['CUDA_VISIBLE_DEVICES'], b, time.time())"
    environment = os.environ | {pin.VARIABLE: "0,3,GPU-ab", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "srlib.ops.pin", str(tmp_path)]
    runs = [
        subprocess.Popen(
            [*words, str(n), sys.executable, "-c", script],
            env=environment, stdout=subprocess.PIPE, text=True,
        )
        for n in (2, 1, 1, 1)
    ]  # fmt: skip
    held = []
    for run in runs:
        names, began, ended = run.communicate()[0].split()
        held += [(name, float(began), float(ended)) for name in names.split(",")]
    assert len(held) == 5 and {name for name, *_ in held} == {"0", "3", "GPU-ab"}
    for one, (name, began, ended) in enumerate(held):
        for other, first, last in held[one + 1 :]:
            assert name != other or ended <= first or last <= began


def test_devices_are_those_that_may_be_used(monkeypatch):
    for told, expected in (("2, 5", ["2", "5"]), ("", []), ("-1", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
        assert pin.devices() == expected


def test_without_devices_nothing_is_pinned_and_the_status_is_the_commands(monkeypatch, tmp_path):
    monkeypatch.delenv(pin.VARIABLE, raising=False)
    code = "import os; raise SystemExit(3 if 'CUDA_VISIBLE_DEVICES' in os.environ else 4)"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert pin.main([str(tmp_path), "1", sys.executable, "-c", code]) == 4
    monkeypatch.setenv(pin.VARIABLE, "7")
    assert pin.main([str(tmp_path), "1", sys.executable, "-c", code]) == 3
    assert pin.main([str(tmp_path), "0", sys.executable, "-c", code]) == 3  # a CPU's job sees none


def go(path, *more):
    words = [sys.executable, "-m", "srlib", "sweep", str(path), *more]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    found = re.findall(r"^(done|failed|stopped|waiting) +([^\s:]+)", done.stdout, re.MULTILINE)
    states = {name: state for state, name in found}
    return done, states


@needs_snakemake
@pytest.mark.parametrize("cluster", ["slurm"])
def test_a_clusters_profile_is_one_for_snakemake(write, cluster):
    done, _ = go(write(base="gpu", notebooks=["00_start_here"]), "--cluster", cluster, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gpu=1" in done.stdout and "slurm_partition=gpu" in done.stdout
    told = params.load(ROOT / "params/gpu/00_start_here.yaml").header.minutes
    assert f"runtime={int(10 + 1.5 * told)}" in done.stdout
    done, _ = go(write(), "--cluster", "slum")
    assert done.returncode == 1 and "known: " in done.stderr and done.stderr.count("\n") == 1


def test_cluster_profiles_hold_what_the_plugins_know():
    for name in ("slurm", "kubernetes"):
        told = yaml.safe_load((ROOT / f"params/clusters/{name}/config.yaml").read_text())
        assert told["executor"] == name and told["retries"] > 0 and told["keep-going"]


@needs_snakemake
def test_a_sweep_for_real_with_a_job_that_fails_once(write, tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "out").mkdir()
    small = {"align": False, "n_reasoning": 2, "n_harmful": 2, "n_benign": 2, "max_new_tokens": 4}
    (tmp_path / "base/00_start_here.yaml").write_text(
        "# two CPU cores; 1 minute\n" + yaml.safe_dump(small)
    )
    mine = tmp_path / "mine.jsonl"
    grid = {"run": {"a": {"seed": 0}, "b": {"seed": 1, "benign_data": str(mine)}}}
    path = write(base=str(tmp_path / "base"), grid=grid)

    done, states = go(path)
    assert done.returncode == 1 and "mend what failed" in done.stderr, done.stdout + done.stderr
    names = ("a/00_start_here", "b/00_start_here", "tiny/06_verdicts")
    assert [states[n] for n in names] == ["done", "failed", "waiting"]
    assert "mine.jsonl does not exist" in done.stdout
    record = tmp_path / "out/tiny/a/00_start_here/run.json"
    first = record.read_bytes()

    mine.write_text('{"prompt": "How do I kill a process?"}\n{"prompt": "How do I shoot hoops?"}\n')
    done, states = go(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [states[n] for n in names] == ["done"] * 3
    assert record.read_bytes() == first  # not run again
    pooled = pd.read_csv(tmp_path / "out/tiny/06_verdicts/metrics.csv")
    assert set(pooled["profile"]) == {"tiny/a", "tiny/b"}
    reads = json.loads((tmp_path / "out/tiny/06_verdicts/run.json").read_text())["reads"]
    assert set(reads) == {"tiny/a/00_start_here", "tiny/b/00_start_here"}

    stamp = (tmp_path / "out/tiny/06_verdicts/run.json").stat().st_mtime
    done, states = go(path)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr
    assert (tmp_path / "out/tiny/06_verdicts/run.json").stat().st_mtime == stamp
    assert time.time() > stamp
