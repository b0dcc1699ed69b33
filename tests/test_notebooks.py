"""The notebooks: their form, and the smoke profile end to end, through real kernels."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from srlib import params
from srlib.analysis import verdicts
from srlib.ops import run

pytestmark = pytest.mark.usefixtures("without_mirror")
ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
NAMES = [n.stem for n in NOTEBOOKS]
VERDICTS = "06_verdicts"


def code(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_keeps_to_the_house_form(path):
    cells = code(path)
    whole = nbformat.read(path, as_version=4)
    nbformat.validate(whole)
    assert whole.metadata.kernelspec.name == "python3"
    assert not any(c.outputs or c.execution_count for c in cells)
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert tagged == cells[:1]
    lines = [len([x for x in c.source.split("\n") if x.strip()]) for c in cells[1:]]
    assert max(lines) <= 12, lines
    first, last = whole.cells[0].source, whole.cells[-1].source
    assert "**Question" in first and "costs" in first and "Content note" in first
    assert "**Limits.**" in last and "**Exercises.**" in last


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
@pytest.mark.parametrize("profile", ["smoke", "quick", "study"])
def test_a_notebook_has_a_sound_parameter_file(path, profile):
    file = params.load(ROOT / "params" / profile / f"{path.stem}.yaml")
    assert file.notebook == path and file.values["profile"] == profile


def test_the_parameters_that_notebooks_share_have_one_default():
    # what one notebook makes, the next must find: the same names mean the same thing
    seen = {}
    for name in NAMES:
        for p in params.signature(name).values():
            assert seen.setdefault(p.name, p) == p, f"{name}: {p.name}"


def srlib(*words, **options):
    command = [sys.executable, "-m", "srlib", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)


def profile(folder: Path, outputs: Path) -> Path:
    """The smoke profile with another output folder, as a researcher would copy it."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in (ROOT / "params/smoke").glob("*.yaml"):
        more = f"outputs: {outputs}\n" if source.name == "profile.yaml" else ""
        (folder / source.name).write_text(f"{source.read_text().rstrip()}\n{more}")
    return folder


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The smoke profile, run once by the command line."""
    place = tmp_path_factory.mktemp("smoke")
    files = profile(place / "smoke", place / "out")
    done = srlib("run", files)
    assert done.returncode == 0, done.stdout + done.stderr
    return place, files, done.stdout


def test_the_smoke_profile_leaves_what_was_promised(smoke):
    place, _, said = smoke
    for name in NAMES:
        folder = place / "out/smoke" / name
        record = json.loads((folder / "run.json").read_text())
        assert record["status"] == "done" and record["versions"]["torch"]
        if name != VERDICTS:  # which reads the others' runs, and asks no model
            assert record["parameters"]["n_harmful"] == 6 and record["aligned"]["fingerprint"]
        table = pd.read_csv(folder / "metrics.csv")
        assert {"arm", "data", "metric", "value", "n", "low", "high"} <= set(table.columns)
        assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
        pngs = {f.stem for f in (folder / "figures").glob("*.png")}
        assert pngs and pngs == {f.stem for f in (folder / "figures").glob("*.svg")}
        assert name in said and "pictures:" in said
        cells = code(folder / f"{name}.ipynb")
        assert all(c.execution_count for c in cells)
        streams = [o for c in cells for o in c.outputs if o.output_type == "stream"]
        assert not any(o.name == "stderr" for o in streams), [o.text for o in streams]
    answered = {
        "01_cot_prompting": ["C4", "C5", "C6"],
        "02_long_cot_finetuning": ["C1", "C2", "C2b", "C3", "C3b"],
        "03_reflective_safety_data": ["C7", "C8", "C8a", "C8b"],
    }
    claims = pd.read_csv(place / "out/smoke/04_failure_modes/claims.csv")
    assert list(claims["claim"]) == ["C9", "C10", "C11"]
    assert claims["verdict"].isin(["open", "not testable"]).all()  # of one training
    for name, expected in answered.items():
        claims = pd.read_csv(place / "out/smoke" / name / "claims.csv")
        assert list(claims["claim"]) == expected
        assert claims["n"].gt(0).all() and claims["verdict"].isin(verdicts.VERDICTS).all()
        undecided = claims["verdict"].isin(["open", "not testable"])
        assert name.startswith("01") or undecided.all()
        assert claims["why"].notna().all() or not undecided.all()


def test_fine_tuned_arms_are_recorded_and_shared(smoke):
    place, *_ = smoke
    second, third = (
        json.loads((place / "out/smoke" / name / "run.json").read_text())["arms"]
        for name in NAMES[2:4]
    )
    assert {"long-openo1 ×8", "direct-answers ×8"} <= set(second) and "long-openo1 ×8" in third
    assert second["long-openo1 ×8"] == third["long-openo1 ×8"]  # made once, found again
    for record in [*second.values(), *third.values()]:
        assert record["tokens"] > record["completion_tokens"] > 0
        assert len(record["loss"]) == record["steps"] > 0 and record["dropped"] == 0
    assert third["long-openo1 ×8 + 2 template"]["rows"] == 10
    balance = pd.read_csv(place / "out/smoke" / NAMES[3] / "balance.csv")
    assert balance["measure"].iloc[0] == "area covered"
    table = pd.read_csv(place / "out/smoke" / NAMES[3] / "metrics.csv")
    assert set(table["amount"]) == {0, 1, 2}


def test_mitigations_of_every_family_are_on_the_plane(smoke):
    place, *_ = smoke
    table = pd.read_csv(place / "out/smoke/05_mitigations/mitigations.csv")
    assert {"text", "decoding", "weights", "data", "preferences and rewards"} <= set(
        table["family"]
    )
    trained = json.loads((place / "out/smoke/05_mitigations/run.json").read_text())["arms"]
    dpo, grpo = (trained[f"long-openo1 ×8, {name}"] for name in ("DPO", "GRPO"))
    assert dpo["rows"] == sum(dpo["kept"].values()) > 0 and len(dpo["margin"]) == dpo["steps"]
    assert len(grpo["reward"]) == grpo["steps"] > 0


def test_the_notebooks_of_a_profile_share_their_completions(smoke):
    place, *_ = smoke
    folder = place / "out/smoke"
    asking = [n for n in NAMES if n != VERDICTS]
    runs = [json.loads((folder / n / "run.json").read_text()) for n in asking]
    assert all(run["aligned"] == runs[0]["aligned"] for run in runs)
    asked = {name: arm["folder"] for run in runs for name, arm in run.get("arms", {}).items()}
    made = {d.name for d in (folder / "arms").iterdir() if d.is_dir()}
    parts = {name for name in made if "-at-" in name}  # of a training, beside it
    assert {name.partition("-at-")[0] for name in parts} < {*asked.values()}
    made -= parts
    fitted = {runs[0]["aligned"]["folder"], *asked.values()}
    assert len(fitted) == 1 + len(asked) and fitted <= made
    mended = {name.split("-")[0] for name in made - fitted}  # in notebook 05, not trained
    assert mended == {"safe_lora_number_2", "resta_0.5_dare_0.5", "irr_0.5"}
    lines = (folder / "completions/aligned_base--direct.jsonl").read_text().splitlines()
    assert len(lines) == 18 == len({json.loads(x)["key"] for x in lines})


def test_no_harmful_answer_is_shown_in_full(smoke):
    place, *_ = smoke
    folder = place / "out/smoke"
    grades = [json.loads(x) for f in (folder / "grades").glob("*") for x in f.open() if x.strip()]
    bad = {g["completion"] for g in grades if g["label"] == "compliance" and g["id"][:2] == "h-"}
    made = [json.loads(x) for f in (folder / "completions").glob("*.jsonl") for x in f.open()]
    told = [(m["messages"][-1]["content"], m["text"].split()) for m in made if m["key"] in bad]
    # What is cut shows its first 8 words, an answer's or a passage's: 9 in a row are nowhere.
    tails = {" ".join(said[12:21]) for asked, said in told if len(said) > 20}
    tails = {t for t in tails if not any(t in asked for asked, _ in told)}
    assert len(tails) > 3
    for name in NAMES:
        shown = (folder / name / f"{name}.ipynb").read_text()
        for tail in tails:
            assert json.dumps(tail)[1:-1] not in shown


def test_a_second_run_finds_everything_made(smoke):
    place, files, _ = smoke
    before = {f: f.stat().st_mtime_ns for f in (place / "out/smoke").rglob("*") if f.is_file()}
    done = srlib("run", files)
    assert done.returncode == 0 and done.stdout.count("made already") == len(NAMES)
    after = {f: f.stat().st_mtime_ns for f in (place / "out/smoke").rglob("*") if f.is_file()}
    assert {f for f in after if f.suffix != ".lock" and after[f] != before.get(f)} == set()


def test_killed_anywhere_and_run_again_gives_the_same_bytes(smoke, tmp_path):
    place, *_ = smoke
    folder = profile(tmp_path / "smoke", tmp_path / "out")
    names = [NAMES[0], NAMES[2]]  # tuning, arms and answers are in these
    files = [folder / f"{name}.yaml" for name in names]
    command = [sys.executable, "-m", "srlib", "run", *map(str, files)]
    ours = tmp_path / "out/smoke"
    watch = ("arms/*/run.json", "completions/*.jsonl", "arms/long-*/run.json")
    for watched in (*watch, "completions/long-*.jsonl"):
        run_ = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE)
        until = time.time() + 240
        while not any(ours.glob(watched)) and run_.poll() is None and time.time() < until:
            time.sleep(0.05)
        assert run_.poll() is None, f"ended before {watched} was there"
        _kill(run_.pid)
        run_.wait()
    done = srlib("run", *files)
    assert done.returncode == 0, done.stderr
    for name in names:
        whole, again = (p / name / "metrics.csv" for p in (place / "out/smoke", ours))
        assert whole.read_bytes() == again.read_bytes(), name
    said = [*(ours / "completions").glob("*.jsonl")]
    assert len(said) == 7  # two bases, five arms
    for file in said:
        whole = place / "out/smoke/completions" / file.name
        assert file.read_bytes() == whole.read_bytes(), file.name


def _kill(pid: int) -> None:
    """SIGKILL to the runner and to the kernel it started, at once."""
    import psutil

    family = psutil.Process(pid).children(recursive=True)
    for process in [*family, psutil.Process(pid)]:
        os.kill(process.pid, signal.SIGKILL)


def test_plain_papermill_runs_a_notebook(smoke, tmp_path):
    _, files, _ = smoke
    out = tmp_path / "out.ipynb"
    words = [
        "papermill",
        ROOT / f"notebooks/{NAMES[0]}.ipynb",
        out,
        "-f",
        files / "profile.yaml",
    ]
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words), "-k", "python3", "--no-progress-bar"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(c.execution_count for c in code(out))
    bad = tmp_path / "bad.yaml"
    bad.write_text((files / "profile.yaml").read_text() + "n_harmfull: 3\n")
    words[-1] = bad
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words), "-k", "python3", "--no-progress-bar"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0 and 'did you mean "n_harmful"' in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_harmfull": 3}, 'unknown parameter "n_harmfull"; did you mean "n_harmful"'),
        ({"n_harmful": "many"}, 'n_harmful is "many", expected int'),
        ({"harmful_data": "nowhere.jsonl"}, "does not exist"),
        ({"model": "nowhere"}, "in two ways: model is embedded in the first and nowhere"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path, change, words):
    files = profile(tmp_path / "smoke", tmp_path / "out")
    file = files / "01_cot_prompting.yaml"
    file.write_text("# two CPU cores; 1 minute\n" + yaml.safe_dump(change))
    done = srlib("check", files)
    assert done.returncode == 1 and done.stdout == ""
    assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_copied_file_that_keeps_its_profile_is_noticed(tmp_path):
    file = tmp_path / "01_cot_prompting.yaml"
    text = params.dump(params.load(ROOT / "params/quick/01_cot_prompting.yaml"))
    for name, noted in (("quick", True), ("mine", False)):
        file.write_text(text.replace("profile: quick", f"profile: {name}"))
        done = srlib("check", file)
        assert done.returncode == 0 and "fine" in done.stdout, done.stderr
        assert ("take the place of those of params/quick" in done.stderr) == noted
    file.write_text(re.sub("(?m)^outputs: .*", f"outputs: {tmp_path}", text))
    assert "take the place" not in srlib("check", file).stderr


def test_an_unknown_profile_and_a_missing_file():
    for words, told in (("quik", 'did you mean "quick"'), ("params/quick/9.yaml", "no parameter")):
        done = srlib("run", words)
        assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1


def test_check_and_report_of_the_quick_profile():
    done = srlib("check", "quick")
    assert done.returncode == 0, done.stderr
    assert all(f"{name}.yaml: fine" in done.stdout for name in NAMES)
    assert "tokens read" in done.stdout and "together" in done.stdout


def test_the_progress_line_says_where_a_run_is(tmp_path):
    status = tmp_path / "status"
    status.write_text("few-shot:  10%|#   | 1/9\rfew-shot:  50%|##  | 5/9")
    shown = run._Progress("[1/2] 00_start_here", status, time.time() - 65, 7)
    shown.cell, shown.cells = 3, 9
    line = shown.line()
    assert line.startswith("[1/2] 00_start_here, cell 3 of 9, 1:05 elapsed, about 7 min left")
    assert line.endswith("few-shot: 50%|## | 5/9")
