"""How time and memory of the evaluation grid grow with questions and with demonstrations.

    python benchmarks/growth.py --questions 12

Every point is a process of its own: word problems, harmful and harmless requests in equal parts,
answered and graded, the way a notebook's grid does it. Once the questions are multiplied by 1, 2, 4
and 8 under four demonstrations; once the demonstrations go from none to eight; and the largest
grid is asked for again, when all of it is there already. Seconds are those of answering
and grading, loading the model aside (a cached rerun loads it, too); memory is the process's peak.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import common

from srlib.data import evalsets
from srlib.generation import asking, engine, prompts
from srlib.grading import offline
from srlib.models import loading

SETS = {"wordproblems": "reasoning", "harmful": "harmful", "lookalikes": "benign"}
TIMES, SHOTS, USUAL = (1, 2, 4, 8), (0, 1, 2, 4, 6, 8), 4


def one(questions: int, shots: int, limit: int, batch: int, dtype: str, folder: Path) -> None:
    """Answer and grade one grid, kept in `folder`, and tell what it took."""
    lm = loading.load(common.MODEL, common.ROOT / "outputs", dtype)
    rows = [r for name, kind in SETS.items() for r in evalsets.load(name, kind, questions // 3)]
    style = prompts.few_shot(shots) if shots else prompts.direct()
    asked = [asking.Request(r.id, r.data, prompts.messages(r.prompt, style)) for r in rows]
    settings = asking.Settings(max_new_tokens=limit, batch_size=batch)
    began = time.perf_counter()
    records = engine.complete(lm, asked, settings, folder / "completions.jsonl")
    offline.grade(rows, records, folder / "grades.jsonl")
    seconds = round(time.perf_counter() - began, 2)
    tokens = sum(r["new_tokens"] for r in records)
    common.told(seconds=seconds, prompts=len(rows), shots=shots, new_tokens=tokens)


def points(questions: int, measure) -> list[dict]:
    """Every point's facts, with `over`: what is varied, or that it is the cached rerun."""
    found = []
    for times in TIMES:
        found.append({"over": "questions"} | measure(questions * times, USUAL, ""))
    found.append({"over": "cached rerun"} | measure(questions * TIMES[-1], USUAL, "keep"))
    for shots in SHOTS:
        found.append({"over": "demonstrations"} | measure(questions * TIMES[1], shots, ""))
    return found


def draw(rows, out: Path, note: str) -> None:
    """Seconds and memory (rows of panels) over questions and demonstrations (columns)."""
    import matplotlib.pyplot as plt

    from srlib.plots import looks

    looks.style()
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharey="row", layout="constrained")
    cached = rows[rows["over"] == "cached rerun"].iloc[0]
    across = (("questions", "prompts"), ("demonstrations", "shots"))
    for ax, (over, column) in zip(axes.T, across, strict=True):
        some = rows[rows["over"] == over]
        for panel, measure, colour in zip(ax, ("seconds", "gib"), looks.COLOURS, strict=False):
            panel.plot(some[column], some[measure], "o-", color=colour, label="made")
            if over == "questions":
                panel.plot(cached[column], cached[measure], "D", color=looks.INK, clip_on=False)
                words = {"xytext": (-10, 8), "textcoords": "offset points", "ha": "right"}
                panel.annotate("cached rerun", (cached[column], cached[measure]), **words)
            panel.set_xticks(list(some[column]))
            panel.set_ylim(0, 1.25 * rows[measure].max())
        ax[1].set_xlabel({"prompts": "prompts", "shots": "reasoning demonstrations"}[column])
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory, GiB")
    looks.head(axes[0, 0], "What a larger grid costs", note)
    common.picture(figure, out, "growth")


def main(
    questions: int = 12, limit: int = 48, batch: int = 12, dtype: str = "auto",
    out: Path = common.OUT, shots: int = -1, folder: Path | None = None,
):  # fmt: skip
    """Measure all points from `questions` prompts on; write growth.csv, .md and .png to `out`."""
    dtype = loading.pick_dtype(dtype)
    if shots >= 0 and folder:
        one(questions, shots, limit, batch, dtype, folder)
        return
    loading.tokenizer(common.MODEL, common.ROOT / "outputs")  # unpacks the weights, once
    scratch = Path(tempfile.mkdtemp())

    def measure(questions: int, shots: int, keep: str) -> dict:
        if not keep:
            shutil.rmtree(scratch)
            scratch.mkdir()
        words = ["--questions", questions, "--limit", limit, "--batch", batch, "--dtype", dtype]
        point = common.alone(__file__, [*words, "--shots", shots, "--folder", scratch])
        print(f"{questions:4} prompts, {shots} demonstrations{keep and ', again'}: "
              f"{point['seconds']:.1f} s, {point['gib']} GiB", flush=True)  # fmt: skip
        return point

    try:
        found = points(questions, measure)
    finally:
        shutil.rmtree(scratch)
    import pandas as pd

    rows = pd.DataFrame(found)
    note = f"{dtype}, batch {batch}, at most {limit} new tokens"
    common.write(out, "growth", rows, note[0].upper() + note[1:] + ".", dtype)
    draw(rows, out, note)


if __name__ == "__main__":
    common.run(main)
