"""What the benchmarks share: a process a side and repeat, the machine they ran on, tables.

Every measurement is a process of its own, so that none warms another's caches and each has its own
peak of memory; sides take turns (a, b, c, a, b, …), so that all see the machine in the same mood.
A side prints one JSON line; a table has a row a side:

    side,seconds,fastest,slowest,repeats,tokens_per_second,times_ours,…
    ours,21.4,21.1,22.0,5,210,1.0,…
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from srlib import params, store
from srlib.errors import UserError

ROOT = params.root()
OUT = ROOT / "outputs" / "bench"
MODEL = "embedded"


def alone(script: str, words: list, python: str | Path = sys.executable) -> dict:
    """What `script` with these words prints as its last line, run in a process of its own.

    Adds the process's peak memory in GiB. Raises UserError, with its last words, where it fails.
    """
    command = [str(python), script, *map(str, words)]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    told = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    told |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=told)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UserError(f"{Path(script).name} {' '.join(map(str, words))} failed: {last[0][:500]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def told(**facts) -> None:
    """Print a side's facts with its peak memory, for `alone` to read."""
    print(json.dumps(facts | {"gib": round(store.peak_gib(), 2)}))


def in_turn(sides: list[str], repeats: int, measure, unit: str = "") -> dict[str, list[dict]]:
    """`measure(side)` for every side in turn, `repeats` times over; said as it goes."""
    found: dict[str, list[dict]] = {side: [] for side in sides}
    for turn in range(repeats):
        for side, results in found.items():
            results.append(measure(side))
            took = results[-1]["seconds"]
            print(f"{turn + 1}/{repeats} {side:24} {took:7.1f} s {unit}", flush=True)
    return found


def table(found: dict[str, list[dict]], tokens: str, extra: list[str]):
    """A row a side, as a DataFrame: the median of its seconds, their range, `times_ours` (ratio of
    medians), tokens a second (at the median), peak memory, and `extra` facts of the last run."""
    import pandas as pd

    seconds = {s: pd.Series([r["seconds"] for r in rs]) for s, rs in found.items()}
    rows = []
    for side, results in found.items():
        median = seconds[side].median()
        row = {"side": side, "seconds": round(median, 2), "fastest": round(seconds[side].min(), 2)}
        row |= {"slowest": round(seconds[side].max(), 2), "repeats": len(results)}
        row |= {"tokens_per_second": round(results[-1][tokens] / median, 1)}
        if "ours" in seconds:
            row |= {"times_ours": round(median / seconds["ours"].median(), 2)}
        row |= {"peak_gib": max(r["gib"] for r in results)}
        rows.append(row | {name: results[-1].get(name) for name in extra})
    return pd.DataFrame(rows)


def machine(dtype: str) -> str:
    """The machine and the versions in one line, for the foot of a table."""
    import torch

    name = platform.processor() or platform.machine()
    if (file := Path("/proc/cpuinfo")).exists():
        lines = [x.partition(":")[2].strip() for x in file.read_text().splitlines()]
        names = [x.partition(":")[0].strip() for x in file.read_text().splitlines()]
        name = dict(zip(names, lines, strict=True)).get("model name", name)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{k} {v}" for k, v in store.versions().items() if k != "srlib")
    return f"{name}, {cores} cores{gpu}, {dtype}; {versions}; commit {_commit()}"


def _commit() -> str:
    return store.commit()[:12] + "+" * store.commit().endswith("+")  # +: with changes


def write(out: Path, name: str, rows, note: str, dtype: str) -> None:
    """Write out/name.csv and out/name.md (the table, what was run, the machine), and print it."""
    foot = f"{note}\n\nMeasured on {machine(dtype)}."
    store.write(out / f"{name}.csv", rows.to_csv(index=False, lineterminator="\n"))
    lines = [rows.columns, ["---"] * len(rows.columns), *rows.astype(object).to_numpy().tolist()]
    cells = ["| " + " | ".join("" if x is None else str(x) for x in line) + " |" for line in lines]
    store.write(out / f"{name}.md", "\n".join(cells) + f"\n\n{foot}\n")
    print(f"\n{rows.to_string(index=False)}\n\n{foot}\n")


def draw(out: Path, name: str, title: str, rows, note: str) -> None:
    """Write out/name.png: the median seconds of every side, with the range of its repeats."""
    from srlib.plots import looks

    ax = looks.new_axes(None, 9, 1.9 + 0.55 * len(rows))
    ends = [rows["seconds"] - rows["fastest"], rows["slowest"] - rows["seconds"]]
    colours = [looks.COLOURS[side != "ours"] for side in rows["side"]]
    ax.barh(rows["side"], rows["seconds"], 0.62, color=colours, xerr=ends, ecolor=looks.INK)
    for place, row in enumerate(rows.itertuples()):
        words = f" {row.seconds:.1f} s" + f", {row.times_ours:.1f}× ours" * (row.side != "ours")
        ax.text(row.slowest, place, words, va="center")
    ax.set(xlim=(0, 1.35 * rows["slowest"].max()), xlabel="seconds, median and range of repeats")
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    looks.head(ax, title, note)
    picture(ax.figure, out, name)


def picture(figure, out: Path, name: str) -> None:
    """Write out/name.png, the same bytes for the same figure."""
    out.mkdir(parents=True, exist_ok=True)
    look = {"dpi": 150, "bbox_inches": "tight", "metadata": {"Software": None}}
    figure.savefig(out / f"{name}.png", **look)


def run(main) -> None:
    """A benchmark's command line; a UserError is one line and exit status 1."""
    import typer

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
